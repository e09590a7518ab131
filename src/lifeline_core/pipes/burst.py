"""What makes steps at several sensors a burst: first a drop everywhere, sharp, from one place that is no pump's.

A burst lets water out at one place: a drop runs from there through the whole network. A pump that stops does the same
from its own place, and raises the pressure on its other side. So what a pump explains as well as the best place does is
not called a burst, unless a sensor dropped to which the pump would have sent a rise; on a line that leads to nothing
but a pump, sensors beyond the line cannot tell the two apart. A sensor that rises when the wave should come to it
refutes a burst; one that rises later has missed the weak beginning and is left out. Most changes of demand are too small
or too slow to be steps; a large and sharp one that ends again is told by the records (`lifeline_core.pipes.causes`).

Source: triangle rule and polarity as in J. Hampson, PhD thesis, Sheffield 2014, and D. Misiunas et al., J. Water
Resour. Plann. Manage. 131 (2005) 316-325.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.pipes.arrivals import pick_arrivals
from lifeline_core.pipes.candidates import Candidates
from lifeline_core.pipes.causes import Cause, Step, Trace, cause
from lifeline_core.pipes.graph import PipeGraph
from lifeline_core.pipes.machines import Pump
from lifeline_core.pipes.search import Heard, Speeds, node_scores
from lifeline_core.pipes.waveform import MOST_SPEED_SD, match_burst

Singles = NDArray[np.float32]

FEWEST = 3  # sensors; fewer locate nothing in a looped network
AGREEING = 0.6  # of the sensors keep the triangle rule with each other
LATE = 10.0  # a weak beginning is noticed late by up to so many of its standard deviations (on bursts of our own 30 was worse)
RISING = 0.2  # of the sensors may rise, later than IN_TIME_S after the wave should have come to them
IN_TIME_S = 0.3
SLACK = 5.0  # standard deviations allowed in the triangle rule
SHARP_S = 1.5  # median time to 80 % of the step
MISFIT = 2.0  # median residual in standard deviations
PUMP = math.log(0.1)  # likelihood of a pump's place against the best place from which on it may have been the pump;
METRES = {"m": 1.0, "mH2O": 1.0, "mwc": 1.0, "Pa": 1 / 9789.0, "kPa": 1 / 9.789, "MPa": 1000 / 9.789, "bar": 100 / 9.789,
          "mbar": 0.1 / 9.789, "psi": 6.894757 / 9.789}  # of water at 20 degrees
BEFORE_S, AFTER_S = 3.5, 9.0  # of the first arrival: what waves are read from
LEAST_BEFORE_S, LEAST_AFTER_S = 1.0, 1.0
SPEED_SD = 0.04  # of single pipes
MACHINE = 0.4  # probability from which on a pump, or a pulse, is the cause, if it is the likelier one
CHANCE = 0.9  # probability from which on no place explains the steps


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


def harmless(told: Cause | None) -> str:
    """"pump" or "pulse" where that is likelier than a burst, else empty."""
    if told is None:
        return ""
    p = told.probability
    if p["pump-trip"] + p["pump-start"] > max(p["burst"], MACHINE):
        return "pump"
    return "pulse" if p["demand-pulse"] > max(p["burst"], MACHINE) else ""


def judge(
    graph: PipeGraph,
    arrivals: Sequence[Arrival],
    *,
    traces: Mapping[str, Trace] | None = None,
    solve_speed: bool = True,
    speed_sd: float = SPEED_SD,
) -> Verdict:
    """Whether these steps are a burst, and where.

    Parameters
    ----------
    traces : mapping of node to Trace, optional
        What was recorded, metres of head, on the clock of the arrivals: only that tells a short demand from a burst. The
        steps are metres of head then.

    Returns
    -------
    Verdict
        ``reason``: "few" (fewer than three nodes, or too few that agree), "surge" (too many rose, or one at its time),
        "slow", "scattered" (no place explains them), "pump" (a pump's place explains them), "pulse" (what ran out has ended), or
        empty.
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
        score = node_scores(graph, heard_by, places, speeds=Speeds(), speed_sd=speed_sd)
        if float(score.max()) - found.best_score >= PUMP:
            return Verdict(nowhere, tuple(used), "pump")
    steps = [Step(a.node, a.t_s, a.sd_s, a.polarity, a.step, a.rise_s) for a in everyone]
    told = cause(graph, steps, solve_speed=solve_speed, speed_sd=speed_sd)
    # A pulse is not told from steps; whether any place explains them is not told from records.
    reason = "pump" if harmless(told) == "pump" else "scattered" if told.probability["unknown"] > CHANCE else ""
    if not reason and traces:
        reason = harmless(cause(graph, steps, traces=traces, solve_speed=solve_speed, speed_sd=speed_sd))
    return Verdict(nowhere if reason else found, tuple(used), reason)


def heard_at(p: Singles, nodes: Sequence[str], fs: float, clock_sd_s: float, **kw: Any) -> list[Arrival]:
    """What `pick_arrivals` finds, by node."""
    found = pick_arrivals(p, fs, **kw)
    return [
        Arrival(node, float(found.t_s[i]), float(np.hypot(found.sd_s[i], clock_sd_s)), int(found.polarity[i]),
                float(found.step[i]), float(found.rise_s[i]))
        for i, node in enumerate(nodes) if found.polarity[i]
    ]  # fmt: skip


def stretch(p: Singles, fs: float, t0_s: float, first_s: float) -> tuple[Singles, float]:
    """The part of records that the waves of one burst fill, and its time; empty where too little was recorded."""
    n = p.shape[1]
    begin = max(0, math.floor((first_s - BEFORE_S - t0_s) * fs))
    end = min(n, math.ceil((first_s + AFTER_S - t0_s) * fs))
    enough = (first_s - t0_s) >= LEAST_BEFORE_S and t0_s + n / fs - first_s >= LEAST_AFTER_S
    return (p[:, begin:end] if enough else p[:, :0]), t0_s + begin / fs


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
    unit: str = "m",
    waveforms: bool = True,
    solve_speed: bool = True,
    speed_sd: float = SPEED_SD,
    **kw: Any,
) -> Candidates:
    """Whether these records show a burst, and where: arrivals decide, the whole waves place it.

    Parameters
    ----------
    graph : PipeGraph
    p : array_like[n_sensors, n]
        Pressure or head; ``nodes`` names the place of each row, also of those that heard nothing.
    fs, t0_s, rise_s
        See `lifeline_core.pipes.arrivals.pick_arrivals`.
    min_step : float
        Smallest step that counts, metres of head.
    clock_sd_s : float
        Standard deviation of the sensors' clocks against each other, seconds.
    unit : str
        Of ``p``, one of ``METRES``: waves are matched in metres of head.
    waveforms : bool
        False: placed by arrivals alone. So it is too where less than a second before or after the first arrival was
        recorded; then nothing tells a short demand from a burst either.
    solve_speed, speed_sd
        See `lifeline_core.pipes.search.search`.
    **kw
        ``diameter_m``, ``level_m``, ``threads`` of `lifeline_core.pipes.waveform.match_burst`.

    Returns
    -------
    Candidates
        Empty where nothing is a burst. A `lifeline_core.pipes.placed.Placed` where waves were matched. ``fits`` says whether
        the network as told explains what was heard, ``account.doubts`` what does not.

    Raises
    ------
    ValueError
        Another number of nodes than rows, a node that is not in the network, an unknown unit, or what `pick_arrivals`
        and `match_burst` refuse.
    """
    rows = np.atleast_2d(np.asarray(p))
    if len(nodes) != len(rows):
        raise ValueError(f"nodes names every row of p: {len(rows)} rows, got {len(nodes)} names")
    if unit not in METRES:
        raise ValueError(f"unit is one of {', '.join(METRES)}, got {unit!r}")
    for node in nodes:
        graph.node_index(node)
    heads = (rows * METRES[unit]).astype(np.float32)
    heard = heard_at(heads, nodes, fs, clock_sd_s, t0_s=t0_s, min_step=min_step, rise_s=rise_s)
    verdict = judge(graph, heard, solve_speed=solve_speed, speed_sd=speed_sd)
    if verdict.reason or len(rows) < 2:
        return verdict.candidates
    first_s = min(a.t_s for a in verdict.used)
    part, begins_s = stretch(heads, fs, t0_s, first_s)
    if not part.size:
        return verdict.candidates
    traces = {node: Trace(begins_s, fs, row) for node, row in zip(nodes, part, strict=True)}
    verdict = judge(graph, heard, traces=traces, solve_speed=solve_speed, speed_sd=speed_sd)
    if verdict.reason or not waveforms:
        return verdict.candidates
    found = match_burst(
        graph, part, nodes, fs, t0_s=begins_s, first_s=first_s, solve_speed=solve_speed, speed_sd=min(speed_sd, MOST_SPEED_SD), **kw
    )  # fmt: skip
    if found.pulse:
        return Candidates.none(graph)
    return found if len(found) else verdict.candidates
