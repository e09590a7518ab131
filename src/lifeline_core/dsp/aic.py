"""The sample at which something begins in a window that holds one onset: Akaike's criterion on the samples themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import lifeline_core.dsp._onset as _onset
from lifeline_core.dsp.filters import rows_of
from lifeline_core.dsp.threads import shared

_AIC = {"f": _onset.aic["float"], "d": _onset.aic["double"]}


def aic_onset(x: ArrayLike, *, threads: int = 1) -> tuple[Any, Any]:
    """Where a window of samples is best cut into noise and signal, by Akaike's criterion on the samples themselves.

    ::

        AIC(k) = k ln var(x[:k]) + (n - k - 1) ln var(x[k:])        least at the onset

    The index is that of ``obspy.signal.trigger.aic_simple(x).argmin()``: k - 1, the last sample before the onset. The
    window should hold one onset and little of what comes long after it. Variances below 1e-15 of the whole window's
    count as that, so silence before an onset is no minimum of its own. The work grows with n, not its square; variances
    are sums of squares about running means in float64, so that an offset, however large, costs them no digits.

    quality = 1 - exp(-g), where g >= 0 is how much the mean ln of the variance falls by the cut::

        g = ln var(x) - (k ln var(x[:k]) + (n - k) ln var(x[k:])) / n

    It is near 10 / n for pure noise, 0.2 for a doubling of the amplitude in the middle, 0.86 for ten times the amplitude
    in the last third.

    Parameters
    ----------
    x : [..., n], n >= 3.
    threads : at most so many, each for whole windows.

    Returns
    -------
    index : int, or int64[...]; 0 for a constant, -1 where a sample is not finite.
    quality : float in 0..1, or float64[...]; 0 for a constant, NaN where a sample is not finite.

    Raises
    ------
    ValueError
        Fewer than 3 samples.

    Source
    ------
    N. Maeda, A method for reading and checking phase times in autoprocessing system of seismic wave data,
    Zisin 38 (1985) 365-379.

    >>> aic_onset([0.0, 0.1, -0.1, 0.1, 0.0, 5.0, -4.0, 5.0, -5.0])[0]
    4
    """
    rows = rows_of(x, "aic_onset")
    n = rows.shape[1]
    if n < 3:
        raise ValueError(f"aic_onset: at least 3 samples are needed, are {n}")
    index, quality = np.empty(len(rows), np.int64), np.empty(len(rows))
    kernel = _AIC[rows.dtype.char]
    shared(lambda a, b: kernel(rows[a:b], np.empty(3 * n + 12), index[a:b], quality[a:b]), len(rows), threads)
    if np.ndim(x) == 1:
        return int(index[0]), float(quality[0])
    return index.reshape(np.shape(x)[:-1]), quality.reshape(np.shape(x)[:-1])
