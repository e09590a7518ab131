"""kernels/receive.c and its plain twin: what comes in, what is rubbish, who is who, what goes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from lifeline_core.errors import StoreError
from lifeline_core.service import receive
from lifeline_core.service.bell import Bell
from lifeline_core.service.receive import AGAIN, FRAME, GATEWAY, GONE, RUBBISH, SENT, CompiledReceiver, PlainReceiver
from lifeline_core.service.sockets import end
from lifeline_core.store.journal import Journal
from tests.faults.zmtp import Peer

ARENA = 1 << 16


class Ends:
    """A receiver on a ROUTER, and clients of it."""

    def __init__(self, kind: type[Any], **options: Any) -> None:
        self.context = zmq.Context()
        self.router = self.context.socket(zmq.ROUTER)
        self.router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.router.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self.router.setsockopt(zmq.SNDHWM, 5)
        self.port = self.router.bind_to_random_port("tcp://127.0.0.1")
        self.bell = Bell()
        self.receiver = kind(self.router, self.bell.fileno(), **{"arena_bytes": ARENA, **options})

    def client(self, kind: int = zmq.DEALER, identity: bytes | None = None) -> zmq.Socket[bytes]:
        socket = self.context.socket(kind)
        if identity:
            socket.setsockopt(zmq.IDENTITY, identity)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, 5)
        socket.connect(f"tcp://127.0.0.1:{self.port}")
        return socket

    def take(self, n: int) -> list[tuple[bytes, int, int]]:
        """(payload, source, kind) of the next n messages."""
        got: list[tuple[bytes, int, int]] = []
        until = time.monotonic() + 5
        while len(got) < n and time.monotonic() < until:
            batch = self.receiver.drain(50)
            got += [(batch.payload(k), int(batch.sources[k]), int(batch.kinds[k])) for k in range(len(batch))]
        assert len(got) == n
        return got

    def close(self) -> None:
        self.receiver.close()
        self.bell.close()
        end(self.context)


@pytest.fixture(params=[CompiledReceiver, PlainReceiver])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    ends = Ends(request.param)
    yield ends
    ends.close()


def test_a_name_longer_than_any_is_rubbish(ends: Ends) -> None:
    """libzmq takes whatever a peer made by hand calls itself; a record of it has 255 bytes."""
    peers = [Peer(f"tcp://127.0.0.1:{ends.port}", b"%d" % k * n) for k, n in enumerate((255, 256, 3000, 60_000))]
    good = ends.client()
    assert all(peer.shake() for peer in peers)
    for peer in peers:
        peer.send(b"LLF1 named")
    good.send(b"LLF1 good")
    got = ends.take(5)
    assert sorted((p, k) for p, _, k in got) == [(b"LLF1 good", FRAME), *[(b"LLF1 named", RUBBISH)] * 3, (b"LLF1 named", FRAME)]
    assert [source for _, source, kind in got if kind == RUBBISH] == [0, 0, 0]
    numbers = {p: s for p, s, k in got if k == FRAME}
    assert ends.receiver.reply([(numbers[b"LLF1 good"], b"ok"), (numbers[b"LLF1 named"], b"ok"), (0, b"?")]) == [SENT, SENT, GONE]
    for peer in peers:
        peer.socket.close()


def test_payloads_arrive_in_order_with_one_number_a_connection(ends: Ends) -> None:
    a, b = ends.client(), ends.client()
    a.send(b"LLF1 one")
    (first,) = ends.take(1)
    b.send(b"LLF1 two")
    (second,) = ends.take(1)
    for k in range(50):
        a.send(b"LLF1" + bytes([k]))
    got = ends.take(50)
    assert [p for p, _, _ in got] == [b"LLF1" + bytes([k]) for k in range(50)]
    assert {s for _, s, _ in got} == {first[1]} and first[1] != second[1] and 0 not in (first[1], second[1])
    assert {k for _, _, k in got} == {FRAME}


def test_a_map_is_a_gateway_and_everything_else_a_frame(ends: Ends) -> None:
    a = ends.client()
    for body in (b"\x81\xa1v\x01", b"\xde\x00\x01", b"\xdf\x00\x00\x00\x01", b"LLF1", b"\x90", b"\x00", b"\xff"):
        a.send(body)
    assert [kind for _, _, kind in ends.take(7)] == [GATEWAY, GATEWAY, GATEWAY, FRAME, FRAME, FRAME, FRAME]


def test_other_shapes_are_rubbish_and_their_first_bytes_are_kept(ends: Ends) -> None:
    a = ends.client()
    a.send(b"")
    a.send_multipart([b"", b""])
    a.send_multipart([b"x", b"y"])
    a.send_multipart([b"", b"", b"z"])
    a.send_multipart([b"p" * 3000] * 20)
    a.send(b"LLF1")
    got = ends.take(6)
    assert [kind for _, _, kind in got] == [RUBBISH] * 5 + [FRAME]
    assert [p for p, _, _ in got][:4] == [b"", b"", b"xy", b"z"]
    assert got[4][0] == b"p" * 4096
    counts = ends.receiver.counts()
    assert (counts["messages"], counts["bytes"], counts["rubbish"]) == (1, 4, 5)


def test_a_req_socket_gets_its_empty_part_back(ends: Ends) -> None:
    req = ends.client(zmq.REQ)
    req.send(b"LLF1 hello")
    ((body, source, kind),) = ends.take(1)
    assert (body, kind) == (b"LLF1 hello", FRAME)
    assert ends.receiver.reply([(source, b"yes")]) == [SENT]
    assert req.poll(2000) and req.recv() == b"yes"


def test_replies_reach_their_connection_and_unknown_numbers_nobody(ends: Ends) -> None:
    a, b = ends.client(), ends.client()
    a.send(b"LLF1a")
    b.send(b"LLF1b")
    numbers = {p: s for p, s, _ in ends.take(2)}
    to_a, to_b = numbers[b"LLF1a"], numbers[b"LLF1b"]
    status = ends.receiver.reply([(to_b, b"to b"), (0, b"?"), (to_a ^ 0x40000000, b"?"), (to_a, b"to a")])
    assert status == [SENT, GONE, GONE, SENT]
    assert a.poll(2000) and a.recv() == b"to a"
    assert b.poll(2000) and b.recv() == b"to b"


def test_a_reply_to_a_connection_that_left_is_gone_and_to_a_full_one_waits(ends: Ends) -> None:
    a, b = ends.client(), ends.client()
    a.send(b"LLF1a")
    b.send(b"LLF1b")
    numbers = {p: s for p, s, _ in ends.take(2)}
    a.close()
    until = time.monotonic() + 5
    while ends.receiver.reply([(numbers[b"LLF1a"], b"x")]) != [GONE]:
        assert time.monotonic() < until
        time.sleep(0.01)
    body = b"y" * (1 << 20)
    assert AGAIN in [s for _ in range(200) for s in ends.receiver.reply([(numbers[b"LLF1b"], body)])]


def test_a_context_that_does_not_end_is_left_behind() -> None:
    ended = threading.Event()

    class Stuck:
        def destroy(self, linger_ms: int) -> None:
            assert linger_ms == 7
            ended.wait(10)

    assert not end(Stuck(), 0.02, linger_ms=7)  # type: ignore[arg-type]
    ended.set()
    assert end(zmq.Context())


def test_a_reconnect_under_the_same_identity_keeps_its_number(ends: Ends) -> None:
    a = ends.client(identity=b"device-17")
    a.send(b"LLF1a")
    ((_, before, _),) = ends.take(1)
    again = ends.client(identity=b"device-17")
    again.send(b"LLF1b")
    ((_, after, _),) = ends.take(1)
    assert before == after
    assert ends.receiver.reply([(after, b"hi")]) == [SENT]
    assert again.poll(2000) and again.recv() == b"hi"
    assert not a.poll(50)


def test_the_bell_ends_a_wait(ends: Ends) -> None:
    threading.Timer(0.1, ends.bell.ring).start()
    started = time.monotonic()
    assert len(ends.receiver.drain(10_000)) == 0
    assert time.monotonic() - started < 5
    assert ends.receiver.woken
    ends.bell.clear()
    assert len(ends.receiver.drain(1)) == 0
    assert not ends.receiver.woken


def test_a_closed_loop_refuses(ends: Ends) -> None:
    ends.receiver.close()
    ends.receiver.close()
    if isinstance(ends.receiver, CompiledReceiver):
        with pytest.raises(ValueError, match="closed"):
            ends.receiver.drain(0)


@pytest.mark.parametrize("kind", [CompiledReceiver, PlainReceiver])
def test_only_the_last_identities_are_remembered(kind: type[Any]) -> None:
    ends = Ends(kind, peers=8)
    clients = []
    numbers = []
    for k in range(40):
        clients.append(ends.client())
        clients[-1].send(b"LLF1" + bytes([k]))
        numbers += [s for _, s, _ in ends.take(1)]
    assert len(set(numbers)) == 40
    assert ends.receiver.reply([(n, b"r") for n in numbers]) == [GONE] * 32 + [SENT] * 8
    clients[0].send(b"LLF1 again")
    ((_, again, _),) = ends.take(1)
    assert again not in numbers
    assert ends.receiver.reply([(again, b"r")]) == [SENT]
    assert clients[0].poll(2000)
    ends.close()


def test_the_table_of_identities_survives_much_coming_and_going() -> None:
    ends = Ends(CompiledReceiver, peers=16)
    latest: dict[bytes, int] = {}
    for k in range(300):
        identity = b"id-%d" % (k * 7919 % 61)
        socket = ends.client(identity=identity)
        socket.send(b"LLF1")
        ((_, latest[identity], _),) = ends.take(1)
        socket.close()
    loop = ends.receiver._loop
    known = {loop.identity(number)[0]: number for number in latest.values() if loop.identity(number)}
    assert len(known) == 16
    assert all(latest[identity] == number for identity, number in known.items())
    ends.close()


@pytest.mark.parametrize("kind", [CompiledReceiver, PlainReceiver])
def test_a_drain_ends_with_the_message_that_reaches_its_limit(kind: type[Any]) -> None:
    ends = Ends(kind, arena_bytes=1000)
    a = ends.client()
    bodies = [b"LLF1" + bytes([k]) * 393 for k in range(10)]
    for body in [*bodies, b"L" * 5000, b"LLF1"]:
        a.send(body)
    drained: list[list[bytes]] = []
    until = time.monotonic() + 10
    while sum(map(len, drained)) < 12 and time.monotonic() < until:
        batch = ends.receiver.drain(1000)
        if not len(batch):
            continue
        drained.append([batch.payload(k) for k in range(len(batch))])
        assert batch.size == sum(map(len, drained[-1]))
        assert batch.size - len(drained[-1][-1]) < 1000
    assert [p for batch in drained for p in batch] == [*bodies, b"L" * 5000, b"LLF1"]
    ends.close()


@pytest.mark.parametrize("kind", [CompiledReceiver, PlainReceiver])
def test_a_batch_goes_into_the_journal_as_it_came(kind: type[Any], tmp_path: Path) -> None:
    """Also over the end of a segment; short payloads, which libzmq keeps within the message, and long ones, which it does not."""
    ends = Ends(kind, arena_bytes=1 << 20)
    a, b = ends.client(), ends.client()
    sent = [b"LLF1" + bytes([k]) * size for k, size in enumerate([0, 1, 7, 25, 29, 60, 500, 3000, 2460, 4, 9000] * 3)]
    for k, body in enumerate(sent):
        (a if k % 2 else b).send(body)
    a.send(b"\x81\xa1v\x01")
    found: list[tuple[bytes, int, int]] = []
    taken: list[tuple[bytes, int, int]] = []
    with Journal(tmp_path / "journal", budget_bytes=1 << 18, segment_bytes=1 << 14) as journal:
        until = time.monotonic() + 5
        while len(taken) < len(sent) + 1 and time.monotonic() < until:
            batch = ends.receiver.drain(200)
            for k in range(len(batch)):
                taken.append((batch.payload(k), int(batch.sources[k]), int(batch.kinds[k])))
                end = batch.append(journal, int(batch.kinds[k]), k, k + 1)
                assert end == journal.end
            assert batch.plain == all(kind == FRAME for _, _, kind in taken[len(taken) - len(batch) :])
        position = journal.first
        while position < journal.end:
            records = journal.read(position)
            found += [(bytes(records.payload(k)), int(records.sources[k]), int(records.kinds[k])) for k in range(len(records))]
            position = records.next
        assert found == taken and sorted(p for p, _, _ in taken) == sorted([*sent, b"\x81\xa1v\x01"])
        assert len({s for _, s, _ in taken}) == 2
    ends.close()


def test_what_a_loop_held_is_gone_with_the_next_drain_and_with_the_loop(tmp_path: Path) -> None:
    ends = Ends(CompiledReceiver)
    a = ends.client()
    a.send(b"LLF1" * 30)
    batch = ends.receiver.drain(5000)
    assert len(batch) == 1
    with Journal(tmp_path / "journal", budget_bytes=1 << 16, segment_bytes=1 << 12) as journal:
        for first, last in ((0, 2), (1, 0), (2, 2)):
            with pytest.raises(ValueError, match="the pieces there are"):
                batch.append(journal, FRAME, first, last)
        assert batch.append(journal, FRAME, 0, 0) == journal.end == 0
        assert batch.append(journal, FRAME, 0, 1) == journal.end > 120
        assert len(ends.receiver.drain(0)) == 0
        with pytest.raises(ValueError, match="the pieces there are"):
            batch.append(journal, FRAME, 0, 1)
        with pytest.raises(IndexError, match="0 <= k < 0"):
            batch.payload(0)
        with pytest.raises(ValueError, match="invalid PyCapsule"):
            journal.append_pieces(FRAME, object(), 0, 1)
        ends.close()
        with pytest.raises(ValueError, match="the pieces there are"):
            batch.append(journal, FRAME, 0, 1)


def test_a_batch_too_large_for_the_budget_leaves_nothing(tmp_path: Path) -> None:
    ends = Ends(CompiledReceiver, gather_us=500_000)
    a = ends.client()
    for k in range(12):
        a.send(b"LLF1" + bytes([k]) * 3000)
    batch = ends.receiver.drain(5000)
    assert len(batch) == 12
    with Journal(tmp_path / "journal", budget_bytes=2 << 12, segment_bytes=1 << 12) as journal:
        with pytest.raises(BufferError, match="budget"):
            batch.append(journal, FRAME, 0, 12)
        assert journal.end == 0 and journal.lost == 12
        batch.append(journal, FRAME, 0, 2)
        assert [bytes(journal.read(0).payload(0))[4]] == [0] and journal.end > 6000
    ends.close()


@pytest.mark.parametrize("kind", [CompiledReceiver, PlainReceiver])
@pytest.mark.parametrize(("before", "together"), [(receive.WORTH, True), (receive.WORTH - 1, False)])
def test_a_drain_waits_twice_as_long_behind_one_that_brought_much(kind: type[Any], before: int, together: bool) -> None:
    ends = Ends(kind, gather_us=400_000)
    a = ends.client()
    for _ in range(before):
        a.send(b"LLF1 before")
    assert len(ends.receiver.drain(5000)) == before

    def go_on() -> None:
        a.send(b"LLF1 first")
        time.sleep(0.6)  # between the one wait and the other
        a.send(b"LLF1 second")

    sending = threading.Thread(target=go_on)
    sending.start()
    assert len(ends.receiver.drain(5000)) == 1 + together
    sending.join()
    assert len(ends.receiver.drain(0 if together else 5000)) == (not together)
    ends.close()


def test_which_receiver_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    opened, why = receive.open_receiver(socket, -1, arena_bytes=ARENA)
    assert (opened.name, why) == ("compiled", "")
    opened.close()
    with pytest.raises(ValueError, match="auto, compiled, plain; got 'fast'"):
        receive.open_receiver(socket, -1, arena_bytes=ARENA, receiver="fast")

    def missing(*_: Any, **__: Any) -> None:
        raise AttributeError("zmq_msg_recv")

    monkeypatch.setattr(receive, "CompiledReceiver", missing)
    opened, why = receive.open_receiver(socket, -1, arena_bytes=ARENA)
    assert opened.name == "plain" and "zmq_msg_recv" in why
    with pytest.raises(StoreError, match="cannot run here"):
        receive.open_receiver(socket, -1, arena_bytes=ARENA, receiver="compiled")
    end(context)
