"""The envelope by the analytic signal, by numpy's FFT; and by a Hilbert transformer, window by window, in float64."""

from __future__ import annotations

import numpy as np


def envelope(x):
    x = np.asarray(x, np.float64)
    n = len(x)
    gain = np.zeros(n)
    gain[0] = 1
    gain[1 : (n + 1) // 2] = 2
    if n % 2 == 0:
        gain[n // 2] = 1
    return np.abs(np.fft.ifft(np.fft.fft(x) * gain))


def running(x, taps, beta):
    """A window that holds a sample that is not finite is NaN."""
    delay = (taps - 1) // 2
    window = np.kaiser(taps, beta)
    padded = np.concatenate([np.zeros(2 * delay), np.asarray(x, np.float64)])
    out = []
    for i in range(len(padded) - 2 * delay):
        part = padded[i : i + taps]
        if not np.isfinite(part).all():
            out.append(np.nan)
            continue
        h = sum(2 / (np.pi * k) * window[delay + k] * (part[delay - k] - part[delay + k]) for k in range(1, delay + 1, 2))
        out.append(np.hypot(part[delay], h))
    return np.array(out)
