"""Impacts on bridges: a ship against a pier, an overheight vehicle against a girder, a load that falls. Traffic is none.

High-pass, recursive STA/LTA on every channel; what triggers is looked at with all channels together (`bridges.blows`)::

    |a|   . . . . . |\\/\\-._ _ _ . . . . . .
          |<- 3 s ->|<------- 8 s -------->|  judged, at the end of a second
                    trigger: the first channel's; three times stronger within its window: it begins again there

An earthquake grows and goes on: `shock` tells it. Every event that is none is remembered by its peak: what joints and lorries do
every day is usual on a channel, and an impact must be ``beyond`` times that.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from lifeline_core.bridges.blows import AFTER_S, BEFORE_S, Blow, Rules, judge_blow
from lifeline_core.bridges.pieces import Piece, Pieces
from lifeline_core.detectors.base import Detector, Group, Limit, Params, Window, rise_faults, where_of
from lifeline_core.dsp.filters import SosFilter, highpass
from lifeline_core.dsp.onset import StaLta
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Break, Finding, Site, Watch

VERSION = 1
PAST = 64  # events whose peaks say what is usual
KNOWN = 8  # so many, and it is known
STRONGER = 3.0
EVIDENCE_S = 5.0  # before the onset, kept with an impact
Samples = NDArray[np.float32]


class ImpactParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of an ``impact`` watch. The limits are the owner's: beyond what traffic does there."""

    limits: Annotated[tuple[Limit, ...], Meta(min_length=1, description="limits above for the peak, in the channel's unit")]
    transversal: Annotated[
        tuple[str, ...], Meta(description="channels of the watch that measure across the bridge; absent: it is not known")
    ] = ()
    least_channels: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="so many channels must feel it at once; absent: half of them, two at least"),
    ] = None
    together_s: Annotated[float, Meta(gt=0.0, le=5.0, description="at once: onsets within so long")] = 0.3
    rise_s: Annotated[float, Meta(gt=0.0, le=2.0, description="half of the peak comes so soon after the onset")] = 0.5
    growth: Annotated[float, Meta(gt=1.0, description="no later second has so many times the energy of one before")] = 1.3
    broad_hz: Annotated[float, Meta(gt=0.0, description="least width of the spectrum, unless transversal")] = 2.5
    beyond: Annotated[
        float, Meta(ge=0.0, description="times what nine of ten of the last 64 events reached on the channel; 0: not asked")
    ] = 3.0
    dc_hz: Annotated[float, Meta(gt=0.0, description="corner of the high-pass of order 2 that takes off gravity and drift")] = 0.2
    sta_s: Annotated[float, Meta(gt=0.0, le=5.0, description="short average")] = 0.1
    lta_s: Annotated[float, Meta(gt=0.0, le=600.0, description="long average; also how long after a start nothing triggers")] = 10.0
    on: Annotated[float, Meta(gt=1.0, description="ratio at which an event begins")] = 8.0
    clear_s: Annotated[float, Meta(gt=0.0, description="an alarm ends so long after the last impact")] = 60.0

    def faults(self) -> list[str]:
        found = [f"limits: a peak has limits above only, is below {r.below}" for r in self.limits if r.above is None]
        rows = sorted((r.above, r.severity) for r in self.limits if r.above is not None)
        found += [f"limits: a limit must be above 0, is {a}" for a, _ in rows if not a > 0]
        found += rise_faults("limits", rows)
        if self.on * self.sta_s >= self.lta_s:
            found.append(f"on: the ratio never exceeds lta_s / sta_s = {self.lta_s / self.sta_s:g}, is {self.on}")
        return found


class Impact(Detector):
    """Kind ``impact``, of the watch as a whole.

    ``value`` is the largest absolute acceleration behind the high-pass on any channel, ``onset_ns`` the first onset, ``t_ns`` the
    end of the second in which it was judged, 8 s later; ``where`` the position of the channel that felt it first, ``quality``
    how far the rules are fulfilled (`bridges.blows`). Evidence: ``channels`` by onset and ``delays_s`` of these, ``strongest``,
    ``rise_s``, ``duration_s``, ``energy`` (unit^2 s), ``decay_hz``, ``width_hz``, ``transversal`` (share of the energy). A second
    impact while an alarm is on raises it if it is graver. `recall` gives the samples around the last one.
    """

    PARAMS = ImpactParams
    KINDS = ("impact",)
    COUPLED = True

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        super().__init__(watch, groups, site)
        if watch.params is None:
            raise ValueError("limits: must be given")
        p = self.params = watch.params
        if found := p.faults():
            raise ValueError("; ".join(found))
        (group,) = self.groups
        self._channels, self._fs = group.channels, group.rate_hz or 0.0
        names = [c.name for c in self._channels]
        if unknown := [n for n in p.transversal if n not in names]:
            raise ValueError(f"transversal: must name channels of the watch, names {', '.join(unknown)}")
        fs, rows = self._fs, len(names)
        if fs < 2.5 * p.broad_hz:
            raise ValueError(f"broad_hz: must be below 0.4 of the rate of {fs:g} Hz, is {p.broad_hz}")
        self._across = np.array([n in p.transversal for n in names]) if p.transversal else None
        self._limits = sorted((r.above, r.severity) for r in p.limits)
        self._rules = Rules(self._limits[0][0], p.beyond, p.least_channels, p.together_s, p.rise_s, p.growth, p.broad_hz)
        n_sta = max(1, round(p.sta_s * fs))
        self._piece = max(1, round(fs))
        self._before, self._after = round(BEFORE_S * fs), round(AFTER_S * fs)
        self._keep = round(EVIDENCE_S * fs) + self._after + 2 * self._piece
        self._pieces, self._filter = Pieces(rows, self._piece), SosFilter(highpass(fs, p.dc_hz), rows)
        self._ratio = StaLta(rows, n_sta, max(n_sta + 1, round(p.lta_s * fs)))
        self._usual: list[deque[float]] = [deque(maxlen=PAST) for _ in names]
        self._refused: Counter[str] = Counter()
        self._evidence: tuple[int, Samples] | None = None
        self._alarm = [0, 0, 0]  # severity, onset, time of the last impact
        self._clock = (0, 0, 1, 1, False)  # anchor and rate as of a block, index behind the last sample kept, historical
        self._told: dict[str, Any] = {}
        self._renew()

    def _renew(self) -> None:
        rows = len(self._channels)
        self._ratio.reset()
        self._filter.z[:] = 0.0
        self._settled = [False] * rows
        self._x: Samples = np.empty((rows, 0), np.float32)
        self._y: Samples = np.empty((rows, 0), np.float32)
        self._since: int | None = None  # samples since the trigger, the piece's last one included

    def push(self, group: int, block: Block) -> list[Finding]:
        return [f for piece in self._pieces.push(block) for f in self._take(piece)]

    def flush(self) -> list[Finding]:
        """The stream ends here: an event of which half has come is judged, another one is not."""
        return [f for piece in self._pieces.end() for f in self._take(piece)] + self._decide(self._after // 2)

    def gap(self, group: int, brk: Break) -> list[Finding]:
        """What follows does not join."""
        found = self.flush()
        self._renew()
        return found

    def _take(self, piece: Piece) -> list[Finding]:
        """One second: filter, trigger, judge what is complete."""
        for row, done in enumerate(self._settled):
            if not done and (finite := np.flatnonzero(np.isfinite(piece.x[row]))).size:
                self._filter.settle(row, float(piece.x[row, finite[0]]))
                self._settled[row] = True
        y = self._filter.push(piece.x)
        ratio = self._ratio.push(y)
        self._x = np.concatenate([self._x, piece.x], axis=1)[:, -self._keep :]
        self._y = np.concatenate([self._y, y], axis=1)[:, -self._keep :]
        n = y.shape[1]
        self._clock = (piece.anchor_ns, piece.index + n, piece.rate_num, piece.rate_den, piece.historical)
        if self._since is not None:
            self._since += n
        self._trigger(ratio)
        found = self._decide(self._after)
        severity, onset, at = self._alarm
        now = piece.time_ns(n - 1)
        if severity and now - at >= self.params.clear_s * NS:
            self._alarm[0] = 0
            found.append(Finding(kind="impact", t_ns=now, onset_ns=onset, active=False, severity=severity,
                                 unit=self._channels[0].unit, historical=piece.historical))
        return found

    def _trigger(self, ratio: Samples) -> None:
        """Begin an event, or begin it again where something much stronger comes."""
        n = ratio.shape[1]
        if self._since is None:
            with np.errstate(invalid="ignore"):
                hits = np.flatnonzero((ratio >= self.params.on).any(axis=0))
            if not hits.size:
                return
            self._since = n - int(hits[0])
        lag = max(1, round(self.params.rise_s * self._fs))
        while True:
            size = np.abs(self._y[:, -self._since :].astype(np.float64))
            high = np.where(np.isfinite(size), size, 0.0).max(axis=0)
            if high.size <= max(lag, self._piece):
                return
            run = np.maximum.accumulate(high)
            first = max(lag, self._piece, high.size - n)  # what is new, and more than a second behind the trigger
            late = high[first:]
            again = np.flatnonzero((late > STRONGER * run[first - lag : high.size - lag]) & (late >= self._rules.least))
            if not again.size:
                return
            self._since = high.size - first - int(again[0])

    def _time_ns(self, i: int) -> int:
        """Time of sample ``i`` of those kept."""
        anchor, end, num, den, _ = self._clock
        return anchor + (end - self._y.shape[1] + i) * den * NS // num

    def _decide(self, need: int) -> list[Finding]:
        """Judge the event, if there is one and more than ``need`` samples of it have come."""
        if self._since is None or self._since <= need:
            return []
        n = self._y.shape[1]
        trigger = n - self._since
        begin = max(0, trigger - self._before)
        end = min(n, trigger + self._after)
        usual = [float(np.quantile(list(past), 0.9)) if len(past) >= KNOWN else float("nan") for past in self._usual]
        window = self._y[:, begin:end]
        self._since = None
        blow = judge_blow(window, self._fs, trigger - begin, self._rules, usual=usual, across=self._across)
        if blow.reason:
            self._refused[blow.reason] += 1
            for past, size in zip(self._usual, np.nanmax(np.abs(np.where(np.isfinite(window), window, 0.0)), axis=1), strict=True):
                past.append(float(size))
            return []
        return self._tell(blow, begin)

    def _tell(self, blow: Blow, begin: int) -> list[Finding]:
        first = self._time_ns(begin + blow.onset)
        start = max(0, begin + blow.onset - round(EVIDENCE_S * self._fs))
        self._evidence = (self._time_ns(start), self._x[:, start:].copy())
        limit, severity = [(a, s) for a, s in self._limits if blow.peak >= a][-1]
        now = self._time_ns(self._y.shape[1] - 1)
        names = [self._channels[r].name for r in blow.felt]
        told = {"channels": names, "delays_s": [(t - blow.onset) / self._fs for t in blow.onsets],
                "strongest": self._channels[blow.row].name, "rise_s": blow.rise_s, "duration_s": blow.duration_s,
                "energy": blow.energy, "decay_hz": blow.decay_hz, "width_hz": blow.width_hz, "transversal": blow.transversal}
        told = {k: v for k, v in told.items() if v == v}
        self._told = {"onset_ns": first, "peak": blow.peak, "sure": blow.sure, **told}
        graver = severity > self._alarm[0]
        if not self._alarm[0]:
            self._alarm[1] = first
        self._alarm = [max(severity, self._alarm[0]), self._alarm[1], now]
        if not graver:
            return []
        return [Finding(kind="impact", t_ns=now, onset_ns=self._alarm[1], active=True, severity=severity, value=blow.peak,
                        score=blow.peak / limit, limit=limit, unit=self._channels[blow.row].unit, evidence=told,
                        where=where_of(self._channels[blow.felt[0]]), quality=blow.sure, historical=self._clock[4])]

    def recall(self, channel: str, start_ns: int, stop_ns: int) -> Window | None:
        """Samples around the last impact, from 5 s before its onset until it was judged."""
        row = next((i for i, c in enumerate(self._channels) if c.name == channel), None)
        if row is None or self._evidence is None or stop_ns <= start_ns:
            return None
        t0, x = self._evidence
        a = max(0, -int((t0 - start_ns) * self._fs // NS))
        b = min(x.shape[1], max(0, -int((t0 - stop_ns) * self._fs // NS)))
        return Window(t0 + round(a * NS / self._fs), self._fs, x[row, a:b].copy()) if b > a else None

    def report(self) -> list[dict[str, Any]]:
        """What is usual on each channel, why events were refused, and the last impact."""
        rows = [{"channel": c.name, "events": len(past), **({"usual": float(np.quantile(list(past), 0.9))} if past else {})}
                for c, past in zip(self._channels, self._usual, strict=True)]
        return [*rows, {"refused": dict(sorted(self._refused.items()))}, *([dict(self._told)] if self._told else [])]

    def save(self) -> dict[str, Any]:
        return {"version": VERSION, "pieces": self._pieces.save(), "filter": self._filter.save(), "ratio": self._ratio.save(),
                "settled": list(self._settled), "x": self._x.tobytes(), "y": self._y.tobytes(), "since": self._since,
                "usual": [list(u) for u in self._usual], "refused": dict(self._refused),
                "evidence": None if self._evidence is None else [self._evidence[0], self._evidence[1].tobytes()],
                "alarm": list(self._alarm), "clock": list(self._clock), "told": dict(self._told)}

    def load(self, state: Mapping[str, Any]) -> None:
        rows = len(self._channels)
        try:
            if state["version"] != VERSION or not len(state["usual"]) == len(state["settled"]) == rows:
                raise StateError(f"impact: saved state is of another version, or not of {rows} channels")
            x, y = (np.frombuffer(bytes(state[k]), np.float32) for k in ("x", "y"))
            kept = state["evidence"]
            seen = None if kept is None else (int(kept[0]), np.frombuffer(bytes(kept[1]), np.float32))
            if x.size != y.size or x.size % rows or x.size > rows * self._keep or (seen is not None and seen[1].size % rows):
                raise StateError(f"impact: saved samples do not fit {rows} channels of {self._keep}")
            self._pieces.load(state["pieces"])
            self._filter.load(bytes(state["filter"]))
            self._ratio.load(bytes(state["ratio"]))
            self._usual = [deque((float(v) for v in u), maxlen=PAST) for u in state["usual"]]
            self._since = state["since"]
            self._alarm, self._refused = [int(v) for v in state["alarm"]], Counter(state["refused"])
            anchor, end, num, den, historical = state["clock"]
            self._clock = (int(anchor), int(end), max(1, int(num)), int(den), bool(historical))
            self._told, self._settled = dict(state["told"]), [bool(s) for s in state["settled"]]
        except (KeyError, TypeError, ValueError) as error:
            raise error if isinstance(error, StateError) else StateError(f"impact: saved state is damaged: {error}") from error
        self._x, self._y = x.reshape(rows, -1).copy(), y.reshape(rows, -1).copy()
        self._evidence = None if seen is None else (seen[0], seen[1].reshape(rows, -1).copy())
