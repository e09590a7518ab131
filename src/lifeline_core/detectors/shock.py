"""Earthquakes and impacts on accelerometers: onset and peak, each channel by itself.

High-pass, recursive STA/LTA trigger, onset refined by AIC, peak of the filtered acceleration against limits::

    ratio    on  ┤- - - - - -╭╮- - - - - - - - - -    trigger
             off ┤- - - - - ╭╯╰─╮- ╭╮- - - - - - -
                 ┼──────────╯   ╰──╯╰───────────
    |a|    limit ┤- - - - - - - - -│- - - - - - -     severity: the highest limit the peak has reached
                 ┼─────────┤│╎││╎│╎│╎╎╎╎╎──┤
                        onset  pick           end: below off for hold_s
                 |<- before ->|after|                 window of the pick, ends after_s behind the trigger

Traffic triggers, too: it alarms only if its peak reaches the lowest limit. The onset of an episode is that of the first
trigger, however late the limit is reached: an earthquake begins with its weak first arrivals.

With ``components = 3`` three channels are one place, and its trace is the length of their vector; with ``intensity`` the
seismic intensity is told, too.

Source: M. Withers et al., Bull. Seism. Soc. Am. 88 (1998) 95-106; N. Maeda, Zisin 38 (1985) 365-379.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from lifeline_core.bridges.intensity import Motion, instrumental_intensity
from lifeline_core.detectors.base import Detector, Group, Held, Limit, Params, Step, relation, rise_faults, where_of
from lifeline_core.dsp.tape import IDLE, PICK, Event, Heard, Samples, Tape
from lifeline_core.errors import StateError
from lifeline_core.model import FLAG_HISTORICAL, NS, Block, Break, Finding, Site, Watch

VERSION = 3
UNITS = ("", "m/s2", "m/s^2", "m/s²", "m/s/s")  # that an intensity can be read from; none is taken for m/s2


class ShockParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of a ``shock`` watch. The limits are those of the structure: E1 and E2 of its design, for instance.

    ``sta_s`` spans some cycles of 2 to 20 Hz, what strong motion and impacts on structures consist of, and is shorter
    than the time between the first and the strong arrivals even of near earthquakes; ``lta_s`` is long against what one
    vehicle takes to pass a sensor and short enough to be ready again soon after a break. ``min_peak`` is where shaking
    begins to be felt indoors by many (Modified Mercalli IV: 1.4 % g; D. J. Wald et al., Earthquake Spectra 15 (1999) 557).
    """

    limits: Annotated[tuple[Limit, ...], Meta(description="limits above for the peak, in the channel's unit")] = ()
    min_peak: Annotated[
        float, Meta(ge=0.0, description="without limits: least peak of severity 1, in the channel's unit; 0: every trigger")
    ] = 0.14
    dc_hz: Annotated[float, Meta(gt=0.0, description="corner of the high-pass of order 2 that takes off gravity and drift")] = 0.1
    sta_s: Annotated[float, Meta(gt=0.0, le=60.0, description="short average")] = 0.5
    lta_s: Annotated[
        float, Meta(gt=0.0, le=600.0, description="long average; also how long after a start or break nothing triggers")
    ] = 10.0
    on: Annotated[float, Meta(gt=1.0, description="ratio at which the trigger is on")] = 4.0
    off: Annotated[float, Meta(gt=0.0, description="ratio below which it is off")] = 1.5
    before_s: Annotated[float, Meta(gt=0.0, le=60.0, description="how far before the trigger the onset is looked for")] = 3.0
    after_s: Annotated[float, Meta(gt=0.0, le=60.0, description="how long after the trigger the onset is decided")] = 1.0
    hold_s: Annotated[float, Meta(ge=0.0, le=600.0, description="how long the ratio must be below off before it is over")] = 5.0
    components: Annotated[
        int, Meta(ge=1, le=3, description="so many channels in a row of the list are one place: the peak of their vector counts")
    ] = 1
    intensity: Annotated[
        Literal["none", "gb17742-2020"], Meta(description="instrumental seismic intensity to tell; channels must be in m/s2")
    ] = "none"
    bridge_s: Annotated[float, Meta(ge=0.0, description="a gap up to this long is passed over; a longer one begins anew")] = 1.0

    def faults(self) -> list[str]:
        found = [f"limits: a peak has limits above only, is below {r.below}" for r in self.limits if r.above is None]
        rows = sorted((r.above, r.severity) for r in self.limits if r.above is not None)
        found += [f"limits: a limit must be finite and above 0, is {a}" for a, _ in rows if not (isfinite(a) and a > 0)]
        found += rise_faults("limits", rows)
        if self.sta_s >= self.lta_s:
            found.append(f"sta_s: must be below lta_s, are {self.sta_s} and {self.lta_s}")
        if self.off >= self.on:
            found.append(f"off: must be below on, are {self.off} and {self.on}")
        if self.on * self.sta_s >= self.lta_s:
            found.append(f"on: the ratio never exceeds lta_s / sta_s = {self.lta_s / self.sta_s:g}, is {self.on}")
        return found


class Shock(Detector):
    """Kind ``shock``, source = the channel's name, of a place with several components that of the first.

    ``t_ns`` of a raise is the end of the pick's window, or the sample that reaches the lowest limit after it; of a rise
    the sample that reaches the limit; of an end the last sample of ``hold_s``. ``value`` is the largest absolute
    acceleration behind the high-pass since the onset, in the channel's unit, and ``score`` = value / limit (without
    limits and with ``min_peak = 0``: ratio / on). Evidence: ``ratio`` the largest STA/LTA, ``pick`` the sharpness of the
    onset (0 to 1, see `dsp.aic_onset`), ``duration_s`` at the end; with ``intensity`` that, as of the trigger, and the peaks
    ``pga`` (m/s2) and ``pgv`` (m/s) it is read from (`lifeline_core.bridges.intensity`); with several components their
    ``channels``. Components that do not arrive in one stream are places by themselves. A break longer than ``bridge_s``
    ends an episode at the last sample before it. A channel's samples that are not finite are passed over.
    """

    PARAMS = ShockParams
    KINDS = ("shock",)

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        super().__init__(watch, groups, site)
        self.params: ShockParams = watch.params if watch.params is not None else ShockParams()
        if found := self.params.faults():
            raise ValueError("; ".join(found))
        p = self.params
        if len(watch.channels) % p.components:
            raise ValueError(f"components: the number of channels must be a multiple of it, are {len(watch.channels)} "
                             f"and {p.components}")
        self._limits = sorted((r.above, r.severity) for r in p.limits if r.above is not None) or [(p.min_peak, 1)]
        rates = [group.rate_hz or 0.0 for group in self.groups]
        if not all(rates):
            raise ValueError("shock: every channel needs a rate_hz, one has none")
        wrong = [c.unit for group in self.groups for c in group.channels if c.unit not in UNITS]
        if p.intensity != "none" and wrong:
            raise ValueError(f"intensity: channels must be in m/s2, one is in {wrong[0]}")
        self._hold = [max(1, round(p.hold_s * fs)) for fs in rates]
        self._places = [self._places_of(group) for group in self.groups]
        self._tapes = [Tape(places, fs, dc_hz=p.dc_hz, sta_s=p.sta_s, lta_s=p.lta_s, on=p.on, before_s=p.before_s,
                            after_s=p.after_s) for places, fs in zip(self._places, rates, strict=True)]
        self._motions = [Motion(places, fs) if p.intensity != "none" else None
                         for places, fs in zip(self._places, rates, strict=True)]
        self._events = [[Event() for _ in places] for places in self._places]
        self._held = [[Held() for _ in places] for places in self._places]
        self._open = [False] * len(self.groups)  # whether any trace's event goes on
        self._last: list[tuple[int, bool] | None] = [None] * len(self.groups)  # time of the last sample; historical

    def _places_of(self, group: Group) -> list[list[int]]:
        """Rows of a group that are one place: its channels of one part of the watch's list."""
        places: dict[int, list[int]] = {}
        for row, channel in enumerate(group.channels):
            places.setdefault(self.watch.channels.index(channel.name) // self.params.components, []).append(row)
        return list(places.values())

    def push(self, group: int, block: Block) -> list[Finding]:
        tape, motion, n = self._tapes[group], self._motions[group], block.n
        ratio = tape.push(block.x, whole=self._open[group])
        a, v = motion.push(block.x) if motion is not None else (None, None)
        found: list[tuple[int, int, Finding]] = []
        if ratio is not None:
            joined = tape.join()
            for row in range(len(ratio)):
                heard = Heard(joined[row], ratio[row], None if a is None else a[row], None if v is None else v[row])
                found += [(f.t_ns, row, f) for f in self._scan(group, row, heard, block)]
            self._watch(group)
        tape.trim()
        tape.taken()
        self._last[group] = (block.time_ns(n - 1), block.historical)
        return [finding for _, _, finding in sorted(found, key=lambda item: item[:2])] if found else []

    def takers(self, group: int) -> list[object]:
        taker = self._tapes[group].taker() if self._motions[group] is None else None
        return [] if taker is None else [taker]

    def _watch(self, group: int) -> None:
        """While an event goes on, every ratio is wanted."""
        self._open[group] = any(e.phase != IDLE for e in self._events[group])
        self._tapes[group].shut(self._open[group])

    def _heard(self, group: int) -> tuple[int, bool] | None:
        """Time of the group's last sample, whoever took it, and whether it was history."""
        if (taken := self._tapes[group].taken()) is not None:
            anchor_ns, end, rate_num, rate_den, flags = taken
            self._last[group] = (anchor_ns + (end - 1) * rate_den * NS // rate_num, bool(flags & FLAG_HISTORICAL))
        return self._last[group]

    def _scan(self, group: int, row: int, heard: Heard, block: Block) -> Iterator[Finding]:
        """Follow one trace through a block."""
        e, held, tape, ratio = self._events[group][row], self._held[group][row], self._tapes[group], heard.ratio
        size, n, pos = heard.size(), len(ratio), 0
        while pos < n:
            step, stop = None, n
            if e.phase == IDLE:
                on = ratio[pos:] >= self.params.on
                at = int(on.argmax())
                if not on[at]:
                    return
                stop = pos + at + 1
                e = self._events[group][row] = Event(PICK, block.anchor_ns, block.index + stop - 1, block.rate_num,
                                                     block.rate_den, tape.after)
                e.follow(heard, stop - 1, stop, self.params.off)
            elif e.phase == PICK:
                stop = min(n, pos + e.left)
                e.follow(heard, pos, stop, self.params.off)
                e.left -= stop - pos
                if e.left == 0:
                    e.pick(heard.before(stop, tape.span), tape.after)
                    step = self._grade(e, held)
            else:
                over, rise = e.over(ratio[pos:], self.params.off, self._hold[group]), self._rise(held, size[pos:])
                stop = pos + min(over, rise, n - pos - 1) + 1
                e.follow(heard, pos, stop, self.params.off)
                e.peak = float(np.fmax.reduce(size[pos:stop], initial=e.peak))
                step = self._grade(e, held) if rise == stop - pos - 1 else None
                if over == stop - pos - 1:
                    if step:
                        yield self._finding(group, row, step, block.time_ns(stop - 1), block.historical)
                    step, e.phase = held.end(), IDLE
            if step:
                yield self._finding(group, row, step, block.time_ns(stop - 1), block.historical)
            pos = stop

    def _rise(self, held: Held, size: Samples) -> int:
        """Index of the first sample that reaches the next limit; beyond the samples where none does."""
        left = [limit for limit, severity in self._limits if severity > held.severity]
        if not left:
            return len(size)
        reached = size >= np.float32(left[0])
        at = int(reached.argmax())
        return at if reached[at] else len(size)

    def _grade(self, e: Event, held: Held) -> Step | None:
        """Take the highest limit the peak has reached; what is news of it."""
        reached = max((severity for limit, severity in self._limits if e.peak >= float(np.float32(limit))), default=0)
        return held.see(reached, e.onset_ns) if reached else None

    def _finding(self, group: int, row: int, step: Step, t_ns: int, historical: bool) -> Finding:
        e, rows = self._events[group][row], self._places[group][row]
        channel = self.groups[group].channels[rows[0]]
        limit = {severity: limit for limit, severity in self._limits}[step.severity]
        evidence: dict[str, Any] = {"channel": channel.name, "ratio": e.ratio, "pick": e.quality}
        if limit > 0:
            evidence["relation"] = relation(e.peak, limit, step.active)
        if len(rows) > 1:
            evidence["channels"] = [self.groups[group].channels[r].name for r in rows]
        if self.params.intensity != "none":
            evidence |= {"intensity": instrumental_intensity(e.pga, e.pgv), "scale": self.params.intensity, "pga": e.pga,
                         "pgv": e.pgv, "components": len(rows)}
        if not step.active:
            evidence["duration_s"] = (t_ns - e.onset_ns) / NS
        return Finding(kind="shock", t_ns=t_ns, onset_ns=e.onset_ns, active=step.active, severity=step.severity,
                       score=e.peak / limit if limit > 0 else e.ratio / self.params.on, value=e.peak,
                       limit=limit if limit > 0 else None, unit=channel.unit, source=channel.name, where=where_of(channel),
                       evidence=evidence, historical=historical)

    def gap(self, group: int, brk: Break) -> list[Finding]:
        found = self._decide(group)
        last, tape, motion = self._heard(group), self._tapes[group], self._motions[group]
        if last and brk.reason in ("gap", "overflow") and 0 < brk.t_ns - last[0] <= self.params.bridge_s * NS:
            tape.cut()
            return found
        for row, held in enumerate(self._held[group]):
            if (step := held.end()) and last:
                found.append(self._finding(group, row, step, *last))
            self._events[group][row] = Event()
        self._watch(group)
        tape.reset()
        if motion is not None:
            motion.reset()
        return found

    def flush(self) -> list[Finding]:
        """Picks whose window is not full are decided on what there is; an episode that goes on is not ended."""
        return [finding for group in range(len(self.groups)) for finding in self._decide(group)]

    def _decide(self, group: int) -> list[Finding]:
        found, last, tape = [], self._heard(group), self._tapes[group]
        if not self._open[group]:
            return []
        past = tape.join()
        for row, e in enumerate(self._events[group]):
            if e.phase == PICK and last:
                e.pick(past[row][e.left - tape.span :], tape.after - e.left)
                step = self._grade(e, self._held[group][row])
                found += [] if step is None else [self._finding(group, row, step, *last)]
        return found

    def save(self) -> dict[str, Any]:
        return {"version": VERSION, "tapes": [tape.save() for tape in self._tapes],
                "motions": [None if m is None else m.save() for m in self._motions],
                "last": [list(at) if at else None for at in map(self._heard, range(len(self._last)))],
                "events": [[e.save() for e in events] for events in self._events],
                "held": [[h.save() for h in held] for held in self._held]}

    def load(self, state: Mapping[str, Any]) -> None:
        shape = [len(events) for events in self._events]
        try:
            events = [[Event(*e) for e in saved] for saved in state["events"]]
            held = [[Held.of(h) for h in saved] for saved in state["held"]]
            last = [(int(at[0]), bool(at[1])) if at else None for at in state["last"]]
            tapes, motions, version = list(state["tapes"]), list(state["motions"]), state["version"]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise StateError(f"shock: saved state is damaged: {error}") from error
        fits = [len(row) for row in events] == [len(row) for row in held] == shape
        if version != VERSION or not fits or not len(tapes) == len(last) == len(motions) == len(shape):
            raise StateError(f"shock: saved state is of another version or not of groups of {shape} channels")
        for tape, saved in zip(self._tapes, tapes, strict=True):
            tape.load(saved)
        for motion, moved in zip(self._motions, motions, strict=True):
            if (motion is None) != (moved is None):
                raise StateError("shock: saved state is of another choice of intensity")
            if motion is not None:
                motion.load(moved)
        self._events, self._held, self._last = events, held, last
        for group in range(len(shape)):
            self._tapes[group].taken()
            self._watch(group)
