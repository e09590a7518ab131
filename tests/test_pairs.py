"""Delays of many pairs from one matrix of spectra: by hand, as the slow twin, and what must change nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.dsp import delay as tde
from lifeline_core.dsp.pairs import Delays, correlate_pairs, from_spectra
from lifeline_core.dsp.spectrum import Running, csd_matrix
from tests.twins import delay as twin

FS = 1000.0
SHIFTS = [0, 7, -12, 30, 3]  # samples by which each channel is later


def channels(n=20000, shifts=SHIFTS, noise=0.5, seed=0):
    """One white noise at several delays, each with noise of its own, float32."""
    rng = np.random.default_rng(seed)
    s, edge = rng.standard_normal(n + 200), 100
    x = np.stack([s[edge - k : edge - k + n] for k in shifts]) + noise * rng.standard_normal((len(shifts), n))
    return x.astype(np.float32)


def true(pairs, shifts=SHIFTS):
    return np.array([shifts[b] - shifts[a] for a, b in pairs]) / FS


def same(one: Delays, other: Delays):
    for name in Delays.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_by_hand() -> None:
    # four lines of one turn per sample each: b is one sample later, all in phase at lag 1
    k = np.arange(5)
    s = np.ones((5, 2, 2), complex)
    s[:, 0, 1] = np.exp(-2j * np.pi * k / 8)
    s[:, 1, 0] = np.conj(s[:, 0, 1])
    found = from_spectra(k * 1.0, s, weighting="scot")
    np.testing.assert_allclose(found.lags_s, np.arange(-4, 5) / 16)
    assert found.pairs.tolist() == [[0, 1]]
    assert found.delay_s[0] == pytest.approx(1 / 8, abs=1e-12) and found.peak[0] == pytest.approx(1.0, abs=1e-12)
    # (cos 0 + cos pi/8 ..): lines 1, 2, 3 whole and line 4 half, turned by k pi / 4 for each sample
    at_zero = (np.cos(np.pi / 4) + np.cos(np.pi / 2) + np.cos(3 * np.pi / 4) + 0.5 * np.cos(np.pi)) / 3.5
    assert found.r[0, 4] == pytest.approx(at_zero, abs=1e-12) and found.r[0, 6] == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(found.coherence, 1.0)


@pytest.mark.parametrize("weighting", tde.WEIGHTINGS)
def test_equals_the_slow_twin(weighting) -> None:
    x = channels(640).astype(float)
    found = correlate_pairs(x, FS, weighting=weighting, nperseg=64, pairs=[(1, 3), (4, 2)])
    for q, (a, b) in enumerate(found.pairs):
        s11, s22, s12 = (v[1:] for v in twin.spectra(x[a], x[b], 64))
        s11[-1], s22[-1], s12[-1] = s11[-1], s22[-1], s12[-1].real
        cross = np.concatenate([[0.0], twin.weight(weighting, s11, s22, s12) * s12])
        np.testing.assert_allclose(found.r[q], twin.correlogram(cross, FS, 64, found.lags_s), atol=1e-10)
        grid = found.lags_s[np.argmax(found.r[q])]
        assert found.delay_s[q] == pytest.approx(twin.top(cross, FS, 64, grid, 0.5 / FS), abs=1e-6 / FS)
        np.testing.assert_allclose(found.coherence[q, 1:], abs(s12) ** 2 / (s11 * s22), rtol=1e-9)


@pytest.mark.parametrize("weighting", tde.WEIGHTINGS)
@pytest.mark.parametrize("single", [True, False])
def test_equals_the_functions_for_one_pair(weighting, single) -> None:
    f, s = csd_matrix(channels(noise=1.0), FS, nperseg=256)
    wide = s.astype(np.complex128)
    found = from_spectra(f, s if single else wide, weighting=weighting, duration_s=20.0, band=(20.0, 480.0), finer=4)
    assert found.r.dtype == (np.float32 if single else np.float64)
    for q, (a, b) in enumerate(found.pairs):
        s11, s22, s12 = wide[:, a, a].real, wide[:, b, b].real, wide[:, a, b]
        inside = (f >= 20.0) & (f <= 480.0)
        w = np.where(inside, tde.weights(weighting, s11, s22, s12), 0.0)
        lags, r = tde.correlogram(w * s12, FS, 256, max_delay_s=0.064)
        np.testing.assert_allclose(found.r[q], r, atol=2e-6 if single else 1e-12)  # float32: eps times log2 of 1024 lines
        lag = tde.refine(f, w * s12, lags[tde.pick(lags, r)], lags[1] - lags[0])
        assert found.delay_s[q] == pytest.approx(lag, abs=(1e-5 if single else 1e-8) / FS)
        gamma2 = tde.coherence(s11, s22, s12)
        assert found.delay_sd_s[q] == pytest.approx(tde.delay_sd(f, w, s11, s22, s12, gamma2, 20.0), rel=1e-5)
        np.testing.assert_allclose(found.coherence[q], gamma2, atol=1e-6)


@pytest.mark.parametrize("weighting", tde.WEIGHTINGS)
def test_delays_are_found_and_signed(weighting) -> None:
    x = channels()
    found = correlate_pairs(x, FS, weighting=weighting, nperseg=256)
    assert found.pairs.tolist() == [[a, b] for a in range(5) for b in range(a + 1, 5)]
    np.testing.assert_allclose(found.delay_s, true(found.pairs), atol=0.2 / FS)
    turned = correlate_pairs(x, FS, weighting=weighting, nperseg=256, pairs=found.pairs[:, ::-1])
    # ROTH divides by the first channel alone, so its two directions are two estimates
    np.testing.assert_allclose(turned.delay_s, -found.delay_s, atol=0.2 / FS if weighting == "roth" else 1e-5 / FS)
    itself = correlate_pairs(x, FS, weighting=weighting, nperseg=256, pairs=[(2, 2)])
    assert itself.delay_s[0] == pytest.approx(0.0, abs=1e-9) and itself.peak[0] == pytest.approx(1.0, abs=1e-5)


def test_error_is_what_repetition_shows() -> None:
    off, told = [], []
    for seed in range(60):
        found = correlate_pairs(channels(4000, noise=1.0, seed=seed), FS, nperseg=256, pairs=[(0, 4)])
        off.append(found.delay_s[0] - 3 / FS)
        told.append(found.delay_sd_s[0])
    assert 0.6 < np.std(off) / np.median(told) < 2.0  # the bound is reached but for windows and a finite average


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shift", [-63, -1, 0, 5, 64])
@pytest.mark.parametrize("weighting", tde.WEIGHTINGS)
def test_integer_roll_is_exact(weighting, shift, dtype) -> None:
    x = np.random.default_rng(1).standard_normal(256).astype(dtype)
    found = correlate_pairs([x, np.roll(x, shift)], FS, weighting=weighting, nperseg=256, window="boxcar", detrend=False)
    assert found.delay_s[0] * FS == pytest.approx(shift, abs=1e-9 if dtype is np.float64 else 1e-4)
    assert found.peak[0] == pytest.approx(1.0, abs=1e-5) and found.r[0].argmax() == np.flatnonzero(found.lags_s * FS == shift)[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_segment_has_coherence_one_and_scot_is_phat_is_ht(dtype) -> None:
    x = np.random.default_rng(2).standard_normal((3, 512)).astype(dtype)
    scot, phat, ht = (correlate_pairs(x, FS, weighting=w, nperseg=512) for w in ("scot", "phat", "ht"))
    tolerance = 1e-6 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(scot.coherence[:, 1:], 1.0, rtol=tolerance)
    for other in (phat, ht):
        np.testing.assert_allclose(other.delay_s, scot.delay_s, atol=1e-3 / FS if dtype is np.float32 else 1e-9)
        np.testing.assert_allclose(other.r, scot.r, atol=2e-3 if dtype is np.float32 else 1e-6)


@settings(max_examples=25, deadline=None)
@given(weighting=st.sampled_from(tde.WEIGHTINGS), a=st.integers(-20, 20), b=st.integers(-20, 20), single=st.booleans())
def test_units_change_nothing(weighting, a, b, single) -> None:
    x = channels(3000, [0, 7], noise=1.0)
    x = x if single else x.astype(float)
    plain = correlate_pairs(x, FS, weighting=weighting, nperseg=256)
    scale = np.array([[10.0**a], [10.0**b]])
    scaled = correlate_pairs((x * scale).astype(x.dtype), FS, weighting=weighting, nperseg=256)
    tolerance = 1e-4 if single else 1e-9
    np.testing.assert_allclose(scaled.r, plain.r, atol=tolerance)
    np.testing.assert_allclose(scaled.delay_s * FS, plain.delay_s * FS, atol=tolerance)
    np.testing.assert_allclose(scaled.delay_sd_s, plain.delay_sd_s, rtol=100 * tolerance)


def test_powers_of_two_and_ends_of_the_range() -> None:
    x = channels(3000, [0, 7], noise=1.0)
    plain = correlate_pairs(x, FS, nperseg=256)
    for power in (-120, 100):  # powers of the samples leave the range of float32
        scaled = correlate_pairs(np.ldexp(x, power), FS, nperseg=256)
        np.testing.assert_allclose(scaled.delay_s, plain.delay_s, rtol=1e-5)
    huge = correlate_pairs(x.astype(float) * 1e250, FS, nperseg=256)
    np.testing.assert_allclose(huge.delay_s, plain.delay_s, rtol=1e-5)


@pytest.mark.parametrize("weighting", tde.WEIGHTINGS)
def test_dc_changes_nothing(weighting) -> None:
    x = channels(3000).astype(float)
    plain = correlate_pairs(x, FS, weighting=weighting, nperseg=256)
    moved = correlate_pairs(x + np.array([[1e3], [-50], [0], [7], [2e3]]), FS, weighting=weighting, nperseg=256)
    np.testing.assert_allclose(moved.r, plain.r, atol=1e-8)
    np.testing.assert_allclose(moved.delay_s, plain.delay_s, atol=1e-8)


def test_no_wrap_around() -> None:
    # the source arrives 0.85 of a segment later: a circular correlation would show it at -0.15
    s = np.random.default_rng(3).standard_normal(40 * 256)
    found = correlate_pairs([s, np.roll(s, round(0.85 * 256))], FS, weighting="cc", nperseg=256)
    assert found.lags_s[-1] <= 64 / FS
    wrapped = found.r[0][np.abs(found.lags_s + 0.15 * 256 / FS) < 0.003].max()
    assert wrapped < 5 * np.sqrt(np.mean(found.r**2))
    with pytest.raises(ValueError, match=r"at most a quarter of a segment, 0\.064 s, is 0\.065"):
        correlate_pairs([s, s], FS, nperseg=256, max_delay_s=0.065)


@pytest.mark.parametrize("weighting", tde.WEIGHTINGS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bad_sample_spoils_its_own_pairs_only(weighting, bad, dtype) -> None:
    x = channels(3000).astype(dtype)
    clean = correlate_pairs(x, FS, weighting=weighting, nperseg=256)
    x[2, 1234] = bad
    with np.errstate(invalid="ignore"):
        found = correlate_pairs(x, FS, weighting=weighting, nperseg=256)
    hit = (found.pairs == 2).any(axis=1)
    for name in ("r", "delay_s", "peak", "delay_sd_s", "coherence"):
        assert np.isnan(getattr(found, name)[hit]).all(), name
        np.testing.assert_array_equal(getattr(found, name)[~hit], getattr(clean, name)[~hit], err_msg=name)


@pytest.mark.parametrize("weighting", tde.WEIGHTINGS)
def test_silence_has_no_say(weighting) -> None:
    x = channels(3000)
    x[2] = 0.0
    found = correlate_pairs(x, FS, weighting=weighting, nperseg=256)
    hit = (found.pairs == 2).any(axis=1)
    assert not found.r[hit].any() and not found.peak[hit].any() and not found.coherence[hit].any()
    assert np.isnan(found.delay_s[hit]).all() and np.isinf(found.delay_sd_s[hit]).all()
    np.testing.assert_allclose(found.delay_s[~hit], true(found.pairs[~hit]), atol=0.5 / FS)


def test_silent_lines_have_no_say() -> None:
    f, s = csd_matrix(channels(noise=0.1), FS, nperseg=256)
    s[40:90] = 0.0
    for weighting in tde.WEIGHTINGS:
        found = from_spectra(f, s, weighting=weighting)
        assert np.isfinite(found.r).all()
        np.testing.assert_allclose(found.delay_s, true(found.pairs), atol=0.5 / FS)


def test_a_nan_outside_the_band_is_nobodys() -> None:
    f, s = csd_matrix(channels(), FS, nperseg=256)
    plain = from_spectra(f, s, band=(50.0, 300.0))
    s[:5] = np.nan
    found = from_spectra(f, s, band=(50.0, 300.0))
    np.testing.assert_array_equal(found.delay_s, plain.delay_s)
    np.testing.assert_array_equal(found.r, plain.r)


def test_polarity_is_signed() -> None:
    x = channels(noise=0.1)
    x[1] *= -1
    ask = {"nperseg": 256, "pairs": [(0, 1), (0, 2)]}
    either = correlate_pairs(x, FS, polarity="either", **ask)
    np.testing.assert_allclose(either.delay_s, true(ask["pairs"]), atol=0.1 / FS)
    assert either.peak[0] < -0.5 and either.peak[1] > 0.5
    inverted = correlate_pairs(x, FS, polarity="inverted", **ask)
    assert inverted.delay_s[0] == either.delay_s[0] and inverted.peak[0] == either.peak[0]
    same_sign = correlate_pairs(x, FS, **ask)
    assert same_sign.peak[0] < 0.3 and abs(same_sign.delay_s[0] - 7 / FS) > 0.4 / FS


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neighbours_order_and_threads_change_no_bit(dtype) -> None:
    f, s = csd_matrix(channels(5000).astype(dtype), FS, nperseg=256)
    whole = from_spectra(f, s, duration_s=5.0)
    for threads in (2, 3, 8):
        same(from_spectra(f, s, duration_s=5.0, threads=threads), whole)
    order = np.random.default_rng(5).permutation(len(whole.pairs))
    mixed = from_spectra(f, s, pairs=whole.pairs[order], duration_s=5.0)
    np.testing.assert_array_equal(mixed.r, whole.r[order])
    for q, pair in enumerate(whole.pairs):
        alone = from_spectra(f, s, pairs=[pair], duration_s=5.0)
        np.testing.assert_array_equal(alone.r[0], whole.r[q])
        assert alone.delay_s[0] == whole.delay_s[q] and alone.delay_sd_s[0] == whole.delay_sd_s[q]


def test_channels_without_a_common_pair_do_not_meet() -> None:
    x = np.concatenate([channels(4000, seed=i)[[0, 3]] for i in range(6)])
    pairs = [(2 * i, 2 * i + 1) for i in (3, 0, 5, 1)]
    for threads in (1, 3):
        found = correlate_pairs(x, FS, pairs=pairs, nperseg=256, threads=threads)
        assert found.pairs.tolist() == [list(p) for p in pairs]
        for q, (a, b) in enumerate(pairs):
            alone = correlate_pairs(x[[a, b]], FS, nperseg=256)
            np.testing.assert_array_equal(found.r[q], alone.r[0])
            np.testing.assert_array_equal(found.coherence[q], alone.coherence[0])
            assert found.delay_s[q] == alone.delay_s[0] and found.delay_sd_s[q] == alone.delay_sd_s[0]


def test_running_spectra_give_the_same() -> None:
    x = channels(5000)
    running = Running(5, FS, nperseg=256, cross=True)
    for begin in range(0, 5000, 333):
        running.push(x[:, begin : begin + 333])
    stream, whole = from_spectra(*running.csd_matrix()), correlate_pairs(x, FS, nperseg=256)
    np.testing.assert_allclose(stream.delay_s, whole.delay_s, atol=1e-5 / FS)


def test_a_band_far_from_zero_and_a_long_segment() -> None:
    # more than 2048 lines: the rotation along them starts anew
    x = channels(60000, noise=0.3)
    found = correlate_pairs(x, FS, nperseg=16384, band=(120.0, 480.0), max_delay_s=0.05)
    np.testing.assert_allclose(found.delay_s, true(found.pairs), atol=0.1 / FS)
    f, s = csd_matrix(x.astype(float), FS, nperseg=16384)
    w = np.where((f >= 120.0) & (f <= 480.0), tde.weights("ht", s[:, 0, 0].real, s[:, 1, 1].real, s[:, 0, 1]), 0.0)
    lag = tde.refine(f, w * s[:, 0, 1], found.delay_s[0], 0.5 / FS)
    wide = from_spectra(f, s, band=(120.0, 480.0), max_delay_s=0.05)
    assert wide.delay_s[0] == pytest.approx(lag, abs=1e-9 / FS)


@pytest.mark.parametrize("kind", ["strided", "int16", "float64", "list", "reversed"])
def test_kinds_of_input(kind) -> None:
    x = channels(3000)
    plain = correlate_pairs(x, FS, nperseg=256)
    if kind == "strided":
        x = np.repeat(x, 2, axis=1)[:, ::2]
    elif kind == "int16":
        x = np.round(1000 * x).astype(np.int16)
    elif kind == "float64":
        x = x.astype(float)
    elif kind == "list":
        x = list(x)
    else:
        x = x[::-1].copy()[::-1]
    found = correlate_pairs(x, FS, nperseg=256)
    np.testing.assert_allclose(found.delay_s, plain.delay_s, atol=1e-2 / FS)


def test_odd_segments_and_short_records() -> None:
    x = channels(3000)
    odd = correlate_pairs(x, FS, nperseg=255)
    np.testing.assert_allclose(odd.delay_s, true(odd.pairs), atol=0.2 / FS)
    with pytest.warns(UserWarning, match="greater than the input's length"):
        short = correlate_pairs(x[:, :100], FS, nperseg=256)
    assert short.f.size == 51 and np.isfinite(short.delay_s).all()


def test_nothing_asked_nothing_given() -> None:
    found = correlate_pairs(channels(3000), FS, nperseg=256, pairs=np.empty((0, 2), int))
    assert found.r.shape == (0, 257) and found.delay_s.size == 0
    assert correlate_pairs(channels(3000)[:1], FS, nperseg=256).pairs.shape == (0, 2)


def test_duration_is_what_the_segments_cover() -> None:
    x = channels(1000)
    f, s = csd_matrix(x, FS, nperseg=256, noverlap=100)
    whole = correlate_pairs(x, FS, nperseg=256, noverlap=100)
    same(from_spectra(f, s, duration_s=(4 * 156 + 256) / FS), whole)
    assert np.isnan(from_spectra(f, s).delay_sd_s).all()


X = np.zeros((3, 600), np.float32)
F, S = np.arange(9.0), np.ones((9, 2, 2), complex)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: correlate_pairs(X[0]), r"x must be real samples \[n_ch, n\], is float32 of shape \(600,\)"),
    (lambda: correlate_pairs(X[:, :0]), r"x must be real samples \[n_ch, n\], is float32 of shape \(3, 0\)"),
    (lambda: correlate_pairs(X + 1j), "is complex64"),
    (lambda: correlate_pairs(X, nperseg=64, pairs=[(0, 3)]), r"pairs must lie within 0 \.\. 2, run from 0 to 3"),
    (lambda: correlate_pairs(X, nperseg=64, pairs=[(-1, 1)]), "run from -1 to 1"),
    (lambda: correlate_pairs(X, nperseg=64, pairs=[(0.5, 1)]), r"whole numbers \[n_pairs, 2\], are float64"),
    (lambda: correlate_pairs(X, nperseg=64, pairs=[0, 1]), r"of shape \(2,\)"),
    (lambda: correlate_pairs(X, nperseg=64, weighting="best"), "weighting must be one of cc, roth, scot, phat, ht, is 'best'"),
    (lambda: correlate_pairs(X, nperseg=64, polarity="up"), "polarity must be one of same, inverted, either, is 'up'"),
    (lambda: correlate_pairs(X, nperseg=64, band=(3, 2)), r"band must rise from 0 or more, is \(3, 2\)"),
    (lambda: correlate_pairs(X, nperseg=64, band=(0.101, 0.102)), "band must hold at least one frequency"),
    (lambda: correlate_pairs(X, nperseg=64, max_delay_s=0.0), "max_delay_s must be above 0"),
    (lambda: correlate_pairs(X, nperseg=64, finer=1), "finer must be a whole number of 2 or more, is 1"),
    (lambda: correlate_pairs(X, nperseg=64, threads=0), "threads"),
    (lambda: from_spectra(F, S[:, :, :1]), r"s must be \[n_f, n_ch, n_ch\]"),
    (lambda: from_spectra(F[:4], S), r"s must be \[n_f, n_ch, n_ch\]"),
    (lambda: from_spectra(F, S, nperseg=20), "nperseg must be 16 or 17 for 9 frequencies, is 20"),
])
def test_refusals(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
