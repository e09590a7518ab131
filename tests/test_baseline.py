"""The weather taken out of frequencies: damage is seen, sound windows are left in peace."""

from __future__ import annotations

import numpy as np
import pytest

from lifeline_core.bridges import fit_baseline
from lifeline_core.bridges.identify import frequency_floor
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
