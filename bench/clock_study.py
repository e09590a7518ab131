"""How well loggers' clocks are compared, and whether a correction is ever made that is none.

    python -m bench.clock_study leak [--runs 40]     a leak on a plastic pipe, by loudness, length of the record and drift
    python -m bench.clock_study hum [--runs 40]      no leak: mains hum of a grid that wanders by 10 mHz

A row: runs; share accepted; RMS error and RMS stated deviation of the accepted, ppm; share within 2 deviations; coherence
before and after the correction, medians. Where the true drift is 0, or nothing is common, whatever is accepted is false.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from lifeline_core.pipes.clocks import Drift, estimate_drift, hum_drift
from lifeline_core.synth.leaknoise import LeakNoise

FS = 2048.0
SITE = {"length_m": 102.6, "position_m": 73.5, "speed_mps": 484.0, "beta_s_m": 7.25e-5}


def leak(seconds: float, ppm: float, snr_db: float | None, seed: int) -> list[NDArray[np.float32]]:
    """Made at twice the rate and read off by a spline, which is no part of what is studied."""
    n = int(seconds * FS)
    x = LeakNoise(fs=2 * FS, snr_db=snr_db, **SITE).whole(2 * (n + 400), seed).astype(float)
    b = CubicSpline(np.arange(x.shape[1]) / (2 * FS), x[1])(np.arange(n) / FS / (1 + ppm * 1e-6))
    return [x[0, ::2][:n].astype(np.float32), b.astype(np.float32)]


def hum(seconds: float, ppm: float, db: float | None, seed: int) -> list[NDArray[np.float32]]:
    rng, t = np.random.default_rng(seed), np.arange(int(seconds * 1000)) / 1000.0
    slow = np.arange(0.0, seconds + 20.0)
    f = np.cumsum(rng.normal(0, 1, slow.size))
    turns = CubicSpline(slow, 50 + 0.01 * (f - f.mean()) / f.std()).antiderivative()
    rows = []
    for rate in (1.0, 1 + ppm * 1e-6):
        x, phase = rng.normal(0, 1, t.size), 2 * np.pi * turns(5 + t / rate)
        for k in (1, 2, 3, 5):
            x += (0.0 if db is None else 10 ** (db / 20)) * 2**0.5 / k * np.cos(k * phase + rng.uniform(0, 6.28))
        rows.append(x.astype(np.float32))
    return rows


Make = Callable[..., list[NDArray[np.float32]]]
CASES: dict[str, tuple[Make, Callable[..., Drift], float, list[tuple[float, float, float | None]]]] = {
    "leak": (leak, estimate_drift, FS, [(60, 20, 10), (60, 20, 0), (60, 20, -10), (60, 0, 0), (60, 20, None), (300, 20, -10),
                                        (600, 20, 0), (600, 20, -10), (600, 0, 0), (600, 20, None)]),
    "hum": (hum, hum_drift, 1000.0, [(60, 20, 0), (60, 20, -10), (60, 0, -10), (600, 20, -10), (600, 2, -10), (600, 0, -10),
                                     (600, 20, -20), (600, 20, None)]),
}


def rows(kind: str, runs: int) -> Iterator[str]:
    make, ask, fs, cases = CASES[kind]
    for seconds, ppm, db in cases:
        found = [ask(*make(seconds, ppm, db, 1000 + k), fs) for k in range(runs)]
        good = [d for d in found if d.accepted]
        row = f"{seconds:5.0f} s {ppm:4.0f} ppm {'none' if db is None else f'{db:.0f} dB':>7}  {runs:4d} {len(good) / runs:8.2f}"
        if good:
            off, sd = np.array([d.ppm - ppm for d in good]), np.array([d.sd_ppm for d in good])
            before, after = np.median([d.coherence for d in good], axis=0)
            row += (f" {np.sqrt(np.mean(off**2)):8.3f} {np.sqrt(np.mean(sd**2)):8.3f} {np.mean(np.abs(off) < 2 * sd):8.2f}"
                    f" {before:8.3f} {after:6.3f}")
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(CASES))
    parser.add_argument("--runs", type=int, default=40)
    asked = parser.parse_args()
    print("record  drift  loudness  runs accepted    error   stated   within   before  after")
    for row in rows(asked.kind, asked.runs):
        print(row, flush=True)


if __name__ == "__main__":
    main()
