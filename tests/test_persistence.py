"""Noises of many nights as events: life, place, grade; a night twice; nights that could not listen."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.errors import StateError
from lifeline_core.pipes.persistence import Event, Found, Heard, Rules, Spot, merge
from lifeline_core.store.leaks import load_events, save_events


def apart(a: Spot, b: Spot) -> float:
    return abs(a.offset_m - b.offset_m) if a.link == b.link else math.inf


def leak(offset_m: float, *, sd_m: float = 1.0, common: float = 0.0, link: str = "p", score: float = 0.9,
         name: str = "leak-001") -> Found:
    return Found(name, Spot(link, offset_m, sd_m, common), score)


def night(events: list[Event], day: int, *found: Found, listened: bool = True, **kw: object) -> list[Event]:
    return merge(events, found, night=f"2026-03-{day:02d}", distance_m=apart, listened=lambda s: listened, **kw)  # type: ignore[arg-type]


def test_a_life() -> None:
    rules, events = Rules(), night([], 1, leak(50.0))
    assert [(e.id, e.grade(rules)) for e in events] == [("2026-03-01-1", 2)]  # heard once, clearly
    events = night(events, 2, leak(52.0))
    assert len(events) == 1 and events[0].grade(rules) == 3
    events = night(events, 3, leak(51.0))
    e = events[0]
    assert (e.first_night, e.last_night, len(e.heard), e.nights_looked, e.grade(rules)) == ("2026-03-01", "2026-03-03", 3, 3, 4)
    assert e.spot.offset_m == pytest.approx(51.0) and e.spot.sd_m == pytest.approx(1 / math.sqrt(3))
    for day in (4, 5):
        events = night(events, day)
        assert not events[0].ended(rules)
    events = night(events, 6, listened=False)
    assert not events[0].ended(rules) and events[0].nights_looked == 5  # a night that could not listen says nothing
    events = night(events, 7)
    assert events[0].ended(rules)
    again = night(events, 8, leak(51.0))
    assert [e.id for e in again] == ["2026-03-01-1", "2026-03-08-1"]  # after an end a noise there is a new event
    assert again[0] == events[0]


def test_a_night_twice_is_a_night_once() -> None:
    once = night(night([], 1, leak(50.0), leak(90.0, name="leak-002")), 2, leak(50.5))
    assert night(once, 2, leak(50.5)) == once
    assert night(once, 1, leak(50.0), leak(90.0, name="leak-002")) == once
    gone = night(night([], 1, leak(50.0)), 1)
    assert gone == []  # what only that night had heard goes with it


def test_two_leaks_near_one_event() -> None:
    events = night(night([], 1, leak(50.0)), 2, leak(51.5, name="leak-001"), leak(50.5, name="leak-002"))
    mine = {e.id: [h.leak for h in e.history] for e in events}
    assert mine == {"2026-03-01-1": ["leak-001", "leak-002"], "2026-03-02-1": ["leak-001"]}


def test_tolerance_is_of_both_deviations() -> None:
    first = night([], 1, leak(50.0, sd_m=3.0))
    assert len(night(first, 2, leak(50.0 + 3 * math.hypot(3.0, 4.0) - 0.1, sd_m=4.0))) == 1
    assert len(night(first, 2, leak(50.0 + 3 * math.hypot(3.0, 4.0) + 0.1, sd_m=4.0))) == 2
    assert len(night(first, 2, leak(50.0 + 19.0, sd_m=4.0), same_place_m=20.0)) == 1
    assert len(night(first, 2, leak(50.0, link="q"))) == 2


def test_what_all_nights_share_does_not_average_out() -> None:
    events: list[Event] = []
    for day in range(1, 26):
        events = night(events, day, leak(50.0 + 0.1 * (-1) ** day, sd_m=math.hypot(0.1, 2.0), common=2.0))
    spot = events[0].spot
    assert 2.0 < spot.sd_m < 2.01 and spot.common_sd_m == 2.0


def test_scatter_beyond_what_was_told_counts() -> None:
    events = [Event("e", tuple(Heard(f"2026-03-0{i}", Spot("p", x, 0.1)) for i, x in enumerate([40.0, 50.0, 60.0], 1)))]
    assert events[0].spot.sd_m == pytest.approx(math.sqrt(200 / 3 / 2))


def test_grade_needs_more_than_one_night_and_most_of_them() -> None:
    rules = Rules(ended_after=10)
    weak = night([], 1, leak(50.0, score=0.2))
    assert weak[0].grade(rules) == 1
    for day in range(2, 7):
        weak = night(weak, day, rules=rules)
    weak = night(weak, 7, leak(50.0, score=0.2), rules=rules)
    assert (len(weak[0].heard), weak[0].nights_looked, weak[0].grade(rules)) == (2, 7, 1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(0, 500), max_size=4), min_size=1, max_size=6), st.integers(0, 5))
def test_any_night_again_changes_nothing(nights: list[list[float]], which: int) -> None:
    events: list[Event] = []
    found = [[leak(x, name=f"leak-{i}") for i, x in enumerate(xs)] for xs in nights]
    for day, some in enumerate(found, 1):
        events = night(events, day, *some)
    again = which % len(found)
    assert night(events, 1 + again, *found[again]) == events
    assert sum(len(e.heard) for e in events) == sum(map(len, found))
    assert all(1 <= e.grade(Rules()) <= 4 for e in events)


def test_kept_and_read_again(tmp_path: Path) -> None:
    assert load_events(tmp_path) == []
    events = night(night([], 1, leak(50.0)), 2)
    save_events(tmp_path / "history", events)
    assert load_events(tmp_path / "history") == events
    (tmp_path / "events.json").write_text("{}")
    with pytest.raises(StateError, match="must be the events"):
        load_events(tmp_path)
    (tmp_path / "events.json").write_bytes(msgspec.json.encode({"v": 9, "events": []}))
    with pytest.raises(StateError, match="version 9"):
        load_events(tmp_path)
    (tmp_path / "events.json").write_bytes(msgspec.json.encode({"v": 1, "events": [{"id": "e", "history": []}]}))
    with pytest.raises(StateError, match="at least one night"):
        load_events(tmp_path)
