"""Pressure cycles: the counting standard's example, levels against numpy, periods of the clock, limits."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.bridges.fatigue import Curve, StrainCycles
from lifeline_core.detectors.base import Group
from lifeline_core.detectors.cycles import Cycles, CyclesParams
from lifeline_core.dsp.rainflow import damage, rainflow
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Break, Channel, Finding, Site, Watch
from lifeline_core.pipes.cycles import PERCENTILES, Levels, PressureCycles, pressure_cycles

T0 = 1_700_000_000 * NS - 1_700_000_000 * NS % (3600 * NS)


def test_the_example_of_the_standard() -> None:
    found = pressure_cycles([-2, 1, -3, 5, -1, 3, -4, 4, -2], 1.0, 2.0, large_range=6.0)
    # ranges 3, 4, 4, 6, 8, 8, 9: half cycles but for one of the fours
    assert found.cycles == 4.0
    assert found.large == 2.0
    assert found.largest == 9.0
    assert found.damage == 0.5 * (9 + 16 + 64 + 81 + 64 + 36) + 16
    assert found.open_damage == 0.0
    assert (found.minimum, found.maximum) == (-4.0, 5.0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(2, 400), m=st.floats(0.5, 6))
def test_the_damage_is_that_of_the_cycles(seed: int, n: int, m: float) -> None:
    p = np.random.default_rng(seed).normal(40, 5, n).astype(np.float32)
    ranges, _, counts, _ = rainflow(p)
    found = pressure_cycles(p, 10.0, m)
    assert found.damage == pytest.approx(damage(ranges, counts, m), rel=1e-12)
    assert found.cycles == counts.sum()
    # all ranges twice: 2^m times the damage
    assert pressure_cycles(2 * p, 10.0, m).damage == pytest.approx(2**m * found.damage, rel=1e-6)
    assert pressure_cycles(p + np.float32(64), 10.0, m).damage == pytest.approx(found.damage, rel=1e-3)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(1, 2000), scale=st.floats(1e-3, 1e5), shift=st.floats(-1e5, 1e5))
def test_percentiles_are_within_a_bin_of_the_true_ones(seed: int, n: int, scale: float, shift: float) -> None:
    x = (shift + scale * np.random.default_rng(seed).standard_gamma(2.0, n)).astype(np.float32)
    levels = Levels()
    levels.push(x)
    width = max(np.ptp(x) / 127.0, float(np.abs(x).max()) * 2.0**-22)
    below, above = (np.percentile(x, PERCENTILES, method=how) for how in ("inverted_cdf", "higher"))
    told = np.array(levels.percentiles(PERCENTILES))
    assert (told >= below - width).all()
    assert (told <= above + width).all()
    assert levels.n == n


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.floats(-(2.0**127), 2.0**127, width=32), min_size=1, max_size=60),
       cuts=st.lists(st.integers(0, 60), max_size=8))
def test_levels_do_not_depend_on_cuts_or_order(values: list[float], cuts: list[int]) -> None:
    x = np.array(values, np.float32)
    whole, pieces, turned = Levels(), Levels(), Levels()
    whole.push(x)
    for part in np.split(x, sorted(c % x.size for c in cuts)):
        pieces.push(part)
        saved = pieces.save()
        pieces = Levels()
        pieces.load(saved)
    for v in x[::-1]:
        turned.push(v[None])
    assert whole.save() == pieces.save() == turned.save()
    assert whole._counts.size <= Levels.MOST


def test_levels_pass_over_what_is_not_finite() -> None:
    levels = Levels()
    levels.push(np.array([np.nan, np.inf, -np.inf]))
    assert levels.n == 0
    assert np.isnan(levels.percentiles([50.0])[0])
    levels.push(np.array([5.0, 5.0, np.nan]))
    assert levels.percentiles([0.0, 100.0]) == pytest.approx([5.0, 5.0], abs=1e-5)


@pytest.mark.parametrize("state", [b"", b"xxxx" + bytes(24), Levels().save()[:-1], Levels().save() + b"\0",
                                   Levels.HEAD.pack(b"LLLv", 1, 5000, 0, 0), Levels.HEAD.pack(b"LLLv", 1, 0, 0, 9999)])
def test_damaged_levels_are_refused(state: bytes) -> None:
    with pytest.raises(StateError):
        Levels().load(state)


def swings(seconds: int, rate: int = 16, seed: int = 1) -> np.ndarray:
    t = np.arange(seconds * rate) / rate
    return (40 + 3 * np.sin(t) + np.random.default_rng(seed).normal(0, 0.5, (2, t.size))).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 16 * 100), max_size=12))
def test_periods_are_the_same_however_cut(cuts: list[int]) -> None:
    x = swings(100)

    def told(edges: list[int]) -> list[str]:
        one, out = PressureCycles(2, 3.2, 30 * NS, gate=0.3, large_range=4.0), []
        for a, b in pairwise(edges):
            out += one.push(np.ascontiguousarray(x[:, a:b]), T0 + NS, a, 16, 1)
            saved = one.save()
            one = PressureCycles(2, 3.2, 30 * NS, gate=0.3, large_range=4.0)
            one.load(saved)
        return [repr(p) for p in (*out, *one.flush())]

    assert told(sorted({0, x.shape[1], *cuts})) == told([0, x.shape[1]])


def test_cycles_go_on_over_the_ends_of_periods() -> None:
    x = swings(120)
    one = PressureCycles(2, 3.0, 30 * NS)
    periods = [p for row, p in [*one.push(x, T0, 0, 16, 1), *one.flush()] if row == 0]
    whole = pressure_cycles(x[0], 16.0, 3.0)
    assert len(periods) == 4
    assert sum(p.cycles for p in periods) + 0.0 <= whole.cycles
    assert sum(p.damage for p in periods) + periods[-1].open_damage == pytest.approx(whole.damage, rel=1e-9)
    assert [p.start_ns for p in periods] == [T0 + k * 30 * NS for k in range(4)]
    assert all(p.coverage == 1.0 for p in periods)
    for k, p in enumerate(periods):
        part = x[0, k * 480 : (k + 1) * 480]
        assert (p.minimum, p.maximum) == (part.min(), part.max())
        assert p.mean == pytest.approx(part.mean(dtype=float))
        assert p.percentiles[3] == pytest.approx(np.median(part), abs=float(np.ptp(part)) / 127)


def test_a_daily_cycle_is_seen_by_hourly_periods() -> None:
    """Periods that forgot at their ends would never see the longest swing of all."""
    t = np.arange(3 * 86400 // 60)
    x = (40 - 10 * np.cos(2 * np.pi * t / 1440)).astype(np.float32)[None]
    one = PressureCycles(1, 1.0, 3600 * NS)
    periods = [p for _, p in one.push(x, T0, 0, 1, 60)]
    # three times up and down by 20 m: two whole cycles have closed, two halves are open
    assert sum(p.damage for p in periods) == pytest.approx(2 * 20, rel=1e-6)
    assert periods[-1].open_damage == pytest.approx(2 * 0.5 * 20, rel=1e-3)
    assert max(p.maximum - p.minimum for p in periods) < 3.0


# -- the detector ------------------------------------------------------------------------------------------------------


def detector(**keys: object) -> Cycles:
    channels = tuple(Channel(name=f"p{i}", site="s", device=1, channel=i, rate_hz=16.0, unit="m") for i in range(2))
    params = msgspec.convert({"exponent": 3.0, "period_s": 30.0, **keys}, CyclesParams)
    return Cycles(Watch(name="w", site="s", channels=("p0", "p1"), detector="cycles", params=params), [Group(channels, 16.0)],
                  Site(name="s", domain="water"))


def play(one: Cycles, x: np.ndarray, *, at: int = 0, flags: int = 0) -> list[Finding]:
    return one.push(0, Block(x, T0, at, 16, 1, None, (0.0, 0.0), flags))


def test_without_limits_it_only_reports() -> None:
    one = detector()
    assert play(one, swings(100)) == [] and one.flush() == []
    first, second = one.report()
    assert (first["channel"], second["channel"]) == ("p0", "p1")
    assert first["damage"] > 0
    assert first["min"] < first["p5"] < first["p50"] < first["p95"] < first["max"]


def test_limits_raise_rise_and_end() -> None:
    x = swings(150)
    x[0, 480:1440] += (10 * np.sin(2 * np.pi * np.arange(960) / 32)).astype(np.float32)
    x[0, 960:1440] += (15 * np.sin(2 * np.pi * np.arange(480) / 32)).astype(np.float32)
    one = detector(damage_limits=[{"severity": 2, "above": 5e4}, {"severity": 4, "above": 1e6}],
                   count_limits=[{"severity": 1, "above": 10.0}], count_range=12.0)
    found = play(one, x)
    wear = [f for f in found if f.kind == "cycle-damage"]
    assert [(f.active, f.severity, (f.t_ns - T0) // NS) for f in wear] == [(True, 2, 60), (True, 4, 90), (False, 4, 120)]
    assert {f.onset_ns for f in wear} == {T0 + 30 * NS}
    assert all(f.source == "p0" and f.unit == "m^3" for f in wear)
    assert wear[0].score == pytest.approx(wear[0].value / 5e4)
    assert wear[0].evidence["exponent"] == 3.0
    counts = [f for f in found if f.kind == "cycle-count"]
    assert counts[0].active and counts[0].value >= 10.0 and counts[0].unit == "cycles"
    assert not counts[-1].active


def test_a_period_of_which_little_came_ends_nothing() -> None:
    x = swings(60)
    x[0, 100:480] += (20 * np.sin(2 * np.pi * np.arange(380) / 32)).astype(np.float32)
    one = detector(damage_limits=[{"severity": 2, "above": 5e4}])
    assert [f.active for f in play(one, x[:, :480])] == [True]
    one.gap(0, Break(T0 + 50 * NS, "gap", 320))
    later = swings(30, seed=3)
    assert play(one, np.ascontiguousarray(later[:, :160]), at=800) == []  # the last ten seconds of its period
    found = play(one, np.concatenate([later, later], axis=1), at=960)
    assert [f.active for f in found] == [False]


def test_what_came_late_is_marked_so() -> None:
    one = detector(damage_limits=[{"severity": 2, "above": 1.0}])
    found = play(one, swings(40), flags=8)
    assert found and all(f.historical for f in found)
    assert one._historical == [True]
    fresh = detector(damage_limits=[{"severity": 2, "above": 1.0}])
    play(fresh, swings(30), flags=8)
    assert fresh._historical == [False]  # nothing of the new period has come


def test_a_saturated_sensor_is_no_infinity() -> None:
    x = np.where(np.arange(960) % 2, 3e38, -3e38).astype(np.float32) * np.ones((2, 1), np.float32)
    found = play(detector(exponent=40.0, damage_limits=[{"severity": 2, "above": 1.0}]), x)
    assert found and all(np.isfinite(f.value) and np.isfinite(f.score) for f in found)


@pytest.mark.parametrize(("keys", "message"), [
    ({"damage_limits": [{"severity": 2, "below": 1.0}]}, "damage_limits: wear has limits above only, is below 1.0"),
    ({"count_limits": [{"severity": 2, "above": 0.0}]}, "count_limits: a limit must be finite and above 0, is 0.0"),
    ({"damage_limits": [{"severity": 3, "above": 1.0}, {"severity": 2, "above": 2.0}]}, "severity must rise with the limit"),
])
def test_wrong_limits(keys: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detector(**keys)


def test_the_exponent_has_no_default() -> None:
    with pytest.raises(msgspec.ValidationError, match="exponent"):
        msgspec.convert({}, CyclesParams)
    with pytest.raises(ValueError, match="exponent must be given"):
        Cycles(Watch(name="w", site="s", channels=(), detector="cycles"), [], Site(name="s", domain="water"))


@pytest.mark.parametrize("damage_to", [
    lambda s: {**s, "version": 9}, lambda s: {**s, "counts": []}, lambda s: {**s, "open": [[[[0]]]]}, lambda s: {},
    lambda s: {**s, "counts": [{}]}, lambda s: {**s, "counts": [{**s["counts"][0], "sums": b""}]}, lambda s: {**s, "open": 3},
])
def test_foreign_state_is_refused(damage_to) -> None:
    one = detector()
    play(one, swings(20))
    with pytest.raises(StateError):
        detector().load(damage_to(one.save()))


@pytest.mark.parametrize(("call", "message"), [
    (lambda: pressure_cycles([], 1.0, 3.0), "one row of samples"),
    (lambda: pressure_cycles([[1.0], [2.0]], 1.0, 3.0), "one row of samples"),
    (lambda: pressure_cycles([1.0], 0.0, 3.0), "fs must be above 0"),
    (lambda: pressure_cycles([1.0], 1.0, 0.0), "exponent must be above 0"),
    (lambda: PressureCycles(1, 3.0, NS, large_range=-1.0), "large_range must be 0 or more"),
    (lambda: PressureCycles(1, 3.0, NS, gate=-1.0), "gate must be 0 or more"),
    (lambda: PressureCycles(0, 3.0, NS), "at least one row"),
])
def test_refusals(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# -- strain ------------------------------------------------------------------------------------------------------------


def test_the_curve_is_that_of_the_code() -> None:
    """EN 1993-1-9, 7.1: D = .737 C, L = .549 D; a range borne 2e6, 5e6 and 1e8 times."""
    curve = Curve(3.0, range_2e6=100.0)
    assert curve.knee / 100.0 == pytest.approx(0.737, abs=5e-4)
    assert curve.cutoff / curve.knee == pytest.approx(0.549, abs=5e-4)
    ranges = [200.0, 100.0, curve.knee, curve.cutoff * (1 + 1e-12), 0.999 * curve.cutoff]
    lives = 1.0 / np.maximum(curve.wear(ranges, [0.0] * 5, [1.0] * 5), 1e-300)
    assert lives[:4] == pytest.approx([2.5e5, 2e6, 5e6, 1e8])
    assert lives[4] > 1e299
    assert curve.wear([100.0], [0.0], [0.5])[0] == pytest.approx(0.25e-6)


def test_the_compressive_part_of_a_range_may_count_less() -> None:
    curve = Curve(3.0, compressive=0.6, zero=50.0)
    # about zero + 40, + 0, - 40: all tensile, half of each, all compressive
    assert curve.effective([60.0] * 3, [90.0, 50.0, 10.0]).tolist() == [60.0, 48.0, 36.0]
    assert Curve(3.0).effective([60.0], [-1e6]).tolist() == [60.0]


@pytest.mark.parametrize("keys", [{"exponent": 0.0}, {"exponent_2": np.inf}, {"range_2e6": 0.0}, {"compressive": 1.1},
                                  {"zero": np.nan}])
def test_curves_refuse(keys: dict) -> None:
    with pytest.raises(ValueError, match="must"):
        Curve(**{"exponent": 3.0, **keys})


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 16 * 100), max_size=12))
def test_strain_periods_are_the_same_however_cut(cuts: list[int]) -> None:
    x = 20 * swings(100)

    def told(edges: list[int]) -> list[str]:
        one, out = StrainCycles(2, Curve(3.0, 90.0, compressive=0.6, zero=800.0), 30 * NS, step=5.0), []
        for a, b in pairwise(edges):
            out += one.push(np.ascontiguousarray(x[:, a:b]), T0 + NS, a, 16, 1)
            saved = one.save()
            one = StrainCycles(2, Curve(3.0, 90.0, compressive=0.6, zero=800.0), 30 * NS, step=5.0)
            one.load(saved)
        return [repr(p) for p in (*out, *one.flush())]

    assert told(sorted({0, x.shape[1], *cuts})) == told([0, x.shape[1]])


def test_without_a_curve_strain_cycles_are_the_cycles_of_all_others() -> None:
    x = swings(100)
    ours, theirs = StrainCycles(2, Curve(3.2), 30 * NS, gate=0.3), PressureCycles(2, 3.2, 30 * NS, gate=0.3)
    mine = [p for _, p in [*ours.push(x, T0, 0, 16, 1), *ours.flush()]]
    others = [p for _, p in [*theirs.push(x, T0, 0, 16, 1), *theirs.flush()]]
    assert [(p.damage, p.open_damage, p.cycles, p.largest, p.percentiles) for p in mine] == \
        [(p.damage, p.open_damage, p.cycles, p.largest, p.percentiles) for p in others]
    assert all(p.histogram == () for p in mine)


def test_a_day_of_lorries_by_the_histogram_and_miner() -> None:
    """A strain that returns to 0 after every passage: 40 of 300 ue and 10 of 700 ue in a period of a day."""
    shape = np.concatenate([np.zeros(4), [0.5, 1.0, 0.5], np.zeros(3)])
    x = np.concatenate([size * shape for size in [300.0] * 40 + [700.0] * 10]).astype(np.float32)[None]
    channel = Channel(name="e0", site="s", device=1, channel=0, rate_hz=1.0, unit="ue")
    params = msgspec.convert({"exponent": 3.0, "range_2e6": 338.0, "period_s": 86_400.0, "histogram_step": 50.0,
                              "damage_limits": [{"severity": 2, "above": 4e-5}]}, CyclesParams)
    one = Cycles(Watch(name="w", site="s", channels=("e0",), detector="cycles", params=params), [Group((channel,), 1.0)],
                 Site(name="s", domain="bridge"))
    start = T0 - T0 % (86_400 * NS)
    found = one.push(0, Block(x, start, 0, 1, 1)) + one.flush()
    true = (40 * (300.0 / 338.0) ** 3 + 10 * (700.0 / 338.0) ** 3) / 2e6
    (row,) = one.report()
    assert row["damage"] + row["open_damage"] == pytest.approx(true, rel=0.01)
    assert row["histogram"][6] == 40.0
    assert row["histogram"][14] in (9.0, 9.5, 10.0)  # the last swing is still open
    assert len(row["histogram"]) == 15 and sum(row["histogram"]) == row["cycles"]
    assert [(f.kind, f.unit) for f in found] == [("cycle-damage", "lives")]


def test_a_foreign_state_of_strain_is_refused() -> None:
    one = StrainCycles(1, Curve(3.0), NS, step=1.0)
    others = StrainCycles(2, Curve(3.0), NS, step=1.0).save()
    for bad in ({}, {**one.save(), "classes": b""}, others, {**one.save(), "levels": [b""]}):
        with pytest.raises(StateError):
            StrainCycles(1, Curve(3.0), NS, step=1.0).load(bad)
    with pytest.raises(ValueError, match="0 or more"):
        StrainCycles(1, Curve(3.0), NS, step=-1.0)
