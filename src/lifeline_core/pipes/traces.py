"""The stretch of each sensor's record that a burst is read from: bins of 20 ms about the first motion, above the level before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

BIN_S = 0.02
BEFORE_S = 0.8  # of the stretch before the first motion
LEVEL_S = 1.0  # before it, whose mean is the level that is taken off
AFTER_S, LONGEST_S = 4.0, 7.0  # from the first motion; longer until ENOUGH sensors have moved for HEARD_S
ENOUGH, HEARD_S = 5, 2.0
LONG_S, SHORT_BINS = 0.5, 3  # motion: the mean of three bins against that of half a second before
MOVED, MOVED_SD = 0.12, 6.0  # by this much (m) and so many standard deviations
LEAST_SD = 0.003  # m; what rounding in a device leaves


@dataclass(frozen=True, slots=True)
class Traces:
    """Change of head at the sensors.

    Attributes
    ----------
    y : float64[n_sensors, n]
        Means over bins; NaN where a bin has no finite sample.
    sd : float64[n_sensors]
        Noise of a bin.
    step_s, start_s, first_s : float
        Length of a bin; beginning of the first one; first motion anywhere. On the clock of the record.
    """

    y: Floats
    sd: Floats
    step_s: float
    start_s: float
    first_s: float


def bins(p: Floats, fs: float) -> tuple[Floats, float]:
    """Means over bins of about ``BIN_S``, of what is finite; and their length in seconds."""
    size = max(1, round(BIN_S * fs))
    n = p.shape[1] // size
    whole = p[:, : n * size].reshape(len(p), n, size)
    good = np.isfinite(whole)
    count = good.sum(axis=2)
    mean = np.where(good, whole, 0.0).sum(axis=2) / np.maximum(count, 1)
    mean[count == 0] = np.nan
    return mean, size / fs


def noise(y: Floats) -> Floats:
    """Standard deviation of every row's bins, from the median of the differences of neighbours."""
    d = np.abs(np.diff(y, axis=1))
    known = np.isfinite(d).any(axis=1)
    found = np.full(len(y), LEAST_SD)
    found[known] = np.nanmedian(d[known], axis=1) / 0.6745 / np.sqrt(2.0)
    return np.maximum(found, LEAST_SD)


def held(y: Floats) -> Floats:
    """Missing bins take the value before them, at the beginning 0."""
    last = np.maximum.accumulate(np.where(np.isfinite(y), np.arange(y.shape[1]), -1), axis=1)
    found: Floats = np.where(last < 0, 0.0, np.take_along_axis(y, np.maximum(last, 0), axis=1))
    return np.where(np.isfinite(found), found, 0.0)


def motions(y: Floats, step_s: float) -> Floats:
    """Seconds from the first bin until each row falls off its level, inf where it does not; up to two bins early."""
    long = max(2, round(LONG_S / step_s))
    n = y.shape[1] - SHORT_BINS - long
    found = np.full(len(y), np.inf)
    if n < 1:
        return found
    filled = held(y)
    total = np.cumsum(np.pad(filled - filled[:, :1], ((0, 0), (1, 0))), axis=1)
    level = (total[:, long : long + n] - total[:, :n]) / long
    now = (total[:, long + SHORT_BINS : long + SHORT_BINS + n] - total[:, long : long + n]) / SHORT_BINS
    least = np.maximum(MOVED, MOVED_SD * noise(y[:, : 2 * long]) * np.sqrt(1 / SHORT_BINS + 1 / long))
    fell = now - level < -least[:, None]
    some = fell.any(axis=1)
    found[some] = (fell[some].argmax(axis=1) + long) * step_s
    return found


def cut(p: Floats, fs: float, t0_s: float, first_s: float | None = None) -> Traces | None:
    """The stretch about the first motion; None where nothing moves.

    Parameters
    ----------
    p : float64[n_sensors, n]
        Head, m.
    fs, t0_s : float
        Hz; time of the first sample.
    first_s : float, optional
        When something has moved for certain; what moved before counts too.
    """
    y, step = bins(p, fs)
    moved = np.sort(motions(y, step))
    first = min(float(moved[0]) if len(moved) else np.inf, np.inf if first_s is None else first_s - t0_s)
    if not np.isfinite(first) or y.shape[1] < 2:
        return None
    enough = float(moved[min(len(moved), ENOUGH) - 1])
    last = first + min(max(AFTER_S, enough - first + HEARD_S), LONGEST_S)
    begin = max(0, int((first - BEFORE_S) / step))
    end = min(y.shape[1], max(int(last / step), begin + 2))
    early = y[:, max(0, begin - round(LEVEL_S / step)) : max(begin, 5)]
    known = np.isfinite(early)
    level = np.where(known, early, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    sd = noise(y[:, : max(begin, 8)])
    return Traces(y[:, begin:end] - level[:, None], sd, step, t0_s + begin * step, t0_s + first)


def resampled(x: Singles, lead_s: float, fs: float, n: int, step_s: float) -> Floats:
    """Means over even bins of samples at any rate, each value reaching to its neighbours on a straight line::

        bins     |--0--|--1--|--2--| ... n - 1          bin 0 begins at time 0
        samples      x     x     x                      the first at lead_s, then every 1 / fs

    NaN where less than half of a bin lies between finite samples.

    >>> resampled(np.arange(6, dtype=np.float32), 0.0, 1.0, 4, 2.0).tolist()
    [1.0, 3.0, 4.5, nan]
    """
    v = np.asarray(x, dtype=np.float64)
    found: Floats = np.full(n, np.nan)
    if len(v) < 2:
        return found
    good = np.isfinite(v[1:]) & np.isfinite(v[:-1])
    base = float(np.nanmean(v)) if np.isfinite(v).any() else 0.0  # sums keep their digits on a high level
    left, rise = np.where(good, v[:-1] - base, 0.0), np.where(good, v[1:] - v[:-1], 0.0)
    whole, there = (np.concatenate([[0.0], np.cumsum(part)]) for part in (left + 0.5 * rise, good.astype(np.float64)))
    # Areas up to each edge: whole steps between samples, and the part of one.
    at = np.clip((np.arange(n + 1) * step_s - lead_s) * fs, 0.0, len(good))
    k = np.minimum(at.astype(np.intp), len(good) - 1)
    part = at - k
    total = np.diff(whole[k] + left[k] * part + 0.5 * rise[k] * part**2)
    share = np.diff(there[k] + good[k] * part)
    enough = share >= 0.5 * step_s * fs
    found[enough] = base + total[enough] / share[enough]
    return found
