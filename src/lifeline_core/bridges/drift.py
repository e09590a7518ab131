"""Slow drift: a cumulative sum of how unlikely each window is, on the scale of a normal variable (Page's test, one side).

    sum = max(0, sum + min(z, LARGEST) - SHIFT / 2)        z = (score - mean) / sd

Weather that was not measured makes neighbouring scores alike, for hours, and what is alike adds up: sums of n scores then
scatter by more than sqrt(n) times one score. sd is therefore that of sums: of batches of 1, 2, 4 ... windows of training, up
to a tenth of it, the one with the largest sqrt(m var(batch means)). The threshold follows from the budget by Siegmund's formula,
and is never below what the sum of the training windows reaches.

A sum alone tells of more scatter as well as of movement: to be a drift, some mode must have moved by what so long a record can
know, on the mean of the newer half of the windows since the sum was zero.

Source of batch means: G. S. Fishman, Concepts and Methods in Discrete Event Digital Simulation (1973).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np

from lifeline_core.bridges.modes import Real
from lifeline_core.dsp.cusum import cusum_threshold
from lifeline_core.errors import StateError

VERSION = 1
SHIFT = 1.0  # of the mean score, in standard deviations, that the sum is made for
LEAST = 0.5  # standard deviation of scores; a normal score has 1
LARGEST = 3.0  # standard deviations that one window can add to the sum: an odd one is no drift
FEWEST = 10  # batches
KEPT = 128  # windows of a rise, the newest


class Drift:
    """The sum, and what the modes have moved while it rose."""

    def __init__(self, scale: tuple[float, float], threshold: float, modes: int) -> None:
        self.scale, self.threshold = scale, threshold  # of the score: mean and standard deviation
        self.sum = 0.0
        self.on = False
        self.since_ns = 0  # begin of the first window since the sum was zero
        self._rows: list[Real] = []  # moved, of the windows since then
        self._modes = modes

    @classmethod
    def learn(cls, scores: Real, modes: int, windows: float) -> Drift:
        """From the scores of training, float64[n]; one false alarm in ``windows`` windows."""
        out = cls((float(scores.mean()), max(_spread(scores), LEAST)), cusum_threshold(windows, 0.5 * SHIFT), modes)
        reached = 0.0
        for score in scores.tolist():
            out.sum = out._next(score)
            reached = max(reached, out.sum)
        out.threshold, out.sum = max(out.threshold, reached), 0.0
        return out

    def _next(self, score: float) -> float:
        mean, sd = self.scale
        return max(0.0, self.sum + min((score - mean) / sd, LARGEST) - 0.5 * SHIFT)

    @property
    def moved(self) -> Real:
        """Mean relative change of each mode over the newer half of the rise, NaN without one; float64[n_modes]."""
        return mean_of(self._rows[len(self._rows) // 2 :] or [np.full(self._modes, np.nan)])

    def rest(self) -> None:
        """Nothing has been summed: what happens is told otherwise."""
        self.sum, self._rows = 0.0, []

    def hear(self, score: float, moved: Real, begin_ns: int, known: Callable[[Real, float], bool]) -> None:
        """The next window; ``known(moved, windows)`` says whether so many windows can know of such a movement."""
        self.sum = min(self._next(score), 2.0 * self.threshold)
        if self.sum == 0.0:
            self._rows = []
        else:
            if not self._rows:
                self.since_ns = begin_ns
            self._rows = [*self._rows[-KEPT + 1 :], moved]
        n = len(self._rows)
        rises = self.sum > self.threshold and known(self.moved, float(n - n // 2))
        self.on = rises or (self.on and self.sum > 0.5 * self.threshold)

    def save(self) -> dict[str, Any]:
        return {"v": VERSION, "scale": list(self.scale), "threshold": self.threshold, "sum": self.sum, "on": self.on,
                "since_ns": self.since_ns, "modes": self._modes, "rows": [r.tobytes() for r in self._rows]}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Drift:
        """What `save` gave; StateError for anything else."""
        if state.get("v") != VERSION:
            raise StateError(f"drift: state of version {VERSION}, got {state.get('v')!r}")
        try:
            mean, sd = (float(v) for v in state["scale"])
            out = cls((mean, sd), float(state["threshold"]), int(state["modes"]))
            out.sum, out.on = float(state["sum"]), bool(state["on"])
            out.since_ns, out._rows = int(state["since_ns"]), [np.frombuffer(r).copy() for r in state["rows"]]
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"drift cannot be restored: {error}") from error
        return out


def _spread(scores: Real) -> float:
    """Standard deviation of one score as sums of many of them tell it."""
    largest, m = 0.0, 1
    while m == 1 or len(scores) // m >= FEWEST:
        means = scores[len(scores) % m :].reshape(-1, m).mean(axis=1)
        largest, m = max(largest, m * float(means.var(ddof=1))), 2 * m
    return sqrt(largest)


def mean_of(rows: Sequence[Real]) -> Real:
    """Mean over rows of what is there, NaN where nothing is."""
    x = np.array(rows)
    there = np.isfinite(x)
    count = there.sum(axis=0)
    mean: Real = np.where(count > 0, np.where(there, x, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
    return mean
