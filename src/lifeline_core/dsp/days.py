"""Days of channels: medians of their bins, and whether their gain or their level drifts (`dsp.drift`).

::

    gain of a day    log RMS, explained by how loud the channels were together: those whose gain is not known to drift
    level of a day   mean, explained by what the levels of all have in common since the first day, and by the weather

Both explanations are learned, channel by channel; what they leave is judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifeline_core.dsp.drift import Departure, Drift
from lifeline_core.dsp.usual import common
from lifeline_core.errors import StateError

Real = NDArray[np.float64]

KINDS = ("gain", "drift")
MOST = 400  # days kept to learn from again


class Told(NamedTuple):
    """Of which kind, of which channel, and what."""

    kind: str
    channel: int
    departure: Departure


class Days:
    """Parameters
    ----------
    rows : channels, 3 or more to share something.
    weather : columns that explain levels.
    train : days learned from.
    limits : smallest departures of gain (log) and level that are said; 0: not watched.
    false_per_year : drifts said of a channel that does not, of each kind.
    fewest : bins that a day must have of a channel.
    """

    def __init__(self, rows: int, weather: int, train: int, limits: tuple[float, float], false_per_year: float,
                 fewest: float) -> None:
        self.rows, self.weather, self.fewest = rows, weather, fewest
        shared = 1 if rows >= 3 else 0
        self._gains = [Drift(train, 1, limits[0], false_per_year) for _ in range(rows)] if limits[0] and shared else []
        self._levels = [Drift(train, shared + weather, limits[1], false_per_year) for _ in range(rows)] if limits[1] else []
        self._loud: list[Real] = []  # gains of the days learned from: they are learned from again without a channel that drifts
        self._steady = frozenset(range(rows))
        self._origin = np.full(rows, np.nan)
        self.day = 0
        self._bins: list[tuple[Real, Real]] = []

    @property
    def drifting(self) -> set[int]:
        """Channels whose gain is said to drift."""
        return {c for c, drift in enumerate(self._gains) if drift.drifts}

    def add(self, day: int, loud: Real, level: Real) -> None:
        """A bin of the day at hand: log RMS less what is usual, and the mean; NaN where a channel is not to be judged."""
        self.day = day
        self._bins.append((loud, level))

    def forget(self, channels: Sequence[int]) -> None:
        """What the day has had of some channels so far was not theirs."""
        for loud, level in self._bins:
            loud[list(channels)], level[list(channels)] = np.nan, np.nan

    def is_over(self, day: int) -> bool:
        """Whether there is a day to be closed before this one begins."""
        return bool(self._bins) and day != self.day

    def close(self, weather: Sequence[float]) -> list[Told]:
        """What the day's medians tell."""
        gains, levels = (np.array(v) for v in zip(*self._bins, strict=True))
        self._bins = []
        enough = np.isfinite(gains).sum(axis=0) >= self.fewest
        gain, level = np.full(self.rows, np.nan), np.full(self.rows, np.nan)
        if enough.any():
            gain[enough], level[enough] = np.nanmedian(gains[:, enough], axis=0), np.nanmedian(levels[:, enough], axis=0)
        self._origin = np.where(np.isnan(self._origin), level, self._origin)
        shared = [common(level - self._origin)] if self.rows >= 3 else []
        self._relearn()
        together = self._together(gain)
        found = [Told(KINDS[0], c, said) for c, drift in enumerate(self._gains)
                 if (said := drift.take(self.day, float(gain[c]), [together])) is not None]
        if len(self._loud) < MOST and any(not drift.learned for drift in self._gains):
            self._loud.append(gain)
        return found + [Told(KINDS[1], c, said) for c, drift in enumerate(self._levels)
                        if (said := drift.take(self.day, float(level[c]), [*shared, *weather])) is not None]

    def _together(self, gain: Real) -> float:
        return common(gain[sorted(self._steady)])

    def _relearn(self) -> None:
        """Other channels than before are steady: what each was beside them is another figure."""
        steady = frozenset(range(self.rows)) - self.drifting
        if steady == self._steady:
            return
        self._steady = steady
        for c, drift in enumerate(self._gains):
            if drift.learned:
                drift.relearn([[float(v[c]), self._together(v)] for v in self._loud])

    def save(self) -> dict[str, Any]:
        return {"rows": self.rows, "day": self.day, "bins": [[a.tobytes(), b.tobytes()] for a, b in self._bins],
                "loud": [v.tobytes() for v in self._loud], "steady": sorted(self._steady),
                "origin": self._origin.tobytes(), "drifts": [[d.save() for d in kind] for kind in (self._gains, self._levels)]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `save` gave; StateError where it was made with other numbers."""
        try:
            if state["rows"] != self.rows or [len(k) for k in state["drifts"]] != [len(self._gains), len(self._levels)]:
                raise ValueError(f"of {state['rows']} rows")
            day, origin = int(state["day"]), np.frombuffer(state["origin"]).reshape(self.rows).copy()
            bins = [(np.frombuffer(a).reshape(self.rows).copy(), np.frombuffer(b).reshape(self.rows).copy())
                    for a, b in state["bins"]]
            loud = [np.frombuffer(v).reshape(self.rows).copy() for v in state["loud"]]
            steady = frozenset(int(c) for c in state["steady"])
            if not steady <= set(range(self.rows)):
                raise ValueError(f"channels {sorted(steady)} of {self.rows}")
            kinds = [[copy(d) for d in drifts] for drifts in (self._gains, self._levels)]
            for drifts, saved in zip(kinds, state["drifts"], strict=True):
                for drift, one in zip(drifts, saved, strict=True):
                    drift.load(one)
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
            raise StateError(f"days cannot be restored: {error}") from error
        self.day, self._origin, self._bins, self._loud, self._steady = day, origin, bins, loud, steady
        self._gains, self._levels = kinds
