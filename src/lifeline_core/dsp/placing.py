"""Which channel is which, stretch by stretch: learned, then compared (`dsp.likeness`), with what begins and what ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.dsp.likeness import Pattern, find_faults
from lifeline_core.dsp.usual import Stretch, common, reference_of
from lifeline_core.errors import StateError

Real = NDArray[np.float64]

MOST = 60  # stretches that are learned from
COVERAGE = 0.7  # of a stretch's bins


@dataclass(frozen=True, slots=True)
class Placed:
    """Channels turned or exchanged from ``onset_ns`` on, known at ``t_ns``; ``active`` False: no longer. See `likeness.Fault`."""

    kind: str
    channels: tuple[int, ...]
    active: bool
    onset_ns: int
    t_ns: int
    without: float
    believed: float


class Placing:
    """Patterns of stretches of ``stretch_ns`` that hold ``bins`` bins each."""

    def __init__(self, rows: int, stretch_ns: int, bins: float) -> None:
        self.rows, self.stretch_ns, self.bins = rows, stretch_ns, bins
        self._stretch, self._number = Stretch(rows), 0
        self._learned = list[Pattern]()
        self._level = np.full(rows, np.nan)
        self._done = False
        self._on: dict[tuple[str, tuple[int, ...]], int] = {}  # onset of what is the case

    @property
    def misplaced(self) -> set[int]:
        """Channels that are not where they belong, or turned."""
        return {c for _, channels in self._on for c in channels}

    def take(self, z: Real, loud: Real, start_ns: int, level: Real | None) -> list[Placed]:
        """One bin that begins at start: z float64[n, n], log RMS float64[n].

        ``level`` float64[n] is what is usual of the log RMS, None while it is learned.
        """
        found = list[Placed]()
        if (number := start_ns // self.stretch_ns) != self._number:
            mean = self._stretch.close(COVERAGE * self.bins)
            if np.isfinite(mean.loud).any():
                found = self._judge(mean, self._number * self.stretch_ns, start_ns, level)
            self._number = number
        self._stretch.add(z, loud)
        return found

    def _judge(self, mean: Pattern, onset_ns: int, t_ns: int, level: Real | None) -> list[Placed]:
        reference = reference_of(self._learned, self._level) if self._done else None
        if reference is None:
            self._learned = [*self._learned, mean][-MOST:]
            if level is not None:
                self._level, self._done = level.copy(), reference_of(self._learned, level) is not None
            return []
        found, there = list[Placed](), np.isfinite(mean.loud)
        faults = find_faults(Pattern(mean.z, mean.loud - common(mean.loud - self._level)), reference)
        for f in faults:
            if (f.kind, f.channels) not in self._on:
                self._on[f.kind, f.channels] = onset_ns
                found.append(Placed(f.kind, f.channels, True, onset_ns, t_ns, f.without, f.believed))
        still = {(f.kind, f.channels) for f in faults}
        for kind, channels in [k for k in self._on if k not in still]:
            if there[list(channels)].all():
                found.append(Placed(kind, channels, False, self._on.pop((kind, channels)), t_ns, float("nan"), float("nan")))
        return found

    def save(self) -> dict[str, Any]:
        return {"rows": self.rows, "stretch": self._stretch.save(), "number": self._number, "level": self._level.tobytes(),
                "done": self._done, "learned": [[p.z.tobytes(), p.loud.tobytes()] for p in self._learned],
                "on": [[kind, list(channels), onset] for (kind, channels), onset in self._on.items()]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `save` gave; StateError where it is of other rows."""
        n = self.rows
        try:
            if state["rows"] != n:
                raise ValueError(f"of {state['rows']} rows, not {n}")
            number, done, level = int(state["number"]), bool(state["done"]), np.frombuffer(state["level"]).reshape(n).copy()
            learned = [Pattern(np.frombuffer(z).reshape(n, n).copy(), np.frombuffer(v).reshape(n).copy())
                       for z, v in state["learned"]]
            on = {(str(kind), tuple(int(c) for c in channels)): int(onset) for kind, channels, onset in state["on"]}
            if not {c for _, channels in on for c in channels} <= set(range(n)):
                raise ValueError(f"channels {sorted({c for _, channels in on for c in channels})} of {n}")
            if not -1 << 63 <= number * self.stretch_ns < 1 << 63:
                raise ValueError(f"stretch {number} of {self.stretch_ns} ns lies in no time")
            self._stretch.load(state["stretch"])
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
            raise StateError(f"placing cannot be restored: {error}") from error
        self._number, self._done, self._level, self._learned, self._on = number, done, level, learned, on
