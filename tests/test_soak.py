"""The soak's judgement: what is flat passes, what grows does not, and what cannot be told does not pass either."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.faults.child import Held
from tests.faults.course import Broken
from tests.faults.soak import BLOCKS, Growth, Queues, bounded, growth, judge

MIB = 1 << 20
LONG = np.arange(1800.0)


def saw(t: np.ndarray, seed: int) -> np.ndarray:
    """150 MiB in use, and up to 40 MiB that is given back every ten seconds."""
    rng = np.random.default_rng(seed)
    return (150 + 40 * (t % 10) / 10 + rng.normal(0, 1, t.size)) * MIB


def test_slope_by_hand() -> None:
    assert growth(range(10), [3.0 * k for k in range(10)]) == Growth(3.0, 3.0, 3.0)
    # one outlier: the median of the slopes is not moved, the interval is wider
    found = growth(range(10), [0.0] * 9 + [100.0])
    assert found.slope == 0.0 <= found.high
    with pytest.raises(ValueError, match="8 points at least, not 7"):
        growth(range(7), range(7))


def test_the_interval_holds_the_slope_about_as_often_as_it_says() -> None:
    rng, t = np.random.default_rng(7), np.arange(float(BLOCKS))
    held = 0
    for _ in range(400):
        found = growth(t.tolist(), (0.5 * t + rng.normal(0, 3, t.size)).tolist())
        held += found.low <= 0.5 <= found.high
    assert 370 <= held <= 392  # 95 % of 400 is 380; 10 is 2.3 standard deviations


@pytest.mark.parametrize("seed", range(5))
def test_what_is_flat_or_levels_off_passes(seed: int) -> None:
    said = judge(LONG.tolist(), saw(LONG, seed).tolist())
    assert 147 < said["own_mib"] < 153 and said["own_most_mib"] > 180
    assert abs(said["own_kib_per_min"]) < 100
    judge(LONG.tolist(), (saw(LONG, seed) - 60 * MIB * np.exp(-LONG / 120)).tolist())  # full after ten minutes


@pytest.mark.parametrize("seed", range(5))
def test_what_grows_does_not(seed: int) -> None:
    for kib_per_min in (500.0, 2000.0):
        with pytest.raises(Broken, match="may have grown"):
            judge(LONG.tolist(), (saw(LONG, seed) + LONG / 60 * kib_per_min * 1024).tolist())
    for short in (LONG[:60], LONG[:150]):
        judge(short.tolist(), saw(short, seed).tolist())
        with pytest.raises(Broken, match="may have grown"):
            judge(short.tolist(), (saw(short, seed) + 1.5 * short * MIB).tolist())


def test_what_cannot_be_told_does_not_pass() -> None:
    wild = [random.Random(k).uniform(100, 400) * MIB for k in range(1800)]
    steps = (saw(LONG, 1) + 30 * MIB * (np.sin(LONG / 200) > 0)).tolist()
    with pytest.raises(Broken):
        judge(LONG.tolist(), wild)
    with pytest.raises(Broken):
        judge(LONG.tolist(), steps)
    with pytest.raises(Broken, match="29 looks"):
        judge(list(range(29)), [MIB] * 29)


def test_a_rise_that_is_given_back_has_a_bound() -> None:
    own = saw(LONG, 2)
    own[1500] = 300 * MIB
    with pytest.raises(Broken, match="rose to more than"):
        judge(LONG.tolist(), own.tolist())


def test_queues_files_threads_and_disk() -> None:
    held = [Held(0, 500 * MIB, 0, 40 + k % 2, 9) for k in range(60)]
    asked = [Queues(5, 1e6, 2e8, 600 * MIB)]
    said = bounded(held, asked, 700 * MIB)
    assert (said["descriptors"], said["backlog_most"], said["files_mib"]) == (40.5, 5, 500)
    for wrong, text in (
        (Queues(20_001, 0, 0, 0), "backlog rose to 20001"),
        (Queues(0, 513 * MIB, 0, 0), "lag_bytes rose"),
        (Queues(0, 0, 513 * MIB, 0), "journal_bytes rose"),
        (Queues(0, 0, 0, 701 * MIB), "disk rose"),
    ):
        with pytest.raises(Broken, match=text):
            bounded(held, [*asked, wrong], 700 * MIB)
    with pytest.raises(Broken, match="descriptors grew"):
        bounded([Held(0, 0, 0, 40 + k // 6, 9) for k in range(60)], asked, 700 * MIB)
    with pytest.raises(Broken, match="threads grew"):
        bounded([Held(0, 0, 0, 40, 9 + k // 6) for k in range(60)], asked, 700 * MIB)
    with pytest.raises(Broken, match="never told"):
        bounded(held, [], 700 * MIB)
