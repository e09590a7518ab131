"""From which side a shape is seen best: the planes of the axes, or obliquely from above.

::

    a line of sensors      the plane of the line and the movement; both planes where it moves in two directions
    a plane of sensors     that plane for movement in it; oblique for movement out of it
    sensors in space       oblique

Drawn places are not to scale: a direction whose extent is small beside the largest is widened (`Scene.widened`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lifeline_core.bridges.modes import Real

X, Y, Z = 0, 1, 2
LETTERS = "xyz"
NOTHING = 0.005  # of the largest extent: a direction in which the structure has none
LEAST = 0.25  # of the largest extent: a smaller one is widened to it
TELLING = 0.1  # of a mode's squared movement: a plane that shows less of its own is not drawn
DEPTH = 0.55  # of a length that goes away from the eye, drawn at this angle
ANGLE = np.deg2rad(32.0)
REACH = 0.18  # of the largest extent: the largest movement as drawn


@dataclass(frozen=True)
class View:
    """``across`` and ``up``: what a unit of x, y and z adds to the two directions of the paper, float64[3] each."""

    name: str
    across: Real
    up: Real

    def project(self, points: Real) -> Real:
        """float64[n, 2] of float64[n, 3]."""
        out: Real = points @ np.stack([self.across, self.up], axis=1)
        return out


@dataclass(frozen=True)
class Scene:
    """Places as they are drawn: ``at`` float64[n, 3] with the largest extent 1; ``factor`` drawn length of a metre along x, y, z;
    ``extents_m`` float64[3]."""

    at: Real
    factor: Real
    extents_m: Real

    @classmethod
    def of(cls, at_m: Real) -> Scene:
        """Of places float64[n, 3]."""
        low = at_m.min(axis=0)
        extent = at_m.max(axis=0) - low
        top = float(extent.max())
        top = top if top > 0 else 1.0
        factor = np.full(3, 1.0 / top)
        thin = (extent > NOTHING * top) & (extent < LEAST * top)
        factor[thin] = LEAST / extent[thin]
        return cls((at_m - low) * factor, factor, extent)

    @property
    def present(self) -> list[int]:
        """Directions in which there is an extent, the largest first."""
        top = float(self.extents_m.max())
        return [int(i) for i in np.argsort(-self.extents_m, kind="stable") if top > 0 and self.extents_m[i] > NOTHING * top]

    @property
    def widened(self) -> Real:
        """How much longer a metre along x, y, z is drawn than one along the longest direction, float64[3]."""
        out: Real = self.factor / self.factor.min()
        return out

    def plane(self, a: int, b: int) -> View:
        """The plane of two axes: z is up; of x and y the longer goes across."""
        if Z not in (a, b) and self.extents_m[b] > self.extents_m[a]:
            a, b = b, a
        across, up = (b, a) if a == Z else (a, b)
        word = "elevation" if up == Z else "plan"
        return View(f"{word} {LETTERS[across]}-{LETTERS[up]}", np.eye(3)[across], np.eye(3)[up])

    def oblique(self) -> View:
        """From above, the longer of x and y across, the other one going away."""
        across, away = (X, Y) if self.extents_m[X] >= self.extents_m[Y] else (Y, X)
        u, v = np.zeros(3), np.zeros(3)
        u[across], v[Z] = 1.0, 1.0
        u[away], v[away] = DEPTH * np.cos(ANGLE), DEPTH * np.sin(ANGLE)
        return View("oblique", u, v)

    def views(self, move: Real) -> list[View]:
        """One or two views that tell a movement float64[n, 3] best, the most telling first."""
        power = np.sum(move**2, axis=0)
        share = power / power.sum() if power.sum() > 0 else np.array([0.0, 0.0, 1.0])
        there = self.present
        if len(there) == 3:
            return [self.oblique()]
        if len(there) == 2:
            out = ({X, Y, Z} - set(there)).pop()
            flat, bent = self.plane(*there), self.oblique()
            if share[out] < TELLING:
                return [flat]
            return [bent] if share[out] > 1.0 - TELLING else [bent, flat] if share[out] > 0.5 else [flat, bent]
        line = there[0] if there else X
        beside = sorted((i for i in (X, Y, Z) if i != line), key=lambda i: -share[i])
        told = [i for i in beside if share[i] >= TELLING]
        return [self.plane(line, i) for i in told or beside[:1]]
