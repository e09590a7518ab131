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
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from lifeline_core.model import Block, Break, Channel, Finding, Site, Watch

Severity = Annotated[int, msgspec.Meta(ge=1, le=4, description="1 blue, 2 yellow, 3 orange, 4 red")]


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of a limit table: a severity and one bound, in the channel's unit."""

    severity: Severity
    above: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise ValueError("a limit has exactly one of above and below")


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A detector's own keys. Field types carry bounds and a description (msgspec.Meta): `check` and `--help` read them."""

    def faults(self) -> list[str]:
        """What is wrong between keys that are each right by themselves; ``key: rule, value``."""
        return []


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
