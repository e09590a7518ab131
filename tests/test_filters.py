"""Second-order sections and detrending: scipy, the twin, any cut, NaN, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from lifeline_core.dsp.dcblock import DcBlock
from lifeline_core.dsp.designs import notch_bank
from lifeline_core.dsp.filters import SosFilter, bandpass, detrend, highpass, sosfilt, sosfiltfilt, steady_state
from lifeline_core.errors import StateError
from tests.twins import filters as twin

FLOAT32 = 6e-8  # of the largest value: one rounding of the answer
DOUBLE = 1e-11  # rounding in another order, through the resonance of the sections below


def ugly(rng: np.random.Generator, *shape: int) -> np.ndarray:
    x = rng.normal(0, 1, shape)
    x[rng.random(shape) < 0.01] = np.nan
    x[rng.random(shape) < 0.005] = np.inf
    return x


def design(sections: int) -> np.ndarray:
    return signal.butter(2 * sections, 0.05, "highpass", output="sos")


@pytest.mark.parametrize("sections", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("shape", [(300,), (1, 129), (3, 500), (8, 40), (13, 1000), (2, 3, 77)])
def test_as_scipy(sections: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(sections)
    x, sos = rng.normal(0, 1, shape), design(sections)
    zi = rng.normal(0, 1, (sections, *shape[:-1], 2))
    y, zf = sosfilt(sos, x, zi)
    expected, z_expected = signal.sosfilt(sos, x, zi=zi)
    np.testing.assert_allclose(y, expected, atol=DOUBLE)
    np.testing.assert_allclose(zf, z_expected, atol=DOUBLE)
    narrow, _ = sosfilt(sos, x.astype(np.float32))
    assert narrow.dtype == np.float32
    exact = signal.sosfilt(sos, x.astype(np.float32).astype(np.float64))
    np.testing.assert_allclose(narrow, exact, atol=FLOAT32 * max(1, np.abs(exact).max()))


def test_low_corners_keep_their_precision() -> None:
    """With a float32 state this band is wrong by tens of times."""
    sos = signal.butter(4, [1e-4, 2e-2], "bandpass", output="sos")
    x = np.random.default_rng(0).normal(0, 1, 60_000).astype(np.float32)
    exact = signal.sosfilt(sos, x.astype(np.float64))
    np.testing.assert_allclose(sosfilt(sos, x)[0], exact, atol=1e-6 * np.abs(exact).max())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 700), st.integers(1, 11), st.integers(1, 5),
       st.sampled_from([np.float32, np.float64]))
def test_equals_the_twin_over_any_cut(seed, n, rows, sections, dtype) -> None:
    rng = np.random.default_rng(seed)
    x, sos = ugly(rng, rows, n).astype(dtype), design(sections)
    whole, _ = sosfilt(sos, x)
    row = int(rng.integers(rows))
    expected = twin.sosfilt(sos, x[row])
    np.testing.assert_allclose(whole[row], expected, atol=1e-6 if dtype == np.float32 else DOUBLE)
    assert np.array_equal(np.isnan(whole), ~np.isfinite(x))

    stream, parts = SosFilter(sos, rows), []
    for a, b in pairwise(sorted({0, n, *rng.integers(0, n + 1, 4)})):
        parts.append(stream.push(np.ascontiguousarray(x[:, a:b])))
        saved, stream = stream.save(), SosFilter(sos, rows)
        stream.load(saved)
    assert np.concatenate(parts, axis=1).tobytes() == whole.tobytes()
    # a row by itself is what it is among others
    assert sosfilt(sos, x[row])[0].tobytes() == whole[row].tobytes()


def test_threads_and_out_change_nothing() -> None:
    x, sos = ugly(np.random.default_rng(4), 13, 400).astype(np.float32), design(3)
    y, zf = sosfilt(sos, x)
    for threads in (2, 3, 50):
        other, z_other = sosfilt(sos, x, threads=threads)
        assert other.tobytes() == y.tobytes()
        assert z_other.tobytes() == zf.tobytes()
    given_out = np.empty_like(x)
    assert sosfilt(sos, x, out=given_out)[0].base is given_out
    assert given_out.tobytes() == y.tobytes()
    assert SosFilter(sos, 13).push(x, threads=2).tobytes() == y.tobytes()
    clean = np.nan_to_num(x, posinf=0)
    assert sosfiltfilt(sos, clean, threads=3).tobytes() == sosfiltfilt(sos, clean).tobytes()
    assert detrend(clean, threads=3).tobytes() == detrend(clean).tobytes()
    in_place = x.copy()
    sosfilt(sos, in_place, out=in_place)
    assert in_place.tobytes() == y.tobytes()


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
def test_silence_ends_in_zeros_not_in_denormals(rows: int) -> None:
    """A pole at 0.9 decays below 2.2e-308 after some 7,000 samples; the cut at any place changes nothing."""
    sos = signal.butter(2, 0.05, output="sos")
    x = np.zeros((rows, 12_000))
    x[:, 0] = 1e-30
    whole = SosFilter(sos, rows)
    y = whole.push(x)
    assert not np.any((y != 0) & (np.abs(y) < np.finfo(np.float64).tiny))
    assert not np.any(whole.z) or np.abs(whole.z).max() >= np.finfo(np.float64).tiny
    cut = SosFilter(sos, rows)
    parts = [cut.push(np.ascontiguousarray(p)) for p in np.split(x, [1, 6000, 6001, 9000], axis=1)]
    assert np.concatenate(parts, axis=1).tobytes() == y.tobytes()
    denormal = np.full((rows, 10), 1e-40, np.float32)
    assert not np.any(sosfilt(sos, denormal)[0])


@pytest.mark.parametrize("sections", [1, 2, 4, 5])
@pytest.mark.parametrize("shape", [(300,), (2, 129), (3, 500), (13, 1000), (2, 3, 77)])
@pytest.mark.parametrize("padtype", ["odd", "even", "constant", None])
def test_to_and_fro_as_scipy(sections: int, shape: tuple[int, ...], padtype: str | None) -> None:
    x, sos = np.random.default_rng(sections).normal(3, 1, shape), signal.butter(2 * sections, [0.1, 0.3], "bandpass", output="sos")
    sos = sos[:sections] if sections != 5 else np.concatenate([sos, signal.butter(1, 0.2, output="sos")])[:5]
    expected = signal.sosfiltfilt(sos, x, padtype=padtype, padlen=20)
    np.testing.assert_allclose(sosfiltfilt(sos, x, padtype=padtype, padlen=20), expected, atol=1e-10 * np.abs(expected).max())
    narrow = sosfiltfilt(sos, x.astype(np.float32), padtype=padtype, padlen=20)
    assert narrow.dtype == np.float32
    exact = signal.sosfiltfilt(sos, x.astype(np.float32).astype(np.float64), padtype=padtype, padlen=20)
    np.testing.assert_allclose(narrow, exact, atol=FLOAT32 * max(1, np.abs(exact).max()))


def test_to_and_fro_pads_by_itself_as_scipy() -> None:
    x = np.random.default_rng(1).normal(0, 1, 200)
    for sos in (design(2), signal.butter(3, 0.2, output="sos"), signal.butter(3, [0.1, 0.2], "bandpass", output="sos")):
        np.testing.assert_allclose(sosfiltfilt(sos, x), signal.sosfiltfilt(sos, x), atol=1e-10)


@pytest.mark.parametrize("rows", [1, 2, 3, 9])
def test_to_and_fro_passes_over_what_is_not_finite(rows: int) -> None:
    rng = np.random.default_rng(2)
    x, sos = ugly(rng, rows, 260), design(2)
    x[0, 0] = np.nan
    y = sosfiltfilt(sos, x, padlen=15)
    assert np.array_equal(np.isnan(y), ~np.isfinite(x))
    zi = signal.sosfilt_zi(sos)
    for row in range(rows):
        np.testing.assert_allclose(y[row], twin.sosfiltfilt(sos, x[row], zi, 15), atol=1e-10)
        assert sosfiltfilt(sos, x[row], padlen=15).tobytes() == y[row].tobytes()
    assert np.isnan(sosfiltfilt(sos, np.full((rows, 50), np.nan))).all()


def test_steady_state_is_scipys() -> None:
    sharp = signal.iirfilter(4, [0.1, 0.2], ftype="ellip", rp=1, rs=60, output="sos")
    for sos in (design(3), signal.butter(5, 0.2, output="sos"), sharp):
        np.testing.assert_allclose(steady_state(sos[:, [0, 1, 2, 4, 5]]), signal.sosfilt_zi(sos), rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="pole at 0 Hz"):
        sosfiltfilt([[1, 0, 0, 1, -1, 0]], np.ones(50))


def test_an_offset_makes_no_step() -> None:
    rng = np.random.default_rng(3)
    x = (9.81 + 0.1 * rng.normal(0, 1, (3, 900))).astype(np.float32)
    x[1, :5] = np.nan
    block = DcBlock(100.0, 0.5, 3)
    y = block.push(x)
    assert np.isnan(y[1, :5]).all()
    assert np.nanmax(np.abs(y)) < 1.0
    steady = DcBlock(100.0, 0.5, 1).push(np.full((1, 50), 1e6, np.float32))
    assert np.abs(steady).max() < 1e-3  # 1e-9 of the level
    sos = signal.butter(1, 0.5, "highpass", fs=100, output="sos")
    expected = signal.sosfilt(sos, x[0].astype(float), zi=signal.sosfilt_zi(sos) * float(x[0, 0]))[0]
    np.testing.assert_allclose(y[0], expected, atol=1e-6)

    stream, parts = DcBlock(100.0, 0.5, 3), []
    for a, b in pairwise([0, 3, 4, 6, 300, 900]):
        parts.append(stream.push(np.ascontiguousarray(x[:, a:b])))
        saved, stream = stream.save(), DcBlock(100.0, 0.5, 3)
        stream.load(saved)
    assert np.concatenate(parts, axis=1).tobytes() == y.tobytes()
    with pytest.raises(StateError, match="other parameters"):
        DcBlock(100.0, 0.6, 3).load(saved)


def test_notches() -> None:
    sos = notch_bank(1000.0, 50.0)
    assert sos.shape == (9, 6)  # 50 to 450; 500 is fs / 2
    for k, section in enumerate(sos, 1):
        b, a = signal.iirnotch(50.0 * k, 30.0, fs=1000.0)
        np.testing.assert_allclose(section, [*b, *a], atol=1e-12)
    t = np.arange(20_000) / 1000
    hum = sum(np.sin(2 * np.pi * 50 * k * t + k) for k in range(1, 10))
    y, _ = sosfilt(sos, hum + np.sin(2 * np.pi * 77 * t))
    rest = y[10_000:]
    assert np.std(rest) == pytest.approx(np.sqrt(0.5), rel=0.02)
    assert np.abs(np.fft.rfft(rest * np.hanning(len(rest)))[500::500]).max() < 1e-3 * len(rest)
    assert len(notch_bank(1000.0, 60.0, harmonics=[1, 3, 3, 99])) == 2
    assert len(notch_bank(1000.0, 60.0, harmonics=2)) == 2
    with pytest.raises(ValueError, match="harmonics must be 1 or more"):
        notch_bank(1000.0, harmonics=[0, 1])
    with pytest.raises(ValueError, match="q must be above 1"):
        notch_bank(1000.0, q=1.0)
    with pytest.raises(ValueError, match="must rise between 0 and fs / 2 = 25 Hz"):
        notch_bank(50.0)
    with pytest.raises(ValueError, match="1 to 64 notches"):
        notch_bank(10_000.0)


@pytest.mark.parametrize("make", [lambda x: x[::2, ::3], lambda x: (100 * x).astype(np.int16), lambda x: x[:, :1],
                                  lambda x: x[..., None]])
def test_any_array(make) -> None:
    x, sos = make(np.random.default_rng(5).normal(0, 1, (6, 90))), design(2)
    plain = np.ascontiguousarray(x, np.float64)
    np.testing.assert_array_equal(sosfilt(sos, x)[0], sosfilt(sos, plain)[0])
    np.testing.assert_array_equal(sosfiltfilt(sos, x, padlen=0), sosfiltfilt(sos, plain, padlen=0))


def test_a_settled_filter_sees_no_step() -> None:
    f = SosFilter(highpass(100.0, 0.1), 2)
    f.settle(0, 9.81)
    y = f.push(np.full((2, 500), 9.81, np.float32))
    assert np.abs(y[0]).max() < 1e-6  # 9.81 as float32 is off by 1.5e-7
    assert y[1, 0] == pytest.approx(9.81, rel=0.01)


def test_designs_are_scipys() -> None:
    np.testing.assert_array_equal(highpass(200.0, 0.1), signal.butter(2, 0.1, "highpass", fs=200.0, output="sos"))
    np.testing.assert_array_equal(bandpass(50.0, 0.16, 10.0, 4), signal.butter(4, [0.16, 10], "bandpass", fs=50, output="sos"))


@pytest.mark.parametrize("kind", ["constant", "linear"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_detrend_as_scipy(kind: str, dtype) -> None:
    x = (np.random.default_rng(0).normal(5, 1, (3, 1001)) + np.linspace(0, 100, 1001)).astype(dtype)
    y = detrend(x, kind)
    assert y.dtype == dtype
    expected = signal.detrend(x.astype(np.float64), type=kind)
    np.testing.assert_allclose(y, expected, atol=1e-5 if dtype == np.float32 else 1e-10)  # of values up to 105
    x[1, 7] = np.nan
    spoilt = detrend(x, kind)
    assert np.isnan(spoilt[1]).all()
    assert spoilt[[0, 2]].tobytes() == y[[0, 2]].tobytes()
    assert detrend([3.0], kind).tolist() == [0.0]


def test_refusals() -> None:
    sos = design(2)
    with pytest.raises(ValueError, match="the input is empty"):
        sosfilt(sos, [])
    with pytest.raises(ValueError, match=r"zi must have shape \(2, 3, 2\), has \(2, 2\)"):
        sosfilt(sos, np.ones((3, 5)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="the shape must be"):
        sosfilt(np.ones((2, 5)), [1.0])
    with pytest.raises(ValueError, match=r"a0 = 1, a0 is \[2.0\]"):
        sosfilt([[1, 0, 0, 2, 0, 0]], [1.0])
    with pytest.raises(ValueError, match=r"corner frequencies must rise between 0 and fs / 2 = 50 Hz, are \[60.0\]"):
        highpass(100.0, 60.0)
    with pytest.raises(ValueError, match="must rise"):
        bandpass(100.0, 10.0, 5.0)
    with pytest.raises(ValueError, match="padlen must be at least 0 and below the 15 samples, is 15"):
        sosfiltfilt(sos, np.ones(15))
    with pytest.raises(ValueError, match='padtype must be "odd", "even", "constant" or None, is \'wrap\''):
        sosfiltfilt(sos, np.ones(50), padtype="wrap")
    with pytest.raises(ValueError, match=r"out must be contiguous float64 of shape \(5,\), is float32 of shape \(5,\)"):
        sosfilt(sos, np.ones(5), out=np.empty(5, np.float32))
    with pytest.raises(ValueError, match="2 rows are filtered, x has 3"):
        SosFilter(sos, 2).push(np.ones((3, 5)), threads=2)
    with pytest.raises(ValueError, match="threads must be a whole number"):
        sosfilt(sos, np.ones(5), threads=0)
    with pytest.raises(ValueError, match="kind must be"):
        detrend([1.0, 2.0], "quadratic")
    with pytest.raises(StateError, match="other parameters"):
        SosFilter(design(1), 1).load(SosFilter(highpass(10.0, 1.0), 1).save())
    with pytest.raises(StateError, match="another kind, version or size"):
        SosFilter(sos, 2).load(SosFilter(sos, 1).save())
