"""Ways of a wave along pipes: how long, through which links, and what the ways to several sensors have in common.

Shortest ways to one node are a forest: every node knows the next one on its way. Sums along all of them cost one step a
node, in the compiled half (kernels/ways.c), which also holds the arithmetic of `lifeline_core.pipes.search`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from lifeline_core.pipes._ways import GROUPS as MOST_GROUPS
from lifeline_core.pipes._ways import Net as Net
from lifeline_core.pipes._ways import gather as _gather
from lifeline_core.pipes.position import Section

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph

Floats = NDArray[np.float64]
Nexts = NDArray[np.int32]

__all__ = ["MOST_GROUPS", "Joints", "Net", "Routes", "Shared", "Way", "along", "hops", "shared"]


@dataclass(frozen=True, slots=True)
class Routes:
    """Shortest ways of a wave between one node and all others.

    ``time_s`` seconds; ``square_s2`` the sum of squared pipe times on the way (times the squared relative scatter of
    single pipes' speeds it is the variance of ``time_s``); ``toward`` the next node on the way from each node to the
    one, negative at itself and where there is no way.
    """

    time_s: Floats
    square_s2: Floats
    toward: Nexts


@dataclass(frozen=True, slots=True)
class Way:
    """The fastest way of a wave between two nodes, in the order in which it passes.

    ``nodes`` and ``links`` by name (one node more than links); ``length_m``, ``speed_mps``, ``time_s`` and ``diameter_m``
    float64[n_links]; a valve or a pump has length 0.
    """

    nodes: tuple[str, ...]
    links: tuple[str, ...]
    length_m: Floats
    speed_mps: Floats
    time_s: Floats
    diameter_m: Floats

    @property
    def sections(self) -> tuple[Section, ...]:
        """What `leak_position` takes: the links that have a length."""
        pairs = zip(self.length_m.tolist(), self.speed_mps.tolist(), strict=True)
        return tuple(Section(length, speed) for length, speed in pairs if length > 0)


@dataclass(frozen=True, slots=True)
class Joints:
    """Which node leads to which, by the lightest of parallel links; none leads out of a barrier.

    ``matrix`` float64[n_nodes, n_nodes], a link that costs nothing is an explicit 0; ``link`` of each of its entries.
    """

    matrix: csr_matrix
    link: NDArray[np.intp]

    @classmethod
    def of(cls, link_a: NDArray[np.intp], link_b: NDArray[np.intp], weight: Floats, barrier: NDArray[np.bool_]) -> Joints:
        """From the ends of links and what each of them costs."""
        tail, head = np.concatenate([link_a, link_b]), np.concatenate([link_b, link_a])
        cost, link = np.concatenate([weight, weight]), np.tile(np.arange(len(weight)), 2)
        keep = np.nonzero(~barrier[tail])[0]
        order = keep[np.lexsort((cost[keep], head[keep], tail[keep]))]
        tail, head, cost, link = tail[order], head[order], cost[order], link[order]
        first = np.ones(len(tail), dtype=bool)
        first[1:] = (tail[1:] != tail[:-1]) | (head[1:] != head[:-1])
        n = len(barrier)
        starts = np.searchsorted(tail[first], np.arange(n + 1))
        # Built as CSR by hand: explicit zeros (open valves) stay, and parallel links are not added up.
        matrix = csr_matrix((cost[first], head[first].astype(np.int32), starts.astype(np.int32)), shape=(n, n))
        return cls(matrix, link[first])

    def links_toward(self, toward: Nexts) -> NDArray[np.intp]:
        """The link between every node and the next on its way; negative where there is none."""
        n = len(toward)
        found = np.full(n, -1, dtype=np.intp)
        if not len(self.link):
            return found
        keys = np.repeat(np.arange(n), np.diff(self.matrix.indptr)) * n + self.matrix.indices
        for want in (np.arange(n) * n + toward, toward.astype(np.int64) * n + np.arange(n)):  # a barrier has none outwards
            at = np.minimum(np.searchsorted(keys, want), len(keys) - 1)
            hit = (keys[at] == want) & (toward >= 0)
            found[hit] = self.link[at[hit]]
        return found


def gathered(toward: Nexts, cost: Floats) -> tuple[Floats, Nexts]:
    """Sum of every node's ``cost`` and those of all nodes after it, the last of them left out; and which that is.

    Raises
    ------
    ValueError
        ``toward`` leads in a circle or to no node.
    """
    n = len(toward)
    total, last = np.zeros(n), np.zeros(n, dtype=np.int32)
    _gather(np.ascontiguousarray(toward, dtype=np.int32), np.ascontiguousarray(cost), np.zeros(n, dtype=np.int32), total, last)
    return total, last


def along(toward: Nexts, cost: Floats) -> Floats:
    """Sum of every node's ``cost`` and those of all nodes after it.

    ``toward`` leads from node to node and never in a circle; negative: the way ends, this node costs nothing.

    >>> along(np.array([-1, 0, 1], dtype=np.int32), np.array([9.0, 1.0, 2.0])).tolist()
    [0.0, 1.0, 3.0]
    """
    return gathered(toward, cost)[0]


def hops(time_s: Floats, toward: Nexts) -> Floats:
    """Travel time from every node to the next on its way, 0 where there is none."""
    some = toward >= 0
    step = np.zeros(len(toward))
    step[some] = time_s[some] - time_s[toward[some]]
    return step


@dataclass(frozen=True, slots=True)
class Shared:
    """The part that the ways from a node to all sensors have in common, [n_nodes]: seconds, the sum of squared pipe times,
    and the node at which they part. Places that part at one node cannot be told apart by arrival times."""

    time_s: Floats
    square_s2: Floats
    parting: Nexts


def shared(graph: PipeGraph, nodes: Sequence[str]) -> Shared:
    """Follows the ways from every node as long as they lead to the same next node for all sensors."""
    ways = [graph.routes(node) for node in nodes]
    toward = ways[0].toward.copy()
    for way in ways[1:]:
        toward[way.toward != toward] = -1
    step = hops(ways[0].time_s, toward)
    time, parting = gathered(toward, step)
    return Shared(time, along(toward, step**2), parting)
