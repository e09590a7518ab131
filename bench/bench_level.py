"""Two limits with hysteresis on 64 channels: the machines beside whole-array comparisons in numpy."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.duel import Case, Work, duel
from lifeline_core.model import Block

ROWS, N = 64, 20_000
Event = tuple[int, int, bool]  # row, sample, over (else raised)


def by_numpy(x: NDArray[np.float32], bound: float, clear: float) -> list[Event]:
    """Raised at ``bound``, over at ``clear``: the last of the two that was met holds, carried forward by a running maximum."""
    events: list[Event] = []
    for row, values in enumerate(x):
        beyond, over = values >= bound, values <= clear
        last = np.maximum.accumulate(np.where(beyond | over, np.arange(1, values.size + 1), 0))
        active = np.where(last > 0, beyond[np.maximum(last - 1, 0)], False)
        turns = np.flatnonzero(np.diff(active, prepend=False))
        events += [(row, int(i), not active[i]) for i in turns]
    return events


def make(amplitude: float) -> tuple[Work, Work]:
    rng = np.random.default_rng(1)
    x = rng.normal(0.0, 1.0, (ROWS, N)).astype(np.float32)
    x *= np.float32(amplitude / np.abs(x).max())
    block = Block(x, 1_790_000_000 * 10**9, 0, 200, 1)
    kernel = importlib.import_module("lifeline_core.detectors._level")

    def ours() -> list[Any]:
        machines = kernel.Machines(ROWS, (1.0, 1.5), (), (0.9, 0.0), False, 0, 0, 0)
        found: list[Any] = machines.push(x, block)
        return found

    raised_or_over = sorted((e[1], e[0], e[2] == 2) for e in ours() if e[2] != 1)  # 1: a higher limit within the episode
    wanted = by_numpy(x, 1.0, 0.9)
    times = [1_790_000_000 * 10**9 + i * 5_000_000 for i in range(N)]
    assert raised_or_over == [(row, times[i], over) for row, i, over in wanted]
    return ours, lambda: by_numpy(x, 1.0, 0.9)


CASES = [
    Case(f"limits, {ROWS} x {N:,}, none reached", "level", "numpy comparisons, one limit", 10.0, lambda: make(0.5), baseline=8.0),
    Case(f"limits, {ROWS} x {N:,}, some reached", "level", "numpy comparisons, one limit", 1.7, lambda: make(1.4), baseline=1.5),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
