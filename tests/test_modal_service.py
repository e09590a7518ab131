"""The profile bridge.modal from a city.toml to its alarms: learn, train, alarm, and go on wherever the process was ended."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifeline_core import wire
from lifeline_core.config import read_city
from lifeline_core.engine import Engine
from lifeline_core.model import NS, Alarm
from lifeline_core.service import Device, FeedClient
from lifeline_core.synth.chain import chain
from tests.service_city import read_all, short_dir

__all__ = ["short_dir"]

FS, MINUTE = 20, 60
T0 = 1_790_000_040 * NS  # a full minute
LEARN, TRAIN, SOUND, HURT = 2, 25, 5, 9
TOTAL, DAMAGE = LEARN + TRAIN + SOUND + HURT, LEARN + TRAIN + SOUND

CITY = """
[service]
ingest = "ipc://{at}/ingest"
alarms = "ipc://{at}/alarms"
feed = "ipc://{at}/feed"
metrics = "127.0.0.1:0"
data_dir = "{at}/data"
journal_mib = 32
snapshot_s = 0.5
health = false

[site.old-bridge]
domain = "bridge"
consequence = "high"
lon = 8.7
lat = 60.1

[channel.a0]
site = "old-bridge"
device = 7
channel = 0
unit = "m/s2"
quantity = "acceleration"
rate_hz = 20.0

[channel.a1]
site = "old-bridge"
device = 7
channel = 1
unit = "m/s2"
quantity = "acceleration"
rate_hz = 20.0

[channel.a2]
site = "old-bridge"
device = 7
channel = 2
unit = "m/s2"
quantity = "acceleration"
rate_hz = 20.0

[channel.air]
site = "old-bridge"
device = 8
channel = 0
unit = "degC"
quantity = "temperature"

[channel.wind]
site = "old-bridge"
device = 9
channel = 0
unit = "m/s"
quantity = "wind-speed"
rate_hz = 1.0

[watch.modes]
site = "old-bridge"
profile = "bridge.modal"
channels = ["a0", "a1", "a2", "air", "wind"]
environment = 2
f_max = 9.0
window_s = 60.0
learn = 2
train = 25
confirm = 2
block_rows = 10
order_max = 16
"""


@cache
def signals() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Acceleration [3, n] whose frequencies follow temperature and wind; temperature of each half minute; wind of each second."""
    rng = np.random.default_rng(6)
    air = 15 + 8 * np.sin(np.arange(TOTAL) / 3.0)
    wind = rng.weibull(2, TOTAL) * 5
    parts = [chain(3, 2.0 * (1 - 0.002 * (air[k] - 15) - 0.002 * (wind[k] - 4)), (0.01,) * 3, ground=0.4 if k >= DAMAGE else 1.0)
             .acceleration(MINUTE * FS, FS, rng) for k in range(TOTAL)]
    return (np.concatenate(parts, axis=1).astype(np.float32), np.repeat(air, 2),
            np.repeat(wind, MINUTE) + rng.normal(0, 1.0, TOTAL * MINUTE))


def minute_in(engine: Engine, k: int) -> list[Alarm]:
    """The k-th minute as arrays, in pieces of ten seconds, a tick after each."""
    x, air, wind = signals()
    t0, out = T0 + k * MINUTE * NS, []
    out += engine.push_samples("air", np.array([t0, t0 + 30 * NS]), air[2 * k : 2 * k + 2])
    for s in range(0, MINUTE, 10):
        t = t0 + s * NS
        out += engine.push_samples("wind", t, wind[k * MINUTE + s : k * MINUTE + s + 10])
        for row in range(3):
            begin = (k * MINUTE + s) * FS
            out += engine.push_samples(f"a{row}", t, x[row, begin : begin + 10 * FS])
        out += engine.tick(t + 10 * NS)
    return out


def city(at: str = "unused") -> Any:
    return read_city(CITY.format(at=at))


@cache
def whole() -> tuple[Alarm, ...]:
    engine, out = Engine(city()), []
    for k in range(TOTAL):
        out += minute_in(engine, k)
    return tuple(out)


def test_damage_is_an_alarm_that_names_the_mode() -> None:
    (alarm,) = whole()
    assert (alarm.kind, alarm.site, alarm.watch, alarm.process) == ("modal-change", "old-bridge", "modes", "active")
    assert T0 + (DAMAGE + 2) * MINUTE * NS <= alarm.detected_ns <= T0 + (DAMAGE + 4) * MINUTE * NS
    true = chain(3, 2.0, (0.01,) * 3, ground=0.4).f_hz / chain(3, 2.0, (0.01,) * 3).f_hz - 1
    assert alarm.value == pytest.approx(true[alarm.where["mode"] - 1], abs=0.02)
    assert alarm.severity == 4  # beyond ten percent, or five and a bridge of high consequence
    hz, moved = alarm.where["mode_hz"], abs(alarm.value or 0.0)
    assert alarm.text["en"] == (f"RED bridge old-bridge/modes: mode {alarm.where['mode']} ({hz:.4g} Hz) is "
                                f"{100 * moved:.2g} % lower than temperature and wind explain")
    assert "温度、风" in alarm.text["zh"] and f"低 {100 * moved:.2g} %" in alarm.text["zh"]


@pytest.mark.parametrize("at", [1, LEARN + 7, LEARN + TRAIN, DAMAGE + 1, DAMAGE + 6])
def test_saved_anywhere_it_says_the_same(at: int) -> None:
    """In learning, training, at its end, with damage not confirmed yet, with the alarm on; also between two ticks of a minute."""
    engine, out = Engine(city()), []
    for k in range(TOTAL):
        if k == at:
            x = signals()[0]
            half = [(f"a{row}", T0 + k * MINUTE * NS, x[row, k * MINUTE * FS : k * MINUTE * FS + 5]) for row in range(3)]
            assert [a for c in half for a in engine.push_samples(*c)] == []  # the minute before ends: its window waits for a tick
            engine = Engine.restore(city(), engine.save())
            assert engine.load_notes == []
            out += after(engine, k, 5)
        else:
            out += minute_in(engine, k)
    assert tuple(out) == whole()


def after(engine: Engine, k: int, first: int) -> list[Alarm]:
    """The k-th minute, of which ``first`` samples of every accelerometer are already in."""
    x, air, wind = signals()
    t0, out, begin = T0 + k * MINUTE * NS, [], k * MINUTE * FS
    out += engine.push_samples("air", np.array([t0, t0 + 30 * NS]), air[2 * k : 2 * k + 2])
    out += engine.push_samples("wind", t0, wind[k * MINUTE : (k + 1) * MINUTE])
    for row in range(3):
        out += engine.push_samples(f"a{row}", t0 + first * NS // FS, x[row, begin + first : begin + MINUTE * FS])
    return out + engine.tick(t0 + MINUTE * NS)


SERVE = """
import json, sys
from lifeline_core.config import read_city
from lifeline_core.service import serve
sys.exit(serve(read_city(open(sys.argv[1]).read()), ready=lambda service: print(json.dumps(service.endpoints), flush=True)))
"""


def start(config: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline(), process.communicate()[1].decode()
    return process


def end(process: subprocess.Popen[bytes], how: int) -> None:
    process.send_signal(how)
    process.communicate(timeout=30)


def send_minute(devices: list[Device], k: int) -> None:
    """Weather first: a window is then judged alike whenever the service's clock ticks."""
    x, air, wind = signals()
    t0 = T0 + k * MINUTE * NS
    devices[1].send(air[None, 2 * k : 2 * k + 2], t_ns=np.array([[t0, t0 + 30 * NS]]))
    devices[2].send(wind[None, k * MINUTE : (k + 1) * MINUTE], t0, rate=1)
    for d in devices[1:]:
        assert d.drain(20)
    devices[0].send(x[:, k * MINUTE * FS : (k + 1) * MINUTE * FS], t0, rate=FS)


@pytest.mark.slow
def test_killed_in_training_and_in_the_alarm_the_service_says_the_same(short_dir: Path) -> None:
    """kill -9 while it learns its baseline, just before the change is confirmed, and with the alarm on."""
    config = short_dir / "city.toml"
    config.write_text(CITY.format(at=short_dir))
    ends, process = f"ipc://{short_dir}/ingest", start(config)
    devices = [Device(ends, number, epoch=1, resend_s=0.3) for number in (7, 8, 9)]
    for k in range(TOTAL):
        send_minute(devices, k)
        if k in (LEARN + 11, DAMAGE + 1, DAMAGE + 6):
            end(process, signal.SIGKILL)
            process = start(config)
    for d in devices:
        assert d.drain(20)
        d.close()
    with FeedClient(f"ipc://{short_dir}/feed") as feed:
        # The last window is judged by the next tick of the service's own clock; the alarm came long before.
        alarms, stats = read_all(feed), feed.stats()
    end(process, signal.SIGTERM)
    assert (stats["gaps"], stats["refused"]) == (0, {})
    assert [(a.alarm_id, a.revision, a.detected_ns, a.where) for a in alarms] == [
        (a.alarm_id, a.revision, a.detected_ns, a.where) for a in whole()]
    assert all(a.text[key].startswith(b.text[key]) for a, b in zip(alarms, whole(), strict=True) for key in ("zh", "en"))


def test_frames_of_other_sizes_say_the_same() -> None:
    """As devices send: 3 channels in a frame of a second and a third, an irregular channel, one at its own rate."""
    x, air, wind = signals()
    engine, out, n = Engine(city()), [], 27
    fed = {"air": 0, "wind": 0}
    for seq, begin in enumerate(range(0, x.shape[1], n)):
        t = T0 + begin * NS // FS
        frames = []
        while fed["wind"] * NS + T0 <= t + 3 * NS and fed["wind"] < wind.size:
            frames.append(wire.pack(wind[None, fed["wind"] : fed["wind"] + 1], device=9, seq=fed["wind"], sample_index=fed["wind"],
                                    t0_ns=T0 + fed["wind"] * NS, rate=1))
            fed["wind"] += 1
        while fed["air"] * 30 * NS + T0 <= t + 3 * NS and fed["air"] < air.size:
            at = np.array([[T0 + fed["air"] * 30 * NS]])
            frames.append(wire.pack(air[None, fed["air"] : fed["air"] + 1], device=8, seq=fed["air"], sample_index=fed["air"],
                                    t_ns=at, t0_ns=int(at[0, 0]), rate=0))
            fed["air"] += 1
        frames.append(wire.pack(x[:, begin : begin + n], device=7, seq=seq, sample_index=begin, t0_ns=t, rate=FS))
        out += engine.push(frames)
        out += engine.tick(t)
    assert [(a.alarm_id, a.where["mode"], a.text) for a in out] == [(a.alarm_id, a.where["mode"], a.text) for a in whole()]
