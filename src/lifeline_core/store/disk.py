"""What the store asks of the disk. Everything that must be durable goes through here, so tests can cut the power."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lifeline_core.errors import StoreError

KEEP_BAD = 2  # files set aside are for people to look at; older ones make room


def fdatasync(fd: int) -> None:
    """What was written to ``fd``, also through a map, is on the disk; OSError: it must be taken as lost."""
    os.fdatasync(fd)


def boot_id() -> str:
    """Of this run of the machine; "" where the system does not tell, which is like no other."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def fsync_directory(directory: Path) -> None:
    """Names made, moved or removed in ``directory`` stay so over a power cut."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace(path: Path, *parts: bytes) -> None:
    """Put ``parts`` in the place of ``path``: after a crash at any moment there is the old content or the new.

    Raises
    ------
    StoreError
        The disk refused; the old content stands.
    """
    beside = path.with_name(path.name + ".tmp")
    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            for part in parts:
                write_all(fd, part)
            fdatasync(fd)
        finally:
            os.close(fd)
        os.replace(beside, path)
        fsync_directory(path.parent)
    except OSError as e:
        beside.unlink(missing_ok=True)
        raise StoreError(e.errno, f"{path}: {e.strerror}") from e


def write_all(fd: int, data: bytes) -> None:
    """All of ``data``, also where the system takes it in pieces."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_all_at(fd: int, data: bytes, offset: int) -> None:
    """As `write_all`, at a place of the file."""
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


def set_aside(path: Path, family: str) -> Path:
    """Rename a damaged file to ``<name>.<count>.bad``; only the newest KEEP_BAD of its ``family`` (a glob) are kept.

    The count goes on over the family. A file that SQLite keeps beside its own (``-wal``) goes along.
    """
    held = sorted(path.parent.glob(family + ".bad"), key=_count)
    bad = path.with_name(f"{path.name}.{_count(held[-1]) + 1 if held else 1:04d}.bad")
    path.rename(bad)
    log = path.with_name(path.name + "-wal")
    if log.exists():
        log.rename(bad.with_name(bad.name + "-wal"))
    for old in held[: max(0, len(held) + 1 - KEEP_BAD)]:
        old.unlink(missing_ok=True)
        old.with_name(old.name + "-wal").unlink(missing_ok=True)
    return bad


def _count(bad: Path) -> int:
    found = re.search(r"\.(\d+)\.bad$", bad.name)
    return int(found.group(1)) if found else 0
