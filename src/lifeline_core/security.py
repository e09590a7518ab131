"""``[security]`` and ``[client.NAME]`` of a configuration: who is let in, and as what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lifeline_core.fields import read
from lifeline_core.keys import CHECKS, is_local
from lifeline_core.model import Client, Security
from lifeline_core.watches import Draft

SOCKETS = ("ingest", "alarms", "feed")


def read_security(draft: Draft, base: Path, content: Any) -> None:
    """Both sections into the draft; the addresses of ``[service]`` are known by then."""
    if not isinstance(content, dict):
        draft.faults.add("security", "must be a table", content)
        return
    values = read(Security, content, "security", draft.faults, checks=CHECKS["security"])
    if values.get("key_file") is not None:
        values["key_file"] = str(base / values["key_file"])
    draft.security = Security(**values)
    for name, table in draft.tables["client"].items():
        _client(draft, name, table)
    _addresses(draft)
    _keys(draft)


def _client(draft: Draft, name: str, content: Mapping[str, Any]) -> None:
    path, before = f"client.{name}", len(draft.faults)
    values = read(Client, content, path, draft.faults, fixed={"name": name}, checks=CHECKS["client"])
    if len(draft.faults) > before:
        return
    client = Client(**values)
    if client.role == "device" and not client.devices:
        draft.faults.add(f"{path}.devices", "must be given for the role device")
    if client.role != "device" and (client.devices or client.max_frames_s or client.max_kib_s):
        draft.faults.add(f"{path}.devices", f"must not be given, nor rates, for the role {client.role}")
    if len(draft.faults) == before:
        draft.clients[name] = client


def _addresses(draft: Draft) -> None:
    """Without a word about security nothing leaves the machine."""
    if draft.security.mode != "local":
        return
    for key in SOCKETS:
        address = getattr(draft.service, key)
        if not is_local(address):
            draft.faults.add(
                f"service.{key}",
                'must be on loopback or ipc:// unless [security] mode is "curve" (or, without any guard, "plain")',
                address,
            )


def _keys(draft: Draft) -> None:
    mode, file = draft.security.mode, draft.security.key_file
    if mode == "curve":
        if file is None:
            draft.faults.add("security.key_file", "must be given with mode curve (lifeline-core keygen makes one)")
        elif not Path(file).is_file():
            draft.faults.add("security.key_file", "must be a readable file (lifeline-core keygen makes one)", file)
        if not draft.clients and not draft.tables["client"]:
            draft.warnings.add("security.mode", "curve without any [client.NAME]: nobody is let in", mode)
    elif draft.clients:
        draft.warnings.add("security.mode", "the keys of [client.*] are looked at with curve only", mode)
    owners: dict[object, str] = {}
    for name, client in draft.clients.items():
        for what, thing in [("key", client.key), *(("devices", d) for d in client.devices)]:
            first = owners.setdefault((what, thing), name)
            if first != name:
                draft.faults.add(f"client.{name}.{what}", f"must not be that of client.{first}", thing)
