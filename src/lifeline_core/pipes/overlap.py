"""What two loggers recorded at the same time, out of all their recordings of a night, on one grid of samples.

::

    a  |-----------|      |--------|
    b      |-------------------|             a gap between two common stretches is one NaN in both rows:
    a'     |-------|.N.|--|                  no segment of an averaged spectrum reaches over it
    b'     |-------|.N.|--|

Two recordings that know no time begin together where the rest of their names (the label) is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any

import numpy as np
from numpy.typing import NDArray

NS = 1_000_000_000
# Stretches whose grids lie further apart than this part of a sample are brought onto one grid by interpolation.
SAME_GRID = 0.01


@dataclass(frozen=True)
class Take:
    """One gap-free recording of a logger. ``t0_ns`` UTC of the first sample; None: unknown, ``label`` tells takes apart."""

    t0_ns: int | None
    label: str
    rate_hz: float
    x: NDArray[Any]

    @property
    def seconds(self) -> float:
        return self.x.size / self.rate_hz

    @property
    def span(self) -> tuple[int | None, str, float, int]:
        """Equal for recordings of the same stretch on the same grid."""
        return self.t0_ns, self.label if self.t0_ns is None else "", self.rate_hz, self.x.size

    @property
    def stop_ns(self) -> int:
        """One sample interval behind the last sample; only where the time is known."""
        assert self.t0_ns is not None
        return self.t0_ns + round(self.x.size * NS / self.rate_hz)

    def cut(self, start: int, stop: int) -> Take:
        """Samples start .. stop."""
        t0 = None if self.t0_ns is None else self.t0_ns + round(start * NS / self.rate_hz)
        return Take(t0, self.label, self.rate_hz, self.x[start:stop])


@dataclass(frozen=True)
class Common:
    """Rows of equal length and rate. ``later_s``: how much later than a's its sample of b was taken, below a sample."""

    a: NDArray[Any]
    b: NDArray[Any]
    rate_hz: float
    later_s: float
    stretches: int
    seconds: float
    t0_ns: int | None


def night_of(t_ns: int, zone: tzinfo) -> date:
    """The date of a night's morning: it lasts from noon to noon, local time."""
    return (datetime.fromtimestamp(t_ns / NS, zone) + timedelta(hours=12)).date()


def within_hours(take: Take, hours: tuple[time, time], zone: tzinfo) -> list[Take]:
    """The parts of a recording inside the quiet hours, local time; all of it where the time is unknown.

    Hours that end before they begin run over midnight.
    """
    if take.t0_ns is None:
        return [take]
    found: list[Take] = []
    day = datetime.fromtimestamp(take.t0_ns / NS, zone).date() - timedelta(days=1)
    while True:
        begin = datetime.combine(day, hours[0], zone)
        end = datetime.combine(day if hours[1] > hours[0] else day + timedelta(days=1), hours[1], zone)
        first, last = (int(t.timestamp()) * NS for t in (begin, end))
        if first >= take.stop_ns:
            return found
        start = max(_index(take, first), 0)
        stop = min(_index(take, last), take.x.size)
        if stop > start:
            found.append(take.cut(start, stop))
        day += timedelta(days=1)


def _index(take: Take, t_ns: int) -> int:
    """The first sample at or behind a time."""
    assert take.t0_ns is not None
    return int(np.ceil((t_ns - take.t0_ns) * take.rate_hz / NS - 1e-6))


def common(a: Sequence[Take], b: Sequence[Take], *, shortest_s: float) -> Common | str:
    """All that was recorded by both at once; or in words why nothing was.

    Parameters
    ----------
    a, b : sequence of Take
        All recordings of either logger.
    shortest_s : float
        Shorter stretches are not used.

    Returns
    -------
    Common or str
        ``word: numbers`` where there is nothing: rate-mismatch, no-common-time, too-short.
    """
    rates = {t.rate_hz for t in (*a, *b)}
    low, high = min(rates), max(rates)
    if high > low * (1.0 + 1e-9):
        return f"rate-mismatch: {low:g} and {high:g} samples per second"
    pieces = sorted(_stretches(a, b), key=lambda p: (p[0].t0_ns or 0, p[0].label))
    if not pieces:
        known = [sum(t.t0_ns is not None for t in takes) for takes in (a, b)]
        return f"no-common-time: {len(a)} and {len(b)} recordings ({known[0]} and {known[1]} know their time) do not overlap"
    longest = max(p.seconds for p, _ in pieces)
    pieces = [p for p in pieces if p[0].seconds >= shortest_s]
    if not pieces:
        return f"too-short: the longest common stretch is {longest:.1f} s, {shortest_s:g} s are needed"
    return _joined(pieces)


def _stretches(a: Iterable[Take], b: Sequence[Take]) -> Iterable[tuple[Take, Take]]:
    for p in a:
        for q in b:
            if p.t0_ns is None or q.t0_ns is None:
                if p.t0_ns is q.t0_ns and p.label == q.label:
                    n = min(p.x.size, q.x.size)
                    yield p.cut(0, n), q.cut(0, n)
                continue
            apart = round((q.t0_ns - p.t0_ns) * p.rate_hz / NS)  # b begins so many samples later
            n = min(p.x.size - max(apart, 0), q.x.size - max(-apart, 0))
            if n > 0:
                yield p.cut(max(apart, 0), max(apart, 0) + n), q.cut(max(-apart, 0), max(-apart, 0) + n)


def _joined(pieces: Sequence[tuple[Take, Take]]) -> Common:
    """Stretches one behind the other, one NaN between; b's grid as in the first of them."""
    rate = pieces[0][0].rate_hz
    later = [0 if p.t0_ns is None or q.t0_ns is None else q.t0_ns - p.t0_ns for p, q in pieces]
    rows: tuple[list[NDArray[Any]], list[NDArray[Any]]] = ([], [])
    for (p, q), ns in zip(pieces, later, strict=True):
        off = (ns - later[0]) * rate / NS
        kind = np.result_type(p.x, q.x, np.float32)
        gap = [np.full(1, np.nan, kind)] if rows[0] else []
        rows[0].extend([*gap, p.x.astype(kind, copy=False)])
        rows[1].extend([*gap, (_moved(q.x, off) if abs(off) > SAME_GRID else q.x).astype(kind, copy=False)])
    a, b = (r[0] if len(r) == 1 else np.concatenate(r) for r in rows)
    return Common(a, b, rate, later[0] / NS, len(pieces), sum(p.seconds for p, _ in pieces), pieces[0][0].t0_ns)


def _moved(x: NDArray[Any], samples: float) -> NDArray[Any]:
    """x(t) for samples taken ``samples`` too late, at the times meant; NaN stay where they are."""
    bad = ~np.isfinite(x)
    y = np.where(bad, 0.0, x).astype(np.float64)
    turn = np.exp(-2j * np.pi * np.fft.rfftfreq(y.size) * samples)
    moved: NDArray[Any] = np.fft.irfft(np.fft.rfft(y) * turn, y.size)
    moved[bad] = np.nan
    return moved
