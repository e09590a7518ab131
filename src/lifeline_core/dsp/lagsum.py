"""Products of channels at lags, summed: what covariances at lags are made of.

    P[k] = sum over t = 0 .. n-1 of y[t + k] y[t]^T        y = x - offset, k = 0 .. lags

    x  |........ n ........|.. lags ..|        the last samples are looked at, no product begins there
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.dsp._lagsum import lag_sums

Real = NDArray[np.float64]


def lag_products(x: ArrayLike, lags: int, offset: ArrayLike | None = None) -> Real:
    """Products of all pairs of rows at lags 0 .. lags, summed in the order of the samples in float64.

    Parameters
    ----------
    x : float[n_ch, n + lags]
        Samples, time last.
    lags : largest lag, samples; less than there are.
    offset : float[n_ch], taken from each row first; default 0.

    Returns
    -------
    float64[lags + 1, n_ch, n_ch]
        [k, i, j] is the sum of x[i, t + k] x[j, t]; NaN where one of them is not finite.

    Raises
    ------
    ValueError
        Empty, not rows, or no more samples than lags.

    Examples
    --------
    >>> lag_products([[1.0, -1.0, 1.0, -1.0]], 1)[:, 0, 0].tolist()
    [3.0, -3.0]
    """
    a = np.asarray(x, np.float64)
    if a.ndim != 2 or a.size == 0:
        raise ValueError(f"x must be [n_ch, n] and not empty, is of shape {a.shape}")
    if not 0 <= lags < a.shape[1]:
        raise ValueError(f"lags must be 0 or more and less than the {a.shape[1]} samples, is {lags}")
    if a.strides[1] != a.itemsize or a.strides[0] < 0 or a.strides[0] % a.itemsize:
        a = np.ascontiguousarray(a)
    n_ch = len(a)
    off = np.zeros(n_ch) if offset is None else np.ascontiguousarray(offset, np.float64).reshape(-1)
    sums = lag_sums(a, off, lags)[:, : (lags + 1) * n_ch]
    return np.ascontiguousarray(sums.reshape(n_ch, lags + 1, n_ch).transpose(1, 2, 0))
