"""The sender: bench/sender.c, compiled when it is needed, and run in a process of its own.

::

    sender = Sender(bridge, {"service": (zmq.DEALER, address), "bare": (zmq.PUSH, address)})
    sender.make(64_000)                # untimed: sound frames that go on where the last ones ended
    sender.send("service")             # -> Run: when the first and the last frame left, when all were acknowledged
    sender.send("bare")                # the same frames
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib
import multiprocessing as mp
import subprocess
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from bench.bridge import CHANNELS, ENCODINGS, FIRST_DEVICE, RATE, SECONDS, Bridge

ROOT = Path(__file__).parents[1]
FIRST_CREDIT = 1 << 20  # bytes, before the first reply (DESIGN 3.2)
CALLS = ("zmq_msg_init_data", "zmq_msg_send", "zmq_recv", "zmq_poll", "zmq_errno")


class Fleet(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("devices", "first_device", "channels", "rate", "encoding", "epoch")),
        ("t0_ns", ctypes.c_int64),
        ("next", ctypes.c_uint64),
    )


class Outcome(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int64) for name in ("first_ns", "last_ns", "acked_ns", "acks", "refused", "waits"))


class Calls(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in CALLS)


@dataclass(frozen=True)
class Run:
    """CLOCK_MONOTONIC times of one sending; ``sent_ns`` of each frame where it was asked for."""

    first_ns: int
    last_ns: int
    acked_ns: int
    acks: int
    refused: int
    waits: int
    sent_ns: NDArray[np.int64] | None = None


def compiled() -> ctypes.CDLL:
    """bench/sender.c as a library under build/, made anew when a source changed."""
    source, include = ROOT / "bench/sender.c", ROOT / "include"
    mark = hashlib.sha256(source.read_bytes() + (include / "llf1.h").read_bytes()).hexdigest()[:12]
    library = ROOT / f"build/bench/sender-{mark}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        compiler = (sysconfig.get_config_var("CC") or "gcc").split()[0]
        flags = ["-std=c11", "-O2", "-D_GNU_SOURCE", "-shared", "-fPIC", f"-I{include}"]
        fresh = library.with_suffix(f".{mp.current_process().pid}")
        subprocess.run([compiler, *flags, str(source), "-o", str(fresh)], check=True)
        fresh.replace(library)
    lib = ctypes.CDLL(str(library))
    lib.make_frames.restype = ctypes.c_size_t
    lib.send_frames.restype = ctypes.c_int
    return lib


class Maker:
    """Sound frames, ``bridge.devices`` a second of sample time, that go on from call to call."""

    def __init__(self, bridge: Bridge, *, t0_ns: int, epoch: int = 1) -> None:
        self.bridge = bridge
        self.lib = compiled()
        self.fleet = Fleet(bridge.devices, FIRST_DEVICE, CHANNELS, RATE, ENCODINGS[bridge.encoding], epoch, t0_ns, 0)
        self._calm, self._struck = bridge.seconds()

    def make(self, n: int, plant: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """uint8[n, frame_bytes]; ``plant[k]`` puts the blow into frame k."""
        out = np.empty((n, self.bridge.frame_bytes), np.uint8)
        marks = np.zeros(n, np.uint8) if plant is None else np.ascontiguousarray(plant, np.uint8)
        made = self.lib.make_frames(
            ctypes.byref(self.fleet),
            ctypes.c_void_p(self._calm.ctypes.data),
            ctypes.c_void_p(self._struck.ctypes.data),
            ctypes.c_long(SECONDS),
            ctypes.c_void_p(marks.ctypes.data),
            ctypes.c_void_p(out.ctypes.data),
            ctypes.c_size_t(self.bridge.frame_bytes),
            ctypes.c_long(n),
        )
        assert made == self.bridge.frame_bytes, "llf1_pack made frames of another length"
        return out


class _Line:
    """Sockets to one receiver."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], kind: int, address: str, connections: int, devices: int) -> None:
        self.acks = kind == zmq.DEALER
        self.sockets = [context.socket(kind) for _ in range(connections)]
        for socket in self.sockets:
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(address)
        self.handles = (ctypes.c_void_p * connections)(*(s.underlying for s in self.sockets))
        self.next_of = np.zeros(devices, np.int64)


def _calls() -> Calls:
    library = ctypes.CDLL(str(importlib.import_module("zmq.backend.cython._zmq").__file__))
    return Calls(*(ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in CALLS))


def _send(maker: Maker, line: _Line, frames: NDArray[np.uint8], acks: bool, rate: float, stamps: bool) -> Run:
    out = Outcome()
    sent_ns = np.zeros(len(frames), np.int64) if stamps else None
    status = maker.lib.send_frames(
        ctypes.byref(_calls()),
        line.handles,
        ctypes.c_long(len(line.sockets)),
        ctypes.byref(maker.fleet),
        ctypes.c_void_p(frames.ctypes.data),
        ctypes.c_size_t(frames.shape[1]),
        ctypes.c_long(len(frames)),
        ctypes.c_int(acks),
        ctypes.c_int64(FIRST_CREDIT),
        ctypes.c_double(rate),
        ctypes.c_void_p(line.next_of.ctypes.data),
        None if sent_ns is None else ctypes.c_void_p(sent_ns.ctypes.data),
        ctypes.byref(out),
    )
    if status:
        raise RuntimeError(f"the sender stopped with errno {-status}; {out.acks} acks, {out.refused} refused")
    return Run(**{name: getattr(out, name) for name, *_ in Outcome._fields_}, sent_ns=sent_ns)


def _main(pipe: Any, bridge: Bridge, lines: Mapping[str, tuple[int, str]], connections: int, t0_ns: int) -> None:
    maker = Maker(bridge, t0_ns=t0_ns, epoch=int(time.time()) & 0xFFFF_FFFF)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    opened = {name: _Line(context, *line, connections, bridge.devices) for name, line in lines.items()}
    frames = np.empty((0, bridge.frame_bytes), np.uint8)
    pipe.send("ready")
    while (order := pipe.recv()) is not None:
        verb, said = order
        try:
            if verb == "make":
                frames = maker.make(**said)
                pipe.send(None)
            else:
                line = opened[said["line"]]
                pipe.send(_send(maker, line, frames, line.acks and said["acks"], said["rate"], said["stamps"]))
        except Exception as error:
            pipe.send(error)
    context.destroy(0)


class Sender:
    """The sender's process. One connection for each logger unless ``connections`` says fewer."""

    def __init__(
        self, bridge: Bridge, lines: Mapping[str, tuple[int, str]], *, connections: int | None = None, t0_ns: int | None = None
    ) -> None:
        connections = connections or bridge.devices
        if bridge.devices % connections:
            raise ValueError(f"connections must divide the {bridge.devices} devices, got {connections}")
        self.bridge = bridge
        self.t0_ns = t0_ns if t0_ns is not None else time.time_ns() // 10**9 * 10**9
        self.made = 0  # seconds of sample time so far
        compiled()
        self._pipe, end = mp.get_context("spawn").Pipe()
        self._process = mp.get_context("spawn").Process(
            target=_main, args=(end, bridge, dict(lines), connections, self.t0_ns), daemon=True
        )
        self._process.start()
        end.close()
        self._pipe.recv()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def make(self, n: int, plant: NDArray[np.uint8] | None = None) -> None:
        """Make the next ``n`` frames, a whole number of seconds of all devices."""
        if n % self.bridge.devices:
            raise ValueError(f"n must be a multiple of the {self.bridge.devices} devices, got {n}")
        self._ask("make", n=n, plant=plant)
        self.made += n // self.bridge.devices

    def begin(self, line: str, *, acks: bool = True, rate: float = 0.0, stamps: bool = False) -> None:
        """Send what was made, over the named line; `result` waits for the end."""
        self._pipe.send(("send", {"line": line, "acks": acks, "rate": rate, "stamps": stamps}))

    def result(self) -> Run:
        found = self._pipe.recv()
        if isinstance(found, Exception):
            raise found
        assert isinstance(found, Run)
        return found

    def _ask(self, verb: str, **said: Any) -> None:
        self._pipe.send((verb, said))
        found = self._pipe.recv()
        if isinstance(found, Exception):
            raise found

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(5)
        if self._process.is_alive():
            self._process.terminate()
