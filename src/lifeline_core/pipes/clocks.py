"""Do two loggers' clocks run alike? Their drift from what they recorded, and whether it may be corrected.

::

    reading of b = (1 + ppm / 1e6) t + offset        t: reading of a
    delay(t) = pipe + offset + ppm / 1e6 t           of a source that stays where it is

The slope of the delay over the record is the drift. The offset cannot be seen: one leak's delay and a wrong clock look the
same. It takes a source of known place, a GNSS pulse or a radio mark to know it.

Three ways: parts of one long record (`estimate_drift`), delays of several recordings of a night (`fit_drift`), and the mains
hum, which all loggers of one grid hear alike, with no leak at all (`hum_drift`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite, log, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr

from lifeline_core.dsp import delay as tde
from lifeline_core.pipes.band import MAINS_HZ, lines
from lifeline_core.pipes.drift import Drift, fit_drift, refused
from lifeline_core.pipes.hum import hum_drift
from lifeline_core.pipes.resample import correct
from lifeline_core.pipes.spectra import Spectra, cross_spectra, segment_length

__all__ = ["Drift", "correct", "estimate_drift", "fit_drift", "hum_drift"]

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Samples = NDArray[Any]

LOG10_CHANCE = -6.0  # of unrelated recordings lining up as well, over all delays and drifts that were tried
FEWEST_PARTS = 6
STEADY = 0.2  # rad: a delay that is known so well, at the mean frequency, does not jump by a period
NEIGHBOURS = 15  # frequencies that are smoothed over
FREQUENCY_SPREAD = 1.0 + 2.0 * (4.0 / 9.0 + 1.0 / 36.0)  # neighbouring lines of a Hann window are no independent ones


@dataclass(frozen=True, slots=True)
class _Parts:
    """Cross spectra of consecutive parts of a record, and the power of all of it."""

    f: Real
    t_s: Real  # middle of each part
    s12: Complex  # [parts, f]
    s11: Real
    s22: Real
    n: int  # segments in a part
    part_s: float


def estimate_drift(
    a: ArrayLike,
    b: ArrayLike,
    fs: float,
    *,
    max_delay_s: float = 0.5,
    max_ppm: float = 50.0,
    parts: int = 24,
    mains_hz: tuple[float, ...] = MAINS_HZ,
) -> Drift:
    """Drift between two loggers from one long record of a source that both hear.

    ::

        parts      |-----|-----|-----|-----|     each short enough that the drift does not blur it
        search     sum over parts of W S12(part) exp(i 2 pi f (delay + drift t)), over all delays and drifts
        line       delay of each part next to that, weighted line through them
        proof      correct b by it, correlate again: the coherence must not be less

    The weight W is of maximum likelihood, from the coherence within parts, which a drift does not touch.

    Parameters
    ----------
    a, b : array [n]
        Two loggers, same nominal rate, begun together to within ``max_delay_s``.
    fs : float
        Hz.
    max_delay_s : float
        Of pipe and clocks together.
    max_ppm : float
        Largest drift looked for, within 1000.
    parts : int
        The record is cut into at most so many; each has 4 segments or more.
    mains_hz : sequence of float
        These and their harmonics are left out, as is whatever stands up as a line.

    Returns
    -------
    Drift
        ``accepted`` only if the source is beyond chance, the delays lie on a line, the drift is beyond 3 standard deviations
        and the corrected record coheres no less.

    Raises
    ------
    ValueError
        Rows of unlike length, a rate, delay or drift out of range.

    Source
    ------
    Maximum likelihood weights of Knapp and Carter 1976; the search is a coherent sum over delay and its rate, as in
    radar and interferometry.
    """
    x, y = np.asarray(a), np.asarray(b)
    if x.ndim != 1 or x.shape != y.shape or x.size == 0:
        raise ValueError(f"a and b must be two rows of the same length, are of shape {x.shape} and {y.shape}")
    if not (fs > 0.0 and isfinite(fs)):
        raise ValueError(f"fs must be above 0 and finite, is {fs}")
    if not (max_delay_s > 0.0 and 0.0 < max_ppm <= 1000.0 and parts >= FEWEST_PARTS):
        raise ValueError(f"max_delay_s must be above 0, max_ppm in 0 .. 1000 and parts {FEWEST_PARTS} or more, "
                         f"are {max_delay_s}, {max_ppm} and {parts}")
    n = segment_length(x.size, fs, max_delay_s)
    least = 5 * n // 2  # samples of a part: 4 half-overlapping segments
    count = min(parts, x.size // least)
    if count < FEWEST_PARTS:
        return refused(f"too-short: {x.size / fs:.1f} s hold {count} parts of {least / fs:.1f} s, {FEWEST_PARTS} are needed")
    cut = _cut(x, y, fs, n, count)
    if cut is None:
        return refused("no-common-source: a logger recorded nothing, or too few parts are free of invalid samples")
    weight = _weight(cut, _coherence(cut, _open(cut, fs, n, mains_hz), cut.s12))
    found = _search(cut, weight, fs, n, max_delay_s, max_ppm)
    if found is None or found[2] > LOG10_CHANCE:
        chance = "no frequency coheres" if found is None else f"chance 1e{found[2]:.1f}, at most 1e{LOG10_CHANCE:g}"
        return refused(f"no-common-source: {chance}")
    # again, with both loggers' segments on the same stretch of the source: they may be shorter, so that there are more
    fine = segment_length(x.size, fs, None)
    again = _cut(x, y, fs, fine, min(parts, 2 * x.size // (5 * fine)), found[:2])
    if again is None:
        return refused("no-common-source: too few parts are free of invalid samples")
    kept = _open(again, fs, fine, mains_hz)
    return _proved(x, y, fs, fine, kept, _follow(again, kept, found[0], found[1]))


def _cut(x: Samples, y: Samples, fs: float, n: int, count: int, line: tuple[float, float] = (0.0, 0.0)) -> _Parts | None:
    """Averages of each part, b's samples taken later by ``line`` (delay, drift) and turned back; None: too few parts are sound.

    Segments with an invalid sample are left out; a part needs three.
    """
    size = x.size // count
    window = np.hanning(n + 1)[:-1]
    f = np.fft.rfftfreq(n, 1.0 / fs)
    s12, power, times = [], np.zeros((2, f.size)), []
    for k in range(count):
        shift = round((line[0] + line[1] * (k + 0.5) * size / fs) * fs)
        begin, end = max(k * size, -shift, 0), min((k + 1) * size, x.size - max(shift, 0))
        starts = np.arange(begin, end - n + 1, n // 2)
        if starts.size < 3:
            continue
        taken = [np.stack([np.asarray(r[i + by : i + by + n], np.float64) for i in starts]) for r, by in ((x, 0), (y, shift))]
        sound = np.isfinite(taken[0]).all(axis=1) & np.isfinite(taken[1]).all(axis=1)
        if sound.sum() < 3:
            continue
        taken, starts = [rows[sound] for rows in taken], starts[sound]
        fa, fb = (np.fft.rfft((rows - rows.mean(axis=1, keepdims=True)) * window) for rows in taken)
        s12.append(np.mean(np.conj(fa) * fb, axis=0) * np.exp(-2j * pi * f * shift / fs))
        power += np.stack([np.mean(np.abs(fa) ** 2, axis=0), np.mean(np.abs(fb) ** 2, axis=0)])
        times.append((starts[0] + starts[-1] + n) / 2.0 / fs)
    if len(s12) < FEWEST_PARTS or not (power[:, 1:-1] > 0.0).any(axis=1).all():
        return None
    power /= len(s12)
    segments = (size - n) // (n // 2) + 1
    return _Parts(np.asarray(f, np.float64), np.array(times), np.array(s12), power[0], power[1], segments, size / fs)


def _open(cut: _Parts, fs: float, n: int, mains_hz: tuple[float, ...]) -> NDArray[np.bool_]:
    """Frequencies that may be used: no mains, no lines, no ends, power in both."""
    both = cut.s11 * cut.s22
    whole = Spectra(fs, n, cut.s11, cut.s22, cut.s12.mean(axis=0), both, (), cut.n * cut.t_s.size, 0)
    kept = ~lines(whole, mains_hz) & (both > 0.0)
    kept[:2] = kept[-1] = False
    return np.asarray(kept, np.bool_)


def _coherence(cut: _Parts, kept: NDArray[np.bool_], s12: Complex) -> Real:
    """Coherence of averages of parts, s12[k, f] each, freed of its bias and smoothed over frequencies; 0 where it may be none."""
    segments = cut.n / (1.0 + 2.0 / 36.0) * cut.t_s.size / len(s12)  # in each average
    raw = tde.divide(np.mean(np.abs(s12) ** 2, axis=0), cut.s11 * cut.s22)
    fair = np.where(kept, (raw - 1.0 / segments) / (1.0 - 1.0 / segments), 0.0)
    box = np.ones(NEIGHBOURS)
    near = np.maximum(np.convolve(kept, box, "same"), 1.0)
    smooth = np.convolve(fair, box, "same") / near
    doubt = 2.0 / segments * np.sqrt(FREQUENCY_SPREAD / (near * len(s12)))  # chance's own scatter about its 1 / n
    return np.where(kept & (smooth > doubt), np.minimum(smooth, 0.999), 0.0)


def _weight(cut: _Parts, g: Real) -> Real:
    """Maximum likelihood weight of S12 for a coherence g."""
    return np.asarray(tde.divide(np.sqrt(g) / (1.0 - g), np.sqrt(cut.s11 * cut.s22)), np.float64)


def _search(cut: _Parts, weight: Real, fs: float, n: int, max_delay_s: float, max_ppm: float) -> tuple[float, float, float] | None:
    """Delay at time 0, drift (s/s), and log10 of the chance of unrelated recordings; None where nothing has weight."""
    on = np.flatnonzero(weight)
    if on.size == 0:
        return None
    f, z = cut.f[on], weight[on] * cut.s12[:, on]
    middle = cut.t_s - cut.t_s.mean()
    top = float(np.sqrt(np.sum(np.abs(z) * f * f) / np.sum(np.abs(z))))
    step = 1.0 / (8.0 * top * max(float(np.ptp(middle)), 1e-9))
    steps = int(np.ceil(max_ppm * 1e-6 / step))
    reach = min(max_delay_s, 0.25 * n / fs)
    turn = np.exp(2j * pi * f * middle[:, None] * step)
    z = z * np.exp(-2j * pi * f * middle[:, None] * step * steps)
    best = (-1.0, 0.0, 0.0)
    full = np.zeros(cut.f.size, complex)
    for k in range(-steps, steps + 1):
        full[on] = z.sum(axis=0)
        lags, r = tde.correlogram(full, fs, n, max_delay_s=reach)
        peak = int(np.argmax(r))
        height = float(r[peak]) * float(np.abs(full).sum())
        if height > best[0]:
            lag = tde.refine(cut.f, full, float(lags[peak]), float(lags[1] - lags[0]))
            best = (height, lag, k * step)
        z = z * turn
    spread = sqrt(0.5 * float(np.sum(np.abs(z) ** 2)) * FREQUENCY_SPREAD)
    trials = (2 * steps + 1) * (4.0 * reach * float(np.ptp(f)) + 1.0)
    chance = (float(log_ndtr(-best[0] / spread)) + log(trials)) / log(10.0)
    return best[1] - best[2] * float(cut.t_s.mean()), best[2], min(chance, 0.0)


def _follow(cut: _Parts, kept: NDArray[np.bool_], delay: float, slope: float) -> Drift:
    """The delays of groups of parts beside the line found, and the line through those; twice: the first moves the second.

    As many groups as are loud enough each: a delay whose error is a good part of a period would now and then jump by one.
    """
    found = refused("no-common-source: no frequency coheres")
    for _ in range(2):
        laid = cut.s12 * np.exp(2j * pi * cut.f * (delay + slope * cut.t_s)[:, None])
        g = _coherence(cut, kept, laid.mean(axis=0)[None])
        on = np.flatnonzero(g)
        if on.size == 0:
            return refused("no-common-source: no frequency coheres")
        weight = _weight(cut, g)
        f, z = cut.f[on], weight[on] * laid[:, on]
        mean = float(np.sum(np.abs(z) * f) / np.sum(np.abs(z)))
        sd = tde.delay_sd(cut.f, weight, cut.s11, cut.s22, np.sqrt(g * cut.s11 * cut.s22) + 0j, g, cut.part_s)
        most = cut.t_s.size // max(1, int(np.ceil((2.0 * pi * mean * sd / STEADY) ** 2)))
        if most < FEWEST_PARTS:
            return refused(f"no-common-source: too faint to follow, the delay of a part of {cut.part_s:.1f} s is known "
                           f"to {sd * 1e3:.2f} ms")
        groups = np.array_split(np.arange(cut.t_s.size), most)
        sums = np.array([z[k].sum(axis=0) for k in groups])
        at = np.array([cut.t_s[k].mean() for k in groups])
        span = np.linspace(-0.5 / mean, 0.5 / mean, 65)
        tops = np.real(np.exp(2j * pi * span[:, None] * f) @ sums.T).argmax(axis=0)
        own = [tde.refine(f, row, float(span[k]), float(span[1] - span[0])) for row, k in zip(sums, tops, strict=True)]
        found = fit_drift(at, delay + slope * at + np.array(own), np.array([sd / sqrt(k.size) for k in groups]))
        delay, slope = found.delay_s, found.ppm * 1e-6
    return found


def _proved(x: Samples, y: Samples, fs: float, n: int, kept: NDArray[np.bool_], drift: Drift) -> Drift:
    """Correct b, average over the whole record again, and compare the coherence with what it was."""
    if not isfinite(drift.sd_ppm):
        return drift
    better = correct(y, fs, float(np.clip(drift.ppm, -1000.0, 1000.0)))
    size = min(x.size, better.size)
    seen = []
    for other, delay in ((y, drift.delay_s + drift.ppm * 1e-6 * x.size / fs / 2.0), (better, drift.delay_s)):
        s = cross_spectra(x[:size], other[:size], fs, n, shift=round(delay * fs))
        seen.append(tde.coherence(s.s11, s.s22, s.s12)[kept] - 1.0 / max(s.n, 1))
    band = seen[0] + seen[1] > 2.0 * np.mean(seen[0] + seen[1])  # where there is anything to gain or lose
    before, after = (max(float(np.mean(c[band])), 0.0) if band.any() else 0.0 for c in seen)
    reasons = list(drift.reasons)
    if after < 0.98 * before:
        reasons.append(f"no-gain: coherence {before:.4f} before and {after:.4f} after the correction")
    return replace(drift, coherence=(before, after), accepted=not reasons, reasons=tuple(reasons))
