"""Very many connected devices at once: all get in, all are answered, and what one costs is told.

::

    clients (a few processes)        service (one process)
    raw ZMTP connections, epoll  ->  ROUTER -> journal -> engine (a level watch for each device)
    <- acknowledgements -------------'

Each device sends a frame of one second of samples every ``every_s``, spread evenly over that time. Before that all are
connected and silent for a while, and what the service costs then is told (``idle_percent`` of a core).
"""

from __future__ import annotations

import select
import tempfile
import time
import urllib.request
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from bench.ends import service_main
from lifeline_core import wire
from lifeline_core.model import NS
from lifeline_core.service import FeedClient
from tests.faults.child import Child, open_files
from tests.faults.course import Broken, expect
from tests.faults.zmtp import Peer

Tell = Callable[[str], None]

AT_ONCE = 256  # handshakes under way in one process
RATE = 10  # Hz
SPARE_FILES = 300  # what a process holds beside its connections
PATIENCE_S = 60.0
IDLE_S = 5.0
LIMIT = "{severity = 2, above = 25.0}"


def city(n: int, data_dir: Path, ends: list[str]) -> str:
    """``n`` devices of one channel with one watch each."""
    ingest, alarms, feed = ends
    lines = [
        f'[service]\ningest = "{ingest}"\nalarms = "{alarms}"\nfeed = "{feed}"\nmetrics = "127.0.0.1:0"\ndata_dir = "{data_dir}"',
        '[site.north]\ndomain = "water"',
    ]
    for k in range(n):
        lines.append(f'[channel.c{k}]\nsite = "north"\ndevice = {k}\nchannel = 0\nunit = "kPa"\nrate_hz = {RATE}.0')
        lines.append(f'[watch.w{k}]\nsite = "north"\nchannels = ["c{k}"]\ndetector = "level"\nlimits = [{LIMIT}]')
    return "\n".join(lines) + "\n"


class Client:
    """The connections of one process, ``first`` to ``first + n`` - 1."""

    def __init__(self, address: str, first: int, n: int, every_s: float) -> None:
        self.address, self.first, self.n, self.every_s = address, first, n, every_s
        self.peers: list[Peer] = []
        self.by_file: dict[int, int] = {}
        self.sent = [0] * n
        self.acked = [-1] * n
        self.times: list[deque[tuple[int, float]]] = [deque() for _ in range(n)]  # (seq, when) not yet acknowledged
        self.latencies: list[tuple[bool, float]] = []  # of a stream's first frame or a later one, seconds
        self.refused = self.gone = 0
        self.epoll = select.epoll()
        self.samples = np.ones((1, RATE), np.float32)
        self.t0_ns = time.time_ns() // NS * NS
        self.epoch = int(time.time()) & 0xFFFF_FFFF

    def connect(self) -> int:
        """How many got through their handshake."""
        until, waiting, done = time.monotonic() + PATIENCE_S, set[int](), 0
        while (done < self.n or waiting) and time.monotonic() < until:
            while len(self.peers) < self.n and len(waiting) < AT_ONCE:
                k = len(self.peers)
                peer = Peer(self.address, f"device-{self.first + k}".encode())
                self.peers.append(peer)
                self.by_file[peer.fileno()] = k
                self.epoll.register(peer.fileno(), select.EPOLLIN | select.EPOLLOUT)
                waiting.add(k)
            for k in self._ready(0.05):
                if k in waiting and (self.peers[k].shaken or self.peers[k].gone):
                    waiting.discard(k)
                    done += 1
            if not waiting and len(self.peers) == self.n:
                break
        return sum(peer.shaken for peer in self.peers)

    def _ready(self, wait_s: float) -> list[int]:
        """Handle what came; the connections looked at."""
        found = []
        for file, _ in self.epoll.poll(wait_s):
            k = self.by_file[file]
            peer = self.peers[k]
            peer.flush()
            bodies = peer.messages()
            if not peer.shaken and not peer.waits:  # the greeting is out: now it is the service's turn
                self.epoll.modify(file, select.EPOLLIN)
            now = time.monotonic()
            for body in bodies:
                self._hear(k, msgpack.unpackb(body), now)
            if peer.gone:
                self.gone += 1
                self.epoll.unregister(file)
            found.append(k)
        return found

    def _hear(self, k: int, said: dict[str, Any], now: float) -> None:
        if "refused" in said:
            self.refused += 1
            return
        self.acked[k] = max(self.acked[k], said.get("ack", -1))
        times = self.times[k]
        while times and times[0][0] <= self.acked[k]:
            seq, then = times.popleft()
            self.latencies.append((seq == 0, now - then))

    def _say(self, k: int) -> None:
        seq = self.sent[k]
        told = {"seq": seq, "sample_index": RATE * seq, "t0_ns": self.t0_ns + seq * NS, "rate": RATE, "epoch": self.epoch}
        frame = wire.pack(self.samples, device=self.first + k, **told)  # type: ignore[arg-type]
        self.sent[k] = seq + 1
        self.times[k].append((seq, time.monotonic()))
        self.peers[k].send(frame)

    def talk(self, seconds: float) -> dict[str, Any]:
        """Whole rounds of frames, then wait for the last acknowledgement."""
        rounds = max(2, round(seconds / self.every_s))
        begun, said, total, late = time.monotonic(), 0, rounds * self.n, 0.0
        while said < total:
            due = min(total, int((time.monotonic() - begun) / self.every_s * self.n) + 1)
            late = max(late, (due - said) / self.n * self.every_s)
            while said < due:
                self._say(said % self.n)
                said += 1
                if said % 64 == 0:
                    self._ready(0)
            self._ready(0.001)
        ended = time.monotonic()
        while sum(self.sent) > sum(self.acked) + self.n and time.monotonic() < ended + PATIENCE_S:
            self._ready(0.05)
        return {
            "sent": sum(self.sent), "acked": sum(self.acked) + self.n, "refused": self.refused, "gone": self.gone,
            "seconds": ended - begun, "late_s": late, "latencies": np.array(self.latencies),
        }  # fmt: skip


def client_main(pipe: Any, argument: tuple[str, int, int, float]) -> None:
    client = Client(*argument)
    pipe.send("ready")
    while (order := pipe.recv()) is not None:
        pipe.send(client.connect() if order == "connect" else client.talk(order))


def crowd(
    n: int, seconds: float, tell: Tell, *, every_s: float = 2.0, processes: int = 2, transport: str = "tcp"
) -> dict[str, Any]:
    """``n`` devices for so long. Raises Broken where one does not get in, is refused, is cut off or is not answered."""
    limit = open_files(n + SPARE_FILES)
    if limit < n + SPARE_FILES:
        raise Broken(f"{n} devices need {n + SPARE_FILES} open files, {limit} are allowed here: ulimit -n, or fewer --devices")
    with tempfile.TemporaryDirectory(prefix="ll", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        ends = [f"ipc://{folder / end}" if transport == "ipc" else "tcp://127.0.0.1:0" for end in ("ingest", "alarms", "feed")]
        began = time.monotonic()
        service = Child(service_main, city(n, folder / "data", ends))
        tell(f"the service of {n} devices is up after {time.monotonic() - began:.1f} s")
        shares = [range(n * p // processes, n * (p + 1) // processes) for p in range(processes)]
        clients = [Child(client_main, (service.said["ingest"], s.start, len(s), every_s)) for s in shares]
        try:
            return _measured(service, clients, n, seconds, tell)
        finally:
            for end in (*clients, service):
                end.close()


def _measured(service: Child, clients: list[Child], n: int, seconds: float, tell: Tell) -> dict[str, Any]:
    before, began = service.held(), time.monotonic()
    connected = sum(_all(clients, "connect"))
    taken = time.monotonic() - began
    full = service.held()
    expect("devices that got in", connected, n)
    tell(f"{n} connected in {taken:.1f} s; {(full.own - before.own) / n / 1024:.1f} KiB each")
    resting = sum(service.ask("threads").values())
    time.sleep(IDLE_S)
    resting = (sum(service.ask("threads").values()) - resting) / IDLE_S
    began, stood = time.monotonic(), _snapshots(service)
    said = _all(clients, seconds)
    talked, stood = time.monotonic() - began, _snapshots(service) - stood
    after = service.held()
    with FeedClient(service.said["feed"], timeout=60.0) as feed:
        stats = feed.stats()
    sent = sum(s["sent"] for s in said)
    expect("refused", sum(s["refused"] for s in said), 0)
    expect("connections cut off", sum(s["gone"] for s in said), 0)
    expect("acknowledged", sum(s["acked"] for s in said), sent)
    expect("through the detectors, refused, gaps", [stats[k] for k in ("frames", "refused", "gaps")], [sent, {}, 0])
    rows = np.concatenate([s["latencies"] for s in said])
    told = {}
    for which, part in (("first", rows[rows[:, 0] == 1, 1]), ("later", rows[rows[:, 0] == 0, 1])):
        p50, p99, most = (round(1e3 * float(np.percentile(part, q)), 1) for q in (50, 99, 100))
        told |= {f"{which}_ack_p50_ms": p50, f"{which}_ack_p99_ms": p99, f"{which}_ack_max_ms": most}
    return {
        "devices": n, "connected_s": round(taken, 1), "frames": sent, "frames_per_s": round(sent / max(s["seconds"] for s in said)),
        **told, "snapshots": stood, "snapshots_per_min": round(stood / talked * 60, 1), "idle_percent": round(100 * resting, 1),
        "client_late_s": round(max(s["late_s"] for s in said), 2),
        "processor_s": {name: round(s, 1) for name, s in service.ask("threads").items() if s >= 0.1},
        "connection_kib": round((full.own - before.own) / n / 1024, 1), "device_kib": round((after.own - before.own) / n / 1024, 1),
        "own_mib": after.own >> 20, "files": after.descriptors, "threads": after.threads,
    }  # fmt: skip


def _snapshots(service: Child) -> int:
    """How many stand since the service began."""
    with urllib.request.urlopen(f"http://{service.said['metrics']}/metrics", timeout=30) as answer:
        rows = (line.split() for line in answer.read().decode().splitlines())
        return int(next((float(row[1]) for row in rows if row[0].startswith("lifeline_desk_snapshots")), 0.0))


def _all(clients: list[Child], order: Any) -> list[Any]:
    for client in clients:
        client.tell(order)
    return [client.hear(PATIENCE_S * 2 + (order if isinstance(order, float) else 0.0)) for client in clients]

