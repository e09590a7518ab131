"""Socket to alarm: the whole service beside a bare pyzmq loop that only receives, in one run.

::

    python -m bench.bench_path [--json] [--devices 16] [--frames 128000] [--rounds 15] [--encoding int24] [--transport tcp]

    sender process --- DEALER, acks ---> the service: journal, all bridge detectors, outbox, PUB ---> alarms heard here
    (bench/sender.c)   \\-- PUSH -------> `for _ in range(n): socket.recv_multipart()`

The same frames go to both, in turns (A B, B A, A B, so that what drifts meets both); the ratio is the median of the ratios
of the turns, and so is the receive thread's share of the bare thread's processor time (bench/threads.py). A blow is planted in
the last but one frame of every device; `bridge.shock` can speak of it only with the last one. A turn's time runs from the
first frame handed to ZeroMQ to the last of these alarms received from the live view, so every frame has gone through
journal and detectors; the counters of the feed are held against what was sent at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

if not __package__:  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.bridge import APART, DETECTORS, TOGETHER, Bridge
from bench.course import FLOOD_PER_S, PLANTED_PER_S, Course, opened
from bench.parts import BATCHES, EngineAlone, by_detector, engine_alone, journal_alone
from bench.report import show
from bench.threads import BARE, table

PACED_S, PACED_ROUNDS = 1.0, 5
FRAMES = 128_000  # of a turn: most of a second, in which beginning and end no longer count, nor their alarms
LATENCY_S = 12.0
STEADY = 10_000.0  # frames/s of ten thousand loggers
KINDS = {"detectors": DETECTORS, "together": TOGETHER, "apart": APART}


def measure(
    bridge: Bridge,
    *,
    frames: int = FRAMES,
    rounds: int = 15,
    latency_s: float = LATENCY_S,
    transport: str = "tcp",
    connections: int | None = None,
    parts: bool = True,
) -> dict[str, Any]:
    """Everything, as a map that JSON takes."""
    frames = frames // bridge.devices * bridge.devices
    found: dict[str, Any] = {
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "bridge": {
            "devices": bridge.devices,
            "encoding": bridge.encoding,
            "frame_bytes": bridge.frame_bytes,
            "detectors": bridge.detectors,
            "connections": connections or bridge.devices,
            "transport": transport,
        },
    }
    with opened(bridge, transport=transport, connections=connections) as path:
        path.warm_up(frames)
        path.turns(frames, rounds)
        found["path"] = path.figures()
        for _ in range(3):
            path.bare_turn("loop")
        found["receive_us_per_frame"] = path.threads["loop"][BARE]
        half = found["path"]["service_frames_per_s"] / 2
        found["paced"] = path.pace(half, PACED_S, PACED_ROUNDS)
        found["latency"] = latencies(path, half, latency_s) if latency_s else []
        found["stats"] = {k: v for k, v in path.check().items() if v}
    if not parts:
        return found
    found["engine"] = engine_alone(bridge, frames)
    found["detectors"] = by_detector(bridge, min(frames, 32_768))
    found["journal"] = journal_alone(bridge, min(frames, 32_768))
    return found


def latencies(path: Course, rate: float, seconds: float) -> list[dict[str, Any]]:
    """Alone and beside a busy thread: at this rate with alarms now and then and in a flood, and at a city's."""
    return [
        path.latency(frames, seconds, busy=busy, blows_per_s=blows)
        for frames, blows in ((rate, PLANTED_PER_S), (rate, FLOOD_PER_S), (STEADY, PLANTED_PER_S))
        for busy in (False, True)
    ]


# ---- the short form, for `make bench` ----


@pytest.fixture(scope="module")
def path() -> Iterator[Course]:
    with opened(Bridge()) as one:
        one.warm_up(64_000)
        yield one


def test_path(benchmark: Any, path: Course, capsys: pytest.CaptureFixture[str]) -> None:
    """Socket to alarm, turn about with the bare loop: the time is the service's, the ratio in the extra information."""

    def prepare() -> None:
        if path.services:
            path.note()
        path.make(32_000)
        path.bare_turn()

    benchmark.pedantic(path.service_turn, setup=prepare, rounds=4)
    path.note()
    figures = path.figures()
    latency = latencies(path, figures["service_frames_per_s"] / 2, 3.0)
    path.check()
    benchmark.extra_info.update({k: v for k, v in figures.items() if not isinstance(v, list)}, latency=latency)
    with capsys.disabled():
        show({"path": figures, "latency": latency}, sys.stderr)


@pytest.mark.parametrize("size", BATCHES)
def test_engine(benchmark: Any, size: int) -> None:
    """`Engine.push_batch` alone; the time is for 2048 frames."""
    alone = EngineAlone(Bridge())
    alone.us_per_frame(2048, 256)
    benchmark.pedantic(alone.push, setup=lambda: ((alone.batches(2048, size),), {}), rounds=3)


def main() -> int:
    ask = argparse.ArgumentParser(description="Frames from socket to alarm, beside a bare pyzmq loop that only receives.")
    ask.add_argument("--devices", type=int, default=16, help="loggers with four channels each")
    ask.add_argument("--connections", type=int, help="sockets of the sender; by default one a device")
    ask.add_argument("--frames", type=int, default=FRAMES, help="of one turn")
    ask.add_argument("--rounds", type=int, default=15, help="turns of both; medians over them stand in the tables")
    ask.add_argument("--parts", action=argparse.BooleanOptionalAction, default=True, help="engine and journal by themselves too")
    ask.add_argument("--encoding", choices=["int24", "float32"], default="int24")
    ask.add_argument("--watch", choices=sorted(KINDS), default="detectors",
                     help="detectors: girder profile, shock, health; together: frequencies too; apart: by a watch of their own")
    ask.add_argument("--transport", choices=["tcp", "ipc"], default="tcp")
    ask.add_argument("--latency-s", type=float, default=LATENCY_S, help="how long latency is measured; 0: not at all")
    ask.add_argument("--json", action="store_true", help="one JSON object on stdout; the tables go to stderr")
    given = ask.parse_args()
    found = measure(
        Bridge(given.devices, given.encoding, KINDS[given.watch]),
        frames=given.frames,
        rounds=given.rounds,
        latency_s=given.latency_s,
        transport=given.transport,
        connections=given.connections,
        parts=given.parts,
    )
    to = sys.stderr if given.json else sys.stdout
    show(found, to)
    console = Console(file=to, width=100)
    console.print(table(found["path"], "each as fast as it goes"))
    console.print(table(found["paced"], f"{found['paced']['frames_per_s']:,.0f} frames/s for both"))
    if given.json:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
