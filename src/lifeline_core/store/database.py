"""The database of the outbox: opened and checked, its transactions, and what a damaged one still gives."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec

from lifeline_core.errors import StoreError
from lifeline_core.model import Alarm

SCHEMA = 2
ROOM = 20 << 20  # of the log, bytes: more than what autocheckpoint lets gather
_TABLES = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE alarms(seq INTEGER PRIMARY KEY, alarm_id TEXT NOT NULL, revision INTEGER NOT NULL,
                    published_ns INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE(alarm_id, revision));
CREATE TABLE consumers(name TEXT PRIMARY KEY, cursor INTEGER NOT NULL, updated INTEGER NOT NULL) WITHOUT ROWID;
"""
_LOST = """
ALTER TABLE consumers ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;
CREATE TABLE removed(one INTEGER PRIMARY KEY CHECK (one = 1), published_ns INTEGER NOT NULL);
"""  # since schema 2
DECODER = msgspec.msgpack.Decoder(Alarm)


class Damaged(Exception):
    """The file is no database, or not one of ours."""


class Refusals:
    """What SQLite or the disk refuses leaves as StoreError."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, apsw.Error):
            raise StoreError(errno.EIO, f"the outbox: {error}") from error
        if isinstance(error, OSError) and not isinstance(error, StoreError):
            raise StoreError(error.errno, f"the outbox: {error.strerror}") from error


class Transaction(Refusals):
    """All of it or nothing."""

    def __init__(self, db: apsw.Connection) -> None:
        self.db = db

    def __enter__(self) -> None:
        with Refusals():
            self.db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        with Refusals():
            try:
                if error is None:
                    self.db.execute("COMMIT")
            finally:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
        super().__exit__(kind, error, trace)


def connect(path: Path) -> apsw.Connection:
    """An open, checked database of this schema; Damaged where the file cannot be one."""
    db = None
    try:
        db = apsw.Connection(str(path))
        db.set_busy_timeout(2000)
        asked = {"locking_mode": ("EXCLUSIVE", "exclusive"), "journal_mode": ("WAL", "wal"), "synchronous": ("FULL", 2)}
        for name, (value, expected) in asked.items():
            db.execute(f"PRAGMA {name} = {value}")
            got = db.pragma(name)
            if got != expected:
                raise StoreError(errno.EIO, f"{path}: SQLite gives {name} = {got!r} where {expected!r} was asked")
        # The log is worked into the database every 16 MiB, not every 4: whoever commits meanwhile waits for two syncs more.
        db.execute(f"PRAGMA cell_size_check = ON; PRAGMA journal_size_limit = {ROOM}; PRAGMA wal_autocheckpoint = 4096")
        said = db.pragma("quick_check")
        if said != "ok":
            raise Damaged(f"quick_check: {str(said).splitlines()[0]}")
        version = db.pragma("user_version")
        if version == 0:
            db.execute(f"BEGIN IMMEDIATE; {_TABLES} {_LOST} INSERT INTO meta VALUES('last_seq', 0); "
                       f"PRAGMA user_version = {SCHEMA}; COMMIT")
        elif version == 1:
            db.execute(f"BEGIN IMMEDIATE; {_LOST} PRAGMA user_version = {SCHEMA}; COMMIT")
        elif version != SCHEMA:
            raise Damaged(f"schema {version}, this build has {SCHEMA}")
        for columns in ("key, value FROM meta", "seq, alarm_id, revision, published_ns, body FROM alarms",
                        "name, cursor, updated, lost FROM consumers", "published_ns FROM removed"):
            db.execute(f"SELECT {columns} LIMIT 1").fetchall()
        _stretch_log(db)
        return db
    except BaseException as e:
        if db is not None:
            db.close()
        if isinstance(e, apsw.BusyError | apsw.LockedError):
            raise StoreError(errno.EAGAIN, f"{path}: another process has the outbox open") from e
        if isinstance(e, apsw.NotADBError | apsw.CorruptError | apsw.FormatError | apsw.SQLError):
            raise Damaged(str(e)) from e
        if isinstance(e, apsw.Error):
            raise StoreError(errno.EIO, f"{path}: {e}") from e
        raise


def _stretch_log(db: apsw.Connection) -> None:
    """Give the log the blocks it will use, by a transaction that is too large for memory and taken back.

    A commit then writes over blocks that are there. While the log grows each commit makes the file system write down where the
    new ones are, and with them whatever else it has in hand: tens of milliseconds beside a busy journal. No room is no fault.
    """
    with contextlib.suppress(apsw.Error):
        db.execute(f"BEGIN IMMEDIATE; CREATE TABLE room(x); INSERT INTO room VALUES(zeroblob({ROOM - (1 << 20)}))")
    if db.in_transaction:
        db.execute("ROLLBACK")


def carry_over(bad: Path, db: apsw.Connection) -> int:
    """Whatever can still be read from a damaged database, from both ends towards the damage; how many alarms."""
    saved = 0
    try:
        old = apsw.Connection(str(bad), flags=apsw.SQLITE_OPEN_READWRITE)
    except apsw.Error:
        return 0
    try:
        with Transaction(db):
            for order in ("ASC", "DESC"):
                for row in _rows(old, f"SELECT seq, alarm_id, revision, published_ns, body FROM alarms ORDER BY seq {order}"):
                    if _is_whole(row):
                        db.execute("INSERT OR IGNORE INTO alarms VALUES(?, ?, ?, ?, ?)", row)
                        saved += db.changes()
            last = max([0, *(v for (v,) in _rows(old, "SELECT value FROM meta") if isinstance(v, int))])
            db.execute("REPLACE INTO meta VALUES('last_seq', ?)", (last,))
            for columns in ("name, cursor, updated, lost", "name, cursor, updated"):  # the second: of schema 1
                for row in _rows(old, f"SELECT {columns} FROM consumers"):
                    db.execute("INSERT OR IGNORE INTO consumers VALUES(?, ?, ?, ?)", (*row, 0)[:4])
            for row in _rows(old, "SELECT published_ns FROM removed"):
                db.execute("REPLACE INTO removed VALUES(1, ?)", row)
    finally:
        old.close()
    return saved


def _rows(old: apsw.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    try:
        yield from old.execute(query)
    except apsw.Error:
        return


def _is_whole(row: tuple[Any, ...]) -> bool:
    """The row's columns are what its body says."""
    try:
        alarm = DECODER.decode(row[4])
    except (msgspec.MsgspecError, TypeError):
        return False
    return (alarm.seq, alarm.alarm_id, alarm.revision, alarm.published_ns) == tuple(row[:4])
