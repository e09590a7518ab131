"""What was measured of the weather during a window, and before it: means over time of a few slow channels."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lifeline_core.bridges.modes import Real
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Channel

STEP_NS = 60 * NS  # samples are gathered in minutes of the clock


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
        self._past: dict[str, deque[list[float]]] = {n: deque() for n in self.names}  # [minute, sum, count]

    @property
    def columns(self) -> int:
        return len(self.names) * (2 if self.lag_ns else 1)

    def hear(self, channels: Sequence[Channel], block: Block) -> None:
        """Samples of one group; channels that are not asked for are passed over."""
        times = np.array([block.time_ns(i) for i in range(block.n)], np.int64)
        minute = times // STEP_NS
        for row, channel in enumerate(channels):
            if channel.name not in self._past:
                continue
            x = np.asarray(block.x[row], np.float64)
            good = np.isfinite(x)
            for m in np.unique(minute[good]).tolist():
                for v in x[good & (minute == m)].tolist():  # one by one: the sum does not depend on the cut
                    self._add(self._past[channel.name], m, v)

    def _add(self, past: deque[list[float]], minute: int, value: float) -> None:
        if past and past[-1][0] == minute:
            past[-1][1] += value
            past[-1][2] += 1
        else:
            past.append([minute, value, 1])
            reach = (self.window_ns + self.lag_ns) // STEP_NS + 120
            while past[0][0] < minute - reach:
                past.popleft()

    def at(self, t_ns: int) -> Real:
        """Means for the window that ends at t, then those of the lag before it; NaN where nothing was measured."""
        begin = t_ns - self.window_ns
        out = [self._mean(n, begin, t_ns) for n in self.names]
        if self.lag_ns:
            out += [self._mean(n, begin - self.lag_ns, begin) for n in self.names]
        return np.array(out, np.float64)

    def _mean(self, name: str, begin_ns: int, end_ns: int) -> float:
        lo, hi = begin_ns // STEP_NS, -(-end_ns // STEP_NS)
        rows = [(s, n) for m, s, n in self._past[name] if lo <= m < hi]
        count = sum(n for _, n in rows)
        return sum(s for s, _ in rows) / count if count else float("nan")

    def save(self) -> dict[str, Any]:
        return {name: [list(row) for row in past] for name, past in self._past.items()}

    def load(self, state: Mapping[str, Any]) -> None:
        if set(state) != set(self.names):
            raise StateError(f"weather: saved state is of {sorted(state)}, wanted {sorted(self.names)}")
        for name in self.names:
            self._past[name] = deque([list(row) for row in state[name]])
