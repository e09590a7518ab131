"""Modes followed from window to window: none forced, none exchanged."""

from __future__ import annotations

import numpy as np
import pytest

from lifeline_core.bridges import Modes, Tracker, common_modes
from lifeline_core.errors import StateError

SHAPES = np.array([[1.0, 0.5, 0.2], [0.3, 1.0, -0.6], [-0.2, 0.7, 1.0]], np.complex128)


def modes(f: list[float], shapes: np.ndarray) -> Modes:
    n = len(f)
    return Modes(np.array(f, float), np.full(n, 0.01), np.array(shapes, np.complex128).reshape(n, 3), np.full(n, np.nan),
                 np.full(n, np.nan), np.zeros(n, np.int64))  # fmt: skip


REFERENCE = modes([1.0, 2.0, 2.02], SHAPES)


def test_close_modes_keep_their_shapes_whatever_the_order() -> None:
    found = modes([2.015, 2.005, 1.01], SHAPES[[1, 2, 0]])  # the close ones have crossed
    assert Tracker(REFERENCE).update(found).tolist() == [1.01, 2.015, 2.005]


def test_what_is_not_there_is_missing() -> None:
    t = Tracker(REFERENCE)
    assert np.isnan(t.update(modes([], np.empty((0, 3))))).all()
    f = t.update(modes([1.2, 2.0], [SHAPES[0], SHAPES[0]]))  # too far in frequency; another shape
    assert np.isnan(f).all()
    assert t.f_hz.tolist() == [1.0, 2.0, 2.02]


def test_turned_and_scaled_shapes_are_the_same() -> None:
    t = Tracker(REFERENCE, follow=0.5)
    for _ in range(20):
        f = t.update(modes([1.02, 2.0, 2.02], SHAPES * np.array([[-3.0], [1j], [0.1]])))
    assert f.tolist() == [1.02, 2.0, 2.02]
    assert t.f_hz[0] == pytest.approx(1.02, abs=1e-4)
    np.testing.assert_allclose(t.shapes, SHAPES, atol=1e-9)


def test_a_slow_drift_is_followed_beyond_the_gate() -> None:
    t = Tracker(modes([1.0], SHAPES[:1]), follow=0.2)
    for f in np.linspace(1.0, 1.3, 200):
        assert t.update(modes([f], SHAPES[:1]))[0] == f


def test_the_nearer_reference_gets_a_mode_even_if_the_other_then_has_none() -> None:
    """Two pairs far off would be more pairs than one that fits: nobody is forced on to make room."""
    reference = modes([1.0, 1.075], SHAPES[[0, 0]])
    like = np.array([1.0, 1.0, 0.2])  # MAC 0.90 to both
    assert Tracker(reference).assign(modes([0.922], like)).tolist() == [0, -1]
    found = modes([1.002, 0.922], np.stack([SHAPES[0], like]))
    assert Tracker(reference).assign(found).tolist() == [0, -1]


def test_missing_for_a_thousand_windows_and_back() -> None:
    rng = np.random.default_rng(3)
    t = Tracker(REFERENCE)
    for _ in range(100):
        t.update(modes(list(REFERENCE.f_hz + rng.normal(0, 1e-3, 3)), SHAPES))
    before = t.f_hz[1], t.shapes[1].copy()
    for _ in range(1000):
        f = t.update(modes(list(REFERENCE.f_hz[[0, 2]] + rng.normal(0, 1e-3, 2)), SHAPES[[0, 2]]))
        assert np.isnan(f[1]) and np.isfinite(f[[0, 2]]).all()
    assert t.f_hz[1] == before[0] and t.shapes[1].tobytes() == before[1].tobytes()
    f = t.update(modes([1.0, 2.0, 2.02], SHAPES))
    assert f.tolist() == [1.0, 2.0, 2.02]


def test_modes_that_cross_with_the_weather_keep_their_shapes() -> None:
    """One mode softens with heat, the other does not: they change places in frequency twice, by MAC alone they are told apart."""
    rng = np.random.default_rng(4)
    t = Tracker(modes([2.0, 2.04], SHAPES[1:]))
    for k in range(1200):
        heat = 0.04 * (1.0 - np.cos(2 * np.pi * k / 600.0))  # up to 8 %
        f = np.array([2.0, 2.04 * (1.0 - heat)]) + rng.normal(0, 1e-3, 2)
        shapes = SHAPES[1:] + 0.05 * rng.standard_normal((2, 3))
        order = rng.permutation(2)
        told = t.update(modes(list(f[order]), shapes[order]))
        assert told.tolist() == f.tolist(), k


def test_where_two_modes_repel_each_other_the_mixed_ones_are_missing() -> None:
    """Veering: frequencies come near and part again, the shapes go over into each other within a few windows."""
    t = Tracker(modes([2.0, 2.1], np.eye(3)[:2]))
    told = []
    for turn in np.linspace(0.0, np.pi / 2, 9):
        gap = 0.02 + 0.08 * abs(np.cos(2 * turn))
        c, s = np.cos(turn), np.sin(turn)
        f = [2.05 - gap / 2, 2.05 + gap / 2]
        told.append([np.nan if i < 0 else i for i in t.assign(modes(f, np.array([[c, s, 0.0], [-s, c, 0.0]]))).tolist()])
        t.update(modes(f, np.array([[c, s, 0.0], [-s, c, 0.0]])))
    assert told[0] == [0, 1] and told[-1] == [1, 0]  # each reference is where its shape is
    assert np.isnan(told[4]).all()  # half and half: neither


def found_at(f: float, rng: np.random.Generator) -> Modes:
    return modes([f * (1.0 + 1e-3 * rng.standard_normal())], SHAPES[:1])


def test_a_jump_is_told_and_not_followed() -> None:
    rng = np.random.default_rng(5)
    t = Tracker(modes([1.0], SHAPES[:1]))
    for _ in range(300):
        t.update(found_at(1.0, rng))
    f = [t.update(found_at(0.98, rng))[0] for _ in range(1500)]
    assert np.mean(f) == pytest.approx(0.98, abs=2e-4)
    assert t.f_hz[0] == pytest.approx(1.0, abs=2e-3)
    assert t.jumps_hz[0] == pytest.approx(-0.02, abs=3e-3)


def test_a_drift_is_followed_before_and_after_a_jump() -> None:
    rng = np.random.default_rng(6)
    t = Tracker(modes([1.0], SHAPES[:1]))
    for k in range(2000):
        t.update(found_at(1.0 + 0.03 * k / 2000 - 0.02 * (k >= 1000), rng))
    assert t.f_hz[0] == pytest.approx(1.03, abs=4e-3)


def test_one_odd_window_leaves_no_trace() -> None:
    rng = np.random.default_rng(7)
    t = Tracker(modes([1.0], SHAPES[:1]))
    for k in range(400):
        t.update(found_at(1.05 if k % 50 in (20, 21) else 1.0, rng))
    assert t.f_hz[0] == pytest.approx(1.0, abs=1e-3)
    assert t.jumps_hz[0] == 0.0


def test_common_modes_of_windows() -> None:
    rng = np.random.default_rng(1)
    windows = [modes([1.0 + 0.002 * rng.standard_normal(), 2.0, 2.02], SHAPES) for _ in range(9)]
    windows.append(modes([5.0], SHAPES[:1]))
    found = common_modes(windows)
    np.testing.assert_allclose(found.f_hz, [1.0, 2.0, 2.02], atol=0.01)


def test_goes_on_bit_for_bit() -> None:
    a = Tracker(REFERENCE, follow=0.3)
    a.update(modes([1.01, 2.01], SHAPES[:2]))
    b = Tracker(REFERENCE, follow=0.3)
    b.load(a.save())
    later = modes([1.02, 2.0, 2.03], SHAPES)
    assert a.update(later).tobytes() == b.update(later).tobytes()
    assert a.save() == b.save()
    assert Tracker.of(a.save(), 3, follow=0.3).save() == a.save()
    with pytest.raises(StateError, match="3 modes"):
        Tracker(REFERENCE).load(Tracker(modes([1.0], SHAPES[:1])).save())


def test_refusals() -> None:
    with pytest.raises(ValueError, match="gate_f"):
        Tracker(REFERENCE, gate_f=0.0)
    with pytest.raises(ValueError, match="at least one window"):
        common_modes([])
