"""Orders of a cable's peaks: missing orders, strangers, halves and doubles, stiffness known or not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.bridges.cables import cable_frequency
from lifeline_core.bridges.orders import read_tension

L, M, T, EI = 100.0, 60.0, 3.0e6, 1.2e6


def peaks(tension: float, orders: list[int], ends: str = "pinned", ei: float = EI) -> list[float]:
    return [cable_frequency(tension, n, L, M, ei_nm2=ei, ends=ends) for n in orders]


@settings(max_examples=60, deadline=None)
@given(st.floats(0.72, 1.4), st.sets(st.integers(1, 9), min_size=4), st.sampled_from(["pinned", "clamped"]), st.integers(0, 2**31))
def test_the_tension_comes_back(part: float, orders: set[int], ends: str, seed: int) -> None:
    if len(orders) < 0.6 * max(orders):
        return
    rng = np.random.default_rng(seed)
    f = np.array(peaks(T * part, sorted(orders), ends)) * (1 + rng.normal(0, 5e-4, len(orders)))
    found = read_tension(rng.permutation(f), L, M, T, ei_nm2=EI, ends=ends)
    assert not found.reason, found
    assert found.orders == tuple(sorted(orders))
    assert found.tension_n == pytest.approx(T * part, rel=2e-3)


def test_strangers_among_the_peaks_are_left_out() -> None:
    f = [*peaks(T, [1, 2, 3, 4, 5, 6]), 0.37, 1.71, 2.9]
    found = read_tension(f, L, M, 0.85 * T, ei_nm2=EI)
    assert found.orders == (1, 2, 3, 4, 5, 6)
    assert found.tension_n == pytest.approx(T, rel=1e-9)


def test_stiffness_is_fitted_where_it_is_not_known() -> None:
    found = read_tension(peaks(T, [1, 2, 3, 4, 6, 8], "clamped"), L, M, 1.1 * T, ends="clamped")
    assert found.tension_n == pytest.approx(T, rel=1e-6)
    assert found.ei_nm2 == pytest.approx(EI, rel=1e-3)


def test_the_stated_deviation_is_right() -> None:
    rng, sd, got = np.random.default_rng(5), 2e-3, []
    for _ in range(200):
        f = np.array(peaks(T, [1, 2, 3, 4])) + rng.normal(0, sd, 4)
        r = read_tension(f, L, M, T, ei_nm2=EI, f_sd_hz=sd)
        got.append((r.tension_n - T) / r.sd_n)
    assert 0.85 < np.std(got) < 1.15


def test_nothing_is_forced() -> None:
    assert read_tension([], L, M, T, ei_nm2=EI).reason == "no peaks"
    assert "orders were met" in read_tension([0.31], L, M, T, ei_nm2=EI).reason
    assert "are needed" in read_tension(peaks(T, [1, 2]), L, M, T).reason
    with pytest.raises(ValueError, match="about_n must be above 0"):
        read_tension([1.0], L, M, 0.0)
    with pytest.raises(ValueError, match="within must lie"):
        read_tension([1.0], L, M, T, within=1.0)
