"""A night of noise loggers step by step: look at every logger, listen to every pair, remember what was heard where."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from math import inf, isfinite
from pathlib import Path

import typer

from lifeline_core.cli.nightshift import CHUNK, Crew, Reading, Report, hear, look
from lifeline_core.pipes.hearing import Hearing
from lifeline_core.pipes.leaks import Leak, join, told_delay
from lifeline_core.pipes.listen import Job, Manner
from lifeline_core.pipes.persistence import Event, Spot, merge
from lifeline_core.pipes.places import Place, Reach
from lifeline_core.pipes.plan import plan_pairs
from lifeline_core.pipes.survey import Pair as RowPair
from lifeline_core.pipes.survey import in_order
from lifeline_core.store import leaks as files
from lifeline_core.store.net import Net
from lifeline_core.store.night import Trouble, sort_files


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    directory: Path
    out: Path
    history: Path | None
    night: date | None


@dataclass
class Night:
    """A night as it is worked out, step by step."""

    net: Net
    asked: Asked
    crew: Crew
    reading: Reading
    reports: dict[str, Report]
    troubles: list[Trouble]
    date: str | None = None
    heard: tuple[Hearing, ...] = ()
    leaks: tuple[Leak, ...] = ()
    before: tuple[Event, ...] = ()
    events: tuple[Event, ...] = ()
    whole: bool = True

    def leak_name(self, leak: Leak) -> str:
        return f"leak-{1 + next(i for i, k in enumerate(self.leaks) if k is leak):03d}"

    def event_of(self, leak: Leak) -> Event | None:
        """The event that tonight's leak belongs to."""
        name = self.leak_name(leak)
        return next((e for e in self.events if any(h.night == self.date and h.leak == name for h in e.history)), None)


def read_directory(net: Net, asked: Asked) -> tuple[Reading, list[Trouble]]:
    """Whose files are whose."""
    found = sort_files(asked.directory, [g.name for g in net.loggers], net.patterns)
    return Reading(found.files, net.zone, net.hours, asked.night), found.troubles


def look_at_loggers(net: Net, asked: Asked, crew: Crew, reading: Reading, troubles: list[Trouble]) -> Night:
    """Read every logger once: levels, faults, nights. Exit status 2 where nights are mixed or none is known."""
    before = () if asked.history is None else tuple(files.load_events(asked.history))  # a damaged file is said before the work
    levels = net.levels
    names = [g.name for g in net.loggers if g.name in reading.files]
    most = Manner().demands.clipped
    tasks = [(n, reading.only([n]), levels.low_percent, levels.spread_share, most) for n in names]
    reports, whole = crew.spread(look, tasks, "loggers")
    night = Night(net, asked, crew, reading, {r.name: r for r in reports}, [*troubles, *(t for r in reports for t in r.troubles)],
                  before=before, whole=whole)
    nights = sorted({d for r in reports for d in r.nights})
    if len(nights) > 1:
        raise typer.BadParameter(f"recordings of {len(nights)} nights ({', '.join(map(str, nights[:6]))}): choose one with --night")
    chosen = asked.night or (nights[0] if nights else None)
    if chosen is None and asked.history is not None:
        raise typer.BadParameter("--history needs to know the night and no recording knows its time: give --night")
    night.date = None if chosen is None else chosen.isoformat()
    return night


def listen_to_pairs(night: Night) -> None:
    """Correlate the neighbours among the loggers that have something to say."""
    net, usable = night.net, [g for g in night.net.loggers if g.name in night.reports and night.reports[g.name].usable]
    pairs, alone = plan_pairs(net.pipes, usable, longest_m=net.correlate.longest_m)
    night.troubles += [Trouble(name, "alone", text) for name, text in alone.items()]
    known = {name: Reach(net.pipes, place) for name, place in net.known.items()}
    jobs = [Job(p, net.speed_rel_sd(p.way), {n: t for n, r in known.items() if isfinite(t := told_delay(r, p))}) for p in pairs]
    order = in_order([RowPair(j.pair.a.name, j.pair.b.name) for j in jobs])  # neighbours share loggers
    jobs = [jobs[i] for i in order]
    chunks = [jobs[i : i + CHUNK] for i in range(0, len(jobs), CHUNK)]
    tasks = [(chunk, night.reading.only([g.name for j in chunk for g in (j.pair.a, j.pair.b)]), manner_of(net)) for chunk in chunks]
    heard, whole = night.crew.spread(hear, tasks, "pairs", [len(c) for c in chunks])
    by_plan = sorted(zip(order, (h for some in heard for h in some), strict=False), key=lambda one: one[0])
    night.heard, night.whole = tuple(h for _, h in by_plan), night.whole and whole
    if not whole:
        night.troubles.append(Trouble("pairs", "cut-short", f"{len(night.heard)} of {len(jobs)} pairs were correlated"))
    found = join(net.pipes, night.heard, same_place_m=net.correlate.same_place_m, longest_m=2.0 * net.correlate.longest_m)
    night.leaks = tuple(found)


def manner_of(net: Net) -> Manner:
    asked = net.correlate
    return Manner(asked.weighting, asked.band_hz, tuple(asked.mains_hz), asked.same_place_m, asked.shortest_s, asked.length_rel_sd)


def remember(night: Night) -> None:
    """Merge tonight's leaks into the events of earlier nights. A night cut short says nothing of silence."""
    net = night.net
    if night.asked.history is None:
        return
    assert night.date is not None
    silent = [h.pair.way for h in night.heard if h.kind == "nothing"] if night.whole else []

    def place(spot: Spot) -> Place | None:
        k = net.pipes.index.get(spot.link)
        return None if k is None or spot.offset_m > net.pipes.length_m[k] else Place(k, max(spot.offset_m, 0.0))

    def distance_m(a: Spot, b: Spot) -> float:
        p, q = place(a), place(b)
        return inf if p is None or q is None else net.pipes.distance_m(p, q, longest_m=2.0 * net.correlate.longest_m)

    def listened(spot: Spot) -> bool:
        at = place(spot)
        return at is not None and any(w.where_m(at) is not None for w in silent)

    found = [files.found(net.pipes, k, night.leak_name(k)) for k in night.leaks]
    night.events = tuple(merge(night.before, found, night=night.date, distance_m=distance_m, listened=listened,
                               same_place_m=net.correlate.same_place_m, rules=net.rules))
