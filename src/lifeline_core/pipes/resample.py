"""A recording as a logger with the other's clock would have taken it: band-limited interpolation at a slowly moving place."""

from __future__ import annotations

from functools import lru_cache
from math import floor, isfinite
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

HALF = 16  # samples to either side
TABLE = 1024  # fractions of a sample
SHAPE = 10.0  # of the Kaiser window: 100 dB down
LARGEST_PPM = 1000.0
PIECE = 1 << 16


@lru_cache(maxsize=1)
def _kernels() -> NDArray[np.float64]:
    """Windowed sinc at TABLE + 1 fractions of a sample, [fraction, tap]; each sums to 1, so a constant stays one."""
    at = np.arange(-HALF + 1, HALF + 1) - np.arange(TABLE + 1)[:, None] / TABLE
    h = np.sinc(at) * np.i0(SHAPE * np.sqrt(np.maximum(1.0 - (at / HALF) ** 2, 0.0)))
    return np.asarray(h / h.sum(axis=1, keepdims=True), np.float64)


def correct(b: ArrayLike, fs: float, ppm: float, *, offset_s: float = 0.0) -> NDArray[Any]:
    """What a logger would have recorded whose clock does not run ``ppm`` fast and was not ``offset_s`` ahead.

    ::

        out[k] = b at its own time (k / fs) (1 + ppm / 1e6) + offset_s          k = 0 .. while b has samples

    A delay (t_b - t_a) that read ``offset_s + ppm / 1e6 t`` becomes 0: `clocks.estimate_drift` gives both. Interpolated
    with 32 samples of a windowed sinc: 1e-5 exact up to 0.4 of the rate; the outermost 16 samples lean on the end value.

    Parameters
    ----------
    b : array [n]
        float32 stays float32, everything else becomes float64. A sample that is not finite makes NaN of the 32 about it.
    fs : float
        Hz, above 0.
    ppm : float
        How fast b's clock runs, within 1000.
    offset_s : float
        How much later b reads what a reads at 0; within the record.

    Returns
    -------
    array [m]
        Samples at 0, 1 / fs, ... of the other's clock; m differs from n by the drift and the offset.

    Raises
    ------
    ValueError
        Not one row of samples, a rate, drift or offset out of its range.

    Examples
    --------
    >>> t = np.arange(8000) / 1000.0
    >>> y = correct(np.sin(2 * np.pi * 50.0 * t / (1 + 20e-6)), 1000.0, 20.0)
    >>> bool(np.abs(y - np.sin(2 * np.pi * 50.0 * t[: y.size]))[16:-16].max() < 1e-5)
    True
    """
    x = np.asarray(b)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"b must be one row of samples, is of shape {x.shape}")
    if not (fs > 0.0 and isfinite(fs)):
        raise ValueError(f"fs must be above 0 and finite, is {fs}")
    if not abs(ppm) <= LARGEST_PPM:
        raise ValueError(f"ppm must lie within {LARGEST_PPM:g}, is {ppm}")
    if not abs(offset_s) * fs < x.size:
        raise ValueError(f"offset_s must be shorter than the record of {x.size / fs:g} s, is {offset_s}")
    x = x.astype(np.float32 if x.dtype == np.float32 else np.float64, copy=False)
    rate, start = 1.0 + ppm * 1e-6, offset_s * fs
    if ppm == 0.0 and start == 0.0:
        return x.copy()
    first = max(0, int(np.ceil(-start / rate)))  # before it b had not begun: those are NaN
    count = max(floor((x.size - 1 - start) / rate) + 1, 0)
    out = np.full(count, np.nan, x.dtype)
    padded = np.pad(x, HALF, mode="edge")
    with np.errstate(invalid="ignore"):
        for k in range(first, count, PIECE):
            out[k : k + PIECE] = _at(padded, np.arange(k, min(k + PIECE, count), dtype=np.float64) * rate + start + HALF)
    return out


def _at(padded: NDArray[Any], place: NDArray[np.float64]) -> NDArray[np.float64]:
    base = np.minimum(place.astype(np.int64), padded.size - HALF - 1)
    fine = (place - base) * TABLE
    row = np.minimum(fine.astype(np.int64), TABLE - 1)
    part = fine - row
    h = _kernels()
    low, high = np.zeros(place.size), np.zeros(place.size)
    for tap in range(2 * HALF):
        value = padded[base + tap - HALF + 1]
        low += h[row, tap] * value
        high += h[row + 1, tap] * value
    return np.asarray(low + part * (high - low), np.float64)
