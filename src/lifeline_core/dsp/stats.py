"""What samples amount to in one pass (`describe`, `Bins`), and what they betray about their sensor (`Guards`).

A bin of ``bin_ns`` begins at every multiple of bin_ns since 1970 UTC, so ten-minute bins begin at :00, :10, :20 ... It
closes with the last sample that lies in it (known from the sample's own time), with a later sample, or on `Bins.flush`.

    08:40          08:50          09:00                   bin b holds the samples with t // bin_ns == b
    |==============|==============|
     x x x x x x x x . . . x x x x                        x sample    . lost: the bin goes on with fewer samples

Sums are double, about the first sample; the numbers do not depend on how the samples arrive (kernels/stats.h).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import lifeline_core.dsp._stats as _stats
from lifeline_core.dsp.threads import shared
from lifeline_core.errors import StateError

NS = 1_000_000_000
HEAD = struct.Struct("<4sIIqqqd")
VERSION = 2


@dataclass(frozen=True, slots=True)
class Description:
    """What `describe` answers: arrays of the shape of x without its last axis.

    count, bad : finite samples, and those that are not; int64. All else is float64 of the finite ones, NaN if there are none.
    min, max, mean : in the unit of x.
    rms, std : root of the mean square about 0, and about the mean (divided by count).
    crest : max abs(x) / rms, at least 1; a sine has sqrt 2. NaN where rms is 0.
    skewness, kurtosis : m3 / m2^1.5 and m4 / m2^2 of the moments about the mean (divided by count). Kurtosis is Pearson's: a
        normal distribution has 3, a sine 1.5, blows more. NaN where std is 0.
    """

    count: NDArray[np.int64]
    bad: NDArray[np.int64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    mean: NDArray[np.float64]
    rms: NDArray[np.float64]
    std: NDArray[np.float64]
    crest: NDArray[np.float64]
    skewness: NDArray[np.float64]
    kurtosis: NDArray[np.float64]


def describe(x: ArrayLike, *, threads: int = 1) -> Description:
    """Count, extremes, mean, RMS, deviation, crest factor, skewness and kurtosis along the last axis, in one pass.

    With K the first finite sample, m = S1 / n and sums in float64 (n terms of float32 would cost the mean its digits, sums about
    0 those of the deviation where there is an offset)::

        Sp = sum (x - K)^p      mean = K + m      std^2 = S2/n - m^2      kurtosis std^4 = S4/n - 4 m S3/n + 6 m^2 S2/n - 3 m^4

    Samples that are not finite are counted and left out. `Bins` gives the same numbers of a stream.

    Parameters
    ----------
    x : [..., n]; float32 is read as it is, everything else as float64. Of float64, what lies within 1e-75 .. 1e75 of the first
        sample has a kurtosis.
    threads : at most so many share the rows; the numbers do not depend on it.

    Raises
    ------
    ValueError
        Empty input, or threads below 1.

    Source
    ------
    K. Pearson, Das Fehlergesetz und seine Verallgemeinerungen, Biometrika 4 (1905) 169-212 (kurtosis).

    Examples
    --------
    >>> d = describe(np.float32([3, -1, np.nan, 3, -1]))
    >>> d.count.item(), d.bad.item(), d.mean.item(), d.std.item(), d.kurtosis.item()
    (4, 1, 1.0, 2.0, 1.0)
    """
    x = np.asarray(x)
    if x.ndim == 0 or x.size == 0:
        raise ValueError(f"describe: x must have samples along its last axis, has shape {x.shape}")
    rows = np.ascontiguousarray(x.reshape(-1, x.shape[-1]), np.float32 if x.dtype == np.float32 else np.float64)
    found = np.empty(len(rows), _stats.ROW)
    shared(lambda a, b: _stats.describe(rows, found, a, b), len(rows), threads)
    shape = x.shape[:-1]
    return Description(**{name: found[name].reshape(shape) for name in Description.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class Bin:
    """One closed bin; ``rows`` has one record for each channel.

    start_ns, bin_ns : where the bin lies.
    first_ns, end_ns : time of its first sample, and of the end of its last one (the time the next one would have).
    closed_ns : time at which it could be said: end_ns, or the time of the later sample that closed it.
    seen, expected : samples that came (finite or not), and that the rate promises.
    rows : fields count (finite samples), bad (not finite), clipped, flat_run (longest run of identical samples that reaches
        into the bin), mean, rms (about 0), std (about the mean), min, max, sum, sum_sq, crest, skewness, kurtosis (see
        `Description`); NaN where count is 0.
    """

    start_ns: int
    bin_ns: int
    first_ns: int
    end_ns: int
    closed_ns: int
    seen: int
    expected: float
    rows: NDArray[Any]

    def coverage(self, row: int) -> float:
        """Finite samples over expected ones, at most 1."""
        return min(1.0, float(self.rows["count"][row]) / self.expected)


class Bins:
    """The bins of a stream of regular blocks.

    Parameters
    ----------
    n_ch : rows.
    bin_ns : length of a bin, ns.
    ends : for each row the ends of the sensor's range or None; a sample at or beyond one counts as clipped.

    Examples
    --------
    Two samples a second from 1970 on, in bins of two seconds:

    >>> bins = Bins(1, 2 * NS)
    >>> closed = bins.push(np.float32([[1, 3, 1, 3, 7, 7]]), 0, 0, 2, 1)
    >>> [(b.start_ns // NS, b.rows["mean"][0].item(), b.rows["std"][0].item()) for b in closed]
    [(0, 2.0, 1.0)]
    >>> bins.flush().coverage(0)
    0.5
    """

    def __init__(self, n_ch: int, bin_ns: int, ends: Sequence[tuple[float, float] | None] | None = None) -> None:
        if n_ch < 1 or bin_ns < 1:
            raise ValueError(f"n_ch and bin_ns must be at least 1, not {n_ch} and {bin_ns}")
        ends = [None] * n_ch if ends is None else ends
        if len(ends) != n_ch:
            raise ValueError(f"ends must have one entry for each of {n_ch} rows, not {len(ends)}")
        pairs = np.array([(np.nan, np.nan) if e is None else e for e in ends], np.float32)
        self.n_ch, self.bin_ns = n_ch, int(bin_ns)
        self._cells = _stats.Cells(np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1]))
        self._number, self._first_ns, self._end_ns, self._rate = 0, 0, 0, 0.0

    @property
    def seen(self) -> int:
        """Samples in the open bin."""
        return int(self._cells.seen)

    def walk(self, x: NDArray[np.float32], anchor_ns: int, index: int, rate_num: int,
             rate_den: int) -> Iterator[tuple[int, int, Bin | None]]:
        """Take float32[n_ch, n] in, piece by piece: (begin, end, bin) of each piece that lies in one bin.

        ``bin`` is what closed behind the piece; a piece with begin == end only says that the bin before it is closed.
        Sample i is at anchor_ns + (index + i) * rate_den * 1e9 // rate_num.
        """
        begin, n = 0, x.shape[1]
        self._settle()
        while begin < n:
            number, left = _stats.bin_of(anchor_ns, index + begin, rate_num, rate_den, self.bin_ns)
            if number != self._number and self._cells.seen:
                yield begin, begin, self._close(_time(anchor_ns, index + begin, rate_num, rate_den))
            if not self._cells.seen:
                self._number, self._first_ns = number, _time(anchor_ns, index + begin, rate_num, rate_den)
                self._rate = rate_num / rate_den
            end = min(n, begin + left)
            self._cells.reach(anchor_ns, index + begin, index + begin + left, rate_num, rate_den)
            self._cells.add(x[:, begin:end])
            self._end_ns = _time(anchor_ns, index + end, rate_num, rate_den)
            yield begin, end, self._close(self._end_ns) if end - begin == left else None
            begin = end

    def within(self, x: NDArray[np.float32], anchor_ns: int, index: int, rate_num: int, rate_den: int) -> bool:
        """Take float32[n_ch, n] in as `walk` does if all of it lies in the open bin and leaves room there: the short way. Otherwise
        nothing is done."""
        taken: bool = self._cells.within(x, anchor_ns, index, rate_num, rate_den)
        return taken

    def taker(self) -> object:
        """The same for pieces that the assembler hands out; what is flagged as history is left alone."""
        return self._cells.taker()

    def _settle(self) -> None:
        """Where the samples end that were taken the short way."""
        if (end_ns := self._cells.end_ns()) is not None:
            self._end_ns = end_ns

    def push(self, x: NDArray[np.float32], anchor_ns: int, index: int, rate_num: int, rate_den: int) -> list[Bin]:
        """Take float32[n_ch, n] in; the bins that closed."""
        return [b for _, _, b in self.walk(x, anchor_ns, index, rate_num, rate_den) if b is not None]

    def flush(self) -> Bin | None:
        """The open bin, closed where it stands; None if it is empty."""
        self._settle()
        return self._close(self._end_ns) if self._cells.seen else None

    def _close(self, closed_ns: int) -> Bin:
        found = Bin(self._number * self.bin_ns, self.bin_ns, self._first_ns, self._end_ns, closed_ns, self.seen,
                    self.bin_ns / NS * self._rate, self._cells.read())
        self._cells.renew()
        self._cells.reach(0, 0, 0, 1, 1)
        return found

    def save(self) -> bytes:
        """The state as versioned bytes."""
        self._settle()
        body: bytes = self._cells.save()
        return HEAD.pack(b"LLSB", VERSION, HEAD.size + len(body), self._number, self._first_ns, self._end_ns, self._rate) + body

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError if it is of another size or version."""
        if len(state) < HEAD.size or state[:12] != struct.pack("<4sII", b"LLSB", VERSION, len(state)):
            raise StateError(f"bins: saved state is of another version, size or build ({len(state)} bytes)")
        self._cells.load(state[HEAD.size :])
        self._cells.reach(0, 0, 0, 1, 1)
        _, _, _, self._number, self._first_ns, self._end_ns, self._rate = HEAD.unpack(state[: HEAD.size])


def _time(anchor_ns: int, index: int, rate_num: int, rate_den: int) -> int:
    return anchor_ns + index * rate_den * NS // rate_num


@dataclass(frozen=True, slots=True)
class Rule:
    """What makes a row suspicious; a need of 0 switches that part off.

    flat_need, flat_ns : identical samples in a row, and the time they must span (0: samples alone decide).
    window_ns, clip_need : so many samples at or beyond `ends` in one clock-aligned window.
    ends : of the sensor's range, None: unknown.
    rest : a value that may repeat for ever.
    """

    flat_need: int
    flat_ns: int
    window_ns: int
    clip_need: int
    ends: tuple[float, float] | None = None
    rest: float | None = None


@dataclass(frozen=True, slots=True)
class Sign:
    """A row became flat or clipped (``active``) or sound again, at ``t_ns``; it began at ``onset_ns``."""

    row: int
    kind: str
    active: bool
    t_ns: int
    onset_ns: int
    count: int
    value: float


class Guards:
    """Watches rows for flat lines and clipping, regular or irregular; kernels/stats.h states the rules."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        nan = float("nan")
        self._guards = _stats.Guards([
            (max(2, r.flat_need), r.flat_ns, max(1, r.window_ns), max(1, r.clip_need), *(r.ends or (nan, nan)),
             nan if r.rest is None else r.rest) for r in rules])
        self._flat = any(r.flat_need for r in rules)
        self._clip = any(r.clip_need for r in rules)

    def push(self, x: NDArray[np.float32], anchor_ns: int, index: int, rate_num: int, rate_den: int,
             t_ns: NDArray[np.int64] | None = None, flagged: bool = False) -> list[Sign]:
        """Signs in float32[n_ch, n], in order of time; there may be one rule more than rows, for the device as a whole.

        ``flagged``: the device says that every sample of the row of the last rule is clipped.
        """
        told = self._guards.push(x, anchor_ns, index, rate_num, rate_den, t_ns, self._flat, self._clip, flagged)
        return sorted((Sign(*e) for e in told), key=lambda s: s.t_ns) if told else []

    def taker(self, rows: int, clipped: int, refused: int, most_sd_us: int) -> object:
        """For pieces of so many rows that the assembler hands out: what makes no sign is taken. Blocks with one of the flags
        ``refused``, or from a clock worse than ``most_sd_us``, are left alone; ``clipped`` is the flag behind `push`'s
        ``flagged``."""
        return self._guards.taker(rows, self._flat, self._clip, clipped, refused, most_sd_us)

    def shut(self, closed: bool) -> None:
        """Whether the taker leaves everything alone for now."""
        self._guards.shut(closed)

    def taken(self) -> tuple[int, int, int, int, int] | None:
        """What the taker took since the last call: (anchor_ns, index behind the last sample, rate_num, rate_den, flags)."""
        found: tuple[int, int, int, int, int] | None = self._guards.taken()
        return found

    def seam(self) -> None:
        """Times before and after do not compare: runs that are not flat yet begin again."""
        self._guards.seam()

    def save(self) -> bytes:
        """The state as versioned bytes."""
        state: bytes = self._guards.save()
        return state

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave."""
        self._guards.load(state)
