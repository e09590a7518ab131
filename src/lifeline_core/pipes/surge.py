"""Whether a pressure surge went beyond what a pipe bears: too high, too low, below the air's pressure, down to vapour.

The limits are those of the pipe and are given by its owner; none is assumed. Below 0 m gauge a pipe sucks in what is
around it; near minus the air's pressure the water itself boils and the column tears::

    separation head = (vapour pressure - air pressure) / (rho g)        -10.1 m at sea level, 20 degrees C

and what comes after it is no longer a small wave.

Sources: E. B. Wylie, V. L. Streeter, Fluid Transients in Systems (1993), ch. 8 (column separation); ICAO standard
atmosphere, Doc 7488 (1993): air pressure against height; vapour pressure of water, 2.339 kPa at 20 degrees C (IAPWS).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.pipes.moc import GRAVITY
from lifeline_core.pipes.speed import WATER_DENSITY

Floats = NDArray[np.float64]

AIR_PA, VAPOUR_PA = 101_325.0, 2_339.0
NEAR_M = 0.5  # above the separation head that counts as reached: gauges and the air's pressure differ by that much
SURE_SD = 2.0  # standard deviations of the noise beyond a limit for "surely"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a pipe bears, as gauge pressure head in m; NaN: not known, not judged."""

    highest_m: float = math.nan
    lowest_m: float = math.nan


@dataclass(frozen=True, slots=True)
class Passed:
    """A limit that was passed: ``kind`` high, low, vacuum or separation; the extreme and the limit (m), when it was first
    passed and how long in all (s), and whether by more than the noise."""

    kind: str
    value_m: float
    limit_m: float
    t_s: float
    lasted_s: float
    sure: bool


@dataclass(frozen=True, slots=True)
class Surge:
    """Highest and lowest gauge pressure head, when, with the noise of a sample, and what was passed; NaN of an empty record."""

    highest_m: float
    highest_s: float
    lowest_m: float
    lowest_s: float
    sd_m: float
    passed: tuple[Passed, ...]
    reasons: tuple[str, ...]


def separation_head(altitude_m: float = 0.0) -> float:
    """Gauge pressure head at which water at 20 degrees C boils, m (negative).

    Parameters
    ----------
    altitude_m : float
        Height above the sea, -500 .. 11000.

    Raises
    ------
    ValueError
        Another height.

    Examples
    --------
    >>> round(separation_head(), 2), round(separation_head(2000.0), 2)
    (-10.11, -7.88)
    """
    if not -500.0 <= altitude_m <= 11_000.0:
        raise ValueError(f"altitude_m is within -500 .. 11000, got {altitude_m!r}")
    air = AIR_PA * (1.0 - 2.25577e-5 * altitude_m) ** 5.25588
    return (VAPOUR_PA - air) / (WATER_DENSITY * GRAVITY)


def surge(p_m: ArrayLike, fs: float, limits: Limits | None = None, *, t0_s: float = 0.0, altitude_m: float = 0.0) -> Surge:
    """Extremes of a record against the limits of its pipe.

    A single odd sample passes nothing: of every three neighbours the middle value counts.

    Parameters
    ----------
    p_m : array_like[n]
        Gauge pressure head, m: head minus the elevation of the pipe. NaN where samples are missing.
    fs, t0_s : float
        Hz, positive; time of the first sample.
    limits : Limits, optional
        Of this pipe. Without them only vacuum and column separation are judged, and the reasons say so.
    altitude_m : float
        Height above the sea.

    Raises
    ------
    ValueError
        fs not positive, more than one dimension, a highest limit that is not above the lowest.

    Examples
    --------
    >>> found = surge([40.0, 40.0, 70.0, 75.0, 72.0, -3.0, -4.0, -4.0, 30.0], 100.0, Limits(highest_m=60.0))
    >>> [(one.kind, one.value_m) for one in found.passed]
    [('high', 72.0), ('vacuum', -4.0)]
    """
    if not (math.isfinite(fs) and fs > 0):
        raise ValueError(f"fs is positive and finite, got {fs!r}")
    x = np.asarray(p_m, dtype=np.float64)
    if x.ndim != 1:
        raise ValueError(f"p_m has one dimension, got the shape {x.shape}")
    told = limits if limits is not None else Limits()
    if told.highest_m <= told.lowest_m:
        raise ValueError(f"highest_m is above lowest_m, got {told.highest_m!r} and {told.lowest_m!r}")
    boiling = separation_head(altitude_m)
    at = np.nonzero(np.isfinite(x))[0]
    middle = _middle(x[at])
    if not len(middle):
        return Surge(math.nan, math.nan, math.nan, math.nan, math.nan, (), ("fewer than three samples",))
    at = at[1:-1]
    sd = float(np.median(np.abs(np.diff(x[np.isfinite(x)])))) / 0.6745 / math.sqrt(2.0)
    checks = (
        ("high", told.highest_m, middle > told.highest_m), ("low", told.lowest_m, middle < told.lowest_m),
        ("vacuum", 0.0, middle < 0.0), ("separation", boiling, middle < boiling + NEAR_M),
    )  # fmt: skip
    passed = []
    for kind, limit, beyond in checks:
        if beyond.any():
            value = float(middle.max() if kind == "high" else middle.min())
            far = abs(value - (limit + NEAR_M if kind == "separation" else limit))
            first, sure = t0_s + float(at[int(beyond.argmax())]) / fs, far > SURE_SD * sd
            passed.append(Passed(kind, value, limit, first, float(beyond.sum()) / fs, sure))
    high, low = int(middle.argmax()), int(middle.argmin())
    return Surge(float(middle[high]), t0_s + float(at[high]) / fs, float(middle[low]), t0_s + float(at[low]) / fs, sd,
                 tuple(passed), _reasons(told, passed))  # fmt: skip


def _middle(x: Floats) -> Floats:
    """Median of every sample and its two neighbours, without the ends."""
    if len(x) < 3:
        return np.zeros(0)
    found: Floats = np.sort(np.stack([x[:-2], x[1:-1], x[2:]]), axis=0)[1]
    return found


def _reasons(told: Limits, passed: list[Passed]) -> tuple[str, ...]:
    words = {"high": "above the highest", "low": "below the lowest", "vacuum": "below the air's pressure",
             "separation": "near the vapour pressure: the column may have torn"}  # fmt: skip
    said = [f"{one.value_m:.1f} m, {words[one.kind]} ({one.limit_m:.1f} m) for {one.lasted_s:.2f} s"
            + ("" if one.sure else ", within the noise") for one in passed]  # fmt: skip
    missing = [name for name, limit in (("highest", told.highest_m), ("lowest", told.lowest_m)) if math.isnan(limit)]
    return (*said, *(f"no {name} limit is given" for name in missing))
