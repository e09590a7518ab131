"""The modal detector on a chain whose ground spring gives way: found, named, and nothing said of weather alone."""

from __future__ import annotations

import itertools

import msgpack
import numpy as np
import pytest

from lifeline_core.alarms.words import say
from lifeline_core.detectors.base import Group
from lifeline_core.detectors.modal import Modal, ModalParams, Moved
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Break, Channel, Finding, Site, Watch
from lifeline_core.synth.chain import Chain, chain

FS, WINDOW = 20, 200
T0 = 1_700_000_000 * NS - 1_700_000_000 * NS % (WINDOW * NS)
SITE = Site(name="b", domain="bridge")
ACC = tuple(Channel(name=f"a{i}", site="b", device=1, channel=i, rate_hz=float(FS), unit="m/s2") for i in range(3))
AIR = (Channel(name="air", site="b", device=2, channel=0, unit="degC", quantity="temperature"),)
KEYS = {"window_s": WINDOW, "learn": 2, "train": 20, "block_rows": 15, "order_max": 20, "f_max": 8.0}
WINDOWS, DAMAGE = 45, 36


def signal(seed: int = 1, damage: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """[3, n] in windows whose frequencies follow the temperature, and that temperature."""
    rng = np.random.default_rng(seed)
    t = 15 + 8 * np.sin(2 * np.pi * np.arange(WINDOWS) / 11)
    parts = [chain(3, 1.5 * (1 - 0.002 * (t[k] - 15)), (0.01, 0.01, 0.01), ground=damage if k >= DAMAGE else 1.0)
             .acceleration(WINDOW * FS, FS, rng) for k in range(WINDOWS)]
    return np.concatenate(parts, axis=1).astype(np.float32), t


X, T = signal()


def build(env: bool = True, **more: object) -> Modal:
    params = ModalParams(**{**KEYS, "environment": int(env), **more})
    names = tuple(c.name for c in ACC + AIR)
    return Modal(Watch(name="w", site="b", channels=names, detector="modal", params=params),
                 [Group(ACC, float(FS)), Group(AIR, None)], SITE)


def play(d: Modal, x: np.ndarray = X, t: np.ndarray = T, cuts: tuple[int, ...] = (), save_every: int = 0) -> list[Finding]:
    out: list[Finding] = []
    n = x.shape[1]
    edges = sorted({0, n, *range(0, n, 50 * FS), *cuts})
    for k, (a, b) in enumerate(itertools.pairwise(edges)):
        out += d.push(0, Block(np.ascontiguousarray(x[:, a:b]), T0, a, FS, 1, None, (0.0,) * 3, 0))
        if a % (50 * FS) == 0:
            at = T0 + a * NS // FS
            warm = np.array([[t[min(a // (WINDOW * FS), len(t) - 1)]]], np.float32)
            out += d.push(1, Block(warm, 0, 0, 1, 1, np.array([at]), (0.0,), 0))
        if b % FS == 0:
            out += d.tick(T0 + b * NS // FS)
        if save_every and k % save_every == 0:
            saved = msgpack.packb(d.save())
            d = Modal(d.watch, d.groups, SITE)
            d.load(msgpack.unpackb(saved))
    return out + d.flush()


@pytest.fixture(scope="module")
def whole() -> list[Finding]:
    return play(build())


def test_damage_is_found_and_named(whole: list[Finding]) -> None:
    change = [f for f in whole if f.kind == "modal-change"]
    assert len(change) == 1 and change[0].active
    window = (change[0].t_ns - T0) // (WINDOW * NS) - 1  # the window that ended then
    assert DAMAGE + 2 <= window <= DAMAGE + 4
    true = chain(3, 1.5, (0.01,) * 3, ground=0.7).f_hz / chain(3, 1.5, (0.01,) * 3).f_hz - 1
    where = change[0].where
    assert change[0].value == where["moved"] == pytest.approx(true[where["mode"] - 1], abs=0.004)
    assert where["mode_hz"] == pytest.approx(chain(3, 1.5, (0.01,) * 3).f_hz[where["mode"] - 1], rel=0.01)
    assert where["explained_by"] == ["temperature"]
    assert len(change[0].evidence["f_hz"]) == len(change[0].evidence["reference_hz"]) == 3
    assert change[0].onset_ns == change[0].t_ns - 3 * WINDOW * NS
    assert change[0].limit is None and change[0].evidence["d2"] > change[0].evidence["d2_limit"]


def test_weather_alone_says_nothing() -> None:
    x, t = signal(2, damage=1.0)
    d = build()
    assert play(d, x, t) == []
    row = d.report()[0]
    assert row["phase"] == "watch" and row["reference_hz"] == pytest.approx(chain(3, 1.5, (0.01,) * 3).f_hz, rel=0.02)


def test_cuts_and_restarts_change_nothing(whole: list[Finding]) -> None:
    assert repr(play(build(), cuts=(7, 777, 12_345, 12_346, 100_001))) == repr(whole)
    assert repr(play(build(), save_every=17)) == repr(whole)


def test_severity_by_the_change() -> None:
    found = play(build(severities=(Moved(severity=3, moved=0.05), Moved(severity=4, moved=0.5))))
    (change,) = [f for f in found if f.kind == "modal-change"]
    assert change.severity == 3 and change.limit == -0.05 and change.value < -0.05


def test_a_dead_channel_and_a_gap_are_no_change() -> None:
    x, t = signal(2, damage=1.0)
    x[1, 30 * WINDOW * FS : 33 * WINDOW * FS] = np.nan
    d = build()
    assert play(d, x, t) == []
    assert d.gap(0, Break(T0, "gap", FS * WINDOW)) == []
    assert d._windows is not None and d._windows.blocks == 0


def play_bursts(d: Modal, x: np.ndarray) -> None:
    """A window's samples, then nothing for as long again."""
    n = WINDOW * FS
    for k in range(x.shape[1] // n):
        at = T0 + 2 * k * WINDOW * NS
        assert d.gap(0, Break(at, "gap", n)) == []
        assert d.push(0, Block(np.ascontiguousarray(x[:, k * n : (k + 1) * n]), at, 0, FS, 1, None, (0.0,) * 3, 0)) == []


def test_a_window_that_ends_where_a_gap_begins_counts() -> None:
    d = build(env=False)
    play_bursts(d, X[:, : 12 * WINDOW * FS])
    assert len(d._watch.rows) == 12 - KEYS["learn"] - 1  # the last burst waits for what ends it


def test_without_ticks_a_window_waits_for_the_weather_an_hour_of_the_stream() -> None:
    d = build()
    for k in range(30):
        x = X[:, k * WINDOW * FS : (k + 1) * WINDOW * FS]
        d.push(1, Block(np.full((1, 1), T[k], np.float32), 0, 0, 1, 1, np.array([T0 + k * WINDOW * NS]), (0.0,), 0))
        d.push(0, Block(np.ascontiguousarray(x), T0, k * WINDOW * FS, FS, 1, None, (0.0,) * 3, 0))
    assert 0 < len(d._waiting) <= 3600 // WINDOW + 1
    assert len(d._watch.rows) > 5


@pytest.mark.slow
def test_windows_that_overlap() -> None:
    """One every 50 s: the references of 2 and the baseline of 20 windows that share nothing, then every one is judged."""
    def slide() -> Modal:
        return build(every_s=50.0)

    begin, end = 12 * WINDOW * FS, 41 * WINDOW * FS  # damage after 24 windows of it
    x, t = X[:, begin:end], T[12:41]
    whole = play(slide(), x, t)
    (change,) = [f for f in whole if f.kind == "modal-change"]
    damage = T0 + (DAMAGE - 12) * WINDOW * NS
    assert damage + 9 * 50 * NS <= change.t_ns <= damage + 4 * WINDOW * NS  # (3 - 1) * 4 + 1 windows in a row
    assert (change.t_ns - T0) % (50 * NS) == 0 and damage - WINDOW * NS <= change.onset_ns < change.t_ns
    assert not [f for f in whole if f.t_ns < damage]
    assert repr(play(slide(), x, t, cuts=(3, 4001, 77_777), save_every=29)) == repr(whole)


def test_a_mode_that_is_gone_is_missing() -> None:
    """The second mode is no longer excited from window 24 on; the others go on."""
    rng = np.random.default_rng(3)
    sound = chain(3, 1.5, (0.01, 0.01, 0.01))
    left = Chain(sound.f_hz[[0, 2]], sound.damping[[0, 2]], sound.shapes[[0, 2]])
    x = np.concatenate([c.acceleration(24 * WINDOW * FS, FS, rng) for c in (sound, left)], axis=1).astype(np.float32)
    found = play(build(env=False, false_alarms_per_year=100.0), x)
    missing = [f for f in found if f.kind == "modal-missing"]
    assert [(f.active, f.where["mode"], f.where["modes"]) for f in missing] == [(True, 2, [2])]
    gone = T0 + 24 * WINDOW * NS
    assert missing[0].value == missing[0].limit == (missing[0].t_ns - missing[0].onset_ns) // (WINDOW * NS)
    assert gone - WINDOW * NS <= missing[0].onset_ns <= gone + 2 * WINDOW * NS
    assert missing[0].where["seen"] > 0.9 and missing[0].where["mode_hz"] == pytest.approx(sound.f_hz[1], rel=0.01)
    said = say(domain="bridge", site="b", watch="w", kind="modal-missing", severity=2, process="active", value=missing[0].value,
               limit=missing[0].limit, unit=missing[0].unit, where=dict(missing[0].where))
    assert f"mode 2 ({missing[0].where['mode_hz']:.4g} Hz) is not seen any more" in said["en"] and "第 2 阶模态" in said["zh"]


def test_traffic_is_taken_out_by_the_windows_own_rms() -> None:
    """Twice as loud, 1.5 percent lower."""
    rng = np.random.default_rng(5)
    level = rng.uniform(-0.5, 0.5, 27)
    x = np.concatenate([2.0 ** level[k] * chain(3, 1.5 * (1 - 0.015 * level[k]), (0.01,) * 3).acceleration(WINDOW * FS, FS, rng)
                        for k in range(27)], axis=1).astype(np.float32)
    d, deaf = build(env=False, traffic=True, train=23), build(env=False, train=23)
    assert play(d, x) == play(deaf, x) == []
    told, untold = d._watch.baseline, deaf._watch.baseline
    assert told is not None and untold is not None and told.together
    slope = told.weights[1] / told.spread[0] / told.reference * np.log(2.0)
    np.testing.assert_allclose(slope, -0.015, atol=0.004)
    assert (np.diag(told.cov) < 0.5 * np.diag(untold.cov)).all()


def test_state_of_another_kind_is_refused() -> None:
    saved = build().save()
    with pytest.raises(StateError, match="saved state is of version 1"):
        build().load(saved | {"version": 1})
    for broken in ({"waiting": [[1]]}, {"on": [[1, 2]]}, {"windows": {}}):
        with pytest.raises(StateError, match="cannot be restored"):
            build().load(saved | broken)
    with pytest.raises(StateError, match="another version or plan"):
        build(bend=False).load(saved)


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"f_max: must be at most 0\.45 of the rate"):
        build(f_max=9.9)
    with pytest.raises(ValueError, match="f_max: must be above f_min"):
        build(f_min=9.0)
    with pytest.raises(ValueError, match="every_s: must be at most window_s"):
        build(every_s=300.0)
