"""Medians of running windows, and samples too far from them: whole arrays, or streams whose cuts leave no trace.

Channels first, time last. float32 is ordered and answered as float32, everything else as float64. A window is centred and odd,
h = (window - 1) / 2 samples to each side::

    x0 x1 [x2 x3 x4 x5 x6] x7 ..    window 5: answer 4 from x2 .. x6
    [x0 x1 x2] ..                   at both ends the window holds what there is: answer 0 from x0 .. x2

No sample is invented at the ends; the median of an even number is the mean of the middle two. A window that holds a sample
that is not finite answers NaN and marks nothing.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

import lifeline_core.dsp._hampel as _hampel
from lifeline_core.dsp.filters import pack, rows_of, unpack
from lifeline_core.dsp.threads import shared
from lifeline_core.errors import StateError

MEDIAN, MAD, MARK, REPLACE = range(4)
SIGMA = 1.4826  # 1 / the 3/4 quantile of the normal distribution: MAD times this estimates its standard deviation

_PUSH = {"f": _hampel.push["float"], "d": _hampel.push["double"]}
_WHOLE = {"f": _hampel.whole["float"], "d": _hampel.whole["double"]}
_NO_MARKS = np.empty((0, 0), np.uint8)


def _checked(window: int) -> int:
    if isinstance(window, bool) or int(window) != window or window < 1 or window % 2 == 0 or window > 1 << 28:
        raise ValueError(f"window must be an odd number of samples, 1 or more, is {window!r}")
    return int(window)


def _limit(n_sigmas: float) -> float:
    if not 0 <= n_sigmas < np.inf:
        raise ValueError(f"hampel: n_sigmas must be 0 or more and finite, is {n_sigmas}")
    return SIGMA * n_sigmas


def _whole(x: ArrayLike, window: int, verb: int, limit: float, threads: int, what: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    window = _checked(window)
    rows = rows_of(x, what)
    wide = rows.dtype == np.float64
    y = np.empty_like(rows)
    marks = np.empty(rows.shape, np.uint8) if verb >= MARK else _NO_MARKS
    kernel, size = _WHOLE[rows.dtype.char], _hampel.size(window, wide)
    shared(lambda a, b: kernel(np.empty(size, np.uint8), window, rows[a:b], verb, limit, y[a:b], marks[a:b]), len(rows), threads)
    return y.reshape(np.shape(x)), marks.view(np.bool_)


def running_median(x: ArrayLike, window: int, *, threads: int = 1) -> NDArray[Any]:
    """Median of a centred window, along the last axis.

    Parameters
    ----------
    x : [..., n].
    window : odd number of samples; more than n is allowed.
    threads : at most so many, each takes some of the rows.

    Returns
    -------
    median : as x.

    Raises
    ------
    ValueError
        Empty input, a window that is even or below 1.

    >>> running_median([1.0, 9.0, 2.0, 3.0], 3).tolist()
    [5.0, 2.0, 3.0, 2.5]
    """
    return _whole(x, window, MEDIAN, 0.0, threads, "running_median")[0]


def running_mad(x: ArrayLike, window: int, *, threads: int = 1) -> NDArray[Any]:
    """Median of \\|x - median\\| over a centred window, not scaled, along the last axis; see `running_median`.

    >>> running_mad([1.0, 9.0, 2.0, 3.0], 3).tolist()
    [4.0, 1.0, 1.0, 0.5]
    """
    return _whole(x, window, MAD, 0.0, threads, "running_mad")[0]


def hampel(x: ArrayLike, window: int, n_sigmas: float = 3.0, *, replace: bool = True,
           threads: int = 1) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Mark samples far from the median of their surroundings and put the median in their place, along the last axis.

    ::

        outlier[i] = |x[i] - median[i]| > n_sigmas 1.4826 MAD[i]

    Where more than half of a window is one value, its MAD is 0 and any other value in the middle is an outlier.

    Parameters
    ----------
    x : [..., n].
    window : odd number of samples, for medians and MAD.
    n_sigmas : standard deviations of the normal distribution, 0 or more.
    replace : False leaves outliers as they are.
    threads : at most so many, each takes some of the rows.

    Returns
    -------
    y : as x.
    outliers : bool, shape of x.

    Raises
    ------
    ValueError
        Empty input, a window that is even or below 1, n_sigmas below 0.

    Source
    ------
    F. R. Hampel, The influence curve and its role in robust estimation, J. Am. Stat. Assoc. 69 (1974) 383-393;
    R. K. Pearson, Outliers in process modeling and identification, IEEE Trans. Control Syst. Technol. 10 (2002) 55-63.

    >>> y, outliers = hampel([1.0, 2.0, 1.0, 50.0, 2.0, 1.0, 2.0], 5)
    >>> y.tolist(), outliers.nonzero()[0].tolist()
    ([1.0, 2.0, 1.0, 2.0, 2.0, 1.0, 2.0], [3])
    """
    y, marks = _whole(x, window, REPLACE if replace else MARK, _limit(n_sigmas), threads, "hampel")
    return y, marks.reshape(np.shape(x))


class _Stream:
    """Windows over ``rows`` channels of one dtype; answers come ``delay_samples`` = (window - 1) / 2 late."""

    TAG = b"LLme"
    VERB = MEDIAN

    def __init__(self, window: int, rows: int, dtype: DTypeLike = np.float32) -> None:
        if rows < 1:
            raise ValueError(f"window: at least one row is needed, are {rows}")
        self.window, self.rows, self.dtype = _checked(window), int(rows), np.dtype(dtype)
        if self.dtype.char not in _PUSH:
            raise ValueError(f"dtype must be float32 or float64, is {self.dtype}")
        self.delay_samples = self.window // 2
        self._wide, self._limit, self._fed = self.dtype == np.float64, 0.0, 0
        self._states = np.empty((self.rows, _hampel.size(self.window, self._wide)), np.uint8)
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        _hampel.begin(self._states, self.window, self._wide)
        self._fed = 0

    def _feed(self, x: NDArray[Any], ends: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        if x.dtype != self.dtype:
            raise ValueError(f"the stream is of {self.dtype}, the samples are {x.dtype}")
        room = x.shape[1] or ends
        out = np.empty((self.rows, room), self.dtype)
        marks = np.empty((self.rows, room), np.uint8) if self.VERB >= MARK else _NO_MARKS
        done = _PUSH[self.dtype.char](self._states, self.window, x, ends, self.VERB, self._limit, out, marks)
        self._fed += x.shape[1]
        return out[:, :done], marks[:, :done].view(np.bool_)

    def _end(self) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        last = self._feed(np.empty((self.rows, 0), self.dtype), self.delay_samples)
        self.reset()
        return last

    def save(self) -> bytes:
        return pack(self.TAG, self._key(), self._data())

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError where it is of another window, limit, dtype or other rows."""
        data = unpack(self.TAG, self._key(), self._data(), state)
        fed = float(data[0])
        if not (fed >= 0 and fed.is_integer()):
            raise StateError(f"window: saved state is damaged, it holds {fed} samples")
        self.reset()
        held = data[1:].reshape(self.rows, self.window)[:, : min(int(fed), self.window)]
        if held.shape[1]:
            self._feed(np.ascontiguousarray(held, self.dtype), 0)
        self._fed = int(fed)

    def _key(self) -> bytes:
        return struct.pack("<2Qcd", self.window, self.rows, self.dtype.char.encode(), self._limit)

    def _data(self) -> NDArray[np.float64]:
        data = np.zeros((self.rows, self.window))
        for state, row in zip(self._states, data, strict=True):
            _hampel.window(state, self.window, row, self._wide)
        return np.append(float(self._fed), data.ravel())


class RunningMedian(_Stream):
    """`running_median` as a stream: what `push` and at last `flush` answer is what the whole array would have.

    >>> m = RunningMedian(3, 1)
    >>> x = np.float32([[1, 9, 2, 3]])
    >>> m.push(x[:, :2]).tolist(), m.push(x[:, 2:]).tolist(), m.flush().tolist()
    ([[5.0]], [[2.0, 3.0]], [[2.5]])
    """

    def push(self, x: NDArray[Any]) -> NDArray[Any]:
        """The medians that ``x[rows, n]`` completes: as many as samples, but for the first (window - 1) / 2."""
        return self._feed(x, 0)[0]

    def flush(self) -> NDArray[Any]:
        """The last medians, from the samples there are; then the stream begins anew."""
        return self._end()[0]


class Hampel(_Stream):
    """`hampel` as a stream: what `push` and at last `flush` answer is what the whole array would have.

    >>> h = Hampel(3, 1)
    >>> h.push(np.float32([[1, 1, 7, 1, 1]]))[0].tolist(), h.flush()[0].tolist()
    ([[1.0, 1.0, 1.0, 1.0]], [[1.0]])
    """

    TAG = b"LLha"

    def __init__(self, window: int, rows: int, n_sigmas: float = 3.0, *, replace: bool = True,
                 dtype: DTypeLike = np.float32) -> None:
        super().__init__(window, rows, dtype)
        self._limit, self.VERB = _limit(n_sigmas), REPLACE if replace else MARK

    def push(self, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """y and outliers that ``x[rows, n]`` completes: as many as samples, but for the first (window - 1) / 2."""
        return self._feed(x, 0)

    def flush(self) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The last answers, from the samples there are; then the stream begins anew."""
        return self._end()
