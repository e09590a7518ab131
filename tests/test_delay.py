"""Weightings, correlogram, peak and error of a time delay; among them what other packages get wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import csd

from lifeline_core.dsp import delay as tde
from lifeline_core.pipes.spectra import cross_spectra
from tests.twins import delay as twin

FS = 256.0


def spectra(a, b, nperseg=256):
    s = cross_spectra(a, b, FS, nperseg)
    return s.s11, s.s22, s.s12


def noise(n, seed=0):
    return np.random.default_rng(seed).standard_normal(n)


def noisy_pair(shift=9, n=4096, seed=0):
    """White noise delayed by ``shift`` samples, with as much independent noise on each channel."""
    s = noise(n, seed)
    return s + noise(n, seed + 1), np.roll(s, shift) + noise(n, seed + 2)


def peak_lag(weighting, a, b, nperseg=256, polarity="same"):
    s11, s22, s12 = spectra(a, b, nperseg)
    cross = tde.weights(weighting, s11, s22, s12) * s12
    lags, r = tde.correlogram(cross, FS, nperseg, max_delay_s=0.25 * nperseg / FS)
    k = tde.pick(lags, r, polarity=polarity)
    sign = np.sign(r[k])
    return tde.refine(np.fft.rfftfreq(nperseg, 1 / FS), sign * cross, lags[k], lags[1] - lags[0])


def test_by_hand() -> None:
    # a turn of a quarter at 1 of 4 lines, one sample later: cos and sin by head
    cross = np.array([0.0, 1.0, 0.0])
    lags, r = tde.correlogram(cross, 4.0, 4, max_delay_s=0.25, finer=2)
    np.testing.assert_allclose(lags, [-0.25, -0.125, 0.0, 0.125, 0.25])
    np.testing.assert_allclose(r, [0.0, np.sqrt(0.5), 1.0, np.sqrt(0.5), 0.0], atol=1e-15)
    np.testing.assert_allclose(tde.coherence([2.0], [8.0], [2.0 + 2.0j]), [0.5])


@pytest.mark.parametrize("weighting", tde.WEIGHTINGS)
def test_equals_the_slow_twin(weighting) -> None:
    a, b = noisy_pair(n=1024)
    mine, slow = spectra(a, b, 64), twin.spectra(a, b, 64)
    for x, y in zip(mine, slow, strict=True):
        np.testing.assert_allclose(x[1:], y[1:], rtol=1e-10)  # two ways to sum 64 terms
    slow = [y[1:] for y in slow]
    w = tde.weights(weighting, *slow)
    np.testing.assert_allclose(w, twin.weight(weighting, *slow), rtol=1e-12)
    cross = np.concatenate([[0.0], w * slow[2]])
    lags, r = tde.correlogram(cross, FS, 64, max_delay_s=16 / FS)
    np.testing.assert_allclose(r, twin.correlogram(cross, FS, 64, lags), atol=1e-12)


def test_cross_spectrum_has_the_sign_of_scipy() -> None:
    a, b = noisy_pair()
    _, theirs = csd(a, b, FS, nperseg=256)
    mine = spectra(a, b)[2]
    factor = theirs[10] / mine[10]
    assert abs(factor.imag) < 1e-12 * abs(factor) and factor.real > 0
    np.testing.assert_allclose(mine[2:-1] * factor, theirs[2:-1], rtol=1e-9)


@pytest.mark.parametrize("weighting", tde.WEIGHTINGS)
@pytest.mark.parametrize("shift", [-40, -1, 0, 7, 64])
def test_integer_roll_is_exact(weighting, shift) -> None:
    # one segment that is periodic in itself: the delay is exact but for rounding; PHAT and HT have lines of rounding only
    x = noise(256)
    f = np.fft.rfftfreq(256, 1 / FS)
    a, b = np.fft.rfft(x), np.fft.rfft(np.roll(x, shift))
    s12 = np.conj(a) * b
    cross = tde.weights(weighting, abs(a) ** 2, abs(b) ** 2, s12) * s12
    lags, r = tde.correlogram(cross, FS, 256, max_delay_s=0.25)
    k = tde.pick(lags, r)
    assert lags[k] == pytest.approx(shift / FS, abs=1e-12) and r[k] == pytest.approx(1.0)
    assert tde.refine(f, cross, lags[k], lags[1] - lags[0]) == pytest.approx(shift / FS, abs=1e-9)


def test_one_segment_has_coherence_one_and_scot_is_phat() -> None:
    a, b = noise(256, 1), noise(256, 2)
    s11, s22, s12 = spectra(a, b)
    np.testing.assert_allclose(tde.coherence(s11, s22, s12)[1:], 1.0, rtol=1e-12)
    scot, phat, ht = (tde.weights(w, s11, s22, s12)[1:] for w in ("scot", "phat", "ht"))
    np.testing.assert_allclose(scot, phat, rtol=1e-12)
    assert peak_lag("scot", a, b) == pytest.approx(peak_lag("phat", a, b), abs=1e-9)
    assert np.isfinite(ht).all() and (ht > 0).all()


@pytest.mark.parametrize("weighting", tde.WEIGHTINGS)
def test_swapping_negates_and_equal_is_zero(weighting) -> None:
    a, b = noisy_pair()
    # ROTH divides by the first channel alone, so its two directions are two estimates
    tolerance = 0.1 / FS if weighting == "roth" else 1e-9
    assert peak_lag(weighting, a, b) == pytest.approx(-peak_lag(weighting, b, a), abs=tolerance)
    assert peak_lag(weighting, a, b) == pytest.approx(9 / FS, abs=0.5 / FS)
    assert peak_lag(weighting, a, a) == pytest.approx(0.0, abs=1e-12)


@settings(max_examples=15, deadline=None)
@given(weighting=st.sampled_from(tde.WEIGHTINGS), ga=st.floats(-9, 9), gb=st.floats(-9, 9), dc=st.floats(-100, 100))
def test_units_and_dc_change_nothing(weighting, ga, gb, dc) -> None:
    a, b = noisy_pair(n=2048)
    plain = peak_lag(weighting, a, b)
    assert peak_lag(weighting, a * 10**ga, b * 10**gb) == pytest.approx(plain, abs=1e-9)
    assert peak_lag(weighting, a + dc, b - 2 * dc) == pytest.approx(plain, abs=1e-9)


def test_no_wrap_around() -> None:
    # the source arrives 0.85 of a segment later: a circular correlation would show it at -0.15
    s = noise(40 * 256, 3)
    a, b = s, np.roll(s, round(0.85 * 256))
    s12 = spectra(a, b)[2]
    lags, r = tde.correlogram(s12, FS, 256, max_delay_s=0.25)
    wrapped = r[np.abs(lags + 0.15) < 0.01].max()
    assert wrapped < 5 * np.sqrt(np.mean(r**2))
    with pytest.raises(ValueError, match=r"at most a quarter of a segment, 0\.25 s, is 0\.5"):
        tde.correlogram(s12, FS, 256, max_delay_s=0.5)


def test_fraction_of_a_sample() -> None:
    # band-limited noise delayed by 3.37 samples in the frequency domain
    n = 64 * 256
    x = np.fft.rfft(noise(n, 5))
    f = np.fft.rfftfreq(n, 1 / FS)
    x[f > 100] = 0
    a, b = np.fft.irfft(x, n), np.fft.irfft(x * np.exp(-2j * np.pi * f * 3.37 / FS), n)
    # what remains is that segments of 256 hold 253 common samples: a per mille of a sample
    assert peak_lag("cc", a, b) * FS == pytest.approx(3.37, abs=2e-3)


def test_signed_peak_and_inverted_on_purpose() -> None:
    a, b = noisy_pair()
    assert peak_lag("scot", a, -b, polarity="inverted") == pytest.approx(9 / FS, abs=0.3 / FS)
    assert peak_lag("scot", a, -b, polarity="either") == pytest.approx(9 / FS, abs=0.3 / FS)
    assert abs(peak_lag("scot", a, -b) - 9 / FS) > 1 / FS


def test_silence_has_no_say() -> None:
    zero = np.zeros(5)
    for weighting in tde.WEIGHTINGS:
        w = tde.weights(weighting, zero, zero, zero.astype(complex))
        assert np.isfinite(w).all()
    lags, r = tde.correlogram(np.zeros(9), FS, 16, max_delay_s=4 / FS)
    assert not r.any() and tde.peak_ratios(r, tde.pick(lags, r)) == (0.0, 0.0)
    assert tde.delay_sd(np.arange(5.0), zero, zero, zero, zero.astype(complex), zero, 1.0) == np.inf


def test_peak_ratios_by_hand() -> None:
    r = np.array([0.4, -0.1, 0.2, 1.0, 0.1, -0.2, 0.5, 0.1])
    assert tde.peak_ratios(r, 3) == pytest.approx((2.0, 1.0 / np.abs(r).mean()))
    assert tde.main_lobe(r, 3) == slice(2, 5)
    assert tde.peak_ratios(np.array([0.1, 1.0, 0.1]), 1)[0] == np.inf


@pytest.mark.parametrize(("t", "g2", "f1", "f2", "us"), [
    (60, 0.5, 10, 50, 71.46), (60, 0.1, 10, 50, 214.4), (60, 0.5, 100, 1000, 0.7962), (10, 0.2, 200, 1500, 2.125)])
def test_error_bound_of_a_flat_band(t, g2, f1, f2, us) -> None:
    f = np.arange(f1, f2, 0.01) + 0.005
    one = np.ones(f.size)
    s12 = np.sqrt(g2) * np.exp(1j * f)
    for weighting in ("ht", "scot"):  # in a flat band every weighting is the best
        w = tde.weights(weighting, one, one, s12)
        assert tde.delay_sd(f, w, one, one, s12, g2 * one, t) * 1e6 == pytest.approx(us, rel=5e-4)  # four digits


def test_coherence_limit() -> None:
    assert tde.coherence_limit(2) == pytest.approx(0.95)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2, 20, 4000)) + 1j * rng.standard_normal((2, 20, 4000))
    g2 = tde.coherence((abs(z[0]) ** 2).mean(0), (abs(z[1]) ** 2).mean(0), (z[0].conj() * z[1]).mean(0))
    assert np.mean(g2 > tde.coherence_limit(20)) == pytest.approx(0.05, abs=0.014)  # 4 standard errors of 4000
    assert np.mean(tde.debias(g2, 20)) < np.mean(g2)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: tde.weights("best", [1.0], [1.0], [1.0]), "weighting must be one of cc, roth, scot, phat, ht, is 'best'"),
    (lambda: tde.pick(np.zeros(3), np.zeros(3), polarity="up"), "polarity must be one of"),
    (lambda: tde.pick(np.zeros(0), np.zeros(0)), "at least one lag"),
    (lambda: tde.correlogram(np.zeros(5), 1.0, 16, max_delay_s=1.0), "must have nperseg // 2 \\+ 1 = 9 values"),
    (lambda: tde.correlogram(np.zeros(9), 1.0, 16, max_delay_s=1.0, finer=1), "finer must be 2 or more, is 1"),
    (lambda: tde.coherence_limit(1.0), "n must be above 1 segment"),
])
def test_refusals(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
