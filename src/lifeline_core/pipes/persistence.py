"""A leak stays where it is: noises of many nights, heard at one place, are one event.

::

    night      1   2   3   4   5   6   7   8   9
    heard      x   x   -   x   .   x   -   -   -          x heard, - listened in vain, . could not listen
    event      born                        ended (3 nights listened in vain)

An event holds what every night said of it; all else (place, quality, grade, end) is worked out from that. A night
merged again takes the place of what it said before: running a night twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import count
from math import hypot, inf, sqrt

import msgspec


class Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How nights become events and grades: this project's own rules, there is no standard for them.

    ``sigmas``: two noises are one where they lie closer than so many deviations of both (or closer than the least
    distance given to `merge`). Grade 1 (blue) to 4 (red)::

        1                 heard
        + 1               on 2 nights, and on at least ``share`` of the nights listened since
        + 1               on ``nights_sure`` nights, likewise
        + 1               mean score of ``good`` or more

    ``ended_after``: so many nights listened in vain, one after the other, end an event.
    """

    sigmas: float = 3.0
    nights_sure: int = 3
    share: float = 0.5
    good: float = 0.8
    ended_after: int = 3


class Spot(msgspec.Struct, frozen=True):
    """A place as it can be kept: a link's name and metres from its first node, with its deviation and the part of it that
    is the same every night (speeds, lengths)."""

    link: str
    offset_m: float
    sd_m: float
    common_sd_m: float = 0.0


class Heard(msgspec.Struct, frozen=True):
    """What one night said of an event: the spot and score (0 .. 1) of its leak; None: listened in vain."""

    night: str
    spot: Spot | None = None
    score: float = 0.0
    leak: str = ""


class Event(msgspec.Struct, frozen=True):
    """One noise over many nights; ``history`` by night (ISO date), only nights on which it could be heard."""

    id: str
    history: tuple[Heard, ...]

    @property
    def heard(self) -> tuple[Heard, ...]:
        return tuple(h for h in self.history if h.spot is not None)

    @property
    def first_night(self) -> str:
        return self.heard[0].night

    @property
    def last_night(self) -> str:
        return self.heard[-1].night

    @property
    def nights_looked(self) -> int:
        """From the first night heard on."""
        return sum(h.night >= self.first_night for h in self.history)

    @property
    def quality(self) -> float:
        """Mean score of the nights it was heard."""
        return sum(h.score for h in self.heard) / len(self.heard)

    @property
    def spot(self) -> Spot:
        """The mean place on the link that most nights name, weighted by 1 / sd^2 of what differs from night to night."""
        links = [h.spot.link for h in self.heard if h.spot is not None]
        link = max(dict.fromkeys(links), key=links.count)
        spots = [h.spot for h in self.heard if h.spot is not None and h.spot.link == link]
        weights = [1.0 / max(s.sd_m**2 - s.common_sd_m**2, 1e-6) for s in spots]
        total = sum(weights)
        common = max(s.common_sd_m for s in spots)
        mean = sum(w * s.offset_m for w, s in zip(weights, spots, strict=True)) / total
        spread = sum(w * (s.offset_m - mean) ** 2 for w, s in zip(weights, spots, strict=True)) / total
        own = sqrt(max(1.0 / total, spread / max(len(spots) - 1, 1)))
        return Spot(link, mean, hypot(own, common), common)

    def misses(self) -> int:
        """Nights listened in vain since it was last heard."""
        return sum(h.night > self.last_night for h in self.history)

    def ended(self, rules: Rules) -> bool:
        return self.misses() >= rules.ended_after

    def grade(self, rules: Rules) -> int:
        """1 (blue) .. 4 (red); see `Rules`."""
        often = len(self.heard) >= rules.share * self.nights_looked
        nights = len(self.heard)
        return 1 + (often and nights >= 2) + (often and nights >= rules.nights_sure) + (self.quality >= rules.good)


class Found(msgspec.Struct, frozen=True):
    """A leak of tonight, as it is merged."""

    leak: str
    spot: Spot
    score: float


Distance = Callable[[Spot, Spot], float]


def merge(
    events: Sequence[Event],
    found: Sequence[Found],
    *,
    night: str,
    distance_m: Distance,
    listened: Callable[[Spot], bool],
    same_place_m: float = 0.0,
    rules: Rules | None = None,
) -> list[Event]:
    """The events after a night.

    Parameters
    ----------
    events : sequence of Event
        Of earlier nights; may hold this night too, which is then replaced.
    found : sequence of Found
        Tonight's leaks.
    night : str
        ISO date.
    distance_m : callable
        Metres along the pipe between two spots; inf where there is no way.
    listened : callable
        Whether some pair around a spot could have heard a leak there tonight: only then is silence a miss.
    same_place_m : float
        Closer than this is the same place, whatever the deviations.
    rules : Rules

    Returns
    -------
    list of Event
        In order of their ids. An event that had ended before tonight is left as it is: noise there is a new event.
    """
    asked = rules or Rules()
    before = {e.id: e for e in events}
    rest = {e.id: Event(e.id, tuple(h for h in e.history if h.night != night)) for e in events}
    open_ = [e for e in events if not _ended_before(e, night, asked)]
    mine = _same_as_before(open_, found, night)
    left = [f for f in found if not any(f is m for m in mine.values())]
    others = [rest[e.id] if rest[e.id].heard else e for e in open_ if e.id not in mine]
    mine |= _matched(others, left, distance_m, same_place_m, asked)
    after = []
    for event in rest.values():
        leak = mine.get(event.id)
        if leak is not None:
            event = _with(event, Heard(night, leak.spot, leak.score, leak.leak))
        elif not event.heard:
            continue  # only this night had heard it, and it does no more
        elif any(before[event.id] is e for e in open_) and night > event.first_night and listened(event.spot):
            event = _with(event, Heard(night))
        after.append(event)
    taken = {e.id for e in after}
    names = (f"{night}-{i}" for i in count(1))
    for leak in sorted((f for f in found if not any(f is m for m in mine.values())), key=lambda f: (-f.score, f.leak)):
        new = next(n for n in names if n not in taken)
        after.append(Event(new, (Heard(night, leak.spot, leak.score, leak.leak),)))
    return sorted(after, key=lambda e: e.id)


def _same_as_before(events: Sequence[Event], found: Sequence[Found], night: str) -> dict[str, Found]:
    """For events the leak that this night had given them when it was merged before, where it comes again."""
    mine = {}
    for event in events:
        said = next((h for h in event.history if h.night == night and h.spot is not None), None)
        if said is None:
            continue
        leak = next((f for f in found if (f.leak, f.spot, f.score) == (said.leak, said.spot, said.score)), None)
        if leak is not None:
            mine[event.id] = leak
    return mine


def _with(event: Event, heard: Heard) -> Event:
    return Event(event.id, tuple(sorted((*event.history, heard), key=lambda h: h.night)))


def _ended_before(event: Event, night: str, rules: Rules) -> bool:
    """Whether the nights before this one had ended it."""
    past = Event(event.id, tuple(h for h in event.history if h.night < night))
    return bool(past.heard) and past.ended(rules)


def _matched(events: Collection[Event], found: Sequence[Found], distance_m: Distance, same_place_m: float, rules: Rules
             ) -> dict[str, Found]:
    """For events the one leak that is theirs: nearest first, one each."""
    near = []
    for event in events:
        spot = event.spot
        for k, leak in enumerate(found):
            reach = max(rules.sigmas * hypot(spot.sd_m, leak.spot.sd_m), same_place_m)
            apart = distance_m(spot, leak.spot)
            if apart <= reach and apart < inf:
                near.append((apart, event.id, k))
    mine: dict[str, Found] = {}
    for _, event_id, k in sorted(near):
        if event_id not in mine and not any(found[k] is f for f in mine.values()):
            mine[event_id] = found[k]
    return mine
