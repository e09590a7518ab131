"""Cables: the string by hand, the exact equations against tables, fits that give back what was put in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.bridges.cables import ENDS, cable_frequency, cable_tension, fit_cable

HANGER = {"length_m": 100.0, "mass_kg_m": 60.0}


def test_a_string_by_hand() -> None:
    assert cable_tension(1.0, 1, **HANGER) == pytest.approx(4 * 60.0 * 100.0**2)
    assert cable_tension(2.0, 2, **HANGER) == pytest.approx(2.4e6)


@pytest.mark.parametrize(("order", "f"), [(1, 1.132582), (2, 2.266509), (3, 3.403125), (5, 5.689762)])
def test_clamped_as_tabled(order: int, f: float) -> None:
    assert cable_frequency(3.0e6, order, **HANGER, ei_nm2=1.2e6, ends="clamped") == pytest.approx(f, abs=5e-7)


@pytest.mark.parametrize(("length", "f"), [(40.0, 2.88995), (20.0, 5.99728), (10.0, 13.04699)])
def test_short_hangers_as_tabled(length: float, f: float) -> None:
    assert cable_frequency(3.0e6, 1, length, 60.0, ei_nm2=1.2e6, ends="clamped") == pytest.approx(f, abs=6e-6)


def test_without_tension_it_is_the_clamped_beam() -> None:
    beam = 4.730041**2 / (2 * np.pi * 10.0**2) * np.sqrt(1.2e6 / 60.0)
    assert cable_frequency(0.0, 1, 10.0, 60.0, ei_nm2=1.2e6, ends="clamped") == pytest.approx(beam, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.floats(1e3, 1e8), st.floats(1e2, 1e7), st.floats(3.0, 500.0), st.integers(1, 8), st.sampled_from(ENDS))
def test_there_and_back(t: float, ei: float, length: float, order: int, ends: str) -> None:
    f = cable_frequency(t, order, length, 60.0, ei_nm2=ei, ends=ends)
    slack = ei * (order * np.pi / length) ** 2  # stiffness hides tension: what a last digit of f is worth
    assert cable_tension(f, order, length, 60.0, ei_nm2=ei, ends=ends) == pytest.approx(t, rel=1e-6, abs=1e-9 * slack)


@pytest.mark.parametrize("ends", ENDS)
def test_a_fit_gives_back_tension_and_stiffness(ends: str) -> None:
    f = [cable_frequency(3.0e6, n, **HANGER, ei_nm2=1.2e6, ends=ends) for n in range(1, 6)]
    found = fit_cable([*f, np.nan], [1, 2, 3, 4, 5, 6], **HANGER, ends=ends)
    assert (found.tension_n, found.ei_nm2) == (pytest.approx(3.0e6, rel=1e-8), pytest.approx(1.2e6, rel=1e-6))


def test_stated_deviation_covers_the_error() -> None:
    f = np.array([cable_frequency(3.0e6, n, **HANGER, ei_nm2=1.2e6, ends="clamped") for n in range(1, 7)])
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(30):
        found = fit_cable(f * (1 + 1e-3 * rng.standard_normal(6)), list(range(1, 7)), **HANGER, ends="clamped", f_sd_hz=1e-3 * f)
        errors.append((found.tension_n - 3.0e6) / found.tension_sd_n)
    assert 0.6 < np.std(errors) < 1.5  # 30 runs: 13 % of scatter


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: cable_tension(0.0, 1, **HANGER), "f_hz must be above 0"),
        (lambda: cable_tension(1.0, 0, **HANGER), "order must be"),
        (lambda: cable_tension(1.0, 1, -1.0, 60.0), "length_m must be above 0"),
        (lambda: cable_tension(1.0, 1, **HANGER, ends="free"), "ends must be one of"),
        (lambda: cable_tension(0.1, 1, 10.0, 60.0, ei_nm2=1.2e6, ends="clamped"), "stiffness alone"),
        (lambda: fit_cable([1.0], [1], **HANGER), "two orders"),
    ],
)
def test_refusals(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
