"""A small city behind a real service: a well with limits, a slow sensor, and how to make them speak."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from lifeline_core import wire
from lifeline_core.config import read_city
from lifeline_core.model import NS, City
from lifeline_core.service import Device, FeedClient, Service

T0 = 1_790_000_000 * NS
N = 10  # samples of a frame: one second at 10 Hz
DEVICE, WELL, SLOW = 7, 0, 1

CITY = """
[service]
ingest = "{ingest}"
alarms = "{alarms}"
feed = "{feed}"
metrics = "127.0.0.1:0"
data_dir = "{data_dir}"
journal_mib = 16
snapshot_s = 1.0
max_frame_kib = 64
health = false

[site.north]
domain = "water"

[channel.well]
site = "north"
device = 7
channel = 0
unit = "kPa"
rate_hz = 10.0

[channel.slow]
site = "north"
device = 7
channel = 1
unit = "kPa"

[watch.well-high]
site = "north"
channels = ["well"]
detector = "level"
limits = [ {{severity = 2, above = 25.0}}, {{severity = 4, above = 50.0}} ]

[watch.slow-high]
site = "north"
channels = ["slow"]
detector = "level"
limits = [ {{severity = 3, above = 10.0}} ]
"""


def city_text(data_dir: Path, endpoint: str = "tcp://127.0.0.1:0", ipc: Path | None = None) -> str:
    """With three addresses under ``ipc`` where they must stay the same over a restart."""
    names = ("ingest", "alarms", "feed")
    ends = {name: f"ipc://{ipc / name}" if ipc else endpoint for name in names}
    return CITY.format(data_dir=data_dir, **ends)


def make_city(data_dir: Path, **service: Any) -> City:
    city = read_city(city_text(data_dir))
    return msgspec.structs.replace(city, service=msgspec.structs.replace(city.service, **service))


def level(second: int) -> float:
    """kPa in this second: two of three quiet, every third above a limit, every ninth above both."""
    return 1.0 if second % 3 else 60.0 if second % 9 == 0 else 30.0


def frame(second: int, *, epoch: int = 1, device: int = DEVICE, value: float | None = None, **fields: Any) -> bytes:
    """The frame of one second; seq is the second."""
    samples = np.full((1, N), level(second) if value is None else value, np.float32)
    said = {"seq": second, "sample_index": N * second, "t0_ns": T0 + second * NS, "rate": N, "channel": WELL, **fields}
    return wire.pack(samples, device=device, epoch=epoch, **said)


def send_second(device: Device, second: int, value: float | None = None) -> None:
    """The same from a `Device`, which counts for itself."""
    samples = np.full((1, N), level(second) if value is None else value, np.float32)
    device.send(samples, T0 + second * NS, rate=N)


def read_all(feed: FeedClient) -> list[Any]:
    alarms, after = [], 0
    while True:
        page, after = feed.read(after=after, max=1000)
        if not page:
            return alarms
        alarms += page


def until(condition: Callable[[], Any], timeout: float = 15.0, what: str = "") -> Any:
    end = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < end, what or "it did not happen in time"
        time.sleep(0.02)
    return found


@contextmanager
def running(city: City, **options: Any) -> Iterator[Service]:
    service = Service(city, **options)
    service.start()
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose name is short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="ll") as name:
        yield Path(name)
