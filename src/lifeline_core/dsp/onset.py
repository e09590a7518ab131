"""Where something begins: STA/LTA ratios, cumulative sums and the AIC picker, whole arrays or streams.

Channels first, time last. float32 stays float32, everything else becomes float64; all state is float64. Streams
(`StaLta`, `Cusum`) answer the same numbers however the samples are cut.
"""

from __future__ import annotations

import struct
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

import lifeline_core.dsp._onset as _onset
from lifeline_core.dsp.filters import pack, rows_of, unpack
from lifeline_core.errors import StateError

KINDS = ("classic", "recursive")
# By dtype.char: choosing among the compiled forms anew at every call would cost more than the sums over a short block.
_STA_LTA = {"f": _onset.sta_lta["float"], "d": _onset.sta_lta["double"]}
_CUSUM = {"f": _onset.cusum["float"], "d": _onset.cusum["double"]}


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
        self._data = np.zeros((self.rows, _onset.sta_size(kind == "recursive", self.n_sta, self.n_lta)), np.uint8)

    def push(self, x: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Ratios of ``x[rows, n]``, float32 or float64; ``out`` may be ``x`` itself."""
        if out is None:
            out = np.empty_like(x)
        _STA_LTA[x.dtype.char](self.kind == "recursive", self.n_sta, self.n_lta, x, self._data, out)
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
            at = data[:, 16:32].copy().view(np.uint64)
            if np.any(at >= np.array([self.n_sta, self.n_lta], np.uint64)):
                raise StateError(f"sta_lta: saved state is damaged, positions are {at.tolist()}")
        self._data = data

    def _key(self) -> bytes:
        return struct.pack("<4Q", KINDS.index(self.kind), self.n_sta, self.n_lta, self.rows)


def sta_lta(x: ArrayLike, n_sta: int, n_lta: int, *, kind: str = "recursive", state: StaLta | None = None,
            out: NDArray[Any] | None = None) -> tuple[NDArray[Any], StaLta]:
    """Short-time over long-time average of x squared, along the last axis.

    recursive, with a = 1 - 1/n (Withers et al. 1998, eq. 3)::

        S[i] = x[i]^2 / n + a S[i-1]          ratio = S_sta / S_lta

    classic, over the last n samples::

        S[i] = (x[i-n+1]^2 + ... + x[i]^2) / n

    As obspy's functions of these names on the whole array: the recursive form ignores x[0]; its first n_lta ratios,
    and the first n_lta - 1 of the classic one, are 0, counted across calls. Where the long average is 0 the ratio is 0.
    A sample that is not finite answers NaN; the recursive state passes it over, classic windows that hold it are NaN.

    Parameters
    ----------
    x : [..., n].
    n_sta, n_lta : window lengths in samples, 1 <= n_sta <= n_lta.
    kind : "recursive" or "classic".
    state : what the call before answered; it is not changed.
    out : array like x to be filled.

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
    return after.push(rows, _like(rows, x, out, "sta_lta")).reshape(np.shape(x)), after


def _like(rows: NDArray[Any], x: ArrayLike, out: NDArray[Any] | None, what: str) -> NDArray[Any] | None:
    if out is None:
        return None
    if out.shape != np.shape(x) or out.dtype != rows.dtype or not out.flags.c_contiguous:
        raise ValueError(f"{what}: out must be contiguous {rows.dtype} of shape {np.shape(x)}, "
                         f"is {out.dtype} of shape {out.shape}")
    return out.reshape(rows.shape)


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

    def push(self, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Both sums of ``x[rows, n]``, float32 or float64."""
        up, down = np.empty_like(x), np.empty_like(x)
        _CUSUM[x.dtype.char](self.drift, self.threshold, x, self._data, up, down)
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


def cusum(x: ArrayLike, drift: float, threshold: float, *,
          state: Cusum | None = None) -> tuple[NDArray[Any], NDArray[Any], Cusum]:
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
    up, down = after.push(rows)
    return up.reshape(np.shape(x)), down.reshape(np.shape(x)), after


def aic_onset(x: ArrayLike) -> tuple[Any, Any]:
    """Where a window of samples is best cut into noise and signal, by Akaike's criterion on the samples themselves.

    ::

        AIC(k) = k ln var(x[:k]) + (n - k - 1) ln var(x[k:])        least at the onset

    The index is that of ``obspy.signal.trigger.aic_simple(x).argmin()``: k - 1, the last sample before the onset. The
    window should hold one onset and little of what comes long after it. Variances below 1e-15 of the whole window's
    count as that, so silence before an onset is no minimum of its own.

    quality = 1 - exp(-g), where g >= 0 is how much the mean ln of the variance falls by the cut::

        g = ln var(x) - (k ln var(x[:k]) + (n - k) ln var(x[k:])) / n

    It is near 10 / n for pure noise, 0.2 for a doubling of the amplitude in the middle, 0.86 for ten times the amplitude
    in the last third.

    Parameters
    ----------
    x : [..., n], n >= 3.

    Returns
    -------
    index : int, or int64[...]; 0 for a constant, -1 where a sample is not finite.
    quality : float in 0..1, or float64[...]; 0 for a constant, NaN where a sample is not finite.

    Raises
    ------
    ValueError
        Fewer than 3 samples.

    Source
    ------
    N. Maeda, A method for reading and checking phase times in autoprocessing system of seismic wave data,
    Zisin 38 (1985) 365-379.

    >>> aic_onset([0.0, 0.1, -0.1, 0.1, 0.0, 5.0, -4.0, 5.0, -5.0])[0]
    4
    """
    rows = rows_of(x, "aic_onset")
    n = rows.shape[1]
    if n < 3:
        raise ValueError(f"aic_onset: at least 3 samples are needed, are {n}")
    index, quality = np.empty(len(rows), np.int64), np.empty(len(rows))
    _onset.aic(rows, np.empty(2 * n), index, quality)
    if np.ndim(x) == 1:
        return int(index[0]), float(quality[0])
    return index.reshape(np.shape(x)[:-1]), quality.reshape(np.shape(x)[:-1])
