"""Someone else's device and platform against the running program: only the published wire is known to them."""

from __future__ import annotations

import math
import os
import random
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from . import stranger
from .stranger import NS, Device, Platform, Sender, Serving, alarm_id, pack, payload, reseal

T0 = 1_772_438_400 * NS  # 2026-03-02 08:00:00 UTC, the start of a bin of ten minutes
BIN = 600
RUBBISH = int(os.environ.get("STRANGER_RUBBISH", "10"))  # for every good frame; 334 make 100,000 of the two tests

LIES = ("flags", "encoding", "rate_num")

KEYS = {
    *("seq", "alarm_id", "revision", "site", "domain", "watch", "kind", "severity", "process", "handling", "shelved_until_ns"),
    *("onset_ns", "detected_ns", "updated_ns", "published_ns", "score", "value", "limit", "unit", "where", "evidence"),
    *("quality", "historical", "config_hash", "version", "text"),
}

SITES = """
[site.river-bridge]
domain = "bridge"
lon = 118.10
lat = 39.20
consequence = "high"

[site.north-main]
domain = "gas"
lon = 118.11
lat = 39.21
consequence = "low"

[site.deep-sewer]
domain = "drainage"
lon = 118.12
lat = 39.22
consequence = "high"
"""


def girder(name: str, device: int) -> str:
    return f"""
[channel.{name}]
site = "river-bridge"
device = {device}
channel = 0
quantity = "acceleration"
unit = "m/s2"
scale = 1.0e-6
offset = 0.0
range = [-20.0, 20.0]
rate_hz = 200.0

[watch.{name}-vibration]
site = "river-bridge"
channels = ["{name}"]
profile = "bridge.girder-acceleration"
"""


def well(name: str, device: int, channel: int = 0) -> str:
    return f"""
[channel.{name}-ch4]
site = "north-main"
device = {device}
channel = {channel}
quantity = "methane"
unit = "%LEL"

[watch.{name}]
site = "north-main"
channels = ["{name}-ch4"]
detector = "level"
limits = [ {{severity = 2, above = 25.0}}, {{severity = 4, above = 50.0}} ]
hysteresis = 2.0
on_delay_s = 0.0
"""


def tank(name: str, device: int, keys: str = "", *, channel: int = 0, rate: int = 10) -> str:
    """A level of 0.5 per count, so that the limits are met exactly."""
    limits = "" if "limits" in keys else "limits = [ {severity = 2, above = 25.0}, {severity = 4, above = 50.0} ]\n"
    return f"""
[channel.{name}-level]
site = "deep-sewer"
device = {device}
channel = {channel}
quantity = "level"
unit = "cm"
scale = 0.5
offset = 0.0
range = [-1000.0, 1000.0]
rate_hz = {rate}.0

[watch.{name}]
site = "deep-sewer"
channels = ["{name}-level"]
detector = "level"
{limits}hysteresis = 2.0
{keys}
"""


CITY = "".join(
    [
        SITES,
        girder("rb-a1", 17),
        girder("rb-a2", 18),
        *(well(f"well-{k}", 20 + k) for k in (7, 8)),
        *(tank(f"tank-{k}", 100 + k) for k in range(36)),
        *(tank(f"cell-{k}", 200, channel=k) for k in range(4)),
        tank("tank-strict", 141, "strict = true"),
        tank("tank-slow", 142, "on_delay_s = 3.0"),
        tank("tank-low", 143, "limits = [ {severity = 1, below = 5.0}, {severity = 3, below = 2.0} ]"),
        tank("tank-fast", 144, rate=1000),
    ]
)


@pytest.fixture(scope="module")
def ctx() -> Iterator[zmq.Context[Any]]:
    context: zmq.Context[Any] = zmq.Context()
    yield context
    stranger.end(context)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = Serving(tmp_path_factory.mktemp("house"), CITY)
    serving.start()
    yield serving
    serving.end()


@pytest.fixture
def platform(ctx: zmq.Context[Any], house: Serving) -> Iterator[Platform]:
    assert house.alive, house.log()
    made = Platform(ctx, house.where)
    yield made
    made.close()
    assert house.alive, house.log()


Make = Callable[..., Device]


@pytest.fixture
def device(ctx: zmq.Context[Any], house: Serving) -> Iterator[Make]:
    made: list[Device] = []

    def make(number: int, **keys: Any) -> Device:
        made.append(Device(ctx, house.where["ingest"], number, **{"t0_ns": T0, **keys}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def cm(*levels: float) -> list[int]:
    """Counts of a tank at these levels."""
    return [round(2 * x) for x in levels]


def quiet(n: int = 10) -> list[int]:
    return [2 * 10] * n


# --- devices ----------------------------------------------------------------------------------------------------------------


def test_acks_are_cumulative_and_repeated_for_duplicates(device: Make, platform: Platform) -> None:
    tank = device(100)
    kept = []
    for _ in range(5):
        kept.append(tank.frame(quiet()))
        tank.raw(kept[-1])
    assert tank.reach(4)
    tank.listen(0.2)
    acks = [r["ack"] for r in tank.replies]
    assert acks == sorted(acks) and acks[-1] == 4
    for reply in tank.replies:
        assert set(reply) == {"ack", "device", "channel", "epoch", "credit"}
        assert (reply["device"], reply["channel"], reply["epoch"]) == (100, 0, 1)
        assert isinstance(reply["credit"], int) and reply["credit"] > 0
    before = platform.stats()
    tank.raw(kept[2])
    assert [r["ack"] for r in tank.hear(5.0)] == [4]
    tank.raw(kept[4])
    assert [r["ack"] for r in tank.hear(5.0)] == [4]
    after = platform.stats()
    assert after["duplicates"] - before["duplicates"] == 2
    assert after["samples"] == before["samples"]


def test_the_first_seq_seen_begins_the_stream(device: Make, platform: Platform) -> None:
    gaps = platform.stats()["gaps"]
    tank = device(101, first_seq=1000)
    tank.say(quiet())
    assert tank.hear(5.0)[-1]["ack"] == 1000
    tank.say(quiet())
    assert tank.reach(1001)
    assert platform.stats()["gaps"] == gaps


def test_a_hole_that_is_filled_in_time_is_none(device: Make, platform: Platform) -> None:
    gaps = platform.stats()["gaps"]
    tank = device(102)
    made = [tank.frame(quiet(2)) for _ in range(8)]
    for k in (0, 1, 2, 4, 5, 6, 7):
        tank.raw(made[k])
    assert tank.reach(2)
    tank.listen(0.3)
    assert tank.acked == 2
    tank.raw(made[3])
    assert tank.reach(7)
    assert platform.stats()["gaps"] == gaps


def test_a_hole_is_held_then_lost_and_the_ack_passes_it(device: Make, platform: Platform) -> None:
    gaps = platform.stats()["gaps"]
    tank = device(103)
    made = [tank.frame(quiet()) for _ in range(12)]  # one second each; the window is two
    for k in (0, 1, 2, 3, 4, 6):
        tank.raw(made[k])
    assert tank.reach(4)
    tank.listen(0.3)
    assert tank.acked == 4
    for k in range(7, 12):
        tank.raw(made[k])
    assert tank.reach(11)
    assert platform.stats()["gaps"] - gaps == 1
    tank.raw(made[5])  # too late
    assert tank.hear(5.0)[-1]["ack"] == 11


def test_a_hole_is_lost_after_64_frames_too(device: Make, platform: Platform) -> None:
    fast = device(144, rate=1000)
    made = [fast.frame(quiet()) for _ in range(100)]  # ten milliseconds each
    for frame in (made[0], *made[2:50]):
        fast.raw(frame)
    assert fast.reach(0)
    fast.listen(0.3)
    assert fast.acked == 0
    for frame in made[50:]:
        fast.raw(frame)
    assert fast.reach(99)


def test_hello_is_answered_with_credit(device: Make) -> None:
    tank = device(104)
    tank.hello()
    reply = tank.hear(5.0)[-1]
    assert reply["credit"] > 0 and "refused" not in reply
    tank.say(quiet())
    assert tank.reach(0)


def test_many_streams_on_one_connection(device: Make, ctx: zmq.Context[Any]) -> None:
    one = device(105)
    for number in (106, 107):
        one.raw(pack(payload(stranger.INT32, [quiet()]), **{**one.fields(10), "device": number}))
    one.say(quiet())
    one.listen(0.4)
    assert {(r["device"], r["ack"]) for r in one.replies} == {(105, 0), (106, 0), (107, 0)}


def test_a_new_boot_is_a_new_stream(device: Make) -> None:
    first = device(108)
    for _ in range(3):
        first.say(quiet())
    assert first.reach(2)
    second = device(108, epoch=2, t0_ns=T0 + 60 * NS)
    second.say(quiet(), flags=1 | 16)
    assert second.reach(0)
    assert second.replies[-1]["epoch"] == 2


def test_refused_frames_are_answered_and_count_as_acknowledged(device: Make, platform: Platform) -> None:
    before = platform.stats()
    unknown = device(9999)
    unknown.say(quiet())
    unknown.listen(0.5)
    assert [set(r) - {"credit"} for r in unknown.replies] == [{"refused", "device", "channel", "epoch", "seq"}]
    assert unknown.refusals == [{**unknown.refusals[0], "refused": "unknown-device", "seq": 0, "device": 9999}]
    assert not unknown.unacked
    reasons = Counter([unknown.refusals[0]["refused"]])

    lies = {
        "channel": {"channel": 5},
        "encoding": {"encoding": 6, "rate_num": 0, "n_samples": 2},
        "rate": {"rate_num": 20},
        "no channels": {"n_channels": 0},
    }
    for k, (why, lie) in enumerate(lies.items()):
        tank = device(109, channel=lie.get("channel", 0))
        tank.seq = 70 + k
        body = payload(6, [[(T0, 1.0), (T0 + 1, 2.0)]]) if why == "encoding" else payload(3, [quiet()])
        tank.raw(pack(body if why != "no channels" else b"", **{**tank.fields(10), **lie}))
        tank.listen(0.3)
        assert len(tank.refusals) == 1, (why, tank.replies)
        assert tank.refusals[0]["seq"] == 70 + k
        reasons[tank.refusals[0]["refused"]] += 1

    tank = device(109)
    tank.say(quiet())
    assert tank.reach(0)
    refused = platform.stats()["refused"]
    got = {reason: n - before["refused"].get(reason, 0) for reason, n in refused.items()}
    assert {reason: n for reason, n in got.items() if n} == dict(reasons)


def test_a_frame_whose_crc_fails_is_answered_with_nothing(device: Make, platform: Platform) -> None:
    before = sum(platform.stats()["refused"].values())
    tank = device(110)
    good = tank.frame(quiet())
    for at in (5, 9, 24, 60, 64, len(good) - 1):
        tank.raw(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
    assert tank.listen(0.5) == []
    assert sum(platform.stats()["refused"].values()) - before == 6
    tank.raw(good)
    assert tank.reach(0)


def test_channel_sets_may_not_overlap_within_an_epoch(device: Make, platform: Platform) -> None:
    before = platform.stats()["refused"].get("stream-overlap", 0)
    pair = device(200, channel=0, n_channels=2)
    pair.say(quiet(), quiet())
    assert pair.reach(0)
    over = device(200, channel=1, n_channels=2)
    over.say(quiet(), quiet())
    over.listen(0.3)
    assert [(r["refused"], r["channel"], r["seq"]) for r in over.refusals] == [("stream-overlap", 1, 0)]
    beside = device(200, channel=2, n_channels=2)
    beside.say(quiet(), quiet())
    assert beside.reach(0)
    inside = device(200, channel=0, n_channels=1)
    inside.say(quiet())
    inside.listen(0.3)
    assert [r["refused"] for r in inside.refusals] == ["stream-overlap"]
    assert platform.stats()["refused"]["stream-overlap"] - before == 2
    other = device(200, channel=1, n_channels=2, epoch=2, t0_ns=T0 + 60 * NS)
    other.say(quiet(), quiet())
    assert other.reach(0)


def test_every_encoding_says_the_same(device: Make, platform: Platform) -> None:
    levels = cm(10, 10, 10, 26, 30, 28, 22, 10)
    for encoding in (1, 2, 3, 4, 5):
        tank = device(110 + encoding, encoding=encoding)
        tank.say(levels)
        assert tank.reach(0), encoding
        raised, cleared = platform.until(2, watch=f"tank-{10 + encoding}", kind="level")
        assert (raised["severity"], raised["onset_ns"], raised["process"]) == (3, T0 + 3 * NS // 10, "active")
        assert raised["value"] == 26.0
        assert (cleared["revision"], cleared["process"]) == (2, "cleared")


def test_a_gateway_may_send_maps(device: Make, platform: Platform) -> None:
    tank = device(116, encoding=stranger.INT16)
    tank.raw(tank.gateway(cm(10, 10, 26, 30)))
    tank.raw(tank.gateway(cm(10, 10)))
    assert tank.reach(1)
    raised, cleared = platform.until(2, watch="tank-16", kind="level")
    assert (raised["severity"], raised["onset_ns"], cleared["process"]) == (3, T0 + 2 * NS // 10, "cleared")
    before = sum(platform.stats()["refused"].values())
    for lie in ({"v": 2}, {"type": "data"}, {"n_samples": 7}, {"flags": 128}):
        fields = msgpack.unpackb(tank.gateway(quiet()))
        tank.raw(msgpack.packb({**fields, **lie}))
    tank.listen(0.3)
    assert sum(platform.stats()["refused"].values()) - before == 4


def test_header_extensions_are_passed_over(device: Make, platform: Platform) -> None:
    tank = device(117)
    extension = msgpack.packb({"fw": "123"})
    assert len(extension) == 8
    tank.say(cm(10, 26), extensions=extension)
    assert tank.reach(0)
    assert platform.until(1, watch="tank-17", kind="level")[0]["severity"] == 3
    tank.say(cm(10, 10), extensions=msgpack.packb({"firmware": "1.2"}).ljust(16, b"\0"))  # the header's length is a multiple of 8
    assert tank.reach(1)


def test_a_sound_frame_with_nonsense_for_extensions_is_answered(device: Make) -> None:
    tank = device(119)
    tank.say(quiet())
    assert tank.reach(0)
    tank.say(quiet(), extensions=b"\xc1" * 8)
    tank.listen(0.3)
    assert [r["seq"] for r in tank.refusals] == [1], tank.replies


@pytest.mark.parametrize("lie", [{"flags": 33}, {"encoding": 99}, {"rate_num": 11}], ids=["flags", "encoding", "rate"])
def test_a_refused_frame_leaves_no_hole(ctx: zmq.Context[Any], house: Serving, platform: Platform, lie: dict[str, int]) -> None:
    tank = Device(ctx, house.where["ingest"], 127 + list(LIES).index(next(iter(lie))), t0_ns=T0, epoch=77)
    try:
        tank.say(quiet())
        assert tank.reach(0)
        tank.say(quiet(), **lie)
        tank.listen(0.3)
        assert [r["seq"] for r in tank.refusals] == [1], tank.replies
        tank.say(quiet())  # the refused one counts as acknowledged: nothing is missing before this
        assert tank.reach(2, 2.0), tank.replies
    finally:
        tank.close()


@pytest.mark.parametrize("lie", [{"flags": 33}, {"encoding": 99}, {"rate_num": 11}], ids=["flags", "encoding", "rate"])
def test_a_lie_takes_no_good_frame_s_place(device: Make, platform: Platform, lie: dict[str, int]) -> None:
    tank = device(127 + list(LIES).index(next(iter(lie))), epoch=78, t0_ns=T0 + 60 * NS)
    tank.say(quiet())
    assert tank.reach(0)
    before = platform.stats()
    fields = tank.fields(10)
    tank.raw(pack(payload(stranger.INT32, [quiet()]), **{**fields, **lie}))
    tank.say(quiet())
    assert tank.reach(1)
    tank.listen(0.2)
    after = platform.stats()
    assert after["frames"] - before["frames"] == 1 and after["samples"] - before["samples"] == 10


def test_beyond_its_credit_nothing_is_dropped(device: Make, platform: Platform) -> None:
    before = platform.stats()
    loud = device(130, encoding=stranger.INT16)
    for _ in range(600):
        loud.say(quiet(2000))
    assert loud.reach(599, 10.0)
    after = platform.stats()
    assert (after["frames"] - before["frames"], after["gaps"]) == (600, before["gaps"])


def test_bye_and_state_of_health_belong_to_no_stream(device: Make, platform: Platform) -> None:
    before = sum(platform.stats()["refused"].values())
    tank = device(118)
    tank.say(quiet())
    assert tank.reach(0)
    tank.raw(pack(msgpack.packb({"battery_v": 3.6}), type=stranger.HEALTH, encoding=3, **tank.key))
    tank.raw(pack(type=stranger.BYE, encoding=3, **tank.key))
    tank.listen(0.3)
    tank.say(quiet())
    assert tank.reach(1)
    assert sum(platform.stats()["refused"].values()) == before


# --- alarms -----------------------------------------------------------------------------------------------------------------


def test_an_alarm_arrives_live_and_in_the_feed(device: Make, platform: Platform) -> None:
    tank = device(120)
    tank.say(quiet())
    tank.say(cm(10, 10, 10, 10, 26, 27, 28, 29, 30, 31))
    assert tank.reach(1)
    (row,) = platform.until(1, watch="tank-20", kind="level")
    end = time.monotonic() + 5
    while not (live := [x for x in platform.seen if x[1]["watch"] == "tank-20"]) and time.monotonic() < end:
        platform.watch(0.2)
    assert [topic for topic, _ in live] == ["alarm/3/drainage/deep-sewer/tank-20"]
    assert live[0][1] == row
    assert set(row) == KEYS
    onset = T0 + 14 * NS // 10
    assert row["alarm_id"] == alarm_id("deep-sewer", "tank-20", "level", onset)
    assert {**row, "revision": 1, "site": "deep-sewer", "domain": "drainage", "process": "active", "handling": "new"} == row
    assert (row["severity"], row["value"], row["limit"], row["unit"]) == (3, 26.0, 25.0, "cm")
    assert row["onset_ns"] == row["detected_ns"] == row["updated_ns"] == onset
    assert row["score"] >= 1.0 and row["historical"] is False
    assert abs(row["published_ns"] - time.time_ns()) < 60 * NS
    assert {"lon": 118.12, "lat": 39.22}.items() <= row["where"].items()
    assert isinstance(row["evidence"], dict) and isinstance(row["config_hash"], str) and isinstance(row["version"], str)
    assert "\n" not in str(row["text"]) and row["text"]


def test_an_episode_and_its_revisions(device: Make, platform: Platform) -> None:
    tank = device(121)
    t = [*[10] * 3, 26, 30, 49.5, 50, 60, 49, 47, 30, 24, 23.5, 26, 22.5, 10, 20, 24.5, 25, 26, 10]
    for k in range(0, len(t), 3):
        tank.say(cm(*t[k : k + 3]))
    tank.settle()
    rows = platform.until(5, watch="tank-21", kind="level")
    assert len(rows) == 5
    first, second = T0 + 3 * NS // 10, T0 + 18 * NS // 10  # 25 is reached
    one, two = (alarm_id("deep-sewer", "tank-21", "level", onset) for onset in (first, second))
    assert [(r["alarm_id"], r["revision"], r["severity"], r["process"]) for r in rows] == [
        (one, 1, 3, "active"),
        (one, 2, 4, "active"),
        (one, 3, 4, "cleared"),
        (two, 1, 3, "active"),
        (two, 2, 3, "cleared"),
    ]
    assert [r["onset_ns"] for r in rows] == [first] * 3 + [second] * 2
    assert [r["updated_ns"] for r in rows] == [T0 + k * NS // 10 for k in (3, 6, 14, 18, 20)]


def test_strict_limits_must_be_exceeded(device: Make, platform: Platform) -> None:
    tank = device(141)
    tank.say(cm(10, 25, 25, 10, 25.5, 10))
    assert tank.reach(0)
    rows = platform.until(2, watch="tank-strict", kind="level")
    assert [(r["onset_ns"], r["process"]) for r in rows] == [(T0 + 4 * NS // 10, "active"), (T0 + 4 * NS // 10, "cleared")]


def test_limits_below(device: Make, platform: Platform) -> None:
    tank = device(143)
    tank.say(cm(10, 5.5, 5, 4, 2, 1, 3, 6.5, 7.5))
    assert tank.reach(0)
    rows = platform.until(3, watch="tank-low", kind="level")
    assert [(r["severity"], r["process"], r["updated_ns"]) for r in rows] == [
        (2, "active", T0 + 2 * NS // 10),
        (4, "active", T0 + 4 * NS // 10),
        (4, "cleared", T0 + 8 * NS // 10),
    ]


def test_on_delay_counts_from_the_first_sample_beyond(device: Make, platform: Platform) -> None:
    tank = device(142)
    for level, n in ((10, 10), (30, 25), (10, 10), (30, 50), (10, 10)):  # 2.5 s say nothing, 5 s do
        tank.say(cm(*[level] * n))
    tank.settle()
    raised, cleared = platform.until(2, watch="tank-slow", kind="level")
    assert raised["onset_ns"] == T0 + 45 * NS // 10
    assert abs(raised["detected_ns"] - raised["onset_ns"] - 3 * NS) <= NS // 10
    assert raised["alarm_id"] == cleared["alarm_id"] == alarm_id("deep-sewer", "tank-slow", "level", raised["onset_ns"])
    assert cleared["process"] == "cleared"


def test_an_irregular_gas_sensor(device: Make, platform: Platform) -> None:
    gas = device(27, encoding=stranger.TIMED, rate=0)
    seconds = [0, 61.5, 118, 180.25, 240, 305, 333]
    for k, ppm in zip((0, 2, 4), ((1.0, 3.5), (25.0, 60.0), (24.0, 22.9, 5.0)), strict=True):
        gas.say([(T0 + int(s * NS), v) for s, v in zip(seconds[k : k + len(ppm)], ppm, strict=True)])
    gas.settle()
    rows = platform.until(3, watch="well-7", kind="level")
    assert [(r["severity"], r["process"], r["updated_ns"]) for r in rows] == [
        (2, "active", T0 + 118 * NS),
        (4, "active", T0 + int(180.25 * NS)),
        (4, "cleared", T0 + 305 * NS),
    ]
    assert rows[0]["unit"] == "%LEL" and rows[0]["alarm_id"] == alarm_id("north-main", "well-7", "level", T0 + 118 * NS)
    reasons = Counter(platform.stats()["refused"])
    later = T0 + 400 * NS
    gas.say([(later, 1.0), (later, 2.0)])  # not increasing
    gas.say([(later, 1.0)], t0_ns=later + 1)  # not the first time
    gas.say([(later, 1.0)], rate_num=1)
    gas.listen(0.5)
    assert len(gas.refusals) == 3, gas.replies[-3:]
    assert sum((Counter(platform.stats()["refused"]) - reasons).values()) == 3


# --- the bridge's ten minutes -----------------------------------------------------------------------------------------------


def hum(rms: float, seconds: int, *, rate: int = 200) -> list[int]:
    """A sine of 4 Hz in counts of a micrometre per second squared; its RMS over whole seconds is exact."""
    top = rms * math.sqrt(2.0) * 1e6
    second = [round(top * math.sin(2 * math.pi * 4 * k / rate)) for k in range(rate)]
    return second * seconds


def play(girder: Device, rms: float, seconds: int) -> None:
    for begin in range(0, seconds, 10):
        girder.say(hum(rms, min(10, seconds - begin)))
    girder.settle()


def test_69_percent_say_nothing_and_71_do(device: Make, platform: Platform) -> None:
    girder = device(17, rate=200, t0_ns=T0 + 186 * NS)
    play(girder, 0.52, 414)  # 69 % of the bin of 08:00
    play(girder, 0.40, 300)
    girder.skip(174 * 200)  # 71 % of the bin of 08:10
    play(girder, 0.40, 126)
    play(girder, 0.01, 610)  # the bin of 08:20, whole
    raised, cleared = platform.until(2, watch="rb-a1-vibration", kind="rms")
    assert (raised["severity"], raised["limit"], raised["unit"]) == (3, 0.315, "m/s2")
    assert raised["value"] == pytest.approx(0.40, rel=1e-3)
    assert T0 + BIN * NS <= raised["onset_ns"] < T0 + 2 * BIN * NS
    assert abs(raised["detected_ns"] - (T0 + 2 * BIN * NS)) <= NS
    assert cleared["process"] == "cleared" and abs(cleared["updated_ns"] - (T0 + 3 * BIN * NS)) <= NS
    assert raised["alarm_id"] == alarm_id("river-bridge", "rb-a1-vibration", "rms", raised["onset_ns"])
    assert len(platform.rows(watch="rb-a1-vibration", kind="rms")) == 2


def test_bins_lie_on_the_utc_clock(device: Make, platform: Platform) -> None:
    girder = device(18, rate=200, t0_ns=T0 + 300 * NS)
    play(girder, 0.01, 600)
    play(girder, 0.42, 600)  # half of either bin: 0.297, under 0.315
    play(girder, 0.01, 300)
    play(girder, 0.52, 605)
    (raised,) = platform.until(1, watch="rb-a2-vibration", kind="rms")
    assert raised["value"] == pytest.approx(0.52, rel=1e-3)
    assert raised["severity"] == 4
    assert T0 + 3 * BIN * NS <= raised["onset_ns"] < T0 + 4 * BIN * NS


# --- the feed ---------------------------------------------------------------------------------------------------------------


def excursion(tank: Device, platform: Platform, watch: str, *, n: int = 1) -> list[dict[str, Any]]:
    """n episodes, raised and cleared; their rows."""
    for _ in range(n):
        tank.say(cm(10, 30, 10))
    tank.settle()
    return platform.until(2 * n, watch=watch, kind="level")


def test_reading_and_acknowledging(device: Make, platform: Platform) -> None:
    excursion(device(122), platform, "tank-22", n=3)
    every = platform.rows()
    assert [r["seq"] for r in every] == list(range(1, len(every) + 1))
    assert len({(r["alarm_id"], r["revision"]) for r in every}) == len(every)

    first = platform.good("read", consumer="reader", max=2)
    assert set(first) >= {"ok", "alarms", "cursor"}
    assert (first["alarms"], first["cursor"]) == (every[:2], 2)
    assert platform.good("read", consumer="reader", max=2) == first
    assert platform.good("ack", consumer="reader", cursor=1)["ok"]
    assert platform.good("read", consumer="reader", max=2)["alarms"] == every[1:3]
    assert platform.good("read", consumer="reader", after=4, max=1)["alarms"] == every[4:5]
    assert platform.good("read", consumer="reader", max=1)["alarms"] == every[1:2]  # `after` moved nothing
    assert platform.good("read", consumer="another", max=1)["alarms"] == every[:1]
    last = len(every)
    platform.good("ack", consumer="reader", cursor=last)
    end = platform.good("read", consumer="reader")
    assert (end["alarms"], end["cursor"]) == ([], last)
    assert platform.good("read", consumer="reader", after=last + 0, max=5)["cursor"] == last


def test_nonsense_is_refused_with_a_code(platform: Platform) -> None:
    codes = [
        platform.bad("dance"),
        platform.bad(None),
        platform.bad(7),
        platform.bad(body=b""),
        platform.bad(body=b"\xc1\xff\x00"),
        platform.bad(body=msgpack.packb([1, 2, 3])),
        platform.bad(body=msgpack.packb({"consumer": "x"})),
        platform.bad(body=msgpack.packb({1: 2})),
        platform.bad(body=msgpack.packb({"op": "read", "consumer": "x"})[:-1]),
        platform.bad(body=b"\xdf\xff\xff\xff\xff" + b"\x81" * 5000),
        platform.bad("read"),
        platform.bad("read", consumer=5),
        platform.bad("read", consumer="x", max=-1),
        platform.bad("read", consumer="x", max="many"),
        platform.bad("read", consumer="x", after="beginning"),
        platform.bad("ack", consumer="x"),
        platform.bad("ack", consumer="x", cursor=-3),
        platform.bad("ack", consumer="x", cursor=1 << 62),
        platform.bad("ack", consumer="x", cursor=None),
        platform.bad("command", alarm_id="00", action="confirm", actor="me", reason=""),
        platform.bad("command"),
        platform.bad("evidence", alarm_id="00"),
        platform.bad("evidence"),
    ]
    assert all(code and code == code.lower() and " " not in code for code in codes), codes
    assert platform.good("stats")["stats"]["frames"] >= 0


def test_parts_before_the_last_come_back_unchanged(ctx: zmq.Context[Any], platform: Platform) -> None:
    dealer = ctx.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.connect(platform.where["feed"])
    try:
        for parts in ([b""], [b"a", b"", b"\x00\x01"], [], [b"request-17"]):
            dealer.send_multipart([*parts, msgpack.packb({"op": "stats"})])
            assert dealer.poll(5000)
            *envelope, body = dealer.recv_multipart()
            assert envelope == parts
            assert msgpack.unpackb(body)["ok"] is True
        for k in range(50):  # many under way at once
            dealer.send_multipart([b"%d" % k, msgpack.packb({"op": "read" if k % 2 else "no", "consumer": "many", "max": 1})])
        replies = {}
        while len(replies) < 50 and dealer.poll(5000):
            name, body = dealer.recv_multipart()
            replies[int(name)] = msgpack.unpackb(body)["ok"]
        assert replies == {k: bool(k % 2) for k in range(50)}
    finally:
        dealer.close()


def test_a_read_may_wait(ctx: zmq.Context[Any], device: Make, platform: Platform) -> None:
    tank = device(123)
    tank.say(quiet())
    tank.settle()
    last = len(platform.rows())
    began = time.monotonic()
    reply = platform.good("read", consumer="waiting", after=last, wait_ms=300)
    if not reply["alarms"]:  # something else may have spoken
        assert time.monotonic() - began > 0.25 and reply["cursor"] >= 0
    dealer = ctx.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.connect(platform.where["feed"])
    try:
        last = len(platform.rows())
        dealer.send_multipart([b"w", msgpack.packb({"op": "read", "consumer": "waiting", "after": last, "wait_ms": 8000})])
        assert not dealer.poll(200)
        assert platform.stats()["frames"] > 0  # others are served meanwhile
        tank.say(cm(10, 30))
        assert dealer.poll(4000), "a long poll sleeps through an alarm"
        body = msgpack.unpackb(dealer.recv_multipart()[-1])
        assert body["ok"] and body["alarms"][0]["seq"] == last + 1 and body["cursor"] >= last + 1
    finally:
        dealer.close()


def test_the_whole_handling_loop(device: Make, platform: Platform) -> None:
    rows = excursion(device(124), platform, "tank-24", n=2)
    one, two = rows[0]["alarm_id"], rows[2]["alarm_id"]

    def command(which: str, action: str, **more: Any) -> dict[str, Any]:
        return platform.ask("command", alarm_id=which, action=action, actor="operator-7", **{"reason": "seen", **more})

    loop = {"confirm": "confirmed", "dispatch": "dispatched", "handle": "handled", "resolve": "resolved", "verify": "verified"}
    loop["close"] = "closed"
    done: list[str] = []
    for action, state in loop.items():
        for wrong in [a for a in (*loop, "reject") if a != action and not (not done and a == "reject")]:
            reply = command(one, wrong)
            assert reply["ok"] is False and reply["error"]["code"] == "bad-transition", (done, wrong, reply)
        reply = command(one, action)
        assert reply["ok"] is True, (action, reply)
        done.append(state)
    after = platform.until(8, watch="tank-24", alarm_id=one, kind="level")
    assert [r["handling"] for r in after] == ["new", "new", *done]
    assert [r["revision"] for r in after] == list(range(1, 9))
    assert {r["alarm_id"] for r in after} == {one} and {r["process"] for r in after[1:]} == {"cleared"}

    assert command(two, "reject")["ok"] is True
    for wrong in loop:
        assert command(two, wrong)["error"]["code"] == "bad-transition", wrong
    assert [r["handling"] for r in platform.until(3, alarm_id=two)] == ["new", "new", "rejected"]
    assert command(one, "dance")["ok"] is False
    platform.watch(0.5)
    live = [a for _, a in platform.seen if a["alarm_id"] == two]
    assert live == platform.rows(alarm_id=two)


def test_shelving_needs_an_end_and_a_reason(device: Make, platform: Platform) -> None:
    tank = device(125)
    tank.say(cm(10, 30))
    tank.settle()
    (row,) = platform.until(1, watch="tank-25", kind="level")
    assert not row["shelved_until_ns"]
    command = {"alarm_id": row["alarm_id"], "actor": "operator-7"}
    until = time.time_ns() + 3600 * NS
    platform.bad("command", action="shelve", reason="works on the sensor", **command)
    platform.bad("command", action="shelve", until_ns=until, **command)
    platform.bad("command", action="shelve", until_ns=until, reason="", **command)
    platform.good("command", action="shelve", until_ns=until, reason="works on the sensor", **command)
    assert platform.until(2, alarm_id=row["alarm_id"])[-1]["shelved_until_ns"] == until
    platform.good("command", action="unshelve", reason="done", **command)
    last = platform.until(3, alarm_id=row["alarm_id"])[-1]
    assert not last["shelved_until_ns"] and last["handling"] == "new" and last["process"] == "active"


def test_evidence_is_a_capture(device: Make, platform: Platform) -> None:
    tank = device(126)
    made = [tank.frame(cm(*x)) for x in ([10] * 10, [10] * 10, [10, 30, *[31] * 8], [10] * 10)]
    for frame in made:
        tank.raw(frame)
    tank.settle()
    raised, _ = platform.until(2, watch="tank-26", kind="level")
    reply = platform.good("evidence", alarm_id=raised["alarm_id"])
    captures = [v for v in reply.values() if isinstance(v, bytes)]
    assert len(captures) == 1, reply.keys()
    heads = stranger.split_capture(captures[0])
    assert {h["device"] for h in heads} == {126}
    assert made[2] in captures[0]
    assert [h["seq"] for h in heads] == sorted({h["seq"] for h in heads})


def test_metrics_and_health_over_http(platform: Platform) -> None:
    status, text = platform.http("/healthz")
    assert status == 200
    status, text = platform.http("/metrics")
    assert status == 200
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert any("frames" in line for line in lines) and all(float(line.rsplit(" ", 1)[1]) is not None for line in lines)
    assert platform.http("/nothing")[0] == 404


def test_stats_have_the_published_names(platform: Platform) -> None:
    stats = platform.stats()
    assert {"frames", "samples", "refused", "gaps", "duplicates", "alarms"} <= set(stats)
    assert isinstance(stats["refused"], dict)
    assert stats["alarms"] >= 0


# --- rubbish ----------------------------------------------------------------------------------------------------------------


def lies(rng: random.Random, fields: dict[str, Any], body: bytes) -> bytes:
    """A frame with the right CRC that no honest device sends.

    Whether a lie that is a frame of the stream in everything but its rate spends its seq is asked elsewhere: those stand aside.
    """
    aside = {"device": 135, "epoch": rng.randrange(1 << 32)}
    lie: dict[str, Any] = rng.choice(
        [
            {"magic": rng.choice([b"LLF2", b"llf1", b"LLF\0", b"\0\0\0\0", b"\x81\xa1v\x01"])},
            {"header_len": rng.choice([0, 8, 56, 63, 65, 71, 72, 128, 248, 255])},
            {"type": rng.randrange(4, 256)},
            {"type": rng.choice([1, 2, 3])},  # with samples
            {"encoding": rng.choice([0, 7, 8, 15, 17, 99, 255])},
            {"encoding": rng.choice([1, 2, 4 + 1])},  # the payload has another width
            {"encoding": 6, "rate_num": 0},
            {"flags": rng.choice([32, 64, 128, 255])},
            {"device": rng.choice([5, 4000, 1 << 31, (1 << 32) - 1])},
            {"channel": rng.choice([1, 2, 65535])},
            {"n_channels": rng.choice([0, 2, 255, 65535])},
            {"rate_num": 0},
            {"rate_den": 0},
            {"rate_num": rng.choice([1, 11, (1 << 32) - 1]), **aside},
            {"rate_den": rng.choice([2, 1 << 31]), **aside},
            {"n_samples": rng.choice([0, 1, 9, 11, 1 << 16, 1 << 30, (1 << 32) - 1])},
            {"n_channels": 65535, "n_samples": (1 << 32) - 1, "encoding": rng.choice([1, 2, 3, 4, 5, 6, 16])},
            {"n_channels": 1 << 15, "n_samples": 1 << 30, "encoding": 4},  # 2**47 bytes; 0 in 32 bits
        ]
    )
    return pack(body, **{**fields, **lie})


def damaged(rng: random.Random, good: bytes) -> bytes:
    kind = rng.randrange(6)
    if kind == 0:  # bits
        bent = bytearray(good)
        for _ in range(rng.choice([1, 1, 2, 5, 40])):
            bent[rng.randrange(len(bent))] ^= 1 << rng.randrange(8)
        return bytes(bent) if bytes(bent) != good else good[:-1]
    if kind == 1:  # cut
        return good[: rng.randrange(len(good))]
    if kind == 2:  # lengthened, old CRC
        return good + rng.randbytes(rng.choice([1, 2, 4, 64, 1000]))
    if kind == 3:  # cut or lengthened, right CRC
        other = good + rng.randbytes(rng.choice([1, 3, 4, 40])) if rng.random() < 0.5 else good[: rng.randrange(64, len(good))]
        return reseal(other)
    if kind == 4:  # nothing of a frame
        return rng.choice([b"", rng.randbytes(rng.randrange(1, 300)), b"\x80", b"\x81\xa1v\x01", b"LLF1", b"\xdf" + b"\xff" * 70])
    head = bytearray(good[:64])  # a header of noise under the right magic and CRC
    head[4:60] = rng.randbytes(56)
    struct.pack_into("<I", head, 8, rng.choice([5, 999, 4_000_000_000]))
    return reseal(bytes(head) + good[64:])


@pytest.mark.parametrize("seed", [1, 2])
def test_rubbish_between_good_frames(device: Make, platform: Platform, seed: int) -> None:
    rng = random.Random(seed)
    before = platform.stats()
    n_good, n_bad = 150, 0
    good = device(131 + seed)
    bad = device(5)
    for k in range(n_good):
        fields = good.fields(10)
        frame = good.frame(quiet())
        for _ in range(RUBBISH):
            which = bad if rng.random() < 0.3 else good
            which.raw(lies(rng, fields, frame[64:]) if rng.random() < 0.4 else damaged(rng, frame))
            n_bad += 1
        good.raw(frame)
        good.hear()
        if k % 20 == 19:
            assert good.reach(k - 2), (k, good.acked)
    assert good.reach(n_good - 1)
    end = time.monotonic() + 5
    while True:
        bad.hear()
        after = platform.stats()
        refused = {r: n - before["refused"].get(r, 0) for r, n in after["refused"].items()}
        if (after["frames"] - before["frames"] >= n_good and sum(refused.values()) >= n_bad) or time.monotonic() > end:
            break
        time.sleep(0.1)
    assert after["frames"] - before["frames"] == n_good
    assert after["samples"] - before["samples"] == 10 * n_good
    assert (after["gaps"], after["duplicates"]) == (before["gaps"], before["duplicates"])
    assert sum(refused.values()) == n_bad, refused
    assert len([r for r, n in refused.items() if n]) >= 5
    answered = Counter(r["refused"] for r in (*good.replies, *bad.replies) if "refused" in r)
    assert all(n <= refused.get(reason, 0) for reason, n in answered.items()), (answered, refused)


# --- the configuration ------------------------------------------------------------------------------------------------------


def test_every_fault_of_a_configuration_is_told_with_its_path(tmp_path: Path) -> None:
    city = CITY.replace('domain = "gas"', 'domain = "gass"').replace("on_delay_s = 3.0", "on_delay_s = 3.0\ncolour = 1")
    (tmp_path / "city.toml").write_text(city.replace('channels = ["tank-3-level"]', 'channels = ["tank-99-level"]'))
    for verb in (["check"], ["serve", "--config"]):
        command = [sys.executable, "-m", "lifeline_core", *verb, "city.toml"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 2, done
        said = done.stdout + done.stderr
        for part in ("site.north-main.domain", "watch.tank-slow.colour", "watch.tank-3.channels", "tank-99-level"):
            assert part in said, (verb, part, said)
    assert not (tmp_path / "var").exists()


# --- ends and beginnings ----------------------------------------------------------------------------------------------------


def test_sigterm_and_again(tmp_path: Path, ctx: zmq.Context[Any]) -> None:
    serving = Serving(tmp_path, SITES + tank("tank", 31) + tank("slow", 32, "on_delay_s = 3.0"), ipc=True)
    serving.start()
    platform = Platform(ctx, serving.where)
    a, b = (Device(ctx, serving.where["ingest"], number, t0_ns=T0) for number in (31, 32))
    try:
        kept = a.frame(cm(10, 30, 10, 30))
        a.raw(kept)
        a.settle()
        rows = platform.until(3, watch="tank", kind="level")
        b.say(cm(*[10] * 5, *[30] * 15))  # half of its delay
        b.settle()
        platform.good("command", alarm_id=rows[2]["alarm_id"], action="confirm", actor="me", reason="seen")
        rows = platform.until(4, watch="tank", kind="level")
        every = platform.rows()
        platform.good("read", consumer="keeper", max=2)
        platform.good("ack", consumer="keeper", cursor=2)
        stats = platform.stats()
        assert serving.stop() == 0, serving.log()

        serving.start()
        assert platform.rows()[: len(every)] == every
        assert platform.good("read", consumer="keeper", max=1)["alarms"] == every[2:3]
        assert platform.good("read", consumer="someone", max=1)["alarms"] == every[:1]
        assert platform.stats()["frames"] == stats["frames"]
        a.replies.clear()
        a.raw(kept)
        assert a.hear(5.0)[-1]["ack"] == 0
        a.say(cm(10, 10))
        b.say(cm(*[30] * 20, 10))
        a.settle()
        b.settle()
        last = platform.until(5, watch="tank", kind="level")[-1]
        assert (last["alarm_id"], last["revision"]) == (rows[2]["alarm_id"], 3)
        assert (last["process"], last["handling"]) == ("cleared", "confirmed")
        raised, _ = platform.until(2, watch="slow", kind="level")
        assert raised["onset_ns"] == T0 + NS // 2
        every = platform.rows()
        assert [r["seq"] for r in every] == list(range(1, len(every) + 1))
        assert serving.stop() == 0
    finally:
        serving.end()
        for one in (a, b, platform):
            one.close()


WILD = SITES + girder("rb-a1", 17) + well("well-7", 27) + tank("tank-1", 41) + tank("tank-2", 42, "on_delay_s = 0.4")


def wild_streams(seed: int) -> dict[int, list[bytes]]:
    """The frames of four devices; the same seed gives the same bytes."""
    rng = random.Random(seed)
    context: zmq.Context[Any] = zmq.Context()
    streams: dict[int, list[bytes]] = {}
    nowhere = "inproc://nowhere"
    try:
        for number in (41, 42):
            tank = Device(context, nowhere, number, t0_ns=T0, encoding=stranger.INT16)
            level, streams[number] = 10.0, []
            for _ in range(400):
                steps = []
                for _ in range(3):
                    level = min(60.0, max(0.0, level + rng.uniform(-9, 9)))
                    steps.append(level)
                streams[number].append(tank.frame(cm(*steps)))
            tank.close()
        gas = Device(context, nowhere, 27, t0_ns=T0, encoding=stranger.TIMED, rate=0)
        streams[27], t = [], T0
        for _ in range(240):
            t += rng.randrange(NS // 20, NS // 4)
            streams[27].append(gas.frame([(t, rng.choice([1.0, 5.0, 26.0, 55.0]))]))
        gas.close()
        girder = Device(context, nowhere, 17, rate=200, t0_ns=T0 + 300 * NS)
        streams[17] = [girder.frame(hum(0.4 if k < 250 else 0.01, 5)) for k in range(350)]
        girder.close()
    finally:
        stranger.end(context)
    return streams


def essence(rows: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    """What must not depend on interruptions; offline and its kin hang on the wall clock's ticks."""
    kept = ("watch", "alarm_id", "revision", "severity", "process", "onset_ns", "detected_ns", "updated_ns", "value")
    return Counter(tuple(r[k] for k in kept) for r in rows if r["kind"] in ("level", "rms"))


Streams = dict[int, list[bytes]]


def drive(serving: Serving, ctx: zmq.Context[Any], streams: Streams, kills: int, rng: random.Random) -> dict[str, Any]:
    """All streams to their end, with so many violent deaths on the way; the feed afterwards and what was seen live."""
    platform = Platform(ctx, serving.where)
    devices = {number: Device(ctx, serving.where["ingest"], number) for number in streams}
    windows = {17: 1, 27: 4, 41: 5, 42: 5}  # within the two seconds a hole is held for
    senders = [Sender(devices[number], frames, window=windows[number]) for number, frames in streams.items()]
    total = sum(len(f) for f in streams.values())
    moments = sorted(rng.uniform(0.03, 0.97) for _ in range(kills))
    dead = 0
    end = time.monotonic() + 60
    try:
        while not all(s.done for s in senders):
            for sender in senders:
                sender.step()
            platform.watch()
            progress = sum(0 if s.device.acked is None else s.device.acked + 1 for s in senders) / total
            if dead < kills and progress >= moments[dead]:
                time.sleep(rng.uniform(0, 0.02))
                serving.kill()
                serving.start(wait=False)
                dead += 1
            assert time.monotonic() < end, (progress, serving.log())
            assert serving.alive, serving.log()
            time.sleep(0.0005)
        assert dead == kills
        serving.wait_healthy()
        platform.watch(0.5)
        return {"rows": platform.rows(), "seen": platform.seen, "stats": platform.stats(), "resent": sum(s.resent for s in senders)}
    finally:
        for one in devices.values():
            one.close()
        platform.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, ctx: zmq.Context[Any]) -> tuple[dict[int, list[bytes]], dict[str, Any]]:
    streams = wild_streams(7)
    serving = Serving(tmp_path_factory.mktemp("calm"), WILD)
    serving.start()
    try:
        return streams, drive(serving, ctx, streams, 0, random.Random(0))
    finally:
        serving.end()


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_moments(tmp_path: Path, ctx: zmq.Context[Any], undisturbed: Any, seed: int) -> None:
    streams, calm = undisturbed
    assert len(essence(calm["rows"])) > 100
    serving = Serving(tmp_path, WILD)
    serving.start()
    try:
        wild = drive(serving, ctx, streams, 3, random.Random(seed))
    finally:
        serving.end()
    rows = wild["rows"]
    assert [r["seq"] for r in rows] == list(range(1, len(rows) + 1))
    assert len({(r["alarm_id"], r["revision"]) for r in rows}) == len(rows)
    by_seq = {r["seq"]: r for r in rows}
    assert all(by_seq.get(a["seq"]) == a for _, a in wild["seen"])
    assert len(wild["seen"]) > 0
    assert essence(rows) == essence(calm["rows"])
    assert wild["stats"]["gaps"] == calm["stats"]["gaps"]
