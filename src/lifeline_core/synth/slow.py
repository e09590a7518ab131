"""Slow sensors: a level, a daily swing, noise, and an event that is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def slow_signal(
    t_s: NDArray[np.float64],
    *,
    level: float,
    swing: float = 0.0,
    noise: float,
    rng: np.random.Generator,
    event_at_s: float | None = None,
    event_to: float = 0.0,
    rise_s: float = 300.0,
) -> NDArray[np.float64]:
    """``level + swing * sin(day) + noise``; from ``event_at_s`` on it moves to ``event_to`` within ``rise_s``, and stays.

    >>> rng = np.random.default_rng(0)
    >>> x = slow_signal(np.arange(0.0, 900, 60), level=5, noise=0, rng=rng, event_at_s=300, event_to=50, rise_s=300)
    >>> x[[0, 5, 10, 14]].round(1).tolist()
    [5.0, 5.0, 50.0, 50.0]
    """
    x = level + swing * np.sin(2 * np.pi * t_s / 86400.0) + rng.normal(0, 1, t_s.size) * noise
    if event_at_s is None:
        return x
    share = np.clip((t_s - event_at_s) / rise_s, 0, 1)
    return x * (1 - share) + event_to * share + rng.normal(0, 1, t_s.size) * noise * share
