"""The .inp reader: units, what is open, what is wrong and where."""

from __future__ import annotations

import math

import pytest

from lifeline_core.pipes.epanet import UNITS, read_inp
from tests.tnet3 import PIPES, needs_pipes

SMALL = """[TITLE]
 anything ; at all
[JUNCTIONS]
;ID Elev
 A  10
 B  10 0 PAT ; said
[RESERVOIRS]
 R  50
[TANKS]
 T  40 1 0 5 10 0
[PIPES]
 P1 A B 1000 12 100 0 Open
 P2 B T 500 8 100 0 CV
 P3 A R 100 8 100 Closed
[PUMPS]
 PU R A HEAD C1
[VALVES]
 V  A B 6 TCV 0.2 0
[STATUS]
 V  Closed
 PU 0.8
[COORDINATES]
 A 1.5 -2
[OPTIONS]
 Units {units}
[END]
 nonsense after the end
"""


def test_a_small_file_by_hand() -> None:
    net = read_inp(SMALL.format(units="GPM"))
    assert [(n.name, n.kind) for n in net.nodes.values()] == [
        ("A", "junction"), ("B", "junction"), ("R", "reservoir"), ("T", "tank"),
    ]  # fmt: skip
    assert net.links["P1"].length_m == pytest.approx(304.8)
    assert net.links["P1"].diameter_m == pytest.approx(0.3048)
    assert {k.name: k.status for k in net.links.values()} == {
        "P1": "open", "P2": "cv", "P3": "closed", "PU": "open", "V": "closed",
    }  # fmt: skip
    assert (net.nodes["A"].x, net.nodes["A"].y) == (1.5, -2.0)
    assert math.isnan(net.nodes["B"].x)


@pytest.mark.parametrize("units", sorted(UNITS))
def test_units_of_flow_tell_those_of_length(units: str) -> None:
    pipe = read_inp(SMALL.format(units=units.lower())).links["P1"]
    feet = units in ("CFS", "GPM", "MGD", "IMGD", "AFD")
    assert pipe.length_m == pytest.approx(304.8 if feet else 1000.0)
    assert pipe.diameter_m == pytest.approx(0.3048 if feet else 0.012)


def test_without_units_it_is_gpm_and_sections_may_stand_in_any_order_and_be_short() -> None:
    net = read_inp("[PIPE]\nP A B 10 8\n[junc]\nA\nB\n")
    assert net.units == "GPM" and net.links["P"].length_m == pytest.approx(3.048)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[JUNCTIONS]\nA 1\nA 2\n", "line 3: the name of a node is given once, got 'A' again"),
        ("[JUNCTIONS]\nA\nB\n[PIPES]\nP A B -5 8\n", "line 5: a pipe's length is a positive finite number, got '-5'"),
        ("[JUNCTIONS]\nA\nB\n[PIPES]\nP A B nan 8\n", "line 5: a pipe's length is a positive finite number, got 'nan'"),
        ("[JUNCTIONS]\nA\nB\n[PIPES]\nP A C 5 8\n", "line 5: both ends of a link are nodes of the file, got 'C'"),
        ("[JUNCTIONS]\nA\nB\n[PIPES]\nP A A 5 8\n", "line 5: a link joins two different nodes, got 'A' twice"),
        ("[JUNCTIONS]\nA\nB\n[PIPES]\nP A B\n", "line 5: a pipe has at least 4 columns, got 'P A B'"),
        ("[JUNCTIONS]\nA\n[OPTIONS]\nUnits PINT\n", "line 4: Units is one of"),
        ("[JUNCTIONS]\nA\n[STATUS]\nX Open\n", r"line 4: \[STATUS\] names a link of the file, got 'X'"),
        ("[JUNCTIONS]\nA\n[COORDINATES]\nX 1 2\n", r"line 4: \[COORDINATES\] names a node of the file, got 'X'"),
        ("hello\n", "line 1: an .inp begins with a section"),
        ("", "at least one node"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_inp(text)


@needs_pipes
@pytest.mark.parametrize(("name", "feet"), [("Tnet3", 124226), ("TNET3_ptsnet", 123226)])
def test_the_two_networks(name: str, feet: float) -> None:
    """Lengths summed by awk over the file's fourth column, to whole feet."""
    net = read_inp((PIPES / f"{name}.inp").read_text())
    kinds = [k.kind for k in net.links.values()]
    assert (kinds.count("pipe"), kinds.count("pump"), kinds.count("valve")) == (168, 2, 8)
    assert sum(n.kind == "junction" for n in net.nodes.values()) == 126
    assert sum(k.length_m for k in net.links.values()) == pytest.approx(feet * 0.3048, abs=0.5)
