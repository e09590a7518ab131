"""How sure mode shapes are: first-order changes of the shapes with the covariances they come from.

    R_k = sum over modes i of  A_i mu_i^k + conj.,   A_i = phi_i g_i^T,   k = 1 .. lags
    dA by least squares of dR, the poles mu held;   dphi_i = (1 - P_i) dA_i conj(g_i) / |g_i|^2,   P_i onto phi_i
    with the largest component m kept at 1:   d(phi_c / phi_m) = dphi_c - phi_c dphi_m

The directions dR are those in which blocks of the record differ (`Lags.deviations`), as for frequency and damping. Holding mu
leaves little out, because a shape is a ratio between channels at one pole: stated deviations are 0.9 to 1.4 of the scatter on a
chain of five masses (tests/test_shapes.py).
"""

from __future__ import annotations

import numpy as np

from lifeline_core.bridges.covariance import Lags
from lifeline_core.bridges.modes import Complex, Modes, Real


def shape_deviations(lags: Lags, modes: Modes) -> Real:
    """Standard deviations of ``modes.shapes``.

    Parameters
    ----------
    lags : of the record the modes were found in, at least two blocks.
    modes : their shapes with the largest component 1.

    Returns
    -------
    float64[n_modes, n_ch]
        Root of the mean square of each component's complex error; 0 for the largest. NaN from one block.
    """
    n_modes, n_ch = modes.shapes.shape
    if len(lags.weight) < 2:
        return np.full((n_modes, n_ch), np.nan)
    if not n_modes:
        return np.empty((0, n_ch))
    solve = _solver(modes, len(lags.mean) - 1, lags.fs)
    amplitudes = _amplitudes(solve, lags.mean[None, 1:])[0]
    changes = _amplitudes(solve, lags.deviations[:, 1:])
    out = np.empty((n_modes, n_ch))
    for i, shape in enumerate(modes.shapes):
        size = np.vdot(shape, shape).real
        g = amplitudes[i].T @ shape.conj() / size
        d = changes[:, i] @ g.conj() / np.vdot(g, g).real  # [blocks, n_ch]
        d -= np.outer(d @ shape.conj() / size, shape)
        top = int(np.argmax(np.abs(shape)))
        d = (d - np.outer(d[:, top] / shape[top], shape)) / shape[top]
        out[i] = np.sqrt(np.sum(np.abs(d) ** 2, axis=0))
        out[i, top] = 0.0
    return out


def _solver(modes: Modes, lags: int, fs: float) -> Real:
    """Least squares over lags 1 .. ``lags``: real and imaginary parts of A out of R, float64[2 n_modes, lags]."""
    rate = 2 * np.pi * modes.f_hz * (-modes.damping + 1j * np.sqrt(1.0 - modes.damping**2))
    powers = np.exp(np.arange(1, lags + 1)[:, None] * rate / fs)
    inverse: Real = np.linalg.pinv(np.concatenate((2.0 * powers.real, -2.0 * powers.imag), axis=1))
    return inverse


def _amplitudes(solve: Real, r: Real) -> Complex:
    """A, complex128[n, n_modes, n_ch, n_ch], of covariances float64[n, lags, n_ch, n_ch]."""
    parts = np.tensordot(solve, r, (1, 1))  # [2 n_modes, n, n_ch, n_ch]
    real, imag = np.split(parts, 2)
    a: Complex = np.ascontiguousarray((real + 1j * imag).swapaxes(0, 1))
    return a
