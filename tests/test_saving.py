"""A state that is gathered while the engine goes on is the state of the moment at which it began."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from lifeline_core import wire
from lifeline_core.config import read_city
from lifeline_core.engine import EPISODES, Engine
from lifeline_core.errors import StateError
from lifeline_core.model import NS, City
from lifeline_core.runs import Saving
from tests.stream import T0

DEVICES, RATE = 6, 10
PAIR = 9  # a device whose two channels are expected together and come one by one

TEXT = """
[service]
ingest = "tcp://127.0.0.1:0"
alarms = "tcp://127.0.0.1:0"
feed = "tcp://127.0.0.1:0"
metrics = "127.0.0.1:0"
data_dir = "/nowhere"
health = false
[site.north]
domain = "water"
"""


def make_city() -> City:
    """Level watches, one of them over cleaned samples, one over a pair of channels, and health, which changes at ticks."""
    text = [TEXT]
    for name, device, channel in [*((f"c{k}", k, 0) for k in range(DEVICES)), ("p0", PAIR, 0), ("p1", PAIR, 1)]:
        text.append(f'[channel.{name}]\nsite = "north"\ndevice = {device}\nchannel = {channel}\nunit = "kPa"\nrate_hz = {RATE}.0')
    rows = "limits = [{severity = 2, above = 25.0}, {severity = 4, above = 50.0}]"
    for k in range(DEVICES):
        clean = "clean = {threshold = 6.0}" if k == 1 else ""
        text.append(f'[watch.w{k}]\nsite = "north"\nchannels = ["c{k}"]\ndetector = "level"\n{rows}\n{clean}')
    text.append(f'[watch.pair]\nsite = "north"\nchannels = ["p0", "p1"]\ndetector = "level"\n{rows}')
    text.append('[watch.ill]\nsite = "north"\nchannels = ["c0", "c1", "c2"]\ndetector = "health"\noffline_s = 2.0')
    return read_city("\n".join(text))


CITY = make_city()
Step = Callable[[Engine], object]


def frame(rng: random.Random, device: int, channel: int, seq: int) -> bytes:
    top = rng.choice((1.0, 1.0, 30.0, 60.0))
    x = np.asarray([[top + rng.random() for _ in range(RATE)]], np.float32)
    return wire.pack(x, device=device, channel=channel, seq=seq, sample_index=RATE * seq, t0_ns=T0 + seq * NS, rate=RATE, epoch=1)


def steps(seed: int, n: int) -> Iterator[Step]:
    """Frames, ticks and commands as they may come between two pieces of a snapshot."""
    rng, seqs, ticks = random.Random(seed), dict[tuple[int, int], int](), 0
    senders = [(k, 0) for k in range(DEVICES)] + [(PAIR, 0), (PAIR, 1)]
    for _ in range(n):
        what = rng.random()
        if what < 0.7:
            sender = rng.choice(senders)
            seq = seqs.get(sender, 0)
            seqs[sender] = seq + 1 + (rng.random() < 0.05)  # now and then one is lost
            one = frame(rng, *sender, seq)
            yield lambda e, one=one: e.push(one)  # type: ignore[misc]
        elif what < 0.85:
            ticks += 1
            yield lambda e, t=T0 + ticks * NS: e.tick(t)  # type: ignore[misc]
        else:
            at, action = rng.random(), rng.choice(("confirm", "shelve"))
            yield lambda e, at=at, action=action: command(e, at, action)  # type: ignore[misc]


def command(engine: Engine, at: float, action: str) -> object:
    """On one of the alarms, where it may be done."""
    known = list(engine.episodes.known.values())
    fit = [e.alarm for e in known if (e.alarm.handling == "new" if action == "confirm" else e.alarm.shelved_until_ns is None)]
    if not fit:
        return None
    alarm, now = fit[int(at * len(fit))], engine._tick_ns or T0
    return engine.command(alarm.alarm_id, action, actor="wang", reason="seen", t_ns=now, until_ns=now + 2 * NS)


@pytest.mark.parametrize("seed", range(12))
def test_what_is_gathered_on_the_way_is_the_state_of_the_beginning(seed: int) -> None:
    rng, engine = random.Random(seed), Engine(CITY)
    todo = list(steps(seed, 160))
    parts: list[bytes] = []
    saving: Saving | None = None
    plain, done = b"", 0
    for k, step in enumerate(todo):
        if saving is None and k >= 10:
            plain, parts = engine.save(), []
            saving = engine.begin_save(parts.append)
        step(engine)
        for _ in range(rng.choice((0, 0, 0, 1, 2)) if saving is not None else 0):
            if not saving.go_on():
                assert sorted(parts) == sorted(pieces(plain, parts))
                assert Engine.restore(CITY, b"".join(parts)).save() == plain
                saving, done = None, done + 1
                break
    assert done >= 2


def pieces(plain: bytes, parts: list[bytes]) -> list[bytes]:
    """The plain state cut where the parts are cut, in whatever order they came."""
    left = plain
    for part in parts:
        assert part in left
        left = left.replace(part, b"", 1)
    assert left == b""
    return parts


def test_an_engine_that_is_saved_on_the_way_says_what_an_undisturbed_one_says() -> None:
    """And what is restored goes on to the same end."""
    calm, saved = Engine(CITY), Engine(CITY)
    todo = list(steps(77, 200))
    parts: list[bytes] = []
    for k, step in enumerate(todo):
        if k == 60:
            saving = saved.begin_save(parts.append)
        elif k > 60:
            saving.go_on()
        assert step(calm) == step(saved)
    saving.finish()
    again = Engine.restore(CITY, b"".join(parts))
    for step in todo[60:]:
        step(again)
    assert again.save() == calm.save() == saved.save()


def test_a_watch_is_taken_before_it_changes_and_only_then() -> None:
    engine, parts = Engine(CITY), list[bytes]()
    engine.begin_save(parts.append)
    begun = len(parts)
    engine.push(frame(random.Random(1), 3, 0, 0))
    assert len(parts) == begun + 1 and b"w3" in parts[-1]
    engine.push(frame(random.Random(1), 3, 0, 1))
    assert len(parts) == begun + 1
    engine.tick(T0)
    assert len(parts) == begun + 2 and b"ill" in parts[-1]  # of all detectors here it alone changes at a tick


def test_episodes_come_some_at_a_time_in_their_order() -> None:
    engine, rng = Engine(CITY), random.Random(3)
    for seq in range(2 * EPISODES):
        x = np.full((1, RATE), 30.0 if seq % 2 else 1.0, np.float32)
        for device in (0, 2):
            engine.push(wire.pack(x, device=device, seq=seq, sample_index=RATE * seq, t0_ns=T0 + seq * NS, rate=RATE, epoch=1))
    known = [e.alarm for e in engine.episodes.known.values()]
    assert len(known) == 2 * EPISODES
    parts: list[bytes] = []
    saving = engine.begin_save(parts.append)
    while saving.go_on():
        for action in ("confirm", "shelve"):
            command(engine, rng.random(), action)
    assert sum(b"episodes" in part[:16] for part in parts) == 2
    again = Engine.restore(CITY, b"".join(parts))
    assert [e.alarm for e in again.episodes.known.values()] == known
    assert [e.alarm for e in engine.episodes.known.values()] != known


def test_one_at_a_time_and_a_dropped_one_wants_nothing_more() -> None:
    engine, first, second = Engine(CITY), list[bytes](), list[bytes]()
    engine.begin_save(first.append).go_on()
    saving = engine.begin_save(second.append)
    assert b"".join(first) == engine.save()
    assert b"".join(second) == b"".join(first)  # save, too, completed what was under way
    assert not saving.go_on()
    third: list[bytes] = []
    saving = engine.begin_save(third.append)
    begun = len(third)
    saving.drop()
    engine.push(frame(random.Random(1), 3, 0, 0))
    assert not saving.go_on() and len(third) == begun


def test_a_detector_that_cannot_be_saved_spoils_the_snapshot_and_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, calm = Engine(CITY), Engine(CITY)

    def fail() -> Any:
        raise RuntimeError("boom")

    with monkeypatch.context() as broken:
        (run,) = [run for run in engine.runs if run.watch.name == "w3"]
        broken.setattr(run._lanes[0], "save", fail)
        saving = engine.begin_save(lambda part: None)
        for seq in range(3):
            one = frame(random.Random(seq), 3, 0, seq)
            assert engine.push(one) == calm.push(one)
        with pytest.raises(RuntimeError, match="boom"):
            saving.go_on()
        assert not any(run.saving for run in engine.runs)
        with pytest.raises(RuntimeError, match="boom"):
            engine.save()
        with pytest.raises(RuntimeError, match="boom"):
            saving.go_on()  # still: it never becomes whole
    assert engine.save() == calm.save()


def test_a_state_that_is_not_whole_is_none() -> None:
    engine = Engine(CITY)
    for step in steps(5, 40):
        step(engine)
    parts: list[bytes] = []
    engine.begin_save(parts.append).finish()
    whole = b"".join(parts)
    assert Engine.restore(CITY, whole).save() == whole
    short = [whole[:n] for n in random.Random(2).sample(range(len(whole)), 60)]
    gaps = [b"".join(parts[:k] + parts[k + 1 :]) for k in range(len(parts))]
    twice = [whole + parts[-2], whole + parts[-1], whole + b"\xc0", whole + b"\xd9"]
    for wrong in [*short, *gaps, *twice]:
        with pytest.raises(StateError, match="saved state"):
            Engine.restore(CITY, wrong)
