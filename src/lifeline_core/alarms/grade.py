"""How bad it is: one ordered scale, 1 blue to 4 red."""

from __future__ import annotations

from lifeline_core.model import RED, Site


def grade(severity: int, site: Site) -> int:
    """The finding's severity, plus one where the site's consequence is high, at most red.

    >>> grade(2, Site(name="a", domain="gas", consequence="high"))
    3
    >>> grade(4, Site(name="a", domain="gas", consequence="high"))
    4
    """
    return min(RED, severity + (site.consequence == "high"))
