"""Rainflow counting against the example of the standard, a list-based twin and the package of that name."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lifeline_core.dsp.rainflow import Cycles, Rainflow, RainflowBins, damage, rainflow
from lifeline_core.errors import StateError
from tests.twins import rainflow as twin

ASTM = [-2, 1, -3, 5, -1, 3, -4, 4, -2]

# Few values, so that ranges are equal, plateaus are long and the direction often stays.
steps = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=300)


def listed(cycles: Any) -> list[tuple[float, float, float]]:
    ranges, means, counts = cycles[:3]
    assert ranges.dtype == means.dtype == counts.dtype == np.float64
    return list(zip(ranges.tolist(), means.tolist(), counts.tolist(), strict=True))


def histories() -> dict[str, NDArray[np.float64]]:
    rng, i = np.random.default_rng(1), np.arange(5000)
    return {
        "noise": rng.standard_normal(5000),
        "rounded": np.round(2 * rng.standard_normal(5000)),
        "walk": np.cumsum(rng.standard_normal(5000)),
        "sines": np.sin(i / 27.0) + 0.5 * np.sin(i / 6.1) + 0.1 * np.sin(i / 300),
        "growing": i * (-1.0) ** i,
        "shrinking": (5000 - i) * (-1.0) ** i,
        "equal": (-1.0) ** i,
        "ramp": i.astype(float),
        "plateaus": np.repeat(rng.standard_normal(2500), rng.integers(2, 20, 2500))[:5000],
    }


def test_the_example_of_the_standard() -> None:
    ranges, _means, counts, state = rainflow(ASTM)
    sums: Counter[float] = Counter()
    for r, c in zip(ranges.tolist(), counts.tolist(), strict=True):
        sums[r] += c
    assert sums == {3.0: 0.5, 4.0: 1.5, 6.0: 0.5, 8.0: 1.0, 9.0: 0.5}
    assert listed(state.residue()[0]) == [(9.0, 0.5, 0.5), (8.0, 0.0, 0.5), (6.0, 1.0, 0.5)]


def test_small_ones() -> None:
    """What moves not has no cycles; two samples that differ are half a cycle."""
    for still in ([5.0], [5.0, 5.0], [0.0] * 2000, [np.nan], [np.nan, 1.0, np.inf]):
        assert listed(rainflow(still)) == []
    assert listed(rainflow([1.0, 3.0])) == [(2.0, 2.0, 0.5)]
    assert listed(rainflow([1.0, 3.0, 3.0, 1.0])) == [(2.0, 2.0, 0.5), (2.0, 2.0, 0.5)]


@pytest.mark.parametrize("name", histories())
def test_equals_the_package(name: str) -> None:
    package = pytest.importorskip("rainflow")
    for x in (histories()[name], histories()[name].astype(np.float32)):
        wanted = [c[:3] for c in package.extract_cycles(x.tolist())]
        assert listed(rainflow(x)) == wanted == twin.cycles(x.tolist())


@settings(max_examples=150, deadline=None)
@given(x=steps, cuts=st.lists(st.integers(0, 300), max_size=8), saves=st.sets(st.integers(0, 8)), half=st.booleans())
def test_stream_equals_twin_however_cut(x: list[float], cuts: list[int], saves: set[int], half: bool) -> None:
    values = np.array(x, np.float32 if half else np.float64)
    wanted = twin.cycles(x)
    assert listed(rainflow(values)) == wanted
    flow, got = Rainflow(1), []
    for i, (a, b) in enumerate(pairwise([0, *sorted(min(c, len(x)) for c in cuts), len(x)])):
        got += listed(flow.push(values[a:b])[0])
        assert listed(flow.residue()[0]) == listed(flow.residue()[0])  # asking changes nothing
        if i in saves:
            fresh = Rainflow(1)
            fresh.load(flow.save())
            flow = fresh
    assert got + listed(flow.finish()[0]) == wanted
    assert listed(flow.push(values, finish=True)[0]) == wanted  # finish began a new history


@settings(max_examples=100, deadline=None)
@given(x=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=200))
def test_any_floats(x: list[float]) -> None:
    """Tiny, huge, denormal, not finite; 2**1023 and more is passed over like infinity, its range might be one."""
    seen = [v if abs(v) < 2.0**1023 else float("nan") for v in x]
    told = rainflow(x)
    assert listed(told) == twin.cycles(seen)
    assert told[3].bad.tolist() == [sum(v != v for v in seen)]


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 66, 1023, 1024, 1025, 1026, 2048, 2050, 5000])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_edges_of_blocks(n: int, kind: type) -> None:
    rng = np.random.default_rng(n)
    for x in (rng.standard_normal(n), np.round(rng.standard_normal(n)), np.repeat(rng.standard_normal(n), 70)[:n], np.arange(n)):
        x = x.astype(kind)
        lead = np.concatenate([np.full(n, x[0]), x])  # a level start as long as itself
        assert listed(rainflow(x)) == twin.cycles(x.tolist())
        assert listed(rainflow(lead)) == twin.cycles(x.tolist())


def test_functions_with_state() -> None:
    x = histories()["noise"]
    whole = listed(rainflow(x))
    *a, state = rainflow(x[:1000], finish=False)
    *b, later = rainflow(x[1000:1500], state=state)
    *c, end = rainflow(x[1500:], state=later, finish=True)
    assert listed(a) + listed(b) + listed(c) == whole
    assert listed(rainflow(x[1000:1500], state=state)) == listed(b)  # the state given was not changed
    assert listed(end.residue()[0]) == whole[-len(end.residue()[0].ranges) :]
    started = rainflow(x, state=Rainflow(1))
    assert listed(started) == whole[: len(started[0])]


def test_what_is_not_finite_is_passed_over() -> None:
    x = histories()["noise"]
    holes = np.insert(x, [0, 5, 5, 1024, 3000, 5000], [np.nan, np.inf, np.nan, -np.inf, np.nan, np.nan])
    for kind in (np.float32, np.float64):
        told = rainflow(holes.astype(kind))
        assert listed(told) == listed(rainflow(x.astype(kind)))
        assert told[3].bad.tolist() == [6]
    flow = Rainflow(2)
    rows = np.stack([x, x])
    rows[0, 100:200] = np.nan
    told_rows = flow.push(rows)
    assert flow.bad.tolist() == [100, 0]
    assert listed(told_rows[1]) == listed(Rainflow(1).push(x)[0])


def test_shrinking_swings_take_memory_and_give_it_all_back() -> None:
    """Nothing closes for a million reversals; then one swing closes every other pair of them."""
    n = 1_000_000
    x = (np.arange(n, 0, -1) * (-1.0) ** np.arange(n)).astype(np.float32)
    flow = Rainflow(1)
    assert len(flow.push(x)[0].ranges) == 0 and flow.pending.tolist() == [n - 1]
    copy = flow.copy()
    fresh = Rainflow(1)
    fresh.load(flow.save())
    for same in (flow, copy, fresh):
        told = same.push([2e6, -2e6, 2e6, -2e6])[0]
        assert same.pending.tolist() == [2] and len(told.ranges) == n // 2 + 2
    growing = Rainflow(1)
    growing.push(x[::-1].copy())
    assert growing.pending.tolist() == [2]


def test_gate() -> None:
    x = histories()["noise"]
    whole = listed(rainflow(x))
    for gate in (0.5, 2.0, 100.0):
        assert listed(rainflow(x, gate=gate)) == [c for c in whole if c[0] >= gate]


def test_input_of_all_kinds() -> None:
    x = np.round(5 * histories()["noise"])
    wanted = listed(rainflow(x))
    for same in (x.astype(np.int16), x.tolist(), x.astype(">f8"), np.repeat(x, 3)[::3], x.astype(np.float32)):
        assert listed(rainflow(same)) == wanted


def test_many_rows_and_threads() -> None:
    rows = np.stack(list(histories().values()))
    wanted = [listed(rainflow(row)) for row in rows]
    for threads in (1, 2, 5):
        flow, got = Rainflow(len(rows)), [[] for _ in rows]
        for part in np.array_split(rows, 3, axis=1):
            for r, told in zip(got, flow.push(part, threads=threads), strict=True):
                r += listed(told)
        for r, told in zip(got, flow.finish(), strict=True):
            r += listed(told)
        assert got == wanted


def test_bins_count_what_the_cycles_say() -> None:
    rows = np.stack([histories()["noise"], histories()["sines"]]).astype(np.float32)
    bins = RainflowBins(2, 0.5, 8, mean_low=-1.0, mean_width=0.25, n_means=8)
    bins.PIECE = 700
    for part in np.array_split(rows, 4, axis=1):
        bins.push(part)
        fresh = RainflowBins(2, 0.5, 8, mean_low=-1.0, mean_width=0.25, n_means=8)
        fresh.load(bins.save())
        bins = fresh
    for row, counts in zip(rows, bins.total(), strict=True):
        wanted = np.zeros((8, 8))
        for r, m, c in twin.cycles(row.tolist()):
            wanted[min(int(r // 0.5), 7), min(max(int((m + 1.0) // 0.25), 0), 7)] += c
        assert np.array_equal(counts, wanted)
    assert bins.ranges.tolist() == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]
    assert bins.total().sum() - bins.counts.sum() == sum(r.counts.sum() for r in Rainflow(2).push(rows, finish=True)) - sum(
        r.counts.sum() for r in Rainflow(2).push(rows))


def test_damage() -> None:
    ranges, _, counts, _ = rainflow(ASTM)
    assert damage(ranges, counts, 3.0) == 0.5 * 27 + 1.5 * 64 + 0.5 * 216 + 1.0 * 512 + 0.5 * 729
    assert damage(ranges, counts, 3.0, constant=4.0) == damage(ranges, counts, 3.0) / 4
    assert damage([], [], 5) == 0.0
    x = histories()["noise"]
    twice = rainflow(2 * x)
    assert damage(*[twice[i] for i in (0, 2)], 4.0) == pytest.approx(16 * damage(*[rainflow(x)[i] for i in (0, 2)], 4.0), rel=1e-14)


@pytest.mark.parametrize(("call", "said"), [
    (lambda: rainflow([]), r"x must have one axis with samples, has shape \(0,\)"),
    (lambda: rainflow(np.ones((2, 3))), r"has shape \(2, 3\)"),
    (lambda: rainflow([1.0], state=Rainflow(2)), "the state is of 2 rows and gate 0.0, asked are 1 row and gate None"),
    (lambda: rainflow([1.0], state=Rainflow(1), gate=1.0), "the state is of 1 rows and gate 0.0"),
    (lambda: rainflow([1.0], gate=-1.0), "gate must be 0 or more and finite, is -1.0"),
    (lambda: Rainflow(0), "at least one row is needed, are 0"),
    (lambda: Rainflow(2).push(np.ones((3, 4))), r"x must have shape \(2, n\), has \(3, 4\)"),
    (lambda: Rainflow(1).push([1.0], threads=0), "threads must be a whole number of at least 1, not 0"),
    (lambda: RainflowBins(1, 0.0, 3), "range_width and mean_width must be above 0"),
    (lambda: RainflowBins(1, 1.0, 0), "n_ranges and n_means must be at least 1, are 0 and 1"),
    (lambda: damage([1.0], [1.0, 2.0], 3), r"must have one shape, have \(1,\) and \(2,\)"),
    (lambda: damage([1.0], [1.0], 0.0), "exponent and constant must be above 0 and finite, are 0.0 and 1.0"),
    (lambda: damage([-1.0], [1.0], 3), "ranges and counts must be 0 or more and finite, least are -1.0 and 1.0"),
])  # fmt: skip
def test_refusals(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


def test_foreign_state_is_refused() -> None:
    flow = Rainflow(2)
    flow.push(np.stack([histories()["noise"], histories()["sines"]]))
    state = flow.save()
    flow.load(state)
    assert flow.save() == state
    before = [listed(r) for r in flow.residue()]
    damaged = bytearray(state)
    damaged[-9:] = b"\xff" * 9  # the top of the stack is NaN
    for bad in (b"", state[:-1], state[:30], b"XXXX" + state[4:], state + b"1234", bytes(damaged)):
        with pytest.raises(StateError):
            flow.load(bad)
    for other in (Rainflow(1), Rainflow(3), Rainflow(2, gate=1.0), RainflowBins(2, 1.0, 3)):
        with pytest.raises(StateError):
            other.load(state)
    assert [listed(r) for r in flow.residue()] == before


def test_a_state_that_lies_about_its_size_is_refused() -> None:
    state = bytearray(Rainflow(1).save())
    at = len(state) - 48 + 8  # the first field behind tag and version
    for top in (1, 2**40, 2**61, -1):
        state[at : at + 8] = top.to_bytes(8, "little", signed=True)
        with pytest.raises(StateError):
            Rainflow(1).load(bytes(state))


def test_cycles_are_told_as_soon_as_they_close() -> None:
    flow = Rainflow(1)
    assert [len(flow.push([v])[0].ranges) for v in (0.0, 4.0, 2.0, 6.0, 5.0)] == [0, 0, 0, 0, 1]
    assert isinstance(flow.residue()[0], Cycles)
    assert flow.push(np.empty(0))[0].ranges.size == 0
