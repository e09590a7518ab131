"""Whose a frame is: the few header fields a client needs of frames it was given as bytes."""

from __future__ import annotations

from typing import NamedTuple

from lifeline_core import wire


class Stream(NamedTuple):
    device: int
    channel: int
    epoch: int


class Head(NamedTuple):
    """What a client has to know of a frame it was given as bytes."""

    type: int
    stream: Stream
    seq: int
    t0_ns: int


def head(frame: bytes) -> Head:
    """The identity in a frame's header; ValueError where there is no LLF1 header."""
    if len(frame) < wire.HEADER_LEN or frame[:4] != wire.MAGIC:
        raise ValueError(
            f"a frame begins with LLF1 and has {wire.HEADER_LEN} bytes or more, got {len(frame)}: {frame[:4]!r}"
        )

    def number(offset: int, size: int) -> int:
        return int.from_bytes(frame[offset : offset + size], "little")

    return Head(frame[5], Stream(number(8, 4), number(12, 2), number(16, 4)), number(24, 8), number(40, 8))
