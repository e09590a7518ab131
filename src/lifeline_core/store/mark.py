"""One growing number that is never behind, at the price of one sync for many numbers.

::

    0       8 KiB                     12 KiB
    | A | B | note                    |
    A, B    reserved: no higher number was given. Written in turn and synced before it is used: a torn write leaves the other.
    note    the very number, and which run of the machine wrote it. Never synced: the kernel keeps it over a kill of the process.

After a power cut the note is of another run and the reservation counts.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path

import lifeline_core.store._journal as kernel
from lifeline_core.store import disk

AHEAD = 256  # numbers reserved at once: as many stay unused where the machine crashed and the database is ruined


class Mark:
    """The highest number that may have been given (``seq``), and one that was surely given (``before``)."""

    _SLOT = struct.Struct("<QQI")
    _NOTE = struct.Struct("<QQ16sI")
    _APART = 4096

    def __init__(self, path: Path) -> None:
        self._boot = hashlib.blake2b(disk.boot_id().encode(), digest_size=16).digest()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if os.fstat(self._fd).st_size < 3 * self._APART:
            os.posix_fallocate(self._fd, 0, 3 * self._APART)
        found = [self._at(slot) for slot in (0, 1)]
        self._next = found.index(min(found))
        self.before, self._reserved = (max(column) for column in zip(*found, strict=True))
        self.seq = self._reserved
        data = os.pread(self._fd, self._NOTE.size, 2 * self._APART)
        before, seq, boot, crc = self._NOTE.unpack(data)
        if crc and crc == kernel.crc32c(data[:-4]) and boot == self._boot and disk.boot_id():
            self.before, self.seq = max(before, self.before), seq

    def _at(self, slot: int) -> tuple[int, int]:
        data = os.pread(self._fd, self._SLOT.size, slot * self._APART)
        before, seq, crc = self._SLOT.unpack(data)
        return (before, seq) if crc and crc == kernel.crc32c(data[:16]) else (0, 0)

    def write(self, before: int, seq: int) -> None:
        """``seq`` may be given when it returns; OSError otherwise."""
        if seq > self._reserved:
            self._reserve(before, seq + AHEAD)
        note = self._NOTE.pack(before, seq, self._boot, 0)[:-4]
        os.pwrite(self._fd, note + kernel.crc32c(note).to_bytes(4, "little"), 2 * self._APART)
        self.before, self.seq = before, seq

    def _reserve(self, before: int, most: int) -> None:
        numbers = struct.pack("<QQ", before, most)
        os.pwrite(self._fd, self._SLOT.pack(before, most, kernel.crc32c(numbers)), self._next * self._APART)
        disk.fdatasync(self._fd)
        self._next, self._reserved = 1 - self._next, most

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
