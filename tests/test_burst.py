"""Steps at several sensors joined into a burst with a place: the rule, the join over ticks, the simulated truth."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import msgpack
import numpy as np
import pytest

from lifeline_core.detectors.burst import BurstJoin, longest_way
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Finding, Site
from lifeline_core.pipes import PipeGraph
from lifeline_core.pipes.burst import Arrival, agreeing, judge, one_each
from tests.tnet3 import T0, Record, graph, needs_pipes, record, table, transient

SITE = Site(name="net", domain="water")
EDGES = [
    ("ab", "a", "b", 600.0), ("bc", "b", "c", 600.0), ("cd", "c", "d", 600.0), ("de", "d", "e", 600.0),
    ("ea", "e", "a", 600.0), ("bd", "b", "d", 900.0), ("cf", "c", "f", 600.0),
]  # fmt: skip
PUMPED = """[JUNCTIONS]\nA\nB\nC\nD\nE\n[RESERVOIRS]\nR\n[PIPES]\nRA R A 50 200\nBC B C 600 200\nCD C D 480 200
CE C E 720 200\nDE D E 600 200\n[PUMPS]\nPU A B\n[OPTIONS]\nUnits LPS\n"""
SENSORS = ("a", "c", "e", "f")


def wave(net: PipeGraph, source: str, nodes: tuple[str, ...], step: float = -2.0) -> list[Arrival]:
    way = net.travel_times(source)
    return [Arrival(n, 10 + float(way[net.index[n]]), 0.004, int(np.sign(step)), step, 0.05) for n in nodes]


def test_drops_from_one_place_are_a_burst_there() -> None:
    net = PipeGraph.from_edges(EDGES)
    verdict = judge(net, wave(net, "d", SENSORS))
    assert verdict.reason == "" and len(verdict.used) == 4
    assert verdict.candidates[0].node == "d"
    assert verdict.candidates[0].t0_s == pytest.approx(10.0, abs=1e-3)


def test_what_is_no_burst_is_told_in_a_word() -> None:
    net = PipeGraph.from_edges(EDGES)
    whole = wave(net, "d", SENSORS)
    up = [replace(a, polarity=1, step=2.0) for a in whole]
    assert judge(net, whole[:2]).reason == "few"
    assert judge(net, []).reason == "few"
    assert judge(net, up).reason == "surge"
    assert judge(net, [*whole[:3], up[3]]).reason == "surge"
    assert judge(net, [replace(a, rise_s=3.0) for a in whole]).reason == "slow"
    assert judge(net, [replace(a, t_s=a.t_s + 7 * i) for i, a in enumerate(whole)]).reason == "few"
    assert not len(judge(net, up).candidates)


def test_a_pump_explains_what_comes_from_its_side() -> None:
    net = PipeGraph.from_text(PUMPED)
    assert judge(net, wave(net, "B", ("C", "D", "E"))).reason == "pump"
    inside = judge(net, wave(net, "D", ("C", "D", "E")))
    assert inside.reason == "" and inside.candidates[0].node == "D"


def test_a_sensor_that_missed_the_beginning_does_not_refute_a_burst() -> None:
    net = PipeGraph.from_edges([*EDGES, ("fg", "f", "g", 300.0)])
    whole = wave(net, "d", ("a", "b", "c", "e", "f", "g"))
    late = [*whole[:5], replace(whole[5], polarity=1, step=1.0, t_s=whole[5].t_s + 1.0)]
    early = [*whole[:5], replace(whole[5], polarity=1, step=1.0)]
    assert judge(net, late).reason == ""
    assert judge(net, early).reason == "surge", "it rises when the wave should come"


def test_the_triangle_rule_leaves_out_what_cannot_belong() -> None:
    net = PipeGraph.from_edges(EDGES)
    whole = wave(net, "d", ("a", "b", "c", "e", "f"))
    assert agreeing(net, whole) == whole
    lone = replace(whole[1], t_s=whole[1].t_s - 5)
    assert agreeing(net, one_each([whole[0], lone, *whole[2:]])) == one_each([whole[0], *whole[2:]])
    twice = [replace(whole[0], sd_s=0.02, t_s=9.0), *whole]
    assert one_each(twice) == one_each(whole)


def said(channel: str, t_s: float, step: float = -2.0, active: bool = True) -> Finding:
    evidence = {"step": step, "polarity": int(np.sign(step)), "rise_s": 0.05, "onset_sd_s": 0.004, "quality": 0.9, "noise": 0.02}
    return Finding(
        kind="transient", t_ns=T0 + round((t_s + 0.4) * NS), onset_ns=T0 + round(t_s * NS), active=active, value=step,
        unit="m", source=channel, evidence=evidence, quality=0.9,
    )  # fmt: skip


def joined() -> tuple[BurstJoin, list[Finding]]:
    net = PipeGraph.from_edges(EDGES)
    join = BurstJoin(SITE, {f"c-{n}": n for n in SENSORS}, net)
    return join, [said(f"c-{a.node}", a.t_s) for a in wave(net, "d", SENSORS)]


def heads(t_s: float, *but: str) -> dict[str, int | None]:
    return {f"c-{n}": None if f"c-{n}" in but else T0 + round(t_s * NS) for n in SENSORS}


def test_it_waits_for_every_live_stream_and_then_says_one_burst() -> None:
    join, findings = joined()
    for f in findings:
        join.hear(f, "w")
    for s in range(11, 17):
        assert join.tick(T0 + s * NS, heads(s)) == []
    (burst,) = join.tick(T0 + 20 * NS, heads(20))
    assert (burst.kind, burst.source, burst.active, burst.unit) == ("burst", "", True, "m")
    assert burst.onset_ns == min(f.onset_ns for f in findings) and burst.t_ns == T0 + 20 * NS
    assert burst.value == -2.0
    where = burst.where
    assert where["asset"] == where["node"] == "d"
    assert {"link", "offset_m", "candidates", "rms_s", "sd_m"} <= set(where) and "x" not in where
    assert where["candidates"][0]["node"] == "d" and where["candidates"][0]["probability"] > 0
    assert sorted(burst.evidence["sensors"]) == sorted(join.channels)
    assert burst.evidence["began_ns"] == pytest.approx(T0 + 10 * NS, abs=2_000_000)
    assert msgpack.unpackb(msgpack.packb([dict(where), dict(burst.evidence)]))
    assert join.tick(T0 + 21 * NS, heads(21)) == []


def test_a_lagging_stream_is_waited_for_but_not_for_ever_and_a_silent_one_not_at_all() -> None:
    join, findings = joined()
    for f in findings[:3]:
        join.hear(f, "w")
    assert join.tick(T0 + 30 * NS, heads(30, "c-f")), "silent"
    join, findings = joined()
    for f in findings[:3]:
        join.hear(f, "w")
    lag = {**heads(99), "c-f": T0}
    ticks = [bool(join.tick(T0 + (30 + k) * NS, lag)) for k in range(60)]
    assert 30 < ticks.index(True) < 45
    assert sum(ticks) == 1


def test_a_late_onset_refines_the_place_under_the_same_onset() -> None:
    join, findings = joined()
    for f in findings[:3]:
        join.hear(f, "w")
    (first,) = join.tick(T0 + 30 * NS, heads(30, "c-f"))
    join.hear(findings[3], "w")
    (again,) = join.tick(T0 + 31 * NS, heads(31))
    assert again.active and again.onset_ns == first.onset_ns
    assert len(again.evidence["sensors"]) == 4
    assert join.tick(T0 + 32 * NS, heads(32)) == []


def test_it_ends_with_the_transients_and_the_next_one_is_another() -> None:
    join, findings = joined()
    for f in findings:
        join.hear(f, "w")
    (first,) = join.tick(T0 + 30 * NS, heads(30))
    for f in findings[:-1]:
        join.hear(replace(f, active=False), "w")
    assert join.tick(T0 + 50 * NS, heads(50)) == []
    join.hear(replace(findings[-1], active=False), "w")
    (end,) = join.tick(T0 + 51 * NS, heads(51))
    assert not end.active and end.onset_ns == first.onset_ns
    for f in findings:
        join.hear(said(f.source, (f.onset_ns - T0) / NS + 60), "w")
    (second,) = join.tick(T0 + 99 * NS, heads(99))
    assert second.active and second.onset_ns == first.onset_ns + 60 * NS


def test_a_false_onset_before_the_burst_does_not_hide_it() -> None:
    join, findings = joined()
    join.hear(said("c-f", 5.0), "w")
    for f in findings:
        join.hear(f, "w")
    (burst,) = join.tick(T0 + 30 * NS, heads(30))
    assert burst.where["asset"] == "d" and burst.onset_ns > T0 + 9 * NS


def test_order_of_hearing_and_saving_never_show() -> None:
    plain, findings = joined()
    other, _ = joined()
    out: list[list[Finding]] = [[], []]
    for s in range(10, 40):
        for f in findings:
            if f.t_ns // NS == (T0 // NS) + s:
                plain.hear(f, "w")
        for f in reversed(findings):
            if f.t_ns // NS == (T0 // NS) + s:
                other.hear(f, "w")
        state = msgpack.unpackb(msgpack.packb(other.save()))
        other, _ = joined()
        other.load(state)
        for found, join in zip(out, (plain, other), strict=True):
            found += join.tick(T0 + s * NS, heads(s))
    assert len(out[0]) == 1 and repr(out[0]) == repr(out[1])


def test_it_keeps_a_bounded_memory_and_forgets_what_was_no_burst() -> None:
    join, _ = joined()
    for k in range(1000):
        join.hear(said("c-a", 20.0 * k), "w")
    assert len(join.save()["heard"]) <= 8
    assert join.tick(T0 + 10**6 * NS, heads(10**6)) == []
    assert join.save()["heard"] == []


def test_what_does_not_fit_is_refused() -> None:
    net = PipeGraph.from_edges(EDGES)
    with pytest.raises(ValueError, match="channel c: node is one of the network of site net, got 'zz'"):
        BurstJoin(SITE, {"c": "zz"}, net)
    with pytest.raises(StateError, match="burst join: state of version"):
        joined()[0].load({})
    join, _ = joined()
    join.hear(replace(said("c-a", 1.0), kind="level"), "w")
    join.hear(said("elsewhere", 1.0), "w")
    assert join.save()["heard"] == []
    # From a to f: 900 m over b and c at 0.85 times 1200 m/s would be 600 + 600 + 600 m.
    assert longest_way(net, ["a", "f"]) == pytest.approx(1800 / 1200 / 0.85)


@cache
def net_of(name: str) -> PipeGraph:
    return graph(name)


def through(r: Record, net: PipeGraph, nodes: list[str], seed: int, sd: float = 0.02) -> list[Finding]:
    """The whole way: one-second blocks through the row, its findings and a tick a second through the join."""
    detector, rate = transient(nodes, r.fs)
    join = BurstJoin(SITE, {n.lower(): n for n in nodes}, net)
    x, second, out = r.noisy(nodes, seed, sd), round(float(rate)), []
    for a in range(0, x.shape[1], second):
        block = Block(np.ascontiguousarray(x[:, a : a + second]), T0, a, rate.numerator, rate.denominator)
        for f in detector.push(0, block):
            join.hear(f, "w")
        t_ns = block.time_ns(block.n - 1)
        out += join.tick(t_ns, {n.lower(): t_ns for n in nodes})
    return out + join.tick(t_ns, {n.lower(): t_ns + 3600 * NS for n in nodes})


@needs_pipes
@pytest.mark.data
@pytest.mark.parametrize("name", ["b20", "b36", "b90"])
@pytest.mark.parametrize("seed", range(5))
def test_the_true_junction_is_among_the_candidates_of_eight_sensors(name: str, seed: int) -> None:
    r, net = record(name), net_of("Tnet3")
    nodes = sorted(np.random.default_rng(50 + seed).choice(r.dropping(), 8, replace=False))
    found = through(r, net, nodes, seed)
    assert found and all(f.active for f in found)
    where = found[-1].where
    assert len(where["candidates"]) <= 20
    listed = [c.get("node") for c in where["candidates"]]
    if r.node not in listed:
        # All eight behind one junction: no time tells what lies beyond it apart, the list is cut and says so.
        assert where["places"] > 40
        heard = net.locate_burst(r.noisy(nodes, seed), nodes, r.fs, t0_s=r.t0_s)
        listed = [c.node for c in heard.region(0.95)]
    assert r.node in listed
    assert abs(found[-1].evidence["began_ns"] - T0 - round((r.onset_s - r.t0_s) * NS)) < 2 * NS


@needs_pipes
@pytest.mark.data
def test_a_burst_that_opens_slowly_is_found_by_five_sensors() -> None:
    r, net = table("ptsnet_burst_j73_1200"), net_of("TNET3_ptsnet")
    for seed, sd in enumerate((0.0, 0.005, 0.02, 0.02)):
        found = net.locate_burst(r.noisy(list(r.nodes), seed, sd), r.nodes, r.fs)
        assert r.node in [c.node for c in found.region(0.9)]
        (burst,) = (f for f in through(r, net, list(r.nodes), seed, sd) if f.active)
        assert r.node in [c.get("node") for c in burst.where["candidates"]]


@needs_pipes
@pytest.mark.data
def test_neither_a_pulse_of_demand_nor_a_pump_is_a_burst() -> None:
    pulse, net = record("p48"), net_of("Tnet3")
    for seed, sd in enumerate((0.0, 0.02, 0.02)):
        nodes = sorted(np.random.default_rng(seed).choice(pulse.nodes, 8, replace=False))
        assert len(net.locate_burst(pulse.noisy(nodes, seed, sd), nodes, pulse.fs, t0_s=pulse.t0_s)) == 0
        assert through(pulse, net, nodes, seed, sd) == []
    pump = table("ptsnet_pump")
    for speed in (1000.0, 1200.0):
        other = graph("TNET3_ptsnet", speed)
        for seed, sd in enumerate((0.0, 0.005, 0.02, 0.05)):
            assert len(other.locate_burst(pump.noisy(list(pump.nodes), seed, sd), pump.nodes, pump.fs)) == 0
            assert through(pump, other, list(pump.nodes), seed, sd) == []


def test_rows_and_names_must_agree() -> None:
    net = PipeGraph.from_edges(EDGES)
    with pytest.raises(ValueError, match="nodes names every row of p: 2 rows, got 1 names"):
        net.locate_burst(np.zeros((2, 500)), ["a"], 128.0)
    with pytest.raises(ValueError, match="got 'zz'"):
        net.locate_burst(np.zeros((1, 500)), ["zz"], 128.0)
    assert len(net.locate_burst(np.zeros((2, 500)), ["a", "b"], 128.0)) == 0
