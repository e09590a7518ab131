"""The journal's files, within its budget: segments in order, spares, and what was released while somebody looks at it."""

from __future__ import annotations

import threading
from bisect import bisect_right
from pathlib import Path

from lifeline_core.errors import StoreError
from lifeline_core.store import disk, segment
from lifeline_core.store.segment import HEADER, Segment


def _start(s: Segment) -> int:
    return s.start


class Chain:
    """Which file holds which positions. Calls may come from any thread; `reserve` and `extend` belong to the writing one.

    Attributes
    ----------
    segments : tuple of Segment
        In order; replaced, never changed in place.
    next_start : int
        Where the next segment begins.
    guard : threading.Lock
        Held for a few operations on lists and file names, never while records are copied or synced.
    """

    def __init__(self, directory: Path, budget_bytes: int, segment_bytes: int) -> None:
        self.directory, self.budget_bytes, self.segment_bytes = directory, budget_bytes, segment_bytes
        self.guard = threading.Lock()
        self.segments: tuple[Segment, ...] = ()
        self.next_start = 0
        self.problems: list[str] = []
        self._spares: list[Segment] = []
        self._held: list[Segment] = []

    def take(self, segments: list[Segment], spares: list[Segment], next_start: int) -> None:
        """What a former run left. Spares beyond the budget go; segments with records stay, also beyond it."""
        self.segments, self._spares = tuple(segments), spares
        self.next_start = next_start + -next_start % 8
        while self._spares and self._total() > self.budget_bytes:
            self._spares.pop().path.unlink(missing_ok=True)

    @property
    def used_bytes(self) -> int:
        """Of the budget, by segments with records, released or not yet let go."""
        with self.guard:
            return sum(s.size for s in (*self.segments, *self._held))

    def _total(self) -> int:
        return sum(s.size for s in (*self.segments, *self._spares, *self._held))

    def find(self, position: int, end: int) -> tuple[Segment, int, int, memoryview] | None:
        """(segment, offset, limit, its bytes) of the next records at or after ``position``, when ``end`` is published.

        The bytes are exported under the guard: from here on the file is not used again while they are held.
        """
        with self.guard:
            at = max(0, bisect_right(self.segments, position, key=_start) - 1)
            for s in self.segments[at:]:
                tail = s.size - HEADER if s.tail is None else s.tail
                offset, limit = s.span(max(HEADER, position - s.start), min(tail, end - s.start))
                if offset < limit:
                    return s, offset, limit, memoryview(s.map)
        return None

    def stretch(self, position: int) -> tuple[int, int] | None:
        """[first, next) of the finished segment, without holes, that holds the next record at or after ``position``."""
        with self.guard:
            for s in self.segments[max(0, bisect_right(self.segments, position, key=_start) - 1) :]:
                if s.tail is None or s.holes:
                    return None
                if s.tail > HEADER and position < s.start + s.tail:
                    return s.start + HEADER, s.start + s.tail
        return None

    def reserve(self, n: int) -> bool:
        """Have ``n`` spares at hand; False where the budget does not allow it. StoreError: the disk has no room.

        For the writing thread alone. A file is made outside the guard: that takes milliseconds.
        """
        while True:
            with self.guard:
                self._reclaim()
                if len(self._spares) >= n:
                    return True
                if self._total() + self.segment_bytes > self.budget_bytes:
                    return False
            fresh = Segment.make(self.directory, self.segment_bytes)
            with self.guard:
                self._spares.insert(0, fresh)

    def extend(self) -> Segment:
        """The next segment, of the spare that was used last: its pages are the likeliest to be in memory still."""
        with self.guard:
            s = self._spares.pop()
            try:
                s.begin(self.next_start)
            except OSError as e:
                raise StoreError(e.errno, f"{s.path}: {e.strerror}") from e
            self.next_start = s.end
            self.segments = (*self.segments, s)
            return s

    def release(self, position: int) -> None:
        """Finished segments all of whose records lie before ``position`` become spares."""
        with self.guard:
            n = 0
            for s in self.segments:
                if s.tail is None or s.start + s.tail > position:
                    break
                n += 1
            self._held.extend(self.segments[:n])
            self.segments = self.segments[n:]
            self._reclaim()

    def _reclaim(self) -> None:
        """Make spares of what was released and nobody looks at any more. The guard is held."""
        waiting = []
        for s in self._held:
            if s.in_use:
                waiting.append(s)
                continue
            try:
                self._dispose(s)
            except OSError as e:
                waiting.append(s)
                said = f"{s.path.name}: {e.strerror}"
                if said not in self.problems:
                    self.problems.append(said)
        self._held = waiting

    def _dispose(self, s: Segment) -> None:
        if s.holes or s.failed:  # a bad place on the disk is not written again
            disk.set_aside(s.path, segment.FAMILY)
        elif s.size != self.segment_bytes:
            s.path.unlink(missing_ok=True)
        else:
            s.retire()
            self._spares.append(s)

    def close(self) -> None:
        """Let go of all files; what is looked at stays mapped until nobody does."""
        with self.guard:
            self.segments, self._spares, self._held = (), [], []
