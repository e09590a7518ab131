"""Slow quantities freed of the weather: a summer is no alarm, a bearing that sticks is, growth is told per year."""

from __future__ import annotations

import itertools

import msgpack
import msgspec
import numpy as np
import pytest

from lifeline_core.detectors.base import Group
from lifeline_core.detectors.regressed import Regressed, RegressedParams
from lifeline_core.model import NS, Block, Channel, Finding, Site, Watch

BIN = 3600
T0 = 1_700_006_400 * NS - 1_700_006_400 * NS % (86_400 * NS)
JOINT = (Channel(name="joint", site="b", device=1, channel=0, unit="mm"),)
AIR = (Channel(name="air", site="b", device=2, channel=0, unit="degC"),)
KEYS = {"bin_s": BIN, "train": 480, "limits": [{"severity": 2, "above": 4.0}, {"severity": 3, "above": 8.0},
        {"severity": 2, "below": -4.0}], "growth_limits": [{"severity": 2, "above": 3.0}], "growth_days": 60}  # fmt: skip


def build(**more: object) -> Regressed:
    params = msgspec.convert({**KEYS, **more}, RegressedParams)
    return Regressed(Watch(name="w", site="b", channels=("joint", "air"), detector="regressed", params=params),
                     [Group(JOINT, None), Group(AIR, None)], Site(name="b", domain="bridge"))


def course(hours: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A joint that follows the temperature by 2 mm a degree, with half a millimetre of its own."""
    rng = np.random.default_rng(seed)
    h = np.arange(hours)
    t = 15 + 7 * np.sin(2 * np.pi * h / 24) + 9 * np.sin(2 * np.pi * h / 500)
    return 20 - 2.0 * (t - 15) + rng.normal(0, 0.5, hours), t


def play(d: Regressed, x: np.ndarray, t: np.ndarray, save_every: int = 0, per: int = 4) -> list[Finding]:
    """Four samples an hour, pushed ``per`` at a time, a tick an hour."""
    out: list[Finding] = []
    for h in range(len(x)):
        for k, (a, b) in enumerate(itertools.pairwise(sorted({0, 4, *range(0, 4, per)}))):
            times = np.array([T0 + (h * 3600 + i * 900) * NS for i in range(a, b)])
            for group, v in ((1, t[h]), (0, x[h])):
                out += d.push(group, Block(np.full((1, b - a), v, np.float32), 0, 0, 1, 1, times, (0.0,), 0))
            assert k < 4
        out += d.tick(T0 + (h + 1) * 3600 * NS + 61 * NS)
        if save_every and h % save_every == 0:
            saved = msgpack.packb(d.save())
            d = build()
            d.load(msgpack.unpackb(saved))
    return out


def test_weather_is_no_alarm_and_a_jump_is() -> None:
    x, t = course(1200)
    assert play(build(), x, t) == []
    x[900:1000] += 6.0
    x[950:1000] += 6.0
    found = [f for f in play(build(), x, t) if f.kind == "residual"]
    assert [(f.active, f.severity) for f in found] == [(True, 2), (True, 3), (False, 3)]
    assert found[0].onset_ns == T0 + 900 * 3600 * NS
    assert found[0].value == pytest.approx(6.0, abs=1.5)
    assert found[0].unit == "mm" and found[0].source == "joint"


def test_growth_is_told_per_year() -> None:
    x, t = course(24 * 110, seed=2)
    growing = x + 10.0 * np.maximum(np.arange(len(x)) / 24 - 25, 0) / 365.25
    found = [f for f in play(build(limits=[{"severity": 2, "above": 40.0}]), growing, t) if f.kind == "growth"]
    assert found and found[0].active
    assert found[0].value == pytest.approx(10.0, rel=0.2)
    assert [f for f in play(build(), x, t) if f.kind == "growth"] == []


def test_a_limit_within_the_scatter_is_widened() -> None:
    x, t = course(1200, seed=3)
    x[900:] += 2.0
    found = play(build(limits=[{"severity": 2, "above": 0.1}]), x, t)
    assert found and found[0].evidence["widened"]
    assert found[0].limit == pytest.approx(1.5, rel=0.1)


def test_cuts_and_restarts_change_nothing() -> None:
    x, t = course(800)
    x[600:] += 9.0
    whole = repr(play(build(), x, t))
    assert "residual" in whole
    assert repr(play(build(), x, t, per=1)) == whole
    assert repr(play(build(), x, t, save_every=37)) == whole


def test_holes_and_nan_say_nothing() -> None:
    x, t = course(1000)
    t = t.copy()
    t[700:720] = np.nan
    x[800:830] = np.nan
    assert play(build(), x, t) == []


def test_refusals() -> None:
    with pytest.raises(ValueError, match="must leave a channel"):
        build(environment=2)
    with pytest.raises(ValueError, match="at least one of limits"):
        build(limits=[], growth_limits=[])
