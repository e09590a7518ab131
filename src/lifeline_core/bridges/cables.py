"""Cables and hangers: tension from the frequencies of a beam under tension, exactly.

    m w'''' ... : EI y'''' - T y'' + m y_tt = 0,     w = 2 pi f

    pinned     f_n = n / 2L sqrt(T/m) sqrt(1 + n^2 pi^2 EI / (T L^2))
    clamped    2 a b (1 - cos(b L) cosh(a L)) + (a^2 - b^2) sin(b L) sinh(a L) = 0
               a^2, b^2 = sqrt((T/2EI)^2 + m w^2/EI) +- T/2EI

The string T = 4 m L^2 (f_n/n)^2 takes stiffness for tension: a clamped hanger of 10 m can read 36 % too high.

Source: W. Weaver, S. Timoshenko and D. Young, Vibration Problems in Engineering, 5th ed. (1990), beams with axial force.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, exp, inf, isfinite, pi, sin, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq, least_squares

ENDS = ("pinned", "clamped")


def _check(length_m: float, mass_kg_m: float, ei_nm2: float, ends: str) -> None:
    for name, value in (("length_m", length_m), ("mass_kg_m", mass_kg_m)):
        if not (value > 0 and isfinite(value)):
            raise ValueError(f"{name} must be above 0 and finite, is {value}")
    if not (ei_nm2 >= 0 and isfinite(ei_nm2)):
        raise ValueError(f"ei_nm2 must be 0 or more and finite, is {ei_nm2}")
    if ends not in ENDS:
        raise ValueError(f"ends must be one of {', '.join(ENDS)}, is {ends!r}")


def _clamped(f_hz: float, tension_n: float, length_m: float, mass_kg_m: float, ei_nm2: float) -> float:
    """The characteristic function, divided by cosh(a L): finite for the longest cable, zero at a natural frequency."""
    half = tension_n / (2 * ei_nm2)
    root = sqrt(half * half + mass_kg_m * (2 * pi * f_hz) ** 2 / ei_nm2)
    a = sqrt(root + half)
    b = 2 * pi * f_hz * sqrt(mass_kg_m / ei_nm2) / a  # from a^2 b^2 = m w^2 / EI: no cancellation
    al, bl = a * length_m, b * length_m
    sech = 2 * exp(-al) / (1 + exp(-2 * al))
    tanh = (1 - exp(-2 * al)) / (1 + exp(-2 * al))
    return 2 * a * b * (sech - cos(bl)) + (a * a - b * b) * sin(bl) * tanh


def _pinned_f(order: int, tension_n: float, length_m: float, mass_kg_m: float, ei_nm2: float) -> float:
    k = order * pi / length_m
    return k / (2 * pi) * sqrt((tension_n + k * k * ei_nm2) / mass_kg_m)


def cable_frequency(tension_n: float, order: int, length_m: float, mass_kg_m: float, *, ei_nm2: float = 0.0,
                    ends: str = "pinned") -> float:
    """Natural frequency of order 1, 2, .. in Hz of a cable under ``tension_n`` newtons; keywords as in `cable_tension`.

    >>> round(cable_frequency(3.0e6, 1, 100.0, 60.0, ei_nm2=1.2e6, ends="clamped"), 6)
    1.132582
    """
    _check(length_m, mass_kg_m, ei_nm2, ends)
    if order < 1 or int(order) != order:
        raise ValueError(f"order must be 1, 2, .., is {order}")
    if not (tension_n >= 0 and isfinite(tension_n)) or (tension_n == 0 and ei_nm2 == 0):
        raise ValueError(f"tension_n must be above 0 (0 only with stiffness), is {tension_n}")
    low = _pinned_f(order, tension_n, length_m, mass_kg_m, ei_nm2)
    if ends == "pinned" or ei_nm2 == 0:
        return low
    # b L of the pinned beam is n pi; of the clamped one it lies between n pi and (n + 1) pi, where the function has one zero.
    high = _pinned_f(order + 1, tension_n, length_m, mass_kg_m, ei_nm2)
    return float(brentq(_clamped, low * (1 + 1e-12), high, (tension_n, length_m, mass_kg_m, ei_nm2), xtol=1e-15, rtol=1e-14))


def cable_tension(f_hz: float, order: int, length_m: float, mass_kg_m: float, *, ei_nm2: float = 0.0,
                  ends: str = "pinned") -> float:
    """Tension in newtons from one natural frequency.

    Parameters
    ----------
    f_hz : float
        Natural frequency of that order, Hz.
    order : int
        1 = the lowest.
    length_m, mass_kg_m : float
        Free length and mass per metre.
    ei_nm2 : float
        Bending stiffness, N m2; 0 is a string.
    ends : {"pinned", "clamped"}

    Raises
    ------
    ValueError
        A value outside its range, or a frequency below what stiffness alone gives: no tension explains it.

    Examples
    --------
    >>> cable_tension(1.0, 1, 100.0, 60.0)
    2400000.0
    """
    _check(length_m, mass_kg_m, ei_nm2, ends)
    if not (f_hz > 0 and isfinite(f_hz)):
        raise ValueError(f"f_hz must be above 0 and finite, is {f_hz}")
    if order < 1 or int(order) != order:
        raise ValueError(f"order must be 1, 2, .., is {order}")
    k = order * pi / length_m
    pinned = mass_kg_m * (2 * pi * f_hz / k) ** 2 - k * k * ei_nm2
    slack = cable_frequency(0.0, order, length_m, mass_kg_m, ei_nm2=ei_nm2, ends=ends) if ei_nm2 > 0 else 0.0
    if f_hz < slack:
        raise ValueError(f"f_hz must be at least {slack:.6g} Hz, what stiffness alone gives at order {order}, is {f_hz}")
    if ends == "pinned" or ei_nm2 == 0:
        return max(pinned, 0.0)

    def miss(tension: float) -> float:
        return cable_frequency(tension, order, length_m, mass_kg_m, ei_nm2=ei_nm2, ends=ends) - f_hz

    return 0.0 if miss(0.0) >= 0 else float(brentq(miss, 0.0, max(pinned, 1.0) + k * k * ei_nm2, xtol=1e-9, rtol=1e-13))


@dataclass(frozen=True, slots=True)
class Cable:
    """What several frequencies say: tension N, bending stiffness N m2, their standard deviations, RMS misfit relative."""

    tension_n: float
    ei_nm2: float
    tension_sd_n: float
    ei_sd_nm2: float
    misfit: float


def fit_cable(f_hz: ArrayLike, orders: Sequence[int], length_m: float, mass_kg_m: float, *, ends: str = "pinned",
              f_sd_hz: ArrayLike | None = None) -> Cable:
    """Tension and bending stiffness from two or more frequencies, by least squares on the exact equation.

    Parameters
    ----------
    f_hz : float[n], Hz; NaN are left out.
    orders : int[n]
    f_sd_hz : float[n] or float, optional
        Standard deviations of the frequencies; without them the misfit itself is taken (NaN with two frequencies).
    """
    f, order = np.asarray(f_hz, np.float64), np.asarray(orders, np.int64)
    sd = np.broadcast_to(np.nan if f_sd_hz is None else np.asarray(f_sd_hz, np.float64), f.shape)
    if f.shape != order.shape or f.ndim != 1:
        raise ValueError(f"f_hz and orders must be two rows of the same length, are of shape {f.shape} and {order.shape}")
    there = np.isfinite(f)
    f, order, sd = f[there], order[there], sd[there]
    if len(f) < 2 or len(set(order.tolist())) < 2:
        raise ValueError(f"two orders at least must be given to tell stiffness from tension, {len(set(order.tolist()))} are")
    _check(length_m, mass_kg_m, 0.0, ends)
    weight = 1.0 / sd if np.isfinite(sd).all() else np.full(len(f), 1.0) / f
    string = float(np.median(4 * mass_kg_m * length_m**2 * (f / order) ** 2))

    def miss(log: np.ndarray) -> np.ndarray:
        t, ei = float(np.exp(log[0])), float(np.exp(log[1]))
        model = [cable_frequency(t, int(n), length_m, mass_kg_m, ei_nm2=ei, ends=ends) for n in order]
        return (np.array(model) - f) * weight

    xi2 = 1e4  # (L sqrt(T/EI))^2 of a slender cable, where the search begins
    best = least_squares(miss, [np.log(string), np.log(string * length_m**2 / xi2)], x_scale=[0.1, 1.0], xtol=1e-14, ftol=1e-14,
                         gtol=1e-14)
    t, ei = float(np.exp(best.x[0])), float(np.exp(best.x[1]))
    scatter = 1.0 if np.isfinite(sd).all() else (2 * best.cost / (len(f) - 2) if len(f) > 2 else inf)
    cov = np.linalg.pinv(best.jac.T @ best.jac) * (scatter if isfinite(scatter) else np.nan)
    model = miss(best.x) / weight + f
    return Cable(t, ei, t * sqrt(cov[0, 0]) if isfinite(cov[0, 0]) else float("nan"),
                 ei * sqrt(cov[1, 1]) if isfinite(cov[1, 1]) else float("nan"), float(np.sqrt(np.mean((model / f - 1) ** 2))))
