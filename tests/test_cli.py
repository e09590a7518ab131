"""The command line: exit status, streams, JSON, and the round send - record - replay."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CITY = """
[service]
ingest = "{ingest}"
alarms = "{alarms}"
feed = "{feed}"
metrics = "127.0.0.1:0"
data_dir = "{data}"
[site.well]
domain = "gas"
[channel.ch4]
site = "well"
device = 7
channel = 0
quantity = "methane"
unit = "%LEL"
scale = 0.5
rate_hz = 10.0
[watch.well-7]
site = "well"
channels = ["ch4"]
profile = "gas.adjacent-methane"
"""


def run(*arguments: Any, expect: int = 0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "lifeline_core", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=cwd,
    )
    assert done.returncode == expect, done.stderr
    return done


@pytest.fixture
def city(tmp_path: Path) -> Path:
    path = tmp_path / "city.toml"
    sockets = {k: f"ipc://{tmp_path}/{k}" for k in ("ingest", "alarms", "feed")}
    path.write_text(CITY.format(data=tmp_path / "data", **sockets))
    return path


@pytest.fixture
def array(tmp_path: Path) -> Path:
    x = np.zeros(100)
    x[40:60] = 30
    np.savez(tmp_path / "x.npz", ch4=x)
    return tmp_path / "x.npz"


def test_help_teaches_every_command() -> None:
    said = run("--help").stdout
    for command in ("serve", "demo", "replay", "record", "send", "alarms", "check", "example-config"):
        assert command in said
        assert "Usage" in run(command, "--help").stdout


def test_a_wrong_command_is_two() -> None:
    assert "No such command" in run("nonsense", expect=2).stderr
    assert "--city" in run("replay", "x.npz", expect=2).stderr


def test_the_example_is_good(tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text(run("example-config").stdout)
    # It names a network beside it: the one fault a copy elsewhere may have is that file.
    done = subprocess.run(
        [sys.executable, "-m", "lifeline_core", "check", str(tmp_path / "e.toml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_check_says_everything_at_once(city: Path) -> None:
    assert run("check", city).returncode == 0
    city.write_text(
        city.read_text()
        .replace("unit =", "unti =")
        .replace('profile = "gas.', 'profile = "gsa.')
        .replace("rate_hz = 10.0", "rate_hz = -1")
    )
    done = run("check", city, "--json", expect=2)
    faults = [json.loads(x)["text"] for x in done.stdout.splitlines()]
    for word in ("channel.ch4.unti", "channel.ch4.rate_hz", "watch.well-7.profile"):
        assert any(f.startswith(word) for f in faults), faults
    assert "unti" in run("serve", "--config", city, expect=2).stderr


def test_replay_of_an_array(city: Path, array: Path) -> None:
    done = run("replay", array, "--city", city, "--rate", 10, "--t0", "2026-01-01T00:00:00Z", "--json")
    alarms = [json.loads(x) for x in done.stdout.splitlines()]
    assert [(a["kind"], a["revision"], a["process"]) for a in alarms] == [("level", 1, "active"), ("level", 2, "cleared")]
    assert alarms[0]["onset_ns"] == 1_767_225_604_000_000_000
    assert "100 samples, 1 alarms" in done.stderr
    assert run("replay", array, "--city", city, "--rate", 10).stdout == ""


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("x.npz", "--rate", "11"), "11 samples per second, channel ch4 10"),
        (("x.npz",), "rate"),
        (("x.npz", "--rate", "10", "--channel", "nobody"), "no channel 'nobody'"),
        (("missing.npz", "--rate", "10"), "missing.npz"),
        (("empty.llf",), "empty capture"),
    ],
)
def test_replay_refuses_with_the_reason(city: Path, array: Path, arguments: tuple[str, ...], text: str) -> None:
    (array.parent / "empty.llf").touch()
    assert text in run("replay", *arguments, "--city", city, expect=1, cwd=array.parent).stderr


def send(array: Path, city: Path, to: Path) -> subprocess.CompletedProcess[str]:
    how = ["--rate", 10, "--speed", 0, "--t0", "2026-01-01T00:00:00"]
    return run("send", array, "--city", city, "--to", f"ipc://{to}/ingest", *how)


def test_send_record_replay_is_a_round(city: Path, array: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lifeline_core"]
    recorder = subprocess.Popen(
        [*command, "record", str(tmp_path / "c.llf"), "--bind", f"ipc://{tmp_path}/ingest", "--seconds", "30"]
    )
    try:
        sent = send(array, city, tmp_path)
    finally:
        recorder.terminate()
        recorder.wait(10)
    assert "10 frames sent, 10 acknowledged, 0 refused" in sent.stderr
    replayed = run("replay", tmp_path / "c.llf", "--city", city, "--json").stdout
    assert [json.loads(x)["revision"] for x in replayed.splitlines()] == [1, 2]


def test_serve_send_alarms(city: Path, array: Path, tmp_path: Path) -> None:
    service = subprocess.Popen([sys.executable, "-m", "lifeline_core", "serve", "--config", str(city)], stderr=subprocess.DEVNULL)
    try:
        send(array, city, tmp_path)
        until, lines = time.monotonic() + 10, ""
        while time.monotonic() < until and lines.count("\n") < 2:
            lines = run("alarms", "--from", f"ipc://{tmp_path}/feed", "--json").stdout
    finally:
        service.terminate()
        assert service.wait(20) == 0
    alarms = [json.loads(x) for x in lines.splitlines()]
    assert [(a["seq"], a["kind"], a["process"]) for a in alarms] == [(1, "level", "active"), (2, "level", "cleared")]
