"""What counts as a step of pressure, and what noise may say in a month: the figures that kernels/step.c goes by.

Samples are put into bins of 1/16 s (the median of each, so that a glitch of a sample or two is not seen): the working
stream. Over its levels m[k] run two meters of each sign::

    change    down[k] = max(0, down[k-1] - (m[k] - m[k-1]) - drift)      metres; drift = half of min_step per rise_s
    noise     g[k]    = max(0, g[k-1] - e[k] / sigma - REFERENCE)        e: the level less what its own past foretells

A step is asked for where both have passed their thresholds, and confirmed once most of the last ``post_s`` differs from
the level ``rise_s`` before by the smallest step that is reported.

**What is slow never counts.** A change of less than RAMP min_step in rise_s (with the defaults 0.3 m/s: 3 m in 10 s)
is demand, or a pump that is started as it should be, whatever its size. A faster one is a transient, and said to be: a
burst heard far away begins no steeper (1.5 m in a second on simulated networks), so one sensor alone cannot tell it
from a pump that trips; where the signs and the order over the network differ, `lifeline_core.pipes.causes` can.

**What noise does is held to a budget** of ``false_alarms_per_month``. The levels are whitened by an autoregression of
order 4, learnt from the row's own past: autocorrelations of clipped deviations from a mean that forgets in 4 s, first
from 12 bins, then averaged over fillings of 16 s and 8 minutes of them; sigma likewise, the larger of what the middle
and the tail of |e| say, held larger while little is known. Of such e a CUSUM passes its threshold h by chance once in

    ARL = (exp(2 d b) - 2 d b - 1) / (2 d^2)        d = REFERENCE, b = h + 1.166

bins on each side. A month of bins (4.2e7 at 16 Hz) over the budget is what both sides together are to last, twice as
long each: h = 8.3 for one a month. Passing it is only the first of two locks, so false alarms are rarer than budgeted.
The second, against noise on top of slow changes: a reported size is at least RAMP min_step and z noise, where z is what a
normal value passes once per budget (5.58) and noise the robust deviation of such sizes where there is no step. So
min_step is what is reported in a quiet pipe, and noise of more than 0.016 m raises it.

Source: E. S. Page, Biometrika 41 (1954) 100-115 (CUSUM); D. Siegmund, Sequential Analysis (1985), 2.6 (run length).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from lifeline_core.dsp.cusum import cusum_threshold
from lifeline_core.pipes._step import Followers
from lifeline_core.pipes.onset import BACK_S

BINS_HZ = 16
MONTH_S = 365.25 / 12 * 86_400
REFERENCE = 1.0  # of the CUSUM, sigmas: it is quickest for shifts of twice that
TRIGGER, RAMP = 0.7, 0.7  # of min_step: the meter's threshold; what a slow change may reach in rise_s
KEPT_S = 12.0  # of full-rate samples, or as many as a window needs


@dataclass(frozen=True, slots=True)
class Steps:
    """What counts as a step. ``min_step`` in the unit of the samples; see the module for what is slow and what is noise."""

    min_step: float = 0.3
    rise_s: float = 0.7
    pre_s: float = 0.5
    post_s: float = 0.25
    hold_s: float = 30.0
    false_alarms_per_month: float = 1.0

    @property
    def latency_s(self) -> float:
        """Longest time between an onset and the moment it can be said, seconds: a slow fall asked for late, at the last try.

        The window that is searched for the onset is no longer.
        """
        return max(2 * self.rise_s + 3 * self.post_s + BACK_S, self.rise_s + self.pre_s + self.post_s) + 6 / BINS_HZ

    @property
    def prompt_s(self) -> float:
        """The same where the step is clear: it passes the meter within two bins."""
        return self.post_s + 4 / BINS_HZ


@dataclass(frozen=True, slots=True)
class Learnt:
    """Of one row: times the CUSUM passed its threshold, bins learnt from, sigma of what the autoregression does not foretell,
    robust deviation of sizes where there is no step (Inf: not known yet), and the autoregression's coefficients."""

    crossings: int
    bins: int
    sigma: float
    noise: float
    autoregression: tuple[float, ...]


def thresholds(false_alarms_per_month: float, bins_hz: float) -> tuple[float, float]:
    """Of the CUSUM in sigmas and of one normal value, for a budget on one channel.

    Raises
    ------
    ValueError
        A budget that is not positive, or of more than one in 100 bins.

    Examples
    --------
    >>> h, z = thresholds(1.0, 16.0)
    >>> round(h, 2), round(z, 2)
    (8.3, 5.58)
    """
    if not (math.isfinite(false_alarms_per_month) and 0 < false_alarms_per_month <= MONTH_S * bins_hz / 100):
        raise ValueError(
            f"false_alarms_per_month is above 0 and at most {MONTH_S * bins_hz / 100:.3g}, got {false_alarms_per_month!r}"
        )
    bins = MONTH_S * bins_hz / false_alarms_per_month
    return cusum_threshold(2 * bins, REFERENCE), -NormalDist().inv_cdf(0.5 / bins)


@dataclass(frozen=True, slots=True)
class Layout:
    """Steps in samples and bins at one rate: samples of a bin; bins before, after and between; of the window handed on."""

    size: int
    n_pre: int
    n_post: int
    n_rise: int
    n_window: int

    @classmethod
    def of(cls, fs: float, steps: Steps) -> Layout:
        if not (math.isfinite(fs) and fs >= 2 * BINS_HZ):
            raise ValueError(f"fs is at least {2 * BINS_HZ} Hz, got {fs!r}")
        size = max(2, round(fs / BINS_HZ))
        bins_hz = fs / size
        pre, post = max(2, math.ceil(steps.pre_s * bins_hz)), max(2, math.ceil(steps.post_s * bins_hz))
        rise = max(1, math.ceil(steps.rise_s * bins_hz))
        return cls(size, pre, post, rise, int(steps.latency_s * bins_hz))


def followers(fs: float, steps: Steps, rows: int) -> Followers:
    """The compiled state of so many rows of ``fs`` Hz."""
    at = Layout.of(fs, steps)
    bins_hz = fs / at.size
    n_gate, n_hold = at.n_rise + 2 * at.n_post, max(1, math.ceil(steps.hold_s * bins_hz))
    n_ring = max(math.ceil(KEPT_S * bins_hz), at.n_window) + 1
    drift = 0.5 * steps.min_step / (bins_hz * steps.rise_s)
    h, z = thresholds(steps.false_alarms_per_month, bins_hz)
    return Followers(
        rows,
        (at.size, at.n_pre, at.n_post, at.n_rise, n_gate, at.n_window, n_ring, n_hold),
        (drift, TRIGGER * steps.min_step, steps.min_step, RAMP * steps.min_step, z, REFERENCE, h),
    )
