"""Slow quantities freed of the weather: a summer is no alarm, a bearing that sticks is, growth is told per year."""

from __future__ import annotations

import functools
import itertools

import msgpack
import msgspec
import numpy as np
import pytest
from scipy import signal

from lifeline_core import domains
from lifeline_core.detectors.base import Group
from lifeline_core.detectors.regressed import Regressed, RegressedParams
from lifeline_core.fields import Faults
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


# ---- a year of weather, profile by profile ----

HOURS = 3
DAYS = 370
# What a degree does, what is left beside the weather, where it stands, a true shift beyond the mildest limit.
SLOW = {
    "bridge.joint": (2.0, 0.5, 60.0, 30.0),
    "bridge.bearing-residual": (1.0, 0.3, 40.0, -14.0),
    "bridge.tilt-residual": (0.002, 0.001, 0.0, 0.09),
    "bridge.deflection-residual": (-0.8, 0.5, 0.0, -23.0),
    "bridge.strain-residual": (8.0, 5.0, 0.0, 260.0),
    "bridge.crack-residual": (0.002, 0.003, 0.15, 0.16),
}
PROFILES = domains.load(Faults()).profiles


@functools.cache
def weather(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A year and more of air: season, day, weather systems of three days; what the structure feels of it six hours late; and
    noise of variance 1 that a sensor keeps for some hours."""
    rng = np.random.default_rng(seed)
    h = np.arange(DAYS * 24 // HOURS) * HOURS

    def late(x: np.ndarray, hours: float) -> np.ndarray:
        a = np.exp(-HOURS / hours)
        return signal.lfilter([1 - a], [1, -a], x, zi=[a * x[0]])[0]

    systems, noise = (late(rng.standard_normal(h.size), hours) for hours in (72.0, 6.0))
    season, day = np.sin(2 * np.pi * (h / 24 + 40) / 365.25), np.sin(2 * np.pi * (h - 9) / 24)
    air = 14 + 13 * season + 5 * day + 3.5 * systems / systems.std()
    return air, late(air, 6.0), noise / noise.std()


def profiled(name: str, x: np.ndarray, air: np.ndarray) -> list[Finding]:
    """A bin of three hours each; trained on the first 40 days."""
    kept = {"bin_s": HOURS * 3600, "train": 40 * 24 // HOURS}
    params = msgspec.convert({**PROFILES[name].defaults, **kept}, RegressedParams)
    d = Regressed(Watch(name="w", site="b", channels=("joint", "air"), detector="regressed", params=params),
                  [Group(JOINT, None), Group(AIR, None)], Site(name="b", domain="bridge"))
    out: list[Finding] = []
    for k, pair in enumerate(zip(x, air, strict=True)):
        at = np.array([T0 + k * HOURS * 3600 * NS])
        for group, v in enumerate(pair):
            d.push(group, Block(np.full((1, 1), v, np.float32), 0, 0, 1, 1, at, (0.0,), 0))
        out += d.tick(T0 + (k + 1) * HOURS * 3600 * NS + 61 * NS)
    return out


def course_of(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    air, felt, noise = weather(seed)
    degree, own, stands, _ = SLOW[name]
    return stands + degree * (felt - 14) + own * noise, air


@pytest.mark.parametrize("name", [n if n == "bridge.joint" else pytest.param(n, marks=pytest.mark.slow) for n in SLOW])
def test_a_normal_year_is_no_alarm_and_a_true_shift_behind_it_is(name: str) -> None:
    x, air = course_of(name, 1)
    at, shift = 366 * 24 // HOURS, SLOW[name][3]
    x[at:] += shift
    found = profiled(name, x, air)
    assert found, "the shift"
    first = found[0]
    assert first.kind == "residual" and first.active and first.severity == (2 if "crack" in name else 3)
    assert first.onset_ns == T0 + at * HOURS * 3600 * NS, "nothing in a year before; then the first bin beyond"
    assert first.t_ns == T0 + (at + 3) * HOURS * 3600 * NS, "three bins in a row"
    assert first.value == pytest.approx(shift + (SLOW[name][2] if "crack" in name else 0.0), rel=0.25)
    assert not first.evidence["widened"] and first.evidence["relation"] == "exceeds"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
def test_seasons_are_no_growth(seed: int) -> None:
    """Limits of 1 mm a year under 26 mm of season, learned from 40 days of it."""
    assert profiled("bridge.deflection-residual", *course_of("bridge.deflection-residual", seed)) == []


def test_growth_beside_the_weather_is_told_per_year() -> None:
    x, air = course_of("bridge.deflection-residual", 1)
    x -= 6.0 * np.maximum(np.arange(len(x)) * HOURS / 24 - 40, 0) / 365.25
    found = profiled("bridge.deflection-residual", x, air)
    assert {f.kind for f in found} == {"growth"} and found[0].active
    worst = max(found, key=lambda f: f.severity)
    assert worst.severity == 4 and worst.unit == "mm/a"
    assert worst.value == pytest.approx(-6.0, rel=0.1)
    assert worst.evidence["low"] < worst.value < worst.evidence["high"] <= -5.0, "the whole interval is beyond the limit"
    assert 40 + 0.7 * 365 - 2 < (found[0].t_ns - T0) / NS / 86_400 < 40 + 0.7 * 365 + 3, "as soon as there are days enough"


def test_a_crack_that_opens_is_told_per_day() -> None:
    x, air = course_of("bridge.crack-residual", 1)
    x, air = x[: 130 * 24 // HOURS], air[: 130 * 24 // HOURS]
    x += 0.02 * np.maximum(np.arange(len(x)) * HOURS / 24 - 100, 0)
    found = profiled("bridge.crack-residual", x, air)
    rate = next(f for f in found if f.kind == "rate")
    assert rate.active and rate.severity == 2 and rate.unit == "mm/d" and rate.limit == 0.01
    assert 0.01 <= rate.evidence["low"] <= rate.value == pytest.approx(0.015, abs=0.006)
    assert 103 < (rate.t_ns - T0) / NS / 86_400 < 108
    width = next(f for f in found if f.kind == "residual")
    assert width.value == pytest.approx(0.26, abs=0.015) and width.limit == 0.25, "the width as in the mean weather"


def test_a_width_beyond_its_limit_from_the_first_is_not_widened_away() -> None:
    x, t = course(700)
    found = play(build(limits_on="freed", limits=[{"severity": 2, "above": 19.0}], growth_limits=[]), x, t)
    assert [(f.active, f.evidence["widened"]) for f in found] == [(True, False)]
    assert found[0].onset_ns == T0 + 480 * 3600 * NS and found[0].value == pytest.approx(20.0, abs=3.0)
    near = play(build(limits_on="freed", limits=[{"severity": 2, "above": 20.5}], growth_limits=[]), x, t)
    assert near == [], "within three standard deviations of where it stands"


def test_in_weather_that_was_never_seen_less_is_known() -> None:
    x, t = course(560)
    cold = t - np.where(np.arange(560) >= 540, 60.0, 0.0)
    jump = np.where(np.arange(560) >= 540, 50.0, 0.0)

    def scatter(air: np.ndarray) -> float:
        return float(play(build(), x - 2.0 * (air - t) + jump, air)[0].evidence["scatter"])

    assert scatter(t) == pytest.approx(0.5, rel=0.1)
    assert scatter(cold) > 1.03 * scatter(t)


def test_a_severity_must_hold_by_itself() -> None:
    """One bin beyond the graver limit among bins beyond the milder is no grave alarm."""
    x, t = course(1000)
    x[700:800] += 6.0
    x[702] += 6.0
    found = [f for f in play(build(), x, t) if f.kind == "residual"]
    assert [(f.active, f.severity) for f in found] == [(True, 2), (False, 2)]


def test_limits_of_slopes_lie_on_their_side() -> None:
    with pytest.raises(ValueError, match="rate_limits: a limit above must be above 0 and one below under it, is -1"):
        build(rate_limits=[{"severity": 2, "above": -1.0}])
    with pytest.raises(ValueError, match="design: must be given where limits has a share"):
        build(limits=[{"severity": 2, "share": 0.8}])
    d = build(limits=[{"severity": 3, "share": 0.8}, {"severity": 4, "share": 1.0}], design={"above": 5.0, "below": -10.0})
    assert [(r.severity, r.above, r.below) for r in d.params.bounds(d.params.limits)] == [
        (3, 4.0, None), (3, None, -8.0), (4, 5.0, None), (4, None, -10.0)]
