"""What a passage is looked for in: means over short bins, or the RMS behind a high-pass, and what the peak is read from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.dsp.designs import highpass
from lifeline_core.dsp.filters import SosFilter
from lifeline_core.errors import StateError

Real = NDArray[np.float64]


class Smoother:
    """Bins of ``m`` samples over ``rows`` channels.

    Parameters
    ----------
    rows, m : channels; samples of a bin, 1 or more.
    fs : sampling rate, Hz.
    corner_hz : of a high-pass of order 2, Hz: the RMS of a bin behind it is answered; absent: the bin's mean.

    >>> Smoother(1, 2, 100.0).push(np.float32([[1, 3, 5, 7]]))[0].tolist()
    [[2.0, 6.0]]
    """

    def __init__(self, rows: int, m: int, fs: float, corner_hz: float | None = None) -> None:
        self.rows, self.m = rows, m
        self._filter = None if corner_hz is None else SosFilter(highpass(fs, corner_hz), rows)
        self._settled = [False] * rows

    def push(self, x: NDArray[np.float32]) -> tuple[Real, Real]:
        """float64[rows, n / m] each: the bins, and their extremes (signed, behind the high-pass; the means again without one).

        A bin with a sample that is not finite is NaN.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            if self._filter is None:
                mean = _measured(self._sum(x.astype(np.float64), 1) / self.m)
                return mean, mean
            for row, done in enumerate(self._settled):
                if not done and (finite := np.flatnonzero(np.isfinite(x[row]))).size:
                    self._filter.settle(row, float(x[row, finite[0]]))
                    self._settled[row] = True
            z = self._filter.push(np.ascontiguousarray(x)).astype(np.float64)
            parts = z.reshape(self.rows, -1, self.m)
            size = np.where(np.isfinite(parts), np.abs(parts), -1.0)
            extreme = np.take_along_axis(parts, size.argmax(axis=2)[:, :, None], 2)[:, :, 0]
            return _measured(np.sqrt(self._sum(z, 2) / self.m)), _measured(extreme)

    def _sum(self, z: Real, power: int) -> Real:
        total = np.zeros((self.rows, z.shape[1] // self.m))
        for i in range(self.m):  # one after the other: a sum in pairs might show how many bins came at once
            total += z[:, i :: self.m] ** power
        return total

    def seam(self) -> None:
        """What follows does not join."""
        if self._filter is not None:
            self._filter.z[:] = 0.0
        self._settled = [False] * self.rows

    def save(self) -> dict[str, Any]:
        return {"filter": None if self._filter is None else self._filter.save(), "settled": list(self._settled)}

    def load(self, state: Mapping[str, Any]) -> None:
        if (state["filter"] is None) != (self._filter is None) or len(state["settled"]) != self.rows:
            raise StateError(f"smoother: saved state is of another form, or not of {self.rows} rows")
        if self._filter is not None:
            self._filter.load(bytes(state["filter"]))
        self._settled = [bool(s) for s in state["settled"]]


def _measured(y: Real) -> Real:
    """What is not finite is not measured: NaN."""
    return np.where(np.isfinite(y), y, np.nan)
