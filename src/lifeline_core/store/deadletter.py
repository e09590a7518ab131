"""Bytes that could not be read as frames, kept for people within a budget, and counted by reason.

Two files, ``dead-letters.old`` and ``dead-letters``: msgpack maps ``{t_ns, reason, size, bytes}`` one after the other.
When the newer one has half of the budget, it takes the older one's place. Nothing here is synced, and nothing here ever
stops the service: what the disk refuses is counted in ``failed``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack

from lifeline_core.store import disk

REASONS = 256  # different reasons counted apart; beyond, "other"


class DeadLetters:
    """A bounded store of refused bytes.

    Parameters
    ----------
    directory
        Made where it is missing.
    budget_bytes
        Of both files together, at least 4096. A letter longer than an eighth of it keeps only its beginning (``size``
        is the true length).

    Attributes
    ----------
    counts : Counter
        Letters by reason since opening, kept or not.
    failed : int
        Letters the disk refused.
    """

    def __init__(self, directory: str | os.PathLike[str], budget_bytes: int) -> None:
        if budget_bytes < 4096:
            raise ValueError(f"budget_bytes >= 4096: {budget_bytes}")
        home = Path(directory)
        self.path = home / "dead-letters"
        self.older = home / "dead-letters.old"
        self.half = budget_bytes // 2
        self.longest = budget_bytes // 8
        self.counts: Counter[str] = Counter()
        self.failed = 0
        self._fd = -1
        self._size = 0
        try:
            home.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError:
            self.failed += 1

    def keep(self, reason: str, data: bytes, t_ns: int) -> None:
        """Keep ``data`` that was refused for ``reason`` at ``t_ns``. Never raises for the disk."""
        counted = reason if reason in self.counts or len(self.counts) < REASONS else "other"
        self.counts[counted] += 1
        letter = {"t_ns": t_ns, "reason": reason[:200], "size": len(data), "bytes": bytes(data[: self.longest])}
        packed: bytes = msgpack.packb(letter)
        try:
            if self._fd < 0:
                self._open()
            if self._size and self._size + len(packed) > self.half:
                self._rotate()
            disk.write_all(self._fd, packed)
            self._size += len(packed)
        except OSError:
            self.failed += 1
            self._close()  # a part may have been written: opening again cuts it off

    def read(self) -> Iterator[dict[str, Any]]:
        """All letters, oldest first; a file that is damaged ends where the damage begins."""
        for path in (self.older, self.path):
            try:
                data = path.read_bytes()
            except OSError:
                continue
            yield from (letter for _, letter in _letters(data))

    def close(self) -> None:
        self._close()

    def _open(self) -> None:
        """Go on behind the last whole letter."""
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        sound = 0
        if os.fstat(self._fd).st_size:
            for end, _ in _letters(self.path.read_bytes()):
                sound = end
            os.ftruncate(self._fd, sound)
            os.lseek(self._fd, sound, os.SEEK_SET)
        self._size = sound

    def _rotate(self) -> None:
        self._close()
        os.replace(self.path, self.older)
        self._open()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _letters(data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """(offset after it, letter) for every whole letter from the beginning."""
    unpacker = msgpack.Unpacker(raw=False, max_buffer_size=max(1, len(data)))
    unpacker.feed(data)
    while True:
        try:
            letter = unpacker.unpack()
        except (msgpack.OutOfData, ValueError, TypeError, msgpack.UnpackException):
            return
        if not isinstance(letter, dict) or set(letter) != {"t_ns", "reason", "size", "bytes"}:
            return
        yield unpacker.tell(), letter
