"""Where the sensors of a structure are and which way they look: what a list of numbers needs to be seen as a shape.

A node is a place. Sensors at the same place are one node, however many directions they measure there; a point without a sensor
is a support, which stays, or follows a node that is measured. Lines join nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.bridges.modes import Real

Triple = tuple[float, float, float]
AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


class Sensor(NamedTuple):
    """A channel by its name, its place in metres, and a vector along which it measures positive (of any length but 0)."""

    channel: str
    at_m: Triple
    direction: Triple


class Point(NamedTuple):
    """A place without a sensor. ``follows``: the channel whose node it moves with; None: a support, which does not move."""

    name: str
    at_m: Triple
    follows: str | None = None


@dataclass(frozen=True)
class Layout:
    """Sensors, points and the lines between them; a line is a pair of names, of channels or points.

    Raises
    ------
    ValueError
        Two of one name, no sensor at all, a line or a follower of a name that is not there, a direction of length 0 or a
        place that is not finite.
    """

    sensors: tuple[Sensor, ...]
    points: tuple[Point, ...] = ()
    lines: tuple[tuple[str, str], ...] = ()
    title: str = ""

    def __post_init__(self) -> None:
        names = [s.channel for s in self.sensors] + [p.name for p in self.points]
        if not self.sensors:
            raise ValueError("a layout must have at least one sensor, has none")
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"names of a layout must differ, {twice[0]!r} is there twice")
        for s in self.sensors:
            if not np.isfinite(s.direction).all() or not np.any(s.direction):
                raise ValueError(f"direction of {s.channel} must be finite and not 0, is {s.direction}")
        for name, place in [*((s.channel, s.at_m) for s in self.sensors), *((p.name, p.at_m) for p in self.points)]:
            if not np.isfinite(place).all():
                raise ValueError(f"at_m of {name} must be finite, is {place}")
        channels = {s.channel for s in self.sensors}
        for p in self.points:
            if p.follows is not None and p.follows not in channels:
                raise ValueError(f"{p.name} must follow a channel of the layout, follows {p.follows!r}")
        for name in (n for line in self.lines for n in line):
            if name not in names:
                raise ValueError(f"a line must join channels or points of the layout, joins {name!r}")

    @property
    def channels(self) -> list[str]:
        return [s.channel for s in self.sensors]

    def missing(self, names: Sequence[str]) -> list[str]:
        """Those of ``names`` that no sensor of the layout is."""
        channels = set(self.channels)
        return [n for n in names if n not in channels]

    def nodes(self) -> Nodes:
        """Its places, and who is where."""
        at: dict[Triple, int] = {}
        node = {s.channel: at.setdefault(s.at_m, len(at)) for s in self.sensors}
        n_sensed = len(at)
        node |= {p.name: n_sensed + i for i, p in enumerate(self.points)}
        places = np.array([*at, *(p.at_m for p in self.points)], np.float64)
        follows = np.array([-1 if p.follows is None else node[p.follows] for p in self.points], np.int64)
        lines = np.array([(node[a], node[b]) for a, b in self.lines], np.int64).reshape(-1, 2)
        return Nodes(places, node, n_sensed, follows, lines)

    def displacements(self, values: ArrayLike, names: Sequence[str]) -> tuple[Real, NDArray[np.bool_]]:
        """How every node moves where channel ``names[i]`` reads ``values[i]``.

        Parameters
        ----------
        values : float[n_ch], in any unit of length.
        names : of the channels; those that are not in the layout are passed over.

        Returns
        -------
        move, known : float64[n_nodes, 3], bool[n_nodes]
            The smallest movement that gives these readings (directions that nobody measures: 0). A node whose sensors are all
            not among ``names`` is not known, and what follows it neither.
        """
        value = dict(zip(names, np.asarray(values, np.float64).tolist(), strict=True))
        nodes = self.nodes()
        move, known = np.zeros((len(nodes.at_m), 3)), np.zeros(len(nodes.at_m), bool)
        for i in range(nodes.n_sensed):
            here = [s for s in self.sensors if nodes.node[s.channel] == i and s.channel in value]
            if here:
                way = np.array([s.direction for s in here], np.float64)
                way /= np.linalg.norm(way, axis=1, keepdims=True)
                move[i], known[i] = np.linalg.lstsq(way, np.array([value[s.channel] for s in here]), rcond=1e-6)[0], True
        for j, of in enumerate(nodes.follows.tolist(), nodes.n_sensed):
            move[j], known[j] = (move[of], known[of]) if of >= 0 else (0.0, True)
        return move, known


class Nodes(NamedTuple):
    """``at_m`` float64[n_nodes, 3], those with sensors (``n_sensed``) first; ``node`` of each name; ``follows`` int64 of each point
    behind them, -1: a support; ``lines`` int64[n_lines, 2]."""

    at_m: Real
    node: dict[str, int]
    n_sensed: int
    follows: NDArray[np.int64]
    lines: NDArray[np.int64]
