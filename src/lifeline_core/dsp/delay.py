"""Time delay between two channels from their averaged spectra: weightings, correlogram, peak, and the error of it.

Every function works on the averaged S11, S22 (real) and S12 (complex, ``conj(A) B`` as in `scipy.signal.csd`) on the
grid of one FFT. With b later than a by D, S12 turns as exp(-i 2 pi f D) and the correlogram peaks at +D.

Scaling either channel changes no weighting's result: there is no constant that has a unit.

Source: Knapp and Carter, "The generalized correlation method for estimation of time delay", IEEE Trans. ASSP 24 (1976).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

WEIGHTINGS = ("cc", "roth", "scot", "phat", "ht")
POLARITIES = ("same", "inverted", "either")

# Coherence is held this far below 1, so that one segment (coherence 1 everywhere) weighs all frequencies alike under
# ht.
_CERTAIN = 1e-12


def divide(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """a / b, and 0 where b is not above 0: a frequency without power has no say."""
    out = np.zeros(np.broadcast(a, b).shape, np.result_type(a, b, np.float64))
    return np.divide(a, b, out=out, where=b > 0)


def coherence(s11: ArrayLike, s22: ArrayLike, s12: ArrayLike) -> Real:
    """Magnitude-squared coherence |S12|^2 / (S11 S22), 0 .. 1; 0 where a channel has no power.

    >>> round(float(coherence([4.0], [1.0], [1.0 + 1.0j])[0]), 12)
    0.5
    """
    a, b, c = np.asarray(s11, float), np.asarray(s22, float), np.asarray(s12, complex)
    # amplitudes are divided one after the other: a product of two powers may leave the range of a double
    share = divide(divide(np.abs(c), np.sqrt(a)), np.sqrt(b))
    return np.minimum(share**2, 1.0)


def coherence_limit(n: float, p: float = 0.05) -> float:
    """Coherence that n independent segments of two unrelated channels exceed with probability p: 1 - p^(1/(n-1)).

    >>> round(coherence_limit(30), 4)
    0.0981
    """
    if not n > 1.0:
        raise ValueError(f"n must be above 1 segment, is {n}")
    return float(1.0 - p ** (1.0 / (n - 1.0)))


def debias(gamma2: Real, n: float) -> Real:
    """Coherence with the mean that n segments of unrelated channels show (1/n) taken off; 0 at least."""
    return np.maximum((gamma2 - 1.0 / n) / (1.0 - 1.0 / n), 0.0)


def weights(
    weighting: str, s11: ArrayLike, s22: ArrayLike, s12: ArrayLike, *, gamma2: ArrayLike | None = None
) -> Real:
    """W(f) of the generalised correlation R(tau) = sum W S12 exp(i 2 pi f tau).

    =====  ==========================================
    cc     1
    roth   1 / S11
    scot   1 / sqrt(S11 S22)
    phat   1 / |S12|
    ht     gamma2 / (|S12| (1 - gamma2)), the maximum likelihood weight
    =====  ==========================================

    Parameters
    ----------
    weighting : one of WEIGHTINGS
    s11, s22, s12 : array [n_f]
        Averaged spectra.
    gamma2 : array [n_f], optional
        A better estimate of the coherence for ht (smoothed, freed of bias) than the one the spectra give.

    Raises
    ------
    ValueError
        For another word.
    """
    a, b, c = np.asarray(s11, float), np.asarray(s22, float), np.asarray(s12, complex)
    if weighting == "cc":
        return np.ones(c.shape)
    if weighting == "roth":
        return divide(np.ones(c.shape), a)
    if weighting == "scot":
        return divide(divide(np.ones(c.shape), np.sqrt(a)), np.sqrt(b))
    if weighting == "phat":
        return divide(np.ones(c.shape), np.abs(c))
    if weighting == "ht":
        g = np.minimum(coherence(a, b, c) if gamma2 is None else np.asarray(gamma2, float), 1.0 - _CERTAIN)
        return divide(g / (1.0 - g), np.abs(c))
    raise ValueError(f"weighting must be one of {', '.join(WEIGHTINGS)}, is {weighting!r}")


def correlogram(cross: ArrayLike, fs: float, nperseg: int, *, max_delay_s: float, finer: int = 4) -> tuple[Real, Real]:
    """R(tau) of a weighted cross spectrum on a grid ``finer`` than the samples; 1.0 = every frequency in phase.

    Parameters
    ----------
    cross : complex array [nperseg // 2 + 1]
        W S12 on the grid of `numpy.fft.rfftfreq(nperseg, 1 / fs)`.
    fs : float
        Hz.
    nperseg : int
        Length of the segments the spectra come from.
    max_delay_s : float
        Largest lag shown. Lags of segments wrap round at nperseg: with a Hann window at most 0.8 % of a source that
        lies 3/4 of a segment away shows within a quarter, so a quarter of a segment is the most that may be asked for.
    finer : int
        The spectrum is zero padded to this many times the rate, 2 or more.

    Returns
    -------
    lags_s, r : float64
        Lags in rising order; r within -1 .. 1.
    """
    x = np.array(cross, complex)
    if x.shape != (nperseg // 2 + 1,):
        raise ValueError(f"cross must have nperseg // 2 + 1 = {nperseg // 2 + 1} values, has shape {x.shape}")
    if not 0.0 < max_delay_s <= 0.25 * nperseg / fs * (1.0 + 1e-9):
        raise ValueError(f"max_delay_s must be above 0 and at most a quarter of a segment, {0.25 * nperseg / fs} s, "
                         f"is {max_delay_s}")
    if finer < 2:
        raise ValueError(f"finer must be 2 or more, is {finer}")
    n = finer * nperseg
    x[0] = 0.5 * x[0].real
    if nperseg % 2 == 0:
        x[-1] *= 0.5  # the Nyquist line stands for both signs of frequency
    x *= 2.0
    size = float(np.abs(x).sum())
    edge = int(max_delay_s * fs * finer * (1.0 + 1e-9))
    k = np.arange(-edge, edge + 1)
    if size == 0.0:
        return k / (fs * finer), np.zeros(k.size)
    padded = np.zeros(n // 2 + 1, complex)
    padded[: x.size] = x / size
    padded[1:] *= 0.5  # irfft counts every line but the first twice
    return k / (fs * finer), (np.fft.irfft(padded, n) * n)[k]


def pick(lags_s: Real, r: Real, *, polarity: str = "same") -> int:
    """Index of the peak: the highest value; with ``inverted`` the lowest; with ``either`` the largest in size.

    Two sensors of the same make and the same side up hear a source with the same sign, so the largest negative value is
    no peak unless that is asked for.
    """
    if polarity not in POLARITIES:
        raise ValueError(f"polarity must be one of {', '.join(POLARITIES)}, is {polarity!r}")
    if r.size == 0:
        raise ValueError("r must hold at least one lag, is empty")
    return int(np.argmax(r if polarity == "same" else -r if polarity == "inverted" else np.abs(r)))


def refine(f: Real, cross: Complex, lag_s: float, step_s: float) -> float:
    """The exact maximum of sum Re{cross exp(i 2 pi f tau)} next to ``lag_s``, by Newton's method.

    Starts at a grid peak and stays within ``step_s`` of it. At a peak this is the weighted least squares line through
    the phase, so it has no error of interpolation.
    """
    w = 2.0 * np.pi * f
    tau = lag_s
    for _ in range(20):
        z = cross * np.exp(1j * w * tau)
        slope, bend = -float(w @ z.imag), -float((w * w) @ z.real)
        if not bend < 0.0:
            return lag_s
        move = -slope / bend
        tau = min(max(tau + move, lag_s - step_s), lag_s + step_s)
        if abs(move) < 1e-15 + 1e-9 * step_s:
            break
    return tau


def main_lobe(r: Real, peak: int) -> slice:
    """The run of values around the peak that keep its sign."""
    other = np.flatnonzero(r * r[peak] <= 0.0)
    k = int(np.searchsorted(other, peak))
    return slice(int(other[k - 1]) + 1 if k else 0, int(other[k]) if k < other.size else r.size)


def peak_ratios(r: Real, peak: int) -> tuple[float, float]:
    """PSR and PMR: the peak over the highest other peak of its sign, and over the mean size of all values.

    Infinite PSR where there is no other; both 0 for a correlogram of zeros.
    """
    top = abs(float(r[peak]))
    if top == 0.0:
        return 0.0, 0.0
    rest = r * np.sign(r[peak])
    rest[main_lobe(r, peak)] = 0.0
    second = float(rest.max())
    return (top / second if second > 0.0 else float("inf")), top / float(np.abs(r).mean())


def delay_sd(f: Real, w: Real, s11: Real, s22: Real, s12: Complex, gamma2: Real, duration_s: float) -> float:
    """Standard deviation of the delay found with weights W from ``duration_s`` seconds; infinite where nothing coheres.

    ::

        var = int W^2 (2 pi f)^2 S11 S22 (1 - gamma2) df / (2 T [int (2 pi f)^2 |S12| W df]^2)      f > 0

    With ht weights this is the Cramer-Rao bound 1 / (2 T int (2 pi f)^2 gamma2 / (1 - gamma2) df).

    Source: Knapp and Carter 1976 (their integrals run over both signs of frequency).
    """
    df = float(f[1] - f[0])
    omega2 = (2.0 * np.pi * f) ** 2
    bottom = float(np.sum(omega2 * np.abs(s12) * w)) * df
    if bottom <= 0.0:
        return float("inf")
    top = float(np.sum(((w * np.sqrt(s11)) * np.sqrt(s22)) ** 2 * omega2 * (1.0 - gamma2))) * df
    return float(np.sqrt(top / (2.0 * duration_s)) / bottom)
