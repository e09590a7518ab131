"""Envelopes beside scipy's analytic signal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import signal

from bench.duel import Case, Work, duel
from lifeline_core.dsp.envelope import Envelope, envelope

ROWS, N = 16, 120_000


def noise() -> Any:
    """In the band of the running form, so that the two forms can be compared."""
    rng = np.random.default_rng(1)
    sos = signal.butter(6, [0.2, 0.8], "bandpass", output="sos")
    return signal.sosfilt(sos, rng.standard_normal((ROWS, N))).astype(np.float32)


def make_whole() -> tuple[Work, Work]:
    x = noise()
    out = np.empty_like(x)
    np.testing.assert_allclose(envelope(x), np.abs(signal.hilbert(x)), atol=1e-5)
    return lambda: envelope(x, out=out), lambda: np.abs(signal.hilbert(x))


def make_running() -> tuple[Work, Work]:
    x = noise()
    stream, out = Envelope(ROWS), np.empty_like(x)
    late = stream.push(x)[:, 1000:-1000]
    there = np.abs(signal.hilbert(x))[:, 1000 - stream.delay : -1000 - stream.delay]
    assert np.max(np.abs(late - there)) < 0.01 * np.max(there)
    return lambda: stream.push(x, out), lambda: np.abs(signal.hilbert(x))


PEER = "abs(scipy.signal.hilbert) on float32"
CASES = [
    Case(f"envelope, {ROWS} x {N:,}", "envelope", PEER, 1.4, make_whole),
    Case(f"Envelope, 63 taps, {ROWS} x {N:,}", "envelope", PEER, 3.0, make_running, baseline=2.0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
