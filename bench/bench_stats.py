"""What a block amounts to: one pass beside one numpy call for each number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from bench.duel import Case, Work, duel
from lifeline_core.dsp.stats import NS, Bins, describe

Numbers = tuple[NDArray[Any], ...]


def by_numpy(x: NDArray[np.float32]) -> Numbers:
    return (x.min(-1), x.max(-1), x.mean(-1), np.sqrt(np.mean(x * x, -1)), x.std(-1), scipy.stats.kurtosis(x, -1, fisher=False))


def block(rows: int, n: int) -> NDArray[np.float32]:
    x: NDArray[np.float32] = np.random.default_rng(1).normal(0.5, 1.0, (rows, n)).astype(np.float32)
    return x


def make_describe(rows: int, n: int) -> tuple[Work, Work]:
    x = block(rows, n)
    d = describe(x)
    for ours, theirs in zip((d.min, d.max, d.mean, d.rms, d.std, d.kurtosis), by_numpy(x), strict=True):
        assert np.allclose(ours, theirs, rtol=1e-4)  # the peer adds in float32
    return (lambda: describe(x)), (lambda: by_numpy(x))


def make_bins(rows: int, n: int) -> tuple[Work, Work]:
    """Ten bins, with clipping and flat runs counted on the way; the peer does without these."""
    x = block(rows, n)
    parts = np.split(x, 10, axis=1)

    def ours() -> list[Any]:
        return Bins(rows, n // 10 * NS, [(-5.0, 5.0)] * rows).push(x, 0, 0, 1, 1)

    for closed, part in zip(ours(), parts, strict=True):
        assert np.allclose(closed.rows["kurtosis"], by_numpy(part)[-1], rtol=1e-4)
    return ours, lambda: [by_numpy(part) for part in parts]


PEER = "numpy min, max, mean, rms, std and scipy.stats.kurtosis, float32"
CASES = [
    Case("describe, 64 x 20,000", "stats", PEER, 10.0, lambda: make_describe(64, 20_000), baseline=5.0),
    Case("describe, 1 x 1,000,000", "stats", PEER, 10.0, lambda: make_describe(1, 1_000_000), baseline=5.0),
    Case("clock-aligned bins, 64 x 20,000, ten bins", "stats", PEER, 10.0, lambda: make_bins(64, 20_000), baseline=5.0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
