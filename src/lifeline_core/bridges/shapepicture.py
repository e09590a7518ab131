"""Shapes of modes: over the sensors' layout where it is known, else one bar a channel. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lifeline_core.bridges.layout import Layout, Nodes
from lifeline_core.bridges.modes import Modes, Real
from lifeline_core.bridges.modetable import phase_collinearity, real_shapes
from lifeline_core.bridges.paper import (
    BLUE,
    DARK,
    GREY,
    LIGHT,
    ORANGE,
    RED,
    SMALL,
    TINY,
    bare,
    channel_words,
    counted,
    names_below,
    sheet,
    with_sd,
)
from lifeline_core.bridges.views import LETTERS, REACH, Scene, View

ARROW_PT = 17.0
IN_PHASE = 0.95  # MPC: below, what is left out of phase is drawn too
COLUMNS = {"bars": 4, "wide": 3, "tall": 6}
ROW_IN = {"bars": 1.45, "wide": 1.75, "tall": 2.7}
HEAD_IN = {"bars": 0.0, "wide": 0.15, "tall": 0.15}


def _headline(modes: Modes, i: int) -> str:
    return f"{i + 1}: {with_sd(modes.f_hz[i], modes.f_sd_hz[i])[0]} Hz, {100 * modes.damping[i]:.2g} %"


def _in_phase(modes: Modes, i: int) -> str:
    mpc = float(phase_collinearity(modes.shapes[i]))
    return f"MPC {mpc:.2f}" if np.isfinite(mpc) else ""


def draw_bars(ax: Any, modes: Modes, i: int, names: Sequence[str], *, named: bool) -> None:
    """One bar a channel: what moves in phase, and as a line what does not where the mode is no standing wave."""
    shape = modes.shapes[i]
    real = real_shapes(shape[None, :])[0]
    at = np.arange(len(real))
    ax.axhline(0.0, color=GREY, lw=0.7)
    ax.bar(at, real, width=0.62, color=BLUE)
    mpc = float(phase_collinearity(shape))
    if mpc < IN_PHASE:
        turned = shape * np.exp(-0.5j * np.angle(np.sum(shape * shape)))
        top = np.abs(turned.real).max()
        ax.plot(at, turned.imag / top if top > 0 else turned.imag, "_", color=ORANGE, ms=9, mew=1.6)
    ax.set_xlim(-0.6, len(real) - 0.4)
    ax.set_ylim(-1.12, 1.12)
    ax.set_yticks([-1, 0, 1])
    ax.tick_params(axis="y", labelsize=TINY, length=2)
    names_below(ax, names, shown=named)
    bare(ax, "top", "right")
    ax.set_title(", ".join(w for w in (_headline(modes, i), _in_phase(modes, i)) if w), fontsize=SMALL)


def _axes_cross(ax: Any, view: View) -> None:
    """Which way x, y and z go: arrows of a fixed length in the lower left corner."""
    for k in range(3):
        u, v = float(view.across[k]), float(view.up[k])
        size = float(np.hypot(u, v))
        if size > 0.0:
            end = (ARROW_PT * u / size, ARROW_PT * v / size)
            ax.annotate(LETTERS[k], (0.0, 0.0), end, xycoords="axes fraction", textcoords="offset points", fontsize=TINY,
                        color=GREY, ha="center", va="center", annotation_clip=False,
                        arrowprops={"arrowstyle": "<-", "color": GREY, "lw": 0.8, "shrinkA": 1, "shrinkB": 0})


def draw_structure(ax: Any, scene: Scene, nodes: Nodes, move: Real, known: Any, view: View) -> None:
    """At rest in grey, as it moves in red, seen from one side; supports are triangles, sensors that did not record are rings."""
    rest = view.project(scene.at)
    size = np.abs(move).max()
    moved = view.project(scene.at + (REACH / size if size > 0 else 0.0) * move)
    for a, b in nodes.lines.tolist():
        ax.plot(*rest[[a, b]].T, color=LIGHT, lw=1.2, zorder=1)
        if known[a] and known[b]:
            ax.plot(*moved[[a, b]].T, color=RED, lw=1.6, zorder=3, solid_capstyle="round")
    sensed, support = np.arange(len(rest)) < nodes.n_sensed, np.zeros(len(rest), bool)
    support[nodes.n_sensed :] = nodes.follows < 0
    live = sensed & known
    for p, q in zip(rest[live], moved[live], strict=True):
        ax.plot([p[0], q[0]], [p[1], q[1]], color=RED, lw=0.7, alpha=0.55, zorder=2)
    ax.plot(*rest[live].T, "o", ms=2.5, color=GREY, zorder=2)
    ax.plot(*moved[live].T, "o", ms=3.8, color=RED, zorder=4)
    ax.plot(*rest[sensed & ~known].T, "o", ms=4.5, mfc="white", mec=GREY, zorder=4)
    ax.plot(*rest[support].T, "^", ms=5.5, color=DARK, zorder=4)


def _draw_view(ax: Any, scene: Scene, nodes: Nodes, move: Real, known: Any, view: View) -> None:
    draw_structure(ax, scene, nodes, move, known, view)
    rest = view.project(scene.at)
    low, high = rest.min(axis=0) - 1.25 * REACH, rest.max(axis=0) + 1.25 * REACH
    ax.set_xlim(low[0] - 0.12, high[0])
    ax.set_ylim(low[1], high[1])
    ax.set_aspect("equal", adjustable="box", anchor="C")
    ax.set_axis_off()
    _axes_cross(ax, view)


def scale_words(scene: Scene) -> str:
    """What is drawn, in metres, for a caption.

    >>> scale_words(Scene.of(np.array([[0.0, 0.0, 0.0], [80.0, 4.0, 0.0]])))
    'extent 80 m along x, 4 m along y (drawn 5 times as wide); movements not to scale, 0 where none is measured'
    """
    parts = []
    for k in range(3):
        if k in scene.present:
            wide = f" (drawn {scene.widened[k]:.2g} times as wide)" if scene.widened[k] > 1.0 else ""
            parts.append(f"{scene.extents_m[k]:.4g} m along {LETTERS[k]}{wide}")
    return ("extent " + ", ".join(parts) if parts else "one place") + "; movements not to scale, 0 where none is measured"


def _kind(layout: Layout | None) -> str:
    """Bars, or panels for a structure that is wide or tall."""
    if layout is None:
        return "bars"
    x, y, z = Scene.of(layout.nodes().at_m).extents_m.tolist()
    return "tall" if z > max(x, y) else "wide"


class _Panel(NamedTuple):
    """One view of mode ``i``, or its bars."""

    i: int
    view: View | None = None
    move: Any = None
    known: Any = None


def _panels(modes: Modes, names: Sequence[str], layout: Layout | None) -> list[_Panel]:
    """Mode by mode; two for a mode that one view does not tell."""
    if layout is None:
        return [_Panel(i) for i in range(len(modes))]
    scene, out = Scene.of(layout.nodes().at_m), []
    for i, shape in enumerate(real_shapes(modes.shapes)):
        move, known = layout.displacements(shape, names)
        out += [_Panel(i, view, move, known) for view in scene.views(move)]
    return out


def height_in(modes: Modes, names: Sequence[str], layout: Layout | None) -> float:
    """What all shapes take of the height of a figure, inches."""
    kind = _kind(layout)
    words, upright = channel_words(names)
    below = 0.075 * max(map(len, words)) if upright and layout is None else 0.0
    rows = max(-(-len(_panels(modes, names, layout)) // COLUMNS[kind]), 1)
    return (ROW_IN[kind] + below) * rows + HEAD_IN[kind]


def draw_grid(figure: Any, spec: Any, modes: Modes, names: Sequence[str], layout: Layout | None) -> None:
    """Every shape in its panels of ``spec`` (a SubplotSpec)."""
    panels, columns = _panels(modes, names, layout), COLUMNS[_kind(layout)]
    grid = spec.subgridspec(max(-(-len(panels) // columns), 1), columns)
    nodes = None if layout is None else layout.nodes()
    scene = None if nodes is None else Scene.of(nodes.at_m)
    for k, panel in enumerate(panels):
        ax = figure.add_subplot(grid[k // columns, k % columns])
        if panel.view is None or nodes is None or scene is None:
            draw_bars(ax, modes, panel.i, names, named=k + columns >= len(panels))
            continue
        _draw_view(ax, scene, nodes, panel.move, panel.known, panel.view)
        words = ", ".join(w for w in (_in_phase(modes, panel.i), panel.view.name) if w)
        ax.set_title(f"{_headline(modes, panel.i)}\n{words}", fontsize=SMALL)


def draw_shapes(modes: Modes, names: Sequence[str] = (), *, layout: Layout | None = None, title: str = "") -> Any:
    """A matplotlib Figure with one panel a mode.

    Parameters
    ----------
    modes : of `identify_modes`, `common_modes` ...
    names : of the channels, in the order of the shapes; by default numbers.
    layout : where the sensors are; None: bars.
    title : above all.

    Raises
    ------
    ValueError
        No modes, as many names as channels are needed, or a channel that is not in the layout.
    ImportError
        Without matplotlib.
    """
    names = channel_names(modes.shapes.shape[1], names, layout)
    if not len(modes):
        raise ValueError("there are no modes to draw")
    figure = sheet(0.7 + height_in(modes, names, layout))
    draw_grid(figure, figure.add_gridspec(1, 1)[0], modes, names, layout)
    foot = scale_words(Scene.of(layout.nodes().at_m)) if layout is not None else "bars: in phase, largest = 1"
    figure.suptitle(title or counted(len(modes), "mode"), fontsize=11, parse_math=False)
    figure.supxlabel(foot, fontsize=TINY, color=GREY)
    return figure


def channel_names(n: int, names: Sequence[str], layout: Layout | None) -> list[str]:
    """Names of n channels, numbers where there are none; ValueError where they do not fit the shapes or the layout."""
    out = [str(v) for v in names] or [str(i + 1) for i in range(n)]
    if len(out) != n:
        raise ValueError(f"names must be as many as channels, {n}, are {len(out)}")
    if layout is not None and (missing := layout.missing(out)):
        raise ValueError(f"the layout has no sensor for {', '.join(missing)}; it has {', '.join(layout.channels)}")
    return out
