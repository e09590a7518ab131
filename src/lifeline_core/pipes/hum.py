"""Two loggers' clocks compared by the mains hum: every wire of one grid swings alike, so both record the same slow pendulum.

::

    phase of the line in b - phase in a = const - 2 pi k f (ppm / 1e6) t        k = 1, 2, ... of the mains f

The grid's own wandering falls out, as long as both clocks read the same: an offset of o seconds between them leaves the phase
2 pi k (f(t) - f(0)) o, that is o / f times the trend of f for a drift. It needs no leak. It does need that both hear the same
grid: a pump on a converter, or one logger beside a generator, has its own frequency.
"""

from __future__ import annotations

from dataclasses import replace
from math import hypot, isfinite, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.pipes.drift import SIGMAS, Drift, fit_drift, refused

Complex = NDArray[np.complex128]
Samples = NDArray[Any]

WINDOW_S = 4.0  # of one phase: a line 0.5 Hz wide
STEP = 8  # phases per window, so that a line of another frequency turns visibly, not by a whole turn unseen
STANDS = 10.0  # power of the line over what lies beside it, per window, in either logger
BESIDE = np.arange(5, 9)  # bins off a line's main lobe, where its neighbourhood is looked at
BATCH = 64  # windows at a time
APART = 4.0  # standard deviations within which harmonics must agree


def hum_drift(
    a: ArrayLike, b: ArrayLike, fs: float, *, mains_hz: float = 50.0, harmonics: int = 8, max_ppm: float = 100.0,
    offset_sd_s: float = 0.0,
) -> Drift:
    """Drift of b's clock against a's from the phase of the mains and its harmonics.

    Parameters
    ----------
    a, b : array [n]
        Two loggers of one grid, same nominal rate, begun together to within a second. 24 s or more.
    fs : float
        Hz.
    mains_hz : float
        50 or 60.
    harmonics : int
        So many are looked at; those that stand out in both loggers are used.
    max_ppm : float
        A larger drift is not believed: the line is then not the grid's.
    offset_sd_s : float
        Standard deviation of the offset between the clocks; with the grid's trend over the record it adds to ``sd_ppm``.

    Returns
    -------
    Drift
        ``delays_s`` are phases of the strongest harmonic as times, from 0 at the first; ``delay_s`` means nothing: the hum does
        not say how far apart the clocks are, nor where anything is. ``reasons``: too-short, no-line, not-linear, not-one-grid
        (harmonics disagree, or the drift is beyond ``max_ppm``), no-drift-seen.

    Raises
    ------
    ValueError
        Rows of unlike length, a rate or mains frequency out of range.

    Source
    ------
    The hum as a common clock is known from audio forensics (C. Grigoras, Int. J. Speech Lang. Law 12 (2005) 63-76).
    """
    x, y = np.asarray(a), np.asarray(b)
    if x.ndim != 1 or x.shape != y.shape or x.size == 0:
        raise ValueError(f"a and b must be two rows of the same length, are of shape {x.shape} and {y.shape}")
    if not (isfinite(fs) and fs > 0.0 and mains_hz > 0.0 and harmonics >= 1 and max_ppm > 0.0 and offset_sd_s >= 0.0):
        raise ValueError(f"fs, mains_hz, max_ppm must be above 0, harmonics 1 or more, offset_sd_s 0 or more, "
                         f"are {fs}, {mains_hz}, {max_ppm}, {harmonics}, {offset_sd_s}")
    n = max(round(WINDOW_S * fs), 64)
    if x.size < 6 * n:
        return refused(f"too-short: {x.size / fs:.1f} s, {6 * WINDOW_S:g} are needed")
    bins = [round(k * mains_hz * n / fs) for k in range(1, harmonics + 1)]
    bins = [k for k in bins if k + BESIDE[-1] < n // 2]
    starts = np.arange(0, x.size - n + 1, max(n // STEP, 1))
    za, zb = (_tones(row, starts, n, bins) for row in (x, y))
    lines = [_line(za[:, k], zb[:, k], starts, fs, n, at * fs / n) for k, at in enumerate(bins)]
    found = [line for line in lines if line is not None]
    if not found:
        return refused(f"no-line: {mains_hz:g} Hz and harmonics do not stand {STANDS:g} times above their neighbourhood in both")
    best = min((k for k, line in enumerate(lines) if line is not None), key=lambda k: lines[k].sd_ppm)  # type: ignore[union-attr]
    trend = _trend(za[:, best, 0], starts, fs, n, bins[best])
    return _agree(found, max_ppm, trend * offset_sd_s * 1e6)


def _trend(z: Complex, starts: NDArray[np.intp], fs: float, n: int, at: int) -> float:
    """Relative change of a line's frequency per second over the record: twice the bend of its phase."""
    sound = np.isfinite(z)
    t = starts[sound] / fs
    phase = np.unwrap(np.angle(z[sound] * np.exp(-2j * pi * np.mod(at * starts[sound], n) / n)))
    return float(2.0 * np.polyfit(t - t.mean(), phase, 2)[0] / (2.0 * pi * at * fs / n))


def _tones(row: Samples, starts: NDArray[np.intp], n: int, bins: list[int]) -> Complex:
    """Spectrum of every window at the harmonics and beside them: [windows, harmonics, 1 + beside]."""
    window = np.hanning(n + 1)[:-1]
    at = np.abs(np.array(bins, int)[:, None] + np.concatenate([[0], -BESIDE, BESIDE]))
    out = np.empty((starts.size, *at.shape), complex)
    for k in range(0, starts.size, BATCH):
        taken = np.stack([np.asarray(row[i : i + n], np.float64) for i in starts[k : k + BATCH]])
        with np.errstate(invalid="ignore"):
            out[k : k + BATCH] = np.fft.rfft((taken - taken.mean(axis=1, keepdims=True)) * window)[:, at]
    return out


def _line(za: Complex, zb: Complex, starts: NDArray[np.intp], fs: float, n: int, at_hz: float) -> Drift | None:
    """Drift by one harmonic; None where it does not stand out in both."""
    with np.errstate(divide="ignore", invalid="ignore"):
        # floors: the median of an exponential is 0.693 of its mean
        a, b = (np.abs(z[:, 0]) ** 2 / (np.median(np.abs(z[:, 1:]) ** 2, axis=1) / 0.693) for z in (za, zb))
        ratio, noise = np.minimum(a, b), 0.5 / a + 0.5 / b  # variance of the phase difference
    sound = np.isfinite(ratio) & (ratio > 0.0)
    if sound.sum() < 6 * STEP or np.median(ratio[sound]) < STANDS:
        return None
    phase = np.full(starts.size, np.nan)
    phase[sound] = np.unwrap(np.angle(zb[sound, 0] * np.conj(za[sound, 0])))
    alone = np.flatnonzero(sound & (ratio > 1.0))
    alone = alone[alone % STEP == 0]  # windows that do not overlap
    if alone.size < 6:
        return None
    delays = -(phase[alone] - phase[alone[0]]) / (2.0 * pi * at_hz)
    return fit_drift((starts[alone] + n / 2.0) / fs, delays, np.maximum(np.sqrt(noise[alone]), 1e-6) / (2.0 * pi * at_hz))


def _agree(found: list[Drift], max_ppm: float, offset_ppm: float) -> Drift:
    """The weighted mean of harmonics, told with the points of the best one."""
    best = min(found, key=lambda d: d.sd_ppm)
    ppm, sd = np.array([d.ppm for d in found]), np.array([d.sd_ppm for d in found])
    weight = 1.0 / sd**2
    mean, known = float(np.sum(weight * ppm) / np.sum(weight)), 1.0 / sqrt(float(np.sum(weight)))
    reasons = [r for r in best.reasons if not r.startswith("no-drift-seen")]
    off = np.abs(ppm - mean) / np.hypot(sd, known)
    known = hypot(known, offset_ppm)
    if off.max() > APART:
        reasons.append(f"not-one-grid: harmonics say {', '.join(f'{p:.2f}' for p in ppm)} ppm")
    if abs(mean) > max_ppm:
        reasons.append(f"not-one-grid: {mean:.0f} ppm, at most {max_ppm:g} are a clock's")
    if abs(mean) < SIGMAS * known:
        reasons.append(f"no-drift-seen: {mean:.3f} ppm with a standard deviation of {known:.3f}, {SIGMAS:g} of them are needed")
    return replace(best, ppm=mean, sd_ppm=known, accepted=not reasons, reasons=tuple(reasons))
