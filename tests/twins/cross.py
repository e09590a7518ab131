"""Averaged spectra of two channels, one segment after the other in numpy and float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def cross(a: NDArray[Any], b: NDArray[Any], nperseg: int, shift: int = 0, per_part: int = 8) -> dict[str, Any]:
    """s11, s22, q, s12, parts, used and seen of two whole rows; q is the mean of |A|^2 |B|^2."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lines, window = nperseg // 2 + 1, 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(nperseg) / nperseg)
    power, parts, used, seen = np.zeros((3, lines)), {}, 0, 0
    start = 0
    while start + nperseg + abs(shift) <= a.size:
        x = a[start + max(-shift, 0) :][:nperseg]
        y = b[start + max(shift, 0) :][:nperseg]
        if np.isfinite(x).all() and np.isfinite(y).all():
            fa, fb = np.fft.rfft((x - x.mean()) * window), np.fft.rfft((y - y.mean()) * window)
            pa, pb = np.abs(fa) ** 2, np.abs(fb) ** 2
            power += [pa, pb, pa * pb]
            part = parts.setdefault(seen // per_part, np.zeros(lines, complex))
            part += np.conj(fa) * fb
            used += 1
        seen, start = seen + 1, start + nperseg // 2
    turn = np.exp(-2j * np.pi * shift * np.arange(lines) / nperseg) / max(used, 1)
    s11, s22, q = power / max(used, 1)
    return {"s11": s11, "s22": s22, "q": q, "s12": sum(parts.values(), np.zeros(lines, complex)) * turn,
            "parts": {k: p * turn for k, p in parts.items()}, "used": used, "seen": seen}


def clipped_share(x: NDArray[Any]) -> float:
    """Share of samples at the extremes where those are more than the samples within 2 % of the swing of them."""
    y = x[np.isfinite(x)]
    if y.size == 0 or y.min() == y.max():
        return 0.0
    low, high = float(y.min()), float(y.max())
    near = 0.02 * (high - low)
    at = int(np.count_nonzero((y == low) | (y == high)))
    short = int(np.count_nonzero(((y > low) & (y <= low + near)) | ((y < high) & (y >= high - near))))
    return at / y.size if at > short else 0.0


def standing(power: NDArray[Any], factor: float, half: int) -> NDArray[Any]:
    """Lines above factor times the median, over half lines to each side, of the lowest of three neighbours."""
    floor = np.array([np.min(power[max(i - 1, 0) : i + 2]) for i in range(power.size)])
    with np.errstate(invalid="ignore"):
        windows = [floor[max(i - half, 0) : i + half + 1] for i in range(power.size)]
        return np.array([bool(np.isfinite(w).all() and p > factor * np.median(w)) for p, w in zip(power, windows, strict=True)])
