"""Second-order sections, one way and to and fro, DC blocking and detrending, beside scipy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import signal

from bench.duel import Case, Work, duel
from lifeline_core.dsp.dcblock import DcBlock
from lifeline_core.dsp.filters import SosFilter, detrend, sosfilt, sosfiltfilt

FOUR = signal.butter(4, [0.02, 0.2], "bandpass", output="sos")


def noise(*shape: int) -> Any:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def agree(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(ours, theirs, atol=1e-6 * np.abs(theirs).max())


def make_sosfilt(rows: int, n: int) -> tuple[Work, Work]:
    x = noise(rows, n)
    x64 = x.astype(np.float64)
    agree(sosfilt(FOUR, x)[0], signal.sosfilt(FOUR, x64, axis=-1))
    return lambda: sosfilt(FOUR, x), lambda: signal.sosfilt(FOUR, x64, axis=-1)


def make_blocks(rows: int, n: int, blocks: int) -> tuple[Work, Work]:
    """A stream: each block goes on from the state of the one before."""
    x = noise(rows, n)
    x64, out = x.astype(np.float64), np.empty_like(x)
    stream = SosFilter(FOUR, rows)

    def ours() -> Any:
        for _ in range(blocks):
            stream.push(x, out)
        return out

    def theirs() -> Any:
        zi = np.zeros((len(FOUR), rows, 2))
        for _ in range(blocks):
            y, zi = signal.sosfilt(FOUR, x64, axis=-1, zi=zi)
        return y

    agree(ours(), theirs())
    return ours, theirs


def make_sosfiltfilt(rows: int, n: int) -> tuple[Work, Work]:
    x = noise(rows, n)
    x64 = x.astype(np.float64)
    agree(sosfiltfilt(FOUR, x), signal.sosfiltfilt(FOUR, x64))
    return lambda: sosfiltfilt(FOUR, x), lambda: signal.sosfiltfilt(FOUR, x64)


def make_dc_block() -> tuple[Work, Work]:
    """A stream that has settled."""
    x = noise(64, 4096) + 9
    sos = signal.butter(1, 0.1, "highpass", fs=200.0, output="sos")
    x64, out, stream = x.astype(np.float64), np.empty_like(x), DcBlock(200.0, 0.1, 64)
    _, zi = signal.sosfilt(sos, x64, zi=signal.sosfilt_zi(sos)[:, None, :] * x64[None, :, :1])
    stream.push(x)

    def ours() -> Any:
        return stream.push(x, out)

    def theirs() -> Any:
        return signal.sosfilt(sos, x64, zi=zi)[0]

    agree(ours(), theirs())
    return ours, theirs


def make_detrend(kind: str) -> tuple[Work, Work]:
    x = noise(64, 20_000)
    agree(detrend(x, kind), signal.detrend(x.astype(np.float64), type=kind))
    return lambda: detrend(x, kind), lambda: signal.detrend(x, type=kind)


def make_threads() -> tuple[Work, Work]:
    x = noise(64, 100_000)
    out = np.empty_like(x)


    def run(threads: int) -> Work:  # several calls a turn: a core that slept takes about a millisecond to be there again
        return lambda: [sosfilt(FOUR, x, out=out, threads=threads) for _ in range(12)]

    return run(2), run(1)


PEER = "scipy.signal.sosfilt, float64"
CASES = [
    Case("sosfilt, 4 sections, 64 x 20,000", "filters", PEER, 4.0, lambda: make_sosfilt(64, 20_000), rounds=15),
    Case("sosfilt, 4 sections, 64 x 4,096 blocks with state", "filters", PEER, 4.0, lambda: make_blocks(64, 4096, 5), rounds=15),
    Case("sosfilt, 4 sections, 4 x 200 blocks with state", "filters", PEER, 6.0, lambda: make_blocks(4, 200, 100), 3.0, rounds=15),
    Case("sosfilt, 4 sections, 1 x 100,000", "filters", PEER, 1.8, lambda: make_sosfilt(1, 100_000), rounds=15),
    Case("sosfilt, 4 sections, 2 x 100,000", "filters", PEER, 3.0, lambda: make_sosfilt(2, 100_000), rounds=15),
    Case("sosfiltfilt, 4 sections, 64 x 20,000", "filters", "scipy.signal.sosfiltfilt, float64", 4.0,
         lambda: make_sosfiltfilt(64, 20_000)),
    Case("sosfiltfilt, 4 sections, 1 x 100,000", "filters", "scipy.signal.sosfiltfilt, float64", 2.0,
         lambda: make_sosfiltfilt(1, 100_000), rounds=15),
    Case("DC block, 64 x 4,096", "filters", "scipy.signal.sosfilt with zi, float64", 3.0, make_dc_block, rounds=15),
    Case("detrend linear, 64 x 20,000", "filters", "scipy.signal.detrend on float32", 5.0, lambda: make_detrend("linear"),
         rounds=15),
    Case("detrend constant, 64 x 20,000", "filters", "scipy.signal.detrend on float32", 1.2, lambda: make_detrend("constant"), 0.8,
         rounds=15),
    Case("sosfilt, 4 sections, 64 x 100,000, threads=2", "filters", "itself, one thread", 1.6, make_threads, 1.6, gated=False),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
