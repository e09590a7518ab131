"""Pumps and valves: what else makes a wave at once, and who would betray it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lifeline_core.pipes.burst import LATE, PUMP, SPEED_SD, Verdict
from lifeline_core.pipes.graph import PipeGraph
from lifeline_core.pipes.search import Heard, Speeds, node_scores


@dataclass(frozen=True, slots=True)
class Device:
    """What may open, shut, start or stop: the nodes at its ends, and whether it is a pump."""

    ends: tuple[int, ...]
    pump: bool

    def way_s(self, graph: PipeGraph, node: str) -> float:
        """From the nearer end to a node."""
        time = graph.routes(node).time_s
        return min(float(time[k]) for k in self.ends)


def devices(graph: PipeGraph) -> list[Device]:
    """Pumps and valves (links without a length)."""
    pumps = {p.name for p in graph.pumps}
    shut = [k for k in np.nonzero(graph.length_m <= 0)[0] if graph.links[k] not in pumps]
    valves = [(int(graph.link_a[k]), int(graph.link_b[k])) for k in shut]
    return [Device((p.falls, p.rises), True) for p in graph.pumps] + [Device(ends, False) for ends in valves]


def early(graph: PipeGraph, verdict: Verdict, quiet_s: Mapping[str, float]) -> bool:
    """Whether a burst is one already, while sensors may yet speak.

    A pump or a valve would be betrayed by sensors that hear it otherwise. Those are waited for that would have heard it by
    now: of a device that explains what was heard nearly as well as the best place does, all that stand no further from it
    than those that were heard; of any pump, those that stand nearer to it than to the best place. So nobody is waited
    for longer than a wave takes that has already come elsewhere.

    Parameters
    ----------
    verdict : Verdict
        A burst, on what was heard.
    quiet_s : mapping of node to seconds
        Nodes that were not heard: until when, on the clock of the arrivals, they heard nothing.
    """
    used, best = verdict.used, verdict.candidates
    if verdict.reason or not len(best):
        return False
    if not quiet_s:
        return True
    late = {a.node: LATE * a.sd_s for a in used}
    heard = Heard.of(graph, {a.node: a.t_s for a in used}, {a.node: a.sd_s for a in used}, late)
    every = devices(graph)
    ends = np.array(sorted({k for device in every for k in device.ends if not graph.barrier[k]}), dtype=np.intp)
    score = np.full(len(graph.nodes), -math.inf)
    if len(ends):
        score[ends] = node_scores(graph, heard, ends, speeds=Speeds(), speed_sd=SPEED_SD) - best.best_score
    for device in every:
        alike = float(score[list(device.ends)].max()) >= PUMP
        if not alike and not device.pump:
            continue
        ways = {a.node: device.way_s(graph, a.node) for a in used}
        began = float(np.median([a.t_s - ways[a.node] for a in used]))
        far = max(ways.values()) if alike else -math.inf
        for node, until_s in quiet_s.items():
            way = device.way_s(graph, node)
            place = best.arrival_s(0, node) - best[0].t0_s if device.pump else -math.inf
            if (way <= far or way < place) and until_s < min(began + way, used[-1].t_s):
                return False
    return True
