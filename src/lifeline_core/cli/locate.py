"""``lifeline-core locate``: a night of noise loggers in, leaks out."""

from __future__ import annotations

import importlib.util
from collections import Counter
from datetime import UTC, date, datetime
from itertools import combinations
from math import nan
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from lifeline_core.cli.lines import PEOPLE, emit, note
from lifeline_core.cli.night import Asked, listen_to_pairs, look_at_loggers, read_directory, remember
from lifeline_core.cli.nightreport import draw_leaks, leak_rows, say, write
from lifeline_core.cli.nightshift import CHUNK, Crew, Reading, hear
from lifeline_core.pipes.hearing import Hearing
from lifeline_core.pipes.listen import Job, Manner
from lifeline_core.pipes.places import Piece, Place, Way
from lifeline_core.pipes.plan import Logger, Pair
from lifeline_core.pipes.position import centre_offset
from lifeline_core.store import leaks as files
from lifeline_core.store.net import load_net
from lifeline_core.store.night import names_in, sort_files
from lifeline_core.synth.night import Night as Synthetic

_HELP = """Find leaks in a night of noise loggers.

Every pair of neighbours on the network is correlated, every noise placed.

    lifeline-core locate --example try
    lifeline-core locate try/night --network try/net.toml
    lifeline-core locate 2026-03-01 -n net.toml --history events --json
    lifeline-core locate 2026-03-01 --screen --distance 600 --speed 1000

NIGHT_DIR holds WAV, NPZ or Parquet files whose names begin with the
logger's: L01_20260301T020000Z.wav. When a recording began comes from the
file (NPZ t0_ns, Parquet t0_ns or a time column) or from its name. All that
two loggers recorded at the same time is used. net.toml:

    [[pipe]]       name, a, b, length_m, and speed_mps
                   (or material, inner_diameter_m, wall_m)
    [[logger]]     name, node (or pipe, offset_m); file, clock_sd_ms, inverted
    [[known]]      a noise that is no leak: name, node (or pipe, offset_m)
    [correlate]    longest_m, speed_rel_sd; night = ["02:00", "04:00"],
                   timezone, weighting, mains_hz, band_hz, same_place_m
    [network]      inp = "town.inp", wave_speed; restraint
    [levels]       leak_level_db, leak_spread_db; low_percent, spread_share
    [persistence]  nights_sure, share, good, ended_after

Written: leaks.jsonl, leaks.csv, pairs.csv (every pair with its verdict and
why), loggers.csv (Lmin, Level, Spread), troubles.csv, pictures/*.png.
With --history DIR a noise that stays in place over nights is one event,
graded blue to red (events.csv).

Exit status: 0 with leaks or none, 1 if nothing could be read, 2 if the
command or net.toml is wrong, 130 after Ctrl-C: what was done is written.
"""


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"--night must be a date such as 2026-03-01, is {text!r}") from None


def locate(
    night_dir: Annotated[Path | None, typer.Argument(help="Directory with the recordings of one night.")] = None,
    network: Annotated[Path | None, typer.Option("--network", "-n", help="Pipes and loggers (TOML).")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where results go; by default NIGHT_DIR/leaks.")] = None,
    history: Annotated[Path | None, typer.Option(help="Directory that keeps the events of all nights.")] = None,
    night: Annotated[
        str | None, typer.Option(help="Date of its morning (a night lasts from noon to noon); chooses where there are several.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; by default one per core, 1 for a small night.")] = None,
    pictures: Annotated[
        bool | None, typer.Option("--pictures/--no-pictures", help="One picture per leak (needs matplotlib).")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per leak on stdout.")] = False,
    screen: Annotated[bool, typer.Option("--screen", help="No network: all pairs, delay and offset from the middle.")] = False,
    distance: Annotated[float, typer.Option(min=0.0, help="With --screen: longest distance of two loggers, metres.")] = 600.0,
    speed: Annotated[float, typer.Option(min=1.0, help="With --screen: wave speed, m/s.")] = 1000.0,
    example: Annotated[Path | None, typer.Option(help="Write a made-up night with its network to this directory, and end.")] = None,
) -> int:
    """See `_HELP`."""
    if example is not None:
        return _example(example)
    if night_dir is None or not night_dir.is_dir():
        raise typer.BadParameter(f"NIGHT_DIR must be a directory, is {night_dir}")
    if (network is None) != screen:
        raise typer.BadParameter("either --network net.toml or --screen must be given")
    draws = _may_draw(pictures)
    asked = Asked(night_dir, out or night_dir / "leaks", history, _day(night))
    if network is None:
        return _screen(asked, distance, speed, jobs, json=json)
    net = load_net(network)
    reading, troubles = read_directory(net, asked)
    with Crew.for_files(jobs, reading.files) as crew:
        work = look_at_loggers(net, asked, crew, reading, troubles)
        usable = any(r.usable for r in work.reports.values())
        if work.whole and usable:
            listen_to_pairs(work)
            remember(work)
        asked.out.mkdir(parents=True, exist_ok=True)
        rows = leak_rows(work, pictures=draws)
        write(work, rows)
        for row in rows if json else ():
            emit(files.plain(row))
        draw_leaks(work, pictures=draws)
    say(work, rows)
    return 130 if not work.whole else 0 if usable else 1


def _may_draw(asked: bool | None) -> bool:
    """Whether pictures can be drawn; ValueError where they are asked for and cannot."""
    there = importlib.util.find_spec("matplotlib") is not None
    if asked and not there:
        raise ValueError("--pictures needs matplotlib: pip install lifeline-core[plot]")
    if asked is None and not there:
        note("no pictures: they need matplotlib (pip install lifeline-core[plot])")
    return there and asked is not False


def _example(directory: Path) -> int:
    """A small night to try: hum at all loggers, a leak in a plastic side street."""
    made = Synthetic(hum_db=0.0)
    begun = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
    made.write(directory / "night", 1, t0_ns=int(begun.timestamp()) * 1_000_000_000)
    (directory / "net.toml").write_text(made.net_toml(), "utf-8")
    assert made.leak is not None
    note(f"a made-up night with a leak on {made.leak[0]}, {made.leak[1]:g} m from its end a. Try:")
    note(f"  lifeline-core locate {directory / 'night'} --network {directory / 'net.toml'}")
    return 0


# -- without a network ---------------------------------------------------------------------------------------------------


def _screen(asked: Asked, distance_m: float, speed_mps: float, jobs: int | None, *, json: bool) -> int:
    """All pairs of a directory; the accepted ones, the strongest first, with the offset from the middle of the two."""
    if not distance_m > 0.0:
        raise typer.BadParameter(f"--distance must be above 0, is {distance_m}")
    names = names_in(asked.directory)
    found = sort_files(asked.directory, names)
    loggers = [Logger(n, Place(0, 0.0)) for n in names if n in found.files]
    way = Way((Piece(0, 0.0, distance_m, speed_mps),))
    pairs = [Job(Pair(a, b, way)) for a, b in combinations(loggers, 2)]
    reading = Reading(found.files, UTC, None, asked.night)
    chunks = [pairs[i : i + CHUNK] for i in range(0, len(pairs), CHUNK)]
    tasks = [(c, reading.only([g.name for j in c for g in (j.pair.a, j.pair.b)]), Manner()) for c in chunks]
    with Crew.for_files(jobs, found.files) as crew:
        done, whole = crew.spread(hear, tasks, "pairs", [len(c) for c in chunks])
    heard = [h for some in done for h in some]
    rows = sorted((_screen_row(h, speed_mps) for h in heard), key=lambda r: (r["verdict"] != "leak", -(r.get("score") or 0.0)))
    asked.out.mkdir(parents=True, exist_ok=True)
    files.write_table(asked.out / "screen.csv", rows, files.SCREEN_COLUMNS)
    accepted = [r for r in rows if r["verdict"] == "leak"]
    files.write_lines(asked.out / "screen.jsonl", accepted)
    for row in accepted if json else ():
        emit(files.plain(row))
    for t in found.troubles:
        note(f"{t.word}: {t.subject} {t.text}")
    PEOPLE.print(_screen_table(accepted, len(heard), speed_mps))
    for reason, count in _refusals(rows):
        note(f"{count} not: {reason}")
    note(f"written to {asked.out}")
    return 130 if not whole else 0 if any(h.found is not None for h in heard) else 1


def _refusals(rows: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """Why pairs were not accepted: one pair's reason of each kind, the most frequent kind first."""
    texts = ["; ".join(r["reasons"]) or str(r["verdict"]) for r in rows if r["verdict"] != "leak"]
    kinds = Counter(t.split(":")[0] for t in texts)
    return [(next(t for t in texts if t.split(":")[0] == kind), n) for kind, n in kinds.most_common()]


def _screen_row(h: Hearing, speed_mps: float) -> dict[str, Any]:
    if h.kind != "leak" or h.found is None:
        return files.screen_row(h, nan, nan)
    centre = centre_offset(h.delay_s, speed_mps, delay_sd_s=h.found.delay_sd_s)
    return files.screen_row(h, centre.x_m, centre.sd_m)


def _screen_table(rows: list[dict[str, Any]], pairs: int, speed_mps: float) -> Table:
    table = Table(title=f"{len(rows)} of {pairs} pairs hear one noise; metres at {speed_mps:g} m/s from the middle, + towards b",
                  title_justify="left")
    for column in ("a", "b", "from the middle, m", "delay, ms", "score", "psr", "coherence"):
        table.add_column(column, justify="left" if column in "ab" else "right")
    for r in rows:
        table.add_row(str(r["a"]), str(r["b"]), f"{r['centre_offset_m']:.1f}", f"{r['delay_ms']:.2f}", f"{r['score']:.2f}",
                      f"{r['psr']:.1f}", f"{r['coherence']:.2f}")
    return table


def add_to(app: typer.Typer) -> None:
    app.command("locate", help=escape(_HELP))(locate)
