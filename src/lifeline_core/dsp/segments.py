"""How rows are cut into segments for a spectrum: the keywords of `scipy.signal.welch`, checked once and kept.

    samples    |....hop....|....hop....|....hop....|          hop = nperseg - noverlap
    segment 0  [=======nperseg=======]                        a segment counts once its last sample is there;
    segment 1              [=======nperseg=======]            what is left over at the end of a recording is not used
    segment 2                          [=======nperseg=======]

float32 with nperseg a power of two from 16 to 65536 runs in compiled lanes (kernels/spectrum.c), everything else in
scipy.fft in float64 behind the same verbs (`Stream`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from threading import Condition, Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import get_window

from lifeline_core.dsp._spectrum import Lanes
from lifeline_core.dsp.threads import shared
from lifeline_core.dsp.transforms import DETREND, Library

Window = str | tuple[Any, ...] | float | NDArray[Any] | Sequence[float]
Array = NDArray[Any]

LANES = frozenset(1 << k for k in range(4, 17))  # the lengths that the compiled lanes take
GROUP = 8  # segments that are summed in one tree
IDLE, IDLE_BYTES = 4, 1 << 23  # so many streams are kept for the next call, and none larger than this
PART = 16  # groups that are added to the totals as one, and that one thread sums at a time


class Stream(Protocol):
    """Rows in, sums over their segments' spectra out: compiled lanes, or a library with the same verbs."""

    def push(self, x: Array) -> None: ...
    def power(self) -> tuple[Array, Array]: ...
    def matrix(self) -> tuple[Array, Array]: ...
    def average(self, scale: Array) -> Array: ...
    def weights(self) -> Array: ...
    def each(self, x: Array, scale: Array) -> Array: ...
    def merge(self, other: Any) -> None: ...
    def reset(self) -> None: ...
    def restart(self) -> None: ...
    def save(self) -> bytes: ...
    def load(self, state: bytes) -> None: ...


@dataclass(frozen=True)
class Cut:
    """How rows are cut into segments, and what a sum over segments must be multiplied by."""

    window: NDArray[np.float64]
    hop: int
    detrend: str
    f: NDArray[np.float64]
    scale: NDArray[np.float64]

    @property
    def n(self) -> int:
        return len(self.window)

    @cached_property
    def _window32(self) -> NDArray[np.float32]:
        return self.window.astype(np.float32)

    def stream(self, n_ch: int, single: bool, *, cross: bool = False, skip: bool = False, keep: float = 1.0) -> Stream:
        """Something that takes n_ch rows in and sums the spectra of their segments."""
        if single and self.n in LANES:
            lanes: Stream = Lanes(self._window32, self.hop, n_ch, DETREND[self.detrend], cross, skip, PART, keep)
            return lanes
        return Library(self.window, self.hop, n_ch, DETREND[self.detrend], cross, skip, PART, keep)

    @contextmanager
    def lent(self, n_ch: int, single: bool, cross: bool = False) -> Iterator[Stream]:
        """An empty stream for the time of a call; a few are kept, for fresh memory costs more than a short recording."""
        plan = (n_ch, single, cross)
        with _lock:
            at = next((i for i, (of, kept, _) in enumerate(_idle) if of is self and kept == plan), None)
            found = None if at is None else _idle.pop(at)[2]
        if found is None:
            found = self.stream(n_ch, single, cross=cross)
        else:
            found.reset()
        yield found
        size = 48 * len(self.f) * (n_ch * (n_ch + 1) // 2 if cross else n_ch)
        if size <= IDLE_BYTES:
            with _lock:
                _idle.insert(0, (self, plan, found))
                del _idle[IDLE:]

    def whole(self, n: int) -> int:
        """Segments that n samples hold."""
        return 0 if n < self.n else 1 + (n - self.n) // self.hop

    def samples(self, begin: int, end: int) -> slice:
        """Where the segments begin .. end - 1 lie."""
        return slice(begin * self.hop, (end - 1) * self.hop + self.n)

    def parts(self, n: int) -> int:
        """Parts that the segments of n samples make; the last may be shorter."""
        return -(-self.whole(n) // (GROUP * PART))

    def part(self, n: int, i: int) -> slice:
        """Where the samples of part i lie."""
        return self.samples(i * GROUP * PART, min((i + 1) * GROUP * PART, self.whole(n)))

    def powers(self, x: Array, single: bool, threads: int = 1) -> Array:
        """Sums of |X|^2 over all segments of rows x, float64[n_ch, n_f]; threads share out parts."""
        n = x.shape[1]
        if threads == 1 or self.parts(n) == 1:
            with self.lent(len(x), single) as stream:
                stream.push(x)
                return stream.power()[0]

        def some(begin: int, end: int) -> list[Array]:
            with self.lent(len(x), single) as stream:
                found = []
                for i in range(begin, end):
                    stream.reset()
                    stream.push(x[:, self.part(n, i)])
                    found.append(stream.power()[0])
                return found

        total, *rest = (sums for found in shared(some, self.parts(n), threads) for sums in found)
        for sums in rest:
            total += sums
        return total

    def matrices(self, x: Array, single: bool, threads: int = 1, *, scaled: bool = False) -> Array:
        """Sums of conj(X_i) X_j over all segments of rows x, complex128[n_f, n_ch, n_ch]; threads share out parts.

        ``scaled``: the scaled mean instead, complex64 for single.

        The sums of many pairs are large, so a thread adds what it has before it goes on: its turn comes in the order of the
        parts.
        """
        n = x.shape[1]
        with self.lent(len(x), single, True) as total:
            if threads == 1 or self.parts(n) == 1:
                total.push(x)
            else:
                pieces = [x[:, self.part(n, i)] for i in range(self.parts(n))]
                in_order(total, lambda: self.lent(len(x), single, True), pieces, threads)
            return total.average(self.scale) if scaled else total.matrix()[0]


# Streams that were used and may be used again, the latest first.
_idle: list[tuple[Cut, tuple[int, bool, bool], Stream]] = []
_lock = Lock()


def in_order(total: Stream, lend: Callable[[], AbstractContextManager[Stream]], pieces: Sequence[Array], threads: int) -> None:
    """Sum each piece by itself and merge the sums into total in the pieces' order; every thread needs one more stream.

    A piece whose turn it is already goes to total itself: a seam behind it makes a part of it, as merging does.
    """
    count = min(threads, len(pieces))
    turn, broken, ready = 0, False, Condition()

    def work(first: int, _: int) -> None:
        nonlocal turn, broken
        try:
            with lend() as own:
                for i in range(first, len(pieces), count):
                    if direct := turn == i:
                        total.push(pieces[i])
                        total.restart()
                    else:
                        own.reset()
                        own.push(pieces[i])
                    with ready:
                        while turn != i and not broken:
                            ready.wait()
                        if broken:
                            return
                        if not direct:
                            total.merge(own)
                        turn += 1
                        ready.notify_all()
        except BaseException:
            with ready:  # the others must not wait for a turn that never comes
                broken = True
                ready.notify_all()
            raise

    shared(work, count, count)


def whole_number(name: str, value: Any) -> int:
    if type(value) is int:
        return value
    if isinstance(value, bool) or int(value) != value:
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    return int(value)


def samples(x: ArrayLike, name: str = "x") -> tuple[Array, bool]:
    """As float32 (True) or float64 (False) with samples side by side; empty, complex and scalars are refused."""
    a = np.asarray(x)
    if a.ndim == 0 or a.size == 0:
        raise ValueError(f"{name} must hold samples along its last axis, not be of shape {a.shape}")
    if a.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be real numbers, not {a.dtype}")
    single = a.dtype.kind == "f" and a.dtype.itemsize <= 4
    return np.ascontiguousarray(a, np.float32 if single else np.float64), single


def cut(n: int | None, fs: float, window: Window, nperseg: int | None, noverlap: int | None, detrend: Any, scaling: str,
        share: int = 2) -> Cut:
    """The keywords, checked as scipy checks them; n samples are there (None: a stream), overlap defaults to nperseg // share."""
    if not fs > 0 or not np.isfinite(fs):
        raise ValueError(f"fs must be a positive number of Hz, not {fs!r}")
    nperseg = None if nperseg is None else whole_number("nperseg", nperseg)
    if nperseg is not None and nperseg < 1:
        raise ValueError(f"nperseg must be positive, not {nperseg}")
    named = isinstance(window, str | tuple | float | int)
    if named:
        nperseg = 256 if nperseg is None else nperseg
        if n is not None and nperseg > n:
            warnings.warn(f"nperseg = {nperseg} is greater than the input's length {n}: using nperseg = {n}", stacklevel=3)
            nperseg = n
        size = nperseg
    else:
        window = _given(window, n, nperseg)
        size = len(window)
    noverlap = size // share if noverlap is None else whole_number("noverlap", noverlap)
    if not 0 <= noverlap < size:
        raise ValueError(f"noverlap must be at least 0 and less than nperseg = {size}, not {noverlap}")
    detrend = "none" if detrend is False or detrend is None else detrend
    if not isinstance(detrend, str) or detrend not in DETREND:
        raise ValueError(f"detrend must be one of {', '.join(DETREND)} or False, not {detrend!r}")
    if scaling not in ("density", "spectrum"):
        raise ValueError(f"scaling must be density or spectrum, not {scaling!r}")
    try:
        make: Callable[..., Cut] = _kept if named else _made
        return make(window, size, size - noverlap, float(fs), detrend, scaling)
    except TypeError:  # a tuple that holds a list has no hash
        return _made(window, size, size - noverlap, float(fs), detrend, scaling)


def _given(window: Any, n: int | None, nperseg: int | None) -> NDArray[np.float64]:
    w = np.array(window, np.float64)
    if w.ndim != 1 or not w.size:
        raise ValueError(f"window must be one row of values, not of shape {w.shape}")
    if nperseg not in (None, 256, w.size):  # 256 is the default and says nothing
        raise ValueError(f"nperseg must be the window's length {w.size}, not {nperseg}")
    if n is not None and w.size > n:
        raise ValueError(f"window must not be longer than the input: {w.size} > {n}")
    return w


def _made(window: Any, size: int, hop: int, fs: float, detrend: str, scaling: str) -> Cut:
    w = window if isinstance(window, np.ndarray) else np.asarray(get_window(window, size), np.float64)
    norm = fs * float(np.sum(w * w)) if scaling == "density" else float(np.sum(w)) ** 2
    scale = np.full(size // 2 + 1, 2.0 / norm)
    scale[0] /= 2.0
    if size % 2 == 0:
        scale[-1] = 1.0 / norm
    return Cut(w, hop, detrend, np.asarray(np.fft.rfftfreq(size, 1.0 / fs), np.float64), scale)


_kept = lru_cache(maxsize=64, typed=True)(_made)  # a window costs more than the spectrum of a short recording


def rounded(a: Array, kind: type[Any]) -> Array:
    """To float32 or complex64; the square of a huge sample is infinite there, and that is what is said."""
    with np.errstate(over="ignore"):
        return a.astype(kind)


def averaged(sums: Array, weight: Array | float, scale: Array, out: Array) -> Array:
    """sums * (scale / weight) into out, which may be sums itself or of half the precision; NaN where the weight is 0."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return np.multiply(sums, scale / weight, out=out, casting="same_kind")
