"""When a pressure wave came to each of several sensors, read from their records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.pipes.follower import Follower, Steps

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
    """

    t_s: Floats
    sd_s: Floats
    step: Floats
    polarity: NDArray[np.int64]
    quality: Floats
    rise_s: Floats


def pick_arrivals(
    p: ArrayLike, fs: float, *, t0_s: float = 0.0, min_step: float = 0.3, rise_s: float = 0.7
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
        What takes longer than this is a change of demand.

    Returns
    -------
    Arrivals

    Raises
    ------
    ValueError
        Empty or not one- or two-dimensional input; fs, min_step or rise_s not positive.
    """
    x = np.atleast_2d(np.asarray(p, dtype=np.float32))
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"p is [n_sensors, n] and not empty, got the shape {np.shape(p)}")
    if not min_step > 0 or not rise_s > 0:
        raise ValueError(f"min_step and rise_s are positive, got {min_step!r} and {rise_s!r}")
    rows = np.full((6, len(x)), np.nan)
    for i, row in enumerate(x):
        follower = Follower(fs, Steps(min_step=min_step, rise_s=rise_s))
        onset = next((seen.onset for seen in follower.push(row) if seen.onset is not None), None)
        if onset is not None:
            rows[:, i] = (t0_s + onset.index / fs, onset.sd_s, onset.step, onset.quality, onset.rise_s, onset.polarity)
    t_s, sd_s, step, quality, rise, polarity = rows
    return Arrivals(t_s, sd_s, step, np.nan_to_num(polarity).astype(np.int64), quality, rise)
