"""Who goes first, where the system lets a process say so; where not, everything goes on as it is."""

from __future__ import annotations

import os
import threading
from configparser import ConfigParser
from pathlib import Path

import pytest

from lifeline_core.service import priority
from tests.service_city import make_city, running, until


def nice(number: int = 0) -> int:
    return os.getpriority(os.PRIO_PROCESS, number or threading.get_native_id())


def may() -> bool:
    with priority.ahead() as allowed:
        return allowed


allowed_only = pytest.mark.skipif(not may(), reason="raising a priority takes CAP_SYS_NICE or RLIMIT_NICE")


@allowed_only
def test_what_is_started_within_goes_ahead_and_the_starter_does_not() -> None:
    before, found = nice(), []
    with priority.ahead():
        thread = threading.Thread(target=lambda: found.append(nice()))
        thread.start()
    thread.join()
    assert found == [priority.NICE] and nice() == before


@allowed_only
def test_a_thread_may_stand_back_again() -> None:
    found = []

    def stand_back() -> None:
        priority.with_others()
        found.append(nice())

    with priority.ahead():
        thread = threading.Thread(target=stand_back)
        thread.start()
    thread.join()
    assert found == [priority.USUAL]


@allowed_only
def test_the_threads_of_an_alarm_go_ahead_and_those_that_can_wait_do_not(tmp_path: Path) -> None:
    with running(make_city(tmp_path)) as service:
        threads = {t.name: t for t in threading.enumerate() if t.native_id}
        for name in ("ingest", "engine", "desk"):
            assert nice(threads[name].native_id or 0) == priority.NICE, name
        until(lambda: "snapshots" in {t.name for t in threading.enumerate()})
        keeper = next(t for t in threading.enumerate() if t.name == "snapshots")
        assert until(lambda: nice(keeper.native_id or 0) == priority.USUAL)
        assert nice() == priority.USUAL and service.endpoints


def test_refused_it_goes_on_as_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError(13, "Permission denied")

    before = nice()
    monkeypatch.setattr("lifeline_core.service.priority.os.setpriority", refuse)
    with priority.ahead() as allowed:
        assert not allowed
    priority.with_others()
    assert nice() == before


def test_the_unit_allows_what_is_asked_for() -> None:
    unit = ConfigParser(strict=False)
    unit.read(Path(__file__).parents[1] / "examples" / "lifeline-core.service")
    assert int(unit["Service"]["LimitNICE"]) == priority.NICE
