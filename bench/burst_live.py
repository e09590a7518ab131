"""How soon bursts are said and how long a tick takes: the recordings through the streaming rows, a tick a second.

    python -m bench.burst_live [--choices 4]

A row per recording and choice of eight sensors: seconds from the last onset that was used to the first statement (target 2),
when the waves have placed it, how far that is from the truth, and the longest tick in CPU milliseconds (aim 100 and a piece).
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np

from lifeline_core.detectors.burst import BurstJoin
from lifeline_core.model import NS, Block, Finding, Site
from lifeline_core.pipes.graph import PipeGraph
from tests.tnet3 import T0, Record, graph, record, transient

QUIET_TICKS = 32  # after the record's end


def play(r: Record, net: PipeGraph, nodes: list[str], seed: int) -> tuple[list[Finding], dict[str, float], float]:
    """What is said; the first onset of each channel in seconds; the longest tick in CPU seconds."""
    detector, rate = transient(nodes, r.fs)
    join = BurstJoin(Site(name="net", domain="water"), {n.lower(): n for n in nodes}, net)
    x, quarter, phase_ns = r.noisy(nodes, seed), round(float(rate) / 4), round(0.37 * seed % 1 * NS)
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


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--choices", type=int, default=4)
    choices = words.parse_args().choices
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


if __name__ == "__main__":
    main()
