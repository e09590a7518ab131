"""One structure over many windows, without signals: frequencies are drawn, the weather moves them, something breaks."""

from __future__ import annotations

import msgpack
import numpy as np
import pytest

from lifeline_core.bridges.identify import frequency_floor
from lifeline_core.bridges.modes import Modes
from lifeline_core.bridges.surveillance import Plan, Surveillance, Verdict
from lifeline_core.errors import StateError
from lifeline_core.model import NS

F = np.array([0.9, 2.6, 4.1, 5.3])
SHAPES = np.linalg.qr(np.random.default_rng(3).standard_normal((4, 4)))[0].astype(np.complex128)
SCATTER = 0.0012
STEP_NS = 60 * NS
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


def silent(m: Modes, *rows: int) -> Modes:
    """Without the modes near those of the rows."""
    return m.take(~np.isin(np.argmin(np.abs(m.f_hz[:, None] - F), axis=1), rows))


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
    assert not any(v.drift for v in seen) and all(v.sum == 0.0 for v in seen[first:]), "what came at once is not slow"


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


def test_nothing_is_said_of_what_windows_of_that_length_cannot_know() -> None:
    """A structure far steadier than its own floor: each window is beyond the limit, none can know it."""
    def steady(n: int, moved: float, at: int) -> list[Verdict]:
        rng = np.random.default_rng(4)
        rows = [Modes(F * (1 + 1e-5 * rng.standard_normal(4) + moved * (k >= at)), np.full(4, 0.01), SHAPES, np.full(4, np.nan),
                      np.full(4, np.nan), np.zeros(4, np.int64)) for k in range(n)]
        s = Surveillance(PLAN, 600.0)
        return [s.window(m) for m in rows]

    floor = float(frequency_floor(F[-1], 0.01, 1800.0)) / F[-1]  # the sharpest mode, over three windows
    seen = steady(200, 3.0 * floor, 190)
    assert all(v.odd for v in seen[190:]) and not any(v.change for v in seen[:194])
    assert steady(200, 5.0 * floor, 190)[192].change
    assert not any(v.change or v.drift for v in steady(260, 0.1 * floor, 190))  # seventy windows know a fifth of it at best


def test_a_drift_says_what_moved_since_it_began() -> None:
    seen = play(course(700, creep=0.00001, at=250), True)
    first = next(v for v in seen if v.drift)
    assert first.drift_moved is not None and first.since_ns[1] == 0
    assert int(np.argmin(first.drift_moved)) == 0 and -0.004 < first.drift_moved[0] < -0.0005


def test_without_weather_a_mode_is_told_against_the_others() -> None:
    """All modes go down together with the weather of training; then one alone by 1.9 %."""
    rows = course(320, seed=2)
    alone = [(Modes(m.f_hz * np.where(np.abs(m.f_hz / F[1] - 1) < 0.1, 0.981, 1.0), m.damping, m.shapes, m.f_sd_hz, m.damping_sd,
                    m.order), t) for m, t in course(320, seed=2)]
    seen = play(rows[:300] + alone[300:], False)
    v = next(v for v in seen if v.change)
    assert v.mean_moved is not None
    assert v.mean_moved[1] == pytest.approx(-0.019, abs=0.003)


def test_a_mode_that_stays_away_is_missing_and_one_that_is_weak_is_not() -> None:
    """A mode goes missing in quiet nights of training; a quiet week later is nothing, a loud day without it is."""
    def bridge(n: int, gone_at: int) -> list[Verdict]:
        s, rng, out = Surveillance(PLAN, 600.0, 1), np.random.default_rng(8), []
        for k, (m, t) in enumerate(course(n, seed=8)):
            night = k % 24 < 6 or 300 <= k < 400
            weak = (2,) if night and rng.random() < 0.7 else ()
            out.append(s.window(silent(m, *weak, *((1,) if k >= gone_at else ())), t, level=-1.0 * night + 0.1 * rng.normal(),
                                begin_ns=k))
        return out

    assert not any(v.missing for v in bridge(700, 10**9))
    seen = bridge(500, 450)
    first = next(k for k, v in enumerate(seen) if v.missing)
    assert 452 <= first <= 475 and seen[first].missing == (1,)
    assert 450 <= seen[first].since_ns[2] <= 452
    assert all(v.missing == (1,) for v in seen[first:])


def test_what_is_seen_again_is_not_missing() -> None:
    rows = course(300, seed=3)
    rows = [(silent(m, 3), t) if 200 <= k < 240 else (m, t) for k, (m, t) in enumerate(rows)]
    seen = play(rows, True)
    assert seen[235].missing == (3,) and seen[239].missing == (3,)
    assert seen[250].missing == ()


def test_modes_missed_together_by_a_dead_channel_are_no_absence() -> None:
    """A window that shows no mode at all could not have shown this one either."""
    rows = course(300, seed=3)
    rows = [(silent(m, 0, 1, 2, 3), t) if k >= 200 else (m, t) for k, (m, t) in enumerate(rows)]
    assert not any(v.missing or v.change for v in play(rows, True))


def sliding(n: int, m: int, seed: int, damage: float = 0.0, at: int = 10**9) -> tuple[list[Verdict], Surveillance]:
    """Windows of m blocks, one ending with every block: each block has its own error, a window the mean of its blocks'."""
    rng = np.random.default_rng(seed)
    t = 15 + 8 * np.sin(2 * np.pi * np.arange(n) / (24 * m))
    own = rng.normal(0, SCATTER * np.sqrt(m), (n + m, len(F)))
    mean = np.cumsum(np.vstack([np.zeros(len(F)), own]), axis=0)
    mean = (mean[m:] - mean[:-m]) / m
    s = Surveillance(Plan(6, 150, 3, 52_600.0 * m, 0.5, m), 600.0, 1)
    nan = np.full(len(F), np.nan)
    out = []
    for k in range(n):
        f = F * (1 - 0.002 * (t[k] - 15)) * (1 + mean[k]) * (1 - damage * (k >= at) * np.array([1.0, 0.3, 0.1, 0.0]))
        m_k = Modes(f, np.full(4, 0.01), SHAPES, nan, nan, np.zeros(4, np.int64))
        out.append(s.window(m_k, t[k : k + 1], begin_ns=k * STEP_NS * 10 // m))
    return out, s


def test_overlapping_windows_learn_from_those_that_share_nothing() -> None:
    seen, s = sliding(10 * 156, 10, 1)
    assert [v.phase for v in seen].count("learn") == 51 and s.baseline is not None and s.baseline.windows == 150
    assert seen[-10].phase == "train" and seen[-9].phase == "watch"


def test_after_a_gap_the_next_window_shares_nothing_with_those_before() -> None:
    s, rows = Surveillance(Plan(6, 150, 3, 52_600.0, 0.5, 10), 600.0, 1), course(40)
    at = [60 * k + (3600 * (k // 4)) for k in range(40)]  # four windows, an hour of nothing
    for second, (m, t) in zip(at, rows, strict=True):
        s.window(m, t, begin_ns=second * NS)
    assert s.tracker is not None and len(s.rows) == 10 - 6


def test_overlapping_windows_see_damage_within_the_length_of_those_that_confirm() -> None:
    seen, _ = sliding(1700, 10, 2, damage=0.019, at=1600)
    assert not any(v.change or v.drift for v in seen[:1600])
    first = next(k for k, v in enumerate(seen) if v.change)
    assert 1620 <= first <= 1635  # (3 - 1) * 10 + 1 in a row
    assert seen[first].since_ns[0] >= 1600 * STEP_NS


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
    for broken in ({"counts": [1]}, {"drift": {"v": 1}}, {"absence": {"v": 1}}, {"rows": 3}):
        with pytest.raises(StateError, match="cannot be restored"):
            s.load(s.save() | broken)
