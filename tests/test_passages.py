"""Passages: the moving load against integration, cutting on hand-made shapes and on traffic, speeds, limits, weights, refusals."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from lifeline_core.bridges.passages import Passages, Rule
from lifeline_core.bridges.pieces import Pieces
from lifeline_core.bridges.smoothing import Smoother
from lifeline_core.bridges.speeds import passing_speed
from lifeline_core.bridges.tally import Tally
from lifeline_core.detectors.base import Group
from lifeline_core.detectors.passage import Passage, PassageParams
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Break, Channel, Finding, Site, Watch
from lifeline_core.synth.passage import CAR, LORRY, SEMI, Beam, Vehicle, traffic, weather_drift

T0 = 1_700_000_000 * NS - 1_700_000_000 * NS % (600 * NS)
FS, SPAN = 50, (0.0, 30.0)
AT = (10.0, 20.0)


# -- the beam ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "speed"), [(1, 20.0), (2, 35.0)])
def test_a_mode_under_a_moving_force_is_its_equation_integrated(mode: int, speed: float) -> None:
    beam, t = Beam(), np.arange(2000) / 500.0
    q, _, acceleration = beam._mode(mode, 100.0, speed, t)
    w = 2 * np.pi * beam.f1_hz * mode**2
    p, leaves = 200.0 / (beam.mass_t_m * beam.span_m), beam.span_m / speed

    def slope(at: float, y: list[float]) -> list[float]:
        load = p * np.sin(mode * np.pi * speed * at / beam.span_m) if at <= leaves else 0.0
        return [y[1], load - 2 * beam.damping * w * y[1] - w * w * y[0]]

    exact = solve_ivp(slope, (0.0, t[-1]), [0.0, 0.0], t_eval=t, rtol=1e-9, atol=1e-13, max_step=0.004)
    np.testing.assert_allclose(q, exact.y[0], atol=1e-5 * np.abs(q).max())
    speeds = np.gradient(exact.y[1], t)
    inner = (np.abs(t - leaves) > 0.02) & (t > 0.02) & (t < t[-1] - 0.02)
    np.testing.assert_allclose(acceleration[inner], speeds[inner], atol=0.02 * np.abs(acceleration).max())


def test_a_slow_vehicle_is_a_resting_one() -> None:
    beam = Beam()
    v = Vehicle((100.0, 50.0), (6.0,), 0.5, 0.0)
    strain = beam.respond("strain", [12.0], [v], 60 * 70, 60.0)[0]
    t = np.arange(strain.size) / 60.0
    static = 100 * beam.influence("strain", 12.0, 0.5 * t) + 50 * beam.influence("strain", 12.0, 0.5 * t - 6.0)
    np.testing.assert_allclose(strain, static, atol=0.01 * static.max())
    assert beam.influence("deflection", 15.0, [15.0])[0] == pytest.approx(-1e3 * 30.0**3 / 48 / beam.ei_knm2)
    assert beam.influence("strain", 15.0, [15.0])[0] == pytest.approx(1e6 * beam.section_m / beam.ei_knm2 * 30.0 / 4)


def test_a_beam_is_the_same_from_either_end() -> None:
    one, other = Vehicle(*SEMI, 20.0, 1.0), Vehicle(*SEMI, -20.0, 1.0)
    a = Beam().respond("acceleration", [8.0], [one], 400, 100.0)
    b = Beam().respond("acceleration", [22.0], [other], 400, 100.0)
    np.testing.assert_allclose(a, b)


def test_traffic_comes_as_often_as_told() -> None:
    rng = np.random.default_rng(1)
    vehicles = traffic(36_000.0, 200.0, rng)
    assert len(vehicles) == pytest.approx(2000, abs=4 * 2000**0.5)
    gaps = np.diff([v.enters_s for v in traffic(36_000.0, 400.0, rng, headway_s=3.0)])
    assert gaps.min() >= 3.0
    with pytest.raises(ValueError, match="an axle or more"):
        Vehicle((1.0,), (2.0,), 20.0)
    with pytest.raises(ValueError, match="on the beam"):
        Beam().respond("strain", [31.0], vehicles, 10, 50.0)
    with pytest.raises(ValueError, match="quantity"):
        Beam().respond("velocity", [3.0], vehicles, 10, 50.0)


# -- cutting -----------------------------------------------------------------------------------------------------------


def cut(y: NDArray[np.float64], rule: Rule, k: int = 10) -> list[Any]:
    cutter = Passages(len(y), rule)
    return [p for a in range(0, y.shape[1], k) for p in cutter.push(y[:, a : a + k], y[:, a : a + k])]


def test_a_triangle_has_its_peak_its_length_and_its_area() -> None:
    y = np.zeros((1, 300))
    y[0, 100:121] = 8.0 * (1.0 - np.abs(np.arange(21) - 10) / 10.0)
    (p,) = cut(y, Rule(least=1.0, edge=0.1, hold=5, memory=6))
    assert (p.peak, p.at, p.peaks, p.base) == (8.0, 110, 1, 0.0)
    assert p.onset == pytest.approx(101.0, abs=1e-9)  # a tenth of the way up
    assert p.end == pytest.approx(119.0, abs=1e-9)
    assert p.area == pytest.approx(y.sum(), rel=1e-9)


def test_a_drifting_baseline_is_followed_and_a_passage_is_not() -> None:
    rng = np.random.default_rng(2)
    drift = 0.002 * np.arange(4000)
    y = rng.normal(0, 0.1, (1, 4000)) + drift
    for at in range(500, 3900, 200):  # 30 of every 200 bins are loaded
        y[0, at : at + 30] += 5.0
    found = cut(y, Rule(least=1.0, hold=5, memory=30))
    assert [round(p.onset / 100) for p in found] == [at // 100 for at in range(500, 3900, 200)]
    assert max(abs(p.peak - 5.0) for p in found) < 0.8  # three standard deviations of the noise, and the drift of half the memory
    assert all(abs(p.base - drift[int(p.onset)]) < 0.5 for p in found)


def test_axles_that_stand_out_are_counted() -> None:
    y = np.zeros((1, 300))
    for at in (120, 126, 140):
        y[0, at - 2 : at + 3] += [1.0, 4.0, 6.0, 4.0, 1.0]
    (p,) = cut(y, Rule(least=1.0, hold=20, memory=6))
    assert p.peaks == 3


def test_one_that_stops_on_the_bridge_is_standing_and_the_baseline_is_learned_anew() -> None:
    y = np.random.default_rng(3).normal(0, 0.1, (1, 2000))
    y[0, 300:] += 5.0  # comes and stays
    y[0, 1500:1520] += 5.0
    found = cut(y, Rule(least=1.0, hold=5, longest=200, memory=20))
    assert [p.standing for p in found] == [True, False]
    assert found[1].base == pytest.approx(5.0, abs=0.1)
    assert found[1].peak == pytest.approx(5.0, abs=0.5)


def test_two_in_a_row_are_two_and_a_short_dip_is_none() -> None:
    y = np.zeros((1, 300))
    y[0, 100:120] = y[0, 124:140] = 5.0  # four bins apart
    y[0, 180:200] = y[0, 220:240] = -5.0
    assert [p.peak for p in cut(y, Rule(least=1.0, hold=6, memory=6))] == [5.0, -5.0, -5.0]
    assert cut(y, Rule(least=1.0, hold=6, memory=6, both=False))[0].peak == 5.0
    assert len(cut(y, Rule(least=1.0, hold=6, memory=6, both=False))) == 1


def test_missing_samples_lower_the_quality() -> None:
    y = np.zeros((1, 200))
    y[0, 100:120] = 5.0
    y[0, 105:109] = np.nan
    (p,) = cut(y, Rule(least=1.0, hold=6, memory=6))
    assert p.quality == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("damage", [lambda s: {}, lambda s: {**s, "past": b"1"}, lambda s: {**s, "quiet": b""},
                                    lambda s: {**s, "open": []}, lambda s: {**s, "base": b"x" * 8 * 3}])
def test_damaged_state_is_refused(damage: Any) -> None:
    cutter = Passages(2, Rule(least=1.0))
    cutter.push(np.zeros((2, 10)), np.zeros((2, 10)))
    with pytest.raises(StateError):
        Passages(2, Rule(least=1.0)).load(damage(cutter.save()))


def test_the_parts_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        Pieces(0, 3)
    pieces = Pieces(2, 3)
    with pytest.raises(StateError, match="fewer than 3"):
        pieces.load({"held": bytes(4 * 8), "base": [0, 0, 1, 1, False]})
    with pytest.raises(StateError, match="damaged"):
        pieces.load({})
    with pytest.raises(StateError, match="another form"):
        Smoother(1, 2, 50.0).load(Smoother(1, 2, 50.0, 0.5).save())
    with pytest.raises(StateError, match="1 channels, wanted 2"):
        Tally(["a", "b"], 10).load(Tally(["a"], 10).save())


# -- speeds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [CAR, LORRY, SEMI])
@pytest.mark.parametrize("speed", [14.0, -20.0, 27.0])
def test_speed_and_direction_from_one_span(kind: Any, speed: float) -> None:
    v = Vehicle(*kind, speed, 1.0)
    y = Beam().respond("strain", AT, [v], 7 * FS, FS)
    y += np.random.default_rng(4).normal(0, 0.3, y.shape)
    found = passing_speed(y, FS, AT, span_m=SPAN)
    assert found.sure
    assert found.mps == pytest.approx(speed, rel=0.05)  # a car is ten times the noise, a lorry a hundred times


@pytest.mark.parametrize("speed", [8.0, -30.0])
def test_speed_from_sensors_that_answer_alike(speed: float) -> None:
    t = np.arange(0, 20, 1 / FS)
    at = np.array([0.0, 35.0, 60.0])
    when = 3.0 + (at if speed > 0 else at - 60.0) / speed
    y = np.exp(-(((t[None] - when[:, None]) / 0.3) ** 2)) * np.array([[1.0], [0.9], [1.1]])
    y += np.random.default_rng(5).normal(0, 0.02, y.shape)
    found = passing_speed(y, FS, at.tolist())
    assert found.sure
    assert found.mps == pytest.approx(speed, rel=0.02)


def test_strains_of_one_span_read_as_alike_are_far_too_fast() -> None:
    """Why no influence is taken for granted."""
    y = Beam().respond("strain", AT, [Vehicle(*LORRY, 15.0, 1.0)], 7 * FS, FS)
    assert 1.8 < passing_speed(y, FS, AT).mps / 15.0 < 2.6


def test_what_is_no_crossing_has_no_sure_speed() -> None:
    rng = np.random.default_rng(6)
    assert not passing_speed(rng.normal(0, 1, (2, 200)), FS, AT, span_m=SPAN).sure
    same = np.exp(-(((np.arange(200) - 100) / 15.0) ** 2))  # both at once: either direction fits as well
    assert not passing_speed(np.stack([same, same]), FS, [0.0, 1.0]).sure


@pytest.mark.parametrize(("keys", "message"), [
    ({"d": np.zeros((2, 4))}, "8 samples"), ({"d": np.full((2, 99), np.nan)}, "finite"), ({"x_m": [5.0, 5.0]}, "two positions"),
    ({"x_m": [5.0, 40.0]}, "between the supports"), ({"below_hz": 0.01}, "four frequencies"),
    ({"d": np.zeros((2, 99))}, "hold something"),
    ({"d": np.ones((2, 20)), "below_hz": 20.0}, "must last longer"),
])
def test_speeds_refuse(keys: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"d": np.ones((2, 99)), "rate_hz": 50.0, "x_m": list(AT), "span_m": SPAN, **keys}
    with pytest.raises(ValueError, match=message):
        passing_speed(given.pop("d"), given.pop("rate_hz"), given.pop("x_m"), **given)


# -- the detector ------------------------------------------------------------------------------------------------------


def detector(*, rate: float = FS, unit: str = "ue", quantity: str = "strain", placed: bool = True, **keys: Any) -> Passage:
    channels = tuple(Channel(name=f"e{i}", site="s", device=1, channel=i, unit=unit, quantity=quantity, rate_hz=rate,
                             position_m=x if placed else None) for i, x in enumerate(AT))
    params = msgspec.convert({"least_peak": 2.0, **keys}, PassageParams)
    return Passage(Watch(name="w", site="s", channels=("e0", "e1"), detector="passage", params=params), [Group(channels, rate)],
                   Site(name="s", domain="bridge"))


def feed(d: Passage, x: NDArray[np.float64], at: int = 0, rate: int = FS) -> list[Finding]:
    out = []
    for a in range(0, x.shape[1], rate):
        out += d.push(0, Block(x[:, a : a + rate].astype(np.float32), T0, at + a, rate, 1))
    return out


def drive(vehicles: list[Vehicle], seconds: int, seed: int = 7) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    y = Beam().respond("strain", AT, vehicles, seconds * FS, FS)
    return y + rng.normal(0, 0.5, y.shape) + weather_drift(y.shape[1], FS, rng)


def passages(d: Passage) -> list[dict[str, Any]]:
    return [r for r in d.report() if "onset_ns" in r]


def test_vehicles_are_counted_measured_and_timed() -> None:
    """Eleven minutes of lorries every 20 s, either way."""
    vehicles = [Vehicle(*(SEMI if k % 2 else LORRY), (16.0 + k % 5) * (-1) ** k, 60.0 + 20.0 * k) for k in range(30)]
    d = detector(influence="moment", span_m=SPAN)
    assert feed(d, drive(vehicles, 660)) == []
    whole = [r for r in d.report() if r.get("whole")]
    first = [v for v in vehicles if v.enters_s < 600.0 - 2.0]
    assert [r["passages"] for r in whole] == [len(first), len(first)]
    alone = [Vehicle(v.axles_kn, v.spacing_m, v.speed_mps, 1.0) for v in first]
    true = [float(Beam().respond("strain", AT, [v], 300, FS)[0].max()) for v in alone]
    assert whole[0]["largest_peak"] == pytest.approx(max(true), rel=0.05)
    assert whole[0]["median_peak"] == pytest.approx(np.median(true), rel=0.05)
    last = {r["channel"]: r for r in reversed(passages(d))}
    v = vehicles[-1]
    for row in last.values():
        assert abs((row["onset_ns"] - T0) / NS - v.enters_s) < 0.6
        assert 0.6 < row["duration_s"] / (v.leaves_s(30.0) - v.enters_s) < 1.05
        assert row["speed_mps"] == pytest.approx(v.speed_mps, rel=0.03)
        assert row["measured"] == 1.0


def test_a_limit_by_share_of_what_traffic_may_do() -> None:
    light, heavy = Vehicle(*LORRY, 18.0, 60.0), Vehicle(*SEMI, 18.0, 100.0)
    peak = float(Beam().respond("strain", AT, [heavy], 120 * FS, FS).max())
    d = detector(design=peak, limits=[{"severity": 3, "share": 0.8}, {"severity": 4, "share": 2.0}], clear_s=30.0)
    found = feed(d, drive([light, heavy], 180))
    assert [(f.kind, f.active, f.severity) for f in found] == [("passage", True, 3)] * 2 + [("passage", False, 3)] * 2
    raised = found[0]
    assert raised.limit == pytest.approx(0.8 * peak)
    assert raised.value == pytest.approx(peak, rel=0.1)
    assert raised.score == pytest.approx(raised.value / raised.limit)
    assert (raised.onset_ns - T0) / NS == pytest.approx(100.1, abs=0.5)
    assert (raised.t_ns - T0) / NS < 106
    assert (found[-1].t_ns - raised.t_ns) / NS == pytest.approx(30.0, abs=1.5)


def test_overweight_by_a_calibrated_factor() -> None:
    lorry, semi = Vehicle(*LORRY, 18.0, 60.0), Vehicle(*SEMI, 18.0, 100.0)
    known = [float(row.max()) for row in Beam().respond("strain", AT, [Vehicle(*LORRY, 18.0, 1.0)], 300, FS)]
    factor = [lorry.weight_kn / v for v in known]
    d = detector(kn_per_unit=factor, design_kn=200.0, clear_s=20.0)
    found = feed(d, drive([lorry, semi], 150))
    assert {f.kind for f in found} == {"overweight"}
    raised = [f for f in found if f.active]
    assert [f.severity for f in raised] == [3, 3]  # 395 kN on 13 m
    assert all(300.0 <= f.value < 400.0 and f.unit == "kN" for f in raised)


def test_deflection_goes_down_and_a_limit_below_is_for_that() -> None:
    rng = np.random.default_rng(8)
    y = Beam(ei_knm2=4e6, f1_hz=3.0).respond("deflection", AT, [Vehicle(*SEMI, 15.0, 60.0)], 100 * FS, FS)
    d = detector(unit="mm", quantity="deflection", least_peak=0.5, limits=[{"severity": 2, "below": -5.0}], clear_s=10.0)
    found = feed(d, y + rng.normal(0, 0.05, y.shape))
    assert found[0].value == pytest.approx(y.min(axis=1)[0], rel=0.08)
    assert found[0].value < -5.0


def test_acceleration_is_cut_by_its_rms_and_told_by_its_largest() -> None:
    rng = np.random.default_rng(9)
    t = np.arange(100 * 120) / 100.0
    near = np.exp(-(((t - 70.0) / 1.0) ** 2))
    y = 9.81 + rng.normal(0, 0.005, (2, t.size)) + 0.3 * near * np.sin(2 * np.pi * 6.0 * t)
    d = detector(rate=100, unit="m/s2", quantity="acceleration", least_peak=0.02)
    assert feed(d, y, rate=100) == []
    rows = passages(d)
    assert [r["channel"] for r in rows] == ["e1", "e0"] and len(rows) == 2
    assert abs(rows[0]["peak"]) == pytest.approx(0.3, rel=0.1)
    assert 2.0 < rows[0]["duration_s"] < 5.0


def test_noise_and_weather_pass_nothing_in_a_quarter_of_an_hour() -> None:
    d = detector()
    assert feed(d, drive([], 900)) == []
    assert all(r["passages"] == r["standing"] == 0 for r in d.report())


def test_a_short_break_keeps_the_baseline_and_what_it_cuts_is_told() -> None:
    x = drive([Vehicle(*SEMI, 10.0, 60.0), Vehicle(*SEMI, 15.0, 80.0)], 120)
    d = detector()
    feed(d, x[:, : 61 * FS])
    at = 62 * FS
    d.gap(0, Break(T0 + 62 * NS, "gap", FS))
    feed(d, x[:, at:], at)
    assert {r["channel"] for r in passages(d)} == {"e0", "e1"}
    assert all((r["onset_ns"] - T0) / NS > 79 for r in passages(d)[:2])
    assert [r["cut"] for r in d.report() if "cut" in r] == [2, 2]
    d.gap(0, Break(T0 + 86_400 * NS, "epoch"))
    assert d.report()[0]["cut"] == 2


def test_a_watch_of_one_channel_without_a_place_has_no_speeds() -> None:
    with pytest.raises(ValueError, match="influence: speeds need two channels"):
        detector(placed=False, influence="alike")
    with pytest.raises(ValueError, match="span_m: channels must lie between"):
        detector(influence="moment", span_m=[0.0, 15.0])


@pytest.mark.parametrize(("keys", "message"), [
    ({"limits": [{"severity": 2, "share": 0.8}]}, "design: must be given"),
    ({"limits": [{"severity": 2, "above": -3.0}]}, "above must be above 0"),
    ({"limits": [{"severity": 3, "above": 3.0}, {"severity": 2, "above": 5.0}]}, "severity must rise"),
    ({"overweights": [{"severity": 3, "times": 2.0}, {"severity": 3, "times": 3.0}]}, "overweights: severity must rise"),
    ({"design_kn": 300.0}, "together with kn_per_unit"), ({"kn_per_unit": [1.0], "design_kn": 3.0}, "one number for each of 2"),
    ({"influence": "moment"}, "span_m: must be given"), ({"span_m": [0.0, 30.0]}, "span_m: must be given for influence moment"),
    ({"influence": "moment", "span_m": [30.0, 0.0]}, "before the second"), ({"hold_s": 0.05}, "hold_s: must span two bins"),
])
def test_wrong_keys(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detector(**keys)


def test_least_peak_has_no_default() -> None:
    with pytest.raises(msgspec.ValidationError, match="least_peak"):
        msgspec.convert({}, PassageParams)
    with pytest.raises(ValueError, match="least_peak: must be given"):
        Passage(Watch(name="w", site="s", channels=(), detector="passage"), [], Site(name="s", domain="bridge"))


@pytest.mark.parametrize("damage", [
    lambda s: {}, lambda s: {**s, "version": 9}, lambda s: {**s, "alarms": [[[0, 0, 0]]]}, lambda s: {**s, "tally": {}},
    lambda s: {**s, "crossing": [[1]]}, lambda s: {**s, "smoother": {"filter": b"", "settled": [False] * 2}},
])
def test_foreign_state_is_refused(damage: Any) -> None:
    d = detector()
    feed(d, drive([], 20))
    with pytest.raises(StateError):
        detector().load(damage(d.save()))
