"""The running twin of the averaged spectra: push blocks of samples, read the spectrum whenever it is wanted."""

from __future__ import annotations

from math import exp
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.dsp._spectrum import Lanes
from lifeline_core.dsp.recent import Recent
from lifeline_core.dsp.segments import Array, Window, averaged, cut, whole_number


class Running:
    """The spectra of a stream of float32 blocks: `welch` and `csd_matrix` of what was pushed so far, or of its last part.

    The same numbers, bit for bit, however the stream is cut and whenever somebody looks; `save` and `load` go on bit for
    bit. Segments begin with the first sample and after every seam (`restart`).

    =================  ==================================================================================================
    neither            the mean over all segments since the beginning or `reset`
    ``seconds=T``      the mean over the last ``1 + floor((T fs - nperseg) / hop)`` whole segments: so many lie within T
                       seconds. Fewer at the beginning. Segments are counted, not the clock: a seam takes no time
    ``forgetting=T``   ``P = sum_a keep^a P_a / sum_a keep^a``, ``keep = exp(-hop / (fs T))``, a = 0 for the newest
                       segment: what is T seconds older weighs 1/e
    =================  ==================================================================================================

    Against the batch form over the same segments: the mean over all is `welch` (with ``cross`` `csd_matrix`) bit for bit.
    With ``seconds`` other eights of segments are summed as one group, in float32 in the lanes: equal to 4e-7 of the value.
    `merge` adds what another one gathered, of this stream or of another machine's.

    Parameters
    ----------
    n_ch : rows.
    fs, window, nperseg, noverlap, detrend, scaling : as in `welch`.
    cross : keep cross-spectra too, for `csd_matrix`.
    skip_nan : a segment that holds a NaN or an infinity is left out of its row's average (and of the row's cross-spectra);
        it still makes the others older. Otherwise the row is NaN as long as the segment counts: with ``seconds`` until it has
        left the window, else until `reset`.
    seconds : samples of the window are kept (4 bytes each, about a quarter more for the overlap of blocks) and the sums of
        blocks of at least 8 segments; a look costs as much as the transform of one or two blocks.
    forgetting : time constant in seconds.

    Raises
    ------
    ValueError
        A keyword is outside its rule; both ``seconds`` and ``forgetting``.

    Examples
    --------
    >>> x = np.random.default_rng(1).standard_normal((2, 5000)).astype(np.float32)
    >>> running = Running(2, 100.0, nperseg=256)
    >>> for begin in range(0, 5000, 77):
    ...     running.push(x[:, begin:begin + 77])
    >>> f, p = running.spectrum()
    >>> p.shape, running.segments.tolist()
    ((2, 129), [38, 38])
    >>> last = Running(2, 100.0, nperseg=256, seconds=10.0)
    >>> last.push(x)
    >>> last.segments.tolist()
    [6, 6]
    """

    def __init__(self, n_ch: int, fs: float = 1.0, *, window: Window = "hann", nperseg: int | None = 256,
                 noverlap: int | None = None, detrend: Any = "constant", scaling: str = "density", cross: bool = False,
                 skip_nan: bool = False, seconds: float | None = None, forgetting: float | None = None) -> None:
        if whole_number("n_ch", n_ch) < 1:
            raise ValueError(f"n_ch must be at least 1, not {n_ch}")
        if seconds is not None and forgetting is not None:
            raise ValueError(f"seconds and forgetting must not be given both, are {seconds} and {forgetting}")
        self.n_ch, self.cross, self.fs = n_ch, cross, fs
        self._cut = cut(None, fs, window, nperseg, noverlap, detrend, scaling)
        self._forgets = forgetting is not None
        if seconds is not None:
            self._stream: Any = Recent(self._cut, n_ch, self._within(seconds), cross=cross, skip=skip_nan)
        else:
            self._stream = self._cut.stream(n_ch, True, cross=cross, skip=skip_nan, keep=self._keep(forgetting))

    def _within(self, seconds: float) -> int:
        least = self._cut.n / self.fs
        if not least * (1.0 - 1e-9) <= seconds < np.inf:
            raise ValueError(f"seconds must hold at least one segment of {least} s, not {seconds}")
        return max(1, self._cut.whole(int(seconds * self.fs * (1.0 + 1e-12) + 1e-6)))

    def _keep(self, forgetting: float | None) -> float:
        if forgetting is None:
            return 1.0
        least = self._cut.hop / self.fs / 100.0
        if not least <= forgetting < np.inf:
            raise ValueError(f"forgetting must be a time constant of at least {least} s, a hundredth of a hop, not {forgetting}")
        return exp(-self._cut.hop / (self.fs * forgetting))

    @property
    def f(self) -> NDArray[np.float64]:
        """Frequencies of the bins, Hz."""
        return self._cut.f.copy()

    @property
    def segments(self) -> NDArray[np.int64]:
        """How many segments are in each row's average, int64[n_ch]."""
        used: NDArray[np.int64] = self._stream.power()[1].copy()
        return used

    def push(self, x: ArrayLike) -> None:
        """Take [n_ch, n] in; n may be anything. What is not float32 is rounded to it."""
        a = np.asarray(x, np.float32)
        if a.ndim != 2 or a.shape[0] != self.n_ch:
            raise ValueError(f"x must be [{self.n_ch}, n], not of shape {a.shape}")
        self._stream.push(a if a.strides[1] == 4 else np.ascontiguousarray(a))

    def taker(self) -> object | None:
        """What takes pieces as `push` does when the assembler hands them out; None where samples go through Python."""
        return self._stream.taker() if isinstance(self._stream, Lanes) else None

    def spectrum(self) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """f and Pxx float32[n_ch, n_f]; NaN for a row without a segment."""
        return self.f, self.read()[0]

    def read(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Pxx float32[n_ch, n_f] and the segments in it, int64[n_ch], of one moment."""
        sums, used = self._stream.power()
        weight = self._weights(used)
        weight = np.diag(weight) if weight.ndim == 2 else weight
        return averaged(sums, weight[:, None], self._cut.scale, out=np.empty(sums.shape, np.float32)), used.copy()

    def csd_matrix(self) -> tuple[NDArray[np.float64], NDArray[np.complex64]]:
        """f and S complex64[n_f, n_ch, n_ch]; ValueError without ``cross=True``."""
        if not self.cross:
            raise ValueError("csd_matrix needs Running(..., cross=True)")
        sums, used = self._stream.matrix()
        weight = self._weights(used)
        return self.f, averaged(sums, weight, self._cut.scale[:, None, None], out=np.empty(sums.shape, np.complex64))

    def _weights(self, used: Array) -> Array:
        return self._stream.weights() if self._forgets else used

    def reset(self) -> None:
        """Forget everything."""
        self._stream.reset()

    def restart(self) -> None:
        """A seam in the stream: keep the averages, drop the segment that is not complete."""
        self._stream.restart()

    def merge(self, other: Running) -> None:
        """A seam here, then every whole segment of ``other`` as if it had come next, then a seam; ``other`` stays as it is.

        Of a stream cut in two, the second half must begin where a segment begins, and the first is given the nperseg - hop samples
        more with which its last segment ends. ValueError unless both were made with the same keywords.
        """
        a, b = self._cut, other._cut
        same = type(self._stream) is type(other._stream) and self.fs == other.fs and np.array_equal(a.scale, b.scale)
        if other is self or not same:
            raise ValueError("spectrum: merge needs two equal plans")
        self._stream.merge(other._stream)

    def save(self) -> bytes:
        """The state as versioned bytes."""
        state: bytes = self._stream.save()
        return state

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError unless made with the same keywords."""
        self._stream.load(state)
