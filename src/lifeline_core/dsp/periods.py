"""Cycles and levels of channels by periods of the clock: rainflow that goes on, a sum of wear, time spent at each level.

::

    cycles      ASTM E1049-85; the count goes on over the ends of periods, a cycle belongs to the one it closes in
    wear        what each cycle adds to the damage: told by whoever knows the material
    levels      share of time below each value -> percentiles, to one of at least 128 bins over what occurred

Everything is the same bit for bit however the samples are cut.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor, frexp, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.dsp.rainflow import Cycles, Rainflow
from lifeline_core.dsp.stats import Bin, Bins
from lifeline_core.errors import StateError

PERCENTILES = (1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0)
LARGEST = 1e300  # a damage beyond is told as this: infinity is no number for a message


class Levels:
    """How often one channel was at which level, in memory that does not grow; bins are a power of two wide.

    The width follows from the samples alone, not from their order or how they come: it is the smallest for which all that
    occurred lies in ``MOST`` bins, and no finer than float32 can tell.

    Examples
    --------
    >>> levels = Levels()
    >>> levels.push(np.arange(1000, dtype=np.float32))
    >>> [round(p) for p in levels.percentiles([5.0, 50.0, 95.0])]
    [50, 500, 950]
    """

    MOST = 256
    COUNTED = 1 << 53  # of a sound state; a thousand samples a second take 285,000 years
    HEAD = struct.Struct("<4sIiqI")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self._exponent, self._first, self._counts = -200, 0, np.zeros(0, np.int64)

    @property
    def n(self) -> int:
        """Samples counted."""
        return int(self._counts.sum())

    def push(self, x: NDArray[Any]) -> None:
        """Count samples; those that are not finite are passed over."""
        x = np.asarray(x, np.float64)
        x = x[np.isfinite(x)]
        if x.size == 0:
            return
        low, high = float(x.min()), float(x.max())
        peak = max(abs(low), abs(high))
        exponent = max(self._exponent, frexp(peak)[1] - 24) if peak > 0.0 else self._exponent
        while True:
            first, last = floor(np.ldexp(low, -exponent)), floor(np.ldexp(high, -exponent))
            if self._counts.size:
                by = exponent - self._exponent
                first = min(first, self._first >> by)
                last = max(last, (self._first + self._counts.size - 1) >> by)
            if last - first < self.MOST:
                break
            exponent += 1
        counts = np.zeros(last - first + 1, np.int64)
        if self._counts.size:
            at = (np.arange(self._first, self._first + self._counts.size) >> (exponent - self._exponent)) - first
            np.add.at(counts, at, self._counts)
        at = np.floor(np.ldexp(x, -exponent)).astype(np.int64) - first
        counts += np.bincount(at, minlength=counts.size)
        self._exponent, self._first, self._counts = exponent, first, counts

    def percentiles(self, shares: Sequence[float]) -> list[float]:
        """Level below which so many per cent of the samples lie, within a bin by proportion; NaN where there are none."""
        total = self.n
        if total == 0:
            return [float("nan")] * len(shares)
        edges = np.ldexp(np.arange(self._first, self._first + self._counts.size + 1, dtype=np.float64), self._exponent)
        below = np.concatenate([[0.0], np.cumsum(self._counts)]) / total * 100.0
        return [float(np.interp(p, below, edges)) for p in shares]

    def save(self) -> bytes:
        return self.HEAD.pack(b"LLLv", 1, self._exponent, self._first, self._counts.size) + self._counts.tobytes()

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError for anything else."""
        if len(state) < self.HEAD.size:
            raise StateError(f"levels: saved state has {len(state)} bytes")
        tag, version, exponent, first, size = self.HEAD.unpack(state[: self.HEAD.size])
        body = state[self.HEAD.size :]
        if (tag, version) != (b"LLLv", 1) or size > self.MOST or len(body) != 8 * size or not -200 <= exponent <= 1100 \
                or abs(first) > 1 << 40:
            raise StateError("levels: saved state is of another version, or damaged")
        counts = np.frombuffer(body, np.int64).copy()
        if (counts < 0).any() or counts.sum(dtype=np.float64) > self.COUNTED:
            raise StateError(f"levels: saved state has counts below 0, or more than {self.COUNTED} in all")
        self._exponent, self._first, self._counts = exponent, first, counts


@dataclass(frozen=True, slots=True)
class Period:
    """One channel in one period of the clock.

    ``start_ns``, ``period_ns`` where it lies; ``first_ns``, ``closed_ns`` its first sample, and when it could be told.
    ``coverage`` finite samples over expected ones. ``minimum``, ``maximum``, ``mean``, ``percentiles`` (of PERCENTILES) in the
    channel's unit. ``cycles`` closed in it (a half counts 0.5), ``large`` those of them of ``large_range`` or more,
    ``largest`` range. ``damage`` sum of count range^m. ``open_damage``: what is not closed yet would add, if it ended here.
    """

    start_ns: int
    period_ns: int
    first_ns: int
    closed_ns: int
    coverage: float
    minimum: float
    maximum: float
    mean: float
    percentiles: tuple[float, ...]
    cycles: float
    large: float
    largest: float
    damage: float
    open_damage: float


class PeriodCycles:
    """Cycles and levels of ``rows`` channels by periods of the clock, from a stream of regular blocks.

    Who knows what a cycle wears says it in `_wear`; `_count` and `_tell` may add to what is kept and told of a period.

    Parameters
    ----------
    rows : channels.
    period_ns : periods begin at its multiples since 1970 UTC.
    large_range : cycles of this range and more are counted apart, in the channel's unit; 0: all.
    gate : cycles of a smaller range are no cycles: the sensor's noise.

    Raises
    ------
    ValueError
        A number out of its range.
    """

    def __init__(self, rows: int, period_ns: int, *, large_range: float = 0.0, gate: float = 0.0) -> None:
        if not (large_range >= 0.0 and isfinite(large_range)):
            raise ValueError(f"large_range must be 0 or more and finite, is {large_range}")
        self.large_range = float(large_range)
        self._flow, self._bins = Rainflow(rows, gate=gate), Bins(rows, period_ns)
        self._levels = [Levels() for _ in range(rows)]
        self._sums = np.zeros((rows, 4))  # cycles, large ones, largest range, damage

    def _wear(self, told: Cycles) -> NDArray[np.float64]:
        """What each cycle adds to the damage, at most LARGEST."""
        raise NotImplementedError

    def _count(self, row: int, told: Cycles) -> None:
        """Cycles that closed, for what a kind keeps beside the sums."""

    def _tell(self, row: int, period: Period) -> Period:
        """The period as this kind tells it."""
        return period

    def push(self, x: NDArray[np.float32], anchor_ns: int, index: int, rate_num: int, rate_den: int) -> list[tuple[int, Period]]:
        """Take float32[rows, n] in; (row, period) of what closed.

        Sample i is at anchor_ns + (index + i) * rate_den * 1e9 // rate_num.
        """
        told: list[tuple[int, Period]] = []
        for begin, end, closed in self._bins.walk(x, anchor_ns, index, rate_num, rate_den):
            if end > begin:
                self._take(x[:, begin:end])
            if closed is not None:
                told += self._close(closed)
        return told

    def flush(self) -> list[tuple[int, Period]]:
        """The period that is open, where it stands; none if it is empty."""
        closed = self._bins.flush()
        return [] if closed is None else list(self._close(closed))

    @property
    def begun(self) -> bool:
        """Whether the open period has a sample."""
        return self._bins.seen > 0

    def _take(self, x: NDArray[np.float32]) -> None:
        for row, told in enumerate(self._flow.push(x)):
            self._levels[row].push(x[row])
            if told.ranges.size:
                self._sums[row, :2] += told.counts.sum(), told.counts[told.ranges >= self.large_range].sum()
                self._sums[row, 2] = max(self._sums[row, 2], float(told.ranges.max()))
                # one after the other: a sum in pairs would show where the samples were cut
                terms = np.concatenate([self._sums[row, 3:], self._wear(told)])
                self._sums[row, 3] = min(float(np.add.accumulate(terms)[-1]), LARGEST)
                self._count(row, told)

    def _close(self, b: Bin) -> Iterator[tuple[int, Period]]:
        for row, (levels, still) in enumerate(zip(self._levels, self._flow.residue(), strict=True)):
            cycles, large, largest, damage = (float(v) for v in self._sums[row])
            of = b.rows[row]
            yield row, self._tell(row, Period(
                b.start_ns, b.bin_ns, b.first_ns, b.closed_ns, b.coverage(row), float(of["min"]), float(of["max"]),
                float(of["mean"]), tuple(levels.percentiles(PERCENTILES)), cycles, large, largest, damage,
                min(float(self._wear(still).sum()), LARGEST)))
            levels.clear()
        self._sums[:] = 0.0

    def save(self) -> dict[str, Any]:
        """State as a map of bytes."""
        return {"flow": self._flow.save(), "bins": self._bins.save(), "sums": self._sums.tobytes(),
                "levels": [levels.save() for levels in self._levels]}

    def load(self, state: Any) -> None:
        """Go on from what `save` of the same rows and settings gave; StateError for anything else."""
        try:
            flow, bins, sums, levels = (state[key] for key in ("flow", "bins", "sums", "levels"))
            if len(levels) != len(self._levels) or len(sums) != self._sums.nbytes:
                raise StateError(f"cycles: saved state is not of {len(self._levels)} channels")
            self._flow.load(bytes(flow))
            self._bins.load(bytes(bins))
            for mine, saved in zip(self._levels, levels, strict=True):
                mine.load(bytes(saved))
            self._sums = np.frombuffer(bytes(sums)).reshape(self._sums.shape).copy()
        except (KeyError, TypeError, ValueError) as error:
            raise error if isinstance(error, StateError) else StateError(f"cycles: saved state is damaged: {error}") from error
