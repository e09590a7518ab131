"""Counts one at a time, by int.from_bytes and exact fractions."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

BYTES = {"int16": 2, "int24": 3, "int32": 4}


def counts(payload: bytes, kind: str, n_channels: int, order: str) -> list[list[int]]:
    """[channel][sample]"""
    w = BYTES[kind]
    flat = [int.from_bytes(payload[i : i + w], "little", signed=True) for i in range(0, len(payload), w)]
    n = len(flat) // n_channels
    if order == "sample":
        return [flat[c::n_channels] for c in range(n_channels)]
    return [flat[c * n : (c + 1) * n] for c in range(n_channels)]


def scaled(rows: Sequence[Sequence[int]], scale: Sequence[float], offset: Sequence[float]) -> list[list[float]]:
    """Product and sum each rounded once to a double (as Python's floats are), the result once to a float."""
    return [[float(np.float32(s * float(v) + o)) for v in row] for row, s, o in zip(rows, scale, offset, strict=True)]


def exact(count: int, scale: float) -> float:
    """The product rounded once to a float, found in exact arithmetic: the nearest, ties to the even one."""
    wanted = Fraction(scale) * count
    near = np.float32(float(wanted))
    candidates = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    gap = min(abs(Fraction(float(c)) - wanted) for c in candidates)
    best = [c for c in candidates if abs(Fraction(float(c)) - wanted) == gap]
    return float(next((c for c in best if not c.view(np.uint32) & 1), best[0]))
