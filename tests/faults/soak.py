"""Full load for a long time: what the service holds must stop growing.

::

    a quarter        a quarter        half
    [ warms up     ][ the measure    ][ must lie within 2 % + 4 MiB of it: 24 MiB in a run shorter than ten minutes ]

"Own" memory is RssAnon: what malloc and Python hold. The journal's memory maps are pages of files (RssFile), which the
kernel takes back when it likes; they are told apart and bounded by the journal's budget.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from bench.bridge import CHANNELS, RATE, WATCHES, Bridge
from bench.ends import service_main
from bench.sender import Sender
from lifeline_core.service import FeedClient
from tests.faults.child import Child, Held
from tests.faults.course import Broken, expect

Tell = Callable[[str], None]

CHUNK = 32_000  # frames of one sending; the time between, in which they are made, is told (`busy`)
SHARE, ROOM = 0.02, 4 << 20  # by which the last half may lie above the quarter after the warm-up
LONG, ROOM_SHORT = 600, 24 << 20  # looks from which on that holds; in fewer the snapshots (10 to 20 MiB of state, held twice
#                                   while one is written) do not even out, and only a loss with every frame would show
LOOSE = 2  # files and threads that come and go
JOURNAL_MIB = 512  # so that segments are used again within the first quarter of the short form, too


class Samples:
    """Looks at a process once a second until it is stopped."""

    def __init__(self, child: Child) -> None:
        self.times: list[float] = []
        self.found: list[Held] = []
        self._child, self._ended = child, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        begun = time.monotonic()
        while not self._ended.wait(max(0.0, len(self.found) - (time.monotonic() - begun))):
            try:
                self.found.append(self._child.held())
            except OSError:
                return
            self.times.append(time.monotonic() - begun)

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()


def judge(found: Sequence[Held]) -> dict[str, float]:
    """Whether what was held stays: medians of the second quarter and of the last half. Raises Broken where it grows."""
    n = len(found)
    if n < 20:
        raise Broken(f"{n} looks at the service are too few to judge it by: 20 at least")
    before, after = found[n // 4 : n // 2], found[n // 2 :]

    def middle(part: Sequence[Held], name: str) -> float:
        return statistics.median(getattr(h, name) for h in part)

    said: dict[str, float] = {}
    for name in ("own", "files", "shared", "descriptors", "threads"):
        was, now = middle(before, name), middle(after, name)
        byte = name in ("own", "files", "shared")
        said[f"{name}_mib" if byte else name] = round(now / 2**20, 1) if byte else now
        if byte:
            said[f"{name}_grown_mib"] = round((now - was) / 2**20, 2)
        room = ROOM if n >= LONG else ROOM_SHORT
        if name == "own" and now > was * (1 + SHARE) + room:
            grown = f"from {was / 2**20:.1f} to {now / 2**20:.1f} MiB"
            raise Broken(f"own memory grew {grown}, allowed are {SHARE:.0%} + {room >> 20} MiB")
        if name in ("descriptors", "threads") and now > was + LOOSE:
            raise Broken(f"{name} grew from {was} to {now}")
    said["own_most_mib"] = round(max(h.own for h in found) / 2**20, 1)
    return said


def slope(times: Sequence[float], found: Sequence[Held]) -> float:
    """KiB of own memory a minute over the last half, the median of the slopes of pairs half of it apart (Theil 1950, Sen 1968)."""
    t, own = times[len(times) // 2 :], [h.own for h in found[len(found) // 2 :]]
    half = len(t) // 2
    return round(statistics.median((own[k + half] - own[k]) / (t[k + half] - t[k]) for k in range(len(t) - half)) * 60 / 1024, 1)


def soak(seconds: float, tell: Tell, *, devices: int = 16, watches: Sequence[str] = tuple(WATCHES)) -> dict[str, Any]:
    """Full load on ``devices`` loggers with every one of ``watches``, and a blow on one of them in every chunk.

    Not on all of them: an alarm that cleared and was never handled is kept (alarms/episodes.py, the newest 100,000), which is
    growth that is meant.
    """
    bridge = Bridge(devices=devices, watches=tuple(watches))
    with tempfile.TemporaryDirectory(prefix="ll", ignore_cleanup_errors=True) as name:
        text = bridge.text(Path(name) / "data", ["tcp://127.0.0.1:0"] * 3)
        service = Child(service_main, text.replace("[service]\n", f"[service]\njournal_mib = {JOURNAL_MIB}\n", 1))
        try:
            sender = Sender(bridge, {"service": (zmq.DEALER, service.said["ingest"])})
            try:
                return _loaded(service, sender, seconds, tell)
            finally:
                sender.close()
        finally:
            service.close()


def _loaded(service: Child, sender: Sender, seconds: float, tell: Tell) -> dict[str, Any]:
    devices = sender.bridge.devices
    n = CHUNK // devices * devices
    samples, begun, busy, told, sent = Samples(service), time.monotonic(), 0.0, 0.0, 0
    waits = acks = chunk = 0
    while time.monotonic() - begun < seconds:
        plant = np.zeros(n, np.uint8)
        plant[n // 2 // devices * devices + chunk % devices] = 1
        chunk += 1
        sender.make(n, plant)
        started = time.monotonic()
        sender.begin("service")
        run = sender.result()
        expect("frames refused", run.refused, 0)
        busy += time.monotonic() - started
        sent, waits, acks = sent + n, waits + run.waits, acks + run.acks
        if time.monotonic() - told > 30:
            told, now = time.monotonic(), samples.found[-1]
            tell(f"{told - begun:.0f} s, {sent:,} frames, own {now.own >> 20} MiB, {now.descriptors} files open")
    took = time.monotonic() - begun
    samples.stop()
    with FeedClient(service.said["feed"], timeout=120.0) as feed:
        stats = feed.stats()
    want = {"frames": sent, "samples": sent * CHANNELS * RATE, "gaps": 0, "refused": {}, "detector_errors": 0}
    expect("what came through", {k: stats[k] for k in want}, want)
    if not stats["alarms"]:
        raise Broken("no alarm was raised: the blows were not met, so this was no full load")
    return {
        "seconds": round(took), "frames": sent, "frames_per_s": round(sent / took), "busy": round(busy / took, 2),
        "credit_waits": waits, "acks": acks, "alarms": stats["alarms"], **judge(samples.found),
        "own_slope_kib_per_min": slope(samples.times, samples.found),
    }  # fmt: skip
