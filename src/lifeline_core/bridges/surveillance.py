"""One structure, window after window: learn its modes, learn what the weather does to them, then judge.

::

    references   the modes that half of the first ``learn`` windows have              tracked from then on
    baseline     the next ``train`` windows of tracked frequencies, with what was measured of the weather
    watch        d2 beyond its limit in ``confirm`` judged windows in a row           "change"
                 cumulative sum of d2's normal score beyond its threshold             "drift"

A change must also be larger than a record of that length can know: some mode must have moved, on the mean of the windows
that confirm it, by `KNOWN` times the floor sqrt(zeta / (2 pi T f)) of S.-K. Au, Mech. Syst. Signal Process. 48 (2014) 15-33.

The budget is false alarms a year. With k windows in a row to confirm and N windows a year, one window may be beyond the
limit with the probability (budget / N)^(1/k) if windows were independent; weather that is not measured makes neighbours
alike, so the limit is never below what the training windows reach (`fit_baseline`). The sum's threshold follows from the
budget by Siegmund's formula, on scores that were freed of the training's own correlation of neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

import numpy as np
from scipy.special import ndtri_exp
from scipy.stats import chi2

from lifeline_core.bridges.baseline import Baseline, fit_baseline
from lifeline_core.bridges.identify import frequency_floor
from lifeline_core.bridges.modes import Modes, Real
from lifeline_core.bridges.tracking import Tracker, common_modes, wide_gates
from lifeline_core.dsp.cusum import cusum_threshold
from lifeline_core.errors import StateError

VERSION = 1
KNOWN = 4.0  # floors, of a mean over the windows that confirm
SHIFT = 1.0  # of the mean score, in standard deviations, that the sum is made for
LARGEST = 3.0  # standard deviations that one window can add to the sum: an odd one is no drift
FARTHEST = 10.0  # a score is not followed beyond, so that what comes after an odd one is judged by itself again
WORST_LIKENESS = 0.95  # of neighbouring scores


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to learn and how often one may be wrong.

    learn, train : windows for the references and for the baseline.
    confirm : judged windows in a row beyond the limit.
    windows_per_year : of the stream.
    false_alarms_per_year : that a sound structure may raise, of each of the two kinds.
    """

    learn: int = 12
    train: int = 288
    confirm: int = 3
    windows_per_year: float = 52_560.0
    false_alarms_per_year: float = 0.5

    def share(self) -> float:
        """Of sound windows that may be beyond the limit."""
        return float(min((self.false_alarms_per_year / self.windows_per_year) ** (1.0 / self.confirm), 0.1))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one window. ``phase`` learn, train or watch; ``f_hz`` of each reference, NaN missing; ``d2`` and ``moved`` (relative
    change of each mode after the weather was taken out) are NaN before the watch. ``mean_moved``: over the windows of the
    present row beyond the limit. ``change``, ``drift``: what is on after this window. ``odd``: this window is beyond."""

    phase: str
    f_hz: Real
    d2: float = float("nan")
    limit: float = float("nan")
    moved: Real | None = None
    mean_moved: Real | None = None
    odd: bool = False
    change: bool = False
    drift: bool = False
    sum: float = 0.0
    threshold: float = float("nan")


class Surveillance:
    """The state of one structure; see the module's docstring.

    Parameters
    ----------
    plan : Plan
    window_s : length of a window, for the floor.
    n_env : columns of what is measured of the weather, 0 for none.
    """

    def __init__(self, plan: Plan, window_s: float, n_env: int = 0) -> None:
        if plan.learn < 1 or plan.train < 10 or plan.confirm < 1 or not window_s > 0 or n_env < 0:
            raise ValueError(f"learn and confirm must be 1 or more, train 10 or more, window_s above 0, are {plan}, {window_s}")
        self.plan, self.window_s, self.n_env = plan, window_s, n_env
        self.first: list[Modes] = []
        self.tracker: Tracker | None = None
        self.damping: Real = np.empty(0)
        self.rows: list[Real] = []  # frequencies, then weather, of the training windows
        self.baseline: Baseline | None = None
        self.scale = (0.0, 1.0, 0.0)  # of the score: mean, standard deviation, likeness of neighbours
        self.threshold = 0.0
        self.before = float("nan")  # the score of the window before
        self.sum = 0.0
        self.row: list[Real] = []  # moved, of the windows in a row beyond the limit
        self.back = 0  # windows in a row within it
        self.change = self.drift = False

    @property
    def modes(self) -> int:
        return 0 if self.tracker is None else len(self.tracker.f_hz)

    def window(self, found: Modes, env: Real | None = None) -> Verdict:
        """Take the modes found in the next window, and the weather in it float64[n_env] (NaN: not measured)."""
        weather = np.full(self.n_env, np.nan) if env is None else np.asarray(env, np.float64)
        if weather.shape != (self.n_env,):
            raise ValueError(f"env must hold {self.n_env} values, is of shape {weather.shape}")
        if self.tracker is None:
            return self._learn(found)
        f = self.tracker.update(found)
        if self.baseline is None:
            return self._train(f, weather)
        return self._judge(f, weather)

    def _learn(self, found: Modes) -> Verdict:
        if len(found):
            self.first.append(found)
        if len(self.first) >= self.plan.learn:
            reference = common_modes(self.first)
            self.first = self.first[1:] if not len(reference) else []
            if len(reference):
                self.tracker, self.damping = Tracker(reference, gate_f=wide_gates(reference)), reference.damping.copy()
        return Verdict("learn", np.empty(0))

    def _train(self, f: Real, weather: Real) -> Verdict:
        if np.isfinite(f).any() and np.isfinite(weather).all():
            self.rows.append(np.concatenate([f, weather]))
        if len(self.rows) >= max(self.plan.train, 10 + 3 * self.modes + 2 * self.n_env):
            self._settle(np.array(self.rows))
        return Verdict("train", f)

    def _settle(self, rows: Real) -> None:
        """The baseline from what was gathered, without modes that were seen too rarely; training goes on where it cannot be."""
        f, env = rows[:, : self.modes], rows[:, self.modes :]
        seen = np.isfinite(f).mean(axis=0) >= 0.3
        assert self.tracker is not None
        if not seen.all():
            self.tracker.keep(seen)
            self.damping, f = self.damping[seen], f[:, seen]
            self.rows = [np.concatenate([a, b]) for a, b in zip(f, env, strict=True)]
        try:
            base = fit_baseline(f, env if self.n_env else None, false_alarms=self.plan.share())
        except ValueError:
            self.rows = self.rows[len(self.rows) // 10 + 1 :]
            return
        scores = _score(base.score(f, env if self.n_env else None).d2, len(base.cov))
        scores = scores[np.isfinite(scores)]
        mean, sd = float(scores.mean()), max(float(scores.std()), 0.5)
        likeness = float(np.mean((scores[1:] - mean) * (scores[:-1] - mean))) / sd**2
        self.baseline, self.rows = base, []
        self.scale = (mean, sd, min(max(likeness, 0.0), WORST_LIKENESS))
        self.threshold = cusum_threshold(self.plan.windows_per_year / self.plan.false_alarms_per_year, 0.5 * SHIFT)

    def _judge(self, f: Real, weather: Real) -> Verdict:
        base = self.baseline
        assert base is not None
        env = weather[None, :] if self.n_env else None
        score = base.score(f[None, :], env)
        d2, odd = float(score.d2[0]), bool(score.alarm[0])
        if not isfinite(d2):  # no mode, or no weather: nothing was judged
            return Verdict("watch", f, change=self.change, drift=self.drift, sum=self.sum, threshold=self.threshold)
        moved = base.moved(f[None, :], env)[0]
        self.row = [*self.row, moved][-64:] if odd else []
        self.back = 0 if odd else self.back + 1
        mean = _mean(self.row) if self.row else None
        if mean is not None and len(self.row) >= self.plan.confirm and self._known(f, mean):
            self.change = True
        elif self.back >= self.plan.confirm:
            self.change = False
        self._add(float(_score(np.array([d2]), len(base.cov))[0]))
        return Verdict("watch", f, d2, base.limit, moved, mean, odd, self.change, self.drift, self.sum, self.threshold)

    def _known(self, f: Real, mean: Real) -> bool:
        """Whether some mode moved by more than windows of this length can know."""
        assert self.tracker is not None
        floor = frequency_floor(self.tracker.f_hz, self.damping, self.window_s * len(self.row)) / self.tracker.f_hz
        return bool((np.abs(mean[np.isfinite(mean)]) > KNOWN * floor[np.isfinite(mean)]).any())

    def _add(self, score: float) -> None:
        """The cumulative sum of scores, of which what the window before foretold was taken off."""
        mean, sd, likeness = self.scale
        z = max(min((score - mean) / sd, FARTHEST), -FARTHEST)
        fresh = (z - likeness * self.before) / sqrt(1.0 - likeness**2) if isfinite(self.before) else z
        self.before = z
        self.sum = min(max(0.0, self.sum + min(fresh, LARGEST) - 0.5 * SHIFT), 2.0 * self.threshold)
        self.drift = self.sum > self.threshold or (self.drift and self.sum > 0.5 * self.threshold)

    # ---- state ----

    def save(self) -> dict[str, Any]:
        base = self.baseline
        return {
            "v": VERSION, "shape": [self.plan.learn, self.plan.train, self.n_env],
            "first": [m.packed() for m in self.first],
            "tracker": None if self.tracker is None else self.tracker.save(), "damping": self.damping.tobytes(),
            "rows": [r.tobytes() for r in self.rows],
            "baseline": None if base is None else base.save(),
            "scale": list(self.scale), "numbers": [self.threshold, self.before, self.sum],
            "row": [r.tobytes() for r in self.row], "back": self.back, "on": [self.change, self.drift],
        }  # fmt: skip

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `save` gave; StateError where it was made with another plan."""
        if state.get("v") != VERSION or list(state.get("shape", ())) != [self.plan.learn, self.plan.train, self.n_env]:
            raise StateError("surveillance: saved state is of another version or plan")
        try:
            self.first = [Modes.unpacked(m) for m in state["first"]]
            self.damping = np.frombuffer(state["damping"]).copy()
            self.tracker = None if state["tracker"] is None else Tracker.of(state["tracker"], len(self.damping))
            self.rows, self.row = ([np.frombuffer(r).copy() for r in state[key]] for key in ("rows", "row"))
            self.baseline = None if state["baseline"] is None else Baseline.of(state["baseline"])
            self.scale = (float(state["scale"][0]), float(state["scale"][1]), float(state["scale"][2]))
            self.threshold, self.before, self.sum = (float(v) for v in state["numbers"])
            self.back = int(state["back"])
            self.change, self.drift = (bool(v) for v in state["on"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise StateError(f"surveillance cannot be restored: {error}") from error


def _mean(rows: list[Real]) -> Real:
    """Mean over rows of what is there, NaN where nothing is."""
    x = np.array(rows)
    there = np.isfinite(x)
    count = there.sum(axis=0)
    mean: Real = np.where(count > 0, np.where(there, x, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
    return mean


def _score(d2: Real, modes: int) -> Real:
    """d2 as the standard normal value that is as unlikely; NaN stays."""
    z: Real = -ndtri_exp(chi2.logsf(d2, modes))
    return z
