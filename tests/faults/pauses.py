"""What a snapshot of many devices costs the engine's thread, in its own processor time: no socket, no disk, no other thread.

::

    python -m tests.faults.pauses 10000
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from lifeline_core import wire
from lifeline_core.config import read_city
from lifeline_core.engine import Engine
from lifeline_core.model import NS
from lifeline_core.service.runner import SLICE_S
from tests.faults.crowd import RATE, city

T0 = 1_790_000_000 * NS
ROUNDS = 5  # of each; the least of them is told, for other work on the machine only adds


def fed(n: int) -> Engine:
    """An engine of ``n`` devices that has had three seconds of each."""
    engine = Engine(read_city(city(n, Path("/nowhere"), ["tcp://127.0.0.1:0"] * 3)))
    x = np.ones((1, RATE), np.float32)
    for seq in range(3):
        said = {"seq": seq, "sample_index": RATE * seq, "t0_ns": T0 + seq * NS, "rate": RATE, "epoch": 1}
        engine.push([wire.pack(x, device=k, **said) for k in range(n)])  # type: ignore[arg-type]
        engine.take_receipts()
    engine.tick(T0 + 3 * NS)
    return engine


def pauses(n: int) -> dict[str, Any]:
    """Milliseconds: of its beginning, of the longest single piece, of all pieces, and of the whole state at once."""
    engine = fed(n)
    rows = []
    for _ in range(ROUNDS):
        parts: list[bytes] = []
        began = time.thread_time()
        saving = engine.begin_save(parts.append)
        begin, longest, more = time.thread_time() - began, 0.0, True
        while more:
            last = time.thread_time()
            more = saving.go_on()
            longest = max(longest, time.thread_time() - last)
        rows.append((begin, longest, time.thread_time() - began))
        size = sum(map(len, parts))
    at_once = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        engine.save()
        at_once.append(time.thread_time() - began)
    begin, longest, whole = (round(1e3 * min(column), 2) for column in zip(*rows, strict=True))
    return {
        "devices": n, "begin_ms": begin, "longest_piece_ms": longest, "slice_ms": 1e3 * SLICE_S, "all_pieces_ms": whole,
        "at_once_ms": round(1e3 * min(at_once), 2), "bytes_per_device": round(size / n),
    }  # fmt: skip


if __name__ == "__main__":
    print(pauses(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
