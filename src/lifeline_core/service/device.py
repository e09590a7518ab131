"""A device as the service sees it: sends frames, keeps each until it is acknowledged, sends again what got lost.

::

    send -> live ------------credit--> flying --ack--> gone
              \\-- waited too long --> history --^  |
    again <--- connection lost, or 5 s without progress

No thread of its own: `send`, `pump` and `drain` move the socket. Call one of them at least every few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zmq
from numpy.typing import ArrayLike

from lifeline_core import wire
from lifeline_core.service.backlog import Kept, kept_of
from lifeline_core.service.flow import Flow
from lifeline_core.service.heads import Head, Stream, head
from lifeline_core.service.link import Link, keys_of
from lifeline_core.service.spool import Spool
from lifeline_core.service.spooled import Count, Found

__all__ = ["Device", "Head", "Stream", "head"]

RESEND_S = 5.0
HISTORICAL_S = 30.0  # a frame that waited longer goes as history, behind the live ones
SYNC_S = 1.0

Full = Literal["wait", "oldest", "newest"]


class Device:
    """One connection of a device (or of a player of captures) to the ingest socket.

    Parameters
    ----------
    endpoint : str
        The service's ingest address.
    device : int
        Its number in the configuration. Only `send` and `hello` use it; `send_frame` takes frames as they are.
    epoch : int, optional
        Of this boot. When left out: that of the spool, if it is of this run of the machine and sound; else drawn from the clock.
    identity : bytes, optional
        A ZeroMQ routing id that stays the same over reconnects. With keys it is not used.
    queue_bytes : int
        Bytes of frames kept at most, in memory or in the spool.
    full : {"wait", "oldest", "newest"}
        What `send` does when they are spent: wait for room, give up the oldest frame that was never sent, or the new one.
    resend_s : float
        Without progress for so long (s), everything from ack+1 is sent again; twice in silence, and the connection is made anew.
    historical_s : float or None
        Frames that waited longer (s) before they were sent are sent as history; None: in order, however late.
    spool : path, optional
        A folder for the queue, of this device alone: an outage may outlast the process (`service.spool`).
    spool_sync : bool
        Put the spool on the disk once a second (a power cut costs a second) rather than when the system likes.
    curve_serverkey, curve_publickey, curve_secretkey : str or bytes, optional
        CURVE keys in Z85: all three, or none.
    on_refused : callable, optional
        Called as ``on_refused(stream, seq, reason)`` for each refusal the service tells.
    on_dropped : callable, optional
        Called as ``on_dropped(stream, sample_index, n_samples)`` for each frame that the full queue gave up.

    Attributes
    ----------
    dropped, dropped_samples : int
        Frames that the full queue gave up, and their samples per channel.
    link : Link
        Counts connections ``made``, ``lost`` and handshakes ``failed``.

    Raises
    ------
    ValueError
        Parameters that cannot be; keys that are none.
    StoreError
        The spool cannot be used, now or when a frame is to be kept.
    """

    def __init__(
        self,
        endpoint: str,
        device: int = 0,
        *,
        epoch: int | None = None,
        identity: bytes | None = None,
        queue_bytes: int = 16 << 20,
        full: Full = "wait",
        resend_s: float = RESEND_S,
        historical_s: float | None = HISTORICAL_S,
        spool: Path | str | None = None,
        spool_sync: bool = False,
        curve_serverkey: str | bytes | None = None,
        curve_publickey: str | bytes | None = None,
        curve_secretkey: str | bytes | None = None,
        on_refused: Callable[[Stream, int, str], None] | None = None,
        on_dropped: Callable[[Stream, int, int], None] | None = None,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        if full not in ("wait", "oldest", "newest"):
            raise ValueError(f'full must be "wait", "oldest" or "newest", got {full!r}')
        if not queue_bytes > 0 or not resend_s > 0 or not (historical_s is None or historical_s > 0):
            raise ValueError(f"queue_bytes, resend_s, historical_s must be above 0, got {queue_bytes}, {resend_s}, {historical_s}")
        keys = keys_of(curve_serverkey, curve_publickey, curve_secretkey)
        self.device, self.dropped, self.dropped_samples = device, 0, 0
        self._queue_bytes, self._full, self._on_dropped = queue_bytes, full, on_dropped
        self._spool = Spool(Path(spool)) if spool is not None else None
        self._synced = time.monotonic() if spool_sync else None
        found = self._spool.found if self._spool is not None else Found()
        self.epoch, counts = found.epoch_to_use() if epoch is None else epoch, found.counts
        self._resumed = {key for key in counts if key[0] == self.epoch}  # their next frame follows those of an earlier process
        try:
            self.link = Link(endpoint, identity=identity, keys=keys, context=context)
            flow = {"queue_bytes": queue_bytes, "resend_s": resend_s, "historical_s": historical_s, "on_refused": on_refused}
            self._flow = Flow(self.link, self._spool, self.epoch, counts, **flow)  # type: ignore[arg-type]
            self._flow.recover()
            if self._spool is not None:
                self._spool.begin(self.epoch, self._flow.counts)
        except BaseException:
            self.close()
            raise

    # -- sending --------------------------------------------------------------------------------------------------

    def send(
        self,
        samples: ArrayLike,
        t0_ns: int | None = None,
        *,
        rate: float | Fraction | tuple[int, int] | None = None,
        channel: int = 0,
        lost: int = 0,
        timeout: float | None = None,
        **fields: Any,
    ) -> int:
        """Samples ``[n_channels, n]`` as the next frame of their stream; the sample_index of the first.

        ``lost`` samples before them never came from the sensor. ``t_ns`` (irregular samples), ``encoding``, ``flags`` and
        ``clock_sd_us`` go to `wire.pack`. With ``full="wait"`` it waits while the queue is full; TimeoutError after
        ``timeout`` seconds, and the frame is not taken.
        """
        if lost < 0:
            raise ValueError(f"lost must not be negative, got {lost}")
        shape = np.shape(samples)
        key = (self.epoch, channel, shape[0] if len(shape) > 1 else 1)
        count = self._flow.counts.get(key, Count())
        whose = {"device": self.device, "epoch": self.epoch, "channel": channel}
        said: dict[str, Any] = {**whose, "t0_ns": t0_ns, "rate": rate, **fields}
        index = count.index + lost
        frame = wire.pack(samples, sample_index=index, **said)
        if key in self._resumed and (missed := count.missed(frame)):
            index += missed
            frame = wire.pack(samples, sample_index=index, **said)
        taken = self._make_room(len(frame), timeout)
        before = replace(count)
        self._flow.counts[key] = count
        count.pass_over(frame)
        if taken:
            try:
                self._flow.take(frame, fixed=False)
            except BaseException:
                self._flow.counts[key] = before
                raise
        else:
            self._tell_dropped(kept_of(-1, frame, len(frame), 0.0, fixed=False))
        self._resumed.discard(key)
        self.pump(0)
        return index

    def send_frame(self, frame: bytes, *, timeout: float | None = None) -> None:
        """A frame as it is, say from a capture, in its place behind those before it; waits while the queue is full.

        Frames without samples (hello ...) are sent once and not kept.
        """
        if head(frame).type == wire.DATA:
            self._wait_for_room(timeout)
            self._flow.take(frame, fixed=True)
        else:
            self._flow.say(frame)
        self.pump(0)

    def send_frames(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            self.send_frame(frame)

    def send_raw(self, data: bytes) -> bool:
        """Any bytes, once, unkept; False when they could not be sent now."""
        return self.link.send(data)

    def hello(self, channel: int = 0) -> None:
        """Ask for credit."""
        self.send_frame(wire.pack(device=self.device, epoch=self.epoch, channel=channel, type=wire.HELLO))

    def _make_room(self, size: int, timeout: float | None) -> bool:
        """Whether the new frame may be taken."""
        if self._full == "wait":
            self._wait_for_room(timeout)
            return True
        self.pump(0)
        backlog = self._flow.backlog
        while backlog.bytes and backlog.bytes + size > self._queue_bytes:
            oldest = self._flow.drop_oldest() if self._full == "oldest" else None
            if oldest is None:
                return False
            self._tell_dropped(oldest)
        return True

    def _wait_for_room(self, timeout: float | None) -> None:
        until = None if timeout is None else time.monotonic() + timeout
        self.pump(0)
        while (kept := self._flow.backlog.bytes) >= self._queue_bytes:
            if until is not None and time.monotonic() >= until:
                raise TimeoutError(f"{kept} bytes wait for an acknowledgement; the queue holds {self._queue_bytes}")
            self.pump(0.05)

    def _tell_dropped(self, kept: Kept) -> None:
        self.dropped += 1
        self.dropped_samples += kept.n_samples
        if self._on_dropped is not None:
            self._on_dropped(kept.stream, kept.index, kept.n_samples)

    # -- moving ---------------------------------------------------------------------------------------------------

    @property
    def credit(self) -> int:
        """Bytes the service wants unacknowledged at most."""
        return self._flow.credit

    @property
    def acked(self) -> int:
        """Frames acknowledged."""
        return self._flow.acked

    @property
    def refused(self) -> int:
        """Frames refused for good."""
        return self._flow.refused

    @property
    def reasons(self) -> dict[str, int]:
        """Refusals heard, by reason."""
        return self._flow.reasons

    @property
    def resent(self) -> int:
        """Frames sent once more."""
        return self._flow.resent

    @property
    def unacked(self) -> int:
        """Frames kept."""
        return len(self._flow.backlog)

    def pump(self, wait: float = 0.0) -> None:
        """Send what credit allows, take replies; waits up to ``wait`` seconds for one."""
        self._flow.pump(wait)
        if self._synced is not None and self._spool is not None and time.monotonic() - self._synced > SYNC_S:
            self._spool.sync()
            self._synced = time.monotonic()

    def drain(self, timeout: float = 30.0) -> bool:
        """Wait until everything is acknowledged or refused, history too; False after ``timeout`` seconds."""
        until = time.monotonic() + timeout
        self._flow.finishing = True
        try:
            while self.unacked:
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self.pump(min(left, 0.1))
            return True
        finally:
            self._flow.finishing = False

    def close(self) -> None:
        """End the connection; what is in the spool stays there."""
        if hasattr(self, "link"):
            self.link.close()
        if self._spool is not None:
            self._spool.close()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
