"""Averaged spectra: Welch's power spectrum, all cross-spectra at once, the spectrogram, and the running twin of them.

    samples    |....hop....|....hop....|....hop....|          hop = nperseg - noverlap
    segment 0  [=======nperseg=======]                        a segment counts once its last sample is there;
    segment 1              [=======nperseg=======]            what is left over at the end of a recording is not used
    segment 2                          [=======nperseg=======]

    P[k]    = c_k / (fs sum w^2) * mean_s |X_s[k]|^2          c_k = 2, but 1 at 0 Hz and, for even nperseg, at fs/2
    S_ij[k] = c_k / (fs sum w^2) * mean_s conj(X_is[k]) X_js[k]

float32 with nperseg a power of two from 16 to 65536 runs in compiled lanes (kernels/spectrum.c), everything else in
scipy.fft in float64 behind the same door.

Source: P. D. Welch, IEEE Trans. Audio Electroacoust. 15 (1967) 70-73; meaning and edge cases as in scipy.signal.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import median_filter
from scipy.signal import get_window

from lifeline_core.dsp._spectrum import Lanes
from lifeline_core.dsp.transforms import DETREND, Library

Window = str | tuple[Any, ...] | float | NDArray[Any] | Sequence[float]
Array = NDArray[Any]

LANES = frozenset(1 << k for k in range(4, 17))  # the lengths that the compiled lanes take


@dataclass(frozen=True)
class _Cut:
    """How rows are cut into segments, and what a sum over segments must be multiplied by."""

    window: NDArray[np.float64]
    hop: int
    detrend: str
    f: NDArray[np.float64]
    scale: NDArray[np.float64]

    @property
    def n(self) -> int:
        return len(self.window)

    def stream(self, n_ch: int, single: bool, *, cross: bool = False, skip: bool = False, batch: int = 64) -> Any:
        """Something with push, power, matrix, each, reset, restart, save, load for n_ch rows."""
        if single and self.n in LANES:
            return Lanes(self.window.astype(np.float32), self.hop, n_ch, DETREND[self.detrend], cross, skip)
        return Library(self.window, self.hop, n_ch, DETREND[self.detrend], cross, skip, batch)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or int(value) != value:
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    return int(value)


def _cut(n: int | None, fs: float, window: Window, nperseg: int | None, noverlap: int | None, detrend: Any, scaling: str,
         share: int = 2) -> _Cut:
    """The keywords, checked as scipy checks them; n samples are there (None: a stream), overlap defaults to nperseg // share."""
    if not fs > 0 or not np.isfinite(fs):
        raise ValueError(f"fs must be a positive number of Hz, not {fs!r}")
    nperseg = None if nperseg is None else _whole("nperseg", nperseg)
    if nperseg is not None and nperseg < 1:
        raise ValueError(f"nperseg must be positive, not {nperseg}")
    if isinstance(window, str | tuple | float | int):
        nperseg = 256 if nperseg is None else nperseg
        if n is not None and nperseg > n:
            warnings.warn(f"nperseg = {nperseg} is greater than the input's length {n}: using nperseg = {n}", stacklevel=3)
            nperseg = n
        w = np.asarray(get_window(window, nperseg), np.float64)
    else:
        w = np.asarray(window, np.float64)
        if w.ndim != 1 or not w.size:
            raise ValueError(f"window must be one row of values, not of shape {w.shape}")
        if nperseg not in (None, 256, w.size):  # 256 is the default and says nothing
            raise ValueError(f"nperseg must be the window's length {w.size}, not {nperseg}")
        if n is not None and w.size > n:
            raise ValueError(f"window must not be longer than the input: {w.size} > {n}")
    noverlap = w.size // share if noverlap is None else _whole("noverlap", noverlap)
    if not 0 <= noverlap < w.size:
        raise ValueError(f"noverlap must be at least 0 and less than nperseg = {w.size}, not {noverlap}")
    detrend = "none" if detrend is False or detrend is None else detrend
    if not isinstance(detrend, str) or detrend not in DETREND:
        raise ValueError(f"detrend must be one of {', '.join(DETREND)} or False, not {detrend!r}")
    if scaling not in ("density", "spectrum"):
        raise ValueError(f"scaling must be density or spectrum, not {scaling!r}")
    norm = fs * float(np.sum(w * w)) if scaling == "density" else float(np.sum(w)) ** 2
    scale = np.full(w.size // 2 + 1, 2.0 / norm)
    scale[0] /= 2.0
    if w.size % 2 == 0:
        scale[-1] = 1.0 / norm
    f = np.asarray(np.fft.rfftfreq(w.size, 1.0 / fs), np.float64)
    return _Cut(w, w.size - noverlap, detrend, f, scale)


def _samples(x: ArrayLike) -> tuple[Array, bool]:
    """As float32 (True) or float64 (False) with samples side by side; empty, complex and scalars are refused."""
    a = np.asarray(x)
    if a.ndim == 0 or a.size == 0:
        raise ValueError(f"x must hold samples along its last axis, not be of shape {a.shape}")
    if a.dtype.kind not in "fiub":
        raise ValueError(f"x must be real numbers, not {a.dtype}")
    single = a.dtype.kind == "f" and a.dtype.itemsize <= 4
    return np.ascontiguousarray(a, np.float32 if single else np.float64), single


def _mean(total: Array, used: Array) -> Array:
    return np.divide(total, used, out=np.full_like(total, np.nan), where=used > 0)


def _single(a: Array, kind: type[Any] = np.float32) -> Array:
    """To float32 or complex64; the square of a huge sample is infinite there, and that is what is said."""
    with np.errstate(over="ignore"):
        return a.astype(kind)


def _shared(work: Callable[[int, int], Any], n: int, threads: int, unit: int = 1) -> list[Any]:
    """work(begin, end) over 0..n in as many contiguous parts as there are threads, borders at multiples of unit."""
    threads = max(1, min(_whole("threads", threads), -(-n // unit)))
    border = [min(n, -(-n * i // (threads * unit)) * unit) for i in range(threads + 1)]
    parts = [(a, b) for a, b in pairwise(border) if b > a]
    if len(parts) == 1:
        return [work(*parts[0])]
    with ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(work, *zip(*parts, strict=True)))


def welch(x: ArrayLike, fs: float = 1.0, *, window: Window = "hann", nperseg: int | None = 256, noverlap: int | None = None,
          detrend: Any = "constant", scaling: str = "density", threads: int = 1) -> tuple[NDArray[np.float64], Array]:
    """Estimate the power spectrum of each row by averaging the spectra of overlapping segments.

    Parameters
    ----------
    x : float[..., n]
        Samples, time last; float32 stays float32, anything else is computed in float64. A NaN makes its row NaN.
    fs : samples per second, Hz.
    window : a name or tuple for `scipy.signal.get_window`, or the window itself.
    nperseg : samples per segment; longer than x: all of x is one segment, with a warning.
    noverlap : samples that neighbours share, default nperseg // 2.
    detrend : what is taken off each segment: "constant", "linear", or False ("none").
    scaling : "density" in unit^2/Hz or "spectrum" in unit^2.
    threads : rows are shared out over so many threads; the numbers do not depend on it.

    Returns
    -------
    f : float64[nperseg // 2 + 1], Hz.
    Pxx : float[..., nperseg // 2 + 1], one-sided.

    Raises
    ------
    ValueError
        x is empty or not real, or a keyword is outside its rule.

    Examples
    --------
    A sine of 3 m/s2 amplitude has a mean square of 4.5:

    >>> t = np.arange(4096) / 64
    >>> f, p = welch(np.float32(3) * np.sin(2 * np.pi * 8 * t).astype(np.float32), 64.0, nperseg=512)
    >>> float(f[p.argmax()]), round(float(p.sum() * f[1]), 3)
    (8.0, 4.5)
    """
    a, single = _samples(x)
    cut = _cut(a.shape[-1], fs, window, nperseg, noverlap, detrend, scaling)
    rows = a.reshape(-1, a.shape[-1])

    def part(begin: int, end: int) -> Array:
        stream = cut.stream(end - begin, single)
        stream.push(rows[begin:end])
        return _mean(*_per_row(stream.power())) * cut.scale

    p = np.concatenate(_shared(part, len(rows), threads)).reshape(*a.shape[:-1], -1)
    return cut.f, _single(p) if single else p


def _per_row(sums: tuple[Array, Array]) -> tuple[Array, Array]:
    return sums[0], sums[1][:, None]


def csd_matrix(x: ArrayLike, fs: float = 1.0, *, window: Window = "hann", nperseg: int | None = 256, noverlap: int | None = None,
               detrend: Any = "constant", scaling: str = "density", threads: int = 1) -> tuple[NDArray[np.float64], Array]:
    """Estimate all cross-spectra of the rows of x from one set of transforms.

    ``S[:, i, j] == scipy.signal.csd(x[i], x[j])``, that is ``mean conj(X_i) X_j``: where row j is row i delayed by d
    seconds, the phase of S[:, i, j] is -2 pi f d. Keywords as in `welch`. With threads > 1 each thread sums a stretch of the
    recording and the sums are added at the end: the last digit may differ from one thread's.

    Returns
    -------
    f : float64[n_f], Hz.
    S : complex[n_f, n_ch, n_ch], Hermitian; complex64 for float32 samples, else complex128.
    """
    a, single = _samples(x)
    if a.ndim != 2:
        raise ValueError(f"x must be [n_ch, n], not of shape {a.shape}")
    cut = _cut(a.shape[-1], fs, window, nperseg, noverlap, detrend, scaling)
    n_seg = 1 + (a.shape[1] - cut.n) // cut.hop

    def part(begin: int, end: int) -> Any:
        stream = cut.stream(len(a), single, cross=True)
        stream.push(a[:, begin * cut.hop : (end - 1) * cut.hop + cut.n])
        return stream.matrix()

    parts = _shared(part, n_seg, threads, unit=8)
    total = sum(p[0] for p in parts[1:]) + parts[0][0] if len(parts) > 1 else parts[0][0]
    s = total * (cut.scale / n_seg)[:, None, None]
    return cut.f, _single(s, np.complex64) if single else s


def spectrogram(x: ArrayLike, fs: float = 1.0, *, window: Window = "hann", nperseg: int | None = 256, noverlap: int | None = None,
                detrend: Any = "constant", scaling: str = "density",
                threads: int = 1) -> tuple[NDArray[np.float64], NDArray[np.float64], Array]:
    """Power spectrum of every segment by itself. Keywords as in `welch`, but noverlap defaults to nperseg // 8, as in scipy.

    Returns
    -------
    f : float64[n_f], Hz.
    t : float64[n_t], seconds from the first sample to the middle of each segment.
    Sxx : float[..., n_f, n_t].
    """
    a, single = _samples(x)
    cut = _cut(a.shape[-1], fs, window, nperseg, noverlap, detrend, scaling, share=8)
    rows = a.reshape(-1, a.shape[-1])

    def part(begin: int, end: int) -> Array:
        each: Array = cut.stream(end - begin, single).each(rows[begin:end], cut.scale)
        return each

    p = np.concatenate(_shared(part, len(rows), threads))
    p = _single(p) if single else p
    t = np.asarray((np.arange(p.shape[1]) * cut.hop + cut.n / 2) / fs, np.float64)
    return cut.f, t, np.moveaxis(p, 1, 2).reshape(*a.shape[:-1], len(cut.f), -1)


class Running:
    """The spectra of a stream of float32 blocks: `welch` and `csd_matrix` of everything pushed so far.

    The same numbers, bit for bit, however the stream is cut and whenever somebody looks; `save` and `load` go on bit for
    bit. Keywords as in `welch`. With ``skip_nan`` a segment that holds a NaN or an infinity is left out of its row's
    average (and of the row's cross-spectra); without, the row is NaN until `reset`, as in `welch`.

    Examples
    --------
    >>> x = np.random.default_rng(1).standard_normal((2, 5000)).astype(np.float32)
    >>> running = Running(2, 100.0, nperseg=256)
    >>> for begin in range(0, 5000, 77):
    ...     running.push(x[:, begin:begin + 77])
    >>> bool(np.array_equal(running.spectrum()[1], welch(x, 100.0, nperseg=256)[1])), running.segments.tolist()
    (True, [38, 38])
    """

    def __init__(self, n_ch: int, fs: float = 1.0, *, window: Window = "hann", nperseg: int | None = 256,
                 noverlap: int | None = None, detrend: Any = "constant", scaling: str = "density", cross: bool = False,
                 skip_nan: bool = False) -> None:
        if n_ch < 1:
            raise ValueError(f"n_ch must be at least 1, not {n_ch}")
        self.n_ch, self.cross = n_ch, cross
        self._cut = _cut(None, fs, window, nperseg, noverlap, detrend, scaling)
        self._stream: Any = self._cut.stream(n_ch, True, cross=cross, skip=skip_nan, batch=1)

    @property
    def f(self) -> NDArray[np.float64]:
        """Frequencies of the bins, Hz."""
        return self._cut.f

    @property
    def segments(self) -> NDArray[np.int64]:
        """How many segments are in each row's average, int64[n_ch]."""
        used: NDArray[np.int64] = self._stream.power()[1]
        return used

    def push(self, x: NDArray[np.float32]) -> None:
        """Take float32[n_ch, n] in; n may be anything."""
        self._stream.push(x)

    def spectrum(self) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """f and Pxx float32[n_ch, n_f]; NaN for a row without a segment."""
        return self.f, self.read()[0]

    def read(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Pxx float32[n_ch, n_f] and the segments in it, int64[n_ch], of one moment."""
        power = self._stream.power()
        return _single(_mean(*_per_row(power)) * self._cut.scale), power[1]

    def csd_matrix(self) -> tuple[NDArray[np.float64], NDArray[np.complex64]]:
        """f and S complex64[n_f, n_ch, n_ch]; ValueError without ``cross=True``."""
        if not self.cross:
            raise ValueError("csd_matrix needs Running(..., cross=True)")
        total, used = self._stream.matrix()
        s = _mean(total, np.broadcast_to(used, total.shape)) * self._cut.scale[:, None, None]
        return self.f, _single(s, np.complex64)

    def reset(self) -> None:
        """Forget everything."""
        self._stream.reset()

    def restart(self) -> None:
        """A seam in the stream: keep the averages, drop the segment that is not complete."""
        self._stream.restart()

    def save(self) -> bytes:
        """The state as versioned bytes."""
        state: bytes = self._stream.save()
        return state

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError unless made with the same keywords."""
        self._stream.load(state)


def _local_median(p: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Median of the ``size`` values around each; a wide window is read in 32 parts, or this would cost more than the spectrum."""
    part = max(1, size // 32)
    whole = p.size // part
    medians = np.partition(p[: whole * part].reshape(whole, part), part // 2, axis=1)[:, part // 2]
    level = np.repeat(median_filter(medians, size=size // part | 1, mode="nearest"), part)
    return np.pad(level, (0, p.size - level.size), mode="edge")


def dominant_peaks(f: NDArray[np.float64], p: NDArray[Any], count: int = 4, *, f_min: float = 0.0, f_max: float = np.inf,
                   prominence: float = 3.0, separation: float = 0.02) -> list[float]:
    """Frequencies of the peaks that stand out most from the spectrum around them, the most prominent first.

    Prominence is the peak's power over the median power in a tenth of the band around it (of wide windows the median of
    the medians of their 32nd parts). The place between the bins is
    the top of the parabola through the logarithms of three bins (exact for a Gaussian line, within a few percent of a
    bin for a Hann window). Of several maxima within four bins, or ``separation`` of the frequency, only the most prominent
    is told.

    Parameters
    ----------
    f, p : float[n_f], evenly spaced frequencies and the power there.
    count : at most so many.
    f_min, f_max : Hz, where to look.
    prominence : least ratio to the local median.
    separation : least distance of two peaks relative to their frequency.

    Returns
    -------
    list of float, Hz
    """
    if len(f) < 8 or not np.all(np.isfinite(p)):
        return []
    size, step = max(9, len(f) // 10 | 1), float(f[1] - f[0])
    first = max(0, int((f_min - f[0]) / step) - size)  # what lies further out than a window is nobody's neighbour
    last = int(min((f_max - f[0]) / step, len(f))) + size
    f, p = f[first:last], p[first:last]
    level = _local_median(p.astype(np.float64), size)
    floor = np.maximum(prominence * level, 1e-10 * np.max(p))  # further down is rounding of the strongest line
    top = 1 + np.flatnonzero((p[1:-1] > p[:-2]) & (p[1:-1] >= p[2:]) & (p[1:-1] >= floor[1:-1]) & (level[1:-1] > 0))
    top = top[(f[top] >= f_min) & (f[top] <= f_max) & (np.minimum(p[top - 1], p[top + 1]) > 0)]
    found: list[float] = []
    for k in top[np.argsort(-(p[top] / level[top]), kind="stable")]:
        left, mid, right = np.log(p[k - 1 : k + 2].astype(np.float64))
        at = float(f[k] + 0.5 * step * (left - right) / (left - 2.0 * mid + right))
        if all(abs(at - other) > max(4 * step, separation * other) for other in found):
            found.append(at)
        if len(found) == count:
            break
    return found
