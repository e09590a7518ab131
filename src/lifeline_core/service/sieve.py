"""Frames of some channels and times out of journal records, by their headers alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.store.journal import FRAME, Records
from lifeline_core.wire import DATA, HEADER_LEN

TIMED = 6

# The header's fields that decide, straight out of the mapped journal.
HEADER = np.dtype(
    {
        "names": [
            "magic",
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
        "formats": ["S4", "u1", "u1", "<u4", "<u2", "<u2", "<i8", "<u4", "<u4", "<u4"],
        "offsets": [0, 5, 6, 8, 12, 14, 40, 48, 52, 56],
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
        is_frame = (records.kinds == FRAME) & (records.lengths >= HEADER_LEN)
        offsets, lengths = records.offsets[is_frame], records.lengths[is_frame]
        self._bytes = np.frombuffer(records.buf, np.uint8)
        if len(offsets):
            device = np.ascontiguousarray(self._bytes[offsets[:, None] + np.arange(8, 12)]).view("<u4")[:, 0]
            ours = np.isin(device, np.array(sorted(devices), np.uint32))
            offsets, lengths = offsets[ours], lengths[ours]
        self._offsets, self._lengths = offsets, lengths
        self._heads = self._bytes[offsets[:, None] + np.arange(HEADER_LEN)].view(HEADER)[:, 0] if len(offsets) else None

    def frames(self, numbers: Iterable[tuple[int, int]], start: int, end: int, begin: int = 0) -> Iterator[bytes]:
        """Those of these (device, channel) that overlap [start, end] in time and lie at ``begin`` or behind in the buffer."""
        if self._heads is None:
            return
        for k in np.flatnonzero(_matches(self._heads, numbers, start, end) & (self._offsets >= begin)):
            at = int(self._offsets[k])
            yield self._bytes[at : at + int(self._lengths[k])].tobytes()


def _matches(h: NDArray[Any], numbers: Iterable[tuple[int, int]], start: int, end: int) -> NDArray[np.bool_]:
    """Data frames of one of the channels that overlap [start, end]; a timed frame is judged by its first sample."""
    rate = np.maximum(h["rate_num"].astype(np.float64), 1.0)
    span = np.where(h["encoding"] == TIMED, 0.0, h["n_samples"] * 1e9 * h["rate_den"] / rate)
    begins, ends = h["t0_ns"], h["t0_ns"] + span
    inside = (h["magic"] == b"LLF1") & (h["type"] == DATA) & (begins <= end) & ((ends > start) | (begins >= start))
    ours = np.zeros(len(h), dtype=np.bool_)
    for device, channel in numbers:
        first = h["channel"].astype(np.int64)
        ours |= (h["device"] == device) & (first <= channel) & (channel < first + h["n_channels"])
    return inside & ours
