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


def densities(x: NDArray[np.float64], fs: float, n: int, hop: int, window: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """One-sided density of every segment by itself [n_ch, n_segments, n_f]."""
    once = np.array([1.0 if k == 0 or 2 * k == n else 2.0 for k in range(n // 2 + 1)])
    return np.array([np.abs(transforms(row, n, hop, window, kind)) ** 2 for row in x]) * once / (fs * np.sum(window**2))


def forgetting(values: NDArray[np.float64], keep: float) -> NDArray[np.float64]:
    """Weighted mean of values [n_segments, ...], the newest weighs 1, each older one keep times as much; NaN is left out."""
    top, bottom = np.zeros(values.shape[1:]), np.zeros(values.shape[1:])
    for value in values:
        there = np.isfinite(value)
        top = top * keep + np.where(there, value, 0.0)
        bottom = bottom * keep + there
    return top / bottom


def median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Middle of values [n_segments, ...] over what the middle of so many exponential variables is of their mean."""
    n = len(values)
    ordered = np.sort(values, axis=0)
    middle = ordered[n // 2] if n % 2 else 0.5 * (ordered[n // 2 - 1] + ordered[n // 2])
    bias = 1.0
    for i in range(1, (n - 1) // 2 + 1):
        bias += 1.0 / (2 * i + 1) - 1.0 / (2 * i)
    return middle / bias
