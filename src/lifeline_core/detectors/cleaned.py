"""What stands before a detector whose watch asks for clean samples: blocks and breaks go in, blocks and breaks come out.

::

    [watch.w.clean]                    block, block, Break  ->  ..block, block, rest, Break
    window = 101                       every removed sample is NaN (or filled), and counted by channel and reason

Samples of a channel with a rate come out half a window late, for only what follows tells a spike from a step; the times of
samples stay theirs. A seam lets out what is held before it, judged by what there is. Irregular channels are checked at once
against their range and wait for nothing, unless ``ahead`` says so: half a window of a thermometer would be hours.

Source of the practice: rolling median and MAD, window 24, threshold 3, offline (bridge monitoring programs in service); on white
noise that takes out more than one good sample in a hundred, hence the defaults here (``python -m bench.clean_study``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from lifeline_core.dsp.cleaning import REASONS, Cleaner, Rules
from lifeline_core.dsp.delayed import Delayed
from lifeline_core.errors import StateError
from lifeline_core.model import Block, Break, Channel

VERSION = 1
REMOVED = REASONS[1:]
ROUNDING = 1e-6  # of a range's ends: counts times a scale end up beside them


class Clean(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of ``clean`` of a watch."""

    window: Annotated[int, Meta(ge=11, le=4095, description="samples whose median and MAD tell what is usual; odd")] = 101
    threshold: Annotated[float, Meta(gt=0.0, le=1000.0, description="standard deviations (1.4826 MAD) off is a spike")] = 4.5
    max_run: Annotated[int, Meta(ge=1, le=5, description="so many samples in a row may be a spike; longer is an event")] = 3
    ahead: Annotated[
        Annotated[int, Meta(ge=0, le=2047)] | None,
        Meta(description="samples waited for to judge one; 0: range and stuck only; half a window, for irregular channels 0"),
    ] = None
    floor: Annotated[float, Meta(ge=0.0, description="in the channel's unit: nothing nearer than this is a spike")] = 0.0
    range: Annotated[
        tuple[float, float] | None, Meta(description="values outside are removed; absent: the channel's range, if it has one")
    ] = None
    stuck_s: Annotated[float, Meta(ge=0.0, le=31_536_000.0, description="one value for so long is removed; 0: not")] = 0.0
    fill: Annotated[
        Literal["nan", "line"], Meta(description="in the place of a spike: nan = nothing, line = the middle of its neighbours")
    ] = "nan"

    def rules(self, rate_hz: float | None) -> Rules:
        """For channels of one rate; ValueError (``key: rule, value``) where the keys do not fit each other."""
        ahead = 0 if self.ahead is None and rate_hz is None else self.ahead
        stuck = max(2, ceil(self.stuck_s * rate_hz)) if self.stuck_s and rate_hz else 0
        return Rules(self.window, self.threshold, self.max_run, ahead, self.floor, stuck, self.fill == "line")

    def ends(self, channel: Channel) -> tuple[float, float] | None:
        """Values beyond are impossible for this channel."""
        ends = self.range or channel.range
        if ends is None:
            return None
        margin = ROUNDING * max(abs(ends[0]), abs(ends[1]))
        return ends[0] - margin, ends[1] + margin

    def faults(self) -> list[str]:
        """What is wrong between keys that are each right by themselves."""
        if self.range is not None and not self.range[0] < self.range[1]:
            return [f"range: must be ordered, low before high, is {list(self.range)}"]
        try:
            self.rules(1.0)
        except ValueError as error:
            return [str(error)]
        return []


class _Line:
    """One group's stream: its cleaner, and where the samples it holds belong."""

    def __init__(self, channels: Sequence[Channel], clean: Clean) -> None:
        self.cleaner = Cleaner(len(channels), clean.rules(channels[0].rate_hz), [clean.ends(c) for c in channels])
        self.held = Delayed()

    def push(self, block: Block) -> list[Block]:
        if not block.n:
            return []
        self.held.put(block)
        return list(self.held.take(self.cleaner.push(block.x)[0]))

    def flush(self) -> list[Block]:
        return list(self.held.take(self.cleaner.flush()[0]))

    def save(self) -> dict[str, Any]:
        return {"cleaner": self.cleaner.save(), "held": self.held.save()}

    def load(self, state: Mapping[str, Any]) -> None:
        self.cleaner.load(bytes(state["cleaner"]))
        self.held.load(bytes(state["held"]))


class Cleaning:
    """The stage of one watch: a line for each group, and a second one for history. `removed` counts since the first start."""

    def __init__(self, clean: Clean, groups: Sequence[Sequence[Channel]]) -> None:
        self.clean, self._groups = clean, [tuple(g) for g in groups]
        self._lines: dict[tuple[int, int], _Line] = {}  # by lane and group
        self._past: dict[str, list[int]] = {c.name: [0] * len(REMOVED) for g in groups for c in g}

    def take(self, group: int, lane: int, piece: Block | Break) -> list[Block | Break]:
        """What a block or a break makes come out."""
        line = self._lines.get((lane, group)) or self._line(lane, group)
        if isinstance(piece, Block):
            return [*line.push(piece)]
        return [*line.flush(), piece]

    def flush(self) -> list[tuple[int, int, Block]]:
        """The streams end: lane, group and what was held."""
        return [(lane, group, block) for (lane, group), line in sorted(self._lines.items()) for block in line.flush()]

    def regroup(self, groups: Sequence[Sequence[Channel]]) -> None:
        """Channels arrive otherwise than thought: streams begin anew, the counts go on."""
        self._past = self.removed()
        self._groups, self._lines = [tuple(g) for g in groups], {}

    def removed(self) -> dict[str, list[int]]:
        """For each channel how many samples were removed, by reason in the order of REMOVED."""
        found = {name: list(past) for name, past in self._past.items()}
        for (_, group), line in self._lines.items():
            for channel, row in zip(self._groups[group], line.cleaner.counts[:, 1:].tolist(), strict=True):
                found[channel.name] = [a + b for a, b in zip(found[channel.name], row, strict=True)]
        return found

    def _line(self, lane: int, group: int) -> _Line:
        line = self._lines[lane, group] = _Line(self._groups[group], self.clean)
        return line

    def save(self) -> dict[str, Any]:
        return {"version": VERSION, "past": self._past, "groups": [[c.name for c in g] for g in self._groups],
                "lines": [[lane, group, line.save()] for (lane, group), line in self._lines.items()]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take what `save` gave; StateError where groups, rules or version are others."""
        names = [[c.name for c in g] for g in self._groups]
        if state.get("version") != VERSION or state.get("groups") != names:
            raise StateError(f"cleaning: saved state is of another version or not of the groups {names}")
        self._lines = {}
        for lane, group, saved in state["lines"]:
            self._line(int(lane), int(group)).load(saved)
        self._past = {name: [int(n) for n in row] for name, row in state["past"].items()}
