"""Correlation of signs: counts one by one, any cut of the stream, and what has no sign."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate

from lifeline_core.dsp.polarity import Polarity, polarity_correlate
from lifeline_core.errors import StateError
from tests.twins import delay as twin

CHUNK = 32768  # samples that are counted at once


def noise(n, seed=0):
    return np.random.default_rng(seed).standard_normal((2, n)).astype(np.float32)


def counts(a, b, max_lag):
    whole = Polarity(max_lag)
    whole.push(a, b)
    return np.stack(whole.counts())


def test_by_hand() -> None:
    # signs + - - + against - - + +: lag 0 shares the first's opposite, lag 1 has + - - over - + +
    lags, r = polarity_correlate([2, -1, -3, 4], [-5, -1, 2, 7], 4)
    assert lags.tolist() == [-4, -3, -2, -1, 0, 1, 2, 3, 4]
    np.testing.assert_allclose(r[1:-1], [-1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 1.0])
    assert np.isnan(r[[0, -1]]).all()


@pytest.mark.parametrize(("n", "max_lag"), [(1, 3), (5, 10), (64, 64), (65, 0), (300, 70)])
@pytest.mark.parametrize("ugly", [False, True])
def test_equals_the_slow_twin(n, max_lag, ugly) -> None:
    a, b = noise(n)
    if ugly:
        a[:: 7], b[:: 5], a[n // 2], b[-1], b[0] = 0.0, np.nan, np.inf, -np.inf, -0.0
    np.testing.assert_array_equal(counts(a, b, max_lag), twin.polarity(a, b, max_lag))


@pytest.mark.parametrize("n", [CHUNK - 1, CHUNK, CHUNK + 63, CHUNK + 64, CHUNK + 65, 3 * CHUNK + 777])
def test_chunks_equal_the_transform(n) -> None:
    a, b = noise(n, 1)
    theirs = correlate(np.sign(b).astype(float), np.sign(a).astype(float), method="fft")[n - 1 - 100 : n + 100]
    pairs, unlike = counts(a, b, 100)
    np.testing.assert_array_equal(pairs, n - abs(np.arange(-100, 101)))
    np.testing.assert_allclose(pairs - 2 * unlike, theirs, atol=1e-6)


@pytest.mark.parametrize("bad", [False, True])
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 2 * CHUNK + 500), max_size=8), max_lag=st.sampled_from([0, 1, 63, 64, 65, 200]))
def test_stream_equals_whole(bad, cuts, max_lag) -> None:
    a, b = noise(2 * CHUNK + 500, 2)
    if bad:
        a[20000:20100] = np.nan
    stream = Polarity(max_lag)
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), a.size], strict=True):
        stream.push(a[begin:end], b[begin:end])
        if begin % 3 == 0:
            stream.counts()  # looking changes nothing
    np.testing.assert_array_equal(np.stack(stream.counts()), counts(a, b, max_lag))


@pytest.mark.parametrize("holes", [[(0, 50)], [(CHUNK + 9000, CHUNK + 9001)], [(100, 101), (60000, 70000)], [(0, 3 * CHUNK)]])
def test_holes_equal_the_transform(holes) -> None:
    a, b = noise(3 * CHUNK, 11)
    for begin, end in holes:
        a[begin:end], b[begin + 7 : end + 7 : 2] = np.nan, 0.0
    n, there = a.size, [np.isfinite(x) & (x != 0) for x in (a, b)]
    signs = [np.where(t, np.sign(np.nan_to_num(x)), 0.0).astype(float) for t, x in zip(there, (a, b), strict=True)]
    mine = counts(a, b, 300)
    for value, (x, y) in ((mine[0], (there[0] * 1.0, there[1] * 1.0)), (mine[0] - 2 * mine[1], signs)):
        np.testing.assert_allclose(value, correlate(y, x, method="fft")[n - 301 : n + 300], atol=1e-5)


def test_delay_is_signed_and_swapping_mirrors() -> None:
    s = noise(30000, 3)
    a, b = s[0][50:], s[0][:-50] + 0.3 * s[1][:-50]
    lags, r = polarity_correlate(a, b, 80)
    assert lags[r.argmax()] == 50
    np.testing.assert_array_equal(polarity_correlate(b, a, 80)[1], r[::-1])
    np.testing.assert_array_equal(polarity_correlate(a, -b, 80)[1], -r)
    assert polarity_correlate(a, a, 3)[1][3] == 1.0


def test_units_and_loudness_change_nothing() -> None:
    a, b = noise(5000, 4)
    r = polarity_correlate(a, b, 20)[1]
    np.testing.assert_array_equal(polarity_correlate(a * np.float32(1e-38), b.astype(float) * 1e-300, 20)[1], r)
    loud = b.astype(float)
    loud[2000:2050] *= 1e200
    np.testing.assert_array_equal(polarity_correlate(a, loud, 20)[1], r)


def test_kinds_of_input() -> None:
    a, b = noise(20000, 5)
    r = polarity_correlate(a, b, 20)[1]
    np.testing.assert_array_equal(polarity_correlate(a.astype(float), np.repeat(b, 3)[::3], 20)[1], r)
    ints = np.where(b > 0, 30000, -30000).astype(np.int16)
    np.testing.assert_array_equal(polarity_correlate(a, ints, 20)[1], r)


def test_what_has_no_sign_takes_no_part() -> None:
    a, b = noise(3000, 6)
    lags, r = polarity_correlate(a, np.zeros(3000), 5)
    assert lags.size == 11 and np.isnan(r).all()
    hole = b.copy()
    hole[1000:1500] = np.nan
    whole = counts(a[:1000], b[:1000], 5) + counts(a[1500:], b[1500:], 5)
    both = counts(a, hole, 5)
    edge = 2 * 5 * 6 // 2  # pairs of a sample beside the hole with one of a within it never count, across it they may
    assert (abs(both - whole) <= edge).all() and both[0, 5] == 2500


def test_arcsine_law() -> None:
    # Gaussian channels with a correlation of 0.6: signs correlate by 2 / pi asin 0.6
    x = noise(400000, 7)
    a, b = x[0], 0.6 * x[0] + 0.8 * x[1]
    plain, bent = (polarity_correlate(a, b, 0, arcsine=k)[1][0] for k in (False, True))
    assert plain == pytest.approx(2 / np.pi * np.arcsin(0.6), abs=0.006)  # 4 standard errors of 400,000 signs
    assert bent == pytest.approx(0.6, abs=0.008)
    assert bent == pytest.approx(np.sin(0.5 * np.pi * plain), rel=1e-15)


def test_a_seam_makes_no_pairs() -> None:
    a, b = noise(20000, 8)
    stream = Polarity(30)
    stream.push(a[:7000], b[:7000])
    stream.restart()
    stream.push(a[7000:], b[7000:])
    np.testing.assert_array_equal(np.stack(stream.counts()), counts(a[:7000], b[:7000], 30) + counts(a[7000:], b[7000:], 30))
    stream.reset()
    assert not np.any(stream.counts())


@pytest.mark.parametrize("at", [0, 100, CHUNK, CHUNK + 100])
def test_saved_and_loaded_goes_on_to_the_bit(at) -> None:
    a, b = noise(2 * CHUNK, 9)
    one, two = Polarity(70), Polarity(70)
    one.push(a[:at], b[:at])
    two.push(b, a)  # is forgotten
    two.load(one.save())
    assert two.save() == one.save()
    for stream in (one, two):
        stream.push(a[at:], b[at:])
    np.testing.assert_array_equal(one.counts(), two.counts())
    np.testing.assert_array_equal(np.stack(two.counts()), counts(a, b, 70))


def test_foreign_state_is_refused() -> None:
    state = Polarity(70).save()
    for bad in (b"", b"abc", state[:-1], state + b"x", b"XXXX" + state[4:], Polarity(71).save(), state[:4] + b"\xff" + state[5:]):
        with pytest.raises(StateError):
            Polarity(70).load(bad)
    wrong = bytearray(state)
    wrong[24:32] = b"\xff" * 8  # more samples waiting than there is room for
    with pytest.raises(StateError):
        Polarity(70).load(bytes(wrong))


@pytest.mark.parametrize(("call", "message"), [
    (lambda: polarity_correlate([], [], 1), "a and b must hold samples, are empty"),
    (lambda: polarity_correlate([1.0], [1.0, 2.0], 1), "a and b must be of one length, have 1 and 2 samples"),
    (lambda: polarity_correlate([[1.0]], [[1.0]], 1), r"a must be one row of real samples, is float64 of shape \(1, 1\)"),
    (lambda: polarity_correlate([1j], [1j], 1), "a must be one row of real samples, is complex128"),
    (lambda: Polarity(-1), r"max_lag must be a whole number of 0 \.\. 16777216, is -1"),
    (lambda: Polarity(1.5), "is 1.5"),
    (lambda: Polarity(1 << 25), "is 33554432"),
])
def test_refusals(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
