"""CSMIP ``.V2`` strong-motion text, as the California network publishes it: corrected acceleration of one channel."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

_POINTS = re.compile(r"^ *(\d+) points of accel data equally spaced at +(\d*\.\d+) sec, in (cm/sec2|g)\b.*\((\d+)f(\d+)\.\d+\)")
_CHANNEL = re.compile(r"Chan +(\d+): *(\S.*?)? {2,}")
_SCALE = {"cm/sec2": 0.01, "g": 9.80665}


def parse_v2(text: str) -> dict[str, Any]:
    """Channel number, title, time step and acceleration of one file.

    Parameters
    ----------
    text : the whole file.

    Returns
    -------
    dict with ``channel`` (int), ``title`` (str), ``dt_s`` (float) and ``acceleration`` (float32[n], m/s2).

    Raises
    ------
    ValueError
        Where the header names no channel, or the data section is missing or short.
    """
    lines = text.splitlines()
    head = next((found for line in lines[:25] if (found := _CHANNEL.search(line + "  "))), None)
    if head is None:
        raise ValueError("V2: a line of the header must name the channel (Chan n:), none does")
    at, section = next(((i, found) for i, line in enumerate(lines) if (found := _POINTS.match(line))), (0, None))
    if section is None:
        raise ValueError("V2: a line '<n> points of accel data equally spaced at ..' must begin the data, none does")
    n, per_line, width = int(section[1]), int(section[4]), int(section[5])
    rows = lines[at + 1 : at + 1 + -(-n // per_line)]
    fields = [line[k : k + width] for line in rows for k in range(0, per_line * width, width)][:n]
    values = [float(field) for field in fields if field.strip()]
    if len(values) != n:
        raise ValueError(f"V2: {n} values are announced, {len(values)} are there")
    title = next((line.split("CGS")[0].strip() for line in lines[:25] if "CGS" in line and "Data:" in line), "")
    return {
        "channel": int(head[1]),
        "title": title,
        "dt_s": float(section[2]),
        "acceleration": (np.array(values) * _SCALE[section[3]]).astype(np.float32),
    }
