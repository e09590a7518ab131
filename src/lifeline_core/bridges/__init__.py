"""Bridges: modes out of vibration, what the weather does to them, tension out of frequencies."""

from __future__ import annotations

from lifeline_core.bridges.baseline import Baseline, Score, fit_baseline
from lifeline_core.bridges.cables import Cable, cable_frequency, cable_tension, fit_cable
from lifeline_core.bridges.fdd import fdd
from lifeline_core.bridges.identify import StabilisationDiagram, identify_modes, stabilisation
from lifeline_core.bridges.modes import Modes, mac
from lifeline_core.bridges.ssi import ssi_cov
from lifeline_core.bridges.tracking import Tracker, common_modes

__all__ = [
    "Baseline",
    "Cable",
    "Modes",
    "Score",
    "StabilisationDiagram",
    "Tracker",
    "cable_frequency",
    "cable_tension",
    "common_modes",
    "fdd",
    "fit_baseline",
    "fit_cable",
    "identify_modes",
    "mac",
    "ssi_cov",
    "stabilisation",
]
