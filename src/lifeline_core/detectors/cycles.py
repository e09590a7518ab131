r"""Cycles of load: what a pipe's wall or a girder's detail goes through in every period of the clock, against limits of wear.

::

    10:00        11:00        12:00
    |~~~/\/\~~~~~|/\/\/\/\/\/\|~~~~~~        pressure, strain
      damage 2     damage 19    ...          told when the hour is over; limits decide, where the watch has any
                   raise        end

Rainflow counts the cycles (ASTM E1049-85), the damage sum weighs them by range to the power ``exponent``, or by a curve of two
slopes (``range_2e6``): then it is Miner's sum. Without limits nothing is ever alarmed: `report` tells the last period of every
channel, with its cycles by classes of range where ``histogram_step`` is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isfinite
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from lifeline_core.bridges.fatigue import Curve, StrainCycles, StrainPeriod
from lifeline_core.detectors.base import Detector, Group, Limit, Params
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Finding, Site, Watch
from lifeline_core.pipes.cycles import PERCENTILES, Period, PressureCycles

VERSION = 1


class CyclesParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of a ``cycles`` watch."""

    exponent: Annotated[
        float, Meta(gt=0.0, le=50.0, description="m of the damage sum n range^m: the S-N slope of the pipe's wall or the detail")
    ]
    period_s: Annotated[
        float, Meta(ge=1.0, le=31_536_000.0, description="length of a period; periods begin at its multiples, UTC")
    ] = 3600.0
    gate: Annotated[
        float, Meta(ge=0.0, description="cycles of a smaller range are none: the sensor's noise, in the channel's unit")
    ] = 0.0
    damage_limits: Annotated[
        tuple[Limit, ...], Meta(description="limits above for a period's damage sum, in the channel's unit to the power exponent")
    ] = ()
    count_limits: Annotated[
        tuple[Limit, ...], Meta(description="limits above for a period's number of cycles of count_range or more")
    ] = ()
    count_range: Annotated[float, Meta(ge=0.0, description="least range that count_limits count, in the channel's unit")] = 0.0
    range_2e6: Annotated[
        Annotated[float, Meta(gt=0.0)] | None,
        Meta(description="range borne 2e6 times, in the channel's unit (detail category over modulus): damage is then Miner's sum"),
    ] = None
    exponent_2: Annotated[
        float, Meta(gt=0.0, le=50.0, description="with range_2e6: slope from 5e6 cycles on, until nothing wears at 1e8")
    ] = 5.0
    compressive: Annotated[
        float, Meta(ge=0.0, le=1.0, description="share of a range's part below zero that counts: 1, or 0.6 where nothing is welded")
    ] = 1.0
    zero: Annotated[float, Meta(description="reading at which the stress is 0, for compressive below 1")] = 0.0
    histogram_step: Annotated[float, Meta(ge=0.0, description="report cycles by classes of range so wide; 0: do not")] = 0.0
    coverage: Annotated[
        float, Meta(gt=0.0, le=1.0, description="a period with a smaller part of its samples raises, but ends no alarm")
    ] = 0.7

    def faults(self) -> list[str]:
        return [*_faults("damage_limits", self.damage_limits), *_faults("count_limits", self.count_limits)]


def _faults(key: str, limits: Sequence[Limit]) -> list[str]:
    found = [f"{key}: wear has limits above only, is below {r.below}" for r in limits if r.above is None]
    rows = sorted((r.above, r.severity) for r in limits if r.above is not None)
    found += [f"{key}: a limit must be finite and above 0, is {a}" for a, _ in rows if not (isfinite(a) and a > 0.0)]
    return found + [f"{key}: severity must rise with the limit, is {s} at {a} and {t} at {b}"
                    for (a, s), (b, t) in pairwise(rows) if t <= s or b <= a]


class Cycles(Detector):
    """Kinds ``cycle-damage`` and ``cycle-count``, source = the channel's name; every channel by itself.

    ``value`` is the period's damage sum, or its cycles of ``count_range`` and more; ``onset_ns`` the first sample of the first
    period that reached a limit, ``t_ns`` when that period could be told, ``score`` the value over the mildest limit, ``limit``
    the highest one reached. An alarm ends with the first well covered period below the mildest limit. A gap is passed over: the
    load did go from the sample before it to the one behind it, and what it did in between is missing from the count.
    """

    PARAMS = CyclesParams
    KINDS = ("cycle-damage", "cycle-count")

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        super().__init__(watch, groups, site)
        if watch.params is None:
            raise ValueError("cycles: exponent must be given")
        self.params: CyclesParams = watch.params
        if found := self.params.faults():
            raise ValueError("; ".join(found))
        p = self.params
        self._rules = {kind: sorted((r.above, r.severity) for r in limits if r.above is not None)
                       for kind, limits in zip(self.KINDS, (p.damage_limits, p.count_limits), strict=True)}
        self._counts = [_counter(len(g.channels), p) for g in self.groups]
        # per channel and kind: severity that is on (0: none) and its onset
        self._open = [[[[0, 0] for _ in self.KINDS] for _ in g.channels] for g in self.groups]
        self._historical = [False] * len(self.groups)
        self._told: dict[str, Period] = {}  # for report(): not state

    def push(self, group: int, block: Block) -> list[Finding]:
        self._historical[group] |= block.historical
        x = np.ascontiguousarray(block.x, dtype=np.float32)
        return self._say(group, self._counts[group].push(x, block.anchor_ns, block.index, block.rate_num, block.rate_den),
                         block.historical)

    def flush(self) -> list[Finding]:
        return [f for group, counts in enumerate(self._counts) for f in self._say(group, counts.flush(), False)]

    def _say(self, group: int, told: Sequence[tuple[int, Period]], historical: bool) -> list[Finding]:
        found: list[Finding] = []
        for row, period in told:
            self._told[self.groups[group].channels[row].name] = period
            for k, (kind, value) in enumerate(zip(self.KINDS, (period.damage, period.large), strict=True)):
                if self._rules[kind]:
                    found += self._judge(group, row, k, value, period)
        if told:
            self._historical[group] = historical and self._counts[group].begun
        return found

    def _judge(self, group: int, row: int, k: int, value: float, period: Period) -> list[Finding]:
        kind, state = self.KINDS[k], self._open[group][row][k]
        limits = self._rules[kind]
        reached = [(limit, severity) for limit, severity in limits if value >= limit]
        if reached and reached[-1][1] > state[0]:
            limit, severity = reached[-1]
            state[:] = severity, state[1] if state[0] else period.first_ns
            return [self._finding(group, row, kind, True, value, limit, state, period)]
        if state[0] and not reached and period.coverage >= self.params.coverage:
            over = self._finding(group, row, kind, False, value, limits[0][0], state, period)
            state[:] = 0, 0
            return [over]
        return []

    def _finding(self, group: int, row: int, kind: str, active: bool, value: float, limit: float, state: Sequence[int],
                 period: Period) -> Finding:
        channel, p = self.groups[group].channels[row], self.params
        unit = "cycles" if kind == "cycle-count" else f"{channel.unit}^{p.exponent:g}" if p.range_2e6 is None else "lives"
        where = {} if channel.position_m is None else {"position_m": channel.position_m}
        return Finding(kind=kind, t_ns=period.closed_ns, onset_ns=state[1], active=active, severity=state[0],
                       score=value / self._rules[kind][0][0], value=value, limit=limit, unit=unit, source=channel.name, where=where,
                       evidence={"channel": channel.name, **_evidence(period, p)}, quality=period.coverage,
                       historical=self._historical[group])

    def report(self) -> list[dict[str, Any]]:
        """The last period of each channel that was told; ``histogram[k]`` cycles of k to k + 1 times ``histogram_step``."""
        told = ({"channel": name, "damage": of.damage, **_evidence(of, self.params), **_classes(of, self.params)}
                for name, of in self._told.items())
        return [{key: value for key, value in row.items() if value == value} for row in told]  # a level nobody saw is no number

    def save(self) -> dict[str, Any]:
        return {"version": VERSION, "counts": [c.save() for c in self._counts], "open": self._open, "historical": self._historical}

    def load(self, state: Mapping[str, Any]) -> None:
        try:
            if state["version"] != VERSION or len(state["counts"]) != len(self._counts):
                raise StateError(f"cycles: saved state is of another version or has not {len(self._counts)} groups")
            shape = [len(rows) for rows in self._open]
            opened = [[[[int(a), int(b)] for a, b in kinds] for kinds in rows] for rows in state["open"]]
            past = [bool(h) for h in state["historical"]]
            if [len(rows) for rows in opened] != shape or any(len(k) != len(self.KINDS) for r in opened for k in r) \
                    or len(past) != len(shape):
                raise StateError(f"cycles: saved state is not of groups of {shape} channels")
            for counts, saved in zip(self._counts, state["counts"], strict=True):
                counts.load(saved)
        except (KeyError, TypeError, ValueError) as error:
            raise error if isinstance(error, StateError) else StateError(f"cycles: saved state is damaged: {error}") from error
        self._open, self._historical = opened, past


def _counter(rows: int, p: CyclesParams) -> PressureCycles | StrainCycles:
    length = round(p.period_s * NS)
    if p.range_2e6 is None and p.compressive == 1.0 and not p.histogram_step:
        return PressureCycles(rows, p.exponent, length, large_range=p.count_range, gate=p.gate)
    curve = Curve(p.exponent, p.range_2e6, p.exponent_2, p.compressive, p.zero)
    return StrainCycles(rows, curve, length, large_range=p.count_range, gate=p.gate, step=p.histogram_step)


def _classes(period: Period, p: CyclesParams) -> dict[str, Any]:
    if not isinstance(period, StrainPeriod) or not p.histogram_step:
        return {}
    return {"histogram_step": p.histogram_step, "histogram": list(period.histogram)}


def _evidence(period: Period, p: CyclesParams) -> dict[str, Any]:
    return {"period_start_ns": period.start_ns, "period_s": p.period_s, "coverage": period.coverage, "exponent": p.exponent,
            "cycles": period.cycles, "large_cycles": period.large, "count_range": p.count_range, "largest_range": period.largest,
            "open_damage": period.open_damage, "min": period.minimum, "max": period.maximum, "mean": period.mean,
            **{f"p{share:g}": level for share, level in zip(PERCENTILES, period.percentiles, strict=True)}}
