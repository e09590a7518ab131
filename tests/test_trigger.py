"""Triggers: known numbers, the two filters one after the other, any cut, what is left out and when, NaN, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.dsp.filters import SosFilter, highpass
from lifeline_core.dsp.onset import StaLta
from lifeline_core.dsp.trigger import Trigger
from lifeline_core.errors import StateError

FS, DC, STA, LTA = 100.0, 0.1, 20, 150
FLOAT32 = 3e-7  # of a float's size: its rounding, once in the samples and once in the ratio


def trigger(rows: int, on: float = 3.0) -> Trigger:
    return Trigger(rows, FS, DC, STA, LTA, on=on)


def shaken(rows: int, n: int, seed: int = 1, offset: float = 9.81) -> np.ndarray:
    """Noise on an offset, with a blow in every other row."""
    rng = np.random.default_rng(seed)
    x = offset + 0.01 * rng.normal(size=(rows, n))
    for row in range(0, rows, 2):
        at = int(rng.integers(n // 4, n))
        x[row, at:] += np.exp(-np.arange(n - at) / 10.0) * np.cos(np.arange(n - at))
    return x.astype(np.float32)


def one_after_the_other(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    high, ratio = SosFilter(highpass(FS, DC), len(x)), StaLta(len(x), STA, LTA)
    for row, samples in enumerate(x):
        high.settle(row, float(samples[np.isfinite(samples)][0]))
    y = high.push(x)
    return y, ratio.push(y)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("n", [1, 3, 4, 255, 256, 257, 2000])
def test_as_the_two_filters(rows: int, n: int) -> None:
    x = shaken(rows, n)
    y, ratio = trigger(rows).push(x, whole=True)
    high, expected = one_after_the_other(x)
    assert y.dtype == ratio.dtype == np.float32
    np.testing.assert_allclose(y, high, rtol=FLOAT32, atol=1e-10)
    np.testing.assert_allclose(ratio, expected, rtol=4 * FLOAT32, atol=1e-10)
    assert n < 2000 or ratio[0].max() > 3


def test_samples_that_are_not_finite_are_passed_over() -> None:
    x = shaken(3, 1500)
    x[0, :7], x[1, 500], x[1, 900:904], x[2, 300:700] = np.nan, np.inf, -np.inf, np.nan
    y, ratio = trigger(3).push(x, whole=True)
    high, expected = one_after_the_other(x)
    bad = ~np.isfinite(x)
    assert np.isnan(y[bad]).all()
    assert np.isnan(ratio[bad]).all()
    np.testing.assert_allclose(y, high, rtol=FLOAT32, atol=1e-10)
    np.testing.assert_allclose(ratio, expected, rtol=4 * FLOAT32, atol=1e-10)
    for row in range(3):  # as if they had never come
        kept = trigger(1).push(x[row : row + 1, ~bad[row]], whole=True)
        assert kept[0][0].tobytes() == y[row, ~bad[row]].tobytes()
        assert kept[1][0].tobytes() == ratio[row, ~bad[row]].tobytes()


def test_an_offset_and_silence_are_exactly_nothing() -> None:
    for level in (0.0, 9.81, -3e38):
        x = np.full((2, 1000), level, np.float32)
        y, ratio = trigger(2).push(x, whole=True)
        assert not y.any()
        assert not ratio.any()
        assert trigger(2).push(x)[1] is None
    y, ratio = trigger(1).push(np.full((1, 1000), np.nan, np.float32))
    assert np.isnan(y).all()
    assert ratio is None


def test_the_largest_floats_do_no_harm() -> None:
    x = np.zeros((1, 600), np.float32)
    x[0, 300], x[0, 301] = 3.4e38, -3.4e38
    _, ratio = trigger(1).push(x, whole=True)
    assert np.isfinite(ratio).all()
    assert 7.0 < ratio[0, 301] < LTA / STA


def test_no_row_knows_of_its_neighbours() -> None:
    x = shaken(9, 1200)
    x[3, 100] = np.nan
    y, ratio = trigger(9).push(x, whole=True)
    for row in range(9):
        own = trigger(1).push(x[row : row + 1], whole=True)
        assert own[0].tobytes() == y[row].tobytes()
        assert own[1].tobytes() == ratio[row].tobytes()


cuts = st.lists(st.integers(1, 600), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 6), cuts=cuts, seed=st.integers(0, 1000), holes=st.booleans(), on=st.sampled_from([0.5, 2.0, 4.0, 7.0]))
def test_any_cut_and_what_is_left_out(rows: int, cuts: list[int], seed: int, holes: bool, on: float) -> None:
    n = sum(cuts)
    x = shaken(rows, n, seed)
    if holes:
        x[np.random.default_rng(seed).random(x.shape) < 0.01] = np.nan
    y, ratio = trigger(rows, on).push(x, whole=True)
    stream = trigger(rows, on)
    for begin, end in pairwise(np.cumsum([0, *cuts]).tolist()):
        state = stream.save()
        part, told = stream.push(np.ascontiguousarray(x[:, begin:end]))
        assert part.tobytes() == y[:, begin:end].tobytes()
        reached = ratio[:, begin:end] >= np.float32(on)
        if told is None:
            assert not reached.any()
        else:  # equal from the first that reaches on; before it equal or 0, and so below
            assert ((told >= np.float32(on)) == reached).all()
            for row in range(rows):
                if reached[row].any():
                    first = int(reached[row].argmax())
                    assert told[row, first:].tobytes() == ratio[row, begin + first : end].tobytes()
        again = trigger(rows, on)
        again.load(state)
        assert again.push(np.ascontiguousarray(x[:, begin:end]), whole=True)[1].tobytes() == ratio[:, begin:end].tobytes()
        assert again.save() == stream.save()


def test_what_is_just_reached_is_told() -> None:
    x = shaken(1, 2000, seed=3)
    ratio = trigger(1).push(x, whole=True)[1]
    most = float(ratio.max())
    told = trigger(1, on=most).push(x)[1]
    assert told is not None
    assert told.max() == np.float32(most)
    assert trigger(1, on=most * 1.001).push(x)[1] is None


def test_reset_begins_anew() -> None:
    x, stream = shaken(2, 700), trigger(2)
    first = stream.push(x, whole=True)
    stream.reset()
    assert [a.tobytes() for a in stream.push(x, whole=True)] == [a.tobytes() for a in first]


def test_nothing_in_nothing_out() -> None:
    y, ratio = trigger(3).push(np.empty((3, 0), np.float32))
    assert y.shape == (3, 0)
    assert ratio is None
    assert trigger(3).push(np.empty((3, 0), np.float32), whole=True)[1].shape == (3, 0)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least one row is needed, are 0"):
        trigger(0)
    with pytest.raises(ValueError, match="1 <= n_sta <= n_lta must hold, are 9 and 8"):
        Trigger(1, FS, DC, 9, 8, on=3.0)
    for on in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="on must be finite and above 0"):
            trigger(1, on=on)
    with pytest.raises(ValueError, match="x must have 2 rows, has 3"):
        trigger(2).push(np.zeros((3, 5), np.float32))
    with pytest.raises(ValueError):
        trigger(2).push(np.zeros((2, 5)))


def test_state_of_others_is_refused() -> None:
    state = trigger(5).save()
    for other in (trigger(4), trigger(8), Trigger(5, FS, DC, STA, LTA + 1, on=3.0), Trigger(5, FS, 0.2, STA, LTA, on=3.0)):
        with pytest.raises(StateError):
            other.load(state)
    for damaged in (b"", state[:-1], state + b"\0", b"LLso" + state[4:]):
        with pytest.raises(StateError):
            trigger(5).load(damaged)
