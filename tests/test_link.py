"""A device's link when the line breaks: nothing goes before what got lost, and no connection is given up for ever."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator

import pytest
import zmq

from lifeline_core.service import link as module
from lifeline_core.service.link import Link
from tests.faults.line import Line, Weather
from tests.proxy import Proxy
from tests.stranger import end

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00"


class Far:
    """A ROUTER, and what came to it."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.router = self.context.socket(zmq.ROUTER)
        self.port = self.router.bind_to_random_port("tcp://127.0.0.1")

    def heard(self) -> list[bytes]:
        found = []
        while self.router.poll(0):
            found.append(self.router.recv_multipart()[-1])
        return found


@pytest.fixture
def far() -> Iterator[Far]:
    far = Far()
    yield far
    end(far.context)


def wait(link: Link, condition: Callable[[], object], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        link.was_lost()
        link.hear(0.01)


def test_before_the_handshake_and_after_the_end_nothing_is_taken(far: Far) -> None:
    with Proxy(far.port) as proxy:
        proxy.refusing = True
        link = Link(proxy.endpoint)
        wait(link, lambda: link.failed)
        assert not link.takes() and not link.send(b"early")
        proxy.refusing = False
        wait(link, lambda: link.send(b"1"))
        wait(link, far.heard)
        proxy.refusing = True
        proxy.cut()
        wait(link, lambda: link.lost and not link.takes())
        assert not link.takes() and not link.send(b"to a dead connection")
        proxy.refusing = False
        wait(link, link.takes)
        assert link.send(b"2")
        wait(link, lambda: b"2" in far.heard())
        link.close()


def test_a_connection_that_is_renewed_loses_nothing_it_took(far: Far) -> None:
    """libzmq would still take messages for the old one, and forget them: they are gone, and the next ones go first."""
    with Proxy(far.port) as proxy:
        link = Link(proxy.endpoint)
        wait(link, link.takes)
        for turn in range(20):
            link.renew()
            wait(link, lambda turn=turn: link.send(b"%d" % turn))
            wait(link, lambda turn=turn: b"%d" % turn in far.heard(), 5.0)
        assert link.lost == 20
        link.close()


def test_numbers_behind_a_line_that_is_cut_have_no_holes(far: Far) -> None:
    """What a device does, as fast as it can: over each connection they go on where something was lost, never behind it."""
    with Proxy(far.port) as proxy:
        link, number, got = Link(proxy.endpoint), 0, [-1]
        for turn in range(400):
            if turn % 40 == 39:
                proxy.cut()
            if link.was_lost():
                number = got[-1] + 1
            while link.takes() and number < got[-1] + 200 and not link.was_lost() and link.send(b"%d" % number):
                number += 1
            link.hear(0.002)
            for said in map(int, far.heard()):
                assert said <= got[-1] + 1, f"{said} came after {got[-1]}"
                got.append(max(said, got[-1]))
        assert link.lost >= 5 and got[-1] > 200
        link.close()


def test_after_a_breach_of_the_protocol_it_connects_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """libzmq gives such a connection up for good."""
    monkeypatch.setattr(module, "DEAD_S", 0.5)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10.0)
    link = Link(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
    for _ in range(2):
        listener.settimeout(0.02)
        until, taken = time.monotonic() + 10.0, None
        while taken is None:
            assert time.monotonic() < until, "nobody connected again"
            link.was_lost()
            try:
                taken, _ = listener.accept()
            except TimeoutError:
                continue
        taken.sendall(GREETING + b"OTHER".ljust(20, b"\0") + bytes(32))  # a mechanism nobody has
        wait(link, lambda: link.failed)
        link.failed = 0
        taken.close()
    link.close()
    listener.close()


def test_the_line_of_the_fault_tests_garbles_one_way_at_a_time() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with Line(listener.getsockname()[1], random.Random(1)) as line:
        near = socket.create_connection(("127.0.0.1", line.port))
        far, _ = listener.accept()
        for up, down, changed in ((0.0, 0.0, 0), (1.0, 0.0, 1), (0.0, 1.0, 2)):
            line.garble_up, line.garble_down = up, down
            near.sendall(bytes(100))
            assert sum(map(bool, far.recv(100, socket.MSG_WAITALL))) == up
            far.sendall(bytes(100))
            assert sum(map(bool, near.recv(100, socket.MSG_WAITALL))) == down
            assert line.garbled == changed
        weather = Weather(line, random.Random(2), ("up",))
        for kind in ("garbled", "slow", "refusing", "calm"):
            weather._change(kind)
            found = (line.garble_up > 0, line.garble_down, line.delay_s > 0, line.refusing)
            assert found == (kind == "garbled", 0.0, kind == "slow", kind == "refusing")
        near.close()
        far.close()
    listener.close()
