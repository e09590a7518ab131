"""Sums over samples that may count less the older they are, from which covariances at lags are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sums:
    """Over samples that count w each: w y[t + k] y[t]^T float64[lags + 1, n_ch, n_ch], w y[t + k] float64[lags + 1, n_ch],
    w and w^2."""

    products: Real
    ahead: Real
    weight: float
    square: float

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.products + other.products, self.ahead + other.ahead, self.weight + other.weight,
                     self.square + other.square)

    def faded(self, by: float) -> Sums:
        return self if by == 1.0 else Sums(self.products * by, self.ahead * by, self.weight * by, self.square * by * by)

    def moved(self, by: Real) -> Sums:
        """The sums of y + by, by float64[n_ch]."""
        ahead = self.ahead + self.weight * by
        more = self.ahead[:, :, None] * by + by[:, None] * ahead[0]
        return Sums(self.products + more, ahead, self.weight, self.square)

    def about(self, mean: Real) -> Real:
        """Covariances about mean float64[n_ch]."""
        r = self.products - self.ahead[:, :, None] * mean
        r -= mean[:, None] * (self.ahead[0] - self.weight * mean)
        r /= self.weight
        return r

    def packed(self) -> list[Any]:
        return [self.products.tobytes(), self.ahead.tobytes(), self.weight, self.square]

    @classmethod
    def unpacked(cls, parts: Any, n_ch: int, lags: int) -> Sums:
        products = np.frombuffer(parts[0]).reshape(lags + 1, n_ch, n_ch).copy()
        return cls(products, np.frombuffer(parts[1]).reshape(lags + 1, n_ch).copy(), float(parts[2]), float(parts[3]))
