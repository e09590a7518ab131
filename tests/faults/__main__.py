"""``make faults``: every fault, long; ``--short`` what CI runs.

::

    python -m tests.faults [--short] [kills calls errors soak crowd ...]
    python -m tests.faults soak --seconds 1800
    python -m tests.faults crowd --devices 10000 --seconds 60
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from tests.faults.course import Broken
from tests.faults.crowd import crowd
from tests.faults.kills import CALLS, at_calls, errors, kills, strace_works
from tests.faults.soak import soak

asked = argparse.Namespace(seconds=None, devices=None)


def tell(text: str) -> None:
    print(f"  {text}", flush=True)


def _kills(short: bool) -> object:
    return kills(4 if short else 200, 20261123, tell)


def _calls(short: bool) -> object:
    if why := strace_works():
        return f"SKIPPED: {why}"
    if short:
        return {call: at_calls(call, tell, first=n, most=n) for call, n in (("write", 24), ("fdatasync", 5), ("rename", 2))}
    return {call: at_calls(call, tell) for call in CALLS}


def _errors(short: bool) -> object:
    if why := strace_works():
        return f"SKIPPED: {why}"
    if short:
        return errors(tell, {"ENOSPC": ("write",), "EIO": ("fdatasync",)}, (3,))
    return errors(tell)


def _soak(short: bool) -> object:
    return soak(asked.seconds or (60.0 if short else 1800.0), tell, devices=asked.devices or 16)


def _crowd(short: bool) -> object:
    return crowd(asked.devices or (1000 if short else 10_000), asked.seconds or (10.0 if short else 60.0), tell)


PROOFS: dict[str, Callable[[bool], object]] = {"kills": _kills, "calls": _calls, "errors": _errors, "soak": _soak, "crowd": _crowd}


def main() -> int:
    ask = argparse.ArgumentParser(description="Faults done to the running service, and what must hold after each.")
    ask.add_argument("which", nargs="*", choices=[[], *PROOFS], help="by default all")
    ask.add_argument("--short", action="store_true", help="a few of each: what CI runs")
    ask.add_argument("--seconds", type=float, help="of soak and crowd, in place of their own")
    ask.add_argument("--devices", type=int, help="of soak and crowd, in place of their own")
    given = ask.parse_args(namespace=asked)
    failed = 0
    for name in given.which or PROOFS:
        began = time.monotonic()
        print(f"faults: {name}", flush=True)
        try:
            said = PROOFS[name](given.short)
        except Broken as error:
            failed += 1
            said = f"BROKEN: {error}"
        print(f"faults: {name}: {said}, {time.monotonic() - began:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
