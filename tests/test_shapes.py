"""Standard deviations of mode shapes against the scatter of many records."""

from __future__ import annotations

import numpy as np
import pytest

from lifeline_core.bridges.covariance import Lags, lag_covariances
from lifeline_core.bridges.identify import identify_modes
from lifeline_core.bridges.modes import Modes
from lifeline_core.bridges.shapes import shape_deviations
from lifeline_core.synth.chain import chain

FS = 50.0


def record(seconds: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = chain().acceleration(int(seconds * FS), FS, rng)
    return x + 0.1 * x.std(axis=1, keepdims=True) * rng.standard_normal(x.shape)


@pytest.mark.slow
def test_stated_deviations_are_the_scatter() -> None:
    found = [identify_modes(record(600, seed), FS) for seed in range(24)]
    found = [m for m in found if len(m) == 5]
    assert len(found) >= 23
    shapes = np.array([m.shapes for m in found])
    scatter = np.sqrt(np.mean(np.abs(shapes - shapes.mean(axis=0)) ** 2, axis=0) * len(found) / (len(found) - 1))
    stated = np.sqrt(np.mean([m.shapes_sd**2 for m in found], axis=0))
    top = np.argmax(np.abs(shapes.mean(axis=0)), axis=1)
    others = np.ones((5, 5), bool)
    others[np.arange(5), top] = False
    ratio = stated[others] / scatter[others]
    assert ((ratio > 0.7) & (ratio < 1.5)).all(), ratio  # 24 records know a scatter to 15 %; 20 ratios
    assert 0.8 < np.median(ratio) < 1.3
    assert (stated[~others] == 0.0).all()


def test_a_longer_record_knows_more() -> None:
    short, long = identify_modes(record(300, 1), FS), identify_modes(record(1200, 1), FS)
    assert short.shapes_sd.shape == short.shapes.shape and long.shapes_sd.shape == (5, 5)
    assert 1.3 < np.median(short.shapes_sd[short.shapes_sd > 0]) / np.median(long.shapes_sd[long.shapes_sd > 0]) < 3.0


def test_by_hand_one_mode_two_channels() -> None:
    """R_k = cos(w k) exp(-a k) [[1, s], [s, s^2]]: what differs between blocks in s is the deviation of the shape."""
    w, a, k = 2 * np.pi * 2.0 / FS, 0.05 * 2 * np.pi * 2.0 / FS, np.arange(60)
    wave = np.exp(-a * k) * np.cos(w * k)

    def r(s: float) -> np.ndarray:
        return wave[:, None, None] * np.array([[1.0, s], [s, s * s]])

    blocks = np.stack([r(0.5 + d) for d in (-0.02, 0.02, -0.02, 0.02)])
    lags = Lags(FS, blocks, np.full(4, 1000.0))
    f = np.hypot(w, a) * FS / (2 * np.pi)
    nan = np.full(1, np.nan)
    modes = Modes(np.array([f]), np.array([a / np.hypot(w, a)]), np.array([[1.0 + 0j, 0.5]]), nan, nan, np.zeros(1, np.int64))
    sd = shape_deviations(lags, modes)
    assert sd[0, 0] == 0.0
    assert sd[0, 1] == pytest.approx(0.02 / np.sqrt(3), rel=2e-3)  # of the mean of four: sd / sqrt(n)


def test_what_is_not_there() -> None:
    x = record(60, 2)
    m = identify_modes(x, FS)
    assert np.isnan(shape_deviations(lag_covariances(x, FS, 59), m)).all()
    none = m.take(np.zeros(len(m), bool))
    assert shape_deviations(lag_covariances(x, FS, 59, n_blocks=4), none).shape == (0, 5)
    assert len(Modes.unpacked(m.packed()).shapes_sd) == 0
