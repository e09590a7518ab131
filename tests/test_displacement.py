"""Displacement from acceleration: closed forms, noise told right, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from lifeline_core.bridges.displacement import DisplacementStream, displacement
from lifeline_core.errors import StateError

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


# -- the stream --------------------------------------------------------------------------------------------------------


def test_the_figure_of_the_sine_with_bias() -> None:
    """50 mm at 0.3 Hz with a bias: .050000 m away from the ends."""
    x = 0.05 * np.sin(2 * np.pi * 0.3 * T)
    d = displacement(-((2 * np.pi * 0.3) ** 2) * x + 0.98, FS, 0.1)
    assert np.abs(d.x_m[d.settled] - x[d.settled]).max() < 5e-6


@pytest.mark.parametrize(("f", "corner"), [(0.3, 0.1), (1.0, 0.2), (5.0, 0.5)])
def test_the_stream_gives_the_sine_back_and_takes_bias_and_trend_off(f: float, corner: float) -> None:
    x = 0.05 * np.sin(2 * np.pi * f * T)
    stream = DisplacementStream(2, FS, corner)
    a = -((2 * np.pi * f) ** 2) * x + 9.81 + 1e-4 * T
    y = stream.push(np.stack([a, -a]))
    assert np.isnan(y[:, : stream.reach]).all()
    assert np.isfinite(y[:, stream.reach :]).all()
    assert y.shape[1] >= T.size - stream.delay_samples
    np.testing.assert_allclose(y[0, stream.reach :], x[stream.reach : y.shape[1]], atol=1e-4)
    np.testing.assert_allclose(y[1, stream.reach :], -y[0, stream.reach :], atol=1e-12)


def test_the_stream_tells_its_noise_and_passes_nothing_slow() -> None:
    rng = np.random.default_rng(2)
    stream = DisplacementStream(4, FS, 0.2)
    y = stream.push(rng.normal(0, 0.01, (4, 100_000)))
    assert np.nanstd(y) == pytest.approx(stream.noise_m(0.01 / np.sqrt(FS / 2)), rel=0.05)
    slow = DisplacementStream(1, FS, 0.2).push(np.sin(2 * np.pi * 0.02 * np.arange(50_000) / FS)[None])
    assert np.nanmax(np.abs(slow)) < 1e-3 / (2 * np.pi * 0.02) ** 2


def test_the_stream_does_not_show_cuts_and_goes_on_after_a_save() -> None:
    a = np.random.default_rng(3).normal(9.8, 1.0, (2, 20_000))
    a[1, 7000] = np.nan
    whole = DisplacementStream(2, FS, 0.5).push(a)
    stream, parts = DisplacementStream(2, FS, 0.5), []
    for begin in range(0, a.shape[1], 777):
        parts.append(stream.push(a[:, begin : begin + 777]))
        saved = stream.save()
        stream = DisplacementStream(2, FS, 0.5)
        stream.load(saved)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    reach = stream.reach
    lost = np.flatnonzero(np.isnan(whole[1]))[reach:]
    assert (lost[0], lost[-1]) == (7000 - reach, 7000 + reach)
    assert np.isfinite(whole[0, reach:]).all()


def test_the_stream_refuses() -> None:
    stream = DisplacementStream(1, FS, 0.5)
    with pytest.raises(ValueError, match="at least one row"):
        DisplacementStream(0, FS, 0.5)
    with pytest.raises(ValueError, match="corner_hz must lie"):
        DisplacementStream(1, FS, 13.0)
    with pytest.raises(ValueError, match="of 1 rows"):
        stream.push(np.zeros((2, 9)))
    assert stream.push(np.empty((1, 0))).shape == (1, 0)
    for bad in (b"", stream.save()[:-1], DisplacementStream(1, FS, 0.25).save(), DisplacementStream(2, FS, 0.5).save()):
        with pytest.raises(StateError):
            DisplacementStream(1, FS, 0.5).load(bad)
