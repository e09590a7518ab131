"""Covariance-driven stochastic subspace identification: the poles of every even model order, with standard deviations.

    T = [R_br   R_br-1 .. R_1  ]      L^-1 T L^-T = U S V^T,   O_n = L U_n S_n^(1/2)   (n leading singular triplets)
        [R_br+1 R_br   .. R_2  ]      O_up A = O_down   (O without its last, without its first block row)
        [ ..                   ]      A psi = mu psi,  lambda = fs ln mu,  f = |lambda| / 2 pi,  zeta = -Re lambda / |lambda|
        [R_2br-1 ..       R_br ]      shape = C psi,  C the first block row of O

L L^T is the covariance of br samples in a row, R_(i-j) in block i, j. With it singular values are canonical correlations: what
counts is what the past tells of the future and not how strong it is, no unit of a channel matters, and O_up A = O_down is solved by
least squares of what has equal variance, (L^-1 O)_up A = L_up^-1 O_down. Frequencies then scatter about as little as the record
allows (`python -m bench.chain_study modes`); without weights, L = I, by more.

One QR of the largest (L^-1 O)_up serves every order: A_n = R_n^-1 (Q^T L_up^-1 O_down)_n, the index takes leading rows and columns.

Standard deviations are of first order: the deviations of R between blocks of the record go through T, its singular
vectors, A and mu (`lifeline_core.bridges.changes`).

Sources: W. E. Larimore, Proc. 29th IEEE CDC (1990) 596-604 (canonical weights); B. Peeters and G. De Roeck, Mech. Syst. Signal
Process. 13 (1999) 855-878; M. Doehler and L. Mevel, Control Eng. Pract. 21 (2013) 1-13 (all orders from one decomposition) and
Mech. Syst. Signal Process. 38 (2013) 346-366 (variances).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg
from threadpoolctl import ThreadpoolController

from lifeline_core.bridges.changes import Changes, Space
from lifeline_core.bridges.covariance import Lags, lag_covariances
from lifeline_core.bridges.modes import Complex, Modes, Real, normalised

OVERSAMPLING = 12
UNCERTAIN_BLOCKS = 40
WEIGHTS = ("none", "canonical")
NOTHING = 1e-13  # of the largest singular value
FLOOR = 1e-4  # of a channel's power, added as white noise to L L^T: bands without power are not blown up to the size of the others


def toeplitz(r: Real, br: int) -> Real:
    """T float64[br n_ch, br n_ch] from R float64[>= 2 br, n_ch, n_ch]."""
    n_ch = r.shape[1]
    index = br + np.arange(br)[:, None] - np.arange(br)[None, :]
    t: Real = r[index].transpose(0, 2, 1, 3).reshape(br * n_ch, br * n_ch)
    return t


def whitening(r: Real, br: int) -> Real:
    """L float64[br n_ch, br n_ch], lower: the Cholesky factor of the covariance of br samples in a row, with a floor."""
    n_ch = r.shape[1]
    both = np.concatenate((r[br - 1 : 0 : -1].transpose(0, 2, 1), r[:br]))
    index = br - 1 + np.arange(br)[:, None] - np.arange(br)[None, :]
    cov = both[index].transpose(0, 2, 1, 3).reshape(br * n_ch, br * n_ch)
    own = np.diagonal(r[0])
    white = np.tile(np.maximum(own, 1e-9 * own.max()), br)
    floor = FLOOR
    while True:
        try:
            return np.asarray(linalg.cholesky(cov + np.diag(floor * white), lower=True, check_finite=False))
        except linalg.LinAlgError:  # covariances of a record that ends are not quite those of any process
            floor *= 10.0


def leading(t: Real, rank: int) -> tuple[Real, Real, Real]:
    """The ``rank`` leading singular triplets of T by subspace iteration from a fixed start (Halko et al., SIAM Rev. 53, 2011).

    Two rounds on T T^T: what is left of a direction is the sixth power of its singular value over the leading ones.
    """
    if 3 * rank >= t.shape[0]:
        u, s, vt = linalg.svd(t, check_finite=False)
        return u[:, :rank], s[:rank], vt[:rank].T
    start = np.random.default_rng(1).standard_normal((t.shape[1], rank + OVERSAMPLING))
    q = linalg.qr(t @ start, mode="economic", check_finite=False)[0]
    for _ in range(2):
        q = linalg.qr(t.T @ q, mode="economic", check_finite=False)[0]
        q = linalg.qr(t @ q, mode="economic", check_finite=False)[0]
    u, s, vt = linalg.svd(q.T @ t, full_matrices=False, check_finite=False)
    return (q @ u)[:, :rank], s[:rank], vt[:rank].T


@cache
def _pools() -> ThreadpoolController:
    return ThreadpoolController()  # looks through all libraries of the process: once


def one_thread() -> Any:
    """Matrices this small only wait for a second core."""
    return _pools().limit(limits=1, user_api="blas")


def _orders(order_max: int, available: int) -> range:
    return range(2, min(order_max, available) // 2 * 2 + 1, 2)


def ssi_from(lags: Lags, br: int, order_max: int, *, uncertainty: bool = False, weights: str = "none") -> Modes:
    """Poles of every even order up to ``order_max`` from lag covariances 0 .. 2 br - 1 or more; see `ssi_cov`.

    Nothing is remembered from call to call: the same covariances give the same bits. Deviations from g blocks cost about in
    proportion to g and are themselves uncertain by 1 / sqrt(2 (g - 1)); NaN from one.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights must be one of {', '.join(WEIGHTS)}, is {weights!r}")
    with one_thread():
        return _identify(lags, br, order_max, uncertainty, weights == "canonical")


def _identify(lags: Lags, br: int, order_max: int, uncertainty: bool, canonical: bool) -> Modes:
    r = lags.mean
    n_ch = r.shape[1]
    if len(r) < 2 * br:
        raise ValueError(f"br = {br} needs covariances at lags up to {2 * br - 1}, there are {len(r) - 1}")
    rank = min(order_max, (br - 1) * n_ch)
    low = whitening(r, br) if canonical and np.diagonal(r[0]).max() > 0.0 else None
    t = toeplitz(r, br)
    if low is not None:
        t = linalg.solve_triangular(low, t, lower=True, check_finite=False)
        t = linalg.solve_triangular(low, t.T, lower=True, check_finite=False).T
    space = Space(t, rank, NOTHING) if uncertainty else None
    u, s = (space.u, space.s) if space is not None else leading(t, rank)[:2]
    rank = int(np.count_nonzero(s[:rank] > NOTHING * s[0])) if len(s) and s[0] > 0.0 else 0  # a dead channel, silence: fewer
    if rank < 2:
        none = np.empty(0)
        return Modes(none, none, np.empty((0, n_ch), np.complex128), none, none, np.empty(0, np.int64))
    root = np.sqrt(s[:rank])
    down, first = u[n_ch:], u[:n_ch, :rank]
    if low is not None:
        down = linalg.solve_triangular(low[:-n_ch, :-n_ch], low[n_ch:] @ u, lower=True, check_finite=False)  # L_up^-1 (L U)_down
        first = low[:n_ch, :n_ch] @ first
    q, tri = linalg.qr(u[:-n_ch, :rank] * root, mode="economic", check_finite=False)
    turned = q.T @ (down[:, :rank] * root)
    c = first * root
    scatter = space is not None and len(lags.weight) > 1
    changes = Changes(space, t, low, down, r, lags.deviations, br) if space is not None and scatter else None
    poles = [_poles(n, tri, turned, c, changes) for n in _orders(order_max, rank)]
    mu, shapes, order, g, h = (np.concatenate(part) for part in zip(*poles, strict=True))
    lam = lags.fs * np.log(mu)
    size = np.abs(lam)
    sd = np.full((2, len(mu)), np.nan) if changes is None else changes.deviations(order, mu, g, h, lags.fs)
    return Modes(size / (2 * np.pi), -lam.real / size, normalised(shapes), sd[0], sd[1], order)


def _poles(n: int, tri: Real, turned: Real, c: Real, changes: Changes | None) -> tuple[NDArray[Any], ...]:
    """mu, shapes, the order and what deviations follow from, of one model order; one pole of each conjugate pair."""
    a = linalg.solve_triangular(tri[:n, :n], turned[:n, :n], check_finite=False)
    mu, psi = np.linalg.eig(a)
    kept = np.flatnonzero((mu.imag > 1e-12) & (np.abs(mu) > 1e-6))
    kept = kept[np.argsort(np.abs(np.log(mu[kept])), kind="stable")]
    g = h = np.empty((len(kept), 0 if changes is None else changes.rank), np.complex128)
    if changes is not None and len(kept):
        g, h = changes.sides(n, _left(a, psi)[:, kept], psi[:, kept], tri)
    return mu[kept].astype(np.complex128), (c[:, :n] @ psi[:, kept]).T, np.full(len(kept), n, np.int64), g, h


def _left(a: Real, psi: Complex) -> Complex:
    """Left eigenvectors of a, whose right ones are psi."""
    try:
        return np.asarray(np.linalg.inv(psi).conj().T)
    except np.linalg.LinAlgError:  # two poles that are exactly one
        return np.asarray(linalg.eig(a, left=True, right=False, check_finite=False)[1])


def ssi_cov(x: ArrayLike, fs: float, *, br: int = 30, order_max: int = 60, uncertainty: bool = False,
            n_blocks: int | None = None, weights: str = "none") -> Modes:
    """Identify the poles of a structure under ambient load for every even model order.

    Parameters
    ----------
    x : float[n_ch, n]
        Responses (acceleration, velocity or displacement), time last, all finite.
    fs : samples per second, Hz.
    br : block rows; covariances up to lag 2 br - 1 are used.
    order_max : largest model order; at most (br - 1) n_ch count.
    uncertainty : give standard deviations of frequency and damping.
    n_blocks : stretches the record is cut into for them; default 40, fewer in a short record.
    weights : "none" is the textbook's SSI-cov (L = I); "canonical" takes L as above, as `identify_modes` does.

    Returns
    -------
    Modes
        Every pole of every order, order by order (``order``); poles on the real axis are left out.

    Raises
    ------
    ValueError
        x is empty, not finite or too short, br below 2.
    """
    if br < 2 or order_max < 2:
        raise ValueError(f"br and order_max must be at least 2, are {br} and {order_max}")
    return ssi_from(covariances(x, fs, br, n_blocks), br, order_max, uncertainty=uncertainty, weights=weights)


def covariances(x: ArrayLike, fs: float, br: int, n_blocks: int | None = None) -> Lags:
    """What `ssi_cov` takes from a record: covariances up to lag 2 br - 1, in as many blocks as give standard deviations."""
    y = np.asarray(x)
    lags = 2 * br - 1
    room = max((y.shape[-1] - lags) // max(4 * lags, 1), 1) if y.ndim == 2 else 1
    return lag_covariances(y, fs, lags, n_blocks=n_blocks if n_blocks is not None else min(UNCERTAIN_BLOCKS, room))
