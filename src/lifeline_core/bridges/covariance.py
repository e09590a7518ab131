"""Covariances between channels at lags, gathered block by block: all that covariance-driven identification needs.

    R_k = 1/N sum_t y[t + k] y[t]^T        y = x - mean, k = 0 .. lags

Sums over blocks add up: a recording may come in pieces, blocks may be merged, the oldest taken away or forgotten. The
blocks themselves give the scatter of R, from which standard deviations of modes follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from lifeline_core.errors import StateError

Real = NDArray[np.float64]


VERSION = 1


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


@dataclass(frozen=True, slots=True)
class _Sums:
    """Of one block: products float64[lags + 1, n_ch, n_ch], sums of y[t + k] float64[lags + 1, n_ch], count."""

    products: Real
    ahead: Real
    count: int


class RunningLags:
    """Lag covariances of a stream, block by block: no sample older than ``lags`` is kept once its block is done.

    A block is ``block`` samples from the start or from the last seam; `read` gives R of the last ``keep`` blocks about
    their common mean, as `lag_covariances` would, to rounding. Blocks begin where the stream does, so any cut of it gives
    the same bits. A block that holds a NaN or an infinity, or that a seam cut short, is left out.

    Parameters
    ----------
    n_ch : rows.
    fs : Hz.
    lags : largest lag, samples.
    block : samples of a block, more than ``lags``.
    keep : blocks remembered, 8 (lags + 1) n_ch (n_ch + 1) bytes each.
    """

    def __init__(self, n_ch: int, fs: float, lags: int, *, block: int, keep: int) -> None:
        if n_ch < 1 or lags < 1 or block <= lags or keep < 1:
            raise ValueError(f"n_ch, lags, keep must be 1 or more and block more than lags, are {n_ch}, {lags}, {keep}, {block}")
        self.n_ch, self.fs, self.lags, self.block, self.keep = n_ch, float(fs), lags, block, keep
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._sums: list[_Sums] = []
        self._offset = np.zeros((self.n_ch, 1))
        self._settled = False
        self.restart()

    def restart(self) -> None:
        """A seam: blocks that are done stay, the one under way is dropped."""
        self._waiting = np.empty((self.n_ch, 0))

    @property
    def blocks(self) -> int:
        return len(self._sums)

    def push(self, x: NDArray[Any]) -> None:
        """Take float[n_ch, n] in; n may be anything."""
        if x.shape[0] != self.n_ch:
            raise ValueError(f"lag covariances of {self.n_ch} rows: x is of shape {x.shape}")
        y = np.concatenate((self._waiting, x), axis=1)
        begin, need = 0, self.block + self.lags
        while y.shape[1] - begin >= need:
            self._add(y[:, begin : begin + need])
            begin += self.block
        self._waiting = np.array(y[:, begin:], np.float64)

    def _add(self, x: Real) -> None:
        """One block and the ``lags`` samples behind it. Taken about the stream's first mean: an offset costs no digits."""
        if not np.isfinite(x).all():
            return
        if not self._settled:
            self._offset, self._settled = x.mean(axis=1, keepdims=True), True
        y = np.ascontiguousarray(x, np.float64) - self._offset
        whole = np.concatenate((np.zeros((self.n_ch, 1)), np.cumsum(y, axis=1)), axis=1)
        ahead = (whole[:, self.block :] - whole[:, : self.lags + 1]).T
        self._sums = [*self._sums[-self.keep + 1 :], _Sums(products(y, self.lags, 0, self.block), ahead, self.block)]

    def read(self) -> Lags:
        """Covariances of the blocks remembered; ValueError with none."""
        if not self._sums:
            raise ValueError("there is no whole block yet")
        weight = np.array([s.count for s in self._sums], np.float64)
        mean = np.sum([s.ahead[0] for s in self._sums], axis=0) / weight.sum()
        blocks = [(s.products - s.ahead[:, :, None] * mean - mean[:, None] * s.ahead[0] + s.count * np.outer(mean, mean)) / s.count
                  for s in self._sums]
        return Lags(self.fs, np.stack(blocks), weight)

    def save(self) -> dict[str, Any]:
        """State as a map of plain values and bytes."""
        return {"v": VERSION, "shape": [self.n_ch, self.lags, self.block, self.keep], "offset": self._offset.tobytes(),
                "settled": self._settled, "waiting": self._waiting.tobytes(),
                "sums": [[s.products.tobytes(), s.ahead.tobytes()] for s in self._sums]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `save` gave, bit for bit; StateError where it was made with other numbers."""
        if state.get("v") != VERSION or list(state.get("shape", ())) != [self.n_ch, self.lags, self.block, self.keep]:
            raise StateError("lag covariances: saved state is of another version, number of rows, lags or blocks")
        try:
            sums = [_Sums(np.frombuffer(p).reshape(self.lags + 1, self.n_ch, self.n_ch).copy(),
                          np.frombuffer(a).reshape(self.lags + 1, self.n_ch).copy(), self.block) for p, a in state["sums"]]
            waiting = np.frombuffer(state["waiting"]).reshape(self.n_ch, -1).copy()
            offset = np.frombuffer(state["offset"]).reshape(self.n_ch, 1).copy()
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"lag covariances cannot be restored: {error}") from error
        self._sums, self._waiting, self._offset, self._settled = sums, waiting, offset, bool(state["settled"])
