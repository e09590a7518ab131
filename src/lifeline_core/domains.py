"""The domains there are and their profiles: what is watched how in each, as data.

A domain is one TOML file of ``profiles/``; a user's own directory (``[service] profiles_dir``) may bring further ones.
A row ``[profile.girder-acceleration]`` of ``bridge.toml`` is the profile ``bridge.girder-acceleration``. A table ``[levels]``
says what the severities are called in that domain's practice; one in a user's file takes the place of this package's.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import msgspec

from lifeline_core.fields import NAME, Faults, near, read, toml
from lifeline_core.model import RED


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row as it stands in a file. ``defaults`` are keys of the detector; a table in a list of them (a limit) may
    carry ``source`` and ``example`` of its own, which otherwise are the row's. ``place`` are keys that every watch has
    to give itself (a pipe's length), with values only to show them."""

    detector: str
    about: str = ""
    quantity: str = ""
    unit: str = ""
    source: str = ""
    example: bool = False
    example_keys: tuple[str, ...] = ()
    defaults: dict[str, Any] = {}
    place: dict[str, Any] = {}


class Limit(msgspec.Struct, frozen=True):
    """Where one limit of a profile comes from; ``path`` is like ``limits[0]``, ``text`` what it says."""

    path: str
    text: str
    source: str
    example: bool


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A detector with defaults for one quantity; ``limits`` says for each limit whether it is more than an example."""

    name: str
    domain: str
    detector: str
    about: str
    quantity: str
    unit: str
    source: str
    defaults: dict[str, Any]
    place: dict[str, Any]
    limits: tuple[Limit, ...]

    def examples(self, overridden: Mapping[str, Any]) -> list[str]:
        """Paths of limits that are only examples and that ``overridden`` leaves as they are."""
        used = {"design": "share", "as_built": "off"}  # key: what of the limits refers to it
        rows = [row for row in overridden.get("limits", []) if isinstance(row, dict)] if "limits" in overridden else None
        idle = {key for key, part in used.items() if rows is not None and not any(part in row for row in rows)}
        return [x.path for x in self.limits if x.example and x.path.split("[")[0] not in {*overridden, *idle}]


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """What one severity is called: ``level`` for programs, ``zh`` and ``en`` for people."""

    severity: int
    level: str
    zh: str
    en: str


class Levels(msgspec.Struct, frozen=True, kw_only=True):
    """The words of one practice. Level 1 is the mildest in one and the gravest in another, so nothing but this table says
    which severity is which level; a severity without a word has no level."""

    about: str
    source: str
    words: tuple[Word, ...]

    def of(self, severity: int) -> Word | None:
        return next((w for w in self.words if w.severity == severity), None)


class Domains(msgspec.Struct, frozen=True):
    """Every domain and every profile, by name; the levels of the domains that have some."""

    names: tuple[str, ...]
    profiles: dict[str, Profile]
    levels: dict[str, Levels] = {}


KEYS = ("domain", "levels", "profile")

# Several spellings of one and the same unit. Nothing here converts: mH2O is the metre of pressure head.
_SPELLINGS = (
    ("degC", "C", "°C", "℃"),
    ("%LEL", "LEL%", "%lel"),
    ("%VOL", "VOL%", "%vol", "vol%", "%Vol"),
    ("ppm", "cm3/m3", "cm³/m³"),
    ("m/s2", "m/s^2", "m/s²", "m/s/s"),
    ("m", "mH2O", "mwc"),
    ("ue", "um/m", "µε", "με", "µm/m"),
    ("mg/m3", "mg/m³", "mg/m^3"),
    ("deg", "°"),
)
_SPELLED = {word: words[0] for words in _SPELLINGS for word in words}


def same_unit(a: str, b: str) -> bool:
    """Whether two words name one unit; no factor is ever applied.

    >>> same_unit("m/s2", "m/s^2"), same_unit("m/s2", "g")
    (True, False)
    """
    a, b = a.replace(" ", ""), b.replace(" ", "")
    return _SPELLED.get(a, a) == _SPELLED.get(b, b)


def builtin() -> dict[str, str]:
    """The profile files of this package: file name -> text."""
    folder = files("lifeline_core") / "profiles"
    return {f.name: f.read_text("utf-8") for f in sorted(folder.iterdir(), key=lambda f: f.name) if f.name.endswith(".toml")}


def load(faults: Faults, extra: Mapping[str, str] | None = None) -> Domains:
    """All domains: those of this package and ``extra`` files (name -> text). Their faults are paths in those files."""
    names: dict[str, None] = {}
    profiles: dict[str, Profile] = {}
    levels: dict[str, tuple[str, Levels]] = {}  # and the file they are from
    own = builtin()
    for file, text in [*own.items(), *(extra or {}).items()]:
        try:
            table = tomllib.loads(text.removeprefix("\ufeff"))
        except tomllib.TOMLDecodeError as error:
            faults.add(file, f"must be TOML, {error}")
            continue
        domain = table.get("domain", file.removesuffix(".toml"))
        if not isinstance(domain, str) or not NAME.fullmatch(domain):
            faults.add(f"{file}: domain", "must be a name of [a-z0-9-]+", domain)
            continue
        names[domain] = None
        for key in table:
            if key not in KEYS:
                faults.add(f"{file}: {key}", f"unknown key (known: {', '.join(KEYS)}){near(key, KEYS)}")
        if "levels" in table and (found := _levels(f"{file}: levels", table["levels"], faults)) is not None:
            if domain in levels and levels[domain][0] not in own:
                faults.add(f"{file}: levels", f"must be given once for a domain, {levels[domain][0]} has them, too", domain)
            levels[domain] = file, found
        rows = table.get("profile", {})
        if not isinstance(rows, dict):
            faults.add(f"{file}: profile", "must be a table", rows)
            continue
        for row, content in rows.items():
            profile = _profile(file, domain, row, content, faults)
            if profile is None:
                continue
            if profile.name in profiles:
                faults.add(f"{file}: profile.{row}", "must be named once among all files", profile.name)
            profiles[profile.name] = profile
    return Domains(tuple(names), profiles, {domain: found for domain, (_, found) in levels.items()})


def _levels(path: str, content: Any, faults: Faults) -> Levels | None:
    if not isinstance(content, dict):
        faults.add(path, "must be a table", content)
        return None
    before = len(faults)
    values = read(Levels, content, path, faults)
    if len(faults) > before:
        return None
    words: tuple[Word, ...] = values["words"]
    for key in ("severity", "level"):
        if len({getattr(w, key) for w in words}) < len(words):
            faults.add(f"{path}.words", f"must name each {key} once", [getattr(w, key) for w in words])
    if wrong := [w.severity for w in words if not 1 <= w.severity <= RED]:
        faults.add(f"{path}.words", f"must have severities from 1 to {RED}", wrong)
    return Levels(**values) if len(faults) == before else None


def _profile(file: str, domain: str, name: str, content: Any, faults: Faults) -> Profile | None:
    path = f"{file}: profile.{name}"
    if not NAME.fullmatch(name):
        faults.add(path, "must be a name of [a-z0-9-]+", name)
        return None
    if not isinstance(content, dict):
        faults.add(path, "must be a table", content)
        return None
    before = len(faults)
    values = read(Row, content, path, faults)
    if len(faults) > before:
        return None
    row = Row(**values)
    limits: list[Limit] = []
    defaults = {}
    for key, value in row.defaults.items():
        defaults[key] = (
            [_limit(f"{key}[{i}]", entry, row, limits) for i, entry in enumerate(value)] if isinstance(value, list) else value
        )
        if key in row.example_keys:
            limits.append(Limit(key, toml(value), row.source, True))
    for key in row.example_keys:
        if key not in row.defaults:
            faults.add(f"{path}.example_keys", "must name keys of defaults", key)
    return Profile(
        name=f"{domain}.{name}",
        domain=domain,
        detector=row.detector,
        about=row.about,
        quantity=row.quantity,
        unit=row.unit,
        source=row.source,
        defaults=defaults,
        place=row.place,
        limits=tuple(limits),
    )


def _limit(path: str, entry: Any, row: Row, limits: list[Limit]) -> Any:
    """``entry`` without its ``source`` and ``example``, which go to ``limits``."""
    if not isinstance(entry, dict):
        return entry
    bare = {k: v for k, v in entry.items() if k not in ("source", "example")}
    text = ", ".join(f"{k} {v}" for k, v in bare.items())
    limits.append(Limit(path, text, str(entry.get("source", row.source)), entry.get("example", row.example) is not False))
    return bare
