"""Frames to a file and back: the journal beside a plain file with a header and a checksum for every record.

Neither syncs: what is measured is durability "process", both hand the bytes to the page cache.
"""

from __future__ import annotations

import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.duel import Case, Work, duel
from lifeline_core.store.journal import FRAME, Journal

N, SIZE = 1024, 2464  # frames of 4 x 200 int24 samples
HEADER = struct.Struct("<IIII")


class Files:
    """A journal and a plain file in one folder, which goes with them."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.journal = Journal(Path(self.folder.name) / "journal", budget_bytes=128 << 20)
        self.plain = open(Path(self.folder.name) / "plain", "w+b")  # noqa: SIM115
        self.buf = np.random.default_rng(1).integers(0, 256, N * SIZE, np.uint8).tobytes()
        self.offsets, self.lengths = np.arange(N, dtype=np.int64) * SIZE, np.full(N, SIZE, np.int64)
        self.sources = np.arange(N, dtype=np.uint32)

    def append(self) -> None:
        self.journal.append_batch(FRAME, self.buf, self.offsets, self.lengths, self.sources)
        self.journal.release(self.journal.end)

    def write(self) -> None:
        self.plain.seek(0)
        for k in range(N):
            payload = self.buf[k * SIZE : (k + 1) * SIZE]
            self.plain.write(HEADER.pack(FRAME, k, len(payload), zlib.crc32(payload)))
            self.plain.write(payload)
        self.plain.flush()

    def read_journal(self, position: int) -> list[bytes]:
        found = []
        while len(part := self.journal.read(position)):
            found += [bytes(part.payload(i)) for i in range(len(part))]
            position = part.next
        return found

    def read_plain(self) -> list[bytes]:
        self.plain.seek(0)
        found = []
        for _ in range(N):
            _kind, _source, length, crc = HEADER.unpack(self.plain.read(HEADER.size))
            payload = self.plain.read(length)
            assert zlib.crc32(payload) == crc
            found.append(payload)
        return found


def make_append() -> tuple[Work, Work]:
    files = Files()
    files.append(), files.write()
    assert len(files.read_plain()) == N and files.journal.end >= N * SIZE
    return files.append, files.write


def make_read() -> tuple[Work, Work]:
    files = Files()
    position = files.journal.end
    files.journal.append_batch(FRAME, files.buf, files.offsets, files.lengths, files.sources)
    files.write()
    assert files.read_journal(position) == files.read_plain()
    return lambda: files.read_journal(position), files.read_plain


CASES = [
    Case(f"append {N:,} frames of {SIZE:,} bytes", "journal", "file.write, struct, zlib.crc32", 4.0, make_append, baseline=4.0),
    Case(f"read {N:,} frames of {SIZE:,} bytes", "journal", "file.read, struct, zlib.crc32", 2.0, make_read, baseline=2.0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
