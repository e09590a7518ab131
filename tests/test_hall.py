"""Back-filled frames and their share: by hand, against a list, and a service with a device that fills without end."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

from lifeline_core import wire
from lifeline_core.model import FLAG_HISTORICAL, NS
from lifeline_core.service import Device, FeedClient, hall
from lifeline_core.service.backlog import FRAME_COST
from lifeline_core.service.hall import CROWDED, WAITS, Hall
from lifeline_core.service.receive import FRAME, GATEWAY, Batch
from lifeline_core.service.sockets import end
from tests.proxy import Proxy
from tests.service_city import DEVICE, T0, N, frame, make_city, read_all, running, send_second, until


def past(seq: int, **fields: Any) -> bytes:
    return frame(seq, flags=1 | FLAG_HISTORICAL, **fields)


SIZE = len(past(0))
COST = SIZE + FRAME_COST


def batch(frames: list[bytes], sources: list[int] | None = None) -> Batch:
    lengths = np.array([len(f) for f in frames], np.int64)
    kinds = [GATEWAY if f[0] & 0xF0 == 0x80 else FRAME for f in frames]
    return Batch(
        np.frombuffer(b"".join(frames), np.uint8), np.cumsum(lengths) - lengths, lengths,
        np.array(sources or [1] * len(frames), np.uint32), np.zeros(len(frames), np.uint32), np.array(kinds, np.uint8),
    )  # fmt: skip


def kinds(b: Batch) -> list[int]:
    return [int(k) for k in b.kinds]


class Line:
    """A hall before a journal that is a list, and an engine that reads when it is told."""

    def __init__(self) -> None:
        self.journal: list[bytes] = []
        self.read = 0
        self.hall = Hall(lambda: self.read)

    def come(self, *frames: bytes) -> list[int]:
        b = batch(list(frames))
        noted = self.hall.sort(b)
        self.journal += [b.payload(k) for k in range(len(b)) if b.kinds[k] in (FRAME, GATEWAY)]
        self.hall.note(noted, len(self.journal))
        return kinds(b)

    def admit(self, **how: bool) -> list[bytes]:
        out = [one.frame for one in self.hall.admit(**how)]
        self.journal += out
        self.hall.note(sum(len(f) + FRAME_COST for f in out), len(self.journal))
        return out


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setattr(hall, "SHARE_BYTES", 3 * COST)
    monkeypatch.setattr(hall, "TURN_BYTES", 1)
    return Line()


# ---- by hand ----


def test_history_past_its_share_waits_and_the_present_does_not(line: Line) -> None:
    assert line.come(*(past(s, device=9) for s in range(5)), frame(0)) == [FRAME] * 3 + [WAITS] * 2 + [FRAME]
    assert (line.hall.frames, line.hall.bytes, line.hall.held) == (2, 2 * SIZE, 2) and line.admit() == []
    assert line.come(past(5, device=9), past(0, device=8), frame(1)) == [WAITS, WAITS, FRAME]
    line.read = 2
    assert line.admit() == []  # a share is given back when all of what was appended at once is read
    line.read = len(line.journal)
    assert line.admit() == [past(3, device=9), past(0, device=8), past(4, device=9)]  # in turn
    assert line.admit() == [] and line.hall.frames == 1
    line.read = len(line.journal)
    assert line.admit() == [past(5, device=9)] and line.hall.frames == line.hall.bytes == 0
    assert line.come(past(6, device=9), frame(2)) == [FRAME, FRAME]


def test_a_stream_keeps_its_order(line: Line) -> None:
    line.come(*(past(s) for s in range(4)))
    assert line.come(frame(4), frame(0, channel=1), frame(0, epoch=2), frame(0, device=8)) == [WAITS, FRAME, FRAME, FRAME]
    hello = wire.pack(device=7, epoch=1, type=wire.HELLO)
    assert line.come(msgpack.packb({"device": 7}), hello, b"LLF1") == [GATEWAY, FRAME, FRAME]
    line.read = 99
    assert line.admit() == [past(3), frame(4)]


def test_a_frame_larger_than_the_share_goes_too(line: Line) -> None:
    giant = wire.pack(np.zeros((1, 9000), np.float32), device=7, epoch=1, t0_ns=T0, rate=N, flags=9)
    assert line.come(giant) == [WAITS]
    assert line.admit() == [giant] and line.come(past(1)) == [WAITS]


def test_what_finds_no_room_is_not_taken_until_it_comes_again(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hall, "ONE_BYTES", 2 * SIZE)
    assert line.come(*(past(s) for s in range(8)), frame(8)) == [FRAME] * 3 + [WAITS] * 2 + [CROWDED] * 4
    assert line.come(frame(9), past(0, device=9)) == [CROWDED, WAITS] and line.hall.crowded == 5
    line.read = 99
    line.admit()
    assert line.come(past(6), frame(8)) == [CROWDED] * 2  # five is still missing
    line.read = 99
    assert line.come(past(3), past(5), past(6), past(7)) == [WAITS, WAITS, CROWDED, CROWDED]
    line.read = 99
    assert line.admit() == [past(3), past(5)]
    line.read = 99
    assert line.come(past(6), past(7), frame(8)) == [WAITS, WAITS, CROWDED]
    line.admit()
    assert line.come(frame(8), frame(9)) == [FRAME, FRAME]
    assert not line.hall._cut


def test_bounds_of_all_streams_together(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hall, "ROOM_FRAMES", 4)
    assert line.come(*(past(0, device=d) for d in range(10))) == [FRAME] * 3 + [WAITS] * 4 + [CROWDED] * 3
    monkeypatch.setattr(hall, "ROOM_FRAMES", 99)
    monkeypatch.setattr(hall, "ROOM_BYTES", 5 * SIZE)
    assert line.come(*(past(0, device=d) for d in range(10, 13))) == [WAITS, CROWDED, CROWDED]
    assert len(line.admit(everything=True)) == 5 and line.hall.frames == 0


def test_those_who_fill_share_what_there_is(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hall, "TOLD_BYTES", 1200)
    monkeypatch.setattr(hall, "TOLD_ONE", 1000)
    assert line.hall.share(1) is None
    line.hall.sort(batch([past(0), frame(0, device=8), past(0, device=9)], [1, 2, 3]))
    assert [line.hall.share(s) for s in (1, 2, 3)] == [600, None, 600]
    later = time.monotonic() + hall.FILLING_S + 1
    monkeypatch.setattr(hall.time, "monotonic", lambda: later)
    line.hall.sort(batch([past(1)], [1]))
    assert [line.hall.share(s) for s in (1, 3)] == [1000, None]


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_doubled_or_out_of_order(line: Line, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Streams that send again from what is missing, as devices do: the journal has each of them whole, and the share holds."""
    monkeypatch.setattr(hall, "ONE_BYTES", 4 * SIZE)
    monkeypatch.setattr(hall, "ROOM_BYTES", 8 * SIZE)
    rng = random.Random(seed)
    streams = {d: [past(s, device=d) if rng.random() < 0.7 else frame(s, device=d) for s in range(30)] for d in range(5)}
    at = dict.fromkeys(streams, 0)
    for _ in range(4000):
        some = []
        for d in rng.sample(sorted(streams), 3):
            n = rng.randrange(5)
            some += streams[d][at[d] : at[d] + n]
            at[d] = min(30, at[d] + n)
        if some:
            line.come(*some)
        line.admit()
        unread = [f for f in line.journal[line.read :] if f[7] & FLAG_HISTORICAL]
        assert len(unread) <= 3, "the share is spent"
        line.read = rng.randint(line.read, len(line.journal))
        for d, frames in streams.items():
            there = {f for f in line.journal[: line.read] if f[8:12] == d.to_bytes(4, "little")}
            line.hall.acknowledged(1, d, 0, 1, next((s for s in range(30) if frames[s] not in there), 30) - 1)
        for d in rng.sample(sorted(streams), 1):  # no progress for a while
            there = {f for f in line.journal if f[8:12] == d.to_bytes(4, "little")}
            at[d] = next((s for s in range(30) if streams[d][s] not in there), 30)
        if all(set(frames) <= set(line.journal) for frames in streams.values()):
            break
    for frames in streams.values():
        firsts = list(dict.fromkeys(f for f in line.journal if f in set(frames)))
        assert firsts == frames


# ---- behind the service ----


def test_hours_of_the_past_are_read_and_the_present_never_waits_behind_more_than_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty minutes of an outage, and live frames of the same stream among them."""
    monkeypatch.setattr(hall, "SHARE_BYTES", 40 * COST)
    most: list[int] = []
    note = Hall.note

    def look(self: Hall, n_bytes: int, position: int) -> None:
        note(self, n_bytes, position)
        most.append(self._unread_bytes)

    monkeypatch.setattr(Hall, "note", look)
    with running(make_city(tmp_path)) as service, Proxy(int(service.endpoints["ingest"].rsplit(":", 1)[1]), refusing=True) as proxy:
        device = Device(proxy.endpoint, DEVICE, epoch=1)
        for second in range(3000):
            send_second(device, second, 1.0)
        for kept in device._flow.backlog.live:
            kept.taken -= 3600.0
        proxy.refusing = False
        for second in range(3000, 3020):
            send_second(device, second, 60.0 if second % 2 else 1.0)
            until(lambda: device.pump(0.002) or not device._flow.backlog.live)
        assert device.drain(40) and device.acked == 3020
        stats = service.stats()
        assert (stats["backfilled"], stats["lost_frames"], stats["duplicates"]) == (3000, 0, 0)
        assert 0 < max(most) <= 40 * COST + 64 * COST  # a batch that fits goes as one
        with FeedClient(service.endpoints["feed"]) as feed:
            alarms = until(lambda: len(got := read_all(feed)) >= 19 and got)
        assert sum(a.revision == 1 and not a.historical for a in alarms) == 10
        device.close()


def test_one_that_heeds_nobody_holds_up_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hall, "ONE_BYTES", 200 * SIZE)
    monkeypatch.setattr(hall, "SHARE_BYTES", 20 * COST)
    with running(make_city(tmp_path)) as service, FeedClient(service.endpoints["feed"]) as feed:
        context = zmq.Context()
        rude = context.socket(zmq.DEALER)
        rude.setsockopt(zmq.SNDHWM, 0)
        rude.connect(service.endpoints["ingest"])
        rude.send(frame(0, device=DEVICE, epoch=1, sample_index=10**9, t0_ns=T0 + 10**8 * NS, value=1.0))
        for second in range(1, 20_000):
            rude.send(past(second, value=1.0))
        until(lambda: service.numbers()["refused"].get("history-full"), what="the hall took everything")
        alarms = until(lambda: [a for a in read_all(feed) if a.kind == "overload"], what="nobody says so")
        assert alarms[0].evidence["overload"]["history_full"] > 0
        end(context)
