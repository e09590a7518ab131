"""Delay to place: the numbers of one pipe and of three sections, errors against finite differences."""

from math import hypot, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.pipes.position import Section, leak_position, travel_time

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
