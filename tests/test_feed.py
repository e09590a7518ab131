"""The feed as a platform sees it: reading by cursor, acknowledgement, commands, evidence, and every refusal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
import zmq

from lifeline_core import wire
from lifeline_core.model import NS, Alarm
from lifeline_core.service import Device, FeedClient, FeedRefused, Service
from lifeline_core.service.desk import Desk
from lifeline_core.service.requests import MAX_BODY, understand
from lifeline_core.service.sockets import end
from tests.service_city import DEVICE, T0, frame, make_city, read_all, running, send_second, until


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that has seen twenty seconds of the well: seven episodes."""
    with running(make_city(tmp_path_factory.mktemp("feed"))) as service:
        with Device(service.endpoints["ingest"], DEVICE, epoch=1) as device:
            device.send_frames([frame(s) for s in range(20)])
            assert device.drain(10)
        until(lambda: service._outbox.last_seq >= 13)
        yield service


@pytest.fixture
def feed(service: Service) -> Iterator[FeedClient]:
    with FeedClient(service.endpoints["feed"]) as client:
        yield client


def ask(service: Service, *parts: bytes, kind: int = zmq.DEALER) -> list[bytes]:
    """One exchange on a bare socket."""
    context = zmq.Context()
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(service.endpoints["feed"])
    socket.send_multipart(parts)
    got = socket.recv_multipart() if socket.poll(5000) else []
    end(context)
    return got


def code(service: Service, body: bytes) -> str:
    (reply,) = ask(service, body)
    said = msgpack.unpackb(reply)
    assert said["ok"] is False and set(said) == {"ok", "error"} and set(said["error"]) == {"code", "text"}
    return str(said["error"]["code"])


def test_reading_repeats_until_the_cursor_is_acknowledged(feed: FeedClient) -> None:
    first, cursor = feed.read("platform-a", max=3)
    assert [a.seq for a in first] == [1, 2, 3] and cursor == 3
    assert feed.read("platform-a", max=3) == (first, 3)
    assert feed.ack("platform-a", 2) == 2
    again, cursor = feed.read("platform-a", max=3)
    assert [a.seq for a in again] == [3, 4, 5] and cursor == 5
    assert feed.ack("platform-a", 1) == 2
    assert feed.read("platform-b", max=1)[0][0].seq == 1
    assert [a.seq for a in feed.read(after=5, max=2)[0]] == [6, 7]
    assert feed.read("platform-a", after=0, max=1)[1] == 1


def test_at_the_end_the_cursor_stays(service: Service, feed: FeedClient) -> None:
    last = service._outbox.last_seq
    assert feed.read(after=last) == ([], last)
    assert feed.read(after=last + 1000) == ([], last + 1000)


def test_req_and_dealer_get_their_parts_back(service: Service) -> None:
    body = msgpack.packb({"op": "read", "after": 0, "max": 1})
    for kind, before in ((zmq.REQ, ()), (zmq.DEALER, ()), (zmq.DEALER, (b"",)), (zmq.DEALER, (b"id-9", b"", b"\x00x"))):
        *echoed, reply = ask(service, *before, body, kind=kind)
        said = msgpack.unpackb(reply)
        assert tuple(echoed) == before
        assert said["ok"] is True and said["cursor"] == 1 and len(said["alarms"]) == 1
        assert set(said["alarms"][0]) == {field.name for field in msgspec.structs.fields(Alarm)}


def test_a_long_poll_is_answered_by_the_next_alarm(service: Service) -> None:
    after = service._outbox.last_seq
    got: list[Any] = []

    def wait() -> None:
        with FeedClient(service.endpoints["feed"]) as client:
            got.append((client.read(after=after, wait_ms=20_000), time.monotonic()))

    readers = [threading.Thread(target=wait) for _ in range(3)]
    for reader in readers:
        reader.start()
    time.sleep(0.3)
    assert not got
    sent = time.monotonic()
    with Device(service.endpoints["ingest"], DEVICE, epoch=2) as device:
        device.send_frame(frame(100, epoch=2, value=99.0))
        assert device.drain(10)
    for reader in readers:
        reader.join(10)
    assert len(got) == 3 and all(alarms and cursor > after for (alarms, cursor), _ in got)
    assert all(at - sent < 10 for _, at in got)


def test_a_long_poll_without_an_alarm_ends_empty(service: Service, feed: FeedClient) -> None:
    started = time.monotonic()
    last = service._outbox.last_seq
    assert feed.read(after=last, wait_ms=300) == ([], last)
    assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "bad-message"),
        (b"\xc1", "bad-message"),
        (b"\x93\x01\x02\x03", "bad-message"),
        (msgpack.packb({1: "op"}), "bad-message"),
        (b"\x81" * 2000, "bad-message"),
        (b"\x91" * 5000 + b"\x01", "bad-message"),
        (msgpack.packb({"op": "read", "after": 0})[:-1], "bad-message"),
        (msgpack.packb({}), "unknown-op"),
        (msgpack.packb({"op": 3}), "unknown-op"),
        (msgpack.packb({"op": ["read"]}), "unknown-op"),
        (msgpack.packb({"op": "drop-tables"}), "unknown-op"),
        (msgpack.packb({"op": "read"}), "bad-request"),
        (msgpack.packb({"op": "read", "consumer": ""}), "bad-request"),
        (msgpack.packb({"op": "read", "consumer": 7}), "bad-request"),
        (msgpack.packb({"op": "read", "after": -1}), "bad-request"),
        (msgpack.packb({"op": "read", "after": 2**63}), "bad-request"),
        (msgpack.packb({"op": "read", "after": 1.5}), "bad-request"),
        (msgpack.packb({"op": "read", "after": 0, "max": 0}), "bad-request"),
        (msgpack.packb({"op": "read", "after": 0, "max": "all"}), "bad-request"),
        (msgpack.packb({"op": "read", "after": 0, "wait_ms": -1}), "bad-request"),
        (msgpack.packb({"op": "ack", "consumer": "x"}), "bad-request"),
        (msgpack.packb({"op": "ack", "consumer": "x", "cursor": 10**9}), "bad-cursor"),
        (msgpack.packb({"op": "command", "alarm_id": "a", "action": "confirm"}), "bad-request"),
        (msgpack.packb({"op": "command", "alarm_id": "a", "action": "confirm", "actor": "x"}), "unknown-alarm"),
        (msgpack.packb({"op": "evidence", "alarm_id": "0" * 32}), "unknown-alarm"),
        (msgpack.packb({"op": "stats", "pad": b"x" * MAX_BODY}), "too-large"),
    ],
)
def test_refusals_have_a_code_and_a_text(service: Service, body: bytes, expected: str) -> None:
    assert code(service, body) == expected


def test_a_giant_request_cuts_its_sender_off_only(service: Service, feed: FeedClient) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect(service.endpoints["feed"])
    socket.send(bytes(20 * MAX_BODY))
    assert not socket.poll(300)
    end(context)
    assert feed.stats()["frames"] >= 20


def test_operators_walk_an_alarm_through_its_handling(service: Service, feed: FeedClient) -> None:
    alarm = read_all(feed)[0]
    (confirmed,) = feed.command(alarm.alarm_id, "confirm", actor="li", reason="seen on site")
    assert confirmed.handling == "confirmed"
    committed = [a for a in read_all(feed) if a.alarm_id == alarm.alarm_id][-1]
    assert (committed.handling, committed.revision) == ("confirmed", confirmed.revision)
    with pytest.raises(FeedRefused) as refused:
        feed.command(alarm.alarm_id, "close", actor="li")
    assert refused.value.code == "bad-transition"
    with pytest.raises(FeedRefused) as refused:
        feed.command(alarm.alarm_id, "dance", actor="li")
    assert refused.value.code == "bad-action"
    with pytest.raises(FeedRefused) as refused:
        feed.command(alarm.alarm_id, "shelve", actor="li")
    assert refused.value.code == "bad-shelving"
    (shelved,) = feed.command(alarm.alarm_id, "shelve", actor="li", reason="works", until_ns=time.time_ns() + 3600 * NS)
    assert shelved.shelved_until_ns


def test_evidence_is_a_capture_of_the_frames_around_the_alarm(service: Service, feed: FeedClient) -> None:
    alarm = next(a for a in read_all(feed) if a.watch == "well-high" and a.onset_ns == T0 + 9 * NS)
    data = feed.evidence(alarm.alarm_id)
    found = [wire.decode(data[at : at + length]) for at, length in wire.read_capture(data)]
    assert [f.seq for f in found if isinstance(f, wire.Frame) and f.epoch == 1] == list(range(11))  # until the clear at 10
    reply = feed.ask({"op": "evidence", "alarm_id": alarm.alarm_id})
    assert reply["from_ns"] < alarm.onset_ns < reply["to_ns"] and reply["whole"] and reply["frames"] == len(found)


def test_reading_from_a_time_on_and_how_far_behind(feed: FeedClient) -> None:
    alarms = read_all(feed)
    middle = alarms[len(alarms) // 2]
    again, cursor = feed.read(since_ns=middle.published_ns, max=2)
    assert again[0].published_ns >= middle.published_ns and again[0].seq <= middle.seq
    assert (cursor, feed.lag) == (again[-1].seq, alarms[-1].seq - again[-1].seq)
    assert feed.read(since_ns=alarms[-1].published_ns + NS) == ([], alarms[-1].seq) and feed.lag == 0
    with pytest.raises(FeedRefused, match="not both"):
        feed.read(after=1, since_ns=1)


def test_stats_have_the_counters_of_the_description(feed: FeedClient) -> None:
    stats = feed.stats()
    assert {"frames", "samples", "refused", "gaps", "duplicates", "alarms"} <= set(stats)
    assert stats["frames"] >= 20 and stats["samples"] >= 200 and isinstance(stats["refused"], dict)


def test_cursors_and_alarms_survive_a_restart(tmp_path: Path) -> None:
    city = make_city(tmp_path)
    with running(city) as service, Device(service.endpoints["ingest"], DEVICE, epoch=1) as device:
        for second in range(10):
            send_second(device, second)
        assert device.drain(10)
        with FeedClient(service.endpoints["feed"]) as feed:
            until(lambda: feed.read(after=0)[1] >= 5)
            feed.read("platform", max=4)
            feed.ack("platform", 4)
            before = read_all(feed)
    with running(city) as service, FeedClient(service.endpoints["feed"]) as feed:
        assert read_all(feed) == before
        assert feed.read("platform", max=1)[0][0].seq == 5
        (confirmed,) = feed.command(before[-1].alarm_id, "confirm", actor="li")
        assert confirmed.revision == before[-1].revision + 1


def test_follow_acknowledges_what_was_taken(service: Service) -> None:
    with FeedClient(service.endpoints["feed"]) as feed:
        taken = []
        for alarm in feed.follow("follower", wait_ms=100):
            if alarm is None:
                break
            taken.append(alarm.seq)
        assert taken == list(range(1, len(taken) + 1)) and len(taken) >= 13
        assert feed.read("follower")[0] == []


def test_an_outbox_that_cannot_commit_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifeline_core.service.desk.RETRY_S", 0.1)
    real = Desk._commit
    with running(make_city(tmp_path)) as service, Device(service.endpoints["ingest"], DEVICE, epoch=1) as device:
        outbox = service._outbox
        broken = threading.Event()
        put = type(outbox).put

        def fail(self: Any, *args: Any) -> Any:
            if not broken.is_set():
                raise OSError(28, "No space left on device")
            return put(self, *args)

        monkeypatch.setattr(type(outbox), "put", fail)
        send_second(device, 0)
        assert device.drain(10)
        until(lambda: not service.health()["ready"])
        assert "No space" in service.health()["outbox"]
        broken.set()
        until(lambda: service.health()["ready"])
        with FeedClient(service.endpoints["feed"]) as feed:
            assert until(lambda: read_all(feed))[0].seq == 1
    assert real is Desk._commit


def test_requests_are_read_strictly() -> None:
    said = understand(msgpack.packb({"op": "read", "consumer": "a", "max": 5, "later-key": 1}))
    assert not isinstance(said, dict) and msgspec.structs.asdict(said) == {
        "consumer": "a", "after": None, "since_ns": None, "max": 5, "wait_ms": 0,
    }  # fmt: skip
    wrong = understand(msgpack.packb({"op": "read", "after": True}))
    assert isinstance(wrong, dict) and "after" in wrong["error"]["text"]
