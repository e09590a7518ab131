"""``lifeline-core modes``: the modes of a structure from recordings, as a table, JSON or a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from lifeline_core.bridges.fdd import singular_values
from lifeline_core.bridges.identify import StabilisationDiagram, stabilisation
from lifeline_core.cli.arrays import Columns, Factor, Key, Rate
from lifeline_core.cli.lines import PEOPLE, emit, note
from lifeline_core.store.arrays import Recording, read_array


def _together(recordings: list[Recording]) -> tuple[NDArray[np.float64], float]:
    """Recordings as rows of one array; ValueError unless they have one rate, one beginning and no gap."""
    names = [r.name for r in recordings]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise ValueError(f"{twice[0]} has gaps ({names.count(twice[0])} pieces): cut the files to one piece without gaps")
    first = recordings[0]
    for r in recordings:
        if r.rate_hz is None:
            raise ValueError(f"{r.name} is irregular: modes need a fixed rate (--rate forces one)")
        if r.rate_hz != first.rate_hz or r.t0_ns != first.t0_ns:
            raise ValueError(f"{r.name} begins at another time or has another rate than {first.name}")
    n = min(r.x.size for r in recordings)
    assert first.rate_hz is not None
    return np.stack([r.x[:n].astype(np.float64) for r in recordings]), first.rate_hz


def _reduced(x: NDArray[np.float64], fs: float, f_max: float | None) -> tuple[NDArray[np.float64], float]:
    """Fewer samples where only low frequencies are asked for: what the orders have to explain is then what is asked for."""
    from scipy.signal import decimate

    q = 1 if f_max is None else int(fs / (2.5 * f_max))
    while q > 1:
        step = min(q, 8)
        x, fs, q = decimate(x, step, ftype="fir", axis=1), fs / step, q // step
    return x, fs


def _rows(d: StabilisationDiagram, names: list[str]) -> list[dict[str, Any]]:
    m = d.modes
    shapes = [{n: [float(v.real), float(v.imag)] for n, v in zip(names, shape, strict=True)} for shape in m.shapes]
    return [{"f_hz": float(m.f_hz[i]), "f_sd_hz": float(m.f_sd_hz[i]), "damping": float(m.damping[i]),
             "damping_sd": float(m.damping_sd[i]), "shape": shapes[i]} for i in range(len(m))]


def _table(d: StabilisationDiagram) -> Table:
    table = Table(title=f"{len(d.modes)} modes in {d.duration_s:.0f} s", title_justify="left")
    for column in ("f, Hz", "sd", "damping, %", "sd"):
        table.add_column(column, justify="right")
    for f, sd, z, zsd in zip(d.modes.f_hz, d.modes.f_sd_hz, d.modes.damping, d.modes.damping_sd, strict=True):
        digits = max(0, 1 - math.floor(math.log10(sd))) if 0 < sd < math.inf else 4
        table.add_row(f"{f:.{digits}f}", f"{sd:.{digits}f}", f"{100 * z:.2f}", f"{100 * zsd:.2f}")
    return table


def modes(
    files: Annotated[list[Path], typer.Argument(help="Recordings: CSV, NPZ, NPY, WAV, Parquet, CSMIP .V2, also in a zip.")],
    f_min: Annotated[float, typer.Option("--f-min", help="Lowest frequency, Hz.")] = 0.0,
    f_max: Annotated[float | None, typer.Option("--f-max", help="Highest frequency, Hz; default 0.45 of the rate.")] = None,
    br: Annotated[int, typer.Option("--block-rows", help="Block rows of the covariance matrix.")] = 30,
    order_max: Annotated[int, typer.Option("--order-max", help="Largest model order.")] = 60,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per mode on stdout.")] = False,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw to this .png or .svg (needs matplotlib).")] = None,
    refused: Annotated[bool, typer.Option("--refused", help="Also name what was not taken for a mode, and why.")] = False,
    column: Columns = None,
    rate: Rate = None,
    factor: Factor = 1.0,
    key: Key = None,
) -> int:
    """Identify the modes of a structure under ambient load (SSI-cov): frequency, damping, shape, each with its deviation.

        lifeline-core modes deck.csv --f-max 10
        lifeline-core modes night.npz --json --picture night.png
    """
    options: dict[str, Any] = {"rate_hz": rate, "unit_factor": factor, "key": key}
    found: list[Recording] = []
    for path in files:
        found += [r for c in column for r in read_array(path, column=int(c) if c.isdigit() else c, **options)] if column else \
            read_array(path, **options)
    names = [r.name for r in found]
    x, fs = _reduced(*_together(found), f_max)
    with PEOPLE.status(f"{len(names)} channels, {x.shape[1] / fs:.0f} s at {fs:g} Hz"):
        diagram = stabilisation(x, fs, f_max, f_min=f_min, br=br, order_max=order_max)
    for row in _rows(diagram, names) if json else ():
        emit({"mode": row})
    if not json:
        PEOPLE.print(_table(diagram))
    for f, z, why in diagram.modes.refused if refused else ():
        note(f"refused {f:.4g} Hz, {100 * z:.2g} %: {why}")
    if picture is not None:
        _draw(picture, diagram, x, fs, f_max, names)
    return 0


def _draw(path: Path, diagram: StabilisationDiagram, x: NDArray[np.float64], fs: float, f_max: float | None,
          names: list[str]) -> None:
    try:
        from lifeline_core.bridges.picture import draw_modes

        f, s, _ = singular_values(x, fs)
        figure = draw_modes(diagram, f, s, f_max=f_max or 0.5 * fs, names=names)
    except ImportError as error:
        raise ValueError(f"--picture needs matplotlib (pip install lifeline-core[plot]): {error}") from error
    figure.savefig(path, dpi=130)
    note(f"drawn to {path}")


def add_to(app: typer.Typer) -> None:
    app.command("modes")(modes)
