"""What happened to which mode of a structure, in Chinese and English."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_REASONS = {  # by the quantity of a channel
    "temperature": ("温度", "temperature"),
    "wind-speed": ("风", "wind"),
    "humidity": ("湿度", "humidity"),
    "traffic": ("交通", "traffic"),
    "modes": ("其他各阶模态", "the other modes"),
}


def name_mode(kind: str, where: Mapping[str, object]) -> tuple[str, str] | None:
    """The sentence in zh and en; None where ``where`` names no mode.

    >>> name_mode("modal-change", {"mode": 2, "mode_hz": 2.598, "moved": -0.019, "explained_by": ["temperature", "wind-speed"]})[1]
    'mode 2 (2.598 Hz) is 1.9 % lower than temperature and wind explain'
    """
    number, hz = where.get("mode"), where.get("mode_hz")
    if not isinstance(number, int) or not isinstance(hz, float):
        return None
    zh, en = f"第 {number} 阶模态（{hz:.4g} Hz）", f"mode {number} ({hz:.4g} Hz)"
    moved, seen, modes, by = (where.get(key) for key in ("moved", "seen", "modes", "explained_by"))
    if isinstance(moved, float):
        than_zh, than_en = _than(by if isinstance(by, list) else [])
        slow_zh, slow_en = ("缓慢变化，已", "has slowly come to be") if kind == "modal-drift" else ("", "is")
        amount, lower = f"{100 * abs(moved):.2g} %", moved < 0
        return (f"{zh}{slow_zh}{than_zh}{'低' if lower else '高'} {amount}",
                f"{en} {slow_en} {amount} {'lower' if lower else 'higher'} {than_en}")
    if isinstance(seen, float):
        others = [str(m) for m in modes if m != number] if isinstance(modes, list) else []
        return (f"{zh}不再出现（训练期 {100 * seen:.3g} % 的时窗可见）{'；第 ' + '、'.join(others) + ' 阶亦然' if others else ''}",
                f"{en} is not seen any more, {100 * seen:.3g} % of the windows in training showed it"
                f"{'; nor mode ' + ', '.join(others) if others else ''}")
    return None


def _than(explained_by: Sequence[object]) -> tuple[str, str]:
    words = [_REASONS.get(str(r), (str(r), str(r))) for r in explained_by]
    if not words:
        return "比训练期", "than in training"
    *first, last = [en for _, en in words]
    one = len(words) == 1 and explained_by[0] != "modes"
    listed = f"{', '.join(first)} and {last}" if first else last
    return f"比{'、'.join(zh for zh, _ in words)}所能解释的", f"than {listed} explain{'s' if one else ''}"
