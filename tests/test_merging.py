"""What two accumulators gathered, put together: as if one had heard it all; and what fades, against sums written down."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import exp
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.bridges.covariance import Lags, RunningLags, lag_covariances
from lifeline_core.dsp.running import Running
from lifeline_core.dsp.spectrum import csd_matrix
from lifeline_core.errors import StateError

FS, LAGS, BLOCK = 50.0, 9, 70
X = np.random.default_rng(1).standard_normal((3, 2000)) * np.array([[1.0], [2.0], [0.5]]) + np.array([[0.0], [9.81], [1e3]])
FORMS: list[dict[str, Any]] = [{}, {"seconds": 60.0}, {"forgetting": 30.0}]
NAMES = ["all", "seconds", "forgetting"]


def lags(keep: int = 100, forgetting: float | None = None) -> RunningLags:
    return RunningLags(3, FS, LAGS, block=BLOCK, keep=keep, forgetting=forgetting)


def spectra(form: Mapping[str, Any], nperseg: int = 64) -> Running:
    return Running(3, 10.0, nperseg=nperseg, cross=True, **form)


def near(a: Lags, b: Lags) -> None:
    """To rounding of sums whose offset of 1000 was measured over other samples."""
    np.testing.assert_allclose(a.blocks, b.blocks, rtol=0, atol=1e-9)
    np.testing.assert_allclose(a.weight, b.weight, rtol=1e-12)
    np.testing.assert_allclose(a.duration_s, b.duration_s, rtol=1e-12)


def faded(n: int, keep: float) -> np.ndarray:
    """Lag covariances of the first n blocks of X with weights keep^age, sample by sample."""
    weight = np.repeat(keep ** np.arange(n - 1.0, -1.0, -1.0), BLOCK)
    mean = X[:, : n * BLOCK] @ weight / weight.sum()
    y = X - mean[:, None]
    return np.stack([(y[:, k : k + n * BLOCK] * weight) @ y[:, : n * BLOCK].T for k in range(LAGS + 1)]) / weight.sum()


@settings(max_examples=25, deadline=None)
@given(first=st.integers(0, 28), keep=st.integers(1, 40), fades=st.booleans(), groups=st.sampled_from([None, 1, 3]))
def test_lags_of_two_are_those_of_one(first: int, keep: int, fades: bool, groups: int | None) -> None:
    one, a, b = (lags(keep, 5.0 if fades else None) for _ in range(3))
    one.push(X)
    a.push(X[:, : first * BLOCK + LAGS] if first else X[:, :0])
    b.push(X[:, first * BLOCK :])
    before = b.save()
    a.merge(b)
    assert b.save() == before
    near(a.read(groups), one.read(groups))
    assert a.blocks == one.blocks == min(keep, 28)


def test_lags_go_on_after_a_merge() -> None:
    """What comes next is a block of its own, and an empty one adds nothing."""
    a, b = lags(), lags()
    b.push(X[:, :500])
    a.merge(b)
    a.merge(lags())
    assert a.read().mean.tobytes() == b.read().mean.tobytes()
    a.push(X[:, 500 : 500 + BLOCK + LAGS])
    assert a.blocks == b.blocks + 1


def test_order_of_machines_does_not_matter() -> None:
    parts = [lags() for _ in range(3)]
    for part, begin in zip(parts, (0, 700, 1400), strict=True):
        part.push(X[:, begin : begin + 560 + LAGS])
    totals = []
    for order in ((0, 1, 2), (2, 0, 1)):
        total = lags()
        for i in order:
            total.merge(parts[i])
        totals.append(total.read())
    np.testing.assert_allclose(totals[0].mean, totals[1].mean, rtol=0, atol=1e-9)


@pytest.mark.parametrize("keep", [1, 5, 40])
def test_forgetting_lags_are_the_weighted_mean(keep: int) -> None:
    running = lags(keep, 10.0)
    for a, b in pairwise([*range(0, 2000, 123), 2000]):
        running.push(X[:, a:b])
    fade = exp(-BLOCK / FS / 10.0)
    read = running.read()
    np.testing.assert_allclose(read.mean, faded(28, fade), rtol=0, atol=1e-9)
    w = fade ** np.arange(28.0)
    assert read.weight.sum() == pytest.approx(BLOCK * w.sum())
    assert read.duration_s == pytest.approx(BLOCK / FS * w.sum() ** 2 / (w**2).sum())
    assert len(read.weight) == min(keep, 28) + (keep < 28)


def test_all_forms_meet_where_they_must() -> None:
    """Forgetting over ages is the plain mean, and groups change nothing of it."""
    plain, slow = lags(), lags(forgetting=1e12)
    for one in (plain, slow):
        one.push(X)
    np.testing.assert_allclose(slow.read().mean, plain.read().mean, rtol=0, atol=1e-9)
    np.testing.assert_allclose(slow.read().deviations, plain.read().deviations, rtol=1e-5, atol=1e-9)
    assert slow.read().duration_s == pytest.approx(plain.read().duration_s)
    for groups in (1, 2, 7, 28, 99):
        few = plain.read(groups)
        assert len(few.weight) == min(groups, 28)
        np.testing.assert_allclose(few.mean, plain.read().mean, rtol=0, atol=1e-9)
    batch = lag_covariances(X[:, : 28 * BLOCK + LAGS], FS, LAGS, n_blocks=28)
    np.testing.assert_allclose(plain.read().mean[:, 0, 0], batch.mean[:, 0, 0], atol=0.02)  # its mean is of nine samples more


@pytest.mark.parametrize("fade_s", [None, 20.0])
def test_deviations_are_the_scatter_of_the_mean(fade_s: float | None) -> None:
    """Of white noise the variance of a covariance is known: 1 / samples, faded or not."""
    found, stated = [], []
    for seed in range(150):
        running = RunningLags(1, FS, 3, block=40, keep=200, forgetting=fade_s)
        running.push(np.random.default_rng(seed).standard_normal((1, 8043)))
        read = running.read()
        found.append(float(read.mean[2, 0, 0]))
        stated.append(float(np.sum(read.deviations[:, 2, 0, 0] ** 2)))
    truth = 1.0 / (read.duration_s * FS)
    assert np.mean(stated) == pytest.approx(truth, rel=0.1)
    assert np.var(found) == pytest.approx(truth, rel=0.35)  # of 150 runs: three standard deviations


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 2000), max_size=6), saved=st.integers(0, 6), keep=st.integers(1, 30))
def test_fading_lags_go_on_bit_for_bit(cuts: list[int], saved: int, keep: int) -> None:
    whole, parts = lags(keep, 7.0), lags(keep, 7.0)
    whole.push(X)
    for i, (a, b) in enumerate(pairwise([0, *sorted(cuts), 2000])):
        if i == saved:
            fresh = lags(keep, 7.0)
            fresh.load(parts.save())
            parts = fresh
        parts.push(X[:, a:b])
    assert parts.save() == whole.save()
    assert parts.read().blocks.tobytes() == whole.read().blocks.tobytes()


def test_a_fading_block_with_a_nan_takes_no_time() -> None:
    running, x = lags(forgetting=5.0), X.copy()
    x[1, 145] = np.nan
    running.push(x)
    assert running.blocks == 26 and np.isfinite(running.read().mean).all()  # it lies in two blocks' reach


@pytest.mark.parametrize("form", FORMS, ids=NAMES)
@pytest.mark.parametrize("nperseg", [64, 50])
@settings(max_examples=10, deadline=None)
@given(first=st.integers(0, 60), seed=st.integers(0, 5))
def test_spectra_of_two_are_those_of_one(nperseg: int, form: Mapping[str, Any], first: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((3, 2000)).astype(np.float32)
    hop = nperseg // 2
    one, a, b = (spectra(form, nperseg) for _ in range(3))
    one.push(x)
    if first:
        a.push(x[:, : (first - 1) * hop + nperseg])
    b.push(x[:, first * hop :])
    before = b.save()
    a.merge(b)
    assert b.save() == before
    assert np.array_equal(a.segments, one.segments)
    s, wanted = a.csd_matrix()[1], one.csd_matrix()[1]
    assert np.max(np.abs(s - wanted)) <= 4e-7 * np.max(np.abs(wanted))  # other eights of segments, added in float32


def test_spectra_of_two_machines_are_the_mean_of_both() -> None:
    rng = np.random.default_rng(3)
    x = [rng.standard_normal((3, 64 * 20)).astype(np.float32) for _ in range(2)]
    a, b = spectra({}), spectra({})
    a.push(x[0])
    b.push(x[1])
    a.merge(b)
    wanted = np.mean([csd_matrix(p, 10.0, nperseg=64)[1] for p in x], axis=0)
    assert np.max(np.abs(a.csd_matrix()[1] - wanted)) <= 4e-7 * np.max(np.abs(wanted))


def test_a_merged_window_forgets() -> None:
    a, b, fresh = (spectra({"seconds": 60.0}) for _ in range(3))
    loud = np.full((3, 640), 1e20, np.float32)
    a.push(loud)
    x = np.random.default_rng(4).standard_normal((3, 1000)).astype(np.float32)
    b.push(x)
    a.merge(b)
    fresh.push(x)
    assert a.segments.tolist() == fresh.segments.tolist()
    np.testing.assert_allclose(a.spectrum()[1], fresh.spectrum()[1], rtol=1e-6)


def test_refusals() -> None:
    for other in (lags(99), lags(forgetting=5.0), RunningLags(3, 60.0, LAGS, block=BLOCK, keep=100)):
        with pytest.raises(ValueError, match="merge needs two lag covariances of the same numbers"):
            lags().merge(other)
        with pytest.raises(StateError):
            lags().load(other.save())
    mine = lags()
    with pytest.raises(ValueError, match="merge needs two"):
        mine.merge(mine)
    for bad in (0.0, np.nan, np.inf, -1.0):
        with pytest.raises(ValueError, match="forgetting must be a time constant"):
            lags(forgetting=bad)
    mine.push(X)
    with pytest.raises(ValueError, match="groups must be 1 or more"):
        mine.read(0)
    state = mine.save()
    for key in ("sums", "old", "waiting", "offset", "gone"):
        with pytest.raises(StateError):
            lags().load({k: v for k, v in state.items() if k != key})
    with pytest.raises(StateError):
        lags().load({**state, "sums": [[b"", b"", 1.0, 1.0]]})
    for form, other_form in (({}, {"seconds": 60.0}), ({}, {"forgetting": 30.0}), ({"seconds": 60.0}, {"seconds": 61.0})):
        with pytest.raises(ValueError, match="merge needs two equal plans"):
            spectra(form).merge(spectra(other_form) if other_form != {"seconds": 61.0} else spectra({"seconds": 90.0}))
    with pytest.raises(ValueError, match="merge needs two equal plans"):
        spectra({}).merge(spectra({}, 50))
    own = spectra({})
    with pytest.raises(ValueError, match="merge needs two equal plans"):
        own.merge(own)
    with pytest.raises(ValueError, match="merge needs two equal plans"):
        Running(3, 10.0, nperseg=64).merge(Running(3, 20.0, nperseg=64))
