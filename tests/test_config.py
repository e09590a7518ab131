"""The configuration: what is right becomes a City, what is wrong is listed whole, each fault by its path."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from lifeline_core import detectors
from lifeline_core.config import check_city, describe, load_city, read_city
from lifeline_core.detectors.base import Detector, Group, Limit, Params
from lifeline_core.errors import ConfigError
from lifeline_core.keys import KEYS, ServiceTable
from lifeline_core.model import Channel, Site, Watch

Positive = Annotated[float, msgspec.Meta(gt=0, description="a time")]


class SiftParams(Params, frozen=True):
    limits: Annotated[tuple[Limit, ...], msgspec.Meta(description="in the unit")] = ()
    window_s: Positive = 10.0
    band: tuple[float, float] | None = None
    steps: int = 3
    strict: bool = False

    def faults(self) -> list[str]:
        if self.band is not None and self.band[0] >= self.band[1]:
            return [f"band: must be ordered, {list(self.band)}"]
        return []


class Sift(Detector):
    PARAMS = SiftParams
    IRREGULAR = True


class SlowOnly(Detector):
    REGULAR = False
    IRREGULAR = True


class PairParams(Params, frozen=True):
    length_m: Positive


class Pair(Detector):
    PARAMS = PairParams
    COUPLED = True
    CHANNELS = (2, 2)

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        super().__init__(watch, groups, site)
        if watch.params.length_m > 1000:
            raise ValueError(f"length_m: must be at most 1000 at {groups[0].rate_hz} Hz, is {watch.params.length_m}")


class HealthParams(Params, frozen=True):
    offline_s: Positive = 1.0


class Health(Detector):
    PARAMS = HealthParams
    IRREGULAR = True


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Detectors of this file beside the real ones; health stands in for the real one."""
    for name, kind in (("sift", Sift), ("pair", Pair), ("slow-only", SlowOnly), ("health", Health)):
        module = types.ModuleType(f"lifeline_core.detectors.{name}")
        setattr(module, kind.__name__, kind)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(detectors.TABLE, name, kind.__name__)


CITY = """
[site.north-main]
domain = "gas"
lon = 118.1
lat = 39

[channel.ch4]
site = "north-main"
device = 7
channel = 4
unit = "%LEL"
range = [0, 100]

[channel.fast]
site = "north-main"
device = 7
channel = 5
unit = "m/s2"
scale = 1e-6
rate_hz = 200

[watch.well-7]
site = "north-main"
channels = ["ch4"]
detector = "sift"
limits = [{severity = 2, above = 25.0}, {severity = 4, above = 50}]
"""

NETWORK = "[JUNCTIONS]\n;id\n J1 0 0\n J2 0 0 ;far\n[PIPES]\n P1 J1 J2 100 200 100 0 Open\n[OPTIONS]\n Units LPS\n"


def faults_of(text: str, base: Path = Path(".")) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_city(text, base=base)
    return list(caught.value.faults)


def changed(old: str, new: str) -> list[str]:
    assert old in CITY
    return faults_of(CITY.replace(old, new, 1))


def test_a_right_city_is_read() -> None:
    city = read_city(CITY)
    assert city.sites["north-main"].consequence == "medium"
    assert city.channels["ch4"].range == (0.0, 100.0)
    assert city.channels["ch4"].rate_hz is None
    assert city.channels["fast"].rate_hz == 200.0
    watch = city.watches["well-7"]
    assert watch.channels == ("ch4",)
    assert watch.params == SiftParams(limits=(Limit(severity=2, above=25.0), Limit(severity=4, above=50.0)))


def test_the_order_of_the_file_has_no_effect() -> None:
    parts = CITY.strip().split("\n\n")
    assert read_city("\n\n".join(parts[::-1]) + "\n# a comment") == read_city(CITY)
    assert list(read_city("\n\n".join(parts[::-1])).watches) == ["device-7", "well-7"]


def test_the_hash_knows_what_matters(tmp_path: Path) -> None:
    first = read_city(CITY).hash
    assert len(first) == 64
    assert int(first, 16) >= 0
    assert read_city(CITY.replace("above = 50", "above = 50.0")).hash == first
    assert read_city(CITY + '\n[service]\ndata_dir = "elsewhere"').hash == first
    assert read_city(CITY.replace("above = 50", "above = 51")).hash != first
    assert read_city(CITY + "\n[service]\noffline_s = 5").hash != first
    (tmp_path / "n.inp").write_text(NETWORK)
    text = CITY.replace("lat = 39", 'network = "n.inp"')
    with_network = read_city(text, base=tmp_path).hash
    (tmp_path / "n.inp").write_text(NETWORK.replace("J1 0", "J1 1"))
    assert read_city(text, base=tmp_path).hash != with_network


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "above = 25.0",
            "abov = 25.0",
            "watch.well-7.limits[0].abov: unknown key (known: severity, above, below); did you mean above?",
        ),
        ("severity = 2", "severity = 5", "watch.well-7.limits[0].severity: must be int <= 4, 5"),
        ("severity = 2", "severity = true", "watch.well-7.limits[0].severity: must be int, true"),
        (
            "above = 25.0",
            "above = 25.0, below = 1",
            "watch.well-7.limits[0]: a limit has exactly one of above and below, {severity = 2, above = 25.0, below = 1}",
        ),
        ("severity = 2, ", "", "watch.well-7.limits[0].severity: must be given (whole number >= 1 and <= 4)"),
        ("[{severity = 2, above = 25.0}, {severity = 4, above = 50}]", "3", "watch.well-7.limits: must be a list, 3"),
        (
            'detector = "sift"',
            'detector = "sift"\nwindow = 3',
            "watch.well-7.window: unknown key (known: site, channels, profile, "
            "detector, clean, limits, window_s, band, steps, strict); did you mean window_s?",
        ),
        ('detector = "sift"', 'detector = "sift"\nwindow_s = 0', "watch.well-7.window_s: must be float > 0.0, 0"),
        (
            'detector = "sift"',
            'detector = "sift"\nwindow_s = nan',
            "watch.well-7.window_s: must be a finite number, nan",
        ),
        ('detector = "sift"', 'detector = "sift"\nsteps = 2.5', "watch.well-7.steps: must be int, 2.5"),
        ('detector = "sift"', 'detector = "sift"\nstrict = 1', "watch.well-7.strict: must be bool, 1"),
        (
            'detector = "sift"',
            'detector = "sift"\nband = [1.0]',
            "watch.well-7.band: must be a list of length 2, [1.0]",
        ),
        ('detector = "sift"', 'detector = "sift"\nband = [5, 1]', "watch.well-7.band: must be ordered, [5.0, 1.0]"),
        ('detector = "sift"', "", "watch.well-7: must have a profile or a detector"),
        ('detector = "sift"', 'profile = "gas.oxigen"', 'did you mean gas.oxygen?, "gas.oxigen"'),
        ('detector = "sift"', 'detector = "shift"', 'did you mean sift?, "shift"'),
        (
            'channels = ["ch4"]',
            'channels = ["ch5"]',
            'watch.well-7.channels[0]: must be a [channel.*] of this file; did you mean ch4?, "ch5"',
        ),
        (
            'channels = ["ch4"]',
            'channels = ["ch4", "ch4"]',
            'watch.well-7.channels[1]: must name a channel once, "ch4"',
        ),
        ('channels = ["ch4"]', "channels = []", "watch.well-7.channels: must name at least one channel, []"),
        ('channels = ["ch4"]', 'channels = "ch4"', 'watch.well-7.channels: must be a list, "ch4"'),
        ("scale = 1e-6", "scale = 0", "channel.fast.scale: must not be 0, 0"),
        ("scale = 1e-6", "scale = inf", "channel.fast.scale: must be a finite number, inf"),
        ("scale = 1e-6", "scale = true", "channel.fast.scale: must be float, true"),
        ("rate_hz = 200", "rate_hz = -1", "channel.fast.rate_hz: must be above 0 and at most 1000000, -1"),
        ("range = [0, 100]", "range = [100, 0]", "channel.ch4.range: must be ordered, low before high, [100, 0]"),
        ("range = [0, 100]", "range = [0, nan]", "channel.ch4.range[1]: must be a finite number, nan"),
        ("device = 7", "device = -1", "channel.ch4.device: must be from 0 to 4294967295, -1"),
        ("channel = 4", "channel = 65536", "channel.ch4.channel: must be from 0 to 65535, 65536"),
        ("channel = 4", "channel = 5", "channel.fast: must not share device 7 channel 5 with channel.ch4"),
        ("channel = 4\n", "", "channel.ch4.channel: must be given (whole number)"),
        ("lon = 118.1", "lon = 181", "site.north-main.lon: must be from -180 to 180, 181"),
        ("lat = 39", "lat = -91.0", "site.north-main.lat: must be from -90 to 90, -91.0"),
        ("lat = 39", 'consequence = "High"', 'site.north-main.consequence: must be one of low, medium, high, "High"'),
        ("lat = 39", 'network = "n.txt"', 'site.north-main.network: must be the path of an .inp file, "n.txt"'),
        (
            "lat = 39",
            'network = "none.inp"',
            'site.north-main.network: must be a readable EPANET file, No such file or directory, "none.inp"',
        ),
        ("lat = 39", "wave_speed = 0", "site.north-main.wave_speed: must be above 0, 0"),
        (
            'domain = "gas"',
            'domain = "gaz"',
            "site.north-main.domain: must be one of bridge, drainage, gas, heat, lighting, tunnel, "
            'utility-tunnel, water; did you mean gas?, "gaz"',
        ),
        (
            "[site.north-main]",
            "[sites.x]\n[site.north-main]",
            "sites: unknown section (known: service, security, client, site, channel, watch); did you mean site?",
        ),
        (
            "[site.north-main]",
            "[site.North]\ndomain='gas'\n[site.north-main]",
            'site.North: must be a name of [a-z0-9-]+, "North"',
        ),
        ("[site.north-main]", "site.x = 3\n[site.north-main]", "site.x: must be a table [site.NAME], 3"),
        (
            "[site.north-main]",
            "[service]\ningest = 'udp://a:1'\n[site.north-main]",
            'service.ingest: must be tcp://HOST:PORT or ipc://PATH, "udp://a:1"',
        ),
        (
            "[site.north-main]",
            "[service]\nfeed = 'tcp://127.0.0.1:5551'\n[site.north-main]",
            'service.feed: must differ from alarms, "tcp://127.0.0.1:5551"',
        ),
        ("[site.north-main]", "[service]\nmetrics = 'x'\n[site.north-main]", 'service.metrics: must be HOST:PORT, "x"'),
        (
            "[site.north-main]",
            "[service]\ndurability = 'disc'\n[site.north-main]",
            'service.durability: must be one of process, disk, none, "disc"',
        ),
        ("[site.north-main]", "[service]\nsnapshot_s = 0\n[site.north-main]", "service.snapshot_s: must be above 0, 0"),
        ("[site.north-main]", "service = 1\n[site.north-main]", "service: must be a table, 1"),
    ],
)
def test_one_fault_is_told_once_with_its_path(old: str, new: str, fault: str) -> None:
    found = changed(old, new)
    assert len(found) == 1, found
    assert found[0].endswith(fault), found[0]


def test_every_fault_at_once() -> None:
    text = CITY.replace("lon = 118.1", "lon = 200").replace("scale = 1e-6", "scale = 0").replace("above = 25.0", "abov = 25.0")
    text = (
        text.replace("severity = 4", 'severity = "red"')
        + "\n[watch.other]\nsite = 'nowhere'\nchannels = ['fast']\ndetector = 'sift'\n"
    )
    found = faults_of(text)
    assert [f.split(":")[0] for f in found] == [
        "site.north-main.lon",
        "channel.fast.scale",
        "watch.well-7.limits[0].abov",
        "watch.well-7.limits[1].severity",
        "watch.other.site",
    ]
    with pytest.raises(ConfigError) as caught:
        read_city(text)
    assert str(caught.value) == "\n".join(found)


def test_toml_that_is_none_gives_line_and_column() -> None:
    assert faults_of("[site.a]\nlon = = 3\n") == ["TOML: invalid value (at line 2, column 7)"]
    assert "(at line 3, column" in faults_of("[site.a]\nlon = 1\nlon = 2\n")[0]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    assert check_city(missing).faults == [f"{missing}: must be a readable file of UTF-8 text, No such file or directory"]
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_city(tmp_path / "x.toml")


TWO_SITES = (
    CITY
    + """
[site.south]
domain = "water"
[channel.far]
site = "south"
device = 8
channel = 0
rate_hz = 100.0
"""
)


def test_channels_of_another_site_are_refused() -> None:
    found = faults_of(TWO_SITES.replace('channels = ["ch4"]', 'channels = ["ch4", "far"]'))
    assert found == ['watch.well-7.channels[1]: must be a channel of site.north-main, it is of site.south, "far"']


@pytest.mark.parametrize(
    ("watch", "fault"),
    [
        ('channels = ["fast"]\ndetector = "pair"\nlength_m = 3', 'channels: must be 2 for detector pair, ["fast"]'),
        (
            'channels = ["fast"]\ndetector = "slow-only"',
            'channels[0]: must be irregular, without rate_hz, for detector slow-only, "fast"',
        ),
        (
            'channels = ["ch4", "fast"]\ndetector = "pair"\nlength_m = 3',
            'channels[0]: must have a rate_hz for detector pair, "ch4"|'
            'channels: must have one rate_hz for detector pair, ["irregular", 200.0]',
        ),
        (
            'channels = ["fast", "fast-3"]\ndetector = "pair"\nlength_m = 2000',
            "length_m: must be at most 1000 at 200.0 Hz, is 2000.0",
        ),
        (
            'channels = ["fast", "fast-2"]\ndetector = "pair"',
            "length_m: must be given (number > 0)|channels: must have one rate_hz for detector pair, [200.0, 100.0]",
        ),
    ],
)
def test_channels_must_fit_their_detector(watch: str, fault: str) -> None:
    text = CITY + '\n[channel.fast-2]\nsite = "north-main"\ndevice = 9\nchannel = 0\nrate_hz = 100\n'
    text += text[text.rindex("[channel") :].replace("fast-2", "fast-3").replace("= 100", "= 200").replace("= 9", "= 10")
    assert faults_of(f'{text}\n[watch.w]\nsite = "north-main"\n{watch}\n') == [f"watch.w.{f}" for f in fault.split("|")]


def test_a_detector_this_build_lacks_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(detectors.TABLE, "later", "Later")
    (fault,) = changed('detector = "sift"', 'detector = "later"')
    assert fault.startswith("watch.well-7.detector: must be a detector this build has, No module named")


def test_the_network_is_read_and_nodes_belong_to_it(tmp_path: Path) -> None:
    (tmp_path / "n.inp").write_text(NETWORK)
    text = CITY.replace("lat = 39", 'network = "n.inp"').replace("range = [0, 100]", 'node = "J2"')
    city = read_city(text, base=tmp_path)
    assert city.sites["north-main"].network == (tmp_path / "n.inp").read_text()
    (tmp_path / "city.toml").write_text(text)
    assert load_city(tmp_path / "city.toml") == city
    assert faults_of(text.replace('"J2"', '"P1"'), tmp_path) == [
        'channel.ch4.node: must be a node of site.north-main\'s network, "P1"'
    ]
    (tmp_path / "n.inp").write_text(NETWORK.replace("100 200", "far 200"))
    (fault,) = faults_of(text, tmp_path)
    assert fault.startswith("site.north-main.network: must be an EPANET network, line 6: ")


# -- health ------------------------------------------------------------------------------------------------------------


def test_every_device_is_watched_without_being_told_to() -> None:
    watches = read_city(TWO_SITES + "\n[service]\noffline_s = 9\n").watches
    assert watches["device-7"].channels == ("ch4", "fast")
    assert watches["device-7"].params == HealthParams(offline_s=9.0)
    assert (watches["device-8"].site, watches["device-8"].detector) == ("south", "health")
    assert list(read_city(TWO_SITES + "\n[service]\nhealth = false\n").watches) == ["well-7"]


def test_a_device_of_two_sites_has_a_watch_in_each() -> None:
    watches = read_city(TWO_SITES.replace("device = 8", "device = 7")).watches
    assert sorted(watches) == ["device-7-north-main", "device-7-south", "well-7"]


def test_a_health_watch_by_hand_counts() -> None:
    by_hand = '\n[watch.device-7]\nsite = "north-main"\nchannels = ["ch4"]\ndetector = "health"\noffline_s = 3.0\n'
    watches = read_city(CITY + by_hand).watches
    assert watches["device-7"].channels == ("ch4",)
    assert watches["device-7"].params.offline_s == 3.0
    named = read_city(CITY + by_hand.replace("device-7", "mine")).watches
    assert named["device-7"].channels == ("fast",)  # what no other health watch looks at
    assert faults_of(CITY + by_hand.replace('"health"\noffline_s = 3.0', '"sift"')) == [
        'watch.device-7: must have detector health: the name is kept for it, "sift"'
    ]


# -- profiles ----------------------------------------------------------------------------------------------------------

METRO = """
domain = "metro"
[profile.platform-air]
about = "air on a platform"
detector = "sift"
quantity = "pm10"
unit = "ug/m3"
source = "house rule"
[profile.platform-air.defaults]
limits = [{ severity = 2, above = 150 }, { severity = 3, above = 350, example = true, source = "a guess" }]
window_s = 60.0
"""
METRO_CITY = """
[service]
profiles_dir = "more"
[site.line-1]
domain = "metro"
[channel.pm]
site = "line-1"
device = 1
channel = 0
unit = "ug/m3"
[watch.air]
site = "line-1"
channels = ["pm"]
profile = "metro.platform-air"
"""


@pytest.fixture
def metro(tmp_path: Path) -> Path:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "metro.toml").write_text(METRO)
    return tmp_path


def test_a_new_domain_is_one_file(metro: Path) -> None:
    watch = read_city(METRO_CITY, base=metro).watches["air"]
    assert (watch.detector, watch.profile) == ("sift", "metro.platform-air")
    assert watch.params.window_s == 60.0
    assert [limit.above for limit in watch.params.limits] == [150.0, 350.0]
    over = read_city(METRO_CITY + "window_s = 5\nlimits = [{severity = 4, above = 1}]\n", base=metro).watches["air"]
    assert over.params == SiftParams(limits=(Limit(severity=4, above=1.0),), window_s=5.0)


def test_a_unit_is_never_converted(metro: Path) -> None:
    assert faults_of(METRO_CITY.replace("ug/m3", "mg/m3"), metro) == [
        'watch.air.channels[0]: must have the unit ug/m3 (metro.platform-air), pm has, "mg/m3"'
    ]


def test_faults_of_profile_files_have_their_path(metro: Path) -> None:
    (metro / "more" / "metro.toml").write_text(METRO.replace("about", "abuot") + "\n[profile.Bad]\n")
    found = faults_of(METRO_CITY, metro)
    assert found[0].startswith(f"{metro}/more/metro.toml: profile.platform-air.abuot: unknown key")
    assert found[1].startswith(f"{metro}/more/metro.toml: profile.Bad: must be a name")
    (metro / "more" / "metro.toml").write_text(METRO.replace("window_s = 60.0", "window_s = -1"))
    assert faults_of(METRO_CITY, metro) == ["watch.air.window_s: must be float > 0.0, -1 (from profile metro.platform-air)"]


def test_a_profile_is_named_once_and_its_detector_is_its_own(metro: Path) -> None:
    (metro / "more" / "second.toml").write_text(METRO)
    assert faults_of(METRO_CITY, metro) == [
        f'{metro}/more/second.toml: profile.platform-air: must be named once among all files, "metro.platform-air"'
    ]
    (metro / "more" / "second.toml").unlink()
    assert faults_of(METRO_CITY + 'detector = "pair"\n', metro)[0].startswith(
        "watch.air.detector: must be left out beside a profile"
    )


def test_warnings(metro: Path) -> None:
    text = METRO_CITY.replace('unit = "ug/m3"\n', 'quantity = "pm25"\nnode = "J1"\n')
    text += '[site.empty]\ndomain = "gas"\n[channel.idle]\nsite = "line-1"\ndevice = 1\nchannel = 1\n'
    (metro / "city.toml").write_text(text)
    faults, warnings = check_city(metro / "city.toml")
    assert faults == []
    assert [w.split(":")[0] for w in warnings] == [
        "channel.pm.node",
        "watch.air.channels[0]",
        "watch.air.channels[0]",
        "watch.air.profile",
        "channel.idle",
        "site.empty",
    ]
    assert warnings[3] == 'watch.air.profile: limits are examples, the owner sets them (limits[1]), "metro.platform-air"'


# -- what is printed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("section", "struct"), [("service", ServiceTable), ("site", Site), ("channel", Channel)])
def test_every_key_has_a_meaning(section: str, struct: type[msgspec.Struct]) -> None:
    names = [f.name for f in msgspec.structs.fields(struct) if f.name != "name" or section == "service"]
    assert sorted(KEYS[section]) == sorted(names)


def test_defaults_keep_their_own_rules() -> None:
    for section, struct in (("service", ServiceTable), ("site", Site), ("channel", Channel)):
        for field in msgspec.structs.fields(struct):
            key = KEYS[section].get(field.name)
            if key is not None and key.keeps is not None and field.default not in (None, msgspec.NODEFAULT):
                assert key.keeps(field.default), (section, field.name)


def test_describe_names_every_key() -> None:
    assert describe("sift").splitlines()[:2] == [
        "limits: in the unit (list ({severity, above, below}); default [])",
        "window_s: a time (number > 0; default 10.0)",
    ]
    assert describe("pair") == "length_m: a time (number > 0; must be given)"


def test_an_unreadable_number_or_kind_is_no_crash() -> None:
    for value in ("9" * 400, "1979-05-27", "{}", "[[[[]]]]", '"' + "x" * 500 + '"'):
        for old in ("device = 7", "scale = 1e-6", "range = [0, 100]", "above = 25.0", 'domain = "gas"'):
            found = changed(old, f"{old.split(' =')[0]} = {value}")
            assert found
            assert max(map(len, found)) < 400
