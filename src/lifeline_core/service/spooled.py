"""What an earlier process of a device left in its spool: frames not yet acknowledged, and how far their numbering was."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from lifeline_core import _wire
from lifeline_core.model import NS
from lifeline_core.service.backlog import HEADER
from lifeline_core.store.disk import boot_id
from lifeline_core.wire import HEADER_LEN

STATE, TAKE, SEND, DONE = 1, 2, 3, 4
LARGEST = 64 << 20  # of a record: a length beyond it is damage
FRONT = struct.Struct("<IIB")
TAKEN = struct.Struct("<QB")
SENT = struct.Struct("<QQB")
ENDED = struct.Struct("<Q")
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
    header: bytes
    size: int
    seq: int = -1
    historical: bool = False
    fixed: bool = False


@dataclass(slots=True)
class Count:
    """How far the numbering of a stream is: what its next frame gets, and when its last one ended."""

    seq: int = 0
    index: int = 0
    end_ns: int = 0

    def pass_over(self, header: bytes) -> None:
        """A frame with that header has been taken."""
        said = HEADER.unpack_from(header)
        index, t0_ns, num, den, n = said[11:16]
        self.index, self.end_ns = index + n, t0_ns + (n * den * NS // num if num else 0)

    def missed(self, header: bytes) -> int:
        """Samples that would have come between the last frame and this one, by the device's clock; 0 for timed samples."""
        said = HEADER.unpack_from(header)
        t0_ns, num, den = said[12:15]
        if not num or t0_ns <= self.end_ns:
            return 0
        return int(((t0_ns - self.end_ns) * num + den * NS // 2) // (den * NS))


Key = tuple[int, int, int]  # epoch, channel, n_channels


@dataclass(slots=True)
class Found:
    """What an earlier process left."""

    saved: list[Saved] = field(default_factory=list)
    epoch: int | None = None
    same_boot: bool = False
    counts: dict[Key, Count] = field(default_factory=dict)
    torn_bytes: int = 0  # of a record that was being written at the end
    damaged: int = 0  # segments with a record in their middle that is not what was written
    places: dict[int, Place] = field(default_factory=dict)
    alive: dict[int, int] = field(default_factory=dict)  # segment: its frames that are not done
    sizes: dict[int, int] = field(default_factory=dict)
    next_number: int = 0

    def epoch_to_use(self) -> int:
        """The one found, unless the machine has booted since or the spool is damaged; else the clock's seconds."""
        fresh = int(time.time()) & 0xFFFF_FFFF
        if self.epoch is None:
            return fresh
        if self.same_boot and not self.damaged:
            return self.epoch
        return fresh if fresh != self.epoch else (fresh + 1) & 0xFFFF_FFFF


def key_of(header: bytes) -> Key:
    said = HEADER.unpack_from(header)
    return said[8], said[6], said[7]


def records(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(offset behind the front, kind, body) as far as they are whole; what is left is damage or a torn end."""
    at = 0
    while at + FRONT.size <= len(data):
        length, crc, kind = FRONT.unpack_from(data, at)
        begin, at = at + FRONT.size, at + FRONT.size + length
        if length > LARGEST or at > len(data) or _wire.crc32c(data[begin - 1 : at]) != crc:
            return
        yield begin, kind, data[begin:at]


class Reading:
    """Fills a `Found` from segments, oldest first."""

    def __init__(self) -> None:
        self.found = Found()
        self._saved: dict[int, Saved] = {}

    def segment(self, name: int, data: bytes, *, newest: bool) -> None:
        found = self.found
        found.alive[name], found.sizes[name] = 0, len(data)
        at = 0
        for begin, kind, body in records(data):
            at = begin + len(body)
            if kind == STATE:
                self._state(body)
            elif kind == TAKE:
                self._take(name, begin, body)
            elif kind == SEND:
                self._send(*SENT.unpack(body))
            elif kind == DONE:
                self._done(ENDED.unpack(body)[0])
        if at < len(data) and newest:
            found.torn_bytes = len(data) - at
        elif at < len(data):
            found.damaged += 1

    def ended(self) -> Found:
        self.found.saved = [self._saved[number] for number in sorted(self._saved)]
        return self.found

    def _state(self, body: bytes) -> None:
        said = msgspec.msgpack.decode(body)
        self.found.epoch = said["epoch"]
        self.found.counts = {(e, c, n): Count(*rest) for e, c, n, *rest in said["streams"]}
        self.found.same_boot = bool(said["boot"]) and said["boot"] == boot_id()

    def _take(self, name: int, begin: int, body: bytes) -> None:
        found = self.found
        number, flags = TAKEN.unpack_from(body)
        header = body[TAKEN.size : TAKEN.size + HEADER_LEN]
        found.next_number = max(found.next_number, number + 1)
        if number in self._saved:  # moved out of an old segment: what is known of it stays known
            found.alive[found.places[number].segment] -= 1
        else:
            self._saved[number] = Saved(number, header, len(body) - TAKEN.size, fixed=bool(flags & FIXED))
            if not flags & FIXED:
                found.counts.setdefault(key_of(header), Count()).pass_over(header)
        found.places[number] = Place(name, begin + TAKEN.size, len(body) - TAKEN.size)
        found.alive[name] += 1

    def _send(self, number: int, seq: int, historical: int) -> None:
        saved = self._saved.get(number)
        if saved is None:
            return
        saved.seq, saved.historical = seq, bool(historical)
        if not saved.fixed:
            count = self.found.counts.setdefault(key_of(saved.header), Count())
            count.seq = max(count.seq, seq + 1)

    def _done(self, number: int) -> None:
        if self._saved.pop(number, None) is not None:
            self.found.alive[self.found.places.pop(number).segment] -= 1
