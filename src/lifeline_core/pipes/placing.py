"""A burst that is being placed by its waves, a little at a time, by a program that has other things to do.

The work is cut into pieces whose cost is reckoned from sizes (`lifeline_core.pipes.match`), never measured: after equal
budgets equal work is done, wherever and how often it was put down in between. A saved placing keeps its inputs and what it
has spent; loaded again, it first does over what was done.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from lifeline_core.pipes.match import Work
from lifeline_core.pipes.placed import Placed
from lifeline_core.pipes.traces import BIN_S, resampled
from lifeline_core.pipes.waveform import matching

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph

Singles = NDArray[np.float32]

BEFORE_S, AFTER_S = 2.8, 7.2  # of the first onset: what is read
LEAST = 0.5  # of a sensor's bins are there, else it is left out


class Placing:
    """One search that goes on whenever it is given something to spend.

    Parameters
    ----------
    graph : PipeGraph
    heads : float32[n_sensors, n]
        Metres, in bins of `BIN_S` seconds.
    nodes : sequence of str
        The place of each row.
    first_s : float
        First onset, from the beginning of the first bin.
    """

    def __init__(self, graph: PipeGraph, heads: Singles, nodes: Sequence[str], first_s: float) -> None:
        self.graph, self.heads, self.nodes, self.first_s = graph, heads, tuple(nodes), float(first_s)
        self.spent = 0.0
        self._done = 0.0
        self._work: Work[Placed] | None = None

    def work(self, budget: float) -> Placed | None:
        """Spend about so much, in milliseconds of one core; the result, its times counted from the first onset, once it is
        there. A search that nothing can be read from ends empty."""
        if self._work is None:
            self._work = matching(self.graph, self.heads, self.nodes, 1.0 / BIN_S, t0_s=-self.first_s, first_s=0.0)
            self._done = 0.0
        self.spent += budget
        # Products of a hundred rows: more threads of the linear algebra would only wait for each other.
        with threadpool_limits(1, user_api="blas"):
            while self._done < self.spent:
                try:
                    self._done += next(self._work)
                except StopIteration as end:
                    found: Placed = end.value
                    return found
        return None

    def save(self) -> list[Any]:
        """As plain values."""
        return [self.heads.tobytes(), list(self.nodes), self.first_s, self.spent]

    @classmethod
    def restored(cls, graph: PipeGraph, state: Sequence[Any]) -> Placing:
        """What `save` gave; ValueError where rows and names do not agree."""
        heads, nodes, first_s, spent = state
        values = np.frombuffer(heads, dtype=np.float32)
        if not nodes or len(values) % len(nodes) or any(node not in graph.index for node in nodes):
            raise ValueError(f"a placing has a row of heads for each of its nodes, got {len(values)} values for {list(nodes)!r}")
        one = cls(graph, values.reshape(len(nodes), -1).copy(), nodes, first_s)
        one.spent = float(spent)
        return one


def heads_of(
    windows: Mapping[str, tuple[float, float, Singles]], factor: Mapping[str, float], first_s: float, seconds: float
) -> tuple[Singles, list[str]]:
    """Windows on common bins, in the order of the mapping, without those of which less than half is there.

    Parameters
    ----------
    windows : mapping of channel to (begin_s, rate_hz, float32[n])
        Of sensors of any rates; ``begin_s`` from the beginning of the first bin.
    factor : mapping of channel to float
        Metres of head of its unit.
    """
    n = math.ceil((first_s + seconds) / BIN_S)
    rows, names = [], []
    for name, (begin_s, rate_hz, x) in windows.items():
        row = resampled(x, begin_s, rate_hz, n, BIN_S) * factor[name]
        if np.isfinite(row).sum() >= LEAST * n:
            rows.append(row)
            names.append(name)
    return (np.stack(rows).astype(np.float32) if rows else np.zeros((0, n), dtype=np.float32)), names
