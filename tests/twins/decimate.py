"""Every q-th answer of a finite filter, one product after another, in float64."""

from __future__ import annotations

import numpy as np


def decimate(x, q, taps):
    """y[k] = sum of taps[j] x[k q + D - j], x = 0 beyond its ends; NaN where the window holds what is not finite."""
    delay, out = (len(taps) - 1) // 2, []
    for p in range(delay, len(x) + delay, q):
        window = [x[p - j] if 0 <= p - j < len(x) else 0.0 for j in range(len(taps))]
        out.append(np.dot(taps, window) if np.isfinite(window).all() else np.nan)
    return np.array(out)
