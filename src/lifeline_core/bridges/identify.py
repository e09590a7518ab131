"""Modes without hand tuning: poles that stay where they are from order to order, and are as sharp as the record allows.

    poles of all orders -> possible ones -> stable ones -> clusters -> modes, the rest refused with a reason

A pole of noise wanders from order to order, or its own standard deviation says that nothing is known of it. What a record
of T seconds can know of a frequency is bounded by sigma_f / f = sqrt(zeta / (2 pi T f)) (Au 2014): a cluster far above
that is no mode.

Sources: E. Reynders, J. Houbrechts and G. De Roeck, Mech. Syst. Signal Process. 29 (2012) 228-250 (clustering of poles);
S.-K. Au, Mech. Syst. Signal Process. 48 (2014) 15-33 (floor, leading order).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from lifeline_core.bridges.modes import Complex, Modes, Real
from lifeline_core.bridges.shapes import shape_deviations
from lifeline_core.bridges.ssi import covariances, ssi_from

SUREST = 3  # poles that speak for a cluster


@dataclass(frozen=True, slots=True)
class Demands:
    """What a cluster of poles must show to be a mode; the defaults are meant to be left alone."""

    damping: tuple[float, float] = (1e-4, 0.15)  # beyond: a rotating machine, or no oscillation
    step_f: float = 0.01  # relative, to the nearest pole of the order below
    step_mac: float = 0.95
    apart: float = 0.03  # relative frequency plus 1 - MAC at which clusters are two
    share: float = 0.4  # of the orders in which it could appear, counted from its first
    least: int = 4  # poles
    sharp: float = 5.0  # standard deviation over the floor; of simulated structures at most 1.6, of noise 30 and more


def frequency_floor(f_hz: ArrayLike, damping: ArrayLike, duration_s: float) -> Real:
    """Least standard deviation of a frequency, Hz: f sqrt(zeta / (2 pi T f)). Au 2014, leading order, long data.

    >>> float(frequency_floor(1.0, 0.01, 600.0).round(5))
    0.00163
    """
    f, z = np.asarray(f_hz, np.float64), np.asarray(damping, np.float64)
    return np.asarray(f * np.sqrt(np.maximum(z, 0.0) / (2 * np.pi * duration_s * f)))


def _unit(shapes: Complex) -> Complex:
    """Rows of length 1, so that one product gives the MAC of all of them; zeros stay zeros."""
    size = np.sqrt(np.sum(shapes.real**2 + shapes.imag**2, axis=1))[:, None]
    return np.divide(shapes, size, out=np.zeros_like(shapes), where=size > 0.0)


def _like(u: Complex, v: Complex) -> Real:
    """MAC of rows of length 1, 0 .. 1."""
    z = u.conj() @ v.T
    out: Real = np.minimum(z.real**2 + z.imag**2, 1.0)
    return out


def stable(poles: Modes, demands: Demands) -> NDArray[np.bool_]:
    """Which poles have a neighbour in the order below."""
    out = np.zeros(len(poles), bool)
    rank = np.argsort(poles.order, kind="stable")
    f, u = poles.f_hz[rank], _unit(poles.shapes[rank])
    border = [0, *np.flatnonzero(np.diff(poles.order[rank])) + 1, len(poles)]
    for (a, b), (_, c) in pairwise(pairwise(border)):
        step = np.abs(f[b:c, None] - f[a:b]) <= demands.step_f * f[b:c, None]
        out[rank[b:c]] = np.any(step & (_like(u[b:c], u[a:b]) >= demands.step_mac), axis=1)
    return out


def clusters(poles: Modes, demands: Demands) -> list[NDArray[np.intp]]:
    """Poles that are one mode seen at many orders: average linkage on relative frequency plus 1 - MAC."""
    if len(poles) < 2:
        return [np.arange(len(poles))] if len(poles) else []
    f, u = poles.f_hz, _unit(poles.shapes)
    far = np.abs(f[:, None] - f) / np.maximum(f[:, None], f) + 1.0 - _like(u, u)
    label = fcluster(linkage(squareform(far, checks=False), "average"), demands.apart, "distance")
    return [np.flatnonzero(label == k) for k in np.unique(label)]


def _median(x: Real) -> float:
    """As `numpy.median` of a row, which takes longer to begin than to end with rows as short as these."""
    s = np.sort(x)
    n = len(s)
    return float("nan") if np.isnan(s[-1]) else float(0.5 * (s[(n - 1) // 2] + s[n // 2]))


def _one_per_order(poles: Modes, members: NDArray[np.intp]) -> NDArray[np.intp]:
    """The surest pole of each order."""
    sure = members[np.argsort(poles.f_sd_hz[members], kind="stable")]
    return sure[np.unique(poles.order[sure], return_index=True)[1]]


def _surest(poles: Modes, members: NDArray[np.intp]) -> NDArray[np.intp]:
    """The few surest: at orders far above the structure's own poles split, and deviations of first order are too large."""
    return members[np.argsort(poles.f_sd_hz[members], kind="stable")][:SUREST]


def _judge(poles: Modes, members: NDArray[np.intp], last_order: int, duration_s: float, demands: Demands) -> str:
    """Why these poles are no mode; empty if they are."""
    first = int(poles.order[members].min())
    possible = (last_order - first) // 2 + 1
    need = max(demands.least, int(np.ceil(demands.share * possible)))
    if len(members) < need:
        return f"not stable: {len(members)} of {possible} orders from {first} on, {need} are needed"
    zeta, f = _median(poles.damping[members]), _median(poles.f_hz[members])
    floor = float(frequency_floor(f, zeta, duration_s))
    sd = _median(np.sort(poles.f_sd_hz[members])[:SUREST])
    if not sd <= demands.sharp * floor:
        return f"not sharp: its frequency is uncertain by {sd:.2g} Hz, {sd / floor:.1f} times what the record allows"
    return ""


def _merge(poles: Modes, groups: list[NDArray[np.intp]]) -> Modes:
    """One row a cluster: the one in the middle of the surest, with the median damping and standard deviations."""
    groups = [_surest(poles, g) for g in groups]
    middle = [g[np.argsort(poles.f_hz[g], kind="stable")[len(g) // 2]] for g in groups]
    rise = np.argsort(poles.f_hz[middle], kind="stable") if middle else np.array([], np.intp)
    rows, groups = [int(middle[i]) for i in rise], [groups[i] for i in rise]
    med = [np.array([_median(a[g]) for g in groups]) for a in (poles.damping, poles.f_sd_hz, poles.damping_sd)]
    return Modes(poles.f_hz[rows], med[0], poles.shapes[rows], med[1], med[2], poles.order[rows])


def modes_of(poles: Modes, duration_s: float, *, f_min: float = 0.0, f_max: float = np.inf, demands: Demands = Demands()) -> Modes:
    """The modes among the poles of all orders (with standard deviations); `identify_modes` says how."""
    refused: list[tuple[float, float, str]] = []
    possible = (poles.f_hz >= f_min) & (poles.f_hz <= f_max)
    possible &= (poles.damping >= demands.damping[0]) & (poles.damping <= demands.damping[1])
    last = int(poles.order.max()) if len(poles) else 0
    found = poles.take(possible)
    found = found.take(stable(found, demands))
    groups = []
    for cluster in clusters(found, demands):
        members = _one_per_order(found, cluster)
        if reason := _judge(found, members, last, duration_s, demands):
            refused.append((_median(found.f_hz[members]), _median(found.damping[members]), reason))
        else:
            groups.append(members)
    m = _merge(found, groups)
    return Modes(m.f_hz, m.damping, m.shapes, m.f_sd_hz, m.damping_sd, m.order, tuple(sorted(refused)))


@dataclass(frozen=True, slots=True)
class StabilisationDiagram:
    """Every pole of every order (``poles``) and the ``modes`` made of them."""

    poles: Modes
    modes: Modes
    duration_s: float
    demands: Demands

    @property
    def stable(self) -> NDArray[np.bool_]:
        """Which of the poles have a neighbour in the order below, bool[n_poles]."""
        return stable(self.poles, self.demands)


def stabilisation(x: ArrayLike, fs: float, f_max: float | None = None, *, f_min: float = 0.0, br: int = 30, order_max: int = 60,
                  demands: Demands = Demands()) -> StabilisationDiagram:
    """What `identify_modes` decides from, for people who want to see it; the same arguments."""
    if br < 2 or order_max < 2:
        raise ValueError(f"br and order_max must be at least 2, are {br} and {order_max}")
    lags = covariances(x, fs, br)
    poles = ssi_from(lags, br, order_max, uncertainty=True, weights="canonical")
    duration_s = np.asarray(x).shape[-1] / fs
    modes = modes_of(poles, duration_s, f_min=f_min, f_max=0.45 * fs if f_max is None else f_max, demands=demands)
    modes = replace(modes, shapes_sd=shape_deviations(lags, modes))
    return StabilisationDiagram(poles, modes, duration_s, demands)


def identify_modes(x: ArrayLike, fs: float, f_max: float | None = None, *, f_min: float = 0.0, br: int = 30, order_max: int = 60,
                   demands: Demands = Demands()) -> Modes:
    """Identify the modes of a structure under ambient load, with nothing to tune.

    Parameters
    ----------
    x : float[n_ch, n]
        Responses, time last, all finite.
    fs : Hz.
    f_min, f_max : Hz, where modes are sought; f_max defaults to 0.45 fs.
    br, order_max : as in `lifeline_core.bridges.ssi_cov`.

    Returns
    -------
    Modes
        In rising order of frequency, with standard deviations of frequency, damping and shape; ``refused`` names clusters of
        poles that were not taken, and why.
    """
    return stabilisation(x, fs, f_max, f_min=f_min, br=br, order_max=order_max, demands=demands).modes
