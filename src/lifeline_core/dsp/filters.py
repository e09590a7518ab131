"""Second-order sections and detrending: arrays in, arrays out, and as a stream whose cuts leave no trace.

Channels first, time last. float32 stays float32, everything else becomes float64; the recursion is in float64 for both
(a float32 state is wrong by tens of times for corner frequencies far below the sampling rate).
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import lifeline_core.dsp._filters as _filters
from lifeline_core.dsp.designs import bandpass as bandpass
from lifeline_core.dsp.designs import highpass as highpass
from lifeline_core.dsp.threads import shared
from lifeline_core.errors import StateError

# By dtype.char: choosing among the compiled forms anew at every call would cost more than filtering a short block.
_SOSFILT = {"f": _filters.sosfilt["float"], "d": _filters.sosfilt["double"]}
_SOSFILTFILT = {"f": _filters.sosfiltfilt["float"], "d": _filters.sosfiltfilt["double"]}
_DETREND = {"f": _filters.detrend["float"], "d": _filters.detrend["double"]}

# Rows that a thread takes are a multiple of this, for so many fill the lanes.
UNIT = 4
PADTYPES = (None, "odd", "even", "constant")


def rows_of(x: ArrayLike, what: str) -> NDArray[Any]:
    """x as C-contiguous ``[rows, n]``, float32 or float64; ValueError where it is empty."""
    a = np.asarray(x)
    if a.dtype != np.float32:
        a = a.astype(np.float64, copy=False)
    if a.ndim == 0 or a.size == 0:
        raise ValueError(f"{what}: the input is empty, its shape is {a.shape}")
    return np.ascontiguousarray(a.reshape(-1, a.shape[-1]))


def out_like(rows: NDArray[Any], x: ArrayLike, out: NDArray[Any] | None, what: str) -> NDArray[Any]:
    """``out`` seen as ``rows`` is, or a new array; ValueError where it does not fit."""
    if out is None:
        return np.empty_like(rows)
    if out.shape != np.shape(x) or out.dtype != rows.dtype or not out.flags.c_contiguous:
        raise ValueError(f"{what}: out must be contiguous {rows.dtype} of shape {np.shape(x)}, "
                         f"is {out.dtype} of shape {out.shape}")
    return out.reshape(rows.shape)


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


def steady_state(sos: NDArray[np.float64]) -> NDArray[np.float64]:
    """The state ``[sections, 2]`` that an input of 1 for ever leaves; as `scipy.signal.sosfilt_zi`.

    A section in the steady state, with u going in::

        y = u (b0 + b1 + b2) / (1 + a1 + a2);    z1 = y - b0 u;    z2 = b2 u - a2 y
    """
    b0, b1, b2, a1, a2 = sos.T
    below = 1 + a1 + a2
    if np.any(below == 0):
        raise ValueError("sos: a filter with a pole at 0 Hz has no steady state")
    gain = (b0 + b1 + b2) / below
    u = np.concatenate([[1.0], np.cumprod(gain)[:-1]])
    y = u * gain
    return np.stack([y - b0 * u, b2 * u - a2 * y], axis=1)


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
        self.z = np.zeros((rows, len(self._sos), 2))

    def settle(self, row: int, level: float) -> None:
        """Take the state that a row would have after ``level`` for ever, so that an offset makes no step."""
        self.z[row] = steady_state(self._sos) * level

    def push(self, x: NDArray[Any], out: NDArray[Any] | None = None, *, threads: int = 1) -> NDArray[Any]:
        """Filter ``x[rows, n]``, float32 or float64; ``out`` may be ``x`` itself."""
        if out is None:
            out = np.empty_like(x)
        _run(self._sos, self.z, x, out, threads)
        return out

    def save(self) -> bytes:
        return pack(self.TAG, self._sos.tobytes(), self.z)

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError where it is of other sections or rows."""
        self.z = unpack(self.TAG, self._sos.tobytes(), self.z, state)


def _run(sos: NDArray[np.float64], z: NDArray[np.float64], x: NDArray[Any], out: NDArray[Any], threads: int) -> None:
    kernel = _SOSFILT[x.dtype.char]
    if threads == 1:
        kernel(sos, z, x, out)
    elif len(z) != len(x) or len(x) != len(out):  # a slice past the end would come out short and fit
        raise ValueError(f"sosfilt: {len(z)} rows are filtered, x has {len(x)} and out {len(out)}")
    else:
        shared(lambda a, b: kernel(sos, z[a:b], x[a:b], out[a:b]), len(x), threads, UNIT)


def sosfilt(sos: ArrayLike, x: ArrayLike, zi: ArrayLike | None = None, *, out: NDArray[Any] | None = None,
            threads: int = 1) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Filter along the last axis, as `scipy.signal.sosfilt`; always answers the final state, too.

    Transposed direct form II, section by section::

        y  = b0 x + z1;    z1 = (b1 x + z2) - a1 y;    z2 = b2 x - a2 y

    A sample that is not finite answers NaN and leaves the state as it was. States below 2.2e-308 count as 0.

    Parameters
    ----------
    sos : [sections, 6], as scipy's designs give it, a0 = 1.
    x : [..., n], float32 or float64.
    zi : [sections, ..., 2] initial state; zeros where absent.
    out : array like x to be filled, may be x itself.
    threads : at most so many, each takes some of the rows.

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
    y = out_like(rows, x, out, "sosfilt")
    _run(five, z, rows, y, threads)
    return y.reshape(shape), np.moveaxis(z, 1, 0).reshape(z_shape)


def sosfiltfilt(sos: ArrayLike, x: ArrayLike, *, padtype: str | None = "odd", padlen: int | None = None,
                out: NDArray[Any] | None = None, threads: int = 1) -> NDArray[Any]:
    """Filter forwards and then backwards along the last axis, as `scipy.signal.sosfiltfilt`: the gain squared, no delay.

    Both ways the filter begins in the steady state of the first sample it meets. Between the two, samples are kept in
    float64 for float32 data, too. A sample that is not finite answers NaN and leaves either state as it was.

    Parameters
    ----------
    sos : [sections, 6], as scipy's designs give it, a0 = 1.
    x : [..., n], float32 or float64.
    padtype : what stands before and after x: "odd" (turned about the end sample), "even" (mirrored at it), "constant", None.
    padlen : so many samples more at both ends, below n; absent: 3 (2 sections + 1 - first-order sections), as in scipy.
    out : array like x to be filled, may be x itself.
    threads : at most so many, each takes some of the rows.

    Returns
    -------
    y : as x.

    Raises
    ------
    ValueError
        Empty input, n not above padlen, a filter with a pole at 0 Hz.

    Source
    ------
    F. Gustafsson, Determining the initial states in forward-backward filtering, IEEE Trans. Sig. Proc. 44 (1996) 988-992.

    >>> sosfiltfilt([[0.5, 0.5, 0, 1, 0, 0]], [1.0, 1.0, 5.0, 1.0, 1.0], padlen=2).tolist()
    [1.0, 2.0, 3.0, 2.0, 1.0]
    """
    rows = rows_of(x, "sosfiltfilt")
    five = check_sos(sos)
    if padtype not in PADTYPES:
        raise ValueError(f'sosfiltfilt: padtype must be "odd", "even", "constant" or None, is {padtype!r}')
    if padlen is None:
        padlen = 3 * (2 * len(five) + 1 - min(int((five[:, 2] == 0).sum()), int((five[:, 4] == 0).sum())))
    pad = 0 if padtype is None else padlen
    if not 0 <= pad < rows.shape[1]:
        raise ValueError(f"sosfiltfilt: padlen must be at least 0 and below the {rows.shape[1]} samples, is {pad}")
    y = out_like(rows, x, out, "sosfiltfilt")
    kind, zi, kernel = PADTYPES.index(padtype), steady_state(five), _SOSFILTFILT[rows.dtype.char]
    shared(lambda a, b: kernel(five, zi, rows[a:b], kind, pad, y[a:b]), len(rows), threads, UNIT)
    return y.reshape(np.shape(x))


def detrend(x: ArrayLike, kind: str = "linear", *, out: NDArray[Any] | None = None, threads: int = 1) -> NDArray[Any]:
    """x less its mean (``"constant"``) or its least-squares line (``"linear"``), along the last axis.

    As `scipy.signal.detrend`; sums are in float64, and a row that holds a sample that is not finite becomes NaN.

    >>> detrend([1.0, 2.0, 4.0], "constant").round(3).tolist()
    [-1.333, -0.333, 1.667]
    """
    if kind not in ("constant", "linear"):
        raise ValueError(f'detrend: kind must be "constant" or "linear", is {kind!r}')
    rows = rows_of(x, "detrend")
    y, kernel = out_like(rows, x, out, "detrend"), _DETREND[rows.dtype.char]
    shared(lambda a, b: kernel(rows[a:b], kind == "linear", y[a:b]), len(rows), threads)
    return y.reshape(np.shape(x))
