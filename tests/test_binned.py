"""Statistics of bins against limits: reached and exceeded, both sides, coverage, hysteresis."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from lifeline_core.detectors.base import Group
from lifeline_core.detectors.binned import Binned, BinnedParams
from lifeline_core.model import NS, Block, Channel, Finding, Site, Watch

T0 = 1_700_000_400 * NS - 1_700_000_400 * NS % (600 * NS)
WIND = (Channel(name="w", site="b", device=1, channel=0, rate_hz=1.0, unit="m/s"),)


def build(**params: object) -> Binned:
    watch = Watch(name="w", site="b", channels=("w",), detector="binned", params=msgspec.convert(params, BinnedParams))
    return Binned(watch, [Group(WIND, 1.0)], Site(name="b", domain="bridge"))


def play(d: Binned, values: list[float], share: float = 1.0) -> list[Finding]:
    """A bin of 600 s at 1 Hz for each value; ``share`` of its samples come."""
    out: list[Finding] = []
    for k, v in enumerate(values):
        n = round(600 * share)
        x = np.full((1, n), v, np.float32)
        x[0, ::2] += 0.5
        x[0, 1::2] -= 0.5
        out += d.push(0, Block(x, T0, k * 600, 1, 1, None, (0.0,), 0))
    return out + d.flush()


LIMITS = [{"severity": 2, "above": 25.0}, {"severity": 3, "above": 29.92}]


def told(found: list[Finding]) -> list[tuple[bool, int, str]]:
    return [(f.active, f.severity, f.evidence["relation"]) for f in found]


def test_the_mean_reaches_rises_and_ends() -> None:
    found = play(build(limits=LIMITS), [20.0, 25.0, 31.0, 24.0])
    assert told(found) == [(True, 2, "reaches"), (True, 3, "exceeds"), (False, 3, "within")]
    assert found[0].onset_ns == T0 + 600 * NS and found[0].t_ns == T0 + 1200 * NS
    assert found[1].value == pytest.approx(31.0) and found[1].limit == 29.92


def test_exceeding_is_more_than_reaching() -> None:
    assert play(build(limits=LIMITS, strict=True), [25.0]) == []


def test_hysteresis_holds_an_alarm() -> None:
    assert [f.active for f in play(build(limits=LIMITS, hysteresis=2.0), [26.0, 24.0, 22.9])] == [True, False]


def test_from_one_side_to_the_other() -> None:
    found = play(build(limits=[{"severity": 2, "above": 5.0}, {"severity": 3, "below": -5.0}]), [6.0, -6.0, 0.0])
    assert [(f.active, f.evidence["side"]) for f in found] == [(True, "above"), (False, "above"), (True, "below"), (False, "below")]


@pytest.mark.parametrize(("statistic", "value"), [("max", 10.5), ("min", 9.5), ("std", 0.5), ("peak", 0.5), ("rms", 10.0125)])
def test_statistics(statistic: str, value: float) -> None:
    found = play(build(limits=[{"severity": 2, "above": 0.1}], statistic=statistic), [10.0])
    assert found[0].value == pytest.approx(value, rel=1e-4)


def test_a_thin_bin_says_nothing() -> None:
    assert play(build(limits=LIMITS), [30.0], share=0.6) == []
    assert len(play(build(limits=LIMITS), [30.0], share=0.7)) == 1


def test_wind_against_its_design_is_stated_once() -> None:
    """25 m/s, 0.8 of the design wind speed, the design wind speed."""
    limits = [{"severity": 2, "above": 25.0}, {"severity": 3, "share": 0.8}, {"severity": 4, "share": 1.0}]
    found = play(build(limits=limits, design={"above": 40.0}), [24.0, 32.0, 40.0, 41.0, 20.0])
    assert told(found) == [(True, 3, "reaches"), (True, 4, "reaches"), (False, 4, "within")]
    assert [f.limit for f in found] == [32.0, 40.0, 25.0]
    found = play(build(limits=limits[1:], design=40.0), [-39.0, 0.0])
    assert [(f.active, f.evidence["side"], f.limit) for f in found] == [(True, "below", -32.0), (False, "below", -32.0)]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="design: must be given where limits has a share, is none"):
        build(limits=[{"severity": 2, "share": 0.8}])
    with pytest.raises(ValueError, match="severity must rise"):
        build(limits=[{"severity": 3, "above": 1.0}, {"severity": 2, "above": 2.0}])
    with pytest.raises(ValueError, match="limits below must be under"):
        build(limits=[{"severity": 3, "above": 1.0}, {"severity": 2, "below": 2.0}])
