"""What back-fill costs the present: how long a live alarm takes while devices send hours of the past at full speed.

::

    python -m bench.history_study [--devices 50] [--seconds 10] [--pings 150] [--only CASE ...] [--without] [--json]

One sensor goes over its limit and back, twenty times a second, and each time is taken from its frame's sending to the alarm in the
live view. Beside it a bridge's loggers (bench/bridge.py, every bridge detector on) send historical frames:

    none      nobody back-fills
    own       the sensor's own logger, hours of it (`lifeline_core.device.Device`)
    device    one other logger, as fast as its share allows (`service.hall`)
    fleet     all loggers, likewise: after an outage of the whole city
    rude      one logger that listens to nobody and sends as fast as the line takes it

``--without`` does the same with a service that gives history no share of its own: each device then has 64 KiB under way.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import zmq
from rich.console import Console
from rich.table import Table

from bench.bridge import RATE, Bridge
from bench.ends import End, service_main
from bench.sender import Maker
from lifeline_core import _wire
from lifeline_core.device import Device
from lifeline_core.model import FLAG_HISTORICAL, NS
from lifeline_core.service import LiveView, hall
from lifeline_core.service.backlog import FRAME_COST
from lifeline_core.service.flow import FIRST_HISTORY, HISTORY_BYTES

T0 = 1_790_000_000 * NS
AHEAD_S = 1_000_000  # what is live lies so long behind the first second of the past
WELL = """
[site.well]
domain = "water"
[channel.well]
site = "well"
device = 1
channel = 0
unit = "kPa"
rate_hz = 10.0
[watch.well-high]
site = "well"
channels = ["well"]
detector = "level"
limits = [ {severity = 2, above = 25.0} ]
"""
EVERY_S = 0.05
MADE = 2000  # frames of a device, sent again and again with other numbers


@dataclass(frozen=True)
class Case:
    devices: int = 0  # other loggers that back-fill
    rude: bool = False
    past: int = 0  # seconds of the sensor's own


def service_without(pipe: Any, text: str) -> None:
    hall.SHARE_BYTES = 1 << 62
    hall.Hall.share = lambda _self, _source: None  # type: ignore[method-assign]
    service_main(pipe, text)


def with_numbers(frame: bytes, seq: int, second: int, flags: int) -> bytes:
    out = bytearray(frame)
    out[7] |= flags
    out[24:48] = seq.to_bytes(8, "little") + (second * RATE).to_bytes(8, "little") + (T0 + second * NS).to_bytes(8, "little")
    out[60:64] = bytes(4)
    out[60:64] = _wire.crc32c(out).to_bytes(4, "little")
    return bytes(out)


class Filler:
    """One logger's connection: a live frame, then the past."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, frames: list[bytes], epoch: int) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(address)
        self._frames = [f[:16] + epoch.to_bytes(4, "little") + f[20:] for f in frames]
        self.seq, self.acked, self.share, self._told = 1, 0, FIRST_HISTORY, False
        self.socket.send(with_numbers(self._frames[0], 0, AHEAD_S, 0))

    def hear(self) -> None:
        while self.socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            said = msgpack.unpackb(self.socket.recv(zmq.DONTWAIT))
            if "ack" in said:
                self.acked, self.share = max(self.acked, said["ack"]), said.get("history", HISTORY_BYTES)

    def fill(self, rude: bool) -> int:
        """Frames sent now."""
        sent, size = 0, len(self._frames[0])
        while sent < 64 and self.socket.getsockopt(zmq.EVENTS) & zmq.POLLOUT:
            flying = (self.seq - 1 - self.acked) * (size + FRAME_COST)
            if not rude and flying and flying + size + FRAME_COST > self.share:
                break
            frame = with_numbers(self._frames[self.seq % len(self._frames)], self.seq, self.seq, FLAG_HISTORICAL)
            self.socket.send(frame, zmq.DONTWAIT)
            self.seq, sent = self.seq + 1, sent + 1
        return sent


def fill_main(pipe: Any, address: str, devices: int, epoch: int, rude: bool) -> None:
    """Back-fills until it is told to stop, then says how many frames were acknowledged and how long it took."""
    made = Maker(Bridge(devices=devices), t0_ns=T0, epoch=epoch).make(devices * max(4, MADE // devices))
    frames = [[made[k].tobytes() for k in range(d, len(made), devices)] for d in range(devices)]
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    fillers = [Filler(context, address, frames[d], epoch) for d in range(devices)]
    pipe.send("ready")
    began = time.monotonic()
    while not pipe.poll(0):
        sent = 0
        for filler in fillers:
            filler.hear()
            sent += filler.fill(rude)
        if not sent:
            zmq.zmq_poll([(f.socket, zmq.POLLIN) for f in fillers], 5)
    pipe.send((sum(f.acked for f in fillers), time.monotonic() - began))
    pipe.recv()
    context.destroy(0)


class Well:
    """The sensor whose alarms are timed; ``past`` seconds of back-fill are its own."""

    def __init__(self, said: dict[str, str], epoch: int, past: int) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._view = LiveView(said["alarms"], "alarm/2/water/well", context=self._context)
        self._device = Device("tcp://127.0.0.1:1", 1, epoch=epoch, context=self._context, queue_bytes=1 << 30)
        self._past, self._second = past, 0
        for _ in range(past):
            self._send(1.0)
        for kept in self._device._flow.backlog.live:
            kept.taken -= 3600.0  # an hour ago
        self._device.link._socket.connect(said["ingest"])

    def _send(self, value: float) -> None:
        self._device.send(np.full((1, 10), value, np.float32), T0 + self._second * NS, rate=10)
        self._second += 1

    @property
    def filled(self) -> int:
        """Frames of the past that were acknowledged."""
        return max(0, self._past - len(self._device._flow.backlog.history))

    def idle(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._device.pump(min(left, 0.005))

    def ping(self, value: float) -> float:
        """Milliseconds from a frame to its alarm, or to its end."""
        began = time.perf_counter()
        self._send(value)
        while self._view.next(0.0) is None:
            self._device.pump(0.001)
            assert time.perf_counter() - began < 60.0, "a live alarm did not come within a minute"
        return (time.perf_counter() - began) * 1e3

    def close(self) -> None:
        self._view.close()
        self._device.close()
        self._context.destroy(0)


def one(said: dict[str, str], epoch: int, case: Case, seconds: float, pings: int) -> dict[str, float]:
    spawn = mp.get_context("spawn")
    process, pipe = None, None
    if case.devices:
        pipe, far = spawn.Pipe()
        process = spawn.Process(target=fill_main, args=(far, said["ingest"], case.devices, epoch, case.rude), daemon=True)
        process.start()
        pipe.recv()
    well = Well(said, epoch, case.past)
    well.idle(0.5)
    began, filled = time.monotonic(), well.filled
    taken: list[float] = []
    while time.monotonic() - began < seconds and len(taken) < pings:
        taken.append(well.ping(1.0 if len(taken) % 2 else 60.0))
        well.idle(max(0.0, EVERY_S - taken[-1] / 1e3))
    filled, lasted = well.filled - filled, time.monotonic() - began
    well.close()
    if pipe is not None and process is not None:
        pipe.send("stop")
        filled, lasted = pipe.recv()
        pipe.send("end")
        process.join(10)
    return {"pings": len(taken), "p50_ms": statistics.median(taken), "p99_ms": float(np.percentile(taken, 99)),
            "max_ms": max(taken), "history_frames_s": filled / lasted}


def measure(devices: int, seconds: float, pings: int, without: bool, only: list[str]) -> dict[str, dict[str, float]]:
    bridge, found = Bridge(devices=devices), {}
    cases = {"none": Case(), "own": Case(past=60_000), "device": Case(1), "fleet": Case(devices), "rude": Case(1, rude=True)}
    for epoch, name in enumerate(only or cases, 1):
        case = cases[name]
        with tempfile.TemporaryDirectory(prefix="ll", dir=".") as folder:
            text = bridge.text(Path(folder), ["tcp://127.0.0.1:0"] * 3) + WELL
            service = End(service_without if without else service_main, text)
            try:
                found[name] = one(service.said, epoch, case, seconds, pings)
            finally:
                service.close()
    return found


def main() -> int:
    ask = argparse.ArgumentParser(description="What back-fill costs the present.")
    ask.add_argument("--devices", type=int, default=50, help="of the fleet")
    ask.add_argument("--seconds", type=float, default=10.0, help="of one case, at most")
    ask.add_argument("--pings", type=int, default=150, help="live alarms of one case, at most")
    ask.add_argument("--only", nargs="*", choices=["none", "own", "device", "fleet", "rude"], default=[])
    ask.add_argument("--without", action="store_true", help="history has no share of its own")
    ask.add_argument("--json", action="store_true")
    given = ask.parse_args()
    found = measure(given.devices, given.seconds, given.pings, given.without, given.only)
    title = f"live alarms, frame sent to alarm published; {given.devices} loggers"
    table = Table(title=title + (", history without a share" if given.without else ""), title_justify="left")
    for column in ("back-fill", "alarms", "p50, ms", "p99, ms", "longest, ms", "history read, frames/s"):
        table.add_column(column, justify="left" if column == "back-fill" else "right")
    for name, row in found.items():
        table.add_row(name, f"{row['pings']:.0f}", *(f"{row[k]:,.1f}" for k in ("p50_ms", "p99_ms", "max_ms")),
                      f"{row['history_frames_s']:,.0f}")
    Console(file=sys.stderr if given.json else sys.stdout).print(table)
    if given.json:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
