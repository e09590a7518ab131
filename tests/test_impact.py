"""Impacts: ships and overheight vehicles are told with their time and peak; traffic, joints and earthquakes are not."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from lifeline_core.bridges.blows import BEFORE_S, Rules, judge_blow, ringing_frequency, spectrum_width
from lifeline_core.detectors.base import Group
from lifeline_core.detectors.impact import Impact, ImpactParams
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Break, Channel, Finding, Site, Watch
from lifeline_core.store import csmip
from lifeline_core.synth.blow import LONG, SHORT, earthquake, half_sine, joint_knock, rumble, trapezoid

RECORD = Path(__file__).parents[2] / "shared/data/bridges/painter_street/nc73821036_ce89324p.zip"
T0 = 1_700_000_000 * NS
FS, N = 100, 4500
PIERS = (30.0, 75.0, 120.0, 170.0, 210.0)
GIRDER = (4.0, 12.0, 20.0, 28.0)


def impact(rows: int = 4, *, across: bool = False, **keys: Any) -> Impact:
    channels = tuple(Channel(name=f"a{i}", site="s", device=1, channel=i, unit="m/s2", rate_hz=float(FS), position_m=10.0 * i)
                     for i in range(rows))
    names = tuple(c.name for c in channels)
    keys = {"limits": [{"severity": 3, "above": 0.5}, {"severity": 4, "above": 20.0}], **keys}
    params = msgspec.convert({**keys, **({"transversal": names} if across else {})}, ImpactParams)
    return Impact(Watch(name="w", site="s", channels=names, detector="impact", params=params), [Group(channels, float(FS))],
                  Site(name="s", domain="bridge"))


def feed(d: Impact, x: NDArray[np.float64], at: int = 0) -> list[Finding]:
    out = []
    for a in range(0, x.shape[1], FS):
        out += d.push(0, Block(x[:, a : a + FS].astype(np.float32), T0, at + a, FS, 1))
    return out


def noise(rows: int, n: int = N, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0, 0.005, (rows, n))


def refused(d: Impact) -> dict[str, int]:
    return next(r["refused"] for r in d.report() if "refused" in r)


def strike(*, peak_kn: float = 600.0, at_s: float = 20.0, n: int = N) -> NDArray[np.float64]:
    return SHORT.struck(GIRDER, 14.0, half_sine(n, FS, at_s=at_s, length_s=0.03, peak_kn=peak_kn), FS)


# -- what is said ------------------------------------------------------------------------------------------------------


def test_an_overheight_vehicle_is_told_with_all_that_is_asked() -> None:
    blow = strike()
    d = impact(clear_s=10.0)
    raised, over = feed(d, blow + noise(4))
    peak = float(np.abs(blow).max())
    assert (raised.kind, raised.active, over.active, raised.unit) == ("impact", True, False, "m/s2")
    assert raised.value == pytest.approx(peak, rel=0.05)
    assert raised.severity == 3 and raised.score == pytest.approx(raised.value / 0.5)
    assert abs((raised.onset_ns - T0) / NS - 20.0) <= 0.03
    assert 28.0 <= (raised.t_ns - T0) / NS <= 29.1
    assert (over.t_ns - raised.t_ns) / NS == pytest.approx(10.0)
    e = dict(raised.evidence)
    assert set(e["channels"]) == {"a0", "a1", "a2", "a3"} and e["delays_s"][0] == 0.0 and max(e["delays_s"]) <= 0.1
    assert e["decay_hz"] == pytest.approx(3.4, rel=0.02)  # the bridge's first mode across
    assert e["rise_s"] < 0.1 and 0.3 < e["duration_s"] < 6.0 and e["width_hz"] > 2.5
    row = e["channels"].index(e["strongest"])
    assert row >= 0 and e["energy"] == pytest.approx(float((blow[int(e["strongest"][1])] ** 2).sum()) / FS, rel=0.05)
    assert 0.5 < raised.quality < 1.0
    assert msgpack.unpackb(msgpack.packb(e)) == e


@pytest.mark.parametrize("length_s", [0.2, 0.5])
def test_a_ship_that_bounces_off_a_pier(length_s: float) -> None:
    blow = LONG.struck(PIERS, 80.0, half_sine(N, FS, at_s=20.0, length_s=length_s, peak_kn=4000.0), FS)
    found = feed(impact(5, across=True), blow + noise(5))
    assert [f.active for f in found] == [True]
    assert found[0].evidence["transversal"] == 1.0
    assert abs((found[0].onset_ns - T0) / NS - 20.0) <= 0.05


@pytest.mark.parametrize("hold_s", [0.4, 1.8])
def test_a_ship_whose_bow_is_crushed(hold_s: float) -> None:
    force = trapezoid(N, FS, at_s=20.0, rise_s=0.05, hold_s=hold_s, fall_s=0.15, peak_kn=6000.0)
    found = feed(impact(5, across=True), LONG.struck(PIERS, 60.0, force, FS) + noise(5))
    assert [f.active for f in found] == [True]
    assert abs((found[0].onset_ns - T0) / NS - 20.0) <= 0.05


def test_the_sensor_by_the_blow_feels_it_first() -> None:
    t = np.arange(N) / FS - 20.0
    rows = [np.where(t >= lag, np.exp(-np.maximum(t - lag, 0) / 0.4) * (np.cos(31 * (t - lag)) + np.cos(88 * (t - lag))), 0.0)
            for lag in (0.10, 0.05, 0.0, 0.05)]
    (found,) = feed(impact(), np.stack(rows) + noise(4))
    assert found.evidence["channels"][0] == "a2" and found.where == {"position_m": 20.0}
    assert found.evidence["channels"][-1] == "a0"
    assert found.evidence["delays_s"] == pytest.approx([0.0, 0.05, 0.05, 0.10], abs=0.021)


def test_a_blow_behind_a_lorry_that_is_still_looked_at() -> None:
    lorry = rumble(GIRDER, N, FS, np.random.default_rng(1), enters_s=17.0, speed_mps=20.0, length_m=32.0, peak=0.3)
    found = feed(impact(), strike() + lorry + noise(4))
    assert len(found) == 1
    assert abs((found[0].onset_ns - T0) / NS - 20.0) <= 0.1


def test_a_graver_impact_raises_the_alarm_and_a_lesser_one_keeps_it_up() -> None:
    x = strike(peak_kn=400.0) + strike(peak_kn=3000.0, at_s=31.0) + noise(4)
    x = np.concatenate([x, strike(peak_kn=400.0, n=8000) + noise(4, 8000, 1)], axis=1)
    found = feed(impact(clear_s=35.0), x)
    assert [(f.active, f.severity) for f in found] == [(True, 3), (True, 4), (False, 4)]
    assert found[0].onset_ns == found[1].onset_ns == found[2].onset_ns
    assert (found[2].t_ns - T0) / NS > 65.0 + 8.0 + 35.0


# -- what is not -------------------------------------------------------------------------------------------------------


def test_vehicles_are_no_impact() -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x = rumble(GIRDER, N, FS, rng, enters_s=20.0, speed_mps=12.0, length_m=32.0, peak=1.5)
        d = impact()
        assert feed(d, x + noise(4)) == []
        assert sum(refused(d).values()) >= 1


def test_loose_joints_are_no_impact() -> None:
    x = sum(joint_knock(4, N, FS, at_s=at, peak=2.0, row=0) for at in (15.0, 27.0, 34.0))
    d = impact()
    assert feed(d, x + noise(4)) == []
    assert set(refused(d)) == {"local"}


def test_what_is_usual_is_no_impact() -> None:
    """The same blow as a dozen others of that quarter of an hour."""
    x = np.concatenate([strike(peak_kn=700.0, at_s=12.0, n=2500) + noise(4, 2500, k) for k in range(12)], axis=1)
    d = impact(limits=[{"severity": 3, "above": 50.0}])
    assert feed(d, x) == [] and refused(d) == {"weak": 12}
    same = impact()
    same.load(d.save())
    assert feed(same, strike() + noise(4), x.shape[1]) == [] and refused(same) == {"weak": 12, "usual": 1}
    asked = impact(beyond=0.0)
    asked.load(d.save())
    assert len(feed(asked, strike() + noise(4), x.shape[1])) == 1


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("across", [False, True])
def test_earthquakes_are_no_impact(seed: int, across: bool) -> None:
    rng = np.random.default_rng(seed)
    x = earthquake(5, 7000, FS, rng, at_s=20.0, lag_s=rng.uniform(1, 15), strong_s=rng.uniform(3, 12), peak=rng.uniform(0.6, 4))
    d = impact(5, across=across)
    assert feed(d, x + noise(5, 7000)) == []
    assert sum(refused(d).values()) >= 1


@pytest.mark.data
@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_a_recorded_earthquake_is_no_impact_and_its_decay_is_the_bridge_s(scale: float) -> None:
    if not RECORD.exists():
        pytest.skip(f"no recording at {RECORD}")
    with zipfile.ZipFile(RECORD) as z:
        traces = [csmip.parse(z.read(name).decode("latin-1")) for name in sorted(z.namelist()) if name.lower().endswith(".v2")]
    x = scale * 0.01 * np.stack([t.x for t in traces])
    for across in (False, True):
        assert feed(impact(len(x), across=across), x) == []
    mid_span = next(i for i, t in enumerate(traces) if t.channel == 7)
    late = x[mid_span, 6000:]
    assert 3.0 < ringing_frequency(late, FS) < 3.7


def test_noise_says_nothing() -> None:
    d = impact()
    assert feed(d, noise(4, 60_000)) == []


# -- the judge ---------------------------------------------------------------------------------------------------------


def judged(x: NDArray[np.float64], at: int = 2000, **keys: Any) -> str:
    begin = at - round(BEFORE_S * FS)
    return judge_blow(x[:, begin : at + 8 * FS], FS, at - begin, Rules(0.5), **keys).reason


def test_every_reason_has_its_case() -> None:
    t = np.arange(N) / FS - 20.0
    rng = np.random.default_rng(3)
    ring = np.where(t >= 0, np.exp(-np.maximum(t, 0) / 0.5) * (np.cos(24 * t) + np.cos(69 * t) + np.cos(140 * t)), 0.0)
    rows = np.ones((4, 1))
    base = noise(4)
    assert judged(rows * ring + base) == ""
    assert judged(0.1 * rows * ring + base) == "weak"
    assert judged(rows * ring + base, usual=[2.0] * 4) == "usual"
    assert judged(np.array([[1.0], [0], [0], [0]]) * ring + base) == "local"
    assert judged(np.stack([np.roll(ring, k * 60) for k in range(4)]) + base) == "apart"
    grows = np.exp(-(((t - 1.5) / 0.8) ** 2)) * rng.normal(0, 1, (1, N))
    assert judged(rows * grows + base, 1900) in {"slow", "lasting"}
    assert judged(rows * rng.normal(0, 1, (1, N)) * (t >= 0) + base) == "lasting"
    line = rows * np.where(t >= 0, np.exp(-np.maximum(t, 0) / 1.5) * np.sin(12 * t), 0.0) + base
    assert judged(line) == "narrow"
    assert judged(line, across=[True] * 4) == ""


def test_a_channel_that_is_mostly_missing_is_left_out() -> None:
    x = strike() + noise(4)
    x[0, 1900:2600] = np.nan
    found = judge_blow(x[:, 1700:2800], FS, 300, Rules(0.5))
    assert found.reason == "" and 0 not in found.felt


def test_widths_and_frequencies() -> None:
    assert spectrum_width(np.zeros(10), FS) == 0.0
    assert spectrum_width(np.random.default_rng(1).normal(0, 1, 2000), FS) == pytest.approx(25.0, rel=0.15)
    assert np.isnan(ringing_frequency(np.zeros(100), FS)) and np.isnan(ringing_frequency(np.ones(5), FS))


@pytest.mark.parametrize(("shape", "trigger"), [((2, 300), 250), ((2, 300), -1), ((300,), 10)])
def test_the_judge_refuses(shape: tuple[int, ...], trigger: int) -> None:
    with pytest.raises(ValueError, match="a second or more behind the trigger"):
        judge_blow(np.zeros(shape), FS, trigger, Rules(0.5))


# -- the stream --------------------------------------------------------------------------------------------------------


def test_the_samples_around_the_last_impact_are_kept_and_survive_a_restart() -> None:
    x = (strike() + noise(4)).astype(np.float32)
    d = impact()
    (found,) = feed(d, x)
    other = impact()
    other.load(msgpack.unpackb(msgpack.packb(d.save())))
    for one in (d, other):
        window = one.recall("a1", found.onset_ns - 2 * NS, found.onset_ns + 3 * NS)
        assert window is not None and window.rate_hz == FS
        first = round((window.t0_ns - T0) * FS / NS)
        assert abs(first - (2000 - 200)) <= 3 and abs(window.x.size - 500) <= 1
        np.testing.assert_array_equal(window.x, x[1, first : first + window.x.size])
        assert one.recall("a1", T0, T0 + NS) is None and one.recall("nobody", found.onset_ns, found.onset_ns + NS) is None
    assert impact().recall("a1", T0, T0 + NS) is None
    assert d.report()[-1]["peak"] == found.value


def test_a_break_behind_the_first_half_is_an_end_and_before_it_is_none() -> None:
    x = strike() + noise(4)
    for stop, said in ((2600, 1), (2200, 0)):
        d = impact()
        found = feed(d, x[:, :stop])
        found += d.gap(0, Break(T0 + stop * NS // FS + NS, "gap", 100))
        found += feed(d, noise(4, 2000, 5), stop + 100)
        assert len([f for f in found if f.active]) == said


@pytest.mark.parametrize(("keys", "message"), [
    ({"limits": [{"severity": 3, "below": -1.0}]}, "limits above only"), ({"limits": [{"severity": 3, "above": -1.0}]}, "above 0"),
    ({"limits": [{"severity": 3, "above": 1.0}, {"severity": 3, "above": 2.0}]}, "severity must rise"),
    ({"on": 200.0}, "on: the ratio never exceeds"), ({"transversal": ["b9"]}, "channels of the watch, names b9"),
    ({"broad_hz": 45.0}, "broad_hz: must be below"),
])
def test_wrong_keys(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        impact(**keys)


def test_limits_have_no_default() -> None:
    with pytest.raises(msgspec.ValidationError, match="limits"):
        msgspec.convert({}, ImpactParams)
    with pytest.raises(ValueError, match="limits: must be given"):
        Impact(Watch(name="w", site="s", channels=(), detector="impact"), [], Site(name="s", domain="bridge"))


@pytest.mark.parametrize("damage", [lambda s: {}, lambda s: {**s, "version": 9}, lambda s: {**s, "x": b"1234"},
                                    lambda s: {**s, "usual": [[]]}, lambda s: {**s, "evidence": [0, b"12345678"]}])
def test_foreign_state_is_refused(damage: Any) -> None:
    d = impact()
    feed(d, noise(4, 500))
    with pytest.raises(StateError):
        impact().load(damage(d.save()))
