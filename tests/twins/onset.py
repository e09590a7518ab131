"""STA/LTA, CUSUM and AIC one sample after another, in plain Python and float64."""

from __future__ import annotations

import numpy as np


def ugly(rng, n, dtype=np.float32):
    """Noise with bursts, NaN and Inf."""
    x = rng.normal(0, 1, n) * np.where(rng.random(n) < 0.3, 30, 1)
    x[rng.random(n) < 0.02] = np.nan
    x[rng.random(n) < 0.01] = -np.inf
    return x.astype(dtype)


def recursive_sta_lta(x, n_sta, n_lta):
    """A sample that is not finite answers NaN and is passed over."""
    out, sta, lta, count = [], 0.0, 0.0, 0
    for v in np.asarray(x, np.float64):
        if not np.isfinite(v):
            out.append(np.nan)
            continue
        if count:
            sta = v * v / n_sta + (1 - 1 / n_sta) * sta
            lta = v * v / n_lta + (1 - 1 / n_lta) * lta
        out.append(sta / lta if count >= n_lta and lta > 0 else 0.0)
        count += 1
    return np.array(out)


def classic_sta_lta(x, n_sta, n_lta):
    """Every window is summed anew; one that holds a sample that is not finite is NaN."""
    square = np.asarray(x, np.float64) ** 2
    square[~np.isfinite(square)] = np.nan
    out = np.zeros(len(square))
    for i in range(n_lta - 1, len(square)):
        sta, lta = square[i - n_sta + 1 : i + 1].mean(), square[i - n_lta + 1 : i + 1].mean()
        out[i] = 0.0 if lta == 0 else sta / lta
    return out


def cusum(x, drift, threshold):
    up = down = 0.0
    ups, downs = [], []
    for v in np.asarray(x, np.float64):
        if not np.isfinite(v):
            ups.append(np.nan)
            downs.append(np.nan)
            continue
        up = max(0.0, (0.0 if up > threshold else up) + v - drift)
        down = max(0.0, (0.0 if down > threshold else down) - v - drift)
        ups.append(up)
        downs.append(down)
    return np.array(ups), np.array(downs)


def aic(x):
    """The curve of obspy's aic_simple: entry k - 1 cuts before sample k."""
    x = np.asarray(x, np.float64)
    n = len(x)
    curve = [(n - 2) * np.log(np.var(x[1:]))]
    curve += [k * np.log(np.var(x[:k])) + (n - k - 1) * np.log(np.var(x[k:])) for k in range(2, n - 1)]
    curve.append((n - 1) * np.log(np.var(x[:-1])))
    return np.array(curve)
