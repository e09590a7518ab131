"""Where the replay of a capture begins: what the engine knew of an alarm's watches before it was raised.

::

    journal   ....... snapshot .............. raise ............ clear
    desk                | the newest one is held fast (a second name of its file)
    worker              |--- frames of the watches' channels ------>|     and of the snapshot what is needed to judge them

An alarm is raised by what came behind the newest snapshot of that moment, because snapshots are kept behind the alarms that led
to them. Of the engine's state the streams and joins are kept as they are and of the watches the alarm's own; the others begin
anew in a replay, which asks only for this alarm.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgpack

from lifeline_core.errors import StateError
from lifeline_core.service.recovery import unpack_state
from lifeline_core.store import snapshot

MOST_BYTES = 4 << 20  # of one kept state
LARGEST_BYTES = 256 << 20  # of a snapshot that is looked into
VERSION = 1


class Origins:
    """`hold` is for the desk's thread, the rest for the worker's.

    Parameters
    ----------
    snapshots, home : path
        Where snapshots are, and where they are held fast: one file system.
    """

    def __init__(self, snapshots: Path, home: Path) -> None:
        self._snapshots, self._home = snapshots, home
        self._read: tuple[Path | None, int, _State | None, str] = (None, 0, None, "")
        self.let_go(list(home.glob("origin-*")))

    def hold(self) -> Path | None:
        """The newest snapshot under a name of its own; None where there is none, or the file system knows no second names."""
        try:
            newest = max(self._snapshots.glob("snapshot-*.lls"), default=None)
            if newest is None:
                return None
            held = self._home / newest.stem.replace("snapshot", "origin")
            held.mkdir(exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.link(newest, held / newest.name)
        except OSError:
            return None
        return held

    def let_go(self, held: Collection[Path]) -> None:
        for folder in held:
            shutil.rmtree(folder, ignore_errors=True)

    def position(self, held: Path | None) -> int | None:
        """The journal position it is of; None where there is nothing that could be used."""
        position, state, _ = self._look(held) if held is not None else (0, None, "")
        return position if state is not None else None

    def _look(self, held: Path) -> tuple[int, _State | None, str]:
        if self._read[0] != held:
            self._read = (held, *_read(held))
        return self._read[1:]

    def state(self, held: Path | None, watches: Collection[str]) -> tuple[int, bytes, str]:
        """(journal position, what is kept, "") or (0, b"", why there is nothing)."""
        if held is None:
            return 0, b"", "there was no snapshot before it"
        position, state, why = self._look(held)
        if state is None:
            return 0, b"", why
        kept = state.of(watches)
        if len(kept) > MOST_BYTES:
            return 0, b"", f"the state of its watches has {len(kept)} bytes, {MOST_BYTES} are kept"
        return position, kept, ""


def _read(held: Path) -> tuple[int, _State | None, str]:
    try:
        size = sum(path.stat().st_size for path in held.iterdir())
        if size > LARGEST_BYTES:
            return 0, None, f"the snapshot has {size} bytes, {LARGEST_BYTES} are looked into"
        found = snapshot.load(held)
        if found is None:
            return 0, None, "the snapshot before it is damaged"
        return found[0], _State(unpack_state(found[1])[0]), ""
    except (OSError, ValueError, StateError) as error:
        return 0, None, f"the snapshot cannot be used: {error}"


class _State:
    """The pieces of one saved engine (`Engine.save`), so that some of them can be put together again."""

    def __init__(self, state: bytes | memoryview) -> None:
        parts = msgpack.Unpacker(strict_map_key=False, max_buffer_size=0)
        parts.feed(state)
        try:
            self._head: dict[str, Any] = next(parts)
            assembler: bytes = next(parts)
            self._runs: dict[str, bytes] = {}
            self._stubs: dict[str, bytes] = {}
            for what, *said in parts:
                if what == "run":
                    name, run, beside = said
                    self._runs[name] = msgpack.packb(("run", name, run, beside))
                    stub = {"hash": "", "groups": run["groups"], "errors": 0, "lanes": {}}
                    self._stubs[name] = msgpack.packb(("run", name, stub, None))
        except (ValueError, KeyError, TypeError, msgpack.UnpackException) as error:
            raise StateError(f"a saved engine is a map, bytes and runs: {error!r}") from error
        self._head |= {"n_episodes": 0, "active": {}}
        self._first = zlib.compress(msgpack.packb(self._head) + b"\xc6" + len(assembler).to_bytes(4, "big") + assembler, 1)

    def of(self, watches: Collection[str]) -> bytes:
        """Streams, joins and these watches, packed."""
        runs = b"".join(self._runs[name] if name in watches else stub for name, stub in self._stubs.items())
        return msgpack.packb({"v": VERSION, "first": self._first, "runs": zlib.compress(runs, 1)})


def unpack(kept: bytes) -> bytes:
    """The engine's state out of what was kept, for `Engine.restore`; StateError for anything else."""
    try:
        said = msgpack.unpackb(kept)
        if said["v"] != VERSION:
            raise ValueError(f"version {said['v']}, this build takes {VERSION}")
        return b"".join(zlib.decompressobj().decompress(said[part], LARGEST_BYTES) for part in ("first", "runs"))
    except (ValueError, KeyError, TypeError, zlib.error, msgpack.UnpackException) as error:
        raise StateError(f"the state beside a capture cannot be read: {error!r}") from error
