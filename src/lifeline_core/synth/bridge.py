"""A bridge as a sum of modes under ambient load, exactly stepped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import cont2discrete, lfilter, ss2tf


def mode_acceleration(f_hz: float, damping: float, fs: float, force: NDArray[np.float64]) -> NDArray[np.float64]:
    """Absolute acceleration of one mode of unit mass under a force held constant over each sample (zero-order hold).

    ``q'' + 2 zeta w q' + w^2 q = u``, stepped with the exact matrix exponential; the output is ``q''``. No integration error.
    """
    w = 2 * np.pi * f_hz
    a = np.array([[0.0, 1.0], [-w * w, -2 * damping * w]])
    system = (a, np.array([[0.0], [1.0]]), a[1:], np.array([[1.0]]))
    discrete = cont2discrete(system, 1.0 / fs, "zoh")
    b, a_tf = ss2tf(*discrete[:4])
    out: NDArray[np.float64] = lfilter(b[0], a_tf, force)
    return out


def bridge_acceleration(
    n: int,
    fs: float,
    *,
    f_hz: Sequence[float],
    damping: Sequence[float],
    shapes: ArrayLike,
    rms: float,
    rng: np.random.Generator,
    noise: float = 0.05,
    stiffness: float = 1.0,
) -> NDArray[np.float64]:
    """Acceleration under white modal forces.

    Parameters
    ----------
    n, fs
        Samples and samples per second.
    f_hz, damping
        Of each mode; every frequency is scaled by ``sqrt(stiffness)``.
    shapes : float[n_channels, n_modes]
    rms
        Of the strongest channel, in the unit wanted.
    noise
        White sensor noise relative to ``rms``.

    Returns
    -------
    float64[n_channels, n]
    """
    phi = np.asarray(shapes, np.float64)
    settle = int(10 * fs / min(f_hz))
    modal = np.stack(
        [mode_acceleration(f * np.sqrt(stiffness), z, fs, rng.normal(0, 1, n + settle)) for f, z in zip(f_hz, damping, strict=True)]
    )
    modal = modal[:, settle:]
    modal /= modal.std(axis=1, keepdims=True)
    x = phi @ modal
    x *= rms / x.std(axis=1).max()
    return x + rng.normal(0, noise * rms, x.shape)


def impact(n: int, fs: float, *, at_s: float, peak: float, f_hz: float = 4.0, damping: float = 0.03) -> NDArray[np.float64]:
    """A blow at ``at_s``: a decaying oscillation whose largest absolute value is ``peak``.

    >>> round(float(np.abs(impact(1000, 100.0, at_s=2.0, peak=1.5)).max()), 6)
    1.5
    """
    t = np.arange(n) / fs - at_s
    x = np.where(t >= 0, np.exp(-damping * 2 * np.pi * f_hz * np.maximum(t, 0)) * np.cos(2 * np.pi * f_hz * t), 0.0)
    largest = np.abs(x).max()
    return x * (peak / largest) if largest else x
