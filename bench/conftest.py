"""Benchmarks are collected from bench_*.py; at the end stands one table of all duels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.table import report, text


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bench-json", metavar="FILE", help="write the table of all duels there")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    ours = file_path.suffix == ".py" and file_path.name.startswith("bench_")
    if ours and not parent.session.isinitpath(file_path):  # pytest takes files named on its command line by itself
        return pytest.Module.from_parent(parent, path=file_path)
    return None


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    session = getattr(config, "_benchmarksession", None)
    found = report(session.benchmarks) if session else None
    if not found or not (found["rows"] or found["timed"]):
        return
    for timed in found["timed"]:
        terminalreporter.write_line(f"{timed['median_ms']:12.4g} ms  {timed['name']}")
    terminalreporter.section(f"ours against the peer, turn about ({found['isa']})")
    terminalreporter.write_line(text(found["rows"]))
    if found["short"]:
        count = f"{len(found['short'])} of {len(found['rows'])}"
        terminalreporter.write_line(f"short of the promise, {count}: {'; '.join(found['short'])}")
    if target := config.getoption("--bench-json"):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        terminalreporter.write_line(f"wrote {target}")
