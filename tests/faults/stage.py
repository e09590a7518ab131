"""A service in a process of its own, those who listen to it, and what must hold between them whatever was done to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from lifeline_core.config import read_city
from lifeline_core.model import Alarm
from lifeline_core.service import FeedClient
from tests.faults.readers import Consumer, Listener, Operator, Reader, without_handling
from tests.service_city import read_all

SERVE = """
import json, sys
from lifeline_core.config import load_city
from lifeline_core.service import serve
city = load_city(sys.argv[1])
sys.exit(serve(city, ready=lambda service: print(json.dumps(service.endpoints), flush=True)))
"""
SETTLE_S = 30.0


class Broken(AssertionError):
    """What did not hold."""


def expect(what: str, found: Any, wanted: Any) -> None:
    if found == wanted:
        return
    if isinstance(found, list) and isinstance(wanted, list):
        at = next((k for k, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), min(len(found), len(wanted)))
        raise Broken(f"{what}: {len(found)}, expected {len(wanted)}; the first difference is at {at}: "
                     f"{found[at : at + 1]} for {wanted[at : at + 1]}")
    raise Broken(f"{what}: {found}, expected {wanted}")


@contextmanager
def where(what: str) -> Iterator[Path]:
    """A folder with a short name; where something breaks the end of its log is told with it."""
    with tempfile.TemporaryDirectory(prefix="ll") as name:
        try:
            yield Path(name)
        except Exception as error:
            log = Path(name) / "log"
            said = log.read_text(errors="replace")[-3000:] if log.exists() else ""
            raise Broken(f"{what}: {error if isinstance(error, Broken) else repr(error)}\n{said}") from error


class Process:
    """The service as a process of its own; ``before`` is put in front of its command (strace)."""

    def __init__(self, config: Path, log: Path, before: Sequence[str] = (), program: str = SERVE) -> None:
        self._log = log.open("ab")
        command = [*before, sys.executable, "-c", program, str(config)]
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, start_new_session=True)
        self.said: dict[str, str] = {}

    def ready(self) -> bool:
        """Wait until it runs; False when it died on the way."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        self.said = json.loads(line) if line else {}
        return bool(self.said)

    def dead(self) -> bool:
        return self.popen.poll() is not None

    def end(self, how: int) -> int:
        if not self.dead():
            os.killpg(self.popen.pid, how)  # strace passes nothing on
        try:
            self.popen.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.popen.pid, signal.SIGKILL)
            raise Broken("the service did not end within a minute") from None
        finally:
            self._log.close()
            if self.popen.stdout is not None:
                self.popen.stdout.close()
        return self.popen.returncode


class Stage:
    """A folder with a city, and who listens to its service. The feed and the live view are at ``ipc://`` in the folder."""

    def __init__(
        self, folder: Path, text: str, *, operated: bool = False, program: str = SERVE, keys: Mapping[str, str] | None = None
    ) -> None:
        self.folder, self.program, self.keys = folder, program, keys or {}
        self.config, self.log = folder / "city.toml", folder / "log"
        self.config.write_text(text)
        self.city = read_city(text)
        self._process: Process | None = None
        self.listener, self.consumer = Listener(folder, self.keys), Consumer(folder, self.keys)
        self.operator = Operator(folder, self.keys, self.listener.published) if operated else None
        self._readers: list[Reader] = [self.listener, self.consumer, *([self.operator] if self.operator else [])]
        for reader in self._readers:
            reader.start()

    @property
    def published(self) -> list[Alarm]:
        return self.listener.published

    def start(self, before: Sequence[str] = ()) -> Process:
        self._process = Process(self.config, self.log, before, self.program)
        return self._process

    def feed(self) -> FeedClient:
        return FeedClient(f"ipc://{self.folder / 'feed'}", timeout=SETTLE_S, **self.keys)

    def settled(self, feed: FeedClient, frames: int = 0) -> dict[str, Any]:
        """The service's counters once all of its journal, and so many frames, have been read."""
        until = time.monotonic() + SETTLE_S
        while (stats := feed.stats())["lag_bytes"] or stats["frames"] < frames:
            if time.monotonic() > until:
                break
            time.sleep(0.02)
        return stats

    def check_feed(self, feed: FeedClient, wanted: int = 0) -> list[Alarm]:
        """All of the feed, once there are so many alarms (an operator's steps not counted), against what was promised.

        Raises
        ------
        Broken
            The numbering has a hole, a revision is there twice; an alarm that was published or read is not in the feed or
            another one; a cursor fell back; a command that was answered did not stand.
        """
        published, told = list(self.published), dict(self.consumer.told)  # before the feed is read: it may say more, not less
        answered = set(self.operator.answered) if self.operator else set()
        until = time.monotonic() + SETTLE_S
        while len(without_handling(alarms := read_all(feed), ())) < wanted and time.monotonic() < until:
            time.sleep(0.05)
        expect("seq of the alarms", [a.seq for a in alarms], list(range(1, len(alarms) + 1)))
        known = {(a.alarm_id, a.revision): a for a in alarms}
        expect("alarms that are in the feed once", len(known), len(alarms))
        strange = [a for a in published if known.get((a.alarm_id, a.revision)) != a]
        expect("alarms published and not in the feed", strange, [])
        expect("what the consumer was told against the promise", self.consumer.faults, [])
        expect("alarms the consumer read and not in the feed", [a for seq, a in told.items() if alarms[seq - 1] != a], [])
        stands = {a.alarm_id for a in alarms if a.handling == "confirmed"}
        expect("commands that were answered and do not stand", sorted(answered - stands), [])
        return alarms

    def check_alarms(
        self, alarms: Sequence[Alarm], alone: Sequence[Alarm], order: Callable[[Alarm], str] = lambda alarm: ""
    ) -> None:
        """The feed against what an engine by itself says; an operator's steps and the service's own alarms left aside.

        ``order`` names what has an order of its own: between devices there is none.
        """
        touched = {a.alarm_id for a in alarms if a.evidence.get("log")}
        mine = [replace(a, seq=0, published_ns=0) for a in alarms if a.site != "service"]
        mine.sort(key=order)
        truth = [replace(a, updated_ns=0) if a.alarm_id in touched else a for a in sorted(alone, key=order)]
        expect("alarms", without_handling(mine, touched), truth)

    def read_by_consumer(self, last: int) -> None:
        """Wait until the consumer has all of them."""
        until = time.monotonic() + SETTLE_S
        while self.consumer.acked < last and time.monotonic() < until:
            time.sleep(0.02)
        expect("whether the consumer has come to the end", self.consumer.acked >= last, True)

    def close(self) -> None:
        """Nobody listens any more, and nothing runs: where something broke the service may still."""
        if self._process is not None and not self._process.dead():
            self._process.end(signal.SIGKILL)
        for reader in self._readers:
            reader.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
