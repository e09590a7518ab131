"""Where back-filled frames wait their turn, so that what is old never delays what is now.

::

    devices -> live ---------------------------------> journal -> engine
            -> historical, while its share has room -/
            -> historical, past it -> hall (a queue for each stream, in turn) -/
            -> historical, hall full -> not taken and not answered: the device sends it again

The journal is read in order, so what counts is how much history lies in it unread: `SHARE_BYTES`, and a live frame waits behind
no more of it. It is filled again as fast as the engine reads: while nothing live comes, history has all of the engine's time; the
more live frames lie there unread, the smaller a part of it the share is.

A stream keeps its order: a live frame behind a historical one of its own stream waits with it. A device that keeps to the
share it is told (`share`) never waits here long; one that does not holds up itself alone.
"""

from __future__ import annotations

import struct
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifeline_core.model import FLAG_HISTORICAL
from lifeline_core.service.backlog import FRAME_COST
from lifeline_core.service.receive import FRAME, Batch
from lifeline_core.wire import DATA, HEADER_LEN

WAITS, CROWDED = 252, 253  # kinds of a batch that the hall gives: kept here; neither kept nor answered
SHARE_BYTES = 1 << 19  # of history in the journal that the engine has not read, with `FRAME_COST` for each frame
TURN_BYTES = 1 << 16  # of one stream in its turn: some frames in a row cost the engine less than one of many each
TOLD_BYTES, TOLD_ONE = 1 << 22, 1 << 18  # under way from all that back-fill, and from one, as they are told
ROOM_BYTES, ROOM_FRAMES = 32 << 20, 100_000  # of the hall
ONE_BYTES = 4 << 20  # of one stream in it
FILLING_S = 2.0  # a connection back-fills so long after its last historical frame
CONNECTIONS = 65_536  # remembered as back-filling
CUTS, CUT_S = 65_536, 30.0  # streams remembered as cut off, and how long their missing frame is waited for
TYPE_AT, FLAGS_AT, WHOSE_AT = 5, 7, 8
WHOSE = struct.Struct("<IHHIIQ")  # device, channel, n_channels, epoch, clock_sd_us, seq of a header

Stream = tuple[int, int, int]  # device, channel, epoch


class Waiting(NamedTuple):
    """A frame, its number, and the connection it came over."""

    source: int
    frame: bytes
    seq: int


class Hall:
    """`sort` and `admit` are for the ingest thread; the counters may be read by any.

    Parameters
    ----------
    read_to : callable
        The journal position up to which the engine has read.

    Attributes
    ----------
    bytes, frames : int
        Waiting now.
    held : int
        Frames that had to wait, so far.
    crowded : int
        Frames that found no room, so far.
    """

    def __init__(self, read_to: Callable[[], int]) -> None:
        self._read_to = read_to
        self._unread: deque[tuple[int, int]] = deque()  # (journal position behind it, bytes of history)
        self._unread_bytes = 0
        self._queues: OrderedDict[Stream, deque[Waiting]] = OrderedDict()
        self._of_stream: Counter[Stream] = Counter()  # bytes
        self._cut: OrderedDict[Stream, tuple[int, float]] = OrderedDict()  # stream: the first number that found no room, and when
        self._filling: OrderedDict[int, float] = OrderedDict()  # connection: when it last sent history
        self.bytes = self.frames = self.held = self.crowded = 0
        self.marked = False  # whether the last `sort` looked at single frames

    def __len__(self) -> int:
        return self.frames

    def share(self, source: int) -> int | None:
        """Bytes of history a connection should have under way at most; None for one that does not back-fill."""
        return min(TOLD_BYTES // len(self._filling), TOLD_ONE) if source in self._filling else None

    def acknowledged(self, source: int, device: int, channel: int, epoch: int, ack: int) -> int | None:
        """An acknowledgement goes out to a connection: the `share` to be told with it.

        A stream that was cut off at or before that number is not any more: what found no room had come before.
        """
        stream = (device, channel, epoch)
        if stream in self._cut and self._cut[stream][0] <= ack:
            del self._cut[stream]
        return self.share(source)

    def room(self) -> int:
        """Bytes of history that may go into the journal now."""
        read_to = self._read_to()
        while self._unread and self._unread[0][0] <= read_to:
            self._unread_bytes -= self._unread.popleft()[1]
        return SHARE_BYTES - self._unread_bytes

    def note(self, n_bytes: int, position: int) -> None:
        """History that takes so much of the share was appended; the journal ends at ``position``."""
        if n_bytes:
            self._unread.append((position, n_bytes))
            self._unread_bytes += n_bytes

    # ---- what comes ----

    def sort(self, batch: Batch) -> int:
        """Marks in ``batch.kinds`` what waits and what finds no room; what the history among the rest takes of the share."""
        self.marked = False
        at = np.flatnonzero((batch.kinds == FRAME) & (batch.lengths >= HEADER_LEN))
        at = at[batch.buf[batch.offsets[at] + TYPE_AT] == DATA]
        while self._cut and time.monotonic() - next(iter(self._cut.values()))[1] > CUT_S:  # what it lacks never came
            self._cut.popitem(last=False)
        past = batch.buf[batch.offsets[at] + FLAGS_AT] & FLAG_HISTORICAL != 0
        if past.any():
            self._remember(np.unique(batch.sources[at[past]]).tolist())
        elif not self._queues and not self._cut:
            return 0
        takes = np.where(past, batch.lengths[at] + FRAME_COST, 0)
        going = 0 if self._queues else int(np.searchsorted(np.cumsum(takes), self.room(), side="right"))
        if going == len(at) and not self._cut:
            return int(takes.sum())
        whose = _channels(batch, at)
        late = past & (np.arange(len(at)) >= going)
        concerned = np.isin(whose, [device << 32 | channel for device, channel, _ in (*self._queues, *self._cut)])
        concerned |= np.isin(whose, whose[late]) & (np.arange(len(at)) >= going)
        self.marked = bool(concerned.any())
        for k in np.flatnonzero(concerned).tolist():
            batch.kinds[at[k]] = self._take(batch.payload(int(at[k])), int(batch.sources[at[k]]), bool(past[k]))
        self.crowded += int(np.count_nonzero(batch.kinds[at] == CROWDED))
        return int(takes[batch.kinds[at] == FRAME].sum())

    def _take(self, frame: bytes, source: int, past: bool) -> int:
        """Keep one frame behind those of its stream; the kind it gets."""
        device, channel, _, epoch, _, seq = WHOSE.unpack_from(frame, WHOSE_AT)
        stream, size = (device, channel, epoch), len(frame)
        missing = self._cut[stream][0] if stream in self._cut else None
        if missing is not None and seq > missing:
            return CROWDED
        queue = self._queues.get(stream)
        if queue and seq <= queue[-1].seq:  # sent again while it waits
            return WAITS
        waits = past or queue is not None
        if waits and (self.bytes + size > ROOM_BYTES or self.frames >= ROOM_FRAMES or self._of_stream[stream] + size > ONE_BYTES):
            self._cut.setdefault(stream, (seq, time.monotonic()))  # one before it came earlier: where it is missing now stands
            if len(self._cut) > CUTS:
                self._cut.popitem(last=False)
            return CROWDED
        if seq == missing:
            del self._cut[stream]
        if not waits:
            return FRAME
        self._queues.setdefault(stream, deque()).append(Waiting(source, frame, seq))
        self._of_stream[stream] += size
        self.bytes, self.frames, self.held = self.bytes + size, self.frames + 1, self.held + 1
        return WAITS

    def _remember(self, sources: list[int]) -> None:
        now = time.monotonic()
        for source in sources:
            self._filling[source] = now
            self._filling.move_to_end(source)
        while self._filling and (len(self._filling) > CONNECTIONS or now - next(iter(self._filling.values())) > FILLING_S):
            self._filling.popitem(last=False)

    # ---- what goes ----

    def admit(self, *, everything: bool = False) -> list[Waiting]:
        """What may go into the journal now, from each stream in turn."""
        going: list[Waiting] = []
        room = self.room() if self._queues else 0
        while self._queues and (room > 0 or everything):
            stream, queue = self._queues.popitem(last=False)
            turn = min(room, TURN_BYTES)
            while queue and (turn > 0 or everything):
                one = queue.popleft()
                size = len(one.frame)
                going.append(one)
                turn, room = turn - size - FRAME_COST, room - size - FRAME_COST
                self.bytes, self.frames = self.bytes - size, self.frames - 1
                self._of_stream[stream] -= size
            if queue:
                self._queues[stream] = queue
            else:
                del self._of_stream[stream]
        return going


def _channels(batch: Batch, at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Device and first channel of frames, as one number."""
    raw = np.ascontiguousarray(batch.buf[batch.offsets[at][:, None] + np.arange(8, 14)])
    device = np.ascontiguousarray(raw[:, :4]).view("<u4")[:, 0].astype(np.int64)
    return device << 32 | np.ascontiguousarray(raw[:, 4:]).view("<u2")[:, 0]
