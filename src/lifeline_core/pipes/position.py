"""From a delay between two loggers to a place on the pipe between them, with what is not known about it in metres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import fsum, hypot, isfinite, sqrt


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of pipe of one wave speed; sections are listed from logger a to logger b."""

    length_m: float
    speed_mps: float

    @property
    def travel_s(self) -> float:
        return self.length_m / self.speed_mps


@dataclass(frozen=True, slots=True)
class Position:
    """Where a source lies between two loggers.

    ``x_m`` from logger a along the pipe; ``sd_m`` its standard deviation (1 sigma); ``outside`` True where the delay is
    longer than the pipe allows: the source then lies beyond the end that ``x_m`` names. ``budget`` holds the parts of
    ``sd_m`` in metres: ``delay``, ``clock``, ``speed`` (their squares add up to its square).
    """

    x_m: float
    sd_m: float
    outside: bool
    budget: dict[str, float] = field(default_factory=dict)


def travel_time(sections: Sequence[Section]) -> float:
    """Seconds a wave takes from logger a to logger b: sum of L / c.

    >>> round(travel_time([Section(120, 1250), Section(60, 480), Section(200, 1250)]), 6)
    0.381
    """
    if not sections:
        raise ValueError("sections must hold at least one section, holds none")
    for i, s in enumerate(sections):
        if not (s.length_m > 0 and isfinite(s.length_m)):
            raise ValueError(f"sections[{i}].length_m must be above 0 and finite, is {s.length_m}")
        if not (s.speed_mps > 0 and isfinite(s.speed_mps)):
            raise ValueError(f"sections[{i}].speed_mps must be above 0 and finite, is {s.speed_mps}")
    return fsum(s.travel_s for s in sections)


def leak_position(
    delay_s: float,
    sections: Sequence[Section],
    *,
    delay_sd_s: float = 0.0,
    speed_rel_sd: float = 0.0,
    clock_sd_s: float = 0.0,
) -> Position:
    """Place of a source between two loggers from the difference of its arrival times.

    ::

        t_a = (T - delay) / 2, T = sum L_i / c_i;  walk the sections from a until t_a is used up
        one section:  x = (L - c delay) / 2

    Errors, to first order, with the source in section k of speed c::

        delay, clock   c / 2 times their standard deviation
        speed          the larger of two readings of speed_rel_sd: all speeds wrong by one factor, c |delay| / 2;
                       or each section wrong by its own, root of the sum of squares

    A common factor does nothing to a source whose waves take equally long to both ends.

    Parameters
    ----------
    delay_s : float
        t_b - t_a in seconds: positive when the source is nearer to a.
    sections : sequence of Section
        From a to b, at least one.
    delay_sd_s : float
        Standard deviation of the delay as measured.
    speed_rel_sd : float
        Relative standard deviation of the wave speeds (0.02 = 2 %).
    clock_sd_s : float
        Standard deviation of the difference between the two loggers' clocks.

    Returns
    -------
    Position

    Raises
    ------
    ValueError
        No section; a length, speed or standard deviation out of its range; a delay that is not finite.

    Examples
    --------
    >>> leak_position(0.05, [Section(100.0, 480.0)]).x_m
    38.0
    >>> leak_position(0.3, [Section(100.0, 480.0)]).outside
    True
    """
    if not isfinite(delay_s):
        raise ValueError(f"delay_s must be finite, is {delay_s}")
    for name, sd in (("delay_sd_s", delay_sd_s), ("speed_rel_sd", speed_rel_sd), ("clock_sd_s", clock_sd_s)):
        if not sd >= 0.0:
            raise ValueError(f"{name} must be 0 or more, is {sd}")
    total_s = travel_time(sections)
    outside = abs(delay_s) > total_s
    t_a = min(max((total_s - delay_s) / 2.0, 0.0), total_s)
    k, before_s, before_m = _walk(t_a, sections)
    c = sections[k].speed_mps
    x_m = min(before_m + c * (t_a - before_s), before_m + sections[k].length_m)
    budget = {
        "delay": c / 2.0 * delay_sd_s,
        "clock": c / 2.0 * clock_sd_s,
        "speed": speed_rel_sd * _speed_lever(k, t_a - before_s, min(abs(delay_s), total_s), sections),
    }
    return Position(x_m, hypot(*budget.values()), outside, budget)


def _walk(t_a: float, sections: Sequence[Section]) -> tuple[int, float, float]:
    """The section in which the wave from the source's side is after t_a, and the time and metres before it."""
    before_s = before_m = 0.0
    for k, s in enumerate(sections):
        if t_a <= before_s + s.travel_s or k == len(sections) - 1:
            return k, before_s, before_m
        before_s += s.travel_s
        before_m += s.length_m
    raise AssertionError("unreachable: the last section always answers")


def _speed_lever(k: int, inside_s: float, delay_s: float, sections: Sequence[Section]) -> float:
    """Metres of position per relative error of speed: the worse of one common error and one for each section."""
    c = sections[k].speed_mps
    own = c * (inside_s - sections[k].travel_s / 2.0)
    others = fsum((c * s.travel_s / 2.0) ** 2 for i, s in enumerate(sections) if i != k)
    return max(c * delay_s / 2.0, sqrt(own**2 + others))
