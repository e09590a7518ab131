"""``lifeline-core modes``: JSON, pictures, layouts, windows, and what is refused with its reason."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from typer.testing import CliRunner

from lifeline_core.cli import app, main
from lifeline_core.errors import ConfigError
from lifeline_core.store.arrays import read_array
from lifeline_core.store.layout import read_layout
from lifeline_core.synth.chain import chain

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared/data/bridges"
needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"no recordings at {DATA}")
C = chain()
NAMES = list("abcde")
FS = 25.0
FAST = ["--block-rows", "15", "--order-max", "24"]
LAYOUT = """
title = "Chain"
[[sensor]]
channel = "a"
at_m = [0, 0, 3]
direction = "x"
[[sensor]]
channel = "b"
at_m = [0.0, 0.0, 6.0]
direction = [2.0, 0.0, 0.0]
[[point]]
name = "ground"
at_m = [0.0, 0.0, 0.0]
[[line]]
through = ["ground", "a", "b"]
"""


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return C.acceleration(15_000, FS, np.random.default_rng(1))


@pytest.fixture(scope="module")
def deck(tmp_path_factory: pytest.TempPathFactory, x: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("deck") / "deck.npz"
    np.savez(path, x=x, fs=FS, names=np.array(NAMES))
    return path


def run(*arguments: Any, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["modes", *map(str, arguments)])
    assert done.exit_code == code, (done.stderr, done.exception)
    return done


def lines(done: Any, key: str) -> list[dict[str, Any]]:
    return [v[key] for v in map(json.loads, done.stdout.splitlines()) if key in v]


def csv(path: Path, t: np.ndarray, columns: dict[str, np.ndarray]) -> Path:
    table = np.column_stack([t, *columns.values()])
    rows = "\n".join(",".join(f"{v:.9g}" for v in row) for row in table)
    path.write_text(",".join(["t", *columns]) + "\n" + rows.replace("nan", "") + "\n")
    return path


# ---- one recording ----


def test_json_has_a_run_and_a_line_for_each_mode_and_pole(deck: Path) -> None:
    done = run(deck, "--json", "--stabilisation", "--refused", *FAST)
    (about,) = lines(done, "run")
    modes, poles = lines(done, "mode"), lines(done, "pole")
    assert about["channels"] == NAMES and about["rate_hz"] == FS and about["duration_s"] == 600.0
    assert (about["modes"], about["poles"], about["refused"]) == (len(modes), len(poles), len(lines(done, "refused")))
    assert [m["number"] for m in modes] == [1, 2, 3, 4, 5]
    np.testing.assert_allclose([m["f_hz"] for m in modes], C.f_hz, rtol=0.01)
    assert set(modes[0]["shape"]) == set(NAMES) and all(m["collinearity"] > 0.98 for m in modes)
    assert all(m["floor_hz"] > 0 and 0 < m["orders"] <= m["possible"] for m in modes)
    assert {p["order"] for p in poles} <= set(range(2, 26, 2)) and any(p["stable"] for p in poles)


def test_the_table_is_for_people(deck: Path) -> None:
    done = run(deck, *FAST)
    assert done.stdout == "" and "5 modes in 600 s" in done.stderr and "MPC" in done.stderr


def test_a_part_of_it(deck: Path) -> None:
    (about,) = lines(run(deck, "--json", "--from", 100, "--to", 300, "--f-max", 4, *FAST), "run")
    assert about["duration_s"] == pytest.approx(200.0, abs=0.2) and about["t0_ns"] == 100 * 10**9
    assert about["identified_rate_hz"] == 12.5
    assert "nothing was recorded" in str(run(deck, "--from", 700, code=1).exception)


def test_files_one_after_the_other_are_one_recording(tmp_path: Path, x: np.ndarray, deck: Path) -> None:
    for i, part in enumerate(np.split(x, 3, axis=1)):
        np.savez(tmp_path / f"{i}.npz", x=part, fs=FS, names=np.array(NAMES), t0_ns=i * 200 * 10**9)
    apart = lines(run(*[tmp_path / f"{i}.npz" for i in (2, 0, 1)], "--json", *FAST), "mode")
    assert apart == lines(run(deck, "--json", *FAST), "mode")


def test_files_beside_each_other_share_their_common_time(tmp_path: Path, x: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", x=x[:3], fs=FS, names=np.array(NAMES[:3]))
    np.savez(tmp_path / "b.npz", x=x[3:, 500:], fs=FS, names=np.array(NAMES[3:]), t0_ns=20 * 10**9)
    done = run(tmp_path / "a.npz", tmp_path / "b.npz", "--json", *FAST)
    (about,) = lines(done, "run")
    assert about["duration_s"] == 580.0 and about["t0_ns"] == 20 * 10**9
    assert [m["collinearity"] > 0.98 for m in lines(done, "mode")] == [True] * 5


def test_channels_sampled_apart_are_told(tmp_path: Path, x: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", x=x[:3], fs=FS)
    np.savez(tmp_path / "b.npz", y=x[3:], fs=FS, t0_ns=8_000_000)
    assert "sampled up to 8 ms apart" in run(tmp_path / "a.npz", tmp_path / "b.npz", *FAST).stderr


def test_gaps_are_named_and_the_longest_stretch_can_be_taken(tmp_path: Path, x: np.ndarray) -> None:
    t = np.arange(6000) / FS
    good = (t < 60) | (t > 64.98)
    path = csv(tmp_path / "gap.csv", t[good], {"a": x[0, :6000][good], "b": x[1, :6000][good]})
    assert "a has gaps (2 pieces): 5 s at 60 s; take the longest" in str(run(path, code=1).exception)
    (about,) = lines(run(path, "--longest", "--json", *FAST), "run")
    assert about["duration_s"] == pytest.approx(175.0)


def one(x: np.ndarray) -> dict[str, np.ndarray]:
    return {"a [g]": x[0, :3000], "b [g]": x[1, :3000]}


def holed(x: np.ndarray) -> dict[str, np.ndarray]:
    bad = x[1, :3000].copy()
    bad[250:260] = np.nan
    return {"a": x[0, :3000], "b": bad}


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        (holed, [], "b has 10 of 3000 samples that are no numbers, the first at 10 s: leave the channel out"),
        (lambda x: {"a [g]": x[0, :3000], "b [kN]": x[1, :3000]}, [], "one unit, have g, kN"),
        (lambda x: {"a": 1e300 * x[0, :3000]}, [], "samples must stay below 1e+100"),
        (lambda x: {"a": x[0, :300]}, [], "a recording of 12 s is too short: 40.12 s are needed at 25 Hz"),
        (one, ["--column", "z"], "--column must be one of a, b, or a number from 0 to 1, is 'z'"),
        (one, ["--f-max", 13], "at most half the rate of 25 Hz, is 13"),
        (one, ["--environment", "z", "--window", 60], "--environment must be one of a, b, is 'z'"),
        (one, ["--window", 400], "no stretch without a gap is as long as a window of 400 s: the longest has 120 s"),
        (one, ["--window", 20], "a window of 20 s is too short"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, x: np.ndarray, columns: Callable[..., Any], options: list[Any], words: str) -> None:
    given = columns(x)
    path = csv(tmp_path / "x.csv", np.arange(len(next(iter(given.values())))) / FS, given)
    assert words in str(run(path, *options, code=1).exception)


def test_rates_and_times_must_fit(tmp_path: Path, x: np.ndarray) -> None:
    for name, fs, t0 in (("a", FS, 0), ("b", 50.0, 0), ("c", FS, 10**12)):
        np.savez(tmp_path / f"{name}.npz", **{name: x[0]}, fs=fs, t0_ns=t0)
    a, b, c = (tmp_path / f"{n}.npz" for n in "abc")
    assert "b has another rate, 50 Hz, than a, 25 Hz" in str(run(a, b, code=1).exception)
    assert "no time that all of 2 channels recorded" in str(run(a, c, code=1).exception)
    assert "a was recorded twice at 0 s" in str(run(a, a, code=1).exception)


def test_units_that_differ_can_be_weighed_alike(tmp_path: Path, x: np.ndarray) -> None:
    path = csv(tmp_path / "x.csv", np.arange(15_000) / FS, {"a [g]": x[0], "b [kN]": 1e6 * x[1], "c [g]": x[2]})
    found = [m["f_hz"] for m in lines(run(path, "--normalise", "--json", *FAST), "mode")]
    np.testing.assert_allclose(found[:2], C.f_hz[:2], rtol=0.01)


def test_one_channel_and_a_dead_one_are_remarked(tmp_path: Path, x: np.ndarray) -> None:
    path = csv(tmp_path / "x.csv", np.arange(15_000) / FS, {"a": x[0], "dead": np.full(15_000, 2.5)})
    done = run(path, "--column", "a", "--json")
    assert "one channel: frequencies and damping, no shapes" in done.stderr
    assert lines(done, "mode") and all(m["collinearity"] is None for m in lines(done, "mode"))
    assert "dead is 2.5 all the time" in run(path, *FAST).stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--f-min", 5, "--f-max", 4], "--f-max must be above --f-min"),
        (["--picture", "x.gif"], "--picture must end in .png, .svg, .pdf, is 'x.gif'"),
        (["--out", "x.parquet"], "--out needs --window"),
        (["--environment", "T"], "--environment needs --window"),
        (["--window", 60, "--out", "x.txt"], "--out must end in .csv or .parquet"),
        (["--window", 0], "--window must be above 0 s"),
        (["--window", 60, "--every", -1], "--every must be above 0 s"),
        (["--from", 30, "--to", 20], "--to must be above --from"),
        (["--to", "nan"], "both finite"),
        (["--picture", "no/such/x.png"], "there is no directory no/such"),
        (["--window", 60, "--stabilisation"], "--stabilisation is for a recording as a whole"),
    ],
)
def test_a_wrong_command_is_two(deck: Path, options: list[Any], words: str) -> None:
    said = " ".join(run(deck, *options, code=2).stderr.replace("│", " ").split())
    assert words in said


def test_pictures_need_matplotlib(deck: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install lifeline-core[plot]" in str(run(deck, "--picture", "x.png", code=1).exception)


# ---- layout ----


def test_a_layout_is_read_and_drawn(tmp_path: Path, deck: Path) -> None:
    pytest.importorskip("matplotlib")
    layout = read_layout(LAYOUT)
    assert layout.channels == ["a", "b"] and layout.lines == (("ground", "a"), ("a", "b")) and layout.title == "Chain"
    assert layout.sensors[0].direction == (1.0, 0.0, 0.0)
    assert read_layout(LAYOUT.replace('"x"', '"-z"')).sensors[0].direction == (0.0, 0.0, -1.0)
    (tmp_path / "l.toml").write_text(LAYOUT)
    picture = tmp_path / "deck.png"
    run(deck, "--column", "a", "--column", "b", "--layout", tmp_path / "l.toml", "--picture", picture, *FAST)
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 30_000


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('direction = "x"', 'direction = "w"', "sensor[0].direction: must be x, y or z with or without a sign"),
        ('direction = "x"', "", "sensor[0].direction: must be given"),
        ("[2.0, 0.0, 0.0]", "[0.0, 0.0, 0.0]", "sensor[1].direction: must not be of length 0"),
        ("at_m = [0, 0, 3]", "at_m = [0, 0]", "sensor[0].at_m: must be"),
        ("at_m = [0, 0, 3]", "at_m = [0, 0, nan]", "sensor[0].at_m"),
        ("at_m = [0, 0, 3]", "at = [0, 0, 3]", "sensor[0].at: unknown key (known: channel, at_m, direction)"),
        ('channel = "b"', 'channel = "a"', "sensor[1].channel: must differ from sensor[0].channel, \"a\""),
        ('"ground", "a", "b"', '"grund", "a"', "line[0].through[0]: must be the channel of a sensor or the name of a point; did"),
        ('"ground", "a", "b"', '"a"', "line[0].through: must have two names or more"),
        ('name = "ground"', 'name = "ground"\nfollows = "c"', "point[0].follows: must be the channel of a sensor"),
        ("[[line]]", "[[lines]]", "lines: unknown key (known: title, sensor, point, line); did you mean line?"),
        ('title = "Chain"', "title = 3", "title: must be text, 3"),
        ('title = "Chain"', "title = ", "TOML:"),
    ],
)
def test_a_wrong_layout_names_the_key(old: str, new: str, fault: str) -> None:
    assert old in LAYOUT
    with pytest.raises(ConfigError) as error:
        read_layout(LAYOUT.replace(old, new, 1))
    assert any(f.startswith(fault) for f in error.value.faults), error.value.faults


def test_an_empty_layout_and_all_faults_at_once() -> None:
    with pytest.raises(ConfigError, match=r"sensor: must be given at least once"):
        read_layout("")
    with pytest.raises(ConfigError) as error:
        read_layout(LAYOUT.replace('"x"', '"w"').replace('"ground", "a", "b"', '"q", "a"'))
    assert len(error.value.faults) == 2


def test_a_layout_without_a_channel_ends_with_two(tmp_path: Path, deck: Path, monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "l.toml").write_text(LAYOUT.replace('"b"', '"bb"'))
    for layout, words in (("l.toml", "sensor.channel: must name every channel, none is 'b'; did you mean bb?"),
                          ("no.toml", "must be a readable file of UTF-8 text, No such file")):
        monkeypatch.setattr(sys, "argv", ["lifeline-core", "modes", str(deck), "--column", "b", "--layout", str(tmp_path / layout)])
        with pytest.raises(SystemExit) as done:
            main()
        assert done.value.code == 2
        assert words in capsys.readouterr().err


# ---- over time ----


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory, x: np.ndarray) -> tuple[Path, Path, Path]:
    """Two files with 100 s missing between them, samples that are no numbers in the third window, and a slow temperature."""
    folder = tmp_path_factory.mktemp("days")
    t0 = 1_700_000_000 * 10**9
    late = x[:, 7500:].copy()
    late[2, 300] = np.nan
    np.savez(folder / "1.npz", x=x[:, :7500], fs=FS, names=np.array(NAMES), t0_ns=t0)
    np.savez(folder / "2.npz", x=late, fs=FS, names=np.array(NAMES), t0_ns=t0 + 400 * 10**9)
    t = np.arange(0, 800, 10)
    rows = "".join(f"{1_700_000_000 + s},{5 + s / 100}\n" for s in t)
    (folder / "t.csv").write_text("time,air [°C]\n" + rows)
    return folder / "1.npz", folder / "2.npz", folder / "t.csv"


def test_tracks_keep_what_is_missing_missing(days: tuple[Path, ...], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out, picture = tmp_path / "tracks.parquet", tmp_path / "tracks.png"
    done = run(*days, "--environment", "air", "--window", 100, "--json", "--out", out, "--picture", picture, *FAST)
    (about,) = lines(done, "run")
    windows, modes = lines(done, "window"), lines(done, "mode")
    assert about["windows"] == len(windows) == 6 and about["stretches"] == 2
    begun = [round(w["t0_ns"] / 1e9) - 1_700_000_000 for w in windows]
    assert begun == [0, 100, 200, 400, 500, 600]  # after the gap they begin anew
    assert windows[3]["why"].startswith("c has 1 of 2500") and windows[3]["f_hz"] == [None] * len(modes)
    np.testing.assert_allclose([w["environment"] for w in windows], [5.45 + s / 100 for s in begun])
    assert [m["windows"] for m in modes] == [sum(w["f_hz"][k] is not None for w in windows) for k in range(len(modes))]
    for k, m in enumerate(modes):
        near = float(C.f_hz[np.argmin(np.abs(C.f_hz - m["f_hz"]))])
        f = np.array([w["f_hz"][k] for w in windows if w["f_hz"][k] is not None])
        sd = np.array([w["f_sd_hz"][k] for w in windows if w["f_hz"][k] is not None])
        assert (sd > 0).all() and np.abs(f / near - 1).max() < 0.05
    assert len(modes) >= 4 and "1 of 6 windows left out" in done.stderr and picture.stat().st_size > 30_000
    back = [r for r in read_array(out) if r.name in ("f1", "environment")]  # in two pieces: there is a gap
    f1 = np.concatenate([r.x for r in back if r.name == "f1"])
    np.testing.assert_array_equal(np.isnan(f1), [w["f_hz"][0] is None for w in windows])
    assert {(r.name, r.unit) for r in back} == {("f1", "Hz"), ("environment", "°C")}


def test_csv_says_the_same_as_parquet(days: tuple[Path, ...], tmp_path: Path) -> None:
    pair = [tmp_path / "t.csv", tmp_path / "t.parquet"]
    for out in pair:
        run(days[0], "--window", 100, "--every", 50, "--out", out, *FAST)
    a, b = ({r.name: r for r in read_array(p)} for p in pair)
    assert set(a) == set(b) and {"seconds", "f1", "f1_sd", "damping1", "mac1"} <= set(a) and "environment" not in a
    for name in a:
        np.testing.assert_allclose(a[name].x, b[name].x, rtol=1e-8)
        assert (a[name].t0_ns, a[name].rate_hz) == (b[name].t0_ns, b[name].rate_hz) == (1_700_000_000 * 10**9, 0.02)


@pytest.mark.slow
def test_processes_change_nothing(days: tuple[Path, ...]) -> None:
    said = [run(*days[:2], "--window", 100, "--json", "--jobs", n, *FAST).stdout for n in (1, 2)]
    assert said[0] == said[1]


def test_shapes_of_tracked_modes_over_their_layout(days: tuple[Path, ...], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "l.toml").write_text(LAYOUT)
    pair, picture = ["--column", "a", "--column", "b"], tmp_path / "t.svg"
    run(days[0], *pair, "--window", 100, "--layout", tmp_path / "l.toml", "--picture", picture, *FAST)
    assert "<svg" in (tmp_path / "t.svg").read_text()[:600] and (tmp_path / "t-shapes.svg").stat().st_size > 5_000


# ---- MAT ----


def test_mat_files(tmp_path: Path, x: np.ndarray) -> None:
    t = np.arange(1000) / FS
    savemat(tmp_path / "a.mat", {"t": t, "acc": x[:2, :1000].T, "positions": np.arange(7.0), "label": "deck"})
    a, b = read_array(tmp_path / "a.mat")
    assert (a.name, b.name, a.rate_hz) == ("acc-0", "acc-1", FS)
    np.testing.assert_array_equal(b.x, x[1, :1000])
    savemat(tmp_path / "b.mat", {"fs": 50.0, "u": x[:2, :1000], "v": x[2, :1000]})
    with pytest.raises(ValueError, match="key must be one of u, v, is None"):
        read_array(tmp_path / "b.mat")
    (v,) = read_array(tmp_path / "b.mat", key="v")
    assert v.rate_hz == 50.0 and v.x.shape == (1000,)
    savemat(tmp_path / "c.mat", {"label": "nothing"})
    with pytest.raises(ValueError, match="key must be one of"):
        read_array(tmp_path / "c.mat")
    whole = (tmp_path / "a.mat").read_bytes()
    for cut in (0, 60, 128, 300, len(whole) - 9):
        (tmp_path / "d.mat").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"d\.mat: "):
            read_array(tmp_path / "d.mat")
    (tmp_path / "e.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(512))
    with pytest.raises(ValueError, match=r"to version 7, is 7\.3: save it with -v7"):
        read_array(tmp_path / "e.mat")


# ---- recordings ----


@pytest.mark.data
@needs_data
def test_lysefjord_over_its_layout(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = run(DATA / "lysefjord_sim/BridgeData.mat", "--f-max", 1.5, "--json", "--layout", ROOT / "examples/bridge-layout.toml",
               "--picture", tmp_path / "l.png")
    true = [0.20451, 0.31848, 0.43787, 0.58228, 0.85507, 1.17037]
    np.testing.assert_allclose([m["f_hz"] for m in lines(done, "mode")], true, rtol=0.01)
    assert (tmp_path / "l.png").stat().st_size > 50_000


@pytest.mark.data
@needs_data
def test_munich() -> None:
    (path,) = (DATA / "munich").glob("UniBw*.zip")
    assert "one unit, have g, um/m, kN, deg" in str(run(path, "--day-first", code=1).exception)
    found = [m["f_hz"] for m in lines(run(path, "--column", "ACC01_z", "--day-first", "--f-max", 40, "--json"), "mode")]
    assert min(abs(f - 10.8) for f in found) < 0.1


@pytest.mark.data
@needs_data
def test_the_free_decay_at_painter_street() -> None:
    (path,) = (DATA / "painter_street").glob("*.zip")
    (mode,) = lines(run(path, "--column", "chan-7", "--from", 45, "--f-max", 12, "--json"), "mode")
    assert 3.2 - 2 * mode["f_sd_hz"] < mode["f_hz"] < 3.5 + 2 * mode["f_sd_hz"] and mode["f_sd_hz"] < 0.2


@pytest.mark.data
@needs_data
def test_arrays_with_time_first() -> None:
    path = DATA / "shearframe_sim/data_shearframe.npy"
    assert len(lines(run(path, "--rate", 100, "--time-first", "--json"), "mode")) >= 3


def test_help_and_exit_status(deck: Path) -> None:
    said = run("--help").stdout
    for word in ("--layout", "--window", "--environment", "layout.toml", "Exit status"):
        assert word in said
    command = [sys.executable, "-m", "lifeline_core", "modes", str(deck), "--to", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("error a recording of 5 s is too short") and done.stdout == ""
