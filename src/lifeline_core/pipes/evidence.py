"""How well the waves from one place explain the traces: a Gaussian marginal likelihood.

For one place and time of beginning the traces are, in bins k and sensors i::

    y_ik = - sum_q a_q G_i(k - d_q)          flow: an opening and what it may do later, a_q ~ N(0, (a s_q)^2)
           - a sum_m c_m E_im(k)             what scattered pipe speeds do to the waves, c_m ~ N(0, 1)
           + level_i + slope_i k + ...       drift of each sensor
           + noise_ik

G and E are mean and spread of responses over networks whose speeds scatter. All is linear and Gaussian, so every
coefficient is integrated out in closed form; noise is the sensor's, a part of the spread that so few networks cannot
show, and a small part of the wave's own height. As the common size of all these variances is a guess, it is integrated
out too (Student's t with ``FREEDOM`` n degrees of freedom).

Source: C. M. Bishop, Pattern Recognition and Machine Learning (2006), 3.5 (marginal likelihood), 2.3.7 (Student's t).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lifeline_core.pipes.traces import Traces

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

DELAYS_S = np.array([0.0, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.4, 4.2])
FLOWS = np.array([3.0, 0.7, 0.7, 0.25, 0.12, 0.12, 0.12, 0.12, 0.12])  # s_q
OFFSET_SD, DRIFT_SD = 0.5, 0.05  # m
BEGIN_SD_S = 0.008
SPREAD_S = 0.03  # the spread belongs to a flow that opens in about twice this time
FREEDOM = 0.05
LEAST_LIKELY = -1e18


@dataclass(frozen=True, slots=True)
class Guess:
    """Sizes of what is not modelled: the part of the spread that is noise of its own, and of the wave's height."""

    alone: float = 0.3
    height: float = 0.02


@dataclass(frozen=True, slots=True)
class Fit:
    """score: log likelihood; amount: m3/s; slow: log of the factor of all speeds that the spread asks for; misfit: root of
    the mean square in standard deviations; rms_s: residual in seconds of the wave's own slope; kept: flow at the end, of its
    usual: about 1 for a burst, 0 for a demand that has ended."""

    score: float
    amount: float
    slow: float
    misfit: float
    rms_s: float
    t0_s: float
    scale: float
    kept: float = 1.0


def shifted(x: Singles, lag: float, n: int) -> Singles:
    """x[..., k - lag] for k < n, between samples on a straight line, 0 before the first and after the last."""
    whole = math.floor(lag)
    part = np.float32(lag - whole)

    def at(by: int) -> Singles:
        found = np.zeros((*x.shape[:-1], n), dtype=np.float32)
        to, since = max(by, 0), max(-by, 0)
        m = min(n - to, x.shape[-1] - since)
        if m > 0:
            found[..., to : to + m] = x[..., since : since + m]
        return found

    return at(whole) if part == 0 else (1 - part) * at(whole) + part * at(whole + 1)


def drifts(n_sensors: int, n: int) -> Singles:
    """What a sensor's level may do by itself: [3 n_sensors, n_sensors n]."""
    u = 2 * (np.arange(n) - n / 2) / n
    shapes = np.stack([np.full(n, OFFSET_SD), DRIFT_SD * u, DRIFT_SD * np.cos(np.pi * u)])
    found = np.zeros((n_sensors, 3, n_sensors, n), dtype=np.float32)
    for i in range(n_sensors):
        found[i, :, i] = shapes
    return found.reshape(3 * n_sensors, -1)


class Evidence:
    """Scores places against one set of traces."""

    def __init__(self, traces: Traces, guess: Guess) -> None:
        self.traces, self.guess = traces, guess
        self.shape = traces.y.shape
        self._good = np.isfinite(traces.y)
        self._y = np.where(self._good, traces.y, 0.0).ravel()
        self._drifts = drifts(*self.shape)
        self._delay = DELAYS_S / traces.step_s
        self.n = int(self._good.sum())

    def fit(self, mean: Singles, spread: Singles, lean: Floats, t0_s: float, scale: float, amount: float, rounds: int = 1) -> Fit:
        """``mean`` [n_sensors, m] and ``spread`` [n_members, n_sensors, m]: response to the flow from its beginning on, per
        m3/s; ``lean`` [n_members]: log of the common factor of the speeds in each member's share of the spread."""
        step, n = self.traces.step_s, self.shape[1]
        lag = (t0_s - self.traces.start_s) / step
        waves = np.stack([-shifted(mean, lag + d, n) for d in self._delay])
        slope = np.gradient(waves[0], axis=-1) / step
        loose = -shifted(spread, lag + SPREAD_S / step, n).reshape(len(spread), -1)
        own = np.einsum("ij,ij->j", loose, loose)
        height = np.abs(waves[1])
        model = self.guess.alone * own + (self.guess.height * (height + height.max()) ** 1).ravel() ** 2
        rows = np.concatenate([
            waves.reshape(len(waves), -1) * FLOWS[:, None].astype(np.float32),
            BEGIN_SD_S * slope.reshape(1, -1), math.sqrt(1.0 - self.guess.alone) * loose,
        ])  # fmt: skip
        for _ in range(rounds):
            found = self._solve(rows, model, amount)
            k = len(FLOWS)
            wanted = amount * float(found[2][:3] @ FLOWS[:3])
            used, amount = amount, min(max(wanted, amount / 2.5), amount * 2.5)
        chi2, log_det, c, left = found
        score = -0.5 * log_det - 0.5 * self.n * (1 + FREEDOM) * math.log1p(chi2 / (FREEDOM * self.n))
        flow = np.cumsum(c[:k] * FLOWS)
        slow = float(c[k + 1 : k + 1 + len(lean)] @ lean) * math.sqrt(1.0 - self.guess.alone) if len(lean) else 0.0
        steep = used * float(np.sqrt((slope[self._good.reshape(self.shape)] ** 2).sum()))
        return Fit(
            score if wanted > 0 else LEAST_LIKELY, amount, slow, math.sqrt(max(chi2, 0.0) / self.n),
            float(np.sqrt((left**2).sum())) / max(steep, 1e-12), t0_s, scale,
            float(flow[-1] / max(np.median(flow[1:]), 1e-12)),
        )  # fmt: skip

    def _solve(self, rows: Singles, model: Floats, amount: float) -> tuple[float, float, Floats, Floats]:
        """chi2, log determinant, coefficients and what is left of the traces."""
        sd = np.repeat(self.traces.sd, self.shape[1])
        var = sd**2 + amount**2 * model
        weight = np.where(self._good.ravel(), 1.0 / np.sqrt(var), 0.0).astype(np.float32)
        u = np.concatenate([amount * rows, self._drifts]).astype(np.float32) * weight
        y = (self._y * weight).astype(np.float32)
        # Sums of 2,000 products in single precision are good to 1e-5 of the whole; the factorisation is in double.
        a = (u @ u.T).astype(np.float64)
        a[np.diag_indices_from(a)] += 1.0
        b = (u @ y).astype(np.float64)
        lower = np.linalg.cholesky(a)
        z = np.linalg.solve(lower, b)
        c = np.linalg.solve(lower.T, z)
        left = (y - c.astype(np.float32) @ u).astype(np.float64)
        chi2 = float(left @ left) + float(c @ c)
        log_det = float(np.log(var[self._good.ravel()]).sum() + 2.0 * np.log(np.diag(lower)).sum())
        return chi2, log_det, c, np.divide(left, weight, out=np.zeros_like(left), where=weight > 0)
