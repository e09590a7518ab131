"""Averaged spectra of two channels, whole or running: what every estimate of a delay is made from.

`dsp.spectrum` keeps averages only. A delay needs more of each segment, and in float64: how loud it was in both channels
at once (`Spectra.effective`), to which part of the record it belongs (ICS), and the two channels apart by a shift.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.errors import StateError

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Mask = NDArray[np.bool_]

# Hann segments that overlap by half are correlated by 1/6, a product of two channels by its square: so many times
# larger is the variance of a sum over them.
OVERLAP_SPREAD = 1.0 + 2.0 / 36.0


@dataclass(frozen=True, slots=True)
class Spectra:
    """Averages over segments of two channels, one-sided grid. ``q`` is the average of |A|^2 |B|^2 (how even they were)."""

    fs: float
    nperseg: int
    s11: Real
    s22: Real
    s12: Complex
    q: Real
    parts: tuple[Complex, ...]  # S12 of consecutive runs of segments
    n: int  # segments in the averages
    left_out: int  # segments that held a NaN or infinity

    @property
    def f(self) -> Real:
        return np.asarray(np.fft.rfftfreq(self.nperseg, 1.0 / self.fs), np.float64)

    @property
    def duration_s(self) -> float:
        """Length of record in the averages."""
        return (self.n + 1) * (self.nperseg // 2) / self.fs if self.n else 0.0

    def effective(self, among: Mask) -> float:
        """Independent equally loud segments that average as well: fewer for overlap, and where a few were far louder."""
        even = self.s11[among] * self.s22[among]
        spread = float(np.mean(self.q[among] / even)) if among.any() and (even > 0).all() else 1.0
        return max(self.n / (OVERLAP_SPREAD * max(spread, 1.0)), 1.0)


class CrossAverage:
    """Running averages of two channels' spectra: Hann windows, half overlapping, mean removed, one segment at a time.

    Segments are keyed to the first sample pushed, so any cut into chunks gives the same bits. ``shift`` pairs sample i
    of a with sample i + shift of b: near the true delay, segments of both hold the same stretch of the source and
    nothing of the coherence is lost; the phase of S12 is turned back.
    """

    VERSION = 1

    def __init__(self, fs: float, nperseg: int, *, shift: int = 0, per_part: int = 8) -> None:
        if nperseg < 16 or nperseg % 2:
            raise ValueError(f"nperseg must be an even number of 16 or more, is {nperseg}")
        self.fs, self.nperseg, self.shift, self.per_part = fs, nperseg, shift, per_part
        self.hop = nperseg // 2
        self.span = nperseg + abs(shift)  # samples a segment needs
        self.seen = 0  # segments, used or left out
        self.used = 0
        self._window = np.hanning(nperseg + 1)[:-1]
        self._pending = np.empty((2, 0))
        lines = nperseg // 2 + 1
        self._power = np.zeros((3, lines))  # |A|^2, |B|^2, |A|^2 |B|^2
        self._parts: list[Complex] = []

    @property
    def layout(self) -> tuple[float, int, int, int]:
        """What must be equal for averages to be continued: rate, segment, shift and segments in a part."""
        return self.fs, self.nperseg, self.shift, self.per_part

    def push(self, x: NDArray[Any]) -> None:
        """Take samples [2, n]."""
        joined = np.concatenate([self._pending, x], axis=1)
        start = 0
        while joined.shape[1] - start >= self.span:
            self._add(joined[:, start : start + self.span])
            start += self.hop
        self._pending = joined[:, start:]

    def missing(self, segments: int) -> int:
        """Samples still to come, without a seam, before ``segments`` segments have been seen; 0 when they have."""
        if self.seen >= segments:
            return 0
        return (segments - self.seen - 1) * self.hop + self.span - self._pending.shape[1]

    def break_off(self) -> None:
        """The next sample does not continue this one: forget the segment begun, keep the averages."""
        self._pending = self._pending[:, :0]

    def _add(self, x: NDArray[Any]) -> None:
        k, n = self.shift, self.nperseg
        pair = np.stack([x[0, max(-k, 0) : max(-k, 0) + n], x[1, max(k, 0) : max(k, 0) + n]]).astype(np.float64)
        part = self.seen // self.per_part
        self.seen += 1
        if not np.isfinite(pair).all():
            return
        a, b = np.fft.rfft((pair - pair.mean(axis=1, keepdims=True)) * self._window)
        while len(self._parts) <= part:
            self._parts.append(np.zeros(a.size, complex))
        self._parts[part] += np.conj(a) * b
        pa, pb = a.real**2 + a.imag**2, b.real**2 + b.imag**2
        self._power[0] += pa
        self._power[1] += pb
        self._power[2] += pa * pb
        self.used += 1

    def spectra(self) -> Spectra:
        """The averages so far."""
        n = max(self.used, 1)
        turn = np.exp(-2j * np.pi * self.shift / self.nperseg * np.arange(self.nperseg // 2 + 1)) / n
        parts = tuple(p * turn for p in self._parts)
        s12 = np.sum(parts, axis=0) if parts else np.zeros(self.nperseg // 2 + 1, complex)
        return Spectra(self.fs, self.nperseg, self._power[0] / n, self._power[1] / n, s12, self._power[2] / n, parts,
                       self.used, self.seen - self.used)

    def save(self) -> dict[str, Any]:
        """State as a map of plain values and bytes."""
        return {"v": self.VERSION, "fs": self.fs, "nperseg": self.nperseg, "shift": self.shift,
                "per_part": self.per_part, "seen": self.seen, "used": self.used, "pending": self._pending.tobytes(),
                "power": self._power.tobytes(), "parts": [p.tobytes() for p in self._parts]}

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> CrossAverage:
        """What `save` gave, to the bit; StateError for anything else."""
        try:
            if state["v"] != cls.VERSION:
                raise StateError(f"cross spectra of version {state['v']}, this build takes {cls.VERSION}")
            new = cls(state["fs"], state["nperseg"], shift=state["shift"], per_part=state["per_part"])
            new.seen, new.used = state["seen"], state["used"]
            new._pending = np.frombuffer(state["pending"]).reshape(2, -1).copy()
            new._power = np.frombuffer(state["power"]).reshape(new._power.shape).copy()
            new._parts = [np.frombuffer(p, complex).copy() for p in state["parts"]]
            if any(p.size != new._power.shape[1] for p in new._parts):
                raise StateError("cross spectra whose parts are of another length")
        except (KeyError, TypeError, ValueError) as e:
            raise e if isinstance(e, StateError) else StateError(f"cross spectra cannot be restored: {e}") from e
        return new


def cross_spectra(a: ArrayLike, b: ArrayLike, fs: float, nperseg: int, *, shift: int = 0) -> Spectra:
    """Averaged spectra of two whole recordings."""
    x = np.stack([np.asarray(a), np.asarray(b)])
    total = max((x.shape[1] - nperseg - abs(shift)) // (nperseg // 2) + 1, 0)
    average = CrossAverage(fs, nperseg, shift=shift, per_part=max(total // 6, 4))
    average.push(x)
    return average.spectra()


def segment_length(n: int, fs: float, max_delay_s: float | None) -> int:
    """Power of two of about 1 s, at least 8 of the longest delay, but at most an eighth of the record (4 delays win)."""
    longest = (max_delay_s or 0.0) * fs
    size, least = 16, max(4.0 * longest, 16.0)
    while size < max(fs, 8.0 * longest):
        size *= 2
    while size > n / 8.0 and size / 2 >= least:
        size //= 2
    return size
