"""Follows the pressure at one sensor, sample by sample, and says when it stepped to another level.

Samples are put into bins of 1/16 s (the median of each, so that a glitch of a sample or two is not seen). Over the
bins runs a pair of CUSUMs on their differences - a meter of how far the pressure has fallen (risen) faster than a slow
change may::

    down[k] = max(0, down[k-1] - (m[k] - m[k-1]) - drift)       drift = half of min_step per rise_s

A change slower than ``drift`` never counts, whatever its size. When a meter passes its threshold, the step is confirmed
once most of the last ``post_s`` differs from the level ``rise_s`` before by ``min_step``; then the window is
handed to `lifeline_core.pipes.onset.refine`. All decisions fall at bin ends, which are counted from the start of the
stream: how it was cut into blocks does not matter.

Source: E. S. Page, Biometrika 41 (1954) 100-115 (CUSUM).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.errors import StateError
from lifeline_core.pipes.onset import Onset, refine

BINS_HZ = 16
LAG = 4  # bins between the two levels whose difference measures the noise
NOISE_BINS, WARM_BINS = 256, 12  # differences remembered (16 s), and needed before anything is said
NOISE_EVERY = 16
TRIGGER, TRIGGER_NOISE, STEP_NOISE = 0.7, 5.0, 6.0  # of min_step; of the noise of the differences
VERSION = 1


@dataclass(frozen=True, slots=True)
class Steps:
    """What counts as a step. ``min_step`` in the unit of the samples; a slower change than ``rise_s`` is none."""

    min_step: float = 0.3
    rise_s: float = 0.7
    pre_s: float = 0.5
    post_s: float = 0.25
    hold_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A confirmed step: at which sample (counted from the start) it could be said, and the onset counted likewise.

    Without an onset: the pressure has been quiet for ``hold_s``.
    """

    sample: int
    onset: Onset | None


def _medians(x: NDArray[np.float32]) -> list[float]:
    """Median of the finite samples of every row; NaN where they are fewer than half."""
    finite = np.isfinite(x)
    n = finite.sum(axis=1)
    ordered = np.sort(np.where(finite, x, np.inf).astype(np.float64), axis=1)
    row = np.arange(len(x))
    middle = 0.5 * (ordered[row, np.maximum((n - 1) // 2, 0)] + ordered[row, np.minimum(n // 2, x.shape[1] - 1)])
    found: list[float] = np.where(2 * n >= x.shape[1], middle, np.nan).tolist()
    return found


class Follower:
    """The state of one sensor; see the module's docstring.

    Parameters
    ----------
    fs : float
        Hz, at least 32.
    steps : Steps
        What counts.
    """

    def __init__(self, fs: float, steps: Steps) -> None:
        if not (math.isfinite(fs) and fs >= 2 * BINS_HZ):
            raise ValueError(f"fs is at least {2 * BINS_HZ} Hz, got {fs!r}")
        self.fs, self.steps = float(fs), steps
        self.size = max(2, round(fs / BINS_HZ))
        self.bin_s = self.size / fs
        self.n_pre = max(2, math.ceil(steps.pre_s / self.bin_s))
        self.n_post = max(2, math.ceil(steps.post_s / self.bin_s))
        self.n_rise = max(1, math.ceil(steps.rise_s / self.bin_s))
        self.drift = 0.5 * steps.min_step * self.bin_s / steps.rise_s
        self.n_hold = max(1, math.ceil(steps.hold_s / self.bin_s))
        self.n_window = 2 * self.n_rise + 2 * self.n_pre + 2 * self.n_post  # bins kept
        self.samples = 0  # taken since the start
        self.noise = math.inf  # of the difference of two levels; inf: not known yet
        self.differences: list[float] = []
        self.restart()

    def restart(self) -> None:
        """After a seam: the level is not known, the noise is."""
        self.raw = np.zeros(0, dtype=np.float32)  # the last n_window bins and what has come of the next
        self.open = 0  # samples of the bin that is not full yet
        self._forget()

    def _forget(self) -> None:
        self.missing = 0  # bins in a row without a level
        self.bins = 0  # that told something of the noise
        self.levels: list[float] = []
        self.down = self.up = 0.0
        self.down_bins = self.up_bins = 0  # since the meter left zero
        self.pending = 0  # bins since a meter passed its threshold, 0: none has
        self.quiet_bins = 0

    @property
    def warm(self) -> bool:
        return math.isfinite(self.noise)

    def push(self, x: NDArray[np.float32]) -> list[Seen]:
        """Take the next samples; what could be said at the bins that they fill."""
        self.raw = np.concatenate([self.raw, x])
        self.samples += len(x)
        n = (self.open + len(x)) // self.size
        self.open = (self.open + len(x)) % self.size
        found = []
        if n:
            stop = len(self.raw) - self.open
            for k, level in enumerate(_medians(self.raw[stop - n * self.size : stop].reshape(n, self.size)), 1 - n):
                seen = self._bin(level, k * self.size - self.open)
                if seen is not None:
                    found.append(seen)
        keep = self.n_window * self.size + self.open
        if len(self.raw) > keep:
            self.raw = self.raw[-keep:].copy()
        return found

    def _bin(self, level: float, after: int) -> Seen | None:
        """One bin; ``after`` (not positive) is where it ends, counted from the newest sample."""
        if level != level:  # mostly holes: no level, no decision
            self.missing += 1
            if 2 * self.missing > self.n_rise:
                self._forget()
            return None
        self.missing = 0
        levels = self.levels
        levels.append(level)
        if len(levels) < 2:
            return None
        if len(levels) > self.n_window:
            del levels[0]
        self._learn()
        if not self.warm:
            return None
        change = level - levels[-2]
        self.down = max(0.0, self.down - change - self.drift)
        self.up = max(0.0, self.up + change - self.drift)
        self.down_bins = self.down_bins + 1 if self.down > 0 else 0
        self.up_bins = self.up_bins + 1 if self.up > 0 else 0
        beyond = max(self.down, self.up) >= max(TRIGGER * self.steps.min_step, TRIGGER_NOISE * self.noise)
        self.quiet_bins = 0 if beyond else self.quiet_bins + 1
        seen = None
        if self.pending:
            seen = self._pending(after)
        else:
            self.pending = int(beyond)
        if seen is None and self.quiet_bins == self.n_hold:
            seen = Seen(self.samples - 1 + after, None)
        return seen

    def _learn(self) -> None:
        """Noise of the difference of two levels LAG bins apart: median, so that a step or two does not raise it."""
        levels, past = self.levels, self.differences
        if len(levels) > LAG:
            past.append(abs(levels[-1] - levels[-1 - LAG]))
            if len(past) > NOISE_BINS:
                del past[0]
            self.bins += 1
            if len(past) == WARM_BINS or (len(past) > WARM_BINS and self.bins % NOISE_EVERY == 0):
                self.noise = 1.4826 * float(np.median(past))

    def _pending(self, after: int) -> Seen | None:
        """Confirm a step from the bins after the one that raised the question, or give it up when it does not last."""
        self.pending += 1
        if self.pending <= self.n_post:
            return None
        levels = self.levels
        # The middles of the two levels lie rise_s apart, so that a slower ramp does not add up to a step.
        back = len(levels) - self.n_rise - (self.n_post + self.n_pre) // 2
        old = levels[max(0, back) : max(2, back + self.n_pre)]
        before = float(np.median(old))
        # More than half of the bins: a dip that is over within them is no step.
        size = sorted(abs(level - before) for level in levels[-self.n_post :])[(self.n_post - 1) // 2]
        if size >= max(self.steps.min_step, STEP_NOISE * self.noise):
            return self._confirm(after)
        if self.pending > self.n_rise + 2 * self.n_post:
            self._settle()
        return None

    def _confirm(self, after: int) -> Seen:
        bins = max(self.down_bins, 1) if self.down >= self.up else max(self.up_bins, 1)
        x = self._window(after)
        reached = max(1, len(x) - self.n_post * self.size)
        started = len(x) - (min(bins, self.n_rise + self.n_post) + 1) * self.size
        n_quiet = min(max(started, self.n_pre * self.size // 2), reached)
        floor = max(1e-3 * self.steps.min_step, 2e-7 * float(np.abs(x).max()))
        onset = refine(x, reached, self.fs, n_quiet=max(2, n_quiet), floor=floor)
        self._settle()
        self.quiet_bins = 0
        end = self.samples + after
        return Seen(end - 1, replace(onset, index=onset.index + end - len(x)))

    def _window(self, after: int) -> NDArray[np.float64]:
        """The samples of the levels known, holes filled with the value before them."""
        stop = len(self.raw) + after
        x = self.raw[max(0, stop - self.n_window * self.size) : stop].astype(np.float64)
        good = np.isfinite(x)
        if not good.all():
            at = np.maximum.accumulate(np.where(good, np.arange(len(x)), 0))
            x = x[at]
            x[~np.isfinite(x)] = x[np.isfinite(x)][0]
        return x

    def _settle(self) -> None:
        self.pending = 0
        self.down = self.up = 0.0
        self.down_bins = self.up_bins = 0

    def save(self) -> dict[str, Any]:
        """Everything that matters for going on, as plain values."""
        return {
            "version": VERSION, "fs": self.fs, "raw": self.raw.tobytes(), "open": self.open, "samples": self.samples,
            "noise": self.noise, "differences": np.array(self.differences).tobytes(),
            "levels": np.array(self.levels).tobytes(),
            "down": self.down, "up": self.up, "down_bins": self.down_bins, "up_bins": self.up_bins,
            "pending": self.pending, "quiet_bins": self.quiet_bins,
            "missing": self.missing, "bins": self.bins,
        }  # fmt: skip

    def load(self, state: Mapping[str, Any]) -> None:
        """Take what `save` gave; StateError for another version or rate."""
        if state.get("version") != VERSION or state.get("fs") != self.fs:
            raise StateError(f"a follower of version {VERSION} at {self.fs} Hz, got {state.get('version')!r} "
                             f"at {state.get('fs')!r}")  # fmt: skip
        self.raw = np.frombuffer(state["raw"], dtype=np.float32).copy()
        self.differences = np.frombuffer(state["differences"]).tolist()
        self.levels = np.frombuffer(state["levels"]).tolist()
        for key in ("open", "samples", "noise", "down", "up", "down_bins", "up_bins", "pending", "quiet_bins",
                    "missing", "bins"):  # fmt: skip
            setattr(self, key, state[key])
