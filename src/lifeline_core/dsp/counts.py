"""Integer counts, as devices send them, to scaled float32 channels."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import lifeline_core.dsp._counts as _counts
from lifeline_core.dsp.threads import shared

KINDS = {"int16": 1, "int24": 2, "int32": 3}
BYTES = {"int16": 2, "int24": 3, "int32": 4}
ORDERS = ("channel", "sample")


def counts_to_float(payload: Any, kind: str, n_channels: int, *, scale: ArrayLike, offset: ArrayLike = 0.0, order: str = "channel",
                    out: NDArray[np.float32] | None = None, threads: int = 1) -> NDArray[np.float32]:
    """Counts of a payload in the channel's unit.

    ::

        x[c, i] = float32(scale[c] * count[c, i] + offset[c])

    computed in float64: no count loses a digit before the scale (an int32 has up to 31 bits, a float32 only 24), and what
    is exact in float64 is rounded once. A decoded frame holds the same numbers.

    Parameters
    ----------
    payload : bytes-like, n_channels * n counts, little endian, two's complement; nothing beyond it is read.
    kind : "int16", "int24" (3 bytes) or "int32".
    n_channels : rows of the answer.
    scale, offset : one number, or one for each channel; unit per count, and unit. Finite.
    order : "channel", all samples of channel 0 first (as frames have them), or "sample", all channels of sample 0 first.
    out : float32[n_channels, n] to fill; its samples must be contiguous, its rows need not be.
    threads : at most so many share the channels; the numbers do not depend on it.

    Returns
    -------
    x : float32[n_channels, n], ``out`` where it is given.

    Raises
    ------
    ValueError
        Empty payload, a length that is no multiple of a sample of all channels, an unknown kind or order, scales of another
        number than the channels, an out of another shape.

    Examples
    --------
    >>> payload = b"\\x01\\x00\\x00" b"\\xff\\xff\\xff" b"\\x00\\x00\\x80" b"\\xff\\xff\\x7f"
    >>> counts_to_float(payload, "int24", 2, scale=[1.0, 2.0**-23]).tolist()
    [[1.0, -1.0], [-1.0, 0.9999998807907104]]
    """
    data = np.frombuffer(payload, np.uint8)
    n = _samples(data.size, kind, n_channels)
    if order not in ORDERS:
        raise ValueError(f'counts_to_float: order must be "channel" or "sample", is {order!r}')
    scales, offsets = _each(scale, n_channels, "scale"), _each(offset, n_channels, "offset")
    if out is None:
        out = np.empty((n_channels, n), np.float32)
    elif out.shape != (n_channels, n) or out.dtype != np.float32 or (n > 1 and out.strides[1] != 4) or out.strides[0] % 4:
        raise ValueError(f"counts_to_float: out must be float32 of shape {(n_channels, n)} with contiguous samples, "
                         f"is {out.dtype} of shape {out.shape} and strides {out.strides}")
    into, code, by_sample = out, KINDS[kind], order == "sample"
    if threads == 1:
        _counts.fill(code, data, by_sample, 0, n_channels, scales, offsets, into)
    else:
        shared(lambda a, b: _counts.fill(code, data, by_sample, a, b, scales, offsets, into), n_channels, threads, 4)
    return out


def _samples(size: int, kind: str, n_channels: int) -> int:
    if kind not in KINDS:
        raise ValueError(f'counts_to_float: kind must be "int16", "int24" or "int32", is {kind!r}')
    if n_channels < 1:
        raise ValueError(f"counts_to_float: n_channels must be at least 1, is {n_channels}")
    if size == 0 or size % (BYTES[kind] * n_channels):
        raise ValueError(f"counts_to_float: the payload must be a multiple of {n_channels} channels x {BYTES[kind]} bytes "
                         f"and not empty, has {size} bytes")
    return size // (BYTES[kind] * n_channels)


def _each(value: ArrayLike, n_channels: int, name: str) -> NDArray[np.float64]:
    if isinstance(value, float | np.float32) and isfinite(value):
        return np.full(n_channels, value, np.float64)
    each = np.asarray(value, np.float64)
    if each.shape not in ((), (n_channels,)):
        raise ValueError(f"counts_to_float: {name} must be one number or one for each of {n_channels} channels, "
                         f"has shape {each.shape}")
    if not np.isfinite(each).all():
        raise ValueError(f"counts_to_float: {name} must be finite, is {each.tolist()}")
    return np.ascontiguousarray(np.broadcast_to(each, n_channels))
