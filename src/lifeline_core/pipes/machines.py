"""What is operated in a network: valves and pumps with their two sides, and operations that were announced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph


@dataclass(frozen=True, slots=True)
class Pump:
    """A pump by its ends (indices of nodes), and whether it runs: one that does can stop, one that stands still can start."""

    name: str
    suction: int
    delivery: int
    running: bool = True

    @property
    def falls(self) -> int:
        """Where the pressure falls when it changes its state: behind a pump that stops, before one that starts."""
        return self.delivery if self.running else self.suction

    @property
    def rises(self) -> int:
        """The other end."""
        return self.suction if self.running else self.delivery


@dataclass(frozen=True, slots=True)
class Valve:
    """A valve by its ends; ``directed``: water is known to flow from ``upstream`` to ``downstream``."""

    name: str
    upstream: str
    downstream: str
    directed: bool = True


@dataclass(frozen=True, slots=True)
class Pumping:
    """A pump by its ends; ``running`` None: not known."""

    name: str
    suction: str
    delivery: str
    running: bool | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """An operation that was announced: a node, link, valve or pump, when it begins at the earliest and latest (on the
    clock of the steps), and which kind of `lifeline_core.pipes.causes` it is: at a node, "valve-closure" is an outlet that
    shuts and "valve-opening" one that opens (flushing)."""

    place: str
    from_s: float
    to_s: float
    kind: str


def listed_pumps(graph: PipeGraph) -> tuple[Pumping, ...]:
    """The pumps of the graph, in the state that it has them."""
    return tuple(Pumping(p.name, graph.nodes[p.suction], graph.nodes[p.delivery], p.running) for p in graph.pumps)


def listed_valves(graph: PipeGraph) -> tuple[Valve, ...]:
    """Links without a length that are no pumps; which way the water goes is not known."""
    pumps = {pump.name for pump in graph.pumps}
    return tuple(
        Valve(name, graph.nodes[a], graph.nodes[b], directed=False)
        for name, a, b, length in zip(graph.links, graph.link_a, graph.link_b, graph.length_m, strict=True)
        if length <= 0 and name not in pumps
    )
