"""How strong an oscillation is from moment to moment: the modulus of the analytic signal, of whole arrays or of streams.

Channels first, time last. float32 stays float32, everything else becomes float64. The whole form takes the Hilbert transform
by FFT and so needs the whole signal; the stream takes it by a filter of finite length, late by half of it. Rectifying and
smoothing would need no transform, but answers 2 / pi of the amplitude with ripples at twice the frequency, and the smoothing
delays more.
"""

from __future__ import annotations

import struct
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

import lifeline_core.dsp._envelope as _envelope
from lifeline_core.dsp.blocks import refuse
from lifeline_core.dsp.filters import out_like, pack, rows_of, unpack
from lifeline_core.dsp.threads import shared

_MAGNITUDE = {"f": _envelope.magnitude["float"], "d": _envelope.magnitude["double"]}
_PUSH = {"f": _envelope.push["float"], "d": _envelope.push["double"]}

TAPS = (15, 2047)
BETA = 4.25  # of the Kaiser window: about the one that makes the band of 1 % the widest
EDGE = 1.5  # band edge times taps: with that window the error within is below 0.9 % for any number of taps from 15 on
TOGETHER = 4  # rows in one call of the library: they share vectors, and more would leave the cache


def envelope(x: ArrayLike, *, out: NDArray[Any] | None = None, threads: int = 1) -> NDArray[Any]:
    """Modulus of the analytic signal along the last axis, as ``abs(scipy.signal.hilbert(x))``.

    ::

        h = irfft(-i rfft(x)), without mean and Nyquist frequency          envelope = sqrt(x^2 + h^2)

    The transform is circular: the ends of the array know of each other. Only oscillations have an envelope, so take a mean
    or a trend off before. A row that holds a sample that is not finite becomes NaN.

    Parameters
    ----------
    x : [..., n].
    out : array like x to be filled, x itself if you like.
    threads : at most so many, each for whole channels.

    Returns
    -------
    As x, in its unit, 0 or more. float32 is within 1e-6 of the largest sample.

    Raises
    ------
    ValueError
        Empty input, an ``out`` that does not fit.

    Source
    ------
    D. Gabor, Theory of communication, J. IEE 93 III (1946) 429-457.

    >>> t = np.arange(64)
    >>> envelope(3 * np.cos(2 * np.pi * 5 * t / 64)).round(9)[:3].tolist()
    [3.0, 3.0, 3.0]
    """
    rows = rows_of(x, "envelope")
    made = out_like(rows, x, out, "envelope")

    def work(a: int, b: int) -> None:
        for i in range(a, b, TOGETHER):
            part = slice(i, min(i + TOGETHER, b))
            _MAGNITUDE[rows.dtype.char](rows[part], _hilbert(rows[part]), made[part])

    shared(work, len(rows), threads)
    return made.reshape(np.shape(x))


def _hilbert(rows: NDArray[Any]) -> NDArray[Any]:
    n = rows.shape[-1]
    with np.errstate(invalid="ignore"):
        spectrum = fft.rfft(rows)
        spectrum *= rows.dtype.type(-1) * np.complex64(1j)
    held = np.isfinite(spectrum[:, 0])  # of a row with NaN nothing is to be set to 0
    spectrum[held, 0] = 0
    if n % 2 == 0:
        spectrum[held, -1] = 0
    return np.ascontiguousarray(fft.irfft(spectrum, n, overwrite_x=True))


class Envelope:
    """The running envelope of ``rows`` channels by a Hilbert transformer of finite length.

    Answer i is of sample i - ``delay``, with samples before the first counted as 0, so that the first 2 ``delay`` answers
    rest on less than a full window::

        delay = (taps - 1) / 2
        h[i] = sum over odd k <= delay of  2 w_k / (pi k) (x[i-k] - x[i+k])          w: Kaiser window, beta = 4.25
        envelope[i] = sqrt(x[i]^2 + h[i]^2)

    Within ``band`` (cycles per sample) the gain of h is within 1 % of 1, and so is the envelope of an oscillation there. It
    begins at 1.5 / taps and ends as far below 1/2: 63 taps take 4.8 to 95.2 Hz of 200 Hz. A constant
    passes as it is: take it off before. An answer whose window of ``taps`` samples holds one that is not finite is NaN; later
    ones are not touched. Any cut gives the same bits. Channels of float32 are transformed in float32: no sum is longer than a
    window.

    Parameters
    ----------
    rows : channels.
    taps : odd, 15 to 2047.

    Raises
    ------
    ValueError
        No rows, an even or impossible number of taps.

    Source
    ------
    A. V. Oppenheim, R. W. Schafer, Discrete-Time Signal Processing, 3rd ed. 2010, 12.4.

    >>> e = Envelope(1, taps=31)
    >>> x = 2 * np.sin(0.8 * np.arange(200.0))[None]
    >>> e.delay, bool(abs(e.push(x)[0, 2 * e.delay :] - 2).max() < 0.02)
    (15, True)
    """

    TAG = b"LLen"

    def __init__(self, rows: int, taps: int = 63) -> None:
        if rows < 1:
            raise ValueError(f"envelope: at least one row is needed, are {rows}")
        if taps % 2 != 1 or not TAPS[0] <= taps <= TAPS[1]:
            raise ValueError(f"envelope: taps must be odd and {TAPS[0]} to {TAPS[1]}, are {taps}")
        self.rows, self.taps, self.delay = int(rows), int(taps), (int(taps) - 1) // 2
        self.band = (EDGE / taps, 0.5 - EDGE / taps)
        odd = np.arange(1, self.delay + 1, 2)
        self._half = 2 / (np.pi * odd) * np.kaiser(taps, BETA)[self.delay + odd]
        self._past = np.zeros((self.rows, 2 * self.delay))

    def push(self, x: NDArray[Any], out: NDArray[Any] | None = None, *, threads: int = 1) -> NDArray[Any]:
        """Envelopes of ``x[rows, n]``, float32 or float64, late by ``delay``; ``out`` may be ``x`` itself."""
        kernel, past = _PUSH.get(x.dtype.char) or refuse(x, "envelope"), self._past
        if out is None:
            out = np.empty_like(x)
        if x.shape[0] != self.rows or out.shape != x.shape:
            raise ValueError(f"envelope: x must have {self.rows} rows and out its shape, are {x.shape} and {out.shape}")

        def work(a: int, b: int) -> None:
            kernel(self._half, x[a:b], past[a:b], out[a:b], np.empty(2 * self.delay + _envelope.WORK))

        if threads == 1:
            work(0, self.rows)
        else:
            shared(work, self.rows, threads)
        return out

    def reset(self) -> None:
        """Begin anew, with zeros before the next sample."""
        self._past[:] = 0

    def copy(self) -> Self:
        other = type(self)(self.rows, self.taps)
        other._past[:] = self._past
        return other

    def save(self) -> bytes:
        return pack(self.TAG, self._key(), self._past)

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError where it is of other rows or taps."""
        self._past = unpack(self.TAG, self._key(), self._past, state)

    def _key(self) -> bytes:
        return struct.pack("<2Q", self.rows, self.taps)
