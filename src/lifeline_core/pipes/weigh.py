"""How well places explain arrivals: the fast fit of thousands, the full weighing of the likeliest (kernels/ways.c)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.pipes._ways import FOUND
from lifeline_core.pipes._ways import fit as _fit
from lifeline_core.pipes._ways import weigh as _weigh
from lifeline_core.pipes.ways import Net, Shared, shared

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph
    from lifeline_core.pipes.groups import Groups
    from lifeline_core.pipes.heard import Heard, Speeds
    from lifeline_core.pipes.search import Spots

Floats = NDArray[np.float64]

STRAY_PER_S = 0.025  # 5 % of the arrivals belong to nothing, spread over 2 s
FEWEST_SHARE = 0.5  # of the arrivals stay, and two
ABOUT_M = 0.5  # how finely places are looked at: a standard deviation that every arrival has
_AT = {name: i for i, name in enumerate(FOUND)}


@dataclass(frozen=True, slots=True)
class Scales:
    """What is unknown of the speeds: one scale (``speeds``), one a group (``groups``), and ``scatter``, the relative standard
    deviation of single pipes."""

    speeds: Speeds | None
    groups: Groups | None
    scatter: float

    @classmethod
    def of(cls, speeds: Speeds | None, groups: Groups | None, scatter: float) -> Scales:
        """Groups take the place of the common scale; its bounds and its doubts stay."""
        return cls(speeds, groups if speeds else None, scatter)

    @property
    def sd(self) -> Floats:
        """Of every scale about 1."""
        if self.groups is not None:
            return self.groups.sd
        return np.array([self.speeds.sd] if self.speeds else [], dtype=np.float64)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the scales."""
        if self.groups is not None:
            return self.groups.names
        return ("all",) if self.speeds else ()

    @property
    def bounds(self) -> tuple[float, float]:
        """Of 1 / scale."""
        return (1.0 / self.speeds.most, 1.0 / self.speeds.least) if self.speeds else (1.0, 1.0)

    def fast(self) -> tuple[float, float, float, float]:
        """For the fit: one scale, and what groups may differ from it as a share of the whole time."""
        if not self.speeds:
            return 0.0, 1.0, 1.0, 0.0
        lean = 0.5 * float((self.groups.sd**2).mean()) if self.groups is not None else 0.0
        return self.speeds.sd, *self.bounds, lean

    def full(self) -> tuple[float, float, float, float, float]:
        """For the weighing."""
        wide, share = (self.speeds.wide, self.speeds.share) if self.speeds else (1.0, 0.0)
        return wide, share, *self.bounds, math.log(STRAY_PER_S)


@dataclass(frozen=True, slots=True)
class Fits:
    """What is known of places, [n]: ``table`` with the columns of kernels/ways.h; where they were weighed in full also
    1 / scale of every group with its standard deviation [n, n_groups], and which arrivals were left out [n, n_sensors]."""

    table: Floats
    slow: Floats | None = None
    slow_sd: Floats | None = None
    out_of: NDArray[np.uint8] | None = None

    def __getitem__(self, which: Any) -> Fits:
        def part(x: Any) -> Any:
            return None if x is None else x[which]

        return Fits(self.table[which], part(self.slow), part(self.slow_sd), part(self.out_of))

    def column(self, name: str) -> Floats:
        """score, t0, slow, rms, misfit, shared, chi2 or kept."""
        found: Floats = self.table[:, _AT[name]]
        return found

    @property
    def score(self) -> Floats:
        """Log likelihood."""
        return self.column("score")

    @property
    def shared(self) -> Floats:
        """Seconds that the ways to all sensors have in common."""
        return self.column("shared")

    @classmethod
    def joined(cls, parts: Sequence[Fits]) -> Fits:
        """Tables one after the other; the rest is left out."""
        return cls(np.concatenate([part.table for part in parts]))


def network(graph: PipeGraph, heard: Heard, groups: Groups | None) -> tuple[Net, Shared]:
    """The ways to the sensors for the kernels, and what they have in common."""
    ways = [graph.routes(node) for node in heard.nodes]
    common = shared(graph, heard.nodes)
    on = [graph.routes_on(node, groups) for node in heard.nodes] if groups is not None else []
    times = [way[g] for g in range(len(groups.names)) for way in on] if groups is not None else []
    net = Net(
        [w.time_s for w in ways], [w.square_s2 for w in ways], [w.toward for w in ways],
        np.array([graph.index[node] for node in heard.nodes], dtype=np.int32), graph.barrier.view(np.uint8),
        common.time_s, common.square_s2, times,
    )  # fmt: skip
    return net, common


def _arrays(graph: PipeGraph, heard: Heard) -> tuple[float, Floats, Floats, Floats]:
    base = float(heard.t_s.min())  # small numbers keep their digits: a clock may count from 1970
    sd2 = heard.sd_s**2 + (ABOUT_M / graph.wave_speed) ** 2
    return base, heard.t_s - base, sd2, sd2 + heard.late_s**2


def fit(graph: PipeGraph, net: Net, heard: Heard, spots: Spots, scales: Scales) -> Fits:
    """Every place by itself, fast; errors of the arrivals taken as independent."""
    base, t, sd2, late2 = _arrays(graph, heard)
    out = np.zeros((len(spots), len(FOUND)))
    _fit(net, t, sd2, late2, scales.scatter**2, scales.fast(), spots.ends, spots.to_s, out)
    out[:, _AT["t0"]] += base
    return Fits(out)


def weigh(graph: PipeGraph, net: Net, heard: Heard, spots: Spots, scales: Scales, about: Fits | None = None) -> Fits:
    """Places in full; ``about`` is their fast fit, which tells on which side of the start a late arrival lies."""
    base, t, sd2, late2 = _arrays(graph, heard)
    n, m, sd = len(spots), len(t), scales.sd
    ends = spots.ends.copy()
    ends[:, 2] = np.where(spots.link >= 0, scales.groups.of_link[spots.link], -1) if scales.groups is not None else -1
    guess = np.ones((n, 2))
    if heard.late_s.any():
        about = about if about is not None else fit(graph, net, heard, spots, scales)
        guess[:, 0], guess[:, 1] = about.column("t0") - base, about.column("slow")
    found = Fits(np.zeros((n, len(FOUND))), np.zeros((n, len(sd))), np.zeros((n, len(sd))), np.zeros((n, m), dtype=np.uint8))
    fewest = min(m, max(2, math.ceil(FEWEST_SHARE * m)))
    _weigh(net, t, sd2, late2, scales.scatter**2, sd, scales.full(), fewest, ends, spots.to_s, guess, found.table, found.slow,
           found.slow_sd, found.out_of)  # fmt: skip
    found.table[:, _AT["t0"]] += base
    return found
