"""A power cut may take from the engine what the outbox has. What the engine says then is not taken for what it said before."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from lifeline_core.store.outbox import Outbox
from tests.test_outbox import alarm

RAISED, WORSE = alarm("a"), alarm("a", 2)
CONFIRMED = msgspec.structs.replace(alarm("a", 3), handling="confirmed", updated_ns=50)
CLEARED = msgspec.structs.replace(alarm("a", 3), process="cleared", updated_ns=9)


def numbered(box: Outbox) -> list[tuple[int, int, str, str]]:
    return [(a.seq, a.revision, a.process, a.handling) for a in box.read(0)]


def test_a_clear_is_not_taken_for_the_confirmation_whose_number_it_has(tmp_path: Path) -> None:
    with Outbox(tmp_path / "o") as box:
        box.put([RAISED, WORSE, CONFIRMED], 1)
        (said,) = box.put([CLEARED], 2)  # by an engine that never heard of the confirmation
        assert (said.seq, said.revision, said.process) == (4, 4, "cleared") and box.renumbered == 1
        assert numbered(box)[2:] == [(3, 3, "active", "confirmed"), (4, 4, "cleared", "new")]


def test_said_once_more_it_is_known_under_its_other_number(tmp_path: Path) -> None:
    again = msgspec.structs.replace(CONFIRMED, revision=4, process="cleared", updated_ns=60)
    with Outbox(tmp_path / "o") as box:
        box.put([RAISED, WORSE, CONFIRMED, CLEARED, again], 1)
        before = numbered(box)
        assert [row[1] for row in before] == [1, 2, 3, 4, 5]
    with Outbox(tmp_path / "o") as box:  # a kill, and the journal is read once more
        assert box.put([RAISED, WORSE, CLEARED, again], 2) == [] and numbered(box) == before
        assert box.put([CONFIRMED], 2) == [] and box.renumbered == 0


@pytest.mark.parametrize(
    "change",
    [{"severity": 4}, {"handling": "rejected"}, {"shelved_until_ns": 7}, {"updated_ns": 4}, {"where": {"position_m": 3.6}}],
)
def test_whatever_a_revision_may_change_counts(tmp_path: Path, change: dict[str, object]) -> None:
    other = msgspec.structs.replace(WORSE, **change)
    with Outbox(tmp_path / "o") as box:
        assert [a.revision for a in box.put([RAISED, WORSE, other, other], 1)] == [1, 2, 3]


def test_a_build_with_other_words_says_the_same(tmp_path: Path) -> None:
    where = {"channels": ("x", "y"), "position_m": 3.5}  # a tuple comes back as a list
    first = msgspec.structs.replace(RAISED, where=where)
    other = msgspec.structs.replace(first, text={"en": "other"}, version="9", config_hash="d", score=9.0)
    with Outbox(tmp_path / "o") as box:
        assert len(box.put([first], 1)) == 1 and box.put([first, other], 2) == [] and box.renumbered == 0


def test_a_row_that_cannot_be_read_keeps_its_number(tmp_path: Path) -> None:
    with Outbox(tmp_path / "o") as box:
        box.put([RAISED], 1)
        box._own().execute("UPDATE alarms SET body = x'c1'")
        assert box.put([RAISED], 2) == []
        (said,) = box.put([WORSE], 2)
        assert said.revision == 2
