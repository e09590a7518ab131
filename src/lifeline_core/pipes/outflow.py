"""The flow at a place over time, read back from what sensors recorded: did it stay, or was it gone a second later?

Without friction the head at a sensor is the flow at the source, step by step, through the response of the network::

    h_i(t) = sum_k dq_k r_i(t - k D)          r_i  head at sensor i after a unit step there (`lifeline_core.pipes.moc`)

The steps dq_k follow from all sensors together by least squares, held small by a ridge; each sensor counts the same, and
what comes later counts less, as speeds are known to some percent only. A hole that opens gives a flow that stays. What
a pulse of demand or a tank near by makes of the pressure at one sensor looks alike; the flow does not. A pump that
changes its state is a source at its delivery and a sink of the same size at its suction.

Source: linear superposition of E. B. Wylie, V. L. Streeter, Fluid Transients in Systems (1993), ch. 12; ridge: A. E. Hoerl,
R. W. Kennard, Technometrics 12 (1970) 55-67.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lifeline_core.pipes.moc import Places, Waves

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph

Floats = NDArray[np.float64]

DT_S, EVERY = 0.005, 8  # steps of the network, and how many make a bin of 40 ms
BIN_S = DT_S * EVERY
PIECE_BINS, PIECES = 4, 21  # the flow is told for 21 pieces of 0.16 s
LOOKED_S = PIECE_BINS * PIECES * BIN_S
BEFORE_S, GUARD_S = 0.5, 0.1  # of the level before; and what is left out before the onset
EARLY_BINS = 3  # before the onset that are looked at as well
FADING_S = 3.0  # later heads count less by exp(-t / this)
RIDGE = 0.1  # of the mean eigenvalue
LEAST_M = 0.02  # sensors with less than this are not blown up to the size of others
LONGEST_S = 12.0  # of a way; sensors further away tell too little of the flow for what they cost
FEWEST_PIECES = 6  # that a record must cover to tell whether the flow stayed
LATE_PART = 3  # the last third of what is covered (2.2 .. 3.4 s of a whole record) tells what is left of the flow


@dataclass(frozen=True, slots=True)
class Trace:
    """Pressure head at a sensor, m: ``x`` float[n] at ``fs`` (Hz) from ``t0_s`` on; NaN where samples are missing."""

    t0_s: float
    fs: float
    x: NDArray[np.float32] | Floats


@dataclass(frozen=True, slots=True)
class Onset:
    """When a sensor's trace began to move, and the wave's own time from the source to it (s)."""

    t_s: float
    way_s: float


@dataclass(frozen=True, slots=True)
class Outflow:
    """Flow at a source over time.

    Attributes
    ----------
    q_m3s : float64[n]
        Out of the network, in pieces of ``PIECE_BINS * BIN_S`` seconds from the beginning.
    explained : float
        Share of the squares of all traces that it explains, at most 1.
    given_back : float
        1 minus what is left of it in the last third of the time covered against its largest before; NaN where the records
        end within a second.
    lasted_s : float
        When that last third begins, from the beginning of the flow on: what was still there has lasted so long.
    flow_m3s, flow_sd_m3s : float
        Median of the first second, and how far its pieces scatter; NaN where diameters are not known.
    """

    q_m3s: Floats
    explained: float
    given_back: float
    lasted_s: float
    flow_m3s: float
    flow_sd_m3s: float


def binned(trace: Trace, start_s: float, n: int) -> Floats:
    """Means over ``n`` bins from ``start_s`` on, NaN where no sample is finite."""
    x = np.asarray(trace.x, dtype=np.float64)
    good = np.isfinite(x)
    total = np.concatenate([[0.0], np.cumsum(np.where(good, x, 0.0))])
    count = np.concatenate([[0], np.cumsum(good)])
    edge = np.clip(np.rint((start_s - trace.t0_s + np.arange(n + 1) * BIN_S) * trace.fs), 0, len(x)).astype(np.intp)
    some = np.diff(count[edge])
    found: Floats = np.where(some > 0, np.diff(total[edge]) / np.maximum(some, 1), np.nan)
    return found


def level_before(trace: Trace, t_s: float) -> float:
    """Mean over half a second before an onset, NaN where nothing is known."""
    k = np.clip(np.rint((np.array([t_s - GUARD_S - BEFORE_S, t_s - GUARD_S]) - trace.t0_s) * trace.fs), 0, len(trace.x)).astype(int)
    x = np.asarray(trace.x[k[0] : k[1]], dtype=np.float64)
    x = x[np.isfinite(x)]
    return float(x.mean()) if len(x) else math.nan


class Listening:
    """What sensors recorded of one event, ready to be read back for several sources.

    Parameters
    ----------
    graph : PipeGraph
        Where it does not know all diameters (``known`` False), pipes are taken as equal: whether a flow lasted can still be
        told, how large it is cannot.
    traces : mapping of node to Trace
    scale : float
        Of all wave speeds, as the location found it.
    users : float64[n_nodes], optional
        See `lifeline_core.pipes.moc.Waves`: what was cut off of a larger network.

    Raises
    ------
    ValueError
        A node that is not in the network, a rate or scale that is not positive.
    """

    def __init__(self, graph: PipeGraph, traces: Mapping[str, Trace], scale: float = 1.0, users: Floats | None = None) -> None:
        for node, trace in traces.items():
            graph.node_index(node)
            if not (math.isfinite(trace.fs) and trace.fs > 0):
                raise ValueError(f"fs is positive and finite, got {trace.fs!r} at {node!r}")
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"scale is positive and finite, got {scale!r}")
        self.known = not bool(np.isnan(graph.diameter_m[graph.length_m > 0]).any())
        self.graph, self.traces, self.scale = graph, dict(traces), float(scale)
        piped = graph.time_s > 0
        speed = np.where(piped, graph.length_m / np.where(piped, graph.time_s, 1.0), 1.0)
        self._waves = Waves(graph, speed * scale, dt=DT_S, users=users)

    def responses(self, sources: Places, longest_s: float) -> Floats:
        """Heads at all traces after one m3/s begins to flow in at each source: [n_sources, n_traces, n] in bins."""
        taps = Places.at_nodes([self.graph.index[node] for node in self.traces])
        n = math.ceil((min(longest_s, LONGEST_S) + LOOKED_S) / BIN_S) + 2 * EARLY_BINS
        return self._waves.probe(sources, taps, n, EVERY).astype(np.float64)

    def read(self, response: Floats, onsets: Mapping[str, Onset]) -> Outflow | None:
        """The flow out of a source whose responses these are; None where too little was recorded.

        Parameters
        ----------
        response : float64[n_traces, n]
            A row of `responses`, or the difference of two.
        onsets : mapping of node to Onset
            Traces without one are left out.
        """
        rows = [self._rows(trace, onsets[node], -response[i]) for i, (node, trace) in enumerate(self.traces.items())
                if node in onsets and math.isfinite(onsets[node].way_s)]  # fmt: skip
        some = [r for r in rows if r is not None]
        if not some:
            return None
        a, y = np.concatenate([r[0] for r in some]), np.concatenate([r[1] for r in some])
        covered = int(np.ceil(max(r[2] for r in some)))
        whole = a.T @ a
        size = float(np.trace(whole)) / PIECES
        if not size > 0 or len(y) < PIECES or not y.any():
            return None
        q = np.cumsum(np.linalg.solve(whole + RIDGE * size * np.eye(PIECES), a.T @ y))
        left = y - a @ np.diff(q, prepend=0.0)
        return _told(q, 1.0 - float(left @ left) / float(y @ y), covered, self.known)

    def _rows(self, trace: Trace, onset: Onset, response: Floats) -> tuple[Floats, Floats, float] | None:
        """The equations of one trace, from a little before its onset on; and how many pieces it covers."""
        first = max(0, round(onset.way_s / BIN_S) - EARLY_BINS)
        n = min(PIECE_BINS * PIECES + EARLY_BINS, len(response) - first)
        if n < PIECE_BINS:
            return None
        y = binned(trace, onset.t_s - onset.way_s + first * BIN_S, n) - level_before(trace, onset.t_s)
        good = np.isfinite(y)
        if good.sum() < PIECE_BINS:
            return None
        padded = np.concatenate([np.zeros(PIECE_BINS * PIECES), response])
        at = np.arange(n)[:, None] + first - PIECE_BINS * np.arange(PIECES) + PIECE_BINS * PIECES
        after = np.maximum(np.arange(n) + first - onset.way_s / BIN_S, 0.0) * BIN_S
        weight = np.exp(-after / FADING_S) / math.hypot(float(np.sqrt(np.mean(y[good] ** 2))), LEAST_M)
        return padded[at][good] * weight[good, None], (y * weight)[good], float(np.nonzero(good)[0][-1] + 1) / PIECE_BINS


def _told(q: Floats, explained: float, covered: int, known: bool) -> Outflow:
    smooth = np.convolve(q, np.ones(3) / 3, "same")
    n = min(covered, PIECES)
    late = n - n // LATE_PART
    flow, sd = (float(np.median(q[1:7])), float(np.std(q[1:7]))) if known else (math.nan, math.nan)
    back = math.nan
    if n >= FEWEST_PIECES:
        most = float(smooth[:late][np.abs(smooth[:late]).argmax()])
        back = 1.0 - float(q[late:n].mean()) / most if most != 0 else math.nan
    return Outflow(q, explained, back, late * PIECE_BINS * BIN_S, flow, sd)


def sources_of(graph: PipeGraph, places: Sequence[tuple[str, float, str | None]]) -> Places:
    """Places for `Listening.responses` from (link, offset_m, node or None) rows, as candidates have them."""
    number = {name: k for k, name in enumerate(graph.links)}
    node = [graph.index[n] if n is not None else -1 for _, _, n in places]
    return Places(
        np.array(node, dtype=np.intp), np.array([number[link] for link, _, _ in places], dtype=np.intp),
        np.array([offset for _, offset, _ in places], dtype=np.float64),
    )  # fmt: skip
