"""Snapshots of the engine: its state as bytes, and the journal position from which to go on.

A file ``snapshot-<count, 16 hex digits>.lls``, little endian::

     0 char[4] "LLSN"   4 u32 version   8 u64 position   16 u32 0   20 u32 crc32c of the 20 bytes before
    24 u32 length   u32 crc32c   length bytes of state      again and again; length 0, and its crc32c, ends the file

Each crc32c goes on from the one before it, over length and bytes: what is cut, doubled or put elsewhere does not fit. How the
state was cut means nothing. A snapshot is complete or absent: it is written beside, brought to the disk and renamed. The two
newest are kept; the older one is of use only while the journal still holds what followed it, so release the journal up to
what `Draft.commit` returns.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import lifeline_core.store._journal as kernel
from lifeline_core.errors import StoreError
from lifeline_core.store import disk

VERSION = 2
KEEP = 2
STRIDE = 1 << 20  # bytes brought to the disk at a time: what others sync meanwhile waits for no more than that
_HEADER = struct.Struct("<4sIQII")
_PART = struct.Struct("<II")
_drafts = itertools.count()  # of this process
_NAME = re.compile(r"snapshot-([0-9a-f]{16})\.lls$")


class Draft:
    """A snapshot in the making: `write` its state in any pieces, then `commit` it or `discard` it.

    Parameters
    ----------
    directory : path
        Made where it is missing; for one process.
    position : int
        Of the journal, from which that state goes on, at least 0.

    Raises
    ------
    StoreError
        The disk refused; the former snapshots stand.
    ValueError
        ``position`` is negative.
    """

    def __init__(self, directory: str | os.PathLike[str], position: int) -> None:
        if position < 0:
            raise ValueError(f"position >= 0: {position}")
        self._home = home = Path(directory)
        self._held: list[bytes] = []
        self._size = 0
        try:
            home.mkdir(parents=True, exist_ok=True)
            self._beside = home / f"snapshot-{next(_drafts):08x}.tmp"
            self._fd = os.open(self._beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        except OSError as e:
            raise StoreError(e.errno, f"{home}: {e.strerror}") from e
        header = _header(position)
        self._crc = int(_HEADER.unpack(header)[-1])
        with self._asked():
            disk.write_all(self._fd, header)

    def write(self, part: bytes) -> None:
        """More of the state. StoreError: the disk refused, and the draft is gone."""
        self._held.append(part)
        self._size += len(part)
        if self._size >= STRIDE:
            self._flush()

    def commit(self) -> int:
        """Make it the newest snapshot.

        Returns
        -------
        int
            The position of the oldest snapshot still kept: the journal may be released up to it. 0 while there is only one.

        Raises
        ------
        StoreError
            The disk refused; the former snapshots stand.
        """
        self._flush()
        with self._asked():
            disk.write_all(self._fd, self._sealed(b""))
            disk.fdatasync(self._fd)
            fd, self._fd = self._fd, -1
            os.close(fd)
            known = _known(self._home)
            aside = (_count(p.name.split(".")[0] + ".lls") for p in self._home.glob("snapshot-*.bad"))
            os.replace(self._beside, self._home / f"snapshot-{1 + max([0, *known, *aside]):016x}.lls")
            disk.fsync_directory(self._home)
            for old in sorted(known)[: 1 - KEEP]:
                known.pop(old).unlink(missing_ok=True)
            return _position(known[max(known)]) if known else 0

    def discard(self) -> None:
        """Leave nothing of it."""
        fd, self._fd = self._fd, -1
        with contextlib.suppress(OSError):
            if fd >= 0:
                os.close(fd)
            self._beside.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _asked(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            self.discard()
            raise StoreError(e.errno, f"{self._beside}: {e.strerror}") from e

    def _flush(self) -> None:
        state = b"".join(self._held)
        self._held.clear()
        self._size = 0
        with self._asked():
            for start in range(0, len(state), STRIDE):
                part = state[start : start + STRIDE]
                disk.write_all(self._fd, self._sealed(part))
                disk.write_all(self._fd, part)
                if len(part) == STRIDE:
                    disk.fdatasync(self._fd)

    def _sealed(self, part: bytes) -> bytes:
        self._crc = kernel.crc32c(part, kernel.crc32c(len(part).to_bytes(4, "little"), self._crc))
        return _PART.pack(len(part), self._crc)


def save(directory: str | os.PathLike[str], position: int, state: bytes) -> int:
    """Make ``state`` at journal ``position`` the newest snapshot; as `Draft`, whose `Draft.commit` says what is returned."""
    draft = Draft(directory, position)
    draft.write(state)
    return draft.commit()


def load(directory: str | os.PathLike[str]) -> tuple[int, bytes, list[str]] | None:
    """The newest sound snapshot: (position, state, problems); None where there is none.

    Unreadable ones are renamed to ``*.bad`` and named in ``problems``; where nothing sound is left, `problems` tells.
    """
    home = Path(directory)
    said: list[str] = []
    for left in home.glob("snapshot-*.tmp"):
        left.unlink(missing_ok=True)
    for _, path in sorted(_known(home).items(), reverse=True):
        try:
            position, state = _read(path)
        except (OSError, ValueError) as e:
            said.append(f"{path.name}: {e}; set aside as {disk.set_aside(path, 'snapshot-*').name}")
            continue
        return position, state, said
    return None


def problems(directory: str | os.PathLike[str]) -> list[str]:
    """What was set aside, now or by former runs, and not yet removed by a person."""
    return [f"{path.name}: an unreadable snapshot" for path in sorted(Path(directory).glob("snapshot-*.bad"))]


def _count(name: str) -> int:
    found = _NAME.match(name)
    return int(found.group(1), 16) if found else 0


def _known(home: Path) -> dict[int, Path]:
    return {_count(p.name): p for p in home.glob("snapshot-*.lls") if _NAME.match(p.name)}


def _header(position: int) -> bytes:
    blank = _HEADER.pack(b"LLSN", VERSION, position, 0, 0)
    return _HEADER.pack(b"LLSN", VERSION, position, 0, kernel.crc32c(blank[:-4]))


def _position(path: Path) -> int:
    with path.open("rb") as file:
        return int(_HEADER.unpack(file.read(_HEADER.size))[2])


def _read(path: Path) -> tuple[int, bytes]:
    data = memoryview(path.read_bytes())
    if len(data) < _HEADER.size:
        raise ValueError(f"{len(data)} bytes, a header has {_HEADER.size}")
    magic, version, position, _, crc = _HEADER.unpack_from(data)
    if magic != b"LLSN" or version != VERSION:
        raise ValueError(f"no snapshot of version {VERSION}: {magic!r}, {version}")
    if _header(position) != data[: _HEADER.size]:
        raise ValueError("the crc32c of the header does not fit")
    parts: list[memoryview] = []
    at, length = _HEADER.size, -1
    while length != 0:
        if len(data) - at < _PART.size:
            raise ValueError(f"it ends at {len(data)}, without its end mark")
        length, said = _PART.unpack_from(data, at)
        part = data[at + _PART.size : at + _PART.size + length]
        crc = kernel.crc32c(part, kernel.crc32c(data[at : at + 4], crc))
        if len(part) != length or crc != said:
            raise ValueError(f"the crc32c of what stands at {at} does not fit")
        parts.append(part)
        at += _PART.size + length
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes behind its end mark")
    return position, b"".join(parts)
