"""A watch of the configuration: names looked up, a profile laid under its keys, its detector asked whether it fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from lifeline_core import detectors, domains
from lifeline_core.detectors.base import Detector, Group
from lifeline_core.detectors.cleaned import Clean
from lifeline_core.fields import Faults, convert, near, read
from lifeline_core.keys import KEYS, ServiceTable
from lifeline_core.model import Channel, Client, Security, Site, Watch

_WATCH_KEYS = tuple(KEYS["watch"])
_RAW = ("health", "quality")  # detectors that look for what cleaning takes out


class _WatchHead(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of a watch that are not its detector's."""

    site: str
    channels: list[str]
    profile: str | None = None
    detector: str | None = None
    clean: Clean | bool | None = None


class Draft:
    """A city while it is being read: what stands in the file, what of it is right, what is wrong with the rest."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.warnings = Faults()
        self.tables: dict[str, dict[str, dict[str, Any]]] = {}
        self.service = ServiceTable()
        self.security = Security()
        self.clients: dict[str, Client] = {}
        self.domains = domains.Domains((), {})
        self.sites: dict[str, Site] = {}
        self.channels: dict[str, Channel] = {}
        self.watches: dict[str, Watch] = {}

    def reference(self, path: str, section: str, name: str | None) -> bool:
        """Whether ``[section.name]`` stands in the file, right or wrong: one fault is told once."""
        if name is None or name in self.tables[section]:
            return True
        known = list(self.tables[section])
        self.faults.add(path, f"must be a [{section}.*] of this file{near(name, known)}", name)
        return False


def read_watch(draft: Draft, name: str, content: Mapping[str, Any]) -> None:
    path, before = f"watch.{name}", len(draft.faults)
    head = {k: v for k, v in content.items() if k in _WATCH_KEYS}
    values = read(_WatchHead, head, path, draft.faults)
    draft.reference(f"{path}.site", "site", values.get("site"))
    channels = _watch_channels(draft, path, values)
    profile, detector = _detector(draft, path, values)
    if detector is None:
        return
    given = {k: v for k, v in content.items() if k not in _WATCH_KEYS}
    params = _params(draft, path, values["detector"], detector, given, profile)
    clean = _clean(draft, path, values, profile)
    if channels is not None:
        aside = detector.aside(params)
        _fit(draft, path, values["detector"], detector, channels, aside)
        if profile is not None:
            _fit_profile(draft, path, profile, channels[: len(channels) - aside], given)
    if len(draft.faults) > before or channels is None:
        return
    watch = Watch(
        name=name,
        site=values["site"],
        channels=tuple(values["channels"]),
        detector=values["detector"],
        profile=values.get("profile", ""),
        params=params,
        clean=clean,
    )
    if watch.site in draft.sites:
        _try(draft, path, detector, watch, channels)
    draft.watches[name] = watch


def _clean(draft: Draft, path: str, values: Mapping[str, Any], profile: domains.Profile | None) -> Clean | None:
    """How the samples are cleaned: the watch's own word, else its profile's; None: not at all."""
    where, wanted, before = f"{path}.clean", values.get("clean"), len(draft.faults)
    if wanted is None and profile is not None and "clean" in profile.defaults:
        inner = Faults()
        wanted = convert(profile.defaults["clean"], Clean | bool, where, inner)
        draft.faults.extend(f"{fault} (from profile {profile.name})" for fault in inner)
    clean = Clean() if wanted is True else wanted or None
    if clean is not None and len(draft.faults) == before:
        draft.faults.extend(f"{where}.{fault}" for fault in clean.faults())
        if values["detector"] in _RAW:
            draft.faults.add(where, f"must be left out for detector {values['detector']}, which looks for what it takes out")
    return clean


def _try(draft: Draft, path: str, detector: type[Detector], watch: Watch, channels: list[Channel]) -> None:
    """Make the detector once: what does not fit the channels' rates is told now and not at the start of the service."""
    try:
        groups = detectors.first_groups(detector, watch.params, channels)
        detector(watch, [Group(g, g[0].rate_hz) for g in groups], draft.sites[watch.site])
    except (ValueError, ArithmeticError, MemoryError) as error:
        key = str(error).split(":")[0]
        own = key in detector.PARAMS.__struct_fields__
        draft.faults.append(f"{path}{'.' if own else ': '}{error}")


def _watch_channels(draft: Draft, path: str, values: Mapping[str, Any]) -> list[Channel] | None:
    """The channels named, or None unless all of them are known and right."""
    names = values.get("channels")
    if names is None:
        return None
    if not names:
        draft.faults.add(f"{path}.channels", "must name at least one channel", names)
    found = []
    for i, name in enumerate(names):
        where = f"{path}.channels[{i}]"
        if name in names[:i]:
            draft.faults.add(where, "must name a channel once", name)
        elif draft.reference(where, "channel", name) and name in draft.channels:
            found.append(draft.channels[name])
            if found[-1].site != values.get("site", found[-1].site):
                draft.faults.add(where, f"must be a channel of site.{values['site']}, it is of site.{found[-1].site}", name)
    return found if names and len(found) == len(names) else None


def _detector(draft: Draft, path: str, values: dict[str, Any]) -> tuple[domains.Profile | None, type[Detector] | None]:
    """Profile and detector of a watch; ``values["detector"]`` is filled from the profile."""
    profile = None
    if (wanted := values.get("profile")) is not None:
        profile = draft.domains.profiles.get(wanted)
        if profile is None:
            known = draft.domains.profiles
            draft.faults.add(f"{path}.profile", f"must be one of {', '.join(sorted(known))}{near(wanted, known)}", wanted)
            return None, None
        if values.get("detector", profile.detector) != profile.detector:
            draft.faults.add(
                f"{path}.detector",
                f"must be left out beside a profile ({wanted} is for {profile.detector})",
                values["detector"],
            )
        values["detector"] = profile.detector
    if "detector" not in values:
        draft.faults.add(path, "must have a profile or a detector")
        return profile, None
    return profile, _find(draft, f"{path}.detector", values["detector"])


def _find(draft: Draft, path: str, name: str) -> type[Detector] | None:
    if name not in detectors.TABLE:
        draft.faults.add(path, f"must be one of {', '.join(sorted(detectors.TABLE))}{near(name, detectors.TABLE)}", name)
        return None
    try:
        return detectors.find(name)
    except (ImportError, AttributeError) as error:
        draft.faults.add(path, f"must be a detector this build has, {error}", name)
        return None


def _params(
    draft: Draft,
    path: str,
    name: str,
    detector: type[Detector],
    given: Mapping[str, Any],
    profile: domains.Profile | None,
) -> Any:
    """The detector's PARAMS: its own defaults, below the profile's, below the keys given."""
    before = len(draft.faults)
    known = detector.PARAMS.__struct_fields__
    own = {k: v for k, v in profile.defaults.items() if k not in _WATCH_KEYS} if profile is not None else {}
    kept = {k: v for k, v in own.items() if k not in given}
    if name == "health" and "offline_s" in known and "offline_s" not in given:
        kept.setdefault("offline_s", draft.service.offline_s)
    inner = Faults()
    values = read(detector.PARAMS, {**kept, **given}, path, inner, others=_WATCH_KEYS)
    for fault in inner:
        key = fault.removeprefix(f"{path}.").split(":")[0].split("[")[0].split(".")[0]
        draft.faults.append(f"{fault} (from profile {profile.name})" if profile is not None and key in kept else fault)
    if len(draft.faults) > before:
        return None
    try:
        params = detector.PARAMS(**values)
    except ValueError as error:
        draft.faults.add(path, str(error))
        return None
    draft.faults.extend(f"{path}.{fault}" for fault in params.faults())
    return params


def _fit(draft: Draft, path: str, name: str, detector: type[Detector], channels: list[Channel], aside: int) -> None:
    """Whether the detector can take these channels, of which the last ``aside`` only explain."""
    fewest, most = detector.CHANNELS
    if len(channels) < fewest or (most is not None and len(channels) > most):
        count = f"{fewest}" if fewest == most else f"at least {fewest}" if most is None else f"{fewest} to {most}"
        draft.faults.add(f"{path}.channels", f"must be {count} for detector {name}", [c.name for c in channels])
    for i, c in enumerate(channels):
        if c.rate_hz is None and not detector.IRREGULAR:
            draft.faults.add(f"{path}.channels[{i}]", f"must have a rate_hz for detector {name}", c.name)
        if c.rate_hz is not None and not detector.REGULAR:
            draft.faults.add(f"{path}.channels[{i}]", f"must be irregular, without rate_hz, for detector {name}", c.name)
    rates = {c.rate_hz for c in channels[: len(channels) - aside]}
    if detector.COUPLED and len(rates) > 1:
        draft.faults.add(
            f"{path}.channels",
            f"must have one rate_hz for detector {name}",
            [c.rate_hz or "irregular" for c in channels],
        )


def _fit_profile(draft: Draft, path: str, profile: domains.Profile, channels: list[Channel], given: Mapping[str, Any]) -> None:
    for i, c in enumerate(channels):
        if profile.unit and not c.unit:
            draft.warnings.add(f"{path}.channels[{i}]", f"has no unit, taken as {profile.unit} ({profile.name})", c.name)
        elif profile.unit and not domains.same_unit(c.unit, profile.unit):
            draft.faults.add(f"{path}.channels[{i}]", f"must have the unit {profile.unit} ({profile.name}), {c.name} has", c.unit)
        if profile.quantity and c.quantity and c.quantity != profile.quantity:
            draft.warnings.add(f"{path}.channels[{i}]", f"is not {profile.quantity} ({profile.name}), {c.name} is", c.quantity)
    if examples := profile.examples(given):
        draft.warnings.add(f"{path}.profile", f"limits are examples, the owner sets them ({', '.join(examples)})", profile.name)


def add_health_watches(draft: Draft) -> None:
    """One ``device-N`` with detector ``health`` per device and site, over the channels no such watch names by hand."""
    if not draft.service.health or not draft.channels:
        return
    written = draft.tables["watch"]
    covered = {c for w in draft.watches.values() if w.detector == "health" for c in w.channels}
    sites: dict[int, dict[str, list[Channel]]] = {}
    for c in sorted(draft.channels.values(), key=lambda c: c.channel):
        sites.setdefault(c.device, {}).setdefault(c.site, []).append(c)
    detector = _find(draft, "service.health", "health")
    if detector is None:
        return
    for device, by_site in sites.items():
        for site, channels in by_site.items():
            name = f"device-{device}" if len(by_site) == 1 else f"device-{device}-{site}"
            if name in written:
                if name in draft.watches and draft.watches[name].detector != "health":
                    draft.faults.add(
                        f"watch.{name}",
                        "must have detector health: the name is kept for it",
                        draft.watches[name].detector,
                    )
                continue
            left = tuple(c.name for c in channels if c.name not in covered)
            if left:
                params = _params(draft, f"watch.{name}", "health", detector, {}, None)
                draft.watches[name] = Watch(name=name, site=site, channels=left, detector="health", params=params)
