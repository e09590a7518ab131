"""Integer payloads to scaled floats against Python's integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core import _wire, wire
from lifeline_core.dsp.counts import BYTES, KINDS, counts_to_float
from tests.twins import counts as twin

EXTREMES = {k: [0, 1, -1, 2 ** (8 * w - 1) - 1, -(2 ** (8 * w - 1)), 12345 % 2 ** (8 * w - 1)] for k, w in BYTES.items()}


def payload(kind: str, values: list[int]) -> bytes:
    return b"".join(v.to_bytes(BYTES[kind], "little", signed=True) for v in values)


def test_by_hand() -> None:
    assert counts_to_float(b"\x01\x00\xff\xff", "int16", 1, scale=2.0, offset=0.5).tolist() == [[2.5, -1.5]]
    assert counts_to_float(b"\xff\xff\x7f\x00\x00\x80", "int24", 2, scale=1.0).tolist() == [[8388607.0], [-8388608.0]]
    x = counts_to_float(b"\xff\xff\xff\x7f\x00\x00\x00\x80", "int32", 1, scale=1.0)
    assert x.tolist() == [[2147483648.0, -2147483648.0]]  # 2**31 - 1 has 31 bits, a float 24
    assert x.dtype == np.float32


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ["channel", "sample"])
@settings(max_examples=60, deadline=None)
@given(data=st.data(), n_channels=st.integers(1, 13), n=st.integers(1, 150), seed=st.integers(0, 99))
def test_equals_the_twin(kind: str, order: str, data: st.DataObject, n_channels: int, n: int, seed: int) -> None:
    """Every shape about the edges of fours and strips; the bytes end exactly where the counts do."""
    rng = np.random.default_rng(seed)
    values = rng.integers(*(EXTREMES[kind][i] for i in (4, 3)), n_channels * n).tolist()
    values[: len(EXTREMES[kind])] = EXTREMES[kind][: len(values)]
    scale, offset = rng.normal(0, 1e-3, n_channels), rng.normal(0, 10, n_channels) * rng.integers(0, 2)
    if data.draw(st.booleans()):
        scale = scale.astype(np.float32).astype(float)
    raw = payload(kind, values)
    wanted = twin.scaled(twin.counts(raw, kind, n_channels, order), scale.tolist(), offset.tolist())
    for threads in (1, 3):
        got = counts_to_float(raw, kind, n_channels, scale=scale, offset=offset, order=order, threads=threads)
        assert got.tolist() == wanted


@pytest.mark.parametrize("kind", ["int16", "int24"])
@settings(max_examples=60, deadline=None)
@given(data=st.data(), scale=st.floats(2.0**-100, 2.0**100, width=32))
def test_the_product_is_rounded_once(kind: str, data: st.DataObject, scale: float) -> None:
    half = 2 ** (8 * BYTES[kind] - 1)
    values = data.draw(st.lists(st.integers(-half, half - 1), min_size=1, max_size=12))
    assert counts_to_float(payload(kind, values), kind, 1, scale=scale)[0].tolist() == [twin.exact(v, scale) for v in values]


def test_zero_has_no_sign() -> None:
    """Neither with a scale that is a float nor with one that is not."""
    for scale in (-1.0, -0.1):
        assert not np.signbit(counts_to_float(bytes(60), "int24", 1, scale=scale)).any()


def test_the_same_as_a_frame() -> None:
    values = np.random.default_rng(3).integers(-(2**23), 2**23, (3, 50))
    data = wire.pack(values.astype(np.int32), encoding=wire.INT24, device=1, rate=100, t0_ns=10**18)
    raw = payload("int24", values.ravel().tolist())
    x, _ = _wire.scaled(data, np.full(3, 1e-6), np.full(3, 0.25))
    assert np.array_equal(x, counts_to_float(raw, "int24", 3, scale=1e-6, offset=0.25))


@pytest.mark.parametrize("kind", KINDS)
def test_unaligned_views_and_out(kind: str) -> None:
    w = BYTES[kind]
    raw = np.random.default_rng(1).bytes(5 * 40 * w)
    whole = counts_to_float(raw, kind, 5, scale=1e-3)
    for lead in range(1, 4):
        shifted = memoryview(bytes(lead) + raw)[lead:]
        assert np.array_equal(counts_to_float(shifted, kind, 5, scale=1e-3), whole)
    room = np.full((5, 64), np.nan, np.float32)
    out = room[:, 7:47]
    assert counts_to_float(bytearray(raw), kind, 5, scale=1e-3, out=out) is out
    assert np.array_equal(room[:, 7:47], whole) and np.isnan(room[:, :7]).all() and np.isnan(room[:, 47:]).all()


def test_large_enough_to_leave_the_interpreter() -> None:
    raw = np.random.default_rng(2).bytes(64 * 1000 * 3)
    for order in ("channel", "sample"):
        rows = np.array(twin.counts(raw, "int24", 64, order))
        for threads in (1, 2, 64):
            x = counts_to_float(raw, "int24", 64, scale=1e-6, order=order, threads=threads)
            assert np.array_equal(x, (rows * 1e-6).astype(np.float32))


@pytest.mark.parametrize(("given", "said"), [
    ({"payload": b""}, "not empty, has 0 bytes"),
    ({"payload": bytes(7)}, "multiple of 2 channels x 3 bytes and not empty, has 7 bytes"),
    ({"kind": "int8"}, 'kind must be "int16", "int24" or "int32", is \'int8\''),
    ({"n_channels": 0}, "n_channels must be at least 1, is 0"),
    ({"order": "F"}, 'order must be "channel" or "sample", is \'F\''),
    ({"scale": [1.0, 2.0, 3.0]}, r"scale must be one number or one for each of 2 channels, has shape \(3,\)"),
    ({"scale": np.nan}, "scale must be finite, is nan"),
    ({"offset": [0.0, np.inf]}, r"offset must be finite, is \[0.0, inf\]"),
    ({"out": np.empty((2, 3), np.float32)}, r"out must be float32 of shape \(2, 2\)"),
    ({"out": np.empty((2, 2))}, "is float64"),
    ({"out": np.empty((2, 4), np.float32)[:, ::2]}, "with contiguous samples"),
    ({"threads": 0}, "threads must be a whole number of at least 1, not 0"),
])  # fmt: skip
def test_refusals(given: dict[str, object], said: str) -> None:
    kwargs = {"payload": bytes(12), "kind": "int24", "n_channels": 2, "scale": 1.0} | given
    with pytest.raises(ValueError, match=said):
        counts_to_float(**kwargs)  # type: ignore[arg-type]


def test_out_of_a_single_sample() -> None:
    assert counts_to_float(bytes(6), "int24", 2, scale=1.0, out=np.ones((2, 1), np.float32)).tolist() == [[0.0], [0.0]]
