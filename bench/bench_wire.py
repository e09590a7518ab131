"""Frames to samples: the compiled decoder beside what a careful person writes in numpy, and the sums by themselves.

``python -m pytest bench/bench_wire.py --benchmark-only``; frames of four channels, one second at 200 Hz.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.bridge import COUNT, ENCODINGS, Bridge
from bench.sender import Maker
from lifeline_core import _wire, wire
from lifeline_core.assemble import FED, make_assembler
from lifeline_core.config import read_city

N = 1024
HEADER = struct.Struct("<4sBBBBIHHIIQQqIIII")


def frames(encoding: str, n: int = N) -> tuple[Bridge, NDArray[np.uint8]]:
    bridge = Bridge(encoding=encoding)
    return bridge, Maker(bridge, t0_ns=1_790_000_000 * 10**9).make(n)


def numpy_frame(frame: bytes) -> NDArray[np.float32]:
    """Header by struct, samples by numpy, scaled; the CRC is not looked at (numpy has none)."""
    _magic, header_len, _type, encoding, _flags, _device, _channel, n_channels, *_rest, n_samples, _crc = HEADER.unpack_from(frame)
    if encoding == wire.FLOAT32:
        x = np.frombuffer(frame, "<f4", n_channels * n_samples, header_len)
    else:
        raw = np.frombuffer(frame, np.uint8, n_channels * n_samples * 3, header_len).reshape(-1, 3)
        wide = np.empty((len(raw), 4), np.uint8)
        wide[:, 1:], wide[:, 0] = raw, 0
        x = (wide.view("<i4")[:, 0] >> 8) * COUNT
    return x.reshape(n_channels, n_samples).astype(np.float32)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.benchmark(group="one frame to an array")
def test_decode(benchmark: Any, encoding: str) -> None:
    """`wire.decode`, CRC checked."""
    one = frames(encoding, 16)[1][0].tobytes()
    got = benchmark(wire.decode, one)
    scale = COUNT if encoding == "int24" else 1.0
    np.testing.assert_allclose(got.samples * scale, numpy_frame(one), rtol=1e-6)  # one rounding to float32 in either


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.benchmark(group="one frame to an array")
def test_numpy(benchmark: Any, encoding: str) -> None:
    """The same in struct and numpy, without a CRC."""
    benchmark(numpy_frame, frames(encoding, 16)[1][0].tobytes())


@pytest.mark.benchmark(group="CRC-32C, 2464 bytes")
def test_crc(benchmark: Any) -> None:
    one = frames("int24", 16)[1][0].tobytes()
    benchmark(_wire.crc32c, one)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.benchmark(group=f"{N} frames into the rings of an assembler")
def test_feed(benchmark: Any, encoding: str) -> None:
    """CRC, order, scaling and the rings, as the engine does it; new frames in every round."""
    bridge = Bridge(encoding=encoding)
    city = read_city(bridge.text(Path("unused"), ["tcp://127.0.0.1:0"] * 3))
    channels = list(city.channels.values())
    assembler = make_assembler(channels, [])
    maker = Maker(bridge, t0_ns=1_790_000_000 * 10**9)
    offsets, lengths = np.arange(N, dtype=np.int64) * bridge.frame_bytes, np.full(N, bridge.frame_bytes, np.int64)

    def feed(buf: NDArray[np.uint8]) -> None:
        status, at = assembler.feed(buf, offsets, lengths, 0)
        assert (status, at) == (FED, N)

    benchmark.pedantic(feed, setup=lambda: ((maker.make(N).reshape(-1),), {}), rounds=20, warmup_rounds=2)
    assert assembler.counters()["refused"] == {} and assembler.counters()["gaps"] == 0
