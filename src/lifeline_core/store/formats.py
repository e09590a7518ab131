"""What each kind of file says of its samples: names, units, rate, time. Bytes in, Recordings out."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core.store import csmip, stamps

_RATE_KEYS = ("fs", "rate_hz", "rate", "sample_rate")
_NAME_KEYS = ("names", "nodes", "channels", "columns")
_TIME = re.compile(r"(t|time|times|timestamp|date|datetime|utc|zeit|时间|日期|采集时间)([_ ]?(ns|us|ms|s|utc))?", re.I)


@dataclass(frozen=True, slots=True)
class Recording:
    """Gap-free samples of one quantity, or timed ones.

    Attributes
    ----------
    name, unit
        As the file has them; ``"ACC01_z [g]"`` is name ``ACC01_z`` in unit ``g``. Nothing is converted
        but by ``unit_factor``.
    x
        float32 or float64, one-dimensional; what is empty in the file is NaN.
    rate_hz
        Samples per second; None: irregular, sample ``i`` is at ``t_ns[i]``.
    t0_ns
        UTC nanoseconds of the first sample; a file that knows no date counts from 0, 1970.
    t_ns
        int64, only for irregular recordings.
    """

    name: str
    unit: str
    rate_hz: float | None
    t0_ns: int
    x: NDArray[Any]
    t_ns: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller said; see `read_array`."""

    column: str | int | None = None
    rate_hz: float | None = None
    key: str | None = None
    day_first: bool | None = None
    time_format: str | None = None
    time_first: bool = False


def _csv(stem: str, data: bytes, options: Options) -> Iterator[Recording]:
    text = stamps.decode(data)
    first = text.split("\n", 1)[0]
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count)) if any(c.strip() for c in row)]
    if len(rows) < 2:
        raise ValueError(f"must be a header and at least one row, has {len(rows)}")
    header = [h.strip() for h in rows[0]]
    if all(stamps.is_number(h) for h in header if h):
        raise ValueError(f"must begin with a header row, begins with {first.strip()[:60]!r}")
    while header and not header[-1]:
        header.pop()
    for i, row in enumerate(rows[1:], 2):
        if len(row) < len(header):
            raise ValueError(f"row {i} must have {len(header)} cells, has {len(row)}")
    columns = {h: [row[k].strip() for row in rows[1:]] for k, h in enumerate(header)}
    yield from _table(columns, options)


def _parquet(stem: str, data: bytes, options: Options) -> Iterator[Recording]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(data))
    except pa.ArrowException as error:
        raise ValueError(f"must be Parquet, {error}") from error
    columns: dict[str, Any] = {}
    for field in table.schema:
        unit = (field.metadata or {}).get(b"unit", b"").decode()
        column = table.column(field.name)
        if pa.types.is_timestamp(field.type):
            columns["time"] = column.to_numpy().astype("datetime64[ns]").astype(np.int64)
        elif pa.types.is_string(field.type):
            columns[field.name] = column.to_pylist()
        else:
            columns[f"{field.name} [{unit}]" if unit else field.name] = column.to_numpy()
    yield from _table(columns, options)


def _table(columns: Mapping[str, Any], options: Options) -> Iterator[Recording]:
    """Columns of text or numbers, one of which may be the time, as recordings."""
    time = next((h for h in columns if _TIME.fullmatch(_name_unit(h)[0])), None)
    if time is None and columns:  # a first column that is no number is one, whatever its name
        head = next(iter(columns))
        time = head if isinstance(columns[head], list) and not stamps.is_number(columns[head][0]) else None
    t_ns = None
    if time is not None:
        name, unit = _name_unit(time)
        t_ns = stamps.parse(columns[time], name, unit, options.day_first, options.time_format)
    wanted = [h for h in columns if h != time]
    if isinstance(options.column, str):  # before the others are read: text beside it is no fault
        known, wanted = wanted, [h for h in wanted if options.column in (h, _name_unit(h)[0])]
        if not wanted:
            raise ValueError(f"column must be one of {', '.join(_name_unit(h)[0] for h in known)}, is {options.column!r}")
    for header in wanted:
        name, unit = _name_unit(header)
        cells = columns[header]
        x = stamps.numbers(cells, header)
        yield from _timed(name, unit, x, t_ns, options.rate_hz)


def _timed(name: str, unit: str, x: NDArray[Any], t_ns: NDArray[np.int64] | None, rate_hz: float | None) -> Iterator[Recording]:
    if t_ns is None:
        yield Recording(name, unit, _rate(rate_hz, None), 0, x)
        return
    rate, pieces = stamps.pieces(t_ns, rate_hz)
    if rate is None:
        yield Recording(name, unit, None, int(t_ns[0]), x, t_ns)
        return
    for a, b in pieces:
        yield Recording(name, unit, rate, int(t_ns[a]), x[a:b])


def _npy(stem: str, data: bytes, options: Options) -> Iterator[Recording]:
    array = np.load(io.BytesIO(data), allow_pickle=False)
    yield from _array(stem, array, options, rate=None, t0_ns=0, names=None)


def _npz(stem: str, data: bytes, options: Options) -> Iterator[Recording]:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    samples = [k for k, v in arrays.items() if v.ndim in (1, 2) and v.dtype.kind in "fiu" and k != "t_ns"]
    key = options.key if options.key is not None else samples[0] if len(samples) == 1 else None
    if key is None or key not in samples:
        raise ValueError(f"key must be one of {', '.join(samples)}, is {key!r}")
    rate = next((float(arrays[k]) for k in _RATE_KEYS if k in arrays and arrays[k].ndim == 0), None)
    names = next((arrays[k].astype(str).tolist() for k in _NAME_KEYS if k in arrays and arrays[k].ndim == 1), None)
    t0_ns = int(arrays["t0_ns"]) if "t0_ns" in arrays else round(float(arrays.get("t0_s", 0.0)) * 1e9)
    for r in _array(key, arrays[key], options, rate=rate, t0_ns=t0_ns, names=names, timed="t_ns" in arrays):
        yield from (_timed(r.name, "", r.x, arrays["t_ns"].astype(np.int64), options.rate_hz) if "t_ns" in arrays else [r])


def _array(
    name: str,
    array: NDArray[Any],
    options: Options,
    *,
    rate: float | None,
    t0_ns: int,
    names: list[str] | None,
    timed: bool = False,
) -> Iterator[Recording]:
    """The rows of an array, by name where there are as many names."""
    if array.ndim not in (1, 2) or array.dtype.kind not in "fiu":
        raise ValueError(f"must be numbers in one or two dimensions, is {array.dtype} of shape {array.shape}")
    rows = np.atleast_2d(array.T if options.time_first and array.ndim == 2 else array)
    if array.ndim == 2 and rows.shape[0] > rows.shape[1]:
        raise ValueError(f"must have no more channels than samples, has {rows.shape[0]} and {rows.shape[1]}: see time_first")
    if names is None or len(names) != len(rows):
        names = [name] if len(rows) == 1 else [f"{name}-{i}" for i in range(len(rows))]
    for row_name, row in zip(names, rows, strict=True):
        yield Recording(row_name, "", None if timed else _rate(options.rate_hz, rate), t0_ns, _floats(row))


def _wav(stem: str, data: bytes, options: Options) -> Iterator[Recording]:
    """Integers as parts of full scale, -1 to 1 (24 bit stands in the upper bytes of an int32); floats as they are."""
    from scipy.io import wavfile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks it does not know are no fault
        rate, x = wavfile.read(io.BytesIO(data))
    rows = np.atleast_2d(x.T)
    for i, row in enumerate(rows):
        if row.dtype.kind == "u":
            row = (row.astype(np.float32) - 128.0) / 128.0
        elif row.dtype.kind == "i":
            kind = np.float32 if row.dtype.itemsize <= 2 else np.float64  # a power of two: exact in either
            row = np.multiply(row, kind(2.0 ** (1 - 8 * row.dtype.itemsize)), dtype=kind)
        yield Recording(
            stem if len(rows) == 1 else f"{stem}-{i}",
            "",
            _rate(options.rate_hz, float(rate)),
            0,
            np.ascontiguousarray(row),
        )


def _v2(stem: str, data: bytes, options: Options) -> Iterator[Recording]:
    trace = csmip.parse(data.decode("latin-1"), options.key or "acceleration")
    t0_ns = stamps.instant(trace.start) if trace.start is not None else 0
    yield Recording(f"chan-{trace.channel}", trace.unit, _rate(options.rate_hz, trace.rate_hz), t0_ns, trace.x)


def _name_unit(header: str) -> tuple[str, str]:
    """Name and unit of a column.

    >>> _name_unit("ACC01_z [g]"), _name_unit("Time (-)"), _name_unit("p")
    (('ACC01_z', 'g'), ('Time', ''), ('p', ''))
    """
    found = re.fullmatch(r"(.+?)\s*[\[(]([^\[\]()]*)[\])]", header.strip())
    return (found[1], "" if found[2] == "-" else found[2]) if found else (header.strip(), "")


def _rate(given: float | None, said: float | None) -> float:
    rate = given if given is not None else said
    if rate is None:
        raise ValueError("rate_hz must be given: the file has no time and no rate")
    if not (np.isfinite(rate) and rate > 0):
        raise ValueError(f"the rate must be above 0, is {rate}")
    return float(rate)


def _floats(x: NDArray[Any]) -> NDArray[Any]:
    """float32 stays; everything float32 cannot hold exactly is float64."""
    kind = np.float32 if x.dtype == np.float32 or (x.dtype.kind in "iu" and x.dtype.itemsize <= 2) else np.float64
    return np.ascontiguousarray(x, kind)


def _mat(stem: str, data: bytes, options: Options) -> Iterator[Recording]:
    """MATLAB to version 7: the array asked for, or the only one that has as many rows or columns as ``t`` has times."""
    from scipy.io import loadmat

    try:
        held = loadmat(io.BytesIO(data), squeeze_me=True)
    except NotImplementedError as error:
        raise ValueError("must be a MAT file to version 7, is 7.3: save it with -v7") from error
    except Exception as error:  # a damaged file ends in errors of many kinds
        raise ValueError(f"must be a MAT file, {error}") from error
    arrays = {k: np.asarray(v) for k, v in held.items() if not k.startswith("__") and np.asarray(v).dtype.kind in "fiu"}
    time = next((k for k, v in arrays.items() if v.ndim == 1 and v.size > 1 and _TIME.fullmatch(k)), None)
    wanted = [k for k, v in arrays.items() if k != time and v.ndim in (1, 2) and v.size > 1]
    if time is not None:
        wanted = [k for k in wanted if arrays[time].size in arrays[k].shape]
    key = options.key if options.key is not None else wanted[0] if len(wanted) == 1 else None
    if key is None or key not in wanted:
        raise ValueError(f"key must be one of {', '.join(wanted)}, is {key!r}")
    x = arrays[key]
    if time is None:
        rate = next((float(arrays[k]) for k in _RATE_KEYS if k in arrays and arrays[k].ndim == 0), None)
        yield from _array(key, x, options, rate=rate, t0_ns=0, names=None)
        return
    rows = np.atleast_2d(x if x.shape[-1] == arrays[time].size else x.T)
    t_ns = stamps.parse(arrays[time].astype(np.float64), time, "", options.day_first, options.time_format)
    for i, row in enumerate(rows):
        yield from _timed(key if len(rows) == 1 else f"{key}-{i}", "", _floats(row), t_ns, options.rate_hz)


READERS: dict[str, Callable[[str, bytes, Options], Iterator[Recording]]] = {
    ".csv": _csv,
    ".txt": _csv,
    ".npy": _npy,
    ".npz": _npz,
    ".wav": _wav,
    ".parquet": _parquet,
    ".v2": _v2,
    ".mat": _mat,
}
