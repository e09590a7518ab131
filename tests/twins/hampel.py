"""Median and MAD of every window by sorting it anew, in the dtype of x."""

from __future__ import annotations

import numpy as np


def windows(x, window):
    """The centred window of each sample; at the ends what there is."""
    h = window // 2
    return [x[max(0, i - h) : i + h + 1] for i in range(len(x))]


def running_median(x, window):
    x = np.asarray(x)
    return np.array([np.median(w) if np.isfinite(w).all() else np.nan for w in windows(x, window)], x.dtype)


def running_mad(x, window):
    x = np.asarray(x)
    return np.array([np.median(np.abs(w - np.median(w))) if np.isfinite(w).all() else np.nan for w in windows(x, window)], x.dtype)


def hampel(x, window, n_sigmas=3.0):
    x = np.asarray(x)
    median, mad = running_median(x, window), running_mad(x, window)
    with np.errstate(invalid="ignore"):
        far = np.abs(x.astype(float) - median.astype(float)) > 1.4826 * n_sigmas * mad.astype(float)
    y = np.where(far, median, x)
    y[np.isnan(median)] = np.nan
    return y, far
