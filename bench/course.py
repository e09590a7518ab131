"""A service, a bare loop and a sender at work: turns of the same frames, and the latency of alarms."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from bench.bridge import CHANNELS, RATE, Bridge
from bench.disk import Probe
from bench.ends import End, bare_main, loop_main, service_main
from bench.parts import DecodeAlone
from bench.sender import Run, Sender
from bench.threads import Turn, ahead, shares, spent
from lifeline_core.model import NS, Alarm
from lifeline_core.service import FeedClient, LiveView

PLANTED_PER_S = 20.0  # blows a second of the clock while latency is measured: for a logger one in an hour or so of its own time
FLOOD_PER_S = 50.0  # and where alarms themselves are the load
AHEAD = -15  # nice value of what stands for other machines while latency is measured
PATIENCE_S = 120.0
SETTLED_S = 0.02  # and within it less than a tenth of processor time: the turn's work is done
WARM_BYTES = 832 << 20  # the journal keeps half of its 1 GiB, and a quarter until the next snapshot, before it uses a segment again


class Course:
    """A service, a bare loop and a sender at work, for as many turns as are wanted."""

    def __init__(self, bridge: Bridge, directory: Path, *, transport: str = "tcp", connections: int | None = None) -> None:
        self.bridge, self.directory = bridge, directory
        self.sent = 0  # frames the service was given
        self.services: list[float] = []
        self.bares: list[float] = []
        self.rounds: list[Turn] = []
        self.threads: dict[str, dict[str, float]] = {}  # of the last turn of each end, us a frame
        self.runs: list[Run] = []
        self._decode = DecodeAlone(bridge)
        self._open = ExitStack()

        def address(name: str) -> str:
            return "tcp://127.0.0.1:*" if transport == "tcp" else f"ipc://{directory / name}"

        text = bridge.text(directory / "data", [address(name).replace("*", "0") for name in ("ingest", "alarms", "feed")])
        self.service = self._keep(End(service_main, text))
        self.bare = self._keep(End(bare_main, address("bare")))
        self.loop = self._keep(End(loop_main, address("loop")))
        lines = {
            "service": (zmq.DEALER, self.service.said["ingest"]),
            "bare": (zmq.PUSH, self.bare.said),
            "loop": (zmq.DEALER, self.loop.said),
        }
        self.sender = self._keep(Sender(bridge, lines, connections=connections))
        self.live = self._keep(LiveView(self.service.said["alarms"]))
        self.feed = self._keep(FeedClient(self.service.said["feed"], timeout=60.0))
        time.sleep(0.3)  # until the live view's subscription has arrived

    def _keep(self, thing: Any) -> Any:
        self._open.callback(thing.close)
        return thing

    def close(self) -> None:
        self._open.close()

    # ---- turns ----

    def make(self, n: int) -> None:
        """The frames of one turn, a blow in every device's last but one."""
        plant = np.zeros(n, np.uint8)
        plant[n - 2 * self.bridge.devices : n - self.bridge.devices] = 1
        self.sender.make(n, plant)
        self.n = n

    def service_turn(self) -> float:
        """Seconds from the first frame to the last device's alarm."""
        before, wanted = self.service.ask("threads"), set(range(self.bridge.devices))
        second = self.sender.t0_ns + (self.sender.made - 2) * NS
        heard = 0
        self.sender.begin("service")
        while wanted:
            alarm, heard = self._next_alarm()
            if self._is_blow(alarm) and abs(alarm.onset_ns - second) < NS:
                wanted.discard(_device(alarm))
        run = self.sender.result()
        assert run.refused == 0, f"{run.refused} frames were refused"
        self._settle("service", before)
        self.sent += self.n
        self.runs.append(run)
        self.services.append((heard - run.first_ns) / NS)
        return self.services[-1]

    def bare_turn(self, end: str = "bare") -> float:
        """Seconds from the first frame to the last one received, by a loop that only receives."""
        receiving: End = getattr(self, end)
        before = receiving.ask("threads")
        assert receiving.ask(self.n) == "ready"
        self.sender.begin(end, acks=False)
        ended = receiving.hear()
        seconds: float = (ended - self.sender.result().first_ns) / NS
        self._settle(end, before)
        if end == "bare":
            self.bares.append(seconds)
        return seconds

    def _settle(self, end: str, before: dict[str, float]) -> None:
        """What the threads of an end took, once what a turn leaves behind is done: it must not lie on the next one."""
        receiving: End = getattr(self, end)
        after = receiving.ask("threads")
        for _ in range(100):
            time.sleep(SETTLED_S)
            last, after = after, receiving.ask("threads")
            if sum(spent(last, after).values()) < SETTLED_S / 10:
                break
        self.threads[end] = {name: seconds / self.n * 1e6 for name, seconds in spent(before, after).items()}

    def warm_up(self, n: int) -> None:
        """Turns that do not count, until the journal recycles its segments: a service is in that state for all its life."""
        while self.sent * self.bridge.frame_bytes < WARM_BYTES:
            self.make(n)
            self.service_turn()
        self.bare_turn()
        self._decode.us_per_frame()
        self.services, self.bares, self.runs, self.rounds = [], [], [], []

    def turns(self, n: int, rounds: int) -> None:
        """A B, B A, A B: whatever drifts meets both alike."""
        for k in range(rounds):
            self.make(n)
            for turn in (self.service_turn, self.bare_turn)[:: 1 if k % 2 == 0 else -1]:
                turn()
            self.note()

    def note(self) -> None:
        """A turn of each is over."""
        self.rounds.append(self._turn())

    def _turn(self) -> Turn:
        """What the threads of both took last, and the decoding of as many frames, belong together."""
        return Turn(self.threads["service"], self.threads["bare"], self._decode.us_per_frame())

    def _frames_in(self, rate: float, seconds: float) -> int:
        """A whole number of seconds of all devices."""
        d = self.bridge.devices
        return max(64, int(rate * seconds) // d) * d

    # ---- the same pace for both ----

    def pace(self, rate: float, seconds: float, rounds: int) -> dict[str, Any]:
        """What the threads of both take of frames that come at ``rate`` a second, in turns."""
        self.n = n = self._frames_in(rate, seconds)
        turns = []
        for k in range(rounds):
            self.sender.make(n)
            for end in ("service", "bare")[:: 1 if k % 2 == 0 else -1]:
                self._paced_turn(end, rate)
            turns.append(self._turn())
            self.sent += n
        return {"frames_per_s": rate, "frames": n, "rounds": rounds, **shares(turns)}

    def _paced_turn(self, end: str, rate: float) -> None:
        receiving: End = getattr(self, end)
        before = receiving.ask("threads")
        if end == "bare":
            assert receiving.ask(self.n) == "ready"
        self.sender.begin(end, acks=end == "service", rate=rate)
        run = self.sender.result()
        if end == "bare":
            receiving.hear()
        assert run.refused == 0, f"{run.refused} frames were refused"
        self._settle(end, before)

    # ---- latency ----

    def latency(self, rate: float, seconds: float, *, busy: bool, blows_per_s: float = PLANTED_PER_S) -> dict[str, Any]:
        """Milliseconds from the frame an alarm became possible with, handed to ZeroMQ, to the alarm out of the live view.

        The sender and this process, which hears the alarms, stand for machines of their own: where they may, they run before
        everything else, so that what they wait for a core is not counted as the service's. Told beside it: an fdatasync on the
        same disk meanwhile, for an alarm is published behind one.
        """
        with ahead([os.getpid(), self.sender.pid], AHEAD), Probe(self.directory, PLANTED_PER_S) as disk:
            found = self._latency(rate, seconds, busy, blows_per_s)
        return found | {"disk_p50_ms": float(np.percentile(disk.ms, 50)), "disk_p99_ms": float(np.percentile(disk.ms, 99))}

    def _latency(self, rate: float, seconds: float, busy: bool, blows_per_s: float) -> dict[str, Any]:
        d, n = self.bridge.devices, self._frames_in(rate, seconds)
        step = max(32 // d + 1, int(rate / blows_per_s) // d) * d + 1  # the next device each time, the same after `step` seconds
        plant = np.zeros(n, np.uint8)
        plant[30 * d : n - 4 * d : step] = 1  # the turn before ended with a blow, which takes some seconds to be over
        first_second = self.sender.made
        self.sender.make(n, plant)
        self.n = n
        if busy:
            self.service.tell("busy")
        self.sender.begin("service", rate=rate, stamps=True)
        arrived = []
        for _ in range(int(plant.sum())):
            while True:
                alarm, now = self._next_alarm()
                if self._is_blow(alarm):
                    break
            arrived.append((alarm, now))
        if busy:
            self.service.tell("calm")
        run = self.sender.result()
        self.sent += n
        assert run.sent_ns is not None
        ms = []
        for alarm, now in arrived:
            at = ((alarm.detected_ns - self.sender.t0_ns) // NS - first_second) * d + _device(alarm)
            ms.append((now - int(run.sent_ns[at])) / 1e6)
        p50, p99, most = (float(np.percentile(ms, q)) for q in (50, 99, 100))
        rate_kept = n / ((run.last_ns - run.first_ns) / NS)
        said = {"busy": busy, "frames_per_s": rate_kept, "blows_per_s": blows_per_s, "alarms": len(ms)}
        return said | {"p50_ms": p50, "p99_ms": p99, "max_ms": most}

    def _next_alarm(self) -> tuple[Alarm, int]:
        said = self.live.next(PATIENCE_S)
        now = time.monotonic_ns()
        if said is None:
            raise AssertionError(f"no alarm for {PATIENCE_S} s; the service says {self.service.ask('failure')!r}")
        return said[1], now

    def _is_blow(self, alarm: Alarm) -> bool:
        return alarm.kind == "shock" and alarm.revision == 1

    # ---- the truth ----

    def check(self) -> dict[str, Any]:
        """The counters of the feed against what was sent."""
        stats = self.feed.stats()
        clean = {k: stats[k] for k in ("frames", "samples", "gaps", "lost_frames", "duplicates", "refused", "detector_errors")}
        want = {"frames": self.sent, "samples": self.sent * CHANNELS * RATE, "gaps": 0, "lost_frames": 0, "duplicates": 0}
        assert clean == {**want, "refused": {}, "detector_errors": 0}, f"{clean} is not what was sent: {want}"
        return stats

    def figures(self) -> dict[str, Any]:
        n, samples = self.n, CHANNELS * RATE
        ratios = [b / s for s, b in zip(self.services, self.bares, strict=True)]
        service, bare = statistics.median(self.services), statistics.median(self.bares)
        return {
            "frames": n,
            "rounds": len(ratios),
            "service_frames_per_s": n / service,
            "service_samples_per_s": n * samples / service,
            "bare_frames_per_s": n / bare,
            "bare_samples_per_s": n * samples / bare,
            "ratio": statistics.median(ratios),
            "ratios": ratios,
            "service_s": self.services,
            "bare_s": self.bares,
            "credit_waits_per_turn": statistics.median(r.waits for r in self.runs),
            "acks_per_turn": statistics.median(r.acks for r in self.runs),
            **shares(self.rounds),
        }


def _device(alarm: Alarm) -> int:
    """Which device, from the watch's name."""
    return int(alarm.watch.rpartition("-")[2])


@contextmanager
def opened(bridge: Bridge, **options: Any) -> Iterator[Course]:
    with tempfile.TemporaryDirectory(prefix="ll") as name:
        path = Course(bridge, Path(name), **options)
        try:
            yield path
        finally:
            path.close()
