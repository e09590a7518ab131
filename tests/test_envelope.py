"""Envelopes: known numbers, scipy, the twins, the band that is promised, any cut, NaN, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from lifeline_core.dsp.envelope import BETA, Envelope, envelope
from lifeline_core.errors import StateError
from tests.twins import envelope as twin

FLOAT32 = 2e-6  # of the largest sample: log2(n) stages of rounding, or d / 2 products
DOUBLE = 1e-12
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def tolerance(dtype) -> float:
    return FLOAT32 if dtype == np.float32 else DOUBLE


def test_of_a_tone_is_its_amplitude() -> None:
    t = np.arange(200)
    np.testing.assert_allclose(envelope(3 * np.cos(2 * np.pi * 20 * t / 200)), 3, atol=1e-12)
    beat = (2 + np.cos(2 * np.pi * 2 * t / 200)) * np.sin(2 * np.pi * 40 * t / 200)
    np.testing.assert_allclose(envelope(beat), 2 + np.cos(2 * np.pi * 2 * t / 200), atol=1e-12)


def test_by_hand() -> None:
    assert envelope([1.0, 0, -1, 0]).tolist() == [1, 1, 1, 1]
    assert envelope([5.0]).tolist() == [5.0]
    assert envelope([-2.0, 3.0]).tolist() == [2.0, 3.0]  # mean and Nyquist frequency have no quadrature


@DTYPES
@pytest.mark.parametrize("n", [1, 2, 3, 8, 97, 500, 4096, 4099])
def test_as_scipy_and_the_twin(dtype, n: int) -> None:
    x = np.random.default_rng(1).normal(0, 1, (3, n)).astype(dtype)
    ours = envelope(x)
    assert ours.dtype == dtype
    np.testing.assert_allclose(ours, np.abs(signal.hilbert(x)), atol=5 * tolerance(dtype))
    np.testing.assert_allclose(ours[1], twin.envelope(x[1]), atol=5 * tolerance(dtype))


def test_rows_do_not_know_of_each_other_nor_of_threads() -> None:
    x = np.random.default_rng(2).normal(0, 1, (11, 700)).astype(np.float32)
    whole = envelope(x)
    for threads in (2, 3):
        assert envelope(x, threads=threads).tobytes() == whole.tobytes()
    assert np.stack([envelope(row) for row in x]).tobytes() == whole.tobytes()
    bad = x.copy()
    bad[4, 100], bad[5, 1] = np.nan, np.inf
    spoilt = envelope(bad)
    assert np.isnan(spoilt[[4, 5]]).all()
    assert np.delete(spoilt, [4, 5], 0).tobytes() == np.delete(whole, [4, 5], 0).tobytes()


def test_dtypes_strides_and_out() -> None:
    x = np.random.default_rng(3).integers(-1000, 1000, (64, 4)).astype(np.int16)
    assert envelope(x.T).dtype == np.float64
    assert envelope(x.T).tobytes() == envelope(np.ascontiguousarray(x.T.astype(float))).tobytes()
    y = np.ascontiguousarray(x.T.astype(np.float32))
    expected, same = envelope(y), envelope(y, out=y)
    assert np.shares_memory(same, y)
    assert y.tobytes() == expected.tobytes()
    for scale in (1e30, 1e-30):  # a float's square would be Inf, or 0
        assert envelope(np.float32([scale, 0, -scale, 0])).tolist() == [np.float32(scale)] * 4


def test_refusals() -> None:
    with pytest.raises(ValueError, match="envelope: the input is empty"):
        envelope([])
    with pytest.raises(ValueError, match="out must be contiguous float64"):
        envelope([1.0, 2.0], out=np.empty(3))
    with pytest.raises(ValueError, match="threads must be a whole number of at least 1, not 0"):
        envelope([1.0, 2.0], threads=0)
    with pytest.raises(ValueError, match="taps must be odd and 15 to 2047, are 64"):
        Envelope(1, taps=64)
    with pytest.raises(ValueError, match="at least one row is needed, are 0"):
        Envelope(0)
    with pytest.raises(ValueError, match="a block must be float32 or float64, is int16"):
        Envelope(1).push(np.zeros((1, 5), np.int16))
    with pytest.raises(ValueError, match=r"x must have 2 rows and out its shape, are \(1, 5\) and \(1, 5\)"):
        Envelope(2).push(np.zeros((1, 5)))


@pytest.mark.parametrize("taps", [15, 17, 63, 65, 255, 1023])
def test_band_of_one_percent(taps: int) -> None:
    """The gain of the transformer at frequencies over the promised band, from the answer to an impulse."""
    e = Envelope(1, taps)
    impulse = np.zeros((1, taps))
    impulse[0, 0] = 1
    size = e.push(impulse)[0]  # |h|, and 1 in the middle where h is 0
    size[e.delay] = 0
    size[e.delay + 1 :] *= -1
    f = np.linspace(*e.band, 300)
    gain = np.abs(np.exp(-2j * np.pi * np.outer(f, np.arange(taps))) @ size)
    assert np.max(np.abs(gain - 1)) < 0.01
    assert e.band[0] * taps == pytest.approx(1.5)


def test_stream_finds_the_amplitude_in_the_band() -> None:
    n = np.arange(2000)
    e = Envelope(1)
    for f in (e.band[0], 0.1, 0.25, e.band[1]):
        e.reset()
        answer = e.push(2 * np.sin(2 * np.pi * f * n + 0.3)[None])[0, 2 * e.delay :]
        assert np.max(np.abs(answer - 2)) < 0.02


def test_stream_is_late_by_its_delay() -> None:
    x = np.zeros((1, 300))
    x[0, 120] = 7.0
    e = Envelope(1, 31)
    answer = e.push(x)[0]
    assert int(np.argmax(answer)) == 120 + e.delay
    assert answer[120 + e.delay] == 7.0
    assert not answer[:120].any()


@DTYPES
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 2600), taps=st.sampled_from([15, 17, 33, 63]))
def test_stream_equals_the_twin_over_any_cut(dtype, seed, n, taps) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.normal(0, 1, (2, n)) * np.where(rng.random((2, n)) < 0.01, 100, 1)).astype(dtype)
    x[1, rng.random(n) < 0.003] = np.nan
    x[1, rng.random(n) < 0.003] = -np.inf
    whole = Envelope(2, taps).push(x)
    assert whole.dtype == dtype
    few = min(n, 300)
    for row in range(2):
        expected = twin.running(x[row, :few], taps, BETA)
        np.testing.assert_allclose(whole[row, :few], expected, atol=tolerance(dtype) * np.nanmax(np.abs(x), initial=1,
                                                                                                where=np.isfinite(x)))
    stream, parts = Envelope(2, taps), []
    for a, b in pairwise(sorted({0, n, *rng.integers(0, n + 1, 5)})):
        parts.append(stream.push(np.ascontiguousarray(x[:, a:b]), threads=int(rng.integers(1, 3))))
        state = stream.save()
        stream = Envelope(2, taps)
        stream.load(state)
    assert np.concatenate(parts, axis=1).tobytes() == whole.tobytes()
    assert Envelope(1, taps).push(x[1:]).tobytes() == whole[1:].tobytes()


@DTYPES
def test_in_place_and_denormal_samples(dtype) -> None:
    x = np.random.default_rng(4).normal(0, 1, (2, 3000)).astype(dtype)
    expected = Envelope(2).push(x)
    y = x.copy()
    Envelope(2).push(y, y)
    assert y.tobytes() == expected.tobytes()
    tiny = Envelope(2).push(x * np.finfo(dtype).tiny / 8)
    assert np.all((tiny >= 0) & (tiny < 1e-30))


def test_state_of_another() -> None:
    with pytest.raises(StateError, match="other parameters"):
        Envelope(2, 31).load(Envelope(1, 61).save())
    with pytest.raises(StateError, match="another kind, version or size"):
        Envelope(1, 31).load(Envelope(1, 31).save()[:-1])
    e = Envelope(1, 31)
    e.push(np.ones((1, 9)))
    other = e.copy()
    assert other.save() == e.save()
    assert other.push(np.ones((1, 9))).tobytes() == e.push(np.ones((1, 9))).tobytes()
