"""Second-order sections and detrending: scipy, the twin, any cut, NaN, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from lifeline_core.dsp.filters import SosFilter, bandpass, detrend, highpass, sosfilt
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
    with pytest.raises(ValueError, match="kind must be"):
        detrend([1.0, 2.0], "quadratic")
    with pytest.raises(StateError, match="other parameters"):
        SosFilter(design(1), 1).load(SosFilter(highpass(10.0, 1.0), 1).save())
    with pytest.raises(StateError, match="another kind, version or size"):
        SosFilter(sos, 2).load(SosFilter(sos, 1).save())
