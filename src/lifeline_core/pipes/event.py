"""The steps of one event: located, compared with the pumps of the network, and what followed read from the records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lifeline_core.pipes.guesses import FAINT, LATE, Anywhere, Fitted, Heard, Trial
from lifeline_core.pipes.hypotheses import Afterwards, two_ended
from lifeline_core.pipes.joukowsky import Flow, burst_flow
from lifeline_core.pipes.machines import Pumping
from lifeline_core.pipes.moc import diameters
from lifeline_core.pipes.outflow import Listening, Onset, Outflow, Trace, sources_of
from lifeline_core.pipes.region import region

Floats = NDArray[np.float64]

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph

FEWEST = 3  # sensors; fewer tell no place in a looped network
PLACES_READ, PUMPS_READ = 4, 2  # places and pumps whose flow is read back from the records
LINKS_READ = 2000  # of a network; what comes back from further away comes too late to matter
ALIGNED_SD = 3.0  # standard deviations by which a record may be moved to its onset
FLOW_SD, EXPLAINED = 0.2, 0.6  # relative error of a flow read back; what it must explain to be told
NEARLY = 0.1  # less explained by other places that may be it as well


@dataclass(frozen=True, slots=True)
class Step:
    """One step at one node: onset and its standard deviation (s), first motion (-1, +1), change of level (m), time to
    80 % of it (s), share given back after some seconds (`lifeline_core.pipes.recovery.regained`; NaN: not known)."""

    node: str
    t_s: float
    sd_s: float
    polarity: int
    step: float
    rise_s: float = math.nan
    recovery: float = math.nan


class Event:
    """The steps of one event, located and compared with the machines of the network."""

    def __init__(
        self, graph: PipeGraph, heard: Sequence[Step], pumps: Sequence[Pumping], solve_speed: bool, speed_sd: float
    ) -> None:  # fmt: skip
        self.graph, self.heard, self.pumps = graph, heard, pumps
        nodes = tuple(s.node for s in heard)
        t, sd = np.array([s.t_s for s in heard]), np.array([s.sd_s for s in heard])
        sign = np.array([1.0 if s.polarity > 0 else -1.0 for s in heard])
        self.trial = Trial(graph, Heard(nodes, t, sd, sign), solve_speed=solve_speed, speed_sd=speed_sd)
        when, how, late = (dict(zip(nodes, v.tolist(), strict=True)) for v in (t, sd, LATE * sd))
        self.found = graph.locate(when, sd_s=how, solve_speed=solve_speed, speed_sd=speed_sd, late_s=late)
        self.places = Anywhere.of(graph, self.found)
        self.at_places = self.trial.fitted(self.places.spots)
        self.at_pumps = self.trial.fitted(two_ended(self.trial, pumps)) if pumps else None
        self.flow: Outflow | None = None
        self.flow_spread = 0.0  # m3/s, over places that explain the records about as well
        self.notes: list[str] = []

    def afterwards(self, traces: Mapping[str, Trace]) -> Afterwards:
        """Shares that the sensors regained, and, where there are records, the flow."""
        shares = [s.recovery for s in self.heard if math.isfinite(s.recovery)]
        level = float(np.median(shares)) if shares else math.nan
        own = {s.node: traces[s.node] for s in self.heard if s.node in traces}
        if len(own) < FEWEST:
            return Afterwards(level)
        return self._read(own, level)

    def _read(self, traces: dict[str, Trace], level: float) -> Afterwards:
        """The flow at the likeliest places and pumps."""
        best = int(self.at_places.score.argmax())
        part, users = self._about()
        near = {node: trace for node, trace in traces.items() if node in part.index}
        top = [k for k in range(min(PLACES_READ, len(self.places.names))) if self.found[k].link in part.link_index]
        if len(near) < FEWEST or not top:
            return Afterwards(level)
        listening = Listening(part, near, 1.0 / float(self.at_places.slow[best]), users)
        if not listening.known:
            self.notes.append("diameters are not known: pipes are taken as equal to see whether the flow lasted")
        which = [k for k in self._likely_pumps() if {self.pumps[k].delivery, self.pumps[k].suction} <= part.index.keys()]
        rows = [(c.link, c.offset_m, c.node) for c in (self.found[k] for k in top)]
        rows += [(part.links[0], 0.0, at) for k in which for at in (self.pumps[k].delivery, self.pumps[k].suction)]
        way = self.at_places.ends.time_s
        response = listening.responses(sources_of(part, rows), float(way[np.isfinite(way)].max()) * 1.4)
        read = (listening.read(response[j], self._onsets(self.at_places, k)) for j, k in enumerate(top))
        flows = [f for f in read if f is not None]
        if not flows:
            return Afterwards(level)
        self.flow = max(flows, key=lambda f: f.explained)
        self.flow_spread = float(np.std([f.flow_m3s for f in flows if f.explained >= self.flow.explained - NEARLY]))
        left = {}
        for j, k in enumerate(which):
            pair = response[len(top) + 2 * j] - response[len(top) + 2 * j + 1]
            f = listening.read(pair, self._onsets(self.at_pumps, k)) if self.at_pumps is not None else None
            if f is not None:
                left[self.pumps[k].name] = 1.0 - f.explained
        return Afterwards(level, self.flow.given_back, self.flow.lasted_s, 1.0 - self.flow.explained, left)

    def _about(self) -> tuple[PipeGraph, Floats | None]:
        """Of a large network the part about the first sensor, and what was cut off at its nodes."""
        graph = self.graph
        if len(graph.links) <= LINKS_READ:
            return graph, None
        part = region(graph, diameters(graph, None), graph.index[self.heard[0].node], LINKS_READ)
        part.graph.diameter_m[:] = graph.diameter_m[part.link]
        return part.graph, part.cut

    def _likely_pumps(self) -> list[int]:
        if self.at_pumps is None:
            return []
        f, signs = self.at_pumps, self.trial.signs
        worth = f.score + np.maximum(signs(f, 1, -1), signs(f, -1, 1))
        order = np.argsort(-worth, kind="stable")[:PUMPS_READ]
        return [int(k) for k in order if worth[k] > float(self.at_places.score.max()) + math.log(FAINT)]

    def _onsets(self, fitted: Fitted, k: int) -> dict[str, Onset]:
        """When each record began to move and how long the wave took: moved to the onset as far as clocks and speeds allow."""
        h = self.trial.heard
        sd = np.sqrt(h.sd_s**2 + self.trial.speed_sd**2 * np.nan_to_num(fitted.ends.square_s2[:, k]))
        late = np.clip(fitted.late_s[:, k], -ALIGNED_SD * sd, ALIGNED_SD * sd)
        way = fitted.slow[k] * fitted.ends.time_s[:, k]
        t = fitted.t0_s[k] + way + late
        return {n: Onset(float(a), float(b)) for n, a, b in zip(h.nodes, t, way, strict=True) if math.isfinite(b)}

    def one_flow(self) -> Flow:
        """From the records, else from the steps."""
        if self.flow is not None and self.flow.explained >= EXPLAINED and math.isfinite(self.flow.flow_m3s):
            q = abs(self.flow.flow_m3s)
            sd = math.hypot(self.flow.flow_sd_m3s, FLOW_SD * q, self.flow_spread)
            return Flow(q, sd, tuple(s.node for s in self.heard), ())
        steps = {s.node: s.step for s in self.heard if (s.step < 0) == (s.polarity < 0)}
        return burst_flow(self.graph, self.found[0], steps)
