"""The laws of the house: who imports whom, who reads a clock, who opens files, one stem one set of files."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/lifeline_core"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Floors, top first: a module imports its own floor's package or lower ones only. A name is a package or a module.
FLOORS = [
    {"cli", "__main__", "demo"},
    {"service", "device"},
    {"engine", "store"},
    {"networks", "runs"},
    {"alarms"},
    {"config", "example", "domains", "fields", "keys", "security", "watches"},
    {"detectors"},
    {"bridges", "pipes"},
    {"dsp"},
]
BESIDE = {"wire", "assemble"}  # import the ground floor only
GROUND = {"model", "errors", "version", "isa", "synth"}
CLOCKS = re.compile(r"\b(time\.(time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns|sleep)|datetime\.now|utcnow)\b")
OPENERS = re.compile(r"(?<![\w.])open\(|\.(read_text|read_bytes|write_text|write_bytes|open)\(|np\.(load|save|savez)\b")
MAY_OPEN = {"config", "domains", "store", "service", "cli", "demo", "synth", "pipes"}
MAY_CLOCK = {"service", "cli", "demo"}


def noun(path: Path) -> str:
    """The room of a module: its package under lifeline_core, or its own name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}:{node.lineno}: relative import"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def floor(name: str) -> int | None:
    return next((i for i, rooms in enumerate(FLOORS) if name in rooms), None)


def own(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "lifeline_core" and len(parts) > 1 else None


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_downwards(path: Path) -> None:
    room = noun(path)
    if room == "__init__":
        return
    assert floor(room) is not None or room in BESIDE | GROUND, f"{room}: give this room a floor in tests/test_house.py"
    for line, name in imports(path):
        target = own(name)
        if target is None or target == room or target in GROUND or target.startswith("_"):
            continue
        where = f"{path.relative_to(ROOT)}:{line}: {room} imports {target}"
        if room in GROUND:
            assert room == "synth" and target in {"pipes", "dsp", "wire"}, f"{where}: the ground floor imports nothing above it"
        elif room in BESIDE:
            pytest.fail(f"{where}: it stands beside the house and imports the ground floor only")
        elif target in BESIDE:
            continue
        else:
            upper, lower = floor(room), floor(target)
            assert lower is not None, f"{where}: a room without a floor"
            assert upper is not None
            assert upper <= lower, f"{where}: upwards"


def test_detectors_do_not_import_siblings() -> None:
    for path in (PACKAGE / "detectors").glob("*.py"):
        for line, name in imports(path):
            if name.startswith("lifeline_core.detectors.") and path.stem != "__init__":
                sibling = name.split(".")[2]
                assert sibling == "base" or sibling.startswith("_"), f"{path.name}:{line}: a detector imports its sibling {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_service_has_sockets_and_clocks(path: Path) -> None:
    room = noun(path)
    for line, name in imports(path):
        if name.split(".")[0] == "zmq":
            assert room == "service", f"{path.relative_to(ROOT)}:{line}: {room} imports zmq"
    if room in MAY_CLOCK:
        return
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        assert not CLOCKS.search(text), f"{path.relative_to(ROOT)}:{number}: {room} reads a clock"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_opened_where_the_design_says(path: Path) -> None:
    if noun(path) in MAY_OPEN:
        return
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        assert not OPENERS.search(text), f"{path.relative_to(ROOT)}:{number}: {noun(path)} opens a file"


def kernel_stems() -> list[str]:
    return sorted(p.stem[1:] for p in (ROOT / "kernels").glob("_*.pyx"))


@pytest.mark.parametrize("stem", kernel_stems())
def test_one_stem_one_set_of_files(stem: str) -> None:
    pyx = (ROOT / f"kernels/_{stem}.pyx").read_text(encoding="utf-8")
    serves = re.search(r"^# serves: *(\S+)", pyx, re.M)
    assert serves, f"kernels/_{stem}.pyx says which package it serves"
    folder = ROOT / "src" / serves.group(1).replace(".", "/")
    assert (folder / f"{stem}.py").exists(), f"{folder / (stem + '.py')}: the meaning beside the kernel"
    assert (ROOT / f"tests/test_{stem}.py").exists(), f"tests/test_{stem}.py is missing"
    if (ROOT / f"kernels/{stem}.c").exists():
        assert (ROOT / f"kernels/{stem}.h").exists(), f"kernels/{stem}.h is missing"


def test_kernels_know_nothing_of_python() -> None:
    for path in [*(ROOT / "kernels").glob("*.c"), *(ROOT / "kernels").glob("*.h")]:
        assert "Python.h" not in path.read_text(encoding="utf-8"), f"{path.name} includes Python.h"


def test_no_vague_nouns() -> None:
    for path in MODULES:
        assert not re.search(r"util|helper|manager", path.stem), f"{path.name}: name it after what it is"


def test_every_row_of_the_table_is_a_file() -> None:
    from lifeline_core.detectors import TABLE, find
    from lifeline_core.detectors.base import Detector

    for name in TABLE:
        assert issubclass(find(name), Detector)
        assert find(name).KINDS, f"{name} names its kinds"
