"""Refused bytes on their way to the dead-letter file: all counted, some kept."""

from __future__ import annotations

import threading
import time
from collections import Counter

from lifeline_core.service.log import Log
from lifeline_core.store.deadletter import DeadLetters

A_SECOND = 50  # kept of one reason; a flood is counted, not copied


class DeadLetterBox:
    """Any thread drops refused bytes here; what the store cannot take is lost, counted and no reason to stop."""

    def __init__(self, store: DeadLetters, log: Log) -> None:
        self._store, self._log = store, log
        self._lock = threading.Lock()
        self._second = 0
        self._kept: Counter[str] = Counter()
        self.dropped = self._failed = 0

    @property
    def failed(self) -> int:
        """Letters that the disk refused."""
        return self._store.failed

    def wants(self, reason: str) -> bool:
        """Whether the next one of this reason would be kept, so that nobody copies bytes for nothing."""
        with self._lock:
            second = int(time.monotonic())
            if second != self._second:
                self._second = second
                self._kept.clear()
            self._kept[reason] += 1
            if self._kept[reason] <= A_SECOND:
                return True
            self.dropped += 1
            return False

    def put(self, reason: str, data: bytes) -> None:
        with self._lock:
            self._store.keep(reason, data, time.time_ns())
            if self._store.failed > self._failed:
                self._failed = self._store.failed
                self._log.error("dead-letters-failed", failed=self._failed)

    def close(self) -> None:
        with self._lock:
            self._store.close()
