"""Place and speed together: the layout with a third sensor, exact data give the truth, stated errors are true, liars are named."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.pipes.joint import Joint, PairDelay, joint_position
from lifeline_core.pipes.position import Section

FOUR = {"p1": 0.0, "p2": 120.0, "p3": 260.0, "p4": 400.0}
PIPE = [Section(400.0, 1200.0)]


def arrival(x: float, q: float, sections: list[Section]) -> float:
    """Travel time between two places, section by section."""
    low, high, start, total = min(x, q), max(x, q), 0.0, 0.0
    for s in sections:
        total += max(min(high, start + s.length_m) - max(low, start), 0.0) / s.speed_mps
        start += s.length_m
    return total


def heard(x: float, sensors: dict[str, float], sections: list[Section], sd: float = 1e-5,
          noise: np.random.Generator | None = None) -> list[PairDelay]:
    found = []
    for a, b in combinations(sensors, 2):
        delay = arrival(x, sensors[b], sections) - arrival(x, sensors[a], sections)
        found.append(PairDelay(a, b, delay + (noise.normal(0, sd) if noise else 0.0), sd))
    return found


def words(found: Joint) -> set[str]:
    return {r.split(":")[0] for r in found.reasons}


def test_the_third_sensor_beyond_the_pair_gives_the_speed() -> None:
    sensors = {"p1": 0.0, "p2": 100.0, "p3": 250.0}
    delays = [PairDelay("p1", "p2", 20 / 480, 1e-5), PairDelay("p2", "p3", 150 / 480, 1e-5)]
    found = joint_position(sensors, delays, [Section(250.0, 1200.0)])
    c = 150.0 / delays[1].delay_s  # by hand: L23 / (t3 - t2), then the pair
    assert 1200 * found.scale[0] == pytest.approx(c, rel=1e-4)
    assert found.x_m == pytest.approx((100 - c * delays[0].delay_s) / 2, abs=1e-3)
    assert found.accepted
    assert not found.reasons
    assert found.dof == 0


@settings(max_examples=60, deadline=None)
@given(x=st.floats(5, 395), scale=st.floats(0.6, 1.6))
def test_exact_delays_give_back_place_and_speed(x: float, scale: float) -> None:
    true = [Section(400.0, 1200.0 * scale)]
    found = joint_position(FOUR, heard(x, FOUR, true, 1e-6), PIPE)
    # the weak prior of an untold speed pulls by a millionth part
    assert found.x_m == pytest.approx(x, abs=0.01)
    assert found.scale[0] == pytest.approx(scale, rel=1e-4)
    assert found.accepted
    assert not found.left_out


@settings(max_examples=30, deadline=None)
@given(x=st.floats(3, 377), scale=st.floats(0.8, 1.2))
def test_sections_of_different_speed(x: float, scale: float) -> None:
    told = [Section(120, 1250), Section(60, 480), Section(200, 1250)]
    sensors = {"a": 0.0, "b": 150.0, "c": 380.0}
    true = [Section(s.length_m, s.speed_mps * scale) for s in told]
    found = joint_position(sensors, heard(x, sensors, true, 1e-6), told)
    assert found.x_m == pytest.approx(x, abs=0.02)


def test_each_section_by_itself() -> None:
    told = [Section(200, 1200), Section(200, 500)]
    true = [Section(200, 1100), Section(200, 530)]
    sensors = {"a": 0.0, "b": 90.0, "c": 210.0, "d": 390.0}
    found = joint_position(sensors, heard(60.0, sensors, true, 1e-6), told, speed_rel_sd=0.2, each_section=True)
    assert found.x_m == pytest.approx(60.0, abs=0.05)
    assert 1200 * found.scale[0] == pytest.approx(1100, rel=2e-3)
    assert 500 * found.scale[1] == pytest.approx(530, rel=2e-3)


def test_the_stated_deviation_is_true() -> None:
    rng, sd = np.random.default_rng(4), 4e-4
    true, scores, scales = [Section(400.0, 1130.0)], [], []
    for _ in range(150):
        x = rng.uniform(20, 380)
        # independent pairs: chains of neighbours
        delays = [d for d in heard(x, FOUR, true, sd, rng) if abs(FOUR[d.a] - FOUR[d.b]) < 150]
        found = joint_position(FOUR, delays, PIPE, speed_rel_sd=0.1)
        if not found.outside:
            scores.append((found.x_m - x) / found.sd_m)
            scales.append((1200 * found.scale[0] - 1130) / (1200 * found.scale_sd[0]))
    assert len(scores) > 135
    # 95 % of 150 +- 3 binomial deviations; the scale also holds the prior's share, of which 1130 is 0.6 deviations off
    assert 0.89 <= np.mean(np.abs(scores) < 1.96) <= 1.0
    assert 0.89 <= np.mean(np.abs(scales) < 1.96) <= 1.0
    assert 0.8 <= np.std(scores) <= 1.2


def test_one_pair_cannot_see_the_speed() -> None:
    sensors = {"a": 0.0, "b": 100.0}
    found = joint_position(sensors, [PairDelay("a", "b", 0.05, 1e-4)], [Section(100.0, 480.0)], speed_rel_sd=0.05)
    assert found.x_m == pytest.approx(38.0, abs=0.05)
    assert found.sd_m == pytest.approx(0.05 * 12.0, rel=0.05)  # all of it from the speed
    assert "speed-unobservable" in words(found)
    assert found.accepted
    untold = joint_position(sensors, [PairDelay("a", "b", 0.05, 1e-4)], [Section(100.0, 480.0)])
    assert "too-few" in words(untold)
    assert not untold.accepted


def test_a_source_in_the_middle_of_all_is_placed_but_says_nothing_of_the_speed() -> None:
    sensors = {"a": 0.0, "b": 100.0}
    found = joint_position(sensors, [PairDelay("a", "b", 0.0, 1e-4)] * 3, [Section(100.0, 480.0)], speed_rel_sd=0.2)
    assert found.x_m == pytest.approx(50.0)
    assert found.sd_m == pytest.approx(480 / 2 * 1e-4 / 3**0.5, rel=0.01)
    assert "speed-unobservable" in words(found)


@pytest.mark.parametrize(("x", "side"), [(0.0, "low"), (400.0, "high")])
def test_at_or_beyond_the_last_sensor(x: float, side: str) -> None:
    found = joint_position(FOUR, heard(x, FOUR, PIPE, 1e-5), PIPE)
    assert found.outside == side
    assert not found.accepted
    assert found.scale[0] == pytest.approx(1.0, rel=1e-3)  # beyond, |T| = L / c: the speed is seen all the same


@pytest.mark.parametrize("wrong", range(6))
def test_one_wrong_delay_is_named_and_left_out(wrong: int) -> None:
    delays = heard(170.0, FOUR, [Section(400.0, 1100.0)], 1e-5)
    d = delays[wrong]
    delays[wrong] = d._replace(delay_s=d.delay_s + 0.02)
    found = joint_position(FOUR, delays, PIPE)
    assert found.left_out == (f"{d.a}-{d.b}",)
    assert found.x_m == pytest.approx(170.0, abs=0.1)
    assert found.residuals_s[wrong] == pytest.approx(0.02, abs=1e-4)
    assert found.accepted


def test_one_late_clock_is_named() -> None:
    five = FOUR | {"p5": 330.0}  # on the side of the liar two others must agree
    delays = [d._replace(delay_s=d.delay_s + 0.01 * ((d.b == "p3") - (d.a == "p3"))) for d in heard(170.0, five, PIPE, 1e-5)]
    found = joint_position(five, delays, PIPE)
    assert found.left_out == ("p3",)
    assert found.x_m == pytest.approx(170.0, abs=0.1)


def test_three_that_do_not_close_are_refused() -> None:
    three = {k: FOUR[k] for k in ("p1", "p2", "p4")}
    delays = heard(60.0, three, PIPE, 1e-5)
    delays[0] = delays[0]._replace(delay_s=delays[0].delay_s + 0.005)
    found = joint_position(three, delays, PIPE)
    assert "inconsistent" in words(found)
    assert not found.accepted


def test_scaling_all_times_scales_only_the_speed() -> None:
    delays = heard(90.0, FOUR, PIPE, 1e-6)
    twice = [d._replace(delay_s=2 * d.delay_s, sd_s=2 * d.sd_s) for d in delays]
    one, two = joint_position(FOUR, delays, PIPE), joint_position(FOUR, twice, PIPE)
    assert two.x_m == pytest.approx(one.x_m, abs=1e-3)
    assert two.scale[0] == pytest.approx(one.scale[0] / 2, rel=1e-4)


@pytest.mark.parametrize(("change", "message"), [
    ({"sensors": {"p1": 0.0}}, "at least 2 sensors are needed, are 1"),
    ({"sensors": {"p1": 0.0, "p2": 500.0}}, "sensor p2 must lie on the pipe"),
    ({"delays": []}, "at least one pair"),
    ({"delays": [PairDelay("p1", "x", 0.0, 1e-3)]}, "of two of the sensors"),
    ({"delays": [PairDelay("p1", "p1", 0.0, 1e-3)]}, "of two of the sensors"),
    ({"delays": [PairDelay("p1", "p2", float("nan"), 1e-3)]}, "must be finite"),
    ({"delays": [PairDelay("p1", "p2", 0.0, 0.0)]}, "sd_s above 0"),
    ({"speed_rel_sd": 0.0}, "speed_rel_sd must be above 0"),
    ({"sections": []}, "at least one section"),
])
def test_refusals(change: dict, message: str) -> None:
    asked = {"sensors": FOUR, "delays": [PairDelay("p1", "p2", 0.0, 1e-3)], "sections": PIPE} | change
    with pytest.raises(ValueError, match=message):
        joint_position(**asked)
