"""Sums along ways, and the two halves of the search's arithmetic against naive twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifeline_core.pipes._ways import FOUND, Net, gather

from lifeline_core.pipes import PipeGraph
from lifeline_core.pipes.heard import Heard, Speeds
from lifeline_core.pipes.search import Spots
from lifeline_core.pipes.ways import Joints, along, gathered, shared
from lifeline_core.pipes.weigh import ABOUT_M, Scales, fit, network, weigh
from tests.test_graph import grid
from tests.twins import ways as twin

ONE = Speeds(share=0.0, least=1e-3, most=1e3)  # no doubt and no bounds: plain Gaussian


def town(seed: int) -> PipeGraph:
    """4 x 4 streets, a dead end of two pipes and a tank."""
    edges = [
        *grid(4, seed),
        ("end", "3.3", "x", 90.0),
        ("more", "x", "y", 40.0),
        ("t", "0.3", "tank", 70.0),
        ("v", "1.1", "w", 0.0),
    ]
    return PipeGraph.from_edges(edges, barriers=["tank"])


def places(graph: PipeGraph, cell_m: float = 0.0) -> Spots:
    """Every node that is no tank and a point in every pipe."""
    nodes = Spots.at_nodes(graph, np.nonzero(~graph.barrier)[0])
    link = np.nonzero(graph.length_m > 0)[0]
    inside = Spots.inside(graph, link, 0.3 * graph.length_m[link], np.full(len(link), cell_m))
    both = [np.concatenate([getattr(nodes, k), getattr(inside, k)]) for k in ("ends", "to_s", "link", "offset_m", "cell_m")]
    return Spots(*both)


def hear(graph: PipeGraph, seed: int, sensors: tuple[str, ...] = ("0.0", "3.0", "0.3", "2.2", "1.3")) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    way = graph.travel_times(graph.nodes[int(rng.integers(16))])
    return {s: 7.0 + float(way[graph.index[s]]) * 1.05 + float(rng.normal(0, 0.02)) for s in sensors}


@settings(max_examples=30, deadline=None)
@given(data=st.data(), n=st.integers(1, 40))
def test_sums_along_ways_equal_the_twin(data: st.DataObject, n: int) -> None:
    toward = np.array([data.draw(st.integers(-1, v - 1)) for v in range(n)], dtype=np.int32)
    order = np.random.default_rng(n).permutation(n)
    mixed = np.full(n, -1, dtype=np.int32)
    mixed[order] = np.where(toward >= 0, order[toward], -1)
    cost = np.arange(n) * 0.5
    total, last = gathered(mixed, cost)
    expected = twin.gather(mixed.tolist(), cost.tolist())
    assert total.tolist() == pytest.approx(expected[0])
    assert last.tolist() == expected[1]


def test_a_circle_or_a_way_out_of_the_network_is_refused() -> None:
    for toward in ([1, 0], [0], [1, 2, 0, 1], [5]):
        with pytest.raises(ValueError, match="ways: a parameter is outside its range"):
            along(np.array(toward, dtype=np.int32), np.ones(len(toward)))
    assert along(np.zeros(0, dtype=np.int32), np.zeros(0)).tolist() == []
    with pytest.raises(ValueError, match="have one length"):
        gather(np.zeros(2, dtype=np.int32), np.zeros(1), np.zeros(2, dtype=np.int32), np.zeros(2), np.zeros(2, dtype=np.int32))


def test_the_link_on_the_way_is_the_fastest_of_parallel_ones() -> None:
    a, b = np.array([0, 0, 1]), np.array([1, 1, 2])
    joints = Joints.of(a, b, np.array([2.0, 1.0, 0.0]), np.array([False, False, True]))
    assert joints.links_toward(np.array([1, 2, -1], dtype=np.int32)).tolist() == [1, 2, -1]
    assert joints.links_toward(np.array([-1, 0, 1], dtype=np.int32)).tolist() == [-1, 1, 2], "out of a barrier, backwards"


def test_places_behind_one_junction_part_there() -> None:
    graph = town(0)
    found = shared(graph, ("0.0", "3.0", "0.3"))
    at = {name: graph.nodes[i] for name, i in zip(graph.nodes, found.parting, strict=True)}
    assert at["x"] == at["y"] == at["3.3"] == "3.3"
    assert found.time_s[graph.index["y"]] == pytest.approx(130 / 1200)
    assert found.square_s2[graph.index["y"]] == pytest.approx((90 / 1200) ** 2 + (40 / 1200) ** 2)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 999))
def test_the_fast_fit_equals_the_twin(seed: int) -> None:
    graph = town(seed)
    arrivals = hear(graph, seed)
    heard, scales = Heard.of(graph, arrivals, 0.01), Scales.of(Speeds(0.8, 1.25), None, 0.04)
    net, _ = network(graph, heard, None)
    spots = places(graph, 20.0)
    found = fit(graph, net, heard, spots, scales)
    for k in range(len(spots)):
        node = int(spots.ends[k, 0]) if spots.link[k] < 0 else -1
        ways = [twin.way_of(graph, node, int(spots.link[k]), float(spots.offset_m[k]), s) or [] for s in arrivals]
        least = min(len(w) for w in ways)
        same = 0
        while same < least and len({w[same][:2] for w in ways}) == 1:
            same += 1
        tau = np.array([sum(s[2] for s in w) for w in ways])
        square = np.array([sum(s[2] ** 2 for s in w[same:]) for w in ways])
        var = 0.01**2 + (ABOUT_M / 1200) ** 2 + 0.04**2 * square + spots.to_s[k, 2] ** 2
        t0, slow, score = twin.fit(tau, var, heard.t_s, 0.05, 1 / 1.25, 1 / 0.8)
        assert found.column("t0")[k] == pytest.approx(t0, abs=2e-4)  # single precision
        assert found.column("slow")[k] == pytest.approx(slow, abs=1e-3)
        assert found.score[k] == pytest.approx(score, abs=2e-2)
        assert found.shared[k] == pytest.approx(sum(s[2] for s in ways[0][:same]), abs=1e-9)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 999), scatter=st.sampled_from([0.0, 0.04, 0.2]), slow_sd=st.sampled_from([0.0, 0.05, 0.2]))
def test_the_full_weighing_is_a_gaussian(seed: int, scatter: float, slow_sd: float) -> None:
    graph = town(seed)
    arrivals = hear(graph, seed)
    heard = Heard.of(graph, arrivals, 0.5)  # so wide that nothing is a stray
    scales = Scales.of(Speeds(1e-3, 1e3, slow_sd, share=0.0) if slow_sd else None, None, scatter)
    net, _ = network(graph, heard, None)
    spots = places(graph)
    found = weigh(graph, net, heard, spots, scales)
    assert (found.column("kept") == len(arrivals)).all() and found.out_of is not None and not found.out_of.any()
    for k in range(len(spots)):
        place = (int(spots.ends[k, 0]) if spots.link[k] < 0 else -1, int(spots.link[k]), float(spots.offset_m[k]))
        expected = twin.gaussian(graph, place, arrivals, math.hypot(0.5, ABOUT_M / 1200), scatter, slow_sd)
        assert found.score[k] == pytest.approx(expected, abs=1e-4)


def test_a_cell_is_the_mean_of_its_points() -> None:
    """The likelihood of a cell against the mean over 200 points in it; a normal stands for a box, and the cell is short."""
    graph = town(3)
    heard, scales = Heard.of(graph, hear(graph, 3), 0.01), Scales.of(None, None, 0.04)
    net, _ = network(graph, heard, None)
    link = np.array([graph.link_index["h1.1"]])
    middle, cell = 0.5 * graph.length_m[link], np.array([6.0])
    whole = weigh(graph, net, heard, Spots.inside(graph, link, middle, cell), scales)
    offset = middle + np.linspace(-3, 3, 200)
    points = weigh(graph, net, heard, Spots.inside(graph, np.repeat(link, 200), offset, np.zeros(200)), scales)
    assert whole.score[0] == pytest.approx(math.log(np.exp(points.score).mean()), abs=0.02)


def test_a_stray_leaves_and_the_rest_is_weighed_as_if_it_had_never_been() -> None:
    graph = town(5)
    arrivals = hear(graph, 5, ("0.0", "3.0", "0.3", "2.2", "1.3", "3.1"))
    rest = {k: v for k, v in arrivals.items() if k != "2.2"}
    scales = Scales.of(ONE, None, 0.04)
    spots, scores, slows = places(graph), [], []
    for some in ({**arrivals, "2.2": arrivals["2.2"] + 3.0}, rest):
        heard = Heard.of(graph, some, 0.02)
        found = weigh(graph, network(graph, heard, None)[0], heard, spots, scales)
        assert found.slow is not None
        scores.append(found.score)
        slows.append(found.slow)
    best = int(np.argmax(scores[1]))
    assert scores[0][best] - scores[1][best] == pytest.approx(math.log(0.025), abs=1e-6)
    assert slows[0][best] == pytest.approx(slows[1][best], abs=1e-9)


def test_one_group_of_all_pipes_is_the_common_scale() -> None:
    from lifeline_core.pipes.groups import Groups

    graph = town(2)
    heard = Heard.of(graph, hear(graph, 2), 0.01)
    group = Groups.of(graph, dict.fromkeys(graph.links, "g"), 0.05)
    tables = []
    for groups in (None, group):
        scales = Scales.of(Speeds(), groups, 0.04)
        tables.append(weigh(graph, network(graph, heard, groups)[0], heard, places(graph), scales).table)
    np.testing.assert_allclose(tables[0], tables[1], atol=1e-8)


def test_a_sensor_nobody_reaches_and_one_alone_are_borne() -> None:
    graph = PipeGraph.from_edges([("p", "a", "b", 100.0), ("q", "c", "d", 100.0)])
    heard, scales = Heard.of(graph, {"a": 0.0, "b": 0.05, "d": 0.1}, 0.01), Scales.of(Speeds(), None, 0.04)
    net, _ = network(graph, heard, None)
    spots = Spots.at_nodes(graph, np.arange(4))
    found = weigh(graph, net, heard, spots, scales)
    assert np.isfinite(found.score).all() and found.column("kept").tolist() == [2, 2, 1, 1]
    assert np.isfinite(fit(graph, net, heard, spots, scales).score).all()
    late = Heard.of(graph, {"a": 0.0, "b": 0.05, "d": 0.1}, 0.01, {"a": 0.3, "d": 0.1})
    assert np.isfinite(weigh(graph, net, late, spots, scales).score).all()


def test_what_the_kernel_refuses() -> None:
    graph = town(0)
    heard, scales = Heard.of(graph, hear(graph, 0), 0.01), Scales.of(Speeds(), None, 0.04)
    net, _ = network(graph, heard, None)
    wrong = places(graph)
    wrong.ends[0, 0] = len(graph.nodes)
    for work in (fit, weigh):
        with pytest.raises(ValueError, match="outside its range"):
            work(graph, net, heard, wrong, scales)
    way = graph.routes("0.0")
    zero, at, none = np.zeros(3), np.zeros(1, dtype=np.int32), np.zeros(3, dtype=np.uint8)
    with pytest.raises(ValueError, match="an entry for every node"):
        Net([way.time_s], [way.square_s2], [way.toward], at, none, zero, zero, [])
    with pytest.raises(ValueError, match="one sensor at least"):
        Net([], [], [], at[:0], none, zero, zero, [])
    round_ways = [np.array([1, 2, 0], dtype=np.int32)] * 2
    circle = Net([zero, zero], [zero, zero], round_ways, np.array([0, 1], dtype=np.int32), none, zero, zero, [])
    with pytest.raises(ValueError, match="outside its range"):
        weigh(graph, circle, heard.only(np.arange(2)), Spots.at_nodes(graph, np.array([0])), scales)
    assert FOUND[0] == "score"
