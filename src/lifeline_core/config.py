"""TOML -> City: what there is in a city, and what is watched how. Every fault is listed at once, with its path.

::

    [service]                 optional: addresses, directories, limits of the service
    [security]                optional: who is let in (plain sockets on loopback without it)
    [client.NAME]             a public key, and what its owner may do
    [site.NAME]               a place: its domain, its weight, its pipe network
    [channel.NAME]            one measured quantity of one device
    [watch.NAME]              one detector over channels of one site

A watch names a ``profile`` (a detector with limits, see `domains`) or a ``detector``; its other keys are the detector's
own (its PARAMS). ``example_config`` prints all of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from lifeline_core import domains
from lifeline_core.errors import ConfigError
from lifeline_core.example import describe, example_config
from lifeline_core.fields import NAME, near, read, why
from lifeline_core.keys import CHECKS, KEYS, ServiceTable
from lifeline_core.model import Channel, City, Site
from lifeline_core.pipes.epanet import read_inp
from lifeline_core.pipes.graph import PipeGraph
from lifeline_core.security import read_security
from lifeline_core.watches import Draft, add_health_watches, read_watch

__all__ = ["Check", "check_city", "describe", "example_config", "load_city", "read_city"]

SECTIONS = tuple(KEYS)
PLAIN = ("service", "security")  # one table each; the others are tables by name


class Check(NamedTuple):
    """What is wrong with a configuration, and what is right but perhaps not meant."""

    faults: list[str]
    warnings: list[str]


def load_city(path: str | os.PathLike[str]) -> City:
    """The city of one file.

    Raises
    ------
    ConfigError
        With every fault there is, each as ``path: rule, value``; also where the file cannot be read.
    """
    reader = _Reader.of_file(Path(path))
    return reader.city_or_raise()


def read_city(text: str, *, base: str | os.PathLike[str] = ".") -> City:
    """As `load_city` for text; ``base`` is the directory that paths in it are relative to."""
    reader = _Reader(Path(base))
    reader.read(text)
    return reader.city_or_raise()


def check_city(path: str | os.PathLike[str]) -> Check:
    """Everything wrong at once: ``faults`` (empty: the file can be used) and ``warnings``."""
    reader = _Reader.of_file(Path(path))
    return Check(list(reader.faults), list(reader.warnings))


class _Reader(Draft):
    """One reading of one configuration. Later sections look names up in what the earlier ones left."""

    def __init__(self, base: Path) -> None:
        super().__init__()
        self.base = base

    @classmethod
    def of_file(cls, path: Path) -> _Reader:
        reader = cls(path.parent)
        try:
            reader.read(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            reader.faults.add(str(path), f"must be a readable file of UTF-8 text, {why(error)}")
        return reader

    def city_or_raise(self) -> City:
        if self.faults:
            raise ConfigError(self.faults)
        # By name, so that the order of the file can have no effect anywhere.
        city = City(
            sites=_sorted(self.sites),
            channels=_sorted(self.channels),
            watches=_sorted(self.watches),
            service=self.service,
            security=self.security,
            clients=_sorted(self.clients),
            levels=self.domains.levels,
        )
        return msgspec.structs.replace(city, hash=_hash(city))

    def read(self, text: str) -> None:
        try:
            table = tomllib.loads(text.removeprefix("\ufeff"))
        except tomllib.TOMLDecodeError as error:
            self.faults.add("TOML", str(error)[:1].lower() + str(error)[1:])
            return
        for section in table:
            if section not in SECTIONS:
                self.faults.unknown("", section, SECTIONS, "section")
        self.tables = {section: self._named(section, table.get(section, {})) for section in SECTIONS if section not in PLAIN}
        self._service(table.get("service", {}))
        read_security(self, self.base, table.get("security", {}))
        self.domains = domains.load(self.faults, self._profile_files())
        for name, content in self.tables["site"].items():
            self._site(name, content)
        for name, content in self.tables["channel"].items():
            self._channel(name, content)
        self._shared_channels()
        for name, content in self.tables["watch"].items():
            read_watch(self, name, content)
        add_health_watches(self)
        self._unwatched()

    # -- sections ------------------------------------------------------------------------------------------------------

    def _named(self, section: str, content: Any) -> dict[str, dict[str, Any]]:
        """The tables ``[section.NAME]`` whose name and kind are right."""
        if not isinstance(content, dict):
            self.faults.add(section, f"must be tables [{section}.NAME]", content)
            return {}
        tables = {}
        for name, table in content.items():
            if not isinstance(table, dict):
                self.faults.add(f"{section}.{name}", f"must be a table [{section}.NAME]", table)
            elif not NAME.fullmatch(name):
                self.faults.add(f"{section}.{name}", "must be a name of [a-z0-9-]+", name)
            else:
                tables[name] = table
        return tables

    def _service(self, content: Any) -> None:
        if not isinstance(content, dict):
            self.faults.add("service", "must be a table", content)
            return
        self.service = ServiceTable(**read(ServiceTable, content, "service", self.faults, checks=CHECKS["service"]))
        used: dict[str, str] = {}
        for key in ("ingest", "alarms", "feed"):
            address = getattr(self.service, key)
            if address in used and not address.endswith((":0", ":*")):
                self.faults.add(f"service.{key}", f"must differ from {used[address]}", address)
            used.setdefault(address, key)

    def _profile_files(self) -> dict[str, str]:
        if self.service.profiles_dir is None:
            return {}
        folder = self.base / self.service.profiles_dir
        try:
            return {str(f): f.read_text("utf-8") for f in sorted(folder.iterdir()) if f.suffix == ".toml"}
        except (OSError, UnicodeDecodeError) as error:
            self.faults.add("service.profiles_dir", f"must be a directory of TOML files, {why(error)}", self.service.profiles_dir)
            return {}

    def _site(self, name: str, content: Mapping[str, Any]) -> None:
        path, before = f"site.{name}", len(self.faults)
        values = read(Site, content, path, self.faults, fixed={"name": name}, checks=CHECKS["site"])
        domain = values.get("domain")
        if domain is not None and domain not in self.domains.names:
            self.faults.add(
                f"{path}.domain",
                f"must be one of {', '.join(self.domains.names)}{near(domain, self.domains.names)}",
                domain,
            )
        if values.get("network") is not None:
            values["network"] = self._network(f"{path}.network", values["network"])
        if len(self.faults) == before:
            self.sites[name] = Site(**values)

    def _network(self, path: str, file: str) -> str:
        """The text of an EPANET file from which a pipe graph can be built."""
        try:
            text = _decode((self.base / file).read_bytes())
            PipeGraph.from_text(text)
        except OSError as error:
            self.faults.add(path, f"must be a readable EPANET file, {why(error)}", file)
            return ""
        except ValueError as error:
            self.faults.add(path, f"must be an EPANET network, {error}", file)
            return ""
        return text

    def _channel(self, name: str, content: Mapping[str, Any]) -> None:
        path, before = f"channel.{name}", len(self.faults)
        values = read(Channel, content, path, self.faults, fixed={"name": name}, checks=CHECKS["channel"])
        self.reference(f"{path}.site", "site", values.get("site"))
        site = self.sites.get(values.get("site", ""))
        node = values.get("node")
        if node is not None and site is not None:
            if site.network is None:
                self.warnings.add(f"{path}.node", f"site.{site.name} has no network, the node says nothing", node)
            elif node not in (nodes := read_inp(site.network).nodes):
                self.faults.add(f"{path}.node", f"must be a node of site.{site.name}'s network{near(node, nodes)}", node)
        if len(self.faults) == before:
            self.channels[name] = Channel(**values)

    def _shared_channels(self) -> None:
        used: dict[tuple[int, int], str] = {}
        for name, c in self.channels.items():
            first = used.setdefault((c.device, c.channel), name)
            if first != name:
                self.faults.add(f"channel.{name}", f"must not share device {c.device} channel {c.channel} with channel.{first}")

    def _unwatched(self) -> None:
        watched = {c for w in self.watches.values() if w.detector != "health" for c in w.channels}
        for name in self.channels:
            if name not in watched:
                self.warnings.add(f"channel.{name}", "no watch looks at its values")
        used = {c.site for c in self.channels.values()}
        for name in self.sites:
            if name not in used:
                self.warnings.add(f"site.{name}", "has no channels")


def _sorted(named: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(named.items()))


def _hash(city: City) -> str:
    """SHA-256 over what decides about alarms: not addresses, directories or the order of the file."""
    content = {"sites": city.sites, "channels": city.channels, "watches": city.watches}
    return hashlib.sha256(json.dumps(msgspec.to_builtins(content), sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _decode(data: bytes) -> str:
    """Text of an .inp file, which says nowhere how it is encoded: UTF-8, else the Chinese code page, else Latin-1."""
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")
