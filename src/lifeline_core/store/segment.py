"""One file of the journal: a preallocated map of the positions [start, start + size). Its format is kernels/journal.h.

Files are named ``segment-<start, 16 hex digits>.llj`` while they hold records and ``spare-<anything>.llj`` while they
wait to be used again. Where name and header disagree (a rename that a power cut took back) the header is right.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import lifeline_core.store._journal as kernel
from lifeline_core.errors import StoreError
from lifeline_core.store import disk

HEADER: int = kernel.SEGMENT_HEADER
FAMILY = "segment-*"


def start_of(path: Path) -> int:
    """The position a file's name claims; 0 where it claims none."""
    found = re.match(r"segment-([0-9a-f]{16})\.llj", path.name)
    return int(found.group(1), 16) if found else 0


class Segment:
    """A mapped file: spare (``tail`` 0), being written (``tail`` None) or finished (``tail`` = offset after its records).

    ``holes`` are spans [first, last) of offsets in which damage was found. ``failed``: the disk refused to make it
    durable; ``unsafe`` is the position from which that is in doubt. ``clean``: finished and on the disk.
    """

    __slots__ = ("clean", "failed", "holes", "map", "path", "seed", "size", "start", "tail", "unsafe")

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self.start = 0
        self.seed = 0
        self.tail: int | None = 0
        self.holes: list[tuple[int, int]] = []
        self.failed = False
        self.clean = False
        self.unsafe = 0
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self.map = kernel.Mapping(fd, size)
        finally:
            os.close(fd)

    @classmethod
    def make(cls, directory: Path, size: int) -> Segment:
        """A new spare with all its blocks allocated, so that records cannot run out of disk."""
        path = directory / f"spare-{os.urandom(8).hex()}.llj"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            try:
                os.posix_fallocate(fd, 0, size)
            finally:
                os.close(fd)
            return cls(path, size)
        except OSError as e:
            path.unlink(missing_ok=True)
            raise StoreError(e.errno, f"a segment of {size} bytes in {directory}: {e.strerror}") from e

    @property
    def in_use(self) -> bool:
        """Somebody still looks at its bytes."""
        return int(self.map.exports) > 0

    @property
    def end(self) -> int:
        """Position after the whole segment."""
        return self.start + self.size

    def begin(self, start: int) -> None:
        """Make a spare the part of the journal that begins at ``start``; the caller syncs the directory."""
        self.start = start
        self.format(start, int.from_bytes(os.urandom(8), "little"))
        self.tail = None
        self.clean = False
        self._rename(f"segment-{start:016x}.llj")

    def retire(self) -> None:
        """Become a spare. What it holds is told from records by its positions and by the next use's salt."""
        self._rename(f"spare-{os.urandom(8).hex()}.llj")
        self.tail = 0

    def format(self, start: int, salt: int) -> None:
        """Write both copies of the header."""
        header, self.seed = kernel.header(start, self.size, salt)
        self._write(header, 0, self.size - HEADER)

    def zero(self, first: int, last: int) -> None:
        """Fill the offsets [first, last) with zeros."""
        self._write(bytes(last - first), first)

    def _write(self, data: bytes, *offsets: int) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for offset in offsets:
                disk.write_all_at(fd, data, offset)
        finally:
            os.close(fd)

    def _rename(self, name: str) -> None:
        target = self.path.with_name(name)
        self.path.rename(target)
        self.path = target

    def sync(self) -> None:
        """On the disk, or OSError: then nothing of it that was not durable before may be counted on."""
        fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            disk.fdatasync(fd)
        finally:
            os.close(fd)

    def span(self, offset: int, limit: int) -> tuple[int, int]:
        """The part of [offset, limit) to read next: ``offset`` moved out of a hole, ``limit`` pulled before the next."""
        for first, last in self.holes:
            if first <= offset < last:
                offset = last
            elif offset < first:
                return offset, min(first, limit)
        return offset, limit
