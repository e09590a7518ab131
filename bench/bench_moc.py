"""Waves on a network against the same characteristics in numpy, every grid point of every pipe at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.burst_study import town
from bench.duel import Case, Work, duel
from lifeline_core.pipes.moc import Places, Waves, outflow
from tests.twins import moc as twin


def make_run() -> tuple[Work, Work]:
    """155 nodes, 27 km, steps of 4 ms, 2 s, heads at all nodes for 8 sources."""
    graph, diameter = town(0)
    w = Waves(graph, dt=0.004, diameter_m=diameter)
    n = len(w._inverse)
    fixed = np.zeros(n, dtype=bool)
    fixed[w.group[graph.barrier]] = True
    net = twin.Net(n, w._a.astype(np.intp), w._b.astype(np.intp), w._kept.astype(np.intp), w._admittance.astype(np.float64), fixed)
    sources, everywhere = Places.at_nodes(np.arange(8)), Places.at_nodes(np.arange(len(graph.nodes)))

    def ours() -> Any:
        return w.probe(sources, everywhere, 500)

    def theirs() -> Any:
        return np.array([twin.run(net, int(w.group[i]), lambda k, h, t: 1.0, 500, 0.004)[0] for i in range(8)])

    a, b = ours(), theirs()[:, w.group]
    assert np.abs(a - b).max() < 2e-5 * np.abs(b).max()
    return ours, theirs


def make_outflow() -> tuple[Work, Work]:
    """400 bins."""
    rng = np.random.default_rng(1)
    own = (300 + 50 * np.cumsum(rng.normal(0, 0.2, 400))).astype(np.float32)
    opening = np.minimum(1, (np.arange(400) + 0.5) / 3).astype(np.float32)
    back = own[::-1].astype(np.float64)

    def theirs() -> Any:
        q, dq, stiff = np.zeros(400), np.zeros(400), 0.05 * float(own[0]) / 45.0
        for k in range(400):
            before = q[k - 1] if k else 0.0
            free = 1 - 0.05 / 45.0 * float(back[399 - k : 399] @ dq[:k]) + stiff * before
            b = opening[k] ** 2 * stiff
            q[k] = 0.5 * (np.sqrt(b * b + 4 * opening[k] ** 2 * max(free, 0.0)) - b)
            dq[k] = q[k] - before
        return q

    def ours() -> Any:
        return outflow(own, opening, 0.05, 45.0)

    assert np.abs(ours() - theirs()).max() < 1e-5
    return ours, theirs


CASES = [
    Case("waves of 8 sources, 155 nodes, 27 km, 500 steps", "moc", "the characteristics in numpy", 20.0, make_run, baseline=10.0),
    Case("flow of an orifice, 400 bins", "moc", "numpy, a dot product a bin", 5.0, make_outflow),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
