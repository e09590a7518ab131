"""Displacement from acceleration: closed forms, noise told right, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from lifeline_core.bridges.displacement import displacement

FS = 50.0
T = np.arange(0, 400, 1 / FS)


@pytest.mark.parametrize(("f", "corner"), [(0.3, 0.1), (1.0, 0.2), (5.0, 0.5)])
def test_a_sine_with_bias_and_drift_comes_back(f: float, corner: float) -> None:
    x = 0.05 * np.sin(2 * np.pi * f * T)
    a = -((2 * np.pi * f) ** 2) * x + 0.98 + 1e-4 * T
    d = displacement(np.stack([a, -a]), FS, corner)
    np.testing.assert_allclose(d.x_m[0, d.settled], x[d.settled], atol=5e-4)
    np.testing.assert_allclose(d.x_m[1], -d.x_m[0], atol=1e-15)


def test_the_noise_that_is_told_is_the_noise_that_is_left() -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(0, 0.01, (20, T.size))
    d = displacement(a, FS, 0.2)
    left = d.x_m[:, d.settled].std(axis=1)
    assert left.mean() == pytest.approx(d.noise_m.mean(), rel=0.15)


def test_what_is_slower_than_the_corner_is_not_answered() -> None:
    slow = displacement(np.sin(2 * np.pi * 0.02 * T), FS, 0.2)
    assert np.abs(slow.x_m[slow.settled]).max() < 1e-3 / (2 * np.pi * 0.02) ** 2


def test_refusals() -> None:
    with pytest.raises(ValueError, match="must hold samples"):
        displacement([], FS, 0.1)
    with pytest.raises(ValueError, match="finite"):
        displacement([1.0, np.nan], FS, 0.1)
    with pytest.raises(ValueError, match="corner_hz must lie"):
        displacement(T, FS, 13.0)
    with pytest.raises(ValueError, match="ten periods"):
        displacement(T[:100], FS, 0.1)
