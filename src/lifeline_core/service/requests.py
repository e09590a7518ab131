"""What the feed can be asked, and the answers (the table in `OPS`).

Every reply is a map with ``ok``; a refusal has ``error: {code, text}``. Codes of this module: ``bad-message`` (not one
msgpack map), ``too-large``, ``unknown-op``, ``bad-request`` (a key is missing or of the wrong kind), ``bad-cursor``,
``busy``, ``store``, ``not-kept``, ``unknown-alarm``, ``not-allowed``; the engine adds ``bad-transition``, ``bad-action`` and
``bad-shelving``.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from lifeline_core.model import Client
from lifeline_core.service.waiting import Start, Waiting, page
from lifeline_core.store.outbox import Outbox

MAX_PARTS = 16
MAX_BODY = 64 * 1024
MOST_ALARMS = 1000
LONGEST_MS = 60_000
SEARCHES = 8  # for evidence, under way or waiting
PENDING = 4096  # requests on their way through another thread; the oldest is forgotten first

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Text = Annotated[str, msgspec.Meta(max_length=4096)]
Seq = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Reply = dict[str, Any]


class Read(msgspec.Struct):
    consumer: Name | None = None
    after: Seq | None = None
    since_ns: Seq | None = None  # instead of after: from the first alarm published at this time or later
    max: Annotated[int, msgspec.Meta(ge=1)] = 100  # at most MOST_ALARMS come
    wait_ms: Annotated[int, msgspec.Meta(ge=0)] = 0  # at most LONGEST_MS is waited


class Ack(msgspec.Struct):
    consumer: Name
    cursor: Seq


class Command(msgspec.Struct, omit_defaults=True):
    alarm_id: Name
    action: Name
    actor: Name
    reason: Text = ""
    until_ns: Seq | None = None


class Evidence(msgspec.Struct):
    alarm_id: Name
    state: bool = False  # also what the engine had learned before the alarm


class Stats(msgspec.Struct):
    pass


OPS: dict[str, type[msgspec.Struct]] = {
    "read": Read,
    "ack": Ack,
    "command": Command,
    "evidence": Evidence,
    "stats": Stats,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to the request ``token``, made elsewhere."""

    token: object
    said: Reply


_encode = msgspec.msgpack.Encoder().encode


def pack_reply(reply: Reply) -> bytes:
    return _encode(reply)


def refusal(code: str, text: str) -> Reply:
    return {"ok": False, "error": {"code": code, "text": text}}


def understand(body: bytes) -> msgspec.Struct | Reply:
    """One request, or the refusal that says what is wrong with it."""
    if len(body) > MAX_BODY:
        return refusal("too-large", f"a request has at most {MAX_BODY} bytes, got {len(body)}")
    try:
        said = msgspec.msgpack.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return refusal("bad-message", f"a request is one msgpack map: {error}")
    if not isinstance(said, dict) or not all(isinstance(key, str) for key in said):
        return refusal("bad-message", "a request is one msgpack map with words for keys")
    op = said.pop("op", None)
    if not isinstance(op, str) or op not in OPS:
        return refusal("unknown-op", f"op is one of {', '.join(OPS)}; got {str(op)[:40]!r}")
    try:
        return msgspec.convert(said, OPS[op])
    except (msgspec.ValidationError, RecursionError) as error:
        return refusal("bad-request", str(error))


class Requests:
    """Answers what the outbox can answer; sends the rest on and keeps the way back. Used by the desk's thread.

    ``command`` journals a record and says whether it could; ``stats`` gives the counters some time; ``evidence`` scans
    for one alarm, in a thread of its own; ``dropped`` counts what was given up, by reason.
    """

    def __init__(
        self,
        command: Callable[[dict[str, Any]], bool],
        stats: Callable[[], Future[Reply]],
        evidence: Callable[[Any, bool], Reply],
        dropped: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._command, self._stats, self._evidence, self._dropped = command, stats, evidence, dropped
        self.forgotten = 0  # requests whose answer finds nobody any more, because too many were on their way
        self._pending: OrderedDict[object, list[bytes]] = OrderedDict()
        self._searches = threading.BoundedSemaphore(SEARCHES)
        self._life = os.urandom(8)  # a command journalled in an earlier life finds nobody to answer
        self._count = itertools.count(1)
        self._open = True

    def close(self) -> None:
        self._open = False

    def envelope(self, token: object) -> list[bytes] | None:
        """Whom the answer to ``token`` goes to; once."""
        return self._pending.pop(token, None)

    def take(
        self,
        envelope: list[bytes],
        body: bytes,
        outbox: Outbox,
        waiting: Waiting,
        worker: Executor,
        answer: Callable[[object, Reply], None],
        asker: Client | None = None,
    ) -> Reply | None:
        """The reply, or None when it comes later by `Answer`. ``asker``: whose key the request came under, where keys are used."""
        if asker is not None and asker.role not in ("reader", "operator"):  # its key was withdrawn since its handshake
            return refusal("not-allowed", f"{asker.name} is a {asker.role}; the feed is for readers and operators")
        said = understand(body)
        match said:
            case Read():
                return self._read(said, envelope, outbox, waiting)
            case Ack():
                return self._ack(said, outbox)
            case Command():
                if asker is not None:
                    if asker.role != "operator":
                        return refusal("not-allowed", f"{asker.name} is a {asker.role}; commands are an operator's")
                    said.actor = f"{asker.name}/{said.actor}"  # who it was is known by the key, not by what is said
                token = self._remember(envelope)
                if self._command({"token": token, **msgspec.structs.asdict(said)}):
                    return None
                self._pending.pop(token)
                return refusal("busy", "the journal takes no commands just now; ask again")
            case Evidence():
                return self._find(said, envelope, outbox, worker, answer)
            case Stats():
                token, more = self._remember(envelope), {"consumers": outbox.standing(), "dropped": dict(self._dropped())}
                self._stats().add_done_callback(lambda done: answer(token, {"ok": True, "stats": {**done.result(), **more}}))
                return None
        assert isinstance(said, dict)
        return said

    def _remember(self, envelope: list[bytes]) -> bytes:
        token = self._life + next(self._count).to_bytes(8, "little")
        self._pending[token] = envelope
        if len(self._pending) > PENDING:
            self._pending.popitem(last=False)
            self.forgotten += 1
        return token

    def _read(self, said: Read, envelope: list[bytes], outbox: Outbox, waiting: Waiting) -> Reply | None:
        if said.after is None and said.consumer is None and said.since_ns is None:
            return refusal("bad-request", "read needs a consumer, after or since_ns")
        if said.after is not None and said.since_ns is not None:
            return refusal("bad-request", "read takes after or since_ns, not both")
        own = outbox.cursor(said.consumer) if said.consumer is not None else 0  # and from now on rows are kept for it
        after = said.after if said.since_ns is None else outbox.before(said.since_ns)
        start = Start(own if after is None else after, said.since_ns, said.consumer)
        most, wait_ms = min(said.max, MOST_ALARMS), min(said.wait_ms, LONGEST_MS)
        reply = page(outbox, start, most)
        if reply["alarms"] or not wait_ms or not self._open or not waiting.add(envelope, start, most, wait_ms):
            return reply
        return None

    def _ack(self, said: Ack, outbox: Outbox) -> Reply:
        if said.cursor > outbox.last_seq:
            return refusal("bad-cursor", f"the last alarm has seq {outbox.last_seq}, got cursor {said.cursor}")
        return {"ok": True, "cursor": outbox.ack(said.consumer, said.cursor, time.time_ns())}

    def _find(
        self,
        said: Evidence,
        envelope: list[bytes],
        outbox: Outbox,
        worker: Executor,
        answer: Callable[[object, Reply], None],
    ) -> Reply | None:
        alarm = outbox.find(said.alarm_id)
        if alarm is None:
            return refusal("unknown-alarm", f"no alarm {said.alarm_id} is kept")
        if not self._searches.acquire(blocking=False):
            return refusal("busy", f"{SEARCHES} searches for evidence are under way; ask again")
        token = self._remember(envelope)

        def done(future: Future[Reply]) -> None:
            self._searches.release()
            error = None if future.cancelled() else future.exception()
            if not future.cancelled():
                answer(
                    token, refusal("not-kept", f"the journal could not be read: {error}") if error else future.result()
                )

        worker.submit(self._evidence, alarm, said.state).add_done_callback(done)
        return None
