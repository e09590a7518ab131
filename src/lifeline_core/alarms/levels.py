"""An alarm as it leaves for others: with the level that its severity is called in its domain's practice."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from lifeline_core.domains import Levels
from lifeline_core.model import Alarm


def named(alarm: Alarm, levels: Mapping[str, Levels]) -> Alarm:
    """The alarm as it leaves; where ``levels`` has a word for its domain and severity, with ``evidence["level"]`` and that word
    behind the text. Nothing inside decides by it: there is one scale of severities there.

    Parameters
    ----------
    levels : by domain, as `lifeline_core.domains.load` reads them.
    """
    practice = levels.get(alarm.domain)
    word = practice.of(alarm.severity) if practice is not None else None
    if word is None:
        return alarm
    behind = {"zh": f"［{word.zh}］", "en": f" [{word.en}]"}
    text = {language: line + behind.get(language, "") for language, line in alarm.text.items()}
    return msgspec.structs.replace(alarm, evidence={**alarm.evidence, "level": word.level}, text=text)
