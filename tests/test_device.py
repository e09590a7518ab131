"""The device client against a scripted service: what it keeps, what it sends again, what it waits for.

tests/test_spool.py has the queue on disk, tests/test_outage.py the real service behind a line that fails.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

from lifeline_core import wire
from lifeline_core.device import Device, head
from lifeline_core.service.backlog import FRAME_COST
from lifeline_core.service.flow import FIRST_HISTORY
from lifeline_core.service.sockets import end
from tests.proxy import Proxy

NS = 1_000_000_000


class Script:
    """A ROUTER whose answers the test decides."""

    def __init__(self, **options: Any) -> None:
        self.context = zmq.Context()
        self.router = self.context.socket(zmq.ROUTER)
        for name, value in options.items():
            setattr(self.router, name, value)
        self.port = self.router.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{self.port}"
        self.identity = b""

    def frames(self, device: Device, n: int, timeout: float = 5.0) -> list[Any]:
        """The next n frames, decoded, while the device is pumped."""
        got: list[Any] = []
        until = time.monotonic() + timeout
        while len(got) < n and time.monotonic() < until:
            device.pump(0.01)
            while self.router.poll(5):
                self.identity, body = self.router.recv_multipart()
                got.append(wire.decode(body))
        return got

    def say(self, **fields: Any) -> None:
        self.router.send_multipart([self.identity, msgpack.packb(fields)])

    def ack(self, device: Device, ack: int, channel: int = 0, **more: Any) -> None:
        self.say(ack=ack, device=device.device, channel=channel, epoch=device.epoch, **{"credit": 1 << 20, **more})


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()
    yield script
    end(script.context)


def pump_until(device: Device, condition: Any, timeout: float = 5.0) -> None:
    until = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < until
        device.pump(0.02)


def wait_long(device: Device) -> None:
    """As if an hour passed before the next frame."""
    for kept in device._flow.backlog.live:
        kept.taken -= 3600.0


def pause(device: Device, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        device.pump(0.02)


def ramp(n: int) -> Any:
    return np.arange(n, dtype=np.int16)[None, :]


def test_seq_and_index_are_gapless_per_stream(script: Script) -> None:
    with Device(script.endpoint, 7, epoch=3) as device:
        assert [device.send(ramp(10), k * NS, rate=10) for k in range(3)] == [0, 10, 20]
        assert device.send(ramp(4), 0, rate=4, channel=5) == 0
        assert device.send(np.zeros((2, 6), np.float32), 0, rate=6, channel=9, flags=0) == 0
        got = script.frames(device, 5)
        assert [(f.channel, f.seq, f.sample_index, f.t0_ns) for f in got] == [
            (0, 0, 0, 0), (0, 1, 10, NS), (0, 2, 20, 2 * NS), (5, 0, 0, 0), (9, 0, 0, 0),
        ]  # fmt: skip
        assert {(f.device, f.epoch) for f in got} == {(7, 3)}


def test_an_acknowledgement_is_cumulative_and_for_its_stream_only(script: Script) -> None:
    with Device(script.endpoint, 7, epoch=3) as device:
        for k in range(5):
            device.send(ramp(10), k * NS, rate=10)
        device.send(ramp(10), 0, rate=10, channel=1)
        script.frames(device, 6)
        script.ack(device, 3)
        pump_until(device, lambda: device.acked == 4)
        assert device.unacked == 2
        script.say(ack=9, device=8, channel=0, epoch=3, credit=1)
        script.say(ack=9, device=7, channel=0, epoch=2, credit=1 << 20)
        script.ack(device, 4)
        script.ack(device, 0, channel=1)
        assert device.drain(5)
        assert device.acked == 6


def test_a_refusal_settles_one_frame(script: Script) -> None:
    with Device(script.endpoint, 7, epoch=3) as device:
        for k in range(3):
            device.send(ramp(10), k * NS, rate=10)
        script.frames(device, 3)
        script.say(refused="wrong-rate", device=7, channel=0, epoch=3, seq=1)
        pump_until(device, lambda: device.refused == 1)
        assert device.unacked == 2 and device.reasons == {"wrong-rate": 1}


def test_without_progress_everything_after_the_acknowledgement_goes_again(script: Script) -> None:
    with Device(script.endpoint, 7, epoch=3, resend_s=0.3) as device:
        for k in range(4):
            device.send(ramp(10), k * NS, rate=10)
        script.frames(device, 4)
        script.ack(device, 1)
        assert [f.seq for f in script.frames(device, 2, timeout=2)] == [2, 3]
        assert device.resent == 2
        script.ack(device, 3)
        assert device.drain(5)


def test_credit_holds_frames_back_but_never_all(script: Script) -> None:
    with Device(script.endpoint, 7, epoch=3) as device:
        device.send(ramp(10), 0, rate=10)
        size = len(wire.pack(ramp(10), device=7, t0_ns=0, rate=10))
        script.frames(device, 1)
        script.ack(device, 0, credit=2 * size)
        pump_until(device, lambda: device.credit == 2 * size)
        for k in range(1, 6):
            device.send(ramp(10), k * NS, rate=10)
        assert [f.seq for f in script.frames(device, 5, timeout=0.3)] == [1, 2]
        script.ack(device, 1, credit=1)
        assert [f.seq for f in script.frames(device, 5, timeout=0.3)] == []
        script.ack(device, 2, credit=1)
        assert [f.seq for f in script.frames(device, 5, timeout=0.3)] == [3]


def test_a_full_queue_waits_and_then_refuses(script: Script) -> None:
    with Device("tcp://127.0.0.1:1", 7, epoch=3, queue_bytes=200) as device:
        device.send(ramp(60), 0, rate=10)
        device.send(ramp(60), 6 * NS, rate=10)
        with pytest.raises(TimeoutError, match="the queue holds 200"):
            device.send(ramp(60), 12 * NS, rate=10, timeout=0.1)
        assert device.unacked == 2 and not device.drain(0.1)


def test_frames_of_a_capture_go_as_they_are(script: Script) -> None:
    frames = [wire.pack(ramp(10), device=d, epoch=e, seq=s, sample_index=10 * s, t0_ns=0, rate=10, channel=2)
              for d, e, s in ((1, 5, 0), (2, 6, 41), (1, 5, 1))]  # fmt: skip
    with Device(script.endpoint) as device:
        device.send_frames([wire.pack(device=1, type=wire.HELLO), *frames])
        device.send_frame(frames[0])
        got = [f for f in script.frames(device, 5) if f.type == wire.DATA]
        assert [(f.device, f.epoch, f.seq) for f in got[:3]] == [(1, 5, 0), (2, 6, 41), (1, 5, 1)]
        assert head(frames[1]).stream == (2, 2, 6)
        script.say(ack=1, device=1, channel=2, epoch=5, credit=1 << 20)
        script.say(ack=41, device=2, channel=2, epoch=6, credit=1 << 20)
        assert device.drain(5)
        with pytest.raises(ValueError, match="begins with LLF1"):
            device.send_frame(b"nonsense")


def test_frames_are_kept_over_a_restart_of_the_service(script: Script) -> None:
    with Device(script.endpoint, 7, epoch=3, resend_s=0.4, identity=b"seven") as device:
        device.send(ramp(10), 0, rate=10)
        script.frames(device, 1)
        script.router.close(0)
        device.send(ramp(10), NS, rate=10)
        device.pump(0.1)
        script.router = script.context.socket(zmq.ROUTER)
        until = time.monotonic() + 5
        while True:
            try:
                script.router.bind(script.endpoint)
                break
            except zmq.ZMQError:
                assert time.monotonic() < until
                time.sleep(0.05)
        seen: set[int] = set()
        while seen != {0, 1}:
            assert time.monotonic() < until
            seen |= {f.seq for f in script.frames(device, 1, timeout=0.2)}
        script.ack(device, 1)
        assert device.drain(5)


def test_rubbish_from_the_service_is_passed_over(script: Script) -> None:
    with Device(script.endpoint, 7, epoch=3) as device:
        device.hello()
        script.frames(device, 1)
        for body in (b"", b"\xc1", b"\x01", *map(msgpack.packb, ({"credit": "many"}, {"ack": 1}, {"refused": 3}))):
            script.router.send_multipart([script.identity, body])
        script.say(credit=77)
        pump_until(device, lambda: device.credit == 77)


# ---- a line that fails ----


def test_a_lost_connection_sends_again_at_once_and_in_order(script: Script) -> None:
    """Without waiting for resend_s, from ack+1 on, and before what is newer."""
    with Proxy(script.port) as proxy, Device(proxy.endpoint, 7, epoch=3, resend_s=3600, identity=b"seven") as device:
        for k in range(4):
            device.send(ramp(10), k * NS, rate=10)
        script.frames(device, 4)
        script.ack(device, 1)
        pump_until(device, lambda: device.acked == 2)
        for turn in range(1, 4):
            proxy.cut()
            device.send(ramp(10), (3 + turn) * NS, rate=10)
            assert [f.seq for f in script.frames(device, 2 + turn)] == list(range(2, 4 + turn))
            assert device.link.lost == turn and proxy.accepted == turn + 1
        assert device.resent >= 2 + 3 + 4
        script.ack(device, 6)
        assert device.drain(5)


def test_a_half_open_line_is_given_up(script: Script) -> None:
    """Nothing comes back and nothing is said of it: after two rounds in silence the connection is made anew."""
    with Proxy(script.port) as proxy, Device(proxy.endpoint, 7, epoch=3, resend_s=0.2) as device:
        device.send(ramp(10), 0, rate=10)
        script.frames(device, 1)
        script.ack(device, 0)
        pump_until(device, lambda: device.acked == 1)
        proxy.go_deaf()
        device.send(ramp(10), NS, rate=10)
        assert [f.seq for f in script.frames(device, 1)] == [1]
        assert proxy.accepted == 2 and device.link.lost >= 1
        script.ack(device, 1)
        assert device.drain(5)


def test_a_slow_line_loses_nothing(script: Script) -> None:
    """Replies later than resend_s: what is sent twice is the same frame twice."""
    with Proxy(script.port) as proxy, Device(proxy.endpoint, 7, epoch=3, resend_s=0.2) as device:
        proxy.delay_s = 0.15  # there and back is more than resend_s
        sent = {}
        for k in range(3):
            device.send(ramp(10), k * NS, rate=10)
        until = time.monotonic() + 10
        while device.unacked:
            assert time.monotonic() < until
            for frame in script.frames(device, 1, timeout=0.2):
                assert sent.setdefault(frame.seq, frame.t0_ns) == frame.t0_ns == frame.seq * NS
                script.ack(device, frame.seq)
        assert sorted(sent) == [0, 1, 2] and device.acked == 3


# ---- live and history ----


def test_after_an_outage_the_live_frames_go_first_and_seq_is_gapless(script: Script) -> None:
    with Proxy(script.port, refusing=True) as proxy, Device(proxy.endpoint, 7, epoch=3) as device:
        for k in range(5):
            device.send(ramp(10), k * NS, rate=10)
        wait_long(device)
        for k in range(5, 7):
            device.send(ramp(10), k * NS, rate=10)
        proxy.refusing = False
        got = script.frames(device, 7)
        assert [f.seq for f in got] == [0, 1, 2, 3, 4, 5, 6]
        assert [f.sample_index for f in got] == [50, 60, 0, 10, 20, 30, 40]
        assert [f.flags for f in got] == [1, 1, 9, 9, 9, 9, 9]
        assert [f.t0_ns // NS for f in got] == [5, 6, 0, 1, 2, 3, 4]
        script.ack(device, 6)
        assert device.drain(5) and device.acked == 7


def test_history_waits_for_something_newer_of_its_stream(script: Script) -> None:
    """Else it would stand in front of the present, and the present would begin with a gap; at the end it waits for nothing."""
    with Proxy(script.port, refusing=True) as proxy, Device(proxy.endpoint, 7, epoch=3) as device:
        device.send(ramp(10), 0, rate=10)
        device.send(ramp(10), 0, rate=10, channel=1)
        wait_long(device)
        device.send(ramp(10), NS, rate=10, channel=1)
        device.send(ramp(10), NS, rate=10)
        proxy.refusing = False
        got = script.frames(device, 4)
        said = [(f.channel, f.seq, f.sample_index, f.flags) for f in got]
        assert said == [(1, 0, 10, 1), (0, 0, 10, 1), (0, 1, 0, 9), (1, 1, 0, 9)]
    with Proxy(script.port, refusing=True) as proxy, Device(proxy.endpoint, 8, epoch=3) as device:
        device.send(ramp(10), 0, rate=10)
        wait_long(device)
        proxy.refusing = False
        assert not device.drain(0.0)
        until = time.monotonic() + 5
        while not (got := [wire.decode(script.router.recv_multipart()[1])] if script.router.poll(0) else []):
            assert time.monotonic() < until
            device.drain(0.05)
        assert [(f.seq, f.flags) for f in got] == [(0, 9)]


def test_history_never_fills_the_line(script: Script) -> None:
    """However much of it waits, a live frame goes at once: history under way has a bound of its own."""
    with Proxy(script.port, refusing=True) as proxy, Device(proxy.endpoint, 7, epoch=3, resend_s=3600) as device:
        for k in range(100):
            device.send(ramp(500), k * NS, rate=500)
        wait_long(device)
        proxy.refusing = False
        device.send(ramp(500), 100 * NS, rate=500)
        got = script.frames(device, 101, timeout=1.0)
        assert got[0].sample_index == 100 * 500 and all(f.flags & 8 for f in got[1:])
        size = len(wire.pack(ramp(500), device=7, t0_ns=0, rate=500))
        assert len(got) - 1 == FIRST_HISTORY // (size + FRAME_COST)
        device.send(ramp(500), 101 * NS, rate=500)
        (one,) = script.frames(device, 1)
        assert one.sample_index == 101 * 500 and one.seq == len(got)
        while device.unacked:
            script.ack(device, one.seq)
            more = script.frames(device, 1, timeout=0.3)
            one = more[-1] if more else one
        assert device.acked == 102


def test_without_a_limit_of_age_everything_goes_in_order(script: Script) -> None:
    with Proxy(script.port, refusing=True) as proxy, Device(proxy.endpoint, 7, epoch=3, historical_s=None) as device:
        for k in range(3):
            device.send(ramp(10), k * NS, rate=10)
        pause(device, 0.3)
        proxy.refusing = False
        assert [(f.seq, f.sample_index, f.flags) for f in script.frames(device, 3)] == [(0, 0, 1), (1, 10, 1), (2, 20, 1)]


# ---- a full queue ----


@pytest.mark.parametrize(("full", "kept"), [("oldest", [3, 4, 5]), ("newest", [0, 1, 2])])
def test_what_a_full_queue_gives_up_is_told_and_is_a_gap(script: Script, full: Any, kept: list[int]) -> None:
    told: list[Any] = []
    size = len(wire.pack(ramp(10), device=7, t0_ns=0, rate=10))
    options = {"full": full, "queue_bytes": 3 * size, "on_dropped": lambda *said: told.append(said)}
    with Proxy(script.port, refusing=True) as proxy, Device(proxy.endpoint, 7, epoch=3, **options) as device:
        for k in range(6):
            assert device.send(ramp(10), k * NS, rate=10) == 10 * k
        lost = sorted({0, 1, 2, 3, 4, 5} - set(kept))
        assert (device.dropped, device.dropped_samples, device.unacked) == (3, 30, 3)
        assert told == [((7, 0, 3), 10 * k, 10) for k in lost]
        proxy.refusing = False
        got = script.frames(device, 3)
        assert [(f.seq, f.sample_index, f.t0_ns) for f in got] == [(i, 10 * k, k * NS) for i, k in enumerate(kept)]


def test_what_was_sent_is_never_given_up(script: Script) -> None:
    """A number that went must be acknowledged: giving it up would leave a hole in seq."""
    size = len(wire.pack(ramp(10), device=7, t0_ns=0, rate=10))
    with Device(script.endpoint, 7, epoch=3, full="oldest", queue_bytes=2 * size) as device:
        device.send(ramp(10), 0, rate=10)
        device.send(ramp(10), NS, rate=10)
        script.frames(device, 2)
        device.send(ramp(10), 2 * NS, rate=10)
        assert (device.dropped, device.unacked) == (1, 2)
        script.ack(device, 1)
        pump_until(device, lambda: device.acked == 2)
        assert device.send(ramp(10), 3 * NS, rate=10) == 30
        assert [(f.seq, f.sample_index) for f in script.frames(device, 1)] == [(2, 30)]


def test_samples_the_sensor_lost_are_a_gap(script: Script) -> None:
    with Device(script.endpoint, 7, epoch=3) as device:
        assert [device.send(ramp(10), 0, rate=10), device.send(ramp(10), 0, rate=10, lost=7)] == [0, 17]
        with pytest.raises(ValueError, match="lost must not be negative, got -1"):
            device.send(ramp(10), 0, rate=10, lost=-1)


def test_a_refusal_is_told(script: Script) -> None:
    told: list[Any] = []
    with Device(script.endpoint, 7, epoch=3, on_refused=lambda *said: told.append(said)) as device:
        device.send(ramp(10), 0, rate=10)
        script.frames(device, 1)
        script.say(refused="wrong-rate", device=7, channel=0, epoch=3, seq=0)
        assert device.drain(5) and told == [((7, 0, 3), 0, "wrong-rate")]


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ('full must be "wait", "oldest" or "newest", got \'all\'', {"full": "all"}),
        ("must be above 0, got 0, 5.0, 30.0", {"queue_bytes": 0}),
        ("must be above 0, got 16777216, nan", {"resend_s": float("nan")}),
        ("must be above 0, got 16777216, 5.0, 0", {"historical_s": 0}),
        ("the secret key must be 40 characters of Z85", {"curve_serverkey": "a" * 40, "curve_publickey": "a" * 40}),
        ("the server key must be 40 characters of Z85", {"curve_secretkey": "a" * 40}),
    ],
)
def test_parameters_that_cannot_be(said: str, options: Any) -> None:
    with pytest.raises(ValueError, match=said):
        Device("tcp://127.0.0.1:1", 7, **options)


# ---- keys ----


@pytest.mark.skipif(not zmq.has("curve"), reason="this libzmq has no CURVE")
def test_keys_are_passed_through_and_never_shown() -> None:
    public, secret = zmq.curve_keypair()
    mine, my_secret = zmq.curve_keypair()
    script = Script(curve_server=True, curve_secretkey=secret)
    try:
        keys = {"curve_publickey": mine, "curve_secretkey": my_secret.decode()}
        with Device(script.endpoint, 7, epoch=3, curve_serverkey=public, **keys) as device:
            device.send(ramp(10), 0, rate=10)
            assert [f.seq for f in script.frames(device, 1)] == [0]
        other, _ = zmq.curve_keypair()
        for wrong in ({}, {"curve_serverkey": other, **keys}):
            with Device(script.endpoint, 7, epoch=3, **wrong) as device:
                device.send(ramp(10), 0, rate=10)
                assert script.frames(device, 1, timeout=0.5) == []
                assert device.link.made == 0 and device.unacked == 1
        bad = my_secret.decode()[:-1] + "\x7f"
        with pytest.raises(ValueError, match="the secret key") as error:
            Device(script.endpoint, 7, curve_serverkey=public, curve_publickey=mine, curve_secretkey=bad)
        assert bad[:-1] not in str(error.value)
    finally:
        end(script.context)
