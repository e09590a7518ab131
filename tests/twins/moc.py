"""Naive twin of the waves on a network: head and flow at every grid point of every pipe by the characteristic equations.

Small changes about a steady state, in float64. Unlike the kernel it knows friction (linear in the change of flow), users
whose demand follows the pressure and a burst that is an orifice, so it also serves as the world in studies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass
class Net:
    """Pipes by their nodes; ``steps`` cells each. A fixed node keeps its head. ``friction`` 1/s, ``user`` m2/s at nodes."""

    n_nodes: int
    a: NDArray[np.intp]
    b: NDArray[np.intp]
    steps: NDArray[np.intp]
    admittance: Floats
    fixed: NDArray[np.bool_]
    friction: Floats | None = None
    user: Floats | None = None
    pumps: tuple[tuple[int, int, float], ...] = ()  # two nodes and the resistance between them, s/m2


def run(
    net: Net, source: int, inflow: Callable[[int, float, float], float], n: int, dt: float, every_cell: bool = False
) -> tuple[Floats, list[Floats]]:
    """Heads [n_nodes, n]; with ``every_cell`` also heads [steps + 1, n] of each pipe. ``inflow(k, head, total)`` at step k:
    head is what the source's node has without it, total the sum of admittances there."""
    first = np.concatenate([[0], np.cumsum(net.steps + 1)])[:-1]
    last = first + net.steps
    size = int((net.steps + 1).sum())
    y = np.repeat(net.admittance, net.steps + 1)
    keep = np.ones(size) if net.friction is None else np.repeat(1.0 - net.friction * dt, net.steps + 1)
    h, q = np.zeros(size), np.zeros(size)
    inner = np.ones(size, dtype=bool)
    inner[first] = inner[last] = False
    inner = np.nonzero(inner)[0]
    total = np.bincount(net.a, net.admittance, net.n_nodes) + np.bincount(net.b, net.admittance, net.n_nodes)
    total += 0 if net.user is None else net.user
    total = np.maximum(total, 1e-6 * net.admittance.max())
    heads, cells = np.zeros((net.n_nodes, n)), [np.zeros((k + 1, n)) for k in net.steps] if every_cell else []
    for k in range(n):
        plus = h * y + q * keep  # along a C+ characteristic Y h + q, along a C- one Y h - q
        minus = h * y - q * keep
        new_h, new_q = np.empty(size), np.empty(size)
        new_h[inner] = (plus[inner - 1] + minus[inner + 1]) / (2 * y[inner])
        new_q[inner] = (plus[inner - 1] - minus[inner + 1]) / 2
        come_b, come_a = plus[last - 1], minus[first + 1]
        node = np.bincount(net.b, come_b, net.n_nodes) + np.bincount(net.a, come_a, net.n_nodes)
        node /= total
        node[source] += inflow(k, float(node[source]), float(total[source])) / total[source]
        node[net.fixed] = 0.0
        for u, v, resistance in net.pumps:
            zu, zv = (0.0 if net.fixed[w] else 1.0 / total[w] for w in (u, v))
            through = (node[u] - node[v]) / (resistance + zu + zv)
            node[u] -= through * zu
            node[v] += through * zv
        new_h[first], new_h[last] = node[net.a], node[net.b]
        new_q[first] = net.admittance * node[net.a] - come_a
        new_q[last] = come_b - net.admittance * node[net.b]
        h, q = new_h, new_q
        heads[:, k] = node
        if every_cell:
            for rows, i, j in zip(cells, first, last, strict=True):
                rows[:, k] = h[i : j + 1]
    return heads, cells
