"""Where something begins: STA/LTA ratios, whole arrays or streams; `Cusum`, `cusum` and `aic_onset` stand beside.

Channels first, time last. float32 stays float32, everything else becomes float64; all state is float64. Streams answer the
same numbers however the samples are cut, whatever the other channels are, and with any number of threads.
"""

from __future__ import annotations

import struct
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

import lifeline_core.dsp._onset as _onset
from lifeline_core.dsp.aic import aic_onset
from lifeline_core.dsp.blocks import refuse
from lifeline_core.dsp.cusum import Cusum, cusum
from lifeline_core.dsp.filters import UNIT, out_like, pack, rows_of, unpack
from lifeline_core.dsp.threads import shared
from lifeline_core.errors import StateError

__all__ = ["KINDS", "Cusum", "StaLta", "aic_onset", "cusum", "sta_lta"]

KINDS = ("classic", "recursive")
# By dtype.char: choosing among the compiled forms anew at every call would cost more than the sums over a short block.
_STA_LTA = {"f": _onset.sta_lta["float"], "d": _onset.sta_lta["double"]}


def _aligned(shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Zeros that begin at a cache line, so that no vector of what is kept lies across two."""
    room = np.zeros(shape[0] * shape[1] + 64, np.uint8)
    begin = -room.ctypes.data % 64
    return room[begin : begin + shape[0] * shape[1]].reshape(shape)


class StaLta:
    """The running ratio of short to long averages of x squared over ``rows`` channels; see `sta_lta`."""

    TAG = b"LLst"

    def __init__(self, rows: int, n_sta: int, n_lta: int, *, kind: str = "recursive") -> None:
        if kind not in KINDS:
            raise ValueError(f'sta_lta: kind must be "classic" or "recursive", is {kind!r}')
        if not 1 <= n_sta <= n_lta:
            raise ValueError(f"sta_lta: 1 <= n_sta <= n_lta must hold, are {n_sta} and {n_lta}")
        if rows < 1:
            raise ValueError(f"sta_lta: at least one row is needed, are {rows}")
        self.rows, self.n_sta, self.n_lta, self.kind = int(rows), int(n_sta), int(n_lta), kind
        self._data = _aligned(_onset.sta_shape(kind == "recursive", self.n_sta, self.n_lta, self.rows))

    def push(self, x: NDArray[Any], out: NDArray[Any] | None = None, *, threads: int = 1) -> NDArray[Any]:
        """Ratios of ``x[rows, n]``, float32 or float64; ``out`` may be ``x`` itself."""
        kernel = _STA_LTA.get(x.dtype.char) or refuse(x, "sta_lta")
        if out is None:
            out = np.empty_like(x)
        if x.shape[0] != self.rows or out.shape != x.shape:  # state of four rows would fit three, too
            raise ValueError(f"sta_lta: x must have {self.rows} rows and out its shape, are {x.shape} and {out.shape}")
        recursive, data = self.kind == "recursive", self._data
        if threads == 1:
            kernel(recursive, self.n_sta, self.n_lta, x, data, out)
            return out
        each = 1 if recursive else UNIT  # rows to a row of state
        shared(lambda a, b: kernel(recursive, self.n_sta, self.n_lta, x[a:b], data[a // each : -(-b // each)], out[a:b]),
               self.rows, threads, UNIT)
        return out

    def reset(self) -> None:
        """Begin anew: the first n_lta ratios are 0 again."""
        self._data[:] = 0

    def copy(self) -> Self:
        other = type(self)(self.rows, self.n_sta, self.n_lta, kind=self.kind)
        other._data[:] = self._data
        return other

    def save(self) -> bytes:
        return pack(self.TAG, self._key(), self._data)

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError where it is of other rows or windows."""
        data = unpack(self.TAG, self._key(), self._data, state)
        if self.kind == "classic":
            at = data[:, :16].copy().view(np.uint64)  # in the blocks, see kernels/onset.h
            sound = np.all(at < np.array([self.n_sta, self.n_lta], np.uint64))
        else:
            at = data[:, 40:48].copy().view(np.uint32)  # in the block, and finite ones of these
            sound = np.all(at[:, 0] < _onset.STA_BLOCK) and np.all(at[:, 1] <= at[:, 0])
        if not sound:
            raise StateError(f"sta_lta: saved state is damaged, positions are {at.tolist()}")
        self._data[:] = data

    def _key(self) -> bytes:
        return struct.pack("<4Q", KINDS.index(self.kind), self.n_sta, self.n_lta, self.rows)


def sta_lta(x: ArrayLike, n_sta: int, n_lta: int, *, kind: str = "recursive", state: StaLta | None = None,
            out: NDArray[Any] | None = None, threads: int = 1) -> tuple[NDArray[Any], StaLta]:
    """Short-time over long-time average of x squared, along the last axis.

    recursive, with a = 1 - 1/n (Withers et al. 1998, eq. 3)::

        S[i] = x[i]^2 / n + a S[i-1]          ratio = S_sta / S_lta

    classic, over the last n samples::

        S[i] = (x[i-n+1]^2 + ... + x[i]^2) / n

    As obspy's functions of these names on the whole array: the recursive form ignores x[0]; its first n_lta ratios,
    and the first n_lta - 1 of the classic one, are 0, counted across calls. Where the long average is 0 the ratio is 0.
    A sample that is not finite answers NaN; the recursive state passes it over, classic windows that hold it are NaN.
    Squares and sums are in float64 for float32 as well: float32 sums would lose what is 1e-7 of a spike, for ever in the
    recursive form. Numbers too small to be normal, in x or in the ratio, count as 0; of float64 samples those beyond 1e150
    count as not finite. The classic sums never subtract, so nothing remembers a spike that has left the window.

    Parameters
    ----------
    x : [..., n].
    n_sta, n_lta : window lengths in samples, 1 <= n_sta <= n_lta.
    kind : "recursive" or "classic".
    state : what the call before answered; it is not changed.
    out : array like x to be filled, x itself if you like; without it new memory may cost more than the arithmetic.
    threads : at most so many, each for whole channels.

    Returns
    -------
    ratio : as x, 0 or more (the recursive form is at most n_lta / n_sta).
    state : for the next call.

    Raises
    ------
    ValueError
        Empty input, windows out of order, a state of other windows or rows.

    Source
    ------
    M. Withers et al., A comparison of select trigger algorithms for automated global seismic phase and event detection,
    Bull. Seism. Soc. Am. 88 (1998) 95-106.

    >>> ratio, state = sta_lta([1.0, -1, 1, -1, 4, -4], 1, 3)
    >>> ratio.round(3).tolist()
    [0.0, 0.0, 0.0, 1.421, 2.757, 1.739]
    """
    rows = rows_of(x, "sta_lta")
    if state is None:
        after = StaLta(len(rows), n_sta, n_lta, kind=kind)
    else:
        if (state.rows, state.n_sta, state.n_lta, state.kind) != (len(rows), n_sta, n_lta, kind):
            raise ValueError(f"sta_lta: the state is of {state.rows} rows and {state.kind} {state.n_sta}/{state.n_lta}, "
                             f"asked are {len(rows)} rows and {kind} {n_sta}/{n_lta}")
        after = state.copy()
    return after.push(rows, out_like(rows, x, out, "sta_lta"), threads=threads).reshape(np.shape(x)), after
