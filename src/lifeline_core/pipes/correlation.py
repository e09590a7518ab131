"""Two loggers on one pipe: is there one noise that both hear, and by how much later does b hear it than a?

::

    segments -> averaged S11, S22, S12 -> coherent band -> weighted correlogram -> peak -> verdict

The delay is t_b - t_a: positive when the source is nearer to a. `correlate` takes two whole recordings; a stream feeds
a `CrossAverage` and asks `analyse` whenever it has heard enough: the arithmetic is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.dsp import delay as tde
from lifeline_core.pipes.band import FEWEST, MAINS_HZ, best_lag, coherent_band, lines, log10_chance, smooth_coherence, weighted
from lifeline_core.pipes.spectra import Spectra, cross_spectra, segment_length

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Demands:
    """What a correlation must show to be accepted; every figure is a number of the result."""

    psr: float = 1.25  # peak over the next peak
    log10_chance: float = -9.0  # of unrelated channels doing as well, over all bands and lags that were open
    coherence: float = 0.0  # mean over the band
    segments: int = 8  # that could be used; those few that are far louder than the rest must be worth half as many
    clipped: float = 0.005  # share of samples at the ends


@dataclass(frozen=True, slots=True)
class Correlation:
    """The delay between two loggers, and everything it was judged by.

    ``lags_s``, ``r``: correlogram of the chosen weighting within the band, 1.0 = all frequencies in phase.
    ``delay_s`` t_b - t_a, ``delay_sd_s`` by Knapp and Carter (noise only). ``f``, ``coherence`` (magnitude squared),
    ``phase`` of S12 in rad: whole spectra. ``band`` (lowest, highest Hz used). ``psr`` peak over next peak, ``pmr``
    peak over mean size, ``ics`` RMS in seconds of the delays of parts of the record about their median.
    ``log10_chance``: of unrelated channels doing as well. ``phat_delay_s``: of the phase transform in the same band.
    ``reasons``: why it is not accepted, each ``word: numbers``.
    """

    lags_s: Real
    r: Real
    delay_s: float
    delay_sd_s: float
    f: Real
    coherence: Real
    phase: Real
    band: tuple[float, float]
    psr: float
    pmr: float
    ics: float
    accepted: bool
    reasons: tuple[str, ...]
    coherence_mean: float = 0.0
    log10_chance: float = 0.0
    phat_delay_s: float = float("nan")
    segments: int = 0
    segments_left_out: int = 0


def clipped_share(x: NDArray[Any]) -> float:
    """Share of samples that sit at the extremes, where those are more than the samples just short of them; else 0.

    The tail of noise thins out towards its extremes; the wall of a converter piles samples up there.
    """
    y = x[np.isfinite(x)]
    if y.size == 0 or y.min() == y.max():
        return 0.0
    low, high = float(y.min()), float(y.max())
    near = 0.02 * (high - low)
    at = int(np.count_nonzero((y == low) | (y == high)))
    short = int(np.count_nonzero(((y > low) & (y <= low + near)) | ((y < high) & (y >= high - near))))
    return at / y.size if at > short else 0.0


def _part_spread(s: Spectra, cross: Complex, max_delay_s: float) -> float:
    """ICS: RMS of the delays of the record's parts about their median; NaN with fewer than three parts."""
    w = tde.divide(np.abs(cross), np.abs(s.s12))
    parts = [p for p in s.parts if np.abs(p).any()]
    if len(parts) < 3:
        return float("nan")
    lags = []
    for part in parts:
        at, r = tde.correlogram(w * part, s.fs, s.nperseg, max_delay_s=max_delay_s, finer=2)
        lags.append(float(at[tde.pick(at, r)]))
    return float(np.sqrt(np.mean((np.array(lags) - np.median(lags)) ** 2)))


def analyse(
    s: Spectra,
    *,
    weighting: str = "ht",
    band: tuple[float, float] | None = None,
    max_delay_s: float | None = None,
    mains_hz: tuple[float, ...] = MAINS_HZ,
    polarity: str = "same",
    demands: Demands = Demands(),
    clipped: float = 0.0,
) -> Correlation:
    """The verdict on averaged spectra; see `correlate`."""
    reach = 0.25 * s.nperseg / s.fs
    limit = reach if max_delay_s is None else max_delay_s
    sign = -1.0 if polarity == "inverted" else 1.0
    open_ = ~lines(s, mains_hz)
    open_[:2] = open_[-1] = False
    if band is not None:
        open_ &= (s.f >= band[0]) & (s.f <= band[1])
    used = open_ if band is not None else coherent_band(s, open_, reach, sign=sign)
    coherent = int(used.sum())
    if not coherent:
        used = open_
    cross = sign * weighted(s, used, weighting)
    lag = best_lag(s, cross, limit)
    lags, r = tde.correlogram(cross, s.fs, s.nperseg, max_delay_s=reach)
    inside = np.abs(lags) <= limit * (1.0 + 1e-9)
    psr, pmr = tde.peak_ratios(r[inside], tde.pick(lags[inside], r[inside]))
    gamma2 = smooth_coherence(s, used)
    w = tde.divide(np.abs(cross), np.abs(s.s12))
    sd = tde.delay_sd(s.f, w, s.s11, s.s22, s.s12, gamma2, s.duration_s) if s.n and coherent else float("inf")
    at = s.f[used]
    found = Correlation(
        lags_s=lags[inside], r=r[inside], delay_s=lag, delay_sd_s=sd, f=s.f,
        coherence=tde.coherence(s.s11, s.s22, s.s12), phase=np.angle(s.s12),
        band=(float(at[0]), float(at[-1])) if at.size else (0.0, 0.0), psr=psr, pmr=pmr,
        ics=_part_spread(s, cross, limit), accepted=False, reasons=(),
        coherence_mean=float(gamma2[used].mean()) if at.size else 0.0,
        log10_chance=log10_chance(s, open_, used, lag, limit, sign=sign) if s.n else 0.0,
        phat_delay_s=best_lag(s, sign * weighted(s, used, "phat"), limit), segments=s.n, segments_left_out=s.left_out)
    reasons = _reasons(s, found, used, open_, coherent, float(r[~inside].max(initial=0.0)), demands, clipped)
    return replace(found, accepted=not reasons, reasons=tuple(reasons))


def _reasons(
    s: Spectra, c: Correlation, used: Mask, open_: Mask, coherent: int, beyond: float, demands: Demands, clipped: float
) -> list[str]:
    """Every ground for refusal as ``word: numbers``; none when the correlation is accepted."""
    found = []
    independent = s.effective(used)
    if s.n < demands.segments:
        found.append(f"too-short: {s.n} segments of {s.nperseg} samples could be used, {demands.segments} are needed")
    elif independent < demands.segments / 2.0:
        found.append(f"too-short: a few segments are so much louder that all {s.n} are worth {independent:.1f}, "
                     f"{demands.segments / 2.0} are needed")
    if clipped > demands.clipped:
        found.append(f"clipped: {clipped:.2%} of the samples are at the ends, at most {demands.clipped:.2%}")
    peak = float(c.r.max(initial=0.0))
    if coherent >= FEWEST and beyond > peak:
        found.append(f"outside-bracket: a peak of {beyond:.2f} lies beyond the longest delay, {peak:.2f} within")
        return found
    if coherent < FEWEST or c.log10_chance > demands.log10_chance or c.coherence_mean < demands.coherence:
        found.append(f"no-coherent-band: {coherent} of {int(open_.sum())} frequencies cohere, "
                     f"mean coherence {c.coherence_mean:.3f} (at least {demands.coherence}), "
                     f"chance 1e{c.log10_chance:.1f} (at most 1e{demands.log10_chance})")
        return found
    if c.psr < demands.psr:
        found.append(f"several-peaks: the highest is {c.psr:.2f} of the next, at least {demands.psr}")
    zero = max(1.0 / s.fs, 3.0 * c.delay_sd_s)
    if abs(c.delay_s) <= zero:
        found.append(f"lag-near-zero: {c.delay_s * 1e3:.3f} ms, at most {zero * 1e3:.3f} ms may be common to both loggers")
    return found


def correlate(
    a: ArrayLike,
    b: ArrayLike,
    fs: float,
    *,
    weighting: str = "ht",
    band: tuple[float, float] | None = None,
    nperseg: int | None = None,
    max_delay_s: float | None = None,
    mains_hz: tuple[float, ...] = MAINS_HZ,
    polarity: str = "same",
    demands: Demands = Demands(),
) -> Correlation:
    """Delay between two recordings that began together, with its error and a verdict.

    Runs twice where the delay is a good part of a segment: the second time both channels' segments hold the same
    stretch of the source.

    Parameters
    ----------
    a, b : array [n]
        Two loggers, same rate, same first instant. Segments that hold a NaN are left out.
    fs : float
        Hz.
    weighting : {"ht", "phat", "scot", "roth", "cc"}
        See `lifeline_core.dsp.delay.weights`.
    band : (low, high), optional
        Hz. Without it the band is found: coherent beyond chance, phase straight, no mains.
    nperseg : int, optional
        Segment length, even. Without it about 1 s, at least 8 longest delays, at most an eighth of the record.
    max_delay_s : float, optional
        Longest delay possible, normally the travel time between the loggers; at most a quarter of a segment.
    mains_hz : sequence of float
        These and every harmonic are never used.
    polarity : {"same", "inverted"}
        ``inverted``: one of the sensors is wired the other way round, on purpose.
    demands : Demands
        What must be shown to be accepted.

    Returns
    -------
    Correlation
        ``reasons`` for refusal: no-coherent-band, several-peaks, lag-near-zero (a noise common to both loggers looks
        like a leak in the exact middle: the two cannot be told apart), outside-bracket, too-short, clipped.

    Raises
    ------
    ValueError
        Channels of different length or shorter than a segment, rates and delays out of range, unknown words.

    Source
    ------
    Knapp and Carter 1976; figures of merit after Uchendu, Muggleton, White (quality of time delay estimates in leak
    location); the straight-phase demand after Gao et al. (resonances bend the phase of the cross spectrum).
    """
    x = np.stack(_pair(a, b))
    if not (np.isfinite(fs) and fs > 0):
        raise ValueError(f"fs must be above 0 and finite, is {fs}")
    if max_delay_s is not None and not 0.0 < max_delay_s < x.shape[1] / fs:
        raise ValueError(f"max_delay_s must be above 0 and shorter than the record, is {max_delay_s}")
    if polarity not in ("same", "inverted"):
        raise ValueError(f"polarity must be same or inverted, is {polarity!r}")
    if band is not None and not 0.0 <= band[0] < band[1]:
        raise ValueError(f"band must rise from 0 or more, is {band}")
    n = nperseg or segment_length(x.shape[1], fs, max_delay_s)
    if n > x.shape[1]:
        raise ValueError(f"the record must hold at least one segment of {n} samples, holds {x.shape[1]}")
    asked: dict[str, Any] = {"weighting": weighting, "band": band, "max_delay_s": max_delay_s, "mains_hz": mains_hz,
                             "polarity": polarity, "demands": demands,
                             "clipped": max(clipped_share(x[0]), clipped_share(x[1]))}
    first = analyse(cross_spectra(x[0], x[1], fs, n), **asked)
    shift = round(first.delay_s * fs)
    if abs(shift) < n // 64 or any(r.startswith(("no-coherent-band", "too-short")) for r in first.reasons):
        return first
    return analyse(cross_spectra(x[0], x[1], fs, n, shift=shift), **asked)


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = np.asarray(a), np.asarray(b)
    if x.ndim != 1 or x.shape != y.shape or x.size == 0:
        raise ValueError(f"a and b must be two rows of the same length, are of shape {x.shape} and {y.shape}")
    return x, y
