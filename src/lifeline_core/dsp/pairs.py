"""Delays of many pairs of channels at once: one matrix of averaged spectra, then weights, correlogram and peak per pair.

    x[n_ch, n] -> csd_matrix -> S[n_f, n_ch, n_ch] -> W S_ij -> inverse transform -> peak -> Newton on the phase

`dsp.delay` has the same steps one by one for one pair. Weights, peak and refinement are compiled (kernels/delay.c).

Source: Knapp and Carter, "The generalized correlation method for estimation of time delay", IEEE Trans. ASSP 24 (1976).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from lifeline_core.dsp._delay import Pairs
from lifeline_core.dsp.delay import POLARITIES, WEIGHTINGS
from lifeline_core.dsp.spectrum import csd_matrix
from lifeline_core.dsp.threads import shared

Real = NDArray[np.float64]
Array = NDArray[Any]

BATCH = 8  # pairs that go through one call of the transform: their correlograms stay in the cache
# Coherence is held this far below 1 under ht: as much as rounding leaves of the coherence of one segment.
CERTAIN = {np.dtype(np.complex64): 1e-6, np.dtype(np.complex128): 1e-12}
# A row whose strongest power is outside these is scaled before its spectra are taken; what is 100 dB below fits still.
FAR = {np.dtype(np.complex64): 1e20, np.dtype(np.complex128): 1e200}


@dataclass(frozen=True, slots=True, eq=False)
class Delays:
    """What the pairs of a set of channels say; row q belongs to ``pairs[q]`` = (a, b).

    Attributes
    ----------
    pairs : int64[n_pairs, 2]
    lags_s : float64[n_lags], rising, 0 in the middle.
    r : float[n_pairs, n_lags]
        Weighted correlogram, 1.0 = every frequency in phase.
    delay_s : float64[n_pairs]
        t_b - t_a at the exact top: positive when b is later. NaN where no frequency has power in both channels.
    peak : float64[n_pairs]
        r there, with its sign; 0 where there is no power.
    delay_sd_s : float64[n_pairs]
        Standard deviation from noise alone (`dsp.delay.delay_sd`); NaN without a duration, infinite where nothing coheres.
    f : float64[n_f], Hz.
    coherence : float[n_pairs, n_f], magnitude squared, 0 .. 1.
    """

    pairs: NDArray[np.int64]
    lags_s: Real
    r: Array
    delay_s: Real
    peak: Real
    delay_sd_s: Real
    f: Real
    coherence: Array


def _word(name: str, value: str, words: Sequence[str]) -> int:
    if value not in words:
        raise ValueError(f"{name} must be one of {', '.join(words)}, is {value!r}")
    return words.index(value)


@lru_cache(maxsize=16)
def _all(n_ch: int) -> NDArray[np.int64]:
    return np.stack(np.triu_indices(n_ch, 1), axis=1)


def _pairs(pairs: ArrayLike | None, n_ch: int) -> NDArray[np.int64]:
    """All pairs i < j, or those given, checked."""
    if pairs is None:
        return _all(n_ch).copy()
    given = np.asarray(pairs)
    if given.ndim != 2 or given.shape[1] != 2 or given.dtype.kind not in "iu":
        raise ValueError(f"pairs must be whole numbers [n_pairs, 2], are {given.dtype} of shape {given.shape}")
    if given.size and not (given.min() >= 0 and given.max() < n_ch):
        raise ValueError(f"pairs must lie within 0 .. {n_ch - 1}, run from {given.min()} to {given.max()}")
    return np.ascontiguousarray(given, np.int64)


def _say(f: Real, band: tuple[float, float] | None, halved: bool) -> tuple[Real, int, int]:
    """How much each line counts, and from which to which: not 0 Hz; ``halved``: the last counts half."""
    say = np.ones(f.size)
    say[0] = 0.0
    if halved:
        say[-1] = 0.5
    lo, hi = 1, f.size
    if band is not None:
        low, high = band
        if not 0.0 <= low < high:
            raise ValueError(f"band must rise from 0 or more, is {band}")
        lo, hi = max(1, int(np.searchsorted(f, low))), int(np.searchsorted(f, high, "right"))
        if lo >= hi:
            raise ValueError(f"band must hold at least one frequency of the grid of {f[1] - f[0]} Hz, is {band}")
        say[:lo] = say[hi:] = 0.0
    return say, lo, hi


def from_spectra(f: ArrayLike, s: ArrayLike, *, pairs: ArrayLike | None = None, weighting: str = "ht",
                 band: tuple[float, float] | None = None, max_delay_s: float | None = None, polarity: str = "same",
                 nperseg: int | None = None, duration_s: float = float("nan"), finer: int = 2, threads: int = 1) -> Delays:
    """Delays of pairs of channels from the matrix of averaged spectra that `dsp.csd_matrix` or `dsp.Running` gives.

    Every pair's numbers are its own: neither the other pairs nor the threads change a bit of them.

    Parameters
    ----------
    f : float[n_f], Hz, the whole one-sided grid from 0.
    s : complex[n_f, n_ch, n_ch]
        ``mean conj(X_i) X_j``, one-sided as scipy scales it; complex64 gives float32 correlograms, anything else float64.
    duration_s : seconds in the averages; only delay_sd_s needs it.
    nperseg : samples per segment, default 2 (n_f - 1).
    finer : lags are this many times as fine as the samples, 2 or more.

    Other Parameters
    ----------------
    As in `correlate_pairs`.

    Raises
    ------
    ValueError
        Shapes that do not fit, a word that is not known, a band or a delay outside its range.
    """
    f, s = np.asarray(f, np.float64), np.asarray(s)
    if s.ndim != 3 or s.shape[1] != s.shape[2] or f.shape != s.shape[:1] or f.size < 3:
        raise ValueError(f"s must be [n_f, n_ch, n_ch] with f [n_f], n_f 3 or more, are of shape {s.shape} and {f.shape}")
    s = np.ascontiguousarray(s, np.complex64 if s.dtype == np.complex64 else np.complex128)
    size = 2 * (f.size - 1) if nperseg is None else int(nperseg)
    if size // 2 + 1 != f.size:
        raise ValueError(f"nperseg must be {2 * f.size - 2} or {2 * f.size - 1} for {f.size} frequencies, is {nperseg}")
    fs, which = size * float(f[1] - f[0]), _pairs(pairs, s.shape[1])
    # the line at half the rate stands for both signs of frequency; a one-sided S12 says so itself, a ratio of powers cannot
    say, lo, hi = _say(f, band, size % 2 == 0 and weighting != "cc")
    work = Pairs(s, say, lo, hi, _word("weighting", weighting, WEIGHTINGS), _word("polarity", polarity, POLARITIES),
                 CERTAIN[s.dtype], finer * size // 2 + 1)
    edge = _edge(max_delay_s, fs, size, finer)
    real = s.real.dtype
    r, coherence = np.empty((len(which), 2 * edge + 1), real), np.empty((len(which), f.size), real)
    at, peak, sums = np.empty(len(which)), np.empty(len(which)), np.empty((len(which), 3))

    def part(begin: int, end: int) -> None:
        cross = np.zeros((min(BATCH, end - begin), finer * size // 2 + 1), s.dtype)
        for i in range(begin, end, BATCH):
            rows = slice(i, min(i + BATCH, end))
            work.weigh(which[rows], cross, coherence[rows], sums[rows])
            full = fft.irfft(cross[: rows.stop - i], finer * size, axis=1)
            work.peaks(cross, full, sums[rows], r[rows], at[rows], peak[rows])

    if len(which):
        shared(part, len(which), threads, unit=BATCH)
    lags = np.arange(-edge, edge + 1) / (finer * fs)
    return Delays(which, lags, r, at / (finer * fs), peak, _deviation(sums, float(f[1] - f[0]), duration_s), f, coherence)


def _edge(max_delay_s: float | None, fs: float, size: int, finer: int) -> int:
    """The largest lag in steps of the fine grid; a quarter of a segment is the most (see `dsp.delay.correlogram`)."""
    if isinstance(finer, bool) or int(finer) != finer or finer < 2:
        raise ValueError(f"finer must be a whole number of 2 or more, is {finer!r}")
    reach = 0.25 * size / fs
    if max_delay_s is not None and not 0.0 < max_delay_s <= reach * (1.0 + 1e-9):
        raise ValueError(f"max_delay_s must be above 0 and at most a quarter of a segment, {reach} s, is {max_delay_s}")
    return int((reach if max_delay_s is None else max_delay_s) * fs * finer * (1.0 + 1e-9))


def _deviation(sums: Real, df: float, duration_s: float) -> Real:
    """Knapp and Carter's standard deviation from sums over lines: sqrt(top / (2 T df)) / (2 pi df bottom)."""
    top, bottom = sums[:, 1], sums[:, 2]
    sd = np.sqrt(top / (2.0 * duration_s * df)) / (2.0 * np.pi * df)
    return np.divide(sd, bottom, out=np.full(len(sums), np.inf), where=bottom != 0.0)


def _gain(row: Array) -> int:
    """Power of two that brings the largest sample near 1; 0 for one that is near, silent or not finite."""
    most = max(float(row.max()), -float(row.min()))
    if not np.isfinite(most) or most == 0.0 or 1e-8 < most < 1e8:
        return 0
    return -int(np.frexp(most)[1])


def _matrix(x: Array, fs: float, asked: dict[str, Any]) -> tuple[Real, Array]:
    """`csd_matrix`, once more with rows scaled where a power would leave the range of its type."""
    with np.errstate(over="ignore", invalid="ignore"):
        f, s = csd_matrix(x, fs, **asked)
    most = np.array([s[:, i, i].real.max() for i in range(len(x))])
    far = FAR[s.dtype]
    if ((most > 1.0 / far) & (most < far)).all():
        return f, s
    gain = [0 if 1.0 / far < m < far else _gain(row) for m, row in zip(most, x, strict=True)]
    if not any(gain):
        return f, s
    scaled = np.stack([np.ldexp(row, g) for row, g in zip(x, gain, strict=True)])
    return csd_matrix(scaled, fs, **asked)


def _linked(pairs: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Numbers of the pairs, grouped so that groups have no channel in common."""
    root: dict[int, int] = {}

    def find(i: int) -> int:
        while root.setdefault(i, i) != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    listed = pairs.tolist()
    for a, b in listed:
        root[find(b)] = find(a)
    groups: dict[int, list[int]] = {}
    for q, (a, _) in enumerate(listed):
        groups.setdefault(find(a), []).append(q)
    return [np.array(g) for g in groups.values()]


def correlate_pairs(x: ArrayLike, fs: float = 1.0, *, pairs: ArrayLike | None = None, weighting: str = "ht",
                    band: tuple[float, float] | None = None, nperseg: int = 1024, noverlap: int | None = None,
                    window: Any = "hann", detrend: Any = "constant", max_delay_s: float | None = None, polarity: str = "same",
                    finer: int = 2, threads: int = 1) -> Delays:
    """Delays between channels that began together: all pairs, or those asked for, from one set of transforms.

    Parameters
    ----------
    x : float[n_ch, n]
        Time last; float32 stays float32, anything else is computed in float64. A NaN makes the pairs of its channel NaN.
    fs : Hz.
    pairs : int[n_pairs, 2], optional
        (a, b) each; default every a < b. A group of channels that pairs link costs all of its cross-spectra, n^2 for n
        channels, however few of them are asked for; channels without a common pair cost each other nothing.
    weighting : {"ht", "phat", "scot", "roth", "cc"}
        See `dsp.delay.weights`; from the averaged spectra, so that with one segment (coherence 1) all but cc and roth agree.
    band : (low, high), optional
        Hz, both included. Default all but 0 Hz.
    nperseg, noverlap, window, detrend : as in `dsp.csd_matrix`.
    max_delay_s : largest lag shown and searched, at most and by default a quarter of a segment.
    polarity : {"same", "inverted", "either"}
        Which peak counts: the highest, the lowest, the largest in size.
    finer : lags are this many times as fine as the samples, 2 or more; the delay is exact for any.
    threads : the spectra, the pairs, or groups of channels are shared out over so many threads.

    Returns
    -------
    Delays

    Examples
    --------
    >>> s = np.random.default_rng(1).standard_normal(20000).astype(np.float32)
    >>> found = correlate_pairs([s[50:], s[:-50], s[20:-30]], 1000.0)
    >>> found.pairs.tolist(), (found.delay_s * 1000).round(2).tolist()
    ([[0, 1], [0, 2], [1, 2]], [50.0, 30.0, -20.0])
    """
    a = np.asarray(x)
    if a.ndim != 2 or a.size == 0 or a.dtype.kind not in "fiub":
        raise ValueError(f"x must be real samples [n_ch, n], is {a.dtype} of shape {a.shape}")
    asked: dict[str, Any] = {"window": window, "nperseg": nperseg, "noverlap": noverlap, "detrend": detrend}
    wanted: dict[str, Any] = {"weighting": weighting, "band": band, "max_delay_s": max_delay_s, "polarity": polarity,
                              "finer": finer}
    which = _pairs(pairs, len(a))

    def group(rows: NDArray[np.int64] | None, n: int) -> Delays:
        y, local = (a, which) if rows is None else _alone(a, which[rows])
        f, s = _matrix(y, fs, {**asked, "threads": n})
        size = min(nperseg if isinstance(window, str | tuple | float | int) else len(window), a.shape[1])
        hop = size - (size // 2 if noverlap is None else noverlap)
        duration = ((a.shape[1] - size) // hop * hop + size) / fs
        return from_spectra(f, s, pairs=local, nperseg=size, duration_s=duration, threads=n, **wanted)

    groups = [] if pairs is None else _linked(which)
    if len(groups) < 2:
        return group(groups[0] if groups else None, threads)
    parts = shared(lambda begin, end: [group(g, 1) for g in groups[begin:end]], len(groups), threads)
    return _joined(which, groups, [d for part in parts for d in part])


def _alone(x: Array, pairs: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """The rows of x that these pairs name, and the pairs in their numbers."""
    channels, own = np.unique(pairs, return_inverse=True)
    return (x, pairs) if len(channels) == len(x) else (x[channels], own.reshape(-1, 2))


def _joined(which: NDArray[np.int64], groups: list[NDArray[np.int64]], found: list[Delays]) -> Delays:
    """The groups' rows in the order of the pairs."""
    out: dict[str, Any] = {"pairs": which, "lags_s": found[0].lags_s, "f": found[0].f}
    for name in (f.name for f in fields(Delays) if f.name not in out):
        first = getattr(found[0], name)
        out[name] = np.empty((len(which), *first.shape[1:]), first.dtype)
        for rows, part in zip(groups, found, strict=True):
            out[name][rows] = getattr(part, name)
    return Delays(**out)
