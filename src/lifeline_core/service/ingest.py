"""The ingest thread: sole owner of the device socket, sole writer of the journal, keeper of the only clock.

::

    devices -> drain -> journal      frames, as they came; nothing is decoded here; history past its share waits in the hall
    clock   -> tick  -> journal      once a second, never smaller than the last
    desk    -> command -> journal    operators, in their place among the frames
    devices <- replies <- engine

The journal is the queue: when its budget is spent nothing more is read, and ZeroMQ and TCP hold the devices back.
"""

from __future__ import annotations

import select
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np
import zmq

from lifeline_core.errors import StoreError
from lifeline_core.model import NS, Alarm, Client
from lifeline_core.service.backlog import FRAME_COST
from lifeline_core.service.bell import Bell
from lifeline_core.service.deadletters import DeadLetterBox
from lifeline_core.service.guard import FOREIGN, REASONS, Guard
from lifeline_core.service.hall import CROWDED, WAITS, Hall, Waiting
from lifeline_core.service.log import Log
from lifeline_core.service.receive import ENDED, FRAME, RUBBISH, Batch, Receiver, open_receiver
from lifeline_core.service.replies import Replies
from lifeline_core.service.trouble import Standing, overload_alarm
from lifeline_core.store.journal import COMMAND, TICK, Journal

IDLE_MS = 200  # longest sleep; the bell, a message or the next tick end it before
FULL_S = 0.005  # between two tries when the journal is full
COMMANDS = 1000  # waiting to be journalled
SECOND = 1.0
FAR_NS = 3600 * NS  # ticks ahead of the wall clock
QUIET_NS = 60 * NS  # without being held back, until the overload alarm is cleared
WHOSE = struct.Struct("<IHHIIQ")  # device, channel, n_channels, epoch, clock_sd_us, seq of a header

_pack = msgspec.msgpack.Encoder().encode


class Ingest(threading.Thread):
    """Reads until `stop_reading`, goes on replying until `finish`; `failed` says why it ended before."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        journal: Journal,
        bell: Bell,
        replies: Replies,
        box: DeadLetterBox,
        log: Log,
        *,
        arena_bytes: int,
        receiver: str,
        guard: Guard | None = None,
        hall: Hall,
        last_tick_ns: int,
        appended: Callable[[], None],
        failed: Callable[[str], None],
        alarmed: Callable[[Sequence[Alarm]], None],
        config_hash: str = "",
    ) -> None:
        super().__init__(name="ingest", daemon=True)
        self._socket, self._journal, self._bell, self._replies, self._box, self._log = (
            socket,
            journal,
            bell,
            replies,
            box,
            log,
        )
        self._appended, self._failed, self._alarmed, self._guard, self.hall = appended, failed, alarmed, guard, hall
        self._wall_ns, self._steady_ns, self._last_tick_ns = time.time_ns, time.monotonic_ns, last_tick_ns
        self._last_steady_ns = self._steady_ns()
        self._next_tick = 0.0
        self._overload = Standing(lambda facts, t_ns: overload_alarm(facts, t_ns, config_hash), QUIET_NS)
        self._told_times = self._told_crowded = 0
        self._renewal: Mapping[str, Client] | None = None
        self.rounds = 0
        self._commands: deque[dict[str, Any]] = deque()
        self._reading, self._running = True, True
        self.idle = threading.Event()  # after stop_reading: everything read is in the journal
        self.blocked = False  # the journal's budget is spent
        self.blocked_times = 0
        self.receiver: Receiver
        keys = guard.keys if guard is not None else ()
        self.receiver, why = open_receiver(socket, bell.fileno(), arena_bytes=arena_bytes, receiver=receiver, keys=keys)
        if why:
            log.warning("plain-receiver", why=why)

    def command(self, record: dict[str, Any]) -> bool:
        """Journal an operator's command, with the time of its writing; False when it cannot be soon."""
        if self.blocked or len(self._commands) >= COMMANDS or not self._reading:
            return False
        self._commands.append(record)
        self._bell.ring()
        return True

    def renew(self, clients: Mapping[str, Client]) -> None:
        """Other clients from the next batch on."""
        self._renewal = clients
        self._bell.ring()

    def refused(self) -> dict[str, int]:
        """What never came to the journal, by reason."""
        counts = {"multipart": self.receiver.counts()["rubbish"]}
        if self._guard is not None:
            counts |= {reason: self._guard.counts[reason] for reason in REASONS.values()}
        counts["history-full"] = self.hall.crowded
        return {reason: n for reason, n in counts.items() if n}

    def stop_reading(self) -> None:
        self._reading = False
        self._bell.ring()

    def finish(self) -> None:
        self._running = False
        self._bell.ring()

    def run(self) -> None:
        try:
            self._read()
            self.idle.set()
            self._only_reply()
        except zmq.ZMQError as error:
            if error.errno not in ENDED or self._running:
                self._fail(error)
        except Exception as error:  # the thread's last word; the service stops, devices keep what was not acknowledged
            self._fail(error)
        finally:
            self.idle.set()
            self.receiver.close()
            self._socket.close(500 if not self._running else 0)  # linger: the last acknowledgements

    def _fail(self, error: Exception) -> None:
        self._log.error("ingest-failed", error=str(error), exc_info=True)
        self._failed(f"ingest: {error}")

    def _read(self) -> None:
        while self._reading:
            self.rounds += 1
            self._tick()
            self._write_commands()
            if self._renewal is not None and self._guard is not None:
                renewal, self._renewal = self._renewal, None
                self._guard.renew(renewal)
                self.receiver.know(self._guard.keys)
            wait = (
                5
                if self._replies.waiting() or self.hall.frames
                else min(IDLE_MS, max(1, int((self._next_tick - time.monotonic()) * 1000)))
            )
            batch = self.receiver.drain(wait)
            if self.receiver.woken:  # otherwise it stays rung, and what it announces is looked at in every round anyhow
                self._bell.clear()
            if len(batch):
                self._keep(batch)
            self._admit(self.hall.admit())
            self._replies.send(self.receiver)
        self._admit(self.hall.admit(everything=True))
        self._write_commands()
        self._look(self._now_ns(), ending=True)

    def _only_reply(self) -> None:
        while self._running:
            self.rounds += 1
            self._bell.clear()
            self._replies.send(self.receiver)
            select.select([self._bell], [], [], 0.005 if self._replies.waiting() else IDLE_MS / 1000)
        self._replies.send(self.receiver, all_of_them=True)

    def _tick(self) -> None:
        now = time.monotonic()
        if now < self._next_tick:
            return
        self._next_tick = now + SECOND if now - self._next_tick > SECOND else self._next_tick + SECOND
        t_ns = self._now_ns()
        try:
            self._journal.append(TICK, struct.pack("<q", t_ns))
        except (BufferError, StoreError) as error:
            self._log.warning("tick-not-kept", error=str(error))
        else:
            self._appended()
        self._look(t_ns)

    def _look(self, t_ns: int, *, ending: bool = False) -> None:
        """What is wrong with receiving, as alarms."""
        if self._guard is not None:
            self._alarmed(self._guard.tick(t_ns, ending=ending))
        facts = {"times": self.blocked_times, "journal_bytes": self._journal.end - self._journal.first,
                 "history_full": self.hall.crowded}
        happened = self.blocked or (self.blocked_times, self.hall.crowded) != (self._told_times, self._told_crowded)
        self._told_times, self._told_crowded = self.blocked_times, self.hall.crowded
        self._alarmed(self._overload.tick(t_ns, happened, facts, ending=ending))

    def _now_ns(self) -> int:
        """The wall clock, but never back, and never standing still: silence is told by it, and a clock may have been set back.

        What is then too far on goes on at half its pace until the wall clock has caught up; by `FAR_NS` and more it was no
        drift but a wrong date, which may never be caught up with, and it keeps its pace.
        """
        wall, steady = self._wall_ns(), self._steady_ns()
        passed, self._last_steady_ns = steady - self._last_steady_ns, steady
        ahead = self._last_tick_ns - wall
        if ahead > 0:
            self._log.warning("clock-went-back", seconds=ahead / NS)
            wall = self._last_tick_ns + (passed if ahead > FAR_NS else passed // 2)
        self._last_tick_ns = max(wall, self._last_tick_ns)
        return self._last_tick_ns

    def _write_commands(self) -> None:
        while self._commands:
            record = self._commands.popleft()
            record["t_ns"] = self._now_ns()
            if self._when_there_is_room(partial(self._journal.append, COMMAND, _pack(record))):
                self._appended()

    def _keep(self, batch: Batch) -> None:
        """Into the journal in the order of arrival, one append for each run of one kind that fits half a segment."""
        if self._guard is not None:
            self._guard.judge(batch)
        past = self.hall.sort(batch)
        kinds = batch.kinds
        for start, stop in self._runs(batch):
            kind = int(kinds[start])
            if kind == RUBBISH:
                self._aside("multipart", batch, start, stop)
            elif kind in REASONS:
                self._aside(REASONS[kind], batch, start, stop)
                if kind == FOREIGN:
                    self._tell(REASONS[kind], batch, start, stop)
            elif kind not in (WAITS, CROWDED):
                self._when_there_is_room(partial(batch.append, self._journal, kind, start, stop))
        self.hall.note(past, self._journal.end)
        self._appended()

    def _admit(self, waited: Sequence[Waiting]) -> None:
        """Frames out of the hall into the journal, as `_keep`."""
        half = self._journal.segment_bytes // 2
        while waited:
            ends = np.cumsum([len(one.frame) for one in waited])
            n = max(1, int(np.searchsorted(ends, half, side="right")))
            part, waited = waited[:n], waited[n:]
            lengths = np.array([len(one.frame) for one in part], np.int64)
            sources = np.array([one.source for one in part], np.uint32)
            buf = np.frombuffer(b"".join(one.frame for one in part), np.uint8)
            append = partial(self._journal.append_batch, FRAME, buf, np.cumsum(lengths) - lengths, lengths, sources)
            if self._when_there_is_room(append):
                self.hall.note(int(lengths.sum()) + FRAME_COST * len(part), self._journal.end)
            self._appended()

    def _runs(self, batch: Batch) -> list[tuple[int, int]]:
        """Of one kind each, and not much more than half a segment: an append is all or nothing, and must fit when one is free."""
        half = self._journal.segment_bytes // 2
        if self._guard is None and not self.hall.marked and batch.size <= half and batch.plain:
            return [(0, len(batch))]
        kinds, pieces = batch.kinds, (np.cumsum(batch.lengths) - batch.lengths) // half
        cuts = np.flatnonzero((kinds[1:] != kinds[:-1]) | (pieces[1:] != pieces[:-1])) + 1
        starts = [0, *cuts.tolist()]
        return list(zip(starts, [*starts[1:], len(batch)], strict=True))

    def _aside(self, reason: str, batch: Batch, start: int, stop: int) -> None:
        for k in range(start, stop):
            if self._box.wants(reason):
                self._box.put(reason, batch.payload(k))

    def _tell(self, reason: str, batch: Batch, start: int, stop: int) -> None:
        """A frame that will never be taken is answered, so that its sender need not keep it."""
        for k in range(start, stop):
            payload = batch.payload(k)
            if batch.lengths[k] >= 32 and payload[:4] == b"LLF1":
                device, channel, _, epoch, _, seq = WHOSE.unpack_from(payload, 8)
                self._replies.refused(int(batch.sources[k]), reason, device, channel, epoch, seq)

    def _when_there_is_room(self, append: Callable[[], int]) -> bool:
        """Try until the engine has given journal back; meanwhile only replies go on. False at the service's end."""
        while self._running:
            self.rounds += 1  # waiting for the engine is no hanging: that one is looked at by itself
            try:
                append()
            except (BufferError, StoreError) as error:  # the budget, or the disk, is spent; nothing was written
                if not self.blocked:
                    self.blocked = True
                    self.blocked_times += 1
                    self._log.warning("journal-full", error=str(error))
                    self._look(self._now_ns())
                self._appended()
                self._replies.send(self.receiver)
                time.sleep(FULL_S)
            else:
                self.blocked = False
                return True
        return False
