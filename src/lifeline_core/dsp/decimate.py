"""Fewer samples of the same signal: a low-pass of which only every q-th answer is computed, whole arrays or streams.

Channels first, time last. float32 stays float32: products and sums of up to 16 of them in float32, these among each other in
float64, an error below 1e-6 of full scale; everything else is computed in float64.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import lifeline_core.dsp._decimate as _decimate
from lifeline_core.dsp.designs import decimation_taps
from lifeline_core.dsp.filters import pack, rows_of, unpack
from lifeline_core.dsp.threads import shared
from lifeline_core.errors import StateError

_DECIMATE = {"f": _decimate.decimate["float"], "d": _decimate.decimate["double"]}


def _checked(q: int, taps: ArrayLike | None) -> NDArray[np.float64]:
    own = decimation_taps(q)
    if taps is None:
        return own
    given = np.ascontiguousarray(taps, np.float64)
    if given.ndim != 1 or not len(given) or not np.all(np.isfinite(given)):
        raise ValueError(f"decimate: taps must be a row of finite numbers, their shape is {given.shape}")
    return given


class Decimator:
    """Keeps one filtered sample of q over ``rows`` channels, from call to call; see `decimate`.

    Sample k that it answers belongs to sample k q - delay_samples of what was pushed; what was before the first push counts
    as 0. Any cut gives the same answers.

    Parameters
    ----------
    q : one sample of q is kept, 1 or more.
    rows : channels.
    taps : float64[L], the filter; absent: `designs.decimation_taps`.

    >>> d = Decimator(2, 1)
    >>> d.delay_samples, [d.push(np.ones((1, n), np.float32)).shape[1] for n in (3, 1, 2, 1)]
    (52.0, [2, 0, 1, 1])
    """

    TAG = b"LLde"

    def __init__(self, q: int, rows: int, taps: ArrayLike | None = None) -> None:
        if rows < 1:
            raise ValueError(f"decimate: at least one row is needed, are {rows}")
        self._taps = _checked(q, taps)
        self.q, self.rows, self.delay_samples = int(q), int(rows), (len(self._taps) - 1) / 2
        self._hist = np.zeros((self.rows, len(self._taps) - 1))
        self._skip = 0  # so many samples to come before the next that is kept

    def push(self, x: NDArray[Any], *, threads: int = 1) -> NDArray[Any]:
        """What ``x[rows, n]``, float32 or float64, completes: as x, ``[rows, about n / q]``."""
        count = _decimate.kept(x.shape[1], self.q, self._skip)
        out = np.empty((self.rows, count), x.dtype)
        _run(self._taps, self.q, self._skip, self._hist, x, out, threads)
        self._skip += count * self.q - x.shape[1]
        return out

    def save(self) -> bytes:
        return pack(self.TAG, self._key(), self._data())

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError where it is of another filter or other rows."""
        data = unpack(self.TAG, self._key(), self._data(), state)
        skip = float(data[0])
        if not (0 <= skip < self.q and skip.is_integer()):
            raise StateError(f"decimate: saved state is damaged, {skip} samples are to come before the next of {self.q}")
        self._skip, self._hist = int(skip), data[1:].reshape(self._hist.shape).copy()

    def _key(self) -> bytes:
        return struct.pack("<2Q", self.q, self.rows) + self._taps.tobytes()

    def _data(self) -> NDArray[np.float64]:
        return np.append(float(self._skip), self._hist.ravel())


def _run(taps: NDArray[np.float64], q: int, skip: int, hist: NDArray[np.float64], x: NDArray[Any], out: NDArray[Any],
         threads: int) -> None:
    kernel = _DECIMATE[x.dtype.char]
    if threads == 1:
        kernel(taps, q, skip, hist, x, out)
    elif not len(hist) == len(x) == len(out):  # a slice past the end would come out short and fit
        raise ValueError(f"decimate: {len(hist)} rows are filtered, x has {len(x)}")
    else:
        shared(lambda a, b: kernel(taps, q, skip, hist[a:b], x[a:b], out[a:b]), len(x), threads)


def decimate(x: ArrayLike, q: int, *, taps: ArrayLike | None = None, threads: int = 1) -> NDArray[Any]:
    """Low-pass and keep every q-th sample along the last axis, without delay; as `scipy.signal.decimate`, ftype "fir".

    With D = (L - 1) // 2 (the delay of symmetric taps of odd L) and x = 0 beyond its ends::

        y[k] = sum over j of taps[j] x[k q + D - j]                        k = 0 .. ceil(n / q) - 1

    The own filter passes up to 0.8 of the new Nyquist frequency within 0.001 dB and holds back everything from the new
    Nyquist frequency on by at least 80 dB (scipy's: -6 dB there); see `designs.decimation_taps`. Windows that hold a sample
    that is not finite answer NaN.

    Parameters
    ----------
    x : [..., n], float32 or float64.
    q : one sample of q is kept, 1 or more.
    taps : float64[L], the filter; absent: the own one, 52 q + 1 taps.
    threads : at most so many, each takes some of the rows.

    Returns
    -------
    y : [..., ceil(n / q)], as x; y[k] stands where x[k q] stood.

    Raises
    ------
    ValueError
        Empty input, q below 1, taps that are no row of finite numbers.

    Source
    ------
    R. E. Crochiere, L. R. Rabiner, Multirate Digital Signal Processing, 1983, 2.3 and 3.3.

    >>> decimate([0.0, 1, 2, 3, 4, 5], 2, taps=[0.25, 0.5, 0.25]).tolist()
    [0.25, 2.0, 4.0]
    """
    rows = rows_of(x, "decimate")
    h = _checked(q, taps)
    n, delay = rows.shape[1], (len(h) - 1) // 2
    hist = np.zeros((len(rows), len(h) - 1))
    out = np.empty((len(rows), -(-n // q)), rows.dtype)
    early = _decimate.kept(n, q, delay)
    _run(h, q, delay, hist, rows, out[:, :early], threads)
    if early < out.shape[1]:
        tail = np.zeros((len(rows), delay), rows.dtype)
        _run(h, q, delay + early * q - n, hist, tail, out[:, early:], threads)
    return out.reshape(*np.shape(x)[:-1], -1)
