"""Snapshots: complete or absent, and the newest sound one is found."""

from __future__ import annotations

import itertools
import os
import random
import struct
from pathlib import Path

import pytest

from lifeline_core.errors import StoreError
from lifeline_core.store import disk, snapshot
from tests.twins.journal import crc32c


def files(home: Path) -> list[Path]:
    return sorted(home.glob("snapshot-*.lls"))


def test_by_hand(tmp_path):
    assert snapshot.load(tmp_path / "nowhere") is None
    snapshot.save(tmp_path, 4711, b"state")
    said = struct.pack("<4sIQI", b"LLSN", 2, 4711, 0)
    crc = crc32c(said)
    said += struct.pack("<I", crc)
    for part in (b"state", b""):
        crc = crc32c(struct.pack("<I", len(part)) + part, crc)
        said += struct.pack("<II", len(part), crc) + part
    assert files(tmp_path)[0].read_bytes() == said
    assert snapshot.load(tmp_path) == (4711, b"state", [])


def test_the_two_newest_are_kept_and_the_journal_is_needed_from_the_older_one(tmp_path):
    needed = [snapshot.save(tmp_path, p, bytes([p])) for p in (10, 20, 20, 30)]
    assert needed == [0, 10, 20, 20]
    assert [p.read_bytes()[8] for p in files(tmp_path)] == [20, 30]
    assert snapshot.load(tmp_path) == (30, b"\x1e", [])
    assert sorted(p.name for p in tmp_path.iterdir()) == [p.name for p in files(tmp_path)]


def test_empty_state_and_a_large_one(tmp_path):
    snapshot.save(tmp_path, 0, b"")
    assert snapshot.load(tmp_path) == (0, b"", [])
    state = random.Random(2).randbytes(1_000_001)
    snapshot.save(tmp_path, 2**63, state)
    assert snapshot.load(tmp_path) == (2**63, state, [])


def test_any_damage_falls_back_to_the_older_one(tmp_path):
    rng, older, newer = random.Random(5), b"older" * 9, b"newer" * 9
    for k in range(60):
        home = tmp_path / str(k)
        snapshot.save(home, 1, older)
        snapshot.save(home, 2, newer)
        path = files(home)[1]
        data = bytearray(path.read_bytes())
        if k % 2:
            del data[rng.randrange(len(data)) :]
        else:
            data[k // 2 if k < 64 else rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        position, state, problems = snapshot.load(home)
        assert (position, state) == (1, older)
        assert len(problems) == 1 and path.name in problems[0] and not path.exists()
        assert len(snapshot.problems(home)) == 1
        assert snapshot.load(home) == (1, older, [])
        assert snapshot.save(home, 3, newer) == 1 and snapshot.load(home) == (3, newer, [])


@pytest.mark.parametrize("cut", [1, 7, 1000, snapshot.STRIDE, snapshot.STRIDE + 1, 10**7])
def test_how_a_state_is_cut_means_nothing(tmp_path, cut):
    state = random.Random(4).randbytes((3 if cut > 9 else 0) * snapshot.STRIDE + 77)
    draft = snapshot.Draft(tmp_path, 5)
    for start in range(0, len(state), cut):
        draft.write(state[start : start + cut])
    assert snapshot.load(tmp_path / "other") is None and files(tmp_path) == []  # nothing of it is seen before it is whole
    assert draft.commit() == 0
    assert snapshot.load(tmp_path) == (5, state, [])


def test_parts_that_are_lost_doubled_or_moved_are_damage(tmp_path):
    size, head = snapshot.STRIDE + 8, 24
    state = random.Random(4).randbytes(3 * snapshot.STRIDE)
    snapshot.save(tmp_path / "0", 5, state)
    whole = files(tmp_path / "0")[0].read_bytes()
    parts = [whole[head + k * size : head + (k + 1) * size] for k in range(3)]
    end = whole[head + 3 * size :]
    assert len(end) == 8
    for k, wrong in enumerate([[0, 2], [0, 1, 1, 2], [1, 0, 2], [0, 1], [0, 1, 2, 2], []], 1):
        home = tmp_path / str(k)
        home.mkdir()
        (home / "snapshot-0000000000000001.lls").write_bytes(whole[:head] + b"".join(parts[i] for i in wrong) + end)
        assert snapshot.load(home) is None
    for k, data in enumerate([whole[:-8], whole[:-1], whole + b"\0", whole + end], 10):
        home = tmp_path / str(k)
        home.mkdir()
        (home / "snapshot-0000000000000001.lls").write_bytes(data)
        assert snapshot.load(home) is None


def test_no_more_than_a_stride_waits_for_the_disk(tmp_path, monkeypatch):
    """So that whoever syncs another file meanwhile does not wait for all of a large snapshot."""
    sizes = [0]
    monkeypatch.setattr(disk, "fdatasync", lambda fd: sizes.append(os.fstat(fd).st_size))
    snapshot.save(tmp_path, 5, bytes(10 * snapshot.STRIDE + 5))
    assert len(sizes) == 12
    assert max(b - a for a, b in itertools.pairwise(sizes)) <= snapshot.STRIDE + 64


def test_drafts_that_are_let_go_leave_nothing_and_do_not_meet(tmp_path):
    first, second = snapshot.Draft(tmp_path, 1), snapshot.Draft(tmp_path, 2)
    first.write(b"a")
    second.write(b"b")
    third = snapshot.Draft(tmp_path, 3)
    third.write(b"c")
    first.commit()
    third.discard()
    assert second.commit() == 1
    assert snapshot.load(tmp_path) == (2, b"b", [])
    assert len(list(tmp_path.iterdir())) == 2


def test_a_disk_that_is_full_on_the_way(tmp_path, monkeypatch):
    snapshot.save(tmp_path, 1, b"a")
    draft = snapshot.Draft(tmp_path, 2)
    draft.write(bytes(snapshot.STRIDE))

    def refuse(fd: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, "write_all", refuse)
    with pytest.raises(StoreError, match="No space left"):
        draft.write(bytes(snapshot.STRIDE))
    assert [p.name for p in tmp_path.iterdir()] == [files(tmp_path)[0].name]
    with pytest.raises(StoreError, match="No space left"):
        snapshot.Draft(tmp_path, 3)
    assert snapshot.load(tmp_path) == (1, b"a", [])


def test_nothing_sound_left(tmp_path):
    snapshot.save(tmp_path, 1, b"a")
    files(tmp_path)[0].write_bytes(b"junk")
    assert snapshot.load(tmp_path) is None
    assert len(snapshot.problems(tmp_path)) == 1
    snapshot.save(tmp_path, 2, b"b")
    assert files(tmp_path)[0].name > snapshot.problems(tmp_path)[0]  # the count goes on: no name twice
    assert snapshot.load(tmp_path) == (2, b"b", [])


def test_a_refusing_disk_leaves_the_former_one(tmp_path, monkeypatch):
    def refuse(fd: int) -> None:
        raise OSError(5, "Input/output error")

    snapshot.save(tmp_path, 1, b"a")
    monkeypatch.setattr(disk, "fdatasync", refuse)
    with pytest.raises(StoreError, match="Input/output error"):
        snapshot.save(tmp_path, 2, b"b")
    assert snapshot.load(tmp_path) == (1, b"a", []) and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(ValueError, match="position >= 0: -1"):
        snapshot.save(tmp_path, -1, b"")
    assert len(list(tmp_path.iterdir())) == 1


def test_order_on_the_disk(tmp_path, monkeypatch):
    """Content before name, name before the older file goes: in every state between, load finds a sound one."""
    said: list[str] = []
    replaced, removed = os.replace, Path.unlink
    monkeypatch.setattr(disk, "fdatasync", lambda fd: said.append("content"))
    monkeypatch.setattr(disk, "fsync_directory", lambda d: said.append("name"))
    monkeypatch.setattr(os, "replace", lambda a, b: (said.append("rename"), replaced(a, b)))
    monkeypatch.setattr(Path, "unlink", lambda p, missing_ok=False: (said.append("remove"), removed(p, missing_ok)))
    for k in range(3):
        said.clear()
        snapshot.save(tmp_path, k, b"x")
    assert said == ["content", "rename", "name", "remove"]


def test_what_a_crash_left_beside_is_cleared(tmp_path):
    snapshot.save(tmp_path, 1, b"a")
    (tmp_path / "snapshot-0000000000000002.lls.tmp").write_bytes(b"half")
    assert snapshot.load(tmp_path) == (1, b"a", [])
    assert len(list(tmp_path.iterdir())) == 1
