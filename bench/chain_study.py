"""Are identified modes true, and are their standard deviations right: an exact chain of five masses, and two close modes.

    python -m bench.chain_study modes [--runs 100] [--duration 3600] [--first 1] [--jobs 1] [--method ssi|efdd] [--json]
    python -m bench.chain_study close [--runs 20] [--rate 20] [--channels 4] [--like 0.05] [--windows 6] [--jobs 1] [--json]

``modes``: the chain of `synth.chain` under ambient load, 50 Hz, 20 dB of sensor noise. A run is right when exactly the five modes
are found, every frequency within 4 of its floor sqrt(zeta / (2 pi T f)), every damping within 4 of sqrt(1 / (2 pi zeta T f)) and
every MAC at least 0.99. Over the runs: the stated standard deviations against the scatter.

``close``: 2.00 and 2.02 Hz, damping 0.005, random shapes whose MAC is at most ``--like``, 10 % of noise. Right when two modes are
found, each within 0.008 Hz and with MAC of at least 0.95 to its own; then ``--windows`` records of the same bridge are followed by
a `Tracker` of the first: an exchange is a track whose shape is more like the other's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.bridges import Modes, Tracker, fdd, identify_modes, mac
from lifeline_core.bridges.identify import frequency_floor
from lifeline_core.synth.bridge import mode_acceleration
from lifeline_core.synth.chain import Chain, chain

Real = NDArray[np.float64]
FS = 50.0
TOLERANCE = 4.0  # floors
LIKE = 0.99
CLOSE_HZ, CLOSE_DAMPING = (2.00, 2.02), 0.005
METHODS: dict[str, Callable[[Real, float], Modes]] = {"ssi": identify_modes, "efdd": fdd}


def damping_floor(c: Chain, duration_s: float) -> Real:
    """Least standard deviation of each damping ratio: zeta sqrt(1 / (2 pi zeta T f)) (Au 2014, leading order)."""
    out: Real = c.damping * np.sqrt(1.0 / (2 * np.pi * c.damping * duration_s * c.f_hz))
    return out


def judged(c: Chain, m: Modes, duration_s: float) -> dict[str, Any]:
    """One run: the found modes matched to the true ones by frequency, in units of the floors; and what is wrong with it."""
    wrong = [] if len(m) == len(c.f_hz) else [f"{len(m)} modes"]
    if not len(m):
        return {"wrong": wrong, "rows": None}
    near = np.argmin(np.abs(m.f_hz[None, :] - c.f_hz[:, None]), axis=1)
    df = (m.f_hz[near] - c.f_hz) / frequency_floor(c.f_hz, c.damping, duration_s)
    dz = (m.damping[near] - c.damping) / damping_floor(c, duration_s)
    like = np.diag(np.asarray(mac(m.shapes[near], c.shapes)))
    for name, bad in (("frequency", ~(np.abs(df) <= TOLERANCE)), ("damping", ~(np.abs(dz) <= TOLERANCE)), ("MAC", ~(like >= LIKE))):
        wrong += [f"{name} of mode {i + 1}" for i in np.flatnonzero(bad)]
    rows = np.stack([m.f_hz[near], m.f_sd_hz[near], m.damping[near], m.damping_sd[near], df, dz, like])
    return {"wrong": wrong, "rows": rows}


def chain_run(duration_s: float, method: str, seed: int) -> dict[str, Any]:
    c = chain()
    x = c.acceleration(round(FS * duration_s), FS, np.random.default_rng(seed))
    return {"seed": seed, **judged(c, METHODS[method](x, FS), duration_s)}


def summary(runs: list[dict[str, Any]], duration_s: float) -> dict[str, Any]:
    """Over all runs in which every mode has a partner: scatter, stated deviations, their ratio, worst errors."""
    c = chain()
    whole = [r["rows"] for r in runs if r["rows"] is not None and not any("modes" in w for w in r["wrong"])]
    out: dict[str, Any] = {"runs": len(runs), "right": sum(not r["wrong"] for r in runs), "duration_s": duration_s,
                           "wrong": {r["seed"]: r["wrong"] for r in runs if r["wrong"]}, "modes": []}
    if not whole:
        return out
    f, f_sd, z, z_sd, df, dz, like = np.array(whole).transpose(1, 0, 2)
    spread = {"ddof": min(1, len(whole) - 1), "axis": 0}
    f_scatter, z_scatter = f.std(**spread), z.std(**spread)
    stated_f, stated_z = np.sqrt(np.mean(f_sd**2, axis=0)), np.sqrt(np.mean(z_sd**2, axis=0))
    floors = frequency_floor(c.f_hz, c.damping, duration_s), damping_floor(c, duration_s)
    for i in range(len(c.f_hz)):
        out["modes"].append({
            "f_hz": float(c.f_hz[i]), "f_bias": float(f[:, i].mean() / c.f_hz[i] - 1), "f_scatter_hz": float(f_scatter[i]),
            "f_scatter_floors": float(f_scatter[i] / floors[0][i]), "f_stated_over_scatter": float(stated_f[i] / f_scatter[i]),
            "f_worst_floors": float(np.abs(df[:, i]).max()), "damping": float(c.damping[i]),
            "damping_bias": float(z[:, i].mean() / c.damping[i] - 1), "damping_scatter_floors": float(z_scatter[i] / floors[1][i]),
            "damping_stated_over_scatter": float(stated_z[i] / z_scatter[i]), "damping_worst_floors": float(np.abs(dz[:, i]).max()),
            "least_mac": float(like[:, i].min())})
    return out


def print_chain(s: dict[str, Any]) -> None:
    print(f"{s['runs']} runs of {s['duration_s']:.0f} s: {s['right']} right in all "
          f"(five modes, none too many, f and damping within {TOLERANCE:.0f} floors, MAC >= {LIKE})")
    for seed, wrong in s["wrong"].items():
        print(f"  seed {seed}: {', '.join(wrong)}")
    print("             frequency: bias, scatter, worst    damping: bias, scatter, worst    stated / scatter     least")
    print("  f [Hz]      [%]   [floors]  [floors]            [%]   [floors] [floors]        f    damping        MAC")
    for m in s["modes"]:
        print(f"  {m['f_hz']:.4f}  {100 * m['f_bias']:+8.4f} {m['f_scatter_floors']:8.2f} {m['f_worst_floors']:8.2f}"
              f"        {100 * m['damping_bias']:+8.2f} {m['damping_scatter_floors']:8.2f} {m['damping_worst_floors']:8.2f}"
              f"   {m['f_stated_over_scatter']:10.3f} {m['damping_stated_over_scatter']:8.3f}   {m['least_mac']:.6f}")


def shapes_apart(rng: np.random.Generator, n_ch: int, like: float) -> Real:
    """Two random real shapes with MAC at most ``like``."""
    while True:
        shapes: Real = rng.uniform(-1.0, 1.0, (2, n_ch))
        if mac(shapes[0], shapes[1]) <= like:
            return shapes


def close_record(rng: np.random.Generator, shapes: Real, duration_s: float, rate_hz: float, noise: float) -> Real:
    """float64[n_ch, n]: two close modes under independent white forces, settled, with sensor noise relative to the record."""
    settle = round(10.0 * rate_hz / (2 * np.pi * CLOSE_DAMPING * CLOSE_HZ[0]))
    n = settle + round(duration_s * rate_hz)
    modal = [mode_acceleration(f, CLOSE_DAMPING, rate_hz, rng.standard_normal(n))[settle:] for f in CLOSE_HZ]
    x: Real = shapes.T @ np.array(modal)
    return x + noise * x.std() * rng.standard_normal(x.shape)


def close_run(a: argparse.Namespace, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shapes = shapes_apart(rng, a.channels, a.like)
    found = [identify_modes(close_record(rng, shapes, a.duration, a.rate, a.noise), a.rate) for _ in range(a.windows + 1)]
    apart = [len(m) == 2 and bool((np.abs(m.f_hz - CLOSE_HZ) <= 0.008).all()) and
             bool((np.diag(np.asarray(mac(m.shapes, shapes))) >= 0.95).all()) for m in found]
    result: dict[str, Any] = {"seed": seed, "apart": sum(apart), "records": len(found), "tracked": 0, "exchanged": 0,
                              "f": [m.f_hz.round(4).tolist() for m in found if len(m) != 2]}
    if not apart[0]:
        return result
    tracker = Tracker(found[0])
    for m in found[1:]:
        at = tracker.assign(m)
        tracker.update(m)
        for i, j in enumerate(at.tolist()):
            if j >= 0:
                result["tracked"] += 1
                result["exchanged"] += int(mac(m.shapes[j], shapes[i]) < mac(m.shapes[j], shapes[1 - i]))
    return result


def print_close(runs: list[dict[str, Any]], a: argparse.Namespace) -> None:
    total = {key: sum(r[key] for r in runs) for key in ("records", "apart", "tracked", "exchanged")}
    print(f"2.00 and 2.02 Hz, {a.channels} channels, {a.rate:g} Hz, {a.duration:g} s, MAC of the shapes at most {a.like:g}: "
          f"{total['apart']} of {total['records']} records gave exactly the two modes; of {2 * a.windows * len(runs)} chances the "
          f"tracker took {total['tracked']}, exchanged {total['exchanged']}")
    for r in runs:
        if r["apart"] < r["records"]:
            print(f"  seed {r['seed']}: {r['apart']} of {r['records']} apart; found instead {r['f']}")


def words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    modes, close = kinds.add_parser("modes"), kinds.add_parser("close")
    for kind, runs in ((modes, 100), (close, 20)):
        kind.add_argument("--runs", type=int, default=runs)
        kind.add_argument("--duration", type=float, default=3600.0, help="seconds")
        kind.add_argument("--first", type=int, default=1, help="first seed")
        kind.add_argument("--jobs", type=int, default=1)
        kind.add_argument("--json", action="store_true")
    modes.add_argument("--method", choices=sorted(METHODS), default="ssi")
    close.add_argument("--rate", type=float, default=20.0, help="Hz")
    close.add_argument("--channels", type=int, default=4)
    close.add_argument("--like", type=float, default=0.05, help="largest MAC of the two shapes")
    close.add_argument("--noise", type=float, default=0.1, help="of the record's standard deviation")
    close.add_argument("--windows", type=int, default=6, help="records that the tracker follows")
    return parser.parse_args()


def main() -> None:
    a = words()
    run = partial(chain_run, a.duration, a.method) if a.kind == "modes" else partial(close_run, a)
    seeds = range(a.first, a.first + a.runs)
    if a.jobs > 1:
        with ProcessPoolExecutor(a.jobs) as pool:
            runs = list(pool.map(run, seeds))
    else:
        runs = [run(seed) for seed in seeds]
    if a.kind == "close":
        print(json.dumps(runs)) if a.json else print_close(runs, a)
        return
    told = summary(runs, a.duration)
    print(json.dumps(told)) if a.json else print_chain(told)


if __name__ == "__main__":
    main()
