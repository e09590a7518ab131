"""Limits: by hand, against the twin, over any cut, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import lifeline_core.detectors._level as kernel
import msgpack
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.detectors.base import Group, Limit, LimitRow
from lifeline_core.detectors.level import Level, LevelParams
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Channel, Finding, Site, Watch
from tests.twins.level import level_events, slopes

SITE = Site(name="s", domain="gas")
METHANE = (Limit(severity=2, above=25.0), Limit(severity=4, above=50.0))


def channel(name: str = "a") -> Channel:
    return Channel(name=name, site="s", device=1, channel=0, unit="%LEL")


def level(rows: int = 1, **keys) -> Level:
    channels = tuple(channel(f"c{i}") for i in range(rows))
    names = tuple(c.name for c in channels)
    watch = Watch(name="w", site="s", channels=names, detector="level", params=LevelParams(**keys))
    return Level(watch, [Group(channels, None)], SITE)


def timed(t_s, x) -> Block:
    t_ns = np.array([round(t * NS) for t in t_s], np.int64)
    return Block(np.array([x], np.float32), int(t_ns[0]), 0, 0, 1, t_ns=t_ns)


def regular(x, rate: int = 1, index: int = 0) -> Block:
    return Block(np.atleast_2d(np.asarray(x, np.float32)), 0, index, rate, 1)


def short(findings: list[Finding]) -> list[tuple]:
    return [(f.t_ns / NS, f.active, f.severity, f.onset_ns / NS) for f in findings]


def test_an_episode_by_hand() -> None:
    found = level(limits=METHANE, hysteresis=2.0).push(0, regular([0, 24, 25, 30, 50, 49, 24, 23.5, 26, 23, 22]))
    assert short(found) == [(2, True, 2, 2), (4, True, 4, 2), (9, False, 4, 2)]
    first, second, last = found
    assert (first.score, first.value, first.limit, first.evidence["relation"]) == (1.0, 25.0, 25.0, "reaches")
    assert second.evidence == {"channel": "c0", "side": "above", "peak": 50.0, "relation": "reaches"}
    assert (last.value, last.limit, last.source, last.unit, last.kind) == (23.0, 50.0, "c0", "%LEL", "level")
    assert msgpack.unpackb(msgpack.packb(dict(second.evidence))) == second.evidence


def test_both_limits_at_once_are_one_finding() -> None:
    assert short(level(limits=METHANE).push(0, regular([0, 80]))) == [(1, True, 4, 1)]


def test_a_value_sent_as_0_315_reaches_0_315() -> None:
    limits = (Limit(severity=2, above=0.315),)
    x = np.float32([0.3149, 0.315])
    found = level(limits=limits).push(0, regular(x))
    assert short(found) == [(1, True, 2, 1)]
    assert found[0].score == 1.0
    assert found[0].limit == 0.315
    assert level(limits=limits, strict=True).push(0, regular(x)) == []
    above = np.nextafter(np.float32(0.315), np.float32(1))
    assert level(limits=limits, strict=True).push(0, regular([above]))[0].evidence["relation"] == "exceeds"


def test_the_side_below_mirrors_the_side_above() -> None:
    oxygen = (Limit(severity=3, below=19.5), Limit(severity=4, below=18.0), Limit(severity=2, above=23.5))
    found = level(limits=oxygen, hysteresis=0.5).push(0, regular([20.9, 19.5, 17.0, 19.8, 20.0, 20.9]))
    assert short(found) == [(1, True, 3, 1), (2, True, 4, 1), (4, False, 4, 1)]
    assert [f.evidence["peak"] for f in found] == [19.5, 17.0, 17.0]
    assert found[1].score == pytest.approx(1 + 1 / 18)


def test_from_one_side_into_the_other_ends_the_first() -> None:
    limits = (Limit(severity=2, below=-1.0), Limit(severity=2, above=1.0))
    found = level(limits=limits, off_delay_s=100.0).push(0, regular([0, 1.5, -2.0]))
    assert short(found) == [(1, True, 2, 1), (2, False, 2, 1), (2, True, 2, 2)]
    assert [f.evidence["side"] for f in found] == ["above", "above", "below"]


def test_score_is_the_ratio_above_and_finite_everywhere() -> None:
    assert level(limits=METHANE).push(0, regular([30]))[0].score == pytest.approx(30 / 25)
    assert level(limits=(Limit(severity=1, above=0.0),), hysteresis=2.0).push(0, regular([3]))[0].score == 2.5
    assert level(limits=(Limit(severity=1, below=-5.0),)).push(0, regular([-10]))[0].score == 2.0


def test_on_delay_counts_from_the_first_sample_and_must_be_unbroken() -> None:
    x = [0, 30, 30, 24, 30, 30, 30, 60, 60, 60]
    found = level(limits=METHANE, on_delay_s=2.0, hysteresis=2.0).push(0, regular(x))
    assert short(found) == [(6, True, 2, 4), (9, True, 4, 4)]


def test_off_delay_must_be_unbroken() -> None:
    found = level(limits=METHANE, off_delay_s=2.0).push(0, regular([30, 0, 0, 30, 0, 0, 0, 0]))
    assert short(found) == [(0, True, 2, 0), (6, False, 2, 0)]


def test_delays_of_irregular_samples_are_in_sample_time() -> None:
    d = level(limits=METHANE, on_delay_s=60.0)
    assert d.push(0, timed([0, 59.9], [30, 30])) == []
    assert short(d.push(0, timed([600, 601], [31, 32]))) == [(600, True, 2, 0)]


def test_a_hole_longer_than_hold_ends_delays_but_no_alarm() -> None:
    d = level(limits=METHANE, on_delay_s=60.0, hold_s=120.0)
    assert d.push(0, timed([0, 50], [30, 30])) == []
    assert short(d.push(0, timed([600, 650, 660], [31, 32, 33]))) == [(660, True, 2, 600)]
    assert d.push(0, timed([9000], [34])) == []
    assert short(d.push(0, timed([9010], [1]))) == [(9010, False, 2, 600)]


def test_a_clock_that_goes_back_ends_delays() -> None:
    d = level(limits=METHANE, on_delay_s=60.0)
    d.push(0, timed([1000], [30]))
    assert d.push(0, timed([0, 59], [30, 30])) == []
    assert short(d.push(0, timed([60], [30]))) == [(60, True, 2, 0)]


def test_samples_that_are_not_finite_are_passed_over() -> None:
    x = [30, np.nan, 30, np.inf, -np.inf, 30]
    assert short(level(limits=METHANE, on_delay_s=5.0).push(0, regular(x))) == [(5, True, 2, 0)]


def test_rate_of_change_is_per_time() -> None:
    rise = (Limit(severity=3, above=0.5),)  # m/min
    keys = {"rate_limits": rise, "rate_window_s": 300.0}
    t, x = np.arange(0, 1200, 60.0), np.concatenate([np.zeros(8), 0.6 * np.arange(1, 13)])
    found = level(**keys).push(0, timed(t, x))
    # 5 min after the last flat sample at 420 s the mean slope is 0.6; at 660 s it is (0.6 * 4 + 0) / 5 = 0.48
    assert short(found) == [(720, True, 3, 720)]
    assert (found[0].kind, found[0].unit) == ("rate", "%LEL/min")
    assert found[0].value == pytest.approx(0.6)
    assert found[0].score == pytest.approx(1.2)
    every_second = level(**keys).push(0, regular(np.interp(np.arange(1140), t, x)))
    # dense: the slope reaches 0.5 when 250 s of the 300 s lie on the ramp; the window is at most 300/128 s longer
    assert 670 <= every_second[0].t_ns / NS <= 673


def test_rate_of_sparse_samples_is_over_the_true_time_between_them() -> None:
    found = level(rate_limits=(Limit(severity=1, below=-1.0),)).push(0, timed([0, 900, 1800], [100, 90, 70]))
    assert short(found) == [(1800, True, 1, 1800)]
    assert found[0].value == pytest.approx(-20 / 15)


def test_value_and_rate_of_several_rows_come_in_the_order_of_time() -> None:
    d = level(rows=2, limits=METHANE, rate_limits=(Limit(severity=1, above=1.0),), rate_window_s=1.0, rate_per_s=1.0)
    found = d.push(0, regular([[0, 0, 30, 30], [0, 30, 30, 60]]))
    assert [(f.t_ns // NS, f.source, f.kind, f.active) for f in found] == [
        (1, "c1", "level", True), (1, "c1", "rate", True), (2, "c0", "level", True), (2, "c0", "rate", True),
        (2, "c1", "rate", False), (3, "c0", "rate", False), (3, "c1", "level", True), (3, "c1", "rate", True)]
    assert found[1].unit == "%LEL/s"


def events_of(machines, x, blocks) -> list[tuple]:
    return [(e[0], *e[2:]) for block in blocks for e in machines.push(np.ascontiguousarray(block.x), block)]


def ugly(rng: np.random.Generator, n: int) -> np.ndarray:
    x = np.cumsum(rng.normal(0, 0.7, n)).astype(np.float32)
    x[rng.random(n) < 0.02] = np.nan
    x[rng.random(n) < 0.01] = np.inf
    return np.round(x, 1)  # so that limits are reached exactly, too


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([0, 3]), st.sampled_from([0, 4]),
       st.sampled_from([0, 5]), st.sampled_from([0.0, 1.0]), st.booleans())
def test_equals_the_twin_over_any_cut(seed, strict, on_s, off_s, hold_s, hysteresis, irregular) -> None:
    rng = np.random.default_rng(seed)
    n = 300
    x = ugly(rng, n)
    t = np.cumsum(rng.integers(1, 9, n)) * NS if irregular else np.arange(n) * NS
    above, below = [1.0, 2.0, 4.0], [-1.0, -3.0]
    keys = {"strict": strict, "on_ns": on_s * NS, "off_ns": off_s * NS, "hold_ns": hold_s * NS}
    machines = kernel.Machines(1, above, below, (above[0] - hysteresis, below[0] + hysteresis), *keys.values())
    cuts = [0, *sorted(rng.integers(0, n, 5)), n]
    blocks = [Block(x[None, a:b], 0, int(a), 1, 1, t_ns=t[a:b] if irregular else None)
              for a, b in pairwise(cuts)]
    assert events_of(machines, x, blocks) == level_events(t, x, above, below, hysteresis=hysteresis, **keys)


@pytest.mark.parametrize("on_s", [0.0, 7.0, 2000.0])
@pytest.mark.parametrize("step", [1, 3])  # den: seconds a sample
def test_long_quiet_runs_equal_the_twin(on_s: float, step: int) -> None:
    """Slow enough to stay in one zone for whole tiles, so that the quick way through them is what is tested."""
    n = 20_000
    x = (10 * np.sin(np.arange(n) / 900) + np.sin(np.arange(n) / 7)).astype(np.float32)
    x[7000] = np.nan
    machines = kernel.Machines(1, [5.0, 9.0], [-5.0, -9.0], (4.0, -4.0), False, int(on_s * NS), int(on_s * NS), 2 * NS)
    twin = level_events(np.arange(n) * step * NS, x, [5.0, 9.0], [-5.0, -9.0], hysteresis=1.0, on_ns=int(on_s * NS),
                        off_ns=int(on_s * NS), hold_ns=2 * NS)
    assert events_of(machines, x, [Block(x[None], 0, 0, 1, step)]) == twin
    assert (len(twin) > 20) == (on_s < 100 and not (on_s and step == 3))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 300, 4000]), st.sampled_from([0, 40]))
def test_slopes_equal_the_twin(seed, window_s, hold_s) -> None:
    rng = np.random.default_rng(seed)
    n = 400
    x, t = ugly(rng, n), np.cumsum(rng.integers(1, 50, n)) * NS // 4
    part = kernel.Slopes(1, window_s * NS, hold_s * NS, 60.0 * NS)
    out = []
    for a, b in ((0, 1), (1, 150), (150, n)):
        y = np.empty((1, b - a), np.float32)
        part.push(np.ascontiguousarray(x[None, a:b]), Block(x[None, a:b], 0, 0, 0, 1, t_ns=t[a:b]), y)
        out.append(y[0])
    twin = slopes(t, x, window_s * NS, hold_ns=hold_s * NS, per_ns=60.0 * NS)
    np.testing.assert_array_equal(np.concatenate(out), twin)


def test_saved_in_mid_stream_goes_on_alike() -> None:
    rng = np.random.default_rng(3)
    x = np.cumsum(rng.normal(0, 2, (3, 600)), axis=1).astype(np.float32)
    keys = {"limits": (Limit(severity=1, above=5.0), Limit(severity=2, above=9.0)), "on_delay_s": 3.0,
            "off_delay_s": 2.0, "rate_limits": (Limit(severity=2, above=30.0),), "rate_window_s": 20.0}
    whole, part, rest = level(3, **keys), level(3, **keys), level(3, **keys)
    expected = whole.push(0, regular(x))
    found = part.push(0, regular(x[:, :251]))
    rest.load(msgpack.unpackb(msgpack.packb(part.save())))
    found += rest.push(0, regular(x[:, 251:], index=251))
    assert len(expected) > 10
    assert found == expected
    assert rest.save() == whole.save()


def test_state_of_another_kind_is_refused() -> None:
    saved = level(2, limits=METHANE).save()
    with pytest.raises(StateError, match="not of 1 rows"):
        level(1, limits=METHANE).load(saved)
    with pytest.raises(StateError, match="has not 1 groups of rates"):
        level(2, rate_limits=METHANE).load({**saved, "levels": []})
    damaged = {**saved, "levels": [saved["levels"][0][:-1]]}
    with pytest.raises(StateError, match="another kind, version or size"):
        level(2, limits=METHANE).load(damaged)
    active = level(1, limits=METHANE)
    active.push(0, regular([60]))
    with pytest.raises(StateError, match="names limit 1 of side 0"):
        level(1, limits=METHANE[:1]).load(active.save())


@pytest.mark.parametrize(("keys", "fault"), [
    ({}, "limits: at least one of limits and rate_limits must be given, are none"),
    ({"limits": [{"severity": 4, "above": 1.0}, {"severity": 2, "above": 2.0}]},
     "limits: severity must rise with the limit, is 4 above 1.0 and 2 above 2.0"),
    ({"limits": [{"severity": 1, "below": 1.0}, {"severity": 2, "below": 1.0}]},
     "limits: limits of one side must differ, are 1 below 1.0 and 2 below 1.0"),
    ({"rate_limits": [{"severity": 1, "below": 1.0}, {"severity": 2, "above": 0.5}]},
     "rate_limits: limits below must be under those above, are 1.0 and 0.5"),
    ({"limits": [{"severity": 1, "above": float("inf")}]}, "limits: a limit must be finite in float32, is inf"),
])
def test_tables_that_contradict_themselves(keys, fault: str) -> None:
    assert msgspec.convert(keys, LevelParams).faults() == [fault]
    with pytest.raises(ValueError, match="limit"):
        Level(Watch(name="w", site="s", channels=("a",), detector="level", params=msgspec.convert(keys, LevelParams)),
              [Group((channel(),), None)], SITE)


def test_keys_have_bounds() -> None:
    for keys in ({"hysteresis": -1.0}, {"rate_window_s": 0.0}, {"on_delay_s": -1.0}, {"limits": [{"severity": 1}]},
                 {"limits": [{"severity": 5, "above": 1.0}]}, {"hystersis": 1.0}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(keys, LevelParams)


def test_a_block_of_other_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="2 rows are watched, the block has 1"):
        level(2, limits=METHANE).push(0, regular([1.0]))


def test_limits_by_design_and_by_what_was_built() -> None:
    shares = (LimitRow(severity=3, share=0.8), LimitRow(severity=4, share=1.0))
    found = level(limits=shares, design=300.0).push(0, regular([0, 240, 299, 300, 0, -250, 0]))
    assert [(f.active, f.severity, f.limit, f.evidence["relation"]) for f in found] == [
        (True, 3, 240.0, "reaches"), (True, 4, 300.0, "reaches"), (False, 4, 300.0, "within"),
        (True, 3, -240.0, "exceeds"), (False, 3, -240.0, "within")]
    off = (LimitRow(severity=3, off=0.10), LimitRow(severity=4, off=0.15))
    found = level(limits=off, as_built=2000.0).push(0, regular([2000, 2199, 1790, 1690]))
    assert [(f.severity, f.limit) for f in found] == [(3, pytest.approx(1800.0)), (4, pytest.approx(1700.0))]
    with pytest.raises(ValueError, match="as_built: must be given where limits has an off, is none"):
        level(limits=off)
