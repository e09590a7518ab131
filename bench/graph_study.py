"""How well and how fast arrival times place a source: made-up towns and cities, and the network of ../shared/data/pipes.

    python -m bench.graph_study calibration [--cases 200]   coverage and size of the 50, 80, 90 and 95 % sets, by kind of world;
                                                            in brackets the coverage where the last candidate counts in part
    python -m bench.graph_study speed [--cases 20]          10,000 links, 48 sensors, 10 of them hear: first and later locations
    python -m bench.graph_study told [--cases 60]           1200 m/s told, 1000, 1200 or 1300 true, 600 that nobody can fit

Truth is a joint or a point inside a pipe, even odds (joints alike, pipes by length). The speed of every pipe scatters by 4 %,
all together by 5 %; arrivals have Gaussian errors of a known standard deviation; in the worlds called "late" one arrival in
eight is noticed 50 .. 800 ms late. A set is right when it holds the true joint, or the true pipe, or a place within 5 m.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lifeline_core.pipes.candidates import Candidates
from lifeline_core.pipes.graph import PipeGraph

LEVELS = (0.5, 0.8, 0.9, 0.95)


def city(seed: int, side: int = 70) -> PipeGraph:
    """A warped grid of streets with a few gaps, dead ends and tanks; side 70 is about 10,000 links."""
    rng = np.random.default_rng(seed)
    edges: list[tuple[str, str, str, float, float, float]] = []

    def pipe(a: str, b: str, length: float) -> None:
        edges.append((f"p{len(edges)}", a, b, float(length), 1200.0, float(rng.choice([0.1, 0.15, 0.2, 0.3, 0.5]))))

    for i in range(side):
        for j in range(side):
            for di, dj in ((1, 0), (0, 1)):
                if i + di < side and j + dj < side and rng.random() > 0.06:
                    pipe(f"{i}.{j}", f"{i + di}.{j + dj}", 120 * rng.lognormal(0, 0.4))
    nodes = sorted({end for e in edges for end in e[1:3]})
    for k, node in enumerate(rng.choice(nodes, len(nodes) // 6, replace=False)):
        pipe(str(node), f"end{k}", 60 * rng.lognormal(0, 0.5))
    for k, node in enumerate(rng.choice(nodes, 4, replace=False)):
        pipe(str(node), f"tank{k}", 80.0)
    return PipeGraph.from_edges(edges, barriers=[f"tank{k}" for k in range(4)])


@dataclass(frozen=True)
class World:
    """A network in which the truth is drawn: ``told`` is what the locator gets, ``late`` the share of late arrivals."""

    name: str
    told: PipeGraph
    n_sensors: int
    sd_s: float
    late: float
    scale_sd: float = 0.05
    scatter: float = 0.04


@dataclass(frozen=True)
class Case:
    """Arrivals and the truth: a node, or a link with an offset."""

    world: World
    arrivals: dict[str, float]
    node: str
    link: int
    offset_m: float
    scale: float
    strays: tuple[str, ...]


def scaled(told: PipeGraph, factor: np.ndarray, cut: tuple[int, float] | None) -> PipeGraph:
    """The network as it really is, with the source as a node of its own when it is inside a link."""
    rows: list[tuple[str, str, str, float, float]] = []
    ends = zip(told.links, told.link_a, told.link_b, told.length_m, told.speed_mps * factor, strict=True)
    for k, (name, a, b, length, speed) in enumerate(ends):
        if cut and cut[0] == k:
            rows += [("cut-a", told.nodes[a], "source", cut[1], speed), ("cut-b", "source", told.nodes[b], length - cut[1], speed)]
        else:
            rows.append((name, told.nodes[a], told.nodes[b], float(length), float(speed)))
    return PipeGraph.from_edges(rows, barriers=[n for n, stop in zip(told.nodes, told.barrier, strict=True) if stop])


def case(world: World, rng: np.random.Generator, scale: float | None = None) -> Case:
    """One source and what its sensors hear: the nearest of a random few, as waves fade."""
    g = world.told
    scale = scale or float(np.exp(rng.normal(0, world.scale_sd)))
    factor = scale * np.exp(rng.normal(0, world.scatter, len(g.links)))
    open_nodes = np.nonzero(~g.barrier)[0]
    node, link, offset = "", -1, 0.0
    if rng.random() < 0.5:
        node = g.nodes[int(rng.choice(open_nodes))]
        true = scaled(g, factor, None)
    else:
        link = int(rng.choice(len(g.links), p=g.length_m / g.length_m.sum()))
        offset = float(rng.uniform(0, g.length_m[link]))
        true = scaled(g, factor, (link, offset))
    way = true.travel_times(node or "source")
    sensors = [g.nodes[i] for i in rng.choice(open_nodes, min(4 * world.n_sensors, len(open_nodes) // 2), replace=False)]
    near = sorted((float(way[true.index[s]]), s) for s in sensors if math.isfinite(way[true.index[s]]))[: world.n_sensors]
    arrivals = {s: 100.0 + t + float(rng.normal(0, world.sd_s)) for t, s in near}
    strays = tuple(s for _, s in near if rng.random() < world.late)
    for s in strays:
        arrivals[s] += float(rng.uniform(0.05, 0.8))
    return Case(world, arrivals, node, link, offset, scale, strays)


def holds(found: Candidates, c: Case, rows: list[int]) -> bool:
    """Whether these candidates hold the truth."""
    g = c.world.told
    for i in rows:
        one = found[i]
        if (c.node and one.node == c.node) or (not c.node and one.node is None and g.link_index[one.link] == c.link):
            return True
    if c.node:
        return any(_touches(g, found[i].link, c.node) and found.distance_m(i, c.node) <= 5.0 for i in rows)
    ends = ((g.nodes[g.link_a[c.link]], c.offset_m), (g.nodes[g.link_b[c.link]], g.length_m[c.link] - c.offset_m))
    return any(found[i].node == end and d <= 5.0 for i in rows for end, d in ends)


def _touches(g: PipeGraph, link: str, node: str) -> bool:
    k = g.link_index[link]
    return g.index[node] in (g.link_a[k], g.link_b[k])


def worlds(towns: int) -> Iterator[World]:
    """Kinds of worlds: made-up towns, a part of a city, and Tnet3 where it is there; with and without late arrivals."""
    from bench.burst_study import town
    from tests.tnet3 import PIPES

    graphs = [(f"town {seed}", town(seed)[0], 8) for seed in range(100, 100 + towns)]
    graphs.append(("city", city(1, 20), 10))
    if PIPES.is_dir():
        graphs.append(("tnet3", PipeGraph.from_inp(PIPES / "Tnet3.inp"), 8))
    for late in (0.0, 0.125):
        for name, graph, n in graphs:
            for sd in (0.003, 0.01, 0.03):
                yield World(f"{name.split()[0]}{', late' if late else ''}", graph, n, sd, late)


@dataclass(frozen=True)
class Score:
    """Of one answer: for every level whether its set is right and how large it is; the probability before the true row and of
    it; metres from the first candidate; whether it is doubted; late arrivals, those of them set aside, others set aside."""

    right: list[bool]
    size: list[int]
    before: float
    own: float
    first_m: float
    doubted: bool
    strays: tuple[int, int, int]


def grade(c: Case, found: Candidates) -> Score:
    """An answer against the truth."""
    rows = [found.region_rows(level) for level in LEVELS]
    name = c.node or c.world.told.links[c.link]
    true = next(i for i, one in enumerate(found) if one.name == name and (one.node is None) == (not c.node))
    hit = len(set(found.set_aside) & set(c.strays))
    return Score(
        [holds(found, c, r) for r in rows], [len(r) for r in rows], float(found.probability[:true].sum()),
        float(found.probability[true]), _distance(found, c), not found.fits, (len(c.strays), hit, len(found.set_aside) - hit),
    )  # fmt: skip


def calibration(cases: int, seed: int) -> None:
    """Coverage of the sets."""
    rng = np.random.default_rng(seed)
    kinds: dict[str, list[World]] = {}
    for w in worlds(6):
        kinds.setdefault(w.name, []).append(w)
    everything: list[Score] = []
    for name, some in kinds.items():
        scores = []
        while len(scores) < max(1, cases // len(kinds)):
            c = case(some[len(scores) % len(some)], rng)
            if len(c.arrivals) >= 3:
                scores.append(grade(c, c.world.told.locate(c.arrivals, sd_s=c.world.sd_s)))
        _tell(name, scores)
        everything += scores
    _tell("all", everything)


def _distance(found: Candidates, c: Case) -> float:
    g = c.world.told
    if c.node:
        return found.distance_m(0, c.node)
    a, b = (g.nodes[e] for e in (g.link_a[c.link], g.link_b[c.link]))
    if found[0].node is None and g.link_index[found[0].link] == c.link:
        return abs(found[0].offset_m - c.offset_m)
    return min(found.distance_m(0, a) + c.offset_m, found.distance_m(0, b) + g.length_m[c.link] - c.offset_m)


def _tell(name: str, scores: list[Score]) -> None:
    share, size = np.mean([s.right for s in scores], axis=0), np.mean([s.size for s in scores], axis=0)
    # A set of whole candidates has more than its level; one that takes the last candidate in part has just that.
    part = [np.mean([min(max((level - s.before) / max(s.own, 1e-300), 0.0), 1.0) for s in scores]) for level in LEVELS]
    late, hit, wrong = np.sum([s.strays for s in scores], axis=0)
    first = [s.first_m for s in scores]
    sets = "  ".join(f"{level:.0%}: {r:.1%} of {n:.1f} ({q:.1%})" for level, r, n, q in zip(LEVELS, share, size, part, strict=True))
    print(f"{name:12s} {len(scores):4d}  {sets}  first {np.mean(first):.1f} m, median {np.median(first):.1f}; "
          f"doubted {np.mean([s.doubted for s in scores]):.1%}; late {late}, found {hit}, others {wrong}", flush=True)  # fmt: skip


def speed(cases: int, seed: int) -> None:
    """Processor time of locating in a city of 10,000 links."""
    rng = np.random.default_rng(seed)
    graph = city(0)
    w = World("city", graph, 10, 0.005, 0.0)
    _ = graph.spots, graph.node_home
    print(f"{len(graph.nodes)} nodes, {len(graph.links)} links, {graph.length_m.sum() / 1000:.0f} km")
    cold, warm = [], []
    for _ in range(cases):
        c = case(w, rng)
        graph._routes.clear()
        begin = time.process_time()
        graph.locate(c.arrivals, sd_s=0.005)
        cold.append(time.process_time() - begin)
        for _ in range(3):
            begin = time.process_time()
            found = graph.locate(c.arrivals, sd_s=0.005)
            warm.append(time.process_time() - begin)
    print(f"{len(c.arrivals)} sensors, first: {1e3 * np.median(cold):.1f} ms; later: median {1e3 * np.median(warm):.1f} ms, "
          f"least {1e3 * min(warm):.1f} ms; {len(found)} candidates")  # fmt: skip
    print(f"not weighed in full: {found.account.unweighed:.1e} of the probability")


def told(cases: int, seed: int) -> None:
    """Speeds that were told wrong."""
    rng = np.random.default_rng(seed)
    every = [w for w in worlds(6) if not w.late and w.sd_s == 0.003]
    for what, sd, scatter in (("exact", 0.003, 0.0), ("noisy", 0.003, 0.04)):
        for true in (1000.0, 1200.0, 1300.0, 600.0):
            off, fits = [], []
            for k in range(cases // 4):
                w = every[k % len(every)]
                c = case(World(w.name, w.told, w.n_sensors, 1e-9 if what == "exact" else sd, 0.0, 0.0, scatter), rng, true / 1200.0)
                if len(c.arrivals) < 4:
                    continue
                found = w.told.locate(c.arrivals, sd_s=sd, speed_sd=scatter)
                off.append(abs(found[0].speed / true - 1))
                fits.append(found.fits)
            bad = np.array(off) > 0.03
            print(f"{what}, {true:.0f} m/s: speed off by {np.median(off):.2%} (median), within 3 % {np.mean(~bad):.0%}; "
                  f"fits {np.mean(fits):.0%}; off and yet it fits: {np.mean(bad & np.array(fits)):.0%}", flush=True)  # fmt: skip


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("what", choices=("calibration", "speed", "told"))
    words.add_argument("--cases", type=int, default=0)
    words.add_argument("--seed", type=int, default=1)
    a = words.parse_args()
    run, usual = {"calibration": (calibration, 200), "speed": (speed, 20), "told": (told, 60)}[a.what]
    run(a.cases or usual, a.seed)


if __name__ == "__main__":
    main()
