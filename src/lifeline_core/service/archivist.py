"""Keeps the frames around each alarm: out of the journal into a capture, from a minute before the onset until the clear.

::

    raised    a capture begins: what the journal still holds is looked through from its beginning
    standing  once a second: what came since
    cleared   once more, up to where the journal ended then; the capture is finished

All captures that grow are served by one pass over the journal. Nothing here may hold the service up: the journal waits for
the archivist only while there is room, and a capture that came too late says that it is not whole.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifeline_core import networks
from lifeline_core.errors import LifelineError
from lifeline_core.model import NS, Alarm, City
from lifeline_core.service.log import Log
from lifeline_core.service.origins import Origins
from lifeline_core.service.sieve import Sieve, Spans
from lifeline_core.store.captures import About, Captures
from lifeline_core.store.journal import Journal

BEFORE_NS = 60 * NS
LONGEST_S = 3600  # an alarm may stand for months
READ_BYTES = 16 << 20
LONGEST_BYTES = 8 << 20  # of one capture
EVER_NS = -(1 << 62)
Heard = tuple[Alarm, Path | None, int]  # with the snapshot of that moment and the journal's end
Wanted = tuple[str, frozenset[tuple[int, int]], int, int]  # an alarm, channels, and from where to where in the journal
AHEAD = 1000  # alarms waiting for their capture; past that the oldest gets none


class Raised(NamedTuple):
    """An alarm that gets a capture: what was heard of it, the watches that made it, and the (device, channel) these listen to."""

    alarm: Alarm
    held: Path | None
    end: int
    watches: list[str]
    channels: frozenset[tuple[int, int]]


class Archivist:
    """`hear` is for the desk's thread, `step` and `find` for a worker's, `needed` and `busy` for any."""

    def __init__(self, city: City, journal: Journal, captures: Captures, log: Log, origins: Origins | None = None) -> None:
        self.city, self._journal, self._captures, self._log, self._origins = city, journal, captures, log, origins
        self._lock = threading.Lock()
        self._heard: deque[Heard] = deque()
        self._most_replayed = captures.longest_bytes // 2  # the rest is for what comes behind the raise
        self._until: dict[str, int] = {}  # a capture ends when the journal was looked through up to here
        self._since: dict[str, float] = {}
        self._spans: dict[int, Spans] = {}  # of finished stretches of the journal, by their beginning
        self.missed = 0  # alarms without a capture
        self.failed = 0

    def hear(self, alarms: Sequence[Alarm]) -> None:
        """Committed alarms, in order."""
        wanted = [a for a in alarms if a.revision == 1 or a.process == "cleared"]
        if not wanted:
            return
        with self._lock:
            held = self._origins.hold() if self._origins is not None and any(a.revision == 1 for a in wanted) else None
            self._heard.extend((a, held, self._journal.end) for a in wanted)
            while len(self._heard) > AHEAD:
                self._heard.popleft()
                self.missed += 1

    def busy(self) -> bool:
        """Whether a step has anything to do."""
        return bool(self._heard or self._captures.open)

    def needed(self) -> int:
        """The journal position from which on captures still want to read."""
        if self._heard:
            return self._journal.first
        return min((about.position for about in list(self._captures.open.values())), default=self._journal.end)

    def step(self) -> None:
        """One pass; never raises."""
        try:
            self._take()
            if self._captures.open:
                self._pass()
        except (LifelineError, OSError) as error:
            self.failed += 1
            self._log.error("capture-failed", error=str(error))

    def numbers(self) -> dict[str, int]:
        """Counters and gauges by name."""
        c = self._captures
        return {"captures": len(c), "captures_bytes": c.used_bytes, "captures_forgotten": c.forgotten,
                "captures_missed": self.missed, "captures_failed": self.failed}

    def state(self, alarm_id: str) -> bytes:
        """What the engine knew before the alarm was raised, packed (`origins.unpack`)."""
        return self._captures.state(alarm_id)

    def find(self, alarm_id: str) -> tuple[About, bytes] | None:
        """The capture of an alarm as far as it has come, or None."""
        self.step()
        return self._captures.read(alarm_id)

    def _take(self) -> None:
        """Begin and end captures as alarms were heard."""
        with self._lock:
            heard, self._heard = list(self._heard), deque()
        raised = {alarm.alarm_id: self._raised(alarm, held, end) for alarm, held, end in heard if alarm.process != "cleared"}
        weights = self._weigh(raised.values())
        for alarm, *_ in heard:
            if alarm.process == "cleared":
                about = self._captures.open.get(alarm.alarm_id)
                if about is not None and about.to_ns is None:
                    about.to_ns = alarm.updated_ns
                    self._until[alarm.alarm_id] = self._journal.end
            else:
                self._begin(raised[alarm.alarm_id], weights.get(alarm.alarm_id, 0))
        if self._origins is not None:
            with self._lock:
                self._origins.let_go({held for _, held, _ in heard if held} - {held for _, held, _ in self._heard if held})

    def _raised(self, alarm: Alarm, held: Path | None, end: int) -> Raised:
        watches = self._watches(alarm)
        return Raised(alarm, held, end, watches, self._channels(watches))

    def _weigh(self, raised: Iterable[Raised]) -> dict[str, int]:
        """Bytes of what each one's watches were told from the snapshot before it to its raise, where that may be too much."""
        wanted = []
        for one in raised:
            origin = self._origins.position(one.held) if self._origins is not None else None
            if origin is not None and one.end - origin > self._most_replayed:
                wanted.append((one.alarm.alarm_id, one.channels, max(origin, self._journal.first), one.end))
        weights = {alarm_id: 0 for alarm_id, *_ in wanted}
        position, stop = min((w[2] for w in wanted), default=0), max((w[3] for w in wanted), default=0)
        while position < stop and min(weights.values()) <= self._most_replayed:
            position, before = self._weigh_on(position, wanted, weights), position
            if position == before:
                break
        return weights

    def _weigh_on(self, position: int, wanted: Sequence[Wanted], weights: dict[str, int]) -> int:
        """Add what lies in one read of the journal, or in a stretch that is known; where to go on."""
        stretch = self._journal.stretch(position)
        if stretch and position <= stretch[0] and not any(_cuts(stretch, begin, end) for _, _, begin, end in wanted):
            spans = self._known(stretch)
            if spans is not None:
                for alarm_id, numbers, begin, end in wanted:
                    if begin < stretch[1] and end > stretch[0]:
                        weights[alarm_id] += spans.weight(numbers)
                return stretch[1]
        records = self._journal.read(position, READ_BYTES)
        sieve = Sieve(records, {device for _, numbers, _, _ in wanted for device, _ in numbers})
        for alarm_id, numbers, begin, end in wanted:
            if begin < records.next and end > records.origin:
                weights[alarm_id] += sieve.weight(numbers, begin - records.origin, end - records.origin)
        return int(records.next)

    def _known(self, stretch: tuple[int, int]) -> Spans | None:
        """What is known of a finished stretch, looked through where it was not yet; None where one read is not all of it."""
        if stretch[0] not in self._spans:
            records = self._journal.read(stretch[0], READ_BYTES)
            if (records.origin, records.next) != stretch:
                return None
            self._spans[stretch[0]] = Spans(records)
        return self._spans[stretch[0]]

    def _begin(self, raised: Raised, weight: int) -> None:
        """A capture, and with it what the alarm's watches knew, where that and what they were told since is small enough."""
        alarm, numbers = raised.alarm, self._numbers(raised.alarm)
        about = About(alarm_id=alarm.alarm_id, numbers=numbers, from_ns=alarm.onset_ns - BEFORE_NS, position=self._journal.first,
                      raised=raised.end, why="its watches are not of this configuration")
        state = b""
        if weight > self._most_replayed:
            about.why = f"its watches were told {weight} bytes or more since the snapshot before it, {self._most_replayed} are kept"
        elif self._origins is not None and raised.watches:
            about.origin, state, about.why = self._origins.state(raised.held, raised.watches)
            about.replayable = bool(state)
        if state:  # judging needs every channel of the watches, not those alone that the alarm names
            about.numbers = sorted({*numbers, *raised.channels})
        if about.numbers:
            self._captures.begin(about, state)

    def _channels(self, watches: Sequence[str]) -> frozenset[tuple[int, int]]:
        names = {name for watch in watches for name in self.city.watches[watch].channels}
        return frozenset((c.device, c.channel) for c in map(self.city.channels.__getitem__, names))

    def _watches(self, alarm: Alarm) -> list[str]:
        """Whose findings made it: its own watch's, or those of all transients where a network of sensors speaks."""
        if alarm.watch in self.city.watches:
            return [alarm.watch]
        here = (w for w in self.city.watches.values() if w.site == alarm.site)
        return [w.name for w in here if alarm.watch == networks.WATCH and w.detector == "transient"]

    def _numbers(self, alarm: Alarm) -> list[tuple[int, int]]:
        """The channels an alarm is about: those it names, otherwise all of its watch; and those of its evidence."""
        watch = self.city.watches.get(alarm.watch)
        names = set(alarm.where.get("channels") or (watch.channels if watch else ()))
        sensors = alarm.evidence.get("sensors")
        names |= set(sensors) if isinstance(sensors, list | dict | tuple) else set()
        known = (self.city.channels[n] for n in names if n in self.city.channels)
        return sorted((c.device, c.channel) for c in known)

    def _pass(self) -> None:
        """From the first position any capture waits at to the journal's end."""
        captures = self._captures
        position, stop = min(a.position for a in captures.open.values()), self._journal.end
        if position < self._journal.first:  # it was needed elsewhere
            for about in captures.open.values():
                if about.position < self._journal.first:
                    self._cut(about, about.position)
        self._spans = {first: spans for first, spans in self._spans.items() if first >= self._journal.first}
        while position < stop:
            position, before = self._go_on(position), position
            if position == before:
                break
        for alarm_id, about in list(captures.open.items()):
            about.position = max(position, about.position)
            if self._over(about, position):
                captures.finish(alarm_id)
                self._until.pop(alarm_id, None), self._since.pop(alarm_id, None)
            else:
                captures.note(alarm_id, about.position)

    def _go_on(self, position: int) -> int:
        """Look through one read of the journal, or pass over a stretch in which nobody can find anything; where to go on."""
        stretch = self._journal.stretch(position)
        spans = self._spans.get(stretch[0]) if stretch and position <= stretch[0] else None
        if stretch and spans and not any(
            spans.has({device for device, _ in about.numbers}, _first(about, stretch[1]), _last(about))
            for about in self._captures.open.values() if about.position < stretch[1]
        ):
            for about in self._captures.open.values():
                about.position = max(about.position, stretch[1])
            return stretch[1]
        records = self._journal.read(position, READ_BYTES)
        if records.next > position:
            if stretch == (records.origin, records.next) and not spans:
                self._spans[records.origin] = Spans(records)
            self._share(records, records.next)
        return records.next

    def _share(self, records: Any, end: int) -> None:
        waiting = [(name, about) for name, about in self._captures.open.items() if about.position < end]
        sieve = Sieve(records, {device for _, about in waiting for device, _ in about.numbers})
        for alarm_id, about in waiting:
            begin, since = max(0, about.position - records.origin), None
            if about.replayable:
                since = max(begin, about.origin - records.origin)
            offsets, lengths = sieve.places(about.numbers, about.from_ns, _last(about), begin, since)
            if len(offsets):
                self._add(alarm_id, sieve, offsets, lengths, since)
            about.position = end

    def _add(self, alarm_id: str, sieve: Sieve, offsets: NDArray[np.int64], lengths: NDArray[np.int64], since: int | None) -> None:
        """Frames, as many as there is room for; those from ``since`` on came behind its state."""
        about = self._captures.open[alarm_id]
        was, fit = about.whole, self._captures.fit(alarm_id, lengths)
        if fit:
            about.before += fit if since is None else int(np.searchsorted(offsets[:fit], since))
            self._captures.add(alarm_id, sieve.copy((offsets[:fit], lengths[:fit])), fit)
        if was and not about.whole:
            self._cut(about, about.position)

    @staticmethod
    def _cut(about: About, position: int) -> None:
        """Frames from ``position`` on are not all in it."""
        about.whole = False
        if position < about.raised and about.replayable:
            about.replayable, about.why = False, "it was cut short before the alarm was raised"

    def _over(self, about: About, position: int) -> bool:
        if about.to_ns is not None:
            return position >= self._until.get(about.alarm_id, 0)
        since = self._since.setdefault(about.alarm_id, time.monotonic())
        if time.monotonic() - since > LONGEST_S:
            about.to_ns, about.whole = about.from_ns + BEFORE_NS + LONGEST_S * NS, False
        return not about.whole and (about.to_ns is not None or about.bytes > self._captures.longest_bytes // 2)


def _cuts(stretch: tuple[int, int], begin: int, end: int) -> bool:
    """Whether [begin, end) has some of a stretch but not all of it."""
    return begin < stretch[1] and end > stretch[0] and not (begin <= stretch[0] and stretch[1] <= end)


def _first(about: About, end: int) -> int:
    """From when a capture wants frames of a stretch of the journal: what was judged behind its state belongs to it, however old."""
    return EVER_NS if about.replayable and end > about.origin else about.from_ns


def _last(about: About) -> int:
    """Until when a capture wants frames."""
    return about.to_ns if about.to_ns is not None else about.from_ns + BEFORE_NS + LONGEST_S * NS
