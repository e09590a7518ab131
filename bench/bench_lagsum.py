"""Products at lags beside numpy: the copy of the lags that makes one product of matrices, and one product for every lag."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from threadpoolctl import ThreadpoolController

from bench.duel import Case, Work, duel
from lifeline_core.dsp.lagsum import lag_products


def make(n_ch: int, n: int, lags: int, *, copied: bool) -> tuple[Work, Work]:
    x = np.random.default_rng(1).standard_normal((n_ch, n + lags))

    def at_once() -> Any:
        flat = np.ascontiguousarray(sliding_window_view(x, n, axis=1).transpose(1, 0, 2)).reshape((lags + 1) * n_ch, -1)
        return (flat @ x[:, :n].T).reshape(lags + 1, n_ch, n_ch)

    def one_by_one() -> Any:
        return np.stack([x[:, k : k + n] @ x[:, :n].T for k in range(lags + 1)])

    theirs = at_once if copied else one_by_one

    pools = ThreadpoolController()  # finding the libraries takes longer than the work

    def alone() -> Any:
        with pools.limit(limits=1, user_api="blas"):
            return theirs()

    np.testing.assert_allclose(lag_products(x, lags), theirs(), rtol=0, atol=1e-10 * n)
    return lambda: lag_products(x, lags), alone


COPY, LAG = "numpy: one product of matrices over copied lags, one thread", "numpy: a product of matrices a lag, one thread"
WORK = "products of {} channels at 60 lags, {} samples"
CASES = [  # the peer's products are AVX-512 whatever LIFELINE_ISA says
    Case(WORK.format(16, "30,000"), "lagsum", COPY, 2.0, lambda: make(16, 30_000, 59, copied=True), baseline=0.5),
    Case(WORK.format(16, "30,000") + ", lag by lag", "lagsum", LAG, 1.5, lambda: make(16, 30_000, 59, copied=False), baseline=0.3),
    Case(WORK.format(16, "750"), "lagsum", COPY, 1.5, lambda: make(16, 750, 59, copied=True), baseline=0.35),
    Case(WORK.format(5, "30,000"), "lagsum", COPY, 2.0, lambda: make(5, 30_000, 59, copied=True), baseline=0.8),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
