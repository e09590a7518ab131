"""What was measured of the weather during a window, and before it: means over time of a few slow channels.

Samples are summed by minutes of the clock. Floating sums depend on the order of their terms, so each minute's sum is taken
one sample after the other (`numpy.cumsum` from what is there), whatever the blocks: any cut of a stream gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lifeline_core.bridges.modes import Real
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Channel

VERSION = 2
STEP_NS = 60 * NS  # samples are gathered in minutes of the clock
HELD = 60  # minutes that the last measured one stands for those after it: thermometers that speak once an hour
SPARE = 120  # minutes kept beyond what a window reaches


class Weather:
    """Minute sums of each channel, as far back as a window and its lag reach.

    Parameters
    ----------
    names : channels, in the order of the columns.
    window_s : a column is the mean over so long.
    lag_s : above 0: a second column each, the mean over so long before the window.
    """

    def __init__(self, names: Sequence[str], window_s: float, lag_s: float) -> None:
        self.names, self.window_ns, self.lag_ns = tuple(names), round(window_s * NS), round(lag_s * NS)
        self._most = (self.window_ns + self.lag_ns) // STEP_NS + SPARE
        self._past: dict[str, dict[int, tuple[float, int]]] = {n: {} for n in self.names}  # minute: sum, count

    @property
    def columns(self) -> int:
        return len(self.names) * (2 if self.lag_ns else 1)

    def hear(self, channels: Sequence[Channel], block: Block) -> None:
        """Samples of one group; channels that are not asked for are passed over, and so is what is not finite."""
        rows = [(np.asarray(block.x[i], np.float64), c.name) for i, c in enumerate(channels) if c.name in self._past]
        if not rows or not block.n:
            return
        for minute, begin, end in _minutes(block):
            for x, name in rows:
                part = x[begin:end]
                good = np.isfinite(part)
                if good.any():
                    self._add(self._past[name], minute, part[good])

    def _add(self, past: dict[int, tuple[float, int]], minute: int, values: Real) -> None:
        if minute not in past and len(past) >= self._most:
            del past[next(iter(past))]  # heard first: a clock that was once ahead does not stay
        total, count = past.get(minute, (0.0, 0))
        past[minute] = (float(np.cumsum(np.concatenate(([total], values)))[-1]), count + len(values))

    def at(self, t_ns: int) -> Real:
        """Means for the window that ends at t, then those of the lag before it, float64[columns].

        A window in which a channel said nothing takes its last minute of the hour before; NaN where there is none.
        """
        begin = t_ns - self.window_ns
        out = [self._mean(n, begin, t_ns) for n in self.names]
        if self.lag_ns:
            out += [self._mean(n, begin - self.lag_ns, begin) for n in self.names]
        return np.array(out, np.float64)

    def _mean(self, name: str, begin_ns: int, end_ns: int) -> float:
        past, first = self._past[name], begin_ns // STEP_NS
        rows = [past[m] for m in range(first, -(-end_ns // STEP_NS)) if m in past]
        if not rows:
            rows = [past[m] for m in range(first - 1, first - 1 - HELD, -1) if m in past][:1]
        count = sum(n for _, n in rows)
        return sum(s for s, _ in rows) / count if count else float("nan")

    def save(self) -> dict[str, Any]:
        """State as a map of plain values and bytes."""
        return {"v": VERSION, "past": {name: [np.array(list(past), np.int64).tobytes(),
                                              np.array([s for s, _ in past.values()], np.float64).tobytes(),
                                              np.array([n for _, n in past.values()], np.int64).tobytes()]
                                       for name, past in self._past.items()}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `save` gave; StateError where it is of other channels."""
        if state.get("v") != VERSION or set(state.get("past", ())) != set(self.names):
            raise StateError(f"weather: saved state is of another version or of {sorted(state.get('past', ()))}, "
                             f"wanted {sorted(self.names)}")
        try:
            for name in self.names:
                minutes, sums, counts = (np.frombuffer(part, kind).tolist() for part, kind in
                                         zip(state["past"][name], (np.int64, np.float64, np.int64), strict=True))
                self._past[name] = {m: (s, n) for m, s, n in zip(minutes, sums, counts, strict=True)}
        except (TypeError, ValueError) as error:
            raise StateError(f"weather cannot be restored: {error}") from error


def _minutes(block: Block) -> Iterator[tuple[int, int, int]]:
    """Stretches of a block that lie in one minute: the minute, the first sample and the one after the last."""
    if block.t_ns is not None:
        minute = np.asarray(block.t_ns, np.int64).reshape(-1)[: block.n] // STEP_NS
        edges = [0, *(np.flatnonzero(np.diff(minute)) + 1).tolist(), block.n]
        yield from ((int(minute[a]), a, b) for a, b in pairwise(edges))
        return
    begin = 0
    while begin < block.n:
        minute_now = block.time_ns(begin) // STEP_NS
        end = first_at(block, begin, (minute_now + 1) * STEP_NS)
        yield minute_now, begin, end
        begin = end


def first_at(block: Block, at: int, t_ns: int) -> int:
    """The first sample of a regular block, from ``at`` on, that is not before t; ``block.n`` with none."""
    lo, hi = at, block.n
    while lo < hi:
        mid = (lo + hi) // 2
        lo, hi = (mid + 1, hi) if block.time_ns(mid) < t_ns else (lo, mid)
    return lo
