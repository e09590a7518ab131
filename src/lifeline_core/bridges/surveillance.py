"""One structure, window after window: learn its modes, learn what the weather does to them, then judge.

::

    references   the modes that half of the first ``learn`` windows have              tracked from then on
    baseline     the next ``train`` windows of tracked frequencies, with what was measured of the weather
    watch        d2 beyond its limit in ``confirm`` judged windows in a row           "change"
                 cumulative sum of d2's normal score beyond its threshold             "drift"      (`bridges.drift`)
                 a mode not seen for longer than its gaps in training explain         "missing"    (`bridges.absence`)

A change must also be larger than a record of that length can know: some mode must have moved, on the mean of the windows
that confirm it, by `KNOWN` times the floor sqrt(zeta / (2 pi T f)) of S.-K. Au, Mech. Syst. Signal Process. 48 (2014) 15-33.

The budget is false alarms a year. With k windows in a row to confirm and N windows a year, one window may be beyond the
limit with the probability (budget / N)^(1/k) if windows were independent; weather that is not measured makes neighbours
alike, so the limit is never below what the training windows reach (`fit_baseline`).

Windows that overlap, m of them beginning within the length of one, share their samples and say the same thing m times.
References, baseline, drift and absence therefore take only windows that share nothing. A change takes every window,
but its row must be (k - 1) m + 1 long: it holds k windows that share nothing, each of them beyond, so the chance that a
row begins at a given window is at most share^k and N share^k is within the budget, N being all windows of a year.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from scipy.special import ndtri_exp
from scipy.stats import chi2

from lifeline_core.bridges.absence import Absence
from lifeline_core.bridges.baseline import Baseline, fit_baseline
from lifeline_core.bridges.drift import Drift, mean_of
from lifeline_core.bridges.identify import frequency_floor
from lifeline_core.bridges.modes import Modes, Real
from lifeline_core.bridges.tracking import Tracker, common_modes, wide_gates
from lifeline_core.errors import StateError
from lifeline_core.model import NS

VERSION = 2
KNOWN = 4.0  # floors, of a mean over the windows that confirm
ROW = 64  # windows of a row that the mean is taken over, the newest
RARE = 0.3  # share of training windows below which a mode is not followed


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to learn and how often one may be wrong.

    learn, train : windows for the references and for the baseline, none of which share samples.
    confirm : judged windows in a row beyond the limit.
    windows_per_year : of the stream, overlapping ones counted each.
    false_alarms_per_year : that a sound structure may raise, of each of the three kinds.
    overlap : windows that begin within the length of one; 1: they share nothing.
    """

    learn: int = 12
    train: int = 288
    confirm: int = 3
    windows_per_year: float = 52_560.0
    false_alarms_per_year: float = 0.5
    overlap: int = 1

    def share(self) -> float:
        """Of sound windows that may be beyond the limit."""
        return float(min((self.false_alarms_per_year / self.windows_per_year) ** (1.0 / self.confirm), 0.1))

    @property
    def row(self) -> int:
        """Overlapping windows in a row that hold ``confirm`` which share nothing."""
        return (self.confirm - 1) * self.overlap + 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one window.

    ``phase`` learn, train or watch; ``f_hz`` of each reference, NaN missing; ``d2`` and ``moved`` (relative change of each mode
    after the weather was taken out) are NaN before the watch. ``mean_moved``: over the windows of the present row beyond the
    limit, ``drift_moved``: over the newer half of the sum's rise. ``change``, ``drift``: what is on after this window;
    ``missing``: rows of the modes that are missing. ``odd``: this window is beyond. ``since_ns``: where the row, the rise of
    the sum and the longest absence began.
    """

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
    drift_moved: Real | None = None
    missing: tuple[int, ...] = ()
    since_ns: tuple[int, int, int] = (0, 0, 0)


class Surveillance:
    """The state of one structure; see the module's docstring.

    Parameters
    ----------
    plan : Plan
    window_s : length of a window, for the floor.
    n_env : columns of what is measured of the weather, 0 for none.
    together : as in `fit_baseline`.
    bilinear : as in `fit_baseline`.
    """

    def __init__(self, plan: Plan, window_s: float, n_env: int = 0, *, together: bool | None = None, bilinear: bool = True) -> None:
        if plan.learn < 1 or plan.train < 10 or plan.confirm < 1 or plan.overlap < 1 or not window_s > 0 or n_env < 0:
            raise ValueError("learn, confirm and overlap must be 1 or more, train 10 or more, window_s above 0, are "
                             f"{plan}, {window_s}")
        self.plan, self.window_s, self.n_env, self.together, self.bilinear = plan, window_s, n_env, together, bilinear
        self.first: list[Modes] = []
        self.tracker: Tracker | None = None
        self.damping: Real = np.empty(0)
        self.rows: list[Real] = []  # frequencies, then weather, then level, of the training windows
        self.baseline: Baseline | None = None
        self.sums: Drift | None = None
        self.absence: Absence | None = None
        self.row: list[Real] = []  # moved, of the windows in a row beyond the limit
        self.back = 0  # windows in a row within it
        self.last_ns: int | None = None  # begin of the last window that was taken whole
        self.since_ns = 0  # begin of the row
        self.change = False

    @property
    def modes(self) -> int:
        return 0 if self.tracker is None else len(self.tracker.f_hz)

    def window(self, found: Modes, env: Real | None = None, *, level: float = float("nan"), begin_ns: int = 0) -> Verdict:
        """Take the modes found in the next window.

        Parameters
        ----------
        found : Modes
        env : float64[n_env], the weather in it (NaN: not measured).
        level : how loud the window was, on any scale that rises; NaN: not known.
        begin_ns : where it began; needed where windows overlap.
        """
        weather = np.full(self.n_env, np.nan) if env is None else np.asarray(env, np.float64)
        if weather.shape != (self.n_env,):
            raise ValueError(f"env must hold {self.n_env} values, is of shape {weather.shape}")
        whole = self._is_whole(begin_ns)
        if self.tracker is None:
            return self._learn(found) if whole else Verdict("learn", np.empty(0))
        if self.baseline is None:
            if not whole:
                return Verdict("train", np.full(self.modes, np.nan))
            return self._train(self.tracker.update(found), weather, level)
        f = self.tracker.update(found) if whole else _look(self.tracker, found)
        return self._judge(f, weather, level, begin_ns, whole)

    def _is_whole(self, begin_ns: int) -> bool:
        """Whether the window shares nothing with the last that was whole (or is of another time, if the clock went back)."""
        last = self.last_ns
        if self.plan.overlap > 1 and last is not None and last <= begin_ns < last + round(self.window_s * NS):
            return False
        self.last_ns = begin_ns
        return True

    def _learn(self, found: Modes) -> Verdict:
        if len(found):
            self.first.append(found)
        if len(self.first) >= self.plan.learn:
            reference = common_modes(self.first)
            self.first = self.first[1:] if not len(reference) else []
            if len(reference):
                self.tracker, self.damping = Tracker(reference, gate_f=wide_gates(reference)), reference.damping.copy()
        return Verdict("learn", np.empty(0))

    def _train(self, f: Real, weather: Real, level: float) -> Verdict:
        if np.isfinite(f).any() and np.isfinite(weather).all():
            self.rows.append(np.concatenate([f, weather, [level]]))
        if len(self.rows) >= max(self.plan.train, 10 + 3 * self.modes + 2 * self.n_env):
            self._settle(np.array(self.rows))
        return Verdict("train", f)

    def _settle(self, rows: Real) -> None:
        """The baseline from what was gathered, without modes that were seen too rarely; training goes on where it cannot be."""
        f, rest = rows[:, : self.modes], rows[:, self.modes :]
        seen = np.isfinite(f).mean(axis=0) >= RARE
        assert self.tracker is not None
        if not seen.all():
            self.tracker.keep(seen)
            self.damping, f = self.damping[seen], f[:, seen]
            self.rows = [np.concatenate([a, b]) for a, b in zip(f, rest, strict=True)]
        env, plan = rest[:, : self.n_env] if self.n_env else None, self.plan
        try:
            base = fit_baseline(f, env, false_alarms=plan.share(), bilinear=self.bilinear, together=self.together)
        except ValueError:
            self.rows = self.rows[len(self.rows) // 10 + 1 :]
            return
        scores = _score(base.training, len(base.cov))
        whole, budget = plan.windows_per_year / plan.overlap, plan.false_alarms_per_year
        self.baseline, self.rows = base, []
        self.sums = Drift.learn(scores[np.isfinite(scores)], len(base.cov), whole / budget)
        self.absence = Absence.learn(f, rest[:, -1], windows_per_year=whole, false_alarms_per_year=budget, confirm=plan.confirm)

    def _judge(self, f: Real, weather: Real, level: float, begin_ns: int, whole: bool) -> Verdict:
        base, sums, absence = self.baseline, self.sums, self.absence
        assert base is not None and sums is not None and absence is not None
        if whole:
            absence.hear(f, level, begin_ns)
        env = weather[None, :] if self.n_env else None
        score = base.score(f[None, :], env)
        d2, odd = float(score.d2[0]), bool(score.alarm[0])
        if not isfinite(d2):  # no mode, or no weather: nothing was judged
            return self._verdict(f)
        moved = base.moved(f[None, :], env)[0]
        self._confirm(moved, odd, begin_ns)
        if self.change and not sums.on:
            sums.rest()  # what came at once is not slow
        elif whole:
            sums.hear(float(_score(np.array([d2]), len(base.cov))[0]), moved, begin_ns, self._known)
        return self._verdict(f, d2, moved, odd)

    def _confirm(self, moved: Real, odd: bool, begin_ns: int) -> None:
        if odd and not self.row:
            self.since_ns = begin_ns
        self.row = [*self.row, moved][-max(ROW, self.plan.row) :] if odd else []
        self.back = 0 if odd else self.back + 1
        n = len(self.row)
        if n >= self.plan.row and self._known(mean_of(self.row), 1.0 + (n - 1) / self.plan.overlap):
            self.change = True
        elif self.back >= self.plan.row:
            self.change = False

    def _verdict(self, f: Real, d2: float = float("nan"), moved: Real | None = None, odd: bool = False) -> Verdict:
        base, sums, absence = self.baseline, self.sums, self.absence
        assert base is not None and sums is not None and absence is not None
        missing = tuple(int(i) for i in np.flatnonzero(absence.on))
        since = (self.since_ns, sums.since_ns, int(absence.since_ns[absence.longest]) if missing else 0)
        mean = mean_of(self.row) if self.row else None
        return Verdict("watch", f, d2, base.limit, moved, mean, odd, self.change, sums.on, sums.sum, sums.threshold, sums.moved,
                       missing, since)

    def _known(self, moved: Real, windows: float) -> bool:
        """Whether some mode moved by more than a record of so many windows can know."""
        assert self.tracker is not None
        floor = frequency_floor(self.tracker.f_hz, self.damping, self.window_s * windows) / self.tracker.f_hz
        there = np.isfinite(moved)
        return bool((np.abs(moved[there]) > KNOWN * floor[there]).any())

    # ---- state ----

    def _shape(self) -> list[Any]:
        return [self.plan.learn, self.plan.train, self.plan.overlap, self.n_env, self.together, self.bilinear]

    def save(self) -> dict[str, Any]:
        parts = {"tracker": self.tracker, "baseline": self.baseline, "drift": self.sums, "absence": self.absence}
        return {
            "v": VERSION, "shape": self._shape(), "first": [m.packed() for m in self.first],
            **{key: None if part is None else part.save() for key, part in parts.items()},
            "damping": self.damping.tobytes(), "rows": [r.tobytes() for r in self.rows], "row": [r.tobytes() for r in self.row],
            "counts": [self.back, self.since_ns], "last_ns": self.last_ns, "change": self.change,
        }  # fmt: skip

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `save` gave; StateError where it was made with another plan."""
        if state.get("v") != VERSION or list(state.get("shape", ())) != self._shape():
            raise StateError("surveillance: saved state is of another version or plan")
        try:
            self.first = [Modes.unpacked(m) for m in state["first"]]
            self.damping = np.frombuffer(state["damping"]).copy()
            self.tracker = None if state["tracker"] is None else Tracker.of(state["tracker"], len(self.damping))
            self.rows, self.row = ([np.frombuffer(r).copy() for r in state[key]] for key in ("rows", "row"))
            self.baseline = None if state["baseline"] is None else Baseline.of(state["baseline"])
            self.sums = None if state["drift"] is None else Drift.of(state["drift"])
            self.absence = None if state["absence"] is None else Absence.of(state["absence"])
            self.back, self.since_ns = (int(v) for v in state["counts"])
            self.last_ns = None if state["last_ns"] is None else int(state["last_ns"])
            self.change = bool(state["change"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise StateError(f"surveillance cannot be restored: {error}") from error


def _look(tracker: Tracker, found: Modes) -> Real:
    """Frequency of each reference, NaN missing; the references stay where they are."""
    at = tracker.assign(found)
    there = at >= 0
    f = np.full(len(at), np.nan)
    f[there] = found.f_hz[at[there]]
    return f


def _score(d2: Real, modes: int) -> Real:
    """d2 as the standard normal value that is as unlikely; NaN stays."""
    z: Real = -ndtri_exp(chi2.logsf(d2, modes))
    return z
