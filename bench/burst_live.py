"""How soon bursts are said and how long a tick takes: the recordings through the streaming rows, a tick a second.

    python -m bench.burst_live [--choices 4]
    python -m bench.burst_live world [--cases 12] [--seed 41]    events of bench.cause_study: what is said at first and at last

A row per recording and choice of eight sensors: seconds from the last onset that was used to the first statement (target 2),
when the waves have placed it, how far that is from the truth, and the longest tick in CPU milliseconds (aim 100 and a piece).
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter

import numpy as np

from bench.cause_study import DT, KINDS, cases, networks
from lifeline_core.detectors.burst import BurstJoin
from lifeline_core.model import NS, Block, Finding, Site
from lifeline_core.pipes.graph import PipeGraph
from tests.tnet3 import T0, Record, graph, record, transient

QUIET_TICKS = 32  # after the record's end


def play(r: Record, net: PipeGraph, nodes: list[str], seed: int, sd: float = 0.02) -> tuple[list[Finding], dict[str, float], float]:
    """What is said; the first onset of each channel in seconds; the longest tick in CPU seconds."""
    detector, rate = transient(nodes, r.fs)
    join = BurstJoin(Site(name="net", domain="water"), {n.lower(): n for n in nodes}, net)
    x, quarter, phase_ns = r.noisy(nodes, seed, sd), round(float(rate) / 4), round(0.37 * seed % 1 * NS)
    said: list[Finding] = []
    onset: dict[str, float] = {}
    longest, head_ns, next_ns = 0.0, T0, T0 + phase_ns + NS
    for a in range(0, x.shape[1] + QUIET_TICKS * 4 * quarter, quarter):
        part = np.ascontiguousarray(x[:, a : a + quarter])
        if part.shape[1]:
            block = Block(part, T0, a, rate.numerator, rate.denominator)
            for f in detector.push(0, block):
                join.hear(f, "w")
                if f.active:
                    onset.setdefault(f.source, (f.onset_ns - T0) / NS)
        head_ns = T0 + round((a + quarter) / float(rate) * NS)
        while head_ns >= next_ns:
            begun = time.process_time()
            said += join.tick(next_ns, {n.lower(): head_ns for n in nodes}, detector.recall)
            longest = max(longest, time.process_time() - begun)
            next_ns += NS
    return said, onset, longest


def world(count: int, seed: int, verbose: bool) -> None:
    """Events of every kind: how many are called a burst for a while, in the end, and what is said instead."""
    table = {kind: Counter[str]() for kind in KINDS}
    for network, each in networks(count, seed):
        for kind in KINDS:
            for k, h in enumerate(cases(network, kind, each, seed)):
                r = Record(tuple(h.nodes), 1.0 / DT, 0.0, h.p.astype(np.float64), kind)
                said, _, _ = play(r, PipeGraph.from_network(h.event.network), h.nodes, k, 0.0)
                bursts = {f.onset_ns for f in said if f.kind == "burst"}
                ended = {f.onset_ns for f in said if f.kind == "burst" and not f.active}
                others = sorted({f.kind for f in said if f.kind != "burst" and f.active})
                end = "burst" if bursts - ended else "withdrawn" if bursts else "never"
                table[kind][end] += 1
                table[kind].update(others)
                if verbose and (kind == "burst") != (end == "burst"):
                    print(f"  {kind} at {h.event.where}: {end} {others}", flush=True)
    for kind, row in table.items():
        print(f"{kind:16s} burst {row['burst']:3d}  withdrawn {row['withdrawn']:3d}  never {row['never']:3d}   said: "
              + ", ".join(f"{k} {n}" for k, n in sorted(row.items()) if k not in ("burst", "withdrawn", "never")))  # fmt: skip


def recordings(choices: int) -> None:
    """Bursts of another program, at several choices of sensors."""
    net, waits, placed, ticks = graph("Tnet3"), [], 0, []
    for name in ("b20", "b36", "b90"):
        r = record(name)
        for seed in range(choices):
            nodes = [str(v) for v in sorted(np.random.default_rng(50 + seed).choice(r.dropping(), 8, replace=False))]
            said, onset, longest = play(r, net, nodes, seed)
            bursts = [f for f in said if f.kind == "burst" and f.active]
            ticks.append(longest)
            if not bursts:
                waits.append(math.inf)
                print(f"{name} {seed}: nothing said")
                continue
            first, last = bursts[0], bursts[-1]
            waits.append((first.t_ns - T0) / NS - max(onset[c] for c in first.evidence["sensors"]))
            placed += last.evidence["method"] == "waveforms"
            true = any(c.get("node") == r.node for c in last.where["candidates"])
            print(f"{name} {seed}: said {waits[-1]:.2f} s after the last of {len(first.evidence['sensors'])} onsets by arrivals, "
                  f"{(last.t_ns - first.t_ns) / NS:.0f} s later by {last.evidence['method']}: {last.where['asset']}, "
                  f"{'with' if true else 'without'} {r.node}; longest tick {longest * 1e3:.0f} ms", flush=True)  # fmt: skip
    print(f"{len(waits)} bursts: said {np.mean(waits):.2f} s after the last used onset on the mean, {max(waits):.2f} s at most "
          f"(target 2); {placed} placed by waves; longest ticks {np.median(ticks) * 1e3:.0f} ms on the median")  # fmt: skip


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("what", nargs="?", choices=("recordings", "world"), default="recordings")
    words.add_argument("--choices", type=int, default=4)
    words.add_argument("--cases", type=int, default=12)
    words.add_argument("--seed", type=int, default=41)
    words.add_argument("--verbose", action="store_true")
    a = words.parse_args()
    if a.what == "world":
        world(a.cases, a.seed, a.verbose)
    else:
        recordings(a.choices)


if __name__ == "__main__":
    main()
