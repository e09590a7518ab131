"""What a former run left in a journal's directory, and what of it can be believed: nothing that its checksum does not say.

    segment k            segment k+1 (last)
    |rec|rec|####|rec|END|   |rec|rec|rec|#####
             hole: stepped over           tail: cut

The last segment ends where its unbroken run of sound records ends: what stands behind was never promised to anybody.
An earlier segment was finished, so what is unsound in it is damage; sound records behind the damage are kept.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import lifeline_core.store._journal as kernel
from lifeline_core.errors import StoreError
from lifeline_core.store import disk, segment
from lifeline_core.store.segment import HEADER, Segment

RECORD_HEADER: int = kernel.RECORD_HEADER


@dataclass(slots=True)
class Found:
    """Segments in order, spares, and the damage.

    ``goes_on``: the last segment is the last there was, and may be written on from its ``tail``. ``floor``: no new
    segment may begin below it.
    """

    segments: list[Segment] = field(default_factory=list)
    goes_on: bool = False
    spares: list[Segment] = field(default_factory=list)
    floor: int = 0
    torn: int = 0
    damaged: int = 0
    aside: int = 0
    problems: list[str] = field(default_factory=list)


def examine(directory: Path, segment_bytes: int) -> Found:
    """Open every segment and verify every record."""
    found = Found()
    runs: list[tuple[Segment, int, bool, int]] = []
    for path in sorted(directory.glob(segment.FAMILY)):
        try:
            if path.suffix == ".llj":
                runs.append(_open(path))
                continue
        except StoreError as e:
            _give_up(found, path, str(e.strerror))
        found.floor = max(found.floor, segment.start_of(path) + segment_bytes)  # what it held cannot be asked
    runs.sort(key=lambda run: run[0].start)
    runs = _without_overlaps(found, runs)
    for k, (s, offset, sealed, length) in enumerate(runs):
        found.segments.append(s)
        if k == len(runs) - 1 and s.end >= found.floor:
            found.goes_on = True
            s.tail = offset
            _cut(found, s, offset, length)
        else:
            _find_holes(found, s, offset, sealed)
    found.floor = max([found.floor, *(s.end for s in found.segments)])
    _find_spares(found, directory, segment_bytes)
    return found


def _open(path: Path) -> tuple[Segment, int, bool, int]:
    """(segment, offset after its sound run, sealed, length of the file as found); made whole and its header repaired."""
    try:
        data = path.read_bytes()
        header = kernel.inspect(data)
        if header is None:
            raise StoreError(0, "no sound header")
        version, start, size, salt, seed, repaired = header
        if version != kernel.VERSION:
            raise StoreError(0, f"version {version}, this build reads {kernel.VERSION}")
        if len(data) > size:
            raise StoreError(0, f"{len(data)} bytes where its header says {size}")
        length = len(data)
        if length < size:
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, size)
            data += bytes(size - length)
        s = Segment(path, size)
    except StoreError:
        raise
    except OSError as e:
        raise StoreError(e.errno, f"unreadable, {e.strerror}") from e
    s.start, s.seed = start, seed
    if repaired:
        with suppress(OSError):  # the other copy will do
            s.format(start, salt)
    offset, _, sealed = kernel.walk(data, start, size, seed, HEADER)
    return s, offset, sealed, length


def _without_overlaps(found: Found, runs: list[tuple[Segment, int, bool, int]]) -> list[tuple[Segment, int, bool, int]]:
    kept: list[tuple[Segment, int, bool, int]] = []
    for run in runs:
        if kept and run[0].start < kept[-1][0].end:
            found.floor = max(found.floor, run[0].end)
            _give_up(found, run[0].path, f"overlaps {kept[-1][0].path.name}")
        else:
            kept.append(run)
    return kept


def _give_up(found: Found, path: Path, why: str) -> None:
    found.aside += 1
    try:
        bad = disk.set_aside(path, segment.FAMILY)
        found.problems.append(f"{path.name}: {why}; set aside as {bad.name}")
    except OSError as e:
        found.problems.append(f"{path.name}: {why}; it cannot be renamed either, {e.strerror}")


def _cut(found: Found, s: Segment, offset: int, length: int) -> None:
    """Fill with zeros what stands behind the last sound record and could ever be taken for one."""
    last = int(kernel.trace(s.map, s.start, s.size, offset))
    if length < s.size:  # a file cut short: perhaps only a part of a header is left of its last record
        part = 0 < length - offset < RECORD_HEADER and any(memoryview(s.map)[offset:length])
        last = length if part else min(last, length)
    torn = last - offset
    if torn <= 0:
        return
    found.torn += torn
    found.problems.append(f"{s.path.name}: torn tail, {torn} bytes cut at position {s.start + offset}")
    try:
        s.zero(offset, last)
        s.sync()  # or the next power cut could bring them back
    except OSError as e:
        s.failed = True
        found.problems.append(f"{s.path.name}: the cut is not on the disk, {e.strerror}")


def _find_holes(found: Found, s: Segment, offset: int, sealed: bool) -> None:
    """Note the damage in a finished segment, and where its records end."""
    damaged, name = 0, s.path.name
    while not sealed:
        after = kernel.resume(s.map, s.start, s.size, s.seed, offset)
        if not after:  # the rest is damage as far as it can still be recognised
            damaged += max(8, kernel.trace(s.map, s.start, s.size, offset) - offset)
            s.holes.append((offset, s.size - HEADER))
            break
        damaged += after - offset
        s.holes.append((offset, after))
        offset, _, sealed = kernel.walk(s.map, s.start, s.size, s.seed, after)
    s.tail = offset
    if damaged:
        found.damaged += damaged
        found.problems.append(f"{name}: about {damaged} bytes cannot be read, from position {s.start + s.holes[0][0]}")


def _find_spares(found: Found, directory: Path, segment_bytes: int) -> None:
    for path in sorted(directory.glob("spare-*.llj")):
        try:
            if path.stat().st_size == segment_bytes:
                found.spares.append(Segment(path, segment_bytes))
            else:
                path.unlink()
        except OSError as e:
            found.problems.append(f"{path.name}: {e.strerror}")
