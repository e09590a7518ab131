"""The speed of a pipe's waves, measured with a source whose place is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import hypot, isfinite
from typing import Literal

from lifeline_core.pipes.position import check_sds


@dataclass(frozen=True, slots=True)
class SpeedEstimate:
    """Wave speed from a source whose place is known.

    ``speed_mps`` NaN where the delay says nothing of it; ``sd_mps`` its standard deviation; ``accepted`` False with the
    ``reasons``, each ``word: numbers``. ``budget``: parts of ``sd_mps``, ``delay``, ``clock``, ``length``, ``source``.
    """

    speed_mps: float
    sd_mps: float
    accepted: bool
    reasons: tuple[str, ...]
    budget: dict[str, float] = field(default_factory=dict)


def speed_from_source(
    delay_s: float,
    length_m: float,
    source: float | Literal["beyond-a", "beyond-b"],
    *,
    delay_sd_s: float = 0.0,
    length_sd_m: float = 0.0,
    source_sd_m: float = 0.0,
    clock_sd_s: float = 0.0,
    least_lever: float = 0.1,
    most_rel_sd: float = 0.05,
) -> SpeedEstimate:
    """Wave speed from a source of known place: a tapped hydrant, an opened valve, a leak already dug up.

    ::

        c = (L - 2 x) / delay         x from a; beyond a: c = L / delay, beyond b: c = -L / delay
        (sd / c)^2 = (sd_delay^2 + sd_clock^2) / delay^2 + (sd_L^2 + 4 sd_x^2) / (L - 2 x)^2     outside: without sd_x

    Near the middle both loggers hear the source at once, whatever the speed: refused where |L - 2 x| is less than
    ``least_lever`` of L (there 1 % of L in the place is 20 % and more of the speed), or where the relative standard
    deviation exceeds ``most_rel_sd``.

    Parameters
    ----------
    delay_s : float
        t_b - t_a, seconds.
    length_m : float
        Between the loggers, of one kind of pipe.
    source : float or "beyond-a" or "beyond-b"
        Metres from a, 0 .. length_m; or outside, where its exact place does not matter.
    delay_sd_s, clock_sd_s, length_sd_m, source_sd_m : float
        Standard deviations.

    Returns
    -------
    SpeedEstimate
        ``reasons``: near-middle, wrong-side (the delay has the other sign), uncertain.

    Raises
    ------
    ValueError
        A delay that is not finite, a length that is not above 0, a place outside 0 .. length_m, a standard deviation below 0.

    Examples
    --------
    >>> speed_from_source(0.05, 100.0, 38.0).speed_mps
    480.0
    >>> speed_from_source(0.001, 100.0, 49.0).reasons[0].split(":")[0]
    'near-middle'
    """
    if not isfinite(delay_s):
        raise ValueError(f"delay_s must be finite, is {delay_s}")
    if not (length_m > 0.0 and isfinite(length_m)):
        raise ValueError(f"length_m must be above 0 and finite, is {length_m}")
    check_sds(delay_sd_s=delay_sd_s, length_sd_m=length_sd_m, source_sd_m=source_sd_m, clock_sd_s=clock_sd_s)
    if isinstance(source, str):
        if source not in ("beyond-a", "beyond-b"):
            raise ValueError(f"source must be metres from a, beyond-a or beyond-b, is {source!r}")
        path, source_sd = (length_m if source == "beyond-a" else -length_m), 0.0
    else:
        if not 0.0 <= source <= length_m:
            raise ValueError(f"source must lie in 0 .. length_m = {length_m}, is {source}")
        path, source_sd = length_m - 2.0 * source, 2.0 * source_sd_m
    reasons = []
    if abs(path) < least_lever * length_m:
        reasons.append(f"near-middle: the paths differ by {abs(path):.2f} m, {least_lever:.0%} of {length_m:g} m are needed")
    if delay_s == 0.0 or path * delay_s <= 0.0:
        reasons.append(f"wrong-side: a delay of {delay_s * 1e3:.3f} ms does not fit paths that differ by {path:.2f} m")
        return SpeedEstimate(float("nan"), float("inf"), False, tuple(reasons))
    speed = path / delay_s
    budget = {"delay": speed * delay_sd_s / abs(delay_s), "clock": speed * clock_sd_s / abs(delay_s),
              "length": speed * length_sd_m / abs(path), "source": speed * source_sd / abs(path)}
    sd = hypot(*budget.values())
    if sd > most_rel_sd * speed:
        reasons.append(f"uncertain: {speed:.0f} m/s with a standard deviation of {sd:.0f}, at most {most_rel_sd:.0%}")
    return SpeedEstimate(speed, sd, not reasons, tuple(reasons), budget)
