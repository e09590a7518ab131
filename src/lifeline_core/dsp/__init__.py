"""Arrays in, arrays out: scipy.signal's meaning where scipy has the function, compiled and streaming."""

from __future__ import annotations

from lifeline_core.dsp.filters import SosFilter, detrend, sosfilt
from lifeline_core.dsp.onset import Cusum, StaLta, aic_onset, cusum, sta_lta
from lifeline_core.dsp.spectrum import Running, csd_matrix, spectrogram, welch

__all__ = [
    "Cusum",
    "Running",
    "SosFilter",
    "StaLta",
    "aic_onset",
    "csd_matrix",
    "cusum",
    "detrend",
    "sosfilt",
    "spectrogram",
    "sta_lta",
    "welch",
]
