"""Dead letters: bounded, counted, readable, and never in the way."""

from __future__ import annotations

import os
from collections import Counter

import msgpack
import pytest

from lifeline_core.store import disk
from lifeline_core.store.deadletter import DeadLetters


def total(home) -> int:
    return sum(p.stat().st_size for p in home.iterdir())


def test_by_hand(tmp_path):
    dead = DeadLetters(tmp_path, 1 << 20)
    dead.keep("crc", b"\x00\xff", 5)
    dead.keep("short", b"", 6)
    assert list(dead.read()) == [{"t_ns": 5, "reason": "crc", "size": 2, "bytes": b"\x00\xff"},
                                 {"t_ns": 6, "reason": "short", "size": 0, "bytes": b""}]
    assert dead.counts == Counter(crc=1, short=1)
    assert (tmp_path / "dead-letters").read_bytes() == b"".join(msgpack.packb(x) for x in dead.read())


def test_the_budget_is_held_and_the_newest_half_is_there(tmp_path):
    dead = DeadLetters(tmp_path, 8192)
    for k in range(500):
        dead.keep("crc", bytes(k % 300), k)
        assert total(tmp_path) <= 8192
    kept = [x["t_ns"] for x in dead.read()]
    assert kept == list(range(kept[0], 500)) and len(kept) >= 10 and dead.counts["crc"] == 500
    dead.close()
    again = DeadLetters(tmp_path, 8192)
    again.keep("crc", b"x", 500)
    assert [x["t_ns"] for x in again.read()][-2:] == [499, 500] and total(tmp_path) <= 8192


def test_a_long_letter_keeps_its_beginning(tmp_path):
    dead = DeadLetters(tmp_path, 8192)
    dead.keep("too-large", bytes(range(250)) * 100, 1)
    (letter,) = dead.read()
    assert letter["size"] == 25_000 and letter["bytes"] == (bytes(range(250)) * 5)[:1024]


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_torn_end_is_cut_off_and_writing_goes_on(tmp_path, cut):
    dead = DeadLetters(tmp_path, 8192)
    for k in range(3):
        dead.keep("crc", b"abc", k)
    dead.close()
    path = tmp_path / "dead-letters"
    os.truncate(path, path.stat().st_size - cut)
    dead = DeadLetters(tmp_path, 8192)
    dead.keep("crc", b"new", 9)
    each = len(msgpack.packb({"t_ns": 0, "reason": "crc", "size": 3, "bytes": b"abc"}))
    assert [x["t_ns"] for x in dead.read()] == [*range(3 - -(-cut // each)), 9]


def test_garbage_in_the_file_stops_nothing(tmp_path):
    (tmp_path / "dead-letters").write_bytes(b"\xc1" * 100)
    (tmp_path / "dead-letters.old").write_bytes(msgpack.packb([1, 2]))
    dead = DeadLetters(tmp_path, 8192)
    dead.keep("crc", b"a", 1)
    assert [x["t_ns"] for x in dead.read()] == [1]


def test_a_refusing_disk_is_counted_and_nothing_is_raised(tmp_path, monkeypatch):
    def refuse(fd: int, data: bytes) -> None:
        os.write(fd, data[:7])
        raise OSError(28, "No space left on device")

    dead = DeadLetters(tmp_path, 8192)
    dead.keep("crc", b"a", 1)
    with monkeypatch.context() as m:
        m.setattr(disk, "write_all", refuse)
        dead.keep("crc", b"b", 2)
    dead.keep("crc", b"c", 3)
    assert [x["t_ns"] for x in dead.read()] == [1, 3]
    assert dead.failed == 1 and dead.counts["crc"] == 3
    (tmp_path / "file").write_bytes(b"")
    nowhere = DeadLetters(tmp_path / "file" / "below", 8192)
    nowhere.keep("crc", b"a", 1)
    assert nowhere.failed == 2 and list(nowhere.read()) == []


def test_reasons_are_bounded(tmp_path):
    dead = DeadLetters(tmp_path, 1 << 20)
    for k in range(1000):
        dead.keep(f"reason-{k}", b"", k)
    dead.keep("x" * 5000, b"", 0)
    assert len(dead.counts) == 257 and dead.counts["other"] == 745 and dead.counts.total() == 1001
    with pytest.raises(ValueError, match="budget_bytes >= 4096: 100"):
        DeadLetters(tmp_path, 100)
