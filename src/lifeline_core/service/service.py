"""The service: sockets, threads and stores of one city, started and stopped as one.

::

    devices -> ingest thread -> journal -> engine thread -> desk thread -> outbox, live view, feed
                     ^--------- replies -------'  ^------- commands --------'
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as NotInTime
from pathlib import Path
from typing import Any

import msgspec
import zmq

from lifeline_core.errors import LifelineError, StoreError
from lifeline_core.model import City
from lifeline_core.service import figures, sockets
from lifeline_core.service.archivist import LONGEST_BYTES, Archivist
from lifeline_core.service.bell import Bell
from lifeline_core.service.certificates import read_keys, serve_curve
from lifeline_core.service.deadletters import DeadLetterBox
from lifeline_core.service.desk import Desk
from lifeline_core.service.evidence import Evidence
from lifeline_core.service.guard import Guard
from lifeline_core.service.hall import Hall
from lifeline_core.service.ingest import Ingest
from lifeline_core.service.log import Log
from lifeline_core.service.metrics import MetricsServer
from lifeline_core.service.origins import Origins
from lifeline_core.service.recovery import Start, recover
from lifeline_core.service.replies import Replies
from lifeline_core.service.requests import MAX_BODY, Requests
from lifeline_core.service.runner import Runner
from lifeline_core.service.sockets import end
from lifeline_core.service.trouble import damage_alarm
from lifeline_core.store.captures import Captures
from lifeline_core.store.deadletter import DeadLetters
from lifeline_core.store.outbox import Outbox

DRAIN_S = 60.0  # for each thread to end what it has
KEYS_S = 1.0  # between two looks at why keys are not taken yet


class Service:
    """One city's service in this process.

    Parameters
    ----------
    city : City
    receiver : "auto", "compiled" or "plain"
        The loop that reads the device socket; auto takes the compiled one where it works.

    Examples
    --------
    ::

        with Service(load_city("city.toml")) as service:
            print(service.endpoints)
    """

    def __init__(self, city: City, *, receiver: str = "auto") -> None:
        self.city = city
        self.log = Log()
        self.failure = ""  # why a thread ended by itself
        self.ended = threading.Event()
        self.problems: list[str] = []  # what the start found damaged
        self.endpoints: dict[str, str] = {}
        self._receiver = receiver
        self._undo = contextlib.ExitStack()
        self._started = False
        self.reloads = self.reloads_refused = 0
        self._guard: Guard | None = None
        self._prepare: Callable[[zmq.Socket[bytes], str], None] | None = None

    # -- life -----------------------------------------------------------------------------------------------------

    def start(self) -> Service:
        """Recover, bind, run.

        Raises
        ------
        ConfigError
            An address cannot be bound; the text names the key, the address and the reason.
        StoreError
            The data directory is in use or cannot be written.
        """
        if self._started:
            raise RuntimeError("a service is started once")
        self._started = True
        try:
            with contextlib.ExitStack() as undo:
                self._open(undo)
                self._undo = undo.pop_all()
        except BaseException:
            self.ended.set()
            raise
        return self

    def _open(self, undo: contextlib.ExitStack) -> None:
        settings = self.city.service
        data_dir = Path(settings.data_dir)
        data_dir.mkdir(parents=True, exist_ok=True)
        began = recover(self.city, data_dir)
        undo.callback(began.journal.close)
        self._journal = began.journal
        self._outbox = Outbox(data_dir / "outbox.sqlite", self._sync_first if settings.durability == "disk" else None)
        undo.callback(self._outbox.close)
        self._captures = Captures(data_dir / "evidence", budget_bytes=settings.evidence_mib << 20, longest_bytes=LONGEST_BYTES)
        damage = [*began.problems, *self._outbox.problems, *self._captures.problems]
        self.problems = [*damage, *began.notes]
        for problem in self.problems:
            self.log.warning("start-problem: " + problem.split(":")[0], problem=problem)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        undo.callback(end, context, linger_ms=500)
        guard = self._guarded(context, undo)
        ingest, live, feed = self._bind(context, undo)
        if guard is not None:
            guard.listen((ingest, live, feed))
        self._box = DeadLetterBox(DeadLetters(data_dir / "dead-letters", settings.dead_letter_mib << 20), self.log)
        undo.callback(self._box.close)
        self._wire(began, data_dir, ingest, live, feed, undo)
        self._metrics = MetricsServer(settings.metrics, self.numbers, self.health)
        undo.callback(self._metrics.close)
        self.endpoints = {
            "ingest": sockets.address(ingest),
            "alarms": sockets.address(live),
            "feed": sockets.address(feed),
            "metrics": self._metrics.address,
        }
        for thread in (self._desk, self._runner, self._ingest):
            thread.start()
        if damage:
            self._desk.hand([damage_alarm(damage, time.time_ns(), self.city.hash)])
        self.log.info("started", receiver=self._ingest.receiver.name, position=began.position, **self.endpoints)

    def _sync_first(self) -> None:
        """Before alarms are committed. A refusal is no reason to hold them back; the engine's thread will meet it, too."""
        try:
            self._journal.sync()
        except StoreError as error:
            self.log.error("journal-not-synced", error=str(error))

    def _guarded(self, context: zmq.Context[zmq.Socket[bytes]], undo: contextlib.ExitStack) -> Guard | None:
        """With mode curve: keys before sockets."""
        security = self.city.security
        if security.mode != "curve":
            return None
        keys = read_keys(security.key_file or "", "security.key_file")
        self._prepare = lambda socket, domain: serve_curve(socket, keys, domain)
        self._guard = guard = Guard(self.city.clients, self.log, self.city.hash)
        undo.callback(guard.close)
        guard.start(context)
        return guard

    def _bind(self, context: zmq.Context[zmq.Socket[bytes]], undo: contextlib.ExitStack) -> list[zmq.Socket[bytes]]:
        """The sockets for ingest, alarms and feed. Each is closed by the thread that gets it."""
        s = self.city.service
        table = (
            (zmq.ROUTER, s.ingest, "ingest", {zmq.MAXMSGSIZE: s.max_frame_kib << 10, zmq.RCVHWM: 1000, zmq.SNDHWM: 1000}),
            (zmq.PUB, s.alarms, "alarms", {zmq.MAXMSGSIZE: 4096, zmq.SNDHWM: 10_000}),
            (zmq.ROUTER, s.feed, "feed", {zmq.MAXMSGSIZE: 16 * MAX_BODY, zmq.RCVHWM: 100, zmq.SNDHWM: 100}),
        )
        bound: list[zmq.Socket[bytes]] = []
        for kind, endpoint, key, options in table:
            flags = {int(option): value for option, value in options.items()}
            bound.append(sockets.bind(context, kind, endpoint, key, flags, self._prepare))
            undo.callback(bound[-1].close, 0)
        return bound

    def _wire(
        self,
        began: Start,
        data_dir: Path,
        ingest: zmq.Socket[bytes],
        live: zmq.Socket[bytes],
        feed: zmq.Socket[bytes],
        undo: contextlib.ExitStack,
    ) -> None:
        """Who tells whom."""
        settings, journal = self.city.service, began.journal
        budget = settings.journal_mib << 20
        to_ingest, to_desk = Bell(), Bell()
        undo.callback(to_ingest.close)
        undo.callback(to_desk.close)
        hall = Hall(lambda: self._runner.position)
        replies = self._replies = Replies(to_ingest, self.credit, hall.acknowledged)
        origins = Origins(data_dir / "snapshots", self._captures.home)
        self._archivist = Archivist(self.city, journal, self._captures, self.log, origins)
        self._evidence = Evidence(self.city, journal, self._archivist)
        requests = self._requests = Requests(
            lambda record: self._ingest.command(record), lambda: self._runner.stats(), self._evidence, self.dropped
        )
        self._desk = Desk(
            self._outbox,
            journal,
            live,
            feed,
            to_desk,
            requests,
            self.log,
            directory=data_dir / "snapshots",
            keep_bytes=budget // 2,
            retain_days=settings.retain_days,
            pressed=lambda: self._ingest.blocked,
            failed=self._fail,
            archivist=self._archivist,
            guard=self._guard,
            levels=began.engine.city.levels,
            config_hash=self.city.hash,
            dropped=self.dropped,
        )
        self._runner = Runner(
            began.engine,
            journal,
            self._desk,
            replies,
            self._box,
            self.log,
            position=began.position,
            tick_ns=began.tick_ns,
            snapshot_s=settings.snapshot_s,
            snapshot_bytes=budget // 4,
            durable=settings.durability == "disk",
            pressed=lambda: self._ingest.blocked,
            refused=lambda: self._ingest.refused(),
            failed=self._fail,
        )
        self._ingest = Ingest(
            ingest,
            journal,
            to_ingest,
            replies,
            self._box,
            self.log,
            receiver=self._receiver,
            arena_bytes=max(8 << 20, 2 * (settings.max_frame_kib << 10)),
            last_tick_ns=began.tick_ns,
            appended=self._runner.more,
            failed=self._fail,
            alarmed=self._desk.hand,
            config_hash=self.city.hash,
            guard=self._guard,
            hall=hall,
        )

    def stop(self) -> None:
        """Stop reading, work the journal off to its end, commit, save a snapshot, close. Idempotent."""
        if not self._started or not hasattr(self, "_ingest") or self._ingest.ident is None:
            return
        undo, self._undo = self._undo, contextlib.ExitStack()
        with undo:
            self._ingest.stop_reading()
            self._ingest.idle.wait(DRAIN_S)
            for thread, finish in (
                (self._runner, self._runner.finish),
                (self._desk, self._desk.finish),
                (self._ingest, self._ingest.finish),
            ):
                finish()
                thread.join(DRAIN_S)
                if thread is self._runner and thread.is_alive():  # what is left is read at the next start
                    self._runner.give_up()
                    thread.join(DRAIN_S)
                if thread.is_alive():
                    self.log.error("does-not-end", thread=thread.name)
        self.ended.set()
        self.log.info("stopped")

    def __enter__(self) -> Service:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _fail(self, why: str) -> None:
        self.failure = self.failure or why
        self.ended.set()

    def reload(self, city: City) -> None:
        """Another configuration, between two batches: what did not change keeps its state. Over when every thread has taken it.

        Sites, channels, watches and clients are taken. Of ``[service]`` and the mode of ``[security]`` nothing is, until the
        next start; the log names what differs.
        """
        old = self.city
        waits = [f"service.{key}" for key in msgspec.structs.asdict(old.service)
                 if getattr(old.service, key) != getattr(city.service, key)]
        waits += ["security"] if old.security != city.security else []
        if waits:
            self.log.warning("reload-waits-for-a-start", keys=", ".join(waits))
        self.city = msgspec.structs.replace(city, service=old.service, security=old.security)
        self._runner.change(self.city)
        self._evidence.city = self._archivist.city = self.city
        if self._guard is not None:
            self._renew(self._guard)
        self.reloads += 1
        self.log.info("reloaded", config_hash=city.hash[:12])

    def _renew(self, guard: Guard) -> None:
        """The keys: withdrawn at the door at once, then as a whole by the thread that judges frames.

        While the journal is full that thread reads nothing and takes them when it goes on: whoever waits here also feeds the
        watchdog and hears SIGTERM, and must not wait for room on a disk.
        """
        clients = self.city.clients
        guard.withdraw(clients)
        self._ingest.renew(clients)
        while not guard.holds(clients, KEYS_S) and not self._ingest.idle.is_set():
            if self._ingest.blocked:
                self.log.warning("reload-waits-for-room", keys="client")
                return

    def rounds(self) -> tuple[int, ...]:
        """How often each thread has gone round; one that stands still hangs."""
        return self._ingest.rounds, self._runner.rounds, self._desk.rounds

    # -- figures --------------------------------------------------------------------------------------------------

    def credit(self) -> int:
        """Bytes a connection may have unacknowledged: less while the engine is far behind."""
        full = self.city.service.credit_kib << 10
        behind = self._journal.end - self._runner.position
        return full if behind < self.city.service.journal_mib << 18 else full // 4

    def stats(self, timeout: float = 5.0) -> dict[str, Any]:
        """The engine's counters."""
        return self._runner.stats().result(timeout)

    def dropped(self) -> dict[str, int]:
        """What was given up, by reason."""
        return figures.dropped(self._replies, self._box, self._desk, self._requests, self._archivist)

    def numbers(self) -> Mapping[str, Any]:
        """Every counter and gauge by name; without the engine's own when it does not answer in time."""
        engine: dict[str, Any] = {}
        with contextlib.suppress(NotInTime, LifelineError):
            engine = self.stats(2.0)
        around = figures.numbers(
            self._ingest, self._replies, self._box, self._desk, self._journal, self._outbox, self._archivist, self._guard
        )
        return engine | around | self.dropped() | {
            "start_problems": len(self.problems), "reloads": self.reloads, "reloads_refused": self.reloads_refused,
        }  # fmt: skip

    def health(self) -> dict[str, Any]:
        """``live``: every thread runs. ``ready``: recovered, reading, and alarms are being committed."""
        said = figures.health(self._ingest, self._runner, self._desk, self._journal, failed=bool(self.failure))
        return said | {"failure": self.failure, "problems": self.problems}
