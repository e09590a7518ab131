"""Levels of a practice: read from TOML, never known otherwise, and only on what leaves for others."""

from __future__ import annotations

import msgpack
import numpy as np
import pytest

from lifeline_core import domains
from lifeline_core.alarms.levels import named
from lifeline_core.alarms.words import say
from lifeline_core.fields import Faults
from lifeline_core.model import Alarm

CITY = """
domain = "bridge"
[levels]
about = "warnings to people: level I is the gravest"
source = "the city's emergency plan"
words = [
  {severity = 4, level = "I", zh = "一级预警", en = "level I"}, {severity = 3, level = "II", zh = "二级预警", en = "level II"},
  {severity = 2, level = "III", zh = "三级预警", en = "level III"}, {severity = 1, level = "IV", zh = "四级预警", en = "level IV"},
]
"""


def alarm(severity: int, domain: str = "bridge") -> Alarm:
    return Alarm(
        alarm_id="x", revision=1, site="s", domain=domain, watch="w", kind="rms", severity=severity, process="active",
        handling="new", onset_ns=1, detected_ns=1, updated_ns=1, score=1.0, value=0.4, limit=0.315, unit="m/s2", quality=1.0,
        historical=False, config_hash="", version="", text={"zh": "橙色 桥梁", "en": "ORANGE bridge"})  # fmt: skip


def read(*texts: str) -> tuple[domains.Domains, list[str]]:
    faults = Faults()
    return domains.load(faults, {f"{i}.toml": text for i, text in enumerate(texts)}), list(faults)


def test_in_bridge_practice_level_one_is_the_mildest() -> None:
    known, faults = read()
    assert faults == []
    assert [named(alarm(s), known.levels).evidence.get("level", "") for s in (1, 2, 3, 4)] == ["", "1", "2", "3"]
    said = named(alarm(3), known.levels).to_map()
    assert said["text"] == {"zh": "橙色 桥梁［二级超限］", "en": "ORANGE bridge [level 2]"}
    assert said["severity"] == 3 and msgpack.unpackb(msgpack.packb(said)) == said


def test_in_a_city_s_own_file_level_one_is_the_gravest() -> None:
    known, faults = read(CITY)
    assert faults == []
    assert [named(alarm(s), known.levels).evidence.get("level", "") for s in (1, 2, 3, 4)] == ["IV", "III", "II", "I"]
    assert named(alarm(4), known.levels).text["zh"] == "橙色 桥梁［一级预警］"


def test_a_domain_without_levels_has_none() -> None:
    known, _ = read()
    assert named(alarm(3, "heat"), known.levels) == alarm(3, "heat")
    assert named(alarm(3), {}) == alarm(3)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("severity = 3", "severity = 4", "0.toml: levels.words: must name each severity once, [4, 4, 2, 1]"),
        ('level = "II"', 'level = "I"', '0.toml: levels.words: must name each level once, ["I", "I", "III", "IV"]'),
        ("severity = 1", "severity = 5", "0.toml: levels.words: must have severities from 1 to 4, [5]"),
        ('zh = "一级预警"', 'word = "x"', "0.toml: levels.words[0].word: unknown key"),
        ('source = "the city\'s emergency plan"', "", "0.toml: levels.source: must be given"),
        ("[levels]", "[level]", "0.toml: level: unknown key (known: domain, levels, profile); did you mean levels?"),
    ],
)
def test_faults_have_their_path(old: str, new: str, fault: str) -> None:
    assert old in CITY
    _, faults = read(CITY.replace(old, new))
    assert faults and faults[0].startswith(fault), faults


def test_two_files_of_a_user_may_not_both_say_it() -> None:
    _, faults = read(CITY, CITY)
    assert faults == ['1.toml: levels: must be given once for a domain, 0.toml has them, too, "bridge"']
    _, faults = read('domain = "bridge"\nlevels = 3')
    assert faults == ["0.toml: levels: must be a table, 3"]


# -- reaching and exceeding, in words ----------------------------------------------------------------------------------


def line(value: float, limit: float, *, related: bool = True, process: str = "active") -> dict[str, str]:
    return say(domain="bridge", site="s", watch="w", kind="rms", severity=2, process=process, value=value, limit=limit,
               unit="m/s2", where={}, related=related)


def test_reaching_is_told_apart_from_exceeding() -> None:
    assert line(0.315, 0.315)["zh"].endswith("，0.315 m/s2（达到限值 0.315）")
    assert line(0.315, 0.315)["en"].endswith(", 0.315 m/s2 (reaches the limit 0.315)")
    assert line(0.4, 0.315)["zh"].endswith("，0.4 m/s2（超过限值 0.315）")
    assert line(0.4, 0.315)["en"].endswith(", 0.4 m/s2 (exceeds the limit 0.315)")
    assert line(-9.0, -5.0)["zh"].endswith("（低于限值 -5）") and line(-9.0, -5.0)["en"].endswith("(below the limit -5)")


def test_equal_as_float32_reaches() -> None:
    assert "reaches" in line(float(np.float32(0.315)), 0.315)["en"]


def test_where_nothing_was_held_against_the_limit_nothing_is_said_of_it() -> None:
    assert line(0.4, 0.315, related=False)["en"].endswith(", 0.4 m/s2 (limit 0.315)")
    assert line(0.4, 0.315, process="cleared")["en"].endswith(", 0.4 m/s2 (limit 0.315)")
