"""The gate says which kernel got slower, with both figures, and is quiet otherwise."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from bench import gate, instructions, table
from bench.duel import Case, fight

ROOT = Path(__file__).parents[1]
STEM = "journal"  # few files, quick to build
counted = pytest.mark.skipif(bool(instructions.why_not()), reason=instructions.why_not() or "-")


def budgets(**instructions_: int) -> dict:
    return {**gate.KEPT, "gcc": "12.2.0", "libc": "2.36", "instructions": instructions_, "promises": {}}


# ---- judging ----


def test_a_count_above_its_budget_fails_with_both_figures() -> None:
    found = gate.judge_counts(budgets(**{"a.b": 1000}), {"a.b": 1031}, 0.03, ["a"])
    assert found.failed == ["a.b: 1,031 instructions, budget 1,000 (+3.1%, allowed 3%)"]
    assert gate.judge_counts(budgets(**{"a.b": 1000}), {"a.b": 1030}, 0.03, ["a"]).failed == []


def test_a_count_far_below_is_told_and_passes() -> None:
    found = gate.judge_counts(budgets(**{"a.b": 1000}), {"a.b": 800}, 0.03, ["a"])
    assert (found.failed, found.passed) == ([], 1)
    assert found.notes == ["a.b: 800 instructions, budget 1,000 (-20.0%): lower it"]


def test_what_vanished_and_what_has_no_budget_fails() -> None:
    found = gate.judge_counts(budgets(**{"a.gone": 7, "b.other": 7}), {"a.new": 5}, 0.03, ["a"])
    gone, new = found.failed
    assert gone == "a.gone: no longer counted, its budget is 7 instructions"
    assert new == "a.new: 5 instructions, but no budget (make budgets)"


def test_another_compiler_is_given_more() -> None:
    kept = budgets()
    assert gate.allowed(kept, {"gcc": "12.9.1", "libc": "2.36"}) == 0.03
    assert gate.allowed(kept, {"gcc": "13.1.0", "libc": "2.36"}) == 0.15
    assert gate.allowed(kept, {"gcc": "12.2.0", "libc": "2.40"}) == 0.15


def sleeping(ours_s: float, theirs_s: float) -> Case:
    pair = (lambda: time.sleep(ours_s), lambda: time.sleep(theirs_s))
    return Case("sleeping", "sleep", "a deeper sleep", 4.0, lambda: pair, baseline=4.0)


def test_a_row_below_its_margin_fails_after_two_tries() -> None:
    tries: list[str] = []
    failure = gate.judge_ratio(sleeping(0.003, 0.003), 0.6, tries.append)
    assert len(tries) == 2
    assert failure.startswith("sleep: sleeping: ") and failure.endswith(" x a deeper sleep, the gate is 2.40 x (0.6 of 4)")


def test_a_row_above_its_margin_passes_at_once() -> None:
    tries: list[str] = []
    assert gate.judge_ratio(sleeping(0.001, 0.02), 0.6, tries.append) == ""
    assert len(tries) == 1


def test_rows_may_not_vanish_nor_promise_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "cases", lambda: iter([sleeping(0.001, 0.02)]))
    kept = {**budgets(), "promises": {"sleeping": 5.0, "welch": 14.0}}
    failed = gate.gate_ratios(kept, say=lambda _: None).failed
    assert failed == ["sleeping: promises 4, but 5 in budgets.toml (make budgets)", "welch: the row is gone, its promise was 14"]


def test_a_case_whose_answers_differ_fails_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def differs() -> None:
        raise AssertionError("answers differ")

    monkeypatch.setattr(gate, "cases", lambda: iter([dataclasses.replace(sleeping(0, 0), make=differs)]))
    assert gate.gate_ratios(budgets(), say=lambda _: None).failed == ["sleep: sleeping: AssertionError: answers differ"]


def test_turns_alternate_and_short_work_is_repeated() -> None:
    calls: list[str] = []
    found = fight(lambda: calls.append("a"), lambda: calls.append("b"), rounds=4)
    assert len(found.ratios) >= 4 and found.ratio > 0
    turns = [c for c, before in zip(calls, ["", *calls], strict=False) if c != before]
    assert turns[:2] == ["a", "b"] and len(calls) > 100
    assert min(found.ratios) <= found.ratio <= max(found.ratios)


# ---- the file ----


def test_the_file_is_written_as_it_is_read(tmp_path: Path) -> None:
    kept = {**budgets(**{"a.b c": 12}), "valgrind": "3.19.0", "promises": {'"quoted", 64 x 1': 14.0}, "tolerance": 0.05}
    gate.write(kept, tmp_path / "b.toml")
    assert gate.read(tmp_path / "b.toml") == kept


def test_every_kernel_has_its_budgets_and_its_bench() -> None:
    named = {n.split(".")[0] for n in tomllib.loads(gate.BUDGETS.read_text(encoding="utf-8"))["instructions"]}
    for stem in instructions.kernel_stems():
        assert (ROOT / f"bench/counts/{stem}.c").exists(), f"bench/counts/{stem}.c is missing"
        assert stem in named, f"{stem} has no budget in bench/budgets.toml (make budgets)"
        assert (ROOT / f"bench/bench_{stem}.py").exists(), f"bench/bench_{stem}.py is missing"


# ---- the gate itself, on one small kernel ----


def run_gate(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.gate", "--counts", "--budgets", str(path), STEM]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


@counted
@pytest.mark.timeout(200)
def test_a_halved_budget_fails_with_the_name_and_both_figures(tmp_path: Path) -> None:
    kept = gate.read()
    gate.write(kept, tmp_path / "kept.toml")
    sound = run_gate(tmp_path / "kept.toml")
    assert sound.returncode == 0, sound.stdout + sound.stderr
    name = f"{STEM}.append"
    half = kept["instructions"][name] // 2
    kept["instructions"][name] = half
    gate.write(kept, tmp_path / "half.toml")
    failed = run_gate(tmp_path / "half.toml")
    assert failed.returncode == 1
    (line,) = [line for line in failed.stdout.splitlines() if line.startswith("FAIL")]
    assert line.startswith(f"FAIL  {name}: ") and f"budget {half:,} (+" in line


@counted
@pytest.mark.timeout(200)
def test_a_slower_build_fails(tmp_path: Path) -> None:
    found = gate.gate_counts(gate.read(), [STEM], extra=["-O0"], into=tmp_path)
    assert any(line.startswith(f"{STEM}.append: ") for line in found.failed), found


# ---- the table ----

ROW = {"name": "welch", "stem": "spectrum", "peer": "scipy", "least": 14.0, "ours_ms": 2.5, "peer_ms": 45.0, "ratio": 18.0,
       "ratio_min": 17.26, "ratio_max": 19.0, "turns": 7, "ok": True}


def test_the_table_for_a_terminal_and_for_a_document() -> None:
    assert table.text([ROW]).splitlines()[1].split() == ["welch", "scipy", "2.5", "45", "18", "(17.3..19)", "14", "ok"]
    best = {"processor": "P", "isa": "avx512", "python": "3.11", "rows": [ROW]}
    low = {"rows": [{**ROW, "ratio": 9.0, "least": 1.2}]}
    assert table.markdown(best, low).splitlines()[-1] == "| welch | scipy | 2.5 | 45 | 18 (17.3..19) | 14 | 9 (1.2) |"


def test_a_table_goes_between_its_markers_only() -> None:
    text = "a\n<!-- t -->\nold\n<!-- end of t -->\nb\n"
    assert table.put_between(text, "t", "new") == "a\n<!-- t -->\nnew\n<!-- end of t -->\nb\n"
    assert table.put_between("no marker\n", "t", "new") == "no marker\n"


def test_the_document_holds_the_table_that_was_saved() -> None:
    if not table.SAVED.exists():
        pytest.skip("docs/performance.json is not there: make bench bench-save")
    saved = json.loads(table.SAVED.read_text(encoding="utf-8"))
    assert table.markdown(saved["best"], saved.get("baseline")) in (ROOT / "docs/performance.md").read_text(encoding="utf-8")
