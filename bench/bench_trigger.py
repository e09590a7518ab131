"""High-pass and STA/LTA in one pass beside scipy's sosfilt and obspy's C function one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from obspy.signal import trigger as peers
from scipy import signal

from bench.duel import Case, Work, duel
from lifeline_core.dsp.designs import highpass
from lifeline_core.dsp.trigger import Trigger

FS, DC, STA, LTA = 200.0, 0.1, 100, 2000


def make(rows: int, n: int, blocks: int, *, whole: bool) -> tuple[Work, Work]:
    """A stream with state, ``whole`` with every ratio; scipy's state goes on too, obspy, which has none, begins anew with every
    block and channel."""
    x = np.random.default_rng(1).standard_normal((rows, n), np.float32)
    sos = highpass(FS, DC)
    state = np.zeros((1, rows, 2))
    stream = Trigger(rows, FS, DC, STA, LTA, on=20.0)

    def ours() -> None:
        for _ in range(blocks):
            stream.push(x, whole=whole)

    def theirs() -> None:
        held = state
        for _ in range(blocks):
            y, held = signal.sosfilt(sos, x, zi=held)
            for channel in y:
                peers.recursive_sta_lta(channel, STA, LTA)

    if n > LTA:
        level = signal.sosfilt_zi(sos)[:, None, :] * x[None, :, :1].astype(np.float64)
        y = signal.sosfilt(sos, x.astype(np.float64), zi=level)[0]
        told = Trigger(rows, FS, DC, STA, LTA, on=20.0).push(x, whole=True)[1]
        assert told is not None
        for row in {0, rows - 1}:
            np.testing.assert_allclose(told[row], peers.recursive_sta_lta(y[row], STA, LTA), rtol=1e-6, atol=1e-9)
    return ours, theirs


PEER = "scipy.signal.sosfilt, obspy recursive_sta_lta"
CASES = [
    Case("Trigger, 4 x 12,800", "trigger", PEER, 5.0, lambda: make(4, 12_800, 20, whole=False), baseline=2.5),
    Case("Trigger, every ratio, 4 x 12,800", "trigger", PEER, 3.0, lambda: make(4, 12_800, 20, whole=True), baseline=1.5),
    Case("Trigger, 4 x 200 at a time", "trigger", PEER, 12.0, lambda: make(4, 200, 200, whole=False), baseline=8.0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
