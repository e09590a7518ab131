"""Frames beside alarms: the store by hand, the archivist behind a running service."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from lifeline_core import wire
from lifeline_core.cli import app
from lifeline_core.cli.arrays import Source, timeline
from lifeline_core.cli.replay import play
from lifeline_core.config import load_city
from lifeline_core.engine import Engine
from lifeline_core.errors import StateError, StoreError
from lifeline_core.model import NS, Alarm, City
from lifeline_core.pipes import PipeGraph
from lifeline_core.service import FeedClient, Service, origins
from lifeline_core.service.archivist import AHEAD, Archivist, Raised
from lifeline_core.service.log import Log
from lifeline_core.service.origins import Origins, unpack
from lifeline_core.service.recovery import pack_head
from lifeline_core.service.sieve import Sieve, Spans
from lifeline_core.store import snapshot
from lifeline_core.store.captures import About, Captures
from lifeline_core.store.journal import FRAME, Journal
from tests.service_city import DEVICE, T0, N, city_text, frame, make_city, read_all, running, until
from tests.test_service import Wire


def about(name: str, **more: object) -> About:
    return About(alarm_id=name, numbers=[(7, 0)], from_ns=T0, **more)  # type: ignore[arg-type]


def opened(path: Path, budget: int = 10_000, longest: int = 5_000) -> Captures:
    return Captures(path, budget_bytes=budget, longest_bytes=longest)


def put(captures: Captures, alarm_id: str, *frames: bytes) -> None:
    """As many of them as fit."""
    n = captures.fit(alarm_id, np.array([len(f) for f in frames], np.int64))
    captures.add(alarm_id, b"".join(frames[:n]), n)


# ---- the store ----


def test_what_was_added_and_noted_is_there_and_a_crash_leaves_no_half_frame(tmp_path: Path) -> None:
    c = opened(tmp_path)
    c.begin(about("a1"))
    put(c, "a1", b"one", b"two")
    c.note("a1", 100)
    put(c, "a1", b"three")  # and the crash comes before the note
    again = opened(tmp_path)
    assert (again.open["a1"].position, again.open["a1"].frames) == (100, 2)
    put(again, "a1", b"three")
    again.note("a1", 200)
    again.finish("a1")
    found, data = again.read("a1") or (None, b"")
    assert data == b"onetwothree" and found is not None and found.finished and found.whole and found.frames == 3
    last = opened(tmp_path)
    assert not last.open and len(last) == 1 and last.used_bytes == 11
    last.begin(about("a1"))  # said again after a restart: it stays as it is
    assert not last.open and last.read("a1") == (found, data)


def test_the_oldest_finished_make_room(tmp_path: Path) -> None:
    c = opened(tmp_path, budget=1000, longest=400)
    for k in range(5):
        c.begin(about(f"a{k}"))
        put(c, f"a{k}", b"x" * 150, b"y" * 149)
        c.note(f"a{k}", 1)
        c.finish(f"a{k}")
        os.utime(tmp_path / f"a{k}.json", ns=(k * NS, k * NS))
    assert (len(c), c.used_bytes, c.forgotten) == (3, 897, 2)
    assert c.read("a1") is None and c.read("a2") is not None and len(list(tmp_path.iterdir())) == 6
    assert len(opened(tmp_path, budget=700, longest=400)) == 2
    assert [p.stem for p in sorted(tmp_path.glob("*.llf"))] == ["a3", "a4"]


def test_a_capture_ends_at_its_bound_between_frames(tmp_path: Path) -> None:
    c = opened(tmp_path, longest=10)
    c.begin(about("a1"))
    put(c, "a1", b"1234", b"5678", b"90123", b"x")
    c.note("a1", 9)
    c.finish("a1")
    found, data = c.read("a1") or (None, b"")
    assert found is not None and data == b"12345678" and not found.whole


def test_one_that_was_only_begun_to_be_described_is_none(tmp_path: Path) -> None:
    (tmp_path / "a1.json").touch()
    c = opened(tmp_path)
    assert not c.problems and len(c) == 0 and not list(tmp_path.iterdir())


def test_a_long_description_is_replaced_as_a_whole(tmp_path: Path) -> None:
    c = opened(tmp_path)
    long = msgspec.structs.replace(about("a1"), numbers=[(device, 0) for device in range(2000)])
    c.begin(long)
    put(c, "a1", b"frame")
    c.note("a1", 7)
    assert (tmp_path / "a1.json").stat().st_size > 4096 and opened(tmp_path).open["a1"] == long
    long.numbers = long.numbers[:3]
    c.finish("a1")
    again = opened(tmp_path)
    assert not again.problems and (again.read("a1") or (None,))[0] == long


@pytest.mark.parametrize("damage", [b"{", b'{"alarm_id":"other","numbers":[],"from_ns":1}', b" " * 4096])
def test_damage_is_set_aside_and_said(tmp_path: Path, damage: bytes) -> None:
    c = opened(tmp_path)
    c.begin(about("a1"))
    (tmp_path / "a1.json").write_bytes(damage)
    again = opened(tmp_path)
    assert len(again) == 0 and again.problems[0].startswith("capture-set-aside: a1.json") and again.read("a1") is None
    assert list(tmp_path.glob("*.bad"))


def test_frames_that_are_gone_are_said(tmp_path: Path) -> None:
    c = opened(tmp_path)
    c.begin(about("a1"))
    put(c, "a1", b"frames")
    c.note("a1", 1)
    (tmp_path / "a1.llf").write_bytes(b"fra")
    assert "speaks of 6 bytes of frames, there are 3" in opened(tmp_path).problems[0]
    (tmp_path / "a2.llf").write_bytes(b"nobody's")
    assert not (opened(tmp_path).home / "a2.llf").exists()


@pytest.mark.parametrize("name", ["../a1", "", "a.b", "x" * 65, "a/b"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    assert opened(tmp_path / "inner").read(name) is None


def test_an_unreadable_folder_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        opened(tmp_path / "file")


# ---- the archivist ----


@pytest.fixture
def parts(tmp_path: Path):  # type: ignore[no-untyped-def]
    city = make_city(tmp_path)
    with Journal(tmp_path / "journal", budget_bytes=1 << 20, segment_bytes=1 << 16) as journal:
        yield city, journal, Captures(tmp_path / "evidence", budget_bytes=1 << 20, longest_bytes=1 << 18)


def write(journal: Journal, frames: list[bytes]) -> None:
    lengths = np.array([len(f) for f in frames])
    journal.append_batch(FRAME, b"".join(frames), np.cumsum(lengths) - lengths, lengths, np.ones(len(frames), np.uint32))


def alarms_of(city, frames: list[bytes]) -> list[Alarm]:  # type: ignore[no-untyped-def]
    return Engine(city).push(frames)


def seqs(data: bytes) -> list[int]:
    return [f.seq for at, n in wire.read_capture(data) if isinstance(f := wire.decode(data[at : at + n]), wire.Frame)]


def test_from_a_minute_before_to_the_clear_across_passes(parts) -> None:  # type: ignore[no-untyped-def]
    city, journal, captures = parts
    frames = [frame(s, value=30.0 if 100 <= s < 105 else 1.0) for s in range(200)]
    raised, cleared = alarms_of(city, frames)
    other = [frame(s, device=9) for s in range(200)]
    archivist = Archivist(city, journal, captures, Log())
    write(journal, [f for pair in zip(frames[:102], other[:102], strict=True) for f in pair])
    archivist.hear([raised])
    assert archivist.busy() and archivist.needed() == journal.first
    archivist.step()
    assert archivist.needed() == journal.end and captures.open[raised.alarm_id].frames == 62
    write(journal, frames[102:])
    archivist.hear([cleared])
    archivist.step()
    assert not archivist.busy()
    found, data = captures.read(raised.alarm_id)
    assert found.whole and found.finished and seqs(data) == list(range(40, 106))
    (again, *_) = alarms_of(city, [data[at : at + n] for at, n in wire.read_capture(data)])
    assert again == raised  # the same id, the same everything


def test_stretches_without_anything_of_an_alarm_are_passed_over(parts, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Many segments, alarms one after the other: each is sought in few of them, and all its frames are found."""
    city, journal, captures = parts
    frames = [frame(s, value=30.0 if s % 400 >= 390 else 1.0) for s in range(2500)]
    said = alarms_of(city, frames)
    raised, cleared = [a for a in said if a.revision == 1], [a for a in said if a.process == "cleared"]
    write(journal, [f for pair in zip(frames, [frame(s, device=9) for s in range(2500)], strict=True) for f in pair])
    archivist = Archivist(city, journal, captures, Log())
    reads: list[int] = []
    read = journal.read
    monkeypatch.setattr(journal, "read", lambda *a: (reads.append(a[0]), read(*a))[1])
    counts = []
    for one, over in zip(raised, cleared, strict=True):
        archivist.hear([one, over])
        archivist.step()
        begin, end = (int(t - T0) // NS for t in (one.onset_ns - 60 * NS, over.updated_ns))
        found, data = captures.read(one.alarm_id)
        assert found.whole and found.finished and seqs(data) == list(range(begin, end + 1))
        counts.append(len(reads))
        reads.clear()
    segments = len([p for p in journal.directory.iterdir() if p.name.startswith("segment-")])
    assert len(raised) == 6 and segments >= 6 and counts[0] >= segments and max(counts[1:]) <= 5


def test_where_a_device_has_frames(parts) -> None:  # type: ignore[no-untyped-def]
    _, journal, _ = parts
    write(journal, [frame(s) for s in range(10)] + [frame(s, device=9) for s in range(50, 52)] + [b"no frame at all" * 9])
    spans = Spans(journal.read(0))
    ask = [spans.has({d}, T0 + a * NS, T0 + b * NS) for d, a, b in
           [(DEVICE, 9, 30), (DEVICE, 11, 30), (9, 9, 30), (9, 51, 51), (9, 40, 60), (8, 0, 60), (2**32 - 1, 0, 60)]]
    assert ask == [True, False, False, True, True, False, False]
    assert not Spans(journal.read(journal.end)).has({DEVICE}, 0, T0 * 2)
    assert journal.stretch(0) is None  # it is still written to


def some_frames(rng: np.random.Generator, n: int, devices: int) -> list[bytes]:
    """Of one to four channels from any of six on, some of them no data and some no frames at all."""
    made = []
    for seq in range(n):
        channels = rng.normal(size=(int(rng.integers(1, 5)), int(rng.integers(1, 40)))).astype(np.float32)
        device, channel = int(rng.integers(1, 1 + devices)), int(rng.integers(6))
        said = {"epoch": 1, "seq": seq, "sample_index": 0, "t0_ns": T0, "rate": N}
        made.append(wire.pack(channels, device=device, channel=channel, **said))
    made[3], made[7] = b"no frame at all" * 9, made[7][:5] + bytes([wire.DATA + 1]) + made[7][6:]  # of another type
    return made


def told(frames: list[bytes], numbers: Collection[tuple[int, int]]) -> int:
    """Bytes of data frames of these channels, one by one."""
    heads = [(f, *struct.unpack_from("<IHH", f, 8)) for f in frames if f[:4] == b"LLF1" and f[5] == wire.DATA]
    return sum(len(f) for f, device, first, n in heads if any((device, c) in numbers for c in range(first, first + n)))


@pytest.mark.parametrize("seed", range(4))
def test_what_is_known_of_a_stretch_weighs_as_its_frames_do(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = some_frames(rng, 60, 4)
    with Journal(tmp_path / "journal", budget_bytes=1 << 20, segment_bytes=1 << 17) as journal:
        write(journal, frames)
        records = journal.read(0)
        spans, sieve = Spans(records), Sieve(records, range(8))
        for _ in range(20):
            numbers = frozenset((int(d), int(c)) for d, c in rng.integers(0, 8, (int(rng.integers(1, 6)), 2)))
            assert spans.weight(numbers) == sieve.weight(numbers, 0, 1 << 20) == told(frames, numbers)
        assert Spans(journal.read(journal.end)).weight({(1, 1)}) == 0


def test_weighing_looks_through_a_finished_stretch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, frames = np.random.default_rng(5), []
    with Journal(tmp_path / "journal", budget_bytes=1 << 20, segment_bytes=1 << 13) as journal:
        starts = []
        for _ in range(40):
            more = [*some_frames(rng, 9, 3), *[frame(s, device=9) for s in range(20)]]
            for one in more:
                starts.append(journal.end)
                write(journal, [one])
            frames += more
        captures = Captures(tmp_path / "evidence", budget_bytes=1 << 20, longest_bytes=1 << 15)
        archivist = Archivist(make_city(tmp_path), journal, captures, Log(), SimpleNamespace(position=lambda held: held))  # type: ignore[arg-type]
        raised = []
        for name in "abcdef":
            first, last = sorted(rng.choice(len(frames), 2, replace=False).tolist())
            raised.append(Raised(SimpleNamespace(alarm_id=name), starts[first], starts[last], [], frozenset({(1, 2), (2, 0)})))  # type: ignore[arg-type]
        large = [one for one in raised if one.end - one.held > 1 << 14]  # type: ignore[operator]
        assert len(large) >= 4
        reads, read = [], journal.read
        monkeypatch.setattr(journal, "read", lambda *a: (reads.append(a[0]), read(*a))[1])
        counts = []
        for _ in range(2):
            found = archivist._weigh(raised)
            assert found == {
                one.alarm.alarm_id: told(frames[starts.index(one.held) : starts.index(one.end)], one.channels) for one in large
            }
            counts.append(len(reads))
            reads.clear()
        assert max(found.values()) <= 1 << 14 and min(found.values()) > 0
        assert counts[1] <= 2 * len(large) + 2 < counts[0]  # those that are cut, and what is still written to


def test_a_capture_that_comes_too_late_says_so(parts) -> None:  # type: ignore[no-untyped-def]
    city, journal, captures = parts
    frames = [frame(s, value=30.0 if s >= 100 else 1.0) for s in range(4000)]
    (raised,) = alarms_of(city, frames[:200])
    archivist = Archivist(city, journal, captures, Log())
    write(journal, frames[:101])
    archivist.hear([raised])
    archivist.step()
    write(journal, frames[101:3000])
    journal.release(journal.end)
    write(journal, frames[3000:])
    archivist.step()
    assert not captures.read(raised.alarm_id)[0].whole


def test_more_alarms_than_can_be_served_are_counted(parts) -> None:  # type: ignore[no-untyped-def]
    city, journal, captures = parts
    (raised,) = alarms_of(city, [frame(0, value=30.0)])
    archivist = Archivist(city, journal, captures, Log())
    archivist.hear([msgspec.structs.replace(raised, alarm_id=f"{k:032x}") for k in range(AHEAD + 7)])
    assert archivist.missed == 7
    archivist.hear([msgspec.structs.replace(raised, watch="service", where={}, alarm_id="ab")])
    archivist.step()
    assert "ab" not in captures.open


# ---- behind the service ----


def evidence(service: Service, alarm_id: str) -> dict[str, object]:
    with FeedClient(service.endpoints["feed"]) as feed:
        return feed.ask({"op": "evidence", "alarm_id": alarm_id})


def test_it_grows_over_a_restart_and_replay_raises_the_same_alarm(tmp_path: Path) -> None:
    city = make_city(tmp_path)
    with running(city) as service, Wire(service) as device:
        device.send(*(frame(s, value=1.0) for s in range(5)), *(frame(s, value=30.0) for s in range(5, 10)))
        device.hear_ack(9)
        with FeedClient(service.endpoints["feed"]) as feed:
            (raised,) = until(lambda: read_all(feed))
        said = evidence(service, raised.alarm_id)
        assert (said["finished"], said["frames"]) == (False, 10)
        assert service.numbers()["captures"] == 1
    with running(city) as service, Wire(service) as device:
        device.send(*(frame(s, value=30.0) for s in range(10, 15)), *(frame(s, value=1.0) for s in range(15, 20)))
        device.hear_ack(19)
        said = until(lambda: (e := evidence(service, raised.alarm_id))["finished"] and e)
        asked = ["evidence", raised.alarm_id, "--from", service.endpoints["feed"], "-o", str(tmp_path / "e.llf")]
        out = CliRunner().invoke(app, asked)
        assert out.exit_code == 0, out.output
    data = (tmp_path / "e.llf").read_bytes()
    assert data == said["capture"] and seqs(data) == list(range(16)) and said["whole"]
    (tmp_path / "city.toml").write_text(city_text(tmp_path))
    out = CliRunner().invoke(app, ["replay", str(tmp_path / "e.llf"), "--city", str(tmp_path / "city.toml"), "--json"])
    again = [msgspec.json.decode(line) for line in out.stdout.splitlines()]
    assert [a["alarm_id"] for a in again if a.get("revision") == 1] == [raised.alarm_id]


def test_it_is_kept_when_the_journal_has_moved_on(tmp_path: Path) -> None:
    city = make_city(tmp_path, journal_mib=32, snapshot_s=0.2)
    with running(city) as service, Wire(service) as device:
        device.send(frame(0, value=1.0), frame(1, value=30.0), frame(2, value=1.0))
        device.hear_ack(2)
        with FeedClient(service.endpoints["feed"]) as feed:
            raised = until(lambda: read_all(feed))[0]
        until(lambda: evidence(service, raised.alarm_id)["finished"])
        for k in range(40):  # 40 MB of another device go through a journal of 32 MiB
            many = {"device": DEVICE + 1, "sample_index": 0, "t0_ns": T0, "rate": 10}
            device.send(*(wire.pack(np.zeros((1, 10_000), np.float32), seq=k * 25 + i, **many) for i in range(25)))
        until(lambda: service._journal.first > 0, 30.0)
        assert evidence(service, raised.alarm_id)["frames"] == 3


# ---- detectors that learn ----

LEARNING = """
[channel.joint]
site = "north"
device = 21
channel = 0
unit = "mm"

[channel.air]
site = "north"
device = 22
channel = 0
unit = "degC"

[watch.joint-free]
site = "north"
channels = ["joint", "air"]
detector = "regressed"
bin_s = 60.0
train = 40
confirm = 2
limits = [ {severity = 2, above = 4.0} ]
"""


def minute(number: int, off: float = 0.0) -> list[bytes]:
    """Four values of the joint and of the air; the joint follows the air by 2 mm a degree and is ``off`` its course."""
    air = 15 + 7 * np.sin(number / 9) + 3 * np.sin(number / 2)
    times = T0 - T0 % (60 * NS) + (60 * number + 15 * np.arange(4)) * NS
    said = {"seq": number, "sample_index": 4 * number, "epoch": 1, "rate": 0, "t_ns": times[None, :], "t0_ns": int(times[0])}
    noise = np.random.default_rng(number).normal(0, 0.3)
    return [wire.pack(np.full((1, 4), v), device=d, channel=0, **said)
            for d, v in ((22, air), (21, 20 - 2 * (air - 15) + noise + off))]  # fmt: skip


def test_replay_knows_what_the_detector_had_learned(tmp_path: Path) -> None:
    text = city_text(tmp_path / "data").replace("snapshot_s = 1.0", "snapshot_s = 0.1") + LEARNING
    (tmp_path / "city.toml").write_text(text)
    with running(load_city(tmp_path / "city.toml")) as service, Wire(service) as device:
        for number in range(60):
            device.send(*minute(number))
        until(lambda: service.stats()["frames"] == 120)
        until(lambda: service.numbers().get("desk_snapshots", 0) >= 1 and service._runner._saved == service._journal.end, 20)
        for number in range(60, 70):
            device.send(*minute(number, off=8.0))
        with FeedClient(service.endpoints["feed"]) as feed:
            raised = until(lambda: [a for a in read_all(feed) if a.watch == "joint-free"])[0]
        for number in range(70, 80):
            device.send(*minute(number))
        said = until(lambda: (e := evidence(service, raised.alarm_id))["finished"] and e)
        assert said["replayable"] and said["why"] == "" and "state" not in said
        asked = ["evidence", raised.alarm_id, "--from", service.endpoints["feed"], "-o", str(tmp_path / "e.llf")]
        assert CliRunner().invoke(app, asked).exit_code == 0 and (tmp_path / "e.state").stat().st_size < 100_000
    asked = ["replay", str(tmp_path / "e.llf"), "--city", str(tmp_path / "city.toml"), "--json"]
    out = CliRunner().invoke(app, asked)
    again = [msgspec.json.decode(line) for line in out.stdout.splitlines()]
    assert [a["alarm_id"] for a in again if a["revision"] == 1] == [raised.alarm_id], out.stderr
    (same,) = (a for a in again if a["revision"] == 1)
    assert (same["value"], same["evidence"], same["detected_ns"]) == (raised.value, raised.evidence, raised.detected_ns)
    (tmp_path / "e.state").rename(tmp_path / "away")
    out = CliRunner().invoke(app, asked)
    assert out.stdout == "", "by the frames alone nothing is learned"


NET = """[JUNCTIONS]\nA\nB\nC\nD\nE\nF\n[RESERVOIRS]\nR\n[PIPES]\nRA R A 300 400\nAB A B 600 200\nBC B C 600 200\nCD C D 600 200
DE D E 600 200\nEA E A 600 200\nBD B D 900 200\nCF C F 600 200\n[OPTIONS]\nUnits LPS\n"""
SENSORS = ("A", "C", "E", "F")
FS = 100


def pressures(burst_s: float, seconds: int) -> dict[str, np.ndarray]:
    """Head in metres at the sensors: a drop of 3 m at D that comes by the shortest way at 1200 m/s, and the sensors' noise."""
    times = PipeGraph.from_text(NET, wave_speed=1200.0).travel_times("D")
    net, rng, t = PipeGraph.from_text(NET, wave_speed=1200.0), np.random.default_rng(4), np.arange(seconds * FS) / FS
    return {n: (50 - 3.0 * (t >= burst_s + times[net.index[n]]) + rng.normal(0, 0.02, t.size)).astype(np.float32) for n in SENSORS}


def net_city(folder: Path) -> City:
    (folder / "net.inp").write_text(NET)
    text = '[service]\nhealth = false\n[site.net]\ndomain = "water"\nnetwork = "net.inp"\nwave_speed = 1200.0\n'
    for k, node in enumerate(SENSORS):
        text += f'[channel.p-{node.lower()}]\nsite = "net"\ndevice = {30 + k}\nchannel = 0\nquantity = "pressure"\nunit = "m"\n'
        text += f'rate_hz = {FS}.0\nnode = "{node}"\n'
        text += f'[watch.t-{node.lower()}]\nsite = "net"\nchannels = ["p-{node.lower()}"]\nprofile = "water.transient"\n'
    (folder / "city.toml").write_text(text)
    return load_city(folder / "city.toml")


def test_a_burst_that_several_watches_said_together_is_raised_again(tmp_path: Path) -> None:
    city, seconds, saved_s, burst_s = net_city(tmp_path), 110, 95, 100.3
    x, engine, log = pressures(burst_s, seconds), Engine(city), Log()
    (tmp_path / "evidence").mkdir()
    with Journal(tmp_path / "journal", budget_bytes=1 << 22, segment_bytes=1 << 18) as journal:
        captures = Captures(tmp_path / "evidence", budget_bytes=1 << 22, longest_bytes=1 << 21)
        archivist = Archivist(city, journal, captures, log, Origins(tmp_path / "snapshots", captures.home))
        said: list[Alarm] = []
        for s in range(seconds):
            frames = [wire.pack(x[n][None, s * FS : (s + 1) * FS], device=30 + k, channel=0, epoch=1, seq=s, sample_index=s * FS,
                                t0_ns=T0 + s * NS, rate=FS) for k, n in enumerate(SENSORS)]  # fmt: skip
            write(journal, frames)
            said += engine.push(frames) + engine.tick(T0 + (s + 1) * NS)
            if s == saved_s:
                snapshot.save(tmp_path / "snapshots", journal.end, pack_head(0) + engine.save())
            if fresh := [a for a in said if a.kind == "burst" and a.revision == 1 and a.alarm_id not in captures.open]:
                archivist.hear(fresh)
                archivist.step()
        (burst,) = {a.alarm_id: a for a in said if a.kind == "burst" and a.revision == 1}.values()
        assert burst.watch == "network" and burst.where["candidates"]
        archivist.step()
        about, data = captures.read(burst.alarm_id) or (None, b"")
        assert about is not None and about.replayable, about and about.why
        assert {device for device, _ in about.numbers} == {30, 31, 32, 33} and about.before == 4 * (saved_s + 1 - 40)
        (tmp_path / "e.llf").write_bytes(data)
        again = Engine.restore(city, unpack(captures.state(burst.alarm_id)))
        source = Source([tmp_path / "e.llf"], (), (), None, 1.0, None, None, False)
        found = [a for _, some in play(again, islice(timeline(city, source), about.before, None)) for a in some]
    (same,) = (a for a in found if a.kind == "burst" and a.revision == 1)
    assert (same.alarm_id, same.onset_ns, same.where) == (burst.alarm_id, burst.onset_ns, burst.where)


def test_a_state_too_large_or_cut_off_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    city = make_city(tmp_path)
    frames = [frame(s, value=30.0 if s >= 100 else 1.0) for s in range(140)]
    engine = Engine(city)
    engine.push(frames[:90])
    snapshot.save(tmp_path / "snapshots", 0, pack_head(0) + engine.save())
    (raised,) = engine.push(frames[90:])
    ids = iter("abcdefgh")
    with Journal(tmp_path / "journal", budget_bytes=1 << 20, segment_bytes=1 << 16) as journal:
        write(journal, frames)

        def captured(longest: int = 1 << 18, snapshots: str = "snapshots") -> About:
            captures = Captures(tmp_path / "evidence", budget_bytes=1 << 20, longest_bytes=longest)
            archivist = Archivist(city, journal, captures, Log(), Origins(tmp_path / snapshots, captures.home))
            name = next(ids)
            archivist.hear([msgspec.structs.replace(raised, alarm_id=name)])
            archivist.step()
            assert not list(captures.home.glob("origin-*"))
            return (captures.read(name) or (None,))[0]  # type: ignore[return-value]

        assert captured().replayable
        size = len(frames[0])
        much = captured(longest=200 * size)  # of 140 frames told since the snapshot; what remains is the minute before
        assert much.why == f"its watches were told {140 * size} bytes or more since the snapshot before it, {100 * size} are kept"
        assert (much.whole, much.replayable, much.frames, much.state_bytes) == (True, False, 100, 0)
        records = journal.read(0)
        snapshot.save(tmp_path / "late", records.origin + int(records.offsets[95]) - 24, pack_head(0) + engine.save())
        cut = captured(longest=94 * size, snapshots="late")  # 55 before it, 45 told since
        assert (cut.whole, cut.replayable, cut.why) == (False, False, "it was cut short before the alarm was raised")
        assert captured(snapshots="none").why == "there was no snapshot before it"
        monkeypatch.setattr(origins, "MOST_BYTES", 10)
        assert captured().why.startswith("the state of its watches has ")
        monkeypatch.setattr(origins, "LARGEST_BYTES", 10)
        assert captured().why.startswith("the snapshot has ")
        monkeypatch.undo()
        (next((tmp_path / "snapshots").glob("*"))).write_bytes(b"LLSN")
        assert captured().why == "the snapshot before it is damaged"
    with pytest.raises(StateError, match="cannot be read"):
        unpack(b"\x81")


def test_a_damaged_state_costs_the_state_alone(tmp_path: Path) -> None:
    c = opened(tmp_path)
    c.begin(about("a1", replayable=True), b"state")
    put(c, "a1", b"frames")
    c.note("a1", 1)
    c.finish("a1")
    assert c.used_bytes == 11 and c.state("a1") == b"state" and c.state("../a1") == b""
    (tmp_path / "a1.state").write_bytes(b"sta")
    (tmp_path / "a2.state").write_bytes(b"nobody's")
    again = opened(tmp_path)
    found, data = again.read("a1") or (None, b"")
    assert data == b"frames" and again.state("a1") == b"" and not (tmp_path / "a2.state").exists()
    assert found is not None and (found.replayable, found.why) == (False, "its state was damaged")
