"""The frequencies that stand out of an averaged spectrum."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter


def _local_median(p: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Median of the ``size`` values around each; a wide window is read in 32 parts, or this would cost more than the spectrum."""
    part = max(1, size // 32)
    whole = p.size // part
    medians = np.partition(p[: whole * part].reshape(whole, part), part // 2, axis=1)[:, part // 2]
    level = np.repeat(median_filter(medians, size=size // part | 1, mode="nearest"), part)
    return np.pad(level, (0, p.size - level.size), mode="edge")


def dominant_peaks(f: NDArray[np.float64], p: NDArray[Any], count: int = 4, *, f_min: float = 0.0, f_max: float = np.inf,
                   prominence: float = 3.0, separation: float = 0.02) -> list[float]:
    """Frequencies of the peaks that stand out most from the spectrum around them, the most prominent first.

    Prominence is the peak's power over the median power in a tenth of the band around it (of wide windows the median of
    the medians of their 32nd parts). The place between the bins is
    the top of the parabola through the logarithms of three bins (exact for a Gaussian line, within a few percent of a
    bin for a Hann window). Of several maxima within four bins, or ``separation`` of the frequency, only the most prominent
    is told.

    Parameters
    ----------
    f, p : float[n_f], evenly spaced frequencies and the power there.
    count : at most so many.
    f_min, f_max : Hz, where to look.
    prominence : least ratio to the local median.
    separation : least distance of two peaks relative to their frequency.

    Returns
    -------
    list of float, Hz
    """
    if len(f) < 8 or not np.all(np.isfinite(p)):
        return []
    size, step = max(9, len(f) // 10 | 1), float(f[1] - f[0])
    first = max(0, int((f_min - f[0]) / step) - size)  # what lies further out than a window is nobody's neighbour
    last = int(min((f_max - f[0]) / step, len(f))) + size
    f, p = f[first:last], p[first:last]
    level = _local_median(p.astype(np.float64), size)
    floor = np.maximum(prominence * level, 1e-10 * np.max(p))  # further down is rounding of the strongest line
    top = 1 + np.flatnonzero((p[1:-1] > p[:-2]) & (p[1:-1] >= p[2:]) & (p[1:-1] >= floor[1:-1]) & (level[1:-1] > 0))
    top = top[(f[top] >= f_min) & (f[top] <= f_max) & (np.minimum(p[top - 1], p[top + 1]) > 0)]
    found: list[float] = []
    for k in top[np.argsort(-(p[top] / level[top]), kind="stable")]:
        left, mid, right = np.log(p[k - 1 : k + 2].astype(np.float64))
        at = float(f[k] + 0.5 * step * (left - right) / (left - 2.0 * mid + right))
        if all(abs(at - other) > max(4 * step, separation * other) for other in found):
            found.append(at)
        if len(found) == count:
            break
    return found
