"""What the disk itself takes for a sync, beside whatever else is measured: no alarm is published sooner than that."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import TracebackType

BYTES = 4096


class Probe(threading.Thread):
    """An fdatasync of one page that is written over, so often a second until the end of a with; ``ms`` of each."""

    def __init__(self, folder: Path, per_s: float) -> None:
        super().__init__(name="disk", daemon=True)
        self.ms: list[float] = []
        self._path, self._every_s, self._ended = folder / "probe", 1.0 / per_s, threading.Event()

    def run(self) -> None:
        with self._path.open("wb", buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, BYTES)
            os.fsync(file.fileno())
            while not self._ended.wait(self._every_s):
                os.pwrite(file.fileno(), os.urandom(BYTES), 0)
                began = time.perf_counter()
                os.fdatasync(file.fileno())
                self.ms.append((time.perf_counter() - began) * 1e3)

    def __enter__(self) -> Probe:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self.join()
