"""Whether a daily figure leaves its own past: learned from the first days, then cumulative sums to a false-alarm budget.

::

    value of a day = a + b . what explains it + rest        fitted to the first `train` days
    t = rest / (s sqrt(1 + h))  ->  z, normal               h: how far the day lies outside of what was learned
    up = max(0, up + z - ALLOWANCE), and down               crossing the threshold: it drifts

Source: E. S. Page, Biometrika 41 (1954) 100-115 (cumulative sums); D. Siegmund, Sequential Analysis (1985), 2.6 (threshold);
H. Theil (1950), P. K. Sen, JASA 63 (1968) 1379-1389 (slope).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr
from scipy.stats import theilslopes

from lifeline_core.dsp.cusum import cusum_threshold
from lifeline_core.errors import StateError

ALLOWANCE = 1.5  # subtracted each day, in standard deviations; the threshold is that of 1: half of one for what was learned amiss
BUDGETED = 1.0
LARGEST = 8.0
KEPT = 30  # days that a slope is read from
LAST = 3  # days whose median is the departure
OVER = 2  # days back within half the limit end it
FAR = 1e100  # what is further from 0 is no figure: its square must still be a number


@dataclass(frozen=True, slots=True)
class Departure:
    """``active`` or over; ``departure`` from what was learned, ``slope`` a day with its 95 % interval, ``days`` it is read from."""

    active: bool
    departure: float
    slope: float
    low: float
    high: float
    days: int
    since: int


@dataclass(frozen=True, slots=True)
class _Fit:
    """What the days of training amount to."""

    weights: NDArray[np.float64]
    reach: NDArray[np.float64]  # of the mean square, (X'X)^-1
    scatter: float


def _figures(row: Sequence[float]) -> bool:
    return bool((np.abs(row) <= FAR).all())


def _fitted(rows: NDArray[np.float64]) -> _Fit:
    y, x = rows[:, 0], np.column_stack((np.ones(len(rows)), rows[:, 1:]))
    weights, *_ = np.linalg.lstsq(x, y, rcond=None)
    scatter = float(np.sqrt(np.sum((y - x @ weights) ** 2) / (len(y) - x.shape[1])))
    return _Fit(np.asarray(weights, np.float64), np.asarray(np.linalg.pinv(x.T @ x), np.float64), scatter)


class Drift:
    """One figure of one channel.

    Parameters
    ----------
    train : days that are learned from, at least 4 more than there are explaining figures.
    explained_by : how many figures explain it.
    limit : the smallest departure that is said, in the figure's unit.
    false_per_year : drifts said of a figure that does not, on independent normal days.
    """

    def __init__(self, train: int, explained_by: int, limit: float, false_per_year: float) -> None:
        if train < explained_by + 5 or limit < 0 or not 0 < false_per_year <= 10:
            raise ValueError(f"drift: train must be at least {explained_by + 5} days and the budget from 0 to 10 a year, "
                             f"are {train} and {false_per_year}")
        self.train, self.explained_by, self.limit = train, explained_by, limit
        self._threshold = cusum_threshold(2 * 365.25 / false_per_year, BUDGETED)
        self._rows: list[list[float]] = []  # value and what explains it, of the days learned from
        self._past: list[list[float]] = []  # day, rest
        self._up = self._down = 0.0
        self._since = 0
        self._back = 0
        self.drifts = False
        self._fit: _Fit | None = None  # of the rows, once they are all there

    @property
    def learned(self) -> bool:
        return len(self._rows) == self.train

    def relearn(self, rows: Sequence[Sequence[float]]) -> None:
        """The days learned from, explained by something else; what is no figure is passed over, and too few change nothing."""
        good = [list(r) for r in rows if _figures(r)][: self.train]
        if len(good) == self.train:
            self._rows, self._fit = good, None

    def take(self, day: int, value: float, explained: Sequence[float] = ()) -> Departure | None:
        """A day's figure; what can be said with it that was not true before."""
        row = [float(value), *map(float, explained)]
        if len(row) != 1 + self.explained_by:
            raise ValueError(f"drift: {self.explained_by} figures explain a day, not {len(row) - 1}")
        if not _figures(row):
            return None
        if not self.learned:
            self._rows.append(row)
            return None
        rest, z = self._judge(row)
        self._past = [*self._past, [float(day), rest]][-KEPT:]
        if self._up == self._down == 0.0 and not self.drifts:
            self._since = day
        self._up, self._down = max(0.0, self._up + z - ALLOWANCE), max(0.0, self._down - z - ALLOWANCE)
        departure = float(np.median([r for _, r in self._past[-LAST:]]))
        if self.drifts:
            self._back = self._back + 1 if abs(departure) < 0.5 * self.limit or max(self._up, self._down) == 0.0 else 0
            if self._back < OVER:
                return None
            said = self._say(False, departure)
            self.drifts, self._back, self._up, self._down = False, 0, 0.0, 0.0
            return said
        if max(self._up, self._down) > self._threshold and abs(departure) >= self.limit:
            self.drifts = True
            return self._say(True, departure)
        return None

    def _judge(self, row: list[float]) -> tuple[float, float]:
        if self._fit is None:
            self._fit = _fitted(np.array(self._rows))
        now = np.array([1.0, *row[1:]])
        rest = row[0] - float(now @ self._fit.weights)
        reach = 1.0 + float(now @ self._fit.reach @ now)
        t = rest / (max(self._fit.scatter, 1e-12 * (1.0 + abs(row[0]))) * np.sqrt(reach))
        z = -float(ndtri(stdtr(self.train - 1 - self.explained_by, -abs(t))))
        return rest, float(np.copysign(min(z, LARGEST), t))

    def _say(self, active: bool, departure: float) -> Departure:
        past = np.array(self._past)
        if len(past) < 2:
            return Departure(active, departure, float("nan"), float("nan"), float("nan"), len(past), self._since)
        slope, _, low, high = (float(v) for v in theilslopes(past[:, 1], past[:, 0]))
        return Departure(active, departure, slope, low, high, len(past), self._since)

    def save(self) -> list[Any]:
        return [self.train, self.explained_by, self._rows, self._past, self._up, self._down, self._since, self.drifts, self._back]

    def load(self, state: Sequence[Any]) -> None:
        """Go on from what `save` gave; StateError where it was made with other numbers."""
        try:
            train, explained, *rest = state
            rows, past = ([[float(v) for v in r] for r in part] for part in rest[:2])
            up, down, since, drifts, back = (kind(v) for kind, v in zip((float, float, int, bool, int), rest[2:], strict=True))
            sound = len(rows) <= self.train and {len(r) for r in rows} <= {1 + self.explained_by}
            if (train, explained) != (self.train, self.explained_by) or not sound or not {len(r) for r in past} <= {2}:
                raise ValueError(f"of {train} days and {explained} figures")
            if not all(map(_figures, rows)) or not np.isfinite([v for r in past for v in r]).all():
                raise ValueError(f"it holds figures beyond {FAR:g}, or that are none")
            if not (0.0 <= up < np.inf and 0.0 <= down < np.inf and 0 <= back < OVER):
                raise ValueError(f"it has sums of {up} and {down}, and {back} days back")
        except (AttributeError, OverflowError, TypeError, ValueError) as error:
            raise StateError(f"drift cannot be restored: {error}") from error
        self._rows, self._past, self._up, self._down = rows, past, up, down
        self._since, self.drifts, self._back = since, drifts, back
        self._fit = None
