"""Means, deviations and correlations of channels over a stretch of a stream, the same numbers however it is cut.

Floating sums depend on the order of their terms, so samples are gathered into pieces of one length before they are summed; sums
are in float64 about the stretch's first samples. Samples that are not finite are left out, pair by pair.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.dsp.filters import pack, unpack
from lifeline_core.errors import StateError

Real = NDArray[np.float64]
PIECE = 1024


@dataclass(frozen=True, slots=True)
class Moments:
    """count float64[n] of finite samples; mean, std float64[n] (std about the mean, divided by count); correlation float64[n, n],
    NaN where one of both does not move or no sample is common."""

    count: Real
    mean: Real
    std: Real
    correlation: Real


class Comoments:
    """Running sums over ``rows`` channels.

    >>> c = Comoments(2)
    >>> c.push(np.float32([[1, 2, 3], [6, 4, 2]]))
    >>> m = c.close()
    >>> m.mean.tolist(), m.correlation.round(6).tolist()
    ([2.0, 4.0], [[1.0, -1.0], [-1.0, 1.0]])
    """

    TAG = b"LLcm"

    def __init__(self, rows: int) -> None:
        if rows < 1:
            raise ValueError(f"comoments: at least one row is needed, are {rows}")
        self.rows = int(rows)
        self._piece = np.zeros((self.rows, PIECE), np.float32)
        self._clear()

    def _clear(self) -> None:
        n = self.rows
        self._held = 0
        self._offset = np.full(n, np.nan)
        self._pairs, self._ahead, self._both = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n))

    def push(self, x: NDArray[Any]) -> None:
        """Take float32[rows, n] in."""
        at = 0
        while at < x.shape[1]:
            n = min(PIECE - self._held, x.shape[1] - at)
            self._piece[:, self._held : self._held + n] = x[:, at : at + n]
            self._held, at = self._held + n, at + n
            if self._held == PIECE:
                self._add()

    def _add(self) -> None:
        x = self._piece[:, : self._held].astype(np.float64)
        self._held = 0
        there = np.isfinite(x)
        new = np.isnan(self._offset) & there.any(axis=1)
        self._offset[new] = x[new, there.argmax(axis=1)[new]]
        x = np.where(there, x - self._offset[:, None], 0.0)
        ones = there.astype(np.float64)
        self._pairs += x @ x.T
        self._ahead += x @ ones.T  # [k, l]: of k, where l is there
        self._both += ones @ ones.T

    def close(self) -> Moments:
        """What the stretch amounts to; a new one begins."""
        if self._held:
            self._add()
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            mean = self._ahead / self._both
            cov = self._pairs / self._both - mean * mean.T
            square = self._pairs.diagonal()[:, None] / self._both.diagonal()[:, None]
            var = np.maximum(cov.diagonal(), 0.0)
            var = np.where(var > 1e-14 * square[:, 0], var, 0.0)  # no more than rounding
            correlation = cov / np.sqrt(np.outer(var, var))
        correlation[~np.isfinite(correlation)] = np.nan
        found = Moments(self._both.diagonal().copy(), self._offset + mean.diagonal(), np.sqrt(var), correlation)
        self._clear()
        return found

    def save(self) -> bytes:
        return pack(self.TAG, struct.pack("<Q", self.rows), self._data())

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError where it is of other rows."""
        data = unpack(self.TAG, struct.pack("<Q", self.rows), self._data(), state)
        if not (0 <= data[0] < PIECE and data[0].is_integer()):
            raise StateError(f"comoments: saved state is damaged, it holds {data[0]} samples")
        n = self.rows
        self._held = int(data[0])
        self._offset = data[1 : 1 + n].copy()
        self._pairs, self._ahead, self._both = data[1 + n : 1 + n + 3 * n * n].reshape(3, n, n).copy()
        self._piece = data[1 + n + 3 * n * n :].reshape(n, PIECE).astype(np.float32)

    def _data(self) -> Real:
        piece = self._piece.astype(np.float64)
        piece[:, self._held :] = 0.0
        return np.concatenate([[float(self._held)], self._offset, self._pairs.ravel(), self._ahead.ravel(), self._both.ravel(),
                               piece.ravel()])
