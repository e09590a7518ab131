"""The same modes from window to window: each found mode is given to the reference it is most like, or to none.

    cost = |f - f_ref| / (gate_f f_ref) + (1 - MAC) / gate_mac        both parts at most 1

Assignment is by least total cost (Hungarian method), so two close modes cannot take the same reference; what is outside
the gates stays missing. References follow slowly in frequency and shape: the weather may move them, a mode that is not
there must not.

Source: H. W. Kuhn, Naval Res. Logist. Q. 2 (1955) 83-97.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from lifeline_core.bridges.identify import Demands, clusters
from lifeline_core.bridges.modes import Complex, Modes, Real, mac, normalised
from lifeline_core.errors import StateError

VERSION = 2


def common_modes(windows: Sequence[Modes], *, share: float = 0.5, apart: float = 0.06) -> Modes:
    """The modes that at least ``share`` of the windows have: references for a `Tracker`.

    ``apart``: relative frequency plus 1 - MAC at which two modes are not the same one.
    """
    if not windows:
        raise ValueError("windows must hold at least one window, holds none")
    f, zeta, shapes, f_sd, zeta_sd = (
        np.concatenate([getattr(m, key) for m in windows]) for key in ("f_hz", "damping", "shapes", "f_sd_hz", "damping_sd")
    )
    every = Modes(f, zeta, shapes, f_sd, zeta_sd, np.concatenate([np.full(len(m), i, np.int64) for i, m in enumerate(windows)]))
    kept = [c for c in clusters(every, Demands(apart=apart)) if len(np.unique(every.order[c])) >= share * len(windows)]
    middle = [int(c[np.argsort(every.f_hz[c], kind="stable")[len(c) // 2]]) for c in kept]
    rows = sorted(middle, key=lambda i: float(every.f_hz[i]))
    return every.take(np.array(rows, np.intp))


def wide_gates(reference: Modes, *, most: float = 0.25, least: float = 0.02) -> Real:
    """Gates as wide as the neighbours allow, float64[n]: a grave loss of stiffness must not take a mode out of sight.

    Half of the relative distance to the nearest mode of a similar shape (MAC above 0.5), within ``least`` .. ``most``; modes
    of other shapes are told apart by these.
    """
    f = reference.f_hz
    far = np.abs(f[:, None] - f) / np.minimum(f[:, None], f)
    far[(mac(reference.shapes, reference.shapes) <= 0.5) | np.eye(len(f), dtype=bool)] = np.inf
    gates: Real = np.clip(0.5 * far.min(axis=1, initial=np.inf), least, most)
    return gates


class Tracker:
    """Follows reference modes.

    Parameters
    ----------
    reference : Modes
        What to follow.
    gate_f : largest relative distance of frequency, one for all or one for each reference.
    gate_mac : largest 1 - MAC.
    follow : share of the way that a reference goes to what was found, each window; 0: it stays.
    """

    def __init__(self, reference: Modes, *, gate_f: float | Real = 0.08, gate_mac: float = 0.3, follow: float = 0.02) -> None:
        gates = np.broadcast_to(np.asarray(gate_f, np.float64), reference.f_hz.shape).copy()
        if not ((gates > 0.0) & (gates < 1.0)).all():
            raise ValueError(f"gate_f must lie between 0 and 1, is {gate_f}")
        if not 0.0 < gate_mac < 1.0:
            raise ValueError(f"gate_mac must lie between 0 and 1, is {gate_mac}")
        if not 0.0 <= follow <= 1.0:
            raise ValueError(f"follow must lie in 0 .. 1, is {follow}")
        self.gate_f, self.gate_mac, self.follow = gates, gate_mac, follow
        self.f_hz: Real = reference.f_hz.copy()
        self.shapes: Complex = normalised(reference.shapes)

    def assign(self, found: Modes) -> NDArray[np.int64]:
        """For each reference the row of ``found``, or -1; int64[n_reference]."""
        out = np.full(len(self.f_hz), -1, np.int64)
        if not len(found) or not len(self.f_hz):
            return out
        far = np.abs(found.f_hz[None, :] - self.f_hz[:, None]) / (self.gate_f * self.f_hz)[:, None]
        unlike = (1.0 - mac(self.shapes, found.shapes)) / self.gate_mac
        inside = (far <= 1.0) & (unlike <= 1.0)
        cost = np.where(inside, far + unlike, 100.0)  # far above any sum of costs that may be
        for i, j in zip(*linear_sum_assignment(cost), strict=True):
            if inside[i, j]:
                out[i] = j
        return out

    def update(self, found: Modes) -> Real:
        """Frequency of each reference mode in this window, Hz, NaN = missing; the references follow."""
        at = self.assign(found)
        there = at >= 0
        f = np.full(len(at), np.nan)
        f[there] = found.f_hz[at[there]]
        self.f_hz[there] += self.follow * (f[there] - self.f_hz[there])
        shapes = found.shapes[at[there]]
        turn = np.sum(shapes.conj() * self.shapes[there], axis=1)
        turn = np.divide(turn, np.abs(turn), out=np.ones_like(turn), where=turn != 0)
        size = np.linalg.norm(self.shapes[there], axis=1) / np.linalg.norm(shapes, axis=1)
        self.shapes[there] += self.follow * (shapes * (turn * size)[:, None] - self.shapes[there])
        return f

    def keep(self, which: NDArray[np.bool_]) -> None:
        """Follow these references only."""
        self.f_hz, self.shapes, self.gate_f = self.f_hz[which].copy(), self.shapes[which].copy(), self.gate_f[which].copy()

    @classmethod
    def of(cls, state: dict[str, Any], n_modes: int, **kw: float) -> Tracker:
        """A tracker of ``n_modes`` modes from what `save` gave, whatever the shapes' number of channels."""
        try:
            shapes = np.frombuffer(state["shapes"], np.complex128).reshape(n_modes, -1)
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"tracker cannot be restored: {error}") from error
        nothing = np.zeros(n_modes)
        new = cls(Modes(nothing, nothing, shapes, nothing, nothing, np.zeros(n_modes, np.int64)), **kw)
        new.load(state)
        return new

    def save(self) -> dict[str, Any]:
        return {"v": VERSION, "f": self.f_hz.tobytes(), "shapes": self.shapes.tobytes(), "gates": self.gate_f.tobytes()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `save` gave; StateError where it has other modes or channels."""
        f, shapes = np.frombuffer(state.get("f", b"")), np.frombuffer(state.get("shapes", b""), np.complex128)
        gates = np.frombuffer(state.get("gates", b""))
        same = f.shape == self.f_hz.shape == gates.shape and shapes.size == self.shapes.size
        if state.get("v") != VERSION or not same:
            raise StateError(f"tracker: saved state is of another version or has not {len(self.f_hz)} modes")
        self.f_hz, self.shapes, self.gate_f = f.copy(), shapes.reshape(self.shapes.shape).copy(), gates.copy()
