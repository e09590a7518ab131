"""Bytes made worse, by a seeded generator: cut, longer, flipped, spliced, with lengths no memory holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Random = np.random.Generator

# What breaks counting: ends of the integer types, one beside them, small ones, and times that do not fit.
EDGES = (0, 1, 2, 3, 7, 8, 63, 64, 65, 127, 128, 255, 256, 4095, 4096, 65535, 65536, 1 << 20, (1 << 24) - 1, (1 << 31) - 1, 1 << 31,
         (1 << 32) - 1, 1 << 32, (1 << 62) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


def _place(data: bytes, rng: Random) -> int:
    """Early bytes are headers and lengths: they are met more often."""
    n = len(data)
    return int(rng.integers(min(n, 80) if rng.random() < 0.6 else n)) if n else 0


def truncate(data: bytes, rng: Random) -> bytes:
    return data[: int(rng.integers(len(data) + 1))]


def extend(data: bytes, rng: Random) -> bytes:
    return data + rng.bytes(int(rng.integers(1, 200)))


def flip(data: bytes, rng: Random) -> bytes:
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 5)) if out else 0):
        out[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(out)


def scribble(data: bytes, rng: Random) -> bytes:
    at = _place(data, rng)
    some = rng.bytes(int(rng.integers(1, 17)))
    return data[:at] + some + data[at + len(some) :]


def edge(data: bytes, rng: Random) -> bytes:
    """A number where a field may stand."""
    width = int(rng.choice([1, 2, 4, 8]))
    at = _place(data, rng) // width * width
    value = int(EDGES[int(rng.integers(len(EDGES)))]) & ((1 << 8 * width) - 1)
    return (data[:at] + value.to_bytes(width, "little") + data[at + width :])[: max(len(data), at + width)]


def drop(data: bytes, rng: Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + int(rng.integers(1, 33)) :]


def double(data: bytes, rng: Random) -> bytes:
    at, n = _place(data, rng), int(rng.integers(1, 129))
    return data[: at + n] + data[at:]


KINDS: tuple[Callable[[bytes, Random], bytes], ...] = (truncate, extend, flip, flip, scribble, edge, edge, drop, double)
SAME_SIZE: tuple[Callable[[bytes, Random], bytes], ...] = (flip, scribble, edge)  # where the size alone would be refused


def mutate(seeds: Sequence[bytes], rng: Random, same_size: float = 0.0) -> bytes:
    """One of the seeds, worse by one to four steps; now and then two of them spliced."""
    data = seeds[int(rng.integers(len(seeds)))]
    keep = rng.random() < same_size
    if not keep and rng.random() < 0.1:
        other = seeds[int(rng.integers(len(seeds)))]
        data = data[: int(rng.integers(len(data) + 1))] + other[int(rng.integers(len(other) + 1)) :]
    kinds = SAME_SIZE if keep else KINDS
    size = len(data)
    for _ in range(int(rng.integers(1, 5))):
        data = kinds[int(rng.integers(len(kinds)))](data, rng)
    return data[:size] if keep else data
