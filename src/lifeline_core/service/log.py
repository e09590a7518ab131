"""What the service tells people: structlog lines on stderr, and no event oftener than it can be read."""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import Any

import structlog

REPEAT_S = 10.0


class Log:
    """Named events with fields. The same event comes once in ``repeat_s``; the next says how many were held back."""

    def __init__(self, repeat_s: float = REPEAT_S) -> None:
        self._repeat_s = repeat_s
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, int]] = {}
        self._log = structlog.wrap_logger(
            structlog.PrintLogger(sys.stderr),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
                structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], sort_keys=False),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        )

    def _due(self, event: str) -> int:
        """-1: hold it back; otherwise how many were held back before it."""
        now = time.monotonic()
        with self._lock:
            last, held = self._seen.get(event, (-1e9, 0))
            if now - last < self._repeat_s:
                self._seen[event] = (last, held + 1)
                return -1
            self._seen[event] = (now, 0)
            return held

    def info(self, event: str, **fields: Any) -> None:
        self._say("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._say("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """With ``exc_info=True`` inside an ``except`` the traceback is printed."""
        self._say("error", event, fields)

    def _say(self, level: str, event: str, fields: dict[str, Any]) -> None:
        held = self._due(event)
        if held < 0:
            return
        if held:
            fields["held_back"] = held
        getattr(self._log, level)(event, **fields)
