"""A night of loggers: recordings matched and overlapped, net.toml, leaks joined, and the command over made-up nights."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from typer.testing import CliRunner

from lifeline_core.cli import app, nightshift
from lifeline_core.errors import ConfigError, StateError
from lifeline_core.pipes.hearing import Hearing
from lifeline_core.pipes.leaks import join
from lifeline_core.pipes.listen import Job, Manner, hear_pairs
from lifeline_core.pipes.overlap import NS, Common, Take, common, night_of, within_hours
from lifeline_core.pipes.plan import plan_pairs
from lifeline_core.store.net import Net, load_net, read_net
from lifeline_core.store.night import begun, names_in, read_takes, sort_files
from lifeline_core.synth.night import Night

EXAMPLES = Path(__file__).parents[1] / "examples"
T0 = int(datetime(2026, 3, 1, 2, 0, tzinfo=UTC).timestamp()) * NS
SMALL = Night(fs=2048.0, seconds=12.0)


def run(*arguments: Any, expect: int = 0) -> Any:
    """The command as `cli.main` calls it; errors in words have status 2 there."""
    done = CliRunner().invoke(app, ["locate", *map(str, arguments)], standalone_mode=False)
    wrong = isinstance(done.exception, ConfigError) or hasattr(done.exception, "show")
    code = 2 if wrong else done.return_value if done.exception is None else done.exception
    assert code == expect, (code, done.stderr)
    return done


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


def take(x: Sequence[float], t0_s: float | None = 0.0, label: str = "", rate: float = 10.0) -> Take:
    return Take(None if t0_s is None else round(t0_s * NS), label, rate, np.asarray(x, np.float32))


# -- what was recorded at the same time ------------------------------------------------------------------------------------


def test_overlap_by_hand() -> None:
    a = [take(range(10), 100.0), take(range(20, 30), 102.0)]
    b = [take(range(50, 75), 100.5)]
    both = common(a, b, shortest_s=0.3)
    assert isinstance(both, Common)
    np.testing.assert_array_equal(both.a, [5, 6, 7, 8, 9, np.nan, *range(20, 30)])
    np.testing.assert_array_equal(both.b, [50, 51, 52, 53, 54, np.nan, *range(65, 75)])
    assert (both.stretches, both.seconds, both.t0_ns, both.later_s) == (2, 1.5, round(100.5 * NS), 0.0)
    only = common(a, b, shortest_s=0.8)
    assert isinstance(only, Common) and only.stretches == 1 and only.a[0] == 20


def test_grids_between_samples() -> None:
    both = common([take(range(10), 0.0)], [take(range(10), 0.03)], shortest_s=0.1)
    assert isinstance(both, Common) and both.later_s == 0.03 and both.a.size == 10
    rng = np.random.default_rng(1)
    x = np.convolve(rng.standard_normal(8000), np.hanning(41), "same")
    fine = [Take(round(k * NS / 40), "", 10.0, x[k::4][:500]) for k in (0, 1)]  # the same noise, a quarter of a sample later
    later = [take(x[0::4][:500], 0.0), Take(round(1000 * NS), "", 10.0, x[4000::4][:500])]
    other = [fine[0], Take(round((1000 + 1 / 40) * NS), "", 10.0, x[4001::4][:500])]
    both = common(later, other, shortest_s=1.0)
    assert isinstance(both, Common) and both.later_s == 0.0
    second = slice(501 + 50, 1001 - 50)  # away from the ends, where an interpolation is at a loss
    assert np.abs(both.a[second] - both.b[second]).max() < 0.02 * np.abs(both.a[second]).max()


def test_no_overlap_is_said() -> None:
    a = [take(range(10))]
    assert str(common(a, [take(range(10), rate=20.0)], shortest_s=0.1)).startswith("rate-mismatch: 10 and 20")
    assert str(common(a, [take(range(10), 5.0)], shortest_s=0.1)).startswith("no-common-time")
    assert str(common(a, [take(range(10), None)], shortest_s=0.1)).startswith("no-common-time: 1 and 1 recordings (1 and 0 know")
    assert str(common(a, [take(range(10), 0.5)], shortest_s=2.0)).startswith("too-short: the longest common stretch is 0.5 s")
    named = [take(range(10), None, "_0230"), take(range(4), None, "_0330")]
    both = common(named, [take(range(7), None, "_0230")], shortest_s=0.1)
    assert isinstance(both, Common) and both.a.size == 7 and both.t0_ns is None


def test_quiet_hours() -> None:
    whole = Take(T0 - 3600 * NS, "", 1.0, np.arange(4 * 3600.0))  # 01:00 to 05:00
    parts = within_hours(whole, (time(2), time(4)), UTC)
    assert [(p.t0_ns, p.x.size) for p in parts] == [(T0, 7200)]
    over = within_hours(whole, (time(22), time(1, 30)), UTC)
    assert [(p.x[0], p.x.size) for p in over] == [(0.0, 1800)]
    shanghai = within_hours(whole, (time(10), time(11)), ZoneInfo("Asia/Shanghai"))  # 02:00 UTC
    assert [(p.t0_ns, p.x.size) for p in shanghai] == [(T0, 3600)]
    assert within_hours(whole, (time(12), time(13)), UTC) == []
    assert within_hours(take([1.0], None), (time(12), time(13)), UTC)[0].x.size == 1
    assert night_of(T0, UTC) == date(2026, 3, 1) == night_of(T0 - 4 * 3600 * NS, UTC)


# -- files -----------------------------------------------------------------------------------------------------------------


def test_files_find_their_logger(tmp_path: Path) -> None:
    for name in ("L1.wav", "L10_0230.wav", "l1-b.npz", "other.wav", "notes.pdf", "net.toml", "hydrant-7a.wav"):
        (tmp_path / name).touch()
    found = sort_files(tmp_path, ["L1", "L10", "L2", "H"], {"H": "hydrant-7*.wav"})
    assert {k: [p.name for p in v] for k, v in found.files.items()} == {"L1": ["L1.wav", "l1-b.npz"], "L10": ["L10_0230.wav"],
                                                                         "H": ["hydrant-7a.wav"]}
    assert {(t.subject, t.word) for t in found.troubles} == {("other.wav", "no-logger"), ("notes.pdf", "unknown-kind"),
                                                              ("L2", "no-file")}
    assert names_in(tmp_path) == ["L1", "L10", "hydrant-7a", "l1-b", "other"]


def test_when_a_recording_began() -> None:
    assert begun("L01_20260301T020000Z", ZoneInfo("Asia/Shanghai")) == T0
    assert begun("L01_2026-03-01_10-00-00", ZoneInfo("Asia/Shanghai")) == T0
    assert begun("20260301-020000", UTC) == T0
    assert begun("L01_20261301T020000", UTC) is None and begun("L01_0230", UTC) is None


@pytest.mark.parametrize("kind", ["wav", "npz", "parquet"])
def test_every_format_says_the_same(tmp_path: Path, kind: str) -> None:
    night = Night(fs=1000.0, seconds=2.0)
    files = night.write(tmp_path, 1, t0_ns=T0, kind=kind)
    takes, troubles = read_takes(files[:1], "L01", UTC)
    assert not troubles and [(t.t0_ns, t.rate_hz, t.x.size) for t in takes] == [(T0, 1000.0, 2000)]
    np.testing.assert_allclose(takes[0].x, night.recordings(1)["L01"], atol=2**-15)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "L01.wav").write_bytes(b"RIFF")
    (tmp_path / "L01_b.parquet").write_bytes(b"nothing")
    np.savez(tmp_path / "L01_c.npz", x=np.zeros((2, 100)), fs=10.0)
    np.savez(tmp_path / "L01_d.npz", x=np.zeros((2, 100)), fs=10.0, names=np.array(["L02", "L01"]), t0_ns=T0)
    np.savez(tmp_path / "L01_e.npz", x=np.zeros(100), fs=10.0, t0_ns=T0 + NS)
    takes, troubles = read_takes(sorted(tmp_path.iterdir()), "L01", UTC)
    assert [t.t0_ns for t in takes] == [T0]
    assert [(t.subject, t.word) for t in troubles] == [("L01.wav", "unreadable"), ("L01_b.parquet", "unreadable"),
                                                        ("L01_c.npz", "unreadable"), ("L01_e.npz", "overlap")]


# -- net.toml --------------------------------------------------------------------------------------------------------------


def test_the_example_is_good_and_complete() -> None:
    net = load_net(EXAMPLES / "night.toml")
    assert [g.name for g in net.loggers] == ["L01", "L02", "L03", "L04"] and net.hours == (time(2), time(4))
    assert net.patterns == {"L02": "hydrant-7*.wav"} and list(net.known) == ["pump-house"]
    speeds = [net.pipes.speed(k) for k in range(4)]
    assert speeds[0] == pytest.approx(1240.0) and speeds[2:] == [pytest.approx(480.0), pytest.approx(1200.0)]
    assert 1150.0 < speeds[1] < 1300.0
    text = (EXAMPLES / "night.toml").read_text()
    from lifeline_core.store import nettables as t

    for kind in (t.NetworkTable, t.PipeTable, t.NodeTable, t.LoggerTable, t.KnownTable, t.Correlate, t.Levels, type(net.rules)):
        for key in kind.__struct_fields__:
            assert f"{key} = " in text, f"{kind.__name__}.{key} is not shown"


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    text = """
[networks]
[[pipe]]
name = "p"
a = "j1"
b = "j2"
length_m = -1.0
[[pipe]]
name = "q"
a = "j1"
b = "j1"
length_m = 10.0
[[logger]]
name = "L01"
node = "j1"
[[logger]]
name = "L01"
pipe = "p"
[correlate]
speed_rel_sd = 0.7
timezone = "Mars/Olympus"
night = ["2 o'clock", "04:00"]
"""
    with pytest.raises(ConfigError) as refused:
        read_net(text)
    faults = "\n".join(refused.value.faults)
    for part in ("networks: unknown section", "did you mean network?", "pipe[0].length_m: must be above 0",
                 "correlate.longest_m: must be given", "correlate.speed_rel_sd: must lie in 0 .. 0.5",
                 "logger[1].name: must differ from logger[0]",
                 "logger[1]: must have node, or pipe and offset_m"):
        assert part in faults, faults
    fixed = text.replace("[networks]", "").replace("-1.0", "100.0").replace("0.7", "0.02\nlongest_m = 500.0").replace(
        'name = "L01"\npipe = "p"', 'name = "L02"\npipe = "pp"\noffset_m = 3.0').replace('node = "j1"', 'node = "j9"')
    with pytest.raises(ConfigError) as refused:
        read_net(fixed)
    faults = "\n".join(refused.value.faults)
    for part in ("pipe[0]: must have speed_mps", "pipe[1].b: must be another node", "correlate.timezone", "correlate.night[0]"):
        assert part in faults, faults
    with pytest.raises(ConfigError, match=r"logger\[0\].node: must be a node.*\n.*logger\[1\].pipe: must be a link"):
        read_net('[network]\nwave_speed = 1000\n[[pipe]]\nname="p"\na="j1"\nb="j2"\nlength_m=9\n[[logger]]\nname="A"\nnode="j9"\n'
                 '[[logger]]\nname="B"\npipe="pp"\noffset_m=1\n[correlate]\nlongest_m=9\nspeed_rel_sd=0')
    with pytest.raises(ConfigError, match="must be a readable file"):
        load_net(tmp_path / "none.toml")


def test_a_network_from_epanet(tmp_path: Path) -> None:
    (tmp_path / "town.inp").write_text(
        "[JUNCTIONS]\n A 1\n B 1\n C 1\n[TANKS]\n T 1\n[PIPES]\n P A B 100 200\n Q B C 50 200\n R B T 50 200\n"
        " S C A 10 200 100 0 Closed\n[OPTIONS]\n Units LPS\n[COORDINATES]\n A 0 0\n B 100 0\n")
    rest = '[[logger]]\nname="L1"\nnode="A"\n[[logger]]\nname="L2"\nnode="C"\n[correlate]\nlongest_m=300\nspeed_rel_sd=0.02\n'
    net = read_net('[network]\ninp="town.inp"\nwave_speed=1200\n[[pipe]]\nname="Q"\nspeed_mps=400\n' + rest, base=tmp_path)
    pairs, _ = plan_pairs(net.pipes, net.loggers, longest_m=300.0)
    assert [(s.length_m, s.speed_mps) for s in pairs[0].way.sections] == [(100.0, pytest.approx(1200)), (50.0, pytest.approx(400))]
    assert net.pipes.xy(net.pipes.place("P", 25.0)) == (25.0, 0.0)
    with pytest.raises(ConfigError, match=r"network.wave_speed: must be given.*\n?"):
        read_net('[network]\ninp="town.inp"\n' + rest, base=tmp_path)
    with pytest.raises(ConfigError, match=r"pipe\[0\].name: must be a link of town.inp; did you mean"):
        read_net('[network]\ninp="town.inp"\nwave_speed=1200\n[[pipe]]\nname="QQ"\nspeed_mps=400\n' + rest, base=tmp_path)


# -- pairs and leaks -------------------------------------------------------------------------------------------------------


def heard(night: Night, *, seed: int = 1, extra: str = "", **manner: Any) -> tuple[Net, list[Hearing]]:
    net = read_net(night.net_toml() + extra)
    x = night.recordings(seed)
    pairs, _ = plan_pairs(net.pipes, net.loggers, longest_m=net.correlate.longest_m)
    jobs = [Job(p, net.speed_rel_sd(p.way)) for p in pairs]
    return net, list(hear_pairs(jobs, lambda n: [Take(T0, "", night.fs, x[n])], Manner(**manner)))


def test_one_leak_of_many_pairs() -> None:
    """Four pairs hear it, two of them only the junction by which it comes in: one leak, where it is."""
    net, pairs = heard(SMALL)
    assert [h.kind for h in pairs] == ["leak"] * 4
    for order in (pairs, pairs[::-1]):
        (leak,) = join(net.pipes, order, same_place_m=3.0)
        assert net.pipes.graph.links[leak.place.link] == "mill-lane"
        assert abs(leak.place.offset_m - 45.0) < 0.5 and abs(leak.place.offset_m - 45.0) < 3 * leak.sd_m < 5.0
        assert {h.pair.a.name + h.pair.b.name for h in leak.witnesses} == {"L01L02", "L02L04"}
        low, high = leak.interval_m
        assert low < leak.x_m < high and leak.common_sd_m < leak.sd_m


def test_a_quiet_night_and_a_hum() -> None:
    net, pairs = heard(replace(SMALL, leak=None, hum_db=10.0))
    assert {h.kind for h in pairs} == {"nothing"} and join(net.pipes, pairs, same_place_m=3.0) == []


def test_an_inverted_logger_and_a_clock() -> None:
    night = replace(SMALL, inverted=("L03",), leak_db=30.0)
    net, pairs = heard(night)
    assert abs(join(net.pipes, pairs, same_place_m=3.0)[0].place.offset_m - 45.0) < 0.5
    text = night.net_toml().replace("clock_sd_ms = 0.2 ", "clock_sd_ms = 5.0 ")
    net = read_net(text)
    jobs = [Job(p) for p in plan_pairs(net.pipes, net.loggers, longest_m=400.0)[0]]
    x = night.recordings(1)
    deaf = list(hear_pairs(jobs, lambda n: [Take(T0, "", night.fs, x[n])], Manner()))
    assert {h.kind for h in deaf} == {"deaf"} and all(any(r.startswith("clock-unsure") for r in h.reasons) for h in deaf)


def test_noise_from_beyond_the_last_logger_says_so() -> None:
    """Nobody stands on the leak's pipe: the pairs see where it comes in, and the leak says that it may come from beyond."""
    night = replace(SMALL, leak=("high-street-3", 50.0), loggers={"L01": "j1", "L02": "j3", "L03": "j4"})
    net, pairs = heard(night)
    (leak,) = join(net.pipes, pairs, same_place_m=3.0)
    assert leak.notes[0].split(":")[0] in ("end", "outside") and "L02" in leak.notes[0]
    assert net.pipes.distance_m(leak.place, net.pipes.node_place("j3")) < 5.0


def test_noise_from_a_branch_says_so() -> None:
    night = replace(SMALL, loggers={"L01": "j1", "L02": "j3"})  # none in mill-lane, where the leak is
    net, pairs = heard(night)
    (leak,) = join(net.pipes, pairs, same_place_m=3.0)
    assert leak.notes == ("junction: j2 is within the interval, the noise may come in from a branch there",)


MAIN = Night(fs=4096.0, seconds=15.0, beta_s_m=3e-6, xy={}, loggers={f"L{i}": f"n{i}" for i in range(7)},
             edges=tuple((f"p{i}", f"n{i}", f"n{i + 1}", 120.0, 1200.0) for i in range(6)))


@pytest.mark.parametrize(("first_m", "second_m", "second_db"), [(30.0, 80.0, 25.0), (110.0, 5.0, 15.0), (60.3, 20.0, 10.0)])
def test_two_leaks_on_one_main(first_m: float, second_m: float, second_db: float) -> None:
    """Every pair hears the one or the other, most of them only come by; the third case is a leak half way between two loggers."""
    net = read_net(MAIN.net_toml())
    jobs = [Job(p, 0.02) for p in plan_pairs(net.pipes, net.loggers, longest_m=200.0)[0]]
    x = replace(MAIN, leak=("p0", first_m)).recordings(1)
    y = replace(MAIN, leak=("p4", second_m), leak_db=second_db).recordings(2)
    pairs = list(hear_pairs(jobs, lambda n: [Take(T0, "", MAIN.fs, x[n] + y[n])], Manner(same_place_m=3.0)))
    leaks = join(net.pipes, pairs, same_place_m=3.0)
    found = {net.pipes.graph.links[k.place.link]: k.place.offset_m for k in leaks}
    assert found == {"p0": pytest.approx(first_m, abs=0.5), "p4": pytest.approx(second_m, abs=0.5)}
    middle = [k for k in leaks if k.main.kind == "middle"]
    assert len(middle) == (first_m == 60.3) and all(k.notes[0].startswith("middle") for k in middle)
    alone = [h for h in pairs if h.kind == "middle"]
    assert join(net.pipes, alone, same_place_m=3.0) == []  # nobody else hears it: a delay of zero is no leak


def test_a_known_noise_is_no_leak() -> None:
    night = replace(SMALL, leak=("high-street-1", 60.0))
    net = read_net(night.net_toml())
    pairs, _ = plan_pairs(net.pipes, net.loggers, longest_m=400.0)
    x = night.recordings(1)
    l01 = [p for p in pairs if (p.a.name, p.b.name) == ("L01", "L02")]
    told = (260.0 - 60.0) / 1200.0
    for known, kind in (({}, "leak"), ({"pump": told}, "known"), ({"valve": 0.0}, "leak")):
        (h,) = hear_pairs([Job(l01[0], 0.02, known)], lambda n: [Take(T0, "", night.fs, x[n])], Manner(same_place_m=3.0))
        assert h.kind == kind, (known, h.reasons)
    assert abs(h.position.x_m - 60.0) < 1.0  # type: ignore[union-attr]


def test_stretches_and_one_piece_hear_the_same() -> None:
    """Rows of one grid go by another road than common stretches: the same verdict, also with gaps."""
    x = SMALL.recordings(2)
    net = read_net(SMALL.net_toml())
    jobs = [Job(p, 0.02) for p in plan_pairs(net.pipes, net.loggers, longest_m=400.0)[0]]

    def cut(name: str, *, odd: bool) -> list[Take]:
        borders = [0, 8000, 8400, 24576]
        return [Take(T0 + round(s * NS / 2048), "", 2048.0, x[name][s + (odd and name == "L03") : e])
                for s, e in ((borders[0], borders[1]), (borders[2], borders[3]))]

    one = list(hear_pairs(jobs, lambda n: cut(n, odd=False), Manner()))
    two = [h for j in jobs for h in hear_pairs([replace(j, pair=replace(j.pair, a=j.pair.b, b=j.pair.a, way=_back(j.pair.way)))],
                                               lambda n: cut(n, odd=False), Manner())]
    assert [h.stretches for h in one] == [2] * len(jobs)
    for h, back in zip(one, two, strict=True):
        assert h.kind == back.kind == "leak" and h.delay_s == pytest.approx(-back.delay_s, abs=2e-5)


def _back(way: Any) -> Any:
    turned = tuple(replace(p, start_m=p.stop_m, stop_m=p.start_m) for p in reversed(way.pieces))
    return type(way)(turned, way.nodes[::-1])


def test_too_little_in_common() -> None:
    x = SMALL.recordings(1)
    net = read_net(SMALL.net_toml())
    jobs = [Job(p) for p in plan_pairs(net.pipes, net.loggers, longest_m=400.0)[0]]
    short = list(hear_pairs(jobs, lambda n: [Take(T0, "", 2048.0, x[n][:4300])], Manner()))
    assert {h.kind for h in short} == {"deaf"} and all(h.reasons[0].startswith("too-short") for h in short)
    none = list(hear_pairs(jobs, lambda n: [], Manner()))
    assert all(h.kind == "deaf" and "nothing of L0" in h.reasons[0] for h in none)


# -- the command -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A night's files and their network."""
    SMALL.write(tmp_path / "night", 1, t0_ns=T0)
    (tmp_path / "net.toml").write_text(SMALL.net_toml())
    return tmp_path


def test_the_command(site: Path) -> None:
    extra = np.zeros(16384, np.float32)
    np.savez(site / "night" / "L99.npz", x=extra, fs=2048.0)
    done = run(site / "night", "--network", site / "net.toml", "--json", "--no-pictures", "--out", site / "out")
    (row,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert row["link"] == "mill-lane" and abs(row["offset_m"] - 45.0) < 0.5 and row["night"] == "2026-03-01"
    assert row["low_m"] < row["distance_m"] < row["high_m"] and row["x"] == 180.0 and abs(row["y"] - 45.0) < 0.5
    assert set(row["budget_m"]) >= {"delay", "clock", "speed"}
    assert [json.loads(line) for line in (site / "out" / "leaks.jsonl").read_text().splitlines()] == [row]
    assert table(site / "out" / "leaks.csv")[0]["pairs"] == "L02-L03; L01-L03"
    assert [r["verdict"] for r in table(site / "out" / "pairs.csv")] == ["leak"] * 4
    loggers = table(site / "out" / "loggers.csv")
    assert [r["logger"] for r in loggers] == ["L01", "L02", "L03", "L04"] and loggers[0]["leak_like"] == ""
    assert all(-60 < float(r["lmin_db"]) <= float(r["level_db"]) + 1 < 0 and int(r["levels"]) == 12 for r in loggers)
    assert table(site / "out" / "troubles.csv")[0]["word"] == "no-logger" and "no-logger: L99.npz" in done.stderr


def test_silent_faults_are_counted(site: Path) -> None:
    """A dead logger, one at another rate, one that clips, one without a file: named, and the rest of the night goes on."""
    night = site / "night"
    for file, change in (("L01", lambda x: 0 * x), ("L02", lambda x: np.clip(x, -2e-3, 2e-3))):
        path = next(night.glob(f"{file}_*"))
        np.savez(night / f"{file}.npz", x=change(SMALL.recordings(1)[file]), fs=2048.0, t0_ns=T0)
        path.unlink()
    np.savez(night / "L03.npz", x=SMALL.recordings(1)["L03"], fs=1000.0, t0_ns=T0)
    next(night.glob("L03_*")).unlink()
    next(night.glob("L04_*")).unlink()
    done = run(night, "--network", site / "net.toml", "--no-pictures")
    words = {(r["subject"], r["word"]) for r in table(night / "leaks" / "troubles.csv")}
    assert {("L01", "dead"), ("L02", "clipped"), ("L04", "no-file")} <= words
    (pair,) = table(night / "leaks" / "pairs.csv")
    assert pair["verdict"] == "deaf" and pair["reasons"].startswith("rate-mismatch: 1000 and 2048")
    assert "1 dead" in done.stderr and (night / "leaks" / "leaks.jsonl").read_text() == ""


def test_nights_become_events(site: Path) -> None:
    common_ = ["--network", site / "net.toml", "--history", site / "history", "--no-pictures", "--json"]
    rows = []
    for day in range(3):
        night = site / f"night-{day}"
        replace(SMALL, leak=SMALL.leak if day < 2 else None).write(night, day, t0_ns=T0 + day * 86400 * NS)
        rows.append([json.loads(line) for line in run(night, *common_).stdout.splitlines()])
    assert [len(r) for r in rows] == [1, 1, 0]
    assert rows[0][0]["event"] == rows[1][0]["event"] == "2026-03-01-1" and rows[1][0]["grade"] == 3
    (event,) = table(site / "night-2" / "leaks" / "events.csv")
    assert (event["nights_heard"], event["nights_looked"], event["ended"]) == ("2", "3", "False")
    before = (site / "history" / "events.json").read_bytes()
    run(site / "night-1", *common_)
    assert (site / "history" / "events.json").read_bytes() == before


def test_a_damaged_history_is_said_before_the_work(site: Path) -> None:
    (site / "events.json").write_text("[")
    done = CliRunner().invoke(app, ["locate", str(site / "night"), "-n", str(site / "net.toml"), "--history", str(site)])
    assert isinstance(done.exception, StateError) and not (site / "night" / "leaks").exists()


def test_recordings_that_know_no_time(tmp_path: Path) -> None:
    """Equal names behind the loggers' began together; nobody knows which night it was."""
    x = SMALL.recordings(1)
    for name in x:
        np.savez(tmp_path / f"{name}_0230.npz", x=x[name], fs=2048.0)
    (tmp_path / "net.toml").write_text(SMALL.net_toml())
    done = run(tmp_path, "-n", tmp_path / "net.toml", "--no-pictures", "--json")
    row = json.loads(done.stdout)
    assert row["link"] == "mill-lane" and row["night"] is None and "4 recordings know no time" in done.stderr
    run(tmp_path, "-n", tmp_path / "net.toml", "--no-pictures", "--history", tmp_path / "h", expect=2)
    run(tmp_path, "-n", tmp_path / "net.toml", "--no-pictures", "--history", tmp_path / "h", "--night", "2026-03-01")
    assert "2026-03-01-1" in (tmp_path / "h" / "events.json").read_text()


def test_mixed_nights_must_be_chosen(site: Path) -> None:
    SMALL.write(site / "night", 2, t0_ns=T0 + 86400 * NS)
    run(site / "night", "-n", site / "net.toml", "--no-pictures", expect=2)
    done = run(site / "night", "-n", site / "net.toml", "--no-pictures", "--night", "2026-03-02", "--json")
    assert json.loads(done.stdout)["night"] == "2026-03-02"


def test_wrong_commands(site: Path) -> None:
    (site / "bad.toml").write_text("[correlate]\n")
    run(site / "night", "--network", site / "bad.toml", expect=2)
    for arguments in ([site / "night"], [], [site / "nowhere", "--screen"], [site / "night", "--screen", "-n", site / "net.toml"],
                      [site / "night", "-n", site / "net.toml", "--night", "yesterday"]):
        run(*arguments, expect=2)
    (site / "empty").mkdir()
    done = run(site / "empty", "--network", site / "net.toml", expect=1)
    assert "4 no-file" in done.stderr
    run(site / "empty", "--screen", expect=1)


def test_screening_without_a_network(tmp_path: Path) -> None:
    Night(fs=2048.0, seconds=20.0, hum_db=0.0, loggers={"A": "j1", "B": "j3", "C": "j4"}).write(tmp_path, 1, t0_ns=T0)
    done = run(tmp_path, "--screen", "--distance", "500", "--speed", "1200", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(r["a"], r["b"]) for r in rows} == {("A", "B"), ("A", "C"), ("B", "C")}
    assert [r["score"] for r in rows] == sorted((r["score"] for r in rows), reverse=True)
    (ab,) = [r for r in rows if r["b"] == "B"]
    assert ab["centre_offset_m"] == pytest.approx(20.0, abs=0.5)  # the junction, 180 m from A and 140 m from B
    assert len(table(tmp_path / "leaks" / "screen.csv")) == 3


def test_processes_change_nothing(site: Path) -> None:
    kept = []
    for jobs in (1, 2):
        run(site / "night", "-n", site / "net.toml", "--no-pictures", "--jobs", jobs, "--out", site / f"out{jobs}")
        kept.append({p.name: p.read_bytes() for p in (site / f"out{jobs}").iterdir()})
    assert kept[0] == kept[1]


def test_ctrl_c_leaves_what_is_done(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifeline_core.cli.night.CHUNK", 1)
    calls = []

    def hear(task: Any) -> Any:
        calls.append(task)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return nightshift.hear(task)

    monkeypatch.setattr("lifeline_core.cli.night.hear", hear)
    run(site / "night", "-n", site / "net.toml", "--no-pictures", "--history", site / "history", expect=130)
    assert len(table(site / "night" / "leaks" / "pairs.csv")) == 2
    assert any(r["word"] == "cut-short" for r in table(site / "night" / "leaks" / "troubles.csv"))


def test_the_example_and_its_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = run("--example", tmp_path / "try")
    assert "mill-lane" in done.stderr
    run(tmp_path / "try" / "night", "--network", tmp_path / "try" / "net.toml", "--history", tmp_path / "history")
    assert (tmp_path / "try" / "night" / "leaks" / "pictures" / "leak-001.png").stat().st_size > 30_000


def test_without_matplotlib(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = CliRunner().invoke(app, ["locate", str(site / "night"), "-n", str(site / "net.toml"), "--pictures"])
    assert isinstance(done.exception, ValueError) and "lifeline-core[plot]" in str(done.exception)
    done = run(site / "night", "-n", site / "net.toml")
    assert "lifeline-core[plot]" in done.stderr and not (site / "night" / "leaks" / "pictures").exists()
