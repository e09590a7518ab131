"""Searches the whole network for the place from which a wave would arrive as it did.

For every node, and every few metres inside every link, the arrivals t_i are fitted by::

    t_i = t0 + tau_i / c + e_i        tau_i  travel time at the nominal speeds, min over both ends of the link
                                      c      one scale for all speeds, 0.85 .. 1.15, a priori 1 +- 0.05
    var e_i = sd_i^2 + speed_sd^2 sum of squared pipe times on the way  (+ late_i^2 when e_i > 0)
              what all ways share at their beginning is left out of the sum: it moves t0 only

with t0 and c solved in closed form inside iterated weights of Student's t (3 degrees of freedom), begun from the
median: a wrong pick or two lose their say. Probabilities are the likelihood of the fit times a prior, normalised over
the candidates: every node and the best place in every link. The prior is the same for all but for places from which
one way leads to all sensors, a dead end or all that lies behind one junction: no arrival time can tell those apart, and
as waves lose height at every junction the nearer are the likelier, exp(-seconds of that way / 1 s).

Sources: R. Srirangarajan et al., J. Signal Process. Syst. 72 (2013) 1-16 (graph search over arrival times);
K. L. Lange, R. J. A. Little, J. M. G. Taylor, JASA 84 (1989) 881-896 (weights of the t distribution).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lifeline_core.pipes.candidates import Candidates
from lifeline_core.pipes.graph import along, hops

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

DEGREES = 3.0
ROUNDS = 6
GRID_M, GRID_POINTS = 10.0, 20_000  # grid inside links; its spacing grows where that would be more points
REFINED, FINE = 24, 20  # links searched again between the neighbours of their best point, in so many steps
END_M = 5.0  # what is nearer to a node than this is the node (in a link of less than 20 m: than a quarter of it)
BEHIND_S = 1.0  # the prior of places behind a junction that all ways pass falls to 1/e in so many seconds
UNREACHED_SD = 30.0  # an arrival that no way explains counts as so many standard deviations


@dataclass(frozen=True, slots=True)
class Speeds:
    """Bounds of the common scale of all speeds and its standard deviation about 1 before anything was heard."""

    least: float = 0.85
    most: float = 1.15
    sd: float = 0.05


@dataclass(frozen=True, slots=True)
class Points:
    """Places inside links: the link of each and its distance from the link's first node."""

    link: Ints
    offset_m: Floats


@dataclass(frozen=True, slots=True)
class Heard:
    """The arrivals as arrays, one row per sensor."""

    nodes: tuple[str, ...]
    t_s: Floats
    sd_s: Floats
    late_s: Floats

    @classmethod
    def of(
        cls,
        graph: PipeGraph,
        arrivals: Mapping[str, float],
        sd_s: float | Mapping[str, float],
        late_s: Mapping[str, float] | None = None,
    ) -> Heard:
        """Checked; see `search` for the meaning and what is refused."""
        nodes = tuple(node for node, t in arrivals.items() if math.isfinite(t))
        for node in nodes:
            graph.node_index(node)
        if len(nodes) < 2:
            raise ValueError(f"a location takes arrivals at 2 nodes or more, got {len(nodes)}")
        sd = [sd_s.get(node, math.nan) if isinstance(sd_s, Mapping) else float(sd_s) for node in nodes]
        for node, one in zip(nodes, sd, strict=True):
            if not (math.isfinite(one) and one > 0):
                raise ValueError(f"sd_s is positive and finite where there is an arrival, got {one!r} at {node!r}")
        late = [max(0.0, float((late_s or {}).get(node, 0.0))) for node in nodes]
        return cls(nodes, np.array([float(arrivals[node]) for node in nodes]), np.array(sd), np.array(late))


def grid(graph: PipeGraph) -> Points:
    """Evenly spread points inside all links with a length, none at an end."""
    step = max(GRID_M, float(graph.length_m.sum()) / GRID_POINTS)
    count = np.maximum(1, np.floor(graph.length_m / step)).astype(np.intp)
    count[graph.length_m <= 0] = 0
    link = np.repeat(np.arange(len(count), dtype=np.intp), count)
    k = np.arange(len(link)) - np.repeat(np.cumsum(count) - count, count)
    return Points(link, (k + 0.5) * graph.length_m[link] / count[link])


@dataclass(frozen=True, slots=True)
class Ways:
    """Travel times [n_sensors, n_points] (inf: none), the sum of squared pipe times on those parts of the ways that are
    not shared by all, and the seconds that are shared [n_points]."""

    tau_s: Floats
    square_s2: Floats
    shared_s: Floats


@dataclass(frozen=True, slots=True)
class Shared:
    """The part that the ways from a node to all sensors have in common: seconds and sum of squares, [n_nodes]."""

    time_s: Floats
    square_s2: Floats


def shared(graph: PipeGraph, nodes: tuple[str, ...]) -> Shared:
    """Follows the ways from every node as long as they lead to the same next node for all sensors."""
    ways = [graph.routes(node) for node in nodes]
    toward = ways[0].toward.copy()
    for way in ways[1:]:
        toward[way.toward != toward] = -1
    step = hops(ways[0].time_s, toward)
    return Shared(along(toward, step), along(toward, step**2))


def node_ways(graph: PipeGraph, nodes: tuple[str, ...], places: Ints, common: Shared) -> Ways:
    """From nodes (by index) to the sensors."""
    ways = [graph.routes(node) for node in nodes]
    square = np.array([way.square_s2[places] for way in ways]) - common.square_s2[places]
    return Ways(np.array([way.time_s[places] for way in ways]), np.maximum(square, 0.0), common.time_s[places])


def link_ways(graph: PipeGraph, nodes: tuple[str, ...], points: Points, common: Shared) -> Ways:
    """From points inside links to the sensors, over the nearer end for each."""
    link = points.link
    a, b = graph.link_a[link], graph.link_b[link]
    part = points.offset_m / graph.length_m[link]
    to_a, to_b = part * graph.time_s[link], (1.0 - part) * graph.time_s[link]
    tau = np.empty((len(nodes), len(link)))
    square = np.empty_like(tau)
    all_a, all_b = np.ones(len(link), dtype=bool), np.ones(len(link), dtype=bool)
    for i, node in enumerate(nodes):
        way = graph.routes(node)
        # No wave comes through a barrier; only the sensor's own node may be one.
        shut = graph.barrier.copy()
        shut[graph.index[node]] = False
        time = np.where(shut, np.inf, way.time_s)
        via_a, via_b = time[a] + to_a, time[b] + to_b
        near = via_a <= via_b
        all_a &= near
        all_b &= ~near
        tau[i] = np.where(near, via_a, via_b)
        square[i] = np.where(near, way.square_s2[a] + to_a**2, way.square_s2[b] + to_b**2)
    both = np.where(all_a, common.time_s[a] + to_a, np.where(all_b, common.time_s[b] + to_b, 0.0))
    square -= np.where(all_a, common.square_s2[a] + to_a**2, np.where(all_b, common.square_s2[b] + to_b**2, 0.0))
    return Ways(tau, np.maximum(square, 0.0), both)


def fit(ways: Ways, heard: Heard, *, speeds: Speeds | None, speed_sd: float) -> dict[str, Floats]:
    """The best t0 and speed scale (1 when ``speeds`` is None) at every point, with log likelihood ("score"), log prior,
    rms and misfit; see the module."""
    reached = np.isfinite(ways.tau_s)
    tau, square = np.where(reached, ways.tau_s, 0.0), ways.square_s2
    t = heard.t_s[:, None]
    early2 = heard.sd_s[:, None] ** 2 + speed_sd**2 * square
    late2 = early2 + heard.late_s[:, None] ** 2
    slow = np.ones(tau.shape[1])  # 1 / c
    t0 = _median(t - tau, reached)
    prior = 1.0 / speeds.sd**2 if speeds else 0.0
    for _ in range(ROUNDS):
        e = t - t0 - slow * tau
        var = np.where(e > 0, late2, early2)
        w = np.where(reached, (DEGREES + 1.0) / (DEGREES * var + e * e), 0.0)
        total = np.maximum(w.sum(axis=0), 1e-300)
        mean_t, mean_tau = (w * t).sum(axis=0) / total, (w * tau).sum(axis=0) / total
        if speeds:
            dt, dtau = t - mean_t, tau - mean_tau
            slow = ((w * dt * dtau).sum(axis=0) + prior) / ((w * dtau * dtau).sum(axis=0) + prior)
            slow = np.clip(slow, 1.0 / speeds.most, 1.0 / speeds.least)
        t0 = mean_t - slow * mean_tau
    e = t - t0 - slow * tau
    var = np.where(e > 0, late2, early2)
    z2 = np.where(reached, e * e / var, UNREACHED_SD**2)
    # Two half distributions of different width, made to integrate to one together.
    width = np.log(0.5 * (np.sqrt(early2) + np.sqrt(late2)))
    score = -(0.5 * (DEGREES + 1.0) * np.log1p(z2 / DEGREES) + width).sum(axis=0)
    score -= 0.5 * prior * (slow - 1.0) ** 2
    score[~reached.any(axis=0)] = -np.inf
    rms = np.sqrt((np.where(reached, e, 0.0) ** 2).sum(axis=0) / np.maximum(reached.sum(axis=0), 1))
    back = -ways.shared_s / BEHIND_S
    return {"score": score, "prior": back, "t0_s": t0, "slow": slow, "rms_s": rms, "misfit": np.sqrt(np.median(z2, axis=0))}


def _median(v: Floats, good: NDArray[np.bool_]) -> Floats:
    """Median down the columns over what is good; 0 where nothing is."""
    ordered = np.sort(np.where(good, v, np.inf), axis=0)
    n = good.sum(axis=0)
    at = np.arange(v.shape[1])
    found = 0.5 * (ordered[np.maximum((n - 1) // 2, 0), at] + ordered[np.minimum(n // 2, len(v) - 1), at])
    result: Floats = np.where(n > 0, np.where(np.isfinite(found), found, 0.0), 0.0)
    return result


def _best_inside(
    graph: PipeGraph, heard: Heard, points: Points, common: Shared, found: dict[str, Floats],
    *, speeds: Speeds | None, speed_sd: float,
) -> Points:  # fmt: skip
    """The best point of every link, the likeliest links' searched again on a fine grid. Updates ``found`` to match."""
    order = np.lexsort((-found["score"] - found["prior"], points.link))
    best = order[np.unique(points.link[order], return_index=True)[1]]
    kept = Points(points.link[best], points.offset_m[best].copy())
    for key in found:
        found[key] = found[key][best]
    top = np.argsort(-found["score"] - found["prior"], kind="stable")[:REFINED]
    link = kept.link[top]
    count = np.bincount(points.link, minlength=len(graph.links))[link]
    half = graph.length_m[link] / np.maximum(count, 1)
    whole = graph.length_m[link]
    off = np.minimum(END_M, 0.25 * whole)
    lo = np.clip(kept.offset_m[top] - half, off, whole - off)
    hi = np.clip(kept.offset_m[top] + half, off, whole - off)
    part = np.arange(FINE + 1) / FINE
    fine = Points(np.repeat(link, len(part)), (lo[:, None] + (hi - lo)[:, None] * part).ravel())
    ways = link_ways(graph, heard.nodes, fine, common)
    again = fit(ways, heard, speeds=speeds, speed_sd=speed_sd)
    worth, before = again["score"] + again["prior"], found["score"] + found["prior"]
    pick = worth.reshape(len(top), -1).argmax(axis=1) + np.arange(len(top)) * len(part)
    better = worth[pick] > before[top]
    for key in found:
        found[key][top[better]] = again[key][pick[better]]
    kept.offset_m[top[better]] = fine.offset_m[pick[better]]
    return kept


def node_scores(graph: PipeGraph, heard: Heard, nodes: Ints, *, speeds: Speeds | None, speed_sd: float) -> Floats:
    """Log likelihood of the arrivals for waves from nodes (by index), comparable with `Candidates.best_score`."""
    common = shared(graph, heard.nodes)
    return fit(node_ways(graph, heard.nodes, nodes, common), heard, speeds=speeds, speed_sd=speed_sd)["score"]


def search(
    graph: PipeGraph,
    arrivals: Mapping[str, float],
    *,
    sd_s: float | Mapping[str, float] = 0.005,
    solve_speed: bool = True,
    speed_sd: float = 0.04,
    late_s: Mapping[str, float] | None = None,
) -> Candidates:
    """Where a wave began that arrived at these nodes at these times.

    Parameters
    ----------
    graph : PipeGraph
    arrivals : mapping of node to seconds
        On any clock they share; NaN is left out. Two at least; three for a point in a looped network.
    sd_s : float or mapping
        Standard deviation of the arrivals, seconds, clock errors included.
    solve_speed : bool
        Fit one scale of all speeds between 0.85 and 1.15.
    speed_sd : float
        Relative scatter of single pipes' speeds about the nominal, 0 .. 0.5; long ways are believed less.
    late_s : mapping, optional
        How much later than the wave an arrival may have been noticed, where its beginning was weak, seconds.

    Returns
    -------
    Candidates
        Every node that is no tank or reservoir, and every link with a length at its best inner point.

    Raises
    ------
    ValueError
        Fewer than two arrivals, a node that is not in the network, a standard deviation that is not positive.
    """
    heard = Heard.of(graph, arrivals, sd_s, late_s)
    if not 0 <= speed_sd <= 0.5:
        raise ValueError(f"speed_sd is within 0 .. 0.5, got {speed_sd!r}")
    speeds = Speeds() if solve_speed else None
    places = np.nonzero(~graph.barrier)[0]
    common = shared(graph, heard.nodes)
    at_nodes = fit(node_ways(graph, heard.nodes, places, common), heard, speeds=speeds, speed_sd=speed_sd)
    points = graph.points
    inside: dict[str, Floats] = {}
    kept = Points(np.zeros(0, dtype=np.intp), np.zeros(0))
    if len(points.link):
        inside = fit(link_ways(graph, heard.nodes, points, common), heard, speeds=speeds, speed_sd=speed_sd)
        kept = _best_inside(graph, heard, points, common, inside, speeds=speeds, speed_sd=speed_sd)
    node_link, node_offset = graph.node_home
    both = {key: np.concatenate([at_nodes[key], inside.get(key, np.zeros(0))]) for key in at_nodes}
    link = np.concatenate([node_link[places], kept.link])
    offset = np.concatenate([node_offset[places], kept.offset_m])
    node = np.concatenate([places, np.full(len(kept.link), -1)]).astype(np.intp)
    score = both.pop("score")
    both["likelihood"] = np.exp(score - score.max())
    worth = score + both.pop("prior")
    p = np.exp(worth - worth.max())
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    both["speed"] = graph.wave_speed / both.pop("slow")
    both["probability"] = p
    rows = {key: value[order] for key, value in both.items()}
    return Candidates(graph, link[order], offset[order], node[order], rows, float(score.max()))
