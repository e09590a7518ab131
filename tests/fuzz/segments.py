"""The journal's files, opened as after a crash, and the kernel's own doors on one segment in memory."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from lifeline_core.errors import StoreError
from lifeline_core.store import _journal
from lifeline_core.store.journal import COMMAND, FRAME, Journal
from tests.fuzz.frames import own

Random = np.random.Generator
ROOT = Path(__file__).parents[2]

SEGMENT = 4096


def _folder() -> Path:
    return ROOT / f"build/fuzz/journal-{os.getpid()}"


def _known(rng: Random) -> Any:
    """Salts and names drawn from the generator: what the system draws would make other inputs in each run."""
    return mock.patch("os.urandom", rng.bytes)


def journal_seeds(rng: Random) -> list[bytes]:
    found = []
    for n, size in ((0, 0), (3, 10), (30, 100), (6, 700)):
        folder = _folder()
        shutil.rmtree(folder, ignore_errors=True)
        with _known(rng), Journal(folder, budget_bytes=8 * SEGMENT, segment_bytes=SEGMENT) as journal:
            for k in range(n):
                journal.append(FRAME if k % 3 else COMMAND, rng.bytes(size), k)
        found.append(b"".join(p.read_bytes() for p in sorted(folder.glob("*.llj"))))
    return found


def run_journal(data: bytes, rng: Random) -> None:
    """Files of segments, opened, read and written to; also with a header that is sound."""
    folder = _folder()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for k in range(0, len(data), SEGMENT):
        part = bytearray(data[k : k + SEGMENT])
        if rng.random() < 0.5 and len(part) >= 128:
            part[16:24] = SEGMENT.to_bytes(8, "little")  # a sound header is believed its size: the file is made so long
            crc = _journal.crc32c(part[:60]).to_bytes(4, "little")
            part[60:64] = crc
            part[-64:] = part[:64]
        (folder / f"segment-{k:016x}.llj").write_bytes(part)
    begin = int(rng.integers(3)) * 1000
    sizes = {"budget_bytes": 64 * SEGMENT, "segment_bytes": SEGMENT}
    with contextlib.suppress(StoreError), _known(rng), Journal(folder, **sizes, begin=begin) as journal:
        at = journal.first
        for _ in range(100):
            part_read = journal.read(at, int(rng.integers(1, 5000)))
            if not len(part_read):
                break
            for i in range(len(part_read)):
                bytes(part_read.payload(i))
            at = part_read.next
        for k in range(20):
            journal.append(FRAME, rng.bytes(int(rng.integers(600))), k)
        journal.sync(), journal.release(journal.end)
    shutil.rmtree(folder, ignore_errors=True)


def run_segment(data: bytes, rng: Random) -> None:
    """The kernel's own doors: a segment in memory, with positions from anywhere."""
    array = own(data)
    _journal.inspect(array)
    size = int(rng.choice([len(data), len(data) // 8 * 8, 4096, 1 << 40]))
    seed, start, first = int(rng.integers(1 << 32)), int(rng.integers(1 << 40)), int(rng.choice([64, 65, 72, len(data), 1 << 62]))
    found = _journal.inspect(array)
    if found and rng.random() < 0.7:
        _, start, size, _, seed, _ = found
    with contextlib.suppress(ValueError):
        _journal.walk(array, start, size, seed, first)
        _journal.resume(array, start, size, seed, first)
        _journal.trace(array, start, size, first)
