"""What a correlation of two loggers says, what it must show to be believed, and every reason not to believe it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.pipes.band import FEWEST, Coherency, log10_chance
from lifeline_core.pipes.cross import clipped, samples
from lifeline_core.pipes.source import Source

Real = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Demands:
    """What a correlation must show to be accepted; every figure is a number of the result."""

    psr: float = 1.25  # peak over the next peak
    log10_chance: float = -9.0  # of unrelated channels doing as well, over all bands and lags that were open
    coherence: float = 0.0  # mean over the band
    segments: int = 8  # that could be used; those few that are far louder than the rest must be worth half as many
    steady: float = 0.65  # share of the record's parts that the peak rests on
    clipped: float = 0.005  # share of samples at the ends
    aligned: float = 0.5  # share of what the channels have in common that must be explained by the delay
    clock_sd_s: float = 1e-3  # of the difference of the two clocks: worse ones cannot be compared


DEMANDS = Demands()


@dataclass(frozen=True, slots=True)
class Correlation:
    """The delay between two loggers, and everything it was judged by.

    ``lags_s``, ``r``: correlogram of the chosen weighting where the channels cohere at all, 1.0 = all frequencies in phase.
    ``delay_s`` t_b - t_a, from the frequencies that cohere along it; ``delay_sd_s`` by Knapp and Carter for the weights in use
    (noise only; where the phase is not straight, times the root of ``bend``). ``f``, ``coherence`` (magnitude squared), ``phase``
    of S12 in rad: whole spectra. ``band`` (lowest, highest Hz that count; (0, 0): none). ``psr`` peak over next peak, ``pmr`` peak
    over mean size, ``ics`` RMS in seconds of the delays of parts of the record about their median (only if asked for, else NaN).
    ``log10_chance``: of unrelated channels doing as well. ``phat_delay_s``: of the phase transform in the same band, NaN without a
    band. ``bend``: squared departure of the phase from the straight line over what noise explains, about 1 for noise alone.
    ``steady``: share of the record's parts that the peak rests on. ``aligned``: share of what the channels have in common that
    lies on the line of the delay. ``suppressed``: (delay_s, width_s, highest r there) of every source left out. ``reasons``: why
    it is not accepted, each ``word: numbers``.
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
    bend: float = float("nan")
    steady: float = float("nan")
    aligned: float = float("nan")
    suppressed: tuple[tuple[float, float, float], ...] = ()


def clipped_share(x: NDArray[Any]) -> float:
    """Share of the finite samples [n] at the extremes, where those are more than the samples just short of them; else 0.

    The tail of noise thins out towards its extremes; the wall of a converter piles samples up there.
    """
    return float(clipped(samples(x)))


def of_the_records(co: Coherency, used: Mask, demands: Demands, clipped: float, clock_sd_s: float) -> list[str]:
    """Grounds for refusal that lie in the records themselves."""
    found = []
    among = co.chance[used] if used.any() else co.chance
    worth = 1.0 / float(among.mean()) if among.size else 0.0
    if co.n < demands.segments:
        found.append(f"too-short: {co.n} segments of {co.nperseg} samples could be used, {demands.segments} are needed")
    elif among.size and worth < demands.segments / 2.0:
        found.append(f"too-short: a few segments are so much louder that all {co.n} are worth {worth:.1f}, "
                     f"{demands.segments / 2.0} are needed")
    if clipped > demands.clipped:
        found.append(f"clipped: {clipped:.2%} of the samples are at the ends, at most {demands.clipped:.2%}")
    if clock_sd_s > demands.clock_sd_s:
        found.append(f"clock-unsure: the clocks differ by {clock_sd_s * 1e3:.3f} ms (sd), "
                     f"at most {demands.clock_sd_s * 1e3:.3f} ms can be compared")
    return found


def of_the_source(co: Coherency, c: Correlation, source: Source, demands: Demands, clock_sd_s: float, *, short: bool) -> list[str]:
    """Grounds for refusal that lie in what the two channels have in common; ``short``: the records are already called too short."""
    peak, used = max(float(source.gram.r[source.gram.peak]), 0.0), int(np.count_nonzero(source.used))
    if _outside(co, source, peak, demands):
        return [f"outside-bracket: a peak of {source.gram.beyond:.2f} at {source.gram.beyond_s * 1e3:.3f} ms lies beyond the "
                f"longest delay, {peak:.2f} within"]
    found = _hint(co, source, demands)
    if used < FEWEST or c.log10_chance > demands.log10_chance or c.coherence_mean < demands.coherence:
        found.append(f"no-coherent-band: {used} of {co.at.size} frequencies cohere, "
                     f"mean coherence {c.coherence_mean:.3f} (at least {demands.coherence}), "
                     f"chance 1e{c.log10_chance:.1f} (at most 1e{demands.log10_chance})")
        return found
    if c.steady < demands.steady and not short:
        found.append(f"too-short: the peak rests on {c.steady:.0%} of the record's parts, at least {demands.steady:.0%}")
    if c.psr < demands.psr:
        found.append(f"several-peaks: the highest is {c.psr:.2f} of the next, at least {demands.psr}")
    elif not c.suppressed and c.aligned < demands.aligned:  # beside a source left out, a leak explains little
        found.append(f"bent-phase: {c.aligned:.2f} of what the channels share lies on the line of this delay, "
                     f"at least {demands.aligned}")
    for delay, width, height in c.suppressed:
        if abs(c.delay_s - delay) <= max(0.5 * width, 1.0 / co.fs):
            found.append(f"suppressed: {c.delay_s * 1e3:.3f} ms is the source left out at {delay * 1e3:.3f} ms, {height:.2f} high")
    zero = max(1.0 / co.fs, 3.0 * float(np.hypot(c.delay_sd_s, clock_sd_s)))
    if abs(c.delay_s) <= zero:
        found.append(f"lag-near-zero: {c.delay_s * 1e3:.3f} ms, at most {zero * 1e3:.3f} ms may be common to both loggers")
    return found


def _outside(co: Coherency, source: Source, peak: float, demands: Demands) -> bool:
    """Is what stands beyond the longest delay higher than the peak, and no chance?"""
    gram = source.gram
    if not gram.beyond > peak:
        return False
    if source.log10_chance <= demands.log10_chance:
        return True
    if gram.beyond < demands.psr * peak:
        return False
    return log10_chance(co, co.along(gram.beyond_s).real, 0.25 * co.nperseg / co.fs)[0] <= demands.log10_chance


def _hint(co: Coherency, source: Source, demands: Demands) -> list[str]:
    """A word where one of the sensors seems to be wired the other way round: never turned over without being asked to."""
    gram = source.gram
    low = gram.trough
    peak = max(float(gram.r[gram.peak]), 0.0)
    if not low > demands.psr * peak:
        return []
    chance, _ = log10_chance(co, -co.along(gram.trough_s).real, float(gram.lags_s[-1]))
    if chance > demands.log10_chance:
        return []
    return [f"inverted: -{low:.2f} at {gram.trough_s * 1e3:.3f} ms against a highest peak of {peak:.2f}: one sensor may be wired "
            "the other way round"]
