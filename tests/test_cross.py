"""Averaged spectra of two channels: by hand, against a float64 twin, any cut and any unit, NaN, saved state, refusals."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.errors import StateError
from lifeline_core.pipes.correlation import correlate
from lifeline_core.pipes.cross import (
    Averages,
    Lags,
    Library,
    Transform,
    averages,
    clipped,
    compiled,
    lags,
    levelled,
    newton,
    standing,
    turned,
)
from lifeline_core.pipes.spectra import CrossAverage, Spectra, cross_spectra, grid, segments_in
from lifeline_core.synth.leaknoise import LeakNoise
from tests.twins.cross import clipped_share
from tests.twins.cross import cross as twin
from tests.twins.cross import standing as twin_standing

# float32 transforms of 16 .. 65536 samples are off by some 3e-8 log2(n) of a line's own size, white over the lines; products
# and sums over segments keep that
CLOSE = 1e-6


def noise(n: int, seed: int = 0, dtype: type = np.float64) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal(n)
    return (x * 3000).astype(dtype) if dtype is np.int16 else x.astype(dtype)


def pair(n: int, seed: int = 0, dtype: type = np.float64) -> tuple[np.ndarray, np.ndarray]:
    s = np.random.default_rng(seed).standard_normal((3, n))
    a, b = 1000 * (s[0] + s[1]), 1000 * (np.roll(s[0], 5) + s[2])
    return a.astype(dtype), b.astype(dtype)


def same(found: Spectra, want: dict, close: float = CLOSE) -> None:
    assert (found.n, found.left_out) == (want["used"], want["seen"] - want["used"])
    level = np.sqrt(want["s11"] * want["s22"])
    whole = slice(2, None)  # bins 0 and 1 hold what is left of the mean
    for name in ("s11", "s22", "q"):
        np.testing.assert_allclose(getattr(found, name)[whole], want[name][whole], rtol=4 * close)
    assert (np.abs(found.s12 - want["s12"])[whole] <= close * level[whole]).all()
    for i, part in enumerate(found.parts):
        assert (np.abs(part - want["parts"].get(i, 0.0))[whole] <= close * level[whole]).all()


def running(a: np.ndarray, b: np.ndarray, nperseg: int, shift: int = 0, per_part: int = 4) -> Spectra:
    """Through the running kernel, whatever the type."""
    average = CrossAverage(1.0, nperseg, shift=shift, per_part=per_part)
    average.push((a, b))
    return average.spectra()


def test_by_hand() -> None:
    t = np.arange(96)
    a, b = 3 * np.cos(2 * np.pi * 4 * t / 32) + 7, 5 * np.cos(2 * np.pi * 4 * (t - 2) / 32)
    s = cross_spectra(a.astype(np.float32), b.astype(np.float32), 32.0, 32)
    # a cosine of amplitude c under a Hann window of 32: c 32 / 4 in its bin, half of it in the neighbours
    assert s.n == 5 and s.f[4] == 4.0
    np.testing.assert_allclose(s.s11[3:6], np.array([0.25, 1, 0.25]) * 24**2, rtol=1e-6)
    np.testing.assert_allclose(s.s22[3:6], np.array([0.25, 1, 0.25]) * 40**2, rtol=1e-6)
    assert s.s12[4] == pytest.approx(24 * 40 * np.exp(-2j * np.pi * 4 * 2 / 32), rel=1e-6)
    assert s.q[4] == pytest.approx((24 * 40) ** 2, rel=1e-6)
    assert np.abs(s.s12[8:]).max() < 1e-5


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
@pytest.mark.parametrize(("n", "nperseg", "shift"), [
    (16, 16, 0), (15, 16, 0), (200, 16, 3), (1000, 32, -7), (3000, 64, 0), (9000, 512, 100), (9000, 512, -301), (40_000, 8192, 77),
    (150_000, 65536, 0), (2000, 100, 9), (300_001, 131072, -5),
])
def test_equal_to_the_twin(n, nperseg, shift, dtype) -> None:
    a, b = pair(n, 1, dtype)
    s = cross_spectra(a, b, 1000.0, nperseg, shift=shift)
    # float64 stays float64: 1e-16 of the segment's loudest line is what rounding leaves
    same(s, twin(a, b, nperseg, shift, max(segments_in(n, nperseg, shift) // 6, 4)), 1e-12 if dtype is np.float64 else CLOSE)
    if compiled(nperseg):
        same(running(a, b, nperseg, shift), twin(a, b, nperseg, shift, 4))
        same(planes(a, b, nperseg, shift), twin(a, b, nperseg, shift, 4))


def planes(a: np.ndarray, b: np.ndarray, nperseg: int, shift: int, per_part: int = 4) -> Spectra:
    """By the kernels for whole rows."""
    work, count = Transform(nperseg), segments_in(a.size, nperseg, shift)
    pa = work.planes(*levelled(a), max(-shift, 0), count)
    pb = work.planes(*levelled(b), max(shift, 0), count)
    power, s12, parts, used = work.pair(pa, pb, count, per_part, shift)
    return Spectra.of(1.0, nperseg, power, s12, parts, used, count)


@pytest.mark.parametrize(("unit_a", "unit_b"), [(1e-12, 1e9), (1e-30, 1e-70), (1e60, 1e-60), (2.0**-140, 3e35)])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_units_are_units(unit_a, unit_b, offset) -> None:
    a, b = (x / 1000 + offset for x in pair(6000))
    plain, other = twin(a, b, 256, 9), running(a * unit_a, b * unit_b, 256, 9)
    k = slice(2, None)
    # 1e6 times the swing costs 20 of the 52 bits before we see it
    rel = CLOSE if offset == 0.0 else 1e-5
    np.testing.assert_allclose(other.s11[k] / unit_a**2, plain["s11"][k], rtol=4 * rel)
    np.testing.assert_allclose(other.s22[k] / unit_b**2, plain["s22"][k], rtol=4 * rel)
    level = np.sqrt(plain["s11"] * plain["s22"])
    assert (np.abs(other.s12 / unit_a / unit_b - plain["s12"])[k] <= rel * level[k]).all()
    rows = planes(a * unit_a, b * unit_b, 256, 9)
    assert (np.abs(rows.s12 - other.s12)[k] <= rel * level[k] * unit_a * unit_b).all()


def test_huge_float32_is_sound() -> None:
    a, b = (np.clip(x / 4, -1, 1).astype(np.float32) * np.float32(3e38) for x in (noise(2000), noise(2000, 1)))
    same(cross_spectra(a, b, 1.0, 128), twin(a, b, 128, 0, 5))
    same(planes(a, b, 128, 0), twin(a, b, 128, 0, 4))


def test_a_quiet_segment_beside_a_loud_one_keeps_its_digits() -> None:
    a, b = pair(4096)
    a[:2048] *= 1e-9
    for x, y in ((a[:2048], b[:2048]), (a, b)):
        same(running(x, y, 256), twin(x, y, 256, 0, 4))
    same(planes(a, b, 256, 0), twin(a, b, 256, 0, 4))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([16, 64, 100, 512]), st.integers(-90, 90), st.integers(1, 9), st.lists(st.integers(0, 2500), max_size=6),
       st.sampled_from([np.int16, np.float32, np.float64]), st.integers(0, 3))
def test_any_cut_gives_the_same_bits(nperseg, shift, per_part, cuts, dtype, bad) -> None:
    x = np.stack(pair(2500, 2, dtype))
    if dtype is not np.int16:
        x[np.arange(bad) % 2, 700 * np.arange(bad)] = [np.nan, np.inf, -np.inf][:bad]
    whole, cut = (CrossAverage(8.0, nperseg, shift=shift, per_part=per_part) for _ in range(2))
    whole.push(x)
    edges = [0, *sorted(cuts), 2500]
    for i, (a, b) in enumerate(pairwise(edges)):
        cut.push(x[:, a:b] if i % 2 else x[:, a:b].astype(np.float64))
        cut = CrossAverage.load(cut.save())
    one, two = whole.spectra(), cut.spectra()
    assert (one.n, one.left_out, len(one.parts)) == (two.n, two.left_out, len(two.parts))
    for name in ("s11", "s22", "s12", "q"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    np.testing.assert_array_equal(one.parts, two.parts)
    assert whole.save() == cut.save()
    same(one, twin(x[0], x[1], nperseg, shift, per_part))


def test_rows_and_running_agree() -> None:
    a, b = pair(30_000, 3, np.float32)
    a[[4000, 4001, 20_000]], b[11_111] = np.nan, -np.inf
    for shift in (0, 300, -41):
        one, two = planes(a, b, 1024, shift), cross_spectra(a, b, 1.0, 1024, shift=shift)
        want = twin(a, b, 1024, shift, 4)
        assert one.n == two.n < segments_in(a.size, 1024, shift)
        same(one, want)
        assert np.abs(one.s12 - two.s12)[2:].max() < CLOSE * np.sqrt(want["s11"] * want["s22"]).max()


def test_rows_hold_more_segments_than_a_shifted_pair_needs() -> None:
    a, b = pair(5000, 4, np.int16)
    work = Transform(256)
    pa, pb = work.planes(*levelled(a), 0, segments_in(5000, 256)), work.planes(*levelled(b), 90, segments_in(5000, 256, 90))
    power, _, _, used = work.pair(pa, pb, pb.n_seg, 4, 90)
    want = twin(a, b, 256, 90, 4)
    assert used == want["used"] == pb.n_seg < pa.n_seg
    np.testing.assert_allclose(power[:2, 2:], np.stack([want["s11"], want["s22"]])[:, 2:], rtol=4 * CLOSE)


def test_a_record_of_the_literature_loses_nothing() -> None:
    # 60 s at -10 dB: the bound is 0.0225 m, at 242 m/s and half the way 9.3e-5 s; float32 transforms move the delay by less than
    # a ten-thousandth of that
    site = LeakNoise(fs=2048.0, length_m=102.6, position_m=73.5, speed_mps=484.0, beta_s_m=7.25e-5, snr_db=-10.0)
    x = site.whole(60 * 2048, 3)
    s, want = cross_spectra(x[0], x[1], 2048.0, 4096), twin(x[0], x[1], 4096, 0, 9)
    same(s, want)
    c = correlate(x[0], x[1], 2048.0, max_delay_s=0.233)
    k = np.flatnonzero((s.f > 5) & (s.f < 90))

    def lag(s12: np.ndarray) -> float:
        """By the parabola through the cross-correlation at the delay and two samples beside it."""
        r = [np.sum((s12[k] * np.exp(2j * np.pi * s.f[k] * (c.delay_s + d / 2048))).real) for d in (-2, 0, 2)]
        return float((r[0] - r[2]) / (r[0] - 2 * r[1] + r[2]) / 2048)

    assert abs(lag(s.s12) - lag(want["s12"])) < 1e-4 * 9.3e-5


def test_missing_break_off_and_seen() -> None:
    average = CrossAverage(1.0, 64, shift=-10, per_part=2)
    assert average.missing(1) == 74 and average.missing(3) == 74 + 64
    x = np.stack(pair(500))
    average.push(x[:, :100])
    assert (average.seen, average.used, average.missing(1), average.missing(2)) == (1, 1, 0, 6)
    average.break_off()
    assert average.missing(2) == 74 and average.seen == 1
    average.push(x[:, 200:274])
    parts = [twin(x[0, i : i + 74], x[1, i : i + 74], 64, -10)["s11"] for i in (0, 200)]
    np.testing.assert_allclose(average.spectra().s11[2:], np.mean(parts, axis=0)[2:], rtol=4 * CLOSE)


@pytest.mark.parametrize("nperseg", [64, 100])
def test_nothing_and_silence(nperseg) -> None:
    s = CrossAverage(1.0, nperseg).spectra()
    assert s.n == s.left_out == 0 and not s.s12.any() and s.parts == () and s.duration_s == 0.0
    s = cross_spectra(np.full(900, np.nan), noise(900), 1.0, nperseg)
    assert s.n == 0 and s.left_out > 10 and not s.s11.any() and not s.q.any()
    for level in (0.0, 3.5, -1e30):
        s = running(np.full(900, level), np.full(900, level, np.float32), nperseg)
        assert s.n > 10 and np.abs(s.s12).max() <= 1e-20 * max(level * level, 1.0)


def test_late_parts_share_the_last_one() -> None:
    # 64 MB of parts, then no more: 127 of segments of 65536 samples
    sums = Averages(65536, 0, 1)
    head = bytearray(sums.save())
    assert len(sums.read()[2]) == 0
    seen = np.frombuffer(head, np.uint64, 1, 40)
    seen[0] = 1 << 50
    sums.load(bytes(head))
    assert sums.seen == 1 << 50 and sums.used == 0


def test_clipped_is_the_share_of_the_verdict() -> None:
    for n in (1, 5, 7, 1000, 4099):
        for y in (noise(n), np.clip(noise(n), -1.5, 1.5), np.ones(n), np.sin(np.arange(n) * 0.1), np.append(noise(n), np.nan)):
            for dtype in (np.float32, np.float64):
                assert clipped(y.astype(dtype)) == clipped_share(y.astype(dtype))
    y = np.clip(noise(5000) * 9000, -12_000, 12_000).astype(np.int16)
    assert clipped(y) == clipped_share(y) > 0.1
    assert clipped(np.empty(0)) == clipped(np.full(9, np.nan)) == 0.0


def weighted(n: int, lag: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Some lines of n / 2 - 1, with the phase of a lag and noise."""
    rng = np.random.default_rng(seed)
    at = np.flatnonzero(rng.random(n // 2 - 1) < 0.8) + 1
    noise = rng.standard_normal(at.size) + 1j * rng.standard_normal(at.size)
    return at, 1e-20 * (np.exp(-2j * np.pi * at * lag / n) + 0.3 * noise)


@pytest.mark.parametrize("n", [16, 64, 1024, 8192, 65536, 131072, 3000])
def test_lags_are_the_sum_over_lines(n) -> None:
    at, c = weighted(n // 2 if n > 16 else n, 3.3)  # lines of segments half as long
    far = n // 4
    r = lags(at, c, n, far)
    some = np.unique(np.linspace(-far, far, 60).astype(int))
    want = [np.sum((c * np.exp(2j * np.pi * (at * lag % n) / n)).real) / np.abs(c).sum() for lag in some]
    # float32: 6e-8 log2(n) of the sum of |c|
    np.testing.assert_allclose(r[some + far], want, atol=1e-6 if compiled(n) else 1e-12)
    np.testing.assert_array_equal(lags(at, c, n, 2), r[far - 2 : far + 3])
    assert not lags(at[:0], c[:0], n, 3).any() and not lags(at, 0 * c, n, 3).any()
    assert np.isnan(lags(at, np.where(at == at[0], np.nan, c), n, 3)).all()


@pytest.mark.parametrize(("n", "lag"), [(64, 2.2), (8192, -170.31), (1 << 18, 4000.7)])
def test_exact_delay_of_lines(n, lag) -> None:
    at, c = weighted(n, lag, 1)
    unit = 2 * np.pi / n
    np.testing.assert_allclose(turned(at, unit * lag, c), c * np.exp(1j * unit * lag * at), rtol=1e-9, atol=1e-30)
    found = newton(at, c, unit * (lag + 0.2), unit * 0.5)

    def slope(theta: float) -> float:
        return float(at @ (c * np.exp(1j * theta * at)).imag)

    assert abs(found / unit - lag) < 0.3
    assert abs(slope(found)) < 1e-8 * np.sum(np.abs(at * c))
    assert newton(at, c, unit * (lag - 3.0), unit * 1e-3) == pytest.approx(unit * (lag - 3.0), abs=unit * 1.001e-3)
    assert newton(at, -c, unit * lag, unit) == unit * lag  # a trough: no maximum
    assert newton(at[:0], c[:0], 0.5, 0.1) == 0.5
    assert turned(at[:0], 0.5, c[:0]).size == 0


@pytest.mark.parametrize(("n", "half"), [(1, 15), (2, 1), (9, 4), (31, 15), (32, 15), (400, 15), (400, 1), (70, 31)])
def test_standing_is_the_twin(n, half) -> None:
    rng = np.random.default_rng(n)
    for seed in range(6):
        power = rng.exponential(size=n) ** (1 + seed % 3) * 10.0 ** rng.uniform(-9, 9)
        power[rng.random(n) < 0.1] *= 30.0
        power[rng.random(n) < 0.1] = power[0]  # ties
        if seed == 4:
            power[rng.random(n) < 0.02] = np.nan
        if seed == 5:
            power[n // 2 : n // 2 + 4] = np.inf
        for factor in (10.0, 1.0, 0.0):
            got = standing(power, factor, half)
            assert got.dtype == bool
            np.testing.assert_array_equal(got, twin_standing(power, factor, half))
    assert not standing(np.zeros(n), 10.0, half).any() and standing(np.empty(0), 10.0, half).size == 0


def test_refusals_of_lines() -> None:
    at, c = weighted(64, 1.0)
    for call in (lambda: turned(at, 0.1, c[1:]), lambda: newton(at, c[1:], 0.1, 0.1), lambda: lags(at, c[1:], 64, 4),
                 lambda: lags(at, c, 64, 32), lambda: lags(at, c, 16, 4), lambda: turned(at - 9, 0.1, c), lambda: Lags(100),
                 lambda: standing(c.real.copy(), 9.0, 0), lambda: standing(c.real.copy(), 9.0, 32),
                 lambda: standing(c.real.copy(), np.nan, 3)):
        with pytest.raises(ValueError, match=r"lengths do not fit|outside its range"):
            call()


def test_grid_is_one_array_nobody_writes() -> None:
    assert grid(100.0, 64) is grid(100.0, 64) and not grid(100.0, 64).flags.writeable
    np.testing.assert_array_equal(grid(100.0, 64), np.fft.rfftfreq(64, 0.01))


def test_float64_is_computed_in_float64() -> None:
    a, b = pair(5000)
    want = twin(a, b, 256, 7, 6)
    same(cross_spectra(a, b, 1.0, 256, shift=7), want, 1e-12)
    x, y = a.astype(np.float32), b.astype(np.float32)
    same(cross_spectra(x.astype(float), y, 1.0, 256), twin(x, y, 256, 0, 6), 1e-12)
    exact = CrossAverage(1.0, 256, shift=7, per_part=6, exact=True)
    exact.push((a, b))
    same(CrossAverage.load(exact.save()).spectra(), want, 1e-12)
    with pytest.raises(StateError):
        CrossAverage.load(exact.save() | {"exact": False})


@pytest.mark.parametrize("nperseg", [64, 100])
def test_other_state_is_refused(nperseg, monkeypatch) -> None:
    monkeypatch.setattr("lifeline_core.pipes.cross.MOST_BYTES", 1 << 20)  # a damaged count asks for all parts there may be
    average = CrossAverage(1.0, nperseg, shift=3, per_part=2)
    average.push(np.stack(pair(777)))
    state, sums = average.save(), average.save()["sums"]
    for damage in ({"v": 1}, {"nperseg": 32}, {"shift": 4}, {"per_part": 3}, {"sums": sums[:-8]}, {"sums": sums + b"12345678"},
                   {"sums": b""}, {"sums": b"x" + sums[1:]}, {"sums": 7}, {"nperseg": 1 << 30}, {"shift": 1 << 60}, {"more": 1}):
        with pytest.raises(StateError):
            CrossAverage.load(state | damage)
    for at in range(4, 72):  # the head: whatever is taken must be safe to go on with
        worse = bytearray(sums)
        worse[at] ^= 0x15
        other = averages(nperseg, 3, 2)
        try:
            other.load(bytes(worse))
        except StateError:
            continue
        other.push(*pair(500))
        other.read()


@pytest.mark.parametrize(("args", "message"), [
    ({"nperseg": 255}, "nperseg must be an even number of 16 or more, is 255"),
    ({"nperseg": 8}, "nperseg must be an even number of 16 or more, is 8"),
    ({"nperseg": 1 << 25}, "16777216 at most, is 33554432"),
    ({"nperseg": 64, "shift": 1 << 41}, "shift must be within"),
    ({"nperseg": 64, "per_part": 0}, "per_part must be 1 segment or more, is 0"),
])
def test_refusals(args, message) -> None:
    with pytest.raises(ValueError, match=message):
        CrossAverage(1.0, **args)


def test_refusals_of_rows() -> None:
    for nperseg in (64, 100):
        with pytest.raises(ValueError, match=r"lengths do not fit|same shape"):
            cross_spectra(noise(300), noise(301), 1.0, nperseg)
    with pytest.raises(ValueError, match="nperseg=100"):
        Transform(100)
    with pytest.raises(ValueError, match="nperseg=131072"):
        Averages(131072, 0, 1)
    work = Transform(64)
    row = levelled(noise(300))
    with pytest.raises(ValueError, match="lengths do not fit"):
        work.planes(*row, 0, 9)
    with pytest.raises(ValueError, match="lengths do not fit"):
        work.planes(*row, 300, 1)
    with pytest.raises(ValueError, match="lengths do not fit"):
        work.pair(work.planes(*row, 0, 3), work.planes(*row, 0, 4), 4, 4, 0)
    with pytest.raises(ValueError, match="empty"):
        levelled(np.empty(0))
    assert isinstance(averages(100, 0, 1), Library)
