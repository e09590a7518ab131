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
    longer than the pipe allows: the source then lies beyond the end that ``x_m`` names, ``side`` "a" or "b". ``budget``
    holds the parts of ``sd_m`` in metres: ``delay``, ``clock``, ``speed``, ``length`` (their squares add up to its square).

    Beyond an end, a wave passes both loggers, and the delay is the travel time of the whole pipe, wherever the source is.
    A longer delay says that the waves are slower than told: ``speed_scale`` is what all speeds times so much would explain
    (travel time / |delay|; NaN inside). Where the source is known to be outside, that measures the speed; otherwise a pair
    of wrong clocks, a source on a branch or a wrong peak explain it as well.
    """

    x_m: float
    sd_m: float
    outside: bool
    budget: dict[str, float] = field(default_factory=dict)
    side: str = ""
    speed_scale: float = float("nan")


@dataclass(frozen=True, slots=True)
class CentreOffset:
    """A source between two loggers whose distance is not known: ``x_m`` from the middle, positive towards b.

    ``sd_m`` its standard deviation, ``budget`` its parts: ``delay``, ``clock``, ``speed``.
    """

    x_m: float
    sd_m: float
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
    length_sd_m: float | Sequence[float] = 0.0,
) -> Position:
    """Place of a source between two loggers from the difference of its arrival times.

    ::

        t_a = (T - delay) / 2, T = sum L_i / c_i;  walk the sections from a until t_a is used up
        one section:  x = (L - c delay) / 2

    Errors, to first order, with the source in section k of speed c::

        delay, clock   c / 2 times their standard deviation
        speed          the larger of two readings of speed_rel_sd: all speeds wrong by one factor, c |delay| / 2;
                       or each section wrong by its own, root of the sum of squares
        length         per section i: before the source's (1 - c / 2 c_i), its own 1/2, behind it c / 2 c_i

    A common factor does nothing to a source whose waves take equally long to both ends. The place is counted from a: an
    error of the whole length moves it by half.

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
    length_sd_m : float or sequence of float
        Standard deviation of the whole length, in metres: the larger of all of it in one scale (a map), or shared out
        among the sections (each measured by itself). Or one for each section.

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
    check_sds(delay_sd_s=delay_sd_s, speed_rel_sd=speed_rel_sd, clock_sd_s=clock_sd_s)
    total_s = travel_time(sections)
    lengths = _length_sds(length_sd_m, sections)
    outside = abs(delay_s) > total_s
    t_a = min(max((total_s - delay_s) / 2.0, 0.0), total_s)
    k, before_s, before_m = _walk(t_a, sections)
    c = sections[k].speed_mps
    x_m = min(before_m + c * (t_a - before_s), before_m + sections[k].length_m)
    budget = {
        "delay": c / 2.0 * delay_sd_s,
        "clock": c / 2.0 * clock_sd_s,
        "speed": speed_rel_sd * _speed_lever(k, t_a - before_s, min(abs(delay_s), total_s), sections),
        "length": _length_error(k, lengths, not isinstance(length_sd_m, Sequence), sections),
    }
    side = ("a" if delay_s > 0.0 else "b") if outside else ""
    return Position(x_m, hypot(*budget.values()), outside, budget, side, total_s / abs(delay_s) if outside else float("nan"))


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


def _length_sds(length_sd_m: float | Sequence[float], sections: Sequence[Section]) -> list[float]:
    """Standard deviation of each section's length; one of the whole is shared out as the variance of a tape is."""
    if isinstance(length_sd_m, Sequence):
        sds = [float(sd) for sd in length_sd_m]
        if len(sds) != len(sections):
            raise ValueError(f"length_sd_m must be one number or one for each of {len(sections)} sections, holds {len(sds)}")
    else:
        whole = fsum(s.length_m for s in sections)
        sds = [length_sd_m * sqrt(s.length_m / whole) for s in sections]
    for sd in sds:
        if not (sd >= 0.0 and isfinite(sd)):
            raise ValueError(f"length_sd_m must be 0 or more and finite, is {length_sd_m}")
    return sds


def _length_error(k: int, sds: Sequence[float], common: bool, sections: Sequence[Section]) -> float:
    """Metres of position from errors of the lengths: each section by itself, or if worse all in one scale."""
    c = sections[k].speed_mps
    halves = [c / (2.0 * s.speed_mps) for s in sections]
    levers = [0.5 if i == k else (1.0 - h if i < k else h) for i, h in enumerate(halves)]
    own = sqrt(fsum((lever * sd) ** 2 for lever, sd in zip(levers, sds, strict=True)))
    if not common:
        return own
    whole = fsum(s.length_m for s in sections)
    return max(own, abs(fsum(lever * s.length_m for lever, s in zip(levers, sections, strict=True))) / whole * hypot(*sds))


def centre_offset(
    delay_s: float, speed_mps: float, *, delay_sd_s: float = 0.0, speed_rel_sd: float = 0.0, clock_sd_s: float = 0.0
) -> CentreOffset:
    """Place of a source between two loggers whose distance along the pipe is not known: counted from the middle.

    ::

        x = -c delay / 2        positive towards b; the middle is where waves take equally long to both loggers

    Half the length, once known, is added to it. On a pipe of one speed it needs no more than that; it cannot tell whether
    the source is outside.

    Parameters
    ----------
    delay_s : float
        t_b - t_a, seconds.
    speed_mps : float
        Wave speed, m/s.
    delay_sd_s, clock_sd_s : float
        Standard deviations of the delay and of the difference between the clocks, seconds.
    speed_rel_sd : float
        Relative standard deviation of the speed.

    Raises
    ------
    ValueError
        A delay that is not finite, a speed that is not above 0, a standard deviation below 0.

    Examples
    --------
    >>> centre_offset(0.05, 480.0).x_m
    -12.0
    """
    if not isfinite(delay_s):
        raise ValueError(f"delay_s must be finite, is {delay_s}")
    if not (speed_mps > 0.0 and isfinite(speed_mps)):
        raise ValueError(f"speed_mps must be above 0 and finite, is {speed_mps}")
    check_sds(delay_sd_s=delay_sd_s, speed_rel_sd=speed_rel_sd, clock_sd_s=clock_sd_s)
    budget = {"delay": speed_mps / 2.0 * delay_sd_s, "clock": speed_mps / 2.0 * clock_sd_s,
              "speed": speed_mps / 2.0 * abs(delay_s) * speed_rel_sd}
    return CentreOffset(-speed_mps * delay_s / 2.0, hypot(*budget.values()), budget)


def check_sds(**sds: float) -> None:
    """ValueError for a standard deviation that is below 0 or NaN; infinite is one that nothing is known of."""
    for name, sd in sds.items():
        if not sd >= 0.0:
            raise ValueError(f"{name} must be 0 or more, is {sd}")
