"""Vehicles' passages, one by one: cut from strain, deflection or acceleration, measured, counted; findings only beyond limits.

::

    samples -> bins (means, or RMS behind a high-pass) -> pieces of a second -> cut (`bridges.passages`)
                                                                                 |-> period: count, median, largest
                                                                                 |-> limits, weights -> findings
                                                                                 `-> all channels at rest again: speed

A passage is a measurement, not an alarm: `report` tells them. ``passage`` and ``overweight`` speak where a limit is reached.

Source of the practice: 1.5 and 2.0 times the design vehicle as levels of weight (zjkl19/GuanbingBridgeMonitoring,
build_quarterly_wim_sample); weight from strain by a factor found with a known lorry: F. Moses, J. Transp. Eng. 105 (1979) 233-249.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from math import isfinite
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from lifeline_core.bridges.passages import Passage as Cut
from lifeline_core.bridges.passages import Passages, Rule
from lifeline_core.bridges.pieces import Piece, Pieces
from lifeline_core.bridges.smoothing import Smoother
from lifeline_core.bridges.speeds import Speed, crossing_speed
from lifeline_core.bridges.tally import Tally
from lifeline_core.detectors.base import DesignParams, Detector, Group, LimitRow, Severity, bound, rise_faults, where_of
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Break, Channel, Finding, Site, Watch

VERSION = 1
PIECE_S = 1.0
SMOOTH_S = {"level": 0.05, "vibration": 0.25}
RUN_S = 0.2  # a half wave of vibration is shorter than this, what is on the bridge is not
TOLD = 32  # passages a report lists
MOST = 64  # on a bridge that never comes to rest


class Overweight(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A severity from so many times the design vehicle's weight on."""

    severity: Severity
    times: Annotated[float, Meta(gt=0.0)]


class PassageParams(DesignParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of a ``passage`` watch."""

    least_peak: Annotated[float, Meta(gt=0.0, description="smaller deviations are no passage, in the channel's unit")]
    form: Annotated[
        Literal["auto", "level", "vibration"],
        Meta(description="level: the mean deviates (strain, deflection); vibration: the RMS; auto: vibration for acceleration"),
    ] = "auto"
    smooth_s: Annotated[
        Annotated[float, Meta(gt=0.0, le=2.0)] | None,
        Meta(description="length of the means (or RMS) that are looked at; absent: 0.05 (0.25)"),
    ] = None
    dc_hz: Annotated[float, Meta(gt=0.0, description="vibration: corner of the high-pass of order 2")] = 0.5
    on: Annotated[float, Meta(ge=3.0, description="a passage begins at so many noises from the baseline, too")] = 6.0
    edge: Annotated[float, Meta(gt=0.0, lt=1.0, description="it lasts as long as it is above this share of its peak")] = 0.1
    hold_s: Annotated[float, Meta(gt=0.0, le=30.0, description="a shorter return to the baseline ends no passage")] = 0.5
    longest_s: Annotated[
        float, Meta(ge=5.0, le=600.0, description="what lasts longer is no passage; the baseline is learned anew")
    ] = 60.0
    baseline_s: Annotated[float, Meta(ge=10.0, le=3600.0, description="quiet seconds that the baseline is the median of")] = 30.0
    limits: Annotated[
        tuple[LimitRow, ...], Meta(description="limits of the signed peak about the baseline; a `share` is of what traffic may do")
    ] = ()
    kn_per_unit: Annotated[
        tuple[Annotated[float, Meta(gt=0.0)], ...],
        Meta(description="weight of a vehicle over its peak, for each channel, from passages of a known one; absent: no weights"),
    ] = ()
    design_kn: Annotated[Annotated[float, Meta(gt=0.0)] | None, Meta(description="weight of the design vehicle")] = None
    overweights: Annotated[
        tuple[Overweight, ...], Meta(description="severities by times of the design vehicle's weight")
    ] = (Overweight(3, 1.5), Overweight(4, 2.0))
    influence: Annotated[
        Literal["none", "alike", "moment"],
        Meta(description="for speeds, what a load does along the bridge: the same at each sensor when it is there (alike), "
             "or bending strain of the span span_m (moment); none: no speeds"),
    ] = "none"
    span_m: Annotated[tuple[float, float] | None, Meta(description="positions of the supports, for influence moment")] = None
    speed_below_hz: Annotated[float, Meta(gt=0.0, description="speeds: faster motion is the bridge's own")] = 2.5
    period_s: Annotated[float, Meta(ge=10.0, le=86_400.0, description="length of a period of the counts, by the clock")] = 600.0
    clear_s: Annotated[float, Meta(gt=0.0, description="an alarm ends so long after the last passage beyond a limit")] = 600.0

    def faults(self) -> list[str]:
        found = self.bound_faults("limits", self.limits)
        found += [f"limits: a peak's limit above must be above 0, one below below 0, is {bound(r)}"
                  for r in (() if found else self.bounds(self.limits)) if (bound(r) > 0.0) != (r.above is not None)]
        found += rise_faults("overweights", sorted((r.times, r.severity) for r in self.overweights))
        if bool(self.kn_per_unit) != (self.design_kn is not None):
            found.append(f"design_kn: must be given together with kn_per_unit, is {self.design_kn}")
        if (self.influence == "moment") != (self.span_m is not None):
            found.append(f"span_m: must be given for influence moment and for no other, is {self.span_m} for {self.influence}")
        if self.span_m is not None and not self.span_m[0] < self.span_m[1]:
            found.append(f"span_m: the first support must lie before the second, is {list(self.span_m)}")
        return found


@dataclass(slots=True)
class _Alarm:
    severity: int = 0
    onset_ns: int = 0
    last_ns: int = 0  # of the last passage beyond a limit


class Passage(Detector):
    """Kinds ``passage`` and ``overweight``, source = the channel's name.

    ``passage``: ``value`` is the signed peak about the baseline, in the channel's unit; ``overweight``: the weight, kN.
    ``onset_ns`` is the onset of the first passage beyond a limit, ``t_ns`` the end of the second in which it was measured.
    Evidence: ``duration_s`` above the edge, ``peaks`` (axles or groups of them, where they stand out), ``area`` (unit s),
    ``baseline``, ``noise``, and ``speed_mps`` where it is known. An alarm rises with a graver passage and ends ``clear_s`` after
    the last one. What a break cuts in two is not counted but told in the report as ``cut``.
    """

    PARAMS = PassageParams
    KINDS = ("passage", "overweight")
    COUPLED = True

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        super().__init__(watch, groups, site)
        if watch.params is None:
            raise ValueError("least_peak: must be given")
        p = self.params = watch.params
        if found := p.faults():
            raise ValueError("; ".join(found))
        (group,) = self.groups
        self._channels, rate = group.channels, group.rate_hz or 0.0
        rows = len(self._channels)
        if p.kn_per_unit and len(p.kn_per_unit) != rows:
            raise ValueError(f"kn_per_unit: must have one number for each of {rows} channels, has {len(p.kn_per_unit)}")
        self._vibration = p.form == "vibration" or (p.form == "auto" and _accelerates(self._channels))
        form = "vibration" if self._vibration else "level"
        self._m = max(1, round((p.smooth_s or SMOOTH_S[form]) * rate))
        self._rate = rate / self._m
        if self._rate < 2.0 / p.hold_s:
            raise ValueError(f"hold_s: must span two bins of {1.0 / self._rate:g} s or more, is {p.hold_s}")
        self._bins = max(4, round(PIECE_S * self._rate))
        rule = Rule(p.least_peak, p.on, edge=p.edge, hold=round(p.hold_s * self._rate),
                    run=max(1, round(RUN_S * self._rate)), longest=round(p.longest_s * self._rate),
                    memory=max(5, round(p.baseline_s * self._rate / self._bins)), both=not self._vibration)
        self._pieces, self._cutter = Pieces(rows, self._m * self._bins), Passages(rows, rule)
        self._smoother = Smoother(rows, self._m, rate, p.dc_hz if self._vibration else None)
        self._limits = p.bounds(p.limits)
        self._places = self._placed() if p.influence != "none" else {}
        self._recent: deque[dict[str, Any]] = deque(maxlen=TOLD)
        self._crossing: list[tuple[Cut, int]] = []  # passages since any channel was busy, and their onsets
        self._alarms = [[_Alarm() for _ in self.KINDS] for _ in range(rows)]
        self._tally = Tally([c.name for c in self._channels], round(p.period_s * NS))
        self._last_ns: int | None = None
        self._lost = 0

    def _placed(self) -> dict[int, float]:
        """Positions by row, of those that are known."""
        at = {i: c.position_m for i, c in enumerate(self._channels) if c.position_m is not None}
        if len(set(at.values())) < 2:
            raise ValueError(f"influence: speeds need two channels of different position_m or more, are at {list(at.values())}")
        span = self.params.span_m
        if span is not None and not all(span[0] < x < span[1] for x in at.values()):
            raise ValueError(f"span_m: channels must lie between the supports {list(span)}, are at {list(at.values())}")
        return at

    def push(self, group: int, block: Block) -> list[Finding]:
        if block.n:
            self._last_ns = block.time_ns(block.n - 1)
        return [f for piece in self._pieces.push(block) for f in self._take(piece)]

    def flush(self) -> list[Finding]:
        """The end of the last second is looked at; what is still passing is no passage."""
        return [f for piece in self._pieces.end() for f in self._take(piece)]

    def gap(self, group: int, brk: Break) -> list[Finding]:
        found = self.flush()
        away = None if self._last_ns is None else brk.t_ns - self._last_ns
        near = away is not None and brk.reason in ("gap", "overflow") and 0 < away <= self.params.baseline_s * NS
        self._lost += self._cutter.seam(forget=not near)
        self._crossing = []
        self._smoother.seam()
        return found

    def _take(self, piece: Piece) -> list[Finding]:
        """One second: bins, passages, findings, and the end of a period."""
        k = piece.x.shape[1] // self._m
        if k == 0:
            return []
        n = k * self._m
        cuts = self._cutter.push(*self._smoother.push(piece.x[:, :n]))
        now, first_bin = piece.time_ns(n - 1), self._cutter.n - k

        def time_ns(at: float) -> int:  # of a bin's middle
            return piece.time_ns(0) + round(((at - first_bin + 0.5) * self._m - 0.5) * piece.rate_den * NS / piece.rate_num)

        self._tally.turn(now)  # a passage counts where it was measured
        onsets = [time_ns(c.onset) for c in cuts]
        crossed = [(c, t) for c, t in zip(cuts, onsets, strict=True) if not c.standing and self._places]
        self._crossing = [*self._crossing, *crossed][-MOST:]
        speed = _told(crossing_speed(self._cutter, [c for c, _ in self._crossing], self._rate, self._places,
                                     span_m=self.params.span_m, below_hz=self.params.speed_below_hz))
        found = []
        for cut, onset_ns in zip(cuts, onsets, strict=True):
            found += self._count(cut, onset_ns, now, piece.historical, speed)
        if not self._cutter.busy:
            self._spread(speed)
        for row, alarms in enumerate(self._alarms):
            found += [self._over(row, kind, now, piece.historical) for kind, alarm in enumerate(alarms)
                      if alarm.severity and now - alarm.last_ns >= self.params.clear_s * NS]
        return found

    def _spread(self, speed: dict[str, Any]) -> None:
        """All channels are at rest again: what was told of this crossing before its speed was known gets it, too."""
        mine = {(self._channels[c.row].name, t) for c, t in self._crossing}
        for row in self._recent if speed else ():
            if (row["channel"], row["onset_ns"]) in mine:
                row |= speed
        self._crossing = []

    def _count(self, cut: Cut, onset_ns: int, now: int, historical: bool, speed: dict[str, Any]) -> list[Finding]:
        p, channel = self.params, self._channels[cut.row]
        if cut.standing:
            self._tally.stood(cut.row)
            return []
        duration = (cut.end - cut.onset) / self._rate
        self._tally.count(cut.row, cut.peak, duration)
        told = {"channel": channel.name, "duration_s": duration, "peaks": cut.peaks, "area": cut.area / self._rate,
                "baseline": cut.base, "noise": cut.noise, "measured": cut.quality, **speed}
        self._recent.append({"onset_ns": onset_ns, "peak": cut.peak, **told})
        reached = [(r.severity, bound(r)) for r in self._limits
                   if (cut.peak >= bound(r) if r.above is not None else cut.peak <= bound(r))]
        found = self._judge(cut, 0, max(reached, default=None), cut.peak, channel.unit, onset_ns, now, told, historical)
        if p.kn_per_unit and p.design_kn is not None:
            weight = min(abs(cut.peak) * p.kn_per_unit[cut.row], 1e300)
            heavy = [(r.severity, r.times * p.design_kn) for r in p.overweights if weight >= r.times * p.design_kn]
            found += self._judge(cut, 1, max(heavy, default=None), weight, "kN", onset_ns, now, told, historical)
        return found

    def _judge(self, cut: Cut, k: int, reached: tuple[int, float] | None, value: float, unit: str, onset_ns: int, now: int,
               told: dict[str, Any], historical: bool) -> list[Finding]:
        alarm = self._alarms[cut.row][k]
        if reached is None:
            return []
        alarm.last_ns = now
        severity, limit = reached
        if severity <= alarm.severity:
            return []
        if not alarm.severity:
            alarm.onset_ns = onset_ns
        alarm.severity = severity
        return [Finding(kind=self.KINDS[k], t_ns=now, onset_ns=alarm.onset_ns, active=True, severity=severity, value=value,
                        score=abs(value / limit), limit=limit, unit=unit, source=told["channel"], quality=cut.quality,
                        where=where_of(self._channels[cut.row]), evidence=dict(told), historical=historical)]

    def _over(self, row: int, k: int, now: int, historical: bool) -> Finding:
        alarm, channel = self._alarms[row][k], self._channels[row]
        severity, alarm.severity = alarm.severity, 0
        return Finding(kind=self.KINDS[k], t_ns=now, onset_ns=alarm.onset_ns, active=False, severity=severity,
                       unit="kN" if k else channel.unit, source=channel.name, where=where_of(channel),
                       evidence={"channel": channel.name}, historical=historical)

    def report(self) -> list[dict[str, Any]]:
        """By channel the last whole period and the open one, then the last passages, the newest first."""
        return [{**row, "cut": self._lost} for row in self._tally.rows()] + [dict(row) for row in reversed(self._recent)]

    def save(self) -> dict[str, Any]:
        return {"version": VERSION, "pieces": self._pieces.save(), "cutter": self._cutter.save(), "smoother": self._smoother.save(),
                "tally": self._tally.save(), "lost": self._lost, "last": self._last_ns, "recent": [dict(r) for r in self._recent],
                "crossing": [[list(astuple(c)), t] for c, t in self._crossing],
                "alarms": [[list(astuple(a)) for a in row] for row in self._alarms]}

    def load(self, state: Mapping[str, Any]) -> None:
        try:
            if state["version"] != VERSION:
                raise StateError(f"passage: saved state is of version {state['version']!r}, wanted {VERSION}")
            crossing = [(Cut(*c), int(t)) for c, t in state["crossing"]]
            alarms = [[_Alarm(*(int(v) for v in a)) for a in row] for row in state["alarms"]]
            if [len(row) for row in alarms] != [len(self.KINDS)] * len(self._channels):
                raise StateError(f"passage: saved state is not of {len(self._channels)} channels")
            for part in ("pieces", "cutter", "smoother", "tally"):
                getattr(self, f"_{part}").load(state[part])
            lost, last, recent = int(state["lost"]), state["last"], [dict(r) for r in state["recent"]]
        except (KeyError, TypeError, ValueError) as error:
            raise error if isinstance(error, StateError) else StateError(f"passage: saved state is damaged: {error}") from error
        self._crossing, self._alarms, self._lost, self._last_ns = crossing, alarms, lost, last
        self._recent = deque(recent, maxlen=TOLD)


def _accelerates(channels: Sequence[Channel]) -> bool:
    return all(c.quantity == "acceleration" or c.unit.startswith("m/s2") for c in channels)


def _told(of: Speed | None) -> dict[str, Any]:
    """For evidence: nothing unless it is sure."""
    return {"speed_mps": of.mps, "misfit": of.misfit} if of is not None and of.sure and isfinite(of.mps) else {}
