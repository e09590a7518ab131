"""A device's frames on disk, so that an outage may outlast its memory and its process.

A folder of segments, each a run of records that are only ever appended::

    u32 length   u32 crc32c of kind and body   u8 kind   body

    STATE  msgpack {boot, epoch, streams: [[epoch, channel, n_channels, next seq, next index, end_ns], ...]}, first in a segment
    TAKE   u64 number, u8 flags, the frame as it was taken        SEND  u64 number, u64 seq, u8 historical: before it goes
    DONE   u64 number: acknowledged, refused or dropped

Segments go from the oldest end, when all their frames are done. What a process had written survives its death whatever
kills it; what the system had not yet put on the disk does not survive a power cut, which shows as another boot.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import msgspec

from lifeline_core import _wire
from lifeline_core.errors import StoreError
from lifeline_core.service.spooled import (
    DONE,
    ENDED,
    FIXED,
    FRONT,
    SEND,
    SENT,
    STATE,
    TAKE,
    TAKEN,
    Count,
    Found,
    Key,
    Place,
    Reading,
)
from lifeline_core.store.disk import boot_id

SEGMENT_BYTES = 1 << 20


class Spool:
    """The segments of one device. StoreError where the system refuses the folder or a write.

    Parameters
    ----------
    folder : Path
        Of this device alone; made if it is not there.
    """

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder, self._segment_bytes = folder, segment_bytes
        self._file: IO[bytes] | None = None
        self._segment = 0
        self._dirty = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / "lock").open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.found = self._read()
        except BlockingIOError as error:
            raise StoreError(f"spool {folder}: another process has it open") from error
        except OSError as error:
            raise StoreError(f"spool {folder}: {error}") from error
        self._places, self._alive, self._sizes = self.found.places, self.found.alive, self.found.sizes
        self.bytes = sum(self._sizes.values())  # on disk
        self.next_number = self.found.next_number

    def _read(self) -> Found:
        reading = Reading()
        names = sorted(int(path.stem) for path in self.folder.glob("*.spool") if path.stem.isdigit())
        for name in names:
            reading.segment(name, self._path(name).read_bytes(), newest=name == names[-1])
        self._segment = names[-1] if names else 0
        found = reading.ended()
        if found.torn_bytes:  # cut now: later it would lie in the middle and look like damage
            found.sizes[self._segment] -= found.torn_bytes
            os.truncate(self._path(self._segment), found.sizes[self._segment])
        return found

    def _path(self, segment: int) -> Path:
        return self.folder / f"{segment:012d}.spool"

    # -- writing --------------------------------------------------------------------------------------------------

    def begin(self, epoch: int, counts: Mapping[Key, Count]) -> None:
        """A new segment, which begins with what a later process must know. Once before anything else is written."""
        self._segment += 1
        state = {"boot": boot_id(), "epoch": epoch, "streams": [[*key, c.seq, c.index, c.end_ns] for key, c in counts.items()]}
        try:
            if self._file is not None:
                self._sync()
                self._file.close()
            self._file = self._path(self._segment).open("xb", buffering=0)
        except OSError as error:
            raise StoreError(f"spool {self.folder}: {error}") from error
        self._alive[self._segment] = self._sizes[self._segment] = 0
        self._write(STATE, msgspec.msgpack.encode(state))
        self.clean()

    @property
    def full(self) -> bool:
        """The segment is: the caller begins another, with the state as it is then."""
        return self._sizes[self._segment] >= self._segment_bytes

    def take(self, frame: bytes, *, fixed: bool = False) -> int:
        """The frame's number here."""
        number = self.next_number
        self._take(number, frame, fixed=fixed)
        self.next_number += 1
        return number

    def _take(self, number: int, frame: bytes, *, fixed: bool) -> None:
        end = self._write(TAKE, TAKEN.pack(number, FIXED if fixed else 0) + frame)
        self._places[number] = Place(self._segment, end - len(frame), len(frame))
        self._alive[self._segment] += 1

    def send(self, number: int, seq: int, *, historical: bool) -> None:
        self._write(SEND, SENT.pack(number, seq, historical))

    def done(self, number: int) -> None:
        self._write(DONE, ENDED.pack(number))
        self._forget(number)

    def _forget(self, number: int) -> None:
        self._alive[self._places.pop(number).segment] -= 1

    def frame(self, number: int) -> bytes:
        """A frame that was taken and is not done, as it was taken."""
        place = self._places[number]
        try:
            with self._path(place.segment).open("rb") as file:
                file.seek(place.offset)
                return file.read(place.length)
        except OSError as error:
            raise StoreError(f"spool {self.folder}: {error}") from error

    def move(self, number: int, seq: int, *, historical: bool, fixed: bool) -> None:
        """Into the newest segment, so that an old one, of which little is left, can go."""
        frame, old = self.frame(number), self._places[number].segment
        self._take(number, frame, fixed=fixed)
        self._alive[old] -= 1
        if seq >= 0:
            self.send(number, seq, historical=historical)

    def oldest(self) -> set[int]:
        """Numbers in the oldest segment that are not done; empty when there is only the one being written."""
        first = min(self._sizes)
        return {n for n, place in self._places.items() if place.segment == first} if first != self._segment else set()

    def _write(self, kind: int, body: bytes) -> int:
        """Where the record ends."""
        assert self._file is not None, "begin comes first"
        crc = _wire.crc32c(bytes([kind]) + body)
        record = FRONT.pack(len(body), crc, kind) + body
        try:
            written = self._file.write(record)
            if written != len(record):  # the disk is full: nobody reads half a record, but the next one must not follow it
                self._file.truncate(self._sizes[self._segment])
                self._file.seek(self._sizes[self._segment])
                raise OSError(28, "no room for a record")
        except OSError as error:
            raise StoreError(f"spool {self.folder}: {error}") from error
        self._sizes[self._segment] += len(record)
        self.bytes += len(record)
        self._dirty = True
        return self._sizes[self._segment]

    def clean(self) -> None:
        """Away with segments at the oldest end of which every frame is done."""
        for segment in sorted(self._sizes):
            if segment == self._segment or self._alive[segment]:
                return
            self._path(segment).unlink(missing_ok=True)
            self.bytes -= self._sizes.pop(segment)
            del self._alive[segment]

    def sync(self) -> None:
        """Onto the disk, as far as the disk is honest."""
        try:
            self._sync()
        except OSError as error:
            raise StoreError(f"spool {self.folder}: {error}") from error

    def _sync(self) -> None:
        if self._dirty and self._file is not None:
            os.fdatasync(self._file.fileno())
            self._dirty = False

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._lock.close()
