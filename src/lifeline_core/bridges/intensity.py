"""Instrumental seismic intensity of a place, from its peak acceleration and velocity between 0.1 and 10 Hz.

    I_A = 3.17 lg PGA + 6.59        PGA in m/s2       peaks of the length of the vector of three components
    I_V = 3.00 lg PGV + 9.77        PGV in m/s
    I   = I_V                       where both are 6 or more, otherwise their mean; from 1 to 12, to one decimal

Source: GB/T 17742-2020 (China's seismic intensity scale), appendix A, as four public programs that name it have it; they agree
in every number above. The standard itself was not at hand, nor the order it wants of the filter: here it is a Butterworth
band-pass of order 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from lifeline_core.dsp.filters import SosFilter, bandpass
from lifeline_core.dsp.tape import Samples, lengths
from lifeline_core.errors import StateError

LOW_HZ, HIGH_HZ = 0.1, 10.0
FROM_VELOCITY = 6.0  # where both forms reach it, velocity alone decides
LEAST, MOST = 1.0, 12.0


def instrumental_intensity(pga_ms2: float, pgv_ms: float) -> float:
    """Degrees from 1 to 12, to one decimal.

    Parameters
    ----------
    pga_ms2, pgv_ms : peak acceleration (m/s2) and velocity (m/s) of the ground, 0.1 to 10 Hz, of the vector of its components;
        0 or more.

    Raises
    ------
    ValueError
        A peak is negative or not finite.

    >>> instrumental_intensity(1.0, 0.1), instrumental_intensity(0.1, 0.005), instrumental_intensity(0.0, 0.0)
    (6.8, 3.1, 1.0)
    """
    for name, v in (("pga_ms2", pga_ms2), ("pgv_ms", pgv_ms)):
        if not 0.0 <= v < float("inf"):
            raise ValueError(f"{name}: must be finite and at least 0, is {v}")
    if not pga_ms2 or not pgv_ms:
        return LEAST
    by_a, by_v = 3.17 * log10(pga_ms2) + 6.59, 3.00 * log10(pgv_ms) + 9.77
    degree = by_v if by_a >= FROM_VELOCITY and by_v >= FROM_VELOCITY else 0.5 * (by_a + by_v)
    return round(min(MOST, max(LEAST, degree)), 1)


def velocity_sections(fs: float) -> NDArray[np.float64]:
    """Sections from acceleration to velocity within the band: the band-pass and an integrator (trapezoids) as one filter.

    One of the band-pass' two zeros at 0 Hz cancels the integrator's pole, so that nothing can drift away.
    """
    zeros, poles, gain = signal.butter(2, [LOW_HZ, HIGH_HZ], "bandpass", fs=fs, output="zpk")
    at = int(np.argmax(zeros.real))
    zeros = np.append(np.delete(zeros, at), -1.0)
    sos: NDArray[np.float64] = signal.zpk2sos(zeros, poles, gain / (2.0 * fs))
    return sos


class Motion:
    """Acceleration and velocity of each place within the band, sample by sample.

    Parameters
    ----------
    places : rows of the input that are one place's components, see `lifeline_core.dsp.tape.lengths`.

    Raises
    ------
    ValueError
        The rate is 20 Hz or less: the band does not fit below half of it.
    """

    def __init__(self, places: Sequence[Sequence[int]], fs: float) -> None:
        if fs <= 2.0 * HIGH_HZ:
            raise ValueError(f"intensity: needs more than {2.0 * HIGH_HZ:g} samples a second, the channels have {fs:g}")
        rows = sum(map(len, places))
        self.places = [list(p) for p in places]
        self._settled = [False] * rows
        self._filters = SosFilter(bandpass(fs, LOW_HZ, HIGH_HZ), rows), SosFilter(velocity_sections(fs), rows)

    def push(self, x: Samples) -> tuple[Samples, Samples]:
        """|a| (m/s2) and |v| (m/s), float32[n_places, n] each; NaN where no component is there.

        A channel's first finite sample becomes its rest position: gravity and an offset are no motion.
        """
        for row, done in enumerate(self._settled):
            if not done and (finite := np.flatnonzero(np.isfinite(x[row]))).size:
                for f in self._filters:
                    f.settle(row, float(x[row, finite[0]]))
                self._settled[row] = True
        x = np.ascontiguousarray(x, dtype=np.float32)
        a, v = (np.abs(lengths(f.push(x), self.places)) for f in self._filters)
        return a, v

    def reset(self) -> None:
        for f in self._filters:
            f.z[:] = 0.0
        self._settled = [False] * len(self._settled)

    def save(self) -> dict[str, Any]:
        return {"filters": [f.save() for f in self._filters], "settled": list(self._settled)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `save` gave; StateError where it is of other rows."""
        if len(state["settled"]) != len(self._settled):
            raise StateError(f"motion: saved state is of {len(state['settled'])} channels, not {len(self._settled)}")
        for f, saved in zip(self._filters, state["filters"], strict=True):
            f.load(bytes(saved))
        self._settled = [bool(done) for done in state["settled"]]
