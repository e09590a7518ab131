"""Pairs of loggers correlated one after the other: common stretches, verdict, and a second look past known noises.

Loggers that recorded the same stretches (the usual night: all begin by one clock) go through a `survey.Desk`, which
transforms each logger once for all its pairs; the others are brought onto common stretches pair by pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import hypot
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.pipes.correlation import Correlation, Demands, correlate
from lifeline_core.pipes.hearing import SIGMAS, Hearing, judge, longest_delay
from lifeline_core.pipes.overlap import Common, Take, common
from lifeline_core.pipes.plan import Pair
from lifeline_core.pipes.spectra import segment_length
from lifeline_core.pipes.survey import Desk
from lifeline_core.pipes.survey import Pair as RowPair


@dataclass(frozen=True, slots=True)
class Manner:
    """How pairs are correlated; see `correlate` for ``weighting``, ``band`` and ``mains_hz``."""

    weighting: str = "ht"
    band: tuple[float, float] | None = None
    mains_hz: tuple[float, ...] = (50.0, 60.0)
    same_place_m: float = 0.0
    shortest_s: float = 2.0
    length_rel_sd: float = 0.0
    demands: Demands = field(default_factory=Demands)


@dataclass(frozen=True)
class Job:
    """A pair with what is known about it: deviation of its speeds, and the delay t_b - t_a of every known noise."""

    pair: Pair
    speed_rel_sd: float = 0.0
    known: Mapping[str, float] = field(default_factory=dict)


def hear_pairs(jobs: Sequence[Job], takes: Callable[[str], Sequence[Take]], manner: Manner) -> Iterator[Hearing]:
    """What each pair says of all that its two loggers recorded at the same time, in their order.

    Parameters
    ----------
    jobs : sequence of Job
    takes : callable
        The recordings of a logger by its name. Asked once for each logger; forgotten after the last pair that needs it.
    manner : Manner
    """
    last = {name: i for i, job in enumerate(jobs) for name in (job.pair.a.name, job.pair.b.name)}
    table = _Table(takes, manner)
    for i, job in enumerate(jobs):
        yield table.hear(job)
        for name in (job.pair.a.name, job.pair.b.name):
            if last[name] == i:
                table.forget(name)


class _Table:
    """The recordings in use, and the rows of those that lie on one grid."""

    def __init__(self, takes: Callable[[str], Sequence[Take]], manner: Manner) -> None:
        self._read, self.manner = takes, manner
        self._held: dict[str, Sequence[Take]] = {}
        self._rows: dict[str, Common] = {}
        self._desk = Desk(_Lazy(lambda name: self._rows[name].a))

    def takes(self, name: str) -> Sequence[Take]:
        if name not in self._held:
            self._held[name] = self._read(name)
        return self._held[name]

    def forget(self, name: str) -> None:
        self._held.pop(name, None)
        self._rows.pop(name, None)

    def hear(self, job: Job) -> Hearing:
        pair, manner = job.pair, self.manner
        a, b = self.takes(pair.a.name), self.takes(pair.b.name)
        if not a or not b:
            silent = pair.a.name if not a else pair.b.name
            return Hearing(pair, "deaf", (f"no-common-time: nothing of {silent} can be used",))
        both = self._together(pair, a, b)
        if isinstance(both, str):
            return Hearing(pair, "deaf", (both,))
        limit, fs = longest_delay(pair, job.speed_rel_sd, both.rate_hz), both.rate_hz
        about: dict[str, Any] = {"seconds": both.seconds, "stretches": both.stretches, "t0_ns": both.t0_ns}
        if (size := segment_length(both.a.size, fs, limit)) > both.a.size or limit >= both.a.size / fs:
            return Hearing(pair, "deaf", (f"too-short: {both.seconds:.1f} s in common, one segment for delays up to {limit:.3f} s "
                                          f"is {size / fs:.1f} s",), **about)
        first = self._judged(job, both, limit, ())
        named = _named(job, first, manner)
        near = [(t - both.later_s, _width(job, t, manner)) for t in job.known.values() if abs(t) <= limit]
        if near and (named is not None or _several(first)):
            second = self._judged(job, both, limit, near)
            if second.kind == "leak":
                first = second
            elif named is not None:
                first = replace(first, kind="known", reasons=(f"known-source: {named} explains {first.delay_s * 1e3:.2f} ms",))
        return replace(first, **about)

    def _together(self, pair: Pair, a: Sequence[Take], b: Sequence[Take]) -> Common | str:
        """What both recorded at once; the rows are kept where they serve other pairs too."""
        if [t.span for t in a] != [t.span for t in b]:
            return common(a, b, shortest_s=self.manner.shortest_s)
        for name, takes in ((pair.a.name, a), (pair.b.name, b)):
            if name not in self._rows:
                own = common(takes, takes, shortest_s=self.manner.shortest_s)
                if isinstance(own, str):
                    return own
                self._rows[name] = own
        row, other = self._rows[pair.a.name], self._rows[pair.b.name]
        return replace(row, b=other.a)

    def _judged(self, job: Job, both: Common, limit: float, suppress: Sequence[tuple[float, float]]) -> Hearing:
        pair, manner, fs = job.pair, self.manner, both.rate_hz
        asked: dict[str, Any] = {
            "weighting": manner.weighting, "band": manner.band, "mains_hz": manner.mains_hz, "demands": manner.demands,
            "polarity": "inverted" if pair.inverted else "same", "clock_sd_s": pair.clock_sd_s, "suppress": suppress}
        names = pair.a.name, pair.b.name
        if all(n in self._rows and self._rows[n].a is row for n, row in zip(names, (both.a, both.b), strict=True)):
            found = self._desk.correlate(RowPair(*names, limit), fs, None, asked)
        else:
            found = correlate(both.a, both.b, fs, max_delay_s=limit, **asked)
        return judge(pair, found, later_s=both.later_s, speed_rel_sd=job.speed_rel_sd, length_rel_sd=manner.length_rel_sd,
                     demands=manner.demands)


class _Lazy(Mapping[str, NDArray[Any]]):
    """Rows by name, asked for when they are needed."""

    def __init__(self, row: Callable[[str], NDArray[Any]]) -> None:
        self._row = row

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._row(name)

    def __iter__(self) -> Iterator[str]:
        raise TypeError("rows are asked for by name")

    def __len__(self) -> int:
        raise TypeError("rows are asked for by name")


def _named(job: Job, heard: Hearing, manner: Manner) -> str | None:
    """The known noise that explains an accepted delay."""
    if heard.kind not in ("leak", "middle"):
        return None
    near = [(abs(heard.delay_s - t), name) for name, t in job.known.items()
            if abs(heard.delay_s - t) <= _width(job, t, manner)]
    return min(near)[1] if near else None


def _several(heard: Hearing) -> bool:
    return any(r.startswith("several-peaks") for r in heard.reasons)


def _width(job: Job, told_s: float, manner: Manner) -> float:
    """How far from a known noise's delay its peak may lie: deviations of clocks and speeds, and the same place."""
    slowest = min(p.speed_mps for p in job.pair.way.pieces if p.length_m)
    sd = hypot(job.pair.clock_sd_s, job.speed_rel_sd * abs(told_s))
    return SIGMAS * sd + 2.0 * manner.same_place_m / slowest


def without_arrays(heard: Hearing) -> Hearing:
    """The same for a table: the figures of the correlation, not its curves."""
    if heard.found is None:
        return heard
    none = np.empty(0)
    slim: Correlation = replace(heard.found, lags_s=none, r=none, f=none, coherence=none, phase=none)
    return replace(heard, found=slim)
