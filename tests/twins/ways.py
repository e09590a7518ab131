"""Naive twins of the search's arithmetic: ways as lists of pipes, weights of Student's t in numpy, a Gaussian as a matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lifeline_core.pipes.graph import PipeGraph

Floats = NDArray[np.float64]
Step = tuple[int, int, float]  # from node, to node (-1 - link: a part of a link), seconds


def gather(toward: Sequence[int], cost: Sequence[float]) -> tuple[list[float], list[int]]:
    """Every way walked by itself."""
    total, last = [], []
    for v in range(len(toward)):
        s, u = 0.0, v
        while toward[u] >= 0:
            s, u = s + cost[u], toward[u]
        total.append(s)
        last.append(u)
    return total, last


def steps(graph: PipeGraph, node: int, sensor: str) -> list[Step] | None:
    """The pipes on the way from a node to a sensor, None where there is no way."""
    way = graph.routes(sensor)
    if not math.isfinite(way.time_s[node]):
        return None
    found, u = [], node
    while way.toward[u] >= 0:
        v = int(way.toward[u])
        found.append((u, v, float(way.time_s[u] - way.time_s[v])))
        u = v
    return found


def way_of(graph: PipeGraph, node: int, link: int, offset_m: float, sensor: str) -> list[Step] | None:
    """The same from a node, or from a point inside a link (node < 0) over the nearer end."""
    if node >= 0:
        return steps(graph, node, sensor)
    part, whole = offset_m / graph.length_m[link], float(graph.time_s[link])
    both = []
    for end, t in ((int(graph.link_a[link]), part * whole), (int(graph.link_b[link]), (1 - part) * whole)):
        rest = None if graph.barrier[end] and graph.nodes[end] != sensor else steps(graph, end, sensor)
        if rest is not None:
            both.append([(-1 - link, end, t), *rest])
    return min(both, key=lambda w: sum(s[2] for s in w)) if both else None


def gaussian(
    graph: PipeGraph, place: tuple[int, int, float], arrivals: dict[str, float], sd_s: float, scatter: float, slow_sd: float
) -> float:
    """Log density of the arrivals from a place: t0 from a very wide prior whose own constant is taken out again."""
    names = list(arrivals)
    ways = [way_of(graph, *place, name) for name in names]
    assert all(w is not None for w in ways)
    n, wide = len(names), 1e4
    tau = np.array([sum(s[2] for s in w or []) for w in ways])
    cov = np.eye(n) * sd_s**2 + wide**2 + slow_sd**2 * np.outer(tau, tau)
    for i in range(n):
        for k in range(n):
            same = {s[:2]: s[2] for s in ways[i] or []}
            cov[i, k] += scatter**2 * sum(same.get(s[:2], 0.0) ** 2 for s in ways[k] or [])
    y = np.array([arrivals[name] for name in names]) - tau
    y -= y.mean()
    _, det = np.linalg.slogdet(cov)
    return float(-0.5 * (y @ np.linalg.solve(cov, y) + det + n * math.log(2 * math.pi)) + 0.5 * math.log(2 * math.pi * wide**2))


def fit(tau: Floats, var: Floats, t: Floats, slow_sd: float, least: float, most: float) -> tuple[float, float, float]:
    """t0, slow and log likelihood (without the constant of the t distribution) at one place, all arrivals with a way."""
    t0, slow = float(np.median(t - tau)), 1.0
    pull = 1 / slow_sd**2 if slow_sd else 0.0
    for _ in range(6):
        e = t - t0 - slow * tau
        w = 4.0 / (3.0 * var + e * e)
        mt, mu = (w * t).sum() / w.sum(), (w * tau).sum() / w.sum()
        if slow_sd:
            own = pull * 5.0 / (4.0 + (slow - 1) ** 2 * pull)
            slow = ((w * (t - mt) * (tau - mu)).sum() + own) / ((w * (tau - mu) ** 2).sum() + own)
            slow = min(max(slow, least), most)
        t0 = mt - slow * mu
    z2 = (t - t0 - slow * tau) ** 2 / var
    score = -(2.0 * np.log1p(z2 / 3.0) + 0.5 * np.log(var)).sum()
    return t0, slow, float(score - (2.5 * math.log1p(((slow - 1) / slow_sd) ** 2 / 4.0) if slow_sd else 0.0))
