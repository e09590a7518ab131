"""Arrivals of one wave at sensors of a network: checked, and whether one source can explain them.

No two sensors can hear one wave further apart in time than it runs between them::

    |t_i - t_k| <= tau_ik / least speed + what the picks, the clocks and the pipes' scatter allow

where a pair breaks this rule, one of the two belongs to something else: a wrong pick, a wrong clock, a second event.

Source: D. Misiunas et al., J. Water Resour. Plann. Manage. 131 (2005) 316-325 (burst from arrival times).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

SLACK = 5.0  # standard deviations of two picks allowed in the triangle rule
SCATTER_SLACK = 3.0  # standard deviations of the way between


@dataclass(frozen=True, slots=True)
class Speeds:
    """What is known of the common scale of all speeds: bounds, and its standard deviation about 1 before anything was heard.

    The speed told may also be plainly wrong (another material, gas in the water): with probability ``share`` the standard
    deviation is ``wide`` times as large.
    """

    least: float = 0.75
    most: float = 1.35
    sd: float = 0.05
    wide: float = 3.0
    share: float = 0.15


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
        """Checked; see `lifeline_core.pipes.search.search` for the meaning and what is refused."""
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

    def only(self, rows: Ints) -> Heard:
        """Some of the sensors."""
        return Heard(tuple(self.nodes[i] for i in rows), self.t_s[rows], self.sd_s[rows], self.late_s[rows])

    def agreeing(self, graph: PipeGraph, speeds: Speeds | None, speed_sd: float) -> Ints:
        """Rows that one source can explain, two at least: as long as pairs break the triangle rule, the row with the most such
        pairs goes, among equals the latest (beginnings are missed more often than invented)."""
        at = [graph.index[node] for node in self.nodes]
        ways = [graph.routes(node) for node in self.nodes]
        tau = np.array([way.time_s[at] for way in ways])
        square = np.array([way.square_s2[at] for way in ways])
        t, slack = self.t_s, SLACK * np.hypot(self.sd_s[:, None], self.sd_s[None, :])
        late = np.where(t[:, None] > t[None, :], 2 * self.late_s[:, None], 2 * self.late_s[None, :])
        room = tau / (speeds.least if speeds else 1.0) + SCATTER_SLACK * speed_sd * np.sqrt(np.where(np.isfinite(tau), square, 0.0))
        apart = np.abs(t[:, None] - t[None, :]) > room + slack + late
        left = np.arange(len(t))
        while len(left) > 2 and apart[np.ix_(left, left)].any():
            wrong = apart[np.ix_(left, left)].sum(axis=1)
            left = np.delete(left, np.lexsort((t[left], wrong))[-1])
        return left
