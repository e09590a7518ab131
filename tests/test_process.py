"""The service as a process: signals, another configuration while it runs, what systemd hears."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lifeline_core.config import load_city
from lifeline_core.service import FeedClient, Service
from lifeline_core.service.process import read_again
from lifeline_core.service.systemd import Systemd
from tests.service_city import city_text, frame, make_city, read_all, running, short_dir, until
from tests.test_guard import Door, written
from tests.test_service import Wire

__all__ = ["short_dir"]

MORE = """
[channel.other]
site = "north"
device = 8
channel = 0
unit = "kPa"
rate_hz = 10.0

[watch.other-high]
site = "north"
channels = ["other"]
detector = "level"
limits = [ {severity = 2, above = 25.0} ]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "city.toml"
    path.write_text(city_text(tmp_path / "data"))
    return path


def test_another_configuration_keeps_what_did_not_change(config: Path) -> None:
    with running(load_city(config)) as service, Wire(service) as device, FeedClient(service.endpoints["feed"]) as feed:
        device.send(frame(0, value=1.0), frame(1, value=30.0))
        device.hear_ack(1)
        (raised,) = until(lambda: read_all(feed))
        config.write_text(config.read_text() + MORE)
        assert read_again(service, config)
        device.send(frame(2, value=30.0), frame(0, device=8, value=30.0), frame(3, value=1.0))
        alarms = until(lambda: len(got := read_all(feed)) >= 3 and got)
        assert {(a.watch, a.process) for a in alarms[1:]} == {("other-high", "active"), ("well-high", "cleared")}
        assert {a.alarm_id for a in alarms if a.watch == "well-high"} == {raised.alarm_id}
        assert service.numbers()["reloads"] == 1
        assert until(lambda: feed.ask({"op": "evidence", "alarm_id": alarms[1].alarm_id})["frames"])


def test_one_with_faults_changes_nothing_and_is_told(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with running(load_city(config)) as service, Wire(service) as device:
        before = service.city
        config.write_text(config.read_text() + MORE.replace("above", "abov") + "[site.x]\ndomain = 'moon'")
        assert not read_again(service, config)
        assert service.city is before and service.numbers()["reloads_refused"] == 1
        device.send(frame(0))
        device.hear_ack(0)
    said = capfd.readouterr().err
    assert "abov" in said and "moon" in said


def test_addresses_wait_for_a_start(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with running(load_city(config)) as service:
        config.write_text(config.read_text().replace("journal_mib = 16", "journal_mib = 17"))
        assert read_again(service, config)
        assert service.city.service.journal_mib == 16
    assert "reload-waits-for-a-start keys=service.journal_mib" in capfd.readouterr().err


def test_a_key_can_be_withdrawn_and_given_while_it_runs(tmp_path: Path) -> None:
    path = written(tmp_path)
    text = path.read_text()
    with running(load_city(path)) as service:
        door = Door(service, tmp_path / "keys")
        device = door.dealer()
        device.send(frame(0))
        assert device.poll(5000) and b"ack" in device.recv()
        at = text.index("[client.logger]")
        path.write_text(text[:at] + text[text.index("[client.reader]") :])
        assert read_again(service, path)
        device.send(frame(1))
        assert device.poll(5000) and b"not-its-device" in device.recv()
        path.write_text(text)
        assert read_again(service, path)
        device.send(frame(1))
        assert device.poll(5000) and b"ack" in device.recv()
        door.close()


# ---- systemd ----


@pytest.fixture
def line(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(short_dir / "notify"))
        heard.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(short_dir / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        yield heard


def test_the_watchdog_is_fed_by_progress(line: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr("lifeline_core.service.systemd.time.monotonic", lambda: next(clock))
    systemd = Systemd()
    for rounds in ((1, 1, 1), (2, 1, 2), (3, 1, 3), (3, 2, 4), (3, 3, 5)):
        systemd.feed(rounds)
    systemd.say("END")
    assert [line.recv(99) for _ in range(3)] == [b"WATCHDOG=1", b"WATCHDOG=1", b"END"]  # the first round, and (3, 2, 4)


def test_without_systemd_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC"):
        monkeypatch.delenv(name, raising=False)
    systemd = Systemd()
    systemd.say("READY=1")
    systemd.feed((1,))


def test_signals_of_the_process(line: socket.socket, config: Path) -> None:
    command = [sys.executable, "-m", "lifeline_core", "serve", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        try:
            assert line.recv(99) == b"READY=1"
            assert line.recv(99) == b"WATCHDOG=1"
            config.write_text(config.read_text() + MORE)
            process.send_signal(signal.SIGHUP)
            assert until(lambda: (got := line.recv(99)) != b"WATCHDOG=1" and got).startswith(b"RELOADING=1")
            assert until(lambda: (got := line.recv(99)) != b"WATCHDOG=1" and got) == b"READY=1"
            process.send_signal(signal.SIGTERM)
            assert until(lambda: (got := line.recv(99)) != b"WATCHDOG=1" and got) == b"STOPPING=1"
            assert process.wait(30) == 0
        finally:
            process.kill()
        assert process.stderr is not None and "event=reloaded" in process.stderr.read()


def test_rounds_move_in_every_thread(tmp_path: Path) -> None:
    with running(make_city(tmp_path)) as service:
        assert isinstance(service, Service)
        before = service.rounds()
        until(lambda: all(a > b for a, b in zip(service.rounds(), before, strict=True)))
