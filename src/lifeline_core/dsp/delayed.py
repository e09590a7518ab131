"""Where samples belong that come out of something later than they went in: the blocks they came with, without their samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from lifeline_core.errors import StateError
from lifeline_core.model import Block

VERSION = 1
_NOTHING = np.empty((0, 0), np.float32)


class Delayed:
    """Blocks in, as many samples out in the same order, each at its own time and under its own flags."""

    def __init__(self) -> None:
        self._heads: list[tuple[Block, int]] = []  # a block without samples, and how many of them are still to come

    def put(self, block: Block) -> None:
        """Samples of a block went in."""
        if self._heads and _goes_on(*self._heads[-1], block):
            head, n = self._heads[-1]
            t_ns = None if head.t_ns is None or block.t_ns is None else np.concatenate((head.t_ns, block.t_ns))
            self._heads[-1] = replace(head, t_ns=t_ns), n + block.n
        else:
            self._heads.append((replace(block, x=_NOTHING), block.n))

    def take(self, x: NDArray[np.float32]) -> Iterator[Block]:
        """Samples that came out, as blocks."""
        at = 0
        while at < x.shape[1]:
            head, left = self._heads[0]
            n = min(left, x.shape[1] - at)
            now, later = (None, None) if head.t_ns is None else (head.t_ns[:n], head.t_ns[n:])
            out = replace(head, x=np.ascontiguousarray(x[:, at : at + n]), t_ns=now)
            if n == left:
                del self._heads[0]
            else:
                self._heads[0] = replace(head, index=head.index + n, t_ns=later), left - n
            at += n
            yield out

    def clear(self) -> None:
        """Nothing more comes out of what went in."""
        self._heads = []

    def save(self) -> bytes:
        rows = [[n, b.anchor_ns, b.index, b.rate_num, b.rate_den, None if b.t_ns is None else b.t_ns.tobytes(), list(b.skew_s),
                 b.flags, b.clock_sd_us] for b, n in self._heads]
        packed: bytes = msgpack.packb([VERSION, rows])
        return packed

    def load(self, state: bytes) -> None:
        """Take what `save` gave; StateError where it is none."""
        try:
            version, rows = msgpack.unpackb(state)
            if version != VERSION:
                raise ValueError(f"of version {version}")
            self._heads = [(_block(row), int(row[0])) for row in rows]
        except Exception as error:
            raise StateError(f"delayed samples: saved state is damaged, {error}") from error


def _block(row: list[Any]) -> Block:
    n, anchor, index, num, den, times, skew, flags, sd = row
    t_ns = None if times is None else np.frombuffer(times, np.int64).copy()
    sound = all(type(v) is int for v in (n, anchor, index, num, den, flags, sd))
    if not sound or n < 1 or num < 1 or den < 1 or (t_ns is not None and len(t_ns) != n):
        raise ValueError(f"it has a block of {n} samples at {num}/{den} Hz")
    return Block(_NOTHING, anchor, index, num, den, t_ns, tuple(skew), flags, sd)


def _goes_on(a: Block, n: int, b: Block) -> bool:
    same = (a.flags, a.clock_sd_us, a.skew_s, a.anchor_ns, a.rate_num, a.rate_den) == \
        (b.flags, b.clock_sd_us, b.skew_s, b.anchor_ns, b.rate_num, b.rate_den)
    return same and (a.t_ns is not None if b.t_ns is not None else a.t_ns is None and a.index + n == b.index)
