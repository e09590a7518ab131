"""Quality of channels: spikes, dead, noisy, exchanged and turned channels, drifts - and nothing of a structure that only lives."""

from __future__ import annotations

from typing import Any

import msgpack
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lifeline_core.detectors.base import Group
from lifeline_core.detectors.quality import Quality, QualityParams
from lifeline_core.dsp.comoments import PIECE, Comoments
from lifeline_core.dsp.days import Days
from lifeline_core.dsp.delayed import Delayed
from lifeline_core.dsp.drift import Drift
from lifeline_core.dsp.likeness import Pattern, Reference, find_faults, fisher_z
from lifeline_core.dsp.placing import Placing
from lifeline_core.dsp.usual import Usual
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Break, Channel, Finding, Site, Watch

Real = NDArray[np.float64]
DAY = 86_400
T0 = 20_000 * DAY * NS


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


# -- which channel is which ----------------------------------------------------------------------------------------------

SHAPES = rng(2).normal(size=(8, 5))


def pattern(x: Real) -> Pattern:
    return Pattern(fisher_z(np.corrcoef(x)), np.log(x.std(axis=1)))


def living(draw: np.random.Generator, shapes: Real = SHAPES) -> Real:
    """A stretch of a structure under changing load."""
    modes = draw.normal(size=(shapes.shape[1], 3000)) * np.exp(draw.normal(0, 0.1, (shapes.shape[1], 1)))
    x: Real = shapes @ modes + 0.3 * draw.normal(size=(len(shapes), 3000))
    return x


def reference(shapes: Real = SHAPES) -> Reference:
    draw = rng(3)
    many = [pattern(living(draw, shapes)) for _ in range(60)]
    z, loud = np.array([p.z for p in many]), np.array([p.loud for p in many])
    return Reference(Pattern(z.mean(0), loud.mean(0)), Pattern(z.std(0), loud.std(0)))


def faults_of(x: Real, r: Reference) -> set[tuple[str, tuple[int, ...]]]:
    p = pattern(x)
    return {(f.kind, f.channels) for f in find_faults(Pattern(p.z, p.loud - np.median(p.loud - r.mean.loud)), r)}


@pytest.mark.parametrize(("order", "sign", "want"), [
    ([0, 1, 2, 3, 4, 5, 6, 7], {}, set()),
    ([0, 1, 5, 3, 4, 2, 6, 7], {}, {("swapped", (2, 5))}),
    ([1, 0, 5, 3, 4, 2, 6, 7], {}, {("swapped", (0, 1)), ("swapped", (2, 5))}),
    ([0, 1, 2, 3, 4, 5, 6, 7], {4: -1}, {("flipped", (4,))}),
    ([0, 1, 2, 3, 4, 5, 6, 7], {4: -1, 2: -1}, {("flipped", (4,)), ("flipped", (2,))}),
])  # fmt: skip
def test_exchanged_and_turned_channels_are_told(order: list[int], sign: dict[int, int], want: set[Any]) -> None:
    r, draw = reference(), rng(7)
    turned = np.array([[sign.get(k, 1)] for k in range(8)])
    found = [faults_of(living(draw)[order] * turned, r) for _ in range(10)]
    assert found.count(want) >= 8
    assert all(f == want or not f for f in found), "nothing rather than something else"


def test_a_ring_of_three_is_told() -> None:
    r, draw = reference(), rng(8)
    found = [faults_of(living(draw)[[1, 2, 0, 3, 4, 5, 6, 7]], r) for _ in range(5)]
    assert all(k in ("swapped",) and set(c) <= {0, 1, 2} for f in found for k, c in f)
    assert sum(bool(f) for f in found) >= 3


def test_symmetric_sensors_are_never_told_apart() -> None:
    shapes = SHAPES.copy()
    shapes[1] = shapes[0]
    r, draw = reference(shapes), rng(9)
    for _ in range(5):
        assert faults_of(living(draw, shapes)[[1, 0, 2, 3, 4, 5, 6, 7]], r) == set()


def test_channels_of_opposite_sense_exchanged_or_turned_is_left_open() -> None:
    shapes = SHAPES.copy()
    shapes[1] = -shapes[0]
    r, draw = reference(shapes), rng(10)
    for _ in range(5):
        x = living(draw, shapes)
        assert faults_of(x[[1, 0, 2, 3, 4, 5, 6, 7]], r) == set()
        assert faults_of(x * np.array([[-1], [-1]] + [[1]] * 6), r) == set()


def test_two_channels_do_not_say_which_is_turned() -> None:
    r, draw = reference(SHAPES[:2]), rng(11)
    assert faults_of(living(draw, SHAPES[:2]) * [[1], [-1]], r) == set()


def test_a_dead_or_missing_channel_is_not_exchanged() -> None:
    r, draw = reference(), rng(12)
    x = living(draw)
    x[3] = draw.normal(size=x.shape[1])
    assert faults_of(x, r) == set()
    p = pattern(x[[1, 0, 2, 3, 4, 5, 6, 7]])
    p.z[3], p.z[:, 3], p.loud[3] = np.nan, np.nan, np.nan
    assert {(f.kind, f.channels) for f in find_faults(p, r)} == {("swapped", (0, 1))}
    p.loud[:] = np.nan
    assert find_faults(p, r) == []


# -- sums that do not know of cuts ---------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3000), max_size=12), st.booleans())
def test_moments_are_numpys_and_cuts_do_not_show(cuts: list[int], restart: bool) -> None:
    x = (rng().normal(size=(3, 3000)) + np.array([[5.0], [1e4], [0.0]])).astype(np.float32)
    x[0, 100:200], x[2, 1500] = np.nan, np.inf
    whole, c = Comoments(3), Comoments(3)
    whole.push(x)
    for part in np.split(x, sorted(cuts), axis=1):
        c.push(part)
        if restart:
            state = c.save()
            c = Comoments(3)
            c.load(state)
    got, want = c.close(), whole.close()
    for name in ("count", "mean", "std", "correlation"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
    assert got.count.tolist() == [2900, 3000, 2999]
    good = np.isfinite(x[0]) & np.isfinite(x[2])
    assert got.correlation[0, 2] == pytest.approx(np.corrcoef(x[0, good], x[2, good])[0, 1], abs=1e-4)
    assert got.std[1] == pytest.approx(x[1].astype(np.float64).std(), rel=1e-6)
    assert np.isnan(whole.close().mean).all()


def test_a_constant_has_no_correlation() -> None:
    c = Comoments(2)
    c.push(np.stack([np.full(5000, 0.1), rng().normal(size=5000)]).astype(np.float32))
    m = c.close()
    assert m.std[0] == 0.0 and np.isnan(m.correlation[0, 1])


def test_state_of_others_is_refused() -> None:
    for one, other in ((Comoments(2), Comoments(3)), (Placing(2, NS, 1.0), Placing(3, NS, 1.0)), (Usual(2, 20), Usual(2, 21)),
                       (Days(3, 0, 10, (0.1, 0.0), 0.1, 1.0), Days(4, 0, 10, (0.1, 0.0), 0.1, 1.0))):  # fmt: skip
        with pytest.raises(StateError):
            other.load(one.save())  # type: ignore[attr-defined]
    with pytest.raises(StateError):
        Delayed().load(b"\x92\x02\x90")
    assert PIECE > 1
    with pytest.raises(ValueError, match="at least one row"):
        Comoments(0)


# -- drift ---------------------------------------------------------------------------------------------------------------


def test_few_drifts_are_said_of_what_does_not_drift() -> None:
    draw, said, years = rng(4), 0, 0.0
    for _ in range(60):
        d = Drift(21, 1, 0.0, 0.5)
        for day in range(300):
            c = draw.normal()
            told = d.take(day, 3.0 + 2.0 * c + draw.normal(), [c])
            said += told is not None and told.active
        years += (300 - 21) / 365.25
    assert said / years <= 0.5


def test_a_drift_is_said_with_its_slope_and_ends() -> None:
    draw, d = rng(5), Drift(21, 0, 0.05, 0.1)
    told = [d.take(day, 0.01 * draw.normal() + 0.01 * min(max(0, day - 30), 40) * (day < 80)) for day in range(120)]
    found = [(day, t) for day, t in enumerate(told) if t is not None]
    assert [t.active for _, t in found] == [True, False]
    (begin, one), (end, _) = found
    assert 33 <= begin <= 42 and 80 <= end <= 90
    assert one.departure >= 0.05 and one.low <= one.slope <= one.high and one.slope > 0
    assert d.take(200, float("nan")) is None
    with pytest.raises(ValueError, match="explain a day"):
        d.take(201, 1.0, [2.0])
    with pytest.raises(ValueError, match="at least 5 days"):
        Drift(4, 0, 0.0, 0.1)


# -- the detector --------------------------------------------------------------------------------------------------------

RATE, N = 10, 5
KEYS = {"bin_s": 30.0, "train": 40, "confirm": 2, "pattern_s": 120.0}
MIX = np.array([[1.0, 0.2, 0.5], [0.8, -0.9, 0.1], [0.3, 1.0, -0.7], [-0.5, 0.6, 0.9], [0.9, 0.8, 0.4]])


def build(n: int = N, rate: float = RATE, env: int = 0, **keys: Any) -> Quality:
    channels = tuple(Channel(name=f"c{i}", site="s", device=1, channel=i, rate_hz=rate, unit="ue") for i in range(n))
    air = tuple(Channel(name=f"t{i}", site="s", device=2, channel=i, unit="degC") for i in range(env))
    params = msgspec.convert({**KEYS, "environment": env, **keys}, QualityParams)
    watch = Watch(name="w", site="s", channels=tuple(c.name for c in (*channels, *air)), detector="quality", params=params)
    return Quality(watch, [Group(channels, rate), *(Group((a,), None) for a in air)], Site(name="s", domain="bridge"))


def vibration(minutes: int = 50, n: int = N, seed: int = 1) -> Real:
    draw, size = rng(seed), minutes * 60 * RATE
    load = np.exp(0.5 * np.sin(np.arange(size) / 3000))
    x: Real = MIX[:n] @ (draw.normal(size=(3, size)) * load) + 0.2 * draw.normal(size=(n, size))
    return x


def run(q: Quality, x: Real, step: int = 600) -> list[Finding]:
    found = list[Finding]()
    for a in range(0, x.shape[1], step):
        found += q.push(0, Block(x[:, a : a + step].astype(np.float32), T0, a, RATE, 1, None, (0.0,) * len(x)))
    return found + q.flush()


def heard(found: list[Finding]) -> list[tuple[str, str, bool]]:
    return [(f.kind, f.source, f.active) for f in found]


HALF = slice(30 * 60 * RATE, 40 * 60 * RATE)


def test_a_living_structure_says_nothing() -> None:
    for seed in (1, 2, 3):
        assert run(build(), vibration(seed=seed)) == []


def test_a_louder_or_silent_bridge_is_no_fault() -> None:
    x = vibration()
    x[:, HALF] *= 20.0
    assert run(build(), x) == []
    x[:, HALF] /= 2000.0
    assert run(build(), x) == []


@pytest.mark.parametrize(("factor", "kind"), [(0.01, "dead"), (8.0, "noisy")])
def test_a_channel_whose_strength_left_its_neighbours(factor: float, kind: str) -> None:
    x = vibration()
    x[2, HALF] *= factor
    found = run(build(), x)
    assert heard(found) == [(kind, "c2", True), (kind, "c2", False)]
    assert found[0].onset_ns == T0 + 30 * 60 * NS and found[0].t_ns <= T0 + 31 * 60 * NS
    assert found[0].value == pytest.approx(factor, rel=0.5)


def test_of_two_the_other_is_not_accused() -> None:
    x = vibration(n=2)
    x[0, HALF] *= 0.01
    assert heard(run(build(2), x)) == [("dead", "c0", True), ("dead", "c0", False)]


def test_one_channel_alone_is_not_said_to_be_dead() -> None:
    x = vibration(n=1)
    x[0, HALF] *= 0.01
    assert run(build(1), x) == []


def test_identical_values_are_left_to_health() -> None:
    x = vibration()
    x[1, HALF] = 0.25
    assert [f for f in run(build(), x) if f.source == "c1" and f.kind in ("dead", "noisy")] == []


def test_spikes_are_said_from_the_beginning() -> None:
    x = vibration(20)
    x[3, 3000:6000:50] += 40.0
    found = run(build(), x)
    assert heard(found) == [("spikes", "c3", True), ("spikes", "c3", False)]
    assert found[0].evidence["spikes"] >= 3 and found[0].value == pytest.approx(0.02, rel=0.2)


def test_exchanged_and_turned() -> None:
    x = vibration()
    x[[0, 1], HALF] = x[[1, 0], HALF]
    assert heard(run(build(), x)) == [("swapped", "c0,c1", True), ("swapped", "c0,c1", False)]
    x = vibration()
    x[4, HALF] *= -1
    found = run(build(), x)
    assert heard(found) == [("flipped", "c4", True), ("flipped", "c4", False)]
    assert found[0].onset_ns == T0 + 30 * 60 * NS and found[0].t_ns <= T0 + 33 * 60 * NS


def test_exchanged_channels_are_not_noisy_any_more() -> None:
    x = vibration()
    x[0] *= 6.0  # as loud as no other, so where it stands now seems noisy until the stretch is over
    x[[0, 2], HALF] = x[[2, 0], HALF]
    found = heard(run(build(), x))
    assert ("noisy", "c2", True) in found and ("swapped", "c0,c2", True) in found
    assert found.index(("noisy", "c2", False)) == found.index(("swapped", "c0,c2", True)) + 1
    assert found[-1] == ("swapped", "c0,c2", False)


def test_missing_channels_and_seams_say_nothing() -> None:
    x = vibration()
    x[2, HALF] = np.nan
    assert run(build(), x) == []
    q, found = build(), list[Finding]()
    for a in range(0, x.shape[1], 600):
        if a in (12_000, 21_000):
            found += q.gap(0, Break(T0, "gap", 5))
        found += q.push(0, Block(x[:, a : a + 600].astype(np.float32), T0, a, RATE, 1))
    assert found == []


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(1, 29_999), max_size=10))
def test_cuts_and_restarts_never_show(cuts: list[int]) -> None:
    x = vibration()
    x[2, HALF] *= 0.01
    x[[0, 1], HALF] = x[[1, 0], HALF]
    want, q, got = run(build(), x), build(), list[Finding]()
    for a, b in zip([0, *sorted(set(cuts))], [*sorted(set(cuts)), x.shape[1]], strict=True):
        got += q.push(0, Block(x[:, a:b].astype(np.float32), T0, a, RATE, 1, None, (0.0,) * N))
        state = msgpack.packb(q.save())
        q = build()
        q.load(msgpack.unpackb(state))
        assert msgpack.packb(q.save()) == state
    assert repr(got + q.flush()) == repr(want)
    assert {f.kind for f in want} == {"dead", "swapped"}


def slow(days: int, seed: int = 1) -> tuple[Real, Real]:
    """A sample every 5 minutes of five channels whose levels follow the temperature, each in its own way; the temperature."""
    draw, n = rng(seed), days * 288
    t = np.arange(n) / 288
    warm = 6 * np.sin(2 * np.pi * t) + 6 * np.sin(2 * np.pi * t / 30)
    x: Real = MIX @ draw.normal(size=(3, n)) + 0.2 * draw.normal(size=(5, n))
    return x + np.array([[0.3], [0.4], [0.2], [0.35], [0.25]]) * warm, warm


SLOW = {"bin_s": 7200.0, "train": 60, "pattern_s": 86_400.0, "drift_days": 20, "offset_drift": 1.0}


def run_slow(q: Quality, x: Real, warm: Real | None = None, restart: bool = False) -> list[Finding]:
    found = list[Finding]()
    for a in range(0, x.shape[1], 288):
        if warm is not None:
            times = T0 + np.arange(a, a + 288, dtype=np.int64) * 300 * NS
            found += q.push(1, Block(warm[None, a : a + 288].astype(np.float32), 0, 0, 1, 1, times))
        found += q.push(0, Block(x[:, a : a + 288].astype(np.float32), T0, a, 1, 300, None, (0.0,) * len(x)))
        if restart and a % 5 == 0:
            state, env = msgpack.packb(q.save()), 0 if warm is None else 1
            q = build(len(x), 1 / 300, env, **SLOW)
            q.load(msgpack.unpackb(state))
    return found


def test_weather_is_no_drift() -> None:
    x, warm = slow(90)
    assert run_slow(build(5, 1 / 300, **SLOW), x) == []
    assert run_slow(build(1, 1 / 300, 1, **SLOW), x[:1], warm) == []


@pytest.mark.parametrize("alone", [False, True])
def test_a_level_that_leaves_its_neighbours_or_the_weather_drifts(alone: bool) -> None:
    x, warm = slow(70)
    x[0, 40 * 288 :] += 0.2 * np.arange(30 * 288) / 288
    keys: tuple[int, float, int] = (1, 1 / 300, 1) if alone else (5, 1 / 300, 0)
    args = (x[:1], warm) if alone else (x,)
    found = run_slow(build(*keys, **SLOW), *args)
    assert heard(found) == [("drift", "c0", True)]
    assert T0 + 44 * DAY * NS < found[0].t_ns < T0 + 52 * DAY * NS
    assert found[0].unit == "ue" and abs(found[0].value) >= 1.0
    assert repr(run_slow(build(*keys, **SLOW), *args, restart=True)) == repr(found)


def test_a_gain_that_leaves_its_neighbours_drifts() -> None:
    x, _ = slow(70)
    x -= x.mean(axis=1, keepdims=True)
    x[3, 40 * 288 :] *= np.exp(-0.03 * np.arange(30 * 288) / 288)
    found = [f for f in run_slow(build(5, 1 / 300, **{**SLOW, "offset_drift": 0.0}), x) if f.active]
    assert {(f.kind, f.source) for f in found} == {("gain", "c3")}
    assert -0.7 < found[0].value < -0.05


def test_a_level_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="offset_drift: needs three channels or environment"):
        build(2, offset_drift=1.0)
    with pytest.raises(ValueError, match="environment: must leave a channel"):
        channels = tuple(Channel(name=f"c{i}", site="s", device=1, channel=i, rate_hz=10.0) for i in range(2))
        watch = Watch(name="w", site="s", channels=("c0", "c1"), detector="quality", params=QualityParams(environment=2))
        Quality(watch, [Group((c,), 10.0) for c in channels], Site(name="s", domain="bridge"))


def test_a_report_for_people() -> None:
    q = build()
    x = vibration(5)
    x[1, 1000] = 90.0
    run(q, x)
    assert q.report()[1] == {"channel": "c1", "phase": "train", "removed": 1}
