"""Frequency domain decomposition: the chain's modes, and their damping freed of the window's."""

from __future__ import annotations

import numpy as np
import pytest

from lifeline_core.bridges import fdd, mac
from lifeline_core.bridges.fdd import singular_values
from lifeline_core.bridges.identify import frequency_floor
from lifeline_core.synth.chain import chain

C = chain()


@pytest.fixture(scope="module")
def hour() -> np.ndarray:
    return C.acceleration(180_000, 50.0, np.random.default_rng(1))


@pytest.mark.parametrize("nperseg", [None, 4096])
def test_modes_of_the_chain(hour: np.ndarray, nperseg: int | None) -> None:
    m = fdd(hour, 50.0, nperseg=nperseg)
    assert len(m) == 5
    assert (np.abs(m.f_hz - C.f_hz) <= 4 * frequency_floor(C.f_hz, C.damping, 3600.0)).all()
    assert (np.diag(mac(m.shapes, C.shapes)) >= 0.99).all()
    np.testing.assert_allclose(m.damping, C.damping, rtol=0.35)  # a few correlation lengths of one hour
    assert np.isnan(m.f_sd_hz).all()


def test_plain_peaks(hour: np.ndarray) -> None:
    m = fdd(hour, 50.0, enhanced=False, f_max=3.0)
    assert len(m) == 2 and np.isnan(m.damping).all()
    np.testing.assert_allclose(m.f_hz, C.f_hz[:2], rtol=0.01)


def test_singular_values_are_the_spectrum_of_uncorrelated_channels() -> None:
    x = np.random.default_rng(2).standard_normal((2, 1 << 17)) * np.array([[2.0], [1.0]])
    f, s, u = singular_values(x, 2.0, nperseg=256)
    np.testing.assert_allclose(s[2:-1].mean(axis=0), [4.0, 1.0], rtol=0.02)  # one-sided density 2 sd^2 / fs
    assert (s[:, 0] >= s[:, 1]).all() and u.shape == (len(f), 2, 2)


def test_silence_and_noise_have_no_modes() -> None:
    assert len(fdd(np.zeros((2, 4096)), 50.0)) == 0
    assert len(fdd(np.random.default_rng(3).standard_normal((2, 1 << 16)), 50.0)) == 0


def test_refusals() -> None:
    with pytest.raises(ValueError, match="not empty"):
        fdd(np.zeros((2, 0)), 50.0)
    with pytest.raises(ValueError, match="finite"):
        fdd(np.full((2, 4096), np.nan), 50.0)
