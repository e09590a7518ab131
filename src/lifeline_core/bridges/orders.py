"""Which peak of a cable's spectrum is which order: the tension whose row of frequencies meets the most of them.

    meets(T) = sum over orders n of max over peaks p of w_p exp(-(ln f_p - ln f_n(T))^2 / 2 s^2)     s = `NEAR`
             - `WANTED` for every order below the highest one met that has no peak

Half the tension in the square of the spacing would also meet every peak with every second order, were orders without a peak
not counted against it; twice the spacing misses every second peak. The search is on a grid of tension and ends at the exact
equation's least squares (`fit_cable`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.bridges.cables import Cable, cable_frequency, fit_cable

Real = NDArray[np.float64]

NEAR = 0.012  # of a peak from its order, relative, one standard deviation
WANTED = 0.35
MOST = 24  # orders
STEP = 0.004  # of the grid of ln T


@dataclass(frozen=True, slots=True)
class Tension:
    """tension_n +- sd_n from ``orders`` of frequencies ``f_hz``; ``ei_nm2`` as used or fitted; ``misfit`` RMS relative.
    ``reason``: why there is none (tension NaN), else empty. ``runner_up``: score of the next best tension that is another
    reading of the peaks, over the best one's; near 1 the orders are not sure."""

    tension_n: float
    sd_n: float
    ei_nm2: float
    orders: tuple[int, ...]
    f_hz: tuple[float, ...]
    misfit: float
    runner_up: float
    reason: str = ""


def read_tension(
    f_hz: ArrayLike, length_m: float, mass_kg_m: float, about_n: float, *, ei_nm2: float | None = None, ends: str = "pinned",
    within: float = 0.5, f_sd_hz: float | None = None,
) -> Tension:  # fmt: skip
    """Tension from the peaks of a spectrum, orders found.

    Parameters
    ----------
    f_hz : float[n], Hz
        Peaks, the most prominent first: a later one speaks a little less. Others than the cable's (deck, traffic) may be there.
    length_m, mass_kg_m, ends : as in `cable_tension`.
    about_n : N
        Tension as built or as last read; sought is from (1 - within) to (1 + within) of it.
    ei_nm2 : N m2, optional
        Bending stiffness; without it three orders at least are needed and it is fitted.
    f_sd_hz : standard deviation of a peak's frequency, Hz; without it the misfit itself is taken.

    Returns
    -------
    Tension
        NaN with a ``reason`` where fewer than two orders (three without ``ei_nm2``) are met or another reading is as good.

    Raises
    ------
    ValueError
        Values out of range.
    """
    if not (about_n > 0 and isfinite(about_n)):
        raise ValueError(f"about_n must be above 0 and finite, is {about_n}")
    if not 0.0 < within < 1.0:
        raise ValueError(f"within must lie between 0 and 1, is {within}")
    f = np.asarray(f_hz, np.float64)
    f = f[np.isfinite(f) & (f > 0)]
    grid = np.arange(np.log(1.0 - within), np.log(1.0 + within) + STEP, STEP)
    rows = [_row(float(about_n * np.exp(g)), length_m, mass_kg_m, ei_nm2 or 0.0, ends) for g in grid]
    if not len(f):
        return _none("no peaks", 0.0)
    weight = 1.0 / np.sqrt(1.0 + np.arange(len(f)) / 4.0)
    score = np.array([_meets(f, weight, row)[0] for row in rows])
    best = int(score.argmax())
    _, orders, peaks = _meets(f, weight, rows[best])
    need = 2 if ei_nm2 is not None else 3
    if len(orders) < need:
        return _none(f"{len(orders)} orders were met, {need} are needed", 0.0)
    other = np.abs(grid - grid[best]) > 0.08
    runner_up = float(score[other].max() / score[best]) if other.any() and score[best] > 0 else 0.0
    if runner_up > 0.9:
        return _none(f"another tension reads the peaks {runner_up:.2f} times as well", runner_up)
    return _fitted(f[peaks], orders, length_m, mass_kg_m, ei_nm2, ends, f_sd_hz, runner_up, float(about_n * np.exp(grid[best])))


def _none(reason: str, runner_up: float) -> Tension:
    nan = float("nan")
    return Tension(nan, nan, nan, (), (), nan, runner_up, reason)


def _row(tension: float, length_m: float, mass_kg_m: float, ei: float, ends: str) -> Real:
    """Frequencies of orders 1 .. MOST. Clamped ends: the first order exactly, the rest spaced as pinned and lifted alike."""
    pinned = np.array([cable_frequency(tension, n, length_m, mass_kg_m, ei_nm2=ei) for n in range(1, MOST + 1)])
    if ends == "pinned" or ei == 0.0:
        return pinned
    lift = [cable_frequency(tension, n, length_m, mass_kg_m, ei_nm2=ei, ends=ends) / pinned[n - 1] for n in (1, 2, 4, 8, MOST)]
    out: Real = pinned * np.interp(np.arange(1, MOST + 1), (1, 2, 4, 8, MOST), lift)
    return out


def _meets(f: Real, weight: Real, row: Real) -> tuple[float, tuple[int, ...], NDArray[np.intp]]:
    """Score, orders met and the peak of each."""
    off = np.log(f[None, :] / row[:, None]) / NEAR
    near = weight[None, :] * np.exp(-0.5 * off**2)
    peak = near.argmax(axis=1)
    met = near[np.arange(len(row)), peak] > 0.1
    if not met.any():
        return 0.0, (), np.zeros(0, np.intp)
    top = int(np.flatnonzero(met)[-1])
    gain = float(near[met].max(axis=1).sum()) - WANTED * float((~met[:top]).sum())
    at = np.flatnonzero(met)
    return gain, tuple(int(n) + 1 for n in at), peak[at]


def _fitted(f: Real, orders: tuple[int, ...], length_m: float, mass_kg_m: float, ei: float | None, ends: str, sd: float | None,
            runner_up: float, about: float) -> Tension:
    """The exact equation at the orders found."""
    if ei is None:
        c: Cable = fit_cable(f, orders, length_m, mass_kg_m, ends=ends, f_sd_hz=sd)
        return Tension(c.tension_n, c.tension_sd_n, c.ei_nm2, orders, tuple(f.tolist()), c.misfit, runner_up)
    t = about
    for _ in range(20):  # Newton on ln T: f_n is nearly the square root of T for each order
        model = np.array([cable_frequency(t, n, length_m, mass_kg_m, ei_nm2=ei, ends=ends) for n in orders])
        ahead = np.array([cable_frequency(t * 1.001, n, length_m, mass_kg_m, ei_nm2=ei, ends=ends) for n in orders])
        slope, miss = np.log(ahead / model) / np.log(1.001), np.log(f / model)
        step = float(slope @ miss / (slope @ slope))
        t *= float(np.exp(step))
        if abs(step) < 1e-10:
            break
    rest = miss - slope * step
    relative = sd / f if sd is not None else np.full(len(f), sqrt(float(rest @ rest) / max(len(f) - 1, 1)))
    spread = sqrt(float((slope**2) @ relative**2)) / float(slope @ slope)
    return Tension(t, t * spread, ei, orders, tuple(f.tolist()), float(np.sqrt(np.mean(rest**2))), runner_up)
