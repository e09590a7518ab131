"""A client of the feed: durable reading by cursor, acknowledgement, commands, queries; and of the live view."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

import msgspec
import zmq

from lifeline_core import wire
from lifeline_core.errors import CommandRefused
from lifeline_core.model import Alarm
from lifeline_core.service.certificates import speak_curve
from lifeline_core.service.sockets import end


class FeedRefused(CommandRefused):
    """The feed answered ``ok: False``; ``code`` is its word."""


class FeedClient:
    """One connection to the feed; each call waits for its reply.

    Parameters
    ----------
    endpoint : str
        The service's feed address.
    server_key, key_file : optional
        Under CURVE: the service's public key (40 characters, or its file NAME.key) and one's own NAME.key_secret.
    timeout : float
        Seconds to wait for a reply (beyond a read's own ``wait_ms``); TimeoutError after that.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        timeout: float = 10.0,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        server_key: str | None = None,
        key_file: str | os.PathLike[str] | None = None,
    ) -> None:
        self._own_context = zmq.Context() if context is None else None
        self._socket = (context or self._own_context or zmq.Context()).socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        speak_curve(self._socket, server_key, key_file)
        self._socket.connect(endpoint)
        self._timeout = timeout
        self.lag = self.lost = 0
        self.whole = True
        self._count = itertools.count(1)

    def ask(self, request: dict[str, Any], *, wait_ms: int = 0) -> dict[str, Any]:
        """One request as it is, and its reply; FeedRefused when it is not ok."""
        mark = next(self._count).to_bytes(8, "little")
        self._socket.send_multipart([mark, msgspec.msgpack.encode(request)])
        while self._socket.poll(int(self._timeout * 1000) + wait_ms):
            parts = self._socket.recv_multipart()
            if parts[0] != mark:  # the reply to a request that was given up
                continue
            reply = msgspec.msgpack.decode(parts[-1], type=dict[str, Any])
            if not reply["ok"]:
                raise FeedRefused(reply["error"]["code"], reply["error"]["text"])
            return reply
        raise TimeoutError(f"the feed did not answer {request.get('op')!r} within {self._timeout} s")

    def read(
        self,
        consumer: str | None = None,
        after: int | None = None,
        max: int = 100,
        wait_ms: int = 0,
        since_ns: int | None = None,
    ) -> tuple[list[Alarm], int]:
        """(alarms, cursor) behind the consumer's cursor, behind ``after``, or published from ``since_ns`` on; waits up to
        ``wait_ms`` for the first.

        Then `lag` says how many are still behind the cursor; `lost` how many were removed before the consumer's cursor reached
        them (without a consumer: behind ``after``), and `whole` is False where some of what was asked for was removed.
        """
        request: dict[str, Any] = {"op": "read", "max": max, "wait_ms": wait_ms}
        if consumer is not None:
            request["consumer"] = consumer
        if after is not None:
            request["after"] = after
        if since_ns is not None:
            request["since_ns"] = since_ns
        reply = self.ask(request, wait_ms=wait_ms)
        self.lag, self.lost, self.whole = int(reply.get("lag", 0)), int(reply.get("lost", 0)), bool(reply.get("whole", True))
        return [msgspec.convert(alarm, Alarm) for alarm in reply["alarms"]], reply["cursor"]

    def ack(self, consumer: str, cursor: int) -> int:
        """Everything up to ``cursor`` is safe with the consumer; its cursor now."""
        return int(self.ask({"op": "ack", "consumer": consumer, "cursor": cursor})["cursor"])

    def command(
        self, alarm_id: str, action: str, *, actor: str, reason: str = "", until_ns: int | None = None
    ) -> list[Alarm]:
        """An operator's step on an alarm; the revisions it made, once they are committed."""
        request: dict[str, Any] = {
            "op": "command",
            "alarm_id": alarm_id,
            "action": action,
            "actor": actor,
            "reason": reason,
        }
        if until_ns is not None:
            request["until_ns"] = until_ns
        return [msgspec.convert(alarm, Alarm) for alarm in self.ask(request)["alarms"]]

    def evidence(self, alarm_id: str) -> bytes:
        """The raw frames around an alarm, back to back."""
        return bytes(self.ask({"op": "evidence", "alarm_id": alarm_id})["capture"])

    def stats(self) -> dict[str, Any]:
        return dict(self.ask({"op": "stats"})["stats"])

    def follow(self, consumer: str, *, wait_ms: int = 1000) -> Iterator[Alarm | None]:
        """Alarms as they come, acknowledged once the next are asked for; None when ``wait_ms`` passed without one."""
        while True:
            alarms, cursor = self.read(consumer, wait_ms=wait_ms)
            if not alarms:
                yield None
                continue
            yield from alarms
            self.ack(consumer, cursor)

    def close(self) -> None:
        self._socket.close(0)
        if self._own_context is not None:
            end(self._own_context)

    def __enter__(self) -> FeedClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class LiveView:
    """The PUB socket: alarms as they are committed; may miss some (the feed never does). ``topic`` is a prefix."""

    def __init__(
        self,
        endpoint: str,
        topic: str = "alarm/",
        *,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        server_key: str | None = None,
        key_file: str | os.PathLike[str] | None = None,
    ) -> None:
        self._own_context = zmq.Context() if context is None else None
        self._socket = (context or self._own_context or zmq.Context()).socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt_string(zmq.SUBSCRIBE, topic)
        speak_curve(self._socket, server_key, key_file)
        self._socket.connect(endpoint)

    def next(self, timeout: float) -> tuple[str, Alarm] | None:
        """(topic, alarm), or None after ``timeout`` seconds."""
        if not self._socket.poll(int(timeout * 1000)):
            return None
        topic, body = self._socket.recv_multipart()
        return topic.decode(), wire.alarm_from_bytes(body)

    def close(self) -> None:
        self._socket.close(0)
        if self._own_context is not None:
            end(self._own_context)
