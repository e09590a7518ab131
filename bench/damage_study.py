"""A chain loses a tenth of its ground spring at hour 400 of 600, while the weather moves every frequency by 3 %.

    python -m bench.damage_study [--runs 4] [--jobs 2]        whole windows, one an hour, with and without temperature, damaged
                                                              and sound; the rule of platforms beside it
    python -m bench.damage_study --sliding [--every 60]       the detector `modal` on samples: trained on a window an hour, then a
                                                              window every minute for --hours before and after the damage
    python -m bench.damage_study --budget [--days 60]         false alarms of overlapping windows against the budget, from drawn
                                                              frequencies: only the dependence of neighbours is simulated

Windows of 600 s at 50 Hz, 20 dB of sensor noise. The temperature swings by day and over some days; stiffness follows it, so
that frequencies go up and down by 3 %. The rule in use on platforms: f1 more than 5 % below its first value.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from lifeline_core.bridges.identify import identify_modes
from lifeline_core.bridges.modes import Modes
from lifeline_core.bridges.surveillance import Plan, Surveillance
from lifeline_core.detectors.base import Group
from lifeline_core.detectors.modal import Modal, ModalParams
from lifeline_core.dsp.decimate import decimate
from lifeline_core.model import NS, Block, Break, Channel, Site, Watch
from lifeline_core.synth.chain import chain

HOURS, DAMAGE, FS, WINDOW_S = 600, 400, 50.0, 600.0
LEARN, TRAIN = 12, 240
YEAR_H = 8766.0
NEVER = float("inf")


def temperature(rng: np.random.Generator, hours: int = HOURS) -> np.ndarray:
    """Hourly, deg C: days, a slow swing, some noise."""
    h = np.arange(hours)
    day = np.sin(2 * np.pi * (h - 9) / 24 + 0.3 * np.cumsum(rng.normal(0, 0.02, hours)))
    slow = np.sin(2 * np.pi * h / rng.uniform(120, 200) + rng.uniform(0, 6))
    t: np.ndarray = 15.0 + 6.0 * day + 6.0 * slow + rng.normal(0, 0.3, hours)
    return t


def follow(t: np.ndarray) -> np.ndarray:
    """Relative change of every frequency, at most 3 %."""
    swing: np.ndarray = -0.03 * (t - t.mean()) / np.abs(t - t.mean()).max()
    return swing


# ---- whole windows, one an hour ----


def windows(rng: np.random.Generator, swing: np.ndarray, damage: int) -> list[Modes]:
    """What is identified in each window."""
    found = []
    for h in range(len(swing)):
        c = chain(f1_hz=0.89 * (1.0 + swing[h]), ground=0.9 if h >= damage else 1.0)
        x = c.acceleration(round(FS * WINDOW_S), FS, rng)
        found.append(identify_modes(decimate(x, 2), FS / 2, 8.0))
    return found


@dataclass(frozen=True)
class Outcome:
    """Hours from the damage to the alarm, its kind and mode, the change told; alarms before; hours watched in sound state."""

    after: float
    kind: str = ""
    mode: int = 0
    moved: float = float("nan")
    before: int = 0
    sound_h: int = 0

    def __str__(self) -> str:
        told = "never" if self.after == NEVER else f"after {self.after:.4g} h ({self.kind}, mode {self.mode} {self.moved:+.2%})"
        return f"{told}, {self.before} false alarms in {self.sound_h} h before"


def watch(found: list[Modes], env: np.ndarray | None, damage: int) -> Outcome:
    """`bridges.surveillance` over the windows of one run."""
    s = Surveillance(Plan(LEARN, TRAIN, windows_per_year=YEAR_H), WINDOW_S, 0 if env is None else 1)
    before, sound, on = 0, 0, False
    for h, modes in enumerate(found):
        v = s.window(modes, None if env is None else env[h : h + 1])
        now = v.change or v.drift or bool(v.missing)
        sound += v.phase == "watch" and h < damage
        if now and not on and h >= damage:
            kind = "change" if v.change else "drift" if v.drift else "missing"
            moved = v.mean_moved if v.change else v.drift_moved
            row = int(np.nanargmax(np.abs(moved))) if moved is not None and not v.missing else v.missing[0]
            return Outcome(float(h - damage), kind, row + 1, float(moved[row]) if moved is not None else NEVER, before, sound)
        before += now and not on
        on = now
    return Outcome(NEVER, before=before, sound_h=sound)


def simple(found: list[Modes], damage: int) -> Outcome:
    """The rule beside it: the lowest mode 5 % below that of the first window; every hour of it counts."""
    first, before = float(found[0].f_hz[0]), 0
    for h, modes in enumerate(found):
        moved = float(modes.f_hz[0]) / first - 1.0 if len(modes) else 0.0
        if moved < -0.05 and h >= damage:
            return Outcome(float(h - damage), "f1", 1, moved, before, min(h, damage))
        before += moved < -0.05
    return Outcome(NEVER, before=before, sound_h=min(len(found), damage))


def hourly(seed: int) -> dict[str, Outcome]:
    """One run with damage and one without, of the same weather."""
    rng = np.random.default_rng(seed)
    t = temperature(rng)
    found = windows(rng, follow(t), DAMAGE)
    sound = found[:DAMAGE] + windows(rng, follow(t)[DAMAGE:], HOURS)
    return {f"{state}{name}": outcome for state, seen, damage in (("", found, DAMAGE), ("sound, ", sound, HOURS))
            for name, outcome in (("with temperature", watch(seen, t, damage)), ("without", watch(seen, None, damage)),
                                  ("f1 5 % below its first", simple(seen, damage)))}


def show_hourly(seeds: list[int], jobs: int) -> None:
    print("target: alarm within 24 h with temperature, within 48 h without, none before (f1 truly moves by -1.9 %)")
    rows = []
    with ProcessPoolExecutor(jobs) as pool:
        for seed, row in zip(seeds, pool.map(hourly, seeds), strict=True):
            rows.append(row)
            for name, o in row.items():
                print(f"seed {seed}: {name}: {o}", flush=True)
    for name in ("with temperature", "without"):
        every = [row[f"sound, {name}"] for row in rows]  # the hours before the damage are among these
        hours, false = sum(o.sound_h for o in every), sum(o.before for o in every)
        granted = 3 * Plan().false_alarms_per_year * hours / YEAR_H  # of each of three kinds
        late = [row[name].after for row in rows]
        print(f"{name}: latest alarm after {max(late):.4g} h; {false} false alarms in {hours} sound hours, "
              f"the budget grants {granted:.2g}")


# ---- every minute, through the detector ----


class Stream:
    """The samples of a bridge whose springs follow the weather, by stretches of 600 s."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.t = temperature(self.rng)
        self.swing = follow(self.t)

    def stretch(self, second: float) -> tuple[np.ndarray, float]:
        """float32[5, n] of the 600 s from there on, and their temperature."""
        h = second / 3600.0
        at, t = (float(np.interp(h, np.arange(HOURS), y)) for y in (self.swing, self.t))
        c = chain(f1_hz=0.89 * (1.0 + at), ground=0.9 if h >= DAMAGE else 1.0)
        return c.acceleration(round(FS * WINDOW_S), FS, self.rng).astype(np.float32), t


def seconds(hours: int) -> Iterator[float]:
    """Where stretches begin: one an hour while it trains, then without a break about the damage."""
    first = DAMAGE - hours
    yield from (3600.0 * h for h in range(first - LEARN - TRAIN - 1, first))
    yield from np.arange(3600.0 * first, 3600.0 * (DAMAGE + hours), WINDOW_S).tolist()


def sliding(seed: int, *, every_s: float, env: bool, hours: int) -> str:
    names = [f"a{i}" for i in range(5)] + ["air"] * env
    acc = tuple(Channel(name=n, site="b", device=1, channel=i, rate_hz=FS) for i, n in enumerate(names[:5]))
    air = (Channel(name="air", site="b", device=2, channel=0),)
    params = ModalParams(f_max=8.0, window_s=WINDOW_S, every_s=every_s, learn=LEARN, train=TRAIN, environment=int(env))
    d = Modal(Watch(name="w", site="b", channels=tuple(names), detector="modal", params=params),
              [Group(acc, FS), *[Group(air, None)] * env], Site(name="b", domain="bridge"))
    stream, said, end, spent, windows = Stream(seed), [], None, 0.0, 0
    for s in seconds(hours):
        x, t = stream.stretch(s)
        at = round(s * NS)
        began = time.thread_time()
        if end is not None and at != end:
            said += d.gap(0, Break(at, "gap", round((at - end) / NS * FS)))
        if env:
            d.push(1, Block(np.array([[t]], np.float32), 0, 0, 1, 1, np.array([at]), (0.0,), 0))
        said += d.push(0, Block(x, at, 0, round(FS), 1, None, (0.0,) * 5, 0))
        end = at + round(WINDOW_S * NS)
        said += d.tick(end)
        if s >= 3600.0 * (DAMAGE - hours):
            spent, windows = spent + time.thread_time() - began, windows + round(WINDOW_S / every_s)
    damage = 3600 * DAMAGE * NS
    told = [(f.kind, round((f.t_ns - damage) / NS / 60), f.where) for f in said if f.active]
    before = sum(1 for _, m, _ in told if m < 0)
    first = next(((kind, m, where) for kind, m, where in told if m >= 0), None)
    what = "never"
    if first is not None:
        what = f"after {first[1]} min ({first[0]}, mode {first[2]['mode']} {first[2].get('moved', float('nan')):+.2%})"
    return (f"seed {seed}, {'with temperature' if env else 'without'}: {what}, {before} false alarms in {hours} h before; "
            f"{spent / windows * 1e3:.1f} ms of a core a window")


def show_sliding(seeds: list[int], jobs: int, every_s: float, hours: int) -> None:
    print(f"a window of {WINDOW_S:.0f} s ends every {every_s:.0f} s; {hours} h of every sample on either side of the damage")
    with ProcessPoolExecutor(jobs) as pool:
        for env in (True, False):
            for line in pool.map(partial(sliding, every_s=every_s, env=env, hours=hours), seeds):
                print(line, flush=True)


# ---- the budget of overlapping windows ----

F, ZETA = np.array([0.89, 2.598, 4.095, 5.261, 6.0]), np.array([0.01, 0.015, 0.02, 0.012, 0.01])
SHAPES = np.linalg.qr(np.random.default_rng(1).standard_normal((5, 5)))[0].astype(np.complex128)


def drawn(seed: int, *, overlap: int, days: float, train: int, granted: float, alike: float, env: bool) -> dict[str, int]:
    """Alarms of a sound structure in so many days: a window's frequencies are the mean of its blocks' errors, and what weather
    was not measured moves all modes, an AR(1) process with the time constant ``alike`` hours and half the scatter."""
    rng = np.random.default_rng(seed)
    plan = Plan(LEARN, train, windows_per_year=YEAR_H * 6 * overlap, false_alarms_per_year=granted, overlap=overlap)
    n = (LEARN + train + 1 + round(days * 144)) * overlap
    floor = np.sqrt(ZETA / (2 * np.pi * WINDOW_S * F))
    own = np.cumsum(rng.normal(0, np.sqrt(overlap), (n + overlap, 5)), axis=0)
    own = (own[overlap:] - own[:-overlap]) / overlap * floor
    keep = np.exp(-1.0 / (alike * 6 * overlap)) if alike else 0.0
    hidden, state = np.empty(n), 0.0
    for k, e in enumerate(rng.normal(0, np.sqrt(1 - keep * keep), n)):
        hidden[k] = state = keep * state + e
    air = np.sin(2 * np.pi * np.arange(n) / (144 * overlap)) + 0.3 * rng.normal(size=n)
    moved = own + (0.5 * floor.mean() * hidden * (alike > 0) - 0.02 * air)[:, None]
    nan, none = np.full(5, np.nan), np.zeros(5, np.int64)
    s, counts = Surveillance(plan, WINDOW_S, int(env)), dict.fromkeys(("change", "drift", "missing"), 0)
    on = dict.fromkeys(counts, False)
    there = rng.random((n, 5)) >= 0.05
    for k in range(n):
        m = there[k - k % overlap]  # missed or not for as long as a window
        seen = Modes(F[m] * (1 + moved[k][m]), ZETA[m], SHAPES[m], nan[m], nan[m], none[m])
        v = s.window(seen, air[k : k + 1] if env else None, begin_ns=k * round(WINDOW_S * NS) // overlap)
        for kind, now in (("change", v.change), ("drift", v.drift), ("missing", bool(v.missing))):
            counts[kind] += now and not on[kind]
            on[kind] = now
    return counts


def show_budget(seeds: list[int], jobs: int, days: float, train: int, granted: float) -> None:
    years = len(seeds) * days / 365.25
    print(f"{len(seeds)} structures, {days:.0f} days each after training on {train} windows; "
          f"{granted * years:.1f} alarms of each kind granted")
    with ProcessPoolExecutor(jobs) as pool:
        for env in (True, False):
            for overlap, alike in ((1, 0.0), (1, 1.0), (1, 12.0), (10, 0.0), (10, 1.0), (10, 12.0)):
                work = partial(drawn, overlap=overlap, days=days, train=train, granted=granted, alike=alike, env=env)
                rows = list(pool.map(work, seeds))
                total = {kind: sum(r[kind] for r in rows) for kind in rows[0]}
                hidden = f"hidden weather of {alike:.0f} h" if alike else "nothing hidden"
                print(f"{'with' if env else 'without'} temperature, every {600 // overlap:3d} s, {hidden}: {total}", flush=True)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--runs", "--seeds", type=int, default=4)
    ask.add_argument("--first", type=int, default=1)
    ask.add_argument("--jobs", type=int, default=1)
    ask.add_argument("--sliding", action="store_true")
    ask.add_argument("--every", type=float, default=60.0, help="s; of the sliding form")
    ask.add_argument("--hours", type=int, default=12, help="of every sample before and after the damage, sliding form")
    ask.add_argument("--budget", action="store_true")
    ask.add_argument("--days", type=float, default=30.0, help="of each structure, budget form")
    ask.add_argument("--train", type=int, default=1008, help="windows, budget form")
    ask.add_argument("--granted", type=float, default=20.0, help="false alarms a year of each kind, budget form")
    a = ask.parse_args()
    seeds = list(range(a.first, a.first + a.runs))
    if a.budget:
        show_budget(seeds, a.jobs, a.days, a.train, a.granted)
    elif a.sliding:
        show_sliding(seeds, a.jobs, a.every, a.hours)
    else:
        show_hourly(seeds, a.jobs)


if __name__ == "__main__":
    main()
