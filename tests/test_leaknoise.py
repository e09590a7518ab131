"""The pipe as a carrier of leak noise: the numbers of the model, and what is synthesised has them."""

from __future__ import annotations

from math import log10, pi, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.signal import csd, welch

from lifeline_core.pipes.speed import wave_speed
from lifeline_core.synth.leaknoise import LeakNoise, PipeLoss, band_end_hz, loss_db_per_m
from lifeline_core.synth.pipeloss import correlation

SITE = {"fs": 2048.0, "length_m": 102.6, "position_m": 73.5, "speed_mps": 484.0, "beta_s_m": 7.25e-5}


def test_the_reference_numbers() -> None:
    pipe = PipeLoss.of_speeds(1500.0, 484.0, 0.06)
    assert pipe.softening == pytest.approx(8.605, abs=5e-4)
    assert pipe.beta_s_m == pytest.approx(5.553e-5, abs=5e-9)
    assert pipe.speed_mps == pytest.approx(484.0)
    assert loss_db_per_m(7.25e-5, 100.0) == pytest.approx(0.3957, abs=5e-5)
    assert [round(band_end_hz(7.25e-5, d), 1) for d in (50.0, 102.6, 200.0)] == [202.2, 98.5, 50.5]
    site = LeakNoise(**SITE)
    assert site.delay_s * 1e3 == pytest.approx(-91.74, abs=5e-3)
    assert SITE["beta_s_m"] * SITE["length_m"] * 1e3 == pytest.approx(7.44, abs=5e-3)  # ms
    assert SITE["beta_s_m"] * SITE["length_m"] * 484 / 2 == pytest.approx(1.80, abs=5e-3)  # m of position


def test_a_wall_is_the_same_law_as_the_wave_speed() -> None:
    pipe = PipeLoss.of_wall(0.16, 0.0095, 2.0e9, 0.06)
    assert pipe.speed_mps == pytest.approx(wave_speed(0.16, 0.0095, 2.0e9), rel=1e-12)
    assert PipeLoss.of_wall(0.16, 0.0095, 2.0e9, 0.0).beta_s_m == 0.0


@settings(max_examples=40, deadline=None)
@given(x=st.floats(1, 20), eta=st.floats(0, 0.1), f=st.floats(1, 500), d=st.floats(1, 100))
def test_the_first_order_loss_is_that_of_the_wavenumber(x: float, eta: float, f: float, d: float) -> None:
    pipe = PipeLoss(1500.0, x, eta)
    h = complex(pipe.response(f, d))
    w = 2 * pi * f
    # what is left out is of second order in the loss factor, of the whole phase
    assert abs(h) == pytest.approx(np.exp(-w * pipe.beta_s_m * d), rel=eta**2 * w * d / pipe.speed_mps + 1e-9)
    assert -20 * log10(np.exp(-w * pipe.beta_s_m)) == pytest.approx(loss_db_per_m(pipe.beta_s_m, f), abs=1e-12)


def test_the_band_ends_where_the_product_is_so_far_down() -> None:
    beta, d = 6e-5, 80.0
    f = band_end_hz(beta, d, down_db=26.0)
    product = np.exp(-2 * pi * f * beta * 30.0) * np.exp(-2 * pi * f * beta * 50.0)
    assert 20 * log10(product) == pytest.approx(-26.0)
    assert band_end_hz(0.0, 10.0) == float("inf")


@pytest.mark.parametrize(("low", "high"), [(0.0, float("inf")), (10.0, 90.0), (0.0, 300.0)])
def test_the_correlation_is_the_integral_of_the_spectrum(low: float, high: float) -> None:
    beta, d, t0 = 7.25e-5, 102.6, -0.0917
    for tau in (-0.2, t0, t0 + beta * d, 0.0, 0.03):
        top = min(high, 2000.0)  # e^-93 there
        exact = quad(lambda w, s=tau - t0: np.exp(-w * beta * d) * np.cos(w * s) / pi, 2 * pi * low, 2 * pi * top, limit=2000)[0]
        got = correlation([tau], t0, beta, d, low_hz=low, high_hz=high)[0]
        assert got == pytest.approx(exact, abs=1e-6 * correlation([t0], t0, beta, d)[0])


def test_without_filters_it_is_a_lorentzian_half_as_high_at_beta_d() -> None:
    width = 7.25e-5 * 102.6
    peak, half = correlation([0.01, 0.01 + width], 0.01, 7.25e-5, 102.6)
    assert half == pytest.approx(peak / 2)
    assert peak == pytest.approx(1 / (pi * width))


def test_a_band_without_loss() -> None:
    r = correlation([0.0, 0.005], 0.0, 0.0, 10.0, low_hz=0.0, high_hz=100.0)
    assert r[0] == pytest.approx(200.0)  # width of the band over pi, in rad/s
    assert r[1] == pytest.approx(0.0, abs=1e-6)  # sin(pi) / ...


def test_what_is_synthesised_has_the_loss_the_delay_and_the_correlation() -> None:
    site = LeakNoise(snr_db=60.0, **SITE)
    x = site.whole(240 * 2048, 7).astype(float)
    f, s12 = csd(x[0], x[1], 2048.0, nperseg=2048)
    _, s22 = welch(x[1], 2048.0, nperseg=2048)
    band = (f >= 10) & (f <= 60)
    slope = np.polyfit(f[band], np.log(np.abs(s12[band])), 1)[0]
    # 480 segments: the logarithm of a line is known to about 0.06, 50 of them make 2 % of the slope
    assert -slope / (2 * pi) == pytest.approx(7.25e-5 * 102.6, rel=0.08)
    assert np.polyfit(f[band], np.log(s22[band]), 1)[0] / (2 * pi) == pytest.approx(-2 * 7.25e-5 * 29.1, rel=0.1)
    n = 1 << 19
    spectrum = np.conj(np.fft.rfft(x[0], n)) * np.fft.rfft(x[1], n)
    spectrum[: int(5 / 2048 * n)] = 0.0
    r = np.fft.irfft(spectrum)
    lags = np.arange(-512, 512) / 2048.0
    model = site.correlation(lags, low_hz=5.0)
    measured = r[np.arange(-512, 512)]
    assert np.corrcoef(measured, model)[0, 1] > 0.97
    assert lags[np.argmax(measured)] == pytest.approx(site.delay_s, abs=0.51 / 2048)


def test_a_site_of_a_pipe() -> None:
    pipe = PipeLoss.of_wall(0.16, 0.0095, 2.0e9, 0.06)
    site = LeakNoise.of_pipe(pipe, fs=2048.0, length_m=100.0, position_m=30.0)
    assert (site.speed_mps, site.beta_s_m) == (pipe.speed_mps, pipe.beta_s_m)
    assert site.delay_s == pytest.approx(40.0 / (sqrt(2.19e9 / 998.2) / sqrt(1 + pipe.softening)))


def test_chunks_are_the_whole() -> None:
    site = LeakNoise(snr_db=0.0, hum_db=3.0, **SITE)
    chunks = site.chunks(1000, 3)
    joined = np.concatenate([next(chunks) for _ in range(20)], axis=1)
    assert (joined == site.whole(20000, 3)).all()


@pytest.mark.parametrize(("call", "message"), [
    (lambda: PipeLoss.of_speeds(1500.0, 1600.0, 0.0), "speed_mps must lie in 0 .. free_mps"),
    (lambda: PipeLoss(1500.0, 1.0, 1.5), "loss_factor in 0 .. 1"),
    (lambda: PipeLoss.of_wall(0.1, 0.0, 1e9, 0.0), "wall_m must be above 0, is 0.0"),
    (lambda: band_end_hz(-1.0, 10.0), "beta_s_m must be 0 or more"),
    (lambda: correlation([0.0], 0.0, 1e-5, 10.0, low_hz=20.0, high_hz=10.0), "band must rise"),
    (lambda: correlation([0.0], 0.0, 0.0, 10.0), "must be above 0, or 0 with a finite high_hz"),
    (lambda: LeakNoise(fs=0.0, length_m=1.0, position_m=0.0, speed_mps=1.0), "fs, speed_mps and noise_rms must be above 0"),
    (lambda: LeakNoise(fs=1.0, length_m=1.0, position_m=2.0, speed_mps=1.0), "position_m must lie in 0 .. length_m"),
])
def test_refusals(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
