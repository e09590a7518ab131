"""net.toml -> Net: the pipes, the loggers on them, and how a night is listened to. Every fault at once, with its path.

::

    [network]      an EPANET file, or what the [[pipe]] tables have in common
    [[pipe]]       a pipe by its ends; or, beside an EPANET file, another speed for one of its pipes
    [[node]]       coordinates, for pictures
    [[logger]]     where a logger stands, and which files are its own
    [[known]]      a noise that is no leak
    [correlate]    which pairs, which part of the night, what is the same place
    [levels]       Lmin, Level and Spread of single loggers
    [persistence]  events over many nights
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from lifeline_core.errors import ConfigError
from lifeline_core.fields import Faults, near, read, read_toml, why
from lifeline_core.pipes.epanet import read_inp
from lifeline_core.pipes.graph import PipeGraph
from lifeline_core.pipes.persistence import Rules
from lifeline_core.pipes.places import PipeMap, Place, Way
from lifeline_core.pipes.plan import Logger
from lifeline_core.pipes.speed import pipe_speed
from lifeline_core.store.nettables import CHECKS, Correlate, KnownTable, Levels, LoggerTable, NetworkTable, NodeTable, PipeTable
from lifeline_core.store.texts import read_text


@dataclass(frozen=True)
class Net:
    """A network with its loggers, ready for a night. ``rel_sd`` of single links whose speed came from their wall."""

    pipes: PipeMap
    loggers: tuple[Logger, ...]
    patterns: dict[str, str]
    known: dict[str, Place]
    correlate: Correlate
    levels: Levels
    rules: Rules
    zone: tzinfo
    hours: tuple[time, time] | None
    rel_sd: dict[int, float]
    notes: tuple[str, ...] = ()

    def speed_rel_sd(self, way: Way) -> float:
        """Relative deviation of the speeds on a way: the one told, or where a pipe's wall says a larger one, that."""
        return max([self.correlate.speed_rel_sd, *(self.rel_sd.get(p.link, 0.0) for p in way.pieces)])


def load_net(path: str | os.PathLike[str]) -> Net:
    """The network of one file.

    Raises
    ------
    ConfigError
        With every fault there is, each as ``path: rule, value``; also where a file cannot be read.
    """
    file = Path(path)
    return read_net(read_text(file), base=file.parent)


def read_net(text: str, *, base: str | os.PathLike[str] = ".") -> Net:
    """As `load_net` for text; ``base`` is the directory that paths in it are relative to."""
    return _Reader(Path(base), read_toml(text)).net()


_TABLES: dict[str, Any] = {"network": NetworkTable, "correlate": Correlate, "levels": Levels, "persistence": Rules}
_LISTS: dict[str, Any] = {"pipe": PipeTable, "node": NodeTable, "logger": LoggerTable, "known": KnownTable}


@dataclass
class _Reader:
    """One reading of one file: first every table by itself, then what refers to others."""

    base: Path
    table: Mapping[str, Any]
    faults: Faults = field(default_factory=Faults)
    notes: list[str] = field(default_factory=list)
    rel_sd: dict[str, float] = field(default_factory=dict)

    def net(self) -> Net:
        known = (*_TABLES, *_LISTS)
        for key in self.table:
            if key not in known:
                self.faults.unknown("", key, known, "section")
        one = {name: self._one(name) for name in _TABLES}
        many = {name: self._many(name) for name in _LISTS}
        pipes = self._pipes(one["network"], many["pipe"], many["node"])
        if not self.faults and not many["logger"]:
            self.faults.add("logger", "must be given at least once, [[logger]]")
        loggers = [self._logger(pipes, path, row) for path, row in many["logger"]]
        self._twice("logger", many["logger"])
        places = {row.name: self._placed(pipes, path, row) for path, row in many["known"]}
        zone, hours = self._hours(one["correlate"])
        if self.faults:
            raise ConfigError(self.faults)
        assert pipes is not None and zone is not None
        return Net(pipes, tuple(g for g in loggers if g is not None), {r.name: r.file for _, r in many["logger"] if r.file},
                   {n: p for n, p in places.items() if p is not None}, one["correlate"], one["levels"], one["persistence"],
                   zone, hours, {pipes.index[n]: sd for n, sd in self.rel_sd.items() if n in pipes.index}, tuple(self.notes))

    def _one(self, name: str) -> Any:
        content = self.table.get(name, {})
        if not isinstance(content, dict):
            self.faults.add(name, f"must be a table [{name}]", content)
            content = {}
        return self._struct(_TABLES[name], content, name)

    def _many(self, name: str) -> list[tuple[str, Any]]:
        content = self.table.get(name, [])
        if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
            self.faults.add(name, f"must be tables [[{name}]]")
            return []
        rows = [(f"{name}[{i}]", self._struct(_LISTS[name], row, f"{name}[{i}]")) for i, row in enumerate(content)]
        return [(path, row) for path, row in rows if row is not None]

    def _struct(self, kind: Any, content: Mapping[str, Any], path: str) -> Any:
        before = len(self.faults)
        values = read(kind, content, path, self.faults, checks=CHECKS.get(path.split("[")[0]))
        return kind(**values) if len(self.faults) == before else None

    def _twice(self, name: str, rows: list[tuple[str, Any]]) -> None:
        seen: dict[str, str] = {}
        for path, row in rows:
            if row.name in seen:
                self.faults.add(f"{path}.name", f"must differ from {seen[row.name]}", row.name)
            seen.setdefault(row.name, path)

    # -- pipes -------------------------------------------------------------------------------------------------------

    def _pipes(self, network: NetworkTable | None, rows: list[tuple[str, PipeTable]], nodes: list[tuple[str, NodeTable]]
               ) -> PipeMap | None:
        if network is None:
            return None
        self._twice("pipe", rows)
        speeds = {row.name: self._speed(path, row, network) for path, row in rows}
        edges, barriers, xy = (self._from_inp(network, rows, speeds) if network.inp is not None
                               else self._from_rows(rows, speeds))
        xy |= {n.name: (n.x, n.y) for _, n in nodes}
        if self.faults:
            return None
        try:
            return PipeMap(PipeGraph.from_edges(edges, barriers=barriers, xy=xy))
        except ValueError as error:
            self.faults.add("pipe" if network.inp is None else "network.inp", str(error))
            return None

    def _from_rows(self, rows: list[tuple[str, PipeTable]], speeds: Mapping[str, float | None]) -> tuple[Any, Any, Any]:
        if not rows:
            self.faults.add("pipe", "must be given at least once, [[pipe]], or network.inp instead")
        edges = []
        for path, row in rows:
            if row.a is None or row.b is None or row.length_m is None:
                self.faults.add(path, "must have a, b and length_m (without network.inp)")
            elif row.a == row.b:
                self.faults.add(f"{path}.b", "must be another node than a", row.b)
            elif speeds[row.name] is not None:
                edges.append((row.name, row.a, row.b, row.length_m, speeds[row.name]))
        return edges, (), {}

    def _from_inp(self, network: NetworkTable, rows: list[tuple[str, PipeTable]], speeds: Mapping[str, float | None]
                  ) -> tuple[Any, Any, Any]:
        assert network.inp is not None
        if network.wave_speed is None:
            self.faults.add("network.wave_speed", "must be given beside inp: an EPANET file knows no wave speed")
            return [], (), {}
        try:
            net = read_inp((self.base / network.inp).read_text("utf-8", "replace"))
        except OSError as error:
            self.faults.add("network.inp", f"must be a readable EPANET file, {why(error)}", network.inp)
            return [], (), {}
        except ValueError as error:
            self.faults.add("network.inp", f"must be an EPANET network, {error}", network.inp)
            return [], (), {}
        for path, row in rows:
            if row.name not in net.links:
                self.faults.add(f"{path}.name", f"must be a link of {network.inp}{near(row.name, net.links)}", row.name)
            if row.a is not None or row.b is not None or row.length_m is not None:
                self.faults.add(path, "must not have a, b or length_m beside network.inp")
        edges = [(k.name, k.a, k.b, k.length_m, speeds.get(k.name) or network.wave_speed)
                 for k in net.links.values() if k.status != "closed"]
        ends = {n for e in edges for n in e[1:3]}
        return (edges, [n.name for n in net.nodes.values() if n.kind != "junction" and n.name in ends],
                {n.name: (n.x, n.y) for n in net.nodes.values()})

    def _speed(self, path: str, row: PipeTable, network: NetworkTable) -> float | None:
        """A pipe's wave speed: told, or worked out from its wall; None with a fault."""
        wall = {"material": row.material, "inner_diameter_m": row.inner_diameter_m, "wall_m": row.wall_m}
        given = [k for k, v in wall.items() if v is not None]
        if row.speed_mps is not None:
            if given:
                self.faults.add(path, "must have speed_mps or a wall (material, inner_diameter_m, wall_m), not both")
            return row.speed_mps
        if not given and network.wave_speed is not None:
            return network.wave_speed
        if len(given) < 3:
            self.faults.add(path, "must have speed_mps, or all of material, inner_diameter_m, wall_m; or network.wave_speed")
            return None
        assert row.material is not None and row.inner_diameter_m is not None and row.wall_m is not None
        try:
            found = pipe_speed(row.material, row.inner_diameter_m, row.wall_m, restraint=network.restraint,
                               unverified=network.unverified)
        except ValueError as error:
            self.faults.add(path, f"{error}")
            return None
        self.notes += [f"{path} {row.name}: {found.speed_mps:.0f} m/s, {100 * found.rel_sd:.1f} %; {r}" for r in found.reasons]
        self.rel_sd[row.name] = found.rel_sd
        return found.speed_mps

    # -- what stands on them -----------------------------------------------------------------------------------------

    def _placed(self, pipes: PipeMap | None, path: str, row: LoggerTable | KnownTable) -> Place | None:
        if (row.node is None) == (row.pipe is None) or (row.pipe is None) != (row.offset_m is None):
            self.faults.add(path, "must have node, or pipe and offset_m")
            return None
        if pipes is None:
            return None
        if row.node is not None:
            try:
                return pipes.node_place(row.node)
            except ValueError as error:
                self.faults.add(f"{path}.node", f"{error}{near(row.node, pipes.graph.nodes)}")
                return None
        assert row.pipe is not None and row.offset_m is not None
        try:
            return pipes.place(row.pipe, row.offset_m)
        except ValueError as error:
            which = "offset_m" if row.pipe in pipes.index else "pipe"
            self.faults.add(f"{path}.{which}", f"{error}{near(row.pipe, pipes.index) if which == 'pipe' else ''}")
            return None

    def _logger(self, pipes: PipeMap | None, path: str, row: LoggerTable) -> Logger | None:
        place = self._placed(pipes, path, row)
        return None if place is None else Logger(row.name, place, row.clock_sd_ms / 1e3, row.inverted)

    def _hours(self, asked: Correlate | None) -> tuple[tzinfo | None, tuple[time, time] | None]:
        if asked is None:
            return None, None
        zone = None
        try:
            zone = ZoneInfo(asked.timezone)
        except (OSError, ValueError, KeyError):
            self.faults.add("correlate.timezone", "must be a time zone this machine knows, such as UTC or Asia/Shanghai",
                            asked.timezone)
        hours = []
        for i, text in enumerate(asked.night or ()):
            try:
                hours.append(time.fromisoformat(text))
            except ValueError:
                self.faults.add(f"correlate.night[{i}]", "must be a time of day such as 02:00", text)
        if len(hours) == 2 and hours[0] == hours[1]:
            self.faults.add("correlate.night", "must be two different times", list(asked.night or ()))
        return zone, (hours[0], hours[1]) if len(hours) == 2 else None
