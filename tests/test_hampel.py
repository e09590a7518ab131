"""Running median, MAD and Hampel's filter: the twin, any cut, NaN, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lifeline_core.dsp.hampel import Hampel, RunningMedian, hampel, running_mad, running_median
from lifeline_core.errors import StateError
from tests.twins import hampel as twin

# Lines of 1 to 4 and more vectors, their ends, and blocks, in every instruction set.
WINDOWS = [1, 3, 5, 7, 9, 15, 17, 31, 33, 47, 49, 95, 97, 101, 191, 193, 401]


def signals(rng: np.random.Generator, n: int, dtype):
    """Smooth, coarse (many equal), constant, rising, and with what is not finite."""
    yield rng.normal(0, 1, n).astype(dtype)
    yield rng.integers(-2, 3, n).astype(dtype) * dtype(0.5) * (-1) ** rng.integers(0, 2, n).astype(dtype)  # holds -0
    yield np.full(n, 7, dtype)
    yield np.arange(n, dtype=dtype)[:: -1 if rng.random() < 0.5 else 1].copy()
    x = np.round(rng.normal(0, 1, n), 1).astype(dtype)
    x[rng.random(n) < 0.01] = np.nan
    x[rng.random(n) < 0.01] = -np.inf
    yield x


def test_by_hand() -> None:
    assert running_median([1.0, 5.0, 2.0, 8.0, 3.0], 3).tolist() == [3.0, 2.0, 5.0, 3.0, 5.5]
    assert running_mad([1.0, 5.0, 2.0, 8.0, 3.0], 3).tolist() == [2.0, 1.0, 3.0, 1.0, 2.5]
    y, outliers = hampel([1.0, 1.0, 9.0, 1.0, 1.0], 3)
    assert y.tolist() == [1.0, 1.0, 1.0, 1.0, 1.0]
    assert outliers.tolist() == [False, False, True, False, False]
    assert hampel([1.0, 1.0, 9.0, 1.0, 1.0], 3, replace=False)[0].tolist() == [1.0, 1.0, 9.0, 1.0, 1.0]
    assert running_median([4.0], 9).tolist() == [4.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("window", WINDOWS)
def test_as_the_twin(window: int, dtype) -> None:
    rng = np.random.default_rng(window)
    for n in (1, window // 2, window, 3 * window + 50):
        if n < 1:
            continue
        for x in signals(rng, n, dtype):
            np.testing.assert_array_equal(running_median(x, window), twin.running_median(x, window))
            np.testing.assert_array_equal(running_mad(x, window), twin.running_mad(x, window))
            y, outliers = hampel(x, window, 2.0)
            y_expected, expected = twin.hampel(x, window, 2.0)
            np.testing.assert_array_equal(outliers, expected)
            np.testing.assert_array_equal(y, y_expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_wide_window_as_scipys_inside(dtype) -> None:
    """Blocks that split and join: levels that drift away and come back."""
    rng = np.random.default_rng(9)
    x = (rng.normal(0, 1, 30_000) + 30 * np.sin(np.arange(30_000) / 2000) + rng.integers(0, 3, 30_000)).astype(dtype)
    for window in (1001, 5001):
        h = window // 2
        np.testing.assert_array_equal(running_median(x, window)[h:-h], ndimage.median_filter(x, window)[h:-h])
    at = [501, 7777, 20_000, 29_000]
    mads = running_mad(x, 1001)
    for i in at:
        w = x[i - 500 : i + 501]
        assert mads[i] == np.median(np.abs(w - np.median(w)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 600), st.integers(1, 4), st.sampled_from([1, 3, 11, 35, 99, 201]),
       st.sampled_from([np.float32, np.float64]))
def test_stream_equals_whole_over_any_cut(seed, n, rows, window, dtype) -> None:
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(0, 1, (rows, n)), 2).astype(dtype)
    x[rng.random((rows, n)) < 0.003] = np.nan
    y, outliers = hampel(x, window)
    medians = running_median(x, window)
    stream, plain, parts, middle = Hampel(window, rows, dtype=dtype), RunningMedian(window, rows, dtype), [], []
    for a, b in pairwise([0, *sorted({*rng.integers(1, n + 1, 4), n})]):
        piece = np.ascontiguousarray(x[:, a:b])
        parts.append(stream.push(piece))
        middle.append(plain.push(piece))
        saved, stream = stream.save(), Hampel(window, rows, dtype=dtype)
        stream.load(saved)
    parts.append(stream.flush())
    middle.append(plain.flush())
    assert np.concatenate([p[0] for p in parts], axis=1).tobytes() == y.tobytes()
    assert np.concatenate([p[1] for p in parts], axis=1).tobytes() == outliers.tobytes()
    assert np.concatenate(middle, axis=1).tobytes() == medians.tobytes()
    assert plain.push(x).tobytes() == RunningMedian(window, rows, dtype).push(x).tobytes()  # begun anew
    row = int(rng.integers(rows))
    assert hampel(x[row], window)[0].tobytes() == hampel(x, window, threads=3)[0][row].tobytes()


def test_nan_stays_in_its_windows() -> None:
    x = np.random.default_rng(1).normal(0, 1, (2, 200))
    clean, _ = hampel(x, 21)
    x[0, 100] = np.inf
    y, outliers = hampel(x, 21)
    assert np.array_equal(np.flatnonzero(np.isnan(y[0])), np.arange(90, 111))
    assert not outliers[0, 90:111].any()
    keep = ~np.isnan(y)
    assert y[keep].tobytes() == clean[keep].tobytes()


def test_any_array() -> None:
    x = np.random.default_rng(2).normal(0, 100, (4, 300))
    np.testing.assert_array_equal(running_median(x[::2, ::2], 7), running_median(np.ascontiguousarray(x[::2, ::2]), 7))
    np.testing.assert_array_equal(running_median(x.astype(np.int16), 7), running_median(x.astype(np.int16).astype(float), 7))
    y, outliers = hampel(x.reshape(2, 2, 300), 7)
    assert y.shape == outliers.shape == (2, 2, 300)
    small = np.float32([1e-40, 3e-40, 2e-40])
    assert running_median(small, 3)[1] == small[2]  # nothing is computed: denormals are ordered as any number


def test_refusals() -> None:
    with pytest.raises(ValueError, match="the input is empty"):
        running_median([], 3)
    with pytest.raises(ValueError, match="window must be an odd number of samples, 1 or more, is 4"):
        hampel([1.0], 4)
    with pytest.raises(ValueError, match="is -1"):
        running_mad([1.0], -1)
    with pytest.raises(ValueError, match="n_sigmas must be 0 or more and finite, is nan"):
        hampel([1.0], 3, float("nan"))
    with pytest.raises(ValueError, match="at least one row"):
        RunningMedian(3, 0)
    with pytest.raises(ValueError, match="dtype must be float32 or float64, is int16"):
        RunningMedian(3, 1, np.int16)
    with pytest.raises(ValueError, match="the stream is of float32, the samples are float64"):
        RunningMedian(3, 1).push(np.ones((1, 4)))
    with pytest.raises(ValueError, match="in each of 1 rows"):
        RunningMedian(3, 1).push(np.ones((2, 4), np.float32))
    with pytest.raises(StateError, match="other parameters"):
        Hampel(3, 1, 2.0).load(Hampel(3, 1, 3.0).save())
    with pytest.raises(StateError, match="another kind, version or size"):
        Hampel(3, 1).load(RunningMedian(3, 1).save())
    broken = RunningMedian(3, 1)
    broken._fed = float("nan")
    with pytest.raises(StateError, match="damaged"):
        RunningMedian(3, 1).load(broken.save())
