r"""Rainflow counting of load cycles (ASTM E1049-85, 5.4.4) with state: whole histories, streams, and bins that do not grow.

              D
      B      /        B-C closes when it is known that the history turned at or beyond B, at D: one cycle of range |B - C|
     / \    /         A-D stays open: it may still become longer, and counts half where the history ends
    /   \  /
   A     \/
          C

Ranges and means are float64 whatever comes in: a list of cycles is no signal.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from math import inf, isfinite
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

import lifeline_core.dsp._rainflow as _rainflow
from lifeline_core.dsp.threads import shared
from lifeline_core.errors import StateError

Array = NDArray[np.float64]
# By dtype.char: choosing among the compiled forms anew at every call would cost more than a short block.
_PUSH = {"f": _rainflow.History.push["float"], "d": _rainflow.History.push["double"]}


class Cycles(NamedTuple):
    """Cycles in the order in which they close.

    ranges : float64[k], in the unit of the history, more than 0.
    means : float64[k], of the two ends.
    counts : float64[k], 1.0 or, for half cycles, 0.5.
    """

    ranges: Array
    means: Array
    counts: Array


class Rainflow:
    """The open load histories of ``rows`` channels; see `rainflow`.

    `push` tells cycles as they close, `residue` what is still open, `finish` tells that and begins anew: the cycles of all
    pushes and of `finish` are those of the whole, bit for bit, however it is cut. Memory: the reversals that are open, a
    few tens for most histories; as many as come while every swing is smaller than the one before it.

    Parameters
    ----------
    rows : channels, at least 1.
    gate : cycles of a smaller range are not told; in the unit of the history. Leaves all other cycles as they are.

    Examples
    --------
    >>> flow = Rainflow(1)
    >>> [c.ranges.tolist() for c in flow.push([-2, 1, -3, 5, -1, 3, -4])]
    [[3.0, 4.0]]
    >>> flow.push([4, -2])[0].ranges.tolist(), flow.finish()[0].counts.tolist()
    ([4.0, 8.0], [0.5, 0.5, 0.5])
    """

    TAG = b"LLrF"

    def __init__(self, rows: int, *, gate: float = 0.0) -> None:
        if rows < 1:
            raise ValueError(f"rainflow: at least one row is needed, are {rows}")
        if not (isfinite(gate) and gate >= 0.0):
            raise ValueError(f"rainflow: gate must be 0 or more and finite, is {gate}")
        self.rows, self.gate = int(rows), float(gate)
        self._histories = [_rainflow.History(self.gate) for _ in range(self.rows)]

    def push(self, x: ArrayLike, *, finish: bool = False, threads: int = 1) -> list[Cycles]:
        """The cycles that x[rows, n] (or [n], of one row) closes, row by row; n may be 0.

        ``finish`` adds the residue to them, but goes on from where the history is. ``threads`` share the rows.
        """
        return self._each(x, lambda history, row: Cycles(*_PUSH[row.dtype.char](history, row, finish)), threads)

    def residue(self) -> list[Cycles]:
        """What would be told if the histories ended here: cycles that the last sample closes, then half cycles."""
        return [Cycles(*h.residue()) for h in self._histories]

    def finish(self) -> list[Cycles]:
        """The residue; the next push begins a new history."""
        told = self.residue()
        for h in self._histories:
            h.restart()
        return told

    @property
    def bad(self) -> NDArray[np.int64]:
        """Samples of each row that were passed over because they were not finite."""
        return np.array([h.bad for h in self._histories], np.int64)

    @property
    def pending(self) -> NDArray[np.int64]:
        """Reversals of each row that belong to no closed cycle."""
        return np.array([h.top for h in self._histories], np.int64)

    def copy(self) -> Self:
        other = type(self)(self.rows, gate=self.gate)
        other._histories = [h.copy() for h in self._histories]
        return other

    def save(self) -> bytes:
        """The state as versioned bytes."""
        return struct.pack("<4sIQd", self.TAG, 1, self.rows, self.gate) + b"".join(h.save() for h in self._histories)

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError where it is of other rows, another gate or version."""
        head = struct.pack("<4sIQd", self.TAG, 1, self.rows, self.gate)
        if state[: len(head)] != head:
            raise StateError(f"rainflow: saved state is of another version, rows or gate ({len(state)} bytes)")
        at, fresh = len(head), [_rainflow.History(self.gate) for _ in range(self.rows)]
        rest = memoryview(state)
        for h in fresh:
            at += h.load(rest[at:])
        if at != len(state):
            raise StateError(f"rainflow: saved state has {len(state) - at} bytes too many")
        self._histories = fresh

    def _each(self, x: ArrayLike, work: Callable[[Any, NDArray[Any]], Any], threads: int = 1) -> list[Any]:
        """work(history, row) for each row, contiguous float32 or float64."""
        a = np.asarray(x)
        a = a[None] if a.ndim == 1 else a
        if a.ndim != 2 or len(a) != self.rows:
            raise ValueError(f"rainflow: x must have shape ({self.rows}, n), has {np.shape(x)}")
        a = np.ascontiguousarray(a, np.float32 if a.dtype == np.float32 else np.float64)
        parts = shared(lambda i, j: [work(self._histories[k], a[k]) for k in range(i, j)], self.rows, threads)
        return [told for part in parts for told in part]


class RainflowBins:
    """Cycles of ``rows`` channels counted by range and mean, in memory that does not grow with the history.

    Bin i holds ``i * range_width <= range < (i + 1) * range_width``, by mean the same from ``mean_low`` on; the outermost
    bins hold what lies beyond.

    Attributes
    ----------
    counts : float64[rows, n_ranges, n_means], of the closed cycles; `total` has the open ones, too.

    Examples
    --------
    >>> bins = RainflowBins(1, 2.0, 5)
    >>> bins.push([-2, 1, -3, 5, -1, 3, -4, 4, -2])
    >>> bins.total()[0, :, 0].tolist()
    [0.0, 0.5, 1.5, 0.5, 1.5]
    """

    TAG = b"LLrB"
    PIECE = 1 << 16  # samples at a time, which bounds the list of cycles

    def __init__(self, rows: int, range_width: float, n_ranges: int, *, mean_low: float = 0.0, mean_width: float = 1.0,
                 n_means: int = 1, gate: float = 0.0) -> None:
        if not (0.0 < range_width < inf and 0.0 < mean_width < inf and isfinite(mean_low)):
            raise ValueError(f"rainflow: range_width and mean_width must be above 0 and finite, mean_low finite, "
                             f"are {range_width}, {mean_width} and {mean_low}")
        if n_ranges < 1 or n_means < 1:
            raise ValueError(f"rainflow: n_ranges and n_means must be at least 1, are {n_ranges} and {n_means}")
        self._flow = Rainflow(rows, gate=gate)
        self.range_width, self.mean_low, self.mean_width = float(range_width), float(mean_low), float(mean_width)
        self.counts = np.zeros((rows, n_ranges, n_means))

    @property
    def ranges(self) -> Array:
        """The upper end of each bin of ranges: `damage` of these is on the safe side but for the last bin."""
        return self.range_width * np.arange(1, self.counts.shape[1] + 1, dtype=np.float64)

    def push(self, x: ArrayLike) -> None:
        """Count what x[rows, n] closes."""
        a = np.atleast_2d(np.asarray(x))
        for at in range(0, a.shape[-1], self.PIECE):
            self._add(self._flow.push(a[:, at : at + self.PIECE]), self.counts)

    def total(self) -> Array:
        """counts with the residue, as if the histories ended here."""
        counts = self.counts.copy()
        self._add(self._flow.residue(), counts)
        return counts

    def _add(self, rows: Sequence[Cycles], counts: Array) -> None:
        for told, row in zip(rows, counts, strict=True):
            _rainflow.bin_cycles(*told, self.range_width, self.mean_low, self.mean_width, row)

    def save(self) -> bytes:
        """The state as versioned bytes."""
        return self._head() + self.counts.tobytes() + self._flow.save()

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError where it is of other bins or rows."""
        head = self._head()
        at = len(head) + self.counts.nbytes
        if state[: len(head)] != head or len(state) < at:
            raise StateError(f"rainflow: saved state is of another version, rows or bins ({len(state)} bytes)")
        self._flow.load(state[at:])
        self.counts = np.frombuffer(state[len(head) : at]).reshape(self.counts.shape).copy()

    def _head(self) -> bytes:
        return struct.pack("<4sI3Q3d", self.TAG, 1, *self.counts.shape, self.range_width, self.mean_low, self.mean_width)


def rainflow(x: ArrayLike, *, state: Rainflow | None = None, finish: bool | None = None,
             gate: float | None = None) -> tuple[Array, Array, Array, Rainflow]:
    """Cycles of a load history by range, mean and count.

    Without a state, x is a whole history: what is open at its end is told behind the closed cycles, as half cycles. With a
    state, x goes on from where that call ended and only what closes is told, since the open part may still grow. So::

        ranges, means, counts, _ = rainflow(x)                                        # a whole history

        ranges, means, counts, state = rainflow(first, finish=False)                  # a stream
        ranges, means, counts, state = rainflow(next, state=state)                    # ... again and again
        ranges, means, counts, state = rainflow(last, state=state, finish=True)

    and the pieces of the stream, one behind the other, are the whole bit for bit. `Rainflow` is the same for many rows.

    Parameters
    ----------
    x : [n]. The first sample and the last one count as reversals. A sample that is not finite (or at least 2^1023) is passed
        over and counted in ``state.bad``: a lost sample can hide a peak, but the load did go from the one before it to the
        one behind it. A history in which nothing moves has no cycles.
    state : what the call before answered; it is not changed. None begins.
    finish : tell the residue, too; by default, if no state is given.
    gate : cycles of a smaller range are not told; by default that of the state, or 0.

    Returns
    -------
    ranges, means, counts : float64[k], in the order in which the cycles close; see `Cycles`.
    state : for the next call; it is as if finish were False. ``state.residue()`` is what is open.

    Raises
    ------
    ValueError
        Empty input, x of more than one axis, a gate below 0 or another than the state's.

    Source
    ------
    ASTM E1049-85 (2017), Standard practices for cycle counting in fatigue analysis, 5.4.4.

    Examples
    --------
    >>> ranges, means, counts, _ = rainflow([-2, 1, -3, 5, -1, 3, -4, 4, -2])
    >>> [(r, c) for r, c in zip(ranges.tolist(), counts.tolist())]
    [(3.0, 0.5), (4.0, 0.5), (4.0, 1.0), (8.0, 0.5), (9.0, 0.5), (8.0, 0.5), (6.0, 0.5)]
    """
    a = np.asarray(x)
    if a.ndim != 1 or a.size == 0:
        raise ValueError(f"rainflow: x must have one axis with samples, has shape {a.shape}")
    if state is None:
        after = Rainflow(1, gate=0.0 if gate is None else gate)
    elif state.rows != 1 or gate not in (None, state.gate):
        raise ValueError(f"rainflow: the state is of {state.rows} rows and gate {state.gate}, asked are 1 row and gate {gate}")
    else:
        after = state.copy()
    (told,) = after.push(a, finish=state is None if finish is None else finish)
    return *told, after


def damage(ranges: ArrayLike, counts: ArrayLike, exponent: float, *, constant: float = 1.0) -> float:
    """Miner's sum of cycles on a straight S-N curve ``N = constant / range**exponent``.

    ::

        D = sum counts * ranges**exponent / constant

    Parameters
    ----------
    ranges, counts : of one shape, as `rainflow` gives them or as `RainflowBins` holds them (``ranges`` and a row of ``counts``
        summed over the means).
    exponent : slope of the curve, above 0: 3 to 5 for welded steel and cast iron, about 3.2 for PVC.
    constant : cycles to failure at a range of 1, in the unit of the ranges to the power of exponent; at D = 1 the life is used up.

    Raises
    ------
    ValueError
        Shapes that differ, an exponent or constant that is not above 0 and finite, a range or count below 0 or not finite.

    Source
    ------
    M. A. Miner, Cumulative damage in fatigue, J. Appl. Mech. 12 (1945) A159-A164.

    Examples
    --------
    >>> damage([10.0, 20.0], [1.0, 0.5], 3.0, constant=1e6)
    0.005
    """
    r, c = np.asarray(ranges, np.float64), np.asarray(counts, np.float64)
    if r.shape != c.shape:
        raise ValueError(f"damage: ranges and counts must have one shape, have {r.shape} and {c.shape}")
    if not (0.0 < exponent < inf and 0.0 < constant < inf):
        raise ValueError(f"damage: exponent and constant must be above 0 and finite, are {exponent} and {constant}")
    if r.size and not (np.isfinite(r).all() and np.isfinite(c).all() and r.min() >= 0.0 and c.min() >= 0.0):
        raise ValueError(f"damage: ranges and counts must be 0 or more and finite, least are {r.min()} and {c.min()}")
    return float(np.sum(c * r**exponent) / constant)
