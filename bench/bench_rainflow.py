"""Rainflow counting of a million samples beside the package of that name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import rainflow as package
from numpy.typing import NDArray

from bench.duel import Case, Work, duel
from lifeline_core.dsp.rainflow import RainflowBins, rainflow

N = 1_000_000


def noise() -> NDArray[np.float32]:
    x: NDArray[np.float32] = np.random.default_rng(1).standard_normal(N).astype(np.float32)
    return x


def sines() -> NDArray[np.float32]:
    i = np.arange(N)
    x: NDArray[np.float32] = (np.sin(i / 27.5) + 0.5 * np.sin(i / 6.57 + 1) + 0.2 * np.sin(i / 177)).astype(np.float32)
    return x


def make_whole(x: NDArray[np.float32]) -> tuple[Work, Work]:
    """The peer is given a list of floats, which it takes best."""
    values = x.tolist()
    wanted = np.array([c[:3] for c in package.extract_cycles(values)])
    assert np.array_equal(np.array(rainflow(x)[:3]).T, wanted)
    return (lambda: rainflow(x)), (lambda: list(package.extract_cycles(values)))


def make_stream(x: NDArray[np.float32]) -> tuple[Work, Work]:
    """In blocks of 4,096 with state, into 64 bins of ranges; the peer counts the whole into as many."""
    values, width = x.tolist(), float(x.max() - x.min()) / 64

    def ours() -> NDArray[np.float64]:
        bins = RainflowBins(1, width, 64)
        for at in range(0, N, 4096):
            bins.push(x[at : at + 4096])
        return bins.total()[0, :, 0]

    def theirs() -> list[Any]:
        told: list[Any] = package.count_cycles(values, nbins=64)
        return told

    # a range on the border of two bins goes up here, down there
    assert np.allclose(ours(), [count for _, count in theirs()], atol=2.0)
    assert rainflow(x)[2].sum() == ours().sum()
    return ours, theirs


PEER = "rainflow 3.2"
CASES = [
    Case("rainflow, 1,000,000 samples of noise", "rainflow", PEER, 50.0, lambda: make_whole(noise()), baseline=30.0, rounds=5),
    Case("rainflow, 1,000,000 samples of sines", "rainflow", PEER, 50.0, lambda: make_whole(sines()), baseline=30.0, rounds=5),
    Case("rainflow into 64 bins, 1,000,000 samples in blocks of 4,096", "rainflow", PEER, 40.0, lambda: make_stream(noise()),
         baseline=25.0, rounds=3),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
