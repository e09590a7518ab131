"""Segments of two channels, transformed and averaged: the compiled sums, and a library's where those do not go.

`averages` gives an object that is pushed samples of both channels and read at any time. Segments of a power of two from 16 to
65536 samples go through kernels/cross.c, in float32 with sums in float64; others, and what is to be float64 throughout, through
numpy. Rows that belong to many pairs are levelled and transformed once: `levelled`, `Transform`, `Planes`. What the lines of a
spectrum say: `lags`, `turned`, `newton` of a delay, `standing` of machines, `coherency`, `shared`, `closer`
and `best` of what two channels have in common.
"""

from __future__ import annotations

import struct
import threading
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lifeline_core.errors import StateError
from lifeline_core.pipes._cross import (
    Averages,
    Lags,
    Planes,
    Transform,
    best,
    clipped,
    closer,
    coherency,
    levelled,
    newton,
    shared,
    standing,
    turned,
)

__all__ = ["Averages", "Library", "Planes", "Sums", "Transform", "averages", "best", "clipped", "closer", "coherency", "compiled",
           "lags", "levelled", "newton", "samples", "shared", "standing", "turned", "wide"]

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

SHORTEST, LONGEST = 16, 65536  # samples of a segment that the compiled transform takes
KINDS = (np.dtype(np.int16), np.dtype(np.float32), np.dtype(np.float64))
HEAD = struct.Struct("<4s7q")
MOST_BYTES = 1 << 26  # of parts; what comes later is added to the last (as in kernels/cross.c)


class Sums(Protocol):
    """What both kinds of averages answer to."""

    @property
    def seen(self) -> int: ...
    @property
    def used(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    def push(self, a: NDArray[Any], b: NDArray[Any]) -> None: ...
    def break_off(self) -> None: ...
    def read(self) -> tuple[Real, Complex, Complex]: ...
    def save(self) -> bytes: ...
    def load(self, state: bytes) -> None: ...


def compiled(nperseg: int) -> bool:
    """Whether segments of this length go through the compiled transform."""
    return SHORTEST <= nperseg <= LONGEST and nperseg & (nperseg - 1) == 0


def wide(*rows: NDArray[Any]) -> bool:
    """Whether these samples do not fit into float32, so that float64 is what they are computed in."""
    return np.result_type(np.float32, *rows) != np.float32


def averages(nperseg: int, shift: int, per_part: int, *, exact: bool = False) -> Sums:
    """Running sums for segments of this length; ``exact``: float64 throughout."""
    return Averages(nperseg, shift, per_part) if compiled(nperseg) and not exact else Library(nperseg, shift, per_part)


def samples(row: NDArray[Any]) -> NDArray[Any]:
    """A row as the kernels read it: int16, float32 or float64, one sample beside the other."""
    return np.ascontiguousarray(row, row.dtype if row.dtype in KINDS else np.float64)


_OF_THREAD = threading.local()


def lags(at: NDArray[np.int64], c: Complex, n: int, far: int) -> Real:
    """Correlogram of a weighted cross spectrum on a grid of n lags to the turn, n a multiple of the segment.

    ::

        r[l] = sum Re{c[i] exp(2 pi i l at[i] / n)} / sum |c[i]|          l = -far .. far

    By one transform in float32 where n is a power of two up to 65536 (off by less than 1e-6), else in float64.

    Parameters
    ----------
    at : int64 [n_at], rising, 1 .. n/2 - 1: line numbers.
    c : complex128 [n_at], any unit.
    far : 0 .. n/2 - 1

    Returns
    -------
    float64 [2 far + 1], 1.0 = all lines in phase; 0 where there is nothing.
    """
    if compiled(n):
        kept: dict[int, Lags] = _OF_THREAD.__dict__.setdefault("lags", {})
        if n not in kept:
            kept[n] = Lags(n)
        return np.asarray(kept[n].of(at, c, far), np.float64)
    padded = np.zeros(n // 2 + 1, complex)
    padded[at] = c
    size = float(np.abs(c).sum())
    r = np.fft.irfft(padded, n) * (0.5 * n / size if size > 0.0 else 0.0)
    return np.asarray(np.concatenate([r[n - far :], r[: far + 1]]), np.float64)


class Library:
    """The same averages by numpy's transform in float64, for segments of any even length."""

    TAG = b"LLXN"

    def __init__(self, nperseg: int, shift: int, per_part: int) -> None:
        self.n, self.shift, self.per_part = nperseg, shift, per_part
        self.hop, self.span = nperseg // 2, nperseg + abs(shift)
        self.seen = self.used = 0
        self._window = np.hanning(nperseg + 1)[:-1]
        self._waiting = np.empty((2, 0))
        self._power = np.zeros((3, nperseg // 2 + 1))
        self._parts: list[Complex] = []

    @property
    def waiting(self) -> int:
        return int(self._waiting.shape[1])

    def push(self, a: NDArray[Any], b: NDArray[Any]) -> None:
        joined = np.concatenate([self._waiting, np.stack([a, b])], axis=1)
        start = 0
        while joined.shape[1] - start >= self.span:
            self._add(joined[:, start : start + self.span])
            start += self.hop
        self._waiting = joined[:, start:].copy()

    def break_off(self) -> None:
        self._waiting = self._waiting[:, :0]

    def _part_of(self, segment: int) -> int:
        return min(segment // self.per_part, MOST_BYTES // (16 * self._power.shape[1]) - 1)

    def _add(self, x: Real) -> None:
        k, n = self.shift, self.n
        pair = np.stack([x[0, max(-k, 0) : max(-k, 0) + n], x[1, max(k, 0) : max(k, 0) + n]])
        part = self._part_of(self.seen)
        self.seen += 1
        if not np.isfinite(pair).all():
            return
        a, b = np.fft.rfft((pair - pair.mean(axis=1, keepdims=True)) * self._window)
        self._parts += [np.zeros(a.size, complex) for _ in range(part + 1 - len(self._parts))]
        self._parts[part] += np.conj(a) * b
        pa, pb = a.real**2 + a.imag**2, b.real**2 + b.imag**2
        self._power += np.stack([pa, pb, pa * pb])
        self.used += 1

    def read(self) -> tuple[Real, Complex, Complex]:
        share, lines = 1.0 / max(self.used, 1), self._power.shape[1]
        turn = np.exp(-2j * np.pi * (self.shift * np.arange(lines) % self.n) / self.n) * share
        parts = np.stack(self._parts) * turn if self._parts else np.zeros((0, lines), complex)
        return self._power * share, parts.sum(axis=0), parts

    def save(self) -> bytes:
        head = HEAD.pack(self.TAG, self.n, self.shift, self.per_part, self.seen, self.used, self.waiting, len(self._parts))
        return head + self._power.tobytes() + b"".join(p.tobytes() for p in self._parts) + self._waiting.tobytes()

    def load(self, state: bytes) -> None:
        if len(state) < HEAD.size:
            raise StateError(f"cross spectra: saved state has {len(state)} bytes, at least {HEAD.size} are needed")
        tag, n, shift, per_part, seen, used, waiting, parts = HEAD.unpack_from(state)
        lines = self._power.shape[1]
        if (tag, n, shift, per_part) != (self.TAG, self.n, self.shift, self.per_part) or not 0 <= used <= seen \
                or not 0 <= waiting < self.span or seen >> 63 or not 0 <= parts <= self._part_of(seen) + 1 \
                or (parts == 0) != (used == 0) or len(state) != HEAD.size + 8 * ((3 + 2 * parts) * lines + 2 * waiting):
            raise StateError("cross spectra: saved state is of another version, size or build")
        x = np.frombuffer(state, np.float64, offset=HEAD.size)
        self.seen, self.used = min(seen, 1 << 62), min(used, 1 << 62)  # so that what is counted from here on still has room
        self._power = x[: 3 * lines].reshape(3, lines).copy()
        self._parts = [p.view(complex).copy() for p in x[3 * lines : (3 + 2 * parts) * lines].reshape(parts, 2 * lines)]
        self._waiting = x[(3 + 2 * parts) * lines :].reshape(2, -1).copy()
