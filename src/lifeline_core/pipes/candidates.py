"""Where a wave may have begun: places in the order of their likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One node, or one link with the best place inside it.

    Attributes
    ----------
    link : str
        The link it lies on; for a node, one that ends there.
    offset_m : float
        From the link's first node as the .inp has it.
    node : str or None
        None inside a link.
    x, y : float
        In the units of the .inp, on the straight line between the ends; NaN where it gives none.
    t0_s : float
        When the wave began, on the clock of the arrivals.
    rms_s : float
        Root mean square of what the arrivals differ from this place's, all of them counted.
    misfit : float
        The same in standard deviations, the median of the absolute values: about 0.7 for the truth.
    probability : float
        Over all candidates of one search it sums to 1.
    likelihood : float
        Of the arrivals if it began here, 1 at the place that explains them best; no prior.
    speed : float
        m/s: the nominal wave speed times the scale that fits best here.
    """

    link: str
    offset_m: float
    node: str | None
    x: float
    y: float
    t0_s: float
    rms_s: float
    misfit: float
    probability: float
    likelihood: float
    speed: float

    @property
    def name(self) -> str:
        """The node's name, or the link's."""
        return self.node if self.node is not None else self.link


@dataclass(frozen=True, slots=True)
class Scale:
    """Factor of the speeds told and its standard deviation."""

    factor: float
    sd: float


@dataclass(frozen=True, slots=True)
class Account:
    """How a search came to its answer.

    Attributes
    ----------
    used : tuple of str
        Nodes whose arrivals carry it.
    set_aside : mapping of node to reason
        "triangle" (further from the others in time than a wave runs between them), "outlier" (no place explains it with the
        others), "second-event" (three or more that agree with one place and time of their own).
    doubts : tuple of str
        Empty where the best place fits: "residuals" (chance of what is left below 1 in 1000), "set-aside" (fewer than three or
        than 60 % of the arrivals used, those of a second event not counted), "speed" (the scale at an end of its range).
    scales : mapping of group to Scale
        At the best place; one called "all" where no groups were told.
    unweighed : float
        Probability of the places that were fitted fast only; counted high.
    """

    used: tuple[str, ...] = ()
    set_aside: Mapping[str, str] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    scales: Mapping[str, Scale] = field(default_factory=dict)
    unweighed: float = 0.0


class Candidates(Sequence[Candidate]):
    """Candidates, the likeliest first; empty where there is none. Rows are made when they are asked for.

    A *branch* is all that lies behind one node through which all ways to the sensors lead: its places differ in the start of
    the wave only, and arrival times cannot tell them apart. `region` gives it whole.
    """

    def __init__(
        self,
        graph: PipeGraph,
        link: NDArray[np.intp],
        offset_m: Floats,
        node: NDArray[np.intp],
        fit: dict[str, Floats],
        best_score: float = float("nan"),
        branch: NDArray[np.intp] | None = None,
        account: Account | None = None,
    ) -> None:
        self._graph, self._link, self._offset, self._node, self._fit = graph, link, offset_m, node, fit
        self.best_score = best_score  # log likelihood of the place that explains the arrivals best
        self._branch = np.full(len(link), -1, dtype=np.intp) if branch is None else branch
        self.account = account or Account()

    @classmethod
    def none(cls, graph: PipeGraph) -> Candidates:
        """An empty list."""
        whole, real = np.zeros(0, dtype=np.intp), np.zeros(0)
        keys = ("t0_s", "rms_s", "misfit", "probability", "likelihood", "speed")
        return cls(graph, whole, real, whole, dict.fromkeys(keys, real))

    @property
    def probability(self) -> Floats:
        """Of every candidate, falling."""
        return self._fit["probability"]

    @property
    def used(self) -> tuple[str, ...]:
        """Nodes whose arrivals carry the answer; empty where it was not said."""
        return self.account.used

    @property
    def set_aside(self) -> dict[str, str]:
        """Nodes whose arrivals do not, with the reason; see `Account`."""
        return dict(self.account.set_aside)

    @property
    def fits(self) -> bool:
        """Whether the best place explains the arrivals: there is one, and nothing stands in ``account.doubts``."""
        return bool(len(self)) and not self.account.doubts

    def with_second(self, nodes: Sequence[str]) -> Candidates:
        """The same with the arrivals at these nodes known as those of a second event."""
        reasons = {node: "second-event" if node in nodes else why for node, why in self.account.set_aside.items()}
        others = sum(why != "second-event" for why in reasons.values())
        few = len(self.used) < max(3.0, 0.6 * (len(self.used) + others))
        doubts = tuple(d for d in self.account.doubts if d != "set-aside" or few)
        account = replace(self.account, set_aside=reasons, doubts=doubts)
        return Candidates(self._graph, self._link, self._offset, self._node, self._fit, self.best_score, self._branch, account)

    def branch(self, i: int) -> list[int]:
        """Numbers of all candidates that arrival times cannot tell from candidate ``i``, itself among them."""
        i = range(len(self))[i]
        key = self._branch[i]
        return np.nonzero(self._branch == key)[0].tolist() if key >= 0 else [i]

    def __len__(self) -> int:
        return len(self._link)

    @overload
    def __getitem__(self, i: int) -> Candidate: ...
    @overload
    def __getitem__(self, i: slice) -> list[Candidate]: ...
    def __getitem__(self, i: int | slice) -> Candidate | list[Candidate]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        k = range(len(self))[i]
        g, link, node = self._graph, int(self._link[k]), int(self._node[k])
        x, y = self._place(link, float(self._offset[k]), node)
        return Candidate(
            link=g.links[link], offset_m=float(self._offset[k]), node=g.nodes[node] if node >= 0 else None, x=x, y=y,
            **{key: float(value[k]) for key, value in self._fit.items()},
        )  # fmt: skip

    def _place(self, link: int, offset: float, node: int) -> tuple[float, float]:
        g = self._graph
        if node >= 0:
            return float(g.x[node]), float(g.y[node])
        a, b = g.link_a[link], g.link_b[link]
        part = offset / g.length_m[link]
        return float(g.x[a] + part * (g.x[b] - g.x[a])), float(g.y[a] + part * (g.y[b] - g.y[a]))

    def region(self, level: float = 0.9) -> list[Candidate]:
        """The fewest candidates that together have at least this probability, and whole every branch of which they hold a part."""
        return [self[k] for k in self.region_rows(level)]

    def region_rows(self, level: float = 0.9) -> list[int]:
        """Numbers of the candidates of `region`, rising."""
        if not 0 < level <= 1:
            raise ValueError(f"level is within 0 .. 1, got {level!r}")
        if not len(self):
            return []
        n = min(int(np.searchsorted(np.cumsum(self.probability), level - 1e-12)) + 1, len(self))
        held = np.unique(self._branch[:n])
        more = np.isin(self._branch, held[held >= 0])
        more[:n] = True
        return np.nonzero(more)[0].tolist()

    def distance_m(self, i: int, node: str) -> float:
        """Metres along pipes from candidate ``i`` to a node; inf where there is no way."""
        return float(self._reach(i)[self._graph.node_index(node)])

    def arrival_s(self, i: int, node: str) -> float:
        """When a wave from candidate ``i`` comes to a node, on the clock of the arrivals; inf where none does."""
        g, at, link = self._graph, int(self._node[i]), int(self._link[i])
        time = g.routes(node).time_s
        if at >= 0:
            way = float(time[at])
        else:
            part, whole = float(self._offset[i]) / g.length_m[link], g.time_s[link]
            ends = ((int(g.link_a[link]), part * whole), (int(g.link_b[link]), (1.0 - part) * whole))
            way = min(float(time[k]) + t for k, t in ends if not g.barrier[k] or g.nodes[k] == node)
        return float(self._fit["t0_s"][i]) + way * g.wave_speed / float(self._fit["speed"][i])

    def _reach(self, i: int) -> Floats:
        """Metres along pipes from a candidate to every node."""
        g, node, link = self._graph, int(self._node[i]), int(self._link[i])
        if node >= 0:
            return g.distances_m(node)
        a, b, offset = int(g.link_a[link]), int(g.link_b[link]), float(self._offset[i])
        ends = ((a, offset), (b, g.length_m[link] - offset))
        found: Floats = np.minimum(*(np.where(g.barrier[k], np.inf, g.distances_m(k)) + d for k, d in ends))
        for k, d in ends:
            found[k] = min(found[k], d)
        return found

    def sd_m(self, level: float = 0.9) -> float:
        """Root mean square distance along pipes from the first candidate over the region of that probability."""
        rows = self.region_rows(level)
        if not rows:
            return float("nan")
        g, reach = self._graph, self._reach(0)
        link, offset, node = self._link[rows], self._offset[rows], self._node[rows]
        d = np.minimum(reach[g.link_a[link]] + offset, reach[g.link_b[link]] + g.length_m[link] - offset)
        inside = (link == self._link[0]) & (node < 0) & (self._node[0] < 0)
        d = np.where(inside, np.abs(offset - self._offset[0]), d)
        d[node >= 0] = reach[node[node >= 0]]
        weight = np.where(np.isfinite(d), self.probability[rows], 0.0)
        return float(np.sqrt((weight * np.where(np.isfinite(d), d, 0.0) ** 2).sum() / max(weight.sum(), 1e-300)))

    def to_rows(self, limit: int = 20, level: float = 0.9) -> list[dict[str, Any]]:
        """The region as plain maps, at most ``limit``; where it is larger, links between two listed nodes go first."""
        rows = self.region(level)
        if len(rows) > limit:
            g, nodes = self._graph, {c.node for c in rows}
            ends = {name: (g.nodes[a], g.nodes[b]) for name, a, b in zip(g.links, g.link_a, g.link_b, strict=True)}
            rows = [c for c in rows if c.node is not None or not nodes.issuperset(ends[c.link])]
        return [
            {"node" if c.node is not None else "link": c.name, "offset_m": round(c.offset_m, 1),
             "probability": round(c.probability, 4)}
            for c in rows[:limit]
        ]  # fmt: skip
