"""The leak detector: place and time of a planted leak, silence without one, and the stream laws."""

from itertools import pairwise

import msgpack
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.detectors.base import Group
from lifeline_core.detectors.leak import Leak, LeakParams
from lifeline_core.errors import StateError
from lifeline_core.model import FLAG_QUESTIONABLE, NS, Block, Break, Channel, Site, Watch
from lifeline_core.synth.leaknoise import LeakNoise

FS = 1024
T0 = 1_700_000_000 * NS
PIPE = {"length_m": 60.0, "speed_mps": 480.0}
SITE = {"fs": 1024.0, "length_m": 60.0, "position_m": 40.0, "speed_mps": 480.0, "beta_s_m": 7.25e-5, "snr_db": 0.0}


def make(device_b=2, ends=None, **params):
    a = Channel(name="a", site="s", device=1, channel=0, rate_hz=FS, range=ends)
    b = Channel(name="b", site="s", device=device_b, channel=1, rate_hz=FS, range=ends)
    keys = msgspec.convert(({} if "sections" in params else PIPE) | {"average_s": 8.0} | params, LeakParams)
    watch = Watch(name="w", site="s", channels=("a", "b"), detector="leak", params=keys)
    return Leak(watch, [Group((a, b), FS)], Site(name="s", domain="water"))


def block(x, start, **kw):
    return Block(np.asarray(x, np.float32), T0, start, FS, 1, **kw)


def play(detector, x, cuts=(), **kw):
    edges = [0, *sorted(set(cuts)), x.shape[1]]
    return [f for a, b in pairwise(edges) for f in detector.push(0, block(x[:, a:b], a, **kw))]


def signal(seconds=24, seed=1, **site):
    return LeakNoise(**(SITE | site)).whole(seconds * FS, seed)


def test_found_where_it_is_and_ended() -> None:
    x = np.concatenate([signal(24), signal(48, snr_db=None)], axis=1)
    found = play(make(), x, clock_sd_us=20)
    assert [f.active for f in found] == [True, False]
    raised, ended = found
    assert raised.kind == "leak" and raised.source == "a+b" and raised.severity == 2
    assert raised.where["position_m"] == pytest.approx(40.0, abs=0.3) and raised.where["asset"] == "w"
    # 2 % of speed at 10 m from the middle, and two clocks of 20 us
    assert raised.where["sd_m"] == pytest.approx(np.hypot(0.2, 0.5 * 480 * 20e-6 * 2**0.5), abs=0.02)
    assert raised.onset_ns == T0 and 15 * NS < raised.t_ns - T0 <= 16 * NS
    assert raised.score == raised.value / raised.limit > 1
    e = raised.evidence
    assert e["delay_s"] == pytest.approx(-20 / 480, abs=1e-3) and e["phat_delay_s"] == pytest.approx(-20 / 480, abs=1e-3)
    assert e["windows"] == 2 and e["clock"] == "stated" and e["reasons"] == [] and 0 < e["coherence"] < 1
    assert set(e["budget_m"]) == {"delay", "clock", "speed", "length"} and 1 < e["band_hz"][1] < 512
    assert ended.onset_ns == raised.onset_ns and ended.source == raised.source and ended.evidence["reasons"]
    assert msgpack.unpackb(msgpack.packb([dict(f.evidence) for f in found])) is not None


def test_sections() -> None:
    x = signal()
    halves = [{"length_m": 20.0, "speed_mps": 480.0}, {"length_m": 40.0, "speed_mps": 480.0}]
    assert play(make(sections=halves), x)[0].where["position_m"] == pytest.approx(
        play(make(), x)[0].where["position_m"], abs=1e-9)


@pytest.mark.parametrize("hum_db", [None, 20.0])
def test_noise_and_hum_raise_nothing(hum_db) -> None:
    for seed in range(3):
        assert play(make(confirm=1), signal(64, seed, snr_db=None, hum_db=hum_db, hum_hz=49.96)) == []


@pytest.mark.parametrize("position_m", [0.0, 60.0])
def test_source_at_or_beyond_a_logger_is_no_leak(position_m) -> None:
    # a pump behind logger a sounds as if it were at logger a
    assert play(make(), signal(position_m=position_m)) == []
    beyond = make(length_m=50.0, end_sd=0.0)  # the pipe is said to be shorter than the delay found
    assert play(beyond, signal(position_m=position_m)) == []


def test_common_noise_is_no_leak() -> None:
    w = np.random.default_rng(0).standard_normal(24 * FS)
    assert play(make(), np.stack([w, w]) + 0.3 * signal(24, snr_db=None)) == []


def test_inverted_sensor() -> None:
    x = signal() * np.array([[1], [-1]], np.float32)
    assert play(make(), x) == []
    assert play(make(inverted=True), x)[0].where["position_m"] == pytest.approx(40.0, abs=0.3)


def test_places_that_do_not_agree_are_not_confirmed() -> None:
    x = np.concatenate([signal(8), signal(8, position_m=15.0), signal(8)], axis=1)
    assert play(make(), x) == []
    assert play(make(confirm=1, quiet=1), x)


def test_another_place_ends_the_first() -> None:
    x = np.concatenate([signal(24), signal(48, position_m=15.0)], axis=1)
    found = play(make(), x)
    assert [f.active for f in found] == [True, False, True]
    assert found[2].where["position_m"] == pytest.approx(15.0, abs=0.5) and found[2].onset_ns > found[0].onset_ns


def test_skew_of_the_samples_counts() -> None:
    x = signal()
    plain, skewed = play(make(), x)[0], play(make(), x, skew_s=(0.0001, 0.0005))[0]
    # b was taken 0.4 ms later than its stamp: what it hears came 0.4 ms later, so the leak is nearer to a
    assert skewed.evidence["delay_s"] - plain.evidence["delay_s"] == pytest.approx(0.0004, abs=1e-9)
    assert plain.where["position_m"] - skewed.where["position_m"] == pytest.approx(0.0004 * 240, abs=1e-6)
    assert skewed.evidence["skew_s"] == pytest.approx(0.0004)


def test_clocks() -> None:
    x = signal()
    assert play(make(), x)[0].evidence["clock"] == "unknown"
    assert play(make(clock_sd_us=100.0), x)[0].evidence["clock_sd_s"] == pytest.approx(100e-6 * 2**0.5)
    assert play(make(device_b=1), x, clock_sd_us=500)[0].evidence["clock"] == "shared"
    assert play(make(), x, clock_sd_us=5000) == []
    assert play(make(), x, flags=FLAG_QUESTIONABLE) == []


def test_windows_that_cannot_speak_do_not_end_an_alarm() -> None:
    x = signal(64)
    x[1, 20 * FS : 56 * FS] = np.nan
    assert [f.active for f in play(make(), x)] == [True]
    loud = signal(24)
    assert play(make(ends=(-1.0, 1.0)), loud) == []  # most samples are at the ends of the range


def test_gap_keeps_the_window_other_seams_do_not() -> None:
    x = signal(24)
    for reason, when in (("gap", 16.0), ("clock-step", 19.0)):
        d = make()
        found = d.push(0, block(x[:, : 3 * FS], 0))
        assert d.gap(0, Break(T0 + 3 * NS, reason)) == []
        found += d.push(0, block(x[:, 3 * FS :], 3 * FS))
        assert found[0].t_ns - T0 == pytest.approx(when * NS, abs=1.0 * NS)
        assert found[0].onset_ns - T0 == (0 if reason == "gap" else 3 * NS)


def test_short_recordings_add_up_over_gaps() -> None:
    # loggers that wake for 4 s an hour: four nights' recordings make two windows
    d, found = make(average_s=7.0), []
    for k in range(6):
        d.gap(0, Break(T0 + 3600 * k * NS, "gap"))
        found += d.push(0, block(signal(4, seed=k), 3600 * FS * k))
    assert [f.active for f in found] == [True]
    assert found[0].where["position_m"] == pytest.approx(40.0, abs=0.5)


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(1, 24 * FS - 1), max_size=30))
def test_cuts_do_not_matter(cuts) -> None:
    assert play(make(quiet=1), MIXED, cuts, skew_s=(0.0, 1.7e-4)) == WHOLE


MIXED = np.concatenate([signal(18), signal(14, snr_db=None)], axis=1)
WHOLE = play(make(quiet=1), MIXED, skew_s=(0.0, 1.7e-4))


def test_saved_and_restored_goes_on_bit_for_bit() -> None:
    assert len(WHOLE) == 2
    d, found = make(quiet=1), []
    for a, b in pairwise([*range(0, 32 * FS, 1500), 32 * FS]):
        found += d.push(0, block(MIXED[:, a:b], a, skew_s=(0.0, 1.7e-4)))
        state = msgpack.unpackb(msgpack.packb(d.save()))
        d = make(quiet=1)
        d.load(state)
        assert d.save() == state
    assert found == WHOLE


def test_other_state_is_refused() -> None:
    d = make()
    d.push(0, block(signal(4), 0))
    state = d.save()
    with pytest.raises(StateError, match="version 7"):
        make().load(state | {"v": 7})
    with pytest.raises(StateError, match="layout"):
        make(nperseg=2048, average_s=20.0).load(state)
    for key in ("average", "heard", "track", "shift", "v"):
        with pytest.raises(StateError):
            make().load({k: v for k, v in state.items() if k != key})
    with pytest.raises(StateError):
        make().load(state | {"average": state["average"] | {"power": b"123"}})


@pytest.mark.parametrize("row", [np.zeros, np.ones, lambda n: np.full(n, np.nan), lambda n: np.full(n, np.inf),
                                 lambda n: np.full(n, 3e38), lambda n: np.arange(n) * 1.0])
def test_dead_channels_say_nothing(row) -> None:
    n = 20 * FS
    noise = np.random.default_rng(0).standard_normal(n)
    for x in (np.stack([row(n), noise]), np.stack([row(n), row(n)])):
        assert play(make(confirm=1), x) == []


def test_channels_that_came_apart_say_nothing() -> None:
    a, b = make().groups[0].channels
    d = Leak(make().watch, [Group((a,), FS), Group((b,), FS)], Site(name="s", domain="water"))
    assert d.push(1, block(signal()[1:], 0)) == [] and d.flush() == []
    d.load(d.save())


@pytest.mark.parametrize(("keys", "message"), [
    ({}, "sections: either sections or length_m with speed_mps must be given"),
    ({"length_m": 60.0}, "length_m: length_m and speed_mps must be given together, is alone"),
    (PIPE | {"sections": [PIPE]}, "sections: either"),
    (PIPE | {"nperseg": 255}, "nperseg: must be even, is 255"),
    (PIPE | {"band": [90.0, 10.0]}, "band: must rise"),
    (PIPE | {"mains_hz": [0.0]}, "mains_hz: must be above 0"),
])
def test_faults(keys, message) -> None:
    params = msgspec.convert(keys, LeakParams)
    assert message in "; ".join(params.faults())
    watch = Watch(name="w", site="s", channels=("a", "b"), detector="leak", params=params)
    with pytest.raises(ValueError, match=message):
        Leak(watch, make().groups, Site(name="s", domain="water"))


def test_windows_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="nperseg: must be at least 4 times the travel time"):
        make(nperseg=256)
    with pytest.raises(ValueError, match="average_s: must hold at least 8 half-overlapping segments"):
        make(average_s=2.0)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"sections": [{"length_m": -1.0, "speed_mps": 480.0}]}, LeakParams)
