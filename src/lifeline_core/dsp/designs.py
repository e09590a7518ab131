"""Filters by what they are for: corners in Hz in, second-order sections or taps out, as the rest of `dsp` takes them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import signal


def highpass(fs: float, corner_hz: float, order: int = 2) -> NDArray[np.float64]:
    """Butterworth high-pass as second-order sections for `filters.sosfilt`.

    Parameters
    ----------
    fs : sampling rate, Hz.
    corner_hz : -3 dB frequency, Hz, above 0 and below fs / 2.
    order : 1 to 16.

    Returns
    -------
    float64[ceil(order / 2), 6]

    Raises
    ------
    ValueError
        Where the corner is not between 0 and fs / 2.
    """
    _check_band(fs, corner_hz)
    sos: NDArray[np.float64] = signal.butter(order, corner_hz, "highpass", fs=fs, output="sos")
    return sos


def bandpass(fs: float, low_hz: float, high_hz: float, order: int = 2) -> NDArray[np.float64]:
    """Butterworth band-pass as second-order sections; see `highpass`. ``order`` counts each flank."""
    _check_band(fs, low_hz, high_hz)
    sos: NDArray[np.float64] = signal.butter(order, [low_hz, high_hz], "bandpass", fs=fs, output="sos")
    return sos


def _check_band(fs: float, *corners_hz: float) -> None:
    ordered = [0.0, *corners_hz, fs / 2]
    if not all(a < b for a, b in pairwise(ordered)):
        raise ValueError(f"corner frequencies must rise between 0 and fs / 2 = {fs / 2:g} Hz, are {list(corners_hz)}")


def notch_bank(fs: float, mains_hz: float = 50.0, *, harmonics: int | Iterable[int] | None = None,
               q: float = 30.0) -> NDArray[np.float64]:
    """A notch at the mains frequency and one at each harmonic below fs / 2, as sections for `filters.sosfilt` or `SosFilter`.

    A section is 0 at its frequency f, 1 at 0 Hz and at fs / 2, and f / q wide at -3 dB: as the mains wander, a harmonic
    wanders by its number times as much, so its notch is that much wider. As `scipy.signal.iirnotch`::

        H(z) = g (1 - 2 cos w z^-1 + z^-2) / (1 - 2 g cos w z^-1 + (2 g - 1) z^-2)
        w = 2 pi f / fs             g = 1 / (1 + tan(w / (2 q)))

    Parameters
    ----------
    fs : sampling rate, Hz.
    mains_hz : fundamental, Hz, above 0 and below fs / 2.
    harmonics : multiples of mains_hz; a number n means 1 to n, absent means all below fs / 2. Those at fs / 2 or above
        are left out, for a sampled signal does not hold them.
    q : the frequency of a notch over its width at -3 dB; above 1.

    Returns
    -------
    float64[n, 6], n at most 64.

    Raises
    ------
    ValueError
        mains_hz is not between 0 and fs / 2, q is not above 1, a multiple is below 1, or more than 64 notches fit.

    Source
    ------
    S. J. Orfanidis, Introduction to Signal Processing, 1996, 11.3.

    >>> notch_bank(250.0).shape, notch_bank(1000.0, 60.0, harmonics=[1, 3, 99]).shape
    ((2, 6), (2, 6))
    """
    _check_band(fs, mains_hz)
    if not q > 1:
        raise ValueError(f"notch_bank: q must be above 1, is {q}")
    below = int(np.ceil(fs / 2 / mains_hz)) - 1  # below fs / 2, not at it
    if harmonics is None:
        harmonics = below
    wanted = sorted(set(range(1, harmonics + 1) if isinstance(harmonics, int) else harmonics))
    if not wanted or wanted[0] < 1:
        raise ValueError(f"notch_bank: harmonics must be 1 or more, are {wanted}")
    frequencies = [k * mains_hz for k in wanted if k <= below]
    if not 1 <= len(frequencies) <= 64:
        raise ValueError(f"notch_bank: 1 to 64 notches must lie below fs / 2 = {fs / 2:g} Hz, do {len(frequencies)}")
    return np.array([_notch(2 * np.pi * f / fs, q) for f in frequencies])


def _notch(w: float, q: float) -> list[float]:
    gain = 1 / (1 + np.tan(w / (2 * q)))
    middle = -2 * gain * np.cos(w)
    return [gain, middle, gain, 1.0, middle, 2 * gain - 1]


def decimation_taps(q: int) -> NDArray[np.float64]:
    """The low-pass that `decimate` uses before it keeps one sample of q; with f in units of the old rate fs::

        f <= 0.4 fs / q              within 0.001 dB of 1            (0.8 of the new Nyquist frequency)
        0.4 fs / q to 0.5 fs / q     falling
        f >= 0.5 fs / q              at most 1e-4, that is -80 dB    (the new Nyquist frequency and all beyond)

    An ideal low-pass of corner 0.45 fs / q under a Kaiser window; 52 q + 1 taps, symmetric, so that the delay of 26 q
    samples is a whole number of kept ones. The sum is 1: a level stays what it is.

    Raises
    ------
    ValueError
        q is not a whole number of at least 1.

    Source
    ------
    J. F. Kaiser, Nonrecursive digital filter design using the I0-sinh window function, IEEE ISCAS 1974.

    >>> taps = decimation_taps(4)
    >>> len(taps), round(float(taps.sum()), 12)
    (209, 1.0)
    """
    if isinstance(q, bool) or int(q) != q or q < 1:
        raise ValueError(f"decimate: q must be a whole number of at least 1, is {q!r}")
    if q == 1:
        return np.ones(1)
    taps: NDArray[np.float64] = signal.firwin(52 * int(q) + 1, 0.9 / q, window=("kaiser", signal.kaiser_beta(82.0)))
    return taps
