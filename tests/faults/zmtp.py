"""ZMTP 3 by hand over plain sockets (rfc.zeromq.org/spec/23): thousands of connections cost little, and each can misbehave.

::

    FF 00*8 7F 03 00 'NULL' ...    greeting, 64 bytes either way
    command READY                  socket type and identity, either way
    message                        flags (1 more, 2 long, 4 command), length of 1 or 8 bytes, body
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
MORE, LONG, COMMAND = 1, 2, 4
CHUNK = 1 << 16


def part(body: bytes, flags: int = 0) -> bytes:
    """One part of a message, or a command."""
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return struct.pack(">BQ", flags | LONG, len(body)) + body


def ready(identity: bytes = b"", kind: bytes = b"DEALER") -> bytes:
    """The command that ends a handshake without security."""
    said = b"\x05READY"
    for name, value in ((b"Socket-Type", kind), (b"Identity", identity)):
        said += bytes([len(name)]) + name + struct.pack(">I", len(value)) + value
    return part(said, COMMAND)


def place(address: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    """Family and address of ``tcp://host:port`` or ``ipc://path``."""
    transport, _, rest = address.partition("://")
    if transport == "ipc":
        return socket.AF_UNIX, rest
    host, _, port = rest.rpartition(":")
    return socket.AF_INET, (host, int(port))


class Peer:
    """One connection that does not block. `messages` gives what came since; the greeting and heartbeats are its own matter."""

    def __init__(self, address: str, identity: bytes = b"") -> None:
        family, where = place(address)
        self.socket = socket.socket(family)
        self.socket.setblocking(family == socket.AF_UNIX)  # a unix socket's connect says EAGAIN where tcp waits
        with contextlib.suppress(BlockingIOError):
            self.socket.connect(where)
        self.socket.setblocking(False)
        self.shaken = self.gone = False
        self._greeted = False
        self._in, self._out = bytearray(), bytearray(GREETING + ready(identity))

    def fileno(self) -> int:
        return self.socket.fileno()

    @property
    def waits(self) -> bool:
        """Whether there is something the socket did not take."""
        return bool(self._out)

    def send(self, body: bytes, flags: int = 0) -> None:
        self._out += part(body, flags)
        self.flush()

    def flush(self) -> None:
        if not self._out or self.gone:
            return
        try:
            del self._out[: self.socket.send(self._out)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.gone = True

    def take_back(self) -> None:
        """The handshake that is not out yet is not made."""
        self._out.clear()

    def raw(self, data: bytes) -> None:
        """Bytes as they are, behind what still waits."""
        self._out += data
        self.flush()

    def drained(self) -> bool:
        self.flush()
        return not self._out

    def messages(self) -> list[bytes]:
        """Bodies of the single-part messages that came."""
        try:
            while got := self.socket.recv(CHUNK):
                self._in += got
                if len(got) < CHUNK:
                    break
            else:
                self.gone = True
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.gone = True
        if not self._greeted:
            if len(self._in) < 64:
                return []
            del self._in[:64]
            self._greeted = True
        found = []
        while (one := self._take()) is not None:
            flags, body = one
            if not flags & COMMAND:
                found.append(body)
            elif body[1:6] == b"READY":
                self.shaken = True
            elif body[1:5] == b"PING":  # name, time to live of 2 bytes, context
                self._out += part(b"\x04PONG" + body[7:], COMMAND)
        self.flush()
        return found

    def _take(self) -> tuple[int, bytes] | None:
        data = self._in
        if len(data) < 2:
            return None
        long = data[0] & LONG
        if long and len(data) < 9:
            return None
        start = 9 if long else 2
        length = int.from_bytes(data[1:9], "big") if long else data[1]
        if len(data) < start + length:
            return None
        flags, body = data[0], bytes(data[start : start + length])
        del data[: start + length]
        return flags, body

    def shake(self, seconds: float = 5.0) -> bool:
        """Wait for the end of the handshake."""
        until = time.monotonic() + seconds
        while not self.shaken and not self.gone and time.monotonic() < until:
            self.flush()
            self.messages()
            time.sleep(0.001)
        return self.shaken

    def close(self) -> None:
        self.socket.close()

