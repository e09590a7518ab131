"""STA/LTA: known numbers, obspy, the twins, any cut, any neighbours, NaN, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obspy.signal import trigger

from lifeline_core.dsp.onset import StaLta, sta_lta
from lifeline_core.errors import StateError
from tests.twins import onset as twin
from tests.twins.onset import ugly

KNOWN = np.array([1, -1, 1, -1, 1, -1, 1, -1, 4, -4, 4, -4, 1, -1, 1, -1], float)
RECURSIVE = [0, 0, 0, 0, 0, 0, 1.480036, 1.376283, 2.600236, 2.272564, 1.973197, 1.744982, 1.091217, 0.716777, 0.509144,
             0.401437]
CLASSIC = [0, 0, 0, 0, 0, 1, 1, 1, 2.428571, 2.666667, 1.882353, 1.454545, 0.772727, 0.090909, 0.117647, 0.166667]

FLOAT32 = 3e-7  # of the ratio: its own rounding, twice
DOUBLE = 1e-12  # rounding of sums of some thousand terms in another order


@pytest.mark.parametrize(("kind", "expected"), [("recursive", RECURSIVE), ("classic", CLASSIC)])
def test_known_numbers(kind: str, expected: list[float]) -> None:
    ratio, _ = sta_lta(KNOWN, 2, 6, kind=kind)
    np.testing.assert_allclose(ratio, expected, atol=5e-7)  # they are given to six decimals


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n_sta", "n_lta"), [(1, 1), (2, 6), (50, 1000), (7, 5000)])
def test_as_obspy_on_the_whole_array(dtype, n_sta: int, n_lta: int) -> None:
    x = np.random.default_rng(1).normal(0, 1, (2, 7000)).astype(dtype)
    x[:, 3000:3500] *= 20
    for kind, reference in (("recursive", trigger.recursive_sta_lta), ("classic", trigger.classic_sta_lta)):
        ratio, _ = sta_lta(x, n_sta, n_lta, kind=kind)
        assert ratio.dtype == dtype
        # obspy's classic form subtracts in running sums, which leaves some 1e-13 of the largest
        tolerance = FLOAT32 if dtype == np.float32 else 1e-10
        for row in range(2):
            np.testing.assert_allclose(ratio[row], reference(x[row], n_sta, n_lta), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", ["recursive", "classic"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 1500), n_sta=st.integers(1, 40), more=st.integers(0, 300))
def test_sta_lta_equals_the_twin_over_any_cut(kind, dtype, seed, n, n_sta, more) -> None:
    rng = np.random.default_rng(seed)
    x = np.stack([ugly(rng, n, dtype), ugly(rng, n, dtype)])
    whole, _ = sta_lta(x, n_sta, n_sta + more, kind=kind)
    reference = twin.recursive_sta_lta if kind == "recursive" else twin.classic_sta_lta
    tolerance = FLOAT32 if dtype == np.float32 else DOUBLE
    np.testing.assert_allclose(whole[0], reference(x[0], n_sta, n_sta + more), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(whole[1], reference(x[1], n_sta, n_sta + more), rtol=tolerance, atol=tolerance)

    parts, state = [], StaLta(2, n_sta, n_sta + more, kind=kind)
    for a, b in pairwise(sorted({0, n, *rng.integers(0, n + 1, 4)})):
        ratio, after = sta_lta(x[:, a:b], n_sta, n_sta + more, kind=kind, state=state)
        state = StaLta(2, n_sta, n_sta + more, kind=kind)
        state.load(after.save())
        parts.append(ratio)
    assert np.concatenate(parts, axis=1).tobytes() == whole.tobytes()


def test_lanes_and_single_samples_agree_bit_for_bit() -> None:
    """Long enough for every path: lanes, remainders, the look for small sums, a segment with a NaN."""
    x = np.random.default_rng(2).normal(0, 1, (1, 70_000)).astype(np.float32)
    x[0, 40_000] = np.nan
    whole, _ = sta_lta(x, 20, 400)
    one = StaLta(1, 20, 400)
    sizes = np.random.default_rng(3).choice([1, 2, 7, 8, 9, 63, 500, 3000], 1000)
    cuts = np.unique(np.clip(np.concatenate([[0], np.cumsum(sizes), [x.shape[1]]]), 0, x.shape[1]))
    parts = [one.push(np.ascontiguousarray(x[:, a:b])) for a, b in pairwise(cuts)]
    assert np.concatenate(parts, axis=1).tobytes() == whole.tobytes()


def test_silence_ends_in_zero_and_a_spike_is_forgotten() -> None:
    x = np.zeros(200_000, np.float32)
    x[:10] = 1e15
    recursive, _ = sta_lta(x, 3, 9)
    assert recursive[-1] == 0.0
    x[100_000:] = 1e-6
    for kind in ("recursive", "classic"):
        ratio, _ = sta_lta(x, 30, 90, kind=kind)
        assert ratio[-1] == pytest.approx(1.0, rel=FLOAT32)


def test_other_rows_do_not_notice_a_nan() -> None:
    x = np.random.default_rng(5).normal(0, 1, (3, 900)).astype(np.float32)
    bad = x.copy()
    bad[1, ::7] = np.nan
    for kind in ("recursive", "classic"):
        clean, spoilt = sta_lta(x, 5, 50, kind=kind)[0], sta_lta(bad, 5, 50, kind=kind)[0]
        assert clean[[0, 2]].tobytes() == spoilt[[0, 2]].tobytes()
    removed, _ = sta_lta(bad[1][np.isfinite(bad[1])], 5, 50)
    kept = sta_lta(bad, 5, 50)[0][1]
    assert kept[np.isfinite(kept)].tobytes() == removed.tobytes()


def test_out_is_filled_and_the_given_state_stays() -> None:
    x = np.random.default_rng(4).normal(0, 1, 300).astype(np.float32)
    out = np.empty_like(x)
    ratio, state = sta_lta(x, 3, 9, out=out)
    assert np.shares_memory(ratio, out)
    before = state.save()
    sta_lta(x, 3, 9, state=state)
    assert state.save() == before


def test_sta_lta_refusals() -> None:
    with pytest.raises(ValueError, match="the input is empty"):
        sta_lta([], 2, 6)
    with pytest.raises(ValueError, match="1 <= n_sta <= n_lta must hold, are 6 and 2"):
        sta_lta(KNOWN, 6, 2)
    with pytest.raises(ValueError, match="kind must be"):
        sta_lta(KNOWN, 2, 6, kind="delayed")
    with pytest.raises(ValueError, match="the state is of 1 rows and recursive 2/6, asked are 1 rows and recursive 2/7"):
        sta_lta(KNOWN, 2, 7, state=sta_lta(KNOWN, 2, 6)[1])
    with pytest.raises(ValueError, match="out must be contiguous float64"):
        sta_lta(KNOWN, 2, 6, out=np.empty(3))
    state = StaLta(1, 2, 6, kind="classic")
    with pytest.raises(StateError, match="other parameters"):
        state.load(StaLta(1, 3, 5, kind="classic").save())
    with pytest.raises(StateError, match="another kind, version or size"):
        state.load(state.save()[:-1])
    damaged = bytearray(state.save())
    damaged[12 + 32] = 200  # position 200 in a window of 2
    with pytest.raises(StateError, match="damaged"):
        state.load(bytes(damaged))


@pytest.mark.parametrize("kind", ["recursive", "classic"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 9])
def test_a_row_is_the_same_alone_and_among_others(kind, dtype, rows: int) -> None:
    """Every grouping of rows into lanes, every number of threads, and the output on top of the input."""
    rng = np.random.default_rng(rows)
    x = np.stack([ugly(rng, 1003, dtype) if row % 3 == 2 else rng.normal(0, 1, 1003).astype(dtype) for row in range(rows)])
    whole, state = sta_lta(x, 7, 90, kind=kind)
    assert np.concatenate([sta_lta(x[r : r + 1], 7, 90, kind=kind)[0] for r in range(rows)]).tobytes() == whole.tobytes()
    for threads in (2, 3):
        ratio, after = sta_lta(x, 7, 90, kind=kind, threads=threads)
        assert ratio.tobytes() == whole.tobytes()
        assert after.save() == state.save()
    y = x.copy()
    sta_lta(y, 7, 90, kind=kind, out=y)
    assert y.tobytes() == whole.tobytes()


@pytest.mark.parametrize("kind", ["recursive", "classic"])
def test_sta_lta_of_other_dtypes_strides_and_shapes(kind: str) -> None:
    x = np.random.default_rng(6).integers(-30000, 30000, (500, 2, 3)).astype(np.int16)
    ratio, _ = sta_lta(x.T, 4, 30, kind=kind)
    assert (ratio.dtype, ratio.shape) == (np.float64, (3, 2, 500))
    assert ratio[2, 1].tobytes() == sta_lta(x[:, 1, 2].astype(float), 4, 30, kind=kind)[0].tobytes()
    assert sta_lta([7.0], 1, 2, kind=kind)[0].tolist() == [0.0]
    stream = StaLta(6, 4, 30, kind=kind)
    assert stream.push(np.empty((6, 0), np.float32)).shape == (6, 0)
    with pytest.raises(ValueError, match="a block must be float32 or float64, is int16"):
        stream.push(np.zeros((6, 5), np.int16))
    with pytest.raises(ValueError, match="contiguous"):
        stream.push(np.zeros((5, 6)).T)
    for threads in (1, 2):
        with pytest.raises(ValueError, match="x must have 6 rows and out its shape"):
            stream.push(np.zeros((5, 6)), threads=threads)
    with pytest.raises(ValueError, match="threads must be a whole number"):
        sta_lta([1.0, 2.0], 1, 2, kind=kind, threads=0)


@pytest.mark.parametrize("kind", ["recursive", "classic"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_denormal_numbers_count_as_nothing(kind: str, dtype) -> None:
    tiny = np.finfo(dtype).tiny
    x = np.full((2, 400), tiny / 4, dtype)
    assert not sta_lta(x, 3, 9, kind=kind)[0].any()
    x[:, 200:] = 1  # and what was before is forgotten
    ratio, _ = sta_lta(x, 3, 9, kind=kind)
    assert np.all(np.abs(ratio[:, -1] - 1) < 1e-6)
    loud = sta_lta(np.full(50, np.finfo(dtype).max / 2, dtype), 3, 9, kind=kind)[0]
    assert np.isnan(loud).all() if dtype == np.float64 and kind == "recursive" else True


def test_known_step_of_many_rows_against_obspy_in_blocks() -> None:
    """One restart at a block's edge would show: blocks of all lengths from 1 on, 6 rows."""
    rng = np.random.default_rng(8)
    x = rng.normal(0, 1, (6, 2000))
    x[:, 1200:] *= 5
    for kind, reference in (("recursive", trigger.recursive_sta_lta), ("classic", trigger.classic_sta_lta)):
        stream, edges = StaLta(6, 30, 300, kind=kind), np.minimum(np.cumsum(np.arange(64)), 2000)
        answer = np.concatenate([stream.push(np.ascontiguousarray(x[:, a:b])) for a, b in pairwise(edges)], axis=1)
        for row in range(6):
            np.testing.assert_allclose(answer[row], reference(x[row], 30, 300)[: answer.shape[1]], rtol=1e-9, atol=1e-12)


def test_damaged_recursive_state() -> None:
    state = StaLta(1, 2, 6)
    damaged = bytearray(state.save())
    damaged[12 + 32 + 44] = 3  # three finite samples of a block of which none was seen
    with pytest.raises(StateError, match="damaged"):
        state.load(bytes(damaged))
