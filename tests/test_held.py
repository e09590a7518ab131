"""The state that grades an alarm, held against one that remembers every turn; limits as shares of a design."""

from __future__ import annotations

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifeline_core.detectors.base import Design, DesignParams, Held, Limit, LimitRow, Step, relation, rise_faults, where_of
from lifeline_core.errors import StateError
from lifeline_core.model import Channel


def test_a_course_by_hand() -> None:
    """The ruler of its docstring: two turns in a row to say anything."""
    held = Held()
    said = [held.see(reached, 100 * turn, need=2) for turn, reached in enumerate([0, 2, 2, 3, 3, 2, 0, 0])]
    assert said == [None, None, Step(True, 2, 100), None, Step(True, 3, 100), None, None, Step(False, 3, 100)]


def test_a_turn_of_little_or_much_between_begins_the_count_anew() -> None:
    held = Held()
    assert [held.see(r, t, need=3) for t, r in enumerate([2, 2, 0, 2, 2, 2])] == [None] * 5 + [Step(True, 2, 3)]
    assert [held.see(r, t, need=3) for t, r in enumerate([0, 0, 2, 0, 0, 0], 6)] == [None] * 5 + [Step(False, 2, 3)]


def test_one_grave_turn_among_milder_ones_is_no_grave_alarm() -> None:
    held = Held()
    assert [held.see(r, t, need=3) for t, r in enumerate([2, 4, 2, 4, 4])] == [None, None, Step(True, 2, 0), None, None]
    assert held.see(4, 5, need=3) == Step(True, 4, 0)


def test_in_the_dead_band_it_goes_on() -> None:
    held = Held()
    said = [held.see(r, t, back=b) for t, (r, b) in enumerate([(2, True), (0, False), (0, False), (0, True)])]
    assert said == [Step(True, 2, 0), None, None, Step(False, 2, 0)]


def test_ended_from_outside_it_counts_anew() -> None:
    held = Held()
    held.see(3, 10)
    assert held.end() == Step(False, 3, 10) and held.end() is None
    assert held.see(1, 70) == Step(True, 1, 70), "the onset is the new one's"


def naive(turns: list[tuple[int, bool]], need: int) -> list[Step | None]:
    """Everything remembered, nothing counted."""
    said: list[Step | None] = []
    severity = onset = 0
    for k in range(len(turns)):
        last = turns[max(0, k + 1 - need) : k + 1]
        level = min(r for r, _ in last) if len(last) == need else 0
        step = None
        if level > severity:
            if not severity:
                onset = k
                while onset and turns[onset - 1][0]:
                    onset -= 1
            severity, step = level, Step(True, level, 0)
        elif severity and len(last) == need and all(not r and b for r, b in last):
            severity, step = 0, Step(False, severity, 0)
        said.append(step and step._replace(onset_ns=onset))
    return said


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=60), st.integers(1, 4))
def test_as_its_twin_and_across_saving(turns: list[tuple[int, bool]], need: int) -> None:
    held, said = Held(), []
    for k, (reached, back) in enumerate(turns):
        said.append(held.see(reached, k, need=need, back=back))
        held = Held.of(msgpack.unpackb(msgpack.packb(held.save())))
    assert said == naive(turns, need)


@pytest.mark.parametrize("state", [[], [1, 2, 3], [9, 0, 0, 0, 0, 0, 0, 0], ["a"] * 8, [0.5] + [0] * 7])
def test_foreign_state_is_refused(state: list[object]) -> None:
    with pytest.raises(StateError, match="held: saved state must be 8 whole numbers"):
        Held.of(state)


def test_reaching_is_not_exceeding() -> None:
    assert [relation(v, 0.315) for v in (0.315, 0.3150000001, 0.32, 0.2)] == ["reaches", "reaches", "exceeds", "exceeds"]
    assert relation(1.0, 2.0, active=False) == "within"


def test_rows_must_rise() -> None:
    assert rise_faults("drops", [(0.1, 1), (0.2, 2)]) == []
    assert rise_faults("drops", [(0.1, 2), (0.2, 2)], "drop") == [
        "drops: severity must rise with the drop, is 2 at 0.1 and 2 at 0.2"]
    assert rise_faults("drops", [(0.1, 1), (0.1, 2)]) == ["drops: severity must rise with the limit, is 1 at 0.1 and 2 at 0.1"]


def test_a_channel_without_a_place_has_none() -> None:
    channel = Channel(name="c", site="s", device=1, channel=0)
    assert where_of(channel) == {}
    assert where_of(msgspec.structs.replace(channel, position_m=3.0)) == {"position_m": 3.0}


# -- limits by what a structure was designed for -----------------------------------------------------------------------


def params(**keys: object) -> DesignParams:
    return msgspec.convert(keys, DesignParams)


SHARES = [LimitRow(severity=3, share=0.8), LimitRow(severity=4, share=1.0)]


def test_shares_of_one_design_are_limits_of_either_way() -> None:
    assert params(design=300).bounds(SHARES) == (
        Limit(3, above=240.0), Limit(3, below=-240.0), Limit(4, above=300.0), Limit(4, below=-300.0))


def test_a_design_may_differ_up_and_down_or_have_one_way_only() -> None:
    rows = params(design={"above": 41.7, "below": -26.3}).bounds(SHARES)
    assert [(r.above, r.below) for r in rows] == [(pytest.approx(33.36), None), (None, pytest.approx(-21.04)),
                                                  (41.7, None), (None, -26.3)]
    wind = [LimitRow(severity=2, above=25.0), *SHARES]
    assert [r.above for r in params(design={"above": 37.4}).bounds(wind)] == [25.0, pytest.approx(29.92), 37.4]


def test_off_the_value_as_built_as_a_bridge_in_service_has_it() -> None:
    rows = params(as_built=2086.38).bounds([LimitRow(severity=3, off=0.10), LimitRow(severity=4, off=0.15)])
    assert [round(r.above or r.below or 0.0, 2) for r in rows] == [2295.02, 1877.74, 2399.34, 1773.42]


def test_what_is_refused() -> None:
    assert params().bound_faults("limits", SHARES) == ["design: must be given where limits has a share, is none"]
    assert params().bound_faults("limits", [LimitRow(severity=3, off=0.1)]) == [
        "as_built: must be given where limits has an off, is none"]
    assert params(design={"above": 30.0}).bound_faults("limits", [LimitRow(severity=2, above=25.0), *SHARES]) == [
        "limits: severity must rise with the limit, is 3 above 24.0 and 2 above 25.0"]
    assert params(design=1e39).bound_faults("limits", SHARES)[0].startswith("limits: a limit must be finite in float32")
    for keys, words in (({"design": -3.0}, "> 0.0"), ({"design": {}}, "at least one of above and below"),
                        ({"design": {"above": -1.0}}, "> 0.0"), ({"design": {"below": 1.0}}, "< -0.0"),
                        ({"as_built": 0.0}, "> 0.0")):
        with pytest.raises(msgspec.ValidationError, match=words):
            params(**keys)
    for row in ({"severity": 2}, {"severity": 2, "above": 1.0, "share": 0.8}, {"severity": 2, "share": 0.8, "off": 0.1}):
        with pytest.raises(msgspec.ValidationError, match="exactly one of above, below, share and off"):
            msgspec.convert(row, LimitRow)
    assert Design(above=1.0).below is None
