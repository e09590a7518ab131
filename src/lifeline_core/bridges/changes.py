"""First-order changes of poles with the covariances they come from: the standard deviations of `ssi_cov`.

    T' = L^-1 T L^-T,   S = T' T'^T = U diag(s^2) U^T,   dS = dT' T'^T + T' dT'^T,   dT' = L^-1 dT L^-T
    K_ri = u_r^T dS u_i / (s_i^2 - s_r^2),   r >= n > i       how much of u_r comes into the space of the n leading vectors
    dmu  = (chi^H psi)^-1 sum over i < n <= r of K_ri (left_r h_i + second_r g_i)
    h = S_n^(1/2) psi,   g = S_n^(1/2) (O_up^T O_up)^-1 chi   (conjugated)
    left_r = g^T U_up^T (U_down - mu U_up) e_r,   second_r = h^T (U_down - mu U_up)^T U_up e_r
    U_down = L_up^-1 (L U)_down;   u_r^T dS u_i = (L^-T u_r)^T dT (L^-T v_i s_i) + (L^-T T'^T u_r)^T dT^T (L^-T u_i)

L is held: where T is of rank n exactly no weight moves a pole. A change of basis within the n leading vectors changes no pole,
so only what leaves them counts. Three things make it fast:

* T is block Toeplitz, its products with 40 deviations of R are convolutions over block rows: short Fourier transforms.
* left_r and second_r are bilinear: sum over r >= rank of K_ri (..) is one form g^T (C1 + mu C2) h for all orders, made once.
  With blocks' rows cut off at one end, U_up^T U_up = I - L^T L with L the last block row, so C2 goes through n_ch rows only.
* The blocks are taken some at a time, so that what is at work stays in the cache.

Source: M. Doehler and L. Mevel, Mech. Syst. Signal Process. 38 (2013) 346-366.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from lifeline_core.bridges.modes import Complex, Real

AT_ONCE = 5  # blocks
POLES = 48  # at once; of orders that are not far apart
CLEAR = 1e-8  # of the largest eigenvalue of T T^T: what is smaller has lost half its digits to the square


@lru_cache(maxsize=8)
def _waves(br: int) -> tuple[Real, Real, Real]:
    """Real Fourier sums over 2 br - 1 points: of lags -(br-1) .. br-1, of block rows 0 .. br-1, and back to the latter.

    Rows (columns of the last) are br cosines and br minus sines, in turn.
    """
    n = 2 * br - 1
    f = np.arange(br)

    def forward(at: NDArray[np.int64]) -> Real:
        angle = 2 * np.pi / n * ((f[:, None] * at) % n)
        return np.stack([np.cos(angle), -np.sin(angle)], axis=1).reshape(2 * br, len(at))

    rows = forward(np.arange(br))
    back = np.ascontiguousarray(rows.T / n * np.where(np.arange(2 * br) < 2, 1.0, 2.0))
    return forward(np.arange(1 - br, br)), rows, back


class Space:
    """All left singular vectors of T' (``u``, float64[m, m]) with the squares of their values (``power``), the ``rank`` leading
    ones' values ``s`` and right vectors ``v``."""

    def __init__(self, t: Real, rank: int, nothing: float) -> None:
        power, u = linalg.eigh(t @ t.T, driver="evd", check_finite=False)
        if power[-rank] > CLEAR * power[-1]:
            self.u, self.power = np.ascontiguousarray(u[:, ::-1]), power[::-1]
            self.rank = rank
            self.s = np.sqrt(self.power[:rank])
            self.v = (t.T @ self.u[:, :rank]) / self.s
            return
        self.u, s, vt = linalg.svd(t, check_finite=False)
        self.power = s**2
        self.rank = min(rank, int(np.count_nonzero(s > nothing * s[0]))) if s[0] > 0.0 else 0
        self.s, self.v = s[: self.rank], np.ascontiguousarray(vt[: self.rank].T)


class Changes:
    """What every direction in which the covariances deviate does to the poles of every order.

    Parameters
    ----------
    space : of the whitened block Toeplitz matrix.
    t, low, down : float64
        That matrix T', L (None: no weights), and U_down of all vectors.
    r : float64[>= 2 br, n_ch, n_ch]
        Covariances T was made of.
    deviations : float64[n_blocks, >= 2 br, n_ch, n_ch]
        Directions, `Lags.deviations`.
    br : block rows.
    """

    def __init__(self, space: Space, t: Real, low: Real | None, down: Real, r: Real, deviations: Real, br: int) -> None:
        n_ch, rank, u = len(t) // br, space.rank, space.u
        self.rank, self.root = rank, np.sqrt(space.s)
        up = u[:-n_ch]
        last = u[-n_ch:]
        self.ahead, self.behind = up[:, :rank].T @ down, down[:, :rank].T @ up  # [rank, m]: u_i up, u_r down; u_i down, u_r up
        self.cut = last[:, :rank].T @ last
        gap = space.s**2 - space.power[:, None]
        np.fill_diagonal(gap, np.inf)  # a vector's change along itself changes no space
        inverse = np.divide(1.0, gap, out=np.zeros_like(gap), where=gap != 0.0)
        rest = np.concatenate((self.ahead[:, rank:], self.behind[:, rank:], last[:, rank:]))
        inner, outer = [], []
        sides, product = _weighted(space, t, low, br) if low is not None else _plain(space, r, br)
        for begin in range(0, len(deviations), AT_ONCE):
            part = deviations[begin : begin + AT_ONCE]
            k = (sides @ product.of(part)).reshape(len(u), len(part), rank)
            k *= inverse[:, None]
            inner.append(k[:rank].transpose(0, 2, 1))
            beyond = rest @ k[rank:].reshape(-1, len(part) * rank)
            outer.append(beyond.reshape(len(rest), len(part), rank).transpose(0, 2, 1))
        tail = np.concatenate(outer, axis=2) if outer else np.empty((len(rest), rank, 0))
        ahead, behind, ends = tail[:rank], tail[rank : 2 * rank], tail[2 * rank :]
        within = np.concatenate(inner, axis=2) if inner else np.empty((rank, rank, 0))
        self.within = np.concatenate((within, ahead + behind.transpose(1, 0, 2)))  # K_ri r < rank, then C1
        once = np.tensordot(last[:, :rank], ends, (0, 0))
        self.ends = once + once.transpose(1, 0, 2)  # C2

    def sides(self, n: int, chi: Complex, psi: Complex, tri: Real) -> tuple[Complex, Complex]:
        """g over chi^H psi, and h, of poles of order n, complex128[n_poles, rank] with zeros from n on.

        chi, psi : left and right eigenvectors, complex128[n, n_poles]; tri : R of the QR decomposition of O_up.
        """
        g, h = np.zeros((2, psi.shape[1], self.rank), np.complex128)
        root, scale = self.root[:n, None], np.sum(chi.conj() * psi, axis=0)
        near = linalg.solve_triangular(tri[:n, :n], chi, trans="C", check_finite=False)
        near = linalg.solve_triangular(tri[:n, :n], near, check_finite=False).conj()
        g[:, :n] = (root * near / scale).T
        h[:, :n] = (root * psi).T
        return g, h

    def deviations(self, order: NDArray[np.int64], mu: Complex, g: Complex, h: Complex, fs: float) -> Real:
        """Standard deviations of f (Hz) and zeta of poles in rising order, float64[2, n_poles]."""
        out = np.empty((2, len(mu)))
        for begin in range(0, len(mu), POLES):
            some = slice(begin, begin + POLES)
            lam, change = fs * np.log(mu[some]), fs * self._moved(order[some], mu[some], g[some], h[some]) / mu[some, None]
            size = np.abs(lam)
            along = (lam.conj()[:, None] * change).real / size[:, None]  # of |lambda|
            dz = -change.real / size[:, None] + (lam.real / size**2)[:, None] * along
            out[0, some] = np.sqrt(np.sum((along / (2 * np.pi)) ** 2, axis=1))
            out[1, some] = np.sqrt(np.sum(dz**2, axis=1))
        return out

    def _moved(self, order: NDArray[np.int64], mu: Complex, g: Complex, h: Complex) -> Complex:
        """dmu for every deviation, complex128[n_poles, n_blocks]."""
        least, n, rank = int(order[0]), int(order[-1]), self.rank
        g, h, m = g[:, :n], h[:, :n], mu[:, None]
        inside = slice(least, rank)
        counts = np.arange(least, rank) >= order[:, None]
        cut = self.cut[:n, inside]
        left = (g @ self.ahead[:n, inside] + m * (g @ cut)) * counts
        second = (h @ self.behind[:n, inside] + m * (h @ cut)) * counts
        moved = _form(np.concatenate((left, g), axis=1), self.within[least : rank + n, :n], h)
        moved += _form(m * g, self.ends[:n, :n], h)
        moved += _form(second, self.within[inside, :n], g)
        return moved


def _form(a: Complex, tensor: Real, b: Complex) -> Complex:
    """sum over r, i of a[p, r] tensor[r, i, j] b[p, i], complex128[p, j]: real products, not half of them with zeros."""
    p, (rows, n, count) = len(a), tensor.shape
    t = (np.concatenate((a.real, a.imag)) @ tensor.reshape(rows, n * count)).reshape(2, p, n, count)
    pair = np.stack((b.real, b.imag), axis=1)  # [p, 2, n]
    re, im = pair @ t[0], pair @ t[1]
    out: Complex = re[:, 0] - im[:, 1] + 1j * (re[:, 1] + im[:, 0])
    return out


def _weighted(space: Space, t: Real, low: Real, br: int) -> tuple[Real, _Products]:
    """Both sides of u_r^T dS u_i with weights, as the last line of the formula has them."""
    m, rank = len(t), space.rank
    plain = np.concatenate((space.u, t.T @ space.u, space.v * space.s), axis=1)
    plain = linalg.solve_triangular(low, plain, lower=True, trans="T", check_finite=False)
    sides = np.concatenate((plain[:, :m].T, plain[:, m : 2 * m].T), axis=1)
    return sides, _Products(plain[:, :rank], plain[:, 2 * m :], br)


def _plain(space: Space, r: Real, br: int) -> tuple[Real, _Products]:
    return space.u.T, _Products(space.u[:, : space.rank], space.v * space.s, br, r)


class _Products:
    """dT v_i over dT^T u_i for some deviations at once, by block rows; with ``r`` their sum dT v_i + T dT^T u_i.

    Without weights T is block Toeplitz as well, and one more convolution is cheaper than twice as long sides.
    """

    def __init__(self, u: Real, v: Real, br: int, r: Real | None = None) -> None:
        self.br, self.n_ch, self.rank = br, len(u) // br, u.shape[1]
        self.of_lags, self.of_rows, self.back = _waves(br)
        v, u = self._rows(v), self._rows(u)  # [br, 2, n_ch, rank]
        self.v = np.stack((np.concatenate((v[:, 0], -v[:, 1]), axis=1), np.concatenate((v[:, 1], v[:, 0]), axis=1)), axis=1)
        self.u = np.stack((np.concatenate((u[:, 0], u[:, 1]), axis=1), np.concatenate((u[:, 1], -u[:, 0]), axis=1)), axis=1)
        self.t: Real | None = None
        if r is not None:
            t = self._lags(r[None])[:, :, 0]  # [br, 2, n_ch, n_ch]
            first, second = np.concatenate((t[:, 0], -t[:, 1]), axis=2), np.concatenate((t[:, 1], t[:, 0]), axis=2)
            self.t = np.concatenate((first, second), axis=1)

    def _rows(self, x: Real) -> Real:
        return (self.of_rows @ x.reshape(self.br, -1)).reshape(self.br, 2, self.n_ch, -1)

    def _lags(self, r: Real) -> Real:
        """[br, 2, blocks, n_ch, n_ch] of r[blocks, lags, n_ch, n_ch]."""
        flat = r[:, 1 : 2 * self.br].transpose(1, 0, 2, 3).reshape(2 * self.br - 1, -1)
        return (self.of_lags @ flat).reshape(self.br, 2, len(r), self.n_ch, self.n_ch)

    def of(self, deviations: Real) -> Real:
        """float64[2 br n_ch or br n_ch, blocks * rank], the block before the vector."""
        br, n_ch, count = self.br, self.n_ch, len(deviations)
        waves = self._lags(deviations)
        to = (br, 1, n_ch * count, 2 * n_ch)
        by_row = waves.transpose(0, 3, 2, 1, 4).reshape(to)  # c, j | re or im, d
        by_column = waves.transpose(0, 4, 2, 1, 3).reshape(to)
        if self.t is not None:
            y = self.back @ (by_column @ self.u).reshape(2 * br, -1)  # dT^T u
            total = self.t @ (self.of_rows @ y).reshape(br, 2 * n_ch, -1)
            total += (by_row @ self.v).reshape(total.shape)
            whole: Real = (self.back @ total.reshape(2 * br, -1)).reshape(br * n_ch, -1)
            return whole
        out = np.empty((2, br, n_ch * count * self.rank))
        np.matmul(self.back, (by_row @ self.v).reshape(2 * br, -1), out=out[0])
        np.matmul(self.back, (by_column @ self.u).reshape(2 * br, -1), out=out[1])
        return out.reshape(2 * br * n_ch, -1)
