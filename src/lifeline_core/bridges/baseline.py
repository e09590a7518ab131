"""What the frequencies of a sound structure do, and how far from that a window is: weather taken out, missing modes allowed.

    f_j = b_0 + b^T env + hinge(env_1) + e_j          with measured environment, least squares, every mode by itself
    f_j = mean + e_j                                  without: what all modes do together is in the covariance of e
    d2  = e_a^T S_aa^-1 e_a / (1 + h)                 over the modes a that were identified

h is the leverage of the window's environment: colder than ever before, less is known. d2 of m modes is put on the scale of
all modes (Wilson and Hilferty), so that one limit serves. Without environment the directions in which frequencies move
with the weather have a large variance in S and weigh next to nothing in S^-1: what is judged is what is left of principal
component analysis when no component must be chosen. What one mode moved is then what the other modes do not foretell of it:

    r_j = e_j - E[e_j | the other modes] = (S_aa^-1 e_a)_j / (S_aa^-1)_jj          with variance 1 / (S_aa^-1)_jj

Sources: P. C. Mahalanobis, Proc. Natl. Inst. Sci. India 2 (1936) 49-55; H. Hotelling, Ann. Math. Stat. 2 (1931) 360-378;
A.-M. Yan et al., Mech. Syst. Signal Process. 19 (2005) 847-864 (environment without measuring it); B. Peeters and G. De
Roeck, Earthq. Eng. Struct. Dyn. 30 (2001) 149-171 (two slopes about the freezing point).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from threadpoolctl import threadpool_limits

from lifeline_core.bridges.partial import alone, distance, filled, same_scale
from lifeline_core.errors import StateError

Real = NDArray[np.float64]

VERSION = 2
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


@dataclass(frozen=True, slots=True)
class Baseline:
    """A sound structure's frequencies.

    centre, spread : of the environment in training, float64[k].
    hinge : value of the first environmental column below which it has another slope; NaN: one slope.
    weights : float64[1 + k (+ 1), n_modes].
    leverage : inverse of the design's normal matrix, one for all modes.
    cov : float64[n_modes, n_modes] of the residuals. limit : of d2. windows : trained on.
    together : what a mode moved is told against what the other modes do: the weather is not in ``weights``.
    training : d2 of each training window as a baseline without it would score it, float64[windows]; not saved.
    """

    centre: Real
    spread: Real
    hinge: float
    weights: Real
    leverage: Real
    cov: Real
    limit: float
    windows: int
    together: bool = False
    training: Real = field(default_factory=lambda: np.empty(0))

    def save(self) -> dict[str, Any]:
        """As a map of plain values and bytes."""
        arrays = {key: getattr(self, key).tobytes() for key in ("centre", "spread", "weights", "leverage", "cov")}
        return {**arrays, "v": VERSION, "hinge": self.hinge, "limit": self.limit, "windows": self.windows,
                "together": self.together}

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
                       cov.reshape(modes, modes), float(state["limit"]), int(state["windows"]), bool(state["together"]))
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
        """Relative change of each mode after the weather was taken out, float64[n, n_modes]; -0.019 is 1.9 % lower.

        With ``together`` against what the other modes of the window foretell, for nobody measured the weather.
        """
        f = _rows(f_hz)
        e, _ = self.residuals(f, env)
        if self.together:
            e = alone(e, self.cov)
        return np.asarray(e / (f - e))

    @property
    def reference(self) -> Real:
        """Frequencies at the mean environment of training, Hz, float64[n_modes]."""
        return np.asarray(self._design(self.centre[None, :])[0] @ self.weights)

    @property
    def scatter(self) -> Real:
        """Relative standard deviation of what `moved` gives for a sound window, float64[n_modes]."""
        sd = 1.0 / np.sqrt(np.diag(np.linalg.inv(self.cov))) if self.together else np.sqrt(np.diag(self.cov))
        return np.asarray(sd / np.abs(self.reference))

    def score(self, f_hz: ArrayLike, env: ArrayLike | None = None) -> Score:
        """Judge windows: f_hz float[n, n_modes], NaN = not identified; env as in training."""
        e, h = self.residuals(f_hz, env)
        d2, m = distance(e, self.cov)
        d2 = same_scale(d2 / (1.0 + h), m, len(self.cov))
        with np.errstate(invalid="ignore"):
            return Score(d2, self.limit, d2 > self.limit)


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
        full, extra = filled(f, x @ weights, cov)
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


def fit_baseline(f_hz: ArrayLike, env: ArrayLike | None = None, *, false_alarms: float = 1e-3, bilinear: bool = True,
                 together: bool | None = None) -> Baseline:
    """Learn what the frequencies of a sound structure do.

    Parameters
    ----------
    f_hz : float[n, n_modes]
        One row a window, NaN = not identified. A good baseline has seen the weather it will judge in.
    env : float[n, k], optional
        Temperature, its past, wind, traffic ... of each window; the first column may have two slopes.
    false_alarms : share of sound windows that may be called damaged, if everything is Gaussian. The limit is never below
        the farthest training window as the others see it.
    bilinear : look for a second slope in the first column of env (frost: ice stiffens what water does not).
    together : tell a mode's movement against what the other modes do; by default where there is no env. For an env that does
        not hold the temperature (traffic alone) say True.

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
    apart = not e.shape[1] if together is None else together
    b = Baseline(e.mean(axis=0), np.where(spread > 0, spread, 1.0), float("nan"), nothing, nothing, nothing, 0.0, n, apart)
    with threadpool_limits(1, "blas"):  # matrices this small only wait for a second core
        if bilinear and e.shape[1] and n >= 40:
            b = replace(b, hinge=_find_hinge(f, e, b))
        x = b._design(e)
        weights, rest, cov = _fit(f, x)
        leverage = np.asarray(np.linalg.pinv(x.T @ x), np.float64)
    others = _others(rest, np.einsum("ni,ij,nj->n", x, leverage, x), cov, x.shape[1])
    limit = max(_hotelling(n, modes, x.shape[1], false_alarms), float(np.nanmax(others)))
    return replace(b, weights=weights, leverage=leverage, cov=cov, limit=limit, training=others)


def _hotelling(n: int, modes: int, columns: int, false_alarms: float) -> float:
    """Limit of d2 for a new window."""
    freedom = max(n - columns, modes + 2)
    return modes * freedom / (freedom - modes + 1) * float(stats.f.isf(false_alarms, modes, freedom - modes + 1))


def _others(rest: Real, own: Real, cov: Real, columns: int) -> Real:
    """d2 of each training window as the others see it; own: its leverage."""
    n, modes = rest.shape
    freedom = max(n - columns, modes + 2)
    d2, m = distance(rest, cov)
    d2 = d2 / np.maximum(1.0 - own, 1e-3)  # a window drew the fit towards itself
    share = np.minimum(d2 / freedom, 0.99)
    return same_scale(d2 * (freedom - 1) / freedom / (1.0 - share), m, modes)  # and widened the covariance
