"""A night on a small network with its truth: what every logger records while one pipe leaks, or none.

::

    source        white noise
    on the way    exp(-w beta x) exp(-i w t)      x metres and t seconds of the quickest way to the logger
    at each       its own white noise, and the same mains hum at all

The same physics as `leaknoise`, for any number of loggers on a graph. A hum that all loggers share lies at delay 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.pipes.graph import PipeGraph
from lifeline_core.pipes.places import PipeMap, Place, Reach

NS = 1_000_000_000
_MARGIN_S = 1.0  # the loss has no phase here, its response begins a little before the wave: room for that and the end
_FORMATS = ("wav", "npz", "parquet")

# A street with a side street: iron, then plastic, and a plastic branch. Metres and m/s.
STREETS = (
    ("high-street-1", "j1", "j2", 180.0, 1200.0),
    ("high-street-2", "j2", "j3", 140.0, 1200.0),
    ("mill-lane", "j2", "j4", 120.0, 480.0),
    ("high-street-3", "j3", "j5", 160.0, 1200.0),
)
CORNERS = {"j1": (0.0, 0.0), "j2": (180.0, 0.0), "j3": (320.0, 0.0), "j4": (180.0, 120.0), "j5": (480.0, 0.0)}
STANDING = {"L01": "j1", "L02": "j3", "L03": "j4", "L04": "j5"}


@dataclass(frozen=True, kw_only=True)
class Night:
    """A network with loggers, and perhaps a leak.

    Parameters
    ----------
    fs, seconds : float
        Of every recording.
    leak : (link, offset_m) or None
        Metres from the link's first node.
    leak_db : float
        Leak against sensor noise, broad band, as a logger at the leak itself would hear it.
    beta_s_m : float
        Loss factor in s/m: 8.686 w beta dB per metre.
    hum_db : float or None
        RMS of the hum against the sensor noise.
    noise_rms : float
        Of the sensor noise, in parts of full scale.
    late_s : mapping
        Loggers whose clock is behind: they stamp what they record too early by so much.
    inverted : names of loggers wired the other way round.
    edges, loggers, xy
        The network: (name, a, b, length_m, speed_mps) rows, node of every logger, coordinates of nodes.
    """

    fs: float = 4096.0
    seconds: float = 20.0
    leak: tuple[str, float] | None = ("mill-lane", 45.0)
    leak_db: float = 20.0
    beta_s_m: float = 2e-5
    hum_db: float | None = None
    hum_hz: float = 50.0
    noise_rms: float = 1e-3
    late_s: Mapping[str, float] = field(default_factory=dict)
    inverted: tuple[str, ...] = ()
    edges: tuple[tuple[str, str, str, float, float], ...] = STREETS
    loggers: Mapping[str, str] = field(default_factory=lambda: dict(STANDING))
    xy: Mapping[str, tuple[float, float]] = field(default_factory=lambda: dict(CORNERS))

    @property
    def pipes(self) -> PipeMap:
        return PipeMap(PipeGraph.from_edges(self.edges, xy=self.xy))

    def place(self) -> Place | None:
        """Where the leak is."""
        return None if self.leak is None else self.pipes.place(*self.leak)

    def recordings(self, rng: np.random.Generator | int) -> dict[str, NDArray[np.float32]]:
        """float32[n] of every logger, all begun at once by their own clocks."""
        rng = np.random.default_rng(rng)
        n, margin = round(self.fs * self.seconds), round(_MARGIN_S * self.fs)
        source = np.fft.rfft(rng.standard_normal(n + 2 * margin))
        phases = rng.uniform(0.0, 2.0 * np.pi, 8)
        found = {}
        for name in self.loggers:
            x = rng.standard_normal(n) * self.noise_rms
            behind = self.late_s.get(name, 0.0)
            h = self._response(name, n + 2 * margin, behind)
            if h is not None:
                x += np.fft.irfft(source * h, n + 2 * margin)[margin : margin + n]
            x += self._hum(np.arange(n) / self.fs + behind, phases)
            found[name] = (-x if name in self.inverted else x).astype(np.float32)
        return found

    def _response(self, name: str, size: int, behind_s: float) -> NDArray[np.complex128] | None:
        """The way from the leak to a logger as its clock sees it; None where nothing comes."""
        pipes, place = self.pipes, self.place()
        if place is None:
            return None
        way = Reach(pipes, place).way(pipes.node_place(self.loggers[name]))
        if way is None or not isfinite(way.travel_s):
            return None
        if way.travel_s > _MARGIN_S:
            raise ValueError(f"the way to {name} must take at most {_MARGIN_S} s, takes {way.travel_s:.2f}")
        w = 2.0 * np.pi * np.fft.rfftfreq(size, 1.0 / self.fs)
        gain = self.noise_rms * 10.0 ** (self.leak_db / 20.0)
        return np.asarray(gain * np.exp(-w * self.beta_s_m * way.length_m - 1j * w * (way.travel_s - behind_s)))

    def _hum(self, t: NDArray[np.float64], phases: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros(t.size)
        if self.hum_db is None:
            return total
        orders = [k for k in range(1, len(phases) + 1) if k * self.hum_hz < self.fs / 2]
        for k in orders:
            total += np.sin(2.0 * np.pi * k * self.hum_hz * t + phases[k - 1]) / k
        power = sum(0.5 / k**2 for k in orders)
        return total * (self.noise_rms * 10.0 ** (self.hum_db / 20.0) / np.sqrt(power)) if orders else total

    def net_toml(self) -> str:
        """The network as `lifeline-core locate --network` reads it, with a word on every table."""
        rows = ["# A network for lifeline-core locate: pipes, loggers, and how a night is listened to.", ""]
        for name, a, b, length, speed in self.edges:
            rows += ["[[pipe]]", f'name = "{name}"', f'a = "{a}"', f'b = "{b}"', f"length_m = {length:g}",
                     f"speed_mps = {speed:g}", ""]
        for name, (x, y) in self.xy.items():
            rows += ["[[node]]", f'name = "{name}"', f"x = {x:g}", f"y = {y:g}", ""]
        for name, node in self.loggers.items():
            rows += ["[[logger]]", f'name = "{name}"            # its files begin with this', f'node = "{node}"',
                     "clock_sd_ms = 0.2       # standard deviation of its clock"]
            rows += [*(["inverted = true"] if name in self.inverted else []), ""]
        return "\n".join([*rows, *_CORRELATE])

    def write(self, directory: Path, rng: np.random.Generator | int, *, t0_ns: int, kind: str = "wav") -> list[Path]:
        """One file per logger, named by its logger and the time (UTC) it began."""
        if kind not in _FORMATS:
            raise ValueError(f"kind must be one of {', '.join(_FORMATS)}, is {kind!r}")
        directory.mkdir(parents=True, exist_ok=True)
        stamp = str(np.datetime64(t0_ns // NS, "s")).replace("-", "").replace(":", "")
        return [_write(directory / f"{name}_{stamp}Z.{kind}", x, self.fs, t0_ns) for name, x in self.recordings(rng).items()]


_CORRELATE = (
    "[correlate]",
    "longest_m = 400          # no pair has a longer way",
    "speed_rel_sd = 0.02      # how well the speeds are known: 2 %",
    'night = ["02:00", "04:00"]',
    'timezone = "UTC"',
    "",
)


def _write(path: Path, x: NDArray[np.float32], fs: float, t0_ns: int) -> Path:
    if path.suffix == ".npz":
        np.savez(path, x=x, fs=fs, t0_ns=t0_ns)
    elif path.suffix == ".wav":
        from scipy.io import wavfile

        wavfile.write(path, round(fs), np.round(np.clip(x, -1.0, 1.0 - 2**-15) * 2**15).astype(np.int16))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        said: dict[Any, Any] = {"rate_hz": str(fs), "t0_ns": str(t0_ns)}
        pq.write_table(pa.table({"x": x}).replace_schema_metadata(said), path)
    return path
