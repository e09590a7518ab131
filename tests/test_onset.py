"""Onsets: known numbers, obspy, the twins, any cut, NaN, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obspy.signal import trigger

from lifeline_core.dsp.onset import Cusum, StaLta, aic_onset, cusum, sta_lta
from lifeline_core.errors import StateError
from tests.twins import onset as twin

KNOWN = np.array([1, -1, 1, -1, 1, -1, 1, -1, 4, -4, 4, -4, 1, -1, 1, -1], float)
RECURSIVE = [0, 0, 0, 0, 0, 0, 1.480036, 1.376283, 2.600236, 2.272564, 1.973197, 1.744982, 1.091217, 0.716777, 0.509144,
             0.401437]
CLASSIC = [0, 0, 0, 0, 0, 1, 1, 1, 2.428571, 2.666667, 1.882353, 1.454545, 0.772727, 0.090909, 0.117647, 0.166667]

FLOAT32 = 3e-7  # of the ratio: its own rounding, twice
DOUBLE = 1e-12  # rounding of sums of some thousand terms in another order


def ugly(rng: np.random.Generator, n: int, dtype=np.float32) -> np.ndarray:
    x = rng.normal(0, 1, n) * np.where(rng.random(n) < 0.3, 30, 1)
    x[rng.random(n) < 0.02] = np.nan
    x[rng.random(n) < 0.01] = -np.inf
    return x.astype(dtype)


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
    damaged[12 + 32 + 16] = 200  # position 200 in a window of 2
    with pytest.raises(StateError, match="damaged"):
        state.load(bytes(damaged))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.sampled_from([np.float32, np.float64]))
def test_cusum_equals_the_twin_over_any_cut(seed, n, dtype) -> None:
    rng = np.random.default_rng(seed)
    x = ugly(rng, n, dtype)
    up, down, _ = cusum(x, 0.5, 40.0)
    # the same operations in the same order but for one association: v - drift is taken first
    for ours, theirs in zip((up, down), twin.cusum(x, 0.5, 40.0), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=FLOAT32 if dtype == np.float32 else DOUBLE, atol=1e-5)
    cut = int(rng.integers(0, n + 1))
    state, parts = Cusum(1, 0.5, 40.0), []
    for part in (x[:cut], x[cut:]):
        if part.size:
            *sums, after = cusum(part, 0.5, 40.0, state=state)
            parts.append(np.stack(sums))
            state.load(after.save())
    assert np.concatenate(parts, axis=1).tobytes() == np.stack([up, down]).tobytes()


def test_cusum_begins_again_after_a_crossing() -> None:
    up, down, _ = cusum(np.full(9, 1.5), 0.5, 2.5)
    assert up.tolist() == [1, 2, 3, 1, 2, 3, 1, 2, 3]
    assert not down.any()
    assert cusum(np.full(9, 1.5), 0.5, np.inf)[0][-1] == 9.0


@pytest.mark.parametrize(("h", "shift", "arl"), [(4.0, 0.5, 26.68), (4.0, 1.0, 8.38), (4.0, 2.0, 3.34), (5.0, 1.0, 10.38)])
def test_cusum_run_lengths(h: float, shift: float, arl: float) -> None:
    """Average run lengths of a Markov chain with 300 states; the chain begins at 0 again after each crossing."""
    x = np.random.default_rng(7).normal(shift, 1, 400_000)
    runs = 400_000 / np.count_nonzero(cusum(x, 0.5, h)[0] > h)
    # a run length scatters by at most about itself, so its mean over > 14,000 runs by < 0.9 %: three of these
    assert runs == pytest.approx(arl, rel=0.027)


def test_cusum_refusals() -> None:
    with pytest.raises(ValueError, match=r"threshold above 0, are 0\.5 and 0"):
        cusum([1.0], 0.5, 0.0)
    with pytest.raises(ValueError, match="the input is empty"):
        cusum([], 0.5, 1.0)
    with pytest.raises(ValueError, match=r"asked are 1, 0\.25 and 1\.0"):
        cusum([1.0], 0.25, 1.0, state=cusum([1.0], 0.5, 1.0)[2])
    with pytest.raises(StateError, match="other parameters"):
        Cusum(1, 0.5, 1.0).load(Cusum(1, 0.5, 2.0).save())


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_aic_index_is_that_of_obspy(seed: int, dtype) -> None:
    rng = np.random.default_rng(seed)
    for noise, signal, ratio in ((200, 100, 10), (30, 400, 3), (900, 60, 50), (5000, 300, 1.5), (8, 9, 4)):
        x = np.concatenate([rng.normal(0, 0.1, noise), rng.normal(0, 0.1 * ratio, signal)]).astype(dtype)
        index, quality = aic_onset(x + dtype(9.81))
        assert index == np.argmin(trigger.aic_simple(x + dtype(9.81))) == np.argmin(twin.aic(x + dtype(9.81)))
        assert 0 < quality < 1


def test_aic_known_onset_and_quality() -> None:
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        index, quality = aic_onset(np.concatenate([rng.normal(0, 0.1, 200), rng.normal(0, 1, 100)]))
        assert abs(index - 200) <= 1
        assert quality == pytest.approx(0.86, abs=0.04)  # the variances scatter by 1/sqrt(100)


@pytest.mark.parametrize("n", [100, 1000])
def test_aic_quality_of_noise_is_near_nothing(n: int) -> None:
    quality = aic_onset(np.random.default_rng(1).normal(0, 1, (200, n)))[1]
    # twice the log-likelihood gained by the best of n cuts seldom exceeds 25
    assert np.max(quality) < 25 / n
    assert np.median(quality) < 10 / n


def test_aic_of_digital_silence_before_an_onset() -> None:
    x = np.zeros(500, np.float32)
    x[321:] = np.sin(np.arange(179))
    x[321] = 0.5
    assert aic_onset(x)[0] == 320


def test_aic_edges() -> None:
    assert aic_onset([3.0, 3.0, 3.0, 3.0]) == (0, 0.0)
    index, quality = aic_onset(np.array([[1, 2, np.nan, 3, 4], [1, -1, 1, -1, 50]], np.float32))
    assert index[0] == -1
    assert np.isnan(quality[0])
    assert index[1] == 3
    assert quality[1] > 0
    assert aic_onset([1e300, -1e300, 1e300, 0.0])[0] == -1  # squares overflow
    with pytest.raises(ValueError, match="at least 3 samples are needed, are 2"):
        aic_onset([1.0, 2.0])
    with pytest.raises(ValueError, match="the input is empty"):
        aic_onset([])
