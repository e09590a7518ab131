"""The service in numbers: what /metrics and /healthz say."""

from __future__ import annotations

from typing import Any

from lifeline_core.service.archivist import Archivist
from lifeline_core.service.deadletters import DeadLetterBox
from lifeline_core.service.desk import Desk
from lifeline_core.service.guard import AT_THE_DOOR, Guard
from lifeline_core.service.ingest import Ingest
from lifeline_core.service.replies import Replies
from lifeline_core.service.requests import Requests
from lifeline_core.service.runner import Runner
from lifeline_core.store.journal import Journal
from lifeline_core.store.outbox import Outbox


def dropped(replies: Replies, box: DeadLetterBox, desk: Desk, requests: Requests, archivist: Archivist) -> dict[str, int]:
    """What was given up since the start, by reason; frames that were refused are counted with the others."""
    return {
        "live_stalls": desk.live.stalls,
        "replies_dropped": replies.dropped,
        "requests_forgotten": requests.forgotten,
        "readers_turned_away": desk.turned_away,
        "captures_missed": archivist.missed,
        "captures_failed": archivist.failed,
        "dead_letters_failed": box.failed,
    }


def numbers(
    ingest: Ingest, replies: Replies, box: DeadLetterBox, desk: Desk, journal: Journal, outbox: Outbox, archivist: Archivist,
    guard: Guard | None,
) -> dict[str, Any]:
    """Counters and gauges of everything round the engine, by name."""
    received = ingest.receiver.counts()
    said = {
        "received": received["messages"],
        "received_bytes": received["bytes"],
        "rubbish": received["rubbish"],
        "replies": replies.sent,
        "replies_gone": replies.gone,
        "replies_again": replies.again,
        "dead_letters_dropped": box.dropped,
        "blocked": int(ingest.blocked),
        "blocked_times": ingest.blocked_times,
        "history_held": ingest.hall.held,
        "history_waiting_bytes": ingest.hall.bytes,
        "journal_bytes": journal.end - journal.first,
        "backlog": desk.backlog(),
        "last_seq": outbox.last_seq,
        "consumer_lag": desk.consumers.lag,
        "consumer_lost": desk.consumers.lost,
        "renumbered": outbox.renumbered,
    }
    said |= archivist.numbers()
    if guard is not None:
        said |= {f"denied_{reason}": guard.counts[reason] for reason in AT_THE_DOOR}
    return said | {f"desk_{name}": count for name, count in list(desk.counts.items())}


def health(ingest: Ingest, runner: Runner, desk: Desk, journal: Journal, *, failed: bool) -> dict[str, Any]:
    """Whether every thread runs (``live``), and whether the service does all it should just now (``ready``)."""
    live = not failed and all(thread.is_alive() for thread in (ingest, runner, desk))
    recovered = runner.recovered.is_set()
    return {
        "live": live,
        "ready": live and recovered and not ingest.blocked and not desk.trouble,
        "lag_bytes": max(0, journal.end - runner.position),
        "recovered": recovered,
        "blocked": ingest.blocked,
        "outbox": desk.trouble or "ok",
    }
