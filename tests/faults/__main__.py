"""``make faults``: every fault, long; ``--short`` what CI runs.

::

    python -m tests.faults [--short] [kills calls errors power lines devices clocks soak crowd ...]
    python -m tests.faults calls --every 1
    python -m tests.faults soak --seconds 1800
    python -m tests.faults crowd --devices 10000 --seconds 60
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from tests.faults.clocks import JUMPS_S, clocks
from tests.faults.conduct import devices
from tests.faults.course import Broken
from tests.faults.crowd import crowd
from tests.faults.kills import CALLS, at_calls, errors, kills, numbers, strace_works
from tests.faults.lines import GARBLES, lines
from tests.faults.power import full, power, power_works
from tests.faults.soak import soak

SEED = 20261123
asked = argparse.Namespace(seconds=None, devices=None, every=8)


def tell(text: str) -> None:
    print(f"  {text}", flush=True)


def _kills(short: bool) -> object:
    return kills(4 if short else 200, SEED, tell)


def _calls(short: bool) -> object:
    if why := strace_works():
        return f"SKIPPED: {why}"
    if short:
        return {call: at_calls(call, tell, [n]) for call, n in (("write", 24), ("fdatasync", 5), ("rename", 2))}
    return {call: at_calls(call, tell, numbers(asked.every)) for call in CALLS}


def _errors(short: bool) -> object:
    if why := strace_works():
        return f"SKIPPED: {why}"
    if short:
        return errors(tell, {"ENOSPC": ("write",), "EIO": ("fdatasync",)}, (3,))
    return errors(tell)


def _power(short: bool) -> object:
    if why := power_works():
        return f"SKIPPED: {why}"
    if short:
        return power("disk", 3, SEED, tell)
    cuts = {"disk": 100, "process": 30, "none": 10}
    return {"full": full(tell)} | {durability: power(durability, times, SEED, tell) for durability, times in cuts.items()}


def _lines(short: bool) -> object:
    if short:
        return {how: lines(4.0, SEED, tell, how, devices=2) for how in ("open", "keys")}
    return {how: lines(60.0, SEED, tell, how, kill_s=None if how == "garbled" else 8.0) for how in GARBLES}


def _devices(short: bool) -> object:
    return devices(8.0 if short else 120.0, SEED, tell)


def _clocks(short: bool) -> object:
    return clocks(JUMPS_S[:4] if short else JUMPS_S * 3, 1 if short else 3, SEED, tell)


def _soak(short: bool) -> object:
    return soak(asked.seconds or (60.0 if short else 1800.0), tell, devices=asked.devices or 16)


def _crowd(short: bool) -> object:
    return crowd(asked.devices or (1000 if short else 10_000), asked.seconds or (10.0 if short else 60.0), tell)


PROOFS: dict[str, Callable[[bool], object]] = {
    "kills": _kills, "calls": _calls, "errors": _errors, "power": _power, "lines": _lines, "devices": _devices, "clocks": _clocks,
    "soak": _soak, "crowd": _crowd,
}  # fmt: skip


def main() -> int:
    ask = argparse.ArgumentParser(description="Faults done to the running service, and what must hold after each.")
    ask.add_argument("which", nargs="*", choices=[[], *PROOFS], help="by default all")
    ask.add_argument("--short", action="store_true", help="a few of each: what CI runs")
    ask.add_argument("--seconds", type=float, help="of soak and crowd, in place of their own")
    ask.add_argument("--every", type=int, default=8, help="of calls: the step behind the 40th; 1 leaves none out")
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
