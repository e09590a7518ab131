"""Full load for a long time: what the service holds must stop growing.

::

    a third           two thirds
    [ fills, warms   ][ b b b b b b b b b b b b b b ]     30 blocks, of ten seconds at least; of each the mean of what is in use

"In use" is what was asked of malloc and not given back (mallinfo2), and the blocks of Python's own allocator. The slope over the
blocks is the median of the slopes of all pairs (Theil 1950), its 95 % interval is Sen's (1968). The run is flat where even the
upper end of that interval, over the whole stretch, comes to no more than 2 % + 4 MiB of malloc (24 MiB in a run shorter than ten
minutes, in which snapshots and captures do not even out and only a loss with every frame would show) and 2 % of the blocks, beside
those of the alarms raised meanwhile, the last of which are kept. A run of less than two minutes has too few blocks for a slope:
there the mean of the last third is held against that of the middle one.

"Own" memory is anonymous (``Anonymous`` of smaps_rollup): what is in use, and what threads have left lying free within the process
until it is given back, every ten seconds or so. It is judged by the same rule, the least in a block for the mean, and its most is
bounded: one and a half times its level and 24 MiB. It swings by a third between two looks, so its slope is far less sure.

The journal's memory maps are pages of files (``RssFile``), which the kernel takes back when it likes; they are told apart and
bounded by the journal's budget. Queues, files, threads and the disk have bounds of their own (`bounded`).
"""

from __future__ import annotations

import itertools
import math
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zmq

from bench.bridge import CHANNELS, RATE, WATCHES, Bridge
from bench.ends import service_main
from bench.sender import Sender
from lifeline_core.config import read_city
from lifeline_core.service import FeedClient
from lifeline_core.service.runner import ALARMS_AHEAD
from tests.faults.child import Child, Held
from tests.faults.course import Broken, expect

Tell = Callable[[str], None]

CHUNK = 32_000  # frames of one sending; the time between, in which they are made, is told (`busy`)
STRUCK = 4  # a blow in one of so many sendings: finished alarms are kept (alarms/episodes.py), growth that is meant
ALARM_BLOCKS = 64  # of Python's allocator for one that is kept, at most; 44 for one of the blows
BLOCKS, FEWEST, BLOCK_S = 30, 8, 10.0
SHARE, ROOM = 0.02, 4 << 20
LONG_S, ROOM_SHORT = 600.0, 24 << 20
MOST = 1.5  # times the level of own memory: free memory that was not yet given back
LOOSE = 2  # files and threads that come and go
SIGMA = 1.96
JOURNAL_MIB = 512  # so that segments are used again within the first third of the short form, too
OUTBOX_MIB = 64
ASK_S = 5.0  # between two questions for queues and disk


@dataclass(frozen=True)
class Queues:
    """What waits, by the service's own count, and bytes on the disk."""

    backlog: float
    lag_bytes: float
    journal_bytes: float
    disk: int


class InUse(NamedTuple):
    """Bytes of malloc, blocks of Python's allocator."""

    malloc: int
    blocks: int


class Growth(NamedTuple):
    """Bytes a second, and the ends of its 95 % interval."""

    slope: float
    low: float
    high: float


def growth(t_s: Sequence[float], x: Sequence[float]) -> Growth:
    """Slope of x over t: median of the slopes of all pairs (Theil 1950) and its interval (Sen 1968, with Kendall's variance)."""
    n = len(t_s)
    if n < 8:
        raise ValueError(f"a slope with an interval takes 8 points at least, not {n}")
    slopes = sorted((x[j] - x[i]) / (t_s[j] - t_s[i]) for i in range(n) for j in range(i + 1, n))
    half = SIGMA * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low, high = round((len(slopes) - half) / 2), round((len(slopes) + half) / 2)
    return Growth(statistics.median(slopes), slopes[max(0, low)], slopes[min(len(slopes) - 1, high)])


class Soaked(Child):
    """Tells what of its memory is of no file."""

    def in_use(self) -> InUse:
        """Raises OSError where the process is gone."""
        try:
            return InUse(*self.ask("memory"))
        except (RuntimeError, TimeoutError) as error:
            raise OSError(str(error)) from error

    def anonymous(self) -> int:
        """Bytes. Raises OSError where the process is gone."""
        for line in Path(f"/proc/{self._process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) << 10
        raise OSError("smaps_rollup has no Anonymous")

    def lives(self) -> bool:
        return self._process.is_alive()


class Samples:
    """Looks at a process once a second until it is stopped, and asks it for its queues now and then."""

    def __init__(self, child: Soaked, metrics: str, data_dir: Path) -> None:
        self.times: list[float] = []
        self.own: list[int] = []
        self.used: list[InUse] = []
        self.held: list[Held] = []
        self.queues: list[Queues] = []
        self._child, self._metrics, self._data_dir, self._ended = child, metrics, data_dir, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        begun, asked = time.monotonic(), 0.0
        while not self._ended.wait(max(0.0, len(self.times) - (time.monotonic() - begun))):
            try:
                own, held, used = self._child.anonymous(), self._child.held(), self._child.in_use()
                if time.monotonic() - asked >= ASK_S:
                    asked = time.monotonic()
                    self.queues.append(queues(self._metrics, self._data_dir))
            except OSError:
                if not self._child.lives():
                    return
                continue
            self.own.append(own)
            self.used.append(used)
            self.held.append(held)
            self.times.append(time.monotonic() - begun)

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()


def queues(metrics: str, data_dir: Path) -> Queues:
    """From ``/metrics``, and from what the files take on the disk. Raises OSError where it does not answer."""
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10) as answer:
        rows = (line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#"))
        said = {name: float(value) for name, value in rows}
    disk = 0
    for path in data_dir.rglob("*"):
        try:
            disk += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return Queues(said["lifeline_backlog"], said["lifeline_lag_bytes"], said["lifeline_journal_bytes"], disk)


class Trend(NamedTuple):
    """What was read of each block, their median, and how it grew."""

    level: float
    growth: Growth


def _trend(t_s: Sequence[float], x: Sequence[float], read: Callable[[Sequence[float]], float]) -> Trend:
    """Of blocks of the last two thirds; of so few that they have no slope, with no interval."""
    n = len(x)
    stretch = t_s[-1] - t_s[n // 3]
    blocks = min(BLOCKS, int(stretch / BLOCK_S))
    if blocks < FEWEST:
        blocks = 2
    cuts = [n // 3 + (n - n // 3) * k // blocks for k in range(blocks + 1)]
    parts = [slice(a, b) for a, b in itertools.pairwise(cuts)]
    each = [read(x[p]) for p in parts]
    level = statistics.median(each)
    if blocks >= FEWEST:
        return Trend(level, growth([statistics.fmean(t_s[p]) for p in parts], each))
    slope = (each[1] - each[0]) / stretch
    return Trend(level, Growth(slope, slope, slope))


def judge(t_s: Sequence[float], used: Sequence[InUse], own: Sequence[float], alarms: int) -> dict[str, float]:
    """Whether memory stays, by the rule above. Raises Broken where it grows, or where that cannot be told."""
    n = len(own)
    if n < 30:
        raise Broken(f"{n} looks at the service are too few to judge it by: 30 at least")
    stretch, long = t_s[-1] - t_s[n // 3], t_s[-1] >= LONG_S
    used_is = _trend(t_s, [float(u.malloc) for u in used], statistics.fmean)
    own_is = _trend(t_s, own, min)
    blocks = _trend(t_s, [float(u.blocks) for u in used], statistics.fmean)
    more, meant = blocks.growth.high * stretch, SHARE * statistics.fmean(u.blocks for u in used) + ALARM_BLOCKS * alarms
    said = {"own_most_mib": _mib(max(own)), "blocks_more_at_most": round(more), "blocks_allowed": round(meant)}
    broken = []
    for name, trend in (("used", used_is), ("own", own_is)):
        room, most = SHARE * trend.level + ROOM if long else ROOM_SHORT, trend.growth.high * stretch
        said |= {f"{name}_mib": _mib(trend.level), f"{name}_grown_mib_at_most": _mib(most), f"{name}_allowed_mib": _mib(room)}
        for end in Growth._fields:
            said[f"{name}_kib_per_min_{end}"] = round(getattr(trend.growth, end) * 60 / 1024, 1)
        if most > room:
            broken.append(f"{name} memory may have grown by more than {_mib(room)} MiB in {stretch:.0f} s")
    if more > meant:
        broken.append(f"Python's blocks may have become {more:.0f} more in {stretch:.0f} s, {meant:.0f} are allowed")
    if max(own[n // 3 :]) > MOST * own_is.level + ROOM_SHORT:
        broken.append(f"own memory rose to more than {MOST} times its level + {ROOM_SHORT >> 20} MiB")
    if broken:
        raise Broken(f"{'; '.join(broken)}: {said}")
    return said


def bounded(held: Sequence[Held], asked: Sequence[Queues], disk: int) -> dict[str, float]:
    """The other bounds: files and threads do not become more, queues and the ``disk`` (bytes) stay within theirs."""
    if not asked:
        raise Broken("the service never told its queues")
    third = len(held) // 3
    said: dict[str, float] = {}
    for name in ("descriptors", "threads"):
        was, now = (statistics.median(getattr(h, name) for h in part) for part in (held[third : 2 * third], held[2 * third :]))
        said[name] = now
        if now > was + LOOSE:
            raise Broken(f"{name} grew from {was} to {now}")
    journal = JOURNAL_MIB << 20
    bounds = {"backlog": ALARMS_AHEAD, "lag_bytes": journal, "journal_bytes": journal, "disk": disk}
    for name, bound in bounds.items():
        most = max(getattr(q, name) for q in asked)
        if most > bound:
            raise Broken(f"{name} rose to {most:.0f}, its bound is {bound}")
        said[f"{name}_most"] = most
    return said | {"files_mib": _mib(statistics.median(h.files for h in held[third:]))}


def _mib(size: float) -> float:
    return round(size / 2**20, 2)


def soak(seconds: float, tell: Tell, *, devices: int = 16, watches: Sequence[str] = tuple(WATCHES)) -> dict[str, Any]:
    """Full load on ``devices`` loggers with every one of ``watches``, and now and then a blow on one of them."""
    bridge = Bridge(devices=devices, watches=tuple(watches))
    with tempfile.TemporaryDirectory(prefix="ll", ignore_cleanup_errors=True) as name:
        data_dir = Path(name) / "data"
        text = bridge.text(data_dir, ["tcp://127.0.0.1:0"] * 3)
        text = text.replace("[service]\n", f"[service]\njournal_mib = {JOURNAL_MIB}\n", 1)
        service = Soaked(service_main, text)
        try:
            sender = Sender(bridge, {"service": (zmq.DEALER, service.said["ingest"])})
            try:
                samples = Samples(service, service.said["metrics"], data_dir)
                run = _loaded(service, sender, seconds, tell, samples)
            finally:
                sender.close()
        finally:
            service.close()
    settings = read_city(text).service
    disk = (settings.journal_mib + settings.evidence_mib + settings.dead_letter_mib + OUTBOX_MIB) << 20
    largest = max(samples.own)  # no snapshot is larger than the process; three stand while one is written
    flat = judge(samples.times, samples.used, samples.own, run["alarms"])
    return run | flat | bounded(samples.held, samples.queues, disk + 3 * largest)


def _loaded(service: Soaked, sender: Sender, seconds: float, tell: Tell, samples: Samples) -> dict[str, Any]:
    devices = sender.bridge.devices
    n = CHUNK // devices * devices
    begun, busy, told, sent = time.monotonic(), 0.0, 0.0, 0
    waits = acks = chunk = 0
    while time.monotonic() - begun < seconds:
        plant = np.zeros(n, np.uint8)
        if chunk % STRUCK == 0:
            plant[n // 2 // devices * devices + chunk // STRUCK % devices] = 1
        chunk += 1
        sender.make(n, plant)
        started = time.monotonic()
        sender.begin("service")
        run = sender.result()
        expect("frames refused", run.refused, 0)
        busy += time.monotonic() - started
        sent, waits, acks = sent + n, waits + run.waits, acks + run.acks
        if time.monotonic() - told > 30 and samples.own:
            told = time.monotonic()
            now = samples.held[-1]
            tell(f"{told - begun:.0f} s, {sent:,} frames, own {samples.own[-1] >> 20} MiB, {now.descriptors} files open")
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
        "credit_waits": waits, "acks": acks, "alarms": stats["alarms"],
    }  # fmt: skip
