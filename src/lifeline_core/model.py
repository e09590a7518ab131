"""The nouns: what was sent, what was read, what was said about it, and the city it is about. The ground floor.

Times are integer nanoseconds, UTC since 1970; ``_s`` are seconds. Samples are ``float32`` in SI or the channel's own
unit, channels first, time last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

NS = 1_000_000_000

FLAG_LOCKED, FLAG_QUESTIONABLE, FLAG_CLIPPED, FLAG_HISTORICAL, FLAG_FIRST = 1, 2, 4, 8, 16

BLUE, YELLOW, ORANGE, RED = 1, 2, 3, 4
COLOURS = ("none", "blue", "yellow", "orange", "red")
CONSEQUENCES = ("low", "medium", "high")
ACTIONS = ("confirm", "reject", "dispatch", "handle", "resolve", "verify", "close", "evaluate", "shelve", "unshelve")

# Why the samples of a watch do not go on without a seam.
BREAKS = ("gap", "epoch", "clock-step", "overflow", "start")


@dataclass(frozen=True, slots=True)
class Frame:
    """What one device sent: the header fields of LLF1 and the raw samples in the device's own dtype.

    ``samples`` is ``[n_channels, n_samples]`` of int16, int32, float32 or float64; int24 is widened and packed samples are
    unpacked to int32. For encoding 6 (timed) it is float64 and ``t_ns`` is int64 of the same shape; otherwise ``t_ns`` is None.
    """

    type: int
    encoding: int
    flags: int
    device: int
    channel: int
    n_channels: int
    epoch: int
    clock_sd_us: int
    seq: int
    sample_index: int
    t0_ns: int
    rate_num: int
    rate_den: int
    n_samples: int
    samples: NDArray[Any]
    t_ns: NDArray[np.int64] | None = None
    extensions: Mapping[str, Any] = field(default_factory=dict)
    body: bytes = b""  # the msgpack payload of types 1 to 3


@dataclass(frozen=True, slots=True)
class Block:
    """Gap-free, scaled samples of one group of channels, aligned in time.

    Regular channels: sample ``i`` of every row is at ``time_ns(i)``; the same sample has the same time however the
    stream was cut. ``skew_s[c]`` is how much later row ``c`` was truly taken (devices that share no sampling clock;
    below half a sample). Irregular channels (``t_ns`` is not None): one row, sample ``i`` at ``t_ns[i]``.
    A channel masked because its device is silent is a row of NaN. Flags and clock are constant within a block.
    """

    x: NDArray[np.float32]
    anchor_ns: int
    index: int
    rate_num: int
    rate_den: int
    t_ns: NDArray[np.int64] | None = None
    skew_s: tuple[float, ...] = ()
    flags: int = 0
    clock_sd_us: int = 0

    @property
    def n(self) -> int:
        return int(self.x.shape[1])

    @property
    def rate_hz(self) -> float:
        return self.rate_num / self.rate_den

    @property
    def t0_ns(self) -> int:
        return self.time_ns(0)

    @property
    def historical(self) -> bool:
        return bool(self.flags & FLAG_HISTORICAL)

    def time_ns(self, i: int) -> int:
        """Time of sample ``i``; ``i`` may lie outside the block (the time that sample would have)."""
        if self.t_ns is not None:
            return int(self.t_ns[i])
        return self.anchor_ns + (self.index + i) * self.rate_den * NS // self.rate_num


@dataclass(frozen=True, slots=True)
class Break:
    """A seam: what follows does not continue what went before. ``reason`` is one of BREAKS; ``lost`` samples, -1 unknown."""

    t_ns: int
    reason: str
    lost: int = -1


@dataclass(frozen=True, slots=True)
class Finding:
    """A detector's statement about one kind of thing at one source.

    ``active`` True raises or updates, False ends it. ``t_ns`` is the sample time at which it could be said (it does not
    depend on how the stream was cut), ``onset_ns`` the first sample concerned. ``score`` is 1.0 at the detector's own
    decision level. ``source`` tells apart what may be active side by side under one kind (usually the channel's name).
    ``severity`` 1 blue .. 4 red, before the site's consequence is counted in.
    """

    kind: str
    t_ns: int
    onset_ns: int
    active: bool
    severity: int = 1
    score: float = 1.0
    value: float = float("nan")
    limit: float | None = None
    unit: str = ""
    source: str = ""
    where: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    quality: float = 1.0
    historical: bool = False


def alarm_id(site: str, watch: str, kind: str, onset_ns: int) -> str:
    """Identity of an episode: hex of the first 16 bytes of SHA-256 over ``site|watch|kind|onset``.

    >>> alarm_id("s", "w", "level", 0)
    '5b15d43a0cd720747817b33c1e36fa0e'
    """
    return hashlib.sha256(f"{site}|{watch}|{kind}|{onset_ns}".encode()).digest()[:16].hex()


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of one episode; the keys of the wire (DESIGN 3.3). ``seq`` and ``published_ns`` come from the outbox."""

    alarm_id: str
    revision: int
    site: str
    domain: str
    watch: str
    kind: str
    severity: int
    process: str
    handling: str
    onset_ns: int
    detected_ns: int
    updated_ns: int
    score: float
    value: float | None
    limit: float | None
    unit: str
    quality: float
    historical: bool
    config_hash: str
    version: str
    text: dict[str, str]
    where: dict[str, Any] = {}
    evidence: dict[str, Any] = {}
    shelved_until_ns: int | None = None
    seq: int = 0
    published_ns: int = 0

    def to_map(self) -> dict[str, Any]:
        """As a plain map that msgpack and JSON take."""
        return msgspec.structs.asdict(self)


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A place with assets: a bridge, a pipe network, a tunnel section."""

    name: str
    domain: str
    lon: float | None = None
    lat: float | None = None
    consequence: str = "medium"
    network: str | None = None  # the text of an EPANET .inp
    wave_speed: float = 1200.0  # m/s, told to the locator


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """One measured quantity of one device."""

    name: str
    site: str
    device: int
    channel: int
    quantity: str = ""
    unit: str = ""
    scale: float = 1.0
    offset: float = 0.0
    range: tuple[float, float] | None = None
    rate_hz: float | None = None  # None: irregular (encoding 6)
    node: str | None = None  # of the site's network
    position_m: float | None = None  # along the asset


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """One detector over one or more channels of one site. ``params`` is the detector's own PARAMS struct, ``clean`` says how
    samples are cleaned before it sees them (None: not at all)."""

    name: str
    site: str
    channels: tuple[str, ...]
    detector: str
    profile: str = ""
    params: Any = None
    clean: Any = None


class Service(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Addresses, directory and limits of the service; every key has a default."""

    ingest: str = "tcp://127.0.0.1:5550"
    alarms: str = "tcp://127.0.0.1:5551"
    feed: str = "tcp://127.0.0.1:5552"
    metrics: str = "127.0.0.1:9550"
    data_dir: str = "var/lifeline"
    durability: str = "process"
    journal_mib: int = 1024
    snapshot_s: float = 5.0
    retain_days: int = 30
    credit_kib: int = 1024
    max_frame_kib: int = 4096
    dead_letter_mib: int = 16
    evidence_mib: int = 256
    offline_s: float = 60.0
    health: bool = True  # watch every device without being told to


ROLES = ("device", "reader", "operator")


class Client(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may connect under CURVE: a public key, and what its owner may do."""

    name: str
    key: str
    role: str = "device"
    devices: tuple[int, ...] = ()
    max_frames_s: float | None = None
    max_kib_s: float | None = None


class Security(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the sockets are guarded."""

    mode: str = "local"
    key_file: str | None = None  # of the service: public and secret key


class City(msgspec.Struct, frozen=True, kw_only=True):
    """A whole configuration, checked."""

    sites: dict[str, Site]
    channels: dict[str, Channel]
    watches: dict[str, Watch]
    service: Service = Service()
    security: Security = Security()
    clients: dict[str, Client] = {}
    levels: dict[str, Any] = {}  # by domain, domains.Levels; nothing is decided by them
    hash: str = ""
