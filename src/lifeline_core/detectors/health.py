"""The health of devices and sensors: silent, losing samples, frozen, saturated, or with a clock not to be trusted.

An alarm class of its own: it lowers the confidence of what depends on the channel and says nothing about the asset.

===========  =======================================================  ===============================================
kind         begins                                                   ends
===========  =======================================================  ===============================================
offline      at a tick, ``offline_s`` after the last tick before      at the first tick after data came
             data came (or after the first tick of all); irregular
             devices are given three of their usual intervals, and
             15 ``offline_s`` until these are known
gap          with ``gap_limit`` samples lost since it was last quiet  after ``quiet_s`` of samples without a gap
flat-line    a value repeats for ``flat_s`` and at least 10 samples   with the first other value
clipping     with ``clip_fraction`` of a clock-aligned window's       with the first sound sample after a window with
             samples at or beyond the ends of the range               fewer
clock        a sample is flagged questionable, the clock steps, or    after ``quiet_s`` of samples without
             its deviation is beyond the limit
===========  =======================================================  ===============================================

Flat lines and clipping have the channel's name as source; the others are the device's, source "" (the name of its first
channel where a watch holds several devices, or streams that arrive apart). However many samples are wrong, a kind
speaks once and ends once.

A range that begins at 0 is that of a one-sided quantity such as a gas concentration: resting at 0 is neither clipped nor
flat. History (back-filled frames) has holes by nature: it has no ``gap``, and no clock steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor
from statistics import median
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from lifeline_core.detectors.base import Detector, Group, Params
from lifeline_core.dsp.stats import NS, Guards, Rule, Sign
from lifeline_core.errors import StateError
from lifeline_core.model import FLAG_CLIPPED, FLAG_HISTORICAL, FLAG_QUESTIONABLE, Block, Break, Finding, Site, Watch

ANY_CLOCK = (1 << 32) - 1  # the largest deviation a frame can tell, us
ABSENT_NS = 5 * NS  # ticks come once a second; a longer step is the service's own absence
VERSION = 1
FEWEST_FLAT = 10  # identical samples: slow sensors repeat themselves for a while
FIRST = 15  # times offline_s for an irregular device whose interval is not known yet
ARRIVALS = 5  # intervals that tell how often a slow device speaks

Seconds = Annotated[float, Meta(gt=0.0, le=31_536_000.0)]
Grade = Annotated[int, Meta(ge=0, le=4, description="1 blue .. 4 red; 0: this kind is not watched")]


class HealthParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of a ``health`` watch."""

    offline_s: Annotated[Seconds, Meta(description="so long without data is offline")] = 60.0
    offline_intervals: Annotated[
        float, Meta(ge=1.0, description="and for irregular devices so many of their usual intervals, once known")
    ] = 3.0
    flat_s: Annotated[float, Meta(ge=0.0, le=31_536_000.0, description="identical values for so long; 0: not watched")] = 600.0
    flat_slow_s: Annotated[
        float, Meta(ge=0.0, le=31_536_000.0, description="the same for irregular channels: coarse slow sensors repeat themselves")
    ] = 86_400.0
    gap_limit: Annotated[int, Meta(ge=1, description="so many samples lost")] = 1
    quiet_s: Annotated[Seconds, Meta(description="so long without the fault ends gap and clock")] = 60.0
    clip_fraction: Annotated[float, Meta(gt=0.0, le=1.0, description="part of a window at or beyond the range's ends")] = 0.001
    clip_window_s: Annotated[Seconds, Meta(description="length of that window")] = 10.0
    clock_sd_limit_us: Annotated[float, Meta(ge=0.0, description="largest deviation of the clock; 0: not watched")] = 0.0
    offline_severity: Grade = 2
    gap_severity: Grade = 1
    flat_severity: Grade = 1
    clipping_severity: Grade = 1
    clock_severity: Grade = 1


def _rules(group: Group, p: HealthParams) -> list[Rule]:
    """One for each row and, where rows share a frame, one for what the device says of all of them."""
    rate = group.rate_hz
    flat_s = p.flat_s if rate else p.flat_slow_s
    flat_on = flat_s > 0 and p.flat_severity > 0
    flat = max(FEWEST_FLAT, ceil(flat_s * rate) if rate else 0) if flat_on else 0
    window_ns = round(p.clip_window_s * NS)
    clip = max(1, ceil(p.clip_fraction * rate * p.clip_window_s) if rate else 1) if p.clipping_severity else 0
    rules = []
    for c in group.channels:
        rests = c.range is not None and c.range[0] == 0.0
        ends = None if c.range is None else (float("nan"), c.range[1]) if rests else c.range
        rules.append(Rule(flat, 0 if rate else round(flat_s * NS), window_ns, clip, ends, 0.0 if rests else None))
    if len(rules) > 1:
        rules.append(Rule(0, 0, window_ns, clip))
    return rules


def _first_from(block: Block, t_ns: int) -> int:
    """The first sample of the block not before t_ns; block.n if there is none."""
    if block.t_ns is not None:
        return int(np.searchsorted(block.t_ns, t_ns))
    number = -(-(t_ns - block.anchor_ns) * block.rate_num // (block.rate_den * NS))
    return min(block.n, max(0, number - block.index))


@dataclass(slots=True)
class _Trouble:
    """A fault that is over after a quiet time."""

    active: bool = False
    onset_ns: int = 0
    amount: int = 0  # lost samples
    quiet_ns: int | None = None  # first sample without the fault since it was last there

    def heal(self, block: Block, quiet_ns: int) -> int | None:
        """A block without the fault: the time at which it has been quiet long enough, if that is in this block."""
        if self.quiet_ns is None:
            self.quiet_ns = block.t0_ns
        i = _first_from(block, self.quiet_ns + quiet_ns)
        return block.time_ns(i) if i < block.n else None


@dataclass(slots=True)
class _Stream:
    """One group: what came last, and its troubles."""

    guards: Guards
    rows: int
    end_ns: int | None = None  # of the last sample
    historical: bool = False
    gap: _Trouble = field(default_factory=_Trouble)
    clock: _Trouble = field(default_factory=_Trouble)

    def watch(self) -> None:
        """While a trouble is there, every block is looked at."""
        self.guards.shut(self.gap.amount > 0 or self.clock.active)

    def save(self) -> dict[str, Any]:
        return {"guards": self.guards.save(), "end_ns": self.end_ns, "historical": self.historical,
                "gap": [getattr(self.gap, k) for k in _Trouble.__slots__],
                "clock": [getattr(self.clock, k) for k in _Trouble.__slots__]}

    def load(self, state: Mapping[str, Any]) -> None:
        self.guards.load(bytes(state["guards"]))
        self.end_ns, self.historical = state["end_ns"], bool(state["historical"])
        self.gap, self.clock = _Trouble(*state["gap"]), _Trouble(*state["clock"])
        self.guards.taken()
        self.watch()


@dataclass(slots=True)
class _Device:
    """When a device was last heard, in ticks."""

    name: str
    irregular: bool
    arrived: bool = False  # since the last tick
    seen_ns: int | None = None  # the last tick before data
    offline: bool = False
    intervals: list[int] = field(default_factory=list)  # between ticks before data, of an irregular device

    def patience_ns(self, p: HealthParams) -> int:
        if self.irregular and len(self.intervals) < 2:
            return round(FIRST * p.offline_s * NS)
        usual = median(self.intervals) if self.irregular else 0
        return max(round(p.offline_s * NS), round(p.offline_intervals * usual))


class Health(Detector):
    """Kinds ``offline``, ``gap``, ``flat-line``, ``clipping``, ``clock``; see the module's docstring.

    ``value`` is the silence in seconds, the samples lost, the value that repeats, the first clipped value beyond need, or
    the clock's deviation in microseconds. A device's own clipping flag speaks for the channel if it is alone in its
    frames, otherwise for the device. ``t_ns`` of ``offline`` is a tick, of all others a sample's time.
    """

    PARAMS = HealthParams
    KINDS = ("offline", "gap", "flat-line", "clipping", "clock")
    IRREGULAR = True

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        super().__init__(watch, groups, site)
        self.params: HealthParams = watch.params if watch.params is not None else HealthParams()
        self._streams = [_Stream(Guards(_rules(g, self.params)), len(g.channels)) for g in self.groups]
        self._sources = ["" if len(self.groups) == 1 else g.channels[0].name for g in self.groups]
        numbers = [g.channels[0].device for g in self.groups]
        names = {n: "" if len(set(numbers)) == 1 else self.groups[numbers.index(n)].channels[0].name for n in numbers}
        slow = {n: all(g.rate_hz is None for g, m in zip(self.groups, numbers, strict=True) if m == n) for n in numbers}
        self._devices = {n: _Device(names[n], slow[n]) for n in sorted(names)}
        self._numbers = numbers
        self._tick_ns: int | None = None

    def push(self, group: int, block: Block) -> list[Finding]:
        n, flags = block.n, block.flags
        if not n:
            return []
        stream = self._catch_up(group)
        self._devices[self._numbers[group]].arrived = True
        found: list[tuple[int, int, Finding]] = []  # time, order among equals
        signs = stream.guards.push(np.ascontiguousarray(block.x, dtype=np.float32), block.anchor_ns, block.index, block.rate_num,
                                   block.rate_den, block.t_ns, bool(flags & FLAG_CLIPPED))
        for sign in signs:
            found.append((sign.t_ns, 2 + sign.row, self._sign(group, sign, block)))
        if stream.gap.amount and (said := self._gap_over(group, block)) is not None:
            found.append((said.t_ns, 0, said))
        if (stream.clock.active or flags & FLAG_QUESTIONABLE or self.params.clock_sd_limit_us) and (
                said := self._clock(group, block)) is not None:
            found.append((said.t_ns, 1, said))
        stream.end_ns = block.time_ns(n - 1) + 1 if block.t_ns is not None else block.time_ns(n)
        stream.historical = bool(flags & FLAG_HISTORICAL)
        stream.watch()
        return [f for _, _, f in sorted(found, key=lambda e: e[:2])] if found else []

    def takers(self, group: int) -> list[object]:
        if self.groups[group].rate_hz is None:
            return []
        watched, limit = self.params.clock_severity > 0, self.params.clock_sd_limit_us
        most_sd_us = min(floor(limit), ANY_CLOCK) if watched and limit else ANY_CLOCK
        return [self._streams[group].guards.taker(len(self.groups[group].channels), FLAG_CLIPPED,
                                                  FLAG_QUESTIONABLE if watched else 0, most_sd_us)]

    def _catch_up(self, group: int) -> _Stream:
        """The stream, with what its taker has taken."""
        stream = self._streams[group]
        if (taken := stream.guards.taken()) is not None:
            anchor_ns, end, rate_num, rate_den, flags = taken
            stream.end_ns, stream.historical = anchor_ns + end * rate_den * NS // rate_num, bool(flags & FLAG_HISTORICAL)
            self._devices[self._numbers[group]].arrived = True
        return stream

    def gap(self, group: int, brk: Break) -> list[Finding]:
        found = self._gap(self._catch_up(group), group, brk)
        self._streams[group].watch()
        return found

    def _gap(self, stream: _Stream, group: int, brk: Break) -> list[Finding]:
        if brk.reason not in ("gap", "overflow"):
            stream.guards.seam()
            stream.gap.quiet_ns = stream.clock.quiet_ns = None
        if stream.end_ns is None or stream.historical:
            return []
        onset = min(stream.end_ns, brk.t_ns)
        if brk.reason == "clock-step":
            return self._clock_bad(group, brk.t_ns, onset, "step", 0)
        if brk.reason not in ("gap", "overflow") or not self.params.gap_severity:
            return []
        trouble = stream.gap
        trouble.onset_ns = trouble.onset_ns if trouble.amount else onset
        trouble.amount += brk.lost if brk.lost >= 0 else self.params.gap_limit
        trouble.quiet_ns = None
        if trouble.active or trouble.amount < self.params.gap_limit:
            return []
        trouble.active = True
        return [self._say("gap", brk.t_ns, trouble.onset_ns, True, self.params.gap_severity, value=float(trouble.amount),
                          limit=float(self.params.gap_limit), source=self._sources[group], evidence={"reason": brk.reason})]

    def tick(self, t_ns: int) -> list[Finding]:
        for group in range(len(self._streams)):
            self._catch_up(group)
        before = self._tick_ns
        now = t_ns if before is None else max(t_ns, before)
        self._tick_ns = now
        if before is not None and now - before > ABSENT_NS:  # nobody listened: that is not the devices' silence
            for device in self._devices.values():
                if device.seen_ns is not None:
                    device.seen_ns += now - before
        if not self.params.offline_severity:
            return []
        return [f for d in self._devices.values() if (f := self._listen(d, before, now)) is not None]

    def save(self) -> dict[str, Any]:
        streams = [self._catch_up(group).save() for group in range(len(self._streams))]
        return {"version": VERSION, "tick_ns": self._tick_ns, "streams": streams,
                "devices": [[d.arrived, d.seen_ns, d.offline, d.intervals] for d in self._devices.values()]}

    def load(self, state: Mapping[str, Any]) -> None:
        if state.get("version") != VERSION or len(state.get("streams", ())) != len(self._streams) or \
                len(state.get("devices", ())) != len(self._devices):
            raise StateError(f"health: saved state is of another version or has not {len(self._streams)} streams")
        self._tick_ns = state["tick_ns"]
        for stream, saved in zip(self._streams, state["streams"], strict=True):
            stream.load(saved)
        for device, saved in zip(self._devices.values(), state["devices"], strict=True):
            device.arrived, device.seen_ns, device.offline = saved[:3]
            device.intervals = list(saved[3])

    # ---- one kind each ----

    def _listen(self, device: _Device, before: int | None, now: int) -> Finding | None:
        """Offline is decided here and nowhere else: silence has no samples to tell the time by."""
        if device.seen_ns is None:
            device.seen_ns = now
        p, came, device.arrived = self.params, device.arrived, False
        if came:
            seen = before if before is not None else now
            if device.irregular and seen > device.seen_ns:
                device.intervals = [*device.intervals, seen - device.seen_ns][-ARRIVALS:]
            onset, device.seen_ns = device.seen_ns, max(seen, device.seen_ns)
            if not device.offline:
                return None
            device.offline = False
            return self._say("offline", now, onset, False, p.offline_severity, score=0.0, value=0.0, limit=p.offline_s, unit="s",
                             source=device.name)
        silent, patience = now - device.seen_ns, device.patience_ns(p)
        if device.offline or silent < patience:
            return None
        device.offline = True
        return self._say("offline", now, device.seen_ns, True, p.offline_severity, score=silent / patience, value=silent / NS,
                         limit=patience / NS, unit="s", source=device.name)

    def _gap_over(self, group: int, block: Block) -> Finding | None:
        trouble = self._streams[group].gap
        if not trouble.amount or (t := trouble.heal(block, round(self.params.quiet_s * NS))) is None:
            return None
        self._streams[group].gap = _Trouble()
        if not trouble.active:
            return None
        return self._say("gap", t, trouble.onset_ns, False, self.params.gap_severity, score=0.0, value=float(trouble.amount),
                         limit=float(self.params.gap_limit), source=self._sources[group], historical=block.historical)

    def _clock(self, group: int, block: Block) -> Finding | None:
        p, trouble = self.params, self._streams[group].clock
        if not p.clock_severity:
            return None
        reason = "questionable" if block.flags & FLAG_QUESTIONABLE else ""
        if p.clock_sd_limit_us and block.clock_sd_us > p.clock_sd_limit_us:
            reason = "deviation"
        if reason:
            told = self._clock_bad(group, block.t0_ns, block.t0_ns, reason, block.clock_sd_us, block.historical)
            return told[0] if told else None
        if not trouble.active or (t := trouble.heal(block, round(p.quiet_s * NS))) is None:
            return None
        self._streams[group].clock = _Trouble()
        return self._say("clock", t, trouble.onset_ns, False, p.clock_severity, score=0.0, value=float(block.clock_sd_us),
                         unit="us", source=self._sources[group], historical=block.historical)

    def _clock_bad(self, group: int, t_ns: int, onset_ns: int, reason: str, sd_us: int, historical: bool = False) -> list[Finding]:
        p, trouble = self.params, self._streams[group].clock
        trouble.quiet_ns = None
        if trouble.active or not p.clock_severity:
            return []
        trouble.active, trouble.onset_ns = True, onset_ns
        limit = p.clock_sd_limit_us if reason == "deviation" else None
        return [self._say("clock", t_ns, onset_ns, True, p.clock_severity, score=sd_us / limit if limit else 1.0,
                          value=float(sd_us), limit=limit, unit="us", source=self._sources[group], historical=historical,
                          evidence={"reason": reason})]

    def _sign(self, group: int, sign: Sign, block: Block) -> Finding:
        p, channels = self.params, self.groups[group].channels
        channel = channels[sign.row] if sign.row < len(channels) else None
        kind, severity = ("flat-line", p.flat_severity) if sign.kind == "flat" else ("clipping", p.clipping_severity)
        evidence: dict[str, Any] = {"samples": sign.count}
        if kind == "clipping":
            evidence["window_s"] = p.clip_window_s
        score = 1.0 if sign.active else 0.0
        if channel is None:
            return self._say(kind, sign.t_ns, sign.onset_ns, sign.active, severity, score=score, source=self._sources[group],
                             evidence=evidence, historical=block.historical)
        limit = None
        if kind == "clipping" and sign.active and channel.range is not None:
            limit = float(min(channel.range, key=lambda end: abs(end - sign.value)))
        return self._say(kind, sign.t_ns, sign.onset_ns, sign.active, severity, score=score, value=sign.value, limit=limit,
                         unit=channel.unit, source=channel.name, evidence={"channel": channel.name, **evidence},
                         historical=block.historical)

    def _say(self, kind: str, t_ns: int, onset_ns: int, active: bool, severity: int, **more: Any) -> Finding:
        return Finding(kind=kind, t_ns=t_ns, onset_ns=onset_ns, active=active, severity=severity, **more)
