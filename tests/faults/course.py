"""One service that is hurt, one device that goes on, and the truth both are held against.

The device is written from the wire's description alone: frames in order, cumulative acknowledgements, again from ack + 1
after a silence. The truth is an engine by itself over the same frames: it has met no fault.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import zmq

from lifeline_core.config import read_city
from lifeline_core.engine import Engine
from lifeline_core.model import Alarm
from lifeline_core.service import FeedClient, LiveView
from lifeline_core.service.sockets import end
from tests.service_city import city_text, frame, read_all

WINDOW = 64  # frames on their way
SILENCE_S = 0.4
SERVE = """
import json, sys
from lifeline_core.config import load_city
from lifeline_core.service import serve
city = load_city(sys.argv[1])
sys.exit(serve(city, ready=lambda service: print(json.dumps(service.endpoints), flush=True)))
"""


class Broken(AssertionError):
    """What did not hold."""


@contextmanager
def where(what: str) -> Iterator[Path]:
    """A folder with a short name; where something breaks the end of its log is told with it."""
    with tempfile.TemporaryDirectory(prefix="ll") as name:
        try:
            yield Path(name)
        except Broken as error:
            log = Path(name) / "log"
            said = log.read_text(errors="replace")[-3000:] if log.exists() else ""
            raise Broken(f"{what}: {error}\n{said}") from error


class Process:
    """The service as a process of its own; ``before`` is put in front of its command (strace)."""

    def __init__(self, config: Path, log: Path, before: Sequence[str] = ()) -> None:
        self._log = log.open("ab")
        command = [*before, sys.executable, "-c", SERVE, str(config)]
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, start_new_session=True)

    def ready(self) -> bool:
        """Wait until it runs; False when it died on the way."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        return bool(line) and bool(json.loads(line))

    def dead(self) -> bool:
        return self.popen.poll() is not None

    def end(self, how: int) -> int:
        if not self.dead():
            os.killpg(self.popen.pid, how)  # strace passes nothing on
        try:
            self.popen.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.popen.pid, signal.SIGKILL)
            raise Broken("the service did not end within a minute") from None
        finally:
            self._log.close()
            if self.popen.stdout is not None:
                self.popen.stdout.close()
        return self.popen.returncode


class Course:
    """A folder with a city, a device, a platform that listens; `check` says whether all of it is as it should be."""

    def __init__(self, folder: Path, *, made: Callable[[int], bytes] = frame, **service: str) -> None:
        self.folder, self.made = folder, made
        self.config = folder / "city.toml"
        text = city_text(folder / "data", ipc=folder).replace("snapshot_s = 1.0", "snapshot_s = 0.3")
        for key, value in service.items():
            text = text.replace("[service]", f"[service]\n{key} = {value}")
        self.config.write_text(text)
        self.city = read_city(text)
        self.log = folder / "log"
        self.context = zmq.Context()
        self.acked = -1
        self._connect()
        self.sent = 0  # frames given out at least once
        self.published: list[Alarm] = []
        self._listening = True
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

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
        return Process(self.config, self.log, before)

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

    # ---- the platform ----

    def _listen(self) -> None:
        live = LiveView(f"ipc://{self.folder / 'alarms'}")
        while self._listening:
            if (got := live.next(0.05)) is not None:
                self.published.append(got[1])
        live.close()

    # ---- the truth ----

    def check(self, *, whole: bool = True) -> dict[str, int]:
        """What the feed of a running service has, against an undisturbed engine; counts.

        Raises
        ------
        Broken
            A frame that was acknowledged is missing, an alarm is not there, or twice, or another one.
        """
        frames = self.acked + 1
        with FeedClient(f"ipc://{self.folder / 'feed'}", timeout=30.0) as feed:
            stats = feed.stats()
            until = time.monotonic() + 20
            while stats["lag_bytes"] and time.monotonic() < until:
                time.sleep(0.02)
                stats = feed.stats()
            alone = Engine(self.city).push([self.made(k) for k in range(frames)])
            alarms = read_all(feed)
            while len(alarms) < len(alone) and time.monotonic() < until:
                time.sleep(0.05)
                alarms = read_all(feed)
        expect("frames through the detectors", stats["frames"], frames)
        expect("gaps", stats["gaps"], 0)
        expect("seq of the alarms", [a.seq for a in alarms], list(range(1, len(alarms) + 1)))
        bare = [msgspec.structs.replace(a, seq=0, published_ns=0) for a in alarms if a.site != "service"]
        expect("alarms", bare, alone)
        known = {(a.alarm_id, a.revision, a.seq) for a in alarms}
        strange = [a for a in self.published if (a.alarm_id, a.revision, a.seq) not in known]
        expect("alarms published and not in the feed", strange, [])
        return {"frames": frames, "alarms": len(alarms), "published": len(self.published)}

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
        self._listening = False
        self._listener.join()
        end(self.context)

    def __enter__(self) -> Course:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def expect(what: str, found: Any, wanted: Any) -> None:
    if found == wanted:
        return
    if isinstance(found, list) and isinstance(wanted, list):
        at = next((k for k, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), min(len(found), len(wanted)))
        raise Broken(f"{what}: {len(found)}, expected {len(wanted)}; the first difference is at {at}: "
                     f"{found[at : at + 1]} for {wanted[at : at + 1]}")
    raise Broken(f"{what}: {found}, expected {wanted}")
