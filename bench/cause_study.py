"""How well causes of pressure transients are told apart: made-up towns, the recordings' network and the recordings.

    python -m bench.cause_study [--cases 40] [--seed 1]      confusion of simulated events, half in towns, half in Tnet3,
                                                             and the flow of bursts against what was let out
    python -m bench.cause_study --know steps                 the same from the steps alone, without the records
    python -m bench.cause_study --know equal                 the same without diameters
    python -m bench.cause_study recordings [--choices 8]     the recordings of ../shared/data/pipes

The world: speeds of single pipes scatter by 4 %, friction, users whose demand follows the pressure, 2 cm of noise and a
drift of some centimetres. A burst is an orifice that opens; a pulse of demand opens and closes again within 0.3 .. 2 s;
a valve in a flowing pipe, a pump that trips or starts cut the link (or join it) and change the flow at both its ends
by the same amount with opposite signs. Half of the valves are on the list, with the direction of flow told; the others
are inside pipes, on no list. The network is linear but for the orifice, so the two ends are added up.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.burst_study import scattered, town
from lifeline_core.pipes.arrivals import pick_arrivals
from lifeline_core.pipes.causes import KINDS as ANSWERS
from lifeline_core.pipes.causes import Cause, Step, Trace, Valve, cause
from lifeline_core.pipes.epanet import Link, Network, Node, read_inp
from lifeline_core.pipes.graph import PipeGraph
from lifeline_core.pipes.joukowsky import burst_flow
from lifeline_core.pipes.moc import Waves, diameters
from lifeline_core.pipes.recovery import regained
from tests.twins import moc as twin

Floats = NDArray[np.float64]
DT, SECONDS, START_S, LEVEL_M = 0.0041, 9.5, 1.5, 45.0
NOISE_M, DRIFT_M, FELT_M, SENSORS = 0.02, 0.03, 0.3, 8
KINDS = ("burst", "demand-pulse", "valve-closure", "valve-opening", "outlet-closure", "pump-trip", "pump-start")


@dataclass(frozen=True)
class Event:
    """What happens: flows into nodes of a network as functions of time (s), or an orifice of ``size`` at one node."""

    kind: str
    network: Network  # while it happens
    into: tuple[tuple[str, Callable[[float], float]], ...]
    size: float = 0.0
    ramp_s: float = 0.1
    q_m3s: float = math.nan
    where: str = ""
    upstream: str = ""  # of a valve


@dataclass(frozen=True)
class Heard:
    """What eight sensors recorded, and their places."""

    p: NDArray[np.float32]
    nodes: list[str]
    event: Event
    q_m3s: float


def town_network(seed: int) -> Network:
    """A made-up town with a pumped reservoir, a booster in a street and six valves."""
    graph, d = town(seed)
    rng = np.random.default_rng([seed, 7])
    nodes = {n: Node(n, "tank" if stop else "junction") for n, stop in zip(graph.nodes, graph.barrier, strict=True)}
    links = {
        n: Link(n, "pipe", graph.nodes[a], graph.nodes[b], float(length), d[n])
        for n, a, b, length in zip(graph.links, graph.link_a, graph.link_b, graph.length_m, strict=True)
    }
    junctions = [n for n, k in nodes.items() if k.kind == "junction"]
    for k, name in enumerate(rng.permutation(list(links))[:7]):
        old, kind = links[str(name)], "pump" if k == 6 else "valve"
        nodes[f"{kind}-{k}-in"] = Node(f"{kind}-{k}-in", "junction")
        links[old.name] = replace(old, a=f"{kind}-{k}-in")
        links[f"{kind}-{k}"] = Link(f"{kind}-{k}", kind, old.a, f"{kind}-{k}-in", diameter_m=old.diameter_m)
    home = str(rng.choice(junctions))
    nodes |= {"res": Node("res", "reservoir"), "suction": Node("suction", "junction"), "delivery": Node("delivery", "junction")}
    links["rising"] = Link("rising", "pipe", "delivery", home, float(rng.uniform(200, 600)), 0.4)
    links["intake"] = Link("intake", "pipe", "res", "suction", float(rng.uniform(50, 400)), 0.5)
    links["station"] = Link("station", "pump", "suction", "delivery")
    return Network(nodes, links, "LPS")


def ramp(q: float, seconds: float) -> Callable[[float], float]:
    return lambda t: q * min(1.0, max(0.0, t / seconds))


def pulse(q: float, seconds: float, lasting: float) -> Callable[[float], float]:
    up = ramp(q, seconds)
    return lambda t: up(t) - up(t - lasting)


def closed(net: Network, link: str) -> Network:
    return Network(net.nodes, {**net.links, link: replace(net.links[link], status="closed")}, net.units)


def opened(net: Network, link: str) -> Network:
    return Network(net.nodes, {**net.links, link: replace(net.links[link], status="open")}, net.units)


def split(net: Network, name: str, part: float) -> Network:
    """The same pipe with a closed valve ``#valve`` inside."""
    old = net.links[name]
    nodes = {**net.nodes, "#a": Node("#a", "junction"), "#b": Node("#b", "junction")}
    links = {**net.links, name: replace(old, b="#a", length_m=old.length_m * part)}
    links["#rest"] = replace(old, name="#rest", a="#b", length_m=old.length_m * (1 - part))
    links["#valve"] = Link("#valve", "valve", "#a", "#b", status="closed")
    return Network(nodes, links, net.units)


def happening(net: Network, kind: str, rng: np.random.Generator) -> tuple[Event, Network]:
    """An event of that kind, drawn; and the network as the one who listens has it on record."""
    junctions = [n for n, k in net.nodes.items() if k.kind == "junction" and not k.name.startswith("#")]
    at = str(rng.choice(junctions))
    if kind == "burst":
        return Event(kind, net, ((at, ramp(0, 1)),), float(np.exp(rng.uniform(math.log(1.5e-3), math.log(1e-2)))),
                     float(rng.uniform(0.02, 0.1)), where=at), net  # fmt: skip
    if kind in ("demand-pulse", "outlet-closure"):
        q, seconds = float(np.exp(rng.uniform(math.log(3e-3), math.log(2e-2)))), float(rng.uniform(0.03, 0.15))
        flow = pulse(-q, seconds, float(rng.uniform(0.3, 2.0))) if kind == "demand-pulse" else ramp(q, seconds)
        return Event(kind, net, ((at, flow),), q_m3s=q, where=at), net
    if kind.startswith("pump"):
        name = str(rng.choice([k.name for k in net.links.values() if k.kind == "pump"]))
        q, seconds = float(rng.uniform(0.5, 1.5) * 0.25 * math.pi * 0.35**2), float(rng.uniform(0.1, 0.5))
        link, sign = net.links[name], 1.0 if kind == "pump-trip" else -1.0
        shut = closed(net, name)
        during, told = (shut, net) if kind == "pump-trip" else (opened(net, name), shut)
        into = ((link.a, ramp(sign * q, seconds)), (link.b, ramp(-sign * q, seconds)))
        return Event(kind, during, into, q_m3s=q, where=name), told
    valves = [k.name for k in net.links.values() if k.kind == "valve"]
    inside = rng.random() < 0.5
    if inside:
        name = str(rng.choice([k.name for k in net.links.values() if k.kind == "pipe" and k.length_m > 30 and k.status == "open"]))
        shut, valve, wide = split(net, name, float(rng.uniform(0.1, 0.9))), "#valve", net.links[name].diameter_m
    else:
        name = str(rng.choice(valves))
        shut, valve, wide = closed(net, name), name, net.links[name].diameter_m
    link = shut.links[valve]
    q = float(rng.choice([-1, 1]) * rng.uniform(0.3, 1.2) * 0.25 * math.pi * wide**2)
    seconds = float(rng.uniform(0.05, 0.3))
    # What a valve lets pass while it moves is little: the network is cut there, closing or opening.
    into = ((link.a, ramp(q, seconds)), (link.b, ramp(-q, seconds)))
    upstream = link.a if (q > 0) == (kind == "valve-closure") else link.b
    return Event(kind, shut, into, q_m3s=abs(q), where=name, upstream=upstream), net


def simulate(event: Event, rng: np.random.Generator) -> tuple[PipeGraph, Floats, float]:
    """Heads at all nodes and the largest flow let out."""
    graph = PipeGraph.from_network(event.network)
    nominal = np.where(graph.time_s > 0, graph.length_m / np.where(graph.time_s > 0, graph.time_s, 1.0), 1.0)
    speeds = np.where(graph.time_s > 0, nominal * scattered(rng, len(graph.links)), 1.0)
    w = Waves(graph, np.maximum(speeds, 1.0), dt=DT)
    n_groups = len(w._inverse)
    fixed = np.zeros(n_groups, dtype=bool)
    fixed[w.group[graph.barrier]] = True
    d = diameters(graph, None)[w.steps > 0]
    friction = 0.02 * np.abs(rng.normal(0, 0.5, len(d))) / d
    user = np.where(rng.random(n_groups) < 0.5, rng.lognormal(math.log(1e-3), 1.0, n_groups) / (2 * LEVEL_M), 0.0)
    pumps = tuple(
        (int(a), int(b), max(0.0, 1.0 / float(t) - float(w._inverse[a]) - float(w._inverse[b])))
        for a, b, t in zip(w._pump_a, w._pump_b, w._through, strict=True)
    )
    net = twin.Net(n_groups, w._a.astype(np.intp), w._b.astype(np.intp), w._kept.astype(np.intp),
                   w._admittance.astype(np.float64), fixed, friction, user, pumps)  # fmt: skip
    n, level, most = round(SECONDS / DT), float(rng.uniform(25, 80)), [0.0]
    total = np.zeros((len(graph.nodes), n))

    def orifice(k: int, head: float, all_y: float) -> float:
        c = event.size * min(1.0, max(0.0, (k * DT - START_S) / event.ramp_s))
        b = c * c / all_y
        q = 0.5 * (math.sqrt(b * b + 4 * c * c * max(level + head, 0.0)) - b)
        if k * DT < START_S + event.ramp_s + 3 * DT:
            most[0] = max(most[0], q)
        return -q

    for node, flow in event.into:
        source = int(w.group[graph.index[node]])
        into = orifice if event.size else (lambda k, head, all_y, flow=flow: flow(k * DT - START_S))
        total += twin.run(net, source, into, n, DT)[0][w.group]
    return graph, total, most[0] if event.size else event.q_m3s


def cases(net: Network, kind: str, count: int, seed: int) -> Iterator[Heard]:
    """Events felt at eight places or more, with what eight of those recorded."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    made = tries = 0
    while made < count and tries < 12 * count:
        tries += 1
        event, told = happening(net, kind, rng)
        graph, heads, q = simulate(event, rng)
        felt = [n for n, h in zip(graph.nodes, heads, strict=True) if np.abs(h).max() >= FELT_M and n in told.nodes]
        if len(felt) < SENSORS:
            continue
        made += 1
        nodes = sorted(str(v) for v in rng.choice(felt, SENSORS, replace=False))
        x = heads[[graph.index[v] for v in nodes]]
        wave = 2 * np.pi * (rng.uniform(0.05, 0.2, (SENSORS, 1)) * np.arange(x.shape[1]) * DT + rng.random((SENSORS, 1)))
        p = x + rng.normal(0, DRIFT_M, (SENSORS, 1)) * np.sin(wave) + rng.normal(0, NOISE_M, x.shape)
        yield Heard(p.astype(np.float32), nodes, replace(event, network=told), q)


def steps_of(
    p: NDArray[np.float32], nodes: list[str], fs: float, t0_s: float = 0.0, **kw: float
) -> tuple[list[Step], dict[str, Trace]]:
    """What `cause` is told of records: their steps, and the records."""
    a = pick_arrivals(p, fs, t0_s=t0_s, **kw)
    back = regained(p, fs, a.t_s, a.polarity, t0_s=t0_s)
    steps = [
        Step(n, float(a.t_s[i]), float(a.sd_s[i]), int(a.polarity[i]), float(a.step[i]), float(a.rise_s[i]), float(back[i]))
        for i, n in enumerate(nodes) if a.polarity[i]
    ]  # fmt: skip
    return steps, {n: Trace(t0_s, fs, p[i]) for i, n in enumerate(nodes)}


def told_valves(event: Event, rng: np.random.Generator) -> list[Valve]:
    """The valves of the network with their directions: what happens decides that of its own, chance the others."""
    found = []
    for k in event.network.links.values():
        if k.kind == "valve":
            up = event.upstream if event.where == k.name else str(rng.choice([k.a, k.b]))
            found.append(Valve(k.name, up, k.b if up == k.a else k.a))
    return found


def networks(count: int, seed: int) -> list[tuple[Network, int]]:
    """Networks, and how many events of a kind in each."""
    from tests.tnet3 import PIPES

    towns = [(town_network(100 * seed + k), 2) for k in range(count // 4)]
    if not PIPES.is_dir():
        print(f"Tnet3 is not there ({PIPES}): towns only")
        return towns
    return [(read_inp((PIPES / "Tnet3.inp").read_text()), count - count // 4 * 2), *towns]


def asked(h: Heard, know: str, rng: np.random.Generator) -> tuple[Cause, float, float]:
    """The answer, seconds of processor time, and the flow from the first steps at the true place (m3/s)."""
    graph = PipeGraph.from_network(h.event.network)
    if know == "equal":
        graph.diameter_m[:] = np.nan
    steps, traces = steps_of(h.p, h.nodes, 1.0 / DT)
    valves, begin = told_valves(h.event, rng), time.process_time()
    found = cause(graph, steps, valves=valves, traces=traces if know != "steps" else None)
    took = time.process_time() - begin
    first = math.nan
    if h.event.kind == "burst":
        first = burst_flow(graph, h.event.where, {s.node: s.step for s in steps if s.step < 0}, noise_m=NOISE_M).q_m3s
    return found, took, first


def spread(x: list[float]) -> str:
    some = np.array([v for v in x if math.isfinite(v)])
    if not len(some):
        return "none"
    return f"{len(some)}: " + " ".join(f"{v:.2f}" for v in np.percentile(some, [5, 25, 50, 75, 95]))


def confusion(count: int, seed: int, know: str, verbose: bool) -> None:
    rng, table = np.random.default_rng([seed, 99]), {kind: Counter[str]() for kind in KINDS}
    ratios: dict[str, list[float]] = {"records": [], "first steps": []}
    took, inside = [], []
    sure: list[tuple[float, bool]] = []
    for net, each in networks(count, seed):
        for kind in KINDS:
            for h in cases(net, kind, each, seed):
                found, seconds, first = asked(h, know, rng)
                table[kind][found.kind] += 1
                took.append(seconds)
                sure.append((found.probability["burst"], kind == "burst"))
                if kind == "burst":
                    ratios["records"].append(found.flow_m3s / h.q_m3s if found.kind == "burst" else math.nan)
                    ratios["first steps"].append(first / h.q_m3s)
                    if found.kind == "burst":
                        inside.append(abs(found.flow_m3s - h.q_m3s) <= 2 * found.flow_sd_m3s)
                if verbose and (kind == "burst") != (found.kind == "burst"):
                    p = {k: round(v, 2) for k, v in found.probability.items() if v > 0.01}
                    print(f"  {kind} at {h.event.where}: {found.kind} {p} {found.place}; {'; '.join(found.reasons)}", flush=True)
    print(f"{'':16s}" + "".join(f"{k:>15s}" for k in ANSWERS))
    for kind, row in table.items():
        print(f"{kind:16s}" + "".join(f"{row[k]:15d}" for k in ANSWERS))
    bursts, others = sum(table["burst"].values()), sum(sum(r.values()) for k, r in table.items() if k != "burst")
    harmless = sum(table[k]["burst"] for k in ("pump-trip", "pump-start", "demand-pulse"))
    false = sum(r["burst"] for k, r in table.items() if k != "burst")
    print(f"know {know}: bursts said {table['burst']['burst']}/{bursts} = {table['burst']['burst'] / bursts:.1%}; "
          f"others called burst {false}/{others} = {false / others:.1%}, of pumps and pulses {harmless}; "
          f"median {1e3 * float(np.median(took)):.1f} ms, 99 % {1e3 * float(np.percentile(took, 99)):.1f} ms a case")  # fmt: skip
    for low, high in ((0.0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 0.99), (0.99, 1.01)):
        some_are = [true for p, true in sure if low <= p < high]
        print(f"P(burst) {low:.2f} .. {min(high, 1.0):.2f}: {sum(some_are)} bursts of {len(some_are)} events")
    for name, some in ratios.items():
        print(f"flow of bursts from {name}, estimate / true, 5 25 50 75 95 % of {spread(some)}")
    print(f"true flow within 2 stated standard deviations in {np.mean(inside):.1%} of bursts said")


def recordings(choices: int) -> None:
    from tests.tnet3 import graph, record, table

    for name in ("b20", "b36", "b90", "p48"):
        for seed in range(choices):
            r, net = record(name), graph()
            rng = np.random.default_rng(50 + seed)
            pool = r.dropping() if r.kind == "burst" else [n for n in r.nodes if n.startswith("JUNCTION")]
            nodes = [str(v) for v in sorted(rng.choice(pool, 8, replace=False))]
            # The pulse is of some centimetres: without a lower threshold it is not heard at all.
            steps, traces = steps_of(r.noisy(nodes, seed), nodes, r.fs, r.t0_s, **({"min_step": 0.1} if r.kind != "burst" else {}))
            show(f"{name} {seed}", cause(net, steps, traces=traces))
    for name in ("ptsnet_burst_j73_1200", "ptsnet_pump"):
        r, net = table(name), graph("TNET3_ptsnet")
        for seed in range(choices):
            steps, traces = steps_of(r.noisy(list(r.nodes), seed), list(r.nodes), r.fs)
            show(f"{name} {seed}", cause(net, steps, traces=traces))


def show(label: str, found: Cause) -> None:
    p = ", ".join(f"{k} {v:.2f}" for k, v in found.probability.items() if v > 0.01)
    flow = f"{1e3 * found.flow_m3s:6.1f} +- {1e3 * found.flow_sd_m3s:.1f} L/s"
    print(f"{label:26s} {found.kind:14s} {found.place:14s} {flow}  {p}", flush=True)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("what", nargs="?", choices=("confusion", "recordings"), default="confusion")
    words.add_argument("--cases", type=int, default=40)
    words.add_argument("--choices", type=int, default=8)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--know", choices=("records", "steps", "equal"), default="records")
    words.add_argument("--verbose", action="store_true")
    a = words.parse_args()
    if a.what == "recordings":
        recordings(a.choices)
    else:
        confusion(a.cases, a.seed, a.know, a.verbose)


if __name__ == "__main__":
    main()
