"""The alarm outbox: every alarm once, numbered without holes, kept until the platforms have it.

SQLite in WAL mode with synchronous=FULL: what `put` returned survives a power cut (NORMAL would lose it, and killing the
process cannot show that). One connection in one thread of one process; another process is locked out.

    meta(key, value)                                 last_seq: no row was ever removed behind it
    alarms(seq, alarm_id, revision, published_ns, body)     body: the Alarm as msgpack, UNIQUE(alarm_id, revision)
    consumers(name, cursor, updated, lost)           lost: numbers its cursor passed that were no longer there
    removed(published_ns)                            of the newest alarm that retention removed

**What the engine forgot.** A power cut may take the end of the journal, and with it what made an alarm that is kept here:
the engine then counts its revisions from an earlier one, and says another thing under a number that is taken. That gets
the next free number of its alarm (`renumbered`), so that a clear is never taken for the confirmation it follows.

**The number's second home.** ``<name>.seq`` beside the database (mark.py) says the highest seq that may have been given
away, and never less: numbering that goes on from it after the database was lost gives no number twice. It is written before
each commit and synced once for 256 numbers, because a sync of its own would double what every alarm waits for. Only where
the machine crashed *and* the database is ruined do up to 256 numbers stay unused. With a sound database the database
decides, and there is no hole.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw
import msgspec

from lifeline_core.errors import StoreError
from lifeline_core.model import Alarm
from lifeline_core.store import disk, retention
from lifeline_core.store.database import DECODER, Damaged, Refusals, Transaction, carry_over, connect
from lifeline_core.store.mark import Mark

AT_ONCE = 500  # rows of one statement, which SQLite bounds
CONSUMERS = 256  # a name holds rows back, so there are not arbitrarily many


class Outbox:
    """Alarms on their way to the platforms.

    Parameters
    ----------
    path
        The database file; its directory is made where it is missing. A damaged file is set aside, what can still be
        read from it is carried over, and ``problems`` says so.
    before
        Called before each commit: what alarms are made of is brought to the disk first, so that no power cut leaves an
        alarm that the engine then knows nothing of.

    Attributes
    ----------
    last_seq : int
        The highest number given; may be asked from any thread.
    renumbered : int
        Revisions kept under another number than theirs since opening.
    problems : list of str

    Raises
    ------
    StoreError
        Another process has it open, or the disk refuses.
    RuntimeError
        A call from another thread than the first one's.
    """

    def __init__(self, path: str | os.PathLike[str], before: Callable[[], object] | None = None) -> None:
        self.path, self._before = Path(path), before
        self.problems: list[str] = []
        self.last_seq = self.renumbered = 0
        self._thread: int | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._mark = Mark(self.path.with_name(self.path.name + ".seq"))
        except OSError as e:
            raise StoreError(e.errno, f"{self.path}: {e.strerror}") from e
        try:
            self._db = self._open()
        except BaseException:
            self._mark.close()
            raise

    # ---- the service's side ----

    def put(self, alarms: Sequence[Alarm], published_ns: int) -> list[Alarm]:
        """Keep the alarms it does not have yet, all in one transaction; these, with ``seq`` and ``published_ns``.

        It has an alarm when the same is said under its revision, or under a later one where that was taken. On return they
        are on the disk: now they may be published. On StoreError none of them is kept.
        """
        if not alarms:
            return []
        db = self._own()
        if self._before is not None:
            self._before()
        renumbered = 0
        new = [msgspec.structs.replace(a, seq=self.last_seq + k, published_ns=published_ns) for k, a in enumerate(alarms, 1)]
        with Refusals():
            self._mark.write(self.last_seq, self.last_seq + len(new))
            done = _insert_all(db, new)
        if not done:
            with Transaction(db):
                new, renumbered = self._insert_each(db, alarms, published_ns)
                self._mark.write(self.last_seq, self.last_seq + len(new))
        self.last_seq += len(new)
        self.renumbered += renumbered
        return new

    def _insert_each(self, db: apsw.Connection, alarms: Sequence[Alarm], published_ns: int) -> tuple[list[Alarm], int]:
        """Those that are not kept yet, and how many of them under another number than theirs."""
        seq, new, renumbered = self.last_seq, [], 0
        for alarm in alarms:
            stored = msgspec.structs.replace(alarm, seq=seq + 1, published_ns=published_ns)
            if not _insert(db, stored):
                if (free := _free_number(db, alarm)) is None:
                    continue
                stored = msgspec.structs.replace(stored, revision=free)
                _insert(db, stored)
                renumbered += 1
            seq += 1
            new.append(stored)
        return new, renumbered

    def prune(self, now_ns: int, retain_days: int, most: int = retention.MOST_ALARMS) -> int:
        """Drop rows that every named consumer has acknowledged and that are older than ``retain_days``; how many.

        Where more than ``most`` alarms are left, the oldest of them go too: `standing` tells whoever had not read them.
        Numbers are never given again. Feed the journal through the engine first: what a restart says again is known by
        its row. Rows go oldest first, so one young row keeps the younger-numbered ones.
        """
        if retain_days < 0:
            raise ValueError(f"retain_days >= 0: {retain_days}")
        if most < 1:
            raise ValueError(f"most >= 1: {most}")
        db = self._own()
        with Transaction(db):
            db.execute("REPLACE INTO meta VALUES('last_seq', ?)", (self.last_seq,))  # numbering goes on when all rows are gone
            return retention.prune(db, self.last_seq, now_ns, retain_days, most)

    # ---- the platforms' side ----

    def read(self, after: int, max: int = 100) -> list[Alarm]:
        """At most ``max`` alarms with ``seq > after``, in order.

        A row that this build cannot read is passed over and named in ``problems``.
        """
        if after < 0 or max < 1:
            raise ValueError(f"after >= 0 and max >= 1: {after}, {max}")
        db, found = self._own(), []
        with Refusals():
            for seq, body in db.execute("SELECT seq, body FROM alarms WHERE seq > ? ORDER BY seq", (after,)):
                try:
                    found.append(DECODER.decode(body))
                except msgspec.MsgspecError as e:
                    said = f"alarm {seq} cannot be read: {e}"
                    if said not in self.problems:
                        self.problems.append(said)
                if len(found) == max:
                    break
        return found

    def before(self, published_ns: int) -> int:
        """The cursor behind which the first alarm published at ``published_ns`` or later comes; the last one where none did.

        `removed_ns` says whether there were more.
        """
        query = "SELECT seq FROM alarms WHERE published_ns >= ? ORDER BY seq LIMIT 1"
        with Refusals():
            row = self._own().execute(query, (published_ns,)).fetchone()
        return int(row[0]) - 1 if row else self.last_seq

    def missing(self, after: int) -> int:
        """How many alarms behind a cursor were removed: whoever reads from there never sees them."""
        with Refusals():
            return retention.missing(self._own(), self.last_seq, after)

    def removed_ns(self) -> int:
        """When the newest of the removed alarms was published; -1 while none was removed."""
        with Refusals():
            return retention.removed_ns(self._own())

    def find(self, alarm_id: str) -> Alarm | None:
        """The last revision kept of one alarm."""
        query = "SELECT body FROM alarms WHERE alarm_id = ? ORDER BY revision DESC LIMIT 1"
        with Refusals():
            row = self._own().execute(query, (alarm_id,)).fetchone()
        return DECODER.decode(row[0]) if row else None

    def cursor(self, consumer: str) -> int:
        """What ``consumer`` has acknowledged; one that is new begins at 0, and from now on rows are kept for it."""
        db = self._own()
        _check_name(consumer)
        with Refusals():
            row = db.execute("SELECT cursor FROM consumers WHERE name = ?", (consumer,)).fetchone()
        if row:
            return int(row[0])
        with Transaction(db):
            (n,) = db.execute("SELECT count(*) FROM consumers").fetchone() or (0,)
            if n >= CONSUMERS:
                raise ValueError(f"at most {CONSUMERS} named consumers; forget one first: {consumer!r}")
            db.execute("INSERT INTO consumers VALUES(?, 0, 0, 0)", (consumer,))
        return 0

    def ack(self, consumer: str, cursor: int, now_ns: int = 0) -> int:
        """``consumer`` has everything up to ``cursor``; its cursor after that, which only moves forward.

        ``now_ns`` is kept beside it, for people.
        """
        if cursor < 0:
            raise ValueError(f"cursor >= 0: {cursor}")
        if cursor > self.last_seq:
            raise ValueError(f"cursor <= {self.last_seq}, the last seq there is: {cursor}")
        held = self.cursor(consumer)
        if cursor <= held:
            return held
        db = self._own()
        with Transaction(db):
            db.execute("UPDATE consumers SET cursor = ?, updated = ?, lost = lost + ? WHERE name = ?",
                       (cursor, now_ns, retention.passed(db, held, cursor), consumer))
        return cursor

    def standing(self, consumer: str | None = None) -> dict[str, dict[str, int]]:
        """Of one named consumer, or of each, its ``cursor``, ``lag`` and ``lost``.

        ``lag`` counts the alarms behind its cursor that are there. ``lost`` counts those that were removed before its cursor
        reached them: what it has passed of them, and what still lies before it. A new name begins at 0.
        """
        with Refusals():
            return retention.standing(self._own(), self.last_seq, consumer)

    def consumers(self) -> dict[str, int]:
        """Cursor by name."""
        db = self._own()
        with Refusals():
            return {str(name): int(at) for name, at in db.execute("SELECT name, cursor FROM consumers ORDER BY name")}

    def forget(self, consumer: str) -> None:
        """No longer keep rows for ``consumer``."""
        db = self._own()
        with Transaction(db):
            db.execute("DELETE FROM consumers WHERE name = ?", (consumer,))

    def close(self) -> None:
        """May be called from any thread, once the others have stopped."""
        self._db.close()
        self._mark.close()

    def __enter__(self) -> Outbox:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ---- opening ----

    def _own(self) -> apsw.Connection:
        here = threading.get_ident()
        if self._thread is None:
            self._thread = here
        if self._thread != here:
            raise RuntimeError(f"the outbox belongs to thread {self._thread}, the first that used it; this is {here}")
        return self._db

    def _open(self) -> apsw.Connection:
        was_there = self.path.exists()
        try:
            db = connect(self.path)
        except Damaged as e:
            bad = disk.set_aside(self.path, self.path.name + ".*")
            db = connect(self.path)
            saved = carry_over(bad, db)
            self.problems.append(f"{self.path.name}: {e}; set aside as {bad.name}, {saved} alarms carried over")
            was_there = True
        with Refusals():
            (last,) = db.execute("SELECT value FROM meta WHERE key = 'last_seq'").fetchone() or (0,)
            (rows,) = db.execute("SELECT coalesce(max(seq), 0) FROM alarms").fetchone() or (0,)
        if not was_there and self._mark.seq:
            self.problems.append(f"{self.path.name}: the database is missing")
        elif max(last, rows) < self._mark.before:
            self.problems.append(f"{self.path.name}: an older database, it ends at {max(last, rows)} of {self._mark.before}")
        fresh = bool(self.problems)
        self.last_seq = max(last, rows, self._mark.seq if fresh else 0)
        if fresh:
            self.problems.append(f"{self.path.name}: numbers go on after {self.last_seq}")
        try:
            if self.last_seq != last:
                with Transaction(db):
                    db.execute("REPLACE INTO meta VALUES('last_seq', ?)", (self.last_seq,))
            if self._mark.seq < self.last_seq:
                self._mark.write(self.last_seq, self.last_seq)
            # Names too: SQLite does not sync the removal of the rollback journal it made the tables with, and one that
            # a power cut brought back would undo everything since.
            disk.fsync_directory(self.path.parent)
        except OSError as e:
            db.close()
            raise StoreError(e.errno, f"{self.path}: {e.strerror}") from e
        return db


def _insert_all(db: apsw.Connection, alarms: Sequence[Alarm]) -> bool:
    """All of them, and safe, by one statement, as mostly goes; False, and none, where a number is taken or they are many."""
    if len(alarms) > AT_ONCE:
        return False
    values = ", ".join(["(?, ?, ?, ?, ?)"] * len(alarms))
    try:
        db.execute(f"INSERT INTO alarms VALUES {values}", [value for alarm in alarms for value in _row(alarm)])
    except apsw.ConstraintError:
        return False
    return True


def _insert(db: apsw.Connection, alarm: Alarm) -> bool:
    """Whether the number of the revision was free."""
    db.execute("INSERT INTO alarms VALUES(?, ?, ?, ?, ?) ON CONFLICT(alarm_id, revision) DO NOTHING", _row(alarm))
    return bool(db.changes())


def _row(alarm: Alarm) -> tuple[int, str, int, int, bytes]:
    return alarm.seq, alarm.alarm_id, alarm.revision, alarm.published_ns, msgspec.msgpack.encode(alarm)


def _free_number(db: apsw.Connection, alarm: Alarm) -> int | None:
    """The next revision of an alarm whose own is taken by something else; None where this is kept already."""
    query = "SELECT revision, body FROM alarms WHERE alarm_id = ? AND revision >= ? ORDER BY revision"
    mine, last = _said(alarm), alarm.revision
    for revision, body in db.execute(query, (alarm.alarm_id, alarm.revision)):
        last = revision
        try:
            if _said(DECODER.decode(body)) == mine:
                return None
        except msgspec.MsgspecError:  # of another build: as good as the same, for its number is known
            if revision == alarm.revision:
                return None
    return last + 1


def _said(alarm: Alarm) -> bytes:
    """What a revision says that another of the same alarm does not; as it is kept, where a tuple is a list."""
    said = (alarm.process, alarm.handling, alarm.severity, alarm.shelved_until_ns, alarm.updated_ns, alarm.where)
    return msgspec.msgpack.encode(said)


def _check_name(consumer: str) -> None:
    if not 0 < len(consumer) <= 200:
        raise ValueError(f"a consumer's name has 1 to 200 characters: {consumer[:200]!r}")
