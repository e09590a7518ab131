"""How long a mode must stay away before it is no chance: from the gaps of training, within a budget."""

from __future__ import annotations

import msgpack
import numpy as np
import pytest

from lifeline_core.bridges.absence import HALF, Absence
from lifeline_core.errors import StateError

YEAR = {"windows_per_year": 52_596.0, "false_alarms_per_year": 0.5, "confirm": 3}


def chance(rng: np.random.Generator, n: int, q: float, p: float) -> np.ndarray:
    """Two modes as frequencies, the first missed by the chain of two states, the second always there."""
    f, missed = np.ones((n, 2)), False
    for k in range(n):
        missed = rng.random() < (p if missed else q)
        f[k, 0] = np.nan if missed else 1.0
    return f


def test_the_limit_is_the_least_run_within_the_budget() -> None:
    f = chance(np.random.default_rng(1), 1008, 0.05, 0.1)
    a = Absence.learn(f, np.full(1008, np.nan), **YEAR)
    missed = np.isnan(f[:, 0])
    begun, again, ended = (int((x & y).sum()) for x, y in ((~missed[:-1], missed[1:]), (missed[:-1], missed[1:]),
                                                           (missed[:-1], ~missed[1:])))
    expected = [52_596.0 * (begun + 1) / (int((~missed[:-1]).sum()) + 2)]  # of a run of 1, 2, 3 ... a year
    for i in range(30):
        expected.append(expected[-1] * (1 + again + i) / (4 + again + ended + i))
    assert a.limit[0] == 1 + next(i for i, e in enumerate(expected) if e <= 0.25)
    assert 5 <= a.limit[0] <= 9 and a.share[0] == pytest.approx(0.95, abs=0.02) and a.share[1] == 1.0
    assert a.limit[1] > a.limit[0], "of a mode that was never missed nobody knows how long a gap is"


@pytest.mark.parametrize(("q", "p"), [(0.05, 0.05), (0.05, 0.5), (0.2, 0.8), (0.0, 0.0)])
def test_sound_structures_stay_within_the_budget(q: float, p: float) -> None:
    """Twenty times ten days after a week of training; ten a year are granted to each of two modes."""
    rng, found, days = np.random.default_rng(2), 0, 0.0
    for _ in range(20):
        f = chance(rng, 1008 + 1440, q, p)
        a = Absence.learn(f[:1008], np.full(1008, np.nan), windows_per_year=52_596.0, false_alarms_per_year=20.0, confirm=3)
        before = False
        for row in f[1008:]:
            a.hear(row, np.nan, 0)
            found += bool(a.on[0]) and not before
            before = bool(a.on[0])
        days += 10.0
    assert found <= 10.0 * days / 365.25 + 3.0 * np.sqrt(10.0 * days / 365.25)


def test_a_mode_missed_in_quiet_windows_is_judged_in_loud_ones() -> None:
    rng, n = np.random.default_rng(3), 1008
    level = np.where(np.arange(n) % 144 < 40, -2.0, 0.0) + 0.1 * rng.standard_normal(n)
    f = np.ones((n, 2))
    f[(level < -1.0) & (rng.random(n) < 0.8), 0] = np.nan
    blind, a = Absence.learn(f, np.full(n, np.nan), **YEAR), Absence.learn(f, level, **YEAR)
    assert -1.7 < a.least[0] < -0.5 and a.limit[0] < 0.6 * blind.limit[0]
    assert a.least[1] == pytest.approx(level.min() + HALF)
    for k in range(200):  # a quiet week
        a.hear(np.array([np.nan, 1.0]), -2.0, k)
    assert not a.on.any() and a.run[0] == 0
    for k in range(200, 200 + int(a.limit[0])):
        assert not a.on.any()
        a.hear(np.array([np.nan, 1.0]), -0.2, k)
        a.hear(np.array([np.nan, 1.0]), -2.0, k)  # what is too quiet neither counts nor breaks the run
    assert a.on.tolist() == [True, False] and a.longest == 0 and a.since_ns[0] == 200


def test_windows_that_show_nothing_say_nothing() -> None:
    a = Absence.learn(np.ones((100, 2)), np.zeros(100), **YEAR)
    for _ in range(1000):
        a.hear(np.full(2, np.nan), 0.0, 0)
    alone = Absence.learn(np.ones((100, 1)), np.zeros(100), **YEAR)  # no other mode vouches for the window
    for _ in range(1000):
        alone.hear(np.full(1, np.nan), 0.0, 0)
    assert not a.on.any() and not alone.on.any() and a.longest == -1


def test_it_ends_after_sights_in_a_row_and_state_goes_on() -> None:
    rng = np.random.default_rng(4)
    a = Absence.learn(chance(rng, 500, 0.05, 0.1), np.zeros(500), **YEAR)
    seen = [0] * 40 + [1, 0, 1, 1, 0, 1, 1, 1] + [0] * 40
    on = []
    for k, s in enumerate(seen):
        a.hear(np.array([1.0 if s else np.nan, 1.0]), 0.0, k)
        a = Absence.of(msgpack.unpackb(msgpack.packb(a.save())))
        on.append(bool(a.on[0]))
    k = int(a.limit[0])
    assert on == [False] * (k - 1) + [True] * (47 - k + 1) + [False] * k + [True] * (40 - k + 1)
    assert a.since_ns[0] == 48
    for broken, words in [({"v": 0}, "state of version"), ({"run": b""}, "different lengths"),
                          ({"share": 1}, "cannot be restored")]:
        with pytest.raises(StateError, match=words):
            Absence.of(a.save() | broken)
