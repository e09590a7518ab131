"""Time columns: text or numbers -> UTC nanoseconds -> a rate and the pieces between the gaps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

NS = 1_000_000_000
IRREGULAR = 0.02  # a larger share of steps that are no interval: the channel has none

_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": NS, "sec": NS, "min": 60 * NS, "h": 3600 * NS}
_STAMP = re.compile(r"(\d+)([-./])(\d+)\2(\d+)[T ]+(\d+):(\d+)(?::(\d+)(?:[.,](\d+))?)?\s*(Z|UTC|[+-]\d\d:?\d\d)?", re.I)


def parse(
    cells: Any, name: str = "", unit: str = "", day_first: bool | None = None, time_format: str | None = None
) -> NDArray[np.int64]:
    """A time column as int64 nanoseconds since 1970, UTC where no zone is said.

    Text is ``time_format``, or year-month-day, or day.month.year, or with slashes what ``day_first`` says. Numbers are
    in the unit of the column's header, otherwise seconds; 1e11, 1e14 and 1e17 and above are ms, us and ns since 1970.
    """
    if isinstance(cells, np.ndarray) and cells.dtype == np.int64 and name == "time":
        return cells
    if not (isinstance(cells, list) and time_format is not None) and (isinstance(cells, np.ndarray) or is_number(cells[0])):
        return _from_numbers(numbers(cells, name), name, unit)
    ordered = [_stamp(cell, i, day_first, time_format) for i, cell in enumerate(cells)]
    return np.array(ordered, np.int64)


def _from_numbers(values: NDArray[np.float64], name: str, unit: str) -> NDArray[np.int64]:
    if not np.all(np.isfinite(values)):
        i = int(np.argmin(np.isfinite(values)))
        raise ValueError(f"time must be finite, is {values[i]} in row {i + 2}")
    size = float(np.max(np.abs(values)))
    suffix = re.search(r"[_ ](ns|us|ms|s)$", name)
    word = unit or (suffix[1] if suffix else "")
    if word in _UNITS:
        factor = _UNITS[word]
    elif word:
        raise ValueError(f"the unit of time must be one of {', '.join(_UNITS)}, is {word!r}")
    else:
        factor = next(f for bound, f in ((1e17, 1), (1e14, 1_000), (1e11, 1_000_000), (-1.0, NS)) if size >= bound)
    whole = np.floor(values)  # apart, so that seconds since 1970 keep their fraction
    return whole.astype(np.int64) * factor + np.rint((values - whole) * factor).astype(np.int64)


def _stamp(cell: Any, i: int, day_first: bool | None, time_format: str | None) -> int:
    """One stamp, in nanoseconds; ``i`` for the message."""
    text = str(cell).strip()
    if time_format is not None:
        try:
            return instant(datetime.strptime(text, time_format))
        except ValueError as error:
            raise ValueError(f"time in row {i + 2} must be {time_format!r}, is {text!r}") from error
    found = _STAMP.fullmatch(text)
    if found is None:
        raise ValueError(f"time in row {i + 2} must be a date and a time (or see time_format), is {text!r}")
    a, mark, b, c, hour, minute, second, fraction, zone = found.groups()
    if len(a) == 4:
        year, month, day = (a, c, b) if day_first else (a, b, c)
    elif mark == "." or day_first:
        year, month, day = c, b, a
    elif day_first is None:
        raise ValueError(f"day_first must be given: which of {a} and {b} is the day in {text!r}?")
    else:
        year, month, day = c, a, b
    try:
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0), tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"time in row {i + 2} must be a date and a time, {error}, is {text!r}") from error
    offset_s = 0
    if zone and zone[0] in "+-":
        offset_s = (int(zone[1:3]) * 3600 + int(zone[-2:]) * 60) * (1 if zone[0] == "+" else -1)
    return (int(moment.timestamp()) - offset_s) * NS + int((fraction or "0").ljust(9, "0")[:9])


def instant(moment: int | str | datetime) -> int:
    """UTC nanoseconds of an instant; no zone is UTC.

    >>> instant("1970-01-01T00:00:01.5"), instant(7)
    (1500000000, 7)
    """
    if isinstance(moment, str):
        return _stamp(moment, -1, None, None) if _STAMP.fullmatch(moment.strip()) else _refused(moment)
    if isinstance(moment, datetime):
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        whole = moment.replace(microsecond=0)
        return int(whole.timestamp()) * NS + moment.microsecond * 1000
    return int(moment)


def _refused(moment: str) -> int:
    raise ValueError(f"t0: must be a date and a time such as 2022-04-11T08:36:24.897, is {moment!r}")


def pieces(t_ns: NDArray[np.int64], rate_hz: float | None = None) -> tuple[float | None, list[tuple[int, int]]]:
    """The rate, and the gap-free pieces as half-open ranges of samples; rate None: irregular, one piece.

    The interval is the median step; a step further than half an interval from it is a gap. The rate is the mean over
    the longest piece, and the nearest round figure where that moves no sample of the piece by half an interval::

        step   |  |  |  |        |  |  |  |       median step d
               piece 0    gap    piece 1          gap: |step - d| > d / 2
    """
    n = len(t_ns)
    steps = np.diff(t_ns)
    if np.any(steps < 0) or (rate_hz is None and np.any(steps == 0)):
        i = int(np.argmax(steps < 0 if np.any(steps < 0) else steps == 0)) + 1
        raise ValueError(
            f"time must rise, does not in row {i + 2}" + ("" if np.any(steps < 0) else ": stamps too coarse, give rate_hz")
        )
    if n < 2:
        if rate_hz is None:
            raise ValueError(f"rate_hz must be given for {n} samples")
        return rate_hz, [(0, n)]
    interval = NS / rate_hz if rate_hz is not None else float(np.median(steps))
    off = np.abs(steps - interval) > interval / 2
    if rate_hz is not None:
        off = steps > max(1.5 * interval, 2.0 * float(np.median(steps)))  # coarse stamps may repeat
    if rate_hz is None and off.sum() > max(1.0, IRREGULAR * len(steps)):
        return None, [(0, n)]
    edges = [0, *(np.nonzero(off)[0] + 1).tolist(), n]
    found = list(pairwise(edges))
    return (rate_hz if rate_hz is not None else _rate(t_ns, found)), found


def _rate(t_ns: NDArray[np.int64], found: Sequence[tuple[int, int]]) -> float:
    a, b = max(found, key=lambda p: p[1] - p[0])
    if b - a < 2:
        raise ValueError("rate_hz must be given: every sample stands alone between gaps")
    interval_s = float(t_ns[b - 1] - t_ns[a]) / (b - a - 1) / NS
    for digits in (0, 1, 2, 3, 4):
        for rate in (round(1.0 / interval_s, digits), 1.0 / (round(interval_s, digits) or 1e-9)):
            if rate > 0 and abs(1.0 / rate - interval_s) * (b - a - 1) < interval_s / 2:
                return rate
    return 1.0 / interval_s


def is_number(cell: Any) -> bool:
    """Whether a cell is a number."""
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def numbers(cells: Any, what: str) -> NDArray[Any]:
    """A column as float32 (where it is) or float64; an empty cell is NaN."""
    if isinstance(cells, np.ndarray):
        if cells.dtype.kind not in "fiub":
            raise ValueError(f"{what} must be numbers, is {cells.dtype}")
        return np.ascontiguousarray(cells, np.float32 if cells.dtype == np.float32 else np.float64)
    try:
        return np.array([cell or "nan" for cell in cells], np.float64)
    except ValueError:
        i = next(i for i, cell in enumerate(cells) if cell and not is_number(cell))
        raise ValueError(f"{what} in row {i + 2} must be a number, is {cells[i]!r}") from None


def decode(data: bytes) -> str:
    """Text of a file that does not say how it is encoded: UTF-8, else Latin-1."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
