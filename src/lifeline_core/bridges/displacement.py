"""Displacement from acceleration: integrated twice in the frequency domain above a corner below which nothing is known.

    X(f) = -A(f) H(f) / (2 pi f)^2         H(f) = smooth step from 0 at corner / sqrt(2) to 1 at corner sqrt(2)

An accelerometer does not see what is slower than its drift: the quasi-static part of a passage is lost, and a noise of
n m/s2/sqrt(Hz) leaves n / (2 pi)^2 / sqrt(3 corner^3) metres. That figure is answered with the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

Real = NDArray[np.float64]

EDGE = 2.0  # periods of the corner over which either end is faded in; as much again is bent by it


@dataclass(frozen=True, slots=True)
class Displacement:
    """``x_m`` float64[..., n]; ``noise_m`` RMS that white noise of the channel's upper spectrum would leave, float64[...];
    ``settled`` slice of the samples that are not bent by the ends of the record."""

    x_m: Real
    noise_m: Real
    settled: slice


def displacement(a: ArrayLike, fs: float, corner_hz: float) -> Displacement:
    """Displacement in metres from acceleration in m/s2.

    Parameters
    ----------
    a : float[..., n]
        Acceleration, all finite; mean and trend are taken off.
    fs : Hz.
    corner_hz : above 0 and below fs / 4
        Slower motion is not answered; a fifth of the lowest frequency of interest is a good choice.

    Raises
    ------
    ValueError
        Empty, not finite, shorter than ten periods of the corner, a corner out of range.

    Source
    ------
    Integration by division in the frequency domain, e.g. A. Brandt, Noise and Vibration Analysis (2011), ch. 3.

    Examples
    --------
    A sine of 50 mm and 0.3 Hz, with an offset of a tenth of g:

    >>> t = np.arange(0, 200, 0.02)
    >>> d = displacement(-0.05 * (2 * np.pi * 0.3) ** 2 * np.sin(2 * np.pi * 0.3 * t) + 0.98, 50.0, 0.1)
    >>> round(float(np.abs(d.x_m[d.settled]).max()), 4)
    0.05
    """
    y = np.asarray(a, np.float64)
    if y.ndim == 0 or y.size == 0:
        raise ValueError(f"a must hold samples, is of shape {y.shape}")
    if not np.isfinite(y).all():
        raise ValueError("a must be finite: fill or cut gaps first")
    if not 0.0 < corner_hz < fs / 4.0:
        raise ValueError(f"corner_hz must lie between 0 and fs / 4 = {fs / 4.0}, is {corner_hz}")
    n = y.shape[-1]
    if n < 10.0 * fs / corner_hz:
        raise ValueError(f"the record must hold ten periods of the corner, {10.0 * fs / corner_hz:.0f} samples, holds {n}")
    k = np.arange(n) - (n - 1) / 2.0
    y = y - y.mean(axis=-1, keepdims=True)
    y -= (y @ k / (k @ k))[..., None] * k
    edge = min(round(EDGE * fs / corner_hz), n // 2 - 1)
    soft = np.sin(0.5 * np.pi * (np.arange(edge) + 0.5) / edge) ** 2  # an end that is cut off would swing through the record
    tapered = y.copy()
    tapered[..., :edge] *= soft
    tapered[..., n - edge :] *= soft[::-1]
    size = fft.next_fast_len(2 * n, real=True)  # zeros behind: the ends do not meet
    f = fft.rfftfreq(size, 1.0 / fs)
    with np.errstate(divide="ignore"):
        rise = np.clip(np.log2(np.maximum(f, 1e-300) / corner_hz) + 0.5, 0.0, 1.0)
    turn = np.zeros_like(f)
    turn[1:] = -(np.sin(0.5 * np.pi * rise[1:]) ** 2) / (2.0 * np.pi * f[1:]) ** 2
    spectrum = fft.rfft(tapered, size, axis=-1)
    x: Real = fft.irfft(spectrum * turn, size, axis=-1)[..., :n]
    upper = fft.rfft(y, axis=-1)[..., -max(n // 8, 1) :]
    density = 2.0 * np.median(np.abs(upper) ** 2, axis=-1) / np.log(2.0) / (fs * n)  # the median of a chi-square of two
    noise = np.sqrt(density / (3.0 * corner_hz**3)) / (2.0 * np.pi) ** 2
    edge = min(2 * edge, n // 2 - 1)
    return Displacement(x, noise, slice(edge, n - edge))
