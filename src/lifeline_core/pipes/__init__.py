"""What a pipe is: the speed of its waves, its sections, the leak on it, the network and the burst in it."""

from __future__ import annotations

from lifeline_core.pipes.arrivals import Arrivals, pick_arrivals
from lifeline_core.pipes.candidates import Candidate, Candidates
from lifeline_core.pipes.graph import PipeGraph

__all__ = ["Arrivals", "Candidate", "Candidates", "PipeGraph", "pick_arrivals"]
