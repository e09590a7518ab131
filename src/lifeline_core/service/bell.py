"""One thread wakes another that sleeps in a poll: a file descriptor that becomes readable."""

from __future__ import annotations

import contextlib
import os


class Bell:
    """Rung by any thread, any number of times; the owner polls `fileno` and clears it. Rings are not counted."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._rung = False

    def fileno(self) -> int:
        return self._read

    def ring(self) -> None:
        """Make `fileno` readable. A bell that was rung and not yet cleared is not rung twice."""
        if not self._rung:
            self._rung = True
            # Full: it is readable anyhow. Closed: nobody listens any more.
            with contextlib.suppress(OSError):
                os.write(self._write, b"\0")

    def clear(self) -> None:
        """Before looking at what it announced, never after: a ring in between must not be lost."""
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._read, 512)) == 512:
                pass
        self._rung = False

    def close(self) -> None:
        self._rung = True
        os.close(self._write)
        os.close(self._read)
