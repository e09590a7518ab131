"""Segments of rows through scipy.fft in float64: what the compiled lanes do not take, with the lanes' verbs."""

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

HEAD = struct.Struct("<4sII8I16s")
VERSION = 1


class Library:
    """As `_spectrum.Lanes`, for any segment length and any real dtype.

    ``batch`` segments go through one call of the library. Streams that must not depend on how they were cut use 1: then
    every transform has the same shape, whatever code the library chooses for it.
    """

    def __init__(self, window: NDArray[np.float64], hop: int, n_ch: int, detrend: int, cross: bool, skip: bool, batch: int) -> None:
        self.window, self.hop, self.n_ch, self.detrend, self.cross, self.skip = window, hop, n_ch, detrend, cross, skip
        self.n, self.n_f = len(window), len(window) // 2 + 1
        self.batch = max(1, min(batch, (1 << 20) // (n_ch * self.n)))  # 8 MiB at most
        self.reset()

    def reset(self) -> None:
        if self.cross:
            self.total: Array = np.zeros((self.n_f, self.n_ch, self.n_ch), np.complex128)
            self.used: Array = np.zeros((self.n_ch, self.n_ch), np.int64)
        else:
            self.total, self.used = np.zeros((self.n_ch, self.n_f)), np.zeros(self.n_ch, np.int64)
        self.restart()

    def restart(self) -> None:
        self.waiting: Array = np.empty((self.n_ch, 0))

    def segments(self, x: Array) -> Array:
        """Views of the whole segments of x, [n_ch, n_segments, n]."""
        return sliding_window_view(x, self.n, axis=1)[:, :: self.hop]

    def transform(self, seg: Array) -> tuple[Array, Array]:
        """Bins complex[n_ch, n_segments, n_f] and which segments count, bool[n_ch, n_segments]."""
        y = seg.astype(np.float64)
        sound = np.asarray(np.isfinite(y).all(axis=2) | (not self.skip))
        y[~sound] = 0.0
        if self.detrend:
            y -= y.mean(axis=2, keepdims=True)
        if self.detrend == DETREND["linear"] and self.n > 1:
            t = np.arange(self.n) - 0.5 * (self.n - 1)
            y -= (np.sum(y * t, axis=2, keepdims=True) / np.sum(t * t)) * t
        y *= self.window
        return fft.rfft(y, axis=2), sound

    def push(self, x: Array) -> None:
        if x.shape[0] != self.n_ch:
            raise ValueError(f"spectrum of {self.n_ch} rows: x is of shape {x.shape}")
        x = np.concatenate((self.waiting, x), axis=1) if self.waiting.shape[1] else x
        n_seg = 1 + (x.shape[1] - self.n) // self.hop if x.shape[1] >= self.n else 0
        if n_seg:
            views = self.segments(x)
            for begin in range(0, n_seg, self.batch):
                self.add(*self.transform(views[:, begin : min(begin + self.batch, n_seg)]))
        self.waiting = np.array(x[:, n_seg * self.hop :], np.float64)

    def add(self, bins: Array, sound: Array) -> None:
        if self.cross:
            z = np.ascontiguousarray(bins.transpose(2, 0, 1))
            self.total += np.conj(z) @ z.transpose(0, 2, 1)
            self.used += sound.astype(np.int64) @ sound.T.astype(np.int64)
        else:
            self.total += np.sum(bins.real**2 + bins.imag**2, axis=1)
            self.used += sound.sum(axis=1)

    def power(self) -> tuple[Array, Array]:
        if self.cross:
            return np.ascontiguousarray(np.einsum("fii->if", self.total).real), np.diag(self.used).copy()
        return self.total.copy(), self.used.copy()

    def matrix(self) -> tuple[Array, Array]:
        return 0.5 * (self.total + np.conj(np.swapaxes(self.total, 1, 2))), self.used.copy()

    def each(self, x: Array, scale: Array) -> Array:
        views, out = self.segments(x), []
        for begin in range(0, views.shape[1], self.batch):
            bins, _ = self.transform(views[:, begin : begin + self.batch])
            out.append((bins.real**2 + bins.imag**2) * scale)
        return np.concatenate(out, axis=1)

    def _head(self, size: int, waiting: int) -> bytes:
        mark = hashlib.sha256(self.window.tobytes()).digest()[:16]
        return HEAD.pack(b"LLSL", VERSION, size, self.n, self.hop, self.n_ch, self.detrend, self.cross, self.skip, waiting, 0, mark)

    def save(self) -> bytes:
        body = self.total.tobytes() + self.used.tobytes() + self.waiting.tobytes()
        return self._head(HEAD.size + len(body), self.waiting.shape[1]) + body

    def load(self, state: bytes) -> None:
        state = bytes(state)
        a, b = self.total.nbytes, self.used.nbytes
        waiting = (len(state) - HEAD.size - a - b) // (8 * self.n_ch)
        if waiting < 0 or len(state) != HEAD.size + a + b + 8 * self.n_ch * waiting or \
                state[: HEAD.size] != self._head(len(state), waiting):
            raise StateError(f"spectrum: saved state is of another version, size or build ({len(state)} bytes)")
        body = state[HEAD.size :]
        self.total = np.frombuffer(body[:a], self.total.dtype).reshape(self.total.shape).copy()
        self.used = np.frombuffer(body[a : a + b], np.int64).reshape(self.used.shape).copy()
        self.waiting = np.frombuffer(body[a + b :]).reshape(self.n_ch, waiting).copy()
