"""Modes of a long recording, window by window, shared out over processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.bridges.identify import identify_modes
from lifeline_core.bridges.modes import Modes
from lifeline_core.bridges.tracks import Window
from lifeline_core.cli.nightshift import Crew
from lifeline_core.cli.pieces import Recorded, Stretch, no_number, window_mean
from lifeline_core.model import NS
from lifeline_core.store.arrays import Recording

SMALL = 1 << 24  # samples of all channels and windows: below, other processes take longer to begin than the work


@dataclass(frozen=True)
class Search:
    """How modes are sought; of `identify_modes`."""

    f_min: float
    f_max: float | None
    br: int
    order_max: int


@dataclass(frozen=True)
class Task:
    """One window."""

    x: NDArray[Any]
    rate_hz: float
    names: tuple[str, ...]
    search: Search


def identify(task: Task) -> Modes | str:
    """The modes of a window, or why there can be none."""
    if why := no_number(task.x, task.names, task.rate_hz):
        return why
    try:
        s = task.search
        return identify_modes(task.x, task.rate_hz, s.f_max, f_min=s.f_min, br=s.br, order_max=s.order_max)
    except (ValueError, np.linalg.LinAlgError) as error:
        return str(error)


class Windows(Sequence[Task]):
    """Every window of ``window_s`` seconds that begins ``every_s`` after the one before; after a gap they begin anew.

    Cut when asked for: windows that overlap would take the recording several times."""

    def __init__(self, recorded: Recorded, window_s: float, every_s: float, search: Search) -> None:
        self.recorded, self.search = recorded, search
        self.n, step = round(window_s * recorded.rate_hz), max(1, round(every_s * recorded.rate_hz))
        ends = [(s, s.x.shape[1] - self.n + 1) for s in recorded.stretches]
        self.cuts: list[tuple[Stretch, int]] = [(s, k) for s, end in ends for k in range(0, end, step)]
        if not self.cuts:
            longest = recorded.seconds(recorded.longest())
            raise ValueError(f"no stretch without a gap is as long as a window of {window_s:g} s: the longest has {longest:g} s")

    def __len__(self) -> int:
        return len(self.cuts)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        stretch, k = self.cuts[i]
        x = np.ascontiguousarray(stretch.x[:, k : k + self.n])
        return Task(x, self.recorded.rate_hz, tuple(self.recorded.names), self.search)

    def times(self) -> Iterator[tuple[int, int]]:
        """Begin and end of each, UTC nanoseconds."""
        for stretch, k in self.cuts:
            begin = stretch.t0_ns + round(k * NS / self.recorded.rate_hz)
            yield begin, begin + round(self.n * NS / self.recorded.rate_hz)


def identify_windows(tasks: Windows, weather: Sequence[Recording], jobs: int | None) -> tuple[list[Window], bool]:
    """Every window with what was found in it; False: Ctrl-C came, the windows are the first ones."""
    if jobs is None:
        jobs = 1 if len(tasks) * tasks.n * len(tasks.recorded.names) < SMALL else os.cpu_count() or 1
    with Crew(min(jobs, len(tasks))) as crew:
        found, whole = crew.spread(identify, tasks, "windows")
    out = []
    for (begin, end), modes in zip(tasks.times(), found, strict=False):
        good = isinstance(modes, Modes)
        out.append(Window(begin, end, modes if isinstance(modes, Modes) else None, "" if good else str(modes),
                          window_mean(weather, begin, end)))
    return out, whole
