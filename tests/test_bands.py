"""Rows over the open lines of two channels against their twins: windows, runs, coherency and the band that stands out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.pipes.cross import best, closer, coherency, shared
from tests.twins import bands as twin

SURE, HOLDS = 4.5, 1.5
SIZES = [1, 2, 7, 14, 15, 16, 40, 130, 300]


def rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sizes of a coherency with a stretch that stands out and some faint ones, and what chance makes of it."""
    rng = np.random.default_rng([n, seed])
    chance = 0.05 * rng.uniform(1.0, 3.0, n)
    size = np.sqrt(chance * rng.exponential(size=n))
    size[n // 4 : n // 2] += (0.0, 0.3, 0.6)[seed % 3]
    size[n // 2 :] += (0.0, 0.1, 0.05)[seed % 3]
    return np.minimum(size, 1.0), chance


@pytest.mark.parametrize("n", SIZES)
def test_shared_is_the_twin(n) -> None:
    some = 0
    for seed in range(6):
        size, chance = rows(n, seed)
        for few, many in ((7, 63), (1, 2), (3, 400)):
            got = shared(size, chance, few, many, SURE, HOLDS, 1.4)
            np.testing.assert_allclose(got, twin.shared(size, chance, few, many, SURE, HOLDS, 1.4), atol=1e-10)
            some += np.count_nonzero(got)
    assert some > 0 or n < 40


@pytest.mark.parametrize("n", SIZES)
def test_closer_is_the_twin(n) -> None:
    changed = 0
    for seed in range(6):
        size, chance = rows(n, seed)
        x = size * np.sign(np.random.default_rng(seed).uniform(-0.3, 1.0, n))
        for half in (7, 63, 508):
            wide = np.full(n, 0.3 * (seed % 2))
            out = wide.copy()
            closer(x, chance, out, half, SURE, HOLDS, 0.97)
            np.testing.assert_allclose(out, twin.closer(x, chance, wide, half, SURE, HOLDS, 0.97), atol=1e-10)
            changed += np.count_nonzero(out != wide)
    assert changed > 0 or n < 40


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-90, 90), min_size=1, max_size=40))
def test_runs_begin_and_end_where_they_should(z) -> None:
    # windows of one line, deviation 1e-3; no value at a limit, where rounding would decide
    x = (np.array(z) / 10.0 + 0.05) * 1e-3
    x[np.isin(z, (14, 15, 44, 45, -15, -16, -45, -46))] = 2e-3
    out = np.zeros(x.size)
    closer(x, np.full(x.size, 1e-6), out, 0, SURE, HOLDS, 1.0)
    near = x / (1e-3 * np.maximum(1.0 - x * x, 1e-3))
    both = twin.runs(near, SURE, HOLDS) | twin.runs(-near, SURE, HOLDS)
    np.testing.assert_allclose(out, np.where(both & (x > 1.5e-3), x, 0.0), atol=1e-12)


def spectra(n: int, seed: int) -> list[np.ndarray]:
    """s11, s22, s12, q of a few segments, with lines that have no power."""
    rng = np.random.default_rng([n, seed])
    a, b = rng.standard_normal((2, 5, n)) + 1j * rng.standard_normal((2, 5, n))
    b = b + a
    a[:, rng.random(n) < 0.1] = 0.0
    pa, pb = np.abs(a) ** 2, np.abs(b) ** 2
    return [pa.mean(0) * 1e9, pb.mean(0) * 1e-9, (a.conj() * b).mean(0), (pa * pb).mean(0)]


@pytest.mark.parametrize("n", SIZES)
def test_coherency_is_the_twin(n) -> None:
    for seed in range(4):
        given_ = (*spectra(n, seed), np.random.default_rng(seed).random(n) < 0.8, -1.0 if seed % 2 else 1.0, 5.0, 1.06, 7)
        got, want = coherency(*given_), twin.coherency(*given_)
        np.testing.assert_array_equal(got[0], want[0])
        for one, two in zip(got[1:], want[1:], strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)
    shut = coherency(*spectra(n, 0), np.zeros(n, bool), 1.0, 5.0, 1.06, 7)
    assert all(row.size == 0 for row in shut)


@pytest.mark.parametrize("n", [14, 15, 40, 130, 300])
def test_best_is_the_twin(n) -> None:
    for seed in range(8):
        size, chance = rows(n, seed)
        rng = np.random.default_rng([seed, n])
        x = size * rng.uniform(-1.0, 1.0 + seed % 3, n) / 3.0
        at = np.cumsum(rng.integers(1, 4, n))
        edges = np.unique(np.concatenate([[0], np.geomspace(7, n, 20).astype(np.int64)]))
        even = np.full(n, 1.5 * np.median(size))
        got = best(x, size, even, chance, at, edges, 14, 0.97, 0.3)
        want = twin.best(x, size, even, chance, at, edges, 14, 0.97, 0.3)
        assert got[2:] == want[2:]
        assert got[:2] == pytest.approx(want[:2], rel=1e-9)


def test_nothing_and_what_is_not_finite() -> None:
    none, index = np.empty(0), np.empty(0, np.int64)
    assert shared(none, none, 7, 63, SURE, HOLDS, 1.4).size == 0
    closer(none, none, none, 7, SURE, HOLDS, 1.0)
    assert best(none, none, none, none, index, index, 14, 1.0, 1.0) == (0.0, 1.0, 0, 0, 0)
    assert coherency(none, none, none.astype(complex), none, np.zeros(0, bool), 1.0, 5.0, 1.0, 7)[0].size == 0
    bad = np.full(40, np.nan)
    assert not shared(bad, np.full(40, 0.1), 7, 63, SURE, HOLDS, 1.4).any()
    out = np.full(40, 0.2)
    closer(bad, np.full(40, 0.1), out, 7, SURE, HOLDS, 1.0)
    assert (out == 0.2).all()
    z, *_, low, high = best(bad, bad, bad, bad, np.arange(40), np.array([0, 20, 40]), 14, 1.0, 1.0)
    assert np.isnan(z) and (low, high) == (0, 20)
    assert coherency(bad, bad, bad.astype(complex), bad, np.ones(40, bool), 1.0, 5.0, 1.0, 7)[0].size == 0


def test_refusals() -> None:
    x, c, at = np.ones(20), np.ones(20, complex), np.arange(20)
    for call in (lambda: shared(x, x[1:], 7, 63, SURE, HOLDS, 1.0), lambda: closer(x, x[1:], x.copy(), 7, SURE, HOLDS, 1.0),
                 lambda: closer(x, x, x[1:].copy(), 7, SURE, HOLDS, 1.0), lambda: best(x, x[1:], x, x, at, at, 14, 1.0, 1.0),
                 lambda: best(x, x, x, x, at[1:], at, 14, 1.0, 1.0), lambda: best(x, x, x, x, at - 3, at, 14, 1.0, 1.0),
                 lambda: best(x, x, x, x, at, at - 3, 14, 1.0, 1.0), lambda: best(x, x, x, x, at, at + 3, 14, 1.0, 1.0),
                 lambda: best(x, x, x, x, at, at[::-1].copy(), 14, 1.0, 1.0),
                 lambda: coherency(x, x[1:], c, x, x > 0, 1.0, 5.0, 1.0, 7),
                 lambda: coherency(x, x, c[1:], x, x > 0, 1.0, 5.0, 1.0, 7),
                 lambda: coherency(x, x, c, x, x[1:] > 0, 1.0, 5.0, 1.0, 7)):
        with pytest.raises(ValueError, match=r"lengths do not fit|outside its range"):
            call()
