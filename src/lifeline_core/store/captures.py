"""Captures beside alarms: the frames around each, in one file, within a stated disk budget.

    <alarm_id>.llf     LLF1 frames back to back, in the order of their arrival
    <alarm_id>.state   what the engine knew of it before it was raised, where that is kept
    <alarm_id>.json    what it is: times, channels, how far the journal was looked through, whether it is whole

A capture grows while its alarm stands. The frames are written before the description that counts them; a file longer than that is
cut to it on opening, so a killed process leaves neither half a frame nor one twice. Both are brought to the disk when the
capture is finished, not before: many alarms at once would else hold up the outbox, which waits for the same disk. A power cut
may so ruin captures that still grow; they are set aside. Where the budget is spent the oldest finished captures go first.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lifeline_core.errors import StoreError
from lifeline_core.store import disk

LONGEST_ID = 64
BLOCK = 4096  # of a description
FAR_BYTES = 32 << 20  # of journal without a frame for a capture, until its description says so


class About(msgspec.Struct, kw_only=True):
    """The description of one capture. ``to_ns`` is None while it grows; ``whole`` False where a bound or the disk cut it short.

    ``before`` of its frames came before its state was saved (at journal position ``origin``), the others behind it; the alarm
    had been raised when the journal ended at ``raised``. ``replayable``: the state and every frame from there to the raise are
    in it, so that a replay raises the same alarm whatever its detector had learned; else ``why`` not.
    """

    alarm_id: str
    numbers: list[tuple[int, int]]  # (device, channel)
    from_ns: int
    to_ns: int | None = None
    position: int = 0  # of the journal: before it, everything was looked through
    frames: int = 0
    bytes: int = 0
    whole: bool = True
    finished: bool = False
    origin: int = 0
    before: int = 0
    raised: int = 0
    state_bytes: int = 0
    replayable: bool = False
    why: str = ""


class Captures:
    """A folder of captures; one thread.

    Parameters
    ----------
    directory : made where it is missing.
    budget_bytes : of all captures together.
    longest_bytes : of one.

    Attributes
    ----------
    open : dict
        Captures that still grow, by alarm id; from an earlier life, too.
    forgotten : int
        Captures that made room since opening.
    problems : list of str
    """

    def __init__(self, directory: str | os.PathLike[str], *, budget_bytes: int, longest_bytes: int) -> None:
        self.home = Path(directory)
        self.budget_bytes, self.longest_bytes = budget_bytes, min(longest_bytes, budget_bytes)
        self.open: dict[str, About] = {}
        self.forgotten = 0
        self.problems: list[str] = []
        self._told: dict[str, tuple[Any, int]] = {}  # of those that grow: what their description says, at which position
        self._done: dict[str, int] = {}  # finished, oldest first: bytes
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            self._look()
        except OSError as e:
            raise StoreError(e.errno, f"{self.home}: {e.strerror}") from e

    # ---- one capture ----

    def begin(self, about: About, state: bytes = b"") -> None:
        """A capture that grows from now on; one that is there already stays as it is."""
        if about.alarm_id not in self.open and about.alarm_id not in self._done:
            about.state_bytes = len(state)
            if state:
                self._path(about.alarm_id, ".state").write_bytes(state)
            self.open[about.alarm_id] = about
            self._describe(about)
            self._told[about.alarm_id] = _told(about)

    def fit(self, alarm_id: str, lengths: NDArray[np.int64]) -> int:
        """How many of these frames its bound leaves room for; fewer than all of them: it is not whole any more."""
        about = self.open[alarm_id]
        n = int(np.searchsorted(np.cumsum(lengths), self.longest_bytes - about.bytes, side="right"))
        about.whole &= n == len(lengths)
        return n

    def add(self, alarm_id: str, data: bytes, frames: int) -> None:
        """So many frames, back to back, behind those that are there; `note` makes them count."""
        about = self.open[alarm_id]
        with self._path(alarm_id).open("ab", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) or 0 :]
        about.frames += frames
        about.bytes += len(data)

    def note(self, alarm_id: str, position: int) -> None:
        """The journal was looked through up to ``position``; what its description still says rightly is not written again."""
        about, (said, where) = self.open[alarm_id], self._told.get(alarm_id, ((), 0))
        about.position = position
        if _told(about)[0] != said or position - where >= FAR_BYTES:
            self._describe(about)
            self._told[alarm_id] = _told(about)

    def finish(self, alarm_id: str) -> None:
        about = self.open.pop(alarm_id)
        self._told.pop(alarm_id, None)
        about.finished = True
        if about.bytes:
            for path in (self._path(alarm_id), *[self._path(alarm_id, ".state")] * bool(about.state_bytes)):
                with path.open("rb") as file:
                    disk.fdatasync(file.fileno())
        self._describe(about)
        self._done[alarm_id] = about.bytes + about.state_bytes
        self._make_room()

    def read(self, alarm_id: str) -> tuple[About, bytes] | None:
        """Description and frames; None where there is no such capture."""
        if not _is_name(alarm_id):
            return None
        try:
            about = msgspec.json.decode(self._description(alarm_id).read_bytes(), type=About)
            data = self._path(alarm_id).read_bytes()[: about.bytes] if about.bytes else b""
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise StoreError(0, f"the capture of {alarm_id} cannot be read: {error}") from error
        if about.replayable and len(self.state(alarm_id)) != about.state_bytes:
            about.replayable, about.why = False, "its state was damaged"
        return about, data

    def state(self, alarm_id: str) -> bytes:
        """What is kept of the engine's state; empty where nothing is."""
        try:
            return self._path(alarm_id, ".state").read_bytes() if _is_name(alarm_id) else b""
        except OSError:
            return b""

    @property
    def used_bytes(self) -> int:
        return sum(self._done.values()) + sum(a.bytes + a.state_bytes for a in self.open.values())

    def __len__(self) -> int:
        return len(self._done) + len(self.open)

    # ---- files ----

    def _path(self, alarm_id: str, kind: str = ".llf") -> Path:
        return self.home / f"{alarm_id}{kind}"

    def _description(self, alarm_id: str) -> Path:
        return self.home / f"{alarm_id}.json"

    def _describe(self, about: About) -> None:
        """One block, written at once over the one before: the death of the process leaves either. A long one is written beside."""
        path, data = self._description(about.alarm_id), msgspec.json.encode(about)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if max(len(data), os.fstat(fd).st_size) > BLOCK:
                disk.replace(path, data)
                return
            if os.pwrite(fd, data.ljust(BLOCK), 0) != BLOCK:
                raise OSError(errno.ENOSPC, "no room for a description")
            if about.finished:
                disk.fdatasync(fd)
                disk.fsync_directory(self.home)
        finally:
            os.close(fd)

    def _look(self) -> None:
        found = sorted(self.home.glob("*.json"), key=lambda p: p.stat().st_mtime_ns)
        for path in found:
            try:
                if not (data := path.read_bytes()):  # the process died as it began: there is nothing beside it
                    path.unlink()
                    continue
                about = msgspec.json.decode(data, type=About)
                if about.alarm_id != path.stem or not _is_name(about.alarm_id):
                    raise ValueError("it is the description of another alarm")
                self._cut(about)
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                self.problems.append(f"capture-set-aside: {path.name}: {error}")
                disk.set_aside(path, "*.json*")
                continue
            if about.finished:
                self._done[about.alarm_id] = about.bytes + about.state_bytes
            else:
                self.open[about.alarm_id] = about
        known = self._done.keys() | self.open.keys()
        for kind in ("*.llf", "*.state"):
            for path in self.home.glob(kind):
                if path.stem not in known:
                    path.unlink(missing_ok=True)
        self._make_room()

    def _cut(self, about: About) -> None:
        """The file as long as its description says; ValueError where it is shorter."""
        path = self._path(about.alarm_id)
        size = path.stat().st_size if path.exists() else 0
        if size < about.bytes:
            raise ValueError(f"it speaks of {about.bytes} bytes of frames, there are {size}")
        if size > about.bytes:
            os.truncate(path, about.bytes)
        if len(self.state(about.alarm_id)) != about.state_bytes:  # the frames are worth keeping by themselves
            about.state_bytes = 0
            self._path(about.alarm_id, ".state").unlink(missing_ok=True)

    def _make_room(self) -> None:
        while self._done and self.used_bytes > self.budget_bytes:
            oldest = next(iter(self._done))
            del self._done[oldest]
            self._description(oldest).unlink(missing_ok=True)
            self._path(oldest).unlink(missing_ok=True)
            self._path(oldest, ".state").unlink(missing_ok=True)
            self.forgotten += 1


def _told(about: About) -> tuple[Any, int]:
    return (about.bytes, about.to_ns, about.whole, about.replayable), about.position


def _is_name(alarm_id: str) -> bool:
    return 0 < len(alarm_id) <= LONGEST_ID and alarm_id.isalnum() and alarm_id.isascii()
