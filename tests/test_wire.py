"""LLF1: golden bytes, equality with the twin, round trips, and everything that must be refused."""

import ctypes
import math
import platform
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core import _wire, wire
from lifeline_core.model import Alarm, Frame
from tests.twins import wire as twin

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests/golden"
T0 = 1_790_000_000_123_456_789
FIELDS = {
    "type": 0, "encoding": 1, "flags": 1, "device": 17, "channel": 3, "n_channels": 2, "epoch": 0xC0FFEE,
    "clock_sd_us": 250, "seq": 41, "sample_index": 8200, "t0_ns": T0, "rate_num": 200, "rate_den": 1, "n_samples": 3,
}  # fmt: skip
UNSAID = ("encoding", "channel", "n_channels", "seq", "sample_index", "n_samples", "rate_num")
WORD = {**FIELDS, **dict.fromkeys(UNSAID, 0), "flags": 16}
TIMES = [[(T0, 1.5), (T0 + 7, -0.25), (T0 + 10**12, 1e300)], [(5, 0.0), (6, -0.0), (2**62, math.inf)]]
ROWS = {
    1: [[0, 1, -1], [32767, -32768, 258]],
    2: [[0, 1, -1], [8388607, -8388608, 66051]],
    3: [[0, 1, -1], [2**31 - 1, -(2**31), 16909060]],
    4: [[0.0, 1.5, -1.5], [math.inf, -math.inf, 2.0**-149]],
    5: [[0.0, 0.1, -0.1], [math.inf, 1e308, 5e-324]],
    6: TIMES,
}
NAMES = {1: "int16", 2: "int24", 3: "int32", 4: "float32", 5: "float64", 6: "timed"}


def data_frame(encoding: int, **other) -> bytes:
    said = {**FIELDS, "encoding": encoding, "rate_num": 0 if encoding == 6 else 200, **other}
    return twin.pack(said, twin.payload(encoding, ROWS[encoding]))


def golden() -> dict[str, bytes]:
    made = {name: data_frame(encoding) for encoding, name in NAMES.items()}
    made["packed"] = twin.pack({**FIELDS, "encoding": 16}, twin.payload(16, ROWS[3]))
    made["hello"] = twin.pack({**WORD, "type": 1}, b"")
    made["bye"] = twin.pack({**WORD, "type": 2}, b"")
    made["health"] = twin.pack({**WORD, "type": 3}, b"\x81\xa7battery\x0c")
    made["extensions"] = twin.pack(FIELDS, twin.payload(1, ROWS[1]), b"\x81\xa2fw\x07\0\0\0")
    return made


def same(one: Frame, other: Frame) -> bool:
    """Equal in every field, and in the bits of every sample."""
    alike = all(getattr(one, n) == getattr(other, n) for n in (*FIELDS, "extensions", "body"))
    alike &= one.samples.dtype == other.samples.dtype and one.samples.tobytes() == other.samples.tobytes()
    times = [f.t_ns if f.t_ns is None else f.t_ns.tolist() for f in (one, other)]
    return bool(alike and times[0] == times[1])


def frame(data: bytes) -> Frame:
    found = wire.decode(data)
    assert isinstance(found, Frame), found
    return found


def reason(data: bytes) -> str:
    """The word of the refusal; its text must state a value and never fail to be made."""
    found = wire.decode(data)
    assert isinstance(found, wire.Refusal)
    assert "got" in found.text
    return found.reason


# ---- bytes that stay for ever ----


@pytest.mark.parametrize("name", sorted(golden()))
def test_golden(name):
    kept = (GOLDEN / f"{name}.llf").read_bytes()
    assert kept == golden()[name]
    found = frame(kept)
    assert wire.encode(found) == kept
    assert {n: getattr(found, n) for n in FIELDS} == {n: twin.parse(kept)[n] for n in FIELDS}


def test_header_by_hand():
    """One frame read off the table of the format, byte for byte."""
    by_hand = bytes.fromhex(
        "4c4c4631 40 00 01 01  11000000 0300 0200  eeffc000 fa000000  2900000000000000 0820000000000000"
        "15cd4e2b845bd718  c8000000 01000000 03000000"
    )
    kept = (GOLDEN / "int16.llf").read_bytes()
    assert kept[:60] == by_hand
    assert kept[64:] == bytes.fromhex("0000 0100 ffff ff7f 0080 0201")


@pytest.mark.parametrize("encoding", NAMES)
def test_samples_of_golden(encoding):
    found = frame(data_frame(encoding))
    dtype = {1: np.int16, 2: np.int32, 3: np.int32, 4: np.float32, 5: np.float64, 6: np.float64}[encoding]
    rows = ROWS[encoding] if encoding < 6 else [[v for _, v in row] for row in TIMES]
    assert found.samples.dtype == dtype
    assert found.samples.tolist() == rows
    assert (found.t_ns is None) == (encoding != 6)
    if found.t_ns is not None:
        assert found.t_ns.tolist() == [[t for t, _ in row] for row in TIMES]
    x, t_ns = _wire.scaled(data_frame(encoding), np.array([1e-3, 2.0]), np.array([0.5, -1.0]))
    with np.errstate(over="ignore"):
        wanted = np.array([[1e-3 * v + 0.5 for v in rows[0]], [2.0 * v - 1.0 for v in rows[1]]]).astype(np.float32)
    assert x.tobytes() == wanted.tobytes()
    assert (t_ns is None) == (encoding != 6)


@pytest.mark.parametrize("encoding", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("n", [1, 5, 6, 17, 255, 256, 257, 600])
def test_rows_of_every_length(encoding, n):
    """Vector loops and their tails: equal to numpy, double inside, one rounding at the end."""
    rng = np.random.default_rng(n)
    if encoding < 4:
        half = 1 << (8 * wire.WIDTH[encoding] - 1)
        raw = rng.integers(-half, half, (3, n)).astype(np.int16 if encoding == 1 else np.int32)
    else:
        raw = rng.normal(size=(3, n)).astype(np.float32 if encoding == 4 else np.float64)
    data = wire.pack(raw, device=1, t0_ns=0, rate=100, encoding=encoding)
    assert np.array_equal(frame(data).samples, raw)
    scales, offsets = np.array([1e-6, -3.0, 1.0]), np.array([0.1, 0.0, 1e6])
    x, _ = _wire.scaled(data, scales, offsets)
    assert np.array_equal(x, (scales[:, None] * raw + offsets[:, None]).astype(np.float32))


def test_nan_passes():
    for dtype in (np.float32, np.float64):
        raw = np.array([[1.0, np.nan, np.inf, -np.inf]], dtype)
        data = wire.pack(raw, device=1, t0_ns=0, rate=1)
        assert frame(data).samples.tobytes() == raw.tobytes()
        assert np.array_equal(_wire.scaled(data, np.ones(1), np.zeros(1))[0], raw, equal_nan=True)


# ---- the sum ----


def test_crc_known():
    assert _wire.crc32c(b"123456789") == 0xE3069283
    assert _wire.crc32c(b"") == 0
    assert _wire.crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert _wire.crc32c(bytes([255]) * 32) == 0x62A8AB43


def test_crc_lengths():
    """Around every border of the three-stream blocks (192, 768, 3072 bytes)."""
    data = np.random.default_rng(1).bytes(7000)
    for n in (*range(70), 191, 192, 193, 383, 384, 767, 768, 769, 960, 3071, 3072, 3073, 3840, 6144, 7000):
        assert _wire.crc32c(data[:n]) == twin.crc32c(data[:n]), n
        assert _wire.crc32c(data[n:], _wire.crc32c(data[:n])) == _wire.crc32c(data), n


def compile_c(source: Path, target: Path, *flags: str) -> None:
    found = ["-I", str(ROOT / "kernels"), "-I", str(ROOT / "include")]
    strict = ["-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *strict, *flags, *found, source, "-lm", "-o", target], check=True)


needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not here")


@needs_gcc
def test_crc_without_the_instruction(tmp_path):
    """The table form, as it is compiled where there is no CRC instruction."""
    library = tmp_path / "wire.so"
    plain = ["-mno-sse4.2"] if platform.machine() in ("x86_64", "AMD64") else []
    counts = ROOT / "kernels/counts.c"
    compile_c(ROOT / "kernels/wire.c", library, counts, "-std=c11", "-D_GNU_SOURCE", *plain, "-shared", "-fPIC")
    api = (ctypes.c_void_p * 6).in_dll(ctypes.CDLL(str(library)), "ll_wire_api__baseline")
    table = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t)(api[3])
    data = np.random.default_rng(2).bytes(100)
    for n in range(100):
        assert table(0, data, n) == twin.crc32c(data[:n])
        assert table(table(0, data, n), data[n:], 100 - n) == twin.crc32c(data)




# ---- equality with the twin ----

u8, u16, u32, u63 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 63))


@st.composite
def any_frames(draw) -> bytes:
    """Mostly sound frames with a sound CRC; every field may be at its limits, and one may be anything."""
    encoding = draw(st.sampled_from([1, 2, 3, 4, 5, 6, 16]))
    n_channels, n = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    half = 1 << (8 * min(twin.WIDTH.get(encoding, 4), 4) - 1)
    value = st.floats(width=32) if encoding in (4, 5) else st.integers(-half, half - 1)
    t0 = draw(st.integers(0, 2**61))
    if encoding == 6:
        starts = [t0, *draw(st.lists(st.integers(0, 2**61), min_size=n_channels - 1, max_size=n_channels - 1))]
        steps = draw(st.lists(st.integers(1, 2**40), min_size=n, max_size=n))
        rows = [[(s + sum(steps[:i]), float(i)) for i in range(n)] for s in starts]
    else:
        rows = [draw(st.lists(value, min_size=n, max_size=n)) for _ in range(n_channels)]
    said = {
        "type": 0, "encoding": encoding, "flags": draw(st.integers(0, 31)), "device": draw(u32),
        "channel": draw(st.integers(0, 65532)), "n_channels": n_channels, "epoch": draw(u32), "clock_sd_us": draw(u32),
        "seq": draw(u63), "sample_index": draw(st.integers(0, 2**62)), "t0_ns": t0,
        "rate_num": 0 if encoding == 6 else draw(st.integers(1, 2**32 - 1)), "rate_den": draw(st.integers(1, 1000)),
        "n_samples": n}  # fmt: skip
    lie = draw(st.sampled_from([None, None, *said]))
    if lie:
        least, most = (-(2**63), 2**63 - 1) if lie == "t0_ns" else (0, _greatest(lie))
        said[lie] = draw(st.one_of(st.sampled_from([least, most]), st.integers(0, 20), st.integers(least, most)))
    return twin.pack(said, twin.payload(encoding, rows))


def _greatest(field: str) -> int:
    bits = {"type": 8, "encoding": 8, "flags": 8, "channel": 16, "n_channels": 16, "seq": 64, "sample_index": 64}
    return 2 ** bits.get(field, 32) - 1


@settings(max_examples=300, deadline=None)
@given(any_frames())
def test_twin(data):
    wanted, found = twin.parse(data), wire.decode(data)
    if isinstance(wanted, str):
        assert isinstance(found, wire.Refusal)
        assert found.reason == wanted
        assert "got" in found.text
        return
    assert isinstance(found, Frame)
    assert {n: getattr(found, n) for n in FIELDS} == {n: wanted[n] for n in FIELDS}
    if found.type == 0:
        rows = np.array(wanted["rows"])
        assert np.array_equal(found.samples, rows[..., 1] if found.encoding == 6 else rows, equal_nan=True)
        if found.t_ns is not None:
            assert found.t_ns.tolist() == [[t for t, _ in row] for row in wanted["rows"]]
    assert wire.encode(found) == data


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(data):
    assert isinstance(wire.decode(data), wire.Refusal)
    assert isinstance(wire.from_gateway(data), wire.Refusal)
    assert isinstance(wire.decode(b"LLF1" + data), wire.Refusal)


# ---- refusals ----


LIES = [
    ("type", {"type": 4}), ("type", {"type": 255}),
    ("encoding", {"encoding": 0}), ("encoding", {"encoding": 7}), ("encoding", {"encoding": 17}),
    ("flags", {"flags": 32}), ("flags", {"flags": 255}),
    ("rate", {"rate_num": 0}), ("rate", {"rate_den": 0}),
    ("shape", {"n_channels": 0}), ("shape", {"n_samples": 0}), ("shape", {"channel": 65535}),
    ("shape", {"type": 1}), ("shape", {"type": 2, "n_samples": 0}),
    ("length", {"n_samples": 4}), ("length", {"n_samples": 2**32 - 1}), ("length", {"n_channels": 1}),
    ("length", {"encoding": 3}), ("length", {"encoding": 2}),
    ("length", {"channel": 0, "n_channels": 65535, "n_samples": 2**32 - 1}),
    ("length", {"channel": 0, "n_channels": 32768, "n_samples": 2**31}),
    ("time-range", {"t0_ns": -1}), ("time-range", {"t0_ns": -(2**63)}), ("time-range", {"t0_ns": 2**63 - 1}),
    ("time-range", {"sample_index": 2**63 - 3}), ("time-range", {"sample_index": 2**64 - 1}),
    ("time-range", {"seq": 2**63}), ("time-range", {"rate_num": 1, "rate_den": 2**32 - 1}),
]  # fmt: skip


@pytest.mark.parametrize(("word", "lie"), LIES)
def test_lie(word, lie):
    """A sound CRC over a header that cannot be."""
    data = twin.pack({**FIELDS, **lie}, twin.payload(1, ROWS[1]))
    assert reason(data) == word == twin.parse(data)


def test_length_does_not_wrap():
    """Products that are a payload's length modulo 2^32 (and would be accepted by 32-bit arithmetic)."""
    for n_channels, n_samples, width, encoding in ((16, 2**28 + 1, 16, 6), (4, 2**30 + 1, 2, 1), (4, 2**28 + 1, 8, 5)):
        payload = bytes(n_channels * n_samples * width % 2**32)
        lie = {"channel": 0, "n_channels": n_channels, "n_samples": n_samples, "encoding": encoding, "t0_ns": 0,
               "rate_num": 0 if encoding == 6 else 1}
        assert reason(twin.pack({**FIELDS, **lie}, payload)) == "length"


@pytest.mark.parametrize(
    ("word", "rows", "other"),
    [
        ("time-order", [[(T0, 1.0), (T0, 2.0)]], {}),
        ("time-order", [[(T0, 1.0), (T0 - 1, 2.0)]], {}),
        ("time-order", [[(T0 + 1, 1.0), (T0 + 2, 2.0)]], {}),
        ("time-order", [[(T0, 1.0), (T0 + 1, 2.0)], [(3, 1.0), (2, 1.0)]], {}),
        ("time-range", [[(T0, 1.0), (T0 + 1, 2.0)], [(-3, 1.0), (2, 1.0)]], {}),
        ("time-range", [[(-5, 1.0), (2, 1.0)]], {"t0_ns": -5}),
        ("rate", [[(T0, 1.0), (T0 + 1, 2.0)]], {"rate_num": 1}),
        ("rate", [[(T0, 1.0), (T0 + 1, 2.0)]], {"rate_den": 0}),
    ],
)
def test_timed_lie(word, rows, other):
    said = {**FIELDS, "encoding": 6, "rate_num": 0, "n_channels": len(rows), "n_samples": 2, **other}
    data = twin.pack(said, twin.payload(6, rows))
    assert reason(data) == word == twin.parse(data)


def test_refusal_states_rule_and_value():
    assert wire.decode(b"") == wire.Refusal("short", "a frame has at least 64 bytes, got 0")
    assert wire.decode(b"LLF2" + bytes(60)) == wire.Refusal("magic", "a frame begins with LLF1, got b'LLF2'")
    assert wire.decode(twin.pack({**FIELDS, "flags": 0x21}, twin.payload(1, ROWS[1]))) == wire.Refusal(
        "flags", "flags may use bits 0 to 4, got 0x21"
    )
    bent = bytearray(data_frame(1))
    bent[60] ^= 1
    total = int.from_bytes(data_frame(1)[60:64], "little")
    text = f"crc32c must be the sum over the frame, 0x{total:08x}, got 0x{total ^ 1:08x}"
    assert wire.decode(bent) == wire.Refusal("crc", text)
    for header_len in (0, 8, 63, 65, 80, 248, 255):
        bent[4] = header_len
        assert reason(bytes(bent)) == "header-len"
    text = wire.decode(twin.pack({**FIELDS, "n_samples": 4}, twin.payload(1, ROWS[1]))).text
    assert text.endswith("got type 0, n_channels 2, n_samples 4, encoding 1: 16 bytes, payload 12 bytes")


def test_every_word_of_the_parser_has_a_rule():
    assert set(wire._RULES) == set(_wire.REFUSALS[1 : _wire.REFUSALS.index("extension")])


def corrupted(good: bytes, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``count`` each of: bits flipped, cut, lengthened. Records in one buffer: bytes, offsets, lengths."""
    n = len(good)
    width = n + 64
    made = np.zeros((3 * count, width), np.uint8)
    made[:, :n] = np.frombuffer(good, np.uint8)
    lengths = np.full(3 * count, n, np.int64)
    for k in range(3):  # out of different bytes: the same bit drawn twice would be no change
        at = rng.integers(0, n // 3, count) * 3 + k
        made[np.arange(count), at] ^= (1 << rng.integers(0, 8, count)).astype(np.uint8)
    lengths[count : 2 * count] = rng.integers(0, n, count)
    lengths[2 * count :] += rng.integers(1, 65, count)
    made[2 * count :, n:] = rng.integers(0, 256, (count, 64))
    return made, np.arange(3 * count, dtype=np.int64) * width, lengths


def test_corrupted_frames():
    """100,000 corrupted frames of every kind: each is refused by a counted word, none is accepted."""
    rng = np.random.default_rng(7)
    counted: Counter[str] = Counter()
    total = 0
    kinds = golden()
    for good in kinds.values():
        made, offsets, lengths = corrupted(good, 3000, rng)
        verdicts = _wire.parse_batch(made.ravel(), offsets, lengths)
        assert verdicts.min() > 0
        counted.update(_wire.REFUSALS[v] for v in verdicts)
        total += len(verdicts)
    lying, offsets, lengths = lies(rng, 12_000)
    verdicts = _wire.parse_batch(lying, offsets, lengths)
    assert verdicts.min() > 0
    assert "crc" not in {_wire.REFUSALS[v] for v in verdicts}
    counted.update(_wire.REFUSALS[v] for v in verdicts)
    total += len(verdicts)
    assert total == counted.total() >= 100_000
    wanted = set(_wire.REFUSALS[1 : _wire.REFUSALS.index("extension")])
    assert set(counted) == wanted - {"packed"}  # lies about packed blocks have a file of their own


def lies(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames whose CRC is right and whose header is not: one field that no other can make true again."""
    parts = []
    bodies = {e: twin.payload(e, ROWS[e]) for e in NAMES}
    draws = {
        "type": lambda e: int(rng.integers(4, 256)),
        "encoding": lambda e: int(rng.choice([7, 15, *rng.integers(17, 256, 6)])),
        "flags": lambda e: int(rng.integers(32, 256)),
        "channel": lambda e: 65535,
        "n_channels": lambda e: int(rng.choice([0, 1, *rng.integers(3, 60000, 4)])),
        "n_samples": lambda e: int(rng.choice([0, 1, 2, *rng.integers(4, 2**32, 4)])),
        "seq": lambda e: int(rng.integers(2**63, 2**64, dtype=np.uint64)),
        "sample_index": lambda e: int(rng.integers(2**63 - 2, 2**64, dtype=np.uint64)),
        "t0_ns": lambda e: int(rng.integers(-(2**63), 0)),
        "rate_num": lambda e: int(rng.integers(1, 2**32)) if e == 6 else 0,
        "rate_den": lambda e: 0,
    }
    names = list(draws)
    for i in range(count):
        encoding = int(rng.integers(1, 7))
        said = {**FIELDS, "encoding": encoding, "rate_num": 0 if encoding == 6 else 200, names[i % len(names)]: 0}
        said[names[i % len(names)]] = draws[names[i % len(names)]](encoding)
        parts.append(_wire.pack(bodies[encoding], b"", **said))
    lengths = np.array([len(p) for p in parts], np.int64)
    return np.frombuffer(b"".join(parts), np.uint8), np.cumsum(lengths) - lengths, lengths


def test_parse_batch_stays_within():
    with pytest.raises(ValueError, match="record 1 must lie within the 10 bytes, got offset 8, length 3"):
        _wire.parse_batch(bytes(10), np.array([0, 8]), np.array([3, 3]))
    with pytest.raises(ValueError, match="of one length, got 2 and 1"):
        _wire.parse_batch(bytes(10), np.array([0, 8]), np.array([3]))


# ---- encode and pack ----


def test_pack_defaults():
    found = frame(wire.pack(np.array([1, 2], np.int16), device=9, t0_ns=5, rate=0.1))
    assert (found.n_channels, found.n_samples, found.encoding, found.flags, found.epoch) == (1, 2, 1, 1, 1)
    assert (found.rate_num, found.rate_den) == (1, 10)
    assert frame(wire.pack(np.zeros(1, np.float32), device=9, rate=Fraction(1, 3))).rate_den == 3
    assert frame(wire.pack(np.zeros(1, np.float32), device=9, rate=(48000, 1001))).rate_den == 1001
    hello = frame(wire.pack(type=wire.HELLO, device=9, body=b"\x80"))
    assert (hello.type, hello.encoding, hello.body, hello.samples.shape) == (1, 0, b"\x80", (0, 0))
    timed = frame(wire.pack([1.0, 2.0], t_ns=[10, 20], device=9))
    assert (timed.encoding, timed.t0_ns, timed.rate_num, timed.rate_den) == (6, 10, 0, 1)


WRONG_EXTENSIONS = [
    bytes(8), b"\xc1" * 8, b"\x81" * 184,
    b"\x93\x01\x02\x03\0\0\0\0",  # a list
    b"\x81\x01\x02\0\0\0\0\0",  # a number for a key
    b"\x81\xa1a\x01\0\0\0\x01",  # more behind the map than zeros
    b"\x82\xa1a\x01\xa1b\x81\xa1",  # the map goes on past header_len
    b"\x81\xa1\xff\x01\0\0\0\0",  # a key that is no text
]  # fmt: skip


def test_extensions():
    said = {"firmware": "2.1", "gain": 4, "id": b"\x01\x02"}
    data = wire.pack(np.zeros((1, 3), np.int16), device=1, rate=10, extensions=said)
    assert frame(data).extensions == said
    assert data[4] % 8 == 0 and data[4] > 64
    for area in WRONG_EXTENSIONS:
        assert reason(twin.pack(FIELDS, twin.payload(1, ROWS[1]), area)) == "extension"
    with pytest.raises(ValueError, match="must fit 184 bytes, got 208"):
        wire.pack(np.zeros((1, 3), np.int16), device=1, rate=10, extensions={"x": "y" * 200})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (r"device must be from 0 to 4294967295, got -1", {"device": -1}),
        (r"rate_num must be from 0 to 4294967295, got 4294967296", {"rate": (2**32, 1)}),
        (r"encoding 1 carries -32768 to 32767, got 0 to 40000", {"samples": [0, 40000], "encoding": 1}),
        (r"encoding 2 carries -8388608 to 8388607, got -8388609 to 1", {"samples": [1, -8388609], "encoding": 2}),
        (r"encoding 3 carries integers, got samples of dtype float64", {"samples": [0.5], "encoding": 3}),
        (r"encoding must be given but for int16, int32, float32 or float64, got int64", {"samples": [1]}),
        (r"encoding must be 1 to 6 or 16, got 17", {"encoding": 17}),
        (r"encoding 6 and no other has times; got encoding 6 without", {"encoding": 6}),
        (r"encoding 6 and no other has times; got encoding 1 with", {"encoding": 1, "t_ns": [0]}),
        (r"t_ns must have the shape of samples", {"t_ns": [1, 2]}),
        (r"shape: data has channels and samples", {"samples": np.zeros((1, 0), np.int16)}),
        (r"samples must have the header's shape", {"samples": np.zeros((1, 1, 1), np.int16)}),
        (r"rate: rate_num / rate_den must be above 0", {"rate": None}),
        (r"flags: flags may use bits 0 to 4, got 0x40", {"flags": 64}),
        (r"length: .*a state of health must have one", {"type": 3, "samples": None, "encoding": 0}),
    ],
)
def test_pack_refuses(text, said):
    with pytest.raises(ValueError, match=text):
        wire.pack(**{"samples": np.zeros(1, np.int16), "device": 1, "rate": 1, **said})


def test_encode_checks_counts():
    with pytest.raises(ValueError, match=r"samples must have the header's shape \(2, 4\), got \(2, 3\)"):
        wire.encode(replace(frame(data_frame(1)), n_samples=4))


@pytest.mark.parametrize("encoding", NAMES)
def test_frames_from_views_and_byte_orders(encoding):
    """A frame inside a larger buffer at an odd place, and big-endian samples in."""
    data = data_frame(encoding)
    inside = memoryview(b"x" + data + b"y")[1:-1]
    assert same(frame(inside), frame(data))
    found = frame(data)
    assert wire.encode(replace(found, samples=found.samples.astype(found.samples.dtype.newbyteorder(">")))) == data
    assert found.samples.flags.writeable


# ---- gateways ----


def gateway(**other) -> dict:
    return {"v": 1, **FIELDS, "samples": twin.payload(1, ROWS[1]), **other}


def test_gateway():
    assert wire.from_gateway(msgpack.packb(gateway())) == data_frame(1)
    hello = {"v": 1, **WORD, "type": 1, "samples": b""}
    assert wire.from_gateway(msgpack.packb(hello)) == golden()["hello"]


@pytest.mark.parametrize(
    ("word", "text", "sent"),
    [
        ("gateway", "2", gateway(v=2)),
        ("gateway", "`v`", {k: v for k, v in gateway().items() if k != "v"}),
        ("gateway", "`seq`", {k: v for k, v in gateway().items() if k != "seq"}),
        ("gateway", "`samples`", {k: v for k, v in gateway().items() if k != "samples"}),
        ("gateway", "unknown field `crc32c`", gateway(crc32c=0)),
        ("gateway", "got `bool`", gateway(flags=True)),
        ("gateway", "got `float`", gateway(t0_ns=1.0)),
        ("gateway", "got `str`", gateway(samples="abc")),
        ("gateway", "`int` <= 65535", gateway(channel=65536)),
        ("gateway", "`int` >= 0", gateway(t0_ns=-1)),
        ("gateway", "<= 9223372036854775807", gateway(seq=2**63)),
        ("gateway", "got `array`", [1, 2]),
        ("length", "16 bytes, payload 12 bytes", gateway(n_samples=4)),
        ("encoding", "got 17", gateway(encoding=17)),
    ],
)
def test_gateway_refuses(word, text, sent):
    found = wire.from_gateway(msgpack.packb(sent))
    assert isinstance(found, wire.Refusal)
    assert found.reason == word
    assert text in found.text


def test_gateway_trailing_and_deep():
    assert wire.from_gateway(msgpack.packb(gateway()) + b"\0").reason == "gateway"
    assert wire.from_gateway(b"\x81\xa1v" + b"\x91" * 100_000).reason == "gateway"
    assert wire.from_gateway(b"\x81\xa1\xff\x01").reason == "gateway"


# ---- alarms ----


def test_alarm():
    alarm = Alarm(
        alarm_id="ab", revision=2, site="s", domain="gas", watch="w", kind="level", severity=3, process="active",
        handling="new", onset_ns=T0, detected_ns=T0 + 1, updated_ns=T0 + 2, score=1.5, value=None, limit=25.0, unit="%",
        quality=1.0, historical=False, config_hash="", version="0", text={"zh": "甲烷", "en": "methane"},
        where={"candidates": [1, 2.5]}, evidence={"raw": b"\x00"})  # fmt: skip
    data = wire.alarm_to_bytes(alarm)
    assert msgpack.unpackb(data) == alarm.to_map()
    assert wire.alarm_from_bytes(data) == alarm
    assert wire.alarm_from_bytes(msgpack.packb({**alarm.to_map(), "later": 1})) == alarm
    for wrong in (b"", b"\x01", msgpack.packb({"alarm_id": "ab"}), data[:-1]):
        with pytest.raises(ValueError, match=r"an alarm must be one msgpack map with the keys of model\.Alarm"):
            wire.alarm_from_bytes(wrong)


# ---- captures ----


def test_capture():
    """Every kind of frame back to back, noise between, a broken frame, and a last one cut off."""
    frames = list(golden().values())
    bent = bytearray(data_frame(5))
    bent[70] ^= 4
    data = b"".join(frames) + b"LLF1 noise" + frames[0] + bytes(bent) + frames[8] + frames[1] + frames[2][:-1]
    capture = wire.read_capture(data)
    found = list(capture)
    assert [data[o : o + n] for o, n in found] == [*frames, frames[0], frames[8], frames[1]]
    start = sum(map(len, frames))
    cut = len(frames[2]) - 1
    assert capture.skipped == [(start, 10), (start + 10 + len(frames[0]), len(bent)), (len(data) - cut, cut)]
    assert list(wire.read_capture(memoryview(data))) == found
    assert list(wire.read_capture(b"")) == []


def test_capture_keeps_refused_frames():
    """What is sound but refused is given out, so that it is counted; also an encoding whose length is not known."""
    unknown = twin.pack({**FIELDS, "encoding": 17}, b"LLF1" + bytes(30))
    flagged = twin.pack({**FIELDS, "flags": 64}, twin.payload(1, ROWS[1]))
    data = unknown + flagged + data_frame(2)
    found = [data[o : o + n] for o, n in wire.read_capture(data)]
    assert found == [unknown, flagged, data_frame(2)]
    assert [reason(d) for d in found[:2]] == ["encoding", "flags"]


def test_capture_full_of_magics():
    """Headers without end, each of a frame whose length only its CRC could tell: passed over in one walk, not in n."""
    data = b"LLF1@\x01" * 100_000
    capture = wire.read_capture(data)
    assert list(capture) == []
    assert capture.skipped == [(0, len(data))]


# A body has no length in the header: noise right behind it cannot be told from it, so health stands for itself above.
PARTS = st.one_of(
    st.sampled_from([d for n, d in golden().items() if n != "health"]), st.binary(max_size=80), st.just(b"LLF1")
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PARTS, max_size=8))
def test_capture_covers_every_byte(parts):
    data = b"".join(parts)
    capture = wire.read_capture(data)
    found = list(capture)
    at = 0
    for offset, length in sorted([*found, *capture.skipped]):
        assert offset == at and length > 0
        at += length
    assert at == len(data)
    assert Counter(data[o : o + n] for o, n in found) == Counter(p for p in parts if p in golden().values())


# ---- from C ----


@needs_gcc
def test_example_in_c(tmp_path):
    program = tmp_path / "send_frame"
    compile_c(ROOT / "examples/send_frame.c", program, "-std=c11", "-DNO_ZMQ")
    found = frame(subprocess.run([program], check=True, capture_output=True).stdout)
    assert (found.device, found.encoding, found.n_channels, found.n_samples, found.rate_num) == (17, 1, 2, 200, 200)
    i = np.arange(200)
    wanted = [1000 * np.sin(2 * np.pi * f * i / 200) for f in (7, 11)]
    assert np.abs(found.samples - wanted).max() <= 0.5 + 1e-9  # rounded to counts


@needs_gcc
def test_header_for_devices(tmp_path):
    """include/llf1.h packs every encoding to the golden bytes."""
    program = tmp_path / "pack.c"
    program.write_text(C_GOLDEN)
    compile_c(program, tmp_path / "pack", "-std=c99", "-pedantic")
    out = subprocess.run([tmp_path / "pack"], check=True, capture_output=True).stdout
    assert out == b"".join((GOLDEN / f"{NAMES[e]}.llf").read_bytes() for e in NAMES)


C_GOLDEN = f"""
#include <math.h>
#include <stdio.h>
#include "llf1.h"
static void put(int encoding, const void *x) {{
    static uint8_t out[256];
    llf1_frame f = {{.encoding = (uint8_t)encoding, .flags = 1, .device = 17, .channel = 3, .n_channels = 2,
        .epoch = 0xC0FFEE, .clock_sd_us = 250, .seq = 41, .sample_index = 8200, .t0_ns = {T0},
        .rate_num = encoding == 6 ? 0 : 200, .rate_den = 1, .n_samples = 3}};
    size_t n = llf1_pack(&f, x, out, sizeof out);
    if (!n || llf1_pack(&f, x, out, n - 1) || llf1_pack(&f, x, out, n) != n) return;
    fwrite(out, 1, n, stdout);
}}
int main(void) {{
    int16_t a[] = {{0, 1, -1, 32767, -32768, 258}};
    int32_t b[] = {{0, 1, -1, 8388607, -8388608, 66051}}, c[] = {{0, 1, -1, 2147483647, -2147483647 - 1, 16909060}};
    float d[] = {{0, 1.5f, -1.5f, INFINITY, -INFINITY, 1.40129846e-45f}};
    double e[] = {{0, 0.1, -0.1, INFINITY, 1e308, 4.9406564584124654e-324}};
    llf1_timed g[] = {{{{{T0}, 1.5}}, {{{T0 + 7}, -0.25}}, {{{T0 + 10**12}, 1e300}},
        {{5, 0.0}}, {{6, -0.0}}, {{{2**62}, INFINITY}}}};
    put(1, a); put(2, b); put(3, c); put(4, d); put(5, e); put(6, g);
    return 0;
}}
"""


def test_heads_finds_the_frames_of_some_devices():
    rng = np.random.default_rng(5)
    frames = [wire.pack(np.zeros((1, 3), np.float32), device=int(d), seq=k, sample_index=0, t0_ns=10**18, rate=10)
              for k, d in enumerate(rng.integers(0, 5, 200))]
    frames[7], frames[9] = b"LLF", b"XXXX" + frames[9][4:]
    lengths = np.array([len(f) for f in frames], np.int64)
    offsets = np.cumsum(lengths) - lengths
    data = np.frombuffer(b"".join(frames), np.uint8)
    which, heads = _wire.heads(data, offsets, lengths, np.array([1, 4], np.uint32))
    sound = [k for k, f in enumerate(frames) if f[:4] == b"LLF1" and int.from_bytes(f[8:12], "little") in (1, 4)]
    assert which.tolist() == sound and [bytes(h) for h in heads] == [frames[k][:64] for k in sound]
    assert _wire.heads(data, offsets + data.size, lengths, np.array([1, 4], np.uint32))[0].size == 0  # beyond the buffer
    assert _wire.heads(data, offsets, lengths, np.zeros(0, np.uint32))[0].size == 0
    with pytest.raises(ValueError, match="one length"):
        _wire.heads(data, offsets, lengths[:3], np.array([1], np.uint32))


@given(st.binary(max_size=64), st.lists(st.tuples(st.integers(-2, 70), st.integers(-2, 70)), max_size=9))
def test_gather_copies_pieces_or_says_which_lies_outside(data, pieces):
    offsets, lengths = (np.array([p[k] for p in pieces], np.int64) for k in (0, 1))
    wrong = [k for k, (at, n) in enumerate(pieces) if at < 0 or n < 0 or at + n > len(data)]
    if wrong:
        with pytest.raises(ValueError, match=f"piece {wrong[0]} must lie within the {len(data)} bytes"):
            _wire.gather(data, offsets, lengths)
    else:
        assert _wire.gather(data, offsets, lengths) == b"".join(data[at : at + n] for at, n in pieces)
    with pytest.raises(ValueError, match="one length"):
        _wire.gather(data, offsets, np.zeros(len(pieces) + 1, np.int64))
