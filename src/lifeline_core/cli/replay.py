"""``lifeline-core replay``: captures and arrays through the engine, faster than life."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from lifeline_core.alarms.levels import named
from lifeline_core.cli.arrays import Channels, Columns, DayFirst, Event, Factor, Files, Key, Rate, Source, Start, timeline
from lifeline_core.cli.lines import PEOPLE, clock, emit, note, show
from lifeline_core.config import load_city
from lifeline_core.detectors.cleaned import REMOVED
from lifeline_core.engine import Engine
from lifeline_core.errors import LifelineError
from lifeline_core.model import NS, Alarm, City

LONGEST_TICKING_S = 3600  # a longer hole in time is stepped over with one tick


def play(engine: Engine, events: Iterable[Event]) -> Iterator[tuple[int, list[Alarm]]]:
    """Feed events in order, with a tick for every second of their time; (time, alarms) after each."""
    tick: int | None = None
    for event in events:
        alarms: list[Alarm] = []
        if tick is None or event.t_ns - tick > LONGEST_TICKING_S * NS:
            tick = event.t_ns - event.t_ns % NS
            alarms += engine.tick(tick)
        while tick + NS <= event.t_ns:
            tick += NS
            alarms += engine.tick(tick)
        if event.frame is not None:
            alarms += engine.push(event.frame)
        elif event.channel is not None and event.x is not None:
            alarms += engine.push_samples(event.channel.name, event.t0_ns, event.x)
        yield event.t_ns, alarms
    yield tick or 0, engine.flush()


def replay(
    files: Files,
    city: Annotated[Path, typer.Option("--city", help="Configuration (TOML).")],
    json: Annotated[bool, typer.Option("--json", help="One JSON object per alarm revision on stdout.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Also show what every watch measured last.")] = False,
    channel: Channels = None,
    column: Columns = None,
    rate: Rate = None,
    factor: Factor = 1.0,
    t0: Start = None,
    key: Key = None,
    day_first: DayFirst = False,
) -> int:
    """Run captures or arrays through the engine and print the alarms they raise.

    A tick is made for every second of sample time, as the service makes one for every second of its own. A capture by itself
    that has its .state beside it (`evidence`) is judged with what the engine had learned before.

        lifeline-core replay night.llf --city city.toml
        lifeline-core replay deck.csv --city city.toml --column acc1 --channel rb-a1 --factor 9.80665
    """
    engine, skipped = _begin(load_city(city), files)
    source = Source(files, channel or (), column or (), rate, factor, t0, key, day_first)
    raised: set[str] = set()
    with Progress(TextColumn("{task.description}"), TimeElapsedColumn(), console=PEOPLE, transient=True) as progress:
        task = progress.add_task("replaying", total=None)
        for t_ns, alarms in play(engine, islice(timeline(engine.city, source), skipped, None)):
            for alarm in alarms:
                raised.add(alarm.alarm_id)
                show(named(alarm, engine.city.levels), json=json)
            progress.update(task, description=f"replaying, at {clock(t_ns)}")
    if report:
        _report(engine, json=json)
    stats = engine.stats()
    refused = ", ".join(f"{n} {reason}" for reason, n in stats["refused"].items())
    removed = ", ".join(f"{stats[f'removed_{why}']} {why}" for why in REMOVED if stats[f"removed_{why}"])
    note(
        f"{stats['frames']} frames, {stats['samples']} samples, {len(raised)} alarms, {stats['gaps']} gaps"
        + (f"; refused: {refused}" if refused else "")
        + (f"; removed: {removed}" if removed else "")
    )
    return 0


def _begin(city: City, files: Sequence[Path]) -> tuple[Engine, int]:
    """An engine, and how many frames of the only file it has seen already."""
    beside = files[0].with_suffix(".state")
    if len(files) != 1 or files[0].suffix != ".llf" or not beside.exists():
        return Engine(city), 0
    from lifeline_core.service.origins import unpack

    try:
        said = msgspec.msgpack.decode(beside.read_bytes(), type=dict[str, Any])
        if said["bytes"] != files[0].stat().st_size:
            raise ValueError(f"it is of a capture of {said['bytes']} bytes")
        engine = Engine.restore(city, unpack(said["state"]))
    except (LifelineError, msgspec.MsgspecError, ValueError, KeyError) as error:
        note(f"{beside} is not used, nothing is known at the beginning: {error}")
        return Engine(city), 0
    changed = [said for said in engine.load_notes if not said.startswith("watch ")]
    note(f"beginning with {beside}" + "".join(f"; {said}" for said in changed))
    return engine, int(said["before"])


def _report(engine: Engine, *, json: bool) -> None:
    """What the detectors measured, for a person who looks; with ``json`` as ``{"report": {...}}`` lines."""
    for run in engine.runs:
        for row in run.report():
            if json:
                emit({"report": {"watch": run.watch.name, "detector": run.watch.detector, **row}})
            else:
                said = ", ".join(f"{k} {v:.5g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
                note(f"{run.site.name}/{run.watch.name} ({run.watch.detector}): {said}")
    for watch, channels in engine.removed().items():
        for name, counts in channels.items():
            taken = dict(zip(REMOVED, counts, strict=True))
            if json:
                emit({"report": {"watch": watch, "channel": name, "removed": taken}})
            else:
                note(f"{watch}/{name}: removed {taken}")


def add_to(app: typer.Typer) -> None:
    app.command("replay")(replay)
