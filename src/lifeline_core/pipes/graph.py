"""Pipes as a pressure wave sees them: nodes, links with a travel time, and what stops a wave.

A wave runs along a pipe in L / a, passes an open valve or a running pump at once, and ends at a tank, a reservoir or a
closed link. First arrivals are therefore shortest paths (Dijkstra) over travel times.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from lifeline_core.pipes.epanet import Network, read_inp

if TYPE_CHECKING:
    from lifeline_core.pipes.candidates import Candidates
    from lifeline_core.pipes.search import Points

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

_ROUTES_KEPT = 256  # sensors whose routes are remembered: 2 x 8 bytes a node each


@dataclass(frozen=True, slots=True)
class Routes:
    """Shortest ways of a wave between one node and all others.

    ``time_s`` seconds; ``square_s2`` the sum of squared pipe times on the way (times the squared relative scatter of
    single pipes' speeds it is the variance of ``time_s``); ``toward`` the next node on the way from each node to the
    one, negative at itself and where there is no way.
    """

    time_s: Floats
    square_s2: Floats
    toward: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Pump:
    """A pump by its ends (indices of nodes): when it changes its state the pressure falls on one side and rises on the
    other. One that runs can stop: it falls behind it; one that the .inp has closed can start: it falls before it."""

    name: str
    falls: int
    rises: int


def along(toward: NDArray[np.int32], cost: Floats) -> Floats:
    """Sum of every node's ``cost`` and those of all nodes after it, for all at once by pointer doubling.

    ``toward`` leads from node to node and never in a circle; negative: the way ends, this node costs nothing.

    >>> along(np.array([-1, 0, 1]), np.array([9.0, 1.0, 2.0])).tolist()
    [0.0, 1.0, 3.0]
    """
    n = len(toward)
    after = np.append(np.where(toward < 0, n, toward), n).astype(np.intp)  # n: a sink that costs nothing
    total = np.append(np.where(toward < 0, 0.0, cost), 0.0)
    while (after < n).any():
        total = total + total[after]
        after = after[after]
    return total[:n]


def hops(time_s: Floats, toward: NDArray[np.int32]) -> Floats:
    """Travel time from every node to the next on its way, 0 where there is none."""
    some = toward >= 0
    step = np.zeros(len(toward))
    step[some] = time_s[some] - time_s[toward[some]]
    return step


class PipeGraph:
    """A pipe network for waves.

    Attributes
    ----------
    nodes : tuple of str
        Names, in the order of the .inp.
    links : tuple of str
        Names of the links a wave passes (open pipes, valves, pumps); ``link_a``, ``link_b`` index ``nodes``,
        ``length_m`` and ``time_s`` go with them.
    barrier : bool[n_nodes]
        Tanks and reservoirs: a wave ends there.
    pumps : tuple of Pump
        Their starting and stopping makes waves that are no burst.
    x, y : float64[n_nodes]
        In the units of the .inp; NaN where it gives none.
    """

    def __init__(
        self,
        nodes: Sequence[str],
        links: Sequence[tuple[str, str, str, float, float]],
        *,
        wave_speed: float = 1200.0,
        barriers: Iterable[str] = (),
        pumps: Iterable[tuple[str, str, str]] = (),
        xy: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        if not math.isfinite(wave_speed) or wave_speed <= 0:
            raise ValueError(f"wave_speed is a positive finite number in m/s, got {wave_speed!r}")
        self.wave_speed = float(wave_speed)
        self.nodes = tuple(nodes)
        self.index = {name: i for i, name in enumerate(self.nodes)}
        self.links = tuple(link[0] for link in links)
        self.link_a = np.array([self.index[link[1]] for link in links], dtype=np.intp)
        self.link_b = np.array([self.index[link[2]] for link in links], dtype=np.intp)
        self.length_m = np.array([link[3] for link in links], dtype=np.float64)
        speed = np.array([link[4] for link in links], dtype=np.float64)
        self.time_s = self.length_m / speed
        stops = set(barriers)
        self.barrier = np.array([name in stops for name in self.nodes], dtype=bool)
        self.pumps = tuple(Pump(name, self.index[falls], self.index[rises]) for name, falls, rises in pumps)
        where = xy or {}
        both = np.array([where.get(name, (math.nan, math.nan)) for name in self.nodes], dtype=np.float64).reshape(-1, 2)
        self.x, self.y = both[:, 0].copy(), both[:, 1].copy()
        self._time_graph = self._matrix(self.time_s)
        self._length_graph = self._matrix(self.length_m)
        self._routes: dict[int, Routes] = {}

    # -- makers ------------------------------------------------------------------------------------------------------

    @classmethod
    def from_inp(cls, path: str | Path, wave_speed: float = 1200.0, *, pumps: str = "pass") -> PipeGraph:
        """The graph of an EPANET .inp file; see `from_text`."""
        return cls.from_text(Path(path).read_text(encoding="utf-8", errors="replace"), wave_speed, pumps=pumps)

    @classmethod
    def from_text(cls, text: str, wave_speed: float = 1200.0, *, pumps: str = "pass") -> PipeGraph:
        """The graph of an EPANET .inp text.

        Open pipes and open valves (no length) pass a wave, also pipes with a check valve (it stands open in the flow
        that a drop meets) and pumps: a running pump passes about half of the height at once, in both directions, as
        two independent method-of-characteristics programs agree. Tanks, reservoirs and closed links do not.

        Parameters
        ----------
        text : str
            See `lifeline_core.pipes.epanet.read_inp`.
        wave_speed : float
            m/s, of every pipe.
        pumps : {"pass", "stop"}
            What a wave does at a pump; "stop" for pumps that stand still behind their check valves.

        Raises
        ------
        ValueError
            The line, the rule and the value that broke it.
        """
        return cls.from_network(read_inp(text), wave_speed, pumps=pumps)

    @classmethod
    def from_network(cls, network: Network, wave_speed: float = 1200.0, *, pumps: str = "pass") -> PipeGraph:
        """The graph of a network that was read before; see `from_text`."""
        if pumps not in ("pass", "stop"):
            raise ValueError(f"pumps is pass or stop, got {pumps!r}")
        passing = [
            k for k in network.links.values() if k.status != "closed" and (k.kind != "pump" or pumps == "pass")
        ]
        return cls(
            tuple(network.nodes),
            [(k.name, k.a, k.b, k.length_m, wave_speed) for k in passing],
            wave_speed=wave_speed,
            barriers=[n.name for n in network.nodes.values() if n.kind != "junction"],
            pumps=[(k.name, k.b, k.a) if k.status == "open" else (k.name, k.a, k.b)
                   for k in network.links.values() if k.kind == "pump"],
            xy={n.name: (n.x, n.y) for n in network.nodes.values()},
        )  # fmt: skip

    @classmethod
    def from_edges(
        cls,
        edges: Iterable[Sequence[Any]],
        *,
        wave_speed: float = 1200.0,
        barriers: Iterable[str] = (),
        xy: Mapping[str, tuple[float, float]] | None = None,
    ) -> PipeGraph:
        """The graph of ``(name, a, b, length_m)`` or ``(name, a, b, length_m, speed_mps)`` rows.

        Raises
        ------
        ValueError
            A row of another shape, a name given twice, a negative length, a speed that is not positive, a barrier
            that is no node, or no edge at all.

        Examples
        --------
        >>> graph = PipeGraph.from_edges([("p", "a", "b", 600.0), ("q", "b", "c", 300.0, 1000.0)])
        >>> graph.travel_times("a").tolist()
        [0.0, 0.5, 0.8]
        """
        rows: list[tuple[str, str, str, float, float]] = []
        nodes: dict[str, None] = {}
        for row in edges:
            if len(row) not in (4, 5):
                raise ValueError(f"an edge is (name, a, b, length_m[, speed_mps]), got {tuple(row)!r}")
            name, a, b = (str(word) for word in row[:3])
            length, speed = float(row[3]), float(row[4]) if len(row) == 5 else float(wave_speed)
            if not (math.isfinite(length) and length >= 0):
                raise ValueError(f"edge {name!r}: length_m is finite and not negative, got {length!r}")
            if not (math.isfinite(speed) and speed > 0):
                raise ValueError(f"edge {name!r}: speed_mps is finite and positive, got {speed!r}")
            if a == b:
                raise ValueError(f"edge {name!r}: joins two different nodes, got {a!r} twice")
            rows.append((name, a, b, length, speed))
            nodes.update(dict.fromkeys((a, b)))
        if not rows:
            raise ValueError("a graph has at least one edge, got none")
        if len({row[0] for row in rows}) < len(rows):
            raise ValueError("the name of an edge is given once, got one again")
        stops = tuple(barriers)
        for name in stops:
            if name not in nodes:
                raise ValueError(f"a barrier is a node of the edges, got {name!r}")
        return cls(tuple(nodes), rows, wave_speed=wave_speed, barriers=stops, xy=xy)

    # -- ways --------------------------------------------------------------------------------------------------------

    def _matrix(self, weight: Floats) -> csr_matrix:
        """Directed edges with the lightest of parallel links; none leads out of a barrier."""
        tail = np.concatenate([self.link_a, self.link_b])
        head = np.concatenate([self.link_b, self.link_a])
        cost = np.concatenate([weight, weight])
        keep = ~self.barrier[tail]
        tail, head, cost = tail[keep], head[keep], cost[keep]
        order = np.lexsort((cost, head, tail))
        tail, head, cost = tail[order], head[order], cost[order]
        first = np.ones(len(tail), dtype=bool)
        first[1:] = (tail[1:] != tail[:-1]) | (head[1:] != head[:-1])
        n = len(self.nodes)
        starts = np.searchsorted(tail[first], np.arange(n + 1))
        # Built as CSR by hand: explicit zeros (open valves) stay, and parallel links are not added up.
        return csr_matrix((cost[first], head[first].astype(np.int32), starts.astype(np.int32)), shape=(n, n))

    def node_index(self, name: str) -> int:
        """Index of a node; ValueError names what was asked for."""
        try:
            return self.index[name]
        except KeyError:
            known = f"{len(self.nodes)} nodes"
            raise ValueError(f"a sensor stands at a node of the network ({known}), got {name!r}") from None

    def routes(self, node: str) -> Routes:
        """Shortest ways from (and to) one node; remembered for the sensors asked for last."""
        start = self.node_index(node)
        known = self._routes.pop(start, None)
        if known is None:
            time, before = dijkstra(self._time_graph, indices=start, return_predecessors=True)
            known = Routes(time, along(before, hops(time, before) ** 2), before)
            while len(self._routes) >= _ROUTES_KEPT:
                self._routes.pop(next(iter(self._routes)))
        self._routes[start] = known
        return known

    def travel_times(self, node: str) -> Floats:
        """Seconds a wave takes from ``node`` to every node, inf where none comes."""
        return self.routes(node).time_s.copy()

    @cached_property
    def points(self) -> Points:
        """Places inside links that a search looks at."""
        from lifeline_core.pipes.search import grid

        return grid(self)

    @cached_property
    def node_home(self) -> tuple[Ints, Floats]:
        """For every node one link that ends there (a pipe before a valve) and the node's offset on it, in metres."""
        link, offset = np.zeros(len(self.nodes), dtype=np.intp), np.zeros(len(self.nodes))
        order = np.argsort(self.length_m > 0, kind="stable")
        order = np.concatenate([order[self.length_m[order] <= 0][::-1], order[self.length_m[order] > 0][::-1]])
        link[self.link_b[order]], offset[self.link_b[order]] = order, self.length_m[order]
        link[self.link_a[order]], offset[self.link_a[order]] = order, 0.0
        return link, offset

    def distances_m(self, node: int) -> Floats:
        """Metres along pipes from a node (by index) to every node, inf where there is no way."""
        found: Floats = dijkstra(self._length_graph, indices=node)
        return found

    # -- location ----------------------------------------------------------------------------------------------------

    def locate(
        self,
        arrivals: Mapping[str, float],
        *,
        sd_s: float | Mapping[str, float] = 0.005,
        solve_speed: bool = True,
        speed_sd: float = 0.04,
        late_s: Mapping[str, float] | None = None,
    ) -> Candidates:
        """Where a wave began that arrived at these nodes at these times; see `lifeline_core.pipes.search.search`."""
        from lifeline_core.pipes.search import search

        return search(self, arrivals, sd_s=sd_s, solve_speed=solve_speed, speed_sd=speed_sd, late_s=late_s)

    def locate_burst(self, p: ArrayLike, nodes: Sequence[str], fs: float, **kw: Any) -> Candidates:
        """Pick and locate in one call; see `lifeline_core.pipes.burst.locate_burst`."""
        from lifeline_core.pipes.burst import locate_burst

        return locate_burst(self, p, nodes, fs, **kw)
