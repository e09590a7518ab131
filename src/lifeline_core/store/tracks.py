"""Frequencies over time as a table for other programs: CSV or Parquet, one row a window.

::

    time, seconds, environment, f1, f1_sd, damping1, damping1_sd, mac1, f2, ...

``time`` is the beginning of the window, UTC; a mode that is missing has no value (empty, NaN). Frequencies are in Hz, damping is
the ratio to critical. `lifeline_core.store.arrays.read_array` reads both kinds back.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lifeline_core.bridges.tracks import Tracks
from lifeline_core.store.disk import replace

KINDS = (".csv", ".parquet")


def track_columns(tracks: Tracks, environment_unit: str = "") -> list[tuple[str, str, NDArray[np.float64]]]:
    """Name, unit and values of every column but the time."""
    out: list[tuple[str, str, NDArray[np.float64]]] = [("seconds", "s", (tracks.end_ns - tracks.begin_ns) / 1e9)]
    if np.isfinite(tracks.environment).any():
        out.append(("environment", environment_unit, tracks.environment))
    for k in range(tracks.f_hz.shape[1]):
        out += [(f"f{k + 1}", "Hz", tracks.f_hz[:, k]), (f"f{k + 1}_sd", "Hz", tracks.f_sd_hz[:, k]),
                (f"damping{k + 1}", "", tracks.damping[:, k]), (f"damping{k + 1}_sd", "", tracks.damping_sd[:, k]),
                (f"mac{k + 1}", "", tracks.likeness[:, k])]
    return out


def write_tracks(path: Path, tracks: Tracks, environment_unit: str = "") -> None:
    """Write a table; the ending of ``path`` says which kind.

    Raises
    ------
    ValueError
        Another ending than .csv and .parquet.
    StoreError
        The disk refused.
    """
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise ValueError(f"tracks are written to {' or '.join(KINDS)}, not to {path.name!r}")
    columns = track_columns(tracks, environment_unit)
    replace(path, _parquet(tracks, columns) if kind == ".parquet" else _csv(tracks, columns))


def _csv(tracks: Tracks, columns: list[tuple[str, str, NDArray[np.float64]]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["time", *(f"{name} [{unit}]" if unit else name for name, unit, _ in columns)])
    for i, t in enumerate(tracks.begin_ns.tolist()):
        cells = [float(values[i]) for _, _, values in columns]
        writer.writerow([f"{np.datetime64(t, 'ns')}Z", *("" if np.isnan(v) else f"{v:.9g}" for v in cells)])
    return text.getvalue().encode()


def _parquet(tracks: Tracks, columns: list[tuple[str, str, NDArray[np.float64]]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [pa.field("time", pa.timestamp("ns", tz="UTC"))]
    fields += [pa.field(name, pa.float64(), metadata={"unit": unit} if unit else None) for name, unit, _ in columns]
    arrays = [pa.array(tracks.begin_ns, pa.timestamp("ns", tz="UTC")), *(pa.array(values) for _, _, values in columns)]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), sink)
    return sink.getvalue()
