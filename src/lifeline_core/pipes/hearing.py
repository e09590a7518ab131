"""What one pair of loggers says of a night: a correlation put onto the pipe between them."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from lifeline_core.pipes.correlation import Correlation, Demands
from lifeline_core.pipes.places import Place
from lifeline_core.pipes.plan import Pair
from lifeline_core.pipes.position import Position, leak_position

SIGMAS = 3.0  # a delay further from what a place explains than so many standard deviations is another leak's

# Reasons of a correlation that say "the pair could hear, and there was nothing", and those by which it could not listen.
SILENT, MIDDLE = ("no-coherent-band",), {"lag-near-zero"}
DEAF = ("too-short", "clipped", "clock-unsure", "no-common-time", "rate-mismatch")


@dataclass(frozen=True, eq=False)
class Hearing:
    """What one pair says of a night.

    ``kind``: leak; middle (a delay of zero: a leak half way, or something common to both loggers); known (a noise source
    that was told); nothing (it listened and there was none); unclear (it heard something it may not call a leak); deaf (it
    could not listen). ``delay_s`` t_b - t_a freed of the loggers' grids; ``position`` and ``place`` only of leak, middle and
    known; ``score`` 0 .. 1, see `score`.
    """

    pair: Pair
    kind: str
    reasons: tuple[str, ...]
    found: Correlation | None = None
    delay_s: float = float("nan")
    position: Position | None = None
    place: Place | None = None
    score: float = 0.0
    seconds: float = 0.0
    stretches: int = 0
    t0_ns: int | None = None


def score(found: Correlation, demands: Demands) -> float:
    """How clearly a correlation shows one source, 0 .. 1, for putting leaks in order; not a probability.

    ::

        sqrt( (1 - 1 / psr) (1 - demanded / chance) )        psr peak over next peak, chance: log10 of coincidence
    """
    clear = 1.0 - 1.0 / max(found.psr, 1.0)
    sure = 1.0 - demands.log10_chance / min(found.log10_chance, demands.log10_chance)
    return sqrt(clear * sure)


def longest_delay(pair: Pair, speed_rel_sd: float, rate_hz: float) -> float:
    """The longest delay that a source between the two can have, with three deviations of speed and clocks, seconds."""
    return pair.way.travel_s * (1.0 + SIGMAS * speed_rel_sd) + SIGMAS * pair.clock_sd_s + 2.0 / rate_hz


def judge(pair: Pair, found: Correlation, *, later_s: float = 0.0, speed_rel_sd: float = 0.0, length_rel_sd: float = 0.0,
          demands: Demands | None = None) -> Hearing:
    """What a correlation means on the way of its pair.

    Parameters
    ----------
    later_s : float
        How much later than a's the samples of b were taken: `overlap.Common.later_s`.
    speed_rel_sd, length_rel_sd : float
        Relative standard deviations of the wave speeds and of the lengths.
    demands : Demands
        With which it was correlated.
    """
    delay = found.delay_s + later_s
    words = {r.split(":")[0] for r in found.reasons}
    if not found.accepted and words != MIDDLE:
        kind = "deaf" if words & set(DEAF) else "nothing" if words & set(SILENT) else "unclear"
        return Hearing(pair, kind, found.reasons, found, delay)
    position = leak_position(delay, pair.way.sections, delay_sd_s=found.delay_sd_s, speed_rel_sd=speed_rel_sd,
                             clock_sd_s=pair.clock_sd_s, length_sd_m=length_rel_sd * pair.way.length_m)
    kind = "leak" if found.accepted else "middle"
    return Hearing(pair, kind, found.reasons, found, delay, position, pair.way.at(position.x_m), score(found, demands or Demands()))
