"""What is wrong with the service itself, as an alarm: nobody reads a log before something is missing.

These alarms have no episode in the engine: they take no commands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
    said = ", ".join(f"{what} {n}" for what, n in counts.items())
    return _alarm(
        "guard", "refused", t_ns, config_hash, float(sum(counts.values())), {"refused": dict(counts)},
        {"zh": f"黄色 服务 拒绝了连接或数据帧：{said}", "en": f"YELLOW service: connections or frames were refused: {said}"},
    )  # fmt: skip


def _alarm(
    watch: str, kind: str, t_ns: int, config_hash: str, value: float, evidence: dict[str, Any], text: dict[str, str]
) -> Alarm:
    return Alarm(
        alarm_id=alarm_id(SITE, watch, kind, t_ns), revision=1, site=SITE, domain=SITE, watch=watch, kind=kind, severity=YELLOW,
        process="active", handling="new", onset_ns=t_ns, detected_ns=t_ns, updated_ns=t_ns, score=1.0, value=value, limit=None,
        unit="", quality=1.0, historical=False, config_hash=config_hash, version=__version__, text=text, evidence=evidence,
    )  # fmt: skip
