"""Waves without friction on a network: by hand, against grid-point characteristics, laws of linear waves, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.pipes.graph import PipeGraph
from lifeline_core.pipes.moc import GRAVITY, Places, Waves, diameters, outflow
from tests.twins import moc as twin

EDGES = [
    ("ab", "a", "b", 120.0), ("bc", "b", "c", 252.0, 1050.0), ("cd", "c", "d", 60.0), ("de", "d", "e", 180.0),
    ("ea", "e", "a", 96.0), ("bd", "b", "d", 240.0), ("cf", "c", "f", 132.0), ("et", "e", "tank", 84.0),
]  # fmt: skip
DIAMETERS = {"ab": 0.3, "bc": 0.2, "cd": 0.15, "de": 0.4, "ea": 0.25, "bd": 0.2, "cf": 0.1, "et": 0.5}


def looped() -> PipeGraph:
    return PipeGraph.from_edges(EDGES, barriers=["tank"])


def everywhere(graph: PipeGraph) -> Places:
    return Places.at_nodes(np.arange(len(graph.nodes)))


def naive(w: Waves, pumps: tuple[tuple[int, int, float], ...] = ()) -> twin.Net:
    """The twin's network, from the graph by itself."""
    g, n = w.graph, int(w.group.max()) + 1
    fixed = np.zeros(n, dtype=bool)
    fixed[w.group[g.barrier]] = True
    pipe = w.steps > 0
    rate = g.length_m[pipe] / g.time_s[pipe]
    admittance = GRAVITY * math.pi / 4 * diameters(g, DIAMETERS)[pipe] ** 2 / rate
    return twin.Net(n, w.group[g.link_a[pipe]].astype(np.intp), w.group[g.link_b[pipe]].astype(np.intp),
                    w.steps[pipe].astype(np.intp), admittance, fixed, pumps=pumps)  # fmt: skip


def test_joukowsky_junction_dead_end_and_tank_by_hand() -> None:
    # tank -24 m- a -24 m- end, D .3 and .15: a step of inflow at a sees both pipes; 20 ms later the end doubles it.
    graph = PipeGraph.from_edges([("p", "tank", "a", 24.0), ("q", "a", "end", 24.0)], barriers=["tank"])
    w = Waves(graph, dt=0.005, diameter_m={"p": 0.3, "q": 0.15})
    assert w.steps.tolist() == [4, 4] and w.rounding_s == 0.0
    y = GRAVITY * math.pi / 4 * np.array([0.3, 0.15]) ** 2 / 1200.0
    first = 1.0 / y.sum()
    tank, a, end = w.response("a", 0.06)
    assert not tank.any()
    assert a[:8] == pytest.approx(np.full(8, first), rel=1e-6)
    assert end[:4] == pytest.approx(0.0) and end[4:12] == pytest.approx(np.full(8, 2 * first), rel=1e-6)
    # Back at a after 40 ms: -1 from the tank through p, +1 from the end through q.
    assert a[8] == pytest.approx(first + 2 * (-y[0] + y[1]) * first / y.sum(), rel=1e-5)


def test_equal_to_the_characteristics_at_every_grid_point() -> None:
    graph = looped()
    w = Waves(graph, dt=0.004, diameter_m=DIAMETERS)
    heads, cells = twin.run(naive(w), int(w.group[graph.index["b"]]), lambda k, h, y: 1.0, 600, 0.004, every_cell=True)
    got = w.response("b", 2.4)
    # Single precision over 600 steps.
    assert np.abs(got - heads[w.group]).max() < 2e-5 * np.abs(heads).max()
    for i, name in enumerate(graph.links):
        for part in (0.0, 0.3, 0.5, 1.0):
            at = round(part * w.steps[i])
            place = Places(np.array([-1]), np.array([i]), np.array([part * graph.length_m[i]]))
            inside = w.probe(Places.at_nodes(graph.index["b"]), place, 600)[0, 0]
            assert np.abs(inside - cells[i][at]).max() < 2e-5 * np.abs(heads).max(), (name, part)


def test_a_pump_passes_half_between_equal_pipes_and_a_valve_all() -> None:
    text = "[JUNCTIONS]\nA\nB\nC\nD\n[PIPES]\nP A B 240 300\nQ C D 240 300\n[{kind}]\nX B C{more}\n[OPTIONS]\nUnits LPS\n"
    for kind, more, passes in (("PUMPS", "", 0.5), ("VALVES", " 300 TCV 0", 1.0)):
        graph = PipeGraph.from_text(text.format(kind=kind, more=more))
        w = Waves(graph, dt=0.01, diameter_m={"P": 0.3, "Q": 0.3})
        got = w.response("A", 0.5)
        came = got[graph.index["A"], 0]
        assert got[graph.index["D"], 40] == pytest.approx(2 * passes * came, rel=1e-5)
    assert PipeGraph.from_text(text.format(kind="PUMPS", more="")).pumps


def test_a_pump_equals_the_twin_s() -> None:
    text = ("[JUNCTIONS]\nA\nB\nC\nD\n[RESERVOIRS]\nR\n[PIPES]\nab A B 240 300\nbc C D 360 200\ncd B D 480 200\n[PUMPS]\nX B C\n"
            "Y R A\n[OPTIONS]\nUnits LPS\n")  # fmt: skip
    graph = PipeGraph.from_text(text)
    w = Waves(graph, dt=0.01, diameter_m=DIAMETERS)
    net = naive(w)
    y = np.bincount(net.a, net.admittance, net.n_nodes) + np.bincount(net.b, net.admittance, net.n_nodes)
    b, c, a, r = (int(w.group[graph.index[v]]) for v in "BCAR")
    heads, _ = twin.run(naive(w, ((b, c, 1 / y[b] + 1 / y[c]), (r, a, 2 / y[a]))), int(w.group[graph.index["D"]]),
                        lambda k, h, t: 1.0, 300, 0.01)  # fmt: skip
    assert np.abs(w.response("D", 3.0) - heads[w.group]).max() < 2e-5 * np.abs(heads).max()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 7), st.floats(0.1, 0.9))
def test_reciprocity_also_inside_links(i: int, j: int, link: int, part: float) -> None:
    graph = looped()
    w = Waves(graph, dt=0.004, diameter_m=DIAMETERS)
    point = Places(np.array([-1]), np.array([link]), np.array([part * graph.length_m[link]]))
    one, two = Places.at_nodes(i), Places.at_nodes(j)
    scale = np.abs(w.probe(one, everywhere(graph), 200)).max()
    assert np.abs(w.probe(one, two, 200) - w.probe(two, one, 200)).max() <= 2e-5 * scale
    assert np.abs(w.probe(one, point, 200) - w.probe(point, one, 200)).max() <= 2e-5 * scale


def test_a_source_inside_a_link_is_a_node_that_was_not_drawn() -> None:
    whole = PipeGraph.from_edges([("p", "t", "a", 96.0), ("q", "a", "b", 240.0)], barriers=["t"])
    split = PipeGraph.from_edges([("p", "t", "a", 96.0), ("q1", "a", "m", 96.0), ("q2", "m", "b", 144.0)], barriers=["t"])
    at = Places(np.array([-1]), np.array([1]), np.array([96.0]))
    w = Waves(whole, dt=0.004, diameter_m=[0.3, 0.2])
    v = Waves(split, dt=0.004, diameter_m=[0.3, 0.2, 0.2])
    wanted = v.response("m", 1.2)
    assert w.own(at, 300)[0] == pytest.approx(wanted[split.index["m"]], abs=1e-2)
    assert w.probe(at, Places.at_nodes(whole.index["b"]), 300)[0, 0] == pytest.approx(wanted[split.index["b"]], abs=1e-2)


def test_sources_by_the_dozen_and_means_over_steps() -> None:
    graph = looped()
    w = Waves(graph, dt=0.004, diameter_m=DIAMETERS)
    many = Places.at_nodes(np.tile(np.arange(7), 2))
    got = w.probe(many, everywhere(graph), 120)
    for k, i in enumerate(many.node):
        assert np.array_equal(got[k], w.response(graph.nodes[i], 0.48))
    means = w.probe(many, everywhere(graph), 30, 4)
    assert means == pytest.approx(got.reshape(14, len(graph.nodes), 30, 4).mean(axis=3), rel=1e-4, abs=1e-2)
    assert np.array_equal(w.own(many, 30, 4), np.einsum("iit->it", w.probe(many, many, 30, 4)))


def test_short_pipes_join_their_ends_and_rounding_is_told() -> None:
    graph = PipeGraph.from_edges([("p", "a", "b", 100.0), ("q", "b", "c", 1.0)])
    w = Waves(graph, dt=0.004)
    assert w.steps.tolist() == [21, 0]
    assert w.rounding_s == pytest.approx(1 / 1200)
    got = w.response("a", 0.2)
    assert np.array_equal(got[1], got[2])


def test_users_take_height_and_energy_never_grows() -> None:
    graph = looped()
    plain, held = (Waves(graph, dt=0.004, diameter_m=DIAMETERS, users=u) for u in (None, np.full(7, 2e-5)))
    a, b = plain.response("f", 8.0), held.response("f", 8.0)
    assert b[:, -500:].std() < 0.7 * a[:, -500:].std()
    assert np.abs(a).max() < 10 * np.abs(a[graph.index["f"], 0])
    assert np.isfinite(Waves(graph, dt=0.004, diameter_m=DIAMETERS).response("a", 40.0)).all()


def test_speed_scales_time() -> None:
    graph = looped()
    slow = Waves(graph, 600.0, dt=0.008, diameter_m=DIAMETERS).response("a", 1.6)
    fast = Waves(graph, 1200.0, dt=0.004, diameter_m=DIAMETERS).response("a", 0.8)
    assert slow == pytest.approx(0.5 * fast, rel=1e-5, abs=1e-2)


def test_outflow_of_an_opening() -> None:
    own, opening = np.full(50, 400.0, dtype=np.float32), np.minimum(1, (np.arange(50) + 0.5) / 5).astype(np.float32)
    assert outflow(own, opening, 1e-9, 45.0) == pytest.approx(opening, rel=1e-4)
    q = outflow(own, opening, 0.1, 45.0).astype(float)
    # h = -amount own q at once, so q = open sqrt(1 - amount own q / level) in every bin.
    assert q == pytest.approx(opening * np.sqrt(1 - 0.1 * 400 * q / 45.0), rel=1e-5)
    wave = np.abs(np.sin(np.arange(50))).astype(np.float32) * 300 + 200
    q = outflow(wave, opening, 0.08, 45.0).astype(float)
    fallen = np.convolve(np.diff(q, prepend=0.0), wave)[:50]
    assert q == pytest.approx(opening * np.sqrt(1 - 0.08 * fallen / 45.0), rel=1e-4)


def test_what_is_refused() -> None:
    graph = looped()
    with pytest.raises(ValueError, match="dt is a positive finite number of seconds, got 0"):
        Waves(graph, dt=0)
    with pytest.raises(ValueError, match="speed is positive and finite, got -1"):
        Waves(graph, -1.0)
    with pytest.raises(ValueError, match="diameter_m has a value for each of the 8 links"):
        Waves(graph, diameter_m=[0.3])
    with pytest.raises(ValueError, match="diameter_m is positive and finite, got 0"):
        Waves(graph, diameter_m=np.zeros(8))
    w = Waves(graph)
    with pytest.raises(ValueError, match="duration_s is positive and finite, got nan"):
        w.response("a", math.nan)
    with pytest.raises(ValueError, match="got 'zz'"):
        w.response("zz", 1.0)
    with pytest.raises(ValueError, match="n and every are at least 1, got 0 and 1"):
        w.probe(Places.at_nodes(0), Places.at_nodes(0), 0)
