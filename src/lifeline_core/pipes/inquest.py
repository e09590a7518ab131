"""Asks what made an event, as often as wanted, with what was recorded of it so far; keeps the records of open events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lifeline_core.model import NS
from lifeline_core.pipes.burst import FEWEST
from lifeline_core.pipes.causes import Cause, cause
from lifeline_core.pipes.onsets import Event, Onsets
from lifeline_core.pipes.placing import AFTER_S, Placing
from lifeline_core.pipes.records import Records, Samples

Recall = Callable[[str, int, int], Samples | None]

LAG_S = 1.5  # records are taken so long after their end at the latest, while all of them are still to be had


class Inquest:
    """The records of one site's open events.

    Parameters
    ----------
    onsets : Onsets
    metres : mapping of channel to float
        Metres of head of its unit; 0: none of pressure, left out.
    """

    def __init__(self, onsets: Onsets, metres: Mapping[str, float]) -> None:
        self._onsets, self._metres = onsets, metres
        self._records: dict[int, Records] = {}  # by the event's first onset

    def keep(self, events: Iterable[Event], live: Mapping[str, int], recall: Recall | None) -> None:
        """Take the records of open events before they are gone: once their waves have passed all sensors, or some lag for
        too long. Those of other events are dropped."""
        some = {event.first_ns: event for event in events}
        self._records = {t: kept for t, kept in self._records.items() if t in some}
        if recall is None:
            return
        for t, event in some.items():
            late, soon = t + round((AFTER_S + LAG_S) * NS), t + round(AFTER_S * NS)
            if t not in self._records and (min(live.values(), default=soon) >= soon or max(live.values()) >= late):
                self._records[t] = self._recorded(event, recall, AFTER_S)

    def whole(self, event: Event) -> bool:
        """Are its records there?"""
        return event.first_ns in self._records

    def told(self, event: Event, recall: Recall | None = None, seen_s: float = 0.0) -> Cause | None:
        """What made the steps, by what was recorded of it until ``seen_s`` after its first; None where fewer than three tell
        pressure."""
        steps = self._onsets.steps(event, self._metres)
        if len({s.node for s in steps}) < FEWEST:
            return None
        kept = self._records.get(event.first_ns)
        if kept is None and recall is not None:
            kept = self._recorded(event, recall, min(AFTER_S, seen_s))
        return cause(self._onsets.graph, steps, traces=kept.traces() if kept is not None else None)

    def placing(self, event: Event) -> Placing | None:
        """The search for its place; None where too little was recorded."""
        return self._records[event.first_ns].placing(self._onsets.graph)

    def _recorded(self, event: Event, recall: Recall, seen_s: float) -> Records:
        onsets = self._onsets
        return Records.gathered(recall, onsets.order(event), onsets.channels, self._metres, event.first_ns, seen_s)

    def save(self) -> list[Any]:
        """As plain values."""
        return [[t, *kept.save()] for t, kept in self._records.items()]

    def load(self, state: Iterable[Any]) -> None:
        """Take what `save` gave."""
        self._records = {t: Records.restored(kept) for t, *kept in state}
