"""Processor time by thread, of the service and of the bare loop beside it, and the share of the receive thread.

The receive thread is what stands between the socket and samples: the service's thread ``ingest`` (receive, journal) and, as
the engine does the rest of that work, what `Engine.push_batch` takes of the same frames where nothing watches them (order,
CRC, decoding, scaling). It is held against the thread of the bare loop, which receives and does nothing else.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

INGEST, BARE, IO = "ingest", "MainThread", "ZMQbg/IO/0"


def thread_seconds() -> dict[str, float]:
    """Processor time of each thread of this process by its name; those of libraries come under their own."""
    named = {t.native_id: t.name for t in threading.enumerate()}
    found: dict[str, float] = {}
    try:
        tasks = [int(task) for task in os.listdir("/proc/self/task")]
    except OSError:
        return {}
    for task in tasks:
        try:
            name = named.get(task) or Path(f"/proc/self/task/{task}/comm").read_text().strip()
            seconds = time.clock_gettime(_clock(task))
        except OSError:  # it ended
            continue
        found[name] = found.get(name, 0.0) + seconds
    return found


def _clock(task: int) -> int:
    """The clock of a thread's processor time, user and system, as Linux numbers them: CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED."""
    return ~task << 3 | 6


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each thread between two looks."""
    return {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}


@dataclass(frozen=True)
class Turn:
    """One turn of each, us a frame: the service, the bare loop, and the engine without a watch on the same frames."""

    service: Mapping[str, float]
    bare: Mapping[str, float]
    decode: float

    @property
    def receive_share(self) -> float:
        """The receive thread over the bare loop's thread."""
        return (self.service[INGEST] + self.decode) / self.bare[BARE]


def _medians(turns: Iterable[Mapping[str, float]]) -> dict[str, float]:
    turns = list(turns)
    names = sorted({name for turn in turns for name in turn})
    found = {name: statistics.median(turn.get(name, 0.0) for turn in turns) for name in names}
    return {name: us for name, us in found.items() if us > 0.05}


def shares(turns: Sequence[Turn]) -> dict[str, Any]:
    """Medians over the turns; of the share every turn's own."""
    each = [turn.receive_share for turn in turns]
    return {
        "thread_us_per_frame": _medians(turn.service for turn in turns),
        "bare_thread_us_per_frame": _medians(turn.bare for turn in turns),
        "decode_us_per_frame": statistics.median(turn.decode for turn in turns),
        "receive_share": statistics.median(each),
        "receive_shares": each,
    }


@contextlib.contextmanager
def ahead(processes: Iterable[int], nice: int) -> Iterator[bool]:
    """All threads of these processes at this nice value meanwhile, and as everybody afterwards; gives whether they may be."""
    processes = list(processes)
    told = [_set_nice(process, nice) for process in processes]
    try:
        yield all(told)
    finally:
        for process in processes:
            _set_nice(process, 0)


def _set_nice(process: int, nice: int) -> bool:
    try:
        for task in os.listdir(f"/proc/{process}/task"):
            os.setpriority(os.PRIO_PROCESS, int(task), nice)
    except OSError:
        return False
    return True


def table(path: Mapping[str, Any], pace: str) -> Table:
    """The threads of both, and the share."""
    shown = Table(title=f"Processor time by thread, us a frame, {pace} (medians of the turns)", title_justify="left")
    for i, column in enumerate(("thread", "service", "bare loop")):
        shown.add_column(column, justify="left" if i == 0 else "right")
    service, bare = path["thread_us_per_frame"], path["bare_thread_us_per_frame"]
    shown.add_row("receive: ingest; recv_multipart", _us(service, INGEST), _us(bare, BARE))
    shown.add_row("receive: decode, of the engine's", f"{path['decode_us_per_frame']:.2f}", "")
    each = sorted(path["receive_shares"])
    shown.add_row("receive thread over bare thread", f"{path['receive_share']:.2f}", f"{each[0]:.2f} to {each[-1]:.2f}")
    shown.add_row("libzmq's own thread", _us(service, IO), _us(bare, IO))
    rest = sorted((us, name) for name, us in service.items() if name not in (INGEST, IO))
    for us, name in reversed(rest):
        shown.add_row(name, f"{us:.2f}", "")
    shown.add_row("all together", f"{sum(service.values()):.2f}", f"{sum(bare.values()):.2f}")
    return shown


def _us(threads: Mapping[str, float], name: str) -> str:
    return f"{threads.get(name, 0.0):.2f}"
