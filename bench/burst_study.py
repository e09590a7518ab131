"""How well bursts are placed: recordings of other programs, and a world of our own with what the locator does not know.

    python -m bench.burst_study recordings [--choices 8] [--told 1200]    a row per recording and choice of sensors
    python -m bench.burst_study towns [--choices 24] [--speed 1.0]        made-up networks and bursts from seeds
    python -m bench.burst_study tnet3 [--choices 24] [--speed 1.0]        bursts of our own in the recordings' network
    python -m bench.burst_study misfit [--choices 12]                     the last two at speeds right, wrong and far off
    python -m bench.burst_study others [--choices 8]                      a pump and a pulse of demand: never a burst

``--told`` is what the locator is told (m/s), ``--speed`` the true speed as a factor of it; ``--jobs 2`` takes two
processes; ``--arrivals`` places by arrivals alone. Each row goes through `PipeGraph.locate_burst`, as a user's would.

The world scatters the speed of every pipe by 4 %, has friction, users whose demand follows the pressure, a burst that is
an orifice and opens in 20 .. 100 ms, sensors with 2 cm of noise and a slow drift of some centimetres.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from multiprocessing import Pool

import numpy as np
from numpy.typing import NDArray

from lifeline_core.pipes.candidates import Candidates
from lifeline_core.pipes.graph import PipeGraph
from lifeline_core.pipes.moc import Waves, diameters
from tests.twins import moc as twin

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A record at the sensors and what is true of it."""
    graph: PipeGraph
    diameter_m: dict[str, float]
    nodes: list[str]
    p: NDArray[np.float32]
    fs: float
    t0_s: float
    true: str
    onset_s: float
    label: str
    speed: float = 1.0  # true, of what the locator is told


def town(seed: int) -> tuple[PipeGraph, dict[str, float]]:
    """A made-up network: a warped grid of streets with gaps, joints inside streets, dead ends and two tanks."""
    rng = np.random.default_rng(seed)
    nx, ny = (int(v) for v in rng.integers(5, 10, 2))
    name = {(i, j): f"n{i}-{j}" for i in range(nx) for j in range(ny)}
    streets = [((i, j), (i + di, j + dj)) for i in range(nx) for j in range(ny) for di, dj in ((1, 0), (0, 1))
               if i + di < nx and j + dj < ny]  # fmt: skip
    rng.shuffle(streets)
    joined, kept, gap = {v: v for v in name.values()}, [], rng.uniform(0.1, 0.35)

    def root(v: str) -> str:
        while joined[v] != v:
            v = joined[v]
        return v

    for s, t in streets:
        a, b = name[tuple(s)], name[tuple(t)]
        if root(a) != root(b) or rng.random() > gap * 2:
            joined[root(a)] = root(b)
            kept.append((a, b))
    size = float(rng.uniform(100, 300))
    edges, diameter = [], {}

    def pipe(a: str, b: str, length: float, d: float) -> None:
        edges.append((f"p{len(edges)}", a, b, float(length)))
        diameter[edges[-1][0]] = d

    for a, b in kept:
        length, d = size * rng.lognormal(0, 0.5), float(rng.choice([0.15, 0.2, 0.25, 0.3, 0.4, 0.6]))
        cut = int(rng.choice([1, 1, 2, 3]))
        ways = [a, *(f"{a}/{b}/{k}" for k in range(1, cut)), b]
        for u, v in pairwise(ways):
            pipe(u, v, length / cut * rng.uniform(0.7, 1.3), d)
    for k, v in enumerate(rng.choice(list(name.values()), max(3, nx * ny // 5), replace=False)):
        pipe(str(v), f"end{k}", size * rng.lognormal(-0.7, 0.6), 0.15)
    for k, v in enumerate(rng.choice(list(name.values()), 2, replace=False)):
        pipe(str(v), f"tank{k}", size * rng.lognormal(0, 0.5), 0.5)
    return PipeGraph.from_edges(edges, barriers=("tank0", "tank1")), diameter


def scattered(rng: np.random.Generator, n: int, sd: float = 0.04) -> Floats:
    """Speeds about 1, a few pipes well off."""
    return np.exp(np.clip(rng.standard_t(8, n) * math.sqrt(6 / 8) * sd, -0.16, 0.16))


def world(graph: PipeGraph, diameter: dict[str, float], true: str, seed: int, speed: float = 1.0, seconds: float = 9.5,
          n_sensors: int = 8, dt: float = 0.0041, label: str = "", size: float = 0.0) -> Case | None:  # fmt: skip
    """A burst at a node, of ``size`` m3/s per root of a metre or any; None where it is felt at too few places."""
    rng = np.random.default_rng(seed)
    nominal = graph.length_m / np.where(graph.time_s > 0, graph.time_s, 1.0)
    speeds = np.where(graph.time_s > 0, nominal * scattered(rng, len(graph.links)) * speed, 1.0)
    w = Waves(graph, np.maximum(speeds, 1.0), dt=dt, diameter_m=diameter)
    n_groups = len(w._inverse)
    fixed = np.zeros(n_groups, dtype=bool)
    fixed[w.group[graph.barrier]] = True
    piped = w.steps > 0
    d = diameters(graph, diameter)[piped]
    friction = 0.02 * np.abs(rng.normal(0, 0.5, len(d))) / d
    user = np.where(rng.random(n_groups) < 0.5, rng.lognormal(math.log(1e-3), 1.0, n_groups) / (2 * 45.0), 0.0)
    pumps = tuple((int(a), int(b), 1.0 / float(t)) for a, b, t in zip(w._pump_a, w._pump_b, w._through, strict=True))
    pumps = tuple((a, b, max(0.0, r - float(w._inverse[a]) - float(w._inverse[b]))) for a, b, r in pumps)
    net = twin.Net(n_groups, w._a.astype(np.intp), w._b.astype(np.intp), w._kept.astype(np.intp),
                   w._admittance.astype(np.float64), fixed, friction, user, pumps)  # fmt: skip
    start, ramp, level = 1.5, rng.uniform(0.02, 0.1), rng.uniform(25, 80)
    any_size = float(np.exp(rng.uniform(math.log(1.5e-3), math.log(1e-2))))
    size = size or any_size
    n = round(seconds / dt)

    def out(k: int, head: float, total: float) -> float:
        # q = c sqrt(level + head - q / total): the root of a quadratic.
        c = size * min(1.0, max(0.0, (k * dt - start) / ramp))
        b = c * c / total
        return -0.5 * (math.sqrt(b * b + 4 * c * c * max(level + head, 0.0)) - b)

    source = int(w.group[graph.index[true]])
    heads = twin.run(net, source, out, n, dt)[0][w.group]
    felt = [node for node, h in zip(graph.nodes, heads, strict=True) if h.min() <= -0.3]
    if len(felt) < n_sensors:
        return None
    nodes = sorted(str(v) for v in rng.choice(felt, n_sensors, replace=False))
    x = heads[[graph.index[v] for v in nodes]]
    t = np.arange(n) * dt
    drift = rng.normal(0, 0.03, (n_sensors, 1)) * np.sin(2 * np.pi * (rng.uniform(0.05, 0.2, (n_sensors, 1)) * t
                                                                     + rng.random((n_sensors, 1))))  # fmt: skip
    p = (x + drift + rng.normal(0, 0.02, x.shape)).astype(np.float32)
    return Case(graph, diameter, nodes, p, 1.0 / dt, 0.0, true, start, label or f"{seed}", speed)


def worlds(graph: PipeGraph, diameter: dict[str, float], count: int, seed: int, label: str, speed: float = 1.0,
           size: float = 0.0) -> Iterator[Case]:  # fmt: skip
    """Bursts at junctions chosen by the seed."""
    rng = np.random.default_rng(seed)
    junctions = [v for v, stop in zip(graph.nodes, graph.barrier, strict=True) if not stop]
    made = 0
    while made < count:
        true = str(rng.choice(junctions))
        case = world(graph, diameter, true, int(rng.integers(2**31)), speed, label=f"{label} {true}", size=size)
        if case is not None:
            made += 1
            yield case


@dataclass(frozen=True)
class Score:
    """Of one answer: metres from the best candidate and the nearest of the 90 % set, that set's size; speed found / true."""

    best_m: float
    near_m: float
    places: int
    speed: float
    took_s: float
    fits: bool = True
    misfit: float = math.nan


def grade(found: Candidates, true: str, took_s: float, level: float = 0.9, true_mps: float = 1200.0) -> Score:
    """An answer against the truth; nothing found is infinitely far."""
    if not len(found):
        return Score(math.inf, math.inf, 0, math.nan, took_s)
    rows = found.region_rows(level)
    near = min(found.distance_m(i, true) for i in rows)
    return Score(found.distance_m(0, true), near, len(rows), found[0].speed / true_mps, took_s, found.fits, found[0].misfit)


def told(scores: Sequence[Score]) -> str:
    """A line for many answers, targets beside."""
    kept = [s for s in scores if s.places]
    if not kept:
        return f"{len(scores)} cases, none called a burst"
    best, near = np.array([s.best_m for s in kept]), np.array([s.near_m for s in kept])
    off = np.array([abs(s.speed - 1) for s in kept])
    fine = (off <= 0.03) | ~np.array([s.fits for s in kept])
    parts = (
        f"{len(scores)} cases, {len(scores) - len(kept)} not called a burst (target 0)",
        f"best candidate {np.mean(best):.1f} m on the mean (target 60, aim 37.5), {np.median(best):.1f} m median",
        f"90 % set within 25 m in {np.mean(near <= 25):.1%} (target 90 %), {np.mean([s.places for s in kept]):.1f} places",
        f"speed within 3 % or said not to fit in {np.mean(fine):.1%} (target 100 %)",
        f"said not to fit in {np.mean([not s.fits for s in kept]):.1%}",
        f"{np.mean([s.took_s for s in scores]):.2f} s of CPU each",
    )
    return "; ".join(parts)


def recordings(choices: int, told_mps: float = 1200.0) -> Iterator[Case]:
    """The recordings of ../shared/data/pipes, each at several choices of eight sensors with 2 cm of noise."""
    from lifeline_core.pipes.epanet import read_inp
    from tests.tnet3 import PIPES, record

    net = read_inp((PIPES / "Tnet3.inp").read_text())
    graph = PipeGraph.from_network(net, told_mps)
    diameter = {k.name: k.diameter_m for k in net.links.values() if k.kind == "pipe"}
    for name in ("b20", "b36", "b90"):
        r = record(name)
        for seed in range(choices):
            nodes = [str(v) for v in sorted(np.random.default_rng(50 + seed).choice(r.dropping(), 8, replace=False))]
            yield Case(graph, diameter, nodes, r.noisy(nodes, seed), r.fs, r.t0_s, r.node, r.onset_s, f"{name} {seed}",
                       1200.0 / told_mps)  # fmt: skip


def tnet3(count: int, seed: int, speed: float = 1.0, size: float = 0.0) -> Iterator[Case]:
    """Bursts of our own in the recordings' network."""
    from lifeline_core.pipes.epanet import read_inp
    from tests.tnet3 import PIPES

    net = read_inp((PIPES / "Tnet3.inp").read_text())
    diameter = {k.name: k.diameter_m for k in net.links.values() if k.kind == "pipe"}
    return worlds(PipeGraph.from_network(net), diameter, count, seed, "tnet3", speed, size)


def towns(count: int, first: int, speed: float = 1.0) -> Iterator[Case]:
    """Two bursts in each made-up network."""
    for seed in range(first, first + (count + 1) // 2):
        yield from worlds(*town(seed), 2, seed, f"town {seed}", speed)


def misfit(count: int, first: int) -> Iterator[Case]:
    """Both worlds at speeds that are right, within the search and outside it."""
    for speed in (1.0, 1 / 1.2, 1.3 / 1.2, 0.72, 1.4):
        for case in towns(count, first, speed):
            yield replace(case, label=f"towns-{speed:.2f} {case.label}")
        for case in tnet3(count, first, speed):
            yield replace(case, label=f"tnet3-{speed:.2f} {case.label}")


def others(choices: int) -> Iterator[Case]:
    """The recordings that are no burst, at several speeds and sensors."""
    from tests.tnet3 import graph, record, table

    pulse, pump = record("p48"), table("ptsnet_pump")
    for told_mps in (1000.0, 1200.0, 1300.0):
        net, other = graph("Tnet3", told_mps), graph("TNET3_ptsnet", told_mps)
        for seed in range(choices):
            some = np.random.default_rng(seed).choice(pulse.nodes, 8, replace=False)
            for r, at, on, label in ((pulse, sorted(map(str, some)), net, "pulse"), (pump, list(pump.nodes), other, "pump")):
                p = r.noisy(at, seed, (0.0, 0.005, 0.02, 0.05)[seed % 4])
                yield Case(on, {}, at, p, r.fs, r.t0_s, at[0], r.onset_s, f"{label} {told_mps:.0f} {seed}")


def answer(case: Case, waveforms: bool) -> tuple[Case, Score, str]:
    """One row."""
    begin = time.process_time()
    more = {"diameter_m": case.diameter_m} if case.diameter_m else {}
    found = case.graph.locate_burst(case.p, case.nodes, case.fs, t0_s=case.t0_s, waveforms=waveforms, **more)
    s = grade(found, case.true, time.process_time() - begin, true_mps=case.graph.wave_speed * case.speed)
    first = "no burst"
    if len(found):
        first = f"{found[0].name}, begun {found[0].t0_s - case.onset_s:+.3f} s, misfit {found[0].misfit:.2f}"
    return case, s, first


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("what", choices=("recordings", "towns", "tnet3", "misfit", "others"))
    words.add_argument("--choices", type=int, default=8)
    words.add_argument("--told", type=float, default=1200.0)
    words.add_argument("--speed", type=float, default=1.0)
    words.add_argument("--size", type=float, default=0.0)
    words.add_argument("--seed", type=int, default=12)
    words.add_argument("--jobs", type=int, default=1)
    words.add_argument("--arrivals", action="store_true")
    a = words.parse_args()
    cases = {
        "recordings": lambda: recordings(a.choices, a.told),
        "towns": lambda: towns(a.choices, a.seed, a.speed),
        "tnet3": lambda: tnet3(a.choices, a.seed, a.speed, a.size),
        "misfit": lambda: misfit(a.choices, a.seed),
        "others": lambda: others(a.choices),
    }[a.what]()
    work = partial(answer, waveforms=not a.arrivals)
    scores: dict[str, list[Score]] = {}
    with Pool(a.jobs) if a.jobs > 1 else nullcontext() as pool:
        for c, s, first in pool.imap(work, cases) if pool else map(work, cases):
            scores.setdefault(c.label.split()[0], []).append(s)
            print(f"{c.label:24s} best {s.best_m:6.0f} m  set {s.near_m:6.0f} m of {s.places:2d}  speed {s.speed - 1:+.1%}  "
                  f"{'fits' if s.fits else 'does not fit':12s} {s.took_s:5.2f} s  {first}", flush=True)  # fmt: skip
    if a.what == "others":
        called = sum(s.places > 0 for some in scores.values() for s in some)
        print(f"{sum(map(len, scores.values()))} records of a pump and a pulse: {called} called a burst (target 0)")
        return
    for name, some in scores.items():
        print(f"{name}: {told(some)}")
    print(f"all: {told([s for some in scores.values() for s in some])}")


if __name__ == "__main__":
    main()
