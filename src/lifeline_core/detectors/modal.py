"""A bridge's natural frequencies while the traffic rolls: identified, followed, freed of the weather, judged.

::

    acceleration -> `bridges.windows`: modes and RMS of each window ----\
    temperature, wind -> `bridges.weather`: their means in that window --+-> `bridges.surveillance` -> findings
                         and in the time before it (``lag_s``) ---------/

The last ``environment`` channels (temperature, wind) come at their own rate. Concrete follows the air by hours: ``lag_s``. With
``traffic`` the window's own RMS stands for the load on the bridge, which lowers frequencies by its mass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil, copysign
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from lifeline_core.bridges.modes import Real
from lifeline_core.bridges.surveillance import Plan, Surveillance, Verdict
from lifeline_core.bridges.weather import Weather
from lifeline_core.bridges.windows import Window, Windows
from lifeline_core.detectors.base import Detector, Group, Params, Severity
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Break, Finding, Site, Watch

VERSION = 2
YEAR_S = 365.25 * 86_400.0
PATIENCE_NS = 60 * NS  # after its end a window waits so long for slow channels
WORST_NS = 3600 * NS  # and where no clock ticks (history), until a window that ended so much later


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
    bend: Annotated[bool, Meta(description="the first environment channel may have two slopes, as about the frost")] = True
    traffic: Annotated[bool, Meta(description="the RMS of the window itself explains too")] = False
    learn: Annotated[int, Meta(ge=1, le=1000, description="windows without common samples the references are learned from")] = 12
    train: Annotated[int, Meta(ge=10, le=100_000, description="windows without common samples the baseline is learned from")] = 1008
    confirm: Annotated[int, Meta(ge=1, le=50, description="windows without common samples a change, or its end, must hold")] = 3
    false_alarms_per_year: Annotated[float, Meta(gt=0.0, le=100.0, description="of a sound structure, of each kind")] = 0.5
    severity: Annotated[Severity, Meta(description="of a change below every row of severities, a drift, a missing mode")] = 2
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
    """Kinds ``modal-change``, ``modal-drift`` and ``modal-missing``, source "": one structure a watch.

    ``value`` of a change or drift is the relative change (a drop is negative) of the mode that moved most against its own
    scatter, weather taken out, over the windows that confirm it or since the drift began; ``limit`` the row of severities that
    it reaches, ``score`` the distance d2 over its limit, or the sum over its threshold. ``value`` of a missing mode is the
    windows in a row that could have shown it and did not, ``limit`` how many are no chance.

    ``where``: ``mode`` (counted from 1 in rising order), ``mode_hz`` (at the mean weather of training), ``moved`` and
    ``explained_by`` (quantities that were taken out, ``modes``: the other modes), or ``modes`` (all that are missing) and
    ``seen`` (share of training windows that showed it). Evidence: ``reference_hz`` and ``f_hz`` of every mode, ``moved`` of
    each, ``d2`` and its ``d2_limit``, ``runs`` and ``run_limits`` of absence.

    A channel without samples leaves the windows without a word, and so does a window of which less than 0.7 is there.
    """

    PARAMS = ModalParams
    KINDS = ("modal-change", "modal-drift", "modal-missing")
    COUPLED = True
    IRREGULAR = True
    CHANNELS = (1, None)

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        super().__init__(watch, groups, site)
        self.params: ModalParams = watch.params if watch.params is not None else ModalParams()
        if found := self.params.faults():
            raise ValueError("; ".join(found))
        p = self.params
        every_s = p.every_s or p.window_s
        names = watch.channels[len(watch.channels) - p.environment :]
        self._window_ns = round(p.window_s * NS)
        self._weather = Weather(names, p.window_s, p.lag_s)
        self._explained_by = _explained_by(names, self.groups, p.traffic)
        plan = Plan(p.learn, p.train, p.confirm, YEAR_S / every_s, p.false_alarms_per_year, ceil(p.window_s / every_s - 1e-9))
        columns = self._weather.columns
        self._watch = Surveillance(plan, p.window_s, columns + p.traffic, together=not columns, bilinear=p.bend and columns > 0)
        self._on = dict.fromkeys(self.KINDS, (0, 0))  # onset, severity
        self._gone: tuple[int, ...] = ()
        self._waiting: list[Window] = []  # windows that wait for their weather
        self._said: Verdict | None = None
        aside = [bool(g.channels) and all(c.name in names for c in g.channels) for g in self.groups]
        self._moving = next((i for i, g in enumerate(self.groups) if g.rate_hz and not aside[i]), None)
        self._windows: Windows | None = None
        if self._moving is not None:
            group = self.groups[self._moving]
            assert group.rate_hz is not None
            self._windows = Windows(len(group.channels), group.rate_hz, window_s=p.window_s, every_s=every_s, f_min=p.f_min,
                                    f_max=p.f_max, block_rows=p.block_rows, order_max=p.order_max)

    @classmethod
    def aside(cls, params: Any) -> int:
        return params.environment if params is not None else 0

    def push(self, group: int, block: Block) -> list[Finding]:
        if self._windows is None or group != self._moving:
            self._weather.hear(self.groups[group].channels, block)
            return []
        return self._take(self._windows.push(block))

    def gap(self, group: int, brk: Break) -> list[Finding]:
        """Blocks that are done stay, unless so much is missing that they belong to another window."""
        return self._take(self._windows.gap(brk)) if self._windows is not None and group == self._moving else []

    def _take(self, windows: Sequence[Window]) -> list[Finding]:
        """What is judged with the weather waits for a tick, when all channels have been heard."""
        if not windows:
            return []
        self._waiting += windows
        return self._judge(windows[-1].t_ns - (WORST_NS if self._weather.columns else 0))

    def tick(self, t_ns: int) -> list[Finding]:
        return self._judge(t_ns - PATIENCE_NS)

    def flush(self) -> list[Finding]:
        """Windows that are whole are judged; the one under way says nothing."""
        return self._judge(max((w.t_ns for w in self._waiting), default=0))

    def _judge(self, until_ns: int) -> list[Finding]:
        """Windows that ended by then, in their order."""
        found: list[Finding] = []
        while self._waiting and self._waiting[0].t_ns <= until_ns:
            w = self._waiting.pop(0)
            env = np.append(self._weather.at(w.t_ns), [w.level] * self.params.traffic)
            v = self._said = self._watch.window(w.modes, env, level=w.level, begin_ns=w.t_ns - self._window_ns)
            found += self._tell("modal-change", v.change, v, w)
            found += self._tell("modal-drift", v.drift, v, w)
            found += self._tell("modal-missing", bool(v.missing), v, w)
        return found

    def _tell(self, kind: str, on: bool, v: Verdict, w: Window) -> list[Finding]:
        onset, severity = self._on[kind]
        if not on:
            self._on[kind] = (0, 0)
            return [Finding(kind, w.t_ns, onset, False, severity, unit="", historical=w.historical)] if severity else []
        said = self._missing(v) if kind == "modal-missing" else self._moved(kind, v)
        grade = max(self.params.severity, said.pop("severity", 0))
        more = kind == "modal-missing" and not set(v.missing) <= set(self._gone)
        if kind == "modal-missing":
            self._gone = v.missing
        if grade <= severity and not more:
            return []
        if not severity:
            onset = v.since_ns[self.KINDS.index(kind)]
        self._on[kind] = (onset, max(grade, severity))
        said["evidence"] |= {"reference_hz": _plain(self._reference()), "f_hz": _plain(v.f_hz)}
        return [Finding(kind, w.t_ns, onset, True, grade, historical=w.historical, **said)]

    def _reference(self) -> Real:
        assert self._watch.baseline is not None
        return self._watch.baseline.reference

    def _moved(self, kind: str, v: Verdict) -> dict[str, Any]:
        """Of the mode that moved most against its scatter."""
        base = self._watch.baseline
        change = kind == "modal-change"
        moved = (v.mean_moved if v.mean_moved is not None else v.moved) if change else v.drift_moved
        assert base is not None and moved is not None
        row = int(np.argmax(np.where(np.isfinite(moved), np.abs(moved) / base.scatter, -1.0)))
        value, by = float(moved[row]), [*self._explained_by, *["modes"] * (base.together and len(moved) > 1)]
        reached = max(((r.moved, r.severity) for r in self.params.severities if abs(value) >= r.moved), default=(None, 0))
        return {"score": v.d2 / v.limit if change else v.sum / v.threshold, "value": value, "severity": reached[1],
                "limit": None if reached[0] is None else copysign(reached[0], value),
                "where": {"mode": row + 1, "mode_hz": float(self._reference()[row]), "moved": value, "explained_by": by},
                "evidence": {"moved": _plain(moved), "d2": v.d2, "d2_limit": v.limit}}

    def _missing(self, v: Verdict) -> dict[str, Any]:
        """Of the mode that is missing for longest."""
        absence = self._watch.absence
        assert absence is not None
        row = absence.longest
        run, limit = float(absence.run[row]), float(absence.limit[row])
        return {"score": max(run / limit, 1.0), "value": run, "limit": limit, "unit": "windows",
                "where": {"mode": row + 1, "mode_hz": float(self._reference()[row]), "modes": [i + 1 for i in v.missing],
                          "seen": float(absence.share[row])},
                "evidence": {"runs": absence.run.tolist(), "run_limits": absence.limit.tolist()}}

    def report(self) -> list[dict[str, Any]]:
        v, tracker = self._said, self._watch.tracker
        if v is None:
            return []
        row: dict[str, Any] = {"phase": v.phase}
        if tracker is not None and len(v.f_hz):
            row |= {"reference_hz": _plain(tracker.f_hz), "f_hz": _plain(v.f_hz)}
        if v.phase == "watch":
            row |= {"d2": v.d2, "limit": v.limit, "moved": _plain(v.moved), "sum": v.sum, "threshold": v.threshold,
                    "missing": [i + 1 for i in v.missing]}
        return [row]

    def save(self) -> dict[str, Any]:
        return {
            "version": VERSION, "watch": self._watch.save(), "weather": self._weather.save(),
            "windows": None if self._windows is None else self._windows.save(),
            "waiting": [w.packed() for w in self._waiting], "on": [list(self._on[kind]) for kind in self.KINDS],
            "gone": list(self._gone),
        }  # fmt: skip

    def load(self, state: Mapping[str, Any]) -> None:
        if state.get("version") != VERSION or (state.get("windows") is None) != (self._windows is None):
            raise StateError(f"modal: saved state is of version {state.get('version')!r} or of other channels, wanted {VERSION}")
        try:
            self._watch.load(state["watch"])
            self._weather.load(state["weather"])
            if self._windows is not None:
                self._windows.load(state["windows"])
            self._waiting = [Window.unpacked(w) for w in state["waiting"]]
            self._on = {kind: (int(o), int(s)) for kind, (o, s) in zip(self.KINDS, state["on"], strict=True)}
            self._gone = tuple(int(i) for i in state["gone"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise StateError(f"modal cannot be restored: {error}") from error


def _explained_by(names: Sequence[str], groups: Sequence[Group], traffic: bool) -> list[str]:
    """What is taken out of frequencies, in words: the quantities of the channels, or their names; each once."""
    quantity = {c.name: c.quantity or c.name for g in groups for c in g.channels}
    return list(dict.fromkeys([quantity.get(n, n) for n in names] + ["traffic"] * traffic))


def _plain(x: Real | None) -> list[float | None]:
    """For a message: NaN is nothing."""
    return [] if x is None else [float(v) if np.isfinite(v) else None for v in x]
