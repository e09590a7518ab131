"""Steps of pressure at single sensors: when one began, how large it is and to which side.

What a step is, and how its onset is found, is told in `lifeline_core.pipes.follower` and `lifeline_core.pipes.onset`;
this row gives it names and times::

    pressure ─────╮  onset: the corner            raised once post_s of the new level are seen
                   ╲_╱‾╲__╱‾╲_______________      ended after hold_s without a further step,
                                                  at whatever level it is then

A change of less than 0.7 min_step in ``rise_s`` is one of demand, and none at all to this detector. The full-rate samples
of the last 12 s are kept and can be asked back (`Transient.recall`): a place is found by comparing waveforms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from lifeline_core.detectors.base import Detector, Group, Limit, Params, Severity, Window
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Break, Channel, Finding, Site, Watch
from lifeline_core.pipes.follower import KEPT_S, Follower, Seen, Steps
from lifeline_core.pipes.onset import Onset

VERSION = 2

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
    rise_s: Annotated[Seconds, Meta(description="what changes less than 0.7 min_step in this time is demand")] = 0.7
    pre_s: Annotated[Seconds, Meta(description="length of the level before")] = 0.5
    post_s: Annotated[Seconds, Meta(description="length of the level after: a shorter dip or spike is no step")] = 0.25
    hold_s: Annotated[
        float, Meta(ge=1.0, le=86_400.0, description="ended after so long without a further step")
    ] = 30.0
    false_alarms_per_month: Annotated[
        float, Meta(ge=1e-6, le=1000.0, description="of noise, on each channel: the budget that thresholds are derived from")
    ] = 1.0

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


@dataclass(slots=True)
class Clock:
    """Times of one group: its newest sample is the last one before ``index``; ``lost`` samples are missing since."""

    anchor_ns: int = 0
    index: int = 0
    rate_num: int = 1
    rate_den: int = 1
    lost: int = 0
    skew_s: tuple[float, ...] = ()

    def time_ns(self, index: int) -> int:
        return self.anchor_ns + index * self.rate_den * NS // self.rate_num

    def sample(self, t_ns: int) -> int:
        """The first sample that is not before a time."""
        return -((self.anchor_ns - t_ns) * self.rate_num // (self.rate_den * NS))


class Transient(Detector):
    """Watches every regular channel by itself; kind ``transient``, source = the channel's name.

    ``value`` is the change of level, with its sign. Evidence: ``step`` (the same), ``polarity`` of the first motion
    (-1 drop, 1 surge), ``rise_s`` to 80 % of the step, ``onset_sd_s`` (with the device's clock, where it tells its own),
    ``quality`` 0 .. 1, ``noise`` of single samples. An episode is said again when a further step is graver. Its end tells
    ``duration_s``, from the onset to where the level before was there again; absent where it was not.
    """

    PARAMS = TransientParams
    KINDS = ("transient",)

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        super().__init__(watch, groups, site)
        params = watch.params if watch.params is not None else TransientParams()
        if found := params.faults():
            raise ValueError("; ".join(found))
        self.params: TransientParams = params
        steps = Steps(params.min_step, params.rise_s, params.pre_s, params.post_s, params.hold_s, params.false_alarms_per_month)
        self._followers = [Follower(float(g.rate_hz or 0.0), steps, len(g.channels)) for g in self.groups]
        self._episodes = [[Episode() for _ in g.channels] for g in self.groups]
        self._clocks = [Clock() for _ in self.groups]

    def push(self, group: int, block: Block) -> list[Finding]:
        follower, clock = self._followers[group], self._clocks[group]
        x = np.ascontiguousarray(block.x, dtype=np.float32)
        if clock.lost:  # a short hole: the level goes on behind it
            x = np.concatenate([np.full((len(x), clock.lost), np.nan, np.float32), x], axis=1)
        before = follower.samples + clock.lost
        seen = follower.push(x)
        clock.anchor_ns, clock.index, clock.lost = block.anchor_ns, block.index + block.x.shape[1], 0
        clock.rate_num, clock.rate_den, clock.skew_s = block.rate_num, block.rate_den, block.skew_s
        if not seen:
            return []
        channels, episodes = self.groups[group].channels, self._episodes[group]
        said = (self._speak(channels[s.row], episodes[s.row], s, before, s.row, block) for s in seen)
        return [found for found in said if found is not None]

    def _speak(
        self, channel: Channel, episode: Episode, seen: Seen, before: int, row: int, block: Block
    ) -> Finding | None:
        """A confirmed step or the end of an episode; ``before`` samples were taken before this block."""
        t_ns = block.time_ns(seen.sample - before)
        if seen.onset is None:
            if not episode.severity:
                return None
            lasted = {}
            if seen.back is not None:
                lasted["duration_s"] = max(block.time_ns(seen.back - before) - episode.onset_ns, 0) / NS
            ended = Finding(
                kind="transient", t_ns=t_ns, onset_ns=episode.onset_ns, active=False, severity=episode.severity,
                unit=channel.unit, source=channel.name, where=place(channel), historical=block.historical, evidence=lasted,
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
        """Lost samples are missing ones, if few; the level behind another seam is another. An open episode waits for quiet."""
        follower, clock = self._followers[group], self._clocks[group]
        if brk.reason == "gap" and 0 < brk.lost <= KEPT_S * follower.fs - clock.lost and follower.samples:
            clock.lost += brk.lost
        else:
            follower.restart()
            clock.lost = 0
        return []

    def recall(self, channel: str, start_ns: int, stop_ns: int) -> Window | None:
        """Full-rate samples of the last 12 s; see `Detector.recall`."""
        for g, group in enumerate(self.groups):
            for row, one in enumerate(group.channels):
                if one.name == channel:
                    return self._recalled(g, row, start_ns, stop_ns)
        return None

    def _recalled(self, group: int, row: int, start_ns: int, stop_ns: int) -> Window | None:
        follower, clock = self._followers[group], self._clocks[group]
        skew_ns = round(clock.skew_s[row] * NS) if clock.skew_s else 0
        start = max(clock.sample(start_ns - skew_ns), clock.index - follower.kept(row))
        stop = min(clock.sample(stop_ns - skew_ns), clock.index)
        if stop <= start:
            return None
        x = follower.last(row, clock.index - start)[: stop - start]
        return Window(clock.time_ns(start) + skew_ns, clock.rate_num / clock.rate_den, x)

    def save(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "followers": [follower.save() for follower in self._followers],
            "episodes": [[[e.onset_ns, e.severity] for e in group] for group in self._episodes],
            "clocks": [list(astuple(clock)) for clock in self._clocks],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        shape = [len(g.channels) for g in self.groups]
        if state.get("version") != VERSION or [len(g) for g in state.get("episodes", ())] != shape:
            raise StateError(f"transient: state of version {VERSION} for {shape} channels, got {state.get('version')!r}")
        for follower, saved in zip(self._followers, state["followers"], strict=True):
            follower.load(saved)
        self._episodes = [[Episode(*one) for one in group] for group in state["episodes"]]
        self._clocks = [Clock(a, i, num, den, lost, tuple(skew)) for a, i, num, den, lost, skew in state["clocks"]]


def place(channel: Channel) -> dict[str, Any]:
    """Where a channel is, as far as the configuration says."""
    where = {"node": channel.node, "position_m": channel.position_m}
    return {key: value for key, value in where.items() if value is not None}


def onset_time(i: float, row: int, block: Block) -> int:
    """Time of a sample of this block that may be fractional and lie before it; the row's skew is added."""
    whole = int(np.floor(i))
    skew_s = block.skew_s[row] if block.skew_s else 0.0
    return block.time_ns(whole) + round(((i - whole) / block.rate_hz + skew_s) * NS)
