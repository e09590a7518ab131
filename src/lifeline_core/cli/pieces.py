"""Recordings of many channels and files as one array for each stretch of time that all of them have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.cli.lines import clock
from lifeline_core.model import NS
from lifeline_core.store.arrays import Recording, read_array

HUGE = 1e100  # products of samples are summed
DATED_NS = 86_400 * 365 * NS  # before it: a file that knows no date counts from 1970


@dataclass(frozen=True)
class Stretch:
    """All channels without a gap: ``x`` float[n_ch, n] from ``t0_ns`` on."""

    t0_ns: int
    x: NDArray[Any]


@dataclass(frozen=True)
class Recorded:
    """Channels by name and unit, one rate, and the stretches that all of them have, in the order of time.

    ``unsure_s``: how far apart samples that are taken as one are at most."""

    names: list[str]
    units: list[str]
    rate_hz: float
    stretches: list[Stretch]
    unsure_s: float = 0.0

    def longest(self) -> Stretch:
        return max(self.stretches, key=lambda s: s.x.shape[1])

    def seconds(self, stretch: Stretch) -> float:
        return stretch.x.shape[1] / self.rate_hz


def read_files(files: Iterable[Path], columns: Sequence[str], environment: str | None, options: dict[str, Any]
               ) -> tuple[list[Recording], list[Recording]]:
    """The recordings to find modes in, and those of the environment.

    Parameters
    ----------
    columns : names or numbers of what is wanted; empty: everything.
    environment : name of the channel of the weather; None: there is none.
    options : of `read_array`.
    """
    found: list[Recording] = []
    for path in files:
        found += _read(path, [*columns, *([environment] if environment else [])] if columns else [], options)
    weather = [r for r in found if environment is not None and is_called(r, environment)]
    if environment is not None and not weather:
        raise ValueError(f"--environment must be one of {', '.join(dict.fromkeys(r.name for r in found))}, is {environment!r}")
    left = [r for r in found if not any(r is w for w in weather)]
    if columns:
        order = list(dict.fromkeys(r.name for r in left))
        for c in columns:
            if not (c.isdigit() and int(c) < len(order)) and not any(is_called(r, c) for r in left):
                raise ValueError(f"--column must be one of {', '.join(order)}, or a number from 0 to {len(order) - 1}, is {c!r}")
        left = [r for r in left if any(is_called(r, c) or (c.isdigit() and order.index(r.name) == int(c)) for c in columns)]
    if not left:
        raise ValueError("no channel is left to find modes in")
    return left, weather


def _read(path: Path, wanted: list[str], options: dict[str, Any]) -> list[Recording]:
    """A whole file; where some of its columns are no numbers, the wanted ones alone."""
    try:
        return read_array(path, **options)
    except ValueError:
        names = [c for c in wanted if not c.isdigit()]
        if not names:
            raise
        found, fault = [], None
        for name in names:
            try:
                found += read_array(path, column=name, **options)
            except ValueError as error:
                fault = error
        if not found and fault is not None:
            raise fault from None
        return found


def is_called(r: Recording, name: str) -> bool:
    """Whether a recording bears this name, with or without its unit and the file it was in."""
    return name in {f"{n}{u}" for n in (r.name, r.name.split(":")[-1]) for u in ("", f" [{r.unit}]", f" ({r.unit})")}


def in_common(recordings: Sequence[Recording]) -> Recorded:
    """The stretches of time that every channel has without a gap.

    Raises
    ------
    ValueError
        An irregular channel, different rates, two recordings of one channel at the same time, or no time that all have.
    """
    for r in recordings:
        if r.rate_hz is None:
            raise ValueError(f"{r.name} is irregular: modes need a fixed rate (--rate forces one)")
    rate = recordings[0].rate_hz
    assert rate is not None
    for r in recordings:
        if r.rate_hz is None or abs(r.rate_hz - rate) * r.x.size > 0.5 * rate:
            raise ValueError(f"{r.name} has another rate, {r.rate_hz:g} Hz, than {recordings[0].name}, {rate:g} Hz: "
                             "choose with --column")
    names = list(dict.fromkeys(r.name for r in recordings))
    channels = [_joined(name, [r for r in recordings if r.name == name], rate) for name in names]
    stretches, unsure = _overlaps(channels, rate)
    if not stretches:
        raise ValueError(f"there is no time that all of {len(names)} channels recorded: {_spans(names, channels, rate)}")
    units = [next(r.unit for r in recordings if r.name == name) for name in names]
    return Recorded(names, units, rate, stretches, unsure)


def _joined(name: str, pieces: list[Recording], rate: float) -> list[Recording]:
    """Pieces of a channel in the order of time; where one begins as the last ends, they are one."""
    out: list[list[Recording]] = []
    end = 0.0
    for r in sorted(pieces, key=lambda r: r.t0_ns):
        off = (r.t0_ns - end) * rate / NS  # samples
        if out and off < -0.5:
            when = clock(r.t0_ns) if r.t0_ns > DATED_NS else f"{r.t0_ns / NS:g} s (files without a date begin at 0)"
            raise ValueError(f"{name} was recorded twice at {when}")
        if out and off <= 0.5:
            out[-1].append(r)
        else:
            out.append([r])
        end = r.t0_ns + r.x.size * NS / rate
    return [replace(rs[0], x=np.concatenate([r.x for r in rs])) if len(rs) > 1 else rs[0] for rs in out]


def _overlaps(channels: list[list[Recording]], rate: float) -> tuple[list[Stretch], float]:
    """Stretches in which all channels have a piece, and the largest distance of samples taken as one, seconds."""
    at = [0] * len(channels)
    out: list[Stretch] = []
    unsure = 0.0
    while all(i < len(c) for i, c in zip(at, channels, strict=True)):
        here = [c[i] for i, c in zip(at, channels, strict=True)]
        begin = max(r.t0_ns for r in here)
        skip = [round((begin - r.t0_ns) * rate / NS) for r in here]
        n = min(r.x.size - k for r, k in zip(here, skip, strict=True))
        if n > 1:
            out.append(Stretch(begin, np.stack([r.x[k : k + n] for r, k in zip(here, skip, strict=True)])))
            starts = [r.t0_ns / NS + k / rate for r, k in zip(here, skip, strict=True)]
            unsure = max(unsure, max(starts) - min(starts))
        ends = [r.t0_ns + r.x.size * NS / rate for r in here]
        at[int(np.argmin(ends))] += 1
    return out, unsure


def _spans(names: Sequence[str], channels: list[list[Recording]], rate: float) -> str:
    said = []
    for name, pieces in list(zip(names, channels, strict=True))[:4]:
        end = pieces[-1].t0_ns + round(pieces[-1].x.size * NS / rate)
        said.append(f"{name} {clock(pieces[0].t0_ns)} to {clock(end)}")
    return "; ".join(said) + ("; ..." if len(names) > 4 else "")


def between(recorded: Recorded, from_s: float | None, to_s: float | None) -> Recorded:
    """The part from ``from_s`` to ``to_s`` seconds after the first sample."""
    if from_s is None and to_s is None:
        return recorded
    first, rate = recorded.stretches[0].t0_ns, recorded.rate_hz
    out = []
    for s in recorded.stretches:
        begun = (s.t0_ns - first) / NS
        a = max(0, round(((from_s or 0.0) - begun) * rate))
        b = s.x.shape[1] if to_s is None else min(s.x.shape[1], round((to_s - begun) * rate))
        if b - a > 1:
            out.append(Stretch(s.t0_ns + round(a * NS / rate), s.x[:, a:b]))
    if not out:
        last = recorded.stretches[-1]
        raise ValueError(f"nothing was recorded from {from_s or 0:g} to {to_s if to_s is not None else float('inf'):g} s; "
                         f"there are {(last.t0_ns - first) / NS + recorded.seconds(last):g} s")
    return replace(recorded, stretches=out)


def gap_words(recorded: Recorded) -> str:
    """Where the gaps are, for a message: the first three, by seconds from the first sample."""
    said, first = [], recorded.stretches[0].t0_ns
    for a, b in list(zip(recorded.stretches, recorded.stretches[1:], strict=False))[:3]:
        end = a.t0_ns + round(a.x.shape[1] * NS / recorded.rate_hz)
        said.append(f"{(b.t0_ns - end) / NS:.3g} s at {(end - first) / NS:.6g} s")
    return ", ".join(said) + (", ..." if len(recorded.stretches) > 4 else "")


def no_number(x: NDArray[Any], names: Sequence[str], rate_hz: float) -> str:
    """Which channel has samples that are no numbers or too large, how many and where the first is; empty where all are good."""
    bad = ~np.isfinite(x)
    if not bad.any():
        top = np.abs(x).max(axis=1)
        i = int(np.argmax(top))
        return f"{names[i]} reaches {top[i]:.3g}: samples must stay below {HUGE:g}" if float(top[i]) >= HUGE else ""
    i = int(np.argmax(bad.any(axis=1)))
    more = int(bad.any(axis=1).sum()) - 1
    return (f"{names[i]} has {int(bad[i].sum())} of {x.shape[1]} samples that are no numbers, the first at "
            f"{int(np.argmax(bad[i])) / rate_hz:.6g} s" + (f"; and {more} channels more" if more else ""))


def window_mean(weather: Sequence[Recording], begin_ns: int, end_ns: int) -> float:
    """Mean of the environment in a window, NaN where nothing finite was measured in it."""
    total, count = 0.0, 0
    for r in weather:
        if r.t_ns is not None:
            a, b = np.searchsorted(r.t_ns, [begin_ns, end_ns]).tolist()
        else:
            assert r.rate_hz is not None
            a, b = (min(max(-(-(t - r.t0_ns) * r.rate_hz // NS), 0), r.x.size) for t in (begin_ns, end_ns))
        x = r.x[int(a) : int(b)]
        x = x[np.isfinite(x)]
        total, count = total + float(np.sum(x, dtype=np.float64)), count + x.size
    return total / count if count else float("nan")
