"""One sheet that an engineer can judge an identification by: spectrum, stabilisation diagram, table, shapes. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lifeline_core.bridges import paper
from lifeline_core.bridges.identify import StabilisationDiagram, frequency_floor
from lifeline_core.bridges.layout import Layout
from lifeline_core.bridges.modes import Real
from lifeline_core.bridges.modetable import ModeRow, mode_table
from lifeline_core.bridges.paper import BLUE, DARK, GREY, LIGHT, RED, SMALL, TINY, apart, bare, counted, sheet, squared, with_sd
from lifeline_core.bridges.shapepicture import IN_PHASE, channel_names, draw_grid, height_in, scale_words
from lifeline_core.bridges.views import Scene

SPECTRUM_IN, POLES_IN, LINE_IN, TITLE_IN = 2.6, 3.5, 0.205, 0.8
ONE_BLOCK = 12  # modes in one block of the table; more are set in two
NUMBER_APART = 0.018  # of the width of the axes


def _spectrum(ax: Any, f: Real, s: Real, d: StabilisationDiagram, f_max: float, unit: str) -> None:
    inside = (f > 0) & (f <= f_max)
    some = s[inside] if inside.any() else s
    for i in reversed(range(min(s.shape[1], 4))):
        ax.semilogy(f[inside], some[:, i], lw=1.2 if i == 0 else 0.7, color=BLUE if i == 0 else GREY, alpha=1.0 if i == 0 else 0.8)
    good = some[:, : min(s.shape[1], 4)]
    good = good[np.isfinite(good) & (good > 0)]
    if good.size:
        bottom, top = float(np.quantile(good, 0.005)), float(good.max())
        ax.set_ylim(max(bottom / 3, top * 1e-14), top * 4)
    count = min(s.shape[1], 4)
    words = "singular values" if count > 1 else "power spectrum"
    ax.set_ylabel(f"{words}\n{squared(unit)}/Hz", fontsize=SMALL, parse_math=False)
    if count > 1:
        ax.text(0.995, 0.96, f"blue: first, grey: 2nd to {count}{ {2: 'nd', 3: 'rd'}.get(count, 'th') }" if count > 2
                else "blue: first, grey: second", transform=ax.transAxes, ha="right", va="top", fontsize=TINY, color=GREY)
    ax.tick_params(axis="x", labelbottom=False)
    ax.tick_params(labelsize=SMALL)
    ax.grid(axis="y", color="0.93", lw=0.6)


def _marks(ax: Any, below: Any, f_hz: Real, f_max: float) -> None:
    """A line through both diagrams at every mode, its number above; numbers that would touch are moved apart."""
    if not len(f_hz):
        return
    where = apart(f_hz / f_max, NUMBER_APART)
    for i, (hz, at) in enumerate(zip(f_hz.tolist(), where.tolist(), strict=True)):
        for panel in (ax, below):
            panel.axvline(hz, color=RED, lw=0.8, alpha=0.55, zorder=0.5)
        ax.annotate(str(i + 1), (hz / f_max, 1.0), (at, 1.075), xycoords="axes fraction", textcoords="axes fraction", ha="center",
                    va="bottom", fontsize=SMALL, color=RED,
                    arrowprops={"arrowstyle": "-", "color": RED, "lw": 0.6, "shrinkA": 0, "shrinkB": 0})


def _poles(ax: Any, d: StabilisationDiagram, f_max: float) -> None:
    p, ok = d.poles, d.stable
    seen = p.f_hz <= f_max
    sure = ok & (p.f_sd_hz <= d.demands.sharp * frequency_floor(p.f_hz, p.damping, d.duration_s))
    rest, good, sharp = seen & ~ok, seen & ok & ~sure, seen & sure
    ax.plot(p.f_hz[rest], p.order[rest], "x", color="0.72", ms=3.0, mew=0.7, label="pole")
    ax.plot(p.f_hz[good], p.order[good], "o", mfc="white", mec=BLUE, mew=0.6, alpha=0.6, ms=3.2, label="seen in the order below")
    ax.hlines(p.order[sharp], (p.f_hz - p.f_sd_hz)[sharp], (p.f_hz + p.f_sd_hz)[sharp], color=BLUE, lw=0.9)
    ax.plot(p.f_hz[sharp], p.order[sharp], "o", color=BLUE, ms=3.0, label="and as sharp as a mode (± sd)")
    no = [f for f, _, why in d.modes.refused if f <= f_max and not why.startswith("not stable")]
    if no:  # of poles that stay; the others are noise, and many
        ax.plot(no, np.full(len(no), 0.985), "v", color=GREY, ms=4.5, transform=ax.get_xaxis_transform(),
                label="stays, but refused")
    top = int(p.order.max(initial=2))
    ax.set_ylim(0, top + 2)
    ax.set_ylabel("model order", fontsize=SMALL)
    ax.set_xlabel("frequency, Hz", fontsize=SMALL)
    ax.tick_params(labelsize=SMALL)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4, fontsize=TINY, frameon=False, borderaxespad=0.0)


HEADS = (("mode", 0.05), ("f, Hz", 0.20), ("± sd", 0.31), ("damping, %", 0.49), ("± sd", 0.60), ("MPC", 0.72), ("orders", 0.90))


def table_cells(row: ModeRow) -> tuple[str, ...]:
    """A row as it is printed: number, frequency and damping with standard deviations, MPC, orders of possible ones."""
    mpc = f"{row.collinearity:.3f}" if np.isfinite(row.collinearity) else "–"
    return (str(row.number), *with_sd(row.f_hz, row.f_sd_hz), *with_sd(row.damping, row.damping_sd, 100.0), mpc,
            f"{row.orders} of {row.possible}")


def _blocks(rows: Sequence[ModeRow]) -> list[Sequence[ModeRow]]:
    half = -(-len(rows) // 2)
    return [rows] if len(rows) <= ONE_BLOCK else [rows[:half], rows[half:]]


def _table(figure: Any, spec: Any, rows: Sequence[ModeRow]) -> None:
    blocks = _blocks(rows)
    grid = spec.subgridspec(1, 2, wspace=0.06) if len(blocks) == 2 else spec.subgridspec(1, 3, width_ratios=[1, 4, 1])
    lines = max(len(b) for b in blocks) + 1
    for k, block in enumerate(blocks):
        ax = figure.add_subplot(grid[0, k if len(blocks) == 2 else 1])
        ax.set_xlim(0, 1)
        ax.set_ylim(lines + 0.15, -0.1)
        ax.set_xticks([])
        ax.set_yticks([])
        bare(ax, "left", "right", "top", "bottom")
        ax.axhline(1.0, color=GREY, lw=0.8)
        for (word, at) in HEADS:
            ax.text(at, 0.5, word, ha="right", va="center", fontsize=SMALL, color=DARK)
        for i, row in enumerate(block, 1):
            for cell, (_, at) in zip(table_cells(row), HEADS, strict=True):
                ax.text(at, i + 0.5, cell, ha="right", va="center", fontsize=SMALL)
            ax.axhline(i + 1, color=LIGHT, lw=0.4)


def _foot(layout: Layout | None, modes: Any, mixed: bool) -> str:
    if layout is not None:
        hollow = "; rings: sensors without a record" if len(layout.channels) > modes.shapes.shape[1] else ""
        return f"shapes: grey at rest, red moved; {scale_words(Scene.of(layout.nodes().at_m))}{hollow}"
    numbered = " (channels by number, in their order)" if modes.shapes.shape[1] > paper.MANY else ""
    return f"shapes: bars in phase, largest = 1{numbered}" + (f"; orange: out of phase, where MPC < {IN_PHASE}" if mixed else "")


def draw_modes(diagram: StabilisationDiagram, f: Real, s: Real, *, f_max: float, names: Sequence[str] = (),
               layout: Layout | None = None, unit: str = "", title: str = "") -> Any:
    """A matplotlib Figure of singular values over frequency, poles over order, the table of modes and every mode's shape.

    Parameters
    ----------
    diagram : of `stabilisation`.
    f, s : of `lifeline_core.bridges.fdd.singular_values`.
    f_max : Hz, the right end.
    names : of the channels, by default numbers.
    layout : where the sensors are; by default shapes are bars.
    unit : of the samples, for the spectrum.
    title : by default how many modes of how many channels in what time.

    Raises
    ------
    ValueError
        f_max is not above 0, or names that fit neither channels nor layout.
    ImportError
        Without matplotlib.
    """
    if not (np.isfinite(f_max) and f_max > 0):
        raise ValueError(f"f_max must be above 0, is {f_max}")
    channels = diagram.poles.shapes.shape[1]
    names = channel_names(channels, names, layout)
    rows, modes = mode_table(diagram), diagram.modes
    shown = len(modes) > 0 and channels > 1
    heights = [SPECTRUM_IN, POLES_IN, LINE_IN * (max(len(b) for b in _blocks(rows)) + 1.3) if rows else 0.3]
    heights += [height_in(modes, names, layout)] if shown else []
    figure = sheet(TITLE_IN + sum(heights))
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    top = figure.add_subplot(grid[0])
    middle = figure.add_subplot(grid[1], sharex=top)
    _spectrum(top, f, s, diagram, f_max, unit)
    _poles(middle, diagram, f_max)
    top.set_xlim(0.0, f_max)
    _marks(top, middle, modes.f_hz, f_max)
    if rows:
        _table(figure, grid[2], rows)
    else:
        _nothing(figure.add_subplot(grid[2]), diagram)
    if shown:
        draw_grid(figure, grid[3], modes, names, layout)
        mixed = any(r.collinearity < IN_PHASE for r in rows)
        figure.supxlabel(_foot(layout, modes, mixed), fontsize=TINY, color=GREY)
    what = f"{counted(len(modes), 'mode')} of {counted(channels, 'channel')} in {diagram.duration_s:.4g} s"
    figure.suptitle(title or what, fontsize=11, parse_math=False)
    return figure


def _nothing(ax: Any, diagram: StabilisationDiagram) -> None:
    ax.set_axis_off()
    said = f"no modes; {counted(len(diagram.modes.refused), 'cluster')} of poles refused"
    ax.text(0.5, 0.5, said, ha="center", va="center", fontsize=SMALL)
