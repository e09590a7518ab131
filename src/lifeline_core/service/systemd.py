"""What systemd is told: sd_notify(3) and the watchdog.

The watchdog is fed when every thread has gone round since it was fed last, never by a clock: a thread that hangs is noticed
though the process lives.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time


class Systemd:
    """Says nothing where no NOTIFY_SOCKET is given, feeds nothing without WATCHDOG_USEC."""

    def __init__(self) -> None:
        address, limit = os.environ.get("NOTIFY_SOCKET", ""), os.environ.get("WATCHDOG_USEC", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._every_s = int(limit) / 2e6 if limit.isdigit() else 0.0  # systemd asks for half of its limit
        self._fed = 0.0
        self._rounds: tuple[int, ...] = ()

    def say(self, state: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
            line.sendto(state.encode(), self._address)

    def feed(self, rounds: tuple[int, ...]) -> None:
        """Feed the watchdog if each of the counters moved since it was fed last."""
        now = time.monotonic()
        if not self._every_s or now - self._fed < self._every_s:
            return
        if self._rounds and any(a == b for a, b in zip(rounds, self._rounds, strict=True)):
            return
        self._fed, self._rounds = now, rounds
        self.say("WATCHDOG=1")
