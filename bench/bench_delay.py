"""Delays of pairs of loggers against scipy: cross-spectrum, two spectra, the HT weight and an inverse transform per pair."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy import signal

from bench.duel import Case, Work, duel
from lifeline_core.dsp.pairs import correlate_pairs, from_spectra
from lifeline_core.dsp.spectrum import csd_matrix

FS, NPERSEG = 8000.0, 4096
SHIFTS = (0, 13, 40, -90, 222, 5, 7, -300)  # samples


def loggers(count: int, n: int, seed: int = 1) -> Any:
    rng = np.random.default_rng(seed)
    s = rng.standard_normal(n + 800)
    x = np.stack([s[400 - k : 400 - k + n] for k in SHIFTS[:count]]) + rng.standard_normal((count, n))
    return x.astype(np.float32)


def spectra_of(a: Any, b: Any) -> tuple[Any, Any, Any]:
    s12 = signal.csd(a, b, FS, nperseg=NPERSEG)[1]
    return signal.welch(a, FS, nperseg=NPERSEG)[1], signal.welch(b, FS, nperseg=NPERSEG)[1], s12


def correlogram(s11: Any, s22: Any, s12: Any, finer: int = 1) -> Any:
    """What a user writes by hand, with a guard against dividing by nothing."""
    size = np.maximum(np.abs(s12), np.finfo(np.float32).tiny)
    gamma2 = np.minimum(size**2 / np.maximum(s11 * s22, np.finfo(np.float32).tiny), 1 - 1e-6)
    return np.fft.irfft(gamma2 / (size * (1.0 - gamma2)) * s12, finer * NPERSEG)


def lag_of(r: Any) -> int:
    reach = len(r) // 4
    return int(np.argmax(np.roll(r, reach)[: 2 * reach + 1])) - reach


def by_scipy(x: Any) -> list[int]:
    return [lag_of(correlogram(*spectra_of(x[a], x[b]))) for a, b in combinations(range(len(x)), 2)]


def agreed(found: Any, lags: Sequence[float]) -> None:
    assert np.abs(found.delay_s * FS - lags).max() < 0.6, "ours and scipy's lags differ"


def make_recordings(count: int, n: int) -> tuple[Work, Work]:
    x = loggers(count, n)
    agreed(correlate_pairs(x, FS, nperseg=NPERSEG), by_scipy(x))
    return lambda: correlate_pairs(x, FS, nperseg=NPERSEG), lambda: by_scipy(x)


def make_pair() -> tuple[Work, Work]:
    return make_recordings(2, 480_000)


def make_loggers() -> tuple[Work, Work]:
    return make_recordings(8, 480_000)


def make_short() -> tuple[Work, Work]:
    return make_recordings(2, 80_000)


def make_night() -> tuple[Work, Work]:
    """50 pairs that share no logger, as a night's list of neighbours."""
    x = np.concatenate([loggers(2, 80_000, seed) for seed in range(1, 51)])
    pairs = np.arange(100).reshape(50, 2)
    some = [lag_of(correlogram(*spectra_of(x[a], x[b]))) for a, b in pairs[:3]]
    agreed(correlate_pairs(x[:6], FS, pairs=pairs[:3], nperseg=NPERSEG), some)
    return (lambda: correlate_pairs(x, FS, pairs=pairs, nperseg=NPERSEG),
            lambda: [lag_of(correlogram(*spectra_of(x[a], x[b]))) for a, b in pairs])


def make_spectra() -> tuple[Work, Work]:
    """Spectra are there: weights, correlogram on a grid of half samples and peak of 28 pairs; only ours is refined."""
    f, s = csd_matrix(loggers(8, 80_000), FS, nperseg=NPERSEG)
    pairs = list(combinations(range(8), 2))

    def theirs() -> list[int]:
        return [lag_of(correlogram(s[:, a, a].real, s[:, b, b].real, s[:, a, b], 2)) for a, b in pairs]

    agreed(from_spectra(f, s), [0.5 * lag for lag in theirs()])
    return lambda: from_spectra(f, s), theirs


PEER = "scipy.signal.csd + 2 welch + irfft per pair, float32"
BY_NUMPY = "numpy per pair, lags as fine, not refined"
CASES = [
    Case("HT correlation, one pair, 480,000 samples, nperseg 4096", "delay", PEER, 15.0, make_pair, baseline=8.0),
    Case("HT correlation, 28 pairs of 8 loggers, 480,000 samples, nperseg 4096", "delay", PEER, 90.0, make_loggers, baseline=15.0,
         rounds=5),
    Case("HT correlation, one pair, 80,000 samples, nperseg 4096", "delay", PEER, 12.0, make_short, baseline=4.0, rounds=21),
    Case("HT correlation, 50 pairs of their own, 80,000 samples, nperseg 4096", "delay", PEER, 12.0, make_night, baseline=4.0),
    Case("HT weights, correlogram and peak of 28 pairs, spectra there", "delay", BY_NUMPY, 1.6, make_spectra, baseline=1.3,
         rounds=21),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
