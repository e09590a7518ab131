"""The arithmetic of a location against the same in numpy, all places and sensors at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.duel import Case, Work, duel
from bench.graph_study import World, case, city
from lifeline_core.pipes.graph import PipeGraph
from lifeline_core.pipes.heard import Heard, Speeds
from lifeline_core.pipes.search import Spots
from lifeline_core.pipes.ways import Net, Shared
from lifeline_core.pipes.weigh import Scales, fit, network, weigh

Floats = np.ndarray[Any, np.dtype[np.float64]]


def heard_in(side: int) -> tuple[PipeGraph, Heard, Net, Shared]:
    """A city of side x side streets and what ten sensors heard of one burst."""
    graph = city(0, side)
    c = case(World("city", graph, 10, 0.005, 0.0), np.random.default_rng(1))
    heard = Heard.of(graph, c.arrivals, 0.005)
    return (graph, heard, *network(graph, heard, None))


def make_fit() -> tuple[Work, Work]:
    """Every node of a city of 10,000 links, ten sensors."""
    graph, heard, net, common = heard_in(70)
    scales, nodes = Scales.of(Speeds(), None, 0.04), np.nonzero(~graph.barrier)[0]
    spots = Spots.at_nodes(graph, nodes)
    ways = [graph.routes(node) for node in heard.nodes]
    t = heard.t_s[:, None] - heard.t_s.min()

    def theirs() -> Any:
        tau = np.array([w.time_s[nodes] for w in ways])
        own = np.maximum(np.array([w.square_s2[nodes] for w in ways]) - common.square_s2[nodes], 0)
        var = 0.005**2 + (0.5 / 1200) ** 2 + 0.04**2 * own
        t0, slow, pull = np.median(t - tau, axis=0), np.ones(len(nodes)), 1 / 0.05**2
        for _ in range(6):
            e = t - t0 - slow * tau
            w = 4 / (3 * var + e * e)
            total = w.sum(axis=0)
            mt, mu = (w * t).sum(axis=0) / total, (w * tau).sum(axis=0) / total
            p = pull * 5 / (4 + (slow - 1) ** 2 * pull)
            slow = ((w * (t - mt) * (tau - mu)).sum(axis=0) + p) / ((w * (tau - mu) ** 2).sum(axis=0) + p)
            slow = np.clip(slow, 1 / 1.35, 1 / 0.75)
            t0 = mt - slow * mu
        z2 = (t - t0 - slow * tau) ** 2 / var
        return -(2 * np.log1p(z2 / 3) + 0.5 * np.log(var)).sum(axis=0) - 2.5 * np.log1p((slow - 1) ** 2 * pull / 4)

    def ours() -> Any:
        return fit(graph, net, heard, spots, scales).score

    a, b = ours(), theirs()
    near = b > b.max() - 30
    assert near.sum() > 3 and np.abs(a - b)[near].max() < 0.1  # single precision
    return ours, theirs


def make_weigh() -> tuple[Work, Work]:
    """300 nodes in full, ten sensors: the covariance from the ways, t0 and the scale of the speeds integrated out."""
    graph, heard, net, _ = heard_in(40)
    nodes = np.nonzero(~graph.barrier)[0][:300]
    spots, scales = Spots.at_nodes(graph, nodes), Scales.of(Speeds(1e-3, 1e3, 0.05, share=0.0), None, 0.04)
    wide = Heard(heard.nodes, heard.t_s, np.full(len(heard.nodes), 2.0), heard.late_s)  # no strays: a plain Gaussian
    ways = [graph.routes(node) for node in heard.nodes]
    n = len(ways)

    def covariance(node: int) -> tuple[Floats, Floats]:
        tau = np.array([w.time_s[node] for w in ways])
        cov = np.diag(np.full(n, 4.0 + (0.5 / 1200) ** 2))
        for i in range(n):
            for k in range(i + 1):
                u, same = node, 0.0
                while (v := int(ways[i].toward[u])) >= 0 and v == ways[k].toward[u]:
                    same += (ways[i].time_s[u] - ways[i].time_s[v]) ** 2
                    u = v
                cov[i, k] += 0.04**2 * same
                cov[k, i] = cov[i, k]
        return tau, cov

    def theirs() -> Any:
        both = [covariance(int(node)) for node in nodes]
        tau, cov = np.array([b[0] for b in both]), np.array([b[1] for b in both])
        base = np.linalg.inv(cov + 0.05**2 * tau[:, :, None] * tau[:, None, :])
        y, one = heard.t_s - tau, np.ones(n)
        h = np.einsum("i,kij,j->k", one, base, one)
        quad = np.einsum("ki,kij,kj->k", y, base, y) - np.einsum("i,kij,kj->k", one, base, y) ** 2 / h
        det = -np.linalg.slogdet(base)[1] + np.log(h)
        return -0.5 * (quad + det + (n - 1) * np.log(2 * np.pi))

    def ours() -> Any:
        return weigh(graph, net, wide, spots, scales).score

    assert np.abs(ours() - theirs()).max() < 1e-5
    return ours, theirs


CASES = [
    Case("fit of 5,700 places to 10 arrivals", "ways", "the same rounds in numpy", 3.0, make_fit, baseline=1.8),
    Case("full weighing of 300 places, 10 arrivals", "ways", "Python walks, numpy.linalg", 50.0, make_weigh, baseline=25.0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
