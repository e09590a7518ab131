"""The service as a process of its own: what signals mean to it, and what it tells systemd.

    SIGTERM, SIGINT   stop reading, work the journal off, save, leave with 0
    SIGHUP            read the configuration again; one with faults changes nothing and is told line by line
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from lifeline_core.config import load_city
from lifeline_core.errors import ConfigError
from lifeline_core.model import City
from lifeline_core.service.service import Service
from lifeline_core.service.systemd import Systemd

LOOK_S = 0.2


def serve(
    city: City,
    *,
    receiver: str = "auto",
    ready: Callable[[Service], None] | None = None,
    config: str | os.PathLike[str] | None = None,
) -> int:
    """Run until SIGTERM or SIGINT; 0 then, 1 when the service ended by itself.

    ``ready`` is called once it runs; ``config`` is the file that SIGHUP reads again. Raises what `Service.start` raises.
    """
    service, systemd = Service(city, receiver=receiver), Systemd()
    stopped, again = threading.Event(), threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    def reload(_number: int, _frame: FrameType | None) -> None:
        again.set()

    _more_files()
    sys.setswitchinterval(0.0002)  # a thread that holds the interpreter must not hold up the one that reads
    wanted = {signal.SIGTERM: stop, signal.SIGINT: stop} | ({signal.SIGHUP: reload} if config is not None else {})
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        with service:
            if ready is not None:
                ready(service)
            systemd.say("READY=1")
            while not stopped.is_set() and not service.ended.is_set():
                stopped.wait(LOOK_S)
                if again.is_set() and config is not None:
                    again.clear()
                    systemd.say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
                    read_again(service, Path(config))
                    systemd.say("READY=1")
                systemd.feed(service.rounds())
            systemd.say("STOPPING=1")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 1 if service.failure else 0


def _more_files() -> None:
    """As many open files as the system lets this process have: a connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def read_again(service: Service, config: Path) -> bool:
    """The configuration of a file in the place of the one that runs; False, and nothing changed, where it has faults."""
    try:
        city = load_city(config)
    except ConfigError as error:
        service.reloads_refused += 1
        for k, fault in enumerate(error.faults):
            service.log.error(f"configuration-refused-{k}", fault=fault)
        return False
    service.reload(city)
    return True
