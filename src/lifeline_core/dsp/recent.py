"""Sums over the last so many segments of a stream: what is older is forgotten, a NaN and a spike too.

No sum ever has something taken off again. Samples are kept in blocks of b segments, and a block's sums beside them:

    segments    |..x x x x x|x x x x x x x|x x x x x x x|x x x . . . .|       x: in the window
    blocks         oldest         whole        whole        newest

The whole blocks are transformed once; of the oldest the part that is still in the window, and the newest as far as it came,
are transformed when somebody looks. Memory: 4 bytes for each sample of the window and of two blocks more, at most a quarter
of that again for what neighbouring blocks have in common, and the sums, 8 bytes a bin and row (16 a bin and pair) of a block.
"""

from __future__ import annotations

import hashlib
import struct
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lifeline_core.dsp.segments import GROUP, Array, Cut
from lifeline_core.errors import StateError

HEAD = struct.Struct("<4sII8I16sII")
TAG, VERSION = b"LLSR", 1

Samples = NDArray[np.float32]


@dataclass(slots=True)
class Block:
    """Some segments' samples, and their sums once somebody needed them."""

    samples: Samples
    segments: int
    sums: tuple[Array, Array] | None = None


def block_segments(cut: Cut, count: int, n_ch: int, cross: bool) -> int:
    """Segments of a block, in groups of 8; not many more than the window's.

    So many that neighbours have at most a quarter of their samples in common, that adding the blocks' sums and transforming
    the two ends of the window take about as long, and that the sums of a block of pairs need no more memory than its samples.
    """
    overlap = -(-(cut.n - cut.hop) // (2 * cut.hop))
    time = round((count / 10.0) ** 0.5 / GROUP)
    pairs = -(-n_ch // 2) if cross else 1
    return GROUP * min(max(1, overlap, time) * pairs, -(-count // GROUP))


class Recent:
    """The verbs of a stream for the sums over its last ``count`` segments."""

    def __init__(self, cut: Cut, n_ch: int, count: int, *, cross: bool, skip: bool) -> None:
        self.cut, self.n_ch, self.count, self.cross, self.skip = cut, n_ch, count, cross, skip
        self.block = block_segments(cut, count, n_ch, cross)
        self._work = cut.stream(n_ch, True, cross=cross, skip=skip)
        self._spare: list[Samples] = []
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._blocks: deque[Block] = deque()
        self._closed = 0  # segments in the blocks
        self._fresh()

    def _fresh(self) -> None:
        size = (self.block - 1) * self.cut.hop + self.cut.n
        self._newest = self._spare.pop() if self._spare else np.empty((self.n_ch, size), np.float32)
        self._fill = 0
        self._seen: tuple[Array, Array] | None = None

    def push(self, x: Samples) -> None:
        """Take float32[n_ch, n] in."""
        if x.ndim != 2 or x.shape[0] != self.n_ch:
            raise ValueError(f"spectrum of {self.n_ch} rows: x is of shape {x.shape}")
        begin, n = 0, x.shape[1]
        while begin < n:
            take = min(n - begin, self._newest.shape[1] - self._fill)
            self._newest[:, self._fill : self._fill + take] = x[:, begin : begin + take]
            self._fill += take
            begin += take
            if self._fill == self._newest.shape[1]:
                self._close()
        self._seen = None
        self._forget()

    def _close(self) -> None:
        """The newest block is whole; its end is the beginning of the next."""
        whole, over = self._newest, self.cut.n - self.cut.hop
        self._blocks.append(Block(whole, self.block))
        self._closed += self.block
        self._forget()
        self._fresh()
        self._newest[:, :over] = whole[:, whole.shape[1] - over :]
        self._fill = over

    def _forget(self) -> None:
        whole = self.cut.whole(self._fill) if self._fill < self._newest.shape[1] else 0
        while self._blocks and self._closed + whole - self._blocks[0].segments >= self.count:
            old = self._blocks.popleft()
            self._closed -= old.segments
            if old.segments == self.block:
                self._spare = [old.samples]

    def restart(self) -> None:
        """A seam: what is whole stays, the rest is dropped."""
        segments = self.cut.whole(self._fill)
        if segments:
            self._blocks.append(Block(self._newest[:, self.cut.samples(0, segments)].copy(), segments))
            self._closed += segments
        self._fill, self._seen = 0, None
        self._forget()

    def merge(self, other: Recent) -> None:
        """A seam here, then all of other's whole segments, as far as they are in the window."""
        if self._head(0, 0, 0) != other._head(0, 0, 0):
            raise ValueError("spectrum: merge needs two equal plans")
        self.restart()
        pieces = [(b.samples, b.segments) for b in other._blocks]
        if newest := self.cut.whole(other._fill):
            pieces.append((other._newest[:, self.cut.samples(0, newest)], newest))
        for samples, segments in pieces:
            self._blocks.append(Block(samples.copy(), segments))
            self._closed += segments
        self._forget()

    def _summed(self, samples: Samples) -> tuple[Array, Array]:
        self._work.reset()
        self._work.push(samples)
        sums: tuple[Array, Array] = self._work.matrix() if self.cross else self._work.power()
        return sums

    def _look(self) -> tuple[Array, Array]:
        """Sums and counts over the window, the oldest first."""
        if self._seen is None:
            newest = self.cut.whole(self._fill)
            pieces = list(self._blocks)
            if newest or not pieces:
                pieces.append(Block(self._newest[:, self.cut.samples(0, newest) if newest else slice(0)], newest))
            over = max(0, self._closed + newest - self.count)
            first = self._summed(pieces[0].samples[:, over * self.cut.hop :]) if over else self._sums(pieces[0])
            acc, used = first[0].copy(), first[1].copy()
            for piece in pieces[1:]:
                sums = self._sums(piece)
                acc += sums[0]
                used += sums[1]
            self._seen = acc, used
        return self._seen

    def _sums(self, piece: Block) -> tuple[Array, Array]:
        if piece.sums is None:
            piece.sums = self._summed(piece.samples)
        return piece.sums

    def power(self) -> tuple[Array, Array]:
        """Sums of |X|^2 float64[n_ch, n_f] and the segments in each, int64[n_ch]."""
        acc, used = self._look()
        return (np.einsum("fii->if", acc).real, np.diag(used)) if self.cross else (acc, used)

    def matrix(self) -> tuple[Array, Array]:
        """Sums of conj(X_i) X_j complex128[n_f, n_ch, n_ch] and the segments in each, int64[n_ch, n_ch]."""
        return self._look()

    def _head(self, size: int, blocks: int, fill: int) -> bytes:
        mark = hashlib.sha256(self.cut.window.tobytes() + self.cut.detrend.encode()).digest()[:16]
        return HEAD.pack(TAG, VERSION, size, self.cut.n, self.cut.hop, self.n_ch, self.cross, self.skip, self.count, self.block,
                         0, mark, blocks, fill)

    def save(self) -> bytes:
        """The samples of the window as versioned bytes."""
        lengths = np.array([b.segments for b in self._blocks], "<u4").tobytes()
        body = lengths + b"".join(b.samples.tobytes() for b in self._blocks) + self._newest[:, : self._fill].tobytes()
        return self._head(HEAD.size + len(body), len(self._blocks), self._fill) + body

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError unless made with the same keywords."""
        state = bytes(state)
        fault = StateError(f"spectrum: saved state is of another version, size or build ({len(state)} bytes)")
        if len(state) < HEAD.size:
            raise fault
        blocks, fill = HEAD.unpack_from(state)[-2:]
        if state[: HEAD.size] != self._head(len(state), blocks, fill) or fill >= self._newest.shape[1] or \
                len(state) < HEAD.size + 4 * blocks:
            raise fault
        lengths = np.frombuffer(state, "<u4", blocks, HEAD.size).tolist()
        sizes = [(m - 1) * self.cut.hop + self.cut.n for m in lengths]
        if any(not 0 < m <= self.block for m in lengths) or \
                len(state) != HEAD.size + 4 * blocks + 4 * self.n_ch * (sum(sizes) + fill):
            raise fault
        self.reset()
        at = HEAD.size + 4 * blocks
        for m, size in zip(lengths, sizes, strict=True):
            rows = np.frombuffer(state, "<f4", self.n_ch * size, at).reshape(self.n_ch, size)
            self._blocks.append(Block(rows.astype(np.float32), m))
            at += rows.nbytes
        self._closed = sum(lengths)
        self._newest[:, :fill] = np.frombuffer(state, "<f4", offset=at).reshape(self.n_ch, fill)
        self._fill = fill
