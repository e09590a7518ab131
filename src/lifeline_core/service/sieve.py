"""Frames of some channels and times out of journal records, by their headers alone; and where not to look for them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core import _wire
from lifeline_core.store.journal import FRAME, Records
from lifeline_core.wire import DATA, HEADER_LEN

TIMED = 6

# The header's fields that decide, straight out of the mapped journal.
HEADER = np.dtype(
    {
        "names": [
            "type",
            "encoding",
            "device",
            "channel",
            "n_channels",
            "t0_ns",
            "rate_num",
            "rate_den",
            "n_samples",
        ],
        "formats": ["u1", "u1", "<u4", "<u2", "<u2", "<i8", "<u4", "<u4", "<u4"],
        "offsets": [5, 6, 8, 12, 14, 40, 48, 52, 56],
        "itemsize": HEADER_LEN,
    }
)


class Sieve:
    """The data frames of one read of the journal, looked at once for as many searches as are wanted.

    Parameters
    ----------
    records : of `Journal.read`.
    devices : frames of others are passed over by four bytes of their header.
    """

    def __init__(self, records: Records, devices: Collection[int]) -> None:
        is_frame = records.kinds == FRAME
        offsets, lengths = records.offsets[is_frame], records.lengths[is_frame]
        self._bytes = np.frombuffer(records.buf, np.uint8)
        ours, heads = _wire.heads(records.buf, offsets, lengths, np.array(sorted(devices), np.uint32))
        heads = heads.view(HEADER)[:, 0]
        order = np.argsort(heads["device"], kind="stable")  # each search looks at its devices only
        self._heads, self._offsets, self._lengths = heads[order], offsets[ours][order], lengths[ours][order]

    def frames(
        self, numbers: Iterable[tuple[int, int]], start: int, end: int, begin: int = 0, stop: int | None = None
    ) -> Iterator[bytes]:
        """Those of these (device, channel) that overlap [start, end] in time and lie in [begin, stop) of the buffer."""
        channels: dict[int, list[int]] = {}
        for device, channel in numbers:
            channels.setdefault(device, []).append(channel)
        found = [self._of(device, wanted, start, end) for device, wanted in channels.items()]
        places = sorted((int(self._offsets[k]), int(self._lengths[k])) for part in found for k in part)
        for at, length in places:
            if at >= begin and (stop is None or at < stop):
                yield self._bytes[at : at + length].tobytes()

    def _of(self, device: int, channels: Iterable[int], start: int, end: int) -> NDArray[np.int64]:
        """Which frames of one device it is."""
        first, last = np.searchsorted(self._heads["device"], np.array([device, device + 1], np.int64))
        return np.flatnonzero(_matches(self._heads[first:last], channels, start, end)) + first


def _times(h: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Begin and end of each frame; a timed one ends where it begins."""
    rate = np.maximum(h["rate_num"].astype(np.float64), 1.0)
    return h["t0_ns"], h["t0_ns"] + np.where(h["encoding"] == TIMED, 0.0, h["n_samples"] * 1e9 * h["rate_den"] / rate)


class Spans:
    """From when to when each device has frames in one read of the journal: a few bytes that spare looking through it again."""

    def __init__(self, records: Records) -> None:
        is_frame = records.kinds == FRAME
        _, heads = _wire.heads(records.buf, records.offsets[is_frame], records.lengths[is_frame])
        heads = heads.view(HEADER)[:, 0]
        heads = heads[np.argsort(heads["device"], kind="stable")]
        self._devices, first = np.unique(heads["device"], return_index=True)
        begins, ends = _times(heads)
        self._begins = np.minimum.reduceat(begins, first) if len(first) else begins
        self._ends = np.maximum.reduceat(ends, first) if len(first) else ends

    def has(self, devices: Iterable[int], start: int, end: int) -> bool:
        """Whether one of the devices may have frames that overlap [start, end]."""
        wanted = np.fromiter(devices, np.int64)
        at = np.minimum(np.searchsorted(self._devices, wanted), max(len(self._devices) - 1, 0))
        if not len(self._devices):
            return False
        here = self._devices[at] == wanted
        return bool(np.any(here & (self._begins[at] <= end) & (self._ends[at] >= start)))


def _matches(h: NDArray[Any], channels: Iterable[int], start: int, end: int) -> NDArray[np.bool_]:
    """Data frames with one of the channels that overlap [start, end]; a timed frame is judged by its first sample."""
    begins, ends = _times(h)
    inside: NDArray[np.bool_] = (h["type"] == DATA) & (begins <= end) & ((ends > start) | (begins >= start))
    ours = np.zeros(len(h), dtype=np.bool_)
    first = h["channel"].astype(np.int64)
    for channel in channels:
        ours |= (first <= channel) & (channel < first + h["n_channels"])
    return inside & ours
