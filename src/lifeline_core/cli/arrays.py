"""Captures and arrays as one timeline: frames and pieces of samples in the order in which they would have come."""

from __future__ import annotations

import heapq
import mmap
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray

from lifeline_core import wire
from lifeline_core.model import NS, Channel, City
from lifeline_core.store.arrays import Recording, read_array

PIECE_S = 1.0  # samples of arrays are played in pieces of this length


@dataclass(frozen=True)
class Source:
    """Which files, and what their arrays mean."""

    files: Sequence[Path]
    channels: Sequence[str] = ()
    columns: Sequence[str] = ()
    rate_hz: float | None = None
    factor: float = 1.0
    t0: str | None = None
    key: str | None = None
    day_first: bool = False


class Event(NamedTuple):
    """A frame of a capture, or a piece of samples for a channel; ``t_ns`` is when its last sample had been taken."""

    t_ns: int
    order: int
    frame: bytes | None
    channel: Channel | None = None
    t0_ns: int | NDArray[np.int64] = 0
    x: NDArray[Any] | None = None


Files = Annotated[
    list[Path], typer.Argument(help="Captures (.llf), or arrays: CSV, NPZ, NPY, WAV, Parquet, MAT, CSMIP .V2, also in a zip.")
]
Channels = Annotated[
    list[str] | None,
    typer.Option(
        "--channel", "-c", help="Channel of the configuration for each recording in turn; by default the recording's own name."
    ),
]
Columns = Annotated[
    list[str] | None, typer.Option("--column", help="Column or row of the arrays (repeatable); by default all of them.")
]
Rate = Annotated[float | None, typer.Option("--rate", help="Samples per second, where the file does not say it.")]
Factor = Annotated[float, typer.Option("--factor", help="Multiplies the samples: 9.80665 makes m/s2 of g.")]
Start = Annotated[
    str | None, typer.Option("--t0", help="Time of the first sample (ISO 8601 UTC, or nanoseconds), over what the file says.")
]
Key = Annotated[str | None, typer.Option("--key", help="Array of an NPZ or MAT, or member of a zip.")]
DayFirst = Annotated[bool, typer.Option("--day-first", help="Dates in the file are written day before month.")]


def timeline(city: City, source: Source) -> Iterator[Event]:
    """Every frame and piece of all files, by time. ValueError names a recording that has no channel."""
    streams: list[Iterator[Event]] = []
    arrays: list[Recording] = []
    for path in source.files:
        if path.suffix == ".llf":
            streams.append(_frames(path, len(streams)))
        else:
            arrays += _recordings(path, source)
    for recording, channel in zip(arrays, _channels(city, arrays, source.channels), strict=True):
        streams.append(_pieces(recording, channel, len(streams)))
    return heapq.merge(*streams, key=lambda e: e[:2])


def _recordings(path: Path, source: Source) -> list[Recording]:
    options: dict[str, Any] = {"rate_hz": source.rate_hz, "unit_factor": source.factor, "key": source.key}
    if source.t0 is not None:
        options["t0"] = int(source.t0) if source.t0.lstrip("-").isdigit() else source.t0
    if source.day_first:
        options["day_first"] = True
    if not source.columns:
        return read_array(path, **options)
    return [r for c in source.columns for r in read_array(path, column=int(c) if c.isdigit() else c, **options)]


def _channels(city: City, arrays: Sequence[Recording], names: Sequence[str]) -> list[Channel]:
    """A recording's channel: the one asked for its name in order of appearance, or the one that bears its name."""
    order = list(dict.fromkeys(r.name for r in arrays))
    if names and len(names) != len(order):
        raise ValueError(f"--channel: {len(order)} recordings ({', '.join(order)}) need as many channels, not {len(names)}")
    wanted = dict(zip(order, names, strict=True)) if names else {n: n.lower().replace("_", "-") for n in order}
    for name, channel in wanted.items():
        if channel not in city.channels:
            raise ValueError(
                f"{name}: no channel {channel!r} in the configuration; there are {', '.join(list(city.channels)[:12])}"
            )
    return [city.channels[wanted[r.name]] for r in arrays]


def _frames(path: Path, order: int) -> Iterator[Event]:
    """Frames of a capture in their own order; a frame that comes late keeps its place behind those before it."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise ValueError(f"{path}: an empty capture")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            latest = -(1 << 62)
            for offset, length in wire.read_capture(memoryview(data)):
                frame = bytes(data[offset : offset + length])
                latest = max(latest, _end_ns(frame))
                yield Event(latest, order, frame)


def _end_ns(frame: bytes) -> int:
    t0_ns, num, den, n = struct.unpack_from("<qIII", frame, 40)
    return int(t0_ns + (n * den * NS // num if num else 0))


def _pieces(r: Recording, channel: Channel, order: int) -> Iterator[Event]:
    if (channel.rate_hz is None) != (r.rate_hz is None):
        kind = {True: "irregular", False: "regular"}
        raise ValueError(f"{r.name} is {kind[r.rate_hz is None]}, channel {channel.name} is {kind[channel.rate_hz is None]}")
    if r.t_ns is not None:
        for k in range(r.x.size):
            yield Event(int(r.t_ns[k]), order, None, channel, r.t_ns[k : k + 1], r.x[k : k + 1])
        return
    assert r.rate_hz is not None and channel.rate_hz is not None
    if abs(r.rate_hz / channel.rate_hz - 1) > 1e-3:
        raise ValueError(f"{r.name} has {r.rate_hz:g} samples per second, channel {channel.name} {channel.rate_hz:g}")
    rate, n = exact_rate(channel), max(1, round(channel.rate_hz * PIECE_S))
    for k in range(0, r.x.size, n):
        t0_ns = r.t0_ns + k * rate.denominator * NS // rate.numerator
        x = r.x[k : k + n]
        yield Event(t0_ns + x.size * rate.denominator * NS // rate.numerator, order, None, channel, t0_ns, x)


def exact_rate(channel: Channel) -> Fraction:
    """The channel's rate as a device would write it."""
    return Fraction(channel.rate_hz or 1.0).limit_denominator(100_000)
