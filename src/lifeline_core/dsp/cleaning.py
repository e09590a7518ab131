"""Samples that are no measurement, taken out of a stream: spikes, values outside the range, values that stand still.

Channels first, time last, float32. A sample is judged against the window about it, ``ahead`` samples late; the answer is the
sample, or NaN (or what lies between its neighbours), with the reason. It depends on the samples of the window alone, so the
stream may be cut and put down anywhere.

=========  =======================================================================================================
spike      further than ``threshold`` standard deviations (1.4826 MAD) from the median of the window, alone or with at
           most ``max_run`` - 1 next to it, gone as fast as it came, and without others like it nearby; or, alone, as far
           from the line between its neighbours, measured in such distances, where these lie on a line themselves
range      outside the range given, or infinite
stuck      one value for ``stuck`` samples and more: all of the run as far back as it is still held
=========  =======================================================================================================

A step, a blow and a passage are no spikes: half of a window is as far off as the sample, it rings on, or it lasts. What lasts
``max_run`` samples or fewer and leaves nothing behind cannot be told from a spike, so the sampling rate must show an event
with more samples than that.

Where more than half of the window is one value its MAD is 0; then the smallest step within the window counts as a standard
deviation (of counts: what the last bit is worth), and where there is no other step than the sample's own, nothing is taken out.
A ``floor`` that is given stands in its place.

Source: F. R. Hampel, J. Am. Stat. Assoc. 69 (1974) 383-393 (median and MAD); the second form is Hampel's rule for what linear
interpolation leaves. The rules that spare events are of this library, measured by ``python -m bench.clean_study``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lifeline_core.dsp._hampel as _hampel
from lifeline_core.dsp.filters import pack, unpack
from lifeline_core.errors import StateError

REASONS = ("kept", "spike", "range", "stuck")
NEAR = 12  # samples to each side in which others like it speak for an event
_STILL = np.dtype([("value", np.float64), ("count", np.int64)])
_CLEAN, _PUSH = _hampel.clean["float"], _hampel.push["float"]


@dataclass(frozen=True, slots=True)
class Rules:
    """What is taken out; see the module's docstring.

    window : odd number of samples, 11 to 4095.
    threshold : standard deviations, above 0.
    max_run : samples in a row that may be a spike, 1 to 5.
    ahead : samples waited for behind the one judged, max_run + 2 to (window - 1) / 2; None: (window - 1) / 2; 0: no spikes.
    floor : in the unit of the samples: nothing less far off is a spike.
    stuck : equal samples in a row that are no measurement, 2 or more; 0: not watched.
    fill : True puts the middle of the nearest samples on both sides in the place of a spike or a short run out of range.

    Raises
    ------
    ValueError
        A number outside its rule.
    """

    window: int = 101
    threshold: float = 4.5
    max_run: int = 3
    ahead: int | None = None
    floor: float = 0.0
    stuck: int = 0
    fill: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.window, bool) or self.window % 2 == 0 or not 11 <= self.window <= 4095:
            raise ValueError(f"window: must be an odd number of samples from 11 to 4095, is {self.window}")
        if not 0 < self.threshold < np.inf:
            raise ValueError(f"threshold: must be above 0 and finite, is {self.threshold}")
        if not 1 <= self.max_run <= 5:
            raise ValueError(f"max_run: must be from 1 to 5, is {self.max_run}")
        if self.ahead and not self.max_run + 2 <= self.ahead <= self.window // 2:
            raise ValueError(f"ahead: must be 0 or from {self.max_run + 2} to {self.window // 2} samples, is {self.ahead}")
        if not 0 <= self.floor < np.inf:
            raise ValueError(f"floor: must be 0 or more and finite, is {self.floor}")
        if self.stuck < 0 or self.stuck == 1:
            raise ValueError(f"stuck: must be 0 or at least 2 samples, is {self.stuck}")

    @property
    def delay_samples(self) -> int:
        """Samples that a stream lies behind."""
        return self.window // 2 if self.ahead is None else self.ahead


class Cleaner:
    """Takes spikes, impossible values and still stands out of ``rows`` channels.

    Parameters
    ----------
    rows : channels.
    rules : what is taken out.
    ranges : for each row the ends beyond which a value is impossible, or None.

    Examples
    --------
    >>> x = np.sin(np.arange(400) / 9).astype(np.float32)[None]
    >>> x[0, 200] = 5.0
    >>> c = Cleaner(1)
    >>> y, reasons = (np.concatenate(parts, axis=1) for parts in zip(c.push(x), c.flush()))
    >>> np.isnan(y).nonzero()[1].tolist(), REASONS[reasons[0, 200]], c.counts.tolist()
    ([200], 'spike', [[399, 1, 0, 0]])
    """

    TAG = b"LLcl"

    def __init__(self, rows: int, rules: Rules = Rules(),
                 ranges: Sequence[tuple[float, float] | None] | None = None) -> None:
        if rows < 1 or (ranges is not None and len(ranges) != rows):
            raise ValueError(f"cleaning: at least one row and a range for each is needed, are {rows} and "
                             f"{rows if ranges is None else len(ranges)}")
        self.rows, self.rules, self.delay_samples = int(rows), rules, rules.delay_samples
        self._window = rules.window if self.delay_samples else 1
        largest = float(np.finfo(np.float32).max)
        ends = [(-largest, largest) if r is None else (float(r[0]), float(r[1])) for r in ranges or [None] * rows]
        self._ends = np.array(ends, np.float64)
        if not (self._ends[:, 0] < self._ends[:, 1]).all():
            raise ValueError(f"cleaning: ranges must be ordered, low before high, are {ends}")
        self._how = _hampel.How(rules.threshold, rules.floor, self.delay_samples, min(NEAR, self.delay_samples), rules.max_run,
                                self._window // 2 + 1, rules.stuck, rules.fill)
        shape = (self.rows, _hampel.size(self._window, False))
        self._x, self._r = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
        self.counts = np.zeros((self.rows, len(REASONS)), np.int64)
        self.reset()

    def reset(self) -> None:
        """A stream begins; the counts go on."""
        _hampel.begin(self._x, self._window, False)
        _hampel.begin(self._r, self._window, False)
        self._reasons = np.zeros((self.rows, self._window), np.uint8)
        self._still = np.zeros(self.rows, _STILL)
        self._still["value"] = np.nan
        self._fed = self._at = 0

    def push(self, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Samples and reasons (places in REASONS) that ``x[rows, n]`` completes: as many, but for the first `delay_samples`."""
        if x.dtype != np.float32:
            raise ValueError(f"cleaning: samples must be float32, are {x.dtype}")
        return self._feed(np.ascontiguousarray(x), 0)

    def flush(self) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """The last samples, judged by what there is; then the stream begins anew."""
        last = self._feed(np.empty((self.rows, 0), np.float32), self.delay_samples)
        self.reset()
        return last

    def _feed(self, x: NDArray[np.float32], ends: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        room = x.shape[1] or ends
        out, marks = np.empty((self.rows, room), np.float32), np.empty((self.rows, room), np.uint8)
        done = _CLEAN(self._x, self._r, self._window, self._reasons, self._still, x, ends, self._ends, self._how, out, marks,
                      self.counts)
        self._fed += x.shape[1]
        self._at = (self._at + room) % self._window
        return out[:, :done], marks[:, :done]

    def save(self) -> bytes:
        return pack(self.TAG, self._key(), self._data())

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError where it is of other rules, ranges or rows."""
        data = unpack(self.TAG, self._key(), self._data(), state)
        fed, counts, still, rest = float(data[0]), *np.split(data[1:], np.cumsum([self.counts.size, 2 * self.rows]))
        if not (0 <= fed < 2**62 and fed.is_integer()) or not _whole(counts) or not _whole(still.reshape(2, -1)[1]):
            raise StateError(f"cleaning: saved state is damaged, it counts {fed} samples")
        x, r, reasons = rest.reshape(3, self.rows, self._window)
        held, needles = min(int(fed), self._window), min(max(int(fed) - 1, 0), self._window)
        if not np.isin(reasons, range(len(REASONS))).all():
            raise StateError("cleaning: saved state is damaged, it has an unknown reason")
        self.reset()
        self._refill(self._x, x[:, :held])
        if self.delay_samples:
            self._refill(self._r, r[:, :needles])
        self._reasons[:, :held] = reasons[:, :held]
        self.counts[:] = counts.reshape(self.counts.shape)
        self._still["value"], self._still["count"] = still.reshape(2, -1)
        self._fed, self._at = int(fed), held % self._window

    def _refill(self, states: NDArray[np.uint8], held: NDArray[np.float64]) -> None:
        if held.shape[1]:
            room = np.empty(held.shape, np.float32)
            _PUSH(states, self._window, np.ascontiguousarray(held, np.float32), 0, 0, 0.0, room, np.empty((0, 0), np.uint8))

    def _key(self) -> bytes:
        r = self.rules
        head = struct.pack("<4Q2d2Q", self.rows, r.window, r.max_run, self.delay_samples, r.threshold, r.floor, r.stuck, r.fill)
        return head + self._ends.tobytes()

    def _data(self) -> NDArray[np.float64]:
        held = np.zeros((3, self.rows, self._window))
        for plane, states in zip(held, (self._x, self._r), strict=False):
            for state, row in zip(states, plane, strict=True):
                _hampel.window(state, self._window, row, False)
        first = self._at if self._fed >= self._window else 0
        held[2] = np.roll(self._reasons, -first, axis=1)
        return np.concatenate([[float(self._fed)], self.counts.ravel(), self._still["value"], self._still["count"], held.ravel()])


def _whole(values: NDArray[Any]) -> bool:
    return bool(((values >= 0) & (values < 2.0**62) & (values == np.floor(values))).all())


def clean(x: NDArray[np.float32], rules: Rules = Rules(),
          ranges: Sequence[tuple[float, float] | None] | None = None) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A whole recording: samples and reasons of `Cleaner`, float32 and uint8 [rows, n]."""
    c = Cleaner(len(x), rules, ranges)
    first, last = c.push(x), c.flush()
    return np.concatenate((first[0], last[0]), axis=1), np.concatenate((first[1], last[1]), axis=1)
