"""Sites with a pipe network: what several pressure sensors say together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Set
from typing import Any

from lifeline_core.detectors.burst import BUDGET, BurstJoin, Recall
from lifeline_core.model import City, Finding, Site
from lifeline_core.pipes.follower import LATENCY_S, Steps
from lifeline_core.pipes.graph import PipeGraph

WATCH = "network"  # the name under which a site's located bursts are alarmed
FAR_NS = 3_600_000_000_000


def latency_of(city: City, channels: Set[str]) -> float:
    """Seconds between an onset and the finding about it, at most, of the rows that watch these channels for transients."""
    rows = [w.params for w in city.watches.values() if w.detector == "transient" and channels & set(w.channels)]
    steps = [Steps() if p is None else Steps(rise_s=p.rise_s, pre_s=p.pre_s, post_s=p.post_s) for p in rows]
    return max((s.latency_s for s in steps), default=LATENCY_S)


class Networks:
    """One burst join per site that names a network and has channels at its nodes."""

    def __init__(self, city: City) -> None:
        self._joins: dict[str, BurstJoin] = {}
        self._sites = city.sites
        for site in city.sites.values():
            nodes = {c.name: c.node for c in city.channels.values() if c.site == site.name and c.node}
            if site.network and nodes:
                units = {name: city.channels[name].unit for name in nodes}
                graph = PipeGraph.from_text(site.network, wave_speed=site.wave_speed)
                self._joins[site.name] = BurstJoin(site, nodes, graph, units, latency_of(city, nodes.keys()))

    def hear(self, site: str, watch: str, finding: Finding) -> None:
        """A detector's finding; onsets of transients are kept for the next tick."""
        if finding.kind == "transient" and not finding.historical and site in self._joins:
            self._joins[site].hear(finding, watch)

    def tick(
        self, t_ns: int, heads: Mapping[str, int], recall: Recall | None = None, budget: float = BUDGET
    ) -> Iterator[tuple[Site, str, Finding]]:
        """Bursts located now.

        Parameters
        ----------
        heads : mapping of channel to int
            Time of the newest sample of every channel that is not silent.
        recall : callable, optional
            Samples of a channel between two times.
        budget : float
            Of all sites together: one burst after the other is placed by its waves.
        """
        for name, join in self._joins.items():
            own = {c: heads.get(c) for c in join.channels}
            for finding in join.tick(t_ns, own, recall, budget):
                yield self._sites[name], WATCH, finding
            if math.isfinite(budget):
                budget = max(0.0, budget - join.spent)

    def flush(self, heads: Mapping[str, int], recall: Recall | None = None) -> Iterator[tuple[Site, str, Finding]]:
        """The streams ended: nothing more is waited for."""
        t_ns = max(heads.values(), default=0)
        late = {c: t + FAR_NS for c, t in heads.items()}
        yield from self.tick(t_ns, late, recall, math.inf)
        yield from self.tick(t_ns, late, recall, math.inf)  # what was raised just now is placed

    def save(self) -> dict[str, Any]:
        return {name: join.save() for name, join in self._joins.items()}

    def load(self, state: Mapping[str, Any]) -> None:
        for name, saved in state.items():
            if name in self._joins:
                self._joins[name].load(saved)
