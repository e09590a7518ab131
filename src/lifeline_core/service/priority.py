"""Who goes first on a machine with other work: the threads that a frame and its alarm pass, where the system allows it.

Linux keeps a nice value for each thread, and a thread begins with its starter's. Whoever may not raise it (no CAP_SYS_NICE, no
RLIMIT_NICE) goes on as everybody; a unit of systemd allows it by LimitNICE.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

NICE = -10
USUAL = os.getpriority(os.PRIO_PROCESS, os.getpid())  # the process's own, as it began


@contextlib.contextmanager
def ahead() -> Iterator[bool]:
    """Threads that are started within it go ahead of others; gives whether they may."""
    before = _nice()
    allowed = _set(NICE) if before > NICE else False
    try:
        yield allowed
    finally:
        if allowed:
            _set(before)


def with_others() -> None:
    """The calling thread goes as the process began, whoever started it: what it does can wait."""
    _set(USUAL)


def _nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def _set(nice: int) -> bool:
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
    except OSError:
        return False
    return _nice() == nice
