"""A statistic of clock-aligned bins against ordered limits: the 10-minute mean of wind, the daily peak of a strain.

A bin speaks once, when its last sample is there. A bin of which less than ``coverage`` came says nothing, and an alarm goes
on. "Reaches" is told apart from "exceeds": equal as float32 reaches.

Source of the practice: 10-minute bins of the clock, coverage 0.7: bridge monitoring programs in service
(zjkl19/GuanbingBridgeMonitoring); dead band as in ISA-18.2-2016.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from lifeline_core.detectors.base import DesignParams, Detector, Group, Held, LimitRow, Step, bound, relation, side_of, where_of
from lifeline_core.dsp.stats import NS, Bin, Bins
from lifeline_core.errors import StateError
from lifeline_core.model import Block, Break, Channel, Finding, Site, Watch

VERSION = 2
SIDES = ("above", "below")


class BinnedParams(DesignParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of a ``binned`` watch."""

    limits: Annotated[
        tuple[LimitRow, ...],
        Meta(min_length=1, description="limits of the statistic, in the channel's unit, or as share of design or off as_built"),
    ]
    statistic: Annotated[
        Literal["mean", "max", "min", "rms", "std", "peak"],
        Meta(description="of the samples in a bin; std is the RMS about the mean, peak the largest distance from it"),
    ] = "mean"
    bin_s: Annotated[float, Meta(ge=0.1, le=86400.0, description="length of a bin; bins begin at its multiples, UTC")] = 600.0
    coverage: Annotated[float, Meta(gt=0.0, le=1.0, description="a bin with a smaller part of its samples says nothing")] = 0.7
    hysteresis: Annotated[float, Meta(ge=0.0, description="over at the mildest limit less (plus, for below) this")] = 0.0
    strict: Annotated[bool, Meta(description="a limit must be exceeded; otherwise reaching it is enough")] = False

    def faults(self) -> list[str]:
        return self.bound_faults("limits", self.limits)


class Binned(Detector):
    """Kind ``binned``, source = the channel's name; ``value`` is the statistic of the bin that decided, ``onset_ns`` the start of
    the first bin beyond the mildest limit, ``t_ns`` the end of the bin."""

    PARAMS = BinnedParams
    KINDS = ("binned",)

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        super().__init__(watch, groups, site)
        if watch.params is None:
            raise ValueError("limits: must be given, are none")
        self.params: BinnedParams = watch.params
        if found := self.params.faults():
            raise ValueError("; ".join(found))
        rows = self.params.bounds(self.params.limits)
        self._sides = [[(bound(r), r.severity) for r in side_of(rows, side)] for side in SIDES]
        self._bins = [Bins(len(g.channels), round(self.params.bin_s * NS), [c.range for c in g.channels]) for g in self.groups]
        self._held = [[(Held(), Held()) for _ in g.channels] for g in self.groups]  # of either side
        self._historical = [False for _ in self.groups]
        self._last: dict[str, float] = {}  # for report(): not state

    def push(self, group: int, block: Block) -> list[Finding]:
        x, found = np.ascontiguousarray(block.x, dtype=np.float32), []
        for begin, end, closed in self._bins[group].walk(x, block.anchor_ns, block.index, block.rate_num, block.rate_den):
            self._historical[group] |= block.historical and end > begin
            if closed is not None:
                found += self._close(group, closed)
        return found

    def takers(self, group: int) -> list[object]:
        return [self._bins[group].taker()]

    def gap(self, group: int, brk: Break) -> list[Finding]:
        """Nothing: the bin goes on with what comes."""
        return []

    def flush(self) -> list[Finding]:
        return [f for g, bins in enumerate(self._bins) if (b := bins.flush()) is not None for f in self._close(g, b)]

    def _close(self, group: int, b: Bin) -> list[Finding]:
        found: list[Finding] = []
        for i, channel in enumerate(self.groups[group].channels):
            value = self._value(b, i)
            if b.coverage(i) >= self.params.coverage and value == value:
                self._last[channel.name] = value
                found += self._grade(self._held[group][i], channel, value, b, b.coverage(i), self._historical[group])
        self._historical[group] = False
        return found

    def _value(self, b: Bin, i: int) -> float:
        rows = b.rows
        if self.params.statistic == "peak":
            mean = float(rows["mean"][i])
            return max(float(rows["max"][i]) - mean, mean - float(rows["min"][i]))
        return float(rows[self.params.statistic][i])

    def _reached(self, side: int, value: float, limit: float) -> bool:
        v, at = np.float32(value), np.float32(limit)
        if v == at:
            return not self.params.strict
        return bool(v > at) if side == 0 else bool(v < at)

    def _grade(self, both: tuple[Held, Held], channel: Channel, value: float, b: Bin, coverage: float,
               historical: bool) -> list[Finding]:  # fmt: skip
        """Ends first: from one side to the other within a bin, the first is over."""
        reached = [max((s for limit, s in rows if self._reached(side, value, limit)), default=0)
                   for side, rows in enumerate(self._sides)]
        found: list[Finding] = []
        for side, (held, rows) in enumerate(zip(both, self._sides, strict=True)):
            if not rows:
                continue
            mild = rows[0][0] - self.params.hysteresis if side == 0 else rows[0][0] + self.params.hysteresis
            back = bool(reached[1 - side]) or not self._reached(side, value, mild)
            if step := held.see(reached[side], b.start_ns, back=back):
                limit = {s: limit for limit, s in rows}[step.severity] if step.active else rows[0][0]
                found.append(self._say(step, side, channel, value, limit, b, coverage, historical))
        return sorted(found, key=lambda f: f.active)

    def _say(self, step: Step, side: int, channel: Channel, value: float, limit: float, b: Bin, coverage: float,
             historical: bool) -> Finding:  # fmt: skip
        beyond = value - limit if side == 0 else limit - value
        return Finding(
            kind="binned", t_ns=b.closed_ns, onset_ns=step.onset_ns, active=step.active, severity=step.severity,
            score=max(0.0, 1.0 + beyond / (abs(limit) or 1.0)), value=value, limit=limit, unit=channel.unit, source=channel.name,
            where=where_of(channel), quality=coverage, historical=historical,
            evidence={"statistic": self.params.statistic, "bin_start_ns": b.start_ns, "bin_s": self.params.bin_s,
                      "coverage": coverage, "side": SIDES[side], "relation": relation(value, limit, step.active)},
        )  # fmt: skip

    def report(self) -> list[dict[str, Any]]:
        return [{"channel": name, self.params.statistic: value} for name, value in self._last.items()]

    def save(self) -> dict[str, Any]:
        return {"version": VERSION, "bins": [b.save() for b in self._bins], "historical": list(self._historical),
                "held": [[[held.save() for held in both] for both in group] for group in self._held]}

    def load(self, state: Mapping[str, Any]) -> None:
        shape = [len(g.channels) for g in self.groups]
        if state.get("version") != VERSION or [len(g) for g in state.get("held", ())] != shape:
            raise StateError(f"binned: saved state is of another version or not of {shape} channels")
        for bins, saved in zip(self._bins, state["bins"], strict=True):
            bins.load(bytes(saved))
        self._historical = [bool(h) for h in state["historical"]]
        self._held = [[(Held.of(above), Held.of(below)) for above, below in group] for group in state["held"]]
