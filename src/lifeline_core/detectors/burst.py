"""Joins the transients of one site into a burst with a place. Not a row of the table: it hears rows.

Onsets are collected as they are said; everything is decided at ticks, so that the order in which devices are heard
within a tick does not matter. An event begins with the earliest onset that belongs to none and takes in what a wave
can reach from there::

    first onset        + horizon: longest way between two sensors   + latency of the findings
        |-------------------------|---------------------------------------|
        sensors' onsets belong                            decided here, or when the wait is over

Then `lifeline_core.pipes.burst.judge` says whether it is a burst. If it is none the first onset is dropped and the
rest gets its own chance. ``where`` lists up to 20 of the ``places`` that have 90 % of the probability together; where
all sensors lie behind one junction there can be many more. A raised burst is said again when late onsets refine it, and
ends when the transients of all its sensors have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from lifeline_core.errors import StateError
from lifeline_core.model import NS, ORANGE, Finding, Site
from lifeline_core.pipes.burst import FEWEST, Arrival, Verdict, judge
from lifeline_core.pipes.candidates import Candidate
from lifeline_core.pipes.graph import PipeGraph
from lifeline_core.pipes.search import Speeds

VERSION = 1
MARGIN_S = 0.5
LATENCY_S = 5.0  # between an onset and the finding about it, at most (window of the follower with its defaults: 3.5 s)
PATIENCE = 30  # ticks beyond horizon and latency, for streams that lag
FORGET_S = 86_400  # a sensor that fell silent keeps a burst open for so long
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


class BurstJoin:
    """The burst of one site; source "", at most one open at a time.

    Parameters
    ----------
    site : Site
    channels : mapping of channel name to node
        Pressure channels at nodes of the network.
    graph : PipeGraph

    Raises
    ------
    ValueError
        A channel at a node that is not in the network.
    """

    def __init__(self, site: Site, channels: Mapping[str, str], graph: PipeGraph) -> None:
        for name, node in channels.items():
            if node not in graph.index:
                raise ValueError(f"channel {name}: node is one of the network of site {site.name}, got {node!r}")
        self.site, self.channels, self.graph = site, dict(channels), graph
        self.horizon_ns = round((longest_way(graph, sorted(set(channels.values()))) + MARGIN_S) * NS)
        self._heard: list[Heard] = []
        self._open: set[str] = set()  # channels whose transient has not ended
        self._event: Event | None = None
        self._burst: Event | None = None

    def hear(self, finding: Finding, watch_name: str = "") -> None:
        """One finding of a `transient` row; others are passed over. Nothing is decided here."""
        channel = finding.source
        if finding.kind != "transient" or channel not in self.channels:
            return
        if not finding.active:
            self._open.discard(channel)
            return
        self._open.add(channel)
        if any(h.channel == channel and h.onset_ns == finding.onset_ns for h in self._heard):
            return  # the same onset, graver
        tell = finding.evidence
        step = float(tell.get("step", finding.value))
        polarity = int(tell.get("polarity", math.copysign(1, step)))
        self._heard.append(Heard(
            finding.onset_ns, channel, float(tell.get("onset_sd_s", 0.01)), polarity, step,
            float(tell.get("rise_s", 0.0)), finding.quality, finding.unit,
        ))  # fmt: skip
        own = [h for h in self._heard if h.channel == channel]
        if len(own) > KEPT:
            self._heard.remove(min(own, key=lambda h: h.onset_ns))

    def tick(self, t_ns: int, heads: Mapping[str, int | None]) -> list[Finding]:
        """What can be said now.

        Parameters
        ----------
        t_ns : int
            Time of the tick.
        heads : mapping of channel name to int or None
            Time of the newest sample; None, or absent: silent, not waited for.
        """
        self._heard.sort(key=lambda h: (h.onset_ns, h.channel))
        live = {name: t for name, t in heads.items() if t is not None and name in self.channels}
        found = self._refine(t_ns) + self._end(t_ns, live)
        while self._next_event():
            event = self._event
            assert event is not None
            event.waited += 1
            ready_ns = event.first_ns + self.horizon_ns + round(LATENCY_S * NS)
            patience = PATIENCE + math.ceil((ready_ns - event.first_ns) / NS)
            if any(t < ready_ns for t in live.values()) and event.waited < patience:
                break
            found += self._decide(event, t_ns)
        return found

    def _next_event(self) -> bool:
        """Is there an event to decide: the one begun, or one that the earliest onset free to begin one begins."""
        free = [h for h in self._heard if not (self._burst and self._belongs(h, self._burst))]
        if not free:
            self._event = None
            return False
        if self._event is None or self._event.first_ns != free[0].onset_ns:
            waited = self._event.waited if self._event and free[0].onset_ns < self._event.first_ns else 0
            self._event = Event(free[0].onset_ns, waited)
        return True

    def _belongs(self, h: Heard, event: Event) -> bool:
        return abs(h.onset_ns - event.first_ns) <= self.horizon_ns

    def _judge(self, event: Event) -> tuple[Verdict, list[Heard]]:
        """The first onset of every channel in the event's time, judged."""
        first: dict[str, Heard] = {}
        for h in self._heard:
            if self._belongs(h, event):
                first.setdefault(h.channel, h)
        own = list(first.values())
        arrivals = [
            Arrival(self.channels[h.channel], (h.onset_ns - event.first_ns) / NS, h.sd_s, h.polarity, h.step, h.rise_s)
            for h in own
        ]  # fmt: skip
        return judge(self.graph, arrivals), own

    def _decide(self, event: Event, t_ns: int) -> list[Finding]:
        """Raise the event, or drop its first onset."""
        verdict, own = self._judge(event)
        self._event = None
        if verdict.reason:
            self._heard = [h for h in self._heard if h.onset_ns != event.first_ns]
            return []
        found = self._over(t_ns) if self._burst else []
        event.raised, event.onset_ns = True, event.first_ns
        self._burst = event
        return [*found, self._say(event, verdict, own, t_ns)]

    def _refine(self, t_ns: int) -> list[Finding]:
        """Say a raised burst again when onsets were heard that it did not know."""
        event = self._burst
        if event is None:
            return []
        if {h.channel for h in self._heard if self._belongs(h, event)} <= set(event.used):
            return []
        verdict, own = self._judge(event)
        if verdict.reason:
            event.used = tuple(sorted({h.channel for h in own}))
            return []
        return [self._say(event, verdict, own, t_ns)]

    def _end(self, t_ns: int, live: Mapping[str, int]) -> list[Finding]:
        """A burst is over when every sensor that heard it is quiet again; silent ones are waited for FORGET_S."""
        event = self._burst
        if event is None:
            return []
        old = t_ns - event.onset_ns > FORGET_S * NS
        if any(name in self._open and (name in live or not old) for name in event.used):
            return []
        return self._over(t_ns)

    def _over(self, t_ns: int) -> list[Finding]:
        event = self._burst
        assert event is not None
        self._burst = None
        self._heard = [h for h in self._heard if not self._belongs(h, event)]
        return [Finding(kind="burst", t_ns=t_ns, onset_ns=event.onset_ns, active=False, severity=ORANGE)]

    def _say(self, event: Event, verdict: Verdict, own: list[Heard], t_ns: int) -> Finding:
        event.used = tuple(sorted(h.channel for h in own))
        nodes = {a.node for a in verdict.used}
        used = [h for h in own if self.channels[h.channel] in nodes]
        largest = max(used, key=lambda h: (abs(h.step), h.channel))
        best = verdict.candidates[0]
        region = len(verdict.candidates.region())
        rows = verdict.candidates.to_rows()
        where: dict[str, Any] = {**place(best), "candidates": rows, "places": region, "rms_s": best.rms_s}
        sd = verdict.candidates.sd_m()
        if math.isfinite(sd):
            where["sd_m"] = sd
        return Finding(
            kind="burst", t_ns=t_ns, onset_ns=event.onset_ns, active=True, severity=ORANGE,
            score=len(nodes) / FEWEST, value=largest.step, unit=largest.unit, where=where,
            quality=sum(h.quality for h in used) / len(used),
            evidence={
                "sensors": [h.channel for h in used],
                "began_ns": event.first_ns + round(best.t0_s * NS),
                "speed_mps": best.speed,
                "misfit": best.misfit,
                "probability": best.probability,
            },
        )  # fmt: skip

    def save(self) -> dict[str, Any]:
        """Everything heard and open, as plain values."""
        return {
            "version": VERSION,
            "heard": [list(astuple(h)) for h in self._heard],
            "open": sorted(self._open),
            "event": None if self._event is None else list(astuple(self._event)),
            "burst": None if self._burst is None else list(astuple(self._burst)),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take what `save` gave; StateError for another version."""
        if state.get("version") != VERSION:
            raise StateError(f"burst join: state of version {VERSION}, got {state.get('version')!r}")
        self._heard = [Heard(*row) for row in state["heard"]]
        self._open = set(state["open"])
        self._event, self._burst = (event_of(state[key]) for key in ("event", "burst"))


def event_of(row: Any) -> Event | None:
    """An event as `save` wrote it."""
    if row is None:
        return None
    return Event(row[0], row[1], row[2], row[3], tuple(row[4]))


def longest_way(graph: PipeGraph, nodes: list[str]) -> float:
    """Longest travel time between two of the nodes that a wave can go, at the slowest speed believed in, seconds."""
    at = [graph.index[node] for node in nodes]
    every = nodes if len(nodes) <= ALL_PAIRS else nodes[:1]
    times = [float(t) for node in every for t in graph.routes(node).time_s[at] if math.isfinite(t)]
    return max(times, default=0.0) * (1.0 if every is nodes else 2.0) / Speeds().least


def place(best: Candidate) -> dict[str, Any]:
    """A candidate as part of a finding's ``where``."""
    where: dict[str, Any] = {"asset": best.name, "link": best.link, "offset_m": best.offset_m}
    if best.node is not None:
        where["node"] = best.node
    if math.isfinite(best.x) and math.isfinite(best.y):
        where.update(x=best.x, y=best.y)
    return where
