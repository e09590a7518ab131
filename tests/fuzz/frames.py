"""Frames, batches of them and the assembler's saved state: bytes into the decoder and into the rings."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lifeline_core import _wire, wire
from lifeline_core.assemble import FED, NEEDS_PYTHON, NEEDS_ROOM, Join, make_assembler
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Channel
from lifeline_core.store import _journal
from tests.fuzz.states import T0

Random = np.random.Generator


def own(data: bytes) -> np.ndarray:
    """A copy of its own length: one byte beyond it is somebody else's."""
    return np.frombuffer(data, np.uint8).copy()


# ---- wire ----


def frames(rng: Random, n: int = 3, devices: Sequence[int] = (1, 2)) -> list[bytes]:
    """A few sound frames of every kind."""
    found = []
    for seq in range(n):
        t0 = T0 + seq * NS
        for device in devices:
            for k, dtype in enumerate((np.int16, np.int32, np.float32, np.float64)):
                x = (rng.normal(size=(2, 20)) * 1000).astype(dtype)
                encoding = wire.INT24 if dtype is np.int32 and seq % 2 else None
                found.append(wire.pack(x, device=device, seq=seq, sample_index=20 * seq, t0_ns=t0, rate=20, channel=2 * k,
                                       encoding=encoding, flags=wire.FLAG_LOCKED if seq % 2 else 9))
            x = np.cumsum(rng.integers(-(4**seq), 4**seq + 1, (2, 300)), axis=1).astype(np.int32)
            told = {"device": device, "epoch": 2, "seq": seq, "sample_index": 300 * seq, "t0_ns": t0, "rate": 20}
            found.append(wire.pack(x, encoding=wire.PACKED, **told))
        times = t0 + np.sort(rng.choice(NS, 5, replace=False)).reshape(1, -1)
        found.append(wire.pack(rng.normal(size=(1, 5)), device=3, seq=seq, sample_index=5 * seq, t_ns=times))
    extended = wire.pack(np.int16([1, 2, 3]), device=1, seq=n, t0_ns=T0, rate=1, extensions={"k": 1})
    return [*found, wire.pack(device=1, type=wire.HELLO), wire.pack(device=2, type=wire.BYE), extended]


def sealed(frame: bytes) -> bytes:
    """With the CRC its bytes should have, so that what lies behind that check is met."""
    if len(frame) < 64:
        return frame
    out = bytearray(frame)
    out[60:64] = bytes(4)
    out[60:64] = _wire.crc32c(out).to_bytes(4, "little")
    return bytes(out)


def run_wire(data: bytes, rng: Random) -> None:
    for frame in (data, sealed(data)):
        array = own(frame)
        word, _ = _wire.look(array)
        at = 0
        for _ in range(8):
            at, length = _wire.next_frame(array, at)
            if not length:
                break
            at += length
        if word:
            continue
        with contextlib.suppress(ValueError):  # a hello has no samples
            raw, _ = _wire.samples(array)
            scales = np.full(len(raw), 1e-3)
            x, _ = _wire.scaled(array, scales, np.zeros(len(raw)))
            assert x.shape == raw.shape
    cut = rng.integers(-3, len(data) + 3, (2, 6))
    with contextlib.suppress(ValueError):
        _wire.parse_batch(own(data), *cut.astype(np.int64))


# ---- assemble ----


def _channels() -> list[Channel]:
    regular = [Channel(name=f"a{d}-{c}", site="s", device=d, channel=c, rate_hz=20.0) for d in (1, 2) for c in range(8)]
    return [*regular, Channel(name="slow", site="s", device=3, channel=0)]


def assembler() -> Any:
    joins = [Join((0, 1, 8, 9), True), Join((2, 3)), Join((4, 5, 6)), Join((10,)), Join((16,))]
    return make_assembler(_channels(), joins)


def _take(one: Any, rng: Random) -> None:
    for join, lane in one.take_dirty():
        for _ in range(50):
            if one.take(join, lane) is None:
                break
    if rng.random() < 0.3:
        one.take_acks(), one.take_greetings(), one.take_refused(), one.take_new_streams(), one.counters()


def feed(one: Any, records: Sequence[bytes], rng: Random) -> None:
    lengths = np.array([len(r) for r in records], np.int64)
    offsets = np.cumsum(lengths) - lengths
    buf, at, force, checked = own(b"".join(records)), 0, 0, 0
    while at < len(records):
        status, at = one.feed(buf, offsets, lengths, at, force, checked)
        force = checked = 0
        if status == NEEDS_ROOM:
            _take(one, rng)
            force = 1
        elif status == NEEDS_PYTHON and rng.random() < 0.5:
            checked = 1
        elif status == NEEDS_PYTHON:
            one.spend(buf[offsets[at] : offsets[at] + lengths[at]], at, "gateway")
            at += 1
        else:
            assert status == FED
    if rng.random() < 0.8:
        _take(one, rng)


def use(one: Any, rng: Random) -> None:
    """Everything an assembler is asked in a service."""
    feed(one, frames(rng, 2), rng)
    one.settle(int(rng.integers(4)), 0, 1), one.tick(2)
    _take(one, rng)
    one.put(0, T0 + int(rng.integers(100)) * NS, 20, 1, np.ones(7, np.float32), 1)
    if one.n_joins < 8 and 2 in one.members(1):
        one.split(1, [2])
    one.settle(0, 1, 1)
    _take(one, rng)
    one.counters(), one.quiet(0), one.samples_of(0)


def as_batch(records: Sequence[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(r)) + r for r in records)


def records_of(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + 4 <= len(data):
        (length,) = struct.unpack_from("<I", data, at)
        yield data[at + 4 : at + 4 + length]
        at += 4 + length


def batches(rng: Random) -> list[bytes]:
    some = frames(rng, 6)
    return [as_batch(some), *(as_batch([some[i] for i in rng.permutation(len(some))[:24]]) for _ in range(4))]


def run_assemble(data: bytes, rng: Random) -> None:
    one = assembler()
    records = [sealed(r) if rng.random() < 0.7 else r for r in records_of(data)][:200]
    if records:
        feed(one, records, rng)
    one.settle(0, int(rng.integers(2)), 1)
    _take(one, rng)
    other = assembler()
    other.load(own(one.save()))
    use(other, rng)


def run_offsets(data: bytes, rng: Random) -> None:
    """Batches whose offsets and lengths are the data."""
    numbers = own(data[: len(data) // 16 * 16]).view(np.int64)
    offsets, lengths = numbers[::2].copy(), numbers[1::2].copy()
    buf = own(b"".join(frames(rng, 1)))
    with contextlib.suppress(ValueError):
        assembler().feed(buf, offsets, lengths, 0, 1, 1)
    with contextlib.suppress(ValueError):
        _wire.parse_batch(buf, offsets, lengths)
    with contextlib.suppress(ValueError):
        _journal.Writer().fit(buf, offsets, lengths, np.zeros(len(offsets), np.uint32), 4096)


def offset_seeds(rng: Random) -> list[bytes]:
    return [np.array([0, 64, 100, 50, 0, 0, 7, 1], np.int64).tobytes(), np.full(8, 40, np.int64).tobytes()]


def states_of_assembler(rng: Random) -> list[bytes]:
    found = []
    for turns in (0, 1, 3):
        one = assembler()
        for turn in range(turns):
            some = frames(rng, 4)
            feed(one, [some[i] for i in rng.permutation(len(some))[: 10 + 10 * turn]], rng)
        found.append(bytes(one.save()))
    return found


def run_assembler_state(data: bytes, rng: Random) -> None:
    one = assembler()
    try:
        one.load(own(data))
    except StateError:
        return
    use(one, rng)
    assembler().load(own(one.save()))
