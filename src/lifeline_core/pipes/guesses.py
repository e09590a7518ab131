"""What steps at sensors look like if a wave began at given places with given first motions: their log likelihood.

A guess is a kind of cause, places, and the first motion that leaves by either end of each place. Times are compared with
Student's t (3 degrees of freedom) about the travel times, the beginning and one scale of all speeds free; signs by the
end that a sensor hears first (`lifeline_core.pipes.sides`). A network-wide search has more to say about one place
(`lifeline_core.pipes.search`); here places of one and of two ends are told apart, by one rule for both.

Source: K. L. Lange, R. J. A. Little, J. M. G. Taylor, JASA 84 (1989) 881-896 (weights of the t distribution).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lifeline_core.pipes.sides import Ends, Spots, ends
from lifeline_core.pipes.ways import shared

if TYPE_CHECKING:
    from lifeline_core.pipes.candidates import Candidates
    from lifeline_core.pipes.graph import PipeGraph

Floats = NDArray[np.float64]

WRONG, WRONG_LATE, IN_TIME_S = 0.02, 0.3, 0.3  # a sign is wrong; where it comes so much later than the wave should
NORM = math.log(2.0 / (math.pi * math.sqrt(3.0)))  # of Student's t with 3 degrees of freedom
EXTRA_S = 1.0  # where nothing explains them arrivals lie anywhere within the longest way and this
SPEEDS, SPEED_SD = (0.75, 1.35), 0.06  # bounds of one scale of all speeds; its standard deviation before anything was heard
LATE = 10.0  # a weak beginning is noticed late by up to so many of its standard deviations
MISSED, STRAY = 0.12, 0.02  # of the arrivals: the front was missed and what came after it was picked; belong to nothing
UNREACHED_SD, ROUNDS = 30.0, 8  # an arrival that no way explains counts as so many standard deviations
FAINT = 1e-6  # of the best place's likelihood; what is less likely is not looked at


def log_sum(logs: Floats) -> float:
    """log of the sum of exponentials, -inf of nothing."""
    top = float(logs.max(initial=-math.inf))
    return top + math.log(float(np.exp(logs - top).sum())) if math.isfinite(top) else -math.inf


@dataclass(frozen=True, slots=True)
class Guess:
    """One kind of cause: the names of its places and the log of prior times likelihood of each, up to what all share.

    ``one_place``: the wave begins at a point, not at the two ends of something. ``planned``: it was announced.
    """

    kind: str
    names: tuple[str, ...]
    logs: Floats
    one_place: bool = False
    planned: str = ""

    @property
    def total(self) -> float:
        return log_sum(self.logs)


@dataclass(frozen=True, slots=True)
class Fitted:
    """Places whose times were compared: log likelihood, when it began there, how late each sensor is [n_sensors, n]."""

    ends: Ends
    score: Floats
    t0_s: Floats
    slow: Floats
    late_s: Floats


@dataclass(frozen=True, slots=True)
class Heard:
    """First motions: node, time, its standard deviation, sign (-1, +1), one row per sensor."""

    nodes: tuple[str, ...]
    t_s: Floats
    sd_s: Floats
    polarity: Floats


class Trial:
    """The steps of one event on one graph, against which guesses are held.

    Attributes
    ----------
    chance : float
        Log likelihood of the steps if nothing explains them.
    """

    def __init__(self, graph: PipeGraph, heard: Heard, *, solve_speed: bool, speed_sd: float) -> None:
        self.graph, self.heard, self.solve_speed, self.speed_sd = graph, heard, solve_speed, speed_sd
        index = [graph.index[node] for node in heard.nodes]
        way = np.array([graph.routes(node).time_s[index] for node in heard.nodes])
        longest = float(way[np.isfinite(way)].max()) / SPEEDS[0]
        self.window = max(longest, float(np.ptp(heard.t_s))) + EXTRA_S
        # The beginning is fitted, not known: what is gained by that is taken off again.
        known = 1.0 / math.sqrt(float((1.0 / heard.sd_s**2).sum()))
        self.begun = min(0.0, math.log(math.sqrt(2.0 * math.pi) * known / self.window))
        self.chance = -len(heard.nodes) * math.log(2.0 * self.window)
        self._shared = shared(graph, heard.nodes)

    def fitted(self, spots: Spots) -> Fitted:
        """Times at places: t_i = t0 + slow tau_i + e_i with weights of Student's t, begun from the median."""
        h, way = self.heard, ends(self.graph, self.heard.nodes, spots)
        reached = np.isfinite(way.time_s)
        tau, t = np.where(reached, way.time_s, 0.0), h.t_s[:, None]
        early2 = h.sd_s[:, None] ** 2 + self.speed_sd**2 * self._own(spots, way)
        late2 = early2 + (LATE * h.sd_s[:, None]) ** 2
        prior = 1.0 / SPEED_SD**2
        slow = np.ones(len(spots))
        t0 = np.median(np.where(reached, t - tau, np.median(h.t_s)), axis=0)
        for _ in range(ROUNDS):
            e = t - t0 - slow * tau
            w = np.where(reached, 4.0 / (3.0 * np.where(e > 0, late2, early2) + e * e), 0.0)
            total = np.maximum(w.sum(axis=0), 1e-300)
            mean_t, mean_tau = (w * t).sum(axis=0) / total, (w * tau).sum(axis=0) / total
            if self.solve_speed:
                dt, dtau = t - mean_t, tau - mean_tau
                slow = ((w * dt * dtau).sum(axis=0) + prior) / ((w * dtau * dtau).sum(axis=0) + prior)
                slow = np.clip(slow, 1.0 / SPEEDS[1], 1.0 / SPEEDS[0])
            t0 = mean_t - slow * mean_tau
        e = t - t0 - slow * tau
        z2 = np.where(reached, e * e / np.where(e > 0, late2, early2), UNREACHED_SD**2)
        # Two half distributions of different width, which integrate to one together.
        width = np.log(0.5 * (np.sqrt(early2) + np.sqrt(late2)))
        good = NORM - 2.0 * np.log1p(z2 / 3.0) - width
        # A front too weak to be seen lets a later one be picked; a pick may also belong to nothing.
        elsewhere = np.log(np.where((e > IN_TIME_S) & reached, MISSED, STRAY)) - math.log(self.window)
        score = np.logaddexp(good + math.log(1.0 - MISSED), elsewhere).sum(axis=0)
        score += self.begun - 0.5 * prior * (slow - 1.0) ** 2
        return Fitted(way, score, t0, slow, np.where(reached, e, np.inf))

    def _own(self, spots: Spots, way: Ends) -> Floats:
        """Squared pipe times without what the ways to all sensors have in common: that moves the beginning only."""
        by_b = way.first_a < 0.5
        over_a, over_b = ~by_b.any(axis=0), by_b.all(axis=0)
        at, inside = np.where(over_b, spots.b, spots.a), np.where(over_b, spots.to_b_s, spots.to_a_s)
        common = np.where(over_a | over_b, self._shared.square_s2[at] + inside**2, 0.0)
        return np.where(np.isfinite(way.time_s), np.maximum(way.square_s2 - common, 0.0), 0.0)

    def signs(self, f: Fitted, at_a: float, at_b: float) -> Floats:
        """Log probability of the first motions if ``at_a``, ``at_b`` (-1, +1) leave by the ends."""
        wrong, seen = np.where(f.late_s < IN_TIME_S, WRONG, WRONG_LATE), self.heard.polarity[:, None]
        via_a = np.where(seen == at_a, 1.0 - wrong, wrong)
        via_b = np.where(seen == at_b, 1.0 - wrong, wrong)
        found: Floats = np.log(f.ends.first_a * via_a + (1.0 - f.ends.first_a) * via_b).sum(axis=0)
        return found


@dataclass(frozen=True, slots=True)
class Anywhere:
    """The likeliest nodes and places inside links of a location; ``count``: how many there are in all."""

    spots: Spots
    names: tuple[str, ...]
    inside: NDArray[np.bool_]
    count: int

    @classmethod
    def of(cls, graph: PipeGraph, found: Candidates) -> Anywhere:
        rows = []
        for k in range(len(found)):
            if float(found.probability[k]) < FAINT * float(found.probability[0]):
                break
            rows.append(found[k])
        number = {name: k for k, name in enumerate(graph.links)}
        link = np.array([number[c.link] for c in rows], dtype=np.intp)
        node = np.array([graph.index[c.node] if c.node is not None else -1 for c in rows], dtype=np.intp)
        spots = Spots.on(graph, link, np.array([c.offset_m for c in rows]), node)
        return cls(spots, tuple(c.name for c in rows), node < 0, len(found))
