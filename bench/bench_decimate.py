"""Decimation beside scipy's, whose filter is shorter and lets more through (-6 dB at the new Nyquist frequency, ours -80)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import signal

from bench.duel import Case, Work, duel
from lifeline_core.dsp.decimate import Decimator, decimate
from lifeline_core.dsp.designs import decimation_taps


def noise(rows: int, n: int) -> Any:
    return np.random.default_rng(1).standard_normal((rows, n)).astype(np.float32)


def make_own(rows: int, n: int, q: int) -> tuple[Work, Work]:
    x = noise(rows, n)
    slow = np.sin(np.arange(n) * (0.3 * np.pi / q)).astype(np.float32)  # where both filters are 1
    inside = slice(100, n // q - 100)
    np.testing.assert_allclose(decimate(slow, q)[inside], signal.decimate(slow, q, ftype="fir")[inside], atol=5e-3)
    return lambda: decimate(x, q), lambda: signal.decimate(x, q, ftype="fir", axis=-1)


def make_same(rows: int, n: int, q: int) -> tuple[Work, Work]:
    x, taps = noise(rows, n), decimation_taps(q)
    narrow = taps.astype(np.float32)
    exact = signal.resample_poly(x.astype(np.float64), 1, q, axis=-1, window=taps)
    np.testing.assert_allclose(decimate(x, q, taps=taps), exact, atol=1e-6 * np.abs(x).max())
    return lambda: decimate(x, q, taps=taps), lambda: signal.resample_poly(x, 1, q, axis=-1, window=narrow)


def make_blocks() -> tuple[Work, Work]:
    x, q = noise(64, 4096), 4
    taps = decimation_taps(q).astype(np.float32)
    stream = Decimator(q, 64)
    expected = signal.upfirdn(taps.astype(np.float64), x.astype(np.float64), 1, q, axis=-1)[:, :1024]
    np.testing.assert_allclose(stream.push(x), expected, atol=1e-6 * np.abs(x).max())
    return lambda: stream.push(x), lambda: signal.upfirdn(taps, x, 1, q, axis=-1)


PEER = "scipy.signal.decimate, ftype fir, float32"
CASES = [
    Case("decimate by 4, 64 x 20,000", "decimate", PEER, 4.0, lambda: make_own(64, 20_000, 4)),
    Case("decimate by 10, 64 x 20,000", "decimate", PEER, 4.0, lambda: make_own(64, 20_000, 10)),
    Case("decimate by 10, 1 x 480,000", "decimate", PEER, 4.0, lambda: make_own(1, 480_000, 10), rounds=15),
    Case("decimate by 4, same taps, 64 x 5,000", "decimate", "scipy.signal.resample_poly, float32", 12.0,
         lambda: make_same(64, 5000, 4), 4.0),
    Case("decimate by 4, 64 x 4,096 blocks with state", "decimate", "scipy.signal.upfirdn without state, float32", 10.0,
         make_blocks, 4.0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
