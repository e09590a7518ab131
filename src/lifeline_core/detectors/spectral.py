"""Vibration in clock-aligned bins: RMS against limits, dominant peaks, band energy, and the drop of a natural frequency.

A bin (ten minutes of the clock by default) speaks once, when its last sample is there: known from that sample's time, or
because a later sample came, or at the end of the stream. A bin of which too little came says nothing at all::

    08:30      08:40      08:50      09:00
    |....=======|==========|==...===...|      = samples   . lost
      39 %: no   full       55 %: no
      word       raise or   word, an alarm
                 clear      goes on

The RMS is about the bin's mean, because an accelerometer's offset and its share of gravity are no vibration
(``remove_mean = false`` keeps them). "Reaches" is told apart from "exceeds": equal as float32 reaches. The spectrum is
Welch's, over the bin; its segments begin anew at every bin and every gap.

Source of the practice: 10-minute bins of the clock, coverage 0.7, reaching told apart from exceeding: bridge monitoring
programs in service (zjkl19/GuanbingBridgeMonitoring).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import pi, sqrt
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from lifeline_core.detectors.base import Detector, Group, Held, Limit, Params, Severity, Step, relation, rise_faults, where_of
from lifeline_core.dsp.binspectra import BinSpectra, BinSpectrum, PeakSearch, segment_length
from lifeline_core.dsp.segments import LANES
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Break, Channel, Finding, Site, Watch

VERSION = 2
SIGMAS = 4.0  # a drop must be beyond so many standard deviations of what a bin can know

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
        if not found and (rows := sorted((x.above, x.severity) for x in self.limits if x.above is not None)):
            found += rise_faults("limits", rows)
            if self.hysteresis >= rows[0][0]:
                found.append(f"hysteresis: must be less than the mildest limit {rows[0][0]}, is {self.hysteresis}")
        found += rise_faults("frequency_limits", sorted((x.drop, x.severity) for x in self.frequency_limits))
        if (deepest := max((x.drop for x in self.frequency_limits), default=0.0)) >= self.gate:
            found.append(f"gate: must be wider than the deepest of frequency_limits {deepest}, is {self.gate}")
        if self.nperseg is not None and self.nperseg not in LANES:
            found.append(f"nperseg: must be a power of two, is {self.nperseg}")
        if self.f_min is not None and self.f_max is not None and self.f_min >= self.f_max:
            found.append(f"f_max: must be above f_min {self.f_min}, is {self.f_max}")
        found += [f"bands: must be [low, high] with 0 <= low < high, is {list(b)}" for b in self.bands if not 0 <= b[0] < b[1]]
        return found


def segment_of(rate_hz: float, params: SpectralParams) -> int:
    """Samples per segment: bins of the spectrum at most 0.1 Hz wide; where a drop in frequency is watched, a hundredth of the
    reference or, with none given, 0.025 Hz.

    >>> segment_of(100.0, SpectralParams()), segment_of(20.0, SpectralParams())
    (1024, 256)
    """
    if params.nperseg is not None:
        return params.nperseg
    fine = (params.reference_hz / 100.0 if params.reference_hz else 0.025) if params.frequency_limits else 0.1
    return segment_length(rate_hz, params.bin_s, min(0.1, fine))


@dataclass(slots=True)
class _Row:
    """What one channel remembers between bins."""

    reference: float
    learned: list[float] = field(default_factory=list)
    rms: Held = field(default_factory=Held)
    frequency: Held = field(default_factory=Held)

    def save(self) -> list[Any]:
        return [self.reference, list(self.learned), self.rms.save(), self.frequency.save()]

    @classmethod
    def of(cls, state: Sequence[Any]) -> _Row:
        return cls(float(state[0]), [float(f) for f in state[1]], Held.of(state[2]), Held.of(state[3]))


class _Rows:
    """The channels of one group: their bins and spectra, their rows."""

    def __init__(self, group: Group, params: SpectralParams) -> None:
        assert group.rate_hz is not None
        self.channels, n = group.channels, len(group.channels)
        self.spectra = BinSpectra(n, group.rate_hz, round(params.bin_s * NS), segment_of(group.rate_hz, params),
                                  [c.range for c in self.channels])
        self.rows = [_Row(params.reference_hz or 0.0) for _ in range(n)]
        self.told: list[_Saw | None] = [None] * n  # for report(): not state

    def save(self) -> dict[str, Any]:
        return {"spectra": self.spectra.save(), "rows": [row.save() for row in self.rows]}

    def load(self, state: Mapping[str, Any]) -> None:
        if len(state["rows"]) != len(self.rows):
            raise StateError(f"spectral: saved state has {len(state['rows'])} channels, not {len(self.rows)}")
        self.spectra.load(state["spectra"])
        self.rows = [_Row.of(row) for row in state["rows"]]


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
        p = self.params
        self._search = PeakSearch(p.peaks, p.f_min, p.f_max, p.prominence, p.separation)
        self._groups = [_Rows(group, self.params) for group in self.groups]

    def push(self, group: int, block: Block) -> list[Finding]:
        rows = self._groups[group]
        if rows.spectra.within(block):
            return []
        return [f for seen in rows.spectra.push(block) for f in self._close(rows, seen)]

    def takers(self, group: int) -> list[object]:
        return self._groups[group].spectra.takers()

    def gap(self, group: int, brk: Break) -> list[Finding]:
        """The bin goes on with what comes; the segment that was under way is dropped."""
        self._groups[group].spectra.restart()
        return []

    def flush(self) -> list[Finding]:
        return [f for rows in self._groups for seen in rows.spectra.flush() for f in self._close(rows, seen)]

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
                p, segments = rows.spectra.whole(i)
                if segments:
                    saw = rows.told[i]
                    last = {"rms": self._amount(saw), **saw.evidence(self.params)} if saw else {"channel": channel.name}
                    out.append({**last, "peaks_hz": sorted(self._search.find(rows.spectra.f, p, segments))})
        return out

    def _close(self, rows: _Rows, seen: BinSpectrum) -> list[Finding]:
        found: list[Finding] = []
        for i, channel in enumerate(rows.channels):
            if seen.bin.coverage(i) >= self.params.coverage:
                rows.told[i] = saw = _Saw(seen, i, channel, self._search)
                found += self._rms(rows.rows[i], saw) if self._limits else []
                found += self._frequency(rows.rows[i], saw) if self._drops else []
        return found

    def _rms(self, row: _Row, saw: _Saw) -> list[Finding]:
        value, mildest = self._amount(saw), self._limits[0][0]
        reached = max((severity for limit, severity in self._limits if self._reaches(value, limit)), default=0)
        step = row.rms.see(reached, saw.seen.bin.start_ns, back=not self._reaches(value, mildest - self.params.hysteresis))
        return [] if step is None else [self._say_rms(step, saw, value)]

    def _amount(self, saw: _Saw) -> float:
        return saw.seen.number("std" if self.params.remove_mean else "rms", saw.row)

    def _reaches(self, value: float, limit: float) -> bool:
        a, b = np.float32(value), np.float32(limit)
        return bool(a > b if self.params.strict else a >= b)

    def _say_rms(self, step: Step, saw: _Saw, value: float) -> Finding:
        limit = {s: limit for limit, s in self._limits}[step.severity] if step.active else self._limits[0][0]
        return Finding(
            kind="rms", t_ns=saw.seen.bin.closed_ns, onset_ns=step.onset_ns, active=step.active, severity=step.severity,
            score=value / self._limits[0][0], value=value, limit=limit, unit=saw.channel.unit, source=saw.channel.name,
            where=where_of(saw.channel), evidence={"relation": relation(value, limit, step.active), **saw.evidence(self.params)},
            quality=saw.coverage, historical=saw.seen.historical,
        )  # fmt: skip

    def _frequency(self, row: _Row, saw: _Saw) -> list[Finding]:
        peaks = saw.peaks()
        if not row.reference:
            row.learned += peaks[:1]
            if len(row.learned) >= self.params.learn_bins:
                row.reference, row.learned = float(np.median(row.learned)), []
            return []
        # the most prominent: the nearest one may be noise on the flank of a mode that has moved
        at = next((f for f in peaks if abs(f / row.reference - 1.0) <= self.params.gate), None)
        if at is None:
            return []
        drop = 1.0 - at / row.reference
        seconds = saw.coverage * saw.seen.bin.bin_ns / NS
        floor = SIGMAS * sqrt(self.params.damping / (2.0 * pi * seconds * at))
        reached = max((severity for limit, severity in self._drops if drop >= max(limit, floor)), default=0)
        step = row.frequency.see(reached, saw.seen.bin.start_ns, need=self.params.frequency_bins)
        return [] if step is None else [self._say_frequency(step, row, saw, at, floor)]

    def _say_frequency(self, step: Step, row: _Row, saw: _Saw, at: float, floor: float) -> Finding:
        drop = {s: drop for drop, s in self._drops}[step.severity] if step.active else self._drops[0][0]
        limit = row.reference * (1.0 - drop)
        evidence = {"reference_hz": row.reference, "drop": 1.0 - at / row.reference, "least_drop": floor,
                    "bins": row.frequency.runs[0], "relation": relation(at, limit, step.active), **saw.evidence(self.params)}
        return Finding(
            kind="frequency", t_ns=saw.seen.bin.closed_ns, onset_ns=step.onset_ns, active=step.active, severity=step.severity,
            score=max(0.0, (1.0 - at / row.reference) / self._drops[0][0]), value=at, limit=limit, unit="Hz",
            source=saw.channel.name, where=where_of(saw.channel), evidence=evidence, quality=saw.coverage,
            historical=saw.seen.historical,
        )  # fmt: skip


@dataclass(slots=True)
class _Saw:
    """One channel in one closed bin; its peaks are looked for when somebody asks."""

    seen: BinSpectrum
    row: int
    channel: Channel
    search: PeakSearch
    found: list[float] | None = None

    @property
    def coverage(self) -> float:
        return self.seen.bin.coverage(self.row)

    def peaks(self) -> list[float]:
        if self.found is None:
            self.found = self.search.find(self.seen.f, self.seen.p[self.row], int(self.seen.segments[self.row]))
        return self.found

    def evidence(self, params: SpectralParams) -> dict[str, Any]:
        seen, segments = self.seen, int(self.seen.segments[self.row])
        told: dict[str, Any] = {
            "channel": self.channel.name, "bin_start_ns": seen.bin.start_ns, "bin_s": params.bin_s, "coverage": self.coverage,
            "mean": seen.number("mean", self.row), "peak": seen.peak(self.row), "peaks_hz": self.peaks(),
            "resolution_hz": float(seen.f[1]), "segments": segments,
        }  # fmt: skip
        if params.bands and segments:
            told["band_rms"] = [seen.band_rms(self.row, a, b) for a, b in params.bands]
        if clipped := int(seen.bin.rows["clipped"][self.row]):
            told["clipped"] = clipped
        return told
