"""What the frequencies of a sound structure do, and how far from that a window is: weather taken out, missing modes allowed.

    f_j = b_0 + b^T env + hinge(env_1) + e_j          with measured environment, least squares, every mode by itself
    f_j = mean + e_j                                  without: what all modes do together is in the covariance of e
    d2  = e_a^T S_aa^-1 e_a / (1 + h)                 over the modes a that were identified

h is the leverage of the window's environment: colder than ever before, less is known. d2 of m modes is put on the scale of
all modes (Wilson and Hilferty), so that one limit serves. Without environment the directions in which frequencies move
with the weather have a large variance in S and weigh next to nothing in S^-1: what is judged is what is left of principal
component analysis when no component must be chosen.

Sources: P. C. Mahalanobis, Proc. Natl. Inst. Sci. India 2 (1936) 49-55; H. Hotelling, Ann. Math. Stat. 2 (1931) 360-378;
A.-M. Yan et al., Mech. Syst. Signal Process. 19 (2005) 847-864 (environment without measuring it); B. Peeters and G. De
Roeck, Earthq. Eng. Struct. Dyn. 30 (2001) 149-171 (two slopes about the freezing point).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from threadpoolctl import threadpool_limits

from lifeline_core.errors import StateError

Real = NDArray[np.float64]

VERSION = 1
FEWEST_PER_MODE = 3  # windows for each mode of a covariance
ROUNDS = 200  # of estimation with missing values


class Score(NamedTuple):
    """d2 float64[n] on the scale of all modes, NaN where nothing could be judged; its limit; d2 > limit."""

    d2: Real
    limit: float
    alarm: NDArray[np.bool_]


def _rows(f_hz: ArrayLike) -> Real:
    f = np.asarray(f_hz, np.float64)
    if f.ndim == 1:
        f = f[:, None]
    if f.ndim != 2 or f.size == 0:
        raise ValueError(f"f_hz must be [n_windows, n_modes] and not empty, is of shape {f.shape}")
    return np.where(np.isfinite(f), f, np.nan)


def _env(env: ArrayLike | None, n: int) -> Real:
    if env is None:
        return np.empty((n, 0))
    e = np.asarray(env, np.float64)
    e = e[:, None] if e.ndim == 1 else e
    if e.shape[0] != n or e.ndim != 2:
        raise ValueError(f"env must have one row for each of {n} windows, is of shape {np.shape(env)}")
    return e


def _same_scale(d2: Real, m: NDArray[np.int64], modes: int) -> Real:
    """d2 of m modes as the value that is as unlikely for all of them (Wilson and Hilferty, PNAS 17, 1931)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (np.cbrt(d2 / m) - (1 - 2 / (9 * m))) / np.sqrt(2 / (9 * m))
        whole = modes * np.maximum(1 - 2 / (9 * modes) + z * np.sqrt(2 / (9 * modes)), 0.0) ** 3
    return np.where(m == 0, np.nan, np.where(m == modes, d2, whole))


@dataclass(frozen=True, slots=True)
class Baseline:
    """A sound structure's frequencies.

    centre, spread : of the environment in training, float64[k].
    hinge : value of the first environmental column below which it has another slope; NaN: one slope.
    weights : float64[1 + k (+ 1), n_modes].
    leverage : inverse of the design's normal matrix, one for all modes.
    cov : float64[n_modes, n_modes] of the residuals. limit : of d2. windows : trained on.
    """

    centre: Real
    spread: Real
    hinge: float
    weights: Real
    leverage: Real
    cov: Real
    limit: float
    windows: int

    def save(self) -> dict[str, Any]:
        """As a map of plain values and bytes."""
        arrays = {key: getattr(self, key).tobytes() for key in ("centre", "spread", "weights", "leverage", "cov")}
        return {**arrays, "v": VERSION, "hinge": self.hinge, "limit": self.limit, "windows": self.windows}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Baseline:
        """What `save` gave; StateError for anything else."""
        if state.get("v") != VERSION:
            raise StateError(f"baseline: state of version {VERSION}, got {state.get('v')!r}")
        try:
            centre, spread, weights, leverage, cov = (np.frombuffer(state[k]).copy()
                                                      for k in ("centre", "spread", "weights", "leverage", "cov"))
            modes, columns = round(len(cov) ** 0.5), round(len(leverage) ** 0.5)
            return cls(centre, spread, float(state["hinge"]), weights.reshape(columns, modes), leverage.reshape(columns, columns),
                       cov.reshape(modes, modes), float(state["limit"]), int(state["windows"]))
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"baseline cannot be restored: {error}") from error

    def _design(self, e: Real) -> Real:
        z = (e - self.centre) / self.spread
        columns = [np.ones((len(z), 1)), z]
        if np.isfinite(self.hinge):
            columns.append(np.maximum((self.hinge - e[:, :1]) / self.spread[0], 0.0))
        return np.hstack(columns)

    def residuals(self, f_hz: ArrayLike, env: ArrayLike | None = None) -> tuple[Real, Real]:
        """What is left of f (Hz, NaN where a mode or the environment is missing) and the leverage of each window."""
        f = _rows(f_hz)
        if f.shape[1] != len(self.cov):
            raise ValueError(f"f_hz must have the baseline's {len(self.cov)} modes, has {f.shape[1]}")
        e = _env(env, len(f))
        if e.shape[1] != len(self.centre):
            raise ValueError(f"env must have the baseline's {len(self.centre)} columns, has {e.shape[1]}")
        x = self._design(e)
        return f - x @ self.weights, np.einsum("ni,ij,nj->n", x, self.leverage, x)

    def moved(self, f_hz: ArrayLike, env: ArrayLike | None = None) -> Real:
        """Relative change of each mode after the weather was taken out, float64[n, n_modes]; -0.019 is 1.9 % lower."""
        f = _rows(f_hz)
        e, _ = self.residuals(f, env)
        return np.asarray(e / (f - e))

    def score(self, f_hz: ArrayLike, env: ArrayLike | None = None) -> Score:
        """Judge windows: f_hz float[n, n_modes], NaN = not identified; env as in training."""
        e, h = self.residuals(f_hz, env)
        d2, m = _mahalanobis(e, self.cov)
        d2 = _same_scale(d2 / (1.0 + h), m, len(self.cov))
        with np.errstate(invalid="ignore"):
            return Score(d2, self.limit, d2 > self.limit)


def _mahalanobis(e: Real, cov: Real) -> tuple[Real, NDArray[np.int64]]:
    """e_a^T S_aa^-1 e_a over the values that are there, and how many there are."""
    there = np.isfinite(e)
    d2 = np.full(len(e), np.nan)
    for pattern in np.unique(there, axis=0):
        rows = np.flatnonzero((there == pattern).all(axis=1))
        if pattern.any():
            part = e[np.ix_(rows, pattern)]
            d2[rows] = np.einsum("ni,ni->n", part, np.linalg.solve(cov[np.ix_(pattern, pattern)], part.T).T)
    return d2, there.sum(axis=1)


def _fill(f: Real, mean: Real, cov: Real) -> tuple[Real, Real]:
    """f with what is missing replaced by what is expected of it, and the summed covariance of what was put in."""
    there, full, extra = np.isfinite(f), f.copy(), np.zeros_like(cov)
    for pattern in np.unique(there, axis=0):
        if pattern.all():
            continue
        rows = np.flatnonzero((there == pattern).all(axis=1))
        gain = np.linalg.solve(cov[np.ix_(pattern, pattern)], cov[np.ix_(pattern, ~pattern)])
        full[np.ix_(rows, ~pattern)] = mean[np.ix_(rows, ~pattern)] + (f - mean)[np.ix_(rows, pattern)] @ gain
        extra[np.ix_(~pattern, ~pattern)] += len(rows) * (cov[np.ix_(~pattern, ~pattern)] - cov[np.ix_(~pattern, pattern)] @ gain)
    return full, extra


def _fit(f: Real, x: Real) -> tuple[Real, Real, Real]:
    """Weights, what is left (NaN where missing) and its covariance, by maximum likelihood with missing values (EM).

    Frequencies that all move with the weather are nearly one; a covariance gathered pair by pair, from different
    windows for each, would not know that. Source: A. Dempster, N. Laird and D. Rubin, J. R. Stat. Soc. B 39 (1977) 1-38.
    """
    there = np.isfinite(f)
    if (there.sum(axis=0) < x.shape[1] + 2).any():
        raise ValueError(f"every mode must be identified in {x.shape[1] + 2} windows at least, one is in {there.sum(axis=0).min()}")
    inverse = np.linalg.pinv(x)
    full = np.where(there, f, np.nanmean(f, axis=0))
    extra = np.zeros((f.shape[1], f.shape[1]))
    size = np.inf
    for _ in range(ROUNDS):
        weights = inverse @ full
        rest = full - x @ weights
        cov = (rest.T @ rest + extra) / max(len(f) - x.shape[1], 1)
        sd = np.sqrt(np.diag(cov))
        if not (sd > 1e-12 * np.abs(full).max()).all():
            raise ValueError("a mode is at exactly the same frequency in every window: nothing can be learned of it")
        cov += np.diag(1e-9 * sd * sd)  # modes that are one number twice
        if there.all() or abs(size - (now := float(np.linalg.slogdet(cov)[1]))) < 1e-6:
            break
        size = now
        full, extra = _fill(f, x @ weights, cov)
    return np.asarray(weights), np.asarray(f - x @ weights), np.asarray(cov)


def _scatter(f: Real, x: Real) -> float:
    there = np.isfinite(f)
    return float(np.var(f[there] - x[there] @ np.linalg.lstsq(x[there], f[there], rcond=None)[0]))


def _find_hinge(f: Real, e: Real, plain: Baseline) -> float:
    """The bend that explains most, if it explains clearly more than one slope does (BIC); NaN otherwise."""
    candidates = np.quantile(e[:, 0], np.linspace(0.1, 0.9, 17))
    n = int(np.isfinite(f).sum())

    def cost(hinge: float) -> float:
        x = replace(plain, hinge=hinge)._design(e)
        scatter = [_scatter(f[:, j], x) for j in range(f.shape[1])]
        extra = 2 * f.shape[1] if np.isfinite(hinge) else 0
        return float(np.sum(np.isfinite(f).sum(axis=0) * np.log(np.array(scatter) + 1e-300)) + extra * np.log(n))

    best = min((cost(c), c) for c in candidates)
    return float(best[1]) if best[0] < cost(float("nan")) - 10.0 else float("nan")


def fit_baseline(f_hz: ArrayLike, env: ArrayLike | None = None, *, false_alarms: float = 1e-3, bilinear: bool = True) -> Baseline:
    """Learn what the frequencies of a sound structure do.

    Parameters
    ----------
    f_hz : float[n, n_modes]
        One row a window, NaN = not identified. A good baseline has seen the weather it will judge in.
    env : float[n, k], optional
        Temperature, its past, wind, traffic ... of each window; the first column may have two slopes.
    false_alarms : share of sound windows that may be called damaged, if everything is Gaussian. The limit is never below
        what the training windows themselves reach when each is judged by the others.
    bilinear : look for a second slope in the first column of env.

    Raises
    ------
    ValueError
        Too few windows: at least 3 for each mode and 2 for each column, and 10.
    """
    if not 0.0 < false_alarms < 0.5:
        raise ValueError(f"false_alarms must lie between 0 and 0.5, is {false_alarms}")
    f = _rows(f_hz)
    e = _env(env, len(f))
    kept = np.isfinite(e).all(axis=1) & np.isfinite(f).any(axis=1)
    f, e = f[kept], e[kept]
    n, modes = f.shape
    need = max(10, FEWEST_PER_MODE * modes + 2 * e.shape[1])
    if n < need:
        raise ValueError(f"a baseline of {modes} modes and {e.shape[1]} columns needs {need} windows, has {n}")
    spread = e.std(axis=0)
    nothing = np.empty(0)
    b = Baseline(e.mean(axis=0), np.where(spread > 0, spread, 1.0), float("nan"), nothing, nothing, nothing, 0.0, n)
    with threadpool_limits(1, "blas"):  # matrices this small only wait for a second core
        if bilinear and e.shape[1] and n >= 40:
            b = replace(b, hinge=_find_hinge(f, e, b))
        x = b._design(e)
        weights, rest, cov = _fit(f, x)
        leverage = np.asarray(np.linalg.pinv(x.T @ x), np.float64)
    own = np.einsum("ni,ij,nj->n", x, leverage, x)
    return replace(b, weights=weights, leverage=leverage, cov=cov, limit=_limit(rest, own, cov, x.shape[1], false_alarms))


def _limit(rest: Real, own: Real, cov: Real, columns: int, false_alarms: float) -> float:
    """Hotelling's limit for a new window, or the farthest training window as the others see it, whichever is more."""
    n, modes = rest.shape
    freedom = max(n - columns, modes + 2)
    hotelling = modes * freedom / (freedom - modes + 1) * float(stats.f.isf(false_alarms, modes, freedom - modes + 1))
    d2, m = _mahalanobis(rest, cov)
    d2 = d2 / np.maximum(1.0 - own, 1e-3)  # a window drew the fit towards itself
    share = np.minimum(d2 / freedom, 0.99)
    alone = _same_scale(d2 * (freedom - 1) / freedom / (1.0 - share), m, modes)  # and widened the covariance
    return max(hotelling, float(np.nanmax(alone)))
