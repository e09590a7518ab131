"""The keeper: a thread that writes snapshots beside everything else, for a disk may take its time.

::

    engine:  open(position)  put  put .. put  close
    desk:                                          keep, behind the alarms that led to it
    keeper:                  write .. write .. write    sync, rename  ->  done(journal position to release)

What is killed on the way leaves the snapshots there were.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path
from queue import SimpleQueue

from lifeline_core.service.memory import give_back
from lifeline_core.store.snapshot import Draft

AHEAD_BYTES = 4 << 20  # not yet written: past that, gathering waits
GIVE_BACK_S = 10.0

Done = Callable[[int | None, str], None]


class Order(Enum):
    CLOSE = auto()
    KEEP = auto()
    DROP = auto()
    END = auto()


class Keeper(threading.Thread):
    """Runs until `finish`; ``done`` is called by it with what `Draft.commit` said, or with None and why there is no snapshot."""

    def __init__(self, directory: Path, done: Done) -> None:
        super().__init__(name="snapshots", daemon=True)
        self._directory, self._done = directory, done
        self._orders: SimpleQueue[int | bytes | Order] = SimpleQueue()
        self._given = self._taken = 0  # bytes
        self._draft: Draft | None = None
        self._whole: deque[Draft | str] = deque()  # closed; or why it could not be written
        self._gave_back = time.monotonic()

    # -- from other threads ---------------------------------------------------------------------------------------

    def open(self, position: int) -> None:
        """A snapshot at this journal position begins."""
        self._orders.put(position)

    def put(self, part: bytes) -> None:
        """More of its state. It is taken whether the keeper is `behind` or not."""
        self._given += len(part)
        self._orders.put(part)

    def behind(self) -> bool:
        """Whether the disk should be waited for."""
        return self._given - self._taken > AHEAD_BYTES

    def close(self) -> None:
        """That was its state."""
        self._orders.put(Order.CLOSE)

    def drop(self) -> None:
        """The one that is open is not wanted after all."""
        self._orders.put(Order.DROP)

    def keep(self) -> None:
        """Every alarm that led to the oldest closed one is safe: make it the newest there is."""
        self._orders.put(Order.KEEP)

    def finish(self) -> None:
        self._orders.put(Order.END)

    # -- the thread -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        trouble = ""
        while (order := self._orders.get()) is not Order.END:
            try:
                if isinstance(order, int):
                    trouble, self._draft = "", Draft(self._directory, order)
                elif isinstance(order, bytes):
                    self._taken += len(order)
                    if self._draft is not None:
                        self._draft.write(order)
                elif order is Order.KEEP:
                    self._keep(self._whole.popleft())
                else:
                    draft, self._draft = self._draft, None
                    if order is Order.CLOSE:
                        self._whole.append(draft or trouble)
                    elif draft is not None:
                        draft.discard()
            except Exception as error:  # the disk, mostly: the next snapshot tries again
                trouble, self._draft = str(error) or repr(error), None
        for left in (self._draft, *self._whole):
            if isinstance(left, Draft):
                left.discard()

    def _keep(self, whole: Draft | str) -> None:
        recoverable, trouble = None, ""
        try:
            if isinstance(whole, Draft):
                recoverable = whole.commit()
            else:
                trouble = whole
        except Exception as error:
            trouble = str(error) or repr(error)
        self._done(recoverable, trouble)
        if time.monotonic() - self._gave_back >= GIVE_BACK_S:  # here, because this thread has time
            give_back()
            self._gave_back = time.monotonic()
