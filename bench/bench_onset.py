"""STA/LTA and the AIC picker beside obspy's C functions, CUSUM beside a compiled loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray
from obspy.signal import trigger

from bench.duel import Case, Work, duel
from lifeline_core.dsp.aic import aic_onset
from lifeline_core.dsp.cusum import Cusum
from lifeline_core.dsp.onset import StaLta, sta_lta

N_STA, N_LTA = 50, 1000
PEERS: dict[str, Callable[..., Any]] = {"recursive": trigger.recursive_sta_lta, "classic": trigger.classic_sta_lta}


def noise(rows: int, n: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    x = np.random.default_rng(1).standard_normal((rows, n), np.float32)
    return x, x.astype(np.float64)


def make_whole(kind: str, rows: int, n: int, given: bool) -> tuple[Work, Work]:
    """``given``: with ``out=``, and obspy's answers thrown away channel by channel; else both keep all."""
    x, wide = noise(rows, n)
    peer, out = PEERS[kind], np.empty_like(x) if given else None
    ratio, _ = sta_lta(x, N_STA, N_LTA, kind=kind, out=out)
    for row in {0, rows - 1}:
        np.testing.assert_allclose(ratio[row], peer(wide[row], N_STA, N_LTA), rtol=3e-7, atol=1e-9)
    del ratio

    def theirs() -> Any:
        if given:
            for channel in wide:
                peer(channel, N_STA, N_LTA)
            return None
        return [peer(channel, N_STA, N_LTA) for channel in wide]

    return lambda: sta_lta(x, N_STA, N_LTA, kind=kind, out=out), theirs


def make_blocks(kind: str, rows: int, n: int, blocks: int) -> tuple[Work, Work]:
    """A stream with state; obspy, which has none, begins anew with every block and channel."""
    x, wide = noise(rows, n)
    stream, out = StaLta(rows, N_STA, N_LTA, kind=kind), np.empty_like(x)
    first = stream.push(x)
    for row in {0, rows - 1}:
        if n >= N_LTA:
            np.testing.assert_allclose(first[row], PEERS[kind](wide[row], N_STA, N_LTA), rtol=3e-7, atol=1e-9)

    def ours() -> None:
        for _ in range(blocks):
            stream.push(x, out)

    def theirs() -> None:
        for _ in range(blocks):
            for channel in wide:
                PEERS[kind](channel, N_STA, N_LTA)

    return ours, theirs


@numba.njit  # type: ignore[misc]
def cusum_loop(x: Any, drift: float, threshold: float, up: Any, down: Any) -> None:
    for row in range(x.shape[0]):
        g = h = 0.0
        for i in range(x.shape[1]):
            v = x[row, i]
            if g > threshold:
                g = 0.0
            if h > threshold:
                h = 0.0
            g = max(0.0, g + v - drift)
            h = max(0.0, h - v - drift)
            up[row, i] = g
            down[row, i] = h


def make_cusum(rows: int, n: int) -> tuple[Work, Work]:
    x, wide = noise(rows, n)
    up, down, high, low = np.empty_like(x), np.empty_like(x), np.empty_like(wide), np.empty_like(wide)
    stream = Cusum(rows, 0.5, 5.0)
    stream.push(x, (up, down))
    cusum_loop(wide, 0.5, 5.0, high, low)
    np.testing.assert_allclose(up, high, rtol=3e-7, atol=1e-6)
    np.testing.assert_allclose(down, low, rtol=3e-7, atol=1e-6)
    return lambda: stream.push(x, (up, down)), lambda: cusum_loop(wide, 0.5, 5.0, high, low)


def make_aic(n: int) -> tuple[Work, Work]:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(0, 0.1, n * 3 // 4), rng.normal(0, 1, n - n * 3 // 4)])
    assert aic_onset(x)[0] == np.argmin(trigger.aic_simple(x))
    return lambda: aic_onset(x), lambda: np.argmin(trigger.aic_simple(x))


OBSPY = "obspy {}_sta_lta (C) per channel, float64"
RECURSIVE, CLASSIC = OBSPY.format("recursive"), OBSPY.format("classic")
MANY, ONE = (64, 1_000_000), (1, 1_000_000)
CASES = [
    Case("sta_lta recursive, 64 x 1,000,000, new output", "onset", RECURSIVE, 2.2,
         lambda: make_whole("recursive", *MANY, given=False)),
    Case("sta_lta recursive, 64 x 1,000,000, out= given", "onset", RECURSIVE, 3.0,
         lambda: make_whole("recursive", *MANY, given=True)),
    Case("sta_lta recursive, blocks of 64 x 4,096 with state", "onset", RECURSIVE + ", per block", 3.5,
         lambda: make_blocks("recursive", 64, 4096, 8), baseline=2.0),
    Case("sta_lta recursive, 1 x 1,000,000, out= given", "onset", RECURSIVE, 1.5,
         lambda: make_whole("recursive", *ONE, given=True), baseline=1.0),
    Case("sta_lta classic, 64 x 100,000, out= given", "onset", CLASSIC, 1.5,
         lambda: make_whole("classic", 64, 100_000, given=True), baseline=1.0),
    Case("sta_lta classic, blocks of 64 x 4,096 with state", "onset", CLASSIC + ", per block", 2.0,
         lambda: make_blocks("classic", 64, 4096, 8), baseline=1.5),
    Case("cusum, 64 x 20,000", "onset", "numba, one thread, float64", 1.5, lambda: make_cusum(64, 20_000)),
    Case("aic_onset, 20,000 samples", "onset", "obspy aic_simple (C)", 3.0, lambda: make_aic(20_000), baseline=3.0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
