"""The drift of one clock against another, from delays at several times: a straight line, or the reason why it is none."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc, fdtrc

Real = NDArray[np.float64]

SIGMAS = 3.0  # a drift within so many standard deviations of zero is none to correct
NOT_LINEAR = 1e-3  # chance below which the delays do not lie on a line
LOOSE = 4.0  # stated variances may be this much too small: those of faint delays are


@dataclass(frozen=True, slots=True)
class Drift:
    """How much faster b's clock runs than a's.

    ``ppm``, ``sd_ppm``: parts per million, positive when b counts faster (the delay grows). ``delay_s``, ``delay_sd_s``: at the
    first sample, of pipe and clocks together. ``times_s``, ``delays_s``, ``sds_s``: what the line was fitted to; ``used``
    False where a point was left out of it. ``chi2`` about the line with ``dof``. ``coherence``: before and after the
    correction, NaN where it was not tried. ``accepted``: b may be corrected by ``ppm``. ``reasons`` why not, each
    ``word: numbers``: too-short, no-common-source, no-line, not-linear, no-drift-seen, no-gain.
    """

    ppm: float
    sd_ppm: float
    delay_s: float
    delay_sd_s: float
    times_s: Real
    delays_s: Real
    sds_s: Real
    used: NDArray[np.bool_]
    chi2: float
    dof: int
    coherence: tuple[float, float]
    accepted: bool
    reasons: tuple[str, ...]


def refused(reason: str) -> Drift:
    """Nothing was found out."""
    none, nan = np.empty(0), float("nan")
    return Drift(nan, float("inf"), nan, float("inf"), none, none, none, np.empty(0, bool), nan, 0, (nan, nan), False, (reason,))


def fit_drift(times_s: ArrayLike, delays_s: ArrayLike, sds_s: ArrayLike, *, sigmas: float = SIGMAS) -> Drift:
    """Drift from delays measured at several times, such as one recording an hour through a night.

    A straight line by weighted least squares; points that lie far off it (5 of their own deviations, and 3.5 times the usual
    distance) are left out one after the other, at most a fifth of them. Deviations are widened where the points scatter more
    than they say. Not a line: the scatter is beyond twice what the deviations say, or (8 points and more) a curve of third
    order fits better beyond chance, by the F test, which does not ask the deviations.

    Parameters
    ----------
    times_s, delays_s, sds_s : array [n]
        By a's clock; t_b - t_a, with the sign as everywhere; standard deviations above 0. At least 3 points. All of one source
        that stays in its place: the caller sees to that.
    sigmas : float
        How far from zero a drift must be to be corrected.

    Raises
    ------
    ValueError
        Fewer than 3 points, rows of unlike length, numbers that are not finite, equal times, a deviation not above 0.

    Examples
    --------
    >>> round(fit_drift([0, 3600, 7200, 10800], [0.020, 0.056, 0.092, 0.128], [1e-4] * 4).ppm, 6)
    10.0
    """
    t, d, sd = (np.asarray(v, np.float64) for v in (times_s, delays_s, sds_s))
    if t.ndim != 1 or t.size < 3 or not t.shape == d.shape == sd.shape:
        raise ValueError(f"at least 3 times with delays and deviations are needed, are {t.shape}, {d.shape} and {sd.shape}")
    if not (np.isfinite(t).all() and np.isfinite(d).all() and np.isfinite(sd).all() and (sd > 0.0).all() and np.ptp(t) > 0.0):
        raise ValueError("times, delays and deviations must be finite, times not all equal, deviations above 0")
    used = np.ones(t.size, bool)
    while True:
        line, covariance = _line(t[used], d[used], sd[used])
        off = np.abs(d - line[0] - line[1] * t) / sd
        usual = 1.4826 * float(np.median(off[used]))
        worst = int(np.argmax(np.where(used, off, 0.0)))
        if off[worst] < max(5.0, 3.5 * usual) or used.sum() - 1 < max(0.8 * t.size, 3):
            break
        used[worst] = False
    chi2, dof = float(np.sum(off[used] ** 2)), int(used.sum()) - 2
    bent = _bend(t[used], d[used], sd[used], chi2)
    wider = max(1.0, chi2 / dof)
    ppm, sd_ppm = float(line[1]) * 1e6, sqrt(covariance[1, 1] * wider) * 1e6
    reasons = []
    if chdtrc(dof, chi2 / LOOSE) < NOT_LINEAR or bent < NOT_LINEAR:
        reasons.append(f"not-linear: chi-square {chi2:.1f} about the line with {dof} degrees of freedom, chance {bent:.1e} "
                       "that a bent line fits so much better")
    if abs(ppm) < sigmas * sd_ppm:
        reasons.append(f"no-drift-seen: {ppm:.3f} ppm with a standard deviation of {sd_ppm:.3f}, {sigmas:g} of them are needed")
    return Drift(ppm, sd_ppm, float(line[0]), sqrt(covariance[0, 0] * wider), t, d, sd, used, chi2, dof, (float("nan"),) * 2,
                 not reasons, tuple(reasons))


def _line(t: Real, d: Real, sd: Real) -> tuple[Real, Real]:
    """Offset and slope, and their covariance; about the middle first, for the digits."""
    middle = float(np.mean(t))
    a = np.stack([np.ones(t.size), t - middle], axis=1) / sd[:, None]
    covariance = np.linalg.inv(a.T @ a)
    at = covariance @ (a.T @ (d / sd))
    turn = np.array([[1.0, -middle], [0.0, 1.0]])
    return turn @ at, turn @ covariance @ turn.T


def _bend(t: Real, d: Real, sd: Real, chi2: float) -> float:
    """Chance that two more terms of a polynomial gain as much on points that lie on a line; 1 with fewer than 8 points."""
    rest = t.size - 4
    if rest < 4:
        return 1.0
    u = (t - t.mean()) / np.ptp(t)
    a = np.stack([u**k for k in range(4)], axis=1) / sd[:, None]
    left = float(np.sum((a @ np.linalg.lstsq(a, d / sd, rcond=None)[0] - d / sd) ** 2))
    # rounding alone is left of points that are exactly on a line
    return float(fdtrc(2, rest, (chi2 - left) / 2.0 / (left / rest))) if left > 1e-9 * max(chi2, 1.0) else 1.0
