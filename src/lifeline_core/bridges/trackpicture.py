"""Frequencies of a structure over time with their standard deviations, and over what the weather did. Needs matplotlib."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from lifeline_core.bridges.modes import Real
from lifeline_core.bridges.paper import BLUE, DARK, GREY, ORANGE, RED, SMALL, TINY, bare, counted, sheet, with_sd
from lifeline_core.bridges.tracks import Tracks, line_through

OVERVIEW_IN, MODE_IN, WEATHER_IN, TITLE_IN = 2.3, 1.25, 1.25, 0.8
DATED_NS = 86_400_000_000_000 * 365  # a recording that begins before 1971 knows no date: its time is counted from its beginning
BROKEN = 1.5  # steps between windows beyond which a line is broken


class _Time:
    """Windows on the axis of time: dates, or seconds, minutes or hours from the beginning."""

    def __init__(self, tracks: Tracks) -> None:
        t = tracks.middle_ns
        self.dated = bool(len(t) and t[0] > DATED_NS)
        seconds = (t - (tracks.begin_ns[0] if len(t) else 0)) / 1e9
        span = float(seconds[-1]) if len(t) else 0.0
        unit, word = (3600.0, "h") if span > 3 * 3600 else (60.0, "min") if span > 180 else (1.0, "s")
        self.label = f"time, {word}"
        self.at: Any = seconds / unit
        if self.dated:
            self.at = np.array([np.datetime64(int(v), "ns").astype("datetime64[ms]") for v in t])
            self.label = f"time, UTC, from {datetime.fromtimestamp(int(t[0]) // 10**9, UTC):%Y-%m-%d %H:%M}"
        step = np.diff(t)
        self.breaks = np.flatnonzero(step > BROKEN * np.median(step)) + 1 if len(step) else np.empty(0, np.int64)

    def pieces(self, y: Real) -> list[Any]:
        """Index ranges that a line may join: no missing window between, no gap in time."""
        there = np.isfinite(y)
        cuts = np.union1d(self.breaks, np.flatnonzero(np.diff(there.astype(int))) + 1)
        return [p for p in np.split(np.arange(len(y)), cuts) if len(p) > 1 and there[p[0]]]

    def finish(self, ax: Any) -> None:
        ax.set_xlabel(self.label, fontsize=SMALL)
        if self.dated:
            from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

            locator = AutoDateLocator()
            ax.xaxis.set_major_locator(locator)
            ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))


def _room(f: Real, sd: Real) -> tuple[float, float]:
    """Of an axis: all frequencies and their usual deviation; a bar that is far longer runs out of it."""
    good = np.isfinite(f)
    if not good.any():
        return 0.0, 1.0
    low, high = float(f[good].min()), float(f[good].max())
    usual = float(np.nanmedian(sd[good])) if np.isfinite(sd[good]).any() else 0.0
    edge = max(2.0 * usual, 0.08 * (high - low), 1e-4 * high)
    return low - edge, high + edge


def _overview(ax: Any, tracks: Tracks, time: _Time) -> None:
    for i, others in enumerate(tracks.others):
        ax.plot([time.at[i]] * len(others), others, "x", color="0.72", ms=3.5, mew=0.8)
    for k in range(tracks.f_hz.shape[1]):
        ax.plot(time.at, tracks.f_hz[:, k], ".", color=BLUE, ms=4)
    for i in [i for i, why in enumerate(tracks.why) if why]:
        ax.plot([time.at[i]], [0.015], "|", color=ORANGE, ms=8, mew=1.4, transform=ax.get_xaxis_transform())
    ax.set_ylabel("frequency, Hz", fontsize=SMALL)
    low = ax.get_ylim()
    ax.set_ylim(min(0.0, low[0]), low[1])
    said = "blue: tracked; grey: found, none of the references" + ("; orange: window left out" if any(tracks.why) else "")
    ax.set_title(said, fontsize=TINY, color=GREY, loc="right")


def _mode(ax: Any, tracks: Tracks, k: int, time: _Time) -> None:
    f, sd = tracks.f_hz[:, k], tracks.f_sd_hz[:, k]
    for piece in time.pieces(f):
        ax.plot(time.at[piece], f[piece], "-", color=BLUE, lw=0.7, alpha=0.5)
    good = np.isfinite(f)
    bars = np.where(np.isfinite(sd[good]), sd[good], 0.0)
    ax.errorbar(time.at[good], f[good], yerr=bars, fmt="o", ms=2.8, color=BLUE, elinewidth=0.8)
    gone = time.at[~good]
    ax.plot(gone, np.full(len(gone), 0.03), "|", color=RED, ms=6, mew=1.2, transform=ax.get_xaxis_transform())
    ax.set_ylim(*_room(f, sd))
    ax.set_ylabel(f"mode {k + 1}, Hz", fontsize=SMALL)
    middle = float(np.nanmedian(f)) if good.any() else float(tracks.reference.f_hz[k])
    zeta = float(np.nanmedian(tracks.damping[:, k])) if good.any() else float(tracks.reference.damping[k])
    usual = float(np.nanmedian(sd)) if np.isfinite(sd).any() else float("nan")
    value, bar = with_sd(middle, usual)
    said = f"median {value} Hz, sd of a window {bar} Hz, damping {100 * zeta:.2g} %, in {int(good.sum())} of {len(f)} windows"
    ax.set_title(said, fontsize=SMALL, loc="left", color=DARK)
    ax.ticklabel_format(axis="y", useOffset=False)


def _over_weather(ax: Any, tracks: Tracks, k: int, word: str, unit: str, *, last: bool) -> None:
    x, f, sd = tracks.environment, tracks.f_hz[:, k], tracks.f_sd_hz[:, k]
    good = np.isfinite(x) & np.isfinite(f)
    ax.errorbar(x[good], f[good], yerr=np.where(np.isfinite(sd[good]), sd[good], 0.0), fmt="o", ms=2.5, color=BLUE, elinewidth=0.5,
                alpha=0.65)
    a, b, share = line_through(x, f)
    if np.isfinite(b):
        ends = np.array([x[good].min(), x[good].max()])
        ax.plot(ends, a + b * ends, color=RED, lw=1.1)
        middle = float(np.median(f[good]))
        ax.set_title(f"{100 * b / middle:+.3g} % per {unit or 'unit'}, r² {share:.2f}", fontsize=SMALL, loc="left", color=DARK,
                     parse_math=False)
    ax.tick_params(labelleft=False, labelbottom=last)
    if last:
        ax.set_xlabel(f"{word}, {unit}" if unit else word, fontsize=SMALL, parse_math=False)


def _weather(ax: Any, tracks: Tracks, time: _Time, word: str, unit: str) -> None:
    for piece in time.pieces(tracks.environment):
        ax.plot(time.at[piece], tracks.environment[piece], "-", color=ORANGE, lw=1.0)
    ax.plot(time.at, tracks.environment, ".", color=ORANGE, ms=3)
    ax.set_ylabel(f"{word}, {unit}" if unit else word, fontsize=SMALL, parse_math=False)


def draw_tracks(tracks: Tracks, *, environment: str = "", environment_unit: str = "", title: str = "") -> Any:
    """A matplotlib Figure: all frequencies over time, each mode by itself with standard deviations, and over the weather.

    Parameters
    ----------
    tracks : of `follow`.
    environment, environment_unit : what ``tracks.environment`` is; it is drawn where any of it is measured.
    title : above all.

    Raises
    ------
    ValueError
        There are no windows.
    ImportError
        Without matplotlib.
    """
    if not len(tracks):
        raise ValueError("there are no windows to draw")
    weather, modes = bool(np.isfinite(tracks.environment).any()), tracks.f_hz.shape[1]
    heights = [OVERVIEW_IN, *[MODE_IN] * modes, *([WEATHER_IN] if weather else [])]
    figure = sheet(TITLE_IN + sum(heights))
    grid = figure.add_gridspec(len(heights), 2 if weather else 1, height_ratios=heights, width_ratios=[3, 1] if weather else [1])
    time = _Time(tracks)
    top = figure.add_subplot(grid[0, 0])
    panels: list[Any] = [top]
    beside: list[Any] = []
    _overview(top, tracks, time)
    for k in range(modes):
        panels.append(figure.add_subplot(grid[1 + k, 0], sharex=top))
        _mode(panels[-1], tracks, k, time)
        if weather:
            beside.append(figure.add_subplot(grid[1 + k, 1], sharey=panels[-1], sharex=beside[0] if beside else None))
            _over_weather(beside[-1], tracks, k, environment or "environment", environment_unit, last=k == modes - 1)
    if weather:
        panels.append(figure.add_subplot(grid[-1, 0], sharex=top))
        _weather(panels[-1], tracks, time, environment or "environment", environment_unit)
    for ax in (*panels, *beside):
        ax.tick_params(labelsize=SMALL)
        bare(ax, "top", "right")
        ax.grid(axis="y", color="0.93", lw=0.6)
    for ax in panels[:-1]:
        ax.tick_params(labelbottom=False)
    time.finish(panels[-1])
    figure.align_ylabels(panels)
    missing = "; red: mode missing" if modes and not np.isfinite(tracks.f_hz).all() else ""
    seconds = float(tracks.end_ns[0] - tracks.begin_ns[0]) / 1e9
    what = f"{counted(modes, 'mode')} in {counted(len(tracks), 'window')} of {seconds:g} s{missing}"
    figure.suptitle(title or what, fontsize=11, parse_math=False)
    return figure
