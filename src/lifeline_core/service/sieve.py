"""Frames of some channels and times out of journal records, by their headers alone."""

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

    def frames(self, numbers: Iterable[tuple[int, int]], start: int, end: int, begin: int = 0) -> Iterator[bytes]:
        """Those of these (device, channel) that overlap [start, end] in time and lie at ``begin`` or behind in the buffer."""
        channels: dict[int, list[int]] = {}
        for device, channel in numbers:
            channels.setdefault(device, []).append(channel)
        found = [self._of(device, wanted, start, end) for device, wanted in channels.items()]
        places = sorted((int(self._offsets[k]), int(self._lengths[k])) for part in found for k in part)
        for at, length in places:
            if at >= begin:
                yield self._bytes[at : at + length].tobytes()

    def _of(self, device: int, channels: Iterable[int], start: int, end: int) -> NDArray[np.int64]:
        """Which frames of one device it is."""
        first, last = np.searchsorted(self._heads["device"], np.array([device, device + 1], np.int64))
        return np.flatnonzero(_matches(self._heads[first:last], channels, start, end)) + first


def _matches(h: NDArray[Any], channels: Iterable[int], start: int, end: int) -> NDArray[np.bool_]:
    """Data frames with one of the channels that overlap [start, end]; a timed frame is judged by its first sample."""
    rate = np.maximum(h["rate_num"].astype(np.float64), 1.0)
    span = np.where(h["encoding"] == TIMED, 0.0, h["n_samples"] * 1e9 * h["rate_den"] / rate)
    begins, ends = h["t0_ns"], h["t0_ns"] + span
    inside: NDArray[np.bool_] = (h["type"] == DATA) & (begins <= end) & ((ends > start) | (begins >= start))
    ours = np.zeros(len(h), dtype=np.bool_)
    first = h["channel"].astype(np.int64)
    for channel in channels:
        ours |= (first <= channel) & (channel < first + h["n_channels"])
    return inside & ours
