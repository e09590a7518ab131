"""What the start found damaged, as an alarm: nobody reads a log before something is missing."""

from __future__ import annotations

from collections.abc import Sequence

from lifeline_core.model import YELLOW, Alarm, alarm_id
from lifeline_core.version import __version__

SITE, WATCH, KIND = "service", "store", "fault"


def damage_alarm(problems: Sequence[str], t_ns: int, config_hash: str) -> Alarm:
    """One alarm about the service itself; it has no episode in the engine, so it takes no commands and does not clear."""
    said = "; ".join(problems)
    return Alarm(
        alarm_id=alarm_id(SITE, WATCH, KIND, t_ns),
        revision=1,
        site=SITE,
        domain=SITE,
        watch=WATCH,
        kind=KIND,
        severity=YELLOW,
        process="active",
        handling="new",
        onset_ns=t_ns,
        detected_ns=t_ns,
        updated_ns=t_ns,
        score=1.0,
        value=float(len(problems)),
        limit=None,
        unit="",
        quality=1.0,
        historical=False,
        config_hash=config_hash,
        version=__version__,
        text={"zh": f"黄色 服务 数据目录有损坏：{said}", "en": f"YELLOW service: the data directory was damaged: {said}"},
        evidence={"problems": list(problems)},
    )
