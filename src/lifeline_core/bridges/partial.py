"""Normal vectors of which some values are missing (NaN): how far off, what the others foretell, what to put in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]


def same_scale(d2: Real, m: NDArray[np.int64], modes: int) -> Real:
    """d2 of m modes as the value that is as unlikely for all of them (Wilson and Hilferty, PNAS 17, 1931)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (np.cbrt(d2 / m) - (1 - 2 / (9 * m))) / np.sqrt(2 / (9 * m))
        whole = modes * np.maximum(1 - 2 / (9 * modes) + z * np.sqrt(2 / (9 * modes)), 0.0) ** 3
    return np.where(m == 0, np.nan, np.where(m == modes, d2, whole))


def distance(e: Real, cov: Real) -> tuple[Real, NDArray[np.int64]]:
    """e_a^T S_aa^-1 e_a over the values that are there, and how many there are."""
    there = np.isfinite(e)
    d2 = np.full(len(e), np.nan)
    for pattern in np.unique(there, axis=0):
        rows = np.flatnonzero((there == pattern).all(axis=1))
        if pattern.any():
            part = e[np.ix_(rows, pattern)]
            d2[rows] = np.einsum("ni,ni->n", part, np.linalg.solve(cov[np.ix_(pattern, pattern)], part.T).T)
    return d2, there.sum(axis=1)


def alone(e: Real, cov: Real) -> Real:
    """What is left of each value when those beside it are known; a value that is the only one stays."""
    there = np.isfinite(e)
    out = np.full_like(e, np.nan)
    for pattern in np.unique(there, axis=0):
        if pattern.any():
            rows = np.flatnonzero((there == pattern).all(axis=1))
            precision = np.linalg.inv(cov[np.ix_(pattern, pattern)])
            out[np.ix_(rows, pattern)] = e[np.ix_(rows, pattern)] @ precision / np.diag(precision)
    return out


def filled(f: Real, mean: Real, cov: Real) -> tuple[Real, Real]:
    """f with what is missing replaced by what is expected of it, and the summed covariance of what was put in."""
    there, full, extra = np.isfinite(f), f.copy(), np.zeros_like(cov)
    for pattern in np.unique(there, axis=0):
        if pattern.all():
            continue
        rows = np.flatnonzero((there == pattern).all(axis=1))
        gain = np.linalg.solve(cov[np.ix_(pattern, pattern)], cov[np.ix_(pattern, ~pattern)])
        full[np.ix_(rows, ~pattern)] = mean[np.ix_(rows, ~pattern)] + (f - mean)[np.ix_(rows, pattern)] @ gain
        extra[np.ix_(~pattern, ~pattern)] += len(rows) * (cov[np.ix_(~pattern, ~pattern)] - cov[np.ix_(~pattern, pattern)] @ gain)
    return full, extra
