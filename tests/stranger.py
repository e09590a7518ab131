"""A device and a platform written from the published wire alone: struct, pyzmq, msgpack and a table of CRC-32C.

Nothing here imports the package. Whoever changes a byte on the wire changes it in the documents first and here second; that
these lines know nothing of the code is their worth.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgpack
import zmq

NS = 1_000_000_000
HEADER = struct.Struct("<4s4BIHHIIQQqIIII")
FIELDS = (
    *("magic", "header_len", "type", "encoding", "flags", "device", "channel", "n_channels", "epoch", "clock_sd_us", "seq"),
    *("sample_index", "t0_ns", "rate_num", "rate_den", "n_samples", "crc32c"),
)
INT16, INT24, INT32, FLOAT32, FLOAT64, TIMED = 1, 2, 3, 4, 5, 6
DATA, HELLO, BYE, HEALTH = 0, 1, 2, 3


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_TABLE = _crc_table()


def end(context: zmq.Context[Any]) -> None:
    """Close a context; libzmq now and then waits for ever in there, and a test must not."""
    ending = threading.Thread(target=context.destroy, args=(0,), daemon=True)
    ending.start()
    ending.join(5)


def crc32c(data: bytes) -> int:
    crc, table = 0xFFFFFFFF, _TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def payload(encoding: int, samples: Sequence[Sequence[Any]]) -> bytes:
    """Channel-major bytes; a sample of encoding 6 is a pair (t_ns, value)."""
    flat = [v for row in samples for v in row]
    if encoding == INT24:
        return b"".join(v.to_bytes(3, "little", signed=True) for v in flat)
    if encoding == TIMED:
        return b"".join(struct.pack("<qd", t, v) for t, v in flat)
    return struct.pack(f"<{len(flat)}{ {INT16: 'h', INT32: 'i', FLOAT32: 'f', FLOAT64: 'd'}[encoding] }", *flat)


def pack(body: bytes = b"", *, extensions: bytes = b"", seal: bool = True, **fields: Any) -> bytes:
    """A frame of exactly these fields, whatever they say; ``seal`` puts the right CRC."""
    head: dict[str, Any] = {
        "magic": b"LLF1",
        "header_len": 64 + len(extensions),
        "type": DATA,
        "encoding": INT32,
        "flags": 1,
        "device": 0,
        "channel": 0,
        "n_channels": 1,
        "epoch": 1,
        "clock_sd_us": 0,
        "seq": 0,
        "sample_index": 0,
        "t0_ns": 0,
        "rate_num": 10,
        "rate_den": 1,
        "n_samples": 0,
        "crc32c": 0,
    }
    assert not set(fields) - set(head), fields
    head.update(fields)
    frame = HEADER.pack(*(head[name] for name in FIELDS)) + extensions + body
    if seal:
        frame = frame[:60] + struct.pack("<I", crc32c(frame)) + frame[64:]
    return frame


def reseal(frame: bytes) -> bytes:
    """The frame with the CRC its bytes deserve."""
    blank = frame[:60] + bytes(4) + frame[64:]
    return frame[:60] + struct.pack("<I", crc32c(blank)) + frame[64:]


def unpack(frame: bytes) -> dict[str, Any]:
    return dict(zip(FIELDS, HEADER.unpack_from(frame), strict=True))


def split_capture(data: bytes) -> list[dict[str, Any]]:
    """The headers of frames back to back; every CRC is looked at."""
    heads = []
    width = {INT16: 2, INT24: 3, INT32: 4, FLOAT32: 4, FLOAT64: 8, TIMED: 16}
    while data:
        head = unpack(data)
        assert head["magic"] == b"LLF1"
        length = head["header_len"] + head["n_channels"] * head["n_samples"] * width[head["encoding"]]
        assert reseal(data[:length]) == data[:length]
        heads.append(head)
        data = data[length:]
    return heads


def alarm_id(site: str, watch: str, kind: str, onset_ns: int) -> str:
    return hashlib.sha256(f"{site}|{watch}|{kind}|{onset_ns}".encode()).digest()[:16].hex()


class Device:
    """One stream of one device: numbers its frames, keeps what is not acknowledged, sends it again."""

    def __init__(
        self,
        ctx: zmq.Context[Any],
        endpoint: str,
        device: int,
        *,
        channel: int = 0,
        n_channels: int = 1,
        epoch: int = 1,
        encoding: int = INT32,
        rate: int = 10,
        t0_ns: int = 0,
        first_seq: int = 0,
    ) -> None:
        self.socket = ctx.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.sndhwm = 100_000
        self.socket.reconnect_ivl = 20
        self.socket.reconnect_ivl_max = 100
        self.socket.connect(endpoint)
        self.key = {"device": device, "channel": channel, "epoch": epoch}
        self.n_channels, self.encoding, self.rate = n_channels, encoding, rate
        self.seq, self.index, self.t0_ns = first_seq, 0, t0_ns
        self.unacked: dict[int, bytes] = {}
        self.acked: int | None = None
        self.credit = 1 << 20
        self.refusals: list[dict[str, Any]] = []
        self.replies: list[dict[str, Any]] = []

    def time_ns(self, index: int | None = None) -> int:
        return self.t0_ns + (self.index if index is None else index) * NS // max(self.rate, 1)

    def fields(self, n_samples: int) -> dict[str, Any]:
        return {
            **self.key,
            "encoding": self.encoding,
            "n_channels": self.n_channels,
            "seq": self.seq,
            "sample_index": self.index,
            "t0_ns": self.time_ns(),
            "rate_num": self.rate,
            "rate_den": 1,
            "n_samples": n_samples,
        }

    def frame(self, *rows: Sequence[Any], **other: Any) -> bytes:
        """The next data frame of the stream, kept until it is acknowledged."""
        fields = self.fields(len(rows[0]))
        if self.encoding == TIMED:
            fields["t0_ns"] = rows[0][0][0]
        made = pack(payload(self.encoding, rows), **{**fields, **other})
        self.unacked[self.seq] = made
        self.seq += 1
        self.index += len(rows[0])
        return made

    def gateway(self, *rows: Sequence[Any], **other: Any) -> bytes:
        """The next data frame as the map of a gateway that would rather not pack bytes."""
        fields = {"v": 1, "type": DATA, "flags": 1, "clock_sd_us": 0, **self.fields(len(rows[0])), **other}
        made: bytes = msgpack.packb({**fields, "samples": payload(self.encoding, rows)})
        self.unacked[self.seq] = made
        self.seq += 1
        self.index += len(rows[0])
        return made

    def skip(self, n_samples: int) -> None:
        """Time in which the device measured nothing: no seq is spent."""
        self.index += n_samples

    def raw(self, data: bytes) -> None:
        self.socket.send(data)

    def say(self, *rows: Sequence[Any], **other: Any) -> None:
        self.raw(self.frame(*rows, **other))

    def hello(self) -> None:
        self.raw(pack(type=HELLO, encoding=self.encoding, n_channels=self.n_channels, **self.key))

    def hear(self, wait_s: float = 0.0) -> list[dict[str, Any]]:
        """Every reply that is there, after at most ``wait_s`` for the first."""
        heard = []
        while self.socket.poll(int(1000 * wait_s) if not heard else 0):
            parts = self.socket.recv_multipart()
            reply = msgpack.unpackb(parts[-1])
            heard.append(reply)
            self._heed(reply)
        self.replies += heard
        return heard

    def _heed(self, reply: dict[str, Any]) -> None:
        self.credit = reply.get("credit", self.credit)
        if any(reply.get(name) != value for name, value in self.key.items()):
            return
        if "refused" in reply:
            self.refusals.append(reply)
            self.unacked.pop(reply["seq"], None)
        elif reply.get("ack") is not None:
            self.acked = reply["ack"]
            for seq in [s for s in self.unacked if s <= reply["ack"]]:
                del self.unacked[seq]

    def listen(self, seconds: float) -> list[dict[str, Any]]:
        """Everything heard in that time."""
        heard, end = [], time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            heard += self.hear(left)
        return heard

    def reach(self, seq: int, seconds: float = 5.0) -> bool:
        """True once everything up to seq is acknowledged."""
        end = time.monotonic() + seconds
        while self.acked is None or self.acked < seq:
            if time.monotonic() > end:
                return False
            self.hear(0.05)
        return True

    def settle(self, seconds: float = 10.0) -> None:
        """Waits until nothing is unacknowledged."""
        end = time.monotonic() + seconds
        while self.unacked:
            assert time.monotonic() < end, f"no acknowledgement of {sorted(self.unacked)[:3]}..., acked {self.acked}"
            self.hear(0.05)

    def close(self) -> None:
        self.socket.close()


class Sender:
    """Plays frames of one device within a window of unacknowledged ones, and again from ack+1 where nothing moves."""

    def __init__(self, device: Device, frames: Iterable[bytes], *, window: int, patience_s: float = 0.3) -> None:
        self.device, self.frames = device, list(frames)
        self.window, self.patience_s = window, patience_s
        self.next = 0
        self.moved = time.monotonic()
        self.resent = 0

    @property
    def done(self) -> bool:
        return self.device.acked is not None and self.device.acked >= len(self.frames) - 1

    def step(self) -> None:
        before = self.device.acked
        self.device.hear()
        base = 0 if self.device.acked is None else self.device.acked + 1
        now = time.monotonic()
        if self.device.acked != before:
            self.moved = now
        if now - self.moved > self.patience_s and not self.done:
            self.next, self.moved, self.resent = base, now, self.resent + 1
        self.next = max(self.next, base)
        while self.next < min(base + self.window, len(self.frames)):
            try:
                self.device.socket.send(self.frames[self.next], zmq.NOBLOCK)
            except zmq.Again:
                break
            self.next += 1


class Platform:
    """Reads the live view, the feed, the metrics."""

    def __init__(self, ctx: zmq.Context[Any], where: dict[str, str]) -> None:
        self.ctx, self.where = ctx, where
        self.sub = ctx.socket(zmq.SUB)
        self.sub.linger = 0
        self.sub.rcvhwm = 0
        self.sub.reconnect_ivl = 20
        self.sub.reconnect_ivl_max = 100
        monitor = self.sub.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self.sub.subscribe(b"alarm/")
        self.sub.connect(where["alarms"])
        assert monitor.poll(10_000), "no handshake with the live view"
        self.sub.disable_monitor()
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.req: zmq.Socket[Any] | None = None

    def ask(self, op: Any = None, *, timeout_s: float = 10.0, body: bytes | None = None, **more: Any) -> dict[str, Any]:
        """One request through REQ, one reply."""
        if self.req is None:
            self.req = self.ctx.socket(zmq.REQ)
            self.req.linger = 0
            self.req.connect(self.where["feed"])
        self.req.send(msgpack.packb({"op": op, **more}) if body is None else body)
        if not self.req.poll(int(timeout_s * 1000)):
            self.req.close()
            self.req = None
            raise TimeoutError(f"no reply to {op!r} {more}")
        reply: dict[str, Any] = msgpack.unpackb(self.req.recv())
        return reply

    def good(self, op: str, **more: Any) -> dict[str, Any]:
        reply = self.ask(op, **more)
        assert reply["ok"] is True, reply
        return reply

    def bad(self, op: Any = None, **more: Any) -> str:
        """The code of the refusal."""
        reply = self.ask(op, **more)
        assert reply["ok"] is False, reply
        assert isinstance(reply["error"]["code"], str) and isinstance(reply["error"]["text"], str) and reply["error"]["text"]
        code: str = reply["error"]["code"]
        return code

    def rows(self, **match: Any) -> list[dict[str, Any]]:
        """Every alarm in the feed with these values, without a mark left behind."""
        found: list[dict[str, Any]] = []
        after = 0
        while True:
            reply = self.good("read", consumer="onlooker", after=after, max=500)
            found += reply["alarms"]
            if not reply["alarms"]:
                return [a for a in found if all(a[k] == v for k, v in match.items())]
            after = reply["cursor"]

    def until(self, n: int, seconds: float = 8.0, **match: Any) -> list[dict[str, Any]]:
        """The rows that match, once there are n."""
        end = time.monotonic() + seconds
        while len(rows := self.rows(**match)) < n:
            assert time.monotonic() < end, f"{len(rows)} of {n} rows of {match}"
            time.sleep(0.05)
        return rows

    def watch(self, wait_s: float = 0.0) -> list[tuple[str, dict[str, Any]]]:
        """What the live view brought since the last look; all of it is kept in ``seen``."""
        news = []
        while self.sub.poll(int(1000 * wait_s) if not news else 0):
            topic, body = self.sub.recv_multipart()
            news.append((topic.decode(), msgpack.unpackb(body)))
        self.seen += news
        return news

    def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = self.good("stats")["stats"]
        return stats

    def http(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.where['metrics']}{path}", timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def close(self) -> None:
        self.sub.close()
        if self.req is not None:
            self.req.close()


def free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]


class Serving:
    """The real program as a process of its own."""

    def __init__(self, directory: Path, city: str, *, ipc: bool = False) -> None:
        ports = free_ports(4)
        self.where = {name: f"tcp://127.0.0.1:{port}" for name, port in zip(("ingest", "alarms", "feed"), ports, strict=False)}
        if ipc:
            self.where = {name: f"ipc://{directory / name}" for name in self.where}
        self.where["metrics"] = f"127.0.0.1:{ports[3]}"
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        service = "".join(f'{name} = "{at}"\n' for name, at in self.where.items())
        (directory / "city.toml").write_text(f'[service]\n{service}data_dir = "{directory / "data"}"\n{city}')
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        program = Path(sys.executable).parent / "lifeline-core"
        command = [str(program)] if program.exists() else [sys.executable, "-m", "lifeline_core"]
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*command, "serve", "--config", "city.toml"], cwd=self.directory, stdout=log, stderr=log, env=dict(os.environ)
            )
        if wait:
            self.wait_healthy()

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")[-3000:]

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def wait_healthy(self, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while True:
            assert self.alive, f"the service ended by itself:\n{self.log()}"
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{self.where['metrics']}/healthz", timeout=2):
                return
            assert time.monotonic() < end, f"the service does not become healthy:\n{self.log()}"
            time.sleep(0.05)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(15)

    def end(self) -> None:
        if self.alive:
            self.kill()
