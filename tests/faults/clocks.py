"""The machine's clock jumps under load: an hour on, an hour back, decades either way, and to the year it counts from.

The service runs with a clock that can be set from outside (`CLOCKED`: eight bytes in a file are added to the wall clock of the
whole process; the steady clock stays as it is). Samples carry their own time, so that the alarms of limits are those of an
undisturbed run. Silence is the exception, for it has no samples to tell the time by: a device that speaks must not be called
silent by a jump, and one that falls silent must be called so, once, whatever the clock does.
"""

from __future__ import annotations

import contextlib
import random
import signal
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgpack
import zmq

from lifeline_core.model import NS, Alarm
from tests.faults.course import Course
from tests.faults.stage import SERVE, Broken, Process, expect, where
from tests.service_city import DEVICE, frame

HOUR_S, YEAR_S = 3600, 31_557_600
JUMPS_S = (HOUR_S, -HOUR_S, 2, -2, 30 * YEAR_S, -30 * YEAR_S, -60 * YEAR_S, 0)  # from the true time; before 1970 is 0
OFFLINE_S, JUMP_S = 6.0, 1.2
AT_ONCE = 4  # frames of the course's device on their way: hundreds a second
CLOCKED = """
import mmap, struct, sys, time
_file = open(sys.argv[1] + ".clock", "rb")
_map = mmap.mmap(_file.fileno(), 8, prot=mmap.PROT_READ)
_ns = time.time_ns
time.time_ns = lambda: max(0, _ns() + struct.unpack("<q", _map[:])[0])
time.time = lambda: time.time_ns() / 1e9
""" + SERVE
WATCH = f"""
[channel.mute]
site = "north"
device = {DEVICE + 1}
channel = 0
unit = "kPa"
rate_hz = 10.0

[watch.health]
site = "north"
channels = ["well", "mute"]
detector = "health"
offline_s = {OFFLINE_S}
gap_severity = 0
flat_s = 0.0
"""
Tell = Callable[[str], None]


class Clock:
    """What the service's wall clock is ahead by."""

    def __init__(self, config: Path) -> None:
        self._path = Path(f"{config}.clock")
        self._path.write_bytes(bytes(8))

    def set(self, ahead_s: int) -> None:
        with self._path.open("r+b") as file:
            file.write(struct.pack("<q", ahead_s * NS))


class Mute:
    """A second device of a course, which speaks five times a second or not at all."""

    PAUSE_S, PATIENCE_S = 0.2, 60.0

    def __init__(self, course: Course) -> None:
        self.course = course
        self.acked, self._next = -1, 0
        self._due = self._moved = 0.0
        self._socket = course.context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self._socket.connect(f"ipc://{course.folder / 'ingest'}")

    def _turn(self, process: Process, *, silent: bool) -> None:
        """A moment of the course's own device, and of this one."""
        self.course.turn(self.course.acked + 1 + AT_ONCE)
        if process.dead():
            raise Broken(f"the service ended by itself with {process.popen.returncode}")
        time.sleep(0.01)
        while self._socket.poll(0):
            said = msgpack.unpackb(self._socket.recv())
            if said.get("ack", -1) > self.acked:
                self.acked, self._moved = said["ack"], time.monotonic()
        now = time.monotonic()
        if self.acked < self._next - 1 and now - self._moved > 2.0:  # a service that was killed
            self._moved = now
            for seq in range(self.acked + 1, self._next):
                self._send(seq)
        if not silent and now >= self._due:
            self._due = now + self.PAUSE_S
            self._send(self._next)
            self._next += 1

    def _send(self, seq: int) -> None:
        with contextlib.suppress(zmq.Again):
            self._socket.send(frame(seq, device=DEVICE + 1, value=1.0), zmq.DONTWAIT)

    def speak(self, process: Process, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._turn(process, silent=False)

    def drain(self, process: Process) -> bool:
        until = time.monotonic() + self.PATIENCE_S
        while self.acked < self._next - 1 and time.monotonic() < until:
            self._turn(process, silent=True)
        return self.acked == self._next - 1

    def wait(self, process: Process, *, silent: bool) -> None:
        """Be silent until that is an alarm, or speak until it is none."""
        until = time.monotonic() + self.PATIENCE_S
        wanted = "active" if silent else "cleared"
        while not self.said() or self.said()[-1].process != wanted:
            if time.monotonic() > until:
                raise Broken(f"within {self.PATIENCE_S:.0f} s no alarm of a device that is {'silent' if silent else 'heard again'}")
            self._turn(process, silent=silent)

    def said(self) -> list[Alarm]:
        """Alarms of silence, as the consumer was told them."""
        told = self.course.consumer.told
        return [told[seq] for seq in sorted(told) if told[seq].watch == "health"]


def clocks(jumps_s: Sequence[int], lives: int, seed: int, tell: Tell) -> dict[str, Any]:
    """The clock jumps to each of these in any order, and a device falls silent; then a kill, another clock, and all of it again."""
    rng = random.Random(seed)
    with where("clocks") as folder, Course(folder, program=CLOCKED, more=WATCH) as course:
        clock, mute = Clock(course.config), Mute(course)
        for life in range(lives):
            clock.set(rng.choice(JUMPS_S))
            process = course.start()
            if not process.ready():
                raise Broken("the service does not start")
            for jump_s in rng.sample(jumps_s, len(jumps_s)):
                clock.set(jump_s)
                mute.speak(process, JUMP_S)
            expect("alarms of silence while nobody was silent", mute.said()[2 * life :], [])
            mute.wait(process, silent=True)
            mute.wait(process, silent=False)
            tell(f"life {life + 1}: {len(jumps_s)} jumps, {course.acked + 1} frames acknowledged")
            process.end(signal.SIGKILL)
        clock.set(YEAR_S)
        process = course.start()
        if not process.ready() or not course.drive(course.sent, process) or not mute.drain(process):
            raise Broken("the service does not start again")
        said = course.check(others=mute.acked + 1, apart="health")
        expect("how the service ended", process.end(signal.SIGTERM), 0)
        revisions = [(a.kind, a.process, a.revision) for a in mute.said()[: 2 * lives]]  # while it is checked nobody speaks
        expect("alarms of silence", revisions, [("offline", "active", 1), ("offline", "cleared", 2)] * lives)
    return said | {"jumps": lives * len(jumps_s)}
