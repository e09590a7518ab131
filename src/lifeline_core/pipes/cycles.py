"""What pressure does to a pipe by going up and down: cycles, a damage sum, and the levels it spent its time at.

::

    cycles      rainflow (ASTM E1049-85); the count goes on over the ends of periods, a cycle belongs to the one it closes in
    damage      sum n_i range_i^m           m is the slope of the wall's S-N curve: told by the owner, there is no default
    levels      share of time below each pressure -> percentiles, to one of at least 128 bins over what occurred

The damage sum has the unit of the pressure to the power m: it compares periods and pipes, and with the constant of an S-N curve
(cycles to failure at a range of 1) it is Miner's sum. Everything is the same bit for bit however the samples are cut.
"""

from __future__ import annotations

from math import isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.dsp.periods import LARGEST, PERCENTILES, Levels, Period, PeriodCycles
from lifeline_core.dsp.rainflow import Cycles

__all__ = ["LARGEST", "PERCENTILES", "Levels", "Period", "PressureCycles", "pressure_cycles"]


class PressureCycles(PeriodCycles):
    """Cycles and levels of ``rows`` channels by periods of the clock, from a stream of regular blocks.

    Parameters
    ----------
    rows : channels.
    exponent : m of the damage sum, above 0. It is the slope of the S-N curve of the pipe's wall, and nobody else's business.
    period_ns : periods begin at its multiples since 1970 UTC.
    large_range : cycles of this range and more are counted apart, in the channel's unit; 0: all.
    gate : cycles of a smaller range are no cycles: the sensor's noise.

    Raises
    ------
    ValueError
        A number out of its range.

    Examples
    --------
    Two samples a second from 1970 on, in periods of ten seconds:

    >>> cycles = PressureCycles(1, 3.0, 10 * 10**9)
    >>> (period,) = [p for _, p in cycles.push(np.float32([[1, 3, 1, 3, 1, 3] + 18 * [1]]), 0, 0, 2, 1)][:1]
    >>> period.cycles, period.damage, period.maximum
    (2.0, 16.0, 3.0)
    """

    def __init__(self, rows: int, exponent: float, period_ns: int, *, large_range: float = 0.0, gate: float = 0.0) -> None:
        if not (exponent > 0.0 and isfinite(exponent)):
            raise ValueError(f"exponent must be above 0 and finite, is {exponent}")
        super().__init__(rows, period_ns, large_range=large_range, gate=gate)
        self.exponent = float(exponent)

    def _wear(self, told: Cycles) -> NDArray[np.float64]:
        with np.errstate(over="ignore"):
            return np.asarray(np.minimum(told.counts * told.ranges**self.exponent, LARGEST), np.float64)


def pressure_cycles(p: ArrayLike, fs: float, exponent: float, *, large_range: float = 0.0, gate: float = 0.0) -> Period:
    """Cycles and levels of one whole record as one period; what is still open at its end counts, as half cycles.

    Parameters
    ----------
    p : array [n]
        Pressure, in any unit; float32 is what counts. Samples that are not finite are passed over.
    fs : float
        Hz, above 0.
    exponent : m of the damage sum.
    large_range, gate : see `PressureCycles`.

    Raises
    ------
    ValueError
        Not one row of samples, a number out of its range.

    Examples
    --------
    >>> found = pressure_cycles([-2, 1, -3, 5, -1, 3, -4, 4, -2], 1.0, 1.0)
    >>> found.cycles, found.damage, found.open_damage
    (4.0, 23.0, 0.0)
    """
    x = np.atleast_2d(np.asarray(p, np.float32))
    if x.ndim != 2 or x.shape[0] != 1 or x.size == 0:
        raise ValueError(f"p must be one row of samples, is of shape {np.shape(p)}")
    if not (fs > 0.0 and isfinite(fs)):
        raise ValueError(f"fs must be above 0 and finite, is {fs}")
    length = int(x.size / fs * 1e9) + 2
    one = PressureCycles(1, exponent, length, large_range=large_range, gate=gate)
    rate = round(fs * 1e6)
    one.push(x, 0, 0, rate, 10**6)
    rest = one._flow.residue()[0]
    one._sums[0, :2] += rest.counts.sum(), rest.counts[rest.ranges >= large_range].sum()
    one._sums[0, 2:] = max(one._sums[0, 2], float(rest.ranges.max(initial=0.0))), one._sums[0, 3] + one._wear(rest).sum()
    one._flow.finish()
    return one.flush()[0][1]
