"""The desk: sole owner of the outbox, of the live view and of the feed.

Alarms come in order from the engine's thread. They are committed first, many at once, then published; a snapshot
handed over behind them is kept only when they are safe, because the queue keeps its order: none forgets an alarm. The keeper
writes it; what it then makes superfluous of the journal is let go here.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq

from lifeline_core import wire
from lifeline_core.alarms.levels import named
from lifeline_core.domains import Levels
from lifeline_core.errors import LifelineError
from lifeline_core.model import Alarm, Client
from lifeline_core.service.archivist import Archivist
from lifeline_core.service.bell import Bell
from lifeline_core.service.consumers import Consumers, Losses
from lifeline_core.service.guard import Guard
from lifeline_core.service.keeper import Keeper
from lifeline_core.service.live import Live
from lifeline_core.service.log import Log
from lifeline_core.service.priority import with_others
from lifeline_core.service.requests import MAX_PARTS, Answer, Requests, pack_reply, refusal
from lifeline_core.service.waiting import Waiting
from lifeline_core.store.journal import Journal
from lifeline_core.store.outbox import Outbox

IDLE_MS = 500
RETRY_S = 1.0  # after the outbox could not commit
PRUNE_S = 3600.0
ARCHIVE_S = 1.0  # between two passes over the journal for evidence
LAST_PASS_S = 30.0
LOOK_S = 1.0  # between two looks at who reads
REQUESTS = 64  # of one round, before alarms are looked at again


@dataclass(frozen=True, slots=True)
class Alarms:
    alarms: Sequence[Alarm]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One is whole in the keeper's hands."""


Job = Alarms | Snapshot | Answer


class Desk(threading.Thread):
    """Serves until `finish`, then empties its queue. `hand`, `hand_snapshot`, `answer` and the `keeper` are for other threads."""

    def __init__(
        self,
        outbox: Outbox,
        journal: Journal,
        live: zmq.Socket[bytes],
        feed: zmq.Socket[bytes],
        bell: Bell,
        requests: Requests,
        log: Log,
        *,
        directory: Path,
        keep_bytes: int,
        retain_days: int,
        pressed: Callable[[], bool],
        failed: Callable[[str], None],
        archivist: Archivist,
        guard: Guard | None = None,
        levels: Mapping[str, Levels] | None = None,
        config_hash: str = "",
        dropped: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        super().__init__(name="desk", daemon=True)
        self._outbox, self._journal, self.live, self._feed, self._bell, self._log = (
            outbox,
            journal,
            Live(live),
            feed,
            bell,
            log,
        )
        self._requests, self._waiting = requests, Waiting(outbox)
        self.consumers, self._losses, self._dropped = Consumers(outbox, config_hash), Losses(config_hash), dropped
        self._next_look = 0.0
        self.keeper = Keeper(directory, self._stands)
        self._kept: deque[tuple[int | None, str]] = deque()  # what the keeper said
        self._keep_bytes, self._retain_days = keep_bytes, retain_days
        self._pressed, self._failed, self._guard = pressed, failed, guard
        self._archivist = archivist
        self._levels = levels or {}
        self._archiving: Future[None] | None = None
        self._next_archiving = 0.0
        self._jobs: deque[Job] = deque()
        self._backlog = self._snapshots = 0
        self._lock = threading.Lock()
        self._running = True
        self._not_before = 0.0
        self._next_prune = time.monotonic() + PRUNE_S
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="evidence", initializer=with_others)
        self.rounds = 0
        self.trouble = ""  # why the outbox does not commit just now
        self.counts: Counter[str] = Counter()

    # -- from other threads ---------------------------------------------------------------------------------------

    def hand(self, alarms: Sequence[Alarm]) -> None:
        if alarms:
            with self._lock:
                self._backlog += len(alarms)
                self._jobs.append(Alarms(alarms))
            self._bell.ring()

    def hand_snapshot(self) -> None:
        """What the keeper was given since it opened one is whole: keep it once the alarms handed over before are safe."""
        with self._lock:
            self._snapshots += 1
            self._jobs.append(Snapshot())
        self._bell.ring()

    def _stands(self, recoverable: int | None, trouble: str) -> None:
        self._kept.append((recoverable, trouble))
        self._bell.ring()

    def answer(self, token: object, said: dict[str, Any]) -> None:
        """The reply to a request this desk sent on its way; it leaves after the alarms handed over before."""
        with self._lock:
            self._jobs.append(Answer(token, said))
        self._bell.ring()

    def backlog(self) -> int:
        """Alarms not yet committed."""
        return self._backlog

    def snapshot_waits(self) -> bool:
        """Whether one handed over does not stand yet."""
        return self._snapshots > 0

    def finish(self) -> None:
        self._running = False
        self._bell.ring()

    # -- the thread -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._feed, zmq.POLLIN)
        poller.register(self._bell.fileno(), zmq.POLLIN)
        self.keeper.start()
        try:
            while self._running:
                self.rounds += 1
                poller.poll(self._sleep_ms())
                self._round()
            self._requests.close()
            self._bell.clear()
            self._look(ending=True)
            self._work()
            self.keeper.finish()
            self.keeper.join()
            self._release()
            if self._archivist.busy():
                self._pass_once_more()
        except Exception as error:
            self._log.error("desk-failed", error=str(error), exc_info=True)
            self._failed(f"desk: {error}")
        finally:
            self.keeper.finish()
            self._worker.shutdown(wait=True, cancel_futures=True)
            for socket in (self.live, self._feed):
                socket.close(500 if not self._running else 0)  # linger: the last alarms and answers

    def _pass_once_more(self) -> None:
        try:
            self._worker.submit(self._archivist.step).result(LAST_PASS_S)
        except TimeoutError:  # the next start goes on where it is
            self._log.warning("evidence-waits", seconds=LAST_PASS_S)

    def _sleep_ms(self) -> int:
        if self._jobs:
            return max(1, int((self._not_before - time.monotonic()) * 1000)) if self.trouble else 0
        return min(IDLE_MS, self._waiting.sleep_ms())

    def _round(self) -> None:
        self._bell.clear()
        self._work()
        if self.trouble:
            self._answer_meanwhile()
        self._release()
        for _ in range(REQUESTS):
            try:
                parts, asker = self._receive()
            except zmq.Again:
                break
            self._request(parts, asker)
        for envelope, reply in self._waiting.due():
            self._send(envelope, reply)
        self._archive()
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_S
            self._look()
        if time.monotonic() >= self._next_prune:
            self._next_prune = time.monotonic() + PRUNE_S
            self._prune()

    def _receive(self) -> tuple[list[bytes], Client | None]:
        """A request's parts, and whose key they came under; zmq.Again with none."""
        if self._guard is None:
            return self._feed.recv_multipart(zmq.DONTWAIT), None
        frames = self._feed.recv_multipart(zmq.DONTWAIT, copy=False)
        return [frame.bytes for frame in frames], self._guard.reader(str(frames[-1].get("User-Id")))

    def _archive(self) -> None:
        """Let the worker look after the captures, now and then and one pass at a time."""
        now = time.monotonic()
        if now < self._next_archiving or not self._archivist.busy() or (self._archiving and not self._archiving.done()):
            return
        self._next_archiving = now + ARCHIVE_S
        self._archiving = self._worker.submit(self._archivist.step)

    def _request(self, parts: list[bytes], asker: Client | None) -> None:
        self.counts["requests"] += 1
        *envelope, body = parts
        if len(parts) > MAX_PARTS or not envelope:
            self.counts["bad_requests"] += 1
            return
        try:
            reply = self._requests.take(envelope, body, self._outbox, self._waiting, self._worker, self.answer, asker)
        except ValueError as error:
            reply = refusal("bad-request", str(error))
        except (LifelineError, OSError) as error:
            self._log.error("request-failed", error=str(error), exc_info=True)
            reply = refusal("store", str(error))
        if reply is not None:
            self._send(envelope, reply)

    def _send(self, envelope: list[bytes], reply: dict[str, Any]) -> None:
        if not reply["ok"]:
            self.counts["refused_requests"] += 1
        try:
            self._feed.send_multipart([*envelope, pack_reply(reply)], zmq.DONTWAIT)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            self.counts["unreachable"] += 1  # it asks again: reading without ack repeats

    def _work(self) -> None:
        """Jobs in order; consecutive alarms in one commit. A failed commit leaves them at the head."""
        while self._jobs and time.monotonic() >= (self._not_before if self._running else 0):
            batch: list[Alarm] = []
            taken = 0
            while taken < len(self._jobs) and isinstance(job := self._jobs[taken], Alarms) and len(batch) < 5000:
                batch += job.alarms
                taken += 1
            if batch:
                if not self._commit(batch):
                    return
                with self._lock:
                    self._backlog -= len(batch)
                for _ in range(taken):
                    self._jobs.popleft()
                continue
            job = self._jobs.popleft()
            if isinstance(job, Snapshot):
                self.keeper.keep()
            elif isinstance(job, Answer):
                self._answer(job)

    def _commit(self, alarms: list[Alarm]) -> bool:
        try:
            fresh = self._outbox.put([named(a, self._levels) for a in alarms], time.time_ns())
        except Exception as error:  # disk full, I/O error: keep them, say so, try again
            self.trouble = str(error) or repr(error)
            self._not_before = time.monotonic() + RETRY_S
            self.counts["commit_errors"] += 1
            self._log.error("outbox-failed", error=self.trouble, alarms=len(alarms), exc_info=True)
            return False
        self.trouble = ""
        self.counts["alarms"] += len(fresh)
        self.counts["seen_before"] += len(alarms) - len(fresh)
        for alarm in fresh:
            topic = f"alarm/{alarm.severity}/{alarm.domain}/{alarm.site}/{alarm.watch}".encode()
            self.live.send(topic, wire.alarm_to_bytes(alarm))
        self._archivist.hear(fresh)
        return True

    def _release(self) -> None:
        """Snapshots that stand by now, and the journal they make superfluous."""
        while self._kept:
            recoverable, trouble = self._kept.popleft()
            try:
                if recoverable is None:
                    raise LifelineError(trouble)
                self.counts["snapshots"] += 1
                self._journal.release(self._unneeded(recoverable))
            except (LifelineError, OSError) as error:
                self.counts["snapshot_errors"] += 1
                self._log.error("snapshot-not-saved", error=str(error))
            finally:
                with self._lock:
                    self._snapshots -= 1

    def _unneeded(self, position: int) -> int:
        """What the snapshots stand for goes, but for a stretch that is kept as evidence while there is room."""
        doubtful = self._journal.durability == "disk" and self._journal.synced < position
        if doubtful or self._pressed():
            return position
        end = self._journal.end
        late = end - self._keep_bytes - self._keep_bytes // 4  # who needs more than that has fallen behind
        wanted = min(position, end - self._keep_bytes, max(late, self._archivist.needed()))
        return max(self._journal.first, wanted)

    def _answer_meanwhile(self) -> None:
        """Replies behind alarms that cannot be committed: what an operator's step made waits for them, nothing else does."""
        with self._lock:
            free = [job for job in self._jobs if isinstance(job, Answer) and not job.said.get("alarms")]
            for job in free:
                self._jobs.remove(job)
        for job in free:
            self._answer(job)

    def _answer(self, job: Answer) -> None:
        envelope = self._requests.envelope(job.token)
        if envelope is not None:
            self._send(envelope, job.said)

    @property
    def turned_away(self) -> int:
        """Readers that could not wait for their alarm."""
        return self._waiting.turned_away

    def _look(self, *, ending: bool = False) -> None:
        """Who is behind and what was given up, as alarms."""
        try:
            t_ns = time.time_ns()
            self.hand(self.consumers.look(t_ns, ending=ending) + self._losses.look(self._dropped(), t_ns, ending=ending))
        except LifelineError as error:
            self._log.error("consumers-unknown", error=str(error))

    def _prune(self) -> None:
        try:
            self._outbox.prune(time.time_ns(), self._retain_days)
        except Exception as error:
            self._log.error("prune-failed", error=str(error), exc_info=True)
