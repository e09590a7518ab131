"""Follows the pressure at sensors, sample by sample, and says when one stepped to another level.

What a step is, and what noise may say, is told in `lifeline_core.pipes.step`; a compiled kernel looks at every bin of
1/16 s. Here its rare answers become onsets: the window of full-rate samples around a confirmed step goes to
`lifeline_core.pipes.onset.refine`. All decisions fall at bin ends, counted from the start of the stream: how it was cut
into blocks does not matter.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from lifeline_core.errors import StateError
from lifeline_core.pipes.onset import Onset, refine
from lifeline_core.pipes.step import KEPT_S, Layout, Learnt, Steps, followers

__all__ = ["KEPT_S", "LATENCY_S", "Follower", "Seen", "Steps"]

STEP = 1  # of kernels/step.h
LATENCY_S = Steps().latency_s


@dataclass(frozen=True, slots=True)
class Seen:
    """A confirmed step: at which sample (counted from the start) it could be said, and the onset counted likewise.

    Without an onset: the pressure has been quiet for ``hold_s``; ``back`` is the sample at which the level before the
    first step was there again, None where it was not.
    """

    sample: int
    onset: Onset | None
    row: int = 0
    back: int | None = None


class Follower:
    """The state of sensors of one rate; see the module's docstring.

    Parameters
    ----------
    fs : float
        Hz, at least 32.
    steps : Steps
        What counts.
    rows : int
        Sensors.
    """

    def __init__(self, fs: float, steps: Steps, rows: int = 1) -> None:
        self._at = Layout.of(fs, steps)
        self.fs, self.steps, self.rows = float(fs), steps, rows
        self.samples = 0  # taken since the start
        self._rows = followers(fs, steps, rows)

    def restart(self) -> None:
        """After a seam: the level is not known, the noise is."""
        self._rows.restart()

    def push(self, x: NDArray[np.float32]) -> list[Seen]:
        """Take the next samples, x[rows, n], contiguous; what could be said at the bins that they fill, in their order."""
        events = self._rows.push(x)
        before = self.samples
        self.samples += x.shape[1]
        if not events:
            return events
        found = []
        for used, row, what, bins, back, window in events:
            sample = before + used - 1
            if what == STEP:
                found.append(Seen(sample, self._refined(window, bins, sample), row))
            else:
                found.append(Seen(sample, None, row, sample + 1 - back if back >= 0 else None))
        return sorted(found, key=lambda seen: (seen.sample, seen.row)) if self.rows > 1 else found

    def _refined(self, window: NDArray[np.float32], bins: int, sample: int) -> Onset:
        """The onset, counted from the start, of a step whose meter left zero ``bins`` before the window's end."""
        x = filled(window)
        at = self._at
        reached = max(1, len(x) - at.n_post * at.size)
        started = len(x) - (min(bins, at.n_rise + at.n_post) + 1) * at.size
        n_quiet = min(max(started, at.n_pre * at.size // 2), reached)
        floor = max(1e-3 * self.steps.min_step, 2e-7 * float(np.abs(x).max()))
        onset = refine(x, reached, self.fs, n_quiet=max(2, n_quiet), floor=floor)
        return Onset(onset.index + sample + 1 - len(x), *astuple(onset)[1:])

    def last(self, row: int, n: int) -> NDArray[np.float32]:
        """The newest n samples of a row as they came, oldest first; NaN where they are not kept."""
        found: NDArray[np.float32] = self._rows.last(row, n)
        return found

    def kept(self, row: int) -> int:
        """Newest samples of a row that are kept: `KEPT_S` and more once as many have come."""
        return int(self._rows.kept(row))

    def back(self, row: int) -> int | None:
        """The sample at which the level before the first step of a row was there again, None where it was not yet."""
        ago = self._rows.back(row)
        return self.samples - ago if ago >= 0 else None

    def learnt(self, row: int) -> Learnt:
        """What a row's noise lock goes by."""
        return Learnt(*self._rows.learnt(row))

    def save(self) -> bytes:
        """Everything that matters for going on."""
        return self.samples.to_bytes(8, "little") + self._rows.save()

    def load(self, state: bytes) -> None:
        """Take what `save` gave; StateError for another version, rate, rule or number of rows."""
        if len(state) < 8:
            raise StateError(f"a follower's state begins with 8 bytes of samples, got {len(state)} bytes")
        self._rows.load(state[8:])
        self.samples = int.from_bytes(state[:8], "little")


def filled(window: NDArray[np.float32]) -> NDArray[np.float64]:
    """The samples with each hole filled by the last one before it; a hole at the start by the first after it."""
    x = window.astype(np.float64)
    good = np.isfinite(x)
    if good.all():
        return x
    at = np.maximum.accumulate(np.where(good, np.arange(len(x)), 0))
    x = x[at]
    x[~np.isfinite(x)] = x[np.isfinite(x)][0]
    return x
