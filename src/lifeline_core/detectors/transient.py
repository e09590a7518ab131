"""Steps of pressure at single sensors: when one began, how large it is and to which side.

What a step is, and how its onset is found, is told in `lifeline_core.pipes.follower` and `lifeline_core.pipes.onset`;
this row gives it names and times::

    pressure ─────╮  onset: the corner            raised once post_s of the new level are seen
                   ╲_╱‾╲__╱‾╲_______________      ended after hold_s without a further step,
                                                  at whatever level it is then

A change that takes longer than ``rise_s`` is a change of demand, and none at all to this detector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from lifeline_core.detectors.base import Detector, Group, Limit, Params, Severity
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Break, Channel, Finding, Site, Watch
from lifeline_core.pipes.follower import Follower, Seen, Steps
from lifeline_core.pipes.onset import Onset

VERSION = 1

Size = Annotated[float, Meta(gt=0.0, le=1e12)]
Seconds = Annotated[float, Meta(ge=0.05, le=10.0)]


class TransientParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of a ``transient`` watch; all have defaults, meant for metres of head."""

    min_step: Annotated[
        Size, Meta(description="smallest step that is reported, in the channel's unit; noise raises it")
    ] = 0.3
    severity: Annotated[Severity, Meta(description="of a step that reaches none of the limits")] = 1
    limits: Annotated[
        tuple[Limit, ...], Meta(description="severity by the size of a drop or surge, above only, in the channel's unit")
    ] = (Limit(severity=2, above=1.0), Limit(severity=3, above=5.0))
    rise_s: Annotated[Seconds, Meta(description="a change that takes longer to reach min_step is one of demand")] = 0.7
    pre_s: Annotated[Seconds, Meta(description="length of the level before")] = 0.5
    post_s: Annotated[Seconds, Meta(description="length of the level after: a shorter dip or spike is no step")] = 0.25
    hold_s: Annotated[
        float, Meta(ge=1.0, le=86_400.0, description="ended after so long without a further step")
    ] = 30.0

    def faults(self) -> list[str]:
        found = [f"limits: a step has a size, so each limit is above, is below {limit.below}"
                 for limit in self.limits if limit.above is None]  # fmt: skip
        rows = sorted((limit for limit in self.limits if limit.above is not None), key=lambda r: r.above or 0.0)
        for mild, grave in pairwise(rows):
            if mild.above == grave.above or mild.severity >= grave.severity:
                found.append(
                    f"limits: severity must rise with the limit, is {mild.severity} above {mild.above} "
                    f"and {grave.severity} above {grave.above}"
                )
        return found


@dataclass(slots=True)
class Episode:
    """What is open at one channel: when it began and the gravest that was said."""

    onset_ns: int = 0
    severity: int = 0  # 0: nothing is open


class Transient(Detector):
    """Watches every regular channel by itself; kind ``transient``, source = the channel's name.

    ``value`` is the change of level, with its sign. Evidence: ``step`` (the same), ``polarity`` of the first motion
    (-1 drop, 1 surge), ``rise_s`` to 80 % of the step, ``onset_sd_s`` (with the device's clock, where it tells its own),
    ``quality`` 0 .. 1, ``noise`` of single samples. An episode is said again when a further step is graver.
    """

    PARAMS = TransientParams
    KINDS = ("transient",)

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        super().__init__(watch, groups, site)
        params = watch.params if watch.params is not None else TransientParams()
        if found := params.faults():
            raise ValueError("; ".join(found))
        self.params: TransientParams = params
        steps = Steps(params.min_step, params.rise_s, params.pre_s, params.post_s, params.hold_s)
        self._followers = [[Follower(float(g.rate_hz or 0.0), steps) for _ in g.channels] for g in self.groups]
        self._episodes = [[Episode() for _ in g.channels] for g in self.groups]

    def push(self, group: int, block: Block) -> list[Finding]:
        x = np.asarray(block.x, dtype=np.float32)
        said: list[tuple[int, Finding]] = []
        for row, channel in enumerate(self.groups[group].channels):
            follower = self._followers[group][row]
            before = follower.samples
            for seen in follower.push(x[row]):
                found = self._speak(channel, self._episodes[group][row], seen, before, row, block)
                if found is not None:
                    said.append((seen.sample - before, found))
        # In the order in which it could be said, whichever the block.
        return [found for _, found in sorted(said, key=lambda pair: pair[0])]

    def _speak(
        self, channel: Channel, episode: Episode, seen: Seen, before: int, row: int, block: Block
    ) -> Finding | None:
        """A confirmed step or the end of an episode; ``before`` samples were taken before this block."""
        t_ns = block.time_ns(seen.sample - before)
        if seen.onset is None:
            if not episode.severity:
                return None
            ended = Finding(
                kind="transient", t_ns=t_ns, onset_ns=episode.onset_ns, active=False, severity=episode.severity,
                unit=channel.unit, source=channel.name, where=place(channel), historical=block.historical,
            )  # fmt: skip
            episode.severity = 0
            return ended
        severity, limit = self._grade(abs(seen.onset.step))
        if severity <= episode.severity:
            return None
        if not episode.severity:
            episode.onset_ns = min(t_ns, onset_time(seen.onset.index - before, row, block))
        episode.severity = severity
        return self._raised(channel, episode, seen.onset, t_ns, limit, block)

    def _raised(
        self, channel: Channel, episode: Episode, onset: Onset, t_ns: int, limit: float, block: Block
    ) -> Finding:
        return Finding(
            kind="transient", t_ns=t_ns, onset_ns=episode.onset_ns, active=True, severity=episode.severity,
            score=abs(onset.step) / self.params.min_step, value=onset.step, limit=limit, unit=channel.unit,
            source=channel.name, where=place(channel), historical=block.historical, quality=onset.quality,
            evidence={
                "step": onset.step,
                "polarity": onset.polarity,
                "rise_s": onset.rise_s,
                "onset_sd_s": float(np.hypot(onset.sd_s, block.clock_sd_us * 1e-6)),
                "quality": onset.quality,
                "noise": onset.noise,
            },
        )  # fmt: skip

    def _grade(self, size: float) -> tuple[int, float]:
        """Severity of a step and the limit that it reached."""
        reached = [(r.severity, r.above) for r in self.params.limits if r.above is not None and size >= r.above]
        return max([(self.params.severity, self.params.min_step), *reached])

    def gap(self, group: int, brk: Break) -> list[Finding]:
        """The level behind a seam is another; an open episode waits for hold_s of quiet after it."""
        for follower in self._followers[group]:
            follower.restart()
        return []

    def save(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "followers": [[f.save() for f in group] for group in self._followers],
            "episodes": [[[e.onset_ns, e.severity] for e in group] for group in self._episodes],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        shape = [len(g.channels) for g in self.groups]
        if state.get("version") != VERSION or [len(g) for g in state.get("followers", ())] != shape:
            raise StateError(f"transient: state of version {VERSION} for {shape} channels, got {state.get('version')!r}")
        for group, saved in zip(self._followers, state["followers"], strict=True):
            for follower, one in zip(group, saved, strict=True):
                follower.load(one)
        self._episodes = [[Episode(*one) for one in group] for group in state["episodes"]]


def place(channel: Channel) -> dict[str, Any]:
    """Where a channel is, as far as the configuration says."""
    where = {"node": channel.node, "position_m": channel.position_m}
    return {key: value for key, value in where.items() if value is not None}


def onset_time(i: float, row: int, block: Block) -> int:
    """Time of a sample of this block that may be fractional and lie before it; the row's skew is added."""
    whole = int(np.floor(i))
    skew_s = block.skew_s[row] if block.skew_s else 0.0
    return block.time_ns(whole) + round(((i - whole) / block.rate_hz + skew_s) * NS)
