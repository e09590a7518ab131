"""The soak's judgement: what is flat passes, what grows does not, and what cannot be told does not pass either."""

from __future__ import annotations

import ctypes
import random

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.held import in_use
from tests.faults.child import Held
from tests.faults.course import Broken
from tests.faults.soak import ALARM_BLOCKS, BLOCKS, Growth, InUse, Queues, bounded, growth, judge

MIB = 1 << 20
LONG = np.arange(1800.0)
Series = NDArray[np.float64]


def use(t: Series, seed: int) -> Series:
    """120 MiB, with snapshots and captures coming and going."""
    return (120 + np.random.default_rng(seed).normal(0, 6, t.size)) * MIB


def judged(
    t: Series, malloc: Series, *, own: Series | None = None, blocks: Series | None = None, alarms: int = 0
) -> dict[str, float]:
    count = np.full(t.size, 500_000.0) if blocks is None else blocks
    used = [InUse(int(m), int(b)) for m, b in zip(malloc, count, strict=True)]
    return judge(t.tolist(), used, (saw(t, 1) if own is None else own).tolist(), alarms)


def saw(t: Series, seed: int) -> Series:
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
    said = judged(LONG, use(LONG, seed))
    assert 119 < said["used_mib"] < 121 and 147 < said["own_mib"] < 153 and said["own_most_mib"] > 180
    assert abs(said["used_kib_per_min_slope"]) < 100 and abs(said["own_kib_per_min_slope"]) < 100
    judged(LONG, use(LONG, seed), own=saw(LONG, seed) - 60 * MIB * np.exp(-LONG / 120))
    judged(LONG, use(LONG, seed) - 60 * MIB * np.exp(-LONG / 120))  # full after ten minutes


@pytest.mark.parametrize("seed", range(5))
def test_what_grows_does_not(seed: int) -> None:
    for kib_per_min in (500.0, 2000.0):
        with pytest.raises(Broken, match="used memory may have grown"):
            judged(LONG, use(LONG, seed) + LONG / 60 * kib_per_min * 1024)
        with pytest.raises(Broken, match="own memory may have grown"):
            judged(LONG, use(LONG, seed), own=saw(LONG, seed) + LONG / 60 * kib_per_min * 1024)
    for short in (LONG[:60], LONG[:150]):
        judged(short, use(short, seed))
        with pytest.raises(Broken, match="used memory may have grown"):
            judged(short, use(short, seed) + 1.5 * short * MIB)
        with pytest.raises(Broken, match="own memory may have grown"):
            judged(short, use(short, seed), own=saw(short, seed) + 1.5 * short * MIB)


def test_blocks_of_python_may_become_more_with_the_alarms_that_are_kept() -> None:
    more = 500_000 + 50 * LONG
    with pytest.raises(Broken, match="may have become 59950 more in 1199 s, 10900 are allowed"):
        judged(LONG, use(LONG, 1), blocks=more)
    judged(LONG, use(LONG, 1), blocks=more, alarms=60_000 // ALARM_BLOCKS)


def test_what_cannot_be_told_does_not_pass() -> None:
    wild = np.array([random.Random(k).uniform(100, 400) * MIB for k in range(1800)])
    steps = use(LONG, 1) + 30 * MIB * (np.sin(LONG / 200) > 0)
    for malloc in (wild, steps):
        with pytest.raises(Broken):
            judged(LONG, malloc)
    for own in (wild, saw(LONG, 1) + 30 * MIB * (np.sin(LONG / 200) > 0)):
        with pytest.raises(Broken):
            judged(LONG, use(LONG, 1), own=own)
    with pytest.raises(Broken, match="29 looks"):
        judged(LONG[:29], use(LONG[:29], 1))


def test_a_rise_that_is_given_back_has_a_bound() -> None:
    own = saw(LONG, 2)
    own[1500] = 300 * MIB
    with pytest.raises(Broken, match="rose to more than"):
        judged(LONG, use(LONG, 1), own=own)


def test_a_process_tells_what_it_holds() -> None:
    before, blocks = in_use()
    held = [ctypes.create_string_buffer(1 << 20), [object() for _ in range(10_000)]]
    after, more = in_use()
    assert after - before >= 1 << 20 and more - blocks >= 10_000 and held


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
