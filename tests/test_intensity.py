"""Instrumental seismic intensity: the formula by hand, velocity from acceleration, and the peaks of a vector."""

from __future__ import annotations

from itertools import pairwise

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, signal

from lifeline_core.bridges.intensity import Motion, instrumental_intensity, velocity_sections
from lifeline_core.dsp.tape import lengths
from lifeline_core.errors import StateError

FS = 100.0


def test_the_formula_by_hand() -> None:
    """lg 1 = 0: I_A = 6.59, I_V = 9.77 - 3 = 6.77, both at least 6, so the velocity's. At 0.1 m/s2 and 5 mm/s the mean of 3.42
    and 2.867."""
    assert instrumental_intensity(1.0, 0.1) == 6.8
    assert instrumental_intensity(0.1, 0.005) == 3.1
    assert instrumental_intensity(10.0, 0.01) == 6.8, "velocity says 3.77, so the mean with 9.76"
    assert instrumental_intensity(0.0, 0.0) == instrumental_intensity(1e-9, 1e-9) == 1.0
    assert instrumental_intensity(300.0, 40.0) == 12.0


@pytest.mark.parametrize(("a", "v"), [(-1.0, 0.0), (0.0, -1.0), (float("nan"), 0.1), (0.1, float("inf"))])
def test_peaks_that_are_none_are_refused(a: float, v: float) -> None:
    with pytest.raises(ValueError, match=r"pg[av]_ms2?: must be finite and at least 0"):
        instrumental_intensity(a, v)


@pytest.mark.parametrize("f_hz", [0.2, 1.0, 5.0])
def test_a_sine_s_velocity_is_its_acceleration_over_omega(f_hz: float) -> None:
    """Exact but for the band's edges (Butterworth of order 2) and the trapezoids, (wT/2) / tan(wT/2)."""
    t = np.arange(20_000) / FS
    w = 2 * np.pi * f_hz
    x = (9.81 + 0.5 * w * np.sin(w * t)).astype(np.float32)[None]
    a, v = Motion([[0]], FS).push(x)
    half = w / FS / 2
    sos = signal.butter(2, [0.1, 10.0], "bandpass", fs=FS, output="sos")
    gain = abs(signal.sosfreqz(sos, [f_hz], fs=FS)[1][0])
    top = [np.sqrt(2 * np.mean(y[0, -5000:].astype(float) ** 2)) for y in (a, v)]  # whole periods; no sample need meet the top
    assert top == pytest.approx([0.5 * w * gain, 0.5 * gain * half / np.tan(half)], rel=2e-4)


def test_velocity_is_the_integral_of_the_filtered_acceleration() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, 6000) * np.hanning(6000)
    band = signal.sosfilt(signal.butter(2, [0.1, 10.0], "bandpass", fs=FS, output="sos"), x)
    wanted = integrate.cumulative_trapezoid(band, dx=1 / FS, initial=0.0)
    got = signal.sosfilt(velocity_sections(FS), x)
    assert np.abs(got - wanted).max() < 1e-6 * np.abs(wanted).max() + 0.5 * abs(band[0]) / FS + 1e-12


def test_an_offset_and_a_drift_do_not_run_away() -> None:
    x = (9.81 + 1e-4 * np.arange(200_000) / FS).astype(np.float32)[None]
    _, v = Motion([[0]], FS).push(x)
    w = 2 * np.pi * 0.1
    assert v[0, -1000:] == pytest.approx(1e-4 / w**2, rel=0.02), "a steady drift is a small constant, not a ramp"


def test_the_vector_counts_what_is_there() -> None:
    y = np.float32([[3.0, np.nan, 3.0], [4.0, 4.0, np.nan], [1.0, -2.0, np.inf]])
    assert lengths(y, [[0, 1], [2]]).tolist()[0] == [5.0, 4.0, 3.0]
    assert lengths(y, [[2], [0], [1]])[:, 0].tolist() == [1.0, 3.0, 4.0]
    assert lengths(y, [[0], [1], [2]]) is y
    assert np.isnan(lengths(np.full((2, 2), np.nan, np.float32), [[0, 1]])).all()


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, 1999), max_size=6, unique=True))
def test_cuts_and_saves_never_show(cuts: list[int]) -> None:
    rng = np.random.default_rng(1)
    x = (9.81 + rng.normal(0, 1, (3, 2000))).astype(np.float32)
    x[1, 500:600] = np.nan
    whole = Motion([[0, 1], [2]], FS).push(x)
    motion, parts = Motion([[0, 1], [2]], FS), []
    for a, b in pairwise([0, *sorted(cuts), 2000]):
        parts.append(motion.push(x[:, a:b]))
        state = msgpack.unpackb(msgpack.packb(motion.save()))
        motion = Motion([[0, 1], [2]], FS)
        motion.load(state)
    for k in (0, 1):
        assert np.array_equal(np.concatenate([p[k] for p in parts], axis=1), whole[k], equal_nan=True)
    with pytest.raises(StateError, match="of 3 channels, not 1"):
        Motion([[0]], FS).load(motion.save())


def test_the_band_must_fit() -> None:
    with pytest.raises(ValueError, match="intensity: needs more than 20 samples a second, the channels have 20"):
        Motion([[0]], 20.0)
