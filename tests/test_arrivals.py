"""Onsets of pressure steps: the corner, the follower over any cuts, and the picks of simulated bursts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lifeline_core.errors import StateError
from lifeline_core.pipes import pick_arrivals
from lifeline_core.pipes.follower import Follower, Seen, Steps
from lifeline_core.pipes.graph import PipeGraph
from lifeline_core.pipes.onset import corner, refine, robust_sd
from tests.tnet3 import graph, needs_pipes, record

FS = 128.0


def ramp(height: float, at_s: float, rise_s: float, n_s: float = 10.0, sd: float = 0.02, seed: int = 0) -> NDArray[np.float64]:
    t = np.arange(int(n_s * FS)) / FS
    return 40 + height * np.clip((t - at_s) / rise_s, 0, 1) + np.random.default_rng(seed).normal(0, sd, t.size)


def naive_corner(x: NDArray[np.float64]) -> float:
    """Least squares by lstsq at every half sample."""
    t = np.arange(len(x), dtype=float)
    errors = {}
    for k in np.arange(2.0, len(x) - 1.0, 0.5):
        a = np.column_stack([np.ones(len(x)), np.maximum(0, t - k)])
        errors[k] = float(((x - a @ np.linalg.lstsq(a, x, rcond=None)[0]) ** 2).sum())
    return min(errors, key=lambda k: errors[k])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), at=st.floats(4, 30), slope=st.floats(0.1, 5))
def test_the_corner_is_that_of_least_squares(seed: int, at: float, slope: float) -> None:
    x = slope * np.maximum(0, np.arange(40) - at) + np.random.default_rng(seed).normal(0, 0.1, 40)
    assert corner(x)[0] == naive_corner(x)


def test_a_robust_sd_is_that_of_a_normal_sample_and_does_not_see_outliers() -> None:
    x = np.random.default_rng(0).normal(0, 2, 20_000)
    x[:100] = 1e6
    assert robust_sd(x) == pytest.approx(2, rel=0.03)  # its own standard error is 1.2 %


@pytest.mark.parametrize("height", [-5.0, -0.5, 2.0])
@pytest.mark.parametrize("rise_s", [0.002, 0.1, 0.5])
def test_an_onset_is_within_its_own_standard_deviation(height: float, rise_s: float) -> None:
    z = []
    for seed in range(40):
        at = 5.0 + np.random.default_rng(seed).uniform(0, 1 / FS)
        x = ramp(height, at, rise_s, seed=seed)
        onset = refine(x[: int(6 * FS)], int(5.6 * FS), FS, n_quiet=int(4.8 * FS), floor=1e-4)
        assert onset.polarity == np.sign(height)
        assert onset.step == pytest.approx(height, abs=0.02)
        assert onset.noise == pytest.approx(0.02, rel=0.2)
        assert 0 < onset.quality < 1
        assert onset.rise_s == pytest.approx(0.8 * rise_s, abs=0.08)  # noise of 2 cm on a slope of 1 m/s is 20 ms
        if rise_s < 0.01 or abs(height) > 4:
            assert abs(onset.index - at * FS) < 1.0, "below a sample where the noise allows"
        z.append((onset.index / FS - at) / onset.sd_s)
    assert 0.4 < np.sqrt(np.mean(np.square(z))) < 1.5
    assert abs(np.mean(z)) < 0.7


@pytest.mark.parametrize(
    ("height", "rise_s", "seen"),
    [(-0.2, 0.01, False), (-0.36, 0.01, True), (-1.0, 1.0, True), (0.5, 0.1, True), (-1.0, 5.0, False), (-5.0, 60.0, False)],
)
def test_small_and_slow_changes_are_no_steps(height: float, rise_s: float, seen: bool) -> None:
    found = pick_arrivals(ramp(height, 5.0, rise_s, n_s=20.0), FS)
    assert bool(found.polarity[0]) is seen
    assert np.isnan(found.t_s[0]) is not np.bool_(seen)


def test_dips_spikes_and_pulses_of_demand_are_no_steps() -> None:
    t = np.arange(int(20 * FS)) / FS
    quiet = ramp(0.0, 5.0, 1.0, n_s=20.0)
    for dip in (-0.05 * ((t > 8) & (t < 8.5)), -3.0 * ((t > 8) & (t < 8.1)), 50.0 * (np.abs(t - 8) < 0.01)):
        assert not pick_arrivals(quiet + dip, FS).polarity.any()


def test_one_entry_per_sensor_and_the_clock_of_the_caller() -> None:
    p = np.stack([ramp(-2, 4.0, 0.05), ramp(0, 4.0, 0.05, seed=1), ramp(3, 6.0, 0.05, seed=2)])
    found = pick_arrivals(p, FS, t0_s=100.0)
    assert found.t_s[[0, 2]] == pytest.approx([104.0, 106.0], abs=0.01)
    assert found.polarity.tolist() == [-1, 0, 1]
    assert np.isnan(found.t_s[1]) and np.isnan(found.step[1])


def test_refusals() -> None:
    for p, kw, message in [
        (np.zeros((2, 0)), {}, "not empty"),
        (np.zeros((1, 1, 9)), {}, "not empty"),
        (np.zeros(99), {"min_step": 0.0}, "min_step and rise_s are positive"),
    ]:
        with pytest.raises(ValueError, match=message):
            pick_arrivals(p, FS, **kw)
    with pytest.raises(ValueError, match="fs is at least 32 Hz"):
        pick_arrivals(np.zeros(99), 10.0)
    with pytest.raises(StateError):
        Follower(FS, Steps()).load(Follower(256.0, Steps()).save())


def feed(x: NDArray[np.float32], cuts: list[int], saved_at: int = -1) -> tuple[list[Seen], Follower]:
    follower, found = Follower(FS, Steps(hold_s=2.0)), []
    edges = sorted({0, len(x), *(c % len(x) for c in cuts)})
    for k, (a, b) in enumerate(pairwise(edges)):
        found += follower.push(x[None, a:b].copy())
        if k == saved_at:
            state = follower.save()
            follower = Follower(FS, Steps(hold_s=2.0))
            follower.load(state)
    return found, follower


@settings(max_examples=15, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 10_000), max_size=40),
    saved_at=st.integers(-1, 20),
    holes=st.lists(st.integers(0, 1279), max_size=30),
)
def test_cuts_and_saving_never_show(cuts: list[int], saved_at: int, holes: list[int]) -> None:
    x = ramp(-1.0, 5.0, 0.2).astype(np.float32)
    x[holes] = np.nan
    whole, _ = feed(x, [])
    parts, follower = feed(x, cuts, saved_at)
    assert parts == whole
    assert any(s.onset is None for s in whole) and any(s.onset is not None for s in whole)
    assert len(follower.save()) == len(Follower(FS, Steps(hold_s=2.0)).save()), "bounded"


def test_after_a_seam_or_a_long_hole_another_level_is_no_step() -> None:
    x = ramp(0.0, 5.0, 1.0).astype(np.float32)[None]
    follower = Follower(FS, Steps())
    assert not follower.push(x)
    follower.restart()
    assert not follower.push(x - 10)
    assert not follower.push(np.full((1, int(2 * FS)), np.nan, np.float32))
    assert not follower.push(x)
    assert [s.onset.step for s in follower.push(x - 2) if s.onset] == [pytest.approx(-2, abs=0.05)]


def at_speeds(g: PipeGraph, speed: dict[str, float]) -> PipeGraph:
    """The same graph with the pipes' real speeds."""
    ends = zip(g.links, g.link_a, g.link_b, g.length_m, strict=True)
    rows = [(link, g.nodes[a], g.nodes[b], float(length), speed.get(link, 1200.0)) for link, a, b, length in ends]
    return PipeGraph.from_edges(rows, barriers=[n for n, stops in zip(g.nodes, g.barrier, strict=True) if stops])


@needs_pipes
@pytest.mark.data
@pytest.mark.parametrize("name", ["b20", "b36", "b90"])
def test_where_the_wave_is_strong_the_onset_is_right_to_milliseconds(name: str) -> None:
    """2 cm of noise; truth from the real speeds of the pipes. Weak beginnings are noticed late, never early."""
    r = record(name)
    g = at_speeds(graph(), r.speed or {})
    nodes = r.dropping()
    found = pick_arrivals(r.noisy(nodes, 1), r.fs, t0_s=r.t0_s)
    way = g.travel_times(r.node)[[g.index[n] for n in nodes]]
    error = found.t_s - r.onset_s - way
    sure = found.sd_s < 0.0025
    # A quarter of the sensors and more have an onset that sure; a sample is 4 ms.
    assert sure.mean() > 0.2
    assert np.nanmedian(np.abs(error[sure])) < 0.002
    assert np.nanquantile(np.abs(error[sure]), 0.95) < 0.012
    assert np.nanquantile(error / found.sd_s, 0.05) > -3
    heard = found.polarity != 0
    assert heard.mean() > 0.98 and (found.polarity[heard] == -1).mean() > 0.97
