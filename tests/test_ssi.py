"""Subspace identification on a chain whose modes are known in closed form, and on an independent simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lifeline_core.bridges import identify_modes, mac, ssi_cov
from lifeline_core.bridges.covariance import lag_covariances
from lifeline_core.bridges.identify import frequency_floor
from lifeline_core.bridges.ssi import leading, ssi_from, toeplitz
from lifeline_core.synth.bridge import mode_acceleration
from lifeline_core.synth.chain import chain

FS = 50.0
LYSEFJORD = Path(__file__).parents[2] / "shared/data/bridges/lysefjord_sim/BridgeData.mat"
C = chain()


def record(seconds: float, seed: int) -> np.ndarray:
    return C.acceleration(int(seconds * FS), FS, np.random.default_rng(seed))


def test_lag_covariances_by_hand() -> None:
    lags = lag_covariances([[1.0, -1.0, 1.0, -1.0]], 1.0, 1)
    assert lags.mean[:, 0, 0].tolist() == [1.0, -1.0]


def test_blocks_add_up_to_the_whole() -> None:
    x = np.random.default_rng(1).standard_normal((3, 1000))
    one, many = lag_covariances(x, FS, 9), lag_covariances(x, FS, 9, n_blocks=7)
    np.testing.assert_allclose(many.mean, one.mean, atol=1e-12)
    y = x - x.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(one.mean[4], y[:, 4:995] @ y[:, :991].T / 991, atol=1e-12)  # R_k = mean y[t + k] y[t]^T
    np.testing.assert_allclose(np.sum(many.deviations, axis=0), 0.0, atol=1e-2 * np.abs(one.mean).max())


def test_leading_triplets_are_those_of_the_whole_decomposition() -> None:
    t = toeplitz(lag_covariances(record(300, 2), FS, 59).mean, 30)
    u, s, v = leading(t, 20)
    exact = np.linalg.svd(t, compute_uv=False)[:20]
    np.testing.assert_allclose(s[:12], exact[:12], rtol=1e-6)  # a little beyond the ten that the structure has
    np.testing.assert_allclose(u[:, :10].T @ t @ v[:, :10], np.diag(s[:10]), atol=1e-9 * s[0])


def test_without_noise_the_poles_are_exact() -> None:
    """Covariances of free decays are sums of the modes' own: nothing is left to chance."""
    lam = -C.damping * 2 * np.pi * C.f_hz + 2j * np.pi * C.f_hz * np.sqrt(1 - C.damping**2)
    k = np.arange(60) / FS
    decay = np.exp(lam[:, None] * k)  # [mode, lag]
    r = 2 * np.real(np.einsum("mk,mi,mj->kij", decay, C.shapes, C.shapes * (1 + np.arange(5))[:, None]))
    lags = lag_covariances(np.zeros((5, 200)) + np.random.default_rng(1).standard_normal((5, 200)), FS, 59)
    found = ssi_from(type(lags)(FS, r[None], np.ones(1)), 30, 10)
    found = found.take(found.order == 10)
    np.testing.assert_allclose(found.f_hz, C.f_hz, rtol=1e-9)
    np.testing.assert_allclose(found.damping, C.damping, rtol=1e-6)
    np.testing.assert_allclose(np.diag(mac(found.shapes, C.shapes)), 1.0, rtol=1e-9)


def test_stated_deviations_are_those_of_many_runs() -> None:
    found = []
    for seed in range(24):
        m = ssi_cov(record(600, seed), FS, order_max=12, uncertainty=True)
        m = m.take(m.order == 10)
        near = [int(np.argmin(np.abs(m.f_hz - f))) for f in C.f_hz]
        found.append(np.stack([m.f_hz[near], m.f_sd_hz[near], m.damping[near], m.damping_sd[near]]))
    f, f_sd, z, z_sd = np.array(found).transpose(1, 0, 2)
    # a deviation estimated from 24 runs is itself uncertain by 15 %: three of those
    np.testing.assert_allclose(np.median(f_sd, axis=0), f.std(axis=0), rtol=0.45)
    np.testing.assert_allclose(np.median(z_sd, axis=0), z.std(axis=0), rtol=0.45)


@pytest.mark.parametrize(("seconds", "seeds"), [(3600, range(3)), (600, range(50, 60))])
def test_modes_of_the_chain_need_no_tuning(seconds: float, seeds: range) -> None:
    good = 0
    for seed in seeds:
        m = identify_modes(record(seconds, seed), FS)
        if len(m) != 5:
            continue
        df = np.abs(m.f_hz - C.f_hz) / frequency_floor(C.f_hz, C.damping, seconds)
        dz = np.abs(m.damping / C.damping - 1) / np.sqrt(1 / (2 * np.pi * C.damping * seconds * C.f_hz))
        good += bool((df <= 4).all() and (dz <= 4).all() and (np.diag(mac(m.shapes, C.shapes)) >= 0.99).all())
    assert good >= len(seeds) - (seconds == 600)


def test_close_modes_with_different_shapes_are_two() -> None:
    rng, n = np.random.default_rng(3), 3600 * 20
    modal = [mode_acceleration(f, 0.005, 20.0, rng.standard_normal(n)) for f in (2.00, 2.02)]
    shapes = np.array([[1.0, 0.8, 0.3, -0.2], [0.4, -0.5, 1.0, 0.9]])
    x = shapes.T @ np.array(modal)
    m = identify_modes(x + 0.1 * x.std() * rng.standard_normal(x.shape), 20.0)
    assert len(m) == 2
    np.testing.assert_allclose(m.f_hz, [2.00, 2.02], atol=0.006)
    assert (np.diag(mac(m.shapes, shapes)) > 0.95).all()


def test_noise_has_no_modes_and_says_why() -> None:
    m = identify_modes(np.random.default_rng(5).standard_normal((4, 20000)), FS)
    assert len(m) == 0
    assert all("not stable" in why or "not sharp" in why for _, _, why in m.refused)


@pytest.mark.data
@pytest.mark.skipif(not LYSEFJORD.exists(), reason=f"no recording at {LYSEFJORD}")
def test_lysefjord() -> None:
    from scipy.io import loadmat

    data = loadmat(LYSEFJORD)
    m = identify_modes(data["rz"], 15.0, f_max=1.5)
    np.testing.assert_allclose(m.f_hz, [0.20451, 0.31848, 0.43787, 0.58228, 0.85507, 1.17037], rtol=0.01)
    along = np.linspace(0.0, 1.0, data["phi"].shape[1])
    at = np.array([np.interp(data["posSensors"].ravel() / data["y"].max() if data["posSensors"].max() > 1 else
                             data["posSensors"].ravel(), along, row) for row in data["phi"]])
    assert (np.diag(mac(m.shapes, at)) >= 0.95).all()


@pytest.mark.parametrize(
    ("x", "keywords", "words"),
    [
        (np.zeros((2, 0)), {}, "not empty"),
        (np.zeros(10), {}, r"\[n_ch, n\]"),
        (np.full((2, 1000), np.nan), {}, "finite"),
        (np.zeros((2, 100)), {}, "need"),
        (np.zeros((2, 1000)), {"br": 1}, "at least 2"),
    ],
)
def test_refusals(x: np.ndarray, keywords: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ssi_cov(x, FS, **keywords)
