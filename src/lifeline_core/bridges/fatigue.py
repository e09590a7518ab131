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

from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.dsp.periods import LARGEST, Period, PeriodCycles
from lifeline_core.dsp.rainflow import Cycles
from lifeline_core.errors import StateError

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
    """A `dsp.periods.Period` with the cycles by their range: ``histogram[k]`` of them in [k, k + 1) steps, in its last class all
    beyond; empty without a step."""

    histogram: tuple[float, ...] = ()


class StrainCycles(PeriodCycles):
    """Cycles of ``rows`` channels by periods of the clock, from a stream of regular blocks.

    Parameters
    ----------
    rows, period_ns, large_range, gate : see `dsp.periods.PeriodCycles`.
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
        if not (step >= 0.0 and isfinite(step)):
            raise ValueError(f"step must be 0 or more and finite, is {step}")
        super().__init__(rows, period_ns, large_range=large_range, gate=gate)
        self.curve, self.step = curve, float(step)
        self._classes = np.zeros((rows, CLASSES if step else 0))

    def _wear(self, told: Cycles) -> Real:
        return self.curve.wear(told.ranges, told.means, told.counts)

    def _count(self, row: int, told: Cycles) -> None:
        if self.step:
            at = np.minimum(told.ranges / self.step, CLASSES - 1.0).astype(np.intp)
            np.add.at(self._classes[row], at, told.counts)

    def _tell(self, row: int, period: Period) -> StrainPeriod:
        last = np.flatnonzero(self._classes[row])
        histogram = tuple(self._classes[row][: int(last[-1]) + 1].tolist()) if last.size else ()
        self._classes[row] = 0.0
        return StrainPeriod(**asdict(period), histogram=histogram)

    def save(self) -> dict[str, Any]:
        """State as a map of bytes."""
        return super().save() | {"classes": self._classes.tobytes()}

    def load(self, state: Any) -> None:
        """Go on from what `save` of the same rows and settings gave; StateError for anything else."""
        try:
            classes = bytes(state["classes"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"cycles: saved state is damaged: {error}") from error
        if len(classes) != self._classes.nbytes:
            raise StateError("cycles: saved state is not of these classes")
        super().load(state)
        self._classes = np.frombuffer(classes).reshape(self._classes.shape).copy()
