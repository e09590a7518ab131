"""Passages and impacts with known truth: how many are found, what is said falsely, how far peaks, durations and speeds are off.

    python -m bench.event_study passages [--hours 4] [--per-hour 150] [--noise 0.5] [--seed 1] [--one-way] [--headway 0]
    python -m bench.event_study impacts [--runs 40] [--noise 0.005] [--seed 1]

`passages`: cars, lorries and semi-trailers come by chance on a simply supported span of 30 m; two strain gauges at 10 and 20 m,
50 Hz, white noise in microstrain, temperature by day and by hour. A vehicle alone (no other within 2 s of it on the bridge) whose
true peak reaches the detector's least one should be one passage; a passage while nothing was on the bridge is false.
"Duration" compares the time above a tenth of the peak, heavy are true peaks of 20 ue and more.

`impacts`: each run is 300 s of five channels with everyday traffic. Ships against a long bridge and overheight vehicles against a
short one at 240 s; what must stay silent: that traffic, the loads on the beam themselves, loose joints, earthquakes, noise, and the
recorded earthquake of Painter Street. The limit is 0.5 m/s2.
"""

from __future__ import annotations

import argparse
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lifeline_core.detectors.base import Group
from lifeline_core.detectors.impact import Impact, ImpactParams
from lifeline_core.detectors.passage import Passage, PassageParams
from lifeline_core.model import NS, Block, Channel, Finding, Site, Watch
from lifeline_core.store import csmip
from lifeline_core.synth.blow import LONG, SHORT, earthquake, half_sine, joint_knock, rumble, trapezoid
from lifeline_core.synth.passage import Beam, Vehicle, traffic, weather_drift

Real = NDArray[np.float64]
FS, AT, LEAST, HEAVY = 50, (10.0, 20.0), 3.0, 20.0
BEAM = Beam()
RECORD = Path(__file__).parents[2] / "shared/data/bridges/painter_street/nc73821036_ce89324p.zip"


def percentiles(name: str, values: list[float], unit: str = "%") -> str:
    if not values:
        return f"  {name}: none"
    mid, most = np.quantile(np.abs(values), [0.5, 0.95])
    return f"  {name}: mean {np.mean(values):+.2f} {unit}, size median {mid:.2f}, 95 % {most:.2f}, of {len(values)}"


# -- passages ----------------------------------------------------------------------------------------------------------


def passage_row() -> Passage:
    channels = tuple(Channel(name=f"e{i}", site="s", device=1, channel=i, unit="ue", quantity="strain", rate_hz=float(FS),
                             position_m=x) for i, x in enumerate(AT))
    params = msgspec.convert({"least_peak": LEAST, "influence": "moment", "span_m": [0.0, BEAM.span_m]}, PassageParams)
    return Passage(Watch(name="w", site="s", channels=("e0", "e1"), detector="passage", params=params),
                   [Group(channels, float(FS))], Site(name="s", domain="bridge"))


def cut_out(y: Real) -> list[dict[str, Any]]:
    """All passages a stream of seconds is cut into, as the report tells them."""
    d, told = passage_row(), {}
    x = y.astype(np.float32)
    for s in range(0, x.shape[1], FS):
        d.push(0, Block(x[:, s : s + FS], 0, s, FS, 1))
        if s % (4 * FS) == 0 or s + FS >= x.shape[1]:
            told |= {(r["channel"], r["onset_ns"]): r for r in d.report() if "onset_ns" in r}
    return list(told.values())


def truth(v: Vehicle) -> Real:
    """What one vehicle alone does without noise, float64[2, n], from a second before it comes."""
    one = Vehicle(v.axles_kn, v.spacing_m, v.speed_mps, 1.0)
    return BEAM.respond("strain", AT, [one], int((one.leaves_s(BEAM.span_m) + 2.0) * FS), FS)


def passages(a: argparse.Namespace) -> None:
    rng = np.random.default_rng(a.seed)
    n = round(a.hours * 3600 * FS)
    coming = traffic(n / FS - 20.0, a.per_hour, rng, headway_s=a.headway, both_ways=not a.one_way)
    vehicles = [v for v in coming if v.enters_s > 60.0]
    y = BEAM.respond("strain", AT, vehicles, n, FS) + rng.normal(0.0, a.noise, (2, n)) + weather_drift(n, FS, rng)
    begin = time.process_time()
    told = cut_out(y)
    took = time.process_time() - begin
    spans = np.array([(v.enters_s, v.leaves_s(BEAM.span_m)) for v in vehicles])
    alone = [int(((spans[:, 0] <= leave + 2.0) & (spans[:, 1] >= enter - 2.0)).sum()) == 1 for enter, leave in spans]
    counts: Counter[str] = Counter()
    off: dict[str, list[float]] = {f"{name}{size}": [] for size in ("", " (heavy)")
                                   for name in ("peak, %", "duration, %", "time on the bridge, %", "onset, s", "speed, %")}
    for v, (enter, leave), single in zip(vehicles, spans, alone, strict=True):
        if single:
            clean = truth(v)
            near = [r for r in told if enter - 1.0 < r["onset_ns"] / NS < leave]
            for row in range(2):
                judge(v, clean[row], [r for r in near if r["channel"] == f"e{row}"], enter, leave, counts, off)
    false = sum(not ((spans[:, 0] - 1.0 < r["onset_ns"] / NS) & (r["onset_ns"] / NS < spans[:, 1] + 3.0)).any() for r in told)
    print(f"{a.hours:g} h, {len(vehicles)} vehicles ({sum(alone)} alone), noise {a.noise} ue, seed {a.seed}: {len(told)} passages "
          f"told of two channels, {took / a.hours / 3600:.3%} of one core")
    print(f"  alone and reaching {LEAST:g} ue: {counts['due']}, found {counts['found']} "
          f"({counts['found'] / max(1, counts['due']):.1%}), cut in more than one {counts['more']}; below it, told all the same "
          f"{counts['below']}; while nothing was on the bridge {false}")
    for name, values in off.items():
        print(percentiles(name, values, ""))
    print(f"  speeds told {counts['speeds']} of {counts['found']}, wrong direction {counts['wrong way']}")


def judge(v: Vehicle, clean: Real, mine: list[dict[str, Any]], enter: float, leave: float, counts: Counter[str],
          off: dict[str, list[float]]) -> None:
    """One vehicle at one gauge, against what it does alone."""
    peak = float(clean.max())
    if peak < LEAST:
        counts["below"] += bool(mine)
        return
    counts["due"] += 1
    if not mine:
        return
    counts["found"] += 1
    counts["more"] += len(mine) > 1
    r = max(mine, key=lambda r: r["peak"])
    over = np.flatnonzero(clean[: int((1.0 + leave - enter) * FS)] >= 0.1 * peak)
    errors = {"peak, %": 100.0 * (r["peak"] / peak - 1.0), "onset, s": r["onset_ns"] / NS - (enter - 1.0 + over[0] / FS),
              "duration, %": 100.0 * (r["duration_s"] / ((over[-1] - over[0] + 1) / FS) - 1.0),
              "time on the bridge, %": 100.0 * (r["duration_s"] / (leave - enter) - 1.0)}
    if "speed_mps" in r:
        counts["speeds"] += 1
        counts["wrong way"] += r["speed_mps"] * v.speed_mps < 0
        errors["speed, %"] = 100.0 * (abs(r["speed_mps"] / v.speed_mps) - 1.0)
    for name, error in errors.items():
        off[name].append(error)
        if peak >= HEAVY:
            off[f"{name} (heavy)"].append(error)


# -- impacts -----------------------------------------------------------------------------------------------------------

RATE, BLOW_S, LENGTH_S, LIMIT = 100, 240.0, 300, 0.5
PIERS = (30.0, 75.0, 120.0, 170.0, 210.0)
GIRDER = (4.0, 10.0, 16.0, 22.0, 28.0)


def impact_row(rows: int, across: bool) -> Impact:
    channels = tuple(Channel(name=f"a{i}", site="s", device=1, channel=i, unit="m/s2", quantity="acceleration", rate_hz=float(RATE))
                     for i in range(rows))
    names = tuple(c.name for c in channels)
    keys = {"limits": [{"severity": 3, "above": LIMIT}], "transversal": list(names) if across else []}
    params = msgspec.convert(keys, ImpactParams)
    return Impact(Watch(name="w", site="s", channels=names, detector="impact", params=params), [Group(channels, float(RATE))],
                  Site(name="s", domain="bridge"))


def listen(d: Impact, y: Real) -> list[Finding]:
    x, out = y.astype(np.float32), []
    for s in range(0, x.shape[1], RATE):
        out += d.push(0, Block(x[:, s : s + RATE], 0, s, RATE, 1))
    return [f for f in out + d.flush() if f.active]


def everyday(n: int, rng: np.random.Generator, x_m: tuple[float, ...], length_m: float) -> Real:
    """Rumble of a vehicle every 8 s, of very different loudness: one in a hundred reaches the limit."""
    x, at = np.zeros((len(x_m), n)), rng.exponential(8.0)
    while at < n / RATE:
        begin, m = int(at * RATE), int((length_m / 12.0 + 2.0) * RATE)
        speed = float(rng.choice([-1, 1]) * rng.uniform(12.0, 28.0))
        one = rumble(x_m, m, RATE, rng, enters_s=0.5, speed_mps=speed, length_m=length_m, peak=float(rng.lognormal(-2.1, 0.6)))
        x[:, begin : begin + m] += one[:, : n - begin]
        at += rng.exponential(8.0)
    return x


def ship_soft(n: int, rng: np.random.Generator) -> Real:
    force = half_sine(n, RATE, at_s=BLOW_S, length_s=rng.uniform(0.2, 1.2), peak_kn=rng.uniform(1000, 5000))
    return LONG.struck(PIERS, float(rng.choice([60.0, 80.0, 160.0])), force, RATE)


def ship_hard(n: int, rng: np.random.Generator) -> Real:
    force = trapezoid(n, RATE, at_s=BLOW_S, rise_s=rng.uniform(0.03, 0.2), hold_s=rng.uniform(0.3, 2.0),
                      fall_s=rng.uniform(0.1, 0.3), peak_kn=rng.uniform(2000, 10_000))
    return LONG.struck(PIERS, float(rng.choice([60.0, 80.0, 160.0])), force, RATE)


def overheight(n: int, rng: np.random.Generator) -> Real:
    force = half_sine(n, RATE, at_s=BLOW_S, length_s=rng.uniform(0.01, 0.1), peak_kn=rng.uniform(200, 1500))
    return SHORT.struck(GIRDER, float(rng.uniform(6.0, 26.0)), force, RATE)


def loads(n: int, rng: np.random.Generator) -> Real:
    """The moving loads themselves, whose wheels come onto the beam at once."""
    return Beam(ei_knm2=4e7, f1_hz=3.4).respond("acceleration", GIRDER, traffic(n / RATE - 5.0, 450.0, rng), n, RATE)


def joints(n: int, rng: np.random.Generator) -> Real:
    x = np.zeros((5, n))
    for at in rng.uniform(0.0, n / RATE - 2.0, n // RATE // 4):
        x += joint_knock(5, n, RATE, at_s=float(at), peak=float(rng.uniform(0.3, 1.5)), row=int(rng.choice([0, 4])))
    return x


def quakes(n: int, rng: np.random.Generator) -> Real:
    return earthquake(5, n, RATE, rng, at_s=BLOW_S - 20.0, lag_s=rng.uniform(0.5, 20.0), strong_s=rng.uniform(1.5, 15.0),
                      peak=rng.uniform(0.5, 5.0))


Make = Callable[[int, np.random.Generator], Real]
BLOWS: dict[str, Make] = {"ship, elastic": ship_soft, "ship, plastic": ship_hard, "overheight vehicle": overheight}
OTHERS: dict[str, Make] = {"everyday traffic": lambda n, rng: np.zeros((5, n)), "loads on the beam": loads, "loose joints": joints,
                           "earthquakes": quakes}


def impacts(a: argparse.Namespace) -> None:
    n = LENGTH_S * RATE
    for name, make in (BLOWS | OTHERS).items():
        for across in (False, True) if name in BLOWS or name == "earthquakes" else (False,):
            case(a, name + (", transversal known" if across else ""), make, across, name in BLOWS, n)
    recorded(a)


def case(a: argparse.Namespace, name: str, make: Make, across: bool, blow: bool, n: int) -> None:
    said = false = due = 0
    late, off, ring = [], [], []
    refused = Counter[str]()
    for run in range(a.runs):
        rng = np.random.default_rng([a.seed, run])
        x = make(n, rng)
        peak = float(np.abs(x).max())
        x = x + (everyday(n, rng, PIERS, 240.0) if make in (ship_soft, ship_hard) else everyday(n, rng, GIRDER, 32.0))
        d = impact_row(len(x), across)
        found = listen(d, x + rng.normal(0.0, a.noise, x.shape))
        mine = [f for f in found if blow and abs(f.onset_ns / NS - BLOW_S) < 2.0]
        due += peak >= LIMIT
        said += bool(mine)
        false += len(found) - len(mine)
        refused.update(next(r["refused"] for r in d.report() if "refused" in r))
        late += [f.onset_ns / NS - BLOW_S for f in mine]
        off += [100.0 * (f.value / peak - 1.0) for f in mine]
        ring += [f.evidence["decay_hz"] for f in mine if "decay_hz" in f.evidence]
    share = f"{said} of {due} at or beyond the limit, " if blow else ""
    print(f"{name}: {share}{false} said falsely in {a.runs} runs; refused {dict(refused)}")
    if blow:
        print(percentiles("onset, s", late, ""))
        print(percentiles("peak, %", off, ""))
        deck = SHORT if make is overheight else LONG
        modes = deck.f1_hz * np.arange(1, 12) ** 2
        right = sum(bool((np.abs(f / modes - 1.0) < 0.05).any()) for f in ring)
        print(f"  dominant frequency within 5 % of one of the bridge's: {right} of {len(ring)}")


def recorded(a: argparse.Namespace) -> None:
    if not RECORD.exists():
        print(f"Painter Street: no recording at {RECORD}")
        return
    with zipfile.ZipFile(RECORD) as z:
        traces = [csmip.parse(z.read(name).decode("latin-1")) for name in sorted(z.namelist()) if name.lower().endswith(".v2")]
    x = np.stack([0.01 * t.x for t in traces])
    rng = np.random.default_rng(a.seed)
    for across in (False, True):
        said = [len(listen(impact_row(len(x), across), s * x + rng.normal(0, a.noise, x.shape))) for s in (0.1, 0.3, 1.0, 3.0)]
        print(f"Painter Street x 0.1, 0.3, 1, 3{', transversal known' if across else ''}: {said} impacts said")


COMMANDS = {"passages": passages, "impacts": impacts}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("what", choices=tuple(COMMANDS))
    words.add_argument("--hours", type=float, default=4.0)
    words.add_argument("--per-hour", type=float, default=150.0)
    words.add_argument("--headway", type=float, default=0.0, help="least time between vehicles, s")
    words.add_argument("--one-way", action="store_true")
    words.add_argument("--noise", type=float, default=None, help="ue (0.5), or m/s2 (0.005)")
    words.add_argument("--runs", type=int, default=40)
    words.add_argument("--seed", type=int, default=1)
    a = words.parse_args()
    if a.noise is None:
        a.noise = 0.5 if a.what == "passages" else 0.005
    COMMANDS[a.what](a)


if __name__ == "__main__":
    main()
