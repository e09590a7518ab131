"""What is wrong with the service itself, as an alarm: nobody reads a log before something is missing.

These alarms have no episode in the engine: they take no commands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from lifeline_core.model import YELLOW, Alarm, alarm_id
from lifeline_core.version import __version__

SITE = "service"


def damage_alarm(problems: Sequence[str], t_ns: int, config_hash: str) -> Alarm:
    """What the start found damaged; it does not clear."""
    said = "; ".join(problems)
    return _alarm(
        "store", "fault", t_ns, config_hash, float(len(problems)), {"problems": list(problems)},
        {"zh": f"黄色 服务 数据目录有损坏：{said}", "en": f"YELLOW service: the data directory was damaged: {said}"},
    )  # fmt: skip


def refusal_alarm(counts: Mapping[str, int], t_ns: int, config_hash: str) -> Alarm:
    """Somebody was not let in, or sent what is not theirs to send; ``counts`` by reason and client since the start."""
    said = "拒绝了连接或数据帧", "connections or frames were refused"
    return _counted("guard", "refused", t_ns, config_hash, sum(counts.values()), "refused", counts, *said)


def overload_alarm(facts: Mapping[str, int], t_ns: int, config_hash: str) -> Alarm:
    """More comes than is worked off: devices are held back."""
    said = "过载，设备被限流", "overloaded, devices are held back"
    return _counted("ingest", "overload", t_ns, config_hash, facts.get("times", 0), "overload", facts, *said)


def behind_alarm(facts: Mapping[str, int], t_ns: int, config_hash: str) -> Alarm:
    """Platforms do not come for their alarms, or came too late for some."""
    said = "平台未及时读取告警", "alarms are not fetched in time"
    return _counted("feed", "behind", t_ns, config_hash, max(facts.values(), default=0), "consumers", facts, *said)


def dropped_alarm(counts: Mapping[str, int], t_ns: int, config_hash: str) -> Alarm:
    """The service gave something up; ``counts`` since the start, of what is not 0."""
    said = "有内容被放弃", "something was given up"
    return _counted("desk", "dropped", t_ns, config_hash, sum(counts.values()), "dropped", counts, *said)


def _counted(
    watch: str, kind: str, t_ns: int, config_hash: str, value: int, key: str, facts: Mapping[str, int], zh: str, en: str
) -> Alarm:
    """What happens, and the figures that say so, which are its evidence under ``key``."""
    said = ", ".join(f"{what} {n}" for what, n in facts.items())
    return _alarm(
        watch, kind, t_ns, config_hash, float(value), {key: dict(facts)},
        {"zh": f"黄色 服务 {zh}：{said}", "en": f"YELLOW service: {en}: {said}"},
    )  # fmt: skip


class Standing:
    """An alarm of the service that stands while something keeps happening, and clears when it has been quiet for ``quiet_ns``.

    ``make`` gives the alarm for the facts and the time.
    """

    def __init__(self, make: Callable[[Mapping[str, int], int], Alarm], quiet_ns: int) -> None:
        self._make, self._quiet_ns = make, quiet_ns
        self._alarm: Alarm | None = None
        self._last_ns = 0

    def tick(self, t_ns: int, happened: bool, facts: Mapping[str, int], *, ending: bool = False) -> list[Alarm]:
        """Once a second: whether it happened since the last time, and what is known of it."""
        if happened:
            self._last_ns = t_ns
            if self._alarm is None:
                self._alarm = self._make(facts, t_ns)
                return [self._alarm]
        elif self._alarm is not None and (ending or t_ns - self._last_ns >= self._quiet_ns):
            first, self._alarm = self._alarm, None
            now = self._make(facts, t_ns)
            return [msgspec.structs.replace(now, alarm_id=first.alarm_id, onset_ns=first.onset_ns, revision=2, process="cleared")]
        return []


def _alarm(
    watch: str, kind: str, t_ns: int, config_hash: str, value: float, evidence: dict[str, Any], text: dict[str, str]
) -> Alarm:
    return Alarm(
        alarm_id=alarm_id(SITE, watch, kind, t_ns), revision=1, site=SITE, domain=SITE, watch=watch, kind=kind, severity=YELLOW,
        process="active", handling="new", onset_ns=t_ns, detected_ns=t_ns, updated_ns=t_ns, score=1.0, value=value, limit=None,
        unit="", quality=1.0, historical=False, config_hash=config_hash, version=__version__, text=text, evidence=evidence,
    )  # fmt: skip
