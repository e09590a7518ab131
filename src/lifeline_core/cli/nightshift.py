"""The work of a night shared out over processes: levels of loggers, pairs, pictures. What comes out does not depend on how many."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from datetime import date, time, tzinfo
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lifeline_core.cli.lines import PEOPLE
from lifeline_core.dsp import welch
from lifeline_core.errors import LifelineError
from lifeline_core.pipes.correlation import clipped_share
from lifeline_core.pipes.hearing import Hearing
from lifeline_core.pipes.leaks import Leak
from lifeline_core.pipes.listen import Job, Manner, hear_pairs, without_arrays
from lifeline_core.pipes.loggers import Levels, night_levels, second_levels
from lifeline_core.pipes.overlap import Take, night_of, within_hours
from lifeline_core.pipes.persistence import Event, Rules
from lifeline_core.pipes.picture import Evidence, draw_leak
from lifeline_core.pipes.places import PipeMap
from lifeline_core.store.night import Trouble, read_takes

CHUNK = 64  # pairs handed to a process at once: neighbours share their loggers' recordings
AHEAD = 4  # chunks waiting for each process: a night's results are not all in flight at once
SMALL_BYTES = 1 << 25
SLOWEST_HZ = 20.0  # a recording below this rate holds no noise of a leak

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Reading:
    """Which files are whose, and which part of them is the night."""

    files: Mapping[str, Sequence[Path]]
    zone: tzinfo
    hours: tuple[time, time] | None = None
    night: date | None = None

    def only(self, names: Sequence[str]) -> Reading:
        """The same for a few loggers, to be sent to a process."""
        return Reading({n: self.files[n] for n in names if n in self.files}, self.zone, self.hours, self.night)

    def takes(self, name: str) -> tuple[list[Take], list[Trouble]]:
        """What can be used of a logger's recordings, and what cannot."""
        takes, troubles = read_takes(self.files.get(name, ()), name, self.zone)
        if takes and self.hours is not None:
            takes = [part for t in takes for part in within_hours(t, self.hours, self.zone)]
            if not takes:
                troubles.append(Trouble(name, "outside-hours", f"no recording from {self.hours[0]:%H:%M} to {self.hours[1]:%H:%M}"))
        if takes and self.night is not None:
            takes = [t for t in takes if t.t0_ns is None or night_of(t.t0_ns, self.zone) == self.night]
            if not takes:
                troubles.append(Trouble(name, "other-night", f"no recording of the night of {self.night}"))
        return takes, troubles


@dataclass(frozen=True)
class Report:
    """What one logger says by itself."""

    name: str
    recordings: int = 0
    seconds: float = 0.0
    rates_hz: tuple[float, ...] = ()
    nights: tuple[date, ...] = ()
    timeless: int = 0
    clipped: float = 0.0
    levels: Levels = field(default_factory=lambda: night_levels([]))
    troubles: tuple[Trouble, ...] = ()

    @property
    def usable(self) -> bool:
        return self.recordings > 0 and not any(t.word in ("dead", "slow") for t in self.troubles)


# -- what a process does ---------------------------------------------------------------------------------------------------


def look(task: tuple[str, Reading, float, float, float]) -> Report:
    """Levels and faults of one logger: its name, how to read it, low percentile, share of the Spread, share clipped at most."""
    name, reading, low_percent, spread_share, most_clipped = task
    takes, troubles = reading.takes(name)
    if not takes:
        return Report(name, troubles=tuple(troubles))
    rates = tuple(sorted({t.rate_hz for t in takes}))
    if rates[-1] < SLOWEST_HZ:
        troubles.append(Trouble(name, "slow", f"has {rates[-1]:g} samples per second, at least {SLOWEST_HZ:g} are needed"))
        return Report(name, len(takes), sum(t.seconds for t in takes), rates, troubles=tuple(troubles))
    levels = night_levels(np.concatenate([second_levels(t.x, t.rate_hz) for t in takes]), low_percent=low_percent,
                          spread_share=spread_share)
    clipped = max(clipped_share(t.x) for t in takes)
    if clipped > most_clipped:
        troubles.append(Trouble(name, "clipped", f"{clipped:.2%} of the samples are at the ends, at most {most_clipped:.2%}"))
    if len(rates) > 1:
        troubles.append(Trouble(name, "rate-mismatch", f"its own recordings have {', '.join(f'{r:g}' for r in rates)} Hz"))
    if not any(_alive(t) for t in takes):
        troubles.append(Trouble(name, "dead", "all samples of a recording are equal, or none is a number"))
    nights = sorted({night_of(t.t0_ns, reading.zone) for t in takes if t.t0_ns is not None})
    return Report(name, len(takes), sum(t.seconds for t in takes), rates, tuple(nights), sum(t.t0_ns is None for t in takes),
                  clipped, levels, tuple(troubles))


def _alive(take: Take) -> bool:
    x = take.x[np.isfinite(take.x)]
    return bool(x.size and x.min() < x.max())


def hear(task: tuple[Sequence[Job], Reading, Manner]) -> list[Hearing]:
    """What some pairs say. Only what may become a leak keeps its curves."""
    jobs, reading, manner = task
    heard = hear_pairs(jobs, lambda name: reading.takes(name)[0], manner)
    return [h if h.kind in ("leak", "middle") else without_arrays(h) for h in heard]


@dataclass(frozen=True)
class Drawing:
    """A leak to be drawn to a file."""

    path: Path
    leak: Leak
    pipes: PipeMap
    reading: Reading
    levels: tuple[Levels, Levels]
    night: str | None = None
    event: Event | None = None
    rules: Rules | None = None


def draw(task: Drawing) -> Path:
    """Draw one leak."""
    pair, found = task.leak.main.pair, task.leak.main.found
    assert found is not None
    takes = [max(task.reading.takes(g.name)[0], key=lambda t: t.seconds) for g in (pair.a, pair.b)]
    n = 2 * (len(found.f) - 1)
    power = [welch(np.nan_to_num(t.x.astype(np.float32, copy=False)), t.rate_hz, nperseg=min(n, t.x.size)) for t in takes]
    size = min(len(f) for f, _ in power)
    evidence = Evidence(power[0][0][:size], power[0][1][:size], power[1][1][:size], *task.levels)
    figure = draw_leak(task.leak, task.pipes, evidence, night=task.night, event=task.event, rules=task.rules)
    figure.savefig(task.path, dpi=110)
    return task.path


# -- how they are shared out -----------------------------------------------------------------------------------------------


def _quiet() -> None:
    """Ctrl-C is for the process that writes the results."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Crew:
    """Processes for one night; made when they are first needed, ended with the ``with`` block. One job: none are made."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._pool: ProcessPoolExecutor | None = None

    @classmethod
    def for_files(cls, asked: int | None, files: Mapping[str, Sequence[Path]]) -> Crew:
        """As many as asked for; else one per core, and none for a night that takes no longer than they take to begin."""
        if asked is None and sum(p.stat().st_size for paths in files.values() for p in paths) < SMALL_BYTES:
            return cls(1)
        return cls(asked or os.cpu_count() or 1)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def spread(self, work: Callable[[T], R], tasks: Sequence[T], label: str, sizes: Sequence[int] | None = None
               ) -> tuple[list[R], bool]:
        """work(task) of each task, in their order, with a progress bar.

        Returns
        -------
        results, whole
            ``whole`` False: Ctrl-C came; the results are those of the first tasks.
        """
        weights = list(sizes) if sizes is not None else [1] * len(tasks)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        results: list[R] = []
        with Progress(*columns, console=PEOPLE, transient=True) as bar:
            row = bar.add_task(label, total=sum(weights))
            done = map(work, tasks) if self.jobs == 1 or len(tasks) == 1 else self._pooled(work, tasks)
            try:
                for result, weight in zip(done, weights, strict=True):
                    results.append(result)
                    bar.advance(row, weight)
            except KeyboardInterrupt:
                return results, False
            except BrokenProcessPool as error:
                raise LifelineError("a process ended before its work was done (memory?): try fewer --jobs") from error
        return results, True

    def _pooled(self, work: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")  # a fork would copy whatever threads the libraries have begun
            self._pool = ProcessPoolExecutor(self.jobs, mp_context=context, initializer=_quiet)
        waiting: deque[Future[R]] = deque()
        rest = iter(tasks)
        try:
            while True:
                for task in islice(rest, AHEAD * self.jobs - len(waiting)):
                    waiting.append(self._pool.submit(work, task))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
