"""Connections and frames that mean harm, against the running service: a good device is served all the while.

After each abuse every frame of the good device is acknowledged, what the process holds is within a bound, and the counters
say what happened. The service is a process of its own, so that its memory is its own, too.
"""

from __future__ import annotations

import resource
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from bench.ends import service_main
from lifeline_core.service import FeedClient, sockets
from tests import stranger
from tests.faults.child import Child
from tests.faults.zmtp import COMMAND, GREETING, LONG, MORE, Peer, part, ready
from tests.fuzz.frames import sealed
from tests.service_city import DEVICE, T0, city_text, until
from tests.stranger import DATA, HELLO, NS

VICTIM = 8  # the device that lies
HANDSHAKE_MS = 400
MIB = 1 << 20
PACKED = 16
FILES = 100


def main(pipe: Any, text: str) -> None:
    """The service with a shorter limit for handshakes, so that a test need not wait for it."""
    sockets.COMMON = {**sockets.COMMON, zmq.HANDSHAKE_IVL: HANDSHAKE_MS}
    service_main(pipe, text)


def narrow_main(pipe: Any, text: str) -> None:
    """The service where few files may be open."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    service_main(pipe, text)


class House:
    """A service, and a good device with a new epoch for each test."""

    def __init__(self, folder: Path, run: Callable[..., None] = main) -> None:
        text = city_text(folder / "data")
        text += f'[channel.victim]\nsite = "north"\ndevice = {VICTIM}\nchannel = 0\nunit = "kPa"\nrate_hz = 10.0\n'
        text += '[watch.victim-high]\nsite = "north"\nchannels = ["victim"]\ndetector = "level"\n'
        text += "limits = [{severity = 2, above = 25.0}]\n"
        self.child = Child(run, text)
        self.context: zmq.Context[Any] = zmq.Context()
        self.feed = FeedClient(self.child.said["feed"], timeout=30.0)
        self.epoch = 0

    @property
    def ingest(self) -> str:
        address: str = self.child.said["ingest"]
        return address

    def dealer(self) -> zmq.Socket[Any]:
        dealer = self.context.socket(zmq.DEALER)
        dealer.linger, dealer.sndhwm = 0, 0
        dealer.connect(self.ingest)
        return dealer

    def refused(self) -> dict[str, int]:
        found: dict[str, int] = self.feed.stats()["refused"]
        return found

    def close(self) -> None:
        self.feed.close()
        stranger.end(self.context)
        self.child.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("abuse"))
    yield house
    house.close()


@contextmanager
def unharmed(house: House, grown_mib: int = 24) -> Iterator[Callable[[], None]]:
    """Gives a call that has the good device say one more second."""
    house.epoch += 1
    device = stranger.Device(house.context, house.ingest, DEVICE, epoch=house.epoch, t0_ns=T0 + 1000 * house.epoch * NS)

    def beat() -> None:
        device.say([1] * 10)
        device.hear()

    beat()
    device.settle()
    before = house.child.held()
    yield beat
    beat()
    device.settle(20.0)
    assert device.refusals == []
    device.close()
    after = house.child.held()
    assert after.own < before.own + grown_mib * MIB, f"{(after.own - before.own) / MIB:.1f} MiB more"
    until(lambda: house.child.held().descriptors <= before.descriptors + 8, what="connections nobody has any more are open")


def lie(body: bytes = b"", **fields: Any) -> bytes:
    said = {"device": VICTIM, "n_samples": 10, "t0_ns": T0, "encoding": stranger.INT16, **fields}
    return sealed(stranger.pack(body, seal=False, **said))


# ---- connections ----


def cut_off(peers: list[Peer]) -> int:
    for peer in peers:
        peer.flush()
        peer.messages()
    return sum(peer.gone for peer in peers)


def test_who_never_ends_a_handshake_is_cut_off(house: House) -> None:
    hello = GREETING + ready()
    with unharmed(house) as beat:
        peers = [Peer(house.ingest) for _ in range(150)]
        for peer in peers:
            peer.take_back()
        for at in range(20):  # a byte at a time, and at that rate not done before the limit
            for k, peer in enumerate(peers[:100]):
                peer.raw(hello[at : at + 1] if k % 2 else b"")
            beat()
            time.sleep(0.03)
        for peer in peers[100:]:
            peer.raw(GREETING)  # and then nothing
        until(lambda: cut_off(peers) == len(peers), what="slow ones are still connected")
        for peer in peers:
            peer.close()


def test_thousands_come_and_go(house: House) -> None:
    with unharmed(house) as beat:
        for k in range(2000):
            peer = Peer(house.ingest, b"guest")
            if k % 4 == 1:
                peer.raw(b"\0" * 100)
            elif k % 4 == 2 and k % 40 == 2:
                assert peer.shake()
                peer.raw(part(bytes(1000))[:500])
            elif k % 4 == 3:
                peer.raw(part(b"x", MORE))
            peer.close()
            if k % 100 == 0:
                beat()


@pytest.mark.slow
def test_more_connections_than_files_may_be_open(tmp_path: Path) -> None:
    house = House(tmp_path, narrow_main)
    try:
        with unharmed(house) as beat:
            peers = [Peer(house.ingest) for _ in range(2 * FILES)]
            until(lambda: cut_off(peers) == 0 and house.child.held().descriptors >= FILES)
            for _ in range(20):
                beat()
                time.sleep(0.02)
                assert cut_off(peers) == 0
            assert any(peer.shaken for peer in peers) and not all(peer.shaken for peer in peers)
            for peer in peers:
                peer.close()
    finally:
        house.close()


def test_giants_are_cut_off_before_they_are_taken(house: House) -> None:
    lengths = (1 << 17, 1 << 31, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
    with unharmed(house) as beat:
        peers = []
        for length in lengths * 4:
            peer = Peer(house.ingest)
            assert peer.shake()
            peer.raw(struct.pack(">BQ", LONG, length) + bytes(4096))
            peers.append(peer)
            beat()
        until(lambda: cut_off(peers) == len(peers), what="a giant is still there")
        commands = [Peer(house.ingest) for _ in range(4)]
        for peer in commands:
            assert peer.shake()
            peer.raw(struct.pack(">BQ", LONG | COMMAND, 1 << 30))
        until(lambda: cut_off(commands) == len(commands), what="a giant command is still there")


def test_floods_of_tiny_messages_are_counted(house: House) -> None:
    n = 30_000
    with unharmed(house) as beat:
        before = house.refused()
        dealer = house.dealer()
        for k in range(n):
            dealer.send(b"x" if k % 2 else b"")
            if k % 3000 == 0:
                beat()
        until(lambda: sum(house.refused().values()) >= sum(before.values()) + n, 30.0)
        dealer.close()
        after = house.refused()
        assert after["short"] - before.get("short", 0) == n // 2
        assert after["multipart"] - before.get("multipart", 0) == n // 2  # a message without a byte is none of ours


def test_parts_without_end_are_rubbish(house: House) -> None:
    with unharmed(house) as beat:
        before = house.refused().get("multipart", 0)
        dealer = house.dealer()
        for _ in range(20):
            dealer.send_multipart([b"p"] * 2000)
            beat()
        until(lambda: house.refused().get("multipart", 0) == before + 20)
        dealer.close()


# ---- frames ----

M32 = 2**32 - 1
LIES: list[tuple[str, bytes]] = [
    ("header-len", lie(bytes(20), header_len=255)),
    ("header-len", lie(bytes(20), header_len=248)),
    ("header-len", lie(bytes(20), header_len=0)),
    ("length", lie(bytes(20), n_samples=M32)),
    ("length", lie(bytes(20), n_samples=M32, n_channels=65535)),
    ("shape", lie(bytes(20), n_samples=0)),
    ("shape", lie(bytes(20), n_channels=0)),
    ("shape", lie(bytes(40), channel=65535, n_channels=2)),
    ("shape", lie(bytes(40), channel=2, n_channels=65535)),
    ("rate", lie(bytes(20), rate_num=0)),
    ("rate", lie(bytes(20), rate_den=0)),
    ("wrong-rate", lie(bytes(20), rate_num=M32)),
    ("time-range", lie(bytes(20), rate_num=1, rate_den=M32)),
    ("time-range", lie(bytes(20), t0_ns=2**63 - 1)),
    ("time-range", lie(bytes(20), sample_index=2**64 - 1)),
    ("time-range", lie(bytes(20), seq=2**64 - 1)),
    ("packed", lie(struct.pack("<i", 0) + bytes(2000), encoding=PACKED, n_samples=(1 << 24) + 1)),
    ("too-large", lie(struct.pack("<i", 0) + bytes(1 << 14), encoding=PACKED, n_samples=1 << 21)),
    ("packed", lie(bytes(60_000), encoding=PACKED, n_samples=1 << 20, n_channels=40)),
    ("length", lie(struct.pack("<i", 0), encoding=PACKED, n_samples=1 << 20)),
    ("packed", lie(struct.pack("<iB", 0, 33) + bytes(600), encoding=PACKED, n_samples=129)),
    ("unknown-channel", lie(bytes(20), channel=9)),
]


def test_lying_headers_are_refused_by_name(house: House) -> None:
    with unharmed(house) as beat:
        before = house.refused()
        dealer = house.dealer()
        for _ in range(50):
            for _, frame in LIES:
                dealer.send(frame)
            beat()
        until(lambda: sum(house.refused().values()) >= sum(before.values()) + 50 * len(LIES))
        dealer.close()
        after = house.refused()
        grown = {reason: n - before.get(reason, 0) for reason, n in after.items() if n != before.get(reason, 0)}
        assert grown == {reason: 50 * sum(r == reason for r, _ in LIES) for reason, _ in LIES}


def test_a_small_frame_of_very_many_samples_costs_a_bounded_ring(house: House) -> None:
    """8 KiB that say a million samples, and truly hold them: all zero, packed into a byte for each 128."""
    n = 1 << 20
    body = struct.pack("<i", 0) + bytes(-(-(n - 1) // 128))
    with unharmed(house, 64) as beat:
        dealer = house.dealer()
        before = house.feed.stats()["samples"]
        for k in range(6):
            told = {"seq": k, "sample_index": n * k, "t0_ns": T0 + n * k * NS // 10}
            dealer.send(lie(body, encoding=PACKED, n_samples=n, epoch=1, **told))
            beat()
        until(lambda: house.feed.stats()["samples"] >= before + 6 * n)
        dealer.close()


def test_a_flood_of_hellos_nobody_reads_the_answers_of(house: House) -> None:
    with unharmed(house) as beat:
        before = house.feed.stats()["hellos"]
        peer = Peer(house.ingest)
        assert peer.shake()
        hello = part(sealed(stranger.pack(seal=False, device=VICTIM, type=HELLO)))
        for k in range(20_000):
            peer.raw(hello)
            if k % 2000 == 0:
                beat()
        until(lambda: peer.drained() and house.feed.stats()["hellos"] == before + 20_000)
        peer.close()


def test_thousands_of_epochs_keep_a_few_streams(house: House) -> None:
    with unharmed(house) as beat:
        before = house.feed.stats()["epochs"]
        dealer = house.dealer()
        for k in range(4000):
            dealer.send(lie(bytes(20), epoch=1000 + k, t0_ns=T0 + 10**7 * NS + k * NS))
            if k % 500 == 0:
                beat()
        until(lambda: house.feed.stats()["epochs"] >= before + 3999)
        dealer.close()


def test_thousands_of_shapes_keep_a_few_streams(house: House) -> None:
    with unharmed(house) as beat:
        before = house.feed.stats()["frames"]
        dealer = house.dealer()
        for k in range(2500):
            told = {"epoch": 10_000 + k, "n_channels": 2000 + k, "n_samples": 1, "t0_ns": T0 + 2 * 10**7 * NS + k * NS}
            dealer.send(lie(bytes(2 * (2000 + k)), **told))
            if k % 500 == 0:
                beat()
        until(lambda: house.feed.stats()["frames"] >= before + 2500)
        dealer.close()


def test_thousands_of_unknown_devices_are_refused_and_told(house: House) -> None:
    with unharmed(house) as beat:
        before = house.refused().get("unknown-device", 0)
        dealer = house.dealer()
        for k in range(5000):
            dealer.send(lie(bytes(20), device=10_000 + k, type=DATA))
            if k % 500 == 0:
                beat()
        until(lambda: house.refused().get("unknown-device", 0) == before + 5000)
        assert dealer.poll(5000)
        dealer.close()
