"""Onsets of one site's sensors, kept until they are known to be an event or none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from lifeline_core.model import NS, Finding
from lifeline_core.pipes.burst import Arrival
from lifeline_core.pipes.causes import Step
from lifeline_core.pipes.graph import PipeGraph
from lifeline_core.pipes.search import Speeds

MARGIN_S = 0.5
KEPT = 8  # onsets remembered per channel
ALL_PAIRS = 200  # sensors: beyond that the longest way between two is bounded, not computed


@dataclass(frozen=True, slots=True)
class Heard:
    """One transient's onset."""

    onset_ns: int
    channel: str
    sd_s: float
    polarity: int
    step: float
    rise_s: float
    quality: float
    unit: str


@dataclass(slots=True)
class Event:
    """Onsets that one wave may have made; ``raised`` since it was called a burst."""

    first_ns: int
    waited: int = 0
    raised: bool = False
    onset_ns: int = 0
    used: tuple[str, ...] = ()
    placed: bool = False  # by its waves, or they cannot be had
    flow: tuple[float, ...] = ()  # read back from records: m3/s, its standard deviation
    reasons: tuple[str, ...] = ()  # what records say for it and what they leave open

    @classmethod
    def of(cls, row: Any) -> Event | None:
        """As `astuple` gave it."""
        return None if row is None else cls(row[0], row[1], row[2], row[3], tuple(row[4]), row[5], tuple(row[6]), tuple(row[7]))


class Onsets:
    """What the channels of a site have said: their onsets, and whose transient has not ended.

    Parameters
    ----------
    graph : PipeGraph
    channels : mapping of channel name to node
    """

    def __init__(self, graph: PipeGraph, channels: Mapping[str, str]) -> None:
        self.graph, self.channels = graph, dict(channels)
        self.horizon_ns = round((longest_way(graph, sorted(set(channels.values()))) + MARGIN_S) * NS)
        self.heard: list[Heard] = []
        self.open: set[str] = set()

    def hear(self, finding: Finding) -> None:
        """One finding of a `transient` row; others are passed over."""
        channel = finding.source
        if finding.kind != "transient" or channel not in self.channels:
            return
        if not finding.active:
            self.open.discard(channel)
            return
        self.open.add(channel)
        if any(h.channel == channel and h.onset_ns == finding.onset_ns for h in self.heard):
            return  # the same onset, graver
        tell = finding.evidence
        step = float(tell.get("step", finding.value))
        polarity = int(tell.get("polarity", math.copysign(1, step)))
        self.heard.append(Heard(
            finding.onset_ns, channel, float(tell.get("onset_sd_s", 0.01)), polarity, step,
            float(tell.get("rise_s", 0.0)), finding.quality, finding.unit,
        ))  # fmt: skip
        own = [h for h in self.heard if h.channel == channel]
        if len(own) > KEPT:
            self.heard.remove(min(own, key=lambda h: h.onset_ns))

    def sort(self) -> None:
        """By time and name: the order of hearing within a tick never shows."""
        self.heard.sort(key=lambda h: (h.onset_ns, h.channel))

    def belongs(self, h: Heard, event: Event) -> bool:
        """Whether one wave can have made it and the event's first."""
        return abs(h.onset_ns - event.first_ns) <= self.horizon_ns

    def first(self, event: Event) -> list[Heard]:
        """The first onset of every channel in the event's time."""
        first: dict[str, Heard] = {}
        for h in self.heard:
            if self.belongs(h, event):
                first.setdefault(h.channel, h)
        return list(first.values())

    def arrivals(self, event: Event) -> list[Arrival]:
        """The same, at nodes and in seconds from the event's first."""
        return [
            Arrival(self.channels[h.channel], (h.onset_ns - event.first_ns) / NS, h.sd_s, h.polarity, h.step, h.rise_s)
            for h in self.first(event)
        ]

    def steps(self, event: Event, metres: Mapping[str, float]) -> list[Step]:
        """The same of channels whose unit is one of pressure, as causes are told from; ``metres`` of head of each unit."""
        return [
            Step(self.channels[h.channel], (h.onset_ns - event.first_ns) / NS, h.sd_s, h.polarity,
                 h.step * metres[h.channel], h.rise_s)
            for h in self.first(event) if metres[h.channel]
        ]  # fmt: skip

    def order(self, event: Event) -> list[str]:
        """All channels: those that heard it first, then those that stand nearest to the first of them."""
        when = {h.channel: h.onset_ns for h in self.first(event)}
        if not when:
            return []
        near = self.graph.routes(self.channels[min(when, key=lambda c: (when[c], c))]).time_s
        far = {name: float(near[self.graph.index[node]]) for name, node in self.channels.items()}
        return sorted(self.channels, key=lambda c: (c not in when, when.get(c, 0), far[c], c))

    def forget(self, event: Event) -> None:
        """All of an event."""
        self.heard = [h for h in self.heard if not self.belongs(h, event)]

    def ended(self, used: tuple[str, ...], live: Mapping[str, int], old: bool) -> bool:
        """Whether all these channels are quiet again; silent ones are waited for until the event is ``old``."""
        return not any(name in self.open and (name in live or not old) for name in used)

    def save(self) -> dict[str, Any]:
        """As plain values."""
        return {"heard": [list(astuple(h)) for h in self.heard], "open": sorted(self.open)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take what `save` gave."""
        self.heard = [Heard(*row) for row in state["heard"]]
        self.open = set(state["open"])


def longest_way(graph: PipeGraph, nodes: list[str]) -> float:
    """Longest travel time between two of the nodes that a wave can go, at the slowest speed believed in, seconds."""
    at = [graph.index[node] for node in nodes]
    every = nodes if len(nodes) <= ALL_PAIRS else nodes[:1]
    times = [float(t) for node in every for t in graph.routes(node).time_s[at] if math.isfinite(t)]
    return max(times, default=0.0) * (1.0 if every is nodes else 2.0) / Speeds().least
