"""The one table of detectors. A new one is a file beside these and a line here."""

from __future__ import annotations

from importlib import import_module

from lifeline_core.detectors.base import Detector

TABLE: dict[str, str] = {
    "binned": "Binned",
    "cable": "Cable",
    "health": "Health",
    "leak": "Leak",
    "level": "Level",
    "modal": "Modal",
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
