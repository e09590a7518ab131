"""What is usual of channels that feel one structure: how loud each is, what binds them together, and how much both vary.

A bin of minutes tells how loud a channel is. What binds channels together scatters far more and changes with the traffic, from
day to night; it is told by `Stretch`: means over stretches of bins that hold all of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lifeline_core.dsp.likeness import Pattern, Reference
from lifeline_core.errors import StateError

Real = NDArray[np.float64]

FEWEST = 4  # stretches that a pattern is learned from
SIGMA = 1.4826


def common(rows: Real) -> float:
    """What channels have in common: their median, NaN without any.

    >>> common(np.array([1.0, np.nan, 3.0]))
    2.0
    """
    there = rows[np.isfinite(rows)]
    return float(np.median(there)) if there.size else float("nan")


class Stretch:
    """Means over bins: z float64[n, n] and log RMS float64[n], each over the bins that have it; too few of them: NaN."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._z, self._loud = np.zeros((2, rows, rows)), np.zeros((2, rows))

    def add(self, z: Real, loud: Real) -> None:
        for total, new in ((self._z, z), (self._loud, loud)):
            there = np.isfinite(new)
            total += np.stack([np.where(there, new, 0.0), there])

    def close(self, fewest: float) -> Pattern:
        """The means; a new stretch begins."""
        with np.errstate(invalid="ignore", divide="ignore"):
            z, loud = (np.where(total[1] >= fewest, total[0] / total[1], np.nan) for total in (self._z, self._loud))
        self._z, self._loud = np.zeros_like(self._z), np.zeros_like(self._loud)
        return Pattern(z, loud)

    def save(self) -> list[bytes]:
        return [self._z.tobytes(), self._loud.tobytes()]

    def load(self, state: Any) -> None:
        try:
            z, loud = (np.frombuffer(v).copy() for v in state)
            z, loud = z.reshape(2, self.rows, self.rows), loud.reshape(2, self.rows)
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
            raise StateError(f"a stretch cannot be restored: {error}") from error
        self._z, self._loud = z, loud


def reference_of(patterns: Sequence[Pattern], level: Real) -> Reference | None:
    """What stretches have been like, loudness less what all have in common; None with too few of them.

    The scatter of few is widened as Student's t asks for.
    """
    if len(patterns) < FEWEST:
        return None
    z = np.array([p.z for p in patterns])
    loud = np.array([p.loud - common(p.loud - level) for p in patterns])
    wider = float(stats.t.isf(0.025, len(patterns) - 1) / stats.norm.isf(0.025))
    whole = [np.isfinite(v).sum(axis=0) >= FEWEST for v in (z, loud)]
    parts = [np.where(w, f(np.where(w, v, 0.0), axis=0), np.nan)
             for f in (np.nanmean, _spread) for w, v in zip(whole, (z, loud), strict=True)]
    return Reference(Pattern(parts[0], parts[1]), Pattern(wider * parts[2], wider * parts[3]))


def _spread(v: Real, axis: int) -> Real:
    out: Real = np.nanstd(v, axis=axis, ddof=1)
    return out


class Usual:
    """Learns from bins: log RMS float64[n] of each, NaN where there is none.

    After ``train`` bins: ``level`` median log RMS, ``low`` and ``high`` its extremes, ``scatter`` of log RMS less what all have in
    common (1.4826 MAD); NaN for a channel that was not there in half of them.
    """

    def __init__(self, rows: int, train: int) -> None:
        self.rows, self.train, self.bins = int(rows), int(train), 0
        self._loud = np.full((self.train, self.rows), np.nan)
        self.level, self.scatter, self.low, self.high = (np.full(self.rows, np.nan) for _ in range(4))

    @property
    def learned(self) -> bool:
        return self.bins == self.train

    def learn(self, loud: Real) -> None:
        """One bin of training."""
        self._loud[self.bins] = loud
        self.bins += 1
        if self.learned:
            self._finish()

    def _finish(self) -> None:
        heard = np.isfinite(self._loud).sum(axis=0) >= 0.5 * self.train
        rows = self._loud[:, heard]
        if heard.any():
            self.level[heard], self.low[heard], self.high[heard] = np.nanmedian(rows, 0), np.nanmin(rows, 0), np.nanmax(rows, 0)
            apart = rows - self.level[heard]
            apart = apart - np.array([[common(row)] for row in apart])
            self.scatter[heard] = SIGMA * np.nanmedian(np.abs(apart), axis=0)
        self._loud = np.empty((0, self.rows))

    def save(self) -> dict[str, Any]:
        parts = (self._loud[: self.bins] if not self.learned else self._loud, self.level, self.scatter, self.low, self.high)
        return {"shape": [self.rows, self.train, self.bins], "parts": [np.ascontiguousarray(p).tobytes() for p in parts]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `save` gave; StateError where it was made with other numbers."""
        try:
            rows, train, bins = (int(v) for v in state["shape"])
            parts = [np.frombuffer(p).copy() for p in state["parts"]]
            if (rows, train) != (self.rows, self.train) or not 0 <= bins <= train:
                raise ValueError(f"of {rows} rows and {train} bins")
            kept = parts[0].reshape(-1, rows)
            loud = np.empty((0, rows)) if bins == train else np.full((train, rows), np.nan)
            loud[: len(kept)] = kept
            level, scatter, low, high = (p.reshape(rows) for p in parts[1:])
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
            raise StateError(f"what is usual cannot be restored: {error}") from error
        self.bins, self._loud = bins, loud
        self.level, self.scatter, self.low, self.high = level, scatter, low, high
