"""Clock-aligned bins and guards against Python integers and lists, one sample at a time."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifeline_core.dsp._stats import bin_of
from numpy.typing import NDArray

from lifeline_core.dsp.stats import NS, Bin, Bins, Description, Guards, Rule, describe
from lifeline_core.errors import StateError
from tests.twins import stats as twin

COUNTS = ("count", "bad", "clipped", "flat_run")
T0 = 1_700_000_000_123_456_789


def ugly(n: int, seed: int = 1) -> NDArray[np.float32]:
    """Quantised noise with runs, NaN, infinities, spikes and clipping."""
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(5, 2, n)).astype(np.float32)
    for value in (np.nan, np.inf, -np.inf, 1e30, 10.0, 0.0):
        x[rng.integers(0, n, max(1, n // 40))] = value
    for _ in range(6):
        at, long = rng.integers(0, n), rng.integers(1, 60)
        x[at : at + long] = x[at]
    return x


def test_a_bin_by_hand() -> None:
    """1 sample a second from second 7 on, bins of 5 s: 7 8 9 | 10 .. 14."""
    bins = Bins(1, 5 * NS, [(-3.0, 4.0)])
    closed = bins.push(np.float32([[1, 2, 3, 4, -3, 0, 0, 9]]), 7 * NS, 0, 1, 1)
    assert [(b.start_ns // NS, b.first_ns // NS, b.end_ns // NS, b.closed_ns // NS, b.seen, b.expected) for b in closed] == [
        (5, 7, 10, 10, 3, 5.0), (10, 10, 15, 15, 5, 5.0)]
    first, second = (b.rows[0] for b in closed)
    assert (first["count"], first["mean"], first["min"], first["max"], first["sum"], first["sum_sq"]) == (3, 2.0, 1, 3, 6, 14)
    assert first["std"] == pytest.approx((2 / 3) ** 0.5, rel=1e-15)
    assert first["rms"] == pytest.approx((14 / 3) ** 0.5, rel=1e-15)
    assert first["crest"] == pytest.approx(3 / (14 / 3) ** 0.5, rel=1e-15)
    assert first["skewness"] == 0.0 and first["kurtosis"] == pytest.approx(1.5, rel=1e-14)
    assert (second["clipped"], second["flat_run"], second["bad"]) == (3, 2, 0)
    assert closed[0].coverage(0) == 0.6
    assert bins.flush() is None


def test_a_later_sample_closes_a_bin() -> None:
    bins = Bins(2, 10 * NS)
    assert bins.push(np.ones((2, 3), np.float32), 20 * NS, 0, 1, 1) == []
    (closed,) = bins.push(np.ones((2, 1), np.float32), 45 * NS, 0, 1, 1)
    assert (closed.start_ns, closed.end_ns, closed.closed_ns) == (20 * NS, 23 * NS, 45 * NS)
    left = bins.flush()
    assert left is not None and (left.start_ns, left.closed_ns, left.seen) == (40 * NS, 46 * NS, 1)


@settings(max_examples=60, deadline=None)
@given(
    anchor=st.integers(-(10**18), 2 * 10**18), index=st.integers(0, 10**12), num=st.integers(1, 10**6), den=st.integers(1, 10**4),
    bin_ns=st.integers(1, 10**14),
)
def test_time_is_exact(anchor: int, index: int, num: int, den: int, bin_ns: int) -> None:
    """Integers of any size in Python say the same as 128 bits."""
    def at(i: int) -> int:
        return anchor + i * den * NS // num

    if abs(at(index)) > 2**62 or bin_ns * num // (den * NS) > 10**9:
        return
    number, n = bin_of(anchor, index, num, den, bin_ns)
    assert number == at(index) // bin_ns
    if n:
        assert at(index + n) // bin_ns > number == at(index + n - 1) // bin_ns


def same(a: Bin, b: Bin) -> bool:
    return repr(a) == repr(b) and a.rows.tobytes() == b.rows.tobytes()


@pytest.mark.parametrize(("num", "den"), [(100, 1), (244140625, 10**6), (1, 3)])
def test_bins_equal_the_twin(num: int, den: int) -> None:
    x = np.stack([ugly(3000, s) for s in (1, 2, 3)])
    x[2, 500:900] = np.nan
    bin_ns = 397 * den * NS // num + 12345
    bins = Bins(3, bin_ns, [(0.0, 10.0), None, (-1.0, 1e29)])
    closed = bins.push(x, T0, 17, num, den)
    closed += [b] if (b := bins.flush()) else []
    for row, (low, high) in enumerate([(0.0, 10.0), (np.nan, np.nan), (-1.0, 1e29)]):
        wanted = twin.bins(x[row].tolist(), twin.times(T0, 17, num, den, 3000), bin_ns, low, high)
        assert [b.start_ns // bin_ns for b in closed] == list(wanted)
        for b, w in zip(closed, wanted.values(), strict=True):
            got = b.rows[row]
            assert [int(got[k]) for k in COUNTS] == [w[k] for k in COUNTS]
            assert b.seen == len(w["all"])
            if w["count"]:
                assert (got["min"], got["max"]) == (w["min"], w["max"])
                # 400 double additions about the first sample: a few ulp of the largest number that is added
                assert got["mean"] == pytest.approx(w["mean"], rel=1e-13)
                assert got["std"] == pytest.approx(w["std"], rel=1e-12)
                assert got["rms"] == pytest.approx(w["rms"], rel=1e-12)
                exact = twin.describe(w["all"])
                # moments about the first sample lose up to n times the last digit where it is the one outlier
                for name in ("crest", "skewness", "kurtosis"):
                    assert got[name] == pytest.approx(exact[name], rel=1e-9, abs=1e-9)
            else:
                assert np.isnan([got["mean"], got["std"], got["rms"], got["min"], got["max"]]).all()


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 2000), max_size=12), saves=st.sets(st.integers(0, 12)))
def test_stream_equals_whole(cuts: list[int], saves: set[int]) -> None:
    x = np.stack([ugly(2000), ugly(2000, 7)])
    x[0, :10] = np.nan
    make = lambda: Bins(2, 3 * NS + 1, [(0.0, 10.0), None])  # noqa: E731
    whole = make()
    wanted = [*whole.push(x, T0, 0, 100, 1), whole.flush()]
    parts, got = make(), []
    edges = [0, *sorted(cuts), 2000]
    for i, (a, b) in enumerate(pairwise(edges)):
        got += parts.push(x[:, a:b], T0, a, 100, 1)
        if i in saves:
            fresh = make()
            fresh.load(parts.save())
            parts = fresh
    got.append(parts.flush())
    assert len(got) == len(wanted)
    assert all(same(a, b) for a, b in zip(got, wanted, strict=True) if a and b)


def test_a_large_constant_has_no_deviation() -> None:
    """About the first sample, so that nothing cancels."""
    bins = Bins(1, 100 * NS)
    bins.push(np.full((1, 999), 16777.217, np.float32), 0, 0, 10, 1)
    b = bins.flush()
    assert b is not None and b.rows["std"][0] == 0.0 and b.rows["flat_run"][0] == 999


def test_gravity_costs_no_digits() -> None:
    x = (9.81 + 1e-4 * np.random.default_rng(1).standard_normal(50_000)).astype(np.float32)
    bins = Bins(1, 1000 * NS)
    bins.push(x[None], 0, 0, 100, 1)
    b = bins.flush()
    assert b is not None
    assert b.rows["std"][0] == pytest.approx(np.std(x.astype(np.longdouble)), rel=1e-12)


NAMES = tuple(Description.__dataclass_fields__)
MOMENTS = NAMES[4:]


def test_describe_by_hand() -> None:
    d = describe([[1, 1, 1, 5], [2, 2, 2, 2]])
    assert d.count.tolist() == [4, 4] and d.bad.tolist() == [0, 0]
    assert (d.min.tolist(), d.max.tolist(), d.mean.tolist()) == ([1, 2], [5, 2], [2, 2])
    assert d.std.tolist() == [3**0.5, 0.0] and d.rms.tolist() == [7**0.5, 2.0]
    assert d.crest.tolist() == [5 / 7**0.5, 1.0]
    assert d.skewness[0] == pytest.approx(6 / 27**0.5, rel=1e-15)  # m3 = (3 * -1 + 27) / 4
    assert d.kurtosis[0] == pytest.approx(21 / 9, rel=1e-15)  # m4 = (3 + 81) / 4
    assert np.isnan([d.skewness[1], d.kurtosis[1]]).all()


def test_a_sine_has_the_numbers_of_a_sine() -> None:
    d = describe(9.81 + np.sin(2 * np.pi * np.arange(100_000) / 1000))
    assert d.kurtosis == pytest.approx(1.5, rel=1e-12) and d.skewness == pytest.approx(0.0, abs=1e-9)
    assert describe(np.sin(2 * np.pi * np.arange(4000) / 1000)).crest == pytest.approx(2**0.5, rel=1e-12)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 7, 8, 15, 16, 17, 511, 512, 513, 528, 1500])
def test_describe_equals_the_twin(kind: type, n: int) -> None:
    rng = np.random.default_rng(n)
    quiet = rng.normal(0, 1, n)
    rows = np.stack([quiet, quiet + 1e6, np.round(quiet), quiet * 1e-42, ugly(n), rng.standard_t(3, n) - 1e3]).astype(kind)
    d = describe(rows)
    for i, row in enumerate(rows):
        wanted = twin.describe(row.tolist())
        assert (d.count[i], d.bad[i]) == (wanted["count"], wanted["bad"])
        assert np.array_equal([d.min[i], d.max[i]], [wanted["min"], wanted["max"]], equal_nan=True)
        for name in MOMENTS:
            # a number near 0 is told as well as the deviation is, relative where it is a size of its own
            near = 1e-9 * wanted["std"] if name == "mean" else 1e-9 if name == "skewness" else 0.0
            assert getattr(d, name)[i] == pytest.approx(wanted[name], rel=1e-9, abs=near, nan_ok=True)


def test_an_outlier_in_front_costs_little() -> None:
    """The worst case of sums about the first sample: it is the one that is far from all others."""
    x = np.random.default_rng(1).standard_normal(20_000)
    x[0] = 1e7
    got, wanted = describe(x), twin.describe(x.tolist())
    for name in MOMENTS:
        assert getattr(got, name) == pytest.approx(wanted[name], rel=1e-8)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 3000), max_size=12), seed=st.integers(0, 9))
def test_describe_is_what_a_bin_of_all_pieces_says(cuts: list[int], seed: int) -> None:
    x = np.stack([ugly(3000, seed), np.random.default_rng(seed).standard_normal(3000).astype(np.float32)])
    x[0, : seed * 3] = np.nan
    d = describe(x)
    bins = Bins(2, 10**6 * NS)
    for a, b in pairwise([0, *sorted(cuts), 3000]):
        bins.push(x[:, a:b], 0, a, 100, 1)
    closed = bins.flush()
    assert closed is not None
    for name in NAMES:
        assert getattr(d, name).tobytes() == closed.rows[name].tobytes(), name


def test_what_is_not_finite_is_left_out() -> None:
    x = np.random.default_rng(1).standard_normal((3, 2000)).astype(np.float32)
    bad = x.copy()
    bad[1, 700:720], bad[1, 5], bad[1, 1999] = np.nan, np.inf, -np.inf
    clean, d = describe(x), describe(bad)
    assert d.bad.tolist() == [0, 22, 0] and d.count.tolist() == [2000, 1978, 2000]
    for name in NAMES:
        assert getattr(d, name)[[0, 2]].tobytes() == getattr(clean, name)[[0, 2]].tobytes()
    rest = twin.describe(bad[1].tolist())
    assert d.kurtosis[1] == pytest.approx(rest["kurtosis"], rel=1e-12)
    none = describe(np.full(9, np.nan))
    assert (none.count, none.bad) == (0, 9) and all(np.isnan(getattr(none, name)) for name in NAMES[2:])


def test_kinds_and_shapes_of_input() -> None:
    x = np.random.default_rng(2).integers(-9, 9, (2, 3, 400))
    wanted = describe(x.astype(np.float64))
    for same_numbers in (x, x.astype(np.int16), x.astype(np.float32), x.astype(">f8"), np.asfortranarray(x)):
        got = describe(same_numbers)
        assert got.rms.shape == (2, 3)
        assert all(np.array_equal(getattr(got, name), getattr(wanted, name)) for name in NAMES)
    strided = describe(x.astype(np.float32)[..., ::2])
    assert np.array_equal(strided.kurtosis, describe(x[..., ::2].copy()).kurtosis)
    assert describe([-0.0]).min.tobytes() == describe([0.0]).min.tobytes()
    one = describe([5.0])
    assert (one.mean, one.std, one.crest) == (5.0, 0.0, 1.0) and np.isnan(one.kurtosis)


def test_doubles_too_large_for_their_fourth_power_say_so() -> None:
    d = describe([1e200, -1e200, 1e100])
    assert (d.min, d.max) == (-1e200, 1e200) and d.count == 3 and not np.isfinite(d.kurtosis)


def test_threads_change_nothing() -> None:
    x = np.random.default_rng(3).standard_normal((5, 9000)).astype(np.float32)
    wanted = describe(x)
    for threads in (2, 3, 8):
        got = describe(x, threads=threads)
        assert all(getattr(got, name).tobytes() == getattr(wanted, name).tobytes() for name in NAMES)


def test_describe_refuses() -> None:
    for empty in ([], np.empty((3, 0)), np.empty((0, 3))):
        with pytest.raises(ValueError, match="describe: x must have samples along its last axis, has shape"):
            describe(empty)
    with pytest.raises(ValueError, match=r"has shape \(\)"):
        describe(3.0)
    with pytest.raises(ValueError, match="threads must be a whole number of at least 1, not 0"):
        describe([1.0], threads=0)


def test_state_of_the_version_before_is_refused() -> None:
    bins = Bins(1, NS)
    state = bins.save()
    with pytest.raises(StateError, match="another version"):
        bins.load(state[:4] + (1).to_bytes(4, "little") + state[8:])


RULES = [Rule(12, 0, 2 * NS, 3, (0.0, 10.0)), Rule(10, 4 * NS, 5 * NS, 1, (-1e29, 7.0), rest=5.0), Rule(5, 0, NS, 2)]


def ends(rule: Rule) -> tuple[float, float]:
    return rule.ends or (np.nan, np.nan)


@pytest.mark.parametrize("timed", [False, True])
@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 1500), max_size=10), seed=st.integers(0, 50))
def test_guards_equal_the_twin_however_cut(timed: bool, cuts: list[int], seed: int) -> None:
    n = 1500
    x = np.stack([ugly(n, seed + k) for k in range(3)])
    t = twin.times(T0, 5, 20, 1, n)
    if timed:
        t = (T0 + np.cumsum(np.random.default_rng(seed).integers(1, NS, n))).tolist()
    stamps = np.array(t, np.int64)
    guards, got = Guards(RULES), []
    edges = [0, *sorted(cuts), n]
    for a, b in pairwise(edges):
        got += guards.push(np.ascontiguousarray(x[:, a:b]), T0, 5 + a, 20, 1, stamps[a:b] if timed else None)
        fresh = Guards(RULES)
        fresh.load(guards.save())
        guards = fresh
    for row, rule in enumerate(RULES):
        values = x[row].tolist()
        wanted: dict[str, list[Any]] = {
            "flat": twin.flat(values, t, rule.flat_need, rule.flat_ns, rule.rest),
            "clip": twin.clip(values, t, rule.window_ns, rule.clip_need, *ends(rule)),
        }
        for kind, signs in wanted.items():
            assert [(s.active, s.t_ns, s.onset_ns) for s in got if s.row == row and s.kind == kind] == signs


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([1.0, 2.0, np.nan, np.inf, -np.inf, 20.0]), min_size=1, max_size=60), st.data())
def test_what_guards_keep_does_not_tell_how_samples_came(values: list[float], data: st.DataObject) -> None:
    n, x = len(values), np.float32([values] * 3)
    whole, pieces = Guards(RULES), Guards(RULES)
    whole.push(x, T0, 0, 20, 1)
    cuts = data.draw(st.lists(st.integers(0, n), max_size=5))
    for a, b in pairwise([0, *sorted(cuts), n]):
        pieces.push(np.ascontiguousarray(x[:, a:b]), T0, a, 20, 1)
    assert pieces.save() == whole.save()


def test_the_device_says_clipped() -> None:
    guards = Guards([Rule(0, 0, NS, 5, (-10.0, 10.0)), Rule(0, 0, NS, 5)])
    x = np.zeros((1, 100), np.float32)
    (sign,) = guards.push(x, 0, 0, 100, 1, flagged=True)
    assert (sign.row, sign.kind, sign.active, sign.t_ns, sign.onset_ns) == (1, "clip", True, 40_000_000, 0)
    assert guards.push(x, NS, 0, 100, 1) == []  # this window is sound: over with the next one
    (sign,) = guards.push(x, 2 * NS, 0, 100, 1)
    assert (sign.active, sign.t_ns) == (False, 2 * NS)


def test_a_seam_begins_runs_anew() -> None:
    guards = Guards([Rule(10, 0, NS, 0)])
    x = np.ones((1, 9), np.float32)
    guards.push(x, 0, 0, 100, 1)
    guards.seam()
    assert guards.push(x, 10 * NS, 0, 100, 1) == []
    (sign,) = guards.push(x, 10 * NS, 9, 100, 1)
    assert sign.onset_ns == 10 * NS


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Bins(0, NS)
    with pytest.raises(ValueError, match="one entry for each of 2 rows, not 1"):
        Bins(2, NS, [None])
    with pytest.raises(ValueError):
        Bins(2, NS).push(np.ones((3, 4), np.float32), 0, 0, 1, 1)
    with pytest.raises(ValueError, match="a rate of 0/1"):
        Bins(1, NS).push(np.ones((1, 4), np.float32), 0, 0, 0, 1)
    bins, guards = Bins(2, NS), Guards(RULES)
    for thing, other in ((bins, Bins(3, NS)), (guards, Guards(RULES[:2]))):
        state = thing.save()
        for bad in (b"", state[:-1], b"XXXX" + state[4:]):
            with pytest.raises(StateError):
                thing.load(bad)
        with pytest.raises(StateError):
            other.load(state)
