"""The engine's thread: the journal's only reader, from the snapshot's position to its end and on.

::

    journal -> runs of one kind -> engine -> alarms   -> desk
                                          -> receipts -> replies, dead letters
    every few seconds: (position, engine state) -> keeper, kept by the desk behind every alarm that led to it

Frames, ticks and commands reach the engine in journal order, so the same journal gives the same alarms however it is
read. A record that makes the engine raise is set aside; the ones beside it are taken one by one. The state of a snapshot is
gathered between batches, a slice of time at a time.
"""

from __future__ import annotations

import math
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lifeline_core.engine import Engine
from lifeline_core.errors import CommandRefused, StoreError
from lifeline_core.model import Alarm, City
from lifeline_core.runs import Saving
from lifeline_core.service.deadletters import DeadLetterBox
from lifeline_core.service.desk import Desk
from lifeline_core.service.log import Log
from lifeline_core.service.recovery import pack_head
from lifeline_core.service.replies import Replies, Stream
from lifeline_core.store.journal import COMMAND, FRAME, GATEWAY, TICK, Journal

READ_BYTES = 4 << 20
IDLE_S = 0.1
PRESSED_S = 0.05  # between two snapshots while the journal is full
SLICE_S = 0.002  # gathering a snapshot, between two batches
SLICE_SHARE = 0.25  # of what the batch took, where that is more
TICK_S = 1.5  # a snapshot that is due waits so long for a tick
ALARMS_AHEAD = 20_000  # the engine waits for the desk past that

Run = tuple[Any, NDArray[np.int64], NDArray[np.int64], NDArray[np.uint32]]  # buf, offsets, lengths, sources


class Runner(threading.Thread):
    """Runs until `finish`, then to the journal's end, then hands over a last snapshot."""

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        desk: Desk,
        replies: Replies,
        box: DeadLetterBox,
        log: Log,
        *,
        position: int,
        tick_ns: int,
        snapshot_s: float,
        snapshot_bytes: int,
        durable: bool,
        pressed: Callable[[], bool],
        refused: Callable[[], dict[str, int]],
        failed: Callable[[str], None],
    ) -> None:
        super().__init__(name="engine", daemon=True)
        self._engine, self._journal, self._desk, self._replies, self._box, self._log = (
            engine,
            journal,
            desk,
            replies,
            box,
            log,
        )
        self._snapshot_s, self._snapshot_bytes, self._durable = snapshot_s, snapshot_bytes, durable
        self._pressed, self._refused, self._failed = pressed, refused, failed
        self.position = self._saved = position
        self.tick_ns = tick_ns
        self._recover_to = journal.end
        self._last_snapshot = time.monotonic()
        self._saving: Saving | None = None  # a snapshot that is being gathered
        self._more = threading.Event()
        self._finishing = self._given_up = False
        self._requests: deque[Callable[[], None]] = deque()
        self._acks: dict[Stream, int] = {}
        self._unsafe: deque[tuple[int, dict[Stream, int]]] = deque()  # (position, what may be said once it is safe)
        self.recovered = threading.Event()
        self.counts: Counter[str] = Counter()
        self.rounds = 0

    # -- from other threads ---------------------------------------------------------------------------------------

    def more(self) -> None:
        """There is something new in the journal."""
        self._more.set()

    def finish(self) -> None:
        self._finishing = True
        self._more.set()

    def give_up(self) -> None:
        """End behind the batch under way, with a snapshot there."""
        self._given_up = True

    def change(self, city: City) -> None:
        """Another configuration from the next batch on; returns once it holds."""
        done = threading.Event()
        self._requests.append(lambda: self._change(city, done))
        self._more.set()
        while self.is_alive() and not done.wait(0.5):
            pass

    def stats(self) -> Future[dict[str, Any]]:
        """The engine's counters, taken between two batches."""
        future: Future[dict[str, Any]] = Future()
        self._requests.append(lambda: future.set_result(self._stats()))
        self._more.set()
        return future

    # -- the thread -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        try:
            while True:
                self.rounds += 1
                self._serve_requests()
                finishing = self._finishing
                if self._step() and not self._given_up:
                    continue
                if finishing:
                    break
                if self._saving is not None and not self._desk.keeper.behind():
                    continue
                self._more.wait(IDLE_S if self._saving is None else PRESSED_S)
                self._more.clear()
            self._snapshot_now()
            self._serve_requests()
        except Exception as error:  # the journal cannot be read or synced: stop, and begin again from the snapshot
            self._log.error("engine-thread-failed", error=str(error), exc_info=True)
            self._failed(f"engine: {error}")

    def _step(self) -> bool:
        """One read of the journal; whether there was anything."""
        began, tick_ns = time.monotonic(), self.tick_ns
        records = self._journal.read(self.position, READ_BYTES)
        moved = bool(records.next != self.position)
        if moved:
            self._process(records)
            self.position = records.next
        if self._unsafe:
            self._acknowledge()
        if moved:
            while self._desk.backlog() > ALARMS_AHEAD and not self._finishing:
                time.sleep(0.01)
        if not self.recovered.is_set() and self.position >= self._recover_to:
            self.recovered.set()
            self._log.info("recovered", records=self.counts["records"])
        if self._saving is not None:
            self._gather(max(SLICE_S, SLICE_SHARE * (time.monotonic() - began)))
        elif self._snapshot_due(self.tick_ns != tick_ns):
            self._begin_snapshot()
        return moved

    def _acknowledge(self) -> None:
        """What is safe: in the journal, and with durability "disk" also on the disk."""
        safe = self.position
        if self._durable:
            try:
                safe = self._journal.sync()
            except StoreError as error:  # not acknowledged until a snapshot stands for those records, or for ever
                self.counts["sync_errors"] += 1
                self._log.error("journal-not-synced", error=str(error))
                safe = self._journal.synced
        while self._unsafe and self._unsafe[0][0] <= safe:
            self._replies.acks(self._unsafe.popleft()[1].items())

    def _process(self, records: Any) -> None:
        kinds = np.where(records.kinds == GATEWAY, FRAME, records.kinds)  # the engine tells the two apart
        cuts = np.flatnonzero(kinds[1:] != kinds[:-1]) + 1
        starts = [0, *cuts.tolist()] if len(kinds) else []
        for start, stop in zip(starts, [*starts[1:], len(kinds)], strict=False):
            part = slice(start, stop)
            run = (records.buf, records.offsets[part], records.lengths[part], records.sources[part])
            if kinds[start] == FRAME:
                self._frames(run)
            else:
                self._singles(int(kinds[start]), run)
        self.counts["records"] += len(kinds)
        if self._acks:
            self._unsafe.append((records.next, self._acks))
            self._acks = {}

    def _frames(self, run: Run) -> None:
        """A run of frames; where the engine raises, one by one, and the one that does it goes to the dead letters."""
        buf, offsets, lengths, _ = run
        try:
            alarms = self._engine.push_batch(buf, offsets, lengths)
        except Exception as error:  # a fault of this program, not of the frame: it must not stop the others
            self.counts["engine_errors"] += 1
            self._log.error("engine-error", error=repr(error), exc_info=True)
            self._receipts(run)
            if len(offsets) == 1:
                self._set_aside("engine-error", run, 0)
                return
            for k in range(len(offsets)):
                self._frames((buf, offsets[k : k + 1], lengths[k : k + 1], run[3][k : k + 1]))
            return
        self._desk.hand(alarms)
        self._receipts(run)

    def _set_aside(self, reason: str, run: Run, k: int) -> None:
        if self._box.wants(reason):
            self._box.put(reason, _bytes(run, k))

    def _receipts(self, run: Run) -> None:
        receipts = self._engine.take_receipts()
        sources = run[3]
        for device, channel, epoch, ack, record in receipts.acks:
            if ack is not None and ack >= 0:
                self._acks[(int(sources[record]), device, channel, epoch)] = int(ack)
        for device, channel, epoch, record in receipts.hellos:
            self._replies.credit(int(sources[record]), device, channel, epoch)
        for reason, record, device, channel, epoch, seq, sound in receipts.refused:
            self._set_aside(reason, run, record)
            whose = (device, channel, epoch, seq) if sound else _identity_of_map(_bytes(run, record))
            if whose is not None:
                self._replies.refused(int(sources[record]), reason, *whose)

    def _singles(self, kind: int, run: Run) -> None:
        for k in range(len(run[1])):
            body = _bytes(run, k)
            try:
                if kind == TICK:
                    (t_ns,) = struct.unpack("<q", body)
                    self.tick_ns = t_ns
                    self._desk.hand(self._engine.tick(t_ns))
                elif kind == COMMAND:
                    self._command(msgspec.msgpack.decode(body))
                else:
                    self.counts["unknown_records"] += 1
            except Exception as error:
                self.counts["engine_errors"] += 1
                self._log.error(
                    "engine-error", record="tick" if kind == TICK else "command", error=repr(error), exc_info=True
                )
                self._set_aside("engine-error", run, k)

    def _command(self, said: dict[str, Any]) -> None:
        token = said.pop("token", b"")
        alarms: list[Alarm] = []
        answer: dict[str, Any] = {
            "ok": False,
            "error": {"code": "engine-error", "text": "the engine failed; it is in the log"},
        }
        try:
            alarms = self._engine.command(said.pop("alarm_id"), said.pop("action"), **said)
            answer = {"ok": True, "alarms": alarms}
        except CommandRefused as refusal:
            answer = {"ok": False, "error": {"code": refusal.code, "text": str(refusal)}}
        finally:
            self._desk.hand(alarms)
            self._desk.answer(token, answer)

    # -- between batches ------------------------------------------------------------------------------------------

    def _snapshot_due(self, ticked: bool) -> bool:
        """Now and then, after many bytes, and again and again while the writer waits for journal to be given back.

        Mostly right behind a tick: watches that change at ticks (health, one for each device) must be saved before the next.
        """
        if self._desk.snapshot_waits():
            return False
        fresh, since = self.position - self._saved, time.monotonic() - self._last_snapshot
        if self._pressed() and since >= PRESSED_S:
            return fresh >= self._journal.segment_bytes or self.position == self._journal.end
        wait_s = 0.0 if ticked else min(TICK_S, self._snapshot_s)
        return fresh > 0 and (since >= self._snapshot_s + wait_s or fresh >= self._snapshot_bytes)

    def _begin_snapshot(self) -> None:
        """From here on the keeper gets the state of this moment."""
        self._last_snapshot = time.monotonic()
        keeper = self._desk.keeper
        keeper.open(self.position)
        keeper.put(pack_head(self.tick_ns))
        try:
            self._saving = self._engine.begin_save(keeper.put)
        except Exception as error:
            self._drop_snapshot(error)
        else:
            self._saved = self.position

    def _gather(self, seconds: float) -> None:
        """More of it, for so long or until the disk should be waited for."""
        saving, keeper = self._saving, self._desk.keeper
        until = time.monotonic() + seconds
        try:
            while saving is not None and saving.go_on():
                if time.monotonic() >= until or (seconds < math.inf and keeper.behind()):
                    return
        except Exception as error:
            self._drop_snapshot(error)
        else:
            self._saving = None
            keeper.close()
            self._desk.hand_snapshot()

    def _drop_snapshot(self, error: Exception | None = None) -> None:
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.drop()
        if saving is not None or error is not None:
            self._desk.keeper.drop()
        if error is not None:
            self.counts["engine_errors"] += 1
            self._log.error("snapshot-failed", error=repr(error), exc_info=error)

    def _snapshot_now(self) -> None:
        """Of this position and without a pause, where there is none of it yet: at the end, and behind a reload."""
        if self._saved != self.position:
            self._drop_snapshot()  # of an earlier position
            self._begin_snapshot()
        if self._saving is not None:
            self._gather(math.inf)

    def _change(self, city: City, done: threading.Event) -> None:
        try:
            self._drop_snapshot()
            self._engine = Engine.restore(city, self._engine.save())
            for note in self._engine.load_notes:
                self._log.info("reload-note", note=note)
            self._saved = -1
            self._snapshot_now()  # so that a restart goes on from here, not from what the old configuration made of it
        except Exception as error:  # the old engine goes on
            self.counts["engine_errors"] += 1
            self._log.error("reload-failed", error=repr(error), exc_info=True)
        finally:
            done.set()

    def _serve_requests(self) -> None:
        while self._requests:
            self._requests.popleft()()

    def _stats(self) -> dict[str, Any]:
        stats = dict(self._engine.stats())
        stats["refused"] = {**stats["refused"], **self._refused()}  # and before the journal
        for name in ("engine_errors", "sync_errors", "unknown_records"):
            stats[name] = self.counts[name]
        stats["lag_bytes"] = max(0, self._journal.end - self.position)
        return stats


def _bytes(run: Run, k: int) -> bytes:
    start = int(run[1][k])
    return bytes(run[0][start : start + int(run[2][k])])


def _identity_of_map(data: bytes) -> tuple[int, int, int, int] | None:
    """device, channel, epoch and seq of a gateway's map that is refused, if it has them: so it can be told."""
    if not data or not (data[0] & 0xF0 == 0x80 or data[0] in (0xDE, 0xDF)):
        return None
    try:
        said = msgspec.msgpack.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    device, channel, epoch, seq = (said.get(key) for key in ("device", "channel", "epoch", "seq"))
    if isinstance(device, int) and isinstance(channel, int) and isinstance(epoch, int) and isinstance(seq, int):
        return device, channel, epoch, seq
    return None
