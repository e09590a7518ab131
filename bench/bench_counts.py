"""Payloads of 64 channels to scaled floats beside what a careful person writes in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.duel import Case, Work, duel
from lifeline_core.dsp.counts import counts_to_float

ROWS = 64
SCALE = np.float32(1e-6)


def by_numpy(payload: bytes, scale: np.float32) -> NDArray[np.float32]:
    """Bytes to int32 by shifts and or, sign fixed, times scale."""
    p = np.frombuffer(payload, np.uint8).reshape(ROWS, -1, 3)
    x = p[..., 0].astype(np.int32) | p[..., 1].astype(np.int32) << 8 | p[..., 2].astype(np.int32) << 16
    x -= (x & 0x800000) << 1
    return x.astype(np.float32) * scale


def make_int24(n: int, order: str = "channel", given: bool = True) -> tuple[Work, Work]:
    """``given``: the answer goes into an array that is there, as a service does it."""
    payload = np.random.default_rng(1).bytes(ROWS * n * 3)
    if order == "channel":
        theirs = lambda: by_numpy(payload, SCALE)  # noqa: E731
    else:
        theirs = lambda: np.ascontiguousarray(by_numpy(payload, SCALE).reshape(n, ROWS).T)  # noqa: E731
    out = np.empty((ROWS, n), np.float32) if given else None
    ours = lambda: counts_to_float(payload, "int24", ROWS, scale=SCALE, order=order, out=out)  # noqa: E731
    assert np.array_equal(ours(), theirs())  # 24 bits each: both round the exact product once
    return ours, theirs


def make_int16(n: int) -> tuple[Work, Work]:
    counts = np.random.default_rng(2).integers(-30_000, 30_000, (ROWS, n)).astype("<i2")
    payload = counts.tobytes()
    out, other = np.empty((ROWS, n), np.float32), np.empty((ROWS, n), np.float32)

    def ours() -> NDArray[np.float32]:
        return counts_to_float(payload, "int16", ROWS, scale=SCALE, out=out)

    def theirs() -> NDArray[Any]:
        return np.multiply(np.frombuffer(payload, "<i2").reshape(ROWS, n), SCALE, out=other, casting="unsafe")

    assert np.array_equal(ours(), theirs())
    return ours, theirs


def make_int32(n: int) -> tuple[Work, Work]:
    """Scale and offset of its own for each channel."""
    rng = np.random.default_rng(2)
    payload = rng.integers(-(2**30), 2**30, (ROWS, n)).astype("<i4").tobytes()
    scale, offset = rng.uniform(1e-9, 2e-9, ROWS), rng.normal(0.0, 1.0, ROWS)
    s, o = scale.astype(np.float32)[:, None], offset.astype(np.float32)[:, None]
    out, other = np.empty((ROWS, n), np.float32), np.empty((ROWS, n), np.float32)

    def ours() -> NDArray[np.float32]:
        return counts_to_float(payload, "int32", ROWS, scale=scale, offset=offset, out=out)

    def theirs() -> NDArray[Any]:
        np.multiply(np.frombuffer(payload, "<i4").reshape(ROWS, n), s, out=other, casting="unsafe")
        return np.add(other, o, out=other)

    assert np.allclose(ours(), theirs(), rtol=1e-6, atol=1e-6)
    return ours, theirs


SHIFTS = "numpy: shifts and or, sign, times scale"
CASES = [
    Case("int24 frames to float32, 64 x 2,000", "counts", SHIFTS, 12.0, lambda: make_int24(2000), baseline=6.0),
    Case("int24 frames to float32, 64 x 20,000", "counts", SHIFTS, 12.0, lambda: make_int24(20_000), baseline=6.0),
    Case("int24 frames to float32, 64 x 20,000, new output", "counts", SHIFTS, 12.0, lambda: make_int24(20_000, given=False),
         baseline=6.0),
    Case("int24, samples interleaved, 64 x 20,000", "counts", SHIFTS + ", turned over", 8.0,
         lambda: make_int24(20_000, "sample"), baseline=6.0),
    Case("int16 frames to float32, 64 x 20,000", "counts", "numpy.multiply, out= given", 1.2, lambda: make_int16(20_000)),
    Case("int32 frames to float32, 64 x 20,000", "counts", "numpy.multiply and add, out= given", 1.5, lambda: make_int32(20_000)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
