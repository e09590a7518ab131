"""The profiles: every row loads with its real detector, every limit says where it comes from or that it is an example."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from lifeline_core import detectors, domains
from lifeline_core.config import check_city, describe, example_config, read_city
from lifeline_core.errors import ConfigError
from lifeline_core.fields import Faults, description, toml
from lifeline_core.model import Watch

FAULTS = Faults()
KNOWN = domains.load(FAULTS)
PROFILES = KNOWN.profiles
EIGHT = {"bridge", "water", "gas", "drainage", "heat", "utility-tunnel", "tunnel", "lighting"}
# Other programs name these.
PROMISED = {
    "bridge.girder-acceleration",
    "bridge.cable-acceleration",
    "bridge.modal",
    "water.transient",
    "water.leak-pair",
    "gas.adjacent-methane",
    "drainage.level",
    "heat.temperature",
    "utility-tunnel.gas",
    "tunnel.co",
    "lighting.residual-current",
}


def city_of(profile: domains.Profile, *, rate_hz: float | None = None) -> str:
    """A city with one watch of this profile and nothing else said."""
    detector = detectors.find(profile.detector)
    components = profile.defaults.get("components", 1)
    count = max(components, detector.CHANNELS[0])
    if rate_hz is None and not detector.IRREGULAR:
        rate_hz = 200.0
    text = f"[service]\nhealth = false\n[site.here]\ndomain = {toml(profile.domain)}\n"
    for i in range(count):
        text += f'[channel.c{i}]\nsite = "here"\ndevice = {i // components + 1}\nchannel = {i % components}\n'
        text += f"unit = {toml(profile.unit)}\n"
        text += f"quantity = {toml(profile.quantity)}\n" + (f"rate_hz = {rate_hz}\n" if rate_hz is not None else "")
    text += f'[watch.w]\nsite = "here"\nchannels = {toml([f"c{i}" for i in range(count)])}\nprofile = {toml(profile.name)}\n'
    return text + "".join(f"{k} = {toml(v)}\n" for k, v in profile.place.items())


def watch_of(name: str) -> Watch:
    return read_city(city_of(PROFILES[name])).watches["w"]


def limits_of(name: str) -> list[tuple[int, float | None, float | None]]:
    return [(x.severity, x.above, x.below) for x in watch_of(name).params.limits]


def test_there_are_eight_domains_and_the_promised_names() -> None:
    assert FAULTS == []
    assert set(KNOWN.names) == EIGHT
    assert set(PROFILES) >= PROMISED
    assert {profile.domain for profile in PROFILES.values()} == EIGHT


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_loads_with_its_detector(name: str) -> None:
    watch = watch_of(name)
    assert (watch.detector, watch.profile) == (PROFILES[name].detector, name)


@pytest.mark.parametrize("name", [n for n, p in PROFILES.items() if p.detector == "level"])
def test_slow_profiles_take_regular_channels_too(name: str) -> None:
    assert read_city(city_of(PROFILES[name], rate_hz=1.0)).watches["w"].params == watch_of(name).params


@pytest.mark.parametrize("name", PROFILES)
def test_every_row_says_what_it_is_and_whence(name: str) -> None:
    profile = PROFILES[name]
    assert profile.about
    assert profile.source
    for limit in profile.limits:
        assert limit.source, limit.path


def test_what_is_not_verified_is_an_example() -> None:
    for name in ("tunnel.co", "bridge.shock", "bridge.cable-force", "bridge.modal", "drainage.level", "heat.temperature"):
        assert PROFILES[name].examples({}), name
    for name in ("bridge.girder-acceleration", "gas.adjacent-methane", "utility-tunnel.gas", "lighting.residual-current"):
        assert not PROFILES[name].examples({}), name
    assert PROFILES["bridge.wind"].examples({}) == ["design"]
    assert PROFILES["bridge.earthquake"].examples({}) == ["limits[0]", "limits[1]"]
    assert PROFILES["tunnel.co"].examples({"limits": []}) == []  # the owner has set them


def test_bridge_limits_are_those_in_service() -> None:
    assert limits_of("bridge.girder-acceleration") == [(2, 0.315, None), (3, 0.5, None)]
    assert limits_of("bridge.cable-acceleration") == [(2, 1.0, None), (3, 3.0, None)]
    assert limits_of("bridge.wind")[0] == (2, 25.0, None)


def test_a_design_is_the_one_number_an_owner_sets() -> None:
    for name in ("bearing-displacement", "tower-tilt", "strain", "deflection", "tilt-residual", "deflection-residual",
                 "strain-residual", "wind", "wind-mean"):
        profile = PROFILES[f"bridge.{name}"]
        assert profile.examples({}) == ["design"], name
        assert profile.examples({"design": 250.0}) == [], name
        assert profile.examples({"limits": [{"severity": 4, "above": 30.0}]}) == [], "no limit refers to the design any more"
        assert profile.examples({"limits": [{"severity": 4, "share": 0.9}]}) == ["design"], name
    assert PROFILES["bridge.cable-force"].examples({}) == ["as_built"]
    city = city_of(PROFILES["bridge.bearing-displacement"]) + "design = {above = 100.0, below = -80.0}\n"
    params = read_city(city).watches["w"].params
    assert [(r.severity, r.above, r.below) for r in params.bounds(params.limits)] == [
        (3, 80.0, None), (3, None, -64.0), (4, 100.0, None), (4, None, -80.0)]
    with pytest.raises(ConfigError, match=r"watch\.w\.design: must be given where limits has a share"):
        read_city(city_of(PROFILES["bridge.crack"]) + "limits = [{severity = 2, share = 0.8}]\n")
    with pytest.raises(ConfigError, match=r"watch\.w\.limits\[0\].*exactly one of above"):
        read_city(city_of(PROFILES["bridge.crack"]) + "limits = [{severity = 2, share = 0.8, above = 3.0}]\n")


def test_derived_limits_are_those_in_service() -> None:
    def bounds(name: str) -> list[tuple[int, float]]:
        params = watch_of(name).params
        return [(r.severity, round(r.above if r.above is not None else r.below, 2)) for r in params.bounds(params.limits)]

    assert bounds("bridge.bearing-displacement") == [(3, 240.0), (3, -240.0), (4, 300.0), (4, -300.0)]
    assert bounds("bridge.deflection") == [(3, 33.36), (3, -21.04), (4, 41.7), (4, -26.3)]
    assert bounds("bridge.tower-tilt") == [(3, 0.08), (3, -0.08), (4, 0.1), (4, -0.1)]
    assert bounds("bridge.wind") == bounds("bridge.wind-mean") == [(2, 25.0), (3, 29.92), (4, 37.4)]
    assert bounds("bridge.cable-force") == [(3, 2295.02), (3, 1877.74), (4, 2399.34), (4, 1773.42)]


def test_every_limit_of_a_bridge_stands_in_the_table_of_limits() -> None:
    """With its profile, and with the word "example" or "share" exactly where an owner's number is missing."""
    lines = (Path(__file__).parents[1] / "docs/limits.md").read_text("utf-8").splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("| ") and "`bridge." in line]
    told = {name: row[-1] for row in rows for name in re.findall(r"`(bridge\.[a-z-]+)`", row[3])}
    held = {"binned", "cable", "level", "modal", "regressed", "shock", "spectral"}
    limited = {n for n, p in PROFILES.items()
               if n.startswith("bridge.") and p.detector in held and any("severity" in x.text for x in p.limits)}
    assert set(told) == limited
    for name, mark in told.items():
        profile = PROFILES[name]
        owners = {x.path for x in profile.limits if x.example}
        assert ("example" in mark) == any("[" in path for path in owners), name
        assert ("share" in mark) == bool(owners & {"design", "as_built"} or "cables" in profile.place), name


def test_level_one_runs_in_opposite_directions_but_severity_does_not() -> None:
    """A gas detector's first set-point is its lower one; a warning of level I is the gravest. Here 4 is always the gravest."""
    assert limits_of("gas.adjacent-methane") == [(2, 25.0, None), (4, 50.0, None)]
    for profile in PROFILES.values():
        for key in ("limits", "rate_limits"):
            for side, sign in (("above", 1), ("below", -1), ("share", 1), ("off", 1)):
                rows = sorted((row for row in profile.defaults.get(key, []) if side in row), key=lambda row: sign * row[side])
                severities = [row["severity"] for row in rows]
                assert severities == sorted(set(severities)), (profile.name, key, side)


def test_methane_by_volume_is_the_same_limit() -> None:
    for (_, lel, _), (_, volume, _) in zip(
        limits_of("gas.adjacent-methane"), limits_of("gas.adjacent-methane-volume"), strict=True
    ):
        assert lel is not None
        assert volume == pytest.approx(lel * 5.0 / 100.0)  # LEL of methane: 5 %VOL


def test_oxygen_takes_the_stricter_of_two_texts() -> None:
    assert (3, None, 19.5) in limits_of("utility-tunnel.oxygen")
    assert (3, None, 19.5) in limits_of("gas.oxygen")


# -- the example -------------------------------------------------------------------------------------------------------


def test_the_example_loads_without_faults_and_every_detector_speaks_in_it(tmp_path: Path) -> None:
    text = example_config()
    (tmp_path / "city.toml").write_text(text)
    assert check_city(tmp_path / "city.toml").faults == []
    watches = read_city(text).watches
    assert {w.detector for w in watches.values()} == set(detectors.TABLE)


def test_the_example_shows_every_key_and_profile() -> None:
    text = example_config()
    for name in detectors.TABLE:
        for field in msgspec.structs.fields(detectors.find(name).PARAMS):
            assert f"\n{field.name} =" in text or f"\n# {field.name} =" in text, (name, field.name)
    for name in PROFILES:
        assert f"\n# {name}: " in text
    assert max(map(len, text.splitlines())) <= 200


@pytest.mark.parametrize("name", sorted(detectors.TABLE))
def test_every_detector_key_has_a_description(name: str) -> None:
    fields = msgspec.structs.fields(detectors.find(name).PARAMS)
    assert [f.name for f in fields if not description(f.type)] == []
    assert len(describe(name).splitlines()) == len(fields)


@pytest.mark.parametrize("name", sorted(detectors.TABLE))
def test_no_detector_takes_a_key_of_the_watch(name: str) -> None:
    assert not {f.name for f in msgspec.structs.fields(detectors.find(name).PARAMS)} & {"site", "channels", "profile", "detector"}


def test_the_design_s_example_loads() -> None:
    city = read_city("""
[service]                       # every key optional
ingest = "tcp://127.0.0.1:5550"
data_dir = "var/lifeline"

[site.river-bridge]
domain = "bridge"
lon = 118.10
lat = 39.20
consequence = "high"

[site.north-main]
domain = "gas"

[channel.rb-a1]
site = "river-bridge"
device = 17
channel = 0
quantity = "acceleration"
unit = "m/s2"
scale = 1.0e-6
offset = 0.0
range = [-20.0, 20.0]
rate_hz = 200.0

[channel.well-7-ch4]
site = "north-main"
device = 18
channel = 0
unit = "%LEL"

[watch.rb-vibration]
site = "river-bridge"
channels = ["rb-a1"]
profile = "bridge.girder-acceleration"

[watch.well-7]
site = "north-main"
channels = ["well-7-ch4"]
detector = "level"
limits = [ {severity = 2, above = 25.0}, {severity = 4, above = 50.0} ]
hysteresis = 2.0
on_delay_s = 0.0
""")
    assert sorted(city.watches) == ["device-17", "device-18", "rb-vibration", "well-7"]
    assert city.watches["well-7"].params.hysteresis == 2.0
