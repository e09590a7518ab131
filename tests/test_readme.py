"""The README's program runs and prints what the README says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_short_program() -> None:
    program = re.search(r"```python\n(import numpy.*?)```", README, re.S)
    assert program
    done = subprocess.run([sys.executable, "-c", program[1]], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        assert f"    {line}\n" in README


def test_the_two_commands_and_no_leftovers() -> None:
    assert re.findall(r"^    make (\w+)", README, re.M) == ["demo", "test"]
    assert "@" not in re.sub(r"`[^`]*`", "", README)


def test_every_command_it_names_exists() -> None:
    done = subprocess.run([sys.executable, "-m", "lifeline_core", "--help"], capture_output=True, text=True, check=True)
    for command in set(re.findall(r"lifeline-core ([a-z][a-z-]+)", README)):
        assert command in done.stdout, command
