"""Averaged spectra of two channels, whole or running: what every estimate of a delay is made from.

`dsp.spectrum` keeps averages only. A delay needs more of each segment: how loud it was in both channels at once
(`Spectra.effective`), to which part of the record it belongs (ICS), and the two channels apart by a shift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.errors import StateError
from lifeline_core.pipes.cross import averages, samples, wide

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Mask = NDArray[np.bool_]

# Hann segments that overlap by half are correlated by 1/6, a product of two channels by its square: so many times
# larger is the variance of a sum over them.
OVERLAP_SPREAD = 1.0 + 2.0 / 36.0
LONGEST, MOST_SHIFT = 1 << 24, 1 << 40  # samples


@lru_cache(maxsize=32)
def grid(fs: float, nperseg: int) -> Real:
    """Frequencies of the segments' transforms in Hz, one array for all who ask; not to be written to."""
    f = np.asarray(np.fft.rfftfreq(nperseg, 1.0 / fs), np.float64)
    f.flags.writeable = False
    return f


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
        return grid(self.fs, self.nperseg)

    @property
    def duration_s(self) -> float:
        """Length of record in the averages."""
        return (self.n + 1) * (self.nperseg // 2) / self.fs if self.n else 0.0

    def effective(self, among: Mask) -> float:
        """Independent equally loud segments that average as well: fewer for overlap, and where a few were far louder."""
        even = self.s11[among] * self.s22[among]
        spread = float(np.mean(self.q[among] / even)) if among.any() and (even > 0).all() else 1.0
        return max(self.n / (OVERLAP_SPREAD * max(spread, 1.0)), 1.0)

    @classmethod
    def of(cls, fs: float, nperseg: int, power: Real, s12: Complex, parts: Complex, used: int, seen: int) -> Spectra:
        """From what the kernels read out: power [3, n_f] is s11, s22 and q."""
        return cls(fs, nperseg, power[0], power[1], s12, power[2], tuple(parts), used, seen - used)


def checked(nperseg: int, shift: int = 0, per_part: int = 8) -> None:
    """ValueError for a length, a shift or a part that cannot be."""
    if nperseg < 16 or nperseg % 2 or nperseg > LONGEST:
        most = f", {LONGEST} at most" if nperseg > LONGEST else ""
        raise ValueError(f"nperseg must be an even number of 16 or more{most}, is {nperseg}")
    if abs(shift) > MOST_SHIFT:
        raise ValueError(f"shift must be within {MOST_SHIFT} samples, is {shift}")
    if per_part < 1:
        raise ValueError(f"per_part must be 1 segment or more, is {per_part}")


class CrossAverage:
    """Running averages of two channels' spectra: Hann windows, half overlapping, mean removed, one segment at a time.

    Segments are keyed to the first sample pushed, so any cut into chunks gives the same bits. ``shift`` pairs sample i
    of a with sample i + shift of b: near the true delay, segments of both hold the same stretch of the source and
    nothing of the coherence is lost; the phase of S12 is turned back.

    Samples may be int16, float32 or float64 of any size between 1e-75 and 1e75: each segment is brought near 1 in
    float64, transformed in float32 (what that adds lies 130 dB below the segment) and summed in float64. ``exact``: the
    transform is in float64 too, several times slower.
    """

    VERSION = 2
    KEYS = frozenset(("v", "fs", "nperseg", "shift", "per_part", "exact", "sums"))

    def __init__(self, fs: float, nperseg: int, *, shift: int = 0, per_part: int = 8, exact: bool = False) -> None:
        checked(nperseg, shift, per_part)
        self.fs, self.nperseg, self.shift, self.per_part, self.exact = fs, nperseg, shift, per_part, exact
        self.hop = nperseg // 2
        self.span = nperseg + abs(shift)  # samples a segment needs
        self._sums = averages(nperseg, shift, per_part, exact=exact)

    @property
    def layout(self) -> tuple[float, int, int, int]:
        """What must be equal for averages to be continued: rate, segment, shift and segments in a part."""
        return self.fs, self.nperseg, self.shift, self.per_part

    @property
    def seen(self) -> int:
        """Segments, used or left out."""
        return self._sums.seen

    @property
    def used(self) -> int:
        """Segments in the averages."""
        return self._sums.used

    def push(self, x: NDArray[Any] | Sequence[NDArray[Any]]) -> None:
        """Take samples [2, n]."""
        a, b = samples(x[0]), samples(x[1])
        if a.dtype != b.dtype:
            a, b = a.astype(np.float64), b.astype(np.float64)
        self._sums.push(a, b)

    def missing(self, segments: int) -> int:
        """Samples still to come, without a seam, before ``segments`` segments have been seen; 0 when they have."""
        if self.seen >= segments:
            return 0
        return (segments - self.seen - 1) * self.hop + self.span - self._sums.waiting

    def break_off(self) -> None:
        """The next sample does not continue this one: forget the segment begun, keep the averages."""
        self._sums.break_off()

    def spectra(self) -> Spectra:
        """The averages so far."""
        return Spectra.of(self.fs, self.nperseg, *self._sums.read(), self.used, self.seen)

    def save(self) -> dict[str, Any]:
        """State as a map of plain values and bytes."""
        return {"v": self.VERSION, "fs": self.fs, "nperseg": self.nperseg, "shift": self.shift, "per_part": self.per_part,
                "exact": self.exact, "sums": self._sums.save()}

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> CrossAverage:
        """What `save` gave, to the bit; StateError for anything else."""
        try:
            if state["v"] != cls.VERSION:
                raise StateError(f"cross spectra of version {state['v']}, this build takes {cls.VERSION}")
            if strange := state.keys() ^ cls.KEYS:
                raise StateError(f"cross spectra hold {', '.join(sorted(cls.KEYS))}, differ in {', '.join(map(str, strange))}")
            new = cls(state["fs"], state["nperseg"], shift=state["shift"], per_part=state["per_part"],
                      exact=state["exact"])
            new._sums.load(state["sums"])
        except (KeyError, TypeError, ValueError, OverflowError, MemoryError) as e:
            raise e if isinstance(e, StateError) else StateError(f"cross spectra cannot be restored: {e}") from e
        return new


def part_length(segments: int) -> int:
    """Segments in a part of a record: about six parts, none shorter than four."""
    return max(segments // 6, 4)


def segments_in(n: int, nperseg: int, shift: int = 0) -> int:
    """Half-overlapping segments of two rows of n samples, apart by a shift."""
    return max((n - nperseg - abs(shift)) // (nperseg // 2) + 1, 0)


def cross_spectra(a: ArrayLike, b: ArrayLike, fs: float, nperseg: int, *, shift: int = 0) -> Spectra:
    """Averaged spectra of two whole recordings; float64 is computed in float64, int16 and float32 as in `CrossAverage`."""
    x, y = np.asarray(a), np.asarray(b)
    checked(nperseg, shift)
    per_part = part_length(segments_in(x.size, nperseg, shift))
    average = CrossAverage(fs, nperseg, shift=shift, per_part=per_part, exact=wide(x, y))
    average.push((x, y))
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
