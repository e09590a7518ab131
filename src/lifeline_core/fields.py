"""One table of a configuration file turned into one struct, with every fault listed instead of only the first.

A fault is one line, ``path: rule, value``. The struct's own field types are the rules, so a key is described in one
place; ``checks`` adds what a type cannot say.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import re
import tomllib
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from lifeline_core.errors import ConfigError

NAME = re.compile(r"[a-z0-9-]+")

_NONE = type(None)


def why(error: Exception) -> str:
    """What is wrong with a file, without its path where the system says it."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def read_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text; ConfigError says line and column where it is none."""
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"TOML: {error}"]) from error


class Faults(list[str]):
    """A growing list of ``path: rule, value``."""

    def add(self, path: str, rule: str, *value: Any) -> None:
        """One fault; the value is left out where there is none (a key that is missing)."""
        self.append(f"{path}: {rule}{', ' if value else ''}{', '.join(show(v) for v in value)}")

    def unknown(self, path: str, key: str, known: Collection[str], what: str = "key") -> None:
        """A key or section nobody reads, with the nearest one that is read.

        >>> faults = Faults(); faults.unknown("watch.w", "abov", ["above", "below"]); faults
        ['watch.w.abov: unknown key (known: above, below); did you mean above?']
        """
        where = f"{path}.{key}" if path else key
        self.add(where, f"unknown {what} (known: {', '.join(known)}){near(key, known)}")


def near(word: str, known: Collection[str]) -> str:
    """``; did you mean X?`` or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def show(value: Any) -> str:
    """A value as it stands in the file, cut to a readable length.

    >>> show(True), show([1, 2.5]), show({"severity": 2})
    ('true', '[1, 2.5]', '{severity = 2}')
    """
    text = toml(value)
    return text if len(text) <= 80 else text[:77] + "..."


def toml(value: Any) -> str:
    """A value in TOML's own spelling; structs are inline tables without their empty keys."""
    if isinstance(value, msgspec.Struct):
        value = {k: v for k, v in msgspec.structs.asdict(value).items() if v is not None}
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def convert(value: Any, kind: Any, path: str, faults: Faults) -> Any:
    """``value`` as ``kind``; what is wrong inside it goes to ``faults``, each part by its own path.

    Returns
    -------
    The converted value, or None once anything in it was at fault: look at ``faults``, not at the answer.
    """
    before = len(faults)
    if isinstance(value, Mapping):
        struct = next((k for k in _branches(kind) if isinstance(k, type) and issubclass(k, msgspec.Struct)), None)
        if struct is not None:
            read(struct, value, path, faults)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            convert(item, _item(kind, i), f"{path}[{i}]", faults)
    elif isinstance(value, float) and not math.isfinite(value):
        faults.add(path, "must be a finite number", value)
    if len(faults) > before:
        return None
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        faults.add(path, _rule(error), value)
        return None


def read(
    kind: type[msgspec.Struct],
    table: Mapping[str, Any],
    path: str,
    faults: Faults,
    *,
    fixed: Mapping[str, Any] | None = None,
    others: Collection[str] = (),
    checks: Mapping[str, tuple[str, Callable[[Any], bool]]] | None = None,
) -> dict[str, Any]:
    """The fields of ``kind`` that stand in ``table`` and are right; everything else goes to ``faults``.

    Parameters
    ----------
    fixed
        Fields whose value does not come from the table (they are not keys).
    others
        Keys of the table that somebody else reads.
    checks
        For a key: the rule in words, and whether a converted value keeps it.
    """
    fields = {f.name: f for f in _fields(kind) if f.name not in (fixed or {})}
    known = [*others, *fields]
    for key in table:
        if key not in known:
            faults.unknown(path, key, known)
    values: dict[str, Any] = dict(fixed or {})
    for name, field in fields.items():
        where = f"{path}.{name}"
        if name not in table:
            if field.required:
                faults.add(where, f"must be given ({type_text(field.type)})")
            continue
        before = len(faults)
        value = convert(table[name], field.type, where, faults)
        if len(faults) > before:
            continue
        if checks and name in checks and value is not None and not checks[name][1](value):
            faults.add(where, checks[name][0], table[name])
            continue
        values[name] = value
    return values


def type_text(kind: Any) -> str:
    """A field's type in a person's words.

    >>> type_text(typing.Annotated[float, msgspec.Meta(gt=0)] | None)
    'number > 0'
    >>> type_text(tuple[float, float])
    'list of 2 (number)'
    """
    if typing.get_origin(kind) is typing.Annotated:
        base, *metas = typing.get_args(kind)
        bounds = [
            f"{sign} {getattr(meta, name)}"
            for meta in metas
            if isinstance(meta, msgspec.Meta)
            for name, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
            if getattr(meta, name) is not None
        ]
        return " ".join([type_text(base), " and ".join(bounds)]).strip()
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_text(a) for a in args if a is not _NONE))
    if origin is typing.Literal:
        return "one of " + ", ".join(toml(a) for a in args)
    if origin in (list, tuple):
        length = "" if origin is list or args[-1] is Ellipsis else f" of {len(args)}"
        return f"list{length} ({type_text(args[0])})"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return "{" + ", ".join(f.name for f in msgspec.structs.fields(kind)) + "}"
    return {float: "number", int: "whole number", str: "text", bool: "true or false", dict: "table"}.get(origin or kind, str(kind))


def description(kind: Any) -> str:
    """The description a field's type carries, or nothing; for an optional field that of what it may be."""
    if typing.get_origin(kind) is typing.Annotated:
        base, *metas = typing.get_args(kind)
        texts = [m.description for m in metas if isinstance(m, msgspec.Meta) and m.description]
        return texts[-1] if texts else description(base)  # the outermost of several
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return next((text for a in typing.get_args(kind) if (text := description(a))), "")
    return ""


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Resolving annotations is slow, and a city has very many channels."""
    return msgspec.structs.fields(kind)


def _branches(kind: Any) -> list[Any]:
    """The alternatives of an annotated or optional type."""
    if typing.get_origin(kind) is typing.Annotated:
        return _branches(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [b for a in typing.get_args(kind) for b in _branches(a)]
    return [kind]


def _item(kind: Any, i: int) -> Any:
    """The type of entry ``i`` of a list or tuple type."""
    for branch in _branches(kind):
        args = typing.get_args(branch)
        if typing.get_origin(branch) in (list, tuple) and args:
            fixed = typing.get_origin(branch) is tuple and args[-1] is not Ellipsis
            return (args[i] if i < len(args) else Any) if fixed else args[0]
    return Any


def _rule(error: msgspec.ValidationError) -> str:
    """msgspec's sentence as a rule: the value and the path are told beside it."""
    text = re.sub(r" - at `.*?`$", "", str(error)).replace("`", "").replace(" | null", "")
    text = re.sub(r", got .*$", "", text)
    return (
        re.sub(r"^Expected ", "must be ", text)
        .replace("must be array", "must be a list")
        .replace("must be object", "must be a table")
    )
