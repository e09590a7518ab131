"""The meaning and the rule of every key of a configuration, but for those of a watch, which its detector describes.

The structs of ``model`` say which keys there are, of which type and with which default; `tests/test_config.py` holds
this table to them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from lifeline_core.model import CONSEQUENCES, ROLES, Service

DURABILITIES = ("process", "disk", "none")
MODES = ("local", "plain", "curve")


class Key(NamedTuple):
    """``about`` in a person's words, ``rule`` as it is told when a value breaks it, ``keeps`` whether one does not."""

    about: str
    rule: str = ""
    keeps: Callable[[Any], bool] | None = None


class ServiceTable(Service, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[service]`` as it stands in the file: what the service needs, and where further profiles are."""

    profiles_dir: str | None = None


_TCP = re.compile(r"tcp://(?:\[[0-9a-fA-F:.%a-z]+\]|[^\s:/\[\]]+):(\d{1,5}|\*)")
_HTTP = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(\d{1,5})")


def is_endpoint(text: str) -> bool:
    """Whether ZeroMQ can bind it.

    >>> [is_endpoint(t) for t in ("tcp://*:5550", "ipc:///run/x.sock", "tcp://127.0.0.1", "udp://a:1", "tcp://a:70000")]
    [True, True, False, False, False]
    """
    found = _TCP.fullmatch(text)
    if found:
        return found[1] == "*" or int(found[1]) <= 65535
    return bool(re.fullmatch(r"ipc://\S+", text))


def is_local(text: str) -> bool:
    """Whether only this machine reaches an endpoint.

    >>> [is_local(t) for t in ("tcp://127.0.0.1:0", "ipc:///run/x", "tcp://[::1]:5550", "tcp://*:5550", "tcp://10.0.0.1:1")]
    [True, True, True, False, False]
    """
    return bool(re.match(r"ipc://|tcp://(127\.\d+\.\d+\.\d+|localhost|\[::1\]):", text))


_Z85 = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


def _is_host_port(text: str) -> bool:
    found = _HTTP.fullmatch(text)
    return bool(found) and int(found[1]) <= 65535  # type: ignore[index]


def _within(low: float, high: float) -> Callable[[Any], bool]:
    return lambda v: low <= v <= high


def _positive(v: float) -> bool:
    return v > 0


def _natural(v: float) -> bool:
    return v >= 0


_ENDPOINT = ("must be tcp://HOST:PORT or ipc://PATH", is_endpoint)
_DOMAIN = "which kind of lifeline; one TOML file in profiles/ each"

KEYS: dict[str, dict[str, Key]] = {
    "service": {
        "ingest": Key("where devices send their frames (ROUTER); tcp:// or ipc://", *_ENDPOINT),
        "alarms": Key("live view of the alarms (PUB); may drop for a slow reader", *_ENDPOINT),
        "feed": Key("durable reading, acknowledgement, operator commands, queries (ROUTER)", *_ENDPOINT),
        "metrics": Key("HTTP address of /metrics and /healthz", "must be HOST:PORT", _is_host_port),
        "data_dir": Key("journal, snapshots, alarms, dead letters", "must not be empty", bool),
        "durability": Key(
            "when a frame is acknowledged: process = survives kill -9, disk = survives a power cut, none = at receipt",
            f"must be one of {', '.join(DURABILITIES)}",
            lambda v: v in DURABILITIES,
        ),
        "journal_mib": Key("disk the frame journal may take, MiB", "must be at least 1", _positive),
        "snapshot_s": Key("between two saved states, seconds", "must be above 0", _positive),
        "retain_days": Key("alarms are kept at least this long, days", "must be 0 or above", _natural),
        "credit_kib": Key("unacknowledged bytes one connection may have, KiB", "must be at least 1", _positive),
        "max_frame_kib": Key("larger messages end the connection, KiB", "must be at least 1", _positive),
        "dead_letter_mib": Key("disk for the bytes of refused frames, MiB", "must be 0 or above", _natural),
        "evidence_mib": Key("disk for the frames kept beside alarms, MiB", "must be at least 1", _positive),
        "offline_s": Key(
            "a device without data for this long is offline, seconds; the health watches' default",
            "must be above 0",
            _positive,
        ),
        "health": Key("watch the health of every device without being told to"),
        "profiles_dir": Key("directory with further profile files, relative to this file"),
    },
    "security": {
        "mode": Key(
            "local = plain sockets that only this machine reaches; plain = the same on any address, asked for by name; "
            "curve = encrypted, known keys only",
            f"must be one of {', '.join(MODES)}",
            lambda v: v in MODES,
        ),
        "key_file": Key("the service's secret key (lifeline-core keygen), a path relative to this file", "must not be empty", bool),
    },
    "client": {
        "key": Key("its public key", "must be the 40 characters of a CURVE key (Z85)", lambda v: bool(_Z85.fullmatch(v))),
        "role": Key(
            "device = sends frames of its devices; reader = reads and acknowledges alarms; operator = handles them, too",
            f"must be one of {', '.join(ROLES)}",
            lambda v: v in ROLES,
        ),
        "devices": Key("numbers of the devices it may speak for", "must be from 0 to 4294967295 each",
                       lambda v: all(0 <= d < 2**32 for d in v)),
        "max_frames_s": Key("frames a second it may send over some seconds", "must be above 0", _positive),
        "max_kib_s": Key("KiB a second it may send over some seconds", "must be above 0", _positive),
    },
    "site": {
        "domain": Key(_DOMAIN),
        "lon": Key("longitude, degrees east, WGS84", "must be from -180 to 180", _within(-180, 180)),
        "lat": Key("latitude, degrees north, WGS84", "must be from -90 to 90", _within(-90, 90)),
        "consequence": Key(
            "of a failure, from the risk register; high raises every grade by one",
            f"must be one of {', '.join(CONSEQUENCES)}",
            lambda v: v in CONSEQUENCES,
        ),
        "network": Key(
            "EPANET .inp of the pipes, a path relative to this file",
            "must be the path of an .inp file",
            lambda v: v.lower().endswith(".inp"),
        ),
        "wave_speed": Key("of pressure waves in the network, m/s", "must be above 0", _positive),
    },
    "channel": {
        "site": Key("where it is: a [site.*]"),
        "device": Key("number of the device on the wire", "must be from 0 to 4294967295", _within(0, 2**32 - 1)),
        "channel": Key("number of the channel in that device", "must be from 0 to 65535", _within(0, 2**16 - 1)),
        "quantity": Key("what is measured"),
        "unit": Key("of the scaled value; limits are in it, and a profile's must be the same"),
        "scale": Key("value = scale * count + offset", "must not be 0", lambda v: v != 0 and math.isfinite(v)),
        "offset": Key("in the unit"),
        "range": Key(
            "of the sensor, in the unit; at the ends it counts as clipped",
            "must be ordered, low before high",
            lambda v: v[0] < v[1],
        ),
        "rate_hz": Key(
            "samples per second; absent: irregular (encoding 6)", "must be above 0 and at most 1000000", lambda v: 0 < v <= 1e6
        ),
        "node": Key("its place in the site's network: a junction's name"),
        "position_m": Key("its place along the asset, metres"),
    },
    "watch": {
        "site": Key("whose channels it watches: a [site.*]"),
        "channels": Key("one or more [channel.*] of that site, in the detector's order"),
        "profile": Key("a row of profiles/: a detector with limits; any key beside it overrides"),
        "detector": Key("instead of a profile: a row of the table of detectors"),
        "clean": Key("takes spikes, impossible values and still stands out before the detector; a table of keys, or true"),
    },
}

# As `fields.read` takes them: for a key the rule, and whether a value keeps it.
CHECKS = {section: {name: (key.rule, key.keeps) for name, key in keys.items() if key.keeps} for section, keys in KEYS.items()}
