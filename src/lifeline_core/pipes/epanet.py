"""A reader of EPANET's .inp text: only what a pressure wave needs - which pipe joins what, how long, open or not.

Sections read: JUNCTIONS, RESERVOIRS, TANKS, PIPES, PUMPS, VALVES, STATUS, COORDINATES, OPTIONS (Units); the rest is
passed over. Everything that comes out is metres, whatever the file is in.

Source: L. Rossman et al., EPANET 2.2 User Manual (EPA/600/R-20/133), appendix C "Command Line EPANET".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

FOOT_M, INCH_M = 0.3048, 0.0254

# Flow unit -> (metres per unit of length, metres per unit of pipe diameter).
UNITS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("CFS", "GPM", "MGD", "IMGD", "AFD"), (FOOT_M, INCH_M)),
    **dict.fromkeys(("LPS", "LPM", "MLD", "CMH", "CMD", "CMS"), (1.0, 1e-3)),
}

# EPANET tells sections apart by their first four letters.
SECTIONS = ("JUNCTIONS", "RESERVOIRS", "TANKS", "PIPES", "PUMPS", "VALVES", "STATUS", "COORDINATES", "OPTIONS")
_BY_STEM = {name[:4]: name for name in SECTIONS}
_STATUSES = ("OPEN", "CLOSED", "CV")


@dataclass(frozen=True, slots=True)
class Node:
    """A point: ``kind`` is junction, tank or reservoir; ``x``, ``y`` as in the file, NaN when not given."""

    name: str
    kind: str
    x: float = math.nan
    y: float = math.nan


@dataclass(frozen=True, slots=True)
class Link:
    """What joins two nodes: ``kind`` is pipe, pump or valve; only pipes have a length; ``line`` is where it stands."""

    name: str
    kind: str
    a: str
    b: str
    length_m: float = 0.0
    diameter_m: float = math.nan
    status: str = "open"  # open, closed or cv (check valve)
    line: int = 0


@dataclass(frozen=True, slots=True)
class Network:
    """Nodes and links by name, in the file's order."""

    nodes: dict[str, Node]
    links: dict[str, Link]
    units: str


def _number(word: str, line: int, what: str, *, positive: bool = False) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (positive and value <= 0):
        raise ValueError(f"line {line}: {what} is a {'positive ' if positive else ''}finite number, got {word!r}")
    return value


def _sections(text: str) -> dict[str, list[tuple[int, list[str]]]]:
    """Words of every line that is read, by section; comments (from ``;``) and empty lines are gone."""
    found: dict[str, list[tuple[int, list[str]]]] = {name: [] for name in SECTIONS}
    rows: list[tuple[int, list[str]]] | None = None
    seen = False
    for line, raw in enumerate(text.splitlines(), 1):
        words = raw.split(";", 1)[0].split()
        if not words:
            continue
        if words[0].startswith("["):
            stem = words[0][1:5].upper().rstrip("]")
            if stem == "END":
                break
            seen = True
            rows = found.get(_BY_STEM.get(stem, ""))
        elif rows is not None:
            rows.append((line, words))
        elif not seen:
            raise ValueError(f"line {line}: an .inp begins with a section such as [JUNCTIONS], got {raw.strip()!r}")
    return found


class _Reader:
    """Fills nodes and links row by row; each method takes one line of one section."""

    def __init__(self, units: str) -> None:
        self.nodes: dict[str, Node] = {}
        self.links: dict[str, Link] = {}
        self.to_length_m, self.to_diameter_m = UNITS[units]

    def _need(self, line: int, words: list[str], n: int, what: str) -> None:
        if len(words) < n:
            raise ValueError(f"line {line}: a {what} has at least {n} columns, got {' '.join(words)!r}")

    def _node(self, kind: str) -> Callable[[int, list[str]], None]:
        def row(line: int, words: list[str]) -> None:
            if words[0] in self.nodes:
                raise ValueError(f"line {line}: the name of a node is given once, got {words[0]!r} again")
            self.nodes[words[0]] = Node(words[0], kind)

        return row

    def _link(self, line: int, link: Link) -> None:
        if link.name in self.links:
            raise ValueError(f"line {line}: the name of a link is given once, got {link.name!r} again")
        for end in (link.a, link.b):
            if end not in self.nodes:
                raise ValueError(f"line {line}: both ends of a link are nodes of the file, got {end!r}")
        if link.a == link.b:
            raise ValueError(f"line {line}: a link joins two different nodes, got {link.a!r} twice")
        self.links[link.name] = link

    def pipe(self, line: int, words: list[str]) -> None:
        self._need(line, words, 4, "pipe")
        length = _number(words[3], line, "a pipe's length", positive=True) * self.to_length_m
        diameter = math.nan
        if len(words) > 4:
            diameter = _number(words[4], line, "a pipe's diameter", positive=True) * self.to_diameter_m
        # The seventh column may be the minor loss or, in old files, already the status.
        status = next((w.lower() for w in words[6:8] if w.upper() in _STATUSES), "open")
        self._link(line, Link(words[0], "pipe", words[1], words[2], length, diameter, status, line))

    def pump(self, line: int, words: list[str]) -> None:
        self._need(line, words, 3, "pump")
        self._link(line, Link(words[0], "pump", words[1], words[2], line=line))

    def valve(self, line: int, words: list[str]) -> None:
        self._need(line, words, 3, "valve")
        diameter = math.nan
        if len(words) > 3:
            diameter = _number(words[3], line, "a valve's diameter", positive=True) * self.to_diameter_m
        self._link(line, Link(words[0], "valve", words[1], words[2], 0.0, diameter, line=line))

    def status(self, line: int, words: list[str]) -> None:
        self._need(line, words, 2, "status")
        if words[0] not in self.links:
            raise ValueError(f"line {line}: [STATUS] names a link of the file, got {words[0]!r}")
        word = words[1].upper()
        if word in ("OPEN", "CLOSED"):
            self.links[words[0]] = replace(self.links[words[0]], status=word.lower())
        else:
            _number(words[1], line, "a status that is neither Open nor Closed")  # a pump's speed, a valve's setting

    def coordinates(self, line: int, words: list[str]) -> None:
        self._need(line, words, 3, "coordinate")
        if words[0] not in self.nodes:
            raise ValueError(f"line {line}: [COORDINATES] names a node of the file, got {words[0]!r}")
        x, y = (_number(w, line, "a coordinate") for w in words[1:3])
        self.nodes[words[0]] = replace(self.nodes[words[0]], x=x, y=y)

    def read(self, rows: dict[str, list[tuple[int, list[str]]]]) -> None:
        """Nodes first, then what refers to them: sections may stand in any order in the file."""
        order: tuple[tuple[str, Callable[[int, list[str]], None]], ...] = (
            ("JUNCTIONS", self._node("junction")),
            ("RESERVOIRS", self._node("reservoir")),
            ("TANKS", self._node("tank")),
            ("PIPES", self.pipe),
            ("PUMPS", self.pump),
            ("VALVES", self.valve),
            ("STATUS", self.status),
            ("COORDINATES", self.coordinates),
        )
        for name, take in order:
            for line, words in rows[name]:
                take(line, words)


def read_inp(text: str) -> Network:
    """The network that an EPANET .inp text describes, in metres.

    Parameters
    ----------
    text : str
        The whole file. Units come from ``[OPTIONS] Units``: CFS, GPM, MGD, IMGD, AFD mean feet and inches, LPS, LPM,
        MLD, CMH, CMD, CMS metres and millimetres; without the line it is GPM, as in EPANET.

    Returns
    -------
    Network
        Closed links are kept and marked: what a wave does at them is decided by the graph.

    Raises
    ------
    ValueError
        ``line 12: rule, got value`` at the first line that breaks one; also when there is no node at all.

    Examples
    --------
    >>> net = read_inp("[JUNCTIONS]\\n A 1\\n B 1\\n[PIPES]\\n P A B 100 8\\n[OPTIONS]\\n Units GPM\\n")
    >>> round(net.links["P"].length_m, 3), round(net.links["P"].diameter_m, 4)
    (30.48, 0.2032)
    """
    rows = _sections(text)
    units = "GPM"
    for line, words in rows["OPTIONS"]:
        if words[0].upper() == "UNITS":
            units = words[1].upper() if len(words) > 1 else ""
            if units not in UNITS:
                raise ValueError(f"line {line}: Units is one of {', '.join(UNITS)}, got {units!r}")
    reader = _Reader(units)
    reader.read(rows)
    if not reader.nodes:
        raise ValueError("line 0: an .inp has at least one node, got none")
    return Network(reader.nodes, reader.links, units)
