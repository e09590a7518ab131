"""The demo's city, devices and score, without the minute it takes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from lifeline_core import wire
from lifeline_core.config import check_city, load_city
from lifeline_core.demo import devices, plan
from lifeline_core.demo.score import Score
from lifeline_core.engine import Engine
from lifeline_core.model import NS, Alarm
from tests.stream import frames, level_city

T0 = 1_790_000_000 * NS - 1_790_000_000 * NS % (600 * NS)


@pytest.fixture
def city(tmp_path: Path) -> Path:
    (tmp_path / "network.inp").write_text(plan.network().inp())
    (tmp_path / "city.toml").write_text(plan.configuration(str(tmp_path / "data"), {}))
    return tmp_path / "city.toml"


def test_the_city_has_no_faults(city: Path) -> None:
    assert check_city(city).faults == []
    loaded = load_city(city)
    assert {d.number for d in plan.DEVICES} == {c.device for c in loaded.channels.values()}
    assert {loaded.sites[e.site].domain for e in plan.EVENTS} == {
        "bridge",
        "water",
        "gas",
        "drainage",
        "heat",
        "utility-tunnel",
        "tunnel",
        "lighting",
    }


def test_all_garbage_is_refused(city: Path) -> None:
    engine = Engine(load_city(city))
    engine.push(devices.garbage(np.random.default_rng(1), 400))
    assert sum(engine.stats()["refused"].values()) == 400


@pytest.mark.parametrize("number", [11, 20, 30, 40, 62])
def test_devices_send_sound_frames(number: int) -> None:
    device = next(d for d in plan.DEVICES if d.number == number)
    sent = devices.frames_of(device, T0, 1)
    read = [wire.decode(f) for _, _, f in sent[:: max(1, len(sent) // 50)]]
    assert all(isinstance(f, wire.Frame) and f.device == number for f in read)
    assert max(share for share, _, _ in sent) <= device.silent_after


def slow(number: int, city: Path) -> list[Alarm]:
    device = next(d for d in plan.DEVICES if d.number == number)
    return Engine(load_city(city)).push([f for _, _, f in devices.frames_of(device, T0, 1)])


def test_an_event_is_found_and_a_stranger_is_false(city: Path) -> None:
    mine = slow(90, city)
    report = [("lamp-street", 1, True, [(90, mine[0].detected_ns, mine[0].detected_ns)]), ("garbage", 3, True, [])]
    stats = {"refused": {"crc": 3}, "frames": 1, "samples": 1}
    mine = [msgspec.structs.replace(a, published_ns=a.detected_ns + 5_000_000) for a in mine]
    score = Score(mine, T0, report, stats, 1.0)
    assert score.found["lamp post under current"][0]
    assert not score.found["ship strikes a pier"][0]
    assert score.false == []
    assert score.latencies_ms == [5.0]
    stranger = Engine(level_city()).push(frames(np.full((1, 3), 30.0), []))
    worse = Score([*mine, *stranger], T0, report, stats, 1.0)
    assert len(worse.false) == 1
    assert not worse.good
