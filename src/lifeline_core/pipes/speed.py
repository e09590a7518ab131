"""How fast a pressure wave runs in a water-filled pipe: the water's own speed, slowed by the wall that gives way."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from lifeline_core.pipes.materials import MATERIALS, Material, material

__all__ = ["MATERIALS", "Material", "PipeSpeed", "material", "pipe_speed", "restraint_factor", "wave_speed"]

WATER_BULK_PA = 2.19e9
WATER_DENSITY = 998.2  # kg/m3, 20 degrees C

# How the pipe is held along its axis -> c1 of a thin wall, from Poisson's ratio.
RESTRAINTS = ("joints", "upstream", "throughout")


def restraint_factor(restraint: str, poisson: float) -> float:
    """c1 of a thin-walled pipe: 1 with expansion joints, 1 - nu/2 anchored upstream, 1 - nu^2 anchored throughout.

    Parameters
    ----------
    restraint : {"joints", "upstream", "throughout"}
    poisson : float
        Poisson's ratio of the wall, 0 .. 0.5.

    Raises
    ------
    ValueError
        For another word or a ratio outside 0 .. 0.5.

    Source
    ------
    Wylie and Streeter, Fluid Transients in Systems (1993). Other authors differ (1 - nu/2 for joints, 5/4 - nu for one
    anchored end): any such figure may be given to `wave_speed` as ``restraint`` directly.

    Examples
    --------
    >>> restraint_factor("throughout", 0.3)
    0.91
    """
    if not 0.0 <= poisson <= 0.5:
        raise ValueError(f"poisson must lie in 0 .. 0.5, is {poisson}")
    if restraint not in RESTRAINTS:
        raise ValueError(f"restraint must be one of {', '.join(RESTRAINTS)}, is {restraint!r}")
    return {"joints": 1.0, "upstream": 1.0 - poisson / 2.0, "throughout": 1.0 - poisson**2}[restraint]


def wave_speed(
    inner_diameter_m: float,
    wall_m: float,
    youngs_pa: float,
    *,
    restraint: float = 1.0,
    bulk_pa: float = WATER_BULK_PA,
    density: float = WATER_DENSITY,
    thick_wall: bool = False,
    poisson: float = 0.3,
) -> float:
    """Speed of a pressure wave in a filled pipe, in m/s.

    ::

        a = sqrt(K / rho) / sqrt(1 + (K / E) (D / e) c1)
        c1 = restraint                                            thin wall
        c1 = 2 e / D (1 + nu) + D / (D + e) restraint             thick wall (D / e below about 25)

    Parameters
    ----------
    inner_diameter_m, wall_m : float
        D and e, metres, above 0.
    youngs_pa : float
        E of the wall in Pa, above 0; infinity is a rigid pipe. Plastics: the dynamic modulus.
    restraint : float
        c1 of the thin wall, above 0; `restraint_factor` gives it from the kind of anchoring.
    bulk_pa, density : float
        K (Pa) and rho (kg/m3) of the water.
    thick_wall : bool
        Use the thick-walled c1; only then ``poisson`` counts.
    poisson : float
        nu of the wall, 0 .. 0.5.

    Raises
    ------
    ValueError
        For a length, modulus, density or restraint that is not above 0, or a ratio outside 0 .. 0.5.

    Source
    ------
    Korteweg 1878, Joukowsky 1898; c1 after Wylie and Streeter, Fluid Transients in Systems (1993). The thick-wall form
    could not be compared with its source here; its figures are held by an independent table in the tests.

    Examples
    --------
    >>> round(wave_speed(0.5, 0.008, 207e9), 2)
    1149.21
    """
    given = {"inner_diameter_m": inner_diameter_m, "wall_m": wall_m, "youngs_pa": youngs_pa, "restraint": restraint,
             "bulk_pa": bulk_pa, "density": density}
    for name, value in given.items():
        if not value > 0.0:
            raise ValueError(f"{name} must be above 0, is {value}")
    if not 0.0 <= poisson <= 0.5:
        raise ValueError(f"poisson must lie in 0 .. 0.5, is {poisson}")
    slender = inner_diameter_m / wall_m
    c1 = restraint
    if thick_wall:
        c1 = 2.0 / slender * (1.0 + poisson) + inner_diameter_m / (inner_diameter_m + wall_m) * restraint
    return sqrt(bulk_pa / density) / sqrt(1.0 + bulk_pa / youngs_pa * slender * c1)


@dataclass(frozen=True, slots=True)
class PipeSpeed:
    """Speed in m/s with its relative standard deviation, and the ``reasons`` to trust it less, each ``word: text``."""

    speed_mps: float
    rel_sd: float
    reasons: tuple[str, ...]


def pipe_speed(
    name: str, inner_diameter_m: float, wall_m: float, *, restraint: str | None = None, unverified: bool = False
) -> PipeSpeed:
    """Speed in a pipe of a material of the table, with what is not known about it.

    ::

        c1 thick-walled below D / e = 25;  restraint None: the middle of c1 of the three kinds, its spread counted
        sd^2 = (da/dE sdE)^2 + (half the range over the kinds of restraint / sqrt 3)^2

    both from the formula at the ends of the ranges. Not counted: age and corrosion, soil, and air (in water at atmospheric
    pressure a volume share of 1e-4 nearly halves the speed). A speed measured on the pipe goes first
    (`pipes.calibration.speed_from_source`).

    Parameters
    ----------
    name : a row of MATERIALS
        A plastic's row must be for the load: ``dynamic`` for leak noise.
    inner_diameter_m, wall_m : float
        Metres.
    restraint : {"joints", "upstream", "throughout"}, optional
        How the pipe is held along its axis; None: not known.
    unverified : bool
        Take a row whose figure was not read in a source, too.

    Raises
    ------
    ValueError
        As `material` and `wave_speed` say.

    Examples
    --------
    >>> found = pipe_speed("ductile-iron", 0.3, 0.008)
    >>> round(found.speed_mps), round(found.rel_sd, 3)
    (1226, 0.007)
    """
    m = material(name, unverified=unverified)
    thick = inner_diameter_m < 25.0 * wall_m
    kinds = RESTRAINTS if restraint is None else (restraint,)
    factors = [restraint_factor(kind, m.poisson) for kind in kinds]

    def at(youngs_pa: float, c1: float) -> float:
        return wave_speed(inner_diameter_m, wall_m, youngs_pa, restraint=c1, thick_wall=thick, poisson=m.poisson)

    middle = (min(factors) + max(factors)) / 2.0
    speed = at(m.youngs_pa, middle)
    wall_sd = (at(m.high_pa, middle) - at(m.low_pa, middle)) / sqrt(12.0)
    held_sd = (at(m.youngs_pa, min(factors)) - at(m.youngs_pa, max(factors))) / sqrt(12.0)
    reasons = [] if m.verified else [f"unverified: {m.source}"]
    if m.duration == "short-term":
        reasons.append("short-term: the modulus is of a tensile test; a wave meets a stiffer wall and runs faster")
    if restraint is None:
        reasons.append(f"restraint-unknown: c1 between {min(factors):.3f} and {max(factors):.3f}")
    return PipeSpeed(speed, sqrt(wall_sd**2 + held_sd**2) / speed, tuple(reasons))
