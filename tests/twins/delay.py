"""The same delays the slow way: sums over segments, frequencies and lags, written out."""

from __future__ import annotations

import numpy as np


def spectra(a, b, nperseg):
    """Averaged S11, S22, S12 of half-overlapping Hann segments without their mean, by the definition of the DFT."""
    t = np.arange(nperseg)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * t / nperseg)
    k = np.arange(nperseg // 2 + 1)
    basis = np.exp(-2j * np.pi * np.outer(k, t) / nperseg)
    s11, s22, s12, n = 0.0, 0.0, 0.0, 0
    for start in range(0, len(a) - nperseg + 1, nperseg // 2):
        x, y = (np.asarray(v[start : start + nperseg], float) for v in (a, b))
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            continue
        fx, fy = (basis @ ((v - v.mean()) * window) for v in (x, y))
        s11, s22, s12, n = s11 + abs(fx) ** 2, s22 + abs(fy) ** 2, s12 + np.conj(fx) * fy, n + 1
    return s11 / n, s22 / n, s12 / n


def weight(name, s11, s22, s12):
    """W at one frequency after another."""
    out = []
    for p, q, c in zip(s11, s22, s12, strict=True):
        g2 = abs(c) ** 2 / (p * q)
        out.append({"cc": 1.0, "roth": 1 / p, "scot": 1 / np.sqrt(p * q), "phat": 1 / abs(c),
                    "ht": g2 / (abs(c) * (1 - g2)) if g2 < 1 else np.inf}[name])
    return np.array(out)


def correlogram(cross, fs, nperseg, lags_s):
    """R(tau) = Re sum over both signs of frequency, over the sum of the sizes."""
    out = []
    sizes = sum((1 if k in (0, nperseg / 2) else 2) * abs(c.real if k in (0, nperseg / 2) else c) for k, c in enumerate(cross))
    for tau in lags_s:
        total = 0.0
        for k, c in enumerate(cross):
            turned = (c * np.exp(2j * np.pi * k * fs / nperseg * tau)).real
            total += turned if k in (0, nperseg / 2) else 2 * turned
        out.append(total / sizes)
    return np.array(out)


def top(cross, fs, nperseg, lag_s, step_s):
    """Where the correlogram is highest within a step of ``lag_s``: thirds are thrown away until nothing is left."""
    low, high = lag_s - step_s, lag_s + step_s
    while high - low > 1e-7 * step_s:
        a, b = low + (high - low) / 3, high - (high - low) / 3
        left, right = correlogram(cross, fs, nperseg, [a, b])
        low, high = (low, b) if left > right else (a, high)
    return 0.5 * (low + high)


def polarity(a, b, max_lag):
    """Pairs of signs and unlike pairs at every lag, counted one by one."""
    pairs, unlike = [], []
    for lag in range(-max_lag, max_lag + 1):
        both = [(x, b[t + lag]) for t, x in enumerate(a) if 0 <= t + lag < len(b)]
        both = [(x, y) for x, y in both if np.isfinite(x) and np.isfinite(y) and x != 0 and y != 0]
        pairs.append(len(both))
        unlike.append(sum((x > 0) != (y > 0) for x, y in both))
    return np.array(pairs), np.array(unlike)
