"""Blows against bridges and what is none: ships, overheight vehicles, earthquakes, loose joints, as acceleration with known truth.

A bridge is taken as a simply supported beam across its axis; mode n is at n^2 times the first, every mode below 0.4 of the rate
is stepped with its exact matrix exponential under the force held over each sample. A blow at a place is felt everywhere, and the
higher modes carry its first arrival.

Pulses are the two forms of EN 1991-1-7:2006, annex C.4 (half sine, trapezoid); their lengths here are chosen, not that text's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from lifeline_core.synth.bridge import mode_acceleration

Real = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Deck:
    """Length in m, first frequency across the bridge in Hz, damping ratio of every mode, mass in t/m."""

    length_m: float
    f1_hz: float
    damping: float
    mass_t_m: float

    def struck(self, x_m: Sequence[float], at_m: float, force_kn: Real, fs: float) -> Real:
        """float64[len(x_m), n]: acceleration, m/s2, under a force at ``at_m`` from rest."""
        out = np.zeros((len(x_m), force_kn.size))
        n = 1
        while self.f1_hz * n * n < 0.4 * fs:
            here = 2.0 / (self.mass_t_m * self.length_m) * np.sin(n * np.pi * at_m / self.length_m)
            q = mode_acceleration(self.f1_hz * n * n, self.damping, fs, here * force_kn)
            out += np.sin(n * np.pi * np.asarray(x_m) / self.length_m)[:, None] * q
            n += 1
        return out


LONG = Deck(240.0, 0.45, 0.012, 18.0)  # a river bridge, struck at a pier
SHORT = Deck(32.0, 3.4, 0.02, 9.0)  # a bridge over a road


def half_sine(n: int, fs: float, *, at_s: float, length_s: float, peak_kn: float) -> Real:
    """Elastic contact.

    >>> half_sine(6, 1.0, at_s=1.0, length_s=4.0, peak_kn=2.0).round(3).tolist()
    [0.0, 0.0, 1.414, 2.0, 1.414, 0.0]
    """
    t = np.arange(n) / fs - at_s
    return np.where((t >= 0.0) & (t <= length_s), peak_kn * np.sin(np.pi * np.clip(t / length_s, 0.0, 1.0)), 0.0)


def trapezoid(n: int, fs: float, *, at_s: float, rise_s: float, hold_s: float, fall_s: float, peak_kn: float) -> Real:
    """A bow that is crushed: the force rises, stays, and falls as the ship springs back."""
    t = np.arange(n) / fs - at_s
    return peak_kn * np.interp(t, [0.0, rise_s, rise_s + hold_s, rise_s + hold_s + fall_s], [0.0, 1.0, 1.0, 0.0])


def earthquake(rows: int, n: int, fs: float, rng: np.random.Generator, *, at_s: float, lag_s: float, strong_s: float,
               peak: float) -> Real:
    """float64[rows, n], m/s2: weak first arrivals, ``lag_s`` later the strong ones, which grow within a third of ``strong_s``.

    Seven tenths of the motion are common to all rows; ``peak`` is the largest on any.
    """
    t = np.arange(n) / fs - at_s

    def envelope(begin: float, grow: float, last: float) -> Real:
        u = np.maximum(t - begin, 0.0)
        return np.asarray(np.minimum(u / grow, 1.0) ** 2 * np.exp(-np.maximum(u - last, 0.0) / last))

    def motion(low: float, high: float) -> Real:
        noise = sosfilt(butter(2, [low, high], "bandpass", fs=fs, output="sos"), rng.standard_normal((rows + 1, n)), axis=1)
        return np.asarray(0.7 * noise[:1] + 0.3 * noise[1:])

    x = 0.15 * envelope(0.0, 0.4, lag_s) * motion(2.0, 0.35 * fs) + envelope(lag_s, strong_s / 3.0, strong_s) * motion(0.5, 8.0)
    return np.asarray(x * peak / np.abs(x).max())


def joint_knock(rows: int, n: int, fs: float, *, at_s: float, peak: float, row: int = 0, f_hz: float = 18.0) -> Real:
    """A wheel on a loose joint: a short ringing at one sensor, a twentieth of it at its neighbours."""
    t = np.arange(n) / fs - at_s
    knock = np.where(t >= 0.0, np.exp(-np.maximum(t, 0.0) / 0.06) * np.cos(2.0 * np.pi * f_hz * t), 0.0)
    share = np.where(np.arange(rows) == row, 1.0, np.where(np.abs(np.arange(rows) - row) == 1, 0.05, 0.0))
    return np.asarray(peak * share[:, None] * knock)


def rumble(x_m: Sequence[float], n: int, fs: float, rng: np.random.Generator, *, enters_s: float, speed_mps: float, length_m: float,
           peak: float, near_m: float = 12.0) -> Real:
    """float64[len(x_m), n]: what a vehicle's wheels on a rough surface do to each sensor as it comes near and goes."""
    t = np.arange(n) / fs - enters_s
    at = speed_mps * t if speed_mps > 0 else length_m + speed_mps * t
    on = (at >= 0.0) & (at <= length_m)
    band = butter(2, [3.0, min(25.0, 0.4 * fs)], "bandpass", fs=fs, output="sos")
    noise = sosfilt(band, rng.standard_normal((len(x_m), n)), axis=1)
    shape = np.exp(-(((at[None] - np.asarray(x_m)[:, None]) / near_m) ** 2)) * on
    x = shape * noise
    top = np.abs(x).max()
    return np.asarray(x * (peak / top if top > 0.0 else 0.0))
