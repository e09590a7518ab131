"""Welch's method written out: every segment, every bin, every sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def detrended(x: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    t = np.arange(len(x))
    if kind == "linear":
        return x - np.polyval(np.polyfit(t, x, 1), t)
    return x - (sum(x) / len(x) if kind == "constant" else 0.0)


def transforms(x: NDArray[np.float64], n: int, hop: int, window: NDArray[np.float64], kind: str) -> NDArray[np.complex128]:
    """Bins [n_segments, n // 2 + 1] by the definition of the discrete Fourier transform."""
    k, t = np.arange(n // 2 + 1)[:, None], np.arange(n)
    basis = np.exp(-2j * np.pi * k * t / n)
    return np.array([basis @ (window * detrended(x[s : s + n], kind)) for s in range(0, len(x) - n + 1, hop)])


def csd_matrix(x: NDArray[np.float64], fs: float, n: int, hop: int, window: NDArray[np.float64],
               kind: str) -> NDArray[np.complex128]:
    """One-sided density [n_f, n_ch, n_ch]."""
    bins = [transforms(row, n, hop, window, kind) for row in x]
    once = np.array([1.0 if k == 0 or 2 * k == n else 2.0 for k in range(n // 2 + 1)])
    out = np.zeros((n // 2 + 1, len(x), len(x)), complex)
    for i, a in enumerate(bins):
        for j, b in enumerate(bins):
            out[:, i, j] = np.mean(np.conj(a) * b, axis=0) * once / (fs * np.sum(window**2))
    return out
