"""The whole service with real sockets: acknowledgement, refusal, durability, restart, abuse."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import numpy as np
import pytest
import zmq

from lifeline_core import wire
from lifeline_core.config import read_city
from lifeline_core.engine import Engine
from lifeline_core.errors import ConfigError, StoreError
from lifeline_core.model import NS
from lifeline_core.service import Device, FeedClient, LiveView, Service
from lifeline_core.service.runner import Runner
from lifeline_core.service.sockets import end
from lifeline_core.service.trouble import Standing, overload_alarm
from lifeline_core.store.journal import FRAME, TICK, Journal
from tests.service_city import (
    DEVICE,
    SLOW,
    T0,
    city_text,
    frame,
    level,
    make_city,
    read_all,
    running,
    send_second,
    short_dir,
    until,
)

__all__ = ["short_dir"]


class Wire:
    """A bare DEALER: a device written from the wire's description alone."""

    def __init__(self, service: Service, kind: int = zmq.DEALER, identity: bytes | None = None, once: bool = False) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(kind)
        self.socket.setsockopt(zmq.LINGER, 0)
        if identity:
            self.socket.setsockopt(zmq.IDENTITY, identity)
        if once:  # it is cut off by the one that takes its name, and stays away
            self.socket.setsockopt(zmq.RECONNECT_IVL, -1)
        self.socket.connect(service.endpoints["ingest"])

    def send(self, *frames: bytes) -> None:
        for one in frames:
            self.socket.send(one)

    def hear(self, timeout: float = 5.0) -> dict[str, Any] | None:
        return msgpack.unpackb(self.socket.recv()) if self.socket.poll(int(timeout * 1000)) else None

    def hear_ack(self, seq: int, timeout: float = 10.0) -> dict[str, Any]:
        """Replies until the one that acknowledges ``seq``; every one before it acknowledged less."""
        last = -1
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            said = self.hear(0.2)
            if said is None or "ack" not in said:
                continue
            assert said["ack"] >= last
            last = said["ack"]
            if last >= seq:
                assert last == seq
                return said
        raise AssertionError(f"no acknowledgement of {seq}, the last was {last}")

    def close(self) -> None:
        end(self.context)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for the tests that leave it as it was; each uses a device or an epoch of its own."""
    with running(make_city(tmp_path_factory.mktemp("shared"))) as service:
        yield service


@pytest.mark.parametrize("receiver", ["compiled", "plain"])
def test_acknowledgements_are_cumulative_and_alarms_come_out(tmp_path: Path, receiver: str) -> None:
    with running(make_city(tmp_path), receiver=receiver) as service, Wire(service) as device:
        live = LiveView(service.endpoints["alarms"])
        time.sleep(0.2)
        device.send(*(frame(s) for s in range(20)))
        said = device.hear_ack(19)
        assert said == {"ack": 19, "device": DEVICE, "channel": 0, "epoch": 1, "credit": 1 << 20}
        with FeedClient(service.endpoints["feed"]) as feed:
            alarms = until(lambda: (got := read_all(feed)) and len(got) >= 13 and got)
            stats = feed.stats()
        assert [a.seq for a in alarms] == list(range(1, len(alarms) + 1))
        raised = [a for a in alarms if a.revision == 1]
        assert [(a.onset_ns - T0) // NS for a in raised] == [0, 3, 6, 9, 12, 15, 18]
        assert [a.severity for a in raised] == [4, 2, 2, 4, 2, 2, 4]
        assert all(a.published_ns > 0 for a in alarms)
        assert (stats["frames"], stats["samples"], stats["gaps"]) == (20, 200, 0)
        topic, first = live.next(5) or ("", None)
        assert topic == "alarm/4/water/north/well-high" and first == alarms[0]
        live.close()


def test_the_engine_alone_says_the_same(tmp_path: Path) -> None:
    city = make_city(tmp_path)
    frames = [frame(s) for s in range(30)]
    alone = Engine(city).push(frames)
    with running(city) as service, Wire(service) as device:
        device.send(*frames)
        device.hear_ack(29)
        with FeedClient(service.endpoints["feed"]) as feed:
            alarms = until(lambda: len(got := read_all(feed)) >= len(alone) and got)
    bare = [msgspec.structs.replace(a, seq=0, published_ns=0) for a in alarms]
    assert bare == alone


def test_duplicates_are_acknowledged_again_and_counted(shared: Service) -> None:
    before = shared.stats()
    with Wire(shared) as device:
        device.send(*(frame(s, epoch=100) for s in range(5)))
        device.hear_ack(4)
        device.send(frame(1, epoch=100))
        assert device.hear_ack(4)["epoch"] == 100
    after = shared.stats()
    assert after["duplicates"] - before["duplicates"] == 1
    assert after["frames"] - before["frames"] == 5


def test_refusals_are_answered_once_the_bytes_are_sound(shared: Service) -> None:
    with Wire(shared) as device:
        device.send(frame(0, device=999))
        said = device.hear()
        assert said == {"refused": "unknown-device", "device": 999, "channel": 0, "epoch": 1, "seq": 0}
        broken = bytearray(frame(0, epoch=101))
        broken[70] ^= 1
        device.send(bytes(broken), b"not a frame" * 8, b"LLF1", b"")
        assert device.hear(0.7) is None
        device.send(frame(0, epoch=101))
        assert device.hear_ack(0)["epoch"] == 101
    refused = shared.stats()["refused"]
    assert refused["unknown-device"] >= 1 and refused["crc"] >= 1 and refused["magic"] >= 1 and refused["short"] >= 1


def test_hello_is_answered_with_credit(shared: Service) -> None:
    with Wire(shared) as device:
        device.send(wire.pack(device=DEVICE, epoch=102, type=wire.HELLO))
        assert device.hear() == {"credit": 1 << 20, "device": DEVICE, "channel": 0, "epoch": 102}


def test_a_req_socket_can_be_a_device(shared: Service) -> None:
    with Wire(shared, zmq.REQ) as device:
        for second in range(3):
            device.send(frame(second, epoch=103))
            said = device.hear()
            assert said is not None and said["ack"] == second


def test_a_gateway_may_send_maps(shared: Service) -> None:
    samples = np.full(10, 1.0, np.float32).tobytes()
    said: dict[str, Any] = {
        "v": 1, "type": 0, "encoding": 4, "flags": 0, "device": DEVICE, "channel": 0, "n_channels": 1, "epoch": 104,
        "clock_sd_us": 0, "seq": 0, "sample_index": 0, "t0_ns": T0, "rate_num": 10, "rate_den": 1,
        "n_samples": 10, "samples": samples,
    }  # fmt: skip
    with Wire(shared) as device:
        device.send(msgpack.packb(said))
        assert device.hear_ack(0)["epoch"] == 104
        device.send(msgpack.packb({**said, "seq": 1, "sample_index": 10, "t0_ns": T0 + NS, "v": 2}))
        assert device.hear() == {"refused": "gateway", "device": DEVICE, "channel": 0, "epoch": 104, "seq": 1}
        device.send(msgpack.packb({"v": 1}))
        assert device.hear(0.5) is None
    assert shared.stats()["refused"]["gateway"] >= 2


def test_an_irregular_channel_alarms_too(shared: Service) -> None:
    with Device(shared.endpoints["ingest"], DEVICE, epoch=105) as device, FeedClient(shared.endpoints["feed"]) as feed:
        t = T0 + 500 * NS
        device.send(np.array([[1.0, 12.0]]), t_ns=np.array([[t, t + 60 * NS]]), channel=SLOW)
        assert device.drain(10) and device.acked == 1
        (alarm,) = until(lambda: [a for a in read_all(feed) if a.watch == "slow-high"])
        assert (alarm.severity, alarm.onset_ns, alarm.value) == (3, t + 60 * NS, 12.0)


def test_a_giant_message_cuts_its_sender_off_and_nobody_else(shared: Service) -> None:
    with Wire(shared) as bad, Wire(shared) as good:
        bad.send(b"LLF1" + bytes(70 * 1024))
        good.send(frame(0, epoch=106))
        assert good.hear_ack(0)["epoch"] == 106
        assert bad.hear(0.3) is None


def test_garbage_between_good_frames_is_counted_and_kept(tmp_path: Path) -> None:
    rng = random.Random(1)
    with running(make_city(tmp_path)) as service, Wire(service) as device, Wire(service) as other:
        total = 0
        for second in range(60):
            for _ in range(20):
                body = bytearray(frame(second))
                match rng.randrange(4):
                    case 0:
                        body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
                    case 1:
                        del body[rng.randrange(1, len(body)) :]
                    case 2:
                        body += rng.randbytes(rng.randrange(1, 50))
                    case _:
                        body = bytearray(rng.randbytes(rng.randrange(1, 200)))
                other.send(bytes(body))
                total += 1
            other.socket.send_multipart([b"one", b"two", b"three"])
            device.send(frame(second))
        device.hear_ack(59)
        until(lambda: sum(service.stats()["refused"].values()) >= total + 60)
        stats = service.stats()
        assert sum(stats["refused"].values()) == total + 60 and stats["refused"]["multipart"] == 60 and stats["frames"] == 60
        numbers = service.numbers()
        assert numbers["rubbish"] == 60
        reasons = {letter["reason"] for letter in service._box._store.read()}
        assert {"crc", "multipart"} <= reasons


def test_200_connections_come_and_go(shared: Service) -> None:
    context = zmq.Context()
    for k in range(200):
        dealer = context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.connect(shared.endpoints["ingest"])
        dealer.send(frame(k, epoch=107))
        if k % 10 == 0:
            assert dealer.poll(10_000)
            assert msgpack.unpackb(dealer.recv())["epoch"] == 107
        else:
            dealer.poll(20)
        dealer.close()
    end(context)
    assert shared.health()["ready"]


def test_a_device_that_reconnects_under_its_name_is_answered_there(shared: Service) -> None:
    with Wire(shared, identity=b"well-7", once=True) as before:
        before.send(frame(0, epoch=108))
        assert before.hear_ack(0)["epoch"] == 108
        with Wire(shared, identity=b"well-7") as after:
            after.send(frame(1, epoch=108))
            assert after.hear_ack(1)["epoch"] == 108
        assert before.hear(0.1) is None


def test_metrics_and_health_over_http(shared: Service) -> None:
    base = f"http://{shared.endpoints['metrics']}"
    text = urllib.request.urlopen(f"{base}/metrics", timeout=5).read().decode()
    for name in ("lifeline_frames_total", "lifeline_received_total", "lifeline_lag_bytes", 'lifeline_refused_total{reason="crc"}'):
        assert f"\n{name} " in text, text
    health = json.load(urllib.request.urlopen(f"{base}/healthz", timeout=5))
    assert health["live"] and health["ready"] and health["lag_bytes"] >= 0
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{base}/", timeout=5)


def test_a_taken_address_is_told_with_its_key(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for key, value in (("feed", f"tcp://127.0.0.1:{port}"), ("metrics", f"127.0.0.1:{port}")):
            with pytest.raises(ConfigError, match=rf"service\.{key}: cannot bind .*{port}.*in use"):
                Service(make_city(tmp_path, **{key: value})).start()
    with running(make_city(tmp_path)), pytest.raises(StoreError):
        Service(make_city(tmp_path)).start()


def test_a_stop_works_everything_off_and_a_start_goes_on(tmp_path: Path) -> None:
    city = make_city(tmp_path, snapshot_s=60.0)
    with running(city) as service, Device(service.endpoints["ingest"], DEVICE, epoch=1) as device:
        for second in range(7):
            send_second(device, second)
        assert device.drain(10)
    with running(city) as service, Device(service.endpoints["ingest"], DEVICE, epoch=1) as device:
        assert service.problems == []
        frames = [frame(s) for s in range(12)]
        device.send_frames(frames)
        assert device.drain(10)
        stats = service.stats()
        assert (stats["frames"], stats["duplicates"], stats["gaps"]) == (12, 7, 0)
        with FeedClient(service.endpoints["feed"]) as feed:
            alarms = read_all(feed)
    alone = Engine(city).push([frame(s) for s in range(12)])
    assert [(a.alarm_id, a.revision) for a in alarms] == [(a.alarm_id, a.revision) for a in alone]


def test_killed_while_a_snapshot_is_half_gathered_it_begins_at_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    city = make_city(tmp_path / "data", snapshot_s=0.05)
    with running(city) as service, Device(service.endpoints["ingest"], DEVICE, epoch=1) as device:
        for second in range(5):
            send_second(device, second)
        assert device.drain(10)
        until(lambda: service._desk.counts["snapshots"] and service._runner._saving is None)
        with monkeypatch.context() as held:
            held.setattr(Runner, "_gather", lambda runner, seconds: None)  # what is begun is never whole
            for second in range(5, 10):
                send_second(device, second)
            assert device.drain(10)  # which stops nothing
            until(lambda: service._runner._saving is not None and service._desk.backlog() == 0)
            until(lambda: list((tmp_path / "data" / "snapshots").glob("*.tmp")))  # the keeper has begun it, too
            shutil.copytree(tmp_path / "data", tmp_path / "killed")
    left = {path.suffix for path in (tmp_path / "killed" / "snapshots").iterdir()}
    assert left == {".lls", ".tmp"}
    city = make_city(tmp_path / "killed")
    with running(city) as service, FeedClient(service.endpoints["feed"]) as feed:
        assert service.problems == []
        until(lambda: service.health()["ready"])
        assert service.stats()["frames"] == 10
        alarms = read_all(feed)
    alone = Engine(city).push([frame(s) for s in range(10)])
    assert [(a.alarm_id, a.revision) for a in alarms] == [(a.alarm_id, a.revision) for a in alone]


def test_a_damaged_snapshot_does_not_stop_the_start(tmp_path: Path) -> None:
    city = make_city(tmp_path)
    with running(city) as service, Device(service.endpoints["ingest"], DEVICE, epoch=1) as device:
        for second in range(10):
            send_second(device, second)
        assert device.drain(10)
    for path in (tmp_path / "snapshots").glob("*.lls"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    with running(city) as service, FeedClient(service.endpoints["feed"]) as feed:
        assert any("snapshot" in problem for problem in service.problems)
        until(lambda: service.health()["ready"])
        assert service.stats()["frames"] == 10
        until(lambda: any(a.kind == "fault" for a in feed.read(after=0, max=1000)[0]))
        alarms = read_all(feed)
        (told,) = [a for a in alarms if a.kind == "fault"]
        assert told.site == "service" and any("snapshot" in problem for problem in told.evidence["problems"])
        assert len({(a.alarm_id, a.revision) for a in alarms}) == len(alarms) == 8


def test_a_poison_record_is_set_aside_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Engine.push_batch

    def push_batch(self: Engine, buf: Any, offsets: Any, lengths: Any) -> Any:
        for offset, length in zip(offsets, lengths, strict=True):
            if b"\xde\xad\xbe\xef" in bytes(buf[offset : offset + length]):
                raise ZeroDivisionError("poison")
        return real(self, buf, offsets, lengths)

    monkeypatch.setattr(Engine, "push_batch", push_batch)
    poison = frame(3, epoch=0xEFBEADDE)
    with running(make_city(tmp_path)) as service, Wire(service) as device:
        device.send(*(frame(s) for s in range(3)), poison, *(frame(s) for s in range(3, 6)))
        device.hear_ack(5)
        assert service.stats()["frames"] == 6
        assert service.stats()["engine_errors"] >= 1
        assert [letter["bytes"] for letter in service._box._store.read() if letter["reason"] == "engine-error"] == [poison]
        assert service.health()["live"]


def test_a_full_journal_holds_devices_back_until_the_engine_has_caught_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    real = Engine.push_batch

    def slow(self: Engine, *args: Any) -> Any:
        gate.wait(20)
        return real(self, *args)

    monkeypatch.setattr(Engine, "push_batch", slow)
    city = make_city(tmp_path, journal_mib=2, snapshot_s=0.2)
    samples = np.zeros((1, 10_000), np.float32)
    with running(city) as service, Wire(service) as device:
        frames = [wire.pack(samples, device=DEVICE, epoch=1, seq=k, sample_index=k * 10_000, t0_ns=T0 + k * 1000 * NS, rate=10)
                  for k in range(150)]  # fmt: skip
        sender = threading.Thread(target=lambda: device.send(*frames))
        sender.start()
        until(lambda: service.health()["blocked"])
        assert service._journal.end - service._journal.first <= 2 << 20
        assert not service.health()["ready"]
        gate.set()
        sender.join(20)
        device.hear_ack(149, 30)
        until(lambda: service.health()["ready"])
        assert service.stats()["frames"] == 150


def test_being_held_back_is_one_alarm() -> None:
    standing = Standing(lambda facts, t_ns: overload_alarm(facts, t_ns, "hash"), 60 * NS)
    assert standing.tick(0, False, {"times": 0}) == []
    (raised,) = standing.tick(NS, True, {"times": 1})
    assert (raised.watch, raised.kind, raised.process) == ("ingest", "overload", "active")
    assert standing.tick(2 * NS, True, {"times": 5}) == [] and standing.tick(61 * NS, False, {"times": 5}) == []
    (cleared,) = standing.tick(62 * NS, False, {"times": 5})
    assert (cleared.alarm_id, cleared.process, cleared.value) == (raised.alarm_id, "cleared", 5.0)
    assert standing.tick(63 * NS, False, {"times": 5}, ending=True) == []


def test_with_durability_disk_nothing_is_acknowledged_before_the_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    gate = threading.Event()
    real = Journal.sync

    def sync(self: Journal) -> int:
        order.append("sync")
        if not gate.is_set():
            gate.wait(20)
            raise StoreError(5, "refused")
        return real(self)

    with running(make_city(tmp_path, durability="disk")) as service, Wire(service) as device:
        monkeypatch.setattr(Journal, "sync", sync)
        device.send(frame(0))
        until(lambda: order)
        assert device.hear(0.3) is None
        gate.set()
        assert device.hear_ack(0)["ack"] == 0
        assert len(order) > 1


def test_ticks_are_in_the_journal_once_a_second_and_never_go_back(tmp_path: Path) -> None:
    ahead = T0 + 10**9 * NS  # later than the real clock, so that the ticks to look at are those past it
    walls = iter([ahead, ahead - 5 * NS, ahead + NS])
    with running(make_city(tmp_path, snapshot_s=60.0)) as service:
        journal = service._journal
        service._ingest._wall_ns = lambda: next(walls, ahead + 2 * NS)

        def ticks() -> list[int]:
            records = journal.read(journal.first)
            found = [int.from_bytes(records.payload(k), "little") for k in np.flatnonzero(records.kinds == TICK)]
            return [t for t in found if t >= ahead]

        until(lambda: len(ticks()) >= 4)
        found = ticks()
        assert found[0] == ahead and found[-1] >= ahead + 2 * NS
        assert (np.diff(found) > 0).all()  # none goes back, and none stands still
        assert not (journal.read(journal.first).kinds == FRAME).any()


SERVE = """
import json, sys
from lifeline_core.config import read_city
from lifeline_core.service import serve
city = read_city(open(sys.argv[1]).read())
sys.exit(serve(city, ready=lambda service: print(json.dumps(service.endpoints), flush=True)))
"""


class Process:
    """The service as a process of its own, to be killed."""

    def __init__(self, path: Path) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, self.popen.communicate()[1].decode()
        self.endpoints = json.loads(line)

    def end(self, how: int) -> int:
        self.popen.send_signal(how)
        self.popen.communicate(timeout=30)
        return self.popen.returncode


def test_sigterm_ends_it_well(short_dir: Path) -> None:
    config = short_dir / "city.toml"
    config.write_text(city_text(short_dir / "data", ipc=short_dir))
    process = Process(config)
    with Device(process.endpoints["ingest"], DEVICE, epoch=1) as device:
        send_second(device, 0)
        assert device.drain(10)
    assert process.end(signal.SIGTERM) == 0


def test_kill_9_at_any_moment_loses_no_alarm_and_repeats_none(short_dir: Path) -> None:
    """A device sends on while the service is killed four times; the feed must be what one unbroken run would have said."""
    rng = random.Random(20261122)
    config = short_dir / "city.toml"
    config.write_text(city_text(short_dir / "data", ipc=short_dir))
    published: list[Any] = []
    stop = threading.Event()

    def watch() -> None:
        live = LiveView(f"ipc://{short_dir / 'alarms'}")
        while not stop.is_set():
            if (got := live.next(0.05)) is not None:
                published.append(got[1])
        live.close()

    watcher = threading.Thread(target=watch)
    watcher.start()
    second = 0
    with Device(f"ipc://{short_dir / 'ingest'}", DEVICE, epoch=1, resend_s=0.3, identity=b"well") as device:
        for _ in range(4):
            process = Process(config)
            until_killed = time.monotonic() + rng.uniform(0.1, 1.6)
            while time.monotonic() < until_killed:
                if device.unacked < 50:
                    send_second(device, second)
                    second += 1
                device.pump(0.001)
            process.end(signal.SIGKILL)
        process = Process(config)
        assert device.drain(20), device.unacked
        assert device.acked == second
    with FeedClient(process.endpoints["feed"]) as feed:
        stats = feed.stats()
        alarms = read_all(feed)
    stop.set()
    watcher.join()
    assert process.end(signal.SIGTERM) == 0
    assert (stats["frames"], stats["gaps"]) == (second, 0)
    assert [a.seq for a in alarms] == list(range(1, len(alarms) + 1))
    keys = [(a.alarm_id, a.revision) for a in alarms]
    alone = Engine(read_city(config.read_text())).push([frame(s) for s in range(second)])
    assert keys == [(a.alarm_id, a.revision) for a in alone]
    assert published and {(a.alarm_id, a.revision, a.seq) for a in published} <= {(a.alarm_id, a.revision, a.seq) for a in alarms}
    assert level(0) > 25
