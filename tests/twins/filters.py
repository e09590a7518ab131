"""Second-order sections one sample after another, in plain Python and float64."""

from __future__ import annotations

import numpy as np


def sosfilt(sos, x, zi=None):
    """A sample that is not finite answers NaN and leaves the state as it was."""
    state = np.zeros((len(sos), 2)) if zi is None else zi.copy()
    out = []
    for v in np.asarray(x, np.float64):
        if not np.isfinite(v):
            out.append(np.nan)
            continue
        for (b0, b1, b2, _, a1, a2), z in zip(sos, state, strict=True):
            y = b0 * v + z[0]
            z[0] = b1 * v - a1 * y + z[1]
            z[1] = b2 * v - a2 * y
            v = y
        out.append(v)
    return np.array(out)


def sosfiltfilt(sos, x, zi, pad):
    """Forwards, then backwards, odd padding; begins in the steady state of the first finite sample it meets."""
    x = np.asarray(x, np.float64)
    y = np.concatenate([2 * x[0] - x[pad:0:-1], x, 2 * x[-1] - x[-2 : -pad - 2 : -1]])
    for _ in range(2):
        finite = y[np.isfinite(y)]
        y = sosfilt(sos, y, zi * (finite[0] if len(finite) else 0.0))[::-1]
    return y[pad : len(y) - pad]
