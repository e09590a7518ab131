"""Identification without tuning: an exact simulator, stated deviations, close modes held apart and followed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.signal import lfilter

from bench.chain_study import close_record, judged, shapes_apart, summary
from lifeline_core.bridges import Modes, Tracker, identify_modes, mac
from lifeline_core.synth.bridge import mode_acceleration
from lifeline_core.synth.chain import chain

FS = 50.0
C = chain()


def test_the_chain_is_the_exact_zero_order_hold_of_its_state_space() -> None:
    """Masses, springs and modal damping as one matrix, stepped with its exponential; the simulator steps mode by mode."""
    n, dt = 400, 1.0 / FS
    force = np.random.default_rng(1).standard_normal((5, n))
    w = 2 * np.pi * C.f_hz
    k = C.shapes.T @ np.diag(w**2) @ C.shapes  # shapes are orthonormal rows for unit masses
    d = C.shapes.T @ np.diag(2 * C.damping * w) @ C.shapes
    np.testing.assert_allclose(np.diag(k, 1), k[0, 1], rtol=1e-9)  # equal springs
    np.testing.assert_allclose(k - np.tril(np.triu(k, -1), 1), 0.0, atol=1e-9 * k[0, 0])  # between neighbours only
    a = np.block([[np.zeros((5, 5)), np.eye(5)], [-k, -d]])
    b = np.vstack([np.zeros((5, 5)), np.eye(5)])
    both = expm(np.block([[a, b], [np.zeros((5, 15))]]) * dt)
    state, exact = np.zeros(10), np.empty((5, n))
    for i in range(n):
        exact[:, i] = -k @ state[:5] - d @ state[5:] + force[:, i]
        state = both[:10, :10] @ state + both[:10, 10:] @ force[:, i]
    modal = np.stack([mode_acceleration(f, z, FS, u) for f, z, u in zip(C.f_hz, C.damping, C.shapes @ force, strict=True)])
    np.testing.assert_allclose(C.shapes.T @ modal, exact, atol=1e-9 * np.abs(exact).max())


def test_noise_of_the_sensors_is_as_far_below_as_said() -> None:
    x = C.acceleration(200_000, FS, np.random.default_rng(2), noise_db=20.0)
    clean = C.acceleration(200_000, FS, np.random.default_rng(2), noise_db=np.inf)
    np.testing.assert_allclose((x - clean).std(axis=1) / clean.std(axis=1), 0.1, rtol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "runs"), [(3600.0, 12), (600.0, 24)])
def test_stated_deviations_of_modes_are_their_scatter(seconds: float, runs: int) -> None:
    """The full study is `python -m bench.chain_study modes`."""
    told = []
    for seed in range(1000, 1000 + runs):
        x = C.acceleration(round(FS * seconds), FS, np.random.default_rng(seed))
        told.append({"seed": seed, **judged(C, identify_modes(x, FS), seconds)})
    result = summary(told, seconds)
    assert result["right"] >= runs - 1
    ratio = np.array([[m["f_stated_over_scatter"], m["damping_stated_over_scatter"]] for m in result["modes"]])
    # ten ratios, each uncertain by 0.7 / sqrt(runs); 30 % is what they may be off over many runs
    assert (np.abs(np.log(ratio)) < np.log(1.3) + 3 * 0.7 / np.sqrt(runs)).all(), ratio
    assert abs(np.log(ratio).mean()) < np.log(1.3)


def test_a_run_is_judged_by_the_floors() -> None:
    right = Modes(C.f_hz, C.damping, C.shapes.astype(complex), np.ones(5), np.ones(5), np.zeros(5, np.int64))
    assert judged(C, right, 3600.0)["wrong"] == []
    off = np.array([0.0, 0.0, 4.1, 0.0, 0.0]) * C.f_hz * np.sqrt(C.damping / (2 * np.pi * 3600.0 * C.f_hz))
    moved = Modes(C.f_hz + off, C.damping * 1.5, right.shapes, right.f_sd_hz, right.damping_sd, right.order)
    assert "frequency of mode 3" in judged(C, moved, 3600.0)["wrong"]
    assert "damping of mode 5" in judged(C, moved, 3600.0)["wrong"]
    assert judged(C, right.take(slice(0, 4)), 3600.0)["wrong"][0] == "4 modes"


@pytest.mark.parametrize("seed", [1, 2])
def test_close_modes_are_two_and_keep_their_names(seed: int) -> None:
    """2.00 and 2.02 Hz, damping 0.005, in records of an hour, one after the other."""
    rng = np.random.default_rng(seed)
    shapes = shapes_apart(rng, 4, 0.05)
    windows = [identify_modes(close_record(rng, shapes, 3600.0, 20.0, 0.1), 20.0) for _ in range(4)]
    tracker = Tracker(windows[0])
    for m in windows:
        assert len(m) == 2
        np.testing.assert_allclose(m.f_hz, [2.00, 2.02], atol=0.006)
        assert (np.diag(mac(m.shapes, shapes)) >= 0.95).all()
        assert tracker.assign(m).tolist() == [0, 1]
        assert tracker.update(m).tolist() == m.f_hz.tolist()


def test_short_windows_of_close_modes_leave_gaps_and_never_exchange() -> None:
    """Windows of 120 s tell the two apart at times only: what is told of a reference is always its own."""
    rng = np.random.default_rng(5)
    shapes = shapes_apart(rng, 4, 0.05)
    long = identify_modes(close_record(rng, shapes, 3600.0, 20.0, 0.1), 20.0)
    tracker, told = Tracker(long, gate_f=0.02), 0
    for _ in range(25):
        m = identify_modes(close_record(rng, shapes, 120.0, 20.0, 0.1), 20.0)
        at = tracker.assign(m)
        tracker.update(m)
        for i, j in enumerate(at.tolist()):
            if j >= 0:
                told += 1
                assert mac(m.shapes[j], shapes[i]) > mac(m.shapes[j], shapes[1 - i])
    assert told >= 25


def test_a_tone_of_a_machine_is_no_mode_of_much_damping() -> None:
    """A generator at 3.3 Hz over the chain: it may be told, with next to no damping, and spoils no other."""
    x = C.acceleration(30_000, FS, np.random.default_rng(7))
    tone = np.sin(2 * np.pi * 3.3 * np.arange(x.shape[1]) / FS)
    m = identify_modes(x + 0.5 * x.std() * tone * np.array([[1.0], [0.5], [0.2], [0.8], [0.1]]), FS)
    near = [int(np.argmin(np.abs(m.f_hz - f))) for f in C.f_hz]
    np.testing.assert_allclose(m.f_hz[near], C.f_hz, rtol=0.01)
    others = np.delete(np.arange(len(m)), near)
    assert (np.abs(m.f_hz[others] - 3.3) < 0.01).all() and (m.damping[others] < 1e-3).all()


def test_coloured_noise_has_no_modes() -> None:
    noise = lfilter([1.0], [1.0, -0.9], np.random.default_rng(8).standard_normal((4, 30_000)), axis=1)
    assert len(identify_modes(noise, FS)) == 0
