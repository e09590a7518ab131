"""Many pairs from one set of transforms: what `correlate` says of each, in whatever order, threads, types and room."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import fields

import numpy as np
import pytest

from lifeline_core.pipes.correlation import correlate
from lifeline_core.pipes.position import Section, travel_time
from lifeline_core.pipes.survey import Desk, Pair, Progress, in_order, survey
from lifeline_core.synth.leaknoise import LeakNoise

FS, N = 2048.0, 20 * 2048
LIMIT = 0.15


def street(loggers: int = 7) -> dict[str, np.ndarray]:
    """Loggers in a row; a leak between two of them, one that both its neighbours hear, and silence; int16 as from a file."""
    rows = {}
    for i in range(0, loggers, 2):
        snr = (0.0, 6.0, None, -3.0)[i // 2 % 4]
        site = LeakNoise(fs=FS, length_m=60.0, position_m=20.0 + 2 * i, speed_mps=500.0, beta_s_m=7e-5, snr_db=snr)
        for j, x in enumerate(site.whole(N, i)):
            rows[f"l{i + j}"] = np.round(1000 * x / np.abs(x).max() * (1 + i)).astype(np.int16)
    return rows


ROWS = street()
PAIRS = [Pair(f"l{i}", f"l{j}", LIMIT) for i, j in ((0, 1), (2, 3), (1, 2), (4, 5), (6, 7), (3, 2), (0, 7), (5, 6))]


def alike(one, two) -> None:
    """Two correlations of the same samples through two orders of summing."""
    assert one.accepted == two.accepted
    assert [r.split(":")[0] for r in one.reasons] == [r.split(":")[0] for r in two.reasons]
    assert (one.band, one.segments, one.segments_left_out) == (two.band, two.segments, two.segments_left_out)
    np.testing.assert_array_equal(one.f, two.f)
    np.testing.assert_array_equal(one.lags_s, two.lags_s)
    # float32 transforms: 1e-6 of a line; weights of a high coherence and quotients multiply that
    np.testing.assert_allclose(one.coherence, two.coherence, atol=1e-5)
    np.testing.assert_allclose(one.r, two.r, atol=1e-4)
    if one.accepted:
        assert one.delay_s == pytest.approx(two.delay_s, abs=1e-3 * one.delay_sd_s)
        assert one.delay_sd_s == pytest.approx(two.delay_sd_s, rel=1e-3)
        assert one.psr == pytest.approx(two.psr, rel=1e-2)


def bits(one, two) -> None:
    for field in fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name))


def expected(pair: Pair, rows=ROWS, **kw):
    return correlate(rows[pair.a], rows[pair.b], FS, max_delay_s=pair.max_delay_s, **kw)


@pytest.fixture(scope="module")
def found() -> dict:
    return dict(survey(ROWS, PAIRS, FS))


def test_equal_to_correlate(found) -> None:
    assert sorted(found) == list(range(len(PAIRS)))
    for i, pair in enumerate(PAIRS):
        alike(found[i], expected(pair))
    assert {i for i, c in found.items() if c.accepted} >= {0, 1, 5}
    back = found[5]
    assert back.delay_s == pytest.approx(-found[1].delay_s, abs=back.delay_sd_s)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_types_change_nothing(dtype, found) -> None:
    rows = {k: (3e-7 if dtype is np.float64 else 1) * v.astype(dtype) for k, v in ROWS.items()}
    for i, c in survey(rows, PAIRS[:4], FS):
        alike(c, found[i])


def test_rows_in_a_sequence_and_names_that_are_numbers(found) -> None:
    rows = [ROWS[f"l{i}"] for i in range(8)]
    for i, c in survey(rows, [Pair(int(str(p.a)[1:]), int(str(p.b)[1:]), p.max_delay_s) for p in PAIRS[:3]], FS):
        bits(c, found[i])


def test_threads_and_slices_and_room_change_no_bit(found) -> None:
    for i, c in survey(ROWS, PAIRS, FS, threads=3):
        bits(c, found[i])
    order = in_order(PAIRS)
    for part in (order[:3], order[3:]):
        for k, c in survey(ROWS, [PAIRS[i] for i in part], FS):
            bits(c, found[part[k]])
    desk = Desk(ROWS, room=0)  # nothing is kept but what a pair needs
    for i in (3, 0, 6):
        bits(desk.correlate(PAIRS[i], FS, None, {}), found[i])
    assert len(desk._kept) <= 5


def test_keywords_are_handed_on() -> None:
    asked = {"weighting": "phat", "band": (10.0, 80.0), "polarity": "same", "mains_hz": (50.0,)}
    for i, c in survey(ROWS, PAIRS[:2], FS, nperseg=4096, **asked):
        alike(c, expected(PAIRS[i], nperseg=4096, **asked))
        assert c.f.size == 2049


def test_lengths_the_kernel_does_not_take() -> None:
    for i, c in survey(ROWS, PAIRS[:2], FS, nperseg=1500):
        bits(c, expected(PAIRS[i], nperseg=1500))


def test_bad_samples_and_dead_rows() -> None:
    rows = {k: v.astype(np.float32) for k, v in ROWS.items()}
    rows["l0"][5000], rows["l1"][30_000] = np.nan, np.inf
    rows["l2"][:] = np.nan
    rows["l3"][:] = 7.0
    pairs = [*PAIRS[:4], Pair("l2", "l2", LIMIT), Pair("l3", "l3", LIMIT)]
    got = dict(survey(rows, pairs, FS))
    for i, pair in enumerate(pairs):
        alike(got[i], expected(pair, rows))
    assert got[0].segments_left_out > 0 and got[0].accepted and not any(got[i].accepted for i in (1, 2, 4, 5))


class Lazy(Mapping):
    """Rows that are made when asked for, as from files."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getitem__(self, name: str) -> np.ndarray:
        self.asked.append(name)
        return ROWS[name]

    def __iter__(self) -> Iterator[str]:
        return iter(ROWS)

    def __len__(self) -> int:
        return len(ROWS)


def test_a_row_is_read_once_while_it_is_kept(found) -> None:
    lazy, seen = Lazy(), []
    progress: Progress = lambda done, total: seen.append((done, total))  # noqa: E731
    for i, c in survey(lazy, PAIRS, FS, progress=progress):
        bits(c, found[i])
    assert sorted(lazy.asked) == sorted(set(lazy.asked)) == sorted(ROWS)
    assert seen == [(k + 1, len(PAIRS)) for k in range(len(PAIRS))]


def test_order_keeps_neighbours_together() -> None:
    rng = np.random.default_rng(0)
    names = rng.permutation(300)
    pairs = [Pair(int(names[i]), int(names[i + d])) for i in range(297) for d in (1, 2) if rng.random() < 0.9]
    rng.shuffle(pairs)
    order = in_order(pairs)
    assert sorted(order) == list(range(len(pairs)))
    last: dict[int, int] = {}
    fresh = 0  # loggers that come up again after more than 8 others
    for step, i in enumerate(order):
        for name in (pairs[i].a, pairs[i].b):
            fresh += step - last.get(name, -99) > 8
            last[name] = step
    assert fresh <= 300 + 10
    assert in_order([]) == []


def test_a_pair_along_sections_and_pickled() -> None:
    pipe = [Section(100.0, 1200.0), Section(50.0, 480.0)]
    pair = Pair.along("a", "b", pipe, 8000.0)
    assert pair.max_delay_s == pytest.approx(1.1 * travel_time(pipe) + 2 / 8000.0)
    assert pickle.loads(pickle.dumps(pair)) == pair
    assert pickle.loads(pickle.dumps(survey)) is survey


@pytest.mark.parametrize(("kw", "message"), [
    ({"fs": 0.0}, "fs must be above 0 and finite, is 0.0"),
    ({"fs": FS, "nperseg": 255}, "nperseg must be an even number"),
    ({"fs": FS, "threads": 0}, "threads must be a whole number of at least 1, not 0"),
    ({"fs": FS, "clipped": 0.5}, "clipped: every pair has its own"),
    ({"fs": FS, "max_delay_s": 0.5}, "max_delay_s: every pair has its own"),
])
def test_refused_at_the_call(kw, message) -> None:
    with pytest.raises(ValueError, match=message):
        survey(ROWS, PAIRS, **kw)


@pytest.mark.parametrize(("rows", "pair", "kw", "message"), [
    ([np.ones(50), np.ones(51)], Pair(0, 1), {}, "same length, 0 has 50 samples, 1 51"),
    ([np.ones((2, 50)), np.ones(50)], Pair(0, 1), {}, r"row 0 must be real samples \[n\], is float64 of shape \(2, 50\)"),
    ([np.ones(50), np.ones(50, complex)], Pair(0, 1), {}, r"row 1 must be real samples \[n\], is complex128"),
    ([np.ones(0), np.ones(0)], Pair(0, 1), {}, r"row 0 must be real samples \[n\], is float64 of shape \(0,\)"),
    ([np.ones(50), np.ones(50)], Pair(0, 1, -1.0), {}, "max_delay_s must be above 0 and shorter than the record, is -1.0"),
    ([np.ones(50), np.ones(50)], Pair(0, 1), {"nperseg": 64}, "at least one segment of 64 samples, holds 50"),
    ([np.ones(500), np.ones(500)], Pair(0, 1), {"weighting": "best"}, "weighting must be one of"),
])
def test_refused_when_the_pair_comes_up(rows, pair, kw, message) -> None:
    with pytest.raises(ValueError, match=message):
        list(survey(rows, [pair], FS, **kw))


def test_a_row_that_is_not_there() -> None:
    with pytest.raises(KeyError):
        list(survey(ROWS, [Pair("l0", "nobody")], FS))
