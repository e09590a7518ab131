"""How much of a step was given back: what tells a hole that stays open from one that shut again.

::

    before     first motion    lasting         settled
    ..........|\\______                  _____          share = 1 - settled / deepest
               deepest  \\_____......____/              0: as deep as ever, 1: back at the level before, > 1: beyond it

Over ``LASTING_S`` after the onset the largest excursion in the direction of the first motion is taken, over the next
``SETTLED_S`` the mean level; both against the mean of ``BEFORE_S`` before the onset.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

BEFORE_S, LASTING_S, SETTLED_S = 0.5, 2.2, 1.3  # a pulse of demand takes up to 2 s (taps, flushing valves)
GUARD_S = 0.05  # before the onset that is left out of the level before: a slow beginning is picked late
BIN_S = 0.05
LEAST_SDS = 4.0  # standard deviations of a bin that the excursion must exceed


def regained(p: ArrayLike, fs: float, t_s: ArrayLike, polarity: ArrayLike, *, t0_s: float = 0.0) -> Floats:
    """Share of the excursion that each sensor's pressure has regained some seconds after its onset.

    Parameters
    ----------
    p : array_like[n_sensors, n]
        Pressure or head.
    fs, t0_s : float
        Hz, positive; time of the first sample.
    t_s : array_like[n_sensors]
        Onsets, seconds; NaN where there was none.
    polarity : array_like[n_sensors]
        -1 drop, +1 rise: of the first motion.

    Returns
    -------
    float64[n_sensors]
        NaN where there is no onset, where the record ends before the level has settled (at least half of
        ``SETTLED_S`` is needed), or where the excursion does not stand out of the noise.

    Raises
    ------
    ValueError
        fs not positive, or another number of onsets or polarities than rows.

    Examples
    --------
    >>> t = np.arange(600) / 100
    >>> dips = np.array([np.where((t >= 1) & (t < 2), -1.0, 0.0), np.where(t >= 1, -1.0, 0.0)])
    >>> regained(dips, 100.0, [1.0, 1.0], [-1, -1]).round(3).tolist()
    [1.0, 0.0]
    """
    if not (math.isfinite(fs) and fs > 0):
        raise ValueError(f"fs is positive and finite, got {fs!r}")
    x = np.atleast_2d(np.asarray(p, dtype=np.float64))
    onset, sign = np.atleast_1d(np.asarray(t_s, dtype=np.float64)), np.atleast_1d(np.asarray(polarity, dtype=np.float64))
    if x.ndim != 2 or onset.shape != (len(x),) or sign.shape != (len(x),):
        raise ValueError(f"t_s and polarity have one value for each of the {len(x)} rows, got {onset.shape} and {sign.shape}")
    return np.array([_one(row, fs, t - t0_s, s) for row, t, s in zip(x, onset, sign, strict=True)], dtype=np.float64)


def _one(x: Floats, fs: float, t: float, sign: float) -> float:
    if not math.isfinite(t) or sign == 0:
        return math.nan
    edges = np.array([t - GUARD_S - BEFORE_S, t - GUARD_S, t, t + LASTING_S, t + LASTING_S + SETTLED_S]) * fs
    k = np.clip(np.rint(edges).astype(np.intp), 0, len(x))
    before, lasting, settled = x[k[0] : k[1]], x[k[2] : k[3]], x[k[3] : k[4]]
    settled = settled[np.isfinite(settled)]
    size = max(1, round(BIN_S * fs))
    if np.isfinite(before).sum() < 2 or len(lasting) < size or len(settled) < 0.5 * SETTLED_S * fs:
        return math.nan
    known = before[np.isfinite(before)]
    level, sd = float(known.mean()), float(np.abs(np.diff(known)).mean()) * 0.886 / math.sqrt(size)
    rows = lasting[: len(lasting) // size * size].reshape(-1, size)
    good = np.isfinite(rows)
    bins = np.where(good, rows, 0.0).sum(axis=1)[good.any(axis=1)] / good.sum(axis=1)[good.any(axis=1)]
    deepest = float((sign * (bins - level)).max(initial=0.0))
    if deepest <= max(LEAST_SDS * sd, 1e-9):
        return math.nan
    return 1.0 - sign * (float(settled.mean()) - level) / deepest
