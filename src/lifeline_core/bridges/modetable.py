"""What speaks for each mode of an identification: its figures, how nearly it is a standing wave, in how many orders it was seen.

    MPC = |phi^T phi|^2 / (phi^H phi)^2        1: all sensors pass zero together;  0: a travelling wave, or noise

Source: R. S. Pappa, K. B. Elliott and A. Schenk, J. Guid. Control Dyn. 16 (1993) 852-858 (modal phase collinearity; here of the
moments about zero, which is where a structure at rest is).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lifeline_core.bridges.identify import StabilisationDiagram, frequency_floor
from lifeline_core.bridges.modes import Complex, Real, mac


@dataclass(frozen=True, slots=True)
class ModeRow:
    """One mode. ``number`` from 1; ``floor_hz``: the least ``f_sd_hz`` that a record of this length allows; ``collinearity``: MPC,
    NaN for one sensor; ``orders`` of ``possible`` model orders, counted from its first, in which a stable pole is this mode."""

    number: int
    f_hz: float
    f_sd_hz: float
    damping: float
    damping_sd: float
    floor_hz: float
    collinearity: float
    orders: int
    possible: int


def phase_collinearity(shapes: ArrayLike) -> Any:
    """MPC of each row, 0 .. 1; NaN with one sensor, which is always in phase with itself, and for a shape of zeros.

    >>> phase_collinearity([1.0, -2.0]), phase_collinearity([1.0, 1j])
    (1.0, 0.0)
    """
    rows = np.atleast_2d(np.asarray(shapes, np.complex128))
    top = np.abs(np.sum(rows * rows, axis=1)) ** 2
    size = np.sum(np.abs(rows) ** 2, axis=1) ** 2
    known = (size > 0) & (rows.shape[1] > 1)
    out = np.divide(np.minimum(top, size), size, out=np.full(len(rows), np.nan), where=known)
    return float(out[0]) if np.ndim(shapes) == 1 else out


def real_shapes(shapes: Complex) -> Real:
    """Each row turned so that as much of it as can be is real, float64[n, n_ch], its largest component 1.

    The imaginary part that is left is smallest in the sum of squares: the turn is half the angle of phi^T phi.
    """
    turned = shapes * np.exp(-0.5j * np.angle(np.sum(shapes * shapes, axis=1)))[:, None]
    real = np.ascontiguousarray(turned.real)
    top = np.take_along_axis(real, np.argmax(np.abs(real), axis=1)[:, None], axis=1) if real.size else np.empty((len(real), 1))
    out: Real = np.divide(real, top, out=np.zeros_like(real), where=top != 0)
    return out


def mode_table(diagram: StabilisationDiagram) -> list[ModeRow]:
    """The modes of a diagram in rising order of frequency."""
    m, poles = diagram.modes, diagram.poles.take(diagram.stable)
    floor = frequency_floor(m.f_hz, m.damping, diagram.duration_s)
    mpc = phase_collinearity(m.shapes) if len(m) else np.empty(0)
    last = int(diagram.poles.order.max(initial=0))
    rows = []
    for i in range(len(m)):
        far = np.abs(poles.f_hz - m.f_hz[i]) / np.maximum(poles.f_hz, m.f_hz[i])
        far = far + 1.0 - mac(poles.shapes, m.shapes[i : i + 1])[:, 0] if len(poles) else far
        orders = np.unique(poles.order[far <= diagram.demands.apart])
        possible = (last - int(orders[0])) // 2 + 1 if len(orders) else 0
        f, f_sd, z, z_sd, least, line = (float(a[i]) for a in (m.f_hz, m.f_sd_hz, m.damping, m.damping_sd, floor, mpc))
        rows.append(ModeRow(i + 1, f, f_sd, z, z_sd, least, line, len(orders), possible))
    return rows
