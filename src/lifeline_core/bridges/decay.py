"""Modes from what follows an earthquake, a blow or a passage: the response dies away, alone or with what still shakes it.

`free_decay`: nothing acts any more. The record is fitted in the time domain,

    y_c(t) = b_c + sum_i Re(a_ci exp(lambda_i t)) + white noise of its own strength in each channel

from poles of its Hankel matrix (eigensystem realisation; the number of modes by the Bayesian information criterion), by
Gauss-Newton steps on the poles with all amplitudes eliminated. Standard deviations are the Cramer-Rao bound at the fit.

`coda_modes`: what acts dies away too, as after an earthquake.

    y'(t) = y(t) exp(c t)                  c >= 0 from the slope of the logarithm of the record's level
    lambda = lambda' - c                   poles of y' by `ssi_cov`

A response to noise whose strength goes as exp(-c t) is exp(-c t) times the stationary response of a structure whose poles are
lambda + c, so the shift is exact, and the whole coda counts, not its first seconds alone. Standard deviations are those of
`ssi_cov`, that of damping with the uncertainty of c. They cannot know of a frequency that changes with the amplitude.

Sources: J.-N. Juang and R. S. Pappa, J. Guid. Control Dyn. 8 (1985) 620-627 (realisation); G. H. Golub and V. Pereyra, SIAM J.
Numer. Anal. 10 (1973) 413-432 (amplitudes eliminated); G. Schwarz, Ann. Stat. 6 (1978) 461-464 (criterion); G. H. James, T. G.
Carne and J. P. Lauffer, Int. J. Anal. Exp. Modal Anal. 10 (1995) 260-277 (covariances of responses to noise as decays).
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike
from scipy import linalg

from lifeline_core.bridges.identify import modes_of
from lifeline_core.bridges.modes import Complex, Modes, Real, normalised
from lifeline_core.bridges.ssi import ssi_cov
from lifeline_core.dsp.decimate import decimate

LEVELS = 12  # stretches of a coda whose levels give its slope
BANDS = 3.0  # times f_max: the rate that the record is brought near to, from above
ROWS = 300  # of the Hankel matrix
GROWTH = 3.0  # of the logarithm of an oscillation over the stretch, at most: noise may seem to grow
NOTHING = 1e-9  # of the record: noise below is rounding
ENOUGH = 3  # orders in a row that the criterion likes less than the best before
STEPS = 30  # of Gauss and Newton, at most
VAGUE = 0.05  # standard deviation of a frequency over itself, above which nothing is known of it


def coda(x: ArrayLike, fs: float, *, share: float = 0.1, smooth_s: float = 2.0) -> int:
    """The sample after which a record is never again louder than ``share`` of its loudest: the end of strong motion.

    Parameters
    ----------
    x : float[n_ch, n]
        All finite. Loudness is the mean square of all channels over ``smooth_s``, each measured by its own largest.
    fs : Hz.
    share : of amplitude, 0 .. 1.
    smooth_s : seconds.

    Raises
    ------
    ValueError
        x is empty, not finite or silent, ``share`` outside 0 .. 1.
    """
    y = _checked(x)
    if not 0.0 < share < 1.0 or not smooth_s > 0.0:
        raise ValueError(f"share must lie between 0 and 1 and smooth_s above 0, are {share} and {smooth_s}")
    size = min(max(int(smooth_s * fs), 1), y.shape[1])
    whole = np.concatenate((np.zeros((len(y), 1)), np.cumsum(y**2, axis=1)), axis=1)
    power = (whole[:, size:] - whole[:, :-size]) / size  # over samples i .. i + size - 1
    top = power.max(axis=1, keepdims=True)
    if not (top > 0.0).any():
        raise ValueError("x must not be silent")
    level = np.sqrt(np.mean(power[top[:, 0] > 0.0] / top[top[:, 0] > 0.0], axis=0))
    return int(np.flatnonzero(level > share * level.max())[-1]) + size


def _checked(x: ArrayLike) -> Real:
    y = np.asarray(x, np.float64)
    if y.ndim != 2 or y.size == 0:
        raise ValueError(f"x must be [n_ch, n] and not empty, is of shape {y.shape}")
    if not np.isfinite(y).all():
        raise ValueError("x must be finite: fill or cut gaps first")
    return y


def _slope(y: Real, fs: float) -> tuple[float, float]:
    """c of exp(-c t) and its standard deviation from the scatter of levels about the line; 0 for a record that does not fall."""
    edge = np.linspace(0, y.shape[1], LEVELS + 1).astype(int)
    power = np.add.reduceat(y**2, edge[:-1], axis=1) / np.diff(edge)
    alive = power.min(axis=1) > 0.0
    if not alive.any():
        return 0.0, 0.0
    log = 0.5 * np.mean(np.log(power[alive]), axis=0)
    t = 0.5 * (edge[:-1] + edge[1:]) / fs
    t = t - t.mean()
    fall = float(-(t @ log) / (t @ t))
    rest = log - log.mean() + fall * t
    return max(fall, 0.0), float(np.sqrt(rest @ rest / (LEVELS - 2) / (t @ t)))


def _shifted(m: Modes, c: float, c_sd: float) -> Modes:
    """The modes with c taken off every pole's real part."""
    w = 2 * np.pi * m.f_hz
    re, im = -m.damping * w - c, w * np.sqrt(1.0 - m.damping**2)
    size = np.hypot(re, im)
    damping = -re / size
    damping_sd = np.hypot(m.damping_sd, c_sd / size)  # of f no more than zeta of that: left out
    return Modes(size / (2 * np.pi), damping, m.shapes, m.f_sd_hz, damping_sd, m.order, m.refused)


def _stretch(x: ArrayLike, fs: float, f_min: float, f_max: float, begin_s: float | None, end_s: float | None,
             periods: float) -> tuple[Real, float]:
    """The part of the record that is used, decimated to three times f_max or more, and its rate."""
    y = _checked(x)
    if not 0.0 < f_min < f_max <= 0.5 * fs:
        raise ValueError(f"f_min and f_max must rise and lie within 0 .. {0.5 * fs:g} Hz, are {f_min} and {f_max}")
    end = y.shape[1] if end_s is None else min(round(end_s * fs), y.shape[1])
    begin = coda(y, fs) if begin_s is None else round(begin_s * fs)
    if not 0 <= begin < end or (end - begin) / fs < periods / f_min:
        raise ValueError(f"from {begin / fs:g} to {end / fs:g} s there must be at least {periods / f_min:g} s")
    factor = max(int(fs / (BANDS * f_max)), 1)
    y = y if factor == 1 else decimate(y, factor)
    y = y[:, -(-begin // factor) : end // factor]
    return y - y.mean(axis=1, keepdims=True), fs / factor


def coda_modes(x: ArrayLike, fs: float, f_max: float, *, f_min: float, begin_s: float | None = None, end_s: float | None = None,
               br: int = 8, order_max: int = 30) -> Modes:
    """Identify modes from the coda of an earthquake: the response and what excites it die away together.

    Parameters
    ----------
    x : float[n_ch, n]
        The record, time last, all finite: acceleration, velocity or displacement. Where the ground's motion was recorded too,
        take it off: what the ground does by itself is no mode.
    fs : Hz.
    f_min, f_max : Hz, where modes are sought; the record is decimated to three times f_max or more.
    begin_s, end_s : the stretch that is used, seconds from the first sample; default from the end of strong motion (`coda`)
        to the end of the record.
    br, order_max : as in `identify_modes`; a coda is short, and modes after strong motion well damped: few block rows.

    Returns
    -------
    Modes
        In rising order of frequency; damping without what the decay of the excitation took off.

    Raises
    ------
    ValueError
        x is empty, not finite or silent, the stretch shorter than 20 periods of f_min or too short for br, or f_min >= f_max.
    """
    y, rate_hz = _stretch(x, fs, f_min, f_max, begin_s, end_s, 20.0)
    c, c_sd = _slope(y, rate_hz)
    y = y * np.exp(c * np.arange(y.shape[1]) / rate_hz)
    poles = ssi_cov(y, rate_hz, br=br, order_max=order_max, uncertainty=True, weights="canonical")
    m = _shifted(modes_of(poles, y.shape[1] / rate_hz), c, c_sd)
    return m.take((m.f_hz >= f_min) & (m.f_hz <= f_max))


def _realised(y: Real, fs: float, order_max: int) -> list[Complex]:
    """Poles lambda (those above the real axis) of every even order of the Hankel matrix of y."""
    n_ch, n = y.shape
    rows = max(min(n // 3, ROWS // n_ch), 2)
    h = sliding_window_view(y, n - rows + 1, axis=1).transpose(1, 0, 2).reshape(rows * n_ch, -1)
    power, u = linalg.eigh(h @ h.T, check_finite=False)
    power, u = power[::-1], u[:, ::-1]
    out: list[Complex] = []
    for order in range(2, min(order_max, (rows - 1) * n_ch, int(np.count_nonzero(power > 1e-14 * power[0]))) + 1, 2):
        o = u[:, :order]
        mu = linalg.eigvals(np.linalg.lstsq(o[:-n_ch], o[n_ch:], rcond=None)[0])
        mu = mu[mu.imag > 1e-9]
        out.append(np.asarray(fs * np.log(mu), np.complex128))
    return out


def _basis(lam: Complex, t: Real) -> tuple[Complex, Real]:
    e = np.exp(np.outer(t, lam))
    return e, np.concatenate((e.real, -e.imag, np.ones((len(t), 1))), axis=1)


def _amplitudes(lam: Complex, y: Real, t: Real) -> tuple[Complex, Real]:
    """a complex128[n_modes, n_ch] and what is left of y, float64[n_ch, n]."""
    _, b = _basis(lam, t)
    c = np.linalg.lstsq(b, y.T, rcond=None)[0]
    return c[: len(lam)] + 1j * c[len(lam) : -1], y - (b @ c).T


def _information(lam: Complex, y: Real, t: Real, sd: Real) -> tuple[Real, Real]:
    """Fisher's matrix of (Re, Im) of the poles, float64[2 m, 2 m], amplitudes eliminated; and the gradient float64[2 m]."""
    a, rest = _amplitudes(lam, y, t)
    e, b = _basis(lam, t)
    q = linalg.qr(b, mode="economic", check_finite=False)[0]
    fisher, gradient = np.zeros((2 * len(lam), 2 * len(lam))), np.zeros(2 * len(lam))
    for c in range(len(y)):
        turned = t[:, None] * e * a[:, c]
        j = np.concatenate((turned.real, -turned.imag), axis=1)
        j = (j - q @ (q.T @ j)) / sd[c]
        fisher += j.T @ j
        gradient += j.T @ rest[c] / sd[c]
    return fisher, gradient


def _noise(rest: Real, free: int, floor: float) -> Real:
    sd = np.maximum(np.sqrt(np.sum(rest**2, axis=1) / free), floor)
    return np.asarray(sd, np.float64)


def _refined(lam: Complex, y: Real, t: Real) -> tuple[Complex, Real, Complex]:
    """Poles after Gauss-Newton steps, the covariance of their (Re, Im), and the amplitudes."""
    m = len(lam)
    free = max(len(t) - 2 * m - 1, 1)
    floor = NOTHING * max(float(np.abs(y).max()), 1e-300)  # of a record without noise
    a, rest = _amplitudes(lam, y, t)
    for _ in range(STEPS):
        sd = _noise(rest, free, floor)
        fisher, gradient = _information(lam, y, t, sd)
        step = np.linalg.lstsq(fisher, gradient, rcond=1e-12)[0]
        change, size, better = step[:m] + 1j * step[m:], 1.0, False
        while size > 1e-4 and not better:
            to = lam + size * change
            to = np.minimum(to.real, GROWTH / t[-1]) + 1j * to.imag
            a_to, rest_to = _amplitudes(to, y, t)
            better = bool(np.sum((rest_to / sd[:, None]) ** 2) <= np.sum((rest / sd[:, None]) ** 2))
            size *= 0.5
        if not better:
            break
        done = np.abs(to - lam).max() < 1e-10 * np.abs(to).max()
        lam, a, rest = to, a_to, rest_to
        if done:
            break
    return lam, np.asarray(np.linalg.pinv(fisher), np.float64), a


def free_decay(x: ArrayLike, fs: float, f_max: float, *, f_min: float, begin_s: float | None = None, end_s: float | None = None,
               order_max: int = 20) -> Modes:
    """Fit damped oscillations to a record in which nothing acts on the structure any more.

    Parameters
    ----------
    x : float[n_ch, n]
        The record, time last, all finite.
    fs : Hz.
    f_min, f_max : Hz, where modes are sought; the record is decimated to three times f_max or more.
    begin_s, end_s : the stretch that is fitted, seconds from the first sample; default from where the record is never again louder
        than a tenth of its loudest (`coda`) to its end. What is behind the decay does no harm, a second blow does.
    order_max : twice the largest number of oscillations.

    Returns
    -------
    Modes
        In rising order of frequency. ``refused``: oscillations in the band that do not decay or whose frequency is not known.

    Raises
    ------
    ValueError
        x is empty, not finite or silent, the stretch shorter than 3 periods of f_min, or f_min >= f_max.
    """
    y, rate_hz = _stretch(x, fs, f_min, f_max, begin_s, end_s, 3.0)
    n_ch, n = y.shape
    t = np.arange(n) / rate_hz
    best: tuple[float, Complex, Real, Complex] | None = None
    worse = 0
    for start in _realised(y, rate_hz, order_max):
        start = start[start.real < GROWTH / t[-1]]
        if not len(start) or 2 * len(start) + 1 >= n // 2:
            continue
        lam, covariance, a = _refined(start, y, t)
        rest = np.maximum(np.mean(_amplitudes(lam, y, t)[1] ** 2, axis=1), NOTHING**2 * np.mean(y**2))
        score = n * float(np.sum(np.log(rest))) + len(lam) * (2 + 2 * n_ch) * np.log(n * n_ch)
        if best is None or score < best[0]:
            best, worse = (score, lam, covariance, a), 0
        elif (worse := worse + 1) == ENOUGH:
            break
    if best is None:
        none = np.empty(0)
        return Modes(none, none, np.empty((0, n_ch), np.complex128), none, none, np.empty(0, np.int64))
    return _told(*best[1:], f_min, f_max)


def _told(lam: Complex, covariance: Real, a: Complex, f_min: float, f_max: float) -> Modes:
    """Poles as modes, with the covariance of their (Re, Im) carried to frequency and damping."""
    m, size = len(lam), np.abs(lam)
    f, damping = size / (2 * np.pi), -lam.real / size
    i = np.arange(m)
    rr, ri, ii = covariance[i, i], covariance[i, m + i], covariance[m + i, m + i]
    f_sd = np.sqrt(lam.real**2 * rr + 2 * lam.real * lam.imag * ri + lam.imag**2 * ii) / (2 * np.pi * size)
    damping_sd = np.abs(lam.imag) * np.sqrt(lam.imag**2 * rr - 2 * lam.real * lam.imag * ri + lam.real**2 * ii) / size**3
    inside = (f >= f_min) & (f <= f_max) & (lam.imag > 0)
    clear = (damping > 0.0) & (f_sd <= VAGUE * f)
    why = [(float(f[k]), float(damping[k]), "not a decay" if damping[k] <= 0.0 else f"not sharp: uncertain by {f_sd[k]:.2g} Hz")
           for k in np.flatnonzero(inside & ~clear)]
    rows = np.flatnonzero(inside & clear)
    rows = rows[np.argsort(f[rows], kind="stable")]
    return Modes(f[rows], damping[rows], normalised(a[rows]), f_sd[rows], damping_sd[rows], np.zeros(len(rows), np.int64),
                 tuple(sorted(why)))
