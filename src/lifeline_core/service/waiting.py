"""Readers of the feed that wait for the next alarm (long poll)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from lifeline_core.store.outbox import Outbox

MOST = 1000  # readers waiting at once; one more is answered empty


@dataclass(slots=True)
class Reader:
    envelope: list[bytes]
    after: int
    max: int
    until: float


def page(outbox: Outbox, after: int, most: int) -> dict[str, Any]:
    """The reply to a read: alarms behind ``after``, the cursor of the last one, and how many are still behind that one."""
    alarms = outbox.read(after, most)
    cursor = alarms[-1].seq if alarms else after
    return {"ok": True, "alarms": alarms, "cursor": cursor, "lag": max(0, outbox.last_seq - cursor)}


class Waiting:
    """Filled and asked by the desk only."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._readers: list[Reader] = []

    def __len__(self) -> int:
        return len(self._readers)

    def add(self, envelope: list[bytes], after: int, most: int, wait_ms: int) -> bool:
        if len(self._readers) >= MOST:
            return False
        self._readers.append(Reader(envelope, after, most, time.monotonic() + wait_ms / 1000))
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
        ready = [r for r in self._readers if r.after < last or r.until <= now]
        if ready:
            self._readers = [r for r in self._readers if r.after >= last and r.until > now]
        return [(r.envelope, page(self._outbox, r.after, r.max)) for r in ready]
