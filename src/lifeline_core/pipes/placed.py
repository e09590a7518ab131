"""Places that were compared by their waves, as candidates: their probabilities, and whether the best of them fits.

Scores are divided by ``TEMPERATURE`` before they become probabilities: misfits of a real network are shared by many
samples, so a difference in likelihood counts for less than it says. It was set on bursts of our own in made-up networks
(bench/burst_study.py) so that a 90 % set holds the truth in at least 90 % of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from lifeline_core.pipes.candidates import Account, Candidates
from lifeline_core.pipes.evidence import LEAST_LIKELY, Fit
from lifeline_core.pipes.moc import Places

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph

SCALES = np.exp(0.036 * np.arange(-6, 7))  # of all speeds, 0.81 .. 1.24
TEMPERATURE = 200.0
FINE_M = 12.0  # between points inside links about the best
MISFIT = 1.4  # of the best place; below 0.9 in most of our own worlds of a speed within SCALES (bench/burst_study.py misfit)
MOST_SLOW = 0.03
KEPT = 0.5


class Placed(Candidates):
    """Candidates of `lifeline_core.pipes.waveform.match_burst`. Where they do not fit, ``account.doubts`` has "waves" (the
    best place leaves too much unexplained) or "speed" (it asks for speeds beyond those looked at), and ``note`` says it in
    a sentence.

    ``flow_kept`` is the flow at the end of the records, of its median: about 1 for a burst; where it is below ``KEPT``, a
    demand has ended.
    """

    note: str = ""
    flow_kept: float = 1.0

    @classmethod
    def none(cls, graph: PipeGraph) -> Placed:
        """An empty list."""
        found = super().none(graph)
        assert isinstance(found, Placed)
        return found

    @property
    def pulse(self) -> bool:
        """Whether what ran out there has ended: a short demand, no burst."""
        return self.flow_kept < KEPT


def found_scale(fit: Fit) -> float:
    """Common factor of all speeds: that of the networks it was fitted with, and what the spread asks for beyond."""
    return fit.scale * math.exp(min(max(fit.slow, -MOST_SLOW), MOST_SLOW))


def doubt(best: Fit, solve_speed: bool) -> tuple[str, str]:
    """Why the best fit is none, in a word and in a sentence; empty where it is one."""
    scale = found_scale(best)
    if best.misfit > MISFIT:
        return "waves", f"the waves differ from the network's by {best.misfit:.2f} standard deviations, {MISFIT:g} is believed"
    if solve_speed and not SCALES[0] <= scale <= SCALES[-1]:
        return "speed", f"speeds of {scale:.2f} times those told or further off; {SCALES[0]:.2f} .. {SCALES[-1]:.2f} is believed"
    return "", ""


def listed(
    graph: PipeGraph, places: Places, fits: list[Fit], speed: float, used: tuple[str, ...], solve_speed: bool
) -> Placed:
    """Nodes as they are, of every link its best point; a link's points share one node's prior."""
    score = np.array([f.score for f in fits])
    weight = np.exp((score - score.max()) / TEMPERATURE)
    inside = places.node < 0
    keep, p = [], []
    for i in np.nonzero(~inside & (score > LEAST_LIKELY))[0]:
        keep.append(int(i))
        p.append(float(weight[i]))
    for link in np.unique(places.link[inside]):
        mine = np.nonzero(inside & (places.link == link))[0]
        keep.append(int(mine[score[mine].argmax()]))
        p.append(float(weight[mine].sum()) / max(len(mine), round(graph.length_m[link] / FINE_M), 1))
    probability = np.array(p) / sum(p)
    order = np.argsort(-probability, kind="stable")
    rows = np.array(keep, dtype=np.intp)[order]
    node = places.node[rows]
    home_link, home_offset = graph.node_home
    link = np.where(node >= 0, home_link[np.maximum(node, 0)], places.link[rows])
    offset = np.where(node >= 0, home_offset[np.maximum(node, 0)], places.offset_m[rows])
    fit = {
        "t0_s": np.array([fits[i].t0_s for i in rows]),
        "rms_s": np.array([fits[i].rms_s for i in rows]),
        "misfit": np.array([fits[i].misfit for i in rows]),
        "probability": probability[order],
        "likelihood": weight[rows],
        "speed": speed * np.array([found_scale(fits[i]) for i in rows]),
    }
    best = fits[int(score.argmax())]
    word, note = doubt(best, solve_speed)
    account = Account(used=used, doubts=(word,) if word else ())
    found = Placed(graph, link, offset, node, fit, float(score.max()), account=account)
    found.note, found.flow_kept = note, best.kept
    return found
