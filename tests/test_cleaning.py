"""Cleaning: spikes go, events stay, every removed sample is counted, cuts and restarts never show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lifeline_core.config import read_city
from lifeline_core.detectors.cleaned import Clean, Cleaning
from lifeline_core.dsp.cleaning import NEAR, REASONS, Cleaner, Rules, clean
from lifeline_core.engine import Engine
from lifeline_core.errors import ConfigError, StateError
from lifeline_core.model import NS, Block, Break, Channel
from lifeline_core.synth.bridge import bridge_acceleration, impact
from tests.stream import T0, frames, level_city, noise

KEPT, SPIKE, RANGE, STUCK = range(4)
DEFAULT = Rules()
Floats = NDArray[np.float32]


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def deck(n: int = 6000, seed: int = 1) -> NDArray[np.float64]:
    draw = rng(seed)
    return bridge_acceleration(n, 100.0, f_hz=(0.9, 2.6, 8.0), damping=(0.01,) * 3, shapes=draw.normal(size=(3, 3)), rms=1.0,
                               rng=draw, noise=0.05)


def marks_of(x: Any, rules: Rules = DEFAULT, ranges: Any = None) -> NDArray[np.uint8]:
    return clean(np.atleast_2d(np.asarray(x, np.float32)), rules, ranges)[1]


def places(marks: NDArray[np.uint8], reason: int = SPIKE) -> list[int]:
    return np.flatnonzero(marks[0] == reason).tolist()


# -- the rules, slowly ---------------------------------------------------------------------------------------------------


def judge(x: Floats, j: int, rules: Rules) -> bool:
    """What kernels/spikes.h does, from its description: one sample, one window."""
    ahead, half, near = rules.delay_samples, rules.window, min(NEAR, rules.delay_samples)
    first, last = max(0, j + ahead - half + 1), min(len(x) - 1, j + ahead)

    def at(values: NDArray[np.float64], i: int, low: int, high: int) -> float:
        return float(values[i]) if low <= i <= high else float("nan")

    wide = x.astype(np.float64)
    r = np.full(len(x), np.nan, np.float32)
    r[1:-1] = (wide[1:-1] - 0.5 * (wide[:-2] + wide[2:])).astype(np.float32)
    steps = np.abs(np.diff(wide[first : last + 1]))
    quantum = float(np.min(steps[steps > 0], initial=np.inf))
    quantum = 0.0 if quantum == np.inf else quantum

    def bound(values: Floats, dev: float, median: float) -> float:
        held = values[np.isfinite(values)]
        mad = float(np.median(np.abs(held - np.float32(median))))
        b = max(1.4826 * rules.threshold * mad, rules.floor)
        b = max(b, 0.0 if rules.floor else rules.threshold * quantum)
        return b if dev > max(b, rules.floor) and b > 0 else 0.0

    def level(dev: float, b: float) -> float:
        return min(0.5 * dev, max(0.25 * dev, 3 * b / rules.threshold))

    window = x[first : last + 1]
    if not np.isfinite(x[j]) or np.isfinite(window).sum() < rules.window // 2 + 1:
        return False
    median = float(np.median(window[np.isfinite(window)]))
    dev = abs(float(x[j]) - median)
    b = bound(window, dev, median)
    if b:
        low = high = j
        while abs(at(wide, low - 1, first, last) - median) > b:
            low -= 1
        while abs(at(wide, high + 1, first, last) - median) > b:
            high += 1
        sides = [next((at(wide, i + way * k, first, last) for k in range(1, rules.max_run + 2)
                       if np.isfinite(at(wide, i + way * k, first, last))), np.nan) for i, way in ((low, -1), (high, 1))]
        back = all(abs(side - median) <= 0.5 * dev for side in sides)
        others = sum(abs(at(wide, i, first, last) - median) > level(dev, b) for i in range(j - near, j + near + 1)
                     if not low <= i <= high)
        if high - low < rules.max_run and back and others <= 1:
            return True
    needles = r[max(0, j + ahead - half) : last + 1].copy()  # that of the newest sample is not known yet
    needles[-1] = np.nan
    if not np.isfinite(r[j]) or np.isfinite(needles).sum() < rules.window // 2 + 1:
        return False
    median, high_r = float(np.median(needles[np.isfinite(needles)])), abs(float(r[j]))
    b = bound(needles, abs(float(r[j]) - median), median)
    if not b:
        return False
    a, before, after, e = (at(wide, j + k, first, last) for k in (-2, -1, 1, 2))
    line = (e - a) / 4
    slope, third = after - before, high_r / 3
    smooth = abs(slope) <= 0.75 * high_r and abs(2 * line - slope) <= third
    smooth = smooth and abs(before - a - line) <= third and abs(e - line - after) <= third
    lonely = sum(abs(at(r.astype(np.float64), i, first, last - 1)) > level(high_r, b) for i in range(j - near, j + near + 1)
                 if not j - 1 <= i <= j + 1) <= 1
    return bool(smooth and lonely)


@pytest.mark.parametrize(
    "rules", [Rules(window=31), Rules(window=21, threshold=3.0, max_run=2), Rules(window=41, ahead=6, floor=9.0)]
)
def test_the_kernel_does_what_is_written(rules: Rules) -> None:
    draw = rng(3)
    x = np.round(draw.normal(0, 8, 1500) + 40 * np.sin(np.arange(1500) / 20)) / 4  # sums and halves of these are exact
    x[draw.integers(0, 1500, 40)] += draw.choice([-30, 15, 60], 40)
    x[600:700] = 3.25
    x[650] = 40.0
    x[draw.integers(0, 1500, 30)] = np.nan
    x = x.astype(np.float32)
    got = marks_of(x, rules)[0] == SPIKE
    inner = slice(2, 1500 - rules.delay_samples)  # at the end the window of needles is not quite the one described
    want = np.array([judge(x, j, rules) for j in range(1500)])
    assert want[inner].sum() >= 20
    assert np.flatnonzero(got[inner] != want[inner]).tolist() == []


# -- what goes and what stays --------------------------------------------------------------------------------------------


def test_spikes_go_alone_and_up_to_three_in_a_row() -> None:
    x = deck()[:1]
    x[0, [1000, 2000, 2001, 3000, 3001, 3002]] += 30.0
    x[0, 4000:4004] += 30.0
    assert places(marks_of(x)) == [1000, 2000, 2001, 3000, 3001, 3002]


def test_a_small_spike_on_a_smooth_course_goes() -> None:
    x = 10.0 * np.sin(np.arange(3000) / 90.0) + rng().normal(0, 0.01, 3000)
    x[1500] += 0.5  # a twentieth of the swing, fifty times the noise
    assert places(marks_of(x)) == [1500]


@pytest.mark.parametrize("f_hz", [2.0, 4.0, 8.0, 12.0])
@pytest.mark.parametrize("peak", [10.0, 30.0])
def test_no_sample_of_a_blow_goes(f_hz: float, peak: float) -> None:
    for at in np.linspace(20.0, 20.01, 4).tolist():
        x = deck() + impact(6000, 100.0, at_s=at, peak=peak, f_hz=f_hz)
        assert not (marks_of(x)[:, 1990:2400] == SPIKE).any()


def test_no_sample_of_a_passage_or_a_step_goes() -> None:
    t = np.arange(6000) / 100.0
    x = rng().normal(0, 0.2, (4, 6000))
    for row, width in zip(x, (0.1, 0.3, 1.0, 3.0), strict=True):
        row += 40.0 * np.exp(-(((t - 20.0) / width) ** 2)) + 10.0 * (t > 45.0)
    marks = marks_of(x)
    assert not (marks[:, 1500:2500] == SPIKE).any()
    assert not (marks[:, 4400:4600] == SPIKE).any()


def test_few_good_samples_go() -> None:
    assert (marks_of(rng(5).normal(size=(4, 50_000))) == SPIKE).mean() < 1e-4
    assert (marks_of(deck(50_000)) == SPIKE).mean() < 5e-5


def test_counts_of_a_coarse_sensor_are_no_spikes() -> None:
    x = np.full(2000, 20.0)
    x[rng().integers(0, 2000, 60)] += 0.1
    assert places(marks_of(x)) == []
    x[1000] = 25.0
    assert places(marks_of(x)) == [1000]


def test_a_channel_that_never_moved_has_no_scale_but_a_floor() -> None:
    x = np.zeros(500)
    x[250] = 7.0
    assert places(marks_of(x)) == []
    assert places(marks_of(x, Rules(floor=5.0))) == [250]
    assert places(marks_of(x, Rules(floor=8.0))) == []


def test_impossible_values_go_and_spoil_nothing() -> None:
    x = deck()[:1]
    x[0, 1000], x[0, 1001], x[0, 2000], x[0, 3000:3020] = np.inf, 999.0, -999.0, 1e30
    y, marks = clean(x.astype(np.float32), Rules(), [(-50.0, 50.0)])
    assert places(marks, RANGE) == [1000, 1001, 2000, *range(3000, 3020)]
    assert np.isnan(y[0, 1000:1002]).all() and np.isfinite(y[0, 1002:2000]).all()
    assert places(marks_of([1.0, np.nan, 2.0]), RANGE) == []  # missing is not removed


def test_a_still_stand_goes_as_far_back_as_it_is_held() -> None:
    x = deck()[:1]
    x[0, 1000:1100], x[0, 2000:2010], x[0, 3000:3300] = 0.5, 0.25, 0.125
    assert places(marks_of(x, Rules(stuck=40)), STUCK) == [*range(1000, 1100), *range(3000, 3300)]
    late = places(marks_of(x, Rules(stuck=150)), STUCK)
    assert late == list(range(3000 + 149 - 50, 3300))


def test_filled_where_asked() -> None:
    x = np.arange(1000.0) + rng().normal(0, 0.01, 1000)
    y = x.copy()
    y[500], y[700] = 4000.0, -4000.0
    got, marks = clean(y[None].astype(np.float32), Rules(fill=True), [(-1000.0, 1e6)])
    assert (marks[0, 500], marks[0, 700]) == (SPIKE, RANGE)
    assert got[0] == pytest.approx(x, abs=0.1)


def test_nothing_is_said_of_nothing() -> None:
    assert np.isnan(clean(np.full((2, 300), np.nan, np.float32))[0]).all()
    assert marks_of(np.full((2, 300), np.nan)).max() == KEPT
    assert clean(np.empty((2, 0), np.float32))[0].shape == (2, 0)
    y, marks = clean(np.float32([[1.0, 900.0, 1.0]]))
    assert y.tolist() == [[1.0, 900.0, 1.0]] and marks.max() == KEPT  # too little to judge by


def troubled() -> tuple[Floats, Rules, list[Any]]:
    x = np.round(deck(2000) * 64).astype(np.float32) / 64
    x[0, 500], x[1, 700:703], x[2, 900:1000] = 30, 20, 0.5
    x[0, 1500:1502], x[1, 1200], x[2, 1300] = (np.nan, 25), 99, np.inf
    return x, Rules(stuck=20), [None, (-50, 50), None]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 1999), max_size=20), st.booleans())
def test_cuts_and_restarts_never_show(cuts: list[int], restart: bool) -> None:
    x, rules, ranges = troubled()
    want = clean(x, rules, ranges)
    c, parts = Cleaner(3, rules, ranges), []
    for piece in np.split(x, sorted(set(cuts)), axis=1):
        parts.append(c.push(piece))
        if restart:
            state = c.save()
            c = Cleaner(3, rules, ranges)
            c.load(state)
            assert c.save() == state
    parts.append(c.flush())
    for i in (0, 1):
        np.testing.assert_array_equal(np.concatenate([p[i] for p in parts], axis=1), want[i])
    assert c.counts[:, 1:].tolist() == [[(want[1][row] == r).sum() for r in (1, 2, 3)] for row in range(3)]
    assert c.counts.sum() == x.size


def test_foreign_state_is_refused() -> None:
    c = Cleaner(2)
    state = c.save()
    for other in (Cleaner(3), Cleaner(2, Rules(window=51)), Cleaner(2, Rules(), [None, (0, 1)])):
        with pytest.raises(StateError):
            other.load(state)
    for damaged in (b"", state[:-1], b"LLxx" + state[4:]):
        with pytest.raises(StateError):
            c.load(damaged)


@pytest.mark.parametrize(("keys", "rule"), [
    ({"window": 100}, "window: must be an odd number"), ({"window": 9}, "window: must be an odd number"),
    ({"threshold": 0.0}, "threshold: must be above 0"), ({"threshold": float("nan")}, "threshold: must be above 0"),
    ({"max_run": 6}, "max_run: must be from 1 to 5"), ({"ahead": 4}, "ahead: must be 0 or from 5 to 50"),
    ({"ahead": 51}, "ahead: must be 0 or from 5 to 50"), ({"floor": -1.0}, "floor: must be 0 or more"),
    ({"stuck": 1}, "stuck: must be 0 or at least 2"),
])  # fmt: skip
def test_rules_outside_their_rule_are_refused(keys: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Rules(**keys)


def test_bad_rows_and_ranges_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        Cleaner(0)
    with pytest.raises(ValueError, match="low before high"):
        Cleaner(1, Rules(), [(1.0, 0.0)])
    with pytest.raises(ValueError, match="float32"):
        Cleaner(1).push(np.zeros((1, 5)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rows"):
        Cleaner(2).push(np.zeros((1, 5), np.float32))


# -- the stage before a detector -----------------------------------------------------------------------------------------


def channels(rate: float | None = 100.0, **more: Any) -> tuple[Channel, ...]:
    return tuple(Channel(name=f"c{i}", site="s", device=1, channel=i, rate_hz=rate, **more) for i in range(3))


def test_samples_keep_their_times_flags_and_seams() -> None:
    stage, x = Cleaning(Clean(), [channels()]), deck(900).astype(np.float32)
    out: list[Block | Break] = []
    for begin, end, flags in ((0, 300, 1), (300, 400, 3), (400, 410, 1)):
        out += stage.take(0, 0, Block(x[:, begin:end], T0, begin, 100, 1, None, (0.0,) * 3, flags))
    assert sum(b.n for b in out if isinstance(b, Block)) == 410 - 50
    out += stage.take(0, 0, Break(T0 + 10 * NS, "gap", 90))
    out += stage.take(0, 0, Block(x[:, 500:900], T0 + 3 * NS, 200, 100, 1, None, (0.0,) * 3, 1))
    out += [block for _, _, block in stage.flush()]
    assert [type(p) for p in out].count(Break) == 1
    seam = next(i for i, p in enumerate(out) if isinstance(p, Break))
    got = [(p.time_ns(i), p.flags, p.x[0, i]) for p in out if isinstance(p, Block) for i in range(p.n)]
    assert sum(p.n for p in out[:seam] if isinstance(p, Block)) == 410
    times = [T0 + i * NS // 100 for i in range(410)] + [T0 + 3 * NS + (200 + i) * NS // 100 for i in range(400)]
    assert [t for t, _, _ in got] == times
    assert [f for _, f, _ in got[:410]] == [1] * 300 + [3] * 100 + [1] * 10
    assert np.allclose([v for _, _, v in got], np.concatenate([x[0, :410], x[0, 500:]]), equal_nan=False)


def test_irregular_channels_wait_for_nothing_unless_told_to() -> None:
    alone = (channels(None, range=(-40.0, 60.0))[0],)
    t_ns = T0 + np.arange(100, dtype=np.int64) * 600 * NS
    x = (20 + rng().normal(0, 0.2, (1, 100))).astype(np.float32)
    x[0, 50], x[0, 70] = 35.0, 900.0
    block = Block(x, 0, 0, 1, 1, t_ns)
    for keys, delay, gone in (({}, 0, [0, 1]), ({"ahead": 5, "window": 21}, 5, [1, 1])):
        stage = Cleaning(Clean(**keys), [alone])
        out = [p for p in stage.take(0, 0, block) if isinstance(p, Block)]
        assert sum(b.n for b in out) == 100 - delay
        assert out[0].t_ns is not None and out[0].t_ns.tolist() == t_ns[: 100 - delay].tolist()
        assert stage.removed() == {"c0": [*gone, 0]}


def test_counts_outlive_other_groups() -> None:
    stage, x = Cleaning(Clean(), [channels()]), deck(900).astype(np.float32)
    x[1, 400] = 99.0
    stage.take(0, 0, Block(x, T0, 0, 100, 1))
    stage.regroup([channels()[:2], channels()[2:]])
    assert stage.removed()["c1"] == [1, 0, 0]
    stage.take(0, 0, Block(x[:2], T0, 0, 100, 1))
    assert stage.removed()["c1"] == [2, 0, 0]
    with pytest.raises(StateError):
        stage.load(Cleaning(Clean(), [channels()]).save())


# -- in the engine -------------------------------------------------------------------------------------------------------


def cleaned_city(**keys: Any) -> Any:
    city = level_city(2)
    watches = {"w": msgspec.structs.replace(city.watches["w"], clean=Clean(**keys))}
    return msgspec.structs.replace(city, watches=watches)


def spiky() -> Floats:
    x = noise(2, 600)
    x[0, [150, 300]], x[1, 302] = 60, 80
    x[0, 400:420] += 30
    return x


def test_a_spike_is_no_alarm_any_more_and_is_counted() -> None:
    raw, engine = Engine(level_city(2)), Engine(cleaned_city())
    alarms = raw.push(frames(spiky(), range(10, 600, 10)))
    assert {a.onset_ns for a in alarms} >= {T0 + 15 * NS, T0 + 30 * NS}
    alarms = engine.push(frames(spiky(), range(10, 600, 10))) + engine.flush()
    assert {a.onset_ns for a in alarms} and min(a.onset_ns for a in alarms) >= T0 + 40 * NS
    assert engine.removed() == {"w": {"c0": [2, 0, 0], "c1": [1, 0, 0]}}
    assert engine.stats()["removed_spike"] == 3
    assert (engine.stats()["removed_range"], engine.stats()["removed_stuck"]) == (0, 0)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 599), max_size=15), st.booleans())
def test_cuts_and_restarts_of_the_engine_never_show(cuts: list[int], restart: bool) -> None:
    city = cleaned_city(window=51)
    whole = Engine(city)
    want = whole.push(frames(spiky(), [])) + whole.flush()
    engine, got = Engine(city), []
    for frame in frames(spiky(), cuts):
        got += engine.push(frame)
        if restart:
            engine = Engine.restore(city, engine.save())
            assert engine.load_notes == []
    assert got + engine.flush() == want
    assert engine.removed() == whole.removed()


def test_who_does_not_ask_gets_what_he_got() -> None:
    engine = Engine(level_city(2))
    engine.push(frames(spiky(), []))
    assert engine.removed() == {}
    assert engine.stats()["removed_spike"] == 0


# -- in the configuration ------------------------------------------------------------------------------------------------

CITY = """
[service]
health = false
{service}
[site.b]
domain = "bridge"
[channel.a]
site = "b"
device = 1
channel = 0
unit = "{unit}"
rate_hz = 100.0
[watch.w]
site = "b"
channels = ["a"]
{watch}
"""
LEVEL = 'detector = "level"\nlimits = [{severity = 2, above = 1.0}]\n'


def read(watch: str, *, unit: str = "m", service: str = "", base: Path = Path(".")) -> Any:
    return read_city(CITY.format(watch=watch, unit=unit, service=service), base=base).watches["w"].clean


def test_any_watch_may_ask_for_it() -> None:
    assert read(LEVEL) is None
    assert read(LEVEL + "clean = true") == Clean()
    assert read(LEVEL + "clean = false") is None
    assert read(LEVEL + "clean = {window = 51, stuck_s = 60}") == Clean(window=51, stuck_s=60.0)
    assert read(LEVEL + "[watch.w.clean]\nthreshold = 6\nrange = [-5, 5]") == Clean(threshold=6.0, range=(-5.0, 5.0))


@pytest.mark.parametrize(("clean", "fault"), [
    ("{window = 50}", "watch.w.clean.window: must be an odd number of samples from 11 to 4095, is 50"),
    ("{window = 5}", "watch.w.clean.window: must be"), ("{treshold = 3}", "did you mean threshold?"),
    ("{ahead = 2}", "watch.w.clean.ahead: must be 0 or from 5 to 50 samples, is 2"),
    ("{range = [3, 1]}", "watch.w.clean.range: must be ordered, low before high"), ('{fill = "zero"}', "watch.w.clean.fill: "),
    ("3", "watch.w.clean: "),
])  # fmt: skip
def test_faults_have_their_path(clean: str, fault: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(LEVEL + f"clean = {clean}")
    assert any(fault in line for line in error.value.faults), error.value.faults


@pytest.mark.parametrize("detector", ["health", "quality"])
def test_who_looks_for_spikes_gets_them(detector: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(f'detector = "{detector}"\nclean = true')
    assert any("watch.w.clean: must be left out" in line for line in error.value.faults)


def test_a_profile_may_carry_it(tmp_path: Path) -> None:
    text = 'domain = "rods"\n[profile.gauge]\ndetector = "level"\nunit = "m"\nsource = "here"\n[profile.gauge.defaults]\n' \
           'limits = [{{severity = 2, above = 1.0}}]\nclean = {{window = {window}}}\n'
    (tmp_path / "rods.toml").write_text(text.format(window=31))
    service = f'profiles_dir = "{tmp_path}"'
    assert read('profile = "rods.gauge"', service=service) == Clean(window=31)
    assert read('profile = "rods.gauge"\nclean = {window = 41}', service=service) == Clean(window=41)
    assert read('profile = "rods.gauge"\nclean = false', service=service) is None
    (tmp_path / "rods.toml").write_text(text.format(window='"wide"'))
    with pytest.raises(ConfigError) as error:
        read('profile = "rods.gauge"', service=service)
    assert any("watch.w.clean.window" in line and "rods.gauge" in line for line in error.value.faults)


def test_reasons_have_their_names() -> None:
    assert REASONS == ("kept", "spike", "range", "stuck")
