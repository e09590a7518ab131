"""One kernel against what a user would pick instead: turn by turn in one process, so that both meet the same machine."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lifeline_core import isa

Work = Callable[[], object]

TURN_S = 4e-3  # shorter work is repeated within a turn until it can be timed
CALM_S = 0.7  # short turns are many: a machine that others use disturbs a few of them, not the median
MOST = 51
CASE_S = 20.0  # a slow peer gets fewer turns, but three


@dataclass(frozen=True)
class Case:
    """A row of the table.

    name : what is done, with its sizes.
    stem : the kernel it stands for.
    peer : what a user would pick instead.
    least : our promise, times as fast as the peer.
    make : builds the data and gives (ours, theirs).
    baseline : the promise under LIFELINE_ISA=baseline.
    rounds : turns of each; more where they are short.
    gated : `make bench-gate` looks at it too, with a wide margin.
    """

    name: str
    stem: str
    peer: str
    least: float
    make: Callable[[], tuple[Work, Work]]
    baseline: float = 1.2
    rounds: int = 7
    gated: bool = True

    @property
    def promise(self) -> float:
        """What counts under the instruction set in use."""
        return self.baseline if isa.check() == "baseline" else self.least


@dataclass(frozen=True)
class Outcome:
    """ratio is the median over the turns of theirs / ours; times are medians in seconds."""

    ratio: float
    ratios: tuple[float, ...]
    ours_s: float
    theirs_s: float


def _timed(work: Work, calls: int = 1) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - begin) / calls


def fight(ours: Work, theirs: Work, rounds: int = 7, seconds: float = CASE_S) -> Outcome:
    """Alternate; the first call of each is not counted, it meets cold caches and plans not yet made."""
    works = (ours, theirs)
    first = [_timed(w) for w in works]
    once = [min(t, _timed(w)) if t < seconds / 8 else t for w, t in zip(works, first, strict=True)]
    calls = [max(1, min(1000, math.ceil(TURN_S / max(t, 1e-9)))) for t in once]
    turn = sum(t * n for t, n in zip(once, calls, strict=True))
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(max(3, min(max(rounds, int(CALM_S / turn)), int(seconds / turn), MOST))):
        for k in (0, 1) if i % 2 else (1, 0):
            times[k].append(_timed(works[k], calls[k]))
    ratios = tuple(y / x for x, y in zip(*times, strict=True))
    return Outcome(statistics.median(ratios), ratios, *(statistics.median(t) for t in times))


def duel(benchmark: Any, case: Case) -> Outcome:
    """Run a case inside a pytest-benchmark test; the row of the table goes into the report's extra_info."""
    ours, theirs = case.make()
    found = fight(ours, theirs, case.rounds)
    benchmark.extra_info.update(
        name=case.name,
        stem=case.stem,
        peer=case.peer,
        least=case.promise,
        ours_ms=found.ours_s * 1e3,
        peer_ms=found.theirs_s * 1e3,
        ratio=found.ratio,
        ratio_min=min(found.ratios),
        ratio_max=max(found.ratios),
        turns=len(found.ratios),
        ok=found.ratio >= case.promise,
    )
    benchmark.pedantic(ours, rounds=1, warmup_rounds=0)
    return found
