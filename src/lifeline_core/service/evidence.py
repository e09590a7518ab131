"""The raw frames around an alarm: the capture kept beside it, or what the journal still holds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lifeline_core.model import NS, Alarm, City
from lifeline_core.service.archivist import Archivist
from lifeline_core.service.requests import Reply, refusal
from lifeline_core.service.sieve import Places, Sieve
from lifeline_core.store.journal import Journal

BEFORE_S, AFTER_S = 30, 30
MOST_BYTES = 8 << 20
READ_BYTES = 16 << 20


class Evidence:
    """Finds frames by the alarm's channels and time. One at a time, in the archivist's thread."""

    def __init__(self, city: City, journal: Journal, archivist: Archivist) -> None:
        self.city, self._journal, self._archivist = city, journal, archivist

    def __call__(self, alarm: Alarm, state: bool = False) -> Reply:
        """Reply with ``capture`` (frames back to back), ``frames``, ``from_ns``, ``to_ns``, ``whole``; or ``not-kept``.

        ``whole`` is False where a bound cut the capture short; ``finished`` False while the alarm stands. ``replayable``: a
        replay that begins with ``state`` (given where it is asked for) behind the first ``before`` frames raises the same alarm
        whatever its detector had learned; else ``why`` not.
        """
        kept = self._archivist.find(alarm.alarm_id)
        if kept is not None and kept[0].frames:
            about, data = kept
            known = {"state": self._archivist.state(alarm.alarm_id)} if state and about.replayable else {}
            return {
                "ok": True, "alarm_id": alarm.alarm_id, "capture": data, "frames": about.frames, "from_ns": about.from_ns,
                "to_ns": about.to_ns if about.to_ns is not None else alarm.updated_ns, "whole": about.whole,
                "finished": about.finished, "replayable": about.replayable, "why": about.why, "before": about.before, **known,
            }  # fmt: skip
        watch = self.city.watches.get(alarm.watch)
        wanted = [self.city.channels[name] for name in watch.channels] if watch else []
        numbers = {(c.device, c.channel) for c in wanted}
        start, end = alarm.onset_ns - BEFORE_S * NS, max(alarm.detected_ns, alarm.onset_ns) + AFTER_S * NS
        frames, found, whole = 0, bytearray(), True
        for sieve, (offsets, lengths) in self._found(numbers, start, end) if numbers else ():
            fit = int(np.searchsorted(np.cumsum(lengths), MOST_BYTES - len(found), side="right"))
            found += sieve.copy((offsets[:fit], lengths[:fit]))
            frames += fit
            whole = fit == len(lengths)
            if not whole:
                break
        if not frames:
            return refusal("not-kept", "the journal holds no frames of this alarm's channels and time any more")
        return {
            "ok": True, "alarm_id": alarm.alarm_id, "capture": bytes(found), "frames": frames, "from_ns": start, "to_ns": end,
            "whole": whole, "finished": False, "replayable": False,
            "why": "there is no capture of it; these are what the journal still holds", "before": frames,
        }  # fmt: skip

    def _found(self, numbers: set[tuple[int, int]], start: int, end: int) -> Iterator[tuple[Sieve, Places]]:
        position, stop = self._journal.first, self._journal.end
        while position < stop:
            records = self._journal.read(position, READ_BYTES)  # what was released meanwhile is passed over
            if records.next == position:
                return
            sieve = Sieve(records, {device for device, _ in numbers})
            yield sieve, sieve.places(numbers, start, end)
            position = records.next
