"""Recordings from files: CSV, NPZ, NPY, WAV, Parquet, MAT, CSMIP ``.V2``, plain, gzipped or in a zip. One row each.

A file is sniffed by the end of its name; what a zip holds by its first bytes too, because there are CSV files whose
own name ends in ``.zip``. What each kind says is in `formats`, time columns in `stamps`.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.store import csmip, stamps
from lifeline_core.store.formats import READERS, Options, Recording

__all__ = ["Recording", "read_array"]

_NESTED = 3  # a zip in a zip in a zip is somebody's joke


def read_array(
    path: str | os.PathLike[str],
    *,
    column: str | int | None = None,
    rate_hz: float | None = None,
    unit_factor: float = 1.0,
    t0: int | str | datetime | None = None,
    key: str | None = None,
    day_first: bool | None = None,
    time_format: str | None = None,
    time_first: bool = False,
) -> list[Recording]:
    """Every recording of a file, or the ones asked for.

    A time column gives the first sample's time and the rate. Steps up to half an interval off are jitter of the stamps;
    longer ones are gaps, and the recording is **split** there: one Recording per gap-free piece, same name and rate.
    Where more than one step in fifty is off, the channel is irregular: one Recording with ``t_ns``.

    Parameters
    ----------
    column
        A CSV or Parquet column or a row: its name with or without unit, or its number from 0 (time not counted).
    rate_hz
        Samples per second; it wins over what the file says, and must be given where the file says nothing.
    unit_factor
        Multiplies the samples: 0.01 makes m/s2 of cm/s2, 9.80665 of g. The unit's text stays the file's.
    t0
        Time of the first sample, over what the file says: UTC nanoseconds, a datetime, or ISO 8601 text (no zone:
        UTC).
    key
        An array of an NPZ or MAT, a member of a zip, or ``acceleration``, ``velocity``, ``displacement`` of a .V2.
    day_first
        Whether the day stands before the month. ``2022-11-04`` is then 11 April; without it 01/02/2022 is refused.
    time_format
        Of `datetime.strptime`, for stamps that are neither ISO 8601 nor day.month.year nor a number.
    time_first
        For two-dimensional arrays [n, n_channels]; otherwise they are channels first.

    Raises
    ------
    ValueError
        States the file, the rule and the value.
    OSError
        Where the file cannot be opened.
    """
    path = Path(path)
    if rate_hz is not None and not (np.isfinite(rate_hz) and rate_hz > 0):
        raise ValueError(f"rate_hz: must be above 0, is {rate_hz}")
    if not np.isfinite(unit_factor) or unit_factor == 0:
        raise ValueError(f"unit_factor: must be finite and not 0, is {unit_factor}")
    options = Options(column, rate_hz, key, day_first, time_format, time_first)
    found = list(_read(path.name, path.read_bytes(), options, str(path), 0))
    if isinstance(column, str):
        known = list(dict.fromkeys(r.name for r in found))
        found = [r for r in found if column in _spellings(r)]
        if not found:
            raise ValueError(f"{path}: column must be one of {', '.join(known)}, is {column!r}")
    elif column is not None:
        names = list(dict.fromkeys(r.name for r in found))
        if not 0 <= column < len(names):
            raise ValueError(f"{path}: column must be from 0 to {len(names) - 1}, is {column}")
        found = [r for r in found if r.name == names[column]]
    if not found:
        raise ValueError(f"{path}: must hold at least one recording, holds none")
    found = [replace(r, x=_scaled(r.x, unit_factor)) for r in found]
    return found if t0 is None else _moved(found, stamps.instant(t0))


def _read(name: str, data: bytes, options: Options, where: str, depth: int) -> Iterator[Recording]:
    """Recordings of one file's bytes, whatever it is."""
    if data.startswith(b"PK\x03\x04") and not name.lower().endswith(".npz"):
        if depth == _NESTED:
            raise ValueError(f"{where}: zips must not be nested deeper than {_NESTED}")
        yield from _zip(data, options, where, depth)
        return
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    stem = re.sub(r"(\.(gz|zip))+$", "", name, flags=re.I)
    reader = READERS.get(Path(stem).suffix.lower())
    if reader is None:
        raise ValueError(f"{where}: must end in one of {', '.join(READERS)} or .zip, is {name!r}")
    try:
        yield from reader(Path(stem).stem, data, options)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _zip(data: bytes, options: Options, where: str, depth: int) -> Iterator[Recording]:
    """All readable members in order of their names; several members put their name before the recording's."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile as error:
        raise ValueError(f"{where}: must be a whole zip, {error}") from error
    with archive:
        names = sorted(n for n in archive.namelist() if _suffix(n) in READERS or n.lower().endswith(".zip"))
        names = [n for n in names if _suffix(n) != ".txt"] or names  # beside data a text is a read-me
        if options.key is not None and options.key not in csmip.QUANTITIES:
            wanted = [n for n in names if options.key in (n, Path(n).name)]
            if not wanted and len(names) > 1:
                raise ValueError(f"{where}: key must be one of {', '.join(names)}, is {options.key!r}")
            names, options = (wanted, replace(options, key=None)) if wanted else (names, options)
        alone = len({_suffix(n) for n in names}) == 1 and (len(names) == 1 or _suffix(names[0]) == ".v2")
        for name in names:
            for r in _read(Path(name).name, archive.read(name), options, f"{where}:{name}", depth + 1):
                yield r if alone else replace(r, name=f"{Path(re.sub('.zip$', '', name)).stem}:{r.name}")


def _suffix(name: str) -> str:
    return Path(re.sub(r"(\.(gz|zip))+$", "", name, flags=re.I)).suffix.lower()


def _spellings(r: Recording) -> set[str]:
    """What a recording may be called: with or without its unit, with or without the zip's member."""
    return {f"{name}{unit}" for name in (r.name, r.name.split(":")[-1]) for unit in ("", f" [{r.unit}]", f" ({r.unit})")}


def _scaled(x: NDArray[Any], factor: float) -> NDArray[Any]:
    return x if factor == 1.0 else (x.astype(np.float64) * factor).astype(x.dtype)


def _moved(found: list[Recording], t0_ns: int) -> list[Recording]:
    """All of them shifted so that the earliest begins at ``t0_ns``."""
    shift = t0_ns - min(r.t0_ns for r in found)
    return [replace(r, t0_ns=r.t0_ns + shift, t_ns=None if r.t_ns is None else r.t_ns + shift) for r in found]
