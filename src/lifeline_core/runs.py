"""One watch at work: its detector, the groups its channels arrive in, and a twin for history."""

from __future__ import annotations

import dataclasses
import hashlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from lifeline_core.assemble import HISTORY, LIVE
from lifeline_core.detectors import find
from lifeline_core.detectors.base import Detector, Group, Window
from lifeline_core.errors import StateError
from lifeline_core.model import Block, Break, Channel, Finding, Site, Watch


class Run:
    """A watch's live detector and, once history arrives, a second one for it.

    A detector that raises an exception says so as a finding of kind "fault" and starts anew: one watch's error must not
    silence the others.
    """

    def __init__(self, watch: Watch, site: Site, groups: Sequence[tuple[Channel, ...]]) -> None:
        self.watch, self.site = watch, site
        self.kind = find(watch.detector)
        self.groups = [tuple(g) for g in groups]
        self.errors = 0
        self._lanes: dict[int, Detector] = {LIVE: self._make()}

    def _make(self) -> Detector:
        return self.kind(self.watch, [Group(g, g[0].rate_hz) for g in self.groups], self.site)

    @property
    def hash(self) -> str:
        """What must be equal for saved state to fit: watch, site and channels."""
        content = msgspec.json.encode([self.watch, self.site, self.groups], enc_hook=repr, order="sorted")
        return hashlib.sha256(content).hexdigest()[:16]

    def split(self, group: int, channels: Sequence[Channel]) -> int:
        """Channels that arrive by themselves leave their group; the new group's number. The detectors start anew."""
        self.groups[group] = tuple(c for c in self.groups[group] if c not in channels)
        self.groups.append(tuple(channels))
        self._lanes = {LIVE: self._make()}
        return len(self.groups) - 1

    def take(self, group: int, lane: int, piece: Block | Break) -> list[Finding]:
        """Feed one block or break."""
        if lane not in self._lanes:
            self._lanes[lane] = self._make()
        detector = self._lanes[lane]
        try:
            findings = detector.push(group, piece) if isinstance(piece, Block) else detector.gap(group, piece)
        except Exception as error:
            return self._fail(lane, piece.t0_ns if isinstance(piece, Block) else piece.t_ns, error)
        return [_historical(f) for f in findings] if lane == HISTORY else findings

    def tick(self, t_ns: int) -> list[Finding]:
        return self._guard(LIVE, t_ns, lambda: self._lanes[LIVE].tick(t_ns))

    def flush(self, t_ns: int) -> list[Finding]:
        return [f for lane in sorted(self._lanes) for f in self._guard(lane, t_ns, self._lanes[lane].flush)]

    def _guard(self, lane: int, t_ns: int, call: Callable[[], list[Finding]]) -> list[Finding]:
        try:
            findings = call()
        except Exception as error:
            return self._fail(lane, t_ns, error)
        return [_historical(f) for f in findings] if lane == HISTORY else findings

    def _fail(self, lane: int, t_ns: int, error: Exception) -> list[Finding]:
        self.errors += 1
        self._lanes[lane] = self._make()
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})"
        return [Finding("fault", t_ns, t_ns, True, quality=0.0, evidence={"error": said}, historical=lane == HISTORY)]

    def recall(self, channel: str, start_ns: int, stop_ns: int) -> Window | None:
        """Samples that the live detector still keeps."""
        return self._lanes[LIVE].recall(channel, start_ns, stop_ns)

    def report(self) -> list[dict[str, Any]]:
        """What the live detector measured last."""
        return self._lanes[LIVE].report()

    def save(self) -> dict[str, Any]:
        return {
            "hash": self.hash,
            "groups": [[c.name for c in g] for g in self.groups],
            "errors": self.errors,
            "lanes": {str(lane): d.save() for lane, d in self._lanes.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        if state["hash"] != self.hash:
            raise StateError(f"watch {self.watch.name}: its configuration changed")
        self.errors = int(state["errors"])
        for lane, saved in state["lanes"].items():
            detector = self._lanes[int(lane)] = self._make()
            detector.load(saved)


def _historical(f: Finding) -> Finding:
    return dataclasses.replace(f, historical=True)
