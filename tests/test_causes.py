"""Causes of steps told apart: by hand, by waves of the method of characteristics, on recordings; flow read back; shares."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lifeline_core.pipes import PipeGraph, pick_arrivals
from lifeline_core.pipes.causes import KINDS, Cause, Planned, Pumping, Step, Trace, Valve, cause
from lifeline_core.pipes.machines import listed_pumps, listed_valves
from lifeline_core.pipes.moc import Places, Waves
from lifeline_core.pipes.outflow import PIECE_BINS, Listening, Onset, binned, level_before
from lifeline_core.pipes.recovery import regained
from lifeline_core.pipes.sides import Spots, ends
from tests.tnet3 import graph as tnet3
from tests.tnet3 import needs_pipes, record, table

Floats = NDArray[np.float64]
# Two meshes on either side of a valve, a pump that lifts from a reservoir, a tank.
TEXT = """[JUNCTIONS]\nA\nB\nC\nD\nE\nF\nG\nH\nS\nT\nV1\nV2
[RESERVOIRS]\nR\n[TANKS]\nK\n[PIPES]
P1 A B 480 300\nP2 B C 600 250\nP3 C D 540 200\nP4 D A 660 250\nP5 A C 720 200\nP6 C V1 300 300
P7 V2 E 300 300\nP8 E F 540 250\nP9 F G 600 200\nP10 G E 480 250\nP11 G H 420 150\nP12 F K 900 300
P13 R S 240 400\nP14 T A 360 300\n[VALVES]\nV V1 V2 300 TCV 0\n[PUMPS]\nPU S T\n[OPTIONS]\nUnits LPS\n"""
SENSORS = ("B", "D", "C", "E", "G", "H", "F")
FS, BEGUN_S = 128.0, 2.0


@cache
def net() -> PipeGraph:
    return PipeGraph.from_text(TEXT)


def arrivals(at: dict[str, float], signs: dict[str, int], **more: float) -> list[Step]:
    return [Step(n, 10.0 + t, 0.004, signs[n], 2.0 * signs[n], 0.05, **more) for n, t in at.items()]


def ways(place: str, nodes: tuple[str, ...] = SENSORS) -> dict[str, float]:
    return {n: float(net().routes(n).time_s[net().index[place]]) for n in nodes}


def waves(into: dict[str, Floats], nodes: tuple[str, ...] = SENSORS, seconds: float = 9.0, sd: float = 0.02,
          graph: PipeGraph | None = None) -> dict[str, Trace]:  # fmt: skip
    """Heads when flows (in steps of 1 / FS from BEGUN_S on) run into nodes, with noise."""
    g, rng = graph or net(), np.random.default_rng(5)
    dt, n = 1 / FS / 4, round(seconds * FS)
    run = Waves(g, dt=dt)
    taps = Places.at_nodes([g.index[v] for v in nodes])
    head = np.zeros((len(nodes), n))
    for node, q in into.items():
        unit = run.probe(Places.at_nodes([g.index[node]]), taps, n, 4)[0].astype(np.float64)
        dq, begun = np.diff(q, prepend=0.0), round(BEGUN_S * FS)
        for k in np.nonzero(dq)[0]:
            head[:, begun + k :] += dq[k] * unit[:, : n - begun - k]
    return {v: Trace(0.0, FS, (40 + row + rng.normal(0, sd, n)).astype(np.float32)) for v, row in zip(nodes, head, strict=True)}


def opening(q: float, lasting_s: float = math.inf, seconds: float = 9.0) -> Floats:
    t = np.arange(round(seconds * FS)) / FS
    ramp = np.clip(t / 0.05, 0, 1)
    return q * (ramp - np.clip((t - lasting_s) / 0.05, 0, 1))


def picked(x: NDArray[np.float32], nodes: list[str], fs: float, t0_s: float = 0.0, min_step: float = 0.3) -> list[Step]:
    a = pick_arrivals(x, fs, t0_s=t0_s, min_step=min_step)
    back = regained(x, fs, a.t_s, a.polarity, t0_s=t0_s)
    rows = np.stack([a.t_s, a.sd_s, a.step, a.rise_s, back], axis=1).tolist()
    return [Step(n, t, sd, int(a.polarity[i]), step, rise, share) for i, (n, (t, sd, step, rise, share)) in
            enumerate(zip(nodes, rows, strict=True)) if a.polarity[i]]  # fmt: skip


def asked(traces: dict[str, Trace], until_s: float = 9.0, **kw: object) -> Cause:
    cut = {n: replace(t, x=t.x[: round(until_s * FS)]) for n, t in traces.items()}
    x = np.stack([t.x for t in cut.values()])
    return cause(net(), picked(x, list(cut), FS), traces=cut, **kw)  # type: ignore[arg-type]


def test_a_hole_that_stays_open_is_a_burst_and_its_flow_is_told() -> None:
    found = asked(waves({"D": opening(-0.02)}))
    assert found.kind == "burst" and found.probability["burst"] > 0.9
    assert found.candidates[0].name in ("D", "P3", "P4") and found.place
    assert found.flow_m3s == pytest.approx(0.02, rel=0.1) and 0 < found.flow_sd_m3s < 0.01
    assert abs(found.given_back) < 0.15 and sum(found.probability.values()) == pytest.approx(1.0)
    assert set(found.probability) == set(KINDS)


@pytest.mark.parametrize("off_s", [-2.5, 1.7])
def test_one_wrong_pick_does_not_hide_a_burst(off_s: float) -> None:
    traces, at = waves({"D": opening(-0.02)}), ways("D")
    steps = [Step(n, BEGUN_S + t + (off_s if n == "E" else 0.0), 0.004, -1, -2.0) for n, t in at.items()]
    found = cause(net(), steps, traces=traces)
    assert found.kind == "burst" and "D" in [c.node for c in found.candidates.region(0.9)]


@pytest.mark.parametrize("lasting_s", [0.4, 1.0, 1.9])
def test_a_pulse_of_demand_is_no_burst(lasting_s: float) -> None:
    found = asked(waves({"D": opening(-0.02, lasting_s)}))
    assert found.kind == "demand-pulse" and found.probability["burst"] < 0.05
    assert found.given_back == pytest.approx(1.0, abs=0.2)


def test_while_a_pulse_may_go_on_no_burst_is_said() -> None:
    """The nearest sensor hears it 0.4 s after its beginning; the answer turns as time goes by and then stays."""
    whole = waves({"D": opening(-0.02)})
    said = [asked(whole, BEGUN_S + s) for s in (1.6, 2.2, 3.2, 4.0, 6.0)]
    burst = [f.probability["burst"] for f in said]
    assert burst[0] < 0.85 and burst[-1] > 0.95 and [f.kind for f in said[-2:]] == ["burst", "burst"]
    short = waves({"D": opening(-0.02, 1.9)})
    assert all(asked(short, BEGUN_S + s).kind != "burst" for s in (1.0, 1.4, 1.8, 2.2, 3.0, 4.0, 6.0))


def test_without_records_the_less_grave_is_said_with_the_doubt() -> None:
    at = ways("D")
    found = cause(net(), arrivals(at, dict.fromkeys(at, -1)))
    assert found.kind != "burst" and found.probability["burst"] > 0.3
    assert any("burst is likelier" in r or "burst not excluded" in r for r in found.reasons)
    assert any("not known" in r for r in found.reasons)
    given = cause(net(), arrivals(at, dict.fromkeys(at, -1), recovery=1.05))
    assert given.kind == "demand-pulse"


def test_a_valve_sends_a_rise_one_way_and_a_drop_the_other() -> None:
    at = ways("V1")
    signs = {n: 1 if n in "BDC" else -1 for n in at}
    shut = cause(net(), arrivals(at, signs), valves=[Valve("V", "V1", "V2")])
    assert (shut.kind, shut.place) == ("valve-closure", "V") and shut.probability["valve-closure"] > 0.8
    assert not len(shut.candidates) and math.isnan(shut.flow_m3s)
    open_ = cause(net(), arrivals(at, {n: -s for n, s in signs.items()}), valves=[Valve("V", "V1", "V2")])
    assert (open_.kind, open_.place) == ("valve-opening", "V")
    either = cause(net(), arrivals(at, signs))
    assert either.place == "V" and either.probability["valve-closure"] + either.probability["valve-opening"] > 0.8
    hidden = cause(net(), arrivals(at, signs), valves=[])
    assert hidden.kind == "valve-closure" and hidden.place in ("P6", "P7") and hidden.probability["burst"] < 0.01


def test_an_outlet_that_shuts_is_a_valve_at_one_place() -> None:
    at = ways("G")
    found = cause(net(), arrivals(at, dict.fromkeys(at, 1)))
    assert found.kind == "valve-closure" and found.probability["burst"] < 0.01
    assert "G" in [c.node for c in found.candidates.region(0.9)]


def test_a_pump_is_known_by_its_place_and_signs() -> None:
    nodes = ("S", *SENSORS)
    at = ways("T", nodes)
    signs = {n: 1 if n == "S" else -1 for n in nodes}
    trip = cause(net(), arrivals(at, signs))
    assert (trip.kind, trip.place) == ("pump-trip", "PU")
    start = cause(net(), arrivals(at, {n: -s for n, s in signs.items()}), pumps=[Pumping("PU", "S", "T", False)])
    assert (start.kind, start.place) == ("pump-start", "PU")
    # Sensors beyond the line that leads only to the pump: a burst on that line looks the same.
    line = cause(net(), arrivals(ways("T"), dict.fromkeys(SENSORS, -1)))
    assert line.kind == "pump-trip" and line.probability["burst"] > 0.01
    assert any("burst" in r for r in line.reasons)


def test_a_pump_that_trips_is_no_burst_by_its_waves() -> None:
    found = asked(waves({"T": opening(-0.04), "S": opening(0.04)}))
    assert found.kind == "pump-trip" and found.place == "PU"


def test_what_nothing_explains_is_unknown() -> None:
    at = ways("D")
    rng = np.random.default_rng(3)
    wild = arrivals({n: float(rng.uniform(0, 4)) for n in at}, {n: int(rng.choice([-1, 1])) for n in at})
    found = cause(net(), wild)
    assert found.kind == "unknown" and found.place == "" and found.places == () and not len(found.candidates)
    assert cause(net(), wild[:2]).reasons[0].startswith("2 sensors")
    assert cause(net(), []).kind == "unknown"
    slow = [replace(s, rise_s=3.0) for s in arrivals(at, dict.fromkeys(at, -1))]
    assert "slow" in cause(net(), slow).reasons[0]
    none = cause(net(), arrivals(at, dict.fromkeys(at, -1)), prior=dict.fromkeys(("burst", "demand-pulse", "outlet"), 0.0))
    assert none.probability["burst"] == 0.0


def test_what_was_announced_explains_it() -> None:
    at = ways("D")
    steps = arrivals(at, dict.fromkeys(at, -1), recovery=0.1)
    flushing = Planned("D", 8.0, 12.0, "valve-opening")
    found = cause(net(), steps, known=[flushing])
    assert (found.kind, found.planned, found.place) == ("valve-opening", "D", "D")
    assert any("announced: D" in r for r in found.reasons)
    assert cause(net(), steps, known=[replace(flushing, from_s=60.0, to_s=70.0)]).planned == ""
    assert cause(net(), steps, known=[replace(flushing, place="H")]).planned == ""
    recorded = asked(waves({"D": opening(-0.02)}), known=[replace(flushing, from_s=0.0, to_s=4.0)])
    assert recorded.planned == "D" and recorded.kind == "valve-opening" and recorded.probability["burst"] < 0.2
    signs = {n: 1 if n in "BDC" else -1 for n in at}
    for place in ("V", "P7"):
        shut = cause(net(), arrivals(ways("V2"), signs), known=[Planned(place, 8.0, 12.0, "valve-closure")])
        assert shut.kind == "valve-closure"
    assert cause(net(), arrivals(ways("V2"), signs), known=[Planned("V", 8.0, 12.0, "valve-closure")]).planned == "V"


def test_order_and_clock_do_not_matter() -> None:
    at = ways("D")
    steps = arrivals(at, dict.fromkeys(at, -1))
    one, other = cause(net(), steps), cause(net(), steps[::-1])
    assert repr(one.probability) == repr(other.probability) and one.places == other.places
    later = cause(net(), [replace(s, t_s=s.t_s + 4096.0) for s in steps])
    assert later.probability == pytest.approx(one.probability, abs=1e-6)
    twice = [*steps, replace(steps[0], t_s=3.0, sd_s=0.5), replace(steps[1], polarity=0)]
    assert repr(cause(net(), twice).probability) == repr(one.probability)


SOME = st.floats(allow_nan=True, allow_infinity=True, width=32)


ROW = st.tuples(st.sampled_from([*SENSORS, "S", "R", "K"]), st.floats(-5, 20), st.floats(1e-4, 1.0),
                st.sampled_from([-1, 0, 1]), SOME, SOME, SOME)  # fmt: skip


@given(st.lists(ROW, max_size=9))
@settings(max_examples=60, deadline=None)
def test_anything_gets_an_answer(rows: list[tuple[str, float, float, int, float, float, float]]) -> None:
    traces = {
        n: Trace(0.0, 64.0, np.full(300, v, dtype=np.float32))
        for n, v in zip("BDCEG", (0.0, np.nan, 1e30, -4.0, np.inf), strict=True)
    }
    found = cause(net(), [Step(*row) for row in rows], traces=traces)
    assert found.kind in KINDS and sum(found.probability.values()) == pytest.approx(1.0)
    assert not math.isinf(found.flow_m3s)


def test_what_is_wrong_is_refused() -> None:
    step = Step("D", 1.0, 0.01, -1, -1.0)
    with pytest.raises(ValueError, match="got 'zz'"):
        cause(net(), [replace(step, node="zz")])
    with pytest.raises(ValueError, match="sd_s is positive and finite where there is a step, got 0"):
        cause(net(), [replace(step, sd_s=0.0)])
    with pytest.raises(ValueError, match="a prior is of one of burst"):
        cause(net(), [], prior={"flood": 1.0})
    with pytest.raises(ValueError, match="a prior is finite and not negative"):
        cause(net(), [], prior={"burst": -1.0})
    with pytest.raises(ValueError, match="a planned operation is one of pump-trip"):
        cause(net(), [], known=[Planned("D", 0, 1, "burst")])
    at = ways("D")
    with pytest.raises(ValueError, match="a planned operation is at a node, link, valve or pump of the network, got 'zz'"):
        cause(net(), arrivals(at, dict.fromkeys(at, -1)), known=[Planned("zz", 0, 1, "valve-closure")])
    with pytest.raises(ValueError, match="fs is positive and finite"):
        Listening(net(), {"D": Trace(0.0, 0.0, np.zeros(3))})
    with pytest.raises(ValueError, match="scale is positive and finite"):
        Listening(net(), {}, math.nan)


def test_machines_of_the_graph() -> None:
    assert listed_pumps(net()) == (Pumping("PU", "S", "T", True),)
    assert listed_valves(net()) == (Valve("V", "V1", "V2", directed=False),)
    assert listed_pumps(PipeGraph.from_text(TEXT + "[STATUS]\nPU Closed\n")) == (Pumping("PU", "S", "T", False),)
    assert listed_pumps(PipeGraph.from_text(TEXT, pumps="stop")) == (Pumping("PU", "S", "T", False),)


def test_times_over_both_ends_of_a_place() -> None:
    g = net()
    link = np.arange(len(g.links))[g.length_m > 0]
    spots = Spots.on(g, link, 0.3 * g.length_m[link], np.full(len(link), -1))
    found = ends(g, SENSORS, spots)
    for i, node in enumerate(SENSORS):
        time = g.routes(node).time_s
        for j, k in enumerate(link):
            a, b = int(g.link_a[k]), int(g.link_b[k])
            over = {a: 0.3 * g.time_s[k], b: 0.7 * g.time_s[k]}
            way = {e: (math.inf if g.barrier[e] and g.nodes[e] != node else time[e] + over[e]) for e in (a, b)}
            assert found.time_s[i, j] == pytest.approx(min(way.values()))
            assert (found.first_a[i, j] > 0.5) == (way[a] < way[b]) or abs(way[a] - way[b]) < 1e-9
    valve = ends(g, SENSORS, Spots.ends([g.index["V1"]], [g.index["V2"]]))
    assert [round(float(v)) for v in valve.first_a[:, 0]] == [1, 1, 1, 0, 0, 0, 0]


def test_of_a_large_network_the_part_about_the_event_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    streets = [(i, j, i + di, j + dj) for i in range(15) for j in range(15) for di, dj in ((1, 0), (0, 1))]
    edges = [(f"{i}-{j}-{k}-{m}", f"{i}-{j}", f"{k}-{m}", 150.0 + 7.0 * ((3 * i + 5 * j) % 11), 1200.0, 0.2)
             for i, j, k, m in streets if k < 15 and m < 15]  # fmt: skip
    city = PipeGraph.from_edges(edges, barriers=["0-0"])
    nodes = ("5-7", "9-8", "7-4", "8-11", "6-9")
    traces = waves({"7-8": opening(-0.01, seconds=6.0)}, nodes, 6.0, graph=city)
    steps = picked(np.stack([t.x for t in traces.values()]), list(nodes), FS)
    whole = cause(city, steps, traces=traces)
    monkeypatch.setattr("lifeline_core.pipes.event.LINKS_READ", 150)
    part = cause(city, steps, traces=traces)
    assert part.kind == whole.kind == "burst" and part.flow_m3s == pytest.approx(0.01, rel=0.2)
    assert part.probability["burst"] == pytest.approx(whole.probability["burst"], abs=0.1)
    far = cause(city, [*steps[1:], replace(steps[0], node="0-14")], traces={n: traces[n] for n in nodes[:2]})
    assert math.isnan(far.given_back), "too few records about the place"


def test_the_flow_of_a_source_is_read_back() -> None:
    q = opening(-0.03, 1.0)
    traces = waves({"G": q}, sd=0.0)
    listening = Listening(net(), traces)
    response = listening.responses(Places.at_nodes([net().index["G"]]), 4.0)[0]
    onsets = {n: Onset(BEGUN_S + t, t) for n, t in ways("G").items()}
    read = listening.read(response, onsets)
    assert read is not None and read.explained > 0.95
    t = (np.arange(len(read.q_m3s)) + 0.5) * PIECE_BINS * 0.04
    assert np.allclose(read.q_m3s[(t > 0.3) & (t < 0.8)], 0.03, rtol=0.1)
    assert np.abs(read.q_m3s[t > 1.5]).max() < 0.004 and read.given_back == pytest.approx(1.0, abs=0.1)
    assert read.flow_m3s == pytest.approx(0.03, rel=0.1)
    assert listening.read(response, {}) is None
    short = Listening(net(), {n: replace(tr, x=tr.x[: round(3.0 * FS)]) for n, tr in traces.items()}).read(response, onsets)
    assert short is None or math.isnan(short.given_back) or short.lasted_s < 1.0


def test_records_with_holes_are_read_by_what_is_there() -> None:
    trace = Trace(1.0, 100.0, np.arange(400, dtype=np.float32))
    assert binned(trace, 2.0, 2).tolist() == pytest.approx([101.5, 105.5])
    assert level_before(trace, 3.0) == pytest.approx(164.5)
    holed = replace(trace, x=np.where(np.arange(400) % 4 == 0, np.nan, trace.x).astype(np.float32))
    assert binned(holed, 2.0, 1)[0] == pytest.approx(102.0)
    assert np.isnan(binned(trace, 90.0, 3)).all() and math.isnan(level_before(trace, 1.0))
    whole = waves({"D": opening(-0.02)})
    rng = np.random.default_rng(1)
    for n, t in whole.items():
        gone = rng.random(len(t.x)) < 0.1
        whole[n] = replace(t, x=np.where(gone, np.nan, t.x).astype(np.float32))
    assert asked(whole).probability["burst"] > 0.8


def test_unknown_diameters_tell_whether_it_lasted_but_no_flow() -> None:
    g = PipeGraph.from_edges([(n, g.nodes[a], g.nodes[b], float(m)) for g in (net(),) for n, a, b, m in
                              zip(g.links, g.link_a, g.link_b, g.length_m, strict=True)], barriers=["R", "K"])  # fmt: skip
    traces = waves({"D": opening(-0.02)})
    at = ways("D")
    steps = [Step(n, BEGUN_S + t, 0.004, -1, -2.0) for n, t in at.items()]
    found = cause(g, steps, traces=traces)
    assert any("diameters are not known" in r for r in found.reasons) and math.isnan(found.flow_m3s)
    assert abs(found.given_back) < 0.4 or found.kind != "burst"


def test_the_share_regained() -> None:
    t = np.arange(800) / 100
    dip, step = np.where((t >= 1) & (t < 2), -3.0, 0.0), np.where(t >= 1, 2.0, 0.0)
    half = np.where(t >= 1, -2.0, 0.0) + np.where(t >= 2.5, 1.0, 0.0)
    x = np.stack([dip, step, half, dip + np.random.default_rng(0).normal(0, 0.02, 800)]) + 50
    assert regained(x, 100.0, [1.0] * 4, [-1, 1, -1, -1]) == pytest.approx([1.0, 0.0, 0.5, 1.0], abs=0.02)
    assert np.isnan(regained(x[:, :300], 100.0, [1.0] * 4, [-1, 1, -1, -1])).all(), "too short"
    assert np.isnan(regained(x, 100.0, [np.nan] * 4, [-1] * 4)).all()
    assert np.isnan(regained(x, 100.0, [1.0] * 4, [0] * 4)).all()
    assert np.isnan(regained(np.full((1, 800), 7.0), 100.0, [1.0], [-1])).all(), "nothing moved"
    holed = np.where(np.arange(800) % 3 == 0, np.nan, x)
    assert regained(holed, 100.0, [1.0] * 4, [-1, 1, -1, -1]) == pytest.approx([1.0, 0.0, 0.5, 1.0], abs=0.02)
    with pytest.raises(ValueError, match="one value for each of the 4 rows"):
        regained(x, 100.0, [1.0], [-1])
    with pytest.raises(ValueError, match="fs is positive and finite"):
        regained(x, 0.0, [1.0] * 4, [-1] * 4)


def recorded(name: str, seed: int, nodes: list[str] | None = None, least: float = 0.3) -> Cause:
    r, g = (table(name), tnet3("TNET3_ptsnet")) if "ptsnet" in name else (record(name), tnet3())
    rng = np.random.default_rng(50 + seed)
    pool = r.dropping() if r.kind == "burst" else [n for n in r.nodes if n.startswith("JUNCTION")]
    nodes = nodes or (list(r.nodes) if "ptsnet" in name else [str(v) for v in sorted(rng.choice(pool, 8, replace=False))])
    p = r.noisy(nodes, seed)
    steps = picked(p, nodes, r.fs, t0_s=r.t0_s, min_step=least)
    return cause(g, steps, traces={n: Trace(r.t0_s, r.fs, p[i]) for i, n in enumerate(nodes)})


@needs_pipes
@pytest.mark.data
@pytest.mark.parametrize(("name", "coef"), [("b20", 0.01), ("b36", 0.002), ("b90", 0.003)])
def test_bursts_of_another_program_are_bursts_and_their_flow_is_known(name: str, coef: float) -> None:
    found = [recorded(name, seed) for seed in range(5)]
    assert sum(f.kind == "burst" for f in found) >= 4
    # The recordings let out coef * sqrt(pressure head), here of 40 .. 80 m.
    flow = float(np.median([f.flow_m3s for f in found if f.kind == "burst"]))
    assert 0.7 * coef * math.sqrt(40) < flow < 1.3 * coef * math.sqrt(80)


@needs_pipes
@pytest.mark.data
def test_neither_a_pulse_nor_a_pump_of_another_program_is_a_burst() -> None:
    for seed in range(4):
        assert recorded("p48", seed).kind != "burst"
        assert recorded("p48", seed, least=0.06).kind != "burst"
        assert recorded("ptsnet_pump", seed).kind in ("pump-trip", "unknown")
        assert recorded("ptsnet_burst_j73_1200", seed).kind == "burst"
