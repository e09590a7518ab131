"""Readers of the feed that wait for the next alarm (long poll)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from lifeline_core.store.outbox import Outbox

MOST = 1000  # readers waiting at once; one more is answered empty


@dataclass(frozen=True, slots=True)
class Start:
    """Where somebody reads from: behind a cursor, which may have come of a time, and under a name or none."""

    after: int
    since_ns: int | None = None
    consumer: str | None = None


@dataclass(slots=True)
class Reader:
    envelope: list[bytes]
    start: Start
    max: int
    until: float


def page(outbox: Outbox, start: Start, most: int) -> dict[str, Any]:
    """The reply to a read: alarms behind the start and the cursor of the last one.

    ``lag`` counts those that are still behind that one. ``lost``, of a named consumer: the alarms that were removed before its
    cursor reached them; without a name, those that were removed behind ``after``. ``whole`` is False where some of what was
    asked for was removed.
    """
    alarms = outbox.read(start.after, most)
    cursor = alarms[-1].seq if alarms else start.after
    lost = outbox.missing(start.after)
    whole = not lost if start.since_ns is None else start.since_ns > outbox.removed_ns()
    if start.consumer is not None:
        lost = outbox.standing(start.consumer).get(start.consumer, {"lost": lost})["lost"]
    lag = max(0, outbox.last_seq - cursor)
    return {"ok": True, "alarms": alarms, "cursor": cursor, "lag": lag, "lost": lost, "whole": whole}


class Waiting:
    """Filled and asked by the desk only."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.turned_away = 0  # readers that were answered empty at once, for want of room
        self._readers: list[Reader] = []

    def __len__(self) -> int:
        return len(self._readers)

    def add(self, envelope: list[bytes], start: Start, most: int, wait_ms: int) -> bool:
        """Whether there is room for one more."""
        if len(self._readers) >= MOST:
            self.turned_away += 1
            return False
        self._readers.append(Reader(envelope, start, most, time.monotonic() + wait_ms / 1000))
        return True

    def sleep_ms(self) -> int:
        """Until the first of them must be answered."""
        if not self._readers:
            return 60_000
        return max(0, int((min(r.until for r in self._readers) - time.monotonic()) * 1000) + 1)

    def due(self) -> list[tuple[list[bytes], dict[str, Any]]]:
        """Replies to those whose alarm came or whose time is up."""
        if not self._readers:
            return []
        now, last = time.monotonic(), self._outbox.last_seq
        ready = [r for r in self._readers if r.start.after < last or r.until <= now]
        if ready:
            self._readers = [r for r in self._readers if r.start.after >= last and r.until > now]
        return [(r.envelope, page(self._outbox, r.start, r.max)) for r in ready]
