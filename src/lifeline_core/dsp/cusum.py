"""Small shifts that last: cumulative sums (Page's test) on both sides, whole arrays or streams.

Channels first, time last. float32 stays float32, everything else becomes float64; the sums are in float64, for a small
drift would vanish beside a large sum in float32.
"""

from __future__ import annotations

import struct
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

import lifeline_core.dsp._onset as _onset
from lifeline_core.dsp.blocks import refuse
from lifeline_core.dsp.filters import UNIT, out_like, pack, rows_of, unpack
from lifeline_core.dsp.threads import shared

# By dtype.char: choosing among the compiled forms anew at every call would cost more than the sums over a short block.
_CUSUM = {"f": _onset.cusum["float"], "d": _onset.cusum["double"]}


class Cusum:
    """Running cumulative sums over ``rows`` channels; see `cusum`."""

    TAG = b"LLcu"

    def __init__(self, rows: int, drift: float, threshold: float) -> None:
        if not (np.isfinite(drift) and threshold > 0):
            raise ValueError(f"cusum: drift must be finite and threshold above 0, are {drift} and {threshold}")
        if rows < 1:
            raise ValueError(f"cusum: at least one row is needed, are {rows}")
        self.rows, self.drift, self.threshold = int(rows), float(drift), float(threshold)
        self._data = np.zeros((self.rows, _onset.CUSUM_SIZE), np.uint8)

    def push(self, x: NDArray[Any], out: tuple[NDArray[Any], NDArray[Any]] | None = None, *,
             threads: int = 1) -> tuple[NDArray[Any], NDArray[Any]]:
        """Both sums of ``x[rows, n]``, float32 or float64, into the two arrays of ``out`` if given."""
        kernel = _CUSUM.get(x.dtype.char) or refuse(x, "cusum")
        up, down = out if out is not None else (np.empty_like(x), np.empty_like(x))
        drift, threshold, data = self.drift, self.threshold, self._data
        if threads == 1:
            kernel(drift, threshold, x, data, up, down)
            return up, down
        if x.shape[0] != self.rows or up.shape != x.shape or down.shape != x.shape:
            raise ValueError(f"cusum: x must have {self.rows} rows and both outputs its shape, are {x.shape}, {up.shape} "
                             f"and {down.shape}")
        shared(lambda a, b: kernel(drift, threshold, x[a:b], data[a:b], up[a:b], down[a:b]), self.rows, threads, UNIT)
        return up, down

    def reset(self) -> None:
        """Begin anew from 0."""
        self._data[:] = 0

    def copy(self) -> Self:
        other = type(self)(self.rows, self.drift, self.threshold)
        other._data[:] = self._data
        return other

    def save(self) -> bytes:
        return pack(self.TAG, self._key(), self._data)

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError where it is of other rows or parameters."""
        self._data = unpack(self.TAG, self._key(), self._data, state)

    def _key(self) -> bytes:
        return struct.pack("<Qdd", self.rows, self.drift, self.threshold)


def run_length(threshold: float, drift: float, shift: float = 0.0) -> float:
    """Mean number of samples to a crossing of one side, independent normal samples of mean ``shift`` and deviation 1.

    ARL = (exp(2 d b) - 2 d b - 1) / (2 d^2) with d = drift - shift, b = threshold + 1.166 (b^2 at d = 0). Source:
    D. Siegmund, Sequential Analysis (1985), 2.6; within some percent for run lengths above a few samples.

    >>> round(run_length(4.0, 0.5), 1)
    338.1
    """
    d, b = drift - shift, threshold + 1.166
    if abs(d) < 1e-9:
        return b * b
    return float((np.expm1(2.0 * d * b) - 2.0 * d * b) / (2.0 * d * d))


def cusum_threshold(samples: float, drift: float) -> float:
    """Threshold at which one side of `cusum` crosses once in ``samples`` samples of noise on the mean, drift above 0.

    Noise: independent, normal, deviation 1. Where both sides alarm each needs twice the run length.

    >>> round(cusum_threshold(338.2, 0.5), 2)
    4.0
    """
    if not (drift > 0 and np.isfinite(drift) and samples > 1 and np.isfinite(samples)):
        raise ValueError(f"cusum_threshold: drift must be above 0 and samples above 1, are {drift} and {samples}")
    low, high = -1.16, 4.0
    while run_length(high, drift) < samples:
        high *= 2.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if run_length(middle, drift) < samples else (low, middle)
    return high


def cusum(x: ArrayLike, drift: float, threshold: float, *, state: Cusum | None = None,
          out: tuple[NDArray[Any], NDArray[Any]] | None = None,
          threads: int = 1) -> tuple[NDArray[Any], NDArray[Any], Cusum]:
    """Cumulative sums of x above ``drift`` and below ``-drift``, along the last axis.

    ::

        up = max(0, up + x - drift)        down = max(0, down - x - drift)

    The alarm is ``> threshold``. The sum that crossed is answered as it is and begins again from 0 with the next
    sample, so every sample above the threshold is one crossing; ``threshold=inf`` never begins again. x is to have mean
    0 and a known standard deviation (often 1); samples that depend on their neighbours alarm far more often than the
    tables of independent ones say. A sample that is not finite answers NaN and leaves both sums as they were.

    Parameters
    ----------
    x : [..., n].
    drift : half the smallest shift worth an alarm, in the unit of x.
    threshold : above 0, in the unit of x.
    state : what the call before answered; it is not changed.
    out : two arrays like x to be filled, the first for g_up; x itself may be one of them.
    threads : at most so many, each for whole channels.

    Returns
    -------
    g_up, g_down : as x, 0 or more.
    state : for the next call.

    Raises
    ------
    ValueError
        Empty input, a threshold of 0 or less, a state of other parameters.

    Source
    ------
    E. S. Page, Continuous inspection schemes, Biometrika 41 (1954) 100-115.

    >>> up, down, state = cusum([1.0, 1, 1, 1, -3], 0.5, 1.2)
    >>> up.tolist(), down.tolist()
    ([0.5, 1.0, 1.5, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0, 2.5])
    """
    rows = rows_of(x, "cusum")
    if state is None:
        after = Cusum(len(rows), drift, threshold)
    else:
        if (state.rows, state.drift, state.threshold) != (len(rows), drift, threshold):
            raise ValueError(f"cusum: the state is of {state.rows} rows, drift {state.drift} and threshold "
                             f"{state.threshold}, asked are {len(rows)}, {drift} and {threshold}")
        after = state.copy()
    up, down = (out_like(rows, x, o, "cusum") for o in (out if out is not None else (None, None)))
    after.push(rows, (up, down), threads=threads)
    return up.reshape(np.shape(x)), down.reshape(np.shape(x)), after
