"""The simulated network of ../shared/data/pipes: bursts, a demand pulse and a pump, with what is true of them."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lifeline_core.detectors.base import Group
from lifeline_core.detectors.transient import Transient, TransientParams
from lifeline_core.model import NS, Block, Channel, Finding, Site, Watch
from lifeline_core.pipes.graph import PipeGraph

PIPES = Path(__file__).parents[2] / "shared/data/pipes"
needs_pipes = pytest.mark.skipif(not PIPES.is_dir(), reason=f"the simulated networks are not there: {PIPES}")
T0 = 1_700_000_000 * NS


@dataclass(frozen=True)
class Record:
    """Head at named nodes; ``speed`` are the pipes' real wave speeds where they differ from the nominal."""

    nodes: tuple[str, ...]
    fs: float
    t0_s: float
    head_m: NDArray[np.float64]
    kind: str
    node: str = ""
    onset_s: float = 0.0
    speed: dict[str, float] | None = None

    def rows(self, nodes: list[str]) -> NDArray[np.float64]:
        return self.head_m[[self.nodes.index(n) for n in nodes]]

    def dropping(self, least: float = 0.3) -> list[str]:
        """Junctions whose head falls by at least ``least`` from what it was before the event."""
        before = self.head_m[:, : int((self.onset_s - self.t0_s) * self.fs)].mean(axis=1)
        fall = before - self.head_m.min(axis=1)
        return [n for n, d in zip(self.nodes, fall, strict=True) if d >= least and n.startswith("JUNCTION")]

    def noisy(self, nodes: list[str], seed: int, sd: float = 0.02) -> NDArray[np.float32]:
        x = self.rows(nodes)
        return (x + np.random.default_rng(seed).normal(0, sd, x.shape)).astype(np.float32)


def record(name: str) -> Record:
    """tnet3_b20, tnet3_b36, tnet3_b90, tnet3_p48 by their last word."""
    data, truth = np.load(PIPES / f"tnet3_{name}.npz"), json.loads((PIPES / f"tnet3_{name}.json").read_text())
    return Record(
        tuple(str(n) for n in data["nodes"]), float(data["fs"]), float(data["t0_s"]), data["head_m"].astype(np.float64),
        truth["kind"], truth["node"], truth["onset_s"], truth["speed"],
    )  # fmt: skip


def table(name: str) -> Record:
    """ptsnet_burst_j73_1200 or ptsnet_pump."""
    with gzip.open(PIPES / f"{name}.csv.gz", "rt") as file:
        nodes = tuple(file.readline().strip().split(",")[1:])
        rows = np.loadtxt(file, delimiter=",")
    fs = (len(rows) - 1) / (rows[-1, 0] - rows[0, 0])
    burst = "burst" in name
    return Record(nodes, fs, 0.0, rows[:, 1:].T.copy(), "burst" if burst else "pump", "JUNCTION-73" if burst else "", 1.0)


def graph(name: str = "Tnet3", wave_speed: float = 1200.0) -> PipeGraph:
    return PipeGraph.from_inp(PIPES / f"{name}.inp", wave_speed)


def transient(nodes: list[str], fs: float, params: TransientParams | None = None) -> tuple[Transient, Fraction]:
    """One row over one group with a channel per node, at the nearest small rational rate."""
    rate = Fraction(fs).limit_denominator(1000)
    channels = tuple(
        Channel(name=n.lower(), site="net", device=1, channel=i, unit="m", rate_hz=float(rate), node=n)
        for i, n in enumerate(nodes)
    )  # fmt: skip
    watch = Watch(name="w", site="net", channels=tuple(c.name for c in channels), detector="transient", params=params)
    return Transient(watch, [Group(channels, float(rate))], Site(name="net", domain="water")), rate


def play(detector: Transient, rate: Fraction, x: NDArray[np.float32], cuts: tuple[int, ...] = ()) -> list[Finding]:
    """Feed x cut before the samples in ``cuts``; the first sample is at T0."""
    found = []
    edges = [0, *sorted(set(cuts) - {0, x.shape[1]}), x.shape[1]]
    for a, b in pairwise(edges):
        found += detector.push(0, Block(np.ascontiguousarray(x[:, a:b]), T0, a, rate.numerator, rate.denominator))
    return found
