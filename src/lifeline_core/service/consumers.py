"""Who misses something: platforms that read under a name and are behind, and whoever wanted what the service gave up."""

from __future__ import annotations

from collections.abc import Mapping

from lifeline_core.model import NS, Alarm
from lifeline_core.service.trouble import Standing, behind_alarm, dropped_alarm
from lifeline_core.store.outbox import Outbox

BEHIND = 10_000  # alarms that a platform may have before it until an alarm says so
QUIET_NS = 60 * NS  # with nobody behind and nothing more lost, until the alarm is cleared


class Consumers:
    """`look` is for the outbox's thread; ``lag`` and ``lost``, by name as of the last look, may be read by any."""

    def __init__(self, outbox: Outbox, config_hash: str = "") -> None:
        self._outbox = outbox
        self.lag: dict[str, int] = {}
        self.lost: dict[str, int] = {}
        self._standing = Standing(lambda facts, t_ns: behind_alarm(facts, t_ns, config_hash), QUIET_NS)

    def look(self, t_ns: int, *, ending: bool = False) -> list[Alarm]:
        """The alarm that begins when one is `BEHIND` or more, or lost alarms since the last look; once a second."""
        rows = self._outbox.standing()
        lag, lost = ({name: row[key] for name, row in rows.items()} for key in ("lag", "lost"))
        late = {name for name, n in lag.items() if n >= BEHIND}
        robbed = {name for name, n in lost.items() if n > self.lost.get(name, n)}  # what a new name never had is not lost to it
        self.lag, self.lost = lag, lost
        facts = {f"{name} lag": lag[name] for name in sorted(late | robbed)}
        facts |= {f"{name} lost": lost[name] for name in sorted(late | robbed) if lost[name]}
        return self._standing.tick(t_ns, bool(facts), facts, ending=ending)


class Losses:
    """What the service gives up under load, as one alarm while it happens; for the desk's thread."""

    def __init__(self, config_hash: str = "") -> None:
        self._told: dict[str, int] = {}
        self._standing = Standing(lambda facts, t_ns: dropped_alarm(facts, t_ns, config_hash), QUIET_NS)

    def look(self, counts: Mapping[str, int], t_ns: int, *, ending: bool = False) -> list[Alarm]:
        """``counts`` by reason since the start; once a second."""
        facts = {what: n for what, n in counts.items() if n}
        happened, self._told = facts != self._told, facts
        return self._standing.tick(t_ns, happened, facts, ending=ending)
