"""Frames a device keeps until they are acknowledged, in the order in which they may go.

::

    again    numbered, to be sent once more: before anything else
    live     taken lately, in order
    history  waited too long (an outage): behind the live ones, a little at a time, flagged historical

A frame gets its seq when it goes for the first time, not when it is taken: so seq stays gapless although what is live
overtakes what is old, and what is dropped is a gap in sample_index alone.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lifeline_core import _wire
from lifeline_core.model import FLAG_HISTORICAL
from lifeline_core.service.heads import Stream

AT_FLAGS, AT_SEQ, AT_CRC = 7, 24, 60
FRAME_COST = 512  # bytes that reading a frame is as good as, beside its own: a share of history is counted so
HEADER = struct.Struct("<4sBBBBIHHIIQQqIIII")


@dataclass(slots=True)
class Kept:
    """One frame; ``seq`` -1: not numbered yet. ``frame`` is empty while it lies in the spool only."""

    number: int
    stream: Stream
    n_channels: int
    seq: int
    index: int
    n_samples: int
    size: int
    taken: float
    frame: bytes
    historical: bool = False
    fixed: bool = False  # came with its own number, say from a capture: order and flags are not ours to change
    order: int = 0  # of the first sending

    @property
    def share(self) -> int:
        """What it takes of the share of history."""
        return self.size + FRAME_COST if self.historical else 0


def kept_of(number: int, header: bytes, size: int, taken: float, *, fixed: bool) -> Kept:
    """What a sound frame's header says of it; the frame itself is not in it yet."""
    said = HEADER.unpack_from(header)
    stream = Stream(said[5], said[6], said[8])
    seq = said[10] if fixed else -1
    return Kept(number, stream, said[7], seq, said[11], said[15], size, taken, b"", fixed=fixed)


def numbered(frame: bytes, seq: int, *, historical: bool) -> bytes:
    """The frame with its number, its flag and the sum anew."""
    out = bytearray(frame)
    out[AT_SEQ : AT_SEQ + 8] = seq.to_bytes(8, "little")
    out[AT_FLAGS] |= FLAG_HISTORICAL if historical else 0
    out[AT_CRC : AT_CRC + 4] = bytes(4)
    out[AT_CRC : AT_CRC + 4] = _wire.crc32c(out).to_bytes(4, "little")
    return bytes(out)


class Backlog:
    """The three lanes and what is flying. Bytes are those of frames, wherever they lie; of history with `FRAME_COST` each."""

    def __init__(self) -> None:
        self.again: deque[Kept] = deque()
        self.live: deque[Kept] = deque()
        self.history: deque[Kept] = deque()
        self.flying: dict[Stream, deque[Kept]] = {}
        self.bytes = self.flying_bytes = self.flying_history = 0
        self._order = 0

    def __len__(self) -> int:
        return len(self.again) + len(self.live) + len(self.history) + sum(map(len, self.flying.values()))

    def __iter__(self) -> Iterator[Kept]:
        for flying in self.flying.values():
            yield from flying
        yield from self.again
        yield from self.history
        yield from self.live

    def take(self, kept: Kept) -> None:
        self.bytes += kept.size
        lane = self.live if kept.fixed or not kept.historical else self.history
        if kept.seq >= 0 and not kept.fixed:
            lane = self.again
            self._order += 1
            kept.order = self._order
        lane.append(kept)

    def age(self, before: float) -> list[Kept]:
        """What was taken before that time and still waits becomes history."""
        aged = []
        while self.live and self.live[0].taken < before and not self.live[0].fixed:
            kept = self.live.popleft()
            kept.historical = True
            self.history.append(kept)
            aged.append(kept)
        return aged

    def fly(self, lane: deque[Kept]) -> None:
        """The lane's first was sent."""
        kept = lane.popleft()
        if not kept.order:
            self._order += 1
            kept.order = self._order
        self.flying.setdefault(kept.stream, deque()).append(kept)
        self.flying_bytes += kept.size
        self.flying_history += kept.share

    def recall(self) -> int:
        """Everything flying waits to be sent once more, in the order of its first sending; how many."""
        flown = [kept for flying in self.flying.values() for kept in flying]
        self.again = deque(sorted([*flown, *self.again], key=lambda kept: kept.order))
        self.flying.clear()
        self.flying_bytes = self.flying_history = 0
        return len(flown)

    def settle(self, stream: Stream, seq: int, *, cumulative: bool) -> list[Kept]:
        """Frames up to ``seq`` of a stream, or this one, that are kept no longer."""

        def done(kept: Kept) -> bool:
            return kept.stream == stream and kept.seq >= 0 and (kept.seq <= seq if cumulative else kept.seq == seq)

        gone: list[Kept] = []
        flying = self.flying.get(stream)
        if flying is not None:
            gone += (settled := [kept for kept in flying if done(kept)])
            self.flying_bytes -= sum(kept.size for kept in settled)
            self.flying_history -= sum(kept.share for kept in settled)
            left = deque(kept for kept in flying if not done(kept))
            self.flying[stream] = left
            if not left:
                del self.flying[stream]
        if self.again:
            gone += [kept for kept in self.again if done(kept)]
            self.again = deque(kept for kept in self.again if not done(kept))
        if self.live and self.live[0].fixed and done(self.live[0]):
            gone += [kept for kept in self.live if done(kept)]
            self.live = deque(kept for kept in self.live if not done(kept))
        self.bytes -= sum(kept.size for kept in gone)
        return gone

    def drop_oldest(self) -> Kept | None:
        """The oldest frame that was never sent, given up; None where all have numbers."""
        for lane in (self.history, self.live):
            if lane and not lane[0].fixed:
                kept = lane.popleft()
                self.bytes -= kept.size
                return kept
        return None

    def next_history(self, may_go: Callable[[Kept], bool]) -> bool:
        """Brings the oldest history frame that may go to the lane's head; False where none may."""
        if self.history and may_go(self.history[0]):
            return True
        for k, kept in enumerate(self.history):
            if k >= 64:  # one stream waits, others behind it need not; looking far costs more than it brings
                return False
            if may_go(kept):
                del self.history[k]
                self.history.appendleft(kept)
                return True
        return False
