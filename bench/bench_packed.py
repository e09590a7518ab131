"""What packing saves and costs: bytes a sample, and the time from a frame to counts and back, beside int24.

``python -m pytest bench/bench_packed.py --benchmark-only -s`` prints sizes too; frames of four channels, one second at 200 Hz.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lifeline_core import _wire, wire

FS, CHANNELS, SECONDS = 200, 4, 60
NS = 1_000_000_000
NOISES = (0, 10, 100, 1000, 100_000)  # counts, standard deviation


def signal(noise: float) -> NDArray[np.int32]:
    """A swing of 1.2 Hz and 20,000 counts, with white noise."""
    t = np.arange(FS * SECONDS) / FS
    swing = 2e4 * np.sin(2 * np.pi * 1.2 * t + np.arange(CHANNELS)[:, None])
    noisy = swing + np.random.default_rng(1).normal(0.0, max(noise, 1e-9), (CHANNELS, t.size))
    return np.round(noisy).astype(np.int32)


def frames(noise: float, encoding: int) -> list[bytes]:
    x = signal(noise)
    return [
        wire.pack(x[:, k * FS : (k + 1) * FS], device=1, seq=k, sample_index=k * FS, t0_ns=k * NS, rate=FS, encoding=encoding)
        for k in range(SECONDS)
    ]


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("encoding", [wire.INT24, wire.PACKED], ids=["int24", "packed"])
@pytest.mark.benchmark(group="one frame of 4 x 200 to scaled floats")
def test_unpack(benchmark: Any, encoding: int, noise: float) -> None:
    """CRC, header and samples; the bytes a sample are in the extra figures."""
    made = frames(noise, encoding)
    scales, offsets = np.full(CHANNELS, 1e-6), np.zeros(CHANNELS)
    benchmark.extra_info["bytes_a_sample"] = (sum(map(len, made)) / SECONDS - 64) / (CHANNELS * FS)
    print(f"\n{['', '', 'int24'][encoding] if encoding < 3 else 'packed'}, noise {noise}: "
          f"{benchmark.extra_info['bytes_a_sample']:.2f} bytes a sample")  # fmt: skip
    x, _ = benchmark(_wire.scaled, made[0], scales, offsets)
    assert np.array_equal(x, (1e-6 * signal(noise)[:, :FS]).astype(np.float32))


@pytest.mark.parametrize("encoding", [wire.INT24, wire.PACKED], ids=["int24", "packed"])
@pytest.mark.benchmark(group="one frame of 4 x 200 packed in Python")
def test_pack(benchmark: Any, encoding: int) -> None:
    x = signal(100)[:, :FS]
    benchmark(wire.pack, x, device=1, t0_ns=0, rate=FS, encoding=encoding)
