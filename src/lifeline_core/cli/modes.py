"""``lifeline-core modes``: the modes of a structure from recordings, as a table, JSON or a picture; over time as tracks."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape

from lifeline_core.bridges.fdd import singular_values
from lifeline_core.bridges.identify import StabilisationDiagram, stabilisation
from lifeline_core.bridges.layout import Layout
from lifeline_core.bridges.paper import counted
from lifeline_core.bridges.tracks import follow
from lifeline_core.cli.arrays import Columns, DayFirst, Factor, Key, Rate
from lifeline_core.cli.lines import PEOPLE, emit, note
from lifeline_core.cli.moderows import emit_modes, emit_poles, emit_windows, print_modes, print_tracks, tell_refused, track_rows
from lifeline_core.cli.modesignal import must_be_long_enough, reduced, remarks, scaled
from lifeline_core.cli.modetracks import Search, Windows, identify_windows
from lifeline_core.cli.pieces import Recorded, between, gap_words, in_common, no_number, read_files
from lifeline_core.errors import ConfigError
from lifeline_core.fields import near
from lifeline_core.model import NS
from lifeline_core.store.arrays import Recording
from lifeline_core.store.layout import load_layout
from lifeline_core.store.tracks import KINDS, write_tracks

PICTURES = (".png", ".svg", ".pdf")

_HELP = """Find the modes of a structure that traffic, wind or an earthquake shakes.

Frequency, damping and shape, each with its standard deviation; nothing to
tune (covariance-driven subspace identification, all model orders).

    lifeline-core modes deck.csv --f-max 10 --picture deck.png
    lifeline-core modes deck.npz --layout deck.toml --picture deck.svg
    lifeline-core modes day-*.parquet --window 600 --picture tracks.png
    lifeline-core modes quake.zip --column chan-7 --from 50 --json

FILE is CSV, NPZ, NPY, WAV, Parquet, MAT (to version 7) or CSMIP .V2, also
in a zip; several files are channels beside each other, or, where they bear
the same names, one after the other. All channels must have one rate and one
unit: choose with --column, or --normalise (shapes are then those of the
divided samples).

--json: {"run": ..}, then {"mode": ..} for each mode: f_hz, f_sd_hz, damping,
damping_sd, floor_hz (the least f_sd_hz that the record allows), collinearity
(MPC: 1 a standing wave), orders of possible model orders, and the shape as
[real, imaginary] by channel. With --window also {"window": ..} lines with
one entry a mode; a mode that is missing is null.

layout.toml, in metres:

    title = "Deck"
    [[sensor]]     channel = "a1", at_m = [10.0, 0.0, 0.0], direction = "z"
                   (or "-z", or [dx, dy, dz])
    [[point]]      name = "abutment", at_m = [0.0, 0.0, 0.0]: a support;
                   with follows = "a1" it moves as that channel's place
    [[line]]       through = ["abutment", "a1"]

Exit status: 0 with modes or none, 1 if nothing could be identified (too
short, gaps, no numbers), 2 if the command or the layout is wrong, 130 after
Ctrl-C: what was done is written.
"""


@dataclass(frozen=True)
class Output:
    """What is asked for."""

    json: bool
    poles: bool
    refused: bool
    picture: Path | None
    layout: Layout | None
    unit: str


@dataclass(frozen=True)
class Tracking:
    """How a long recording is cut and followed."""

    window_s: float
    every_s: float
    learn: int
    jobs: int | None
    out: Path | None
    environment: str | None


def modes(
    files: Annotated[list[Path], typer.Argument(help="Recordings.", metavar="FILE...")],
    f_min: Annotated[float, typer.Option("--f-min", min=0.0, help="Lowest frequency, Hz.")] = 0.0,
    f_max: Annotated[float | None, typer.Option("--f-max", help="Highest frequency, Hz; by default 0.45 of the rate.")] = None,
    from_s: Annotated[float | None, typer.Option("--from", min=0.0, help="Begin so many seconds after the first sample.")] = None,
    to_s: Annotated[float | None, typer.Option("--to", help="End so many seconds after the first sample.")] = None,
    longest: Annotated[bool, typer.Option("--longest", help="Of a recording with gaps take the longest stretch.")] = False,
    normalise: Annotated[bool, typer.Option("--normalise", help="Divide every channel by its standard deviation.")] = False,
    layout: Annotated[Path | None, typer.Option("--layout", help="Where the sensors are (TOML), for shapes.")] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw to .png, .svg or .pdf (needs matplotlib).")] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False,
    poles: Annotated[bool, typer.Option("--stabilisation", help="Also every pole of every order, JSON lines on stdout.")] = False,
    refused: Annotated[bool, typer.Option("--refused", help="Also what was not taken for a mode, and why.")] = False,
    window: Annotated[float | None, typer.Option("--window", help="Modes over time: windows of so many seconds.")] = None,
    every: Annotated[
        float | None, typer.Option("--every", help="Seconds from window to window; by default one after another.")
    ] = None,
    environment: Annotated[
        str | None, typer.Option("--environment", help="Channel of the weather, for instance temperature.")
    ] = None,
    learn: Annotated[int, typer.Option("--learn", min=0, help="Follow the modes of the first N windows; 0: of all.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the tracks to .csv or .parquet.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes for windows; by default one per core.")] = None,
    br: Annotated[int, typer.Option("--block-rows", min=2, help="Block rows of the covariance matrix.")] = 30,
    order_max: Annotated[int, typer.Option("--order-max", min=2, help="Largest model order.")] = 60,
    column: Columns = None,
    rate: Rate = None,
    factor: Factor = 1.0,
    unit: Annotated[str | None, typer.Option("--unit", help="Unit of the samples (after --factor), for pictures.")] = None,
    key: Key = None,
    day_first: DayFirst = False,
    time_first: Annotated[bool, typer.Option("--time-first", help="Arrays are samples by channels.")] = False,
) -> int:
    """See `_HELP`."""
    _check(f_min, f_max, picture, out, window, every)
    if not all(np.isfinite(v) for v in (from_s, to_s) if v is not None) or (from_s or 0.0) >= (np.inf if to_s is None else to_s):
        raise typer.BadParameter(f"--to must be above --from and both finite, are {to_s} and {from_s}")
    if window is None and (given := [n for n, v in (("--every", every), ("--environment", environment), ("--out", out)) if v]):
        raise typer.BadParameter(f"{given[0]} needs --window")
    single = (("--stabilisation", poles), ("--refused", refused), ("--longest", longest))
    if window is not None and (given := [n for n, v in single if v]):
        raise typer.BadParameter(f"{given[0]} is for a recording as a whole, not for --window")
    drawn = None if layout is None else load_layout(layout)
    options: dict[str, Any] = {"rate_hz": rate, "key": key, "time_first": time_first} | ({"day_first": True} if day_first else {})
    found, weather = read_files(files, column or (), environment, options)
    recorded = scaled(between(in_common(found), from_s, to_s), factor, normalise=normalise)
    if drawn is not None and (missing := drawn.missing(recorded.names)):
        known = drawn.channels
        raise ConfigError([f"{layout}: sensor.channel: must name every channel, none is {n!r}{near(n, known)}" for n in missing])
    said = unit if unit is not None else recorded.units[0] if factor == 1.0 and not normalise else ""
    asked = Output(json, poles, refused, picture, drawn, said)
    search = Search(f_min, f_max, br, order_max)
    remarks(recorded)
    if window is None:
        return _once(recorded, search, asked, longest=longest)
    return _over_time(recorded, weather, search, asked, Tracking(window, every or window, learn, jobs, out, environment))


def _check(f_min: float, f_max: float | None, picture: Path | None, out: Path | None, window: float | None, every: float | None
           ) -> None:
    """What is wrong with the command whatever is in the files."""
    if f_max is not None and not f_max > f_min:
        raise typer.BadParameter(f"--f-max must be above --f-min, {f_min:g} Hz, is {f_max:g}")
    if picture is not None and picture.suffix.lower() not in PICTURES:
        raise typer.BadParameter(f"--picture must end in {', '.join(PICTURES)}, is {picture.name!r}")
    if out is not None and out.suffix.lower() not in KINDS:
        raise typer.BadParameter(f"--out must end in {' or '.join(KINDS)}, is {out.name!r}")
    for name, path in (("--picture", picture), ("--out", out)):
        if path is not None and not path.parent.is_dir():
            raise typer.BadParameter(f"{name}: there is no directory {path.parent}")
    for name, value in (("--window", window), ("--every", every)):
        if value is not None and not (np.isfinite(value) and value > 0.0):
            raise typer.BadParameter(f"{name} must be above 0 s, is {value:g}")
    if picture is not None and importlib.util.find_spec("matplotlib") is None:
        raise ValueError("--picture needs matplotlib: pip install lifeline-core[plot]")



def _run(recorded: Recorded, used: Recorded, search: Search, seconds: float, t0_ns: int) -> dict[str, Any]:
    """What was done, for programs."""
    return {"channels": recorded.names, "units": recorded.units, "rate_hz": recorded.rate_hz, "identified_rate_hz": used.rate_hz,
            "t0_ns": t0_ns, "duration_s": seconds, "stretches": len(recorded.stretches), "f_min_hz": search.f_min,
            "f_max_hz": _top(used.rate_hz, search.f_max), "block_rows": search.br, "order_max": search.order_max}


def _top(fs: float, f_max: float | None) -> float:
    return 0.45 * fs if f_max is None else f_max


def _once(recorded: Recorded, search: Search, asked: Output, *, longest: bool) -> int:
    if len(recorded.stretches) > 1 and not longest:
        raise ValueError(f"{recorded.names[0]} has gaps ({len(recorded.stretches)} pieces): {gap_words(recorded)}; take the "
                         "longest stretch with --longest, or follow the modes over time with --window")
    recorded = replace(recorded, stretches=[recorded.longest()])
    if fault := no_number(recorded.stretches[0].x, recorded.names, recorded.rate_hz):
        raise ValueError(f"{fault}: leave the channel out with --column, cut with --from and --to, or use --window")
    used = reduced(recorded, search.f_max)
    part = used.stretches[0]
    must_be_long_enough(part.x.shape[1], used.rate_hz, search.br, "a recording")
    seconds = part.x.shape[1] / used.rate_hz
    with PEOPLE.status(f"{counted(len(used.names), 'channel')}, {seconds:.0f} s at {used.rate_hz:g} Hz"):
        d = stabilisation(part.x, used.rate_hz, search.f_max, f_min=search.f_min, br=search.br, order_max=search.order_max)
    if asked.json:
        emit({"run": {**_run(recorded, used, search, seconds, part.t0_ns), "poles": len(d.poles), "modes": len(d.modes),
                      "refused": len(d.modes.refused)}})
        emit_modes(d, recorded.names)
    else:
        print_modes(d)
    if asked.refused:
        tell_refused(d.modes, json=asked.json)
    if asked.poles:
        emit_poles(d)
    if asked.picture is not None:
        _draw(asked.picture, d, used, _top(used.rate_hz, search.f_max), asked)
    return 0


def _draw(path: Path, d: StabilisationDiagram, used: Recorded, f_max: float, asked: Output) -> None:
    from lifeline_core.bridges.picture import draw_modes

    f, s, _ = singular_values(used.stretches[0].x, used.rate_hz)
    title = asked.layout.title if asked.layout is not None else ""
    what = f"{counted(len(d.modes), 'mode')} of {counted(len(used.names), 'channel')} in {d.duration_s:.4g} s"
    figure = draw_modes(d, f, s, f_max=f_max, names=used.names, layout=asked.layout, unit=asked.unit,
                        title=f"{title}: {what}" if title else "")
    figure.savefig(path)
    note(f"drawn to {path}")


def _over_time(recorded: Recorded, weather: Sequence[Recording], search: Search, asked: Output, how: Tracking) -> int:
    used = reduced(recorded, search.f_max)
    must_be_long_enough(round(how.window_s * used.rate_hz), used.rate_hz, search.br, "a window")
    found, whole = identify_windows(Windows(used, how.window_s, how.every_s, search), weather, how.jobs)
    if not found:
        return 130
    tracks = follow(found, learn=how.learn)
    rows, unit = track_rows(tracks, recorded.names), weather[0].unit if weather else ""
    if asked.json:
        span = (tracks.end_ns[-1] - tracks.begin_ns[0]) / NS
        emit({"run": {**_run(recorded, used, search, float(span), int(tracks.begin_ns[0])), "window_s": how.window_s,
                      "every_s": how.every_s, "windows": len(tracks), "modes": len(rows), "environment": how.environment}})
        for row in rows:
            emit({"mode": row})
        emit_windows(tracks)
    else:
        print_tracks(tracks, rows, unit)
    if left := [w for w in tracks.why if w]:
        note(f"{len(left)} of {len(tracks)} windows left out; the first: {left[0]}")
    if how.out is not None:
        write_tracks(how.out, tracks, unit)
        note(f"written to {how.out}")
    if asked.picture is not None:
        from lifeline_core.bridges.shapepicture import draw_shapes
        from lifeline_core.bridges.trackpicture import draw_tracks

        title = asked.layout.title if asked.layout is not None else ""
        draw_tracks(tracks, environment=how.environment or "", environment_unit=unit, title=title).savefig(asked.picture)
        note(f"drawn to {asked.picture}")
        if asked.layout is not None and rows:
            beside = asked.picture.with_stem(f"{asked.picture.stem}-shapes")
            draw_shapes(tracks.reference, recorded.names, layout=asked.layout, title=title).savefig(beside)
            note(f"shapes of the modes drawn to {beside}")
    return 0 if whole else 130


def add_to(app: typer.Typer) -> None:
    app.command("modes", help=escape(_HELP))(modes)
