"""Covariance-driven stochastic subspace identification: the poles of every even model order, with standard deviations.

    T = [R_br   R_br-1 .. R_1  ]      T = U S V^T,   O_n = U_n S_n^(1/2)   (n leading singular triplets)
        [R_br+1 R_br   .. R_2  ]      O_up A = O_down   (O without its last, without its first block row)
        [ ..                   ]      A psi = mu psi,  lambda = fs ln mu,  f = |lambda| / 2 pi,  zeta = -Re lambda / |lambda|
        [R_2br-1 ..       R_br ]      shape = C psi,  C the first block row of O

One QR of the largest O_up serves every order: A_n = R_n^-1 (Q^T O_down)_n, where the index takes leading rows and columns.

Standard deviations are of first order: the deviations of R between blocks of the record go through T, its singular
vectors, A and mu. A change of basis within the n leading vectors changes no pole, so only the part of dU that leaves them
counts, which has a closed form.

Sources: B. Peeters and G. De Roeck, Mech. Syst. Signal Process. 13 (1999) 855-878; M. Doehler and L. Mevel, Control Eng.
Pract. 21 (2013) 1-13 (all orders from one decomposition) and Mech. Syst. Signal Process. 38 (2013) 346-366 (variances).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg
from threadpoolctl import threadpool_limits

from lifeline_core.bridges.covariance import Lags, lag_covariances
from lifeline_core.bridges.modes import Complex, Modes, Real, normalised

OVERSAMPLING = 12
UNCERTAIN_BLOCKS = 40
NOTHING = 1e-13  # of the largest singular value


def toeplitz(r: Real, br: int) -> Real:
    """T float64[br n_ch, br n_ch] from R float64[>= 2 br, n_ch, n_ch]."""
    n_ch = r.shape[1]
    index = br + np.arange(br)[:, None] - np.arange(br)[None, :]
    t: Real = r[index].transpose(0, 2, 1, 3).reshape(br * n_ch, br * n_ch)
    return t


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


def _orders(order_max: int, available: int) -> range:
    return range(2, min(order_max, available) // 2 * 2 + 1, 2)


def ssi_from(lags: Lags, br: int, order_max: int, *, uncertainty: bool = False) -> Modes:
    """Poles of every even order up to ``order_max`` from lag covariances 0 .. 2 br - 1 or more; see `ssi_cov`."""
    with threadpool_limits(1, "blas"):  # matrices this small only wait for a second core
        return _identify(lags, br, order_max, uncertainty)


def _identify(lags: Lags, br: int, order_max: int, uncertainty: bool) -> Modes:
    r = lags.mean
    n_ch = r.shape[1]
    if len(r) < 2 * br:
        raise ValueError(f"br = {br} needs covariances at lags up to {2 * br - 1}, there are {len(r) - 1}")
    t = toeplitz(r, br)
    rank = min(order_max, (br - 1) * n_ch)
    if uncertainty:
        u_all, s_all, vt_all = linalg.svd(t, check_finite=False)
        u, s = u_all[:, :rank], s_all[:rank]
    else:
        u, s, _ = leading(t, rank)
    rank = int(np.count_nonzero(s > NOTHING * s[0])) if s[0] > 0.0 else 0  # a dead channel, silence: fewer directions than rows
    if rank < 2:
        none = np.empty(0)
        return Modes(none, none, np.empty((0, n_ch), np.complex128), none, none, np.empty(0, np.int64))
    u, s = u[:, :rank], s[:rank]
    o = u * np.sqrt(s)
    up, down = o[:-n_ch], o[n_ch:]
    q, tri = linalg.qr(up, mode="economic", check_finite=False)
    turned = q.T @ down
    changes = _Changes(lags, br, u_all, s_all, vt_all, rank, q, tri, n_ch) if uncertainty else None
    poles = [_poles(n, tri, turned, o[:n_ch], lags.fs, changes) for n in _orders(order_max, rank)]
    f, zeta, shapes, f_sd, zeta_sd, order = (np.concatenate(part) for part in zip(*poles, strict=True))
    return Modes(f, zeta, normalised(shapes), f_sd, zeta_sd, order)


def _poles(n: int, tri: Real, turned: Real, c: Real, fs: float, changes: _Changes | None) -> tuple[NDArray[np.generic], ...]:
    """f, zeta, shapes, their deviations and the order, of one model order; one pole of each conjugate pair."""
    a = linalg.solve_triangular(tri[:n, :n], turned[:n, :n], check_finite=False)
    if changes is None:
        mu, psi = np.linalg.eig(a)
        chi = None
    else:
        mu, left, psi = linalg.eig(a, left=True, check_finite=False)
        chi = left
    kept = np.flatnonzero((mu.imag > 1e-12) & (np.abs(mu) > 1e-6))
    lam = fs * np.log(mu[kept])
    size = np.abs(lam)
    sd = np.full((2, len(kept)), np.nan)
    if changes is not None and chi is not None and len(kept):
        sd = changes.deviations(n, a, mu[kept], chi[:, kept], psi[:, kept], fs)
    rise = np.argsort(size, kind="stable")
    shapes = (c[:, :n] @ psi[:, kept]).T
    return (size[rise] / (2 * np.pi), -lam.real[rise] / size[rise], shapes[rise], sd[0][rise], sd[1][rise],
            np.full(len(kept), n, np.int64))


class _Changes:
    """First-order changes of poles for every direction in which the covariances deviate."""

    def __init__(self, lags: Lags, br: int, u: Real, s: Real, vt: Real, rank: int, q: Real, tri: Real, n_ch: int) -> None:
        self.u, self.s, self.q, self.tri, self.n_ch = u, s, q, tri, n_ch
        self.k = np.empty((len(lags.weight), len(s), rank))
        gap = s[None, :rank] ** 2 - s[:, None] ** 2
        np.fill_diagonal(gap, np.inf)  # a vector's change along itself changes no space
        with np.errstate(divide="ignore"):
            inverse = np.where(gap == 0.0, 0.0, 1.0 / gap)
        v = vt[:rank].T
        for j, deviation in enumerate(lags.deviations):
            dt = toeplitz(deviation, br)
            e = u.T @ (dt @ v)  # u_k^T dT v_i
            e_turned = vt @ (dt.T @ u[:, :rank])  # v_k^T dT^T u_i
            self.k[j] = (e * s[:rank] + e_turned * s[:, None]) * inverse

    def deviations(self, n: int, a: Real, mu: Complex, chi: Complex, psi: Complex, fs: float) -> Real:
        """Standard deviations of f (Hz) and zeta of the poles mu, float64[2, n_poles]."""
        root = np.sqrt(self.s[:n])
        q, tri = self.q[:, :n], self.tri[:n, :n]
        near = linalg.solve_triangular(tri, chi, trans="C", check_finite=False)  # chi^H R^-1, as columns
        row = (q @ near).conj()  # chi^H pinv(O_up), as columns
        up, down = self.u[: -self.n_ch, n:], self.u[self.n_ch :, n:]
        left = row.T @ down - mu[:, None] * (row.T @ up)  # [poles, rest]
        o = self.u[:, :n] * root
        rest = (o[self.n_ch :] @ psi) - (o[: -self.n_ch] @ (a @ psi))  # what no A explains
        gram = linalg.solve_triangular(tri, near, check_finite=False).conj()  # chi^H (O_up^T O_up)^-1, as columns
        second = rest.T @ up
        scale = np.sum(chi.conj() * psi, axis=0)
        k = self.k[:, n:, :n]
        moved = np.einsum("jrp,pr->jp", k @ (root[:, None] * psi), left, optimize=True)
        moved += np.einsum("jrp,pr->jp", k @ (root[:, None] * gram), second, optimize=True)
        lam, change = fs * np.log(mu), fs * moved / (scale * mu)
        size = np.abs(lam)
        along = (lam.conj() * change).real / size  # of |lambda|
        df = along / (2 * np.pi)
        dz = -change.real / size + lam.real * along / size**2
        out: Real = np.sqrt(np.stack([np.sum(df**2, axis=0), np.sum(dz**2, axis=0)]))
        return out


def ssi_cov(x: ArrayLike, fs: float, *, br: int = 30, order_max: int = 60, uncertainty: bool = False,
            n_blocks: int | None = None) -> Modes:
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
    y = np.asarray(x)
    lags = 2 * br - 1
    room = max((y.shape[-1] - lags) // max(4 * lags, 1), 1) if y.ndim == 2 else 1
    blocks = n_blocks if n_blocks is not None else min(UNCERTAIN_BLOCKS, room)
    with threadpool_limits(1, "blas"):
        return _identify(lag_covariances(y, fs, lags, n_blocks=blocks), br, order_max, uncertainty)
