"""One line for a person, in Chinese and English."""

from __future__ import annotations

import numpy as np

from lifeline_core.alarms.modewords import name_mode
from lifeline_core.model import COLOURS

_COLOURS_ZH = ("无", "蓝色", "黄色", "橙色", "红色")
_DOMAINS_ZH = {
    "bridge": "桥梁",
    "water": "供水",
    "gas": "燃气",
    "drainage": "排水",
    "heat": "热力",
    "utility-tunnel": "综合管廊",
    "tunnel": "隧道",
    "lighting": "照明",
}
_KINDS = {
    "level": ("数值越限", "value beyond its limit"),
    "rate": ("变化过快", "value changes too fast"),
    "rms": ("振动有效值越限", "vibration RMS beyond its limit"),
    "frequency": ("自振频率下降", "natural frequency dropped"),
    "impact": ("撞击（船舶或超高车辆）", "impact (ship or overheight vehicle)"),
    "passage": ("车辆通过响应越限", "passage of a vehicle beyond its limit"),
    "overweight": ("疑似超重车辆", "suspected overweight vehicle"),
    "shock": ("冲击或地震", "shock or earthquake"),
    "transient": ("压力瞬变", "pressure transient"),
    "burst": ("疑似爆管", "suspected pipe burst"),
    "leak": ("疑似漏水", "suspected leak"),
    "pump-trip": ("水泵停机", "pump trip"),
    "pump-start": ("水泵启动", "pump start"),
    "valve-closure": ("阀门关闭", "valve closure"),
    "valve-opening": ("阀门开启", "valve opening"),
    "demand-pulse": ("短时用水", "short demand"),
    "cycle-damage": ("循环疲劳损伤超限", "wear by load cycles beyond its limit"),
    "cycle-count": ("大幅循环次数超限", "too many large load cycles"),
    "binned": ("时段统计值越限", "statistic of a period beyond its limit"),
    "cable-force": ("索力偏离成桥值", "cable force off its value as built"),
    "modal-change": ("模态频率改变", "natural frequencies changed"),
    "modal-drift": ("模态频率缓慢漂移", "natural frequencies drift"),
    "modal-missing": ("模态消失", "a mode is not seen any more"),
    "residual": ("去除温度后越限", "beyond its limit, weather taken out"),
    "growth": ("长期增长超限", "grows too fast, weather taken out"),
    "offline": ("设备离线", "device offline"),
    "gap": ("数据缺失", "samples missing"),
    "flat-line": ("数据不变", "flat line"),
    "clipping": ("量程饱和", "sensor saturated"),
    "spikes": ("尖峰过多", "too many spikes"),
    "dead": ("通道失效", "channel dead"),
    "noisy": ("通道噪声异常", "channel noisy"),
    "swapped": ("通道互换", "channels exchanged"),
    "flipped": ("极性反接", "polarity turned"),
    "gain": ("灵敏度漂移", "gain drifts"),
    "drift": ("零点漂移", "level drifts"),
    "clock": ("时钟异常", "clock not to be trusted"),
    "fault": ("检测程序故障", "detector failed"),
}


def _number(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.4g}"


def _place(where: dict[str, object]) -> str:
    if where.get("node"):
        return f" @ {where['node']}"
    if where.get("asset"):
        offset = where.get("offset_m", where.get("position_m"))
        return f" @ {where['asset']}" + (f" +{offset:.0f} m" if isinstance(offset, float) else "")
    if isinstance(where.get("position_m"), float):
        return f" @ {where['position_m']:.1f} m"
    return ""


def _relation(value: float | None, limit: float | None) -> tuple[str, str]:
    """How a value stands to its limit, reaching told apart from exceeding: equal as float32 reaches."""
    if value is None or limit is None:
        return "", ""
    if np.float32(value) == np.float32(limit):
        return "达到", "reaches the "
    return ("超过", "exceeds the ") if value > limit else ("低于", "below the ")


def say(
    *,
    domain: str,
    site: str,
    watch: str,
    kind: str,
    severity: int,
    process: str,
    value: float | None,
    limit: float | None,
    unit: str,
    where: dict[str, object],
    related: bool = False,
) -> dict[str, str]:
    """The line in ``zh`` and ``en``; ``related``: the value itself was held against the limit, so the line says whether it
    reaches or exceeds it, or lies below.

    >>> say(domain="gas", site="main", watch="well-7", kind="level", severity=4, process="active", value=52.0, limit=50.0,
    ...     unit="%LEL", where={})["en"]
    'RED gas main/well-7: value beyond its limit, 52 %LEL (limit 50)'
    >>> say(domain="gas", site="main", watch="well-7", kind="level", severity=2, process="active", value=25.0, limit=25.0,
    ...     unit="%LEL", where={}, related=True)["en"]
    'YELLOW gas main/well-7: value beyond its limit, 25 %LEL (reaches the limit 25)'
    """
    zh, en = _KINDS.get(kind, (kind, kind))
    over = process == "cleared"
    amount = f", {_number(value)} {unit}".rstrip() if _number(value) else ""
    how_zh, how_en = _relation(value, limit) if related and not over else ("", "")
    bound_en = f" ({how_en}limit {_number(limit)})" if _number(limit) else ""
    bound_zh = f"（{how_zh}限值 {_number(limit)}）" if _number(limit) else ""
    if sentence := name_mode(kind, where):
        (zh, en), amount, bound_zh, bound_en = sentence, "", "", ""
    place = _place(where)
    return {
        "zh": f"{'已恢复 ' if over else ''}{_COLOURS_ZH[severity]} {_DOMAINS_ZH.get(domain, domain)} {site}/{watch}：{zh}"
        f"{place}{amount.replace(', ', '，')}{bound_zh}",
        "en": f"{'CLEARED ' if over else ''}{COLOURS[severity].upper()} {domain} {site}/{watch}: {en}{place}{amount}{bound_en}",
    }
