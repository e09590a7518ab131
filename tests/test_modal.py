"""The modal detector on a chain whose ground spring gives way: found, named, and nothing said of weather alone."""

from __future__ import annotations

import itertools

import msgpack
import numpy as np
import pytest

from lifeline_core.detectors.base import Group
from lifeline_core.detectors.modal import Modal, ModalParams, Moved
from lifeline_core.model import NS, Block, Break, Channel, Finding, Site, Watch
from lifeline_core.synth.chain import chain

FS, WINDOW = 20, 200
T0 = 1_700_000_000 * NS - 1_700_000_000 * NS % (WINDOW * NS)
SITE = Site(name="b", domain="bridge")
ACC = tuple(Channel(name=f"a{i}", site="b", device=1, channel=i, rate_hz=float(FS), unit="m/s2") for i in range(3))
AIR = (Channel(name="air", site="b", device=2, channel=0, unit="degC"),)
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
    mode = change[0].evidence["mode"]
    assert change[0].value == pytest.approx(true[mode], abs=0.004)
    assert len(change[0].evidence["f_hz"]) == 3
    assert change[0].onset_ns == change[0].t_ns - 3 * WINDOW * NS


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
    assert [f.severity for f in found if f.kind == "modal-change"] == [3]


def test_a_dead_channel_and_a_gap_are_no_change() -> None:
    x, t = signal(2, damage=1.0)
    x[1, 30 * WINDOW * FS : 33 * WINDOW * FS] = np.nan
    d = build()
    assert play(d, x, t) == []
    assert d.gap(0, Break(T0, "gap", FS * WINDOW)) == []
    assert d._lags.blocks == 0


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"f_max: must be at most 0\.45 of the rate"):
        build(f_max=9.9)
    with pytest.raises(ValueError, match="f_max: must be above f_min"):
        build(f_min=9.0)
    with pytest.raises(ValueError, match="every_s: must be at most window_s"):
        build(every_s=300.0)
