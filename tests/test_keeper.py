"""The keeper: snapshots are written beside everything else, and kept when they are told to be."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest

from lifeline_core.service import keeper as module
from lifeline_core.service import memory
from lifeline_core.service.keeper import Keeper
from lifeline_core.store import disk, snapshot

Said = Queue[tuple[int | None, str]]


@contextmanager
def keeping(home: Path) -> Iterator[tuple[Keeper, Callable[[], tuple[int | None, str]]]]:
    said: Said = Queue()
    keeper = Keeper(home, lambda recoverable, trouble: said.put((recoverable, trouble)))
    keeper.start()
    try:
        yield keeper, lambda: said.get(timeout=20)
    finally:
        keeper.finish()
        keeper.join(20)
        assert not keeper.is_alive() and said.empty()


def give(keeper: Keeper, position: int, *parts: bytes) -> None:
    keeper.open(position)
    for part in parts:
        keeper.put(part)
    keeper.close()


def test_what_is_kept_can_be_loaded(tmp_path: Path) -> None:
    with keeping(tmp_path) as (keeper, said):
        for position in (10, 20, 30):
            give(keeper, position, b"a" * position, b"b")
            keeper.keep()
        assert [said() for _ in range(3)] == [(0, ""), (10, ""), (20, "")]
        assert snapshot.load(tmp_path) == (30, b"a" * 30 + b"b", [])


def test_nothing_is_kept_before_it_is_told_so_and_the_oldest_goes_first(tmp_path: Path) -> None:
    with keeping(tmp_path) as (keeper, said):
        give(keeper, 10, b"first")
        keeper.open(20)
        keeper.put(b"second")
        keeper.keep()  # the one at 10: the other is not closed
        assert said() == (0, "")
        assert sorted(p.suffix for p in tmp_path.iterdir()) == [".lls", ".tmp"]
    assert [p.suffix for p in tmp_path.iterdir()] == [".lls"]  # what was open at the end is gone
    assert snapshot.load(tmp_path) == (10, b"first", [])


def test_one_that_is_dropped_is_nowhere(tmp_path: Path) -> None:
    with keeping(tmp_path) as (keeper, said):
        keeper.open(10)
        keeper.put(bytes(2 * snapshot.STRIDE))
        keeper.drop()
        keeper.drop()  # there is none
        keeper.put(b"lost")
        give(keeper, 20, b"b")
        keeper.keep()
        assert said() == (0, "")
        assert snapshot.load(tmp_path) == (20, b"b", [])


@pytest.mark.parametrize("where", ["open", "write", "commit"])
def test_what_the_disk_refuses_is_told_and_the_next_one_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with keeping(tmp_path) as (keeper, said):
        give(keeper, 10, b"a")
        keeper.keep()
        assert said() == (0, "")
        with monkeypatch.context() as full:
            full.setattr(disk, "fdatasync" if where == "commit" else "write_all", refuse)
            give(keeper, 20, bytes(snapshot.STRIDE if where == "write" else 1), b"b")
            keeper.keep()
            recoverable, trouble = said()
        assert recoverable is None and "No space left" in trouble
        assert snapshot.load(tmp_path) == (10, b"a", [])
        give(keeper, 30, b"c")
        keeper.keep()
        assert said() == (10, "")
        assert snapshot.load(tmp_path) == (30, b"c", [])


def test_it_says_when_it_is_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr(module, "AHEAD_BYTES", 1000)
    real = disk.write_all
    monkeypatch.setattr(disk, "write_all", lambda fd, data: (gate.wait(20), real(fd, data)))
    with keeping(tmp_path) as (keeper, said):
        keeper.open(10)
        keeper.put(b"a" * 1000)
        assert not keeper.behind()
        keeper.put(b"b")
        assert keeper.behind()
        gate.set()
        keeper.close()
        keeper.keep()
        assert said() == (0, "")
        assert not keeper.behind()


def test_free_memory_goes_back_to_the_system_where_the_c_library_can(monkeypatch: pytest.MonkeyPatch) -> None:
    def anonymous() -> int:
        rows = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return next(int(row.split()[1]) for row in rows if row.startswith("Anonymous:")) << 10

    monkeypatch.setattr(memory, "_trim", None)
    assert memory.give_back() is False
    monkeypatch.undo()
    if memory.find_trim() is None:
        pytest.skip("the C library has no malloc_trim")
    blocks = [bytes(50_000) for _ in range(2000)]  # too small to be maps of their own
    kept, blocks = blocks[::100], []  # free memory between what is held
    full = anonymous()
    assert memory.give_back() is True
    assert full - anonymous() > 50 << 20 and len(kept) == 20
