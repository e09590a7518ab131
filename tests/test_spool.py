"""The queue on disk: what a device's process finds of the one before it, whatever ended that."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifeline_core import wire
from lifeline_core.device import Device
from lifeline_core.errors import StoreError
from lifeline_core.service import spooled
from lifeline_core.service.sockets import end
from lifeline_core.service.spool import Spool
from lifeline_core.service.spooled import Count
from tests.proxy import Proxy
from tests.test_device import NS, Script, pause, pump_until, ramp, wait_long

NOWHERE = "tcp://127.0.0.1:1"


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()
    yield script
    end(script.context)


def frame(k: int, **other: Any) -> bytes:
    return wire.pack(ramp(10), **{"device": 7, "epoch": 3, "t0_ns": k * NS, "rate": 10, "sample_index": 10 * k, **other})


def killed(folder: Path, to: Path) -> Path:
    """The folder as a kill -9 at this moment leaves it: everything that was written, nothing that would be at a close."""
    shutil.copytree(folder, to)
    return to


def told(got: list[Any]) -> list[tuple[int, ...]]:
    return [(f.epoch, f.seq, f.sample_index, f.flags) for f in got]


# ---- the device ----


def test_a_killed_process_goes_on_where_it_was(script: Script, tmp_path: Path) -> None:
    """Sent frames under their numbers, unsent ones as history behind what is new, and the time between as a gap."""
    with Proxy(script.port) as proxy, Device(proxy.endpoint, 7, spool=tmp_path / "a") as device:
        for k in range(3):
            device.send(ramp(10), k * NS, rate=10)
        script.frames(device, 3)
        script.ack(device, 0)
        pump_until(device, lambda: device.acked == 1)
        proxy.refusing = True
        proxy.cut()
        pause(device, 0.1)
        for k in range(3, 5):
            device.send(ramp(10), k * NS, rate=10)
        epoch = device.epoch
        left = killed(tmp_path / "a", tmp_path / "b")
    with Device(script.endpoint, 7, spool=left) as device:
        assert device.epoch == epoch and device.unacked == 4
        assert device.send(ramp(10), 9 * NS, rate=10) == 90  # 5 s are missing: 50 samples
        got = script.frames(device, 5)
        assert told(got) == [(epoch, 1, 10, 1), (epoch, 2, 20, 1), (epoch, 3, 90, 1), (epoch, 4, 30, 9), (epoch, 5, 40, 9)]
        assert [f.t0_ns // NS for f in got] == [1, 2, 9, 3, 4]
        script.ack(device, 5)
        assert device.drain(5)
        assert device.send(ramp(10), 10 * NS, rate=10) == 100
    with Device(NOWHERE, 7, spool=left) as device:
        assert (device.epoch, device.unacked) == (epoch, 1)
    with pytest.raises(StoreError, match="another process has it open"), Device(NOWHERE, 7, spool=left):
        Device(NOWHERE, 7, spool=left)


def test_killed_between_number_and_sending(script: Script, tmp_path: Path) -> None:
    """At whatever record the process ended, no number stands for two frames."""
    with Device(script.endpoint, 7, spool=tmp_path / "a", epoch=3) as device:
        for k in range(4):
            device.send(ramp(10), k * NS, rate=10)
        script.frames(device, 4)
        script.ack(device, 1)
        pump_until(device, lambda: device.acked == 2)
    (whole,) = (tmp_path / "a").glob("*.spool")
    data = whole.read_bytes()
    ends = [0, *(begin + len(body) for begin, _, body in spooled.records(data))]
    cuts = sorted({*ends, *(e - 1 for e in ends if e), *(e + 5 for e in ends[:-1]), *range(0, len(data), 53)})
    for cut in cuts:
        copy = tmp_path / f"cut{cut}"
        copy.mkdir()
        (copy / whole.name).write_bytes(data[:cut])
        spool = Spool(copy)
        found = spool.found
        assert found.damaged == 0 and found.torn_bytes == cut - max(e for e in ends if e <= cut)
        seqs = {s.seq for s in found.saved} - {-1}
        assert all(seq < found.counts[3, 0, 1].seq for seq in seqs)
        for s in found.saved:
            assert wire.decode(spool.frame(s.number)).sample_index == 10 * s.number
        spool.close()
        again = Spool(copy)  # the torn end was cut off: nothing looks damaged now
        assert (again.found.torn_bytes, len(again.found.saved)) == (0, len(found.saved))
        again.close()


@pytest.mark.parametrize("why", ["boot", "damage", "asked"])
def test_another_epoch_when_what_was_written_cannot_be_trusted(
    script: Script, tmp_path: Path, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old epoch's frames keep theirs; the new epoch begins only when the service has met the old one."""
    with Proxy(script.port) as proxy, Device(proxy.endpoint, 7, epoch=3, spool=tmp_path) as device:
        device.send(ramp(10), 0, rate=10)
        script.frames(device, 1)
        proxy.refusing = True
        proxy.cut()
        pause(device, 0.1)
        for k in range(1, 4):
            device.send(ramp(10), k * NS, rate=10)
    if why == "boot":
        monkeypatch.setattr(spooled, "boot_id", lambda: "another")
    if why == "damage":
        for _ in range(2):  # the segment must not be the newest: a bad end there is only torn
            Device(NOWHERE, 7, spool=tmp_path, epoch=3).close()
        first = min(tmp_path.glob("*.spool"))
        data = bytearray(first.read_bytes())
        data[-5] ^= 1  # in the last TAKE: one frame of four is lost
        first.write_bytes(data)
    with Device(script.endpoint, 7, spool=tmp_path, epoch=4 if why == "asked" else None) as device:
        assert device.epoch != 3 and device.unacked == (3 if why == "damage" else 4)
        assert device.send(ramp(10), 9 * NS, rate=10) == 0
        got = script.frames(device, 9, timeout=0.5)
        assert told(got) == [(3, 0, 0, 1), (3, 1, 10, 9)][: len(got)] and len(got) in (1, 2)
        script.say(ack=got[-1].seq, device=7, channel=0, epoch=3, credit=1 << 20)
        more = script.frames(device, 9, timeout=0.5)
        new = [f for f in more if f.epoch == device.epoch]
        assert told(new) == [(device.epoch, 0, 0, 1)]
        old = [f for f in more if f.epoch == 3]
        assert [f.seq for f in [*got, *old]] == list(range(device.unacked + len(got) - 1))
        assert all(f.flags == 9 for f in old)
        script.say(ack=9, device=7, channel=0, epoch=3)
        script.ack(device, 0)
        assert device.drain(5)


def test_memory_holds_what_is_live_and_the_disk_the_rest(script: Script, tmp_path: Path) -> None:
    with Proxy(script.port, refusing=True) as proxy, Device(proxy.endpoint, 7, spool=tmp_path, epoch=3) as device:
        for k in range(6):
            device.send(ramp(10), k * NS, rate=10)
        wait_long(device)
        device.send(ramp(10), 6 * NS, rate=10)
        held = device._flow.backlog
        assert len(held.history) == 6 and not any(kept.frame for kept in held.history)
        proxy.refusing = False
        got = script.frames(device, 7)
        assert [f.sample_index for f in got] == [60, *range(0, 60, 10)]
        assert [f.samples.tolist() == ramp(10).tolist() for f in got] == [True] * 7
        script.ack(device, 6)
        assert device.drain(5)


def test_frames_of_a_capture_keep_their_place(script: Script, tmp_path: Path) -> None:
    frames = [frame(k, seq=41 + k) for k in range(3)]
    with Device(NOWHERE, spool=tmp_path) as device:
        device.send_frames(frames)
    with Device(script.endpoint, spool=tmp_path) as device:
        assert told(script.frames(device, 3)) == [(3, 41, 0, 1), (3, 42, 10, 1), (3, 43, 20, 1)]
        script.say(ack=43, device=7, channel=0, epoch=3)
        assert device.drain(5)


def test_a_full_queue_on_disk_gives_up_the_oldest(tmp_path: Path) -> None:
    size = len(frame(0))
    with Device(NOWHERE, 7, spool=tmp_path, queue_bytes=5 * size, full="oldest", epoch=3) as device:
        for k in range(12):
            device.send(ramp(10), k * NS, rate=10)
        assert (device.dropped, device.unacked) == (7, 5)
    with Device(NOWHERE, 7, spool=tmp_path) as device:
        assert [kept.index for kept in device._flow.backlog] == [70, 80, 90, 100, 110]


def test_a_disk_that_takes_no_more_is_told_and_the_frame_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Device(NOWHERE, 7, spool=tmp_path, epoch=3) as device:
        device.send(ramp(10), 0, rate=10)
        spool = device._spool
        assert spool is not None
        monkeypatch.setattr(spool, "_file", Full(spool._file, 40))
        with pytest.raises(StoreError, match="no room for a record"):
            device.send(ramp(10), NS, rate=10)
        monkeypatch.undo()
        assert device.send(ramp(10), NS, rate=10) == 10
    with Device(NOWHERE, 7, spool=tmp_path) as device:
        assert [kept.index for kept in device._flow.backlog] == [0, 10]


class Full:
    """A file on a disk that has room for so many bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, data: bytes) -> int:
        return int(self.file.write(data[: self.room]))


# ---- the segments ----


def test_segments_go_when_their_frames_are_done(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=1000)
    spool.begin(3, {})
    numbers = []
    for k in range(40):
        numbers.append(spool.take(frame(k)))
        if spool.full:
            spool.begin(3, {(3, 0, 1): Count(0, 10 * k + 10, 0)})
    assert len(list(tmp_path.glob("*.spool"))) > 4 and spool.bytes > 4000
    for number in numbers:
        spool.done(number)
    spool.clean()
    assert len(list(tmp_path.glob("*.spool"))) == 1
    assert spool.bytes == sum(path.stat().st_size for path in tmp_path.glob("*.spool"))
    spool.close()
    again = Spool(tmp_path)
    assert again.found.saved == []
    again.close()


def test_one_frame_that_stays_does_not_keep_the_rest(script: Script, tmp_path: Path) -> None:
    """A channel nobody acknowledges, beside one that flows: the disk holds little more than the queue, and the frame stays."""
    size = len(wire.pack(np.zeros((1, 2000), np.int32), device=7, t0_ns=0, rate=2000))
    with Device(script.endpoint, 7, epoch=3, spool=tmp_path, queue_bytes=40 * size, resend_s=3600) as device:
        device.send(ramp(10), 0, rate=10, channel=9)
        most, k, acked = 0, 0, -1
        while k < 1500:
            for _ in range(20):
                device.send(np.full((1, 2000), k, np.int32), k * NS, rate=2000)
                k += 1
            acked = max([f.seq for f in script.frames(device, 20) if f.channel == 0], default=acked)
            script.ack(device, acked)
            pump_until(device, lambda seen=acked: device.acked == seen + 1)
            most = max(most, sum(path.stat().st_size for path in tmp_path.glob("*.spool")))
        assert 1500 * size > 11e6 and most < 2 * 40 * size + (6 << 20)
        assert device.unacked == 1
    with Device(NOWHERE, 7, spool=tmp_path) as device:
        assert [(kept.stream.channel, kept.seq) for kept in device._flow.backlog] == [(9, 0)]


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"spool .*file"):
        Device(NOWHERE, 7, spool=tmp_path / "file")


@pytest.mark.parametrize("seed", range(30))
def test_rubbish_in_the_folder_never_stops_a_device(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    spool = Spool(tmp_path, segment_bytes=400)
    spool.begin(3, {})
    for k in range(8):
        spool.take(frame(k))
        if spool.full:
            spool.begin(3, {})
    spool.close()
    for path in tmp_path.glob("*.spool"):
        data = bytearray(path.read_bytes())
        for _ in range(int(rng.integers(3))):
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(data)[: int(rng.integers(len(data) + 1))] if rng.random() < 0.3 else bytes(data))
    with Device(NOWHERE, 7, spool=tmp_path) as device:
        assert device.unacked <= 8
        for kept in device._flow.backlog:
            assert device._spool is not None
            assert wire.decode(device._spool.frame(kept.number)).sample_index == kept.index
        device.send(ramp(10), 0, rate=10)
