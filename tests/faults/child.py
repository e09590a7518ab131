"""A process that is watched from outside: what it holds, out of /proc, and how many files it may open."""

from __future__ import annotations

import contextlib
import os
import resource
from dataclasses import dataclass
from pathlib import Path

from bench.ends import End


@dataclass(frozen=True)
class Held:
    """Bytes and counts at one moment. ``own`` is what malloc and Python hold; the journal's maps are in ``files``."""

    own: int
    files: int
    shared: int
    descriptors: int
    threads: int


def held(pid: int) -> Held:
    """Raises OSError where the process is gone."""
    rows = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    said = {row[0].rstrip(":"): row[1] for row in rows if len(row) > 1}
    own, files, shared = (int(said[name]) << 10 for name in ("RssAnon", "RssFile", "RssShmem"))
    return Held(own, files, shared, len(os.listdir(f"/proc/{pid}/fd")), int(said["Threads"]))


class Child(End):
    """An `End` that can be looked at."""

    def held(self) -> Held:
        assert self._process.pid is not None
        return held(self._process.pid)


def open_files(wanted: int) -> int:
    """Raise this process's limit of open files, which its children inherit; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        with contextlib.suppress(ValueError, OSError):  # for the superuser alone
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, wanted))
            hard = wanted
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
