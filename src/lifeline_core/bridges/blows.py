"""Was it a blow? What tells an impact - ship, overheight vehicle, falling load - from traffic, joints and earthquakes.

::

    |a|        blow               vehicle                earthquake            loose joint
               |\\                    .-^-.                 . .^v^v^.             |
        _______| \\/\\-._       ____.-'     '-.__       __.-^v       v^v-.__    ____|____|____
               sudden, fades      grows, fades          grows, goes on        small, at one place, again and again

An event is an impact where all of this holds, asked in this order; the first that does not is its reason to be refused:

    strong      the largest peak reaches the limit ...                                                      "weak"
    unusual     ... and ``beyond`` times what nine of ten events of these days reach on that channel        "usual"
    shared      ``channels`` or more of the sensors, half of them by default, feel it ...                   "local"
    at once     ... and the onsets of four in five of those lie within ``together_s``                       "apart"
    sudden      half of the peak comes within ``rise_s`` of the onset, out of a tenth of its energy before;
                the first second has a quarter of the strongest's energy                                    "slow"
    fading      one of the first four seconds is the strongest, none behind it has ``growth`` times the energy
                of one before (a twentieth of the strongest's counts as none), the last is below 0.85 of
                the strongest; and the second half, if a twentieth is left, is a few lines: narrower than
                ``broad_hz``                                                                            "lasting"
    wide        its spectrum is ``broad_hz`` wide or more, or more than half of it is transversal           "narrow"

Source: none; the rules and their figures are this program's (docs/events.md says what they were tried on). Onsets after N. Maeda
(1985); width of a spectrum (sum S)^2 / sum S^2 as the noise bandwidth of F. J. Harris, Proc. IEEE 66 (1978) 51-83.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from lifeline_core.dsp.onset import aic_onset

Real = NDArray[np.float64]

BEFORE_S, AFTER_S = 3.0, 8.0
FELT = 0.1  # of the largest peak: a sensor feels it
EDGE = 0.1  # of the largest: how long it lasts
FADED = 0.85
STRONGEST, FIRST = 4, 0.25  # a bow that is crushed springs back seconds later, as hard as it came
TOGETHER = 0.8  # of those who feel it
QUIET = 0.05  # of the strongest second's energy: less than that is quiet again


@dataclass(frozen=True, slots=True)
class Rules:
    """The figures of the rules above; ``least`` is the lowest limit, in the unit of the samples. ``channels`` None: half of
    them, and two at least."""

    least: float
    beyond: float = 3.0
    channels: int | None = None
    together_s: float = 0.3
    rise_s: float = 0.5
    growth: float = 1.3
    broad_hz: float = 2.5


@dataclass(frozen=True, slots=True)
class Blow:
    """What an event was. ``reason`` is empty for an impact; ``row`` the strongest channel; ``felt`` rows by their onset, with
    ``onsets`` in samples; ``peak`` largest absolute value; ``energy`` its square integrated over the record, unit^2 s;
    ``decay_hz`` the dominant frequency of what rings behind it, NaN where nothing does; ``transversal`` share of the energy in
    channels that measure across the bridge, NaN where none is known; ``sure`` 0.5 to 1 for an impact: how far the rules are
    fulfilled beyond need, no probability."""

    reason: str
    row: int
    onset: int
    peak: float
    felt: tuple[int, ...] = ()
    onsets: tuple[int, ...] = ()
    rise_s: float = float("nan")
    duration_s: float = float("nan")
    energy: float = float("nan")
    decay_hz: float = float("nan")
    width_hz: float = float("nan")
    transversal: float = float("nan")
    growth: float = float("nan")
    sure: float = 0.0


def judge_blow(y: ArrayLike, fs: float, trigger: int, test: Rules, *, usual: ArrayLike | None = None,
               across: ArrayLike | None = None) -> Blow:
    """Judge one event.

    Parameters
    ----------
    y : float[rows, n]
        High-passed acceleration from BEFORE_S before the trigger (less at the start of a stream) until up to AFTER_S after it.
        Samples that are not finite count as 0; a channel with more than a tenth of such is left out.
    fs : Hz.
    trigger : index of the sample at which it was noticed.
    usual : float[rows], what nine of ten events reach; absent or NaN: nothing is known.
    across : bool[rows], which channels measure across the bridge; absent: not known.

    Raises
    ------
    ValueError
        A trigger outside the samples, less than a second behind it.
    """
    x = np.asarray(y, np.float64)
    if x.ndim != 2 or not 0 <= trigger <= x.shape[1] - fs:
        raise ValueError(f"y must be [rows, n] with a second or more behind the trigger, is of shape {x.shape} with {trigger}")
    good = np.isfinite(x)
    x = np.where(good & (good.mean(axis=1, keepdims=True) >= 0.9), x, 0.0)
    peaks = np.abs(x[:, trigger:]).max(axis=1)
    row, peak = int(np.argmax(peaks)), float(peaks.max())
    reason = _strength(x, trigger, peak, row, test, usual)
    if reason:
        return Blow(reason, row, trigger, peak)
    onsets = {r: _onset(x[r], fs, trigger, float(peaks[r])) for r in range(len(x)) if peaks[r] >= FELT * peaks[row]}
    felt = tuple(sorted(onsets, key=lambda r: (onsets[r], r)))
    onset = onsets[felt[0]]
    near = [r for r in felt if onsets[r] - onset <= test.together_s * fs]
    need = min(test.channels or max(2, (len(x) + 1) // 2), len(x))
    if len(felt) < need or len(near) < max(need, TOGETHER * len(felt)):
        return Blow("local" if len(felt) < need else "apart", row, onset, peak, felt, tuple(onsets[r] for r in felt))
    return _shape(x, fs, test, across, Blow("", row, onset, peak, felt, tuple(onsets[r] for r in felt)))


def _strength(x: Real, trigger: int, peak: float, row: int, test: Rules, usual: ArrayLike | None) -> str:
    if not peak >= test.least:
        return "weak"
    known = float(np.asarray(usual, np.float64)[row]) if usual is not None else float("nan")
    return "usual" if peak < test.beyond * known else ""


def _onset(y: Real, fs: float, trigger: int, peak: float) -> int:
    """Where one channel begins to move: the best cut between a second before the trigger and the way up to half of its peak."""
    half = trigger + int(np.argmax(np.abs(y[trigger:]) >= 0.5 * peak))
    begin = max(0, trigger - round(fs))
    window = y[begin : half + 2]
    if window.size < 8:
        return min(trigger, half)
    index, quality = aic_onset(window)
    return begin + int(index) + 1 if quality > 0.0 else min(trigger, half)


def _shape(x: Real, fs: float, test: Rules, across: ArrayLike | None, e: Blow) -> Blow:
    """Time and frequency of an event that is strong and shared."""
    felt = list(e.felt)
    second, n = max(1, round(fs)), x.shape[1]
    power = (x[felt] ** 2).sum(axis=0)
    frames = max(1, (n - e.onset) // second)
    energies = power[e.onset : e.onset + frames * second].reshape(frames, -1).sum(axis=1) + 1e-300
    before = power[max(0, e.onset - round(BEFORE_S * fs)) : max(0, e.onset - round(0.1 * fs))]
    quiet = float(before.mean()) * second if before.size else 0.0
    y = x[e.row, e.onset :]
    early = np.abs(y[: max(1, round(2.0 * fs))])
    rise = int(np.argmax(early >= 0.5 * early.max())) / fs
    top = int(np.argmax(energies))
    loud = np.maximum(energies[top:], QUIET * energies[top])  # a car behind the blow is no growth
    growth = float(np.max(loud[1:] / np.minimum.accumulate(loud)[:-1], initial=1.0))
    width = spectrum_width(y[:second], fs)
    share = float("nan")
    if across is not None and np.any(across):
        each = (x[:, e.onset :] ** 2).sum(axis=1)
        share = float(each[np.asarray(across, bool)].sum() / each.sum())
    margins = {
        "slow": min(test.rise_s / max(rise, 0.5 / fs), 0.1 * float(energies[0]) / quiet if quiet > 0.0 else 1e3,
                    float(energies[0] / energies[top]) / FIRST),
        "lasting": min(test.growth / growth, FADED * float(energies[top] / energies[-1]), _rings(y, fs, test.broad_hz))
        * (top < STRONGEST and frames >= 4),
        "narrow": max(width / test.broad_hz, 2.0 * share if share == share else 0.0),
    }
    reason = next((name for name, margin in margins.items() if not margin >= 1.0), "")
    sure = float(np.prod([m / (1.0 + m) for m in (*margins.values(), e.peak / test.least)]) ** 0.25)
    heard = int(np.argmax(np.abs(x[np.asarray(across, bool)]).max(axis=1))) if share > 0.5 else -1
    ringing = x[np.flatnonzero(np.asarray(across, bool))[heard]] if heard >= 0 else x[e.row]
    return Blow(reason, e.row, e.onset, e.peak, e.felt, e.onsets, rise, _duration(y, fs), float((y**2).sum()) / fs,
                ringing_frequency(ringing[e.onset + round(0.5 * fs) :], fs), width, share, growth, sure)


def _rings(y: Real, fs: float, width_hz: float) -> float:
    """How far the second half of a record is a few lines, as what rings freely is; plenty where next to nothing is left."""
    half = y.size // 2
    early, late = float((y[:half] ** 2).sum()), float((y[half:] ** 2).sum())
    return width_hz / max(spectrum_width(y[half:], fs), 1e-3) if late > QUIET * early else 1e3


def _duration(y: Real, fs: float) -> float:
    """From the onset until the RMS over a tenth of a second stays below EDGE of the largest."""
    m = max(1, round(0.1 * fs))
    rms = np.sqrt((y[: y.size // m * m].reshape(-1, m) ** 2).mean(axis=1)) if y.size >= m else np.abs(y)
    over = np.flatnonzero(rms >= EDGE * rms.max())
    return float((over[-1] + 1) * m / fs)


def spectrum_width(y: ArrayLike, fs: float) -> float:
    """Effective width of a spectrum, Hz: a single line has next to none, a click half of the sampling rate.

    >>> round(spectrum_width([1.0] + 99 * [0.0], 100.0)), spectrum_width(np.sin(np.arange(100) * 0.2 * np.pi), 100.0) < 2.0
    (51, True)
    """
    x = np.asarray(y, np.float64)
    top = float(np.abs(x).max(initial=0.0))
    if top == 0.0:
        return 0.0
    s = np.abs(fft.rfft(x / top)) ** 2
    return float(s.sum() ** 2 / (s**2).sum() * fs / x.size)


def ringing_frequency(y: ArrayLike, fs: float) -> float:
    """The dominant frequency of a free decay, Hz, between the lines of its spectrum; NaN where there are not 16 samples, or all
    are 0.

    >>> t = np.arange(600) / 100.0
    >>> round(ringing_frequency(np.exp(-0.5 * t) * np.cos(2 * np.pi * 3.3 * t), 100.0), 2)
    3.3
    """
    x = np.asarray(y, np.float64)
    top = float(np.abs(x).max(initial=0.0))
    if x.size < 16 or top == 0.0:
        return float("nan")
    size = fft.next_fast_len(8 * x.size, real=True)
    s = np.abs(fft.rfft((x - x.mean()) / top, size))
    k = int(np.argmax(s))
    if not 0 < k < s.size - 1:
        return float("nan")
    a, b, c = s[k - 1], s[k], s[k + 1]
    return float((k + 0.5 * (a - c) / (a - 2.0 * b + c)) * fs / size)
