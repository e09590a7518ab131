"""Fails when a kernel got slower: instructions against budgets, and turns against the peers with a wide margin.

::

    python -m bench.gate                      # both (`make bench-gate`)
    python -m bench.gate --counts onset wire  # only the instructions of these stems
    python -m bench.gate --ratios             # only the turns
    python -m bench.gate --write              # the budgets are what is counted now (`make budgets`); the diff shows what changed

Instructions repeat exactly with one compiler and C library, so their tolerance is small; with others it is wider. A count far
below its budget is told, so that somebody lowers it. Seconds do not repeat: a row passes with `margin` times its promise, and a
row that fails is run once more before it counts. Every row and every verb that the file names must still be there.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import instructions
from bench.duel import Case, fight

ROOT = Path(__file__).parents[1]
BUDGETS = ROOT / "bench/budgets.toml"
ROUNDS, SECONDS = 3, 4.0

HEADER = """\
# What the kernels may cost, held by `make bench-gate`. Written by `make budgets`; the figures above the tables are kept.
#
# tolerance   instructions above a budget by this share fail
# foreign     the same where the major version of gcc, or the C library, is not the one below
# slack       instructions below a budget by this share are told, so that somebody lowers it
# margin      a row of the benchmarks fails below this share of its promise, twice
"""
KEPT = {"tolerance": 0.03, "foreign": 0.15, "slack": 0.10, "margin": 0.6}


@dataclass
class Verdict:
    """Lines to print; ``failed`` names what got slower, with both figures."""

    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    passed: int = 0

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(self.failed + other.failed, self.notes + other.notes, self.passed + other.passed)


# ---- instructions ----


def allowed(budgets: dict[str, Any], tools: dict[str, str]) -> float:
    """The tolerance for these tools."""
    same = tools["gcc"].split(".")[0] == budgets["gcc"].split(".")[0] and tools["libc"] == budgets["libc"]
    return float(budgets["tolerance"] if same else budgets["foreign"])


def judge_counts(budgets: dict[str, Any], counts: dict[str, int], share: float, stems: Sequence[str]) -> Verdict:
    """Counts of these stems against their budgets, ``share`` above them allowed."""
    verdict, table = Verdict(), budgets["instructions"]
    for name in sorted({*counts, *(n for n in table if n.split(".")[0] in stems)}):
        have, budget = counts.get(name), table.get(name)
        if have is None:
            verdict.failed.append(f"{name}: no longer counted, its budget is {budget:,} instructions")
        elif budget is None:
            verdict.failed.append(f"{name}: {have:,} instructions, but no budget (make budgets)")
        elif have > budget * (1 + share):
            verdict.failed.append(
                f"{name}: {have:,} instructions, budget {budget:,} ({have / budget - 1:+.1%}, allowed {share:.0%})"
            )
        else:
            verdict.passed += 1
            if have < budget * (1 - budgets["slack"]):
                verdict.notes.append(f"{name}: {have:,} instructions, budget {budget:,} ({have / budget - 1:+.1%}): lower it")
    return verdict


def gate_counts(
    budgets: dict[str, Any], stems: Sequence[str] = (), extra: Sequence[str] = (), into: Path = instructions.BUILD
) -> Verdict:
    """Count, and judge; ``extra`` are further compiler flags (a test slows a kernel with them)."""
    reason = instructions.why_not()
    if reason:
        return Verdict(notes=[f"SKIPPED: {reason}"])
    named = {n.split(".")[0] for n in budgets["instructions"]}
    wanted = list(stems) or sorted(named | set(instructions.count_stems()))
    gone = [s for s in wanted if s not in instructions.count_stems()]
    verdict = Verdict(failed=[f"{s}: bench/counts/{s}.c is not there" for s in gone])
    bare = [s for s in instructions.kernel_stems() if not stems and s not in wanted]
    verdict.failed += [f"{s}: the kernel has no bench/counts/{s}.c" for s in bare]
    tools, here = instructions.tools(), [s for s in wanted if s not in gone]
    try:
        counts = instructions.count_all(here, extra, into)
    except instructions.CountError as error:
        return verdict + Verdict(failed=[f"instructions could not be counted: {error}"])
    share = allowed(budgets, tools)
    found = judge_counts(budgets, counts, share, here)
    if share != budgets["tolerance"]:
        found.notes.append(
            f"gcc {tools['gcc']}, libc {tools['libc']}; the budgets are of {budgets['gcc']}, {budgets['libc']}: {share:.0%} allowed"
        )
    return verdict + found


# ---- turns against the peers ----


def cases() -> Iterator[Case]:
    """Every gated row of every bench file that has a list CASES."""
    for path in sorted((ROOT / "bench").glob("bench_*.py")):
        if "CASES" in path.read_text(encoding="utf-8"):
            yield from (c for c in importlib.import_module(f"bench.{path.stem}").CASES if c.gated)


def judge_ratio(case: Case, margin: float, say: Callable[[str], None]) -> str:
    """'' when the row passes within two tries; else what both gave."""
    seen = []
    for _ in range(2):
        ours, theirs = case.make()
        found = fight(ours, theirs, ROUNDS, SECONDS)
        del ours, theirs
        gc.collect()
        seen.append(found.ratio)
        say(f"  {found.ratio:6.2f} x  {case.name}")
        if found.ratio >= margin * case.promise:
            return ""
    tries, gate = " and ".join(f"{r:.2f}" for r in seen), margin * case.promise
    return f"{case.stem}: {case.name}: {tries} x {case.peer}, the gate is {gate:.2f} x ({margin:g} of {case.promise:g})"


def gate_ratios(budgets: dict[str, Any], stems: Sequence[str] = (), say: Callable[[str], None] = print) -> Verdict:
    """All gated rows (of these stems); rows that vanished and promises that were lowered fail as well."""
    verdict, rows = Verdict(), [c for c in cases() if not stems or c.stem in stems]
    have = {c.name: c.least for c in rows}
    for name, least in budgets["promises"].items():
        if not stems and name not in have:
            verdict.failed.append(f"{name}: the row is gone, its promise was {least:g}")
        elif have.get(name, least) < least:
            verdict.failed.append(f"{name}: promises {have[name]:g}, but {least:g} in budgets.toml (make budgets)")
    for case in rows:
        try:
            failure = judge_ratio(case, budgets["margin"], say)
        except Exception as error:  # the answers differ, or the peer is missing: the row is not shown to hold
            failure = f"{case.stem}: {case.name}: {type(error).__name__}: {error}"
        if failure:
            verdict.failed.append(failure)
        else:
            verdict.passed += 1
    return verdict


# ---- the file ----


def read(path: Path = BUDGETS) -> dict[str, Any]:
    empty = {**KEPT, **instructions.tools(), "instructions": {}, "promises": {}}
    return {**empty, **tomllib.loads(path.read_text(encoding="utf-8"))} if path.exists() else empty


def write(budgets: dict[str, Any], path: Path = BUDGETS) -> None:
    lines = [HEADER, *(f"{k} = {budgets[k]}" for k in KEPT), ""]
    lines += [f'{k} = "{budgets[k]}"' for k in ("gcc", "libc", "valgrind")]
    for table in ("instructions", "promises"):
        lines += ["", f"[{table}]", *(f"{json.dumps(k, ensure_ascii=False)} = {v}" for k, v in budgets[table].items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def rewrite(path: Path, stems: Sequence[str] = ()) -> Verdict:
    """The budgets of these stems (all) become what is counted now."""
    reason = instructions.why_not()
    if reason:
        return Verdict(failed=[reason])
    budgets = read(path)
    counts = instructions.count_all(stems or None)
    kept = {n: v for n, v in budgets["instructions"].items() if stems and n.split(".")[0] not in stems}
    budgets.update(instructions.tools())
    budgets["instructions"] = dict(sorted({**kept, **counts}.items()))
    budgets["promises"] = {c.name: c.least for c in cases()}
    write(budgets, path)
    return Verdict(notes=[f"wrote {path}"], passed=len(counts))


def main() -> int:
    ask = argparse.ArgumentParser(description="Has a kernel got slower?")
    ask.add_argument("stems", nargs="*", help="only these kernels")
    ask.add_argument("--counts", action="store_true", help="only instructions")
    ask.add_argument("--ratios", action="store_true", help="only turns against the peers")
    ask.add_argument("--write", action="store_true", help="make what is counted now the budget")
    ask.add_argument("--budgets", type=Path, default=BUDGETS)
    given = ask.parse_args()
    begin = time.monotonic()
    if given.write:
        verdict = rewrite(given.budgets, given.stems)
    else:
        budgets = read(given.budgets)
        verdict = Verdict()
        if not given.ratios:
            verdict += gate_counts(budgets, given.stems)
        if not given.counts:
            verdict += gate_ratios(budgets, given.stems)
    for line in verdict.notes:
        print(f"note  {line}")
    for line in verdict.failed:
        print(f"FAIL  {line}")
    print(f"bench-gate: {verdict.passed} passed, {len(verdict.failed)} failed, {time.monotonic() - begin:.0f} s")
    return 1 if verdict.failed else 0


if __name__ == "__main__":
    sys.exit(main())
