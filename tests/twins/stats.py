"""Bins and guards one sample at a time, in Python integers and lists."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import fsum, isfinite, sqrt
from typing import Any

NS = 1_000_000_000


def times(anchor_ns: int, index: int, num: int, den: int, n: int) -> list[int]:
    return [anchor_ns + (index + i) * den * NS // num for i in range(n)]


def bins(x: Sequence[float], t: Sequence[int], bin_ns: int, low: float, high: float) -> dict[int, dict[str, Any]]:
    """By the number of the bin: what one row amounts to."""
    found: dict[int, dict[str, Any]] = {}
    run, last = 0, float("nan")
    for v, at in zip(x, t, strict=True):
        run = 0 if not isfinite(v) else run + 1 if v == last else 1
        last = v
        b = found.setdefault(at // bin_ns, {"all": [], "flat_run": 0})
        b["all"].append(v)
        b["flat_run"] = max(b["flat_run"], run)
    for b in found.values():
        good = [v for v in b["all"] if isfinite(v)]
        n = len(good)
        b |= {"count": n, "bad": len(b["all"]) - n, "clipped": sum(v <= low or v >= high for v in b["all"])}
        if n:
            mean = fsum(good) / n
            std = sqrt(fsum((v - mean) ** 2 for v in good) / n)
            b |= {"mean": mean, "std": std, "rms": sqrt(fsum(v * v for v in good) / n), "min": min(good), "max": max(good)}
    return found


def describe(x: Sequence[float]) -> dict[str, float]:
    """Moments in exact fractions, rounded at the end."""
    good = [Fraction(v) for v in x if isfinite(v)]
    n, nan = len(good), float("nan")
    names = ("min", "max", "mean", "rms", "std", "crest", "skewness", "kurtosis")
    found = {"count": n, "bad": len(x) - n} | dict.fromkeys(names, nan)
    if not n:
        return found
    mean = sum(good) / n
    m2, m3, m4 = (sum((v - mean) ** p for v in good) / n for p in (2, 3, 4))
    found |= {"min": float(min(good)), "max": float(max(good)), "mean": float(mean), "std": sqrt(m2)}
    found["rms"] = sqrt(sum(v * v for v in good) / n)
    if any(good):
        found["crest"] = float(max(map(abs, good))) / found["rms"]
    if m2:
        found["kurtosis"] = float(m4 / m2**2)
        found["skewness"] = (1 if m3 > 0 else -1) * sqrt(m3 * m3 / m2**3)
    return found


def flat(x: Sequence[float], t: Sequence[int], need: int, need_ns: int, rest: float | None) -> list[tuple[bool, int, int]]:
    """(active, t_ns, onset_ns) of a row's flat lines."""
    out: list[tuple[bool, int, int]] = []
    run, start, last, on = 0, 0, float("nan"), False
    for v, at in zip(x, t, strict=True):
        if on:
            if not isfinite(v) or v == last:
                continue
            out.append((False, at, start))
            on = False
            run, start, last = 1, at, v
            continue
        if run and v == last:
            run += 1
        else:
            run, start, last = int(isfinite(v)), at, v
        if run >= need and at - start >= need_ns and v != rest:
            on = True
            out.append((True, at, start))
    return out


def clip(x: Sequence[float], t: Sequence[int], window_ns: int, need: int, low: float, high: float) -> list[tuple[bool, int, int]]:
    """(active, t_ns, onset_ns) of a row's clipped stretches."""
    out: list[tuple[bool, int, int]] = []
    window, count, start, on = -1, 0, 0, False
    for v, at in zip(x, t, strict=True):
        here = v <= low or v >= high
        if at // window_ns != window:
            if on and not here and count < need:
                on = False
                out.append((False, at, start))
            window, count = at // window_ns, 0
        if here:
            if not count and not on:
                start = at
            count += 1
            if not on and count >= need:
                on = True
                out.append((True, at, start))
    return out
