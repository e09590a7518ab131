"""A bridge's natural frequencies while the traffic rolls: identified, followed, freed of the weather, judged.

::

    acceleration -> decimate -> lag covariances, block by block -> SSI-cov -> modes -> tracked -> baseline -> findings
                                 (no raw samples are kept)       every `every_s` of the clock

What is learned and how a change is told from noise: `lifeline_core.bridges.surveillance`. The last ``environment``
channels (temperature, wind) come at their own rate; a window takes their mean, and with ``lag_s`` that of the time before it, for
concrete follows the air by hours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from lifeline_core.bridges.covariance import RunningLags
from lifeline_core.bridges.identify import modes_of
from lifeline_core.bridges.modes import Modes, Real
from lifeline_core.bridges.ssi import ssi_from
from lifeline_core.bridges.surveillance import Plan, Surveillance, Verdict
from lifeline_core.bridges.weather import Weather
from lifeline_core.detectors.base import Detector, Group, Params, Severity
from lifeline_core.dsp.decimate import Decimator
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Break, Channel, Finding, Site, Watch

VERSION = 1
YEAR_S = 365.25 * 86_400.0
BLOCKS = 40  # of a window: their scatter gives the standard deviations
COVERAGE = 0.7  # of a window's blocks
ABOVE = 2.5  # working rate over f_max
PATIENCE_NS = 60 * NS  # after its end a window waits so long for slow channels


class Moved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of a table of changes: a severity and the relative change of a mode, either way, that reaches it."""

    severity: Severity
    moved: Annotated[float, Meta(gt=0.0, lt=1.0, description="relative, 0.05 is five percent, weather taken out")]


class ModalParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of a ``modal`` watch."""

    f_max: Annotated[
        Annotated[float, Meta(gt=0.0)] | None, Meta(description="highest frequency sought, Hz; default 0.4 of the rate")
    ] = None
    f_min: Annotated[float, Meta(ge=0.0, description="lowest frequency sought, Hz")] = 0.0
    window_s: Annotated[float, Meta(ge=60.0, le=86_400.0, description="length of a window")] = 600.0
    every_s: Annotated[
        Annotated[float, Meta(ge=10.0, le=86_400.0)] | None,
        Meta(description="a window ends at each multiple of this, UTC; default window_s; less: windows overlap"),
    ] = None
    block_rows: Annotated[int, Meta(ge=5, le=200, description="block rows of the covariance matrix")] = 30
    order_max: Annotated[int, Meta(ge=4, le=200, description="largest model order")] = 60
    environment: Annotated[int, Meta(ge=0, le=16, description="so many channels at the end of the list tell the weather")] = 0
    lag_s: Annotated[float, Meta(ge=0.0, le=864_000.0, description="also the mean weather of so long before; 0: not")] = 0.0
    learn: Annotated[int, Meta(ge=1, le=1000, description="windows the references are learned from")] = 12
    train: Annotated[int, Meta(ge=10, le=100_000, description="windows the baseline is learned from")] = 1008
    confirm: Annotated[int, Meta(ge=1, le=50, description="judged windows in a row that a change, or its end, must hold")] = 3
    false_alarms_per_year: Annotated[float, Meta(gt=0.0, le=100.0, description="of a sound structure, of each kind")] = 0.5
    severity: Annotated[Severity, Meta(description="of a change that reaches no row of severities, and of a drift")] = 2
    severities: Annotated[tuple[Moved, ...], Meta(description="severity by the change of the mode that moved most")] = ()

    def faults(self) -> list[str]:
        found = []
        if self.f_max is not None and self.f_min >= self.f_max:
            found.append(f"f_max: must be above f_min {self.f_min}, is {self.f_max}")
        if self.every_s is not None and self.every_s > self.window_s:
            found.append(f"every_s: must be at most window_s {self.window_s}, is {self.every_s}")
        rows = sorted((r.moved, r.severity) for r in self.severities)
        found += [f"severities: severity must rise with the change, is {a[1]} at {a[0]} and {b[1]} at {b[0]}"
                  for a, b in pairwise(rows) if a[0] == b[0] or a[1] >= b[1]]
        return found


class Modal(Detector):
    """Kinds ``modal-change`` and ``modal-drift``, source "": one structure a watch.

    ``value`` is the relative change of the mode that moved most against its own scatter, weather taken out, over the windows
    that confirm it (a drop is negative); ``limit`` the limit of d2, ``score`` d2 over it. Evidence: ``mode_hz`` (reference),
    ``f_hz`` of every reference mode in this window, ``moved`` of each, ``d2``. A channel without samples leaves the windows
    without a word, and so does a window of which less than 0.7 is there.
    """

    PARAMS = ModalParams
    KINDS = ("modal-change", "modal-drift")
    COUPLED = True
    IRREGULAR = True
    CHANNELS = (1, None)

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        super().__init__(watch, groups, site)
        self.params: ModalParams = watch.params if watch.params is not None else ModalParams()
        if found := self.params.faults():
            raise ValueError("; ".join(found))
        p = self.params
        self._every_ns = round((p.every_s or p.window_s) * NS)
        self._names = watch.channels[len(watch.channels) - p.environment :]
        self._weather = Weather(self._names, p.window_s, p.lag_s)
        self._moving = next((i for i, g in enumerate(self.groups) if g.rate_hz and not self._is_weather(g.channels)), None)
        plan = Plan(p.learn, p.train, p.confirm, YEAR_S * NS / self._every_ns, p.false_alarms_per_year)
        self._watch = Surveillance(plan, p.window_s, self._weather.columns)
        self._boundary: int | None = None
        self._on = dict.fromkeys(self.KINDS, (0, 0))  # onset, severity
        self._waiting: list[tuple[int, bool, Modes]] = []  # windows that wait for their weather
        self._said: Verdict | None = None
        if self._moving is not None:
            self._start(self.groups[self._moving])

    @classmethod
    def aside(cls, params: Any) -> int:
        return params.environment if params is not None else 0

    def _is_weather(self, channels: Sequence[Channel]) -> bool:
        return bool(channels) and all(c.name in self._names for c in channels)

    def _start(self, group: Group) -> None:
        """Working rate, blocks and their number, by the rate of the group."""
        p, rate = self.params, group.rate_hz
        assert rate is not None
        f_max = p.f_max or 0.4 * rate
        if f_max > 0.45 * rate:
            raise ValueError(f"f_max: must be at most 0.45 of the rate {rate} Hz, is {f_max}")
        self._q = max(1, int(rate / (ABOVE * f_max)))
        self._f_max, fs = f_max, rate / self._q
        n = len(group.channels)
        self._decimator = Decimator(self._q, n)
        lags = 2 * p.block_rows - 1
        block = max(round(p.window_s / BLOCKS * fs), 2 * lags)
        self._whole = max(round(p.window_s * fs / block), 2)
        self._lags = RunningLags(n, fs, lags, block=block, keep=self._whole)

    def push(self, group: int, block: Block) -> list[Finding]:
        if group != self._moving:
            self._weather.hear(self.groups[group].channels, block)
            return []
        found, at = [], 0
        x = np.asarray(block.x, np.float64)
        while at < block.n:
            if self._boundary is None:
                t = block.time_ns(at)
                self._boundary = t - t % self._every_ns + self._every_ns
            end = self._before(block, at, self._boundary)
            if end > at:
                self._lags.push(self._decimator.push(np.ascontiguousarray(x[:, at:end])))
            at = end
            if at < block.n:
                found += self._close(self._boundary, block)
                self._boundary = None
        return found

    @staticmethod
    def _before(block: Block, at: int, t_ns: int) -> int:
        """The first sample from ``at`` on that is not before t."""
        lo, hi = at, block.n
        while lo < hi:
            mid = (lo + hi) // 2
            lo, hi = (mid + 1, hi) if block.time_ns(mid) < t_ns else (lo, mid)
        return lo

    def gap(self, group: int, brk: Break) -> list[Finding]:
        """Blocks that are done stay, unless so much is missing that they belong to another window."""
        if group == self._moving:
            rate = self.groups[group].rate_hz
            self._decimator = Decimator(self._q, len(self.groups[group].channels))
            self._lags.restart()
            assert rate is not None
            if brk.lost < 0 or brk.lost / rate > (1.0 - COVERAGE) * self.params.window_s:
                self._lags.reset()
            self._boundary = None
        return []

    def _close(self, t_ns: int, block: Block) -> list[Finding]:
        """The window that ends at t; what is judged with the weather waits for a tick, when all channels have been heard."""
        if self._lags.blocks < COVERAGE * self._whole:
            return []
        self._waiting.append((t_ns, block.historical, self._modes()))
        return [] if self._weather.columns else self._judge(t_ns)

    def tick(self, t_ns: int) -> list[Finding]:
        return self._judge(t_ns - PATIENCE_NS)

    def flush(self) -> list[Finding]:
        """Windows that are whole are judged; the one under way says nothing."""
        return self._judge(max((t for t, _, _ in self._waiting), default=0))

    def _judge(self, until_ns: int) -> list[Finding]:
        """Windows that ended by then, in their order."""
        found: list[Finding] = []
        while self._waiting and self._waiting[0][0] <= until_ns:
            t_ns, historical, modes = self._waiting.pop(0)
            v = self._said = self._watch.window(modes, self._weather.at(t_ns))
            for kind, on in (("modal-change", v.change), ("modal-drift", v.drift)):
                found += self._tell(kind, on, v, t_ns, historical)
        return found

    def _modes(self) -> Modes:
        lags, p = self._lags.read(), self.params
        poles = ssi_from(lags, p.block_rows, p.order_max, uncertainty=True)
        return modes_of(poles, float(lags.weight.sum()) / lags.fs, f_min=p.f_min, f_max=self._f_max)

    def _tell(self, kind: str, on: bool, v: Verdict, t_ns: int, historical: bool) -> list[Finding]:
        onset, severity = self._on[kind]
        if not on:
            if not severity:
                return []
            self._on[kind] = (0, 0)
            return [Finding(kind, t_ns, onset, False, severity, unit="", historical=historical)]
        row, moved = self._foremost(v)
        grade = max([self.params.severity] + [r.severity for r in self.params.severities if abs(moved) >= r.moved])
        if grade <= severity:
            return []
        if not severity:
            back = self.params.confirm if kind == "modal-change" else 1
            onset = t_ns - back * self._every_ns
        self._on[kind] = (onset, grade)
        tracker = self._watch.tracker
        assert tracker is not None
        score = v.d2 / v.limit if kind == "modal-change" else v.sum / v.threshold
        return [Finding(
            kind, t_ns, onset, True, grade, score=score, value=moved, limit=v.limit, historical=historical,
            evidence={"mode": row, "mode_hz": float(tracker.f_hz[row]), "f_hz": _plain(v.f_hz), "moved": _plain(v.moved),
                      "d2": v.d2},
        )]  # fmt: skip

    def _foremost(self, v: Verdict) -> tuple[int, float]:
        """The mode that moved most against its scatter, and by how much."""
        base = self._watch.baseline
        moved = v.mean_moved if v.mean_moved is not None else v.moved
        assert base is not None and moved is not None
        sd = np.sqrt(np.diag(base.cov)) / base.weights[0]
        size = np.where(np.isfinite(moved), np.abs(moved) / sd, -1.0)
        row = int(np.argmax(size))
        return row, float(moved[row])

    def report(self) -> list[dict[str, Any]]:
        v, tracker = self._said, self._watch.tracker
        if v is None:
            return []
        row: dict[str, Any] = {"phase": v.phase}
        if tracker is not None and len(v.f_hz):
            row |= {"reference_hz": _plain(tracker.f_hz), "f_hz": _plain(v.f_hz)}
        if v.phase == "watch":
            row |= {"d2": v.d2, "limit": v.limit, "moved": _plain(v.moved), "sum": v.sum, "threshold": v.threshold}
        return [row]

    def save(self) -> dict[str, Any]:
        moving = self._moving is not None
        return {
            "version": VERSION, "watch": self._watch.save(), "weather": self._weather.save(),
            "lags": self._lags.save() if moving else None, "decimator": self._decimator.save() if moving else None,
            "waiting": [[t, h, m.packed()] for t, h, m in self._waiting],
            "boundary": self._boundary, "on": [list(self._on[kind]) for kind in self.KINDS],
        }  # fmt: skip

    def load(self, state: Mapping[str, Any]) -> None:
        if state.get("version") != VERSION or (state.get("lags") is None) != (self._moving is None):
            raise StateError(f"modal: saved state is of version {state.get('version')!r} or of other channels, wanted {VERSION}")
        self._watch.load(state["watch"])
        self._weather.load(state["weather"])
        if self._moving is not None:
            self._lags.load(state["lags"])
            self._decimator.load(bytes(state["decimator"]))
        self._boundary = state["boundary"]
        self._waiting = [(int(t), bool(h), Modes.unpacked(m)) for t, h, m in state["waiting"]]
        self._on = {kind: (int(o), int(s)) for kind, (o, s) in zip(self.KINDS, state["on"], strict=True)}


def _plain(x: Real | None) -> list[float | None]:
    """For a message: NaN is nothing."""
    return [] if x is None else [float(v) if np.isfinite(v) else None for v in x]
