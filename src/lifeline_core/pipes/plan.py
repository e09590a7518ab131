"""Which two loggers of a network are worth correlating: neighbours, with nobody in between, near enough to hear the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lifeline_core.pipes.places import PipeMap, Place, Reach, Way


@dataclass(frozen=True, slots=True)
class Logger:
    """One logger: its name, where it stands, its clock's standard deviation, wired the other way round or not."""

    name: str
    place: Place
    clock_sd_s: float = 0.0
    inverted: bool = False


@dataclass(frozen=True)
class Pair:
    """Two neighbouring loggers and the way between them, from a to b."""

    a: Logger
    b: Logger
    way: Way

    @property
    def clock_sd_s(self) -> float:
        """Of the difference between the two clocks."""
        return (self.a.clock_sd_s**2 + self.b.clock_sd_s**2) ** 0.5

    @property
    def inverted(self) -> bool:
        """One of the two is wired the other way round."""
        return self.a.inverted != self.b.inverted


class _Standing:
    """Loggers by the link and by the node they stand at."""

    def __init__(self, pipes: PipeMap, loggers: Sequence[Logger]) -> None:
        self.on_link: dict[int, list[int]] = defaultdict(list)
        self.at_node: dict[int, list[int]] = defaultdict(list)
        for i, logger in enumerate(loggers):
            self.on_link[logger.place.link].append(i)
            node = pipes.node_of(logger.place)
            if node is not None:
                self.at_node[node].append(i)
        self._places = [g.place for g in loggers]

    def between(self, way: Way) -> Iterator[int]:
        """Loggers on the way but not at its ends; one at a node counts whichever of its links names it."""
        for node, _ in way.crossed():
            yield from self.at_node.get(node, ())
        for piece in way.pieces:
            for i in self.on_link.get(piece.link, ()):
                x = way.where_m(self._places[i])
                if x is not None and 0.0 < x < way.length_m:
                    yield i


def plan_pairs(pipes: PipeMap, loggers: Sequence[Logger], *, longest_m: float) -> tuple[list[Pair], dict[str, str]]:
    """The pairs worth correlating, and why a logger has none.

    A noise takes the quickest way. Two loggers are neighbours when no third stands on that way: what lies beyond a third
    one is heard better by it.

    Parameters
    ----------
    pipes : PipeMap
    loggers : sequence of Logger
        In any order; the pairs come in theirs.
    longest_m : float
        No pair has a longer way; metres, above 0.

    Returns
    -------
    pairs : list of Pair
    alone : dict
        For every logger without a pair why.

    Raises
    ------
    ValueError
        A limit that is not above 0, or a name given twice.
    """
    if not longest_m > 0.0:
        raise ValueError(f"longest_m must be above 0, is {longest_m}")
    if len({g.name for g in loggers}) < len(loggers):
        raise ValueError("every logger has a name of its own, one is given twice")
    standing = _Standing(pipes, loggers)
    pairs = []
    for i, a in enumerate(loggers):
        reach = Reach(pipes, a.place, longest_m)
        near = sorted(j for link in reach.links() for j in standing.on_link.get(link, ()) if j > i)
        for j in near:
            way = reach.way(loggers[j].place)
            if way is not None and way.length_m > 0.0 and not any(k not in (i, j) for k in standing.between(way)):
                pairs.append(Pair(a, loggers[j], way))
    busy = {name for p in pairs for name in (p.a.name, p.b.name)}
    rule = f"no other logger within {longest_m:g} m of pipe, or only at the same place or behind a closed link"
    return pairs, {g.name: rule for g in loggers if g.name not in busy}
