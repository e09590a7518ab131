"""From raise to clear: one alarm per (site, watch, kind), revised whenever severity, process, handling or place change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from lifeline_core.alarms.grade import grade
from lifeline_core.alarms.handling import step
from lifeline_core.alarms.words import say
from lifeline_core.errors import CommandRefused
from lifeline_core.model import Alarm, Finding, Site, alarm_id
from lifeline_core.version import __version__

KEPT = 10_000  # finished episodes that still take commands; the oldest go first
LIVE, FLAGGED, LATE = "0", "1", "2"  # lanes: of the live detector, of what it met flagged as history, of its twin for late samples
LOG = 32  # handling steps kept in an alarm's evidence


class Episode(msgspec.Struct):
    """The newest revision of an alarm and the sources that keep it active."""

    alarm: Alarm
    sources: dict[str, int] = {}
    channels: list[str] = []


class Episodes:
    """All episodes of a city.

    Severity only rises within an episode; a raise after a clear is a new episode with a new id; a refined onset or place
    keeps the id. Several sources (channels) of one watch and kind share one episode, which clears with the last of them.
    """

    def __init__(self, config_hash: str) -> None:
        self.config_hash = config_hash
        self.known: dict[str, Episode] = {}
        self.active: dict[str, str] = {}  # "site|watch|kind|lane" -> alarm_id
        self.shelved: set[str] = set()
        self.raised = 0

    def hear(
        self, finding: Finding, site: Site, watch: str, *, late: bool = False, health: Mapping[str, list[str]] | None = None
    ) -> list[Alarm]:
        """What a finding changes: no alarm, one revision, or the ends of two.

        Parameters
        ----------
        late : bool
            Said by the twin for what came late. It ends nothing that the live detector began, nor is ended by it: which of the
            two speaks first hangs on how frames are batched. The live one may begin in a block that is flagged as history and end
            in one that is not, or the other way round.
        health : mapping of str to list of str
            What ails the channels concerned, by channel.
        """
        about = f"{site.name}|{watch}|{finding.kind}|"
        if not finding.active:
            ended: list[Alarm] = []
            for key in (about + LATE,) if late else (about + LIVE, about + FLAGGED):
                if (open_ := self.known.get(self.active.get(key, ""))) is not None:
                    ended += self._end(key, open_, finding)
            return ended
        key = about + (LATE if late else FLAGGED if finding.historical else LIVE)
        episode = self.known.get(self.active.get(key, ""))
        if episode is None:
            return [self._begin(key, finding, site, watch, health or {})]
        return self._go_on(episode, finding, site)

    def _begin(self, key: str, f: Finding, site: Site, watch: str, health: Mapping[str, list[str]]) -> Alarm:
        identity = alarm_id(site.name, watch, f.kind, f.onset_ns)
        before = self.known.pop(identity, None)
        severity = grade(f.severity, site)
        evidence = dict(f.evidence)
        if health:
            evidence["health"] = {k: list(v) for k, v in sorted(health.items())}
        channels = [f.source] if f.source else []
        where = {**f.where, "channels": list(channels)} if channels else dict(f.where)
        if site.lon is not None and site.lat is not None:
            where = {"lon": site.lon, "lat": site.lat, **where}
        alarm = Alarm(
            alarm_id=identity,
            revision=before.alarm.revision + 1 if before else 1,
            site=site.name,
            domain=site.domain,
            watch=watch,
            kind=f.kind,
            severity=severity,
            process="active",
            handling=before.alarm.handling if before else "new",
            onset_ns=f.onset_ns,
            detected_ns=f.t_ns,
            updated_ns=f.t_ns,
            score=f.score,
            value=_finite(f.value),
            limit=f.limit,
            unit=f.unit,
            quality=f.quality * (0.5 if health else 1.0),
            historical=f.historical,
            config_hash=self.config_hash,
            version=__version__,
            text={},
            where=where,
            evidence=evidence,
        )
        alarm = _worded(alarm)
        self.known[identity] = Episode(alarm, {f.source: severity}, channels)
        self.active[key] = identity
        self.raised += before is None
        self._forget()
        return alarm

    def _go_on(self, episode: Episode, f: Finding, site: Site) -> list[Alarm]:
        old = episode.alarm
        severity = max(old.severity, grade(f.severity, site))
        episode.sources[f.source] = severity
        if f.source and f.source not in episode.channels:
            episode.channels.append(f.source)
        where = {**old.where, **f.where}
        if episode.channels:
            where["channels"] = list(episode.channels)
        if severity == old.severity and where == old.where:
            return []
        worse = severity > old.severity
        changed = msgspec.structs.replace(
            old,
            severity=severity,
            where=where,
            score=max(old.score, f.score),
            updated_ns=max(old.updated_ns, f.t_ns),
            value=_finite(f.value) if worse else old.value,
            limit=f.limit if worse else old.limit,
            evidence={**old.evidence, **f.evidence},
        )
        return [self._revise(episode, changed)]

    def _end(self, key: str, episode: Episode, f: Finding) -> list[Alarm]:
        if episode.sources.pop(f.source, None) is None or episode.sources:
            return []
        del self.active[key]
        return [
            self._revise(
                episode, msgspec.structs.replace(episode.alarm, process="cleared", updated_ns=max(episode.alarm.updated_ns, f.t_ns))
            )
        ]

    def command(self, identity: str, action: str, *, actor: str, reason: str, t_ns: int, until_ns: int | None) -> Alarm:
        """An operator's step; CommandRefused with a code where it is not possible."""
        episode = self.known.get(identity)
        if episode is None:
            raise CommandRefused("unknown-alarm", f"no alarm {identity!r} is known here")
        if not actor:
            raise CommandRefused("bad-actor", "a command names its actor")
        old = episode.alarm
        changes: dict[str, Any] = {}
        if action == "shelve":
            if not reason or until_ns is None or until_ns <= t_ns:
                rule = f"shelving needs a reason and an end after {t_ns}, not {reason!r} and {until_ns}"
                raise CommandRefused("bad-shelving", rule)
            changes["shelved_until_ns"] = until_ns
            self.shelved.add(identity)
        elif action == "unshelve":
            if old.shelved_until_ns is None:
                raise CommandRefused("bad-transition", "the alarm is not shelved")
            changes["shelved_until_ns"] = None
            self.shelved.discard(identity)
        else:
            changes["handling"] = step(old.handling, action)
        entry = {"action": action, "actor": actor, "reason": reason, "t_ns": t_ns}
        log = [*old.evidence.get("log", []), entry][-LOG:]
        changes |= {"updated_ns": max(old.updated_ns, t_ns), "evidence": {**old.evidence, "log": log}}
        changed = msgspec.structs.replace(old, **changes)
        return self._revise(episode, changed)

    def tick(self, t_ns: int) -> list[Alarm]:
        """Ends shelvings whose time has come."""
        over = [e for e in map(self.known.get, sorted(self.shelved)) if e and (e.alarm.shelved_until_ns or 0) <= t_ns]
        self.shelved = {i for i in self.shelved if i in self.known and (self.known[i].alarm.shelved_until_ns or 0) > t_ns}
        return [
            self._revise(e, msgspec.structs.replace(e.alarm, shelved_until_ns=None, updated_ns=max(e.alarm.updated_ns, t_ns)))
            for e in over
        ]

    def sources(self, site: str, watch: str, kind: str) -> list[str]:
        """What is active now under a watch and kind."""
        episode = self.known.get(self.active.get(f"{site}|{watch}|{kind}|{LIVE}", ""))
        return list(episode.sources) if episode else []

    def _revise(self, episode: Episode, changed: Alarm) -> Alarm:
        episode.alarm = _worded(msgspec.structs.replace(changed, revision=changed.revision + 1))
        return episode.alarm

    def _forget(self) -> None:
        if len(self.known) <= KEPT:
            return
        held = set(self.active.values())
        for identity in [i for i in self.known if i not in held][: len(self.known) - KEPT]:
            del self.known[identity]

    def save(self) -> dict[str, Any]:
        return {
            "known": [msgspec.to_builtins(e, builtin_types=(bytes,)) for e in self.known.values()],
            "active": self.active,
            "raised": self.raised,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        episodes = [msgspec.convert(e, Episode) for e in state["known"]]
        self.known = {e.alarm.alarm_id: e for e in episodes}
        self.active, self.raised = dict(state["active"]), int(state["raised"])
        self.shelved = {i for i, e in self.known.items() if e.alarm.shelved_until_ns is not None}


def _finite(value: float) -> float | None:
    """NaN has no place in JSON."""
    return float(value) if value == value and abs(value) != float("inf") else None


def _worded(a: Alarm) -> Alarm:
    return msgspec.structs.replace(
        a,
        text=say(
            domain=a.domain,
            site=a.site,
            watch=a.watch,
            kind=a.kind,
            severity=a.severity,
            process=a.process,
            value=a.value,
            limit=a.limit,
            unit=a.unit,
            where=a.where,
            related=a.evidence.get("relation") in ("reaches", "exceeds"),
        ),
    )
