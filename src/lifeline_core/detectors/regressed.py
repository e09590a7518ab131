"""Slow quantities freed of the weather: joints, bearings, tilt, deflection, cracks - what is left, and how it grows.

::

    value, 10-minute means --+                     learned from the first `train` bins
                             +-> regression -> residual -> limits (in the channel's unit), on `confirm` bins in a row
    temperature, its past  --+                        +-> daily medians -> growth per year -> growth_limits

A joint opens and closes by centimetres between summer and winter; a limit on the raw value must be wider than that, one on
the residual need not be. The residual's own scatter is told with each finding: a limit within three of its standard
deviations would speak for the noise, so such a limit is widened to them, and the finding says so.

Source: linear and two-sloped regression on temperature as in B. Peeters and G. De Roeck, Earthq. Eng. Struct. Dyn. 30 (2001)
149-171; slope of daily medians after H. Theil (1950) and P. K. Sen, JASA 63 (1968) 1379-1389.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from scipy.stats import theilslopes

from lifeline_core.bridges.baseline import Baseline, fit_baseline
from lifeline_core.bridges.weather import Weather
from lifeline_core.detectors.base import Detector, Group, Limit, Params
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Break, Channel, Finding, Site, Watch

VERSION = 1
PATIENCE_NS = 60 * NS  # after its end a bin waits so long for slow channels
SCATTERS = 3.0  # of the residual: no limit is nearer
DAY_NS = 86_400 * NS
YEAR_D = 365.25


class RegressedParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of a ``regressed`` watch: its last ``environment`` channels explain the others."""

    environment: Annotated[int, Meta(ge=1, le=16, description="so many channels at the end of the list tell the weather")] = 1
    limits: Annotated[tuple[Limit, ...], Meta(description="limits of the residual, in the channel's unit")] = ()
    growth_limits: Annotated[tuple[Limit, ...], Meta(description="limits of its growth, in the channel's unit a year")] = ()
    growth_days: Annotated[int, Meta(ge=7, le=3660, description="daily medians the growth is read from")] = 180
    lag_s: Annotated[float, Meta(ge=0.0, le=864_000.0, description="also the mean weather of so long before; 0: not")] = 0.0
    bin_s: Annotated[float, Meta(ge=60.0, le=86_400.0, description="length of a bin; bins begin at its multiples, UTC")] = 600.0
    train: Annotated[int, Meta(ge=20, le=200_000, description="bins the regression is learned from")] = 4032
    confirm: Annotated[int, Meta(ge=1, le=1000, description="bins in a row that a limit, or its end, must hold")] = 3

    def faults(self) -> list[str]:
        found = [] if self.limits or self.growth_limits else ["limits: at least one of limits and growth_limits must be given"]
        for key in ("limits", "growth_limits"):
            for side in ("above", "below"):
                rows = [(getattr(r, side), r.severity) for r in getattr(self, key) if getattr(r, side) is not None]
                rows.sort(reverse=side == "below")
                found += [f"{key}: severity must rise with the limit, is {a[1]} {side} {a[0]} and {b[1]} {side} {b[0]}"
                          for a, b in pairwise(rows) if a[0] == b[0] or a[1] >= b[1]]
        return found


@dataclass(slots=True)
class _Alarm:
    """One kind of finding of one channel."""

    run: int = 0  # bins in a row beyond the mildest limit
    back: int = 0
    severity: int = 0
    onset_ns: int = 0
    first_ns: int = 0


@dataclass(slots=True)
class _One:
    """A channel: what it learned from, its baseline, its days."""

    channel: Channel
    rows: list[list[float]] = field(default_factory=list)  # value and weather of the training bins
    baseline: Baseline | None = None
    day: int = 0
    today: list[float] = field(default_factory=list)
    days: list[list[float]] = field(default_factory=list)  # [day, median residual]
    level: _Alarm = field(default_factory=_Alarm)
    growth: _Alarm = field(default_factory=_Alarm)
    last: float = float("nan")


class Regressed(Detector):
    """Kinds ``residual`` and ``growth``, source = the channel's name.

    ``residual``: ``value`` is the bin's mean less what the weather explains; evidence: ``mean``, ``scatter`` (its standard
    deviation in training). ``growth``: ``value`` per year, from daily medians; a slope that its own 95 % interval does not
    tell from 0 is no growth.
    """

    PARAMS = RegressedParams
    KINDS = ("residual", "growth")
    IRREGULAR = True
    CHANNELS = (2, None)

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        super().__init__(watch, groups, site)
        if watch.params is None:
            raise ValueError("limits: at least one of limits and growth_limits must be given, are none")
        self.params: RegressedParams = watch.params
        if found := self.params.faults():
            raise ValueError("; ".join(found))
        own = len(watch.channels) - self.params.environment
        if own < 1:
            raise ValueError(f"environment: must leave a channel to be judged, is {self.params.environment}")
        names = watch.channels[own:]
        self._ones = [_One(c) for g in self.groups for c in g.channels if c.name not in names]
        self._bin_ns = round(self.params.bin_s * NS)
        self._weather = Weather(names, self.params.bin_s, self.params.lag_s)
        self._values = Weather([one.channel.name for one in self._ones], self.params.bin_s, 0.0)
        self._next_ns: int | None = None  # end of the next bin to be judged
        self._newest_ns = 0

    @classmethod
    def aside(cls, params: Any) -> int:
        return params.environment if params is not None else 1

    def push(self, group: int, block: Block) -> list[Finding]:
        channels = self.groups[group].channels
        self._weather.hear(channels, block)
        self._values.hear(channels, block)
        if block.n:
            if self._next_ns is None:
                t = block.time_ns(0)
                self._next_ns = t - t % self._bin_ns + self._bin_ns
            self._newest_ns = max(self._newest_ns, block.time_ns(block.n - 1))
        return []

    def gap(self, group: int, brk: Break) -> list[Finding]:
        """Nothing: bins are means of what is there."""
        return []

    def tick(self, t_ns: int) -> list[Finding]:
        found: list[Finding] = []
        while self._next_ns is not None and self._next_ns <= min(t_ns, self._newest_ns + self._bin_ns) - PATIENCE_NS:
            found += self._close(self._next_ns)
            self._next_ns += self._bin_ns
        return found

    def _close(self, t_ns: int) -> list[Finding]:
        """The bin that ends at t, channel by channel."""
        weather, found = self._weather.at(t_ns), []
        if not np.isfinite(weather).all():
            return []
        for one, value in zip(self._ones, self._values.at(t_ns).tolist(), strict=True):
            if value != value:
                continue
            if one.baseline is None:
                self._learn(one, value, weather)
            else:
                found += self._judge(one, value, weather, t_ns)
        return found

    def _learn(self, one: _One, value: float, weather: Any) -> None:
        one.rows.append([value, *weather.tolist()])
        if len(one.rows) >= max(self.params.train, 10 + 4 * self._weather.columns):
            rows = np.array(one.rows)
            try:
                one.baseline, one.rows = fit_baseline(rows[:, 0], rows[:, 1:]), []
            except ValueError:  # the sensor stood still: it is learned from what comes
                one.rows = one.rows[len(one.rows) // 10 + 1 :]

    def _judge(self, one: _One, value: float, weather: Any, t_ns: int) -> list[Finding]:
        assert one.baseline is not None
        rest = float(one.baseline.residuals([[value]], weather[None, :])[0][0, 0])
        scatter = float(np.sqrt(one.baseline.cov[0, 0]))
        one.last = rest
        told = {"mean": value, "scatter": scatter}
        found = self._grade(one, one.level, "residual", rest, self.params.limits, SCATTERS * scatter, t_ns, told)
        day = (t_ns - 1) // DAY_NS
        if one.today and day != one.day:
            one.days = [*one.days, [one.day, float(np.median(one.today))]][-self.params.growth_days :]
            one.today = []
            found += self._grow(one, t_ns)
        one.day = day
        one.today.append(rest)
        return found

    def _grow(self, one: _One, t_ns: int) -> list[Finding]:
        """Once a day."""
        if not self.params.growth_limits or len(one.days) < min(30, self.params.growth_days):
            return []
        days = np.array(one.days)
        slope, _, low, high = theilslopes(days[:, 1], days[:, 0] / YEAR_D)
        sure = float(slope) if low * high > 0 else 0.0
        told = {"low": float(low), "high": float(high), "days": len(days)}
        return self._grade(one, one.growth, "growth", sure, self.params.growth_limits, 0.0, t_ns, told, confirm=1)

    def _grade(self, one: _One, state: _Alarm, kind: str, value: float, limits: Sequence[Limit], least: float, t_ns: int,
               told: dict[str, Any], confirm: int | None = None) -> list[Finding]:  # fmt: skip
        """Raise, raise higher, end."""
        need = confirm or self.params.confirm
        reached = [(r.severity, bound) for r in limits
                   for bound in [max(r.above, least) if r.above is not None else min(r.below or 0.0, -least)]
                   if (value >= bound if r.above is not None else value <= bound)]
        state.run, state.back = (state.run + 1, 0) if reached else (0, state.back + 1)
        if state.run == 1:
            state.first_ns = t_ns - self._bin_ns
        over = not state.run and bool(state.severity) and state.back >= need
        severity, bound = max(reached, default=(state.severity, float("nan")))
        if not over and (state.run < need or severity <= state.severity):
            return []
        if not state.severity:
            state.onset_ns = state.first_ns
        state.severity = state.severity if over else severity
        unit = one.channel.unit + ("/a" if kind == "growth" else "")
        said = Finding(kind=kind, t_ns=t_ns, onset_ns=state.onset_ns, active=not over, severity=state.severity, value=value,
                       score=1.0 if over else abs(value / bound), limit=None if over else bound, unit=unit,
                       source=one.channel.name, evidence={**told, "widened": bool(not over and abs(bound) == least)})  # fmt: skip
        if over:
            state.severity = 0
        return [said]

    def report(self) -> list[dict[str, Any]]:
        return [{"channel": one.channel.name, "residual": one.last,
                 "phase": "train" if one.baseline is None else "watch"} for one in self._ones]

    def save(self) -> dict[str, Any]:
        return {"version": VERSION, "weather": self._weather.save(), "values": self._values.save(), "next": self._next_ns,
                "newest": self._newest_ns, "ones": [
                    {"rows": o.rows, "baseline": None if o.baseline is None else o.baseline.save(), "day": o.day,
                     "today": o.today, "days": o.days, "last": o.last,
                     "alarms": [[a.run, a.back, a.severity, a.onset_ns, a.first_ns] for a in (o.level, o.growth)]}
                    for o in self._ones]}

    def load(self, state: Mapping[str, Any]) -> None:
        if state.get("version") != VERSION or len(state.get("ones", ())) != len(self._ones):
            raise StateError(f"regressed: saved state is of another version or has not {len(self._ones)} channels")
        self._weather.load(state["weather"])
        self._values.load(state["values"])
        self._next_ns, self._newest_ns = state["next"], int(state["newest"])
        for one, saved in zip(self._ones, state["ones"], strict=True):
            one.rows, one.days = [list(r) for r in saved["rows"]], [list(r) for r in saved["days"]]
            one.baseline = None if saved["baseline"] is None else Baseline.of(saved["baseline"])
            one.day, one.today, one.last = int(saved["day"]), list(saved["today"]), float(saved["last"])
            one.level, one.growth = (_Alarm(*(int(v) for v in a)) for a in saved["alarms"])
