"""Snapshots of the engine: its state as bytes, and the journal position from which to go on.

A file ``snapshot-<count, 16 hex digits>.lls``, little endian:

    0 char[4] "LLSN"   4 u32 version   8 u64 position   16 u64 length   24 u32 0   28 u32 crc32c   32 state

The crc32c is over the header with this field 0, then the state. A snapshot is complete or absent: it is written beside,
brought to the disk and renamed. The two newest are kept; the older one is of use only while the journal still holds what
followed it, so release the journal up to what `save` returns.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

import lifeline_core.store._journal as kernel
from lifeline_core.errors import StoreError
from lifeline_core.store import disk

VERSION = 1
KEEP = 2
_HEADER = struct.Struct("<4sIQQII")
_NAME = re.compile(r"snapshot-([0-9a-f]{16})\.lls$")


def save(directory: str | os.PathLike[str], position: int, state: bytes) -> int:
    """Make ``state`` at journal ``position`` the newest snapshot.

    Returns
    -------
    int
        The position of the oldest snapshot still kept: the journal may be released up to it. 0 while there is only one.

    Raises
    ------
    StoreError
        The disk refused; the former snapshots stand.
    ValueError
        ``position`` is negative.
    """
    if position < 0:
        raise ValueError(f"position >= 0: {position}")
    home = Path(directory)
    try:
        home.mkdir(parents=True, exist_ok=True)
        known = _known(home)
        count = 1 + max([0, *known, *(_count(p.name.split(".")[0] + ".lls") for p in home.glob("snapshot-*.bad"))])
        disk.replace(home / f"snapshot-{count:016x}.lls", _header(position, state), state)
        for old in sorted(known)[: 1 - KEEP]:
            known.pop(old).unlink(missing_ok=True)
        return _position(known[max(known)]) if known else 0
    except StoreError:
        raise
    except OSError as e:
        raise StoreError(e.errno, f"{home}: {e.strerror}") from e


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


def _header(position: int, state: bytes) -> bytes:
    blank = _HEADER.pack(b"LLSN", VERSION, position, len(state), 0, 0)
    return _HEADER.pack(b"LLSN", VERSION, position, len(state), 0, kernel.crc32c(state, kernel.crc32c(blank)))


def _position(path: Path) -> int:
    with path.open("rb") as file:
        return int(_HEADER.unpack(file.read(_HEADER.size))[2])


def _read(path: Path) -> tuple[int, bytes]:
    data = path.read_bytes()
    if len(data) < _HEADER.size:
        raise ValueError(f"{len(data)} bytes, a header has {_HEADER.size}")
    magic, version, position, length, _, _ = _HEADER.unpack_from(data)
    if magic != b"LLSN" or version != VERSION:
        raise ValueError(f"no snapshot of version {VERSION}: {magic!r}, {version}")
    state = data[_HEADER.size :]
    if len(state) != length:
        raise ValueError(f"{len(state)} bytes of state, its header says {length}")
    if _header(position, state) != data[: _HEADER.size]:
        raise ValueError("the crc32c does not fit")
    return position, state
