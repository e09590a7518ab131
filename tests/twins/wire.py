"""LLF1 as the tables say it: struct for the header, a loop over bits for the sum, a list of rules for the refusals."""

import struct
from itertools import pairwise

HEADER = struct.Struct("<4sBBBBIHHIIQQqIIII")
NAMES = ("magic", "header_len", "type", "encoding", "flags", "device", "channel", "n_channels", "epoch", "clock_sd_us",
         "seq", "sample_index", "t0_ns", "rate_num", "rate_den", "n_samples", "crc32c")
WIDTH = {1: 2, 2: 3, 3: 4, 4: 4, 5: 8, 6: 16}
LETTER = {1: "h", 3: "i", 4: "f", 5: "d"}
PACKED = 16


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
    if encoding == PACKED:
        return b"".join(map(pack_row, rows))
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


def pack_row(row: list[int]) -> bytes:
    """x0, then blocks of 128 codes: the bits of a block as one long number."""
    codes = []
    for a, b in pairwise(row):
        d = (b - a + 2**31) % 2**32 - 2**31
        codes.append(2 * d if d >= 0 else -2 * d - 1)
    out = struct.pack("<i", row[0])
    for at in range(0, len(codes), 128):
        part = codes[at : at + 128]
        w = max(part).bit_length()
        out += bytes([w]) + sum(z << (j * w) for j, z in enumerate(part)).to_bytes(16 * w, "little")
    return out


def unpack_rows(body: bytes, n_channels: int, n: int) -> list[list[int]] | str:
    """Rows of a packed payload, or the word of the refusal."""
    rows, at = [], 0
    if n_channels * n > 2**24:
        return "packed"
    for _ in range(n_channels):
        if at + 4 > len(body):
            return "length"
        row = [struct.unpack_from("<i", body, at)[0]]
        at += 4
        while len(row) < n:
            if at >= len(body):
                return "length"
            w, many = body[at], min(128, n - len(row))
            if w > 32:
                return "packed"
            if at + 1 + 16 * w > len(body):
                return "length"
            bits = int.from_bytes(body[at + 1 : at + 1 + 16 * w], "little")
            at += 1 + 16 * w
            if bits >> (many * w):
                return "packed"
            for j in range(many):
                z = bits >> (j * w) & ((1 << w) - 1)
                d = z // 2 if z % 2 == 0 else -(z + 1) // 2
                row.append((row[-1] + d + 2**31) % 2**32 - 2**31)
        rows.append(row)
    return rows if at == len(body) else "length"


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
    if encoding not in WIDTH and encoding != PACKED and not (h["type"] and encoding == 0):
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
        packed = unpack_rows(body, h["n_channels"], n) if encoding == PACKED else []
        if isinstance(packed, str):
            return packed
        if encoding != PACKED and len(body) != h["n_channels"] * n * WIDTH[encoding]:
            return "length"
        rows = packed or _rows(encoding, h["n_channels"], n, body)
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
