"""The C side: include/llf1.h and llf1_zmtp.h against libzmq, and examples/device.c against the running service."""

from __future__ import annotations

import ctypes
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core import wire
from lifeline_core.config import read_city
from lifeline_core.service import Service
from lifeline_core.service.sockets import end
from tests.proxy import Proxy
from tests.service_city import city_text, running, until

ROOT = Path(__file__).parents[1]
STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O1", "-I", str(ROOT / "include")]
TRAP = ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not here: nothing can be compiled")
NOTHING, READY, MESSAGE, ANSWER, BAD = range(5)


class Zmtp(ctypes.Structure):
    _fields_ = [
        *(("left", ctypes.c_uint64), ("len", ctypes.c_size_t), ("head", ctypes.c_uint8 * 9)),
        *((name, ctypes.c_uint8) for name in ("n_head", "greeted", "in_body", "ready", "too_long")),
    ]


class Said(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("ack", "credit", "seq", "device", "channel", "epoch")),
        ("refused", ctypes.c_char * 24),
    ]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    where = tmp_path_factory.mktemp("zmtp")
    (where / "z.c").write_text(
        '#include "llf1_zmtp.h"\n'
        "size_t hello(const char *id, uint8_t n, uint8_t *out) { return llf1_zmtp_hello(id, n, out); }\n"
        "size_t head(uint64_t n, uint8_t *out) { return llf1_zmtp_head(n, out); }\n"
        "int take(llf1_zmtp *z, const uint8_t *p, size_t *n, size_t at, uint8_t *body, size_t room) {\n"
        "    const uint8_t *q = p + at;\n    return llf1_zmtp_take(z, &q, n, body, room);\n}\n"
        "int reply(const uint8_t *p, size_t n, llf1_said *said) { return llf1_reply(p, n, said); }\n"
    )
    subprocess.run(["gcc", *STRICT, "-Wconversion", *TRAP, "-shared", "-fPIC", where / "z.c", "-o", where / "z.so"], check=True)
    found = ctypes.CDLL(str(where / "z.so"))
    found.hello.restype = found.head.restype = ctypes.c_size_t
    found.hello.argtypes = [ctypes.c_char_p, ctypes.c_uint8, ctypes.c_void_p]
    found.head.argtypes = [ctypes.c_uint64, ctypes.c_void_p]
    found.take.argtypes = [*[ctypes.c_void_p] * 3, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t]
    found.reply.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    return found


class Talk:
    """One end of a ZMTP connection as the header speaks it: bytes in, events out."""

    def __init__(self, library: Any, room: int = 512) -> None:
        self.library, self.state, self.room = library, Zmtp(), room
        self.body = (ctypes.c_uint8 * (room + 8))(*[0xA5] * (room + 8))

    def hear(self, data: bytes) -> list[tuple[int, bytes]]:
        events, left = [], ctypes.c_size_t(len(data))
        held = ctypes.create_string_buffer(data, len(data) + 1)
        while True:
            at = len(data) - left.value
            event = self.library.take(ctypes.byref(self.state), held, ctypes.byref(left), at, self.body, self.room)
            if event == NOTHING:
                break
            events.append((event, bytes(self.body[: self.state.len]) if event in (MESSAGE, ANSWER) else b""))
            if event == BAD:
                break
        assert bytes(self.body[self.room :]) == b"\xa5" * 8  # nothing behind the room it was given
        return events

    def hello(self, identity: bytes = b"") -> bytes:
        out = ctypes.create_string_buffer(400)
        n = self.library.hello(identity, len(identity), out)
        return out.raw[:n]

    def framed(self, frame: bytes) -> bytes:
        out = ctypes.create_string_buffer(9)
        n = self.library.head(len(frame), out)
        return out.raw[:n] + frame


@pytest.fixture
def router() -> Iterator[Any]:
    """A ROUTER with heartbeats, and a plain socket connected to it."""
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.HEARTBEAT_IVL, 100)
    router.setsockopt(zmq.HEARTBEAT_TIMEOUT, 400)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.settimeout(0.05)
        yield router, plain
    end(context)


def listen(talk: Talk, plain: Any, wanted: int, timeout: float = 5.0) -> bytes:
    """Until that event; heartbeats are answered meanwhile."""
    until_ = time.monotonic() + timeout
    while time.monotonic() < until_:
        try:
            data = plain.recv(7)  # small pieces: every boundary is met
        except TimeoutError:
            continue
        assert data, "the other end closed the connection"
        for event, body in talk.hear(data):
            if event == ANSWER:
                plain.sendall(body)
            if event == wanted:
                return body
            assert event in (ANSWER, READY)
    raise AssertionError(f"event {wanted} did not come")


# ---- the header and libzmq ----


@pytest.mark.parametrize("identity", [b"", b"board-17", b"x" * 200])
def test_a_router_of_libzmq_understands_it(library: Any, router: Any, identity: bytes) -> None:
    at, plain = router
    talk = Talk(library)
    plain.sendall(talk.hello(identity))
    listen(talk, plain, READY)
    for size in (1, 255, 256, 70_000):
        plain.sendall(talk.framed(b"f" * size))
        assert at.poll(5000)
        who, body = at.recv_multipart()
        assert body == b"f" * size and (who == identity or not identity)
        at.send_multipart([who, b"r" * min(size, 300)])
        assert listen(talk, plain, MESSAGE) == b"r" * min(size, 300)


def test_heartbeats_are_answered(library: Any, router: Any) -> None:
    """A silent device stays connected four timeouts long; one that does not answer is cut off."""
    at, plain = router
    talk = Talk(library)
    plain.sendall(talk.hello())
    listen(talk, plain, READY)
    answers, until_ = 0, time.monotonic() + 1.6
    while time.monotonic() < until_:
        try:
            data = plain.recv(100)
        except TimeoutError:
            continue
        assert data, "cut off"
        for event, body in talk.hear(data):
            assert event == ANSWER
            plain.sendall(body)
            answers += 1
    assert answers >= 4
    plain.sendall(talk.framed(b"still here"))
    assert at.poll(5000) and at.recv_multipart()[1] == b"still here"
    with pytest.raises((AssertionError, ConnectionError)):  # the same without answers
        until_ = time.monotonic() + 5
        while time.monotonic() < until_:
            try:
                assert plain.recv(100), "cut off"
            except TimeoutError:
                continue


def test_an_identity_too_long_is_no_hello(library: Any) -> None:
    assert Talk(library).hello(b"x" * 201) == b""


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16) + b"\0" + bytes(31)


def command(body: bytes) -> bytes:
    return bytes([4, len(body)]) + body


HANDSHAKE = GREETING + command(b"\x05READY\x0bSocket-Type\0\0\0\x06ROUTER")


@pytest.mark.parametrize(
    "data",
    [
        b"\xfe" + GREETING[1:], GREETING[:9] + b"\x7e" + GREETING[10:], GREETING[:10] + b"\x02" + GREETING[11:],
        GREETING[:12] + b"PLAIN" + GREETING[17:], GREETING[:12] + b"CURVE" + GREETING[17:],
        GREETING + command(b"\x05ERROR\x03no!"), GREETING + b"\x00\x01x", HANDSHAKE + b"\x08\x01x", HANDSHAKE + b"\xff",
    ],
)  # fmt: skip
def test_what_speaks_otherwise_is_refused(library: Any, data: bytes) -> None:
    assert Talk(library).hear(data)[-1][0] == BAD


def test_messages_of_several_parts_and_long_ones(library: Any) -> None:
    """The last part is the message; what is longer than the room is passed over whole; unknown commands too."""
    talk = Talk(library)
    assert talk.hear(HANDSHAKE)[-1][0] == READY
    long = b"\x02" + (1000).to_bytes(8, "big") + bytes(1000)
    unknown = command(b"\x07UNKNOWN") + command(b"\x04PING\0\0" + bytes(17))
    data = b"\x01\x00" + b"\x00\x02hi" + long + b"\x00\x00" + unknown + b"\x00\x01!"
    assert talk.hear(data) == [(MESSAGE, b"hi"), (MESSAGE, b""), (MESSAGE, b"!")]
    assert talk.hear(command(b"\x04PING\0\x05abc")) == [(ANSWER, b"\x04\x08\x04PONGabc")]
    assert talk.hear(b"\x02" + b"\xff" * 8 + bytes(5000)) == []  # 2^64 - 1 bytes: nothing is kept of them


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([HANDSHAKE, b"\x00\x05hello", command(b"\x04PING\0\0a")]))))
def test_any_bytes_keep_within_the_room(library: Any, parts: list[bytes]) -> None:
    whole, pieces = Talk(library, 16), Talk(library, 16)
    data = b"".join(parts)
    events = whole.hear(data)
    cut: list[tuple[int, bytes]] = []
    for k in range(len(data)):
        if cut and cut[-1][0] == BAD:
            break
        cut += pieces.hear(data[k : k + 1])
    assert cut == events


# ---- replies ----


def said(library: Any, data: bytes) -> dict[str, Any] | None:
    out = Said()
    held = ctypes.create_string_buffer(data, len(data) or 1)
    if not library.reply(held, len(data), ctypes.byref(out)):
        return None
    return {name: getattr(out, name) for name, _ in Said._fields_}


NONE = {"ack": -1, "credit": -1, "seq": -1, "device": -1, "channel": -1, "epoch": -1, "refused": b""}


@pytest.mark.parametrize(
    "fields",
    [
        {"ack": 19, "device": 7, "channel": 0, "epoch": 1, "credit": 1 << 20},
        {"ack": 2**40, "device": 2**32 - 1, "channel": 65535, "epoch": 2**31, "credit": 0},
        {"refused": "wrong-rate", "device": 7, "channel": 300, "epoch": 1, "seq": 5},
        {"refused": "a reason longer than there is room for it", "seq": -5}, {"ack": -(2**40), "seq": -200, "epoch": -40_000},
        {"credit": 77, "later": "text", "and": 5}, {},
    ],
)  # fmt: skip
def test_replies_are_read(library: Any, fields: dict[str, Any]) -> None:
    wanted = {**NONE, **{k: v for k, v in fields.items() if k in NONE}}
    if isinstance(wanted["refused"], str):
        wanted["refused"] = wanted["refused"].encode()[:23]
    assert said(library, msgpack.packb(fields)) == wanted


def test_rubbish_is_no_reply(library: Any) -> None:
    good = msgpack.packb({"ack": 300, "refused": "crc", "credit": 70_000})
    for cut in range(len(good)):
        assert said(library, good[:cut]) is None
    assert said(library, good + b"\0") is None
    for bad in (b"\xc1", b"\x91\x01", b"\x81\xd9\xff", *map(msgpack.packb, ({1: 2}, {"ack": None}, {"ack": 1.5}))):
        assert said(library, bad) is None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_as_a_reply(library: Any, data: bytes) -> None:
    found = said(library, data)
    assert found is None or set(found) == set(NONE)


# ---- the example ----


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("device") / "device"
    subprocess.run(["gcc", *STRICT, *TRAP, ROOT / "examples/device.c", "-o", target], check=True)
    return target


CHANNELS = "".join(
    f'\n[channel.c-{c}]\nsite = "north"\ndevice = 17\nchannel = {c}\nunit = "kPa"\nrate_hz = 200.0\n' for c in range(2)
)


def port_of(service: Service) -> int:
    return int(service.endpoints["ingest"].rsplit(":", 1)[1])


def test_the_example_and_the_service(program: Path, tmp_path: Path) -> None:
    """300 packed frames through credit and acknowledgements, none lost, none doubled."""
    with running(read_city(city_text(tmp_path) + CHANNELS)) as service:
        ran = subprocess.run([program, "127.0.0.1", str(port_of(service)), "300", "0"], capture_output=True, text=True, timeout=60)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "acked 300 refused 0 dropped 0\n", "")
        stats = until(lambda: (got := service.stats())["frames"] >= 300 and got)
        assert (stats["samples"], stats["gaps"], stats["duplicates"], stats["refused"]) == (300 * 400, 0, 0, {})


def test_the_example_over_a_line_that_is_cut(program: Path, tmp_path: Path) -> None:
    with running(read_city(city_text(tmp_path) + CHANNELS)) as service, Proxy(port_of(service)) as proxy:
        proxy.delay_s = 0.002
        ran = subprocess.Popen([program, "127.0.0.1", str(proxy.port), "200", "2"], stdout=subprocess.PIPE, text=True)
        try:
            for _ in range(3):
                passed = proxy.bytes
                until(lambda passed=passed: proxy.bytes > passed + 20_000 or ran.poll() is not None)
                proxy.cut()
            out, _ = ran.communicate(timeout=60)
        finally:
            ran.kill()
        words = out.split()
        assert words[:4] == ["acked", "200", "refused", "0"] and proxy.accepted >= 3
        stats = until(lambda: (got := service.stats())["frames"] >= 200 and got)
        assert (stats["frames"], stats["samples"], stats["lost_frames"]) == (200, 200 * 400, 0)
        assert stats["lost_samples"] == 200 * int(words[5])  # what its memory could not hold is a gap, and told


def test_the_example_tells_of_refusals(program: Path, tmp_path: Path) -> None:
    with running(read_city(city_text(tmp_path) + CHANNELS.replace("200.0", "100.0"))) as service:
        ran = subprocess.run([program, "127.0.0.1", str(port_of(service)), "3", "0"], capture_output=True, text=True, timeout=60)
        assert ran.returncode == 1 and ran.stdout == "acked 3 refused 3 dropped 0\n"
        assert ran.stderr.splitlines() == [f"refused: wrong-rate, seq {k}" for k in range(3)]


def test_one_frame_by_libzmq_and_one_by_hand_are_the_same(program: Path, library: Any, tmp_path: Path) -> None:
    """What the example sends, taken by a bare ROUTER: packed, whole, and small."""
    context = zmq.Context()
    try:
        router = context.socket(zmq.ROUTER)
        port = router.bind_to_random_port("tcp://127.0.0.1")
        ran = subprocess.Popen([program, "127.0.0.1", str(port), "2", "0"], stdout=subprocess.PIPE, text=True)
        frames = []
        for _ in range(2):
            assert router.poll(10_000)
            who, body = router.recv_multipart()
            frames.append(wire.decode(body))
            fields = {"ack": frames[-1].seq, "device": 17, "channel": 0, "epoch": frames[-1].epoch, "credit": 1}
            router.send_multipart([who, msgpack.packb(fields)])
            assert len(body) < 64 + 2 * 200 * 2  # below int16
        assert ran.communicate(timeout=10)[0] == "acked 2 refused 0 dropped 0\n"
    finally:
        end(context)
    one, other = frames
    assert (one.encoding, one.samples.shape, one.flags, other.flags) == (16, (2, 200), 17, 1)
    assert (other.seq, other.sample_index, other.t0_ns - one.t0_ns) == (1, 200, 10**9)
    triangle = 200 * np.minimum(np.arange(200) % 100, 100 - np.arange(200) % 100)
    assert ((one.samples[0] - triangle >= 0) & (one.samples[0] - triangle < 16)).all()
