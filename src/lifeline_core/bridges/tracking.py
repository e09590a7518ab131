"""The same modes from window to window: each found mode is given to the reference it is most like, or to none.

    cost = |f - f_ref| / (gate_f f_ref) + (1 - MAC) / gate_mac        both parts at most 1, else missing, which costs 2

Assignment is by least total cost (Hungarian method), so two close modes cannot take the same reference; what is outside
the gates stays missing. References follow slowly in frequency and shape: the weather may move them, a mode that is not
there must not, nor a jump, which is damage or another mode taken for this one:

    f_ref += follow (f - jumps - f_ref)      level += QUICK (f - level)
    |f - level| > JUMP * its usual size:     jumps += f - level,  level = f

What came slowly before or after a jump is followed all the same. Shapes stay as they are while jumps do not add up to nothing.

Sources: H. W. Kuhn, Naval Res. Logist. Q. 2 (1955) 83-97 (assignment); J. Munkres, J. Soc. Ind. Appl. Math. 5 (1957) 32-38.
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

VERSION = 3
QUICK = 0.2  # share of the way that a mode's level goes to what is found, each window
JUMP = 6.0  # mean sizes of what a window is off the level: 4.8 standard deviations of a Gaussian
LEAST_OFF = 5e-4  # of the frequency: that mean size is never taken to be less
COLUMNS = ("f_hz", "gate_f", "jumps_hz", "level_hz", "past_hz", "past_jumps_hz", "off_hz", "seen")  # of the state, a value a mode
MISSING = 2.0  # cost of a reference that gets nothing: as the worst pair, so no mode is moved on to make room for another
SETTLE = 12  # windows with the mode, before which nothing is called a jump


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

    Attributes
    ----------
    f_hz, shapes : the references as they stand, float64[n] and complex128[n, n_ch].
    jumps_hz : float64[n], sum of the jumps of each mode, which its reference did not follow.
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
        n = len(self.f_hz)
        self.jumps_hz: Real = np.zeros(n)
        self.level_hz: Real = np.full(n, np.nan)
        self.past_hz: Real = np.full(n, np.nan)  # level and jumps before the last jump
        self.past_jumps_hz: Real = np.zeros(n)
        self.off_hz: Real = np.zeros(n)  # mean size of what a window is off the level
        self.seen: NDArray[np.int64] = np.zeros(n, np.int64)

    def assign(self, found: Modes) -> NDArray[np.int64]:
        """For each reference the row of ``found``, or -1; int64[n_reference]."""
        out = np.full(len(self.f_hz), -1, np.int64)
        if not len(found) or not len(self.f_hz):
            return out
        far = np.abs(found.f_hz[None, :] - self.f_hz[:, None]) / (self.gate_f * self.f_hz)[:, None]
        unlike = (1.0 - mac(self.shapes, found.shapes)) / self.gate_mac
        inside = (far <= 1.0) & (unlike <= 1.0)
        cost = np.where(inside, far + unlike, 1e3)
        cost = np.concatenate((cost, np.full((len(cost), len(cost)), MISSING)), axis=1)  # a place for each that stays missing
        for i, j in zip(*linear_sum_assignment(cost), strict=True):
            if j < len(found):
                out[i] = j
        return out

    def update(self, found: Modes) -> Real:
        """Frequency of each reference mode in this window, Hz, NaN = missing; the references follow."""
        at = self.assign(found)
        there = at >= 0
        f = np.full(len(at), np.nan)
        f[there] = found.f_hz[at[there]]
        self._level(f, there)
        self.f_hz[there] += self.follow * (f - self.jumps_hz - self.f_hz)[there]
        same = there & (np.abs(self.jumps_hz) <= JUMP * np.maximum(self.off_hz, LEAST_OFF * self.f_hz))
        shapes = found.shapes[at[same]]
        turn = np.sum(shapes.conj() * self.shapes[same], axis=1)
        turn = np.divide(turn, np.abs(turn), out=np.ones_like(turn), where=turn != 0)
        size = np.linalg.norm(self.shapes[same], axis=1) / np.linalg.norm(shapes, axis=1)
        self.shapes[same] += self.follow * (shapes * (turn * size)[:, None] - self.shapes[same])
        return f

    def _level(self, f: Real, there: NDArray[np.bool_]) -> None:
        """Take a window's frequencies into levels and jumps."""
        first = there & (self.seen == 0)
        self.level_hz[first] = f[first]
        off = f - self.level_hz
        limit = JUMP * np.maximum(self.off_hz, LEAST_OFF * self.f_hz)
        jump = there & (self.seen >= SETTLE) & (np.abs(off) > limit)
        calm = there & ~jump
        back = jump & (np.abs(f - self.past_hz) <= limit)  # after odd windows: as if they had not been
        ahead = jump & ~back
        self.jumps_hz[back], self.level_hz[back], self.past_hz[back] = self.past_jumps_hz[back], self.past_hz[back], np.nan
        self.past_jumps_hz[ahead], self.past_hz[ahead] = self.jumps_hz[ahead], self.level_hz[ahead]
        self.jumps_hz[ahead] += off[ahead]
        self.level_hz[ahead] = f[ahead]
        self.level_hz[calm] += QUICK * off[calm]
        self.seen[there] += 1
        share = np.maximum(1.0 / np.maximum(self.seen, 1), min(self.follow, 1.0 / SETTLE))
        self.off_hz[calm] += (share * (np.abs(off) - self.off_hz))[calm]

    def keep(self, which: NDArray[np.bool_]) -> None:
        """Follow these references only."""
        for name in ("shapes", *COLUMNS):
            setattr(self, name, getattr(self, name)[which].copy())

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
        return {"v": VERSION, "shapes": self.shapes.tobytes(), **{name: getattr(self, name).tobytes() for name in COLUMNS}}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `save` gave; StateError where it has other modes or channels."""
        n = len(self.f_hz)
        shapes = np.frombuffer(state.get("shapes", b""), np.complex128)
        columns = {name: np.frombuffer(state.get(name, b""), getattr(self, name).dtype) for name in COLUMNS}
        if state.get("v") != VERSION or shapes.size != self.shapes.size or any(c.shape != (n,) for c in columns.values()):
            raise StateError(f"tracker: saved state is of another version or has not {n} modes")
        self.shapes = shapes.reshape(self.shapes.shape).copy()
        for name, column in columns.items():
            setattr(self, name, column.copy())
