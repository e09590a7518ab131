"""Shocks: a recorded earthquake against ObsPy's pick, impacts and traffic made by hand, and what is refused."""

from __future__ import annotations

import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from obspy.signal.trigger import aic_simple, recursive_sta_lta
from scipy import signal

from lifeline_core.bridges.intensity import instrumental_intensity
from lifeline_core.detectors.base import Group
from lifeline_core.detectors.shock import Shock, ShockParams
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Break, Channel, Finding, Site, Watch
from lifeline_core.store import csmip

RECORD = Path(__file__).parents[2] / "shared/data/bridges/painter_street/nc73821036_ce89324p.zip"
T0 = 1_671_532_441 * NS
E1_E2 = [{"severity": 3, "above": 1.0}, {"severity": 4, "above": 1.7}]


def shock(rows: int = 1, fs: float = 100.0, **keys: Any) -> Shock:
    channels = tuple(Channel(name=f"c{i}", site="s", device=1, channel=i, unit="m/s2", rate_hz=fs) for i in range(rows))
    params = msgspec.convert(keys, ShockParams)
    watch = Watch(name="w", site="s", channels=tuple(c.name for c in channels), detector="shock", params=params)
    return Shock(watch, [Group(channels, fs)], Site(name="s", domain="bridge"))


def feed(d: Shock, x: NDArray[Any], start: int = 0, t0_ns: int = T0, fs: int = 100) -> list[Finding]:
    """In blocks of a second."""
    out = []
    x = np.atleast_2d(x).astype(np.float32)
    for a in range(0, x.shape[1], fs):
        out += d.push(0, Block(np.ascontiguousarray(x[:, a : a + fs]), t0_ns, start + a, fs, 1))
    return out


def seconds(t_ns: int, t0_ns: int = T0) -> float:
    return (t_ns - t0_ns) / NS


def quiet(n: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0, 0.005, n)


def ring(n: int, at: int, peak: float, f_hz: float = 4.0, decay_s: float = 1.5, fs: float = 100.0) -> NDArray[np.float64]:
    """A structure that was struck: a decaying cosine, whose first sample is the peak."""
    t = np.arange(n - at) / fs
    return np.concatenate([np.zeros(at), peak * np.exp(-t / decay_s) * np.cos(2 * np.pi * f_hz * t)])


@pytest.fixture(scope="module")
def painter() -> list[csmip.Trace]:
    if not RECORD.exists():
        pytest.skip(f"no recording at {RECORD}")
    with zipfile.ZipFile(RECORD) as z:
        return [csmip.parse(z.read(name).decode("latin-1")) for name in sorted(z.namelist()) if name.lower().endswith(".v2")]


@pytest.mark.data
def test_the_record_is_read(painter: list[csmip.Trace]) -> None:
    assert [t.channel for t in painter] == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17]
    first = painter[0]
    assert (first.unit, first.rate_hz) == ("cm/s2", 100.0)
    assert first.x.shape == (11346,)
    assert np.abs(first.x).max() == pytest.approx(664.498, abs=1e-3)  # as its header says
    assert np.abs(first.x).argmax() == pytest.approx(3672, abs=1)


@pytest.mark.data
@pytest.mark.parametrize("limits", [E1_E2, []])
def test_painter_street(painter: list[csmip.Trace], limits: list[dict[str, Any]]) -> None:
    """Each channel: one episode, its onset within 0.2 s of ObsPy's trigger and pick of the earthquake, nothing before."""
    x = np.stack([0.01 * t.x for t in painter]).astype(np.float32)  # m/s2
    found = feed(shock(len(x), limits=limits), x)
    for row in range(len(x)):
        mine = [f for f in found if f.source == f"c{row}"]
        y = signal.sosfilt(signal.butter(2, 0.1, "highpass", fs=100, output="sos"), x[row].astype(float))
        # weak motion some 10 s earlier triggers on some channels; the earthquake is the first trigger after 25 s
        trigger = 2500 + int(np.argmax(recursive_sta_lta(y, 50, 1000)[2500:] >= 4))
        pick = (trigger - 300 + int(np.argmin(aic_simple(y[trigger - 300 : trigger + 100])))) / 100
        assert mine[0].active
        assert seconds(mine[0].onset_ns) == pytest.approx(pick, abs=0.2)
        assert all(f.onset_ns == mine[0].onset_ns for f in mine)
        assert [f.active for f in mine] == [True] * (len(mine) - 1) + [False]
        severities = [f.severity for f in mine]
        assert severities == sorted(severities)
        assert severities[-1] == (4 if limits else 1)
        assert mine[-1].value == pytest.approx(np.abs(y).max(), rel=1e-4)  # the filter begins at rest on the first sample
        assert 8 < mine[-1].evidence["duration_s"] < 40


def test_an_impact_by_hand() -> None:
    found = feed(shock(limits=E1_E2), quiet(4000) + ring(4000, 2000, 2.4))
    assert [(f.active, f.severity) for f in found] == [(True, 4), (False, 4)]
    hit, end = found
    assert seconds(hit.onset_ns) == 20.0
    assert seconds(hit.t_ns) == 21.0  # the trigger is on at once; after_s later the pick is made
    assert hit.value == pytest.approx(2.4, rel=0.02)
    assert (hit.limit, hit.unit, hit.source) == (1.7, "m/s2", "c0")
    assert hit.score == pytest.approx(2.4 / 1.7, rel=0.02)
    assert hit.evidence["pick"] > 0.5
    assert end.evidence["duration_s"] == seconds(end.t_ns) - 20.0
    assert msgpack.unpackb(msgpack.packb(dict(end.evidence))) == end.evidence


def test_severity_rises_with_the_peak_and_the_onset_stays() -> None:
    """A weak beginning, then limits reached one after the other."""
    n = 6000
    envelope = np.interp(np.arange(n), [2000, 2001, 2600, 3000, 6000], [0, 0.2, 0.2, 3.0, 0.0])
    found = feed(shock(limits=E1_E2), quiet(n) + envelope * np.sin(2 * np.pi * 5 * np.arange(n) / 100))
    assert [(f.active, f.severity) for f in found] == [(True, 3), (True, 4), (False, 4)]
    assert all(seconds(f.onset_ns) == pytest.approx(20.0, abs=0.05) for f in found)
    assert found[0].value == pytest.approx(1.0, rel=0.15)
    assert seconds(found[0].t_ns) > 26
    assert found[2].value > found[1].value


def test_traffic_alone_does_not_alarm() -> None:
    """A vehicle every 15 s: triggers, but stays below the lowest limit."""
    x = quiet(12_000)
    for at in range(1500, 12_000, 1500):
        hump = np.exp(-0.5 * ((np.arange(12_000) - at) / 40) ** 2)
        x = x + 0.4 * hump * np.random.default_rng(at).normal(0, 1, 12_000).clip(-2, 2)
    assert np.abs(x).max() > 0.5
    assert feed(shock(limits=E1_E2), x) == []
    assert len([f for f in feed(shock(min_peak=0.3), x) if f.active]) >= 5


def test_gravity_and_drift_are_taken_off() -> None:
    drift = np.linspace(0, 3, 6000)
    assert feed(shock(limits=E1_E2), 9.81 + drift + quiet(6000)) == []
    found = feed(shock(limits=E1_E2), 9.81 + drift + quiet(6000) + ring(6000, 3000, 2.4))
    assert seconds(found[0].onset_ns) == 30.0
    assert found[0].value == pytest.approx(2.4, rel=0.03)


def test_nothing_triggers_in_the_first_long_average() -> None:
    x = quiet(3000) + ring(3000, 500, 5.0)
    assert feed(shock(limits=E1_E2), x) == []
    assert feed(shock(limits=E1_E2, lta_s=4.0), x)


def test_every_trigger_counts_where_there_is_neither_limit_nor_least_peak() -> None:
    found = feed(shock(min_peak=0.0), quiet(4000) + ring(4000, 2000, 0.05))
    assert [(f.active, f.severity, f.limit) for f in found] == [(True, 1, None), (False, 1, None)]
    assert found[0].score == found[0].evidence["ratio"] / 4.0


def test_samples_that_are_not_finite_are_passed_over() -> None:
    x = quiet(4000) + ring(4000, 2000, 2.4)
    x[1995:1998], x[2010], x[100] = np.nan, np.inf, -np.inf
    found = feed(shock(limits=E1_E2), x)
    assert [(f.active, f.severity) for f in found] == [(True, 4), (False, 4)]
    assert seconds(found[0].onset_ns) == pytest.approx(20.0, abs=0.05)
    x[:] = np.nan
    assert feed(shock(limits=E1_E2), x) == []


def test_a_long_break_ends_an_episode_and_begins_anew() -> None:
    d = shock(limits=E1_E2)
    assert len(feed(d, quiet(2200) + ring(2200, 2000, 2.4))) == 1
    ended = d.gap(0, Break(T0 + 60 * NS, "gap", 3800))
    assert [(f.active, seconds(f.t_ns)) for f in ended] == [(False, 21.99)]
    # warm-up again: a shock in the first ten seconds is not seen, one after them is
    assert feed(d, quiet(900) + ring(900, 300, 5.0), 6000) == []
    later = feed(d, quiet(3000) + ring(3000, 2500, 5.0), 6900)
    assert [seconds(f.onset_ns) for f in later] == [94.0]


def test_a_short_gap_is_passed_over() -> None:
    d = shock(limits=E1_E2)
    feed(d, quiet(2000))
    assert d.gap(0, Break(T0 + 20 * NS + NS // 2, "gap", 50)) == []
    found = feed(d, quiet(1000) + ring(1000, 200, 2.4), 2050)
    assert [seconds(f.onset_ns) for f in found if f.active] == [22.5]
    d = shock(limits=E1_E2)
    feed(d, quiet(2000))
    d.gap(0, Break(T0 + 20 * NS + NS // 2, "epoch"))
    assert feed(d, quiet(1000) + ring(1000, 200, 2.4), 2050) == []  # another epoch is no gap


def test_a_pick_is_made_at_the_end_of_the_stream() -> None:
    x = quiet(2050) + ring(2050, 2000, 2.4)
    d = shock(limits=E1_E2)
    assert feed(d, x) == []
    (found,) = d.flush()
    assert (found.active, seconds(found.onset_ns), seconds(found.t_ns)) == (True, 20.0, 20.49)
    assert d.flush() == []


def test_cuts_and_restarts_do_not_show() -> None:
    rng = np.random.default_rng(1)
    x = np.stack([quiet(5000, i) + ring(5000, 1800 + 7 * i, 1.2) + ring(5000, 2100, 2.0) for i in range(3)])
    x = x.astype(np.float32)
    whole = shock(3, limits=E1_E2).push(0, Block(x, T0, 0, 100, 1))
    assert len(whole) == 9
    for size in (1, 37, 400):
        cuts = sorted({0, 5000, *np.clip(np.cumsum(rng.integers(1, 2 * size + 1, 5000 // size)), 0, 5000).tolist()})
        d, found = shock(3, limits=E1_E2), []
        for i, (a, b) in enumerate(pairwise(cuts)):
            found += d.push(0, Block(np.ascontiguousarray(x[:, a:b]), T0, a, 100, 1))
            if i % 50 == 0:
                saved, d = msgpack.packb(d.save()), shock(3, limits=E1_E2)
                d.load(msgpack.unpackb(saved))
        assert [repr(f) for f in found] == [repr(f) for f in whole]


def test_what_is_refused() -> None:
    def faults(**keys: Any) -> list[str]:
        return msgspec.convert(keys, ShockParams).faults()

    assert faults() == []
    assert faults(limits=[{"severity": 1, "below": 1.0}]) == ["limits: a peak has limits above only, is below 1.0"]
    assert faults(limits=[{"severity": 1, "above": 0.0}]) == ["limits: a limit must be finite and above 0, is 0.0"]
    assert faults(limits=[{"severity": 3, "above": 1.0}, {"severity": 2, "above": 2.0}]) == [
        "limits: severity must rise with the limit, is 3 at 1.0 and 2 at 2.0"]
    assert faults(sta_s=10.0)[0] == "sta_s: must be below lta_s, are 10.0 and 10.0"
    assert faults(off=4.0) == ["off: must be below on, are 4.0 and 4.0"]
    assert faults(on=20.0) == ["on: the ratio never exceeds lta_s / sta_s = 20, is 20.0"]
    with pytest.raises(ValueError, match="severity must rise"):
        shock(limits=[{"severity": 3, "above": 1.0}, {"severity": 2, "above": 2.0}])
    with pytest.raises(ValueError, match=r"corner frequencies must rise between 0 and fs / 2 = 0\.05 Hz"):
        shock(fs=0.1)


def test_state_of_another_watch_is_refused() -> None:
    d = shock(2, limits=E1_E2)
    feed(d, np.stack([quiet(200), quiet(200)]))
    with pytest.raises(StateError, match="not of groups of"):
        shock(1, limits=E1_E2).load(d.save())
    with pytest.raises(StateError, match="other parameters"):
        shock(2, limits=E1_E2, sta_s=0.4).load(d.save())
    with pytest.raises(StateError, match="damaged"):
        shock(2).load({**d.save(), "events": [[[1] * 20] * 2]})


# ---- several components, intensity ----


def test_the_peak_of_three_components_is_their_vector_s() -> None:
    """0.9 m/s2 on each of three is 1.56: none alone reaches 1.0, together they do. The other place stays silent."""
    x = np.stack([quiet(4000, i) + ring(4000, 2000, 0.9) for i in range(3)] + [quiet(4000, i) for i in range(3, 6)])
    assert feed(shock(6, limits=E1_E2), x) == []
    found = feed(shock(6, limits=E1_E2, components=3), x)
    assert [(f.active, f.severity, f.source) for f in found] == [(True, 3, "c0"), (False, 3, "c0")]
    assert found[0].value == pytest.approx(0.9 * 3**0.5, rel=0.02)
    assert seconds(found[0].onset_ns) == pytest.approx(20.0, abs=0.02)
    assert found[0].evidence["channels"] == ["c0", "c1", "c2"]
    assert found[0].evidence["relation"] == "exceeds" and found[1].evidence["relation"] == "within"


def test_a_dead_component_leaves_the_others() -> None:
    x = np.stack([quiet(4000) + ring(4000, 2000, 2.4), quiet(4000, 1), np.full(4000, np.nan)])
    found = feed(shock(3, limits=E1_E2, components=3), x)
    assert [(f.active, f.severity) for f in found] == [(True, 4), (False, 4)]
    assert found[0].value == pytest.approx(2.4, rel=0.02)


def test_components_that_do_not_come_together_are_places_by_themselves() -> None:
    """A device may send its channels in separate streams: no error then, each channel's own peak."""
    channels = tuple(Channel(name=f"c{i}", site="s", device=1, channel=i, unit="m/s2", rate_hz=100.0) for i in range(3))
    params = msgspec.convert({"limits": E1_E2, "components": 3}, ShockParams)
    watch = Watch(name="w", site="s", channels=("c0", "c1", "c2"), detector="shock", params=params)
    d = Shock(watch, [Group(channels[:2], 100.0), Group(channels[2:], 100.0)], Site(name="s", domain="bridge"))
    x = np.stack([quiet(4000, i) + ring(4000, 2000, 0.9) for i in range(2)]).astype(np.float32)
    found = d.push(0, Block(x, T0, 0, 100, 1)) + d.push(1, Block(x[:1], T0, 0, 100, 1))
    assert [(f.source, f.severity) for f in found if f.active] == [("c0", 3)]
    assert found[0].evidence["channels"] == ["c0", "c1"]


def test_intensity_is_told_and_follows_the_motion() -> None:
    x = quiet(6000) + ring(6000, 3000, 2.4, f_hz=2.0)
    raised, ended = feed(shock(limits=E1_E2, intensity="gb17742-2020"), x)
    assert raised.evidence["pga"] == pytest.approx(2.4, rel=0.2)
    assert raised.evidence["pgv"] == pytest.approx(2.4 / (2 * np.pi * 2.0), rel=0.25)
    assert raised.evidence["intensity"] == instrumental_intensity(raised.evidence["pga"], raised.evidence["pgv"])
    assert 7.0 < raised.evidence["intensity"] < 8.5 and raised.evidence["components"] == 1
    assert ended.evidence["intensity"] >= raised.evidence["intensity"]
    assert "intensity" not in feed(shock(limits=E1_E2), x)[0].evidence


def test_vector_and_intensity_over_cuts_restarts_and_gaps() -> None:
    keys: dict[str, Any] = {"limits": E1_E2, "components": 3, "intensity": "gb17742-2020"}
    x = np.stack([quiet(6000, i) + ring(6000, 1800 + 7 * i, 1.2) for i in range(3)]).astype(np.float32)
    x[1, 1900:1950] = np.nan

    def play(cuts: list[int], save: bool) -> list[str]:
        d, out = shock(3, **keys), []
        for a, b in pairwise(sorted({0, 2500, 6000, *cuts})):
            if a == 2500:
                out += d.gap(0, Break(T0 + 60 * NS, "gap", 3500))
            t0 = T0 if a < 2500 else T0 + 35 * NS
            out += d.push(0, Block(np.ascontiguousarray(x[:, a:b]), t0, a, 100, 1))
            if save:
                state, d = msgpack.packb(d.save()), shock(3, **keys)
                d.load(msgpack.unpackb(state))
        return [repr(f) for f in out]

    whole = play([], save=False)
    assert len(whole) == 2
    assert play([1, 17, 1801, 1807, 1900, 2100, 2501, 5000], save=True) == whole


def test_what_components_and_intensity_refuse() -> None:
    with pytest.raises(ValueError, match="components: the number of channels must be a multiple of it, are 4 and 3"):
        shock(4, components=3)
    with pytest.raises(ValueError, match="intensity: needs more than 20 samples a second, the channels have 20"):
        shock(fs=20.0, intensity="gb17742-2020")
    channel = (Channel(name="c0", site="s", device=1, channel=0, unit="g", rate_hz=100.0),)
    params = msgspec.convert({"intensity": "gb17742-2020"}, ShockParams)
    watch = Watch(name="w", site="s", channels=("c0",), detector="shock", params=params)
    with pytest.raises(ValueError, match="intensity: channels must be in m/s2, one is in g"):
        Shock(watch, [Group(channel, 100.0)], Site(name="s", domain="bridge"))
    d = shock(limits=E1_E2, intensity="gb17742-2020")
    feed(d, quiet(200))
    with pytest.raises(StateError, match="another choice of intensity"):
        shock(limits=E1_E2).load(d.save())


@pytest.mark.data
def test_painter_street_s_intensity_is_that_of_the_whole_record(painter: list[csmip.Trace]) -> None:
    """Three channels as one place, against the whole arrays: scipy's band-pass, summed by trapezoids."""
    x = np.stack([0.01 * t.x for t in painter[:3]])
    found = feed(shock(3, limits=E1_E2, components=3, intensity="gb17742-2020"), x)
    y = signal.sosfilt(signal.butter(2, [0.1, 10.0], "bandpass", fs=100, output="sos"), x - x[:, :1])
    v = np.cumsum((y + np.concatenate([np.zeros((3, 1)), y[:, :-1]], axis=1)) / 200.0, axis=1)
    told = found[-1].evidence
    assert told["pga"] == pytest.approx(np.sqrt((y**2).sum(axis=0)).max(), rel=1e-4)
    assert told["pgv"] == pytest.approx(np.sqrt((v**2).sum(axis=0)).max(), rel=1e-3)
    assert told["intensity"] == instrumental_intensity(told["pga"], told["pgv"])
