"""What every streaming detector promises. Siblings never import each other; what two share lives in ``dsp`` or here.

A detector watches **groups** of channels. Uncoupled detectors get one group per device (its channels arrive together);
coupled ones one group with all channels aligned in time. The runtime calls, in sample order within a group::

    push(group, block) -> findings      gap-free samples
    gap(group, brk)    -> findings      a seam before the next block: reset or bridge by rule
    tick(t_ns)         -> findings      once a second: the only place where groups may look at each other
    flush()            -> findings      the stream ends here: close what is open

The promise (tests/test_detectors.py holds every row of the table to it): the same samples give the same findings
however they are cut into blocks; ``save``/``load`` in mid-stream change nothing, bit for bit; a NaN, a gap, silence, a
constant or saturation raise no exception and no false statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from lifeline_core.errors import StateError
from lifeline_core.model import RED, Block, Break, Channel, Finding, Site, Watch

FLOAT32_MAX = float(np.finfo(np.float32).max)

Severity = Annotated[int, msgspec.Meta(ge=1, le=4, description="1 blue, 2 yellow, 3 orange, 4 red")]


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of a limit table: a severity and one bound, in the channel's unit."""

    severity: Severity
    above: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise ValueError("a limit has exactly one of above and below")


class LimitRow(Limit, frozen=True, forbid_unknown_fields=True):
    """A limit as its owner states it: a bound, a share of the design value, or a distance from the value as built."""

    share: Annotated[float, msgspec.Meta(gt=0.0, le=10.0)] | None = None
    off: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] | None = None

    def __post_init__(self) -> None:
        if sum(v is not None for v in (self.above, self.below, self.share, self.off)) != 1:
            raise ValueError("a limit has exactly one of above, below, share and off")


class Design(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a quantity was designed for, from its neutral position: upwards, downwards, or both and not the same."""

    above: Annotated[float, msgspec.Meta(gt=0.0)] | None = None
    below: Annotated[float, msgspec.Meta(lt=0.0)] | None = None

    def __post_init__(self) -> None:
        if self.above is None and self.below is None:
            raise ValueError("a design has at least one of above and below")


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A detector's own keys. Field types carry bounds and a description (msgspec.Meta): `check` and `--help` read them."""

    def faults(self) -> list[str]:
        """What is wrong between keys that are each right by themselves; ``key: rule, value``."""
        return []


class DesignParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of a watch whose limits may be stated by what the structure was designed for or built with."""

    design: Annotated[
        Annotated[float, msgspec.Meta(gt=0.0)] | Design | None,
        msgspec.Meta(description="value that a limit's `share` is of: one number for either way, or {above, below}"),
    ] = None
    as_built: Annotated[
        Annotated[float, msgspec.Meta(gt=0.0)] | None,
        msgspec.Meta(description="value that a limit's `off` is counted from, relative: 0.1 is ten percent either way"),
    ] = None

    def bounds(self, rows: Sequence[Limit]) -> tuple[Limit, ...]:
        """The rows as bounds in the channel's unit; rows whose design or value as built is not given have none.

        >>> rows = [LimitRow(severity=3, share=0.8), LimitRow(severity=2, above=25.0)]
        >>> [(r.severity, r.above, r.below) for r in DesignParams(design=30.0).bounds(rows)]
        [(3, 24.0, None), (3, None, -24.0), (2, 25.0, None)]
        """
        found: list[Limit] = []
        for row in rows:
            share, off = getattr(row, "share", None), getattr(row, "off", None)
            if share is not None:
                design = Design(self.design, -self.design) if isinstance(self.design, float | int) else self.design or None
                found += [] if design is None or design.above is None else [Limit(row.severity, above=share * design.above)]
                found += [] if design is None or design.below is None else [Limit(row.severity, below=share * design.below)]
            elif off is not None:
                built = self.as_built
                found += [] if built is None else [Limit(row.severity, above=built * (1.0 + off)),
                                                   Limit(row.severity, below=built * (1.0 - off))]
            else:
                found.append(row)
        return tuple(found)

    def bound_faults(self, key: str, rows: Sequence[Limit]) -> list[str]:
        """What keeps the rows from being two ordered sides of bounds."""
        found = []
        if self.design is None and any(getattr(r, "share", None) is not None for r in rows):
            found.append(f"design: must be given where {key} has a share, is none")
        if self.as_built is None and any(getattr(r, "off", None) is not None for r in rows):
            found.append(f"as_built: must be given where {key} has an off, is none")
        return found or order_faults(key, self.bounds(rows))


def bound(limit: Limit) -> float:
    """The one bound a limit has."""
    value = limit.below if limit.above is None else limit.above
    assert value is not None
    return value


def side_of(limits: Sequence[Limit], side: str) -> list[Limit]:
    """Limits of one side, "above" or "below", mild to extreme."""
    rows = [limit for limit in limits if getattr(limit, side) is not None]
    return sorted(rows, key=bound, reverse=side == "below")


def order_faults(key: str, limits: Sequence[Limit]) -> list[str]:
    """What keeps a table from being two ordered sides that do not meet.

    >>> order_faults("limits", [Limit(severity=4, above=25.0), Limit(severity=2, above=50.0)])
    ['limits: severity must rise with the limit, is 4 above 25.0 and 2 above 50.0']
    """
    wrong = [b for limit in limits if not abs(b := bound(limit)) <= FLOAT32_MAX]
    if wrong:
        return [f"{key}: a limit must be finite in float32, is {b}" for b in wrong]
    found = []
    for side in ("above", "below"):
        for mild, grave in pairwise(side_of(limits, side)):
            pair = f"{mild.severity} {side} {bound(mild)} and {grave.severity} {side} {bound(grave)}"
            if np.float32(bound(mild)) == np.float32(bound(grave)):
                found.append(f"{key}: limits of one side must differ, are {pair}")
            elif mild.severity >= grave.severity:
                found.append(f"{key}: severity must rise with the limit, is {pair}")
    above, below = side_of(limits, "above"), side_of(limits, "below")
    if above and below and np.float32(bound(below[0])) >= np.float32(bound(above[0])):
        found.append(f"{key}: limits below must be under those above, are {bound(below[0])} and {bound(above[0])}")
    return found


def rise_faults(key: str, rows: Sequence[tuple[float, int]], what: str = "limit") -> list[str]:
    """What keeps rows (limit, severity) of one side, in order of their limits, from rising."""
    return [f"{key}: severity must rise with the {what}, is {s} at {a} and {t} at {b}"
            for (a, s), (b, t) in pairwise(rows) if t <= s or b <= a]


def relation(value: float, limit: float, active: bool = True) -> str:
    """How a value stands to the limit that decided: it ``reaches`` it (equal as float32) or ``exceeds`` it, on whichever side;
    ``within`` once it is over."""
    with np.errstate(over="ignore"):
        return "within" if not active else "reaches" if np.float32(value) == np.float32(limit) else "exceeds"


def where_of(channel: Channel) -> dict[str, float]:
    """A finding's ``where``: the channel's place along its asset, if it is known."""
    return {} if channel.position_m is None else {"position_m": channel.position_m}


class Step(NamedTuple):
    """A change in what is held: to be raised or raised higher (``active``), or over."""

    active: bool
    severity: int
    onset_ns: int


@dataclass(slots=True)
class Held:
    """How grave something is, since when, and for how long it has been graver or over; one alarm of one source.

    What is judged comes in turns (bins, mostly), each with the severity it reaches and 0 for none::

        reached    0  2  2  3  3  2  0  0                 need = 2
        runs >= 2  0  1  2  3  4  5  0  0
        runs >= 3  0  0  0  1  2  0  0  0
        back       1  0  0  0  0  0  1  2
        said             2     3        end               onset: the first 2

    A severity is said when it, or more, was reached ``need`` times in a row, and only if it is more than what is said
    already; the end when nothing was reached as often in a row.
    """

    severity: int = 0  # what is said; 0: nothing
    onset_ns: int = 0  # of what is said
    first_ns: int = 0  # start of the turns in a row that reach anything
    back: int = 0  # turns in a row that reach nothing
    runs: list[int] = field(default_factory=lambda: [0] * RED)  # by severity, from 1: turns in a row that reach it or more

    def see(self, reached: int, start_ns: int, *, need: int = 1, back: bool = True) -> Step | None:
        """A turn that began at ``start_ns``; ``back`` False: it reaches nothing, but not by enough to be over (dead band)."""
        self.runs = [n + 1 if reached >= severity else 0 for severity, n in enumerate(self.runs, 1)]
        self.back = self.back + 1 if back and not reached else 0
        if self.runs[0] == 1:
            self.first_ns = start_ns
        holding = sum(n >= need for n in self.runs)
        if holding > self.severity:
            if not self.severity:
                self.onset_ns = self.first_ns
            self.severity = holding
            return Step(True, holding, self.onset_ns)
        return self.end() if self.back >= need else None

    def end(self) -> Step | None:
        """Over, whatever was reached, and counted anew; None if nothing was said."""
        severity, self.severity, self.runs = self.severity, 0, [0] * RED
        return Step(False, severity, self.onset_ns) if severity else None

    def save(self) -> list[int]:
        return [self.severity, self.onset_ns, self.first_ns, self.back, *self.runs]

    @classmethod
    def of(cls, state: Sequence[Any]) -> Self:
        """What `save` gave; StateError for anything else."""
        if len(state) != 4 + RED or not all(isinstance(v, int) for v in state) or not 0 <= state[0] <= RED:
            raise StateError(f"held: saved state must be {4 + RED} whole numbers, is {list(state)}")
        return cls(state[0], state[1], state[2], state[3], list(state[4:]))


@dataclass(frozen=True, slots=True)
class Group:
    """Channels whose samples arrive in one block, in row order; ``rate_hz`` None: irregular."""

    channels: tuple[Channel, ...]
    rate_hz: float | None


@dataclass(frozen=True, slots=True)
class Window:
    """Samples of one channel as they came: float32[n] from ``t0_ns`` on, in the channel's unit; NaN where one is missing."""

    t0_ns: int
    rate_hz: float
    x: NDArray[np.float32]


class Detector:
    """The base of every row of the table; see the module's docstring for the calls."""

    PARAMS: ClassVar[type[Params]] = Params
    KINDS: ClassVar[tuple[str, ...]] = ()
    COUPLED: ClassVar[bool] = False
    IRREGULAR: ClassVar[bool] = False  # takes irregular channels
    REGULAR: ClassVar[bool] = True  # takes regular channels
    CHANNELS: ClassVar[tuple[int, int | None]] = (1, None)  # fewest and most channels of a watch

    @classmethod
    def aside(cls, params: Any) -> int:
        """How many channels at the end of a watch's list only explain the others (temperature, wind): they need not share rate
        or unit with them, and come each in a group of its own. ``params`` is None or the detector's own."""
        return 0

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        self.watch = watch
        self.groups = tuple(groups)
        self.site = site

    def push(self, group: int, block: Block) -> list[Finding]:
        raise NotImplementedError

    def gap(self, group: int, brk: Break) -> list[Finding]:
        return []

    def tick(self, t_ns: int) -> list[Finding]:
        return []

    def flush(self) -> list[Finding]:
        return []

    def recall(self, channel: str, start_ns: int, stop_ns: int) -> Window | None:
        """Samples of a channel in [start_ns, stop_ns) as far as they are still kept; None: it keeps none of them."""
        return None

    def report(self) -> list[dict[str, Any]]:
        """What it measured last, for people: flat maps, one per channel or place. Nothing is decided by it."""
        return []

    def save(self) -> dict[str, Any]:
        """State as a map of msgpack-able values (bytes for compiled state); enough to go on bit for bit."""
        raise NotImplementedError

    def load(self, state: Mapping[str, Any]) -> None:
        """Take what `save` of the same build and configuration gave; StateError otherwise."""
        raise NotImplementedError
