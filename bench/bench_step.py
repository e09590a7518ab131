"""Following pressures for steps against the same bins, meters and medians in Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.duel import Case, Work, duel
from lifeline_core.pipes.follower import STEP
from lifeline_core.pipes.step import Steps, followers
from tests.twins import step as twin

RATE, CHANNELS = 256, 8


def make_minute() -> tuple[Work, Work]:
    """8 channels of a minute, a drop in each; ours and the twin both begin anew, so that both learn as they go."""
    x = 40 + np.random.default_rng(0).normal(0, 0.02, (CHANNELS, 60 * RATE))
    for i in range(CHANNELS):
        x[i, (20 + 3 * i) * RATE :] -= 1.0
    data = x.astype(np.float32)
    counts, sizes = (16, 8, 4, 12, 20, 42, 193, 480), (0.0134, 0.21, 0.3, 0.21, 5.55, 1.0, 8.31)

    def ours() -> Any:
        return followers(RATE, Steps(), CHANNELS).push(data)

    def theirs() -> Any:
        return [twin.Row(twin.Rule(*counts, *sizes)).push(row) for row in data]

    steps = [(row, used) for used, row, what, *_ in ours() if what == STEP]
    assert steps == [(row, used) for row, found in enumerate(theirs()) for used, what, *_ in found if what == STEP]
    assert len(steps) == CHANNELS
    return ours, theirs


CASES = [
    Case("steps of 8 channels, a minute of 256 Hz", "step", "the same in Python, bin by bin", 40.0, make_minute, baseline=20.0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
