"""The service as a process of its own: what signals mean to it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from lifeline_core.model import City
from lifeline_core.service.service import Service


def serve(city: City, *, receiver: str = "auto", ready: Callable[[Service], None] | None = None) -> int:
    """Run until SIGTERM or SIGINT; 0 then, 1 when the service ended by itself. ``ready`` is called once it runs.

    Raises what `Service.start` raises.
    """
    service = Service(city, receiver=receiver)
    asked = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    sys.setswitchinterval(0.0002)  # a thread that holds the interpreter must not hold up the one that reads
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with service:
            if ready is not None:
                ready(service)
            while not asked.is_set() and not service.ended.is_set():
                asked.wait(0.2)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 1 if service.failure else 0
