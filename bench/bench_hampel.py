"""Running medians beside scipy's, row by row (its fastest way); Hampel's filter beside the two medians it is made of there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from bench.duel import Case, Work, duel
from lifeline_core.dsp.hampel import hampel, running_median


def signal_with_spikes(rows: int, n: int) -> Any:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((rows, n)) + 3 * np.sin(np.arange(n) / 200)
    x[rng.random((rows, n)) < 0.002] += 30
    return x.astype(np.float32)


def make_median(rows: int, n: int, window: int) -> tuple[Work, Work]:
    x = signal_with_spikes(rows, n)
    h = window // 2

    def theirs() -> Any:
        return np.stack([ndimage.median_filter(row, window) for row in x])

    np.testing.assert_array_equal(running_median(x, window)[:, h:-h], theirs()[:, h:-h])
    return lambda: running_median(x, window), theirs


def make_hampel(rows: int, n: int, window: int) -> tuple[Work, Work]:
    """Theirs takes |x - median| of each sample's own window, a common shortcut; it finds the same spikes."""
    x = signal_with_spikes(rows, n)

    def by_two_medians() -> Any:
        y = []
        for row in x:
            median = ndimage.median_filter(row, window)
            far = np.abs(row - median)
            y.append(np.where(far > 3 * 1.4826 * ndimage.median_filter(far, window), median, row))
        return np.stack(y)

    ours, theirs = hampel(x, window)[0], by_two_medians()
    spikes = x > 20
    assert spikes.sum() > 100
    assert ours[spikes].max() < 10 > theirs[spikes].max()
    assert np.mean(ours != theirs) < 0.2
    return lambda: hampel(x, window), by_two_medians


PEER = "scipy.ndimage.median_filter per row, float32"
TWO = "two scipy.ndimage.median_filter per row, float32"
CASES = [
    Case("running median of 5, 16 x 20,000", "hampel", PEER, 3.0, lambda: make_median(16, 20_000, 5)),
    Case("running median of 31, 16 x 20,000", "hampel", PEER, 3.0, lambda: make_median(16, 20_000, 31)),
    Case("running median of 101, 16 x 20,000", "hampel", PEER, 2.5, lambda: make_median(16, 20_000, 101)),
    Case("running median of 1,001, 4 x 40,000", "hampel", PEER, 1.3, lambda: make_median(4, 40_000, 1001), 1.0),
    Case("hampel, window 7, 16 x 20,000", "hampel", TWO, 2.0, lambda: make_hampel(16, 20_000, 7)),
    Case("hampel, window 31, 16 x 20,000", "hampel", TWO, 3.0, lambda: make_hampel(16, 20_000, 31)),
    Case("hampel, window 101, 16 x 20,000", "hampel", TWO, 2.0, lambda: make_hampel(16, 20_000, 101)),
    Case("hampel, window 1,001, 4 x 40,000", "hampel", TWO, 1.6, lambda: make_hampel(4, 40_000, 1001)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
