"""What a pipe is: the speed of its waves, its sections, the leak on it, the network and the burst in it."""

from __future__ import annotations

from lifeline_core.pipes.arrivals import Arrivals, pick_arrivals
from lifeline_core.pipes.candidates import Candidate, Candidates
from lifeline_core.pipes.correlation import Correlation, correlate
from lifeline_core.pipes.graph import PipeGraph
from lifeline_core.pipes.position import Position, Section, leak_position
from lifeline_core.pipes.speed import wave_speed

__all__ = [
    "Arrivals",
    "Candidate",
    "Candidates",
    "Correlation",
    "PipeGraph",
    "Position",
    "Section",
    "correlate",
    "leak_position",
    "pick_arrivals",
    "wave_speed",
]
