"""The compiled follower: against its twin, over any cut, what is kept, what a budget means, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifeline_core.pipes._step import Followers
from numpy.typing import NDArray

from lifeline_core.errors import StateError
from lifeline_core.pipes.step import Layout, Steps, followers, thresholds
from tests.twins import step as twin

COUNTS = (5, 8, 4, 11, 19, 42, 200, 48)
SIZES = (0.013, 0.21, 0.3, 0.21, 5.5, 1.0, 8.3)
Samples = NDArray[np.float32]


def ugly(seed: int, n: int = 3000) -> Samples:
    """Noise with steps, a ramp, a glitch, holes and a flat stretch, at any level."""
    rng = np.random.default_rng(seed)
    x = np.convolve(rng.normal(0, rng.choice([0.002, 0.05, 0.2]), n), [1, 0.7, 0.5], "same") + rng.choice([0, 40, -1e4])
    for _ in range(4):
        x[int(rng.integers(n)) :] += rng.normal(0, 1)
    a = int(rng.integers(n - 600))
    x[a : a + 500] += np.linspace(0, 3, 500)
    x[int(rng.integers(n))] = 1e9
    for _ in range(3):
        a = int(rng.integers(n))
        x[a : a + int(rng.integers(1, 60))] = rng.choice([np.nan, np.inf])
    a = int(rng.integers(n))
    x[a : a + 200] = x[a]
    return x.astype(np.float32)


def plain(found: list[tuple]) -> list[tuple]:
    return [(used, what, bins, back) for used, _, what, bins, back, _ in found]


def by_row(found: list[tuple]) -> list[tuple]:
    return sorted((row, used, *rest, b"" if window is None else window.tobytes()) for used, row, *rest, window in found)


@pytest.mark.parametrize("seed", range(30))
def test_equal_to_the_twin(seed: int) -> None:
    x = ugly(seed)
    ours, theirs = Followers(1, COUNTS, SIZES), twin.Row(twin.Rule(*COUNTS, *SIZES))
    assert plain(ours.push(x[None])) == theirs.push(x)
    crossings, bins, sigma, noise, a = ours.learnt(0)
    assert (crossings, bins) == (theirs.crossings, len(theirs.y))
    # |e| is held in float32.
    assert (sigma, noise, *a) == pytest.approx((theirs.sigma, theirs.noise, *theirs.a), rel=1e-6, abs=1e-6)


def test_the_twin_is_given_something_to_say() -> None:
    said = [what for seed in range(30) for _, what, _, _ in plain(Followers(1, COUNTS, SIZES).push(ugly(seed)[None]))]
    assert said.count(1) > 40 and said.count(2) > 30


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), cuts=st.lists(st.integers(1, 2999), max_size=30), saved_at=st.integers(-1, 20))
def test_cuts_and_saving_never_show(seed: int, cuts: list[int], saved_at: int) -> None:
    x = np.stack([ugly(seed), ugly(seed + 1)])
    whole, ours, found = Followers(2, COUNTS, SIZES), Followers(2, COUNTS, SIZES), []
    told = whole.push(x)
    for k, (a, b) in enumerate(pairwise(sorted({0, x.shape[1], *cuts}))):
        found += [(used + a, *rest) for used, *rest in ours.push(x[:, a:b].copy())]
        if k == saved_at:
            state = ours.save()
            ours = Followers(2, COUNTS, SIZES)
            ours.load(state)
    assert by_row(found) == by_row(told)
    assert ours.save() == whole.save()


def test_a_drop_by_hand() -> None:
    """16 bins a second of 8 samples: 20 s of a level with 2 cm on it, then 1 m less at once."""
    steps = Steps(hold_s=5.0)
    row, at = followers(128.0, steps, 1), Layout.of(128.0, steps)
    assert (at.size, at.n_pre, at.n_post, at.n_rise) == (8, 8, 4, 12)
    x = 40 + 0.02 * np.random.default_rng(0).normal(size=128 * 30)
    x[128 * 20 :] -= 1
    _, (used, which, what, bins, back, window), (quiet, _, what_then, _, back_then, none) = row.push(x[None].astype(np.float32))
    assert (which, what, back, what_then, back_then, none) == (0, 1, -1, 2, -1, None)
    # The bin that shows it asks; n_post more must come. Its meter may have left zero by noise just before.
    assert used == 128 * 20 + 8 * (1 + at.n_post) and 5 <= bins <= 8
    assert np.array_equal(window, x[used - 8 * at.n_window : used].astype(np.float32))
    assert quiet == used + 8 * 80


def test_the_level_before_is_looked_out_for() -> None:
    x = 40 + 0.01 * np.random.default_rng(0).normal(size=(1, 128 * 40))
    x[:, 128 * 10 : 128 * 13] -= 1
    found = followers(128.0, Steps(hold_s=5.0), 1).push(x.astype(np.float32))
    used, _, what, _, back, _ = found[-1]
    assert what == 2
    assert used - back == pytest.approx(128 * 13, abs=8)


def test_the_newest_samples_are_kept_as_they_came() -> None:
    x = ugly(3)[None]
    row = Followers(1, COUNTS, SIZES)
    row.push(x[:, :703].copy())
    assert row.kept(0) == 703
    assert np.array_equal(row.last(0, 800), np.append(np.full(97, np.nan), x[0, :703]), equal_nan=True)
    row.push(x[:, 703:].copy())
    assert row.kept(0) == 199 * 5, "whole bins: 3000 samples end with one"
    for n in (0, 1, 7, 995):
        assert np.array_equal(row.last(0, n), x[0, 3000 - n :], equal_nan=True)
    assert np.isnan(row.last(0, 1200)[: 1200 - 995]).all()
    row.restart()
    assert row.kept(0) == 0 and np.isnan(row.last(0, 9)).all()


@pytest.mark.parametrize("size", [2, 3, 4, 16, 33, 62, 125, 500])
def test_bins_are_medians_of_finite_samples(size: int) -> None:
    """Seen by the twin, which asks numpy; ties and holes among them."""
    rng = np.random.default_rng(size)
    x = np.round(rng.normal(0, 0.1, size * 60), 2).astype(np.float32)
    x[rng.integers(0, x.size, x.size // 5)] = np.nan
    counts = (size, *COUNTS[1:])
    ours, theirs = Followers(1, counts, SIZES), twin.Row(twin.Rule(*counts, *SIZES))
    assert plain(ours.push(x[None])) == theirs.push(x)
    assert ours.learnt(0)[1:4] == pytest.approx((len(theirs.y), theirs.sigma, theirs.noise), rel=1e-6)


def test_thresholds_follow_the_budget() -> None:
    strict, loose = thresholds(0.01, 16.0), thresholds(100.0, 16.0)
    assert strict[0] > thresholds(1.0, 16.0)[0] > loose[0] and strict[1] > loose[1]
    for budget in (0.0, -1.0, np.nan, np.inf, 1e9):
        with pytest.raises(ValueError, match="false_alarms_per_month is above 0"):
            thresholds(budget, 16.0)


@pytest.mark.parametrize("phi", [0.0, 0.6, 0.9])
def test_noise_passes_its_lock_as_often_as_the_budget_says(phi: float) -> None:
    """Levels of AR(1), a run length of 1e3 bins: 400 crossings are expected, and neighbours share a learning. The full
    range of run lengths, and noise at the sensors' rate, is a command: ``python -m bench.transient_study arl``."""
    from scipy.signal import lfilter

    bins = 1000.0
    steps = Steps(false_alarms_per_month=365.25 / 12 * 86_400 * 16 / bins)
    rows = followers(32.0, steps, 20)
    x = lfilter([1], [1, -phi], np.random.default_rng(5).normal(0, 0.02, (20, 24_000)), axis=1)
    x = np.repeat(x, 2, axis=1).astype(np.float32)
    rows.push(x[:, :8000].copy())
    first = sum(rows.learnt(i)[0] for i in range(20))
    rows.push(x[:, 8000:].copy())
    crossings = sum(rows.learnt(i)[0] for i in range(20)) - first
    assert 0.5 < 20 * 20_000 / crossings / bins < 2.0


@pytest.mark.parametrize("value", [0.0, 1e-42, 1.0, 1e30, 3e38, np.nan, np.inf])
def test_constants_and_huge_values_say_nothing(value: float) -> None:
    said = followers(64.0, Steps(hold_s=5.0), 1).push(np.full((1, 64 * 60), value, np.float32))
    assert [what for _, _, what, *_ in said] == ([2] if np.isfinite(value) else []), "only that it is quiet"


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        Followers(0, COUNTS, SIZES)
    for k, wrong in [(0, 0), (1, 0), (5, 10), (6, 42), (7, 0)]:
        with pytest.raises(ValueError, match="steps by the rule"):
            Followers(1, (*COUNTS[:k], wrong, *COUNTS[k + 1 :]), SIZES)
    for k in range(7):
        with pytest.raises(ValueError, match="steps by the rule"):
            Followers(1, COUNTS, (*SIZES[:k], np.nan, *SIZES[k + 1 :]))
    row = Followers(2, COUNTS, SIZES)
    with pytest.raises(ValueError, match="2 rows are followed"):
        row.push(np.zeros((1, 5), np.float32))
    with pytest.raises(IndexError, match="row is 0"):
        row.last(2, 5)
    assert row.push(np.zeros((2, 0), np.float32)) == []
    for fs in (0.0, 31.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="fs is at least 32 Hz"):
            Layout.of(fs, Steps())


def test_damaged_state_is_refused() -> None:
    row = Followers(1, COUNTS, SIZES)
    row.push(ugly(1)[None])
    state = row.save()
    other = Followers(1, COUNTS, (*SIZES[:6], 9.0))
    for bad in (b"", state[:-1], state + b"\0", b"x" + state[1:], other.save()):
        with pytest.raises(StateError, match="another kind"):
            row.load(bad)
    header = len(state) - len(Followers(1, COUNTS, SIZES).save()) + 8 + 8 * 4 + 7 * 8
    for at in (32, 36, 40, 44, 48):  # open, at, held, levels, head, after crossings, fed, since, back
        with pytest.raises(StateError, match="damaged"):
            row.load(state[: header + at] + b"\xff\xff\xff\x7f" + state[header + at + 4 :])
    assert row.save() == state
