"""The tables of net.toml as structs: which keys there are, of which type, with which default and meaning."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

WEIGHTINGS = ("ht", "phat", "scot", "roth", "cc")


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class NetworkTable(_Table, frozen=True, kw_only=True):
    """``[network]``: ``inp`` an EPANET file; ``wave_speed`` m/s of every pipe that says nothing of its own;
    ``restraint`` how pipes given by their wall are held: joints, upstream or throughout; unknown: the middle of what these
    give, with their spread in the error; ``unverified`` takes materials whose figures were not read in a source, too."""

    inp: str | None = None
    wave_speed: float | None = None
    restraint: str | None = None
    unverified: bool = False


class PipeTable(_Table, frozen=True, kw_only=True):
    """``[[pipe]]``: its ends and length, and its speed, told or by its wall."""

    name: str
    a: str | None = None
    b: str | None = None
    length_m: float | None = None
    speed_mps: float | None = None
    material: str | None = None
    inner_diameter_m: float | None = None
    wall_m: float | None = None


class NodeTable(_Table, frozen=True, kw_only=True):
    """``[[node]]``: coordinates in any unit, for maps."""

    name: str
    x: float
    y: float


class LoggerTable(_Table, frozen=True, kw_only=True):
    """``[[logger]]``: at a node, or on a pipe so many metres from its end a. ``file``: a pattern of its files' names
    where they do not begin with the logger's; ``inverted``: wired the other way round."""

    name: str
    node: str | None = None
    pipe: str | None = None
    offset_m: float | None = None
    file: str | None = None
    clock_sd_ms: float = 0.0
    inverted: bool = False


class KnownTable(_Table, frozen=True, kw_only=True):
    """``[[known]]``: a noise that is no leak."""

    name: str
    node: str | None = None
    pipe: str | None = None
    offset_m: float | None = None


class Correlate(_Table, frozen=True, kw_only=True):
    """``[correlate]``. ``longest_m``: no pair has a longer way (required: it depends on the material, 100 m of plastic are
    as much as several hundred of iron). ``speed_rel_sd`` and ``length_rel_sd``: how well speeds (required: it rules the
    error in metres) and lengths are known, 0.02 = 2 %. ``same_place_m``: closer is the same place for those who dig.
    ``shortest_s``: shorter common stretches are not used. ``night``: quiet hours, local time of ``timezone``; without it all
    is used."""

    longest_m: float
    speed_rel_sd: float
    length_rel_sd: float = 0.0
    weighting: str = "ht"
    mains_hz: tuple[float, ...] = (50.0, 60.0)
    band_hz: tuple[float, float] | None = None
    same_place_m: float = 3.0
    shortest_s: float = 2.0
    night: tuple[str, str] | None = None
    timezone: str = "UTC"


class Levels(_Table, frozen=True, kw_only=True):
    """``[levels]``. A logger is called leak-like from ``leak_level_db`` and up to ``leak_spread_db``; never without them."""

    low_percent: float = 5.0
    spread_share: float = 0.5
    leak_level_db: float | None = None
    leak_spread_db: float | None = None


def _above0(v: float) -> bool:
    return v > 0


def _natural(v: float) -> bool:
    return v >= 0


Rule = tuple[str, Callable[[Any], bool]]
_POSITIVE: Rule = ("must be above 0", _above0)
_NATURAL: Rule = ("must be 0 or above", _natural)
_NAME: Rule = ("must not be empty", bool)

CHECKS: dict[str, dict[str, Rule]] = {
    "network": {
        "wave_speed": _POSITIVE,
        "restraint": ("must be one of joints, upstream, throughout", lambda v: v in ("joints", "upstream", "throughout")),
    },
    "pipe": {"name": _NAME, **dict.fromkeys(("length_m", "speed_mps", "inner_diameter_m", "wall_m"), _POSITIVE)},
    "node": {"name": _NAME},
    "logger": {"name": _NAME, "offset_m": _NATURAL, "clock_sd_ms": _NATURAL},
    "known": {"name": _NAME, "offset_m": _NATURAL},
    "correlate": {
        "longest_m": _POSITIVE,
        "length_rel_sd": ("must lie in 0 .. 0.5", lambda v: 0 <= v <= 0.5),
        "speed_rel_sd": ("must lie in 0 .. 0.5", lambda v: 0 <= v <= 0.5),
        "weighting": (f"must be one of {', '.join(WEIGHTINGS)}", lambda v: v in WEIGHTINGS),
        "mains_hz": ("must be frequencies above 0", lambda v: all(hz > 0 and math.isfinite(hz) for hz in v)),
        "band_hz": ("must rise from 0 or more", lambda v: 0 <= v[0] < v[1]),
        "same_place_m": _NATURAL,
        "shortest_s": _POSITIVE,
    },
    "levels": {
        "low_percent": ("must lie in 0 .. 100", lambda v: 0 <= v <= 100),
        "spread_share": ("must lie above 0 and up to 1", lambda v: 0 < v <= 1),
        "leak_spread_db": _NATURAL,
    },
    "persistence": {
        "sigmas": _POSITIVE,
        "nights_sure": ("must be 2 or more", lambda v: v >= 2),
        "share": ("must lie above 0 and up to 1", lambda v: 0 < v <= 1),
        "good": ("must lie in 0 .. 1", lambda v: 0 <= v <= 1),
        "ended_after": ("must be 1 or more", lambda v: v >= 1),
    },
}
