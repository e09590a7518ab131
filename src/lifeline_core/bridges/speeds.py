r"""Speed and direction of what passes several sensors along a bridge, from what each of them measured.

With the same unknown load, sensor a at position x_a measures S_a = P G_a, where G_a is what a unit load of speed v does there::

    S_a(f) G_b(f; v) = S_b(f) G_a(f; v)                for the right v, whatever the axles are

``alike``: all sensors answer alike, each when the load is over it (sensors of different spans, of slabs and stiffeners)::

    G_a = exp(-i 2 pi f x_a / v)

``moment``: strain of one simply supported span; the influence line is a triangle with its top at the sensor. Its kinks at the
supports come at the same time in all sensors, so that plain correlation of two such records gives too short a delay.

Source: the equality of crossed records is that of blind channel identification (G. Xu, H. Liu, L. Tong, T. Kailath, IEEE Trans.
Signal Process. 43 (1995) 2982-2993), here with channels that are known but for the speed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft
from scipy.optimize import minimize_scalar

from lifeline_core.bridges.passages import Passage, Passages

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

SLOWEST, FASTEST = 2.0, 60.0  # m/s
STEPS = 160  # speeds tried, each way
MOST_MISFIT, LEAST_MARGIN = 0.25, 0.05


@dataclass(frozen=True, slots=True)
class Speed:
    """``mps`` positive towards growing position; ``misfit`` 0 (the records agree with it) to 1, ``rival`` the least misfit of the
    other direction. ``sure``: the misfit is small and the rival's clearly larger."""

    mps: float
    misfit: float
    rival: float

    @property
    def sure(self) -> bool:
        return self.misfit <= MOST_MISFIT and self.rival - self.misfit >= LEAST_MARGIN


def passing_speed(d: ArrayLike, rate_hz: float, x_m: Sequence[float], *, span_m: tuple[float, float] | None = None,
                  below_hz: float = 2.5) -> Speed:
    """The speed that makes the records of one passage agree.

    Parameters
    ----------
    d : float[n_sensors, n], all finite
        Deviation from the baseline, from before the passage until after it.
    rate_hz : of the samples.
    x_m : positions of the sensors along the bridge, m, two different ones or more.
    span_m : (support, support) of the span, m, for ``moment``; absent: ``alike``.
    below_hz : what is faster is not compared: the bridge's own vibration comes everywhere at once.

    Raises
    ------
    ValueError
        Fewer than two positions, a sensor outside the span, samples that are not finite, too few of them.
    """
    y, at = np.asarray(d, np.float64), np.asarray(x_m, np.float64)
    if y.ndim != 2 or len(y) != len(at) or np.unique(at).size < 2 or y.shape[1] < 8:
        raise ValueError(f"d must have a row of 8 samples or more for each of two positions, is of shape {y.shape} at {list(x_m)}")
    if not np.isfinite(y).all():
        raise ValueError("d must be finite: put 0 where nothing was measured")
    if span_m is not None and not (span_m[0] < at.min() and at.max() < span_m[1]):
        raise ValueError(f"sensors must lie between the supports {span_m}, are at {list(x_m)}")
    size = fft.next_fast_len(2 * y.shape[1], real=True)
    f = fft.rfftfreq(size, 1.0 / rate_hz)
    low = (f > 0.0) & (f <= below_hz)
    if low.sum() < 4:
        raise ValueError(f"below_hz must leave four frequencies or more of {y.shape[1]} samples, is {below_hz}")
    spectra: Complex = fft.rfft(y, size, axis=1)[:, low]
    omega = 2.0 * np.pi * f[low]
    pairs = [(a, b) for a, b in combinations(range(len(at)), 2) if at[a] != at[b]]
    power = np.array([np.abs(spectra[a]) ** 2 + np.abs(spectra[b]) ** 2 for a, b in pairs])
    if not (total := float(power.sum())) > 0.0:
        raise ValueError("d must hold something below below_hz, holds nothing")

    def misfit(slowness: float) -> float:
        g = _answers(omega, at, slowness, span_m)
        apart = 0.0
        for (a, b), weight in zip(pairs, power, strict=True):  # weighted by what was measured, not by what g lets through
            one, two = spectra[a] * g[b], spectra[b] * g[a]
            both = np.abs(one) ** 2 + np.abs(two) ** 2
            share = np.divide(np.abs(one - two) ** 2, both, out=np.ones_like(both), where=both > 0.0)
            apart += float((weight * share).sum())
        return apart / total

    way_m = span_m[1] - span_m[0] if span_m is not None else float(np.ptp(at))
    slowest = max(SLOWEST, way_m * rate_hz / y.shape[1])  # it came and went within the record
    if slowest >= FASTEST:
        raise ValueError(f"d must last longer than {way_m / FASTEST:.2f} s, the least time of a vehicle, is of shape {y.shape}")
    tried = np.geomspace(1.0 / FASTEST, 1.0 / slowest, STEPS)
    best = [_least(misfit, tried, way) for way in (1.0, -1.0)]
    (value, slowness), (rival, _) = sorted(best)
    return Speed(1.0 / slowness, value, rival)


def crossing_speed(cutter: Passages, cuts: Sequence[Passage], rate_hz: float, x_m: Mapping[int, float], *,
                   span_m: tuple[float, float] | None = None, below_hz: float = 2.5) -> Speed | None:
    """Of what has just crossed: ``cuts`` are all passages since every row was at rest, ``x_m`` positions by row.

    None while any row is still busy, where fewer than two places felt it, where one felt two vehicles, and where it was too short.
    """
    rows = [c.row for c in cuts]
    seen = [row for row in x_m if row in rows]
    if cutter.busy or len({x_m[row] for row in seen}) < 2 or max(rows.count(row) for row in seen) > 1:
        return None
    pad = cutter.rule.hold
    begin, end = int(min(c.onset for c in cuts)) - pad, min(int(max(c.end for c in cuts)) + pad, cutter.n)
    try:
        return passing_speed(cutter.deviation(seen, begin, end), rate_hz, [x_m[row] for row in seen], span_m=span_m,
                             below_hz=min(below_hz, 0.4 * rate_hz))
    except ValueError:
        return None


def _least(misfit: object, tried: Real, way: float) -> tuple[float, float]:
    """Least misfit and its slowness among those tried, refined between its neighbours."""
    assert callable(misfit)
    values = [misfit(way * s) for s in tried]
    i = int(np.argmin(values))
    low, high = float(tried[max(0, i - 1)]), float(tried[min(len(tried) - 1, i + 1)])
    found = minimize_scalar(lambda s: misfit(way * s), bounds=(low, high), method="bounded", options={"xatol": 1e-4 * low})
    return (float(found.fun), way * float(found.x)) if found.fun < values[i] else (float(values[i]), way * float(tried[i]))


def _answers(omega: Real, x: Real, slowness: float, span_m: tuple[float, float] | None) -> Complex:
    """G of each sensor, complex128[n_sensors, n_f]."""
    if span_m is None:
        shift: Complex = np.exp(-1j * np.outer(x - x[0], omega * slowness))
        return shift
    length = span_m[1] - span_m[0]
    a = (x - span_m[0] if slowness > 0 else span_m[1] - x)[:, None] / length
    k = omega * abs(slowness) * length  # of the span as unit
    triangle: Complex = -((1.0 - a) - np.exp(-1j * k * a) + a * np.exp(-1j * k)) / k**2
    return triangle
