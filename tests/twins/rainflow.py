"""Rainflow counting as ASTM E1049-85, 5.4.4 words it, on a list."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

Cycle = tuple[float, float, float]


def reversals(x: Sequence[float]) -> list[float]:
    """First sample, every sample where the direction changes, last sample; none where nothing moves."""
    x = [v for v in x if isfinite(v)]
    moving = [v for i, v in enumerate(x) if i == 0 or v != x[i - 1]]
    if len(moving) < 2:
        return []
    inner = [b for a, b, c in zip(moving, moving[1:], moving[2:], strict=False) if (b > a) != (c > b)]
    return [moving[0], *inner, moving[-1]]


def cycles(x: Sequence[float]) -> list[Cycle]:
    """(range, mean, count) in the order of closing, the residue behind them."""
    open_, found = [], []

    def tell(a: float, b: float, count: float) -> None:
        found.append((abs(a - b), 0.5 * (a + b), count))

    for point in reversals(x):
        open_.append(point)
        while len(open_) >= 3 and abs(open_[-1] - open_[-2]) >= abs(open_[-2] - open_[-3]):
            if len(open_) == 3:
                tell(open_[0], open_[1], 0.5)
                del open_[0]
            else:
                tell(open_[-3], open_[-2], 1.0)
                del open_[-3:-1]
    for i in range(len(open_) - 1):
        tell(open_[i], open_[i + 1], 0.5)
    return found
