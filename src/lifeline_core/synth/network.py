"""A looped pipe network and its pressure waves by the method of characteristics, with the truth known.

The wave of a burst is stepped on a grid on which every pipe is a whole number of reaches of ``speed * dt``, so that nothing is
interpolated: travel times are exact. Friction is left out but for a small linear loss; steady flow is left out altogether (all
pipes at rest before the burst), which does not change when and how high the first waves arrive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

G = 9.80665


@dataclass(frozen=True)
class Pipe:
    """A pipe of ``reaches`` grid steps between two nodes."""

    name: str
    a: str
    b: str
    reaches: int
    diameter_m: float


@dataclass(frozen=True)
class Network:
    """Nodes with places, pipes in whole reaches, one reservoir."""

    places: dict[str, tuple[float, float]]
    pipes: tuple[Pipe, ...]
    reservoir: str
    speed_mps: float
    fs: float
    head_m: float = 60.0

    @property
    def reach_m(self) -> float:
        return self.speed_mps / self.fs

    def inp(self) -> str:
        """The network as EPANET text, in litres per second and metres."""
        lines = ["[JUNCTIONS]", ";id elevation demand"]
        lines += [f"{n} 0 0" for n in self.places if n != self.reservoir]
        lines += [
            "[RESERVOIRS]",
            f"{self.reservoir} {self.head_m:g}",
            "[PIPES]",
            ";id node1 node2 length diameter roughness minor status",
        ]
        lines += [f"{p.name} {p.a} {p.b} {p.reaches * self.reach_m:.4f} {p.diameter_m * 1000:g} 120 0 Open" for p in self.pipes]
        lines += ["[OPTIONS]", "UNITS LPS", "[COORDINATES]"]
        lines += [f"{n} {x:.2f} {y:.2f}" for n, (x, y) in self.places.items()]
        return "\n".join([*lines, "[END]", ""])


def grid_network(columns: int = 4, rows: int = 3, *, speed_mps: float = 1200.0, fs: float = 128.0, seed: int = 3) -> Network:
    """A town's mains: a grid of loops with pipes of 300 to 700 m, fed at one corner."""
    rng = np.random.default_rng(seed)
    reach = speed_mps / fs
    places = {f"J{r}{c}": (c * 500.0, r * 500.0) for r in range(rows) for c in range(columns)}
    pairs = [(f"J{r}{c}", f"J{r}{c + 1}") for r in range(rows) for c in range(columns - 1)]
    pairs += [(f"J{r}{c}", f"J{r + 1}{c}") for r in range(rows - 1) for c in range(columns)]
    pipes = [
        Pipe(f"P{i}", a, b, int(rng.integers(int(300 / reach), int(700 / reach))), float(rng.choice([0.2, 0.3, 0.4])))
        for i, (a, b) in enumerate(pairs)
    ]
    places["R"] = (-400.0, 0.0)
    pipes.append(Pipe("PR", "R", "J00", int(400 / reach), 0.5))
    return Network(places, tuple(pipes), "R", speed_mps, fs)


def burst_heads(
    network: Network,
    seconds: float,
    *,
    node: str,
    at_s: float,
    flow_m3s: float,
    ramp_s: float = 0.05,
    sensors: Sequence[str],
    loss: float = 2e-4,
) -> NDArray[np.float64]:
    """Heads [m] at the sensors while an orifice opens at a node; ``flow_m3s`` is what it lets out at the first head.

    Returns
    -------
    float64[n_sensors, n], at ``network.fs``
    """
    steps = int(seconds * network.fs)
    pipes, names = network.pipes, list(network.places)
    index = {n: i for i, n in enumerate(names)}
    first = np.cumsum([0, *(p.reaches + 1 for p in pipes)])
    ends_a, ends_b = first[:-1], first[1:] - 1
    b_of = np.array([network.speed_mps / (G * np.pi / 4 * p.diameter_m**2) for p in pipes])
    impedance = np.repeat(b_of, [p.reaches + 1 for p in pipes])
    node_a, node_b = np.array([index[p.a] for p in pipes]), np.array([index[p.b] for p in pipes])
    head, flow = np.full(first[-1], network.head_m), np.zeros(first[-1])
    admittance = np.bincount(node_a, 1 / b_of, len(names)) + np.bincount(node_b, 1 / b_of, len(names))
    opening = flow_m3s / np.sqrt(network.head_m) * np.clip((np.arange(steps) / network.fs - at_s) / max(ramp_s, 1e-9), 0, 1)
    where, fixed, taps = index[node], index[network.reservoir], [index[s] for s in sensors]
    inner = np.setdiff1d(np.arange(first[-1]), np.concatenate([ends_a, ends_b]))
    out = np.empty((len(taps), steps))
    for k in range(steps):
        plus, minus = head + impedance * flow * (1 - loss), head - impedance * flow * (1 - loss)
        up, down = plus[inner - 1], minus[inner + 1]
        arriving = np.bincount(node_b, plus[ends_b - 1] / b_of, len(names)) + np.bincount(
            node_a, minus[ends_a + 1] / b_of, len(names)
        )
        at_node = arriving / admittance
        if opening[k] > 0:  # arriving - H * admittance = opening * sqrt(H)
            c, y = opening[k], admittance[where]
            at_node[where] = ((-c + np.sqrt(c * c + 4 * y * max(arriving[where], 0.0))) / (2 * y)) ** 2
        at_node[fixed] = network.head_m
        new_a = (at_node[node_a] - minus[ends_a + 1]) / b_of
        new_b = (plus[ends_b - 1] - at_node[node_b]) / b_of
        head[inner], flow[inner] = (up + down) / 2, (up - down) / (2 * impedance[inner])
        head[ends_a], head[ends_b], flow[ends_a], flow[ends_b] = at_node[node_a], at_node[node_b], new_a, new_b
        out[:, k] = at_node[taps]
    return out
