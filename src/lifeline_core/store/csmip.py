"""CSMIP Volume 2: corrected strong-motion records of one channel as fixed-width text.

A record holds acceleration, velocity and displacement one after the other, each behind a line such as
`` 11346 points of accel data equally spaced at 0.010 sec, in cm/sec2. (8f10.5)``; numbers stand in fields of that width
without a space between them.

Source: CSMIP (Shakal and Huang, 1985), Standard tape format for CSMIP strong-motion data tapes, OSMS 85-03.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

QUANTITIES = {"acceleration": "accel", "velocity": "veloc", "displacement": "displ"}
_UNITS = {"cm/sec2": "cm/s2", "cm/sec": "cm/s"}
_SECTION = re.compile(
    r"\s*(\d+) points of (accel|veloc|displ)\w* data equally spaced at\s*([\d.]+) sec,"
    r"\s*in ([\w/]+?)\.?\s+\((\d+)f(\d+)\.\d+\)"
)
_CHANNEL = re.compile(r"Chan\s*(\d+)")
_START = re.compile(r"Start time:\s*(\d+)/(\d+)/(\d+),\s*(\d+):\s*(\d+):\s*([\d.]+)\s*UTC")


@dataclass(frozen=True, slots=True)
class Trace:
    """One quantity of one record; ``start`` is ISO 8601 text in UTC, None where the header has none."""

    channel: int
    unit: str
    rate_hz: float
    start: str | None
    x: NDArray[np.float64]


def parse(text: str, quantity: str = "acceleration") -> Trace:
    """One quantity of a ``.V2`` text.

    Raises
    ------
    ValueError
        For another quantity than these three, another format, or fewer numbers than announced.
    """
    if quantity not in QUANTITIES:
        raise ValueError(f"key must be one of {', '.join(QUANTITIES)}, is {quantity!r}")
    lines = text.splitlines()
    heads = [(i, found) for i, line in enumerate(lines) if (found := _SECTION.match(line)) and found[2] == QUANTITIES[quantity]]
    channel = next((found for line in lines[:10] if (found := _CHANNEL.search(line))), None)
    if not heads or channel is None:
        raise ValueError(f"must be a CSMIP V2 record with {quantity}, has {'no channel number' if heads else 'no such section'}")
    i, head = heads[0]
    n, interval_s, per_line, width = int(head[1]), float(head[3]), int(head[5]), int(head[6])
    body = "".join(line[: per_line * width].ljust(per_line * width) for line in lines[i + 1 : i + 1 + -(-n // per_line)])
    cells = [body[k * width : (k + 1) * width] for k in range(n)]
    if n == 0 or not interval_s > 0 or not all(cell.strip() for cell in cells):
        raise ValueError(f"must hold {n} numbers {interval_s} s apart, holds {sum(bool(c.strip()) for c in cells)}")
    return Trace(int(channel[1]), _UNITS.get(head[4], head[4]), 1.0 / interval_s, _start(lines), np.array(cells, np.float64))


def _start(lines: list[str]) -> str | None:
    found = next((f for line in lines[:20] if (f := _START.search(line))), None)
    if found is None:
        return None
    month, day, year, hour, minute, second = found.groups()
    full = int(year) + (1900 if int(year) >= 70 else 2000) if len(year) == 2 else int(year)
    return f"{full:04d}-{int(month):02d}-{int(day):02d}T{int(hour):02d}:{int(minute):02d}:{float(second):09.6f}"
