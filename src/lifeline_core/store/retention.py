"""What of the outbox goes and when, and who had not read it: for the outbox's own thread, on its connection.

::

    1 ........ 400 | 401 ............ 900 ......... 1200
      removed        cursor of p ^      there
                   missing(350) = 50    lag of p = 300
"""

from __future__ import annotations

import apsw

MOST_ALARMS = 1_000_000  # kept; past that the oldest go though somebody has not read them: a platform may never come back
DAY_NS = 86_400 * 1_000_000_000


def _one(db: apsw.Connection, query: str, values: tuple[int, ...] = ()) -> int | None:
    row = db.execute(query, values).fetchone()
    return int(row[0]) if row and isinstance(row[0], int) else None


def prune(db: apsw.Connection, last_seq: int, now_ns: int, retain_days: int, most: int) -> int:
    """Within a transaction: drop what is read by all and old, and what is too much; how many."""
    read = _one(db, "SELECT min(cursor) FROM consumers")
    young = _one(db, "SELECT seq FROM alarms WHERE published_ns >= ? ORDER BY seq LIMIT 1", (now_ns - retain_days * DAY_NS,))
    upto = min(last_seq if read is None else read, last_seq if young is None else young - 1)
    upto = max(upto, last_seq - most)
    newest = _one(db, "SELECT max(published_ns) FROM alarms WHERE seq <= ?", (upto,))
    if newest is None:
        return 0
    db.execute("INSERT INTO removed VALUES(1, ?) ON CONFLICT(one) DO UPDATE SET "
               "published_ns = max(published_ns, excluded.published_ns)", (newest,))
    db.execute("DELETE FROM alarms WHERE seq <= ?", (upto,))
    return db.changes()


def removed_ns(db: apsw.Connection) -> int:
    """When the newest of the removed alarms was published; -1 while none was removed."""
    found = _one(db, "SELECT published_ns FROM removed")
    return -1 if found is None else found


def missing(db: apsw.Connection, last_seq: int, after: int) -> int:
    """How many alarms behind a cursor were removed."""
    first = _one(db, "SELECT min(seq) FROM alarms")
    return max(0, (last_seq if first is None else first - 1) - after)


def passed(db: apsw.Connection, held: int, cursor: int) -> int:
    """How many numbers that a cursor passes are no longer there."""
    there = _one(db, "SELECT count(*) FROM alarms WHERE seq > ? AND seq <= ?", (held, cursor))
    return cursor - held - (there or 0)


def standing(db: apsw.Connection, last_seq: int, consumer: str | None) -> dict[str, dict[str, int]]:
    """See `Outbox.standing`."""
    query = "SELECT name, cursor, lost FROM consumers WHERE ?1 IS NULL OR name = ?1 ORDER BY name"
    found = {}
    for name, cursor, lost in db.execute(query, (consumer,)).fetchall():
        at = int(cursor or 0)
        gone = missing(db, last_seq, at)
        found[str(name)] = {"cursor": at, "lag": last_seq - at - gone, "lost": int(lost or 0) + gone}
    return found
