"""Rows that describe a pipe network in Python: what joins what, how long, how fast, how wide."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

Row = tuple[str, str, str, float, float, float]  # name, node a, node b, metres, m/s, metres


def rows_of(edges: Iterable[Sequence[Any]], wave_speed: float) -> list[Row]:
    """``(name, a, b, length_m[, speed_mps[, diameter_m]])`` checked and filled; see `PipeGraph.from_edges`."""
    rows = [_row(row, wave_speed) for row in edges]
    if not rows:
        raise ValueError("a graph has at least one edge, got none")
    if len({row[0] for row in rows}) < len(rows):
        raise ValueError("the name of an edge is given once, got one again")
    return rows


def _row(row: Sequence[Any], wave_speed: float) -> Row:
    if len(row) not in (4, 5, 6):
        raise ValueError(f"an edge is (name, a, b, length_m[, speed_mps[, diameter_m]]), got {tuple(row)!r}")
    name, a, b = (str(word) for word in row[:3])
    length, speed, wide = map(float, (*row[3:], *(wave_speed, math.nan)[len(row) - 4 :]))
    if not (math.isfinite(length) and length >= 0):
        raise ValueError(f"edge {name!r}: length_m is finite and not negative, got {length!r}")
    if not (math.isfinite(speed) and speed > 0):
        raise ValueError(f"edge {name!r}: speed_mps is finite and positive, got {speed!r}")
    if not (math.isnan(wide) or (math.isfinite(wide) and wide > 0)):
        raise ValueError(f"edge {name!r}: diameter_m is finite and positive, or NaN where unknown, got {wide!r}")
    if a == b:
        raise ValueError(f"edge {name!r}: joins two different nodes, got {a!r} twice")
    return name, a, b, length, speed, wide
