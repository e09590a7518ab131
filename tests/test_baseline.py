"""The weather taken out of frequencies: damage is seen, sound windows are left in peace."""

from __future__ import annotations

import numpy as np
import pytest

from lifeline_core.bridges import fit_baseline
from lifeline_core.bridges.baseline import Baseline
from lifeline_core.bridges.identify import frequency_floor
from lifeline_core.errors import StateError
from lifeline_core.synth.chain import chain

SOUND, HURT = chain(), chain(ground=0.9)


def year(seed: int, *, missing: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """600 hourly windows of ten minutes; a swing of temperature moves all modes by 3 %, damage begins at hour 400."""
    rng, hour = np.random.default_rng(seed), np.arange(600)
    t = 10 * np.sin(2 * np.pi * hour / 24 - 2) + 0.15 * np.cumsum(rng.standard_normal(600)) + 0.3 * rng.standard_normal(600)
    f = np.where(hour[:, None] < 400, SOUND.f_hz, HURT.f_hz) * (1 - 0.03 * t[:, None] / 12)
    f = f + rng.standard_normal(f.shape) * frequency_floor(f, SOUND.damping, 600.0)
    f[rng.random(f.shape) < missing] = np.nan
    return f, t


@pytest.mark.parametrize("measured", [True, False])
def test_damage_is_seen_and_weather_is_not(measured: bool) -> None:
    false = 0
    for seed in range(10):
        f, t = year(seed)
        env = t if measured else None
        b = fit_baseline(f[:240], None if env is None else env[:240])
        alarm = b.score(f, env).alarm
        assert alarm[400:424].mean() > 0.8
        false += int(alarm[240:400].sum())
    assert false <= 10 * 160 * 0.005  # five times the budget of 0.001


def test_the_drop_is_told_after_the_weather_is_out() -> None:
    f, t = year(3, missing=0.0)
    moved = fit_baseline(f[:240], t[:240]).moved(f, t)
    np.testing.assert_allclose(moved[400:].mean(axis=0), HURT.f_hz / SOUND.f_hz - 1, atol=5e-4)  # 200 windows of 0.17 %


def test_frost_has_its_own_slope() -> None:
    rng = np.random.default_rng(1)
    t = rng.uniform(-15, 25, 500)
    f = (4.0 - 0.004 * t + 0.03 * np.maximum(-t, 0) + 0.004 * rng.standard_normal(500))[:, None]
    two, one = fit_baseline(f[:400], t[:400]), fit_baseline(f[:400], t[:400], bilinear=False)
    assert abs(two.hinge) < 2.5 and np.isnan(one.hinge)  # seventeen places over forty degrees
    assert np.nanstd(two.residuals(f, t)[0]) < 0.4 * np.nanstd(one.residuals(f, t)[0])
    straight = fit_baseline((4.0 - 0.004 * t + 0.004 * rng.standard_normal(500))[:, None], t)
    assert np.isnan(straight.hinge)


def test_temperature_its_lag_wind_and_traffic_are_taken_out() -> None:
    """Four reasons at once, the last two unknown to temperature; what is left is the scatter of identification."""
    rng, n = np.random.default_rng(11), 700
    air = 12 + 8 * np.sin(2 * np.pi * np.arange(n + 6) / 24) + rng.normal(0, 1, n + 6)
    t, before = air[6:], np.convolve(air, np.ones(6) / 6, "valid")[:n]
    wind, loud = rng.weibull(2, n) * 6, rng.normal(-4, 0.5, n)
    drop = -4e-4 * (t - 12) - 8e-4 * (before - 12) - 5e-4 * wind - 3e-3 * (loud + 4)
    f = SOUND.f_hz * (1 + drop[:, None] + 1e-3 * rng.standard_normal((n, 5)))
    env = np.column_stack([t, before, wind, loud])
    b = fit_baseline(f[:400], env[:400])
    left = b.moved(f[400:], env[400:])
    assert (left.std(axis=0) < 1.15e-3).all() and (np.abs(left.mean(axis=0)) < 3e-4).all()  # 300 windows
    np.testing.assert_allclose(b.scatter, 1e-3, rtol=0.15)
    for column in range(4):  # each of them was needed
        fewer = np.delete(env, column, axis=1)
        assert fit_baseline(f[:400], fewer[:400]).moved(f[400:], fewer[400:]).std(axis=0).max() > 1.3e-3


def test_a_training_window_is_scored_by_the_others() -> None:
    f, t = year(8, missing=0.0)
    b = fit_baseline(f[:120], t[:120], bilinear=False)
    for k in (0, 17, 119):
        rest = np.delete(np.arange(120), k)
        one = fit_baseline(f[rest], t[rest], bilinear=False).score(f[k : k + 1], t[k : k + 1]).d2[0]
        assert b.training[k] == pytest.approx(one, rel=0.02)
    assert b.limit >= b.training.max() and len(Baseline.of(b.save()).training) == 0


def test_without_weather_a_mode_is_told_against_the_others() -> None:
    """Expectation of one normal variable given the others, by its definition."""
    f, t = year(4, missing=0.0)
    b = fit_baseline(f[:240])
    assert b.together and not fit_baseline(f[:240], t[:240]).together
    e, _ = b.residuals(f[300:301])
    others = [0, 1, 3, 4]
    told = b.cov[2, others] @ np.linalg.solve(b.cov[np.ix_(others, others)], e[0, others])
    assert b.moved(f[300:301])[0, 2] == pytest.approx((e[0, 2] - told) / (f[300, 2] - e[0, 2] + told), rel=1e-6)
    part = f[300:301].copy()
    part[0, [0, 1, 3, 4]] = np.nan
    assert b.moved(part)[0, 2] == pytest.approx(f[300, 2] / b.reference[2] - 1, rel=1e-9)  # nobody beside it
    sound = b.moved(f[240:400])
    assert (np.abs(sound.std(axis=0) / b.scatter - 1) < 0.3).all()


def test_state_goes_on() -> None:
    f, t = year(6)
    for env in (None, t):
        b = fit_baseline(f[:240], None if env is None else env[:240])
        again = Baseline.of(b.save())
        assert again.moved(f, env).tobytes() == b.moved(f, env).tobytes()
        assert again.score(f, env).d2.tobytes() == b.score(f, env).d2.tobytes() and again.together == b.together
    with pytest.raises(StateError, match="state of version"):
        Baseline.of({"v": 1})
    with pytest.raises(StateError, match="cannot be restored"):
        Baseline.of(b.save() | {"cov": b"123"})


def test_colder_than_ever_less_is_known() -> None:
    f, t = year(5, missing=0.0)
    b = fit_baseline(f[:240], t[:240], bilinear=False)
    e, near = b.residuals(f[:1], t[:1])
    far = np.array([80.0])
    same = f[:1] - b.residuals(f[:1], far)[0] + 3 * e  # what the baseline expects at 80 degrees, as far off as three times then
    assert b.score(same, far).d2[0] < 9 * b.score(f[:1], t[:1]).d2[0]
    assert b.residuals(same, far)[1][0] > 10 * near[0]


def test_missing_modes_do_not_change_what_is_unlikely() -> None:
    f, t = year(7, missing=0.0)
    b = fit_baseline(f[:240], t[:240])
    whole, part = b.score(f[240:400], t[240:400]), f[240:400].copy()
    part[:, 2:] = np.nan
    few = b.score(part, t[240:400])
    assert abs(np.median(few.d2) / np.median(whole.d2) - 1) < 0.25  # 160 windows each
    none = b.score(np.full((1, 5), np.nan), [0.0])
    assert np.isnan(none.d2[0]) and not none.alarm[0]
    assert np.isnan(b.score(f[:1], [np.nan]).d2[0])


def test_units_change_nothing() -> None:
    f, t = year(9)
    a, b = fit_baseline(f[:240], t[:240]), fit_baseline(1000 * f[:240], 1.8 * t[:240] + 32)
    np.testing.assert_allclose(a.score(f, t).d2, b.score(1000 * f, 1.8 * t + 32).d2, rtol=1e-6)


@pytest.mark.parametrize(
    ("f", "env", "words"),
    [
        (np.ones((5, 2)), None, "needs 10 windows, has 5"),
        (np.ones((50, 2)), None, "exactly the same"),
        (np.empty((0, 2)), None, "not empty"),
        (np.random.default_rng(1).normal(1, 0.1, (50, 2)), np.zeros(49), "one row for each"),
    ],
)
def test_refusals(f: np.ndarray, env: np.ndarray | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit_baseline(f, env)


def test_another_number_of_modes_is_refused() -> None:
    f, t = year(1)
    b = fit_baseline(f[:240], t[:240])
    with pytest.raises(ValueError, match="5 modes, has 2"):
        b.score(f[:, :2], t)
    with pytest.raises(ValueError, match="1 columns, has 0"):
        b.score(f)
