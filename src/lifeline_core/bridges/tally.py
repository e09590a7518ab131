"""Passages counted by periods of the clock: how many, the median and the largest of their peaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from lifeline_core.errors import StateError


@dataclass(slots=True)
class _Count:
    """Passages of one channel in the open period."""

    peaks: list[float] = field(default_factory=list)
    longest_s: float = 0.0
    standing: int = 0


class Tally:
    """Counts of some channels; a period begins at every multiple of ``period_ns`` since 1970 UTC.

    >>> tally = Tally(["a"], 10)
    >>> tally.turn(3); tally.count(0, -2.0, 1.5); tally.count(0, 5.0, 0.5); tally.turn(12)
    >>> [(r["passages"], r["median_peak"], r["largest_peak"], r["whole"]) for r in tally.rows() if r["passages"]]
    [(2, 3.5, 5.0, True)]
    """

    def __init__(self, names: Sequence[str], period_ns: int) -> None:
        self.names, self.period_ns = list(names), period_ns
        self._number = -1
        self._counts = [_Count() for _ in self.names]
        self._whole: list[dict[str, Any]] = []

    def turn(self, t_ns: int) -> None:
        """It is t now: where that lies in another period, the open one is told and a new one begins."""
        number = t_ns // self.period_ns
        if number != self._number:
            if self._number >= 0:
                self._whole = [{**self._summary(row), "whole": True} for row in range(len(self.names))]
            self._number, self._counts = number, [_Count() for _ in self.names]

    def count(self, row: int, peak: float, duration_s: float) -> None:
        """One passage."""
        of = self._counts[row]
        of.peaks.append(peak)
        of.longest_s = max(of.longest_s, duration_s)

    def stood(self, row: int) -> None:
        """Something that came and did not go."""
        self._counts[row].standing += 1

    def rows(self) -> list[dict[str, Any]]:
        """By channel: the last period that is over (``whole``), then the open one."""
        if self._number < 0:
            return []
        return [dict(r) for r in self._whole] + [{**self._summary(row), "whole": False} for row in range(len(self.names))]

    def _summary(self, row: int) -> dict[str, Any]:
        of = self._counts[row]
        out = {"channel": self.names[row], "period_start_ns": self._number * self.period_ns, "period_s": self.period_ns / 1e9,
               "passages": len(of.peaks), "standing": of.standing}
        if of.peaks:
            out |= {"median_peak": median(abs(v) for v in of.peaks), "largest_peak": max(of.peaks, key=abs),
                    "longest_s": of.longest_s}
        return out

    def save(self) -> dict[str, Any]:
        return {"number": self._number, "counts": [[list(c.peaks), c.longest_s, c.standing] for c in self._counts],
                "whole": [dict(r) for r in self._whole]}

    def load(self, state: Mapping[str, Any]) -> None:
        counts = [_Count([float(v) for v in c[0]], float(c[1]), int(c[2])) for c in state["counts"]]
        if len(counts) != len(self.names):
            raise StateError(f"tally: saved state is of {len(counts)} channels, wanted {len(self.names)}")
        self._number, self._counts, self._whole = int(state["number"]), counts, [dict(r) for r in state["whole"]]
