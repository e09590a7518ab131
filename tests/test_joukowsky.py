"""Steps of head and flow: reference numbers, junctions, the way through a graph, surges against given limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifeline_core.pipes import PipeGraph
from lifeline_core.pipes.joukowsky import (
    Junctions,
    admittance,
    burst_flow,
    head_step,
    pressure_step,
    step_flow,
    transmission,
)
from lifeline_core.pipes.moc import Waves
from lifeline_core.pipes.surge import Limits, separation_head, surge

# A street with a branch: p and q equal, r narrow and soft, s to a tank, t a dead end behind r.
EDGES = [
    ("p", "a", "b", 600.0, 1200.0, 0.3), ("q", "b", "c", 600.0, 1200.0, 0.3), ("r", "b", "d", 400.0, 400.0, 0.15),
    ("s", "c", "tank", 600.0, 1200.0, 0.3), ("t", "d", "e", 200.0, 400.0, 0.15),
]  # fmt: skip


def street(**but: float) -> PipeGraph:
    rows = [(*row[:5], but.get(row[0], row[5])) for row in EDGES]
    return PipeGraph.from_edges(rows, barriers=["tank"])


@pytest.mark.parametrize(("a", "kpa", "m"), [(1000, 998.2, 101.97), (1200, 1197.8, 122.37), (400, 399.3, 40.79)])
def test_a_metre_a_second_that_stops(a: float, kpa: float, m: float) -> None:
    assert pressure_step(a, 1.0) / 1e3 == pytest.approx(kpa, abs=0.06)
    assert head_step(a, 1.0) == pytest.approx(m, abs=0.006)
    assert pressure_step(a, -2.0) == -2 * pressure_step(a, 1.0)


@pytest.mark.parametrize(("d", "a", "dh", "litres"), [(0.3, 1200, 10, 11.553), (0.6, 1000, 5, 27.728), (0.15, 400, 5, 4.3324)])
def test_the_flow_of_a_hole_in_the_middle_of_a_pipe(d: float, a: float, dh: float, litres: float) -> None:
    assert 1e3 * step_flow(dh, [(d, a)] * 2) == pytest.approx(litres, rel=5e-5)
    assert step_flow(-dh, [(d, a)] * 2) == step_flow(dh, [(d, a)] * 2)


def test_what_a_junction_passes() -> None:
    pipe = (0.3, 1200.0)
    assert transmission(pipe, [pipe, pipe]) == pytest.approx(2 / 3)
    assert transmission(pipe, [pipe, (0.15, 400.0)]) == pytest.approx(0.72727, abs=5e-6)
    assert transmission(pipe, []) == 2.0
    assert transmission(pipe, [pipe]) == 1.0


@given(st.lists(st.tuples(st.floats(0.05, 2.0), st.floats(200, 1500)), min_size=2, max_size=6))
def test_a_junction_neither_makes_nor_loses_flow(pipes: list[tuple[float, float]]) -> None:
    s = transmission(pipes[0], pipes[1:])
    comes = admittance(*pipes[0]) * (1.0 - (s - 1.0))
    goes = s * sum(admittance(*pipe) for pipe in pipes[1:])
    assert goes == pytest.approx(comes, rel=1e-9)
    assert 0 < s < 2


def test_the_share_that_comes_to_a_sensor_is_that_of_the_characteristics() -> None:
    graph = street()
    junctions, waves = Junctions(graph), Waves(graph, dt=0.005)
    start = graph.index["a"]
    heads = waves.response("a", 2.6)
    first = heads[start, 0]
    for node in ("b", "c", "d", "e"):
        share, _, reason = junctions.passage(node, start)
        front = heads[graph.index[node]][round(float(graph.routes(node).time_s[start]) / 0.005)]
        assert reason == "" and share == pytest.approx(front / first, rel=1e-5), node
    assert junctions.passage("e", start)[0] == pytest.approx(2 * 0.72727, abs=2e-5), "past b, doubled at the end"
    assert junctions.passage("tank", start)[0] == 0.0
    assert junctions.passage("a", start) == (1.0, 0, "")


def test_open_valves_are_one_place_and_a_pump_passes_half() -> None:
    text = """[JUNCTIONS]\nA\nB\nC\nD\nE\nF\n[RESERVOIRS]\nR
[PIPES]\nAB A B 600 300\nCD C D 600 300\nEF E F 600 300\nFR F R 600 300
[VALVES]\nV B C 300 TCV 0\n[PUMPS]\nP D E\n[OPTIONS]\nUnits LPS\n"""
    graph = PipeGraph.from_text(text)
    junctions, a = Junctions(graph), graph.index["A"]
    heads = Waves(graph, dt=0.005).response("A", 2.5)
    for node, steps in (("B", 100), ("C", 100), ("D", 200), ("E", 200), ("F", 300)):
        share, _, _ = junctions.passage(node, a)
        seen = heads[graph.index[node], steps] / heads[a, 0]
        if node != "D":  # there the pump gives way: what is passed on leaves again
            assert share == pytest.approx(seen, rel=1e-4), node
    assert junctions.passage("C", a)[0] == pytest.approx(1.0), "as if there were no valve"
    assert junctions.passage("E", a)[0] == pytest.approx(0.5)


def test_the_flow_is_read_back_through_the_network() -> None:
    graph = street()
    heads = Waves(graph, dt=0.005).response("b", 2.1) * -0.02
    at = {n: float(heads[graph.index[n]][round(float(graph.routes(n).time_s[graph.index["b"]]) / 0.005)]) for n in "abcde"}
    flow = burst_flow(graph, "b", at)
    assert flow.q_m3s == pytest.approx(0.02, rel=1e-4) and flow.used == tuple("abcde")
    assert 0.02 * 0.1 < flow.sd_m3s < 0.02 * 0.3
    middle = burst_flow(graph, "p", {"a": -20.0, "b": -0.72727 * 10})
    assert middle.q_m3s == pytest.approx(step_flow(10.0, [(0.3, 1200.0)] * 2), rel=1e-4)
    wild = burst_flow(graph, "b", {**at, "e": 30 * at["e"]})
    assert wild.q_m3s == pytest.approx(0.02, rel=0.35), "one wrong step of five does not carry it away"
    assert burst_flow(graph, "b", {n: -v for n, v in at.items()}).q_m3s == pytest.approx(flow.q_m3s)


def test_an_unknown_diameter_is_no_default() -> None:
    graph = street(t=math.nan)
    flow = burst_flow(graph, "b", {"a": -2.0, "d": -1.0, "e": -2.0})
    assert flow.used == ("a",) and len(flow.reasons) == 2 and "not known" in flow.reasons[0]
    nothing = burst_flow(street(p=math.nan), "b", {"a": -2.0})
    assert math.isnan(nothing.q_m3s) and math.isnan(nothing.sd_m3s) and nothing.used == ()
    assert "not known" in nothing.reasons[0]
    bare = PipeGraph.from_edges([("p", "a", "b", 600.0)])
    assert math.isnan(burst_flow(bare, "a", {"b": -1.0}).q_m3s)


def test_what_tells_nothing_is_left_out_and_what_is_wrong_refused() -> None:
    graph = street()
    assert burst_flow(graph, "a", {"b": math.nan, "c": 0.0}).reasons == ("no sensor tells the flow",)
    assert "too little" in burst_flow(graph, "a", {"tank": -1.0}).reasons[0]
    with pytest.raises(ValueError, match="a place is a node or a link of the network, got 'zz'"):
        burst_flow(graph, "zz", {"a": -1.0})
    with pytest.raises(ValueError, match="got 'zz'"):
        burst_flow(graph, "a", {"zz": -1.0})
    with pytest.raises(ValueError, match=r"noise_m is not negative, got -1\.0"):
        burst_flow(graph, "a", {"b": -1.0}, noise_m=-1.0)
    with pytest.raises(ValueError, match=r"speed_mps is positive and finite, got 0\.0"):
        head_step(0.0, 1.0)
    with pytest.raises(ValueError, match="diameter_m is positive and finite, got nan"):
        admittance(math.nan, 1000.0)
    with pytest.raises(ValueError, match="one pipe at least, got none"):
        step_flow(1.0, [])
    assert np.isnan(burst_flow(graph, "a", {}).q_m3s)


def test_a_surge_is_held_against_the_limits_of_the_pipe_only() -> None:
    t = np.arange(400) / 100
    x = 40 + 35 * np.where((t >= 1) & (t < 2), 1.0, 0.0) - 52 * np.where((t >= 2) & (t < 2.5), 1.0, 0.0)
    found = surge(x, 100.0, Limits(60.0, 10.0), t0_s=5.0)
    assert [one.kind for one in found.passed] == ["high", "low", "vacuum", "separation"]
    high, low, vacuum, torn = found.passed
    assert (high.value_m, high.limit_m, high.t_s, high.sure) == (75.0, 60.0, 6.0, True)
    assert high.lasted_s == pytest.approx(1.0) and low.t_s == vacuum.t_s == torn.t_s == 7.0
    assert torn.limit_m == pytest.approx(separation_head()) and low.value_m == pytest.approx(-12.0)
    assert found.highest_m == 75.0 and found.highest_s == 6.0 and len(found.reasons) == 4
    bare = surge(x, 100.0)
    assert [one.kind for one in bare.passed] == ["vacuum", "separation"]
    assert bare.reasons[-2:] == ("no highest limit is given", "no lowest limit is given")
    assert surge(np.full(50, 30.0), 100.0, Limits(60.0, 10.0)).passed == ()


def test_a_glitch_and_holes_pass_no_limit_and_noise_is_said() -> None:
    x = np.full(200, 50.0)
    x[70] = 500.0
    x[100:110] = np.nan
    found = surge(x, 100.0, Limits(60.0, 10.0))
    assert found.passed == () and found.highest_m == 50.0
    noisy = 59.9 + np.random.default_rng(0).normal(0, 0.3, 2000)
    (only,) = surge(noisy, 100.0, Limits(60.6, 10.0)).passed
    assert not only.sure and surge(noisy + 5, 100.0, Limits(60.0, 10.0)).passed[0].sure
    for empty in ([], [1.0, 2.0], [np.nan] * 9):
        nothing = surge(empty, 100.0, Limits(60.0, 10.0))
        assert math.isnan(nothing.highest_m) and nothing.passed == () and nothing.reasons == ("fewer than three samples",)


def test_water_boils_earlier_on_a_mountain() -> None:
    assert separation_head() == pytest.approx(-10.11, abs=0.01)
    heights = [separation_head(h) for h in (0.0, 1000.0, 3000.0, 8000.0)]
    assert heights == sorted(heights) and heights[-1] < 0
    with pytest.raises(ValueError, match=r"altitude_m is within -500 \.\. 11000, got 20000\.0"):
        separation_head(20000.0)
    with pytest.raises(ValueError, match="highest_m is above lowest_m"):
        surge([1.0] * 5, 100.0, Limits(10.0, 60.0))
    with pytest.raises(ValueError, match="fs is positive and finite"):
        surge([1.0] * 5, math.inf)
    with pytest.raises(ValueError, match="one dimension"):
        surge(np.zeros((2, 5)), 100.0)
