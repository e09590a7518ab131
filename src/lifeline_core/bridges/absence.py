"""A mode that is no longer there: missing for longer than chance and weak excitation explain.

Identification misses a mode now and then, and more often when little excites it. Training tells how often, as a chain of
two states over the windows that could have shown the mode:

    q = P(missed | seen before)        p = P(missed | missed before)        run of k or more, begun at a given window: q p^(k-1)

p is not known exactly from the few misses of a training run; what is taken is its expectation over what these misses leave
open (`PRIOR` and the misses seen), so that a mode that was never missed needs a longer run than one whose gaps are known
to be short:

    E[p^(k-1)] = prod_{i < k-1} (a + i) / (a + b + i)        a = PRIOR[0] + misses after a miss, b = PRIOR[1] + sights after one

The limit is the least k whose expected number of runs a year is within the mode's share of the budget, and never less than
one more than the longest run in training.

A window could have shown the mode when it showed another one and was loud enough; quieter windows count neither way, for a
night without traffic is no damage. Loud enough is never less than half as loud as the quietest window of training, and
more where training missed the mode in quiet windows: of `RUNGS` quantiles, each halved, the one with which an absence would
be known soonest, limit over share of windows that count. (A mode that carried three quarters of the power takes the loudness
with it when it goes: that is not told from quiet.)
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.bridges.modes import Real
from lifeline_core.errors import StateError

Counts = NDArray[np.int64]

VERSION = 1
RUNGS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # quantiles of the level
HALF = log(0.5)  # of the level, a natural logarithm of an amplitude
PRIOR = (1.0, 3.0)  # of p: one miss of four is followed by another, worth four misses
LONGEST = 100_000  # windows; a mode that needs more is not watched for absence


class Absence:
    """Runs of windows in which a mode was missed; see the module's docstring.

    Attributes
    ----------
    limit : int64[n_modes], windows in a row that are no chance.
    least : float64[n_modes], level below which a window is too quiet to tell.
    share : float64[n_modes], of training windows that showed the mode.
    run : int64[n_modes], windows in a row that could have shown it and did not.
    on : bool[n_modes], what is missing now.
    """

    def __init__(self, share: Real, least: Real, limit: Counts, confirm: int) -> None:
        self.share, self.least, self.limit, self.confirm = share, least, limit, confirm
        self.run, self.back = np.zeros(len(limit), np.int64), np.zeros(len(limit), np.int64)
        self.on = np.zeros(len(limit), bool)
        self.since_ns = np.zeros(len(limit), np.int64)

    @classmethod
    def learn(cls, f: Real, level: Real, *, windows_per_year: float, false_alarms_per_year: float, confirm: int) -> Absence:
        """From training: f float64[n, n_modes] with NaN where a mode was missed; level float64[n], logarithm of the amplitude.

        Windows without a level all count. ``confirm``: sights in a row that end an absence.
        """
        seen = np.isfinite(f)
        modes, heard = f.shape[1], level[np.isfinite(level)]
        rungs = np.unique(np.quantile(heard, RUNGS)) + HALF if len(heard) else np.array([-np.inf])
        least, limit = np.empty(modes), np.empty(modes, np.int64)
        able = [_able(seen, level, np.full(modes, rung)) for rung in rungs]
        for j in range(modes):
            rows = [(_limit(seen[a[:, j], j], windows_per_year, false_alarms_per_year / modes), a[:, j].mean()) for a in able]
            best = min(range(len(rows)), key=lambda i: rows[i][0] / max(rows[i][1], 1e-9))
            least[j], limit[j] = rungs[best], rows[best][0]
        return cls(seen.mean(axis=0), least, limit, confirm)

    def hear(self, f: Real, level: float, begin_ns: int) -> None:
        """The next window: f float64[n_modes], NaN missed; ``begin_ns`` its beginning."""
        seen = np.isfinite(f)
        able = _able(seen[None, :], np.array([level]), self.least)[0]
        missed = able & ~seen
        first = missed & (self.run == 0) & ~self.on
        self.since_ns[first] = begin_ns
        self.back = np.where(seen, self.back + 1, np.where(missed, 0, self.back))
        self.run = np.where(missed, self.run + 1, np.where(seen, 0, self.run))
        self.on = (self.on & (self.back < self.confirm)) | (self.run >= self.limit)

    @property
    def longest(self) -> int:
        """The row of the mode that has been missing for longest beyond its limit; -1 with none."""
        rows = np.flatnonzero(self.on)
        return int(rows[np.argmin(self.since_ns[rows])]) if len(rows) else -1

    def save(self) -> dict[str, Any]:
        arrays = {key: getattr(self, key).tobytes() for key in ("share", "least", "limit", "run", "back", "on", "since_ns")}
        return {**arrays, "v": VERSION, "confirm": self.confirm}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Absence:
        """What `save` gave; StateError for anything else."""
        if state.get("v") != VERSION:
            raise StateError(f"absence: state of version {VERSION}, got {state.get('v')!r}")
        try:
            share, least = (np.frombuffer(state[key]).copy() for key in ("share", "least"))
            limit, run, back, since = (np.frombuffer(state[key], np.int64).copy() for key in ("limit", "run", "back", "since_ns"))
            out = cls(share, least, limit, int(state["confirm"]))
            out.run, out.back, out.since_ns = run, back, since
            out.on = np.frombuffer(state["on"], np.bool_).copy()
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"absence cannot be restored: {error}") from error
        if {len(a) for a in (least, limit, run, back, since, out.on)} != {len(share)}:
            raise StateError("absence cannot be restored: its parts are of different lengths")
        return out


def _able(seen: NDArray[np.bool_], level: Real, least: Real) -> NDArray[np.bool_]:
    """Which windows [n] could have shown which modes [m]. With one mode alone there is no other to vouch for the window."""
    loud = ~(level[:, None] < least)  # without a level nothing is too quiet
    others = seen.sum(axis=1)[:, None] - seen > 0
    out: NDArray[np.bool_] = loud & (others | seen)
    return out


def _limit(seen: NDArray[np.bool_], windows_per_year: float, budget: float) -> int:
    """Windows in a row, by the chain of two states."""
    missed = ~seen
    before, now = missed[:-1], missed[1:]
    begun, sights = int((~before & now).sum()), int((~before).sum())
    a, b = PRIOR[0] + int((before & now).sum()), PRIOR[1] + int((before & ~now).sum())
    runs = windows_per_year * (begun + 1.0) / (sights + 2.0)
    k = 1
    while runs > budget and k < LONGEST:
        runs *= (a + k - 1) / (a + b + k - 1)
        k += 1
    edges = np.flatnonzero(np.diff(np.concatenate(([False], missed, [False])).astype(np.int8)))
    longest = int((edges[1::2] - edges[::2]).max(initial=0))
    return max(k, longest + 1)
