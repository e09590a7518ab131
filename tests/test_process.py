"""The service as a process: signals, another configuration while it runs, what systemd hears."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lifeline_core.cli import app
from lifeline_core.config import load_city
from lifeline_core.model import Client
from lifeline_core.service import FeedClient, FeedRefused, Service
from lifeline_core.service.guard import Guard
from lifeline_core.service.log import Log
from lifeline_core.service.process import LOOK_S, read_again
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
        path.write_text(without(text, "logger"))
        assert read_again(service, path)
        device.send(frame(1))
        assert device.poll(5000) and b"not-its-device" in device.recv()
        path.write_text(text)
        assert read_again(service, path)
        device.send(frame(1))
        assert device.poll(5000) and b"ack" in device.recv()
        door.close()


def without(text: str, client: str) -> str:
    """A configuration without the keys of a client; another one follows."""
    at = text.index(f"[client.{client}]")
    return text[:at] + text[text.index("[client.", at + 1) :]


def test_a_reload_is_over_when_frames_are_judged_by_the_new_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    taken: list[list[str]] = []
    renew = Guard.renew

    def slowly(guard: Guard, clients: Mapping[str, Client]) -> None:
        time.sleep(0.3)
        renew(guard, clients)
        taken.append(sorted(clients))

    with running(load_city(path)) as service:
        monkeypatch.setattr(Guard, "renew", slowly)
        path.write_text(without(path.read_text(), "logger"))
        assert read_again(service, path)
        assert taken == [["operator", "other", "reader"]]


def test_an_operator_whose_key_is_withdrawn_commands_nothing_on_a_connection_it_has(tmp_path: Path) -> None:
    path = written(tmp_path)
    with running(load_city(path)) as service:
        door = Door(service, tmp_path / "keys")
        device = door.dealer()
        device.send(frame(0))
        with door.feed("operator") as operator:
            (alarm,) = until(lambda: read_all(operator))
            path.write_text(path.read_text()[: path.read_text().index("[client.operator]")])
            assert read_again(service, path)
            with pytest.raises(FeedRefused, match="the feed is for readers and operators"):
                operator.command(alarm.alarm_id, "confirm", actor="Wang")
            with pytest.raises(FeedRefused, match="the feed is for readers and operators"):
                operator.read(after=0)
        door.close()


def test_a_reload_does_not_wait_for_room_and_who_is_withdrawn_does_not_get_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path)
    with running(load_city(path)) as service:
        door = Door(service, tmp_path / "keys")
        with door.feed("reader") as feed:
            assert feed.read(after=0)[0] == []
        monkeypatch.setattr(service._ingest, "renew", lambda clients: None)  # as while it waits for room
        service._ingest.blocked = True
        path.write_text(without(path.read_text(), "reader"))
        assert read_again(service, path)
        assert service.numbers()["reloads"] == 1
        refused = service._guard.counts["key"]
        with FeedClient(service.endpoints["feed"], timeout=1.0, server_key=str(tmp_path / "keys" / "service.key"),
                        key_file=tmp_path / "keys" / "reader.key_secret") as feed, pytest.raises(TimeoutError):  # fmt: skip
            feed.read(after=0)
        assert service._guard.counts["key"] > refused
        door.close()
    assert "reload-waits-for-room" in capfd.readouterr().err


# ---- the log ----


def test_a_line_that_repeats_is_held_back_and_counted(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log(repeat_s=0.2)
    for k in range(5):
        log.warning("journal-full", k=k)
    log.info("started", port=1)
    time.sleep(0.25)
    log.warning("journal-full", k=5)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [
        "level=warning event=journal-full k=0", "level=info event=started port=1",
        "level=warning event=journal-full k=5 held_back=4",
    ]  # fmt: skip


# ---- systemd ----


def test_the_unit_asks_for_what_the_process_does() -> None:
    unit = ConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(Path(__file__).parents[1] / "examples" / "lifeline-core.service")
    said = unit["Service"]
    assert said["Type"] == "notify-reload"  # RELOADING=1 with its time, then READY=1
    assert float(said["WatchdogSec"]) > 10 * LOOK_S
    program, *words = said["ExecStart"].split()
    assert program.endswith("/lifeline-core")
    shown = CliRunner().invoke(app, [words[0], "--help"])
    assert shown.exit_code == 0 and words[1] in shown.output


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
