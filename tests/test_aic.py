"""The AIC picker: obspy, the twin, known onsets, offsets, NaN, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from obspy.signal import trigger

from lifeline_core.dsp.aic import aic_onset
from tests.twins import onset as twin


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


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e7])
def test_aic_does_not_mind_an_offset_or_a_step(offset: float) -> None:
    """Bare sums of squares would have lost all digits at 1e7 standard deviations."""
    rng = np.random.default_rng(11)
    x = np.concatenate([rng.normal(0, 1, 700), rng.normal(0, 8, 300)])
    index, quality = aic_onset(x + offset)
    plain = aic_onset(x)
    assert index == plain[0]
    assert quality == pytest.approx(plain[1], rel=1e-6)
    if offset:
        step = np.concatenate([rng.normal(0, 1, 400), rng.normal(offset, 1, 200)])
        assert aic_onset(step)[0] == np.argmin(twin.aic(step)) == 399


def test_aic_rows_threads_and_dtypes() -> None:
    rng = np.random.default_rng(12)
    x = rng.normal(0, 100, (2, 5, 300)) * np.where(np.arange(300) < 200, 1, 9)
    whole = aic_onset(x, threads=1)
    assert whole[0].shape == (2, 5)
    for threads in (2, 4):
        index, quality = aic_onset(x, threads=threads)
        assert (index.tobytes(), quality.tobytes()) == (whole[0].tobytes(), whole[1].tobytes())
    assert aic_onset(x[1, 3]) == (whole[0][1, 3], whole[1][1, 3])
    counts = np.round(x).astype(np.int16)
    assert aic_onset(counts.transpose(0, 2, 1).copy().transpose(0, 2, 1))[0].tolist() == aic_onset(counts.astype(float))[0].tolist()
    tiny = np.concatenate([np.full(50, 1e-310), np.tile([1e-309, -1e-309], 25)])
    assert aic_onset(tiny) == (0, 0.0)  # squares are 0: a constant


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


@pytest.mark.parametrize("kind", ["noise", "onset", "late", "silent", "two steps", "decay"])
def test_blocks_that_are_passed_over_hold_no_minimum(kind: str) -> None:
    """The picker looks only where a bound says that the minimum may lie; the twin looks everywhere."""
    for seed in range(25):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(120, 1500))
        at = np.arange(n)
        shape = {"noise": np.ones(n), "onset": np.where(at < n // 3, 1, 20), "late": np.where(at < n - 9, 1, 5),
                 "silent": np.where(at < n // 2, 1e-6, 1), "two steps": 1.0 + 3 * (at > n // 4) + 9 * (at > n // 2),
                 "decay": np.where(at < n // 2, 1, 30 * np.exp((n // 2 - at) / 40) + 1)}[kind]
        x = rng.normal(0, 1, n) * shape
        curve = twin.aic(x)
        assert curve[aic_onset(x)[0]] == pytest.approx(np.min(curve), rel=1e-9)
