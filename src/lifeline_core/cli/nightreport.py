"""What a night leaves and says: files for programs, pictures for engineers, a table for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from lifeline_core.cli.lines import COLOUR, PEOPLE, note
from lifeline_core.cli.night import Night
from lifeline_core.cli.nightshift import Drawing, Report, draw
from lifeline_core.store import leaks as files
from lifeline_core.store.night import Trouble


def leak_rows(night: Night, *, pictures: bool) -> list[dict[str, Any]]:
    rows = []
    for leak in night.leaks:
        row = files.leak_row(night.net.pipes, leak, night.leak_name(leak), night.date)
        event = night.event_of(leak)
        row |= files.event_row(event, night.net.rules) if event is not None else {}
        row |= {"offset_m": leak.place.offset_m, "sd_m": leak.sd_m, "link": night.net.pipes.graph.links[leak.place.link]}
        rows.append(row | ({"picture": f"pictures/{row['leak']}.png"} if pictures else {}))
    return rows


def _logger_rows(night: Night) -> list[dict[str, Any]]:
    asked, rows = night.net.levels, []
    for g in night.net.loggers:
        r = night.reports.get(g.name, Report(g.name))
        like = None
        if asked.leak_level_db is not None and asked.leak_spread_db is not None and r.levels.seconds:
            like = r.levels.leak_like(level_db=asked.leak_level_db, spread_db=asked.leak_spread_db)
        rows.append({"logger": g.name, "files": len(night.reading.files.get(g.name, ())), "recordings": r.recordings,
                     "seconds": r.seconds, "rate_hz": list(r.rates_hz), **files.level_row(r.levels), "leak_like": like,
                     "clipped_share": r.clipped, "pairs": sum(g in (h.pair.a, h.pair.b) for h in night.heard),
                     "troubles": [t.word for t in night.troubles if t.subject == g.name or t in r.troubles]})
    return rows


def write(night: Night, rows: Sequence[dict[str, Any]]) -> None:
    out = night.asked.out
    owner = {id(h): night.leak_name(k) for k in night.leaks for h in (k.main, *k.same, *k.witnesses)}
    files.write_lines(out / "leaks.jsonl", rows)
    files.write_table(out / "leaks.csv", rows, files.LEAK_COLUMNS)
    files.write_table(out / "pairs.csv", [files.pair_row(night.net.pipes, h, owner.get(id(h), "")) for h in night.heard],
                      files.PAIR_COLUMNS)
    files.write_table(out / "loggers.csv", _logger_rows(night), files.LOGGER_COLUMNS)
    files.write_table(out / "troubles.csv", [t._asdict() for t in night.troubles], Trouble._fields)
    if night.asked.history is not None and night.heard:
        files.write_table(out / "events.csv", [files.event_row(e, night.net.rules) for e in night.events], files.EVENT_COLUMNS)
        files.save_events(night.asked.history, night.events)  # last: should it fail, the night can be run again


def draw_leaks(night: Night, *, pictures: bool) -> None:
    """One picture per leak; those of an earlier run of this night go."""
    folder = night.asked.out / "pictures"
    for old in folder.glob("leak-*.png"):
        old.unlink()
    if not (pictures and night.leaks and night.whole):
        return
    folder.mkdir(parents=True, exist_ok=True)
    tasks = []
    for leak in night.leaks:
        names = [g.name for g in (leak.main.pair.a, leak.main.pair.b)]
        levels = [night.reports[n].levels for n in names]
        tasks.append(Drawing(folder / f"{night.leak_name(leak)}.png", leak, night.net.pipes, night.reading.only(names),
                             (levels[0], levels[1]), night.date, night.event_of(leak), night.net.rules))
    _, whole = night.crew.spread(draw, tasks, "pictures")
    night.whole = night.whole and whole


def _table(rows: Sequence[dict[str, Any]], pairs: int, night: str | None) -> Table:
    when = f", night of {night}" if night else ""
    table = Table(title=f"{len(rows)} suspected leaks from {pairs} pairs{when}", title_justify="left")
    for column in ("leak", "pipe", "offset", "from", "metres", "sd", "95 %", "score", "psr", "band, Hz", "nights", "grade",
                   "notes"):
        table.add_column(column, justify="right" if column in ("offset", "metres", "sd", "score", "psr") else "left")
    for r in rows:
        grade = r.get("grade")
        table.add_row(r["leak"], escape(r["link"]), f"{r['offset_m']:.1f}", f"{r['from_logger']} > {r['to_logger']}",
                      f"{r['distance_m']:.1f}", f"{r['sd_m']:.2f}", f"{r['low_m']:.1f} .. {r['high_m']:.1f}", f"{r['score']:.2f}",
                      f"{r['psr']:.1f}", f"{r['band_low_hz']:.0f} .. {r['band_high_hz']:.0f}",
                      f"{r['nights_heard']} of {r['nights_looked']}" if grade else "",
                      f"[{COLOUR[grade]}]{r['grade_word']}[/]" if grade else "",
                      escape(", ".join(n.split(":")[0] for n in r["notes"])))
    return table


def say(night: Night, rows: Sequence[dict[str, Any]]) -> None:
    for text in night.net.notes:
        note(f"note {text}")
    for t in night.troubles:
        note(f"{t.word}: {t.subject} {t.text}")
    if night.troubles:
        note("not as it should be: " + ", ".join(f"{n} {w}" for w, n in sorted(Counter(t.word for t in night.troubles).items())))
    timeless = sum(r.timeless for r in night.reports.values())
    if timeless:
        note(f"{timeless} recordings know no time: those with the same name behind their logger's are taken to have begun together"
             + (", and the quiet hours say nothing of them" if night.net.hours else ""))
    kinds = Counter(h.kind for h in night.heard)
    note(f"{len(night.heard)} pairs: " + ", ".join(f"{n} {k}" for k, n in sorted(kinds.items())))
    if rows:
        PEOPLE.print(_table(rows, len(night.heard), night.date))
    else:
        note("no leak suspected")
    note(f"written to {night.asked.out}")
