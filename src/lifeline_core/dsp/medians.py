"""The median spectrum: each bin's middle value over the segments, so that a few loud segments do not count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lifeline_core.dsp.segments import GROUP, Array, Cut
from lifeline_core.dsp.threads import shared

ROOM = 1 << 24  # values of one row's bins that are held at once; a row of more is transformed several times, some bins each
AT_ONCE = 256  # segments transformed before they are turned round; whole groups
SORTED = 1024  # up to so many values sorting them is quicker than finding the middle


def median_bias(n: int) -> float:
    """What the median of n exponential variables is of their mean: 1 - 1/2 + 1/3 - ... + 1/n, for even n as for n - 1.

    Source: B. Allen, W. G. Anderson, P. R. Brady, D. A. Brown, J. D. E. Creighton, Phys. Rev. D 85 (2012) 122006,
    appendix B.

    >>> median_bias(1), median_bias(2), round(median_bias(3), 6)
    (1.0, 1.0, 0.833333)
    """
    k = np.arange(1.0, n + n % 2)
    return float(np.sum(np.where(k % 2, 1.0, -1.0) / k))


def middle(values: Array) -> Array:
    """Median over the last axis, which is put in another order; NaN where there is one."""
    n = values.shape[-1]
    half = n // 2
    if n <= SORTED:
        values.sort(axis=-1)
        nan: Array = np.isnan(values[..., -1])
    else:
        nan = np.asarray(np.isnan(values).any(axis=-1))
        values.partition(half, axis=-1)
    mid = values[..., half].astype(np.float64)
    if n % 2 == 0:
        mid = 0.5 * (values[..., :half].max(axis=-1) + mid)
    mid[nan] = np.nan
    return mid


def medians(cut: Cut, rows: Array, single: bool, threads: int) -> NDArray[np.float64]:
    """Median over the segments of each row's density, without bias: float64[n_rows, n_f].

    Of one row at a time as many bins are held as fit into ROOM, so the memory does not grow with the overlap.
    """
    n_seg, n_f = cut.whole(rows.shape[1]), len(cut.f)
    width = max(1, min(n_f, ROOM // n_seg))
    out = np.empty((len(rows), n_f))

    def some(begin: int, end: int, spread: int = 1) -> None:
        plane = np.empty((width, n_seg), np.float32 if single else np.float64)
        for row in range(begin, end):
            for f in range(0, n_f, width):
                bins = slice(f, min(f + width, n_f))
                held = plane[: bins.stop - f]
                shared(lambda a, b: _fill(held, cut, rows[row], single, bins, a, b), n_seg, spread, unit=GROUP)  # noqa: B023
                shared(lambda a, b: out[row, bins].__setitem__(slice(a, b), middle(held[a:b])), len(held), spread)  # noqa: B023

    if len(rows) >= threads:
        shared(some, len(rows), threads)
    else:
        some(0, len(rows), threads)
    return out / median_bias(n_seg)


def _fill(held: Array, cut: Cut, row: Array, single: bool, bins: slice, begin: int, end: int) -> None:
    """Densities of the segments begin .. end - 1 into held[bin, segment]."""
    with cut.lent(1, single) as stream:
        for a in range(begin, end, AT_ONCE):
            b = min(a + AT_ONCE, end)
            held[:, a:b] = stream.each(row[None, cut.samples(a, b)], cut.scale)[0, :, bins].T
