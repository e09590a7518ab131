"""Where in the spectrum two channels hear the same source, and how sure that is.

::

    open lines     no mains, no line of a machine                              `lines`
    coherency      C = S12 / sqrt(S11 S22) at the open lines, side by side     `Coherency`
    common         |C|^2 above chance, whatever the phase                      before a lag is known
    along          Re{C exp(i 2 pi f lag)} above chance: coherent and straight once it is

Both look over few neighbouring frequencies first, then over many: a narrow band is strong, a weak source is seen if it is wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import log

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from lifeline_core.dsp.hampel import running_median
from lifeline_core.pipes.cross import best, closer, coherency, shared, standing, turned
from lifeline_core.pipes.peak import turn_of
from lifeline_core.pipes.spectra import OVERLAP_SPREAD, Spectra

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

MAINS_HZ = (50.0, 60.0)
NEIGHBOURS = 15  # frequencies in a local median or mean: wider than a line with its skirts
MANY = 127  # in a mean over many: a weak source shows if it is this wide
FEWEST = 7  # coherent frequencies that make a band
LINE = 10.0  # a line stands this far above the local median of the power
SKIRT = 0.1  # more of a frequency's power than this may not have leaked from lines
STRONGEST = 64  # lines whose skirts are followed
EVEN = 1.5  # no frequency speaks for more than this many times the median of its neighbours
BENT = 0.5  # cosine of the phase from the line of the delay, at least
SURE, HOLDS = 4.5, 1.5  # a run of frequencies begins with a mean this many deviations above chance, and goes on while above
EDGES = 48  # of bands that are tried, in a geometric row
# Neighbouring frequencies of a Hann window are correlated by 2/3 and 1/6, a product of two channels by the squares, its size by
# their squares: so many times larger is the variance of a mean over them.
FREQUENCY_SPREAD = 1.0 + 2.0 * (4.0 / 9.0 + 1.0 / 36.0)
SIZE_SPREAD = 1.0 + 2.0 * (16.0 / 81.0 + 1.0 / 1296.0)


def spread(n: int) -> float:
    """Variance of a sum over frequencies of averages of n half-overlapping Hann segments, as if all 1/n were independent.

    sum w^4 / (sum w^2)^2 of the windows' squares laid over each other: 35/18 for one segment, 19/9 for many.
    """
    return 35.0 / 18.0 + (n - 1) / (6.0 * max(n, 1))


@lru_cache(maxsize=64)
def frequencies(fs: float, nperseg: int) -> Real:
    """The one-sided grid in Hz, not to be written to."""
    f = np.asarray(np.fft.rfftfreq(nperseg, 1.0 / fs), np.float64)
    f.flags.writeable = False
    return f


@lru_cache(maxsize=64)
def mains(fs: float, nperseg: int, mains_hz: tuple[float, ...]) -> Mask:
    """Lines of the mains and every harmonic: two grid steps and 0.2 % (the grid's own wandering) to either side."""
    f, df = frequencies(fs, nperseg), fs / nperseg
    masked = np.zeros(f.size, bool)
    for hz in mains_hz:
        order = np.maximum(np.round(f / hz), 1.0)
        masked |= np.abs(f - order * hz) <= 2.0 * df + 0.002 * order * hz
    masked.flags.writeable = False
    return masked


def lines(s: Spectra, mains_hz: tuple[float, ...] = MAINS_HZ) -> Mask:
    """Frequencies no common noise may be read from: `mains`, and whatever else stands up as a line.

    A line: `LINE` times the local median of the power in either channel, and two grid steps beside it; farther out, where what the
    window leaks from it is a tenth of the power or more. The median is of the lowest of three: between the lines of a dense row,
    half of the frequencies are not beside a gap. Off by k grid steps a Hann window leaks at most 1 / (pi k (k^2 - 1)) of the
    amplitude.
    """
    masked = mains(s.fs, s.nperseg, tuple(mains_hz)).copy()
    for power in (np.ascontiguousarray(row, np.float64) for row in (s.s11, s.s22)):
        at = np.flatnonzero(standing(power, LINE, NEIGHBOURS))
        if at.size:
            masked[np.clip(at[:, None] + np.arange(-2, 3), 0, power.size - 1)] = True
            masked |= _skirts(power, at)
    return masked


def _skirts(power: Real, at: Index) -> Mask:
    """Where the strongest of the lines at these places leak more than may be."""
    near = power[np.clip(at[:, None] + np.arange(-2, 3), 0, power.size - 1)]
    tops = at[near.max(axis=1) <= power[at]]
    tops = tops[np.argsort(power[tops])[-STRONGEST:]]
    least = SKIRT * max(float(power.min()), 1e-30 * float(power.max()))
    reach = min(int((float(power[tops].sum()) / least) ** (1.0 / 6.0)) + 3, power.size)  # farther out nothing leaks enough
    k = np.arange(-reach, reach + 1)
    size = np.maximum(np.abs(k), 2.0)
    leak = power[tops, None] / (np.pi * size * (size * size - 1.0)) ** 2
    places = tops[:, None] + k
    inside = (places >= 0) & (places < power.size)
    leaked = np.bincount(places[inside], leak[inside], power.size)
    return np.asarray((leaked >= SKIRT * power) & (leaked > 0.0), bool)


@dataclass(frozen=True, slots=True)
class Coherency:
    """The open frequencies, side by side: line numbers, C, its size, and the variance of C among unrelated channels."""

    fs: float
    nperseg: int
    n: int  # segments
    sign: float  # -1: one channel is turned over
    at: Index
    c: Complex
    size: Real
    chance: Real  # mean of |C|^2 by chance at a line and its neighbours: 1/n for even segments, more where a few are louder
    alone: Real  # the same of the line itself, whether or not it coheres: what the test of `log10_chance` counts with

    @classmethod
    def of(cls, s: Spectra, open_: Mask, sign: float = 1.0) -> Coherency:
        """C at the open lines where both channels have power; sign -1 turns one channel over."""
        s11, s22, q = (np.ascontiguousarray(x, np.float64) for x in (s.s11, s.s22, s.q))
        found = coherency(s11, s22, np.ascontiguousarray(s.s12, np.complex128), q, np.ascontiguousarray(open_, bool), sign,
                          max(s.n, 1), OVERLAP_SPREAD, NEIGHBOURS // 2)
        return cls(s.fs, s.nperseg, s.n, sign, *found)

    @property
    def f(self) -> Real:
        """Hz."""
        return frequencies(self.fs, self.nperseg)[self.at]

    def along(self, lag_s: float) -> Complex:
        """C turned back by the lag: real where the phase lies on the lag's line."""
        return turned(self.at, turn_of(lag_s, self.fs, self.nperseg), self.c)


def common(co: Coherency) -> Real:
    """|C| shared by the channels, smooth, freed of chance, 0 where it does not stand out: before any lag is known."""
    return shared(co.size, co.chance, NEIGHBOURS // 2, MANY // 2, SURE, HOLDS, SIZE_SPREAD)


def straight(co: Coherency, x: Real, wide: slice, stands: Real) -> Real:
    """Re{C} along the lag, smooth, 0 where it does not stand out.

    Begins with the mean over ``wide``, a band that is sure as a whole (empty: none), and takes the mean over fewer neighbours only
    where that differs beyond chance: picking the best of many narrow means would promise more coherence than there is. Less than
    half of what the channels share there (``stands``: of `common`) is a phase that runs elsewhere: a resonance, another source.
    """
    out, chance, deviations = np.zeros(x.size), co.chance, (SURE, HOLDS, 0.5 * FREQUENCY_SPREAD)
    if wide.stop > wide.start:
        out[wide] = max(float(x[wide].mean()), 0.0)
        closer(x[wide], chance[wide], out[wide], 4 * MANY, *deviations)
    for width in (MANY, NEIGHBOURS):
        closer(x, chance, out, width // 2, *deviations)
    out[out < BENT * stands] = 0.0
    return np.minimum(out, 1.0)


@lru_cache(maxsize=64)
def _edges(n: int) -> Index:
    """Where the bands of n open frequencies that are tried begin and end, in places of the row."""
    edges = np.concatenate([[0], np.unique(np.geomspace(FEWEST, n, EDGES).astype(np.intp))])
    edges.flags.writeable = False
    return edges


def log10_chance(co: Coherency, x: Real, max_delay_s: float) -> tuple[float, slice]:
    """How likely unrelated channels would line up as well somewhere: log10, at most 0; and the band where they do so best.

    The sum of ``x``, the coherency along the lag, over a band against its standard deviation for unrelated channels; times the
    number of lags and bands it was chosen from (Bonferroni). The deviation comes from the segments themselves, so a few loud ones
    do not pass for many. No frequency counts for more than `EVEN` times the median of its neighbours.
    """
    if x.size < 2 * FEWEST or not co.n:
        return 0.0, slice(0, 0)
    even = EVEN * running_median(co.size, NEIGHBOURS)
    z, lags, tried, low, high = best(np.ascontiguousarray(x), co.size, even, co.alone, co.at, _edges(x.size), 2 * FEWEST,
                                     0.5 * spread(co.n), 4.0 * max_delay_s * co.fs / co.nperseg)
    chance = (float(log_ndtr(-z)) + log(lags * tried)) / log(10.0)
    return min(chance, 0.0), slice(low, high)
