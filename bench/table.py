"""The table of `make bench`: printed, written as JSON, and kept in the documents.

::

    python -m bench.table            # the table of the last `make bench` (build/bench*.json)
    python -m bench.table --save     # also docs/performance.json, and the table between the markers of the documents

`make bench` writes build/bench.json, `make bench-baseline` build/bench-baseline.json. Nobody types figures into a document.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MEASURED = {"best": ROOT / "build/bench.json", "baseline": ROOT / "build/bench-baseline.json"}
MACHINE = ROOT / "build/machine.json"
SAVED = ROOT / "docs/performance.json"
DOCUMENTS = (ROOT / "docs/performance.md", ROOT / "README.md")
# What the README shows of it, by the beginnings of the names.
HEADLINES = ("welch, 64", "welch, 1 x", "csd_matrix", "sta_lta recursive, 64", "sta_lta recursive, blocks",
             "sosfilt, 4 sections, 64 x 20,000", "HT correlation, one pair, 480", "HT correlation, 28", "aic_onset",
             "rainflow, 1,000,000 samples of noise", "int24 frames to float32, 64")
FIELDS = ("name", "stem", "peer", "least", "ours_ms", "peer_ms", "ratio", "ratio_min", "ratio_max", "turns", "ok")


def rows_of(benchmarks: Iterable[Any]) -> list[dict[str, Any]]:
    """The duels among the benchmarks of a pytest-benchmark session, in the order they ran."""
    infos = (b.extra_info for b in benchmarks)
    return [{k: info[k] for k in FIELDS} for info in infos if "ratio_min" in info and "least" in info]


def others_of(benchmarks: Iterable[Any]) -> list[dict[str, Any]]:
    """What was only timed: name and median."""
    plain = [b for b in benchmarks if "ratio_min" not in b.extra_info and b.stats.rounds]
    return [{"name": b.name, "group": b.group or "", "median_ms": b.stats.median * 1e3, "extra": b.extra_info} for b in plain]


def processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()


def report(benchmarks: Sequence[Any]) -> dict[str, Any]:
    from lifeline_core import isa

    rows = rows_of(benchmarks)
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "isa": isa.check(),
        "load": os.getloadavg()[0],
        "rows": rows,
        "short": [r["name"] for r in rows if not r["ok"]],
        "timed": others_of(benchmarks),
    }


def figure(value: float) -> str:
    """Three digits, no more than were measured."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 1e-2 else f"{value:.1e}"


HEAD = ("work", "peer", "ours ms", "peer ms", "ratio (turns)", "promised", "")


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["name"],
        row["peer"],
        figure(row["ours_ms"]),
        figure(row["peer_ms"]),
        f"{figure(row['ratio'])} ({figure(row['ratio_min'])}..{figure(row['ratio_max'])})",
        figure(row["least"]),
        "ok" if row["ok"] else "SHORT",
    )


def text(rows: Sequence[dict[str, Any]]) -> str:
    """For a terminal."""
    lines = [HEAD, *map(cells, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    right = {2, 3, 5}
    return "\n".join(
        "  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    )


def markdown(best: dict[str, Any], baseline: dict[str, Any] | None, only: tuple[str, ...] = ("",)) -> str:
    """For a document: the SSE4.2 ratio stands beside that of the best instruction set. ``only``: names that begin so."""
    below = {r["name"]: r for r in baseline["rows"]} if baseline else {}
    lines = [
        f"{best['processor']}, one thread, float32, {best['isa']}, Python {best['python']}; median of interleaved turns, "
        "in brackets the least and the greatest.",
        "",
        "| work | peer | ours, ms | peer, ms | times as fast | promised | SSE4.2 only (promised) |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in best["rows"]:
        if not row["name"].startswith(only):
            continue
        name, peer, ours, theirs, ratio, least, ok = cells(row)
        low = below.get(row["name"])
        other = f"{figure(low['ratio'])} ({figure(low['least'])}){'' if low['ok'] else ' short'}" if low else ""
        promised = least if ok == "ok" else f"{least}, short"
        lines.append(f"| {name} | {peer} | {ours} | {theirs} | {ratio} | {promised} | {other} |")
    return "\n".join(lines)


def roofs(machine: dict[str, Any]) -> str:
    lines = ["| roof | figure |", "|---|--:|"]
    return "\n".join([*lines, *(f"| {r['what']} | {figure(r['value'])} {r['unit']} |" for r in machine["roofs"])])


def put_between(document: str, mark: str, body: str) -> str:
    """The document with ``body`` between ``<!-- mark -->`` and ``<!-- end of mark -->``; as it was where they are not."""
    pattern = re.compile(rf"(<!-- {re.escape(mark)} -->\n).*?(<!-- end of {re.escape(mark)} -->)", re.S)
    return pattern.sub(lambda m: f"{m.group(1)}{body}\n{m.group(2)}", document)


def read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def save(found: dict[str, dict[str, Any] | None]) -> list[Path]:
    """docs/performance.json and the documents that have the markers; which files were written."""
    SAVED.write_text(json.dumps({k: v for k, v in found.items() if v}, indent=1) + "\n", encoding="utf-8")
    written = [SAVED]
    best, machine = found["best"], found["machine"]
    for path in DOCUMENTS:
        old = path.read_text(encoding="utf-8")
        new = put_between(old, "table of make bench", markdown(best, found["baseline"])) if best else old
        new = put_between(new, "headlines of make bench", markdown(best, found["baseline"], HEADLINES)) if best else new
        new = put_between(new, "roofs of the machine", roofs(machine)) if machine else new
        if new != old:
            path.write_text(new, encoding="utf-8")
            written.append(path)
    return written


def main() -> int:
    ask = argparse.ArgumentParser(description="The table of the last `make bench`.")
    ask.add_argument("--save", action="store_true", help="write docs/performance.json and the tables in the documents")
    given = ask.parse_args()
    found = {**{k: read(p) for k, p in MEASURED.items()}, "machine": read(MACHINE)}
    if not found["best"]:
        print(f"{MEASURED['best'].relative_to(ROOT)} is not there: run `make bench` first", file=sys.stderr)
        return 1
    for kind in MEASURED:
        if one := found[kind]:
            print(f"\n{one['isa']}, {one['processor']}\n\n{text(one['rows'])}")
    if given.save:
        for path in save(found):
            print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
