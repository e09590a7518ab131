"""The frame journal: everything the engine was told, in order, in recycled segments within a stated disk budget.

A *position* is a logical byte offset. It only grows, over restarts and recycling, and every record has its own.

    directory/  lock  segment-0000000000000000.llj  segment-0000000001000000.llj  spare-5f....llj
                        |<---- positions 0 .. 16 Mi ---->|

What a record's presence promises depends on ``durability``: ``"process"`` and ``"none"`` survive the death of the
process (``"none"`` only says that nobody waits), ``"disk"`` survives a power cut for what lies before the position that
`Journal.sync` returned. The budget covers segments and spares; up to two damaged files beside them (``*.bad``) are kept
for people.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lifeline_core.store._journal as kernel
from lifeline_core.errors import StoreError
from lifeline_core.store import disk, recovery
from lifeline_core.store.chain import Chain
from lifeline_core.store.segment import HEADER, Segment

FRAME, TICK, COMMAND, GATEWAY = 1, 2, 3, 4
DURABILITIES = ("process", "disk", "none")


@dataclass(frozen=True, slots=True)
class Records:
    """Records as they lie in a segment, nothing copied; the segment is not used again while ``buf`` is held.

    Payload ``i`` is ``buf[offsets[i] : offsets[i] + lengths[i]]``; its record stands at position
    ``origin + offsets[i] - 24``. ``next`` is the position to read on from.
    """

    kinds: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    sources: NDArray[np.uint32]
    buf: memoryview
    next: int
    origin: int

    def __len__(self) -> int:
        return len(self.kinds)

    def payload(self, i: int) -> memoryview:
        """The bytes of record ``i``, not copied."""
        first = int(self.offsets[i])
        return self.buf[first : first + int(self.lengths[i])]


class Journal:
    """Append-only records with one writing thread; reading, syncing and releasing may happen in others.

    Opening never fails for damage: a torn tail is cut, damage further up is stepped over, unreadable files are set
    aside, and ``problems`` says so in words.

    Parameters
    ----------
    directory
        Made where it is missing; used by one process at a time.
    budget_bytes
        Most bytes of segments and spares on the disk, at least two segments.
    segment_bytes
        Size of new segments, a multiple of 4096; no payload may exceed it less 152.
    durability
        ``"process"``, ``"disk"`` or ``"none"``.
    begin
        The position of the snapshot that will be read on from. A power cut may take the journal's tail but not the
        snapshot; positions never fall below it, or new records would be taken for known ones.

    Attributes
    ----------
    torn : int
        Bytes cut from the tail on opening.
    lost : int
        Records turned away for want of budget since opening; the caller still has them.
    damaged : int
        Bytes that can no longer be read, found on opening before the tail.
    aside : int
        Files set aside on opening.
    problems : list of str

    Raises
    ------
    ValueError
        A rule above is broken.
    StoreError
        Another process has the directory open, or the system refuses the directory.
    """

    def __init__(self, directory: str | os.PathLike[str], *, budget_bytes: int, segment_bytes: int = 16 << 20,
                 durability: str = "process", begin: int = 0) -> None:
        if durability not in DURABILITIES:
            raise ValueError(f"durability is one of {', '.join(DURABILITIES)}: {durability!r}")
        if segment_bytes < 4096 or segment_bytes % 4096:
            raise ValueError(f"segment_bytes is a multiple of 4096: {segment_bytes}")
        if budget_bytes < 2 * segment_bytes:
            raise ValueError(f"budget_bytes holds two segments of {segment_bytes} at least: {budget_bytes}")
        if begin < 0:
            raise ValueError(f"begin >= 0: {begin}")
        self.directory = Path(directory)
        self.budget_bytes, self.segment_bytes, self.durability = budget_bytes, segment_bytes, durability
        self.torn = self.lost = self.damaged = self.aside = 0
        self._chain = Chain(self.directory, budget_bytes, segment_bytes)
        self.problems = self._chain.problems
        self._writer = kernel.Writer()
        self._active: Segment | None = None
        self._synced = 0
        self._syncing = threading.Lock()
        self._faults: list[str] = []
        self._closed = False
        self._lock = _lock(self.directory)
        try:
            self._recover(begin)
        except BaseException:
            self.close()
            raise

    # ---- writing ----

    def append(self, kind: int, payload: bytes, source: int = 0) -> int:
        """Keep one record; the position after it. Raises as `append_batch`."""
        self._check(kind)
        done = self._put(self._writer.append_one, kind, payload, source)
        if not done:
            one = np.zeros(1, np.int64), np.array([len(payload)], np.int64), np.array([source], np.uint32)
            self._reserve(self._writer.fit(payload, *one, self.segment_bytes), 1)
            self._roll()
            self._put(self._writer.append_one, kind, payload, source)
        return self.end

    def append_batch(self, kind: int, buf: Any, offsets: Any, lengths: Any, sources: Any) -> int:
        """Keep record ``i`` = ``buf[offsets[i] : offsets[i] + lengths[i]]`` from ``sources[i]``; all of them or none.

        Copied by compiled code without the GIL, and visible to readers when it returns, or segment by segment before.

        Parameters
        ----------
        kind
            1 to 254; FRAME, TICK, COMMAND, GATEWAY.
        buf
            Any contiguous buffer of bytes.
        offsets, lengths : int64[n]
        sources : uint32[n]

        Returns
        -------
        int
            The position after the last record.

        Raises
        ------
        BufferError
            The budget is spent and nothing was written: release, or stop reading from the line.
        StoreError
            The disk gives no room for a new segment; nothing was written. Or it refused to take the records, and then those
            that filled a segment before stand: say all of them again, frames are known by their numbers.
        ValueError
            A kind, an offset or a length outside its range; nothing was written.
        """
        self._check(kind)
        data = memoryview(buf).cast("B")
        at = (np.ascontiguousarray(offsets, np.int64), np.ascontiguousarray(lengths, np.int64),
              np.ascontiguousarray(sources, np.uint32))
        needed = self._writer.fit(data, *at, self.segment_bytes)
        if needed:
            self._reserve(needed, len(at[0]))
        done = self._put(self._writer.append, kind, data, *at, 0)
        while done < len(at[0]):
            self._roll()
            done = self._put(self._writer.append, kind, data, *at, done)
        return self.end

    def append_pieces(self, kind: int, pieces: Any, first: int, last: int) -> int:
        """Keep messages ``first`` to ``last - 1`` of a compiled receive loop's last drain, from where they lie; as `append_batch`.

        ``pieces`` is what `lifeline_core.service._receive.Loop.pieces` gave.
        """
        self._check(kind)
        needed = self._writer.fit_pieces(pieces, first, last, self.segment_bytes)
        if needed:
            self._reserve(needed, last - first)
        done = self._put(self._writer.append_pieces, kind, pieces, first, last)
        while done < last:
            self._roll()
            done = self._put(self._writer.append_pieces, kind, pieces, done, last)
        return self.end

    def sync(self) -> int:
        """Bring everything appended so far onto the disk; the position before which all is safe: acknowledge up to it.

        After a refusal of the disk the segment concerned is never trusted again: the writer goes on in a new one, and
        the returned position stands still before the doubtful records until `release` has passed them (a snapshot
        that is itself on the disk then stands for them).

        Raises
        ------
        StoreError
            The disk refused, now or when a segment was finished since the last call. Said once per refusal.
        """
        with self._syncing:  # a refusal is told to one of two threads alone, and both must know the segment is lost
            target = self.end
            if target > self._synced:
                for s in self._chain.segments:
                    if not s.clean and not s.failed:
                        self._sync_segment(s)
                self._synced = target
            faults, self._faults = self._faults, []
        if faults:
            raise StoreError(errno.EIO, "; ".join(faults))
        return self.synced

    # ---- reading ----

    def read(self, position: int, max_bytes: int = 4 << 20) -> Records:
        """Published records from ``position`` on, as far as they lie in one segment, at most ``max_bytes`` or one record.

        A position before `first`, or within damage, reads from the next record there is: compare ``origin``.

        Raises
        ------
        ValueError
            ``position`` is beyond `end`, or within a record.
        """
        end = self.end
        if not 0 <= position <= end:
            raise ValueError(f"0 <= position <= {end}, the end of the journal: {position}")
        found = self._chain.find(position, end)
        if found is None:
            return Records(np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint32),
                           memoryview(b""), position, position)
        s, offset, limit, view = found
        kinds, offsets, lengths, sources, after = kernel.records(s.map, s.start, offset, limit, max_bytes)
        return Records(kinds, offsets, lengths, sources, view[offset:after], s.start + after, s.start + offset)

    def stretch(self, position: int) -> tuple[int, int] | None:
        """[first, next) of the finished segment with the next record at or after ``position``: what is there never changes.

        None where that segment is still written to, or has holes.
        """
        return self._chain.stretch(position)

    @property
    def first(self) -> int:
        """The oldest position still kept."""
        segments = self._chain.segments
        return segments[0].start if segments else self.end

    @property
    def end(self) -> int:
        """The position after the last record."""
        return int(self._writer.end)

    @property
    def synced(self) -> int:
        """The position before which everything is on the disk, as far as `sync` has been asked."""
        return min([self._synced, *(s.unsafe for s in self._chain.segments if s.failed)])

    @property
    def used_bytes(self) -> int:
        """Bytes of the budget that hold records, released or not yet let go."""
        return self._chain.used_bytes

    def release(self, position: int) -> None:
        """Everything before ``position`` is no longer needed: whole segments before it become spares.

        A segment that a `Records` still looks at waits for that; a damaged one is set aside instead.
        """
        if position > self.end:
            raise ValueError(f"position <= {self.end}, the end of the journal: {position}")
        self._chain.release(position)

    def close(self) -> None:
        """Let go of the directory; what was read stays readable."""
        if self._closed:
            return
        if self.durability == "disk":
            try:
                self.sync()
            except StoreError as e:
                self.problems.append(str(e))
        self._closed = True
        self._writer.release()
        self._active = None
        self._chain.close()
        os.close(self._lock)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ---- files ----

    def _recover(self, begin: int) -> None:
        found = recovery.examine(self.directory, self.segment_bytes)
        self.torn, self.damaged, self.aside = found.torn, found.damaged, found.aside
        self.problems += found.problems
        self._chain.take(found.segments, found.spares, max(begin, found.floor))
        self._writer.end = begin if found.goes_on else self._chain.next_start
        if found.goes_on:
            last = self._active = found.segments[-1]
            offset, last.tail = last.tail or HEADER, None
            self._open(last, offset)
            self._writer.end = max(begin, last.start + offset)
            if begin > last.start + offset:  # the power took a tail that a snapshot has seen: its positions stay taken
                self.problems.append(f"the journal ends at {last.start + offset}, before the snapshot at {begin}")
                self._finish()
        self._synced = self.first
        if self.durability == "disk":
            try:
                disk.fsync_directory(self.directory)
                self.sync()
            except OSError as e:
                self.problems.append(f"what a former run wrote is not on the disk: {e.strerror}")

    def _check(self, kind: int) -> None:
        if self._closed:
            raise ValueError("the journal is closed")
        if not 1 <= kind <= 254:
            raise ValueError(f"1 <= kind <= 254: {kind}")
        if self._active is not None and self._active.failed:
            self._finish()

    def _reserve(self, n: int, records: int) -> None:
        if not self._chain.reserve(n):
            self.lost += records
            raise BufferError(f"the journal's budget of {self.budget_bytes} bytes is spent: it holds positions "
                              f"{self.first} to {self.end}; release what is no longer needed")

    def _roll(self) -> None:
        self._finish()
        s = self._active = self._chain.extend()
        self._open(s, HEADER)
        if self.durability == "disk":
            try:
                disk.fsync_directory(self.directory)
            except OSError as e:
                self._fail(s, e)

    def _open(self, s: Segment, offset: int) -> None:
        try:
            self._writer.open(s.path, s.start, s.size, s.seed, offset)
        except OSError as e:
            raise StoreError(e.errno, f"{s.path}: {e.strerror}") from e

    def _put(self, append: Callable[..., Any], *what: Any) -> int:
        """The disk's refusal leaves as StoreError, and the writer leaves the segment."""
        try:
            return int(append(*what))
        except OSError as e:
            if self._active is not None:
                self._fail(self._active, e)
            raise StoreError(e.errno, f"the journal: {e.strerror}") from e

    def _finish(self) -> None:
        """End the segment being written. With "disk" it is made durable first, so that a hole can only be damage."""
        s, self._active = self._active, None
        if s is None:
            return
        tail = self._writer.offset
        try:
            self._writer.seal()
        except OSError as e:
            self._fail(s, e)
        s.tail = tail
        if self.durability == "disk" and not s.failed:
            with self._syncing:
                self._sync_segment(s)

    def _sync_segment(self, s: Segment) -> None:
        finished = s.tail is not None
        try:
            s.sync()
            s.clean = finished
        except OSError as e:
            self._fail(s, e)

    def _fail(self, s: Segment, e: OSError) -> None:
        """The disk refused: what was not durable before is in doubt, and the writer leaves the segment."""
        s.unsafe = max(s.start, self._synced)
        s.failed = True
        self._faults.append(f"{s.path.name}: {e.strerror}")


def _lock(directory: Path) -> int:
    """Hold the directory for this process; the system lets go of it however the process ends."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as e:
        raise StoreError(e.errno, f"{directory}: {e.strerror}") from e
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(fd)
        raise StoreError(e.errno, f"{directory}: another process has the journal open") from e
    return fd
