"""Averaged spectra beside scipy.signal and the bare transform of FFTW; the running form beside doing it all again."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import signal

from bench.duel import Case, Work, duel
from lifeline_core.dsp.spectrum import Running, coherence, csd_matrix, spectrogram, welch

Array = NDArray[Any]
NEAR = 2e-6  # of the maximum: float32 against float32


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal(shape, np.float32)


def agree(a: Array, b: Array, near: float = NEAR) -> None:
    assert a.shape == b.shape
    assert np.max(np.abs(a - b)) <= near * np.max(np.abs(b)), float(np.max(np.abs(a - b)) / np.max(np.abs(b)))


def beside_scipy(ours: Callable[..., Any], theirs: Callable[..., Any], *x: Array, near: float = NEAR,
                 **keywords: Any) -> tuple[Work, Work]:
    agree(ours(*x, **keywords)[-1], theirs(*x, **keywords)[-1], near)
    return lambda: ours(*x, **keywords), lambda: theirs(*x, **keywords)


def make_welch(rows: int, n: int, nperseg: int, **keywords: Any) -> tuple[Work, Work]:
    return beside_scipy(welch, signal.welch, noise(rows, n), nperseg=nperseg, **keywords)


def make_fftw() -> tuple[Work, Work]:
    """The peer transforms segments that lie ready in memory, without window, trend or square, into one buffer."""
    import pyfftw

    x = noise(64, 120_000)
    views = sliding_window_view(x, 2048, axis=1)[:, ::1024]
    segments = pyfftw.empty_aligned(views.shape, "float32")
    bins = pyfftw.empty_aligned((views.shape[1], 1025), "complex64")
    plan = pyfftw.FFTW(segments[0], bins, axes=(1,), flags=("FFTW_MEASURE",), threads=1)
    segments[:] = views  # planning writes into its arrays

    def theirs() -> None:
        for row in segments:
            plan.update_arrays(row, bins)
            plan.execute()

    theirs()
    agree(bins, np.fft.rfft(views[-1]))
    return lambda: welch(x, nperseg=2048), theirs


def make_csd() -> tuple[Work, Work]:
    x = noise(8, 480_000)

    def theirs() -> tuple[Array, Array]:
        crossed = [signal.csd(x[i], x[j], nperseg=4096)[1] for i, j in combinations(range(8), 2)]
        return np.array(crossed), np.array([signal.welch(row, nperseg=4096)[1] for row in x])

    s = csd_matrix(x, nperseg=4096)[1]
    crossed, powers = theirs()
    agree(np.array([s[:, i, j] for i, j in combinations(range(8), 2)]), crossed)
    agree(np.einsum("fii->if", s).real, powers)
    return lambda: csd_matrix(x, nperseg=4096), theirs


def make_threads(function: Callable[..., Any], x: Array, nperseg: int) -> tuple[Work, Work]:
    """Several calls a turn: a core that slept through the other's turn takes about a millisecond to be there again."""

    def run(threads: int) -> Work:
        return lambda: [function(x, nperseg=nperseg, threads=threads)[1] for _ in range(CALLS)][-1]

    one, two = run(1), run(2)
    assert np.array_equal(one(), two())  # type: ignore[arg-type]
    return two, one


def make_running(rows: int, fs: float, seconds: float) -> tuple[Work, Work]:
    """A block a second, and a look at the last minutes after each: pushed and read, or all of it computed again."""
    nperseg, step, blocks = 1024, round(fs), 20
    n = round(fs * seconds)
    x = noise(rows, n + blocks * step)
    running = Running(rows, fs, nperseg=nperseg, seconds=seconds)
    running.push(x[:, :n])
    start = running.save()

    def ours() -> Array:
        running.load(start)
        for begin in range(n, n + blocks * step, step):
            running.push(x[:, begin : begin + step])
            p = running.spectrum()[1]
        return p

    def theirs() -> Array:
        for begin in range(step, (blocks + 1) * step, step):
            p = signal.welch(x[:, begin : begin + n], fs, nperseg=nperseg)[1]
        return np.asarray(p)

    whole, hop = 1 + (x.shape[1] - nperseg) // 512, 512
    first = (whole - int(running.segments[0])) * hop
    agree(ours(), signal.welch(x[:, first : (whole - 1) * hop + nperseg], fs, nperseg=nperseg)[1])
    return ours, theirs


CALLS = 12
SCIPY = "scipy.signal.{} on float32"
CASES = [
    Case("welch, 64 x 120,000, nperseg 2048", "spectrum", SCIPY.format("welch"), 14.0, lambda: make_welch(64, 120_000, 2048)),
    Case("welch, 64 x 120,000, nperseg 2048, bare FFT", "spectrum", "pyFFTW, FFTW_MEASURE, the transform alone", 1.5, make_fftw,
         baseline=0.5),
    Case("welch, 64 x 120,000, nperseg 512", "spectrum", SCIPY.format("welch"), 15.0, lambda: make_welch(64, 120_000, 512)),
    Case("welch, 64 x 120,000, nperseg 8192", "spectrum", SCIPY.format("welch"), 15.0, lambda: make_welch(64, 120_000, 8192)),
    Case("welch, 1 x 1,048,576, nperseg 4096", "spectrum", SCIPY.format("welch"), 15.0, lambda: make_welch(1, 1 << 20, 4096)),
    Case("csd_matrix, 8 x 480,000, nperseg 4096", "spectrum", "scipy.signal.csd of the 28 pairs and 8 welch", 90.0, make_csd,
         baseline=15.0),
    Case("welch, 64 x 120,000, nperseg 2048, two threads", "spectrum", "itself with one thread", 1.6,
         lambda: make_threads(welch, noise(64, 120_000), 2048), baseline=1.6, gated=False),
    Case("welch, 1 x 4,194,304, nperseg 4096, two threads", "spectrum", "itself with one thread", 1.6,
         lambda: make_threads(welch, noise(1, 1 << 22), 4096), baseline=1.6, gated=False),
    Case("csd_matrix, 8 x 480,000, nperseg 4096, two threads", "spectrum", "itself with one thread", 1.6,
         lambda: make_threads(csd_matrix, noise(8, 480_000), 4096), baseline=1.6, gated=False),
    Case("welch, 64 x 120,000, nperseg 2048, median", "spectrum", SCIPY.format("welch, median"), 4.0,
         lambda: make_welch(64, 120_000, 2048, average="median")),
    Case("spectrogram, 64 x 120,000, nperseg 2048, 50 %", "spectrum", SCIPY.format("spectrogram"), 4.0,
         lambda: beside_scipy(spectrogram, signal.spectrogram, noise(64, 120_000), nperseg=2048, noverlap=1024, window="hann")),
    Case("coherence, 2 x 480,000, nperseg 4096", "spectrum", SCIPY.format("coherence"), 15.0,
         lambda: beside_scipy(coherence, signal.coherence, *noise(2, 480_000), nperseg=4096, near=1e-5)),
    Case("welch, 4 x 4,096, nperseg 1024, a short call", "spectrum", SCIPY.format("welch"), 5.0, lambda: make_welch(4, 4096, 1024),
         baseline=3.0),
    Case("welch, 8 x 200,000 float64, nperseg 1000", "spectrum", "scipy.signal.welch on float64", 1.2,
         lambda: beside_scipy(welch, signal.welch, noise(8, 200_000).astype(np.float64), nperseg=1000), baseline=1.0),
    Case("Running, 16 x 10 min at 200 Hz, a look each second", "spectrum", "scipy.signal.welch of the last 10 min, float32", 50.0,
         lambda: make_running(16, 200.0, 600.0), baseline=10.0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
