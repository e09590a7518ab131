"""kill -9 at any moment, and at every n-th call of one kind: nothing acknowledged is lost, no alarm is missing or twice."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count

from tests.faults.course import Broken, Course, where

CALLS = {  # what changes files, and how the C library names it
    "write": "write,pwrite64,writev,pwritev",
    "fdatasync": "fdatasync,fsync",
    "rename": "rename,renameat,renameat2",
    "msync": "msync",
    "ftruncate": "ftruncate,fallocate",
    "unlink": "unlink,unlinkat",
}
FRAMES = 150  # of a run in which a call is hit
DENSE = 40  # each of the first calls of a thread; what comes later are the same few again, alarm by alarm
ERRORS = {"ENOSPC": ("write", "ftruncate"), "EIO": ("fdatasync", "write")}
Tell = Callable[[str], None]


def kills(times: int, seed: int, tell: Tell) -> dict[str, int]:
    """``times`` kills at random moments of one life under load; also while it starts and recovers."""
    rng = random.Random(seed)
    with where("kills") as folder, Course(folder, operated=True) as course:
        for k in range(times):
            process = course.start()
            young = rng.random() < 0.2  # one of five dies before it is ready
            if not young and not process.ready():
                raise Broken(f"it does not start after kill {k}: {course.log.read_text()[-2000:]}")
            until = time.monotonic() + (rng.uniform(0.05, 1.0) if young else rng.expovariate(1 / 0.4))
            while time.monotonic() < until:
                course.turn(course.acked + 1 + 64, wait_ms=1)
            process.end(signal.SIGKILL)
            if k % 20 == 19:
                tell(f"{k + 1} kills, {course.acked + 1} frames acknowledged")
        return course.finish(course.sent + 50) | {"kills": times}


def traced(call: str, what: str, n: int) -> list[str]:
    """strace that does ``what`` to the n-th such call of a thread."""
    names = CALLS[call]
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={names}", "-e", f"inject={names}:{what}:when={n}"]


def strace_works() -> str:
    """Why it cannot be used here; empty where it can."""
    if not shutil.which("strace"):
        return "strace is not installed"
    probe = [*traced("fdatasync", "error=EIO", 1), sys.executable, "-c", "import os; os.fdatasync(os.open('.', 0))"]
    done = subprocess.run(probe, capture_output=True, text=True)
    return "" if "Input/output error" in done.stderr else "strace cannot inject faults here"


def numbers(every: int) -> Iterator[int]:
    """1, 2, ... `DENSE`, and then in steps of ``every``."""
    return chain(range(1, DENSE + 1), count(DENSE + every, every))


def at_calls(call: str, tell: Tell, which: Iterable[int]) -> dict[str, int]:
    """SIGKILL at the n-th ``call`` of a thread for these n, until a run has no n-th; a life of its own each."""
    killed = runs = n = 0
    for n in which:
        runs += 1
        with where(f"{call} {n}") as folder, Course(folder, operated=True) as course:
            process = course.start(traced(call, "signal=SIGKILL", n))
            alive = process.ready() and course.drive(FRAMES, process)
            process.end(signal.SIGTERM)  # it may be hit on its way out, too
            hit = process.popen.returncode == -signal.SIGKILL
            course.finish(FRAMES + 50)
            killed += hit
            if runs % 10 == 0:
                tell(f"{call}: killed {killed} times, at last at the {n}th")
            if alive and not hit:
                break
    return {"runs": runs, "killed": killed, "last": n}


def errors(
    tell: Tell, table: Mapping[str, Sequence[str]] = ERRORS, counts: Sequence[int] = (1, 3, 10, 30, 100)
) -> dict[str, int]:
    """The disk is full, or broken, from the n-th call on for some calls: it goes on or stops, and nothing is lost."""
    runs = 0
    for name, calls in table.items():
        for call in calls:
            for n in counts:
                with where(f"{name} at {call} {n}") as folder, Course(folder, operated=True) as course:
                    process = course.start(traced(call, f"error={name}", f"{n}..{n + 4}"))  # type: ignore[arg-type]
                    if process.ready():
                        until = time.monotonic() + 4.0
                        while course.acked < FRAMES - 1 and not process.dead() and time.monotonic() < until:
                            course.turn(FRAMES)
                    process.end(signal.SIGTERM)
                    course.finish(FRAMES + 50)
                    runs += 1
            tell(f"{name} at {call}: {len(counts)} runs")
    return {"runs": runs}
