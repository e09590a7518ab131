"""What malloc and Python hold in this process, without what lies free within it."""

from __future__ import annotations

import ctypes
import sys

NAMES = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _Mallinfo(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_size_t) for name in NAMES)


def in_use() -> tuple[int, int]:
    """(bytes that were asked of malloc and not given back, blocks of Python's own allocator); OSError where libc does not tell."""
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2  # glibc 2.33; the one before it counts in int
    except AttributeError:
        raise OSError("the C library has no mallinfo2") from None
    mallinfo.restype = _Mallinfo
    found = mallinfo()
    return found.uordblks + found.hblkhd, sys.getallocatedblocks()
