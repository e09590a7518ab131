"""What cleaning takes out and what it leaves, and what the quality of channels is told to be.

    python -m bench.clean_study [--part spikes|events|cost|recordings|faults|clean|all] [--seeds 2] [--minutes 60]
                                [--days 60] [--channels 8] [--rate 2.0] [--first 1]

spikes      channels of a bridge (five modes, 100 Hz, 5 % sensor noise), of strain under vehicles and of white noise, spikes of a
            known size added at known samples: recall by size, false removals among good samples
events      blows of many frequencies and dampings, steps, and passages: samples of them that were removed
cost        samples a second, in blocks of a second and at once, beside a running median of the same window
recordings  what the defaults take out of recordings, where the shared data is at hand
faults      a quality watch on channels with day and night, weather in gains and levels: days or hours from a fault to its finding
clean       the same without any fault: findings per channel-year
"""

from __future__ import annotations

import argparse
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from scipy.signal import lfilter

from lifeline_core.detectors.base import Group
from lifeline_core.detectors.cleaned import Clean, Cleaning
from lifeline_core.detectors.quality import Quality, QualityParams
from lifeline_core.dsp.cleaning import REASONS, Rules, clean
from lifeline_core.dsp.hampel import running_median
from lifeline_core.model import NS, Block, Channel, Finding, Site, Watch
from lifeline_core.synth.bridge import bridge_acceleration, impact

Real = np.ndarray[Any, np.dtype[np.float64]]

FS, SPIKE = 100.0, REASONS.index("spike")
DATA = Path(__file__).parents[2] / "shared/data/bridges"
DAY = 86_400
T0 = 20_000 * DAY * NS


# ---- spikes and events ----


def deck(n: int, rng: np.random.Generator) -> Real:
    """Four accelerometers of a deck, m/s2."""
    x: Real = bridge_acceleration(n, FS, f_hz=(0.9, 2.6, 4.1, 8.0, 14.0), damping=(0.01,) * 5, shapes=rng.normal(size=(4, 5)),
                                  rms=0.02, rng=rng, noise=0.05)
    return x


def strain(n: int, rng: np.random.Generator) -> tuple[Real, np.ndarray[Any, Any]]:
    """Strain under vehicles, microstrain: axles as bumps of a tenth of a second to seconds; and which samples they are on."""
    t = np.arange(n) / FS
    x, on = 0.3 * rng.normal(size=(4, n)) + 5.0 * np.sin(2 * np.pi * t / 900.0), np.zeros(n, bool)
    at = 5.0
    while at < t[-1] - 5.0:
        width = float(np.exp(rng.uniform(np.log(0.1), np.log(3.0))))
        near = np.abs(t - at) < 4 * width
        x[:, near] += rng.uniform(5, 60, (4, 1)) * np.exp(-(((t[near] - at) / width) ** 2))
        on |= near
        at += rng.exponential(15.0)
    return x, on


def spikes(seed: int, minutes: float) -> None:
    rng = np.random.default_rng(seed)
    n = int(minutes * 60 * FS)
    for name, x in (("deck", deck(n, rng)), ("strain", strain(n, rng)[0]), ("white", rng.normal(size=(4, n)))):
        sigma = np.full((4, 1), 0.3) if name == "strain" else x.std(axis=1, keepdims=True)
        marks = clean(x.astype(np.float32))[1]
        level = x.mean(axis=1, keepdims=True)
        line = [f"{name}: of {x.size} good samples {np.mean(marks == SPIKE):.1e} removed; with spikes:"]
        at = np.arange(300, n - 300, 997)
        every, missed, stand, lost = 0, 0, 0, 0
        for low, high in ((3, 6), (6, 7), (7, 10), (10, 20), (20, 100)):
            y = x.copy()
            size = np.exp(rng.uniform(np.log(low), np.log(high), (4, len(at)))) * rng.choice([-1, 1], (4, len(at)))
            where = at + rng.integers(-200, 200, len(at))
            y[:, where] += size * sigma
            found = clean(y.astype(np.float32))[1] == SPIKE
            hit, wrong = found[:, where].sum(), found.sum() - found[:, where].sum()
            if low >= 6:
                every, missed = every + size.size, missed + size.size - hit
                far = np.abs(y[:, where] - level) > 6 * sigma
                stand, lost = stand + int(far.sum()), lost + int((far & ~found[:, where]).sum())
            line.append(f"{low}-{high} sigma recall {hit / size.size:.4f} false {wrong / (x.size - size.size):.1e}")
        line.append(f"added above 6 sigma: recall {1 - missed / every:.4f} of {every}")
        if name != "strain":  # there the level itself moves
            line.append(f"standing above 6 sigma: {1 - lost / stand:.4f} of {stand}")
        print("  ".join(line), flush=True)


def events(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, blows = 2000, 50
    base = deck(n * blows, rng)
    sigma = base.std(axis=1, keepdims=True)
    background = int((clean(base.astype(np.float32))[1] == SPIKE).sum())
    print(f"blows, {4 * blows} each at 5 to 50 sigma; removed of the 3 s behind each onset ({background} without any)")
    for f_hz in (2.0, 4.0, 8.0, 12.0, 20.0, 30.0):
        line = []
        for damping in (0.01, 0.03, 0.1):
            gone = []
            for peak in (5, 8, 15, 50):
                x = base.copy()
                for k in range(blows):
                    x[:, n * k : n * (k + 1)] += impact(n, FS, at_s=10 + rng.uniform(0, 0.01), peak=peak, f_hz=f_hz,
                                                        damping=damping) * sigma
                marks = clean(x.astype(np.float32))[1].reshape(4, blows, n)[:, :, 995:1300]
                gone.append(int((marks == SPIKE).sum()))
            line.append(f"damping {damping}: {gone}")
        print(f"  {f_hz:4.0f} Hz  " + "  ".join(line), flush=True)
    x, on = strain(360_000, rng)
    print(f"passages: {(clean(x.astype(np.float32))[1][:, on] == SPIKE).sum()} of {4 * on.sum()} samples under vehicles removed")
    steps = np.cumsum(np.where(rng.random(360_000) < 1e-3, rng.normal(0, 30, 360_000), 0.0)) + rng.normal(size=(4, 360_000))
    marks = clean(steps.astype(np.float32))[1] == SPIKE
    print(f"steps, one in 10 s, of 30 sigma: {marks.mean():.1e} of all samples removed", flush=True)


def cost() -> None:
    x = np.random.default_rng(1).normal(size=(16, 100_000)).astype(np.float32)
    y = deck(100_000, np.random.default_rng(1)).astype(np.float32)
    for name, call, size in (("white, window 101", lambda: clean(x), x.size), ("deck, window 101", lambda: clean(y), y.size),
                             ("white, window 51", lambda: clean(x, Rules(window=51)), x.size),
                             ("running median of 101 alone", lambda: running_median(x, 101), x.size)):
        best = min(_timed(call) for _ in range(5))
        print(f"{name}: {size / best / 1e6:.1f} M samples/s", flush=True)
    channels = tuple(Channel(name=f"c{i}", site="s", device=1, channel=i, rate_hz=FS) for i in range(16))
    for size in (20, 100, 1000):
        best = min(_timed(lambda n=size: _staged(channels, x[:, :20_000], n)) for _ in range(3))
        print(f"before a detector, 16 channels, blocks of {size}: {320_000 / best / 1e6:.1f} M samples/s", flush=True)


def _staged(channels: tuple[Channel, ...], x: Any, n: int) -> None:
    stage = Cleaning(Clean(), [channels])
    for a in range(0, x.shape[1], n):
        stage.take(0, 0, Block(x[:, a : a + n], T0, a, int(FS), 1, None, (0.0,) * len(channels), 1))


def _timed(call: Any) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def recordings() -> None:
    path = DATA / "munich/UniBw_2022-04-11_ref_support_load_01AllM100Hz.csv.zip"
    if not path.exists():
        print("no shared data here")
        return
    with zipfile.ZipFile(path) as z, z.open(z.namelist()[0]) as file:
        head = file.readline().decode().strip().split(";" if b";" in file.peek(100)[:100] else ",")
        rows = [line.decode().replace(";", ",").strip().split(",") for line in file]
    table = np.array([[_number(v) for v in row] for row in rows if len(row) == len(head)])
    for k in np.flatnonzero(np.isfinite(table).mean(axis=0) > 0.9)[:40].tolist():
        x = table[:, k].astype(np.float32)[None]
        _, marks = clean(x)
        taken = np.flatnonzero(marks[0] == SPIKE)
        if len(taken):
            print(f"munich {head[k]}: {len(taken)} of {x.size}, deviations from the neighbours' middle "
                  f"{[round(float(x[0, i] - 0.5 * (x[0, i - 1] + x[0, i + 1])), 3) for i in taken[:5]]}, sd {x.std():.3g}")
    print(f"munich: {len(table)} samples of {table.shape[1]} columns looked at", flush=True)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


# ---- quality ----


class City:
    """Channels of a structure, day by day: modes that wax with the traffic, each in its own way, and weather in every sensor."""

    def __init__(self, seed: int, n: int, rate: float) -> None:
        self.rng, self.n, self.rate = np.random.default_rng(seed), n, rate
        r = self.rng
        self.shapes = r.normal(size=(n, 5))
        self.share = r.uniform(0.5, 2.0, 5)  # how strongly each mode follows the traffic
        self.gain_t, self.level_t = r.normal(0, 2e-4, n), r.normal(0.3, 0.1, n)  # of 1 degree
        self.noise = r.uniform(0.02, 0.1, n)
        self.phase = float(r.uniform(0, 6))
        self.z = [np.zeros(2) for _ in range(5)]

    def day(self, d: int) -> Real:
        """float64[n, samples of a day], RMS about 1."""
        r, m = self.rng, int(DAY * self.rate)
        h = np.arange(m) / m * 24
        warm = 6 * np.sin(2 * np.pi * (h - 9) / 24) + 6 * np.sin(2 * np.pi * (d + h / 24) / 40 + self.phase)
        weekend = 0.6 if d % 7 >= 5 else 1.0
        traffic = weekend * (0.3 + 0.7 * np.clip(np.sin(2 * np.pi * (h - 6) / 24), 0, None))
        gusts = np.repeat(np.exp(r.normal(0, 0.3, (5, 144))), m // 144 + 1, axis=1)[:, :m]
        x = np.zeros((self.n, m))
        for k, f in enumerate((0.11, 0.19, 0.28, 0.36, 0.43)):
            w, radius = 2 * np.pi * f * (1 - 3e-4 * warm.mean()), np.exp(-0.02 * 2 * np.pi * f)
            a = [1.0, -2 * radius * np.cos(w), radius**2]
            q, self.z[k] = lfilter([1.0], a, r.normal(size=m), zi=self.z[k])
            x += self.shapes[:, k : k + 1] * (q * (1 - radius) * traffic ** self.share[k] * gusts[k])
        x = x * (1 + self.gain_t[:, None] * warm) + self.noise[:, None] * r.normal(size=x.shape)
        out: Real = x + self.level_t[:, None] * warm
        return out


def watch(n: int, rate: float, **keys: Any) -> Quality:
    channels = tuple(Channel(name=f"c{i}", site="s", device=1, channel=i, rate_hz=rate, unit="ue") for i in range(n))
    params = msgspec.convert(keys, QualityParams)
    told = Watch(name="w", site="s", channels=tuple(c.name for c in channels), detector="quality", params=params)
    return Quality(told, [Group(channels, rate)], Site(name="s", domain="bridge"))


def run(seed: int, days: int, n: int, rate: float, fault: Any = None, since: int = 0) -> list[Finding]:
    city, q, found, step = City(seed, n, rate), watch(n, rate, offset_drift=1.0), list[Finding](), int(rate)
    for d in range(days):
        x = city.day(d)
        if fault is not None and d >= since:
            x = fault(x, d - since)
        found += q.push(0, Block(x.astype(np.float32), T0, d * x.shape[1], step, 1, None, (0.0,) * n))
    return found + q.flush()


def pairs_of(x: Real, a: int, b: int) -> Real:
    order = np.arange(len(x))
    order[[a, b]] = b, a
    return x[order]


def scaled(x: Real, by: Any) -> Real:
    y = x.copy()
    y[0] = by * y[0]
    return y


def ramp(x: Real, d: int, a_day: float) -> Real:
    return a_day * (d + np.arange(x.shape[1]) / x.shape[1])


def spiked(x: Real) -> Real:
    y = x.copy()
    y[0, 50::400] += 20 * y[0].std()
    return y


FAULTS = {
    "spikes": lambda x, d: spiked(x),
    "dead": lambda x, d: scaled(x, 0.01),
    "noisy": lambda x, d: np.concatenate((x[:1] + 5 * x[0].std() * np.random.default_rng(d).normal(size=(1, x.shape[1])), x[1:])),
    "swapped": lambda x, d: pairs_of(x, 0, 1),
    "flipped": lambda x, d: scaled(x, -1.0),
    "gain": lambda x, d: scaled(x, 1.0 - np.minimum(ramp(x, d, 0.01), 0.5)),
    "drift": lambda x, d: np.concatenate((x[:1] + ramp(x, d, 0.2), x[1:])),
}


def faults(seed: int, n: int, rate: float) -> None:
    since = 30
    for kind, fault in FAULTS.items():
        found = run(seed, since + (14 if kind in ("gain", "drift") else 3), n, rate, fault, since)
        begin = T0 + since * DAY * NS
        mine = [f for f in found if f.kind == kind and f.active and "c0" in f.source.split(",") and f.t_ns >= begin]
        other = Counter(f"{f.kind} {f.source}" for f in found if f.active and f not in mine)
        said = f"{(mine[0].t_ns - begin) / NS / 3600:.1f} h" if mine else "never"
        print(f"seed {seed}, {kind}: after {said} ({mine[0].source if mine else '-'}); besides: {dict(other)}", flush=True)


def quiet(seed: int, days: int, n: int, rate: float) -> tuple[float, Counter[str]]:
    found = Counter(f.kind for f in run(seed, days, n, rate) if f.active)
    years = n * (days - 7) / 365.25
    print(f"seed {seed}: {dict(found)} in {years:.2f} channel-years after a week of training", flush=True)
    return years, found


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--part", default="all")
    words.add_argument("--seeds", type=int, default=2)
    words.add_argument("--first", type=int, default=1)
    words.add_argument("--minutes", type=float, default=60.0)
    words.add_argument("--days", type=int, default=60)
    words.add_argument("--channels", type=int, default=8)
    words.add_argument("--rate", type=float, default=2.0)
    a = words.parse_args()
    seeds = range(a.first, a.first + a.seeds)
    if a.part in ("spikes", "all"):
        for s in seeds:
            spikes(s, a.minutes)
    if a.part in ("events", "all"):
        events(a.first)
    if a.part in ("cost", "all"):
        cost()
    if a.part in ("recordings", "all"):
        recordings()
    if a.part in ("faults", "all"):
        for s in seeds:
            faults(s, a.channels, a.rate)
    if a.part in ("clean", "all"):
        years, found = zip(*(quiet(s, a.days, a.channels, a.rate) for s in seeds), strict=True)
        print(f"clean: {sum(sum(f.values()) for f in found) / sum(years):.2f} findings per channel-year, {sum(years):.1f} of them")


if __name__ == "__main__":
    main()
