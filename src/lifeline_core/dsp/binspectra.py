"""Statistics and one averaged spectrum of each clock-aligned bin of a stream, channel by channel.

::

    bins      |--- samples ---|--- samples --  gap  ------|     `Bins`: mean, RMS, peak, coverage
    segments  |[   ][   ][   ]|[   ][   ]  x   [   ][   ] |     `Running`: Welch, x the segment that a gap drops

Segments begin anew at every bin and every gap, so that a bin's spectrum is of that bin alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifeline_core.dsp.peaks import dominant_peaks
from lifeline_core.dsp.running import Running
from lifeline_core.dsp.stats import Bin, Bins
from lifeline_core.errors import StateError
from lifeline_core.model import Block

FEWEST_SEGMENTS = 4  # a spectrum averaged over fewer is not searched for peaks


def segment_length(rate_hz: float, bin_s: float, width_hz: float) -> int:
    """Samples per segment, a power of two: bins of the spectrum at most ``width_hz`` wide, at least four segments' length to a
    bin of the clock.

    >>> segment_length(100.0, 600.0, 0.1), segment_length(100.0, 10.0, 0.1)
    (1024, 128)
    """
    n = 16
    while n < 65536 and rate_hz / n > width_hz:
        n *= 2
    while n > 16 and n * 4 > rate_hz * bin_s:
        n //= 2
    return n


class PeakSearch(NamedTuple):
    """How dominant peaks are looked for: how many, from where to where (Hz; None: three bins of the spectrum, 0.45 of the
    rate), their least ratio to the local median, their least distance over their frequency."""

    most: int
    f_min: float | None
    f_max: float | None
    prominence: float
    separation: float

    def find(self, f: NDArray[np.float64], p: NDArray[np.float32], segments: int) -> list[float]:
        """Frequencies, the most prominent first; none in a spectrum of too few segments."""
        if segments < FEWEST_SEGMENTS:
            return []
        lowest = self.f_min if self.f_min is not None else 3.0 * float(f[1])
        highest = self.f_max if self.f_max is not None else 0.9 * float(f[-1])
        return dominant_peaks(f, p, self.most, f_min=lowest, f_max=highest, prominence=self.prominence,
                              separation=self.separation)


@dataclass(frozen=True, slots=True)
class BinSpectrum:
    """A closed bin.

    bin : its statistics, one row a channel.
    f : float64[n_f], Hz. p : float32[n_ch, n_f], one-sided density, unit^2 / Hz; NaN where there is no segment.
    segments : int64[n_ch] averaged in p. historical : whether any of its samples were back-filled.
    """

    bin: Bin
    f: NDArray[np.float64]
    p: NDArray[np.float32]
    segments: NDArray[np.int64]
    historical: bool

    def number(self, name: str, row: int) -> float:
        """One statistic of one channel; the names are those of `Bin.rows`."""
        return float(self.bin.rows[name][row])

    def peak(self, row: int) -> float:
        """The largest distance from the mean."""
        mean = self.number("mean", row)
        return max(self.number("max", row) - mean, mean - self.number("min", row))

    def band_rms(self, row: int, low_hz: float, high_hz: float) -> float:
        """RMS of what lies in [low, high)."""
        inside = (self.f >= low_hz) & (self.f < high_hz)
        return sqrt(float(np.sum(self.p[row][inside], dtype=np.float64)) * float(self.f[1]))


class BinSpectra:
    """The bins of a stream of regular blocks of ``n_ch`` rows, with a spectrum of segments of ``nperseg`` samples each.

    Parameters
    ----------
    ends : for each row the ends of the sensor's range or None; a sample at or beyond one counts as clipped.
    """

    def __init__(self, n_ch: int, rate_hz: float, bin_ns: int, nperseg: int, ends: Sequence[tuple[float, float] | None]) -> None:
        self._bins = Bins(n_ch, bin_ns, ends)
        self._running = Running(n_ch, rate_hz, nperseg=nperseg, skip_nan=True)
        self._historical = False
        self._sum_p: Any = 0.0  # of all bins, for people: not state
        self._sum_segments: Any = 0

    @property
    def f(self) -> NDArray[np.float64]:
        return self._running.f

    def within(self, block: Block) -> bool:
        """Take a block in as `push` does if no bin begins or closes in it: the short way. Otherwise nothing is done."""
        x = np.ascontiguousarray(block.x, dtype=np.float32)
        if not self._bins.within(x, block.anchor_ns, block.index, block.rate_num, block.rate_den):
            return False
        self._running.push(x)
        self._historical |= block.historical
        return True

    def takers(self) -> list[object]:
        """What takes pieces the short way when the assembler hands them out; none where samples go through Python."""
        spectra = self._running.taker()
        return [] if spectra is None else [self._bins.taker(), spectra]

    def push(self, block: Block) -> Iterator[BinSpectrum]:
        """Take a block in; the bins that close."""
        x = np.ascontiguousarray(block.x, dtype=np.float32)
        for begin, end, closed in self._bins.walk(x, block.anchor_ns, block.index, block.rate_num, block.rate_den):
            if end > begin:
                self._running.push(x[:, begin:end])
                self._historical |= block.historical
            if closed is not None:
                yield self._close(closed)

    def restart(self) -> None:
        """A seam: the bin goes on with what comes, the segment that was under way is dropped."""
        self._running.restart()

    def flush(self) -> Iterator[BinSpectrum]:
        """The open bin, closed where it stands; nothing if it is empty."""
        if (closed := self._bins.flush()) is not None:
            yield self._close(closed)

    def _close(self, closed: Bin) -> BinSpectrum:
        p, segments = self._running.read()
        found = BinSpectrum(closed, self.f, p, segments, self._historical)
        self._sum_p = self._sum_p + np.where(segments[:, None] > 0, p, np.float32(0)) * segments[:, None].astype(np.float32)
        self._sum_segments = self._sum_segments + segments
        self._running.reset()
        self._historical = False
        return found

    def whole(self, row: int) -> tuple[NDArray[np.float32], int]:
        """The spectrum of one channel over every bin since the start, and the segments in it; none: 0."""
        segments = int(self._sum_segments[row]) if np.ndim(self._sum_segments) else 0
        return (self._sum_p[row] / segments, segments) if segments else (np.empty(0, np.float32), 0)

    def save(self) -> dict[str, Any]:
        return {"bins": self._bins.save(), "running": self._running.save(), "historical": self._historical}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `save` gave; StateError where it is of other rows, segments or bins."""
        try:
            bins, running, historical = bytes(state["bins"]), bytes(state["running"]), bool(state["historical"])
        except (KeyError, TypeError) as error:
            raise StateError(f"binspectra: saved state is damaged: {error!r}") from error
        self._bins.load(bins)
        self._running.load(running)
        self._historical = historical
