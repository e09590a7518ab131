"""The outbox: once each, numbered without holes, and there after a power cut."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import apsw
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.errors import StoreError
from lifeline_core.model import Alarm
from lifeline_core.store import disk, mark
from lifeline_core.store.outbox import Outbox

DAY = 86_400_000_000_000


def alarm(name: str | int, revision: int = 1, **kw) -> Alarm:
    return Alarm(alarm_id=str(name), revision=revision, site="s", domain="bridge", watch="w", kind="level", severity=2,
                 process="active", handling="new", onset_ns=1, detected_ns=2, updated_ns=3, score=1.5, value=None, limit=0.3,
                 unit="m/s2", quality=1.0, historical=False, config_hash="c", version="0", text={"en": "x", "zh": "甲"},
                 where={"position_m": 3.5}, evidence={"raw": b"\x00\xff", "f": [1.0, 2.0]}, **kw)


def seqs(box: Outbox, after: int = 0, max: int = 10_000) -> list[int]:
    return [a.seq for a in box.read(after, max)]


def test_by_hand(tmp_path):
    with Outbox(tmp_path / "o.sqlite") as box:
        assert box.last_seq == 0 and box.read(0, 10) == [] and box.put([], 1) == []
        new = box.put([alarm("a"), alarm("b"), alarm("a"), alarm("a", 2)], 77)
        assert [(a.seq, a.alarm_id, a.revision, a.published_ns) for a in new] == [(1, "a", 1, 77), (2, "b", 1, 77), (3, "a", 2, 77)]
        assert box.put([alarm("b"), alarm("c")], 78) == box.read(3, 10) == [alarm("c", seq=4, published_ns=78)]
        assert seqs(box) == [1, 2, 3, 4] and seqs(box, 1, 2) == [2, 3] and box.last_seq == 4
        assert box.put([alarm("c")], 79) == []
    with Outbox(tmp_path / "o.sqlite") as box:
        assert box.last_seq == 4 and box.problems == [] and box.read(0, 1) == new[:1]


def test_cursors(tmp_path):
    with Outbox(tmp_path / "o") as box:
        box.put([alarm(k) for k in range(5)], 1)
        assert box.cursor("p") == 0
        assert box.ack("p", 3) == 3 == box.cursor("p")
        assert box.ack("p", 1) == 3  # forward only
        assert box.ack("q", 0) == 0
        with pytest.raises(ValueError, match="cursor <= 5, the last seq there is: 6"):
            box.ack("p", 6)
        with pytest.raises(ValueError, match="cursor >= 0: -1"):
            box.ack("p", -1)
        with pytest.raises(ValueError, match="1 to 200 characters"):
            box.cursor("")
        with pytest.raises(ValueError, match="after >= 0 and max >= 1: 0, 0"):
            box.read(0, 0)
        assert box.consumers() == {"p": 3, "q": 0}
    with Outbox(tmp_path / "o") as box:
        assert box.cursor("p") == 3
        box.forget("q")
        assert box.consumers() == {"p": 3}


def test_consumers_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("lifeline_core.store.outbox.CONSUMERS", 2)
    with Outbox(tmp_path / "o") as box:
        box.cursor("a"), box.cursor("b")
        with pytest.raises(ValueError, match="at most 2 named consumers"):
            box.cursor("c")
        assert box.cursor("a") == 0 and box.put([alarm(1)], 1)  # no transaction was left open


def test_pruning_waits_for_every_consumer_and_for_the_days(tmp_path):
    with Outbox(tmp_path / "o") as box:
        for day in range(10):
            box.put([alarm(day)], day * DAY)
        assert box.prune(5 * DAY, 3) == 2 and seqs(box)[0] == 3  # no consumer: the days alone, older than 3
        box.ack("slow", 3)
        box.ack("fast", 10)
        assert box.prune(9 * DAY, 1) == 1 and seqs(box)[0] == 4
        box.ack("slow", 10)
        assert box.prune(9 * DAY, 1) == 5 and seqs(box) == [9, 10]
        assert box.prune(100 * DAY, 0) == 2 and seqs(box) == [] and box.prune(100 * DAY, 0) == 0
        with pytest.raises(ValueError, match="retain_days >= 0: -1"):
            box.prune(0, -1)
    with Outbox(tmp_path / "o") as box:
        assert box.last_seq == 10 and box.problems == []
        assert box.put([alarm("next")], 1)[0].seq == 11


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.lists(st.integers(0, 20), max_size=6), st.sampled_from(["reopen", "prune", "ack"])), max_size=15))
def test_numbering_has_no_holes_whatever_happens(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("o") / "o"
    box, model, now, kept_from = Outbox(path), {}, 0, 0
    for step in steps:
        now += DAY
        if step == "reopen":
            box.close()
            box = Outbox(path)
        elif step == "ack":
            box.ack("p", box.last_seq)
        elif step == "prune":
            kept_from += box.prune(now, 4)
        else:
            new = box.put([alarm(k) for k in step], now)
            for a in new:
                assert a.alarm_id not in set(list(model.values())[kept_from:])
                assert a.seq == len(model) + 1
                model[a.seq] = a.alarm_id
        assert [(a.seq, a.alarm_id) for a in box.read(0, 1000)] == list(model.items())[kept_from:]
    box.close()


def test_sqlite_is_set_as_it_must_be(tmp_path):
    with Outbox(tmp_path / "o") as box:
        db = box._db
        assert db.pragma("journal_mode") == "wal" and db.pragma("synchronous") == 2
        assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= (3, 51, 3)  # before: the WAL reset bug


def test_the_log_has_its_blocks_before_the_first_alarm_and_never_grows_beyond(tmp_path):
    with Outbox(tmp_path / "o") as box:
        log = tmp_path / "o-wal"
        room = log.stat().st_size
        assert room > 4096 * box._db.pragma("page_size")  # what autocheckpoint lets gather
        for k in range(300):
            box.put([alarm(k)], 1)
        assert log.stat().st_size == room


def test_one_thread_and_one_process(tmp_path):
    with Outbox(tmp_path / "o") as box:
        box.read(0, 1)
        said: list[BaseException] = []

        def other() -> None:
            try:
                box.read(0, 1)
            except RuntimeError as e:
                said.append(e)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert "belongs to thread" in str(said[0])
        code = f"from lifeline_core.store.outbox import Outbox; Outbox({str(tmp_path / 'o')!r})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "another process has the outbox open" in done.stderr
        assert box.problems == [] and box.put([alarm(1)], 1)  # and it was not set aside


def test_nothing_of_a_failed_put_stays(tmp_path, monkeypatch):
    def refuse(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(mark, "AHEAD", 0)  # every number is reserved by itself
    with Outbox(tmp_path / "o") as box:
        box.put([alarm(1)], 1)
        with monkeypatch.context() as m:
            m.setattr(disk, "fdatasync", refuse)
            with pytest.raises(StoreError, match="Input/output error"):
                box.put([alarm(2), alarm(3)], 1)
        with pytest.raises(TypeError):
            box.put([alarm(4), msgspec.structs.replace(alarm(5), evidence={"x": object()})], 1)
        assert box.last_seq == 1 and seqs(box) == [1]
        assert [a.seq for a in box.put([alarm(3)], 1)] == [2]
    with Outbox(tmp_path / "o") as box:
        assert seqs(box) == [1, 2] and box.problems == []


def ruin(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "header":
        data[:100] = b"\x55" * 100
    elif how == "zeros":
        data[:] = bytes(len(data))
    elif how == "cut":
        del data[len(data) // 2 + 100 :]
    elif how == "garbage in the middle":
        data[len(data) // 2 : len(data) // 2 + 8192] = b"\xa7" * 8192
    elif how == "empty":
        data.clear()
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["header", "zeros", "cut", "garbage in the middle", "empty", "gone"])
def test_a_ruined_database_stops_nothing_and_no_number_comes_twice(tmp_path, how):
    path = tmp_path / "o"
    with Outbox(path) as box:
        for k in range(100):
            box.put([alarm(k, 1), alarm(k, 2)], k)
        box.ack("p", 150)
    path.unlink() if how == "gone" else ruin(path, how)
    with Outbox(path) as box:
        assert box.last_seq == 200 and box.problems and "go on after 200" in box.problems[-1]
        carried = box.read(0, 1000)
        assert all((a.alarm_id, a.revision) == (str((a.seq - 1) // 2), 2 - a.seq % 2) for a in carried)
        if how == "garbage in the middle":
            assert len(carried) > 100
        assert [a.seq for a in box.put([alarm("new")], 9)] == [201]
        assert (how in ("gone", "empty")) != bool(list(tmp_path.glob("o.0001.bad")))
    with Outbox(path) as box:
        assert box.problems == [] and box.last_seq == 201


def test_an_older_database_is_noticed(tmp_path):
    path = tmp_path / "o"
    with Outbox(path) as box:
        box.put([alarm(1)], 1)
    backup = path.read_bytes()
    with Outbox(path) as box:
        for k in range(5):
            box.put([alarm(2 + k)], 1)
    path.write_bytes(backup)
    with Outbox(path) as box:
        assert "an older database, it ends at 1 of 5" in box.problems[0]
        assert box.put([alarm("x")], 1)[0].seq == 7


def test_the_second_home_may_be_lost_or_torn(tmp_path):
    path, mark = tmp_path / "o", tmp_path / "o.seq"
    with Outbox(path) as box:
        box.put([alarm(1)], 1)
        box.put([alarm(2)], 1)
    data = bytearray(mark.read_bytes())
    for lost in (None, 0, 4096):
        if lost is None:
            mark.unlink()
        else:
            torn = bytearray(data)
            torn[lost : lost + 20] = b"\xff" * 20
            mark.write_bytes(torn)
        with Outbox(path) as box:
            assert box.last_seq == 2 and box.problems == []
        path.rename(tmp_path / "away")
        with Outbox(path) as box:  # it was made good at once
            assert box.last_seq == 2
        path.unlink()
        (tmp_path / "away").rename(path)


def test_after_a_power_cut_and_a_ruined_database_the_reservation_counts(tmp_path, monkeypatch):
    path, syncs = tmp_path / "o", []
    fdatasync = disk.fdatasync
    monkeypatch.setattr(disk, "fdatasync", lambda fd: (syncs.append(fd), fdatasync(fd)))
    with Outbox(path) as box:
        for k in range(1, 301):
            box.put([alarm(k)], 1)
    assert len(syncs) == 2  # 1 to 257, and 258 to 514
    path.unlink()
    monkeypatch.setattr(disk, "boot_id", lambda: "the next run of the machine")
    with Outbox(path) as box:
        assert box.last_seq == 514 and "go on after 514" in box.problems[-1]
        assert box.put([alarm("new")], 1)[0].seq == 515
    path.unlink()
    with Outbox(path) as box:  # the same run: the note is exact
        assert box.last_seq == 515
    monkeypatch.setattr(disk, "boot_id", lambda: "")
    path.unlink()
    with Outbox(path) as box:  # nobody knows whether the note is of this run
        assert box.last_seq >= 515


def test_with_a_sound_database_a_power_cut_leaves_no_hole(tmp_path, monkeypatch):
    path = tmp_path / "o"
    with Outbox(path) as box:
        for k in range(1, 31):
            box.put([alarm(k)], 1)
    monkeypatch.setattr(disk, "boot_id", lambda: "the next run of the machine")
    with Outbox(path) as box:
        assert box.problems == [] and box.put([alarm("next")], 1)[0].seq == 31


def test_an_unreadable_row_is_passed_over(tmp_path):
    with Outbox(tmp_path / "o") as box:
        box.put([alarm(k) for k in range(5)], 1)
        box._db.execute("UPDATE alarms SET body = x'c1' WHERE seq IN (1, 2)")
        assert seqs(box, 0, 2) == [3, 4]
        assert seqs(box, 0, 2) == [3, 4] and len(box.problems) == 2 and "alarm 1 cannot be read" in box.problems[0]


# ---- the power cut, which killing the process cannot show ----


class Shadow(apsw.VFSFile):
    """A file of which only what was synced is on the disk."""

    def __init__(self, name, flags, durable: dict[str, bytes]) -> None:
        self.path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self.durable = durable
        super().__init__("unix", name, flags)

    def xSync(self, flags) -> None:
        super().xSync(flags)
        self.durable[self.path] = Path(self.path).read_bytes()


class ShadowVFS(apsw.VFS):
    def __init__(self, durable: dict[str, bytes]) -> None:
        self.durable = durable
        super().__init__("shadow", "unix", makedefault=True)

    def xOpen(self, name, flags):
        return Shadow(name, flags, self.durable)


def test_what_put_returned_survives_a_power_cut(tmp_path, monkeypatch):
    durable: dict[str, bytes] = {}
    default = apsw.vfs_names()[0]
    vfs = ShadowVFS(durable)
    synced: dict[int, bytes] = {}
    monkeypatch.setattr(disk, "fdatasync", lambda fd: synced.__setitem__(fd, Path(f"/proc/self/fd/{fd}").read_bytes()))

    def fsync_directory(directory: Path) -> None:  # until then a deleted file may come back: SQLite's journal would undo all
        for name in [n for n in durable if not Path(n).exists()]:
            del durable[name]

    monkeypatch.setattr(disk, "fsync_directory", fsync_directory)
    home = tmp_path / "live"
    try:
        with Outbox(home / "o") as box:
            for k in range(40):
                box.put([alarm(k)], 1)
                if k % 8 == 7:
                    target = tmp_path / f"cut{k}"
                    target.mkdir()
                    for name, data in durable.items():
                        (target / Path(name).name).write_bytes(data)
                    (target / "o.seq").write_bytes(next(iter(synced.values())))
    finally:
        vfs.unregister()
    assert apsw.vfs_names()[0] == default and durable
    for k in range(7, 40, 8):
        with Outbox(tmp_path / f"cut{k}" / "o") as box:
            assert seqs(box) == list(range(1, k + 2)) and box.problems == []
