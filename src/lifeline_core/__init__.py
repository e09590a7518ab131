"""The signal core of a city's lifeline safety platform: raw sensor frames in, graded alarms out."""

from __future__ import annotations

import os
import platform
import sys

from lifeline_core import isa as _isa_names
from lifeline_core.version import __version__

__all__ = ["__version__", "show_config"]

_ISA = _isa_names.check()


def show_config() -> None:
    """Print versions, the instruction set in use and the threads there are.

    Set ``LIFELINE_ISA`` to ``baseline``, ``avx2`` or ``avx512`` before the start to force an instruction set.
    """
    from importlib.metadata import version

    print(f"lifeline-core {__version__}")
    print(f"python {sys.version.split()[0]} on {platform.system()} {platform.machine()}")
    print(f"instruction set {_ISA} (of {', '.join(_isa_names.NAMES)})")
    print(f"threads {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}")
    print(", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "pyzmq", "msgpack", "msgspec", "apsw", "pyarrow")))
