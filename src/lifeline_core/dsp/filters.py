"""Second-order sections and detrending: arrays in, arrays out, and as a stream whose cuts leave no trace.

Channels first, time last. float32 stays float32, everything else becomes float64; the recursion is in float64 for both
(a float32 state is wrong by tens of times for corner frequencies far below the sampling rate).
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import signal

import lifeline_core.dsp._filters as _filters
from lifeline_core.errors import StateError

# By dtype.char: choosing among the compiled forms anew at every call would cost more than filtering a short block.
_SOSFILT = {"f": _filters.sosfilt["float"], "d": _filters.sosfilt["double"]}


def rows_of(x: ArrayLike, what: str) -> NDArray[Any]:
    """x as C-contiguous ``[rows, n]``, float32 or float64; ValueError where it is empty."""
    a = np.asarray(x)
    if a.dtype != np.float32:
        a = a.astype(np.float64, copy=False)
    if a.ndim == 0 or a.size == 0:
        raise ValueError(f"{what}: the input is empty, its shape is {a.shape}")
    return np.ascontiguousarray(a.reshape(-1, a.shape[-1]))


def pack(tag: bytes, key: bytes, data: NDArray[Any]) -> bytes:
    """State as bytes: tag, version, size; then what it belongs to; then itself."""
    body = key + data.tobytes()
    return struct.pack("<4sII", tag, 1, len(body)) + body


def unpack(tag: bytes, key: bytes, data: NDArray[Any], state: bytes) -> NDArray[Any]:
    """The data of `pack`, in the shape of ``data``; StateError where tag, version, size or key are others."""
    body = bytes(state[12:])
    if state[:12] != struct.pack("<4sII", tag, 1, len(body)) or len(body) != len(key) + data.nbytes:
        raise StateError(f"{tag.decode()}: saved state is of another kind, version or size ({len(state)} bytes)")
    if body[: len(key)] != key:
        raise StateError(f"{tag.decode()}: saved state belongs to other parameters")
    return np.frombuffer(body, data.dtype, offset=len(key)).reshape(data.shape).copy()


def check_sos(sos: ArrayLike) -> NDArray[np.float64]:
    """b0 b1 b2 a1 a2 of each section; ValueError unless sos is ``[sections, 6]`` of finite numbers with a0 = 1."""
    a = np.asarray(sos, np.float64)
    if a.ndim != 2 or a.shape[1] != 6 or not 1 <= a.shape[0] <= 64:
        raise ValueError(f"sos: the shape must be [1 to 64 sections, 6], is {a.shape}")
    if not np.all(np.isfinite(a)) or not np.all(a[:, 3] == 1.0):
        raise ValueError(f"sos: numbers must be finite and a0 = 1, a0 is {a[:, 3].tolist()}")
    return np.ascontiguousarray(a[:, [0, 1, 2, 4, 5]])


def highpass(fs: float, corner_hz: float, order: int = 2) -> NDArray[np.float64]:
    """Butterworth high-pass as second-order sections for `sosfilt`.

    Parameters
    ----------
    fs : sampling rate, Hz.
    corner_hz : -3 dB frequency, Hz, above 0 and below fs / 2.
    order : 1 to 16.

    Returns
    -------
    float64[ceil(order / 2), 6]

    Raises
    ------
    ValueError
        Where the corner is not between 0 and fs / 2.
    """
    _check_band(fs, corner_hz)
    sos: NDArray[np.float64] = signal.butter(order, corner_hz, "highpass", fs=fs, output="sos")
    return sos


def bandpass(fs: float, low_hz: float, high_hz: float, order: int = 2) -> NDArray[np.float64]:
    """Butterworth band-pass as second-order sections; see `highpass`. ``order`` counts each flank."""
    _check_band(fs, low_hz, high_hz)
    sos: NDArray[np.float64] = signal.butter(order, [low_hz, high_hz], "bandpass", fs=fs, output="sos")
    return sos


def _check_band(fs: float, *corners_hz: float) -> None:
    ordered = [0.0, *corners_hz, fs / 2]
    if not all(a < b for a, b in pairwise(ordered)):
        raise ValueError(f"corner frequencies must rise between 0 and fs / 2 = {fs / 2:g} Hz, are {list(corners_hz)}")


class SosFilter:
    """A cascade of second-order sections over ``rows`` channels that goes on from call to call.

    >>> f = SosFilter(highpass(100.0, 1.0), 1)
    >>> x = np.float32([[1, 2, 3, 4]])
    >>> cut = np.concatenate([f.push(x[:, :3]), f.push(x[:, 3:])], axis=1)
    >>> bool(np.all(cut == SosFilter(highpass(100.0, 1.0), 1).push(x)))
    True
    """

    TAG = b"LLso"

    def __init__(self, sos: ArrayLike, rows: int) -> None:
        self._sos = check_sos(sos)
        self._step = np.asarray(sos, np.float64)
        self.z = np.zeros((rows, len(self._sos), 2))

    def settle(self, row: int, level: float) -> None:
        """Take the state that a row would have after ``level`` for ever, so that an offset makes no step."""
        self.z[row] = signal.sosfilt_zi(self._step) * level

    def push(self, x: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Filter ``x[rows, n]``, float32 or float64; ``out`` may be ``x`` itself."""
        if out is None:
            out = np.empty_like(x)
        _SOSFILT[x.dtype.char](self._sos, self.z, x, out)
        return out

    def save(self) -> bytes:
        return pack(self.TAG, self._sos.tobytes(), self.z)

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError where it is of other sections or rows."""
        self.z = unpack(self.TAG, self._sos.tobytes(), self.z, state)


def sosfilt(sos: ArrayLike, x: ArrayLike, zi: ArrayLike | None = None) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Filter along the last axis, as `scipy.signal.sosfilt`; always answers the final state, too.

    Transposed direct form II, section by section::

        y  = b0 x + z1;    z1 = (b1 x + z2) - a1 y;    z2 = b2 x - a2 y

    A sample that is not finite answers NaN and leaves the state as it was.

    Parameters
    ----------
    sos : [sections, 6], as scipy's designs give it, a0 = 1.
    x : [..., n], float32 or float64.
    zi : [sections, ..., 2] initial state; zeros where absent.

    Returns
    -------
    y : as x.
    zf : float64[sections, ..., 2], for the next call.

    Raises
    ------
    ValueError
        Empty input, or shapes that do not fit.

    Source
    ------
    A. V. Oppenheim, R. W. Schafer, Discrete-Time Signal Processing, 3rd ed. 2010, 6.3.

    >>> y, zf = sosfilt([[0.5, 0.5, 0, 1, 0, 0]], [1.0, 3.0, 5.0])
    >>> y.tolist(), zf.tolist()
    ([0.5, 2.0, 4.0], [[2.5, 0.0]])
    """
    shape = np.shape(x)
    rows = rows_of(x, "sosfilt")
    five = check_sos(sos)
    z_shape = (len(five), *shape[:-1], 2)
    if zi is None:
        z = np.zeros((len(rows), len(five), 2))
    else:
        given = np.asarray(zi, np.float64)
        if given.shape != z_shape:
            raise ValueError(f"sosfilt: zi must have shape {z_shape}, has {given.shape}")
        z = np.array(np.moveaxis(given.reshape(len(five), -1, 2), 0, 1), order="C")
    y = np.empty_like(rows)
    _SOSFILT[rows.dtype.char](five, z, rows, y)
    return y.reshape(shape), np.moveaxis(z, 1, 0).reshape(z_shape)


def detrend(x: ArrayLike, kind: str = "linear") -> NDArray[Any]:
    """x less its mean (``"constant"``) or its least-squares line (``"linear"``), along the last axis.

    As `scipy.signal.detrend`; sums are in float64, and a row that holds a sample that is not finite becomes NaN.

    >>> detrend([1.0, 2.0, 4.0], "constant").round(3).tolist()
    [-1.333, -0.333, 1.667]
    """
    if kind not in ("constant", "linear"):
        raise ValueError(f'detrend: kind must be "constant" or "linear", is {kind!r}')
    rows = rows_of(x, "detrend")
    out = np.empty_like(rows)
    _filters.detrend(rows, kind == "linear", out)
    return out.reshape(np.shape(x))
