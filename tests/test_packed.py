"""Encoding 16, packed int32: the same samples back, the sizes it promises, and every lie about a block refused by name."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core import _wire, wire
from lifeline_core.assemble import HISTORY, LIVE, Join, make_assembler
from lifeline_core.model import NS, Channel
from tests.twins import wire as twin

ROOT = Path(__file__).parents[1]
T0 = 1_790_000_000 * NS
HEAD = {
    "type": 0, "encoding": 16, "flags": 1, "device": 17, "channel": 0, "n_channels": 1, "epoch": 5, "clock_sd_us": 0,
    "seq": 0, "sample_index": 0, "t0_ns": T0, "rate_num": 200, "rate_den": 1, "n_samples": 3,
}  # fmt: skip
LOW, HIGH = -(2**31), 2**31 - 1
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not here")


def packed(x: Any, **other: Any) -> bytes:
    return wire.pack(np.asarray(x, np.int32), **{"device": 17, "t0_ns": T0, "rate": 200, "encoding": wire.PACKED, **other})


def sealed(payload: bytes, **other: Any) -> bytes:
    """A frame with these payload bytes and a right CRC."""
    return bytes(_wire.pack(payload, b"", **{**HEAD, **other}))


def row(*codes_of_blocks: tuple[int, bytes], x0: int = 0) -> bytes:
    return x0.to_bytes(4, "little", signed=True) + b"".join(bytes([w]) + codes for w, codes in codes_of_blocks)


def said(data: bytes) -> str:
    found = wire.decode(data)
    assert isinstance(found, wire.Refusal), found
    assert "got" in found.text
    return found.reason


# ---- by hand, and back ----


def test_bytes_by_hand():
    """0, 1, -1, 1: differences 1, -2, 2, codes 2, 3, 4, three bits each: 0b100_011_010 = 0x11a, least significant first."""
    data = packed([[0, 1, -1, 1]])
    assert data[64:] == bytes(4) + b"\x03" + b"\x1a\x01" + bytes(46)


def test_a_constant_costs_a_byte_a_block():
    data = packed(np.full((2, 1 + 128 * 7), -5))
    assert len(data) == 64 + 2 * (4 + 7)
    found = wire.decode(data)
    assert isinstance(found, wire.Frame)
    assert (found.samples == -5).all() and found.samples.shape == (2, 897) and found.samples.dtype == np.int32


values = st.one_of(st.integers(LOW, HIGH), st.integers(-3, 3), st.sampled_from([LOW, HIGH, 0, LOW + 1]))


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 3), st.integers(1, 300), st.data())
def test_round_trip(n_channels: int, n: int, data: Any) -> None:
    some = data.draw(st.lists(values, min_size=1, max_size=40))
    repeats = np.resize(np.array(some, np.int64), (n_channels, n)).astype(np.int32)
    one = packed(repeats)
    found = wire.decode(one)
    assert isinstance(found, wire.Frame)
    assert np.array_equal(found.samples, repeats)
    assert wire.encode(found) == one == twin.pack(
        {**HEAD, "epoch": 1, "n_channels": n_channels, "n_samples": n}, reference(repeats))  # fmt: skip
    x, _ = _wire.scaled(one, np.full(n_channels, 0.25), np.full(n_channels, -1.0))
    assert np.array_equal(x, (0.25 * repeats.astype(np.float64) - 1.0).astype(np.float32))


def reference(x: np.ndarray) -> bytes:
    """Blocks as one long number each."""
    out = b""
    for r in x.astype(np.int64):
        d = (np.diff(r) + 2**31) % 2**32 - 2**31
        codes = [int(2 * v if v >= 0 else -2 * v - 1) for v in d]
        out += int(r[0]).to_bytes(4, "little", signed=True)
        for at in range(0, len(codes), 128):
            part = codes[at : at + 128]
            w = max(part).bit_length()
            out += bytes([w]) + sum(z << (j * w) for j, z in enumerate(part)).to_bytes(16 * w, "little")
    return out


@pytest.mark.parametrize("w", range(33))
def test_every_width(w: int) -> None:
    """Codes that need exactly w bits, in whole and in part blocks, at every offset within the rows."""
    rng = np.random.default_rng(w)
    z = rng.integers(0, 2**w, (2, 2 * 128 + 37), dtype=np.uint64)
    z[:, ::100] = 2**w - 1
    d = np.where(z % 2 == 0, z // 2, -(z // 2).astype(np.int64) - 1).astype(np.int64)
    x = ((np.cumsum(d, axis=1) + 2**31) % 2**32 - 2**31).astype(np.int32)
    one = packed(x)
    assert len(one) <= 64 + 2 * (4 + 3 * (1 + 16 * max(w, 1)))
    found = wire.decode(one)
    assert isinstance(found, wire.Frame)
    assert np.array_equal(found.samples, x)


def test_a_wider_block_than_need_be_is_sound():
    """A device may use one width for all its blocks."""
    wide = sealed(row((8, bytes([2, 3]) + bytes(126))))
    found = wire.decode(wide)
    assert isinstance(found, wire.Frame)
    assert found.samples.tolist() == [[0, 1, -1]]


def test_python_refuses_what_is_no_int32():
    for samples, said_ in (([0.5], "carries integers"), ([2**31], "carries -2147483648 to 2147483647")):
        with pytest.raises(ValueError, match=said_):
            wire.pack(samples, device=1, t0_ns=0, rate=1, encoding=16)
    with pytest.raises(ValueError, match="shape"):
        wire.pack(np.empty((1, 0), np.int32), device=1, t0_ns=0, rate=1, encoding=16)
    with pytest.raises(ValueError, match="packed samples are 1 to 16777216"):
        _wire.squeeze(np.empty((1, 0), np.int32))


# ---- lies ----


@pytest.mark.parametrize("w", [33, 34, 64, 127, 128, 255])
def test_a_width_above_32_is_refused(w: int) -> None:
    assert said(sealed(row((w, bytes(16 * w))))) == "packed"


@pytest.mark.parametrize("w", [1, 3, 7, 8, 13, 32])
def test_padding_that_is_not_zero_is_refused(w: int) -> None:
    """n_samples 3 uses two codes; each single bit behind them is a lie, none before them is."""
    for bit in range(128 * w):
        codes = (1 << bit).to_bytes(16 * w, "little")
        found = wire.decode(sealed(row((w, codes))))
        if bit < 2 * w:
            assert isinstance(found, wire.Frame)
        else:
            assert isinstance(found, wire.Refusal) and found.reason == "packed", bit


def test_lengths_that_lie_are_refused():
    good = row((2, bytes(32)))
    for lie in (good[:-1], good + b"\0", good[:5], good[:4], good[:3], b"", good + good, row((3, bytes(32))), row((2, bytes(48)))):
        assert said(sealed(lie)) == "length", lie
    assert said(sealed(good, n_samples=130)) == "length"  # another block is missing
    assert said(sealed(good, n_samples=1)) == "length"
    assert said(sealed(good, n_channels=2)) == "length"
    assert wire.decode(sealed(good + good, n_channels=2)).samples.shape == (2, 3)


def test_counts_that_no_memory_holds_are_refused():
    for n_channels, n in ((65535, 2**32 - 1), (1, 2**24 + 1), (1, 2**32 - 1), (4097, 4096)):
        assert said(sealed(bytes(4096), n_channels=n_channels, n_samples=n)) == "packed"
    most = sealed(bytes(4) + bytes((2**24 - 1 + 127) // 128), n_samples=2**24)
    assert _wire.look(most)[0] == ""


def test_rate_and_shape_come_first():
    assert said(sealed(row((2, bytes(32))), rate_num=0)) == "rate"
    assert said(sealed(row((2, bytes(32))), n_samples=0)) == "shape"
    assert said(sealed(row((2, bytes(32))), n_channels=0)) == "shape"


def test_a_capture_finds_their_ends():
    x = np.cumsum(np.random.default_rng(3).integers(-99, 99, (3, 500)), 1)
    one, other = packed(x), packed([[7]])
    bad = sealed(row((40, bytes(640))))
    data = one + other + b"noise" + one + bad + other
    found = [data[o : o + n] for o, n in wire.read_capture(data)]
    assert found == [one, other, one, bad, other]


# ---- into channels ----


def fed(frames: list[bytes], channels: tuple[int, ...] = (0, 1, 2)) -> tuple[Any, dict[int, list[np.ndarray]]]:
    made = [Channel(name=f"c{i}", site="s", device=17, channel=i, rate_hz=200.0, scale=0.5, offset=3.0) for i in channels]
    one = make_assembler(made, [Join((i,)) for i in range(len(made))])
    lengths = np.array([len(f) for f in frames], np.int64)
    _status, at = one.feed(np.frombuffer(b"".join(frames), np.uint8), np.cumsum(lengths) - lengths, lengths, 0, 0, 0)
    assert at == len(frames)
    blocks: dict[int, list[np.ndarray]] = {LIVE: [], HISTORY: []}
    for join, lane in one.take_dirty():
        while (got := one.take(join, lane)) is not None:
            if hasattr(got, "x"):
                blocks[lane].append((join, got.x.copy()))
    return one, blocks


def test_packed_and_plain_frames_are_the_same_samples():
    rng = np.random.default_rng(4)
    x = np.cumsum(rng.integers(-500, 500, (3, 700)), 1).astype(np.int32)
    cuts = [0, 100, 101, 357, 700]
    for channels in ((0, 1, 2), (0, 2)):  # channel 1 configured by nobody: its row is walked over
        got = []
        for encoding in (wire.INT32, wire.PACKED):
            frames = [
                wire.pack(x[:, a:b], device=17, seq=k, sample_index=a, t0_ns=T0 + a * NS // 200, rate=200, encoding=encoding)
                for k, (a, b) in enumerate(pairwise(cuts))
            ]
            one, blocks = fed(frames, channels)
            assert one.counters()["frames"] == 4 and one.counters()["refused"] == {}
            got.append({j: np.concatenate([b.ravel() for k, b in blocks[LIVE] if k == j]) for j in range(len(channels))})
        for j, c in enumerate(channels):
            assert np.array_equal(got[0][j], got[1][j])
            assert np.array_equal(got[1][j], (0.5 * x[c] + 3.0).astype(np.float32))


def test_an_overlap_and_a_hole_of_packed_frames():
    """Trimmed within a row, held and placed later, given to the history lane: as any other frame."""
    x = np.arange(1000, dtype=np.int32)[None, :] ** 2 % 977

    def piece(seq: int, a: int, b: int, **other: Any) -> bytes:
        return packed(x[:, a:b], seq=seq, sample_index=a, t0_ns=T0 + a * NS // 200, **other)

    frames = [piece(0, 0, 200), piece(1, 150, 400), piece(3, 500, 600), piece(2, 400, 500), piece(4, 20, 60, flags=9)]
    one, blocks = fed(frames, (0,))
    said_ = one.counters()
    assert (said_["overlap_samples"], said_["reordered"], said_["backfilled"]) == (50, 1, 1)
    live = np.concatenate([b.ravel() for _, b in blocks[LIVE]])
    assert np.array_equal(live, (0.5 * x[0, :600] + 3.0).astype(np.float32))
    assert np.array_equal(blocks[HISTORY][0][1].ravel(), (0.5 * x[0, 20:60] + 3.0).astype(np.float32))


# ---- from C ----


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """include/llf1.h as a library, under the sanitizer of undefined behaviour."""
    where = tmp_path_factory.mktemp("c")
    (where / "h.c").write_text(
        '#include "llf1.h"\n'
        "size_t made(uint32_t n_channels, uint32_t n, const int32_t *x, uint8_t *out, size_t room) {\n"
        "    llf1_frame f = {.encoding = LLF1_PACKED, .flags = 1, .device = 17, .n_channels = (uint16_t)n_channels, .epoch = 1,\n"
        f"        .t0_ns = {T0}, .rate_num = 200, .rate_den = 1, .n_samples = n}};\n"
        "    return llf1_pack(&f, x, out, room);\n}\n"
        "size_t most(uint32_t n) { return LLF1_PACKED_ROOM(n); }\n"
    )
    strict = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O1", "-shared", "-fPIC"]
    trap = ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    subprocess.run(["gcc", *strict, *trap, "-I", ROOT / "include", where / "h.c", "-o", where / "h.so"], check=True)
    library = ctypes.CDLL(str(where / "h.so"))
    library.made.argtypes = [ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    library.made.restype = library.most.restype = ctypes.c_size_t
    return library


def by_header(library: Any, x: np.ndarray, room: int) -> bytes:
    out = np.full(room + 8, 0xA5, np.uint8)
    n = library.made(*x.shape, x.ctypes.data, out.ctypes.data, room)
    assert (out[room:] == 0xA5).all()  # nothing behind the room it was given
    return out[:n].tobytes()


@needs_gcc
def test_the_header_packs_the_same_bytes(header: Any) -> None:
    rng = np.random.default_rng(5)
    for n in (1, 2, 3, 128, 129, 130, 257, 1000):
        for spread in (0, 1, 300, 2**20, 2**31):
            x = rng.integers(-spread, spread + 1, (2, n)).clip(LOW, HIGH).astype(np.int32)
            x[:, ::77] = LOW if spread == 2**31 else x[:, ::77]
            wanted = packed(x)
            assert len(wanted) <= 64 + 2 * header.most(n)
            assert by_header(header, x, len(wanted)) == wanted
            assert by_header(header, x, len(wanted) - 1) == b""  # no room: no frame
            assert by_header(header, x, 64) == b""


@needs_gcc
def test_the_header_refuses_counts_nobody_takes(header: Any) -> None:
    x = np.zeros((1, 1), np.int32)
    for n_channels, n in ((0, 1), (1, 0), (5000, 4000)):
        assert header.made(n_channels, n, x.ctypes.data, x.ctypes.data, 1 << 20) == 0


# ---- what it is worth ----


def test_it_is_smaller_than_int24_on_what_bridges_do():
    """Noise of 100 counts on a swing of 1.2 Hz of a 24-bit sensor; bench/bench_packed.py tells more of it."""
    t = np.arange(200 * 60) / 200
    x = (2e5 * np.sin(2 * np.pi * 1.2 * t) + np.random.default_rng(6).normal(0, 100, t.size)).astype(np.int32)[None, :]
    plain = wire.pack(x, device=1, t0_ns=T0, rate=200, encoding=wire.INT24)
    assert len(packed(x)) < 0.65 * len(plain)
