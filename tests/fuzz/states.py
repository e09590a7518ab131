"""Every class with `load`: foreign bytes raise StateError, or make an object that goes on without a crash.

A row says how to make one and what to push. Numbers after damage may be anything, so a count that runs over is let pass;
addresses, indices, loops and sizes may not.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block

Random = np.random.Generator
ROOT = Path(__file__).parents[2]
T0 = 1_790_000_000 * NS


def rows(rng: Random, n_ch: int, most: int = 300) -> np.ndarray:
    return rng.normal(size=(n_ch, int(rng.integers(1, most)))).astype(np.float32)


@dataclass(frozen=True)
class Kept:
    """make() -> object with save and load; push(object, rng) feeds it a little and asks it everything."""

    name: str
    make: Callable[[], Any]
    push: Callable[[Any, Random], object]

    def seeds(self, rng: Random) -> list[bytes]:
        found = []
        for pushes in (0, 1, 3, 9):
            one = self.make()
            for _ in range(pushes):
                self.push(one, rng)
            found.append(bytes(one.save()))
        return found

    def run(self, data: bytes, rng: Random) -> None:
        one = self.make()
        try:
            one.load(data)
        except StateError:
            self.push(one, rng)  # what was refused has changed nothing that matters
            return
        for _ in range(3):
            self.push(one, rng)
        self.make().load(one.save())


def _kernel(name: str) -> Any:
    return importlib.import_module(name)


def _regular(x: np.ndarray, rng: Random) -> Block:
    return Block(x, T0, int(rng.integers(1 << 20)), 200, 1)


def machines() -> Any:
    kernel = _kernel("lifeline_core.detectors._level")
    return kernel.Machines(3, (0.5, 1.0), (-1.0,), (0.4, -0.5), False, 20_000_000, 0, 10 * NS)


def push_machines(one: Any, rng: Random) -> None:
    x = rows(rng, 3)
    one.push(x, _regular(x, rng))


def slopes() -> Any:
    return _kernel("lifeline_core.detectors._level").Slopes(2, NS, 0, 1e9)


def push_slopes(one: Any, rng: Random) -> None:
    x = rows(rng, 2)
    one.push(x, _regular(x, rng), np.empty_like(x))


def bins() -> Any:
    stats = _kernel("lifeline_core.dsp.stats")
    return stats.Bins(2, NS, [(-1.0, 1.0), None])


def push_bins(one: Any, rng: Random) -> None:
    one.push(rows(rng, 2), T0, int(rng.integers(1 << 20)), 200, 1)


def guards() -> Any:
    stats = _kernel("lifeline_core.dsp.stats")
    return stats.Guards([stats.Rule(5, 0, NS, 3, (-1.0, 1.0), 0.0), stats.Rule(3, NS, NS, 2)])


def push_guards(one: Any, rng: Random) -> None:
    x = rows(rng, 2)
    x[:, : int(rng.integers(x.shape[1]))] = 0.5
    one.push(x, T0, int(rng.integers(1 << 20)), 200, 1)
    one.seam()


def sos_filter() -> Any:
    filters = _kernel("lifeline_core.dsp.filters")
    return filters.SosFilter(filters.bandpass(200.0, 1.0, 20.0), 5)


def sta_lta(kind: str) -> Any:
    return _kernel("lifeline_core.dsp.onset").StaLta(3, 8, 50, kind=kind)


def cusum() -> Any:
    return _kernel("lifeline_core.dsp.cusum").Cusum(3, 0.5, 4.0)


def envelope() -> Any:
    return _kernel("lifeline_core.dsp.envelope").Envelope(3, 31)


def push_rows(n_ch: int) -> Callable[[Any, Random], object]:
    return lambda one, rng: one.push(rows(rng, n_ch))


def polarity() -> Any:
    return _kernel("lifeline_core.dsp.polarity").Polarity(100)


def push_polarity(one: Any, rng: Random) -> None:
    x = rows(rng, 2)
    one.push(x[0], x[1])
    one.read()


def running(**keys: Any) -> Callable[[], Any]:
    return lambda: _kernel("lifeline_core.dsp.running").Running(2, 100.0, nperseg=64, **keys)


def push_running(one: Any, rng: Random) -> None:
    one.push(rows(rng, 2))
    if rng.random() < 0.2:
        one.restart()
    one.spectrum()
    if one.cross:
        one.csd_matrix()


def dc_block() -> Any:
    return _kernel("lifeline_core.dsp.dcblock").DcBlock(100.0, 0.5, 5)


def decimator() -> Any:
    return _kernel("lifeline_core.dsp.decimate").Decimator(3, 5)


def running_median() -> Any:
    return _kernel("lifeline_core.dsp.hampel").RunningMedian(9, 2)


def hampel() -> Any:
    return _kernel("lifeline_core.dsp.hampel").Hampel(15, 2, dtype=np.float64)


def push_window(one: Any, rng: Random) -> None:
    one.push(rows(rng, 2).astype(one.dtype))
    if rng.random() < 0.1:
        one.flush()


def rain() -> Any:
    return _kernel("lifeline_core.dsp.rainflow").Rainflow(2, gate=0.1)


def push_rain(one: Any, rng: Random) -> None:
    one.push(np.cumsum(rows(rng, 2), axis=1))
    one.residue()


def rain_bins() -> Any:
    return _kernel("lifeline_core.dsp.rainflow").RainflowBins(2, 0.5, 20, mean_low=-5.0, mean_width=1.0, n_means=10)


def push_rain_bins(one: Any, rng: Random) -> None:
    one.push(np.cumsum(rows(rng, 2), axis=1))
    one.total()


def cross_sums(name: str, nperseg: int) -> Callable[[], Any]:
    return lambda: getattr(_kernel("lifeline_core.pipes.cross"), name)(nperseg, -7, 3)


def push_cross(one: Any, rng: Random) -> None:
    x = rows(rng, 2).astype(rng.choice([np.int16, np.float32, np.float64]))
    one.push(x[0], x[1])
    if rng.random() < 0.1:
        one.break_off()
    one.read()


def step_rows() -> Any:
    step = _kernel("lifeline_core.pipes.step")
    return step.followers(64.0, step.Steps(hold_s=2.0), 2)


def push_steps(one: Any, rng: Random) -> None:
    x = rows(rng, 2, 600) + np.float32(rng.choice([0, 50, np.nan]))
    one.push(x.astype(np.float32))
    if rng.random() < 0.1:
        one.restart()
    one.last(1, int(rng.integers(2000)))
    one.learnt(0), one.back(0), one.kept(1)


def cleaner() -> Any:
    cleaning = _kernel("lifeline_core.dsp.cleaning")
    return cleaning.Cleaner(2, cleaning.Rules(window=15, stuck=7, fill=True), [(-2.0, 2.0), None])


def push_cleaner(one: Any, rng: Random) -> None:
    x = rows(rng, 2) * np.float32(rng.choice([1.0, 1e3, np.nan]))
    x[:, : int(rng.integers(x.shape[1]))] = 0.5
    one.push(x)
    if rng.random() < 0.1:
        one.flush()


def comoments() -> Any:
    return _kernel("lifeline_core.dsp.comoments").Comoments(3)


def push_comoments(one: Any, rng: Random) -> None:
    one.push(rows(rng, 3, 3000))
    if rng.random() < 0.3:
        one.close()


def delayed() -> Any:
    return _kernel("lifeline_core.dsp.delayed").Delayed()


def push_delayed(one: Any, rng: Random) -> None:
    x = rows(rng, 2)
    one.put(_regular(x, rng))
    list(one.take(x[:, : int(rng.integers(x.shape[1]))]))


def trigger() -> Any:
    return _kernel("lifeline_core.dsp.trigger").Trigger(3, 200.0, 1.0, 8, 50, on=4.0)


class Packed:
    """A class whose state is a map, as bytes."""

    def __init__(self, name: str, kind: str, *args: Any) -> None:
        self.it = getattr(_kernel(f"lifeline_core.dsp.{name}"), kind)(*args)
        self.bins = 0

    def save(self) -> bytes:
        packed: bytes = msgpack.packb(self.it.save())
        return packed

    def load(self, data: bytes) -> None:
        try:
            state = msgpack.unpackb(data)
        except Exception as error:
            raise StateError("no map") from error
        self.it.load(state)


def push_placing(one: Any, rng: Random) -> None:
    for _ in range(5):
        z = rng.normal(size=(4, 4))
        one.bins += 1
        one.it.take(z + z.T, rng.normal(size=4), one.bins * NS, np.zeros(4))


def push_days(one: Any, rng: Random) -> None:
    for _ in range(5):
        one.it.add(int(rng.integers(1000)), rng.normal(size=4), rng.normal(size=4))
        one.it.close([float(rng.normal())])


def push_usual(one: Any, rng: Random) -> None:
    if not one.it.learned:
        one.it.learn(rng.normal(size=4))


def push_levels(one: Any, rng: Random) -> None:
    one.push(rng.normal(size=50) * 10.0 ** rng.integers(-3, 4))


TABLE = [
    Kept("level.Machines", machines, push_machines),
    Kept("level.Slopes", slopes, push_slopes),
    Kept("stats.Bins", bins, push_bins),
    Kept("stats.Guards", guards, push_guards),
    Kept("filters.SosFilter", sos_filter, push_rows(5)),
    Kept("onset.StaLta recursive", lambda: sta_lta("recursive"), push_rows(3)),
    Kept("onset.StaLta classic", lambda: sta_lta("classic"), push_rows(3)),
    Kept("cusum.Cusum", cusum, push_rows(3)),
    Kept("envelope.Envelope", envelope, push_rows(3)),
    Kept("dcblock.DcBlock", dc_block, push_rows(5)),
    Kept("decimate.Decimator", decimator, push_rows(5)),
    Kept("hampel.RunningMedian", running_median, push_window),
    Kept("hampel.Hampel", hampel, push_window),
    Kept("cleaning.Cleaner", cleaner, push_cleaner),
    Kept("comoments.Comoments", comoments, push_comoments),
    Kept("delayed.Delayed", delayed, push_delayed),
    Kept("placing.Placing", lambda: Packed("placing", "Placing", 4, NS, 1.0), push_placing),
    Kept("days.Days", lambda: Packed("days", "Days", 4, 1, 12, (0.1, 0.1), 0.1, 1.0), push_days),
    Kept("usual.Usual", lambda: Packed("usual", "Usual", 4, 20), push_usual),
    Kept("trigger.Trigger", trigger, push_rows(3)),
    Kept("rainflow.Rainflow", rain, push_rain),
    Kept("periods.Levels", lambda: _kernel("lifeline_core.dsp.periods").Levels(), push_levels),
    Kept("rainflow.RainflowBins", rain_bins, push_rain_bins),
    Kept("polarity.Polarity", polarity, push_polarity),
    Kept("running.Running", running(), push_running),
    Kept("running.Running of pairs", running(cross=True), push_running),
    Kept("running.Running of seconds", running(cross=True, seconds=20.0), push_running),
    Kept("running.Running that forgets", running(forgetting=5.0, skip_nan=True), push_running),
    Kept("_step.Followers", step_rows, push_steps),
    Kept("_cross.Averages", cross_sums("Averages", 64), push_cross),
    Kept("cross.Library", cross_sums("Library", 50), push_cross),
]

# Reached through another row: the class that holds them.
WITHIN = {
    "_level.Machines": "level.Machines",
    "_level.Slopes": "level.Slopes",
    "_stats.Cells": "stats.Bins",
    "_stats.Guards": "stats.Guards",
    "_polarity.Bits": "polarity.Polarity",
    "_spectrum.Lanes": "running.Running",
    "transforms.Library": "running.Running",
    "recent.Recent": "running.Running of seconds",
    "_assemble.Assembler": "assemble.load",
    "_rainflow.History": "rainflow.Rainflow",
    "hampel._Stream": "hampel.RunningMedian",
    "usual.Stretch": "placing.Placing",
    "drift.Drift": "days.Days",
    "_trigger.Rows": "trigger.Trigger",
    # Maps of states that have rows of their own; the detectors' tests restore them whole.
    "tape.Tape": "trigger.Trigger",
    "tape.Alone": "trigger.Trigger",
    "tape.Together": "onset.StaLta recursive",
    "binspectra.BinSpectra": "stats.Bins",
    "periods.PeriodCycles": "rainflow.Rainflow",
}


def with_load() -> Iterator[str]:
    """stem.Class of everything in dsp and the compiled modules that loads state; protocols only promise it."""
    names = [f"lifeline_core.dsp.{p.stem}" for p in sorted((ROOT / "src/lifeline_core/dsp").glob("*.py")) if p.stem != "__init__"]
    for pyx in sorted((ROOT / "kernels").glob("_*.pyx")):
        serves = pyx.read_text(encoding="utf-8").split("# serves:", 1)[1].split()[0]
        names.append(f"{serves}.{pyx.stem}")
    for name in names:
        for kind in vars(importlib.import_module(name)).values():
            mine = inspect.isclass(kind) and kind.__module__ == name and not getattr(kind, "_is_protocol", False)
            if mine and callable(getattr(kind, "load", None)) and callable(getattr(kind, "save", None)):
                yield f"{name.rsplit('.', 1)[1]}.{kind.__name__}"


def forgotten() -> list[str]:
    """Classes with `load` that no row reaches."""
    reached = {row.name.split()[0] for row in TABLE} | set(WITHIN)
    return [name for name in with_load() if name not in reached]
