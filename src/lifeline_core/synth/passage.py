"""Vehicles on a simply supported beam, in closed form, and days of them: what a passage does to strain, deflection, acceleration.

::

        v ->  o   o o          axles, each a force P at its own distance behind the first
    ____|_____|___|_|______
    ^   x                 ^    supports at 0 and L;  x: a sensor

Each axle excites mode n by 2 P / (m L) sin(n pi v t / L) while it is on the beam; the mode's answer to that, from rest, is known
exactly, and so is its free decay behind it. What the beam does statically is not taken from the modes but from the influence
line, whose kink under the axle a sum of modes would round off.

Source: L. Fryba, Vibration of Solids and Structures under Moving Loads, 3rd ed. 1999, ch. 1 (moving force, damped, from rest).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Real = NDArray[np.float64]

RINGS = 12.0  # a free vibration is followed until it is exp(-RINGS) of itself
QUANTITIES = ("strain", "deflection", "acceleration")
UNITS = {"strain": "ue", "deflection": "mm", "acceleration": "m/s2"}


@dataclass(frozen=True, slots=True)
class Vehicle:
    """``axles_kn`` of each axle from the first on, ``spacing_m`` from each to the next (one less), ``speed_mps`` above 0 in the
    direction of growing position, below 0 against it, ``enters_s`` when the first axle comes onto the beam."""

    axles_kn: tuple[float, ...]
    spacing_m: tuple[float, ...]
    speed_mps: float
    enters_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.axles_kn or len(self.spacing_m) != len(self.axles_kn) - 1 or self.speed_mps == 0.0:
            raise ValueError(f"a vehicle has an axle or more, a distance to each next one and a speed, not {self}")

    @property
    def weight_kn(self) -> float:
        return sum(self.axles_kn)

    def leaves_s(self, span_m: float) -> float:
        """When the last axle goes off the beam."""
        return self.enters_s + (span_m + sum(self.spacing_m)) / abs(self.speed_mps)


@dataclass(frozen=True, slots=True)
class Beam:
    """A simply supported span: length, first bending frequency, damping ratio of every mode, bending stiffness; ``section_m``
    from the neutral axis to the strain gauge below it. Mode n is at n^2 times the first (Euler and Bernoulli)."""

    span_m: float = 30.0
    f1_hz: float = 4.0
    damping: float = 0.015
    ei_knm2: float = 2.0e7
    section_m: float = 0.8
    modes: int = 4

    @property
    def mass_t_m(self) -> float:
        """Mass per length, t/m, that makes the first mode what it is."""
        return self.ei_knm2 * (np.pi / self.span_m) ** 4 / (2.0 * np.pi * self.f1_hz) ** 2

    def influence(self, quantity: str, x_m: float, load_m: ArrayLike) -> Real:
        """What a resting kN at ``load_m`` does at ``x_m``: ue, or mm (downwards is negative); 0 where it is off the beam."""
        length, s = self.span_m, np.asarray(load_m, np.float64)
        on = (s > 0.0) & (s < length)
        low, high = np.minimum(s, x_m), np.maximum(s, x_m)
        if quantity == "strain":
            value = 1e6 * self.section_m / self.ei_knm2 * low * (length - high) / length
        elif quantity == "deflection":
            b = length - high
            value = -1e3 * low * b * (length**2 - b**2 - low**2) / (6.0 * length * self.ei_knm2)
        else:
            value = np.zeros_like(s)
        return np.where(on, value, 0.0)

    def respond(self, quantity: str, x_m: Sequence[float], vehicles: Sequence[Vehicle], n: int, fs: float) -> Real:
        """float64[len(x_m), n] from t = 0 on: ue, mm or m/s2, upwards and tension positive; ValueError for another quantity."""
        if quantity not in QUANTITIES:
            raise ValueError(f"quantity must be one of {', '.join(QUANTITIES)}, is {quantity!r}")
        if not all(0.0 < x < self.span_m for x in x_m):
            raise ValueError(f"sensors must lie on the beam, 0 to {self.span_m} m, are at {list(x_m)}")
        out = np.zeros((len(x_m), n))
        for v in vehicles:
            behind = 0.0
            for axle, gap in zip(v.axles_kn, (0.0, *v.spacing_m), strict=True):
                behind += gap
                self._add(out, quantity, x_m, axle, v.speed_mps, v.enters_s + behind / abs(v.speed_mps), fs)
        return out

    def _add(self, out: Real, quantity: str, x_m: Sequence[float], axle_kn: float, speed: float, enters_s: float,
             fs: float) -> None:
        """One axle. A beam is the same from either end: a load that comes from the other one sees mirrored sensors."""
        first = max(0, int(np.ceil(enters_s * fs)))
        rings_s = RINGS / (2.0 * np.pi * self.f1_hz * self.damping)
        t = np.arange(first, min(out.shape[1], int((enters_s + self.span_m / abs(speed) + rings_s) * fs))) / fs - enters_s
        if t.size == 0:
            return
        part = out[:, first : first + t.size]
        at = [x if speed > 0 else self.span_m - x for x in x_m]
        for row, x in enumerate(at):
            part[row] += axle_kn * self.influence(quantity, x, abs(speed) * t)
        for k in range(1, self.modes + 1):
            q, static, acceleration = self._mode(k, axle_kn, abs(speed), t)
            shape = np.array([np.sin(k * np.pi * x / self.span_m) for x in at])
            if quantity == "acceleration":
                dynamic = -acceleration
            elif quantity == "deflection":
                dynamic = -1e3 * (q - static)
            else:
                dynamic = 1e6 * self.section_m * (k * np.pi / self.span_m) ** 2 * (q - static)
            part += shape[:, None] * dynamic

    def _mode(self, k: int, axle_kn: float, speed: float, t: Real) -> tuple[Real, Real, Real]:
        """Coordinate of mode k in m (downwards), its static part, and its acceleration, from an axle that enters at t = 0."""
        w = 2.0 * np.pi * self.f1_hz * k * k
        decay, wd = self.damping * w, w * np.sqrt(1.0 - self.damping**2)
        drive = k * np.pi * speed / self.span_m
        p = 2.0 * axle_kn / (self.mass_t_m * self.span_m)
        below = (w * w - drive * drive) ** 2 + (2.0 * decay * drive) ** 2
        a, b = p * (w * w - drive * drive) / below, -p * 2.0 * decay * drive / below

        def forced(at: Real) -> tuple[Real, Real]:
            s, c, e = np.sin(drive * at), np.cos(drive * at), np.exp(-decay * at)
            c0, s0 = -b, (-decay * b - drive * a) / wd
            cw, sw = np.cos(wd * at), np.sin(wd * at)
            q = a * s + b * c + e * (c0 * cw + s0 * sw)
            dq = drive * (a * c - b * s) + e * ((wd * s0 - decay * c0) * cw - (wd * c0 + decay * s0) * sw)
            return q, dq

        leaves = self.span_m / speed
        on = t <= leaves
        q, dq = forced(np.minimum(t, leaves))
        end, d_end = (float(v[0]) for v in forced(np.array([leaves])))
        rest = np.maximum(t - leaves, 0.0)
        e, cw, sw = np.exp(-decay * rest), np.cos(wd * rest), np.sin(wd * rest)
        s0 = (d_end + decay * end) / wd
        q = np.where(on, q, e * (end * cw + s0 * sw))
        dq = np.where(on, dq, e * (d_end * cw - (decay * s0 + wd * end) * sw))
        load = np.where(on, p * np.sin(drive * np.minimum(t, leaves)), 0.0)
        return q, load / (w * w), load - 2.0 * decay * dq - w * w * q


CAR = ((8.0, 7.0), (2.7,))
LORRY = ((55.0, 90.0), (5.0,))
SEMI = ((65.0, 105.0, 75.0, 75.0, 75.0), (3.6, 5.8, 1.3, 1.3))
MIX = ((CAR, 0.6), (LORRY, 0.25), (SEMI, 0.15))


def traffic(duration_s: float, per_hour: float, rng: np.random.Generator, *, headway_s: float = 0.0, both_ways: bool = True,
            speed_mps: tuple[float, float] = (20.0, 3.0)) -> list[Vehicle]:
    """Vehicles that come one independently of the other (Poisson): cars, lorries and semi-trailers of random load and speed.

    ``speed_mps`` mean and standard deviation, held within 5 to 40. ``headway_s`` above 0: one that would come sooner behind the
    one before it does not come, so that fewer come than ``per_hour``.
    """
    out: list[Vehicle] = []
    t = rng.exponential(3600.0 / per_hour)
    while t < duration_s:
        if not out or t - out[-1].enters_s >= headway_s:
            (axles, gaps), share = MIX[int(rng.choice(len(MIX), p=[p for _, p in MIX]))][0], rng.uniform(0.6, 1.2)
            v = float(np.clip(rng.normal(*speed_mps), 5.0, 40.0)) * (-1.0 if both_ways and rng.random() < 0.5 else 1.0)
            out.append(Vehicle(tuple(a * share for a in axles), gaps, v, t))
        t += rng.exponential(3600.0 / per_hour)
    return out


def weather_drift(n: int, fs: float, rng: np.random.Generator, *, day: float = 60.0, hour: float = 3.0) -> Real:
    """float64[n]: what temperature does to a gauge: ``day`` its swing in a day, ``hour`` how far a random walk gets in an hour."""
    t = np.arange(n) / fs
    steps = rng.normal(0.0, hour * np.sqrt(1.0 / 3600.0), int(t[-1]) + 2)
    walk = np.interp(t, np.arange(steps.size), np.cumsum(steps))
    slow: Real = 0.5 * day * np.sin(2.0 * np.pi * t / 86_400.0 + rng.uniform(0.0, 2.0 * np.pi)) + walk
    return slow
