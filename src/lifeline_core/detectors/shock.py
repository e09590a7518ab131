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

Source: M. Withers et al., Bull. Seism. Soc. Am. 88 (1998) 95-106; N. Maeda, Zisin 38 (1985) 365-379.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from math import isfinite
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from lifeline_core.detectors.base import Detector, Group, Limit, Params
from lifeline_core.dsp.filters import SosFilter, highpass
from lifeline_core.dsp.onset import StaLta, aic_onset
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Break, Channel, Finding, Site, Watch

IDLE, PICK, GO = range(3)

Samples = NDArray[np.float32]


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
    bridge_s: Annotated[float, Meta(ge=0.0, description="a gap up to this long is passed over; a longer one begins anew")] = 1.0

    def faults(self) -> list[str]:
        found = [f"limits: a peak has limits above only, is below {r.below}" for r in self.limits if r.above is None]
        rows = sorted((r.above, r.severity) for r in self.limits if r.above is not None)
        found += [f"limits: a limit must be finite and above 0, is {a}" for a, _ in rows if not (isfinite(a) and a > 0)]
        found += [f"limits: severity must rise with the limit, is {s} at {a} and {t} at {b}"
                  for (a, s), (b, t) in pairwise(rows) if t <= s or b <= a]
        if self.sta_s >= self.lta_s:
            found.append(f"sta_s: must be below lta_s, are {self.sta_s} and {self.lta_s}")
        if self.off >= self.on:
            found.append(f"off: must be below on, are {self.off} and {self.on}")
        if self.on * self.sta_s >= self.lta_s:
            found.append(f"on: the ratio never exceeds lta_s / sta_s = {self.lta_s / self.sta_s:g}, is {self.on}")
        return found


@dataclass(slots=True)
class Event:
    """One channel's trigger: the time base of its sample, and what came since."""

    phase: int = IDLE
    anchor_ns: int = 0
    index: int = 0
    rate_num: int = 1
    rate_den: int = 1
    left: int = 0  # samples until the window of the pick is full
    below: int = 0  # samples in a row with the ratio below off
    onset_ns: int = 0
    peak: float = 0.0
    ratio: float = 0.0
    quality: float = 0.0
    rank: int = -1  # of the limits; -1: none reached

    def time_ns(self, offset: int) -> int:
        """Time of the sample ``offset`` behind the trigger, as `Block.time_ns` gives it."""
        return self.anchor_ns + (self.index + offset) * self.rate_den * NS // self.rate_num


class Tape:
    """The filtered samples of one group, their ratios, and the last of them for the pick."""

    def __init__(self, rows: int, fs: float, params: ShockParams) -> None:
        self.after = max(1, round(params.after_s * fs))
        self.span = max(2, round(params.before_s * fs)) + self.after + 1
        n_sta = max(1, round(params.sta_s * fs))
        self._filter = SosFilter(highpass(fs, params.dc_hz), rows)
        self._ratio = StaLta(rows, n_sta, max(n_sta + 1, round(params.lta_s * fs)))
        self._settled = [False] * rows
        self._recent: list[Samples] = [np.empty((rows, 0), np.float32)]  # joined only where a pick asks for it
        self._count = 0

    def push(self, x: NDArray[Any]) -> Samples:
        """Ratios of the filtered samples; a channel's first finite sample becomes the filter's rest position."""
        for row, done in enumerate(self._settled):
            if not done and (finite := np.flatnonzero(np.isfinite(x[row]))).size:
                self._filter.settle(row, float(x[row, finite[0]]))
                self._settled[row] = True
        y = self._filter.push(np.ascontiguousarray(x, dtype=np.float32))
        self._recent.append(y)
        self._count += y.shape[1]
        return self._ratio.push(y)

    def join(self) -> Samples:
        """All samples at hand: those pushed last, and at least ``span`` before them unless there were fewer."""
        if len(self._recent) > 1:
            self._recent = [np.concatenate(self._recent, axis=1)]
        return self._recent[0]

    def trim(self) -> None:
        """Let go of blocks that lie wholly before the last ``span`` samples; many short ones become one."""
        while self._count - self._recent[0].shape[1] >= self.span:
            self._count -= self._recent.pop(0).shape[1]
        if len(self._recent) > 64:
            self._recent = [self.join()[:, -self.span :]]
            self._count = self._recent[0].shape[1]

    def cut(self) -> None:
        """What follows does not join: no window reaches back over here."""
        self._recent, self._count = [self._recent[0][:, :0]], 0

    def reset(self) -> None:
        self.cut()
        self._ratio.reset()
        self._filter.z[:] = 0.0
        self._settled = [False] * len(self._settled)

    def save(self) -> dict[str, Any]:
        return {"filter": self._filter.save(), "ratio": self._ratio.save(), "settled": list(self._settled),
                "past": self.join()[:, -self.span :].tobytes()}

    def load(self, state: Mapping[str, Any]) -> None:
        rows = len(self._settled)
        past = np.frombuffer(state["past"], np.float32)
        if past.size % rows or past.size > rows * self.span or len(state["settled"]) != rows:
            raise StateError(f"shock: saved samples do not fit {rows} channels of {self.span}")
        self._filter.load(state["filter"])
        self._ratio.load(state["ratio"])
        self._settled = [bool(done) for done in state["settled"]]
        self._recent = [past.reshape(rows, -1).copy()]
        self._count = self._recent[0].shape[1]


class Shock(Detector):
    """Kind ``shock``, source = the channel's name.

    ``t_ns`` of a raise is the end of the pick's window, or the sample that reaches the lowest limit after it; of a rise
    the sample that reaches the limit; of an end the last sample of ``hold_s``. ``value`` is the largest absolute
    acceleration behind the high-pass since the onset, in the channel's unit, and ``score`` = value / limit (without
    limits and with ``min_peak = 0``: ratio / on). Evidence: ``ratio`` the largest STA/LTA, ``pick`` the sharpness of the
    onset (0 to 1, see `dsp.aic_onset`), ``duration_s`` at the end. A break longer than ``bridge_s`` ends an episode at the
    last sample before it. A channel's samples that are not finite are passed over.
    """

    PARAMS = ShockParams
    KINDS = ("shock",)

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        super().__init__(watch, groups, site)
        self.params: ShockParams = watch.params if watch.params is not None else ShockParams()
        found = self.params.faults()
        if found:
            raise ValueError("; ".join(found))
        p = self.params
        self._limits = sorted((r.above, r.severity) for r in p.limits if r.above is not None) or [(p.min_peak, 1)]
        rates = [group.rate_hz or 0.0 for group in self.groups]
        if not all(rates):
            raise ValueError("shock: every channel needs a rate_hz, one has none")
        self._hold = [max(1, round(p.hold_s * fs)) for fs in rates]
        self._tapes = [Tape(len(group.channels), fs, p) for group, fs in zip(self.groups, rates, strict=True)]
        self._events = [[Event() for _ in group.channels] for group in self.groups]
        self._open = [False] * len(self.groups)  # whether any channel's event goes on
        self._last: list[tuple[int, bool] | None] = [None] * len(self.groups)  # time of the last sample; historical

    def push(self, group: int, block: Block) -> list[Finding]:
        tape = self._tapes[group]
        ratio = tape.push(block.x)
        found: list[tuple[int, int, Finding]] = []
        if self._open[group] or np.fmax.reduce(ratio, axis=None) >= self.params.on:
            joined = tape.join()
            for row in range(len(ratio)):
                found += [(f.t_ns, row, f) for f in self._scan(group, row, joined[row], ratio[row], block)]
            self._open[group] = any(e.phase != IDLE for e in self._events[group])
        tape.trim()
        self._last[group] = (block.time_ns(block.n - 1), block.historical)
        return [finding for _, _, finding in sorted(found, key=lambda item: item[:2])]

    def _scan(self, group: int, row: int, joined: Samples, ratio: Samples, block: Block) -> Iterator[Finding]:
        """Follow one channel through a block; ``joined`` ends with its samples."""
        e, tape, n = self._events[group][row], self._tapes[group], len(ratio)
        start = len(joined) - n
        size = np.abs(joined[start:])
        size[~np.isfinite(size)] = np.nan
        pos = 0
        while pos < n:
            if e.phase == IDLE:
                on = ratio[pos:] >= self.params.on
                at = int(on.argmax())
                if not on[at]:
                    return
                pos += at + 1
                e = self._events[group][row] = Event(PICK, block.anchor_ns, block.index + pos - 1, block.rate_num,
                                                     block.rate_den, tape.after, ratio=float(ratio[pos - 1]))
            elif e.phase == PICK:
                stop = min(n, pos + e.left)
                self._follow(e, ratio[pos:stop])
                e.left -= stop - pos
                pos = stop
                if e.left == 0 and self._pick(e, joined[max(0, start + pos - tape.span) : start + pos], tape.after):
                    yield self._finding(group, row, block.time_ns(pos - 1), True, block.historical)
            else:
                over = self._end(e, ratio[pos:], self._hold[group])
                rise = self._rise(e, size[pos:])
                stop = pos + min(over, rise, n - pos - 1) + 1
                self._follow(e, ratio[pos:stop])
                e.peak = float(np.fmax.reduce(size[pos:stop], initial=e.peak))
                if rise == stop - pos - 1 and self._grade(e):
                    yield self._finding(group, row, block.time_ns(stop - 1), True, block.historical)
                if over == stop - pos - 1:
                    if e.rank >= 0:
                        yield self._finding(group, row, block.time_ns(stop - 1), False, block.historical)
                    e.phase = IDLE
                pos = stop

    def _follow(self, e: Event, ratio: Samples) -> None:
        held = np.flatnonzero(ratio >= self.params.off)
        e.below = len(ratio) - 1 - int(held[-1]) if held.size else e.below + len(ratio)
        e.ratio = float(np.fmax.reduce(ratio, initial=e.ratio))

    def _end(self, e: Event, ratio: Samples, hold: int) -> int:
        """Index of the sample that ends the event; beyond the samples where none does."""
        if e.below + len(ratio) < hold:
            return len(ratio)
        edges = np.concatenate([[-1 - e.below], np.flatnonzero(ratio >= self.params.off), [len(ratio)]])
        runs = np.flatnonzero(np.diff(edges) > hold)
        return max(0, int(edges[runs[0]]) + hold) if runs.size else len(ratio)

    def _rise(self, e: Event, size: Samples) -> int:
        """Index of the first sample that reaches the next limit; beyond the samples where none does."""
        if e.rank + 1 == len(self._limits):
            return len(size)
        reached = size >= np.float32(self._limits[e.rank + 1][0])
        at = int(reached.argmax())
        return at if reached[at] else len(size)

    def _grade(self, e: Event) -> bool:
        """Take the highest limit the peak has reached; whether that is news."""
        rank = sum(1 for limit, _ in self._limits if e.peak >= float(np.float32(limit))) - 1
        news, e.rank = rank > e.rank, max(rank, e.rank)
        return news

    def _pick(self, e: Event, window: Samples, after: int) -> bool:
        """Set onset and peak from the window, whose last sample is ``after`` behind the trigger; whether it is to be raised."""
        trigger = len(window) - 1 - after
        finite = np.flatnonzero(np.isfinite(window))
        at, e.phase = trigger, GO
        if finite.size >= 3:
            index, e.quality = aic_onset(window[finite])
            if e.quality > 0:
                at = min(trigger, int(finite[index + 1]))  # what triggered had begun by then
        e.onset_ns = e.time_ns(at - trigger)
        e.peak = float(np.abs(window[finite[finite >= at]]).max(initial=0.0))
        return self._grade(e)

    def _finding(self, group: int, row: int, t_ns: int, active: bool, historical: bool) -> Finding:
        e, channel = self._events[group][row], self.groups[group].channels[row]
        limit, severity = self._limits[e.rank]
        evidence: dict[str, Any] = {"channel": channel.name, "ratio": e.ratio, "pick": e.quality}
        if not active:
            evidence["duration_s"] = (t_ns - e.onset_ns) / NS
        return Finding(kind="shock", t_ns=t_ns, onset_ns=e.onset_ns, active=active, severity=severity,
                       score=e.peak / limit if limit > 0 else e.ratio / self.params.on, value=e.peak,
                       limit=limit if limit > 0 else None, unit=channel.unit, source=channel.name, where=_where(channel),
                       evidence=evidence, historical=historical)

    def gap(self, group: int, brk: Break) -> list[Finding]:
        found = self._decide(group)
        last, tape = self._last[group], self._tapes[group]
        if last and brk.reason in ("gap", "overflow") and 0 < brk.t_ns - last[0] <= self.params.bridge_s * NS:
            tape.cut()
            return found
        for row, e in enumerate(self._events[group]):
            if last and e.rank >= 0 and e.phase == GO:
                found.append(self._finding(group, row, last[0], False, last[1]))
            self._events[group][row] = Event()
        self._open[group] = False
        tape.reset()
        return found

    def flush(self) -> list[Finding]:
        """Picks whose window is not full are decided on what there is; an episode that goes on is not ended."""
        return [finding for group in range(len(self.groups)) for finding in self._decide(group)]

    def _decide(self, group: int) -> list[Finding]:
        found, last, tape = [], self._last[group], self._tapes[group]
        past = tape.join()
        for row, e in enumerate(self._events[group]):
            if e.phase == PICK and last and self._pick(e, past[row][e.left - tape.span :], tape.after - e.left):
                found.append(self._finding(group, row, last[0], True, last[1]))
        return found

    def save(self) -> dict[str, Any]:
        return {"tapes": [tape.save() for tape in self._tapes], "last": [list(at) if at else None for at in self._last],
                "events": [[list(astuple(e)) for e in events] for events in self._events]}

    def load(self, state: Mapping[str, Any]) -> None:
        shape = [len(events) for events in self._events]
        try:
            events = [[Event(*e) for e in saved] for saved in state["events"]]
            last = [(int(at[0]), bool(at[1])) if at else None for at in state["last"]]
            tapes = list(state["tapes"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise StateError(f"shock: saved state is damaged: {error}") from error
        if [len(row) for row in events] != shape or len(tapes) != len(shape) or len(last) != len(shape):
            raise StateError(f"shock: saved state is not of groups of {shape} channels")
        for tape, saved in zip(self._tapes, tapes, strict=True):
            tape.load(saved)
        self._events, self._last = events, last
        self._open = [any(e.phase != IDLE for e in row) for row in events]


def _where(channel: Channel) -> dict[str, Any]:
    return {} if channel.position_m is None else {"position_m": channel.position_m}
