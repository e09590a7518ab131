"""Delay to place: the numbers of one pipe and of three sections, errors against finite differences."""

from math import hypot, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.pipes.calibration import speed_from_source
from lifeline_core.pipes.position import Section, centre_offset, leak_position, travel_time

THREE = [Section(120, 1250), Section(60, 480), Section(200, 1250)]


def delay_of(x: float, sections: list[Section]) -> float:
    """t_b - t_a of a source at x, by adding up what lies on either side."""
    t_a, start = 0.0, 0.0
    for s in sections:
        t_a += min(max(x - start, 0.0), s.length_m) / s.speed_mps
        start += s.length_m
    return travel_time(sections) - 2 * t_a


def test_one_pipe() -> None:
    p = leak_position(0.05, [Section(100, 480)])
    assert p.x_m == 38.0 and not p.outside and p.sd_m == 0.0
    assert leak_position(-44.4 / 484, [Section(102.6, 484)]).x_m == pytest.approx(73.5)
    assert leak_position(0.0, [Section(100, 480)]).x_m == 50.0


@pytest.mark.parametrize(("x", "delay"), [(30, 0.333), (150, 0.064), (300, -0.253)])
def test_three_sections(x: float, delay: float) -> None:
    assert travel_time(THREE) == pytest.approx(0.381, abs=1e-12)
    assert delay_of(x, THREE) == pytest.approx(delay, abs=1e-12)
    assert leak_position(delay, THREE).x_m == pytest.approx(x, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.tuples(st.floats(1, 500), st.floats(200, 1500)), min_size=1, max_size=5), u=st.floats(0, 1))
def test_there_and_back(parts: list[tuple[float, float]], u: float) -> None:
    sections = [Section(*p) for p in parts]
    length = sum(s.length_m for s in sections)
    x = u * length
    p = leak_position(delay_of(x, sections), sections)
    # rounding of a sum of a few hundred metres; the very ends may fall a rounding outside
    assert p.x_m == pytest.approx(x, abs=1e-8)
    back = leak_position(-delay_of(x, sections), sections[::-1])
    assert back.x_m == pytest.approx(length - x, abs=1e-8)


def test_outside_is_said_and_stays_at_the_end() -> None:
    tau = travel_time(THREE)
    assert leak_position(tau * 1.001, THREE).outside and leak_position(tau * 1.001, THREE).x_m == 0.0
    beyond = leak_position(-tau * 1.5, THREE)
    assert beyond.outside and beyond.x_m == pytest.approx(380.0)
    assert not leak_position(tau, THREE).outside


def test_budget_of_the_reference() -> None:
    assert leak_position(0.0, [Section(100, 1200)], clock_sd_s=1e-3).sd_m == pytest.approx(0.6)
    assert leak_position(0.0, [Section(100, 480)], clock_sd_s=1e-3).budget["clock"] == pytest.approx(0.24)
    tenth = leak_position(80 / 480, [Section(100, 480)], speed_rel_sd=0.02)
    assert tenth.x_m == pytest.approx(10.0) and tenth.sd_m == pytest.approx(0.8)
    assert leak_position(0.0, [Section(100, 480)], speed_rel_sd=0.02).sd_m == 0.0
    p = leak_position(0.1, [Section(100, 480)], delay_sd_s=1e-3, speed_rel_sd=0.02, clock_sd_s=2e-3)
    assert p.sd_m == pytest.approx(hypot(*p.budget.values()))


@pytest.mark.parametrize("x", [30.0, 150.0, 300.0])
def test_speed_lever_is_the_derivative(x: float) -> None:
    delay, h = delay_of(x, THREE), 1e-6

    def moved(scale: list[float]) -> float:
        changed = [Section(s.length_m, s.speed_mps * k) for s, k in zip(THREE, scale, strict=True)]
        return leak_position(delay, changed).x_m

    common = abs(moved([1 + h] * 3) - moved([1 - h] * 3)) / (2 * h)
    each = [(moved(list(1 + h * row)) - moved(list(1 - h * row))) / (2 * h) for row in np.eye(3)]
    own = sqrt(sum(d * d for d in each))
    # central differences of a smooth law: good to 1e-6
    assert leak_position(delay, THREE, speed_rel_sd=1.0).budget["speed"] == pytest.approx(max(common, own), rel=1e-6)


def test_outside_says_which_side_and_what_speed_would_explain_it() -> None:
    one = [Section(100.0, 500.0)]
    before = leak_position(0.25, one)
    assert (before.side, before.outside) == ("a", True)
    assert before.speed_scale * 500.0 == pytest.approx(100.0 / 0.25)  # |T| = L / c
    assert leak_position(-0.25, one).side == "b"
    inside = leak_position(0.1, one)
    assert inside.side == "" and np.isnan(inside.speed_scale)
    # all speeds of all sections times the scale: the delay is just the travel time
    p = leak_position(-0.5, THREE)
    assert travel_time([Section(s.length_m, s.speed_mps * p.speed_scale) for s in THREE]) == pytest.approx(0.5)


@pytest.mark.parametrize("x", [30.0, 150.0, 300.0])
def test_length_lever_is_the_derivative(x: float) -> None:
    delay, h = delay_of(x, THREE), 1e-4
    sds = [0.5, 0.2, 0.8]

    def moved(by: list[float]) -> float:
        return leak_position(delay, [Section(s.length_m + d, s.speed_mps) for s, d in zip(THREE, by, strict=True)]).x_m

    each = [(moved(list(h * row)) - moved(list(-h * row))) / (2 * h) for row in np.eye(3)]
    own = sqrt(sum((d * sd) ** 2 for d, sd in zip(each, sds, strict=True)))
    assert leak_position(delay, THREE, length_sd_m=sds).budget["length"] == pytest.approx(own, rel=1e-6)
    shares = [s.length_m / 380.0 for s in THREE]
    common = abs(sum(d * w for d, w in zip(each, shares, strict=True)))
    apart = sqrt(sum(d * d * w for d, w in zip(each, shares, strict=True)))
    assert leak_position(delay, THREE, length_sd_m=1.0).budget["length"] == pytest.approx(max(common, apart), rel=1e-6)


def test_an_error_of_the_length_counts_half() -> None:
    p = leak_position(0.05, [Section(100, 480)], length_sd_m=2.0, clock_sd_s=1e-3)
    assert p.budget["length"] == 1.0
    assert p.sd_m == pytest.approx(hypot(*p.budget.values()))


def test_unknown_length_counts_from_the_middle() -> None:
    found = centre_offset(0.05, 480.0, delay_sd_s=1e-3, speed_rel_sd=0.1, clock_sd_s=2e-3)
    assert found.x_m == -12.0  # nearer to a
    assert 50.0 + found.x_m == leak_position(0.05, [Section(100, 480)]).x_m
    assert found.budget == pytest.approx({"delay": 0.24, "clock": 0.48, "speed": 1.2})
    assert found.sd_m == pytest.approx(hypot(0.24, 0.48, 1.2))


@settings(max_examples=60, deadline=None)
@given(x=st.floats(0, 100), c=st.floats(200, 1500))
def test_speed_from_a_known_source(x: float, c: float) -> None:
    found = speed_from_source((100.0 - 2 * x) / c, 100.0, x, delay_sd_s=1e-5, source_sd_m=0.05)
    if abs(100.0 - 2 * x) < 10.0:
        assert not found.accepted
        assert found.reasons[0].startswith("near-middle")
    else:
        assert found.speed_mps == pytest.approx(c)
        assert found.accepted == (found.sd_mps <= 0.05 * found.speed_mps)


def test_speed_from_outside_and_its_deviation() -> None:
    assert speed_from_source(0.2, 100.0, "beyond-a").speed_mps == pytest.approx(500.0)
    assert speed_from_source(-0.2, 100.0, "beyond-b").speed_mps == pytest.approx(500.0)
    wrong = speed_from_source(0.2, 100.0, "beyond-b")
    assert not wrong.accepted and np.isnan(wrong.speed_mps) and wrong.reasons[0].startswith("wrong-side")
    rng = np.random.default_rng(1)
    sds = {"delay_sd_s": 1e-3, "clock_sd_s": 1e-3, "length_sd_m": 0.5, "source_sd_m": 0.4}
    drawn = (100 + rng.normal(0, 0.5, 20000) - 2 * (20 + rng.normal(0, 0.4, 20000))) / (0.12 + rng.normal(0, 2**0.5 * 1e-3, 20000))
    found = speed_from_source(0.12, 100.0, 20.0, **sds)
    # 20,000 draws know a deviation to 0.5 %; the ratio is not quite linear
    assert found.sd_mps == pytest.approx(np.std(drawn), rel=0.03)
    assert found.sd_mps == pytest.approx(hypot(*found.budget.values()))


@pytest.mark.parametrize(("call", "message"), [
    (lambda: centre_offset(float("inf"), 480.0), "delay_s must be finite"),
    (lambda: centre_offset(0.1, 0.0), "speed_mps must be above 0"),
    (lambda: centre_offset(0.1, 480.0, clock_sd_s=-1.0), "clock_sd_s must be 0 or more"),
    (lambda: speed_from_source(float("nan"), 100.0, 10.0), "delay_s must be finite"),
    (lambda: speed_from_source(0.1, 0.0, 0.0), "length_m must be above 0"),
    (lambda: speed_from_source(0.1, 100.0, 101.0), "source must lie in 0 .. length_m = 100.0, is 101.0"),
    (lambda: speed_from_source(0.1, 100.0, "beyond"), "beyond-a or beyond-b, is 'beyond'"),
    (lambda: speed_from_source(0.1, 100.0, 10.0, source_sd_m=-1.0), "source_sd_m must be 0 or more"),
    (lambda: leak_position(0.0, THREE, length_sd_m=[1.0]), "one for each of 3 sections, holds 1"),
    (lambda: leak_position(0.0, THREE, length_sd_m=-1.0), "length_sd_m must be 0 or more"),
])
def test_more_refusals(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("args", "kw", "message"), [
    ((0.0, []), {}, "at least one section"),
    ((float("nan"), THREE), {}, "delay_s must be finite, is nan"),
    ((0.0, [Section(0, 480)]), {}, r"sections\[0\].length_m must be above 0"),
    ((0.0, [Section(10, -1)]), {}, r"sections\[0\].speed_mps must be above 0"),
    ((0.0, THREE), {"clock_sd_s": -1.0}, "clock_sd_s must be 0 or more, is -1.0"),
    ((0.0, THREE), {"speed_rel_sd": float("nan")}, "speed_rel_sd must be 0 or more, is nan"),
])
def test_refusals(args: tuple, kw: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        leak_position(*args, **kw)
