"""The part of a large network about one node, cut out so that waves that leave it do not come back.

Where a pipe was cut, what it would have carried away stays as a user of the node with the pipe's admittance g A / a: a
matched end, from which nothing is reflected.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lifeline_core.pipes.moc import GRAVITY, Places

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Region:
    """``graph`` with its nodes and links (``node``, ``link``: indices in the whole network), their diameters, and what was
    cut off at each node, m2/s."""

    graph: PipeGraph
    node: Ints
    link: Ints
    diameter_m: Floats
    cut: Floats

    def whole(self, places: Places) -> Places:
        """The same places in the whole network."""
        node = np.where(places.node >= 0, self.node[np.maximum(places.node, 0)], -1)
        link = np.where(places.link >= 0, self.link[np.maximum(places.link, 0)], -1)
        return Places(node, link, places.offset_m)


def region(graph: PipeGraph, diameter_m: Floats, centre: int, most: int) -> Region:
    """The nodes that a wave from one reaches first, as many as have ``most`` links; all of them where it has no more."""
    from lifeline_core.pipes.graph import PipeGraph

    a, b = graph.link_a, graph.link_b
    far = graph.routes(graph.nodes[centre]).time_s
    needs = np.maximum(far[a], far[b])
    reach = math.inf if len(needs) <= most else float(np.partition(needs, most - 1)[most - 1])
    link = np.nonzero(needs <= reach)[0]
    node = np.unique(np.concatenate([a[link], b[link], [centre]]))
    kept = np.zeros(len(a), dtype=bool)
    kept[link] = True
    pipe = ~kept & (graph.time_s > 0)
    admittance = np.zeros(len(a))
    admittance[pipe] = GRAVITY * math.pi / 4 * diameter_m[pipe] ** 2 * graph.time_s[pipe] / graph.length_m[pipe]
    n = len(graph.nodes)
    cut = np.bincount(a, admittance, n) + np.bincount(b, admittance, n)
    rate = np.where(graph.time_s > 0, graph.length_m / np.where(graph.time_s > 0, graph.time_s, 1.0), graph.wave_speed)
    names, inside = graph.nodes, set(node.tolist())
    part = PipeGraph(
        [names[i] for i in node],
        [(graph.links[k], names[a[k]], names[b[k]], float(graph.length_m[k]), float(rate[k])) for k in link],
        wave_speed=graph.wave_speed,
        barriers=[names[i] for i in node if graph.barrier[i]],
        pumps=[(p.name, names[p.suction], names[p.delivery], p.running)
               for p in graph.pumps if p.suction in inside and p.delivery in inside],
    )  # fmt: skip
    return Region(part, node, link, diameter_m[link], cut[node])
