"""What a pipe is: the speed of its waves, its sections, the leak on it, the network and the burst in it.

==========================  ==================================================================================================
leaks                       `correlate` two loggers, `survey` thousands of pairs, `leak_position`, `joint_position`, `centre_offset`
clocks                      `estimate_drift`, `fit_drift`, `hum_drift`, `correct`
speed                       `wave_speed`, `pipe_speed` (table of materials), `speed_from_source`
network                     `PipeGraph` with `locate` and `locate_burst`, `Way`
transients                  `pick_arrivals`, `cause`, `burst_flow`, `surge`, `pressure_cycles`
==========================  ==================================================================================================
"""

from __future__ import annotations

from lifeline_core.pipes.arrivals import Arrivals, pick_arrivals
from lifeline_core.pipes.calibration import speed_from_source
from lifeline_core.pipes.candidates import Candidate, Candidates
from lifeline_core.pipes.causes import Cause, cause
from lifeline_core.pipes.clocks import correct, estimate_drift, fit_drift, hum_drift
from lifeline_core.pipes.correlation import Correlation, correlate
from lifeline_core.pipes.cycles import pressure_cycles
from lifeline_core.pipes.graph import PipeGraph
from lifeline_core.pipes.joint import Joint, PairDelay, joint_position
from lifeline_core.pipes.joukowsky import burst_flow
from lifeline_core.pipes.position import Position, Section, centre_offset, leak_position
from lifeline_core.pipes.speed import pipe_speed, wave_speed
from lifeline_core.pipes.surge import surge
from lifeline_core.pipes.survey import Pair, survey
from lifeline_core.pipes.ways import Way

__all__ = [
    "Arrivals",
    "Candidate",
    "Candidates",
    "Cause",
    "Correlation",
    "Joint",
    "Pair",
    "PairDelay",
    "PipeGraph",
    "Position",
    "Section",
    "Way",
    "burst_flow",
    "cause",
    "centre_offset",
    "correct",
    "correlate",
    "estimate_drift",
    "fit_drift",
    "hum_drift",
    "joint_position",
    "leak_position",
    "pick_arrivals",
    "pipe_speed",
    "pressure_cycles",
    "speed_from_source",
    "surge",
    "survey",
    "wave_speed",
]
