"""Cable forces from vibration: the deviation is found, graded, ended; what cannot be read says nothing."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from lifeline_core.bridges.cables import cable_frequency
from lifeline_core.detectors.base import Group
from lifeline_core.detectors.cable import Cable, CableParams
from lifeline_core.model import NS, Block, Channel, Finding, Site, Watch
from lifeline_core.synth.bridge import mode_acceleration

FS, BIN = 32, 240
T0 = 1_700_000_000 * NS - 1_700_000_000 * NS % (BIN * NS)
L, M, KN, EI = 60.0, 50.0, 2086.38, 8e5
CHANNELS = (Channel(name="c1", site="b", device=1, channel=0, rate_hz=float(FS), unit="m/s2"),
            Channel(name="c2", site="b", device=1, channel=1, rate_hz=float(FS), unit="m/s2"))
ROW = {"length_m": L, "mass_kg_m": M, "as_built_kn": KN, "ei_nm2": EI, "ends": "clamped"}
KEYS = {"cables": [ROW, ROW], "bin_s": BIN, "confirm": 2,
        "deviations": [{"severity": 3, "off": 0.10}, {"severity": 4, "off": 0.15}]}


def build(**more: object) -> Cable:
    params = msgspec.convert({**KEYS, **more}, CableParams)
    return Cable(Watch(name="w", site="b", channels=("c1", "c2"), detector="cable", params=params), [Group(CHANNELS, float(FS))],
                 Site(name="b", domain="bridge"))


def vibration(kn: float, seconds: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    f = [cable_frequency(kn * 1e3, n, L, M, ei_nm2=EI, ends="clamped") for n in range(1, 8)]
    f = [v for v in f if v < 0.45 * FS]
    x = sum(mode_acceleration(v, 0.003, FS, rng.standard_normal(seconds * FS)) / v for v in f)
    return np.asarray(x / np.std(x) + 0.1 * rng.standard_normal(seconds * FS))


def play(d: Cable, forces: list[tuple[float, float]]) -> list[Finding]:
    out = []
    for k, pair in enumerate(forces):
        x = np.stack([vibration(kn, BIN, 10 * k + i) for i, kn in enumerate(pair)]).astype(np.float32)
        out += d.push(0, Block(x, T0, k * BIN * FS, FS, 1, None, (0.0, 0.0), 0))
    return out


def test_a_deviation_is_graded_and_ends() -> None:
    d = build()
    sound, low, lower = (KN, KN), (KN * 0.88, KN), (KN * 0.83, KN)
    found = play(d, [sound, low, low, lower, lower, sound, sound])
    assert [(f.active, f.severity, f.source) for f in found] == [(True, 3, "c1"), (True, 4, "c1"), (False, 4, "c1")]
    assert found[0].value == pytest.approx(KN * 0.88, rel=0.01)
    assert found[0].limit == pytest.approx(KN * 0.9)
    assert found[0].onset_ns == T0 + BIN * NS
    assert found[0].t_ns == T0 + 3 * BIN * NS
    assert [f.evidence["relation"] for f in found] == ["exceeds", "exceeds", "within"]
    assert found[1].evidence["deviation"] == pytest.approx(-0.17, abs=0.01)
    assert {r["channel"]: r["tension_kn"] for r in d.report()} == pytest.approx({"c1": KN, "c2": KN}, rel=0.01)


def test_stiffness_may_be_left_to_the_fit() -> None:
    row = {k: v for k, v in ROW.items() if k != "ei_nm2"}
    d = build(cables=[row, row])
    play(d, [(KN * 1.04, KN)])
    assert [r["tension_kn"] for r in d.report()] == pytest.approx([KN * 1.04, KN], rel=0.02)


def test_noise_says_nothing() -> None:
    d = build()
    x = np.random.default_rng(1).standard_normal((2, 3 * BIN * FS)).astype(np.float32)
    assert d.push(0, Block(x, T0, 0, FS, 1, None, (0.0, 0.0), 0)) == []


def test_refusals() -> None:
    with pytest.raises(ValueError, match="cables: must have a row for each of 2 channels, has 1"):
        build(cables=[ROW])
    with pytest.raises(ValueError, match="severity must rise"):
        build(deviations=[{"severity": 4, "off": 0.1}, {"severity": 3, "off": 0.2}])
