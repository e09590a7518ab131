"""Devices that reboot, double, reorder and go silent, all at once, written from the wire's description alone.

Each sends pieces of a fifth of a second in order of its own: one to three times, the last few shuffled within the reorder
window, old ones again; it is silent for seconds, and it boots anew with the next epoch, either when all is acknowledged or in
the middle of sending, when what had not left is gone for ever.

The truth is an engine by itself over what the journal has of each device, in the order of its epochs and numbers: everything
that was acknowledged must be there, once.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import zmq

from lifeline_core import wire
from lifeline_core.engine import Engine
from lifeline_core.model import NS
from lifeline_core.service.recovery import segment_bytes
from lifeline_core.service.sockets import end
from lifeline_core.store.journal import FRAME, Journal
from tests.faults.stage import Broken, Stage, expect, where
from tests.service_city import DEVICE, T0, city_text, level
from tests.stranger import unpack

RATE, SIZE = 10, 2  # Hz, samples of a piece
WINDOW, SHUFFLED = 40, 5  # pieces on their way; pieces that may change places: a second, the window is of two
SILENCE_S = 0.5  # without progress: again from ack + 1
JOURNAL_MIB = 256  # so that at the end all of it is still there
BOOT_S = 0.6  # nothing of the old connection is under way any more
Tell = Callable[[str], None]


class Player:
    """One device. ``done`` counts what it did."""

    def __init__(self, context: zmq.Context[Any], address: str, number: int, rng: random.Random) -> None:
        self.number = number
        self.done = dict.fromkeys(("pieces", "again", "shuffled", "silences", "boots", "crashes"), 0)
        self.acked: dict[int, int] = {}  # by epoch
        self._context, self._address, self._rng = context, address, rng
        self._epoch = self._since = 0  # pieces before this epoch
        self._boot()

    def _boot(self) -> None:
        if self._epoch:
            self._socket.close(0)
            self._since += self._next
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(self._address)
        self._epoch += 1
        self._next, self._moved = 0, time.monotonic()
        self._quiet_until = self._moved + (BOOT_S if self._epoch > 1 else 0.0)
        self.acked[self._epoch] = -1

    @property
    def settled(self) -> bool:
        return self.acked[self._epoch] == self._next - 1

    def piece(self, seq: int) -> bytes:
        at = self._since + seq
        samples = np.full((1, SIZE), level(at * SIZE // RATE), np.float32)
        told = {"sample_index": SIZE * seq, "t0_ns": T0 + at * SIZE * NS // RATE, "rate": RATE, "channel": 0}
        return wire.pack(samples, device=self.number, epoch=self._epoch, seq=seq, **told)  # type: ignore[arg-type]

    def turn(self, *, ending: bool = False) -> None:
        """Hear; then do the next thing, if it is time."""
        self._hear()
        now, rng = time.monotonic(), self._rng
        if now < self._quiet_until:
            return
        acked = self.acked[self._epoch]
        if not self.settled and now - self._moved > SILENCE_S:
            self._moved = now
            for seq in range(acked + 1, self._next):
                self._send(seq)
        if ending:
            return
        if self.settled and self._next > WINDOW and rng.random() < 0.05:
            if rng.random() < 0.5:
                self.done["silences"] += 1
                self._quiet_until = now + rng.choice((0.7, 1.5, 6.5))  # longer than a hole is waited for, too
            else:
                self.done["boots"] += 1
                self._boot()
        elif self._next > WINDOW and rng.random() < 0.003:
            self.done["crashes"] += 1
            self._boot()
        elif self._next - acked <= WINDOW - SHUFFLED:
            self._play()

    def _play(self) -> None:
        """A few pieces more."""
        rng = self._rng
        few = list(range(self._next, self._next + rng.randint(1, SHUFFLED)))
        self._next += len(few)
        self.done["pieces"] += len(few)
        if few[0] > 0 and rng.random() < 0.5:  # the first number that is seen begins a stream
            rng.shuffle(few)
            self.done["shuffled"] += 1
        for seq in few:
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                self._send(seq)
        if self.acked[self._epoch] > 0 and rng.random() < 0.2:
            self._send(rng.randint(0, self.acked[self._epoch]))

    def _send(self, seq: int) -> None:
        self._socket.send(self.piece(seq))
        self.done["again"] += 1  # less the first time each, in the end

    def _hear(self) -> None:
        while self._socket.poll(0):
            said = msgpack.unpackb(self._socket.recv())
            if "refused" in said:
                raise Broken(f"the service refused a sound frame: {said}")
            if said.get("epoch") == self._epoch and said.get("ack", -1) > self.acked[self._epoch]:
                self.acked[self._epoch], self._moved = said["ack"], time.monotonic()
                expect("acknowledged what was not sent", self.acked[self._epoch] >= self._next, False)


def devices(seconds: float, seed: int, tell: Tell, *, number: int = 4) -> dict[str, Any]:
    """``number`` of them play for so long."""
    rng, context = random.Random(seed), zmq.Context()
    with where("devices") as folder:
        text = city_text(folder / "data", ipc=folder).replace("journal_mib = 16", f"journal_mib = {JOURNAL_MIB}")
        for k in range(1, number):
            text += f'[channel.well-{k}]\nsite = "north"\ndevice = {DEVICE + k}\nchannel = 0\nunit = "kPa"\nrate_hz = 10.0\n'
            text += f'[watch.well-{k}-high]\nsite = "north"\nchannels = ["well-{k}"]\ndetector = "level"\n'
            text += "limits = [ {severity = 2, above = 25.0}, {severity = 4, above = 50.0} ]\n"
        with Stage(folder, text) as stage:
            process = stage.start()
            try:
                if not process.ready():
                    raise Broken("the service does not start")
                players = [Player(context, process.said["ingest"], DEVICE + k, random.Random(rng.random())) for k in range(number)]
                _play(players, seconds)
                with stage.feed() as feed:
                    stats = stage.settled(feed)
                    alarms = stage.check_feed(feed)
                    stage.read_by_consumer(len(alarms))
            finally:
                end(context)
                code = process.end(signal.SIGTERM)
            expect("how the service ended", code, 0)
            said = _check(stage, players, stats, alarms)
    tell(str(said))
    return said


def _play(players: list[Player], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for player in players:
            player.turn()
        time.sleep(0.002)
    until = time.monotonic() + 30.0
    while not all(player.settled for player in players):
        if time.monotonic() > until:
            raise Broken("not everything is acknowledged half a minute after the end")
        for player in players:
            player.turn(ending=True)
        time.sleep(0.002)


def _received(directory: Path) -> dict[int, dict[tuple[int, int], bytes]]:
    """By device: (epoch, seq) to the frame, as the journal has them, once each."""
    found: dict[int, dict[tuple[int, int], bytes]] = {}
    budget = JOURNAL_MIB << 20
    with Journal(directory, budget_bytes=budget, segment_bytes=segment_bytes(budget, 64 << 10)) as journal:
        position = journal.first
        expect("the journal's beginning", position, 0)
        while (records := journal.read(position)).next != position:
            position = records.next
            for k in np.flatnonzero(records.kinds == FRAME):
                frame = bytes(records.payload(int(k)))
                head = unpack(frame)
                first = found.setdefault(head["device"], {}).setdefault((head["epoch"], head["seq"]), frame)
                expect("one number, two frames", first == frame, True)
    return found


def _check(stage: Stage, players: list[Player], stats: dict[str, Any], alarms: list[Any]) -> dict[str, Any]:
    received, alone, truth = _received(stage.folder / "data" / "journal"), Engine(stage.city), []
    for player in players:
        mine = received[player.number]
        for epoch, acked in player.acked.items():
            missing = [seq for seq in range(acked + 1) if (epoch, seq) not in mine]
            expect(f"acknowledged and not in the journal, device {player.number}, epoch {epoch}", missing, [])
        truth += alone.push([mine[key] for key in sorted(mine)])
    counted = alone.stats()
    names = ("frames", "samples", "epochs", "lost_frames", "gaps", "lost_samples", "backfilled", "late", "overlaps")
    expect("counters", {name: stats[name] for name in names}, {name: counted[name] for name in names})
    stage.check_alarms(alarms, truth, lambda alarm: alarm.watch)
    done = {name: sum(player.done[name] for player in players) for name in players[0].done}
    done["again"] -= done["pieces"]
    return {"frames": stats["frames"], "alarms": len(alarms), "duplicates": stats["duplicates"]} | done
