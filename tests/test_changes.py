"""Standard deviations of poles against differences: the covariances really moved, the poles really found again."""

from __future__ import annotations

import numpy as np
import pytest

from lifeline_core.bridges import changes
from lifeline_core.bridges.covariance import Lags, RunningLags, lag_covariances
from lifeline_core.bridges.identify import Demands, identify_modes, modes_of, stable
from lifeline_core.bridges.modes import Modes, mac
from lifeline_core.bridges.ssi import ssi_from, toeplitz
from lifeline_core.synth.chain import chain

FS, BR, BLOCKS = 50.0, 8, 7
C = chain()


def record(seconds: float, seed: int) -> np.ndarray:
    return C.acceleration(int(seconds * FS), FS, np.random.default_rng(seed))


def order(poles: Modes, n: int) -> Modes:
    return poles.take(poles.order == n)


def differences(lags: Lags, n: int, order_max: int, weights: str = "none") -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations of f and zeta at order n from poles at R + e d and R - e d for each direction d."""
    e, mean = 1e-4, lags.mean
    df, dz = [], []
    for d in lags.deviations:
        two = [order(ssi_from(Lags(FS, (mean + s * d)[None], np.ones(1)), BR, order_max, weights=weights), n) for s in (e, -e)]
        df.append((two[0].f_hz - two[1].f_hz) / (2 * e))
        dz.append((two[0].damping - two[1].damping) / (2 * e))
    return np.sqrt(np.sum(np.square(df), axis=0)), np.sqrt(np.sum(np.square(dz), axis=0))


@pytest.mark.parametrize("n", [4, 10, 14])
@pytest.mark.parametrize("squared", [True, False])
def test_deviations_are_those_of_differences(n: int, squared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """br n_ch is small, so that the poles too come from the whole decomposition."""
    if not squared:
        monkeypatch.setattr(changes, "CLEAR", 2.0)
    lags = lag_covariances(record(300, 1), FS, 2 * BR - 1, n_blocks=BLOCKS)
    stated = order(ssi_from(lags, BR, 14, uncertainty=True), n)
    f_sd, z_sd = differences(lags, n, 14)
    np.testing.assert_allclose(stated.f_sd_hz, f_sd, rtol=2e-3)  # of second order in steps of 1e-4
    np.testing.assert_allclose(stated.damping_sd, z_sd, rtol=2e-3)


def test_with_weights_they_are_nearly_those_of_differences() -> None:
    """L is held in the formula and moves in the differences: no weight moves a pole of the structure's own order by much."""
    lags = lag_covariances(record(1200, 1), FS, 2 * BR - 1, n_blocks=BLOCKS)
    stated = order(ssi_from(lags, BR, 14, uncertainty=True, weights="canonical"), 10)
    f_sd, z_sd = differences(lags, 10, 14, "canonical")
    np.testing.assert_allclose(stated.f_sd_hz, f_sd, rtol=0.15)
    np.testing.assert_allclose(stated.damping_sd, z_sd, rtol=0.15)
    with pytest.raises(ValueError, match="weights must be one of none, canonical, is 'cva'"):
        ssi_from(lags, BR, 14, weights="cva")


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_how_many_blocks_are_at_work_does_not_matter(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lags = lag_covariances(record(120, 2), FS, 2 * BR - 1, n_blocks=BLOCKS)
    wanted = ssi_from(lags, BR, 14, uncertainty=True)
    monkeypatch.setattr(changes, "AT_ONCE", at_once)
    found = ssi_from(lags, BR, 14, uncertainty=True)
    np.testing.assert_allclose(found.f_sd_hz, wanted.f_sd_hz, rtol=1e-9)
    np.testing.assert_allclose(found.f_hz, wanted.f_hz, rtol=1e-12)


def test_products_are_those_of_the_matrix() -> None:
    lags = lag_covariances(record(60, 3), FS, 2 * BR - 1, n_blocks=3)
    t, deviations = toeplitz(lags.mean, BR), lags.deviations
    space = changes.Space(t, 10, 1e-13)
    found = changes._Products(space.u[:, :10], space.v * space.s, BR, lags.mean).of(deviations).reshape(len(t), 3, 10)
    apart = changes._Products(space.u[:, :10], space.v * space.s, BR).of(deviations).reshape(2, len(t), 3, 10)
    for j, d in enumerate(deviations):
        dt, u = toeplitz(d, BR), space.u[:, :10]
        wanted = (dt @ t.T + t @ dt.T) @ u
        np.testing.assert_allclose(found[:, j], wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())
        np.testing.assert_allclose(apart[0, :, j] + t @ apart[1, :, j], wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())
    np.testing.assert_allclose(t @ space.v, space.u[:, :10] * space.s, atol=1e-12 * space.s[0])


def test_what_is_not_there_has_no_deviation() -> None:
    """A dead channel, one block only, silence: said by NaN or by nothing, never by an error."""
    x = record(120, 4)
    whole = ssi_from(lag_covariances(x, FS, 2 * BR - 1, n_blocks=BLOCKS), BR, 10, uncertainty=True)
    x = np.insert(x, 2, 0.0, axis=0)
    dead = ssi_from(lag_covariances(x, FS, 2 * BR - 1, n_blocks=BLOCKS), BR, 10, uncertainty=True)
    np.testing.assert_allclose(dead.f_sd_hz, whole.f_sd_hz, rtol=1e-6)
    assert np.abs(dead.shapes[:, 2]).max() < 1e-12
    one = ssi_from(lag_covariances(x, FS, 2 * BR - 1), BR, 10, uncertainty=True)
    assert len(one) and np.isnan(one.f_sd_hz).all() and np.isnan(one.damping_sd).all()
    silence = lag_covariances(np.zeros((3, 1000)), FS, 2 * BR - 1, n_blocks=4)
    assert len(ssi_from(silence, BR, 10, uncertainty=True)) == 0


def test_a_window_that_moves_knows_what_the_record_knows() -> None:
    """Blocks of 10 s, the last 600 s, 20 groups for the standard deviations: the same modes, read from sums alone."""
    x, lags = record(900, 5), 59
    running = RunningLags(5, FS, lags, block=500, keep=60)
    for k in range(0, x.shape[1], 777):
        running.push(x[:, k : k + 777])
    end = x.shape[1] // 500 * 500 - (0 if x.shape[1] % 500 >= lags else 500)
    read = running.read(20)
    assert len(read.weight) == 20 and read.duration_s == pytest.approx(600.0)
    m = modes_of(ssi_from(read, 30, 60, uncertainty=True, weights="canonical"), read.duration_s)
    wanted = identify_modes(x[:, end - 30_000 : end + lags], FS)
    assert len(m) == len(wanted) == 5
    np.testing.assert_allclose(m.f_hz, wanted.f_hz, rtol=2e-4)
    np.testing.assert_allclose(m.f_sd_hz, wanted.f_sd_hz, rtol=0.8)  # each is uncertain by 11 and 16 %, orders differ
    assert (np.diag(mac(m.shapes, wanted.shapes)) > 0.999).all()


def test_stable_is_the_rule_written_down() -> None:
    poles = ssi_from(lag_covariances(record(120, 6), FS, 2 * BR - 1), BR, 24)
    poles = poles.take(np.random.default_rng(1).permutation(len(poles)))  # an order may stand anywhere
    poles.shapes[3] = 0.0
    demands, wanted = Demands(), []
    orders = sorted(set(poles.order.tolist()))
    for f, shape, n in zip(poles.f_hz, poles.shapes, poles.order, strict=True):
        below = [k for k, m in enumerate(poles.order) if orders.index(n) and m == orders[orders.index(n) - 1]]
        wanted.append(any(abs(poles.f_hz[k] - f) <= 0.01 * f and mac(shape, poles.shapes[k]) >= 0.95 for k in below))
    assert stable(poles, demands).tolist() == wanted
    assert 0 < sum(wanted) < len(wanted)
