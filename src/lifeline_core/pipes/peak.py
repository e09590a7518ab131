"""The peak of a correlogram: drawn from the open frequencies, picked with known sources left out, and placed exactly.

Every function takes a weighted cross spectrum at some lines of a grid (``at``: line numbers, ``cross``: values), so that only the
lines in use are touched. tau in seconds, theta = 2 pi tau fs / nperseg the turn from one line to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lifeline_core.dsp.delay import main_lobe
from lifeline_core.pipes.cross import lags as every_lag
from lifeline_core.pipes.cross import newton

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

FINER = 2  # steps of the correlogram in a sample


@dataclass(frozen=True, slots=True)
class Correlogram:
    """R over the lags that may be looked at, and what stands beyond them."""

    lags_s: Real
    r: Real
    beyond: float  # highest value beyond the longest delay, within a quarter of a segment
    beyond_s: float  # its lag
    blocked: Mask | None  # lags of sources known to be something else
    peak: int

    @property
    def lag_s(self) -> float:
        """The highest value's place by the parabola through it and its neighbours: good to a few hundredths of a step."""
        k, r = self.peak, self.r
        if not 0 < k < r.size - 1:
            return float(self.lags_s[k])
        bend = float(r[k - 1] - 2.0 * r[k] + r[k + 1])
        off = 0.5 * float(r[k - 1] - r[k + 1]) / bend if bend < 0.0 else 0.0
        return float(self.lags_s[k] + min(max(off, -0.5), 0.5) * (self.lags_s[1] - self.lags_s[0]))

    @property
    def trough(self) -> float:
        """Depth of the lowest value among the lags that are not blocked, 0 or more."""
        return max(-float(self._open().min()), 0.0)

    @property
    def trough_s(self) -> float:
        """Its lag."""
        return float(self.lags_s[int(np.argmin(self._open()))])

    def _open(self) -> Real:
        return self.r if self.blocked is None else np.where(self.blocked, 0.0, self.r)

    def suppressed(self, suppress: Sequence[tuple[float, float]]) -> tuple[tuple[float, float, float], ...]:
        """(delay_s, width_s, highest r) of each source left out."""
        step = float(self.lags_s[-1] - self.lags_s[-2])
        near = [np.abs(self.lags_s - delay) <= 0.5 * max(width, step) for delay, width in suppress]
        return tuple((float(d), float(w), float(self.r[m].max(initial=0.0))) for (d, w), m in zip(suppress, near, strict=True))

    def ratios(self) -> tuple[float, float]:
        """PSR and PMR: the peak over the next one, and over the mean size of all lags that are not blocked."""
        top = float(self.r[self.peak])
        if not top > 0.0:
            return 0.0, 0.0
        rest = self.r.copy()
        rest[main_lobe(self.r, self.peak)] = 0.0
        size = np.abs(self.r)
        if self.blocked is not None:
            rest[self.blocked], size = 0.0, size[~self.blocked]
        second = float(rest.max())
        return (top / second if second > 0.0 else float("inf")), top / float(size.mean())


def turn_of(lag_s: float, fs: float, nperseg: int) -> float:
    """theta of a lag."""
    return 2.0 * np.pi * lag_s * fs / nperseg


def correlogram(
    at: Index, cross: Complex, fs: float, nperseg: int, max_delay_s: float, suppress: Sequence[tuple[float, float]] = ()
) -> Correlogram:
    """R(tau) = sum Re{cross exp(i 2 pi f tau)} / sum |cross| in steps of half a sample, and its peak within max_delay_s.

    ``at`` holds neither line 0 nor the last. Lags of segments wrap round, so a quarter of a segment is the most that is looked at;
    see `lifeline_core.dsp.delay.correlogram`. Good to 1e-6 (float32, `lifeline_core.pipes.cross.lags`), far below what chance makes
    of it; `refine` finds the exact place in float64. ValueError where max_delay_s is not in 0 .. that.
    """
    reach = 0.25 * nperseg / fs
    if not 0.0 < max_delay_s <= reach * (1.0 + 1e-9):
        raise ValueError(f"max_delay_s must be above 0 and at most a quarter of a segment, {reach} s, is {max_delay_s}")
    n = FINER * nperseg
    edge, far = int(max_delay_s * fs * FINER * (1.0 + 1e-9)), n // (4 * FINER) * FINER
    middle = max(edge, far)
    row = every_lag(at, cross, n, middle)
    inside = row[middle - edge : middle + edge + 1].copy()  # the row itself may go
    beyond = _beyond(row, edge, far)
    lags = np.arange(-edge, edge + 1) / (fs * FINER)
    blocked = spans(lags, inside, suppress) if suppress else None
    peak = int(np.argmax(inside if blocked is None or blocked.all() else np.where(blocked, -np.inf, inside)))
    return Correlogram(lags, inside, beyond[0], beyond[1] / (fs * FINER), blocked, peak)


def _beyond(row: Real, edge: int, far: int) -> tuple[float, int]:
    """Highest value of the lags edge + 1 .. far of either sign, and its lag in steps; 0 where there are none."""
    if far <= edge:
        return 0.0, 0
    late, early = row[far + edge + 1 :], row[: far - edge]
    i, k = int(np.argmax(late)), int(np.argmax(early))
    return (float(late[i]), edge + 1 + i) if late[i] >= early[k] else (float(early[k]), k - far)


def spans(lags_s: Real, r: Real, suppress: Sequence[tuple[float, float]]) -> Mask:
    """Lags of the sources to leave out: delay_s -+ width_s / 2, and on from there down the flanks of what stands within.

    Without the flanks the shoulder of a wide peak would become the highest lag left.
    """
    blocked = np.zeros(lags_s.size, bool)
    falls = np.diff(r) < 0.0
    for delay, width in suppress:
        a, b = np.searchsorted(lags_s, [delay - 0.5 * width, delay + 0.5 * width])
        if a >= b:  # narrower than a step: the nearest lag
            a = min(max(int(np.searchsorted(lags_s, delay)), 0), lags_s.size - 1)
            b = a + 1
        down = np.flatnonzero(~falls[b - 1 :])
        up = np.flatnonzero(falls[: a][::-1])
        blocked[a - (int(up[0]) if up.size else a) : b + (int(down[0]) if down.size else lags_s.size)] = True
    return blocked


def refine(at: Index, cross: Complex, fs: float, nperseg: int, lag_s: float, step_s: float) -> float:
    """The exact maximum of sum Re{cross exp(i 2 pi f tau)} next to ``lag_s``, by Newton's method; within ``step_s`` of it.

    At a peak this is the weighted least squares line through the phase, so there is no error of interpolation.
    """
    unit = turn_of(1.0, fs, nperseg)
    return newton(at, cross, unit * lag_s, unit * step_s) / unit
