"""Every test, command and target that docs/reliability.md names is there."""

from __future__ import annotations

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "reliability.md").read_text()
NAMES = re.findall(r"`([^`\n]+)`", TEXT)
TESTS = sorted({name for name in NAMES if re.match(r"(tests/)?test_\w+\.py", name)})
COMMANDS = sorted({name for name in NAMES if re.match(r"(make|python) ", name)})


@cache
def functions(path: Path) -> frozenset[str]:
    return frozenset(node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))


@cache
def words_of(path: Path) -> frozenset[str]:
    """Every text that stands in a program."""
    found = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
    return frozenset(value for value in found if isinstance(value, str))


def test_there_is_something_to_look_at() -> None:
    assert len(TESTS) > 50 and len(COMMANDS) > 10


@pytest.mark.parametrize("name", TESTS)
def test_a_test_it_names_is_there(name: str) -> None:
    file, _, function = name.partition("::")
    path = ROOT / "tests" / Path(file).name
    assert path.is_file(), f"{name}: there is no such file"
    assert not function or function in functions(path), f"{path.name} has no {function}"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_it_names_is_there(name: str) -> None:
    program, *words = name.split()
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert words[0] in targets, f"the Makefile has no {words[0]}"
        return
    assert words[0] == "-m"
    found = importlib.util.find_spec(words[1])
    assert found is not None and found.origin is not None
    path = Path(found.origin)
    path = path.with_name("__main__.py") if path.name == "__init__.py" else path
    for word in words[2:]:  # what is asked for, and the names of what is asked with
        if not re.fullmatch(r"[\d.]+", word):
            assert word in words_of(path), f"{words[1]} knows no {word}"


def test_every_row_has_a_promise_a_proof_and_a_figure() -> None:
    for line in TEXT.splitlines():
        if line.startswith("|") and not line.startswith("|-") and not line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert len(cells) == 3 and all(cells), f"not a promise, its proof and its figure: {line[:100]}"
