"""Peaks of a spectrum: between the bins, the most prominent first."""

from __future__ import annotations

import numpy as np
import pytest

from lifeline_core.dsp.peaks import dominant_peaks
from lifeline_core.dsp.spectrum import welch


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
