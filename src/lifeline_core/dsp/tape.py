"""Samples behind a high-pass, the ratio that triggers on them, the last of them for a pick, and the event cut from them.

Rows may be looked at together: the components of one place are one trace, the length of their vector. A component whose sample
is missing (not finite) counts as none, so that the length is at least what is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.dsp.filters import SosFilter, highpass
from lifeline_core.dsp.onset import StaLta, aic_onset
from lifeline_core.dsp.trigger import Past, Trigger
from lifeline_core.errors import StateError
from lifeline_core.model import NS

Samples = NDArray[np.float32]
IDLE, PICK, GO = range(3)  # nothing; triggered, the window of the pick fills; picked and going on


def lengths(y: Samples, places: Sequence[Sequence[int]]) -> Samples:
    """float32[n_places, n]: of a place with one row that row, of one with several the length of their vector; NaN where every
    component is missing.

    >>> lengths(np.float32([[3, np.nan], [4, 2]]), [[0, 1]]).tolist()
    [[5.0, 2.0]]
    """
    if all(len(rows) == 1 for rows in places):
        return y if [rows[0] for rows in places] == list(range(len(y))) else y[[rows[0] for rows in places]]
    out = np.empty((len(places), y.shape[1]), np.float32)
    for row, rows in zip(out, places, strict=True):
        if len(rows) == 1:
            row[:] = y[rows[0]]
            continue
        part = y[list(rows)].astype(np.float64)
        finite = np.isfinite(part)
        row[:] = np.where(finite.any(axis=0), np.sqrt(np.sum(np.where(finite, part, 0.0) ** 2, axis=0)), np.nan)
    return out


class Alone:
    """Traces of one row each: both filters in one pass."""

    def __init__(self, rows: int, fs: float, dc_hz: float, n_sta: int, n_lta: int, on: float) -> None:
        self._trigger = Trigger(rows, fs, dc_hz, n_sta, n_lta, on=on)
        self.push, self.reset = self._trigger.push, self._trigger.reset
        self.taker, self.shut, self.taken = self._trigger.taker, self._trigger.shut, self._trigger.taken

    def save(self) -> dict[str, Any]:
        return {"trigger": self._trigger.save()}

    def load(self, state: Mapping[str, Any]) -> None:
        self._trigger.load(state["trigger"])


class Together:
    """Traces of several rows: the rows behind the high-pass, their lengths, the ratio of those."""

    def __init__(self, places: Sequence[Sequence[int]], fs: float, dc_hz: float, n_sta: int, n_lta: int, on: float) -> None:
        rows = sum(map(len, places))
        self._places, self._on = places, on
        self._filter = SosFilter(highpass(fs, dc_hz), rows)
        self._ratio = StaLta(len(places), n_sta, n_lta)
        self._settled = [False] * rows

    def push(self, x: Samples, *, whole: bool = False) -> tuple[Samples, Samples | None]:
        """As `Trigger.push`; a channel's first finite sample becomes the filter's rest position."""
        for row, done in enumerate(self._settled):
            if not done and (finite := np.flatnonzero(np.isfinite(x[row]))).size:
                self._filter.settle(row, float(x[row, finite[0]]))
                self._settled[row] = True
        y = lengths(self._filter.push(x), self._places)
        ratio = self._ratio.push(y)
        return y, ratio if whole or np.fmax.reduce(ratio, axis=None, initial=0.0) >= self._on else None

    def reset(self) -> None:
        self._ratio.reset()
        self._filter.z[:] = 0.0
        self._settled = [False] * len(self._settled)

    def save(self) -> dict[str, Any]:
        return {"filter": self._filter.save(), "ratio": self._ratio.save(), "settled": list(self._settled)}

    def load(self, state: Mapping[str, Any]) -> None:
        if len(state["settled"]) != len(self._settled):
            raise StateError(f"tape: saved state is of {len(state['settled'])} rows, not {len(self._settled)}")
        self._filter.load(state["filter"])
        self._ratio.load(state["ratio"])
        self._settled = [bool(done) for done in state["settled"]]


class Tape:
    """The traces of one group, their ratios, and the last of them for the pick.

    Parameters
    ----------
    places : rows that are one trace; each row once.
    dc_hz : corner of the high-pass of order 2. sta_s, lta_s, on : of the ratio, and the level that matters.
    before_s, after_s : the window of a pick, about the sample that triggered.
    """

    def __init__(self, places: Sequence[Sequence[int]], fs: float, *, dc_hz: float, sta_s: float, lta_s: float, on: float,
                 before_s: float, after_s: float) -> None:
        self.places = [list(rows) for rows in places]
        self.after = max(1, round(after_s * fs))
        self.span = max(2, round(before_s * fs)) + self.after + 1
        n_sta = max(1, round(sta_s * fs))
        n_lta = max(n_sta + 1, round(lta_s * fs))
        alone = self.places == [[row] for row in range(len(self.places))]
        self._ways: Alone | Together = (Alone(len(self.places), fs, dc_hz, n_sta, n_lta, on) if alone else
                                        Together(self.places, fs, dc_hz, n_sta, n_lta, on))
        self._past = Past(len(self.places), self.span)
        self._none = self._new = np.empty((len(self.places), 0), np.float32)  # what was pushed last

    def push(self, x: NDArray[Any], *, whole: bool = False) -> Samples | None:
        """Ratios of the traces, None where none reaches ``on``; those before the first that does are told with ``whole``."""
        self._new, ratio = self._ways.push(np.ascontiguousarray(x, dtype=np.float32), whole=whole)
        return ratio

    def taker(self) -> object | None:
        """The same, where none reaches ``on``, for pieces that the assembler hands out; None where there is no such way."""
        return self._ways.taker(self._past) if isinstance(self._ways, Alone) else None

    def shut(self, closed: bool) -> None:
        """Whether the taker leaves everything alone for now: all ratios are wanted."""
        if isinstance(self._ways, Alone):
            self._ways.shut(closed)

    def taken(self) -> tuple[int, int, int, int, int] | None:
        """What the taker took since the last call: (anchor_ns, index behind the last sample, rate_num, rate_den, flags)."""
        return self._ways.taken() if isinstance(self._ways, Alone) else None

    def join(self) -> Samples:
        """All samples at hand: those pushed last, and ``span`` before them unless there were fewer."""
        past: Samples = self._past.read()
        return np.concatenate([past, self._new], axis=1) if self._new.shape[1] else past

    def trim(self) -> None:
        """Let go of what lies before the last ``span`` samples."""
        self._past.put(self._new)
        self._new = self._none

    def cut(self) -> None:
        """What follows does not join: no window reaches back over here."""
        self._past.clear()
        self._new = self._none

    def reset(self) -> None:
        self.cut()
        self._ways.reset()

    def save(self) -> dict[str, Any]:
        return {"ways": self._ways.save(), "past": self.join()[:, -self.span :].tobytes()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `save` gave; StateError where it is of other rows, places or windows."""
        rows = len(self.places)
        past = np.frombuffer(state["past"], np.float32)
        if past.size % rows or past.size > rows * self.span:
            raise StateError(f"tape: saved samples do not fit {rows} traces of {self.span}")
        try:
            self._ways.load(state["ways"])
        except (KeyError, TypeError) as error:
            raise StateError(f"tape: saved state is of other places or damaged: {error!r}") from error
        self.cut()
        self._past.put(past.reshape(rows, -1))


@dataclass(frozen=True, slots=True)
class Heard:
    """What a block is for one trace: the tape's samples up to the block's end, the block's ratios, and where it is wanted
    |a| and |v| of its motion."""

    joined: Samples
    ratio: Samples
    a: Samples | None = None
    v: Samples | None = None

    def size(self) -> Samples:
        """Of the block's samples; NaN where they are not finite."""
        size: Samples = np.abs(self.joined[len(self.joined) - len(self.ratio) :])
        size[~np.isfinite(size)] = np.nan
        return size

    def before(self, stop: int, span: int) -> Samples:
        """The last ``span`` samples before the block's sample ``stop``, or as many as there are."""
        end = len(self.joined) - len(self.ratio) + stop
        return self.joined[max(0, end - span) : end]


@dataclass(slots=True)
class Event:
    """One trace's trigger: the time base of its sample, and what came since."""

    phase: int = IDLE
    anchor_ns: int = 0
    index: int = 0
    rate_num: int = 1
    rate_den: int = 1
    left: int = 0  # samples until the window of the pick is full
    below: int = 0  # samples in a row with the ratio below off
    onset_ns: int = 0
    peak: float = 0.0  # since the onset
    ratio: float = 0.0  # the largest
    quality: float = 0.0  # of the pick
    pga: float = 0.0  # largest |a| and |v| since the trigger
    pgv: float = 0.0

    def time_ns(self, offset: int) -> int:
        """Time of the sample ``offset`` behind the trigger, as `Block.time_ns` gives it."""
        return self.anchor_ns + (self.index + offset) * self.rate_den * NS // self.rate_num

    def follow(self, heard: Heard, begin: int, end: int, off: float) -> None:
        """Take samples [begin, end) of a block to what was seen; all but the peak."""
        ratio = heard.ratio[begin:end]
        held = np.flatnonzero(ratio >= off)
        self.below = len(ratio) - 1 - int(held[-1]) if held.size else self.below + len(ratio)
        self.ratio = float(np.fmax.reduce(ratio, initial=self.ratio))
        if heard.a is not None and heard.v is not None:
            self.pga = float(np.fmax.reduce(heard.a[begin:end], initial=self.pga))
            self.pgv = float(np.fmax.reduce(heard.v[begin:end], initial=self.pgv))

    def over(self, ratio: Samples, off: float, hold: int) -> int:
        """Index of the sample that ends the event, the last of ``hold`` in a row below off; beyond the samples where none does."""
        if self.below + len(ratio) < hold:
            return len(ratio)
        edges = np.concatenate([[-1 - self.below], np.flatnonzero(ratio >= off), [len(ratio)]])
        runs = np.flatnonzero(np.diff(edges) > hold)
        return max(0, int(edges[runs[0]]) + hold) if runs.size else len(ratio)

    def pick(self, window: Samples, after: int) -> None:
        """Set onset and peak from the window, whose last sample is ``after`` behind the trigger."""
        trigger = len(window) - 1 - after
        finite = np.flatnonzero(np.isfinite(window))
        at, self.phase = trigger, GO
        if finite.size >= 3:
            index, self.quality = aic_onset(window[finite])
            if self.quality > 0:
                at = min(trigger, int(finite[index + 1]))  # what triggered had begun by then
        self.onset_ns = self.time_ns(at - trigger)
        self.peak = float(np.abs(window[finite[finite >= at]]).max(initial=0.0))

    def save(self) -> list[Any]:
        return list(astuple(self))
