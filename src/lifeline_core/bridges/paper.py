"""What the pictures of bridges share: the figure, colours, names that fit, numbers beside numbers that do not touch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lifeline_core.bridges.modes import Real

BLUE, RED, ORANGE = "#1f5a96", "#c0392b", "#b9770e"
DARK, GREY, LIGHT = "0.25", "0.55", "0.82"
SMALL, TINY = 8.5, 7.5  # points
MANY = 16  # channels: more have numbers below their bars
WIDTH_IN = 11.0
DPI = 110  # of a PNG that is read at 100 %


def sheet(height_in: float) -> Any:
    """An empty matplotlib Figure that lays itself out.

    Raises
    ------
    ImportError
        Without matplotlib, with the command that installs it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install lifeline-core[plot]") from error
    return Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout="constrained")


def apart(at: ArrayLike, least: float, low: float = 0.0, high: float = 1.0) -> Real:
    """Places for labels as near to ``at`` (rising) as they can be while ``least`` apart; float64, same order.

    Labels that would touch form a row about their common middle. Where the room is too small they are closer.

    >>> apart([0.1, 0.5, 0.52], 0.1).round(2).tolist()
    [0.1, 0.46, 0.56]
    """
    wanted = np.asarray(at, np.float64)
    n = len(wanted)
    least = min(least, (high - low) / max(n - 1, 1))
    rows: list[list[float]] = []  # sum of (at - k least), count
    for i, x in enumerate(wanted.tolist()):
        rows.append([x - i * least, 1.0])
        while len(rows) > 1 and rows[-2][0] / rows[-2][1] > rows[-1][0] / rows[-1][1]:
            total, count = rows.pop()
            rows[-1][0] += total
            rows[-1][1] += count
    level = np.repeat([r[0] / r[1] for r in rows], [int(r[1]) for r in rows])
    out: Real = np.clip(level, low, high - (n - 1) * least) + least * np.arange(n)
    return out


def fitted(name: str, room: int) -> str:
    """A name in at most ``room`` characters; of a long one the end, which tells channels apart.

    >>> fitted("UniBw_2022:ACC01_z", 9), fitted("a1", 9)
    ('…ACC01_z', 'a1')
    """
    if len(name) <= room:
        return name
    last = name.split(":")[-1]
    return "…" + last[-(room - 1) :] if len(last) >= room - 1 else "…" + last


def with_sd(value: float, sd: float, factor: float = 1.0) -> tuple[str, str]:
    """A figure and its standard deviation, to the deviation's second digit.

    >>> with_sd(0.89012, 0.00163), with_sd(0.0123, 0.0034, 100.0), with_sd(1.5, float("nan"))
    (('0.8901', '0.0016'), ('1.23', '0.34'), ('1.5', '–'))
    """
    value, sd = factor * value, factor * sd
    if not (math.isfinite(sd) and sd > 0.0):
        return f"{value:.4g}", "–"
    digits = min(max(0, 1 - math.floor(math.log10(sd))), 6)
    return f"{value:.{digits}f}", f"{sd:.{digits}f}"


def squared(unit: str) -> str:
    """The unit of a power.

    >>> squared("g"), squared("m/s2"), squared("")
    ('g²', '(m/s²)²', 'unit²')
    """
    word = unit.replace("s2", "s²").replace("s^2", "s²") or "unit"
    return f"{word}²" if word.isalpha() else f"({word})²"


def counted(n: int, word: str) -> str:
    """
    >>> counted(1, "mode"), counted(0, "mode")
    ('1 mode', '0 modes')
    """
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def bare(ax: Any, *sides: str) -> None:
    """Without the frame on these sides."""
    for side in sides:
        ax.spines[side].set_visible(False)


def names_below(ax: Any, names: Sequence[str], *, shown: bool) -> None:
    """Channels along the bottom; their places only where not ``shown``, numbers where there are many."""
    step = -(-len(names) // MANY)
    at = list(range(0, len(names), step))
    ax.set_xticks(at)
    words, upright = channel_words(names)
    ax.set_xticklabels([words[i] for i in at] if shown else [], fontsize=TINY, rotation=90 if upright else 0, parse_math=False)
    ax.tick_params(axis="x", length=2)


def channel_words(names: Sequence[str]) -> tuple[list[str], bool]:
    """What stands below bars: names, short, and whether they must stand upright; numbers where there are many."""
    if len(names) > MANY:
        return [str(i + 1) for i in range(len(names))], False
    words = [fitted(n, 12) for n in names]
    return words, sum(len(w) for w in words) > 18
