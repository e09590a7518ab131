"""CUSUM: the twin, run lengths, any cut, any neighbours, NaN, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.dsp.cusum import Cusum, cusum
from lifeline_core.errors import StateError
from tests.twins import onset as twin
from tests.twins.onset import ugly

FLOAT32 = 3e-7  # of the sum: its own rounding, twice
DOUBLE = 1e-12


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.sampled_from([np.float32, np.float64]))
def test_cusum_equals_the_twin_over_any_cut(seed, n, dtype) -> None:
    rng = np.random.default_rng(seed)
    x = ugly(rng, n, dtype)
    up, down, _ = cusum(x, 0.5, 40.0)
    # the same operations in the same order but for one association: v - drift is taken first
    for ours, theirs in zip((up, down), twin.cusum(x, 0.5, 40.0), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=FLOAT32 if dtype == np.float32 else DOUBLE, atol=1e-5)
    cut = int(rng.integers(0, n + 1))
    state, parts = Cusum(1, 0.5, 40.0), []
    for part in (x[:cut], x[cut:]):
        if part.size:
            *sums, after = cusum(part, 0.5, 40.0, state=state)
            parts.append(np.stack(sums))
            state.load(after.save())
    assert np.concatenate(parts, axis=1).tobytes() == np.stack([up, down]).tobytes()


def test_cusum_begins_again_after_a_crossing() -> None:
    up, down, _ = cusum(np.full(9, 1.5), 0.5, 2.5)
    assert up.tolist() == [1, 2, 3, 1, 2, 3, 1, 2, 3]
    assert not down.any()
    assert cusum(np.full(9, 1.5), 0.5, np.inf)[0][-1] == 9.0


@pytest.mark.parametrize(("h", "shift", "arl"), [(4.0, 0.5, 26.68), (4.0, 1.0, 8.38), (4.0, 2.0, 3.34), (5.0, 1.0, 10.38)])
def test_cusum_run_lengths(h: float, shift: float, arl: float) -> None:
    """Average run lengths of a Markov chain with 300 states; the chain begins at 0 again after each crossing."""
    x = np.random.default_rng(7).normal(shift, 1, 400_000)
    runs = 400_000 / np.count_nonzero(cusum(x, 0.5, h)[0] > h)
    # a run length scatters by at most about itself, so its mean over > 14,000 runs by < 0.9 %: three of these
    assert runs == pytest.approx(arl, rel=0.027)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 3, 4, 9])
def test_cusum_rows_threads_and_out(dtype, rows: int) -> None:
    rng = np.random.default_rng(rows)
    x = np.stack([ugly(rng, 501, dtype) if row % 3 == 2 else rng.normal(0, 1, 501).astype(dtype) for row in range(rows)])
    up, down, state = cusum(x, 0.5, 4.0)
    for row in range(rows):
        alone = cusum(x[row], 0.5, 4.0)
        assert (alone[0].tobytes(), alone[1].tobytes()) == (up[row].tobytes(), down[row].tobytes())
    more = cusum(x, 0.5, 4.0, threads=3)
    assert (more[0].tobytes(), more[1].tobytes(), more[2].save()) == (up.tobytes(), down.tobytes(), state.save())
    y, other = x.copy(), np.empty_like(x)
    cusum(y, 0.5, 4.0, out=(y, other))
    assert (y.tobytes(), other.tobytes()) == (up.tobytes(), down.tobytes())
    stream = Cusum(rows, 0.5, 4.0)
    parts = [stream.push(np.ascontiguousarray(x[:, a : a + 7])) for a in range(0, 501, 7)]
    assert np.concatenate([p[0] for p in parts], axis=1).tobytes() == up.tobytes()


def test_cusum_refusals() -> None:
    with pytest.raises(ValueError, match="a block must be float32 or float64, is int32"):
        Cusum(1, 0.5, 1.0).push(np.zeros((1, 2), np.int32))
    with pytest.raises(ValueError, match="x must have 1 rows and both outputs its shape"):
        Cusum(1, 0.5, 1.0).push(np.zeros((2, 2)), threads=2)
    with pytest.raises(ValueError, match=r"threshold above 0, are 0\.5 and 0"):
        cusum([1.0], 0.5, 0.0)
    with pytest.raises(ValueError, match="the input is empty"):
        cusum([], 0.5, 1.0)
    with pytest.raises(ValueError, match=r"asked are 1, 0\.25 and 1\.0"):
        cusum([1.0], 0.25, 1.0, state=cusum([1.0], 0.5, 1.0)[2])
    with pytest.raises(StateError, match="other parameters"):
        Cusum(1, 0.5, 1.0).load(Cusum(1, 0.5, 2.0).save())
