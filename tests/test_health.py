"""Silence, gaps, flat lines, clipping and clocks: when each begins and ends, once each, over any cut."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgpack
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lifeline_core.detectors.base import Group
from lifeline_core.detectors.health import Health, HealthParams
from lifeline_core.errors import StateError
from lifeline_core.model import FLAG_CLIPPED, FLAG_HISTORICAL, FLAG_QUESTIONABLE, NS, Block, Break, Channel, Finding, Site, Watch

T0 = 1_700_000_000 * NS
RATE = 50


def channel(name: str, device: int = 1, rate: float | None = RATE, ends: tuple[float, float] | None = (-10.0, 10.0)) -> Channel:
    return Channel(name=name, site="s", device=device, channel=0, unit="u", rate_hz=rate, range=ends)


def health(*groups: Sequence[Channel], **keys: Any) -> Health:
    if not groups:
        groups = ((channel("a"), channel("b")),)
    params = msgspec.convert(keys, HealthParams)
    watch = Watch(name="device-1", site="s", channels=tuple(c.name for g in groups for c in g), detector="health", params=params)
    return Health(watch, [Group(tuple(g), g[0].rate_hz) for g in groups], Site(name="s", domain="bridge"))


def noise(seconds: float, rows: int = 2, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 1, (rows, round(seconds * RATE))).astype(np.float32)


def block(x: NDArray[Any], at: int = 0, flags: int = 1, sd_us: int = 0) -> Block:
    return Block(np.asarray(x, np.float32), T0, at, RATE, 1, flags=flags, clock_sd_us=sd_us)


def timed(t_s: Sequence[float], x: Sequence[float], flags: int = 1) -> Block:
    t = np.array([T0 + round(s * NS) for s in t_s], np.int64)
    return Block(np.array([x], np.float32), int(t[0]), 0, 0, 1, t_ns=t, flags=flags)


def brief(found: Sequence[Finding]) -> list[tuple[str, str, bool, float, float]]:
    return [(f.kind, f.source, f.active, (f.t_ns - T0) / NS, (f.onset_ns - T0) / NS) for f in found]


# ---- offline ----


def ticks(detector: Health, begin: int, end: int) -> list[Finding]:
    """One a second, both ends included."""
    return [f for s in range(begin, end + 1) for f in detector.tick(T0 + s * NS)]


def test_the_services_own_absence_is_nobodys_silence() -> None:
    detector = health()
    ticks(detector, 0, 10)
    detector.push(0, block(noise(1)))
    assert ticks(detector, 11, 30) == []
    assert ticks(detector, 3630, 3650) == [], "an hour without ticks"
    assert brief(ticks(detector, 3651, 3680)) == [("offline", "", True, 3670.0, 3610.0)]


def test_offline_counts_from_the_tick_before_the_last_data() -> None:
    detector, found = health(offline_s=5.0), []
    for s in range(20):
        found += detector.tick(T0 + s * NS)
        if s in (0, 1, 2, 12):
            found += detector.push(0, block(noise(1), s * RATE))
    assert brief(found) == [("offline", "", True, 7.0, 2.0), ("offline", "", False, 13.0, 2.0), ("offline", "", True, 17.0, 12.0)]
    assert found[0].severity == 2 and found[0].value == 5.0 and found[0].limit == 5.0 and found[0].unit == "s"


def test_a_device_that_never_spoke_is_offline_from_the_first_tick() -> None:
    detector = health()
    assert ticks(detector, 0, 59) == []
    assert brief(detector.tick(T0 + 60 * NS)) == [("offline", "", True, 60.0, 0.0)]
    assert detector.tick(T0 + 61 * NS) == [] == detector.tick(T0 - 5 * NS), "once, and time does not go back"


def test_each_device_of_a_watch_has_its_own_silence() -> None:
    detector = health([channel("a")], [channel("b", device=2)], [channel("c", device=2, rate=None)])
    detector.tick(T0)
    detector.push(0, block(noise(1, 1)))
    detector.tick(T0 + NS)
    detector.push(2, timed([1.5], [1.0]))
    found = ticks(detector, 2, 61)
    assert brief(found) == [("offline", "a", True, 60.0, 0.0), ("offline", "b", True, 61.0, 1.0)]


def test_a_slow_device_is_given_its_usual_intervals() -> None:
    detector, found = health([channel("a", rate=None, ends=None)]), []
    for s in range(2400):
        found += detector.tick(T0 + s * NS)
        if s % 300 == 0 and s <= 1200:
            found += detector.push(0, timed([s + 1], [s]))
    ups = [b for b in brief(found) if b[2]]
    assert [u[3] for u in ups] == [2100.0], "until two intervals are known 15 x 60 s, then 3 x 300 s"
    assert health([channel("a", rate=None)], offline_severity=0).tick(T0 + 10**12) == []


# ---- gaps ----


def test_a_gap_ends_after_a_quiet_time() -> None:
    detector = health(quiet_s=10.0)
    found = detector.push(0, block(noise(5)))
    found += detector.gap(0, Break(T0 + 6 * NS, "gap", 50))
    found += detector.push(0, block(noise(5), 6 * RATE))
    found += detector.gap(0, Break(T0 + 12 * NS, "gap", 50))
    found += detector.push(0, block(noise(30), 12 * RATE))
    assert brief(found) == [("gap", "", True, 6.0, 5.0), ("gap", "", False, 22.0, 5.0)]
    assert (found[0].value, found[0].limit, found[1].value) == (50.0, 1.0, 100.0)


def test_lost_samples_add_up_to_the_limit_and_are_forgotten_when_quiet() -> None:
    detector = health(quiet_s=10.0, gap_limit=100)
    detector.push(0, block(noise(1)))
    assert detector.gap(0, Break(T0 + 2 * NS, "gap", 60)) == []
    assert detector.push(0, block(noise(11), 2 * RATE)) == []
    assert detector.gap(0, Break(T0 + 14 * NS, "gap", 60)) == []
    detector.push(0, block(noise(1), 14 * RATE))
    assert brief(detector.gap(0, Break(T0 + 16 * NS, "overflow", 60))) == [("gap", "", True, 16.0, 13.0)]


def test_a_start_an_epoch_and_history_are_no_gap() -> None:
    detector = health()
    assert detector.gap(0, Break(T0, "gap", 50)) == [], "nothing was there before"
    detector.push(0, block(noise(1)))
    assert detector.gap(0, Break(T0, "start")) == [] == detector.gap(0, Break(T0, "epoch"))
    detector.push(0, block(noise(1), flags=FLAG_HISTORICAL))
    assert detector.gap(0, Break(T0, "gap", 50)) == [] == detector.gap(0, Break(T0, "clock-step"))
    (f,) = health(flat_s=1.0).push(0, block(np.stack([noise(2, 1)[0], np.ones(100)]), flags=FLAG_HISTORICAL))
    assert f.historical and f.source == "b"


# ---- flat lines ----


def test_a_flat_line_speaks_once_and_ends_with_another_value() -> None:
    x = noise(60)
    x[1, 500:2000] = 0.25
    x[1, 1500:1510] = np.nan
    found = health(flat_s=20.0).push(0, block(x))
    assert brief(found) == [("flat-line", "b", True, 29.98, 10.0), ("flat-line", "b", False, 40.0, 10.0)]
    assert found[0].value == 0.25 and found[0].severity == 1 and found[0].evidence == {"channel": "b", "samples": 1000}
    assert health(flat_s=0.0).push(0, block(x)) == [] == health(flat_severity=0).push(0, block(x))
    x[1, 900] = np.nan
    assert health(flat_s=20.0).push(0, block(x)) == [], "what is not there is not identical"


def test_a_slow_channel_needs_ten_samples_too() -> None:
    detector = health([channel("a", rate=None)], flat_slow_s=600.0)
    assert detector.push(0, timed(range(0, 2700, 300), [1.5] * 9)) == []
    assert brief(detector.push(0, timed([2700], [1.5]))) == [("flat-line", "a", True, 2700.0, 0.0)]
    detector = health([channel("a", rate=None)], flat_slow_s=600.0)
    assert detector.push(0, timed(range(0, 600, 10), [1.5] * 60)) == []
    assert brief(detector.push(0, timed([600], [1.5]))) == [("flat-line", "a", True, 600.0, 0.0)]


def test_clean_air_is_neither_flat_nor_clipped() -> None:
    """Methane rests at 0 for years; at the upper end it clips, and a stuck 7.5 is flat."""
    gas = channel("a", rate=None, ends=(0.0, 100.0))
    t = [60.0 * i for i in range(40)]
    assert health([gas]).push(0, timed(t, [0.0] * 40)) == []
    assert [f.kind for f in health([gas], flat_slow_s=600.0).push(0, timed(t, [7.5] * 40))] == ["flat-line"]
    assert [f.kind for f in health([gas]).push(0, timed([0, 60], [20.0, 100.0]))] == ["clipping"]


# ---- clipping ----


def test_clipping_counts_in_clock_aligned_windows() -> None:
    """50 Hz, windows of 10 s: 0.01 are 5 samples."""
    start = T0 % (10 * NS)
    assert start == 0
    x = noise(60) * 0.1
    x[0, [600, 601, 602, 603]] = 10.0
    x[0, [1100, 1101, 1102, 1103, 1104, 1150]] = -11.0
    found = health(clip_fraction=0.01).push(0, block(x))
    assert brief(found) == [("clipping", "a", True, 22.08, 22.0), ("clipping", "a", False, 40.0, 22.0)]
    assert (found[0].value, found[0].limit, found[0].evidence["samples"]) == (-11.0, -10.0, 5)
    assert health(clip_fraction=0.01, clipping_severity=0).push(0, block(x)) == []


def test_the_devices_own_word_on_clipping() -> None:
    detector = health()
    found = detector.push(0, block(noise(1), flags=FLAG_CLIPPED))
    found += detector.push(0, block(noise(30), RATE))
    assert [b[:3] for b in brief(found)] == [("clipping", "", True), ("clipping", "", False)]
    (f,) = health([channel("a")]).push(0, block(noise(1, 1), flags=FLAG_CLIPPED))
    assert f.source == "a"


def test_a_flood_is_one_alarm_for_each_channel() -> None:
    rng = np.random.default_rng(5)
    x = np.where(rng.random((2, 20_000)) < 0.3, np.float32(10), noise(400))
    assert sorted(b[:3] for b in brief(health().push(0, block(x)))) == [("clipping", "a", True), ("clipping", "b", True)]


# ---- clock ----


def test_a_clock_is_trusted_again_after_a_quiet_time() -> None:
    detector = health(quiet_s=5.0, clock_sd_limit_us=1000.0)
    found = detector.push(0, block(noise(1)))
    found += detector.push(0, block(noise(2), RATE, flags=FLAG_QUESTIONABLE))
    found += detector.push(0, block(noise(4), 3 * RATE))
    found += detector.push(0, block(noise(1), 7 * RATE, sd_us=1001))
    found += detector.push(0, block(noise(9), 8 * RATE, sd_us=1000))
    found += detector.gap(0, Break(T0 + 20 * NS, "clock-step"))
    assert brief(found) == [("clock", "", True, 1.0, 1.0), ("clock", "", False, 13.0, 1.0), ("clock", "", True, 20.0, 17.0)]
    assert [f.evidence.get("reason") for f in found] == ["questionable", None, "step"]
    (f,) = health(clock_sd_limit_us=500.0).push(0, block(noise(1), sd_us=2000))
    assert (f.value, f.limit, f.score, f.unit) == (2000.0, 500.0, 4.0, "us")
    assert health(clock_severity=0).push(0, block(noise(1), flags=FLAG_QUESTIONABLE)) == []


# ---- promises ----


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 3000), max_size=12))
def test_cuts_and_saves_never_show(cuts: list[int]) -> None:
    x = noise(60)
    x[0, 400:800] = 1.0
    x[1, 900:903] = 10.0
    x[1, 2000:] = np.nan
    keys: dict[str, Any] = {"flat_s": 4.0, "quiet_s": 3.0}
    seams = {1000: Break(T0 + 20 * NS, "gap", 7), 2500: Break(T0 + 50 * NS, "clock-step")}
    flags = {range(1300, 1500): FLAG_QUESTIONABLE, range(1700, 1800): FLAG_CLIPPED}

    def run(cuts: Sequence[int], save: bool) -> tuple[list[Finding], dict[str, Any]]:
        detector, found = health(**keys), []
        edges = sorted({0, 3000, *cuts, *seams, *(e for r in flags for e in (r.start, r.stop))})
        for a, b in pairwise(edges):
            found += detector.gap(0, seams[a]) if a in seams else []
            flag = next((flag for r, flag in flags.items() if a in r), 1)
            found += detector.push(0, block(x[:, a:b], a, flags=flag))
            if save:
                state = msgpack.packb(detector.save())
                detector = health(**keys)
                detector.load(msgpack.unpackb(state))
        return found, detector.save()

    wanted, state = run([], False)
    assert {f.kind for f in wanted} == {"gap", "flat-line", "clipping", "clock"}
    got, end = run(cuts, True)
    assert repr(got) == repr(wanted) and end == state


def test_foreign_state_is_refused() -> None:
    detector = health()
    state = detector.save()
    for bad in ({}, {**state, "version": 0}, {**state, "streams": []}, {**state, "devices": []}, health([channel("a")]).save()):
        with pytest.raises(StateError):
            detector.load(bad)
