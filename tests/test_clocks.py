"""Clocks that run apart: resampling against exact tones, drifts found in simulation with their stated errors, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from lifeline_core.pipes.clocks import Drift, correct, estimate_drift, fit_drift, hum_drift
from lifeline_core.synth.leaknoise import LeakNoise

FS = 2048.0
SITE = {"length_m": 102.6, "position_m": 73.5, "speed_mps": 484.0, "beta_s_m": 7.25e-5}
DELAY = -44.4 / 484.0


def pair(seconds: float, ppm: float, snr_db: float | None, seed: int, *, wander_s: float = 0.0,
         hum_db: float | None = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two loggers of one leak; b's clock runs ``ppm`` fast. Made at twice the rate and read off by a spline, not by `correct`."""
    n = int(seconds * FS)
    x = LeakNoise(fs=2 * FS, snr_db=snr_db, hum_db=hum_db, **SITE).whole(2 * (n + 400), seed).astype(float)
    t = np.arange(n) / FS
    true = t / (1 + ppm * 1e-6) + wander_s * np.sin(3 * np.pi * t / seconds)
    b = CubicSpline(np.arange(x.shape[1]) / (2 * FS), x[1])(true)
    return x[0, ::2][:n].astype(np.float32), b.astype(np.float32)


def grid(seconds: float, seed: int) -> CubicSpline:
    """Turns of a grid whose frequency wanders by some 10 mHz."""
    t = np.arange(0.0, seconds + 20.0)
    f = np.cumsum(np.random.default_rng(seed).normal(0, 1, t.size))
    return CubicSpline(t, 50 + 0.01 * (f - f.mean()) / f.std()).antiderivative()


def hummed(seconds: float, ppm: float, db: float, seed: int, *, offset_s: float = 0.0, fs: float = 1000.0,
           other: int | None = None) -> list[NDArray[np.float32]]:
    """Two loggers without a leak: noise, and the hum of one grid (or of another one at b)."""
    rng, t = np.random.default_rng(seed + 1000), np.arange(int(seconds * fs)) / fs
    rows = []
    theirs = grid(seconds, seed if other is None else other)
    for turns, rate, late in ((grid(seconds, seed), 1.0, 0.0), (theirs, 1 + ppm * 1e-6, offset_s)):
        phase = 2 * np.pi * turns(5 + (t - late) / rate)
        x = rng.normal(0, 1, t.size)
        for k in (1, 2, 3, 5):
            x += 10 ** (db / 20) * 2**0.5 / k * np.cos(k * phase + rng.uniform(0, 6.28))
        rows.append(x.astype(np.float32))
    return rows


def words(found: Drift) -> set[str]:
    return {r.split(":")[0] for r in found.reasons}


# -- resampling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [60, 600])
@pytest.mark.parametrize("share", [0.01, 0.2, 0.4])
def test_a_tone_is_put_right_to_1e_5(seconds: int, share: float) -> None:
    t = np.arange(seconds * 1024) / 1024.0
    w = 2 * np.pi * share * 1024.0
    y = correct(np.sin(w * t / (1 + 20e-6)), 1024.0, 20.0)
    assert abs(t.size - y.size - seconds * 1024 * 20e-6) < 2
    assert np.abs(y - np.sin(w * t[: y.size]))[20:-20].max() < 2e-5
    # untouched, the far end is off by 20 ppm of the time
    assert np.abs(np.sin(w * t / (1 + 20e-6)) - np.sin(w * t))[20:-20].max() > 20e-6 * seconds * w / 2 or share > 0.01


def test_an_offset_and_a_slow_clock() -> None:
    t = np.arange(20000) / 500.0
    signal = CubicSpline(np.arange(-1, 60, 0.02), np.random.default_rng(1).normal(size=3050))
    b = signal((t - 0.313) / (1 - 35e-6))
    y = correct(b, 500.0, -35.0, offset_s=0.313)
    assert np.abs(y - signal(t[: y.size]))[20:-20].max() < 1e-3  # a spline of white points has some power beyond 0.4
    early = correct(b, 500.0, 0.0, offset_s=-0.5)
    assert np.isnan(early[:250]).all()
    assert np.isfinite(early[260:]).all()


def test_what_resampling_leaves_alone() -> None:
    x = np.random.default_rng(2).normal(size=5000).astype(np.float32)
    same = correct(x, 100.0, 0.0)
    assert same.dtype == np.float32
    assert (same == x).all()
    assert correct(x, 100.0, 12.0).dtype == np.float32
    assert correct(x.astype(np.int16), 100.0, 12.0).dtype == np.float64
    assert np.allclose(correct(np.full(3000, 7.0), 100.0, 500.0), 7.0, atol=1e-12)
    x[2500] = np.nan
    y = correct(x, 100.0, 30.0)
    assert np.isnan(y[2490:2510]).all()
    assert np.isfinite(y[:2480]).all()
    assert np.isfinite(y[2520:]).all()
    assert correct(np.zeros(3), 100.0, 10.0).size == 2


@settings(max_examples=15, deadline=None)
@given(ppm=st.floats(-200, 200), seed=st.integers(0, 100))
def test_there_and_back(ppm: float, seed: int) -> None:
    rough = np.random.default_rng(seed).normal(size=8000)
    smooth = np.convolve(rough, np.hanning(31) / 15, "same")  # nothing beyond 0.15 of the rate
    back = correct(correct(smooth, 100.0, ppm), 100.0, -ppm / (1 + ppm * 1e-6))
    assert np.abs(back - smooth[: back.size])[40:-40].max() < 1e-4


# -- a line through delays ---------------------------------------------------------------------------------------------


def test_a_night_of_recordings() -> None:
    t = np.array([0.0, 3600, 7200, 10800, 14400])
    found = fit_drift(t, 0.05 + 12e-6 * t, np.full(5, 1e-4))
    assert found.ppm == pytest.approx(12.0)
    assert found.delay_s == pytest.approx(0.05)
    assert found.sd_ppm == pytest.approx(1e-4 / np.sqrt(np.sum((t - t.mean()) ** 2)) * 1e6)
    assert found.accepted
    assert found.reasons == ()


@settings(max_examples=30, deadline=None)
@given(ppm=st.floats(-40, 40), shift=st.floats(-0.2, 0.2), start=st.floats(0, 1e6))
def test_a_line_is_found_wherever_it_lies(ppm: float, shift: float, start: float) -> None:
    t = start + np.linspace(0, 600, 12)
    found = fit_drift(t, shift + ppm * 1e-6 * t, np.full(12, 1e-5))
    assert found.ppm == pytest.approx(ppm, abs=1e-5)
    assert "not-linear" not in words(found)


def test_its_stated_deviation_is_true() -> None:
    rng, t = np.random.default_rng(3), np.linspace(0, 300, 15)
    off, bent = [], 0
    for _ in range(400):
        found = fit_drift(t, 3e-6 * t + rng.normal(0, 1e-4, 15), np.full(15, 1e-4))
        off.append((found.ppm - 3.0) / found.sd_ppm)
        bent += "not-linear" in words(found)
    assert bent <= 3  # one in a thousand is the test's own chance
    # widening by the scatter makes it a little careful
    assert 0.80 <= np.std(off) <= 1.05


def test_a_point_far_off_is_left_out() -> None:
    t = np.linspace(0, 600, 12)
    d = 20e-6 * t + np.random.default_rng(5).normal(0, 1e-5, 12)
    d[4] += 0.02
    found = fit_drift(t, d, np.full(12, 1e-5))
    assert np.flatnonzero(~found.used).tolist() == [4]
    assert found.ppm == pytest.approx(20.0, abs=3 * found.sd_ppm)
    assert found.accepted


def test_a_curve_and_a_scatter_are_no_line() -> None:
    t = np.linspace(0, 600, 20)
    rng = np.random.default_rng(6)
    bent = fit_drift(t, 20e-6 * t + 2e-4 * np.sin(t / 120) + rng.normal(0, 2e-5, 20), np.full(20, 1e-4))
    assert words(bent) == {"not-linear"}  # by its shape: the deviations would hide it
    wild = fit_drift(t, 20e-6 * t + rng.normal(0, 1e-3, 20), np.full(20, 1e-4))
    assert "not-linear" in words(wild)
    none = fit_drift(t, rng.normal(0, 1e-4, 20), np.full(20, 1e-4))
    assert words(none) == {"no-drift-seen"}
    assert not none.accepted


# -- one long record ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "ppm", "snr_db"), [(60, 20.0, 10.0), (60, -35.0, 0.0), (300, 5.0, 0.0)])
def test_a_drift_is_found_and_correcting_it_brings_coherence_back(seconds: float, ppm: float, snr_db: float) -> None:
    a, b = pair(seconds, ppm, snr_db, 1)
    found = estimate_drift(a, b, FS)
    assert found.accepted, found.reasons
    assert found.ppm == pytest.approx(ppm, abs=3 * found.sd_ppm)
    assert found.sd_ppm < 0.15 * abs(ppm)
    assert found.delay_s == pytest.approx(DELAY, abs=1e-3)
    before, after = found.coherence
    assert after > before


def test_ten_minutes_gain_much() -> None:
    a, b = pair(600, 20.0, 0.0, 0)
    found = estimate_drift(a, b, FS)
    assert found.accepted
    assert found.ppm == pytest.approx(20.0, abs=0.3)
    assert found.coherence[1] > 1.5 * found.coherence[0]


def test_the_other_way_round_is_the_other_sign() -> None:
    a, b = pair(60, 30.0, 10.0, 4)
    one, two = estimate_drift(a, b, FS), estimate_drift(b, a, FS)
    assert two.ppm == pytest.approx(-one.ppm, abs=0.5 * one.sd_ppm)
    louder = estimate_drift(1e3 * a, 1e-3 * b + 5.0, FS)
    assert louder.ppm == pytest.approx(one.ppm, abs=1e-3)


def test_stated_deviations_of_a_record() -> None:
    off = []
    for seed in range(16):
        found = estimate_drift(*pair(60, 20.0, 5.0, 100 + seed), FS)
        assert found.accepted, found.reasons
        off.append((found.ppm - 20.0) / found.sd_ppm)
    # 16 draws: the deviation is known to 18 %
    assert 0.55 <= np.std(off) <= 1.5
    assert np.mean(np.abs(off) < 2.0) >= 0.85


def test_no_drift_is_not_corrected() -> None:
    for seed in range(3):
        found = estimate_drift(*pair(60, 0.0, 5.0, seed), FS)
        assert not found.accepted
        assert words(found) == {"no-drift-seen"}


def test_nothing_in_common_is_refused() -> None:
    for seed in range(4):
        assert words(estimate_drift(*pair(60, 20.0, None, seed), FS)) == {"no-common-source"}
    # a hum that both hear is no source of delays
    assert words(estimate_drift(*pair(60, 0.0, None, 1, hum_db=20.0), FS)) == {"no-common-source"}


def test_a_clock_that_wanders_is_refused() -> None:
    found = estimate_drift(*pair(60, 20.0, 10.0, 2, wander_s=1e-3), FS)
    assert "not-linear" in words(found)
    assert not found.accepted


def test_odd_records_are_decided() -> None:
    a, b = pair(60, 20.0, 10.0, 3)
    holes = a.copy()
    holes[40000:44000] = np.nan
    assert estimate_drift(holes, b, FS).ppm == pytest.approx(20.0, abs=5.0)
    assert words(estimate_drift(a[:8000], b[:8000], FS)) == {"too-short"}
    for dead in (np.zeros_like(b), np.full_like(b, np.nan), np.full_like(b, 3.0)):
        assert words(estimate_drift(a, dead, FS)) == {"no-common-source"}
    huge = estimate_drift(a * np.float32(1e30), b, FS)
    assert huge.ppm == pytest.approx(20.0, abs=5.0)


# -- the hum -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "ppm", "db"), [(60, 30.0, 0.0), (600, 20.0, -10.0), (600, -3.0, -10.0)])
def test_the_hum_tells_the_drift_without_a_leak(seconds: float, ppm: float, db: float) -> None:
    found = hum_drift(*hummed(seconds, ppm, db, 1), 1000.0)
    assert found.accepted, found.reasons
    assert found.ppm == pytest.approx(ppm, abs=4 * found.sd_ppm)
    assert found.sd_ppm < 0.1 * abs(ppm)


def test_the_hum_s_stated_deviation_is_true() -> None:
    off = []
    for seed in range(24):
        found = hum_drift(*hummed(120, 20.0, -3.0, seed), 1000.0)
        off.append((found.ppm - 20.0) / found.sd_ppm)
    assert 0.55 <= np.std(off) <= 1.5


def test_an_offset_lets_the_grid_s_trend_in() -> None:
    x = hummed(600, 20.0, -10.0, 0, offset_s=0.5)
    plain, careful = hum_drift(*x, 1000.0), hum_drift(*x, 1000.0, offset_sd_s=0.5)
    assert abs(plain.ppm - 20.0) > 3 * plain.sd_ppm  # found out by nobody who does not know of the offset
    assert abs(careful.ppm - 20.0) < 3 * careful.sd_ppm


def test_equal_clocks_and_other_grids() -> None:
    assert words(hum_drift(*hummed(300, 0.0, -6.0, 3), 1000.0)) == {"no-drift-seen"}
    assert words(hum_drift(*hummed(60, 0.0, -30.0, 3), 1000.0)) == {"no-line"}
    assert words(hum_drift(*hummed(10, 20.0, 0.0, 3), 1000.0)) == {"too-short"}
    assert not hum_drift(*hummed(300, 0.0, 0.0, 3, other=4), 1000.0).accepted
    t, rng = np.arange(60000) / 1000.0, np.random.default_rng(1)
    for f in (49.7, 50.25, 50.5):  # a pump's own line, by far not a clock's error
        rows = [np.sin(2 * np.pi * g * t) + rng.normal(0, 1, t.size) for g in (50.0, f)]
        found = hum_drift(*rows, 1000.0)
        assert words(found) & {"not-one-grid", "no-line"}
        assert not found.accepted


def test_odd_records_of_hum() -> None:
    a, b = hummed(120, 30.0, 0.0, 5)
    holes = a.copy()
    holes[30000:33000] = np.nan
    assert hum_drift(holes, b, 1000.0).ppm == pytest.approx(30.0, abs=3.0)
    for dead in (np.zeros_like(b), np.full_like(b, np.nan)):
        assert words(hum_drift(a, dead, 1000.0)) == {"no-line"}
    assert words(hum_drift(a[::20], b[::20], 50.0)) == {"no-line"}  # a rate too low for the mains


@pytest.mark.parametrize(("call", "message"), [
    (lambda: correct([], 1.0, 0.0), "one row of samples"),
    (lambda: correct([1.0], 0.0, 0.0), "fs must be above 0"),
    (lambda: correct([1.0], 1.0, 2000.0), "ppm must lie within 1000, is 2000.0"),
    (lambda: correct([1.0], 1.0, float("nan")), "ppm must lie within 1000, is nan"),
    (lambda: correct([1.0, 2.0], 1.0, 0.0, offset_s=3.0), "offset_s must be shorter"),
    (lambda: fit_drift([0, 1], [0, 1], [1, 1]), "at least 3 times"),
    (lambda: fit_drift([0, 1, 2], [0, 1, 2], [1, 0, 1]), "deviations above 0"),
    (lambda: fit_drift([1, 1, 1], [0, 1, 2], [1, 1, 1]), "times not all equal"),
    (lambda: fit_drift([0, 1, 2], [0, np.nan, 2], [1, 1, 1]), "must be finite"),
    (lambda: estimate_drift([1.0], [1.0, 2.0], 10.0), "two rows of the same length"),
    (lambda: estimate_drift([1.0], [1.0], 0.0), "fs must be above 0"),
    (lambda: estimate_drift([1.0], [1.0], 10.0, max_ppm=0.0), "max_ppm in 0 .. 1000"),
    (lambda: hum_drift([], [], 10.0), "two rows of the same length"),
    (lambda: hum_drift([1.0], [1.0], 10.0, harmonics=0), "harmonics 1 or more"),
])
def test_refusals(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
