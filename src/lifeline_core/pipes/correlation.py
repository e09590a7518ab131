"""Two loggers on one pipe: is there one noise that both hear, and by how much later does b hear it than a?

::

    segments -> averaged S11, S22, S12 -> open lines -> common band -> correlogram -> peak, chance
                                                             weights along the peak's lag -> exact delay, its error -> verdict

The delay is t_b - t_a: positive when the source is nearer to a. `correlate` takes two whole recordings; a stream feeds
a `CrossAverage` and asks `analyse` whenever it has heard enough: the arithmetic is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.dsp.delay import WEIGHTINGS
from lifeline_core.pipes.band import MAINS_HZ, Coherency, frequencies, lines
from lifeline_core.pipes.source import Hunt, Suppress, hunt, part_spread, phat_delay, place, told, without
from lifeline_core.pipes.spectra import Spectra, cross_spectra, segment_length
from lifeline_core.pipes.verdict import DEMANDS, Correlation, Demands, clipped_share, of_the_records, of_the_source

__all__ = ["MAINS_HZ", "NEAR", "PASSES", "Correlation", "Demands", "Look", "analyse", "clipped_share", "correlate", "first_look",
           "settle"]

Real = NDArray[np.float64]
PASSES = 3  # at most: first look, laid over each other, once more where the first look was off
NEAR = 1024  # segments apart by less than this part of their length hold the same stretch of a source: 1e-5 of it is lost


@dataclass(frozen=True, slots=True)
class Look:
    """The first look at two channels' spectra: the peak, before its error and the verdict."""

    co: Coherency
    limit_s: float
    hunt: Hunt
    likely: bool  # lines up beyond chance
    cuts: Suppress = ()  # lags left out
    suppressed: tuple[tuple[float, float, float], ...] = ()

    def shift(self, *, at: int = 0) -> int:
        """Samples by which segments must be laid over each other to hold the same stretch of the source; ``at``, the shift they
        were made with, where that is near enough or nothing lines up."""
        new = round(self.hunt.gram.lag_s * self.co.fs)
        return new if self.likely and abs(new - at) > self.co.nperseg // NEAR else at


def analyse(
    s: Spectra,
    *,
    weighting: str = "ht",
    band: tuple[float, float] | None = None,
    max_delay_s: float | None = None,
    mains_hz: tuple[float, ...] = MAINS_HZ,
    polarity: str = "same",
    demands: Demands = DEMANDS,
    clipped: float = 0.0,
    clock_sd_s: float = 0.0,
    suppress: Suppress = (),
    ics: bool = False,
    phat: bool = True,
    look: Look | None = None,
) -> Correlation:
    """The verdict on averaged spectra; see `correlate`.

    ``phat``: work out ``phat_delay_s`` too (a transform more, else NaN). ``look``: of `first_look` at these same spectra with the
    same keywords, so that nothing is done twice.
    """
    _check(weighting, polarity, clock_sd_s, suppress)
    if look is None:
        look = first_look(s, weighting=weighting, band=band, max_delay_s=max_delay_s, mains_hz=mains_hz, polarity=polarity,
                          demands=demands, suppress=suppress)
    co, limit, f = look.co, look.limit_s, frequencies(s.fs, s.nperseg)
    source = place(co, s, weighting, look.hunt, demands.log10_chance, given=band is not None)
    gram = source.gram
    at = co.at if band is not None else told(source, co.at) if source.used.any() else co.at[:0]
    psr, pmr = gram.ratios()
    size = coherence(s)
    found = Correlation(
        lags_s=gram.lags_s, r=gram.r, delay_s=source.lag_s, delay_sd_s=source.sd_s, f=f, coherence=size, phase=np.angle(s.s12),
        band=(float(f[at[0]]), float(f[at[-1]])) if at.size else (0.0, 0.0), psr=psr, pmr=pmr,
        ics=part_spread(co, s, weighting, source, limit) if ics else float("nan"), accepted=False, reasons=(),
        coherence_mean=float(np.mean(source.gamma[source.used] ** 2)) if source.used.any() else 0.0,
        log10_chance=source.log10_chance,
        phat_delay_s=phat_delay(co, source.used, limit, look.cuts) if phat else float("nan"),
        segments=s.n, segments_left_out=s.left_out, bend=source.bend, steady=source.steady, aligned=source.aligned,
        suppressed=look.suppressed)
    reasons = of_the_records(co, source.used, demands, clipped, clock_sd_s)
    reasons += of_the_source(co, found, source, demands, clock_sd_s, short=any(r.startswith("too-short") for r in reasons))
    return replace(found, accepted=not reasons, reasons=tuple(reasons))


def first_look(
    s: Spectra,
    *,
    weighting: str = "ht",
    band: tuple[float, float] | None = None,
    max_delay_s: float | None = None,
    mains_hz: tuple[float, ...] = MAINS_HZ,
    polarity: str = "same",
    demands: Demands = DEMANDS,
    suppress: Suppress = (),
) -> Look:
    """Where the segments of two channels are to be laid over each other before `analyse` looks closely: half the work of it."""
    _check(weighting, polarity, 0.0, suppress)
    f = frequencies(s.fs, s.nperseg)
    open_ = ~lines(s, mains_hz)
    open_[:2] = open_[-1] = False
    if band is not None:
        open_ &= (f >= band[0]) & (f <= band[1])
    co = Coherency.of(s, open_, -1.0 if polarity == "inverted" else 1.0)
    limit = 0.25 * s.nperseg / s.fs if max_delay_s is None else max_delay_s
    co, cuts, suppressed = without(co, suppress) if suppress else (co, (), ())
    hunted = hunt(co, s, weighting, limit, cuts, demands.log10_chance)
    return Look(co, limit, hunted, hunted.log10_chance <= demands.log10_chance, cuts, suppressed)


def settle(spectra: Callable[[int], Spectra], **asked: Any) -> Correlation:
    """The verdict on ``spectra(shift)``, the segments laid over each other by the delay found; ``asked`` as of `analyse`."""
    search = {k: v for k, v in asked.items() if k not in ("clipped", "clock_sd_s", "ics", "phat")}
    shift = 0
    for _ in range(PASSES):
        s = spectra(shift)
        look = first_look(s, **search)
        last, shift = shift, look.shift(at=shift)
        if shift == last:
            break
    return analyse(s, **asked, look=look)


def _check(weighting: str, polarity: str, clock_sd_s: float, suppress: Suppress) -> None:
    if weighting not in WEIGHTINGS:
        raise ValueError(f"weighting must be one of {', '.join(WEIGHTINGS)}, is {weighting!r}")
    if polarity not in ("same", "inverted"):
        raise ValueError(f"polarity must be same or inverted, is {polarity!r}")
    if not clock_sd_s >= 0.0:
        raise ValueError(f"clock_sd_s must be 0 or more (inf: not synchronised), is {clock_sd_s}")
    for delay, width in suppress:
        if not (np.isfinite(delay) and 0.0 <= width < np.inf):
            raise ValueError(f"suppress must hold pairs of a finite delay_s and a width_s of 0 or more, holds ({delay}, {width})")


def coherence(s: Spectra) -> Real:
    """Magnitude-squared coherence of the whole spectra, 0 .. 1; 0 where a channel has no power."""
    power = s.s12.real**2 + s.s12.imag**2
    product = s.s11 * s.s22
    np.divide(power, product, out=power, where=product > 0.0)
    return np.minimum(power, 1.0, out=power)


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
    demands: Demands = DEMANDS,
    clock_sd_s: float = 0.0,
    suppress: Suppress = (),
    ics: bool = False,
) -> Correlation:
    """Delay between two recordings that began together, with its error and a verdict.

    Runs twice where the delay is more than a thousandth of a segment: the second time both channels' segments hold the same stretch
    of the source, so that nothing of the coherence is lost.

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
    clock_sd_s : float
        Standard deviation of the difference of the two loggers' clocks; ``inf`` where they are not synchronised. It is no part
        of ``delay_sd_s``.
    suppress : sequence of (delay_s, width_s)
        Sources known to be no leak (a pump, a service that runs): lags within width_s about delay_s, and the flanks of a peak
        that stands there, are left out of the search and the verdict.
    ics : bool
        Work out ``ics``: a transform more for every part of the record.

    Returns
    -------
    Correlation
        ``reasons`` for refusal: no-coherent-band, several-peaks, lag-near-zero (a noise common to both loggers looks like a leak in
        the exact middle: the two cannot be told apart), outside-bracket, too-short (also: a few loud moments rule the record),
        bent-phase (most of what the channels share has another delay or none), clipped, clock-unsure, inverted (one sensor seems
        to be wired the other way round: ask again with ``polarity="inverted"`` if that is so).

    Raises
    ------
    ValueError
        Channels of different length or shorter than a segment, rates and delays out of range, unknown words.

    Source
    ------
    Knapp and Carter 1976; figures of merit after Uchendu, Muggleton, White (quality of time delay estimates in leak
    location); the straight-phase demand after Gao et al. (resonances bend the phase of the cross spectrum).

    Examples
    --------
    >>> source = np.random.default_rng(0).standard_normal(20480)
    >>> c = correlate(source, np.roll(source, 37), 1024.0)
    >>> c.accepted, round(c.delay_s * 1024.0, 6)
    (True, 37.0)
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
    return settle(lambda shift: cross_spectra(x[0], x[1], fs, n, shift=shift), weighting=weighting, band=band,
                  max_delay_s=max_delay_s, mains_hz=mains_hz, polarity=polarity, demands=demands, suppress=suppress,
                  clock_sd_s=clock_sd_s, ics=ics,
                  clipped=max(clipped_share(x[0]), clipped_share(x[1])))


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = np.asarray(a), np.asarray(b)
    if x.ndim != 1 or x.shape != y.shape or x.size == 0:
        raise ValueError(f"a and b must be two rows of the same length, are of shape {x.shape} and {y.shape}")
    return x, y
