"""Many loggers, many pairs: every segment of a logger is transformed once and serves all the pairs the logger is in.

::

    rows -> levelled, transformed once -> pair: sums over both -> analyse -> the delay
                                          pair: the later one transformed again, shifted by the delay -> analyse

The same passes as `correlate`, with the same verdicts to rounding. Pairs are worked through in an order in which they share
loggers, so that few rows' transforms are held at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import reverse_cuthill_mckee

from lifeline_core.dsp.threads import thread_count
from lifeline_core.pipes.correlation import Correlation, settle
from lifeline_core.pipes.cross import Planes, Transform, clipped, compiled, levelled, samples, wide
from lifeline_core.pipes.position import Section, travel_time
from lifeline_core.pipes.spectra import Spectra, checked, cross_spectra, part_length, segment_length, segments_in

Name = str | int
Rows = Mapping[str, NDArray[Any]] | Sequence[NDArray[Any]]
Progress = Callable[[int, int], object]
Held = TypeVar("Held", "Row", Planes)

ROOM = 96 << 20  # bytes of rows and transforms that a thread keeps
BLOCK = 64  # pairs that go to a thread at a time
SEARCH = 1.1  # a search goes this far beyond the travel time, to see what comes from outside


@dataclass(frozen=True, slots=True)
class Pair:
    """Two loggers with a pipe between them: names or numbers of rows, and the longest delay there can be.

    ``max_delay_s``: None leaves a quarter of a segment. `along` makes it from the pipe's sections.
    """

    a: Name
    b: Name
    max_delay_s: float | None = None

    @classmethod
    def along(cls, a: Name, b: Name, sections: Sequence[Section], fs: float) -> Pair:
        """Longest delay: 1.1 travel times and two samples, so that a peak from beyond a logger is seen as one."""
        return cls(a, b, SEARCH * travel_time(sections) + 2.0 / fs)


def in_order(pairs: Sequence[Pair]) -> list[int]:
    """Numbers of the pairs in an order in which neighbours share loggers (reverse Cuthill-McKee over the loggers).

    Contiguous slices of it are what to share out over processes.

    >>> in_order([Pair("a", "b"), Pair("c", "d"), Pair("b", "c")])
    [1, 2, 0]
    """
    number: dict[Name, int] = {}
    ends = [[number.setdefault(name, len(number)) for name in (p.a, p.b)] for p in pairs]
    if not ends:
        return []
    a, b = np.array(ends, np.int32).T
    links = coo_array((np.ones(2 * a.size, np.int8), (np.concatenate([a, b]), np.concatenate([b, a]))), shape=(len(number),) * 2)
    place = np.empty(len(number), np.intp)
    place[reverse_cuthill_mckee(links.tocsr(), symmetric_mode=True)] = np.arange(len(number))
    return [int(i) for i in np.lexsort((np.minimum(place[a], place[b]), np.maximum(place[a], place[b])))]


@dataclass(frozen=True, slots=True)
class Row:
    """One logger: samples off their mean and near 1, what a 1 stands for, how many there were, what share is clipped."""

    x: NDArray[np.float32]
    unit: float
    raw: NDArray[Any]
    clipped: float

    @classmethod
    def of(cls, x: NDArray[Any], name: Name) -> Row:
        raw = np.asarray(x)
        if raw.ndim != 1 or raw.size == 0 or raw.dtype.kind not in "fiub":
            raise ValueError(f"row {name!r} must be real samples [n], is {raw.dtype} of shape {raw.shape}")
        ready = samples(raw)
        level, unit = levelled(ready)
        return cls(level, unit, raw, clipped(ready))


class Desk:
    """The rows and transforms of one thread, the longest unused given up first."""

    def __init__(self, x: Rows, room: int = ROOM) -> None:
        self._x, self._room, self._held = x, room, 0
        self._kept: OrderedDict[tuple[Name, int], Any] = OrderedDict()  # of a row (0) and of its segments (their length)
        self._transforms: dict[int, Transform] = {}

    def _keep(self, key: tuple[Name, int], make: Callable[[], Held]) -> Held:
        found: Held | None = self._kept.pop(key, None)
        if found is None:
            found = make()
            self._held += _bytes(found)
        self._kept[key] = found
        while self._held > self._room and len(self._kept) > 4:  # a pair's two rows and their planes stay
            self._held -= _bytes(self._kept.popitem(last=False)[1])
        return found

    def row(self, name: Name) -> Row:
        return self._keep((name, 0), lambda: Row.of(self._x[name], name))  # type: ignore[index]

    def transform(self, nperseg: int) -> Transform:
        if nperseg not in self._transforms:
            self._transforms[nperseg] = Transform(nperseg)
        return self._transforms[nperseg]

    def planes(self, name: Name, nperseg: int) -> Planes:
        """Bins of all of a row's segments."""
        def make() -> Planes:
            row = self.row(name)
            return self.transform(nperseg).planes(row.x, row.unit, 0, segments_in(row.x.size, nperseg))

        return self._keep((name, nperseg), make)

    def spectra(self, pair: Pair, fs: float, nperseg: int, shift: int) -> Spectra:
        """As `cross_spectra` of the two rows; the row that begins later is transformed for the occasion."""
        a, b = self.row(pair.a), self.row(pair.b)
        if not compiled(nperseg) or wide(a.raw, b.raw):
            return cross_spectra(a.raw, b.raw, fs, nperseg, shift=shift)
        work, count = self.transform(nperseg), segments_in(a.x.size, nperseg, shift)
        pa = self.planes(pair.a, nperseg) if shift >= 0 else work.planes(a.x, a.unit, -shift, count)
        pb = self.planes(pair.b, nperseg) if shift <= 0 else work.planes(b.x, b.unit, shift, count)
        power, s12, parts, used = work.pair(pa, pb, count, part_length(count), shift)
        return Spectra.of(fs, nperseg, power, s12, parts, used, count)

    def correlate(self, pair: Pair, fs: float, nperseg: int | None, asked: Mapping[str, Any]) -> Correlation:
        """As `correlate` of the two rows."""
        a, b = self.row(pair.a), self.row(pair.b)
        n = a.x.size
        if b.x.size != n:
            raise ValueError(f"rows of a pair must be of the same length, {pair.a!r} has {n} samples, {pair.b!r} {b.x.size}")
        if pair.max_delay_s is not None and not 0.0 < pair.max_delay_s < n / fs:
            raise ValueError(f"max_delay_s must be above 0 and shorter than the record, is {pair.max_delay_s}")
        size = nperseg or segment_length(n, fs, pair.max_delay_s)
        if size > n:
            raise ValueError(f"the record must hold at least one segment of {size} samples, holds {n}")
        return settle(lambda shift: self.spectra(pair, fs, size, shift), max_delay_s=pair.max_delay_s,
                      clipped=max(a.clipped, b.clipped), **asked)


def _bytes(kept: Row | Planes) -> int:
    return kept.nbytes if isinstance(kept, Planes) else kept.x.nbytes + kept.raw.nbytes


def survey(x: Rows, pairs: Sequence[Pair], fs: float, *, nperseg: int | None = None, threads: int = 1,
           progress: Progress | None = None, **asked: Any) -> Iterator[tuple[int, Correlation]]:
    """Correlations of many pairs, as they come: ``(number of the pair, Correlation)``.

    Each equals ``correlate(x[pair.a], x[pair.b], fs, max_delay_s=pair.max_delay_s, ...)`` to rounding (a part in 1e6 of a
    spectrum), but a logger's segments are transformed once for all its pairs. About 100 MB are held per thread, whatever the
    number of loggers; a Correlation of 8192-sample segments holds some 200 kB, so keep of it what you need.

    Parameters
    ----------
    x : mapping of name to row, or sequence of rows
        int16, float32 or float64 [n], which began together. float64 is computed in float64, each pair by itself: several times
        slower. May be lazy: ``x[name]`` is asked when a row is needed, now and
        then again.
    pairs : sequence of Pair
        They are worked through in the order of `in_order`.
    fs : Hz, of all rows.
    nperseg : segment length, default as `correlate` chooses it for each pair.
    threads : of the kernels; the rest is Python and holds its lock, so share slices of ``in_order`` out over processes instead.
    progress : called with (pairs done, pairs) after each pair, from the thread that iterates.
    asked : keywords of `analyse`: weighting, band, mains_hz, polarity, demands ...

    Raises
    ------
    ValueError
        As `correlate`; at the call for what all pairs share, when the pair comes up for a row or a delay.
    KeyError, IndexError
        A pair names a row that is not there.

    Examples
    --------
    >>> s = np.random.default_rng(1).standard_normal(20000)
    >>> rows = {"a": s[50:], "b": s[:-50], "c": s[20:-30]}
    >>> found = dict(survey(rows, [Pair("a", "b"), Pair("a", "c")], 1000.0))
    >>> [round(found[i].delay_s * 1000, 2) for i in (0, 1)]
    [50.0, 30.0]
    """
    count = thread_count(threads)
    if not (np.isfinite(fs) and fs > 0):
        raise ValueError(f"fs must be above 0 and finite, is {fs}")
    if nperseg is not None:
        checked(nperseg)
    if taken := {"max_delay_s", "clipped"} & asked.keys():
        raise ValueError(f"{', '.join(sorted(taken))}: every pair has its own, may not be given for all")
    return _counted(_each(x, pairs, fs, nperseg, asked, count), len(pairs), progress)


def _counted(found: Iterator[tuple[int, Correlation]], total: int, progress: Progress | None) -> Iterator[tuple[int, Correlation]]:
    for done, one in enumerate(found, 1):
        if progress is not None:
            progress(done, total)
        yield one


def _each(x: Rows, pairs: Sequence[Pair], fs: float, nperseg: int | None, asked: Mapping[str, Any],
          threads: int) -> Iterator[tuple[int, Correlation]]:
    order = in_order(pairs)
    if threads == 1:
        desk = Desk(x)
        for i in order:
            yield i, desk.correlate(pairs[i], fs, nperseg, asked)
        return
    desks = [Desk(x) for _ in range(threads)]

    def block(numbers: list[int]) -> list[tuple[int, Correlation]]:
        desk = desks.pop()
        try:
            return [(i, desk.correlate(pairs[i], fs, nperseg, asked)) for i in numbers]
        finally:
            desks.append(desk)

    waiting: list[Future[list[tuple[int, Correlation]]]] = []
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(order), BLOCK):
            waiting.append(pool.submit(block, order[start : start + BLOCK]))
            if len(waiting) > threads:  # no more is worked ahead than is asked for
                yield from waiting.pop(0).result()
        for one in waiting:
            yield from one.result()
