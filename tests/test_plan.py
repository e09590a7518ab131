"""Neighbouring loggers on a network: by hand, against a graph cut at every place, invariants."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.pipes import PipeGraph
from lifeline_core.pipes.places import PipeMap, Place, Reach
from lifeline_core.pipes.plan import Logger, plan_pairs
from lifeline_core.pipes.position import travel_time

STREET = [("p", "a", "b", 600.0), ("q", "b", "c", 300.0, 1000.0), ("v", "c", "c2", 0.0), ("r", "c2", "d", 100.0)]


def street(**kw: object) -> PipeMap:
    return PipeMap(PipeGraph.from_edges(STREET, **kw))  # type: ignore[arg-type]


def test_a_way_by_hand() -> None:
    m = street()
    way = Reach(m, m.place("p", 100.0)).way(m.place("r", 50.0))
    assert way is not None
    assert way.length_m == 850.0
    assert way.travel_s == pytest.approx(500 / 1200 + 300 / 1000 + 50 / 1200)
    assert [(s.length_m, s.speed_mps) for s in way.sections] == [(500.0, 1200.0), (300.0, 1000.0), (50.0, pytest.approx(1200.0))]
    assert travel_time(way.sections) == pytest.approx(way.travel_s)
    assert [(m.graph.nodes[n], x) for n, x in way.crossed()] == [("b", 500.0), ("c", 800.0), ("c2", 800.0)]
    assert way.at(0.0) == m.place("p", 100.0) and way.at(900.0) == m.place("r", 50.0)
    assert way.at(550.0) == m.place("q", 50.0) and way.where_m(m.place("q", 50.0)) == 550.0
    assert way.where_m(m.place("p", 50.0)) is None


def test_a_place_walked_to_and_back() -> None:
    m = street()
    p, q = m.place("p", 10.0), m.place("q", 7.0)
    there, back = Reach(m, p).way(q), Reach(m, q).way(p)
    assert there is not None and back is not None and there.length_m == back.length_m == 597.0
    assert there.at(100.0) == back.at(497.0)


def test_the_same_pipe_the_long_way_round() -> None:
    """A slow pipe beside a fast loop: the quickest way between two places of one pipe leads out of it."""
    m = PipeMap(PipeGraph.from_edges([("slow", "a", "b", 300.0, 100.0), ("fast", "a", "b", 400.0, 1200.0)]))
    way = Reach(m, m.place("slow", 1.0)).way(m.place("slow", 299.0))
    assert way is not None and way.length_m == 402.0 and len(way.pieces) == 3
    direct = Reach(m, m.place("slow", 1.0)).way(m.place("slow", 20.0))
    assert direct is not None and direct.length_m == 19.0


def test_neighbours_and_those_in_between() -> None:
    m = street()
    loggers = [Logger("A", m.node_place("a")), Logger("B", m.place("p", 300.0)), Logger("C", m.node_place("c")),
               Logger("D", m.node_place("d")), Logger("D2", m.node_place("d"))]
    pairs, alone = plan_pairs(m, loggers, longest_m=700.0)
    assert [(p.a.name, p.b.name, p.way.length_m) for p in pairs] == [("A", "B", 300.0), ("B", "C", 600.0), ("C", "D", 100.0),
                                                                    ("C", "D2", 100.0)]
    assert not alone
    pairs, alone = plan_pairs(m, loggers, longest_m=500.0)
    assert [(p.a.name, p.b.name) for p in pairs] == [("A", "B"), ("C", "D"), ("C", "D2")]
    pairs, alone = plan_pairs(m, loggers[:3], longest_m=100.0)
    assert not pairs and list(alone) == ["A", "B", "C"] and "100 m" in alone["A"]


def test_a_star_pairs_every_arm() -> None:
    m = PipeMap(PipeGraph.from_edges([("n", "x", "north", 50.0), ("e", "x", "east", 60.0), ("w", "x", "west", 70.0)]))
    loggers = [Logger(n, m.node_place(n)) for n in ("north", "east", "west")]
    pairs, _ = plan_pairs(m, loggers, longest_m=1e9)
    assert [p.way.length_m for p in pairs] == [110.0, 120.0, 130.0]
    pairs, _ = plan_pairs(m, [*loggers, Logger("middle", m.node_place("x"))], longest_m=1e9)
    assert [(p.a.name, p.b.name) for p in pairs] == [("north", "middle"), ("east", "middle"), ("west", "middle")]


def test_nothing_is_heard_through_a_tank() -> None:
    m = street(barriers=["b"])
    pairs, alone = plan_pairs(m, [Logger("A", m.node_place("a")), Logger("C", m.node_place("c"))], longest_m=1e9)
    assert not pairs and len(alone) == 2
    pairs, _ = plan_pairs(m, [Logger("T", m.node_place("b")), Logger("C", m.node_place("c"))], longest_m=1e9)
    assert len(pairs) == 1


def test_refusals() -> None:
    m = street()
    with pytest.raises(ValueError, match="longest_m must be above 0, is 0"):
        plan_pairs(m, [], longest_m=0.0)
    with pytest.raises(ValueError, match="given twice"):
        plan_pairs(m, [Logger("A", Place(0, 0.0))] * 2, longest_m=1.0)
    with pytest.raises(ValueError, match="link that a wave passes"):
        m.place("z", 0.0)
    with pytest.raises(ValueError, match=r"0 .. 300 m of link 'q', is 301"):
        m.place("q", 301.0)
    with pytest.raises(ValueError, match="node with a link"):
        m.node_place("nowhere")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31))
def test_ways_are_those_of_a_graph_cut_there(seed: int) -> None:
    """Length and time of random ways equal Dijkstra's on a graph whose links are cut at the two places."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 9))
    edges = [(f"e{i}", f"n{rng.integers(0, i)}", f"n{i}", float(rng.integers(1, 200)), float(rng.integers(300, 1300)))
             for i in range(1, n)]
    edges += [(f"x{i}", f"n{a}", f"n{b}", float(rng.integers(1, 200)), float(rng.integers(300, 1300)))
              for i, (a, b) in enumerate(rng.integers(0, n, (3, 2))) if a != b]
    m = PipeMap(PipeGraph.from_edges(edges))
    k, j = rng.integers(0, len(edges), 2)
    p, q = Place(int(k), float(rng.uniform(0, edges[k][3]))), Place(int(j), float(rng.uniform(0, edges[j][3])))
    cuts = {k: [(p.offset_m, "P")], j: [(q.offset_m, "Q")]} if k != j else {k: sorted([(p.offset_m, "P"), (q.offset_m, "Q")])}
    cut = []
    for i, (name, a, b, length, speed) in enumerate(edges):
        stops = [(0.0, a), *cuts.get(i, []), (length, b)]
        cut += [(f"{name}.{s}", u, v, y - x, speed) for s, ((x, u), (y, v)) in enumerate(pairwise(stops))]
    g = PipeGraph.from_edges(cut)
    way = Reach(m, p).way(q)
    assert way is not None
    assert way.travel_s == pytest.approx(g.travel_times("P")[g.index["Q"]], abs=1e-12)
    assert Reach(m, p).time_s(q) == pytest.approx(way.travel_s, abs=1e-12)
    x = float(rng.uniform(0, way.length_m))
    assert way.where_m(way.at(x)) == pytest.approx(x, abs=1e-6) or way.at(x) in (p, q)
