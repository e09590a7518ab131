"""A device's frames on disk, so that an outage may outlast its memory and its process.

A folder of segments, each a run of records that are only ever appended::

    u32 length   u32 crc32c of kind and body   u8 kind   body

    STATE  msgpack {boot, epoch, streams: [[channel, n_channels, next seq, next index, end_ns], ...]}; first in every segment
    TAKE   u64 number, u8 flags, the frame as it was taken        SEND  u64 number, u64 seq, u8 historical: before it goes
    DONE   u64 number: acknowledged, refused or dropped

Segments go from the oldest end, when all their frames are done. What a process had written survives its death whatever
kills it; what the system had not yet put on the disk does not survive a power cut, which shows as another boot.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from lifeline_core import _wire
from lifeline_core.errors import StoreError

STATE, TAKE, SEND, DONE = 1, 2, 3, 4
SEGMENT_BYTES = 1 << 20
LARGEST = 64 << 20  # of a record: a length beyond it is damage
_front = struct.Struct("<IIB")
_take = struct.Struct("<QB")
_sent = struct.Struct("<QQB")
_done = struct.Struct("<Q")
FIXED = 1


@dataclass(slots=True)
class Place:
    """Where a taken frame lies."""

    segment: int
    offset: int
    length: int


@dataclass(slots=True)
class Saved:
    """A frame that was neither acknowledged nor dropped; ``seq`` -1: never sent."""

    number: int
    frame: bytes
    seq: int = -1
    historical: bool = False
    fixed: bool = False


@dataclass(slots=True)
class Found:
    """What an earlier process left."""

    saved: list[Saved] = field(default_factory=list)
    epoch: int | None = None
    same_boot: bool = False
    streams: list[list[int]] = field(default_factory=list)  # as the newest STATE has them; TAKE and SEND behind it go further
    torn_bytes: int = 0  # of a record that was being written at the end
    damaged: int = 0  # segments with a record in their middle that is not what was written


def boot_id() -> str:
    """Of this run of the machine; "" where the system does not tell, which is like no other."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _records(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(offset behind the front, kind, body) as far as they are whole; what is left is damage or a torn end."""
    at = 0
    while at + _front.size <= len(data):
        length, crc, kind = _front.unpack_from(data, at)
        begin, at = at + _front.size, at + _front.size + length
        if length > LARGEST or at > len(data) or _wire.crc32c(data[begin - 1 : at]) != crc:
            return
        yield begin, kind, data[begin:at]


class Spool:
    """The segments of one device. StoreError where the system refuses the folder or a write.

    Parameters
    ----------
    folder : Path
        Of this device alone; made if it is not there.
    """

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder, self._segment_bytes = folder, segment_bytes
        self.bytes = 0  # on disk
        self._places: dict[int, Place] = {}
        self._alive: dict[int, int] = {}  # segment: its frames that are not done
        self._sizes: dict[int, int] = {}
        self._file: BinaryIO | None = None
        self._segment = 0
        self._dirty = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.found = self._read()
        except OSError as error:
            raise StoreError(f"spool {folder}: {error}") from error
        self.next_number = max((s.number for s in self.found.saved), default=-1) + 1

    # -- reading what is there ------------------------------------------------------------------------------------

    def _read(self) -> Found:
        found, saved = Found(), dict[int, Saved]()
        names = sorted(int(path.stem) for path in self.folder.glob("*.spool") if path.stem.isdigit())
        for name in names:
            self._read_segment(name, found, saved, newest=name == names[-1])
        found.saved = [saved[number] for number in sorted(saved)]
        self._segment = names[-1] if names else 0
        return found

    def _read_segment(self, name: int, found: Found, saved: dict[int, Saved], *, newest: bool) -> None:
        data = self._path(name).read_bytes()
        self._alive[name], self._sizes[name] = 0, len(data)
        self.bytes += len(data)
        at = 0
        for begin, kind, body in _records(data):
            at = begin + len(body)
            if kind == STATE:
                said = msgspec.msgpack.decode(body)
                found.epoch, found.streams = said["epoch"], said["streams"]
                found.same_boot = bool(said["boot"]) and said["boot"] == boot_id()
            elif kind == TAKE:
                number, flags = _take.unpack_from(body)
                saved[number] = Saved(number, body[_take.size :], fixed=bool(flags & FIXED))
                self._places[number] = Place(name, begin + _take.size, len(body) - _take.size)
                self._alive[name] += 1
            elif kind == SEND:
                number, seq, historical = _sent.unpack(body)
                if number in saved:
                    saved[number].seq, saved[number].historical = seq, bool(historical)
            elif kind == DONE and (number := _done.unpack(body)[0]) in saved:
                del saved[number]
                self._forget(number)
        if at < len(data) and newest:
            found.torn_bytes = len(data) - at
        elif at < len(data):
            found.damaged += 1

    def _path(self, segment: int) -> Path:
        return self.folder / f"{segment:012d}.spool"

    # -- writing --------------------------------------------------------------------------------------------------

    def begin(self, epoch: int, streams: Iterable[list[int]]) -> None:
        """A new segment, which begins with what a later process must know. Once before anything else is written."""
        self._segment += 1
        state = {"boot": boot_id(), "epoch": epoch, "streams": list(streams)}
        try:
            if self._file is not None:
                self._sync()
                self._file.close()
            self._file = self._path(self._segment).open("xb", buffering=0)
        except OSError as error:
            raise StoreError(f"spool {self.folder}: {error}") from error
        self._alive[self._segment] = self._sizes[self._segment] = 0
        self._write(STATE, msgspec.msgpack.encode(state))
        self._clean()

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
        end = self._write(TAKE, _take.pack(number, FIXED if fixed else 0) + frame)
        self._places[number] = Place(self._segment, end - len(frame), len(frame))
        self._alive[self._segment] += 1

    def send(self, number: int, seq: int, *, historical: bool) -> None:
        self._write(SEND, _sent.pack(number, seq, historical))

    def done(self, number: int) -> None:
        self._write(DONE, _done.pack(number))
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
        record = _front.pack(len(body), crc, kind) + body
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

    def _clean(self) -> None:
        """Away with segments at the oldest end of which every frame is done."""
        for segment in sorted(self._sizes):
            if segment == self._segment or self._alive[segment]:
                return
            self._path(segment).unlink(missing_ok=True)
            self.bytes -= self._sizes.pop(segment)
            del self._alive[segment]

    def clean(self) -> None:
        self._clean()

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

    def state(self) -> dict[str, Any]:
        return {"bytes": self.bytes, "segments": len(self._sizes), "frames": len(self._places)}
