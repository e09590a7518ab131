"""From what pairs of loggers heard to leaks on the network: several pairs that mean the same place are one leak.

One leak is heard by every pair around it, and not every pair can see where it is::

            C            leak * on the arm of C: pairs A-C and B-C see it there. A-B hears it too, but only
            |            sees the junction by which it comes in.
            *
        A --+-- B

So places are not compared with places alone: a pair belongs to a leak when the leak's place explains the delay the pair
measured, and the place that explains most pairs speaks first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, hypot, inf, isfinite, sqrt

from lifeline_core.pipes.hearing import SIGMAS, Hearing
from lifeline_core.pipes.places import PipeMap, Place, Reach
from lifeline_core.pipes.plan import Pair

NORMAL_95 = 1.959963984540054


@dataclass(frozen=True, eq=False)
class Leak:
    """One suspected leak.

    ``place`` with ``sd_m`` along the pipe, of which ``common_sd_m`` is the same every night (speeds, lengths); ``main``
    the pair that sees it best; ``same`` others that see the same place; ``witnesses`` others that hear it and see only
    the junction or end by which it comes; ``score`` 0 .. 1 of the clearest of them; ``notes`` what a person must know.
    """

    place: Place
    sd_m: float
    common_sd_m: float
    main: Hearing
    same: tuple[Hearing, ...]
    witnesses: tuple[Hearing, ...]
    score: float
    notes: tuple[str, ...]

    @property
    def x_m(self) -> float:
        """Metres from the main pair's logger a along the pipe."""
        x = self.main.pair.way.where_m(self.place)
        if x is not None:
            return x
        assert self.main.position is not None
        return self.main.position.x_m

    @property
    def interval_m(self) -> tuple[float, float]:
        """95 % interval on the main pair's way, metres from its logger a."""
        reach, x = NORMAL_95 * self.sd_m, self.x_m
        return max(x - reach, 0.0), min(x + reach, self.main.pair.way.length_m)


def _lever(heard: Hearing) -> float:
    """Seconds of delay per metre of place, 2 / c."""
    assert heard.place is not None
    return 2.0 / next(p.speed_mps for p in heard.pair.way.pieces if p.link == heard.place.link and p.length_m)


def explains(reach: Reach, heard: Hearing, *, spread_s: float = 0.0, extra_m: float = 0.0) -> bool:
    """Whether a noise at the start of ``reach`` gives the delay that a pair measured.

    Within `SIGMAS` deviations of the pair's own place (as a delay, 2 sd / c) and of the source's (``spread_s``), plus
    ``extra_m`` of place.
    """
    assert heard.position is not None
    told = told_delay(reach, heard.pair)
    lever = _lever(heard)
    return abs(heard.delay_s - told) <= SIGMAS * hypot(lever * heard.position.sd_m, spread_s) + lever * extra_m


def told_delay(reach: Reach, pair: Pair) -> float:
    """The delay t_b - t_a of a noise at the start of ``reach``; inf where it does not come to both."""
    t_a, t_b = reach.time_s(pair.a.place), reach.time_s(pair.b.place)
    return t_b - t_a if isfinite(t_a) and isfinite(t_b) else inf


def comes_by(pipes: PipeMap, heard: Hearing, extra_m: float) -> str | None:
    """Where else a pair's noise may come from: in words, None where its place is inside the pipe between the two.

    A noise beyond one of the loggers, or up a branch, passes the logger or the junction and is seen there.
    """
    assert heard.position is not None
    way, x, reach = heard.pair.way, heard.position.x_m, SIGMAS * heard.position.sd_m + extra_m
    near = [(abs(at - x), pipes.graph.nodes[node]) for node, at in way.crossed() if len(pipes.at[node]) > 2]
    best = min((n for n in near if n[0] <= reach), default=None)
    if best is not None and not heard.position.outside:
        return f"junction: {best[1]} is within the interval, the noise may come in from a branch there"
    for logger, metres in ((heard.pair.a, x), (heard.pair.b, way.length_m - x)):
        node = pipes.node_of(logger.place)
        if metres <= reach and (node is None or len(pipes.at[node]) > 1):
            return f"end: logger {logger.name} is within the interval, the noise may come from beyond it"
    return None


def join(pipes: PipeMap, heard: Sequence[Hearing], *, same_place_m: float, longest_m: float = inf) -> list[Leak]:
    """Leaks, the clearest first, out of what all pairs said.

    The place that explains most pairs is a leak, then the one that explains most of the rest, and so on. A pair that
    several leaks explain belongs to the nearest. A delay of zero counts where another pair hears the noise come from there:
    what is common to the loggers (hum, a shared clock's crosstalk) has no place.

    Parameters
    ----------
    pipes : PipeMap
    heard : sequence of Hearing
        In any order: the answer does not depend on it. Kinds ``leak`` and ``middle`` count.
    same_place_m : float
        Closer than this is the same place for those who dig; added to what the deviations allow.
    longest_m : float
        A leak is not looked for in what pairs heard that are further away.
    """
    def rank(h: Hearing) -> tuple[bool, bool, float, str, str]:
        assert h.position is not None
        return h.position.outside, comes_by(pipes, h, same_place_m) is not None, -h.score, h.pair.a.name, h.pair.b.name

    every = sorted((h for h in heard if h.kind in ("leak", "middle")), key=rank)
    told = {id(h): _explained(pipes, h, every, same_place_m, longest_m) for h in every}
    sure = {id(h) for h in every if h.kind == "leak"}
    left, seeds = set(sure), []
    while left:
        most = max(every, key=lambda h: (len(told[id(h)] & left), len(told[id(h)])))  # the first in rank of several
        seeds.append(most)
        left -= told[id(most)]
    leaks = []
    for group in _shared(pipes, seeds, every, told, longest_m):
        best = _clearest(pipes, group, longest_m)
        leaks.append(_one(pipes, best, [h for h in group if h is not best], same_place_m))
    return sorted(leaks, key=lambda k: (-k.score, k.place))


def _shared(pipes: PipeMap, seeds: Sequence[Hearing], every: Sequence[Hearing], told: Mapping[int, set[int]], longest_m: float
            ) -> list[list[Hearing]]:
    """What each seed's leak was heard by: itself, and of the rest what it explains and no nearer one does."""
    groups = [[seed] for seed in seeds]
    reaches = [Reach(pipes, seed.place, longest_m) for seed in seeds if seed.place is not None]
    for h in every:
        near = [(min(r.time_s(h.pair.a.place), r.time_s(h.pair.b.place)), i)
                for i, (seed, r) in enumerate(zip(seeds, reaches, strict=True)) if id(h) in told[id(seed)]]
        if near and not any(h is seed for seed in seeds):
            groups[min(near)[1]].append(h)
    return groups


def _explained(pipes: PipeMap, one: Hearing, all_: Sequence[Hearing], same_place_m: float, longest_m: float) -> set[int]:
    """Ids of what pairs heard that a noise at one pair's place explains, itself among them."""
    assert one.place is not None and one.position is not None
    x, sd = one.position.x_m, one.position.sd_m
    reach, *ends = (Reach(pipes, one.pair.way.at(at), longest_m) for at in (x, x - sd, x + sd))
    mine = {id(one)}
    for h in all_:
        told = [told_delay(e, h.pair) for e in ends]
        spread = abs(told[1] - told[0]) / 2.0 if all(map(isfinite, told)) else 0.0
        if explains(reach, h, spread_s=spread, extra_m=same_place_m):
            mine.add(id(h))
    return mine


def _clearest(pipes: PipeMap, group: Sequence[Hearing], longest_m: float) -> Hearing:
    """Of pairs that hear one noise the one whose place explains all their delays best (sum of squared deviations)."""
    def misfit(h: Hearing) -> tuple[float, bool]:
        assert h.place is not None and h.position is not None
        reach = Reach(pipes, h.place, longest_m)
        off = ((g.delay_s - told_delay(reach, g.pair)) / max(_lever(g) * _sd(g), 1e-6) for g in group)
        return fsum(x * x for x in off), h.position.outside

    return min(group, key=misfit) if len(group) > 1 else group[0]


def _sd(h: Hearing) -> float:
    assert h.position is not None
    return h.position.sd_m


def _one(pipes: PipeMap, first: Hearing, others: Sequence[Hearing], same_place_m: float) -> Leak:
    """The leak of a first pair and of others that it explains.

    The place is the mean weighted by 1 / sd^2, taken step by step along the pipe. Errors of delay and clock average out;
    those of speeds and lengths are taken as common to all pairs.
    """
    assert first.place is not None and first.position is not None
    place, weight = first.place, 1.0 / max(first.position.sd_m, 1e-3) ** 2
    parts, same, witnesses = [(weight, first)], [], []
    for h in others:
        assert h.place is not None and h.position is not None
        near = SIGMAS * hypot(first.position.sd_m, h.position.sd_m) + same_place_m
        way = Reach(pipes, place, near).way(h.place)
        if way is None or h.position.outside or comes_by(pipes, h, same_place_m) is not None:
            witnesses.append(h)
            continue
        w = 1.0 / max(h.position.sd_m, 1e-3) ** 2
        weight += w
        place = way.at(way.length_m * w / weight)
        parts.append((w, h))
        same.append(h)
    common = sum(w * _common_sd(h) for w, h in parts) / weight
    own = sqrt(sum((w * _own_sd(h)) ** 2 for w, h in parts)) / weight
    clearest = max(h.score for h in (first, *others))
    return Leak(place, hypot(common, own), common, first, tuple(same), tuple(witnesses), clearest,
                tuple(_notes(pipes, first, witnesses, same_place_m)))


def _common_sd(h: Hearing) -> float:
    """The part of a pair's deviation that every night and every pair shares: of speeds and lengths."""
    assert h.position is not None
    return hypot(h.position.budget.get("speed", 0.0), h.position.budget.get("length", 0.0))


def _own_sd(h: Hearing) -> float:
    assert h.position is not None
    return sqrt(max(h.position.sd_m**2 - _common_sd(h) ** 2, 0.0))


def _notes(pipes: PipeMap, first: Hearing, witnesses: Sequence[Hearing], same_place_m: float) -> list[str]:
    assert first.position is not None
    by = comes_by(pipes, first, same_place_m)
    found = [] if by is None else [by]
    if first.position.outside:
        end = first.pair.a.name if first.position.side == "a" else first.pair.b.name
        found = [f"outside: the source lies at or beyond logger {end}; a pair on its other side would see it"]
    if first.kind == "middle":
        found.append("middle: a delay of zero might be something common to both loggers, but other pairs hear it come from there")
    if witnesses:
        names = ", ".join(f"{h.pair.a.name}-{h.pair.b.name}" for h in witnesses)
        found.append(f"witnesses: {names} hear the same noise come in from the side")
    return found
