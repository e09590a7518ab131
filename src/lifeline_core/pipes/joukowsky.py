"""How large a step of head a change of flow makes, what a junction passes of it, and the flow read back from steps.

A sudden change of velocity dv makes a pressure step that runs away with the speed a of the wave::

    dp = rho a dv        dH = a dv / g        Y = g A / a   (flow per metre of head that a pipe carries away)

Water that begins to leave at one place draws on all pipes that end there, Q = dH sum Y; in the middle of a pipe these
are two halves of one, Q = 2 g A dH / a. A wave that comes to a junction by pipe 1 goes on by every other with s times
its height and goes back with s - 1 times::

    s = 2 Y1 / sum Y     dead end 2     reservoir or tank 0     three equal pipes 2/3

so along a way the height is multiplied by s at every node, the sensor's own included. A pump acts on small changes like
a resistance, taken as the sum of the impedances on both sides (as in `lifeline_core.pipes.moc`). Friction is left out.

Sources: N. Joukowsky, Mem. Imp. Acad. Sci. St. Petersburg (1898); E. B. Wylie, V. L. Streeter, Fluid Transients in
Systems (1993), ch. 1 (step), ch. 12 (junctions).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from lifeline_core.pipes.candidates import Candidate
from lifeline_core.pipes.moc import GRAVITY
from lifeline_core.pipes.speed import WATER_DENSITY

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

MODEL_SD = 0.25  # of the log of one sensor's flow: what friction, speeds and unknown fittings do, before any junction
JUNCTION_SD = 0.10  # more with every node on the way, in quadrature: its pipes' diameters are nominal
DEGREES = 3.0  # weights of Student's t: a sensor whose step was read wrong loses its say
LEAST_PASSED = 0.02  # of the height; what is weaker tells of other ways than this one


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is positive and finite, got {value!r}")


def pressure_step(speed_mps: float, dv_mps: float, density: float = WATER_DENSITY) -> float:
    """dp = rho a dv, in Pa, with the sign of ``dv_mps`` (of a flow that is stopped, in the direction it comes from).

    Raises
    ------
    ValueError
        A speed or density that is not positive and finite.

    Examples
    --------
    >>> round(pressure_step(1000.0, 1.0))
    998200
    """
    _positive(speed_mps=speed_mps, density=density)
    return density * speed_mps * dv_mps


def head_step(speed_mps: float, dv_mps: float) -> float:
    """dH = a dv / g, in metres of head; see `pressure_step`.

    Examples
    --------
    >>> round(head_step(1200.0, 1.0), 2)
    122.37
    """
    _positive(speed_mps=speed_mps)
    return speed_mps * dv_mps / GRAVITY


def admittance(diameter_m: float, speed_mps: float) -> float:
    """Y = g A / a, in m2/s: the flow that one metre of head drives into a long pipe of this inner diameter."""
    _positive(diameter_m=diameter_m, speed_mps=speed_mps)
    return GRAVITY * 0.25 * math.pi * diameter_m**2 / speed_mps


def step_flow(step_m: float, pipes: Iterable[tuple[float, float]]) -> float:
    """Flow in m3/s that a step of head at its own place tells: Q = g dH sum (A / a), positive, for either sign of the step.

    Parameters
    ----------
    step_m : float
        Change of head where the flow changed, m.
    pipes : iterable of (diameter_m, speed_mps)
        All that end there; for a place in the middle of a pipe that pipe twice.

    Raises
    ------
    ValueError
        No pipe, or a diameter or speed that is not positive and finite.

    Examples
    --------
    >>> round(1000 * step_flow(-10.0, [(0.3, 1200.0)] * 2), 3)
    11.553
    """
    ends = [admittance(d, a) for d, a in pipes]
    if not ends:
        raise ValueError("a flow is read from one pipe at least, got none")
    return abs(step_m) * sum(ends)


def transmission(pipe: tuple[float, float], others: Iterable[tuple[float, float]]) -> float:
    """s = 2 Y1 / sum Y at a junction to which a wave comes by ``pipe``; s - 1 is what goes back.

    Parameters
    ----------
    pipe : (diameter_m, speed_mps)
    others : iterable of (diameter_m, speed_mps)
        The other pipes of the junction; none is a dead end (2). A reservoir passes nothing (0) and is no junction.

    Examples
    --------
    >>> round(transmission((0.3, 1200.0), [(0.3, 1200.0), (0.15, 400.0)]), 5)
    0.72727
    """
    own = admittance(*pipe)
    return 2.0 * own / (own + sum(admittance(d, a) for d, a in others))


@dataclass(frozen=True, slots=True)
class Flow:
    """``q_m3s`` and its standard deviation, NaN where nothing can be said; ``used`` the nodes whose steps went in;
    ``reasons`` what was left out and why."""

    q_m3s: float
    sd_m3s: float
    used: tuple[str, ...]
    reasons: tuple[str, ...]


class Junctions:
    """Admittances of a graph's links and their sums where links meet; the ends of open valves are one place.

    Attributes
    ----------
    own : float64[n_links]
        m2/s; 0 for links without a length, NaN where the diameter is not known.
    total : float64[n_nodes]
        Sum over the pipes of the node and of those it is joined to; NaN where one of them is not known.
    """

    def __init__(self, graph: PipeGraph) -> None:
        self.graph = graph
        piped = graph.length_m > 0
        rate = np.where(piped, graph.length_m / np.where(piped, graph.time_s, 1.0), 1.0)
        self.own: Floats = np.where(piped, GRAVITY * 0.25 * math.pi * graph.diameter_m**2 / rate, 0.0)
        pumps = {pump.name for pump in graph.pumps}
        self.pump = np.array([name in pumps for name in graph.links], dtype=bool) & ~piped
        n, joined = len(graph.nodes), ~piped & ~self.pump
        pairs = coo_matrix((np.ones(int(joined.sum())), (graph.link_a[joined], graph.link_b[joined])), shape=(n, n))
        count, group = connected_components(pairs, directed=False)
        ends = np.concatenate([group[graph.link_a], group[graph.link_b]])
        self.total: Floats = np.bincount(ends, np.concatenate([self.own, self.own]), count)[group]
        self._fastest: dict[tuple[int, int], int] = {}
        for k in np.argsort(-graph.time_s, kind="stable"):
            a, b = int(graph.link_a[k]), int(graph.link_b[k])
            self._fastest[a, b] = self._fastest[b, a] = int(k)

    def passage(self, node: str, start: int) -> tuple[float, int, str]:
        """What share of a wave's height that begins at node ``start`` (index) is seen at ``node`` when its front comes.

        Returns
        -------
        share, junctions, reason
            The product of s over the nodes on the fastest way, the sensor's own with them (1 where it begins); how many
            they are; a reason and NaN where a diameter on the way is not known or no way is.
        """
        g = self.graph
        toward, end = g.routes(node).toward, g.index[node]
        share, count, at = 1.0, 0, start
        while at != end:
            after = int(toward[at])
            if after < 0:
                return math.nan, count, f"{node}: no wave comes there"
            k = self._fastest[at, after]
            if self.pump[k]:
                share, count = share * self._pumped(at, after), count + 1
            elif self.own[k] > 0 or math.isnan(self.own[k]):
                share, count = share * self._met(k, after), count + 1
            at = after
        if math.isnan(share):
            return math.nan, count, f"{node}: a diameter on the way there is not known"
        return share, count, ""

    def _met(self, link: int, node: int) -> float:
        return 0.0 if self.graph.barrier[node] else 2.0 * float(self.own[link]) / float(self.total[node])

    def _pumped(self, a: int, b: int) -> float:
        """Half of what two equal pipes would pass: the pump's resistance equals both impedances together."""
        ya, yb = float(self.total[a]), float(self.total[b])
        if math.isnan(ya) or math.isnan(yb):
            return math.nan
        if self.graph.barrier[b] or ya <= 0:
            return 0.0
        return 0.5 * ya / (ya + yb) if yb > 0 else 0.5


def _robust(logs: Floats, sd: Floats) -> tuple[float, float]:
    """Location of logs with weights of Student's t about their median, and its standard deviation: the larger of what
    the single ones promise and what they scatter by."""
    centre = float(np.median(logs))
    for _ in range(8):
        w = (DEGREES + 1.0) / (DEGREES * sd**2 + (logs - centre) ** 2)
        centre = float((w * logs).sum() / w.sum())
    formal = float(1.0 / np.sqrt((1.0 / sd**2).sum()))
    if len(logs) < 3:
        return centre, formal
    scatter = 1.4826 * float(np.median(np.abs(logs - np.median(logs)))) / math.sqrt(len(logs))
    return centre, max(formal, scatter)


def burst_flow(
    graph: PipeGraph,
    place: str | Candidate,
    steps: Mapping[str, float],
    *,
    noise_m: float = 0.0,
) -> Flow:
    """Flow that began (or ended) at a place, read back from the first steps that sensors saw.

    Parameters
    ----------
    graph : PipeGraph
        With ``diameter_m``: nothing is said from a sensor whose way leads past a pipe of unknown diameter.
    place : str or Candidate
        A node, a link (its middle), or a candidate of a location.
    steps : mapping of node to metres
        Change of head of the first front, before reflections come; NaN is left out. The sign is not used.
    noise_m : float
        Standard deviation of the steps.

    Returns
    -------
    Flow
        ``q_m3s`` positive. The single flows (Q = dH / share * sum Y at the place) are combined as logs with weights of
        Student's t; ``sd_m3s`` holds the assumed 25 % and 10 % a junction for each, or their scatter where larger.

    Raises
    ------
    ValueError
        A place or node that is not in the network, a negative ``noise_m``.
    """
    if not noise_m >= 0:
        raise ValueError(f"noise_m is not negative, got {noise_m!r}")
    for node in steps:
        graph.node_index(node)
    junctions = Junctions(graph)
    ends, source = _ends(junctions, place)
    if not math.isfinite(source) or source <= 0:
        return Flow(math.nan, math.nan, (), ("the diameter of a pipe at the place is not known",))
    logs, sds, used, reasons = [], [], [], []
    for node, step in steps.items():
        if not math.isfinite(step) or step == 0:
            continue
        end = min(ends, key=lambda e: e[1] + float(graph.routes(node).time_s[e[0]]))
        share, count, reason = junctions.passage(node, end[0])
        share, count = share * end[2], count + (end[2] != 1.0)
        if reason or not share >= LEAST_PASSED:
            reasons.append(reason or f"{node}: too little of the wave comes there ({share:.3f})")
            continue
        logs.append(math.log(abs(step) / share * source))
        sds.append(math.sqrt(MODEL_SD**2 + count * JUNCTION_SD**2 + (noise_m / abs(step)) ** 2))
        used.append(node)
    if not logs:
        return Flow(math.nan, math.nan, (), (*reasons, "no sensor tells the flow"))
    centre, sd = _robust(np.array(logs), np.array(sds))
    return Flow(math.exp(centre), math.exp(centre) * sd, tuple(used), tuple(reasons))


def _ends(junctions: Junctions, place: str | Candidate) -> tuple[list[tuple[int, float, float]], float]:
    """Nodes at which the wave enters the network: (index, seconds from the place, share that is passed there); sum of Y."""
    g = junctions.graph
    node = place.node if isinstance(place, Candidate) else (place if place in g.index else None)
    if node is not None:
        at = g.index[node]
        return [(at, 0.0, 1.0)], float(junctions.total[at])
    name = place.link if isinstance(place, Candidate) else place
    if name not in g.links:
        raise ValueError(f"a place is a node or a link of the network, got {name!r}")
    k = g.links.index(name)
    part = place.offset_m / g.length_m[k] if isinstance(place, Candidate) and g.length_m[k] > 0 else 0.5
    ends = [(int(g.link_a[k]), part), (int(g.link_b[k]), 1.0 - part)]
    if g.length_m[k] <= 0:
        return [(at, 0.0, 1.0) for at, _ in ends], float(junctions.total[ends[0][0]])
    inside = [(at, p * float(g.time_s[k]), junctions._met(k, at)) for at, p in ends]
    return inside, 2.0 * float(junctions.own[k])
