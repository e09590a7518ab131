"""Correlation of signs against scipy's transform of the arrays of signs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import signal

from bench.duel import Case, Work, duel
from lifeline_core.dsp.polarity import Polarity, polarity_correlate

N = 480_000


def pair() -> Any:
    rng = np.random.default_rng(1)
    s = rng.standard_normal((3, N + 1000)).astype(np.float32)
    return s[0, 100 : N + 100] + s[1, :N], s[0, 37 : N + 37] + s[2, :N]


def make(max_lag: int) -> tuple[Work, Work]:
    a, b = pair()

    def theirs() -> Any:
        r = signal.correlate(np.sign(b), np.sign(a), method="fft")[N - 1 - max_lag : N + max_lag]
        return r / (N - np.abs(np.arange(-max_lag, max_lag + 1)))

    np.testing.assert_allclose(polarity_correlate(a, b, max_lag)[1], theirs(), atol=1e-4)  # theirs is a float32 transform
    return lambda: polarity_correlate(a, b, max_lag), theirs


def make_blocks() -> tuple[Work, Work]:
    """64 blocks of 4,096 with state, lags up to 500, one look at the end."""
    a, b = (x[: 64 * 4096] for x in pair())
    n, reach = a.size, 500

    def ours() -> Any:
        stream = Polarity(reach)
        for k in range(0, n, 4096):
            stream.push(a[k : k + 4096], b[k : k + 4096])
        return stream.read()[1]

    def theirs() -> Any:
        total = np.zeros(2 * reach + 1)
        sa, sb = np.sign(a), np.pad(np.sign(b), reach)
        for k in range(0, n, 4096):
            total += signal.correlate(sb[k : k + 4096 + 2 * reach], sa[k : k + 4096], mode="valid", method="fft")
        return total / (n - np.abs(np.arange(-reach, reach + 1)))

    np.testing.assert_allclose(ours(), theirs(), atol=1e-4)
    return ours, theirs


PEER = "scipy.signal.correlate(method='fft') of float32 signs"
CASES = [
    Case("polarity, 480,000 samples, lags to 100", "polarity", PEER, 30.0, lambda: make(100), baseline=15.0),
    Case("polarity, 480,000 samples, lags to 1,024", "polarity", PEER, 5.0, lambda: make(1024), baseline=2.5),
    Case("polarity, 64 blocks of 4,096, lags to 500", "polarity", PEER, 7.0, make_blocks, baseline=4.0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
