"""What stays, goes: an offset and its slow drift taken off each channel, without a step at the start."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.dsp.designs import highpass
from lifeline_core.dsp.filters import SosFilter, check_sos, pack, unpack


class DcBlock:
    """Takes the slow part off ``rows`` channels: a first-order high-pass that settles on its first sample.

    With c = tan(pi corner_hz / fs)::

        y[i] = (x[i] - x[i-1]) / (1 + c) + y[i-1] (1 - c) / (1 + c)

    The filter begins as if the first finite sample of a row had been there for ever, so that an offset makes no step. The
    state is in float64. A sample that is not finite answers NaN and leaves the state as it was.

    Parameters
    ----------
    fs : sampling rate, Hz.
    corner_hz : -3 dB frequency, Hz, above 0 and below fs / 2.
    rows : channels.

    Raises
    ------
    ValueError
        Where the corner is not between 0 and fs / 2.

    >>> DcBlock(100.0, 0.5, 1).push(np.array([[9.0, 9.0, 10.0, 10.0]])).round(3).tolist()
    [[0.0, 0.0, 0.985, 0.954]]
    """

    TAG = b"LLdc"

    def __init__(self, fs: float, corner_hz: float, rows: int) -> None:
        sos = highpass(fs, corner_hz, 1)
        self._key = check_sos(sos).tobytes()
        self._filter = SosFilter(sos, rows)
        self._waiting = np.arange(rows)  # rows that have had no finite sample

    def push(self, x: NDArray[Any], out: NDArray[Any] | None = None, *, threads: int = 1) -> NDArray[Any]:
        """Filter ``x[rows, n]``, float32 or float64; ``out`` may be ``x`` itself."""
        if len(self._waiting) and len(x) == len(self._filter.z):  # other shapes are refused below
            finite = np.isfinite(x[self._waiting])
            found = finite.any(axis=1)
            for row, first in zip(self._waiting[found], finite[found].argmax(axis=1), strict=True):
                self._filter.settle(row, float(x[row, first]))
            self._waiting = self._waiting[~found]
        return self._filter.push(x, out, threads=threads)

    def save(self) -> bytes:
        return pack(self.TAG, self._key, self._data())

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError where it is of another corner or other rows."""
        data = unpack(self.TAG, self._key, self._data(), state)
        self._filter.z = np.ascontiguousarray(data[:, None, :2])
        self._waiting = np.flatnonzero(data[:, 2])

    def _data(self) -> NDArray[np.float64]:
        data = np.concatenate([self._filter.z[:, 0], np.zeros((len(self._filter.z), 1))], axis=1)
        data[self._waiting, 2] = 1.0
        return data
