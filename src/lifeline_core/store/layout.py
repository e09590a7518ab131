"""layout.toml -> Layout: where each channel's sensor is and which way it looks. Every fault at once, with its path.

::

    title          of the pictures
    [[sensor]]     channel, at_m = [x, y, z], direction = "z" (x, y, z, with a sign) or [dx, dy, dz]
    [[point]]      name, at_m: a support; with follows = "channel" it moves as that channel's place
    [[line]]       through = ["abutment", "a1", "a2", ...]: channels and points joined in turn
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from lifeline_core.bridges.layout import AXES, Layout, Point, Sensor, Triple
from lifeline_core.errors import ConfigError
from lifeline_core.fields import Faults, near, read, read_toml
from lifeline_core.store.texts import read_text


class SensorTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[[sensor]]``: one channel; several at one place measure several directions of it."""

    channel: str
    at_m: tuple[float, float, float]
    direction: str | tuple[float, float, float]


class PointTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[[point]]``: a place without a sensor."""

    name: str
    at_m: tuple[float, float, float]
    follows: str | None = None


class LineTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[[line]]``: names joined in turn."""

    through: list[str]


_LISTS: dict[str, Any] = {"sensor": SensorTable, "point": PointTable, "line": LineTable}
_KNOWN = ("title", *_LISTS)


def load_layout(path: str | os.PathLike[str]) -> Layout:
    """The layout of one file.

    Raises
    ------
    ConfigError
        With every fault there is, each as ``path: rule, value``; also where the file cannot be read.
    """
    return read_layout(read_text(Path(path)))


def read_layout(text: str) -> Layout:
    """As `load_layout` for text."""
    table = read_toml(text)
    faults = Faults()
    for key in table:
        if key not in _KNOWN:
            faults.unknown("", key, _KNOWN)
    title = table.get("title", "")
    if not isinstance(title, str):
        faults.add("title", "must be text", title)
    rows = {name: _many(table, name, faults) for name in _LISTS}
    if not faults and not rows["sensor"]:
        faults.add("sensor", "must be given at least once, [[sensor]]")
    sensors = [Sensor(r.channel, r.at_m, _direction(r.direction, path, faults)) for path, r in rows["sensor"]]
    points = [Point(r.name, r.at_m, r.follows) for _, r in rows["point"]]
    lines = _lines(rows, faults)
    if faults:
        raise ConfigError(faults)
    return Layout(tuple(sensors), tuple(points), tuple(lines), title)


def _many(table: Mapping[str, Any], name: str, faults: Faults) -> list[tuple[str, Any]]:
    content = table.get(name, [])
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        faults.add(name, f"must be tables [[{name}]]")
        return []
    out = []
    for i, row in enumerate(content):
        before, path = len(faults), f"{name}[{i}]"
        values = read(_LISTS[name], row, path, faults)
        if len(faults) == before:
            out.append((path, _LISTS[name](**values)))
    return out


def _direction(given: str | Triple, path: str, faults: Faults) -> Triple:
    """A vector; a word is an axis with or without a sign."""
    if isinstance(given, str):
        axis = AXES.get(given.lstrip("+-").lower())
        if axis is None or len(given) > 2:
            faults.add(f"{path}.direction", "must be x, y or z with or without a sign, or [dx, dy, dz]", given)
            return AXES["z"]
        return (-axis[0], -axis[1], -axis[2]) if given.startswith("-") else axis
    if not np.any(given):
        faults.add(f"{path}.direction", "must not be of length 0", list(given))
    return given


def _lines(rows: Mapping[str, list[tuple[str, Any]]], faults: Faults) -> list[tuple[str, str]]:
    """The pairs that lines join; names that are there twice, or of nothing, go to the faults."""
    named: dict[str, str] = {}
    names = [(f"{path}.channel", r.channel) for path, r in rows["sensor"]] + [(f"{path}.name", r.name) for path, r in rows["point"]]
    for path, name in names:
        if name in named:
            faults.add(path, f"must differ from {named[name]}", name)
        named.setdefault(name, path)
    channels = [r.channel for _, r in rows["sensor"]]
    for path, r in rows["point"]:
        if r.follows is not None and r.follows not in channels:
            faults.add(f"{path}.follows", f"must be the channel of a sensor{near(r.follows, channels)}", r.follows)
    pairs: list[tuple[str, str]] = []
    for path, r in rows["line"]:
        if len(r.through) < 2:
            faults.add(f"{path}.through", "must have two names or more", r.through)
        for i, name in enumerate(r.through):
            if name not in named:
                faults.add(f"{path}.through[{i}]", f"must be the channel of a sensor or the name of a point{near(name, named)}",
                           name)
        pairs += pairwise(r.through)
    return pairs
