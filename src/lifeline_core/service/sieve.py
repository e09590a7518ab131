"""Frames of some channels and times out of journal records, by their headers alone; and where not to look for them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core import _wire
from lifeline_core.store.journal import FRAME, Records
from lifeline_core.wire import DATA, HEADER_LEN

TIMED = 6

Places = tuple[NDArray[np.int64], NDArray[np.int64]]  # offsets and lengths

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
        self._buf = records.buf
        ours, heads = _wire.heads(records.buf, offsets, lengths, np.array(sorted(devices), np.uint32))
        heads = heads.view(HEADER)[:, 0]
        data = heads["type"] == DATA
        ours, heads = ours[data], heads[data]
        order = np.argsort(heads["device"], kind="stable")  # each search looks at its devices only, in the order of arrival
        heads, self._offsets, self._lengths = heads[order], offsets[ours][order], lengths[ours][order]
        self._begins, self._ends = _times(heads)
        self._first = heads["channel"].astype(np.int64)
        self._behind = self._first + heads["n_channels"]
        found, starts = np.unique(heads["device"], return_index=True)
        bounds = [*starts.tolist(), len(heads)]
        self._of = {device: slice(*bounds[k : k + 2]) for k, device in enumerate(found.tolist())}
        self._spans = _spans(found, starts, self._begins, self._ends)
        self._weights: dict[frozenset[tuple[int, int]], Places] = {}

    def places(self, numbers: Iterable[tuple[int, int]], start: int, end: int, begin: int = 0, since: int | None = None) -> Places:
        """Where frames of these (device, channel) lie in the buffer from ``begin`` on, in the order of their arrival.

        Those that overlap [start, end] in time, a timed one judged by its first sample; from ``since`` on, all up to ``end``.
        """
        parts = [
            self._among(self._of[device], wanted, start, end, begin, since) for device, wanted in _by_device(numbers).items()
            if device in self._of and self._spans[device][0] <= end and (since is not None or self._spans[device][1] >= start)
        ]  # fmt: skip
        if len(parts) == 1:
            return self._offsets[parts[0]], self._lengths[parts[0]]
        which = np.concatenate(parts) if parts else np.empty(0, np.int64)
        which = which[np.argsort(self._offsets[which])]
        return self._offsets[which], self._lengths[which]

    def _among(
        self, here: slice, channels: Collection[int], start: int, end: int, begin: int, since: int | None
    ) -> NDArray[np.int64]:
        """Which frames of one device it is."""
        at, begins = self._offsets[here], self._begins[here]
        wanted = (self._ends[here] > start) | (begins >= start)
        if since is not None:
            wanted |= at >= since
        wanted &= (at >= begin) & (begins <= end)
        return np.flatnonzero(wanted & _touch(self._first[here], self._behind[here], channels)) + here.start

    def weight(self, numbers: frozenset[tuple[int, int]], begin: int, stop: int) -> int:
        """Bytes of all frames of these (device, channel) in [begin, stop) of the buffer; asking again for the same costs little."""
        if numbers not in self._weights:
            offsets, lengths = self.places(numbers, -(1 << 62), 1 << 62)
            self._weights[numbers] = offsets, np.concatenate(([0], np.cumsum(lengths)))
        offsets, sums = self._weights[numbers]
        first, last = np.searchsorted(offsets, (begin, stop))
        return int(sums[last] - sums[first])

    def copy(self, places: Places) -> bytes:
        """The frames there, back to back."""
        return _wire.gather(self._buf, *places)


def _times(h: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Begin and end of each frame; a timed one ends where it begins."""
    rate = np.maximum(h["rate_num"].astype(np.float64), 1.0)
    return h["t0_ns"], h["t0_ns"] + np.where(h["encoding"] == TIMED, 0.0, h["n_samples"] * 1e9 * h["rate_den"] / rate)


def _spans(
    devices: NDArray[np.uint32], starts: NDArray[np.int64], begins: NDArray[np.int64], ends: NDArray[np.float64]
) -> dict[int, tuple[int, float]]:
    """From when to when each device has frames, which lie together from ``starts`` on."""
    if not len(devices):
        return {}
    first, last = np.minimum.reduceat(begins, starts), np.maximum.reduceat(ends, starts)
    return dict(zip(devices.tolist(), zip(first.tolist(), last.tolist(), strict=True), strict=True))


class Spans:
    """Of one read of the journal, from when to when each device has frames, and the bytes of each of its groups of channels: what
    spares looking through it again."""

    def __init__(self, records: Records) -> None:
        is_frame = records.kinds == FRAME
        lengths = records.lengths[is_frame]
        which, heads = _wire.heads(records.buf, records.offsets[is_frame], lengths)
        heads = heads.view(HEADER)[:, 0]
        order = np.argsort(heads["device"], kind="stable")
        heads, lengths = heads[order], lengths[which][order]
        self._of = _spans(*np.unique(heads["device"], return_index=True), *_times(heads))
        data = heads["type"] == DATA
        device, first, n = (heads[name][data].astype(np.uint64) for name in ("device", "channel", "n_channels"))
        groups, at = np.unique(device << np.uint64(32) | first << np.uint64(16) | n, return_inverse=True)
        self._devices = (groups >> np.uint64(32)).astype(np.int64)
        self._first = (groups >> np.uint64(16) & np.uint64(0xFFFF)).astype(np.int64)
        self._behind = self._first + (groups & np.uint64(0xFFFF)).astype(np.int64)
        self._bytes = np.bincount(at, lengths[data], len(groups))

    def weight(self, numbers: Iterable[tuple[int, int]]) -> int:
        """Bytes of all data frames of these (device, channel)."""
        weight = 0.0
        for device, channels in _by_device(numbers).items():
            here = slice(*np.searchsorted(self._devices, (device, device + 1)))
            weight += self._bytes[here][_touch(self._first[here], self._behind[here], channels)].sum()
        return int(weight)

    def has(self, devices: Iterable[int], start: int, end: int) -> bool:
        """Whether one of the devices may have frames that overlap [start, end]."""
        for device in devices:
            span = self._of.get(device)
            if span is not None and span[0] <= end and span[1] >= start:
                return True
        return False


def _by_device(numbers: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    """The channels of each."""
    channels: dict[int, list[int]] = {}
    for device, channel in numbers:
        channels.setdefault(device, []).append(channel)
    return channels


def _touch(first: NDArray[np.int64], behind: NDArray[np.int64], channels: Collection[int]) -> NDArray[np.bool_]:
    """Which of [first, behind) have one of these channels."""
    ours = np.zeros(len(first), dtype=np.bool_)
    for low, high in _runs(channels):
        ours |= (first < high) & (low < behind)
    return ours


def _runs(channels: Collection[int]) -> list[tuple[int, int]]:
    """Neighbouring channels together: [low, high)."""
    runs: list[tuple[int, int]] = []
    for channel in sorted(channels):
        if runs and runs[-1][1] >= channel:
            runs[-1] = (runs[-1][0], channel + 1)
        else:
            runs.append((channel, channel + 1))
    return runs
