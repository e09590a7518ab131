"""Recordings and simulations of bridges beside the repository: what is found against what is known of them (their README)."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from lifeline_core.bridges import efdd, fdd, identify_modes, mac
from lifeline_core.bridges.decay import coda_modes
from lifeline_core.bridges.identify import frequency_floor
from lifeline_core.bridges.modes import Modes
from lifeline_core.store import csmip
from lifeline_core.store.arrays import read_array
from lifeline_core.synth.chain import chain

DATA = Path(__file__).parents[2] / "shared/data/bridges"
pytestmark = [pytest.mark.data, pytest.mark.skipif(not DATA.is_dir(), reason=f"the recordings are not there: {DATA}")]
LYSEFJORD_HZ = np.array([0.20451, 0.31848, 0.43787, 0.58228, 0.85507, 1.17037])  # lengthened by the integration at 15 Hz
MUNICH_HZ = (10.8, 16.3, 25.0, 34.1)


@pytest.mark.parametrize("find", [identify_modes, efdd])
def test_lysefjord(find: object) -> None:
    """Six modes of a suspension bridge under turbulent wind, and nothing else up to 1.5 Hz."""
    assert callable(find)
    data = loadmat(DATA / "lysefjord_sim/BridgeData.mat")
    m: Modes = find(data["rz"], 15.0, f_max=1.5)
    assert len(m) == 6
    np.testing.assert_allclose(m.f_hz, LYSEFJORD_HZ, rtol=0.01)
    assert (np.abs(m.f_hz - LYSEFJORD_HZ) <= 4 * frequency_floor(LYSEFJORD_HZ, m.damping, 3600.0)).all()
    at = np.array([np.interp(data["posSensors"].ravel(), data["y"].ravel(), row) for row in data["phi"]])
    assert (np.diag(mac(m.shapes, at)) >= 0.95).all()
    # 0.005 of the structure, and what wind and integration add
    assert ((m.damping > 0.002) & (m.damping < 0.012)).all()


@pytest.fixture(scope="module")
def munich() -> np.ndarray:
    (record,) = read_array(DATA / "munich/UniBw_2022-04-11_ref_support_load_01AllM100Hz.csv.zip", column="ACC01_z", day_first=True)
    return np.asarray(record.x, np.float64)[None]


def test_munich_shows_its_listed_peaks(munich: np.ndarray) -> None:
    peaks = fdd(munich, 100.0, enhanced=False).f_hz
    for listed in MUNICH_HZ:
        assert np.abs(peaks - listed).min() <= 0.1, f"{listed} Hz among {peaks.round(2).tolist()}"


def test_munich_has_one_mode_that_stays_while_the_support_is_moved(munich: np.ndarray) -> None:
    """The load changes during the test and frequencies with it: what is told is sharp, the rest is refused with its reason."""
    m = identify_modes(munich, 100.0)
    assert 1 <= len(m) <= 2
    assert np.abs(m.f_hz - 10.8).min() <= 0.1
    assert all(np.abs(f - np.array(MUNICH_HZ)).min() <= 0.2 for f in m.f_hz)
    refused = np.array([f for f, _, why in m.refused if "not sharp" in why or "not stable" in why])
    assert np.abs(refused - 25.0).min() < 0.5


def deck() -> tuple[np.ndarray, float]:
    """Painter Street across the road: deck at both abutments and over the bent, less the foot of the bent."""
    with zipfile.ZipFile(DATA / "painter_street/nc73821036_ce89324p.zip") as z:
        traces = [csmip.parse(z.read(name).decode("latin-1")) for name in sorted(z.namelist()) if name.lower().endswith(".v2")]
    x = {t.channel: t.x for t in traces}
    return np.stack([x[c] - x[3] for c in (4, 7, 9)]), traces[0].rate_hz


@pytest.mark.parametrize("begin_s", [None, 50.0, 55.0, 60.0])
def test_painter_street_rings_at_its_first_mode(begin_s: float | None) -> None:
    x, fs = deck()
    m = coda_modes(x, fs, 6.0, f_min=1.0, begin_s=begin_s)
    assert len(m) == 1
    assert 3.2 <= m.f_hz[0] <= 3.5
    assert 0.01 < m.f_sd_hz[0] < 0.1
    assert 0.04 < m.damping[0] < 0.1  # abutments in soil
    shape = m.shapes[0] / m.shapes[0, 1]
    assert (shape.real > 0).all()  # the whole deck goes the same way


def test_the_shear_frame_is_a_uniform_chain_integrated_at_100_hz() -> None:
    """Nothing is published with it. Its shapes are those of equal storeys; its frequencies those of such a chain, lengthened by the
    average-acceleration method of 10-ms steps, f' = (fs / pi) atan(pi f / fs)."""
    x = np.load(DATA / "shearframe_sim/data_shearframe.npy").T
    m = identify_modes(x, 100.0)
    assert len(m) == 5
    c = chain()
    assert (np.diag(mac(m.shapes, c.shapes[:, ::-1])) >= 0.99).all()  # the first row is the top
    scale = np.linspace(1.68, 1.71, 301)
    lengthened = 100.0 / np.pi * np.arctan(np.pi * scale[:, None] * c.f_hz / 100.0)
    off = (lengthened - m.f_hz) / m.f_sd_hz
    best = off[int(np.argmin(np.sum(off**2, axis=1)))]
    assert (np.abs(best) < 4.0).all(), best


@pytest.mark.parametrize("find", [identify_modes, efdd])
def test_the_shear_frame_by_two_ways(find: object) -> None:
    assert callable(find)
    m: Modes = find(np.load(DATA / "shearframe_sim/data_shearframe.npy").T, 100.0)
    np.testing.assert_allclose(m.f_hz, [1.51, 4.37, 6.83, 8.70, 9.87], rtol=0.01)
