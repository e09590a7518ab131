"""What pipe walls are made of: stiffness with its spread, each figure with the text it was read in.

A wave of leak noise or of a burst bends the wall in milliseconds. Metals do not care; plastics creep, so their stiffness
depends on how long a load lasts, and one row holds for one kind of load: ``short-term`` is a tensile test of minutes, what
pipe tables print, ``dynamic`` a wave. A speed from a short-term modulus is too low.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Material:
    """Elastic properties of a pipe wall.

    ``youngs_pa`` in Pa, ``low_pa`` .. ``high_pa`` the range the source gives (both equal to it where it gives one figure);
    ``poisson`` Poisson's ratio; ``duration`` which load it is for: any, short-term or dynamic. ``verified`` True where
    ``youngs_pa`` was read in ``source``; False: a common magnitude or a derived one, the owner's own figures go first.
    """

    youngs_pa: float
    poisson: float
    verified: bool
    source: str
    low_pa: float
    high_pa: float
    duration: str = "any"

    @property
    def youngs_rel_sd(self) -> float:
        """Relative standard deviation of ``youngs_pa`` if all of its range is as likely: (high - low) / (sqrt 12 E)."""
        return float((self.high_pa - self.low_pa) / (12.0**0.5 * self.youngs_pa))


_GERE = "J. M. Gere, Mechanics of Materials, 5th ed., table of moduli (as tabulated at ah-engr.com/som), middle of the range"
_MAFF = ("Japan, Ministry of Agriculture, Forestry and Fisheries, Pipeline design standard, technical manual (2021), table 8.2.1 "
         "(as transcribed in russENG/open-waterhammer, pipe-materials.ts)")
_MEMORY = "common magnitude, no source could be read"

_TABLE = {
    "steel": Material(200e9, 0.285, True, f"{_GERE}; the same in {_MAFF}", 190e9, 210e9),
    "ductile-iron": Material(
        166e9, 0.28, True, "ASM figure for ductile iron in tension, 162 to 170 GPa whatever the grade (amesweb.info, Young's "
        "modulus of iron), middle; Poisson 0.28 to 0.31 (makeitfrom.com); 160 GPa in " + _MAFF, 160e9, 170e9),
    "cast-iron": Material(126e9, 0.25, True, f"{_GERE}; gray iron has no straight stress-strain line and varies from pipe to pipe",
                          83e9, 170e9),
    "copper": Material(115e9, 0.345, True, _GERE, 110e9, 120e9),
    "concrete-reinforced": Material(20e9, 0.15, True, f"{_MAFF}, centrifugal reinforced concrete; Poisson from Gere, 0.1 to 0.2",
                                    17e9, 31e9),
    "concrete-prestressed": Material(39e9, 0.15, True, f"{_MAFF}, core type; Poisson from Gere, 0.1 to 0.2", 39e9, 39e9),
    "asbestos-cement": Material(
        24e9, 0.20, False, f"{_MEMORY}; KWR report BTO 2019.008 measured aged pipes well below catalogue figures", 15e9, 28e9),
    "pvc-u-short-term": Material(3.0e9, 0.40, True, f"{_MAFF}, unplasticized PVC; 2.76 GPa (400,000 psi) is usual in North America",
                                 2.76e9, 3.0e9, "short-term"),
    "pvc-u-dynamic": Material(
        5.0e9, 0.40, False, "P. Lu, X. Sheng, Y. Gao, R. Wang, Chin. J. Mech. Eng. 35 (2022) 74, table 1: a plastic pipe, which "
        "plastic was not in what could be read; loss factor 0.065", 3.0e9, 5.0e9, "dynamic"),
    "pvc-o-short-term": Material(3.7e9, 0.40, False, "PVC-U and 24 %, the most a maker (Vinidex) states for the oriented direction",
                                 3.0e9, 4.0e9, "short-term"),
    "pe80-short-term": Material(0.8e9, 0.40, False, f"{_MEMORY}; Gere has 0.7 to 1.4 GPa for polyethylene", 0.7e9, 1.0e9,
                                "short-term"),
    "pe100-short-term": Material(1.3e9, 0.40, True, f"{_MAFF}, PE100; Poisson from Gere, who has 0.7 to 1.4 GPa for polyethylene",
                                 0.9e9, 1.4e9, "short-term"),
    "pe-surge": Material(1.6e9, 0.46, False, f"{_MEMORY}, for water hammer, loads of 0.1 to 1 s", 1.2e9, 2.2e9, "dynamic"),
    "pe-dynamic": Material(
        2.2e9, 0.40, True, "T. Graf, T. Gisler, P. Sollberger, O. Schaelli, COMSOL Conference 2014: fitted to leak noise in buried "
        "polyethylene; Poisson from Gere", 1.6e9, 2.2e9, "dynamic"),
    "grp-epoxy-wound": Material(
        29.0e9, 0.20, True, "Ameron data sheet of wound epoxy pipe: hoop modulus 4.2e6 psi, Poisson 0.16 and 0.26 (their geometric "
        "mean, which 1 - nu^2 needs where a wall has two stiffnesses); other GRP is softer", 29.0e9, 29.0e9),
}
MATERIALS: Mapping[str, Material] = MappingProxyType(_TABLE)


def material(name: str, *, unverified: bool = False) -> Material:
    """One row of the table, by name.

    Parameters
    ----------
    name : one of MATERIALS
    unverified : bool
        Take a row whose figure was not read in a source, too. It must be asked for.

    Raises
    ------
    ValueError
        No such row; a row that is not verified, without being asked for.

    Examples
    --------
    >>> material("steel").youngs_pa
    200000000000.0
    """
    if name not in MATERIALS:
        raise ValueError(f"material must be one of {', '.join(MATERIALS)}, is {name!r}")
    found = MATERIALS[name]
    if not (found.verified or unverified):
        raise ValueError(f"material {name!r} is not verified ({found.source}): give the pipe's own modulus, or unverified=True")
    return found
