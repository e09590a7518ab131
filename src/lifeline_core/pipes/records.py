"""What the sensors about one event recorded, on common bins: kept until the event is decided and placed.

::

              -BEFORE_S     first onset                       AFTER_S
    heads         |--------------|------------------------------|        metres, bins of `BIN_S`, NaN where samples are missing
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lifeline_core.model import NS
from lifeline_core.pipes.outflow import Trace
from lifeline_core.pipes.placing import AFTER_S, BEFORE_S, Placing, heads_of
from lifeline_core.pipes.traces import BIN_S

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph

Singles = NDArray[np.float32]

SENSORS = 8  # whose waves are compared: as many as one run of the network takes
LEAST_S = 0.2  # shorter records tell nothing


class Samples(Protocol):
    """Of one channel: when the first was taken (ns), how many a second, their values."""

    @property
    def t0_ns(self) -> int: ...
    @property
    def rate_hz(self) -> float: ...
    @property
    def x(self) -> Singles: ...


@dataclass(frozen=True, slots=True)
class Records:
    """``heads`` float32[n_sensors, n], metres, of ``nodes``, from `BEFORE_S` before the first onset on."""

    heads: Singles
    nodes: tuple[str, ...]

    @classmethod
    def gathered(
        cls,
        recall: Callable[[str, int, int], Samples | None],
        order: Sequence[str],
        channels: Mapping[str, str],
        metres: Mapping[str, float],
        first_ns: int,
        after_s: float = AFTER_S,
    ) -> Records:
        """Of the first `SENSORS` nodes in an order of channels that have a unit of pressure and kept their samples.

        Parameters
        ----------
        recall : callable
            Samples of a channel between two times, None where it keeps none.
        order : sequence of str
            Channels, the most telling first; of several at a node the first counts.
        channels : mapping of channel to node
        metres : mapping of channel to float
            Metres of head of its unit, 0: none of pressure.
        after_s : float
            How much of what came after the first onset.
        """
        start_ns, stop_ns = first_ns - round(BEFORE_S * NS), first_ns + round(after_s * NS)
        windows: dict[str, tuple[float, float, Singles]] = {}
        taken: set[str] = set()
        for name in order:
            if len(windows) == SENSORS or after_s < LEAST_S:
                break
            if not metres[name] or channels[name] in taken:
                continue
            window = recall(name, start_ns, stop_ns)
            if window is not None and len(window.x):
                windows[name] = ((window.t0_ns - start_ns) / NS, window.rate_hz, window.x)
                taken.add(channels[name])
        heads, names = heads_of(windows, metres, BEFORE_S, max(after_s, LEAST_S))
        return cls(heads, tuple(channels[name] for name in names))

    def traces(self) -> dict[str, Trace]:
        """Of every node, counted from the first onset."""
        return {node: Trace(-BEFORE_S, 1.0 / BIN_S, row) for node, row in zip(self.nodes, self.heads, strict=True)}

    def placing(self, graph: PipeGraph) -> Placing | None:
        """The search for the place; None of fewer than two sensors."""
        return Placing(graph, self.heads, self.nodes, BEFORE_S) if len(self.nodes) >= 2 else None

    def save(self) -> list[Any]:
        """As plain values."""
        return [self.heads.tobytes(), list(self.nodes)]

    @classmethod
    def restored(cls, state: Sequence[Any]) -> Records:
        """What `save` gave; ValueError where rows and names do not agree."""
        heads, nodes = state
        values = np.frombuffer(heads, dtype=np.float32)
        if len(values) % max(len(nodes), 1):
            raise ValueError(f"records have a row of heads for each of their nodes, got {len(values)} values for {nodes!r}")
        return cls(values.reshape(len(nodes), -1 if nodes else math.ceil((BEFORE_S + AFTER_S) / BIN_S)).copy(), tuple(nodes))
