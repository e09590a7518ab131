"""LLF1 as the tables say it: struct for the header, a loop over bits for the sum, a list of rules for the refusals."""

import struct
from itertools import pairwise

HEADER = struct.Struct("<4sBBBBIHHIIQQqIIII")
NAMES = ("magic", "header_len", "type", "encoding", "flags", "device", "channel", "n_channels", "epoch", "clock_sd_us",
         "seq", "sample_index", "t0_ns", "rate_num", "rate_den", "n_samples", "crc32c")
WIDTH = {1: 2, 2: 3, 3: 4, 4: 4, 5: 8, 6: 16}
LETTER = {1: "h", 3: "i", 4: "f", 5: "d"}


def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = _table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def payload(encoding: int, rows: list[list]) -> bytes:
    """Rows of numbers, or of (t_ns, value) for encoding 6."""
    out = b""
    for row in rows:
        for value in row:
            if encoding == 2:
                out += value.to_bytes(3, "little", signed=True)
            elif encoding == 6:
                out += struct.pack("<qd", *value)
            else:
                out += struct.pack("<" + LETTER[encoding], value)
    return out


def pack(fields: dict, body: bytes, extensions: bytes = b"") -> bytes:
    said = {**fields, "magic": b"LLF1", "header_len": 64 + len(extensions), "crc32c": 0}
    bare = HEADER.pack(*(said[name] for name in NAMES)) + extensions + body
    return bare[:60] + struct.pack("<I", crc32c(bare)) + bare[64:]


def parse(data: bytes) -> dict | str:
    """The fields and ``rows``, or the word of the refusal."""
    if len(data) < 64:
        return "short"
    h = dict(zip(NAMES, HEADER.unpack(data[:64]), strict=True))
    if h["magic"] != b"LLF1":
        return "magic"
    if h["header_len"] < 64 or h["header_len"] % 8 or h["header_len"] > len(data):
        return "header-len"
    if crc32c(data[:60] + bytes(4) + data[64:]) != h["crc32c"]:
        return "crc"
    body = data[h["header_len"]:]
    encoding, n = h["encoding"], h["n_samples"]
    if h["type"] > 3:
        return "type"
    if encoding not in WIDTH and not (h["type"] and encoding == 0):
        return "encoding"
    if h["flags"] >= 32:
        return "flags"
    if h["type"] == 0 and (h["rate_den"] == 0 or (h["rate_num"] == 0) != (encoding == 6)):
        return "rate"
    if h["channel"] + h["n_channels"] > 65536:
        return "shape"
    if h["type"]:
        if n or h["seq"]:
            return "shape"
        if h["type"] == 3 and not body:
            return "length"
        rows = []
    else:
        if not n or not h["n_channels"]:
            return "shape"
        if len(body) != h["n_channels"] * n * WIDTH[encoding]:
            return "length"
        rows = _rows(encoding, h["n_channels"], n, body)
    if encoding == 6 and rows:
        times = [[t for t, _ in row] for row in rows]
        if times[0][0] != h["t0_ns"] or any(b <= a for row in times for a, b in pairwise(row)):
            return "time-order"
        if any(row[0] < 0 for row in times):
            return "time-range"
    most = 2**63 - 1
    if h["t0_ns"] < 0 or h["seq"] > most or h["sample_index"] + n > most:
        return "time-range"
    if rows and encoding != 6 and h["t0_ns"] + n * h["rate_den"] * 10**9 // h["rate_num"] > most:
        return "time-range"
    return {**h, "rows": rows, "body": body}


def _rows(encoding: int, n_channels: int, n: int, body: bytes) -> list[list]:
    width = WIDTH[encoding]
    cells = [body[i : i + width] for i in range(0, len(body), width)]
    if encoding == 2:
        values = [int.from_bytes(cell, "little", signed=True) for cell in cells]
    elif encoding == 6:
        values = [struct.unpack("<qd", cell) for cell in cells]
    else:
        values = [struct.unpack("<" + LETTER[encoding], cell)[0] for cell in cells]
    return [values[c * n : (c + 1) * n] for c in range(n_channels)]
