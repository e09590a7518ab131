"""Arrays in, arrays out: scipy.signal's meaning where scipy has the function, compiled and streaming."""

from __future__ import annotations

from lifeline_core.dsp.aic import aic_onset
from lifeline_core.dsp.counts import counts_to_float
from lifeline_core.dsp.cusum import Cusum, cusum, cusum_threshold
from lifeline_core.dsp.dcblock import DcBlock
from lifeline_core.dsp.decimate import Decimator, decimate
from lifeline_core.dsp.designs import bandpass, highpass, notch_bank
from lifeline_core.dsp.envelope import Envelope, envelope
from lifeline_core.dsp.filters import SosFilter, detrend, sosfilt, sosfiltfilt
from lifeline_core.dsp.hampel import Hampel, RunningMedian, hampel, running_mad, running_median
from lifeline_core.dsp.onset import StaLta, sta_lta
from lifeline_core.dsp.pairs import Delays, correlate_pairs
from lifeline_core.dsp.polarity import Polarity, polarity_correlate
from lifeline_core.dsp.rainflow import Rainflow, RainflowBins, damage, rainflow
from lifeline_core.dsp.running import Running
from lifeline_core.dsp.spectrum import coherence, coherence_matrix, csd_matrix, spectrogram, welch
from lifeline_core.dsp.stats import Bins, Description, describe

__all__ = [
    "Bins",
    "Cusum",
    "DcBlock",
    "Decimator",
    "Delays",
    "Description",
    "Envelope",
    "Hampel",
    "Polarity",
    "Rainflow",
    "RainflowBins",
    "Running",
    "RunningMedian",
    "SosFilter",
    "StaLta",
    "aic_onset",
    "bandpass",
    "coherence",
    "coherence_matrix",
    "correlate_pairs",
    "counts_to_float",
    "csd_matrix",
    "cusum",
    "cusum_threshold",
    "damage",
    "decimate",
    "describe",
    "detrend",
    "envelope",
    "hampel",
    "highpass",
    "notch_bank",
    "polarity_correlate",
    "rainflow",
    "running_mad",
    "running_median",
    "sosfilt",
    "sosfiltfilt",
    "spectrogram",
    "sta_lta",
    "welch",
]
