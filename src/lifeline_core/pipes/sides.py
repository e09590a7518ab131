"""Which sensor a wave from a place reaches when, and over which end of it: what signs and times are compared with.

A source at one place sends the same first motion everywhere. A valve or a pump that changes its flow sends a rise from
one of its ends and a drop of the same size from the other; a sensor sees first what leaves by the end that is nearer
to it, and where both come together it may see either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

BLURRED_S = 0.02  # two fronts that come within this time of each other can hardly be told apart
LARGEST = 50.0


@dataclass(frozen=True, slots=True)
class Spots:
    """Places with two ends: ``a``, ``b`` are nodes, ``to_a_s``, ``to_b_s`` the seconds to them. At a node both are it."""

    a: Ints
    b: Ints
    to_a_s: Floats
    to_b_s: Floats

    def __len__(self) -> int:
        return len(self.a)

    @classmethod
    def ends(cls, a: Sequence[int], b: Sequence[int]) -> Spots:
        """Valves and pumps by their ends: no time passes inside."""
        nothing = np.zeros(len(a))
        return cls(np.array(a, dtype=np.intp), np.array(b, dtype=np.intp), nothing, nothing)

    @classmethod
    def on(cls, graph: PipeGraph, link: Ints, offset_m: Floats, node: Ints) -> Spots:
        """Nodes (by index) or, where that is negative, places inside links."""
        inside = node < 0
        whole = np.where(graph.length_m[link] > 0, graph.length_m[link], 1.0)
        part = np.where(inside, offset_m / whole, 0.0)
        time = graph.time_s[link]
        a, b = np.where(inside, graph.link_a[link], node), np.where(inside, graph.link_b[link], node)
        return cls(a, b, np.where(inside, part * time, 0.0), np.where(inside, (1.0 - part) * time, 0.0))


@dataclass(frozen=True, slots=True)
class Ends:
    """Seconds to each sensor over either end [n_sensors, n_spots] and their sums of squared pipe times; inf: no way.

    ``first_a`` 0 .. 1: how surely what leaves by end a is seen before what leaves by end b; 0.5 where no telling.
    """

    time_s: Floats
    square_s2: Floats
    first_a: Floats


def ends(graph: PipeGraph, nodes: Sequence[str], spots: Spots) -> Ends:
    """The ways from spots to sensors. A way to one end that leads through the other belongs to that other end."""
    time, square, first = (np.empty((len(nodes), len(spots))) for _ in range(3))
    for i, node in enumerate(nodes):
        way = graph.routes(node)
        shut = graph.barrier.copy()
        shut[graph.index[node]] = False  # no wave comes through a tank; only the sensor's own node may be one
        reach = np.where(shut, np.inf, way.time_s)
        via_a, via_b = reach[spots.a] + spots.to_a_s, reach[spots.b] + spots.to_b_s
        # Ends without a pipe between them are equally far: the way itself says which one comes first.
        via_a = np.where(way.toward[spots.a] == spots.b, np.maximum(via_a, via_b + 1e3), via_a)
        via_b = np.where((way.toward[spots.b] == spots.a) & (spots.a != spots.b), np.maximum(via_b, via_a + 1e3), via_b)
        near = via_a <= via_b
        time[i] = np.where(near, via_a, via_b)
        over = np.where(near, spots.to_a_s, spots.to_b_s)
        square[i] = way.square_s2[np.where(near, spots.a, spots.b)] + over**2
        with np.errstate(invalid="ignore"):
            apart = np.nan_to_num((via_b - via_a) / BLURRED_S, nan=0.0, posinf=LARGEST, neginf=-LARGEST)
        first[i] = 1.0 / (1.0 + np.exp(-np.clip(apart, -LARGEST, LARGEST)))
    return Ends(time, square, first)
