"""Running spectra: the same for every cut, equal to the batch form over the same segments, and what they forget."""

from __future__ import annotations

from itertools import pairwise
from math import exp
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal

from lifeline_core.dsp import recent
from lifeline_core.dsp.running import Running
from lifeline_core.dsp.spectrum import csd_matrix, welch
from lifeline_core.errors import StateError
from tests.twins import spectrum as twin

TOLERANCE = 2e-6  # as in test_spectrum
REGROUPED = 4e-7  # the lanes add eight segments in float32, three roundings: other eights, other last digits

MODES: list[dict[str, Any]] = [{}, {"seconds": 40.0}, {"forgetting": 30.0}]
Float = NDArray[np.float32]


def noise(*shape: int, seed: int = 1) -> Float:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def off(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.max(np.abs(a - b)) / np.max(np.abs(b)))


def close(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return bool(np.all(np.abs(a - b) <= REGROUPED * np.abs(b)))


@pytest.mark.parametrize("mode", MODES, ids=["all", "seconds", "forgetting"])
@pytest.mark.parametrize("nperseg", [32, 33])
@pytest.mark.parametrize("cross", [False, True])
@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, 1500), max_size=12), looks=st.sets(st.integers(0, 12)), seams=st.sets(st.integers(0, 12)))
def test_any_cut_gives_the_same(nperseg: int, cross: bool, mode: dict[str, Any], cuts: list[int], looks: set[int],
                                seams: set[int]) -> None:
    """Looks, and saving and loading, change nothing; seams lie in both at the same places."""
    x = noise(3, 1500)
    x[1, 1300] = np.nan
    keywords = {"nperseg": nperseg, "noverlap": 20, "detrend": "linear", "cross": cross, "skip_nan": True, **mode}
    whole, parts = (Running(3, 10.0, **keywords) for _ in range(2))
    edges, last = [0, *sorted(cuts), 1500], 0
    for i, (a, b) in enumerate(pairwise(edges)):
        parts.push(x[:, a:b])
        if i in looks:
            parts.spectrum()
            fresh = Running(3, 10.0, **keywords)
            fresh.load(parts.save())
            parts = fresh
        if i in seams or b == 1500:
            whole.push(x[:, last:b])
            last = b
        if i in seams:
            parts.restart()
            whole.restart()
    assert np.array_equal(whole.spectrum()[1], parts.spectrum()[1], equal_nan=True)
    assert np.array_equal(whole.segments, parts.segments)
    assert whole.save() == parts.save()
    if cross:
        assert np.array_equal(whole.csd_matrix()[1], parts.csd_matrix()[1], equal_nan=True)


@pytest.mark.parametrize("nperseg", [128, 100])
def test_of_everything_it_is_welch_bit_for_bit(nperseg: int) -> None:
    x = noise(4, 9000)
    x = x if nperseg == 128 else x.astype(float).astype(np.float32)
    running = Running(4, 10.0, nperseg=nperseg, cross=True)
    alone = Running(4, 10.0, nperseg=nperseg)
    assert np.isnan(running.spectrum()[1]).all() and np.isnan(running.csd_matrix()[1]).all()
    for begin in range(0, 9000, 1234):
        running.push(x[:, begin : begin + 1234])
        alone.push(x[:, begin : begin + 1234])
    assert np.array_equal(running.csd_matrix()[1], csd_matrix(x, 10.0, nperseg=nperseg)[1])
    assert np.array_equal(alone.spectrum()[1], welch(x, 10.0, nperseg=nperseg)[1])
    assert off(running.spectrum()[1], alone.spectrum()[1]) < TOLERANCE
    running.reset()
    assert running.segments.tolist() == [0] * 4
    running.push(x[:, :1000])
    assert np.array_equal(running.csd_matrix()[1], csd_matrix(x[:, :1000], 10.0, nperseg=nperseg)[1])


def test_a_seam_drops_the_segment_under_way() -> None:
    """Two stretches that never meet: the average of both, no segment across the seam."""
    a, b = noise(2, 1000), noise(2, 900, seed=2)
    running = Running(2, nperseg=64)
    running.push(a)
    running.restart()
    running.push(b)
    na, nb = 1 + (1000 - 64) // 32, 1 + (900 - 64) // 32
    assert running.segments.tolist() == [na + nb] * 2
    wanted = (welch(a.astype(float), nperseg=64)[1] * na + welch(b.astype(float), nperseg=64)[1] * nb) / (na + nb)
    assert off(running.spectrum()[1], wanted) < TOLERANCE


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize(("nperseg", "hop"), [(64, 32), (64, 64), (64, 9), (50, 20)])
@pytest.mark.parametrize("count", [1, 5, 30, 200])
def test_seconds_is_welch_of_the_last_segments(count: int, nperseg: int, hop: int, cross: bool) -> None:
    x, fs = noise(3, 3000), 20.0
    seconds = (nperseg + (count - 1) * hop) / fs
    running = Running(3, fs, nperseg=nperseg, noverlap=nperseg - hop, seconds=seconds, cross=cross)
    end = 0
    for n in (10, 55, 200, 701, 1400, 33, 600):
        running.push(x[:, end : end + n])
        end += n
        there = 1 + (end - nperseg) // hop if end >= nperseg else 0
        used = min(there, count)
        assert running.segments.tolist() == [used] * 3
        if not used:
            assert np.isnan(running.spectrum()[1]).all()
            continue
        last = x[:, (there - used) * hop : (there - 1) * hop + nperseg]
        keywords = {"nperseg": nperseg, "noverlap": nperseg - hop}
        tolerance = REGROUPED if not cross else TOLERANCE  # a power by the way of a product has another order
        assert off(running.spectrum()[1], welch(last, fs, **keywords)[1]) < tolerance
        if cross:
            assert off(running.csd_matrix()[1], csd_matrix(last, fs, **keywords)[1]) < REGROUPED
        else:
            assert close(running.spectrum()[1], welch(last, fs, **keywords)[1])


def test_seconds_are_rounded_down_to_whole_segments() -> None:
    running = Running(1, 100.0, nperseg=256, seconds=10.0)
    running.push(noise(1, 5000))
    assert running.segments.tolist() == [1 + (1000 - 256) // 128]
    running = Running(1, 10.0, nperseg=256, seconds=25.6)
    running.push(noise(1, 5000))
    assert running.segments.tolist() == [1]


@pytest.mark.parametrize("nperseg", [64, 50])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_seconds_forget(nperseg: int, value: float) -> None:
    """What is not finite, and what is huge, leaves nothing behind once it left the window."""
    x = noise(2, 6000)
    clean = x.copy()
    x[0, 1000] = value
    dirty, sound = (Running(2, 1.0, nperseg=nperseg, seconds=1000.0, cross=True) for _ in range(2))
    for begin in range(0, 6000, 500):
        dirty.push(x[:, begin : begin + 500])
        sound.push(clean[:, begin : begin + 500])
        inside = 1000 < begin + 500 < 1900
        same = np.array_equal(dirty.spectrum()[1][0], sound.spectrum()[1][0], equal_nan=True)
        assert same == (not inside) or begin in (1500, 2000), begin
        assert np.array_equal(dirty.spectrum()[1][1], sound.spectrum()[1][1], equal_nan=True)
    assert dirty.csd_matrix()[1].tobytes() == sound.csd_matrix()[1].tobytes()


def test_a_seam_takes_no_time() -> None:
    a, b = noise(2, 1000), noise(2, 300, seed=2)
    running = Running(2, nperseg=64, noverlap=0, seconds=640.0)
    for x in (a, b):
        running.push(x)
        running.restart()
    assert running.segments.tolist() == [10, 10]
    wanted = (6 * welch(a[:, 9 * 64 : 15 * 64].astype(float), nperseg=64, noverlap=0)[1]
              + 4 * welch(b[:, :256].astype(float), nperseg=64, noverlap=0)[1]) / 10
    assert off(running.spectrum()[1], wanted) < TOLERANCE


@pytest.mark.parametrize("nperseg", [32, 30])
@pytest.mark.parametrize("cross", [False, True])
def test_forgetting_is_the_weighted_mean(nperseg: int, cross: bool) -> None:
    x, fs, seconds = noise(2, 2500), 10.0, 20.0
    x[0, 2300] = np.nan
    hop = nperseg - nperseg // 2
    keep = exp(-hop / (fs * seconds))
    running = Running(2, fs, nperseg=nperseg, forgetting=seconds, skip_nan=True, cross=cross)
    for begin in range(0, 2500, 333):
        running.push(x[:, begin : begin + 333])
    window = signal.get_window("hann", nperseg)
    each = twin.densities(x.astype(float), fs, nperseg, hop, window, "constant")
    for row, values in enumerate(each):
        assert off(running.spectrum()[1][row], twin.forgetting(values, keep)) < TOLERANCE
    there = int(np.isfinite(each[0, :, 0]).sum())
    assert running.segments.tolist() == [there, len(each[1])]
    if cross:
        s = running.csd_matrix()[1]
        assert np.array_equal(s, np.conj(np.swapaxes(s, 1, 2)))
        assert off(np.einsum("fii->if", s).real, running.spectrum()[1]) < TOLERANCE


def test_what_is_older_by_the_time_constant_weighs_a_third() -> None:
    """One loud segment, then silence of one time constant: 1/e of it in the mean over the weights."""
    x = np.zeros((1, 64 * 101), np.float32)
    x[:, :64] = noise(1, 64)
    running = Running(1, 1.0, nperseg=64, noverlap=0, forgetting=6400.0)
    running.push(x[:, :64])
    loud = running.spectrum()[1][0].astype(float)
    running.push(x[:, 64:])
    weights = np.exp(-np.arange(101) / 100)
    assert running.spectrum()[1][0] == pytest.approx(loud * np.exp(-1) / weights.sum(), rel=1e-5)


@pytest.mark.parametrize("mode", MODES, ids=["all", "seconds", "forgetting"])
@pytest.mark.parametrize("nperseg", [64, 65])
def test_damaged_or_foreign_state_is_refused(nperseg: int, mode: dict[str, Any]) -> None:
    running = Running(2, nperseg=nperseg, **({"seconds": 500.0} if "seconds" in mode else mode))
    running.push(noise(2, 1000))
    mode = {"seconds": 500.0} if "seconds" in mode else mode
    state = running.save()
    for n_ch, keywords in [(2, {"window": "hamming"}), (3, {}), (2, {"noverlap": 3}), (2, {"skip_nan": True}),
                           (2, {"detrend": "linear"}), (2, {"cross": True})]:
        other = Running(n_ch, nperseg=nperseg, **{**mode, **keywords})
        with pytest.raises(StateError):
            other.load(state)
    for others in [{}, {"seconds": 900.0}, {"forgetting": 31.0}]:
        with pytest.raises(StateError):
            Running(2, nperseg=nperseg, **others).load(state if others != mode else b"")
    for bad in (b"", state[:-1], state + b"x", b"XXXX" + state[4:], state[:4] + b"\x09" + state[5:], state[:40]):
        with pytest.raises(StateError):
            running.load(bad)
    assert running.save() == state


@pytest.mark.parametrize(
    ("n_ch", "keywords", "words"),
    [
        (0, {}, "n_ch must be at least 1, not 0"),
        (1, {"seconds": 255.0}, "seconds must hold at least one segment of 256.0 s, not 255.0"),
        (1, {"seconds": float("nan")}, "seconds must hold at least one segment"),
        (1, {"seconds": float("inf")}, "seconds must hold at least one segment"),
        (1, {"forgetting": 0.0}, "forgetting must be a time constant of at least 1.28 s"),
        (1, {"forgetting": float("nan")}, "forgetting must be a time constant"),
        (1, {"forgetting": 9.0, "seconds": 300.0}, "must not be given both, are 300.0 and 9.0"),
    ],
)
def test_refusals(n_ch: int, keywords: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Running(n_ch, **keywords)


@pytest.mark.parametrize("mode", MODES, ids=["all", "seconds", "forgetting"])
def test_blocks_of_any_kind(mode: dict[str, Any]) -> None:
    x = noise(2, 1200)
    a, b = (Running(2, 10.0, nperseg=64, **mode) for _ in range(2))
    a.push(x)
    b.push(np.asfortranarray(x[:, :500]).astype(float))
    b.push(x[:, 500:500])
    b.push(np.repeat(x[:, 500:], 2, axis=1)[:, ::2].tolist())
    assert np.array_equal(a.spectrum()[1], b.spectrum()[1])
    with pytest.raises(ValueError, match=r"x must be \[2, n\], not of shape \(3, 10\)"):
        a.push(noise(3, 10))
    with pytest.raises(ValueError, match=r"x must be \[2, n\], not of shape \(10,\)"):
        a.push(noise(10))
    with pytest.raises(ValueError, match="cross=True"):
        a.csd_matrix()


def test_memory_of_the_window() -> None:
    """Blocks are groups, at most the window and a group long; the samples they have in common are at most a quarter."""
    from lifeline_core.dsp.segments import cut

    for n, hop, count in [(2048, 1024, 117), (256, 128, 2), (256, 16, 1000), (256, 1, 5000), (1024, 512, 100_000)]:
        block = recent.block_segments(cut(None, 1.0, "hann", n, n - hop, False, "density"), count, 8, False)
        assert block % 8 == 0 and block <= count + 7
        assert block * hop >= min(4 * (n - hop), count * hop)
