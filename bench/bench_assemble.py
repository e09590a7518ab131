"""Frames of several loggers to aligned arrays: the compiled assembler beside a loop a careful person writes in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.bridge import CHANNELS, COUNT, FIRST_DEVICE, RATE, Bridge
from bench.duel import Case, Work, duel
from bench.sender import Maker
from lifeline_core import wire
from lifeline_core.assemble import FED, Join, make_assembler
from lifeline_core.config import read_city
from lifeline_core.model import Block

N = 1024  # frames of one second from 16 loggers


def by_numpy(frames: NDArray[np.uint8], size: int) -> list[NDArray[np.float32]]:
    """Samples of each logger end to end, frames taken as they come: no CRC, no order, no holes, no clock."""
    rows: dict[int, list[NDArray[np.float32]]] = {}
    for k in range(N):
        frame = frames[k * size : (k + 1) * size]
        device = int.from_bytes(frame[8:12].tobytes(), "little")
        raw = frame[wire.HEADER_LEN :].reshape(-1, 3)
        wide = np.zeros((len(raw), 4), np.uint8)
        wide[:, 1:] = raw
        counts = (wide.view("<i4")[:, 0] >> 8).reshape(CHANNELS, RATE)
        rows.setdefault(device, []).append((counts * COUNT).astype(np.float32))
    return [np.concatenate(rows[d], axis=1) for d in sorted(rows)]


def make_assemble() -> tuple[Work, Work]:
    bridge = Bridge(watches=("shock",), health=False)
    city = read_city(bridge.text(Path("unused"), ["tcp://127.0.0.1:0"] * 3))
    channels = sorted(city.channels.values(), key=lambda c: (c.device, c.channel))
    joins = [Join(tuple(range(i, i + CHANNELS))) for i in range(0, len(channels), CHANNELS)]
    size = bridge.frame_bytes
    frames = Maker(bridge, t0_ns=1_790_000_000 * 10**9).make(N).reshape(-1)
    offsets, lengths = np.arange(N, dtype=np.int64) * size, np.full(N, size, np.int64)

    def ours() -> list[Any]:
        assembler = make_assembler(channels, joins)
        status, at = assembler.feed(frames, offsets, lengths, 0)
        assert (status, at) == (FED, N)
        return [assembler.take(j, 0) for j in range(len(joins))]

    blocks, arrays = ours(), by_numpy(frames, size)
    assert channels[0].device == FIRST_DEVICE and all(isinstance(b, Block) for b in blocks)
    for block, array in zip(blocks, arrays, strict=True):
        np.testing.assert_allclose(block.x, array, rtol=1e-6, atol=0)
    return ours, lambda: by_numpy(frames, size)


CASES = [Case(f"{N:,} int24 frames (4 x 200) to blocks, CRC and order checked", "assemble", "a loop in numpy, nothing checked", 2.0,
              make_assemble, baseline=1.5)]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
