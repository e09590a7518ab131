"""Lag covariances of a stream: the batch's, whatever the cut; and no memory of what has left the window."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.bridges.covariance import RunningLags, lag_covariances
from lifeline_core.errors import StateError

X = np.random.default_rng(1).standard_normal((3, 1000)) * np.array([[1.0], [2.0], [0.5]]) + np.array([[0.0], [9.81], [1e4]])


def fresh(keep: int = 100) -> RunningLags:
    return RunningLags(3, 50.0, 9, block=70, keep=keep)


def test_equals_the_batch_over_the_same_blocks() -> None:
    r = fresh()
    r.push(X)
    assert r.blocks == 14  # 14 * 70 + 9 samples and some that wait
    batch = lag_covariances(X[:, : 14 * 70 + 9], 50.0, 9, n_blocks=14)
    np.testing.assert_allclose(r.read().mean, batch.mean, atol=0.02)  # the batch's mean is of nine samples more
    x = X[:, : 14 * 70 + 9] - X[:, : 14 * 70].mean(axis=1, keepdims=True)
    exact = np.stack([x[:, k : k + 980] @ x[:, :980].T / 980 for k in range(10)])
    np.testing.assert_allclose(r.read().mean, exact, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 1000), max_size=8), saved=st.integers(0, 8))
def test_any_cut_gives_the_same_bits(cuts: list[int], saved: int) -> None:
    whole, r = fresh(), fresh()
    whole.push(X)
    border = [0, *sorted(cuts), 1000]
    for i, (a, b) in enumerate(pairwise(border)):
        if i == saved:
            state = r.save()
            r = fresh()
            r.load(state)
        r.push(X[:, a:b])
    assert r.read().blocks.tobytes() == whole.read().blocks.tobytes()


def test_old_blocks_leave_no_trace() -> None:
    r = fresh(keep=3)
    r.push(X[:, :79])
    spoilt = X.copy()
    spoilt[:, 200:280] *= 1e6
    r.push(spoilt[:, 79:])
    calm = fresh(keep=3)
    calm.push(X)
    assert r.read().mean.tobytes() == calm.read().mean.tobytes()


def test_a_block_with_a_nan_and_one_cut_short_are_left_out() -> None:
    r, x = fresh(), X.copy()
    x[1, 100] = np.nan
    r.push(x[:, :300])
    assert r.blocks == 3 and np.isfinite(r.read().mean).all()
    r.restart()
    r.push(X[:, 300:379])
    assert r.blocks == 4


def test_refusals() -> None:
    with pytest.raises(ValueError, match="more than lags"):
        RunningLags(1, 1.0, 9, block=9, keep=1)
    with pytest.raises(ValueError, match="no whole block"):
        fresh().read()
    with pytest.raises(ValueError, match="3 rows"):
        fresh().push(X[:2])
    with pytest.raises(StateError):
        fresh().load(fresh(keep=2).save())
