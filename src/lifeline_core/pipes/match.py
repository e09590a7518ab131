"""One search for a burst by its waves: what the likeliest places are fitted with, from the nominal network to many that it
may be. `lifeline_core.pipes.waveform` says in which order.

All that takes long is a generator: it stops after every piece of work and tells what that cost, so that a caller with
other things to do can go on later. The cost is reckoned from sizes, in about milliseconds of one core; it is never
measured, so that the pieces of one search are the same wherever it runs.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from lifeline_core.dsp.threads import shared
from lifeline_core.pipes.evidence import LEAST_LIKELY, Evidence, Fit, Guess
from lifeline_core.pipes.moc import LANES, Places, Waves, outflow
from lifeline_core.pipes.region import Region
from lifeline_core.pipes.screen import BACK_S, BLOCK, Screen, Screened, opened
from lifeline_core.pipes.traces import Traces

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.intp]
Known = tuple[Fit, Singles]  # of a place: the best fit so far and the flow that goes with it
T = TypeVar("T")
Work = Generator[float, None, T]  # yields costs

DT_S = 0.004
END_M = 5.0  # what is nearer to a node than this is the node
CRUDE = Guess(0.3, 0.05)
CRUDE_SHIFT_S = 0.02
TURNS = ((0.0, 1.0), (0.0, 1.0), (0.0, 1.0), (0.0, 3.0), (0.0, 1.0), (1.5, 0.0), (-1.5, 0.0))  # bins later, times the size
ROUNDS, SEED = 2, 1
USERS, USERS_SD = 1e-5, 1.0  # median of d q / d h of users at half of the nodes, m2/s, and its log standard deviation
GAP = 400.0  # in score: what is further behind is not looked at again
SAME = 0.004  # a common speed that changed by less is not worth another round
CHUNK = 4  # members run in one piece of work
RUN_COST, LOOK_COST, SOLVE_COST = 12e-6, 1.2e-5, 1.2e-3  # per link and step, sensor and bin (of a place, of a fit)


def score_of(known: Sequence[Known]) -> float:
    """Of the best."""
    return max(fit.score for fit, _ in known)


def best_of(known: Sequence[Known]) -> Fit:
    """The best fit."""
    return max((fit for fit, _ in known), key=lambda fit: fit.score)


@dataclass(frozen=True, slots=True)
class Members:
    """Networks as they may be: factors of the pipes' speeds [n, n_links] and their users [n, n_nodes]; the log of the
    common factor of each."""

    factor: Floats
    users: Floats
    lean: Floats

    @classmethod
    def draw(cls, graph: PipeGraph, count: int, speed_sd: float, lean_sd: float) -> Members:
        """Always the same ones: an answer does not depend on chance."""
        rng = np.random.default_rng(SEED)
        lean = rng.normal(0.0, lean_sd, count)
        lean -= lean.mean()
        single = rng.standard_t(8, (count, len(graph.links))) * math.sqrt(0.75) * speed_sd
        some = rng.random((count, len(graph.nodes))) < 0.5
        users = np.where(some, USERS * np.exp(rng.normal(0.0, USERS_SD, some.shape)), 0.0)
        return cls(np.exp(np.clip(single, -4 * speed_sd, 4 * speed_sd) + lean[:, None]), users, lean)


def joined(parts: Sequence[Places]) -> Places:
    """One after the other."""
    return Places(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("node", "link", "offset_m")))


def inner(graph: PipeGraph, links: Ints, spacing_m: float, fewest: int = 0) -> Places:
    """Points inside these links, evenly spread, none nearer to an end than ``END_M``."""
    length = graph.length_m[links]
    count = np.where(length > 4 * END_M, np.maximum(np.rint(length / spacing_m) - 1, fewest), 0).astype(np.intp)
    link = np.repeat(links, count)
    k = np.arange(len(link)) - np.repeat(np.cumsum(count) - count, count) + 1
    offset = k * graph.length_m[link] / np.repeat(count + 1, count)
    offset = np.clip(offset, END_M, graph.length_m[link] - END_M)
    return Places(np.full(len(link), -1, dtype=np.intp), link, offset)


class Match:
    """One search: the traces, the sensors, and what is known of each place so far."""

    def __init__(
        self, part: Region, traces: Traces, sensors: Places, *, speed: float, speed_sd: float, level_m: float, threads: int
    ) -> None:
        self.graph = graph = part.graph
        self.traces, self.sensors, self.diameter_m, self.cut = traces, sensors, part.diameter_m, part.cut
        self.speed_sd, self.level_m, self.threads = speed_sd, level_m, threads
        self.every = max(1, math.ceil(traces.step_s / DT_S - 1e-9))
        self.dt = traces.step_s / self.every
        self.n = traces.y.shape[1] + int(BACK_S / traces.step_s)
        running = graph.time_s > 0
        self.speed = np.where(running, graph.length_m / np.where(running, graph.time_s, 1.0), 1.0) * speed / graph.wave_speed
        self._like: Waves | None = None

    def waves(self, scale: float, factor: Floats | float = 1.0, users: Floats | None = None) -> Waves:
        users = self.cut if users is None else self.cut + users
        speed = self.speed * scale * factor
        made = Waves(self.graph, speed, dt=self.dt, diameter_m=self.diameter_m, users=users, like=self._like)
        self._like = made
        return made

    def run_cost(self, runs: int) -> float:
        """Of so many sources."""
        return RUN_COST * len(self.graph.links) * self.n * self.every * math.ceil(runs / LANES)

    def solve_cost(self, fits: float) -> float:
        """Of so many fits of all traces."""
        return SOLVE_COST * fits * self.traces.y.size

    # -- 2: every place ----------------------------------------------------------------------------------------------

    def screen(self, places: Places, scales: Floats, opening_s: float) -> Work[list[Fit]]:
        """The best time, size and speed of each place."""
        screen = Screen(self.traces, self.speed_sd)
        bins = max(1, round(opening_s / self.traces.step_s))
        found = []
        for scale in scales:
            responses = self.waves(float(scale)).probe(self.sensors, places, screen.length, self.every)
            parts = []
            yield self.run_cost(len(self.sensors))
            for k in range(0, len(places), BLOCK):
                some = opened(responses[:, k : k + BLOCK], bins)
                parts.append(screen.score(some))
                yield LOOK_COST * some.size
            found.append(Screened.joined(parts))
        score, t0, amount = (np.array([getattr(one, k) for one in found]) for k in ("score", "t0_s", "amount"))
        best, row = score.argmax(axis=0), np.arange(len(places))
        return [
            Fit(float(score[i, j]), max(float(amount[i, j]), 1e-4), 0.0, 0.0, 0.0, float(t0[i, j]), float(scales[i]))
            for i, j in zip(best, row, strict=True)
        ]

    def opening(self, opening_s: float) -> Singles:
        """0 .. 1: evenly opened over so long."""
        k = np.arange(self.n)
        return np.clip((k + 0.5) * self.traces.step_s / opening_s, 0.0, 1.0).astype(np.float32)

    # -- 3: an orifice -----------------------------------------------------------------------------------------------

    def through(self, responses: Singles, flow: Singles) -> Singles:
        """Responses to a step become those to the flow."""
        size = fft.next_fast_len(2 * self.n, real=True)
        by = fft.rfft(np.diff(flow, prepend=np.float32(0)), size)
        found: Singles = fft.irfft(fft.rfft(responses, size, axis=-1) * by, size, axis=-1)[..., : self.n]
        return found

    def crude(self, evidence: Evidence, g: Singles, own: Singles, fit: Fit, opening: Singles) -> Known:
        """Best fit of one place on the nominal network, and its flow. The size and what the flow's own fall of head
        leaves of it depend on each other: a few turns, and one from three times the
        size; grow 0 goes on from the best."""
        n, step = len(g), self.traces.step_s
        best, kept = replace(fit, score=LEAST_LIKELY), opening
        amount = fit.amount
        for late, grow in TURNS:
            amount = best.amount if grow == 0 else amount * grow
            flow = outflow(own, opening, amount, self.level_m)
            mean = self.through(g, flow)
            spread = np.zeros((n, *mean.shape), dtype=np.float32)
            spread[np.arange(n), np.arange(n)] = np.gradient(mean, axis=-1) / step * CRUDE_SHIFT_S
            found = evidence.fit(mean, spread, np.zeros(0), fit.t0_s + late * step, fit.scale, amount, 2)
            amount = found.amount
            if found.score > best.score:
                best, kept = found, flow
        return best, kept

    def fit(self, places: Places, fits: list[Fit], opening_s: float) -> Work[list[Known]]:
        """`crude` for each place at its own speed."""
        evidence, opening = Evidence(self.traces, CRUDE), self.opening(opening_s)
        found: list[Known] = [(f, opening) for f in fits]
        for scale in sorted({f.scale for f in fits}):
            some = np.array([i for i, f in enumerate(fits) if f.scale == scale], dtype=np.intp)
            waves = self.waves(scale)
            g = waves.probe(self.sensors, places[some], self.n, self.every)
            own = waves.own(places[some], self.n, self.every)
            yield self.run_cost(len(self.sensors)) + self.run_cost(len(some))
            for k, i in enumerate(some):
                found[i] = self.crude(evidence, g[:, k], own[k], fits[i], opening)
                yield self.solve_cost(2 * len(TURNS) * 0.35)
        return found

    # -- 4: networks as they may be ----------------------------------------------------------------------------------

    def responses(self, places: Places, scale: float, members: Members) -> Work[Singles]:
        """[n_places, n_members, n_sensors, n]"""
        count = len(members.lean)
        found = np.empty((len(places), count, len(self.sensors), self.n), dtype=np.float32)

        def work(start: int, begin: int, end: int) -> None:
            for m in range(start + begin, start + end):
                waves = self.waves(scale, members.factor[m], members.users[m])
                found[:, m] = waves.probe(self.sensors, places, self.n, self.every).transpose(1, 0, 2)

        size = CHUNK * self.threads
        for start in range(0, count, size):
            stop = min(start + size, count)
            shared(partial(work, start), stop - start, self.threads)
            yield self.run_cost(len(self.sensors)) * (stop - start)
        return found

    def climb(self, evidence: Evidence, g: Singles, lean: Floats, begun: Fit, scale: float, least: float) -> Fit:
        """Best time of beginning of one place, from a first guess in steps of 30 and then 15 ms."""
        root = 1.0 / math.sqrt(max(len(lean) - 1, 1))
        mean = g.mean(axis=0)
        spread = (g - mean) * np.float32(root)
        best = evidence.fit(mean, spread, lean * root, begun.t0_s, scale, begun.amount, 2)
        if best.score < least:
            return best
        amount = best.amount

        def better(late: float) -> bool:
            nonlocal best
            found = evidence.fit(mean, spread, lean * root, best.t0_s + late, scale, amount)
            if found.score <= best.score:
                return False
            best = found
            return True

        for sign in (1.0, -1.0):
            far = 0
            while far < 20 and better(sign * 0.03):
                far += 1
            if far:
                break
        if not better(0.015):
            better(-0.015)
        return best

    def compare(
        self, places: Places, known: list[list[Known]], members: Members, scale: float, rounds: int = ROUNDS
    ) -> Work[list[list[Known]]]:
        """The evidence of each place, for each flow known of it. Every round takes the common speed that the best of the
        one before asks for, if that is another."""
        evidence = Evidence(self.traces, Guess())
        best = [[(replace(fit, score=LEAST_LIKELY), flow) for fit, flow in one] for one in known]
        some, top = list(range(len(known))), LEAST_LIKELY
        for turn in range(rounds):
            g = yield from self.responses(places[np.array(some, dtype=np.intp)], scale, members)
            for k, i in enumerate(some):
                for j, (fit, flow) in enumerate(best[i]):
                    if turn and fit.score <= top - GAP:
                        continue
                    begun = fit if turn else known[i][j][0]
                    found = self.climb(evidence, self.through(g[k], flow), members.lean, begun, scale, top - GAP)
                    if found.score > fit.score:
                        best[i][j] = found, flow
                    top = max(top, found.score)
                    yield self.solve_cost(3.0)
            first = best_of([one for place in best for one in place])
            wanted = first.scale * math.exp(float(np.clip(first.slow, -0.05, 0.05)))
            if abs(math.log(wanted / scale)) < SAME:
                break
            scale = wanted
            some = [i for i in some if score_of(best[i]) > top - GAP]
        return best
