"""One place on a pipe that windows agree on, and what has been told of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot, sqrt


@dataclass(slots=True)
class Track:
    """A place followed from window to window: the mean of those that agree, weighted by their noise.

    ``weight`` and ``moment`` are sums of 1/sd^2 and x/sd^2. ``misses``: windows in a row that did not hear it.
    ``told_*``: what was last said about it, once ``raised``.
    """

    onset_ns: int
    weight: float
    moment: float
    windows: int = 1
    misses: int = 0
    raised: bool = False
    told_x_m: float = 0.0
    told_sd_m: float = 0.0

    @property
    def x_m(self) -> float:
        return self.moment / self.weight

    @property
    def noise_sd_m(self) -> float:
        return sqrt(1.0 / self.weight)

    def agrees(self, x_m: float, noise_sd_m: float, within_m: float) -> bool:
        """Whether x lies within ``within_m`` or within two standard deviations of both places' noise."""
        return abs(x_m - self.x_m) <= max(within_m, 2.0 * hypot(noise_sd_m, self.noise_sd_m))

    def add(self, x_m: float, noise_sd_m: float) -> None:
        self.weight += noise_sd_m**-2
        self.moment += x_m * noise_sd_m**-2
        self.windows += 1
        self.misses = 0
