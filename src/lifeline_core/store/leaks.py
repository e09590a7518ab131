"""What a night leaves behind: leaks as JSON lines and CSV, every pair and logger with its verdict, events of all nights."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from math import isfinite, nan
from pathlib import Path
from typing import Any

import msgspec

from lifeline_core.errors import StateError
from lifeline_core.pipes.hearing import Hearing
from lifeline_core.pipes.leaks import Leak
from lifeline_core.pipes.loggers import Levels
from lifeline_core.pipes.persistence import Event, Found, Rules, Spot
from lifeline_core.pipes.places import PipeMap, Place
from lifeline_core.store.disk import replace

EVENTS = "events.json"
_VERSION = 1
GRADES = {1: "blue", 2: "yellow", 3: "orange", 4: "red"}


class _Events(msgspec.Struct, frozen=True):
    v: int
    events: list[Event]


def load_events(directory: Path) -> list[Event]:
    """The events of earlier nights; none where there is no file yet. StateError for a file that is none of ours."""
    path = directory / EVENTS
    if not path.exists():
        return []
    try:
        held = msgspec.json.decode(path.read_bytes(), type=_Events)
    except msgspec.DecodeError as error:
        raise StateError(f"{path}: must be the events of earlier nights, {error}") from error
    if held.v != _VERSION:
        raise StateError(f"{path}: events of version {held.v}, this build takes {_VERSION}")
    if empty := [e.id for e in held.events if not e.heard]:
        raise StateError(f"{path}: an event was heard on at least one night, {empty[0]} was not")
    return held.events


def save_events(directory: Path, events: Sequence[Event]) -> None:
    """After a crash at any moment there are the old events or the new."""
    directory.mkdir(parents=True, exist_ok=True)
    replace(directory / EVENTS, msgspec.json.format(msgspec.json.encode(_Events(_VERSION, list(events))), indent=1), b"\n")


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """One JSON object a line."""
    replace(path, *(msgspec.json.encode(plain(row)) + b"\n" for row in rows))


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """CSV with a header, also without rows; lists are joined by ``; ``, what is not known is empty, four decimals."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(plain(row).get(c)) for c in columns])
    replace(path, text.getvalue().encode())


def plain(value: Any) -> Any:
    """As JSON holds it: there is no NaN, what is not known is null."""
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, list):
        return "; ".join(str(v) for v in value)
    return "; ".join(f"{k} {_cell(v)}" for k, v in value.items()) if isinstance(value, dict) else value


# -- rows ----------------------------------------------------------------------------------------------------------------

LEAK_COLUMNS = (
    "leak", "night", "link", "offset_m", "x", "y", "from_logger", "distance_m", "to_logger", "way_m", "sd_m", "low_m", "high_m",
    "score", "psr", "coherence", "band_low_hz", "band_high_hz", "delay_ms", "delay_sd_ms", "budget_m", "pairs", "witnesses",
    "event", "grade", "grade_word", "nights_heard", "nights_looked", "first_night", "picture", "notes")  # fmt: skip
PAIR_COLUMNS = (
    "a", "b", "way_m", "travel_ms", "verdict", "leak", "reasons", "seconds", "stretches", "delay_ms", "delay_sd_ms", "x_m", "sd_m",
    "link", "offset_m", "score", "psr", "pmr", "coherence", "band_low_hz", "band_high_hz", "log10_chance", "segments",
    "segments_left_out")  # fmt: skip
LOGGER_COLUMNS = (
    "logger", "files", "recordings", "seconds", "rate_hz", "levels", "lmin_db", "low_db", "level_db", "spread_db", "leak_like",
    "clipped_share", "pairs", "troubles", "histogram_from_db", "histogram")  # fmt: skip
SCREEN_COLUMNS = ("a", "b", "centre_offset_m", "sd_m", "delay_ms", "delay_sd_ms", "score", "psr", "coherence", "band_low_hz",
                  "band_high_hz", "log10_chance", "verdict", "reasons", "seconds")
EVENT_COLUMNS = ("event", "grade", "grade_word", "ended", "first_night", "last_night", "nights_heard", "nights_looked", "quality",
                 "link", "offset_m", "sd_m")


def _figures(h: Hearing) -> dict[str, Any]:
    """What a table says of a correlation."""
    c = h.found
    if c is None:
        return {"seconds": h.seconds, "stretches": h.stretches}
    return {"seconds": h.seconds, "stretches": h.stretches, "delay_ms": h.delay_s * 1e3, "delay_sd_ms": c.delay_sd_s * 1e3,
            "psr": c.psr, "pmr": c.pmr, "coherence": c.coherence_mean, "band_low_hz": c.band[0], "band_high_hz": c.band[1],
            "log10_chance": c.log10_chance, "segments": c.segments, "segments_left_out": c.segments_left_out, "score": h.score}


def _place(pipes: PipeMap, place: Place | None) -> dict[str, Any]:
    return {} if place is None else {"link": pipes.graph.links[place.link], "offset_m": place.offset_m}


def pair_row(pipes: PipeMap, h: Hearing, leak: str) -> dict[str, Any]:
    where = {} if h.position is None else {"x_m": h.position.x_m, "sd_m": h.position.sd_m}
    if h.kind in ("nothing", "deaf"):  # the best lag of nothing is no delay
        where |= {"delay_ms": nan, "delay_sd_ms": nan}
    return {"a": h.pair.a.name, "b": h.pair.b.name, "way_m": h.pair.way.length_m, "travel_ms": h.pair.way.travel_s * 1e3,
            "verdict": h.kind, "leak": leak, "reasons": list(h.reasons), **_figures(h), **where, **_place(pipes, h.place)}


def leak_row(pipes: PipeMap, leak: Leak, name: str, night: str | None) -> dict[str, Any]:
    """Everything that is said of a leak; ``low_m`` .. ``high_m``: 95 %, metres from ``from_logger`` as ``distance_m``."""
    main = leak.main
    assert main.position is not None
    low, high = leak.interval_m
    x, y = pipes.xy(leak.place)
    figures = {k: v for k, v in _figures(main).items() if k not in ("seconds", "stretches", "segments", "segments_left_out")}
    return {"leak": name, "night": night, **_place(pipes, leak.place), "x": x, "y": y, "from_logger": main.pair.a.name,
            "distance_m": leak.x_m, "to_logger": main.pair.b.name, "way_m": main.pair.way.length_m, "sd_m": leak.sd_m,
            "low_m": low, "high_m": high, "outside": main.position.outside, **figures, "score": leak.score,
            "budget_m": main.position.budget, "pairs": [_pair(h) for h in (main, *leak.same)],
            "witnesses": [_pair(h) for h in leak.witnesses], "notes": list(leak.notes)}


def _pair(h: Hearing) -> str:
    return f"{h.pair.a.name}-{h.pair.b.name}"


def screen_row(h: Hearing, centre_m: float, sd_m: float) -> dict[str, Any]:
    return {"a": h.pair.a.name, "b": h.pair.b.name, **_figures(h), "verdict": h.kind, "reasons": list(h.reasons),
            "centre_offset_m": centre_m, "sd_m": sd_m}


def level_row(levels: Levels) -> dict[str, Any]:
    return {"levels": levels.seconds, "lmin_db": levels.lmin_db, "low_db": levels.low_db, "level_db": levels.level_db,
            "spread_db": levels.spread_db, "histogram_from_db": float(levels.edges_db[0]) if levels.seconds else float("nan"),
            "histogram": levels.count.tolist()}


def event_row(event: Event, rules: Rules) -> dict[str, Any]:
    spot, grade = event.spot, event.grade(rules)
    return {"event": event.id, "grade": grade, "grade_word": GRADES[grade], "ended": event.ended(rules),
            "first_night": event.first_night, "last_night": event.last_night, "nights_heard": len(event.heard),
            "nights_looked": event.nights_looked, "quality": event.quality, "link": spot.link, "offset_m": spot.offset_m,
            "sd_m": spot.sd_m}


def found(pipes: PipeMap, leak: Leak, name: str) -> Found:
    """A leak as `persistence.merge` takes it."""
    link = pipes.graph.links[leak.place.link]
    return Found(name, Spot(link, leak.place.offset_m, leak.sd_m, leak.common_sd_m), leak.score)
