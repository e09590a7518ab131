"""Places on a pipe network, metre by metre, and the quickest ways between them with what lies on them.

::

    place a  |====p1====|==valve==|=====p2=====|  place b       pieces of the way, each of one speed
             0          x1        x1           length_m          metres from a

`graph.routes` answers for whole nodes of a large network at once; this module for few places, within some length, with the
way itself: a leak lies inside a pipe, and so do many loggers.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import inf, isfinite, nan

from lifeline_core.pipes.graph import PipeGraph
from lifeline_core.pipes.position import Section


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A point of a network: a link by its index, and metres from the link's first node."""

    link: int
    offset_m: float


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one link on a way, walked from ``start_m`` to ``stop_m`` (offsets on the link)."""

    link: int
    start_m: float
    stop_m: float
    speed_mps: float

    @property
    def length_m(self) -> float:
        return abs(self.stop_m - self.start_m)


@dataclass(frozen=True)
class Way:
    """The quickest way from one place to another. ``nodes``: what lies between its pieces, one fewer than pieces."""

    pieces: tuple[Piece, ...]
    nodes: tuple[int, ...] = ()

    @cached_property
    def length_m(self) -> float:
        return sum(p.length_m for p in self.pieces)

    @cached_property
    def travel_s(self) -> float:
        return sum(p.length_m / p.speed_mps for p in self.pieces if p.length_m)

    @property
    def sections(self) -> list[Section]:
        """As `leak_position` takes them, one for each pipe: two pipes told the same speed need not have the same error."""
        return [Section(p.length_m, p.speed_mps) for p in self.pieces if p.length_m]

    def at(self, x_m: float) -> Place:
        """The place x_m metres along the way; beyond its ends they themselves."""
        rest = max(x_m, 0.0)
        for p in self.pieces:
            if p.length_m and rest <= p.length_m:
                return Place(p.link, p.start_m + rest if p.stop_m >= p.start_m else p.start_m - rest)
            rest -= p.length_m
        last = next((p for p in reversed(self.pieces) if p.length_m), self.pieces[-1])
        return Place(last.link, last.stop_m)

    def crossed(self) -> list[tuple[int, float]]:
        """Nodes on the way with their metres from its beginning; without its ends."""
        found, x = [], 0.0
        for piece, node in zip(self.pieces[:-1], self.nodes, strict=True):
            x += piece.length_m
            found.append((node, x))
        return [(n, at) for n, at in found if 0.0 < at < self.length_m]

    def where_m(self, place: Place, *, within_m: float = 1e-6) -> float | None:
        """Metres along the way to a place on it; None for a place elsewhere."""
        x = 0.0
        for p in self.pieces:
            low, high = min(p.start_m, p.stop_m), max(p.start_m, p.stop_m)
            if p.link == place.link and low - within_m <= place.offset_m <= high + within_m:
                return x + min(abs(place.offset_m - p.start_m), p.length_m)
            x += p.length_m
        return None


class PipeMap:
    """A graph on which places inside links are asked for; every search stays within a length."""

    def __init__(self, graph: PipeGraph) -> None:
        self.graph = graph
        self.index = {name: k for k, name in enumerate(graph.links)}
        self.ends = list(zip(graph.link_a.tolist(), graph.link_b.tolist(), strict=True))
        self.length_m: list[float] = graph.length_m.tolist()
        self.time_s: list[float] = graph.time_s.tolist()
        self.barrier: list[bool] = graph.barrier.tolist()
        self.at: list[list[int]] = [[] for _ in graph.nodes]  # links at each node
        for k, (a, b) in enumerate(self.ends):
            self.at[a].append(k)
            self.at[b].append(k)

    def place(self, link: str, offset_m: float) -> Place:
        """A place by its link's name; ValueError for a link that no wave passes, or an offset beyond its ends."""
        k = self.index.get(link)
        if k is None:
            raise ValueError(f"must be a link that a wave passes ({len(self.index)} are known), is {link!r}")
        if not 0.0 <= offset_m <= self.length_m[k]:
            raise ValueError(f"must lie in 0 .. {self.length_m[k]:g} m of link {link!r}, is {offset_m}")
        return Place(k, float(offset_m))

    def node_place(self, name: str) -> Place:
        """The place of a node; ValueError for one that is unknown or has no link."""
        node = self.graph.index.get(name)
        if node is None or not self.at[node]:
            raise ValueError(f"must be a node with a link that a wave passes ({len(self.graph.nodes)} nodes), is {name!r}")
        k = min(self.at[node], key=lambda k: (self.length_m[k] <= 0.0, k))  # a pipe before a valve
        return Place(k, 0.0 if self.ends[k][0] == node else self.length_m[k])

    def node_of(self, place: Place) -> int | None:
        """The node a place is at, or None inside a link."""
        a, b = self.ends[place.link]
        return a if place.offset_m <= 0.0 else b if place.offset_m >= self.length_m[place.link] else None

    def xy(self, place: Place) -> tuple[float, float]:
        """Coordinates, on the straight line between the link's nodes; NaN where those have none."""
        (a, b), length, g = self.ends[place.link], self.length_m[place.link], self.graph
        share = place.offset_m / length if length else 0.0
        return float(g.x[a] + share * (g.x[b] - g.x[a])), float(g.y[a] + share * (g.y[b] - g.y[a]))

    def speed(self, link: int) -> float:
        return self.length_m[link] / self.time_s[link] if self.time_s[link] else nan

    def to(self, start: Place, stops: Sequence[Place], *, longest_m: float = inf) -> list[Way | None]:
        """The quickest way from a place to each of others; None where there is none within ``longest_m``."""
        reach = Reach(self, start, longest_m)
        return [reach.way(stop) for stop in stops]

    def distance_m(self, p: Place, q: Place, *, longest_m: float = inf) -> float:
        """Metres along the quickest way, inf where there is none within ``longest_m``."""
        way = Reach(self, p, longest_m).way(q)
        return inf if way is None else way.length_m


class Reach:
    """Everything within ``longest_m`` of one place: Dijkstra over travel times, nothing led on out of a barrier."""

    def __init__(self, pipes: PipeMap, start: Place, longest_m: float = inf) -> None:
        self.pipes, self.start, self.longest_m = pipes, start, longest_m
        self._time: dict[int, float] = {}
        self._before: dict[int, tuple[int, int]] = {}  # link a node was reached by, node before or -1
        speed = pipes.speed(start.link)
        heap = [(m / speed if m else 0.0, m, node, start.link, -1) for node, m in self._stubs(start)]
        heapq.heapify(heap)
        while heap:
            t, metres, node, link, came = heapq.heappop(heap)
            if node in self._time or metres > longest_m:
                continue
            self._time[node], self._before[node] = t, (link, came)
            if pipes.barrier[node] and metres > 0.0:
                continue
            for k in pipes.at[node]:
                a, b = pipes.ends[k]
                other = b if a == node else a
                if other not in self._time:
                    heapq.heappush(heap, (t + pipes.time_s[k], metres + pipes.length_m[k], other, k, node))

    def links(self) -> Iterator[int]:
        """The links a way within reach may end on, each once."""
        seen = {self.start.link}
        yield self.start.link
        for node in self._time:
            for k in self.pipes.at[node]:
                if k not in seen:
                    seen.add(k)
                    yield k

    def time_s(self, stop: Place) -> float:
        """Travel time to a place, inf out of reach."""
        return self._last(stop)[0]

    def way(self, stop: Place) -> Way | None:
        """The quickest way to a place; None out of reach."""
        time, node = self._last(stop)
        if not isfinite(time):
            return None
        found = self._walked(stop, node) if node >= 0 else Way((self._piece(stop.link, self.start.offset_m, stop.offset_m),))
        return found if found.length_m <= self.longest_m * (1.0 + 1e-12) else None

    def _stubs(self, place: Place) -> list[tuple[int, float]]:
        """A place's link's two nodes, with the metres to each."""
        a, b = self.pipes.ends[place.link]
        return [(a, place.offset_m), (b, self.pipes.length_m[place.link] - place.offset_m)]

    def _last(self, stop: Place) -> tuple[float, int]:
        """The time to a place and the last node before it; -1: along the common link."""
        speed = self.pipes.speed(stop.link)
        best = (inf, -1)
        if self.start.link == stop.link:
            metres = abs(stop.offset_m - self.start.offset_m)
            best = (metres / speed if metres else 0.0, -1)
        for node, metres in self._stubs(stop):
            time = self._time.get(node, inf)
            barred = self.pipes.barrier[node] and time > 0.0 and metres > 0.0
            if not barred and (there := time + (metres / speed if metres else 0.0)) < best[0]:
                best = (there, node)
        return best

    def _walked(self, stop: Place, node: int) -> Way:
        """The pieces from the start over the nodes before ``node`` to the stop."""
        links, nodes = [], [node]
        while self._before[nodes[-1]][1] >= 0:
            link, came = self._before[nodes[-1]]
            links.append(link)
            nodes.append(came)
        links.reverse()
        nodes.reverse()
        first, last = self.start.link, stop.link
        pieces = [self._piece(first, self.start.offset_m, self._offset(first, nodes[0]))]
        pieces += [self._piece(k, self._offset(k, a), self._offset(k, b)) for k, (a, b) in zip(links, pairwise(nodes), strict=True)]
        pieces.append(self._piece(last, self._offset(last, nodes[-1]), stop.offset_m))
        return Way(tuple(pieces), tuple(nodes))

    def _offset(self, link: int, node: int) -> float:
        """Where a node is on one of its links."""
        return 0.0 if self.pipes.ends[link][0] == node else self.pipes.length_m[link]

    def _piece(self, link: int, start_m: float, stop_m: float) -> Piece:
        return Piece(link, start_m, stop_m, self.pipes.speed(link))
