"""The .inp reader: units, what is open, what is wrong and where."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lifeline_core.pipes import PipeGraph
from lifeline_core.pipes.epanet import UNITS, decoded, read_inp
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
        ("[JUNCTIONS]\nA\nB\n[PIPES]\nP A B 9\n[STATUS]\nP -1\n", "line 7: a setting is not negative, got '-1'"),
        ("[JUNCTIONS]\nA\nB\n[PIPES]\nP A B 9\n[STATUS]\nP Shut\n", "line 7: a status that is neither Open nor Closed"),
        ("[JUNCTIONS]\nA\nB\n[PIPES]\nP A B 9 8 100 0 CV\n[STATUS]\nP Open\n", "line 7: the status of a check valve is its own"),
        ("hello\n", "line 1: an .inp begins with a section"),
        ("", "at least one node"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_inp(text)


TRICKY = """\ufeff[VALVES]
PRV-1\tJ1\tJ2\t200\tPRV\t30\t0\t; a valve before its nodes, with tabs
GPV A B 300 GPV CURVE-1
FCV B J1 300 FCV 12
[pumps]
P1 A B HEAD "curve 1" SPEED 0
P2 A B POWER 20 PATTERN 1
P3 A B HEAD C
[PIPE]
"old main; north" "Node 1" J1 1000 150 100 0 Closed;x
101 J1 J2 100 300 130
102 J2 A 100 300 130 CV
103 A B 100 300 130 0.5 open
104a B J1 100 300 130 0.5
Z9 B J2 100
[Junctions]
"Node 1" 5
J1 5 ;
J2
A
B
[CURVES]
C 100 5
101 J1 J2 9 9 9
[PATTERNS]
1 1.0 1.2
[VERTICES]
101 5 5
101 500 9000
[CONTROLS]
LINK 101 CLOSED AT TIME 5
[RULES]
RULE 1
IF SYSTEM CLOCKTIME > 8 AM
THEN PUMP P3 STATUS IS CLOSED
[STATUS]
PRV-1 30
GPV Closed
FCV OPEN
101 104 Closed
P2 P30 0
[COORDINATES]
J1 1 2
gone 5 5
J2 x 5
A 1
[OPTIONS]
Headloss H-W
UNITS SI
Pressure Meters
[TAGS]
[END]
"""


def test_a_file_that_is_hard_to_read() -> None:
    """Order, quotation marks, tabs, a byte order mark, ranges in STATUS: 104a begins with 104, PRV-1 is not within P2 .. P30."""
    net = read_inp(TRICKY)
    assert {k.name: k.status for k in net.links.values()} == {
        "old main; north": "closed", "101": "closed", "102": "cv", "103": "closed", "104a": "closed", "Z9": "open",
        "P1": "closed", "P2": "closed", "P3": "closed", "PRV-1": "open", "GPV": "closed", "FCV": "open",
    }  # fmt: skip
    assert (net.units, net.links["101"].length_m, net.links["101"].diameter_m) == ("LPS", 100.0, 0.3)
    assert math.isnan(net.links["Z9"].diameter_m) and net.links["old main; north"].a == "Node 1"
    assert (net.nodes["J1"].x, net.nodes["J1"].y) == (1.0, 2.0)
    assert math.isnan(net.nodes["J2"].x) and math.isnan(net.nodes["A"].x)
    graph = PipeGraph.from_text(TRICKY)
    assert set(graph.links) == {"102", "Z9", "PRV-1", "FCV"}
    assert graph.diameter_m[graph.link_index["102"]] == 0.3


def test_a_closed_valve_and_a_pump_of_speed_0_stop_what_an_active_one_lets_through() -> None:
    text = "[JUNCTIONS]\nA\nB\n[VALVES]\nV A B 100 PRV 30\n[PUMPS]\nP A B POWER 5\n[STATUS]\nV {}\nP {}\n"
    for valve, pump, links in (
        ("30", "0.5", {"V", "P"}),
        ("Open", "0", {"V"}),
        ("closed", "Open", {"P"}),
        ("CLOSED", "0.0", set()),
    ):
        assert set(PipeGraph.from_text(text.format(valve, pump)).links) == links


def test_bytes_of_a_file_in_the_encodings_that_occur(tmp_path: Path) -> None:
    text = "[JUNCTIONS]\n阀门一\n阀门二\n[PIPES]\n管 阀门一 阀门二 100 200\n[OPTIONS]\nUnits CMH\n"
    for name in ("utf-8", "utf-8-sig", "gb18030"):
        assert decoded(text.encode(name)) == text
        (tmp_path / "net.inp").write_bytes(text.replace("\n", "\r\n").encode(name))
        assert PipeGraph.from_inp(tmp_path / "net.inp").nodes == ("阀门一", "阀门二")
    assert decoded(b"\xff\xe9 1") == "\xff\xe9 1"


@needs_pipes
@pytest.mark.parametrize(("name", "feet"), [("Tnet3", 124226), ("TNET3_ptsnet", 123226)])
def test_the_two_networks(name: str, feet: float) -> None:
    """Lengths summed by awk over the file's fourth column, to whole feet."""
    net = read_inp((PIPES / f"{name}.inp").read_text())
    kinds = [k.kind for k in net.links.values()]
    assert (kinds.count("pipe"), kinds.count("pump"), kinds.count("valve")) == (168, 2, 8)
    assert sum(n.kind == "junction" for n in net.nodes.values()) == 126
    assert sum(k.length_m for k in net.links.values()) == pytest.approx(feet * 0.3048, abs=0.5)
