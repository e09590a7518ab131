"""A device as the service sees it: sends frames, keeps each until it is acknowledged, sends again what got lost.

::

    send -> waiting --credit--> flying --ack--> gone
                      ^------- 5 s without progress

No thread of its own: `send`, `pump` and `drain` move the socket. Call one of them at least every few seconds.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import zmq
from numpy.typing import ArrayLike

from lifeline_core import wire
from lifeline_core.service.heads import Head, Stream, head
from lifeline_core.service.sockets import end

__all__ = ["Device", "Head", "Stream", "head"]

FIRST_CREDIT = 1 << 20  # bytes, before the service has said how many
RESEND_S = 5.0


class Reply(msgspec.Struct):
    """What the service says to a device; keys of later versions are passed over."""

    ack: int | None = None
    refused: str | None = None
    device: int = -1
    channel: int = -1
    epoch: int = -1
    seq: int = -1
    credit: int | None = None


_reply = msgspec.msgpack.Decoder(Reply)


@dataclass(slots=True)
class Kept:
    stream: Stream
    seq: int
    frame: bytes


class Device:
    """One connection of a device (or of a player of captures) to the ingest socket.

    Parameters
    ----------
    endpoint : str
        The service's ingest address.
    device : int
        Its number in the configuration. Only `send` and `hello` use it; `send_frame` takes frames as they are.
    epoch : int, optional
        Of this boot; drawn from the clock when left out.
    identity : bytes, optional
        A ZeroMQ routing id that stays the same over reconnects.
    queue_bytes : int
        Bytes kept at most; `send` waits for room past that.

    Attributes
    ----------
    credit : int
        Bytes the service wants unacknowledged at most.
    acked, refused, resent : int
        Frames; of `refused`, the reasons are in ``reasons``.
    """

    def __init__(
        self,
        endpoint: str,
        device: int = 0,
        *,
        epoch: int | None = None,
        identity: bytes | None = None,
        queue_bytes: int = 16 << 20,
        resend_s: float = RESEND_S,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        self.device = device
        self.epoch = epoch if epoch is not None else int(time.time()) & 0xFFFF_FFFF
        self.credit = FIRST_CREDIT
        self.acked = self.refused = self.resent = 0
        self.reasons: dict[str, int] = {}
        self._queue_bytes, self._resend_s = queue_bytes, resend_s
        self._once: deque[bytes] = deque(maxlen=100)  # not kept: hello, bye, state of health
        self._waiting: deque[Kept] = deque()
        self._flying: dict[Stream, deque[Kept]] = {}
        self._flying_bytes = self._kept_bytes = 0
        self._progress = time.monotonic()
        self._seq: dict[tuple[int, int], tuple[int, int]] = {}  # (channel, n_channels): next seq, next sample_index
        self._own_context = zmq.Context() if context is None else None
        self._socket = (context or self._own_context or zmq.Context()).socket(zmq.DEALER)
        options = {
            zmq.LINGER: 0,
            zmq.IMMEDIATE: 1,
            zmq.SNDHWM: 1000,
            zmq.RECONNECT_IVL: 100,
            zmq.RECONNECT_IVL_MAX: 2000,
            zmq.HEARTBEAT_IVL: 5000,
            zmq.HEARTBEAT_TIMEOUT: 15000,
        }
        for option, value in options.items():
            self._socket.setsockopt(option, value)
        if identity is not None:
            self._socket.setsockopt(zmq.IDENTITY, identity)
        self._socket.connect(endpoint)

    # -- sending --------------------------------------------------------------------------------------------------

    def send(
        self,
        samples: ArrayLike,
        t0_ns: int | None = None,
        *,
        rate: float | Fraction | tuple[int, int] | None = None,
        channel: int = 0,
        timeout: float | None = None,
        **fields: Any,
    ) -> int:
        """Samples ``[n_channels, n]`` as the next frame of their stream; its seq.

        ``t_ns`` (irregular samples), ``encoding``, ``flags`` and ``clock_sd_us`` go to `wire.pack`. Waits while the
        queue is full; TimeoutError after ``timeout`` seconds, and the frame is not taken.
        """
        self._make_room(timeout)
        shape = np.shape(samples)
        key = (channel, shape[0] if len(shape) > 1 else 1)
        seq, index = self._seq.get(key, (0, 0))
        frame = wire.pack(
            samples,
            device=self.device,
            epoch=self.epoch,
            channel=channel,
            seq=seq,
            sample_index=index,
            t0_ns=t0_ns,
            rate=rate,
            **fields,
        )
        self._seq[key] = (seq + 1, index + int(shape[-1]))
        self._keep(Kept(Stream(self.device, channel, self.epoch), seq, frame))
        return seq

    def send_frame(self, frame: bytes, *, timeout: float | None = None) -> None:
        """A frame as it is, say from a capture. Frames without samples (hello ...) are sent once and not kept."""
        found = head(frame)
        self._make_room(timeout)
        if found.type == wire.DATA:
            self._keep(Kept(found.stream, found.seq, frame))
        else:
            self._once.append(frame)
            self.pump(0)

    def send_frames(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            self.send_frame(frame)

    def send_raw(self, data: bytes) -> bool:
        """Any bytes, once, unkept; False when they could not be sent now."""
        try:
            self._socket.send(data, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def hello(self, channel: int = 0) -> None:
        """Ask for credit."""
        self.send_frame(wire.pack(device=self.device, epoch=self.epoch, channel=channel, type=wire.HELLO))

    def _keep(self, kept: Kept) -> None:
        self._waiting.append(kept)
        self._kept_bytes += len(kept.frame)
        self.pump(0)

    def _make_room(self, timeout: float | None) -> None:
        until = None if timeout is None else time.monotonic() + timeout
        self.pump(0)
        while self._kept_bytes >= self._queue_bytes:
            if until is not None and time.monotonic() >= until:
                raise TimeoutError(
                    f"{self._kept_bytes} bytes wait for an acknowledgement; the queue holds {self._queue_bytes}"
                )
            self.pump(0.05)

    # -- moving ---------------------------------------------------------------------------------------------------

    @property
    def unacked(self) -> int:
        """Frames kept."""
        return len(self._waiting) + sum(len(kept) for kept in self._flying.values())

    def pump(self, wait: float = 0.0) -> None:
        """Send what credit allows, take replies; waits up to ``wait`` seconds for one."""
        self._send_some()
        if self._socket.poll(int(wait * 1000)):
            while True:
                try:
                    self._hear(self._socket.recv_multipart(zmq.DONTWAIT))
                except zmq.Again:
                    break
            self._send_some()
        if self._flying_bytes and time.monotonic() - self._progress > self._resend_s:
            self._resend()

    def drain(self, timeout: float = 30.0) -> bool:
        """Wait until everything is acknowledged or refused; False after ``timeout`` seconds."""
        until = time.monotonic() + timeout
        while self.unacked:
            left = until - time.monotonic()
            if left <= 0:
                return False
            self.pump(min(left, 0.1))
        return True

    def _send_some(self) -> None:
        while self._once and self.send_raw(self._once[0]):
            self._once.popleft()
        while self._waiting and (
            not self._flying_bytes or self._flying_bytes + len(self._waiting[0].frame) <= self.credit
        ):
            try:
                self._socket.send(self._waiting[0].frame, zmq.DONTWAIT)
            except zmq.Again:
                return
            if not self._flying_bytes:
                self._progress = time.monotonic()
            kept = self._waiting.popleft()
            self._flying.setdefault(kept.stream, deque()).append(kept)
            self._flying_bytes += len(kept.frame)

    def _resend(self) -> None:
        """Everything sent and not acknowledged waits again, in its order."""
        again = [kept for stream in self._flying.values() for kept in stream]
        again.sort(key=lambda kept: kept.seq)
        self.resent += len(again)
        self._waiting.extendleft(reversed(again))
        self._flying.clear()
        self._flying_bytes = 0
        self._progress = time.monotonic()
        self._send_some()

    # -- hearing --------------------------------------------------------------------------------------------------

    def _hear(self, parts: list[bytes]) -> None:
        try:
            said = _reply.decode(parts[-1])
        except (msgspec.MsgspecError, ValueError):
            return
        if said.credit is not None:
            self.credit = said.credit
        stream = Stream(said.device, said.channel, said.epoch)
        if said.ack is not None:
            self._settle(stream, said.ack, cumulative=True)
        elif said.refused is not None:
            self.reasons[said.refused] = self.reasons.get(said.refused, 0) + 1
            self._settle(stream, said.seq, cumulative=False)

    def _settle(self, stream: Stream, seq: int, *, cumulative: bool) -> None:
        """Frames up to ``seq`` of a stream, or this one, need not be kept any longer."""

        def done(kept: Kept) -> bool:
            return kept.stream == stream and (kept.seq <= seq if cumulative else kept.seq == seq)

        gone = 0
        flying = self._flying.get(stream)
        if flying is not None:
            left = deque(kept for kept in flying if not done(kept))
            gone += len(flying) - len(left)
            freed = sum(len(kept.frame) for kept in flying) - sum(len(kept.frame) for kept in left)
            self._flying_bytes -= freed
            self._kept_bytes -= freed
            self._flying[stream] = left
            if not left:
                del self._flying[stream]
        if self._waiting and self._waiting[0].stream == stream and done(self._waiting[0]):
            freed = sum(len(kept.frame) for kept in self._waiting if done(kept))
            before = len(self._waiting)
            self._waiting = deque(kept for kept in self._waiting if not done(kept))
            gone += before - len(self._waiting)
            self._kept_bytes -= freed
        if gone:
            self._progress = time.monotonic()
            if cumulative:
                self.acked += gone
            else:
                self.refused += gone

    def close(self) -> None:
        self._socket.close(0)
        if self._own_context is not None:
            end(self._own_context)

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
