"""A stream in pieces of one length, whatever the blocks it comes in: what is decided piece by piece cannot show the cuts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Piece:
    """float32[rows, n] and the time base of its first sample, as `Block` has it."""

    x: Samples
    anchor_ns: int
    index: int
    rate_num: int
    rate_den: int
    historical: bool

    def time_ns(self, i: int) -> int:
        """Time of sample ``i``, which may lie outside the piece."""
        return self.anchor_ns + (self.index + i) * self.rate_den * NS // self.rate_num


class Pieces:
    """Cuts the samples of ``rows`` channels into pieces of ``size``, counted from the first one or from the last `end`.

    >>> pieces = Pieces(1, 3)
    >>> blocks = [Block(np.float32([[0, 1, 2, 3]]), 0, 0, 1, 1), Block(np.float32([[4, 5]]), 0, 4, 1, 1)]
    >>> [p.x.tolist() for b in blocks for p in pieces.push(b)]
    [[[0.0, 1.0, 2.0]], [[3.0, 4.0, 5.0]]]
    """

    def __init__(self, rows: int, size: int) -> None:
        if rows < 1 or size < 1:
            raise ValueError(f"pieces: at least one row and one sample are needed, are {rows} and {size}")
        self.rows, self.size = rows, size
        self._parts: list[Samples] = []
        self._held = 0
        self._base: tuple[int, int, int, int, bool] = (0, 0, 1, 1, False)  # of the first sample held

    def push(self, block: Block) -> list[Piece]:
        """The pieces that the block completes."""
        out, at = [], 0
        while at < block.n:
            if not self._held:
                self._base = (block.anchor_ns, block.index + at, block.rate_num, block.rate_den, block.historical)
            take = min(self.size - self._held, block.n - at)
            self._parts.append(np.asarray(block.x[:, at : at + take], np.float32))
            self._held += take
            at += take
            if self._held == self.size:
                out.append(self._cut())
        if self._parts and self._held:  # the block's own memory is not kept
            self._parts = [np.concatenate(self._parts, axis=1)]
        return out

    def _cut(self) -> Piece:
        x = np.ascontiguousarray(np.concatenate(self._parts, axis=1))
        self._parts, self._held = [], 0
        return Piece(x, *self._base)

    def end(self) -> list[Piece]:
        """What is held of a piece that is not whole, which ends here; nothing if nothing is."""
        return [self._cut()] if self._held else []

    def save(self) -> dict[str, Any]:
        held = np.concatenate(self._parts, axis=1).tobytes() if self._held else b""
        return {"held": held, "base": list(self._base)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `save` gave; StateError where it does not fit."""
        try:
            held = np.frombuffer(bytes(state["held"]), np.float32)
            anchor, index, num, den, historical = state["base"]
            base = (int(anchor), int(index), int(num), int(den), bool(historical))
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"pieces: saved state is damaged: {error}") from error
        if held.size % self.rows or held.size >= self.rows * self.size or base[2] < 1:
            raise StateError(f"pieces: saved state has {held.size} samples, not fewer than {self.size} of {self.rows} rows")
        self._base, self._held = base, held.size // self.rows
        self._parts = [held.reshape(self.rows, -1).copy()] if held.size else []
