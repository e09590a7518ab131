"""The device client against a scripted service: what it keeps, what it sends again, what it waits for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

from lifeline_core import wire
from lifeline_core.service.device import Device, head
from lifeline_core.service.sockets import end

NS = 1_000_000_000


class Script:
    """A ROUTER whose answers the test decides."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self.router = self.context.socket(zmq.ROUTER)
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


def ramp(n: int) -> Any:
    return np.arange(n, dtype=np.int16)[None, :]


def test_seq_and_index_are_gapless_per_stream(script: Script) -> None:
    with Device(script.endpoint, 7, epoch=3) as device:
        assert [device.send(ramp(10), k * NS, rate=10) for k in range(3)] == [0, 1, 2]
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
