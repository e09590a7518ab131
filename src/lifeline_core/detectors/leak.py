"""A leak on the pipe between two loggers: one noise heard at both, at one place, window after window.

::

    samples   |-- window 1 --|-- window 2 --|-- window 3 --|      average_s of whole segments each
    verdict              x=73.4         x=73.6         none       accepted, inside the bracket, where
    findings                        raise (confirm=2)             ... ends after `quiet` windows without

A window speaks at the last sample of its last segment. Windows are counted in samples since the first one (or the last
seam that was more than a gap), so they do not depend on how the stream was cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import hypot, isfinite, sqrt
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from lifeline_core.detectors.base import Detector, Group, Params, Severity
from lifeline_core.errors import StateError
from lifeline_core.model import FLAG_QUESTIONABLE, Block, Break, Finding, Site, Watch
from lifeline_core.pipes.correlation import MAINS_HZ, Correlation, Demands, analyse
from lifeline_core.pipes.position import Position, Section, leak_position, travel_time
from lifeline_core.pipes.spectra import CrossAverage, segment_length
from lifeline_core.pipes.track import Track

UNDECIDED = ("too-short", "clipped", "clock-unsure")  # such a window says neither leak nor quiet
LARGEST_PSR = 1000.0  # a correlogram without a second peak: infinity is no number for a message
SEARCH = 1.1  # the search goes this far beyond the travel time, to see what comes from outside

Metres = Annotated[float, Meta(gt=0.0, le=1e5)]
Speed = Annotated[float, Meta(gt=0.0, le=6000.0)]


class SectionRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stretch of pipe of one wave speed."""

    length_m: Metres
    speed_mps: Speed


class LeakParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of a ``leak`` watch: the pipe must be given, as ``sections`` or as ``length_m`` with ``speed_mps``."""

    sections: Annotated[tuple[SectionRow, ...], Meta(description="the pipe from the first channel to the second")] = ()
    length_m: Annotated[Metres | None, Meta(description="one section: length of pipe between the loggers")] = None
    speed_mps: Annotated[Speed | None, Meta(description="one section: wave speed in the pipe")] = None
    speed_rel_sd: Annotated[
        float, Meta(ge=0.0, le=0.5, description="how well the speeds are known, relative standard deviation")
    ] = 0.02
    average_s: Annotated[float, Meta(ge=1.0, le=86_400.0, description="length of a window in seconds of samples")] = 30.0
    nperseg: Annotated[
        Annotated[int, Meta(ge=16, le=1_048_576)] | None,
        Meta(description="samples of a segment, even; absent: by rate and travel time"),
    ] = None
    weighting: Annotated[
        Literal["ht", "phat", "scot", "roth", "cc"], Meta(description="of the correlation that decides")
    ] = "ht"
    band: Annotated[tuple[float, float] | None, Meta(description="Hz; absent: found by coherence")] = None
    mains_hz: Annotated[tuple[float, ...], Meta(description="never used, nor any harmonic")] = MAINS_HZ
    inverted: Annotated[bool, Meta(description="one of the two sensors is wired the other way round")] = False
    psr: Annotated[float, Meta(ge=1.0, description="the peak over the next peak, at least")] = 1.25
    coherence: Annotated[float, Meta(ge=0.0, le=1.0, description="mean coherence in the band, at least")] = 0.0
    log10_chance: Annotated[
        float, Meta(le=-1.0, description="chance of unrelated channels doing as well, at most (log10)")
    ] = -9.0
    confirm: Annotated[int, Meta(ge=1, le=1000, description="windows in a row that agree, before the alarm")] = 2
    quiet: Annotated[int, Meta(ge=1, le=1000, description="windows in a row without it, before the alarm ends")] = 3
    agree_m: Annotated[
        float, Meta(gt=0.0, description="positions agree within this, or within two standard deviations of their noise")
    ] = 2.0
    end_sd: Annotated[
        float, Meta(ge=0.0, description="a source is outside when its delay is within this many sd of the travel time")
    ] = 2.0
    clock_sd_us: Annotated[
        float, Meta(ge=0.0, description="sd of a logger's clock where its frames do not say, microseconds")
    ] = 0.0
    max_clock_sd_us: Annotated[
        float, Meta(gt=0.0, description="worse clocks cannot be compared: nothing is decided")
    ] = 1000.0
    severity: Annotated[Severity, Meta(description="of a confirmed leak")] = 2
    asset: Annotated[str, Meta(description="what the position counts along; absent: the watch's name")] = ""

    def faults(self) -> list[str]:
        found = []
        single = [k for k in ("length_m", "speed_mps") if getattr(self, k) is not None]
        if bool(self.sections) == bool(single):
            found.append("sections: either sections or length_m with speed_mps must be given, "
                         f"are {len(self.sections)} sections and {single or 'neither'}")
        elif len(single) == 1:
            found.append(f"{single[0]}: length_m and speed_mps must be given together, is alone")
        if self.nperseg is not None and self.nperseg % 2:
            found.append(f"nperseg: must be even, is {self.nperseg}")
        if self.band is not None and not 0.0 <= self.band[0] < self.band[1]:
            found.append(f"band: must rise from 0 or more, is {list(self.band)}")
        if any(not hz > 0 for hz in self.mains_hz):
            found.append(f"mains_hz: must be above 0, is {list(self.mains_hz)}")
        return found

    def pipe(self) -> list[Section]:
        """The sections, however they were given."""
        if self.sections:
            return [Section(row.length_m, row.speed_mps) for row in self.sections]
        assert self.length_m is not None and self.speed_mps is not None
        return [Section(self.length_m, self.speed_mps)]


@dataclass(slots=True)
class Heard:
    """What the window being filled has heard besides its spectra. Sums go segment by segment, never block by block."""

    begun_ns: int | None = None
    samples: int = 0
    skew_s: float = 0.0  # sum over segments of how much later b was truly taken than a
    clock_us: int = 0
    questionable: bool = False
    historical: bool = False
    ends_a: int = 0  # samples at the ends of the sensor's range
    ends_b: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One window's answer. ``reasons`` empty: a leak at ``place``."""

    c: Correlation
    shift: int  # the delay as it stands in the samples
    delay_s: float  # as it was in time
    skew_s: float
    clock_sd_s: float
    clock: str
    place: Position
    reasons: tuple[str, ...]
    begun_ns: int
    t_ns: int
    historical: bool

    @property
    def noise_sd_m(self) -> float:
        return max(self.place.budget["delay"], 1e-3)  # nothing on a pipe is placed better than a millimetre


class Leak(Detector):
    """Watches two aligned channels; kind ``leak``, source ``a+b`` (the channels' names).

    ``value`` is the peak-to-next-peak ratio (PSR) of the deciding window, at most 1000, without a unit; ``limit`` the
    one demanded, ``score`` their ratio. ``where``: ``position_m`` from the first channel along the pipe (the mean of
    the agreeing windows, weighted by their noise), ``sd_m`` (noise, clocks and speeds) and ``asset``. Another finding
    comes when the place has moved by more than the sd last told or its sd has halved, and one that ends it.

    A source beyond either logger, or so near that the travel time is not known well enough to tell (``end_sd``), is no
    leak; nor is a delay of nearly 0, where a noise common to both loggers shows, so a leak in the exact middle is
    missed. A gap loses the segment begun, keeps the rest of its window and does not break a row of windows; any other
    seam starts the window anew. The end of the stream decides nothing.
    """

    PARAMS = LeakParams
    KINDS = ("leak",)
    COUPLED = True
    CHANNELS = (2, 2)
    VERSION = 1

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        super().__init__(watch, groups, site)
        self._p: LeakParams = watch.params if watch.params is not None else LeakParams()
        if found := self._p.faults():
            raise ValueError("; ".join(found))
        self._pipe = self._p.pipe()
        self._travel_s = travel_time(self._pipe)
        self._demands = Demands(psr=self._p.psr, log10_chance=self._p.log10_chance, coherence=self._p.coherence)
        # channels that cannot be aligned arrive in groups of their own: then there is no pair and nothing to say
        self._pair = next((i for i, g in enumerate(self.groups) if len(g.channels) == 2), None)
        self._average: CrossAverage | None = None
        self._heard = Heard()
        self._track: Track | None = None
        self._shift = 0
        if self._pair is not None and (rate := self.groups[self._pair].rate_hz) is not None:
            self._start(rate)

    def _start(self, fs: float) -> None:
        """An empty window; its lengths follow from the rate and the pipe."""
        n = round(self._p.average_s * fs)
        nperseg = self._p.nperseg or segment_length(n, fs, self._limit_s(fs))
        if 4.0 * self._limit_s(fs) * fs > nperseg:
            raise ValueError(f"nperseg: must be at least 4 times the travel time, {4.0 * self._limit_s(fs) * fs:.0f} "
                             f"samples, is {nperseg}")
        hop = nperseg // 2
        if (n - nperseg - nperseg // 4) // hop + 1 < self._demands.segments:  # a quarter: the largest shift there can be
            raise ValueError(f"average_s: must hold at least {self._demands.segments} half-overlapping segments of "
                             f"{nperseg / fs} s and a quarter, is {self._p.average_s}")
        shift = self._shift if abs(self._shift) >= nperseg // 64 else 0
        self._segments = (n - nperseg - abs(shift)) // hop + 1
        self._average = CrossAverage(fs, nperseg, shift=shift, per_part=max(self._segments // 6, 4))
        self._heard = Heard()

    def _limit_s(self, fs: float) -> float:
        return SEARCH * self._travel_s + 2.0 / fs

    def push(self, group: int, block: Block) -> list[Finding]:
        if group != self._pair:
            return []
        if self._average is None or self._average.fs != block.rate_hz:
            self._start(block.rate_hz)
        found, i = [], 0
        while i < block.n:
            average = self._average
            assert average is not None
            end = min(i + average.missing(self._segments), block.n)
            self._hear(block, i, end, average)
            i = end
            if average.missing(self._segments) == 0:
                verdict = self._judge(average, block.time_ns(i - 1))
                found += self._follow(verdict)
                self._start(average.fs)
        return found

    def _hear(self, block: Block, start: int, end: int, average: CrossAverage) -> None:
        """Samples start .. end of the block into the window."""
        heard, x = self._heard, block.x[:, start:end]
        if heard.begun_ns is None:
            heard.begun_ns = block.time_ns(start)
        before = average.seen
        average.push(x)
        skew = block.skew_s[1] - block.skew_s[0] if len(block.skew_s) == 2 else 0.0
        for _ in range(average.seen - before):
            heard.skew_s += skew
        heard.samples += end - start
        heard.clock_us = max(heard.clock_us, block.clock_sd_us)
        heard.questionable |= bool(block.flags & FLAG_QUESTIONABLE)
        heard.historical |= block.historical
        heard.ends_a += self._at_ends(x[0], 0)
        heard.ends_b += self._at_ends(x[1], 1)

    def _at_ends(self, row: Any, i: int) -> int:
        assert self._pair is not None
        ends = self.groups[self._pair].channels[i].range
        return 0 if ends is None else int(np.count_nonzero((row <= ends[0]) | (row >= ends[1])))

    def _judge(self, average: CrossAverage, t_ns: int) -> Verdict:
        """The full window's answer."""
        p, heard = self._p, self._heard
        assert heard.begun_ns is not None
        c = analyse(average.spectra(), weighting=p.weighting, band=p.band, max_delay_s=self._limit_s(average.fs),
                    mains_hz=p.mains_hz, polarity="inverted" if p.inverted else "same", demands=self._demands,
                    clipped=max(heard.ends_a, heard.ends_b) / heard.samples, ics=True)
        skew = heard.skew_s / average.seen
        delay = c.delay_s + skew
        clock_sd, clock = self._clock()
        sd = c.delay_sd_s if isfinite(c.delay_sd_s) else 0.0
        place = leak_position(delay, self._pipe, delay_sd_s=sd, speed_rel_sd=p.speed_rel_sd, clock_sd_s=clock_sd)
        reasons = list(c.reasons)
        if heard.questionable or clock_sd > sqrt(2.0) * p.max_clock_sd_us * 1e-6:
            reasons.append(f"clock-unsure: the clocks differ by {clock_sd * 1e6:.0f} us (sd)"
                           f"{', a device doubts its time' if heard.questionable else ''}")
        left = self._travel_s - abs(delay)
        unsure = p.end_sd * hypot(sd, clock_sd, p.speed_rel_sd * self._travel_s)
        if left <= unsure and not any(r.startswith("outside-bracket") for r in reasons):
            reasons.append(f"outside-bracket: the delay is {left * 1e3:.2f} ms short of the travel time, "
                           f"at most {unsure * 1e3:.2f} ms is no more than its error")
        return Verdict(c, round(c.delay_s * average.fs), delay, skew, clock_sd, clock, place, tuple(reasons),
        heard.begun_ns, t_ns, heard.historical)

    def _clock(self) -> tuple[float, str]:
        """Standard deviation of the difference of the two clocks in seconds, and whose word it is."""
        assert self._pair is not None
        a, b = self.groups[self._pair].channels
        if a.device == b.device:
            return 0.0, "shared"
        us, word = (self._heard.clock_us, "stated") if self._heard.clock_us else (self._p.clock_sd_us, "assumed")
        return sqrt(2.0) * us * 1e-6, word if us else "unknown"

    def _follow(self, v: Verdict) -> list[Finding]:
        """What the window means for the place followed so far."""
        if any(r.startswith(UNDECIDED) for r in v.reasons):
            return []
        track, heard = self._track, not v.reasons
        if heard:
            self._shift = v.shift
        if track is not None and heard and track.agrees(v.place.x_m, v.noise_sd_m, self._p.agree_m):
            track.add(v.place.x_m, v.noise_sd_m)
            return self._tell(track, v)
        ended = []
        if track is not None and track.raised:
            track.misses += 1
            if track.misses < self._p.quiet:
                return []
            ended = [self._finding(track, v, active=False)]
        self._track = Track(v.begun_ns, v.noise_sd_m**-2, v.place.x_m * v.noise_sd_m**-2) if heard else None
        if self._track is None:
            self._shift = 0
            return ended
        return ended + self._tell(self._track, v)

    def _tell(self, track: Track, v: Verdict) -> list[Finding]:
        """A finding when the place is confirmed, and again when it has become another or a better one."""
        if track.windows < self._p.confirm:
            return []
        sd = self._sd_m(track, v)
        if track.raised and abs(track.x_m - track.told_x_m) <= track.told_sd_m and sd > 0.5 * track.told_sd_m:
            return []
        track.raised, track.told_x_m, track.told_sd_m = True, track.x_m, sd
        return [self._finding(track, v, active=True)]

    def _sd_m(self, track: Track, v: Verdict) -> float:
        """Noise averages out over windows, the errors of clocks and speeds do not."""
        return hypot(track.noise_sd_m, v.place.budget["clock"], v.place.budget["speed"])

    def _finding(self, track: Track, v: Verdict, *, active: bool) -> Finding:
        assert self._pair is not None
        c, p = v.c, self._p
        psr = min(c.psr, LARGEST_PSR)
        evidence: dict[str, Any] = {
            "delay_s": v.delay_s, "delay_sd_s": c.delay_sd_s, "phat_delay_s": c.phat_delay_s + v.skew_s, "psr": psr,
            "pmr": c.pmr, "ics_s": c.ics, "coherence": c.coherence_mean, "band_hz": list(c.band),
            "log10_chance": c.log10_chance, "weighting": p.weighting, "windows": track.windows, "segments": c.segments,
            "skew_s": v.skew_s, "clock": v.clock, "clock_sd_s": v.clock_sd_s,
            "budget_m": {**v.place.budget, "delay": track.noise_sd_m}, "reasons": list(v.reasons),
        }
        return Finding(
            kind="leak", t_ns=v.t_ns, onset_ns=track.onset_ns, active=active, severity=p.severity, score=psr / p.psr,
            value=psr, limit=p.psr, source="+".join(ch.name for ch in self.groups[self._pair].channels),
            where={"position_m": track.told_x_m, "sd_m": track.told_sd_m, "asset": p.asset or self.watch.name},
            evidence={k: x for k, x in evidence.items() if not (isinstance(x, float) and not isfinite(x))},
            historical=v.historical)

    def gap(self, group: int, brk: Break) -> list[Finding]:
        if group == self._pair and self._average is not None:
            if brk.reason == "gap":
                self._average.break_off()
            else:
                self._start(self._average.fs)
        return []

    def save(self) -> dict[str, Any]:
        return {"v": self.VERSION, "average": self._average.save() if self._average else None,
                "heard": asdict(self._heard), "track": asdict(self._track) if self._track else None, "shift":
                self._shift}

    def load(self, state: Mapping[str, Any]) -> None:
        try:
            if state["v"] != self.VERSION:
                raise StateError(f"leak: saved state is of version {state['v']}, this build takes {self.VERSION}")
            heard = Heard(**state["heard"])
            track = Track(**state["track"]) if state["track"] is not None else None
            self._shift, average = int(state["shift"]), None
            if state["average"] is not None:
                average = CrossAverage.load(state["average"])
                self._start(average.fs)
        except (KeyError, TypeError, ValueError) as e:
            raise e if isinstance(e, StateError) else StateError(f"leak: saved state cannot be taken: {e}") from e
        if average is not None and self._average is not None and average.layout != self._average.layout:
            raise StateError(f"leak: saved state has windows of layout {average.layout}, "
                             f"this configuration of {self._average.layout}")
        self._average, self._heard, self._track = average, heard, track
