"""A night of loggers on one core: WAV bytes to places of leaks, beside what a user writes with scipy.signal, turn about.

    python -m bench.survey_study [--loggers 2000 --pairs 3000 --leaks 0.3 --beside 150]

Processor seconds of this process (`time.process_time`), in parts: decode (WAV to int16), rows to float, spectra, first look (band,
weights, correlogram), analyse (exact delay, error, verdict), position, rest (order, caches, counting). ``--leaks``: share of the
pairs that hear one leak; the others hear noises of their own and need one pass only. The recordings are made before, 50 of them,
and used again and again: every logger decodes and transforms its own. ``--beside``: so many of the same pairs are done by hand in
between: csd, two Welch spectra, HT weight, inverse transform, highest lag, one pass, no band, no error, no verdict.
"""

from __future__ import annotations

import argparse
import io
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal
from scipy.io import wavfile

from lifeline_core.pipes import correlation
from lifeline_core.pipes.position import Section, leak_position
from lifeline_core.pipes.survey import Desk, Pair, survey
from lifeline_core.synth.leaknoise import LeakNoise

FS, SECONDS, DISTINCT = 8000.0, 10, 50
PIPE = [Section(100.0, 1200.0)]
BLOCK = 20  # pairs of ours between two turns of the other


def recordings(seed: int = 0) -> list[bytes]:
    """WAV files of 25 places with two loggers each, a leak somewhere between them."""
    found = []
    for place in range(DISTINCT // 2):
        site = LeakNoise(fs=FS, length_m=100.0, position_m=15.0 + 2.6 * place, speed_mps=1200.0, beta_s_m=6e-6,
                         snr_db=(10.0, 3.0, -3.0)[place % 3])
        for x in site.whole(int(FS) * SECONDS, seed + place):
            file = io.BytesIO()
            wavfile.write(file, int(FS), np.round(x / np.abs(x).max() * 12_000).astype(np.int16))
            found.append(file.getvalue())
    return found


def pairs_of(loggers: int, count: int, leaks: float) -> list[Pair]:
    """Pairs of loggers that lie near each other: 2i with 2i+1, 2i+51 .. hear one leak (the same place), 2i+1 with 2i+2, .. none."""
    heard = [(2 * i, 2 * i + 1 + DISTINCT * k) for k in range(4) for i in range(loggers // 2)]
    unheard = [(2 * i + 1, 2 * i + 2 + 2 * k) for k in range(4) for i in range(loggers // 2)]
    wanted = round(count * leaks)
    chosen = list(islice(((a, b) for a, b in heard if b < loggers), wanted))
    chosen += islice(((a, b) for a, b in unheard if b < loggers), count - wanted)
    if len(chosen) < count:
        raise SystemExit(f"{loggers} loggers make {len(chosen)} pairs, {count} are asked for")
    return [Pair.along(a, b, PIPE, FS) for a, b in chosen]


class Watch:
    """Processor seconds spent in the functions it wraps."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def on(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kw: Any) -> Any:
            begin = time.process_time()
            try:
                return work(*args, **kw)
            finally:
                self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - begin

        return timed


class Night(Mapping[str, NDArray[np.int16]]):
    """Loggers whose files are decoded when somebody asks."""

    def __init__(self, files: list[bytes], loggers: int) -> None:
        self._files, self._loggers, self.decoded = files, loggers, 0

    def __getitem__(self, name: Any) -> NDArray[np.int16]:
        self.decoded += 1
        return np.asarray(wavfile.read(io.BytesIO(self._files[name % DISTINCT]))[1])

    def __iter__(self) -> Iterator[str]:
        return iter(map(str, range(self._loggers)))

    def __len__(self) -> int:
        return self._loggers


def by_hand(files: list[bytes], pair: Pair, nperseg: int) -> float:
    """Position of the highest lag, from the two files."""
    a, b = (wavfile.read(io.BytesIO(files[int(i) % DISTINCT]))[1].astype(np.float32) for i in (pair.a, pair.b))
    s12 = signal.csd(a, b, FS, nperseg=nperseg)[1]
    s11, s22 = (signal.welch(x, FS, nperseg=nperseg)[1] for x in (a, b))
    size = np.maximum(np.abs(s12), 1e-30)
    gamma2 = np.minimum(size**2 / np.maximum(s11 * s22, 1e-30), 1 - 1e-6)
    r = np.fft.irfft(gamma2 / (size * (1 - gamma2)) * s12, 2 * nperseg)
    edge = int(pair.max_delay_s * 2 * FS)
    lag = int(np.argmax(np.roll(r, edge)[: 2 * edge + 1])) - edge
    return leak_position(min(max(lag / (2 * FS), -1.0), 1.0), PIPE).x_m


def main() -> None:
    ask = argparse.ArgumentParser(description="A night of loggers on one core.")
    ask.add_argument("--loggers", type=int, default=2000)
    ask.add_argument("--pairs", type=int, default=3000)
    ask.add_argument("--leaks", type=float, default=0.3, help="share of the pairs that hear a leak")
    ask.add_argument("--beside", type=int, default=150, help="pairs done by hand, spread over the run")
    given = ask.parse_args()
    files, pairs = recordings(), pairs_of(given.loggers, given.pairs, given.leaks)
    night, watch, hand = Night(files, given.loggers), Watch(), Watch()
    Night.__getitem__ = watch.on("decode", Night.__getitem__)  # type: ignore[method-assign]
    Desk.spectra = watch.on("spectra and decode", Desk.spectra)  # type: ignore[method-assign]
    Desk.row = watch.on("rows and decode", Desk.row)  # type: ignore[method-assign]
    for name in ("first_look", "analyse"):
        setattr(correlation, name, watch.on(name, getattr(correlation, name)))
    place, peer = watch.on("position", leak_position), hand.on("by hand", by_hand)
    list(survey(night, pairs[:4], FS))  # tables and caches of the libraries
    peer(files, pairs[0], 8192)
    watch.spent.clear(), hand.spent.clear()
    night.decoded, accepted, wrong, ours = 0, 0, 0, 0.0
    found = survey(night, pairs, FS)
    turns = 0
    begin = time.process_time()
    for done, (i, c) in enumerate(found, 1):
        if c.accepted:
            x = place(c.delay_s, PIPE, delay_sd_s=c.delay_sd_s).x_m
            accepted += 1
            wrong += abs(x - (15.0 + 2.6 * (int(pairs[i].a) % DISTINCT // 2))) > 1.0
        if done % BLOCK == 0 or done == len(pairs):
            ours += time.process_time() - begin
            while turns * len(pairs) < given.beside * done:
                peer(files, pairs[turns * 7919 % len(pairs)], 2 * (c.f.size - 1))
                turns += 1
            begin = time.process_time()
    report(given, watch.spent, ours, hand.spent.get("by hand", 0.0) / max(turns, 1), night.decoded, accepted, wrong)


def report(given: argparse.Namespace, spent: dict[str, float], ours: float, hand: float, decoded: int, accepted: int,
           wrong: int) -> None:
    decode, look, analyse, position = (spent.get(k, 0.0) for k in ("decode", "first_look", "analyse", "position"))
    rows = spent.get("rows and decode", 0.0) - decode
    spectra = spent["spectra and decode"]
    rest = ours - decode - rows - spectra - look - analyse - position
    print(f"{given.pairs} pairs of {given.loggers} loggers, {SECONDS} s at {FS:.0f} Hz, {given.leaks:.0%} hear a leak; one core")
    for name, seconds in (("decode", decode), ("rows to float", rows), ("spectra", spectra), ("first look", look),
                          ("analyse", analyse), ("position", position), ("rest", rest), ("total", ours)):
        print(f"  {name:<14}{seconds:8.2f} s  {1e3 * seconds / given.pairs:7.3f} ms a pair")
    print(f"  {given.pairs / ours:.0f} pairs a second; {decoded} files decoded; {accepted} accepted, {wrong} off by more than 1 m")
    if hand:
        print(f"  by hand with scipy.signal: {1e3 * hand:.2f} ms a pair, {hand * given.pairs / ours:.1f} times as long")
    print(f"  largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
