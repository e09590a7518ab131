"""The modes of a long recording, window by window: which mode of each window is which reference mode, and which is missing.

    windows -> references (modes that half of the windows have) -> tracker -> one row a window, NaN where a mode is missing

References come from the whole recording, or from its first windows: what is told is what was there, not what is foretold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lifeline_core.bridges.modes import Modes, Real, mac
from lifeline_core.bridges.tracking import Tracker, common_modes, wide_gates

FOR_REFERENCES = 48  # windows at most, spread evenly: references do not get better by more


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, UTC nanoseconds, and the modes found in it; None: nothing could be identified, and ``why``.

    ``environment``: mean of what was measured of the weather, NaN where nothing was."""

    begin_ns: int
    end_ns: int
    modes: Modes | None
    why: str = ""
    environment: float = float("nan")


@dataclass(frozen=True, slots=True)
class Tracks:
    """One row a window, one column a reference mode; NaN: that mode was not found there.

    begin_ns, end_ns : int64[n], UTC.
    reference : the modes that were followed, as they were first.
    f_hz, f_sd_hz, damping, damping_sd : float64[n, n_modes].
    likeness : float64[n, n_modes], MAC with the reference.
    environment : float64[n].
    others : of each window the frequencies, Hz, that are none of the references.
    why : of each window, why nothing was identified; empty where something could be.
    """

    begin_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    reference: Modes
    f_hz: Real
    f_sd_hz: Real
    damping: Real
    damping_sd: Real
    likeness: Real
    environment: Real
    others: tuple[Real, ...] = field(default=())
    why: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.begin_ns)

    @property
    def middle_ns(self) -> NDArray[np.int64]:
        """Middle of each window, int64[n]."""
        return self.begin_ns + (self.end_ns - self.begin_ns) // 2

    @property
    def found(self) -> NDArray[np.int64]:
        """In how many windows each mode was found, int64[n_modes]."""
        return np.isfinite(self.f_hz).sum(axis=0)


def references(windows: Sequence[Window], *, learn: int = 0, share: float = 0.5) -> Modes:
    """The modes that ``share`` of the first ``learn`` windows have; 0: of windows spread over all of them."""
    seen = [w.modes for w in windows if w.modes is not None]
    usable = [m for m in seen if len(m)]
    if learn:
        usable = usable[:learn]
    elif len(usable) > FOR_REFERENCES:
        usable = [usable[i] for i in np.linspace(0, len(usable) - 1, FOR_REFERENCES).astype(int)]
    if not seen:
        reasons = [w.why for w in windows if w.why]
        raise ValueError(f"none of {len(windows)} windows could be identified" + (f": {reasons[0]}" if reasons else ""))
    return common_modes(usable, share=share) if usable else seen[0]


def follow(windows: Sequence[Window], *, learn: int = 0, share: float = 0.5) -> Tracks:
    """Follow the modes of a recording through its windows.

    Parameters
    ----------
    windows : in the order of time.
    learn : how many of the first windows with modes give the references; 0: up to 48, spread evenly over all.
    share : of these windows that a mode must be in to be a reference, above 0, at most 1.

    Returns
    -------
    Tracks
        Without columns where no mode is in so many windows.

    Raises
    ------
    ValueError
        No windows, none that could be identified, not in order, or ``learn`` or ``share`` out of range.
    """
    if learn < 0 or not 0.0 < share <= 1.0:
        raise ValueError(f"learn must be 0 or more and share above 0, at most 1, are {learn} and {share}")
    if any(a.begin_ns > b.begin_ns for a, b in pairwise(windows)):
        raise ValueError("windows must be in the order of time")
    reference = references(windows, learn=learn, share=share)
    n, m = len(windows), len(reference)
    f, f_sd, zeta, zeta_sd, like = np.full((5, n, m), np.nan)
    others: list[Real] = []
    tracker = Tracker(reference, gate_f=wide_gates(reference)) if m else None
    for i, window in enumerate(windows):
        found = window.modes
        if found is None or tracker is None:
            others.append(np.empty(0) if found is None else found.f_hz)
            continue
        at = tracker.assign(found)
        there, rows = at >= 0, at[at >= 0]
        f[i], f_sd[i, there], zeta[i, there] = tracker.update(found), found.f_sd_hz[rows], found.damping[rows]
        zeta_sd[i, there] = found.damping_sd[rows]
        like[i, there] = [mac(a, b) for a, b in zip(reference.shapes[there], found.shapes[rows], strict=True)]
        others.append(np.delete(found.f_hz, rows))
    begin, end = (np.array([getattr(w, k) for w in windows], np.int64) for k in ("begin_ns", "end_ns"))
    weather = np.array([w.environment for w in windows], np.float64)
    return Tracks(begin, end, reference, f, f_sd, zeta, zeta_sd, like, weather, tuple(others), tuple(w.why for w in windows))


def line_through(x: Real, y: Real) -> tuple[float, float, float]:
    """Intercept, slope, and the share of y's variance that the straight line explains; NaN with fewer than three pairs or one x."""
    good = np.isfinite(x) & np.isfinite(y)
    a, b = x[good], y[good]
    if len(a) < 3 or not np.ptp(a) > 0:
        return float("nan"), float("nan"), float("nan")
    dx, dy = a - a.mean(), b - b.mean()
    slope = float(np.sum(dx * dy) / np.sum(dx * dx))
    total = float(np.sum(dy * dy))
    share = slope**2 * float(np.sum(dx * dx)) / total if total > 0 else float("nan")
    return float(b.mean() - slope * a.mean()), slope, share
