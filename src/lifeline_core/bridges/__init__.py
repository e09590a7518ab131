"""Bridges: modes out of vibration, what the weather does to them, tension out of frequencies."""

from __future__ import annotations

from lifeline_core.bridges.baseline import Baseline, Score, fit_baseline
from lifeline_core.bridges.cables import Cable, cable_frequency, cable_tension, fit_cable
from lifeline_core.bridges.decay import coda_modes, free_decay
from lifeline_core.bridges.fdd import efdd, fdd
from lifeline_core.bridges.identify import StabilisationDiagram, identify_modes, stabilisation
from lifeline_core.bridges.layout import Layout
from lifeline_core.bridges.modes import Modes, mac
from lifeline_core.bridges.picture import draw_modes
from lifeline_core.bridges.shapepicture import draw_shapes
from lifeline_core.bridges.ssi import ssi_cov
from lifeline_core.bridges.tracking import Tracker, common_modes
from lifeline_core.bridges.trackpicture import draw_tracks
from lifeline_core.bridges.tracks import Tracks, follow

__all__ = [
    "Baseline",
    "Cable",
    "Layout",
    "Modes",
    "Score",
    "StabilisationDiagram",
    "Tracker",
    "Tracks",
    "cable_frequency",
    "cable_tension",
    "coda_modes",
    "common_modes",
    "draw_modes",
    "draw_shapes",
    "draw_tracks",
    "efdd",
    "fdd",
    "fit_baseline",
    "fit_cable",
    "follow",
    "free_decay",
    "identify_modes",
    "mac",
    "ssi_cov",
    "stabilisation",
]
