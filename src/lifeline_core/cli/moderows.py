"""What ``lifeline-core modes`` says: rows for programs, tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.table import Table

from lifeline_core.bridges.identify import StabilisationDiagram
from lifeline_core.bridges.modes import Modes
from lifeline_core.bridges.modetable import ModeRow, mode_table
from lifeline_core.bridges.paper import counted, with_sd
from lifeline_core.bridges.picture import table_cells
from lifeline_core.bridges.tracks import Tracks, line_through
from lifeline_core.cli.lines import PEOPLE, emit, note


def shape_of(modes: Modes, i: int, names: Sequence[str]) -> dict[str, list[float]]:
    return {n: [float(v.real), float(v.imag)] for n, v in zip(names, modes.shapes[i], strict=True)}


def emit_modes(d: StabilisationDiagram, names: Sequence[str]) -> None:
    for row in mode_table(d):
        sd = dict(zip(names, d.modes.shapes_sd[row.number - 1].tolist(), strict=True))
        emit({"mode": {**asdict(row), "shape": shape_of(d.modes, row.number - 1, names), "shape_sd": sd}})


def emit_poles(d: StabilisationDiagram) -> None:
    p, stable = d.poles, d.stable
    for i in range(len(p)):
        emit({"pole": {"order": int(p.order[i]), "f_hz": float(p.f_hz[i]), "f_sd_hz": float(p.f_sd_hz[i]),
                       "damping": float(p.damping[i]), "damping_sd": float(p.damping_sd[i]), "stable": bool(stable[i])}})


def tell_refused(modes: Modes, *, json: bool) -> None:
    for f, z, why in modes.refused:
        if json:
            emit({"refused": {"f_hz": f, "damping": z, "why": why}})
        else:
            note(f"refused {f:.4g} Hz, {100 * z:.2g} %: {why}")


def print_modes(d: StabilisationDiagram) -> None:
    rows: list[ModeRow] = mode_table(d)
    table = Table(title=f"{counted(len(rows), 'mode')} in {d.duration_s:.4g} s", title_justify="left")
    for column in ("mode", "f, Hz", "sd", "damping, %", "sd", "MPC", "orders"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*table_cells(row))
    PEOPLE.print(table)


# -- tracks ----------------------------------------------------------------------------------------------------------------


def _median(x: Any) -> float:
    good = x[np.isfinite(x)]
    return float(np.median(good)) if good.size else float("nan")


def track_rows(t: Tracks, names: Sequence[str]) -> list[dict[str, Any]]:
    """Each mode over all windows. ``f_scatter_hz``: standard deviation of a normal scatter with this median of deviations."""
    rows = []
    for k in range(t.f_hz.shape[1]):
        f = t.f_hz[:, k]
        _, slope, share = line_through(t.environment, f)
        rows.append({"number": k + 1, "f_hz": _median(f), "f_scatter_hz": 1.4826 * _median(np.abs(f - _median(f))),
                     "f_sd_hz": _median(t.f_sd_hz[:, k]), "damping": _median(t.damping[:, k]),
                     "damping_sd": _median(t.damping_sd[:, k]), "windows": int(t.found[k]), "of": len(t),
                     "f_per_environment": slope, "r2": share, "reference_f_hz": float(t.reference.f_hz[k]),
                     "shape": shape_of(t.reference, k, names)})
    return rows


def emit_windows(t: Tracks) -> None:
    for i in range(len(t)):
        columns = {k: getattr(t, k)[i].tolist() for k in ("f_hz", "f_sd_hz", "damping", "damping_sd")}
        emit({"window": {"t0_ns": int(t.begin_ns[i]), "t1_ns": int(t.end_ns[i]), "environment": float(t.environment[i]), **columns,
                         "mac": t.likeness[i].tolist(), "others_hz": t.others[i].tolist(), "why": t.why[i]}})


def print_tracks(t: Tracks, rows: Sequence[dict[str, Any]], unit: str) -> None:
    table = Table(title=f"{counted(len(rows), 'mode')} in {counted(len(t), 'window')}", title_justify="left")
    weather = bool(np.isfinite(t.environment).any())
    for column in ("mode", "f, Hz", "scatter", "sd of a window", "damping, %", "found in",
                   *((f"% per {unit or 'unit'}", "r²") if weather else ())):
        table.add_column(column, justify="right")
    for r in rows:
        f, sd = with_sd(r["f_hz"], r["f_sd_hz"])
        digits = len(sd.partition(".")[2])
        over = (f"{100 * r['f_per_environment'] / r['f_hz']:+.3f}", f"{r['r2']:.2f}") if weather else ()
        table.add_row(str(r["number"]), f, f"{r['f_scatter_hz']:.{digits}f}", sd, f"{100 * r['damping']:.2f}",
                      f"{r['windows']} of {r['of']}", *over)
    PEOPLE.print(table)
