"""Platforms that read under a name: how far they are behind, and what retention removed before they came for it."""

from __future__ import annotations

import time
import urllib.request
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.model import NS
from lifeline_core.service import Device, FeedClient
from lifeline_core.service import consumers as module
from lifeline_core.service import replies as replies_module
from lifeline_core.service.bell import Bell
from lifeline_core.service.consumers import QUIET_NS, Consumers, Losses
from lifeline_core.service.live import Live
from lifeline_core.service.receive import AGAIN
from lifeline_core.service.replies import Replies
from lifeline_core.service.requests import PENDING, Requests
from lifeline_core.service.sockets import end
from lifeline_core.service.waiting import Start, page
from lifeline_core.store.outbox import Outbox
from tests.service_city import DEVICE, frame, make_city, read_all, running, until
from tests.test_outbox import alarm

STEPS = ["put", "ack", "prune", "reopen"]


def filled(path: Path, n: int = 12) -> Outbox:
    """Alarm k was published at k seconds."""
    box = Outbox(path)
    for k in range(1, n + 1):
        box.put([alarm(k)], k * NS)
    return box


def row(box: Outbox, name: str) -> tuple[int, int, int]:
    return tuple(box.standing()[name].values())  # type: ignore[return-value]


# ---- the count ----


def test_what_retention_removes_before_a_cursor_is_lost_to_it(tmp_path: Path) -> None:
    with filled(tmp_path / "o") as box:
        for name, cursor in (("none", 0), ("some", 3), ("all", 12)):
            box.cursor(name)
            box.ack(name, cursor)
        assert box.prune(13 * NS, 0) == 0 and row(box, "none") == (0, 12, 0)  # within the bound nothing unread goes
        assert box.prune(13 * NS, 0, most=5) == 7
        assert {name: tuple(row.values()) for name, row in box.standing().items()} == {
            "none": (0, 5, 7), "some": (3, 5, 4), "all": (12, 0, 0),
        }  # fmt: skip
        assert box.prune(13 * NS, 0, most=5) == 0
        assert (box.ack("some", 9), row(box, "some")) == (9, (9, 3, 4))  # 8 and 9 were there
        assert (box.ack("none", 5), row(box, "none")) == (5, (5, 5, 7))  # two of them still lie before it
        box.cursor("new")
        assert row(box, "new") == (0, 5, 7)
    with Outbox(tmp_path / "o") as box:
        assert row(box, "none") == (5, 5, 7) and row(box, "some") == (9, 3, 4)
        with pytest.raises(ValueError, match="most >= 1: 0"):
            box.prune(1, 30, 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9), st.sampled_from("abc")), max_size=40))
def test_it_is_exact_whatever_happened(steps: list[tuple[str, int, str]]) -> None:
    """Against a list of what was removed while its number lay behind the cursor, or before the name was heard."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        box, there, cursors = Outbox(Path(folder) / "o"), set(), {}
        lost: dict[str, set[int]] = {}
        for what, n, name in steps:
            if what == "put":
                there |= {a.seq for a in box.put([alarm(box.last_seq + 1 + k) for k in range(n)], 1)}
            elif what == "prune":
                box.prune(2, 0, n + 1)
                gone = {s for s in there if s <= max(min(cursors.values(), default=box.last_seq), box.last_seq - n - 1)}
                there -= gone
                for k, cursor in cursors.items():
                    lost[k] |= {s for s in gone if s > cursor}
            elif what == "ack":
                if name not in cursors:
                    lost[name] = set(range(1, box.last_seq + 1)) - there
                    cursors[name] = 0
                cursors[name] = box.ack(name, min(box.last_seq, cursors[name] + n))
            else:
                box.close()
                box = Outbox(Path(folder) / "o")
        assert {k: tuple(r.values()) for k, r in box.standing().items()} == {
            k: (c, len([s for s in there if s > c]), len(lost[k])) for k, c in cursors.items()
        }
        box.close()


def test_a_page_says_what_is_missing(tmp_path: Path) -> None:
    with filled(tmp_path / "o") as box:
        box.cursor("p")

        def said(*start: Any) -> tuple[list[int], int, int, bool]:
            reply = page(box, Start(*start), 3)
            return [a.seq for a in reply["alarms"]], reply["lag"], reply["lost"], reply["whole"]

        assert said(0) == ([1, 2, 3], 9, 0, True) and said(box.before(2 * NS), 2 * NS) == ([2, 3, 4], 8, 0, True)
        box.prune(13 * NS, 0, most=5)
        assert said(0) == ([8, 9, 10], 2, 7, False)
        assert said(5) == ([8, 9, 10], 2, 2, False)
        assert said(7) == ([8, 9, 10], 2, 0, True)
        assert said(box.before(7 * NS), 7 * NS) == ([8, 9, 10], 2, 0, False)  # number 7 was published then
        assert said(box.before(7 * NS + 1), 7 * NS + 1) == ([8, 9, 10], 2, 0, True)
        assert said(box.cursor("p"), None, "p") == ([8, 9, 10], 2, 7, False)
        box.ack("p", 10)
        assert said(10, None, "p") == ([11, 12], 0, 7, True)


# ---- the files ----


def test_an_outbox_of_the_schema_before_goes_on(tmp_path: Path) -> None:
    with filled(tmp_path / "o") as box:
        box.ack("p", 4)
        box.prune(13 * NS, 0, most=5)
    db = apsw.Connection(str(tmp_path / "o"))
    db.execute("ALTER TABLE consumers DROP COLUMN lost; DROP TABLE removed; PRAGMA user_version = 1")
    db.close()
    with Outbox(tmp_path / "o") as box:
        assert box.problems == [] and row(box, "p") == (4, 5, 3) and box.removed_ns() == -1
        assert box.ack("p", 12) == 12 and row(box, "p") == (12, 0, 3)


def test_a_damaged_outbox_keeps_what_was_counted(tmp_path: Path) -> None:
    path = tmp_path / "o"
    with filled(path) as box:
        box.ack("p", 4)
        box.prune(13 * NS, 0, most=5)
        box.ack("p", 9)
    db = apsw.Connection(str(path))
    db.execute("PRAGMA user_version = 99")
    db.close()
    with Outbox(path) as box:
        assert "schema 99" in box.problems[0] and box.last_seq == 12
        assert row(box, "p") == (9, 3, 3) and box.removed_ns() == 7 * NS


# ---- the alarm ----


def test_one_that_is_behind_or_lost_something_is_an_alarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEHIND", 10)
    with filled(tmp_path / "o", 9) as box:
        box.cursor("p"), box.ack("q", 9)
        looked = Consumers(box, "hash")
        assert looked.look(NS) == [] and looked.lag == {"p": 9, "q": 0}
        box.put([alarm(10)], 10 * NS)
        (raised,) = looked.look(2 * NS)
        assert (raised.watch, raised.kind, raised.evidence) == ("feed", "behind", {"consumers": {"p lag": 10}})
        box.ack("p", 5)
        assert looked.look(3 * NS) == []
        box.prune(11 * NS, 0, most=3)
        assert looked.look(4 * NS) == [] and looked.lost == {"p": 2, "q": 0}  # it stands already
        box.ack("p", 10)
        assert looked.look(5 * NS) == []
        (cleared,) = looked.look(4 * NS + QUIET_NS)
        assert (cleared.process, cleared.alarm_id) == ("cleared", raised.alarm_id)
        box.cursor("new")
        assert looked.look(200 * NS) == [] and looked.lost["new"] == 7  # it never had them
        box.put([alarm(11), alarm(12)], 11 * NS)
        box.prune(12 * NS, 0, most=1)
        (again,) = looked.look(201 * NS)
        assert again.evidence == {"consumers": {"new lag": 1, "new lost": 11, "q lag": 1, "q lost": 2, "p lag": 1, "p lost": 3}}


# ---- what is given up ----


def test_a_subscriber_that_does_not_keep_up_is_counted_and_holds_up_nobody() -> None:
    context = zmq.Context()
    pub, slow, quick = context.socket(zmq.PUB), context.socket(zmq.SUB), context.socket(zmq.SUB)
    pub.setsockopt(zmq.SNDHWM, 5)
    pub.bind("inproc://live")
    for sub in (slow, quick):
        sub.setsockopt(zmq.RCVHWM, 5)
        sub.setsockopt(zmq.SUBSCRIBE, b"alarm/")
        sub.connect("inproc://live")
    live, got = Live(pub), []
    for k in range(40):
        live.send(b"alarm/x", b"%d" % k)
        time.sleep(0.005)
        while quick.poll(0):
            got.append(int(quick.recv_multipart()[1]))
    while quick.poll(50):
        got.append(int(quick.recv_multipart()[1]))
    kept = 0
    while slow.poll(50):
        slow.recv_multipart()
        kept += 1
    assert got == list(range(40)) and 0 < kept < 40 and live.stalls == 1
    end(context)


def test_losses_are_one_alarm_while_they_happen() -> None:
    losses = Losses("hash")
    assert losses.look({"a": 0}, NS) == []
    (raised,) = losses.look({"a": 2, "b": 0}, 2 * NS)
    assert (raised.watch, raised.kind, raised.evidence) == ("desk", "dropped", {"dropped": {"a": 2}})
    assert losses.look({"a": 2, "b": 1}, 3 * NS) == [] and losses.look({"a": 2, "b": 1}, 4 * NS) == []
    (cleared,) = losses.look({"a": 2, "b": 1}, 3 * NS + QUIET_NS)
    assert (cleared.process, cleared.evidence) == ("cleared", {"dropped": {"a": 2, "b": 1}})


def test_replies_and_requests_that_are_given_up_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    bell = Bell()
    replies = Replies(bell, lambda: 1, lambda *_: None)
    monkeypatch.setattr(replies_module, "KEPT_REFUSALS", 3)
    replies._others = deque(maxlen=3)
    for k in range(5):
        replies.refused(1, "length", 7, 0, 1, k)
    assert replies.dropped == 2
    replies._keep([((1, b"x"), AGAIN)])
    assert replies.dropped == 3
    monkeypatch.setattr(replies_module, "ACKS_AGAIN", 1)
    replies._keep_acks([((1, 7, 0, 1), 5), ((1, 7, 1, 1), 5)], [AGAIN, AGAIN])
    assert replies.dropped == 4
    bell.close()
    requests = Requests(lambda _record: True, Future, lambda _alarm, _state: {})
    for _ in range(PENDING + 2):
        requests._remember([b"x"])
    assert requests.forgotten == 2


# ---- behind the service ----


def test_feed_stats_and_metrics_say_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prune = Outbox.prune
    monkeypatch.setattr(Outbox, "prune", lambda self, now_ns, _days: prune(self, now_ns, 0, 3))
    monkeypatch.setattr(module, "BEHIND", 10)
    with running(make_city(tmp_path)) as service, FeedClient(service.endpoints["feed"]) as feed:
        with Device(service.endpoints["ingest"], DEVICE, epoch=1) as device:
            device.send_frames([frame(s) for s in range(20)])
            assert device.drain(10)
        alarms = until(lambda: len(got := read_all(feed)) >= 13 and got)
        feed.read("late"), feed.ack("late", 2)
        assert (feed.lost, feed.whole) == (0, True)
        until(lambda: any(a.watch == "feed" for a in read_all(feed)), what="nobody says that it is behind")
        last = read_all(feed)[-1].seq
        service._desk._next_prune = 0.0
        until(lambda: feed.read("late")[0][0].seq == last - 2)
        assert (feed.lost, feed.whole) == (last - 5, False)
        feed.read(since_ns=alarms[0].published_ns)
        assert not feed.whole
        assert feed.stats()["dropped"]["live_stalls"] == 0
        assert feed.stats()["consumers"] == {"late": {"cursor": 2, "lag": 3, "lost": last - 5}}
        until(lambda: service.numbers()["consumer_lost"] == {"late": last - 5})
        with urllib.request.urlopen(f"http://{service.endpoints['metrics']}/metrics") as said:
            text = said.read().decode()
        assert f'lifeline_consumer_lost_total{{consumer="late"}} {last - 5}.0' in text
        assert 'lifeline_consumer_lag{consumer="late"} 3.0' in text
        msgspec.json.encode(feed.stats())
