"""Searches the whole network for the place from which a wave would arrive as it did.

Every place is judged by how it explains the arrivals t_i::

    t_i = t0 + tau_i / c + e_i        tau_i  least travel time at the nominal speeds, over the nearer end of a link
                                      c      one scale of all speeds, or one for every group of pipes
    cov(e_i, e_k) = sd_i^2 (i = k) + speed_sd^2 * sum of squared pipe times on what the ways to i and k have in common

t0 may be anything; 1 / c is 1 +- 5 % a priori, and with 15 % probability the speed told is plainly wrong: 1 +- 15 %, within
1 / 1.35 .. 1 / 0.75. Both are integrated out in closed form (a Gaussian update), so that the probability of a place counts
every start and speed. An arrival is set aside when to be a stray (STRAY_PER_S a second) explains it better than this, which
is decided against all the others together (leave-one-out), place by place; at least half of them stay.

The search goes from coarse to fine. Every node and every few metres inside links are fitted fast, with independent errors in
weights of Student's t; the likeliest are then weighed in full, the best links again on a fine grid. What is not weighed keeps
its share of the probability by the coarse score, whose tails are the longer: it is counted high, never dropped.

A priori the source is at a joint or inside a pipe, even odds; all joints alike, pipes by their length. Places behind one
junction through which all ways lead cannot be told apart by arrival times; as waves lose height at every junction the nearer
are a little likelier, exp(-seconds of the way there / 1 s).

Sources: R. Srirangarajan et al., J. Signal Process. Syst. 72 (2013) 1-16 (graph search over arrival times);
K. L. Lange, R. J. A. Little, J. M. G. Taylor, JASA 84 (1989) 881-896 (weights of the t distribution);
C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning (2006), 2.7 and 5.4.2 (known functions with
unknown weights in a Gaussian; leave-one-out from the inverse covariance).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lifeline_core.pipes.candidates import Candidates
from lifeline_core.pipes.groups import Groups
from lifeline_core.pipes.heard import Heard as Heard
from lifeline_core.pipes.heard import Speeds as Speeds
from lifeline_core.pipes.outcome import Examined, candidates
from lifeline_core.pipes.ways import Shared
from lifeline_core.pipes.weigh import Fits, Scales, fit, network, weigh

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

GRID_M, GRID_POINTS = 10.0, 10_000  # grid inside links; its spacing grows where that would be more points
END_M = 5.0  # what is nearer to a node than this is the node (in a link of less than 20 m: than a quarter of it)
BEHIND_S = 1.0  # the prior of places behind a junction that all ways pass falls to 1/e in so many seconds
SPAN = 12.0  # what the coarse score puts so far below the best (in log likelihood) is not weighed
MOST_NODES, MOST_LINKS, CLOSE_LINKS = 256, 192, 64  # weighed at most; so many links on the close grid
REFINED, FINE = 16, 12  # links searched again about their best point, in so many steps


@dataclass(frozen=True, slots=True)
class Spots:
    """Nodes (``link`` -1) and points inside links, [n]: ``ends`` int32[n, 3] both nodes (the second -1 at a node) and the link,
    ``to_s`` float64[n, 3] seconds to them and the standard deviation in seconds of a place in the cell about it, ``offset_m``
    from the link's first node, ``cell_m`` the length of pipe that a point stands for."""

    ends: NDArray[np.int32]
    to_s: Floats
    link: Ints
    offset_m: Floats
    cell_m: Floats

    def __len__(self) -> int:
        return len(self.link)

    def __getitem__(self, which: Ints | NDArray[np.bool_]) -> Spots:
        return Spots(self.ends[which], self.to_s[which], self.link[which], self.offset_m[which], self.cell_m[which])

    @classmethod
    def at_nodes(cls, graph: PipeGraph, nodes: Ints) -> Spots:
        """Nodes by index."""
        n, offset = len(nodes), graph.node_home[1]
        ends = np.full((n, 3), -1, dtype=np.int32)
        ends[:, 0] = nodes
        to = np.zeros((n, 3))
        to[:, 1] = np.inf
        return cls(ends, to, np.full(n, -1, dtype=np.intp), offset[nodes], np.zeros(n))

    @classmethod
    def inside(cls, graph: PipeGraph, link: Ints, offset_m: Floats, cell_m: Floats) -> Spots:
        """Points inside links."""
        ends = np.stack([graph.link_a[link], graph.link_b[link], link], axis=1).astype(np.int32)
        part, blur = offset_m / graph.length_m[link], cell_m / graph.length_m[link] / math.sqrt(12.0)
        to = np.stack([part, 1.0 - part, blur], axis=1) * graph.time_s[link][:, None]
        return cls(ends, to, link, offset_m, cell_m)

    @classmethod
    def spread(cls, graph: PipeGraph, links: Ints, count: Ints) -> Spots:
        """``count`` even points on every one of some links, none at an end."""
        link = np.repeat(links, count)
        k = np.arange(len(link)) - np.repeat(np.cumsum(count) - count, count)
        cell = graph.length_m[link] / np.repeat(count, count)
        return cls.inside(graph, link, (k + 0.5) * cell, cell)


def grid(graph: PipeGraph) -> tuple[Spots, Spots]:
    """All nodes that are no barrier, and evenly spread points inside all links with a length."""
    step = max(GRID_M, float(graph.length_m.sum()) / GRID_POINTS)
    links = np.nonzero(graph.length_m > 0)[0]
    inside = Spots.spread(graph, links, np.maximum(1, np.floor(graph.length_m[links] / step)).astype(np.intp))
    return Spots.at_nodes(graph, np.nonzero(~graph.barrier)[0]), inside


def _worth(fits: Fits) -> Floats:
    return fits.score - fits.shared / BEHIND_S


def _hopeless(graph: PipeGraph, heard: Heard, nodes: Spots, at_nodes: Fits, scales: Scales) -> tuple[NDArray[np.bool_], Ints]:
    """Links in which no point can come near the best node, and of every link the row of its better end.

    A point differs from an end by h seconds at most, so its residuals in standard deviations z by d = h / sd; and with the
    triangle rule 3 + (z + d)^2 <= (3 + z^2) (1 + d / sqrt 3)^2, so that no arrival lets a score rise by more than
    4 log(1 + d / sqrt 3), and all of them by no more than if they had the mean d."""
    row = np.full(len(graph.nodes), -1, dtype=np.intp)
    row[nodes.ends[:, 0]] = np.arange(len(nodes))
    score = np.append(at_nodes.score, -np.inf)
    a, b = row[graph.link_a], row[graph.link_b]
    end = np.where(score[a] >= score[b], a, b)
    h = graph.time_s * np.where((a < 0) | (b < 0), 1.0, 0.5) * scales.bounds[1]
    rise = 4.0 * len(heard.nodes) * np.log1p(h * float((1.0 / heard.sd_s).mean()) / math.sqrt(3.0))
    return (graph.length_m > 0) & (end >= 0) & (score[end] + rise < score.max() - SPAN), end


def _close(graph: PipeGraph, nodes: Spots, points: Spots, at_nodes: Fits, inside: Fits) -> tuple[Ints, Spots]:
    """Which nodes (rows of ``nodes``) and which points inside links are worth to be weighed in full."""
    worth_n, worth_p = _worth(at_nodes), _worth(inside)
    best = max(float(worth_n.max(initial=-np.inf)), float(worth_p.max(initial=-np.inf)))
    top = np.nonzero(worth_n >= best - SPAN)[0]
    top = top[np.argsort(-worth_n[top], kind="stable")][:MOST_NODES]
    per_link = np.full(len(graph.links), -np.inf)
    if len(points):
        first = np.nonzero(np.diff(points.link, prepend=-1))[0]  # the grid goes link by link
        per_link[points.link[first]] = np.maximum.reduceat(worth_p, first)
    at_node = np.full(len(graph.nodes), -np.inf)
    at_node[nodes.ends[top, 0]] = worth_n[top]
    # The best point may lie between those of the grid: a good end is as telling as a good point.
    long = graph.length_m > 0
    per_link[long] = np.maximum(per_link, np.maximum(at_node[graph.link_a], at_node[graph.link_b]))[long]
    links = np.nonzero(per_link >= best - SPAN)[0]
    links = links[np.argsort(-per_link[links], kind="stable")][:MOST_LINKS]
    ends = np.zeros(len(graph.nodes), dtype=bool)
    ends[graph.link_a[links]] = ends[graph.link_b[links]] = True
    chosen = ends[nodes.ends[:, 0]]
    chosen[top] = True
    step = np.where(np.arange(len(links)) < CLOSE_LINKS, GRID_M, 4 * GRID_M)
    order = np.argsort(links)
    count = np.clip(np.floor(graph.length_m[links] / step), 1, 32).astype(np.intp)
    return np.nonzero(chosen)[0], Spots.spread(graph, links[order], count[order])


def _refined(graph: PipeGraph, points: Spots, worth: Floats) -> tuple[Ints, Spots]:
    """Of the likeliest links the best point's row, and the points that share its cell."""
    order = np.lexsort((-worth, points.link))
    first = np.unique(points.link[order], return_index=True)[1]
    rows = order[first]
    mass = np.log(np.add.reduceat(np.exp(worth[order] - worth.max()) * points.cell_m[order], first) + 1e-300)
    top = np.sort(rows[np.argsort(-mass, kind="stable")[:REFINED]])
    part = (np.arange(FINE) + 0.5) / FINE - 0.5
    offset = points.offset_m[top][:, None] + points.cell_m[top][:, None] * part
    cell = np.repeat(points.cell_m[top] / FINE, FINE)
    return top, Spots.inside(graph, np.repeat(points.link[top], FINE), offset.ravel(), cell)


def node_scores(graph: PipeGraph, heard: Heard, nodes: Ints, *, speeds: Speeds | None, speed_sd: float) -> Floats:
    """Log likelihood of the arrivals for waves from nodes (by index), comparable with `Candidates.best_score`."""
    net, _ = network(graph, heard, None)
    return weigh(graph, net, heard, Spots.at_nodes(graph, nodes), Scales.of(speeds, None, speed_sd)).score


def _examine(graph: PipeGraph, heard: Heard, scales: Scales) -> tuple[Examined, Examined, Shared]:
    """What was weighed in full, the rest as fitted fast, and what the ways to all sensors share."""
    net, common = network(graph, heard, scales.groups)
    nodes, points = graph.spots
    at_nodes = fit(graph, net, heard, nodes, scales)
    hopeless, end = _hopeless(graph, heard, nodes, at_nodes, scales)
    points = points[~hopeless[points.link]]
    inside = fit(graph, net, heard, points, scales)
    rows, close = _close(graph, nodes, points, at_nodes, inside)
    some = nodes[rows]
    full = weigh(graph, net, heard, some, scales, at_nodes[rows])
    parts, fits = [some], [full]
    if len(close):
        first = weigh(graph, net, heard, close, scales)
        top, fine = _refined(graph, close, _worth(first))
        again = weigh(graph, net, heard, fine, scales)
        keep = np.ones(len(close), dtype=bool)
        keep[top] = False
        parts += [close[keep], fine]
        fits += [first[keep], again]
    left_n = np.ones(len(nodes), dtype=bool)
    left_n[rows] = False
    on = np.zeros(len(graph.links), dtype=bool)
    on[close.link] = True
    left_p = ~on[points.link]
    far = np.nonzero(hopeless)[0]
    near = np.minimum(END_M, 0.25 * graph.length_m[far])
    offset = np.where(nodes.ends[end[far], 0] == graph.link_a[far], near, graph.length_m[far] - near)
    rest = Examined(
        (nodes[left_n], points[left_p], Spots.inside(graph, far, offset, graph.length_m[far])),
        (at_nodes[left_n], inside[left_p], at_nodes[end[far]]),
    )
    coarse = max(float(at_nodes.score.max(initial=-np.inf)), float(inside.score.max(initial=-np.inf)))
    best = max(float(f.score.max(initial=-np.inf)) for f in fits)
    return Examined(tuple(parts), tuple(fits)), rest.shifted(best - coarse), common


def search(
    graph: PipeGraph,
    arrivals: Mapping[str, float],
    *,
    sd_s: float | Mapping[str, float] = 0.005,
    solve_speed: bool = True,
    speed_sd: float = 0.04,
    late_s: Mapping[str, float] | None = None,
    speed_groups: Mapping[str, str] | str | None = None,
    group_sd: float | Mapping[str, float] = 0.05,
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
        Find the scale of the speeds with the place; else they are as told but for ``speed_sd``.
    speed_sd : float
        Relative scatter of single pipes' speeds about the nominal, 0 .. 0.5; long ways are believed less.
    late_s : mapping, optional
        How much later than the wave an arrival may have been noticed, where its beginning was weak, seconds.
    speed_groups : mapping of link to group, or "diameter", optional
        One scale for every group of pipes instead of one for all.
    group_sd : float or mapping
        Standard deviation of a group's scale about 1, 0 .. 0.5.

    Returns
    -------
    Candidates
        Every node that is no tank or reservoir, and every link with a length at its best inner point; with the arrivals that
        were set aside and why, and whether the rest fits.

    Raises
    ------
    ValueError
        Fewer than two arrivals, a node that is not in the network, a standard deviation that is not positive.
    """
    everyone = Heard.of(graph, arrivals, sd_s, late_s)
    if not 0 <= speed_sd <= 0.5:
        raise ValueError(f"speed_sd is within 0 .. 0.5, got {speed_sd!r}")
    groups = Groups.of(graph, speed_groups, group_sd) if speed_groups is not None else None
    scales = Scales.of(Speeds() if solve_speed else None, groups, speed_sd)
    found = _one(graph, everyone, scales)
    aside = np.array([i for i, node in enumerate(everyone.nodes) if node in found.set_aside], dtype=np.intp)
    if not 3 <= len(aside) < len(found.used):
        return found
    # What agrees with one place and time of its own is no accident.
    other = _one(graph, everyone.only(aside), scales)
    return found.with_second(other.used) if other.fits and len(other.used) >= 3 else found


def _one(graph: PipeGraph, everyone: Heard, scales: Scales) -> Candidates:
    """One source for as many arrivals as one can explain."""
    heard = everyone.only(everyone.agreeing(graph, scales.speeds, scales.scatter))
    full, rest, common = _examine(graph, heard, scales)
    apart = {node: "triangle" for node in everyone.nodes if node not in heard.nodes}
    return candidates(graph, heard, scales, full, rest, apart, common=common, behind_s=BEHIND_S)
