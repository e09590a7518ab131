"""One picture that an engineer can judge an identification by: spectrum, stabilisation diagram, shapes. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lifeline_core.bridges.identify import StabilisationDiagram
from lifeline_core.bridges.modes import Real


def _spectrum(ax: Any, f: Real, s: Real, d: StabilisationDiagram) -> None:
    inside = f > 0
    for i in range(min(s.shape[1], 4)):
        ax.semilogy(f[inside], s[inside, i], lw=1.2 if i == 0 else 0.6, color=f"C{0 if i == 0 else 7}", label=f"s{i + 1}")
    for hz in d.modes.f_hz:
        ax.axvline(hz, color="C3", lw=0.7, alpha=0.7)
    ax.set_ylabel("singular values, unit$^2$/Hz")
    ax.legend(loc="upper right", fontsize="small")


def _poles(ax: Any, d: StabilisationDiagram) -> None:
    p, ok = d.poles, d.stable
    ax.plot(p.f_hz[~ok], p.order[~ok], ".", color="0.8", ms=3, label="pole")
    ax.errorbar(p.f_hz[ok], p.order[ok], xerr=p.f_sd_hz[ok], fmt="o", color="C0", ms=2.5, lw=0.6, label="stable, with its sd")
    for hz in d.modes.f_hz:
        ax.axvline(hz, color="C3", lw=0.7, alpha=0.7)
    ax.set_ylim(0, p.order.max(initial=2) + 2)
    ax.set_ylabel("model order")
    ax.set_xlabel("frequency, Hz")
    ax.legend(loc="lower right", fontsize="small")


def _shape(ax: Any, d: StabilisationDiagram, i: int, at: Real) -> None:
    """The real part of the shape turned so that its largest component is real; a grey line where it is complex."""
    shape = d.modes.shapes[i]
    order = np.argsort(at, kind="stable")
    ax.axhline(0.0, color="0.8", lw=0.6)
    ax.plot(at[order], shape.real[order], "o-", ms=3, color="C3")
    if np.abs(shape.imag).max() > 0.1:
        ax.plot(at[order], shape.imag[order], "--", color="0.6", lw=0.8)
    ax.set_ylim(-1.15, 1.15)
    ax.set_xticks([]), ax.set_yticks([])
    ax.set_title(f"{d.modes.f_hz[i]:.4g} Hz, {100 * d.modes.damping[i]:.2g} %", fontsize="small")


def draw_modes(diagram: StabilisationDiagram, f: Real, s: Real, *, f_max: float, names: Sequence[str] = (),
               positions_m: Sequence[float] | None = None) -> Any:
    """A matplotlib Figure of singular values over frequency, poles over order, and the shape of every mode.

    Parameters
    ----------
    diagram : of `stabilisation`.
    f, s : of `lifeline_core.bridges.fdd.singular_values`.
    f_max : Hz, the right end.
    names : of the channels, for the title.
    positions_m : where the sensors are along the structure; by default one beside the other.
    """
    from matplotlib.figure import Figure

    n = max(len(diagram.modes), 1)
    columns = min(n, 6)
    rows = -(-n // columns)
    figure = Figure(figsize=(10, 6.5 + 1.4 * rows), layout="constrained")
    grid = figure.add_gridspec(2 + rows, columns, height_ratios=[2.2, 2.6, *[1.0] * rows])
    top = figure.add_subplot(grid[0, :])
    _spectrum(top, f, s, diagram)
    middle = figure.add_subplot(grid[1, :], sharex=top)
    _poles(middle, diagram)
    top.set_xlim(0.0, f_max)
    channels = diagram.poles.shapes.shape[1]
    at = np.arange(channels, dtype=np.float64) if positions_m is None else np.asarray(positions_m, np.float64)
    for i in range(len(diagram.modes)):
        _shape(figure.add_subplot(grid[2 + i // columns, i % columns]), diagram, i, at)
    what = ": " + ", ".join(names[:8]) if names else ""
    figure.suptitle(f"{len(diagram.modes)} modes of {channels} channels in {diagram.duration_s:.0f} s{what}")
    return figure
