"""One growing number on the disk, in two places written in turn: a torn write leaves the other."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import lifeline_core.store._journal as kernel
from lifeline_core.store import disk


class Mark:
    """The highest number that may have been given (``seq``), and the one that was surely given before it (``before``)."""

    _SLOT = struct.Struct("<QQI")
    _APART = 4096  # a torn write leaves the other

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if os.fstat(self._fd).st_size < 2 * self._APART:
            os.posix_fallocate(self._fd, 0, 2 * self._APART)
        found = [self._at(slot) for slot in (0, 1)]
        self.before, self.seq = (max(column) for column in zip(*found, strict=True))
        self._next = found.index(min(found))

    def _at(self, slot: int) -> tuple[int, int]:
        data = os.pread(self._fd, self._SLOT.size, slot * self._APART)
        before, seq, crc = self._SLOT.unpack(data)
        return (before, seq) if crc and crc == kernel.crc32c(data[:16]) else (0, 0)

    def write(self, before: int, seq: int) -> None:
        """On the disk when it returns; OSError otherwise."""
        numbers = struct.pack("<QQ", before, seq)
        os.pwrite(self._fd, self._SLOT.pack(before, seq, kernel.crc32c(numbers)), self._next * self._APART)
        disk.fdatasync(self._fd)
        self._next = 1 - self._next
        self.before, self.seq = before, seq

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
