"""Ordered limits on a value and on its rate of change, for any regular or irregular channel.

A limit is reached when the value, as float32, is at or beyond the limit as float32: what was sent as 0.315 reaches
0.315. Limits of one side form one episode, whose severity only rises and which is over at the mildest limit less the
hysteresis (plus it, for ``below``)::

    value   50 ┤ - - - - - -╭──╮- - - - - - - - -  severity 4
            25 ┤ - - - ╭────╯  ╰──╮ - - ╭─╮- - -   severity 2
            23 ┤ - - - │ - - - -  ╰─────╯ ╰──╮ -   over (hysteresis 2)
               ┼───────╯                     ╰───
                       raise 2, rise to 4        end

Source of the practice: ISA-18.2-2016 / IEC 62682 (dead band, on-delay and off-delay).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

import lifeline_core.detectors._level as _level
from lifeline_core.detectors.base import DesignParams, Detector, Group, Limit, LimitRow, bound, order_faults, relation, side_of
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Break, Channel, Finding, Site, Watch

RAISE, RISE, END = range(3)
SIDES: tuple[str, str] = _level.SIDES
PER = {1.0: "s", 60.0: "min", 3600.0: "h", 86400.0: "d"}

Seconds = Annotated[float, Meta(ge=0.0, le=31_536_000.0)]


class LevelParams(DesignParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of a ``level`` watch; at least one of ``limits`` and ``rate_limits`` must be given."""

    limits: Annotated[
        tuple[LimitRow, ...],
        Meta(description="limits of the value, in the channel's unit, or as share of design or off as_built"),
    ] = ()
    hysteresis: Annotated[
        float, Meta(ge=0.0, description="over at the mildest limit less this (plus, for below), in the channel's unit")
    ] = 0.0
    strict: Annotated[bool, Meta(description="a value must exceed a limit; otherwise reaching it is enough")] = False
    on_delay_s: Annotated[
        Seconds, Meta(description="how long a limit must be held, in sample time, before the alarm")
    ] = 0.0
    off_delay_s: Annotated[Seconds, Meta(description="how long the value must be back before the alarm ends")] = 0.0
    hold_s: Annotated[
        Seconds, Meta(description="a longer time without a sample ends delays that are running; 0: none does")
    ] = 0.0
    rate_limits: Annotated[
        tuple[Limit, ...], Meta(description="limits of the rate of change, in the channel's unit per rate_per_s")
    ] = ()
    rate_per_s: Annotated[
        float, Meta(gt=0.0, le=31_536_000.0, description="the time rates are counted in: 60 is per minute")
    ] = 60.0
    rate_window_s: Annotated[
        float, Meta(ge=0.001, le=31_536_000.0, description="rates are against the newest sample at least this old")
    ] = 300.0
    rate_hysteresis: Annotated[float, Meta(ge=0.0, description="as hysteresis, in the unit of rate_limits")] = 0.0

    def faults(self) -> list[str]:
        found = [*self.bound_faults("limits", self.limits), *order_faults("rate_limits", self.rate_limits)]
        if not self.limits and not self.rate_limits:
            found.append("limits: at least one of limits and rate_limits must be given, are none")
        return found


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit table as a kind of finding: what the compiled machine needs, and what a person is told."""

    kind: str
    sides: tuple[tuple[Limit, ...], tuple[Limit, ...]]
    hysteresis: float
    per: str = ""  # "/min" behind the channel's unit

    @classmethod
    def of(cls, kind: str, limits: Sequence[Limit], hysteresis: float, per: str = "") -> Rule:
        return cls(kind, (tuple(side_of(limits, "above")), tuple(side_of(limits, "below"))), hysteresis, per)

    def machines(self, rows: int, params: LevelParams) -> Any:
        above, below = ([bound(limit) for limit in side] for side in self.sides)
        clear = (above[0] - self.hysteresis if above else 0.0, below[0] + self.hysteresis if below else 0.0)
        return _level.Machines(rows, above, below, clear, params.strict, to_ns(params.on_delay_s),
                               to_ns(params.off_delay_s), to_ns(params.hold_s))

    def score(self, side: int, rank: int, value: float) -> float:
        """How far beyond its limit: ``1 + (value - limit) / scale``, below ``1 + (limit - value) / scale``, at least 0.

        scale is ``|limit|``, so above a positive limit this is value / limit; where the limit is 0 it is the
        hysteresis, or 1 in the channel's unit. The limit is taken as float32: reaching it scores exactly 1.
        """
        limit = float(np.float32(bound(self.sides[side][rank])))
        beyond = value - limit if side == 0 else limit - value
        return max(0.0, 1.0 + beyond / (abs(limit) or self.hysteresis or 1.0))

    def finding(self, channel: Channel, event: tuple[Any, ...], historical: bool) -> Finding:
        t_ns, _, what, side, rank, value, peak, onset_ns = event
        limit = self.sides[side][rank]
        return Finding(
            kind=self.kind, t_ns=t_ns, onset_ns=onset_ns, active=what != END, severity=limit.severity,
            score=self.score(side, rank, value), value=value, limit=bound(limit), unit=channel.unit + self.per,
            source=channel.name, historical=historical,
            evidence={"channel": channel.name, "side": SIDES[side], "peak": peak,
                      "relation": relation(peak, bound(limit), what != END)},
        )


def to_ns(seconds: float) -> int:
    return round(seconds * NS)


class Level(Detector):
    """Watches every channel of the watch by itself; kinds ``level`` and ``rate``, source = the channel's name.

    ``value`` is the sample at ``t_ns``, the one that decided; ``evidence["peak"]`` the most extreme one since the
    onset. ``onset_ns`` is the first sample of the unbroken run beyond the mildest limit. Samples that are not finite
    are passed over. A value that goes from one side's alarm into the other's ends the first at that sample, whatever
    ``off_delay_s``.

    The rate at a sample is its difference to the newest sample at least ``rate_window_s`` older, over the true time
    between the two. Of dense channels one sample per 1/128 of the window is kept for this, so that the window is at
    most that much longer. After a silence it is the mean slope over the silence, unless ``hold_s`` was less than that.
    Delays count for rates as for values.
    """

    PARAMS = LevelParams
    KINDS = ("level", "rate")
    IRREGULAR = True

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        super().__init__(watch, groups, site)
        params = watch.params if watch.params is not None else LevelParams()
        found = params.faults()
        if found:
            raise ValueError("; ".join(found))
        rows = [len(group.channels) for group in self.groups]
        self._level = Rule.of("level", params.bounds(params.limits), params.hysteresis)
        per = PER.get(params.rate_per_s, f"{params.rate_per_s:g}s")
        self._rate = Rule.of("rate", params.rate_limits, params.rate_hysteresis, f"/{per}")
        self._levels = [self._level.machines(n, params) for n in rows] if params.limits else []
        self._rates = [self._rate.machines(n, params) for n in rows] if params.rate_limits else []
        self._slopes = [
            _level.Slopes(n, to_ns(params.rate_window_s), to_ns(params.hold_s), params.rate_per_s * NS) for n in rows
        ] if params.rate_limits else []

    def push(self, group: int, block: Block) -> list[Finding]:
        x = np.ascontiguousarray(block.x, dtype=np.float32)
        channels = self.groups[group].channels
        found = []
        if self._levels:
            found = [self._level.finding(channels[event[1]], event, block.historical)
                     for event in self._levels[group].push(x, block)]
        if self._rates:
            rate = np.empty_like(x)
            self._slopes[group].push(x, block, rate)
            rates = [self._rate.finding(channels[event[1]], event, block.historical)
                     for event in self._rates[group].push(rate, block)]
            if rates:
                # as if the samples had come one by one: by time, then by row, the value before its rate
                row = {channel.name: i for i, channel in enumerate(channels)}
                found = sorted([*found, *rates], key=lambda f: (f.t_ns, row[f.source]))
        return found

    def takers(self, group: int) -> list[object]:
        """Rates need Python for every block."""
        regular = self.groups[group].rate_hz is not None
        return [self._levels[group].taker()] if regular and self._levels and not self._rates else []

    def gap(self, group: int, brk: Break) -> list[Finding]:
        """Nothing: the times of the samples tell a hole, and ``hold_s`` says what it means."""
        return []

    def flush(self) -> list[Finding]:
        """Nothing: the end of the samples is no return to normal."""
        return []

    def save(self) -> dict[str, Any]:
        return {name: [part.save() for part in parts] for name, parts in self._parts()}

    def load(self, state: Mapping[str, Any]) -> None:
        for name, parts in self._parts():
            saved = state.get(name)
            if not isinstance(saved, list | tuple) or len(saved) != len(parts):
                raise StateError(f"level: saved state has not {len(parts)} groups of {name}")
        for name, parts in self._parts():
            for part, saved in zip(parts, state[name], strict=True):
                part.load(bytes(saved))

    def _parts(self) -> tuple[tuple[str, list[Any]], ...]:
        return (("levels", self._levels), ("rates", self._rates), ("slopes", self._slopes))
