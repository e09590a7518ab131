"""Runs every entry on worse and worse bytes, each in a process of its own, and keeps what breaks it.

::

    python -m tests.fuzz.drive --seconds 10                    # each entry
    python -m tests.fuzz.drive --only journal --seed 7
    python -m tests.fuzz.drive --only wire --inputs 10000000       # so many, shared by all processors
    python -m tests.fuzz.drive --only wire --again build/fuzz/wire-1-2047.bin

It finds what it can without sanitizers too, but is meant for the build of tests/fuzz/sanitize.py, which starts it. An input
that breaks something stays in build/fuzz/: the one being run when the process died, or hung, or raised, or was reported.
"""

from __future__ import annotations

import argparse
import dataclasses
import faulthandler
import itertools
import os
import re
import resource
import signal
import sys
import time
import traceback
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.fuzz.entries import ENTRIES, Entry
from tests.fuzz.mutate import mutate
from tests.fuzz.states import forgotten

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build/fuzz"
HANG_S = 20  # of processor time, one input under sanitizers; sound ones take milliseconds, however busy the machine is
WARM, GROWTH_MIB = 2000, 512  # inputs until caches and ASan's quarantine are there, and what may come after: no input has a MiB
MOST = 5  # findings of one entry, then it is enough


class Hung(Exception):
    """One input took more than HANG_S."""


def _name(entry: Entry) -> str:
    return re.sub(r"\W+", "-", entry.name)


def _reported(entry: Entry) -> list[str]:
    """What sanitizers said in this child so far, each place once; they write to its stderr."""
    path = KEPT / f"{_name(entry)}.stderr"
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    said = re.findall(r"^.*(?:runtime error|ERROR: AddressSanitizer).*(?:\n.*){0,4}", text, re.M)
    return [s for s in said if not (entry.wraps and "signed integer overflow" in s)]


def _hung(_signal: int, _frame: object) -> None:
    raise Hung(f"no end within {HANG_S} s of processor time")


def one_input(entry: Entry, data: bytes, seed: int, number: int) -> None:
    """What is done with the bytes follows from their number, not from the bytes: these differ in last bits between processors."""
    signal.setitimer(signal.ITIMER_PROF, HANG_S)
    faulthandler.dump_traceback_later(30 * HANG_S, exit=True)  # a loop in C hears no signal, who waits for ever uses no time
    try:
        entry.run(data, np.random.default_rng([seed, number]))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()


def held_mib() -> int:
    """The most this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def drawn(entry: Entry, seed: int) -> tuple[list[bytes], Iterator[bytes]]:
    """The sound seeds of an entry, and mutated inputs without end: nothing but the seed decides which."""
    rng = np.random.default_rng([seed, zlib.crc32(entry.name.encode())])
    seeds = list(entry.seeds(rng))
    return seeds, (mutate(seeds, rng, entry.same_size) for _ in itertools.count())


def fuzz(entry: Entry, seconds: float, seed: int, inputs: int = 0, most: int = 0) -> int:
    """Findings; the sound seeds run first, all of them. Then ``inputs`` mutated ones, or for ``seconds`` at most ``most``."""
    running, findings, tries, told, held = KEPT / f"{_name(entry)}.running", 0, 0, 0, 0
    signal.signal(signal.SIGPROF, _hung)
    seeds, worse = drawn(entry, seed)
    until = time.monotonic() + seconds
    for data in itertools.chain(seeds, itertools.islice(worse, inputs or most or None)):
        if findings == MOST or (tries >= len(seeds) and not inputs and time.monotonic() > until):
            break
        running.write_bytes(tries.to_bytes(8, "little") + data)  # stays where the process dies
        tries += 1
        if tries == len(seeds) + WARM:
            held = held_mib()
        try:
            one_input(entry, data, seed, tries - 1)
            failure = ""
            if os.fstat(2).st_size:
                reported = _reported(entry)
                failure, told = "\n".join(reported[told:]), len(reported)
        except Exception:
            failure = traceback.format_exc(limit=-4)
        if failure:
            findings += 1
            kept = KEPT / f"{_name(entry)}-{seed}-{tries - 1}.bin"
            kept.write_bytes(data)
            print(f"FOUND {entry.name}: {kept.relative_to(ROOT)} ({len(data)} bytes)\n{failure}", flush=True)
    running.unlink(missing_ok=True)
    if held and held_mib() > held + GROWTH_MIB:
        findings += 1
        print(f"FOUND {entry.name}: memory grew from {held} to {held_mib()} MiB", flush=True)
    print(f"fuzz: {entry.name}: {tries:,} inputs, {findings} findings, {held_mib()} MiB", flush=True)
    return findings


def _in_a_child(entry: Entry, seconds: float, seed: int, inputs: int, most: int) -> int:
    """Process id of the child that fuzzes an entry."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 2
    try:
        os.dup2(os.open(KEPT / f"{_name(entry)}.stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        status = 1 if fuzz(entry, seconds, seed, inputs, most) else 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status)


def fuzz_all(entries: list[Entry], seconds: float, seed: int, at_once: int, inputs: int = 0, most: int = 0) -> list[str]:
    """Names of the entries that broke; a child that died keeps its input as <entry>.running."""
    waiting, children, broken = list(entries), {}, []
    while waiting or children:
        while waiting and len(children) < at_once:
            entry = waiting.pop(0)
            children[_in_a_child(entry, seconds, seed, inputs, most)] = entry
        pid, status = os.wait()
        entry = children.pop(pid)
        if status:
            broken.append(entry.name)
            running = KEPT / f"{_name(entry)}.running"
            told = os.waitstatus_to_exitcode(status) == 1 and not running.exists()
            if running.exists():
                raw = running.read_bytes()
                kept = KEPT / f"{_name(entry)}-{seed}-{int.from_bytes(raw[:8], 'little')}.bin"
                kept.write_bytes(raw[8:])
                running.unlink()
                print(f"FOUND {entry.name}: the process ended with status {status}: {kept.relative_to(ROOT)}")
            if not told:
                print("\n".join((KEPT / f"{_name(entry)}.stderr").read_text(errors="replace").splitlines()[:20]), flush=True)
    return broken


def main() -> int:
    ask = argparse.ArgumentParser(description="Bytes nobody meant, into every entry.")
    ask.add_argument("--seconds", type=float, default=3.0, help="each entry")
    ask.add_argument("--inputs", type=int, default=0, help="so many mutated inputs each, however long that takes")
    ask.add_argument("--most", type=int, default=0, help="no more than so many mutated inputs each, whatever time is left")
    ask.add_argument("--only", help="the entries whose name holds this")
    ask.add_argument("--seed", type=int, default=1)
    ask.add_argument("--again", type=Path, help="run this one input (with --only)")
    given = ask.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    entries = [e for e in ENTRIES if not given.only or given.only in e.name]
    if given.again:
        signal.signal(signal.SIGPROF, _hung)
        place = re.search(r"-(\d+)-(\d+)\.bin$", given.again.name)
        if not place:
            ask.error(f"--again is a file of build/fuzz that ends in -<seed>-<number>.bin, got {given.again.name}")
        one_input(entries[0], given.again.read_bytes(), int(place[1]), int(place[2]))
        return 0
    missed = forgotten() if not given.only else []
    for name in missed:
        print(f"FOUND {name} has load(), but no row in tests/fuzz/states.py")
    processors = os.cpu_count() or 1
    shared = entries
    if given.inputs:  # every processor has its own share of every entry; another name, other mutations
        shared = [dataclasses.replace(e, name=f"{e.name} {k}") for e in entries for k in range(processors)]
    broken = fuzz_all(shared, given.seconds, given.seed, processors, -(-given.inputs // processors), given.most)
    print(f"fuzz: {len(entries)} entries, broken: {', '.join(broken) or 'none'}")
    return 1 if broken or missed else 0


if __name__ == "__main__":
    sys.exit(main())
