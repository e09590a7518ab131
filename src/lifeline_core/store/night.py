"""The directory of a night: which files are whose, when each recording began, and every file that could not be used.

A logger's files begin with its name (``L01.wav``, ``L01_20260301T020000.wav``, ``L01-b.npz``) or fit its pattern. When a
recording began, the first that is there: the file's own time (NPZ ``t0_ns``, Parquet time column or ``t0_ns`` in its
metadata), a date and time in the file's name (``20260301T020000``, ``20260301-020000``, with a Z for UTC, else local).
Otherwise the time is unknown, and the rest of the name tells recordings apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from lifeline_core.pipes.overlap import NS, Take
from lifeline_core.store.arrays import Recording, read_array
from lifeline_core.store.formats import READERS

_STAMP = re.compile(r"(?<!\d)(\d{4})-?(\d{2})-?(\d{2})[T_ -]?(\d{2})[-:]?(\d{2})[-:]?(\d{2})(Z?)(?!\d)")
_PACKED = re.compile(r"(\.(gz|zip))+$", re.I)
# Begins with the logger's name and goes on with anything but a letter or a digit: L1 is not L10.
_AFTER = re.compile(r"(?![A-Za-z0-9])")


class Trouble(NamedTuple):
    """What could not be used: a file or logger, one word for counting, and the whole sentence."""

    subject: str
    word: str
    text: str


@dataclass
class Directory:
    """Files by logger; ``troubles`` names files without a logger and loggers without a file."""

    files: dict[str, list[Path]]
    troubles: list[Trouble] = field(default_factory=list)


def stem(path: Path) -> str:
    """A file's name without what it ends in.

    >>> stem(Path("L01_0230.wav.gz"))
    'L01_0230'
    """
    return Path(_PACKED.sub("", path.name)).stem


def is_recording(path: Path) -> bool:
    return Path(_PACKED.sub("", path.name)).suffix.lower() in {*READERS, ".zip"}


def sort_files(directory: Path, names: Sequence[str], patterns: Mapping[str, str] | None = None) -> Directory:
    """Every recording of a directory by its logger; the longest name that fits wins.

    Raises
    ------
    OSError
        Where the directory cannot be read.
    """
    found = Directory({})
    for path in sorted(p for p in directory.iterdir() if p.is_file()):
        if not is_recording(path):
            if path.suffix.lower() not in (".toml", ".md", ".txt"):
                found.troubles.append(Trouble(path.name, "unknown-kind", "is no recording this program can read"))
            continue
        mine = [n for n in names if _fits(path, n, (patterns or {}).get(n))]
        if not mine:
            found.troubles.append(Trouble(path.name, "no-logger", "belongs to no logger of the network"))
            continue
        found.files.setdefault(max(mine, key=len), []).append(path)
    found.troubles += [Trouble(n, "no-file", "has no recording tonight") for n in names if n not in found.files]
    return found


def _fits(path: Path, name: str, pattern: str | None) -> bool:
    if pattern is not None:
        return fnmatchcase(path.name, pattern)
    text = stem(path)
    return text.lower().startswith(name.lower()) and _AFTER.match(text, len(name)) is not None


def names_in(directory: Path) -> list[str]:
    """Loggers of a directory nobody described: what stands before the first ``_``, space or time in its files' names."""
    found: dict[str, None] = {}
    for path in sorted(p for p in directory.iterdir() if p.is_file() and is_recording(p)):
        text = stem(path)
        stamp = _STAMP.search(text)
        text = re.split(r"[_ ]", text[: stamp.start()] if stamp else text)[0].rstrip("-.") or text
        found[text] = None
    return list(found)


def begun(text: str, zone: tzinfo) -> int | None:
    """UTC nanoseconds of a date and time in a name; None where there is none, or it is no date.

    >>> begun("L01_20260301T020000Z", UTC)
    1772330400000000000
    >>> begun("L01_0230", UTC) is None
    True
    """
    stamp = _STAMP.search(text)
    if stamp is None:
        return None
    try:
        moment = datetime(*map(int, stamp.groups()[:6]), tzinfo=UTC if stamp[7] else zone)  # type: ignore[misc, arg-type]
    except ValueError:
        return None
    return int(moment.timestamp()) * NS


def read_takes(paths: Iterable[Path], name: str, zone: tzinfo) -> tuple[list[Take], list[Trouble]]:
    """All recordings of one logger by time, and what could not be used of its files."""
    takes: list[tuple[str, Take]] = []
    troubles: list[Trouble] = []
    for path in paths:
        try:
            recordings = read_array(path, **_parquet_says(path))
            takes += [(path.name, t) for t in _takes(path, name, recordings, zone)]
        except Exception as error:  # each library has exceptions of its own for damage, and one file must not end a night
            troubles.append(Trouble(path.name, "unreadable", f"{error}"))
    takes.sort(key=lambda t: (t[1].t0_ns is None, t[1].t0_ns or 0, t[1].label))
    kept: list[Take] = []
    for file, take in takes:
        last = kept[-1] if kept else None
        if last is not None and _collide(last, take):
            troubles.append(Trouble(file, "overlap", f"overlaps another recording of {name}, which is used"))
        else:
            kept.append(take)
    return kept, troubles


def _collide(a: Take, b: Take) -> bool:
    """Two recordings of one logger that cannot both be: of one time, or of no time and one name."""
    if a.t0_ns is None or b.t0_ns is None:
        return a.t0_ns is b.t0_ns and a.label == b.label
    return b.t0_ns < a.stop_ns - NS / a.rate_hz  # rounding of stamps is no overlap


def _takes(path: Path, name: str, recordings: Sequence[Recording], zone: tzinfo) -> list[Take]:
    channels = list(dict.fromkeys(r.name for r in recordings))
    mine = channels[0] if len(channels) == 1 else next((c for c in channels if c.lower() == name.lower()), None)
    if mine is None:
        raise ValueError(f"{path.name}: must hold one channel, or one named {name}; holds {', '.join(channels[:8])}")
    text = stem(path)
    label = text[len(name) :] if text.lower().startswith(name.lower()) else text
    found = []
    for r in recordings:
        if r.name != mine:
            continue
        if r.rate_hz is None:
            raise ValueError(f"{path.name}: must have a fixed rate, its samples are irregular")
        found.append(Take(r.t0_ns or begun(text, zone), label, r.rate_hz, r.x))
    return found


def _parquet_says(path: Path) -> dict[str, Any]:
    """Rate and time from a Parquet file's own metadata: its columns need not hold a time then."""
    if path.suffix.lower() != ".parquet":
        return {}
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        said = pq.read_schema(path).metadata or {}
    except pa.ArrowException as error:
        raise ValueError(f"{path.name}: must be Parquet, {error}") from error
    rate = next((float(said[k]) for k in (b"rate_hz", b"fs", b"sample_rate") if k in said), None)
    found: dict[str, Any] = {} if rate is None else {"rate_hz": rate}
    return found | ({"t0": int(said[b"t0_ns"])} if b"t0_ns" in said else {})
