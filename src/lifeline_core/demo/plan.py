"""What the demo's city is made of and what happens in it. Times are seconds after its beginning, in the city's own time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lifeline_core.model import Alarm
from lifeline_core.synth.network import Network, grid_network

LONG_S = 1860.0  # bridges and slow sensors live three ten-minute bins of the clock and a little
SHORT_S = 90.0  # pressure and leak noise need no more
SENSORS = ("J00", "J03", "J11", "J13", "J20", "J22")
BURST_NODE, BURST_S, BURST_FLOW = "J12", 50.0, 0.03
LEAK_LENGTH_M, LEAK_AT_M, LEAK_SPEED = 102.6, 73.5, 484.0
SLOW_STEP_S = 15.0


@dataclass(frozen=True)
class Device:
    """One device: who it is, what it plays, and when it falls silent."""

    number: int
    site: str
    plays: str  # a row of devices.SIGNALS
    options: Mapping[str, Any] = field(default_factory=dict)
    length_s: float = LONG_S
    frame_s: float = 1.0
    silent_after: float = 1.0  # share of its life


@dataclass(frozen=True)
class Event:
    """A planted event and how its alarm is known."""

    name: str
    site: str
    kinds: tuple[str, ...]  # any of them belongs to the event; the first must be raised
    onset_s: float | None = None  # None: not at a moment
    within_s: float = 1.0
    truth: str = ""
    where: Callable[[Alarm], tuple[bool, str]] = lambda a: (True, "")


def network() -> Network:
    return grid_network()


def _at_node(alarm: Alarm) -> tuple[bool, str]:
    candidates = [c.get("node") for c in alarm.where.get("candidates", [])]
    best = alarm.where.get("node") or alarm.where.get("asset") or "?"
    return BURST_NODE in candidates or best == BURST_NODE, f"{best}, {len(candidates)} candidates"


def _at_metre(alarm: Alarm) -> tuple[bool, str]:
    x = float(alarm.where.get("position_m", float("nan")))
    return abs(x - LEAK_AT_M) <= 2.0, f"{x:.2f} m +- {alarm.where.get('sd_m', 0):.2f}"


EVENTS = (
    Event("girder loses 15 % of its stiffness", "river-bridge", ("frequency",), 600.0, 1260.0),
    Event("ship strikes a pier", "harbour-bridge", ("shock",), 700.0, 0.5),
    Event("cables gallop", "cable-bridge", ("rms",), 600.0, 1.0),
    Event("water main bursts", "east-net", ("burst", "transient"), BURST_S, 2.0, BURST_NODE, _at_node),
    Event("water main leaks", "west-main", ("leak",), None, 0.0, f"{LEAK_AT_M} m", _at_metre),
    Event("methane in a manhole", "gas-road", ("level",), 900.0, 400.0),
    Event("sewer is blocked", "south-sewer", ("level", "rate"), 700.0, 900.0),
    Event("heat pipe leaks", "heat-line", ("level",), 800.0, 900.0),
    Event("methane in the gas cabin", "gallery", ("level",), 1000.0, 500.0),
    Event("congestion in the tunnel", "hill-tunnel", ("level",), 900.0, 700.0),
    Event("lamp post under current", "lamp-street", ("level",), 1100.0, 100.0),
    Event(
        "heat sensor falls silent", "heat-line", ("offline",), None, 0.0, "device 62", lambda a: (a.watch == "device-62", a.watch)
    ),
)

_GIRDER = {"f_hz": (1.15, 2.62, 4.30), "damping": (0.008, 0.01, 0.012), "rms": 0.05}

DEVICES = (
    Device(11, "river-bridge", "bridge", {**_GIRDER, "stiffness_from": (600.0, 0.85)}),
    Device(12, "harbour-bridge", "bridge", {**_GIRDER, "impact": (700.0, 2.4)}),
    Device(
        13,
        "cable-bridge",
        "bridge",
        {"f_hz": (1.9, 3.8, 5.7), "damping": (0.003, 0.003, 0.004), "rms": 0.3, "loud": (600.0, 1200.0, 5.0)},
    ),
    Device(14, "quiet-bridge", "bridge", _GIRDER),
    *(Device(20 + i, "east-net", "pressure", {"sensor": n}, SHORT_S) for i, n in enumerate(SENSORS)),
    *(Device(30 + i, "west-main", "leak", {"side": i, "leaking": True}, SHORT_S) for i in range(2)),
    *(Device(32 + i, "hill-main", "leak", {"side": i, "leaking": False}, SHORT_S) for i in range(2)),
    Device(40, "gas-road", "slow", {"level": 2.0, "noise": 0.3, "event": (900.0, 62.0, 400.0)}),
    Device(41, "gas-road", "slow", {"level": 1.0, "noise": 0.3, "swing": 1.0}),
    Device(50, "south-sewer", "slow", {"level": 0.6, "noise": 0.02, "event": (700.0, 2.9, 900.0)}),
    Device(61, "heat-line", "slow", {"level": 18.0, "noise": 0.2, "event": (800.0, 75.0, 700.0)}),
    Device(62, "heat-line", "slow", {"level": 17.0, "noise": 0.2}, silent_after=0.4),
    Device(70, "gallery", "slow", {"level": 0.5, "noise": 0.2, "event": (1000.0, 30.0, 400.0)}),
    Device(80, "hill-tunnel", "slow", {"level": 30.0, "noise": 3.0, "event": (900.0, 170.0, 600.0)}),
    Device(90, "lamp-street", "slow", {"level": 4.0, "noise": 0.5, "event": (1100.0, 140.0, 60.0)}),
)
GARBAGE = 400  # messages the broken device sends

_SITES = {
    "river-bridge": ("bridge", "high"),
    "harbour-bridge": ("bridge", "medium"),
    "cable-bridge": ("bridge", "medium"),
    "quiet-bridge": ("bridge", "low"),
    "east-net": ("water", "high"),
    "west-main": ("water", "medium"),
    "hill-main": ("water", "low"),
    "gas-road": ("gas", "high"),
    "south-sewer": ("drainage", "medium"),
    "heat-line": ("heat", "medium"),
    "gallery": ("utility-tunnel", "high"),
    "hill-tunnel": ("tunnel", "medium"),
    "lamp-street": ("lighting", "high"),
}
_SLOW = {  # device: quantity, unit, profile
    40: ("methane", "%LEL", "gas.adjacent-methane"),
    41: ("methane", "%LEL", "gas.adjacent-methane"),
    50: ("water-level", "m", "drainage.level"),
    61: ("temperature", "degC", "heat.temperature"),
    62: ("temperature", "degC", "heat.temperature"),
    70: ("methane", "%LEL", "utility-tunnel.gas"),
    80: ("carbon-monoxide", "ppm", "tunnel.co"),
    90: ("residual-current", "mA", "lighting.residual-current"),
}
SCALE = {"bridge": 1e-6, "pressure": 1e-4, "leak": 1.0, "slow": 1.0}


def configuration(data_dir: str, sockets: Mapping[str, str]) -> str:
    """The city as TOML; ``network.inp`` is expected beside it."""
    lines = ["[service]", f'data_dir = "{data_dir}"', "offline_s = 6.0", "snapshot_s = 2.0"]
    lines += [f'{key} = "{value}"' for key, value in sockets.items()]
    for i, (site, (domain, consequence)) in enumerate(_SITES.items()):
        lines += [
            f"[site.{site}]",
            f'domain = "{domain}"',
            f'consequence = "{consequence}"',
            f"lon = {118.10 + i / 100:.2f}",
            "lat = 39.20",
        ]
        if site == "east-net":
            lines += ['network = "network.inp"', f"wave_speed = {network().speed_mps}"]
    for device in DEVICES:
        lines += _of_device(device)
    for name, a, b in (("west-pair", 30, 31), ("hill-pair", 32, 33)):
        lines += [
            f"[watch.{name}]",
            f'site = "{name.split("-")[0]}-main"',
            f'channels = ["hydrophone-{a}", "hydrophone-{b}"]',
            'profile = "water.leak-pair"',
            f"sections = [{{length_m = {LEAK_LENGTH_M}, speed_mps = {LEAK_SPEED}}}]",
        ]
    return "\n".join(lines) + "\n"


def _channel(name: str, device: Device, number: int, quantity: str, unit: str, rate: float | None, extra: str = "") -> list[str]:
    lines = [
        f"[channel.{name}]",
        f'site = "{device.site}"',
        f"device = {device.number}",
        f"channel = {number}",
        f'quantity = "{quantity}"',
        f'unit = "{unit}"',
        f"scale = {SCALE[device.plays]}",
    ]
    return lines + ([f"rate_hz = {rate}"] if rate else []) + ([extra] if extra else [])


def _of_device(device: Device) -> list[str]:
    n = device.number
    if device.plays == "bridge":
        names = [f"acc-{n}-{i}" for i in range(4)]
        lines = [line for i, name in enumerate(names) for line in _channel(name, device, i, "acceleration", "m/s2", 200.0)]
        kind = "cable" if device.site == "cable-bridge" else "girder"
        listed = ", ".join(f'"{name}"' for name in names)
        for watch, profile in (("vibration", f"{kind}-acceleration"), ("shock", "shock"), ("modes", "frequency-drop")):
            if kind == "cable" and watch == "modes":
                continue
            lines += [
                f"[watch.{device.site}-{watch}]",
                f'site = "{device.site}"',
                f"channels = [{listed}]",
                f'profile = "bridge.{profile}"',
            ]
            if watch == "modes":  # the first mode as designed; a city would watch for hours before it says anything
                lines += ["reference_hz = 1.15", "f_min = 0.8", "f_max = 1.6", "frequency_bins = 1"]
        return lines
    if device.plays == "pressure":
        node = device.options["sensor"]
        return [
            *_channel(f"head-{node.lower()}", device, 0, "pressure", "m", 128.0, f'node = "{node}"'),
            f"[watch.pressure-{node.lower()}]",
            f'site = "{device.site}"',
            f'channels = ["head-{node.lower()}"]',
            'profile = "water.transient"',
        ]
    if device.plays == "leak":
        return _channel(f"hydrophone-{n}", device, 0, "pressure", "Pa", 2048.0)
    quantity, unit, profile = _SLOW[n]
    return [
        *_channel(f"slow-{n}", device, 0, quantity, unit, None),
        f"[watch.slow-{n}]",
        f'site = "{device.site}"',
        f'channels = ["slow-{n}"]',
        f'profile = "{profile}"',
    ]
