"""What the `transient` row promises, measured: false alarms, what it still hears, how long noise lasts, onsets, speed.

    python -m bench.transient_study arl                   run length of the noise lock against its budget
    python -m bench.transient_study quiet [--days 30] [--channels 100] [--phi 0.6 0.9] [--sd 0.02] [--full]
    python -m bench.transient_study detect                drops of 0.3-0.5 m in the same noise
    python -m bench.transient_study bursts                sensors of ../shared/data/pipes that fall by 0.3 m and say so, and when
    python -m bench.transient_study onset                 errors of onsets in their own standard deviations
    python -m bench.transient_study speed                 2,000 channels of 256 Hz, share of one core

The noise is AR(1) at 128 Hz. `quiet` adds demand - 5 m over the day, 0.5 m over 15 minutes, 0.15 m over 30 s, a pulse of
5 cm and half a second a minute - and pumps that switch twice an hour by 1-3 m at 0.1-0.3 m/s. By default it makes the
working stream alone: means of 8 samples of such noise, exactly in distribution, each sent as two samples at 32 Hz. With
--full every sample is made.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from lifeline_core.detectors.base import Group
from lifeline_core.detectors.transient import Transient, TransientParams
from lifeline_core.model import NS, Block, Channel, Site, Watch
from lifeline_core.pipes import pick_arrivals
from lifeline_core.pipes.follower import Follower, Steps
from lifeline_core.pipes.step import MONTH_S
from tests import tnet3

FS, BIN = 128, 8
PIECE_S = 60
DAY_S = 86_400.0
Samples = NDArray[np.float32]


class Raw:
    """AR(1) noise of standard deviation ``sd``, float32[channels, n] at FS."""

    rate = FS

    def __init__(self, channels: int, phi: float, sd: float, rng: np.random.Generator) -> None:
        self.phi, self.rng, self.drive = phi, rng, np.float32(sd * np.sqrt(1 - phi * phi))
        self.last = np.zeros((channels, 1), np.float32)

    def next(self, seconds: int) -> Samples:
        x = self.rng.standard_normal((len(self.last), seconds * FS), dtype=np.float32)
        x *= self.drive
        taps = np.array([1, -self.phi], np.float32)
        x, self.last = lfilter(np.ones(1, np.float32), taps, x, axis=1, zi=self.last)
        found: Samples = x
        return found


class Working:
    """Means of BIN samples of the same noise, exactly in distribution, each twice: float32[channels, n] at 32 Hz.

    With x the last sample before a bin, its last sample is phi^BIN x + u and its mean c x + v: u and v are sums of the same
    drives, jointly normal.
    """

    rate = 2 * FS // BIN

    def __init__(self, channels: int, phi: float, sd: float, rng: np.random.Generator) -> None:
        k = np.arange(BIN)
        to_last = phi ** (BIN - 1 - k)
        to_mean = np.array([sum(phi**j for j in range(BIN - i)) for i in k]) / BIN
        drive = sd * sd * (1 - phi * phi)
        uu, uv, vv = drive * (to_last @ to_last), drive * (to_last @ to_mean), drive * (to_mean @ to_mean)
        self.u, self.v = np.float32(np.sqrt(uu)), np.float32(np.sqrt(vv - uv * uv / uu))
        self.shared = np.float32(uv / uu)
        self.far, self.c = np.float32(phi**BIN), np.float32(sum(phi ** (j + 1) for j in range(BIN)) / BIN)
        self.rng, self.x = rng, np.zeros((channels, 1), np.float32)

    def next(self, seconds: int) -> Samples:
        n = seconds * FS // BIN
        u = self.rng.standard_normal((len(self.x), n), dtype=np.float32) * self.u
        ends, _ = lfilter(np.ones(1, np.float32), np.array([1, -self.far], np.float32), u, axis=1, zi=self.far * self.x)
        before = np.concatenate([self.x, ends[:, :-1]], axis=1)
        own = self.rng.standard_normal((len(self.x), n), dtype=np.float32) * self.v
        self.x = ends[:, -1:].copy()
        found: Samples = np.repeat(self.c * before + self.shared * u + own, 2, axis=1)
        return found


class Demand:
    """What is slow: the same day for all channels, pumps of their own; see the module's docstring."""

    def __init__(self, channels: int, rng: np.random.Generator) -> None:
        self.rng, self.n = rng, channels
        self.level = np.zeros(channels)
        self.begin, self.size, self.slope = rng.uniform(60, 1800, channels), np.zeros(channels), np.ones(channels)
        self._draw(np.ones(channels, bool))
        self.switched = 0

    def _draw(self, rows: NDArray[np.bool_]) -> None:
        n = int(rows.sum())
        self.size[rows] = self.rng.uniform(1, 3, n) * np.where(self.level[rows] > 0, -1, 1)
        self.slope[rows] = self.rng.uniform(0.1, 0.3, n)

    def at(self, t: NDArray[np.float64]) -> Samples:
        common = 5 * np.sin(2 * np.pi * t / DAY_S) + 0.5 * np.sin(2 * np.pi * t / 900) + 0.15 * np.sin(2 * np.pi * t / 30)
        common -= 0.05 * ((t % 60) < 0.5)
        run = np.abs(self.size) / self.slope
        share = np.clip((t[None] - self.begin[:, None]) / run[:, None], 0, 1)
        x = 40 + common[None] + self.level[:, None] + self.size[:, None] * share
        over = self.begin + run < t[-1]
        self.level[over] += self.size[over]
        self.begin[over] = t[-1] + self.rng.exponential(1800 - 30, int(over.sum())) + 1.0
        self.switched += int(over.sum())
        self._draw(over)
        found: Samples = x.astype(np.float32)
        return found


def row(channels: int, rate: float, params: TransientParams | None = None, devices: int = 1) -> Transient:
    """A `transient` watch over ``devices`` groups of so many channels."""
    keys = {"site": "s", "unit": "m", "rate_hz": rate}
    groups = [
        Group(tuple(Channel(name=f"c{d}-{i}", device=d, channel=i, **keys) for i in range(channels)), rate)
        for d in range(devices)
    ]  # fmt: skip
    names = tuple(c.name for g in groups for c in g.channels)
    watch = Watch(name="w", site="s", channels=names, detector="transient", params=params)
    return Transient(watch, groups, Site(name="s", domain="water"))


def quiet(args: argparse.Namespace) -> None:
    kind = Raw if args.full else Working
    seconds, total = round(args.days * DAY_S), 0
    for phi in args.phi:
        rng = np.random.default_rng(args.seed)
        noise, demand = kind(args.channels, phi, args.sd, rng), Demand(args.channels, rng)
        detector, found, begin = row(args.channels, noise.rate), 0, time.monotonic()
        for s in range(0, seconds, PIECE_S):
            x = demand.at(s + np.arange(PIECE_S * noise.rate) / noise.rate)
            x += noise.next(PIECE_S)
            for f in detector.push(0, Block(x, 0, s * noise.rate, noise.rate, 1)):
                found += f.active
                if f.active and args.show:
                    print(f"   {f.source} at {f.t_ns / NS:.2f} s: step {f.value:.3f} m, sd {f.evidence['noise']:.3f}")
        total += found
        form = "every sample" if args.full else "working stream"
        print(f"phi {phi}, sd {args.sd} m, {args.channels} channels, {args.days:g} days, {form}: "
              f"{found} false alarms, {demand.switched} switchings, {time.monotonic() - begin:.0f} s")  # fmt: skip
    print(f"false alarms in all: {total}")


def arl(args: argparse.Namespace) -> None:
    print("bins a crossing of the noise lock (both sides), over what the budget says; one or more is as promised")
    for phi in args.phi:
        for bins in args.bins:
            rng = np.random.default_rng(args.seed)
            budget = MONTH_S * 2 * FS / BIN / 2 / bins
            follower = Follower(2 * FS / BIN, Steps(false_alarms_per_month=budget), args.channels)
            noise = Working(args.channels, phi, 0.02, rng)
            first = 0
            for s in range(0, 1200 + round(bins * args.crossings / args.channels / 16), PIECE_S):
                follower.push(noise.next(PIECE_S))
                if s < 1200:
                    first, before = crossings(follower), s + PIECE_S
            n = crossings(follower) - first
            run = (s + PIECE_S - before) * 16 * args.channels / max(n, 1)
            young = 1200 * 16 * args.channels / max(first, 1)
            print(f"phi {phi}: budget {bins:.0e} bins, measured {run:.2e} ({n} crossings), ratio {run / bins:.2f}; "
                  f"in the first 20 minutes {young / bins:.2f} ({first})")  # fmt: skip


def crossings(follower: Follower) -> int:
    return sum(follower.learnt(i).crossings for i in range(follower.rows))


def detect(args: argparse.Namespace) -> None:
    print("share of drops said within 1.5 s, 100 each, after 60 s of noise; and the median time from the drop to the statement")
    for phi in args.phi:
        for sd in (0.02, 0.05, 0.1):
            cells = []
            for drop in (0.3, 0.35, 0.4, 0.5, 0.75):
                x = 40 + Raw(100, phi, sd, np.random.default_rng(args.seed)).next(64)
                at = np.random.default_rng(1).uniform(60, 61, 100)
                t = np.arange(x.shape[1]) / FS
                x -= (drop * np.clip((t[None] - at[:, None]) / 0.05, 0, 1)).astype(np.float32)
                said = [f for f in row(100, FS).push(0, Block(x, 0, 0, FS, 1)) if f.active]
                late = [f.t_ns / NS - at[int(f.source.split("-")[1])] for f in said]
                good = [d for d in late if 0 < d <= 1.5]
                cells.append(f"{drop:g} m {len(good):3d} % {np.median(good) if good else np.nan:.2f} s")
                assert len(late) == len(good), "noise alone said something"
            print(f"phi {phi}, sd {sd:4.2f} m:  " + "   ".join(cells))


def bursts(args: argparse.Namespace) -> None:
    print("2 cm of noise, 8 seeds; from the onset to its statement: median, 95 %, longest")
    for name in ("b20", "b36", "b90"):
        record = tnet3.record(name)
        nodes, heard, late, missed = record.dropping(), 0, [], set()
        for seed in range(8):
            detector, rate = tnet3.transient(nodes, record.fs)
            first: dict[str, float] = {}
            for f in tnet3.play(detector, rate, record.noisy(nodes, seed)):
                if f.active:
                    first.setdefault(f.source, (f.t_ns - f.onset_ns) / NS)
            heard += len(first)
            late += first.values()
            missed |= {n for n in nodes if n.lower() not in first}
        mid, most = np.quantile(late, [0.5, 0.95])
        quiet = f", not always {', '.join(sorted(missed))}" if missed else ""
        print(f"{name}: {heard} of {8 * len(nodes)} said{quiet}; {mid:.2f} s, {most:.2f} s, {max(late):.2f} s")


def onset(args: argparse.Namespace) -> None:
    print("200 drops a row: median and robust sd of the error, in samples; rms and middle 68 % of error / own sd; share heard")
    for fs in (64.0, 128.0, 256.0, 1000.0):
        for rise in (0.001, 0.05, 0.2):
            for height, sd in ((-0.5, 0.02), (-3.0, 0.02), (-1.0, 0.1)):
                rng = np.random.default_rng(args.seed)
                t, at = np.arange(round(10 * fs)) / fs, 6 + rng.uniform(0, 1, 200)
                x = 40 + height * np.clip((t[None] - at[:, None]) / rise, 0, 1) + rng.normal(0, sd, (200, t.size))
                found = pick_arrivals(x, fs)
                error = found.t_s - at
                ok = np.isfinite(error)
                e, z = error[ok] * fs, error[ok] / found.sd_s[ok]
                low, high = np.quantile(z, [0.16, 0.84])
                spread = 1.4826 * np.median(np.abs(e - np.median(e)))
                print(f"{fs:5.0f} Hz, rise {rise:5.3f} s, {height:4.1f} m in {sd:4.2f} m: "
                      f"{np.median(e):6.2f} +- {spread:5.2f} samples, "
                      f"z rms {np.sqrt(np.mean(z**2)):5.2f}, {low:5.2f} .. {high:5.2f}, own sd {np.median(found.sd_s) * fs:5.2f}, "
                      f"size {np.nanmedian(found.step):6.3f}, rise {np.nanmedian(found.rise_s):5.3f}, {ok.mean():.0%}")  # fmt: skip


def pieces(channels: int, devices: int, rate: int, seconds: int) -> Iterator[tuple[int, Block]]:
    rng = np.random.default_rng(0)
    x = [(40 + rng.normal(0, 0.02, (channels, rate))).astype(np.float32) for _ in range(16)]
    for s in range(seconds):
        for d in range(devices):
            yield d, Block(x[(s + d) % 16], 0, s * rate, rate, 1)


def speed(args: argparse.Namespace) -> None:
    rate, total = 256, 2000
    for channels in (1, 8):
        detector = row(channels, rate, devices=total // channels)
        blocks = list(pieces(channels, total // channels, rate, args.seconds))
        begin = time.process_time()
        for group, block in blocks:
            detector.push(group, block)
        took = time.process_time() - begin
        each, call = took / args.seconds / total * 1e6, took / len(blocks) * 1e6
        print(f"{total} channels x {rate} Hz in groups of {channels}: {took / args.seconds:.1%} of one core, "
              f"{each:.1f} us per channel and second, {call:.1f} us a call")  # fmt: skip


COMMANDS = {"arl": arl, "quiet": quiet, "detect": detect, "bursts": bursts, "onset": onset, "speed": speed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(COMMANDS))
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--channels", type=int, default=100)
    parser.add_argument("--phi", type=float, nargs="+", default=[0.6, 0.9])
    parser.add_argument("--sd", type=float, default=0.02, help="of the noise, metres")
    parser.add_argument("--full", action="store_true", help="make every sample")
    parser.add_argument("--show", action="store_true", help="print each false alarm")
    parser.add_argument("--bins", type=float, nargs="+", default=[1e4, 1e5, 1e6])
    parser.add_argument("--crossings", type=float, default=100.0, help="expected, for each run length")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    COMMANDS[args.what](args)


if __name__ == "__main__":
    main()
