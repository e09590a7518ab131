"""Joins the transients of one site into a burst with a place. Not a row of the table: it hears rows.

Onsets are collected as they are said; everything is decided at ticks, so that the order in which devices are heard
within a tick does not matter. An event begins with the earliest onset that belongs to none and takes in what a wave
can reach from there::

    first onset      third that agrees         + horizon: longest way     + latency     window of waves
        |-------------------|--------------------------|----------------------|--------------|-- placing --|
        sensors' onsets     first said: by arrivals    decided at the latest                 said again: by waves

`lifeline_core.pipes.burst.judge` says whether it is a burst, as soon as three sensors were heard, unless what is still to be
heard could show that a pump or a valve did it (`lifeline_core.pipes.devices.early`), or what was recorded so far
(`lifeline_core.detectors.base.Detector.recall`) shows that it was a short demand; while a demand may yet end, a burst is
held back for as long as its promptness allows. When all had their time and it is no burst, the first onset is dropped and
the rest gets its own chance; what else explains it (`lifeline_core.pipes.causes`) is said as a finding of that kind, blue.

A raised burst is said again when late onsets refine it. Once its waves are recorded, what made them is asked again: where
that is a pump or a short demand, the burst ends and that is said instead. Else the records are matched with the network's
waves, and the burst is said once more: that takes seconds of work and is done a little at every tick
(`lifeline_core.pipes.placing`). It ends when the transients of all its sensors have. ``where`` lists up to 20 of the
``places`` that have 90 % of the probability together; where all sensors lie behind one junction there can be many more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

from lifeline_core.errors import StateError
from lifeline_core.model import BLUE, NS, ORANGE, Finding, Site
from lifeline_core.pipes.burst import METRES, Verdict, harmless, judge
from lifeline_core.pipes.causes import Cause
from lifeline_core.pipes.devices import early
from lifeline_core.pipes.follower import LATENCY_S
from lifeline_core.pipes.graph import PipeGraph
from lifeline_core.pipes.inquest import Inquest, Recall
from lifeline_core.pipes.onsets import Event, Onsets
from lifeline_core.pipes.placing import Placing
from lifeline_core.pipes.statement import burst_finding, device_finding, pulse_finding

VERSION = 3
QUICK_S = 0.9  # the same for a wave that would have told a pump or a valve from a burst: it is no weak one
PATIENCE = 30  # ticks beyond horizon and latency, for streams that lag
FORGET_S = 86_400  # a sensor that fell silent keeps a burst open for so long
BUDGET = 80.0  # milliseconds of one core at a tick, about, for placing by waves
SURE = 0.5  # probability from which on another cause is said
PROMPT_S, EVERY_S = 2.0, 1.0  # a burst is said so long after the last onset that it needs, at the latest; between ticks
ENDING_S = 2.5  # a demand of 2 s has ended by then
WEIGHING = 30.0  # milliseconds of one core that asking for the cause takes, about


class BurstJoin:
    """The burst of one site; source "", at most one open at a time.

    Parameters
    ----------
    site : Site
    channels : mapping of channel name to node
        Pressure channels at nodes of the network.
    graph : PipeGraph
    units : mapping of channel name to unit, optional
        Metres by default; waves of sensors in a unit that is none of pressure are not matched.
    latency_s : float
        Between an onset and the finding about it, at most: of the rows that are heard.

    Raises
    ------
    ValueError
        A channel at a node that is not in the network.
    """

    def __init__(
        self, site: Site, channels: Mapping[str, str], graph: PipeGraph, units: Mapping[str, str] | None = None,
        latency_s: float = LATENCY_S,
    ) -> None:  # fmt: skip
        for name, node in channels.items():
            if node not in graph.index:
                raise ValueError(f"channel {name}: node is one of the network of site {site.name}, got {node!r}")
        self.site, self.channels, self.graph = site, dict(channels), graph
        self.metres = {name: METRES.get((units or {}).get(name, "m"), 0.0) for name in self.channels}
        self.latency_s = latency_s
        self.spent = 0.0  # at the last tick
        self._onsets = Onsets(graph, channels)
        self._inquest = Inquest(self._onsets, self.metres)
        self._event: Event | None = None
        self._burst: Event | None = None
        self._placing: Placing | None = None
        self._others: dict[str, Event] = {}  # by kind: what else was said and is not over

    def hear(self, finding: Finding, watch_name: str = "") -> None:
        """One finding of a `transient` row; others are passed over. Nothing is decided here."""
        self._onsets.hear(finding)

    def tick(
        self, t_ns: int, heads: Mapping[str, int | None], recall: Recall | None = None, budget: float = BUDGET
    ) -> list[Finding]:
        """What can be said now.

        Parameters
        ----------
        t_ns : int
            Time of the tick.
        heads : mapping of channel name to int or None
            Time of the newest sample; None, or absent: silent, not waited for.
        recall : callable, optional
            The samples of a channel between two times; without it bursts are placed by arrivals alone.
        budget : float
            Milliseconds of one core that placing by waves may take, about; inf: as long as it takes.
        """
        self.spent = 0.0
        self._onsets.sort()
        live = {name: t for name, t in heads.items() if t is not None and name in self.channels}
        self._inquest.keep([e for e in (self._event, self._burst) if e is not None and not e.placed], live, recall)
        found = self._refine(t_ns) + self._place(t_ns, recall, budget) + self._end(t_ns, live)
        while self._next_event():
            event = self._event
            assert event is not None
            event.waited += 1
            ready_ns = event.first_ns + self._onsets.horizon_ns + round(self.latency_s * NS)
            patience = PATIENCE + math.ceil((ready_ns - event.first_ns) / NS)
            if any(t < ready_ns for t in live.values()) and event.waited < patience:
                found += self._early(event, t_ns, live, recall)
                break
            found += self._decide(event, t_ns, recall)
        return found

    def _next_event(self) -> bool:
        """Is there an event to decide: the one begun, or one that the earliest onset free to begin one begins."""
        said = [self._burst] if self._burst else []
        free = [h for h in self._onsets.heard if not any(self._onsets.belongs(h, one) for one in said)]
        if not free:
            self._event = None
            return False
        if self._event is None or self._event.first_ns != free[0].onset_ns:
            waited = self._event.waited if self._event and free[0].onset_ns < self._event.first_ns else 0
            self._event = Event(free[0].onset_ns, waited)
        return True

    # -- by arrivals -------------------------------------------------------------------------------------------------

    def _early(self, event: Event, t_ns: int, live: Mapping[str, int], recall: Recall | None) -> list[Finding]:
        """Raise the event before everyone was heard, where that can change its place only."""
        verdict = judge(self.graph, self._onsets.arrivals(event))
        if verdict.reason:
            return []
        heard = {h.channel for h in self._onsets.first(event)}
        quiet_s = {self.channels[name]: (t - event.first_ns) / NS - QUICK_S for name, t in live.items() if name not in heard}
        if not early(self.graph, verdict, quiet_s):
            return []
        if recall is not None:
            seen_s = (min(live.values(), default=t_ns) - event.first_ns) / NS
            since_s = (t_ns - event.first_ns) / NS - verdict.used[-1].t_s
            if (seen_s < ENDING_S and since_s + EVERY_S <= PROMPT_S) or harmless(self._inquest.told(event, recall, seen_s)):
                return []
        return self._raise(event, verdict, t_ns)

    def _decide(self, event: Event, t_ns: int, recall: Recall | None) -> list[Finding]:
        """Raise the event, or drop its first onset."""
        verdict = judge(self.graph, self._onsets.arrivals(event))
        told = self._inquest.told(event, recall, (t_ns - event.first_ns) / NS)
        if not verdict.reason and not harmless(told):
            return self._raise(event, verdict, t_ns)
        self._event = None
        other = self._other(event, told, t_ns)
        if other:
            self._onsets.forget(event)
        else:
            self._onsets.heard = [h for h in self._onsets.heard if h.onset_ns != event.first_ns]
        return other

    def _raise(self, event: Event, verdict: Verdict, t_ns: int) -> list[Finding]:
        found = self._over(t_ns) if self._burst else []
        self._event = None
        event.raised, event.onset_ns = True, event.first_ns
        self._burst = event
        return [*found, self._say(event, verdict, t_ns)]

    def _refine(self, t_ns: int) -> list[Finding]:
        """Say a raised burst again when onsets were heard that it did not know; its waves say more than they."""
        event = self._burst
        told = () if event is None else tuple(sorted(h.channel for h in self._onsets.first(event)))
        if event is None or event.placed or set(told) <= set(event.used):
            return []
        verdict = judge(self.graph, self._onsets.arrivals(event))
        if verdict.reason:
            event.used = told
            return []
        return [self._say(event, verdict, t_ns)]

    # -- by waves ----------------------------------------------------------------------------------------------------

    def _place(self, t_ns: int, recall: Recall | None, budget: float) -> list[Finding]:
        """Go on matching the waves of the raised burst, once all of them were recorded."""
        event = self._burst
        if event is None or event.placed or recall is None:
            return []
        if self._placing is None:
            if budget < WEIGHING or not self._inquest.whole(event):
                return []
            self.spent, said = WEIGHING, self._weigh(event, t_ns)
            if self._placing is None or budget <= self.spent:
                return said
        found, self.spent = self._placing.work(budget - self.spent), budget
        if found is None:
            return []
        self._placing, event.placed = None, True
        if found.pulse:
            own = self._onsets.first(event)
            other = [] if "demand-pulse" in self._others else [pulse_finding(found, event, own, t_ns)]
            self._others.setdefault("demand-pulse", event)
            return self._over(t_ns) + other
        used = judge(self.graph, self._onsets.arrivals(event)).used
        return [self._say(event, Verdict(found, used, ""), t_ns)] if len(found) and used else []

    def _weigh(self, event: Event, t_ns: int) -> list[Finding]:
        """Ask again what it was, now that its waves were recorded, and begin to match them."""
        told = self._inquest.told(event)
        if harmless(told):
            return [*self._other(event, told, t_ns), *self._over(t_ns)][::-1]
        if told is not None:
            event.reasons = told.reasons
            event.flow = (told.flow_m3s, told.flow_sd_m3s) if math.isfinite(told.flow_m3s) else ()
        self._placing = self._inquest.placing(event)
        if self._placing is not None:
            return []
        event.placed, verdict = True, judge(self.graph, self._onsets.arrivals(event))
        return [self._say(event, verdict, t_ns)] if event.flow and not verdict.reason else []

    # -- ends --------------------------------------------------------------------------------------------------------

    def _end(self, t_ns: int, live: Mapping[str, int]) -> list[Finding]:
        """What was said is over when every sensor that heard it is quiet again (silent ones are waited for FORGET_S) and
        nothing more will be said of it."""

        def ended(event: Event) -> bool:
            return self._onsets.ended(event.used, live, t_ns - event.onset_ns > FORGET_S * NS)

        over = self._burst is not None and self._placing is None and ended(self._burst)
        found = self._over(t_ns) if over else []
        for kind in [kind for kind, event in self._others.items() if ended(event)]:
            event = self._others.pop(kind)
            found.append(Finding(kind=kind, t_ns=t_ns, onset_ns=event.onset_ns, active=False, severity=BLUE))
        return found

    def _over(self, t_ns: int) -> list[Finding]:
        event = self._burst
        assert event is not None
        self._burst, self._placing = None, None
        self._onsets.forget(event)
        return [Finding(kind="burst", t_ns=t_ns, onset_ns=event.onset_ns, active=False, severity=ORANGE)]

    # -- what is said ------------------------------------------------------------------------------------------------

    def _say(self, event: Event, verdict: Verdict, t_ns: int) -> Finding:
        own = self._onsets.first(event)
        event.used = tuple(sorted(h.channel for h in own))
        nodes = {a.node for a in verdict.used}
        used = [h for h in own if self.channels[h.channel] in nodes]
        heads = {self.channels[h.channel]: h.step * self.metres[h.channel] for h in used if self.metres[h.channel]}
        return burst_finding(self.graph, event, verdict.candidates, used, heads, t_ns)

    def _other(self, event: Event, told: Cause | None, t_ns: int) -> list[Finding]:
        """What these steps are if they are no burst, where that is known; of each kind one at a time."""
        if told is None or told.kind in ("burst", "unknown", *self._others):
            return []
        if told.probability[told.kind] < SURE and not harmless(told):
            return []
        own = [h for h in self._onsets.first(event) if self.metres[h.channel]]
        event.onset_ns, event.used = event.first_ns, tuple(sorted(h.channel for h in own))
        self._others[told.kind] = event
        return [device_finding(told, event, own, t_ns)]

    # -- state -------------------------------------------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        """Everything heard and open, as plain values."""
        return {
            "version": VERSION,
            **self._onsets.save(),
            "event": None if self._event is None else list(astuple(self._event)),
            "burst": None if self._burst is None else list(astuple(self._burst)),
            "placing": None if self._placing is None else self._placing.save(),
            "records": self._inquest.save(),
            "others": {kind: list(astuple(event)) for kind, event in self._others.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take what `save` gave; StateError for another version."""
        if state.get("version") != VERSION:
            raise StateError(f"burst join: state of version {VERSION}, got {state.get('version')!r}")
        self._onsets.load(state)
        self._event, self._burst = (Event.of(state[key]) for key in ("event", "burst"))
        placing = state["placing"]
        self._placing = None if placing is None else Placing.restored(self.graph, placing)
        self._inquest.load(state["records"])
        others = {kind: Event.of(row) for kind, row in state["others"].items()}
        self._others = {kind: event for kind, event in others.items() if event is not None}
