"""What two channels have in common, line by line: windows as slices, runs by walking."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = NDArray[Any]


def window(x: Row, half: int) -> list[Row]:
    """The neighbours of every line, fewer at both ends."""
    return [x[max(k - half, 0) : k + half + 1] for k in range(len(x))]


def runs(z: Row, sure: float, holds: float) -> NDArray[np.bool_]:
    """Values above holds, in a stretch of such values that reaches sure."""
    out = np.zeros(len(z), bool)
    for k in range(len(z)):
        i = j = k
        if z[k] > holds:
            while i > 0 and z[i - 1] > holds:
                i -= 1
            while j + 1 < len(z) and z[j + 1] > holds:
                j += 1
            out[k] = z[i : j + 1].max() >= sure
    return out


def coherency(s11: Row, s22: Row, s12: Row, q: Row, open_: Row, sign: float, n: float, spread: float,
              half: int) -> tuple[Row, Row, Row, Row, Row]:
    at = np.array([k for k in range(len(s11)) if open_[k] and s11[k] * s22[k] > 0.0], np.int64)
    product = (s11 * s22)[at]
    c, loud = sign * s12[at] / np.sqrt(product), q[at] / product
    chance = np.array([w.mean() for w in window(loud - np.abs(c) ** 2, half)])
    return at, c, np.minimum(np.abs(c), 1.0), np.clip(chance * spread / n, spread / n, 1.0), loud / n


def shared(size: Row, chance: Row, few: int, many: int, sure: float, holds: float, spread: float) -> Row:
    out, rest = np.zeros(size.size), np.ones(size.size)
    for half in (few, many):
        count = np.array([max(w.sum(), 1.0) for w in window(rest, half)])
        level = np.array([w.sum() for w in window(size**2 * rest, half)]) / count
        for k in np.flatnonzero(runs((level / chance - 1.0) * np.sqrt(count / spread), sure, holds) & (rest > 0)):
            by_chance = min(chance[k], 0.5)
            out[k], rest[k] = np.sqrt(max(level[k] - by_chance, 0.0) / (1.0 - by_chance)), 0.0
        if not rest.any():
            break
    return out


def closer(x: Row, chance: Row, out: Row, half: int, sure: float, holds: float, spread: float) -> Row:
    level = np.array([w.mean() for w in window(x, half)])
    deviation = np.sqrt(spread * chance / np.array([w.size for w in window(x, half)]))
    z = (level - out) / (deviation * np.maximum(1.0 - level**2, 1e-3))
    return np.where(runs(z, sure, holds) | runs(-z, sure, holds), np.where(level > holds * deviation, level, 0.0), out)


def best(x: Row, size: Row, even: Row, alone: Row, at: Row, edges: Row, least: int, spread: float,
         lags: float) -> tuple[float, float, int, int, int]:
    told = np.array([v * min(e / s, 1.0) if s > 0 else v for v, s, e in zip(x, size, even, strict=True)])
    tried = []
    for i, low in enumerate(edges):
        for high in edges[i + 1 :]:
            if high - low >= least:
                z = told[low:high].sum() / np.sqrt(alone[low:high].sum() * spread)
                many = lags * (at[high - 1] - at[low]) + 1.0
                tried.append((0.5 * max(z, 0.0) ** 2 - log(many), z, many, low, high))
    top = max(tried, key=lambda one: one[0])  # the first of equals
    return top[1], top[2], len(tried), top[3], top[4]
