"""Averaged spectra against the definition, against scipy, and against themselves shared out over threads."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal

from lifeline_core import _isa, isa
from lifeline_core.dsp import medians, segments
from lifeline_core.dsp.spectrum import Running, coherence, coherence_matrix, csd_matrix, spectrogram, welch
from tests.twins import spectrum as twin

# float32 samples, window and butterflies: each bin is off by some 1e-7 of the largest, times the root of the stages.
TOLERANCE = 2e-6


def noise(*shape: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def off(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.max(np.abs(a - b)) / np.max(np.abs(b)))


def test_a_sine_by_hand() -> None:
    """Four whole periods in a boxcar segment: all of a^2/2 in bin 4, nothing elsewhere."""
    x = (3.0 * np.sin(2 * np.pi * 4 * np.arange(160) / 16 / 4)).astype(np.float32)
    f, p = welch(x, 16.0, window="boxcar", nperseg=16, noverlap=0, detrend=False, scaling="spectrum")
    assert f.tolist() == list(range(9))
    assert p[1] == pytest.approx(4.5, rel=1e-6)
    assert np.max(np.delete(p, 1)) < 1e-12


@pytest.mark.parametrize("detrend", ["none", "constant", "linear"])
@pytest.mark.parametrize(("n", "hop"), [(16, 8), (32, 5), (128, 128), (15, 7), (50, 25)])
def test_equals_the_definition(n: int, hop: int, detrend: str) -> None:
    x = noise(3, 300) + np.float32(2) + np.linspace(0, 3, 300, dtype=np.float32)
    window = signal.get_window("hann", n)
    wanted = twin.csd_matrix(x.astype(float), 50.0, n, hop, window, detrend)
    f, s = csd_matrix(x, 50.0, nperseg=n, noverlap=n - hop, detrend=detrend)
    assert s.dtype == np.complex64
    assert off(s, wanted) < TOLERANCE
    assert off(welch(x, 50.0, nperseg=n, noverlap=n - hop, detrend=detrend)[1].T, np.einsum("fii->fi", wanted).real) < TOLERANCE
    assert np.array_equal(f, np.fft.rfftfreq(n, 1 / 50.0))
    assert np.array_equal(s, np.conj(np.swapaxes(s, 1, 2)))


@pytest.mark.parametrize("n", [1 << k for k in range(4, 17)])
def test_every_length_of_the_lanes(n: int) -> None:
    x = noise(2, int(2.5 * n)) + np.float32(100)
    wanted = signal.welch(x.astype(float), nperseg=n)[1]
    assert off(welch(x, nperseg=n)[1], wanted) < TOLERANCE


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"nperseg": 64, "noverlap": 0, "window": ("kaiser", 8.0), "scaling": "spectrum"},
        {"nperseg": 100, "noverlap": 99, "detrend": "linear"},
        {"window": np.hamming(128), "nperseg": 128, "detrend": False},
        {"nperseg": 7},
        {"nperseg": 700},
        {"nperseg": 3000},
        {"nperseg": None, "window": "boxcar"},
    ],
)
@pytest.mark.filterwarnings("ignore:nperseg")
def test_means_what_scipy_means(keywords: dict[str, Any], dtype: type[Any]) -> None:
    x = (100 * noise(2, 3, 700)).astype(dtype)
    exact = x.astype(float)
    tolerance = TOLERANCE if dtype is np.float32 else 1e-12
    kind = np.float32 if dtype is np.float32 else np.float64
    f, p = welch(x, 20.0, **keywords)
    wanted_f, wanted = signal.welch(exact, 20.0, **keywords)
    assert np.allclose(f, wanted_f, rtol=1e-15)
    assert p.dtype == kind and p.shape == wanted.shape and off(p, wanted) < tolerance
    _, p = welch(x, 20.0, **keywords, average="median")
    wanted = signal.welch(exact, 20.0, **keywords, average="median")[1]
    assert p.dtype == kind and p.shape == wanted.shape and off(p, wanted) < tolerance
    f, t, p = spectrogram(x, 20.0, **keywords)
    wanted_f, wanted_t, wanted = signal.spectrogram(exact, 20.0, **{"window": "hann", **keywords})
    assert np.allclose(t, wanted_t, rtol=1e-14)
    assert p.dtype == kind and p.shape == wanted.shape and off(p, wanted) < tolerance
    rows = x.reshape(6, -1)
    _, s = csd_matrix(rows, 20.0, **keywords)
    for i, j in [(0, 0), (0, 1), (5, 2)]:
        wanted = signal.csd(rows[i].astype(float), rows[j].astype(float), 20.0, **keywords)[1]
        assert np.max(np.abs(s[:, i, j] - wanted)) < tolerance * np.max(np.abs(s))


def test_the_phase_of_a_delay() -> None:
    """Row 1 is row 0 delayed by 3 samples: phase -2 pi f 3."""
    a = noise(4096)
    f, s = csd_matrix(np.stack([a[3:], a[:-3]]), 1.0, nperseg=256)
    assert np.max(np.abs(np.angle(s[1:60, 0, 1] * np.exp(2j * np.pi * f[1:60] * 3)))) < 0.2


def test_a_small_line_beside_a_large_offset() -> None:
    """Gravity is 1e5 times the vibration: the mean goes before digits are lost (float32 holds 9.81 to 1e-6)."""
    t = np.arange(1 << 14) / 100
    x = (9.81 + 1e-4 * np.sin(2 * np.pi * 12.5 * t)).astype(np.float32)
    _, p = welch(x, 100.0, nperseg=1024)
    assert off(p, signal.welch(x.astype(float), 100.0, nperseg=1024)[1]) < TOLERANCE


@pytest.mark.parametrize("nperseg", [64, 65])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_nan_concerns_its_own_windows_only(nperseg: int, value: float) -> None:
    x = noise(2, 640)
    clean = welch(x, nperseg=nperseg, noverlap=0)[1]
    x[0, 100] = value
    with np.errstate(invalid="ignore"):
        p = welch(x, nperseg=nperseg, noverlap=0)[1]
        _, _, each = spectrogram(x, nperseg=nperseg, noverlap=0)
        _, s = csd_matrix(x, nperseg=nperseg, noverlap=0)
    assert not np.isfinite(p[0]).any() and np.array_equal(p[1], clean[1])
    assert np.isfinite(each).all(axis=1)[0].tolist() == [k != 1 for k in range(each.shape[2])]
    assert np.isfinite(s[:, 1, 1]).all() and not np.isfinite(s[:, 0, 1]).any()
    running = Running(2, nperseg=nperseg, noverlap=0, skip_nan=True, cross=True)
    running.push(x)
    assert running.segments.tolist() == [640 // nperseg - 1, 640 // nperseg]
    assert np.isfinite(running.csd_matrix()[1]).all()
    kept = np.delete(x[0, : 640 // nperseg * nperseg].reshape(-1, nperseg), 1, axis=0).ravel()
    assert off(running.spectrum()[1][0], welch(kept.astype(float), nperseg=nperseg, noverlap=0)[1]) < TOLERANCE


@pytest.mark.parametrize("nperseg", [64, 65])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 5])
def test_threads_change_nothing(rows: int, kind: type[Any], nperseg: int) -> None:
    """4 parts of 128 segments and a rest; one row is shared out too."""
    x = noise(rows, 17_000).astype(kind)
    y = noise(rows, 17_000, seed=2).astype(kind)
    for work in (
        lambda n: welch(x, nperseg=nperseg, threads=n)[1],
        lambda n: welch(x, nperseg=nperseg, average="median", threads=n)[1],
        lambda n: csd_matrix(x, nperseg=nperseg, threads=n)[1],
        lambda n: coherence_matrix(x, nperseg=nperseg, threads=n)[1],
        lambda n: coherence(x, y, nperseg=nperseg, threads=n)[1],
        lambda n: spectrogram(x, nperseg=nperseg, threads=n)[2],
    ):
        one = work(1)
        for threads in (2, 3, 4, 8):
            assert work(threads).tobytes() == one.tobytes()


@pytest.mark.parametrize("nperseg", [20000, 65536, 16385])
def test_threads_change_nothing_in_long_segments(nperseg: int) -> None:
    x = noise(3, 140_000).astype(float if nperseg < 65536 else np.float32)
    for function in (welch, csd_matrix):
        how = {"nperseg": nperseg, "noverlap": nperseg - 500}
        assert np.array_equal(function(x, **how, threads=2)[1], function(x, **how)[1])


def test_callers_at_the_same_time() -> None:
    """Streams that are kept for the next call are nobody else's meanwhile, and they are few."""
    rows = [noise(2, 5000, seed=seed) for seed in range(8)]
    wanted = [csd_matrix(x)[1] for x in rows]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert all(np.array_equal(a, b) for a, b in zip(pool.map(lambda x: csd_matrix(x)[1], rows), wanted, strict=True))
    assert len(segments._idle) <= segments.IDLE


def test_a_thread_that_fails_stops_the_others() -> None:
    how = segments.cut(9000, 1.0, "hann", 64, None, False, "density")
    pieces = [noise(1, 100), noise(2, 100), noise(1, 100), noise(1, 100)]
    with pytest.raises(ValueError):
        segments.in_order(how.stream(1, True), lambda: how.lent(1, True), pieces, 2)


def test_rows_do_not_know_how_many_they_are() -> None:
    x = noise(11, 1000)
    assert np.array_equal(welch(x, nperseg=64)[1][7], welch(x[7], nperseg=64)[1])


def test_constant_silence_and_huge() -> None:
    assert not welch(np.full(1000, 7.3, np.float32))[1].any()
    assert not welch(np.zeros(1000, np.float32))[1].any()
    x = noise(1000) * np.float32(1e18)  # its square is no float32; the density is
    assert off(welch(x, 1e20)[1], signal.welch(x.astype(float), 1e20)[1]) < TOLERANCE


@pytest.mark.parametrize("nperseg", [64, 65])
@pytest.mark.parametrize("size", [1e-42, 1e-30])
def test_denormal_input(nperseg: int, size: float) -> None:
    """What float32 holds of it counts; the square of it is no float32, so the scale brings it back."""
    x = noise(2, 4000) * np.float32(size)
    p = welch(x, size**2, nperseg=nperseg)[1]
    wanted = signal.welch(x.astype(float), size**2, nperseg=nperseg)[1]
    assert np.isfinite(p).all()
    assert off(p, wanted) < (TOLERANCE if size > 1e-38 else 0.1)  # a denormal times a window has few digits left


def test_one_sample_and_few() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind in (np.float32, np.float64, np.int16):
            for n in (1, 2, 15, 16, 17):
                x = (10 * noise(2, n)).astype(kind)
                f, p = welch(x, detrend=False)
                assert f.shape == (n // 2 + 1,) and p.shape == (2, n // 2 + 1)
                assert off(p, signal.welch(x.astype(float), detrend=False)[1]) < TOLERANCE
                assert csd_matrix(x)[1].shape == (n // 2 + 1, 2, 2)
                assert coherence(x[0], x[1])[1].shape == (n // 2 + 1,)
                assert spectrogram(x)[2].shape == (2, n // 2 + 1, 1)
    for empty in (np.empty(0), np.empty((3, 0), np.float32), np.empty((0, 300), np.float32)):
        for function in (welch, csd_matrix, spectrogram, lambda x: coherence(x, x)):
            with pytest.raises(ValueError, match="x must hold samples"):
                function(empty)


def test_any_layout() -> None:
    x = noise(2000, 3)
    assert np.array_equal(welch(x.T, nperseg=128)[1], welch(np.ascontiguousarray(x.T), nperseg=128)[1])
    assert np.array_equal(welch(x.T[:, ::2], nperseg=128)[1], welch(x[::2].T.copy(), nperseg=128)[1])
    assert np.array_equal(welch(x.T.astype(">f4"), nperseg=128)[1], welch(x.T, nperseg=128)[1])
    assert welch(x[:, 0].tolist(), nperseg=128)[1].dtype == np.float64


@pytest.mark.parametrize(
    ("x", "keywords", "words"),
    [
        (np.empty(0), {}, "x must hold samples"),
        (np.float32(1), {}, "x must hold samples"),
        (np.ones(300, complex), {}, "must be real"),
        (np.ones(300), {"nperseg": 0}, "nperseg must be positive, not 0"),
        (np.ones(300), {"nperseg": 64.5}, "nperseg must be a whole number"),
        (np.ones(300), {"noverlap": 256}, "less than nperseg = 256, not 256"),
        (np.ones(300), {"noverlap": -1}, "at least 0"),
        (np.ones(300), {"fs": 0.0}, "fs must be a positive number of Hz"),
        (np.ones(300), {"detrend": "cubic"}, "detrend must be one of none, constant, linear or False, not 'cubic'"),
        (np.ones(300), {"scaling": "power"}, "scaling must be density or spectrum"),
        (np.ones(300), {"window": np.ones(301)}, "not be longer than the input: 301 > 300"),
        (np.ones(300), {"window": np.ones(64), "nperseg": 32}, "nperseg must be the window's length 64, not 32"),
    ],
)
def test_refusals(x: NDArray[Any], keywords: dict[str, Any], words: str) -> None:
    for function in (welch, spectrogram):
        with pytest.raises(ValueError, match=words):
            function(x, **keywords)


def test_more_refusals() -> None:
    with pytest.raises(ValueError, match=r"x must be \[n_ch, n\], not of shape \(300,\)"):
        csd_matrix(np.ones(300))
    with pytest.warns(UserWarning, match="nperseg = 256 is greater than the input's length 100"):
        assert welch(noise(100))[1].shape == (51,)
    with pytest.raises(ValueError, match="average must be mean or median, not 'mode'"):
        welch(np.ones(300), average="mode")
    for threads in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="threads must be a whole number"):
            welch(np.ones(300), threads=threads)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="x and y must be equally long, not 300 and 301 samples"):
        coherence(np.ones(300), np.ones(301))
    with pytest.raises(ValueError, match=r"go together row by row, not be of shapes \(2, 300\) and \(3, 300\)"):
        coherence(np.ones((2, 300)), np.ones((3, 300)))
    with pytest.raises(ValueError, match="y must be real numbers"):
        coherence(np.ones(300), np.ones(300, complex))


def test_keywords_are_kept_but_not_shared() -> None:
    """Windows are made once; nobody can write into what is kept, and equal keys of another kind are told apart."""
    x = noise(1000)
    f, p = welch(x, nperseg=64)
    f[:] = -1.0
    again, q = welch(x, nperseg=64)
    assert again[1] == 1 / 64 and np.array_equal(p, q)
    window = np.hanning(64)
    before = welch(x, window=window, nperseg=64)[1]
    running = Running(1, window=window, nperseg=64)
    window[:] = 0.0
    running.push(x[None])
    assert np.array_equal(running.spectrum()[1][0], before)
    assert welch(x, window=("general_cosine", [0.5, 0.5]), nperseg=64)[1].shape == (33,)
    with pytest.raises(ValueError, match="detrend must be one of"):
        welch(x, nperseg=64, detrend=0)


@pytest.mark.parametrize("nperseg", [16, 33])
@settings(max_examples=10, deadline=None)
@given(n=st.integers(40, 3000), bad=st.booleans())
def test_median_against_the_twin(nperseg: int, n: int, bad: bool) -> None:
    x = noise(2, n)
    if bad:
        x[0, 3 * nperseg // 4] = np.nan
    each = twin.densities(x[1:].astype(float), 5.0, nperseg, nperseg - nperseg // 2, signal.get_window("hann", nperseg), "constant")
    p = welch(x, 5.0, nperseg=nperseg, average="median")[1]
    assert off(p[1], twin.median(each[0])) < TOLERANCE
    assert np.isnan(p[0]).all() == bad


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_median_in_little_memory(kind: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The bins taken some at a time give the same; many segments, so that the middle is found and not sorted."""
    x = noise(2, 30_000).astype(kind)
    x[1, 77] = np.nan
    for nperseg in (32, 1024):
        whole = welch(x, nperseg=nperseg, average="median")[1]
        with monkeypatch.context() as m:
            m.setattr(medians, "ROOM", 6000)
            assert np.array_equal(welch(x, nperseg=nperseg, average="median", threads=3)[1], whole, equal_nan=True)


def test_a_few_loud_segments_do_not_move_the_median() -> None:
    x = noise(1 << 17)
    x[5000:6000] *= 1000
    f, p = welch(x, 100.0, nperseg=1024, average="median")
    assert abs(np.mean(p[f > 1]) * 50 - 1.0) < 0.05 < np.mean(welch(x, 100.0, nperseg=1024)[1]) * 50 - 1.0


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("nperseg", [64, 100])
def test_coherence_means_what_scipy_means(nperseg: int, kind: type[Any]) -> None:
    a, b = noise(4, 5000).astype(kind), noise(3, 1, 5000, seed=2).astype(kind)
    b = b + a[0]
    f, c = coherence(a, b, 20.0, nperseg=nperseg)
    wanted_f, wanted = signal.coherence(a.astype(float), b.astype(float), 20.0, nperseg=nperseg)
    assert np.allclose(f, wanted_f, rtol=1e-15) and c.dtype == kind and c.shape == (3, 4, nperseg // 2 + 1)
    assert np.max(np.abs(c - wanted)) < (1e-5 if kind is np.float32 else 1e-12)
    assert coherence(a[0], b[0, 0].astype(float), nperseg=nperseg)[1].dtype == np.float64
    matrix = coherence_matrix(a, 20.0, nperseg=nperseg)[1]
    assert np.array_equal(matrix, np.swapaxes(matrix, 1, 2)) and matrix.dtype == kind
    assert np.max(np.abs(matrix[:, 1, 3] - coherence(a[1], a[3], 20.0, nperseg=nperseg)[1])) < 1e-6


def test_coherence_stays_in_its_range() -> None:
    x = noise(2000)
    for y in (x, -3 * x, x * np.float32(1e-25), x.astype(float) * 1e150, x.astype(float) * 1e-140):
        c = coherence(x, y, nperseg=128)[1]
        assert c.max() <= 1.0 and c.min() > 0.999999
    for silent in (np.zeros(2000, np.float32), np.zeros(2000)):
        assert not coherence(x, silent)[1].any() and not coherence(silent, silent)[1].any()
    one = coherence(x[:256], noise(256, seed=3))[1]  # one segment says nothing, that is 1
    assert one.min() > 0.9999 and one.max() <= 1.0
    x[700] = np.nan
    assert np.isnan(coherence(x, noise(2000, seed=4))[1]).all()
    assert np.isfinite(coherence_matrix(np.stack([x, noise(2000), noise(2000, seed=5)]))[1][:, 1:, 1:]).all()


def check_segments() -> None:
    """Every bin of every segment is within 1e-5 of the segment's largest, as the definition in float64 has it."""
    for n in (16, 64, 256, 1024, 4096, 65536):
        x = noise(3, 3 * n) + np.float32(3) + np.sin(np.arange(3 * n) * 0.3, dtype=np.float32)
        hop, window = n // 2, signal.get_window("hann", n)
        for detrend in ("none", "constant", "linear"):
            p = spectrogram(x, nperseg=n, noverlap=n - hop, detrend=detrend)[2]
            for row in range(3):
                for k in range(p.shape[2]):
                    seg = twin.detrended(x[row, k * hop : k * hop + n].astype(float), detrend)
                    wanted = np.abs(np.fft.rfft(seg * window)) ** 2 * 2.0 / np.sum(window**2)
                    wanted[[0, -1]] /= 2.0
                    assert np.max(np.abs(p[row, :, k] - wanted)) <= 1e-5 * np.max(wanted), (n, detrend)


def check_dynamic_range() -> None:
    """A line 100 dB below another, in float32: it keeps its height to a hundredth and stands 40 dB over what is around it."""
    fs, n, low, high = 1000.0, 4096, 90.0 + 1 / 8, 350.3
    t = np.arange(1 << 17) / fs
    x = np.stack([np.sin(2 * np.pi * high * t) + 1e-5 * np.sin(2 * np.pi * low * t + q) for q in (0.0, 1.0)]).astype(np.float32)
    exact = x.astype(float)
    f, p = welch(x, fs, nperseg=n)
    s = csd_matrix(x, fs, nperseg=n)[1]
    k = int(np.argmin(np.abs(f - low)))
    for found, wanted in (
        (p[0], signal.welch(exact[0], fs, nperseg=n)[1]),
        (welch(x, fs, nperseg=n, average="median")[1][1], signal.welch(exact[1], fs, nperseg=n, average="median")[1]),
        (s[:, 0, 1], signal.csd(exact[0], exact[1], fs, nperseg=n)[1]),
    ):
        assert np.abs(found[k - 1 : k + 2] - wanted[k - 1 : k + 2]).max() < 0.01 * np.abs(wanted[k])
        assert np.abs(found[k]) > 1e4 * np.abs(np.r_[found[k - 40 : k - 4], found[k + 5 : k + 40]]).max()
        assert 95 < 10 * np.log10(np.abs(found).max() / np.abs(found[k])) < 105


def check_threads() -> None:
    x = noise(3, 20_000)
    for function in (welch, csd_matrix):
        assert function(x, nperseg=128, threads=2)[1].tobytes() == function(x, nperseg=128)[1].tobytes()
    running = Running(3, nperseg=128)
    for begin in range(0, 20_000, 777):
        running.push(x[:, begin : begin + 777])
    assert np.array_equal(running.spectrum()[1], welch(x, nperseg=128)[1])


@pytest.mark.parametrize("name", isa.NAMES[: isa.NAMES.index(_isa.best()) + 1])
def test_every_instruction_set_is_as_exact(name: str) -> None:
    """The same in a process of its own, because the choice is made once."""
    words = "from tests import test_spectrum as t; t.check_segments(); t.check_dynamic_range(); t.check_threads()"
    done = subprocess.run([sys.executable, "-c", words], cwd=Path(__file__).parents[1], capture_output=True, text=True,
                          env={**os.environ, "LIFELINE_ISA": name}, check=False, timeout=90)
    assert not done.returncode, done.stderr
