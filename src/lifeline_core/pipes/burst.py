"""What makes steps at several sensors a burst: first a drop everywhere, sharp, from one place that is no pump's.

A burst lets water out at one place: a drop runs from there through the whole network. A pump that stops does the same
from its own place, and raises the pressure on its other side. So what a pump explains as well as the best place does is
not called a burst, unless a sensor dropped to which the pump would have sent a rise; on a line that leads to nothing
but a pump, sensors beyond the line cannot tell the two apart. A sensor that rises when the wave should come to it
refutes a burst; one that rises later has missed the weak beginning and is left out. Changes of demand are too small or
too slow to be steps.

Source: triangle rule and polarity as in J. Hampson, PhD thesis, Sheffield 2014, and D. Misiunas et al., J. Water
Resour. Plann. Manage. 131 (2005) 316-325.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lifeline_core.pipes.arrivals import pick_arrivals
from lifeline_core.pipes.candidates import Candidates
from lifeline_core.pipes.graph import PipeGraph, Pump
from lifeline_core.pipes.search import Heard, Speeds, node_scores

FEWEST = 3  # sensors; fewer locate nothing in a looped network
AGREEING = 0.6  # of the sensors keep the triangle rule with each other
LATE = 10.0  # a weak beginning is noticed late by up to so many of its standard deviations (seen on simulated bursts)
RISING = 0.2  # of the sensors may rise, later than IN_TIME_S after the wave should have come to them
IN_TIME_S = 0.3
SLACK = 5.0  # standard deviations allowed in the triangle rule
SHARP_S = 1.5  # median time to 80 % of the step
MISFIT = 2.0  # median residual in standard deviations
PUMP = math.log(0.1)  # likelihood of a pump's place against the best place from which on it may have been the pump;
PUMP_SPEEDS = Speeds(0.75, 1.25, 0.1)  # with more freedom for the speed: the doubt is in the pump's favour


@dataclass(frozen=True, slots=True)
class Arrival:
    """One step at one node of the network: when, how sure, its first motion (-1 drop, 1 surge), how large, how fast."""

    node: str
    t_s: float
    sd_s: float
    polarity: int
    step: float
    rise_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """``reason`` is empty for a burst, else one word; ``used`` the arrivals that went into the location."""

    candidates: Candidates
    used: tuple[Arrival, ...]
    reason: str


def one_each(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """One arrival a node: where two sensors stand at one, the surer; in order of time, then name."""
    best: dict[str, Arrival] = {}
    for a in sorted(arrivals, key=lambda a: (a.sd_s, a.t_s)):
        best.setdefault(a.node, a)
    return sorted(best.values(), key=lambda a: (a.t_s, a.node))


def agreeing(graph: PipeGraph, arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Those that one source can explain: no two further apart in time than a wave takes between them.

    As long as a pair is, the arrival with the most such pairs is left out, among equals the latest: beginnings are missed
    more often than invented.
    """
    kept = list(arrivals)
    way = np.array([[graph.routes(a.node).time_s[graph.index[b.node]] for b in kept] for a in kept])
    t, sd = np.array([a.t_s for a in kept]), np.array([a.sd_s for a in kept])
    slack = SLACK * np.hypot(sd[:, None], sd[None, :])
    # Only the later of two may have been noticed late.
    late = LATE * np.where(t[:, None] > t[None, :], sd[:, None], sd[None, :])
    apart = np.abs(t[:, None] - t[None, :]) > way / Speeds().least + slack + late
    left = np.arange(len(kept))
    while apart[np.ix_(left, left)].any():
        wrong = apart[np.ix_(left, left)].sum(axis=1)
        worst = max(range(len(left)), key=lambda i: (wrong[i], i))
        left = np.delete(left, worst)
    return [kept[i] for i in left]


def pump_drops(graph: PipeGraph, pump: Pump, arrivals: Sequence[Arrival]) -> bool:
    """Whether the wave that comes first from a pump is a drop at every one of these sensors.

    It is one where the way begins at the end at which the pressure falls, and does not lead through the pump.
    """
    ways = [graph.routes(a.node) for a in arrivals]
    return all(w.toward[pump.falls] != pump.rises and w.time_s[pump.falls] <= w.time_s[pump.rises] for w in ways)


def judge(
    graph: PipeGraph, arrivals: Sequence[Arrival], *, solve_speed: bool = True, speed_sd: float = 0.04
) -> Verdict:
    """Whether these steps are a burst, and where.

    Returns
    -------
    Verdict
        ``reason``: "few" (fewer than three nodes, or too few that agree), "surge" (too many rose, or one at its time),
        "slow", "scattered" (no place explains them), "pump" (a pump's place explains them), or empty.
    """
    everyone = one_each(arrivals)
    surges = [a for a in everyone if a.polarity >= 0]
    heard = [a for a in everyone if a.polarity < 0]
    nowhere = Candidates.none(graph)
    if len(surges) > RISING * len(everyone):
        return Verdict(nowhere, tuple(everyone), "surge")
    if len(heard) < FEWEST:
        return Verdict(nowhere, tuple(heard), "few")
    if float(np.median([a.rise_s for a in heard])) > SHARP_S:
        return Verdict(nowhere, tuple(heard), "slow")
    used = agreeing(graph, heard)
    if len(used) < max(FEWEST, AGREEING * len(heard)):
        return Verdict(nowhere, tuple(used), "few")
    when, sd = {a.node: a.t_s for a in used}, {a.node: a.sd_s for a in used}
    late = {a.node: LATE * a.sd_s for a in used}
    found = graph.locate(when, sd_s=sd, solve_speed=solve_speed, speed_sd=speed_sd, late_s=late)
    if found[0].misfit > MISFIT:
        return Verdict(nowhere, tuple(used), "scattered")
    if any(a.t_s - found.arrival_s(0, a.node) < IN_TIME_S for a in surges):
        return Verdict(nowhere, tuple(used), "surge")
    places = np.array([pump.falls for pump in graph.pumps if pump_drops(graph, pump, used)], dtype=np.intp)
    if len(places):
        heard_by = Heard.of(graph, when, sd, late)
        score = node_scores(graph, heard_by, places, speeds=PUMP_SPEEDS, speed_sd=speed_sd)
        if float(score.max()) - found.best_score >= PUMP:
            return Verdict(nowhere, tuple(used), "pump")
    return Verdict(found, tuple(used), "")


def locate_burst(
    graph: PipeGraph,
    p: ArrayLike,
    nodes: Sequence[str],
    fs: float,
    *,
    t0_s: float = 0.0,
    min_step: float = 0.3,
    rise_s: float = 0.7,
    clock_sd_s: float = 0.0,
    **kw: Any,
) -> Candidates:
    """Pick the arrivals at all sensors and locate, in one call.

    Parameters
    ----------
    graph : PipeGraph
    p : array_like[n_sensors, n]
        Pressure or head; ``nodes`` names the place of each row.
    fs, t0_s, min_step, rise_s
        See `lifeline_core.pipes.arrivals.pick_arrivals`.
    clock_sd_s : float
        Standard deviation of the sensors' clocks against each other, seconds.
    **kw
        ``solve_speed``, ``speed_sd`` of `lifeline_core.pipes.search.search`.

    Returns
    -------
    Candidates
        Empty where nothing is a burst.

    Raises
    ------
    ValueError
        Another number of nodes than rows, a node that is not in the network, or what `pick_arrivals` refuses.
    """
    rows = np.atleast_2d(np.asarray(p))
    if len(nodes) != len(rows):
        raise ValueError(f"nodes names every row of p: {len(rows)} rows, got {len(nodes)} names")
    for node in nodes:
        graph.node_index(node)
    found = pick_arrivals(rows, fs, t0_s=t0_s, min_step=min_step, rise_s=rise_s)
    heard = [
        Arrival(node, float(found.t_s[i]), float(np.hypot(found.sd_s[i], clock_sd_s)), int(found.polarity[i]),
                float(found.step[i]), float(found.rise_s[i]))
        for i, node in enumerate(nodes) if found.polarity[i]
    ]  # fmt: skip
    return judge(graph, heard, **kw).candidates
