"""From frames to blocks: nobody below knows of gaps, duplicates, order, scaling or wire types.

The compiled part is kernels/assemble.c (streams and their order) over kernels/ring.c (channels and their seams). Decisions,
each with its counter (`Assembler.counters`):

==================================================  =====================================================================
what comes                                          what is done
==================================================  =====================================================================
a frame again (seq taken)                           ``duplicates``; acknowledged again
a frame ahead of a hole                             held for 64 frames or 2 s of sample time (``reordered``), then the hole
                                                    is ``lost_frames`` and a Break "gap"
a frame of a given-up hole                          ``late``: to the history lane
samples ahead of what was expected                  ``gaps``, ``lost_samples``, a Break "gap"
samples behind what is there                        trimmed (``overlaps``); flagged historical: history lane (``backfilled``)
a new epoch                                         ``epochs``, a Break "epoch"; what the old epoch still sends is history
time off by more than a second                      ``clock_steps``, a Break "clock-step"
time off by half a sample (or 3 sigma of the clock) ``clock_drifts``: the time base follows, samples go on
a partner that never comes                          the waiting ring drops its oldest (``overflow_samples``), a Break "overflow"
a channel nobody configured                         ``unconfigured`` rows, the rest of the frame counts
==================================================  =====================================================================

The history lane has its own buffers and its own detectors, so that what is old never disturbs what is now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lifeline_core._assemble import FED, NEEDS_PYTHON, NEEDS_READERS, NEEDS_ROOM, REFUSALS
from lifeline_core._assemble import Assembler as _Assembler
from lifeline_core.model import Channel

__all__ = [
    "FED", "HISTORY", "LIVE", "NEEDS_PYTHON", "NEEDS_READERS", "NEEDS_ROOM", "PATIENCE", "REFUSALS", "Join", "make_assembler",
]  # fmt: skip

LIVE, HISTORY = 0, 1
PATIENCE = 5  # ticks a hole or a partner is waited for when nothing comes any more
SHORT_RING, WAIT_S = 1 << 15, 60.0


@dataclass(frozen=True, slots=True)
class Join:
    """One reader over channels (by their place in the list given to `make_assembler`)."""

    channels: tuple[int, ...]
    coupled: bool = False


def make_assembler(channels: Sequence[Channel], joins: Sequence[Join]) -> _Assembler:
    """An assembler for these channels, read by these joins.

    A channel of a coupled join may run ahead of its partners by a minute of samples before it loses its oldest; others
    are read at once and keep a short ring.
    """
    waits = {c for j in joins if j.coupled for c in j.channels}
    rows = []
    for i, c in enumerate(channels):
        cap = SHORT_RING
        while i in waits and c.rate_hz and cap < c.rate_hz * WAIT_S:
            cap *= 2
        rows.append((c.device, c.channel, c.scale, c.offset, c.rate_hz or 0.0, cap))
    return _Assembler(rows, [(j.channels, False) for j in joins])
