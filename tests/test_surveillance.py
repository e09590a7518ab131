"""One structure over many windows, without signals: frequencies are drawn, the weather moves them, something breaks."""

from __future__ import annotations

import msgpack
import numpy as np
import pytest

from lifeline_core.bridges.modes import Modes
from lifeline_core.bridges.surveillance import Plan, Surveillance, Verdict
from lifeline_core.errors import StateError

F = np.array([0.9, 2.6, 4.1, 5.3])
SHAPES = np.linalg.qr(np.random.default_rng(3).standard_normal((4, 4)))[0].astype(np.complex128)
SCATTER = 0.0012
PLAN = Plan(learn=6, train=150, confirm=3, windows_per_year=8766.0)


def modes(f: np.ndarray, rng: np.random.Generator, missing: float = 0.05) -> Modes:
    f = f * (1 + rng.normal(0, SCATTER, len(f)))
    there = rng.random(len(f)) >= missing
    n, sd = int(there.sum()), np.full(int(there.sum()), np.nan)
    return Modes(f[there], np.full(n, 0.01), SHAPES[: len(f)][there], sd, sd, np.zeros(n, np.int64))


def course(n: int, seed: int = 1, damage: float = 0.0, at: int = 10**9, creep: float = 0.0) -> list[tuple[Modes, np.ndarray]]:
    rng = np.random.default_rng(seed)
    t = 15 + 8 * np.sin(2 * np.pi * np.arange(n) / 24) + 5 * np.sin(2 * np.pi * np.arange(n) / 150) + rng.normal(0, 0.3, n)
    out = []
    for k in range(n):
        f = F * (1 - 0.002 * (t[k] - 15))
        lost = damage * (k >= at) + creep * max(k - at, 0)
        out.append((modes(f * (1 - lost * np.array([1.0, 0.3, 0.1, 0.0])), rng), t[k : k + 1]))
    return out


def play(rows: list[tuple[Modes, np.ndarray]], env: bool, s: Surveillance | None = None) -> list[Verdict]:
    s = s or Surveillance(PLAN, 600.0, int(env))
    return [s.window(m, t if env else None) for m, t in rows]


@pytest.mark.parametrize("env", [True, False])
def test_damage_is_told_from_the_weather(env: bool) -> None:
    seen = play(course(400, damage=0.019, at=300), env)
    assert [v.phase for v in seen[:6]] == ["learn"] * 6
    assert not any(v.change or v.drift for v in seen[:300])
    first = next(k for k, v in enumerate(seen) if v.change)
    assert 302 <= first <= 310  # three windows in a row
    v = seen[first]
    assert v.mean_moved is not None
    if env:
        assert v.mean_moved[0] == pytest.approx(-0.019, abs=4 * SCATTER / np.sqrt(3))
    assert all(v.change for v in seen[first:])


def test_a_sound_structure_stays_quiet_and_one_odd_window_is_nothing() -> None:
    rows = course(1500, seed=5)
    m, t = rows[700]
    rows[700] = (Modes(m.f_hz * 0.97, m.damping, m.shapes, m.f_sd_hz, m.damping_sd, m.order), t)
    seen = play(rows, True)
    assert seen[700].odd
    assert not any(v.change or v.drift for v in seen)


def test_slow_creep_is_a_drift_before_it_is_a_change() -> None:
    seen = play(course(700, creep=0.00001, at=250), True)
    drift = next(k for k, v in enumerate(seen) if v.drift)
    assert drift > 250
    assert not any(v.change for v in seen[: drift + 1])


def test_windows_without_modes_or_weather_say_nothing() -> None:
    s = Surveillance(PLAN, 600.0, 1)
    play(course(200), True, s)
    empty = Modes(*(np.empty(0),) * 2, np.empty((0, 4), np.complex128), *(np.empty(0),) * 2, np.empty(0, np.int64))  # type: ignore[arg-type]
    for m, t in [(empty, np.array([15.0])), (course(1)[0][0], np.array([np.nan]))]:
        v = s.window(m, t)
        assert np.isnan(v.d2) and not v.odd


def test_a_repaired_structure_is_sound_again() -> None:
    rows = course(300, damage=0.019, at=250) + course(40, seed=9)
    seen = play(rows, True)
    assert seen[299].change and not seen[-1].change


@pytest.mark.parametrize("cut", [3, 100, 170, 310])
def test_state_goes_on(cut: int) -> None:
    rows = course(330, damage=0.019, at=300)
    whole = play(rows, True)
    s = Surveillance(PLAN, 600.0, 1)
    first = play(rows[:cut], True, s)
    saved = msgpack.unpackb(msgpack.packb(s.save()))
    again = Surveillance(PLAN, 600.0, 1)
    again.load(saved)
    assert [repr(v) for v in first + play(rows[cut:], True, again)] == [repr(v) for v in whole]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="train 10 or more"):
        Surveillance(Plan(train=3), 600.0)
    with pytest.raises(ValueError, match="env must hold 1 values"):
        Surveillance(PLAN, 600.0, 1).window(course(1)[0][0], np.zeros(2))
    s = Surveillance(PLAN, 600.0, 1)
    with pytest.raises(StateError, match="another version or plan"):
        Surveillance(PLAN, 600.0, 0).load(s.save())
    broken = s.save() | {"numbers": [1.0]}
    with pytest.raises(StateError, match="cannot be restored"):
        s.load(broken)
