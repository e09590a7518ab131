"""Segments of rows through scipy.fft in float64: what the compiled lanes do not take, with the lanes' verbs.

Sums are made as the lanes make them: eight segments in one fixed tree, groups one after the other into a part, parts into
the totals. So the numbers do not depend on how the stream was cut, on who looked, or on how many threads there are. The
library may take different ways for different numbers of rows at once (some in vectors, the last ones one by one): it is
always given a multiple of eight, filled up with zeros, or one row where a segment is long.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft

from lifeline_core.errors import StateError

Array = NDArray[Any]

DETREND = {"none": 0, "constant": 1, "linear": 2}  # numbers as in kernels/spectrum.h

HEAD = struct.Struct("<4sII10Id16s")
VERSION = 2
LONG = 16384  # a segment longer than this goes alone: eight of every row would take much memory and save no time
ROOM = 1 << 16  # doubles of segments in one call of the library, where one group is not more: half of a usual L2 cache


class Sums:
    """Sums over segments, and for each pair of rows the sum of the weights and the count of what is in it."""

    def __init__(self, n_ch: int, n_f: int, cross: bool) -> None:
        pairs = (n_ch, n_ch) if cross else (n_ch,)
        self.acc: Array = np.zeros((n_f, *pairs), np.complex128) if cross else np.zeros((n_ch, n_f))
        self.weight: Array = np.zeros(pairs)
        self.used: Array = np.zeros(pairs, np.int64)
        self.segments = 0

    def arrays(self) -> tuple[Array, Array, Array]:
        return self.acc, self.weight, self.used

    def copy(self) -> Sums:
        new = Sums.__new__(Sums)
        new.acc, new.weight, new.used, new.segments = self.acc.copy(), self.weight.copy(), self.used.copy(), self.segments
        return new

    def add(self, younger: tuple[Array, ...], segments: int, keep: float) -> None:
        """What is here grows older by so many segments; then sums, weights and counts of those are added."""
        if keep != 1.0:
            old = keep**segments
            self.acc *= old
            self.weight *= old
        for mine, more in zip(self.arrays(), younger, strict=True):
            mine += more
        self.segments += segments

    def clear(self) -> None:
        for a in self.arrays():
            a[...] = 0
        self.segments = 0


def tree(p: Array) -> Array:
    """Sum over axis 1, of 8 (or 1), in the order of a tree."""
    if p.shape[1] == 1:
        return p[:, 0]
    p = p[:, ::2] + p[:, 1::2]
    p = p[:, ::2] + p[:, 1::2]
    out: Array = p[:, 0] + p[:, 1]
    return out


def power(bins: Array) -> Array:
    """|X|^2"""
    out: Array = np.square(bins.real)
    out += np.square(bins.imag)
    return out


class Library:
    """As `_spectrum.Lanes`, for any segment length and any real dtype."""

    def __init__(self, window: NDArray[np.float64], hop: int, n_ch: int, detrend: int, cross: bool, skip: bool, part: int = 8,
                 keep: float = 1.0) -> None:
        self.window, self.hop, self.n_ch, self.detrend, self.cross, self.skip = window, hop, n_ch, detrend, cross, skip
        self.n, self.n_f, self.part, self.keep = len(window), len(window) // 2 + 1, part, keep
        self.group = 8 if self.n <= LONG else 1
        self.part_groups = part * 8 // self.group
        self.total, self.open = Sums(n_ch, self.n_f, cross), Sums(n_ch, self.n_f, cross)
        self._buffer = np.empty((n_ch, self.n + (self.group - 1) * hop))  # a group; what waits is always less
        self._fill = 0

    @property
    def waiting(self) -> Array:
        """The samples that are in no whole group yet, [n_ch, 0 ..]."""
        out: Array = self._buffer[:, : self._fill]
        return out

    def reset(self) -> None:
        """Forget everything."""
        self.total.clear()
        self.open.clear()
        self._fill = 0

    def restart(self) -> None:
        """A seam: what is whole counts, the rest is dropped."""
        self._tail(self.open)
        self._close()
        self._fill = 0

    def merge(self, other: Library) -> None:
        """A seam here, then all of other's sums as one part."""
        if self._head(0, 0) != other._head(0, 0):
            raise ValueError("spectrum: merge needs two equal plans")
        self.restart()
        seen = other._seen()
        self.total.add(seen.arrays(), seen.segments, self.keep)

    def push(self, x: Array) -> None:
        """Take [n_ch, n] in."""
        if x.ndim != 2 or x.shape[0] != self.n_ch:
            raise ValueError(f"spectrum of {self.n_ch} rows: x is of shape {x.shape}")
        had, n = self._fill, self._fill + x.shape[1]
        if n < self._buffer.shape[1]:
            self._buffer[:, had:n] = x
            self._fill = n
            return
        x = np.concatenate((self.waiting, x), axis=1) if had else x
        done = self._whole(n) // self.group * self.group
        self._take(self._views(x)[:, :done])
        rest = x[:, done * self.hop :]
        self._fill = rest.shape[1]
        self._buffer[:, : self._fill] = rest

    def power(self, out: Array | None = None) -> tuple[Array, Array]:
        """Sums of |X|^2 float64[n_ch, n_f] and the segments in each, int64[n_ch]."""
        seen = self._seen()
        p, used = (np.einsum("fii->if", seen.acc).real, np.diag(seen.used)) if self.cross else (seen.acc, seen.used)
        out = np.empty(p.shape) if out is None else out
        out[...] = p
        return out, used.copy()

    def matrix(self, out: Array | None = None) -> tuple[Array, Array]:
        """Sums of conj(X_i) X_j complex128[n_f, n_ch, n_ch] and the segments in each, int64[n_ch, n_ch]."""
        seen = self._seen()
        out = np.empty(seen.acc.shape, np.complex128) if out is None else out
        out[...] = 0.5 * (seen.acc + np.conj(np.swapaxes(seen.acc, 1, 2)))
        return out, seen.used

    def average(self, scale: Array) -> Array:
        """`matrix` times scale float64[n_f] over `weights`, complex128; NaN where the weight is 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.matrix()[0] * (scale[:, None, None] / self.weights()))

    def weights(self) -> Array:
        """Sum of keep^age of the segments, float64[n_ch], with cross float64[n_ch, n_ch]."""
        return self._seen().weight

    def each(self, x: Array, scale: Array) -> Array:
        """scale * |X|^2 of every whole segment of x, float64[n_ch, n_segments, n_f]."""
        views = self._views(x)
        out = np.empty((*views.shape[:2], self.n_f))
        for row in range(len(views)):
            for at in self._calls(1, views.shape[1]):
                to = out[row, at]
                np.multiply(power(self._transform(views[row : row + 1, at])[0])[0, : len(to)], scale, out=to)
        return out

    def _whole(self, n: int) -> int:
        return 1 + (n - self.n) // self.hop if n >= self.n else 0

    def _views(self, x: Array) -> Array:
        return sliding_window_view(x, self.n, axis=1)[:, :: self.hop]

    def _calls(self, rows: int, n_seg: int) -> list[slice]:
        """Whole groups of segments, so many that ROOM is enough for all rows of them."""
        step = self.group * max(1, ROOM // (self.n * self.group * rows))
        return [slice(g, min(g + step, n_seg)) for g in range(0, n_seg, step)]

    def _transform(self, seg: Array) -> tuple[Array, Array]:
        """Bins complex[rows, segments up to a whole group, n_f] and which segments count, bool of the same rows, segments."""
        y = np.zeros((seg.shape[0], -(-seg.shape[1] // self.group) * self.group, self.n))
        sound = np.zeros(y.shape[:2], bool)
        y[:, : seg.shape[1]] = seg
        sound[:, : seg.shape[1]] = True
        if self.skip:
            sound &= np.isfinite(y).all(axis=2)
            y[~sound] = 0.0
        with np.errstate(invalid="ignore", over="ignore"):
            if self.detrend:
                y -= y.mean(axis=2, keepdims=True)
            if self.detrend == DETREND["linear"] and self.n > 1:
                t = np.arange(self.n) - 0.5 * (self.n - 1)
                y -= (np.sum(y * t, axis=2, keepdims=True) / np.sum(t * t)) * t
            y *= self.window
            if self.group > 1:
                return fft.rfft(y, axis=2, overwrite_x=True), sound
            return np.stack([fft.rfft(one) for one in y.reshape(-1, self.n)]).reshape(*y.shape[:2], -1), sound

    def _take(self, views: Array) -> None:
        """Whole groups, part by part."""
        for call in self._calls(self.n_ch, views.shape[1]):
            groups = self._groups(views[:, call])
            n, at = len(groups[0]), 0
            while at < n:
                if not self.open.segments and n - at >= self.part_groups:  # many parts at once
                    end = at + (n - at) // self.part_groups * self.part_groups
                    for sums in zip(*(self._folded(a[at:end]) for a in groups), strict=True):
                        self.total.add(sums, self.part * 8, self.keep)
                    at = end
                    continue
                self.open.add(tuple(a[at] for a in groups), self.group, self.keep)
                at += 1
                if self.open.segments == self.part * 8:
                    self._close()

    def _folded(self, a: Array) -> Array:
        """Groups [parts * groups, ...] added up to parts, the order and the rounding those of one after the other."""
        a = a.reshape(-1, self.part_groups, *a.shape[1:])
        sums, old = a[:, 0].copy(), self.keep**self.group
        for g in range(1, self.part_groups):
            if old != 1.0 and a.dtype.kind != "i":
                sums *= old
            sums += a[:, g]
        return sums

    def _groups(self, views: Array) -> tuple[Array, Array, Array]:
        """Sums, weights and counts of each group: [n_groups, ...]; the last segments of the last one may be missing."""
        n_seg, size = views.shape[1], self.group
        short = -n_seg % size
        age = np.maximum(np.arange(size - 1.0 - short, -1.0 - short, -1.0), 0.0) if short else np.arange(size - 1.0, -1.0, -1.0)
        old = self.keep**age
        bins, sound = self._rows(views)
        sound = sound.reshape(self.n_ch, -1, size)
        n_groups = sound.shape[1]
        with np.errstate(invalid="ignore", over="ignore"):
            if self.cross:
                z = np.ascontiguousarray(bins.reshape(self.n_ch, n_groups, size, -1).transpose(1, 3, 0, 2))
                both = sound.transpose(1, 0, 2).astype(float)
                used = both @ both.transpose(0, 2, 1)
                return (np.conj(z) * old) @ z.transpose(0, 1, 3, 2), (both * old) @ both.transpose(0, 2, 1), used.astype(np.int64)
            p = bins.reshape(self.n_ch * n_groups, size, -1)
            acc = tree(p if self.keep == 1.0 else p * old[:, None]).reshape(self.n_ch, n_groups, -1)
        weight = tree((sound * old).reshape(-1, size)).reshape(self.n_ch, n_groups)
        return acc.transpose(1, 0, 2), weight.T, sound.sum(axis=2).T

    def _rows(self, views: Array) -> tuple[Array, Array]:
        """Of all rows, some at a time: the bins with cross, else their powers."""
        rows = max(1, ROOM // (self.n * self.group))
        found = []
        for r in range(0, self.n_ch, rows):
            bins, sound = self._transform(views[r : r + rows])
            found.append((bins if self.cross else power(bins), sound))
        if len(found) == 1:
            return found[0]
        return np.concatenate([bins for bins, _ in found]), np.concatenate([sound for _, sound in found])

    def _close(self) -> None:
        if self.open.segments:
            self.total.add(self.open.arrays(), self.open.segments, self.keep)
            self.open.clear()

    def _tail(self, to: Sums) -> None:
        """Counts in the whole segments of a group that waits."""
        n_seg = self._whole(self.waiting.shape[1])
        if n_seg:
            to.add(tuple(a[0] for a in self._groups(self._views(self.waiting))), n_seg, self.keep)

    def _seen(self) -> Sums:
        """Total + (part + tail): in the order in which the totals would come to it."""
        part, seen = self.open.copy(), self.total.copy()
        self._tail(part)
        seen.add(part.arrays(), part.segments, self.keep)
        return seen

    def _head(self, size: int, waiting: int) -> bytes:
        mark = hashlib.sha256(self.window.tobytes()).digest()[:16]
        return HEAD.pack(b"LLSL", VERSION, size, self.n, self.hop, self.n_ch, self.detrend, self.cross, self.skip, self.part,
                         waiting, 0, 0, self.keep, mark)

    def save(self) -> bytes:
        """The state as versioned bytes."""
        sums = b"".join(a.tobytes() for s in (self.total, self.open) for a in s.arrays())
        counts = struct.pack("<2Q", self.total.segments, self.open.segments)
        body = counts + sums + self.waiting.tobytes()
        return self._head(HEAD.size + len(body), self.waiting.shape[1]) + body

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError unless made with the same keywords."""
        state = bytes(state)
        fixed = HEAD.size + 16 + 2 * sum(a.nbytes for a in self.total.arrays())
        waiting = (len(state) - fixed) // (8 * self.n_ch)
        if waiting < 0 or len(state) != fixed + 8 * self.n_ch * waiting or \
                waiting >= self._buffer.shape[1] or state[: HEAD.size] != self._head(len(state), waiting):
            raise StateError(f"spectrum: saved state is of another version, size or build ({len(state)} bytes)")
        self.total.segments, self.open.segments = struct.unpack_from("<2Q", state, HEAD.size)
        at = HEAD.size + 16
        for a in (*self.total.arrays(), *self.open.arrays()):
            a[...] = np.frombuffer(state, a.dtype, a.size, at).reshape(a.shape)
            at += a.nbytes
        self._fill = waiting
        self._buffer[:, :waiting] = np.frombuffer(state, offset=at).reshape(self.n_ch, waiting)
