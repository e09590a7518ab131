"""How a filled pipe with a soft, lossy wall carries leak noise: wave speed, attenuation, the band that arrives.

::

    X = 2 B r / (E h)                              how much softer the wall makes the water
    k = w / cf sqrt(1 + X / (1 + i eta))           wavenumber, cf = sqrt(B / rho)
    c = cf / sqrt(1 + X)                           speed, eta small
    beta = eta X / (2 c (1 + X))                   |H| = exp(-w beta x), 20 lg e w beta dB per metre

Radius r, wall h, Young's modulus E (dynamic), loss factor eta of the wall, bulk modulus B and density rho of the water. The
wall's inertia and the soil are left out: the first is nothing below a few hundred Hz, the second adds losses (in soft ground
the most of them), so that beta measured on site is larger, by a third or more.

Source: Muggleton, Brennan, Pinnington, J. Sound Vib. 249 (2002) 939-954; Gao et al., J. Sound Vib. 277 (2004) 133-148.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, log, log10, pi, sqrt
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

WATER_BULK_PA = 2.19e9
WATER_DENSITY = 998.2  # kg/m3, 20 degrees C


@dataclass(frozen=True, slots=True)
class PipeLoss:
    """A pipe as a carrier of noise: ``free_mps`` speed in open water, ``softening`` X, ``loss_factor`` eta of the wall.

    Examples
    --------
    >>> pipe = PipeLoss.of_speeds(1500.0, 484.0, 0.06)
    >>> round(pipe.softening, 3), float(f"{pipe.beta_s_m:.4g}")
    (8.605, 5.553e-05)
    """

    free_mps: float
    softening: float
    loss_factor: float

    def __post_init__(self) -> None:
        if not (self.free_mps > 0.0 and self.softening >= 0.0 and 0.0 <= self.loss_factor < 1.0
                and isfinite(self.free_mps) and isfinite(self.softening)):
            raise ValueError(f"free_mps must be above 0, softening 0 or more, loss_factor in 0 .. 1, "
                             f"are {self.free_mps}, {self.softening} and {self.loss_factor}")

    @classmethod
    def of_wall(cls, inner_diameter_m: float, wall_m: float, youngs_pa: float, loss_factor: float, *,
                bulk_pa: float = WATER_BULK_PA, density: float = WATER_DENSITY) -> Self:
        """From the pipe's dimensions (metres) and its wall's dynamic modulus (Pa) and loss factor."""
        for name, value in {"inner_diameter_m": inner_diameter_m, "wall_m": wall_m, "youngs_pa": youngs_pa,
                            "bulk_pa": bulk_pa, "density": density}.items():
            if not value > 0.0:
                raise ValueError(f"{name} must be above 0, is {value}")
        return cls(sqrt(bulk_pa / density), bulk_pa * inner_diameter_m / (youngs_pa * wall_m), loss_factor)

    @classmethod
    def of_speeds(cls, free_mps: float, speed_mps: float, loss_factor: float) -> Self:
        """From the speed in open water and the one measured in the pipe, m/s."""
        if not 0.0 < speed_mps <= free_mps:
            raise ValueError(f"speed_mps must lie in 0 .. free_mps = {free_mps}, is {speed_mps}")
        return cls(free_mps, (free_mps / speed_mps) ** 2 - 1.0, loss_factor)

    @property
    def speed_mps(self) -> float:
        """Phase speed c of a wall that loses little."""
        return self.free_mps / sqrt(1.0 + self.softening)

    @property
    def beta_s_m(self) -> float:
        """Loss factor beta in s/m."""
        return self.loss_factor * self.softening / (2.0 * self.speed_mps * (1.0 + self.softening))

    def response(self, f_hz: ArrayLike, distance_m: float) -> NDArray[np.complex128]:
        """exp(-i k x) with the wavenumber as it is, not to first order in the loss factor."""
        w = 2.0 * pi * np.asarray(f_hz, np.float64)
        k = w / self.free_mps * np.sqrt(1.0 + self.softening / (1.0 + 1j * self.loss_factor))
        return np.asarray(np.exp(-1j * k * distance_m), np.complex128)


def loss_db_per_m(beta_s_m: float, f_hz: float) -> float:
    """Attenuation, dB per metre.

    >>> round(loss_db_per_m(7.25e-5, 100.0), 4)
    0.3957
    """
    return 20.0 * log10(np.e) * 2.0 * pi * f_hz * beta_s_m


def band_end_hz(beta_s_m: float, length_m: float, *, down_db: float = 40.0) -> float:
    """Frequency at which what both loggers hear together, |H1 H2|, is ``down_db`` down; infinite without loss.

    ::

        |H1 H2| = exp(-w beta (x1 + x2)) = 10^(-down_db / 20)      wherever the leak is between them

    Examples
    --------
    >>> [round(band_end_hz(7.25e-5, d), 1) for d in (50.0, 102.6, 200.0)]
    [202.2, 98.5, 50.5]
    """
    if not (beta_s_m >= 0.0 and length_m > 0.0 and down_db > 0.0):
        raise ValueError(f"beta_s_m must be 0 or more, length_m and down_db above 0, are {beta_s_m}, {length_m} and {down_db}")
    if beta_s_m == 0.0:
        return float("inf")
    return down_db / 20.0 * log(10.0) / (2.0 * pi * beta_s_m * length_m)


def correlation(lags_s: ArrayLike, delay_s: float, beta_s_m: float, length_m: float, *, low_hz: float = 0.0,
                high_hz: float = float("inf"), s0: float = 1.0) -> NDArray[np.float64]:
    """The cross-correlation that a source of flat spectrum must show, between loggers ``length_m`` apart.

    ::

        S12(w) = s0 exp(-|w| beta d) exp(-i w T0)                       two-sided, per rad/s
        R(tau) = (s0 / pi) Re{(e^(-(beta d - i s) w0) - e^(-(beta d - i s) w1)) / (beta d - i s)},  s = tau - T0

    Over all frequencies (s0 / pi) beta d / ((beta d)^2 + s^2): half as high at beta d from the peak, which lies at T0.

    Parameters
    ----------
    lags_s : array_like
        tau, seconds.
    delay_s : float
        T0 = t_b - t_a.
    beta_s_m, length_m : float
        Their product must be above 0, unless ``high_hz`` is finite.
    low_hz, high_hz : float
        Edges of an ideal band.

    Raises
    ------
    ValueError
        A band that does not rise from 0 or more; no loss and no end of the band (the integral does not exist).

    Source
    ------
    Integral of the model of Gao et al. 2004 over one band, worked out here.
    """
    if not 0.0 <= low_hz < high_hz:
        raise ValueError(f"the band must rise from 0 or more, is {low_hz} .. {high_hz}")
    width = beta_s_m * length_m
    if not (width > 0.0 or (width == 0.0 and isfinite(high_hz))):
        raise ValueError(f"beta_s_m * length_m must be above 0, or 0 with a finite high_hz, is {width}")
    s = np.asarray(lags_s, np.float64) - delay_s
    z: NDArray[Any] = np.where((width == 0.0) & (s == 0.0), 1e-12, width) - 1j * s
    upper = np.exp(-z * 2.0 * pi * high_hz) if isfinite(high_hz) else 0.0
    return np.asarray(s0 / pi * np.real((np.exp(-z * 2.0 * pi * low_hz) - upper) / z), np.float64)
