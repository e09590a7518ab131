"""Memory that is free within the process goes back to the system.

The C library keeps what a thread gave back for that thread's next need, in an arena of its own; a capture's megabytes, needed
once, so stay with a thread that may never need them again. Nothing is lost by it, but it looks like growth, and is no use.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

Trim = Callable[[int], int]


def find_trim() -> Trim | None:
    """glibc's malloc_trim; None where the C library is another."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    found: Trim = trim
    return found


_trim = find_trim()


def give_back() -> bool:
    """Whether any was given. It takes some milliseconds, without the interpreter's lock, of one arena after the other."""
    return _trim is not None and bool(_trim(0))
