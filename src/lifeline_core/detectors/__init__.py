"""The one table of detectors. A new one is a file beside these and a line here."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from lifeline_core.detectors.base import Detector
from lifeline_core.model import Channel

TABLE: dict[str, str] = {
    "binned": "Binned",
    "cable": "Cable",
    "cycles": "Cycles",
    "health": "Health",
    "impact": "Impact",
    "leak": "Leak",
    "level": "Level",
    "modal": "Modal",
    "quality": "Quality",
    "passage": "Passage",
    "regressed": "Regressed",
    "shock": "Shock",
    "spectral": "Spectral",
    "transient": "Transient",
}


def find(name: str) -> type[Detector]:
    """The class of one row; KeyError names the rows there are."""
    if name not in TABLE:
        raise KeyError(f"no detector {name!r}: there are {', '.join(sorted(TABLE))}")
    found: type[Detector] = getattr(import_module(f"lifeline_core.detectors.{name}"), TABLE[name])
    return found


def first_groups(kind: type[Detector], params: Any, channels: Sequence[Channel]) -> list[tuple[Channel, ...]]:
    """How a watch's channels are expected to arrive.

    A coupled detector wants all of them aligned, but for those that only explain: these come each by itself. Others take the
    regular channels of one device together (they come in one frame, so one call serves all lanes) and every irregular channel
    alone.
    """
    own = len(channels) - kind.aside(params) if kind.COUPLED else 0
    by_device: dict[Any, list[Channel]] = {}
    for c in channels[own:]:
        by_device.setdefault((c.device, c.rate_hz) if c.rate_hz and not own else c.name, []).append(c)
    return [tuple(channels[:own])] * (own > 0) + [tuple(group) for group in by_device.values()]
