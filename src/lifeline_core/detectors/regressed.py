"""Slow quantities freed of the weather: joints, bearings, tilt, deflection, cracks - what is left, and how it grows.

::

    value, 10-minute means --+                     learned from the first `train` bins
                             +-> regression -> residual -> limits (in the channel's unit), on `confirm` bins in a row
    temperature, its past  --+                        +-> daily medians -> growth per year -> growth_limits
                                                                +-> of the last days -> rate per day -> rate_limits

A joint opens and closes by centimetres between summer and winter; a limit on the raw value must be wider than that, one on
the residual need not be. The residual's own scatter is told with each finding: a limit within three of its standard
deviations would speak for the noise, so such a limit is widened to them, and the finding says so. In weather that training
has not seen the scatter is larger, by the regression's leverage; residuals that follow each other count as fewer.

Limits are of the residual, or with ``limits_on = "freed"`` of the value as it would be in the mean weather of training: the
width of a crack, not its change.

Source: linear and two-sloped regression on temperature as in B. Peeters and G. De Roeck, Earthq. Eng. Struct. Dyn. 30 (2001)
149-171; slope of daily medians after H. Theil (1950) and P. K. Sen, JASA 63 (1968) 1379-1389.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from scipy.stats import theilslopes

from lifeline_core.bridges.baseline import Baseline, fit_baseline
from lifeline_core.bridges.weather import Weather
from lifeline_core.detectors.base import (
    DesignParams,
    Detector,
    Group,
    Held,
    Limit,
    LimitRow,
    bound,
    order_faults,
    relation,
    where_of,
)
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Break, Channel, Finding, Site, Watch

VERSION = 2
KINDS = ("residual", "growth", "rate")
PATIENCE_NS = 60 * NS  # after its end a bin waits so long for slow channels
SCATTERS = 3.0  # of the residual: no limit is nearer
DAY_NS = 86_400 * NS
YEAR_D = 365.25
FULL = 0.7  # of its days a slope needs
APART = 0.05  # of the days' variance must be left when the weather's part of it is taken out


class RegressedParams(DesignParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of a ``regressed`` watch: its last ``environment`` channels explain the others."""

    environment: Annotated[int, Meta(ge=1, le=16, description="so many channels at the end of the list tell the weather")] = 1
    limits: Annotated[
        tuple[LimitRow, ...], Meta(description="limits in the channel's unit, or as share of design or off as_built")
    ] = ()
    limits_on: Annotated[
        Literal["residual", "freed"],
        Meta(description="what limits are of: what the weather leaves, or the value as in the mean weather of training"),
    ] = "residual"
    growth_limits: Annotated[tuple[Limit, ...], Meta(description="limits of its growth, in the channel's unit a year")] = ()
    growth_days: Annotated[int, Meta(ge=7, le=3660, description="daily medians the growth is read from")] = 180
    rate_limits: Annotated[tuple[Limit, ...], Meta(description="limits of its rate, in the channel's unit a day")] = ()
    rate_days: Annotated[int, Meta(ge=5, le=90, description="daily medians the rate is read from")] = 7
    lag_s: Annotated[float, Meta(ge=0.0, le=864_000.0, description="also the mean weather of so long before; 0: not")] = 0.0
    bin_s: Annotated[float, Meta(ge=60.0, le=86_400.0, description="length of a bin; bins begin at its multiples, UTC")] = 600.0
    train: Annotated[int, Meta(ge=20, le=200_000, description="bins the regression is learned from")] = 4032
    confirm: Annotated[int, Meta(ge=1, le=1000, description="bins in a row that a limit, or its end, must hold")] = 3

    def faults(self) -> list[str]:
        if not (self.limits or self.growth_limits or self.rate_limits):
            return ["limits: at least one of limits, growth_limits and rate_limits must be given"]
        found = self.bound_faults("limits", self.limits)
        for key in ("growth_limits", "rate_limits"):
            found += order_faults(key, getattr(self, key))
            found += [f"{key}: a limit above must be above 0 and one below under it, is {bound(r)}" for r in getattr(self, key)
                      if not (r.above or 0.0) - (r.below or 0.0) > 0.0]
        return found


@dataclass(slots=True)
class _One:
    """A channel: what it learned from, its baseline, its days."""

    channel: Channel
    rows: list[list[float]] = field(default_factory=list)  # value and weather of the training bins
    baseline: Baseline | None = None
    day: int = 0
    today: list[list[float]] = field(default_factory=list)
    days: list[list[float]] = field(default_factory=list)  # [day, median residual, mean weather]
    mean: float = 0.0  # of the value in training
    follow: float = 1.0  # so many residuals in a row are worth one
    held: dict[str, Held] = field(default_factory=lambda: {kind: Held() for kind in KINDS})
    last: float = float("nan")


def without(weather: NDArray[np.float64], y: NDArray[np.float64], t: NDArray[np.float64]) -> tuple[Any, Any] | None:
    """y and t less what a day's weather and the day's before explain of each; None where t is hardly anything else.

    The slope of the one on the other is the growth beside the weather: what training got wrong of the weather does not
    pass for growth, nor does a season. Source: R. Frisch and F. V. Waugh, Econometrica 1 (1933) 387-401.
    """
    past = np.vstack([weather[:1], weather[:-1]])
    x = np.column_stack([np.ones(len(y)), weather, past])
    x[:, 1:] -= x[:, 1:].mean(axis=0)
    both = np.column_stack([y, t])
    rest = both - x @ np.linalg.lstsq(x, both, rcond=1e-9)[0]
    return (rest[:, 0], rest[:, 1]) if np.var(rest[:, 1]) >= APART * np.var(t) else None


class Regressed(Detector):
    """Kinds ``residual``, ``growth`` and ``rate``, source = the channel's name.

    ``residual``: ``value`` is the bin's mean less what the weather explains, or with ``limits_on = "freed"`` the mean of
    training plus that; evidence: ``mean`` of the bin, ``scatter`` (standard deviation of the residual, as far as training can
    know it for this weather), ``widened``. ``growth``: ``value`` per year, from daily medians; ``rate``: per day, from the last
    ``rate_days`` of them; of both the end of the 95 % interval that is nearer to 0 must reach the limit.
    """

    PARAMS = RegressedParams
    KINDS = KINDS
    IRREGULAR = True
    CHANNELS = (2, None)

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        super().__init__(watch, groups, site)
        if watch.params is None:
            raise ValueError("limits: at least one of limits, growth_limits and rate_limits must be given, are none")
        self.params: RegressedParams = watch.params
        if found := self.params.faults():
            raise ValueError("; ".join(found))
        own = len(watch.channels) - self.params.environment
        if own < 1:
            raise ValueError(f"environment: must leave a channel to be judged, is {self.params.environment}")
        names = watch.channels[own:]
        self._ones = [_One(c) for g in self.groups for c in g.channels if c.name not in names]
        self._limits = self.params.bounds(self.params.limits)
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
        if len(one.rows) < max(self.params.train, 10 + 4 * self._weather.columns):
            return
        rows = np.array(one.rows)
        try:
            one.baseline, one.rows = fit_baseline(rows[:, 0], rows[:, 1:]), []
        except ValueError:  # the sensor stood still: it is learned from what comes
            one.rows = one.rows[len(one.rows) // 10 + 1 :]
            return
        rest = one.baseline.residuals(rows[:, 0], rows[:, 1:])[0][:, 0]
        like = min(0.999, max(0.0, float(rest[1:] @ rest[:-1] / (rest @ rest))))
        one.mean, one.follow = float(rows[:, 0].mean()), min((1.0 + like) / (1.0 - like), len(rows) / 10.0)

    def _judge(self, one: _One, value: float, weather: Any, t_ns: int) -> list[Finding]:
        assert one.baseline is not None
        residual, leverage = one.baseline.residuals([[value]], weather[None, :])
        one.last = rest = float(residual[0, 0])
        scatter = float(np.sqrt(one.baseline.cov[0, 0] * (1.0 + one.follow * leverage[0])))
        about = one.mean if self.params.limits_on == "freed" else None
        found = self._grade(one, "residual", rest, self._limits, t_ns, {"mean": value, "scatter": scatter}, about=about,
                            least=SCATTERS * scatter, need=self.params.confirm)
        day = (t_ns - 1) // DAY_NS
        if one.today and day != one.day:
            p, today = self.params, np.array(one.today)
            keep = max(p.growth_days, p.rate_days)
            one.days = [*one.days, [one.day, float(np.median(today[:, 0])), *today[:, 1:].mean(axis=0).tolist()]][-keep:]
            one.today = []
            found += self._slope(one, "growth", p.growth_limits, p.growth_days, YEAR_D, t_ns)
            found += self._slope(one, "rate", p.rate_limits, p.rate_days, 1.0, t_ns)
        one.day = day
        one.today.append([rest, *weather.tolist()])
        return found

    def _slope(self, one: _One, kind: str, limits: Sequence[Limit], days: int, per_d: float, t_ns: int) -> list[Finding]:
        """Of the medians of the last days; judged once a day."""
        read = np.array([row for row in one.days if row[0] > one.day - days])
        if not limits or len(read) < max(5.0, FULL * days):
            return []
        y, t = read[:, 1], read[:, 0] / per_d
        if kind == "growth" and (apart := without(read[:, 2:], y, t)) is not None:
            y, t = apart
        elif kind == "growth":
            return []
        slope, _, low, high = map(float, theilslopes(y, t))
        sure = max(low, 0.0) + min(high, 0.0)  # the end of the interval that is nearer to 0; 0 where it holds 0
        return self._grade(one, kind, sure, limits, t_ns, {"low": low, "high": high, "days": len(read)}, value=slope)

    def _grade(self, one: _One, kind: str, rest: float, limits: Sequence[Limit], t_ns: int, told: dict[str, Any], *,
               value: float | None = None, about: float | None = None, least: float = 0.0,
               need: int = 1) -> list[Finding]:  # fmt: skip
        """``rest`` lies about 0. Limits are of it, or of a value about ``about``; none is nearer than ``least`` but one that
        such a value has passed in the mean weather already."""
        reached: list[tuple[int, float]] = []
        for r in limits:
            far, side = bound(r) - (about or 0.0), 1.0 if r.above is not None else -1.0
            if about is None or far * side > 0.0:
                far = side * max(far * side, least)
            if (rest - far) * side >= 0.0:
                reached.append((r.severity, far))
        step = one.held[kind].see(max(reached, default=(0,))[0], t_ns - self._bin_ns, need=need)
        if step is None:
            return []
        value = (about or 0.0) + rest if value is None else value
        limit, score, widened = None, 1.0, False
        if step.active:
            far = min(row for row in reached if row[0] >= step.severity)[1]
            limit, widened = (about or 0.0) + far, abs(far) == least
            score = abs(value / far) if about is None else 1.0 + abs(rest - far) / (abs(limit) or 1.0)
        unit = one.channel.unit + {"growth": "/a", "rate": "/d"}.get(kind, "")
        stands = relation(value, value if limit is None else limit, step.active)
        return [Finding(kind=kind, t_ns=t_ns, onset_ns=step.onset_ns, active=step.active, severity=step.severity, value=value,
                        score=score, limit=limit, unit=unit, source=one.channel.name, where=where_of(one.channel),
                        evidence={**told, "widened": widened, "relation": stands})]  # fmt: skip

    def report(self) -> list[dict[str, Any]]:
        return [{"channel": one.channel.name, "residual": one.last,
                 "phase": "train" if one.baseline is None else "watch"} for one in self._ones]

    def save(self) -> dict[str, Any]:
        return {"version": VERSION, "weather": self._weather.save(), "values": self._values.save(), "next": self._next_ns,
                "newest": self._newest_ns, "ones": [
                    {"rows": o.rows, "baseline": None if o.baseline is None else o.baseline.save(), "day": o.day,
                     "today": o.today, "days": o.days, "last": o.last,
                     "mean": o.mean, "follow": o.follow, "held": {kind: held.save() for kind, held in o.held.items()}}
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
            one.day, one.today, one.last = int(saved["day"]), [list(r) for r in saved["today"]], float(saved["last"])
            one.mean, one.follow = float(saved["mean"]), float(saved["follow"])
            one.held = {kind: Held.of(saved["held"][kind]) for kind in self.KINDS}
