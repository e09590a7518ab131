"""What a stream takes: contiguous float32 or float64 ``[rows, n]``, nothing converted on the way."""

from __future__ import annotations

from typing import Any, NoReturn

from numpy.typing import NDArray


def refuse(x: NDArray[Any], what: str) -> NoReturn:
    """Say that the dtype of a block is none that is compiled for."""
    raise ValueError(f"{what}: a block must be float32 or float64, is {x.dtype}")
