"""The contract of every row of the detector table: cuts never show, state goes on bit for bit, odd input says nothing false."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgpack
import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lifeline_core.bridges.cables import cable_frequency
from lifeline_core.detectors import TABLE, find
from lifeline_core.detectors.base import Detector, Group
from lifeline_core.model import BREAKS, NS, Block, Break, Channel, Finding, Site, Watch
from lifeline_core.synth.bridge import mode_acceleration
from lifeline_core.synth.chain import chain

T0 = 1_700_000_000 * NS - 1_700_000_000 * NS % (600 * NS)
SITE = Site(name="s", domain="water")


@dataclass
class Case:
    """How to build a row and what makes it speak."""

    params: dict[str, Any]
    signal: Callable[[], NDArray[np.float64]]  # [n_channels, n], with something to find
    rate: int
    channel: dict[str, Any] = field(default_factory=dict)
    quiet_kinds: tuple[str, ...] = ()  # what a dead sensor may rightly say


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def stepped() -> NDArray[np.float64]:
    x = rng().normal(0, 1, (2, 600))
    x[0, 200:260] = 30
    x[1, 205] = 60
    x[1, 400:500] += np.linspace(0, 40, 100)
    return x


def vibration() -> NDArray[np.float64]:
    t = np.arange(64 * 70) / 64
    x = rng().normal(0, 0.02, (2, t.size)) + 0.05 * np.sin(2 * np.pi * 3.1 * t)
    x[0, 64 * 20 : 64 * 40] *= 12
    return x


def quake() -> NDArray[np.float64]:
    t = np.arange(100 * 60) / 100
    x = rng().normal(0, 0.002, (2, t.size))
    x[:, 3000:4000] += np.exp(-np.arange(1000) / 200) * rng().normal(0, 1.5, (2, 1000))
    return x


def burst() -> NDArray[np.float64]:
    x = 30 + rng().normal(0, 0.02, (2, 128 * 60))
    x[0, 128 * 30 :] -= 3
    x[1, 128 * 30 + 20 :] -= 2
    return x


def leak() -> NDArray[np.float64]:
    source = rng().normal(0, 1, 2048 * 30 + 400)
    source = np.convolve(source, np.full(5, 0.2), "same")
    x = np.stack([source[200 : 200 + 2048 * 30], source[160 : 160 + 2048 * 30]])
    x[:, : 2048 * 6] = 0  # it begins after the quiet part that other tests use
    return x + rng().normal(0, 0.2, x.shape)


def wear() -> NDArray[np.float64]:
    t = np.arange(32 * 90) / 32
    x = 40 + np.sin(2 * np.pi * 0.25 * t) + rng().normal(0, 0.05, (2, t.size))
    x[0, 32 * 30 : 32 * 50] += 8 * np.sin(2 * np.pi * 0.5 * t[: 32 * 20])
    return x


def crossed() -> NDArray[np.float64]:
    """Vehicles at 20, 30 and 40 s; the second is the heaviest. 20 Hz."""
    t = np.arange(20 * 60) / 20
    x = rng().normal(0, 0.2, (2, t.size))
    for at, size in ((20.0, 12.0), (30.0, 40.0), (40.0, 15.0)):
        x += size * np.exp(-(((t - at) / 0.6) ** 2))
    return x


def struck() -> NDArray[np.float64]:
    """A blow at 20 s that rings in two modes. 100 Hz."""
    t = np.arange(100 * 45) / 100 - 20.0
    ring = np.where(t >= 0, np.exp(-np.maximum(t, 0) / 0.7) * (np.cos(24 * t) + np.cos(69 * t)), 0.0)
    return rng().normal(0, 0.01, (2, t.size)) + np.array([[1.0], [-0.6]]) * ring


def ailing() -> NDArray[np.float64]:
    x = rng().normal(0, 1, (2, 100 * 40))
    x[0, 500:2500] = 0.5
    x[1, 1000:1400] = 10
    return x


@cache
def _structure() -> NDArray[np.float64]:
    """A chain of two that is soft from one minute to another, 10 Hz."""
    draw, minute = rng(), 600
    parts = [chain(2, 1.2, (0.02, 0.02), ground=0.6 if 24 <= k < 30 else 1.0).acceleration(minute, 10.0, draw) for k in range(36)]
    return np.concatenate(parts, axis=1)


@cache
def _cables() -> NDArray[np.float64]:
    """Two cables of 20 m; the first is slack from one minute to another, 32 Hz."""
    draw, minute = rng(), 32 * 60
    rows = []
    for slack in (0.7, 1.0):
        parts = [[mode_acceleration(cable_frequency(1e6 * (slack if 2 <= k < 4 else 1.0), n, 20.0, 100.0), 0.005, 32.0,
                                    draw.standard_normal(minute)) for n in (1, 2, 3, 4, 5)] for k in range(6)]
        rows.append(np.concatenate([np.sum([p / p.std() for p in part], axis=0) for part in parts]))
    return np.stack(rows)


@cache
def _joint() -> NDArray[np.float64]:
    """A joint and the temperature it follows, but for some minutes; 1 Hz."""
    t = np.arange(60 * 44) / 60.0
    air = 15 + 5 * np.sin(t / 4)
    x = np.stack([2 * air + rng().normal(0, 0.1, t.size), air])
    x[0, 60 * 32 : 60 * 38] += 5.0
    return x


@cache
def _channels() -> NDArray[np.float64]:
    """Five sensors of one structure at 10 Hz: one dies for a while, one has spikes, one is turned round, two change places."""
    n, draw = 10 * 900, rng()
    t = np.arange(n) / 10
    shapes = np.array([[1.0, 0.2, 0.5], [0.8, -0.9, 0.1], [0.3, 1.0, -0.7], [-0.5, 0.6, 0.9], [0.9, 0.8, 0.4]])
    modes = np.stack([mode_acceleration(f, 0.05, 10.0, draw.standard_normal(n)) for f in (0.7, 1.3, 2.9)])
    x = shapes @ (modes / modes.std(axis=1, keepdims=True)) * (1.0 + 0.3 * np.sin(t / 60)) + draw.normal(0, 0.2, (5, n))
    x[0, 4000:5000] *= 0.01
    x[1, 4000:5000:37] += 30
    x[2, 5500:6500] *= -1
    x[:2, 7000:8000] = x[1::-1, 7000:8000]
    return x


def channels() -> NDArray[np.float64]:
    return _channels().copy()


def structure() -> NDArray[np.float64]:
    return _structure().copy()


def cables() -> NDArray[np.float64]:
    return _cables().copy()


def joint() -> NDArray[np.float64]:
    return _joint().copy()


CASES: dict[str, Case] = {
    "binned": Case({"limits": [{"severity": 2, "above": 10.0}], "statistic": "max", "bin_s": 5}, stepped, 10),
    "modal": Case({"window_s": 60, "learn": 2, "train": 10, "block_rows": 9, "order_max": 16, "confirm": 2}, structure, 10),
    "cable": Case({"cables": [{"length_m": 20.0, "mass_kg_m": 100.0, "as_built_kn": 1000.0, "ei_nm2": 0.0}] * 2,
                   "deviations": [{"severity": 3, "off": 0.1}], "bin_s": 60, "confirm": 1}, cables, 32),
    "regressed": Case({"bin_s": 60, "train": 20, "confirm": 2, "limits": [{"severity": 2, "above": 2.0}]},
                      joint, 1),
    "quality": Case({"bin_s": 10, "train": 35, "confirm": 2, "pattern_s": 50}, channels, 10),
    "level": Case(
        {
            "limits": [{"severity": 2, "above": 25.0}, {"severity": 4, "above": 50.0}],
            "hysteresis": 2.0,
            "on_delay_s": 0.5,
            "rate_limits": [{"severity": 1, "above": 10.0}],
            "rate_window_s": 5.0,
            "rate_per_s": 1.0,
        },
        stepped,
        10,
    ),
    "spectral": Case({"bin_s": 10, "limits": [{"severity": 2, "above": 0.3}], "nperseg": 256}, vibration, 64),
    "shock": Case({"limits": [{"severity": 2, "above": 0.5}, {"severity": 3, "above": 2.0}]}, quake, 100),
    "transient": Case({"limits": [{"severity": 2, "above": 0.5}]}, burst, 128, {"node": "J1"}),
    "leak": Case({"sections": [{"length_m": 100.0, "speed_mps": 1000.0}], "average_s": 5.0}, leak, 2048),
    "cycles": Case(
        {
            "exponent": 3.0,
            "period_s": 10.0,
            "gate": 0.5,
            "damage_limits": [{"severity": 1, "above": 2000.0}, {"severity": 3, "above": 10000.0}],
            "count_limits": [{"severity": 2, "above": 2.0}],
            "count_range": 10.0,
        },
        wear,
        32,
    ),
    "passage": Case({"least_peak": 2.0, "limits": [{"severity": 2, "above": 20.0}], "clear_s": 10.0, "baseline_s": 10.0},
                    crossed, 20),
    "impact": Case({"limits": [{"severity": 3, "above": 0.5}], "clear_s": 10.0}, struck, 100),
    "health": Case({"flat_s": 5.0}, ailing, 100, {"range": (-10.0, 10.0)}, ("flat-line", "clipping", "offline", "gap", "clock")),
}


def build(name: str) -> Detector:
    case, kind = CASES[name], find(name)
    n = case.signal().shape[0]
    channels = tuple(
        Channel(name=f"c{i}", site="s", device=1, channel=i, rate_hz=float(case.rate), unit="u", **case.channel) for i in range(n)
    )
    params = msgspec.convert(case.params, kind.PARAMS)
    watch = Watch(name="w", site="s", channels=tuple(c.name for c in channels), detector=name, params=params)
    return kind(watch, [Group(channels, float(case.rate))], SITE)


def play(
    name: str, x: NDArray[np.float64], cuts: Sequence[int] = (), *, save_every: int = 0, seams: dict[int, Break] | None = None
) -> list[Finding]:
    """Feed x cut before ``cuts``, with a tick after every second of samples and breaks before the samples in ``seams``."""
    case, detector, out = CASES[name], build(name), []
    seams = seams or {}
    n, anchor, at = x.shape[1], T0, 0
    edges = sorted({0, n, *range(0, n, case.rate), *(c % n for c in cuts), *seams})
    data = x.astype(np.float32)
    for k, (a, b) in enumerate(itertools.pairwise(edges)):
        if a in seams:
            out += detector.gap(0, seams[a])
            anchor, at = seams[a].t_ns, a
        block = Block(np.ascontiguousarray(data[:, a:b]), anchor, a - at, case.rate, 1, None, (0.0,) * x.shape[0], 1)
        out += detector.push(0, block)
        if b % case.rate == 0:
            out += detector.tick(T0 + b * NS // case.rate)
        if save_every and k % save_every == 0:
            saved = msgpack.packb(detector.save())
            detector = build(name)
            detector.load(msgpack.unpackb(saved, strict_map_key=False))
    return out + detector.flush()


def said(findings: list[Finding]) -> list[str]:
    return [repr(f) for f in findings]


def test_every_row_has_a_case() -> None:
    assert set(CASES) == set(TABLE)


@pytest.mark.parametrize("name", sorted(CASES))
def test_something_is_found(name: str) -> None:
    found = play(name, CASES[name].signal())
    assert {f.kind for f in found if f.active} & set(find(name).KINDS)
    assert {f.kind for f in found} <= set(find(name).KINDS)
    assert any(not f.active for f in found) or name in {"transient", "leak"}, "what began also ends"
    for f in found:
        assert msgpack.unpackb(msgpack.packb([dict(f.where), dict(f.evidence)])), "plain values only"
        assert T0 <= f.onset_ns <= f.t_ns
        assert 1 <= f.severity <= 4
        assert 0 <= f.quality <= 1


@pytest.mark.parametrize("name", sorted(CASES))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 1 << 20), max_size=30))
def test_cuts_never_show(name: str, cuts: list[int]) -> None:
    x = CASES[name].signal()
    assert said(play(name, x, cuts)) == said(play(name, x))


@pytest.mark.parametrize("name", sorted(CASES))
def test_saved_in_mid_stream_it_goes_on_bit_for_bit(name: str) -> None:
    x = CASES[name].signal()
    assert said(play(name, x, (777, 1501, 2222), save_every=3)) == said(play(name, x))


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_channels_nan_is_not_the_others_concern(name: str, value: float) -> None:
    x = CASES[name].signal()
    if find(name).COUPLED:
        x[0, x.shape[1] // 2] = value
        play(name, x)
        return
    clean = [f for f in play(name, x) if f.source == "c1"]
    x[0, ::7] = value
    assert said([f for f in play(name, x) if f.source == "c1"]) == said(clean)


@pytest.mark.parametrize("name", sorted(CASES))
def test_nothing_but_nan_says_nothing(name: str) -> None:
    x = np.full_like(CASES[name].signal(), np.nan)
    assert not [f for f in play(name, x) if f.active and f.kind not in CASES[name].quiet_kinds]


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("reason", sorted(BREAKS))
@pytest.mark.parametrize("jump_s", [-3600, 0, 7, 90_000])
def test_breaks_are_survived_and_are_no_event(name: str, reason: str, jump_s: int) -> None:
    case = CASES[name]
    quiet = case.signal()[:, : 5 * case.rate]
    quiet = np.tile(quiet, (1, 4))
    at = quiet.shape[1] // 2
    seams = {at: Break(T0 + at * NS // case.rate + jump_s * NS, reason, 100 if reason == "gap" else -1)}
    found = play(name, quiet, seams=seams)
    assert not [f for f in found if f.active and f.kind not in case.quiet_kinds]
    assert said(play(name, quiet, (13, 99, 1234), seams=seams, save_every=2)) == said(found)


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_silence_and_a_constant_say_nothing(name: str, value: float) -> None:
    x = np.full_like(CASES[name].signal(), value)
    assert not [f for f in play(name, x) if f.active and f.kind not in CASES[name].quiet_kinds]


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("value", [1e-42, 1e30, 3e38])
def test_huge_tiny_and_saturated_samples_raise_nothing(name: str, value: float) -> None:
    x = CASES[name].signal()
    x = np.clip(x * value, -3e38, 3e38)
    for f in play(name, x):
        assert f.score == f.score
