"""What made the pressure step at several sensors: a burst, a valve, a pump, a short demand - or nothing one can name.

Each cause is a place and a pattern of first motions, and is given the probability of what was seen::

    cause                         place             first motion                       flow afterwards
    burst                         anywhere          a drop everywhere                  stays
    demand-pulse                  anywhere          a drop everywhere                  gone after 2 s
    valve-closure                 valve, any link   a rise upstream, a drop downstream
      of an outlet                anywhere          a rise everywhere                  stays
    valve-opening                 valve, any link   a drop upstream, a rise downstream
    pump-trip                     pump              a drop at delivery, a rise at suction
    pump-start                    pump              a rise at delivery, a drop at suction
    unknown                       none              either, at any time

    P(cause) ~ prior(cause) mean over its places of [ prod_i p(arrival_i | place) P(sign_i | side of the place) ]
               P(what came afterwards | cause)

Arrivals are compared by Student's t about the travel times; a sign is wrong in 2 of 100 cases, more often where a sensor
is late, and either where both ends of the place are as near. For "unknown" every arrival is as likely at any time within
the longest way: it wins when no place explains the times. A cause that can only stand at few places (a pump) gains over
one that may stand anywhere when both explain the same: sensors that see a drop along the one way that leads to a pump
call it the pump. A burst is said only where it is likelier than `SURE` and pumps and pulses less likely than `MILD`; short
of that the likeliest other cause is answered, and the doubt is in the reasons.

Sources: polarity against the order on the graph after J. Hampson, PhD thesis, Sheffield 2014, and D. Misiunas et al.,
J. Water Resour. Plann. Manage. 131 (2005) 316-325; hypotheses compared by their evidence: H. Jeffreys, Theory of
Probability (1961), ch. 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lifeline_core.pipes.candidates import Candidates
from lifeline_core.pipes.event import FEWEST, Event, Step
from lifeline_core.pipes.guesses import Guess, log_sum
from lifeline_core.pipes.hypotheses import MOTION, PRIOR, Afterwards, Docket
from lifeline_core.pipes.joukowsky import Flow
from lifeline_core.pipes.machines import Planned, Pumping, Valve, listed_pumps, listed_valves
from lifeline_core.pipes.outflow import Trace

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph

__all__ = ["KINDS", "Cause", "Planned", "Pumping", "Step", "Trace", "Valve", "cause"]

KINDS = ("burst", "pump-trip", "valve-closure", "valve-opening", "pump-start", "demand-pulse", "unknown")  # gravest first
SHARP_S = 1.5  # median time to 80 % of the step; slower is a change of demand
SURE, SURE_BLIND = 0.6, 0.9  # probability from which on a burst is said; where no flow is read from records
HARMLESS = ("pump-trip", "pump-start", "demand-pulse")  # must not be called bursts: together they have at most
MILD = 0.1  # this probability where one is said
OPEN, SHOWN = 0.03, 12  # a doubt is told from this probability on; places that are shown


@dataclass(frozen=True, slots=True)
class Cause:
    """What was found.

    Attributes
    ----------
    kind : str
        One of `KINDS`. "unknown" where nothing explains the steps or where they are too few or too slow.
    probability : dict
        Of every kind, sum 1.
    place : str
        Node, link, valve or pump that explains them best under ``kind``; empty for "unknown".
    places : tuple of (str, float)
        All that may be it under ``kind``, the likeliest first, with probabilities (the rest is not shown).
    candidates : Candidates
        Of the location, where ``kind`` begins at one place that may be anywhere; else empty.
    reasons : tuple of str
        What spoke for it and what remains open.
    flow_m3s, flow_sd_m3s : float
        Of what begins at one place, positive; NaN where it cannot be told.
    given_back : float
        Share of that flow that was gone after some seconds; NaN without records.
    planned : str
        The announced operation that explains it, else empty.
    """

    kind: str
    probability: dict[str, float]
    place: str
    places: tuple[tuple[str, float], ...]
    candidates: Candidates
    reasons: tuple[str, ...]
    flow_m3s: float = math.nan
    flow_sd_m3s: float = math.nan
    given_back: float = math.nan
    planned: str = ""


def cause(
    graph: PipeGraph,
    steps: Iterable[Step],
    *,
    pumps: Sequence[Pumping] | None = None,
    valves: Sequence[Valve] | None = None,
    known: Sequence[Planned] = (),
    traces: Mapping[str, Trace] | None = None,
    prior: Mapping[str, float] | None = None,
    solve_speed: bool = True,
    speed_sd: float = 0.04,
) -> Cause:
    """What made these steps, with the probability of every kind of cause.

    Parameters
    ----------
    graph : PipeGraph
    steps : iterable of Step
        One per sensor; of several at a node the surer one counts, one without polarity or time is left out.
    pumps : sequence of Pumping, optional
        By default those of the graph. Their states sharpen the answer.
    valves : sequence of Valve, optional
        By default the links without a length, which are then thought less likely to move and of unknown direction.
    known : sequence of Planned
        Operations that were announced.
    traces : mapping of node to Trace, optional
        Pressure head (m) around the steps, half a second before and as long after as there is (3.5 s tell most); the flow
        is read back from them. Where the graph does not know all diameters only whether it lasted is told.
    prior : mapping, optional
        Weights that replace those of `lifeline_core.pipes.hypotheses.PRIOR`, 0 or more.
    solve_speed, speed_sd
        See `lifeline_core.pipes.search.search`.

    Returns
    -------
    Cause
        "unknown" with a reason where fewer than three nodes have a step or they are too slow for a sharp event.

    Raises
    ------
    ValueError
        A node or place that is not in the network, a standard deviation that is not positive, a negative prior, an
        unknown kind of a planned operation.

    Examples
    --------
    A valve between b and c: what lies on b's side rises, what lies on c's side drops.

    >>> from lifeline_core.pipes import PipeGraph
    >>> graph = PipeGraph.from_edges([("p", "a", "b", 600.0), ("v", "b", "c", 0.0), ("q", "c", "d", 600.0), ("r", "c", "e", 300.0)])
    >>> said = [("a", 0.5, 1), ("d", 0.5, -1), ("e", 0.25, -1)]
    >>> steps = [Step(node, t, 0.005, sign, 2.0 * sign) for node, t, sign in said]
    >>> found = cause(graph, steps, valves=[Valve("v", "b", "c")])
    >>> found.kind, found.place, found.probability["valve-closure"] > 0.8
    ('valve-closure', 'v', True)
    """
    weights = _priors(prior)
    for op in known:
        if op.kind not in MOTION:
            raise ValueError(f"a planned operation is one of {', '.join(MOTION)}, got {op.kind!r}")
    heard = _checked(graph, steps)
    if len(heard) < FEWEST:
        return _nothing(graph, f"{len(heard)} sensors with a step; {FEWEST} at least tell a place")
    rises = [s.rise_s for s in heard if math.isfinite(s.rise_s)]
    if rises and float(np.median(rises)) > SHARP_S:
        return _nothing(graph, f"slow: the median step takes {float(np.median(rises)):.1f} s, a change of demand")
    event = Event(graph, heard, listed_pumps(graph) if pumps is None else pumps, solve_speed, speed_sd)
    if not len(event.found):
        return _nothing(graph, "no place is reached by the waves")
    return _weighed(event, valves, known, traces or {}, weights)


def _checked(graph: PipeGraph, steps: Iterable[Step]) -> list[Step]:
    """One step a node, the surer of several; in order of time, then name."""
    best: dict[str, Step] = {}
    for s in sorted(steps, key=lambda s: (s.sd_s, s.t_s, s.node)):
        graph.node_index(s.node)
        if s.polarity and math.isfinite(s.t_s):
            if not (math.isfinite(s.sd_s) and s.sd_s > 0):
                raise ValueError(f"sd_s is positive and finite where there is a step, got {s.sd_s!r} at {s.node!r}")
            best.setdefault(s.node, s)
    return sorted(best.values(), key=lambda s: (s.t_s, s.node))


def _priors(prior: Mapping[str, float] | None) -> dict[str, float]:
    for name, value in (prior or {}).items():
        if name not in PRIOR:
            raise ValueError(f"a prior is of one of {', '.join(PRIOR)}, got {name!r}")
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"a prior is finite and not negative, got {value!r} for {name!r}")
    return {**PRIOR, **(prior or {})}


def _nothing(graph: PipeGraph, reason: str) -> Cause:
    return Cause("unknown", {k: float(k == "unknown") for k in KINDS}, "", (), Candidates.none(graph), (reason,))


def _weighed(
    event: Event,
    valves: Sequence[Valve] | None,
    known: Sequence[Planned],
    traces: Mapping[str, Trace],
    weights: Mapping[str, float],
) -> Cause:
    """Every hypothesis held against the steps and the records."""
    docket = Docket(event.trial, event.afterwards(traces), weights)
    docket.anywhere(event.places, event.at_places)
    docket.pumps(event.pumps, event.at_pumps)
    listed = listed_valves(event.graph) if valves is None else valves
    docket.valves(listed, "graph-valve" if valves is None else "valve")
    docket.planned(known, event.pumps, listed)
    docket.unknown()
    return _answer(event, docket.guesses, docket.after)


def _answer(event: Event, guesses: Sequence[Guess], after: Afterwards) -> Cause:
    """The kind to be said, from the totals of all guesses."""
    whole = log_sum(np.array([g.total for g in guesses]))
    if not math.isfinite(whole):
        return _nothing(event.graph, "every cause that is given a chance is impossible")
    p = {kind: sum(math.exp(g.total - whole) for g in guesses if g.kind == kind) for kind in KINDS}
    order = sorted(KINDS, key=lambda k: (-p[k], -KINDS.index(k)))
    sure = p["burst"] >= (SURE_BLIND if math.isnan(after.left) else SURE) and sum(p[k] for k in HARMLESS) <= MILD
    kind = order[0] if order[0] != "burst" or sure else order[1]
    mine = [g for g in guesses if g.kind == kind]
    best = max(mine, key=lambda g: g.total)
    weight: dict[str, float] = {}
    for g in mine:
        for name, log in zip(g.names, g.logs, strict=True):
            weight[name] = weight.get(name, 0.0) + math.exp(log - whole) / max(p[kind], 1e-300)
    ranked = sorted(((n, w) for n, w in weight.items() if n and w > 1e-4), key=lambda row: (-row[1], row[0]))[:SHOWN]
    one = best.one_place
    flow = event.one_flow() if one else Flow(math.nan, math.nan, (), ())
    return Cause(
        kind, p, ranked[0][0] if ranked else "", tuple(ranked), event.found if one else Candidates.none(event.graph),
        (*_reasons(kind, p, event.heard, after, best), *event.notes, *flow.reasons), flow.q_m3s, flow.sd_m3s,
        event.flow.given_back if event.flow is not None and one else math.nan, best.planned,
    )  # fmt: skip


def _reasons(kind: str, p: Mapping[str, float], heard: Sequence[Step], after: Afterwards, best: Guess) -> list[str]:
    drops = sum(s.polarity < 0 for s in heard)
    said = [f"{drops} of {len(heard)} sensors drop, {len(heard) - drops} rise"]
    if kind == "unknown":
        said.append("no place explains times and signs better than chance")
    if best.planned:
        said.append(f"announced: {best.planned}")
    if not math.isnan(after.flow_back):
        said.append(f"the flow at the place is {1 - after.flow_back:.0%} of its largest after some seconds")
    elif not math.isnan(after.level_back):
        said.append(f"{after.level_back:.0%} of the excursion given back (median)")
    else:
        said.append("what came afterwards is not known: a short pulse of demand is not excluded")
    if p["burst"] > p[kind]:
        said.append(f"a burst is likelier ({p['burst']:.0%}) but not sure")
    return said + [f"{other} not excluded ({p[other]:.0%})" for other in KINDS if other != kind and OPEN <= p[other] <= p[kind]]
