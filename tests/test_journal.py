"""The frame journal: what was appended comes back, exactly, after anything."""

from __future__ import annotations

import os
import random
import resource
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.errors import StoreError
from lifeline_core.store import _journal as kernel
from lifeline_core.store import disk
from lifeline_core.store.journal import COMMAND, FRAME, TICK, Journal
from tests.twins import journal as twin

S = 4096  # bytes of a segment in these tests
ROOM = S - 128


def make(path: Path, segments: int = 8, **kw) -> Journal:
    return Journal(path, budget_bytes=segments * S, segment_bytes=S, **kw)


def everything(journal: Journal, position: int | None = None) -> list[tuple[int, int, int, bytes]]:
    found, at = [], journal.first if position is None else position
    while len(r := journal.read(at)):
        for i in range(len(r)):
            found.append((r.origin + int(r.offsets[i]) - 24, int(r.kinds[i]), int(r.sources[i]), bytes(r.payload(i))))
        at = r.next
    return found


def payloads(journal: Journal) -> list[bytes]:
    return [record[3] for record in everything(journal)]


def batch(*parts: bytes) -> tuple[bytes, np.ndarray, np.ndarray, np.ndarray]:
    lengths = np.array([len(p) for p in parts], np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    return b"".join(parts), offsets, lengths, np.arange(len(parts), dtype=np.uint32)


# ---- by hand ----


def test_one_record_by_hand(tmp_path):
    with make(tmp_path) as j:
        assert j.append(TICK, b"hello", source=7) == 64 + 24 + 8  # segment header, record header, 5 bytes padded to 8
        r = j.read(0)
        assert (list(r.kinds), list(r.offsets), list(r.lengths), list(r.sources)) == ([TICK], [24], [5], [7])
        assert bytes(r.payload(0)) == b"hello" and r.origin == 64 and r.next == j.end == 96
        assert (r.kinds.dtype, r.offsets.dtype, r.lengths.dtype, r.sources.dtype) == (np.uint8, np.int64, np.int64, np.uint32)
        assert r.buf.readonly
    data = (tmp_path / "segment-0000000000000000.llj").read_bytes()
    assert data[64:88] == struct.pack("<QQII", 0x4A4C4C << 40 | TICK << 32 | 5, 64, 7,
                                      twin.crc32c(b"hello", twin.crc32c(data[64:84], struct.unpack_from("<I", data, 60)[0])))
    assert data[88:96] == b"hello\0\0\0" and data[:64] == data[-64:]


def test_crc_of_the_standard_check_string():
    assert kernel.crc32c(b"123456789") == twin.crc32c(b"123456789") == 0xE3069283
    assert kernel.crc32c(b"6789", kernel.crc32c(b"12345")) == 0xE3069283


def test_a_record_that_fills_its_segment_exactly(tmp_path):
    with make(tmp_path) as j:
        j.append(FRAME, b"a" * (ROOM - 24))
        assert j.end == S - 64
        j.append(FRAME, b"b")
        assert j.end == S + 64 + 32
    with make(tmp_path) as j:
        assert payloads(j) == [b"a" * (ROOM - 24), b"b"] == [r[3] for r in twin.read(tmp_path)]
        assert j.problems == []


def test_batch_over_several_segments_and_empty_ones(tmp_path):
    parts = [bytes([k]) * (k * 97 % 900) for k in range(30)]
    with make(tmp_path, 16) as j:
        assert j.append_batch(FRAME, b"", [], [], []) == 0
        end = j.append_batch(FRAME, *batch(*parts))
        assert end == j.end and payloads(j) == parts
        assert [r[2] for r in everything(j)] == list(range(30))
    assert [r[3] for r in twin.read(tmp_path)] == parts


def test_read_is_bounded_and_goes_on(tmp_path):
    with make(tmp_path) as j:
        for k in range(10):
            j.append(FRAME, bytes([k]) * 100)
        r = j.read(0, max_bytes=300)
        assert len(r) == 2 and r.next == 64 + 2 * 128
        assert len(j.read(r.next, max_bytes=1)) == 1  # one at least
        assert len(j.read(j.end)) == 0 and j.read(j.end).next == j.end


def test_reads_while_another_thread_writes(tmp_path):
    j = Journal(tmp_path, budget_bytes=1 << 20, segment_bytes=8192)
    seen: list[bytes] = []

    def reader() -> None:
        at = 0
        while len(seen) < 5000:
            r = j.read(at)
            seen.extend(bytes(r.payload(i)) for i in range(len(r)))
            at = r.next
            del r
            j.release(at)

    thread = threading.Thread(target=reader)
    thread.start()
    sent = [str(k).encode() * (k % 50) for k in range(5000)]
    for k in range(0, 5000, 20):
        while True:
            try:
                j.append_batch(FRAME, *batch(*sent[k : k + 20]))
                break
            except BufferError:
                pass
    thread.join(30)
    assert seen == sent
    j.close()


# ---- budget, recycling ----


def test_budget_is_held_and_nothing_is_half_written(tmp_path):
    with make(tmp_path, 2) as j:
        j.append(FRAME, b"x" * 3000)
        j.append(FRAME, b"y" * 3000)
        end = j.end
        with pytest.raises(BufferError, match="budget of 8192 bytes is spent"):
            j.append(FRAME, b"z" * 3000)
        with pytest.raises(BufferError):
            j.append_batch(FRAME, *batch(b"1", b"z" * 3000))  # the first would fit
        assert j.end == end and j.lost == 3
        assert sum(p.stat().st_size for p in tmp_path.glob("*.llj")) == 2 * S
        j.release(S)
        j.append(FRAME, b"z" * 3000)
        assert payloads(j) == [b"y" * 3000, b"z" * 3000] and j.first == S


def test_recycled_segments_hold_no_ghosts(tmp_path):
    with make(tmp_path, 2) as j:
        for k in range(50):
            j.append(FRAME, b"%03d" % k * 300)
            j.release(j.end)
        end = j.end
    with make(tmp_path, 2) as j:
        assert j.end == end and j.torn == 0 and j.problems == []
        assert payloads(j)[-1] == b"049" * 300


def test_a_payload_that_imitates_the_next_record_is_not_one(tmp_path):
    """The forger knows everything but the salt of the next use of the file."""
    with make(tmp_path, 2) as j:
        start = 2 * S  # two segments on, the file is used again
        fake = bytearray(3944)  # fills a segment
        for at in range(8, 3900, 32):
            head = struct.pack("<QQI", 0x4A4C4C << 40 | COMMAND << 32 | 1, start + 64 + 24 + at, 0)
            fake[at : at + 25] = head + struct.pack("<I", twin.crc32c(b"!", twin.crc32c(head))) + b"!"
        for _ in range(2):
            j.append(FRAME, bytes(fake))
            j.release(j.end)
        j.append(FRAME, b"12345678")  # the next record would stand where a forged one does
        assert j.end == start + 64 + 32
        data = (tmp_path / f"segment-{start:016x}.llj").read_bytes()
        assert struct.unpack_from("<QQ", data, 96)[1] == start + 96  # the forged one is there
    with make(tmp_path, 2) as j:
        assert payloads(j) == [bytes(fake), b"12345678"]


def test_what_is_looked_at_is_not_recycled(tmp_path):
    with make(tmp_path, 2) as j:
        j.append(FRAME, b"keep" * 700)
        r = j.read(0)
        j.append(FRAME, b"next" * 700)
        j.release(S)
        with pytest.raises(BufferError):
            j.append(FRAME, b"more" * 700)
        assert bytes(r.payload(0)) == b"keep" * 700
        view = np.frombuffer(r.buf, np.uint8)
        del r
        with pytest.raises(BufferError):
            j.append(FRAME, b"more" * 700)
        del view
        j.append(FRAME, b"more" * 700)
    assert [r[3] for r in twin.read(tmp_path)] == [b"next" * 700, b"more" * 700]


def test_records_outlive_the_journal(tmp_path):
    with make(tmp_path) as j:
        j.append(FRAME, b"still here")
        r = j.read(0)
    assert bytes(r.payload(0)) == b"still here"


def test_positions_never_fall_below_the_snapshot(tmp_path):
    """A power cut took the journal's tail, but not the snapshot that had seen it."""
    with make(tmp_path) as j:
        j.append(FRAME, b"a")
    with make(tmp_path, begin=1000) as j:
        assert j.end >= 1000 and "before the snapshot at 1000" in j.problems[0]
        assert j.append(FRAME, b"b") > 1000
        assert [r[3] for r in everything(j, 1000)] == [b"b"] and payloads(j) == [b"a", b"b"]
    with make(tmp_path, begin=1000) as j:
        assert j.problems == [] and payloads(j) == [b"a", b"b"]
    with make(tmp_path / "new", begin=12344) as j:
        assert j.first == j.end == 12344
        j.append(FRAME, b"c")
        assert [r[3] for r in everything(j, 12344)] == [b"c"]


# ---- refusals ----


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="two segments of 4096 at least: 4096"):
        make(tmp_path, 1)
    with pytest.raises(ValueError, match="multiple of 4096: 5000"):
        Journal(tmp_path, budget_bytes=1 << 20, segment_bytes=5000)
    with pytest.raises(ValueError, match="'paper'"):
        make(tmp_path, durability="paper")
    with make(tmp_path) as j:
        with pytest.raises(StoreError, match="another process has the journal open"):
            make(tmp_path)
        with pytest.raises(ValueError, match="1 <= kind <= 254: 255"):
            j.append(255, b"")
        with pytest.raises(ValueError, match="no payload is longer than 3944 bytes"):
            j.append(FRAME, b"x" * 3945)
        with pytest.raises(ValueError, match="within the buffer of 3 bytes"):
            j.append_batch(FRAME, b"abc", [1], [3], [0])
        with pytest.raises(ValueError, match="within the buffer of 3 bytes"):
            j.append_batch(FRAME, b"abc", [-1], [1], [0])
        with pytest.raises(ValueError, match="of one length"):
            j.append_batch(FRAME, b"abc", [0, 1], [1], [0])
        assert j.end == 0
        j.append(FRAME, b"x" * 100)
        with pytest.raises(ValueError, match="position 72 is not the beginning of a record"):
            j.read(72)
        with pytest.raises(ValueError, match=f"0 <= position <= {j.end}"):
            j.read(j.end + 8)
        with pytest.raises(ValueError, match="position <= "):
            j.release(j.end + 8)
    with pytest.raises(ValueError, match="closed"):
        j.append(FRAME, b"")


# ---- any sequence ----

STEP = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 1200)),
    st.tuples(st.just("batch"), st.lists(st.integers(0, 700), min_size=1, max_size=12)),
    st.tuples(st.just("read"), st.integers(1, 5000)),
    st.tuples(st.just("release"), st.integers(0, 100)),
    st.tuples(st.just("reopen"), st.just(0)),
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEP, max_size=40))
def test_any_sequence_gives_back_what_went_in(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("j")
    j, model, at, count = make(path, 5), [], 0, 0
    for step, value in steps:
        if step in ("append", "batch"):
            sizes = [value] if step == "append" else value
            parts = [struct.pack("<I", count + k) * (n // 4 + 1) for k, n in enumerate(sizes)]
            before = j.end
            try:
                end = j.append(FRAME, parts[0]) if step == "append" else j.append_batch(FRAME, *batch(*parts))
            except BufferError:
                assert j.end == before
                continue
            count += len(parts)
            assert before < end == j.end
            model += parts
        elif step == "read":
            r = j.read(at, value)
            assert [bytes(r.payload(i)) for i in range(len(r))] == model[: len(r)]
            assert bool(len(r)) == bool(model)
            model, at = model[len(r) :], r.next
            del r
        elif step == "release":
            j.release(at * value // 100)
        else:
            j.close()
            j = make(path, 5)
            assert j.problems == [] and j.torn == 0
    assert [r[3] for r in everything(j, at)] == model
    kept = everything(j)
    j.close()
    assert twin.read(path) == kept
    assert sum(p.stat().st_size for p in path.glob("*.llj")) <= 5 * S


# ---- damage ----


def written(path: Path) -> list[tuple[int, int, int, bytes]]:
    rng = random.Random(4)
    with make(path) as j:
        for k in range(14):
            j.append(FRAME, rng.randbytes(rng.randrange(0, 700)), k)
        return everything(j)


def reopened(path: Path) -> tuple[list[tuple[int, int, int, bytes]], Journal]:
    j = make(path)
    found = everything(j)
    j.close()
    return found, j


def test_every_truncation_recovers_the_sound_prefix(tmp_path):
    whole = written(tmp_path / "j")
    last = max((tmp_path / "j").glob("segment-*"))
    data, before = last.read_bytes(), [r for r in whole if r[0] < twin.header(last.read_bytes())[0]]
    inside = [r for r in whole if r not in before]
    assert before and len(inside) > 3
    ends = [r[0] % S + 24 + len(r[3]) for r in inside]  # without the padding: those zeros come back by themselves
    cuts = sorted({*range(64, ends[0] + 3), *(e + d for e in ends for d in (-1, 0, 1, 8, 23, 24)), *range(64, S, 41)})
    for cut in cuts:
        last.write_bytes(data[:cut])
        found, j = reopened(tmp_path / "j")
        n = sum(e <= cut for e in ends)
        assert found == before + inside[:n], cut
        sound = ([64, *ends][n] + 7) // 8 * 8
        assert j.torn == (cut - sound if n < len(ends) and any(data[sound:cut]) else 0), cut
        assert last.stat().st_size == S and j.damaged == j.aside == 0
        last.write_bytes(data)


def test_random_damage_recovers_the_sound_prefix(tmp_path):
    whole = written(tmp_path / "j")
    last = max((tmp_path / "j").glob("segment-*"))
    data = last.read_bytes()
    start = twin.header(data)[0]
    end = whole[-1][0] - start + (24 + len(whole[-1][3]) + 7) // 8 * 8
    rng = random.Random(1)
    for _ in range(300):
        at = rng.randrange(0, S)
        broken = bytearray(data)
        broken[at] ^= 1 << rng.randrange(8)
        last.write_bytes(broken)
        found, _ = reopened(tmp_path / "j")
        sound = [r for r in whole if r[0] < start or not hits(r, start, at)]
        cut = next((k for k, r in enumerate(whole) if r[0] >= start and hits(r, start, at)), len(whole))
        assert found == whole[:cut], at
        assert len(sound) >= len(found)
        found_again, j = reopened(tmp_path / "j")
        assert found_again == found and j.torn == 0 and j.problems == []  # nothing that was cut comes back
        assert at >= end or at < 64 or cut < len(whole) or data[at] == 0  # only padding is not under the crc


def hits(record: tuple[int, int, int, bytes], start: int, at: int) -> bool:
    return record[0] - start <= at < record[0] - start + 24 + len(record[3])


def test_writing_goes_on_after_a_torn_tail_and_nothing_cut_returns(tmp_path):
    with make(tmp_path) as j:
        ends = [j.append(FRAME, bytes([k]) * 40) for k in range(6)]
    path = next(tmp_path.glob("segment-*"))
    data = bytearray(path.read_bytes())
    data[ends[1] + 30] ^= 255  # the third record: the power took its page, not those behind
    path.write_bytes(data)
    with make(tmp_path) as j:
        assert j.torn == ends[5] - ends[1] and "torn tail" in j.problems[0]
        j.append(FRAME, b"\x09" * 40)  # of the same length: the fourth would stand right behind
    with make(tmp_path) as j:
        assert [p[0] for p in payloads(j)] == [0, 1, 9]


def test_damage_in_the_middle_is_stepped_over_and_set_aside_when_released(tmp_path):
    with make(tmp_path) as j:
        for k in range(9):
            j.append(FRAME, bytes([k]) * 1000)
        positions = [r[0] for r in everything(j)]
    path = tmp_path / "segment-0000000000000000.llj"
    data = bytearray(path.read_bytes())
    data[positions[1] + 500] ^= 1
    path.write_bytes(data)
    with make(tmp_path) as j:
        assert [p[0] for p in payloads(j)] == [0, 2, 3, 4, 5, 6, 7, 8]
        assert j.damaged == 1024 and j.torn == 0 and "cannot be read" in j.problems[0]
        assert j.read(positions[1]).origin == positions[2]  # a position within the damage reads on behind it
        j.release(S)
        assert (tmp_path / "segment-0000000000000000.llj.0001.bad").exists()


def test_a_segment_without_its_end_is_damage_too(tmp_path):
    with make(tmp_path) as j:
        for k in range(9):
            j.append(FRAME, bytes([k]) * 1000)
    path = tmp_path / "segment-0000000000000000.llj"
    path.write_bytes(path.read_bytes()[:1500])
    with make(tmp_path) as j:
        assert [p[0] for p in payloads(j)] == [0, 3, 4, 5, 6, 7, 8]
        assert j.damaged > 0


def test_unreadable_files_are_set_aside_and_the_start_goes_on(tmp_path):
    with make(tmp_path) as j:
        for k in range(12):
            j.append(FRAME, bytes([k]) * 1000)
        end = j.end
    files = sorted(tmp_path.glob("segment-*"))
    assert len(files) == 4
    files[1].write_bytes(b"\xff" * S)  # neither header
    files[3].write_bytes(b"")
    data = bytearray(files[2].read_bytes())
    data[4] = data[S - 60] = 9  # another version, soundly signed
    for at in (0, S - 64):
        data[at + 60 : at + 64] = struct.pack("<I", twin.crc32c(bytes(data[at : at + 60])))
    files[2].write_bytes(data)
    with make(tmp_path) as j:
        assert [p[0] for p in payloads(j)] == [0, 1, 2]
        assert j.aside == 3 and any("version 9" in p for p in j.problems)
        assert len(list(tmp_path.glob("*.bad"))) == 2  # only the newest two are kept
        assert j.append(FRAME, b"on") > end  # no position twice


def test_a_rename_that_the_power_took_back(tmp_path):
    with make(tmp_path) as j:
        for k in range(6):
            j.append(FRAME, bytes([k]) * 1000)
        kept = everything(j)
    files = sorted(tmp_path.glob("segment-*"))
    files[1].rename(tmp_path / "segment-00000000000f0000.llj")
    with make(tmp_path) as j:
        assert everything(j) == kept


@pytest.mark.parametrize("at", [0, 20, 63, S - 64, S - 1])
def test_one_copy_of_the_header_is_enough(tmp_path, at):
    whole = written(tmp_path)
    for path in tmp_path.glob("segment-*"):
        data = bytearray(path.read_bytes())
        data[at] ^= 16
        path.write_bytes(data)
    assert reopened(tmp_path)[0] == whole
    assert all(p.read_bytes()[:64] == p.read_bytes()[-64:] for p in tmp_path.glob("segment-*"))


# ---- kill, power, and a disk that refuses ----

CHILD = """
import os, sys
import numpy as np
from lifeline_core.store.journal import Journal
j = Journal(sys.argv[1], budget_bytes=64 << 20, segment_bytes=1 << 20)
k, n = int(sys.argv[2]), 32
while True:
    parts = [b"%09d" % (k + i) + bytes((k + i) % 5000) for i in range(n)]
    lengths = np.array([len(p) for p in parts], np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    end = j.append_batch(1, b"".join(parts), offsets, lengths, np.zeros(n, np.uint32))
    k += n
    os.write(1, b"%d %d\\n" % (k, end))
"""


def test_kill_9_under_load_loses_nothing_that_was_reported(tmp_path):
    k = 0
    for lines in (40, 3, 77):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), str(k)], stdout=subprocess.PIPE)
        out = b"".join(child.stdout.readline() for _ in range(lines))
        child.send_signal(signal.SIGKILL)
        out += child.stdout.read()
        child.wait()
        k, end = map(int, out.rsplit(b"\n", 2)[-2].split())
        with Journal(tmp_path, budget_bytes=64 << 20, segment_bytes=1 << 20) as j:
            found = payloads(j)
            assert j.end >= end and j.problems == []
            assert [int(p[:9]) for p in found] == list(range(len(found))) and len(found) >= k
            assert all(len(p) == 9 + i % 5000 for i, p in enumerate(found))
            k = len(found)


class Power:
    """A disk that keeps only what was synced; everything else is garbage after a cut."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images: dict[int, bytes] = {}
        self.names: dict[Path, dict[str, int]] = {}
        monkeypatch.setattr(disk, "fdatasync", self.fdatasync)
        monkeypatch.setattr(disk, "fsync_directory", self.fsync_directory)

    def fdatasync(self, fd: int) -> None:
        self.images[os.fstat(fd).st_ino] = Path(f"/proc/self/fd/{fd}").read_bytes()

    def fsync_directory(self, directory: Path) -> None:
        self.names[directory] = {p.name: p.stat().st_ino for p in directory.iterdir()}

    def cut(self, directory: Path, target: Path) -> None:
        target.mkdir()
        for name, inode in self.names.get(directory, {}).items():
            (target / name).write_bytes(self.images.get(inode, b"\xa5" * S if name.endswith(".llj") else b""))


def test_disk_durability_survives_a_power_cut_at_any_sync(tmp_path, monkeypatch):
    power, rng, sent = Power(monkeypatch), random.Random(3), []
    with make(tmp_path / "j", 4, durability="disk") as j:
        safe = 0
        for k in range(60):
            sent.append(rng.randbytes(rng.randrange(900)))
            end = j.append(FRAME, sent[-1])
            if k % 3 == 0:
                safe = j.sync()
                assert safe == end == j.synced
            if k % 5 == 4:
                power.cut(tmp_path / "j", tmp_path / f"cut{k}")
                with make(tmp_path / f"cut{k}", 4) as left:
                    found = payloads(left)
                    assert left.end >= safe
                    n = len(sent) if not found else next(i for i in range(len(sent), 0, -1) if sent[i - 1] == found[-1])
                    assert found == sent[n - len(found) : n]
                    assert everything(left, min(safe, left.end)) == [] or left.end > safe
            if k % 7 == 6:
                j.release(safe)


def test_a_refused_sync_is_fatal_for_its_segment_only(tmp_path, monkeypatch):
    refuse = []

    def fdatasync(fd: int) -> None:
        if refuse:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(disk, "fdatasync", fdatasync)
    with make(tmp_path, durability="disk") as j:
        j.append(FRAME, b"safe")
        safe = j.sync()
        j.append(FRAME, b"in doubt")
        refuse.append(1)
        with pytest.raises(StoreError, match="Input/output error"):
            j.sync()
        refuse.clear()
        assert j.synced == safe
        assert j.sync() == safe  # a second sync does not make it good
        j.append(FRAME, b"elsewhere")
        assert len(list(tmp_path.glob("segment-*.llj"))) == 2
        assert j.sync() == safe and payloads(j) == [b"safe", b"in doubt", b"elsewhere"]
        j.release(S)  # a snapshot stands for it now
        assert j.synced == j.sync() == j.end
        assert len(list(tmp_path.glob("*.bad"))) == 1  # a bad place is not written again
        refuse.append(1)
        for _ in range(4):
            j.append(FRAME, b"x" * 3000)  # the end of a segment is synced on the way: said at the next sync
        with pytest.raises(StoreError):
            j.sync()
        refuse.clear()


def test_no_room_on_the_disk(tmp_path, monkeypatch):
    def full(fd: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    with make(tmp_path) as j:
        j.append(FRAME, b"x" * 3000)
        monkeypatch.setattr(os, "posix_fallocate", full)
        end = j.end
        with pytest.raises(StoreError, match="No space left"):
            j.append_batch(FRAME, *batch(b"y", b"z" * 3000))
        assert j.end == end and len(list(tmp_path.glob("*.llj"))) == 1
        monkeypatch.undo()
        j.append_batch(FRAME, *batch(b"y", b"z" * 3000))
        assert payloads(j) == [b"x" * 3000, b"y", b"z" * 3000]


def test_a_disk_that_refuses_a_write_loses_nothing_that_was_said(tmp_path):
    """RLIMIT_FSIZE refuses the write behind an offset, as a bad place of the disk does; then it is lifted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    said: list[bytes] = []

    def some(n: int) -> tuple[bytes, np.ndarray, np.ndarray, np.ndarray]:
        bodies = [f"{len(said) + k:05d}".encode() * 40 for k in range(n)]
        lengths = np.full(n, 200, np.int64)
        return b"".join(bodies), np.cumsum(lengths) - lengths, lengths, np.zeros(n, np.uint32)

    def keep(j: Journal, n: int) -> None:
        batch = some(n)
        j.append_batch(FRAME, *batch)
        said.extend(batch[0][k * 200 : k * 200 + 200] for k in range(n))

    with Journal(tmp_path / "j", budget_bytes=8 << 16, segment_bytes=1 << 16) as j:
        keep(j, 50)
        resource.setrlimit(resource.RLIMIT_FSIZE, (16384, hard))
        end = j.end
        try:
            with pytest.raises(StoreError, match="the journal"):
                j.append_batch(FRAME, *some(100))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert j.end == end and [bytes(j.read(0).payload(k)) for k in range(50)] == said
        with pytest.raises(StoreError):  # said once, as a refused sync is
            j.sync()
        keep(j, 100)  # in another segment
        j.append(COMMAND, b"c")
    with Journal(tmp_path / "j", budget_bytes=8 << 16, segment_bytes=1 << 16) as j:
        found, at = [], 0
        while len(part := j.read(at)):
            found += [bytes(part.payload(k)) for k in range(len(part))]
            at = part.next
        assert found == [*said, b"c"]


def test_a_record_larger_than_the_stage(tmp_path):
    with Journal(tmp_path / "j", budget_bytes=4 << 20, segment_bytes=1 << 20) as j:
        large, small = os.urandom(700_001), b"small"
        for body in (small, large, small, large, small):
            j.append(FRAME, body)
        found, at = [], 0
        while len(part := j.read(at)):
            found += [bytes(part.payload(k)) for k in range(len(part))]
            at = part.next
        assert found == [small, large, small, large, small]
