"""The commented truth about a configuration: written from the structs, the keys' table, the detectors and the profiles,
so that it cannot say what the reader does not do. It loads as it stands."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from lifeline_core import detectors, domains
from lifeline_core.detectors.base import Detector
from lifeline_core.fields import Faults, description, toml, type_text
from lifeline_core.keys import KEYS, ServiceTable
from lifeline_core.model import Channel, Client, Security, Site

WIDTH = 120
EXAMPLE_KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"  # of libzmq's manual page zmq_curve: nobody's

_HEAD = """\
# lifeline-core: every section and key of a configuration. This text is itself a configuration without faults.
#
# Names of sites, channels and watches are [a-z0-9-]+. Unknown keys are faults. Severities are 1 blue, 2 yellow,
# 3 orange, 4 red, everywhere. A key that is commented out is optional and has no default.
"""
_SECURITY_HEAD = """\
# Without this section the sockets are plain and must be on loopback. Keys are made by lifeline-core keygen, one [client.NAME]
# for each device (or gateway), reader and operator.
"""
_WATCH_HEAD = """\
# A watch is one detector over channels of one site. With a profile it needs nothing more; every key of the
# detector may stand beside it and overrides the profile. Every device also has a watch of its own, device-N, with
# the detector health, unless [service] health = false or a watch of that name is written by hand.
"""


def describe(detector: str) -> str:
    """The keys of one detector, one a line: name, type, default, meaning.

    Raises
    ------
    KeyError
        Where there is no such row in the table of detectors.
    """
    lines = []
    for field in msgspec.structs.fields(detectors.find(detector).PARAMS):
        lines.append(f"{field.name}: {_about(description(field.type), field)}")
    return "\n".join(lines)


def example_config() -> str:
    """A whole configuration in which every key stands with its meaning, type and default."""
    known = domains.load(Faults())
    parts = [_HEAD, "[service]\n" + _keys(ServiceTable, "service", {})]
    parts.append(_SECURITY_HEAD + "[security]\n" + _keys(Security, "security", {}))
    parts.append("[client.logger-1]\n" + _keys(Client, "client", {"key": EXAMPLE_KEY, "devices": [1]}))
    shown = _shown(known)
    for domain in dict.fromkeys(profile.domain for profile in shown.values()):
        parts.append(_site(domain, known.names, first=len(parts) == 4))
    for number, (name, profile) in enumerate(shown.items()):
        parts += _channels(number, profile, detectors.find(name), first=number == 0)
    for number, (name, profile) in enumerate(shown.items()):
        parts.append(_watch(name, profile, detectors.find(name), first=number == 0))
    parts.append(_health(next(iter(shown.values()))))
    parts.append(_profiles(known))
    return "\n".join(parts)


def _shown(known: domains.Domains) -> dict[str, domains.Profile]:
    """For each detector that profiles use, one of them, rather one whose limits are no examples."""
    shown: dict[str, domains.Profile] = {}
    for profile in sorted(known.profiles.values(), key=lambda p: bool(p.examples({}))):
        shown.setdefault(profile.detector, profile)
    return dict(sorted(shown.items(), key=lambda row: row[0] != "spectral"))


def _site(domain: str, names: tuple[str, ...], *, first: bool) -> str:
    values = {"domain": domain, "lon": 118.10, "lat": 39.20}
    if not first:
        return f"[site.{domain}]\ndomain = {toml(domain)}\n"
    return f"# Domains: {', '.join(names)}\n[site.{domain}]\n" + _keys(Site, "site", values)


def _channels(number: int, profile: domains.Profile, detector: type[Detector], *, first: bool) -> Iterator[str]:
    """As many channels as the detector wants at least, of the kind it takes."""
    for i in range(max(1, detector.CHANNELS[0])):
        values: dict[str, Any] = {
            "site": profile.domain,
            "device": number + 1,
            "channel": i,
            "quantity": profile.quantity,
            "unit": profile.unit,
        }
        if not detector.IRREGULAR:
            values["rate_hz"] = 200.0
        if detector.CHANNELS[0] > 1:
            values["position_m"] = 100.0 * i
        name = f"[channel.{_channel(profile, i)}]\n"
        if first and i == 0:
            yield name + _keys(Channel, "channel", {**values, "scale": 1e-6, "range": [-20.0, 20.0]})
        else:
            yield name + "".join(f"{k} = {toml(v)}\n" for k, v in values.items() if v != "")


def _watch(name: str, profile: domains.Profile, detector: type[Detector], *, first: bool) -> str:
    """A watch with every key of one detector, at the value the profile or the detector gives it."""
    channels = [_channel(profile, i) for i in range(max(1, detector.CHANNELS[0]))]
    head = {"site": profile.domain, "channels": channels, "profile": profile.name}
    text = _WATCH_HEAD if first else ""
    text += f"# Detector {name}: says {', '.join(detector.KINDS)}\n[watch.{name}]\n"
    if first:
        text += "".join(f"{_comment(KEYS['watch'][k].about)}{k} = {toml(v)}\n" for k, v in head.items())
        rows = f"{KEYS['watch']['detector'].about}; one of {', '.join(sorted(detectors.TABLE))}"
        text += f"{_comment(rows)}# detector = {toml(name)}\n"
        text += _comment(KEYS["watch"]["clean"].about) + "# clean = {window = 101, threshold = 4.5}\n"
    else:
        text += "".join(f"{k} = {toml(v)}\n" for k, v in head.items())
    return text + _params(detector, {**profile.defaults, **profile.place})


def _params(detector: type[Detector], values: Mapping[str, Any]) -> str:
    """Every key of a detector."""
    text = ""
    for field in msgspec.structs.fields(detector.PARAMS):
        text += _comment(_about(description(field.type), field)) + _line(field.name, values.get(field.name, _default(field)))
    return text


def _health(profile: domains.Profile) -> str:
    """The watch that device 1 would have anyway, with its keys."""
    detector = detectors.find("health")
    channels = toml([_channel(profile, i) for i in range(max(1, detectors.find(profile.detector).CHANNELS[0]))])
    text = f"# Detector health: says {', '.join(detector.KINDS)}\n[watch.device-1]\n"
    text += f'site = {toml(profile.domain)}\nchannels = {channels}\ndetector = "health"\n'
    return text + _params(detector, {})


def _profiles(known: domains.Domains) -> str:
    lines = ["# Profiles. (example): not a limit to rely on, the owner sets it."]
    for profile in known.profiles.values():
        unit = f" [{profile.unit}]" if profile.unit else ""
        lines += ["#", f"# {profile.name}: {profile.detector}{unit}"]
        lines += _wrapped(profile.about, "#     ")
        lines += [f"#     {x.path}: {x.text}{' (example)' if x.example else ''}" for x in profile.limits]
        lines += _wrapped("source: " + "; ".join(dict.fromkeys([profile.source, *(x.source for x in profile.limits)])), "#     ")
    return "\n".join(lines) + "\n"


def _keys(struct: type[msgspec.Struct], section: str, values: Mapping[str, Any]) -> str:
    """Every key of one section: meaning, type and rule, default, value."""
    text = ""
    for field in msgspec.structs.fields(struct):
        key = KEYS[section].get(field.name)
        if key is None:  # the name, which stands in the header
            continue
        text += _comment(_about(key.about, field, key.rule)) + _line(field.name, values.get(field.name, _default(field)))
    return text


def _channel(profile: domains.Profile, i: int) -> str:
    return f"{profile.name.replace('.', '-')}-{i + 1}"


def _line(key: str, value: Any) -> str:
    if value is None or value is msgspec.NODEFAULT:
        return f"# {key} =\n"
    if isinstance(value, list | tuple) and value and not isinstance(value[0], str | int | float):
        return f"{key} = [\n" + "".join(f"  {toml(entry)},\n" for entry in value) + "]\n"
    return f"{key} = {toml(value)}\n"


def _about(meaning: str, field: msgspec.structs.FieldInfo, rule: str = "") -> str:
    """``meaning (type; rule; default)``."""
    start = "must be given" if field.required else f"default {_default_text(field)}"
    return f"{meaning} ({'; '.join(t for t in (type_text(field.type), rule, start) if t)})".strip()


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default


def _default_text(field: msgspec.structs.FieldInfo) -> str:
    value = _default(field)
    return "none" if value in (None, msgspec.NODEFAULT) else toml(value)


def _comment(text: str) -> str:
    return "".join(f"{line}\n" for line in _wrapped(text, "# "))


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False)
