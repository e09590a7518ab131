"""Where in the spectrum two channels hear the same source, and how sure that is."""

from __future__ import annotations

from math import log

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, maximum_filter1d, median_filter, uniform_filter1d
from scipy.special import log_ndtr

from lifeline_core.dsp import delay as tde
from lifeline_core.pipes.spectra import OVERLAP_SPREAD, Spectra

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Mask = NDArray[np.bool_]

MAINS_HZ = (50.0, 60.0)
NEIGHBOURS = 15  # frequencies in a local median or share: wider than a line with its skirts
FEWEST = 7  # coherent frequencies that make a band
LINE = 10.0  # a line stands this far above the local median of the power
SKIRT = 0.1  # more of a frequency's power than this may not have leaked from lines
STRONGEST = 64  # lines whose skirts are followed
# Neighbouring frequencies of a Hann window are correlated by 2/3 and 1/6, a product of two channels by the squares: so
# many times larger is the variance of a sum over them.
FREQUENCY_SPREAD = 1.0 + 2.0 * (4.0 / 9.0 + 1.0 / 36.0)


def lines(s: Spectra, mains_hz: tuple[float, ...] = MAINS_HZ) -> Mask:
    """Frequencies no common noise may be read from: mains with every harmonic, and whatever else stands up as a line.

    Mains: two grid steps and 0.2 % (the grid's own wandering) to either side. A line: `LINE` times the local median of
    the power in either channel, and two grid steps beside it; farther out, where what the window leaks from it is a tenth
    of the power or more. Off by k grid steps a Hann window leaks at most 1 / (pi k (k^2 - 1)) of the amplitude.
    """
    df = s.fs / s.nperseg
    masked = np.zeros(s.f.size, bool)
    for power in (s.s11, s.s22):
        standing = power > LINE * median_filter(power, 2 * NEIGHBOURS + 1, mode="nearest")
        masked |= binary_dilation(standing, iterations=2)
        tops = np.flatnonzero(standing & (power >= maximum_filter1d(power, 5)))
        tops = tops[np.argsort(power[tops])[-STRONGEST:]]
        k = np.maximum(np.abs(np.arange(power.size) - tops[:, None]), 2.0)
        skirts = np.sum(power[tops, None] / (np.pi * k * (k * k - 1.0)) ** 2, axis=0)
        masked |= (skirts >= SKIRT * power) & (skirts > 0.0)
    for mains in mains_hz:
        order = np.maximum(np.round(s.f / mains), 1.0)
        masked |= np.abs(s.f - order * mains) <= 2.0 * df + 0.002 * order * mains
    return masked


def coherent_band(s: Spectra, open_: Mask, max_delay_s: float, *, sign: float = 1.0) -> Mask:
    """The open frequencies that cohere beyond chance and whose phase runs along one straight line.

    A frequency belongs when, among itself and its neighbours, at least half exceed the 95 % limit of unrelated
    channels, and their phases lie close to the line of the best delay (mean cosine 0.5): a sensor's or a pipe's
    resonance coheres too, but bends the phase.
    """
    idx = np.flatnonzero(open_)
    gamma2 = tde.coherence(s.s11, s.s22, s.s12)
    among = gamma2[idx] > tde.coherence_limit(max(s.effective(open_), 2.0))
    kept = uniform_filter1d(among.astype(float), NEIGHBOURS, mode="constant") >= 0.5
    if not kept.any():
        return np.zeros(open_.size, bool)
    mask = np.zeros(open_.size, bool)
    mask[idx[kept]] = True
    lag = best_lag(s, sign * weighted(s, mask, "ht"), max_delay_s)
    line = np.cos(np.angle(sign * s.s12[idx]) + 2.0 * np.pi * s.f[idx] * lag)
    straight = uniform_filter1d(line, NEIGHBOURS, mode="nearest") >= 0.5
    mask[idx[kept & ~straight]] = False
    return mask


def _local_median(s: Spectra, among: Mask, x: Real) -> Real:
    """Median of x over neighbouring frequencies of the mask; 0 outside it."""
    out = np.zeros(x.size)
    if among.any():
        out[among] = median_filter(x[among], NEIGHBOURS, mode="nearest")
    return out


def smooth_coherence(s: Spectra, used: Mask) -> Real:
    """Coherence, smoothed and freed of bias, 0 outside the mask: a lone line cannot rule the weights."""
    smooth = _local_median(s, used, tde.coherence(s.s11, s.s22, s.s12))
    return np.where(used, tde.debias(smooth, max(s.effective(used), 2.0)), 0.0)


def weighted(s: Spectra, used: Mask, weighting: str) -> Complex:
    """W S12 within the mask."""
    w = tde.weights(weighting, s.s11, s.s22, s.s12, gamma2=smooth_coherence(s, used) if weighting == "ht" else None)
    return np.where(used, w * s.s12, 0.0)


def best_lag(s: Spectra, cross: Complex, max_delay_s: float) -> float:
    """The exact lag of the highest peak."""
    lags, r = tde.correlogram(cross, s.fs, s.nperseg, max_delay_s=max_delay_s)
    return tde.refine(s.f, cross, float(lags[tde.pick(lags, r)]), float(lags[1] - lags[0]))


def log10_chance(s: Spectra, open_: Mask, used: Mask, lag_s: float, max_delay_s: float, *, sign: float = 1.0) -> float:
    """How likely unrelated channels would line up as well somewhere: log10, at most 0.

    The sum of the coherency turned back by the lag, over the open frequencies from the lowest to the highest used,
    against its standard deviation for unrelated channels; times the number of lags and bands it was chosen from
    (Bonferroni). The deviation comes from the segments themselves, so a few loud ones do not pass for many. No
    frequency counts for more than the median of its neighbours.
    """
    if not used.any():
        return 0.0
    among = np.flatnonzero(open_)
    low, high = np.flatnonzero(used)[[0, -1]]
    among = among[(among >= low) & (among <= high)]
    power = s.s11[among] * s.s22[among]
    if not (power > 0).all():
        return 0.0
    coherency = s.s12[among] / np.sqrt(power)
    size = np.abs(coherency)
    even = np.minimum(size, median_filter(size, NEIGHBOURS, mode="nearest"))
    total = float(np.sum(even * np.cos(np.angle(sign * coherency) + 2.0 * np.pi * s.f[among] * lag_s)))
    variance = float(np.sum(s.q[among] / power)) / (2.0 * s.n) * FREQUENCY_SPREAD * OVERLAP_SPREAD
    lags = 4.0 * max_delay_s * float(s.f[high] - s.f[low]) + 1.0
    bands = 0.5 * float(open_.sum()) ** 2
    return min((float(log_ndtr(-total / variance**0.5)) + log(lags * bands)) / log(10.0), 0.0)
