"""What was planted against what was raised."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from lifeline_core.demo import plan
from lifeline_core.model import COLOURS, NS, Alarm

TICKED = {"offline", "burst"}  # decided by ticks, not by a frame: no latency from a socket
Report = tuple[str, int, bool, list[tuple[int, int, int]]]  # who, messages, all acknowledged, (device, end_ns, wall_ns) per frame


class Score:
    """Found, missed and false alarms, with times and places against the truth."""

    def __init__(
        self, alarms: Sequence[Alarm], t0_ns: int, reports: Sequence[Report], stats: dict[str, Any], elapsed_s: float
    ) -> None:
        self.t0_ns, self.stats, self.elapsed_s = t0_ns, stats, elapsed_s
        self.garbage_sent = sum(n for who, n, _, _ in reports if who == "garbage")
        self.unacknowledged = [who for who, _, good, _ in reports if not good]
        self.newest: dict[str, Alarm] = {}
        self.first: dict[str, Alarm] = {}
        for alarm in alarms:
            self.first.setdefault(alarm.alarm_id, alarm)
            self.newest[alarm.alarm_id] = alarm
        self.latencies_ms = self._latencies(reports)
        self.found = {e.name: self._judge(e) for e in plan.EVENTS}
        self.false = [a for a in self.newest.values() if not any(self._belongs(e, a) for e in plan.EVENTS)]

    def _belongs(self, event: plan.Event, alarm: Alarm) -> bool:
        if alarm.site != event.site or alarm.kind not in event.kinds:
            return False
        if alarm.kind == "offline":
            return event.where(alarm)[0]
        return event.onset_s is None or self._onset(alarm) >= event.onset_s - 1.0

    def _onset(self, alarm: Alarm) -> float:
        return (alarm.onset_ns - self.t0_ns) / NS

    def _judge(self, event: plan.Event) -> tuple[bool, Alarm | None, str]:
        """(found, its alarm, where)"""
        mine = [a for a in self.newest.values() if self._belongs(event, a) and a.kind == event.kinds[0]]
        best: tuple[bool, Alarm | None, str] = (False, None, "")
        for alarm in sorted(mine, key=lambda a: a.onset_ns):
            right, text = event.where(alarm)
            in_time = event.onset_s is None or abs(self._onset(alarm) - event.onset_s) <= event.within_s
            if right and in_time:
                return True, alarm, text
            best = best if best[1] else (False, alarm, text)
        return best

    def _latencies(self, reports: Sequence[Report]) -> list[float]:
        """From the moment the deciding frame was handed to the socket until the alarm was committed and published."""
        sent: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for _, _, _, log in reports:
            for device, end_ns, wall_ns in log:
                sent[device].append((end_ns, wall_ns))
        by_channel = {
            f"{p}{d.number}{s}": d.number
            for d in plan.DEVICES
            for p in ("acc-", "hydrophone-", "slow-")
            for s in ("", "-0", "-1", "-2", "-3")
        }
        by_channel |= {f"head-{d.options['sensor'].lower()}": d.number for d in plan.DEVICES if d.plays == "pressure"}
        out = []
        for alarm in self.first.values():
            numbers = {by_channel[c] for c in alarm.where.get("channels", []) if c in by_channel}
            if alarm.kind in TICKED or len(numbers) != 1:
                continue
            frames = sent[numbers.pop()]
            k = bisect.bisect_left(frames, (alarm.detected_ns, 0))
            if k < len(frames):
                out.append((alarm.published_ns - frames[k][1]) / 1e6)
        return out

    @property
    def refused(self) -> int:
        """Frames refused by reason, and messages that were no frame at all."""
        return int(sum(self.stats["refused"].values()))

    @property
    def good(self) -> bool:
        return all(f for f, _, _ in self.found.values()) and not self.false and self.garbage_good and not self.unacknowledged

    @property
    def garbage_good(self) -> bool:
        return self.refused == self.garbage_sent > 0

    def rows(self) -> list[dict[str, Any]]:
        """One map per planted event and per false alarm, and the totals."""
        out: list[dict[str, Any]] = []
        for event in plan.EVENTS:
            found, alarm, where = self.found[event.name]
            out.append(
                {
                    "event": event.name,
                    "site": event.site,
                    "found": found,
                    "severity": alarm.severity if alarm else 0,
                    "planted_s": event.onset_s,
                    "onset_s": round(self._onset(alarm), 2) if alarm else None,
                    "detected_s": round((alarm.detected_ns - self.t0_ns) / NS, 2) if alarm and alarm.kind not in TICKED else None,
                    "where": where,
                    "truth": event.truth,
                }
            )
        out.append(
            {
                "event": "garbage from a broken device",
                "site": "",
                "found": self.garbage_good,
                "severity": 0,
                "planted_s": None,
                "onset_s": None,
                "detected_s": None,
                "where": f"{self.refused} refused",
                "truth": f"{self.garbage_sent} sent",
            }
        )
        out += [
            {
                "event": f"FALSE: {a.kind}",
                "site": a.site,
                "found": False,
                "severity": a.severity,
                "planted_s": None,
                "onset_s": round(self._onset(a), 2),
                "detected_s": None,
                "where": self.first[a.alarm_id].text["en"],
                "truth": "",
            }
            for a in self.false
        ]
        return [*out, self.totals()]

    def totals(self) -> dict[str, Any]:
        p50, p99 = np.percentile(self.latencies_ms, [50, 99]) if self.latencies_ms else (float("nan"),) * 2
        return {
            "event": "total",
            "good": self.good,
            "missed": sum(not f for f, _, _ in self.found.values()),
            "false_alarms": len(self.false),
            "frames_per_s": round(self.stats["frames"] / self.elapsed_s),
            "samples_per_s": round(self.stats["samples"] / self.elapsed_s),
            "latency_p50_ms": round(float(p50), 1),
            "latency_p99_ms": round(float(p99), 1),
            "alarms": len(self.newest),
            "unacknowledged": self.unacknowledged,
        }


def table(score: Score) -> Table:
    """The score for people."""
    out = Table(title="planted events", caption_justify="left")
    for column in ("event", "site", "", "grade", "planted", "onset", "said at", "where", "truth"):
        out.add_column(column)
    for row in score.rows()[:-1]:
        mark = (
            "[green]found[/]"
            if row["found"]
            else "[bold red]false[/]"
            if row["event"].startswith("FALSE")
            else "[bold red]MISSED[/]"
        )
        out.add_row(
            row["event"],
            row["site"],
            mark,
            COLOURS[row["severity"]] if row["severity"] else "",
            *("" if row[k] is None else f"{row[k]:.2f} s" for k in ("planted_s", "onset_s", "detected_s")),
            row["where"],
            row["truth"],
        )
    t = score.totals()
    out.caption = (
        f"{t['missed']} missed, {t['false_alarms']} false alarms; {t['frames_per_s']} frames/s, {t['samples_per_s']:,} samples/s; "
        f"socket to published alarm p50 {t['latency_p50_ms']} ms, p99 {t['latency_p99_ms']} ms"
        + (f"; not acknowledged: {', '.join(t['unacknowledged'])}" if t["unacknowledged"] else "")
    )
    return out
