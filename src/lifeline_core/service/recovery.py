"""Where a start begins: the last snapshot that can be used, and the journal behind it. Nothing damaged stops it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from lifeline_core.engine import Engine
from lifeline_core.errors import ConfigError, StateError
from lifeline_core.model import City
from lifeline_core.store import snapshot
from lifeline_core.store.journal import Journal

SEGMENT_BYTES = 16 << 20
SMALLEST_SEGMENT = 1 << 20
HEAD_VERSION = 2
_HEAD = struct.Struct("<qq")


@dataclass(slots=True)
class Start:
    """An open journal, the engine, the position and the last tick it has seen, and what was wrong on the way."""

    journal: Journal
    engine: Engine
    position: int
    tick_ns: int
    problems: list[str]
    notes: list[str]  # what a changed configuration means for the state: no damage


def pack_head(tick_ns: int) -> bytes:
    """What stands before the engine's bytes in a snapshot: the last tick, which the next one must not fall behind."""
    return _HEAD.pack(HEAD_VERSION, tick_ns)


def unpack_state(state: bytes) -> tuple[memoryview, int]:
    """(engine's bytes, last tick); StateError for anything else."""
    if len(state) < _HEAD.size:
        raise StateError(f"a snapshot's state has a head of {_HEAD.size} bytes, got {len(state)}")
    version, tick_ns = _HEAD.unpack_from(state)
    if version != HEAD_VERSION:
        raise StateError(f"a snapshot's state is of version {HEAD_VERSION}, got {version}")
    return memoryview(state)[_HEAD.size :], tick_ns


def segment_bytes(budget: int, largest_frame: int) -> int:
    """At least eight segments in the budget, as far as one append of the ingest thread always fits into one segment.

    Such an append has half a segment and one frame more, and record headers.
    """
    size = max(min(SEGMENT_BYTES, budget // 8), SMALLEST_SEGMENT, 2 * largest_frame + (1 << 19))
    size = -(-size // 4096) * 4096
    if budget < 2 * size:
        raise ConfigError([f"service.journal_mib: must hold two segments of {size} bytes for frames of {largest_frame} bytes, "
                           f"so at least {-(-2 * size // (1 << 20))}, is {budget >> 20}"])  # fmt: skip
    return size


def recover(city: City, data_dir: Path) -> Start:
    """The engine as the snapshot left it; a fresh one where there is none or it cannot be used.

    A snapshot whose state cannot be taken is as good as none: all that the journal still holds is read again.

    Raises
    ------
    ConfigError
        The journal's budget is too small for the largest frame.
    StoreError
        The directory is in use by another process, or the system refuses it.
    """
    problems: list[str] = []
    state, position, begin = None, 0, 0
    found = snapshot.load(data_dir / "snapshots")
    if found is None:
        problems += snapshot.problems(data_dir / "snapshots")
    else:
        begin, state, said = found
        position = begin
        problems += said
    budget = city.service.journal_mib << 20
    journal = Journal(
        data_dir / "journal",
        budget_bytes=budget,
        durability=city.service.durability,
        begin=begin,
        segment_bytes=segment_bytes(budget, city.service.max_frame_kib << 10),
    )
    problems += [f"journal: {problem}" for problem in journal.problems]
    if found is None:
        position = journal.first
    engine, tick_ns, notes = None, 0, []
    if state is not None:
        try:
            saved, tick_ns = unpack_state(state)
            engine = Engine.restore(city, saved)
            notes = [f"snapshot: {note}" for note in engine.load_notes]
        except (StateError, ValueError) as error:
            problems.append(f"snapshot: {error}; going on with a fresh engine at the journal's beginning")
            position = journal.first  # what the outbox has it skips: reading twice is better than not at all
    if not journal.first <= position <= journal.end:
        nearest = min(max(position, journal.first), journal.end)
        problems.append(
            f"journal: it holds {journal.first} to {journal.end}, not the snapshot's {position}; going on at {nearest}"
        )
        position = nearest
    return Start(journal, engine or Engine(city), position, tick_ns, problems, notes)
