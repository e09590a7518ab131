"""What each durability costs: frames of the same bridge to a service of each, turn about.

::

    python -m bench.durability_study [--frames 16000] [--rounds 3] [--pings 300] [--json]

Frames a second from the first one sent to the last acknowledgement, and how long one frame by itself waits for its
acknowledgement (p50, p99). Each round has a turn of every durability; what is said of one against "process" is the median of
the rounds' own ratios, so that what else the machine does falls on both. The disk decides what "disk" costs: its fdatasync is
measured beside.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import zmq
from rich.console import Console
from rich.table import Table

from bench.bridge import FIRST_DEVICE, Bridge
from bench.ends import End, service_main
from bench.sender import Maker, Sender
from lifeline_core.keys import DURABILITIES
from lifeline_core.model import NS
from lifeline_core.service.sockets import end

FIRST_EPOCH = (int(time.time()) + 3600) & 0xFFFF_FFFF  # above that of the sender's devices, which is of the clock, too


def fdatasync_ms(folder: Path, times: int = 50) -> float:
    """Median of an fdatasync after 4 KiB."""
    taken = []
    with (folder / "probe").open("wb", buffering=0) as file:
        for _ in range(times):
            file.write(os.urandom(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e3


def pings(address: str, n: int, turn: int) -> list[float]:
    """Milliseconds from one frame sent to its acknowledgement, one at a time, of a device that has booted for it."""
    t0_ns = (1_800_000_000 + 100_000 * turn) * NS
    context, frames = zmq.Context(), Maker(Bridge(devices=1), t0_ns=t0_ns, epoch=FIRST_EPOCH + turn).make(n)
    socket = context.socket(zmq.DEALER)
    socket.connect(address)
    taken = []
    for k in range(n):
        frame = frames[k].tobytes()
        began = time.perf_counter()
        socket.send(frame)
        while socket.poll(10_000):
            said = msgpack.unpackb(socket.recv())
            if (said.get("device"), said.get("epoch"), said.get("ack")) == (FIRST_DEVICE, FIRST_EPOCH + turn, k):
                break
        else:
            raise AssertionError(f"frame {k} was not acknowledged within 10 s")
        taken.append((time.perf_counter() - began) * 1e3)
    end(context)
    return taken


def _ratio(mine: list[float], others: list[float]) -> float:
    """Median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(mine, others, strict=True))


def measure(frames: int, rounds: int, n_pings: int) -> dict[str, Any]:
    bridge = Bridge()
    frames = frames // bridge.devices * bridge.devices
    rates: dict[str, list[float]] = {d: [] for d in DURABILITIES}
    waits: dict[str, list[list[float]]] = {d: [] for d in DURABILITIES}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="ll", dir=".") as name, ExitStack() as open_:
        folder = Path(name)
        services, senders = {}, {}
        for durability in DURABILITIES:
            text = bridge.text(folder / durability, ["tcp://127.0.0.1:0"] * 3)
            service = End(service_main, text.replace("[service]", f'[service]\ndurability = "{durability}"', 1))
            open_.callback(service.close)
            services[durability] = service
            senders[durability] = Sender(bridge, {durability: (zmq.DEALER, service.said["ingest"])})  # numbers without holes
            open_.callback(senders[durability].close)
        for turn in range(rounds + 1):  # the first one warms up
            for durability, sender in senders.items():
                sender.make(frames)
                sender.begin(durability)
                run = sender.result()
                assert not run.refused, f"{run.refused} frames were refused"
                if turn:
                    rates[durability].append(frames / ((run.acked_ns - run.first_ns) / NS))
        for turn in range(rounds):
            for durability, service in services.items():
                waits[durability].append(pings(service.said["ingest"], max(1, n_pings // rounds), turn))
        for durability in DURABILITIES:
            ms = [wait for turn in waits[durability] for wait in turn]
            found[durability] = {
                "frames_per_s": statistics.median(rates[durability]),
                "rate_ratio": _ratio(rates[durability], rates["process"]),
                "ack_p50_ms": float(np.percentile(ms, 50)),
                "ack_p99_ms": float(np.percentile(ms, 99)),
                "ack_ratio": _ratio(*([statistics.median(turn) for turn in waits[d]] for d in (durability, "process"))),
            }
        found["fdatasync_ms"] = fdatasync_ms(folder)
    return found


def main() -> int:
    ask = argparse.ArgumentParser(description="What each durability costs.")
    ask.add_argument("--frames", type=int, default=16_000, help="of one turn")
    ask.add_argument("--rounds", type=int, default=3)
    ask.add_argument("--pings", type=int, default=300, help="frames sent one by one")
    ask.add_argument("--json", action="store_true")
    given = ask.parse_args()
    found = measure(given.frames, given.rounds, given.pings)
    table = Table(title=f"fdatasync of this disk: {found['fdatasync_ms']:.2f} ms", title_justify="left")
    columns = ("durability", "frames/s, sent to acknowledged", "of process", "one frame: p50, ms", "p99, ms", "p50 of process")
    for column in columns:
        table.add_column(column, justify="left" if column == "durability" else "right")
    for name in DURABILITIES:
        row = found[name]
        said = ("frames_per_s", ",.0f"), ("rate_ratio", ".2f"), ("ack_p50_ms", ".2f"), ("ack_p99_ms", ".2f"), ("ack_ratio", ".2f")
        table.add_row(name, *(f"{row[key]:{form}}" for key, form in said))
    Console(file=sys.stderr if given.json else sys.stdout).print(table)
    if given.json:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
