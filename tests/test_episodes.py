"""From findings to alarms: identity, grade, latch, life cycle, words."""

from __future__ import annotations

import hashlib

import msgpack
import pytest

from lifeline_core.alarms.episodes import Episodes
from lifeline_core.alarms.handling import STEPS, step
from lifeline_core.errors import CommandRefused
from lifeline_core.model import ACTIONS, NS, Finding, Site

SITE = Site(name="main", domain="gas", consequence="medium")


def finding(active: bool = True, *, t: int = 10, onset: int = 5, severity: int = 2, source: str = "a", **kw: object) -> Finding:
    return Finding("level", t * NS, onset * NS, active, severity, 1.2, 30.0, 25.0, "%LEL", source, **kw)  # type: ignore[arg-type]


def test_an_episode_runs_from_raise_to_clear() -> None:
    e = Episodes("h")
    (first,) = e.hear(finding(), SITE, "w")
    assert first.alarm_id == hashlib.sha256(b"main|w|level|5000000000").digest()[:16].hex()
    assert (first.revision, first.process, first.handling, first.severity) == (1, "active", "new", 2)
    assert e.hear(finding(t=11), SITE, "w") == []
    (worse,) = e.hear(finding(t=12, onset=4, severity=4), SITE, "w")
    assert (worse.alarm_id, worse.revision, worse.severity, worse.onset_ns) == (first.alarm_id, 2, 4, 5 * NS)
    assert e.hear(finding(t=13, severity=1), SITE, "w") == []  # severity only rises
    (over,) = e.hear(finding(False, t=20), SITE, "w")
    assert (over.revision, over.process, over.severity, over.updated_ns) == (3, "cleared", 4, 20 * NS)
    assert e.hear(finding(False, t=21), SITE, "w") == []
    (again,) = e.hear(finding(t=30, onset=29), SITE, "w")
    assert again.alarm_id != first.alarm_id
    assert again.revision == 1


def test_consequence_raises_the_grade() -> None:
    high = Site(name="main", domain="gas", consequence="high")
    assert Episodes("h").hear(finding(severity=2), high, "w")[0].severity == 3
    assert Episodes("h").hear(finding(severity=4), high, "w")[0].severity == 4


def test_sources_share_an_episode_and_the_last_one_ends_it() -> None:
    e = Episodes("h")
    e.hear(finding(source="a"), SITE, "w")
    (second,) = e.hear(finding(source="b", t=11), SITE, "w")
    assert second.where["channels"] == ["a", "b"]
    assert e.hear(finding(False, source="a", t=12), SITE, "w") == []
    (over,) = e.hear(finding(False, source="b", t=13), SITE, "w")
    assert over.process == "cleared"


def test_a_refined_place_is_a_revision() -> None:
    e = Episodes("h")
    e.hear(finding(where={"node": "J1"}), SITE, "w")
    (moved,) = e.hear(finding(where={"node": "J2"}, t=11), SITE, "w")
    assert (moved.revision, moved.where["node"]) == (2, "J2")


def test_history_and_presence_are_two_episodes() -> None:
    e = Episodes("h")
    e.hear(finding(), SITE, "w")
    (old,) = e.hear(finding(onset=1, historical=True), SITE, "w")
    assert old.historical
    assert old.revision == 1
    assert len(e.active) == 2


def test_what_the_live_detector_begins_it_ends_whatever_the_flags() -> None:
    for begun, ended in ((False, True), (True, False), (True, True)):
        e = Episodes("h")
        e.hear(finding(historical=begun), SITE, "w")
        (over,) = e.hear(finding(False, t=20, historical=ended), SITE, "w")
        assert (over.process, over.historical) == ("cleared", begun)
        assert not e.active


def test_late_samples_and_the_live_detector_do_not_end_each_others_episodes() -> None:
    for late in (False, True):
        e = Episodes("h")
        (first,) = e.hear(finding(historical=True), SITE, "w", late=late)
        assert e.hear(finding(False, t=20, historical=True), SITE, "w", late=not late) == []
        (other,) = e.hear(finding(onset=1, historical=True), SITE, "w", late=not late)
        assert first.alarm_id != other.alarm_id
        (over,) = e.hear(finding(False, t=20, historical=True), SITE, "w", late=late)
        assert over.alarm_id == first.alarm_id
        assert list(e.active.values()) == [other.alarm_id]


def test_health_lowers_the_quality() -> None:
    (alarm,) = Episodes("h").hear(finding(), SITE, "w", health={"a": ["clipping"]})
    assert alarm.quality == 0.5
    assert alarm.evidence["health"] == {"a": ["clipping"]}


def test_not_a_number_is_no_value() -> None:
    (alarm,) = Episodes("h").hear(Finding("offline", 1, 1, True), SITE, "w")
    assert alarm.value is None


def test_the_whole_loop() -> None:
    e = Episodes("h")
    (alarm,) = e.hear(finding(), SITE, "w")
    states = [
        e.command(alarm.alarm_id, a, actor="li", reason="", t_ns=20 * NS, until_ns=None).handling
        for a in ("confirm", "dispatch", "handle", "resolve", "verify", "close", "evaluate")
    ]
    assert states == ["confirmed", "dispatched", "handled", "resolved", "verified", "closed", "closed"]
    last = e.known[alarm.alarm_id].alarm
    assert last.revision == 8
    assert [x["action"] for x in last.evidence["log"]][-1] == "evaluate"


@pytest.mark.parametrize("handling", ["new", "confirmed", "rejected", "dispatched", "handled", "resolved", "verified", "closed"])
def test_anything_else_is_a_bad_transition(handling: str) -> None:
    for action in set(ACTIONS) - {"shelve", "unshelve"}:
        if (handling, action) in STEPS:
            continue
        with pytest.raises(CommandRefused, match=f"'{action}' is not possible from '{handling}'") as refused:
            step(handling, action)
        assert refused.value.code == "bad-transition"


def test_shelving_needs_an_end_and_a_reason_and_ends_by_tick() -> None:
    e = Episodes("h")
    (alarm,) = e.hear(finding(), SITE, "w")
    for kw in ({"reason": "", "until_ns": 99 * NS}, {"reason": "works", "until_ns": None}, {"reason": "works", "until_ns": 1}):
        with pytest.raises(CommandRefused, match="shelving needs a reason and an end after"):
            e.command(alarm.alarm_id, "shelve", actor="li", t_ns=20 * NS, **kw)  # type: ignore[arg-type]
    shelved = e.command(alarm.alarm_id, "shelve", actor="li", reason="works", t_ns=20 * NS, until_ns=60 * NS)
    assert shelved.shelved_until_ns == 60 * NS
    assert e.tick(59 * NS) == []
    (back,) = e.tick(60 * NS)
    assert (back.shelved_until_ns, back.revision) == (None, 3)
    with pytest.raises(CommandRefused, match="not shelved"):
        e.command(alarm.alarm_id, "unshelve", actor="li", reason="", t_ns=61 * NS, until_ns=None)


@pytest.mark.parametrize(
    ("identity", "action", "actor", "code"),
    [("nobody", "confirm", "li", "unknown-alarm"), ("", "confirm", "", "bad-actor"), ("", "explode", "li", "bad-action")],
)
def test_commands_are_refused_by_name(identity: str, action: str, actor: str, code: str) -> None:
    e = Episodes("h")
    (alarm,) = e.hear(finding(), SITE, "w")
    with pytest.raises(CommandRefused) as refused:
        e.command(identity or alarm.alarm_id, action, actor=actor, reason="", t_ns=0, until_ns=None)
    assert refused.value.code == code


def test_state_comes_back_equal() -> None:
    e = Episodes("h")
    (alarm,) = e.hear(finding(where={"candidates": [{"node": "J1", "probability": 0.5}]}, evidence={"raw": b"\0\1"}), SITE, "w")
    e.command(alarm.alarm_id, "shelve", actor="li", reason="works", t_ns=20 * NS, until_ns=60 * NS)
    again = Episodes("h")
    again.load(msgpack.unpackb(msgpack.packb(e.save())))
    assert again.known == e.known
    assert again.tick(60 * NS) == e.tick(60 * NS)
    assert again.hear(finding(False, t=70), SITE, "w") == e.hear(finding(False, t=70), SITE, "w")


def test_the_line_for_a_person() -> None:
    (alarm,) = Episodes("h").hear(finding(severity=4, where={"node": "J1"}), SITE, "well-7")
    assert alarm.text["en"] == "RED gas main/well-7: value beyond its limit @ J1, 30 %LEL (limit 25)"
    assert alarm.text["zh"] == "红色 燃气 main/well-7：数值越限 @ J1，30 %LEL（限值 25）"
