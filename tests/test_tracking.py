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
    with pytest.raises(StateError, match="3 modes"):
        Tracker(REFERENCE).load(Tracker(modes([1.0], SHAPES[:1])).save())


def test_refusals() -> None:
    with pytest.raises(ValueError, match="gate_f"):
        Tracker(REFERENCE, gate_f=0.0)
    with pytest.raises(ValueError, match="at least one window"):
        common_modes([])
