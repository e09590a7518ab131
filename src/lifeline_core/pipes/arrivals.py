"""When a pressure wave came to each of several sensors, read from their records."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.pipes.follower import Follower, Steps
from lifeline_core.pipes.onset import Onset

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """One entry per sensor; NaN (polarity 0) where nothing arrived.

    Attributes
    ----------
    t_s, sd_s : float64[n_sensors]
        Time of the first onset and its standard deviation, seconds.
    step : float64[n_sensors]
        Change of level, in the unit of the record.
    polarity : int64[n_sensors]
        -1 drop, 1 surge, 0 none: of the first motion. ``step`` has the other sign where a reflection follows at once.
    quality : float64[n_sensors]
        0 .. 1: how far the first rise stands out of the noise.
    rise_s : float64[n_sensors]
        From the onset to 80 % of the step.
    duration_s : float64[n_sensors]
        From the onset to where the level before is there again (nearer than half the step, for ``post_s``); Inf where it is not
        before the record ends or 30 s went by without a further step.
    """

    t_s: Floats
    sd_s: Floats
    step: Floats
    polarity: NDArray[np.int64]
    quality: Floats
    rise_s: Floats
    duration_s: Floats


def pick_arrivals(
    p: ArrayLike,
    fs: float,
    *,
    t0_s: float = 0.0,
    min_step: float = 0.3,
    rise_s: float = 0.7,
    false_alarms_per_month: float = 1.0,
) -> Arrivals:
    """First step of the pressure at each sensor.

    Parameters
    ----------
    p : array_like[n_sensors, n] or [n]
        Pressure or head. The first second is needed to know the noise.
    fs : float
        Hz, at least 32.
    t0_s : float
        Time of the first sample, seconds.
    min_step : float
        Smallest step that counts, in the unit of ``p``; the default is meant for metres of head. Noise raises it.
    rise_s : float
        A change of less than 0.7 min_step in this time is one of demand.
    false_alarms_per_month : float
        Of noise at one sensor, were it listened to for so long; see `lifeline_core.pipes.follower`.

    Returns
    -------
    Arrivals

    Raises
    ------
    ValueError
        Empty or not one- or two-dimensional input; fs below 32; min_step, rise_s or the budget not positive.
    """
    x = np.atleast_2d(np.asarray(p, dtype=np.float32))
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"p is [n_sensors, n] and not empty, got the shape {np.shape(p)}")
    if not min_step > 0 or not rise_s > 0:
        raise ValueError(f"min_step and rise_s are positive, got {min_step!r} and {rise_s!r}")
    follower = Follower(fs, Steps(min_step, rise_s, false_alarms_per_month=false_alarms_per_month), len(x))
    found: dict[int, tuple[Onset, list[int | None]]] = {}
    for seen in follower.push(np.ascontiguousarray(x)):
        if seen.onset is not None:
            found.setdefault(seen.row, (seen.onset, []))
        elif seen.row in found:
            found[seen.row][1].append(seen.back)
    rows = np.full((7, len(x)), np.nan)
    for i, (onset, ends) in found.items():
        back = ends[0] if ends else follower.back(i)
        lasted = math.inf if back is None else max(back - onset.index, 0.0) / fs
        rows[:, i] = (t0_s + onset.index / fs, onset.sd_s, onset.step, onset.quality, onset.rise_s, lasted, onset.polarity)
    t_s, sd_s, step, quality, rise, duration, polarity = rows
    return Arrivals(t_s, sd_s, step, np.nan_to_num(polarity).astype(np.int64), quality, rise, duration)
