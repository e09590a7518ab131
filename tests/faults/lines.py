"""Devices as they are used, behind lines with weather, and a service that is killed now and then: every frame once.

The frames of each `Device` (its own thread, its own line) are those of `tests.service_city.frame`; the truth is an engine by
itself over them. One more device is the example in C, where there is a compiler.

::

    open      cut, slow, half open, refused                          every frame, the alarms of an undisturbed run
    keys      these, and bytes changed on the way up and down        the same: each message is authenticated
    garbled   these, and bytes changed on the way up, without keys   every frame is there or counted as lost

Without keys a frame is guarded by its CRC-32C and what comes back by TCP's sum alone. A frame that fails its CRC is
answered with nothing; what the device sent behind it goes on, so that the hole is given up, counted and told as a gap
unless it is filled within the reorder window. Replies are therefore changed under CURVE only.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lifeline_core.device import Device
from lifeline_core.engine import Engine
from lifeline_core.service.certificates import make_keys, read_keys, read_public
from tests.faults.line import Line, Weather
from tests.faults.stage import Broken, Process, Stage, expect, where
from tests.service_city import DEVICE, N, city_text, frame, send_second
from tests.stranger import free_ports

ROOT = Path(__file__).parents[2]
C_DEVICE, C_RATE, C_CHANNELS = 17, 200, 2  # what examples/device.c says of itself
DRAIN_S = 90.0
GARBLES: dict[str, tuple[str, ...]] = {"open": (), "keys": ("up", "down"), "garbled": ("up",)}
Tell = Callable[[str], None]


class Caller(threading.Thread):
    """A device that speaks for ``seconds``, a second of samples at a time, and then waits for the last acknowledgement."""

    def __init__(self, number: int, line: Line, rng: random.Random, seconds: float, **options: Any) -> None:
        super().__init__(name=f"device-{number}", daemon=True)
        self.number, self.line, self.seconds, self.options = number, line, seconds, options
        self._rng = rng
        self.frames = self.acked = self.refused = self.resent = self.lost_connections = 0
        self.calm = threading.Event()
        self.trouble = ""

    def run(self) -> None:
        try:
            self._speak()
        except Exception as error:
            self.trouble = repr(error)

    def _speak(self) -> None:
        until = time.monotonic() + self.seconds
        with Device(self.line.endpoint, self.number, epoch=1, resend_s=0.3, historical_s=None, **self.options) as device:
            while time.monotonic() < until:
                send_second(device, self.frames)
                self.frames += 1
                device.pump(self._rng.choice((0.0, 0.002, 0.02)))
            while not self.calm.is_set():
                device.pump(0.05)
            if not device.drain(DRAIN_S):
                self.trouble = f"{device.unacked} of {self.frames} frames are not acknowledged {DRAIN_S:.0f} s after the weather"
            self.acked, self.refused, self.resent = device.acked, device.refused, device.resent
            self.lost_connections = device.link.lost


class Example:
    """examples/device.c as a process."""

    FRAMES = 150

    def __init__(self, folder: Path, line: Line) -> None:
        program = folder / "device"
        source = ROOT / "examples" / "device.c"
        subprocess.run(["gcc", "-std=c99", "-O1", "-I", str(ROOT / "include"), str(source), "-o", str(program)], check=True)
        command = [program, "127.0.0.1", str(line.port), str(self.FRAMES), "5"]
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def told(self) -> tuple[int, int, int]:
        """Frames acknowledged, refused, and dropped for want of memory."""
        try:
            words = self.popen.communicate(timeout=DRAIN_S)[0].split()
        except subprocess.TimeoutExpired:
            self.popen.kill()
            raise Broken("the device in C is not done") from None
        return int(words[1]), int(words[3]), int(words[5])


def lines(seconds: float, seed: int, tell: Tell, how: str, *, devices: int = 3, kill_s: float | None = None) -> dict[str, Any]:
    """``devices`` speak for so long, each behind weather of its own; the service is killed about every ``kill_s``."""
    rng, keys = random.Random(seed), how == "keys"
    with ExitStack() as life:
        folder = life.enter_context(where(f"lines, {how}"))
        (port,) = free_ports(1)
        text, options = _city(folder, port, devices, keys)
        reader = {"server_key": str(folder / "service.key"), "key_file": str(folder / "reader.key_secret")} if keys else None
        stage = life.enter_context(Stage(folder, text, keys=reader))
        every_line = [life.enter_context(Line(port, random.Random(rng.random()))) for _ in range(devices + 1)]
        process = _start(stage)
        try:
            weather = [Weather(line, random.Random(rng.random()), GARBLES[how]) for line in every_line]
            callers = [Caller(DEVICE + k, every_line[k], random.Random(rng.random()), seconds, **options) for k in range(devices)]
            example = Example(folder, every_line[-1]) if not keys and shutil.which("gcc") else None
            for thread in (*weather, *callers):
                thread.start()
            process, killed = _meanwhile(stage, process, rng, time.monotonic() + seconds, kill_s)
            for one in weather:
                one.clear()
            for caller in callers:
                caller.calm.set()
            for caller in callers:
                caller.join()
            said = _check(stage, callers, example, how)
        finally:
            process.end(signal.SIGTERM)
    counts = {"garbled": sum(line.garbled for line in every_line), "connections": sum(line.accepted for line in every_line)}
    said |= {"kills": killed} | counts
    tell(f"{how}: {said}")
    return said


def _city(folder: Path, port: int, devices: int, keys: bool) -> tuple[str, dict[str, Any]]:
    """The configuration, and what a device needs for it."""
    text = city_text(folder / "data", ipc=folder).replace(f"ipc://{folder / 'ingest'}", f"tcp://127.0.0.1:{port}")
    text = text.replace("snapshot_s = 1.0", "snapshot_s = 0.5")
    for k in range(1, devices):
        text += f'[channel.well-{k}]\nsite = "north"\ndevice = {DEVICE + k}\nchannel = 0\nunit = "kPa"\nrate_hz = 10.0\n'
        text += f'[watch.well-{k}-high]\nsite = "north"\nchannels = ["well-{k}"]\ndetector = "level"\n'
        text += "limits = [ {severity = 2, above = 25.0}, {severity = 4, above = 50.0} ]\n"
    for c in range(C_CHANNELS):
        text += f'[channel.c-{c}]\nsite = "north"\ndevice = {C_DEVICE}\nchannel = {c}\nunit = "kPa"\nrate_hz = {C_RATE}.0\n'
    text += f'[watch.c]\nsite = "north"\nchannels = {[f"c-{c}" for c in range(C_CHANNELS)]}\ndetector = "level"\n'
    text += "limits = [ {severity = 2, above = 1e9} ]\n"
    if not keys:
        return text, {}
    (_, secret), (logger, logger_secret), (reader, _) = (make_keys(folder, n) for n in ("service", "logger", "reader"))
    text += f'[security]\nmode = "curve"\nkey_file = "{secret}"\n'
    text += f'[client.logger]\nkey = "{read_public(str(logger)).decode()}"\ndevices = {[DEVICE + k for k in range(devices)]}\n'
    text += f'[client.reader]\nkey = "{read_public(str(reader)).decode()}"\nrole = "operator"\n'
    mine = read_keys(logger_secret)
    return text, {
        "curve_serverkey": read_public(str(folder / "service.key")), "curve_publickey": mine.public, "curve_secretkey": mine.secret
    }  # fmt: skip


def _start(stage: Stage) -> Process:
    process = stage.start()
    if not process.ready():
        raise Broken("the service does not start")
    return process


def _meanwhile(
    stage: Stage, process: Process, rng: random.Random, until: float, kill_s: float | None
) -> tuple[Process, int]:
    """Kill the service now and then; the one that runs at the end, and how many died."""
    killed = 0
    while (left := until - time.monotonic()) > 0:
        wait = rng.expovariate(1 / kill_s) if kill_s else left
        time.sleep(min(wait, left))
        if wait < left:
            process.end(signal.SIGKILL)
            killed += 1
            process = _start(stage)
    return process, killed


def _check(stage: Stage, callers: list[Caller], example: Example | None, how: str) -> dict[str, Any]:
    acked, refused, dropped = example.told() if example else (0, 0, 0)
    expect("troubles of devices", [c.trouble for c in callers if c.trouble], [])
    expect("frames acknowledged, refused", [(c.acked, c.refused) for c in callers], [(c.frames, 0) for c in callers])
    expect("frames of the device in C, refused", (acked, refused), (Example.FRAMES if example else 0, 0))
    frames = sum(c.frames for c in callers)
    alone = Engine(stage.city)
    truth = [a for c in callers for a in alone.push([frame(k, device=c.number) for k in range(c.frames)])]
    with stage.feed() as feed:
        stats = stage.settled(feed)
        given_up = stats["lost_frames"] - stats["late"]
        alarms = stage.check_feed(feed, 0 if given_up else len(truth))
        stage.read_by_consumer(len(alarms))
    expect("frames through the detectors and given up", stats["frames"] + given_up, frames + acked)
    if how == "garbled":
        if given_up > sum(stats["refused"].values()):
            raise Broken(f"{given_up} frames were given up, refused were {stats['refused']}")
    else:
        expect("frames given up, late", (stats["lost_frames"], stats["late"]), (0, 0))
        expect("samples", stats["samples"], N * frames + C_RATE * C_CHANNELS * acked)
        expect("samples lost, of which the device in C had no room", stats["lost_samples"], C_RATE * dropped)
        stage.check_alarms(alarms, truth, lambda alarm: alarm.watch)
    return {"frames": frames, "in C": acked, "alarms": len(alarms), "sent again": sum(c.resent for c in callers),
            "lost connections": sum(c.lost_connections for c in callers), "given up": given_up, "refused": stats["refused"]}
