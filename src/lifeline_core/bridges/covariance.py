"""Covariances between channels at lags, gathered block by block: all that covariance-driven identification needs.

    R_k = 1/N sum_t y[t + k] y[t]^T        y = x - mean, k = 0 .. lags

Sums over blocks add up: a recording may come in pieces or from two machines, the oldest block may leave or all of them
fade. The blocks themselves give the scatter of R, from which standard deviations of modes follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from math import exp
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.bridges.sums import Real, Sums
from lifeline_core.dsp.lagsum import lag_products
from lifeline_core.errors import StateError

VERSION = 2


@dataclass(frozen=True, slots=True)
class Lags:
    """``blocks`` float64[n_blocks, n_lags, n_ch, n_ch]: R of each block; ``weight`` float64[n_blocks]: what it counts in `mean`.

    ``counts`` float64[n_blocks]: samples whose scatter a block has; None where they are the weights, as without forgetting.
    """

    fs: float
    blocks: Real
    weight: Real
    counts: Real | None = None

    @property
    def mean(self) -> Real:
        """R of the whole, float64[n_lags, n_ch, n_ch]."""
        total: Real = np.tensordot(self.weight, self.blocks, 1) / self.weight.sum()
        return total

    @property
    def duration_s(self) -> float:
        """Seconds of record that know as much as this does; with forgetting about twice its time constant."""
        counts = self.weight if self.counts is None else self.counts
        return float(self.weight.sum() ** 2 / np.sum(self.weight**2 / counts)) / self.fs

    @property
    def deviations(self) -> Real:
        """Directions whose outer products add up to the covariance matrix of `mean`, float64[n_blocks, ...].

        sqrt(w_j) (R_j - R) / sqrt((n - 1) sum w): the sample covariance of blocks taken to be independent, over their
        number. With counts c of their own, w_j (R_j - R) / sum w, scaled so that a scatter of 1 / c_j gives back
        V = sum w^2 / c / (sum w)^2. Empty with fewer than two blocks.
        """
        n, total = len(self.weight), self.weight.sum()
        if n < 2:
            return np.empty((0, *self.blocks.shape[1:]))
        if self.counts is None:
            scale = np.sqrt(self.weight / ((n - 1) * total))
        else:
            share, own = self.weight / total, 1.0 / self.counts
            true = np.sum(share**2 * own)
            scale = share * np.sqrt(true / np.sum(share**2 * (own - 2.0 * share * own + true)))
        return (self.blocks - self.mean) * scale[:, None, None, None]


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
    mean = y.mean(axis=1)
    border = np.linspace(0, n, n_blocks + 1).astype(int)
    blocks = np.empty((n_blocks, lags + 1, len(y), len(y)))
    for to, (a, b) in zip(blocks, pairwise(border), strict=True):
        np.divide(lag_products(y[:, a : b + lags], lags, mean), b - a, out=to)
    return Lags(float(fs), blocks, np.diff(border).astype(np.float64))


class RunningLags:
    """Lag covariances of a stream, block by block: no sample older than ``lags`` is kept once its block is done.

    A block is ``block`` samples from the start or from the last seam; `read` gives R of the last ``keep`` blocks about
    their common mean, as `lag_covariances` would, to rounding. Blocks begin where the stream does, so any cut of it gives
    the same bits. A block that holds a NaN or an infinity, or that a seam cut short, is left out. Nothing is ever taken off
    a sum: what left the window leaves no trace.

    Parameters
    ----------
    n_ch : rows.
    fs : Hz.
    lags : largest lag, samples.
    block : samples of a block, more than ``lags``.
    keep : blocks remembered one by one, 8 (lags + 1) n_ch (n_ch + 1) bytes each.
    forgetting : time constant in seconds. A block that is T seconds older weighs 1/e; what is older than ``keep`` blocks is
        one sum that fades. Left-out blocks take no time. Default: the last ``keep`` blocks count alike, the others not.

    Raises
    ------
    ValueError
        A number is outside its rule.
    """

    def __init__(self, n_ch: int, fs: float, lags: int, *, block: int, keep: int, forgetting: float | None = None) -> None:
        if n_ch < 1 or lags < 1 or block <= lags or keep < 1:
            raise ValueError(f"n_ch, lags, keep must be 1 or more and block more than lags, are {n_ch}, {lags}, {keep}, {block}")
        if forgetting is not None and not block / fs / 100.0 <= forgetting < np.inf:
            raise ValueError(f"forgetting must be a time constant of at least {block / fs / 100.0} s, a hundredth of a block, "
                             f"not {forgetting}")
        self.n_ch, self.fs, self.lags, self.block, self.keep = n_ch, float(fs), lags, block, keep
        self.forgetting = forgetting
        self._fade = 1.0 if forgetting is None else exp(-block / (fs * forgetting))
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._sums: list[Sums] = []  # each as it was made, the oldest first
        self._old: Sums | None = None  # what is older, faded to the age of the oldest of them
        self._gone = 0  # blocks in it
        self._offset = np.zeros(self.n_ch)
        self._settled = False
        self.restart()

    def restart(self) -> None:
        """A seam: blocks that are done stay, the one under way is dropped."""
        self._waiting = np.empty((self.n_ch, 0))

    @property
    def blocks(self) -> int:
        """How many are remembered one by one."""
        return len(self._sums)

    def push(self, x: NDArray[Any]) -> None:
        """Take float[n_ch, n] in; n may be anything."""
        if x.shape[0] != self.n_ch:
            raise ValueError(f"lag covariances of {self.n_ch} rows: x is of shape {x.shape}")
        y = np.concatenate((self._waiting, x), axis=1)
        begin, need = 0, self.block + self.lags
        while y.shape[1] - begin >= need:
            self._measure(y[:, begin : begin + need])
            begin += self.block
        self._waiting = np.array(y[:, begin:], np.float64)

    def _measure(self, x: Real) -> None:
        """One block and the ``lags`` samples behind it. Taken about the stream's first mean: an offset costs no digits."""
        if not np.isfinite(x).all():
            return
        if not self._settled:
            self._offset, self._settled = x.mean(axis=1), True
        whole = np.zeros((self.n_ch, x.shape[1] + 1))
        np.cumsum(x - self._offset[:, None], axis=1, out=whole[:, 1:])
        ahead = (whole[:, self.block :] - whole[:, : self.lags + 1]).T
        self._add(Sums(lag_products(x, self.lags, self._offset), ahead, float(self.block), float(self.block)))

    def _add(self, block: Sums) -> None:
        self._sums.append(block)
        while len(self._sums) > self.keep:
            self._leave()

    def merge(self, other: RunningLags) -> None:
        """A seam here, then every block of ``other`` as if it had come next, then a seam; ``other`` stays as it is.

        Two of one stream meet where a block ends: the first is also given the ``lags`` samples with which the second begins.
        ValueError unless both were made with the same numbers.
        """
        if other is self or self._shape() != other._shape():
            raise ValueError(f"merge needs two lag covariances of the same numbers, these are {self._shape()} and {other._shape()}")
        self.restart()
        if not other._settled:
            return
        if not self._settled:
            self._offset, self._settled = other._offset.copy(), True
        by = other._offset - self._offset
        if other._old is not None:
            self._fold(self._fade**other._gone)
            old = other._old.moved(by)
            self._old = old if self._old is None else self._old + old
            self._gone += other._gone
        for block in list(other._sums):
            self._add(block.moved(by))

    def _fold(self, by: float) -> None:
        """All blocks become old, and fade."""
        while self._sums:
            self._leave()
        self._old = None if self._old is None else self._old.faded(by)

    def _leave(self) -> None:
        """The oldest block becomes one of the old."""
        oldest = self._sums.pop(0)
        if self._fade < 1.0:
            self._old = (oldest if self._old is None else self._old + oldest).faded(self._fade)
            self._gone += 1

    def read(self, groups: int | None = None) -> Lags:
        """Covariances of what is remembered; ValueError with no block.

        groups : so many blocks at most, neighbours taken together; what follows from the blocks' scatter gets cheaper and
            less sure, 1 / sqrt(2 (groups - 1)) of a standard deviation.
        """
        if not self._sums:
            raise ValueError("there is no whole block yet")
        if groups is not None and groups < 1:
            raise ValueError(f"groups must be 1 or more, is {groups}")
        n = len(self._sums)
        sums = [s.faded(self._fade ** (n - 1 - i)) for i, s in enumerate(self._sums)]
        if self._old is not None:
            sums.insert(0, self._old.faded(self._fade ** (n - 1)))
        if groups is not None and groups < len(sums):
            border = np.linspace(0, len(sums), groups + 1).astype(int)
            sums = [reduce(Sums.__add__, sums[a:b]) for a, b in pairwise(border)]
        weight = np.array([s.weight for s in sums])
        mean = np.sum([s.ahead[0] for s in sums], axis=0) / weight.sum()
        counts = None if self._fade == 1.0 else weight**2 / np.array([s.square for s in sums])
        return Lags(self.fs, np.stack([s.about(mean) for s in sums]), weight, counts)

    def _shape(self) -> list[Any]:
        return [self.n_ch, self.fs, self.lags, self.block, self.keep, self.forgetting]

    def save(self) -> dict[str, Any]:
        """State as a map of plain values and bytes."""
        return {"v": VERSION, "shape": self._shape(), "offset": self._offset.tobytes(), "settled": self._settled,
                "waiting": self._waiting.tobytes(), "sums": [s.packed() for s in self._sums],
                "old": None if self._old is None else self._old.packed(), "gone": self._gone}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `save` gave, bit for bit; StateError where it was made with other numbers."""
        if state.get("v") != VERSION or list(state.get("shape", ())) != self._shape():
            raise StateError("lag covariances: saved state is of another version, number of rows, lags or blocks")
        try:
            sums = [Sums.unpacked(parts, self.n_ch, self.lags) for parts in state["sums"]]
            old = None if state["old"] is None else Sums.unpacked(state["old"], self.n_ch, self.lags)
            waiting = np.frombuffer(state["waiting"]).reshape(self.n_ch, -1).copy()
            offset = np.frombuffer(state["offset"]).reshape(self.n_ch).copy()
            settled, gone = bool(state["settled"]), int(state["gone"])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise StateError(f"lag covariances cannot be restored: {error}") from error
        self._sums, self._old, self._gone, self._waiting, self._offset, self._settled = sums, old, gone, waiting, offset, settled
