"""Frequency domain decomposition: the chain's modes, and their damping freed of the window's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.signal import csd

from lifeline_core.bridges import efdd, fdd, mac
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
    assert (np.abs(m.f_hz - C.f_hz) <= 4 * m.f_sd_hz).all()
    assert (np.abs(m.damping - C.damping) <= 4 * m.damping_sd).all()
    assert (m.f_sd_hz < 5 * frequency_floor(C.f_hz, C.damping, 3600.0)).all()


def naive(x: np.ndarray, fs: float, nperseg: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every cross-spectrum by scipy, one decomposition a bin; the largest value, its vector."""
    n_ch = len(x)
    f, first = csd(x[0], x[0], fs, nperseg=nperseg)
    s = np.zeros((len(f), n_ch, n_ch), complex)
    for i in range(n_ch):
        for j in range(n_ch):
            s[:, i, j] = csd(x[i], x[j], fs, nperseg=nperseg)[1]
    np.testing.assert_allclose(s[:, 0, 0], first)
    parts = [np.linalg.svd(m) for m in s]
    return f, np.array([p[1] for p in parts]), np.array([p[0][:, 0].conj() for p in parts])


def test_as_a_naive_one_of_scipys_spectra(hour: np.ndarray) -> None:
    x = hour[:, :60_000]
    f, s, shapes = naive(x, 50.0, 1024)
    ours = singular_values(x, 50.0, nperseg=1024)
    np.testing.assert_allclose(ours[0], f)
    np.testing.assert_allclose(ours[1], s, rtol=1e-6, atol=1e-9 * s.max())
    top = 1 + np.flatnonzero((s[1:-1, 0] > s[:-2, 0]) & (s[1:-1, 0] >= s[2:, 0]))
    top = np.sort(top[np.argsort(-s[top, 0])][:5])  # the five highest peaks of this record are its modes
    m = fdd(x, 50.0, nperseg=1024, enhanced=False)
    np.testing.assert_allclose(m.f_hz, f[top], atol=f[1])
    np.testing.assert_allclose(np.diag(mac(m.shapes, shapes[top])), 1.0, rtol=1e-9)


@pytest.mark.slow
def test_stated_deviations_are_those_of_many_runs() -> None:
    found = []
    for seed in range(40):
        m = efdd(C.acceleration(30_000, 50.0, np.random.default_rng(seed)), 50.0)
        if len(m) == 5 and np.isfinite(m.f_sd_hz).all():
            found.append(np.stack([m.f_hz, m.f_sd_hz, m.damping, m.damping_sd]))
    f, f_sd, z, z_sd = np.array(found).transpose(1, 0, 2)
    assert len(found) >= 36
    # a deviation estimated from 40 runs is itself uncertain by 11 %: three of those
    np.testing.assert_allclose(np.sqrt(np.mean(f_sd**2, axis=0)), f.std(axis=0), rtol=0.4)
    np.testing.assert_allclose(np.sqrt(np.mean(z_sd**2, axis=0)), z.std(axis=0), rtol=0.4)
    assert (np.abs(z.mean(axis=0) - C.damping) < 4 * z.std(axis=0) / np.sqrt(len(z))).all()


@pytest.mark.parametrize("keywords", [{"window": "boxcar"}, {"window": "blackman", "noverlap": 3072}, {"nperseg": 4095}])
def test_damping_is_freed_of_any_window(hour: np.ndarray, keywords: dict[str, Any]) -> None:
    m = efdd(hour, 50.0, **{"nperseg": 4096, "f_max": 3.0, **keywords})
    np.testing.assert_allclose(m.f_hz, C.f_hz[:2], rtol=2e-3)
    np.testing.assert_allclose(m.damping, C.damping[:2], rtol=0.35)


def test_one_channel_has_no_shapes_to_tell_its_modes_apart(hour: np.ndarray) -> None:
    m = efdd(hour[4:], 50.0)
    assert len(m) == 5
    np.testing.assert_allclose(m.f_hz, C.f_hz, rtol=6e-3)
    np.testing.assert_allclose(m.damping, C.damping, rtol=0.5)


def test_too_few_segments_state_no_deviation() -> None:
    x = C.acceleration(30_000, 50.0, np.random.default_rng(5))
    m = efdd(x, 50.0, nperseg=16_384, f_max=1.5)
    assert len(m) >= 1 and np.isnan(m.f_sd_hz).all() and np.isnan(m.damping_sd).all()


def test_plain_peaks(hour: np.ndarray) -> None:
    m = fdd(hour, 50.0, enhanced=False, f_max=3.0)
    assert len(m) == 2 and np.isnan(m.damping).all() and np.isnan(m.f_sd_hz).all()
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
    with pytest.raises(ValueError, match="like must lie"):
        fdd(np.zeros((2, 4096)), 50.0, like=1.0)
    with pytest.raises(ValueError, match="use fdd"):
        efdd(np.zeros((2, 4096)), 50.0, enhanced=False)
