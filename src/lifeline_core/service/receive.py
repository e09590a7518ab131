"""Messages of the ingest socket as arrays: the compiled loop, and a plain pyzmq loop of the same behaviour.

Both give a `Batch` of payloads with the number of the connection each came over. A number stands for a ZeroMQ
identity, under CURVE for an identity and a key; it is never 0 and never given twice in a life of the process (the first one
is drawn at random, so numbers found in the journal of an earlier life mean nobody).
"""

from __future__ import annotations

import errno
import importlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import zmq
from numpy.typing import NDArray

from lifeline_core.errors import StoreError
from lifeline_core.store.journal import Journal

RUBBISH, FRAME, GATEWAY = 0, 1, 4  # a batch's kinds; FRAME and GATEWAY are the journal's numbers
SENT, AGAIN, GONE = 0, 1, 2  # what became of a reply
PEERS = 65_536  # identities remembered; a power of two
BATCH = 8192  # messages of one drain at most
KEPT = 4096  # bytes of a rubbish message that go to the dead letters
WORTH = 32  # messages of a drain that make the next one wait twice as long for more
LONGEST_ID = 255  # libzmq does not look at what a peer made by hand calls itself
ENDED = (zmq.ETERM, errno.ENOTSOCK)


@dataclass(slots=True)
class Batch:
    """Messages of one drain, valid until the next; ``kinds`` RUBBISH, FRAME or GATEWAY.

    ``buf`` holds at ``offsets`` at least the first 16 bytes of each payload (of a shorter one all); `payload` gives all of it.
    ``users``: whose CURVE key each came under, its place from 1 in the receiver's list of keys; 0: nobody of the list.
    """

    buf: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    sources: NDArray[np.uint32]
    users: NDArray[np.uint32]
    kinds: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def plain(self) -> bool:
        """Whether it came with nothing but frames."""
        return bool((self.kinds == FRAME).all())

    @property
    def size(self) -> int:
        """Bytes of all payloads."""
        return int(self.lengths.sum())

    def payload(self, k: int) -> bytes:
        start = int(self.offsets[k])
        return self.buf[start : start + int(self.lengths[k])].tobytes()

    def append(self, journal: Journal, kind: int, first: int, last: int) -> int:
        """Messages ``first`` to ``last - 1`` into the journal; returns and raises what `Journal.append_batch` does."""
        part = slice(first, last)
        return journal.append_batch(kind, self.buf, self.offsets[part], self.lengths[part], self.sources[part])


@dataclass(slots=True)
class Held(Batch):
    """A batch whose payloads lie where libzmq put them; ``buf`` has nothing but their heads."""

    loop: Any
    pieces: Any

    @property
    def plain(self) -> bool:
        return bool(self.loop.plain)

    @property
    def size(self) -> int:
        return int(self.loop.size)

    def payload(self, k: int) -> bytes:
        found: bytes = self.loop.payload(k)
        return found

    def append(self, journal: Journal, kind: int, first: int, last: int) -> int:
        return journal.append_pieces(kind, self.pieces, first, last)


class Receiver(Protocol):
    """What both loops do. One thread only; `close` before the socket."""

    name: str

    @property
    def woken(self) -> bool:
        """Whether the last drain found the bell rung; it looks for that only when it waits."""

    def drain(self, wait_ms: int) -> Batch:
        """What is there, or comes within ``wait_ms`` (the bell ends the wait too). ZMQError at the socket's end."""

    def reply(self, replies: Sequence[tuple[int, bytes]]) -> list[int]:
        """Send each body to its connection number; SENT, AGAIN or GONE for each."""

    def know(self, keys: Sequence[bytes]) -> None:
        """Another list of keys for `Batch.users`, in rising order."""

    def counts(self) -> dict[str, int]:
        """``messages``, ``bytes``, ``rubbish``, ``waits`` so far."""

    def close(self) -> None: ...


def first_number() -> int:
    return int.from_bytes(os.urandom(4), "little") or 1


class CompiledReceiver:
    """kernels/receive.c on the socket's own libzmq; AttributeError or ImportError where that cannot be."""

    name = "compiled"

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        wake_fd: int,
        *,
        arena_bytes: int,
        gather_us: int = 1000,
        peers: int = PEERS,
        keys: Sequence[bytes] = (),
    ) -> None:
        kernel = importlib.import_module("lifeline_core.service._receive")
        backend = importlib.import_module("zmq.backend.cython._zmq")
        found = kernel.addresses(backend.__file__)
        self._loop = kernel.Loop(found, socket.underlying, wake_fd, arena_bytes, BATCH, peers, first_number(), keys)
        self._pieces = self._loop.pieces()
        self._heads_at = np.arange(BATCH, dtype=np.int64) * kernel.HEAD
        self._gather_us = gather_us

    def drain(self, wait_ms: int) -> Batch:
        loop = self._loop
        n: int = loop.drain(wait_ms, self._gather_us)
        if n < 0:
            raise zmq.ZMQError(-n)
        at = self._heads_at[:n]
        return Held(loop.heads, at, loop.lengths[:n], loop.sources[:n], loop.users[:n], loop.kinds[:n], loop, self._pieces)

    @property
    def woken(self) -> bool:
        return bool(self._loop.woken)

    def reply(self, replies: Sequence[tuple[int, bytes]]) -> list[int]:
        lengths = np.fromiter((len(body) for _, body in replies), dtype=np.int64, count=len(replies))
        offsets = np.cumsum(lengths) - lengths
        bodies = np.frombuffer(b"".join(body for _, body in replies), dtype=np.uint8)
        status = np.full(len(replies), GONE, dtype=np.uint8)
        numbers = np.fromiter((number for number, _ in replies), dtype=np.uint32, count=len(replies))
        failed: int = self._loop.reply(numbers, bodies, offsets, lengths, status)
        if failed:
            raise zmq.ZMQError(-failed)
        return [int(s) for s in status]

    def know(self, keys: Sequence[bytes]) -> None:
        self._loop.know(keys)

    def counts(self) -> dict[str, int]:
        return dict(self._loop.counts)

    def close(self) -> None:
        self._loop.close()


class PlainReceiver:
    """The same in plain pyzmq, for builds where libzmq's functions cannot be reached."""

    name = "plain"

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        wake_fd: int,
        *,
        arena_bytes: int,
        gather_us: int = 1000,
        peers: int = PEERS,
        keys: Sequence[bytes] = (),
    ) -> None:
        self._user_of: dict[int, int] = {}
        self.know(keys)
        self._woken = False
        self._socket, self._wake_fd, self._limit = socket, wake_fd, arena_bytes
        self._gather_s, self._had = gather_us * 1e-6, 0
        self._peers = peers
        self._numbers: dict[bytes, int] = {}
        self._by_number: dict[int, tuple[bytes, bool]] = {}
        self._next = first_number()
        self._counts = {"messages": 0, "bytes": 0, "rubbish": 0, "waits": 0}
        self._poller = zmq.Poller()
        self._poller.register(socket, zmq.POLLIN)
        if wake_fd >= 0:
            self._poller.register(wake_fd, zmq.POLLIN)

    @property
    def woken(self) -> bool:
        return self._woken

    def _number(self, identity: bytes, user: int) -> int:
        """A name that comes under another key than before is another connection."""
        number = self._numbers.get(identity)
        if number is not None and self._user_of[number] and self._user_of[number] != user:
            self._forget(number)
            number = None
        if number is None:
            number, self._next = self._next, self._next % 0xFFFF_FFFF + 1
            if len(self._numbers) >= self._peers:
                self._forget(next(iter(self._by_number)))
            self._numbers[identity] = number
            self._by_number[number] = (identity, False)
        self._user_of[number] = user
        return number

    def _forget(self, number: int) -> None:
        del self._numbers[self._by_number.pop(number)[0]], self._user_of[number]

    def _parts(self) -> tuple[list[bytes], int]:
        """The parts of a message and its user."""
        if not self._users:
            return self._socket.recv_multipart(zmq.DONTWAIT), 0
        frames = self._socket.recv_multipart(zmq.DONTWAIT, copy=False)
        try:
            user = self._users.get(str(frames[-1].get("User-Id")), 0)
        except zmq.ZMQError:  # a message without the property
            user = 0
        return [frame.bytes for frame in frames], user

    def _one(self) -> tuple[bytes, int, int, int] | None:
        try:
            (identity, *parts), user = self._parts()
        except zmq.Again:
            return None
        if len(identity) > LONGEST_ID:
            self._counts["rubbish"] += 1
            return b"".join(parts)[:KEPT], 0, 0, RUBBISH
        number = self._number(identity, user)
        delimited = len(parts) == 2 and parts[0] == b""
        if (len(parts) != 1 and not delimited) or not parts[-1]:
            self._counts["rubbish"] += 1
            return b"".join(parts)[:KEPT], number, user, RUBBISH
        payload = parts[-1]
        self._by_number[number] = (identity, delimited)
        self._counts["messages"] += 1
        self._counts["bytes"] += len(payload)
        is_map = payload[0] & 0xF0 == 0x80 or payload[0] in (0xDE, 0xDF)
        return payload, number, user, GATEWAY if is_map else FRAME

    def drain(self, wait_ms: int) -> Batch:
        taken: list[tuple[bytes, int, int, int]] = []
        size, waited, gathered = 0, wait_ms == 0, False
        gather_s = self._gather_s if self._had < WORTH else 2 * self._gather_s
        self._woken = False
        while len(taken) < BATCH and size < self._limit:
            one = self._one()
            if one is not None:
                taken.append(one)
                size += len(one[0])
            elif taken:
                if gathered:
                    break
                gathered = True
                time.sleep(gather_s)
            elif waited:
                break
            else:
                waited = True
                self._counts["waits"] += 1
                found = dict(self._poller.poll(wait_ms))
                self._woken = self._wake_fd in found
                if self._socket not in found:
                    break
        self._had = len(taken)
        lengths = np.array([len(t[0]) for t in taken], dtype=np.int64)
        return Batch(
            np.frombuffer(b"".join(t[0] for t in taken), dtype=np.uint8),
            np.cumsum(lengths, dtype=np.int64) - lengths,
            lengths,
            np.array([t[1] for t in taken], dtype=np.uint32),
            np.array([t[2] for t in taken], dtype=np.uint32),
            np.array([t[3] for t in taken], dtype=np.uint8),
        )

    def reply(self, replies: Sequence[tuple[int, bytes]]) -> list[int]:
        return [self._send(number, body) for number, body in replies]

    def _send(self, number: int, body: bytes) -> int:
        identity, delimited = self._by_number.get(number, (b"", False))
        if not identity:
            return GONE
        try:
            self._socket.send_multipart([identity, b"", body] if delimited else [identity, body], zmq.DONTWAIT)
        except zmq.Again:
            return AGAIN
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return GONE
        return SENT

    def know(self, keys: Sequence[bytes]) -> None:
        self._users = {key.decode("ascii"): place for place, key in enumerate(keys, 1)}
        self._user_of = dict.fromkeys(self._user_of, 0)

    def counts(self) -> dict[str, int]:
        return dict(self._counts)

    def close(self) -> None:
        self._poller = zmq.Poller()


def open_receiver(
    socket: zmq.Socket[bytes], wake_fd: int, *, arena_bytes: int, receiver: str = "auto", keys: Sequence[bytes] = ()
) -> tuple[Receiver, str]:
    """The receiver asked for, and why it is not the compiled one (empty when it is, or was not wanted).

    ``receiver``: "auto" takes the compiled loop where it works, "compiled" insists on it, "plain" is pyzmq. ``keys``: CURVE
    keys (Z85) in rising order, for `Batch.users`.
    """
    if receiver not in ("auto", "compiled", "plain"):
        raise ValueError(f"receiver is one of auto, compiled, plain; got {receiver!r}")
    why = ""
    if receiver != "plain":
        try:
            return CompiledReceiver(socket, wake_fd, arena_bytes=arena_bytes, keys=keys), ""
        except (ImportError, AttributeError, OSError) as error:
            if receiver == "compiled":
                raise StoreError(f"the compiled receiver cannot run here: {error}") from error
            why = str(error)
    return PlainReceiver(socket, wake_fd, arena_bytes=arena_bytes, keys=keys), why
