"""Bridges: modes out of vibration, what the weather does to them, tension out of frequencies."""

from __future__ import annotations

from lifeline_core.bridges.baseline import Baseline, Score, fit_baseline
from lifeline_core.bridges.cables import Cable, cable_frequency, cable_tension, fit_cable
from lifeline_core.bridges.identify import identify_modes
from lifeline_core.bridges.modes import Modes, mac
from lifeline_core.bridges.ssi import ssi_cov

__all__ = [
    "Baseline",
    "Cable",
    "Modes",
    "Score",
    "cable_frequency",
    "cable_tension",
    "fit_baseline",
    "fit_cable",
    "identify_modes",
    "mac",
    "ssi_cov",
]
