"""A stand-in for the service that only keeps what devices send."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec
import zmq

from lifeline_core import wire
from lifeline_core.service.device import head
from lifeline_core.service.sockets import address, bind, end

CREDIT = 4 << 20
LARGEST = 16 << 20


class Recorder:
    """The ingest socket of DESIGN 3.2, with a capture file behind it.

    Every sound frame is written before it is acknowledged (cumulatively, so a device may keep its queue short). A gateway's
    map is converted first. What is no frame is counted and answered with nothing.
    """

    def __init__(self, endpoint: str, out: Path) -> None:
        self.frames = self.bytes = self.refused = 0
        self._context = zmq.Context()
        self._file = out.open("ab", buffering=0)
        try:
            self._socket = bind(self._context, zmq.ROUTER, endpoint, "ingest", {zmq.MAXMSGSIZE: LARGEST})
        except BaseException:
            self._file.close()
            end(self._context)
            raise
        self.address = address(self._socket)
        self._acked: dict[tuple[int, int, int], int] = {}

    def step(self, wait_ms: int) -> int:
        """Take what comes within ``wait_ms``; frames written."""
        if not self._socket.poll(wait_ms):
            return 0
        taken: dict[tuple[bytes, int, int, int], int] = {}
        frames: list[bytes] = []
        while len(frames) < 4096:
            try:
                parts = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                break
            self._take(parts, frames, taken)
        if frames:
            self._write(b"".join(frames))
        for (peer, device, channel, epoch), seq in taken.items():
            self._reply(peer, {"ack": seq, "device": device, "channel": channel, "epoch": epoch, "credit": CREDIT})
        self.frames += len(frames)
        return len(frames)

    def _take(self, parts: list[bytes], frames: list[bytes], taken: dict[tuple[bytes, int, int, int], int]) -> None:
        frame = parts[-1]
        if frame[:4] != b"LLF1" and frame:
            converted = wire.from_gateway(frame)
            frame = converted if isinstance(converted, bytes) else b""
        if isinstance(wire.decode(frame), wire.Refusal):
            self.refused += 1
            return
        h = head(frame)
        key = (h.stream.device, h.stream.channel, h.stream.epoch)
        if h.type == wire.HELLO:
            self._reply(parts[0], {"device": key[0], "channel": key[1], "epoch": key[2], "credit": CREDIT})
        if h.type == wire.DATA:
            self._acked[key] = max(h.seq, self._acked.get(key, 0))
            taken[parts[0], *key] = self._acked[key]
        frames.append(frame)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) or 0 :]
        self.bytes += len(data)

    def _reply(self, peer: bytes, said: dict[str, int]) -> None:
        with contextlib.suppress(zmq.ZMQError):  # the device has gone; it asks again when it is back
            self._socket.send_multipart([peer, msgspec.msgpack.encode(said)], zmq.DONTWAIT)

    def close(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()
        self._socket.close(0)
        end(self._context)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
