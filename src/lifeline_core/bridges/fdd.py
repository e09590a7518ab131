"""Frequency domain decomposition, plain and enhanced.

    S(f) = U(f) diag(s) U(f)^H,   modes at peaks of s_1, shape = conj u_1 at the peak
    the bell of a mode: bins about its peak whose u_1 is like the peak's; there p(f) = u^H S(f) u with the peak's u
    irfft(p) / irfft(|W|^2) = its correlation function  rho(tau) = exp(-zeta w tau) cos(w_d tau)
    w_d from zero crossings, zeta w from the logarithm of the extremes (log decrement)

The correlation function is divided by that of the window, which would else pass for damping. p is linear in S, other than s_1,
which is the larger for noise and for a close mode. Standard deviations are those of a jackknife: the record's segments go into
groups, and everything behind the choice of peak and bell is done again without each group.

What to expect of it, against the floors sqrt(zeta / (2 pi T f)) and sqrt(1 / (2 pi zeta T f)): `python -m bench.chain_study
modes --method efdd`. Subspace identification of the same records stays nearer to them (`identify_modes`).

Sources: R. Brincker, L. Zhang and P. Andersen, Smart Mater. Struct. 10 (2001) 441-445; R. Brincker, C. Ventura and P.
Andersen, Proc. IMAC 19 (2001) 698-703 (enhanced); L. Zhang, T. Wang and Y. Tamura, Mech. Syst. Signal Process. 24 (2010)
1227-1239 (u^H S u); B. Efron and C. Stein, Ann. Stat. 9 (1981) 586-596 (jackknife).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.bridges.modes import Complex, Modes, Real, mac, normalised
from lifeline_core.dsp import csd_matrix
from lifeline_core.dsp.peaks import dominant_peaks
from lifeline_core.dsp.segments import Cut, cut

ENVELOPE = (0.9, 0.3)  # of the correlation function: where damping is read
FOOT = 0.01  # of a peak: ten half-widths from it; further out is noise
RISE = 5.0  # of the first singular value out of a valley: another bell begins
GROUPS = 20  # at most, of the jackknife
FEW = 5  # groups, below which a jackknife says nothing


@dataclass(frozen=True, slots=True)
class _Spectra:
    """How a record x float[n_ch, n] is cut into segments; ``own`` float64[nperseg]: correlation of the window, 1 at lag 0."""

    x: NDArray[Any]
    fs: float
    how: Cut
    keywords: dict[str, Any]
    own: Real

    def matrix(self) -> tuple[Real, Complex]:
        """f float64[n_f] and S complex128[n_f, n_ch, n_ch] of the whole; ValueError where it is not finite."""
        f, spectra = csd_matrix(self.x, self.fs, **self.keywords)
        if not np.isfinite(spectra).all():
            raise ValueError("x must be finite: fill or cut gaps first")
        return f, spectra.astype(np.complex128)

    def projected(self, u: Complex) -> tuple[Real, Real]:
        """u^H S u of each group of segments, float64[n_groups, n_f], and the segments in each, float64[n_groups].

        That is the spectrum of sum_j u_j x_j, which has two parts: no group needs a matrix of all channels.
        """
        y = np.stack((u.real, u.imag)) @ self.x
        n, hop = self.how.n, self.how.hop
        count = (y.shape[1] - n) // hop + 1
        border = np.linspace(0, count, min(GROUPS, count) + 1).astype(int)
        parts = [csd_matrix(y[:, b * hop : (e - 1) * hop + n], self.fs, **self.keywords)[1] for b, e in pairwise(border)]
        s = np.stack(parts)
        return (s[:, :, 0, 0] + s[:, :, 1, 1]).real - 2.0 * s[:, :, 0, 1].imag, np.diff(border).astype(np.float64)


def _spectra(x: ArrayLike, fs: float, nperseg: int | None, keywords: dict[str, Any]) -> _Spectra:
    a = np.asarray(x)
    if a.ndim != 2 or a.size == 0:
        raise ValueError(f"x must be [n_ch, n] and not empty, is of shape {a.shape}")
    size = nperseg if nperseg is not None else max(64, 1 << ((a.shape[1] // 16).bit_length() - 1))
    size = min(size, a.shape[1])
    how = cut(a.shape[1], fs, keywords.get("window", "hann"), size, keywords.get("noverlap"), "constant", "density")
    own = np.fft.irfft(np.abs(np.fft.rfft(how.window, 2 * how.n)) ** 2)[: how.n]
    return _Spectra(a, fs, how, {**keywords, "nperseg": size}, own / own[0])


def singular_values(x: ArrayLike, fs: float, *, nperseg: int | None = None, **keywords: Any) -> tuple[Real, Real, Complex]:
    """f float64[n_f] in Hz, s float64[n_f, n_ch] falling, u complex128[n_f, n_ch, n_ch]: the decomposition itself.

    ``nperseg`` defaults to the power of two next below a sixteenth of the record; keywords go to `dsp.csd_matrix`.
    """
    f, spectra = _spectra(x, fs, nperseg, keywords).matrix()
    u, s, _ = np.linalg.svd(spectra, hermitian=False)
    return f, s, u


def _valley(s: Real) -> int:
    """How far from s[0], a peak, the slope goes down: to the lowest bin before s is RISE times as high again."""
    up = np.flatnonzero(s > RISE * np.minimum.accumulate(s))
    return int(np.argmin(s[: up[0]])) + 1 if len(up) else len(s)


def _above(s: Real, bell: slice, peak: int) -> slice:
    """The part of a bell about its peak that is above FOOT of it: what noise fills is left out."""
    low = np.flatnonzero(s < FOOT * s[peak])
    left, right = low[low < peak], low[low > peak]
    return slice(max(bell.start, int(left[-1]) if len(left) else 0), min(bell.stop, int(right[0]) + 1 if len(right) else len(s)))


def _bell(s: Real, u: Complex, peak: int, like: float) -> slice:
    """Bins about the peak whose first singular vector is like the peak's, and that no deep valley separates from it."""
    alike = mac(u[:, :, 0], u[peak : peak + 1, :, 0])[:, 0] >= like
    reach = [int(np.argmin(side)) if not side.all() else len(side) for side in (alike[peak::-1], alike[peak:])]
    left, right = min(reach[0], _valley(s[peak::-1])), min(reach[1], _valley(s[peak:]))
    return slice(peak - left + 1, peak + right)


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


def _correlation(p: Real, bins: slice, own: Real) -> Real:
    """Correlation function of the bell p alone, freed of the window's, at lags up to a quarter of a segment."""
    n = len(own)
    bell = np.zeros(n // 2 + 1)
    bell[bins] = p
    rho = np.fft.irfft(bell, n)[: n // 4]
    out: Real = rho / rho[0] / own[: n // 4]
    return out


def _read(spectra: _Spectra, bins: slice, u: Complex, near_hz: float) -> tuple[float, float, float, float]:
    """Frequency, damping and their standard deviations of a bell; the peak's frequency and NaN where no decay can be read."""
    nan, fs, own = float("nan"), spectra.fs, spectra.own
    p, segments = spectra.projected(u)
    p, n = p[:, bins] * segments[:, None], len(p)
    whole = p.sum(axis=0)
    f, damping = _decay(_correlation(whole, bins, own), fs)
    if not (abs(f - near_hz) < 2 * fs / len(own) + 0.05 * near_hz and damping > 0.0):
        return near_hz, nan, nan, nan
    if n < FEW:
        return f, damping, nan, nan
    again = np.array([_decay(_correlation(whole - part, bins, own), fs) for part in p])
    sd = np.sqrt((n - 1) * again.var(axis=0))
    return f, damping, float(sd[0]), float(sd[1])


def fdd(x: ArrayLike, fs: float, *, f_min: float = 0.0, f_max: float | None = None, count: int = 12, prominence: float = 3.0,
        like: float = 0.8, enhanced: bool = True, nperseg: int | None = None, **keywords: Any) -> Modes:
    """Pick modes at the peaks of the first singular value of the spectral matrix.

    Parameters
    ----------
    x : float[n_ch, n]
        Responses, time last, all finite.
    fs : Hz.
    f_min, f_max : Hz, where to look; f_max defaults to 0.45 fs.
    count, prominence : at most so many peaks, each so far above the median around it.
    like : least MAC of a bell with its peak, 0 .. 1.
    enhanced : read frequency and damping from each mode's correlation function; else the frequency is the peak's, and damping
        and standard deviations are NaN: what a peak of so few bins is worth its bins do not tell.
    nperseg, keywords : of the spectra, as in `dsp.csd_matrix`; nperseg defaults to the power of two next below n / 16.

    Returns
    -------
    Modes
        In rising order of frequency. Where the decay cannot be read the frequency is the peak's and the rest NaN; standard
        deviations are NaN with fewer than 5 segments.

    Raises
    ------
    ValueError
        x is empty or not finite, ``like`` outside 0 .. 1, count below 1.
    """
    if not 0.0 < like < 1.0 or count < 1:
        raise ValueError(f"like must lie between 0 and 1 and count be 1 or more, are {like} and {count}")
    spectra = _spectra(x, fs, nperseg, keywords)
    f, matrix = spectra.matrix()
    u, s, _ = np.linalg.svd(matrix, hermitian=False)
    peaks = dominant_peaks(f, s[:, 0], 8 * count, f_min=f_min, f_max=0.45 * fs if f_max is None else f_max, prominence=prominence,
                           separation=0.0)
    nan = float("nan")
    rows: list[tuple[float, float, float, float]] = []
    shapes: list[NDArray[np.complex128]] = []
    taken = np.zeros(len(f), bool)  # by the bells of higher peaks: noise has many maxima on one bell
    for at in sorted(peaks, key=lambda hz: -float(s[int(np.argmin(np.abs(f - hz))), 0])):
        peak = int(np.argmin(np.abs(f - at)))
        if taken[peak] or len(rows) == count:
            continue
        bell = _bell(s[:, 0], u, peak, like)
        taken[bell] = True
        top = u[peak, :, 0]
        rows.append(_read(spectra, _above(s[:, 0], bell, peak), top, at) if enhanced else (at, nan, nan, nan))
        shapes.append(top.conj())
    rise = np.argsort([row[0] for row in rows], kind="stable").astype(np.intp)
    column = np.array(rows, np.float64).reshape(-1, 4)[rise].T.copy()
    vectors = np.array(shapes, np.complex128).reshape(len(rows), s.shape[1])[rise]
    return Modes(column[0], column[1], normalised(vectors), column[2], column[3], np.zeros(len(rows), np.int64))


def efdd(x: ArrayLike, fs: float, **keywords: Any) -> Modes:
    """Enhanced frequency domain decomposition: frequency, damping, shape and standard deviations from each mode's own decay.

    `fdd` with ``enhanced=True``; its other keywords, result and errors.
    """
    if keywords.pop("enhanced", True) is not True:
        raise ValueError("efdd is enhanced: use fdd for plain peaks")
    return fdd(x, fs, enhanced=True, **keywords)
