"""Samples that go past Python: the same alarms and the same saved bytes as through it, whatever comes and however it is cut."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lifeline_core import wire
from lifeline_core.detectors import find
from lifeline_core.detectors.cleaned import Clean
from lifeline_core.dsp.trigger import Past
from lifeline_core.engine import Engine, _unpacked
from lifeline_core.model import NS, Alarm, Channel, City, Site, Watch
from lifeline_core.runs import Run

RATE, ROWS, SECONDS = 100, 3, 45
T0 = 1_700_000_000 * NS - 1_700_000_000 * NS % (600 * NS)
PARAMS: dict[str, dict[str, Any]] = {
    "spectral": {"bin_s": 10, "limits": [{"severity": 2, "above": 0.3}], "nperseg": 256},
    "shock": {"limits": [{"severity": 2, "above": 0.5}, {"severity": 3, "above": 2.0}]},
    "health": {"flat_s": 3.0, "clip_window_s": 5.0, "quiet_s": 4.0, "clock_sd_limit_us": 50.0},
    "level": {"limits": [{"severity": 2, "above": 1.0}, {"severity": 3, "above": 2.5}], "on_delay_s": 0.02},
    "binned": {"limits": [{"severity": 2, "above": 2.0}], "statistic": "max", "bin_s": 7},
    "impact": {"limits": [{"severity": 3, "above": 1.5}], "clear_s": 10.0},  # has no short way
}


def city(names: tuple[str, ...], devices: int = 2) -> City:
    """Every device under one watch of each name; with a star its samples are cleaned, which has no short way either."""
    channels = {
        f"c{d}-{i}": Channel(name=f"c{d}-{i}", site="s", device=d, channel=i, rate_hz=float(RATE), unit="m/s2", range=(-4.0, 4.0))
        for d in range(devices)
        for i in range(ROWS)
    }
    watches = {}
    for name, d in itertools.product(names, range(devices)):
        kind = name.rstrip("*")
        watches[f"{name}-{d}"] = Watch(
            name=f"{name}-{d}", site="s", channels=tuple(f"c{d}-{i}" for i in range(ROWS)), detector=kind,
            params=msgspec.convert(PARAMS[kind], find(kind).PARAMS), clean=Clean() if name.endswith("*") else None,
        )  # fmt: skip
    return City(sites={"s": Site(name="s", domain="bridge")}, channels=channels, watches=watches, hash="takers")


def signal(seed: int) -> NDArray[np.float32]:
    """Noise with blows, a flat stretch, clipping, missing samples and a spell of strong vibration, all drawn."""
    rng = np.random.default_rng(seed)
    n = SECONDS * RATE
    x = rng.normal(0, 0.02, (ROWS, n))
    for _ in range(int(rng.integers(0, 4))):
        at, row = int(rng.integers(n)), int(rng.integers(ROWS))
        x[row, at:] += rng.uniform(0.3, 4.5) * np.exp(-np.arange(n - at) / 40) * np.cos(np.arange(n - at))
    for _ in range(int(rng.integers(0, 3))):
        at, row = int(rng.integers(n)), int(rng.integers(ROWS))
        x[row, at : at + int(rng.integers(1, 900))] = rng.choice([0.01, np.nan, 4.0, np.inf, 0.5])
    at = int(rng.integers(n))
    x[:, at : at + 1500] *= rng.choice([1.0, 30.0])
    return x.astype(np.float32)


def frames(seed: int) -> list[tuple[int, bytes]]:
    """(second, frame) of two devices, lost, flagged and late frames among them."""
    rng = np.random.default_rng(seed)
    out = []
    for device in range(2):
        x, at, seq, epoch, index0 = signal(seed + device), 0, 0, 1, 0
        while at < x.shape[1]:
            n = min(int(rng.choice([20, 100, 130, 1100])), x.shape[1] - at)
            odd = rng.random()
            if odd < 0.02:
                epoch, seq, index0 = epoch + 1, 0, at
            if not 0.02 <= odd < 0.05:  # otherwise it is lost
                out.append((at // RATE, wire.pack(
                    x[:, at : at + n], device=device, seq=seq, sample_index=at - index0, t0_ns=T0 + at * NS // RATE, rate=RATE,
                    epoch=epoch, encoding=wire.FLOAT32, clock_sd_us=int(rng.choice([0, 0, 0, 20, 80])),
                    flags=1 | int(rng.choice([0] * 12 + [2, 4, 8])),
                )))  # fmt: skip
            seq, at = seq + 1, at + n
    out.sort(key=lambda f: f[0])
    return out


def settled(state: bytes) -> dict[str, Any]:
    """A saved state without the order in which different devices spoke within a batch."""
    content = _unpacked(state)
    content["known"] = sorted(content["known"], key=lambda e: e["alarm"]["alarm_id"])
    content["active"] = sorted(content["active"].items())
    return content


def played(names: tuple[str, ...], seed: int, batches: list[int], *, saves: str = "") -> tuple[dict[str, list[Alarm]], Any]:
    """Revisions of each watch's alarms, and the state at the end; ``saves``: "restore" goes on from a state saved after each batch,
    "while" saves while it goes on and asks that every state be that of its beginning."""
    town = city(names)
    engine, out, left, k, second = Engine(town), [], frames(seed), 0, 0
    saving: Any = None
    while left:
        size = batches[k % len(batches)] if batches else len(left)
        part, left = left[:size], left[size:]
        while second < part[0][0]:
            second += 1
            out += engine.tick(T0 + second * NS)
        if saves == "while" and saving is None:
            expected, parts = engine.save(), []
            saving = engine.begin_save(parts.append)
        out += engine.push([f for _, f in part])
        if saving is not None and (k % 4 == 3 or not left):
            saving.finish()
            assert settled(b"".join(parts)) == settled(expected)
            saving = None
        elif saving is not None:
            saving.go_on()
        if saves == "restore":
            engine = Engine.restore(town, engine.save())
        k += 1
    out += engine.flush()
    out.sort(key=lambda a: (a.alarm_id, a.revision))  # live and history do not wait for each other
    return {name: [a for a in out if a.watch == name] for name in town.watches}, settled(engine.save())


def through_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "takers", lambda self, group: [])


@pytest.mark.parametrize("names", [tuple(PARAMS), ("spectral", "shock", "health"), ("level",), ("binned", "health"),
                                   ("level*", "shock", "health*")])  # fmt: skip
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1 << 30), batches=st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_as_through_python(names: tuple[str, ...], seed: int, batches: list[int]) -> None:
    got = played(names, seed, batches)
    with pytest.MonkeyPatch.context() as patch:
        through_python(patch)
        want = played(names, seed, batches)
    assert got == want


def test_something_is_said_and_something_is_taken() -> None:
    """What the comparison above rests on."""
    calls: dict[str, int] = {}
    push = Run.take

    def counted(self: Run, group: int, lane: int, piece: Any) -> Any:
        calls[self.watch.name] = calls.get(self.watch.name, 0) + 1
        return push(self, group, lane, piece)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "take", counted)
        kinds: set[str] = set()
        for seed in range(6):
            alarms, _ = played(tuple(PARAMS), seed, [7])
            kinds |= {a.kind for own in alarms.values() for a in own}
    assert kinds >= {"rms", "shock", "flat-line", "clipping", "gap", "clock", "level", "binned"}
    assert max(calls[f"{name}-0"] for name in ("shock", "level")) < 0.7 * calls["impact-0"]


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1 << 30), batches=st.lists(st.integers(1, 40), min_size=1, max_size=4),
       saves=st.sampled_from(["restore", "while"]))  # fmt: skip
def test_saving_changes_nothing(seed: int, batches: list[int], saves: str) -> None:
    names = ("spectral", "shock", "health", "level")
    assert played(names, seed, batches, saves=saves)[0] == played(names, seed, batches)[0]


def test_channels_that_turn_out_to_come_apart() -> None:
    """Single-channel frames to a watch over three channels, all in one batch: not a sample is taken by the detector that goes."""
    names = ("spectral", "shock", "health", "level")
    x = signal(2)
    parts = [
        wire.pack(x[i : i + 1, at : at + 500], device=0, channel=i, seq=at // 500, sample_index=at, t0_ns=T0 + at * NS // RATE,
                  rate=RATE, encoding=wire.FLOAT32)
        for at in range(0, x.shape[1], 500)
        for i in range(ROWS)
    ]  # fmt: skip
    engine = Engine(city(names))
    got = engine.push(parts) + engine.flush()
    with pytest.MonkeyPatch.context() as patch:
        through_python(patch)
        other = Engine(city(names))
        want = other.push(parts) + other.flush()
    assert {(a.watch, a.kind) for a in got} == {(a.watch, a.kind) for a in want} != set()
    assert settled(engine.save())["runs"] == settled(other.save())["runs"]


def test_a_detector_that_fails_is_replaced_and_its_taker_too(monkeypatch: pytest.MonkeyPatch) -> None:
    shock = find("shock")
    push, failed = shock.push, []

    def failing(self: Any, group: int, block: Any) -> Any:
        if not failed:
            failed.append(block.n)
            raise RuntimeError("once")
        return push(self, group, block)

    monkeypatch.setattr(shock, "push", failing)
    x = np.random.default_rng(0).normal(0, 0.02, (ROWS, SECONDS * RATE)).astype(np.float32)
    for at in (1500, 4000):
        x[:, at:] += 3.0 * np.exp(-np.arange(x.shape[1] - at) / 40) * np.cos(np.arange(x.shape[1] - at))
    parts = [wire.pack(x[:, a : a + 100], device=0, seq=a // 100, sample_index=a, t0_ns=T0 + a * NS // RATE, rate=RATE,
                       encoding=wire.FLOAT32) for a in range(0, x.shape[1], 100)]  # fmt: skip
    engine = Engine(city(("shock",), 1))
    alarms = engine.push(parts) + engine.flush()
    assert failed
    assert [a.kind for a in alarms if a.revision == 1] == ["fault", "shock"]
    assert engine.stats()["detector_errors"] == 1


def test_a_short_call_keeps_the_lock() -> None:
    """Another thread that asks for the interpreter all the time gets it only where the engine lets go of it by itself."""
    town = city(("spectral", "shock", "health", "level"))
    rng = np.random.default_rng(1)
    parts = [
        [wire.pack(rng.normal(0, 0.02, (ROWS, RATE)), device=d, seq=k, sample_index=k * RATE, t0_ns=T0 + k * NS, rate=RATE)
         for d in range(2)]
        for k in range(300)
    ]  # fmt: skip
    engine, turns, stop = Engine(town), [0], False

    def busy() -> None:
        while not stop:
            turns[0] += 1
            time.sleep(0)

    engine.push([f for part in parts[:100] for f in part])
    before, thread = sys.getswitchinterval(), threading.Thread(target=busy)
    sys.setswitchinterval(100.0)  # nobody is made to give it up
    try:
        thread.start()
        time.sleep(0.01)
        at = turns[0]
        for part in parts[100:]:
            engine.push(part)
        told = turns[0] - at
    finally:
        sys.setswitchinterval(before)
        stop = True
        thread.join()
    assert at > 0
    assert told == 0


def test_the_last_samples_are_kept_in_their_order() -> None:
    rng = np.random.default_rng(3)
    past, x = Past(2, 50), rng.normal(size=(2, 9000)).astype(np.float32)
    at = 0
    assert past.read().shape == (2, 0)
    while at < x.shape[1]:
        n = int(rng.choice([0, 1, 7, 49, 50, 51, 700, 5000]))
        past.put(x[:, at : at + n])
        at = min(at + n, x.shape[1])
        np.testing.assert_array_equal(past.read(), x[:, max(0, at - 50) : at])
    past.clear()
    assert past.read().shape == (2, 0)
    with pytest.raises(ValueError, match="must have 2 rows"):
        past.put(x[:1])
    for rows, span in ((0, 5), (3, 0)):
        with pytest.raises(ValueError, match="at least one row"):
            Past(rows, span)


def test_what_is_offered_must_be_takers() -> None:
    engine = Engine(city(("level",), 1))
    with pytest.raises((ValueError, TypeError)):
        engine._assembler.offer(0, [[object()]])
    with pytest.raises(IndexError):
        engine._assembler.offer(9, [[]])
