"""One watch at work: its detector, the groups its channels arrive in, a twin for history. And many, saved while they work."""

from __future__ import annotations

import dataclasses
import hashlib
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgpack
import msgspec

from lifeline_core.assemble import HISTORY, LIVE
from lifeline_core.detectors import find
from lifeline_core.detectors.base import Detector, Group, Window
from lifeline_core.errors import StateError
from lifeline_core.model import Block, Break, Channel, Finding, Site, Watch


@runtime_checkable
class Takes(Protocol):
    """A detector whose quiet samples need not come through Python."""

    def takers(self, group: int) -> list[Any]: ...


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
        self.saving: Saving | None = None  # wants this watch as it is, before it changes
        self._still = self.kind.tick is Detector.tick  # nothing changes at a tick
        self._hash = ""
        self.renewed = False  # the live detector is another one since `takers` was asked last
        self._lanes: dict[int, Detector] = {}
        self._renew(LIVE)

    def _renew(self, lane: int) -> Detector:
        """A detector that knows nothing; who feeds takers of the live one must ask for the new ones."""
        self._lanes[lane] = self._make()
        self.renewed = self.renewed or lane == LIVE
        return self._lanes[lane]

    def _make(self) -> Detector:
        return self.kind(self.watch, [Group(g, g[0].rate_hz) for g in self.groups], self.site)

    @property
    def hash(self) -> str:
        """What must be equal for saved state to fit: watch, site and channels."""
        if not self._hash:
            content = msgspec.json.encode([self.watch, self.site, self.groups], enc_hook=repr, order="sorted")
            self._hash = hashlib.sha256(content).hexdigest()[:16]
        return self._hash

    def touch(self) -> None:
        """Called before anything of this watch changes, so that a `Saving` under way has it as it was."""
        if self.saving is not None:
            self.saving.take(self)

    def split(self, group: int, channels: Sequence[Channel]) -> int:
        """Channels that arrive by themselves leave their group; the new group's number. The detectors start anew."""
        self.touch()
        self._hash = ""
        self.groups[group] = tuple(c for c in self.groups[group] if c not in channels)
        self.groups.append(tuple(channels))
        self._lanes = {}
        self._renew(LIVE)
        return len(self.groups) - 1

    def takers(self, group: int) -> list[Any]:
        """The live detector's short ways to a group's samples (kernels/taker.h); none: it takes blocks only."""
        self.renewed = False
        detector = self._lanes[LIVE]
        return detector.takers(group) if isinstance(detector, Takes) else []

    def take(self, group: int, lane: int, piece: Block | Break) -> list[Finding]:
        """Feed one block or break."""
        if self.saving is not None:
            self.saving.take(self)
        detector = self._lanes[lane] if lane in self._lanes else self._renew(lane)
        try:
            findings = detector.push(group, piece) if isinstance(piece, Block) else detector.gap(group, piece)
        except Exception as error:
            return self._fail(lane, piece.t0_ns if isinstance(piece, Block) else piece.t_ns, error)
        return [_historical(f) for f in findings] if lane == HISTORY else findings

    def tick(self, t_ns: int) -> list[Finding]:
        if self._still:
            return []
        self.touch()
        return self._guard(LIVE, t_ns, lambda: self._lanes[LIVE].tick(t_ns))

    def flush(self, t_ns: int) -> list[tuple[int, Finding]]:
        """What is still open, closed: (lane, finding)."""
        self.touch()
        return [(lane, f) for lane in sorted(self._lanes) for f in self._guard(lane, t_ns, self._lanes[lane].flush)]

    def _guard(self, lane: int, t_ns: int, call: Callable[[], list[Finding]]) -> list[Finding]:
        try:
            findings = call()
        except Exception as error:
            return self._fail(lane, t_ns, error)
        return [_historical(f) for f in findings] if lane == HISTORY else findings

    def _fail(self, lane: int, t_ns: int, error: Exception) -> list[Finding]:
        self.errors += 1
        self._renew(lane)
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
            self._renew(int(lane)).load(saved)


class Saved(Protocol):
    """What has a state of its own."""

    def save(self) -> dict[str, Any]: ...


class Saving:
    """The state of many watches as of one moment, taken while they go on.

    ::

        begin .. a changes .. go_on .. go_on .. d changes .. go_on .. go_on: False
                 (a)          (b)      (c)      (d)          (rest)

    A watch that is about to change is taken before it does, the others one by one as `go_on` is called: no pause is longer
    than the largest watch takes, and what comes out, in whatever order, is the state at the beginning.

    Parameters
    ----------
    runs : sequence of Run
    beside : mapping of str to Saved
        By watch: what changes with it and is taken with it.
    rest : iterator of bytes
        What else must be said, prepared so that nothing changes it any more.
    out : callable
        Gets every piece: bytes of a msgpack array ``["run", name, state, state of what is beside or None]``, or of ``rest``.
    """

    def __init__(
        self, runs: Sequence[Run], beside: Mapping[str, Saved], rest: Iterator[bytes], out: Callable[[bytes], object]
    ) -> None:
        self._runs, self._beside, self._rest, self._out = runs, beside, rest, out
        self._left = iter(runs)
        self._error: Exception | None = None
        for run in runs:
            run.saving = self

    def take(self, run: Run) -> None:
        """Save one watch now. What its detector raises is kept for `go_on`: a frame must not suffer for it."""
        run.saving = None
        if self._error is not None:
            return
        try:
            beside = self._beside.get(run.watch.name)
            self._out(msgpack.packb(("run", run.watch.name, run.save(), None if beside is None else beside.save())))
        except Exception as error:
            self._error = error

    def go_on(self) -> bool:
        """One piece more; False when all is said. Raises what kept a watch from being saved."""
        if self._error is not None:
            self.drop()
            raise self._error
        for run in self._left:
            if run.saving is self:
                self.take(run)
                return True
        part = next(self._rest, None)
        if part is None:
            return False
        self._out(part)
        return True

    def finish(self) -> None:
        """All that is left, at once."""
        while self.go_on():
            pass

    def drop(self) -> None:
        """Nothing more is wanted."""
        for run in self._runs:
            if run.saving is self:
                run.saving = None
        self._left, self._rest = iter(()), iter(())


def _historical(f: Finding) -> Finding:
    return dataclasses.replace(f, historical=True)
