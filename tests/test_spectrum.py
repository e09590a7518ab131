"""Averaged spectra against the definition, against scipy, and against themselves cut to pieces."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal

from lifeline_core.dsp.spectrum import Running, csd_matrix, dominant_peaks, spectrogram, welch
from lifeline_core.errors import StateError
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


@pytest.mark.parametrize("nperseg", [32, 33])
@pytest.mark.parametrize("cross", [False, True])
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 1500), max_size=12), looks=st.sets(st.integers(0, 12)))
def test_stream_equals_whole(nperseg: int, cross: bool, cuts: list[int], looks: set[int]) -> None:
    x = noise(3, 1500)
    x[1, 700] = np.nan
    keywords = {"nperseg": nperseg, "noverlap": 20, "detrend": "linear"}
    whole, parts = (Running(3, 10.0, cross=cross, skip_nan=True, **keywords) for _ in range(2))
    whole.push(x)
    edges = [0, *sorted(cuts), 1500]
    for i, (a, b) in enumerate(pairwise(edges)):
        parts.push(x[:, a:b])
        if i in looks:
            parts.spectrum()
            fresh = Running(3, 10.0, cross=cross, skip_nan=True, **keywords)
            fresh.load(parts.save())
            parts = fresh
    assert np.array_equal(whole.spectrum()[1], parts.spectrum()[1])
    assert np.array_equal(whole.segments, parts.segments)
    assert whole.save() == parts.save()
    if cross:
        assert np.array_equal(whole.csd_matrix()[1], parts.csd_matrix()[1])


def test_running_is_welch_and_starts_anew() -> None:
    x = noise(4, 5000)
    running = Running(4, 10.0, nperseg=128, cross=True)
    assert np.isnan(running.spectrum()[1]).all()
    running.push(x)
    assert off(running.spectrum()[1], welch(x, 10.0, nperseg=128)[1]) < 1e-7  # another order of the same sums
    assert np.array_equal(running.csd_matrix()[1], csd_matrix(x, 10.0, nperseg=128)[1])
    running.reset()
    assert running.segments.tolist() == [0] * 4
    running.push(x[:, :1000])
    assert np.array_equal(running.csd_matrix()[1], csd_matrix(x[:, :1000], 10.0, nperseg=128)[1])


def test_a_seam_drops_the_segment_under_way() -> None:
    """Two stretches that never meet: the average of both, no segment across the seam."""
    a, b = noise(2, 1000), noise(2, 900, seed=2)
    running = Running(2, nperseg=64)
    running.push(a)
    running.restart()
    running.push(b)
    na, nb = 1 + (1000 - 64) // 32, 1 + (900 - 64) // 32
    assert running.segments.tolist() == [na + nb] * 2
    wanted = (welch(a.astype(float), nperseg=64)[1] * na + welch(b.astype(float), nperseg=64)[1] * nb) / (na + nb)
    assert off(running.spectrum()[1], wanted) < TOLERANCE


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


def test_threads_change_nothing_that_matters() -> None:
    x = noise(5, 4000)
    assert np.array_equal(welch(x, nperseg=64, threads=3)[1], welch(x, nperseg=64)[1])
    assert np.array_equal(spectrogram(x, nperseg=64, threads=2)[2], spectrogram(x, nperseg=64)[2])
    assert off(csd_matrix(x, nperseg=64, threads=4)[1], csd_matrix(x, nperseg=64)[1]) < 1e-6  # sums of four stretches


def test_rows_do_not_know_how_many_they_are() -> None:
    x = noise(11, 1000)
    assert np.array_equal(welch(x, nperseg=64)[1][7], welch(x[7], nperseg=64)[1])


def test_constant_silence_and_huge() -> None:
    assert not welch(np.full(1000, 7.3, np.float32))[1].any()
    assert not welch(np.zeros(1000, np.float32))[1].any()
    x = noise(1000) * np.float32(1e18)  # its square is no float32; the density is
    assert off(welch(x, 1e20)[1], signal.welch(x.astype(float), 1e20)[1]) < TOLERANCE


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
    with pytest.raises(ValueError, match="cross=True"):
        Running(2).csd_matrix()
    with pytest.raises(ValueError):
        Running(2).push(noise(3, 10))


@pytest.mark.parametrize("nperseg", [64, 65])
def test_damaged_or_foreign_state_is_refused(nperseg: int) -> None:
    running = Running(2, nperseg=nperseg)
    running.push(noise(2, 1000))
    state = running.save()
    for n_ch, keywords in [(2, {"window": "hamming"}), (3, {}), (2, {"noverlap": 3})]:
        other = Running(n_ch, nperseg=nperseg, **keywords)
        with pytest.raises(StateError):
            other.load(state)
    for bad in (b"", state[:-1], state + b"x", b"XXXX" + state[4:], state[:4] + b"\x09" + state[5:]):
        with pytest.raises(StateError):
            running.load(bad)
    assert running.save() == state


def test_peaks_lie_between_the_bins() -> None:
    rng = np.random.default_rng(3)
    t = np.arange(200 * 120) / 200
    x = 0.3 * rng.standard_normal(t.size)
    for f, a in ((3.217, 1.0), (11.55, 0.4), (40.081, 2.0)):
        x += a * np.sin(2 * np.pi * f * t)
    f, p = welch(x.astype(np.float32), 200.0, nperseg=2048)
    found = dominant_peaks(f, p, 3)
    assert sorted(found) == pytest.approx([3.217, 11.55, 40.081], abs=0.01)  # a tenth of a bin of 0.098 Hz
    assert found[0] == pytest.approx(40.081, abs=0.01), "the most prominent first"
    assert dominant_peaks(f, p, 3, f_min=5, f_max=20) == pytest.approx([11.55], abs=0.01)
    assert dominant_peaks(f, np.ones_like(f)) == dominant_peaks(f, np.full_like(f, np.nan)) == dominant_peaks(f[:4], p[:4]) == []
