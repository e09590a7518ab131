"""Means of slow channels by minutes of the clock: the same bits for any cut, and nothing that was not measured."""

from __future__ import annotations

import itertools

import msgpack
import numpy as np
import pytest

from lifeline_core.bridges.weather import HELD, SPARE, Weather
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Channel

MINUTE = 60 * NS
T0 = 1_700_000_000 * NS - 1_700_000_000 * NS % MINUTE
AIR = Channel(name="air", site="s", device=1, channel=0)
WIND = Channel(name="wind", site="s", device=1, channel=1)


def regular(x: np.ndarray, rate: int, begin: int = 0, end: int | None = None, anchor: int = T0) -> Block:
    return Block(np.asarray(x[:, begin:end], np.float32), anchor, begin, rate, 1)


def timed(values: list[float], t_ns: list[int]) -> Block:
    return Block(np.array([values], np.float32), 0, 0, 1, 1, np.array(t_ns, np.int64))


def play(x: np.ndarray, rate: int, cuts: list[int]) -> Weather:
    w = Weather(("wind", "air"), 120.0, 60.0)
    for a, b in itertools.pairwise(sorted({0, x.shape[1], *cuts})):
        w.hear([AIR, WIND], regular(x, rate, a, b, T0 + 7 * NS))
    return w


def test_any_cut_gives_the_bits_of_a_sum_sample_by_sample() -> None:
    rng, rate = np.random.default_rng(1), 200
    x = (rng.normal(1.0, 0.1, (2, 200 * rate)) * 10.0 ** rng.uniform(-9, 3, (2, 200 * rate))).astype(np.float32)  # sums that round
    x[0, ::17] = np.nan
    x[1, 5000:9000] = np.inf
    whole = play(x, rate, []).at(T0 + 3 * MINUTE)
    for _ in range(5):
        assert play(x, rate, rng.integers(0, x.shape[1], 200).tolist()).at(T0 + 3 * MINUTE).tobytes() == whole.tobytes()
    times = T0 + 7 * NS + np.arange(x.shape[1]) * NS // rate
    sums: dict[int, list[float]] = {}
    for t, v in zip(times.tolist(), x[0].astype(np.float64).tolist(), strict=True):
        if np.isfinite(v):
            row = sums.setdefault(t // MINUTE - T0 // MINUTE, [0.0, 0])
            row[0] += v
            row[1] += 1
    assert whole[1] == (sums[1][0] + sums[2][0]) / (sums[1][1] + sums[2][1])  # "air" is the second name
    assert whole[3] == sums[0][0] / sums[0][1]  # and its lag


def test_irregular_samples_find_their_minutes() -> None:
    w = Weather(("air",), 120.0, 0.0)
    w.hear([AIR], timed([1.0, 3.0, 10.0, 100.0], [T0 + NS, T0 + 59 * NS, T0 + 60 * NS, T0 + 120 * NS]))
    w.hear([AIR], timed([5.0], [T0 + 30 * NS]))  # late, into its own minute
    assert w.at(T0 + 2 * MINUTE).tolist() == [19.0 / 4]
    w.hear([AIR], timed([np.nan], [T0 + 70 * NS]))
    assert w.at(T0 + 2 * MINUTE).tolist() == [19.0 / 4]


def test_a_slow_sensor_is_held_for_an_hour_and_no_longer() -> None:
    w = Weather(("air",), 600.0, 0.0)
    w.hear([AIR], timed([4.0, 7.0], [T0, T0 + MINUTE]))
    assert w.at(T0 + 10 * MINUTE).tolist() == [5.5]
    assert w.at(T0 + 30 * MINUTE).tolist() == [7.0]
    assert w.at(T0 + (11 + HELD) * MINUTE).tolist() == [7.0]
    assert np.isnan(w.at(T0 + (12 + HELD) * MINUTE)).all()
    assert np.isnan(w.at(T0)).all()  # what comes later is not known yet


def test_memory_is_bounded_and_a_clock_once_ahead_does_not_stay() -> None:
    w = Weather(("air",), 60.0, 0.0)
    w.hear([AIR], timed([99.0], [T0 + 10**9 * NS]))
    for k in range(SPARE + 50):
        w.hear([AIR], timed([float(k)], [T0 + k * MINUTE]))
    assert len(w._past["air"]) == SPARE + 1
    assert T0 // MINUTE + 10**9 // 60 not in w._past["air"]
    assert w.at(T0 + (SPARE + 50) * MINUTE).tolist() == [SPARE + 49.0]


def test_channels_that_are_not_asked_for_are_passed_over() -> None:
    w = Weather(("wind",), 60.0, 0.0)
    w.hear([AIR], timed([1.0], [T0]))
    w.hear([AIR, WIND], regular(np.array([[1.0], [2.0]]), 1))
    assert w.at(T0 + MINUTE).tolist() == [2.0]
    assert w.columns == 1 and Weather(("air", "wind"), 60.0, 5.0).columns == 4 and Weather((), 60.0, 0.0).at(T0).shape == (0,)


def test_state_goes_on_and_is_refused_where_it_does_not_fit() -> None:
    x = np.random.default_rng(2).normal(20, 1, (2, 3000))
    a = play(x, 10, [1111])
    saved = msgpack.unpackb(msgpack.packb(a.save()))
    b = Weather(("wind", "air"), 120.0, 60.0)
    b.load(saved)
    more = regular(x, 10, 0, 300, T0 + 307 * NS)
    for w in (a, b):
        w.hear([AIR, WIND], more)
    assert a.at(T0 + 6 * MINUTE).tobytes() == b.at(T0 + 6 * MINUTE).tobytes()
    with pytest.raises(StateError, match=r"of another version or of \['air', 'wind'\], wanted \['air'\]"):
        Weather(("air",), 120.0, 60.0).load(saved)
    with pytest.raises(StateError, match="cannot be restored"):
        b.load({**saved, "past": {**saved["past"], "air": [b"1", b"", b""]}})
