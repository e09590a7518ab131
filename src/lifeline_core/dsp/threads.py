"""Work shared out over threads: contiguous parts, so that the numbers do not depend on how many there are."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any


def thread_count(threads: Any) -> int:
    """threads as an int; ValueError unless it is a whole number of at least 1."""
    if isinstance(threads, bool) or int(threads) != threads or threads < 1:
        raise ValueError(f"threads must be a whole number of at least 1, not {threads!r}")
    return int(threads)


def shared(work: Callable[[int, int], Any], n: int, threads: int, unit: int = 1) -> list[Any]:
    """work(begin, end) over 0 .. n in at most ``threads`` contiguous parts, borders at multiples of ``unit``.

    The caller's thread does one of the parts; with one part no thread is made.

    Raises
    ------
    ValueError
        threads is not a whole number of at least 1.
    """
    asked = thread_count(threads)
    if n == 0:
        return []
    count = min(asked, -(-n // unit))
    border = [min(n, -(-n * i // (count * unit)) * unit) for i in range(count + 1)]
    parts = [(a, b) for a, b in pairwise(border) if b > a]
    if len(parts) == 1:
        return [work(*parts[0])]
    with ThreadPoolExecutor(len(parts) - 1) as pool:
        rest = [pool.submit(work, *part) for part in parts[1:]]
        return [work(*parts[0]), *(r.result() for r in rest)]
