"""Who listens to a service that is hurt: the live view, a consumer with a cursor, an operator. Each is a thread that goes on.

What each was told is kept, and is a promise: an alarm that was published stays in the feed as it is, a cursor that was
acknowledged does not fall back, a command that was answered stands.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from lifeline_core.model import Alarm
from lifeline_core.service import FeedClient, LiveView
from lifeline_core.service.feed import FeedRefused

PATIENCE_S = 1.0  # for an answer; the service that owes it may be dead


class Reader(threading.Thread):
    """Runs `turn` until `close`. ``keys`` are those of `FeedClient`, where the service asks for some."""

    def __init__(self, folder: Path, keys: Mapping[str, str]) -> None:
        super().__init__(name=type(self).__name__, daemon=True)
        self.folder, self.keys = folder, keys
        self._going = True

    def run(self) -> None:
        with contextlib.closing(self.open()) as client:
            while self._going:
                with contextlib.suppress(TimeoutError, FeedRefused):  # its disk may be broken at that moment
                    self.turn(client)

    def open(self) -> Any:
        return FeedClient(f"ipc://{self.folder / 'feed'}", timeout=PATIENCE_S, **self.keys)

    def turn(self, client: Any) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._going = False
        self.join(30)


class Listener(Reader):
    """The live view: ``published`` as it came."""

    def __init__(self, folder: Path, keys: Mapping[str, str]) -> None:
        super().__init__(folder, keys)
        self.published: list[Alarm] = []

    def open(self) -> LiveView:
        return LiveView(f"ipc://{self.folder / 'alarms'}", **self.keys)

    def turn(self, client: LiveView) -> None:
        if (got := client.next(0.05)) is not None:
            self.published.append(got[1])


class Consumer(Reader):
    """A named cursor. ``told`` is the alarm of each seq as it was read first; ``faults`` what was against the promise."""

    NAME = "platform"

    def __init__(self, folder: Path, keys: Mapping[str, str]) -> None:
        super().__init__(folder, keys)
        self.told: dict[int, Alarm] = {}
        self.acked = 0  # that was answered
        self.again = 0  # alarms read more than once
        self.faults: list[str] = []

    def turn(self, client: FeedClient) -> None:
        acked = self.acked
        alarms, cursor = client.read(self.NAME, wait_ms=50)
        if alarms and alarms[0].seq <= acked:
            self.faults.append(f"seq {alarms[0].seq} was read although {acked} was acknowledged")
        if alarms and alarms[0].seq > max(self.told, default=0) + 1:
            self.faults.append(f"seq {alarms[0].seq} came after {max(self.told, default=0)}")
        for alarm in alarms:
            before = self.told.setdefault(alarm.seq, alarm)
            self.again += before is not alarm
            if before != alarm:
                self.faults.append(f"seq {alarm.seq} was {before} and is {alarm}")
        if alarms:
            self.acked = max(self.acked, client.ack(self.NAME, cursor))


class Operator(Reader):
    """Confirms alarms as they are published, each once. ``answered`` are the ids of those whose confirmation was answered."""

    ACTOR = "night shift"
    EVERY_S = 0.02

    def __init__(self, folder: Path, keys: Mapping[str, str], published: Sequence[Alarm]) -> None:
        super().__init__(folder, keys)
        self.answered: set[str] = set()
        self._published, self._tried = published, set[str]()

    def turn(self, client: FeedClient) -> None:
        time.sleep(self.EVERY_S)
        if not self._published or (identity := self._published[-1].alarm_id) in self._tried:
            return
        self._tried.add(identity)
        client.command(identity, "confirm", actor=self.ACTOR)
        self.answered.add(identity)


def without_handling(alarms: Sequence[Alarm], touched: Container[str]) -> list[Alarm]:
    """The same alarms as if no operator had touched them: his revisions are left out, the others numbered without them.

    When a touched alarm was updated is not told: a step of an operator counts as an update for the revisions behind it, too.
    """
    left: list[Alarm] = []
    steps: dict[str, int] = {}
    for alarm in alarms:
        done = len(alarm.evidence.get("log", ()))
        if done > steps.get(alarm.alarm_id, 0):
            steps[alarm.alarm_id] = done
        elif alarm.alarm_id in touched:
            evidence = {key: value for key, value in alarm.evidence.items() if key != "log"}
            left.append(replace(alarm, revision=alarm.revision - done, handling="new", evidence=evidence, updated_ns=0))
        else:
            left.append(alarm)
    return left
