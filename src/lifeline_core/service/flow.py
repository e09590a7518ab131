"""What a device sends next, and what the service's replies settle: credit, resending, live before history."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import msgspec

from lifeline_core.service.backlog import Backlog, Kept, kept_of, numbered
from lifeline_core.service.heads import Stream
from lifeline_core.service.link import Link
from lifeline_core.service.spool import Spool
from lifeline_core.service.spooled import Count, Key

FIRST_CREDIT = 1 << 20  # bytes, before the service has said how many
HISTORY_BYTES = 1 << 16  # of history under way at most, where the service says no other: what a live frame may wait behind
FIRST_HISTORY = 1 << 12  # the same before the first acknowledgement: after an outage everybody comes at once
AT_ONCE = 1 << 16  # of history in one go: whoever calls may have something live in hand
SILENT_ROUNDS = 2  # of resending into nothing, then the connection is made anew


class Reply(msgspec.Struct):
    """What the service says to a device; keys of later versions are passed over."""

    ack: int | None = None
    refused: str | None = None
    device: int = -1
    channel: int = -1
    epoch: int = -1
    seq: int = -1
    credit: int | None = None
    history: int | None = None


_reply = msgspec.msgpack.Decoder(Reply)


def key_of(kept: Kept) -> Key:
    return kept.stream.epoch, kept.stream.channel, kept.n_channels


class Flow:
    """Frames from the backlog over the link, in an order that loses and doubles nothing.

    A frame is numbered in the spool before it goes, so that a process that dies in between sends it again under the same number.
    """

    def __init__(
        self,
        link: Link,
        spool: Spool | None,
        epoch: int,
        counts: dict[Key, Count],
        *,
        queue_bytes: int,
        resend_s: float,
        historical_s: float | None,
        on_refused: Callable[[Stream, int, str], None] | None,
    ) -> None:
        self.backlog, self.counts, self.credit = Backlog(), counts, FIRST_CREDIT
        self.history = FIRST_HISTORY  # bytes of it under way at most
        self.acked = self.refused = self.resent = 0
        self.reasons: dict[str, int] = {}
        self.finishing = False
        self._at_once = AT_ONCE
        self._link, self._spool, self._epoch = link, spool, epoch
        self._queue_bytes, self._resend_s, self._historical_s = queue_bytes, resend_s, historical_s
        self._on_refused = on_refused
        self._once: deque[bytes] = deque(maxlen=100)
        self._newest_sent: dict[Key, int] = {}  # sample_index
        self._last_taken: dict[Key, float] = {}
        self._strangers: set[Stream] = set()  # streams of an earlier epoch that the service has said nothing of yet
        self._number = self._silent = 0
        self._progress = time.monotonic()

    # -- taking ---------------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """What an earlier process left: numbered frames go again under their numbers, the rest is history."""
        for saved in self._spool.found.saved if self._spool is not None else ():
            kept = kept_of(saved.number, saved.header, saved.size, 0.0, fixed=saved.fixed)
            if not saved.fixed:
                kept.seq, kept.historical = saved.seq, saved.historical or saved.seq < 0
                if kept.stream.epoch != self._epoch:
                    self._strangers.add(kept.stream)
            self.backlog.take(kept)

    def take(self, frame: bytes, *, fixed: bool) -> None:
        if self._spool is not None:
            number = self._spool.take(frame, fixed=fixed)
            if self._spool.full:
                self._tidy(self._spool)
        else:
            number = self._number = self._number + 1
        kept = kept_of(number, frame, len(frame), time.monotonic(), fixed=fixed)
        kept.frame = frame
        self._last_taken[key_of(kept)] = kept.taken
        self.backlog.take(kept)

    def _tidy(self, spool: Spool) -> None:
        """A new segment; and where acknowledged frames between kept ones hold much of the disk, the kept ones move."""
        spool.begin(self._epoch, self.counts)
        if spool.bytes <= 2 * self._queue_bytes + (4 << 20):
            return
        oldest = spool.oldest()
        for kept in [kept for kept in self.backlog if kept.number in oldest]:
            spool.move(kept.number, kept.seq, historical=kept.historical, fixed=kept.fixed)
        spool.clean()

    def say(self, data: bytes) -> None:
        """Once, unkept: hello, bye, state of health."""
        self._once.append(data)

    def drop_oldest(self) -> Kept | None:
        kept = self.backlog.drop_oldest()
        if kept is not None and self._spool is not None:
            self._spool.done(kept.number)
        return kept

    # -- sending --------------------------------------------------------------------------------------------------

    def pump(self, wait_s: float) -> None:
        self._send_some()
        heard = self._link.hear(wait_s)
        for body in heard:
            self._hear(body)
        if heard or wait_s > 0:
            self._send_some()
        if self.backlog.flying_bytes and time.monotonic() - self._progress > self._resend_s:
            self._silent += 1
            if self._silent >= SILENT_ROUNDS:
                self._link.renew()
                self._silent = 0
            self._recall()
            self._send_some()

    def _recall(self) -> None:
        self.resent += self.backlog.recall()
        self._progress = time.monotonic()

    def _send_some(self) -> None:
        self._at_once = self.backlog.flying_history + AT_ONCE
        if self._link.was_lost():
            self._recall()
        while self._once and self._link.send(self._once[0]):
            self._once.popleft()
        if self._historical_s is not None:
            for aged in self.backlog.age(time.monotonic() - self._historical_s):
                if self._spool is not None:
                    aged.frame = b""  # it is on disk
        while (lane := self._next_lane()) is not None and self._link.takes():
            if self._link.was_lost():  # and made again since the last frame: else that one would stand before what got lost
                self._recall()
            elif not self._send_first(lane):
                return

    def _next_lane(self) -> deque[Kept] | None:
        """Where the next frame comes from that may go now: sent ones first, live ones before history."""
        b = self.backlog
        if b.again:
            return b.again if self._fits(b.again[0]) else None
        if self._strangers:
            if b.next_history(lambda kept: kept.stream in self._strangers and kept.stream not in b.flying):
                return b.history if self._fits(b.history[0]) else None
            if any(stream in b.flying for stream in self._strangers):
                return None  # a stream the service never met looks newer than ours: it must be met before ours begins
            self._strangers.clear()
        if b.live:
            return b.live if self._fits(b.live[0]) else None
        if b.history and b.next_history(self._may_go) and self._fits(b.history[0]):
            share = min(self.credit // 2, self.history, self._at_once)
            if not b.flying_history or b.flying_history + b.history[0].share <= share:
                return b.history
        return None

    def _fits(self, kept: Kept) -> bool:
        flying = self.backlog.flying_bytes
        return not flying or flying + kept.size <= self.credit

    def _may_go(self, kept: Kept) -> bool:
        """History goes behind something newer of its stream, so that it is behind for the service too; or when nothing comes."""
        key = key_of(kept)
        if self.finishing or kept.stream.epoch != self._epoch or self._newest_sent.get(key, -1) > kept.index:
            return True
        return time.monotonic() - self._last_taken.get(key, self._progress) > (self._historical_s or 0.0)

    def _send_first(self, lane: deque[Kept]) -> bool:
        kept = lane[0]
        fresh = kept.seq < 0
        if not kept.frame:
            assert self._spool is not None
            kept.frame = self._spool.frame(kept.number)
        if fresh:
            count = self.counts.setdefault(key_of(kept), Count())
            if self._spool is not None:
                self._spool.send(kept.number, count.seq, historical=kept.historical)
            kept.seq, count.seq = count.seq, count.seq + 1
        if not kept.fixed and (fresh or lane is self.backlog.again):
            kept.frame = numbered(kept.frame, kept.seq, historical=kept.historical)
        if not self.backlog.flying_bytes:
            self._progress = time.monotonic()
        self.backlog.fly(lane)
        if kept.index > self._newest_sent.get(key_of(kept), -1):
            self._newest_sent[key_of(kept)] = kept.index
        return self._link.send(kept.frame)

    # -- hearing --------------------------------------------------------------------------------------------------

    def _hear(self, body: bytes) -> None:
        try:
            said = _reply.decode(body)
        except (msgspec.MsgspecError, ValueError):
            return
        self._silent = 0
        if said.credit is not None:
            self.credit = said.credit
        stream = Stream(said.device, said.channel, said.epoch)
        if said.ack is not None:
            self.history = said.history if said.history is not None else HISTORY_BYTES
            self.acked += self._settle(stream, said.ack, cumulative=True)
        elif said.refused is not None:
            self.reasons[said.refused] = self.reasons.get(said.refused, 0) + 1
            self.refused += self._settle(stream, said.seq, cumulative=False)
            if self._on_refused is not None:
                self._on_refused(stream, said.seq, said.refused)

    def _settle(self, stream: Stream, seq: int, *, cumulative: bool) -> int:
        self._strangers.discard(stream)
        gone = self.backlog.settle(stream, seq, cumulative=cumulative)
        if gone:
            self._progress = time.monotonic()
        if gone and self._spool is not None:
            for kept in gone:
                self._spool.done(kept.number)
            self._spool.clean()
        return len(gone)
