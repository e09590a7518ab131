"""How fast a pressure wave runs in a water-filled pipe: the water's own speed, slowed by the wall that gives way."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

WATER_BULK_PA = 2.19e9
WATER_DENSITY = 998.2  # kg/m3, 20 degrees C

# How the pipe is held along its axis -> c1 of a thin wall, from Poisson's ratio.
RESTRAINTS = ("joints", "upstream", "throughout")


@dataclass(frozen=True, slots=True)
class Material:
    """Elastic properties of a pipe wall. ``verified`` False: an example from memory, the owner's own figures go first."""

    youngs_pa: float
    poisson: float
    verified: bool
    source: str


_EXAMPLE = "common textbook magnitude, not checked against a source"

# Examples for people, looked up by name only: nothing in this package takes one of them by itself. Plastics: the
# stiffness at leak-noise frequencies (dynamic) is several times the long-term one, so one figure cannot serve both.
MATERIALS: dict[str, Material] = {
    "steel": Material(207e9, 0.27, False, _EXAMPLE),
    "ductile-iron": Material(170e9, 0.28, False, _EXAMPLE),
    "cast-iron": Material(110e9, 0.25, False, _EXAMPLE),
    "asbestos-cement": Material(24e9, 0.20, False, _EXAMPLE),
    "pvc-u": Material(3.0e9, 0.45, False, _EXAMPLE),
    "hdpe-short-term": Material(0.9e9, 0.46, False, _EXAMPLE),
    "hdpe-dynamic": Material(1.6e9, 0.46, False, _EXAMPLE),
}


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
