"""Frequency domain decomposition, with the damping of its enhanced form.

    S(f) = U(f) diag(s) U(f)^H,   modes at peaks of s_1, shape = conj u_1 at the peak
    the bell of a mode: bins about its peak whose u_1 is like the peak's; irfft(bell) = its correlation function
    rho(tau) = exp(-zeta w tau) cos(w_d tau)  ->  w_d from zero crossings, zeta from the envelope

The correlation function is divided by that of the window, which would else pass for damping.

Sources: R. Brincker, L. Zhang and P. Andersen, Smart Mater. Struct. 10 (2001) 441-445; R. Brincker, C. Ventura and P.
Andersen, Proc. IMAC 19 (2001) 698-703 (enhanced).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.bridges.modes import Complex, Modes, Real, mac, normalised
from lifeline_core.dsp import csd_matrix
from lifeline_core.dsp.peaks import dominant_peaks

ENVELOPE = (0.9, 0.3)  # of the correlation function: where damping is read


def singular_values(x: ArrayLike, fs: float, *, nperseg: int | None = None, **keywords: Any) -> tuple[Real, Real, Complex]:
    """f float64[n_f] in Hz, s float64[n_f, n_ch] falling, u complex128[n_f, n_ch, n_ch]: the decomposition itself.

    ``nperseg`` defaults to the power of two next below a sixteenth of the record; keywords go to `dsp.csd_matrix`.
    """
    a = np.asarray(x)
    if a.ndim != 2 or a.size == 0:
        raise ValueError(f"x must be [n_ch, n] and not empty, is of shape {a.shape}")
    n = nperseg if nperseg is not None else max(64, 1 << ((a.shape[1] // 16).bit_length() - 1))
    f, spectra = csd_matrix(a, fs, nperseg=min(n, a.shape[1]), **keywords)
    if not np.isfinite(spectra).all():
        raise ValueError("x must be finite: fill or cut gaps first")
    u, s, _ = np.linalg.svd(spectra.astype(np.complex128), hermitian=False)
    return f, s, u


def _bell(u: Complex, peak: int, like: float) -> slice:
    """Bins about the peak whose first singular vector is like the peak's."""
    alike = mac(u[:, :, 0], u[peak : peak + 1, :, 0])[:, 0] >= like
    left = peak - int(np.argmin(alike[peak::-1])) + 1 if not alike[: peak + 1].all() else 0
    right = peak + int(np.argmin(alike[peak:])) if not alike[peak:].all() else len(alike)
    return slice(left, right)


def _decay(rho: Real, fs: float) -> tuple[float, float]:
    """Frequency and damping of a decaying oscillation that begins at its top; NaN where it cannot be read."""
    nothing = (float("nan"), float("nan"))
    sign = np.flatnonzero(np.diff(np.signbit(rho)))
    top = np.flatnonzero((np.abs(rho[1:-1]) >= np.abs(rho[:-2])) & (np.abs(rho[1:-1]) > np.abs(rho[2:]))) + 1
    below = np.flatnonzero(np.abs(rho[top]) < ENVELOPE[1])
    top = top[: below[0]] if len(below) else top
    top = top[np.abs(rho[top]) <= ENVELOPE[0]]
    if len(top) < 3 or len(sign) < 4:
        return nothing
    sign = sign[sign <= top[-1]]
    if len(sign) < 4:
        return nothing
    cross = (sign + rho[sign] / (rho[sign] - rho[sign + 1])) / fs
    half = np.polyfit(np.arange(len(cross)), cross, 1)[0]  # seconds from one zero to the next
    wd = np.pi / half
    sigma = -np.polyfit(top / fs, np.log(np.abs(rho[top])), 1)[0]
    w = float(np.hypot(wd, sigma))
    return w / (2 * np.pi), float(sigma / w)


def fdd(x: ArrayLike, fs: float, *, f_min: float = 0.0, f_max: float | None = None, count: int = 12, prominence: float = 3.0,
        like: float = 0.9, enhanced: bool = True, nperseg: int | None = None, **keywords: Any) -> Modes:
    """Pick modes at the peaks of the first singular value of the spectral matrix.

    Parameters
    ----------
    x : float[n_ch, n]
        Responses, time last, all finite.
    fs : Hz.
    f_min, f_max : Hz, where to look; f_max defaults to 0.45 fs.
    count, prominence : at most so many peaks, each so far above the median around it.
    like : least MAC of a bell with its peak.
    enhanced : read frequency and damping from each mode's correlation function; else damping is NaN.
    nperseg, keywords : of the spectra.

    Returns
    -------
    Modes
        ``f_sd_hz`` and ``damping_sd`` are NaN; where the decay cannot be read the frequency is the peak's.
    """
    f, s, u = singular_values(x, fs, nperseg=nperseg, **keywords)
    peaks = dominant_peaks(f, s[:, 0], 8 * count, f_min=f_min, f_max=0.45 * fs if f_max is None else f_max, prominence=prominence,
                           separation=0.0)
    n = 2 * (len(f) - 1)
    window = np.hanning(n + 1)[:-1]
    own = _window_correlation(window)
    rows: list[tuple[float, float, Complex]] = []
    taken = np.zeros(len(f), bool)  # by the bells of higher peaks: noise has many maxima on one bell
    for at in sorted(peaks, key=lambda hz: -float(s[int(np.argmin(np.abs(f - hz))), 0])):
        peak = int(np.argmin(np.abs(f - at)))
        if taken[peak] or len(rows) == count:
            continue
        part = _bell(u, peak, like)
        taken[part] = True
        found = (at, float("nan"))
        if enhanced:
            bell = np.zeros(len(f))
            bell[part] = s[part, 0]
            rho = np.fft.irfft(bell, n)[: n // 4]
            decay = _decay(rho / rho[0] / (own[: n // 4] / own[0]), fs)
            found = decay if np.isfinite(decay[0]) and abs(decay[0] - at) < 2 * f[1] + 0.05 * at else found
        rows.append((*found, u[peak, :, 0].conj()))
    rows.sort(key=lambda row: row[0])
    nan = np.full(len(rows), np.nan)
    shapes = np.array([r[2] for r in rows], np.complex128).reshape(len(rows), s.shape[1])
    return Modes(np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), normalised(shapes), nan, nan.copy(),
                 np.zeros(len(rows), np.int64))


def _window_correlation(window: NDArray[np.float64]) -> Real:
    n = len(window)
    return np.asarray(np.fft.irfft(np.abs(np.fft.rfft(window, 2 * n)) ** 2)[:n])
