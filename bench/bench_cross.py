"""Averaged spectra of two loggers with all that a delay is judged by, against scipy.signal and against numpy."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import signal

from bench.duel import Case, Work, duel
from lifeline_core.dsp.hampel import running_median
from lifeline_core.pipes.cross import Transform, coherency, lags, levelled, newton, shared, standing
from lifeline_core.pipes.spectra import CrossAverage, cross_spectra, segments_in
from tests.twins.cross import cross as twin

FS, NPERSEG = 8000.0, 8192


def loggers(count: int, n: int) -> Any:
    rng = np.random.default_rng(1)
    s = rng.standard_normal(n + 999)
    x = np.stack([s[37 * k : 37 * k + n] for k in range(count)]) + rng.standard_normal((count, n))
    return np.round(2000 * x).astype(np.int16)


def by_scipy(a: Any, b: Any) -> tuple[Any, Any, Any]:
    x, y = a.astype(np.float32), b.astype(np.float32)
    return tuple(signal.csd(p, q, FS, nperseg=NPERSEG, scaling="spectrum")[1] for p, q in ((x, x), (y, y), (x, y)))


def agreed(s: Any, want: dict[str, Any]) -> None:
    level = np.sqrt(want["s11"] * want["s22"])[2:]
    assert (np.abs(s.s12 - want["s12"])[2:] < 1e-6 * level).all() and np.allclose(s.q[2:], want["q"][2:], rtol=1e-5)


def make_pair(n: int, peer: str) -> tuple[Work, Work]:
    a, b = loggers(2, n)
    agreed(cross_spectra(a, b, FS, NPERSEG), twin(a, b, NPERSEG))
    theirs = (lambda: by_scipy(a, b)) if peer == "scipy" else (lambda: twin(a, b, NPERSEG))
    return lambda: cross_spectra(a, b, FS, NPERSEG), theirs


def make_stream() -> tuple[Work, Work]:
    """Blocks of 0.1 s."""
    x = loggers(2, 80_000).astype(np.float32)

    def ours() -> Any:
        average = CrossAverage(FS, NPERSEG)
        for i in range(0, 80_000, 800):
            average.push(x[:, i : i + 800])
        return average.spectra()

    agreed(ours(), twin(x[0], x[1], NPERSEG))
    return ours, lambda: twin(x[0], x[1], NPERSEG)


def make_row() -> tuple[Work, Work]:
    """10 loggers in a row, 9 neighbours: each transformed once."""
    x, work, count = loggers(10, 80_000), Transform(NPERSEG), segments_in(80_000, NPERSEG)

    def ours() -> Any:
        planes = [work.planes(*levelled(row), 0, count) for row in x]
        return [work.pair(a, b, count, 4, 0) for a, b in pairwise(planes)]

    want = twin(x[0], x[1], NPERSEG)
    assert np.allclose(ours()[0][0][:, 2:], np.stack([want["s11"], want["s22"], want["q"]])[:, 2:], rtol=1e-5)
    return ours, lambda: [by_scipy(a, b) for a, b in pairwise(x)]


def lines() -> tuple[Any, Any]:
    at = np.arange(1, 4000)
    rng = np.random.default_rng(2)
    return at, np.exp(-2j * np.pi * at * 170.3 / NPERSEG) + 0.3 * (rng.standard_normal(at.size) + 1j * rng.standard_normal(at.size))


def make_lags() -> tuple[Work, Work]:
    at, c = lines()
    n, far = 2 * NPERSEG, NPERSEG // 2

    def theirs() -> Any:
        padded = np.zeros(n // 2 + 1, complex)
        padded[at] = c
        r = np.fft.irfft(padded, n) * (0.5 * n / np.abs(c).sum())
        return np.concatenate([r[n - far :], r[: far + 1]])

    assert np.abs(lags(at, c, n, far) - theirs()).max() < 1e-6
    return lambda: lags(at, c, n, far), theirs


def make_newton() -> tuple[Work, Work]:
    at, c = lines()
    start, step = 2 * np.pi * 170.1 / NPERSEG, np.pi / NPERSEG

    def theirs() -> float:
        theta, k = start, at.astype(float)
        for _ in range(20):
            z = c * np.exp(1j * theta * k)
            move = (k @ z.imag) / -((k * k) @ z.real)
            theta = min(max(theta + move, start - step), start + step)
            if abs(move) <= 1e-9 * step:
                break
        return float(theta)

    assert abs(newton(at, c, start, step) - theirs()) < 1e-12
    return lambda: newton(at, c, start, step), theirs


def logger_spectra() -> Any:
    a, b = loggers(2, 80_000)
    return cross_spectra(a, b, FS, NPERSEG)


def make_standing() -> tuple[Work, Work]:
    power = logger_spectra().s11

    def theirs() -> Any:
        floor = power.copy()
        np.minimum(floor[1:], power[:-1], out=floor[1:])
        np.minimum(floor[:-1], power[1:], out=floor[:-1])
        return power > 10.0 * running_median(floor, 31)

    assert (standing(power, 10.0, 15) == theirs()).all()
    return lambda: standing(power, 10.0, 15), theirs


def make_shared() -> tuple[Work, Work]:
    """The part before runs are looked for, twice: windows of 15 and of 127 lines."""
    s = logger_spectra()
    _, _, size, chance, _ = coherency(s.s11, s.s22, s.s12, s.q, np.ones(s.s11.size, bool), 1.0, float(s.n), 1.06, 7)

    def level(row: Any, half: int) -> Any:
        k = np.arange(row.size)
        low, high = np.maximum(k - half, 0), np.minimum(k + half + 1, row.size)
        sums = np.concatenate([[0.0], np.cumsum(row)])
        return (sums[high] - sums[low]) / (high - low), high - low

    def theirs() -> Any:
        means = [level(size * size, half) for half in (7, 63)]
        return [(m / chance - 1.0) * np.sqrt(count / 1.4) for m, count in means]

    assert (shared(size, chance, 7, 63, 4.5, 1.5, 1.4) > 0.0).mean() > 0.9 and (theirs()[0] > 1.5).mean() > 0.9
    return lambda: shared(size, chance, 7, 63, 4.5, 1.5, 1.4), theirs


SCIPY, TWIN = "scipy.signal.csd three times, float32", "numpy segment by segment, float64"
CASES = [
    Case("spectra of a pair, 80,000 samples int16", "cross", SCIPY, 8.0, lambda: make_pair(80_000, "scipy"), baseline=5.0),
    Case("spectra of a pair, 480,000 samples int16", "cross", SCIPY, 10.0, lambda: make_pair(480_000, "scipy"), baseline=5.0),
    Case("spectra of a pair, 80,000 samples int16, twin", "cross", TWIN, 4.0, lambda: make_pair(80_000, ""), baseline=2.5),
    Case("spectra of a pair, running, blocks of 800 samples", "cross", TWIN, 3.0, make_stream, baseline=1.7),
    Case("spectra of 9 pairs of 10 loggers in a row, 80,000 samples", "cross", SCIPY, 16.0, make_row, baseline=8.0),
    Case("correlogram of 4000 lines, 8193 lags", "cross", "numpy.fft.irfft, float64", 2.0, make_lags, baseline=1.2, rounds=21),
    Case("lines that stand out of 4097", "cross", "running_median, compiled", 3.0, make_standing, baseline=2.0, rounds=21),
    Case("coherence that stands out of 4096 lines", "cross", "numpy, without the runs", 3.0, make_shared, baseline=2.0, rounds=21),
    Case("exact delay of 4000 lines", "cross", "numpy, exp at every line", 4.0, make_newton, baseline=2.5, rounds=21),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
