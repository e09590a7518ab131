"""Frames in, alarms out: batching, restoring, ticks, samples without frames, other configurations."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.assemble import PATIENCE
from lifeline_core.detectors import find
from lifeline_core.engine import Engine
from lifeline_core.errors import CommandRefused, StateError
from lifeline_core.model import NS, Alarm, Channel, City, Site, Watch
from tests.stream import T0, frames, level_city, noise


def signal() -> Any:
    x = noise(2, 300)
    x[0, 55], x[1, 57], x[0, 100:120], x[1, 240:260] = 30, 60, 26, 70
    return x


def brief(alarms: list[Alarm]) -> list[tuple[Any, ...]]:
    return [(a.onset_ns - T0, a.revision, a.severity, a.process) for a in alarms]


def test_a_frame_in_an_alarm_out() -> None:
    engine = Engine(level_city(2))
    alarms = engine.push(frames(signal(), range(10, 300, 10)))
    assert brief(alarms)[:2] == [(5_500_000_000, 1, 2, "active"), (5_500_000_000, 2, 2, "cleared")]
    assert engine.stats()["alarms"] == 4
    assert engine.take_receipts().acks == [(7, 0, 1, 29, 29)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 299), max_size=20), st.lists(st.integers(1, 7), max_size=10), st.booleans())
def test_cuts_batches_and_restarts_never_show(cuts: list[int], batches: list[int], restart: bool) -> None:
    city = level_city(2, on_delay_s=0.2, hysteresis=1.0)
    want = Engine(city).push(frames(signal(), []))
    parts, got, engine = frames(signal(), cuts), [], Engine(city)
    for size in [*batches, len(parts)]:
        got += engine.push(parts[:size])
        parts = parts[size:]
        if restart:
            engine = Engine.restore(city, engine.save())
    assert got == want


def test_rubbish_is_counted_and_told_not_raised() -> None:
    good = frames(signal(), range(10, 300, 10))
    engine = Engine(level_city(2))
    mixed = [
        b"",
        b"\x00" * 200,
        good[0],
        b"LLF1" + b"\xff" * 90,
        good[1][:50],
        good[1],
        b"\x81\xa1v\x01",
        b"\x85garbage",
        *good[2:],
    ]
    alarms = engine.push(mixed)
    assert alarms == Engine(level_city(2)).push(good)
    assert sum(engine.stats()["refused"].values()) == 6
    assert engine.stats()["refused"]["gateway"] == 2
    assert len(engine.take_receipts().refused) == 6


def test_a_gateways_map_is_a_frame() -> None:
    import msgpack

    x = np.full(10, 30, "<i2")
    message = {
        "v": 1,
        "type": 0,
        "encoding": 1,
        "flags": 1,
        "device": 7,
        "channel": 0,
        "n_channels": 1,
        "epoch": 1,
        "clock_sd_us": 0,
        "seq": 0,
        "sample_index": 0,
        "t0_ns": T0,
        "rate_num": 10,
        "rate_den": 1,
        "n_samples": 10,
        "samples": x.tobytes(),
    }
    engine = Engine(level_city())
    assert brief(engine.push(msgpack.packb(message))) == [(0, 1, 2, "active")]
    assert engine.take_receipts().acks == [(7, 0, 1, 0, 0)]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 299), max_size=8))
def test_samples_without_frames(cuts: list[int]) -> None:
    engine, got = Engine(level_city(2)), []
    edges = [0, *sorted(cuts), 300]
    for a, b in itertools.pairwise(edges):
        got += engine.push_samples("c0", T0 + a * NS // 10, signal()[0, a:b])
        got += engine.push_samples("c1", T0 + a * NS // 10, signal()[1, a:b])
    want = Engine(level_city(2)).push(frames(signal(), []))
    assert sorted(brief(got)) == sorted(brief(want))


def test_irregular_samples_without_frames() -> None:
    engine = Engine(level_city(rate=None))
    assert engine.push_samples("c0", [T0, T0 + 60 * NS], [1.0, 2.0]) == []
    alarms = engine.push_samples("c0", [T0 + 120 * NS], [30.0])
    assert brief(alarms) == [(120 * NS, 1, 2, "active")]
    assert engine.stats()["duplicates"] == 0


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda e: e.push_samples("c0", T0, np.zeros((2, 3))), "takes one dimension, not 2"),
        (lambda e: e.push_samples("c0", [T0], [1.0]), "has a rate: one t0_ns"),
    ],
)
def test_bad_samples_are_refused(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call(Engine(level_city()))


def test_gaps_in_pushed_samples_are_breaks() -> None:
    engine = Engine(level_city())
    engine.push_samples("c0", T0, np.zeros(10))
    engine.push_samples("c0", T0 + 5 * NS, np.zeros(10))
    assert (engine.stats()["gaps"], engine.stats()["lost_samples"]) == (1, 40)


def test_streams_that_come_apart_are_watched_apart() -> None:
    """A watch over two channels of one device whose frames carry one channel each: a gap in one does not touch the other."""
    x = signal()
    engine = Engine(level_city(2))
    got = engine.push(frames(x[:1], [], channel=0))
    for p in frames(x[1:], range(10, 300, 10), channel=1):
        got += engine.push(p)
    assert sorted(brief(got)) == sorted(brief(Engine(level_city(2)).push(frames(x, []))))
    assert len(engine.runs[0].groups) == 2
    again = Engine.restore(engine.city, engine.save())
    more = noise(1, 10) + 40
    late = frames(more, [], channel=0, seq0=1, index0=300, t0_ns=T0 + 30 * NS)
    assert again.push(late) == engine.push(late) != []


def test_history_is_alarmed_as_history() -> None:
    engine = Engine(level_city())
    engine.push(frames(noise(1, 10), [], index0=1000, t0_ns=T0 + 100 * NS))
    old = noise(1, 10)
    old[0, 5] = 99
    alarms = engine.push(frames(old, [], seq0=1, index0=10, t0_ns=T0 + NS, flags=1 | 8))
    assert [a.historical for a in alarms] == [True, True]


def test_commands_go_through_the_engine() -> None:
    engine = Engine(level_city())
    (alarm, *_) = engine.push(frames(np.full((1, 5), 30.0), []))
    (confirmed,) = engine.command(alarm.alarm_id, "confirm", actor="wang")
    assert (confirmed.handling, confirmed.revision) == ("confirmed", 2)
    with pytest.raises(CommandRefused, match="possible: dispatch"):
        engine.command(alarm.alarm_id, "close", actor="wang")


def test_a_failing_detector_is_a_finding_and_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(level_city())
    detector = engine.runs[0]._lanes[0]

    def fail(group: int, block: Any) -> Any:
        raise RuntimeError("boom")

    monkeypatch.setattr(detector, "push", fail)
    (alarm,) = engine.push(frames(np.full((1, 5), 30.0), []))
    assert (alarm.kind, alarm.evidence["error"].split(" (")[0]) == ("fault", "RuntimeError: boom")
    assert engine.stats()["detector_errors"] == 1
    assert engine.push(frames(np.full((1, 5), 30.0), [], seq0=1, index0=5, t0_ns=T0 + NS // 2))[0].kind == "level"


def test_other_bytes_are_no_state() -> None:
    for wrong in (b"", b"\x00", b"\x81\xa1v\x63"):
        with pytest.raises(StateError, match="saved state"):
            Engine.restore(level_city(), wrong)


def test_another_configuration_keeps_what_still_fits() -> None:
    city = level_city()
    engine = Engine(city)
    engine.push(frames(np.full((1, 5), 30.0), []))
    changed = level_city(above=28.0)
    other = City(**{**msgspec.structs.asdict(changed), "hash": "other"})
    again = Engine.restore(other, engine.save())
    assert any("configuration changed" in n for n in again.load_notes)
    assert list(again.episodes.known) == list(engine.episodes.known)


def test_an_empty_city_works() -> None:
    engine = Engine(City(sites={}, channels={}, watches={}, hash="0"))
    assert engine.push(frames(noise(1, 4), [])) == []
    assert engine.stats()["refused"] == {"unknown-device": 1}
    assert engine.tick(T0) == []
    assert engine.flush() == []


@pytest.mark.timeout(60)
def test_a_lost_frame_beside_a_dead_partner_does_not_hold_the_clock() -> None:
    """The ring is full of samples that wait for the partner; the frame behind a hole still comes to its turn."""
    kind = find("modal")
    channels = {n: Channel(name=n, site="s", device=d, channel=0, rate_hz=10.0, unit="m/s2") for d, n in ((1, "a"), (2, "b"))}
    watch = Watch(name="w", site="s", channels=("a", "b"), detector="modal", params=kind.PARAMS())
    sites = {"s": Site(name="s", domain="bridge", consequence="medium")}
    engine = Engine(City(sites=sites, channels=channels, watches={"w": watch}, hash="test"))
    parts = frames(noise(1, 40_000), range(10, 40_000, 10), device=1)
    engine.push([frames(noise(1, 10), [], device=2)[0], *parts[:3400], parts[3401]])
    for k in range(PATIENCE + 2):
        engine.tick(T0 + k * NS)
    engine.flush()
    assert engine.stats()["lost_frames"] == 1
