"""Averaged spectra: Welch's power spectrum, all cross-spectra at once, coherence, the spectrogram.

    P[k]    = c_k / (fs sum w^2) * mean_s |X_s[k]|^2          c_k = 2, but 1 at 0 Hz and, for even nperseg, at fs/2
    S_ij[k] = c_k / (fs sum w^2) * mean_s conj(X_is[k]) X_js[k]
    C_ij[k] = |S_ij[k]|^2 / (S_ii[k] S_jj[k])

dsp/segments.py says which samples are a segment; `Running` is the same for a stream. With ``threads=`` rows or stretches of
128 segments are shared out; the sums of the stretches are added up in their order with one thread too, so the numbers do
not depend on it.

Source: P. D. Welch, IEEE Trans. Audio Electroacoust. 15 (1967) 70-73; meaning and edge cases as in scipy.signal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.dsp.medians import medians
from lifeline_core.dsp.running import Running
from lifeline_core.dsp.segments import GROUP, Array, Cut, Window, averaged, cut, rounded, samples
from lifeline_core.dsp.threads import shared, thread_count

__all__ = ["Running", "coherence", "coherence_matrix", "csd_matrix", "spectrogram", "welch"]


def _rowwise(rows: int, parts: int, threads: int) -> bool:
    """Whether threads sharing out rows are kept as busy as threads sharing out parts of the recording."""
    return rows / -(-rows // threads) >= parts / -(-parts // threads)


def welch(x: ArrayLike, fs: float = 1.0, *, window: Window = "hann", nperseg: int | None = 256, noverlap: int | None = None,
          detrend: Any = "constant", scaling: str = "density", average: str = "mean",
          threads: int = 1) -> tuple[NDArray[np.float64], Array]:
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
    average : "mean", or "median" divided by what the median of so many segments of Gaussian noise is of their mean: a few
        loud segments do not count. Of one row up to 64 MiB of bins are held; where there are more, the row is transformed again.
    threads : at most so many; the numbers do not depend on it.

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
    a, single = samples(x)
    how = cut(a.shape[-1], fs, window, nperseg, noverlap, detrend, scaling)
    threads, rows = thread_count(threads), a.reshape(-1, a.shape[-1])
    if average == "median":
        p = medians(how, rows, single, threads)
        p = rounded(p, np.float32) if single else p
    elif average == "mean":
        p = _means(how, rows, single, threads)
    else:
        raise ValueError(f"average must be mean or median, not {average!r}")
    return how.f.copy(), p.reshape(*a.shape[:-1], -1)


def _means(how: Cut, rows: Array, single: bool, threads: int) -> Array:
    n_seg, kind = how.whole(rows.shape[1]), np.float32 if single else np.float64
    out = np.empty((len(rows), len(how.f)), kind)

    def part(begin: int, end: int, spread: int = 1) -> None:
        averaged(how.powers(rows[begin:end], single, spread), n_seg, how.scale, out=out[begin:end])

    if _rowwise(len(rows), how.parts(rows.shape[1]), threads):
        shared(part, len(rows), threads)
    else:
        part(0, len(rows), threads)
    return out


def _rows(x: ArrayLike) -> tuple[Array, bool]:
    a, single = samples(x)
    if a.ndim != 2:
        raise ValueError(f"x must be [n_ch, n], not of shape {a.shape}")
    return a, single


def csd_matrix(x: ArrayLike, fs: float = 1.0, *, window: Window = "hann", nperseg: int | None = 256, noverlap: int | None = None,
               detrend: Any = "constant", scaling: str = "density", threads: int = 1) -> tuple[NDArray[np.float64], Array]:
    """Estimate all cross-spectra of the rows of x from one set of transforms.

    ``S[:, i, j] == scipy.signal.csd(x[i], x[j])``, that is ``mean conj(X_i) X_j``: where row j is row i delayed by d
    seconds, the phase of S[:, i, j] is -2 pi f d. Keywords as in `welch`. Threads share out stretches of 128 segments.

    Returns
    -------
    f : float64[n_f], Hz.
    S : complex[n_f, n_ch, n_ch], Hermitian; complex64 for float32 samples, else complex128.
    """
    a, single = _rows(x)
    how = cut(a.shape[1], fs, window, nperseg, noverlap, detrend, scaling)
    s = how.matrices(a, single, thread_count(threads), scaled=True)
    return how.f.copy(), rounded(s, np.complex64) if single and s.dtype != np.complex64 else s


def coherence_matrix(x: ArrayLike, fs: float = 1.0, *, window: Window = "hann", nperseg: int | None = 256,
                     noverlap: int | None = None, detrend: Any = "constant",
                     threads: int = 1) -> tuple[NDArray[np.float64], Array]:
    """Estimate the coherence of every two rows of x from one set of transforms. Keywords as in `welch`.

    Returns
    -------
    f : float64[n_f], Hz.
    C : float[n_f, n_ch, n_ch], 0 .. 1, symmetric: `coherence` of rows i and j.
    """
    a, single = _rows(x)
    how = cut(a.shape[1], fs, window, nperseg, noverlap, detrend, "density")
    sums = how.matrices(a, single, thread_count(threads))
    return how.f.copy(), _coherent(sums).astype(np.float32 if single else np.float64)


def coherence(x: ArrayLike, y: ArrayLike, fs: float = 1.0, *, window: Window = "hann", nperseg: int | None = 256,
              noverlap: int | None = None, detrend: Any = "constant", threads: int = 1) -> tuple[NDArray[np.float64], Array]:
    """Estimate the magnitude-squared coherence of x and y: which part of the power at f is common to both, linearly.

    As `scipy.signal.coherence`, from one set of transforms. Never above 1; 0 where a channel has no power. One segment alone
    says 1 everywhere: n independent segments of two unrelated channels show 1/n on average.

    Parameters
    ----------
    x, y : float[..., n]
        Equally long, leading axes broadcast; float32 where both are. A NaN makes its pair NaN.
    others : as in `welch`.

    Returns
    -------
    f : float64[n_f], Hz.
    C : float[..., n_f], 0 .. 1.

    Raises
    ------
    ValueError
        x and y do not go together, or as in `welch`.

    Examples
    --------
    >>> x = np.random.default_rng(1).standard_normal(4096)
    >>> f, c = coherence(x, -3.0 * x)
    >>> round(float(c.min()), 12)
    1.0
    """
    a, b, single = _alike(x, y)
    how = cut(a.shape[-1], fs, window, nperseg, noverlap, detrend, "density")
    threads, kind = thread_count(threads), np.float32 if single else np.float64
    pairs = list(np.ndindex(a.shape[:-1]))
    out = np.empty((*a.shape[:-1], len(how.f)), kind)

    def part(begin: int, end: int, spread: int = 1) -> None:
        for at in pairs[begin:end]:
            both = np.array((a[at], b[at]), kind)
            out[at] = _coherent(how.matrices(both, single, spread))[:, 0, 1]

    if _rowwise(len(pairs), how.parts(a.shape[-1]), threads):
        shared(part, len(pairs), threads)
    else:
        part(0, len(pairs), threads)
    return how.f.copy(), out


def _alike(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array, bool]:
    """Both in one shape, and whether both are float32."""
    (a, single), (b, other) = samples(x), samples(y, "y")
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"x and y must be equally long, not {a.shape[-1]} and {b.shape[-1]} samples")
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise ValueError(f"x and y must go together row by row, not be of shapes {a.shape} and {b.shape}") from None
    return np.broadcast_to(a, shape), np.broadcast_to(b, shape), single and other


def _coherent(s: Array) -> Array:
    """|S_ij|^2 / (S_ii S_jj); by amplitudes, because a product of two powers may leave the range of a double."""
    amplitude = np.sqrt(np.einsum("fii->fi", s).real)
    silent, i, j = amplitude == 0.0, amplitude[:, :, None], amplitude[:, None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        c: Array = np.abs(s) / np.maximum(i, j) / np.minimum(i, j)  # in this order for i, j and for j, i
    np.minimum(np.square(c, out=c), 1.0, out=c)
    if silent.any():
        c[silent[:, :, None] | silent[:, None, :]] = 0.0
    return c


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
    a, single = samples(x)
    how = cut(a.shape[-1], fs, window, nperseg, noverlap, detrend, scaling, share=8)
    threads, rows = thread_count(threads), a.reshape(-1, a.shape[-1])
    n_seg = how.whole(a.shape[-1])

    def some_rows(begin: int, end: int) -> Array:
        with how.lent(end - begin, single) as stream:
            return stream.each(rows[begin:end], how.scale)

    def some_segments(begin: int, end: int) -> Array:
        with how.lent(len(rows), single) as stream:
            return stream.each(rows[:, how.samples(begin, end)], how.scale)

    if _rowwise(len(rows), -(-n_seg // GROUP), threads):
        p = _joined(shared(some_rows, len(rows), threads), 0)
    else:
        p = _joined(shared(some_segments, n_seg, threads, unit=GROUP), 1)
    t = np.asarray((np.arange(n_seg) * how.hop + how.n / 2) / fs, np.float64)
    p = rounded(p, np.float32) if single and p.dtype != np.float32 else p
    return how.f.copy(), t, np.moveaxis(p, 1, 2).reshape(*a.shape[:-1], len(how.f), -1)


def _joined(parts: list[Array], axis: int) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=axis)
