"""One source that two channels hear: its delay, the frequencies it is read from, and the error of it.

::

    common band -> correlogram -> peak -> coherency along the peak's lag -> weights -> exact delay
    nothing common, or no better than chance: all open frequencies alike -> the same

The likelihood of a delay is sum gamma / (1 - gamma2) Re{C exp(i 2 pi f tau)}: the weight takes the true coherence, here a smooth
estimate along the lag, and leaves the size of each C alone. Dividing by each |C|, as `S12 / |S12|` does, would give up what the
size says wherever the coherence is low.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.pipes.band import FEWEST, SIZE_SPREAD, Coherency, common, log10_chance, spread, straight
from lifeline_core.pipes.cross import turned
from lifeline_core.pipes.peak import FINER, Correlogram, correlogram, refine, turn_of
from lifeline_core.pipes.spectra import OVERLAP_SPREAD, Spectra

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

Suppress = Sequence[tuple[float, float]]  # (delay_s, width_s) of sources known to be something else
BLOCK = 31  # frequencies that test together whether the phase is straight
LEANS = 3.0  # a phase that falls by half a turn amid the band moves its line by about 3 times the rms of what departs from it
UNSAID = 2e-3  # share of the coherence that may lie outside the band that is named
CERTAIN = 1e-9  # 1 - gamma2 is held above: two copies of one record weigh all frequencies alike


@dataclass(frozen=True, slots=True)
class Source:
    """The exact answer. ``gamma``: coherence (not squared) along the lag at the open frequencies, smooth, 0 where there is none."""

    gram: Correlogram
    log10_chance: float
    gamma: Real
    used: Mask  # of the open frequencies
    aligned: float  # of what the channels share, whatever the phase, how much lies on the delay's line; 1 where nothing stands out
    lag_s: float
    sd_s: float = float("inf")
    steady: float = float("nan")  # share of the record's parts that the peak rests on
    bend: float = float("nan")  # squared departure of the phase from a straight line over what noise explains; 1 = noise only


@dataclass(frozen=True, slots=True)
class Hunt:
    """A correlogram of some weights, and what stands along the lag of its peak."""

    gram: Correlogram
    log10_chance: float
    band: slice  # of the open frequencies: where they line up best
    along: Real
    shared: Real  # of `common`


def without(co: Coherency, suppress: Suppress) -> tuple[Coherency, Suppress, tuple[tuple[float, float, float], ...]]:
    """The coherency less what stands at the lags of known sources; the lags cut out, flanks and all, as further (delay_s, width_s);
    and (delay_s, width_s, highest r) of each source.

    Left in, a loud pump would pull at the phase of a faint leak: their sum swings about the leak's line from frequency to
    frequency. Its stretch of the correlogram is cut out, and what is left is turned back into a spectrum.
    """
    reach = 0.25 * co.nperseg / co.fs
    gram = correlogram(co.at, co.c, co.fs, co.nperseg, reach, suppress)
    assert gram.blocked is not None
    n, edge = FINER * co.nperseg, gram.r.size // 2
    cut = np.zeros(n)
    cut[np.arange(-edge, edge + 1)[gram.blocked]] = gram.r[gram.blocked]
    c = co.c - 2.0 / n * float(co.size.sum()) * np.fft.rfft(cut)[co.at]
    edges = np.flatnonzero(np.diff(gram.blocked, prepend=False, append=False)) - edge
    rate = FINER * co.fs
    cuts = [(0.5 * float(a + b - 1) / rate, float(b - 1 - a) / rate) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return replace(co, c=c, size=np.minimum(np.abs(c), 1.0)), cuts, gram.suppressed(suppress)


def hunt(co: Coherency, s: Spectra, weighting: str, limit_s: float, suppress: Suppress, enough: float) -> Hunt:
    """The strongest source within limit_s, as the correlogram has it. ``enough``: log10 chance that needs no second look."""
    shared = common(co)
    near = shared > 0.0
    n = near.size
    found = _hunt(co, s, weighting, shared, shared, near, limit_s, suppress) if np.count_nonzero(near) >= FEWEST else None
    if found is None or found.log10_chance > enough:
        other = _hunt(co, s, weighting, shared, *_alike(n, slice(0, n)), limit_s, suppress)
        return other if found is None or other.log10_chance < found.log10_chance else found
    if 2 * np.count_nonzero(near[found.band]) < found.band.stop - found.band.start:  # most of what lines up is faint
        other = _hunt(co, s, weighting, shared, *_alike(n, found.band), limit_s, suppress)
        return other if other.log10_chance <= enough and other.gram.ratios()[1] > found.gram.ratios()[1] else found
    return found


def place(co: Coherency, s: Spectra, weighting: str, hunted: Hunt, enough: float, *, given: bool) -> Source:
    """The exact delay of what was hunted down, with its error. ``given``: every open frequency is used."""
    gamma = straight(co, hunted.along, hunted.band if hunted.log10_chance <= enough else slice(0, 0), hunted.shared)
    used = gamma > 0.0
    if given:
        used[:] = True
    aligned = _aligned(co, gamma, hunted.along)
    if not used.any():
        return Source(hunted.gram, hunted.log10_chance, gamma, used, aligned, hunted.gram.lag_s)
    return Source(hunted.gram, hunted.log10_chance, gamma, used, aligned, *_place(co, s, weighting, hunted, gamma, used))


def _alike(n: int, band: slice) -> tuple[Real, Mask]:
    """All frequencies of a band alike: too faint to be told apart."""
    near = np.zeros(n, bool)
    near[band] = True
    return np.full(n, 0.1), near


def _hunt(co: Coherency, s: Spectra, weighting: str, shared: Real, gamma: Real, near: Mask, limit_s: float,
          suppress: Suppress) -> Hunt:
    at = co.at[near]
    cross = says(co, s, weighting, gamma, near) * co.c[near]
    gram = correlogram(at, cross, co.fs, co.nperseg, limit_s, suppress)
    along = np.ascontiguousarray(co.along(gram.lag_s).real)
    return Hunt(gram, *log10_chance(co, along, limit_s), along, shared)


def says(co: Coherency, s: Spectra, weighting: str, gamma: Real, used: Mask) -> Real:
    """What the coherency is multiplied with at the used frequencies: see the table in kernels/delay.h, with gamma smooth."""
    if weighting == "ht":
        g = gamma[used]
        return np.asarray(g / np.maximum(1.0 - g * g, CERTAIN), np.float64)
    if weighting == "scot":
        return np.ones(int(np.count_nonzero(used)))
    if weighting == "phat":
        return np.asarray(1.0 / np.maximum(co.size[used], 1e-300), np.float64)
    at = co.at[used]
    if weighting == "roth":
        return np.asarray(np.sqrt(s.s22[at] / s.s11[at]), np.float64)
    return np.asarray(np.sqrt(s.s11[at] / s.s11[at].max()) * np.sqrt(s.s22[at] / s.s22[at].max()), np.float64)


def told(source: Source, at: Index) -> Index:
    """The lines between which all but `UNSAID` of the coherence lies: the band, without edges that hardly count."""
    g = source.gamma[source.used]
    weight = np.cumsum(g * g / np.maximum(1.0 - g * g, CERTAIN))
    low, high = np.searchsorted(weight, [0.5 * UNSAID * weight[-1], (1.0 - 0.5 * UNSAID) * weight[-1]])
    return at[source.used][low : high + 1]


def _aligned(co: Coherency, gamma: Real, along: Real) -> float:
    """Power along the lag over all that the channels share, less three deviations of what chance makes of it; at most 1."""
    power = float(co.size @ co.size - co.chance.sum()) - 3.0 * float(np.sqrt(SIZE_SPREAD * (co.chance @ co.chance)))
    line = max(float(gamma @ along), 0.0)
    return line / power if power > line else 1.0


def _place(co: Coherency, s: Spectra, weighting: str, hunted: Hunt, gamma: Real, used: Mask) -> tuple[float, float, float, float]:
    """The exact delay of these frequencies, its standard deviation, its steadiness, and the bend of the phase."""
    at, u, w = co.at[used], says(co, s, weighting, gamma, used), 2.0 * np.pi * co.f[used]
    c = co.c[used]
    cross = u * c
    size = np.abs(cross)
    step = max(1.0 / (FINER * co.fs), 0.5 * np.pi * float(np.sqrt(size.sum() / (size @ (w * w)))) if size.any() else 0.0)
    lag = refine(at, cross, co.fs, co.nperseg, hunted.gram.lag_s, step)
    theta = turn_of(lag, co.fs, co.nperseg)
    sd, bend = _error(co, turned(at, theta, c), u, w, gamma[used], co.chance[used], model=weighting == "ht")
    weight = turned(at, theta, (co.sign * u).astype(complex)) if len(s.parts) > 2 else u
    steady = steadiness(_parts(s, at, weight)) if len(s.parts) > 2 else float("nan")
    return lag, sd, steady, bend


def _error(co: Coherency, turned: Complex, u: Real, w: Real, g: Real, chance: Real, *, model: bool) -> tuple[float, float]:
    """Standard deviation of the delay, and how much more the phase bends than noise explains.

    ::

        var = sum w^2 u^2 v / (sum w^2 u Re{C})^2        v = variance of Im{C} along the lag = (1 - gamma2) / (2 n)

    Knapp and Carter's with the weights in use: ``model`` takes v and Re{C} from the coherence, smooth (the weights came from it);
    without it they are what is seen. Overlapping segments and neighbouring frequencies of a window are not independent: `spread`.
    Where the phase bends more than noise explains (99.9 %), as a sensor's resonance bends it, a slope is added that goes with such
    a departure from the straight line.
    """
    each = chance * (0.5 * spread(co.n) / OVERLAP_SPREAD)
    weight = w * u
    seen = turned.imag * weight
    variance = weight * weight * np.maximum(1.0 - g * g, CERTAIN) * each
    bottom = float((weight * w) @ turned.real)
    if not bottom > 0.0:
        return float("inf"), float("nan")
    if not model:
        variance = seen * seen * (spread(co.n) / OVERLAP_SPREAD)
    var = float(variance.sum()) / bottom**2
    starts = np.arange(0, seen.size, BLOCK)
    if starts.size < 4:
        return float(np.sqrt(var)), 1.0
    pulls, noise = np.add.reduceat(seen, starts), np.add.reduceat(variance, starts)
    bend = float(np.sum(pulls[noise > 0.0] ** 2 / noise[noise > 0.0])) / (starts.size - 1)
    free = starts.size - 1
    if bend > (1.0 - 2.0 / (9.0 * free) + 3.09 * np.sqrt(2.0 / (9.0 * free))) ** 3:  # Wilson and Hilferty: 99.9 % of chi2 / free
        stiff = np.maximum(np.add.reduceat(weight * w * turned.real, starts), 0.0)
        phase = np.arctan2(pulls, np.add.reduceat(weight * turned.real, starts))
        var += LEANS**2 * float(stiff @ phase**2) / float(stiff @ (w[starts] ** 2))
    return float(np.sqrt(var)), bend


def phat_delay(co: Coherency, used: Mask, limit_s: float, suppress: Suppress) -> float:
    """The delay of the phase transform at the same frequencies; NaN without any."""
    if not used.any():
        return float("nan")
    at = co.at[used]
    cross = co.c[used] / np.maximum(co.size[used], 1e-300)
    gram = correlogram(at, cross, co.fs, co.nperseg, limit_s, suppress)
    return refine(at, cross, co.fs, co.nperseg, gram.lag_s, 1.0 / (FINER * co.fs))


def _parts(s: Spectra, at: Index, weight: NDArray[Any]) -> list[Complex]:
    """The cross spectra of the record's parts at these lines, weighted as the coherency is."""
    w = weight / np.sqrt(s.s11[at] * s.s22[at])
    return [w * p[at] for p in s.parts]


def steadiness(parts: list[Complex]) -> float:
    """What share of the record's parts a peak rests on: 1 = all alike, 1 / parts = a single one. ``parts`` turned to its lag.

    ::

        p = a part's sum of Re{W S12 exp(i 2 pi f lag)}        (sum p)^2 / (parts sum p^2)

    A leak is heard all the time; two bangs in one second line up too, and in their spectra look like any source.
    """
    pulls = np.array([float(p.real.sum()) for p in parts])
    size = float(pulls @ pulls)
    return max(float(pulls.sum()), 0.0) ** 2 / (pulls.size * size) if size > 0.0 else 0.0


def part_spread(co: Coherency, s: Spectra, weighting: str, source: Source, limit_s: float) -> float:
    """ICS: RMS of the delays of the record's parts about their median; NaN with fewer than three parts or no band."""
    if len(s.parts) < 3 or not source.used.any():
        return float("nan")
    at = co.at[source.used]
    parts = _parts(s, at, co.sign * says(co, s, weighting, source.gamma, source.used))
    lags = np.array([correlogram(at, p, co.fs, co.nperseg, limit_s).lag_s for p in parts if p.any()])
    return float(np.sqrt(np.mean((lags - np.median(lags)) ** 2)))
