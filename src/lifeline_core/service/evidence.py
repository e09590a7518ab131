"""The raw frames around an alarm, as a capture, out of the journal segments that are still held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.model import NS, Alarm, City
from lifeline_core.service.requests import Reply, refusal
from lifeline_core.store.journal import FRAME, Journal
from lifeline_core.wire import DATA, HEADER_LEN

BEFORE_S, AFTER_S = 30, 30
MOST_BYTES = 8 << 20
READ_BYTES = 16 << 20
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


class Evidence:
    """Finds frames by the alarm's channels and time. One scan at a time, in a thread of its own."""

    def __init__(self, city: City, journal: Journal) -> None:
        self._city, self._journal = city, journal

    def __call__(self, alarm: Alarm) -> Reply:
        """Reply with ``capture`` (frames back to back), ``frames``, ``from_ns``, ``to_ns``, ``whole``; or ``not-kept``.

        ``whole`` is False where the capture was cut at 8 MiB.
        """
        watch = self._city.watches.get(alarm.watch)
        wanted = [self._city.channels[name] for name in watch.channels] if watch else []
        numbers = {(c.device, c.channel) for c in wanted}
        start, end = alarm.onset_ns - BEFORE_S * NS, max(alarm.detected_ns, alarm.onset_ns) + AFTER_S * NS
        frames: list[bytes] = []
        size = 0
        for frame in self._frames(numbers, start, end) if numbers else ():
            if size + len(frame) > MOST_BYTES:
                return self._reply(alarm, frames, start, end, whole=False)
            frames.append(frame)
            size += len(frame)
        if not frames:
            return refusal("not-kept", "the journal holds no frames of this alarm's channels and time any more")
        return self._reply(alarm, frames, start, end, whole=True)

    @staticmethod
    def _reply(alarm: Alarm, frames: list[bytes], start: int, end: int, *, whole: bool) -> Reply:
        return {
            "ok": True,
            "alarm_id": alarm.alarm_id,
            "capture": b"".join(frames),
            "frames": len(frames),
            "from_ns": start,
            "to_ns": end,
            "whole": whole,
        }

    def _frames(self, numbers: set[tuple[int, int]], start: int, end: int) -> Iterator[bytes]:
        position, stop = self._journal.first, self._journal.end
        while position < stop:
            records = self._journal.read(position, READ_BYTES)  # what was released meanwhile is passed over
            if records.next == position:
                return
            yield from self._of(records, numbers, start, end)
            position = records.next

    @staticmethod
    def _of(records: Any, numbers: Iterable[tuple[int, int]], start: int, end: int) -> Iterator[bytes]:
        is_frame = (records.kinds == FRAME) & (records.lengths >= HEADER_LEN)
        offsets, lengths = records.offsets[is_frame], records.lengths[is_frame]
        if not len(offsets):
            return
        bytes_ = np.frombuffer(records.buf, dtype=np.uint8)
        for at in range(0, len(offsets), 4096):
            part = offsets[at : at + 4096]
            heads = bytes_[part[:, None] + np.arange(HEADER_LEN)].view(HEADER)[:, 0]
            for k in np.flatnonzero(_matches(heads, numbers, start, end)):
                begin = int(part[k])
                yield bytes_[begin : begin + int(lengths[at + k])].tobytes()


def _matches(h: NDArray[Any], numbers: Iterable[tuple[int, int]], start: int, end: int) -> NDArray[np.bool_]:
    """Data frames of one of the channels that overlap [start, end]; a timed frame is judged by its first sample."""
    rate = np.maximum(h["rate_num"].astype(np.float64), 1.0)
    span = np.where(h["encoding"] == TIMED, 0.0, h["n_samples"] * 1e9 * h["rate_den"] / rate)
    inside = (h["magic"] == b"LLF1") & (h["type"] == DATA) & (h["t0_ns"] <= end) & (h["t0_ns"] + span >= start)
    ours = np.zeros(len(h), dtype=np.bool_)
    for device, channel in numbers:
        first = h["channel"].astype(np.int64)
        ours |= (h["device"] == device) & (first <= channel) & (channel < first + h["n_channels"])
    return inside & ours
