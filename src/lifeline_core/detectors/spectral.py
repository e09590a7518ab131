"""Vibration in clock-aligned bins: RMS against limits, dominant peaks, band energy, and the drop of a natural frequency.

A bin (ten minutes of the clock by default) speaks once, when its last sample is there: known from that sample's time, or
because a later sample came, or at the end of the stream. A bin of which too little came says nothing at all::

    08:30      08:40      08:50      09:00
    |....=======|==========|==...===...|      = samples   . lost
      39 %: no   full       55 %: no
      word       raise or   word, an alarm
                 clear      goes on

The RMS is about the bin's mean, because an accelerometer's offset and its share of gravity are no vibration
(``remove_mean = false`` keeps them). "Reaches" is told apart from "exceeds": equal as float32 reaches.

The spectrum is Welch's, over the bin. Its segments begin anew at every bin and every gap.

Source of the practice: 10-minute bins of the clock, coverage 0.7, reaching told apart from exceeding: bridge monitoring
programs in service (zjkl19/GuanbingBridgeMonitoring).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import pi, sqrt
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from lifeline_core.detectors.base import Detector, Group, Limit, Params, Severity
from lifeline_core.dsp.peaks import dominant_peaks
from lifeline_core.dsp.running import Running
from lifeline_core.dsp.segments import LANES
from lifeline_core.dsp.stats import NS, Bin, Bins
from lifeline_core.errors import StateError
from lifeline_core.model import Block, Break, Channel, Finding, Site, Watch

VERSION = 1
SIGMAS = 4.0  # a drop must be beyond so many standard deviations of what a bin can know
FEWEST_SEGMENTS = 4  # a spectrum averaged over fewer is not searched for peaks

Hertz = Annotated[float, Meta(gt=0.0, le=1e6)]


class Drop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of a table of frequency drops: a severity and the relative drop that reaches it."""

    severity: Severity
    drop: Annotated[float, Meta(gt=0.0, lt=1.0, description="relative drop, 0.1 is ten percent")]


class SpectralParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of a ``spectral`` watch."""

    limits: Annotated[tuple[Limit, ...], Meta(description="limits of the RMS, in the channel's unit; `above` only")] = ()
    strict: Annotated[bool, Meta(description="the RMS must exceed a limit; otherwise reaching it is enough")] = False
    hysteresis: Annotated[float, Meta(ge=0.0, description="over below the mildest limit less this, in the channel's unit")] = 0.0
    bin_s: Annotated[float, Meta(ge=0.1, le=86400.0, description="length of a bin; bins begin at its multiples, UTC")] = 600.0
    coverage: Annotated[float, Meta(gt=0.0, le=1.0, description="a bin with a smaller part of its samples says nothing")] = 0.7
    remove_mean: Annotated[bool, Meta(description="RMS about the bin's mean: a sensor's offset is no vibration")] = True
    nperseg: Annotated[
        Annotated[int, Meta(ge=16, le=65536)] | None,
        Meta(description="samples per spectrum segment, a power of two; default by rate and bin"),
    ] = None
    peaks: Annotated[int, Meta(ge=1, le=64, description="dominant peaks to tell")] = 4
    prominence: Annotated[float, Meta(ge=1.0, description="least ratio of a peak to the local median")] = 3.0
    separation: Annotated[float, Meta(ge=0.0, lt=1.0, description="least distance of two peaks over their frequency")] = 0.02
    f_min: Annotated[Hertz | None, Meta(description="lowest frequency of a peak, Hz; default three bins of the spectrum")] = None
    f_max: Annotated[Hertz | None, Meta(description="highest frequency of a peak, Hz; default 0.45 of the rate")] = None
    bands: Annotated[tuple[tuple[float, float], ...], Meta(description="[low, high] in Hz: RMS within, told as evidence")] = ()
    frequency_limits: Annotated[tuple[Drop, ...], Meta(description="drops of the dominant frequency below its reference")] = ()
    reference_hz: Annotated[Hertz | None, Meta(description="what drops are against; default the median of the first bins")] = None
    learn_bins: Annotated[int, Meta(ge=1, le=1000, description="bins the reference is learned from")] = 6
    frequency_bins: Annotated[int, Meta(ge=1, le=100, description="bins in a row a drop, or its end, must hold")] = 3
    gate: Annotated[float, Meta(gt=0.0, lt=1.0, description="a peak further from the reference is another mode")] = 0.25
    damping: Annotated[float, Meta(gt=0.0, lt=1.0, description="damping ratio, for what one bin can know of a frequency")] = 0.01

    def faults(self) -> list[str]:
        found = [f"limits: an RMS limit is `above`, not `below`, is {x.below}" for x in self.limits if x.above is None]
        found += [f"limits: a limit must be above 0, is {x.above}" for x in self.limits if x.above is not None and x.above <= 0]
        if not found:
            rows = sorted((x.above, x.severity) for x in self.limits if x.above is not None)
            found += _order("limits", rows)
            if rows and self.hysteresis >= rows[0][0]:
                found.append(f"hysteresis: must be less than the mildest limit {rows[0][0]}, is {self.hysteresis}")
        found += _order("frequency_limits", sorted((x.drop, x.severity) for x in self.frequency_limits))
        deepest = max((x.drop for x in self.frequency_limits), default=0.0)
        if deepest >= self.gate:
            found.append(f"gate: must be wider than the deepest of frequency_limits {deepest}, is {self.gate}")
        if self.nperseg is not None and self.nperseg not in LANES:
            found.append(f"nperseg: must be a power of two, is {self.nperseg}")
        if self.f_min is not None and self.f_max is not None and self.f_min >= self.f_max:
            found.append(f"f_max: must be above f_min {self.f_min}, is {self.f_max}")
        found += [f"bands: must be [low, high] with 0 <= low < high, is {list(b)}" for b in self.bands if not 0 <= b[0] < b[1]]
        return found


def _order(key: str, rows: Sequence[tuple[float, int]]) -> list[str]:
    return [f"{key}: severity must rise with the limit, is {a[1]} at {a[0]} and {b[1]} at {b[0]}"
            for a, b in pairwise(rows) if a[0] == b[0] or a[1] >= b[1]]


def segment_length(rate_hz: float, params: SpectralParams) -> int:
    """Samples per segment: fine enough for the peaks that are asked for, at least four segments' length to a bin.

    Bins of the spectrum are at most 0.1 Hz wide; where a drop in frequency is watched, a hundredth of the reference or,
    with none given, 0.025 Hz.

    >>> segment_length(100.0, SpectralParams()), segment_length(20.0, SpectralParams())
    (1024, 256)
    """
    if params.nperseg is not None:
        return params.nperseg
    width = 0.1
    if params.frequency_limits:
        width = min(0.1, params.reference_hz / 100.0 if params.reference_hz else 0.025)
    n = 16
    while n < 65536 and rate_hz / n > width:
        n *= 2
    while n > 16 and n * 4 > rate_hz * params.bin_s:
        n //= 2
    return n


@dataclass(slots=True)
class _Row:
    """What one channel remembers between bins."""

    severity: int = 0  # of the RMS alarm that is on
    onset_ns: int = 0
    learned: list[float] = field(default_factory=list)
    reference: float = 0.0
    held: list[int] = field(default_factory=list)  # per frequency limit: bins in a row that reached it
    held_ns: int = 0  # start of the first of them
    back: int = 0  # bins in a row below every frequency limit
    f_severity: int = 0
    f_onset_ns: int = 0


class _Rows:
    """The channels of one group: their bins, their spectrum, their rows."""

    def __init__(self, group: Group, params: SpectralParams) -> None:
        assert group.rate_hz is not None
        self.channels, self.rate_hz = group.channels, group.rate_hz
        n = len(self.channels)
        self.bins = Bins(n, round(params.bin_s * NS), [c.range for c in self.channels])
        self.running = Running(n, self.rate_hz, nperseg=segment_length(self.rate_hz, params), skip_nan=True)
        self.rows = [_Row(reference=params.reference_hz or 0.0, held=[0] * len(params.frequency_limits)) for _ in range(n)]
        self.historical = False
        self.told: list[_Saw | None] = [None] * n  # for report(): not state
        self.sum_p: Any = 0.0
        self.sum_segments: Any = 0

    def save(self) -> dict[str, Any]:
        return {"bins": self.bins.save(), "running": self.running.save(), "historical": self.historical,
                "rows": [[getattr(r, k) for k in _Row.__slots__] for r in self.rows]}

    def load(self, state: Mapping[str, Any]) -> None:
        if len(state["rows"]) != len(self.rows):
            raise StateError(f"spectral: saved state has {len(state['rows'])} channels, not {len(self.rows)}")
        self.bins.load(bytes(state["bins"]))
        self.running.load(bytes(state["running"]))
        self.historical = bool(state["historical"])
        for row, saved in zip(self.rows, state["rows"], strict=True):
            for key, value in zip(_Row.__slots__, saved, strict=True):
                setattr(row, key, list(value) if isinstance(value, list | tuple) else value)


class Spectral(Detector):
    """Kinds ``rms`` and ``frequency``, source = the channel's name; every channel by itself.

    ``rms``: ``value`` is the bin's RMS, ``onset_ns`` the bin's start, ``t_ns`` the end of its last sample (or the later
    sample that closed it), ``score`` the value over the mildest limit, ``limit`` the highest one reached. It ends with the
    first valid bin below the mildest limit less the hysteresis.

    ``frequency``: the most prominent peak within the gate about the reference; a bin without one is passed over. A
    drop counts from a limit on and beyond ``4 sqrt(damping / (2 pi T f))`` of what T seconds can know of a frequency,
    and must hold ``frequency_bins`` bins, as must its end. Without ``reference_hz`` the reference is the median of the
    most prominent peak of the first ``learn_bins`` bins: put ``f_min`` and ``f_max`` around the mode that is meant.
    Temperature is not taken out: a frost or a hot day moves a frequency by percents.

    Source of the floor: S.-K. Au, Mech. Syst. Signal Process. 48 (2014) 15-33, leading order, long data.
    """

    PARAMS = SpectralParams
    KINDS = ("rms", "frequency")

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        super().__init__(watch, groups, site)
        self.params: SpectralParams = watch.params if watch.params is not None else SpectralParams()
        if found := self.params.faults():
            raise ValueError("; ".join(found))
        self._limits = sorted((x.above, x.severity) for x in self.params.limits if x.above is not None)
        self._drops = sorted((x.drop, x.severity) for x in self.params.frequency_limits)
        self._groups = [_Rows(group, self.params) for group in self.groups]

    def push(self, group: int, block: Block) -> list[Finding]:
        rows, found = self._groups[group], []
        x = np.ascontiguousarray(block.x, dtype=np.float32)
        for begin, end, closed in rows.bins.walk(x, block.anchor_ns, block.index, block.rate_num, block.rate_den):
            if end > begin:
                rows.running.push(x[:, begin:end])
                rows.historical |= block.historical
            if closed is not None:
                found += self._close(rows, closed)
        return found

    def gap(self, group: int, brk: Break) -> list[Finding]:
        """The bin goes on with what comes; the segment that was under way is dropped."""
        self._groups[group].running.restart()
        return []

    def flush(self) -> list[Finding]:
        return [f for rows in self._groups if (b := rows.bins.flush()) is not None for f in self._close(rows, b)]

    def save(self) -> dict[str, Any]:
        return {"version": VERSION, "groups": [rows.save() for rows in self._groups]}

    def load(self, state: Mapping[str, Any]) -> None:
        if state.get("version") != VERSION or len(state.get("groups", ())) != len(self._groups):
            raise StateError(f"spectral: saved state is of another version or has not {len(self._groups)} groups")
        for rows, saved in zip(self._groups, state["groups"], strict=True):
            rows.load(saved)

    def report(self) -> list[dict[str, Any]]:
        """The last bin of each channel, and the peaks of everything heard since the start."""
        out = []
        for rows in self._groups:
            for i, channel in enumerate(rows.channels):
                if np.ndim(rows.sum_p) and rows.sum_segments[i]:
                    whole = _peaks(self.params, rows.running.f, rows.sum_p[i] / rows.sum_segments[i], int(rows.sum_segments[i]))
                    saw = rows.told[i]
                    last = {"rms": self._amount(saw), **saw.evidence(self.params)} if saw else {"channel": channel.name}
                    out.append({**last, "peaks_hz": sorted(whole)})
        return out

    # ---- one bin ----

    def _close(self, rows: _Rows, b: Bin) -> list[Finding]:
        found: list[Finding] = []
        f, (p, segments) = rows.running.f, rows.running.read()
        rows.sum_p = rows.sum_p + np.where(segments[:, None] > 0, p, np.float32(0)) * segments[:, None].astype(np.float32)
        rows.sum_segments = rows.sum_segments + segments
        for i, channel in enumerate(rows.channels):
            if b.coverage(i) < self.params.coverage:
                continue
            saw = _Saw(b, i, channel, f, p[i], int(segments[i]), rows.historical)
            rows.told[i] = saw
            found += self._rms(rows.rows[i], saw)
            if self._drops:
                found += self._frequency(rows.rows[i], saw)
        rows.running.reset()
        rows.historical = False
        return found

    def _rms(self, row: _Row, saw: _Saw) -> list[Finding]:
        if not self._limits:
            return []
        value = self._amount(saw)
        reached = [(limit, severity) for limit, severity in self._limits if self._reaches(value, limit)]
        if reached and reached[-1][1] > row.severity:
            if not row.severity:
                row.onset_ns = saw.bin.start_ns
            limit, row.severity = reached[-1]
            return [self._say_rms(row, saw, True, value, limit)]
        mildest = self._limits[0][0]
        if row.severity and not self._reaches(value, mildest - self.params.hysteresis):
            said = self._say_rms(row, saw, False, value, mildest)
            row.severity = 0
            return [said]
        return []

    def _amount(self, saw: _Saw) -> float:
        return saw.number("std" if self.params.remove_mean else "rms")

    def _reaches(self, value: float, limit: float) -> bool:
        a, b = np.float32(value), np.float32(limit)
        return bool(a > b if self.params.strict else a >= b)

    def _say_rms(self, row: _Row, saw: _Saw, active: bool, value: float, limit: float) -> Finding:
        relation = "below" if not active else "reaches" if np.float32(value) == np.float32(limit) else "exceeds"
        evidence = {"relation": relation, **saw.evidence(self.params)}
        return Finding(
            kind="rms", t_ns=saw.bin.closed_ns, onset_ns=row.onset_ns, active=active, severity=row.severity,
            score=value / self._limits[0][0], value=value, limit=limit, unit=saw.channel.unit, source=saw.channel.name,
            where=saw.where(), evidence=evidence, quality=saw.coverage, historical=saw.historical,
        )

    def _frequency(self, row: _Row, saw: _Saw) -> list[Finding]:
        peaks = saw.peaks(self.params)
        if not row.reference:
            row.learned += peaks[:1]
            if len(row.learned) >= self.params.learn_bins:
                row.reference = float(np.median(row.learned))
                row.learned = []
            return []
        near = [f for f in peaks if abs(f / row.reference - 1.0) <= self.params.gate]
        if not near:
            return []
        at = near[0]  # the most prominent: the nearest one may be noise on the flank of a mode that has moved
        drop = 1.0 - at / row.reference
        seconds = saw.coverage * saw.bin.bin_ns / NS
        floor = SIGMAS * sqrt(self.params.damping / (2.0 * pi * seconds * at))
        held = [n + 1 if drop >= max(limit, floor) else 0 for n, (limit, _) in zip(row.held, self._drops, strict=True)]
        if held[0] == 1:
            row.held_ns = saw.bin.start_ns
        row.held, row.back = held, 0 if held[0] else row.back + 1
        holding = [(limit, s) for n, (limit, s) in zip(held, self._drops, strict=True) if n >= self.params.frequency_bins]
        if holding and holding[-1][1] > row.f_severity:
            if not row.f_severity:
                row.f_onset_ns = row.held_ns
            limit, row.f_severity = holding[-1]
            return [self._say_frequency(row, saw, True, at, limit, floor, peaks)]
        if row.f_severity and row.back >= self.params.frequency_bins:
            said = self._say_frequency(row, saw, False, at, self._drops[0][0], floor, peaks)
            row.f_severity = 0
            return [said]
        return []

    def _say_frequency(self, row: _Row, saw: _Saw, active: bool, at: float, drop: float, floor: float,
                       peaks: list[float]) -> Finding:
        evidence = {"reference_hz": row.reference, "drop": 1.0 - at / row.reference, "least_drop": floor, "bins": row.held[0],
                    **saw.evidence(self.params)}
        return Finding(
            kind="frequency", t_ns=saw.bin.closed_ns, onset_ns=row.f_onset_ns, active=active, severity=row.f_severity,
            score=max(0.0, (1.0 - at / row.reference) / self._drops[0][0]), value=at, limit=row.reference * (1.0 - drop),
            unit="Hz", source=saw.channel.name, where=saw.where(), evidence=evidence, quality=saw.coverage,
            historical=saw.historical,
        )


def _peaks(params: SpectralParams, f: Any, p: Any, segments: int) -> list[float]:
    """Dominant peaks of an averaged spectrum, the most prominent first."""
    if segments < FEWEST_SEGMENTS:
        return []
    lowest = params.f_min if params.f_min is not None else 3.0 * float(f[1])
    highest = params.f_max if params.f_max is not None else 0.9 * float(f[-1])
    return dominant_peaks(f, p, params.peaks, f_min=lowest, f_max=highest, prominence=params.prominence,
                          separation=params.separation)


@dataclass(slots=True)
class _Saw:
    """One channel in one closed bin."""

    bin: Bin
    row: int
    channel: Channel
    f: Any
    p: Any
    segments: int
    historical: bool
    _peaks: list[float] | None = None

    @property
    def coverage(self) -> float:
        return self.bin.coverage(self.row)

    def number(self, name: str) -> float:
        return float(self.bin.rows[name][self.row])

    def where(self) -> dict[str, Any]:
        return {} if self.channel.position_m is None else {"position_m": self.channel.position_m}

    def peaks(self, params: SpectralParams) -> list[float]:
        if self._peaks is None:
            self._peaks = _peaks(params, self.f, self.p, self.segments)
        return self._peaks

    def evidence(self, params: SpectralParams) -> dict[str, Any]:
        mean = self.number("mean")
        told: dict[str, Any] = {
            "channel": self.channel.name, "bin_start_ns": self.bin.start_ns, "bin_s": params.bin_s, "coverage": self.coverage,
            "mean": mean, "peak": max(self.number("max") - mean, mean - self.number("min")),
            "peaks_hz": self.peaks(params), "resolution_hz": float(self.f[1]), "segments": self.segments,
        }
        if params.bands and self.segments:
            step = float(self.f[1])
            told["band_rms"] = [sqrt(float(np.sum(self.p[(self.f >= a) & (self.f < b)], dtype=np.float64)) * step)
                                for a, b in params.bands]
        if self.bin.rows["clipped"][self.row]:
            told["clipped"] = int(self.bin.rows["clipped"][self.row])
        return told
