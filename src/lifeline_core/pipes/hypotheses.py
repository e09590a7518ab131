"""The causes that are weighed against each other: where each may be, what first motion it sends, what comes afterwards.

See `lifeline_core.pipes.causes` for the table of causes. What comes afterwards is told by the flow at the place, read back
from the records (`lifeline_core.pipes.outflow`), or, without those, by the share of the excursion that the sensors have
regained::

    log P(afterwards | cause) = log t4((share given back - mean) / sd) - log sd - KAPPA log(1 - explained)

1 - explained is what the waves of this cause leave over of the records; for causes whose waves are not worked out (valves)
it is what the true cause usually leaves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lifeline_core.pipes.guesses import Anywhere, Fitted, Guess, Trial
from lifeline_core.pipes.machines import Planned, Pumping, Valve
from lifeline_core.pipes.sides import Spots

Floats = NDArray[np.float64]

# Before anything is heard, of what makes sharp steps at three sensors or more. A statement of this module, to be replaced
# by what the owner of the network knows. Valves: those that were told, those that only the graph has, those of no list.
PRIOR = {"burst": 0.25, "pump-trip": 0.2, "pump-start": 0.15, "valve": 0.08, "graph-valve": 0.02, "hidden-valve": 0.04,
         "outlet": 0.06, "demand-pulse": 0.1, "unknown": 0.08}  # fmt: skip
OPENING = 0.4  # of the changes at valves whose direction of flow is not told
SWITCHED = 0.15  # of a pump's changes are of the kind that its known state does not expect
PLANNED, EARLY_S = 1.0, 2.0  # weight of what was announced, beside all of PRIOR; seconds that its times may be off
PARTS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of a pipe, where something announced on it may be

# Share given back, mean and standard deviation: over simulated events of made-up networks (bench.cause_study).
LEVEL_BACK = {"burst": (0.58, 0.32), "outlet": (0.5, 0.32), "demand-pulse": (1.07, 0.24), "change": (0.93, 0.38),
              "unknown": (0.75, 0.5)}  # fmt: skip
FLOW_BACK = {"burst": (0.06, 0.2), "outlet": (0.06, 0.2), "demand-pulse": (1.02, 0.13), "change": (0.9, 0.8),
             "unknown": (0.6, 0.7)}  # fmt: skip
PULSE_S = (0.3, 2.0)  # how long a pulse of demand lasts, evenly
KAPPA = 3.0
LEFT = {"change": 0.1, "unknown": 0.3}
LEAST_LEFT, ONE_SIDE = 0.02, 0.9

# First motion at the first and at the second end (suction, delivery; upstream, downstream).
MOTION = {"pump-trip": (1, -1), "pump-start": (-1, 1), "valve-closure": (1, -1), "valve-opening": (-1, 1), "demand-pulse": (-1, -1)}


def _log_t4(x: float, mean: float, sd: float) -> float:
    """Log density of Student's t with 4 degrees of freedom, up to its constant."""
    z = (x - mean) / sd
    return -2.5 * math.log1p(z * z / 4.0) - math.log(sd)


@dataclass(frozen=True, slots=True)
class Afterwards:
    """What followed the first motion. NaN: not known.

    ``level_back``: median share that the sensors regained; ``flow_back``: of the flow at the likeliest place, after it
    had lasted for ``lasted_s``; ``left``: what that flow leaves unexplained of the records; ``pump_left``: what each pump's
    flow leaves.
    """

    level_back: float = math.nan
    flow_back: float = math.nan
    lasted_s: float = math.nan
    left: float = math.nan
    pump_left: Mapping[str, float] = field(default_factory=dict)

    def back(self, what: str) -> float:
        """Log likelihood of the share given back, 0 where it is not known."""
        table, share = (LEVEL_BACK, self.level_back) if math.isnan(self.flow_back) else (FLOW_BACK, self.flow_back)
        if math.isnan(share):
            return 0.0
        said = _log_t4(share, *table[what])
        if what != "demand-pulse" or math.isnan(self.flow_back):
            return said
        # A pulse that may not be over yet looks as a burst does.
        on = min(1.0, max(0.0, (PULSE_S[1] - self.lasted_s) / (PULSE_S[1] - PULSE_S[0])))
        still = _log_t4(share, *table["burst"])
        return float(np.logaddexp(said + math.log(max(1.0 - on, 1e-12)), still + math.log(max(on, 1e-12))))

    def at_one_place(self, what: str) -> float:
        """Of a cause that begins at one place."""
        return self.back(what) - (0.0 if math.isnan(self.left) else KAPPA * math.log(max(self.left, LEAST_LEFT)))

    def elsewhere(self, what: str) -> float:
        """Of a cause whose waves are not worked out."""
        return self.back(what) - (0.0 if math.isnan(self.left) else KAPPA * math.log(LEFT[what]))

    def of_valve(self, fitted: Fitted) -> Floats:
        """Of a change at valves: where all sensors are on one side it may look as a hole there does, or show the other side's
        waves later on."""
        near = fitted.ends.first_a
        one = (near > ONE_SIDE).all(axis=0) | (near < 1 - ONE_SIDE).all(axis=0)
        other = self.elsewhere("change")
        found: Floats = np.where(one, np.logaddexp(self.at_one_place("burst"), other) - math.log(2), other)
        return found

    def of_pump(self, name: str) -> float:
        """Of a change at a pump: its own waves where they are worked out. The flow of another place tells nothing of it."""
        if math.isnan(self.left) or name not in self.pump_left:
            return self.elsewhere("change")
        return self.back("change") - KAPPA * math.log(max(self.pump_left[name], LEAST_LEFT))


class Docket:
    """All causes of one event, each with the log of its prior times its likelihood at each of its places."""

    def __init__(self, trial: Trial, after: Afterwards, prior: Mapping[str, float]) -> None:
        self.trial, self.after, self.prior = trial, after, prior
        self.guesses: list[Guess] = []

    def _log_prior(self, what: str, count: int) -> float:
        weight = self.prior[what] / max(count, 1)
        return math.log(weight) if weight > 0 else -math.inf

    def _add(self, kind: str, names: tuple[str, ...], logs: Floats, *, one_place: bool = False, planned: str = "") -> None:
        self.guesses.append(Guess(kind, names, logs, one_place, planned))

    def unknown(self) -> None:
        """Steps at any time, up or down."""
        log = self.trial.chance + self._log_prior("unknown", 1) + self.after.elsewhere("unknown")
        self._add("unknown", ("",), np.array([log]))

    def anywhere(self, places: Anywhere, fitted: Fitted) -> None:
        """What begins at one place, wherever it is; and a valve that is on no list, inside any link."""
        drop, rise = self.trial.signs(fitted, -1, -1), self.trial.signs(fitted, 1, 1)
        pairs = (("burst", "burst", drop), ("demand-pulse", "demand-pulse", drop), ("valve-closure", "outlet", rise))
        for kind, what, sign in pairs:
            log = fitted.score + sign + self._log_prior(what, places.count) + self.after.at_one_place(what)
            self._add(kind, places.names, log, one_place=True)
        k = np.nonzero(places.inside)[0]
        names, n = tuple(places.names[i] for i in k), int((self.trial.graph.length_m > 0).sum())
        either = np.logaddexp(self.trial.signs(fitted, 1, -1), self.trial.signs(fitted, -1, 1))[k] - math.log(2)
        log = fitted.score[k] + either + self._log_prior("hidden-valve", n) + self.after.of_valve(fitted)[k]
        self._add("valve-closure", names, log + math.log(1 - OPENING))
        self._add("valve-opening", names, log + math.log(OPENING))

    def valves(self, valves: Sequence[Valve], what: str) -> None:
        """Valves that are known ("valve" or "graph-valve"); where the direction of flow is not, both ways."""
        if not valves:
            return
        fitted, told = self.trial.fitted(two_ended(self.trial, valves)), np.array([v.directed for v in valves])
        shut, open_ = self.trial.signs(fitted, 1, -1), self.trial.signs(fitted, -1, 1)
        either = np.logaddexp(shut, open_) - math.log(2)
        log = fitted.score + self._log_prior(what, len(valves)) + self.after.of_valve(fitted)
        names = tuple(v.name for v in valves)
        self._add("valve-closure", names, log + np.where(told, shut, either) + math.log(1 - OPENING))
        self._add("valve-opening", names, log + np.where(told, open_, either) + math.log(OPENING))

    def pumps(self, pumps: Sequence[Pumping], fitted: Fitted | None) -> None:
        """Pumps that stop or start, the likelier the change that their state expects."""
        if not pumps or fitted is None:
            return
        starts = np.array([{True: SWITCHED, False: 1 - SWITCHED, None: 0.5}[p.running] for p in pumps])
        after = np.array([self.after.of_pump(p.name) for p in pumps])
        for kind, part in (("pump-trip", 1 - starts), ("pump-start", starts)):
            log = fitted.score + self.trial.signs(fitted, *MOTION[kind]) + self._log_prior(kind, len(pumps)) + after
            self._add(kind, tuple(p.name for p in pumps), log + np.log(2 * part))

    def planned(self, known: Sequence[Planned], pumps: Sequence[Pumping], valves: Sequence[Valve]) -> None:
        """What was announced, at its place, if it may have begun in its time."""
        two: dict[str, Valve | Pumping] = {p.name: p for p in pumps} | {v.name: v for v in valves}
        told = {p.name for p in pumps} | {v.name for v in valves if v.directed}
        g = self.trial.graph
        for op in known:
            if op.place in two:
                spots = two_ended(self.trial, [two[op.place]])
            elif op.place in g.index:
                spots = Spots.ends([g.index[op.place]], [g.index[op.place]])
            elif op.place in g.links:
                k = np.full(len(PARTS), g.links.index(op.place))
                spots = Spots.on(g, k, np.array(PARTS) * g.length_m[k], np.full(len(k), -1))
            else:
                raise ValueError(f"a planned operation is at a node, link, valve or pump of the network, got {op.place!r}")
            fitted, point = self.trial.fitted(spots), bool((spots.a == spots.b).all())
            log = fitted.score + self._motion(fitted, op, point, op.place in told) + self._afterwards(fitted, op, point)
            in_time = (fitted.t0_s >= op.from_s - EARLY_S) & (fitted.t0_s <= op.to_s + EARLY_S)
            log = np.where(in_time, log, -np.inf) + math.log(PLANNED / len(spots))
            self._add(op.kind, (op.place,) * len(spots), log, planned=op.place)

    def _afterwards(self, fitted: Fitted, op: Planned, point: bool) -> Floats | float:
        if op.kind == "demand-pulse":
            return self.after.at_one_place("demand-pulse")
        if point:
            return self.after.at_one_place("outlet")
        return self.after.of_pump(op.place) if op.kind.startswith("pump") else self.after.of_valve(fitted)

    def _motion(self, fitted: Fitted, op: Planned, point: bool, told: bool) -> Floats:
        """Log probability of the first motions under what was announced, at a point or between two ends."""
        at_a, at_b = MOTION[op.kind]
        if point:
            sign = 1 if op.kind == "valve-closure" else -1
            return self.trial.signs(fitted, sign, sign)
        here, there = self.trial.signs(fitted, at_a, at_b), self.trial.signs(fitted, at_b, at_a)
        return here if told else np.logaddexp(here, there) - math.log(2)


def two_ended(trial: Trial, machines: Sequence[Valve | Pumping]) -> Spots:
    """Valves and pumps as places of two ends: upstream or suction first."""
    sides = [(m.upstream, m.downstream) if isinstance(m, Valve) else (m.suction, m.delivery) for m in machines]
    g = trial.graph
    return Spots.ends([g.node_index(a) for a, _ in sides], [g.node_index(b) for _, b in sides])
