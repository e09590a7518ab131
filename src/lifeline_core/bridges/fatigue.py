r"""What traffic does to a steel detail by its cycles of strain: rainflow, Miner's sum on a curve of two slopes, a histogram a day.

::

    log range
      |  \                          N = 2e6 (C / r)^m1          r >= D
      |    \  m1
    C |- - - -\
    D |- - - - -*.                  N = 5e6 (D / r)^m2          L <= r < D
      |          : `- .  m2
    L |- - - - - - - - -*---------  none                        r < L
      +--------2e6 5e6--1e8----- log N

C, the range borne 2e6 times, is told by the owner in the channel's unit: for strain the detail category over the elastic modulus
(category 71 MPa on steel of 210 GPa: 338 ue). D = C (2/5)^(1/m1) and L = D (5/100)^(1/m2) follow.

Source: EN 1993-1-9:2005, 7.1 (curves: m = 3 and 5, D = .737 C, L = .549 D), 7.2.1 (in details not welded, or stress relieved, the
compressive part of a range may count six tenths), annex A (Miner's sum); cycles ASTM E1049-85.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.dsp.rainflow import Cycles, Rainflow
from lifeline_core.dsp.stats import Bin, Bins
from lifeline_core.errors import StateError
from lifeline_core.pipes.cycles import LARGEST, PERCENTILES, Levels, Period

Real = NDArray[np.float64]
CLASSES = 512
N_C, N_D, N_L = 2e6, 5e6, 1e8


@dataclass(frozen=True, slots=True)
class Curve:
    """Wear of a cycle of range r: 1 / N as above; without ``range_2e6``: r^exponent, a sum that compares but tells no life.

    ``compressive`` share of a range's part below ``zero`` (the reading where the stress is 0) that counts; 1: all of it, and
    ``zero`` does not matter.

    >>> curve = Curve(3.0, range_2e6=338.0)
    >>> (1.0 / curve.wear([338.0], [0.0], [1.0])).round().tolist()
    [2000000.0]
    """

    exponent: float
    range_2e6: float | None = None
    exponent_2: float = 5.0
    compressive: float = 1.0
    zero: float = 0.0

    def __post_init__(self) -> None:
        if not (self.exponent > 0.0 and self.exponent_2 > 0.0 and isfinite(self.exponent) and isfinite(self.exponent_2)):
            raise ValueError(f"exponents must be above 0 and finite, are {self.exponent} and {self.exponent_2}")
        if self.range_2e6 is not None and not (self.range_2e6 > 0.0 and isfinite(self.range_2e6)):
            raise ValueError(f"range_2e6 must be above 0 and finite, is {self.range_2e6}")
        if not (0.0 <= self.compressive <= 1.0 and isfinite(self.zero)):
            raise ValueError(f"compressive must lie between 0 and 1 and zero be finite, are {self.compressive} and {self.zero}")

    @property
    def knee(self) -> float:
        """D, the range borne 5e6 times; NaN without ``range_2e6``."""
        return (self.range_2e6 or float("nan")) * (N_C / N_D) ** (1.0 / self.exponent)

    @property
    def cutoff(self) -> float:
        """L, below which nothing wears; NaN without ``range_2e6``."""
        return self.knee * (N_D / N_L) ** (1.0 / self.exponent_2)

    def effective(self, ranges: ArrayLike, means: ArrayLike) -> Real:
        """Ranges with their compressive part reduced."""
        r, m = np.asarray(ranges, np.float64), np.asarray(means, np.float64)
        if self.compressive == 1.0:
            return r
        tensile = np.clip(m - self.zero + 0.5 * r, 0.0, r)
        return np.asarray(tensile + self.compressive * (r - tensile))

    def wear(self, ranges: ArrayLike, means: ArrayLike, counts: ArrayLike) -> Real:
        """Miner's share of each cycle, or count r^exponent; at most 1e300."""
        r, n = self.effective(ranges, means), np.asarray(counts, np.float64)
        with np.errstate(over="ignore"):
            if self.range_2e6 is None:
                worn = n * r**self.exponent
            else:
                worn = n * np.where(r >= self.knee, (r / self.range_2e6) ** self.exponent / N_C,
                                    np.where(r >= self.cutoff, (r / self.knee) ** self.exponent_2 / N_D, 0.0))
            return np.asarray(np.minimum(worn, LARGEST), np.float64)


@dataclass(frozen=True, slots=True)
class StrainPeriod(Period):
    """A `pipes.cycles.Period` with the cycles by their range: ``histogram[k]`` of them in [k, k + 1) steps, in its last class all
    beyond; empty without a step."""

    histogram: tuple[float, ...] = ()


class StrainCycles:
    """Cycles of ``rows`` channels by periods of the clock, from a stream of regular blocks; the verbs of `PressureCycles`.

    Parameters
    ----------
    rows, period_ns, large_range, gate : see `pipes.cycles.PressureCycles`.
    curve : what a cycle wears.
    step : width of a class of the histogram of ranges (not reduced), 0: none.

    Examples
    --------
    >>> one = StrainCycles(1, Curve(3.0, range_2e6=100.0), 10 * 10**9, step=50.0)
    >>> told = one.push(np.float32([[0, 100, 0, 100, 0, 100] + 18 * [0]]), 0, 0, 2, 1)
    >>> told[0][1].damage * 2e6, told[0][1].histogram
    (2.0, (0.0, 0.0, 2.0))
    """

    def __init__(self, rows: int, curve: Curve, period_ns: int, *, large_range: float = 0.0, gate: float = 0.0,
                 step: float = 0.0) -> None:
        if not (large_range >= 0.0 and isfinite(large_range) and step >= 0.0 and isfinite(step)):
            raise ValueError(f"large_range and step must be 0 or more and finite, are {large_range} and {step}")
        self.curve, self.large_range, self.step = curve, float(large_range), float(step)
        self._flow, self._bins = Rainflow(rows, gate=gate), Bins(rows, period_ns)
        self._levels = [Levels() for _ in range(rows)]
        self._sums = np.zeros((rows, 4))  # cycles, large ones, largest range, damage
        self._classes = np.zeros((rows, CLASSES if step else 0))

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
            if not told.ranges.size:
                continue
            s = self._sums[row]
            s[:2] += told.counts.sum(), told.counts[told.ranges >= self.large_range].sum()
            s[2] = max(s[2], float(told.ranges.max()))
            # one after the other: a sum in pairs would show where the samples were cut
            s[3] = min(float(np.add.accumulate(np.concatenate([s[3:], self._wear(told)]))[-1]), LARGEST)
            if self.step:
                at = np.minimum(told.ranges / self.step, CLASSES - 1.0).astype(np.intp)
                np.add.at(self._classes[row], at, told.counts)

    def _wear(self, told: Cycles) -> Real:
        return self.curve.wear(told.ranges, told.means, told.counts)

    def _close(self, b: Bin) -> Iterator[tuple[int, Period]]:
        for row, (levels, still) in enumerate(zip(self._levels, self._flow.residue(), strict=True)):
            cycles, large, largest, damage = (float(v) for v in self._sums[row])
            of, last = b.rows[row], np.flatnonzero(self._classes[row])
            yield row, StrainPeriod(
                b.start_ns, b.bin_ns, b.first_ns, b.closed_ns, b.coverage(row), float(of["min"]), float(of["max"]),
                float(of["mean"]), tuple(levels.percentiles(PERCENTILES)), cycles, large, largest, damage,
                min(float(self._wear(still).sum()), LARGEST),
                tuple(self._classes[row][: int(last[-1]) + 1].tolist()) if last.size else ())
            levels.clear()
        self._sums[:], self._classes[:] = 0.0, 0.0

    def save(self) -> dict[str, Any]:
        """State as a map of bytes."""
        return {"flow": self._flow.save(), "bins": self._bins.save(), "sums": self._sums.tobytes(),
                "classes": self._classes.tobytes(), "levels": [levels.save() for levels in self._levels]}

    def load(self, state: Any) -> None:
        """Go on from what `save` of the same rows and settings gave; StateError for anything else."""
        try:
            levels, sums, classes = list(state["levels"]), bytes(state["sums"]), bytes(state["classes"])
            if len(levels) != len(self._levels) or len(sums) != self._sums.nbytes or len(classes) != self._classes.nbytes:
                raise StateError(f"cycles: saved state is not of {len(self._levels)} channels with these classes")
            self._flow.load(bytes(state["flow"]))
            self._bins.load(bytes(state["bins"]))
            for mine, saved in zip(self._levels, levels, strict=True):
                mine.load(bytes(saved))
        except (KeyError, TypeError, ValueError) as error:
            raise error if isinstance(error, StateError) else StateError(f"cycles: saved state is damaged: {error}") from error
        self._sums = np.frombuffer(sums).reshape(self._sums.shape).copy()
        self._classes = np.frombuffer(classes).reshape(self._classes.shape).copy()
