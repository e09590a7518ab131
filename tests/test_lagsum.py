"""Products at lags against the sum written down, for every number of channels and lags that the tiles must meet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifeline_core.dsp._lagsum import lag_sums

from lifeline_core.dsp.lagsum import lag_products


def twin(x: np.ndarray, lags: int, offset: np.ndarray | float = 0.0) -> np.ndarray:
    y = x - np.reshape(offset, (-1, 1))
    n = x.shape[1] - lags
    return np.stack([y[:, k : k + n] @ y[:, :n].T for k in range(lags + 1)])


def test_by_hand() -> None:
    assert lag_products([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]], 1).tolist() == [[[5.0, 2.0], [2.0, 1.0]], [[8.0, 3.0], [1.0, 0.0]]]


@settings(max_examples=60, deadline=None)
@given(n_ch=st.integers(1, 19), lags=st.integers(0, 40), n=st.integers(1, 400), seed=st.integers(0, 9))
def test_equals_the_twin(n_ch: int, lags: int, n: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((n_ch, n + lags))
    offset = np.arange(n_ch) * 0.1
    # sums of n products of size 1 to 4, two orders of adding
    np.testing.assert_allclose(lag_products(x, lags, offset), twin(x, lags, offset), rtol=0, atol=1e-13 * (10 + n))


@pytest.mark.parametrize("n_ch", [1, 3, 16])
def test_strides_and_types_are_taken(n_ch: int) -> None:
    x = np.random.default_rng(1).standard_normal((2 * n_ch, 700))
    wanted = lag_products(np.ascontiguousarray(x[::2, 3:603]), 20)
    assert np.array_equal(lag_products(x[::2, 3:603], 20), wanted)
    assert np.array_equal(lag_products(np.asfortranarray(x)[::2, 3:603], 20), wanted)
    assert np.array_equal(lag_products(np.repeat(x[::2, 3:603], 2, axis=1)[:, ::2], 20), wanted)
    assert np.array_equal(lag_products(x[::-2, 3:603][::-1], 20), lag_products(np.ascontiguousarray(x[1::2, 3:603]), 20))
    single = x[::2].astype(np.float32)
    assert np.array_equal(lag_products(single, 20), lag_products(single.astype(np.float64), 20))


def test_one_channel_does_not_notice_another() -> None:
    x = np.random.default_rng(2).standard_normal((9, 500))
    sound = lag_products(x, 30)
    x[4, 250] = np.nan
    spoilt = lag_products(x, 30)
    others = np.arange(9) != 4
    assert np.array_equal(spoilt[:, others][:, :, others], sound[:, others][:, :, others])
    assert np.isnan(spoilt[:, 4]).all() and np.isnan(spoilt[:, :, 4]).all()
    x[4] = 1e200
    assert np.array_equal(lag_products(x, 30)[:, others][:, :, others], sound[:, others][:, :, others])


def test_refusals() -> None:
    for x in ([], [[]], [1.0, 2.0], np.zeros((0, 5))):
        with pytest.raises(ValueError, match="not empty"):
            lag_products(x, 1)
    for lags in (-1, 5):
        with pytest.raises(ValueError, match="less than the 5 samples"):
            lag_products(np.zeros((2, 5)), lags)
    with pytest.raises(ValueError, match="do not fit"):
        lag_products(np.zeros((2, 5)), 1, [0.0])
    with pytest.raises(ValueError, match="do not fit"):
        lag_sums(np.zeros((2, 10))[:, ::2], np.zeros(2), 1)
