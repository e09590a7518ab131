"""Displacement from acceleration: integrated twice in the frequency domain above a corner below which nothing is known.

    X(f) = -A(f) H(f) / (2 pi f)^2         H(f) = smooth step from 0 at corner / sqrt(2) to 1 at corner sqrt(2)

An accelerometer does not see what is slower than its drift: the quasi-static part of a passage is lost, and a noise of
n m/s2/sqrt(Hz) leaves n / (2 pi)^2 / sqrt(3 corner^3) metres. That figure is answered with the result.

`displacement` takes a whole record; `DisplacementStream` the same H as a symmetric filter of REACH periods of the corner to each
side, in blocks: its answers come that much later, and nothing of them is bent but at the beginning.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from lifeline_core.dsp.filters import pack, unpack
from lifeline_core.errors import StateError

Real = NDArray[np.float64]

REACH = 5.0  # periods of the corner to each side of a stream's filter
EDGE = 2.0  # periods of the corner over which either end is faded in; as much again is bent by it


@dataclass(frozen=True, slots=True)
class Displacement:
    """``x_m`` float64[..., n]; ``noise_m`` RMS that white noise of the channel's upper spectrum would leave, float64[...];
    ``settled`` slice of the samples that are not bent by the ends of the record."""

    x_m: Real
    noise_m: Real
    settled: slice


def displacement(a: ArrayLike, fs: float, corner_hz: float) -> Displacement:
    """Displacement in metres from acceleration in m/s2.

    Parameters
    ----------
    a : float[..., n]
        Acceleration, all finite; mean and trend are taken off.
    fs : Hz.
    corner_hz : above 0 and below fs / 4
        Slower motion is not answered; a fifth of the lowest frequency of interest is a good choice.

    Raises
    ------
    ValueError
        Empty, not finite, shorter than ten periods of the corner, a corner out of range.

    Source
    ------
    Integration by division in the frequency domain, e.g. A. Brandt, Noise and Vibration Analysis (2011), ch. 3.

    Examples
    --------
    A sine of 50 mm and 0.3 Hz, with an offset of a tenth of g:

    >>> t = np.arange(0, 200, 0.02)
    >>> d = displacement(-0.05 * (2 * np.pi * 0.3) ** 2 * np.sin(2 * np.pi * 0.3 * t) + 0.98, 50.0, 0.1)
    >>> round(float(np.abs(d.x_m[d.settled]).max()), 4)
    0.05
    """
    y = np.asarray(a, np.float64)
    if y.ndim == 0 or y.size == 0:
        raise ValueError(f"a must hold samples, is of shape {y.shape}")
    if not np.isfinite(y).all():
        raise ValueError("a must be finite: fill or cut gaps first")
    if not 0.0 < corner_hz < fs / 4.0:
        raise ValueError(f"corner_hz must lie between 0 and fs / 4 = {fs / 4.0}, is {corner_hz}")
    n = y.shape[-1]
    if n < 10.0 * fs / corner_hz:
        raise ValueError(f"the record must hold ten periods of the corner, {10.0 * fs / corner_hz:.0f} samples, holds {n}")
    k = np.arange(n) - (n - 1) / 2.0
    y = y - y.mean(axis=-1, keepdims=True)
    y -= (y @ k / (k @ k))[..., None] * k
    edge = min(round(EDGE * fs / corner_hz), n // 2 - 1)
    soft = np.sin(0.5 * np.pi * (np.arange(edge) + 0.5) / edge) ** 2  # an end that is cut off would swing through the record
    tapered = y.copy()
    tapered[..., :edge] *= soft
    tapered[..., n - edge :] *= soft[::-1]
    size = fft.next_fast_len(2 * n, real=True)  # zeros behind: the ends do not meet
    f = fft.rfftfreq(size, 1.0 / fs)
    turn = _response(f, corner_hz)
    spectrum = fft.rfft(tapered, size, axis=-1)
    x: Real = fft.irfft(spectrum * turn, size, axis=-1)[..., :n]
    upper = fft.rfft(y, axis=-1)[..., -max(n // 8, 1) :]
    density = 2.0 * np.median(np.abs(upper) ** 2, axis=-1) / np.log(2.0) / (fs * n)  # the median of a chi-square of two
    noise = np.sqrt(density / (3.0 * corner_hz**3)) / (2.0 * np.pi) ** 2
    edge = min(2 * edge, n // 2 - 1)
    return Displacement(x, noise, slice(edge, n - edge))


def _response(f: Real, corner_hz: float) -> Real:
    """-H / (2 pi f)^2, s2; 0 at 0 Hz, which is the first."""
    rise = np.clip(np.log2(np.maximum(f, 1e-300) / corner_hz) + 0.5, 0.0, 1.0)
    turn = np.zeros_like(f)
    turn[1:] = -(np.sin(0.5 * np.pi * rise[1:]) ** 2) / (2.0 * np.pi * f[1:]) ** 2
    return turn


def displacement_taps(fs: float, corner_hz: float) -> Real:
    """The filter of `DisplacementStream`, float64[2 k + 1], s2: symmetric, of sum 0 (an offset leaves nothing, nor does a trend).

    The response of the whole record, cut off at REACH periods of the corner by a Kaiser window (beta 5), so that the step from 0
    to 1 at the corner is a little wider than there.
    """
    half = int(np.ceil(REACH * fs / corner_hz))
    size = fft.next_fast_len(8 * half, real=True)
    taps: Real = np.roll(fft.irfft(_response(fft.rfftfreq(size, 1.0 / fs), corner_hz), size), half)[: 2 * half + 1]
    window = np.kaiser(2 * half + 1, 5.0)
    taps = taps * window
    return np.asarray(taps - window * taps.sum() / window.sum())


class DisplacementStream:
    """Displacement of ``rows`` channels in metres, from acceleration in m/s2 that comes in pieces.

    Answers are in order from the first sample on, in blocks, ``delay_samples`` late at most; the first ``reach`` of them are NaN,
    and so are those within ``reach`` of a sample that was not finite. Any cut gives the same answers.

    Parameters
    ----------
    rows : channels.
    fs : Hz.
    corner_hz : see `displacement`.

    Raises
    ------
    ValueError
        No row, a corner that is not between 0 and fs / 4.

    Examples
    --------
    >>> t = np.arange(0, 400, 0.02)
    >>> stream = DisplacementStream(1, 50.0, 0.1)
    >>> x = stream.push(-0.05 * (2 * np.pi * 0.3) ** 2 * np.sin(2 * np.pi * 0.3 * t)[None] + 9.81)
    >>> round(float(np.nanmax(np.abs(x))), 3), round(stream.noise_m(1e-4), 5)
    (0.05, 4e-05)
    """

    TAG = b"LLdi"

    def __init__(self, rows: int, fs: float, corner_hz: float) -> None:
        if rows < 1:
            raise ValueError(f"displacement: at least one row is needed, are {rows}")
        if not 0.0 < corner_hz < fs / 4.0:
            raise ValueError(f"corner_hz must lie between 0 and fs / 4 = {fs / 4.0}, is {corner_hz}")
        self.rows, self.fs, self.corner_hz = rows, float(fs), float(corner_hz)
        self._taps = displacement_taps(fs, corner_hz)
        self.reach = len(self._taps) // 2
        self._size = fft.next_fast_len(2 * len(self._taps), real=True)
        self._block = self._size - 2 * self.reach  # answers of one transform
        self.delay_samples = self.reach + self._block - 1
        self._spectrum = fft.rfft(self._taps, self._size)
        self.reset()

    def reset(self) -> None:
        """Begin anew: the next sample is the first."""
        self._held: Real = np.full((self.rows, self.reach), np.nan)  # what was not is not known

    def noise_m(self, density: float) -> float:
        """RMS in metres that white noise of ``density`` m/s2/sqrt(Hz) leaves in the answers."""
        return float(density * np.sqrt(0.5 * self.fs * (self._taps @ self._taps)))

    def push(self, a: ArrayLike) -> Real:
        """Take float[rows, n] in; float64[rows, k] of what it completes."""
        x = np.asarray(a, np.float64)
        if x.ndim != 2 or x.shape[0] != self.rows:
            raise ValueError(f"a must be of {self.rows} rows, is of shape {x.shape}")
        held, out = np.concatenate([self._held, x], axis=1), []
        while held.shape[1] >= self._size:
            out.append(self._answer(held[:, : self._size]))
            held = held[:, self._block :]
        self._held = held.copy()
        return np.concatenate(out, axis=1) if out else np.empty((self.rows, 0))

    def _answer(self, x: Real) -> Real:
        """Of one block: the samples that have ``reach`` neighbours to each side in it."""
        lost = ~(np.abs(x) < 1e30)
        known = np.where(lost, 0.0, x)
        count = np.maximum((~lost).sum(axis=1, keepdims=True), 1)
        known = np.where(lost, 0.0, known - known.sum(axis=1, keepdims=True) / count)  # an offset need not pass through the digits
        y: Real = fft.irfft(fft.rfft(known, axis=1) * self._spectrum, self._size, axis=1)[:, 2 * self.reach :]
        near = np.cumsum(np.pad(lost, ((0, 0), (1, 0))), axis=1)
        y[near[:, 2 * self.reach + 1 :] > near[:, : -2 * self.reach - 1]] = np.nan
        return y

    def save(self) -> bytes:
        return pack(self.TAG, self._key() + struct.pack("<Q", self._held.shape[1]), self._held)

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError where it is of another filter or other rows."""
        at = 12 + len(self._key())
        (n,) = struct.unpack("<Q", state[at : at + 8]) if len(state) >= at + 8 else (0,)
        if not self.reach <= n < self._size:
            raise StateError(f"displacement: saved state is damaged, it holds {n} samples")
        key = self._key() + struct.pack("<Q", n)
        self._held = unpack(self.TAG, key, np.empty((self.rows, n)), state)

    def _key(self) -> bytes:
        return struct.pack("<Q2d", self.rows, self.fs, self.corner_hz)
