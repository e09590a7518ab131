"""Passages cut from a stream: what rises from a slow baseline and comes back to it, with its onset, duration and peak.

::

    y      ------.      ,-peak-.        .---------   baseline: median of the quiet seconds of the last baseline_s;
                 |     /        \\       |            it stands still while something is passing
    e      . . . . . ./. . . . . \\. . . . . . . .    e = edge x peak, or ``off`` noises where these are more
                    |<- duration ->|

Noise is the robust scatter of the quiet seconds, within them and from one to the next. What does not come back within
``longest_s`` is no passage: a vehicle stands there, or the sensor has another zero. The baseline is then learned anew.

Source: none; robust location and scale as in P. J. Huber, Robust Statistics (1981), ch. 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

from lifeline_core.errors import StateError

Real = NDArray[np.float64]
SIGMA = 1.4826  # MAD of a normal distribution to its standard deviation
LEAST_QUIET = 5  # pieces that a baseline is learned from


@dataclass(frozen=True, slots=True)
class Rule:
    """``least`` deviation, in the unit of y, and ``on`` noises: what begins a passage. It is over when the deviation has been
    below half of that for ``hold`` bins. ``off``, ``edge``: see above; turns beyond the edge to one side of fewer than ``run``
    bins are the bridge's own vibration and lengthen nothing. ``longest`` bins, ``memory`` pieces of baseline.
    ``both``: deviations downwards count, too. ``prominence``: share of the peak by which a further one stands out."""

    least: float
    on: float = 6.0
    off: float = 3.0
    edge: float = 0.1
    hold: int = 10
    run: int = 1
    longest: int = 1200
    memory: int = 30
    both: bool = True
    prominence: float = 0.2


@dataclass(frozen=True, slots=True)
class Passage:
    """One passage of one row. ``onset``, ``end`` in bins since the start, between bins where the edge is crossed there;
    ``peak`` signed, about ``base``; ``at`` its bin; ``area`` of the deviation, unit x bins; ``peaks`` how many stand out;
    ``quality`` share of its bins that were measured; ``standing``: it did not come back in time, and is none."""

    row: int
    onset: float
    end: float
    peak: float
    at: int
    area: float
    peaks: int
    base: float
    noise: float
    quality: float
    standing: bool = False


@dataclass(slots=True)
class _Open:
    """A passage under way: bin of the first sample that reached the threshold (-1: none), and of the last above half of it."""

    first: int = -1
    last: int = -1
    limit: float = 0.0
    after: int = 0  # what lies before this bin belongs to the passage before


class Passages:
    """Cuts passages from ``rows`` channels, given in pieces of some bins: the answers depend on the pieces, so these should be
    of one length.

    >>> cut = Passages(1, Rule(least=1.0, hold=3, memory=6))
    >>> quiet = np.zeros((1, 10))
    >>> for _ in range(6):
    ...     found = cut.push(quiet, quiet)
    >>> bump = np.array([[0.0, 0, 2, 4, 2, 0, 0, 0, 0, 0]])
    >>> [(p.onset, p.end, p.peak) for p in cut.push(bump, bump)]
    [(61.2, 64.8, 4.0)]
    """

    def __init__(self, rows: int, rule: Rule) -> None:
        self.rows, self.rule = rows, rule
        self.n = 0  # bins so far
        self._clear()

    def _clear(self) -> None:
        self._past: Real = np.empty((2, self.rows, 0))  # y and its extremes
        self._quiet: Real = np.full((2, self.rows, self.rule.memory), np.nan)  # medians and scatters, the newest last
        self.base: Real = np.full(self.rows, np.nan)
        self.noise: Real = np.full(self.rows, np.nan)
        self._open = [_Open() for _ in range(self.rows)]

    @property
    def busy(self) -> bool:
        """Whether any row has a passage under way."""
        return any(o.first >= 0 for o in self._open)

    def seam(self, *, forget: bool) -> int:
        """What follows does not join; how many passages under way are lost by it. ``forget``: the baseline, too."""
        lost = sum(o.first >= 0 for o in self._open)
        quiet, base, noise = self._quiet, self.base, self.noise
        self._clear()
        if not forget:
            self._quiet, self.base, self.noise = quiet, base, noise
        self.n = 0
        return lost

    def push(self, y: Real, extreme: Real) -> list[Passage]:
        """What float64[rows, k] bins complete; ``extreme`` is where the peak is read, in other respects ``y`` decides."""
        k = y.shape[1]
        keep = self.rule.longest + 4 * self.rule.hold + 2 * k
        self._past = np.concatenate([self._past[:, :, -keep:], np.stack([y, extreme])], axis=2)
        self.n += k
        limit = np.maximum(self.rule.least, self.rule.on * self.noise)
        size = y - self.base[:, None]
        size = np.abs(size) if self.rule.both else size
        with np.errstate(invalid="ignore"):
            touched: NDArray[np.bool_] = np.asarray((size >= limit[:, None]).any(axis=1))
        found: list[Passage] = []
        for row in range(self.rows):
            if touched[row] or self._open[row].first >= 0:
                touched[row] = True
                found += self._scan(row, size[row], float(limit[row]))
        self._learn(~touched, y)
        return found

    def _learn(self, rows: NDArray[np.bool_], y: Real) -> None:
        """Take a quiet piece into the baseline of these rows; one of which less than half was measured tells nothing."""
        rows = rows & (np.isfinite(y).sum(axis=1) * 2 >= y.shape[1])
        if not rows.any():
            return
        part = np.where(np.isfinite(y[rows]), y[rows], np.nan)
        mid = _middle(part)
        spread = _middle(np.abs(part - mid[:, None]))
        self._quiet[:, rows, :-1] = self._quiet[:, rows, 1:]
        self._quiet[0, rows, -1], self._quiet[1, rows, -1] = mid, spread
        known = rows & (np.isfinite(self._quiet[0]).sum(axis=1) >= LEAST_QUIET)
        if known.any():
            mids, spreads = self._quiet[:, known]
            self.base[known] = _middle(mids)
            apart = _middle(np.abs(mids - self.base[known, None]))
            self.noise[known] = SIGMA * np.hypot(_middle(spreads), apart)

    def _scan(self, row: int, size: Real, limit: float) -> list[Passage]:
        """Follow one row through a piece."""
        o, k, start = self._open[row], size.size, self.n - size.size
        found, at = [], 0
        while at < k:
            if o.first < 0:
                over = np.flatnonzero(size[at:] >= limit)
                if not over.size:
                    break
                o.first = o.last = start + at + int(over[0])
                o.limit = limit
                at += int(over[0]) + 1
                continue
            held = np.flatnonzero(size[at:] >= 0.5 * o.limit) + at
            edges = np.concatenate([[o.last - start], held, [k]])
            ends = np.flatnonzero(np.diff(edges) > self.rule.hold)
            if ends.size:
                o.last = start + int(edges[ends[0]])
                at = int(edges[ends[0]]) + self.rule.hold + 1
                found.append(self._measure(row, o, start + at))
                self._open[row] = o = _Open(after=start + at)
            else:
                o.last, at = start + int(edges[-2]), k
                if self.n - o.first > self.rule.longest:
                    found.append(self._measure(row, o, self.n, standing=True))
                    self._forget(row)
        return found

    def _forget(self, row: int) -> None:
        self._open[row] = _Open(after=self.n)
        self._quiet[:, row] = np.nan
        self.base[row] = self.noise[row] = np.nan

    def deviation(self, rows: list[int], begin: int, end: int) -> Real:
        """y less the baseline of these rows from bin ``begin`` to before ``end``, as far as it is kept; 0 where unmeasured."""
        shift = self.n - self._past.shape[2]
        part = self._past[0, rows, max(0, begin - shift) : max(0, end - shift)] - self.base[rows, None]
        return np.where(np.isfinite(part), part, 0.0)

    def _measure(self, row: int, o: _Open, stop: int, *, standing: bool = False) -> Passage:
        """Onset, end and peak of what is over by bin ``stop``."""
        rule, base, noise = self.rule, float(self.base[row]), float(self.noise[row])
        shift = self.n - self._past.shape[2]
        begin = max(shift, o.after, o.first - 4 * rule.hold)
        d = self._past[0, row, begin - shift : stop - shift] - base
        size = np.abs(d) if rule.both else d
        extreme = self._past[1, row, begin - shift : stop - shift] - (base if rule.both else 0.0)
        first, last = o.first - begin, o.last - begin
        high = np.where(np.isfinite(extreme), np.abs(extreme), -1.0)[first : last + 1]
        at = first + int(np.argmax(high))
        peak = float(extreme[at])
        top = float(np.nanmax(size[first : last + 1]))
        edge = max(rule.edge * top, rule.off * noise)
        onset, end = _ends(d if rule.both else size, edge, rule.run, (first, last))
        inside = slice(max(0, int(np.ceil(onset))), int(end) + 1)
        sign = 1.0 if d[at] >= 0 or not rule.both else -1.0
        clean = np.where(np.isfinite(d), d, 0.0)
        need = max(rule.prominence * top, 2.0 * rule.off * noise)
        tops = find_peaks(np.concatenate([[0.0], sign * clean[inside], [0.0]]), prominence=need)[0]
        measured = np.isfinite(d[inside])
        return Passage(row, begin + onset, begin + end, peak, begin + at, float(clean[inside].sum()), max(1, len(tops)), base,
                       noise, float(measured.mean()) if measured.size else 0.0, standing)

    def save(self) -> dict[str, Any]:
        return {"n": self.n, "past": self._past.tobytes(), "quiet": self._quiet.tobytes(), "base": self.base.tobytes(),
                "noise": self.noise.tobytes(), "open": [list(astuple(o)) for o in self._open]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `save` gave; StateError for anything else."""
        try:
            past, quiet, base, noise = (np.frombuffer(bytes(state[k])).copy() for k in ("past", "quiet", "base", "noise"))
            opened, n = [_Open(int(a), int(b), float(c), int(d)) for a, b, c, d in state["open"]], int(state["n"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"passages: saved state is damaged: {error}") from error
        if quiet.size != self._quiet.size or past.size % (2 * self.rows) or past.size // (2 * self.rows) > n \
                or not base.size == noise.size == len(opened) == self.rows:
            raise StateError(f"passages: saved state is not of {self.rows} rows and {self.rule.memory} pieces")
        self._past, self._quiet = past.reshape(2, self.rows, -1), quiet.reshape(self._quiet.shape)
        self.base, self.noise, self._open, self.n = base, noise, opened, n


def _ends(d: Real, edge: float, run: int, between: tuple[int, int]) -> tuple[float, float]:
    """Where the deviation first comes beyond the edge and last goes back, between bins; turns to one side of fewer than ``run``
    bins do not count unless there are no others."""
    longest: list[tuple[int, int]] = []
    for side in (d, -d):
        beyond = np.concatenate([[False], side >= edge, [False]])
        turns = np.flatnonzero(beyond[1:] != beyond[:-1]).reshape(-1, 2)
        longest += [(int(a), int(b) - 1) for a, b in turns]
    held = [t for t in longest if t[1] - t[0] + 1 >= run] or longest or [between]
    first, last = min(a for a, _ in held), max(b for _, b in held)
    return _between(d, first, -1, edge), _between(d, last, 1, edge)


def _between(d: Real, i: int, way: int, edge: float) -> float:
    """From bin i on towards the next outer one, as far as the edge."""
    j = i + way
    if not 0 <= j < d.size or not np.isfinite(d[j]) or not abs(d[i]) >= edge:
        return float(i)
    here, there = abs(float(d[i])), float(d[j]) * (1.0 if d[i] >= 0 else -1.0)
    return i + way * (here - edge) / (here - there) if there < edge else float(i)


def _middle(x: Real) -> Real:
    """Median along the last axis; what is NaN is passed over."""
    return np.asarray(np.median(x, axis=-1) if np.isfinite(x).all() else np.nanmedian(x, axis=-1))
