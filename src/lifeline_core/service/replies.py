"""Replies to devices: acknowledgement, refusal and credit, from the engine's thread to the one that owns the socket.

Acknowledgements are cumulative, so of several for one stream only the last is sent. Sending never takes more than a
fifth of the ingest thread's time: after a round that took t, the next one waits 4 t, and what comes in between merges.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from lifeline_core.service.bell import Bell
from lifeline_core.service.receive import AGAIN, GONE, Receiver

_pack = msgspec.msgpack.Encoder().encode
Stream = tuple[int, int, int, int]  # connection number, device, channel, epoch
KEPT_REFUSALS = 20_000  # a device repeats what was not answered, so an older refusal may be given up
ROUND = 2048  # replies of one round
ACKS_AGAIN = 100_000  # acknowledgements waiting for full connections; past that the slow ones hear it the next time


class Replies:
    """Filled by the engine's thread (`acks`, `others`), emptied by the ingest thread (`send`)."""

    def __init__(self, bell: Bell, credit: Callable[[], int], share: Callable[[int, int, int, int, int], int | None]) -> None:
        self._bell = bell
        self._credit, self._share = credit, share
        self._lock = threading.Lock()
        self._acks: dict[Stream, int] = {}
        self._others: deque[tuple[int, bytes]] = deque(maxlen=KEPT_REFUSALS)
        self._not_before = 0.0
        self.sent = self.gone = self.again = 0
        self.dropped = 0  # refusals and acknowledgements given up: the device asks again by sending again

    def acks(self, acks: Iterable[tuple[Stream, int]]) -> None:
        with self._lock:
            self._acks.update(acks)
        self._bell.ring()

    def refused(self, number: int, reason: str, device: int, channel: int, epoch: int, seq: int) -> None:
        body = _pack({"refused": reason, "device": device, "channel": channel, "epoch": epoch, "seq": seq})
        self._post(number, body)

    def credit(self, number: int, device: int, channel: int, epoch: int) -> None:
        self._post(number, _pack({"credit": self._credit(), "device": device, "channel": channel, "epoch": epoch}))

    def _post(self, number: int, body: bytes) -> None:
        with self._lock:
            self.dropped += len(self._others) == KEPT_REFUSALS
            self._others.append((number, body))
        self._bell.ring()

    def waiting(self) -> bool:
        return bool(self._acks or self._others)

    def send(self, receiver: Receiver, *, all_of_them: bool = False) -> None:
        """One round, unless the last one was just now."""
        started = time.monotonic()
        if not self.waiting() or (started < self._not_before and not all_of_them):
            return
        with self._lock:
            streams = list(self._acks.items())
            self._acks.clear()
            others = [self._others.popleft() for _ in range(len(self._others))]
        credit = self._credit()
        for at in range(0, len(others), ROUND):
            part = others[at : at + ROUND]
            self._keep(zip(part, receiver.reply(part), strict=True))
        for at in range(0, len(streams), ROUND):
            acks = streams[at : at + ROUND]
            bodies = [(stream[0], self._ack(stream, ack, credit)) for stream, ack in acks]
            self._keep_acks(acks, receiver.reply(bodies))
        ended = time.monotonic()
        self._not_before = ended + 4 * (ended - started)

    def _ack(self, stream: Stream, ack: int, credit: int) -> bytes:
        """To one that back-fills also how much history it should have under way."""
        number, device, channel, epoch = stream
        said = {"ack": ack, "device": device, "channel": channel, "epoch": epoch, "credit": credit}
        share = self._share(number, device, channel, epoch, ack)
        return _pack(said if share is None else {**said, "history": share})

    def _count(self, status: list[int]) -> None:
        gone, again = status.count(GONE), status.count(AGAIN)
        self.gone += gone
        self.again += again
        self.sent += len(status) - gone - again

    def _keep(self, results: Iterable[tuple[tuple[int, bytes], int]]) -> None:
        results = list(results)
        self._count([status for _, status in results])
        with self._lock:
            again = [reply for reply, status in results if status == AGAIN]
            self.dropped += max(0, len(self._others) + len(again) - KEPT_REFUSALS)
            self._others.extend(again)

    def _keep_acks(self, acks: list[tuple[Stream, int]], status: list[int]) -> None:
        self._count(status)
        if AGAIN not in status:
            return
        with self._lock:
            for (stream, ack), s in zip(acks, status, strict=True):
                if s == AGAIN and len(self._acks) < ACKS_AGAIN:
                    self._acks.setdefault(stream, ack)  # a newer one may have come meanwhile
                elif s == AGAIN:
                    self.dropped += 1
