"""A reader of EPANET's .inp text: only what a pressure wave needs - which pipe joins what, how long, how wide, open or not.

Sections read: JUNCTIONS, RESERVOIRS, TANKS, PIPES, PUMPS, VALVES, STATUS, COORDINATES, OPTIONS (Units); the rest is
passed over (also VERTICES: they draw a pipe's bends, its length is the one told). Status is the one at the start: CONTROLS and
RULES are passed over too. Everything that comes out is metres, whatever the file is in. Where EPANET itself accepts or refuses
a line, so does this: quoted names, ranges in STATUS, a pump of speed 0 that stands still, coordinates of nodes that are gone.

Why not wntr: it reads .inp well, as a part of a hydraulic simulator. Version 1.5.0 brings 13 distributions besides numpy and
scipy (pandas, networkx, matplotlib, ...) and takes 1.6 s of processor time to import; a pressure wave needs nine sections of
the file, and whoever mends a file the number of the line that is wrong. Tnet3.inp (178 links) takes 2 ms here, 8 ms there.

Source: L. Rossman et al., EPANET 2.2 User Manual (EPA/600/R-20/133), appendix C "Command Line EPANET"; what is accepted and what
is the default was looked up in EPANET 2.3's own input routines.
"""

from __future__ import annotations

import math
import re
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
_WORD = re.compile(r'"([^"]*)"?|([^\s"]\S*)')


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


def decoded(data: bytes) -> str:
    """Text of an .inp file: UTF-8 with or without a mark, else the Chinese encoding GB 18030, else Latin-1.

    >>> decoded("阀门 1".encode("gb18030"))
    '阀门 1'
    """
    for name in ("utf-8-sig", "gb18030"):
        try:
            return data.decode(name)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def _words(line: str) -> list[str]:
    """Words between blanks; what stands in quotation marks is one; a semicolon outside of them begins a comment."""
    if '"' not in line:
        return line.split(";", 1)[0].split()
    return [quoted or plain for quoted, plain in _WORD.findall(re.sub(r'("[^"]*"?)|;.*', r"\1", line))]


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
    for line, raw in enumerate(re.split(r"\r\n|\n|\r", text.removeprefix("\ufeff")), 1):
        words = _words(raw)
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


def _leading(name: str) -> int:
    """The number with which a name begins, 0 where it begins with none."""
    found = re.match(r"\d+", name)
    return int(found.group()) if found else 0


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
        # Pairs of a keyword and its value; a pump of speed 0 stands still.
        speeds = [v for k, v in zip(words[3::2], words[4::2], strict=False) if k.upper().startswith("SPEED")]
        still = any(_number(v, line, "a pump's speed") == 0 for v in speeds)
        self._link(line, Link(words[0], "pump", words[1], words[2], status="closed" if still else "open", line=line))

    def valve(self, line: int, words: list[str]) -> None:
        self._need(line, words, 3, "valve")
        diameter = math.nan
        if len(words) > 3:
            diameter = _number(words[3], line, "a valve's diameter", positive=True) * self.to_diameter_m
        self._link(line, Link(words[0], "valve", words[1], words[2], 0.0, diameter, line=line))

    def status(self, line: int, words: list[str]) -> None:
        """One link, or a range of them by number or else by name, then Open, Closed, a pump's speed or a valve's setting."""
        self._need(line, words, 2, "status")
        word = words[-1].upper()
        value = math.nan
        if word not in ("OPEN", "CLOSED"):
            value = _number(words[-1], line, "a status that is neither Open nor Closed")
            if value < 0:
                raise ValueError(f"line {line}: a setting is not negative, got {words[-1]!r}")
        if len(words) == 2 and words[0] not in self.links:
            raise ValueError(f"line {line}: [STATUS] names a link of the file, got {words[0]!r}")
        for name in [words[0]] if len(words) == 2 else self._between(words[0], words[1]):
            link = self.links[name]
            if link.status == "cv":
                if len(words) == 2:
                    raise ValueError(f"line {line}: the status of a check valve is its own, got {' '.join(words)!r}")
                continue
            if word in ("OPEN", "CLOSED"):
                self.links[name] = replace(link, status=word.lower())
            elif link.kind == "pump":
                self.links[name] = replace(link, status="closed" if value == 0 else "open")
            elif link.kind == "valve":
                self.links[name] = replace(link, status="open")  # it works at its setting

    def _between(self, first: str, last: str) -> list[str]:
        numbers = [_leading(first), _leading(last)]
        if min(numbers) > 0:
            return [name for name in self.links if numbers[0] <= _leading(name) <= numbers[1]]
        return [name for name in self.links if first <= name <= last]

    def coordinates(self, line: int, words: list[str]) -> None:
        """What is drawn matters to no wave: a place of no node, or that is no number, is passed over, as in EPANET."""
        if len(words) < 3 or words[0] not in self.nodes:
            return
        try:
            x, y = float(words[1]), float(words[2])
        except ValueError:
            return
        if math.isfinite(x) and math.isfinite(y):
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
        MLD, CMH, CMD, CMS (and SI) metres and millimetres; without the line it is GPM, as in EPANET.

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
        if words[0].upper().startswith("UNIT") and len(words) > 1:
            units = "LPS" if words[1].upper() == "SI" else words[1].upper()
            if units not in UNITS:
                raise ValueError(f"line {line}: Units is one of {', '.join(UNITS)}, got {units!r}")
    reader = _Reader(units)
    reader.read(rows)
    if not reader.nodes:
        raise ValueError("line 0: an .inp has at least one node, got none")
    return Network(reader.nodes, reader.links, units)
