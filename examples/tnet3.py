"""Writes a city of pressure sensors on a simulated network, and what they hear with 2 cm of noise, ready to replay.

python examples/tnet3.py ../shared/data/pipes tnet3_b36 out/
lifeline-core replay out/heads.npz --city out/city.toml
"""

from __future__ import annotations

import argparse
import gzip
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SENSORS, NOISE_M, NOMINAL_MPS = 8, 0.02, 1200.0


def heads(folder: Path, name: str) -> tuple[list[str], float, NDArray[np.float64], str]:
    """(nodes, samples per second, head in m [n_nodes, n], the network's file) of one simulation."""
    if name.startswith("tnet3"):
        data = np.load(folder / f"{name}.npz")
        return [str(n) for n in data["nodes"]], float(data["fs"]), data["head_m"].astype(np.float64), "Tnet3.inp"
    with gzip.open(folder / f"{name}.csv.gz", "rt") as file:
        nodes = file.readline().strip().split(",")[1:]
        rows = np.loadtxt(file, delimiter=",")
    return nodes, (len(rows) - 1) / (rows[-1, 0] - rows[0, 0]), rows[:, 1:].T, "TNET3_ptsnet.inp"


def choose(folder: Path, name: str, nodes: list[str], fs: float, x: NDArray[np.float64], rng: np.random.Generator) -> list[int]:
    """Eight junctions where there is something to hear: a fall of 0.3 m or more, as far as there are so many."""
    junctions = [i for i, n in enumerate(nodes) if n.upper().startswith("JUNCTION")]
    before = x[:, : max(1, int(0.5 * fs))].mean(axis=1)
    loud = [i for i in junctions if before[i] - x[i].min() >= 0.3]
    truth = folder / f"{name}.json"
    source = json.loads(truth.read_text()).get("node") if truth.exists() else None
    pool = [i for i in (loud if len(loud) >= SENSORS else junctions) if nodes[i] != source]
    return sorted(rng.permutation(pool)[:SENSORS].tolist())


def city(nodes: list[str], rate: Fraction) -> str:
    lines = ["[site.net]", 'domain = "water"', 'network = "network.inp"', f"wave_speed = {NOMINAL_MPS}"]
    for i, node in enumerate(nodes):
        name = node.lower()
        lines += [
            f"[channel.{name}]",
            'site = "net"',
            f"device = {i + 1}",
            "channel = 0",
            'quantity = "pressure"',
            'unit = "m"',
            f"rate_hz = {float(rate)!r}",
            f'node = "{node}"',
            f"[watch.p-{name}]",
            'site = "net"',
            f'channels = ["{name}"]',
            'profile = "water.transient"',
        ]
    return "\n".join(lines) + "\n"


def write(folder: Path, name: str, out: Path, seed: int = 0) -> list[str]:
    """The names of the sensors' nodes."""
    rng = np.random.default_rng(seed)
    nodes, fs, x, network = heads(folder, name)
    rate = Fraction(fs).limit_denominator(1000)
    chosen = choose(folder, name, nodes, fs, x, rng)
    named = [nodes[i] for i in chosen]
    out.mkdir(parents=True, exist_ok=True)
    (out / "network.inp").write_text((folder / network).read_text())
    (out / "city.toml").write_text(city(named, rate))
    noisy = x[chosen] + rng.normal(0, NOISE_M, (len(chosen), x.shape[1]))
    np.savez(out / "heads.npz", fs=float(rate), nodes=np.array(named), head_m=noisy.astype(np.float32))
    return named


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the simulations are")
    parser.add_argument("name", help="tnet3_b20, tnet3_b36, tnet3_b90, tnet3_p48, ptsnet_burst_j73_1200 or ptsnet_pump")
    parser.add_argument("out", type=Path, help="directory to write to")
    parser.add_argument("--seed", type=int, default=0, help="of the noise and the choice of sensors")
    a = parser.parse_args()
    print("sensors at", ", ".join(write(a.folder, a.name, a.out, a.seed)))
