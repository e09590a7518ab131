"""Correlation of polarities: one bit per sample, so that thousands of lags of long records cost next to nothing.

    r[l] = (like[l] - unlike[l]) / (like[l] + unlike[l])       over all t with a sign in a[t] and in b[t + l]

A sample that is 0, NaN or infinite has no sign and takes part in no pair. What one loud event cannot do to a polarity:
rule the sum. Signs are about 0: take off offsets and drifts first (`dsp.sosfilt`).

Source: J. H. Van Vleck, D. Middleton, "The spectrum of clipped noise", Proc. IEEE 54 (1966) 2-19, eq. 17.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.dsp._polarity import MOST, Bits

Real = NDArray[np.float64]


def _samples(name: str, x: ArrayLike) -> NDArray[np.float32]:
    """A row of float32 with the signs of x; the range of another type does not fit, so its signs are taken before."""
    a = np.asarray(x)
    if a.ndim != 1 or a.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be one row of real samples, is {a.dtype} of shape {a.shape}")
    if a.dtype.kind == "f" and a.dtype.itemsize > 4:
        a = np.where(np.isfinite(a), np.sign(a), 0.0)
    return np.ascontiguousarray(a, np.float32)


class Polarity:
    """The polarity correlation of two streams: everything pushed so far, the same counts for any cut into blocks.

    Parameters
    ----------
    max_lag : int
        Largest lag in samples, 0 .. 16777216.

    Examples
    --------
    >>> x = np.random.default_rng(1).standard_normal(5000)
    >>> stream = Polarity(8)
    >>> for k in range(3, 4000, 500):
    ...     stream.push(x[k : k + 500], x[k - 3 : k + 497])
    >>> lags, r = stream.read()
    >>> int(lags[r.argmax()]), float(r.max())
    (3, 1.0)
    """

    def __init__(self, max_lag: int) -> None:
        if isinstance(max_lag, bool) or int(max_lag) != max_lag or not 0 <= max_lag <= MOST:
            raise ValueError(f"max_lag must be a whole number of 0 .. {MOST}, is {max_lag!r}")
        self._bits: Any = Bits(int(max_lag))

    @property
    def max_lag(self) -> int:
        """Largest lag, samples."""
        lag: int = self._bits.max_lag
        return lag

    def push(self, a: ArrayLike, b: ArrayLike) -> None:
        """Take the next samples of both, [n] each; n may be anything."""
        x, y = _samples("a", a), _samples("b", b)
        if x.shape != y.shape:
            raise ValueError(f"a and b must be of one length, have {x.size} and {y.size} samples")
        self._bits.push(x, y)

    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs of signs at each lag -max_lag .. max_lag, and how many of them are unlike, int64[2 max_lag + 1] each."""
        pairs, unlike = self._bits.read()
        return pairs, unlike

    def read(self, *, arcsine: bool = False) -> tuple[NDArray[np.int64], Real]:
        """Lags and r of everything so far; see `polarity_correlate`."""
        pairs, unlike = self.counts()
        r = np.divide(pairs - 2 * unlike, pairs, out=np.full(pairs.size, np.nan), where=pairs > 0)
        return np.arange(-self.max_lag, self.max_lag + 1), np.sin(0.5 * np.pi * r) if arcsine else r

    def restart(self) -> None:
        """A seam: keep the counts; a sample before and one after it are no pair."""
        self._bits.restart()

    def reset(self) -> None:
        """Forget everything."""
        self._bits.reset()

    def save(self) -> bytes:
        """The state as versioned bytes."""
        state: bytes = self._bits.save()
        return state

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError unless made with the same max_lag."""
        self._bits.load(state)


def polarity_correlate(a: ArrayLike, b: ArrayLike, max_lag: int, *, arcsine: bool = False) -> tuple[NDArray[np.int64], Real]:
    """Correlate the signs of two channels that began together.

    Parameters
    ----------
    a, b : real[n]
    max_lag : largest lag in samples; a lag of n or more has no pair.
    arcsine : give the correlation that Gaussian channels have whose signs correlate like this, sin(pi / 2 r).

    Returns
    -------
    lags : int64[2 max_lag + 1], -max_lag .. max_lag samples; positive when b is later.
    r : float64[2 max_lag + 1], -1 .. 1; NaN where there is no pair of signs.

    Raises
    ------
    ValueError
        a and b are empty, of different length or not real; max_lag is outside its range.

    Examples
    --------
    >>> lags, r = polarity_correlate([3, -1, -2, 5, 1], [9, 1, -7, -1, 4], 1)
    >>> lags.tolist(), r.tolist()
    ([-1, 0, 1], [-1.0, 0.2, 1.0])
    """
    whole = Polarity(max_lag)
    if not np.size(a):
        raise ValueError("a and b must hold samples, are empty")
    whole.push(a, b)
    return whole.read(arcsine=arcsine)
