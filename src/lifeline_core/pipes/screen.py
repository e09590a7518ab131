"""A first look at many places: for each, the time and size of a burst there that fit the traces best.

With response G_i to a step of flow and weights w_i = 1 / variance::

    size(t0) = sum w y G(. - t0) / sum w G(. - t0)^2       both sums for all t0 at once as correlations (FFT)

The variance is read from the traces: noise, their slope times the time by which scattered speeds may be off so long after
the first motion, and a part of their height. Scores add up logarithms of what is left sensor by sensor, so that one that
nothing explains does not decide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from lifeline_core.pipes.traces import Traces

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.intp]

BACK_S = 3.0  # a burst began at most so long before the first bin
LEAD_S = 0.15  # and at most so long after the first motion
HOP_S = 0.15  # a usual pipe's travel time: speeds scatter from pipe to pipe
HEIGHT, WHOLE = 0.1, 0.03  # of the wave's height now, and of its largest
FLOOR = 0.1  # what is left, in variances, below which nothing is gained
BLOCK = 128  # places at a time: their transforms take memory


@dataclass(frozen=True, slots=True)
class Screened:
    """One entry per place."""

    score: Floats
    t0_s: Floats
    amount: Floats

    @classmethod
    def joined(cls, parts: list[Screened]) -> Screened:
        """One after the other."""
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("score", "t0_s", "amount")))


def smooth(x: Floats, half: int) -> Floats:
    """Mean over 2 half + 1 samples, the ends repeated."""
    total = np.cumsum(np.pad(x, ((0, 0), (half + 1, half)), mode="edge"), axis=1)
    found: Floats = (total[:, 2 * half + 1 :] - total[:, : -2 * half - 1]) / (2 * half + 1)
    return found


class Screen:
    """Traces made ready to be correlated with responses of ``length`` bins."""

    def __init__(self, traces: Traces, speed_sd: float) -> None:
        self.traces, self.step_s = traces, traces.step_s
        n = traces.y.shape[1]
        good = np.isfinite(traces.y)
        y = np.where(good, traces.y, 0.0)
        calm = smooth(y, 2)
        slope = np.gradient(calm, axis=1) / self.step_s
        since = np.maximum(traces.start_s + np.arange(n) * self.step_s - traces.first_s, 0.0) + 0.5
        off = speed_sd * np.sqrt(HOP_S * since)
        var = traces.sd[:, None] ** 2 + smooth((off * np.abs(slope)) ** 2, 3) + (HEIGHT * calm) ** 2
        var += (WHOLE * np.abs(y).max(axis=1, keepdims=True)) ** 2
        weight = np.where(good, 1.0 / var, 0.0)
        self.length = n + int(BACK_S / self.step_s)
        self._size = fft.next_fast_len(self.length + n + 2, real=True)
        lead = int((traces.first_s - traces.start_s + LEAD_S) / self.step_s)
        self._lags = np.arange(-lead, self.length - n)
        self._weight = np.conj(fft.rfft(weight.astype(np.float32), self._size))
        self._data = np.conj(fft.rfft((weight * y).astype(np.float32), self._size))
        self._square = (weight * y**2).sum(axis=1)
        self._count = np.maximum(good.sum(axis=1), 1)

    def score(self, g: Singles) -> Screened:
        """Of responses [n_sensors, n_places, length]; their transforms take memory: ``BLOCK`` places at a time."""
        with_data = fft.rfft(g, self._size, axis=2) * self._data[:, None]
        with_self = fft.rfft(g * g, self._size, axis=2) * self._weight[:, None]
        at = self._lags % self._size
        cross = fft.irfft(with_data.sum(axis=0), self._size, axis=1)[:, at]
        power = fft.irfft(with_self.sum(axis=0), self._size, axis=1)[:, at]
        power = np.maximum(power, 1e-9 * max(float(power.max()), 1e-30))
        best = np.where(cross < 0, cross**2 / power, 0.0).argmax(axis=1)
        lag = self._lags[best]
        # The same two sums at the best lag, sensor by sensor.
        turn = np.exp(2j * np.pi * np.arange(with_data.shape[2]) * lag[:, None] / self._size).astype(np.complex64)
        turn *= 2.0
        turn[:, 0] /= 2.0
        if self._size % 2 == 0:
            turn[:, -1] /= 2.0
        c = np.einsum("ijf,jf->ij", with_data, turn).real.astype(np.float64) / self._size
        e = np.maximum(np.einsum("ijf,jf->ij", with_self, turn).real.astype(np.float64) / self._size, 0.0)
        share = np.ones_like(c)
        for _ in range(5):
            amount = -(share * c).sum(axis=0) / np.maximum((share * e).sum(axis=0), 1e-12)
            left = np.maximum(self._square[:, None] + 2 * amount * c + amount**2 * e, 0.0) / self._count[:, None]
            share = 1.0 / (FLOOR + left)
        score = -(self._count[:, None] * np.log(FLOOR + left)).sum(axis=0)
        score[amount <= 0] = -math.inf
        return Screened(score, self.traces.start_s - lag * self.step_s, amount)


def opened(responses: Singles, bins: int) -> Singles:
    """Responses to a flow that grows over so many bins instead of a step."""
    if bins <= 1:
        return responses
    total = np.cumsum(np.pad(responses, ((0, 0), (0, 0), (bins, 0))), axis=2)
    found: Singles = (total[:, :, bins:] - total[:, :, :-bins]) / np.float32(bins)
    return found
