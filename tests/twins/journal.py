"""A reader of journal segments written from the format (kernels/journal.h) alone: struct and a table, no kernel."""

from __future__ import annotations

import struct
from pathlib import Path

_TABLE = []
for _byte in range(256):
    _crc = _byte
    for _ in range(8):
        _crc = (_crc >> 1) ^ (0x82F63B78 if _crc & 1 else 0)
    _TABLE.append(_crc)


def crc32c(data: bytes, crc: int = 0) -> int:
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def header(data: bytes) -> tuple[int, int, int] | None:
    """(start, size, seed) of a segment, from either copy of its header."""
    for at in (0, len(data) - 64):
        raw = data[at : at + 64]
        if len(raw) < 64:
            continue
        magic, version, start, size, _salt = struct.unpack_from("<4sIQQQ", raw)
        (crc,) = struct.unpack_from("<I", raw, 60)
        if magic == b"LLJ1" and version == 1 and crc32c(raw[:60]) == crc:
            return start, size, crc
    return None


def run(data: bytes) -> tuple[list[tuple[int, int, int, bytes]], bool]:
    """The sound records of a segment from its beginning, as (position, kind, source, payload); and: does an end mark follow."""
    found = header(data)
    if found is None:
        return [], False
    start, size, seed = found
    records, at = [], 64
    while at + 24 <= min(size - 64, len(data)):
        length, word, position, source, crc = struct.unpack_from("<IIQII", data, at)
        kind, mark = word & 0xFF, word >> 8
        payload = data[at + 24 : at + 24 + length]
        if mark != 0x4A4C4C or position != start + at or len(payload) < length or at + 24 + length > size - 64:
            return records, False
        if crc32c(payload, crc32c(data[at : at + 20], seed)) != crc:
            return records, False
        if kind == 255:
            return records, True
        records.append((position, kind, source, payload))
        at += (24 + length + 7) // 8 * 8
    return records, True


def read(directory: Path) -> list[tuple[int, int, int, bytes]]:
    """All records of an undamaged journal."""
    records = []
    for path in sorted(directory.glob("segment-*.llj")):
        records += run(path.read_bytes())[0]
    return records
