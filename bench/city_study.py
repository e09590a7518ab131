"""A city of bridges: limits and running spectra of every channel, as a share of one core.

    python -m bench.city_study [--bridges 300] [--channels 60] [--rate 100] [--frame-s 1] [--scaled 5] [--seconds 1200]

Every channel is watched by the profile bridge.girder-acceleration: the RMS of its ten minutes against two limits, and Welch's
spectrum with its peaks. Loggers of 4 channels send int24 frames of --frame-s seconds, in the order of their times. Processor
time of this process is taken over whole bins of the clock, so that the ends of bins are in it as often as they come, for
--scaled bridges, and told for all of them in proportion: what a bridge costs does not depend on the others but for caches,
which is measured by doubling (--double).

    frames      bytes in, alarms out: CRC, order, scaling, joins, detectors (`Engine.push_batch`)
    samples     the same from arrays already in the channel's unit (`Engine.push_samples`)
    detectors   only what reads blocks: `Spectral.push` of one group at a time, no engine

The health watch of every device is off, as the limits and spectra alone are asked for; --health turns it on.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lifeline_core import wire
from lifeline_core.config import read_city
from lifeline_core.detectors.base import Group
from lifeline_core.detectors.spectral import Spectral
from lifeline_core.engine import Engine
from lifeline_core.model import NS, Block, City

PER_DEVICE = 4
COUNT = 2.5e-6  # m/s2 of one count of 24 bits
BIN_S = 600
T0 = 1_790_000_400 * NS  # a full ten minutes
POOL_S = 60  # of vibration, over and over: the detectors' work does not depend on the values


@dataclass(frozen=True)
class Town:
    """So many bridges, built alike."""

    bridges: int
    channels: int
    rate: int
    health: bool = False

    @property
    def devices(self) -> int:
        return -(-self.channels // PER_DEVICE)

    def rows(self, device: int) -> int:
        return min(PER_DEVICE, self.channels - device * PER_DEVICE)

    def text(self) -> str:
        lines = [f"[service]\nhealth = {str(self.health).lower()}"]
        for b in range(self.bridges):
            names = [f"b{b}-{c}" for c in range(self.channels)]
            lines.append(f'[site.b{b}]\ndomain = "bridge"')
            for c, name in enumerate(names):
                device, channel = self.device(b, c // PER_DEVICE), c % PER_DEVICE
                lines.append(f'[channel.{name}]\nsite = "b{b}"\ndevice = {device}\nchannel = {channel}\nquantity = "acceleration"\n'
                             f'unit = "m/s2"\nrate_hz = {self.rate}.0\nscale = {COUNT}\nrange = [-20.0, 20.0]')
            lines.append(f'[watch.girder-{b}]\nsite = "b{b}"\nchannels = {names}\n'.replace("'", '"')
                         + 'profile = "bridge.girder-acceleration"')
        return "\n".join(lines)

    def device(self, bridge: int, number: int) -> int:
        return 1 + bridge * self.devices + number

    def city(self) -> City:
        return read_city(self.text())


def vibration(rate: int, frame_s: int) -> NDArray[np.float64]:
    """[frame][PER_DEVICE][sample] m/s2: three modes and noise, 0.03 m/s2 RMS."""
    rng, n = np.random.default_rng(7), POOL_S * rate
    f = np.fft.rfftfreq(n, 1 / rate)
    shape = sum(1 / (1 + ((f - f0) / (0.01 * f0)) ** 2) for f0 in (1.3, 3.1, 5.7)) + 0.02
    x = np.fft.irfft(shape * (rng.normal(size=(PER_DEVICE, f.size)) + 1j * rng.normal(size=(PER_DEVICE, f.size))), n)
    x *= 0.03 / x.std()
    return np.ascontiguousarray(x.reshape(PER_DEVICE, POOL_S // frame_s, frame_s * rate).transpose(1, 0, 2))


class Clock:
    """Processor time of this process, of some calls only."""

    def __init__(self) -> None:
        self.spent = 0.0

    def run(self, call: Callable[..., object], *args: object) -> None:
        began = time.process_time()
        call(*args)
        self.spent += time.process_time() - began


def by_frames(town: Town, frame_s: int, seconds: int, settle: int) -> tuple[float, int]:
    """Processor seconds for ``seconds`` of the town, and bins that spoke."""
    engine, pool, clock = Engine(town.city()), vibration(town.rate, frame_s), Clock()
    counts = np.ascontiguousarray(np.rint(pool / COUNT), np.int32)
    for k in range((settle + seconds) // frame_s):
        frames = [wire.pack(counts[k % len(counts)][: town.rows(d)], device=town.device(b, d), epoch=1, seq=k,
                            sample_index=k * frame_s * town.rate, t0_ns=T0 + k * frame_s * NS, rate=town.rate, encoding=wire.INT24)
                  for b in range(town.bridges) for d in range(town.devices)]
        lengths = np.array([len(one) for one in frames], np.int64)
        batch = np.frombuffer(b"".join(frames), np.uint8)
        offsets = np.cumsum(lengths) - lengths
        if k * frame_s == settle:
            clock.spent = 0.0
        clock.run(engine.push_batch, batch, offsets, lengths)
        clock.run(engine.take_receipts)
        for second in range(frame_s):
            clock.run(engine.tick, T0 + (k * frame_s + second + 1) * NS)
    stats = engine.stats()
    due = town.bridges * town.channels * (settle + seconds) // frame_s * frame_s * town.rate
    assert stats["samples"] == due and stats["gaps"] == 0 and stats["detector_errors"] == 0, stats
    return clock.spent, spoken(engine)


def by_samples(town: Town, frame_s: int, seconds: int, settle: int) -> tuple[float, int]:
    engine, pool, clock = Engine(town.city()), vibration(town.rate, frame_s).astype(np.float32), Clock()

    def push(k: int) -> None:
        for b in range(town.bridges):
            for c in range(town.channels):
                engine.push_samples(f"b{b}-{c}", T0 + k * frame_s * NS, pool[k % len(pool), c % PER_DEVICE])

    for k in range((settle + seconds) // frame_s):
        if k * frame_s == settle:
            clock.spent = 0.0
        clock.run(push, k)
        for second in range(frame_s):
            clock.run(engine.tick, T0 + (k * frame_s + second + 1) * NS)
    assert engine.stats()["detector_errors"] == 0
    return clock.spent, spoken(engine)


def by_detectors(town: Town, frame_s: int, seconds: int, settle: int) -> tuple[float, int]:
    city, pool, clock = town.city(), vibration(town.rate, frame_s).astype(np.float32), Clock()
    built = []
    for b in range(town.bridges):
        w = city.watches[f"girder-{b}"]
        channels = [city.channels[name] for name in w.channels]
        rows = [tuple(channels[d * PER_DEVICE : (d + 1) * PER_DEVICE]) for d in range(town.devices)]
        built.append(Spectral(w, [Group(part, float(town.rate)) for part in rows], city.sites[w.site]))

    def push(k: int) -> None:
        for detector in built:
            for d in range(town.devices):
                rows = town.rows(d)
                detector.push(d, Block(pool[k % len(pool)][:rows], T0, k * frame_s * town.rate, town.rate, 1, None, (0.0,) * rows))

    for k in range((settle + seconds) // frame_s):
        if k * frame_s == settle:
            clock.spent = 0.0
        clock.run(push, k)
    return clock.spent, sum("rms" in row for detector in built for row in detector.report())


def spoken(engine: Engine) -> int:
    """Channels whose last bin gave an RMS."""
    return sum("rms" in row for run in engine.runs if run.watch.detector == "spectral" for row in run.report())


WAYS = {"frames": by_frames, "samples": by_samples, "detectors": by_detectors}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--bridges", type=int, default=300)
    ask.add_argument("--channels", type=int, default=60, help="of a bridge")
    ask.add_argument("--rate", type=int, default=100, help="Hz")
    ask.add_argument("--frame-s", type=int, default=1, help="seconds in a frame, a divisor of 60")
    ask.add_argument("--scaled", type=int, default=5, help="bridges that are measured")
    ask.add_argument("--seconds", type=int, default=2 * BIN_S, help="of vibration that are measured, a multiple of 600")
    ask.add_argument("--way", choices=sorted(WAYS), action="append", help="default: all")
    ask.add_argument("--double", action="store_true", help="also twice as many bridges, to see what caches do")
    ask.add_argument("--health", action="store_true")
    a = ask.parse_args()
    if a.seconds < BIN_S or a.seconds % BIN_S or POOL_S % a.frame_s:
        ask.error("--seconds must be a multiple of 600, --frame-s a divisor of 60")
    total = a.bridges * a.channels * a.rate
    print(f"{a.bridges} bridges x {a.channels} channels x {a.rate} Hz = {total / 1e6:.2f} M samples/s, frames of {a.frame_s} s; "
          f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; target: below 0.5 of a core")
    for way in a.way or WAYS:
        for bridges in (a.scaled, 2 * a.scaled)[: 1 + a.double]:
            town = Town(bridges, a.channels, a.rate, a.health)
            spent, bins = WAYS[way](town, a.frame_s, a.seconds, 60)
            assert bins == bridges * a.channels, f"{bins} channels spoke of {bridges * a.channels}"
            share = spent / a.seconds
            each = share / (bridges * a.channels * a.rate)
            print(f"{way}: {bridges} bridges take {share:.4f} of a core ({each * 1e9:.1f} ns a sample); "
                  f"{a.bridges} in proportion {each * total:.3f}", flush=True)


if __name__ == "__main__":
    main()
