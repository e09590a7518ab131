"""What one noise logger says by itself: how loud the quietest moment of the night was, and how steady the noise is.

A leak never pauses, so the quietest second of a night (**Lmin**) is loud, and the levels of all seconds crowd into a few
decibels. Traffic and consumption come and go: their levels are spread and fall back to the ground.

::

    count |      _                      leak: high Level, small Spread
          |  _  | |          _-_-_
          | | |_| |      _-_-     -_    no leak: low and wide
          +---------------------------> level of one second, dB

The decision limits belong to a place, a sensor and a mounting: they are arguments, none is built in.

Source: practice of noise loggers (levels of seconds between 2 and 4 o'clock, their minimum and histogram, Level and
Spread); Lockwood et al., AQUA 54 (2005) 8, for leak levels against background.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Real = NDArray[np.float64]

# Two of a lognormal hum's levels that differ by less than this fall into one class.
CLASS_DB = 1.0


@dataclass(frozen=True, slots=True)
class Levels:
    """The night of one logger.

    ``seconds`` that could be used; ``lmin_db`` the quietest of them; ``low_db`` the low percentile asked for, which one
    click or dropout cannot move; ``level_db`` the most frequent level (**Level**, mode of the histogram) and
    ``spread_db`` the width that holds the middle share of all levels (**Spread**); ``edges_db`` [n + 1] and ``count`` [n]
    the histogram. All NaN and empty where nothing could be used.
    """

    seconds: int
    lmin_db: float
    low_db: float
    level_db: float
    spread_db: float
    edges_db: Real
    count: NDArray[np.int64]

    def leak_like(self, *, level_db: float, spread_db: float) -> bool:
        """High Level and small Spread, against limits of the caller's own."""
        return bool(self.level_db >= level_db and self.spread_db <= spread_db)


def second_levels(x: ArrayLike, fs: float, *, window_s: float = 1.0) -> Real:
    """RMS level of each whole window in dB re 1 unit (full scale for integer files), about the window's own mean.

    Parameters
    ----------
    x : array [n]
        Samples. A window that holds a NaN or infinity, or nothing but one value (a dead or stuck input), is NaN.
    fs : float
        Hz.
    window_s : float
        Length of a window; at least 2 samples.

    Raises
    ------
    ValueError
        Not one row; a rate or window out of range.

    Examples
    --------
    >>> second_levels(np.tile([1.0, -1.0], 8), 4.0).tolist()
    [0.0, 0.0, 0.0, 0.0]
    """
    rows = np.asarray(x)
    if rows.ndim != 1:
        raise ValueError(f"x must be one row, is of shape {rows.shape}")
    if not (np.isfinite(fs) and fs > 0.0):
        raise ValueError(f"fs must be above 0 and finite, is {fs}")
    n = round(window_s * fs)
    if n < 2:
        raise ValueError(f"window_s must hold 2 samples or more, {window_s} s hold {n}")
    whole = rows[: rows.size // n * n].reshape(-1, n)
    found = np.full(len(whole), np.nan)
    for i, window in enumerate(whole):
        w = window.astype(np.float64)
        if np.isfinite(w).all() and w.min() < w.max():
            found[i] = 10.0 * np.log10(w.var())
    return found


def night_levels(levels: ArrayLike, *, low_percent: float = 5.0, spread_share: float = 0.5) -> Levels:
    """Lmin, histogram, Level and Spread of the levels of a night.

    Parameters
    ----------
    levels : array [n]
        dB, one a second; NaN are left out.
    low_percent : float
        Which percentile ``low_db`` is, 0 .. 100.
    spread_share : float
        Share of the levels that the Spread holds, the middle ones, 0 .. 1: 0.5 is the distance of the quartiles.

    Raises
    ------
    ValueError
        A share or percentile out of range.
    """
    if not 0.0 <= low_percent <= 100.0:
        raise ValueError(f"low_percent must lie in 0 .. 100, is {low_percent}")
    if not 0.0 < spread_share <= 1.0:
        raise ValueError(f"spread_share must lie above 0 and up to 1, is {spread_share}")
    x = np.asarray(levels, np.float64)
    x = x[np.isfinite(x)]
    nothing = float("nan")
    if x.size == 0:
        return Levels(0, nothing, nothing, nothing, nothing, np.empty(0), np.empty(0, np.int64))
    first, last = np.floor(x.min() / CLASS_DB), np.floor(x.max() / CLASS_DB) + 1.0
    edges = np.arange(first, last + 1.0) * CLASS_DB
    count = np.bincount(np.floor(x / CLASS_DB).astype(np.int64) - int(first), minlength=len(edges) - 1)
    low, high = np.quantile(x, [0.5 - spread_share / 2.0, 0.5 + spread_share / 2.0])
    return Levels(int(x.size), float(x.min()), float(np.percentile(x, low_percent)), _mode(edges, count),
                  float(high - low), edges, count.astype(np.int64))


def _mode(edges: Real, count: NDArray[Any]) -> float:
    """Middle of the fullest class, leaning towards the fuller of its neighbours (parabola through the three)."""
    k = int(np.argmax(count))
    before = float(count[k - 1]) if k else 0.0
    after = float(count[k + 1]) if k + 1 < len(count) else 0.0
    bend = 2.0 * float(count[k]) - before - after
    lean = 0.5 * (after - before) / bend if bend > 0.0 else 0.0
    return float(edges[k] + CLASS_DB * (0.5 + lean))
