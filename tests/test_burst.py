"""Steps at several sensors joined into a burst with a place: the rule, the join over ticks, the simulated truth."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import msgpack
import numpy as np
import pytest

from lifeline_core.detectors.base import Window
from lifeline_core.detectors.burst import BurstJoin
from lifeline_core.detectors.transient import TransientParams
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Channel, City, Finding, Site, Watch
from lifeline_core.networks import Networks, latency_of
from lifeline_core.pipes import PipeGraph
from lifeline_core.pipes.burst import Arrival, agreeing, judge, one_each
from lifeline_core.pipes.follower import LATENCY_S
from lifeline_core.pipes.onsets import longest_way
from lifeline_core.pipes.search import Speeds
from tests.test_causes import FS, opening, picked, waves
from tests.test_causes import net as meshes
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


def beside_a_pump() -> tuple[BurstJoin, list[Finding]]:
    """Three that hear a burst at D, and one at the pump that hears nothing."""
    net = PipeGraph.from_text(PUMPED)
    join = BurstJoin(SITE, {f"c-{n}": n for n in "BCDE"}, net)
    return join, [said(f"c-{a.node}", a.t_s) for a in wave(net, "D", ("C", "D", "E"))]


def times(join: BurstJoin, t_s: float, **other: float | None) -> dict[str, int | None]:
    at = {name: other.get(name.removeprefix("c-"), t_s) for name in join.channels}
    return {name: None if t is None else T0 + round(t * NS) for name, t in at.items()}


def heads(t_s: float, *but: str) -> dict[str, int | None]:
    return {f"c-{n}": None if f"c-{n}" in but else T0 + round(t_s * NS) for n in SENSORS}


def test_three_that_agree_are_a_burst_at_once_and_said_once() -> None:
    join, findings = joined()
    for f in findings[:2]:
        join.hear(f, "w")
    assert join.tick(T0 + 11 * NS, heads(11)) == []
    for f in findings[2:]:
        join.hear(f, "w")
    (burst,) = join.tick(T0 + 12 * NS, heads(12))
    assert (burst.kind, burst.source, burst.active, burst.unit) == ("burst", "", True, "m")
    assert burst.onset_ns == min(f.onset_ns for f in findings) and burst.t_ns == T0 + 12 * NS
    assert burst.value == -2.0
    where = burst.where
    assert where["asset"] == where["node"] == "d"
    assert {"link", "offset_m", "candidates", "rms_s", "sd_m"} <= set(where) and "x" not in where
    assert where["candidates"][0]["node"] == "d" and where["candidates"][0]["probability"] > 0
    assert sorted(burst.evidence["sensors"]) == sorted(join.channels)
    assert (burst.evidence["method"], burst.evidence["fits"]) == ("arrivals", True)
    assert burst.evidence["began_ns"] == pytest.approx(T0 + 10 * NS, abs=2_000_000)
    assert msgpack.unpackb(msgpack.packb([dict(where), dict(burst.evidence)]))
    assert join.tick(T0 + 13 * NS, heads(13)) == []


def test_who_stands_nearer_to_a_pump_is_waited_for() -> None:
    join, findings = beside_a_pump()
    for f in findings:
        join.hear(f, "w")
    # A pump that fits best would have begun at 9.4 s; what B hears is said 0.9 s later at the latest.
    assert join.tick(T0 + 11 * NS, times(join, 11, B=10.2)) == []
    assert join.tick(T0 + 12 * NS, times(join, 12, B=10.4))


def test_a_pump_that_stops_is_no_burst_at_any_tick() -> None:
    join, _ = beside_a_pump()
    findings = [said(f"c-{a.node}", a.t_s) for a in wave(PipeGraph.from_text(PUMPED), "B", ("B", "C", "D", "E"))]
    out: list[Finding] = []
    for s in range(100, 400):
        for f in findings:
            if s - 1 < (f.t_ns - T0) / NS * 10 <= s:
                join.hear(f, "w")
        if s == 250:
            state = msgpack.unpackb(msgpack.packb(join.save()))
            join, _ = beside_a_pump()
            join.load(state)
        if s == 300:
            for f in findings:
                join.hear(replace(f, active=False), "w")
        out += join.tick(T0 + s * NS // 10, times(join, s / 10))
    trip, end = out
    assert (trip.kind, trip.active, trip.severity, trip.where["asset"]) == ("pump-trip", True, 1, "PU")
    assert trip.evidence["probability"] >= 0.5 and trip.evidence["reasons"] and trip.onset_ns == findings[0].onset_ns
    assert (end.kind, end.active, end.onset_ns, end.t_ns) == ("pump-trip", False, trip.onset_ns, T0 + 30 * NS)


def test_a_lagging_stream_is_waited_for_but_not_for_ever_and_a_silent_one_not_at_all() -> None:
    join, findings = beside_a_pump()
    for f in findings:
        join.hear(f, "w")
    assert join.tick(T0 + 11 * NS, times(join, 11, B=None)), "silent"
    join, findings = beside_a_pump()
    for f in findings:
        join.hear(f, "w")
    ticks = [bool(join.tick(T0 + (30 + k) * NS, times(join, 99, B=0.0))) for k in range(60)]
    assert 30 < ticks.index(True) < 45
    assert sum(ticks) == 1


def test_a_late_onset_refines_the_place_under_the_same_onset() -> None:
    join, findings = joined()
    for f in findings[:3]:
        join.hear(f, "w")
    (first,) = join.tick(T0 + 30 * NS, heads(30, "c-f"))
    assert len(first.evidence["sensors"]) == 3
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
    assert longest_way(net, ["a", "f"]) == pytest.approx(1800 / 1200 / Speeds().least)


@cache
def net_of(name: str) -> PipeGraph:
    return graph(name)


def through(
    r: Record, net: PipeGraph, nodes: list[str], seed: int, sd: float = 0.02, *, waves: bool = False, more: int = 0,
    again: tuple[int, ...] = (),
) -> list[Finding]:
    """The whole way: one-second blocks through the row, its findings and a tick a second through the join; ``more`` ticks after
    the record's end, then its end. ``again``: saved and loaded before these ticks."""
    detector, rate = transient(nodes, r.fs)

    def make() -> BurstJoin:
        return BurstJoin(SITE, {n.lower(): n for n in nodes}, net)

    join, recall = make(), detector.recall if waves else None
    x, second, out = r.noisy(nodes, seed, sd), round(float(rate)), []
    for k in range(-(-x.shape[1] // second) + more):
        block = Block(np.ascontiguousarray(x[:, k * second : (k + 1) * second]), T0, k * second, rate.numerator, rate.denominator)
        for f in detector.push(0, block) if block.n else ():
            join.hear(f, "w")
        t_ns = T0 + (k + 1) * NS
        if k in again:
            state = msgpack.unpackb(msgpack.packb(join.save()))
            join = make()
            join.load(state)
        out += join.tick(t_ns, {n.lower(): t_ns for n in nodes}, recall)
    late = {n.lower(): t_ns + 3600 * NS for n in nodes}
    for _ in range(2):
        out += join.tick(t_ns, late, recall, math.inf)
    return out


def chosen(r: Record, seed: int) -> list[str]:
    return [str(n) for n in sorted(np.random.default_rng(50 + seed).choice(r.dropping(), 8, replace=False))]


@needs_pipes
@pytest.mark.data
@pytest.mark.parametrize("name", ["b20", "b36", "b90"])
@pytest.mark.parametrize("seed", range(5))
def test_the_true_junction_is_among_the_candidates_of_eight_sensors(name: str, seed: int) -> None:
    r, net = record(name), net_of("Tnet3")
    nodes = chosen(r, seed)
    found = through(r, net, nodes, seed)
    assert found and all(f.active and f.kind == "burst" for f in found)
    needed = {f.source: f.onset_ns for f in reversed(heard_alone(r, nodes, seed))}
    assert found[0].t_ns - max(needed[name] for name in found[0].evidence["sensors"]) <= 2 * NS
    where = found[-1].where
    assert len(where["candidates"]) <= 20
    listed = [c.get("node") for c in where["candidates"]]
    if r.node not in listed:
        # All eight behind one junction: no time tells what lies beyond it apart, the list is cut and says so.
        assert where["places"] > 40
        heard = net.locate_burst(r.noisy(nodes, seed), nodes, r.fs, t0_s=r.t0_s, waveforms=False)
        listed = [c.node for c in heard.region(0.95)]
    assert r.node in listed
    assert abs(found[-1].evidence["began_ns"] - T0 - round((r.onset_s - r.t0_s) * NS)) < 2 * NS


def heard_alone(r: Record, nodes: list[str], seed: int) -> list[Finding]:
    detector, rate = transient(nodes, r.fs)
    x = r.noisy(nodes, seed)
    return [f for f in detector.push(0, Block(x, T0, 0, rate.numerator, rate.denominator)) if f.active]


@needs_pipes
@pytest.mark.data
def test_waves_place_a_burst_after_its_arrivals() -> None:
    r, net = record("b36"), net_of("Tnet3")
    nodes = chosen(r, 1)
    plain = through(r, net, nodes, 1, waves=True, more=30, again=(3, 11))
    assert [f.evidence["method"] for f in plain] == ["arrivals"] * (len(plain) - 1) + ["waveforms"]
    last = plain[-1]
    assert last.onset_ns == plain[0].onset_ns and last.where["asset"] == r.node
    assert last.evidence["fits"] and last.evidence["flow_kept"] == pytest.approx(1.0, abs=0.2)
    assert last.where["sd_m"] < plain[0].where["sd_m"]
    assert 15 * NS < last.t_ns - plain[0].t_ns < 40 * NS, "a little at every tick"


@needs_pipes
@pytest.mark.data
def test_a_burst_that_opens_slowly_is_found_by_five_sensors() -> None:
    r, net = table("ptsnet_burst_j73_1200"), net_of("TNET3_ptsnet")
    for seed, sd in ((0, 0.0), (2, 0.02)):
        found = net.locate_burst(r.noisy(list(r.nodes), seed, sd), r.nodes, r.fs, waveforms=seed == 2)
        assert r.node in [c.node for c in found.region(0.9)]
        said = [f for f in through(r, net, list(r.nodes), seed, sd) if f.active]
        assert {f.kind for f in said} == {"burst"} and len({f.onset_ns for f in said}) == 1
        assert r.node in [c.get("node") for c in said[-1].where["candidates"]]


@needs_pipes
@pytest.mark.data
def test_neither_a_pulse_of_demand_nor_a_pump_is_a_burst() -> None:
    pulse, net = record("p48"), net_of("Tnet3")
    for seed, sd in enumerate((0.0, 0.02, 0.02)):
        nodes = sorted(np.random.default_rng(seed).choice(pulse.nodes, 8, replace=False))
        assert len(net.locate_burst(pulse.noisy(nodes, seed, sd), nodes, pulse.fs, t0_s=pulse.t0_s)) == 0
        assert through(pulse, net, nodes, seed, sd) == []
    pump = table("ptsnet_pump")
    for speed in (1000.0, 1200.0, 1300.0):
        other = graph("TNET3_ptsnet", speed)
        for seed, sd in enumerate((0.0, 0.005, 0.02, 0.05)):
            assert len(other.locate_burst(pump.noisy(list(pump.nodes), seed, sd), pump.nodes, pump.fs)) == 0
            said = through(pump, other, list(pump.nodes), seed, sd)
            assert {f.kind for f in said} <= {"pump-trip"} and all(f.severity == 1 for f in said)


def test_rows_and_names_must_agree() -> None:
    net = PipeGraph.from_edges(EDGES)
    with pytest.raises(ValueError, match="nodes names every row of p: 2 rows, got 1 names"):
        net.locate_burst(np.zeros((2, 500)), ["a"], 128.0)
    with pytest.raises(ValueError, match="got 'zz'"):
        net.locate_burst(np.zeros((1, 500)), ["zz"], 128.0)
    assert len(net.locate_burst(np.zeros((2, 500)), ["a", "b"], 128.0)) == 0


def played(lasting_s: float, saved: tuple[int, ...] = ()) -> list[Finding]:
    """A hole of 20 L/s at D of the meshes of `tests.test_causes` that shuts again: what is said, a tick a second."""
    traces, net = waves({"D": opening(-0.02, lasting_s, 12.0)}, seconds=12.0), meshes()
    steps = [said(f"c-{s.node}", s.t_s, s.step) for s in picked(np.stack([t.x for t in traces.values()]), list(traces), FS)]

    def make() -> BurstJoin:
        return BurstJoin(SITE, {f"c-{n}": n for n in traces}, net)

    def recall(channel: str, start_ns: int, stop_ns: int) -> Window | None:
        a, b = (min(max(math.ceil((t - T0) / NS * FS), 0), round(now * FS)) for t in (start_ns, stop_ns))
        return Window(T0 + round(a / FS * NS), FS, traces[channel[2:]].x[a:b]) if b > a else None

    join, out = make(), []
    for k in range(1, 60):
        now, head = min(k, 12), k + 0.3
        for f in steps:
            if head - 1 < (f.onset_ns - T0) / NS + 0.9 <= head:
                join.hear(f, "w")
        if k in saved:
            state = msgpack.unpackb(msgpack.packb(join.save()))
            join = make()
            join.load(state)
        out += join.tick(T0 + round(head * NS), {c: T0 + round(head * NS) for c in join.channels}, recall, 2000.0)
    return out


def test_a_burst_keeps_its_flow_and_a_short_demand_is_no_burst() -> None:
    burst = played(math.inf)
    assert burst[0].kind == "burst" and all(f.kind == "burst" and f.active for f in burst)
    assert burst[-1].evidence["method"] == "waveforms" and burst[-1].where["asset"] in ("D", "P3", "P4")
    assert burst[-1].evidence["flow_m3s"] == pytest.approx(0.02, rel=0.15) and burst[-1].evidence["flow_sd_m3s"] < 0.01
    assert any("flow at the place" in reason for reason in burst[-1].evidence["reasons"])
    assert repr(burst) == repr(played(math.inf, (3, 4, 6, 9, 10, 12)))
    (short,) = played(0.5)
    assert (short.kind, short.active, short.severity) == ("demand-pulse", True, 1)
    assert any("flow" in reason for reason in short.evidence["reasons"])


def test_what_was_called_a_burst_too_soon_is_taken_back() -> None:
    """Two seconds of demand: while it lasts nothing tells it from a burst."""
    traces = waves({"D": opening(-0.02, 2.0)})
    join = BurstJoin(SITE, {f"c-{n}": n for n in traces}, meshes())
    for s in picked(np.stack([t.x for t in traces.values()]), list(traces), FS):
        join.hear(said(f"c-{s.node}", s.t_s, s.step), "w")

    def tick(t_s: float, known_s: float) -> list[Finding]:
        def recall(channel: str, start_ns: int, stop_ns: int) -> Window:
            return Window(T0, FS, traces[channel[2:]].x[: round(known_s * FS)])

        return join.tick(T0 + round(t_s * NS), dict.fromkeys(join.channels, T0 + round(t_s * NS)), recall)

    (first,) = tick(5.5, 3.5)  # the newest two seconds are not to be had
    over, pulse = tick(9.7, 9.0)
    assert (first.kind, first.active) == ("burst", True)
    assert (over.kind, over.active, over.onset_ns) == ("burst", False, first.onset_ns)
    assert (pulse.kind, pulse.active, pulse.onset_ns) == ("demand-pulse", True, first.onset_ns)


def test_rows_that_wait_longer_are_waited_for() -> None:
    site = Site(name="net", domain="water", network=PUMPED)
    channels = {n: Channel(name=n, site="net", device=1, channel=i, unit="m", rate_hz=128.0, node=n) for i, n in enumerate("BCD")}
    slow = Watch(name="w", site="net", channels=("B",), detector="transient", params=TransientParams(rise_s=4.0))
    usual = Watch(name="v", site="net", channels=("C", "D"), detector="transient")
    other = Watch(name="o", site="net", channels=("z",), detector="transient", params=TransientParams(rise_s=9.0))
    for watches, latency in (((usual,), LATENCY_S), ((usual, slow, other), 2 * 4.0 + 0.75), ((), LATENCY_S)):
        city = City(sites={"net": site}, channels=channels, watches={w.name: w for w in watches})
        assert latency <= latency_of(city, channels.keys()) < latency + 1.5
        assert Networks(city).save().keys() == {"net"}
