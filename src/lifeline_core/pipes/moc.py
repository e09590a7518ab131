"""Pressure waves without friction on a whole network: the head everywhere after a step of flow somewhere.

Method of characteristics. Without friction a wave leaves a pipe as it entered, L / a later, so a pipe is two delay lines
and only nodes take arithmetic; with Y = g A / a of every pipe and r_k what arrives at a node by pipe k::

    h = (2 sum Y_k r_k + q) / sum Y_k        leaves by pipe k: h - r_k

A tank or reservoir holds its head (waves come back inverted), a dead end doubles it, an open valve joins its ends at
once. A pump passes part of a wave: its curve acts on small changes like a resistance, taken as the sum of the impedances
on both sides, so that half of the height passes between equal pipes. Closed links are not in the graph.

The network is linear and does not change in time: the response at i to a step at j is that at j to a step at i
(reciprocity), so one run per sensor tells what a burst anywhere would do there. Travel times are rounded to whole steps
of ``dt``: at most dt / 2 per pipe, 0.3 % of a pipe of 200 m at 1 ms; a shorter pipe than half a step joins its ends.

Source: E. B. Wylie, V. L. Streeter, Fluid Transients in Systems (1993), ch. 3 (characteristics) and 12 (linear theory).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from lifeline_core.pipes._moc import LANES
from lifeline_core.pipes._moc import outflow as _outflow
from lifeline_core.pipes._moc import run as _run

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.intp]

GRAVITY = 9.80665
PLAIN_DIAMETER_M = 0.3  # where nothing is known of a pipe: how waves split depends on ratios only


@dataclass(frozen=True, slots=True)
class Places:
    """Nodes and points inside links: ``node`` (index, negative inside a link), ``link`` and metres from its first node."""

    node: Ints
    link: Ints
    offset_m: Floats

    def __len__(self) -> int:
        return len(self.node)

    def __getitem__(self, which: Ints | NDArray[np.bool_] | slice) -> Places:
        return Places(self.node[which], self.link[which], self.offset_m[which])

    @classmethod
    def at_nodes(cls, nodes: ArrayLike) -> Places:
        """Places that are nodes, by index."""
        node = np.atleast_1d(np.asarray(nodes, dtype=np.intp))
        return cls(node, np.full(len(node), -1, dtype=np.intp), np.zeros(len(node)))


def diameters(graph: PipeGraph, diameter_m: Mapping[str, float] | ArrayLike | None) -> Floats:
    """Inner diameter of every link, metres: as told by name or in the order of ``graph.links``, else what the graph knows;
    NaN becomes a common value."""
    if diameter_m is None:
        diameter_m = getattr(graph, "diameter_m", None)
    if isinstance(diameter_m, Mapping):
        diameter_m = [diameter_m.get(name, math.nan) for name in graph.links]
    d = np.full(len(graph.links), np.nan) if diameter_m is None else np.array(diameter_m, dtype=np.float64)
    if d.shape != (len(graph.links),):
        raise ValueError(f"diameter_m has a value for each of the {len(graph.links)} links, got the shape {d.shape}")
    if (d <= 0).any() or np.isinf(d).any():
        raise ValueError(f"diameter_m is positive and finite, got {float(d[(d <= 0) | np.isinf(d)][0])!r}")
    known = d[np.isfinite(d)]
    d[np.isnan(d)] = float(np.median(known)) if len(known) else PLAIN_DIAMETER_M
    return d


def outflow(own: Singles, opening: Singles, amount: float, level_m: float) -> Singles:
    """What runs out of an opening whose own fall of head holds it back, relative to ``amount``.

    flow[k] = opening[k] sqrt(1 + h[k] / level_m), h = -amount sum_i own[k - i] (flow[i] - flow[i - 1]).

    Parameters
    ----------
    own : float32[n]
        Head at the place after a unit step of flow there, m per m3/s, as means over bins; see `Waves.own`.
    opening : float32[n]
        0 shut .. 1 open.
    amount : float
        m3/s through the open hole before the head has fallen.
    level_m : float
        Pressure head before, m.

    Returns
    -------
    float32[n]

    Examples
    --------
    >>> outflow(np.full(3, 300, dtype=np.float32), np.ones(3, dtype=np.float32), 0.1, 45.0).astype(float).round(3).tolist()
    [0.721, 0.721, 0.721]
    """
    n = len(own)
    flow = np.empty(n, dtype=np.float32)
    _outflow(np.ascontiguousarray(own), np.ascontiguousarray(opening), amount, level_m, np.empty(n), flow)
    return flow


class Waves:
    """A network ready to be run.

    Parameters
    ----------
    graph : PipeGraph
    speed : float or array_like[n_links], optional
        m/s of all links, or of each; by default the graph's.
    dt : float
        Seconds of a step, positive.
    diameter_m : mapping of link to metres or array_like[n_links], optional
        By default the graph's ``diameter_m`` where it has one; equal pipes where nothing is known.
    users : array_like[n_nodes], optional
        By how much demand rises with the head, m2/s: d q / d h = q / 2 h at an opening. None by default.
    like : Waves, optional
        Made of the same graph before: what is equal is taken from there. Saves time, changes nothing.

    Attributes
    ----------
    steps : int32[n_links]
        Travel time of each link in steps; 0 where its ends are one.
    rounding_s : float
        The largest difference between a link's travel time and its steps.

    Raises
    ------
    ValueError
        dt, a speed or a diameter that is not positive and finite.

    Examples
    --------
    A pipe between a tank and a dead end, a step of inflow at the dead end: up by a / (g A), and back after 2 L / a.

    >>> from lifeline_core.pipes import PipeGraph
    >>> graph = PipeGraph.from_edges([("p", "tank", "end", 12.0)], barriers=["tank"])
    >>> waves = Waves(graph, dt=0.005, diameter_m=[0.4])
    >>> waves.response("end", 0.06)[1].round(0).tolist()
    [974.0, 974.0, 974.0, 974.0, -974.0, -974.0, -974.0, -974.0, 974.0, 974.0, 974.0, 974.0]
    """

    def __init__(
        self,
        graph: PipeGraph,
        speed: float | ArrayLike | None = None,
        *,
        dt: float = 0.002,
        diameter_m: Mapping[str, float] | ArrayLike | None = None,
        users: ArrayLike | None = None,
        like: Waves | None = None,
    ) -> None:
        if not (math.isfinite(dt) and dt > 0):
            raise ValueError(f"dt is a positive finite number of seconds, got {dt!r}")
        self.graph, self.dt = graph, float(dt)
        time = graph.time_s
        if speed is not None:
            told = np.broadcast_to(np.asarray(speed, dtype=np.float64), time.shape)
            if not ((told > 0) & np.isfinite(told)).all():
                raise ValueError(f"speed is positive and finite, got {float(told[~((told > 0) & np.isfinite(told))][0])!r}")
            time = graph.length_m / told
        self.steps = np.rint(time / self.dt).astype(np.int32)
        piped = self.steps > 0
        self.rounding_s = float(np.abs(self.steps * self.dt - time).max(initial=0.0))
        self._piped: NDArray[np.bool_] = piped
        self._pumping: NDArray[np.bool_]
        self.group: NDArray[np.int32]
        if like is not None and like.graph is graph and np.array_equal(like._piped, piped):
            self._pumping, self.group = like._pumping, like.group
        else:
            pumps = {pump.name for pump in graph.pumps}
            self._pumping = np.array([name in pumps for name in graph.links], dtype=bool) & ~piped
            self.group = self._groups(~piped & ~self._pumping)
        area = 0.25 * math.pi * diameters(graph, diameter_m) ** 2
        rate = np.where(piped, graph.length_m / np.where(piped, time, 1.0), 1.0)
        self._admittance = (GRAVITY * area / rate)[piped].astype(np.float32)
        self._a = self.group[graph.link_a[piped]].astype(np.int32)
        self._b = self.group[graph.link_b[piped]].astype(np.int32)
        self._kept = self.steps[piped]
        self._row = np.where(piped, np.cumsum(piped) - 1, -1)
        self._join(np.nonzero(self._pumping)[0], users)

    def _groups(self, joined: NDArray[np.bool_]) -> NDArray[np.int32]:
        """The node of the run that each node of the graph is: ends of open valves are one."""
        n, g = len(self.graph.nodes), self.graph
        pairs = coo_matrix((np.ones(int(joined.sum())), (g.link_a[joined], g.link_b[joined])), shape=(n, n))
        found: NDArray[np.int32] = connected_components(pairs, directed=False)[1].astype(np.int32)
        return found

    def _join(self, pumping: Ints, users: ArrayLike | None) -> None:
        """Sums of admittances at the nodes, and what pumps let through."""
        n = int(self.group.max()) + 1
        total = np.bincount(self._a, self._admittance, n) + np.bincount(self._b, self._admittance, n)
        if users is not None:
            total += np.bincount(self.group, np.asarray(users, dtype=np.float64), n)
        fixed = np.zeros(n, dtype=bool)
        fixed[self.group[self.graph.barrier]] = True
        # A node without any pipe follows its pump: next to nothing flows into it.
        smallest = 1e-6 * float(self._admittance.max(initial=1.0))
        impedance = np.where(fixed, 0.0, 1.0 / np.maximum(total, smallest))
        self._inverse = impedance.astype(np.float32)
        a, b = self.group[self.graph.link_a[pumping]], self.group[self.graph.link_b[pumping]]
        real = (a != b) & ~(fixed[a] & fixed[b])
        a, b = a[real].astype(np.int32), b[real].astype(np.int32)
        bare = np.where(total > 0, impedance, 0.0)
        own = np.where(fixed[a], bare[b], bare[a]) + np.where(fixed[b], bare[a], bare[b])
        self._pump_a, self._pump_b = a, b
        self._through = (1.0 / np.maximum(impedance[a] + impedance[b] + own, 1e-12)).astype(np.float32)

    def probe(self, sources: Places, places: Places, n: int, every: int = 1) -> Singles:
        """Heads at places after unit steps of flow.

        Parameters
        ----------
        sources : Places
            At each of which 1 m3/s begins to flow in at time 0, one by one.
        places : Places
        n, every : int
            Samples, each the mean over ``every`` steps: sample k covers steps k every .. (k + 1) every - 1.

        Returns
        -------
        float32[n_sources, n_places, n]
            m per m3/s. Single precision: no wave is ever amplified, so roundings do not grow (1e-5 of the head).

        Raises
        ------
        ValueError
            n or every below 1.
        """
        if n < 1 or every < 1:
            raise ValueError(f"n and every are at least 1, got {n!r} and {every!r}")
        begins, taps = self._taps(sources), self._taps(places)
        found = np.empty((len(sources), len(places), n), dtype=np.float32)
        out = np.empty((len(places), n, LANES), dtype=np.float32)
        for k in range(0, len(sources), LANES):
            some = begins[k : k + LANES]
            _run(
                self._a, self._b, self._kept, self._admittance, self._inverse, self._pump_a, self._pump_b, self._through,
                some, taps, every, out,
            )  # fmt: skip
            found[k : k + len(some)] = out[:, :, : len(some)].transpose(2, 0, 1)
        return found

    def own(self, places: Places, n: int, every: int = 1) -> Singles:
        """Head at each place after a unit step of flow there, [n_places, n]; see `probe`."""
        found = np.empty((len(places), n), dtype=np.float32)
        for k in range(0, len(places), LANES):
            some = places[k : k + LANES]
            np.einsum("iit->it", self.probe(some, some, n, every), out=found[k : k + len(some)])
        return found

    def _taps(self, places: Places) -> NDArray[np.int32]:
        """Places as rows of link and step, as the kernel has them; one at the end of a link is the node there."""
        g = self.graph
        inside = places.node < 0
        link = np.where(inside, places.link, 0)
        steps = self.steps[link]
        at = np.rint(places.offset_m / np.where(g.length_m[link] > 0, g.length_m[link], 1.0) * steps).astype(np.int32)
        end = np.where(at <= 0, g.link_a[link], g.link_b[link])
        tap = inside & (at > 0) & (at < steps)
        node = self.group[np.where(inside, end, places.node)]
        row = np.where(tap, self._row[link], -1)
        return np.ascontiguousarray(np.stack([row, np.where(tap, at, node)], axis=1), dtype=np.int32)

    def response(self, node: str, duration_s: float) -> Singles:
        """Heads at all nodes after a step of inflow of 1 m3/s at one, in steps of ``dt``.

        Returns
        -------
        float32[n_nodes, n]
            m per m3/s, n = duration_s / dt rounded, at least 1.

        Raises
        ------
        ValueError
            An unknown node; a duration that is not positive and finite.
        """
        if not (math.isfinite(duration_s) and duration_s > 0):
            raise ValueError(f"duration_s is positive and finite, got {duration_s!r}")
        source, everywhere = Places.at_nodes(self.graph.node_index(node)), Places.at_nodes(np.arange(len(self.graph.nodes)))
        found: Singles = self.probe(source, everywhere, max(1, round(duration_s / self.dt)))[0]
        return found
