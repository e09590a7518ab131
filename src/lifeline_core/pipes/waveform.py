"""Where a burst is, from the whole shape of the waves at the sensors instead of their arrivals alone.

1. The stretch about the first motion is cut out (`traces`).
2. One run per sensor and speed tells what a step of flow anywhere would do there (`moc`, reciprocity); for every place
   the time and size that fit best are found by correlation (`screen`).
3. The likeliest places are fitted with a flow that an orifice there would have: its own fall of head holds it back.
4. The likeliest of these are compared by the evidence over networks whose pipes' speeds scatter (`evidence`), which also
   says by how much all speeds are off; then points inside the links about the best.

What is listed, and when it does not fit, is told in `lifeline_core.pipes.placed`.

Sources: E. B. Wylie, V. L. Streeter, Fluid Transients in Systems (1993) (waves); J. P. Vitkovsky et al., J. Water Resour.
Plann. Manage. 126 (2000) 262-265 (matching transients); G. Evensen, Ocean Dynamics 53 (2003) 343-367 (spread of an ensemble).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from lifeline_core.pipes.evidence import LEAST_LIKELY, Fit
from lifeline_core.pipes.match import END_M, GAP, Known, Match, Members, Work, best_of, inner, joined
from lifeline_core.pipes.moc import Places, diameters
from lifeline_core.pipes.placed import FINE_M, SCALES, Placed, listed
from lifeline_core.pipes.region import region
from lifeline_core.pipes.traces import bins, cut, motions

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph

Ints = NDArray[np.intp]

FAST_S, SLOW_S = 0.06, 0.8  # in which a burst opens; a slow one is tried at every third speed
SPACING_M = 100.0  # points inside links at first
FEWEST_FINE, MOST_FINE = 3, 48
FITTED, FITTED_SLOW, COMPARED = 40, 10, 20  # places
MEMBERS = 48
MOST_LINKS = 420  # about the sensor that moved first; what is further away is cut off
LEAN_SD = 0.02  # of the common factor of a member's speeds
LEVEL_M = 45.0
MOST_SPEED_SD = 0.2


def usual(fits: list[Fit]) -> float:
    """Speed that the likeliest of these agree on."""
    score = np.array([f.score for f in fits])
    weight = np.exp((score - score.max()) / 40.0)
    return math.exp(float(weight @ np.log([f.scale for f in fits]) / weight.sum()))


def leading(fits: list[Fit], most: int) -> Ints:
    """Indices of the best, at most so many, none without a fit."""
    score = np.array([f.score for f in fits])
    order = np.argsort(-score, kind="stable")[:most]
    return order[score[order] > LEAST_LIKELY]


def alone(places: Places, fitted: list[Known]) -> tuple[Places, list[list[Known]]]:
    """The ``COMPARED`` best places, each once, with all that was fitted there: whether a burst opened fast or slowly shows
    only later."""
    rows: dict[tuple[int, int, float], list[int]] = {}
    for i in leading([f for f, _ in fitted], len(fitted)):
        rows.setdefault((int(places.node[i]), int(places.link[i]), float(places.offset_m[i])), []).append(int(i))
    kept = list(rows.values())[:COMPARED]
    return places[np.array([one[0] for one in kept], dtype=np.intp)], [[fitted[i] for i in one] for one in kept]


def about(graph: PipeGraph, places: Places, best: Ints) -> tuple[Places, Ints]:
    """Points inside the links about the best places, and which place each takes its first guess from."""
    parts, owner = [], []
    seen: set[int] = set()
    room = MOST_FINE
    for i in best:
        node = int(places.node[i])
        near = np.nonzero((graph.link_a == node) | (graph.link_b == node))[0] if node >= 0 else places.link[i : i + 1]
        near = np.array([k for k in near if k not in seen and graph.length_m[k] > 4 * END_M], dtype=np.intp)
        seen.update(int(k) for k in near)
        points = inner(graph, near, FINE_M, FEWEST_FINE)
        if len(points) > room:
            points = inner(graph, near, FINE_M * len(points) / max(room, 1), 1)
        if not len(points) or room <= 0:
            continue
        parts.append(points)
        owner += [int(i)] * len(points)
        room -= len(points)
    return (joined(parts) if parts else inner(graph, np.zeros(0, dtype=np.intp), 1.0)), np.array(owner, dtype=np.intp)


def match_burst(
    graph: PipeGraph,
    p: ArrayLike,
    nodes: Sequence[str],
    fs: float,
    *,
    t0_s: float = 0.0,
    first_s: float | None = None,
    speed_told: float | None = None,
    solve_speed: bool = True,
    speed_sd: float = 0.04,
    diameter_m: Mapping[str, float] | ArrayLike | None = None,
    level_m: float = LEVEL_M,
    threads: int = 1,
) -> Placed:
    """Where the burst is that these records show.

    Whether they show one at all is not asked here: see `lifeline_core.pipes.burst.judge`.

    Parameters
    ----------
    graph : PipeGraph
    p : array_like[n_sensors, n]
        Head in metres, two sensors at least, also those that heard nothing; NaN is left out. Two seconds before the
        first motion are needed to know the levels.
    nodes : sequence of str
        The place of each row.
    fs, t0_s : float
        Hz; time of the first sample, seconds.
    first_s : float, optional
        When something has moved for certain; found if not told.
    speed_told : float, optional
        m/s, nominal; the graph's by default.
    solve_speed : bool
        Look for a common factor of all speeds, 0.81 .. 1.24.
    speed_sd : float
        Relative scatter of single pipes' speeds, within 0 .. 0.2.
    diameter_m : mapping of link to metres or array_like[n_links], optional
        See `lifeline_core.pipes.moc.Waves`.
    level_m : float
        Usual pressure head in the network, m: a burst's own fall of head against it holds its flow back.
    threads : int
        At most so many run waves; the answer is the same for any number.

    Returns
    -------
    Placed
        The places that were compared to the end, about 20 nodes and the links about the best; ``rms_s`` is what the
        waves leave unexplained in seconds of their slope, ``misfit`` in standard deviations. Empty where nothing moves.

    Raises
    ------
    ValueError
        Another number of nodes than rows, fewer than two, an unknown node, fs, speed or level not positive.
    """
    work = matching(
        graph, p, nodes, fs, t0_s=t0_s, first_s=first_s, speed_told=speed_told, solve_speed=solve_speed, speed_sd=speed_sd,
        diameter_m=diameter_m, level_m=level_m, threads=threads,
    )  # fmt: skip
    # Products of a hundred rows: more threads of the linear algebra would only wait for each other.
    with threadpool_limits(1, user_api="blas"):
        while True:
            try:
                next(work)
            except StopIteration as end:
                found: Placed = end.value
                return found


def matching(
    graph: PipeGraph,
    p: ArrayLike,
    nodes: Sequence[str],
    fs: float,
    *,
    t0_s: float = 0.0,
    first_s: float | None = None,
    speed_told: float | None = None,
    solve_speed: bool = True,
    speed_sd: float = 0.04,
    diameter_m: Mapping[str, float] | ArrayLike | None = None,
    level_m: float = LEVEL_M,
    threads: int = 1,
) -> Work[Placed]:
    """`match_burst` piece by piece: yields the cost of each in about milliseconds, returns what was found."""
    x = np.atleast_2d(np.asarray(p, dtype=np.float64))
    if x.ndim != 2 or len(nodes) != len(x):
        raise ValueError(f"nodes names every row of p: {len(x)} rows, got {len(nodes)} names")
    if len(x) < 2:
        raise ValueError(f"a location takes 2 sensors or more, got {len(x)}")
    told = graph.wave_speed if speed_told is None else float(speed_told)
    for name, value in (("fs", fs), ("speed_told", told), ("level_m", level_m)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is positive and finite, got {value!r}")
    if not 0 <= speed_sd <= MOST_SPEED_SD:
        raise ValueError(f"speed_sd is within 0 .. 0.2, got {speed_sd!r}")
    at = [graph.node_index(node) for node in nodes]
    traces = cut(x, float(fs), float(t0_s), first_s)
    if traces is None:
        return Placed.none(graph)
    first = int(np.argmin(motions(bins(x, float(fs))[0], traces.step_s)))
    part = region(graph, diameters(graph, diameter_m), at[first], MOST_LINKS)
    here = [i for i, node in enumerate(nodes) if node in part.graph.index]
    if len(here) < 2:
        return Placed.none(graph)
    traces = replace(traces, y=traces.y[here], sd=traces.sd[here])
    sensors = Places.at_nodes([part.graph.index[nodes[i]] for i in here])
    match = Match(part, traces, sensors, speed=told, speed_sd=speed_sd, level_m=level_m, threads=threads)
    found = yield from search(match, solve_speed)
    if found is None:
        return Placed.none(graph)
    used = tuple(nodes[i] for i in here)
    return listed(graph, part.whole(found[0]), found[1], told, used, solve_speed)


def search(match: Match, solve_speed: bool) -> Work[tuple[Places, list[Fit]] | None]:
    """All places that were compared to the end, and how well."""
    graph = match.graph
    junctions = Places.at_nodes(np.nonzero(~graph.barrier)[0])
    places = joined([junctions, inner(graph, np.arange(len(graph.links)), SPACING_M)])
    scales = SCALES if solve_speed else np.ones(1)
    tried, fitted = [], []
    for opening_s, some_scales, most in ((FAST_S, scales, FITTED), (SLOW_S, scales[::3], FITTED_SLOW)):
        fits = yield from match.screen(places, some_scales, opening_s)
        some = leading(fits, most)
        tried.append(places[some])
        fitted += yield from match.fit(places[some], [fits[i] for i in some], opening_s)
    places, known = alone(joined(tried), fitted)
    if not len(places):
        return None
    members = Members.draw(graph, MEMBERS, match.speed_sd, LEAN_SD if solve_speed else 0.0)
    first = usual([best_of(one) for one in known]) if solve_speed else 1.0
    known = yield from match.compare(places, known, members, first)
    return (yield from closer(match, places, known, members))


def closer(match: Match, places: Places, known: list[list[Known]], members: Members) -> Work[tuple[Places, list[Fit]] | None]:
    """Points inside the links about the best places, at the speed found."""
    best = [best_of(one) for one in known]
    order = leading(best, 4)
    order = np.array([i for i in order if best[i].score > best[order[0]].score - 0.5 * GAP], dtype=np.intp)
    if not len(order):
        return None
    points, owner = about(match.graph, places, order)
    if len(points):
        top = best[order[0]]
        begun = [[one for one in known[i] if one[0].score > top.score - GAP] for i in owner]
        found = yield from match.compare(points, begun, members, top.scale, rounds=1)
        best += [best_of(one) for one in found]
        places = joined([places, points])
    return places, best
