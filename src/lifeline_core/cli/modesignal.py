"""Samples made ready for identification: one unit, no more rate than is asked for, long enough; and what is odd about them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.cli.lines import note
from lifeline_core.cli.pieces import Recorded, Stretch

FEWEST_BLOCKS = 4  # of four lags each: standard deviations come from the scatter between them


def scaled(recorded: Recorded, factor: float, *, normalise: bool) -> Recorded:
    """Samples times ``factor``, or every channel over its standard deviation; refused where units differ."""
    units = dict.fromkeys(recorded.units)
    if normalise:
        sd = [_deviation([s.x[i] for s in recorded.stretches]) for i in range(len(recorded.names))]
        scale = np.array([[1.0 / v if v > 0 else 1.0] for v in sd])
    elif len(units) > 1:
        raise ValueError(f"channels must have one unit, have {', '.join(u or 'none' for u in units)}: choose with --column, "
                         "or weigh them alike with --normalise")
    elif factor == 1.0:
        return recorded
    else:
        scale = np.array([[factor]])
    return replace(recorded, stretches=[Stretch(s.t0_ns, s.x * scale) for s in recorded.stretches])


def _deviation(pieces: list[NDArray[Any]]) -> float:
    """Standard deviation of what is finite in all pieces; 0 where nothing is."""
    good = [p[np.isfinite(p)].astype(np.float64) for p in pieces]
    count = sum(g.size for g in good)
    if not count:
        return 0.0
    mean = sum(float(g.sum()) for g in good) / count
    return float(np.sqrt(sum(float(np.sum((g - mean) ** 2)) for g in good) / count))


def remarks(recorded: Recorded) -> None:
    """What a person should know of a recording before believing its modes."""
    if len(recorded.names) == 1:
        note("one channel: frequencies and damping, no shapes")
    if recorded.unsure_s > 0.01 / recorded.rate_hz:
        note(f"channels were sampled up to {1e3 * recorded.unsure_s:.3g} ms apart: at 1 Hz that turns a shape's phase by "
             f"{360 * recorded.unsure_s:.2g} degrees, at 10 Hz ten times as much")
    for i, name in enumerate(recorded.names):
        good = [g for s in recorded.stretches if (g := s.x[i][np.isfinite(s.x[i])]).size]
        if good and min(g.min() for g in good) == max(g.max() for g in good):
            note(f"{name} is {good[0][0]:g} all the time: it says nothing of the modes")


def reduced(recorded: Recorded, f_max: float | None) -> Recorded:
    """Fewer samples where only low frequencies are asked for: what the orders have to explain is then what is asked for."""
    from scipy.signal import decimate

    fs = recorded.rate_hz
    if f_max is not None and f_max > 0.5 * fs:
        raise ValueError(f"--f-max must be at most half the rate of {fs:g} Hz, is {f_max:g}")
    q = 1 if f_max is None else int(fs / (2.5 * f_max))
    stretches = recorded.stretches
    while q > 1:
        step = min(q, 8)
        stretches = [Stretch(s.t0_ns, decimate(s.x, step, ftype="fir", axis=1)) for s in stretches]
        fs, q = fs / step, q // step
    return replace(recorded, rate_hz=fs, stretches=stretches)


def must_be_long_enough(n: int, fs: float, br: int, what: str) -> None:
    """ValueError with the length that is needed where n samples are too few."""
    need = (2 * br - 1) * (4 * FEWEST_BLOCKS + 1)
    if n < need:
        raise ValueError(f"{what} of {n / fs:.4g} s is too short: {need / fs:.4g} s are needed at {fs:g} Hz with {br} block rows "
                         "(--block-rows; a lower --f-max needs longer ones)")
