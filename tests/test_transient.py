"""The `transient` row: what it says of steps, and what it keeps quiet about."""

from __future__ import annotations

import argparse

import msgpack
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from lifeline_core.detectors.base import Limit
from lifeline_core.detectors.transient import TransientParams
from lifeline_core.errors import StateError
from lifeline_core.model import FLAG_HISTORICAL, NS, Block, Break
from lifeline_core.pipes.follower import LATENCY_S, Steps
from tests.tnet3 import T0, needs_pipes, play, record, transient

FS = 128
LIMITS = TransientParams(limits=(Limit(severity=2, above=1.0), Limit(severity=4, above=5.0)), hold_s=10.0)


def steps(*rows: tuple[float, float], n_s: float = 40.0) -> NDArray[np.float32]:
    """Level 40 m with 2 cm of noise and a step of so many metres at each time."""
    t = np.arange(int(n_s * FS)) / FS
    x = 40 + np.random.default_rng(0).normal(0, 0.02, t.size)
    for at, height in rows:
        x += height * np.clip((t - at) / 0.03, 0, 1)
    return x.astype(np.float32)[None]


def test_one_drop_is_raised_and_ended_with_its_figures() -> None:
    detector, rate = transient(["J1"], FS, LIMITS)
    up, down = play(detector, rate, steps((20.0, -2.0)))
    assert (up.active, up.kind, up.source, up.severity, up.unit) == (True, "transient", "j1", 2, "m")
    assert abs(up.onset_ns - (T0 + 20 * NS)) < 5_000_000
    assert T0 + 20.25 * NS < up.t_ns < T0 + 20.5 * NS, "said once post_s are seen"
    assert up.value == pytest.approx(-2, abs=0.02) and up.limit == 1.0
    assert up.score == pytest.approx(2 / 0.3, rel=0.02)
    assert up.where == {"node": "J1"}
    tell = up.evidence
    assert set(tell) == {"step", "polarity", "rise_s", "onset_sd_s", "quality", "noise"}
    assert tell["polarity"] == -1 and tell["rise_s"] < 0.05 and tell["noise"] == pytest.approx(0.02, rel=0.2)
    assert msgpack.unpackb(msgpack.packb([dict(up.where), dict(tell)])) == [dict(up.where), dict(tell)]
    assert not down.active and down.onset_ns == up.onset_ns
    assert down.t_ns == pytest.approx(T0 + 30.2 * NS, abs=0.2 * NS), "hold_s of quiet at the new level"


def test_a_graver_step_is_said_again_and_a_milder_one_is_not() -> None:
    detector, rate = transient(["J1"], FS, LIMITS)
    found = play(detector, rate, steps((10.0, -2.0), (13.0, 1.5), (16.0, -6.0), (19.0, 0.5), n_s=35.0))
    assert [(f.active, f.severity) for f in found] == [(True, 2), (True, 4), (False, 4)]
    assert len({f.onset_ns for f in found}) == 1
    assert found[2].t_ns > T0 + 29 * NS, "quiet counts from the last step"


def test_a_surge_has_its_sign_and_below_every_limit_the_base_severity() -> None:
    detector, rate = transient(["J1"], FS, LIMITS)
    found = [f for f in play(detector, rate, steps((20.0, 0.6))) if f.active]
    assert [(f.severity, f.evidence["polarity"], f.limit) for f in found] == [(1, 1, 0.3)]
    assert found[0].value == pytest.approx(0.6, abs=0.02)


def test_skew_clock_and_history_are_told() -> None:
    detector, _ = transient(["J1"], FS)
    block = Block(steps((20.0, -2.0)), T0, 0, FS, 1, None, (0.003,), FLAG_HISTORICAL, 40_000)
    late = detector.push(0, block)[0]
    plain = play(*transient(["J1"], FS), steps((20.0, -2.0)))[0]
    assert late.onset_ns - plain.onset_ns == pytest.approx(3_000_000, abs=2)
    assert late.historical and not plain.historical
    assert late.evidence["onset_sd_s"] == pytest.approx(0.04, rel=0.01)


def test_a_gap_is_no_step_and_an_open_episode_waits_behind_it() -> None:
    detector, _ = transient(["J1"], FS, LIMITS)
    x = steps((8.0, -2.0), n_s=12.0)
    first = detector.push(0, Block(x, T0, 0, FS, 1))
    assert [f.active for f in first] == [True]
    assert detector.gap(0, Break(T0 + 60 * NS, "gap", 99)) == []
    rest = detector.push(0, Block(steps(n_s=20.0) - 7, T0 + 60 * NS, 0, FS, 1))
    assert [f.active for f in rest] == [False]
    assert rest[0].t_ns > T0 + 70 * NS


@pytest.mark.parametrize(("phi", "sd"), [(0.6, 0.02), (0.9, 0.02), (0.9, 0.1)])
def test_demand_and_coloured_noise_raise_nothing(phi: float, sd: float) -> None:
    """Two hours each of three channels; four days of each, run apart, gave none either."""
    detector, rate = transient(["A", "B", "C"], FS)
    rng, zi, found = np.random.default_rng(7), np.zeros((3, 1)), []
    for s in range(0, 7200, 120):
        t = s + np.arange(120 * FS) / FS
        noise, zi = lfilter([1], [1, -phi], rng.normal(0, sd * np.sqrt(1 - phi**2), (3, t.size)), axis=1, zi=zi)
        daily = 5 * np.sin(2 * np.pi * t / 86400) + 0.5 * np.sin(2 * np.pi * t / 900) + 0.15 * np.sin(2 * np.pi * t / 30)
        switched = 1.5 * np.clip((t % 3600 - 600) / 20, 0, 1) - 1.5 * np.clip((t % 3600 - 2400) / 20, 0, 1)
        pulses = -0.05 * ((t % 60) < 0.5)
        x = (40 + daily + switched + pulses + noise).astype(np.float32)
        found += detector.push(0, Block(x, T0, s * FS, rate.numerator, rate.denominator))
    assert found == []


@pytest.mark.parametrize("rate", [64, 128, 250, 1000])
@pytest.mark.parametrize("slope", [0.1, 0.3])
def test_what_is_slow_says_nothing_however_large(rate: int, slope: float) -> None:
    """Pumps that take 3 m in 30 s and in 10 s; noise of 1 cm."""
    t = np.arange(int(60 * rate)) / rate
    x = 40 + slope * np.clip(t - 20, 0, 3 / slope) + np.random.default_rng(1).normal(0, 0.01, (4, t.size))
    detector, _ = transient(["A", "B", "C", "D"], rate)
    assert detector.push(0, Block(x.astype(np.float32), T0, 0, rate, 1)) == []


@pytest.mark.parametrize("rate", [64, 128, 250, 1000])
def test_a_clear_step_is_said_promptly_at_any_rate(rate: int) -> None:
    t, prompt = np.arange(int(20 * rate)) / rate, Steps().prompt_s
    for rise in (0.01, 0.1):
        x = 40 - 0.6 * np.clip((t - 12.34) / rise, 0, 1) + np.random.default_rng(2).normal(0, 0.02, (1, t.size))
        (found,) = transient(["A"], rate)[0].push(0, Block(x.astype(np.float32), T0, 0, rate, 1))
        assert 0 < found.t_ns - (T0 + 12.34 * NS) < (prompt + rise) * NS
        assert found.t_ns - found.onset_ns <= LATENCY_S * NS
        assert abs(found.onset_ns - (T0 + 12.34 * NS)) < 4 * found.evidence["onset_sd_s"] * NS
        assert found.evidence["onset_sd_s"] < max(1.0 / rate, 0.004)


def test_the_end_tells_how_long_the_level_was_another() -> None:
    detector, rate = transient(["J1"], FS, LIMITS)
    *_, ended = play(detector, rate, steps((10.0, -2.0), (13.0, 2.0), n_s=30.0))
    assert not ended.active and ended.evidence["duration_s"] == pytest.approx(3.0, abs=0.1)
    *_, ended = play(*transient(["J1"], FS, LIMITS), steps((10.0, -2.0), n_s=30.0))
    assert not ended.active and ended.evidence == {}, "it stays: no end is known"


def test_a_budget_of_fewer_false_alarms_asks_for_more() -> None:
    """White noise of 10 cm: the smallest step that is reported is 0.32 m at 1,000 a month, 0.42 m at one in a million."""
    x = 40 + np.random.default_rng(4).normal(0, 0.1, (1, 60 * FS))
    x[:, 50 * FS :] -= 0.37
    block, said = Block(x.astype(np.float32), T0, 0, FS, 1), []
    for budget in (1000.0, 1e-6):
        said.append(len(transient(["J1"], FS, TransientParams(false_alarms_per_month=budget))[0].push(0, block)))
    assert said == [1, 0]


def test_samples_are_recalled_as_they_came() -> None:
    x = np.concatenate([steps(n_s=20.0), steps((3.0, -1.0), n_s=20.0)])
    detector, rate = transient(["A", "B"], FS)
    assert detector.recall("a", T0, T0 + NS) is None, "nothing has come"
    play(detector, rate, x, (500, 1777))
    for name, row in (("a", 0), ("b", 1)):
        got = detector.recall(name, T0 + 12 * NS, T0 + 13 * NS)
        assert got is not None and (got.t0_ns, got.rate_hz, got.x.dtype) == (T0 + 12 * NS, FS, np.float32)
        assert np.array_equal(got.x, x[row, 12 * FS : 13 * FS])
    late = detector.recall("b", T0 + 12 * NS + 1, T0 + 99 * NS)
    assert late is not None and late.t0_ns == T0 + (12 * FS + 1) * NS // FS and np.array_equal(late.x, x[1, 12 * FS + 1 :])
    early = detector.recall("a", T0, T0 + 99 * NS)
    assert early is not None and 12 * FS <= len(early.x) < 13 * FS and np.array_equal(early.x, x[0, -len(early.x) :])
    assert detector.recall("c", T0, T0 + 99 * NS) is None and detector.recall("a", T0, T0 + NS) is None
    assert detector.recall("a", T0 + 15 * NS, T0 + 15 * NS) is None and detector.recall("a", T0 + 20 * NS, T0 + 21 * NS) is None
    other, _ = transient(["A", "B"], FS)
    other.load(msgpack.unpackb(msgpack.packb(detector.save())))
    again = other.recall("b", T0 + 12 * NS + 1, T0 + 99 * NS)
    assert again is not None and again.t0_ns == late.t0_ns and np.array_equal(again.x, late.x)


@pytest.mark.parametrize(("lost", "bridged"), [(20, True), (99, False)])
def test_a_short_hole_is_missing_samples_and_its_level_goes_on(lost: int, bridged: bool) -> None:
    """A drop within the hole: seen when the hole is shorter than half of rise_s; the samples around it are recalled."""
    x = steps((8.0, -2.0), n_s=12.0)
    a, b = 8 * FS - 5, 8 * FS - 5 + lost
    detector, _ = transient(["J1"], FS, LIMITS)
    found = detector.push(0, Block(x[:, :a].copy(), T0, 0, FS, 1))
    found += detector.gap(0, Break(T0 + b * NS // FS, "gap", lost))
    other, _ = transient(["J1"], FS, LIMITS)
    other.load(msgpack.unpackb(msgpack.packb(detector.save())))
    for one in (detector, other):
        more = one.push(0, Block(x[:, b:].copy(), T0 + b * NS // FS, 0, FS, 1))
        assert [f.active for f in found + more] == [True] * bridged
        assert all(abs(f.onset_ns - (T0 + 8 * NS)) < 0.2 * NS for f in more)
        got = one.recall("j1", T0 + 7 * NS, T0 + 10 * NS)
        expected = x[0, 7 * FS : 10 * FS].copy()
        expected[a - 7 * FS : b - 7 * FS] = np.nan
        assert got is not None and np.array_equal(got.x, expected, equal_nan=True)


def test_parameters_that_do_not_fit_are_refused() -> None:
    for limits, message in [
        ((Limit(severity=2, below=-1.0),), "each limit is above"),
        ((Limit(severity=3, above=1.0), Limit(severity=2, above=5.0)), "severity must rise with the limit"),
    ]:
        with pytest.raises(ValueError, match=message):
            transient(["J1"], FS, TransientParams(limits=limits))
    with pytest.raises(StateError):
        transient(["J1"], FS)[0].load(transient(["J1", "J2"], FS)[0].save())
    with pytest.raises(StateError):
        transient(["J1"], FS)[0].load({})


@needs_pipes
@pytest.mark.data
@pytest.mark.parametrize("name", ["b20", "b36", "b90"])
@pytest.mark.parametrize("seed", range(4))
def test_every_one_of_eight_sensors_says_a_step(name: str, seed: int) -> None:
    """Sensors where the head falls by 0.3 m. JUNCTION-109, between reservoir and pump, sees dips of 50 ms only."""
    r = record(name)
    nodes = sorted(np.random.default_rng(seed).choice([n for n in r.dropping() if n != "JUNCTION-109"], 8, replace=False))
    detector, rate = transient(nodes, r.fs)
    x = r.noisy(nodes, seed)
    found = play(detector, rate, x, tuple(range(0, x.shape[1], 100)))
    first = {f.source: f for f in reversed(found) if f.active}
    assert set(first) == {n.lower() for n in nodes}
    drops = [f.evidence["polarity"] == -1 for f in first.values()]
    assert sum(drops) >= 7, "where the beginning is missed the first motion seen may be a reflection's"
    assert found == play(*transient(nodes, r.fs), x), "however it is cut"


@needs_pipes
@pytest.mark.data
def test_a_pulse_of_demand_says_nothing() -> None:
    r = record("p48")
    for seed in range(3):
        assert play(*transient(list(r.nodes), r.fs), r.noisy(list(r.nodes), seed)) == []


@pytest.mark.parametrize("phi", [0.6, 0.9])
def test_a_morning_of_noise_demand_and_pumps_is_quiet(phi: float, capsys: pytest.CaptureFixture[str]) -> None:
    """The short form of `python -m bench.transient_study quiet`; docs/pipes.md has the long one's result."""
    from bench.transient_study import quiet

    quiet(argparse.Namespace(full=False, days=0.25, phi=[phi], channels=8, sd=0.02, seed=77, show=False))
    told = capsys.readouterr().out
    assert "false alarms in all: 0" in told
    switched = int(told.split(" switchings")[0].split()[-1])
    assert switched > 50
