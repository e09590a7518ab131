"""Every word of every saved state set to every number at which counting breaks: what a blind mutation meets once in a while.

::

    python -m tests.fuzz.sweep                    # all classes, the package as it is built: no sanitizers, a few minutes
    python -m tests.fuzz.sweep --only rainflow --most 2000

A state in bytes has its words overwritten, 8, 4 and 1 bytes wide; a state that is a map has each of its numbers, texts and
lists replaced, and the words of the bytes in it. What then loads is pushed to three times, and its own state must load.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np

from tests.fuzz import drive
from tests.fuzz.entries import Entry
from tests.fuzz.states import TABLE, Kept, Packed

WHOLE = (0, 1, 2, 255, (1 << 16) - 1, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 52, (1 << 53) + 1,
         (1 << 62) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 2, (1 << 64) - 1)  # fmt: skip
REAL = (float("nan"), float("inf"), float("-inf"), 1.7e308, -1.7e308, 5e-324, -0.0, 3.5e38)


def words(state: bytes) -> Iterator[bytes]:
    for width, code in ((8, "<d"), (4, "<f")):
        values = [(v & ((1 << 8 * width) - 1)).to_bytes(width, "little") for v in WHOLE]
        with np.errstate(over="ignore"):
            values += [np.array(v).astype(code).tobytes() for v in REAL]
        for at in range(0, len(state) - width + 1, width if width == 8 else 4):
            yield from (state[:at] + v + state[at + width :] for v in dict.fromkeys(values))
    for at in range(min(len(state), 64)):
        yield from (state[:at] + bytes([v]) + state[at + 1 :] for v in (0, 1, 127, 128, 255))


def changed(value: Any) -> Iterator[Any]:
    """The same value with one thing in it another one."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from ({**value, key: v} for v in changed(inner))
            yield {k: v for k, v in value.items() if k != key}
    elif isinstance(value, list | tuple):
        yield from ([*value[:i], v, *value[i + 1 :]] for i, inner in enumerate(value) for v in changed(inner))
        yield from ([], [*value, *value], [*value, None], None, 0)
    elif isinstance(value, bytes):
        yield from words(value)
        yield from (b"", value + bytes(8), value[:-8], None)
    elif isinstance(value, bool) or value is None:
        yield from (None, True, False, 0, 1, "")
    elif isinstance(value, int | float):
        yield from (v for v in (*WHOLE, -1, -(1 << 62), -(1 << 63), *REAL, None, "", []))
    else:
        yield from ("", "x" * 1000, None, 0)


def inputs(kept: Kept) -> Iterator[bytes]:
    """Damaged states of a class, the last of its seeds first: there most has happened."""
    for state in reversed(kept.seeds(np.random.default_rng(1))):
        if isinstance(kept.make(), Packed):
            yield from map(msgpack.packb, changed(msgpack.unpackb(state)))
        else:
            yield from words(state)


def sweep(kept: Kept, most: int) -> Entry:
    """The sweep as an entry of the fuzz, whose seeds are all there is; of more than ``most`` an even share."""
    def seeds(_rng: np.random.Generator) -> list[bytes]:
        step = max(1, sum(1 for _ in inputs(kept)) // most)
        return list(dict.fromkeys(itertools.islice(inputs(kept), 0, None, step)))

    return Entry(f"sweep {kept.name}", seeds, kept.run, wraps=True)


def main() -> int:
    ask = argparse.ArgumentParser(description="Every word of every saved state, at every edge.")
    ask.add_argument("--only", default="", help="the classes whose name holds this")
    ask.add_argument("--most", type=int, default=20_000, help="damaged states of a class")
    given = ask.parse_args()
    drive.KEPT.mkdir(parents=True, exist_ok=True)
    entries = [sweep(kept, given.most) for kept in TABLE if given.only in kept.name]
    broken = drive.fuzz_all(entries, 0.0, 1, os.cpu_count() or 1, 0, 1)
    print(f"sweep: {len(entries)} classes, broken: {', '.join(broken) or 'none'}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
