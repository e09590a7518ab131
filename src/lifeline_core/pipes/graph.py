"""Pipes as a pressure wave sees them: nodes, links with a travel time, and what stops a wave.

A wave runs along a pipe in L / a, passes an open valve or a running pump at once, and ends at a tank, a reservoir or a
closed link. First arrivals are therefore shortest paths (Dijkstra) over travel times.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import dijkstra

from lifeline_core.pipes.edges import rows_of
from lifeline_core.pipes.epanet import Network, decoded, read_inp
from lifeline_core.pipes.machines import Pump
from lifeline_core.pipes.ways import Joints, Routes, Way, along, hops

if TYPE_CHECKING:
    from lifeline_core.pipes.candidates import Candidates
    from lifeline_core.pipes.groups import Groups
    from lifeline_core.pipes.search import Spots

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

_ROUTES_BYTES = 64_000_000  # routes remembered: 20 bytes a node and sensor, and 8 for every group of speeds in use
_ROUTES_FEWEST = 16


class PipeGraph:
    """A pipe network for waves.

    Attributes
    ----------
    nodes : tuple of str
        Names, in the order of the .inp.
    links : tuple of str
        Names of the links a wave passes (open pipes, valves, pumps); ``link_a``, ``link_b`` index ``nodes``,
        ``length_m`` (0: a valve or a pump), ``speed_mps`` (nominal), ``time_s`` and ``diameter_m`` (NaN: not known)
        go with them, float64[n_links].
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
        links: Sequence[Sequence[Any]],
        *,
        wave_speed: float = 1200.0,
        barriers: Iterable[str] = (),
        pumps: Iterable[tuple[str, str, str, bool]] = (),
        xy: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        if not math.isfinite(wave_speed) or wave_speed <= 0:
            raise ValueError(f"wave_speed is a positive finite number in m/s, got {wave_speed!r}")
        self.wave_speed = float(wave_speed)
        self.nodes = tuple(nodes)
        self.index = {name: i for i, name in enumerate(self.nodes)}
        self.links = tuple(link[0] for link in links)
        self.link_index = {name: i for i, name in enumerate(self.links)}
        self.link_a = np.array([self.index[link[1]] for link in links], dtype=np.intp)
        self.link_b = np.array([self.index[link[2]] for link in links], dtype=np.intp)
        self.length_m = np.array([link[3] for link in links], dtype=np.float64)
        self.speed_mps = np.array([link[4] for link in links], dtype=np.float64)
        self.diameter_m = np.array([link[5] if len(link) > 5 else math.nan for link in links], dtype=np.float64)
        self.time_s = self.length_m / self.speed_mps
        stops = set(barriers)
        self.barrier = np.array([name in stops for name in self.nodes], dtype=bool)
        self.pumps = tuple(Pump(name, self.index[a], self.index[b], running) for name, a, b, running in pumps)
        where = xy or {}
        both = np.array([where.get(name, (math.nan, math.nan)) for name in self.nodes], dtype=np.float64).reshape(-1, 2)
        self.x, self.y = both[:, 0].copy(), both[:, 1].copy()
        self._joints = Joints.of(self.link_a, self.link_b, self.time_s, self.barrier)
        self._length_graph = Joints.of(self.link_a, self.link_b, self.length_m, self.barrier).matrix
        self._routes: dict[int, Routes] = {}
        self._on_groups: dict[tuple[int, bytes], list[Floats]] = {}

    # -- makers ------------------------------------------------------------------------------------------------------

    @classmethod
    def from_inp(cls, path: str | Path, wave_speed: float = 1200.0, *, pumps: str = "pass") -> PipeGraph:
        """The graph of an EPANET .inp file; see `from_text`."""
        return cls.from_text(decoded(Path(path).read_bytes()), wave_speed, pumps=pumps)

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
            What a wave does at a pump; "stop" for pumps that stand still behind their check valves. As the .inp has it
            an open pump runs, a closed one does not; with "stop" none does.

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
        passing = [k for k in network.links.values() if k.status != "closed" and (k.kind != "pump" or pumps == "pass")]
        return cls(
            tuple(network.nodes),
            [(k.name, k.a, k.b, k.length_m, wave_speed, k.diameter_m) for k in passing],
            wave_speed=wave_speed,
            barriers=[n.name for n in network.nodes.values() if n.kind != "junction"],
            pumps=[(k.name, k.a, k.b, k.status == "open" and pumps == "pass") for k in network.links.values() if k.kind == "pump"],
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
        """The graph of ``(name, a, b, length_m)`` rows, with ``speed_mps`` and ``diameter_m`` after them or not.

        Raises
        ------
        ValueError
            A row of another shape, a name given twice, a negative length, a speed or diameter that is not positive (a
            diameter may be NaN: unknown), a barrier that is no node, or no edge at all.

        Examples
        --------
        >>> graph = PipeGraph.from_edges([("p", "a", "b", 600.0), ("q", "b", "c", 300.0, 1000.0)])
        >>> graph.travel_times("a").tolist()
        [0.0, 0.5, 0.8]
        """
        rows = rows_of(edges, float(wave_speed))
        nodes = dict.fromkeys(end for row in rows for end in row[1:3])
        stops = tuple(barriers)
        for name in stops:
            if name not in nodes:
                raise ValueError(f"a barrier is a node of the edges, got {name!r}")
        return cls(tuple(nodes), rows, wave_speed=wave_speed, barriers=stops, xy=xy)

    # -- ways --------------------------------------------------------------------------------------------------------

    def node_index(self, name: str) -> int:
        """Index of a node; ValueError names what was asked for."""
        try:
            return self.index[name]
        except KeyError:
            known = f"{len(self.nodes)} nodes"
            raise ValueError(f"a sensor stands at a node of the network ({known}), got {name!r}") from None

    def routes(self, node: str) -> Routes:
        """Shortest ways from (and to) one node; remembered for the sensors asked for last, in 64 MB at most (or 16 sensors)."""
        start = self.node_index(node)
        known = self._routes.pop(start, None)
        if known is None:
            # A barrier lets no wave out: its own ways are those of others to it, backwards.
            joined = self._joints.matrix.T.tocsr() if self.barrier[start] else self._joints.matrix
            time, before = dijkstra(joined, indices=start, return_predecessors=True)
            known = Routes(time, along(before, hops(time, before) ** 2), before)
            most = max(_ROUTES_FEWEST, _ROUTES_BYTES // (20 * len(self.nodes)))
            while len(self._routes) >= most:
                self._routes.pop(next(iter(self._routes)))
        self._routes[start] = known
        return known

    def routes_on(self, node: str, groups: Groups) -> list[Floats]:
        """Of the times of `routes`, the seconds on pipes of every group; remembered for one grouping at a time."""
        start, key = self.node_index(node), groups.of_link.tobytes()
        if any(old[1] != key for old in self._on_groups):
            self._on_groups.clear()
        found = self._on_groups.pop((start, key), None)
        if found is None:
            way = self.routes(node)
            step, link = hops(way.time_s, way.toward), self._joints.links_toward(way.toward)
            group = np.where(link >= 0, groups.of_link[link], -1)
            found = [along(way.toward, np.where(group == g, step, 0.0)) for g in range(len(groups.names))]
            most = max(_ROUTES_FEWEST, _ROUTES_BYTES // (8 * len(groups.names) * len(self.nodes)))
            while len(self._on_groups) >= most:
                self._on_groups.pop(next(iter(self._on_groups)))
        self._on_groups[start, key] = found
        return found

    def way(self, a: str, b: str) -> Way:
        """The fastest way of a wave from node ``a`` to node ``b``: links in order with lengths and nominal speeds.

        Raises
        ------
        ValueError
            A node that is not in the network, twice the same, or two that no wave joins.

        Examples
        --------
        >>> graph = PipeGraph.from_edges([("p", "a", "b", 600.0), ("q", "b", "c", 300.0, 1000.0)])
        >>> graph.way("c", "a").links, graph.way("c", "a").sections[0].length_m
        (('q', 'p'), 300.0)
        """
        toward = self.routes(b).toward
        walk = [self.node_index(a)]
        while toward[walk[-1]] >= 0:
            walk.append(int(toward[walk[-1]]))
        if a == b or walk[-1] != self.index[b]:
            raise ValueError(f"a way joins two different nodes that a wave can pass between, got {a!r} and {b!r}")
        link = self._joints.links_toward(toward)[walk[:-1]]
        return Way(tuple(self.nodes[i] for i in walk), tuple(self.links[k] for k in link), self.length_m[link],
                   self.speed_mps[link], self.time_s[link], self.diameter_m[link])  # fmt: skip

    def travel_times(self, node: str) -> Floats:
        """Seconds a wave takes from ``node`` to every node, inf where none comes."""
        return self.routes(node).time_s.copy()

    @cached_property
    def spots(self) -> tuple[Spots, Spots]:
        """Nodes, and places inside links, that a search looks at first."""
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
        speed_groups: Mapping[str, str] | str | None = None,
        group_sd: float | Mapping[str, float] = 0.05,
    ) -> Candidates:
        """Where a wave began that arrived at these nodes at these times; see `lifeline_core.pipes.search.search`."""
        from lifeline_core.pipes.search import search

        return search(self, arrivals, sd_s=sd_s, solve_speed=solve_speed, speed_sd=speed_sd, late_s=late_s,
                      speed_groups=speed_groups, group_sd=group_sd)  # fmt: skip

    def locate_burst(self, p: ArrayLike, nodes: Sequence[str], fs: float, **kw: Any) -> Candidates:
        """Pick and locate in one call; see `lifeline_core.pipes.burst.locate_burst`."""
        from lifeline_core.pipes.burst import locate_burst

        return locate_burst(self, p, nodes, fs, **kw)
