"""One service that is hurt, one device that goes on, and the truth both are held against.

The device is written from the wire's description alone: frames in order, cumulative acknowledgements, again from ack + 1
after a silence. The truth is an engine by itself over the same frames: it has met no fault.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgpack
import zmq

from lifeline_core.engine import Engine
from lifeline_core.service.sockets import end
from tests.faults.stage import SERVE, Broken, Process, Stage, expect, where
from tests.service_city import city_text, frame

__all__ = ["Broken", "Course", "Process", "expect", "where"]

WINDOW = 64  # frames on their way
SILENCE_S = 0.4


class Course(Stage):
    """A stage with one device; `check` says whether all of it is as it should be."""

    def __init__(
        self,
        folder: Path,
        *,
        made: Callable[[int], bytes] = frame,
        operated: bool = False,
        program: str = SERVE,
        more: str = "",
        **service: str,
    ) -> None:
        text = city_text(folder / "data", ipc=folder).replace("snapshot_s = 1.0", "snapshot_s = 0.3") + more
        service.setdefault("evidence_mib", "16")  # what a disk of little room holds
        for key, value in service.items():
            text = text.replace("[service]", f"[service]\n{key} = {value}")
        super().__init__(folder, text, operated=operated, program=program)
        self.made = made
        self.context = zmq.Context()
        self.acked = -1
        self._connect()
        self.sent = 0  # frames given out at least once

    def _connect(self) -> None:
        """What an old connection still held is not sent: after it the device begins behind the last acknowledgement."""
        self._device = self.context.socket(zmq.DEALER)
        self._device.setsockopt(zmq.LINGER, 0)
        self._device.setsockopt(zmq.IDENTITY, b"well")
        self._device.setsockopt(zmq.RECONNECT_IVL, 20)
        self._device.connect(f"ipc://{self.folder / 'ingest'}")
        self._next, self._heard = self.acked + 1, time.monotonic()

    def start(self, before: Sequence[str] = ()) -> Process:
        self._device.close(0)
        self._connect()
        return super().start(before)

    # ---- the device ----

    def turn(self, upto: int, wait_ms: int = 5) -> None:
        """Send what may be sent of frames before ``upto``, hear what came."""
        while self._next < min(upto, self.acked + 1 + WINDOW):
            try:
                self._device.send(self.made(self._next), zmq.DONTWAIT)
            except zmq.Again:
                break
            self._next += 1
            self.sent = max(self.sent, self._next)
        while self._device.poll(wait_ms):
            said = msgpack.unpackb(self._device.recv())
            if "refused" in said:
                raise Broken(f"the service refused a sound frame: {said}")
            if said.get("ack", -1) > self.acked:
                if said["ack"] >= self.sent:
                    raise Broken(f"the service acknowledged {said['ack']}, of which nothing was sent")
                self.acked, self._heard = said["ack"], time.monotonic()
        if time.monotonic() - self._heard > SILENCE_S:
            self._next, self._heard = self.acked + 1, time.monotonic()

    def drive(self, upto: int, process: Process, timeout: float = 60.0) -> bool:
        """Until frames before ``upto`` are acknowledged; False when the process dies on the way."""
        until = time.monotonic() + timeout
        while self.acked < upto - 1:
            self.turn(upto)
            if process.dead():
                return False
            if time.monotonic() > until:
                raise Broken(f"only {self.acked + 1} of {upto} frames were acknowledged in {timeout:.0f} s")
        return True

    def load(self, process: Process, seconds: float) -> None:
        """As fast as it takes them, for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.turn(self.acked + 1 + WINDOW, wait_ms=1)
            if process.dead():
                raise Broken(f"the service ended by itself with {process.popen.returncode}")

    # ---- the truth ----

    def check(self, *, others: int = 0, apart: str = "") -> dict[str, int]:
        """What the feed of a running service has, against an undisturbed engine; counts.

        ``others`` frames came from somebody else; alarms of the watch ``apart`` are looked at by the caller.

        Raises
        ------
        Broken
            A frame that was acknowledged is missing, an alarm is not there, or twice, or another one.
        """
        frames = self.acked + 1
        with self.feed() as feed:
            stats = self.settled(feed)
            alone = Engine(self.city).push([self.made(k) for k in range(frames)])
            if self.operator:
                self.operator.close()
            alarms = self.check_feed(feed, len(alone))
            self.read_by_consumer(len(alarms))
        expect("frames through the detectors", stats["frames"], frames + others)
        expect("gaps", stats["gaps"], 0)
        self.check_alarms([a for a in alarms if a.watch != apart], alone)
        said = {"frames": frames, "alarms": len(alarms), "published": len(self.published), "read again": self.consumer.again}
        return said | ({"commands": len(self.operator.answered)} if self.operator else {})

    def finish(self, frames: int) -> dict[str, int]:
        """Start unhurt, send up to ``frames``, check, stop."""
        process = self.start()
        try:
            if not process.ready() or not self.drive(frames, process):
                raise Broken(f"the service does not start again, see {self.log}")
            return self.check()
        finally:
            code = process.end(signal.SIGTERM)
            if code:
                raise Broken(f"the service ended with {code}, see {self.log}")

    def close(self) -> None:
        super().close()
        end(self.context)
