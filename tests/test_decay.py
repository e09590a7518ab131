"""Free decays fitted, codas levelled: true modes and true standard deviations."""

from __future__ import annotations

import numpy as np
import pytest

from lifeline_core.bridges import Modes, mac
from lifeline_core.bridges.decay import coda, coda_modes, free_decay
from lifeline_core.synth.bridge import mode_acceleration

F, ZETA = np.array([3.3, 4.6]), np.array([0.05, 0.02])
SHAPES = np.array([[1.0, 0.8, 0.3], [0.4, -0.7, 1.0]])
FS = 100.0


def ring(rng: np.random.Generator, seconds: float, noise: float) -> np.ndarray:
    t = np.arange(round(seconds * FS)) / FS
    w = 2 * np.pi * F
    q = [np.exp(-z * k * t) * np.cos(k * np.sqrt(1 - z * z) * t + rng.uniform(0, 6)) for z, k in zip(ZETA, w, strict=True)]
    x = SHAPES.T @ np.array(q)
    return x + noise * rng.standard_normal(x.shape)


def shaken(rng: np.random.Generator, fall: float, noise: float) -> np.ndarray:
    """70 s of response to noise that dies away."""
    n = 9000
    force = rng.standard_normal((2, n)) * np.exp(-fall * np.arange(n) / FS)
    q = np.stack([mode_acceleration(f, z, FS, u)[2000:] for f, z, u in zip(F, ZETA, force, strict=True)])
    x = SHAPES.T @ (q / q[:, :1000].std(axis=1, keepdims=True))
    return x + noise * rng.standard_normal(x.shape)


def told(runs: list[Modes]) -> np.ndarray:
    """[f, f_sd, damping, damping_sd] of runs with both modes, each [n_runs, 2]."""
    return np.array([[m.f_hz, m.f_sd_hz, m.damping, m.damping_sd] for m in runs if len(m) == 2]).transpose(1, 0, 2)


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "noise"), [(6.0, 0.05), (20.0, 0.01)])
def test_a_free_decay_is_fitted_to_its_bound(seconds: float, noise: float) -> None:
    runs = [free_decay(ring(np.random.default_rng(k), seconds, noise), FS, 7.0, f_min=1.6, begin_s=0.3) for k in range(30)]
    assert [len(m) for m in runs] == [2] * 30
    f, f_sd, z, z_sd = told(runs)
    # a deviation estimated from 30 runs is itself uncertain by 13 %: three of those
    np.testing.assert_allclose(np.median(f_sd, axis=0), f.std(axis=0), rtol=0.45)
    np.testing.assert_allclose(np.median(z_sd, axis=0), z.std(axis=0), rtol=0.45)
    assert (np.abs(f - F) < 4.5 * f_sd).all() and (np.abs(z - ZETA) < 4.5 * z_sd).all()
    assert min(np.diag(mac(m.shapes, SHAPES)).min() for m in runs) > 0.99


def test_a_coda_is_levelled_and_its_damping_given_back() -> None:
    runs = [coda_modes(shaken(np.random.default_rng(k), 0.07, 0.01), FS, 7.0, f_min=2.0, begin_s=0.0) for k in range(24)]
    assert [len(m) for m in runs] == [2] * 24
    f, f_sd, z, z_sd = told(runs)
    np.testing.assert_allclose(np.median(f_sd, axis=0), f.std(axis=0), rtol=0.45)
    np.testing.assert_allclose(np.median(z_sd, axis=0), z.std(axis=0), rtol=0.6)
    scatter = np.sqrt(len(runs))
    assert (np.abs(f.mean(axis=0) - F) < 4 * f.std(axis=0) / scatter).all()
    assert (np.abs(z.mean(axis=0) - ZETA) < 4 * z.std(axis=0) / scatter).all()


def test_without_levelling_the_fall_would_pass_for_damping() -> None:
    """A fall of 0.4 / s is half of the second mode's own decay, 0.58 / s."""
    records = [shaken(np.random.default_rng(k), 0.4, 0.0)[:, :2500] for k in range(12)]
    z = told([coda_modes(x, FS, 7.0, f_min=2.0, begin_s=0.0) for x in records])[2]
    assert z[:, 1].mean() == pytest.approx(0.02, abs=4 * z[:, 1].std() / np.sqrt(len(z)))


def test_strong_motion_ends_where_it_is_never_again_as_loud() -> None:
    t = np.arange(6000) / FS
    level = np.where(t < 10, 0.01, np.where(t < 20, 1.0, np.exp(-(t - 20) / 5)))
    x = level * np.random.default_rng(1).standard_normal((2, 6000)) * np.array([[1.0], [50.0]])
    assert coda(x, FS, share=0.1, smooth_s=1.0) / FS == pytest.approx(20 + 5 * np.log(10), abs=1.5)


def test_noise_is_no_decay() -> None:
    x = np.random.default_rng(2).standard_normal((2, 3000))
    assert len(coda_modes(x, FS, 7.0, f_min=1.0, begin_s=0.0)) == 0
    m = free_decay(x, FS, 7.0, f_min=1.0, begin_s=0.0)
    assert len(m) <= 1  # an order must be chosen; what it holds decays at once or is not sharp


@pytest.mark.parametrize("find", [free_decay, coda_modes])
def test_refusals(find: object) -> None:
    assert callable(find)
    x = ring(np.random.default_rng(1), 30.0, 0.01)
    with pytest.raises(ValueError, match="not empty"):
        find(np.zeros((2, 0)), FS, 7.0, f_min=1.0)
    with pytest.raises(ValueError, match="finite"):
        find(np.where(x > 1, np.nan, x), FS, 7.0, f_min=1.0)
    with pytest.raises(ValueError, match="silent"):
        find(np.zeros((2, 3000)), FS, 7.0, f_min=1.0)
    with pytest.raises(ValueError, match="must rise"):
        find(x, FS, 7.0, f_min=8.0)
    with pytest.raises(ValueError, match="at least"):
        find(x, FS, 7.0, f_min=1.0, begin_s=29.0)
    with pytest.raises(ValueError, match="share"):
        coda(x, FS, share=0.0)
