"""Decimation: the filter's promise, scipy, the twin, any cut, NaN, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from lifeline_core.dsp.decimate import Decimator, decimate
from lifeline_core.dsp.designs import decimation_taps
from lifeline_core.errors import StateError
from tests.twins import decimate as twin


def test_by_hand() -> None:
    assert decimate([0.0, 1, 2, 3, 4, 5, 6], 3, taps=[0.25, 0.5, 0.25]).tolist() == [0.25, 3.0, 4.25]
    assert decimate([4.0, 2.0, 7.0], 1).tolist() == [4.0, 2.0, 7.0]
    assert decimate([4.0, 2.0, 7.0], 2, taps=[1.0]).tolist() == [4.0, 7.0]
    assert decimate([[4.0]], 5).shape == (1, 1)


@pytest.mark.parametrize("q", [2, 3, 4, 5, 8, 10, 25, 100])
def test_the_filter_keeps_its_promise(q: int) -> None:
    taps = decimation_taps(q)
    assert len(taps) == 52 * q + 1
    np.testing.assert_allclose(taps, taps[::-1], atol=1e-15)
    f, h = signal.freqz(taps.astype(np.float32), worN=1 << 17)
    f, db = f / np.pi * q, 20 * np.log10(np.abs(h) + 1e-12)
    assert np.abs(db[f <= 0.8]).max() < 1e-3
    assert db[f >= 1.0].max() <= -80.0


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 9, 15, 16, 17, 105, 128, 129, 300])
@pytest.mark.parametrize("q", [1, 2, 5, 40])
def test_as_the_twin(length: int, q: int) -> None:
    rng = np.random.default_rng(length)
    for shape in ((1, 1), (1, 30), (3, 701)):
        x, taps = rng.normal(0, 1, shape), rng.normal(0, 1, length)
        expected = np.array([twin.decimate(row, q, taps) for row in x])
        np.testing.assert_allclose(decimate(x, q, taps=taps), expected, atol=1e-12)
        narrow = decimate(x.astype(np.float32), q, taps=taps)
        assert narrow.dtype == np.float32
        # taps, samples and answers are each rounded to float32
        np.testing.assert_allclose(narrow, expected, atol=3e-7 * np.abs(taps).sum() * np.abs(x).max())


def test_as_scipys_resampling_with_the_same_taps() -> None:
    x = np.random.default_rng(0).normal(0, 1, (2, 5000))
    expected = signal.resample_poly(x, 1, 6, axis=-1, window=decimation_taps(6))
    np.testing.assert_allclose(decimate(x, 6), expected, atol=1e-12)


@pytest.mark.parametrize("q", [2, 50])
def test_float32_sums_suffice(q: int) -> None:
    """The worst input for the filter: full scale with the signs of the taps."""
    taps = decimation_taps(q).astype(np.float32).astype(np.float64)
    x = np.where(taps >= 0, 1, -1).astype(np.float32) * np.float32(0.999)
    x = np.stack([x, np.ones_like(x)])
    exact = signal.resample_poly(x.astype(np.float64), 1, q, axis=-1, window=taps)
    np.testing.assert_allclose(decimate(x, q, taps=taps), exact, atol=1e-6)


def test_a_slow_sine_keeps_its_place_and_a_fast_one_goes() -> None:
    t = np.arange(8000) / 1000.0
    y = decimate(np.sin(2 * np.pi * 7 * t) + np.sin(2 * np.pi * 70 * t), 10)
    np.testing.assert_allclose(y[60:-60], np.sin(2 * np.pi * 7 * t[::10])[60:-60], atol=3e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 900), st.integers(1, 4), st.integers(1, 12),
       st.sampled_from([np.float32, np.float64]))
def test_stream_equals_whole_over_any_cut(seed, n, rows, q, dtype) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (rows, n)).astype(dtype)
    x[rng.random((rows, n)) < 0.002] = np.nan
    whole = Decimator(q, rows).push(x)
    stream, parts = Decimator(q, rows), []
    for a, b in pairwise([0, *sorted({*rng.integers(1, n + 1, 4), n})]):
        parts.append(stream.push(np.ascontiguousarray(x[:, a:b])))
        saved, stream = stream.save(), Decimator(q, rows)
        stream.load(saved)
    assert np.concatenate(parts, axis=1).tobytes() == whole.tobytes()
    # the array form is the same numbers, moved by the delay
    later = whole[:, int(stream.delay_samples) // q :]
    assert decimate(x, q)[:, : later.shape[1]].tobytes() == later.tobytes()
    row = int(rng.integers(rows))
    assert decimate(x[row], q).tobytes() == decimate(x, q, threads=3)[row].tobytes()


def test_nan_stays_in_its_windows() -> None:
    x = np.random.default_rng(1).normal(0, 1, (2, 900)).astype(np.float32)
    clean = decimate(x, 4)
    for bad in (np.nan, np.inf):
        x[0, 500] = bad
        y = decimate(x, 4)
        holds = np.abs(4 * np.arange(225) - 500) <= 104
        assert np.array_equal(np.isnan(y[0]), holds)
        assert y[0, ~holds].tobytes() == clean[0, ~holds].tobytes()
        assert y[1].tobytes() == clean[1].tobytes()


def test_any_array() -> None:
    x = np.random.default_rng(2).normal(0, 100, (4, 300))
    np.testing.assert_array_equal(decimate(x[::2, ::2], 3), decimate(np.ascontiguousarray(x[::2, ::2]), 3))
    np.testing.assert_array_equal(decimate(x.astype(np.int16), 3), decimate(x.astype(np.int16).astype(float), 3))
    assert decimate(x.reshape(2, 2, 300), 7).shape == (2, 2, 43)
    assert not np.any(decimate(np.full(300, 1e-40, np.float32), 3))  # numbers this small count as 0


def test_refusals() -> None:
    with pytest.raises(ValueError, match="the input is empty"):
        decimate([], 2)
    with pytest.raises(ValueError, match="q must be a whole number of at least 1, is 0"):
        decimate([1.0], 0)
    with pytest.raises(ValueError, match=r"is 2\.5"):
        Decimator(2.5, 1)
    with pytest.raises(ValueError, match=r"a row of finite numbers, their shape is \(0,\)"):
        decimate([1.0], 2, taps=[])
    with pytest.raises(ValueError, match="at least one row"):
        Decimator(2, 0)
    with pytest.raises(ValueError, match="must fit x of 2 rows"):
        Decimator(2, 1).push(np.ones((2, 9)))
    with pytest.raises(ValueError, match="1 rows are filtered, x has 2"):
        Decimator(2, 1).push(np.ones((2, 9)), threads=2)
    with pytest.raises(StateError, match="another kind, version or size"):
        Decimator(2, 1).load(Decimator(3, 1).save())
    with pytest.raises(StateError, match="other parameters"):
        Decimator(2, 1, [1.0, 0.0]).load(Decimator(2, 1, [0.0, 1.0]).save())
    d = Decimator(2, 1)
    d._skip = 7
    with pytest.raises(StateError, match="damaged"):
        Decimator(2, 1).load(d.save())
