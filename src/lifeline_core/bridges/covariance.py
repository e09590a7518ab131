"""Covariances between channels at lags, gathered block by block: all that covariance-driven identification needs.

    R_k = 1/N sum_t y[t + k] y[t]^T        y = x - mean, k = 0 .. lags

Sums over blocks add up: a recording may come in pieces, blocks may be merged, the oldest taken away or forgotten. The
blocks themselves give the scatter of R, from which standard deviations of modes follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

Real = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lags:
    """``blocks`` float64[n_blocks, n_lags, n_ch, n_ch]: R of each block; ``weight`` float64[n_blocks]: products in it."""

    fs: float
    blocks: Real
    weight: Real

    @property
    def mean(self) -> Real:
        """R of the whole, float64[n_lags, n_ch, n_ch]."""
        total: Real = np.tensordot(self.weight, self.blocks, 1) / self.weight.sum()
        return total

    @property
    def deviations(self) -> Real:
        """Directions whose outer products add up to the covariance matrix of `mean`, float64[n_blocks, ...].

        sqrt(w_j) (R_j - R) / sqrt((n - 1) sum w): the sample covariance of blocks taken to be independent, over their
        number. Empty with fewer than two blocks.
        """
        n = len(self.weight)
        if n < 2:
            return np.empty((0, *self.blocks.shape[1:]))
        scale = np.sqrt(self.weight / ((n - 1) * self.weight.sum()))
        return (self.blocks - self.mean) * scale[:, None, None, None]


def products(y: Real, lags: int, begin: int, end: int) -> Real:
    """sum over t = begin .. end-1 of y[t + k] y[t]^T for k = 0 .. lags; y float64[n_ch, n], n >= end + lags."""
    n_ch = len(y)
    ahead = sliding_window_view(y[:, begin : end + lags], end - begin, axis=1)  # [n_ch, lags + 1, m]
    flat = np.ascontiguousarray(ahead.transpose(1, 0, 2)).reshape((lags + 1) * n_ch, -1)
    out: Real = (flat @ y[:, begin:end].T).reshape(lags + 1, n_ch, n_ch)
    return out


def lag_covariances(x: ArrayLike, fs: float, lags: int, *, n_blocks: int = 1) -> Lags:
    """R_k, k = 0 .. lags, of a whole recording, block by block.

    Parameters
    ----------
    x : float[n_ch, n]
        Samples, time last; the mean of each channel is taken off. All must be finite.
    fs : Hz.
    lags : largest lag, samples; shorter than a block.
    n_blocks : stretches of equal length.

    Raises
    ------
    ValueError
        Empty, not finite, or too short for so many blocks and lags.
    """
    y = np.asarray(x, np.float64)
    if y.ndim != 2 or y.size == 0:
        raise ValueError(f"x must be [n_ch, n] and not empty, is of shape {y.shape}")
    if not np.isfinite(y).all():
        raise ValueError("x must be finite: fill or cut gaps first")
    n = y.shape[1] - lags
    if n_blocks < 1 or n // n_blocks < lags:
        raise ValueError(f"{n_blocks} blocks of more than {lags} samples need {n_blocks * lags + lags} samples, x has {y.shape[1]}")
    y = y - y.mean(axis=1, keepdims=True)
    border = np.linspace(0, n, n_blocks + 1).astype(int)
    size = np.diff(border).astype(np.float64)
    blocks = np.stack([products(y, lags, int(a), int(b)) for a, b in pairwise(border)])
    return Lags(float(fs), blocks / size[:, None, None, None], size)
