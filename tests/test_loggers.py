"""Lmin, Level and Spread of a logger's night."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lifeline_core.pipes.loggers import night_levels, second_levels


def test_levels_by_hand() -> None:
    x = np.concatenate([np.tile([1.0, -1.0], 50), np.tile([0.1, -0.1], 50), np.zeros(100), [np.nan], np.ones(99), np.ones(7)])
    found = second_levels(x + 3.0, 100.0)
    np.testing.assert_allclose(found[:2], [0.0, -20.0], atol=1e-9)
    assert found.size == 4 and np.isnan(found[2:]).all()  # a stuck input and a NaN; the rest of a second is left over


def test_a_night_by_hand() -> None:
    n = night_levels([-60.0, -60.2, -60.4, -59.5, -30.0, np.nan, np.inf, -np.inf])
    assert (n.seconds, n.lmin_db) == (5, -60.4)
    assert n.count.sum() == 5 and n.edges_db[0] == -61.0 and n.edges_db[-1] == -29.0
    assert -61.0 < n.level_db < -59.0
    assert n.leak_like(level_db=-61.0, spread_db=5.0) and not n.leak_like(level_db=-50.0, spread_db=5.0)
    assert not n.leak_like(level_db=-61.0, spread_db=0.1)


def test_a_leak_is_steady_and_traffic_is_not() -> None:
    rng = np.random.default_rng(1)
    ground = rng.standard_normal(120_000)
    traffic = ground * np.repeat(10 ** rng.uniform(0, 1.5, 120), 1000)
    steady, changing = (night_levels(second_levels(x, 1000.0)) for x in (ground * 3.0, traffic))
    assert steady.spread_db < 1.0 < 5.0 < changing.spread_db
    assert steady.level_db == pytest.approx(20 * np.log10(3.0), abs=0.7)
    assert steady.lmin_db <= steady.low_db <= steady.level_db


def test_nothing_usable() -> None:
    n = night_levels([np.nan])
    assert n.seconds == 0 and np.isnan(n.lmin_db) and n.count.size == 0
    assert not n.leak_like(level_db=-200.0, spread_db=200.0)
    assert second_levels([1.0, 2.0], 100.0).size == 0


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, st.integers(1, 80), elements=st.floats(-120, 20)))
def test_histogram_holds_every_second(levels: np.ndarray) -> None:
    n = night_levels(levels, spread_share=1.0)
    assert n.count.sum() == n.seconds == levels.size and len(n.edges_db) == len(n.count) + 1
    assert n.spread_db == pytest.approx(levels.max() - levels.min())
    assert n.edges_db[0] <= n.lmin_db and levels.max() <= n.edges_db[-1]
    k = np.argmax(n.count)
    assert n.edges_db[k] <= n.level_db <= n.edges_db[k + 1]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="one row"):
        second_levels(np.zeros((2, 3)), 10.0)
    with pytest.raises(ValueError, match="fs must be above 0"):
        second_levels([1.0], float("nan"))
    with pytest.raises(ValueError, match="2 samples or more"):
        second_levels([1.0], 1.0)
    with pytest.raises(ValueError, match="low_percent"):
        night_levels([1.0], low_percent=101.0)
    with pytest.raises(ValueError, match="spread_share"):
        night_levels([1.0], spread_share=0.0)
