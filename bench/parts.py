"""Parts of the path by themselves: the engine, each detector in it, the journal."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.bridge import Bridge
from bench.sender import Maker
from lifeline_core.config import read_city
from lifeline_core.engine import Engine
from lifeline_core.model import NS
from lifeline_core.store.journal import FRAME, Journal

BATCHES = (1, 16, 256, 1024)


class EngineAlone:
    """`Engine.push_batch` in this process, on frames that go on from call to call."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.engine = Engine(read_city(bridge.text(Path("unused"), ["tcp://127.0.0.1:0"] * 3)))
        self.maker = Maker(bridge, t0_ns=1_790_000_000 * NS)

    def batches(self, n: int, size: int) -> list[tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]]:
        bytes_each = self.bridge.frame_bytes
        lengths, offsets = np.full(size, bytes_each, np.int64), np.arange(size, dtype=np.int64) * bytes_each
        frames = self.maker.make(n // size * size).reshape(-1, size * bytes_each)
        return [(batch, offsets, lengths) for batch in frames]

    def push(self, batches: list[tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]]) -> None:
        for batch in batches:
            self.engine.push_batch(*batch)
            self.engine.take_receipts()

    def us_per_frame(self, n: int, size: int) -> float:
        """Processor time, so that what else runs on the machine counts little."""
        batches = self.batches(n, size)
        began = time.thread_time()
        self.push(batches)
        return (time.thread_time() - began) / (len(batches) * size) * 1e6


class DecodeAlone:
    """The engine with nothing to watch: order, CRC, counts to samples, into the channels' rings."""

    def __init__(self, bridge: Bridge, frames: int = 8192, size: int = 1024) -> None:
        self._alone = EngineAlone(dataclasses.replace(bridge, watches=(), health=False))
        self._frames, self._size = frames, size

    def us_per_frame(self) -> float:
        """Of the next frames."""
        return self._alone.us_per_frame(self._frames, self._size)


def engine_alone(bridge: Bridge, n: int) -> dict[str, Any]:
    """us a frame for each batch size. By least squares: what a call costs whatever is in it (Python, once for each watch), and what
    each frame adds to that (compiled code, and the ends of bins, which are Python too)."""
    alone = EngineAlone(bridge)
    alone.us_per_frame(2048, 256)
    us = {size: alone.us_per_frame(max(2048, min(n, 2000 * size)), size) for size in BATCHES}
    sizes = [size for size in BATCHES if size >= bridge.devices]
    slope, fixed = np.polyfit(sizes, [us[s] * s for s in sizes], 1, w=[1 / (us[s] * s) for s in sizes])
    share = {size: float(fixed) / size for size in BATCHES}
    return {"us_per_frame": us, "us_per_call": float(fixed), "us_per_further_frame": float(slope), "call_us_per_frame": share}


def by_detector(bridge: Bridge, n: int) -> dict[str, float]:
    """us a frame of what one watch a device costs by itself, the frames' own share taken off."""

    def cost(**watched: Any) -> float:
        alone = EngineAlone(dataclasses.replace(bridge, **watched))
        alone.us_per_frame(2048, 256)
        return min(alone.us_per_frame(n, 1024) for _ in range(2))

    frames = cost(watches=(), health=False)
    found = {name: cost(watches=(name,), health=False) - frames for name in bridge.watches}
    if bridge.health:
        found["health"] = cost(watches=(), health=True) - frames
    return {"frames: CRC, order, scaling": frames, **found}


def journal_alone(bridge: Bridge, n: int, size: int = 1024) -> dict[str, float]:
    """us a frame for append_batch and for reading it all again."""
    alone = EngineAlone(bridge)
    batches = alone.batches(n, size)
    sources = np.ones(size, np.uint32)
    with tempfile.TemporaryDirectory(prefix="ll") as name, Journal(name, budget_bytes=1 << 30) as journal:
        began = time.perf_counter()
        for buf, offsets, lengths in batches:
            journal.append_batch(FRAME, buf, offsets, lengths, sources)
        appended = time.perf_counter()
        position, records = 0, 0
        while position < journal.end:
            read = journal.read(position)
            records, position = records + len(read), read.next
        ended = time.perf_counter()
        assert records == len(batches) * size
    return {"append_us": (appended - began) / records * 1e6, "read_us": (ended - appended) / records * 1e6}
